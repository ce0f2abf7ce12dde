"""Seconds of steps, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalsuite.pipeline import estimates, ledger
from evalsuite.pipeline.estimates import COSTS, PRIOR_SECONDS, Cost, Estimates, wall_seconds
from evalsuite.pipeline.launch import DEVICES
from evalsuite.pipeline.steps import Kind, Plan, Step, Work


def step(name: str, kind: Kind, tokens: float, fixed: float = 0.0, action: str = "sft") -> Step:
    work = Work(kind, 1e6, tokens, fixed)
    return Step(name, "sft", "", action, outputs=(f"{name}.txt",), work=work)


@pytest.fixture(autouse=True)
def _round_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS, "train", Cost(1e-4, 4e-10))
    monkeypatch.setitem(COSTS, "score", Cost(1e-5, 0.0))


def test_tokens_parameters_and_what_else() -> None:
    # 3 s + 20,000 tokens x (100 + 1e6 x 0.0004) microseconds = 3 + 10
    assert Estimates().seconds(step("a", "train", 20_000, 3.0)) == pytest.approx(13)
    assert Estimates(speed=0.5).seconds(step("a", "train", 20_000, 3.0)) == pytest.approx(26)
    assert Estimates().seconds(step("a", "cpu", 20_000, 3.0)) == 3


def test_what_steps_took_corrects_those_of_the_same_action_then_kind() -> None:
    told = Estimates()
    told.learn(step("a", "train", 40_000, action="sft"), 50.0)  # 20 s were thought
    factor = (50 + PRIOR_SECONDS) / (20 + PRIOR_SECONDS)
    assert factor == 2
    assert told.seconds(step("b", "train", 2_000, action="sft")) == pytest.approx(1 * 2)
    assert told.seconds(step("b", "train", 2_000, action="rm")) == pytest.approx(1 * 2)
    assert told.seconds(step("b", "score", 100_000, action="judge")) == pytest.approx(1)
    told.learn(step("c", "train", 80_000, action="rm"), 40.0)  # as thought
    assert told.seconds(step("b", "train", 2_000, action="rm")) == pytest.approx(1)
    # of the kind: 60 s thought, 90 taken
    assert told.seconds(step("b", "train", 2_000, action="base")) == pytest.approx(100 / 70)


def test_it_learns_from_what_is_on_file_but_not_from_broken_off_steps(tmp_path: Path) -> None:
    plan = Plan([step("a", "train", 40_000), step("b", "train", 40_000, action="rm")])
    for one, resumed in (("a", False), ("b", True)):
        (tmp_path / f"{one}.txt").touch()
        ledger.finish(plan[one], tmp_path, {}, seconds=50, resumed=resumed, numbers={})
    told = Estimates()
    told.learn_from(plan, tmp_path)
    assert told.correction(plan["a"]) == 2  # as above
    assert told.correction(step("c", "train", 1, action="rm")) == 2  # of the kind, from a alone


def test_the_wall_is_the_schedule_and_not_the_sum() -> None:
    plan = Plan([step("a", "cpu", 0), step("b", "cpu", 0), step("c", "cpu", 0)])
    seconds = {"a": 3.0, "b": 3.0, "c": 3.0}
    # two workers: two of three, then the last
    assert wall_seconds(plan, seconds, 2) == estimates.STARTUP_SECONDS + 6
    assert wall_seconds(plan, {}, 2) == 0


def test_models_on_a_gpu_take_their_operations() -> None:
    # 6 x 1e6 x 20,000 / (.35 x 989e12) s, and 3 s besides
    on_gpu = Estimates(speed=0.1, device=DEVICES["h100"])
    assert on_gpu.seconds(step("a", "train", 20_000, 3.0)) == pytest.approx(
        3 + 1.2e11 / (0.35 * 989e12)
    )
    assert on_gpu.seconds(step("a", "cpu", 0, 3.0)) == pytest.approx(30)


def test_the_probe_gives_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "PROBE_SECONDS", 0.05)
    assert 0 < estimates.probe(2) < 100
