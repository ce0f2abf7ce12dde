"""Preference rates by hand, against statsmodels, and one route against another."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from evalsuite.errors import StatisticsError
from evalsuite.stats.estimate import Estimate
from evalsuite.stats.preference import (
    orient,
    paired_difference,
    pairwise_rates,
    pooled_rate,
    preference_rate,
)

POSTS = ["a", "a", "a", "b", "b", "c", "d", "e", "f"]
WINS = [1, 1, 0, 0, 0.5, 1, 1, 0, 1]


def comparisons(rows) -> pd.DataFrame:
    columns = ["left_policy", "right_policy", "choice", "item", "labeler"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"choice": "float64", "item": "str", "labeler": "str"})


def random_comparisons(rng, n=400, policies=4, posts=60, labelers=9) -> pd.DataFrame:
    name = np.array([f"p{i:02d}" for i in range(policies)])
    return pd.DataFrame(
        {
            "left_policy": name[rng.integers(0, policies, n)],
            "right_policy": name[rng.integers(0, policies, n)],
            "choice": rng.choice([0.0, 0.5, 1.0], n),
            "item": rng.integers(0, posts, n).astype(str),
            "labeler": rng.integers(0, labelers, n).astype(str),
        }
    )


# --- one rate ----------------------------------------------------------------------------------


def test_ties_count_half_and_rows_are_clusters_without_labels():
    found = preference_rate(WINS)
    assert found.value == pytest.approx(5.5 / 9)
    assert found.se == pytest.approx(np.std(WINS, ddof=1) / 3)
    assert (found.n, found.n_clusters) == (9, 9)
    assert found.method == "robust, rows as clusters, t(8)"


def test_the_clustered_se_is_the_jackknife_over_posts_by_hand():
    # Means without one post: a 3.5/6, b 5/7, c, d, f 4.5/8, e 5.5/8; around 5.5/9; times 5/6.
    left = [3.5 / 6, 5 / 7, 4.5 / 8, 4.5 / 8, 5.5 / 8, 4.5 / 8]
    variance = 5 / 6 * sum((x - 5.5 / 9) ** 2 for x in left)
    found = preference_rate(WINS, clusters=POSTS)
    assert found.se == pytest.approx(math.sqrt(variance))
    # Shares 3, 2, 1, 1, 1, 1 of 9: effective clusters 81/17 = 4.76.
    assert found.method == "cluster-robust by post, t(3.8)"
    assert found.n_clusters == 6


def test_equal_clusters_agree_with_statsmodels(rng):
    codes = np.repeat(np.arange(12), 5)
    wins = rng.integers(0, 2, 60).astype(float)
    peer = sm.OLS(wins, np.ones(60)).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}, use_t=True
    )
    found = preference_rate(wins, clusters=codes)
    assert found.se == pytest.approx(peer.bse[0] * math.sqrt(12 / 11))


@pytest.mark.parametrize(("wins", "n"), [(3, 10), (0, 10), (10, 10), (480, 900)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_plain_wilson_interval_is_that_of_statsmodels(wins, n, level):
    found = preference_rate([1.0] * wins + [0.0] * (n - wins), interval="wilson", level=level)
    low, high = proportion_confint(wins, n, alpha=1 - level, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_wilson_with_clusters_uses_the_effective_size_and_t():
    codes = np.repeat(np.arange(10), 4)
    wins = np.repeat([1.0, 1, 1, 1, 1, 1, 0, 0, 0, 0], 4)  # every post says the same four times
    found = preference_rate(wins, clusters=codes, interval="wilson")
    # Variance of the mean: .24 * 10/9 / 10 = .0266..; effective n 9; t(9) = 2.262157
    z2 = 2.262157**2 / 9
    centre = (0.6 + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * 0.24 + z2**2 / 4) / (1 + z2)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert found.method == "Wilson, by post, effective n 9.0, t(9)"


@pytest.mark.parametrize("interval", ["robust", "wilson", "bootstrap"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_clusters_that_agree_exactly_get_wilsons_interval_and_no_se(interval, value, rng):
    wins, posts = np.full(21, value), np.repeat(np.arange(7), 3)
    found = preference_rate(wins, clusters=posts, interval=interval, rng=rng)
    assert found.value == value
    assert math.isnan(found.se)
    assert "all clusters agree: one observation each (effective n 7), no SE" in found.method
    # Wilson at p = 1 with n = 7 and t(6) = 2.446912: low = n/(n + t^2)
    if value == 1:
        assert (found.low, found.high) == (pytest.approx(7 / (7 + 2.446912**2)), 1.0)
    assert found.low <= value <= found.high
    assert found.high - found.low > 0.3


def test_the_bootstrap_interval_is_near_the_robust_one(rng):
    codes = np.repeat(np.arange(150), 3)
    wins = ((rng.normal(size=150)[codes] + rng.normal(size=450)) > 0).astype(float)
    robust = preference_rate(wins, clusters=codes)
    found = preference_rate(wins, clusters=codes, interval="bootstrap", rng=rng, resamples=8000)
    assert found.se == pytest.approx(robust.se, rel=0.04)
    assert (found.low, found.high) == pytest.approx((robust.low, robust.high), abs=0.1 * robust.se)
    assert found.method == "cluster bootstrap by post, 8000 resamples"


def test_two_way_clusters_add_up_and_take_the_smaller_count(rng):
    table = random_comparisons(rng)
    both = preference_rate(
        table["choice"], clusters=(table["item"], table["labeler"]), cluster_name="post and labeler"
    )
    one = preference_rate(table["choice"], clusters=table["labeler"])
    assert both.n_clusters == one.n_clusters == 9
    assert both.se >= one.se
    assert both.method.startswith("cluster-robust by post and labeler, two-way, t(")


def test_no_rows_and_few_clusters_are_nan_with_their_counts():
    assert preference_rate([]).method == "undefined: no comparisons"
    for interval in ("robust", "wilson"):
        found = preference_rate([1, 0, 1, 0.5], clusters=list("aabc"), interval=interval)
        assert found.value == 0.625
        assert math.isnan(found.low)
        assert found.n_clusters == 3
        assert found.method.endswith("no interval: 3 clusters, 5 needed")
    alone = preference_rate([1.0])
    assert alone.value == 1
    assert math.isnan(alone.se)


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.integers(0, 9)), min_size=1, max_size=40),
    st.sampled_from(["robust", "wilson"]),
)
def test_swapping_sides_mirrors_and_row_order_does_not_matter(rows, interval):
    wins, posts = np.array([w for w, _ in rows], dtype=float), [p for _, p in rows]
    found = preference_rate(wins, clusters=posts, interval=interval)
    swapped = preference_rate(1 - wins, clusters=posts, interval=interval)
    turned = preference_rate(wins[::-1], clusters=posts[::-1], interval=interval)
    mirror = (1 - found.value, found.se, 1 - found.high, 1 - found.low)
    assert swapped[:4] == pytest.approx(mirror, nan_ok=True, abs=1e-9)
    assert turned[:4] == pytest.approx(found[:4], nan_ok=True, abs=1e-9)
    assert not found.low > found.value
    assert not found.high < found.value


def test_wrong_inputs_are_named(rng):
    with pytest.raises(StatisticsError, match=r"wins\[1\] is 2; allowed 0 to 1"):
        preference_rate([0, 2])
    with pytest.raises(StatisticsError, match=r"wins\[0\] is nan; allowed 0 to 1"):
        preference_rate([math.nan])
    with pytest.raises(StatisticsError, match=r"wins has shape \(1, 2\); allowed one dimension"):
        preference_rate([[0, 1]])
    with pytest.raises(StatisticsError, match="interval is 'wald'; allowed robust, wilson, boot"):
        preference_rate([0, 1], interval="wald")
    with pytest.raises(StatisticsError, match="interval 'bootstrap' has no rng; allowed a numpy"):
        preference_rate([0, 1], interval="bootstrap")
    with pytest.raises(StatisticsError, match="bootstrap has two-way clusters; allowed one"):
        preference_rate([0, 1, 1], clusters=(list("aab"),) * 2, interval="bootstrap", rng=rng)
    with pytest.raises(StatisticsError, match="clusters has 3 groupings; allowed 1 or 2"):
        preference_rate([0, 1], clusters=([1, 2],) * 3)


# --- paired difference -------------------------------------------------------------------------


def test_the_paired_difference_is_the_paired_t_test_when_each_post_has_one_label_each():
    a, b = np.array([1, 1, 0, 1, 1, 0.5]), np.array([0, 1, 0, 0, 1, 0])
    found = paired_difference(a, list("abcdef"), b, list("abcdef"))
    # Differences 1 0 0 1 0 .5: mean 2.5/6, SD .491596, SE .200693; t(5) = 2.570582
    assert found.value == pytest.approx(2.5 / 6)
    assert found.se == pytest.approx(0.200693, abs=1e-6)
    assert found.low == pytest.approx(2.5 / 6 - 2.570582 * 0.200693, abs=1e-5)
    assert (found.n, found.n_clusters) == (12, 6)
    assert found.method == "paired by post, cluster-robust by post, t(5)"


def test_posts_weigh_alike_and_unshared_ones_are_left_out():
    # Shared: p (1/2 - 0), q (0 - 1), r (1 - 0), s (1 - 1), t (1 - 1/2): mean 1/5
    a, pa = [1, 0, 0, 1, 1, 1, 0], ["p", "p", "q", "r", "s", "t", "only"]
    b, pb = [0, 1, 0, 1, 1, 0, 1], ["p", "q", "r", "s", "t", "t", "other"]
    found = paired_difference(a, pa, b, pb)
    assert found.value == pytest.approx(0.2)
    assert found.se == pytest.approx(np.std([0.5, -1, 1, 0, 0.5], ddof=1) / math.sqrt(5))
    assert found.n == 12


def test_clusters_other_than_the_items_change_the_se_only():
    a, b = np.array([1, 1, 0, 1, 1, 0.0]), np.array([0, 1, 0, 0, 1, 1.0])
    posts, labelers = list("abcdef"), [1, 2, 3, 4, 5, 6]
    plain = paired_difference(a, posts, b, posts)
    same = paired_difference(
        a, posts, b, posts, clusters_a=labelers, clusters_b=labelers, cluster_name="labeler"
    )
    assert same[:4] == pytest.approx(plain[:4])  # one labeler a post: the same clusters
    assert same.method == "paired by post, cluster-robust by labeler, t(5)"
    # Other people label B: the two rates are independent, and their variances add.
    apart = paired_difference(
        a, posts, b, posts, clusters_a=labelers, clusters_b=[x + 6 for x in labelers]
    )
    sums = ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
    # Each labeler holds 1/6 of one side: residual/6 / (5/6), twelve clusters.
    assert apart.se == pytest.approx(math.sqrt(sums / 25 * 11 / 12))


def test_the_bootstrap_of_a_difference_is_near_the_robust_one(rng):
    posts = np.repeat(np.arange(120), 2)
    hard = rng.normal(size=120)[posts]
    a, b = ((hard + rng.normal(size=240) + shift > 0).astype(float) for shift in (0.3, 0))
    robust = paired_difference(a, posts, b, posts)
    found = paired_difference(a, posts, b, posts, interval="bootstrap", rng=rng, resamples=8000)
    assert found.value == robust.value
    assert (found.low, found.high) == pytest.approx((robust.low, robust.high), abs=0.1 * robust.se)
    assert robust.se < math.hypot(*(preference_rate(w, clusters=posts).se for w in (a, b)))


def test_differences_that_do_not_exist_say_so():
    none = paired_difference([1.0], ["a"], [0.0], ["b"])
    assert none.method == "undefined: no item has both policies"
    same = paired_difference([1.0] * 6, list("abcdef"), [0.0] * 6, list("abcdef"))
    assert same.value == pytest.approx(1)
    assert math.isnan(same.se)
    assert same.method.endswith("no interval: the difference is the same in every cluster")
    one = paired_difference(
        [1, 0], ["a", "b"], [1, 1], ["a", "b"], clusters_a=[1, 1], clusters_b=[1, 1]
    )
    assert one.value == -0.5
    assert math.isnan(one.se)


def test_wrong_inputs_of_a_difference_are_named(rng):
    with pytest.raises(StatisticsError, match="items has 1 labels for 2 rows; allowed one a row"):
        paired_difference([0, 1], ["a"], [1], ["a"])
    with pytest.raises(StatisticsError, match="clusters are given for one policy only; allowed bo"):
        paired_difference([0], ["a"], [1], ["a"], clusters_a=["x"])
    with pytest.raises(StatisticsError, match="interval is 'wilson'; allowed robust, bootstrap"):
        paired_difference([0], ["a"], [1], ["a"], interval="wilson")
    with pytest.raises(StatisticsError, match="bootstrap has clusters other than the items"):
        paired_difference(
            [0], ["a"], [1], ["a"], clusters_a=["x"], clusters_b=["x"], interval="bootstrap",
            rng=rng,
        )  # fmt: skip


# --- tables of comparisons ---------------------------------------------------------------------


def test_orient_turns_swapped_sides_round():
    table = comparisons(
        [
            ("a", "b", 1, "p", "x"),
            ("b", "a", 1, "p", "x"),
            ("b", "a", 0.5, "q", "x"),
            ("a", "a", 1, "q", "x"),
            ("a", "c", 1, "q", "x"),
        ]
    )
    found = orient(table, "a", "b")
    assert found.index.tolist() == [0, 1, 2]
    assert found["win"].tolist() == [0, 1, 0.5]
    assert orient(table, "b", "a")["win"].tolist() == [1, 0, 0.5]
    assert orient(table, "a", "a").empty


@pytest.mark.parametrize("cluster", ["item", ("item", "labeler")])
@pytest.mark.parametrize("interval", ["robust", "wilson"])
def test_all_pairs_at_once_are_each_pair_alone(rng, cluster, interval):
    table = random_comparisons(rng)
    found = pairwise_rates(table, cluster_column=cluster, interval=interval)
    assert len(found) == 12
    for _, line in found.iterrows():
        rows = orient(table, line["policy"], line["against"])
        clusters = rows["item"] if cluster == "item" else (rows["item"], rows["labeler"])
        alone = preference_rate(rows["win"], clusters=clusters, interval=interval)
        assert line[list(Estimate._fields[:7])].astype(float).tolist() == pytest.approx(alone[:7])
        assert line["method"] == alone.method


def test_pairs_against_one_policy_only(rng):
    table = random_comparisons(rng)
    found = pairwise_rates(table, against="p02")
    every = pairwise_rates(table)
    every = every[every["against"] == "p02"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, every)
    assert found["policy"].tolist() == ["p00", "p01", "p03"]


def test_rows_without_a_post_are_their_own_clusters():
    rows = [("a", "b", i % 2, None, None) for i in range(8)]
    rows += [("a", "c", i % 2, "p" if i < 4 else None, None) for i in range(8)]
    found = pairwise_rates(comparisons(rows), against="a").set_index("policy")
    assert found.loc["b", "n_clusters"] == 8
    assert found.loc["b", "method"] == "robust, rows as clusters (no post ids), t(7)"
    assert found.loc["c", "n_clusters"] == 5
    assert found.loc["c", "method"].startswith("cluster-robust by post, t(")


def test_no_pairs_is_an_empty_table_and_bad_choices_are_named():
    empty = pairwise_rates(comparisons([("a", "a", 1, "p", "x")]))
    assert empty.empty
    assert list(empty) == ["policy", "against", *Estimate._fields]
    with pytest.raises(StatisticsError, match=r"choice\[0\] is 3; allowed 0 to 1"):
        pairwise_rates(comparisons([("a", "b", 3, "p", "x")]))
    with pytest.raises(StatisticsError, match="interval is 'bootstrap'; allowed robust, wilson"):
        pairwise_rates(comparisons([("a", "b", 1, "p", "x")]), interval="bootstrap")


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_mirror_of_a_pair_is_one_less_its_rate(seed):
    table = random_comparisons(np.random.default_rng(seed), n=60, posts=12)
    found = pairwise_rates(table).set_index(["policy", "against"])
    for (policy, against), line in found.iterrows():
        mirror = found.loc[(against, policy)]
        assert line["value"] == pytest.approx(1 - mirror["value"])
        assert line["se"] == pytest.approx(mirror["se"], nan_ok=True)
        assert line["low"] == pytest.approx(1 - mirror["high"], nan_ok=True)


def test_the_whole_release_at_once(rng):
    table = random_comparisons(rng, n=180_000, policies=40, posts=60_000, labelers=100)
    found = pairwise_rates(table)
    assert len(found) == 40 * 39


@pytest.mark.parametrize("interval", ["robust", "wilson", "bootstrap"])
def test_counted_rows_are_listed_rows(rng, interval):
    totals = rng.integers(0, 6, 40)
    wins, posts = rng.binomial(totals, 0.6), rng.integers(0, 12, 40)
    posts[totals == 0] = 99  # a cluster without rows is none
    listed = np.concatenate(
        [[1.0] * w + [0.0] * (t - w) for w, t in zip(wins, totals, strict=True)]
    )
    options = {"interval": interval, "level": 0.9}
    got, expected = (
        rate(*given, rng=np.random.default_rng(1), **options)
        for rate, given in (
            (lambda w, t, **o: pooled_rate(w, t, clusters=posts, **o), (wins, totals)),
            (lambda w, **o: preference_rate(w, clusters=np.repeat(posts, totals), **o), (listed,)),
        )
    )
    assert got.method == expected.method
    assert got[:-1] == pytest.approx(expected[:-1], rel=1e-12)


def test_counted_rows_that_agree_or_are_not_there():
    # Six posts, all wins: Wilson with one observation a post, as for listed rows.
    got = pooled_rate([3] * 6, [3] * 6, clusters=range(6))
    assert got == preference_rate([1.0] * 18, clusters=np.repeat(range(6), 3))
    assert math.isnan(pooled_rate([2, 1], [3, 2], clusters=["a", "a"]).se)  # one post
    none = pooled_rate([0], [0], clusters=["a"])
    assert (none.n, none.method) == (0, "undefined: no comparisons")
    with pytest.raises(StatisticsError, match="wins are not within 0 and totals; allowed sums"):
        pooled_rate([4], [3], clusters=["a"])


def test_two_way_clusters_say_which_ids_are_missing(rng):
    table = random_comparisons(rng, policies=2)
    both = {"cluster_column": ("item", "labeler"), "cluster_name": "post and labeler"}
    none = pd.Series([None] * len(table), dtype="str")
    methods = [
        pairwise_rates(table.assign(**dict.fromkeys(missing, none)), **both)["method"].iloc[0]
        for missing in ((), ("labeler",), ("item",), ("item", "labeler"))
    ]
    two = "cluster-robust by post and labeler, two-way"
    assert [method.split(", t(")[0] for method in methods] == [
        two, f"{two} (no labeler ids)", f"{two} (no item ids)",
        "robust, rows as clusters (no post and labeler ids)",
    ]  # fmt: skip
