"""Krippendorff's alpha: agreement of any number of labelers, corrected for chance.

The reader has units (posts, summaries, comparisons) with two or more values each, in any pattern
of missing ones. Derivation, in the order of the code:

    O[c,k] = sum over units u of n_uc n_uk / (m_u - 1)   (n_uc (n_uc - 1) on the diagonal)

is the coincidence matrix: each unit's m_u values are paired with one another, m_u (m_u - 1)
ordered pairs that together weigh m_u. Its margins n_c are the values that can be paired, n of
them. With a squared difference d[c,k] of values c and k,

    D_o = sum O[c,k] d[c,k] / n,    D_e = sum n_c n_k d[c,k] / (n (n - 1)),    alpha = 1 - D_o/D_e:

1 when every unit's values are equal, 0 when they are as mixed within units as over all,
negative when labelers oppose each other. The difference is 1 between any two values (nominal),
(c - k)^2 (interval), or (r_c - r_k)^2 (ordinal) with r_c the mid-rank of c, the number of values
below it and half those at it. That last is the usual ordinal form, the sum of the n_g from c to k
less half of both ends, squared.

Intervals: alpha is a smooth function of weights w_u that units carry (w_u = 1), so a unit's
influence is the derivative of alpha by w_u, with ranks moving too, and rows of one cluster are
added before squaring. Or: clusters are resampled. tests/stats/test_krippendorff.py holds the
published worked examples as fractions and the influence against numerical derivatives.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.bootstrap import cluster_bootstrap, percentile_interval
from evalsuite.stats.clusters import Codes, Floats, cluster_codes, robust_covariance
from evalsuite.stats.estimate import Estimate, t_interval, undefined
from evalsuite.stats.preference import NEGLIGIBLE_SE
from evalsuite.stats.votes import Votes

Scale = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    units: ArrayLike,
    values: ArrayLike,
    *,
    scale: Scale = "nominal",
    clusters: ArrayLike | None = None,
    cluster_name: str = "unit",
    interval: Literal["robust", "bootstrap"] = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Krippendorff's alpha of values (n,) given to units (n,), one row a value.

    scale: "nominal" for choices and names, "ordinal" for ratings taken as ranks, "interval" for
    ratings taken as numbers. clusters: (n,) labels constant within a unit (the post of several
    summaries); by default the units. A missing value is a NaN and is left out, as is a unit with
    one value; n counts the values that could be paired.
    interval: "robust" (influence, Student's t) or "bootstrap" (clusters resampled, needs `rng`).

    Undefined (NaN) when no unit has two values or all values are equal: nothing could disagree.

    Raises StatisticsError for lengths that differ, an unknown scale or interval, values that are
    no numbers where the scale needs them, a unit in two clusters, a bootstrap without rng.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; Hayes & Krippendorff
    2007 (bootstrap).
    """
    if scale not in ("nominal", "ordinal", "interval"):
        raise StatisticsError(f"scale is {scale!r}; allowed 'nominal', 'ordinal', 'interval'")
    if interval not in ("robust", "bootstrap"):
        raise StatisticsError(f"interval is {interval!r}; allowed 'robust', 'bootstrap'")
    if interval == "bootstrap" and rng is None:
        raise StatisticsError("interval 'bootstrap' has no rng; allowed a numpy Generator")
    counts, codes, points = _count(units, values, scale, clusters)
    n, groups = int(counts.sum()), int(codes.max(initial=-1)) + 1
    by = f"Krippendorff's alpha, {scale}"
    if n == 0:
        return undefined(f"{by}: no unit has two values", level=level)
    ones = np.ones(len(counts))
    value = _alpha(counts, points, scale, ones)
    if not np.isfinite(value):
        return undefined(f"{by}: all values are equal", n=n, n_clusters=groups, level=level)
    if interval == "bootstrap":
        assert rng is not None
        draws = cluster_bootstrap(
            lambda weights: [_alpha(counts, points, scale, w) for w in weights[:, codes]],
            np.arange(groups), rng=rng, resamples=resamples,
        )  # fmt: skip
        return percentile_interval(
            value, draws, n=n, n_clusters=groups, level=level,
            method=f"{by}, bootstrap by {cluster_name}",
        )  # fmt: skip
    se = float(np.sqrt(robust_covariance(_influence(counts, points, scale), codes)[0, 0]))
    method = f"{by}, cluster-robust by {cluster_name}"
    if value == 1 or se < NEGLIGIBLE_SE:  # what never varied says nothing about how far it might
        reason = f"{method}; no interval: the clusters do not differ"
        return Estimate(value, math.nan, math.nan, math.nan, level, n, groups, reason)
    return t_interval(
        value, se, n=n, n_clusters=groups, method=method, level=level, bounds=(-math.inf, 1)
    )


def choice_alpha(
    votes: Votes,
    *,
    interval: Literal["robust", "bootstrap"] = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Krippendorff's alpha (nominal) of choices between two texts, clustered by post.

    Which of two texts is called the first is arbitrary, and alpha's chance agreement depends on
    it; so every comparison enters twice, once each way round, which makes both names equally
    common. With two votes everywhere alpha is then 2 x agreement - 1, but for a term in 1/n.
    n counts votes, each once.
    """
    found = krippendorff_alpha(
        np.concatenate([votes.item, votes.item + votes.items]),
        np.concatenate([votes.first, ~votes.first]),
        clusters=np.concatenate([votes.post, votes.post]), cluster_name="post", interval=interval,
        level=level, rng=rng, resamples=resamples,
    )  # fmt: skip
    return found._replace(n=found.n // 2)


def _count(
    units: ArrayLike, values: ArrayLike, scale: Scale, clusters: ArrayLike | None
) -> tuple[Floats, Codes, Floats]:
    """Counts n_uc (units with two values or more, distinct values), unit's cluster, the values."""
    given = pd.Series(values)  # numpy would make the text "nan" of a missing name
    if len(np.asarray(units)) != len(given):
        raise StatisticsError(
            f"units has {len(np.asarray(units))} rows, values {len(given)}; allowed equal"
        )
    if scale != "nominal" and not pd.api.types.is_numeric_dtype(given):
        raise StatisticsError(f"values are {given.dtype}; scale {scale!r} allows numbers")
    codes, _ = cluster_codes(units, len(given))
    labels = codes if clusters is None else cluster_codes(clusters, len(given))[0]
    keep = given.notna().to_numpy(copy=True)
    keep &= np.bincount(codes, keep, codes.max(initial=-1) + 1)[codes] > 1
    unit, _ = cluster_codes(codes[keep], int(keep.sum()))
    value, points = pd.factorize(given[keep], sort=scale != "nominal")
    size = int(unit.max(initial=-1)) + 1
    counts = np.bincount(unit * len(points) + value, minlength=size * len(points))
    of_unit = np.full(size, -1, dtype=np.int64)
    of_unit[unit] = labels[keep]
    if (of_unit[unit] != labels[keep]).any():
        raise StatisticsError("a unit lies in two clusters; allowed one cluster a unit")
    where = np.zeros(len(points)) if scale == "nominal" else np.asarray(points, np.float64)
    return (
        counts.reshape(size, len(points)).astype(np.float64),
        cluster_codes(of_unit, size)[0],
        where,
    )


def _coincidences(counts: Floats, weights: Floats) -> Floats:
    scaled = counts * (weights / (counts.sum(axis=1) - 1))[:, None]
    matrix = np.asarray(counts.T @ scaled)
    matrix[np.diag_indices_from(matrix)] -= scaled.sum(axis=0)
    return matrix


def _differences(points: Floats, margins: Floats, scale: Scale) -> tuple[Floats, Floats]:
    """Squared differences (V, V) and the positions (V,) whose difference they are."""
    if scale == "nominal":
        return 1 - np.eye(len(points)), points
    places = np.cumsum(margins) - margins / 2 if scale == "ordinal" else points
    return (places[:, None] - places[None, :]) ** 2, places


def _alpha(counts: Floats, points: Floats, scale: Scale, weights: Floats) -> float:
    margins = weights @ counts
    n = margins.sum()
    squares, _ = _differences(points, margins, scale)
    expected = margins @ squares @ margins
    if n < 2 or expected <= 0:
        return float("nan")
    observed = (_coincidences(counts, weights) * squares).sum()
    return float(1 - (n - 1) * observed / expected)


def _influence(counts: Floats, points: Floats, scale: Scale) -> Floats:
    """Derivative of alpha by the weight of each unit (U,)."""
    weights = np.ones(len(counts))
    margins, size = counts.sum(axis=0), counts.sum(axis=1)
    n = margins.sum()
    squares, places = _differences(points, margins, scale)
    together = _coincidences(counts, weights)
    observed, expected = (together * squares).sum(), margins @ squares @ margins
    within = ((counts @ squares) * counts).sum(axis=1) / (size - 1)
    between = 2 * counts @ (squares @ margins)
    if scale == "ordinal":  # the ranks move: d r_c = (values of the unit below c) + half those at c
        moved = np.cumsum(counts, axis=1) - counts / 2
        within += 4 * moved @ (together.sum(axis=1) * places - together @ places)
        between += 4 * moved @ (margins * (n * places - margins @ places))
    slope = size * observed + (n - 1) * (within - observed / expected * between)
    return np.asarray(-slope / expected)
