"""The user's own data: JSONL, CSV or parquet, through a map from our fields to their columns.

A row is a comparison when it has `left_policy`, else a rating. Needed and optional fields stand
in `COMPARISON`, `RATING` and `OPTIONAL`; a column that already has a field's name needs no map.
What a `choice` may be stands in `evalsuite.datasets.choices`. A policy called `ref` is the human reference, as in the release. Data without texts gives
`left_chars` and `right_chars` (or `chars` for ratings) instead.

Proved by tests/datasets/test_own.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from evalsuite.datasets import fields
from evalsuite.datasets.choices import Coding
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
DOMAIN = "own"


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


class Reader:
    """Adds rows read through `field_map` {field: column} and `choice_map` {value: side}.

    `coding` reads the choices. Raises ConfigError on an unknown field or side.
    """

    def __init__(
        self,
        field_map: Mapping[str, str] | None = None,
        choice_map: Mapping[Any, str] | None = None,
    ) -> None:
        self._map, self.coding = dict(field_map or {}), Coding(choice_map or {})
        for field in self._map:
            if field not in ALLOWED:
                near = difflib.get_close_matches(field, ALLOWED, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ConfigError(f"unknown field {field!r}{hint}; allowed {', '.join(ALLOWED)}")

    def add(self, row: Row, builder: Builder) -> None:
        """Add one row. Raises DataError, on a missing column for one."""
        if self._map:
            row = self._renamed(row)
        if "left_policy" not in row and "policy" in row:
            _rate(row, builder)
        else:
            self._compare(row, builder)

    def _renamed(self, row: Row) -> Row:
        renamed = TextRow(row) if isinstance(row, TextRow) else dict(row)
        for field, column in self._map.items():
            if column not in row:
                problem = f"no column {column!r} (mapped to {field})"
                raise DataError(problem, field=field, allowed=", ".join(map(str, row)))
            renamed[field] = row[column]
        return renamed

    def _compare(self, row: Row, builder: Builder) -> None:
        post = _post(row, builder)
        left, right = (_summary(row, side, post, builder) for side in ("left_", "right_"))
        strength = fields.number_or_none(row, "strength", 1, 4)
        if strength is not None and strength != int(strength):
            raise fields.refused(row, "strength", "strength", "1, 2, 3, 4 or nothing")
        label = Comparison(
            left, right, self.coding.read(row), *_who(row),
            None if strength is None else int(strength), fields.name_or_none(row, "group"),
        )  # fmt: skip
        builder.compare(label, post, _domain(row))


def add(row: Row, builder: Builder) -> None:
    """Add one row that has our field names. Raises DataError."""
    Reader().add(row, builder)


def _rate(row: Row, builder: Builder) -> None:
    post = _post(row, builder)
    summary = _summary(row, "", post, builder)
    scale = (_or(fields.number_or_none(row, "low", -1e9, 1e9), 1.0),
             _or(fields.number_or_none(row, "high", -1e9, 1e9), 7.0))  # fmt: skip
    value = fields.number(row, "value", *scale)
    label = Rating(summary, fields.name(row, "axis"), value, *_who(row), scale)
    builder.rate(label, post, _domain(row))


def _who(row: Row) -> tuple[str | None, str | None, str | None]:
    """Labeler, batch and split."""
    labeler, batch = fields.name_or_none(row, "labeler"), fields.name_or_none(row, "batch")
    return labeler, batch, fields.name_or_none(row, "split")


def _domain(row: Row) -> str:
    return fields.text_or_none(row, "domain") or DOMAIN


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _post(row: Row, builder: Builder) -> Post | None:
    text = fields.text_or_none(row, "post")
    if text is None:
        return None
    return builder.post(
        text, fields.text_or_none(row, "title"), fields.text_or_none(row, "section"),
        _domain(row), fields.name_or_none(row, "source_id"),
    )  # fmt: skip


def _summary(row: Row, side: str, post: Post | None, builder: Builder) -> Summary:
    policy = fields.name(row, f"{side}policy")
    key, chars = side.rstrip("_") or "summary", f"{side}chars"
    if key not in row and chars in row:
        return builder.summary(policy, None, post, fields.length(row, chars))
    return builder.summary(policy, fields.text(row, key), post)
