"""Shares at equal length: statsmodels' binomial regression, the jackknife by hand, edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from evalsuite.errors import StatisticsError
from evalsuite.stats.equal_length import NO_SPREAD, ONE_WAY, equal_length


def simulated(rng, S=2, P=12, Q=3, gamma=0.8):
    """Shares with noise on the logit, lengths that differ between policies."""
    x = rng.normal([[-0.2, 0.1, 0.4][:Q]], 0.3, size=(S, P, Q))
    theta = np.array([-1.0, 0.0, 0.7][:Q])
    return expit(theta + gamma * x + rng.normal(0, 0.5, size=(S, P, Q))), x


def glm(y, x):
    """Shares at ratio 1 and slope of one seed by statsmodels: policy dummies and the log ratio."""
    P, Q = y.shape
    design = np.column_stack([np.tile(np.eye(Q), (P, 1)), x.ravel()])
    fit = sm.GLM(y.ravel(), design, family=sm.families.Binomial()).fit(tol=1e-12)
    return np.append(expit(fit.params[:Q]), fit.params[Q])


def test_values_are_those_of_statsmodels(rng):
    y, x = simulated(rng)
    result = equal_length(y, x)
    wanted = np.mean([glm(y[s], x[s]) for s in range(2)], axis=0)
    got = [e.value for e in (*result.shares, result.slope)]
    assert got == pytest.approx(wanted.tolist(), abs=1e-8)
    assert result.shares[0].n_clusters == 12
    assert result.shares[0].n == 24
    assert "2 seeds x 12 posts" in result.slope.method


def test_error_of_one_seed_is_the_jackknife(rng):
    y, x = simulated(rng, S=1)
    result = equal_length(y, x)
    without = np.array([glm(np.delete(y[0], p, 0), np.delete(x[0], p, 0)) for p in range(12)])
    # Of pseudo-values 12 t - 11 t_(p): their variance over 12 is 11/12 sum (t_(p) - mean)^2.
    wanted = np.sqrt(11 / 12 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    got = [e.se for e in (*result.shares, result.slope)]
    assert got == pytest.approx(wanted.tolist(), rel=1e-6)


def test_without_an_effect_of_length_it_is_the_mean():
    # Shares of a policy do not go with its lengths: .2 and .6 at ratios e^-1, e^1, each twice.
    y = np.array([0.2, 0.6, 0.2, 0.6, 0.2, 0.6, 0.2, 0.6]).reshape(1, 8, 1)
    x = np.array([-1.0, -1, 1, 1, -1.0, -1, 1, 1]).reshape(1, 8, 1)
    result = equal_length(y, x)
    assert result.shares[0].value == pytest.approx(0.4)
    assert result.slope.value == pytest.approx(0.0, abs=1e-9)


def test_a_longer_policy_loses_what_length_gave(rng):
    x = rng.normal([0.0, 0.5], 0.3, size=(1, 40, 2))
    result = equal_length(expit(1.0 * x), x)  # nothing but length
    assert [e.value for e in result.shares] == pytest.approx([0.5, 0.5], abs=1e-9)
    assert result.slope.value == pytest.approx(1.0)


def test_a_policy_of_one_seed_alone(rng):
    y, x = simulated(rng)
    y[1, :, 2] = np.nan
    result = equal_length(y, x)
    assert result.shares[2].value == pytest.approx(glm(y[0], x[0])[2], abs=1e-8)
    assert "one seed" in result.shares[2].method
    assert "2 seeds" in result.shares[0].method


def test_one_way_shares_are_undefined_and_leave_the_fit(rng):
    y, x = simulated(rng, S=1)
    y[0, :, 0] = 1.0
    result = equal_length(y, x)
    assert math.isnan(result.shares[0].value)
    assert ONE_WAY in result.shares[0].method
    assert result.shares[1].value == pytest.approx(glm(y[0][:, 1:], x[0][:, 1:])[0], abs=1e-8)


def test_equal_lengths_leave_all_undefined(rng):
    y, x = simulated(rng, S=1)
    result = equal_length(y, np.zeros_like(x))
    assert all(math.isnan(e.value) and NO_SPREAD in e.method for e in result.shares)
    assert NO_SPREAD in result.slope.method


def test_a_lone_answer_the_other_way_stays_inside_bounds():
    y = np.zeros((1, 8, 1))
    y[0, 3] = 1.0
    x = np.linspace(-1, 1, 8).reshape(1, 8, 1)
    share = equal_length(y, x).shares[0]
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_refusals(rng):
    y, x = simulated(rng)
    with pytest.raises(StatisticsError, match=r"share has shape \(2, 12, 3\), log_ratio \(2, 12,"):
        equal_length(y, x[:, :, :2])
    with pytest.raises(StatisticsError, match="a share is outside"):
        equal_length(y + 1, x)
    y[0, 0, 0] = math.nan
    with pytest.raises(StatisticsError, match="a policy lacks some posts of a seed; allowed all"):
        equal_length(y, x)


@given(st.integers(0, 2**32 - 1))
def test_other_sides_give_the_complement(seed):
    y, x = simulated(np.random.default_rng(seed), S=1, P=6, Q=2)
    one, other = equal_length(y, x), equal_length(1 - y, -x)
    for a, b in zip(one.shares, other.shares, strict=True):
        assert a.value == pytest.approx(1 - b.value, abs=1e-7)
        assert a.se == pytest.approx(b.se, abs=1e-6)
