"""Means of scores (ROUGE, copying, ratings, rewards) with cluster-robust intervals.

Rates between 0 and 1 of comparisons have their own module, `preference.py`; here a score may have
any range. Proof: tests/stats/test_means.py sets it beside statsmodels' clustered regression on a
constant, and beside leaving clusters out one by one.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import cluster_codes, jackknife_moments
from evalsuite.stats.estimate import Estimate, t_interval, undefined


def cluster_mean(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Cluster-robust mean of a score.

    values: (n,), NaN where the score is undefined; those rows are left out, and `n` counts the
    rest. clusters: (n,) labels of what makes rows dependent (posts, labelers); None takes each
    row for itself. bounds: range of the score, which clips the interval.

    The mean weighs rows, not clusters. Its variance is the cluster jackknife, its degrees of
    freedom the effective number of clusters less one, as for preference rates (see
    `clusters.jackknife_moments`). With one row a cluster this is the usual s / sqrt(n).

    Raises StatisticsError when values is not one-dimensional or holds an infinity, or when
    clusters has a wrong length or a missing label. Source: MacKinnon, Nielsen & Webb 2023.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise StatisticsError(f"values has {scores.ndim} dimensions; allowed 1")
    if np.isinf(scores).any():
        raise StatisticsError("values has an infinity; allowed finite numbers or NaN")
    known = ~np.isnan(scores)
    scores = scores[known]
    labels = None
    if clusters is not None:
        # Not through numpy, which would make the text "nan" of a missing label in a list.
        labels = pd.Series(clusters)
        if len(labels) != len(known):
            raise StatisticsError(
                f"clusters has {len(labels)} labels for {len(known)} rows; allowed one a row"
            )
        labels = labels[known]
    codes, groups = cluster_codes(labels, len(scores))
    n = len(scores)
    if n == 0:
        return undefined("no value", level=level)
    moments = jackknife_moments(scores, codes)
    method = "mean, rows as clusters" if clusters is None else f"cluster-robust by {cluster_name}"
    return t_interval(
        float(moments.mean[0]), math.sqrt(moments.variance[0]), n=n, n_clusters=groups,
        method=method, level=level, bounds=bounds, df=float(moments.df[0]),
    )  # fmt: skip
