"""The arithmetic of reward modelling and PPO: pure functions of tensors, no model, no state.

Shapes: B sequences, T completion tokens. A mask (B, T) is True where a token counts; completions
start at column 0, so a row of a mask is a run of True. What lies outside the mask never reaches a
result. Losses come back per token or per pair: the trainer sums them over all micro-batches and
processes and divides by the global count, so that neither changes a gradient.

`tests/trainers/test_losses.py` compares each with hand-worked numbers and with the textbook's
loops in float64.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

MissingEos = Literal["replace", "subtract", "none"]

WHITEN_EPSILON = 1e-8
"""Added to the variance before its root: whitening a constant gives 0, not a division by zero."""


def pairwise_loss(chosen: Tensor, rejected: Tensor, target: Tensor | float = 1.0) -> Tensor:
    """Bradley-Terry negative log-likelihood of each pair, -log sigmoid(chosen - rejected), nats.

    chosen, rejected: (B,) rewards. target: the share of the preference that goes to `chosen`, 1
    for a plain label, .5 for a tie, anything between for a soft one; then the cross entropy
    -(target log sigmoid(d) + (1 - target) log sigmoid(-d)), smallest at sigmoid(d) = target.

    Returns (B,).
    Source: Stiennon et al. 2020, section 3.4 (printed there without its minus sign).
    """
    margin = chosen - rejected
    target = torch.as_tensor(target, dtype=margin.dtype, device=margin.device)
    return target * softplus(-margin) + (1 - target) * softplus(margin)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The k1 estimate of KL(policy || ref_policy) at each token, in nats: log p - log q.

    Unbiased where tokens are drawn from the policy; a single value may be negative. Summed over a
    completion it is the sequence's log ratio, whose mean over samples estimates the KL between
    the two distributions of whole completions.
    Source: Schulman 2020, "Approximating KL divergence".
    """
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The k3 estimate of KL(policy || ref_policy) at each token, in nats: q/p - 1 - log(q/p).

    Unbiased like k1 and never negative, so less noisy near 0; where the policy is far away a few
    tokens of large q/p carry it.
    Source: Schulman 2020, "Approximating KL divergence".
    """
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def missing_eos(
    rewards: Tensor, has_eos: Tensor, how: MissingEos = "replace", penalty: float = 1.0
) -> Tensor:
    """The rule for completions that never ended: their reward was read where there is no EOS.

    rewards: (B,). has_eos: (B,) bool. "replace": the reward becomes -penalty (N+'s rule, -1);
    "subtract": penalty is taken off, so that better text still earns more; "none": left as it is.
    Source: Huang et al. 2024, detail 23.3.
    """
    if how == "replace":
        return torch.where(has_eos, rewards, torch.full_like(rewards, -penalty))
    if how == "subtract":
        return torch.where(has_eos, rewards, rewards - penalty)
    return rewards


def token_rewards(rewards: Tensor, kl_nats: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Reward of each token: -kl_coef * kl at every token, plus the reward at the last one.

    rewards: (B,) of the whole completions. kl_nats: (B, T) k1 estimates. The last token is the
    last that counts, the EOS where there is one. The sum over a row is r(x, y) - beta KL.

    Returns (B, T), 0 outside the mask.
    Raises ValueError for a row without tokens: there is no token to carry its reward.
    Source: Stiennon et al. 2020, section 3.4; Ziegler et al. 2019.
    """
    lengths = mask.sum(1)
    if not bool((lengths > 0).all()):
        raise ValueError("a completion has no token; allowed one or more (the EOS at least)")
    out = torch.where(mask, -kl_coef * kl_nats, 0.0)
    out[torch.arange(len(out), device=out.device), lengths - 1] += rewards.to(out.dtype)
    return out


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation over completions of different lengths.

        delta_t = r_t + gamma V_{t+1} - V_t        (V = 0 after the last token: the episode is over)
        A_t     = delta_t + gamma lam A_{t+1}
        R_t     = A_t + V_t

    rewards, values: (B, T), values at the state before each token. A completion that was cut at
    its longest ends there, too: no value is read past it.

    Returns advantages and returns, (B, T) each, 0 outside the mask.
    Source: Schulman et al. 2016, equation 16.
    """
    rewards, values = torch.where(mask, rewards, 0.0), torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(values)
    ahead = torch.zeros_like(values[:, 0])  # A_{t+1}, one of each row
    value_ahead = torch.zeros_like(ahead)
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * value_ahead - values[:, t]
        # Columns past the end of a row give delta 0, so each row starts at its own last token.
        ahead = delta + gamma * lam * ahead
        value_ahead = values[:, t]
        advantages[:, t] = ahead
    return advantages, torch.where(mask, advantages + values, 0.0)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Masked whitening: (x - mean) / sd over all tokens that count, population variance.

    shift_mean False keeps the mean where it was and scales the spread alone: the mean reward says
    whether a text is good. The trainer gives the tokens of the whole rollout, of all processes.

    Returns the shape of `values`, 0 outside the mask.
    Source: Huang et al. 2024, details 24 (rewards, no shift) and 25 (advantages).
    """
    kept = values[mask].double()
    mean = kept.mean()
    out = (values - mean) * torch.rsqrt(kept.var(correction=0) + WHITEN_EPSILON)
    out = out if shift_mean else out + mean
    return torch.where(mask, out, 0.0).to(values.dtype)


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float = 0.2
) -> Tensor:
    """PPO's clipped surrogate, negated, of each token: max(-A ratio, -A clip(ratio, 1 -+ clip)).

    The ratio is p_new / p_old of the token; with clipping there is nothing to gain from moving it
    further than `clip` in the direction that the advantage asks for.
    Source: Schulman et al. 2017, equation 7.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, clip: float = 0.2
) -> Tensor:
    """Clipped value loss of each token: half the larger of two squared errors.

    .5 max((V - R)^2, (V_old + clip(V - V_old, -+clip) - R)^2). A value may move `clip` in a
    rollout: beyond it, away from its old place, the gradient is 0. The half is in here.
    Source: Ziegler et al. 2019, as in Stiennon et al. and Huang et al. 2024, detail 20.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def explained_variance(returns: Tensor, values: Tensor, mask: Tensor) -> float:
    """Explained variance of the returns by the values, 1 - var(R - V) / var(R), over the mask.

    1 is perfect, 0 no better than a constant, below 0 worse. NaN where returns do not vary.
    """
    target, residual = returns[mask].double(), (returns - values)[mask].double()
    spread = float(target.var(correction=0))
    return math.nan if spread == 0 else 1 - float(residual.var(correction=0)) / spread


def adaptive_kl_coef(
    kl_coef: float, kl_nats: float, *, target: float, horizon: float, episodes: int
) -> float:
    """Adaptive KL coefficient: beta (1 + clip(KL / target - 1, -+.2) episodes / horizon).

    A proportional controller on the log scale. kl_nats: mean KL of a completion in the rollout;
    episodes: completions in it; horizon: episodes in which an error of 20% moves beta by 20%.
    The coefficient is all the state there is.
    Source: Ziegler et al. 2019, section 2.2.
    """
    error = min(max(kl_nats / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * episodes / horizon)
