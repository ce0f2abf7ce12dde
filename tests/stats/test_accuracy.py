"""Accuracy of rewards beside the longer-is-better rule, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evalsuite.errors import StatisticsError
from evalsuite.stats.accuracy import accuracy_table, agreement


def pairs(**more: object) -> pd.DataFrame:
    """Six labels of six posts; the last is a tie.

    choice          1    0    1    0    .8   .5
    rewards right   1    1    1   -1     0    1   (left 0 everywhere)
    agreement       1    0    1    1    .5   --   sum 3.5 of 5
    chars right    20    5   10    5    20   20   (left 10 everywhere)
    agreement       1    1   .5    1     1   --   sum 4.5 of 5
    """
    return pd.DataFrame(
        {
            "post_id": list("abcdef"),
            "choice": [1, 0, 1, 0, 0.8, 0.5],
            "left_reward": 0.0,
            "right_reward": [1.0, 1, 1, -1, 0, 1],
            "left_chars": 10,
            "right_chars": [20, 5, 10, 5, 20, 20],
            "batch": ["x", "x", "y", "y", None, "y"],
            **more,
        }
    )


def value(table: pd.DataFrame, by: str, name: str, quantity: str) -> pd.Series:
    rows = table[(table["by"] == by) & (table["slice"] == name) & (table["quantity"] == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_agreement_by_hand() -> None:
    got = agreement([1, 0, 1, 0.4, 1, 0.5], [0, 0, 2, 2, 1, 0], [1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(got, [1, 0, 0, 1, 0.5, math.nan])


def test_table_by_hand() -> None:
    table = accuracy_table(pairs(), slices=["batch"])
    accuracy = value(table, "all", "all", "accuracy")
    assert accuracy["value"] == pytest.approx(0.7)
    assert (accuracy["n"], accuracy["n_clusters"], accuracy["n_ties"]) == (5, 5, 1)
    # One label a post: s / sqrt(n) of 1, 0, 1, 1, .5; squares about .7 sum to .8, over 4, over 5.
    assert accuracy["se"] == pytest.approx(math.sqrt(0.8 / 4 / 5))
    # t(4) at .975 is 2.7764; .7 + 2.7764 * .2 = 1.255 is cut to 1.
    assert accuracy["low"] == pytest.approx(0.7 - 2.7764451 * 0.2)
    assert accuracy["high"] == 1.0
    assert value(table, "all", "all", "longer")["value"] == pytest.approx(0.9)
    difference = value(table, "all", "all", "difference")
    # 0, -1, .5, 0, -.5: mean -.2, squares about it .04 + .64 + .49 + .04 + .09 = 1.3.
    assert difference["value"] == pytest.approx(-0.2)
    assert difference["se"] == pytest.approx(math.sqrt(1.3 / 4 / 5))
    assert value(table, "batch", "y", "accuracy")["value"] == 1.0
    assert value(table, "batch", "y", "accuracy")["n_ties"] == 1
    assert value(table, "batch", "x", "longer")["value"] == 1.0
    assert set(table["slice"]) == {"all", "x", "y"}


def test_labels_of_one_post_are_one_cluster() -> None:
    table = accuracy_table(pairs(post_id=list("aabbcc")))
    row = value(table, "all", "all", "accuracy")
    assert (row["n"], row["n_clusters"]) == (5, 3)
    assert set(table["n_clusters"]) == {3}
    assert math.isnan(row["low"])
    assert "3 clusters, 5 needed" in row["method"]


def test_turning_sides_changes_nothing() -> None:
    plain = pairs()
    turned = plain.rename(
        columns={
            f"{a}_{of}": f"{b}_{of}"
            for of in ("reward", "chars")
            for a, b in (("left", "right"), ("right", "left"))
        }
    ).assign(choice=1 - plain["choice"])
    pd.testing.assert_frame_equal(accuracy_table(plain), accuracy_table(turned))


def test_nothing_but_ties_is_undefined() -> None:
    row = value(accuracy_table(pairs(choice=0.5)), "all", "all", "accuracy")
    assert math.isnan(row["value"])
    assert row["n_ties"] == 6


def test_bad_input_is_refused() -> None:
    with pytest.raises(StatisticsError, match="pairs have no column 'day'; allowed post_id"):
        accuracy_table(pairs(), slices=["day"])
    with pytest.raises(StatisticsError, match="a score is NaN; allowed numbers"):
        agreement([1], [math.nan], [0])
    with pytest.raises(StatisticsError, match=r"a choice is outside \[0, 1\]; allowed shares"):
        agreement([2], [0], [1])
