"""Posts with references, and perhaps a policy's summary and a judge's verdict on the two.

    post, title, subreddit, id, reference_summary [, summary, summary_policy, judge, judge_prefers]
    post, title, subreddit, id, summary           (as in the filtered TL;DR: summary = reference)

A row may name its `domain` ("cnndm", or a word of your own); without one it is "tldr".
`judge_prefers` is "summary", "reference_summary" or null (no verdict); a verdict becomes a
comparison with the judge as labeler. Which side the judge saw first is unknown, so sides go by
id, as for pairs. Proved by tests/datasets/test_posts.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row
from evalsuite.datasets.pairs import UNKNOWN, sides_by_id
from evalsuite.records import REFERENCE_POLICY, Comparison

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

FIELDS = "post, reference_summary (or summary), and to compare policies summary_policy"
VERDICTS = "'summary', 'reference_summary' or nothing"


def recognises(row: Row) -> bool:
    """Whether a row has the fields of this format."""
    return "post" in row and ("reference_summary" in row or "summary" in row)


def add(row: Row, builder: Builder) -> None:
    """Add one post with its summaries and verdict. Raises DataError."""
    post = builder.post(
        fields.name(row, "post"), fields.text_or_none(row, "title"),
        fields.text_or_none(row, "subreddit"), fields.name_or_none(row, "domain") or "tldr",
        fields.name_or_none(row, "id"),
    )  # fmt: skip
    if "reference_summary" not in row:
        builder.keep(post, [builder.summary(REFERENCE_POLICY, fields.text(row, "summary"), post)])
        return
    text = fields.text(row, "reference_summary")
    reference = builder.summary(REFERENCE_POLICY, text, post)
    if not fields.stated(row, "summary"):
        builder.keep(post, [reference])
        return
    policy = fields.text_or_none(row, "summary_policy") or UNKNOWN
    summary = builder.summary(policy, fields.text(row, "summary"), post)
    verdict = fields.text_or_none(row, "judge_prefers")
    judge = fields.name_or_none(row, "judge")
    if verdict is None:
        builder.keep(post, [reference, summary])
        return
    if verdict not in ("summary", "reference_summary"):
        raise fields.refused(row, "judge_prefers", "judge_prefers", VERDICTS)
    pair = (summary, reference) if verdict == "summary" else (reference, summary)
    split = fields.name_or_none(row, "split")
    builder.compare(Comparison(*sides_by_id(*pair), judge, None, split), post, post.domain)
