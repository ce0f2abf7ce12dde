"""Chosen/rejected pairs: plain, TRL's conversational form, RewardBench.

    plain         chosen, rejected [, chosen_policy, rejected_policy, prompt|post, batch, split,
                  labeler, id]
    TRL           prompt, chosen, rejected as lists of {role, content}; or without prompt, when it
                  is what both lists begin with
    RewardBench   prompt, chosen, rejected, chosen_model, rejected_model, subset, id

Such data does not say which side was shown left. The summary with the smaller id goes left: the
id does not know the answer, so the side carries none, and a pair labelled twice has the same
sides twice. Preferences for the left cannot be studied here. Pairs without policies are by
"unknown": no analysis can compare policies then. RewardBench's subset becomes the batch.

Proved by tests/datasets/test_pairs.py.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row, TextRow
from evalsuite.records import Comparison, Summary, refuse

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

POLICIES = "chosen_policy and rejected_policy, or chosen_model and rejected_model"
FIELDS = f"chosen, rejected, and to compare policies {POLICIES}"
MESSAGES = "a string or a list of messages {role, content}"
UNKNOWN = "unknown"


def recognises(row: Row) -> bool:
    """Whether a row has the fields of this format."""
    return "chosen" in row and "rejected" in row


def sides_by_id(chosen: Summary, rejected: Summary) -> tuple[Summary, Summary, float]:
    """Left, right and choice for an answer whose sides are unknown: the smaller id is left."""
    if chosen.id <= rejected.id:
        return chosen, rejected, 0.0
    return rejected, chosen, 1.0


def add(row: Row, builder: Builder) -> None:
    """Add one pair. Raises DataError."""
    prompt, chosen, rejected = _texts(row)
    rewardbench = "subset" in row
    post = None
    if prompt:
        section = fields.text_or_none(row, "subset")
        domain = "rewardbench" if rewardbench else "pairs"
        post = builder.post(prompt, None, section, domain, fields.name_or_none(row, "id"))
    left, right, choice = sides_by_id(
        builder.summary(_policy(row, "chosen"), chosen, post),
        builder.summary(_policy(row, "rejected"), rejected, post),
    )
    label = Comparison(
        left, right, choice, fields.name_or_none(row, "labeler"),
        fields.name_or_none(row, "subset" if rewardbench else "batch"),
        fields.name_or_none(row, "split"),
    )  # fmt: skip
    builder.compare(label, post, post.domain if post is not None else "pairs")


def with_texts(row: Row) -> Row:
    """A row whose chosen, rejected and post are texts, should they have been messages."""
    kind = TextRow if isinstance(row, TextRow) else dict
    keys = ("post", "chosen", "rejected")
    texts = _texts(kind({key: row[key] for key in keys if key in row}))
    return kind({**row, **dict(zip(keys, texts, strict=True))})


def _policy(row: Row, side: str) -> str:
    for key in (f"{side}_policy", f"{side}_model"):
        if fields.stated(row, key):
            return fields.name(row, key)
    return UNKNOWN


def _texts(row: Row) -> tuple[str | None, str, str]:
    chosen, rejected = (_messages(row, side) for side in ("chosen", "rejected"))
    shared = 0
    if not isinstance(row["chosen"], str):
        both = zip(chosen[:-1], rejected[:-1], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    prompt = "\n\n".join(chosen[:shared]) or None
    for key in ("prompt", "post"):
        if fields.stated(row, key):
            prompt = "\n\n".join(_messages(row, key)) or None
            break
    return prompt, "\n\n".join(chosen[shared:]), "\n\n".join(rejected[shared:])


def _messages(row: Row, key: str) -> list[str]:
    value = row.get(key)
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise fields.refused(row, key, key, MESSAGES)
    return [_content(message, f"{key}[{i}]") for i, message in enumerate(value)]


def _content(message: Any, place: str) -> str:
    if not isinstance(message, dict):
        raise refuse(place, message, "a message {role, content}")
    return fields.text(message, "content", f"{place}.")
