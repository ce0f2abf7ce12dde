"""Coverage of length-controlled intervals, counted over simulated data sets with clusters.

Labels of one post share what only that post has, labels of one labeler share a taste; truth is
the rate at equal length that the same model finds in an endless sample, computed by statsmodels
from exact probabilities. Run with `-m slow -s` to see the counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit

from evalsuite.stats.length_control import fit_length_control
from evalsuite.stats.length_control_joint import fit_joint_length_control

pytestmark = pytest.mark.slow

SEED, DATA_SETS = 20261121, 4000
POLICIES = np.array(["reference_summary", "a", "b", "c"], dtype=object)
THETA = np.array([0.0, -0.8, 0.3, 0.8])
GAMMA = 0.9
WORDY = np.array([0.0, -0.15, 0.05, 0.3])
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def pairs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left and right policy, and log length ratio, of n comparisons of two policies."""
    left = rng.integers(0, 4, n)
    right = (left + rng.integers(1, 4, n)) % 4
    return left, right, WORDY[left] - WORDY[right] + rng.normal(0, 0.3, n)


def truth(probability: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Rates of a, b, c against the reference that the model finds in 400,000 exact labels."""
    left, right, x = pairs(np.random.default_rng(SEED), 400_000)
    design = np.column_stack([*((left == k).astype(float) - (right == k) for k in (1, 2, 3)), x])
    fit = sm.GLM(probability(left, right, x), design, family=sm.families.Binomial()).fit()
    return expit(fit.params[:3])


def count(
    draw: Callable[[np.random.Generator], tuple[np.ndarray, ...]], expected: np.ndarray, name: str
) -> None:
    """Print how often intervals hold the truth; assert 93% to 97%."""
    rng, held = np.random.default_rng(SEED), np.zeros(3)
    for _ in range(DATA_SETS):
        left, right, x, left_wins, clusters = draw(rng)
        fit = fit_length_control(
            POLICIES[left], POLICIES[right], x, 1.0 - left_wins, clusters=clusters
        )
        for k, policy in enumerate(POLICIES[1:]):
            rate = fit.rate(policy)
            held[k] += rate.low <= expected[k] <= rate.high
    share = held / DATA_SETS
    print(  # noqa: T201
        f"\n{name}: seed {SEED}, {DATA_SETS} data sets, coverage {share}, mean {share.mean():.4f}"
    )
    assert ((share > 0.93) & (share < 0.97)).all()


def test_three_labels_a_post() -> None:
    # What the post favours: a shift of the logit that its three labels share, sd 1.
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        post = np.repeat(np.arange(250), 3)
        left, right, x = (values[post] for values in pairs(rng, 250))
        logit = THETA[left] - THETA[right] + GAMMA * x + rng.normal(0, 1, 250)[post]
        return left, right, x, rng.random(750) < expit(logit), post

    def probability(left: np.ndarray, right: np.ndarray, x: np.ndarray) -> np.ndarray:
        logit = THETA[left] - THETA[right] + GAMMA * x
        return sum(w * expit(logit + node) for node, w in zip(NODES, WEIGHTS, strict=True))

    count(draw, truth(probability), "3 labels a post, clusters by post")


def test_eight_labelers() -> None:
    # Labelers differ in what they think of policy c (sd .5) and of length (sd .5).
    def draw(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        labeler = np.repeat(np.arange(8), 100)
        left, right, x = pairs(rng, 800)
        taste, for_c = rng.normal(0, 0.5, 8)[labeler], rng.normal(0, 0.5, 8)[labeler]
        logit = THETA[left] - THETA[right] + (GAMMA + taste) * x
        logit += for_c * ((left == 3).astype(float) - (right == 3))
        return left, right, x, rng.random(800) < expit(logit), labeler

    def probability(left: np.ndarray, right: np.ndarray, x: np.ndarray) -> np.ndarray:
        logit = THETA[left] - THETA[right] + GAMMA * x
        # The two tastes add to a normal with this sd.
        spread = 0.5 * np.sqrt(x**2 + ((left == 3) | (right == 3)))
        return sum(w * expit(logit + spread * node) for node, w in zip(NODES, WEIGHTS, strict=True))

    count(draw, truth(probability), "8 labelers, clusters by labeler")


def test_joint_form_by_prompt() -> None:
    rng, M, n = np.random.default_rng(SEED), 6, 300
    held = np.zeros(M)
    theta = np.array([-2.0, -1.2, -0.6, 0.0, 0.5, 1.0])
    psi = np.array([1.8, 1.0, 1.4, 1.2, 0.9, 1.1])
    wordy = np.array([0.5, 0.7, 0.9, 1.0, 1.1, 0.6])
    # At equal length the logit is theta + psi gamma, gamma standard normal.
    expected = np.array([WEIGHTS @ expit(t + s * NODES) for t, s in zip(theta, psi, strict=True)])
    data_sets = 1000
    for _ in range(data_sets):
        baseline = 1800 * np.exp(rng.normal(0, 0.5, n))
        chars = wordy * np.sqrt(1800 * baseline)[:, None] * np.exp(rng.normal(0, 0.4, (n, M)))
        difference = chars - baseline[:, None]
        tanh = np.tanh(difference / difference.std(0, ddof=1))
        phi = rng.normal(1.5, 0.2, M)
        p = expit(theta + phi * tanh + psi * rng.normal(0, 1, (n, 1)))
        fit = fit_joint_length_control(
            np.tile(list("abcdef"), n), np.repeat(np.arange(n), M), chars.ravel(),
            np.repeat(baseline, M), (rng.random((n, M)) < p).astype(float).ravel(),
        )  # fmt: skip
        for k, rate in enumerate(fit.rates.values()):
            held[k] += rate.low <= expected[k] <= rate.high
    share = held / data_sets
    print(  # noqa: T201
        f"\njoint form: seed {SEED}, {data_sets} data sets, coverage {share}, mean {share.mean()}"
    )
    assert ((share > 0.93) & (share < 0.97)).all()
