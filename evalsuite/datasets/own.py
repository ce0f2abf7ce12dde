"""The user's own data: JSONL, CSV or parquet, through a map from our fields to their columns.

A row is a comparison when it has `left_policy`, a pair of known order but unknown sides when it
has `chosen` (see `pairs` for what that means), else a rating. Needed and optional fields stand in
`COMPARISON`, `PAIR`, `RATING` and `OPTIONAL`; a column that already has a field's name needs no
map. What a `choice` may be stands in `choices`. A policy called `ref` is the human reference, as
in the release. Data without texts gives `left_chars` and `right_chars` (`chosen_chars` and
`rejected_chars`, or `chars` for ratings) instead.

Proved by tests/datasets/test_own.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from evalsuite.datasets import fields, pairs
from evalsuite.datasets.choices import Coding
from evalsuite.datasets.fields import Row, TextRow
from evalsuite.errors import ConfigError, DataError
from evalsuite.records import Comparison, Post, Rating, Summary

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

COMPARISON = ("left", "right", "left_policy", "right_policy", "choice")
PAIR = ("chosen", "rejected")
RATING = ("summary", "policy", "axis", "value")
OPTIONAL = (
    "post", "title", "section", "domain", "source_id", "labeler", "batch", "split",
    "strength", "group", "left_chars", "right_chars", "chosen_policy", "rejected_policy",
    "chosen_chars", "rejected_chars", "chars", "low", "high",
)  # fmt: skip
ALLOWED = tuple(dict.fromkeys((*COMPARISON, *PAIR, *RATING, *OPTIONAL)))
FIELDS = (
    f"{', '.join(COMPARISON)} (comparisons); through a map {', '.join(PAIR)} (pairs); or "
    f"{', '.join(RATING)} (ratings)"
)
PAIR_ONLY = ("chosen", "rejected", "chosen_chars", "rejected_chars")
SIDED_ONLY = ("left", "right", "choice", "left_chars", "right_chars")
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
        self.mapped = bool(field_map or choice_map)
        for field in self._map:
            if field not in ALLOWED:
                near = difflib.get_close_matches(field, ALLOWED, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ConfigError(f"unknown field {field!r}{hint}; allowed {', '.join(ALLOWED)}")
        paired = [f for f in self._map if f in PAIR_ONLY]
        sided = [f for f in self._map if f in SIDED_ONLY] or ["choices"] * bool(choice_map)
        self._paired = bool(paired)
        if paired and sided:
            problem = f"a map of {paired[0]} and of {sided[0]}"
            raise ConfigError(f"{problem}; allowed pairs (chosen, rejected) or sides (left, right)")

    def add(self, row: Row, builder: Builder) -> None:
        """Add one row. Raises DataError, on a missing column for one."""
        if self._map:
            row = self._renamed(row)
        paired = "left_policy" not in row and any(key in row for key in PAIR_ONLY)
        if paired or self._paired:
            _pair(row, builder)
        elif "left_policy" not in row and "policy" in row:
            _rate(row, builder)
        else:
            self._compare(row, builder)

    def _renamed(self, row: Row) -> Row:
        renamed = TextRow(row) if isinstance(row, TextRow) else dict(row)
        for field, column in self._map.items():
            if column not in row:
                has = fields.columns(row)
                problem = f"row has no {column!r} (mapped to {field}); it has {has}"
                mapped = ", ".join(dict.fromkeys(self._map.values()))
                allowed = f"a row with the mapped columns {mapped}"
                raise DataError(problem, field=field, allowed=allowed)
            renamed[field] = row[column]
        return renamed

    def _compare(self, row: Row, builder: Builder) -> None:
        post = _post(row, builder)
        left, right = (_summary(row, side, post, builder) for side in ("left_", "right_"))
        choice = self.coding.read(row)
        builder.compare(
            Comparison(left, right, choice, *_who(row), *_more(row)), post, _domain(row)
        )


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


def _pair(row: Row, builder: Builder) -> None:
    if any(key in row for key in PAIR):
        row = pairs.with_texts(row)
    post, keys = _post(row, builder), ("chosen_", "rejected_")
    chosen, rejected = (_summary(row, key, post, builder, pairs.UNKNOWN) for key in keys)
    sides = pairs.sides_by_id(chosen, rejected)
    builder.compare(Comparison(*sides, *_who(row), *_more(row)), post, _domain(row))


def _more(row: Row) -> tuple[int | None, str | None]:
    """Strength and group."""
    strength = fields.number_or_none(row, "strength", 1, 4)
    if strength is not None and strength != int(strength):
        raise fields.refused(row, "strength", "strength", "1, 2, 3, 4 or nothing")
    return None if strength is None else int(strength), fields.name_or_none(row, "group")


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


def _summary(
    row: Row, side: str, post: Post | None, builder: Builder, unstated: str | None = None
) -> Summary:
    """The summary of one side ("left_", ..., "" for ratings); `unstated` allows no policy."""
    named = unstated is None or fields.stated(row, f"{side}policy")
    policy = fields.name(row, f"{side}policy") if named else str(unstated)
    key, chars = side.rstrip("_") or "summary", f"{side}chars"
    if key not in row and chars in row:
        return builder.summary(policy, None, post, fields.length(row, chars))
    return builder.summary(policy, fields.text(row, key), post)
