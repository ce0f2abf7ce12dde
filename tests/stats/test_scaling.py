"""Slopes per doubling: exact planes, statsmodels, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from evalsuite.errors import StatisticsError
from evalsuite.stats.replicates import crossed_mean
from evalsuite.stats.scaling import scaling_per_doubling


def grid(value, *, seeds=2, posts=6, models=((600, 1e6), (1200, 1e6), (600, 4e6), (1200, 4e6))):
    """Rows of every model on every post of every seed; value(labels, parameters, seed, post)."""
    rows = [
        {"correct": value(n, m, s, p), "labels": n, "parameters": m, "seeds": s, "posts": f"p{p}"}
        for s in range(seeds)
        for p in range(posts)
        for n, m in models
    ]
    return pd.DataFrame(rows)


def fit(rows, **options):
    return scaling_per_doubling(**{name: rows[name] for name in rows}, **options)


def plane(n, m, s, p):
    """Two points per doubling of labels, three per doubling of parameters; posts differ."""
    return 0.5 + 0.02 * math.log2(n / 600) + 0.03 * math.log2(m / 1e6) + 0.01 * p


def test_an_exact_plane_is_found_with_no_error():
    found = fit(grid(plane))
    assert found.data.value == pytest.approx(0.02)
    assert found.size.value == pytest.approx(0.03)
    assert found.data.se == pytest.approx(0, abs=1e-9)
    assert (found.labels, found.parameters) == pytest.approx((600 * math.sqrt(2), 2e6))
    # half a doubling of labels, one of parameters, and posts 0..5
    assert found.centre.value == pytest.approx(0.5 + 0.01 + 0.03 + 0.025)
    assert found.accuracy([600, 1200], [1e6, 4e6]) == pytest.approx([0.525, 0.605])
    assert (found.data.n, found.left_out) == (48, 0)


def test_slopes_are_those_of_least_squares_over_rows(rng):
    rows = grid(lambda n, m, s, p: float(rng.integers(2)), seeds=3, posts=20)
    model = smf.ols("correct ~ np.log2(labels) + np.log2(parameters)", rows).fit()
    found = fit(rows)
    assert found.data.value == pytest.approx(model.params.iloc[1])
    assert found.size.value == pytest.approx(model.params.iloc[2])


def test_with_two_amounts_the_slope_is_the_crossed_difference(rng):
    models = ((600, 1e6), (2400, 1e6))
    rows = grid(lambda n, m, s, p: float(rng.integers(2)), posts=12, models=models)
    few, many = (rows[rows["labels"] == n].reset_index() for n in (600, 2400))
    halves = (many["correct"] - few["correct"]) / 2  # two doublings
    expected = crossed_mean(halves, seeds=few["seeds"], posts=few["posts"])
    found = fit(rows)
    assert found.data[:4] == pytest.approx(expected[:4])
    assert found.size.method == "undefined: reward models of one size only"
    assert found.accuracy(600, 1e6) == pytest.approx(few["correct"].mean())


def test_pairs_of_a_post_and_members_are_averaged_first():
    rows = grid(plane)
    twice = rows.iloc[[0, 0, 0]].assign(correct=rows["correct"].iloc[0] + np.array([1, -1, 0]))
    found = fit(pd.concat([rows, twice], ignore_index=True))
    assert found.data.value == pytest.approx(0.02)
    assert found.data.n == 51


def test_what_some_seed_lacks_is_left_out_and_counted():
    rows = grid(plane)
    only = rows.iloc[[0]].assign(labels=9600, correct=0.0)  # a model of seed 0 only
    hole = (rows["posts"] == "p3") & (rows["labels"] == 600) & (rows["seeds"] == 1)
    found = fit(pd.concat([rows[~hole], only], ignore_index=True))
    assert found.data.value == pytest.approx(0.02)
    assert found.data.n_clusters == 5
    # the foreign model, and what is left of p3: 4 of seed 0, 2 of seed 1
    assert found.left_out == 1 + 4 + 2


def test_one_amount_or_both_together_have_no_slope():
    together = fit(grid(plane, models=((600, 1e6), (1200, 2e6), (2400, 4e6))))
    for slope in (together.data, together.size):
        assert slope.method == "undefined: labels and size move together"
    sizes = fit(grid(plane, models=((600, 1e6), (600, 2e6))))
    assert sizes.data.method == "undefined: reward models of one amount of labels only"
    assert sizes.size.value == pytest.approx(0.03)


def test_seeds_may_have_posts_of_their_own():
    rows = grid(lambda n, m, s, p: plane(n, m, s, p) + 0.01 * s * math.log2(n / 600))
    rows["posts"] = rows["posts"] + "s" + rows["seeds"].astype(str)
    found = fit(rows)
    assert found.data.value == pytest.approx(0.025)  # slopes .02 and .03
    assert found.data.se == pytest.approx(0.005)
    assert (found.data.n, found.left_out) == (48, 0)
    assert found.data.method.startswith("2 seeds, 12 posts nested in them")


def test_nothing_left_is_undefined():
    rows = grid(plane, posts=2)
    rows = rows[(rows["posts"] == "p0") == (rows["labels"] == 600)]
    found = fit(rows)
    reason = "undefined: no post that every reward model judged"
    assert found.data.method == found.size.method == found.centre.method == reason
    assert found.left_out == 8
    assert fit(rows.iloc[:0]).data.method == reason


def test_wrong_inputs_are_refused():
    rows = grid(plane)
    with pytest.raises(StatisticsError, match="have 48, 48, 48, 48, 1 rows; allowed one length"):
        scaling_per_doubling(**{n: rows[n] for n in list(rows)[:4]}, posts=["a"])
    with pytest.raises(StatisticsError, match="labels or parameters are not above 0"):
        fit(rows.assign(labels=0.0))
    with pytest.raises(StatisticsError, match="correct has a NaN; allowed 0 to 1"):
        fit(rows.assign(correct=math.nan))
