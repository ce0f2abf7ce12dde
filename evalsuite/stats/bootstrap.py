"""Cluster bootstrap: resample posts (or labelers), not rows; any statistic of weighted rows.

A resample is a vector of weights, how often each cluster was drawn, so a statistic that is a
ratio of sums is evaluated for thousands of resamples by one matrix product. Weights are drawn in
chunks: memory does not grow with the number of resamples. Any statistic may be used that takes
weights; what must not change is that whole clusters are drawn and that `rng` is handed in.
tests/stats/test_bootstrap.py holds it against all 5^5 resamples and against the sandwich.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as _dist

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Codes, Floats
from evalsuite.stats.estimate import MIN_CLUSTERS, Estimate, t_quantile, undefined

CHUNK_BYTES = 32 * 2**20
MIN_RESAMPLES = 100


def cluster_bootstrap(
    statistic: Callable[[Floats], ArrayLike],
    codes: Codes,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    rows: bool = False,
) -> Floats:
    """Nonparametric cluster bootstrap by multinomial weights.

    statistic: takes weights (r, G), one row a resample and one column a cluster (the number of
    times it was drawn), and returns (r,) or (r, q). Add rows up by cluster first (`cluster_sums`);
    a statistic that cannot gets weights of rows, (r, n), with `rows=True`. codes: (n,) of 0..G-1.
    The number of resamples handed over at once varies.

    Returns (resamples,) or (resamples, q); where a resample leaves the statistic undefined it
    should be NaN, which `percentile_interval` counts.

    Raises StatisticsError for no rows, or fewer than 100 resamples.

    Source: Efron 1979; Davison & Hinkley 1997, section 3.8 (resampling whole clusters).
    """
    if resamples < MIN_RESAMPLES:
        raise StatisticsError(f"resamples is {resamples}; allowed {MIN_RESAMPLES} or more")
    groups = int(codes.max(initial=-1)) + 1
    if groups == 0:
        raise StatisticsError("nothing to resample: no rows; allowed one or more")
    width = len(codes) + groups if rows else groups
    chunk = max(1, CHUNK_BYTES // (8 * width))
    draws = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = rng.integers(0, groups, (size, groups))
        drawn += np.arange(size)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=size * groups)
        weights = counts.reshape(size, groups).astype(np.float64)
        draws.append(np.asarray(statistic(weights[:, codes] if rows else weights), np.float64))
    return np.concatenate(draws)


def cluster_sums(values: ArrayLike, codes: Codes) -> Floats:
    """Sums of `values` (n,) by cluster: (G,)."""
    return np.bincount(codes, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)


def percentile_interval(
    value: float,
    draws: ArrayLike,
    *,
    n: int,
    n_clusters: int,
    method: str,
    level: float = 0.95,
    df: float | None = None,
) -> Estimate:
    """Expanded percentile interval, with the standard deviation of the draws as SE.

    Plain percentiles are too narrow for few clusters twice over: the bootstrap variance lacks
    G/(G-1), and normal tails stand in for Student's. The expanded interval takes percentiles
    further out, at Phi(-sqrt(G/(G-1)) t(G-1)), which gives the t interval back for a mean of
    symmetric data, yet stays inside the range of the statistic and keeps its asymmetry. It was
    preferred to BCa and bootstrap-t, which need an acceleration or an SE in every resample and
    are erratic when clusters are few. The SE carries the same G/(G-1). df: the effective number of
    clusters less one where their sizes differ (`ClusterMoments.df`); G - 1 by default.

    draws: (r,) from `cluster_bootstrap`; undefined (NaN) draws are left out and `method` counts
    them. Fewer than `MIN_CLUSTERS` clusters, or more than 5% undefined draws: the interval is NaN
    and `method` says why. Draws that do not vary: SE and interval are NaN, since resampling rows
    that all agree says nothing about how far they might have differed.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", section 3.2.
    """
    freedom = max(n_clusters - 1 if df is None else df, 1.0)
    quantile = t_quantile(level, freedom)
    if not math.isfinite(value):
        return undefined(method, n=n, n_clusters=n_clusters, level=level)
    sample = np.asarray(draws, dtype=np.float64)
    method = f"{method}, {len(sample)} resamples"
    defined = sample[np.isfinite(sample)]
    lost = len(sample) - len(defined)
    if lost:
        method += f", {lost} undefined"

    def without_interval(se: float, reason: str) -> Estimate:
        text = f"{method}; no interval: {reason}"
        return Estimate(value, se, math.nan, math.nan, level, n, n_clusters, text)

    if n_clusters < 2 or len(defined) < 2 or np.ptp(defined) < 1e-12:
        return without_interval(math.nan, "the resamples do not vary")
    inflation = math.sqrt((freedom + 1) / freedom)
    se = float(defined.std(ddof=1)) * inflation
    if n_clusters < MIN_CLUSTERS:
        return without_interval(se, f"{n_clusters} clusters, {MIN_CLUSTERS} needed")
    if lost > 0.05 * len(sample):
        return without_interval(se, "more than 5% of the resamples are undefined")
    tail = float(_dist.norm.cdf(-inflation * quantile))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, se, float(low), float(high), level, n, n_clusters, method)
