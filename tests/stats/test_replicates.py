"""Crossed means by hand, against statsmodels' analysis of variance, and by simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import anova_lm

from evalsuite.errors import StatisticsError
from evalsuite.stats.means import cluster_mean
from evalsuite.stats.replicates import (
    crossed_cells,
    crossed_difference,
    crossed_mean,
    crossed_statistic,
    pseudo_values,
)

# Means of seeds 3, 4, 8, of posts 3, 4, 5, 8, of all 5. MS_seed = 4 (4 + 1 + 9) / 2 = 28,
# MS_post = 3 (4 + 1 + 0 + 9) / 3 = 14; what is left is +1 and -1 twice, MS_rest = 4 / 6.
TABLE = np.array([[1, 2, 3, 6], [2, 4, 3, 7], [6, 6, 9, 11.0]])


def long(table):
    """Values, seeds and posts, one row a cell."""
    S, P = table.shape
    return table.ravel(), np.repeat(np.arange(S), P), np.tile([f"p{i}" for i in range(P)], S)


def mean_of(table, **options):
    values, seeds, posts = long(table)
    return crossed_mean(values, seeds=seeds, posts=posts, **options)


def test_three_seeds_by_four_posts_by_hand():
    found = mean_of(TABLE)
    assert (found.value, found.n, found.n_clusters) == (5, 12, 4)
    assert found.se**2 == pytest.approx((28 + 14 - 2 / 3) / 12)
    assert math.isnan(found.low)
    assert found.method == "3 seeds x 4 posts, crossed; no interval: 4 clusters, 5 needed"


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_has_statsmodels_mean_squares_and_satterthwaites_freedom(seeds):
    rng = np.random.default_rng(seeds)
    y = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(seeds, 12))
    values, s, p = long(y)
    frame = pd.DataFrame({"y": values, "s": s, "p": p})
    table = anova_lm(smf.ols("y ~ C(s) + C(p)", frame).fit())
    ms, df = table["mean_sq"].to_numpy(), table["df"].to_numpy()
    total = ms @ np.array([1, 1, -1])
    freedom = total**2 / (ms**2 / df).sum()
    found = mean_of(y, level=0.9)
    assert found.se == pytest.approx(math.sqrt(total / y.size))
    half = stats.t.ppf(0.95, freedom) * found.se
    assert (found.low, found.high) == pytest.approx((y.mean() - half, y.mean() + half))
    assert found.method.endswith(f"t({round(freedom, 1):g})")


def test_seeds_that_agree_too_well_leave_what_posts_alone_give():
    """Seed means are equal, MS_seed = 0 < MS_rest: subtracting would go below the posts' term."""
    post = np.arange(8.0)
    y = np.stack([post, post]) + np.array([[1, -1] * 4, [-1, 1] * 4])
    found = mean_of(y)
    assert found.se == pytest.approx(post.std(ddof=1) / math.sqrt(8))
    assert found.method.endswith("t(7)")


def test_posts_that_agree_too_well_leave_what_seeds_alone_give():
    y = np.array([[0.0], [2.0], [7.0]]) + np.array([[1, -1] * 4, [-1, 1] * 4, [0, 0] * 4])
    found = mean_of(y)
    assert found.se == pytest.approx(np.std([0, 2, 7], ddof=1) / math.sqrt(3))
    assert found.method.endswith("t(2)")


def test_one_seed_is_a_mean_over_posts_and_says_so(rng):
    y = rng.normal(size=(1, 9))
    found, plain = mean_of(y), cluster_mean(y[0])
    assert found[:7] == pytest.approx(plain[:7])
    assert found.method == "one seed, posts as clusters, t(8)"


def test_constant_values_have_an_interval_without_width():
    found = mean_of(np.full((3, 6), 2.0))
    assert (found.value, found.se, found.low, found.high) == (2, 0, 2, 2)


def test_rows_of_a_cell_are_averaged_and_posts_some_seed_lacks_left_out():
    values, seeds, posts = long(np.arange(12.0).reshape(2, 6))
    rows = pd.DataFrame({"y": values, "s": seeds, "p": posts}).drop(index=3)  # seed 0, p3
    rows = pd.concat([rows, rows.iloc[[0]].assign(y=4.0)])  # p0 of seed 0: 0 and 4, mean 2
    found = crossed_mean(rows["y"], seeds=rows["s"], posts=rows["p"])
    assert found.value == pytest.approx((2 + 1 + 2 + 4 + 5 + 6 + 7 + 8 + 10 + 11) / 10)
    assert (found.n, found.n_clusters) == (11, 5)
    assert "1 posts not in every seed left out" in found.method
    cells = crossed_cells(rows["y"], seeds=rows["s"], posts=rows["p"])
    assert cells.posts == ["p0", "p1", "p2", "p4", "p5"]
    assert (cells.seeds, cells.left_out) == ([0, 1], 1)


def test_columns_are_averaged_each():
    cells = crossed_cells([[1, 10], [3, 20], [5, 30]], seeds=[0, 0, 0], posts=["a", "a", "b"])
    assert cells.values.tolist() == [[[2, 15], [5, 30]]]


def test_nothing_is_undefined_with_the_reason():
    assert crossed_mean([], seeds=[], posts=[]).method == "undefined: no values"
    assert crossed_cells([1, 2], seeds=[0, 1], posts=["a", "b"]).values.shape == (2, 0)
    assert crossed_statistic(np.empty((3, 0))).method == "undefined: no values"


def nested(by_seed):
    rows = [(y, s, f"s{s}p{p}") for s, part in enumerate(by_seed) for p, y in enumerate(part)]
    values, seeds, posts = zip(*rows, strict=True)
    return crossed_mean(values, seeds=seeds, posts=posts)


def test_seeds_with_posts_of_their_own_are_the_units():
    """Means 1, 3, 8 of seeds with 2, 2 and 3 posts: mean 4, SD sqrt(13)."""
    found = nested([[0, 2], [3, 3], [7, 8, 9]])
    assert (found.value, found.n, found.n_clusters) == (4, 7, 7)
    assert found.se == pytest.approx(math.sqrt(13 / 3))
    assert found.method == "3 seeds, 7 posts nested in them, t(2)"


def test_nested_seeds_that_agree_too_well_leave_what_posts_give():
    """Variances 2 and 8 of means of 2, and means equal: (2/2 + 8/2) / 4; 4 - 2 degrees."""
    found = nested([[4, 6], [3, 7]])
    assert found.se == pytest.approx(math.sqrt(5 / 4))
    assert "4 clusters, 5 needed" in found.method
    assert nested([[4, 6], [3, 7, 5]]).method.endswith("nested in them, t(3)")
    assert math.isnan(nested([[4], [3, 7, 5, 1, 2]]).se)


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(5, 9), st.integers(0, 2**32 - 1))
def test_swapping_sides_turns_the_sign_and_row_order_does_not_matter(S, P, seed):
    draw = np.random.default_rng(seed)
    a, seeds, posts = long(draw.normal(size=(S, P)))
    b = draw.normal(size=S * P)
    forth = crossed_difference(a, b, seeds=seeds, posts=posts)
    order = draw.permutation(S * P)
    back = crossed_difference(b[order], a[order], seeds=seeds[order], posts=posts[order])
    assert back.value == pytest.approx(-forth.value, abs=1e-12)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=1e-9)


@settings(max_examples=40)
@given(st.integers(2, 4), st.integers(5, 9), st.integers(0, 2**32 - 1))
def test_never_below_either_source_alone(S, P, seed):
    draw = np.random.default_rng(seed)
    y = draw.normal(size=(S, P)) * draw.exponential() + draw.normal(size=(S, 1))
    se = mean_of(y).se
    assert se >= y.mean(axis=0).std(ddof=1) / math.sqrt(P) * (1 - 1e-9)
    assert se >= y.mean(axis=1).std(ddof=1) / math.sqrt(S) * (1 - 1e-9)


def test_pseudo_values_are_those_of_leaving_posts_out_one_by_one(rng):
    data = rng.uniform(1, 2, size=(2, 7, 3))

    def statistic(m):
        return np.stack([m[..., 0] / m[..., 1], np.log(m[..., 2])], axis=-1)

    found = pseudo_values(statistic, data)
    for s in range(2):
        whole = statistic(data[s].mean(axis=0))
        for p in range(7):
            without = statistic(np.delete(data[s], p, axis=0).mean(axis=0))
            assert found[s, p] == pytest.approx(7 * whole - 6 * without)


def test_pseudo_values_of_a_mean_are_its_values_and_of_weights_any_statistic(rng):
    y = rng.normal(size=(3, 8))
    assert pseudo_values(lambda m: m[..., 0], y[..., None]) == pytest.approx(y)
    weights = np.broadcast_to(np.eye(8), (3, 8, 8))
    weighted = pseudo_values(lambda w: np.einsum("skp,sp->sk", w, y), weights)
    assert weighted == pytest.approx(y)


def test_a_ratio_of_means_has_about_its_delta_method_error(rng):
    x, y = rng.uniform(1, 2, size=(2, 4000))
    table = pseudo_values(lambda m: m[..., 0] / m[..., 1], np.stack([y, x], axis=-1)[None])
    ratio = y.mean() / x.mean()
    found = crossed_statistic(table, value=ratio, method="ratio")
    delta = np.std((y - ratio * x) / x.mean(), ddof=1) / math.sqrt(4000)
    assert found.value == ratio
    assert found.se == pytest.approx(delta, rel=1e-3)
    assert found.method.startswith("ratio, one seed")


def test_undefined_pseudo_values_leave_no_interval():
    table = np.ones((2, 6))
    table[0, 3] = math.nan
    found = crossed_statistic(table)
    assert math.isnan(found.value)
    assert found.method == "undefined: 1 of 12 pseudo-values are undefined"
    named = crossed_statistic(table, value=3.0, method="peak")
    assert (named.value, math.isnan(named.low)) == (3, True)
    assert named.method.startswith("peak, 1 of 12 pseudo-values are undefined; no interval")


def test_wrong_inputs_are_refused():
    with pytest.raises(StatisticsError, match="have 2, 1 and 2 rows; allowed one length"):
        crossed_mean([1, 2], seeds=[0], posts=["a", "b"])
    with pytest.raises(StatisticsError, match="a value is NaN or infinite"):
        crossed_mean([1, math.nan], seeds=[0, 0], posts=["a", "b"])
    with pytest.raises(StatisticsError, match="a seed or post is missing"):
        crossed_mean([1, 2], seeds=[0, 0], posts=["a", None])
    with pytest.raises(StatisticsError, match=r"a has shape \(2,\), b \(1,\); allowed the same"):
        crossed_difference([1, 2], [1], seeds=[0, 0], posts=["a", "b"])
    with pytest.raises(StatisticsError, match="pseudo has 1 dimensions; allowed 2"):
        crossed_statistic([1, 2])
    with pytest.raises(StatisticsError, match=r"values has shape \(2, 1, 3\); allowed \(seeds"):
        pseudo_values(lambda m: m[..., 0], np.ones((2, 1, 3)))
    with pytest.raises(StatisticsError, match=r"the statistic of means \(1, 1, 1\) has shape \(\)"):
        pseudo_values(lambda m: m.sum(), np.ones((1, 4, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("post_sd", [0.3, 1.0])
@pytest.mark.parametrize("seed_sd", [0.0, 0.03, 0.1, 0.3, 1.0])
def test_coverage_with_three_seeds_and_a_hundred_posts(seed_sd, post_sd):
    """`pytest -m slow -s` prints the rates; their standard error is .5 points near 95%."""
    draw, inside, data_sets = np.random.default_rng(20200902), 0, 2000
    for _ in range(data_sets):
        y = (
            draw.normal(0, seed_sd, (3, 1))
            + draw.normal(0, post_sd, (1, 100))
            + draw.normal(0, 1, (3, 100))
        )
        found = crossed_statistic(y)
        inside += found.low <= 0 <= found.high
    coverage = inside / data_sets
    print(f"seed SD {seed_sd}, post SD {post_sd}: {coverage:.3f}")  # noqa: T201 - on request, -s
    assert 0.91 < coverage < 0.985


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.0, 0.05, 0.1, 0.2, 1.0])
def test_coverage_of_three_seeds_with_a_hundred_posts_of_their_own(seed_sd):
    """Posts of SD 1, so their share of a seed's mean has SD .1."""
    draw, inside, data_sets = np.random.default_rng(20200902), 0, 2000
    for _ in range(data_sets):
        y = draw.normal(0, seed_sd, (3, 1)) + draw.normal(0, 1, (3, 100))
        found = nested(y)
        inside += found.low <= 0 <= found.high
    coverage = inside / data_sets
    print(f"nested, seed SD {seed_sd}: {coverage:.3f}")  # noqa: T201 - on request, -s
    assert 0.9 < coverage < 0.99
