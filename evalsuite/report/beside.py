"""A run beside the paper: what each found, whether they agree in direction, numbers in two columns.

The page asks for one `Beside` a section; here the companion's text meets the run's own files.
Directions are read from `directions/table.csv` of the same folder (columns key, claim, verdict,
lacks), never judged here; numbers of the run are looked up in its tables, never computed.
`tests/report/test_beside.py` holds this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count, groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from evalsuite.report.companion import LARGEST, SMALLEST, TRUST, Number, Rows, Section
from evalsuite.report.looks import policy_style
from evalsuite.report.numbers import decimals_of, number

SHOWN_MATCHES = 4
"""Rows of the run for each number of the paper that they stand beside; more are counted."""

UNMEASURED = "not measured"
"""The verdict on a direction that a run has no means to test."""

BY_CONSTRUCTION = "by construction"
"""The verdict on a direction that could not come out otherwise, and so says nothing."""

_NO_LABEL = {
    "value", "se", "low", "high", "level", "n", "n_clusters", "method", "tied", "parameters",
    "place", "published",
}  # fmt: skip
"""Columns that do not name a row, or say what another one says."""
_PLACES = {"share": 2, "nats": 1}
"""Decimals that the paper always prints: shares are whole percents at least, KL has tenths."""
_UNITS = {"chars": "characters", "nats": "nats", "points": "points"}


class Verdict(NamedTuple):
    """Whether run and paper agree in direction: a class for its look, and the words."""

    kind: str
    words: str


VERDICTS = {
    "yes": Verdict("yes", "Agrees in direction"),
    "part": Verdict("part", "Agrees in part"),
    "none": Verdict("none", "Not shown"),
    "mixed": Verdict("mixed", "Mixed"),
    "no": Verdict("no", "Reversed"),
    "unmeasured": Verdict("unmeasured", "Not measured"),
    "unstated": Verdict("unstated", "No direction stated"),
}


class Claim(NamedTuple):
    """One direction that the paper states, and what became of it in this run."""

    claim: str
    verdict: str
    note: str


class Match(NamedTuple):
    """A row of this run that measures what a number of the paper does."""

    label: str
    value: str


class Pair(NamedTuple):
    """A number of the paper with its source, and the run's rows beside it.

    span: numbers of the paper beside which the same rows stand, from this one on; 0 where they
    stand beside an earlier one.
    """

    label: str
    paper: str
    source: str
    trust: str
    approximate: bool
    matches: list[Match]
    more: int
    span: int


@dataclass(frozen=True)
class Beside:
    """What stands around an analysis on the page that compares a run with the paper."""

    section: Section
    verdict: Verdict
    claims: list[Claim]
    pairs: list[Pair]
    why: str

    @property
    def compared(self) -> bool:
        """Whether any number of the paper has a counterpart in this run."""
        return any(pair.matches for pair in self.pairs)


def beside(
    section: Section, table: pd.DataFrame | None, known: Mapping[str, Claim], *, why: str = ""
) -> Beside:
    """A section of the companion with this run's directions and numbers.

    table: the analysis' table as texts (csv read without conversion), None where there is none.
    known: this run's claims by key; those that the section names are shown. why: what this run
    knows of a disagreement; the companion's own sentence by default.
    """
    claims = [known[key] for key in section.claims if key in known]
    verdict = verdict_of([claim.verdict for claim in claims])
    quiet = verdict.kind in {"yes", "unmeasured", "unstated"}
    reason = "" if quiet else why or section.why
    pairs = [
        _pair(item, table, len(group) if not i else 0)
        for _, group in _shared(section.numbers)
        for i, item in enumerate(group)
    ]
    return Beside(section, verdict, claims, pairs, reason)


def verdict_of(verdicts: Iterable[str]) -> Verdict:
    """One verdict on several claims; its kind is a key of `VERDICTS`.

    What was not measured does not count, but the words say how many were. What holds by
    construction is passed over.
    """
    stated = [verdict for verdict in verdicts if verdict != BY_CONSTRUCTION]
    found = Counter(verdict for verdict in stated if verdict != UNMEASURED)
    shown, against = found["shown"], found["reversed"]
    if not found:
        return VERDICTS["unmeasured" if stated else "unstated"]
    if shown and against:
        kind = "mixed"
    elif shown:
        kind = "yes" if shown == found.total() else "part"
    else:
        kind = "no" if against else "none"
    words = VERDICTS[kind].words
    if kind == "mixed":
        words += f": {shown} shown, {against} reversed"
    if found.total() < len(stated):
        words += f" ({found.total()} of {len(stated)} measured)"
    return Verdict(kind, words)


def counted(claims: Iterable[Claim]) -> str:
    """All directions of a run in one sentence; what holds by construction is not counted."""
    found = Counter(claim.verdict for claim in claims)
    del found[BY_CONSTRUCTION]
    missed = found.pop(UNMEASURED, 0)
    words = ", ".join(f"{found[name]} {name}" for name in ("shown", "not shown", "reversed"))
    noun = "claim" if found.total() == 1 else "claims"
    measured = (
        f"Of {found.total()} {noun}, the paper's and others, that this run measures: {words}."
    )
    return f"{measured} Not measured: {missed}." if missed else measured


def read_claims(folder: Path) -> dict[str, Claim]:
    """Claims by key, of `folder/directions/table.csv`; none without it."""
    try:
        table = pd.read_csv(folder / "directions" / "table.csv", dtype="str", keep_default_na=False)
    except (FileNotFoundError, ValueError):
        return {}
    if not {"key", "claim", "verdict"} <= set(table.columns):
        return {}
    return {
        row["key"]: Claim(row["claim"], row["verdict"], row.get("lacks", ""))
        for row in _records(table)
    }


def _shared(numbers: Iterable[Number]) -> Iterator[tuple[Rows, list[Number]]]:
    """Neighbours that the same rows of the run stand beside; one by one where none do."""
    alone = count()
    for key, group in groupby(numbers, lambda item: item.here or next(alone)):
        yield key if isinstance(key, tuple) else (), list(group)


def _pair(item: Number, table: pd.DataFrame | None, span: int) -> Pair:
    rows = _rows(item, table)
    labels = _labels(rows)
    all_ = [Match(label, _estimate(row)) for label, row in zip(labels, rows, strict=True)]
    shown = all_[: SHOWN_MATCHES * span]
    return Pair(
        item.label, _paper(item), item.source, TRUST[item.trust], item.trust == "picture",
        shown, len(all_) - len(shown), span,
    )  # fmt: skip


def _paper(item: Number) -> str:
    """The paper's number as it is printed there, its error and unit."""
    least = _PLACES.get(item.unit, 0)
    text = f"{item.value:,.10g}"
    if len(text.partition(".")[2]) < least:
        text = f"{item.value:.{least}f}"
    error = "" if math.isnan(item.se) else f" ± {item.se:.10g}"
    return " ".join(filter(None, (text.replace("-", "−") + error, _UNITS.get(item.unit, ""))))


def _rows(item: Number, table: pd.DataFrame | None) -> list[Mapping[str, str]]:
    if table is None or not item.here or "value" not in table.columns:
        return []
    if any(column not in table.columns for column, _ in item.here):
        return []
    plain = [(column, want) for column, want in item.here if want not in (SMALLEST, LARGEST)]
    rows = [
        row
        for row in _records(table)
        if row["value"] and all(_fits(row[column], want) for column, want in plain)
    ]
    for column, want in item.here:
        if want in (SMALLEST, LARGEST):
            sizes = [_number(row[column]) for row in rows if row[column]]
            end = (min if want == SMALLEST else max)(sizes, default=math.nan)
            rows = [row for row in rows if _number(row[column]) == end]
    return rows


def _records(table: pd.DataFrame) -> list[Mapping[str, str]]:
    return [
        dict(zip(map(str, table.columns), map(str, row), strict=True))
        for row in table.itertuples(index=False, name=None)
    ]


def _fits(text: str, pattern: str) -> bool:
    """A number by its value ("0.050" is 0.05), text by a pattern with `*`, `!` for "not"."""
    if pattern.startswith("!"):
        return not _fits(text, pattern[1:])
    try:
        return math.isclose(float(text), float(pattern))
    except ValueError:
        return fnmatchcase(text, pattern)


def _labels(rows: list[Mapping[str, str]]) -> list[str]:
    """What tells the rows apart: the policy's label, or the columns in which they differ."""
    if not rows:
        return []
    names = [name for name in rows[0] if name not in _NO_LABEL]
    differ = [name for name in names if len({row[name] for row in rows}) > 1]
    if "policy" in names and (not differ or "policy" in differ):
        return [policy_style(row["policy"]).label for row in rows]
    differ = differ or ["size"]
    said = [[_said(name, row[name]) for name in differ if row.get(name)] for row in rows]
    return [", ".join(words) for words in said]


def _said(name: str, text: str) -> str:
    """A cell as part of a label: numbers with the name of their column."""
    value = _number(text)
    return text if math.isnan(value) else f"{number(value)} {name.replace('_', ' ')}"


def _estimate(row: Mapping[str, str]) -> str:
    value, error = (_number(row.get(name, "")) for name in ("value", "se"))
    places = decimals_of([error])[0]
    text = number(value, places)
    return text if places is None else f"{text} ± {number(error, places)}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
