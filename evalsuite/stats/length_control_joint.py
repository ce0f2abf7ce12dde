"""AlpacaEval's length control with difficulties fitted jointly, and intervals that know it.

    logit P(policy m preferred to the baseline on prompt i)
        = theta_m + phi_m T_im + kappa_m b_i + psi_m gamma_i
    T_im = tanh((policy length - baseline length) / their sd over prompts, by policy)
    b_i  = tanh((baseline length - mean) / sd)

theta, phi T and psi gamma are AlpacaEval's (its T has the opposite sign); kappa b is new here and
shrunk to nothing. The length-controlled rate is the mean prediction over prompts at T = 0.

Where the reader is: `joint_likelihood.py` does the sums over prompts, this module the penalty, the
fit and the estimates. What may be changed: the scales of the priors, which a simulation chose
(`benchmarks/length_control.py --priors`). What proves it: tests/stats/test_length_control_joint.py
compares derivatives and influence with refits, and the rates with the published ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import robust_covariance
from evalsuite.stats.estimate import Estimate, t_interval, undefined
from evalsuite.stats.joint_likelihood import (
    KAPPA,
    PHI,
    PSI,
    THETA,
    Floats,
    Prompts,
    mean_rates,
    pieces,
    posterior_means,
    sweep,
)
from evalsuite.stats.preference import preference_rate

DEGREES = 4.0
"""Degrees of freedom of the Student t priors: robust, nearly efficient (Lange et al. 1989)."""
SLOPE_SCALE = 0.25
"""Scale of phi about its location, and of kappa about 0, on the logit scale."""
LOCATION_SD, THETA_SD, PSI_SD, FREE_SD = 2.5, 10.0, 5.0, 10.0
"""Weak normal priors at 0, which keep what the data do not determine finite. FREE_SD is that of
phi where there is no Student t prior."""
MAX_STEPS = 200
TOLERANCE = 1e-9

UNPARSED = "no preference (unparsed)"
ONE_WAY = "every preference of the policy goes one way"
PHRASE = "influence function by prompt"


class State(NamedTuple):
    """Fitted parameters: x (4, M) as in `joint_likelihood`, and the location of phi's prior."""

    x: Floats
    location: float


@dataclass(frozen=True)
class JointLengthControl:
    """A fitted joint length-controlled regression against one baseline.

    By policy: rates, the length-controlled preference over the baseline in [0, 1]; raw, the mean
    preference; slopes, phi (positive: longer is preferred). location: of the prior on phi, what
    length is worth to a typical policy. difficulty: (n,) posterior means of gamma, higher where
    policies beat the baseline, and prompts their labels. left_out: rows not used, by reason.
    constant_length: policies whose lengths never vary against the baseline's; nothing can be
    taken out of their rates.
    """

    policies: tuple[str, ...]
    rates: dict[str, Estimate]
    raw: dict[str, Estimate]
    slopes: dict[str, Estimate]
    location: Estimate
    prompts: tuple[object, ...]
    difficulty: Floats
    constant_length: tuple[str, ...]
    left_out: dict[str, int]
    iterations: int
    _data: Prompts = field(repr=False)
    _state: State = field(repr=False)
    _prior: str = field(repr=False)
    _fitted: tuple[str, ...] = field(repr=False)
    _influence: Floats = field(repr=False)

    def difference(self, policy: str, other: str) -> Estimate:
        """Difference of two controlled rates (policy minus other) on the same prompts.

        Their errors share prompts and baseline, so this is tighter than two intervals suggest.
        Raises StatisticsError on a policy that is not in the data.
        """
        for name in (policy, other):
            if name not in self.policies:
                raise StatisticsError(
                    f"policy {name!r} is not in the data; allowed {', '.join(self.policies)}"
                )
        first, second = self.rates[policy], self.rates[other]
        n, units = min(first.n, second.n), min(first.n_clusters, second.n_clusters)
        level = first.level
        if not {policy, other} <= set(self._fitted):
            return undefined(ONE_WAY, n=n, n_clusters=units, level=level)
        a, b = self._fitted.index(policy), self._fitted.index(other)
        se = _se(self._influence[:, a] - self._influence[:, b])
        return t_interval(
            first.value - second.value, se, n=n, n_clusters=units, method=PHRASE, level=level,
            bounds=(-1.0, 1.0),
        )  # fmt: skip

    def refit(self, weights: ArrayLike) -> Floats:
        """Controlled rates when prompt i counts weights[i] times: one draw of a bootstrap.

        Everything is estimated again: slopes, difficulties, location of the prior, units of
        lengths. weights: (n,) in the order of `prompts`, none negative. Returns (M,) in the order
        of `policies`, NaN where the rate is undefined.
        """
        data = self._data.reweighted(np.asarray(weights, dtype=np.float64))
        state, _ = _solve(data, self._state, self._prior, tolerance=1e-7)
        out = np.full(len(self.policies), math.nan)
        place = [self.policies.index(p) for p in self._fitted]
        out[place] = mean_rates(data, state.x, data.scales())
        return out


def fit_joint_length_control(
    policy: ArrayLike,
    prompt: ArrayLike,
    policy_length: ArrayLike,
    baseline_length: ArrayLike,
    preference: ArrayLike,
    *,
    difficulty: ArrayLike | None = None,
    prior: Literal["student", "none"] = "student",
    level: float = 0.95,
) -> JointLengthControl:
    """Length-controlled win rates in AlpacaEval's form (Dubois et al.), all fitted jointly.

    A judge's taste for length differs by policy, so one slope for all is wrong; where outputs are
    nearly all shorter than the baseline's, a slope of its own is hardly identified. Hence
    phi_m ~ location + .25 t(4): most policies share strength, a gamed one stays alone. The location
    is fitted with the rest. The difficulty of a prompt is known to AlpacaEval from a file; here
    gamma_i ~ normal(0, 1) is integrated out (marginal likelihood, as in item response theory)
    and psi_m carries its scale, so no ridge is set. kappa_m ~ .25 t(4) lets the baseline's length
    tell a trait of the prompt: without it a policy for which T is nearly a function of that
    length takes its slope from noise in the difficulties, and its rate moves by two points when
    another policy leaves.

    policy, prompt: (n,) labels. policy_length, baseline_length: (n,) in one unit (characters); an
    empty output has length 0 and stays, for differences are defined there. preference: (n,) share
    for the policy in [0, 1]; NaN, unparsed, is left out and counted. Several labels of a policy
    on a prompt are averaged and weigh as many. difficulty: (n,) known gammas instead of
    estimated ones. prior: "none" is AlpacaEval's own regression, without kappa and with phi
    nearly free.

    The fit maximises one smooth penalised likelihood, so standard errors are the exact
    influence functions by prompt, through every parameter, difficulty, the prior's location and
    the units of T and b. Intervals are symmetric on the logit scale, t(prompts - 1).

    A policy whose preferences are all 0 or all 1 has no finite fit: its rate is undefined and it
    stays out of the others'. One whose lengths never vary gets no correction.

    Raises StatisticsError on inputs of unequal length, preference outside [0, 1], lengths or
    difficulties that are missing, an unknown prior, fewer than 2 prompts with a fit, or a fit
    that does not converge.
    Source: Dubois et al. 2024, section 3; Bock & Aitkin 1981; Huber 1967 (variance).
    """
    rows = _rows(policy, prompt, policy_length, baseline_length, preference, difficulty, prior)
    left_out: dict[str, int] = {}
    if unparsed := int(rows["preference"].isna().sum()):
        left_out[UNPARSED] = unparsed
    rows = rows[rows["preference"].notna()]
    span = rows.groupby("policy")["preference"].agg(["min", "max"])
    one_way = set(span.index[(span["max"] == 0) | (span["min"] == 1)])
    used = rows[~rows["policy"].isin(one_way)]
    if one_way:
        left_out[ONE_WAY] = len(rows) - len(used)
    if used["prompt"].nunique() < 2:
        raise StatisticsError("fewer than 2 prompts with undecided preferences; allowed 2 or more")
    data, fitted, prompts = _prompts(used, difficulty is not None)
    state, iterations = _solve(data, _start(data), prior)
    on_rates, on_slopes, on_location = _influence(data, state, prior)

    scales = data.scales()
    values = dict(zip(fitted, mean_rates(data, state.x, scales), strict=True))
    raw, rates, slopes = {}, {}, {}
    for name, mine in rows.groupby("policy"):
        key, n, units = str(name), len(mine), mine["prompt"].nunique()
        raw[key] = preference_rate(
            mine["preference"], clusters=mine["prompt"], cluster_name="prompt", level=level
        )
        if name in one_way:
            gone = undefined(ONE_WAY, n=n, n_clusters=units, level=level)
            rates[key], slopes[key] = gone, gone
            continue
        at = fitted.index(key)
        rates[key] = _rate(values[key], _se(on_rates[:, at]), n=n, n_clusters=units, level=level)
        slopes[key] = t_interval(
            float(state.x[PHI, at]), _se(on_slopes[:, at]), n=n, n_clusters=units, method=PHRASE,
            level=level,
        )  # fmt: skip
    n, units = len(used), len(prompts)
    location = (
        t_interval(
            state.location, _se(on_location), n=n, n_clusters=units, method=PHRASE, level=level
        )
        if prior == "student"
        else undefined("no prior on the slopes", n=n, n_clusters=units, level=level)
    )
    constant = tuple(p for p, v in zip(fitted, scales.varies, strict=True) if not v)
    return JointLengthControl(
        tuple(rates), rates, raw, slopes, location, prompts, posterior_means(data, state.x, scales),
        constant, left_out, iterations, data, state, prior, fitted, on_rates,
    )  # fmt: skip


def _rows(
    policy: ArrayLike, prompt: ArrayLike, policy_length: ArrayLike, baseline_length: ArrayLike,
    preference: ArrayLike, difficulty: ArrayLike | None, prior: str,
) -> pd.DataFrame:  # fmt: skip
    """The inputs as one checked table."""
    if prior not in ("student", "none"):
        raise StatisticsError(f"prior is {prior!r}; allowed 'student', 'none'")
    columns = {
        "policy": np.asarray(policy, dtype=object),
        "prompt": np.asarray(prompt, dtype=object),
        "length": np.asarray(policy_length, dtype=np.float64),
        "baseline": np.asarray(baseline_length, dtype=np.float64),
        "preference": np.asarray(preference, dtype=np.float64),
    }
    n = len(columns["policy"])
    columns["difficulty"] = (
        np.zeros(n) if difficulty is None else np.asarray(difficulty, dtype=np.float64)
    )
    for name, values in columns.items():
        if len(values) != n:
            raise StatisticsError(f"{name} has {len(values)} rows for {n} policies; allowed equal")
    for name in ("length", "baseline", "difficulty"):
        if not np.isfinite(columns[name]).all():
            raise StatisticsError(f"{name} is missing or infinite; allowed finite numbers")
    if ((columns["preference"] < 0) | (columns["preference"] > 1)).any():
        raise StatisticsError("preference is outside [0, 1]; allowed shares for the policy")
    return pd.DataFrame(columns)


def _prompts(
    rows: pd.DataFrame, known: bool
) -> tuple[Prompts, tuple[str, ...], tuple[object, ...]]:
    """Cells of prompts x policies; the names of the columns and rows."""
    rows = rows.assign(difference=rows["length"] - rows["baseline"])
    prompts = rows.groupby("prompt")[["baseline", "difficulty"]].mean()
    cells = rows.groupby(["prompt", "policy"])
    mean = cells[["preference", "difference"]].mean()
    count = cells.size().unstack("policy").reindex(prompts.index)
    preference, difference = (
        mean[name].unstack("policy").reindex(prompts.index).fillna(0.0).to_numpy(np.float64)
        for name in ("preference", "difference")
    )
    data = Prompts(
        preference, count.fillna(0.0).to_numpy(np.float64), difference,
        prompts["baseline"].to_numpy(np.float64), np.ones(len(prompts)),
        prompts["difficulty"].to_numpy(np.float64) if known else None,
    )  # fmt: skip
    return data, tuple(str(p) for p in count.columns), tuple(prompts.index)


def _start(data: Prompts) -> State:
    labels = data.labels.sum(0)
    rate = ((data.labels * data.preference).sum(0) + 0.5) / (labels + 1.0)
    x = np.zeros((4, len(rate)))
    x[THETA], x[PSI] = np.log(rate / (1 - rate)), 1.0
    return State(x, 0.0)


def _penalty(state: State, prior: str) -> tuple[float, Floats, Floats, Floats]:
    """Minus log prior: value, gradient, second derivative and a positive bound on it.

    Over 4M + 1 parameters: x, then the location. The bound is the t density's as a scale mixture
    of normals; it serves where the second derivative is not positive.
    """
    x, location = state
    M = x.shape[1]
    gradient, hessian = np.zeros(4 * M + 1), np.zeros((4 * M + 1, 4 * M + 1))
    diagonal = np.arange(4 * M)
    weak = np.repeat([THETA_SD**-2, 0.0 if prior == "student" else FREE_SD**-2, 0.0, PSI_SD**-2], M)
    gradient[:-1] = weak * x.ravel()
    hessian[diagonal, diagonal] = weak
    gradient[-1], hessian[-1, -1] = location / LOCATION_SD**2, LOCATION_SD**-2
    value = 0.5 * float(weak @ x.ravel() ** 2 + location**2 / LOCATION_SD**2)
    bound = hessian.copy()
    if prior == "none":
        return value, gradient, hessian, bound
    square = DEGREES * SLOPE_SCALE**2
    for kind, centre in ((PHI, location), (KAPPA, 0.0)):
        at = np.arange(kind * M, (kind + 1) * M)
        u = x[kind] - centre
        value += 0.5 * (DEGREES + 1) * float(np.log1p(u**2 / square).sum())
        pull = (DEGREES + 1) * u / (square + u**2)
        exact = (DEGREES + 1) * (square - u**2) / (square + u**2) ** 2
        gradient[at] += pull
        for matrix, curvature in ((hessian, exact), (bound, pull / np.where(u == 0, 1.0, u))):
            curvature = np.where(u == 0, exact, curvature)
            matrix[at, at] += curvature
            if kind == PHI:
                matrix[at, -1] -= curvature
                matrix[-1, at] -= curvature
                matrix[-1, -1] += curvature.sum()
        if kind == PHI:
            gradient[-1] -= pull.sum()
    return value, gradient, hessian, bound


def _free(M: int, prior: str) -> NDArray[np.int64]:
    """Indices of the parameters that are fitted."""
    kinds = (THETA, PHI, KAPPA, PSI) if prior == "student" else (THETA, PHI, PSI)
    own = [np.arange(kind * M, (kind + 1) * M) for kind in kinds]
    return np.concatenate([*own, [4 * M] if prior == "student" else []]).astype(np.int64)


def _solve(
    data: Prompts, state: State, prior: str, *, tolerance: float = TOLERANCE
) -> tuple[State, int]:
    """The mode of the penalised marginal likelihood, by Newton steps; steps taken."""
    M, scales = state.x.shape[1], data.scales()
    free = _free(M, prior)
    block = np.ix_(free, free)
    for taken in range(1, MAX_STEPS + 1):
        sums = sweep(data, state.x, scales)
        _, gradient, hessian, bound = _penalty(state, prior)
        gradient = -gradient
        gradient[:-1] += sums.gradient
        for matrix in (hessian, bound):
            matrix[:-1, :-1] += sums.information
        step = np.zeros(4 * M + 1)
        step[free] = _newton(hessian[block], bound[block], gradient[free])
        size = float(np.abs(step).max())
        # Far from the mode a full step can overshoot: psi and theta trade against each other.
        step /= max(1.0, size / 1.5)
        state = State(state.x + step[:-1].reshape(4, M), state.location + float(step[-1]))
        if size < tolerance:
            return state, taken
    raise StatisticsError(
        f"the joint length control did not converge in {MAX_STEPS} steps; allowed data in which "
        "policies and prompts are linked"
    )


def _newton(hessian: Floats, bound: Floats, gradient: Floats) -> Floats:
    for matrix in (hessian, bound):
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            continue
        return np.asarray(np.linalg.solve(matrix, gradient))
    lowest = float(np.linalg.eigvalsh(bound)[0])
    lifted = bound + (1.0 - lowest) * np.eye(len(gradient))
    return np.asarray(np.linalg.solve(lifted, gradient))


def _influence(data: Prompts, state: State, prior: str) -> tuple[Floats, Floats, Floats]:
    """Influence of each prompt on rates (n, M), slopes (n, M) and the location (n,).

    The estimating equations are stacked: units of T and b, then parameters, then rates. Solving
    them in that order carries each prompt's effect forward. Centred: the penalty's share of the
    equations does not vary over prompts.
    """
    M = state.x.shape[1]
    part = pieces(data, state.x, data.scales())
    hessian = _penalty(state, prior)[2]
    hessian[:-1, :-1] += sweep(data, state.x, data.scales()).information
    free = _free(M, prior)
    scores = np.zeros((len(part.scores), 4 * M + 1))
    scores[:, :-1] = part.scores + part.scales @ part.by_scales.T
    parameters = np.zeros_like(scores)
    parameters[:, free] = np.linalg.solve(hessian[np.ix_(free, free)], scores[:, free].T).T
    parameters -= parameters.mean(0)
    rates = (part.rates - part.rates.mean(0)) / len(part.rates)
    rates += parameters[:, :-1] @ part.rates_by_x.T + part.scales @ part.rates_by_scales.T
    return rates, parameters[:, PHI * M : (PHI + 1) * M], parameters[:, -1]


def _se(influence: Floats) -> float:
    codes = np.arange(len(influence), dtype=np.int64)
    return math.sqrt(float(robust_covariance(influence, codes)[0, 0]))


def _rate(value: float, se: float, *, n: int, n_clusters: int, level: float) -> Estimate:
    """A rate whose interval is symmetric on the logit scale."""
    logit, width = math.log(value / (1 - value)), se / (value * (1 - value))
    on_logit = t_interval(
        logit, width, n=n, n_clusters=n_clusters, method=f"{PHRASE}, logit scale", level=level
    )
    low, high = float(expit(on_logit.low)), float(expit(on_logit.high))
    return on_logit._replace(value=value, se=se, low=low, high=high)
