"""Which pairs to ask: drawn from what policies wrote on posts.

tests/judges/test_pairs.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.judge import Question
from evalsuite.records import REFERENCE_POLICY, Post, shown
from evalsuite.tables import Tables


class Written(NamedTuple):
    """A summary of a post by a policy."""

    post: Post
    policy: str
    text: str


def posts_of(tables: Tables) -> dict[str, Post]:
    """Posts by the ids of our tables and by those they came with."""
    out: dict[str, Post] = {}
    for row in tables.posts.itertuples():
        post = Post(str(row.text), _given(row.title), _given(row.section),
                    _given(row.domain) or "tldr", _given(row.source_id))  # fmt: skip
        out[str(row.post_id)] = post
        if post.source_id is not None:
            out.setdefault(post.source_id, post)
    return out


def references_of(tables: Tables) -> list[Written]:
    """The reference summaries that tables hold, the first of each post."""
    known = posts_of(tables)
    rows = tables.summaries
    rows = rows[(rows["policy"] == REFERENCE_POLICY) & rows["text"].notna()]
    rows = rows[rows["post_id"].isin(list(known))].drop_duplicates("post_id")
    pairs = zip(rows["post_id"], rows["text"], strict=True)
    return [Written(known[post], REFERENCE_POLICY, text) for post, text in pairs]


def written_of(rows: Iterable[tuple[str, str, str]], known: dict[str, Post]) -> list[Written]:
    """Rows (post id, policy, text) with their posts. Raises DataError for an unknown post."""
    out = []
    for identity, policy, text in rows:
        if identity not in known:
            raise DataError(
                f"post id is {shown(identity)}", field="post_id",
                allowed="an id of one of the posts given beside it",
            )  # fmt: skip
        out.append(Written(known[identity], policy, text))
    return out


def draw_questions(
    written: Sequence[Written], pairs: int, rng: np.random.Generator, *,
    against: str | None = None, times: int = 1,
) -> list[Question]:  # fmt: skip
    """Pairs of different texts of one post, drawn without repeats, sides by chance.

    Equal texts of a post count once, for the policy that comes first. against: a policy that has
    one side of every pair, and never both. times: how often each pair is asked (`Question.again`),
    one after the other.

    Raises ConfigError for so many pairs as there are not, or an `against` that wrote nothing.
    """
    if pairs < 1 or times < 1:
        raise ConfigError(f"pairs is {pairs}, times {times}; allowed 1 or more")
    pool = _candidates(written, against)
    if pairs > len(pool):
        raise ConfigError(
            f"{pairs} pairs are wanted; allowed up to {len(pool)}, as many as the summaries make"
        )
    chosen = rng.choice(len(pool), size=pairs, replace=False)
    swap = rng.random(pairs) < 0.5
    out = []
    for at, turn in zip(chosen.tolist(), swap.tolist(), strict=True):
        left, right = pool[at][::-1] if turn else pool[at]
        asked = Question(left.post, left.text, right.text, left.policy, right.policy)
        out += [asked._replace(again=again) for again in range(times)]
    return out


def _candidates(written: Sequence[Written], against: str | None) -> list[tuple[Written, Written]]:
    policies = list(dict.fromkeys(one.policy for one in written))
    if against is not None and against not in policies:
        near = difflib.get_close_matches(against, policies, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(
            f"no summary is by {shown(against)}{hint}; allowed {', '.join(policies) or 'none'}"
        )
    mine: dict[str, dict[str, Written]] = {}
    others: dict[str, dict[str, Written]] = {}
    for one in written:
        trimmed = one._replace(text=one.text.strip())
        group = others if one.policy == against else mine
        group.setdefault(one.post.id, {}).setdefault(trimmed.text, trimmed)
    if against is None:
        return [pair for texts in mine.values() for pair in combinations(texts.values(), 2)]
    return [
        (one, other)
        for post, texts in mine.items()
        for one, other in product(texts.values(), others.get(post, {}).values())
        if one.text != other.text
    ]


def _given(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
