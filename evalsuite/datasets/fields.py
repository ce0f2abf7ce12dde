"""Reading one field of a raw row: present, of the right type and in range, or a `DataError`.

Used by every format module. A format may add checks of its own; what is common to two of them
belongs here. Proved by tests/datasets/test_bad_input.py, where each message is spelled out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from evalsuite.errors import DataError
from evalsuite.records import refuse

Row = Mapping[str, Any]

MAX_LENGTH = 1_000_000_000
"""No text is longer than this; a larger length is a fault of the file."""


NAMES = "a name, a whole number or nothing"
_WHOLE = re.compile(r"^(-?\d+)\.0$")


COLUMNS_SHOWN = 12


class TextRow(dict[str, Any]):
    """A row of a CSV file: every cell is text, so numbers are read from it; '' is missing."""


def refused(row: Row, key: str, field: str, allowed: str) -> DataError:
    """The error for a field that is missing or not what it should be."""
    if key not in row:
        return DataError(f"{field} is missing", field=field, allowed=allowed)
    return refuse(field, row[key], allowed)


def columns(row: Row) -> str:
    """The names of a row's fields, as an error lists them."""
    names = [str(name) for name in row]
    more = ["..."] if len(names) > COLUMNS_SHOWN else []
    return ", ".join(names[:COLUMNS_SHOWN] + more) or "nothing"


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


def stated(row: Row, key: str) -> bool:
    """Whether there is a value: null, NaN and (in a CSV) an empty cell are none."""
    value = row.get(key)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return value != "" or not isinstance(row, TextRow)


def text_or_none(row: Row, key: str, inside: str = "") -> str | None:
    """A string, or None where nothing is stated."""
    if not stated(row, key):
        return None
    if not isinstance(row[key], str):
        raise refuse(inside + key, row[key], "a string or nothing")
    return str(row[key])


def name_or_none(row: Row, key: str, inside: str = "") -> str | None:
    """Who or what a row belongs to (a labeler, a batch, a prompt's id), as text.

    One rule for all kinds of files: white space alone, null and NaN are None; whole numbers, 2 and
    2.0, are "2". In a CSV, where a column of whole numbers with gaps is written 2.0 by most tools,
    a cell of digits with `.0` loses it; all other text stays as it is ("007", "v2.0", "1.50").
    """
    value = row.get(key)
    if not stated(row, key) or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        whole = _WHOLE.match(value) if isinstance(row, TextRow) else None
        return whole[1] if whole else value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value != int(value):  # type: ignore[arg-type]
        raise refuse(inside + key, value, NAMES)
    return str(int(value))


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
    """As `number`, or None where nothing is stated."""
    return number(row, key, low, high) if stated(row, key) else None
