"""What the settings of analyses have in common: ranges, names of policies and of splits.

A setting that names nothing in the data is a slip of the pen, and running with something else would
hide it: it fails and says what there is. Only a default that the data does not have gives way.
tests/analyses/test_choices.py has every refusal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated

import pandas as pd
from pydantic import Field

from evalsuite.errors import ConfigError
from evalsuite.records import REFERENCE_POLICY, shown
from evalsuite.tables import Tables

Share = Annotated[float, Field(gt=0, lt=1)]
"""Coverage of an interval, or a chance of error."""
Count = Annotated[int, Field(ge=1)]

LISTED = 12
"""Names that an error lists at most."""


def refuse_unknown(option: str, value: str, names: Iterable[object], what: str) -> None:
    """Raises ConfigError when `value` is none of the names: with the nearest, and what there is."""
    known = sorted({str(name) for name in names})
    if value in known:
        return
    near = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(known[:LISTED]) or "none"
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    raise ConfigError(f"{option} is {shown(value)}; {hint}{what} in the data: {listed}{more}")


def check_policy(option: str, value: str, tables: Tables) -> None:
    """Raises ConfigError when a policy was asked for by name that the data does not have.

    The default, the references, may be missing. Known are the policies of all domains, so that a
    policy of one domain may be named for all.
    """
    if value != REFERENCE_POLICY:
        rows = tables.comparisons
        sides = [tables.policies["policy"], rows["left_policy"], rows["right_policy"]]
        refuse_unknown(option, value, pd.concat(sides).dropna(), "policies")


def anchor(wanted: str, rows: pd.DataFrame) -> str:
    """The policy that rates are against: the one wanted, or without comparisons of it the one with
    most."""
    counts = pd.concat([rows["left_policy"], rows["right_policy"]]).value_counts()
    return wanted if wanted in counts.index else str(counts.sort_index().idxmax())


def of_splits(rows: pd.DataFrame, splits: Sequence[str], left_out: dict[str, int]) -> pd.DataFrame:
    """Comparisons of the splits asked for (none: all); the others are counted in `left_out`.

    Raises ConfigError on a split that the data does not have.
    """
    if not splits:
        return rows
    for split in splits:
        refuse_unknown("splits", split, rows["split"].dropna(), "splits")
    kept = rows["split"].isin(splits)
    left_out["comparisons of other splits"] = int((~kept).sum())
    return rows[kept]
