"""What a choice in one's own data means: 0 is left, 1 is right, 0.5 a tie, between is soft.

A choice is a number from 0 to 1, one of `WORDS` in any case, or the name of one of the row's two
policies. What means two things (a policy on the right called "a") is refused, and so is a JSON
boolean, which names no side.

A choice map says what means which side. Beside it no word of `WORDS` means anything ("A" mapped to
right must not leave "B" at right too), and where it names a number, no other number does. The
names of policies still do, since a map cannot say them row by row, unless it names one of the two.

Data coded 1 (left) and 2 (right) would be read the wrong way round if its 2s were only skipped:
`Coding.misread` finds such files. What may be changed: `WORDS`. Proved by
tests/datasets/test_choices.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row, TextRow
from evalsuite.errors import ConfigError, DataError
from evalsuite.records import shown

SIDES = {"left": 0.0, "right": 1.0, "tie": 0.5}
WORDS = SIDES | {
    "a": 0.0, "model_a": 0.0, "b": 1.0, "model_b": 1.0,
    "draw": 0.5, "both": 0.5, "tie (bothbad)": 0.5,
}  # fmt: skip
NUMBERS = "0 (left) to 1 (right)"
NAME = "a policy's name"
MEANING = f"left, right, a, b, model_a, model_b, tie, {NAME}"
ODD_SHARE = 0.1
"""More numbers outside 0 to 1 than this share are a coding of their own, not slips."""


def parse_choices(pairs: Iterable[str]) -> dict[str, str]:
    """A choice map from texts such as "2=right". Raises ConfigError on any other form."""
    out: dict[str, str] = {}
    for pair in pairs:
        value, _, side = pair.rpartition("=")
        if not value or side not in SIDES:
            raise ConfigError(f"choice map is {pair!r}; allowed VALUE=left, =right or =tie")
        if value in out:
            raise ConfigError(f"choice {value!r} is mapped twice, to {out[value]} and {side}")
        out[value] = side
    return out


class Coding:
    """Reads choices through a map {value: "left", "right" or "tie"}, and counts its numbers.

    1, 1.0, "1" and "1.0" are one value of the map, and so are words that differ in case.
    Raises ConfigError on a side of another name or a value mapped twice.
    """

    def __init__(self, choice_map: Mapping[Any, str]) -> None:
        self._map: dict[str, float] = {}
        for value, side in choice_map.items():
            if side not in SIDES:
                raise ConfigError(f"choice {value!r} is mapped to {side!r}; allowed {_list(SIDES)}")
            if _key(value) in self._map:
                raise ConfigError(f"choice {value!r} is mapped twice")
            self._map[_key(value)] = SIDES[side]
        self._numbers_mapped = any(_number(key) is not None for key in self._map)
        self._named = ", ".join(f"{value} ({side})" for value, side in choice_map.items())
        numbers = "" if self._numbers_mapped else NUMBERS
        self._allowed = _list(filter(None, (self._named, numbers, NAME if self._map else MEANING)))
        self._used = False
        self._inside, self._outside = Counter[float](), Counter[float]()

    def read(self, row: Row) -> float:
        """The choice of one row, 0 (left) to 1 (right). Raises DataError."""
        value = row.get("choice")
        if value is not None and self._map and (mapped := self._map.get(_key(value))) is not None:
            self._used = True
            return mapped
        number = _stated_number(row, value)
        if number is not None and not self._numbers_mapped:
            (self._inside if 0 <= number <= 1 else self._outside)[number] += 1
        words = [] if self._map else _words(value)
        found = {*self._numbers(number), *words, *self._policies(row, value)}
        if len(found) == 1:
            return found.pop()
        if found:
            problem = f"choice is {shown(value)}, one side as a word or number, the other as a name"
            raise DataError(problem, field="choice", allowed="a choice with one meaning")
        raise fields.refused(row, "choice", "choice", self._hint(value, number))

    def _numbers(self, number: float | None) -> list[float]:
        known = number is not None and 0 <= number <= 1 and not self._numbers_mapped
        return [number] if known else []  # type: ignore[list-item]

    def _policies(self, row: Row, value: object) -> list[float]:
        sides = (row.get("left_policy"), row.get("right_policy"))
        return [] if any(_key(side) in self._map for side in sides) else _policies(row, value)

    def unused(self) -> DataError | None:
        """The error for a map of which no row read so far had any value."""
        if not self._map or self._used:
            return None
        problem = f"choice map: no row's choice is {self._named}"
        return DataError(problem, field="choice", allowed="values that the choice column has")

    def _hint(self, value: object, number: float | None) -> str:
        example = "VALUE=left"
        if number is not None:
            example = f"{number:g}={'left' if number < 0 else 'right'}"
        elif str(value).strip().casefold() in ("true", "false"):
            example = "true=left --choice false=right if that is what they mean"
        return f"{self._allowed}, or say what yours mean with --choice {example}"

    def misread(self) -> DataError | None:
        """The error for a file whose numbers look coded in another way; then starts anew.

        That is so when numbers outside 0 to 1 were refused and the rest are all on one side, or
        they are more than `ODD_SHARE` of the numbers.
        """
        inside, outside = self._inside, self._outside
        self._inside, self._outside = Counter(), Counter()
        odd, good = outside.total(), inside.total()
        one_sided = all(n >= 0.5 for n in inside) or all(n <= 0.5 for n in inside)
        if not odd or not good or not (one_sided or odd > ODD_SHARE * (odd + good)):
            return None
        (value, times), seen = outside.most_common(1)[0], {*inside, *outside}
        problem = (
            f"choice is {value:g} in {times} of {odd + good} rows with a number, so the numbers "
            f"may mean something else than {NUMBERS}"
        )
        example = f"--choice {min(seen):g}=left --choice {max(seen):g}=right"
        allowed = f"every number named, such as {example}"
        return DataError(problem, field="choice", allowed=allowed)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _key(value: object) -> str:
    text = str(value).strip().casefold()
    number = _number(text)
    return text if number is None else repr(number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _stated_number(row: Row, value: object) -> float | None:
    """Numbers, and cells of a CSV that are written as one; JSON's text is text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)) or (isinstance(value, str) and isinstance(row, TextRow)):
        return _number(str(value))
    return None


def _words(value: object) -> list[float]:
    side = WORDS.get(value.strip().casefold()) if isinstance(value, str) else None
    return [] if side is None else [side]


def _policies(row: Row, value: object) -> list[float]:
    """The side of the policy that `value` names: as written, else in any case."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return []
    name, sides = str(value).strip(), [row.get("left_policy"), row.get("right_policy")]
    if not name or not all(isinstance(side, str) for side in sides):
        return []
    for form in (str.strip, str.casefold):
        named = [float(i) for i, side in enumerate(sides) if form(side) == form(name)]  # type: ignore[arg-type]
        if named:
            return named if len(named) == 1 else []
    return []
