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
    gather,
    mean_rates,
    pieces,
    posterior_means,
    sweep,
)

DEGREES = 4.0
"""Degrees of freedom of phi's Student t prior: robust, nearly efficient (Lange et al. 1989)."""
SLOPE_SCALE = TRAIT_SD = 0.25
"""Scale of phi about its location, and of kappa about 0, on the logit scale. In simulated worlds
.25 and .5 lead: .5 where policies differ widely in their slopes, .25 where they do not. The smaller
one is kept, for with it a rate depends less on which other policies are there."""
LOCATION_SD, THETA_SD, PSI_SD, FREE_SD = 2.5, 10.0, 5.0, 10.0
"""Weak normal priors at 0, which keep what the data do not determine finite. FREE_SD is that of
phi where there is no Student t prior."""
MAX_STEPS = 200
LONGEST_STEP = 1.5
TOLERANCE = 1e-9

UNPARSED = "no preference (unparsed)"
ONE_WAY = "every preference of the policy goes one way"
SEPARATED = "separation: length tells every preference of the policy"
PHRASE = "influence function by prompt"


class State(NamedTuple):
    """Fitted parameters: x (4, M) as in `joint_likelihood`, and the location of phi's prior."""

    x: Floats
    location: float


@dataclass(frozen=True)
class JointLengthControl:
    """A fitted joint length-controlled regression against one baseline.

    By policy: rates, the length-controlled preference over the baseline in [0, 1]; slopes, phi
    (positive: longer is preferred). location: of the prior on phi, what
    length is worth to a typical policy. difficulty: (n,) posterior means of gamma, higher where
    policies beat the baseline, and prompts their labels. left_out: rows not used, by reason.
    constant_length: policies whose lengths never vary against the baseline's; nothing can be
    taken out of their rates.
    """

    policies: tuple[str, ...]
    rates: dict[str, Estimate]
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
        size = _Size(min(first.n, second.n), min(first.n_clusters, second.n_clusters), first.level)
        for rate in (first, second):
            if math.isnan(rate.value):
                return undefined(rate.method.removeprefix("undefined: "), **size._asdict())
        a, b = self._fitted.index(policy), self._fitted.index(other)
        se = _se(self._influence[:, a] - self._influence[:, b])
        return _plain(first.value - second.value, se, size)

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
    and psi_m carries its scale, so no ridge is set. kappa_m ~ normal(0, .25) lets the baseline's
    length tell a trait of the prompt: without it a policy for which T is nearly a function of that
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

    A policy whose preferences are all 0, all 1, or 0 on one side of some length difference and 1 on
    the other, has no finite fit (separation): its rate is undefined and it stays out of the
    others'. One whose lengths never vary gets no correction.

    Raises StatisticsError on inputs of unequal length, preference outside [0, 1], lengths or
    difficulties that are missing, an unknown prior, fewer than 2 prompts with a fit, or a fit
    that does not converge.
    Source: Dubois et al. 2024, section 3; Bock & Aitkin 1981; Huber 1967 (variance).
    """
    rows = _rows(policy, prompt, policy_length, baseline_length, preference, difficulty, prior)
    left_out: dict[str, int] = {}
    parsed = ~np.isnan(rows.preference)
    if not parsed.all():
        left_out[UNPARSED] = int((~parsed).sum())
        rows = rows.take(parsed)
    code, policies = pd.factorize(rows.policy, sort=True)
    reasons = {which: r for which in range(len(policies)) if (r := _separated(rows, code == which))}
    gone = np.isin(code, list(reasons))
    for reason in (ONE_WAY, SEPARATED):
        members = [which for which, r in reasons.items() if r == reason]
        if members:
            left_out[reason] = int(np.isin(code, members).sum())
    used = rows.take(~gone)
    data, prompts = gather(
        used.policy, used.prompt, used.length, used.baseline, used.preference,
        used.difficulty if difficulty is not None else None,
    )  # fmt: skip
    if len(prompts) < 2:
        raise StatisticsError("fewer than 2 prompts with undecided preferences; allowed 2 or more")
    state, iterations = _solve(data, _start(data), prior)
    on_rates, on_slopes, on_location = _influence(data, state, prior)

    scales, n, units = data.scales(), data.labels.sum(0), (data.labels > 0).sum(0)
    values = mean_rates(data, state.x, scales)
    fitted = tuple(str(p) for which, p in enumerate(policies) if which not in reasons)
    rates, slopes = {}, {}
    for which, name in enumerate(str(p) for p in policies):
        if which in reasons:
            mine = code == which
            size = _Size(int(mine.sum()), len(set(rows.prompt[mine].tolist())), level)
            rates[name] = slopes[name] = undefined(reasons[which], **size._asdict())
            continue
        at = fitted.index(name)
        size = _Size(int(n[at]), int(units[at]), level)
        rates[name] = _rate(float(values[at]), _se(on_rates[:, at]), size)
        slopes[name] = _plain(float(state.x[PHI, at]), _se(on_slopes[:, at]), size)
    size = _Size(len(used.policy), len(prompts), level)
    location = (
        _plain(state.location, _se(on_location), size)
        if prior == "student"
        else undefined("no prior on the slopes", **size._asdict())
    )
    constant = tuple(p for p, v in zip(fitted, scales.varies, strict=True) if not v)
    return JointLengthControl(
        tuple(str(p) for p in policies), rates, slopes, location, prompts,
        posterior_means(data, state.x, scales), constant, left_out, iterations, data, state, prior,
        fitted, on_rates,
    )  # fmt: skip


def _separated(rows: _Rows, mine: NDArray[np.bool_]) -> str:
    """Why a policy has no finite fit: all labels are alike or split by length; or ""."""
    y, longer = rows.preference[mine], (rows.length - rows.baseline)[mine]
    won = y == 1
    if won.all() or not y.any():
        return ONE_WAY
    if not (won | (y == 0)).all():
        return ""
    apart = longer[won].min() >= longer[~won].max() or longer[won].max() <= longer[~won].min()
    return SEPARATED if apart and np.ptp(longer) > 0 else ""


class _Rows(NamedTuple):
    policy: NDArray[np.object_]
    prompt: NDArray[np.object_]
    length: Floats
    baseline: Floats
    preference: Floats
    difficulty: Floats

    def take(self, keep: NDArray[np.bool_]) -> _Rows:
        """The rows kept."""
        return _Rows(
            self.policy[keep], self.prompt[keep], self.length[keep], self.baseline[keep],
            self.preference[keep], self.difficulty[keep],
        )  # fmt: skip


def _rows(
    policy: ArrayLike, prompt: ArrayLike, policy_length: ArrayLike, baseline_length: ArrayLike,
    preference: ArrayLike, difficulty: ArrayLike | None, prior: str,
) -> _Rows:  # fmt: skip
    """The inputs, checked."""
    if prior not in ("student", "none"):
        raise StatisticsError(f"prior is {prior!r}; allowed 'student', 'none'")
    names, labels = np.asarray(policy, dtype=object), np.asarray(prompt, dtype=object)
    given = np.zeros(len(names)) if difficulty is None else difficulty
    numbers = [
        np.asarray(v, dtype=np.float64) for v in (policy_length, baseline_length, preference, given)
    ]
    rows = _Rows(names, labels, *numbers)
    for field_name, values in rows._asdict().items():
        if len(values) != len(names):
            raise StatisticsError(
                f"{field_name} has {len(values)} rows for {len(names)} policies; allowed equal"
            )
    for field_name in ("length", "baseline", "difficulty"):
        if not np.isfinite(getattr(rows, field_name)).all():
            raise StatisticsError(f"{field_name} is missing or infinite; allowed finite numbers")
    if ((rows.preference < 0) | (rows.preference > 1)).any():
        raise StatisticsError("preference is outside [0, 1]; allowed shares for the policy")
    return rows


def _start(data: Prompts) -> State:
    labels = data.labels.sum(0)
    rate = ((data.labels * data.preference).sum(0) + 0.5) / (labels + 1.0)
    x = np.zeros((4, len(rate)))
    x[THETA], x[PSI] = np.log(rate / (1 - rate)), 1.0
    return State(x, 0.0)


def _penalty(state: State, prior: str) -> tuple[float, Floats, Floats, Floats]:
    """Minus log prior: value, gradient, second derivative and a positive bound on it.

    Over 4M + 1 parameters: x, then the location. The bound takes the t density as a scale mixture
    of normals; it serves where the second derivative is not positive.
    """
    x, location = state
    M = x.shape[1]
    student = prior == "student"
    precision = np.zeros(4 * M + 1)
    precision[:-1] = np.repeat(
        [THETA_SD**-2, 0.0 if student else FREE_SD**-2, TRAIT_SD**-2, PSI_SD**-2], M
    )
    precision[-1] = LOCATION_SD**-2
    given = np.append(x.ravel(), location)
    value, gradient = 0.5 * float(precision @ given**2), precision * given
    hessian = np.diag(precision)
    bound = hessian.copy()
    if student:
        at, u, square = (
            np.arange(PHI * M, (PHI + 1) * M),
            x[PHI] - location,
            DEGREES * SLOPE_SCALE**2,
        )
        value += 0.5 * (DEGREES + 1) * float(np.log1p(u**2 / square).sum())
        pull = (DEGREES + 1) * u / (square + u**2)
        gradient[at] += pull
        gradient[-1] -= pull.sum()
        weight = (DEGREES + 1) / (square + u**2)
        for matrix, curvature in (
            (hessian, weight * (square - u**2) / (square + u**2)), (bound, weight),
        ):  # fmt: skip
            matrix[at, at] += curvature
            matrix[at, -1] -= curvature
            matrix[-1, at] -= curvature
            matrix[-1, -1] += curvature.sum()
    return value, gradient, hessian, bound


def _free(M: int, prior: str) -> NDArray[np.int64]:
    """Indices of the parameters that are fitted."""
    kinds = (THETA, PHI, KAPPA, PSI) if prior == "student" else (THETA, PHI, PSI)
    own = [np.arange(kind * M, (kind + 1) * M) for kind in kinds]
    return np.concatenate([*own, [4 * M] if prior == "student" else []]).astype(np.int64)


def _solve(
    data: Prompts, state: State, prior: str, *, tolerance: float = TOLERANCE
) -> tuple[State, int]:
    """The mode of the penalised marginal likelihood, by damped Newton steps; steps taken."""
    M, scales = state.x.shape[1], data.scales()
    free = _free(M, prior)
    block = np.ix_(free, free)
    best, step, size = -math.inf, np.zeros(4 * M + 1), math.inf
    for taken in range(1, MAX_STEPS + 1):
        sums = sweep(data, state.x, scales)
        value, gradient, hessian, bound = _penalty(state, prior)
        if sums.likelihood - value < best - 1e-9 * abs(best):
            step /= 2  # overshot: back half of the last step
            state = _moved(state, -step)
            continue
        best = sums.likelihood - value
        gradient[:-1] -= sums.gradient
        for matrix in (hessian, bound):
            matrix[:-1, :-1] += sums.information
        step[free] = -_newton(hessian[block], bound[block], gradient[free])
        size = float(np.abs(step).max())
        step /= max(1.0, size / LONGEST_STEP)
        state = _moved(state, step)
        if size < tolerance:
            return state, taken
    raise StatisticsError(
        f"the joint length control did not converge in {MAX_STEPS} steps (last step {size:.1g})"
    )


def _moved(state: State, step: Floats) -> State:
    x, location = state
    return State(x + step[:-1].reshape(x.shape), location + float(step[-1]))


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


class _Size(NamedTuple):
    """What an estimate rests on."""

    n: int
    n_clusters: int
    level: float


def _plain(value: float, se: float, size: _Size) -> Estimate:
    return t_interval(
        value, se, n=size.n, n_clusters=size.n_clusters, method=PHRASE, level=size.level
    )


def _rate(value: float, se: float, size: _Size) -> Estimate:
    """A rate whose interval is symmetric on the logit scale."""
    value = min(max(value, 1e-12), 1 - 1e-12)
    width = se / (value * (1 - value))
    on_logit = _plain(math.log(value / (1 - value)), width, size)
    low, high = float(expit(on_logit.low)), float(expit(on_logit.high))
    return on_logit._replace(
        value=value, se=se, low=low, high=high, method=f"{on_logit.method}, logit scale"
    )
