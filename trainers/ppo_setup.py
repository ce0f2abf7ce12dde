"""What takes part in PPO: settings, prompts, policy, reference, value network, reward; checked.

Everything that can be refused is refused here, before any work: a prompt that does not fit a
model's context, a value network with another tokenizer, a reward that cannot be loaded.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, ModelError
from evalsuite.models.checkpoints import (
    CheckpointInfo,
    Loaded,
    check_context,
    load_policy,
    load_scalar,
    new_reward_model,
)
from evalsuite.models.packing import PolicyAndValue, PolicyModel, ScalarModel
from evalsuite.models.prompts import Prompter, same_rendering
from evalsuite.models.rewards import (
    ENSEMBLE,
    EnsembleReward,
    ModelReward,
    Reward,
    parse_reward,
)
from evalsuite.tables import Tables
from trainers.config import DataConfig, EngineConfig, OptimizerConfig, RunConfig, require
from trainers.engine import Engine
from trainers.losses import MissingEos
from trainers.rollout import Actors
from trainers.sequences import PromptExample, ppo_prompts

MISMATCH = {torch.float32: 1e-3, torch.bfloat16: 1.0}
"""Largest difference of a token's log-prob between sampling and training, nats, by precision."""


@dataclass(frozen=True)
class PPOConfig:
    """PPO against a reward.

    model: the policy to start from and the frozen reference, normally the SFT checkpoint.
    reward: what is optimised, in the words of `evalsuite.models.rewards.parse_reward`.
    value_network: "separate", or "shared" with the policy's backbone (the ablation of G.1).
    value_model: what a separate one starts from. By default the reward model (of an ensemble its
        first member); where the reward is no model, the policy with a new head.
    episodes: completions sampled in all; those that would not fill an update are left out.
    prompts_per_update: of one rollout.
    samples_per_prompt: completions of each; they share the prompt in one row.
    epochs: passes over a rollout.
    minibatches: steps of the optimizer in each pass.
    temperature: of the rollout, and of every log-prob, KL and entropy.
    fixed_length: always sample the longest completion, and cut it at its first EOS.
    rollout_batch_tokens: tokens of a forward pass without gradients, padding counted.
    kl_coef: weight of the KL to the reference, reward per nat.
    kl_target: mean KL of a completion, nats, that an adaptive coefficient steers to; null: fixed.
    kl_horizon: episodes in which an error of 20% moves the coefficient by 20%.
    gamma: discount.
    lam: lambda of the advantage estimator.
    clip: of the ratio of new to old probability.
    value_clip: of a value's move in an update, in units of the reward; null for none.
    value_coef: weight of the value loss where the backbone is shared.
    value_learning_rate: of the value network; null takes the policy's.
    whiten_advantages: over all tokens of the rollout.
    whiten_rewards: the same of token rewards, their mean kept.
    missing_eos: what a completion without EOS gets: "replace" its reward by -missing_eos_penalty,
        "subtract" the penalty from it, or "none".
    missing_eos_penalty: in units of the reward.
    max_mismatch: largest difference allowed between a log-prob of the rollout and the same in
        training before any step, nats, and ten times what is allowed of the mean; null is 1e-3
        in float32 and 1 in bfloat16.
    max_kl: mean KL of a completion, nats, past which the run stops.
    min_entropy: nats a token below which it stops.
    evaluate_every: updates between evaluations on the validation splits; 0 for none.
    evaluate_prompts: most posts of an evaluation.
    evaluation_paths: files of posts to evaluate on instead of the validation splits: the same ones
        for runs that differ in their training posts.
    evaluate_temperature: 0 is greedy.
    seed: of the order of prompts, the noise of sampling, and a new head.
    """

    model: str = ""
    reward: str | tuple[str, ...] = ""
    value_network: Literal["separate", "shared"] = "separate"
    value_model: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    episodes: int = 1_000_000
    prompts_per_update: int = 512
    samples_per_prompt: int = 1
    epochs: int = 4
    minibatches: int = 1
    temperature: float = 0.7
    fixed_length: bool = False
    rollout_batch_tokens: int = 32768
    kl_coef: float = 0.05
    kl_target: float | None = None
    kl_horizon: int = 10_000
    gamma: float = 1.0
    lam: float = 0.95
    clip: float = 0.2
    value_clip: float | None = 0.2
    value_coef: float = 0.1
    value_learning_rate: float | None = None
    whiten_advantages: bool = True
    whiten_rewards: bool = False
    missing_eos: MissingEos = "replace"
    missing_eos_penalty: float = 1.0
    max_mismatch: float | None = None
    max_kl: float = 100.0
    min_entropy: float = 0.01
    evaluate_every: int = 50
    evaluate_prompts: int = 256
    evaluation_paths: tuple[str, ...] = ()
    evaluate_temperature: float = 0.0
    seed: int = 0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(schedule="linear"))
    engine: EngineConfig = field(default_factory=EngineConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for name in (
            "prompts_per_update", "samples_per_prompt", "epochs", "minibatches",
            "rollout_batch_tokens", "kl_horizon", "evaluate_prompts",
        ):  # fmt: skip
            require(name, getattr(self, name), low=1)
        for name in (
            "kl_coef", "clip", "value_coef", "missing_eos_penalty", "max_kl",
            "min_entropy", "evaluate_every", "evaluate_temperature",
        ):  # fmt: skip
            require(name, getattr(self, name), low=0)
        require("gamma", self.gamma, low=0, high=1)
        require("lam", self.lam, low=0, high=1)
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature:g}; allowed above 0")
        if self.value_clip is not None:
            require("value_clip", self.value_clip, low=0)
        if self.kl_target is not None and not self.kl_target > 0:
            raise ConfigError(f"kl_target is {self.kl_target:g}; allowed above 0, or null")
        if self.episodes < self.batch_size:
            raise ConfigError(
                f"episodes is {self.episodes}; allowed {self.batch_size} (prompts_per_update x "
                "samples_per_prompt) or more"
            )
        if self.minibatches > self.prompts_per_update:
            raise ConfigError(
                f"minibatches is {self.minibatches}; allowed up to prompts_per_update, "
                f"{self.prompts_per_update}"
            )
        if self.value_network == "shared" and self.value_model is not None:
            raise ConfigError(
                "value_model is set, and value_network is 'shared'; allowed one of them"
            )

    @property
    def batch_size(self) -> int:
        """Episodes of an update."""
        return self.prompts_per_update * self.samples_per_prompt

    @property
    def updates(self) -> int:
        """Updates of the whole run; episodes that would not fill one are left out."""
        return self.episodes // self.batch_size

    @property
    def value_optimizer(self) -> OptimizerConfig:
        """Settings of the value network's optimizer."""
        rate = self.value_learning_rate
        return (
            self.optimizer
            if rate is None
            else dataclasses.replace(self.optimizer, learning_rate=rate)
        )


class Setup(NamedTuple):
    """Everything that is loaded: who acts, on which prompts, and from where the policy came."""

    actors: Actors
    train: list[PromptExample]
    validation: list[PromptExample]
    tables: Tables
    loaded: Loaded
    left_out: dict[str, int]

    @property
    def info(self) -> CheckpointInfo:
        """The record of the policy that training starts from."""
        return self.loaded.info


def set_up(config: PPOConfig, engine: Engine) -> Setup:
    """Load and check models, reward and prompts; the trainables are on their device.

    Raises ConfigError, ModelError or DataError that says what does not fit and what is allowed.
    """
    for name in ("model", "reward"):
        if not getattr(config, name):
            raise ConfigError(f"{name} is empty; allowed a checkpoint (or, for reward, a metric)")
    settings = config.data
    if not settings.paths:
        raise ConfigError("data.paths is empty; allowed files or folders of posts")
    loaded = load_policy(config.model)
    prompter = Prompter(
        loaded.tokenizer, settings.prompt_format, max_prompt_tokens=settings.max_prompt_tokens,
        max_completion_tokens=settings.max_completion_tokens,
    )  # fmt: skip
    same_rendering(prompter.format, loaded.info.prompt_format, loaded.name)
    longest = prompter.max_prompt_tokens + prompter.max_completion_tokens
    check_context(loaded.model, longest, loaded.name)
    reward = parse_reward(
        config.reward, policy=prompter, device=engine.device, dtype=engine.frozen_dtype,
        max_batch_tokens=config.rollout_batch_tokens,
    )  # fmt: skip
    tables = load(settings.paths, format=settings.format)
    examples = ppo_prompts(tables, prompter, held_out=settings.held_out, limits=settings.limits)
    train = examples.of(*settings.train_splits)
    for member in reward_models(reward):
        check_reward_model(member, train, prompter.max_completion_tokens)
    if config.evaluation_paths:
        others = load(config.evaluation_paths, format=settings.format)
        validation = list(ppo_prompts(others, prompter).rows)
    else:
        validation = [e for e in examples.rows if e.split in settings.validation_splits]
    ref_policy = engine.place(PolicyModel(copy.deepcopy(loaded.model)))
    assert isinstance(ref_policy, PolicyModel)
    if config.value_network == "shared":
        generator = torch.Generator().manual_seed(config.seed)
        model: PolicyModel = PolicyAndValue(loaded.model, generator)
        policy, values, shift = engine.prepare("policy", model, config.optimizer), None, 0.0
    else:
        policy = engine.prepare("policy", PolicyModel(loaded.model), config.optimizer)
        network = value_network(config, reward, loaded, longest)
        values = engine.prepare("value", ScalarModel(network.model), config.value_optimizer)
        shift = network.info.reward_shift
    actors = Actors(policy, values, shift, ref_policy, reward, prompter)
    return Setup(
        actors, train, validation[: config.evaluate_prompts], tables, loaded, examples.left_out
    )


def value_network(config: PPOConfig, reward: Reward, policy: Loaded, longest: int) -> Loaded:
    """The model that the value network starts from, checked against the policy.

    Raises ModelError where it reads other tokens than the policy writes, cannot be read at every
    token, or has a shorter context.
    """
    name = config.value_model or reward_model_of(config.reward, reward)
    found = load_scalar(name) if name else new_reward_model(config.model, seed=config.seed)
    what = f"{found.name} as value network"
    theirs, ours = found.tokenizer.get_vocab(), policy.tokenizer.get_vocab()
    if theirs != ours:
        raise ModelError(
            f"{what}: its tokenizer is not that of the policy {policy.name} ({len(theirs)} and "
            f"{len(ours)} tokens); allowed a value network that reads the policy's tokens: "
            "set value_model"
        )
    if not ScalarModel(found.model).reads_tokens:
        raise ModelError(
            f"{what}: {type(found.model).__name__} has no output at each token; allowed decoder "
            "families such as Llama, GPT-2 and GPT-NeoX: set value_model"
        )
    check_context(found.model, longest, what)
    return found


LONGEST = 64
"""Posts, the longest by characters, that a reward model's context is held against."""


def check_reward_model(
    member: ModelReward, prompts: Sequence[PromptExample], completion: int
) -> None:
    """Refuse a reward model that the longest posts do not fit into; it renders its own prompts.

    completion: tokens of the policy's longest completion.
    """
    longest = sorted(prompts, key=lambda e: (-len(e.post.text), e.id))[:LONGEST]
    tokens = max(len(member.prompter_of(e.post).prompt(e.post)) for e in longest)
    check_context(member.model.model, tokens + completion, f"reward model {member.name}")


def reward_models(reward: Reward) -> list[ModelReward]:
    """The reward models that a reward asks."""
    if isinstance(reward, EnsembleReward):
        return [found for member in reward.members for found in reward_models(member)]
    return [reward] if isinstance(reward, ModelReward) else []


def reward_model_of(spec: str | tuple[str, ...], reward: Reward) -> str | None:
    """The name of the reward model, of an ensemble its first; None where it is no model."""
    word = spec if isinstance(spec, str) else spec[0]
    if isinstance(reward, EnsembleReward):
        found = ENSEMBLE.fullmatch(word.strip())
        word = found["members"].split(",")[0] if found else word
        reward = reward.members[0]
    return word.strip() if isinstance(reward, ModelReward) else None


def in_words(config: PPOConfig, setup: Setup) -> str:
    """What is about to be done."""
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in setup.left_out.items())
    return (
        f"{len(setup.train):,} prompts to train on, {len(setup.validation):,} to validate on; "
        f"{config.updates:,} updates of {config.batch_size:,} episodes; reward: "
        f"{setup.actors.reward.name}" + (f"; left out: {left_out}" if left_out else "")
    )
