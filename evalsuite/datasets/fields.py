"""Reading one field of a raw row: present, of the right type and in range, or a `DataError`.

Used by every format module. A format may add checks of its own; what is common to two of them
belongs here. Proved by tests/datasets/test_bad_input.py, where each message is spelled out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalsuite.errors import DataError
from evalsuite.records import refuse

Row = Mapping[str, Any]

MAX_LENGTH = 1_000_000_000
"""No text is longer than this; a larger length is a fault of the file."""


class TextRow(dict[str, Any]):
    """A row of a CSV file: every cell is text, so numbers are read from it; '' is missing."""


def refused(row: Row, key: str, field: str, allowed: str) -> DataError:
    """The error for a field that is missing or not what it should be."""
    if key not in row:
        return DataError(f"{field} is missing", field=field, allowed=allowed)
    return refuse(field, row[key], allowed)


def text(row: Row, key: str, inside: str = "", allowed: str = "a string") -> str:
    """A string, perhaps empty. Raises DataError on anything else."""
    value = row.get(key)
    if not isinstance(value, str):
        raise refused(row, key, inside + key, allowed)
    return value


def name(row: Row, key: str, inside: str = "") -> str:
    """A string with something in it. Raises DataError on anything else."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise refused(row, key, inside + key, "a non-empty string")
    return value


def text_or_none(row: Row, key: str, inside: str = "") -> str | None:
    """A string, or None where the field is missing, null or (in a CSV) an empty cell."""
    value = row.get(key)
    if value is None or (value == "" and isinstance(row, TextRow)):
        return None
    if not isinstance(value, str):
        raise refuse(inside + key, value, "a string or nothing")
    return value


def name_or_none(row: Row, key: str) -> str | None:
    """A name or number used as one (a prompt's id), as text; None where there is none."""
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_or_none(row, key)


def mapping(row: Row, key: str, inside: str = "") -> Row:
    """A JSON object. Raises DataError on anything else."""
    value = row.get(key)
    if not isinstance(value, Mapping):
        raise refused(row, key, inside + key, "a JSON object")
    return value


def number(row: Row, key: str, low: float, high: float, inside: str = "") -> float:
    """A finite number from low to high; cells of a CSV are read as numbers, other text is not."""
    value = row.get(key)
    if isinstance(row, TextRow) and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not low <= value <= high:  # type: ignore[operator]  # NaN fails both ways
        raise refused(row, key, inside + key, f"a number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]


def length(row: Row, key: str) -> int:
    """A whole number of characters."""
    value = number(row, key, 0, MAX_LENGTH)
    if value != int(value):
        raise refused(row, key, key, f"a whole number from 0 to {MAX_LENGTH}")
    return int(value)


def number_or_none(row: Row, key: str, low: float, high: float) -> float | None:
    """As `number`, or None where the field is missing, null, NaN or an empty cell."""
    value = row.get(key)
    if value is None or (value == "" and isinstance(row, TextRow)):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return number(row, key, low, high)
