"""The words of readings: one and none are grammatical, and nothing undefined is printed."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from analyses import wording


def test_names_are_those_of_figures() -> None:
    assert wording.named("reference_summary") == "the references"
    assert wording.named("sup4_6b_t.7") == "6.7B supervised, T=0.7"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 policies"), (1, "1 policy"), (1200, "1,200 policies")]
)
def test_counts(count: int, said: str) -> None:
    assert wording.counted(count, "policy", "policies") == said
    assert wording.counted(count, "label") == said.replace("policies", "labels").replace(
        "policy", "label"
    )


def test_intervals_say_their_level() -> None:
    row = pd.Series({"low": 0.1234, "high": 0.5, "level": 0.995})
    assert wording.interval(row) == "99.5% interval 12.3% to 50.0%"
    assert wording.interval(row, ".2f") == "99.5% interval 0.12 to 0.50"
    row["low"] = math.nan
    assert wording.interval(row) == "no interval"


def test_a_sentence_starts_with_a_capital_unless_with_a_name() -> None:
    assert wording.sentence("the references are best") == "The references are best"
    assert wording.sentence("openai_1.3b is best") == "openai_1.3b is best"
    assert wording.sentence("") == ""


def test_the_surest_is_not_the_highest_of_few_labels() -> None:
    rates = pd.DataFrame(
        {"low": [0.52, 0.41, 0.45], "n": [22, 300, 40]}, index=["few", "many", "some"]
    )
    assert wording.surest(rates).name == "some"
    assert wording.among(rates) == " among those with 30 labels or more"
    assert wording.among(rates, "ratings") == " among those with 30 ratings or more"
    for names, best in ((["many", "some"], "some"), (["few"], "few")):
        assert wording.surest(rates.loc[names]).name == best
        assert wording.among(rates.loc[names]) == ""


def test_only_what_has_an_interval_or_clusters_enough_is_drawn() -> None:
    """Of four posts no interval exists; of nine that all agree there is none, but a rate."""
    nan = math.nan
    rows = pd.DataFrame(
        {"value": [0.5, 1.0, 1.0, nan], "low": [0.4, nan, nan, nan], "n_clusters": [9, 9, 4, 0]}
    )
    assert wording.drawable(rows).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.2, "rising"),
        (-0.2, -0.1, "falling"),
        (-0.1, 0.1, "neither rising nor falling for certain"),
        (math.nan, math.nan, "neither rising nor falling for certain"),
    ],
)
def test_directions_are_those_of_the_interval(low: float, high: float, said: str) -> None:
    assert wording.direction(pd.Series({"low": low, "high": high})) == said


def test_error_bars_of_one_seed_say_nothing_of_others() -> None:
    one = pd.DataFrame({"method": ["one seed, posts as clusters, t(9)", None]})
    assert wording.error_of(one) == "1 SE over posts (one seed)"
    several = pd.DataFrame({"method": ["3 seeds x 10 posts, crossed, t(5)"]})
    assert wording.error_of(several) == "1 SE over posts and seeds"
