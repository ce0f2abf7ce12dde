"""Shared settings: ranges, short keys, descriptions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from evalsuite.config import resolve
from evalsuite.errors import ConfigError
from trainers.config import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    SweepConfig,
    describe,
    expand,
    portable,
    require,
)


@dataclass(frozen=True)
class Two:
    """Settings with two optimizers.

    epochs: passes. name: what it
    is called.
    """

    epochs: float = 1.0
    name: str = "x"
    first: OptimizerConfig = field(default_factory=OptimizerConfig)
    second: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=0.5))
    data: DataConfig = field(default_factory=DataConfig)


@pytest.mark.parametrize(
    ("cls", "override", "message"),
    [
        (OptimizerConfig, "learning_rate=-1", "learning_rate is -1.0; allowed 0 or more"),
        (OptimizerConfig, "learning_rate=.nan", "learning_rate is nan; allowed 0 or more"),
        (OptimizerConfig, "floor=2", "floor is 2.0; allowed 0 to 1"),
        (OptimizerConfig, "beta1=1.5", "beta1 is 1.5; allowed 0 to 1"),
        (OptimizerConfig, "beta2=-.5", "beta2 is -0.5; allowed 0 to 1"),
        (OptimizerConfig, "eps=-1", "eps is -1.0; allowed 0 or more"),
        (OptimizerConfig, "warmup=-1", "warmup is -1.0; allowed 0 or more"),
        (OptimizerConfig, "weight_decay=-1", "weight_decay is -1.0; allowed 0 or more"),
        (OptimizerConfig, "max_grad_norm=-1", "max_grad_norm is -1.0; allowed 0 or more"),
        (OptimizerConfig, "schedule=step", "schedule is 'step'; input should be 'cosine'"),
        (EngineConfig, "micro_batch_tokens=0", "micro_batch_tokens is 0; allowed 1 or more"),
        (RunConfig, "checkpoint_every=0", "checkpoint_every is 0; allowed 1 or more"),
        (RunConfig, "keep=0", "keep is 0; allowed 1 or more"),
        (RunConfig, "log_seconds=-1", "log_seconds is -1.0; allowed 0 or more"),
        (RunConfig, "checkpoint_seconds=-1", "checkpoint_seconds is -1.0; allowed 0 or more"),
        (SweepConfig, "count=1", "sweep.count is 1; allowed 2 or more"),
        (SweepConfig, "high=1e-9", "sweep.high is 1e-09; allowed 1e-06 or more"),
        (SweepConfig, "low=0", "sweep.low is 0.0; allowed 1e-12 or more"),
    ],
)
def test_out_of_range(cls: type[object], override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(cls, overrides=[override])
    assert message in str(caught.value)


def test_require_names_the_range() -> None:
    require("x", 1, low=1, high=2)
    with pytest.raises(ConfigError, match="x is 3; allowed 1 to 2"):
        require("x", 3, low=1, high=2)


def test_short_keys_are_written_out() -> None:
    assert expand(Two, ["epochs=2", "paths=a", "data.held_out=0.2", "first.eps=1", "oops=1"]) == [
        "epochs=2", "data.paths=a", "data.held_out=0.2", "first.eps=1", "oops=1",
    ]  # fmt: skip


def test_short_keys_of_two_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set learning_rate: several .* allowed first\.learn"):
        expand(Two, ["learning_rate=1"])


def test_settings_are_described_with_their_defaults() -> None:
    rows = {key: (default, meaning) for key, default, meaning in describe(Two)}
    assert rows["epochs"] == ("1.0", "passes.")
    assert rows["name"] == ("'x'", "what it is called.")
    assert rows["second.learning_rate"] == ("0.5", "the highest.")
    assert rows["data.limits"][0] == "{}"
    assert all(meaning for _, meaning in rows.values())


def test_a_checkpoints_record_says_nothing_of_the_machine() -> None:
    @dataclass(frozen=True)
    class Settings:
        model: str = "/home/me/runs/sft/model"
        hub: str = "EleutherAI/pythia-1.4b"
        reward: str = "mean:/data/rm1/model,runs/rm2/model"
        data: DataConfig = field(default_factory=lambda: DataConfig(paths=("/x.jsonl", "../a/b")))

    found = portable(Settings())
    assert found["model"] == "sft/model"
    assert found["hub"] == "EleutherAI/pythia-1.4b"
    assert found["reward"] == "mean:rm1/model,runs/rm2/model"
    assert found["data"]["paths"] == ["x.jsonl", "../a/b"]
