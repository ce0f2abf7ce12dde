"""Means over replicates (seeds) and posts, crossed: the error bar of every trained result.

A run is repeated over seeds and judged on the same posts each time, so a number may vary for two
reasons at once: other training runs, other posts. Leaving out either makes intervals too short.
The model of a table of S seeds by P posts is

    y_sp = mu + a_s + b_p + e_sp,    a, b, e independent with variances A, B, E,

both seeds and posts drawn from more of their kind. The mean then has variance A/S + B/P + E/(SP),
and with the mean squares of the two-way table

    MS_seed = P sum_s (y_s. - y..)^2 / (S-1)        expected  P A + E
    MS_post = S sum_p (y_.p - y..)^2 / (P-1)                  S B + E
    MS_rest = sum_sp (y_sp - y_s. - y_.p + y..)^2 / ((S-1)(P-1))    E

it is estimated without bias by (MS_seed + MS_post - MS_rest) / (SP), with the degrees of freedom
of Satterthwaite. Proof: tests/stats/test_replicates.py (by hand, statsmodels, simulated coverage).
What may be changed: the choice of degrees of freedom, with the simulation run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, t_interval, undefined


class Cells(NamedTuple):
    """A balanced table of means: one cell a seed and post, the rest left out and counted.

    values: (S, P), or (S, P, D) where D columns were given. seeds, posts: the labels of its axes.
    n: rows averaged into it. left_out: posts that some seed lacks.
    """

    values: Floats
    seeds: list[object]
    posts: list[object]
    n: int
    left_out: int


def crossed_cells(values: ArrayLike, *, seeds: ArrayLike, posts: ArrayLike) -> Cells:
    """Cell means of rows by (seed, post), of the posts that every seed has.

    values: (n,) or (n, D). Rows of one cell are averaged. A post that a seed lacks is left out
    for all: the posts of an evaluation are the same by design, so a hole is an accident, and
    with it the mean of a seed would be one of other posts.

    Raises StatisticsError on lengths that differ, a value that is not finite or a missing label.
    """
    array = np.asarray(values, dtype=np.float64)
    seed, post = pd.Series(seeds), pd.Series(posts)
    if not len(array) == len(seed) == len(post):
        raise StatisticsError(
            f"values, seeds and posts have {len(array)}, {len(seed)} and {len(post)} rows; "
            "allowed one length"
        )
    if not np.isfinite(array).all():
        raise StatisticsError("a value is NaN or infinite; allowed finite numbers")
    if seed.isna().any() or post.isna().any():
        raise StatisticsError("a seed or post is missing; allowed one label a row")
    s, seed_labels = pd.factorize(seed, sort=True)
    p, post_labels = pd.factorize(post, sort=True)
    S, P = len(seed_labels), len(post_labels)
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    cell, count = s * P + p, np.bincount(s * P + p, minlength=S * P)
    whole = (count.reshape(S, P) > 0).all(axis=0)
    sums = np.stack([np.bincount(cell, weights=c, minlength=S * P) for c in flat.T], axis=-1)
    with np.errstate(invalid="ignore"):
        means = (sums / count[:, None]).reshape(S, P, *array.shape[1:])
    n = int(count.reshape(S, P)[:, whole].sum())
    labels = np.asarray(post_labels, dtype=object)[whole].tolist()
    return Cells(means[:, whole], list(seed_labels), labels, n, P - int(whole.sum()))


def crossed_mean(
    values: ArrayLike, *, seeds: ArrayLike, posts: ArrayLike, level: float = 0.95
) -> Estimate:
    """Mean over crossed random seeds and posts: mean over seeds of means over posts.

    values: (n,), finite; one row a (seed, post), rows of one cell are averaged first. n counts
    the rows used, n_clusters the posts; posts that some seed lacks are left out and `method`
    counts them. Below 5 posts there is no interval; with 2 or 3 seeds there is one, wide where
    seeds differ. With one seed posts alone are the clusters and `method` says "one seed": such an
    interval says nothing about another training run.

    Where seeds share no post at all (each was judged on posts of its own), posts are nested: the
    means of seeds then differ by seeds and posts together, so they alone give the error, with
    S - 1 degrees of freedom, and never less than posts within seeds give.

    Raises StatisticsError as `crossed_cells`. Source: Searle, Casella & McCulloch 1992, ch. 4.
    """
    cells = crossed_cells(values, seeds=seeds, posts=posts)
    if cells.left_out and not cells.posts and len(cells.seeds) > 1:
        return _nested(values, seeds, posts, level)
    return _estimate(cells.values, n=cells.n, left_out=cells.left_out, level=level)


def crossed_difference(
    a: ArrayLike, b: ArrayLike, *, seeds: ArrayLike, posts: ArrayLike, level: float = 0.95
) -> Estimate:
    """Paired difference a - b over crossed seeds and posts: `crossed_mean` of row differences.

    a, b: (n,), values of the same (seed, post) in each row, so what seeds and posts add to both
    sides falls out. Raises StatisticsError as `crossed_cells`, and on lengths of a and b.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise StatisticsError(f"a has shape {first.shape}, b {second.shape}; allowed the same")
    return crossed_mean(first - second, seeds=seeds, posts=posts, level=level)


def crossed_statistic(
    pseudo: ArrayLike, *, value: float | None = None, level: float = 0.95, method: str = ""
) -> Estimate:
    """Mean of an (S, P) table of values, or of jackknife pseudo-values, with its crossed interval.

    pseudo: (S, P); for a plain mean the values themselves, for another statistic what
    `pseudo_values` gives. value: the point estimate, by default the mean of `pseudo`; give the
    statistic itself where a figure must show the number that its curve is drawn from (the mean of
    pseudo-values differs from it by the jackknife's estimate of bias). method: words before the
    usual ones.

    Variance: (MS_seed + MS_post - MS_rest) / (SP), at least MS_seed / (SP) and MS_post / (SP):
    MS_rest is subtracted since both others hold it, but where seeds differ less than chance lets
    them, that would give less than posts alone do, as if repeating a run proved it exact.
    Degrees of freedom: Satterthwaite's, or those of the term that is the floor.
    Simulated coverage of 95% intervals over ratios of variances, 100 posts: 3 seeds 92.5 to 97%,
    5 seeds 94 to 97%, 2 seeds 88 to 97% (lowest where seeds are most of the variance).

    NaN anywhere: no standard error, with the count in `method`. Undefined: no cells.

    Raises StatisticsError when pseudo is not a table. Source: Searle, Casella & McCulloch 1992,
    ch. 4; Satterthwaite 1946; Efron & Stein 1981 (pseudo-values).
    """
    table = np.asarray(pseudo, dtype=np.float64)
    if table.ndim != 2:
        raise StatisticsError(f"pseudo has {table.ndim} dimensions; allowed 2, seeds x posts")
    words = f"{method}, " if method else ""
    bad = int((~np.isfinite(table)).sum())
    if bad and table.size:
        point = math.nan if value is None else value
        reason = f"{words}{bad} of {table.size} pseudo-values are undefined"
        if math.isnan(point):
            return undefined(reason, n=table.size, n_clusters=table.shape[1], level=level)
        counts = {"n": table.size, "n_clusters": table.shape[1], "level": level}
        return t_interval(point, math.nan, method=reason, **counts)
    return _estimate(table, n=table.size, left_out=0, level=level, value=value, words=words)


def pseudo_values(statistic: Callable[[Floats], ArrayLike], values: ArrayLike) -> Floats:
    """Delete-one-post jackknife pseudo-values of a function of means over posts, seed by seed.

    values: (S, P, D), what the statistic needs of each post, in D columns. statistic: takes means
    over posts, (S, K, D), and gives (S, K), or (S, K, Q) for Q results at once; it is called with
    K = 1 (all posts) and K = P (each post left out: the mean is then (total - x) / (P - 1)), so it
    must work along the last axis. Seeds stay apart and first, so that a statistic may use what
    differs between them, shaped (S, 1, ...).

    Regressions with a common design are functions of means (of products); a ratio is one of two
    means. Any weighted statistic is one too: with `values = np.broadcast_to(np.eye(P), (S, P, P))`
    the means are the weights of the posts.

    Returns P t - (P-1) t_(-p): (S, P) or (S, P, Q). Means over posts of a plain mean's
    pseudo-values are its values. Where `statistic` is not smooth at the data (a maximum, a clipped
    value) the jackknife can be too short.

    Raises StatisticsError unless values is (S, P, D) with 2 posts or more, or when the statistic
    gives another shape. Source: Tukey 1958; Efron & Tibshirani 1993, ch. 11.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 3 or table.shape[1] < 2:
        raise StatisticsError(
            f"values has shape {table.shape}; allowed (seeds, posts, columns), 2 posts or more"
        )
    P = table.shape[1]
    total = table.sum(axis=1, keepdims=True)
    whole = _called(statistic, total / P)
    without = _called(statistic, (total - table) / (P - 1))
    return np.asarray(P * whole - (P - 1) * without, dtype=np.float64)


def _called(statistic: Callable[[Floats], ArrayLike], means: Floats) -> Floats:
    result = np.asarray(statistic(means), dtype=np.float64)
    if result.shape[:2] != means.shape[:2] or result.ndim > 3:
        raise StatisticsError(
            f"the statistic of means {means.shape} has shape {result.shape}; "
            f"allowed {means.shape[:2]}, and one axis of results"
        )
    return result


def _estimate(
    y: Floats, *, n: int, left_out: int, level: float, value: float | None = None, words: str = ""
) -> Estimate:
    """The estimate from a balanced (S, P) table; see `crossed_statistic`."""
    S, P = y.shape
    dropped = f"; {left_out} posts not in every seed left out" if left_out else ""
    if y.size == 0:
        return undefined(f"{words}no values", level=level)
    point = float(y.mean()) if value is None else value
    design = "one seed, posts as clusters" if S == 1 else f"{S} seeds x {P} posts, crossed"
    variance, df = _variance(y)
    return t_interval(
        point, math.sqrt(variance), n=n, n_clusters=P, level=level, df=df,
        method=f"{words}{design}{dropped}",
    )  # fmt: skip


def _nested(values: ArrayLike, seeds: ArrayLike, posts: ArrayLike, level: float) -> Estimate:
    """The estimate where each seed has posts of its own."""
    rows = pd.DataFrame({"y": np.asarray(values, dtype=np.float64)})
    rows["s"], rows["p"] = pd.factorize(pd.Series(seeds))[0], pd.factorize(pd.Series(posts))[0]
    cells = rows.groupby(["s", "p"])["y"].mean()
    seed = cells.groupby(level="s").agg(["mean", "var", "count"])
    S, P = len(seed), len(cells)
    between = float(seed["mean"].var(ddof=1)) / S
    within = float((seed["var"] / seed["count"]).sum()) / S**2
    larger, df = (between, S - 1.0) if between >= within else (within, float(P - S))
    variance = larger if (seed["count"] > 1).all() else math.nan
    return t_interval(
        float(seed["mean"].mean()), math.sqrt(variance), n=len(rows), n_clusters=P, level=level,
        df=df, method=f"{S} seeds, {P} posts nested in them",
    )  # fmt: skip


def _variance(y: Floats) -> tuple[float, float]:
    """Variance of the grand mean of (S, P) values, and its degrees of freedom."""
    S, P = y.shape
    if P < 2:
        return math.nan, 1.0
    by_post = y.mean(axis=0)
    post = S * float(by_post.var(ddof=1))
    if S == 1:
        return post / P, P - 1.0
    by_seed = y.mean(axis=1)
    seed = P * float(by_seed.var(ddof=1))
    rest_df = (S - 1) * (P - 1)
    rest = float(((y - by_seed[:, None] - by_post + y.mean()) ** 2).sum()) / rest_df
    both = seed + post - rest
    if seed < rest or post < rest:
        # The subtraction would leave less than one source alone.
        larger, df = (post, P - 1.0) if post >= seed else (seed, S - 1.0)
        return larger / (S * P), df
    if both <= 0:
        return 0.0, P - 1.0
    spread = seed**2 / (S - 1) + post**2 / (P - 1) + rest**2 / rest_df
    return both / (S * P), both**2 / spread
