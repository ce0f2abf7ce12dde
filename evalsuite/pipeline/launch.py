"""What a run needs on GPUs: time and memory of each step, and the lines that begin training.

Nothing here is measured: it is arithmetic on the size of the models, shown with its formulas
(`FORMULAS`), for deciding how many GPUs to ask for.
Proof: tests/pipeline/test_launch.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from evalsuite.errors import ConfigError, ModelError
from evalsuite.pipeline.sizes import Size, known_size
from evalsuite.pipeline.steps import Kind, Plan, Step

__all__ = ["known_size"]

GIB = 2.0**30


class Device(NamedTuple):
    """A GPU: dense bfloat16 operations a second, bytes of memory."""

    name: str
    peak: float
    memory: float


DEVICES = {
    "h200": Device("H200", 989e12, 141e9),
    "h100": Device("H100 80 GB", 989e12, 80e9),
    "a100": Device("A100 80 GB", 312e12, 80e9),
    "a100-40": Device("A100 40 GB", 312e12, 40e9),
    "l40s": Device("L40S", 362e12, 48e9),
}
"""Peak without sparsity, from the makers' data sheets (SXM modules)."""

OTHER_PEAK = 100e12
"""Of a GPU that the table does not know."""

UTILISATION: dict[Kind, float] = {"train": 0.35, "ppo": 0.35, "score": 0.35, "sample": 0.03}
"""Share of the peak that is reached: of training and scoring, whose products are large, and of
sampling token by token, which waits for memory. Sampling inside PPO counts as sampling."""

COMPLETION = 48.0
"""Tokens sampled a completion, where the settings name no other limit."""

ACTIVATIONS = 34.0
"""Bytes kept for the backward pass by a layer for each token and unit of width, 16-bit, attention
scores recomputed. Source: Korthikanti et al. 2022, arXiv:2205.05198, eq. 2."""

CHECKPOINTED = 4.0
"""The same where only a layer's input is kept (gradient_checkpointing), float32 stream."""

LOGITS = 3 * 0.5 * GIB
"""Logits alive at once, their gradient and softmax; they are made in chunks of .5 GiB."""

RESERVE = 0.9
"""Share of a GPU's memory that may be planned with; the rest is for the allocator and kernels."""

MOST_GPUS = 512

FORMULAS = """\
memory of a GPU = the larger of training and sampling, N GPUs, P parameters, L layers, width h
  state       16 P / N bytes: float32 weights 4, gradients 4, moments 8 (PPO: policy and value)
  frozen      PPO: reference and reward models, 2 P each on every GPU (4 P where N = 1)
  activations 34 h L bytes a token of a micro-batch, bfloat16; checkpointed 4 h L, and one layer
  layers      two layers gathered at a time, 2 bytes a parameter, where N > 1
  sampling    a whole copy, 2 P, where N > 1; keys and values 4 L h_kv bytes a token of a rollout
time = operations / (utilisation x peak x N)
  train  6 P a token (8 P checkpointed)   score  2 P a token   sample  2 P a sampled token
  PPO    an episode's tokens: 2 P in each of 4 models, then 6 P in each of 2 for each epoch; and
         sampling, 2 P a completion token"""


class Need(NamedTuple):
    """What one step needs. memory: bytes of each GPU, by part; seconds: on so many GPUs."""

    step: str
    model: str
    size: Size
    gpus: int
    memory: dict[str, float]
    seconds: float


def device_called(name: str) -> Device:
    """A GPU by its short name. Raises ConfigError listing the names."""
    if name.lower() not in DEVICES:
        raise ConfigError(f"--device {name!r}: unknown; allowed {', '.join(DEVICES)}")
    return DEVICES[name.lower()]


def local_device() -> Device | None:
    """The GPU of this machine, None where there is none; torch is loaded only to look closer."""
    if not Path("/dev/nvidia0").exists():
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    words = {"H200": "h200", "H100": "h100", "A100": "a100", "L40S": "l40s"}
    known = next((DEVICES[short] for word, short in words.items() if word in name), None)
    memory = float(torch.cuda.get_device_properties(0).total_memory)
    return Device(name, known.peak if known else OTHER_PEAK, memory)


def gpu_seconds(step: Step, device: Device, gpus: int = 1) -> float:
    """Seconds of a step's model work; see `FORMULAS`. What it takes besides is not counted."""
    return operations(step) / (device.peak * gpus)


def operations(step: Step) -> float:
    """Operations of a step, each divided by the utilisation that it reaches."""
    work, config = step.work, step.settings.get("config", {})
    p, tokens = work.parameters, work.tokens
    checkpointed = bool(config.get("engine", {}).get("gradient_checkpointing"))
    train = (8.0 if checkpointed else 6.0) * p / UTILISATION["train"]
    score = 2.0 * p / UTILISATION["score"]
    sample = 2.0 * p / UTILISATION["sample"]
    if work.kind == "train":
        return train * tokens
    if work.kind == "score":
        return score * tokens
    if work.kind == "sample":
        return sample * tokens
    if work.kind == "ppo":  # its tokens are counted once for each epoch
        epochs = float(config.get("epochs", 4))
        longest = config.get("data", {}).get("max_completion_tokens") or COMPLETION
        sampled = float(config.get("episodes", 1_000_000)) * float(longest)
        return tokens * (2.0 * train + 4.0 * score / epochs) + sample * sampled
    return 0.0


def memory(config: Mapping[str, Any], size: Size, gpus: int, *, ppo: bool) -> dict[str, float]:
    """Bytes on each of `gpus` GPUs, by part; "total" is the larger of training and sampling.

    config: of the trainer, as a plan has it. ppo: whether a value network of the policy's size is
    trained beside it, and the reference and the reward's models, as large, are held.
    """
    engine = config.get("engine", {})
    split = gpus > 1 and engine.get("parallel", "ddp") == "fsdp"
    p, layers, h = float(size.parameters), size.layers, size.hidden
    shared = config.get("value_network") == "shared"
    trained = 1 if not ppo or shared else 2
    state = 16.0 * p * trained / (gpus if split else 1)
    rewards = str(config.get("reward") or "@/").count("@/")  # none where it is a metric
    frozen = (1 + rewards if ppo else 0) * (2.0 if split else 4.0) * p
    tokens = float(engine.get("micro_batch_tokens", 8192))
    layer = ACTIVATIONS * h * tokens
    if engine.get("gradient_checkpointing"):
        activations = CHECKPOINTED * h * layers * tokens + layer
    else:
        activations = layer * layers
    gathered = 2 * 2.0 * p / layers if split else 0.0
    copy = 2.0 * p if split else 0.0
    rollout = float(config.get("rollout_batch_tokens", 32768 if ppo else 8192))
    cache = 2 * 2.0 * layers * size.kv_width * rollout
    training = activations + gathered + LOGITS
    sampling = copy + cache + LOGITS / 3
    return {
        "state": state, "frozen": frozen, "training": training, "sampling": sampling,
        "total": state + frozen + max(training, sampling),
    }  # fmt: skip


def gpus_needed(
    config: Mapping[str, Any], size: Size, device: Device, *, ppo: bool, least: int = 1
) -> int:
    """The fewest GPUs, `least` or that times a power of 2, that the step fits on.

    Raises ConfigError where it fits on no number of them.
    """
    gpus = least
    while gpus <= MOST_GPUS:
        if memory(config, size, gpus, ppo=ppo)["total"] <= RESERVE * device.memory:
            return gpus
        gpus *= 2
    more = "" if config.get("engine", {}).get("parallel") == "fsdp" else "engine.parallel: fsdp, "
    raise ConfigError(
        f"a model of {size.parameters:,} parameters fits on no number of {device.name}; allowed "
        f"{more}engine.gradient_checkpointing: true, a smaller engine.micro_batch_tokens or "
        "rollout_batch_tokens"
    )


def needs(plan: Plan, device: Device, least: int = 1) -> list[Need]:
    """What each chosen training step needs, in the plan's order, on `least` GPUs or more.

    Raises ModelError where the size of a model is unknown, ConfigError where one does not fit.
    """
    found = []
    for step in trainers(plan):
        config, ppo = step.settings["config"], step.action == "ppo"
        model = base_of(plan, step)
        size = known_size(model)
        gpus = gpus_needed(config, size, device, ppo=ppo, least=least)
        parts = memory(config, size, gpus, ppo=ppo)
        seconds = step.work.seconds + gpu_seconds(step, device, gpus)
        found.append(Need(step.name, model, size, gpus, parts, seconds))
    return found


def trainers(plan: Plan) -> Iterator[Step]:
    """The chosen steps that a trainer makes."""
    for step in plan:
        if step.name in plan.chosen and step.action in ("sft", "rm", "ppo"):
            yield step


def base_of(plan: Plan, step: Step) -> str:
    """The base model that a step's model goes back to, through the steps that made it.

    Raises ModelError where a model of the run is made by no step.
    """
    model = str(step.settings["config"]["model"])
    while model.startswith("@/"):
        made = model.removeprefix("@/")
        for other in plan:
            if any(made == o or made.startswith(f"{o}/") for o in other.outputs):
                model = str(other.settings["config"]["model"])
                break
        else:
            raise ModelError(f"step {step.name}: {made} is made by no step")
    return model


def models(plan: Plan) -> dict[str, str]:
    """Base models of the chosen steps, and where each is: what is known without a network."""
    found: dict[str, str] = {}
    for step in trainers(plan):
        name = base_of(plan, step)
        if name not in found:
            try:
                found[name] = known_size(name).place
            except ModelError as error:
                found[name] = str(error)
    return found


def line(step: Step, folder: str, gpus: int) -> str:
    """The command that makes a training step on several GPUs; it may be given again to go on.

    A run that then meets the finished folder takes it as it is.
    """
    words = ["-m", "evalsuite", "train", step.action, "--resume", "--out"]
    words.append(f"{folder}/{step.outputs[0]}")
    for key, value in _flat(step.settings["config"]):
        plain = value.replace("@/", f"{folder}/") if isinstance(value, str) else value
        if isinstance(value, list):
            plain = [v.replace("@/", f"{folder}/") if isinstance(v, str) else v for v in value]
        text = yaml.safe_dump(plain, default_flow_style=True, width=10**6).strip()
        words += ["--set", f"{key}={text.removesuffix('...').strip()}"]
    start = "python" if gpus == 1 else f"accelerate launch --num_processes {gpus}"
    return f"{start} {shlex.join(words)}"


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value
