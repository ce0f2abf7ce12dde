"""Means of scores (ROUGE, copying, ratings, rewards) with cluster-robust intervals.

Rates between 0 and 1 of comparisons have their own module, `preference.py`; here a score may have
any range. Proof: tests/stats/test_means.py sets it beside statsmodels' clustered regression on a
constant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import cluster_codes, robust_covariance
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

    The mean weighs rows, not clusters: its influence of a row is (value - mean) / n, and rows of
    a cluster are added before squaring. With one row a cluster this is the usual s / sqrt(n).

    Raises StatisticsError when values is not one-dimensional or holds an infinity, or when
    clusters has a wrong length or a missing label. Source: Liang & Zeger 1986.
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
        labels = np.asarray(clusters)
        if len(labels) != len(known):
            raise StatisticsError(
                f"clusters has {len(labels)} labels for {len(known)} rows; allowed one a row"
            )
        labels = labels[known]
    codes, groups = cluster_codes(labels, len(scores))
    n = len(scores)
    if n == 0:
        return undefined("no value", level=level)
    mean = float(scores.mean())
    se = float(np.sqrt(robust_covariance((scores - mean) / n, codes)[0, 0]))
    method = "mean, rows as clusters" if clusters is None else f"cluster-robust by {cluster_name}"
    return t_interval(
        mean, se, n=n, n_clusters=groups, method=method, level=level, bounds=bounds
    )  # fmt: skip
