"""Cluster codes, the sandwich and the cluster jackknife against naive loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import (
    cluster_codes,
    codes_or_rows,
    jackknife_moments,
    robust_covariance,
)


def test_codes_number_labels_by_first_appearance():
    codes, groups = cluster_codes(["b", "a", "b", "c"], 4)
    assert codes.tolist() == [0, 1, 0, 2]
    assert groups == 3
    assert cluster_codes(None, 3)[0].tolist() == [0, 1, 2]
    assert cluster_codes([], 0)[1] == 0


@pytest.mark.parametrize("labels", [["a", None], ["a", float("nan")], [1.0, np.nan]])
def test_a_missing_label_is_refused_in_text_too(labels):
    with pytest.raises(StatisticsError, match="clusters has a missing label; allowed one label"):
        cluster_codes(labels, 2)


def test_a_wrong_length_is_refused():
    with pytest.raises(StatisticsError, match="clusters has 2 labels for 3 rows; allowed one a"):
        cluster_codes(["a", "b"], 3)


def test_rows_without_a_label_become_their_own_clusters():
    codes, known = codes_or_rows(pd.Series(["x", None, "x", None]))
    assert codes[0] == codes[2]
    assert len(set(codes.tolist())) == 3
    assert known.tolist() == [True, False, True, False]


def test_the_sandwich_of_a_mean_by_hand():
    # Values 1 1 | 0 | 0 1 1, mean 2/3; influences (y - mean)/6: cluster sums (2/3, -2/3, 0)/6.
    # Sum of squares 8/9/36 = 2/81; times 3/2 = 1/27.
    y, codes = np.array([1, 1, 0, 0, 1, 1.0]), np.array([0, 0, 1, 2, 2, 2])
    found = robust_covariance((y - y.mean()) / 6, codes)
    assert found == pytest.approx(np.array([[1 / 27]]))


def test_two_way_adds_both_and_takes_the_cells_off():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, 60), rng.integers(0, 5, 60)
    x = rng.normal(size=(60, 2))

    def naive(labels):
        groups = sorted(set(labels))
        total = sum(
            np.outer(x[[k == g for k in labels]].sum(0), x[[k == g for k in labels]].sum(0))
            for g in groups
        )
        return total * len(groups) / (len(groups) - 1)

    va, vb, vab = naive(list(a)), naive(list(b)), naive(list(zip(a, b, strict=True)))
    total = va + vb - vab
    if (np.diag(total) < np.maximum(np.diag(va), np.diag(vb))).any():
        total = va if np.trace(va) >= np.trace(vb) else vb
    assert robust_covariance(x, (a, b)) == pytest.approx(total)
    # The same grouping twice is that grouping.
    assert robust_covariance(x, (a, a)) == pytest.approx(va)


def test_one_cluster_has_no_variance():
    assert np.isnan(robust_covariance(np.ones((3, 2)), np.zeros(3, dtype=np.int64))).all()
    assert np.isnan(jackknife_moments([0, 1.0], np.zeros(2, dtype=np.int64)).variance[0])


@pytest.mark.parametrize("function", [robust_covariance, jackknife_moments])
def test_three_groupings_are_refused(function):
    code = np.zeros(2, dtype=np.int64)
    with pytest.raises(StatisticsError, match="clusters has 3 groupings; allowed 1 or 2"):
        function(np.ones(2), (code, code, code))


def naive_jackknife(y, codes):
    """Variance of the mean around the full mean, leaving out one cluster at a time."""
    labels = sorted(set(codes))
    left = [np.mean([v for v, c in zip(y, codes, strict=True) if c != g]) for g in labels]
    return (len(labels) - 1) / len(labels) * sum((x - np.mean(y)) ** 2 for x in left)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=2, max_size=30))
def test_the_variance_is_that_of_leaving_clusters_out(rows):
    codes, y = [c for c, _ in rows], [v for _, v in rows]
    numbers, groups = cluster_codes(codes, len(codes))
    found = jackknife_moments(y, numbers)
    assert found.mean[0] == pytest.approx(np.mean(y))
    assert found.n_clusters[0] == groups
    if groups > 1:
        assert found.variance[0] == pytest.approx(naive_jackknife(y, codes), abs=1e-12)
        sizes = np.bincount(numbers) / len(y)
        assert found.df[0] == pytest.approx(1 / (sizes**2).sum() - 1)


def test_equal_clusters_give_the_sandwich_and_g_less_one():
    rng = np.random.default_rng(2)
    codes, y = np.repeat(np.arange(7), 4), rng.random(28)
    found = jackknife_moments(y, codes)
    assert found.variance[0] == pytest.approx(robust_covariance((y - y.mean()) / 28, codes)[0, 0])
    assert found.df[0] == pytest.approx(6)


def test_rows_as_clusters_give_the_textbook_variance_of_a_mean():
    y = np.array([0, 1, 1, 0.5, 1])
    found = jackknife_moments(y, np.arange(5))
    assert found.variance[0] == pytest.approx(y.var(ddof=1) / 5)


def test_many_means_at_once_are_each_alone():
    rng = np.random.default_rng(3)
    y, codes, group = rng.random(200), rng.integers(0, 20, 200), rng.integers(0, 4, 200)
    other = rng.integers(0, 9, 200)
    together = jackknife_moments(y, (codes, other), groups=group, n_groups=5)
    for g in range(4):
        rows = group == g
        one, two = (cluster_codes(c[rows], int(rows.sum()))[0] for c in (codes, other))
        alone = jackknife_moments(y[rows], (one, two))
        for field in alone._fields:
            assert getattr(together, field)[g] == pytest.approx(getattr(alone, field)[0]), field
    assert np.isnan(together.mean[4])
    assert np.isnan(together.variance[4])
    assert together.n[4] == 0
