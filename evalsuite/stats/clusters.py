"""Cluster codes and cluster-robust variance of influence functions.

Every interval of the suite that is not a bootstrap comes through `robust_covariance`: an
estimator hands in the influence of each row on its value, and rows of one cluster are added
before squaring, since summaries of one post (or labels of one person) are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import StatisticsError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def cluster_codes(clusters: ArrayLike | None, n: int) -> tuple[Codes, int]:
    """Integer codes 0..G-1 of `clusters` (n labels) and G; None makes each row its own cluster.

    Raises StatisticsError on a wrong length or a missing label.
    """
    if clusters is None:
        return np.arange(n, dtype=np.int64), n
    labels = pd.Series(np.asarray(clusters)) if not isinstance(clusters, pd.Series) else clusters
    if len(labels) != n:
        raise StatisticsError(f"clusters has {len(labels)} labels for {n} rows; allowed one a row")
    codes, unique = pd.factorize(labels)
    if (codes < 0).any():
        raise StatisticsError("clusters has a missing label; allowed one label a row")
    return codes.astype(np.int64), len(unique)


def robust_covariance(influence: ArrayLike, codes: Sequence[Codes] | Codes) -> Floats:
    """Cluster-robust (sandwich) covariance of estimates from their row influences.

    influence: (n, q), the first-order change of each of q estimates caused by each row,
    scaled so that the estimate's error is the *sum* over rows. codes: (n,) cluster codes, or a
    sequence of two of them for two-way clustering (V_a + V_b - V_ab; where that falls below a one-way
    variance, the larger one-way matrix is used). Each term carries the G/(G-1) correction.

    Returns (q, q). Source: Liang & Zeger 1986; Cameron, Gelbach & Miller 2011 (two-way).
    """
    matrix = np.asarray(influence, dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if isinstance(codes, np.ndarray):
        return _one_way(matrix, codes)
    if len(codes) != 2:
        raise StatisticsError(f"clusters has {len(codes)} groupings; allowed 1 or 2")
    first, second = codes
    both = pd.factorize(first * (int(second.max(initial=0)) + 1) + second)[0].astype(np.int64)
    a, b = _one_way(matrix, first), _one_way(matrix, second)
    total = a + b - _one_way(matrix, both)
    if (np.diag(total) < np.maximum(np.diag(a), np.diag(b))).any():
        total = a if np.trace(a) >= np.trace(b) else b
    return total


def _one_way(matrix: Floats, codes: Codes) -> Floats:
    groups = int(codes.max(initial=-1)) + 1
    if groups < 2:
        return np.full((matrix.shape[1], matrix.shape[1]), np.nan)
    sums = np.empty((groups, matrix.shape[1]))
    for column in range(matrix.shape[1]):
        sums[:, column] = np.bincount(codes, weights=matrix[:, column], minlength=groups)
    return np.asarray(sums.T @ sums) * groups / (groups - 1)
