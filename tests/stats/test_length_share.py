"""Shares of length: gains that are all, half or none of it, and naive definitions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from evalsuite.errors import StatisticsError
from evalsuite.stats.length_share import length_share_bins, length_share_regression
from evalsuite.stats.replicates import crossed_difference

BOTH = [length_share_bins, length_share_regression]


def world(*, gain, slope, longer, posts=300, seeds=2, noise=0.0, spread=0.3, seed=7):
    """Gold = post effect + gain of the treated + slope x log length + noise."""
    draw = np.random.default_rng(seed)
    effect = draw.normal(0, 1, posts)
    parts = []
    for s in range(seeds):
        for treated in (True, False):
            x = np.log(100) + longer * treated + draw.normal(0, spread, posts)
            y = effect + gain * treated + slope * x + draw.normal(0, noise, posts)
            part = {"gold": y, "length": np.exp(x), "treated": treated, "seeds": s}
            parts.append(pd.DataFrame({**part, "posts": [f"p{i}" for i in range(posts)]}))
    return pd.concat(parts, ignore_index=True)


def measure(method, rows, **options):
    return method(**{name: rows[name] for name in rows}, **options)


def test_the_regression_finds_an_exact_gain_at_equal_length():
    found = measure(length_share_regression, world(gain=0.5, slope=2, longer=0.25))
    assert found.held_equal.value == pytest.approx(0.5)
    assert found.slope.value == pytest.approx(2)
    assert found.slope.se == pytest.approx(0, abs=1e-9)
    assert found.share.value == pytest.approx(1 - 0.5 / found.raw.value)
    assert found.raw.value == pytest.approx(1.0, abs=0.1)


def test_the_regression_is_the_one_with_a_dummy_for_each_post():
    rows = world(gain=0.3, slope=1, longer=0.2, posts=30, seeds=1, noise=0.5)
    rows["x"] = np.log(rows["length"])
    model = smf.ols("gold ~ treated + x + C(posts)", rows).fit()
    found = measure(length_share_regression, rows.drop(columns="x"))
    assert found.held_equal.value == pytest.approx(model.params["treated[T.True]"])
    assert found.slope.value == pytest.approx(model.params["x"])


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize(
    ("gain", "longer", "share"), [(0.0, 0.3, 1.0), (0.3, 0.3, 0.5), (0.6, 0.0, 0.0)]
)
def test_intervals_hold_shares_that_are_known(method, gain, longer, share):
    """A slope of 1: length adds `longer` to the gain."""
    rows = world(gain=gain, slope=1, longer=longer, posts=800, noise=0.2)
    found = measure(method, rows)
    assert found.share.low - 0.1 < share < found.share.high + 0.1  # bins keep some length inside
    assert found.share.value == pytest.approx(share, abs=0.15)
    assert found.share.se < 0.1


def test_the_raw_gain_is_the_crossed_difference():
    rows = world(gain=0.3, slope=1, longer=0.2, noise=0.5)
    one, other = rows[rows["treated"]], rows[~rows["treated"]]
    expected = crossed_difference(
        one["gold"].to_numpy(), other["gold"].to_numpy(), seeds=one["seeds"], posts=one["posts"]
    )
    for method in BOTH:
        assert measure(method, rows).raw[:4] == pytest.approx(expected[:4])


def naive_bins(rows, edges):
    """Mean over seeds of the gain within bins, weighted by the summaries they hold."""
    gains = []
    for _, part in rows.groupby("seeds"):
        bins = np.searchsorted(edges, part["length"], side="right")
        total = weight = 0.0
        for k in np.unique(bins):
            cell = part[bins == k]
            by = cell.groupby("treated")["gold"].mean()
            total += len(cell) * (by[True] - by[False])
            weight += len(cell)
        gains.append(total / weight)
    return np.mean(gains)


def test_bins_are_the_naive_weighted_mean_and_jackknife():
    rows = world(gain=0.3, slope=1, longer=0.2, posts=60, seeds=1, noise=0.5)
    edges = np.quantile(rows["length"], [1 / 3, 2 / 3])
    found = measure(length_share_bins, rows, bins=3)
    assert found.held_equal.value == pytest.approx(naive_bins(rows, edges))
    assert found.covered == 1
    without = [naive_bins(rows[rows["posts"] != f"p{i}"], edges) for i in range(60)]
    assert found.held_equal.se == pytest.approx(np.std(without, ddof=1) * 59 / math.sqrt(60))


def test_the_error_of_the_share_is_that_of_leaving_posts_out():
    """Gain and gain at equal length go together; up to second order in 1/P."""
    rows = world(gain=0.3, slope=1, longer=0.3, posts=200, seeds=1, noise=0.5)
    found = measure(length_share_regression, rows)
    one, other = (rows[rows["treated"] == side].reset_index() for side in (True, False))
    gain = (one["gold"] - other["gold"]).to_numpy()
    longer = np.log(one["length"] / other["length"]).to_numpy()
    shares = []
    for i in range(200):
        g, x = np.delete(gain, i), np.delete(longer, i)
        shares.append(1 - np.polyfit(x, g, 1)[1] / g.mean())
    jackknife = np.std(shares, ddof=1) * 199 / math.sqrt(200)
    assert found.share.se == pytest.approx(jackknife, rel=0.03)


def test_lengths_that_do_not_overlap_are_left_out():
    rows = world(gain=0.3, slope=1, longer=5.0)
    found = measure(length_share_bins, rows)
    assert found.covered == 0
    assert found.held_equal.method.startswith("undefined: no length of which both policies wrote 5")
    assert found.raw.value > 4
    partly = measure(length_share_bins, world(gain=0.3, slope=1, longer=0.9))
    assert 0 < partly.covered < 1


@pytest.mark.parametrize("method", BOTH)
def test_a_raw_gain_that_may_be_nothing_has_no_share(method):
    found = measure(method, world(gain=0.0, slope=0, longer=0.3, noise=1))
    assert found.raw.low < 0 < found.raw.high
    assert found.share.method == "undefined: the raw gain's interval covers 0"
    assert math.isfinite(found.held_equal.value)


@pytest.mark.parametrize("method", BOTH)
def test_posts_that_lack_a_policy_or_a_seed_are_left_out(method):
    rows = world(gain=0.3, slope=1, longer=0.2, posts=150)
    found = measure(method, rows.drop(index=rows.index[3]))  # p3, seed 0, treated
    assert found.left_out == 3
    assert found.raw.n_clusters == 149
    expected = measure(method, rows[rows["posts"] != "p3"])
    assert found.held_equal[:4] == pytest.approx(expected.held_equal[:4])


@pytest.mark.parametrize("method", BOTH)
def test_too_little_is_undefined(method):
    rows = world(gain=0.3, slope=1, longer=0.2, posts=1)
    found = measure(method, rows)
    reason = "undefined: fewer than 2 posts with both policies in every seed"
    assert found.raw.method == found.share.method == reason
    few = measure(method, world(gain=0.3, slope=1, longer=0.2, posts=4, spread=0.1))
    assert few.share.method.startswith("undefined: ")


def test_lengths_that_differ_alike_have_no_slope():
    found = measure(length_share_regression, world(gain=0.3, slope=1, longer=0.2, spread=0))
    assert found.slope.method == "undefined: differences in log length do not vary"
    assert found.raw.value == pytest.approx(0.5)


def test_wrong_inputs_are_refused():
    rows = world(gain=0, slope=0, longer=0, posts=5)
    with pytest.raises(StatisticsError, match="bins is 0; allowed 1 or more"):
        measure(length_share_bins, rows, bins=0)
    with pytest.raises(StatisticsError, match="a length is not above 0"):
        measure(length_share_regression, rows.assign(length=0))
    with pytest.raises(StatisticsError, match="a gold or length is NaN"):
        measure(length_share_regression, rows.assign(gold=math.nan))
    with pytest.raises(StatisticsError, match="have 20, 20, 20, 20, 1 rows; allowed one length"):
        length_share_regression(**{n: rows[n] for n in list(rows)[:4]}, posts=["a"])
