"""The one result type: a number with its interval, its counts and its method."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats as _dist

from evalsuite.errors import StatisticsError

MIN_CLUSTERS = 5
"""Below this many independent units an interval is NaN: t quantiles there are too wide to use."""


class Estimate(NamedTuple):
    """A point estimate with standard error and confidence interval.

    value, se, low, high are in the unit of the quantity; undefined is NaN, never 0.
    level is the nominal coverage of [low, high], n the rows used, n_clusters the independent
    units, method a phrase such as "cluster-robust by post, t(103)" or, where something is
    undefined, the reason.
    """

    value: float
    se: float
    low: float
    high: float
    level: float
    n: int
    n_clusters: int
    method: str


def undefined(reason: str, *, n: int = 0, n_clusters: int = 0, level: float = 0.95) -> Estimate:
    """An estimate that does not exist for these inputs; `method` carries the reason."""
    nan = math.nan
    return Estimate(nan, nan, nan, nan, level, n, n_clusters, f"undefined: {reason}")


def t_quantile(level: float, df: float) -> float:
    """Two-sided Student t quantile; `df` below 1 counts as 1.

    Raises StatisticsError when level is not inside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise StatisticsError(f"level is {level}; allowed between 0 and 1")
    return float(_dist.t.ppf(0.5 + level / 2, max(df, 1.0)))


def t_interval(
    value: float,
    se: float,
    *,
    n: int,
    n_clusters: int,
    method: str,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    df: float | None = None,
) -> Estimate:
    """Student t interval with `df` degrees of freedom, by default `n_clusters` - 1.

    Normal quantiles undercover when clusters are few (11 labelers: about 92% for a nominal 95%).
    `bounds` clips the interval to the range of the quantity, e.g. (0, 1) for a rate.
    Below `MIN_CLUSTERS` clusters, or without an SE, the interval is NaN and `method` says so.

    Raises StatisticsError when level is not inside (0, 1).
    """
    freedom = n_clusters - 1 if df is None else df
    quantile = t_quantile(level, freedom)
    if not math.isfinite(value):
        return undefined(method, n=n, n_clusters=n_clusters, level=level)
    if n_clusters < MIN_CLUSTERS:
        reason = f"{method}; no interval: {n_clusters} clusters, {MIN_CLUSTERS} needed"
        return Estimate(value, se, math.nan, math.nan, level, n, n_clusters, reason)
    if not math.isfinite(se):
        reason = f"{method}; no interval: no standard error"
        return Estimate(value, math.nan, math.nan, math.nan, level, n, n_clusters, reason)
    low, high = value - quantile * se, value + quantile * se
    if bounds is not None:
        low, high = float(np.clip(low, *bounds)), float(np.clip(high, *bounds))
    return Estimate(
        value, se, low, high, level, n, n_clusters, f"{method}, t({round(freedom, 1):g})"
    )


def row(estimate: Estimate, **keys: object) -> dict[str, object]:
    """A row of a results table: keys that say what was estimated, then the estimate's fields."""
    return {**keys, **estimate._asdict()}
