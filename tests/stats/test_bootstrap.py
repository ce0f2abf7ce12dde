"""The cluster bootstrap against the exhaustive one, and the expanded percentile interval."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from evalsuite.errors import StatisticsError
from evalsuite.stats import bootstrap
from evalsuite.stats.bootstrap import cluster_bootstrap, cluster_sums, percentile_interval

CODES = np.array([0, 0, 1, 2, 2, 2, 3, 4])
Y = np.array([1, 0, 1, 0, 0, 1, 1, 0.5])


def mean_of(y, codes):
    sums, sizes = cluster_sums(y, codes), cluster_sums(np.ones(len(y)), codes)
    return lambda w: (w @ sums) / (w @ sizes)


def test_cluster_sums_by_hand():
    assert cluster_sums(Y, CODES).tolist() == [1, 1, 1, 1, 0.5]


def test_draws_have_the_distribution_of_all_resamples(rng):
    """All 5^5 resamples of five clusters give mean and SD exactly; 20,000 draws come near."""
    every = []
    for drawn in itertools.product(range(5), repeat=5):
        values = np.concatenate([Y[g == CODES] for g in drawn])
        every.append(values.mean())
    draws = cluster_bootstrap(mean_of(Y, CODES), CODES, rng=rng, resamples=20_000)
    # Standard errors of the simulated mean and SD: .17/141 = .0012 and .0009; five of them.
    assert draws.mean() == pytest.approx(np.mean(every), abs=0.006)
    assert draws.std() == pytest.approx(np.std(every), abs=0.005)


def test_every_resample_draws_g_clusters_and_chunks_do_not_matter(rng, monkeypatch):
    sizes = cluster_bootstrap(lambda w: w.sum(axis=1), CODES, rng=rng, resamples=300)
    assert (sizes == 5).all()
    whole = cluster_bootstrap(mean_of(Y, CODES), CODES, rng=np.random.default_rng(5))
    monkeypatch.setattr(bootstrap, "CHUNK_BYTES", 1000)
    pieces = cluster_bootstrap(mean_of(Y, CODES), CODES, rng=np.random.default_rng(5))
    assert (whole == pieces).all()


def test_weights_of_rows_are_those_of_their_clusters():
    by_row = cluster_bootstrap(
        lambda w: (w @ Y) / w.sum(axis=1), CODES, rng=np.random.default_rng(6), rows=True
    )
    by_cluster = cluster_bootstrap(mean_of(Y, CODES), CODES, rng=np.random.default_rng(6))
    assert by_row == pytest.approx(by_cluster)


def test_several_statistics_at_once_keep_their_columns(rng):
    draws = cluster_bootstrap(lambda w: w[:, :2], CODES, rng=rng, resamples=150)
    assert draws.shape == (150, 2)


def test_few_resamples_and_no_rows_are_refused(rng):
    with pytest.raises(StatisticsError, match="resamples is 99; allowed 100 or more"):
        cluster_bootstrap(mean_of(Y, CODES), CODES, rng=rng, resamples=99)
    with pytest.raises(StatisticsError, match="nothing to resample: no rows"):
        cluster_bootstrap(mean_of(Y, CODES), np.array([], dtype=np.int64), rng=rng)


def test_on_normal_draws_the_interval_is_the_t_interval():
    """Draws on a normal grid with the bootstrap's variance: +-t(9) times the corrected SE."""
    grid = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    found = percentile_interval(0.0, grid, n=50, n_clusters=10, method="m")
    # t(9) = 2.262157; SE = sqrt(10/9) = 1.054093
    assert found.se == pytest.approx(1.054093, abs=1e-4)
    assert (found.low, found.high) == pytest.approx(
        (-2.262157 * 1.054093, 2.262157 * 1.054093), abs=1e-2
    )
    assert found.method == "m, 200000 resamples"
    # df 4 stands for 5 clusters: t(4) = 2.776445, SE sqrt(5/4)
    found = percentile_interval(0.0, grid, n=50, n_clusters=10, method="m", df=4)
    assert found.high == pytest.approx(2.776445 * math.sqrt(1.25), abs=2e-2)


def test_undefined_draws_are_counted_and_too_many_refuse_the_interval():
    draws = np.linspace(0, 1, 1000)
    draws[:20] = np.nan
    found = percentile_interval(0.5, draws, n=9, n_clusters=9, method="m")
    assert found.method == "m, 1000 resamples, 20 undefined"
    assert math.isfinite(found.low)
    draws[:80] = np.nan
    found = percentile_interval(0.5, draws, n=9, n_clusters=9, method="m")
    assert math.isnan(found.low)
    assert found.method.endswith("no interval: more than 5% of the resamples are undefined")


def test_no_width_where_nothing_varies_or_clusters_are_few():
    same = percentile_interval(1.0, np.ones(500), n=9, n_clusters=9, method="m")
    assert math.isnan(same.se)
    assert math.isnan(same.low)
    assert same.method.endswith("no interval: the resamples do not vary")
    few = percentile_interval(0.5, np.linspace(0, 1, 500), n=9, n_clusters=4, method="m")
    assert few.se > 0
    assert math.isnan(few.high)
    assert few.method.endswith("no interval: 4 clusters, 5 needed")
    none = percentile_interval(math.nan, [], n=0, n_clusters=0, method="no rows")
    assert none.method == "undefined: no rows"
