"""Lines of rating on length: the published lead-3 number, statsmodels, and what is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats.rating_length import fit_rating_length, pooled_slope


def simulated(rng, n=300, posts=60):
    post = rng.integers(0, posts, n)
    length = rng.normal(300, 90, n)
    rating = 4 + 0.003 * length + rng.normal(size=posts)[post] + rng.normal(size=n)
    return rating, length, post


def line_without(rating, length, post, at):
    """Slope per 100 and rating at a length without each post: a naive jackknife."""
    out = []
    for g in np.unique(post):
        keep = post != g
        slope, level = np.polyfit(length[keep], rating[keep], 1)
        out.append((100 * slope, level + slope * at))
    return np.array(out)


def test_lead_3_at_the_references_length():
    # Table 13: lead-3 has 475 characters (sd 114), rating 6.23, 0.34 per 100 characters; the
    # references have 314. 6.23 - 0.34 * (475 - 314) / 100 = 5.6826, printed as 5.68.
    length = np.array([475.0 - 114, 475, 475 + 114])
    line = fit_rating_length(6.23 + 0.0034 * (length - 475), length)
    assert line.slope.value == pytest.approx(0.34, abs=1e-12)
    assert line.mean_rating.value == pytest.approx(6.23)
    assert (line.mean_length.value, line.sd_length) == (475, 114)
    assert line.at(314).value == pytest.approx(6.23 - 0.34 * 1.61, abs=1e-12)
    assert line.at(475).value == pytest.approx(6.23, abs=1e-12)


def test_estimates_are_those_of_statsmodels(rng):
    rating, length, _ = simulated(rng)
    line = fit_rating_length(rating, length)
    peer = sm.OLS(rating, sm.add_constant(length / 100)).fit()
    assert line.slope.value == pytest.approx(peer.params[1], rel=1e-10)
    assert line.at(314).value == pytest.approx(peer.params @ [1, 3.14], rel=1e-10)
    # The delete-one jackknife about the full estimate is HC3 up to the factor (n - 1) / n.
    hc3 = sm.OLS(rating, sm.add_constant(length / 100)).fit(cov_type="HC3").cov_params()
    shrink = math.sqrt(299 / 300)
    assert line.slope.se == pytest.approx(shrink * math.sqrt(hc3[1, 1]), rel=1e-8)
    x = np.array([1, 3.14])
    assert line.at(314).se == pytest.approx(shrink * math.sqrt(x @ hc3 @ x), rel=1e-8)
    assert line.slope.method == "least squares, rows as clusters (jackknife), t(299)"


def test_clustered_errors_are_the_naive_jackknife(rng):
    rating, length, post = simulated(rng)
    line = fit_rating_length(rating, length, clusters=post)
    groups = len(np.unique(post))
    without = line_without(rating, length, post, 314)
    full = np.array([line.slope.value, line.at(314).value])
    se = np.sqrt((groups - 1) / groups * ((without - full) ** 2).sum(0))
    assert [line.slope.se, line.at(314).se] == pytest.approx(se, rel=1e-9)
    assert (line.slope.n, line.slope.n_clusters) == (300, groups)
    assert (
        line.slope.method == f"least squares, cluster-robust by post (jackknife), t({groups - 1})"
    )


def test_many_clusters_give_the_sandwich(rng):
    rating, length, post = simulated(rng, n=6000, posts=2000)
    line = fit_rating_length(rating, length, clusters=post)
    peer = sm.OLS(rating, sm.add_constant(length / 100)).fit(
        cov_type="cluster", cov_kwds={"groups": post}
    )
    assert line.slope.se == pytest.approx(peer.bse[1], rel=0.01)
    # The errors of one post go together here, so rows as clusters give a smaller SE of the mean.
    assert line.mean_rating.se > 1.2 * fit_rating_length(rating, length).mean_rating.se


def test_pooled_slope_is_the_regression_with_dummies(rng):
    rating, length, post = simulated(rng)
    policy = np.array(["a", "b", "c"])[rng.integers(0, 3, 300)]
    rating = rating + 2.0 * (policy == "b")
    dummies = (policy[:, None] == ["a", "b", "c"]).astype(float)
    design = np.column_stack([length / 100, dummies])
    pooled = pooled_slope(rating, length, policy, clusters=post)
    assert pooled.value == pytest.approx(sm.OLS(rating, design).fit().params[0], rel=1e-10)
    without = [
        sm.OLS(rating[post != g], design[post != g]).fit().params[0] for g in np.unique(post)
    ]
    groups = len(without)
    naive = math.sqrt((groups - 1) / groups * ((np.array(without) - pooled.value) ** 2).sum())
    assert pooled.se == pytest.approx(naive, rel=1e-9)
    assert "policy effects" in pooled.method


def test_pooled_slope_of_a_policy_on_one_post(rng):
    # Leaving post 0 out leaves no row of policy "b": its level goes, the slope is that of "a".
    rating, length, post = simulated(rng, n=40, posts=8)
    policy = np.where(post == 0, "b", "a")
    pooled = pooled_slope(rating, length, policy, clusters=post)
    design = np.column_stack([length / 100, policy == "a", policy == "b"])
    without = np.array(
        [np.linalg.lstsq(design[post != g], rating[post != g], rcond=None)[0][0] for g in range(8)]
    )
    naive = math.sqrt(7 / 8 * ((without - pooled.value) ** 2).sum())
    assert pooled.se == pytest.approx(naive, rel=1e-9)


def test_one_policy_pooled_is_its_own_line(rng):
    rating, length, post = simulated(rng)
    own = fit_rating_length(rating, length, clusters=post).slope
    pooled = pooled_slope(rating, length, ["a"] * 300, clusters=post)
    assert pooled[:7] == pytest.approx(own[:7], rel=1e-12)


def test_missing_rows_are_left_out(rng):
    rating, length, post = simulated(rng)
    rating[3], length[5] = math.nan, math.nan
    keep = np.isfinite(rating) & np.isfinite(length)
    line = fit_rating_length(rating, length, clusters=post)
    clean = fit_rating_length(rating[keep], length[keep], clusters=post[keep])
    assert line.slope == clean.slope
    assert line.slope.n == 298
    policy = np.array(["a"] * 150 + [None] * 150, dtype=object)
    assert pooled_slope(rating, length, policy).n == 148


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(0.1, 10), st.floats(-500, 500))
def test_scales_and_order_do_not_matter(seed, shift, scale, move):
    rng = np.random.default_rng(seed)
    rating, length, post = simulated(rng, n=40, posts=12)
    order = rng.permutation(40)
    line = fit_rating_length(rating, length, clusters=post)
    other = fit_rating_length(
        scale * rating[order] + shift, length[order] + move, clusters=post[order]
    )
    assert other.slope.value == pytest.approx(scale * line.slope.value, rel=1e-6, abs=1e-9)
    assert other.slope.se == pytest.approx(scale * line.slope.se, rel=1e-6)
    assert other.at(314 + move).value == pytest.approx(
        scale * line.at(314).value + shift, rel=1e-6, abs=1e-9
    )


def test_constant_lengths_have_no_slope():
    line = fit_rating_length([4, 5, 6, 7, 5, 6], [200.0] * 6)
    assert math.isnan(line.slope.value)
    assert line.slope.n == 6
    assert line.slope.method == "undefined: all lengths of a policy are equal"
    assert math.isnan(line.at(200).value)
    assert "all lengths of a policy are equal" in line.at(200).method
    assert line.mean_rating.value == 5.5
    pooled = pooled_slope([4, 5, 6, 7], [1, 1, 9, 9], ["a", "a", "b", "b"])
    assert pooled.method == "undefined: all lengths of a policy are equal"


def test_no_se_where_one_cluster_holds_all_variation():
    line = fit_rating_length(
        [4, 5, 6, 7, 5, 6], [200.0, 200, 200, 200, 200, 300], clusters=[0, 1, 2, 3, 4, 5]
    )
    # Five ratings at 200 characters, mean 5.4; one of 6 at 300.
    assert line.slope.value == pytest.approx(0.6)
    assert math.isnan(line.slope.se)
    assert line.slope.method.endswith("no SE: one cluster holds all variation of length")
    assert line.at(250).value == pytest.approx(5.7)
    assert math.isnan(line.at(250).se)
    assert line.at(250).method.endswith("no SE: one cluster holds all variation of length")


def test_equal_ratings_have_no_se():
    line = fit_rating_length([5] * 6, [100, 200, 300, 400, 500, 600])
    assert (line.slope.value, line.at(50).value) == (0, 5)
    assert math.isnan(line.slope.se)
    assert line.slope.method.endswith("no SE: all ratings are the same")


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows(n):
    line = fit_rating_length([4.0] * n, [100.0] * n)
    assert line.slope.method == "undefined: fewer than two ratings with a length"
    assert line.slope.n == n
    assert math.isnan(line.sd_length)
    assert math.isnan(line.at(100).value)


def test_few_clusters_have_no_interval(rng):
    rating, length, _ = simulated(rng)
    line = fit_rating_length(rating, length, clusters=np.arange(300) % 4)
    assert line.slope.se > 0
    assert math.isnan(line.slope.low)
    assert "no interval: 4 clusters, 5 needed" in line.at(300).method


def test_bad_input():
    with pytest.raises(StatisticsError, match="inputs have 2, 3 and 2 rows; allowed one length"):
        fit_rating_length([1, 2], [1, 2, 3])
    with pytest.raises(StatisticsError, match="rating has an infinity; allowed finite numbers"):
        fit_rating_length([1, math.inf], [1, 2])
    with pytest.raises(StatisticsError, match="length has an infinity; allowed finite numbers"):
        fit_rating_length([1, 2], [1, math.inf])
    with pytest.raises(StatisticsError, match="clusters has 1 labels for 2 rows"):
        fit_rating_length([1, 2], [1, 2], clusters=["a"])
    with pytest.raises(StatisticsError, match="length is nan; allowed a finite number of char"):
        fit_rating_length([1, 2, 3], [1, 2, 4]).at(math.nan)


@pytest.mark.slow
def test_intervals_cover_with_clustered_ratings():
    # 1,500 data sets of 40 posts with 3 ratings each, whose errors share half their variance
    # through the post, as do the lengths; true slope 0.3 per 100 characters, 4 + 0.3 * 3.14 at 314.
    rng = np.random.default_rng(20200902)
    post = np.repeat(np.arange(40), 3)
    hits = np.zeros(3)
    for _ in range(1500):
        length = rng.normal(300, 60, 40)[post] + rng.normal(0, 60, 120)
        noise = rng.normal(size=40)[post] + rng.normal(size=120)
        rating = 4 + 0.003 * length + noise
        line = fit_rating_length(rating, length, clusters=post)
        naive = fit_rating_length(rating, length).slope
        for i, (estimate, true) in enumerate(
            ((line.slope, 0.3), (line.at(314), 4 + 0.942), (naive, 0.3))
        ):
            hits[i] += estimate.low <= true <= estimate.high
    cover = hits / 1500
    assert 0.93 <= cover[0] <= 0.97
    assert 0.93 <= cover[1] <= 0.97
    assert cover[2] < 0.93
