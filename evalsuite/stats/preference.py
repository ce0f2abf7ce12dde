"""Preference rates: how often one policy's summary is preferred to another's.

Everything here takes wins in [0, 1] (a tie is a half, a soft preference its share) and returns
`Estimate`s. `pairwise_rates` does for all pairs of policies at once what `preference_rate` does
for one, `pooled_rate` for rows that are counted instead of listed; they share `_robust` and
`_wilson`, so their numbers are the same (tests hold one against the other).
Coverage of the intervals is simulated in tests/stats/test_coverage_rates.py: change a correction
only with that test in hand.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as _dist

from evalsuite.errors import StatisticsError
from evalsuite.stats.bootstrap import cluster_bootstrap, cluster_sums, percentile_interval
from evalsuite.stats.clusters import (
    Codes,
    Floats,
    cluster_codes,
    codes_or_rows,
    jackknife_moments,
)
from evalsuite.stats.estimate import MIN_CLUSTERS, Estimate, t_interval, t_quantile, undefined

Interval = Literal["robust", "wilson", "bootstrap"]
Clusters = ArrayLike | tuple[ArrayLike, ArrayLike] | None

NEGLIGIBLE_SE = 1e-9
"""An SE below this is rounding: the clusters agree exactly."""


class _Moments(NamedTuple):
    """One mean, its variance and what that rests on."""

    value: float
    variance: float
    n: int
    n_clusters: int
    df: float


def preference_rate(
    wins: ArrayLike,
    *,
    clusters: Clusters = None,
    cluster_name: str = "post",
    interval: Interval = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Preference rate: the mean of wins, with an interval that respects clusters.

    wins: (n,) in [0, 1]. clusters: None (rows are independent), (n,) labels, or a pair of them
    for two-way clustering (posts and labelers). cluster_name: the word for them in `method`.

    interval:
      robust     cluster jackknife SE (CR3) and Student t with the effective number of clusters
                 less one, clipped to [0, 1] (`clusters.jackknife_moments`).
      wilson     Wilson score interval. With clusters, n is replaced by the effective sample size
                 p(1-p)/variance, never more than n, and the normal quantile by Student's.
      bootstrap  cluster bootstrap, expanded percentiles; needs `rng`, and one-way clusters.

    Where all clusters agree exactly (a rate of 0 or 1, or nothing but ties) the robust SE would
    be 0 and the interval a point. The SE is NaN then, and every choice of interval falls back on
    Wilson's with one observation a cluster; `method` says so. Fewer than 5 clusters: NaN interval.

    Raises StatisticsError on wins outside [0, 1] or NaN, clusters of a wrong length or with
    missing labels, an unknown interval, bootstrap without `rng` or with two-way clusters.

    Source: Wilson 1927; Korn & Graubard 1998 (effective sample size, t quantile); for robust and
    bootstrap see `clusters` and `bootstrap`.
    """
    y = _wins("wins", wins)
    _check_interval(interval, rng)
    n = len(y)
    codes, groups, method = _codes(clusters, cluster_name, n)
    if n == 0:
        return undefined("no comparisons", level=level)
    found = jackknife_moments(y, codes)
    moments = _Moments(
        float(found.mean[0]), float(found.variance[0]), n, groups, float(found.df[0])
    )
    plain = clusters is None
    if interval == "bootstrap" and not _agree(moments):
        assert rng is not None
        if not isinstance(codes, np.ndarray):
            raise StatisticsError("bootstrap has two-way clusters; allowed one grouping")
        name = f"bootstrap {method}" if plain else f"cluster bootstrap {method}"
        sums, sizes = cluster_sums(y, codes), cluster_sums(np.ones(n), codes)
        return _bootstrap(moments, sums, sizes, name, level, rng, resamples)
    if interval == "wilson":
        return _wilson(moments, method, level, plain=plain)
    return _robust(moments, method, level, plain=plain)


def pooled_rate(
    wins: ArrayLike,
    totals: ArrayLike,
    *,
    clusters: ArrayLike,
    cluster_name: str = "post",
    interval: Interval = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Preference rate of counts: `preference_rate` of rows that are summed, not listed.

    wins, totals: (k,) sums of wins and whole numbers of rows, clusters: (k,) their labels. The
    result is that of `totals` single rows each, but pairs of m votes on one comparison are
    m(m-1)/2, too many to list where m is in the thousands. Rows of total 0 do not count.

    Raises StatisticsError where wins are not within 0 and totals, and as `preference_rate`.
    """
    _check_interval(interval, rng)
    won, size = np.asarray(wins, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    if won.shape != size.shape or not ((won >= 0) & (won <= size)).all():
        raise StatisticsError("wins are not within 0 and totals; allowed sums of shares")
    codes, _ = cluster_codes(clusters, len(won))
    codes, groups = cluster_codes(codes[size > 0], int((size > 0).sum()))
    sums, sizes = cluster_sums(won[size > 0], codes), cluster_sums(size[size > 0], codes)
    n = sizes.sum()
    if n == 0:
        return undefined("no comparisons", level=level)
    value, share, variance = float(sums.sum() / n), sizes / n, math.nan
    if groups > 1:
        effect = (sums - value * sizes) / n / (1 - share)
        variance = float(effect @ effect) * (groups - 1) / groups
    moments = _Moments(value, variance, int(n), groups, 1 / float(share @ share) - 1)
    method = f"by {cluster_name}"
    if interval == "bootstrap" and not _agree(moments):
        assert rng is not None
        name = f"cluster bootstrap {method}"
        return _bootstrap(moments, sums, sizes, name, level, rng, resamples)
    estimator = _wilson if interval == "wilson" else _robust
    return estimator(moments, method, level, plain=False)


def paired_difference(
    wins_a: ArrayLike,
    items_a: ArrayLike,
    wins_b: ArrayLike,
    items_b: ArrayLike,
    *,
    clusters_a: ArrayLike | None = None,
    clusters_b: ArrayLike | None = None,
    cluster_name: str = "post",
    interval: Literal["robust", "bootstrap"] = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Paired difference of two preference rates on the items both have (A minus B).

    Hard posts are hard for both policies; pairing takes that out. The estimate is the mean over
    shared items of (mean win of A - mean win of B) there: each item counts once however many
    labels it has. Rows on items that only one has are left out; `n` counts the rows used.

    wins: (n_a,), (n_b,) in [0, 1]; items: their posts. clusters_a, clusters_b: another grouping
    of the rows to be robust against (labelers), named by `cluster_name`; by default the items.

    Raises StatisticsError on wins outside [0, 1], items or clusters of a wrong length or missing,
    one of the two clusters alone, an unknown interval, bootstrap without `rng` or with clusters
    other than the items.
    """
    _check_interval(interval, rng, allowed=("robust", "bootstrap"))
    a, b = _wins("wins_a", wins_a), _wins("wins_b", wins_b)
    if (clusters_a is None) != (clusters_b is None):
        raise StatisticsError("clusters are given for one policy only; allowed both or none")
    items, _ = cluster_codes(_joined(items_a, items_b, len(a), len(b), "items"), len(a) + len(b))
    shared = np.intersect1d(items[: len(a)], items[len(a) :])
    used = np.isin(items, shared)
    y = np.concatenate([a, b])[used]
    side = np.concatenate([np.ones(len(a)), -np.ones(len(b))])[used]
    n, n_items = len(y), len(shared)
    if n_items == 0:
        return undefined("no item has both policies", level=level)
    item = np.searchsorted(shared, items[used])
    other = clusters_a is not None and clusters_b is not None
    if other:
        labels = _joined(clusters_a, clusters_b, len(a), len(b), "clusters")
        codes = cluster_codes(labels, len(a) + len(b))[0][used]
        codes, groups = cluster_codes(codes, n)
    else:
        codes, groups = item, n_items

    # Each row's share of its policy's mean: an item is 1/n_items, divided among its rows.
    cell = 2 * item + (side > 0)
    share = 1 / (np.bincount(cell, minlength=2 * n_items)[cell] * n_items)
    mean = {s: float((share * y)[side == s].sum()) for s in (1, -1)}
    value = mean[1] - mean[-1]
    effect, weight = np.zeros(groups), np.zeros(groups)
    for s in (1, -1):
        rows = side == s
        held = np.bincount(codes[rows], share[rows], minlength=groups)
        error = np.bincount(codes[rows], (share * (y - mean[s]))[rows], minlength=groups)
        with np.errstate(invalid="ignore", divide="ignore"):
            effect += s * error / (1 - held)
        weight += held / 2
    method = f"paired by {'post' if other else cluster_name}, cluster-robust by {cluster_name}"
    variance = (
        float((effect**2).sum() * (groups - 1) / groups)
        if groups > 1 and np.isfinite(effect).all()
        else math.nan
    )
    if interval == "bootstrap":
        assert rng is not None
        if other:
            raise StatisticsError("bootstrap has clusters other than the items; allowed the items")
        gap = n_items * cluster_sums(side * share * y, item)
        draws = cluster_bootstrap(lambda w: (w @ gap) / n_items, item, rng=rng, resamples=resamples)
        name = f"paired, cluster bootstrap by {cluster_name}"
        return percentile_interval(value, draws, n=n, n_clusters=groups, method=name, level=level)
    if variance < NEGLIGIBLE_SE**2:
        reason = f"{method}; no interval: the difference is the same in every cluster"
        return Estimate(value, math.nan, math.nan, math.nan, level, n, groups, reason)
    return t_interval(
        value, math.sqrt(variance), n=n, n_clusters=groups, method=method, level=level,
        bounds=(-1.0, 1.0), df=1 / float((weight**2).sum()) - 1,
    )  # fmt: skip


def orient(comparisons: pd.DataFrame, policy: str, against: str) -> pd.DataFrame:
    """Comparisons of `policy` with `against`, with the column `win`: the share for `policy`.

    Rows where the two sides are swapped are turned round. The index is kept; a policy against
    itself has no rows, since neither side is "the" policy.
    """
    left, right = comparisons["left_policy"], comparisons["right_policy"]
    on_right = (right == policy) & (left == against)
    on_left = (left == policy) & (right == against)
    keep = on_right ^ on_left
    win = comparisons["choice"].where(on_right, 1 - comparisons["choice"])
    return comparisons.assign(win=win)[keep]


def pairwise_rates(
    comparisons: pd.DataFrame,
    *,
    against: str | None = None,
    cluster_column: str | tuple[str, str] = "item",
    cluster_name: str = "post",
    interval: Literal["robust", "wilson"] = "robust",
    level: float = 0.95,
) -> pd.DataFrame:
    """Preference rates of all pairs of policies, in one pass over the rows.

    comparisons: the table of `evalsuite.tables`. Returns one row an ordered pair that met, sorted:
    policy, against, then the fields of `Estimate`; both orders are given (one is 1 minus the
    other), or with `against` only the rows against it. Comparisons of a policy with itself say
    nothing about a rate and are left out. Rows whose cluster is missing are clusters of their
    own; where that is all rows of a pair, `method` says so.

    Raises StatisticsError on choices outside [0, 1] or an unknown interval.
    """
    _check_interval(interval, None, allowed=("robust", "wilson"))
    names = [cluster_column] if isinstance(cluster_column, str) else list(cluster_column)
    rows = comparisons[comparisons["left_policy"] != comparisons["right_policy"]]
    if against is not None:
        rows = rows[(rows["left_policy"] == against) | (rows["right_policy"] == against)]
    y = _wins("choice", rows["choice"])
    policies, labels = _factor_policies(rows)
    left, right = policies
    first, second = np.minimum(left, right), np.maximum(left, right)
    pair, keys = pd.factorize(first * max(len(labels), 1) + second, sort=True)
    wins = np.where(right == first, y, 1 - y)
    groups = [codes_or_rows(rows[name]) for name in names]
    codes: Codes | tuple[Codes, ...] = (
        groups[0][0] if len(groups) == 1 else tuple(code for code, _ in groups)
    )
    found = jackknife_moments(wins, codes, groups=pair.astype(np.int64), n_groups=len(keys))
    named = [np.bincount(pair, has.astype(np.float64), len(keys)) > 0 for _, has in groups]
    known = np.logical_or.reduce(named)
    by = f"by {cluster_name}" + (", two-way" if len(names) > 1 else "")
    out = []
    for i, key in enumerate(np.asarray(keys)):
        a, b = labels[key // len(labels)], labels[key % len(labels)]
        method = by if known[i] else f"rows as clusters (no {cluster_name} ids)"
        if known[i] and (absent := [n for n, has in zip(names, named, strict=True) if not has[i]]):
            method += f" (no {absent[0]} ids)"
        for policy, other, value in ((a, b, found.mean[i]), (b, a, 1 - found.mean[i])):
            if against is not None and other != against:
                continue
            moments = _Moments(
                float(value), float(found.variance[i]), int(found.n[i]),
                int(found.n_clusters[i]), float(found.df[i]),
            )  # fmt: skip
            estimator = _robust if interval == "robust" else _wilson
            estimate = estimator(moments, method, level, plain=not known[i])
            out.append({"policy": policy, "against": other, **estimate._asdict()})
    columns = ["policy", "against", *Estimate._fields]
    return pd.DataFrame(out, columns=columns).sort_values(["policy", "against"], ignore_index=True)


def _robust(moments: _Moments, method: str, level: float, *, plain: bool) -> Estimate:
    if _agree(moments):
        return _wilson(moments, method, level, plain=plain)
    name = f"robust, {method}" if plain else f"cluster-robust {method}"
    return t_interval(
        moments.value, math.sqrt(moments.variance), n=moments.n, n_clusters=moments.n_clusters,
        method=name, level=level, bounds=(0.0, 1.0), df=moments.df,
    )  # fmt: skip


def _bootstrap(
    moments: _Moments, sums: Floats, sizes: Floats, method: str, level: float,
    rng: np.random.Generator, resamples: int,
) -> Estimate:  # fmt: skip
    """Expanded percentiles of the rate from sums of wins and rows of each cluster."""
    draws = cluster_bootstrap(
        lambda w: (w @ sums) / (w @ sizes), np.arange(len(sums)), rng=rng, resamples=resamples
    )
    return percentile_interval(
        moments.value, draws, n=moments.n, n_clusters=moments.n_clusters, method=method,
        level=level, df=moments.df,
    )  # fmt: skip


def _wilson(moments: _Moments, method: str, level: float, *, plain: bool) -> Estimate:
    p, variance, n, groups, df = moments
    se, name = math.sqrt(variance), f"Wilson, {method}"
    quantile = t_quantile(level, df) if not plain else float(_dist.norm.ppf(0.5 + level / 2))
    size = float(n)
    if _agree(moments):
        size, se = float(groups), math.nan
        name += f"; all clusters agree: one observation each (effective n {groups}), no SE"
    elif not plain:
        size = min(size, p * (1 - p) / variance)
        name += f", effective n {size:.1f}, t({round(df, 1):g})"
    if groups < MIN_CLUSTERS or math.isnan(size):
        reason = f"{name}; no interval: {groups} clusters, {MIN_CLUSTERS} needed"
        return Estimate(p, se, math.nan, math.nan, level, n, groups, reason)
    z2 = quantile**2 / size
    centre = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * p * (1 - p) + z2**2 / 4) / (1 + z2)
    # The ends are exactly 0 and 1 there; rounding must not put the rate outside its interval.
    low, high = min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))
    return Estimate(p, se, low, high, level, n, groups, name)


def _agree(moments: _Moments) -> bool:
    return moments.variance < NEGLIGIBLE_SE**2


def _wins(name: str, wins: ArrayLike) -> Floats:
    y = np.asarray(wins, dtype=np.float64)
    if y.ndim != 1:
        raise StatisticsError(f"{name} has shape {y.shape}; allowed one dimension")
    wrong = ~((y >= 0) & (y <= 1))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise StatisticsError(f"{name}[{at}] is {y[at]:g}; allowed 0 to 1")
    return y


def _check_interval(
    interval: str,
    rng: np.random.Generator | None,
    allowed: tuple[str, ...] = ("robust", "wilson", "bootstrap"),
) -> None:
    if interval not in allowed:
        raise StatisticsError(f"interval is {interval!r}; allowed {', '.join(allowed)}")
    if interval == "bootstrap" and rng is None:
        raise StatisticsError("interval 'bootstrap' has no rng; allowed a numpy Generator")


def _codes(clusters: Clusters, name: str, n: int) -> tuple[Codes | tuple[Codes, Codes], int, str]:
    """Codes, number of independent units, and the words for them in `method`."""
    if isinstance(clusters, tuple):
        if len(clusters) != 2:
            raise StatisticsError(f"clusters has {len(clusters)} groupings; allowed 1 or 2")
        (first, a), (second, b) = (cluster_codes(c, n) for c in clusters)
        return (first, second), min(a, b), f"by {name}, two-way"
    codes, groups = cluster_codes(clusters, n)
    return codes, groups, "rows as clusters" if clusters is None else f"by {name}"


def _joined(
    first: ArrayLike | None, second: ArrayLike | None, n_a: int, n_b: int, what: str
) -> pd.Series:
    parts = []
    for values, n in ((first, n_a), (second, n_b)):
        part = pd.Series(values)
        if len(part) != n:
            raise StatisticsError(f"{what} has {len(part)} labels for {n} rows; allowed one a row")
        parts.append(part.astype(object))
    return pd.concat(parts, ignore_index=True)


def _factor_policies(rows: pd.DataFrame) -> tuple[tuple[Codes, Codes], list[str]]:
    both = pd.concat([rows["left_policy"], rows["right_policy"]], ignore_index=True)
    codes, labels = pd.factorize(both, sort=True)
    codes = codes.astype(np.int64)
    return (codes[: len(rows)], codes[len(rows) :]), [str(label) for label in labels]
