"""The paper's length control: policy identities plus the log ratio of the two lengths (App. F).

    logit P(left preferred) = theta_left - theta_right + gamma * log(len_left / len_right)

Fitted without penalty on comparisons of two different policies; the length-controlled rate of A
over B is the prediction at ratio 1, sigmoid(theta_A - theta_B). Change here what enters that
model; `tests/stats/test_length_control.py` compares it with statsmodels and with the worked
example on released labels, `test_coverage_length_control.py` counts what the intervals cover.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import cluster_codes, robust_covariance
from evalsuite.stats.estimate import Estimate, t_interval, undefined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Clusters = ArrayLike | tuple[ArrayLike, ArrayLike] | None

FEW_CLUSTERS = 100
"""Up to here one-way cluster variances are the jackknife's; beyond it the two agree closely."""
NEGLIGIBLE_SE = 1e-9
"""A robust error below this on the logit scale is rounding."""
MAX_LOGIT = 30.0
"""A fitted logit beyond this has no finite maximum likelihood estimate behind it."""

SAME_POLICY = "both summaries are of one policy"
NO_LENGTH = "a summary is empty or has no length"
NO_CHOICE = "no choice"
SEPARATED = "decided by separation (every label goes one way)"


def log_length_ratio(left_length: ArrayLike, right_length: ArrayLike) -> Floats:
    """log(left / right) of two lengths, natural; NaN where either is missing or not positive."""
    left = np.asarray(left_length, dtype=np.float64)
    right = np.asarray(right_length, dtype=np.float64)
    defined = (left > 0) & (right > 0)
    ratio = np.full(np.broadcast(left, right).shape, math.nan)
    np.divide(left, right, out=ratio, where=defined)
    return np.asarray(np.log(ratio))


@dataclass(frozen=True)
class LengthControl:
    """A fitted length-controlled logistic regression.

    policies: names in sorted order. strengths: (P,) theta on the logit scale, 0 at `anchor`; NaN
    where separation or missing comparisons leave a policy unlinked to it. coefficient: gamma, the
    change of the logit per unit of log length ratio, with cluster-robust SE; coefficient_model:
    the same with the inverse-information SE. left_out: rows not used, by reason.
    """

    policies: tuple[str, ...]
    anchor: str
    strengths: Floats
    coefficient: Estimate
    coefficient_model: Estimate
    left_out: dict[str, int]
    level: float
    _theta: Floats
    _robust: Floats  # (P, P) covariance of theta
    _model: Floats
    _group: Ints  # policies of one group have comparable thetas
    _linked: Ints  # policies of one number are joined by comparisons, whoever wins them
    _rows: Ints  # rows used, by policy
    _units: Ints  # clusters, by policy
    _phrase: str
    _problem: str  # why no rate is defined; empty when rates are

    def rate(
        self, policy: str, against: str | None = None, *, model_based: bool = False
    ) -> Estimate:
        """Length-controlled preference rate: P(policy beats `against`) at equal length.

        Delta-method SE; the interval is symmetric on the logit scale, so it stays inside (0, 1).
        n and n_clusters are those of the less labelled of the two policies: a rate is no better
        known than its rarer side. `against` is the anchor by default. Undefined, with the reason,
        where the two are not linked or one side wins every comparison.

        Raises StatisticsError on a policy that is not in the data.
        """
        against = self.anchor if against is None else against
        a, b = self._index(policy), self._index(against)
        n, units = int(min(self._rows[a], self._rows[b])), int(min(self._units[a], self._units[b]))
        reason = self._problem or self._unlinked(a, b)
        if reason:
            return undefined(reason, n=n, n_clusters=units, level=self.level)
        covariance = self._model if model_based else self._robust
        contrast = np.zeros(len(self.policies))
        contrast[a] += 1.0
        contrast[b] -= 1.0
        logit = float(self._theta[a] - self._theta[b])
        se = math.sqrt(max(float(contrast @ covariance @ contrast), 0.0))
        phrase = "model-based (inverse information)" if model_based else self._phrase
        if se < NEGLIGIBLE_SE:
            p = float(expit(logit))
            return _no_spread(p, n=n, n_clusters=units, level=self.level, method=phrase)
        on_logit = t_interval(
            logit, se, n=n, n_clusters=units, method=f"{phrase}, logit scale", level=self.level
        )
        p = float(expit(logit))
        return on_logit._replace(
            value=p, se=p * (1 - p) * se, low=_expit(on_logit.low), high=_expit(on_logit.high)
        )

    def rates(self, against: str | None = None) -> dict[str, Estimate]:
        """The controlled rate of every other policy against one; by policy."""
        against = self.anchor if against is None else against
        return {policy: self.rate(policy, against) for policy in self.policies if policy != against}

    def _index(self, policy: str) -> int:
        if policy not in self.policies:
            raise StatisticsError(
                f"policy {policy!r} is in no cross-policy comparison; allowed "
                f"{', '.join(self.policies)}"
            )
        return self.policies.index(policy)

    def _unlinked(self, a: int, b: int) -> str:
        if self._group[a] == self._group[b]:
            return ""
        if self._linked[a] != self._linked[b]:
            return "no chain of comparisons links the two policies"
        return "separation: no chain of wins leads both ways between the two policies"


def fit_length_control(
    left_policy: ArrayLike,
    right_policy: ArrayLike,
    log_ratio: ArrayLike,
    choice: ArrayLike,
    *,
    clusters: Clusters = None,
    cluster_name: str = "post",
    anchor: str = "reference_summary",
    level: float = 0.95,
) -> LengthControl:
    """Length-controlled logistic regression of Stiennon et al., unpenalised.

    Raw rates mix quality with length where people like longer summaries; here the length effect
    is shared by all policies and taken out by predicting at equal length.

    left_policy, right_policy: (n,) names. log_ratio: (n,) log(left length / right length), NaN
    where a summary is empty (see `log_length_ratio`). choice: (n,) share of the preference that
    goes to the right summary: 0, 1, .5 for a tie, or soft. Rows of one policy against itself,
    without choice or without length are left out and counted.

    clusters: (n,) labels of independent units (posts, labelers), a tuple of two for two-way
    clustering, None for rows. The robust variance is the sandwich of row influences; with at
    most 100 one-way clusters it is the delete-one-cluster jackknife in one Newton step (CR3),
    because plain sandwiches are too small where one labeler carries much of the data.

    Where one side wins every comparison (separation) the estimate is infinite: the limit is
    taken, which drops those comparisons, and rates across the divide are undefined. Policies that
    never met, even through others, have no rate either. Lengths equal throughout leave the
    coefficient undefined and the rates as they are; lengths that are a function of the policy
    alone leave both undefined.

    Raises StatisticsError on unequal lengths of the inputs, choice outside [0, 1], infinite log
    ratios, or no usable row.
    Source: Stiennon et al. 2020, Appendix F; Bell & McCaffrey 2002 (CR3).
    """
    left, right = _names(left_policy), _names(right_policy)
    x, soft = np.asarray(log_ratio, dtype=np.float64), np.asarray(choice, dtype=np.float64)
    if not len(left) == len(right) == len(x) == len(soft):
        raise StatisticsError(
            f"inputs have {len(left)}, {len(right)}, {len(x)} and {len(soft)} rows; allowed one "
            "length"
        )
    if np.isinf(x).any():
        raise StatisticsError("log_ratio is infinite; allowed finite numbers, NaN for no length")
    if ((soft < 0) | (soft > 1)).any():
        raise StatisticsError("choice is outside [0, 1]; allowed shares for the right summary")
    keep, left_out = _usable(left, right, x, soft)
    if not keep.any():
        raise StatisticsError("no comparison of two policies with lengths and a choice is left")

    policies, codes = np.unique(np.concatenate([left[keep], right[keep]]), return_inverse=True)
    a, b = np.split(codes.astype(np.int64), 2)
    x, y = x[keep], 1.0 - soft[keep]
    cluster_sets = clusters if isinstance(clusters, tuple) else (clusters,)
    units = [cluster_codes(_rows_of(c, keep, len(left)), len(a))[0] for c in cluster_sets]

    group, linked = _groups(a, b, y, len(policies))
    within = group[a] == group[b]
    if not within.all():
        left_out[SEPARATED] = int((~within).sum())
    model = _Model(a[within], b[within], x[within], y[within], group, units, within)
    names = tuple(str(p) for p in policies)
    return model.result(names, anchor, left_out, linked, cluster_sets, cluster_name, level)


class _Model:
    """The regression on rows whose policies are mutually reachable, and its covariances."""

    def __init__(
        self, a: Ints, b: Ints, x: Floats, y: Floats, group: Ints, units: list[Ints], within: Flags
    ) -> None:
        self.a, self.b, self.x, self.y, self.group = a, b, x, y, group
        self.P = len(group)
        self.units = [pd.factorize(u[within])[0].astype(np.int64) for u in units]
        # One policy of each group is pinned at 0: only differences are identified.
        first = np.unique(group, return_index=True)[1]
        self.free = np.setdiff1d(np.arange(self.P), first)
        self.beta = np.zeros(self.P + 1)
        self.problem, self.coefficient_problem = "", ""

    def result(
        self, policies: tuple[str, ...], anchor: str, left_out: dict[str, int], linked: Ints,
        clusters: tuple[ArrayLike | None, ...], cluster_name: str, level: float,
    ) -> LengthControl:  # fmt: skip
        length = self._identify_length()
        columns = np.append(self.free, self.P) if length else self.free
        if not self.problem and not self._newton(columns):
            self.problem = "separation: policies and length together predict every comparison"
            self.coefficient_problem = self.problem
        model, robust, phrase = self._covariances(columns, clusters, cluster_name)
        n, G = len(self.a), min((int(u.max(initial=-1)) + 1 for u in self.units), default=0)
        coefficient, coefficient_model = (
            undefined(self.coefficient_problem, n=n, n_clusters=G, level=level)
            if self.coefficient_problem
            else _no_spread(
                float(self.beta[-1]), n=n, n_clusters=units, method=method, level=level
            )
            if covariance[-1, -1] < NEGLIGIBLE_SE**2
            else t_interval(
                float(self.beta[-1]), math.sqrt(covariance[-1, -1]), n=n, n_clusters=units,
                method=method, level=level,
            )
            for covariance, method, units in (
                (robust, phrase, G), (model, "model-based (inverse information)", n),
            )
        )  # fmt: skip
        theta = self.beta[:-1]
        strengths = np.full(self.P, math.nan)
        if anchor in policies and not self.problem:
            at = policies.index(anchor)
            same = self.group == self.group[at]
            strengths[same] = theta[same] - theta[at]
        rows, per_policy = _support(self.a, self.b, self.units, self.P)
        return LengthControl(
            policies, anchor, strengths, coefficient, coefficient_model, left_out, level, theta,
            robust[:-1, :-1], model[:-1, :-1], self.group, linked, rows, per_policy, phrase,
            self.problem,
        )  # fmt: skip

    def _information(self, weight: Floats, rows: slice | Flags = slice(None)) -> Floats:
        """Z'WZ without forming Z: each row of Z is +1 (left), -1 (right) and the log ratio."""
        a, b, x, P = self.a[rows], self.b[rows], self.x[rows], self.P
        pair = np.bincount(a * P + b, weights=weight, minlength=P * P).reshape(P, P)
        out = np.zeros((P + 1, P + 1))
        out[:P, :P] = np.diag(pair.sum(0) + pair.sum(1)) - pair - pair.T
        out[:P, P] = out[P, :P] = self._transpose(weight * x, rows)[:P]
        out[P, P] = weight @ (x * x)
        return out

    def _transpose(self, values: Floats, rows: slice | Flags = slice(None)) -> Floats:
        """Z' values."""
        P = self.P
        left = np.bincount(self.a[rows], weights=values, minlength=P)
        right = np.bincount(self.b[rows], weights=values, minlength=P)
        return np.append(left - right, values @ self.x[rows])

    def _logits(self, beta: Floats) -> Floats:
        return np.asarray(beta[self.a] - beta[self.b] + beta[-1] * self.x)

    def _identify_length(self) -> bool:
        if not self.x.any():
            reason = "the two lengths are equal in every comparison"
            self.coefficient_problem = reason if len(self.x) else "every comparison is separated"
            return False
        whole = self._information(np.ones(len(self.x)))
        theta, cross = whole[np.ix_(self.free, self.free)], whole[self.free, -1]
        left_over = whole[-1, -1] - cross @ np.linalg.solve(theta, cross)
        if left_over > 1e-9 * whole[-1, -1]:
            return True
        self.problem = self.coefficient_problem = "length is a function of the two policies alone"
        return False

    def _newton(self, columns: Ints) -> bool:
        beta = np.zeros(self.P + 1)
        gain = self._log_likelihood(beta)
        for _ in range(100):
            p = expit(self._logits(beta))
            gradient = self._transpose(self.y - p)[columns]
            information = self._information(p * (1 - p))[np.ix_(columns, columns)]
            step = np.zeros_like(beta)
            try:
                step[columns] = np.linalg.solve(information, gradient)
            except np.linalg.LinAlgError:
                return False
            while (new := self._log_likelihood(beta + step)) < gain - 1e-9 * abs(gain):
                step *= 0.5
            beta, gain = beta + step, new
            if np.abs(self._logits(beta)).max(initial=0.0) > MAX_LOGIT:
                return False
            if np.abs(step).max(initial=0.0) < 1e-10:
                self.beta = beta
                return True
        return False

    def _log_likelihood(self, beta: Floats) -> float:
        z = self._logits(beta)
        return float(self.y @ z - np.logaddexp(0.0, z).sum())

    def _covariances(
        self, columns: Ints, clusters: tuple[ArrayLike | None, ...], cluster_name: str
    ) -> tuple[Floats, Floats, str]:
        """Model-based and robust (P+1, P+1) covariance, and the phrase naming the robust one."""
        size = self.P + 1
        model, robust = np.zeros((size, size)), np.zeros((size, size))
        if len(clusters) == 2:
            phrase = f"two-way cluster-robust by {cluster_name}"
        elif clusters[0] is None:
            phrase = "robust, rows as clusters"
        else:
            phrase = f"cluster-robust by {cluster_name}"
        if self.problem or not len(columns):
            return model, robust, phrase
        p = expit(self._logits(self.beta))
        weight, residual = p * (1 - p), self.y - p
        information = self._information(weight)[np.ix_(columns, columns)]
        inverse = np.asarray(np.linalg.inv(information), dtype=np.float64)
        block = np.ix_(columns, columns)
        model[block] = inverse
        G = int(self.units[0].max()) + 1
        if len(self.units) == 1 and G <= FEW_CLUSTERS and clusters[0] is not None:
            changes = np.empty((G, len(columns)))
            for g in range(G):
                rows = self.units[0] == g
                score = self._transpose(residual[rows], rows)[columns]
                rest = information - self._information(weight[rows], rows)[block]
                changes[g] = _solve_or(rest, score, inverse)
            robust[block] = (G - 1) / G * changes.T @ changes
            return model, robust, f"{phrase} (jackknife)"
        score = np.zeros((len(self.a), size))
        at = np.arange(len(self.a))
        score[at, self.a], score[at, self.b], score[:, -1] = residual, -residual, residual * self.x
        codes = self.units[0] if len(self.units) == 1 else self.units
        robust[block] = robust_covariance(score[:, columns] @ inverse, codes)
        return model, robust, phrase


def _solve_or(matrix: Floats, vector: Floats, fallback_inverse: Floats) -> Floats:
    """matrix^-1 vector, or the full-data step where leaving the cluster out loses a policy."""
    if np.linalg.cond(matrix) > 1e12:
        return np.asarray(fallback_inverse @ vector)
    return np.asarray(np.linalg.solve(matrix, vector))


def _names(values: ArrayLike) -> NDArray[np.object_]:
    return np.asarray(values, dtype=object)


def _usable(
    left: NDArray[np.object_], right: NDArray[np.object_], x: Floats, choice: Floats
) -> tuple[Flags, dict[str, int]]:
    """Rows to fit, and the others by the first reason that applies."""
    keep = np.ones(len(left), dtype=bool)
    left_out = {}
    for reason, bad in (
        (SAME_POLICY, left == right), (NO_CHOICE, np.isnan(choice)), (NO_LENGTH, np.isnan(x)),
    ):  # fmt: skip
        if count := int((bad & keep).sum()):
            left_out[reason] = count
        keep &= ~bad
    return keep, left_out


def _rows_of(clusters: ArrayLike | None, keep: Flags, n: int) -> ArrayLike | None:
    if clusters is None:
        return None
    labels = np.asarray(clusters, dtype=object)
    if len(labels) != n:
        raise StatisticsError(f"clusters has {len(labels)} labels for {n} rows; allowed one a row")
    return labels[keep]


def _groups(a: Ints, b: Ints, y: Floats, P: int) -> tuple[Ints, Ints]:
    """Groups of policies with finite strength differences, and those linked by any comparison.

    Ford's condition: differences are finite inside a strongly connected component of the graph
    "won some share against", and infinite between components.
    """
    winners = np.concatenate([a[y > 0], b[y < 1]])
    losers = np.concatenate([b[y > 0], a[y < 1]])
    graph = coo_array((np.ones(len(winners)), (winners, losers)), shape=(P, P))
    strong = connected_components(graph, connection="strong")[1]
    weak = connected_components(graph, connection="weak")[1]
    return strong.astype(np.int64), weak.astype(np.int64)


def _support(a: Ints, b: Ints, units: list[Ints], P: int) -> tuple[Ints, Ints]:
    """Rows and clusters (the fewer of two groupings) in which each policy takes part."""
    policy = np.concatenate([a, b])
    rows = np.bincount(policy, minlength=P)
    counts = np.full(P, np.iinfo(np.int64).max)
    for codes in units:
        G = int(codes.max(initial=-1)) + 1
        cells = np.unique(policy * G + np.concatenate([codes, codes]))
        counts = np.minimum(counts, np.bincount(cells // max(G, 1), minlength=P))
    return rows, counts


def _no_spread(value: float, *, n: int, n_clusters: int, method: str, level: float) -> Estimate:
    """Labels that all lie on the fit (nothing but ties) say nothing of its error: NaN, not 0."""
    nan = math.nan
    reason = f"{method}; no interval: every label is exactly as fitted"
    return Estimate(value, nan, nan, nan, level, n, n_clusters, reason)


def _expit(value: float) -> float:
    return float(expit(value))
