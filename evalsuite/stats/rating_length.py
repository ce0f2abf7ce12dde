"""Length and ratings: the least-squares line of rating on length within a policy (App. E, F).

Ratings have no second summary whose length could be held equal, so the paper reads their length
control off a line: the slope of the rating per 100 characters, and the rating that the line gives
at another length, such as the references'. Change here what is regressed on what;
`tests/stats/test_rating_length.py` compares with statsmodels and with the published lead-3 number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import cluster_codes
from evalsuite.stats.estimate import Estimate, t_interval, undefined
from evalsuite.stats.means import cluster_mean

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

PER = 100.0
"""Characters of a slope's unit, as in the paper."""


@dataclass(frozen=True)
class RatingLine:
    """The line of rating on length of one policy.

    slope: change of the rating per 100 characters. mean_rating, mean_length: over rated rows, so
    a summary rated by three labelers counts three times. sd_length: characters, n - 1 below.
    """

    slope: Estimate
    mean_rating: Estimate
    mean_length: Estimate
    sd_length: float
    _lines: _Lines
    _method: str
    _problem: str

    def at(self, length: float) -> Estimate:
        """Predicted mean rating at `length` characters: mean + slope x (length - mean length).

        The SE is that of the line at this point, with `length` taken as known. It is a
        prediction: far from the policy's own lengths it leans on the line being straight.
        Undefined, with the reason, where the slope is. Raises StatisticsError on a length that
        is not finite.
        """
        if not math.isfinite(length):
            raise StatisticsError(f"length is {length}; allowed a finite number of characters")
        n, groups, level = self.slope.n, self.slope.n_clusters, self.slope.level
        if math.isnan(self.slope.value):
            return undefined(self._problem, n=n, n_clusters=groups, level=level)
        x, y, slope = self._lines.full()
        value = y + slope * (length - x)
        if self._problem:
            return _bare(value, n, groups, level, f"{self._method}; no SE: {self._problem}")
        xs, ys = self._lines.means_without_each()
        se = _jackknife(ys + self._lines.slopes_without_each() * (length - xs), value)
        return t_interval(
            float(value), se, n=n, n_clusters=groups, method=self._method, level=level
        )  # fmt: skip


def fit_rating_length(
    rating: ArrayLike,
    length: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
) -> RatingLine:
    """Ordinary least squares of rating on length, with cluster-jackknife (CR3) SEs.

    rating, length: (n,), NaN where missing; such rows are left out and `n` counts the rest.
    length is in characters. clusters: (n,) labels of what makes rows dependent (posts), None for
    rows. Few posts of unequal size are common here, and there the plain sandwich is too small:
    the SE is the exact delete-one-cluster jackknife, which with many clusters equals it.

    The slope is undefined where all lengths are equal or fewer than two rows are left. It has no
    SE where one cluster holds all variation of length, or where all ratings are the same.

    Raises StatisticsError on unequal lengths of the inputs, an infinity, or a missing cluster.
    Source: Stiennon et al. 2020, Appendices E and F; Bell & McCaffrey 2002 (CR3).
    """
    y, x, _, codes, groups = _rows(rating, length, None, clusters)
    lines = _Lines.of(x, y, np.zeros(len(x), dtype=np.int64), codes, groups)
    method = _method("least squares", clusters, cluster_name)
    slope, problem = _slope(lines, y, method, level)
    name = {"cluster_name": cluster_name, "level": level}
    labels = None if clusters is None else codes
    return RatingLine(
        slope=slope,
        mean_rating=cluster_mean(y, clusters=labels, **name),  # type: ignore[arg-type]
        mean_length=cluster_mean(x, clusters=labels, **name),  # type: ignore[arg-type]
        sd_length=float(np.std(x, ddof=1)) if len(x) > 1 else math.nan,
        _lines=lines,
        _method=method,
        _problem=problem,
    )


def pooled_slope(
    rating: ArrayLike,
    length: ArrayLike,
    policy: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
) -> Estimate:
    """Within-policy (fixed effects) slope of rating on length per 100 characters.

    One slope for all policies, each with a level of its own: what length does to ratings once
    policies that write more are not better or worse for it. policy: (n,) names; the rest, the
    undefined cases and the errors are those of `fit_rating_length`. Rows without a policy are
    left out.
    """
    y, x, group, codes, groups = _rows(rating, length, policy, clusters)
    lines = _Lines.of(x, y, group, codes, groups)
    method = _method("least squares with policy effects", clusters, cluster_name)
    return _slope(lines, y, method, level)[0]


@dataclass(frozen=True)
class _Lines:
    """Sums from which the line of all rows and of all rows but one cluster follow exactly.

    whole: (5, P) n, x, y, xx, xy summed by policy; cells: (5, C) the same by policy and cluster;
    policy, cluster: (C,) of the cells. x and y are centred at `centre`, else xx - x x / n cancels.
    """

    whole: Floats
    cells: Floats
    policy: Codes
    cluster: Codes
    n_clusters: int
    centre: tuple[float, float]

    @classmethod
    def of(cls, x: Floats, y: Floats, policy: Codes, cluster: Codes, n_clusters: int) -> _Lines:
        centre = (float(x.mean()), float(y.mean())) if len(x) else (0.0, 0.0)
        x, y = x - centre[0], y - centre[1]
        cell, keys = pd.factorize(policy * max(n_clusters, 1) + cluster)
        key = np.asarray(keys, dtype=np.int64)
        sums = (np.ones(len(x)), x, y, x * x, x * y)
        cells: Floats = np.stack([np.bincount(cell, weights=s, minlength=len(key)) for s in sums])
        owner, of_cluster = key // max(n_clusters, 1), key % max(n_clusters, 1)
        policies = int(policy.max(initial=-1)) + 1
        whole: Floats = np.stack([np.bincount(owner, weights=c, minlength=policies) for c in cells])
        return cls(whole, cells, owner, of_cluster, n_clusters, centre)

    def full(self) -> tuple[float, float, float]:
        """Mean length, mean rating (of the first policy) and slope, of all rows."""
        xx, xy = (float(part.sum()) for part in _within(self.whole))
        n, x, y = self.whole[:3, 0]
        return float(x / n + self.centre[0]), float(y / n + self.centre[1]), xy / xx

    def spread(self) -> tuple[float, Floats]:
        """Sum of squared lengths about policy means: of all rows, and without each cluster."""
        return float(_within(self.whole)[0].sum()), self._rest()[0]

    def slopes_without_each(self) -> Floats:
        """(G,) slopes without each cluster in turn."""
        xx, xy = self._rest()
        return np.asarray(xy / xx)

    def means_without_each(self) -> tuple[Floats, Floats]:
        """(G,) mean lengths and mean ratings without each cluster, where there is one policy."""
        removed = np.zeros((3, self.n_clusters))
        removed[:, self.cluster] = self.cells[:3]
        n, x, y = self.whole[:3, :1] - removed
        return x / n + self.centre[0], y / n + self.centre[1]

    def _rest(self) -> tuple[Floats, Floats]:
        """Within-policy sums of xx and xy without each cluster: only its own policies change."""
        before = _within(self.whole)
        after = _within(self.whole[:, self.policy] - self.cells)
        changes = (
            np.bincount(self.cluster, weights=a - b[self.policy], minlength=self.n_clusters)
            for a, b in zip(after, before, strict=True)
        )
        xx, xy = (b.sum() + change for b, change in zip(before, changes, strict=True))
        return np.asarray(xx), np.asarray(xy)


def _within(sums: Floats) -> tuple[Floats, Floats]:
    """Sums of xx and xy about the means, from n, x, y, xx, xy; 0 where no row is left."""
    n, x, y, xx, xy = sums
    n = np.maximum(n, 1.0)
    return xx - x * x / n, xy - x * y / n


def _slope(lines: _Lines, y: Floats, method: str, level: float) -> tuple[Estimate, str]:
    """The slope per 100 characters, and why it (or its SE) is not defined; empty if it is."""
    n, groups = len(y), lines.n_clusters
    if n < 2:
        reason = "fewer than two ratings with a length"
        return undefined(reason, n=n, n_clusters=groups, level=level), reason
    spread, rest = lines.spread()
    least = 1e-9 * max(float(lines.cells[3].sum()), 1.0)
    if spread <= least:
        reason = "all lengths of a policy are equal"
        return undefined(reason, n=n, n_clusters=groups, level=level), reason
    slope = PER * lines.full()[2]
    reason = ""
    if np.ptp(y) == 0:
        slope, reason = 0.0, "all ratings are the same"
    elif (rest <= least).any():
        reason = "one cluster holds all variation of length"
    if reason:
        return _bare(slope, n, groups, level, f"{method}; no SE: {reason}"), reason
    se = _jackknife(PER * lines.slopes_without_each(), slope)
    return t_interval(slope, se, n=n, n_clusters=groups, method=method, level=level), ""


def _jackknife(without: Floats, value: float) -> float:
    """SE from the estimates without each cluster, about the full estimate."""
    groups = len(without)
    return math.sqrt((groups - 1) / groups * float(((without - value) ** 2).sum()))


def _bare(value: float, n: int, groups: int, level: float, method: str) -> Estimate:
    nan = math.nan
    return Estimate(float(value), nan, nan, nan, level, n, groups, method)


def _method(regression: str, clusters: ArrayLike | None, name: str) -> str:
    by = "rows as clusters" if clusters is None else f"cluster-robust by {name}"
    return f"{regression}, {by} (jackknife)"


def _rows(
    rating: ArrayLike, length: ArrayLike, policy: ArrayLike | None, clusters: ArrayLike | None
) -> tuple[Floats, Floats, Codes, Codes, int]:
    """Rows that have all parts: ratings, lengths, policy codes, cluster codes, clusters."""
    y, x = np.asarray(rating, dtype=np.float64), np.asarray(length, dtype=np.float64)
    group = (
        np.zeros(len(y), dtype=np.int64) if policy is None else pd.factorize(pd.Series(policy))[0]
    )
    if not len(y) == len(x) == len(group):
        raise StatisticsError(
            f"inputs have {len(y)}, {len(x)} and {len(group)} rows; allowed one length"
        )
    for name, values in (("rating", y), ("length", x)):
        if np.isinf(values).any():
            raise StatisticsError(f"{name} has an infinity; allowed finite numbers or NaN")
    codes, _ = cluster_codes(clusters, len(y))
    keep = ~np.isnan(y) & ~np.isnan(x) & (group >= 0)
    codes, left = pd.factorize(codes[keep])
    group = pd.factorize(group[keep])[0]
    return y[keep], x[keep], group.astype(np.int64), codes.astype(np.int64), len(left)
