"""Over-optimisation of a proxy: how the truth rises and falls as a policy moves from its start.

With d = sqrt(KL(policy || start)) in sqrt(nats) and the gain R(d) measured from the start,
R(0) = 0, Gao et al. found two forms with two coefficients each:

    "best-of-n"  R(d) = d (alpha - beta d)      peak at alpha / (2 beta), alpha^2 / (4 beta) high
    "ppo"        R(d) = d (alpha - beta log d)  peak at exp(alpha / beta - 1), beta times it high

alpha is how steeply the truth rises at first, beta how strongly pursuing the proxy then works
against it. Both forms are linear in (alpha, beta), so a fit is least squares, and the coefficients
of the mean curve are means over seeds and posts: their error is exact, that of a peak follows by
the delta method. Change the forms here; tests/stats/test_overoptimization.py holds the algebra.

Source: Gao, Schulman & Hilton 2022 (arXiv 2210.10760), section 3; peaks derived from the forms.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.stats.replicates import crossed_statistic

Form = Literal["best-of-n", "ppo"]
FORMS: tuple[Form, ...] = ("best-of-n", "ppo")

QUANTITIES = ("alpha", "beta", "turn", "peak_d", "peak_gain", "top_gain")


class CurveFit(NamedTuple):
    """A fitted curve: its coefficients and what follows from them, each an Estimate.

    alpha, beta: of the mean curve over seeds and posts. turn: beta / alpha, which orders curves
    by how soon they turn and, unlike the peak, passes smoothly through "never" (0 or less); a
    ratio, so undefined unless the interval of alpha lies above 0. `sooner` compares without it.
    peak_d, peak_gain: place and height of the peak, undefined where the fit has none; they may
    lie outside the data, and then `beyond` is True. top_gain: the largest fitted gain inside the
    observed range, which always exists. d_max: end of that range, in the seed where it is
    shortest. values: for each quantity the (S, P) pseudo-values behind its interval.
    """

    form: Form
    alpha: Estimate
    beta: Estimate
    turn: Estimate
    peak_d: Estimate
    peak_gain: Estimate
    top_gain: Estimate
    beyond: bool
    d_max: float
    values: dict[str, Floats]

    def gain(self, d: ArrayLike) -> Floats:
        """The fitted gain at distances d, for drawing."""
        return gain_curve(self.form, d, self.alpha.value, self.beta.value)


def distance(kl_nats: ArrayLike) -> Floats:
    """d = sqrt(KL), in sqrt(nats); an estimate of KL below 0 counts as 0."""
    return np.sqrt(np.maximum(np.asarray(kl_nats, dtype=np.float64), 0.0))


def gain_curve(form: Form, d: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Floats:
    """Gain R(d) of a form; arguments are broadcast. R(0) = 0.

    Raises StatisticsError on an unknown form or a negative distance.
    """
    rise, fall = _basis(form, np.asarray(d, dtype=np.float64))
    return np.asarray(np.asarray(alpha) * rise - np.asarray(beta) * fall, dtype=np.float64)


def peak(form: Form, alpha: float, beta: float) -> tuple[float, float]:
    """Distance and height of the peak; (NaN, NaN) where the form has none.

    There is none where beta <= 0, since the curve then never turns down, and none for best-of-n
    where alpha <= 0, since it then only falls.
    """
    _check(form)
    if not beta > 0 or (form == "best-of-n" and not alpha > 0):
        return math.nan, math.nan
    if form == "best-of-n":
        return alpha / (2 * beta), alpha**2 / (4 * beta)
    with np.errstate(over="ignore"):
        d = float(np.exp(alpha / beta - 1))
    return (d, beta * d) if math.isfinite(d) else (math.nan, math.nan)


def gain_from_start(scores: ArrayLike, d: ArrayLike) -> Floats:
    """Scores less those at d = 0, post by post: what `curve_fit` takes.

    scores: (S, P, D); d: (D,) or (S, D). Each post is its own control, so what posts add to
    every score falls out of the error too.

    Raises StatisticsError where a seed has no distance of 0.
    """
    table, at = _checked(scores, d)
    if not (at == 0).any(axis=1).all():
        raise StatisticsError("no score at distance 0; allowed curves that begin at the start")
    start = np.argmax(at == 0, axis=1)
    return np.asarray(table - np.take_along_axis(table, start[:, None, None], axis=2))


def curve_fit(
    gain: ArrayLike,
    d: ArrayLike,
    *,
    form: Form,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> CurveFit:
    """Least-squares fit of a form of Gao et al., with intervals over seeds and posts.

    gain: (S, P, D), gain of each post from the start (`gain_from_start`); a point at d = 0 adds
    nothing to the fit. d: (D,), or (S, D) where seeds moved differently; taken as known. weights:
    (D,) or (S, D), of squared residuals.

    Each seed's curve is fitted at its own distances; the coefficients are means over seeds and
    posts of linear functions of the gains, hence exact pseudo-values. Whatever follows from them
    is evaluated at their means (the curve a figure draws) and varies by its gradient, the
    infinitesimal jackknife: short where beta is hardly known, so compare curves by `sooner` and
    `higher` rather than by peaks. Simulated coverage of 95% intervals, 3 seeds and 100 posts: 93
    to 97%. They speak of seeds and posts, not of whether the form is right.

    Undefined: everything, where a seed has fewer than two distances above 0; a peak, where the
    fit has none; `turn`, unless the interval of alpha lies above 0.

    Raises StatisticsError on shapes, NaN, negative distances or weights, or an unknown form.
    Source: Gao et al. 2022; Efron 1982, ch. 6 (infinitesimal jackknife).
    """
    _check(form)
    table, at = _checked(gain, d)
    S, P, D = table.shape
    w = np.ones((S, D)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape not in ((D,), (S, D)) or not (np.isfinite(w).all() and (w >= 0).all()):
        raise StatisticsError(
            f"weights have shape {w.shape}; allowed {D} or {(S, D)}, finite and not negative"
        )
    w = np.broadcast_to(w, (S, D))
    d_max = float(at.max(axis=1).min()) if D else 0.0
    if any(len(np.unique(x[(x > 0) & (u > 0)])) < 2 for x, u in zip(at, w, strict=True)):
        none = undefined(
            "fewer than two distances above 0", n=table.size, n_clusters=P, level=level
        )
        return CurveFit(form, *6 * (none,), beyond=False, d_max=d_max, values={})
    coefficients = np.empty((S, P, 2))
    for s in range(S):
        rise, fall = _basis(form, at[s])
        root = np.sqrt(w[s])[:, None]
        solve = np.linalg.pinv(np.column_stack([rise, -fall]) * root)
        coefficients[s] = (table[s] * root.T) @ solve.T
    alpha, beta = (float(c) for c in coefficients.mean(axis=(0, 1)))
    moved = coefficients - (alpha, beta)
    values: dict[str, Floats] = {}
    estimates: dict[str, Estimate] = {}
    for name, (value, gradient, reason) in _derived(form, alpha, beta, d_max).items():
        if name == "turn" and not estimates["alpha"].low > 0:
            value = math.nan
        if math.isnan(value):
            estimates[name] = undefined(reason, n=table.size, n_clusters=P, level=level)
            continue
        values[name] = np.asarray(value + moved @ np.asarray(gradient))
        found = crossed_statistic(values[name], value=value, level=level, method=f"{form} fit")
        estimates[name] = found._replace(n=table.size)
    beyond = bool(estimates["peak_d"].value > d_max)
    return CurveFit(form, **estimates, beyond=beyond, d_max=d_max, values=values)


def curve_difference(a: CurveFit, b: CurveFit, *, level: float = 0.95) -> dict[str, Estimate]:
    """Differences a - b of every quantity of two fits, paired on seeds and posts.

    The fits must rest on the same seeds and posts in the same order (distances may differ), and
    be of one form: coefficients of two forms are in different units. A quantity that one of them
    lacks is undefined, with the reason.

    Raises StatisticsError on two forms or tables of different shapes.
    """
    _check_pair(a, b)
    out = {}
    for name in QUANTITIES:
        if name not in a.values or name not in b.values:
            one: Estimate = getattr(a if name not in a.values else b, name)
            out[name] = one
            continue
        moved = a.values[name] - b.values[name]
        out[name] = crossed_statistic(moved, level=level, method="difference of fits")
    return out


def sooner(a: CurveFit, b: CurveFit, *, level: float = 0.95) -> Estimate:
    """Whether a turns sooner than b: beta_a alpha_b - beta_b alpha_a, above 0 where it does.

    The cross product of the coefficients, paired on seeds and posts. Where both curves rise at
    first (alpha > 0) its sign is that of the difference of beta / alpha, where both turn (beta > 0)
    that of the order of the fitted peaks; no ratio is taken, so it stays known where an alpha is
    hardly above 0. A curve with alpha <= 0 and beta > 0 falls at once: sooner than one that rises
    and then turns, and the sign says so. In products of the units of alpha and beta: a sign to go
    by, and no amount.

    Undefined, with the reason, by the estimates: neither curve rises at first; or one does not and
    not both turn (one that only falls beside one that never does; one that falls and then rises).

    Raises StatisticsError on two forms or tables of different shapes. Source: the forms of Gao et
    al. 2022.
    """
    _check_pair(a, b)
    if not a.values or not b.values:
        return a.alpha if not a.values else b.alpha
    reason = ""
    if not max(a.alpha.value, b.alpha.value) > 0:
        reason = "neither curve rises at first: both alpha <= 0"
    elif not (min(a.alpha.value, b.alpha.value) > 0 or min(a.beta.value, b.beta.value) > 0):
        reason = "one curve does not rise at first and not both turn: an alpha and a beta <= 0"
    if reason:
        return undefined(reason, n=a.alpha.n, n_clusters=a.alpha.n_clusters, level=level)
    value = a.beta.value * b.alpha.value - b.beta.value * a.alpha.value
    moved = (
        b.alpha.value * (a.values["beta"] - a.beta.value)
        + a.beta.value * (b.values["alpha"] - b.alpha.value)
        - a.alpha.value * (b.values["beta"] - b.beta.value)
        - b.beta.value * (a.values["alpha"] - a.alpha.value)
    )
    return crossed_statistic(
        value + moved, value=value, level=level, method="cross product of coefficients"
    )


def higher(a: CurveFit, b: CurveFit, *, level: float = 0.95) -> Estimate:
    """Largest fitted gain of a less that of b, both up to the distance that both reached.

    Paired on seeds and posts. Each gain varies as the fitted curve does at its best point. A curve
    that does not rise there has its best point at the start, and the gain 0; that is 0 by
    definition, not by measurement, so it varies here as the curve does at the common end, lest a
    difference be sure for no other reason. `method` says where that was done.

    Undefined where a fit is. Raises StatisticsError as `sooner`.
    """
    _check_pair(a, b)
    if not a.values or not b.values:
        return a.alpha if not a.values else b.alpha
    end = min(a.d_max, b.d_max)
    value, moved = 0.0, np.zeros_like(a.values["alpha"])
    method = f"difference of largest fitted gains up to d = {end:.3g}"
    for sign, fit, name in ((1, a, "first"), (-1, b, "second")):
        alpha, beta = fit.alpha.value, fit.beta.value
        best = _best(fit.form, alpha, beta, end)
        if best == 0:
            method += f"; the {name} does not rise: 0, with the error at the end"
        by_alpha, by_beta = _by_height(fit.form, best or end)
        value += sign * float(gain_curve(fit.form, best, alpha, beta))
        moved += sign * by_alpha * (fit.values["alpha"] - alpha)
        moved += sign * by_beta * (fit.values["beta"] - beta)
    return crossed_statistic(value + moved, value=value, level=level, method=method)


def change_between(gain: ArrayLike, start: int, end: int, *, level: float = 0.95) -> Estimate:
    """Change of the gain between two points of the grid that were named beforehand.

    gain: (S, P, D); start, end: places in D. The tempting statistic, the end less the highest
    point before it, is biased downwards: the highest of noisy points is high partly by luck
    (winner's curse), so a flat curve seems to fall. Two points fixed before looking have no such
    bias, and posts are paired. A curve that rose to the middle and changed below 0 after it has
    turned; an interval that covers 0 says flattened, or not known.

    Raises StatisticsError when gain is not (S, P, D) or a place is outside it.
    """
    table = np.asarray(gain, dtype=np.float64)
    if table.ndim != 3:
        raise StatisticsError(f"gain has {table.ndim} dimensions; allowed 3, seeds x posts x grid")
    places = range(-table.shape[2], table.shape[2])
    if start not in places or end not in places:
        raise StatisticsError(f"places are {start} and {end}; allowed within {table.shape[2]}")
    return crossed_statistic(table[..., end] - table[..., start], level=level)


def _derived(
    form: Form, alpha: float, beta: float, d_max: float
) -> dict[str, tuple[float, tuple[float, float], str]]:
    """Value, gradient by (alpha, beta) and reason if undefined, of each quantity."""
    d, height = peak(form, alpha, beta)
    no_peak = "no peak in the fit: beta <= 0" if not beta > 0 else "no peak in the fit"
    if form == "best-of-n":
        by_place = (1 / (2 * beta), -d / beta) if height == height else (0.0, 0.0)
    else:
        by_place = (d / beta, -d * alpha / beta**2) if height == height else (0.0, 0.0)
    # The height of a maximum moves only by what the curve does there (envelope theorem).
    best = _best(form, alpha, beta, d_max)
    turn = beta / alpha if alpha > 0 else math.nan
    by_turn = (-turn / alpha, 1 / alpha) if alpha > 0 else (0.0, 0.0)
    return {
        "alpha": (alpha, (1.0, 0.0), ""),
        "beta": (beta, (0.0, 1.0), ""),
        "turn": (turn, by_turn, "no rise in the fit: alpha not above 0"),
        "peak_d": (d, by_place, no_peak),
        "peak_gain": (height, _by_height(form, d), no_peak),
        "top_gain": (float(gain_curve(form, best, alpha, beta)), _by_height(form, best), ""),
    }


def _best(form: Form, alpha: float, beta: float, end: float) -> float:
    """Distance of the largest gain from the start up to `end`."""
    d, _ = peak(form, alpha, beta)
    inside = [0.0, end, *([d] if d < end else [])]
    return max(inside, key=lambda x: float(gain_curve(form, x, alpha, beta)))


def _by_height(form: Form, d: float) -> tuple[float, float]:
    if math.isnan(d):
        return 0.0, 0.0
    rise, fall = _basis(form, np.asarray(d))
    return float(rise), -float(fall)


def _basis(form: Form, d: Floats) -> tuple[Floats, Floats]:
    """What alpha and -beta multiply: d, and d^2 or d log d (0 at d = 0)."""
    _check(form)
    if (d < 0).any():
        raise StatisticsError("a distance is below 0; allowed 0 or more")
    if form == "best-of-n":
        return d, d**2
    return d, d * np.log(np.where(d > 0, d, 1.0))


def _check(form: str) -> None:
    if form not in FORMS:
        raise StatisticsError(f"form is {form!r}; allowed {', '.join(FORMS)}")


def _check_pair(a: CurveFit, b: CurveFit) -> None:
    if a.form != b.form:
        raise StatisticsError(f"the fits are of {a.form} and {b.form}; allowed one form")
    if not a.values or not b.values:
        return
    first, second = a.values["alpha"].shape, b.values["alpha"].shape
    if first != second:
        raise StatisticsError(
            f"the fits rest on {first} and {second} seeds x posts; allowed the same"
        )


def _checked(values: ArrayLike, d: ArrayLike) -> tuple[Floats, Floats]:
    """The table (S, P, D) and its distances (S, D)."""
    table, at = np.asarray(values, dtype=np.float64), np.asarray(d, dtype=np.float64)
    if table.ndim != 3:
        raise StatisticsError(f"gain has {table.ndim} dimensions; allowed 3, seeds x posts x grid")
    S, _, D = table.shape
    if at.shape not in ((D,), (S, D)):
        raise StatisticsError(f"d has shape {at.shape}; allowed {(D,)} or {(S, D)}")
    if not np.isfinite(table).all() or not np.isfinite(at).all():
        raise StatisticsError("a gain or distance is NaN or infinite; allowed finite numbers")
    if (at < 0).any():
        raise StatisticsError("a distance is below 0; allowed 0 or more")
    return table, np.broadcast_to(at, (S, D))
