"""From records to tables: each distinct post and summary is made and hashed once.

The format modules call `post` and `summary` (which only make records) and then `compare`, `rate`
or `keep` (which commit them), so a row refused half-way leaves no trace. What may be changed: the
columns, together with evalsuite/tables.py. Proved by tests/datasets/test_build.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from evalsuite import tables
from evalsuite.datasets.release import parse_policy
from evalsuite.records import REFERENCE_POLICY, Comparison, Post, Rating, Summary

REPEATED = "label repeated by the same labeler"


class Builder:
    """Gathers records of any number of files and gives them back as `Tables`.

    left_out counts, by reason, what was read and not kept; formats add to it.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._made_posts: dict[tuple[object, ...], Post] = {}
        self._made_summaries: dict[tuple[object, ...], Summary] = {}
        self._posts: dict[str, Post] = {}
        self._summaries: dict[str, Summary] = {}
        self._comparisons: list[tuple[object, ...]] = []
        self._ratings: list[tuple[object, ...]] = []
        self._labels: set[str] = set()

    def post(
        self, text: str, title: str | None = None, section: str | None = None,
        domain: str = "tldr", source_id: str | None = None,
    ) -> Post:  # fmt: skip
        """The post of these fields, made at its first sight. Raises DataError when it is empty."""
        key = (text, title, section, domain, source_id)
        made = self._made_posts.get(key)
        if made is None:
            made = self._made_posts[key] = Post(text, title, section, domain, source_id)
        return made

    def summary(
        self, policy: str, text: str | None, post: Post | None = None, chars: int | None = None
    ) -> Summary:
        """The summary of these fields; the release's `ref` becomes `reference_summary`."""
        post_id = post.id if post is not None else None
        key = (policy, text, post_id, chars)
        made = self._made_summaries.get(key)
        if made is None:
            name = REFERENCE_POLICY if policy == "ref" else policy
            made = self._made_summaries[key] = Summary(name, text, post_id, chars)
        return made

    def keep(self, post: Post | None, summaries: Iterable[Summary]) -> None:
        """Commit a post and summaries that carry no label (references, for one)."""
        if post is not None:
            self._posts.setdefault(post.id, post)
        for summary in summaries:
            self._summaries.setdefault(summary.id, summary)

    def compare(self, label: Comparison, post: Post | None, domain: str) -> None:
        """Commit a comparison, unless the same labeler said exactly this before."""
        self.keep(post, (label.left, label.right))
        if self._repeats(label.id, label.labeler):
            return
        left, right = label.left, label.right
        self._comparisons.append((
            label.id, left.post_id, left.id, right.id, left.policy, right.policy, label.choice,
            label.strength, label.labeler, label.batch, label.split, domain,
            left.post_id if left.post_id is not None else label.group,
        ))  # fmt: skip

    def rate(self, label: Rating, post: Post | None, domain: str) -> None:
        """Commit a rating, unless the same labeler said exactly this before."""
        self.keep(post, (label.summary,))
        if self._repeats(label.id, label.labeler):
            return
        summary = label.summary
        self._ratings.append((
            label.id, summary.post_id, summary.id, summary.policy, label.axis, label.value,
            *label.scale, label.labeler, label.batch, label.split, domain,
        ))  # fmt: skip

    def _repeats(self, label_id: str, labeler: str | None) -> bool:
        if labeler is None:  # nobody's label: two people may have said the same
            return False
        if label_id in self._labels:
            self.left_out[REPEATED] += 1
            return True
        self._labels.add(label_id)
        return False

    @property
    def empty(self) -> bool:
        """Whether nothing was committed."""
        return not (self._posts or self._summaries)

    def tables(self, sources: Iterable[tables.Source]) -> tables.Tables:
        """Everything committed so far, as checked tables."""
        posts = [
            (key, p.text, p.title, p.section, p.domain, p.source_id)
            for key, p in self._posts.items()
        ]
        summaries = [(k, s.post_id, s.policy, s.text, s.chars) for k, s in self._summaries.items()]
        names = dict.fromkeys(s.policy for s in self._summaries.values())
        return tables.Tables(
            posts=_table("posts", posts),
            policies=_table("policies", [(name, *parse_policy(name)) for name in names]),
            summaries=_table("summaries", summaries),
            comparisons=_table("comparisons", self._comparisons),
            ratings=_table("ratings", self._ratings),
            sources=tuple(sources),
            left_out=dict(self.left_out),
        )


def _table(name: str, rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    if not rows:
        return tables.empty(name)
    columns = zip(*rows, strict=True)
    frame = tables.from_columns(name, dict(zip(tables.SCHEMAS[name], columns, strict=True)))
    return tables.check(name, frame)
