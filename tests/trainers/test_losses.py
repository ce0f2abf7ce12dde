"""Losses against hand-worked numbers and against the textbook's loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers import losses

F64 = torch.float64


def t(*rows, dtype=F64):
    return torch.tensor(rows, dtype=dtype)


def mask_of(lengths, width):
    return torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]


# --- pairs -------------------------------------------------------------------------------------


def test_pair_loss_by_hand():
    # d = 0: log 2 = .693147. d = log 3: sigmoid = 3/4, -log(3/4) = .287682. d = -log 3: log 4.
    d = math.log(3)
    found = losses.pairwise_loss(t(0, d, -d), torch.zeros(3, dtype=F64))
    assert found.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(4)], abs=1e-12)


def test_pair_loss_of_soft_labels_and_ties_by_hand():
    # sigmoid(d) = 3/4, target .6: -(.6 log .75 + .4 log .25) = .172609 + .554518 = .727127.
    d = torch.tensor([math.log(3)], dtype=F64)
    zero = torch.zeros(1, dtype=F64)
    assert losses.pairwise_loss(d, zero, 0.6).item() == pytest.approx(0.727127, abs=1e-6)
    tie = losses.pairwise_loss(d, zero, torch.tensor([0.5], dtype=F64)).item()
    # A tie is the mean of the two labels: (log 4/3 + log 4) / 2 = log(16/3) / 2.
    assert tie == pytest.approx(math.log(16 / 3) / 2, abs=1e-12)


def test_pair_loss_is_finite_where_the_sigmoid_underflows():
    found = losses.pairwise_loss(torch.tensor([-1e4, 1e4]), torch.zeros(2))
    assert found.tolist() == [1e4, 0.0]


@given(st.floats(-30, 30), st.floats(0, 1))
def test_swapping_the_sides_swaps_the_target(d, target):
    a, b = torch.tensor([d], dtype=F64), torch.zeros(1, dtype=F64)
    one, other = losses.pairwise_loss(a, b, target), losses.pairwise_loss(b, a, 1 - target)
    assert one.item() == pytest.approx(other.item(), rel=1e-9, abs=1e-12)


# --- KL ----------------------------------------------------------------------------------------


def test_kl_estimators_by_hand():
    # p = 1/2, q = 1/4: k1 = log 2; k3 = q/p - 1 - log(q/p) = 1/2 - 1 + log 2 = .193147.
    p, q = torch.tensor([0.5], dtype=F64).log(), torch.tensor([0.25], dtype=F64).log()
    assert losses.kl_k1(p, q).item() == pytest.approx(math.log(2), abs=1e-12)
    assert losses.kl_k3(p, q).item() == pytest.approx(math.log(2) - 0.5, abs=1e-12)


def test_both_estimators_have_the_kl_as_their_mean():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=F64)
    exact = sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    for estimator in (losses.kl_k1, losses.kl_k3):
        assert (p * estimator(p.log(), q.log())).sum().item() == pytest.approx(exact, abs=1e-12)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_never_negative(p, q):
    assert losses.kl_k3(torch.tensor(p, dtype=F64), torch.tensor(q, dtype=F64)).item() >= 0


# --- rewards -----------------------------------------------------------------------------------


def test_missing_eos_rules_by_hand():
    rewards, has_eos = t(2.0, 3.0), torch.tensor([True, False])
    assert losses.missing_eos(rewards, has_eos).tolist() == [2, -1]
    assert losses.missing_eos(rewards, has_eos, "replace", 4.0).tolist() == [2, -4]
    assert losses.missing_eos(rewards, has_eos, "subtract", 4.0).tolist() == [2, -1]
    assert losses.missing_eos(rewards, has_eos, "none").tolist() == [2, 3]


def test_the_reward_lands_on_the_last_token_and_kl_on_each():
    # beta .5; row 0 has 3 tokens with kl 1, 2, 4, reward 10; row 1 one token with kl -2, reward 7.
    # Row 0: -.5, -1, -2 + 10; row 1: 1 + 7. What lies past a row's end is noise.
    mask = mask_of([3, 1], 3)
    kl = t([1, 2, 4], [-2, 99, math.nan])
    found = losses.token_rewards(t(10, 7), kl, mask, 0.5)
    assert found.tolist() == [[-0.5, -1, 8], [8, 0, 0]]
    assert found.sum(1).tolist() == [10 - 0.5 * 7, 7 + 0.5 * 2]


def test_a_completion_without_tokens_is_refused():
    with pytest.raises(ValueError, match="a completion has no token; allowed one or more"):
        losses.token_rewards(torch.zeros(2), torch.zeros(2, 3), mask_of([3, 0], 3), 0.1)


# --- advantages --------------------------------------------------------------------------------


def test_gae_by_hand():
    # gamma 1, lambda .5. Row 0: r = 0, 0, 4; V = 1, 2, 3.
    #   delta_2 = 4 - 3 = 1;         A_2 = 1
    #   delta_1 = 0 + 3 - 2 = 1;     A_1 = 1 + .5 = 1.5
    #   delta_0 = 0 + 2 - 1 = 1;     A_0 = 1 + .75 = 1.75;  R = 2.75, 3.5, 4
    # Row 1 ends after two tokens: r = 1, 2; V = 1, -1 (the third column is noise).
    #   delta_1 = 2 + 1 = 3; A_1 = 3; delta_0 = 1 - 1 - 1 = -1; A_0 = -1 + 1.5 = .5; R = 1.5, 2
    mask = mask_of([3, 2], 3)
    rewards, values = t([0, 0, 4], [1, 2, 50]), t([1, 2, 3], [1, -1, math.nan])
    advantages, returns = losses.gae(rewards, values, mask, gamma=1.0, lam=0.5)
    assert advantages.tolist() == [[1.75, 1.5, 1], [0.5, 3, 0]]
    assert returns.tolist() == [[2.75, 3.5, 4], [1.5, 2, 0]]


def test_gae_discounts_by_hand():
    # gamma .5, lambda 1: r = 0, 8; V = 2, 4. delta_1 = 4, delta_0 = .5*4 - 2 = 0, A_0 = 0 + .5*4.
    advantages, returns = losses.gae(t([0, 8]), t([2, 4]), mask_of([2], 2), gamma=0.5, lam=1.0)
    assert advantages.tolist() == [[2, 4]]
    assert returns.tolist() == [[4, 8]]


def textbook_gae(rewards, values, length, gamma, lam):
    """A_t = sum over l of (gamma lam)^l delta_{t+l}, as in equation 16."""
    values = [*values[:length], 0.0]
    deltas = [rewards[i] + gamma * values[i + 1] - values[i] for i in range(length)]
    return [
        sum((gamma * lam) ** (j - i) * deltas[j] for j in range(i, length)) for i in range(length)
    ]


rows = st.lists(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


@given(rows, st.floats(0, 1), st.floats(0, 1))
def test_gae_is_the_textbook_sum_of_each_row(rows, gamma, lam):
    width = max(map(len, rows))
    mask = mask_of([len(r) for r in rows], width)
    padded = [[*r, *[(9.0, 9.0)] * (width - len(r))] for r in rows]
    rewards = torch.tensor([[a for a, _ in r] for r in padded], dtype=F64)
    values = torch.tensor([[b for _, b in r] for r in padded], dtype=F64)
    advantages, returns = losses.gae(rewards, values, mask, gamma=gamma, lam=lam)
    for i, row in enumerate(rows):
        expected = textbook_gae([a for a, _ in row], [b for _, b in row], len(row), gamma, lam)
        assert advantages[i, : len(row)].tolist() == pytest.approx(expected, abs=1e-9)
        assert returns[i, : len(row)].tolist() == pytest.approx(
            [e + b for e, (_, b) in zip(expected, row, strict=True)], abs=1e-9
        )
        assert advantages[i, len(row) :].tolist() == [0] * (width - len(row))


@given(rows)
def test_lambda_one_gives_the_rest_of_the_rewards_and_lambda_zero_the_td_error(rows):
    for row in rows:
        rewards = torch.tensor([[a for a, _ in row]], dtype=F64)
        values = torch.tensor([[b for _, b in row]], dtype=F64)
        mask = mask_of([len(row)], len(row))
        _, returns = losses.gae(rewards, values, mask, lam=1.0)
        to_go = rewards.flip(1).cumsum(1).flip(1)
        assert torch.allclose(returns, to_go, atol=1e-9)
        advantages, _ = losses.gae(rewards, values, mask, lam=0.0)
        after = torch.cat([values[:, 1:], torch.zeros(1, 1, dtype=F64)], 1)
        assert torch.allclose(advantages, rewards + after - values, atol=1e-9)


def test_whitening_by_hand():
    # 1, 3, 5, 7 count: mean 4, population variance (9 + 1 + 1 + 9) / 4 = 5; 100 does not count.
    values, mask = t([1, 3, 100], [5, 7, 100]), mask_of([2, 2], 3)
    root = math.sqrt(5)
    shifted = losses.whiten(values, mask)
    assert shifted.flatten().tolist() == pytest.approx(
        [-3 / root, -1 / root, 0, 1 / root, 3 / root, 0], abs=1e-7
    )
    kept = losses.whiten(values, mask, shift_mean=False)
    assert kept.flatten().tolist() == pytest.approx(
        [4 - 3 / root, 4 - 1 / root, 0, 4 + 1 / root, 4 + 3 / root, 0], abs=1e-7
    )


def test_whitening_constants_gives_zeros_or_the_constant():
    values, mask = torch.full((2, 2), 3.0), mask_of([2, 1], 2)
    assert losses.whiten(values, mask).tolist() == [[0, 0], [0, 0]]
    assert losses.whiten(values, mask, shift_mean=False).tolist() == [[3, 3], [3, 0]]


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(-5, 5), st.floats(0.1, 5))
def test_whitening_forgets_shift_and_scale(numbers, shift, scale):
    values = torch.tensor([numbers], dtype=F64)
    if float(values.var()) < 0.1:
        return
    mask = torch.ones_like(values, dtype=torch.bool)
    moved = losses.whiten(shift + scale * values, mask)
    assert torch.allclose(moved, losses.whiten(values, mask), atol=1e-5)


# --- PPO's losses ------------------------------------------------------------------------------


def test_policy_loss_by_hand():
    # clip .2. ratio 1.5, A 2: min(3, 2.4) -> -2.4, gradient 0. ratio 1.5, A -2: max(3, 2.4) = 3.
    # ratio .5, A 2: -min(1, 1.6) = -1. ratio .5, A -2: max(1, 1.6) = 1.6, gradient 0. ratio 1: -A.
    ratios = t(1.5, 1.5, 0.5, 0.5, 1.0)
    advantages = t(2, -2, 2, -2, 2)
    new = ratios.log().requires_grad_()
    found = losses.clipped_policy_loss(new, torch.zeros(5, dtype=F64), advantages, 0.2)
    assert found.tolist() == pytest.approx([-2.4, 3, -1, 1.6, -2], abs=1e-12)
    found.sum().backward()
    # d(-A ratio)/d log p = -A ratio where it is not clipped.
    assert new.grad.tolist() == pytest.approx([0, 3, -1, 0, -2], abs=1e-12)


def test_value_loss_by_hand():
    # clip .2, V_old 0. V 1, R 1: max(0, (.2 - 1)^2) / 2 = .32, gradient 0.
    # V 1, R -1: max(4, (.2 + 1)^2 = 1.44) / 2 = 2, gradient V - R = 2. V .1, R 1: .81 / 2, -.9.
    values = t(1, 1, 0.1).requires_grad_()
    found = losses.clipped_value_loss(values, torch.zeros(3, dtype=F64), t(1, -1, 1), 0.2)
    assert found.tolist() == pytest.approx([0.32, 2, 0.405], abs=1e-12)
    found.sum().backward()
    assert values.grad.tolist() == pytest.approx([0, 2, -0.9], abs=1e-12)


token = st.tuples(st.floats(-3, 0), st.floats(-3, 0), st.floats(-3, 3), st.floats(-3, 3))


@given(st.lists(token, min_size=1, max_size=6), st.floats(0.05, 0.9))
def test_both_losses_are_the_textbook_ones(tokens, clip):
    for new, old, advantage, target in tokens:
        ratio = math.exp(new - old)
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        policy = losses.clipped_policy_loss(t(new), t(old), t(advantage), clip)
        expected = -min(ratio * advantage, bounded * advantage)
        assert policy.item() == pytest.approx(expected, abs=1e-9)
        near = old + min(max(new - old, -clip), clip)
        value = losses.clipped_value_loss(t(new), t(old), t(target), clip)
        expected = 0.5 * max((new - target) ** 2, (near - target) ** 2)
        assert value.item() == pytest.approx(expected, abs=1e-9)


def test_explained_variance_by_hand():
    # R = 1, 2, 3 (variance 2/3), V = 1, 1, 1: R - V has the same variance, 0 explained; V = R: 1.
    mask = mask_of([3, 0], 4)
    returns = t([1, 2, 3, 99], [99, 99, 99, 99])
    assert losses.explained_variance(returns, torch.ones_like(returns), mask) == pytest.approx(0)
    assert losses.explained_variance(returns, returns, mask) == 1
    # V = -R: residual 2 R has 4 times the variance, 1 - 4 = -3.
    assert losses.explained_variance(returns, -returns, mask) == pytest.approx(-3)
    assert math.isnan(
        losses.explained_variance(torch.ones(1, 2), torch.zeros(1, 2), mask_of([2], 2))
    )


def test_adaptive_kl_by_hand():
    # KL 6.6 at target 6: error .1; 64 episodes of a horizon of 640: factor 1 + .1 * .1 = 1.01.
    step = {"target": 6.0, "horizon": 640, "episodes": 64}
    assert losses.adaptive_kl_coef(0.05, 6.6, **step) == pytest.approx(0.0505, abs=1e-12)
    # Errors beyond 20% count as 20%: 1 +- .2 * .1.
    assert losses.adaptive_kl_coef(0.05, 600, **step) == pytest.approx(0.051, abs=1e-12)
    assert losses.adaptive_kl_coef(0.05, 0.0, **step) == pytest.approx(0.049, abs=1e-12)
    assert losses.adaptive_kl_coef(0.05, 6.0, **step) == 0.05
