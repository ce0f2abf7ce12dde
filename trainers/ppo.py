"""PPO against a reward, as in Stiennon et al. 2020, read from top to bottom:

    rollout -> rewards -> advantages -> epochs of minibatches -> numbers -> checks

An update samples completions of the current policy, rewards each with r(x, y) - beta KL, and takes
several epochs of clipped policy and value steps on them. `rollout.py` samples, `losses.py` holds
the arithmetic, `ppo_setup.py` loads and checks what takes part.

The details of Huang et al. 2024 ("N+", by their numbers), and what is done here
    1-4     Prompts, truncation, leading space, EOS, a pad token of its own, lengths in tokens:
            `evalsuite.models.prompts`, one place for all trainers.
    5, 9-13, 15-19  concern SFT and reward models; see sft.py and reward_model.py.
    6       Departure: prompts are not padded on the left. Prompt and completions are one packed
            row, positions explicit; side and amount of padding change nothing (tested).
    7       Dropout is off: models stay in evaluation mode throughout.
    8       AdamW, eps 1e-5. Departure: accelerate with DDP or FSDP where N+ used DeepSpeed.
    14      Does not arise: padding cannot reach a number.
    20      4 epochs, 1 minibatch, clips .2 and .2, gamma 1, lambda .95, KL coefficient .05, rollout
            temperature .7, 512 episodes an update, linear decay to 0, all settings. Departure: the
            value network has an optimizer of its own; N+'s vf_coef .1 under one shared Adam acts
            through eps only, and `value_coef` is used where policy and value share a backbone.
            Departure: gradients are cut to norm 1 (`max_grad_norm: 0` for none).
    21      Prompts are those of the data, in a new order each time around.
    22      The value network starts from the reward model, head included; where the reward is no
            model, from the policy with a new head.
    23.1-2  `fixed_length` samples all tokens and cuts at the first EOS; without it sampling ends
            there. Both give the same completions, since noise is keyed by position.
    23.3    `missing_eos`: a reward of -1 in the place of that of a completion without EOS (or
            a penalty taken off, or nothing).
    24, 25  `whiten_rewards` (no shift of the mean), `whiten_advantages`; over the whole rollout.
            Population variance, 1e-8 added.

Further departures from N+'s code: the reward lands on the last token (the EOS), where there it
lands one position later; no value is learned past that token; losses are means over the tokens of
a minibatch, in all processes, where there each micro-batch has its own mean. One temperature
throughout: log-probs of policy and reference, the KL and the entropy are those of
softmax(logits / temperature), so a KL here is one between the distributions that are sampled.
From the paper: which is silent on clipping, temperature and Adam, and pads; its value and policy
learning rates are one number, here the default too.

A checkpoint is written at the start of an update, once the rollout of its weights has passed the
checks: what a stopped run leaves behind is good. Everything but weights, moments, update number
and KL coefficient is a function of (seed, update, ids), so a resumed run repeats the rollout and
goes on to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalsuite.models.checkpoints import made_here, save
from evalsuite.models.packing import Packed, pack
from trainers import losses, saved
from trainers.config import portable
from trainers.engine import DivergedError, Engine
from trainers.folder import check_folder
from trainers.ppo_setup import PPOConfig, Setup, in_words, set_up
from trainers.ppo_watch import Seen, check, describe, evaluate
from trainers.resume import MODEL, Run
from trainers.reward_data import resolved_format
from trainers.rollout import Actors, Rollout, Row, batches_of, collect, rows_of, visits
from trainers.schedule import learning_rate

KIND = "ppo"
LAST_GOOD = "last_good"
"""Folder of the policy of the newest checkpoint of a run that was stopped by a check."""


def train_ppo(config: PPOConfig, folder: str | Path, *, resume: bool = False) -> Path:
    """Train a policy by PPO; returns its checkpoint, `model` in the run's folder.

    Raises before any work what can be known before it (ConfigError, ModelError, DataError,
    TrainingError), and DivergedError when a check stops the run (see `check` and `optimise`); the
    policy of its newest checkpoint then lies in `last_good`.
    """
    folder = Path(folder)
    engine = Engine(config.engine)
    if engine.on_main(lambda: check_folder(folder, config, kind=KIND, resume=resume)):
        return folder / MODEL
    setup = set_up(config, engine)
    actors = setup.actors
    run = Run(
        folder, config, kind=KIND, total_steps=config.updates, engine=engine, resume=resume,
        inputs=setup.tables.sources,
    )  # fmt: skip
    run.say(in_words(config, setup))
    run.state["kl_coef"] = config.kl_coef
    trainables = [actors.policy] + ([actors.values] if actors.values else [])
    run.restore(trainables)
    try:
        with run:
            closing = _updates(config, engine, setup, run)
    except DivergedError as error:
        raise DivergedError(f"{error}. {_keep_last_good(run, engine, config, setup)}") from error
    weights = engine.state_dict(actors.policy)
    engine.on_main(lambda: _write(folder / MODEL, config, setup, closing, run.step, weights))
    run.finish(closing)
    return folder / MODEL


def _updates(config: PPOConfig, engine: Engine, setup: Setup, run: Run) -> dict[str, float]:
    """All updates; numbers of the final policy, from one more rollout and the validation posts."""
    actors = setup.actors

    def rollout_of(step: int) -> Rollout:
        """Checked before the weights that it is of are saved."""
        chosen = visits(len(setup.train), config.prompts_per_update, step - 1, config.seed)
        found = collect(
            engine, actors, chosen, setup.train, samples=config.samples_per_prompt,
            temperature=config.temperature, seed=config.seed, fixed_length=config.fixed_length,
            max_batch_tokens=config.rollout_batch_tokens,
        )  # fmt: skip
        check(config, found, step)
        return found

    rollout = rollout_of(run.step + 1)
    began = time.monotonic()
    for step in run.steps():
        if config.evaluate_every and (step - 1) % config.evaluate_every == 0:
            run.log(evaluate(config, engine, setup, run, step))
        kl_coef = float(run.state["kl_coef"])
        numbers = describe(rollout)
        goals = goals_of(config, rollout, kl_coef)
        run.log(
            numbers
            | {"token_reward": float(goals.token_rewards.sum(1).mean()), "kl_coef": kl_coef}
            | {"explained_variance": losses.explained_variance(
                goals.returns, rollout.values, rollout.mask)}
        )  # fmt: skip
        run.log(optimise(config, engine, actors, rollout, goals, step))
        if config.kl_target is not None:
            run.state["kl_coef"] = losses.adaptive_kl_coef(
                kl_coef, numbers["kl_k1"], target=config.kl_target, horizon=config.kl_horizon,
                episodes=config.batch_size,
            )  # fmt: skip
        tokens = sum(row.tokens for row in rows_of(rollout.groups, share=True))
        rollout = rollout_of(step + 1)
        now = time.monotonic()
        run.log(
            {
                "episodes": step * config.batch_size,
                "tokens_per_second": tokens / (now - began),
                "episodes_per_second": config.batch_size / (now - began),
                "peak_memory_gib": engine.peak_memory(),
            }
        )
        began = now
    closing = describe(rollout)
    if config.evaluate_every:
        closing |= evaluate(config, engine, setup, run, config.updates + 1)
    return closing


# -- rewards and advantages ----------------------------------------------------------------------


class Goals(NamedTuple):
    """What a rollout teaches, (B, T) each, 0 outside the mask.

    token_rewards: -kl_coef * k1 at each token, plus the reward at the last. advantages: whitened
    where that is asked. returns: what values are trained towards.
    """

    token_rewards: Tensor
    advantages: Tensor
    returns: Tensor


def goals_of(config: PPOConfig, rollout: Rollout, kl_coef: float) -> Goals:
    """Rewards, advantages and returns of a rollout, whitened over all of it."""
    mask = rollout.mask
    rewards = losses.missing_eos(
        rollout.rewards, rollout.has_eos, config.missing_eos, config.missing_eos_penalty
    )
    kl_nats = losses.kl_k1(rollout.logprobs, rollout.ref_logprobs)
    per_token = losses.token_rewards(rewards, kl_nats, mask, kl_coef)
    used = losses.whiten(per_token, mask, shift_mean=False) if config.whiten_rewards else per_token
    advantages, returns = losses.gae(used, rollout.values, mask, gamma=config.gamma, lam=config.lam)
    if config.whiten_advantages:
        advantages = losses.whiten(advantages, mask)
    return Goals(per_token, advantages, returns)


# -- epochs of minibatches -----------------------------------------------------------------------


class Part(NamedTuple):
    """A micro-batch: packed rows, and what is known of their n tokens, each (n,)."""

    rows: Packed
    logprobs: Tensor
    advantages: Tensor
    values: Tensor
    returns: Tensor


def optimise(
    config: PPOConfig, engine: Engine, actors: Actors, rollout: Rollout, goals: Goals, step: int
) -> dict[str, float]:
    """All epochs over one rollout; numbers for the record.

    Raises DivergedError where a gradient is not finite, or where the first log-probs of training,
    before any step, are not those of the rollout: then policy and ratio are not what PPO thinks
    they are (another temperature, precision or mask), and the update means nothing.
    """
    rate = learning_rate(config.optimizer, step, config.updates)
    rates = {"learning_rate": rate}
    if actors.values is not None:
        rates["value_learning_rate"] = learning_rate(config.value_optimizer, step, config.updates)
    seen = Seen(engine)
    for epoch in range(config.epochs):
        order = np.random.default_rng([config.seed, step, epoch]).permutation(len(rollout.groups))
        for number, chosen in enumerate(np.array_split(order, config.minibatches)):
            parts, filler, count = minibatch(
                config, engine, actors, rollout, goals, chosen.tolist()
            )
            first = epoch == 0 and number == 0
            policy = policy_loss(config, actors, seen, first=first, entropy=epoch == 0)
            update = engine.update(
                actors.policy, parts, policy, count=count, learning_rate=rate, filler=filler
            )
            seen.add(update.sums, count, grad_norm=update.grad_norm)
            if first:
                seen.check_mismatch(config, update.sums["mismatch"] / count)
            if actors.values is not None:
                update = engine.update(
                    actors.values, parts, value_loss(config, actors), count=count,
                    learning_rate=rates["value_learning_rate"], filler=filler,
                )  # fmt: skip
                seen.add(update.sums, count, value_grad_norm=update.grad_norm)
    return seen.numbers() | rates


def minibatch(
    config: PPOConfig, engine: Engine, actors: Actors, rollout: Rollout, goals: Goals,
    chosen: Sequence[int],
) -> tuple[list[Part], Part, int]:  # fmt: skip
    """This process's micro-batches of the chosen groups, one to fill up with, tokens of all."""
    share = shares(actors)
    rows = rows_of(rollout.groups, share=share)
    if share:
        rows = [rows[at] for at in chosen]
    else:
        picked = set(chosen)
        k = config.samples_per_prompt
        rows = [row for row in rows if row.members[0] // k in picked]
    rows.sort(key=lambda row: (-row.tokens, row.members))
    count = int(rollout.mask[[at for row in rows for at in row.members]].sum())
    flat = [rollout.logprobs, goals.advantages, rollout.values, goals.returns]

    def part(batch: Sequence[Row]) -> Part:
        members = [at for row in batch for at in row.members]
        mask = rollout.mask[members]
        packed = pack(
            [row.group for row in batch], pad_id=actors.prompter.pad_id, read="tokens",
            share=share, device=engine.device, dtype=engine.precision,
        )  # fmt: skip
        return Part(packed, *(tensor[members][mask].to(engine.device) for tensor in flat))

    mine = batches_of(engine.mine(rows), engine.config.micro_batch_tokens)
    return [part(batch) for batch in mine], part(rows[-1:]), count


def shares(actors: Actors) -> bool:
    """Whether completions of a prompt stand in one row: both networks must be able to."""
    models: list[Any] = [t.plain for t in (actors.policy, actors.values) if t is not None]
    return all(model.shares for model in models)


Loss = Callable[[Part], tuple[Tensor, dict[str, Tensor | float]]]


def policy_loss(
    config: PPOConfig, actors: Actors, seen: Seen, *, first: bool, entropy: bool
) -> Loss:
    """The clipped surrogate summed over a micro-batch's tokens, with sums for the record.

    A shared value network adds its loss, weighted. first: no step was made since the rollout, so
    the log-probs have to be those of the rollout. entropy: also sum the exact entropy.
    """

    def loss(part: Part) -> tuple[Tensor, dict[str, Tensor | float]]:
        out = actors.policy.module(part.rows, temperature=config.temperature, entropy=entropy)
        total = losses.clipped_policy_loss(
            out.logprobs, part.logprobs, part.advantages, config.clip
        ).sum()
        with torch.no_grad():
            log_ratio = out.logprobs - part.logprobs
            seen.extremes(log_ratio, first=first)
            sums: dict[str, Tensor | float] = {
                "policy_loss": total.detach(),
                "approx_kl": losses.kl_k3(part.logprobs, out.logprobs).sum(),
                "clip_fraction": ((log_ratio.exp() - 1).abs() > config.clip).sum(),
            }
            if first:
                sums["mismatch"] = log_ratio.abs().sum()
            if entropy:
                sums["entropy"] = out.entropy.sum()
        if actors.values is None:
            value, more = _value_terms(config, out.values, part)
            return total + config.value_coef * value, sums | more
        return total, sums

    return loss


def value_loss(config: PPOConfig, actors: Actors) -> Loss:
    """The clipped value loss summed over a micro-batch's tokens, with sums for the record."""
    network = actors.values
    assert network is not None

    def loss(part: Part) -> tuple[Tensor, dict[str, Tensor | float]]:
        return _value_terms(config, network.module(part.rows) - actors.shift, part)

    return loss


def _value_terms(
    config: PPOConfig, values: Tensor, part: Part
) -> tuple[Tensor, dict[str, Tensor | float]]:
    clip = math.inf if config.value_clip is None else config.value_clip
    total = losses.clipped_value_loss(values, part.values, part.returns, clip).sum()
    moved = (values.detach() - part.values).abs() > clip
    return total, {"value_loss": total.detach(), "value_clip_fraction": moved.sum()}


# -- what is left behind -------------------------------------------------------------------------


def _write(
    folder: Path, config: PPOConfig, setup: Setup, closing: dict[str, float], step: int,
    weights: dict[str, Tensor],
) -> None:  # fmt: skip
    loaded = setup.loaded
    info = made_here(
        "policy", config=portable(config), seed=config.seed, sources=setup.tables.sources,
        parent=loaded.info, parent_name=loaded.name, step=step, metrics=closing,
        prompt_format=resolved_format(setup.actors.prompter),
    )  # fmt: skip
    save(folder, loaded.model, loaded.tokenizer, info, state_dict=weights)


def _keep_last_good(run: Run, engine: Engine, config: PPOConfig, setup: Setup) -> str:
    """Write the policy of the newest checkpoint to `last_good`; what to tell the user.

    A checkpoint is written only after a rollout of its weights has passed the checks.
    """
    found = engine.on_main(lambda: _newest(run.folder))
    if found is None:
        return "No checkpoint was written before"
    tensors = saved.Saved(Path(found[0]), found[1], {}).tensors("policy") if engine.is_main else {}
    engine.load(setup.actors.policy, tensors)
    weights = engine.state_dict(setup.actors.policy)
    path = run.folder / LAST_GOOD
    engine.on_main(lambda: _write(path, config, setup, {}, found[1], weights))
    return f"The policy after update {found[1]}, the last that was saved, is in {path}"


def _newest(folder: Path) -> tuple[str, int] | None:
    found = saved.newest(folder)
    return (str(found.path), found.step) if found else None
