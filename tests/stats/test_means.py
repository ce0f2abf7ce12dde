"""Clustered mean: by hand and beside statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from evalsuite.errors import StatisticsError
from evalsuite.stats.means import cluster_mean


def test_one_row_a_cluster_is_the_textbook_interval():
    # 1..6: mean 3.5, s^2 = 3.5, se = sqrt(3.5 / 6); t(5) at 97.5% is 2.5706.
    got = cluster_mean([1, 2, 3, 4, 5, 6])
    assert got.value == 3.5
    assert got.se == pytest.approx(math.sqrt(3.5 / 6), rel=1e-14)
    assert got.high == pytest.approx(3.5 + stats.t.ppf(0.975, 5) * got.se, rel=1e-14)
    assert (got.n, got.n_clusters) == (6, 6)
    assert got.method == "mean, rows as clusters, t(5)"


def test_clusters_of_equal_rows_count_once():
    # Each value twice in its own cluster: the same mean and the same SE as without doubles.
    doubled = cluster_mean(np.repeat([1, 2, 3, 4, 5, 6], 2), clusters=np.repeat(range(6), 2))
    assert doubled.se == pytest.approx(math.sqrt(3.5 / 6), rel=1e-14)
    assert (doubled.n, doubled.n_clusters) == (12, 6)
    assert doubled.method == "cluster-robust by post, t(5)"


def test_equal_clusters_equal_statsmodels(rng):
    clusters = np.repeat(np.arange(12), 9)
    values = rng.normal(size=108) + rng.normal(size=12)[clusters]
    got = cluster_mean(values, clusters=clusters, cluster_name="labeler")
    fit = sm.OLS(values, np.ones(108)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    assert got.value == pytest.approx(fit.params[0], rel=1e-12)
    assert got.se == pytest.approx(fit.bse[0] * math.sqrt(12 / 11), rel=1e-12)
    assert got.method == "cluster-robust by labeler, t(11)"


def test_unequal_clusters_equal_leaving_each_out(rng):
    clusters = rng.integers(0, 12, 200)
    values = rng.normal(size=200) + rng.normal(size=12)[clusters]
    got = cluster_mean(values, clusters=clusters)
    without = np.array([values[clusters != g].mean() for g in range(12)])
    assert got.se == pytest.approx(
        math.sqrt(11 / 12 * ((without - values.mean()) ** 2).sum()), rel=1e-12
    )
    share = np.bincount(clusters) / 200
    df = 1 / (share**2).sum() - 1
    assert got.high == pytest.approx(got.value + stats.t.ppf(0.975, df) * got.se, rel=1e-12)


def test_missing_values_are_left_out_with_their_clusters():
    got = cluster_mean([1, 2, np.nan, 4], clusters=["a", "b", "c", "d"])
    assert (got.value, got.n, got.n_clusters) == (pytest.approx(7 / 3), 3, 3)
    assert math.isnan(got.low)
    assert "3 clusters, 5 needed" in got.method


def test_bounds_and_level():
    got = cluster_mean([0, 0, 0, 0, 0, 1], bounds=(0, 1), level=0.9)
    assert got.low == 0
    assert got.level == 0.9


def test_nothing_is_undefined():
    got = cluster_mean([np.nan], clusters=["a"])
    assert math.isnan(got.value)
    assert (got.n, got.method) == (0, "undefined: no value")


@pytest.mark.parametrize(
    ("values", "clusters", "text"),
    [
        ([[1.0]], None, "values has 2 dimensions; allowed 1"),
        ([1.0, np.inf], None, "values has an infinity; allowed finite numbers or NaN"),
        ([1.0, 2.0], ["a"], "clusters has 1 labels for 2 rows; allowed one a row"),
        ([1.0, 2.0], ["a", None], "clusters has a missing label"),
    ],
)
def test_refusals(values, clusters, text):
    with pytest.raises(StatisticsError, match=text):
        cluster_mean(values, clusters=clusters)


def test_missing_label_in_a_list_is_no_name():
    # numpy would turn this list into the texts "a" and "nan".
    with pytest.raises(StatisticsError, match="clusters has a missing label"):
        cluster_mean([1, 2], clusters=["a", math.nan])
