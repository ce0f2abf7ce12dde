"""How far length control moves a preference rate: controlled minus raw, with its own error.

Both rates rest on the same labels, so their errors go together and the SE of the change is far
below what their two SEs suggest. Change here what the change is taken of;
`tests/stats/test_length_change.py` compares with a bootstrap that refits everything.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import cluster_codes, robust_covariance
from evalsuite.stats.estimate import Estimate, t_interval, undefined
from evalsuite.stats.length_control import NEGLIGIBLE_SE, LengthControl
from evalsuite.stats.length_control_joint import JointLengthControl

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def length_control_changes(
    fit: LengthControl,
    left_policy: ArrayLike,
    right_policy: ArrayLike,
    log_ratio: ArrayLike,
    choice: ArrayLike,
    *,
    clusters: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Controlled minus raw preference rate against the fit's anchor, by policy.

    fit: what `fit_length_control` gave for these rows, with the same meaning of the arguments.
    The raw rate is the mean share over direct comparisons with the anchor that have a length and
    a choice; n counts them. The influence of a row on the change is that on the controlled rate
    (delta method) less that on the raw rate; rows of a cluster are added before squaring.

    Undefined, with the reason, without direct comparisons or without a controlled rate. No SE
    where the controlled rate has none for its labels lie on the fit (nothing but ties), and none
    where policies linked to each other are not linked to the anchor: the coefficient then also
    rests on comparisons whose strengths are not on the anchor's scale.

    Raises StatisticsError on unequal lengths of the inputs. Source: Liang & Zeger 1986.
    """
    left, right = np.asarray(left_policy, dtype=object), np.asarray(right_policy, dtype=object)
    x, y = np.asarray(log_ratio, dtype=np.float64), 1.0 - np.asarray(choice, dtype=np.float64)
    if not len(left) == len(right) == len(x) == len(y):
        raise StatisticsError(
            f"inputs have {len(left)}, {len(right)}, {len(x)} and {len(y)} rows; allowed one length"
        )
    keep = np.isfinite(x) & np.isfinite(y) & (left != right)
    x, y = x[keep], y[keep]
    place = {policy: i for i, policy in enumerate(fit.policies)}
    a, b = (np.array([place[p] for p in side[keep]], dtype=np.int64) for side in (left, right))
    pair = clusters if isinstance(clusters, tuple) else (clusters,)
    labels = [None if c is None else np.asarray(c, dtype=object)[keep] for c in pair]
    codes = [cluster_codes(c, len(x))[0] for c in labels]
    phrase = "rows as clusters" if labels[0] is None else f"cluster-robust by {cluster_name}"
    covariance, residual = _inverse_information(fit, a, b, x, y)
    used = np.isfinite(fit.strengths)[a] & np.isfinite(fit.strengths)[b]
    inside = [pd.factorize(c[used])[0].astype(np.int64) for c in codes]

    out = {}
    base = place.get(fit.anchor, -1)
    for policy, p in place.items():
        if p == base:
            continue
        direct = ((a == p) & (b == base)) | ((a == base) & (b == p))
        n = int(direct.sum())
        units = min((len(np.unique(c[direct])) for c in codes), default=0)
        counts: dict[str, Any] = {"n": n, "n_clusters": units, "level": level}
        if n == 0:
            out[policy] = undefined(f"no direct comparison with {fit.anchor}", **counts)
            continue
        controlled = fit.rate(policy)
        if math.isnan(controlled.value):
            out[policy] = undefined(controlled.method.removeprefix("undefined: "), **counts)
            continue
        win = np.where(a == p, y, 1.0 - y)
        raw = float(win[direct].mean())
        change, method = controlled.value - raw, f"controlled minus raw, {phrase}"
        if covariance is None:
            method = f"{method}; no SE: some policies are linked, but not to {fit.anchor}"
            nan = math.nan
            out[policy] = Estimate(change, nan, nan, nan, level, n, units, method)
            continue
        mine = covariance[p]
        influence = residual * (mine[a] - mine[b] + mine[-1] * x)
        influence *= controlled.value * (1.0 - controlled.value)
        influence -= np.where(direct, (win - raw) / n, 0.0)
        variance = robust_covariance(influence[used], inside[0] if len(inside) == 1 else inside)
        if variance[0, 0] < NEGLIGIBLE_SE**2 and math.isnan(controlled.se):
            method, nan = f"{method}; no interval: every label is exactly as fitted", math.nan
            out[policy] = Estimate(change, nan, nan, nan, level, n, units, method)
            continue
        out[policy] = t_interval(
            change, math.sqrt(variance[0, 0]), method=method, bounds=(-1.0, 1.0), **counts
        )  # fmt: skip
    return out


def joint_changes(fit: JointLengthControl) -> dict[str, Estimate]:
    """Controlled minus raw preference rate of a joint fit, by policy; SE by prompt.

    The influence of a prompt on the change is that on the controlled rate less that on the raw
    one. Undefined where the controlled rate is.
    """
    out = {}
    data = fit._data
    for policy, controlled in fit.rates.items():
        counts: dict[str, Any] = {
            "n": controlled.n, "n_clusters": controlled.n_clusters, "level": controlled.level,
        }  # fmt: skip
        if policy not in fit._fitted:
            out[policy] = undefined(controlled.method.removeprefix("undefined: "), **counts)
            continue
        at = fit._fitted.index(policy)
        share = data.labels[:, at] / data.labels[:, at].sum()
        raw = float(share @ data.preference[:, at])
        on_raw = share * (data.preference[:, at] - raw)
        codes = np.arange(len(share), dtype=np.int64)
        variance = robust_covariance(fit._influence[:, at] - on_raw, codes)[0, 0]
        out[policy] = t_interval(
            controlled.value - raw, math.sqrt(variance), bounds=(-1.0, 1.0),
            method="controlled minus raw, influence function by prompt", **counts,
        )  # fmt: skip
    return out


def _inverse_information(
    fit: LengthControl, a: Codes, b: Codes, x: Floats, y: Floats
) -> tuple[Floats | None, Floats]:
    """Inverse information of (strengths, coefficient), and residuals; 0 where rows are not used.

    Unlinked policies have no strength. Their rows are not part of the fit (separation drops
    them), unless two of them are linked to each other: then this gives None.
    """
    linked = np.isfinite(fit.strengths)
    apart = ~linked[a] & ~linked[b]
    names = fit.policies
    for one, other in set(zip(a[apart].tolist(), b[apart].tolist(), strict=True)):
        if math.isfinite(fit.rate(names[one], names[other]).value):
            return None, np.zeros(0)
    slope = fit.coefficient.value
    known = math.isfinite(slope)
    size = len(names) + 1
    used = linked[a] & linked[b]
    theta = np.where(linked, fit.strengths, 0.0)
    p = expit(theta[a] - theta[b] + (slope if known else 0.0) * x)
    weight = np.where(used, p * (1 - p), 0.0)
    information = np.zeros((size, size))
    ends = ((a, 1.0), (b, -1.0))
    for i, sign in ends:
        for j, turn in ends:
            np.add.at(information, (i, j), sign * turn * weight)
        np.add.at(information, (i, np.full_like(i, size - 1)), sign * weight * x)
    information[-1, :-1] = information[:-1, -1]
    information[-1, -1] = weight @ (x * x)
    free = [i for i in np.flatnonzero(linked) if names[i] != fit.anchor]
    block = np.ix_(*2 * (np.array([*free, size - 1] if known else free, dtype=np.int64),))
    inverse = np.zeros((size, size))
    inverse[block] = np.linalg.inv(information[block])
    return inverse, np.where(used, y - p, 0.0)
