"""Settings that trainers share: data, optimizer, processes and precision, the run itself.

Each is a frozen dataclass that a trainer's own settings hold as a field, so a file reads

    model: world-small
    data: {paths: [posts.jsonl]}
    optimizer: {learning_rate: 1.0e-3}
    run: {checkpoint_every: 50}

and on the command line `--set optimizer.learning_rate=1e-3`, or `--set learning_rate=1e-3` where
one nested group alone has a setting of that name (`expand`).
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from evalsuite.config import as_dict
from evalsuite.errors import ConfigError
from evalsuite.records import shown


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and which of them are used.

    paths: files or folders that `evalsuite data check` can read.
    format: their format; "auto" tells it from the first row.
    prompt_format: how a post becomes a prompt; a name of `evalsuite.models.prompts.FORMATS`.
    max_prompt_tokens: longest prompt, where the format's own is not wanted.
    max_completion_tokens: longest completion with its EOS, likewise.
    held_out: share of the posts without a stated split that are not trained on.
    train_splits: splits to train on.
    validation_splits: splits that choose between runs.
    limits: the most examples of a split, by the split's name.
    """

    paths: tuple[str, ...] = ()
    format: str = "auto"
    prompt_format: str = "tldr"
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    held_out: float = 0.1
    train_splits: tuple[str, ...] = ("train",)
    validation_splits: tuple[str, ...] = ("valid1",)
    limits: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and the course of its learning rate.

    learning_rate: the highest.
    schedule: from there "cosine" or "linear" down to `floor`, or "constant".
    warmup: updates that rise to it; below 1, a share of the run.
    floor: where the rate ends, as a share of `learning_rate`.
    beta1: decay of the mean of gradients.
    beta2: decay of the mean of their squares.
    eps: added to the root of that; 1e-5 as in N+, detail 8.
    weight_decay: decoupled, on matrices only (embeddings too); vectors (norms, biases) have none.
    max_grad_norm: global norm that gradients are cut to; 0 for none.
    """

    learning_rate: float = 3e-6
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.0
    floor: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-5
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        require("learning_rate", self.learning_rate, low=0.0)
        require("warmup", self.warmup, low=0.0)
        require("floor", self.floor, low=0.0, high=1.0)
        require("beta1", self.beta1, low=0.0, high=1.0)
        require("beta2", self.beta2, low=0.0, high=1.0)
        require("eps", self.eps, low=0.0)
        require("weight_decay", self.weight_decay, low=0.0)
        require("max_grad_norm", self.max_grad_norm, low=0.0)


@dataclass(frozen=True)
class EngineConfig:
    """Device, precision, how one update is cut up and spread.

    device: "auto" (a GPU where there is one) or "cpu".
    precision: of activations; "auto" is bfloat16 on a GPU that has it, else float32. Weights and
        moments are float32 always.
    micro_batch_tokens: tokens (padding counted) of one forward and backward pass; what does not
        fit is accumulated.
    parallel: with several processes, "ddp" (each has the whole model) or "fsdp" (weights,
        gradients and moments are split over them; `accelerate launch --use_fsdp` asks for it too).
    gradient_checkpointing: recompute activations in the backward pass.
    """

    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    micro_batch_tokens: int = 8192
    parallel: Literal["ddp", "fsdp"] = "ddp"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        require("micro_batch_tokens", self.micro_batch_tokens, low=1)


@dataclass(frozen=True)
class RunConfig:
    """What a run writes beside its results; none of it changes a number, so `--resume` may.

    checkpoint_every: updates between checkpoints.
    checkpoint_seconds: or so many seconds, where that comes sooner.
    keep: newest checkpoints that stay.
    log_seconds: between two lines of progress, where there is no terminal for a table.
    tensorboard: write the numbers for TensorBoard too (needs `evalsuite[tensorboard]`).
    """

    checkpoint_every: int = 100
    checkpoint_seconds: float = 600.0
    keep: int = 2
    log_seconds: float = 30.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        require("checkpoint_every", self.checkpoint_every, low=1)
        require("checkpoint_seconds", self.checkpoint_seconds, low=0.0)
        require("keep", self.keep, low=1)
        require("log_seconds", self.log_seconds, low=0.0)


@dataclass(frozen=True)
class SweepConfig:
    """A log-linear sweep of the learning rate (`--sweep`): as the paper chose its rates.

    low: the lowest rate.
    high: the highest rate.
    count: rates, both ends among them, equally far apart in the logarithm; the paper had 7.
    """

    low: float = 1e-6
    high: float = 1e-3
    count: int = 7

    def __post_init__(self) -> None:
        require("sweep.low", self.low, low=1e-12)
        require("sweep.high", self.high, low=self.low)
        require("sweep.count", self.count, low=2)


def describe(cls: type[Any]) -> list[tuple[str, str, str]]:
    """Key, default and meaning of each setting, nested ones as group.key, from the docstrings."""
    hints = get_type_hints(cls)
    names = "|".join(setting.name for setting in dataclasses.fields(cls))
    texts = [inspect.cleandoc(one.__doc__ or "") for one in cls.__mro__ if one is not object]
    found = []
    for setting in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[setting.name]):
            held = default_of(setting)
            for key, _, meaning in describe(hints[setting.name]):
                found.append((f"{setting.name}.{key}", repr(getattr(held, key)), meaning))
            continue
        pattern = re.compile(rf"\b{setting.name}: (.*?)(?=\b(?:{names}): |\n\n|\Z)", flags=re.S)
        told = next((match for text in texts if (match := pattern.search(text))), None)
        words = " ".join(told[1].split()) if told else ""
        found.append((setting.name, repr(default_of(setting)), words))
    return found


def default_of(setting: dataclasses.Field[Any]) -> Any:
    """The default of a dataclass field."""
    if setting.default_factory is not dataclasses.MISSING:
        return setting.default_factory()
    return setting.default


def require(name: str, value: float, *, low: float, high: float = math.inf) -> None:
    """Refuse a setting out of its range. Raises ConfigError naming it, its value and the range."""
    if not low <= value <= high:  # NaN is in no range
        allowed = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        raise ConfigError(f"{name} is {shown(value)}; allowed {allowed}")


ABSOLUTE = re.compile(r"(?<![\w.~-])/[^\s,]+")


def portable(config: Any) -> dict[str, Any]:
    """Settings as plain data for a checkpoint's record, which travels: of an absolute path the last
    two parts. What was written relative, and ids of the hub, stay.
    """

    def last_two(found: re.Match[str]) -> str:
        return "/".join(found[0].strip("/").split("/")[-2:])

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [cut(inner) for inner in value]
        return ABSOLUTE.sub(last_two, value) if isinstance(value, str) else value

    return {key: cut(value) for key, value in as_dict(config).items()}


def expand(cls: type[Any], overrides: Iterable[str]) -> list[str]:
    """`key=value` words with short keys written out, `learning_rate` as `optimizer.learning_rate`.

    A key is short when no setting of `cls` itself has its name and exactly one nested group has.
    Any other word is handed on as it is. Raises ConfigError where several groups have it.
    """
    hints = get_type_hints(cls)
    groups = {
        field.name: {inner.name for inner in dataclasses.fields(hints[field.name])}
        for field in dataclasses.fields(cls)
        if dataclasses.is_dataclass(hints[field.name])
    }
    out = []
    for word in overrides:
        key, sign, value = word.partition("=")
        key = key.strip()
        owners = [name for name, inner in groups.items() if key in inner]
        if "." in key or key in hints or not owners:
            out.append(word)
        elif len(owners) > 1:
            names = " or ".join(f"{name}.{key}" for name in owners)
            raise ConfigError(f"--set {key}: several settings have this name; allowed {names}")
        else:
            out.append(f"{owners[0]}.{key}{sign}{value}")
    return out
