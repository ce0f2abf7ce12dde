"""What PPO says of itself: numbers of a rollout and of an update, checks that stop a run.

Each row of metrics.jsonl is an update. Numbers of its rollout and of an evaluation are of the
policy before the update, those of the epochs of what was seen while it was made.

    of the rollout  see `describe`; token_reward (sum over a completion, KL taken off), kl_coef,
                    explained_variance (of the returns by the values, before any step)
    of the epochs   policy_loss, value_loss (halved squares), clip_fraction (ratio beyond 1 -+
                    clip), value_clip_fraction, approx_kl (k3 of old against new, nats a token),
                    entropy (nats a token, exact, first epoch), ratio_min, ratio_max, grad_norm,
                    value_grad_norm (before clipping, means), learning_rate
    mismatch        |log-prob in training - in the rollout| before any step, nats: mean and max
                    over the tokens of the first minibatch
    of the work     episodes so far, tokens_per_second (prompts and completions of a rollout over
                    the time of the update and the next rollout), peak_memory_gib
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from evalsuite.models.rewards import RewardRequest
from evalsuite.models.sampling import Prompt, sample
from trainers import losses
from trainers.engine import DivergedError, Engine
from trainers.ppo_setup import MISMATCH, PPOConfig, Setup
from trainers.resume import Run
from trainers.rollout import Rollout


def describe(rollout: Rollout) -> dict[str, float]:
    """What a rollout says of the policy that sampled it; means over completions.

    reward: of the task, before the rule for missing EOS; reward_sd over the completions.
    kl_k1, kl_k3: nats, summed over a completion.
    surprisal: -log p of the sampled tokens, nats a token; its mean estimates the entropy.
    length: tokens, EOS counted. without_eos: share. value: mean over tokens.
    """
    mask = rollout.mask
    k1 = losses.kl_k1(rollout.logprobs, rollout.ref_logprobs)
    k3 = losses.kl_k3(rollout.logprobs, rollout.ref_logprobs)
    return {
        "reward": float(rollout.rewards.mean()),
        "reward_sd": float(rollout.rewards.std(correction=0)),
        "kl_k1": float(k1.sum(1).mean()),
        "kl_k3": float(k3.sum(1).mean()),
        "surprisal": float(-rollout.logprobs[mask].mean()),
        "length": float(mask.sum(1).float().mean()),
        "without_eos": float((~rollout.has_eos).float().mean()),
        "value": float(rollout.values[mask].mean()),
    }


def check(config: PPOConfig, rollout: Rollout, step: int) -> None:
    """Raise DivergedError where the policy that sampled this has gone wrong.

    A number that is not finite, KL past `max_kl`, surprisal (the entropy's estimate) below
    `min_entropy`.
    """
    for name in ("logprobs", "ref_logprobs", "values", "rewards"):
        if not bool(getattr(rollout, name).isfinite().all()):
            raise DivergedError(f"rollout of update {step}: {name} are not all finite")
    found = describe(rollout)
    if found["kl_k1"] > config.max_kl:
        raise DivergedError(
            f"rollout of update {step}: KL to the reference is {found['kl_k1']:.4g} nats; allowed "
            f"max_kl, {config.max_kl:g} (a larger kl_coef or a lower learning rate keeps it down)"
        )
    if found["surprisal"] < config.min_entropy:
        raise DivergedError(
            f"rollout of update {step}: entropy is {found['surprisal']:.4g} nats a token; allowed "
            f"min_entropy, {config.min_entropy:g} or more: the policy has collapsed"
        )


class Seen:
    """Sums, extremes and norms over the minibatches of an update."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sums: dict[str, list[tuple[float, int]]] = {}
        self._norms: dict[str, list[float]] = {}
        self._ratios: list[Tensor] = []  # (2,) each: least and greatest log ratio
        self._mismatch: list[Tensor] = []

    def extremes(self, log_ratio: Tensor, *, first: bool) -> None:
        """Note the extremes of a micro-batch."""
        if log_ratio.numel():
            self._ratios.append(torch.stack(log_ratio.aminmax()))
            if first:
                self._mismatch.append(log_ratio.abs().max())

    def add(self, sums: dict[str, float], count: int, **norms: float) -> None:
        """Note the sums of a minibatch of `count` tokens, and gradient norms by name."""
        for name, value in sums.items():
            self._sums.setdefault(name, []).append((value, count))
        for name, norm in norms.items():
            self._norms.setdefault(name, []).append(norm)

    def check_mismatch(self, config: PPOConfig, mean: float) -> None:
        """Raise DivergedError where sampling and training disagree by more than is allowed."""
        worst = self._engine.maximum(float(torch.stack(self._mismatch).max()))
        self._norms["mismatch_max"] = [worst]
        allowed = config.max_mismatch
        allowed = MISMATCH[self._engine.precision] if allowed is None else allowed
        if not (worst <= allowed and mean <= allowed / 10):
            raise DivergedError(
                f"log-probs of the rollout and of training differ by {worst:.3g} nats at a token "
                f"(mean {mean:.3g}) before any step; allowed max_mismatch, {allowed:g}, and a "
                "tenth of it on average: both must be of one temperature, precision and mask"
            )

    def numbers(self) -> dict[str, float]:
        """Means over the tokens of all minibatches, ratio extremes, mean norms."""
        out = {
            name: sum(value for value, _ in parts) / sum(count for _, count in parts)
            for name, parts in self._sums.items()
        }
        out |= {name: sum(found) / len(found) for name, found in self._norms.items()}
        least, most = -math.inf, -math.inf
        if self._ratios:
            both = torch.stack(self._ratios)
            least, most = float(-both[:, 0].min()), float(both[:, 1].max())
        out["ratio_min"] = math.exp(-self._engine.maximum(least))
        out["ratio_max"] = math.exp(min(self._engine.maximum(most), 700.0))
        return out


def evaluate(
    config: PPOConfig, engine: Engine, setup: Setup, run: Run, step: int
) -> dict[str, float]:
    """Mean reward of summaries of fixed validation posts, which are written to samples.jsonl.

    No numbers where there are no such posts. step: of the update that the policy is before.
    """
    if not setup.validation:
        return {}
    actors, prompter = setup.actors, setup.actors.prompter
    mine = engine.mine(setup.validation)
    with engine.whole(actors.policy) as policy:
        drawn = sample(
            policy, [Prompt(e.id, e.tokens) for e in mine], k=1, seed=config.seed,
            temperature=config.evaluate_temperature, max_new_tokens=prompter.max_completion_tokens,
            eos_id=prompter.eos_id, pad_id=prompter.pad_id,
            max_batch_tokens=config.rollout_batch_tokens,
        )  # fmt: skip
    tokens = [samples.tokens[0] for samples in drawn]
    requests = [
        RewardRequest(e.post, prompter.text(c), e.reference, c, e.tokens, e.id)
        for e, c in zip(mine, tokens, strict=True)
    ]
    rewards = actors.reward(requests).tolist() if mine else []
    rows: list[dict[str, Any]] = engine.gather(
        [
            {"step": step, "post_id": r.prompt_id, "summary": r.summary, "reward": reward,
             "tokens": len(c), "ended": c[-1] == prompter.eos_id}
            for r, reward, c in zip(requests, rewards, tokens, strict=True)
        ]
    )  # fmt: skip
    run.record(rows)
    n = len(rows)
    return {
        "validation_reward": sum(row["reward"] for row in rows) / n,
        "validation_length": sum(row["tokens"] for row in rows) / n,
        "validation_without_eos": sum(not row["ended"] for row in rows) / n,
    }
