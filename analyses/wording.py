"""Words that the readings of analyses share: names, counts and intervals, said one way.

A reading is one sentence from table.csv alone. The words may be changed; that they stay grammatical
for none and one, and say nothing of what is undefined, is proved by tests/analyses/test_wording.py.
"""

from __future__ import annotations

import math

import pandas as pd

from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style

ENOUGH = 30
"""Labels from which on a policy can be the one that a sentence names."""


def named(policy: object) -> str:
    """A policy as figures name it; the references in the plural."""
    return "the references" if policy == REFERENCE_POLICY else style.policy_style(str(policy)).label


def sentence(text: str) -> str:
    """With a capital where it starts with a word; a policy called `openai_1.3b` is no word."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


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


def surest(rates: pd.DataFrame) -> tuple[pd.Series, str]:
    """The row whose interval has the highest lower end, and among whom, if not all.

    The highest rate of many is often that of the fewest labels. The lower end weighs both, but of
    many intervals some end high by luck, most likely the wide ones: rows with `ENOUGH` labels come
    first.
    """
    enough = rates[rates["n"] >= ENOUGH]
    if enough.empty or len(enough) == len(rates):
        return rates.loc[rates["low"].idxmax()], ""
    return enough.loc[enough["low"].idxmax()], f" among those with {ENOUGH} labels or more"
