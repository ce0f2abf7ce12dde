"""Marginal likelihood of the joint length-controlled regression: one sweep over prompts.

    logit p_im = theta_m + phi_m T_im + kappa_m b_i + psi_m gamma_i,   gamma_i ~ normal(0, 1)

T_im is the tanh of the standardised length difference, b_i of the standardised baseline length.
gamma is integrated out on a grid. What `length_control_joint` asks of the data is here: sums for a
Newton step (`sweep`), rates at T = 0 (`mean_rates`), and the parts of influence functions
(`pieces`). Parameters x are (4, M): theta, phi, kappa, psi. Proof: the tests differentiate these
sums numerically.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

THETA, PHI, KAPPA, PSI = range(4)
GRID = np.linspace(-5.0, 5.0, 31)
"""Values of gamma. The trapezoid rule is exact to 2e-5 for posteriors with an sd of 0.25 or more,
which is what some hundred policies leave of the standard normal."""
CHUNK = 100_000
"""Numbers in one block of prompts x grid x policies."""


class Prompts(NamedTuple):
    """Prompts x policies, by cell: labels, their mean preference, mean length difference.

    weight: (n,) how often each prompt counts. difficulty: (n,) known gammas, or None.
    """

    preference: Floats  # (n, M)
    labels: Floats  # how many a cell has
    difference: Floats
    baseline: Floats  # (n,)
    weight: Floats
    difficulty: Floats | None

    def reweighted(self, weight: Floats) -> Prompts:
        """These prompts counted `weight` times; those never drawn are dropped."""
        keep = weight > 0
        known = None if self.difficulty is None else self.difficulty[keep]
        return Prompts(
            self.preference[keep], self.labels[keep], self.difference[keep], self.baseline[keep],
            weight[keep], known,
        )  # fmt: skip

    def scales(self) -> Scales:
        """Mean and spread (ddof 1) of lengths: units of T and b. 1 where lengths are constant."""
        counted = self.labels * self.weight[:, None]
        centre = (counted * self.difference).sum(0) / counted.sum(0)
        square = (counted * (self.difference - centre) ** 2).sum(0)
        spread = np.sqrt(square / np.maximum(counted.sum(0) - 1, 1))
        total = self.weight.sum()
        middle = float(self.weight @ self.baseline / total)
        wide = float(np.sqrt(self.weight @ (self.baseline - middle) ** 2 / (total - 1)))
        varies = spread > 1e-9 * (1.0 + np.abs(centre))
        return Scales(
            np.where(varies, spread, 1.0), varies, centre, middle, wide if wide > 0 else 1.0
        )


class Scales(NamedTuple):
    """Units of the length covariates."""

    spread: Floats  # (M,) of length differences
    varies: NDArray[np.bool_]  # (M,) False where lengths are constant and spread stands at 1
    centre: Floats  # (M,) mean difference: only its variance equation needs it
    middle: float  # of baseline lengths
    wide: float


def gather(
    policy: NDArray[np.object_], prompt: NDArray[np.object_], length: Floats, baseline: Floats,
    preference: Floats, difficulty: Floats | None,
) -> tuple[Prompts, tuple[object, ...]]:  # fmt: skip
    """Rows (n,) as cells of prompts x policies, both sorted, and the prompts' labels."""
    column, policies = pd.factorize(policy, sort=True)
    row, prompts = pd.factorize(prompt, sort=True)
    shape = len(prompts), len(policies)
    cell = row * shape[1] + column

    def summed(values: Floats) -> Floats:
        total = np.bincount(cell, weights=values, minlength=shape[0] * shape[1])
        return np.asarray(total, dtype=np.float64).reshape(shape)

    labels = summed(np.ones(len(cell)))
    each, of_prompt = np.maximum(labels, 1.0), labels.sum(1)
    data = Prompts(
        summed(preference) / each, labels, summed(length - baseline) / each,
        summed(baseline).sum(1) / of_prompt, np.ones(shape[0]),
        None if difficulty is None else summed(difficulty).sum(1) / of_prompt,
    )  # fmt: skip
    return data, tuple(prompts)


class Block(NamedTuple):
    """Some prompts at every grid value: arrays (n, M), with Q nodes (n, Q, M)."""

    at: slice
    tanh: Floats
    slope: Floats  # d tanh / d log spread
    prompt: Floats  # (n, 1) b
    by_middle: Floats  # (n, 1) d b / d middle
    by_wide: Floats  # (n, 1) d b / d log wide
    nodes: Floats  # (n or 1, Q)
    p: Floats
    residual: Floats
    pq: Floats
    posterior: Floats  # (n, Q)
    log_marginal: Floats  # (n,)

    def mean(self, values: Floats) -> Floats:
        """Posterior mean of values (n, Q, k): (n, k)."""
        return np.asarray((self.posterior[:, None, :] @ values)[:, 0, :])

    def centred(self, values: Floats) -> Floats:
        """Values minus their posterior mean, times sqrt(posterior): products are covariances."""
        root = np.sqrt(self.posterior)[:, :, None]
        return np.asarray((values - self.mean(values)[:, None, :]) * root)


def blocks(data: Prompts, x: Floats, scales: Scales) -> Iterator[Block]:
    """The prompts in pieces that fit the cache, evaluated at x."""
    n, M = data.preference.shape
    Q = 1 if data.difficulty is not None else len(GRID)
    size = max(1, CHUNK // (M * Q))
    log_weight = -0.5 * GRID**2 - np.log(np.exp(-0.5 * GRID**2).sum()) if Q > 1 else np.zeros(1)
    for start in range(0, n, size):
        at = slice(start, min(start + size, n))
        count, preference = data.labels[at], data.preference[at]
        z = data.difference[at] / scales.spread
        tanh = np.tanh(z)
        u = (data.baseline[at, None] - scales.middle) / scales.wide
        prompt = np.tanh(u)
        nodes = GRID[None, :] if data.difficulty is None else data.difficulty[at, None]
        base = x[THETA] + x[PHI] * tanh + x[KAPPA] * prompt
        eta = base[:, None, :] + nodes[:, :, None] * x[PSI]
        small = np.exp(-np.abs(eta))
        p = np.where(eta >= 0, 1.0, small) / (1.0 + small)
        loss = np.maximum(eta, 0.0) + np.log1p(small) - preference[:, None, :] * eta
        joint = log_weight - (loss @ count[:, :, None])[:, :, 0]
        top = joint.max(1)
        posterior = np.exp(joint - top[:, None])
        total = posterior.sum(1)
        weight = count[:, None, :]
        yield Block(
            at, tanh, -z * (1 - tanh**2), prompt, -(1 - prompt**2) / scales.wide,
            -u * (1 - prompt**2), nodes, p, weight * (preference[:, None, :] - p),
            weight * p * (1 - p), posterior / total[:, None], top + np.log(total),
        )  # fmt: skip


class Sweep(NamedTuple):
    """Sums over prompts at one x, weights applied."""

    likelihood: float
    gradient: Floats  # (4M,)
    information: Floats  # (4M, 4M), minus the second derivative


def sweep(data: Prompts, x: Floats, scales: Scales) -> Sweep:
    """Log likelihood and its derivatives (Louis 1982: mean information less score variance)."""
    M = x.shape[1]
    likelihood = 0.0
    gradient, cross, own = np.zeros(4 * M), np.zeros((4 * M, 4 * M)), np.zeros((4, 4, M))
    for b in blocks(data, x, scales):
        w = data.weight[b.at]
        scores = _scores(b)
        likelihood += float(w @ b.log_marginal)
        gradient += w @ b.mean(scores)
        flat = (b.centred(scores) * np.sqrt(w)[:, None, None]).reshape(-1, 4 * M)
        cross += flat.T @ flat
        powers, columns = _powers(b, b.pq, 2), _columns(b)
        for i in range(4):
            for j in range(i, 4):
                power = powers[(i == PSI) + (j == PSI)]
                own[i, j] += w @ (power * columns[i] * columns[j])
    information = _diagonals(own) - cross
    return Sweep(likelihood, gradient, information)


def mean_rates(data: Prompts, x: Floats, scales: Scales) -> Floats:
    """(M,) mean prediction over prompts at T = 0."""
    total = np.zeros(x.shape[1])
    for b in blocks(data, x, scales):
        total += data.weight[b.at] @ b.mean(_at_equal_length(b, x))
    return np.asarray(total / data.weight.sum())


def posterior_means(data: Prompts, x: Floats, scales: Scales) -> Floats:
    """(n,) posterior mean of gamma."""
    parts = [(b.posterior * b.nodes).sum(1) for b in blocks(data, x, scales)]
    return np.concatenate(parts)


class Pieces(NamedTuple):
    """What influence functions are made of, at the fitted x with weights of 1.

    The units of T and b (M spreads on the log scale, middle, log wide) are estimated too: K =
    M + 2 of them enter the score equations of x and the rates.
    """

    scores: Floats  # (n, 4M) of each prompt
    by_scales: Floats  # (4M, K) derivative of the summed scores in the units
    scales: Floats  # (n, K) influence of each prompt on the units
    rates: Floats  # (n, M) prediction at T = 0 of each prompt
    rates_by_x: Floats  # (M, 4M) derivative of the mean of `rates`
    rates_by_scales: Floats  # (M, K)


def pieces(data: Prompts, x: Floats, scales: Scales) -> Pieces:
    """One sweep for `Pieces`.

    The posterior of gamma moves with every parameter: the derivative of a posterior mean E[f] is
    E[df] + Cov(f, score), and the joint score in the units of T and b is needed beside that in x.
    """
    n, M = data.preference.shape
    K, index = M + 2, np.arange(M)
    scores, rates = np.empty((n, 4 * M)), np.empty((n, M))
    by_scales, rates_by_x = np.zeros((4 * M, K)), np.zeros((M, 4 * M))
    rates_by_scales = np.zeros((M, K))
    for b in blocks(data, x, scales):
        given, flat = _scores(b), _at_equal_length(b, x)
        scores[b.at], rates[b.at] = b.mean(given), b.mean(flat)
        # d logit / d units: spread (own policy only), middle and log wide (every policy).
        spread = x[PHI] * b.slope
        shared = [x[KAPPA] * b.by_middle, x[KAPPA] * b.by_wide]
        units = np.concatenate(
            [b.residual * spread[:, None, :]]
            + [(b.residual * s[:, None, :]).sum(2, keepdims=True) for s in shared],
            axis=2,
        )
        left = b.centred(np.concatenate([given, flat], axis=2)).reshape(-1, 5 * M)
        right = b.centred(np.concatenate([given, units], axis=2)).reshape(-1, 4 * M + K)
        covariance = left.T @ right
        by_scales += covariance[: 4 * M, 4 * M :]
        rates_by_x += covariance[4 * M :, : 4 * M]
        rates_by_scales += covariance[4 * M :, 4 * M :]

        powers, columns, mean_r = _powers(b, b.pq, 1), _columns(b), b.mean(b.residual)
        for i in range(4):
            seen = powers[int(i == PSI)] * columns[i]
            by_scales[i * M + index, index] -= (seen * spread).sum(0)
            for k, s in enumerate(shared):
                by_scales[i * M + index, M + k] -= (seen * s).sum(0)
        by_scales[PHI * M + index, index] += (mean_r * b.slope).sum(0)
        for k, s in enumerate((b.by_middle, b.by_wide)):
            by_scales[KAPPA * M + index, M + k] += (mean_r * s).sum(0)

        powers = _powers(b, flat * (1 - flat), 1)
        for i in (THETA, KAPPA, PSI):
            change = (powers[int(i == PSI)] * columns[i]).sum(0)
            rates_by_x[index, i * M + index] += change
        for k, s in enumerate(shared):
            rates_by_scales[:, M + k] += (powers[0] * s).sum(0)
    return Pieces(
        scores, by_scales, _scale_influence(data, scales), rates, rates_by_x / n,
        rates_by_scales / n,
    )  # fmt: skip


def _scale_influence(data: Prompts, scales: Scales) -> Floats:
    """(n, M + 2): of log spread, middle and log wide."""
    n = len(data.baseline)
    squares = data.labels * ((data.difference - scales.centre) ** 2 - scales.spread**2)
    free = np.maximum(data.labels.sum(0) - 1, 1)
    varies = scales.varies
    spread = np.where(varies, squares / (2 * scales.spread**2 * free), 0.0)
    off = data.baseline - scales.middle
    wide = (off**2 - scales.wide**2) / (2 * scales.wide**2 * (n - 1)) * bool(off.any())
    return np.column_stack([spread, off / n, wide])


def _columns(b: Block) -> tuple[Floats, Floats, Floats, Floats]:
    """d logit / d theta, phi, kappa; 1 for psi, whose gamma differs by node."""
    one = np.ones_like(b.tanh)
    return one, b.tanh, one * b.prompt, one


def _powers(b: Block, values: Floats, highest: int) -> list[Floats]:
    """Posterior means of values times gamma to the power 0 .. highest."""
    nodes = b.nodes[:, :, None]
    return [b.mean(values * nodes**k if k else values) for k in range(highest + 1)]


def _diagonals(own: Floats) -> Floats:
    """(4M, 4M) of 4 x 4 diagonal blocks given as (4, 4, M), upper triangle filled."""
    M = own.shape[2]
    out, index = np.zeros((4, M, 4, M)), np.arange(M)
    for i in range(4):
        for j in range(4):
            out[i, index, j, index] = own[min(i, j), max(i, j)]
    return out.reshape(4 * M, 4 * M)


def _scores(b: Block) -> Floats:
    """(n, Q, 4M) derivative of the conditional log likelihood in x."""
    r = b.residual
    prompt = b.prompt[:, None, :]
    return np.concatenate([r, r * b.tanh[:, None, :], r * prompt, r * b.nodes[:, :, None]], axis=2)


def _at_equal_length(b: Block, x: Floats) -> Floats:
    base = x[THETA] + x[KAPPA] * b.prompt
    return np.asarray(expit(base[:, None, :] + b.nodes[:, :, None] * x[PSI]))
