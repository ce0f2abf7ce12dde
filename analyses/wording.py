"""Words that the readings of analyses share: names, counts and intervals, said one way.

A reading is one sentence from table.csv alone. The words may be changed; that they stay grammatical
for none and one, and say nothing of what is undefined, is proved by tests/analyses/test_wording.py.
"""

from __future__ import annotations

import math

import pandas as pd

from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.stats.estimate import MIN_CLUSTERS

ENOUGH = 30
"""Labels from which on a policy can be the one that a sentence names."""


def named(policy: object) -> str:
    """A policy as figures name it; the references in the plural."""
    return "the references" if policy == REFERENCE_POLICY else style.policy_style(str(policy)).label


def sentence(text: str) -> str:
    """ "The references" with a capital at the start; a policy keeps its name as it is."""
    return text[0].upper() + text[1:] if text.startswith("the ") else text


def counted(count: float, one: str, many: str = "") -> str:
    """ "1 policy", "1,200 policies"; `many` is `one` with an s where it is not given."""
    return f"{count:,.0f} {one if count == 1 else many or f'{one}s'}"


def interval(estimate: pd.Series, form: str = ".1%") -> str:
    """ "95% interval 27.1% to 46.2%"; why there is none where it is undefined."""
    if math.isnan(estimate["low"]):
        return "no interval"
    return (
        f"{100 * estimate['level']:g}% interval {estimate['low']:{form}} to "
        f"{estimate['high']:{form}}"
    )


def direction(change: pd.Series) -> str:
    """ "rising" or "falling" where the interval of a change says so."""
    if change["low"] > 0:
        return "rising"
    return "falling" if change["high"] < 0 else "neither rising nor falling for certain"


def error_of(table: pd.DataFrame) -> str:
    """What the error bars of an experiment's figure are, by the methods of its estimates."""
    alone = table["method"].str.contains("one seed").any()
    return "1 SE over posts (one seed)" if alone else "1 SE over posts and seeds"


def well_known(rates: pd.DataFrame) -> pd.DataFrame:
    """Rows of `ENOUGH` labels or more; all where there is none."""
    enough = rates[rates["n"] >= ENOUGH]
    return enough if len(enough) else rates


def among(rates: pd.DataFrame, units: str = "labels") -> str:
    """ " among those with 30 labels or more" where `well_known` is not all of them."""
    all_known = len(well_known(rates)) == len(rates)
    return "" if all_known else f" among those with {ENOUGH} {units} or more"


def surest(rates: pd.DataFrame) -> pd.Series:
    """The well-known row whose interval has the highest lower end.

    The highest rate of many is often that of the fewest labels. The lower end weighs both, but of
    many intervals some end high by luck, most likely the wide ones, so few labels do not count.
    """
    known = well_known(rates)
    return known.loc[known["low"].idxmax()]


def drawable(table: pd.DataFrame) -> pd.Series:
    """Whether a figure shows a row: it has an interval, or as many clusters as one needs.

    With enough clusters an interval is missing because all of them agree, which is worth showing.
    """
    known = table["low"].notna() | (table["n_clusters"] >= MIN_CLUSTERS)
    return table["value"].notna() & known
