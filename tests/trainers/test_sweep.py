"""The sweep: its rates, which run wins, that it goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalsuite.errors import TrainingError
from trainers.config import EngineConfig, OptimizerConfig, RunConfig, SweepConfig
from trainers.engine import DivergedError
from trainers.sweep import copy_folder, rates, sweep


@dataclass(frozen=True)
class Settings:
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sweep: SweepConfig = field(default_factory=lambda: SweepConfig(1e-4, 1e-1, 4))
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(device="cpu"))
    run: RunConfig = field(default_factory=RunConfig)


class Trainer:
    """Losses by learning rate, as a trainer would write them; notes its calls."""

    def __init__(self, losses: dict[float, float | None], stop_at: float | None = None) -> None:
        self.losses, self.stop_at = losses, stop_at
        self.calls: list[float] = []

    def __call__(self, config: Any, folder: Path, *, resume: bool) -> Path:
        assert resume
        rate = config.optimizer.learning_rate
        if (folder / "finished.json").exists():
            return folder / "model"
        if rate == self.stop_at:
            raise SystemExit(75)
        self.calls.append(rate)
        (folder / "checkpoints").mkdir(parents=True)
        loss = self.losses[rate]
        if loss is None:
            raise DivergedError("the gradient of policy is nan")
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text(f"{rate}")
        closing = {"step": 9, "validation_loss": loss, "note": "x"}
        (folder / "finished.json").write_text(json.dumps(closing))
        return folder / "model"


def run(trainer: Trainer, folder: Path, **more: Any) -> Path:
    return sweep(trainer, Settings(), folder, kind="sft", metric="validation_loss", **more)


def test_rates_are_equally_far_apart_in_the_logarithm() -> None:
    assert rates(SweepConfig(1e-4, 1e-1, 4)) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert rates(SweepConfig(2.0, 8.0, 3)) == [2.0, 4.0, 8.0]
    assert len(rates(SweepConfig())) == 7


def test_the_lowest_loss_wins(tmp_path: Path) -> None:
    trainer = Trainer({1e-4: 3.0, 1e-3: 2.0, 1e-2: 2.5, 1e-1: None})
    model = run(trainer, tmp_path / "s")
    assert model == tmp_path / "s" / "model"
    assert (model / "weights").read_text() == "0.001"
    table = pd.read_csv(tmp_path / "s" / "sweep.csv")
    assert table["run"].tolist() == [f"sweep-0{n}" for n in range(4)]
    assert table["best"].tolist() == [False, True, False, False]
    assert table["diverged"].tolist() == [False, False, False, True]
    assert json.loads((tmp_path / "s" / "finished.json").read_text())["learning_rate"] == 1e-3
    assert not list((tmp_path / "s").glob("*/checkpoints"))


def test_the_highest_can_win(tmp_path: Path) -> None:
    trainer = Trainer({1e-4: 3.0, 1e-3: 2.0, 1e-2: 2.5, 1e-1: 1.0})
    model = run(trainer, tmp_path, lowest=False)
    assert (model / "weights").read_text() == "0.0001"


def test_a_stopped_sweep_goes_on(tmp_path: Path) -> None:
    losses = {1e-4: 3.0, 1e-3: 2.0, 1e-2: 2.5, 1e-1: 4.0}
    first = Trainer(dict(losses), stop_at=1e-2)
    with pytest.raises(SystemExit):
        run(first, tmp_path)
    second = Trainer(dict(losses))
    with pytest.raises(TrainingError, match="holds a run already"):
        run(second, tmp_path)
    run(second, tmp_path, resume=True)
    assert (first.calls, second.calls) == ([1e-4, 1e-3], [1e-2, 1e-1])
    third = Trainer(dict(losses))
    assert run(third, tmp_path, resume=True) == tmp_path / "model"
    assert third.calls == []


def test_all_rates_diverge(tmp_path: Path) -> None:
    trainer = Trainer(dict.fromkeys((1e-4, 1e-3, 1e-2, 1e-1)))
    with pytest.raises(TrainingError, match=r"diverged at all 4 rates; allowed a lower sweep\.low"):
        run(trainer, tmp_path)


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"model: cannot be written"):
        copy_folder(tmp_path / "none", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
