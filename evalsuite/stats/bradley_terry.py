"""Bradley-Terry strengths of all policies from all comparisons at once.

A strength is a log odds: P(a preferred to b) = sigmoid(s_a - s_b), with the anchor at 0. It puts
policies that never met on one scale through those that both met. Strengths exist only within a
set of policies that beat each other round (Ford's condition); the others are named with the
reason, not fitted. tests/stats/test_bradley_terry.py checks values and sandwich errors against a
binomial GLM of statsmodels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Codes, Floats, cluster_codes, robust_covariance
from evalsuite.stats.estimate import Estimate, t_interval, undefined

MAX_STEPS = 50
TOLERANCE = 1e-10
NEGLIGIBLE_SE = 1e-9


@dataclass(frozen=True)
class BradleyTerry:
    """Fitted strengths, in log odds against the anchor.

    strengths: one row a policy, strongest first, those without a strength last: policy and the
    fields of `Estimate`; n and n_clusters count what the policy took part in. covariance: of the
    fitted strengths, rows and columns named; the anchor's are 0. reasons: policy -> why it has no
    strength. dropped_rows: of a policy with itself, which say nothing about strengths.
    """

    anchor: str
    strengths: pd.DataFrame
    covariance: pd.DataFrame
    reasons: dict[str, str]
    dropped_rows: int

    def difference(self, policy: str, against: str) -> Estimate:
        """Strength of `policy` less that of `against`: the log odds of being preferred to it.

        NaN with the reason when either has no strength. n is the larger and n_clusters the
        smaller of the two policies'. Raises StatisticsError for a policy that is not there.
        """
        table = self.strengths.set_index("policy")
        for name in (policy, against):
            if name not in table.index:
                known = ", ".join(self.strengths["policy"])
                raise StatisticsError(f"policy {name!r} has no comparison; allowed {known}")
        both = table.loc[[policy, against]]
        level, n = float(both["level"].iloc[0]), int(both["n"].max())
        groups = int(both["n_clusters"].min())
        for name in (policy, against):
            if name in self.reasons:
                return undefined(self.reasons[name], n=n, n_clusters=groups, level=level)
        value = float(both["value"].iloc[0] - both["value"].iloc[1])
        covariance = self.covariance.loc[[policy, against], [policy, against]].to_numpy()
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        return t_interval(
            value, math.sqrt(max(variance, 0.0)), n=n, n_clusters=groups, level=level,
            method="Bradley-Terry, sandwich",
        )  # fmt: skip


def bradley_terry(
    left_policy: ArrayLike,
    right_policy: ArrayLike,
    choice: ArrayLike,
    *,
    clusters: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    cluster_name: str = "post",
    anchor: str = "reference_summary",
    level: float = 0.95,
) -> BradleyTerry:
    """Bradley-Terry maximum likelihood strengths with cluster-robust (sandwich) intervals.

    left_policy, right_policy: (n,) names; choice: (n,) share of the preference for the right
    side (0.5 a tie, anything between a soft preference: the quasi-likelihood takes them as they
    are). clusters: None (rows are independent), labels, or a pair of them for two-way.
    anchor: the policy at 0; where it took part in no comparison, the policy with most rows.

    Intervals use t with one less than the number of clusters a policy took part in; below 5
    they are NaN. Policies without a strength are NaN, with the reason as their method:
    never compared, even through others, with the anchor; or they and the policies tied to them
    never lost (never won) against the anchor's group, so their maximum is at infinity, which is
    where their rows leave the others' strengths untouched; they are therefore dropped.

    Raises StatisticsError on lengths that differ, choices outside [0, 1], missing names, or no
    comparison of two different policies.

    Source: Bradley & Terry 1952; Ford 1957 (existence); Liang & Zeger 1986 (sandwich).
    """
    y = np.asarray(choice, dtype=np.float64)
    left, right, names = _policies(left_policy, right_policy, len(y))
    if not ((y >= 0) & (y <= 1)).all():
        at = int(np.flatnonzero(~((y >= 0) & (y <= 1)))[0])
        raise StatisticsError(f"choice[{at}] is {y[at]:g}; allowed 0 to 1")
    codes = _codes(clusters, len(y))
    met = left != right
    if not met.any():
        raise StatisticsError("no comparison of two different policies; allowed one or more")
    dropped = int((~met).sum())
    left, right, y = left[met], right[met], y[met]
    codes = tuple(pd.factorize(code[met])[0].astype(np.int64) for code in codes)
    count = len(names)
    rows_of = np.bincount(left, minlength=count) + np.bincount(right, minlength=count)
    names_at = {name: i for i, name in enumerate(names)}
    base = names_at.get(anchor, -1)
    if base < 0 or rows_of[base] == 0:
        base = int(rows_of.argmax())
    group, reasons = _estimable(left, right, y, count, base, names)
    inside = np.isin(left, group) & np.isin(right, group)
    position = np.full(count, -1)
    position[group] = np.arange(len(group))
    values, covariance = _fit(
        position[left[inside]], position[right[inside]], y[inside],
        tuple(pd.factorize(code[inside])[0].astype(np.int64) for code in codes),
        len(group), int(position[base]),
    )  # fmt: skip

    how = "rows as clusters" if clusters is None else f"by {cluster_name}"
    how += ", two-way" if isinstance(clusters, tuple) else ""
    table = []
    for i, name in enumerate(names):
        took_part = (left == i) | (right == i)
        n = int(took_part.sum())
        groups = min(len(np.unique(code[took_part])) for code in codes)
        if n == 0:
            reasons[name] = "compared only with itself"
        if name in reasons:
            estimate = undefined(reasons[name], n=n, n_clusters=groups, level=level)
        elif i == base:
            method = "the anchor: 0 by definition"
            estimate = Estimate(0.0, 0.0, 0.0, 0.0, level, n, groups, method)
        else:
            at = position[i]
            se = math.sqrt(covariance[at, at])
            # Nothing but ties: every residual is 0, which is no evidence of no error.
            se = se if se > NEGLIGIBLE_SE else math.nan
            estimate = t_interval(
                float(values[at]), se, n=n, n_clusters=groups,
                method=f"Bradley-Terry, sandwich {how}", level=level,
            )  # fmt: skip
        table.append({"policy": name, **estimate._asdict()})
    labels = [names[i] for i in group]
    return BradleyTerry(
        anchor=names[base],
        strengths=pd.DataFrame(table).sort_values(
            ["value", "policy"], ascending=[False, True], ignore_index=True
        ),
        covariance=pd.DataFrame(covariance, index=labels, columns=labels),
        reasons=reasons,
        dropped_rows=dropped,
    )


def _fit(
    left: Codes, right: Codes, y: Floats, codes: tuple[Codes, ...], count: int, base: int
) -> tuple[Floats, Floats]:
    """Newton's method on strengths (count,), and their sandwich covariance; `base` stays at 0.

    Rows of one pair share a probability, so each step costs pairs, not rows.
    """
    strengths, covariance = np.zeros(count), np.zeros((count, count))
    if count == 1:
        return strengths, covariance
    free = np.arange(count) != base
    pair, keys = pd.factorize(left * count + right)
    a, b = np.asarray(keys) // count, np.asarray(keys) % count
    size = np.bincount(pair).astype(np.float64)
    won = np.bincount(pair, weights=y)

    def state(s: Floats) -> tuple[float, Floats, Floats]:
        """Log-likelihood, its gradient, and the information matrix."""
        gap = s[b] - s[a]
        p = expit(gap)
        residual, weight = won - size * p, size * p * (1 - p)
        score = np.bincount(b, residual, count) - np.bincount(a, residual, count)
        information = np.zeros((count, count))
        np.add.at(information, (a, b), -weight)
        np.add.at(information, (b, a), -weight)
        information[np.diag_indices(count)] = np.bincount(a, weight, count) + np.bincount(
            b, weight, count
        )
        value = float((won * gap - size * np.logaddexp(0, gap)).sum())
        return value, score[free], information[np.ix_(free, free)]

    value, score, information = state(strengths)
    for _ in range(MAX_STEPS):
        step = np.zeros(count)
        step[free] = np.linalg.solve(information, score)
        scale = 1.0
        # The likelihood is concave: halving always finds a rise when the full step overshoots.
        while (new := state(strengths + scale * step))[0] < value - 1e-9 and scale > 1e-6:
            scale /= 2
        strengths = strengths + scale * step
        value, score, information = new
        if np.abs(step).max() < TOLERANCE:
            break
    else:
        raise StatisticsError(
            f"Bradley-Terry did not converge in {MAX_STEPS} steps; allowed data in which no "
            "policy wins almost always"
        )
    bread = np.zeros((count, count))
    bread[np.ix_(free, free)] = np.linalg.inv(information)
    residual = y - expit(strengths[right] - strengths[left])
    influence = residual[:, None] * (bread[right] - bread[left])
    return strengths, robust_covariance(influence, codes[0] if len(codes) == 1 else codes)


def _estimable(
    left: Codes, right: Codes, y: Floats, count: int, base: int, names: list[str]
) -> tuple[Codes, dict[str, str]]:
    """Policies whose strength relative to `base` is finite, and why the others' are not.

    An edge runs from each policy to those that it won something from (a tie wins half each way).
    Finite: the strongly connected component of `base`.
    """
    right_won, left_won = y > 0, y < 1
    winner = np.concatenate([right[right_won], left[left_won]])
    loser = np.concatenate([left[right_won], right[left_won]])
    graph = coo_array((np.ones(len(winner)), (winner, loser)), shape=(count, count)).tocsr()
    _, together = connected_components(graph, directed=True, connection="weak")
    _, round_ = connected_components(graph, directed=True, connection="strong")
    edges = np.unique(np.stack([round_[winner], round_[loser]], axis=1), axis=0)

    def reach(start: int, edges: Codes) -> set[int]:
        seen, new = {start}, {start}
        while new:
            new = set(edges[np.isin(edges[:, 0], list(new)), 1].tolist()) - seen
            seen |= new
        return seen

    below = reach(int(round_[base]), edges)
    above = reach(int(round_[base]), edges[:, ::-1])
    reasons = {}
    for i in range(count):
        if round_[i] == round_[base]:
            continue
        if together[i] != together[base]:
            reason = f"never compared with {names[base]}, even through other policies"
        elif round_[i] in above:
            reason = f"no finite strength: never loses towards {names[base]}"
        elif round_[i] in below:
            reason = f"no finite strength: never wins towards {names[base]}"
        else:
            reason = f"no finite strength: wins and losses do not rank it against {names[base]}"
        reasons[names[i]] = reason
    return np.flatnonzero(round_ == round_[base]).astype(np.int64), reasons


def _policies(left: ArrayLike, right: ArrayLike, n: int) -> tuple[Codes, Codes, list[str]]:
    sides = [pd.Series(side).astype(object) for side in (left, right)]
    for name, side in zip(("left_policy", "right_policy"), sides, strict=True):
        if len(side) != n:
            raise StatisticsError(f"{name} has {len(side)} names for {n} rows; allowed one a row")
    codes, labels = pd.factorize(pd.concat(sides, ignore_index=True), sort=True)
    if (codes < 0).any():
        raise StatisticsError("a policy's name is missing; allowed one on each side of a row")
    codes = codes.astype(np.int64)
    return codes[:n], codes[n:], [str(label) for label in labels]


def _codes(clusters: ArrayLike | tuple[ArrayLike, ArrayLike] | None, n: int) -> tuple[Codes, ...]:
    if not isinstance(clusters, tuple):
        return (cluster_codes(clusters, n)[0],)
    if len(clusters) != 2:
        raise StatisticsError(f"clusters has {len(clusters)} groupings; allowed 1 or 2")
    return tuple(cluster_codes(labels, n)[0] for labels in clusters)
