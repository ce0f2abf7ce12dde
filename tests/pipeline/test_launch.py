"""Memory, time and lines of GPU runs, by hand."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from evalsuite.config import resolve
from evalsuite.errors import ConfigError, ModelError
from evalsuite.pipeline import launch
from evalsuite.pipeline.launch import DEVICES, GIB, device_called, gpu_seconds, memory
from evalsuite.pipeline.sizes import Size, known_models
from evalsuite.pipeline.steps import Plan, Step, Work
from trainers.config import expand
from trainers.sft import SFTConfig

# 1,000 parameters, 2 layers of width 10 whose keys are 5 wide
TINY = Size(1000, 2, 10, 5, 100, "shipped")
LOGITS = 1.5 * GIB


def test_training_on_one_gpu() -> None:
    # state 16 x 1000; activations 34 x 10 x 2 bytes x 64 tokens; keys and values 2 x 2 bytes x 2
    # layers x 5 x 8192 tokens
    found = memory({"engine": {"micro_batch_tokens": 64}}, TINY, 1, ppo=False)
    assert found == {
        "state": 16_000, "frozen": 0, "training": 43_520 + LOGITS,
        "sampling": 327_680 + LOGITS / 3, "total": 16_000 + 43_520 + LOGITS,
    }  # fmt: skip


def test_split_over_four_with_checkpointing() -> None:
    engine = {"micro_batch_tokens": 64, "parallel": "fsdp", "gradient_checkpointing": True}
    found = memory({"engine": engine}, TINY, 4, ppo=False)
    assert found["state"] == 4000
    # 4 x 10 x 2 x 64 and one layer 34 x 10 x 64; two layers gathered, 2 x 2 x 500 bytes
    assert found["training"] == 5120 + 21_760 + 2000 + LOGITS
    assert found["sampling"] == 2000 + 327_680 + LOGITS / 3


def test_ppo_trains_two_and_holds_two() -> None:
    engine: dict[str, Any] = {"micro_batch_tokens": 64}
    assert memory({"engine": engine}, TINY, 1, ppo=True)["state"] == 32_000
    assert memory({"engine": engine}, TINY, 1, ppo=True)["frozen"] == 8000
    rouge = {"engine": engine, "reward": "rouge"}
    assert memory(rouge, TINY, 1, ppo=True)["frozen"] == 4000
    three = {"engine": engine, "reward": "mean:@/rm/a,@/rm/b,@/rm/c"}
    assert memory(three, TINY, 1, ppo=True)["frozen"] == 16_000
    shared = {"engine": engine, "value_network": "shared"}
    assert memory(shared, TINY, 1, ppo=True)["state"] == 16_000
    split = {"engine": engine | {"parallel": "fsdp"}}
    assert memory(split, TINY, 8, ppo=True)["state"] == 4000
    assert memory(split, TINY, 8, ppo=True)["frozen"] == 4000


def test_how_many_gpus() -> None:
    pythia = known_models()["EleutherAI/pythia-6.9b"]
    small = {"micro_batch_tokens": 8192, "gradient_checkpointing": True}
    split = {"engine": small | {"parallel": "fsdp"}}
    # 110 GB of state: one H100 never; two hold 55 GB of it and more than 17 GB besides
    assert launch.gpus_needed(split, pythia, DEVICES["h100"], ppo=False) == 4
    assert launch.gpus_needed(split, pythia, DEVICES["h200"], ppo=False) == 1
    assert launch.gpus_needed(split, pythia, DEVICES["h200"], ppo=False, least=6) == 6
    with pytest.raises(ConfigError, match=r"6,857,302,016 parameters fits on no number of H100.*"
                       r"allowed engine\.parallel: fsdp"):  # fmt: skip
        launch.gpus_needed({"engine": small}, pythia, DEVICES["h100"], ppo=False)


def test_devices_by_name() -> None:
    assert device_called("H200") is DEVICES["h200"]
    with pytest.raises(ConfigError, match="--device 'tpu': unknown; allowed h200, h100, a100"):
        device_called("tpu")


@pytest.mark.parametrize(
    ("kind", "config", "operations"),
    [
        # 1e9 parameters, 1e6 tokens
        ("train", {}, 6e15 / 0.35),
        ("train", {"engine": {"gradient_checkpointing": True}}, 8e15 / 0.35),
        ("score", {}, 2e15 / 0.35),
        ("sample", {}, 2e15 / 0.03),
        # 1e6 tokens are 2.5e5 of episodes x 4 epochs: 2 networks x 6 P x 1e6, 4 models x 2 P x
        # 2.5e5, and 1000 episodes x 40 sampled tokens x 2 P
        (
            "ppo", {"epochs": 4, "episodes": 1000, "data": {"max_completion_tokens": 40}},
            (12e15 + 2e15) / 0.35 + 8e13 / 0.03,
        ),
        ("cpu", {}, 0.0),
    ],
)  # fmt: skip
def test_time(kind: Any, config: dict[str, Any], operations: float) -> None:
    step = Step("a", "sft", "", "sft", {"config": config}, work=Work(kind, 1e9, 1e6))
    assert gpu_seconds(step, DEVICES["a100"]) == pytest.approx(operations / 312e12)
    assert gpu_seconds(step, DEVICES["a100"], 4) == pytest.approx(operations / 312e12 / 4)


def plan() -> Plan:
    sft = {
        "model": "EleutherAI/pythia-1.4b-deduped", "seed": 0,
        "data": {"paths": ["@/data/train-s0.jsonl"], "limits": {"train": 9}},
        "optimizer": {"learning_rate": 6.35e-5}, "engine": {"parallel": "fsdp"},
    }  # fmt: skip
    rm = {"model": "@/sft/a/model", "engine": {"parallel": "fsdp"}}
    return Plan(
        [
            Step("sft/a", "sft", "", "sft", {"config": sft}, (), ("sft/a",),
                 work=Work("train", 1.4e9, 1e8)),
            Step("rm/a", "reward-models", "", "rm", {"config": rm}, ("sft/a",), ("rm/a",)),
            Step("gold", "gold", "", "rm", {"config": {"model": "@/elsewhere"}}),
        ]
    )  # fmt: skip


def test_the_base_is_found_through_the_steps() -> None:
    assert launch.base_of(plan(), plan()["rm/a"]) == "EleutherAI/pythia-1.4b-deduped"
    with pytest.raises(ModelError, match="step gold: elsewhere is made by no step"):
        launch.base_of(plan(), plan()["gold"])


def test_needs_of_a_plan() -> None:
    found = launch.needs(plan().select(["sft", "reward-models"]), DEVICES["h100"])
    assert [(need.step, need.gpus) for need in found] == [("sft/a", 1), ("rm/a", 1)]
    assert found[0].size.parameters == 1_414_647_808
    assert found[0].memory["state"] == 16 * 1_414_647_808
    # 6 x 1.4e9 x 1e8 / (.35 x 989e12)
    assert found[0].seconds == pytest.approx(8.4e17 / (0.35 * 989e12))


def test_where_models_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.pipeline.sizes.cached", lambda name: None)
    found = launch.models(plan().select(["sft", "reward-models"]))
    assert found == {"EleutherAI/pythia-1.4b-deduped": "to be downloaded"}
    other = Step("a", "sft", "", "sft", {"config": {"model": "some/model"}})
    assert "size is unknown before" in launch.models(Plan([other]))["some/model"]


def test_a_line_gives_the_settings_of_the_step() -> None:
    step = plan()["sft/a"]
    line = launch.line(step, "/runs/my run", 8)
    assert line.startswith(
        "accelerate launch --num_processes 8 -m evalsuite train sft --resume --out "
        "'/runs/my run/sft/a' --set model=EleutherAI/pythia-1.4b-deduped"
    )
    words = shlex.split(line)
    sets = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    given = resolve(SFTConfig, overrides=expand(SFTConfig, sets))
    assert given.data.paths == ("/runs/my run/data/train-s0.jsonl",)
    assert given.data.limits == {"train": 9}
    assert given.optimizer.learning_rate == 6.35e-5
    assert given.engine.parallel == "fsdp"
    assert launch.line(step, "/r", 1).startswith("python -m evalsuite train sft")
