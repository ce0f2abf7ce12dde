"""Best-of-n against exact integers, all subsets, and the paper's table of KL."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats.best_of_n import best_of_n, best_of_n_by_prompt, best_of_n_weights, kl_bound

# Table 10 of Stiennon et al. 2020, one printed decimal; and N = 2048 of Figure 7 (log 2048 = 11
# log 2 = 7.624619, less 2047/2048).
TABLE_10 = {8: 1.2, 63: 3.2, 64: 3.2, 128: 3.9, 256: 4.5, 512: 5.2}


def test_the_kl_column_of_table_10_to_its_last_digit():
    for n, kl in TABLE_10.items():
        assert round(float(kl_bound(n)), 1) == kl, n
    assert float(kl_bound(2048)) == pytest.approx(6.625107, abs=1e-6)
    assert float(kl_bound(1)) == 0
    assert kl_bound([1, 2]).tolist() == pytest.approx([0, math.log(2) - 0.5])
    with pytest.raises(StatisticsError, match="n is below 1; allowed 1 or more"):
        kl_bound([2, 0])


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_bound_is_the_kl_when_samples_are_all_different(n):
    """Density of the best rank u of n uniforms is n u^(n-1); KL = integral of f log f."""
    u = (np.arange(400_000) + 0.5) / 400_000
    density = n * u ** (n - 1)
    assert float(kl_bound(n)) == pytest.approx(np.mean(density * np.log(density)), abs=1e-4)


@pytest.mark.parametrize(("N", "n"), [(1, 1), (5, 1), (5, 3), (5, 5), (64, 7), (4096, 512)])
def test_weights_are_the_exact_ratios_of_binomials(N, n):
    total = math.comb(N, n)
    exact = [float(Fraction(math.comb(i - 1, n - 1), total)) for i in range(1, N + 1)]
    assert best_of_n_weights(N, n) == pytest.approx(np.array(exact), rel=1e-9, abs=1e-300)


def test_weights_at_sixty_thousand_sum_to_one_and_end_right():
    weights = best_of_n_weights(60_000, 1000)
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] == pytest.approx(1000 / 60_000)


@pytest.mark.parametrize("n", [0, 6])
def test_n_outside_the_samples_is_refused(n):
    with pytest.raises(StatisticsError, match=rf"n is {n}; allowed 1 to N = 5"):
        best_of_n_weights(5, n)


def brute_force(proxy, gold, n):
    """Mean over all subsets of n, ties for the best shared."""
    values = []
    for subset in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in subset)
        best = [gold[i] for i in subset if proxy[i] == top]
        values.append(np.mean(best))
    return np.mean(values)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=7),
    st.data(),
)
def test_the_estimator_is_the_mean_over_all_subsets_ties_shared(samples, data):
    n = data.draw(st.integers(1, len(samples)))
    proxy, gold = [float(p) for p, _ in samples], [g for _, g in samples]
    found = best_of_n_by_prompt([proxy], [gold], [n])
    assert found[0, 0] == pytest.approx(brute_force(proxy, gold, n), abs=1e-9)


def test_one_is_the_mean_all_is_the_best_and_ties_do_not_cross_prompts():
    proxy = np.array([[1, 3, 2.0], [3, 1, 1]])
    gold = np.array([[10, 20, 60.0], [1, 2, 6]])
    found = best_of_n_by_prompt(proxy, gold, [1, 3])
    assert found == pytest.approx(np.array([[30, 20], [3, 1]]))
    assert best_of_n_by_prompt([[5, 5, 5]], [[1, 2, 6]], [1, 2, 3]) == pytest.approx(
        np.array([[3, 3, 3]])
    )


def test_intervals_are_over_prompts(rng):
    gold = rng.normal(size=(40, 16)) + rng.normal(size=(40, 1))
    found = best_of_n(gold, gold, [1, 4, 16])
    best = gold.max(axis=1)
    assert list(found) == [1, 4, 16]
    assert found[16].value == pytest.approx(best.mean())
    assert found[16].se == pytest.approx(best.std(ddof=1) / math.sqrt(40))
    assert found[16].method == "n-from-N, robust by prompt, t(39)"
    boot = best_of_n(gold, gold, [4], rng=rng, resamples=8000)[4]
    assert boot.se == pytest.approx(found[4].se, rel=0.05)
    assert (boot.low, boot.high) == pytest.approx((found[4].low, found[4].high), abs=0.05)
    grouped = best_of_n(gold, gold, [4], clusters=np.arange(40) // 4)[4]
    assert grouped.n_clusters == 10
    assert grouped.n == 40


def test_no_prompts_and_wrong_inputs():
    none = best_of_n(np.empty((0, 4)), np.empty((0, 4)), [2])[2]
    assert none.method == "undefined: no prompts"
    with pytest.raises(StatisticsError, match=r"proxy has shape \(1, 2\), gold \(1, 3\); allowed"):
        best_of_n([[1, 2]], [[1, 2, 3]], [1])
    with pytest.raises(StatisticsError, match="a proxy or gold score is NaN; allowed numbers"):
        best_of_n([[1, math.nan]], [[1, 2]], [1])
    with pytest.raises(StatisticsError, match="n is 3; allowed 1 to N = 2"):
        best_of_n([[1, 2]], [[1, 2]], [3])
