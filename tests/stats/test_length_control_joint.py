"""AlpacaEval's length control, fitted jointly: derivatives, influence, peers, published rates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from evalsuite.errors import StatisticsError
from evalsuite.stats import joint_likelihood, length_control_joint
from evalsuite.stats.joint_likelihood import Prompts, mean_rates, sweep
from evalsuite.stats.length_control_joint import (
    ONE_WAY,
    SEPARATED,
    UNPARSED,
    JointLengthControl,
    State,
    fit_joint_length_control,
)


def world(rng: np.random.Generator, n: int = 150, M: int = 5) -> pd.DataFrame:
    """Judgements of M policies on n prompts, soft, some missing; shorter policies are worse."""
    baseline = 1800 * np.exp(rng.normal(0, 0.5, n))
    wordy = np.linspace(0.5, 1.1, M)
    chars = wordy * np.sqrt(1800 * baseline)[:, None] * np.exp(rng.normal(0, 0.4, (n, M)))
    difference = chars - baseline[:, None]
    tanh = np.tanh(difference / difference.std(0, ddof=1))
    logit = np.linspace(-1.5, 0.5, M) + rng.normal(1.5, 0.2, M) * tanh
    p = np.clip(expit(logit + 1.2 * rng.normal(0, 1, (n, 1))), 1e-6, 1 - 1e-6)
    rows = pd.DataFrame(
        {
            "policy": np.tile([f"p{m}" for m in range(M)], n),
            "prompt": np.repeat(np.arange(n), M),
            "length": chars.ravel(),
            "baseline": np.repeat(baseline, M),
            "preference": rng.beta(p, 1 - p).ravel(),
        }
    )
    return rows[rng.random(len(rows)) < 0.95]


def fit(rows: pd.DataFrame, **extra: object) -> JointLengthControl:
    return fit_joint_length_control(
        rows["policy"], rows["prompt"], rows["length"], rows["baseline"], rows["preference"],
        **extra,
    )  # fmt: skip


def alpaca(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "alpaca_eval" / "annotations.csv.gz")
    return rows.rename(
        columns={"prompt_id": "prompt", "policy_chars": "length", "baseline_chars": "baseline"}
    )


def values(found: JointLengthControl) -> pd.Series:
    return pd.Series({p: 100 * e.value for p, e in found.rates.items()})


# --- the likelihood ---------------------------------------------------------------------------


def small(rng: np.random.Generator) -> tuple[Prompts, np.ndarray]:
    n, M = 7, 3
    data = Prompts(
        rng.random((n, M)), rng.integers(0, 3, (n, M)).astype(float), rng.normal(0, 300, (n, M)),
        rng.uniform(100, 900, n), rng.integers(1, 3, n).astype(float), None,
    )  # fmt: skip
    return data, rng.normal(0, 0.8, (4, M))


def test_marginal_likelihood_is_the_integral_over_difficulty(rng: np.random.Generator) -> None:
    data, x = small(rng)
    scales, total = data.scales(), 0.0
    for i in range(7):
        b = math.tanh((data.baseline[i] - scales.middle) / scales.wide)

        def inside(gamma: float, i: int = i, b: float = b) -> float:
            tanh = np.tanh(data.difference[i] / scales.spread)
            eta = x[0] + x[1] * tanh + x[2] * b + x[3] * gamma
            y = data.preference[i]
            each = y * np.log(expit(eta)) + (1 - y) * np.log(expit(-eta))
            return float(np.exp(data.labels[i] @ each) * norm.pdf(gamma))

        total += data.weight[i] * math.log(quad(inside, -8, 8, epsabs=1e-13)[0])
    assert sweep(data, x, scales).likelihood == pytest.approx(total, abs=1e-4)


def test_derivatives_are_those_of_the_likelihood(rng: np.random.Generator) -> None:
    data, x = small(rng)
    scales, h = data.scales(), 1e-5
    found = sweep(data, x, scales)
    for k in range(x.size):
        step = np.zeros(x.size)
        step[k] = h
        up = sweep(data, x + step.reshape(x.shape), scales)
        down = sweep(data, x - step.reshape(x.shape), scales)
        slope = (up.likelihood - down.likelihood) / (2 * h)
        assert found.gradient[k] == pytest.approx(slope, abs=1e-6)
        bend = -(up.gradient - down.gradient) / (2 * h)
        assert found.information[k] == pytest.approx(bend, abs=1e-6)


def test_blocks_of_prompts_do_not_matter(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, x = small(rng)
    scales = data.scales()
    whole, rates = sweep(data, x, scales), mean_rates(data, x, scales)
    monkeypatch.setattr(joint_likelihood, "CHUNK", 200)
    cut = sweep(data, x, scales)
    assert cut.likelihood == pytest.approx(whole.likelihood, abs=1e-10)
    assert cut.information == pytest.approx(whole.information, abs=1e-10)
    assert mean_rates(data, x, scales) == pytest.approx(rates, abs=1e-12)


@pytest.mark.parametrize("prior", ["student", "none"])
def test_penalty_derivatives(rng: np.random.Generator, prior: str) -> None:
    state, h = State(rng.normal(0, 1, (4, 3)), 0.4), 1e-5

    def moved(k: int, by: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        flat = np.append(state.x.ravel(), state.location)
        flat[k] += by
        return length_control_joint._penalty(State(flat[:-1].reshape(4, 3), flat[-1]), prior)

    _, gradient, hessian, bound = length_control_joint._penalty(state, prior)
    for k in range(13):
        assert gradient[k] == pytest.approx((moved(k, h)[0] - moved(k, -h)[0]) / (2 * h), abs=1e-6)
        bend = (moved(k, h)[1] - moved(k, -h)[1]) / (2 * h)
        assert hessian[k] == pytest.approx(bend, abs=1e-6)
    assert np.linalg.eigvalsh(bound)[0] > 0


# --- the fit ----------------------------------------------------------------------------------


def test_influence_is_the_derivative_of_a_refit(rng: np.random.Generator) -> None:
    found = fit(world(rng))
    n, h = len(found.prompts), 1e-3
    slopes = []
    for i in range(0, n, 10):
        weight = np.ones(n)
        weight[i] += h
        up = found.refit(weight)
        weight[i] -= 2 * h
        slopes.append((up - found.refit(weight)) / (2 * h))
    # The influence is centred over prompts, the derivative is not: they differ by a constant.
    apart = np.array(slopes) - found._influence[::10]
    assert np.abs(apart - apart[0]).max() < 1e-6
    assert np.abs(found._influence).max() > 1e-3


def test_bootstrap_that_refits_everything_agrees(rng: np.random.Generator) -> None:
    found = fit(world(rng))
    n = len(found.prompts)
    draws = [found.refit(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(300)]
    ratio = np.array([e.se for e in found.rates.values()]) / np.std(draws, axis=0, ddof=1)
    assert np.all((ratio > 0.85) & (ratio < 1.15)), ratio
    gap = np.std([d[0] - d[4] for d in draws], ddof=1)
    assert found.difference("p0", "p4").se == pytest.approx(gap, rel=0.15)


def test_truth_is_found_on_many_prompts(rng: np.random.Generator) -> None:
    found = fit(world(rng, n=6000))
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    for theta, rate in zip(np.linspace(-1.5, 0.5, 5), found.rates.values(), strict=True):
        # Rate at equal length: the mean of sigmoid(theta + 1.2 gamma) over normal gamma.
        truth = weights @ expit(theta + 1.2 * nodes) / weights.sum()
        assert abs(rate.value - truth) < 4 * rate.se
        assert rate.se < 0.011
    assert abs(found.location.value - 1.5) < 0.3


def test_given_difficulties_without_prior_are_plain_regressions(rng: np.random.Generator) -> None:
    rows = world(rng, n=400)
    difficulty = rows["prompt"].map(pd.Series(rng.normal(0, 1, 400)))
    found = fit(rows, difficulty=difficulty, prior="none")
    assert "no prior" in found.location.method
    everywhere = difficulty.groupby(rows["prompt"]).first()
    for policy, mine in rows.groupby("policy"):
        longer = mine["length"] - mine["baseline"]
        X = np.column_stack(
            [np.ones(len(mine)), np.tanh(longer / longer.std()), difficulty[mine.index]]
        )
        plain = sm.GLM(mine["preference"].to_numpy(), X, family=sm.families.Binomial()).fit()
        rate = expit(plain.params[0] + plain.params[2] * everywhere).mean()
        # The normal(0, 10) priors that keep separated fits finite move these by 1e-4.
        assert found.rates[policy].value == pytest.approx(rate, abs=5e-4)
        assert found.slopes[policy].value == pytest.approx(plain.params[1], abs=5e-3)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_rows_and_the_two_sides(seed: int) -> None:
    rows = world(np.random.default_rng(seed), n=60)
    found = fit(rows)
    shuffled = fit(rows.sample(frac=1, random_state=1))
    # Mirrored differences with mirrored preferences: what was better is now worse.
    mirrored = fit(
        rows.assign(length=2 * rows["baseline"] - rows["length"], preference=1 - rows["preference"])
    )
    for policy, rate in found.rates.items():
        assert shuffled.rates[policy][:4] == pytest.approx(rate[:4], abs=1e-7)
        assert mirrored.rates[policy].value == pytest.approx(1 - rate.value, abs=1e-6)
        assert mirrored.rates[policy].low == pytest.approx(1 - rate.high, abs=1e-6)
        assert 0 < rate.low < rate.value < rate.high < 1
    assert found.refit(np.ones(len(found.prompts))) == pytest.approx(
        [e.value for e in found.rates.values()], abs=1e-6
    )


def test_unit_of_length_does_not_matter(rng: np.random.Generator) -> None:
    rows = world(rng)
    tokens = rows.assign(length=rows["length"] / 4, baseline=rows["baseline"] / 4)
    assert values(fit(tokens)).to_numpy() == pytest.approx(values(fit(rows)).to_numpy(), abs=1e-6)


# --- what has no estimate ---------------------------------------------------------------------


def test_policies_that_cannot_be_controlled_are_named(rng: np.random.Generator) -> None:
    rows = world(rng)
    before = values(fit(rows))
    prompts = rows.drop_duplicates("prompt")
    never = prompts.assign(policy="never", preference=0.0)
    constant = prompts.assign(policy="constant", length=prompts["baseline"] + 100)
    found = fit(pd.concat([rows, never, constant]))
    assert found.left_out == {ONE_WAY: len(prompts)}
    assert math.isnan(found.rates["never"].value)
    assert (found.rates["never"].n, ONE_WAY in found.rates["never"].method) == (len(prompts), True)
    assert found.constant_length == ("constant",)
    assert math.isfinite(found.rates["constant"].value)
    assert ONE_WAY in found.difference("never", "p0").method
    assert math.isnan(found.refit(np.ones(len(found.prompts)))[found.policies.index("never")])
    # A policy that says nothing of length or prompts changes nobody's rate.
    without = values(fit(pd.concat([rows, constant]))).drop("constant")
    assert values(found)[before.index].to_numpy() == pytest.approx(without.to_numpy())


def test_length_that_tells_every_preference_is_separation(rng: np.random.Generator) -> None:
    rows = world(rng)
    prompts = rows.drop_duplicates("prompt")
    # It says next to nothing and wins just where the baseline is shorter than usual.
    short = prompts["baseline"] < prompts["baseline"].median()
    told = prompts.assign(policy="told", preference=short * 1.0, length=5.0)
    found = fit(pd.concat([rows, told]))
    assert SEPARATED in found.rates["told"].method
    assert SEPARATED in found.difference("p0", "told").method
    assert np.abs(values(found)[:5] - values(fit(rows))).max() < 0.5


def test_unparsed_rows_are_counted_and_empty_outputs_stay(rng: np.random.Generator) -> None:
    rows = world(rng)
    rows.iloc[:7, rows.columns.get_loc("length")] = 0.0
    rows.iloc[3:5, rows.columns.get_loc("preference")] = math.nan
    found = fit(rows)
    assert found.left_out == {UNPARSED: 2}
    assert sum(e.n for e in found.rates.values()) == len(rows) - 2


def test_one_policy_alone(rng: np.random.Generator) -> None:
    found = fit(world(rng, M=1, n=300))
    assert found.policies == ("p0",)
    assert 0 < found.rates["p0"].value < 1
    assert math.isfinite(found.rates["p0"].se)


def test_repeated_labels_weigh_as_many(rng: np.random.Generator) -> None:
    rows = world(rng, n=60)
    twice = fit(pd.concat([rows, rows]))
    assert twice.rates["p0"].n == 2 * fit(rows).rates["p0"].n
    assert twice.rates["p0"].n_clusters == fit(rows).rates["p0"].n_clusters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior": "laplace"}, "prior is 'laplace'; allowed 'student', 'none'"),
        ({"prompt": [1, 2]}, "prompt has 2 rows for 4 policies"),
        ({"difficulty": [0.1]}, "difficulty has 1 rows for 4 policies"),
        ({"preference": [0.1, 0.2, 1.2, 0.3]}, r"preference is outside \[0, 1\]"),
        ({"policy_length": [1.0, math.nan, 2.0, 3.0]}, "length is missing or infinite"),
        ({"baseline_length": [1.0, math.inf, 2.0, 3.0]}, "baseline is missing or infinite"),
        ({"difficulty": [0.0, math.nan, 0.0, 1.0]}, "difficulty is missing or infinite"),
        ({"prompt": [1, 1, 1, 1]}, "fewer than 2 prompts"),
        ({"preference": [0.0, 0.0, 1.0, 1.0]}, "fewer than 2 prompts"),
    ],
)
def test_refuses(changes: dict[str, object], message: str) -> None:
    given_ = {
        "policy": ["a", "a", "b", "b"], "prompt": [1, 2, 1, 2],
        "policy_length": [10.0, 20.0, 30.0, 40.0], "baseline_length": [20.0, 30.0, 20.0, 30.0],
        "preference": [0.1, 0.8, 0.4, 0.6],
    } | changes  # fmt: skip
    with pytest.raises(StatisticsError, match=message):
        fit_joint_length_control(**given_)


def test_says_when_it_does_not_converge(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(length_control_joint, "MAX_STEPS", 2)
    with pytest.raises(StatisticsError, match="did not converge in 2 steps"):
        fit(world(rng))


def test_difference_of_an_unknown_policy(rng: np.random.Generator) -> None:
    with pytest.raises(StatisticsError, match="policy 'z' is not in the data; allowed p0, p1"):
        fit(world(rng, n=30)).difference("p0", "z")


# --- published ----------------------------------------------------------------------------------


def test_published_rates(shared_data: Path) -> None:
    published = pd.read_csv(shared_data / "alpaca_eval" / "published.csv").set_index("policy")
    found = fit(alpaca(shared_data))
    lc = published["length_controlled_win_rate"]
    apart = values(found) - lc
    assert len(apart) == 28
    assert math.sqrt((apart**2).mean()) <= 1.3
    assert np.corrcoef(values(found)[lc.index], lc)[0, 1] >= 0.998
    # Longer answers are preferred, by every policy's own slope too (published signs are flipped).
    assert found.location.low > 1
    assert min(e.value for e in found.slopes.values()) > 0.5
    assert found.left_out == {}


def test_short_policies_move_nobody(shared_data: Path, rng: np.random.Generator) -> None:
    rows = alpaca(shared_data)
    before = values(fit(rows))
    prompts = rows.drop_duplicates("prompt")
    n = len(prompts)
    for preference in (rng.uniform(0, 0.02, n), rng.uniform(0.98, 1, n), rng.random(n)):
        short = prompts.assign(
            policy="short", length=rng.integers(1, 21, n).astype(float), preference=preference
        )
        after = values(fit(pd.concat([rows, short])))
        assert np.abs(after[before.index] - before).max() < 0.5


@pytest.mark.slow
def test_leaving_any_policy_out_moves_nobody(shared_data: Path) -> None:
    rows = alpaca(shared_data)
    before = values(fit(rows))
    for policy in before.index:
        after = values(fit(rows[rows["policy"] != policy]))
        assert np.abs(after - before[after.index]).max() < 0.5, policy


@pytest.mark.slow
def test_influence_errors_against_a_thousand_refits(shared_data: Path) -> None:
    found, rng = fit(alpaca(shared_data)), np.random.default_rng(1)
    n = len(found.prompts)
    draws = [found.refit(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(1000)]
    ratio = np.array([e.se for e in found.rates.values()]) / np.std(draws, axis=0, ddof=1)
    low, middle, high = ratio.min(), np.median(ratio), ratio.max()
    print(f"\nseed 1, 1000 refits: ratios {low:.3f} to {high:.3f}, median {middle:.3f}")  # noqa: T201
    assert 0.85 < low < high < 1.15
    assert 0.95 < middle < 1.05
