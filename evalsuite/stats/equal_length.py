"""Share preferred at equal length, where every (seed, post) has an answer of its own for each
policy: the paper's length control for trained policies that all meet the references.

    logit share = theta_policy + gamma * log(length / length of the reference)

fitted to shares by the binomial likelihood within each seed, with one gamma for its policies; the
controlled share is sigmoid(theta), the prediction for a summary as long as its reference. A run
that is judged by labels, not by shares, has `length_control`, whose model this is. Change here what
enters that model; tests/stats/test_equal_length.py compares with statsmodels.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.stats.replicates import crossed_statistic, pseudo_values

Flags = NDArray[np.bool_]

MAX_LOGIT = 30.0
"""Where a fit without one post has no finite solution it stops here: a share of 0 or 1."""
ONE_WAY = "every share is 0, or every share is 1"
NO_SPREAD = "lengths do not vary within a policy"
METHOD = "binomial regression on log length ratio, jackknife"

_AT_ONCE = 2_000_000  # numbers in an array: fits without a post go in portions of that
_STEPS = 40


class EqualLength(NamedTuple):
    """shares: of each policy at equal length. slope: gamma, of the logit per unit of log ratio."""

    shares: list[Estimate]
    slope: Estimate


def equal_length(share: ArrayLike, log_ratio: ArrayLike, *, level: float = 0.95) -> EqualLength:
    """Binomial regression on the log length ratio with policy effects, predicted at ratio 1.

    share: (S, P, Q), of seeds, posts and policies, in [0, 1]. log_ratio: (S, P, Q), log of the
    summary's length over that of the reference. A policy that a seed does not have is NaN in all
    its posts. Values are means over seeds; standard errors are those of crossed seeds and posts,
    from jackknife pseudo-values; intervals end at 0 and 1.

    Undefined: a policy with all shares 0 or all 1 (its theta is infinite), which is left out of
    the fit; all where no policy's lengths vary.

    Raises StatisticsError on shapes that differ, shares outside [0, 1], or a policy that a seed
    has for some posts only. Source: Stiennon et al. 2020, Appendix F; Papke & Wooldridge 1996.
    """
    y, x = np.asarray(share, dtype=np.float64), np.asarray(log_ratio, dtype=np.float64)
    if y.ndim != 3 or y.shape != x.shape:
        raise StatisticsError(
            f"share has shape {y.shape}, log_ratio {x.shape}; allowed the same (seeds, posts, "
            "policies)"
        )
    known = np.isfinite(y) & np.isfinite(x)
    if (known.any(axis=1) != known.all(axis=1)).any():
        raise StatisticsError("a policy lacks some posts of a seed; allowed all of them or none")
    there: Flags = np.asarray(known.all(axis=1))
    if ((y[known] < 0) | (y[known] > 1)).any():
        raise StatisticsError("a share is outside [0, 1]; allowed shares")
    S, P, Q = y.shape
    total = y.sum(axis=1)
    two_way = there & (total > 0) & (total < P)
    varied = [P > 1 and bool((np.ptp(x[s][:, two_way[s]], axis=0) > 0).any()) for s in range(S)]
    values, pseudo = np.full((S, Q + 1), math.nan), np.full((S, P, Q + 1), math.nan)
    for s in np.flatnonzero(varied):
        used = np.append(two_way[s], True)
        ys, xs = y[s][:, two_way[s]], x[s][:, two_way[s]]
        values[s, used] = _fit(np.full((1, P), 1 / P), ys, xs)[0]
        posts = np.broadcast_to(np.eye(P), (1, P, P))
        pseudo[s][:, used] = pseudo_values(partial(_of_seed, y=ys, x=xs), posts)[0]

    def estimate(q: int, seeds: Flags, reason: str) -> Estimate:
        found = seeds & np.isfinite(values[:, q])
        n = int(seeds.sum()) * P
        if not found.any() or (found != seeds).any():
            return undefined(reason, n=n, n_clusters=P, level=level)
        mean = float(values[found, q].mean())
        return crossed_statistic(pseudo[found][:, :, q], value=mean, level=level, method=METHOD)

    shares = []
    for q in range(Q):
        one = estimate(q, there[:, q], ONE_WAY if all(varied) else NO_SPREAD)
        shares.append(one._replace(low=_clipped(one.low), high=_clipped(one.high)))
    return EqualLength(shares, estimate(Q, np.asarray(there.any(axis=1)), NO_SPREAD))


def _clipped(bound: float) -> float:
    return float(np.clip(bound, 0.0, 1.0))


def _of_seed(weights: Floats, y: Floats, x: Floats) -> Floats:
    return _fit(weights[0], y, x)[None]


def _fit(weights: Floats, y: Floats, x: Floats) -> Floats:
    """Shares at equal length and the slope, (K, Q + 1), for K weightings (K, P) of the posts."""
    K, (P, Q) = len(weights), y.shape
    portion = max(1, _AT_ONCE // (P * Q))
    out = np.empty((K, Q + 1))
    for first in range(0, K, portion):
        w = weights[first : first + portion, :, None]
        theta = np.broadcast_to(logit(y.mean(axis=0)), (len(w), Q)).copy()
        gamma = np.zeros(len(w))
        for _ in range(_STEPS):
            mu = expit(theta[:, None, :] + gamma[:, None, None] * x)
            residual, v = w * (y - mu), w * mu * (1 - mu) + 1e-12 / P
            # The Hessian is an arrow: the slope first, then each policy by itself.
            a, b = v.sum(axis=1), (v * x).sum(axis=1)
            score = residual.sum(axis=1)
            c = (v * x * x).sum(axis=(1, 2)) - (b * b / a).sum(axis=1)
            step = ((residual * x).sum(axis=(1, 2)) - (b / a * score).sum(axis=1)) / c
            step = np.clip(step, -3.0, 3.0)
            move = np.clip((score - b * step[:, None]) / a, -3.0, 3.0)
            gamma += step
            theta = np.clip(theta + move, -MAX_LOGIT, MAX_LOGIT)
            if max(np.abs(step).max(), np.abs(move).max()) < 1e-10:
                break
        out[first : first + portion] = np.column_stack([expit(theta), gamma])
    return out
