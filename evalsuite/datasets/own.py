"""The user's own data: JSONL, CSV or parquet, through a map from our fields to their columns.

A row is a comparison when it has `left_policy`, else a rating. Needed and optional fields stand
in `COMPARISON`, `RATING` and `OPTIONAL`; a column that already has a field's name needs no map.
`choice` is 0 (left), 1 (right), a number between (0.5 is a tie) or the words left, right, tie.
A policy called `ref` is the human reference, as in the release. Data without texts gives
`left_chars` and `right_chars` (or `chars` for ratings) instead.

Proved by tests/datasets/test_own.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row, TextRow
from evalsuite.errors import ConfigError, DataError
from evalsuite.records import Comparison, Post, Rating, Summary

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

COMPARISON = ("left", "right", "left_policy", "right_policy", "choice")
RATING = ("summary", "policy", "axis", "value")
OPTIONAL = (
    "post", "title", "section", "domain", "source_id", "labeler", "batch", "split",
    "strength", "group", "left_chars", "right_chars", "chars", "low", "high",
)  # fmt: skip
ALLOWED = tuple(dict.fromkeys((*COMPARISON, *RATING, *OPTIONAL)))
FIELDS = f"{', '.join(COMPARISON)} (comparisons) or {', '.join(RATING)} (ratings)"
WORDS = {"left": 0.0, "right": 1.0, "tie": 0.5}
DOMAIN = "own"

Adder = Callable[[Row, "Builder"], None]


def recognises(row: Row) -> bool:
    """Whether a row already has our own field names."""
    return {"left_policy", "right_policy", "choice"} <= row.keys() or set(RATING[1:]) <= row.keys()


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """A field map from texts such as "choice=vote". Raises ConfigError on one without "="."""
    out: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise ConfigError(f"map is {pair!r}; allowed field=column")
        if field in out:
            raise ConfigError(f"field {field!r} is mapped twice, to {out[field]!r} and {column!r}")
        out[field] = column
    return out


def reader(field_map: Mapping[str, str]) -> Adder:
    """A function that adds one row read through `field_map` ({field: column}).

    Raises ConfigError on an unknown field; the function raises DataError on a missing column.
    """
    for field in field_map:
        if field not in ALLOWED:
            near = difflib.get_close_matches(field, ALLOWED, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(f"unknown field {field!r}{hint}; allowed {', '.join(ALLOWED)}")

    def add_mapped(row: Row, builder: Builder) -> None:
        renamed = TextRow(row) if isinstance(row, TextRow) else dict(row)
        for field, column in field_map.items():
            if column not in row:
                problem = f"no column {column!r} (mapped to {field})"
                raise DataError(problem, field=field, allowed=", ".join(map(str, row)))
            renamed[field] = row[column]
        add(renamed, builder)

    return add_mapped


def add(row: Row, builder: Builder) -> None:
    """Add one row that has our field names. Raises DataError."""
    post, domain = _post(row, builder), fields.text_or_none(row, "domain") or DOMAIN
    labeler, batch = fields.name_or_none(row, "labeler"), fields.name_or_none(row, "batch")
    split = fields.text_or_none(row, "split")
    if "left_policy" not in row and "policy" in row:
        summary = _summary(row, "", post, builder)
        scale = (_or(fields.number_or_none(row, "low", -1e9, 1e9), 1.0),
                 _or(fields.number_or_none(row, "high", -1e9, 1e9), 7.0))  # fmt: skip
        value = fields.number(row, "value", *scale)
        axis = fields.name(row, "axis")
        builder.rate(Rating(summary, axis, value, labeler, batch, split, scale), post, domain)
        return
    left, right = (_summary(row, side, post, builder) for side in ("left_", "right_"))
    strength = fields.number_or_none(row, "strength", 1, 4)
    if strength is not None and strength != int(strength):
        raise fields.refused(row, "strength", "strength", "1, 2, 3, 4 or nothing")
    label = Comparison(
        left, right, _choice(row), labeler, batch, split,
        None if strength is None else int(strength), fields.name_or_none(row, "group"),
    )  # fmt: skip
    builder.compare(label, post, domain)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _post(row: Row, builder: Builder) -> Post | None:
    text = fields.text_or_none(row, "post")
    if text is None:
        return None
    return builder.post(
        text, fields.text_or_none(row, "title"), fields.text_or_none(row, "section"),
        fields.text_or_none(row, "domain") or DOMAIN, fields.name_or_none(row, "source_id"),
    )  # fmt: skip


def _summary(row: Row, side: str, post: Post | None, builder: Builder) -> Summary:
    policy = fields.name(row, f"{side}policy")
    key, chars = side.rstrip("_") or "summary", f"{side}chars"
    if key not in row and chars in row:
        return builder.summary(policy, None, post, fields.length(row, chars))
    return builder.summary(policy, fields.text(row, key), post)


def _choice(row: Row) -> float:
    word = row.get("choice")
    if isinstance(word, str) and word.strip().lower() in WORDS:
        return WORDS[word.strip().lower()]
    try:
        return fields.number(row, "choice", 0, 1)
    except DataError:
        allowed = "a number from 0 to 1, left, right or tie"
        raise fields.refused(row, "choice", "choice", allowed) from None
