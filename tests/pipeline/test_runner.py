"""Steps made by workers: order, records, logs, failures, the lock."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evalsuite.errors import ConfigError, TrainingError
from evalsuite.pipeline import runner
from evalsuite.pipeline.display import Display
from evalsuite.pipeline.runner import Outcome
from evalsuite.pipeline.steps import Plan, Step
from trainers.folder import Lock

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _workers_find_the_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def step(name: str, *inputs: str, action: str = "write", **settings: Any) -> Step:
    settings = settings or {"text": name}
    return Step(name, "sft", f"makes {name}", action, settings, inputs, (f"{name}.txt",))


def run(plan: Plan, folder: Path, **more: Any) -> tuple[Outcome, str]:
    out = io.StringIO()
    display = Display(len(plan), console=Console(file=out, width=200))
    more = {"jobs": 1, "runner_module": "fake_actions", **more}
    return runner.run(plan, folder, display=display, **more), out.getvalue()


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_inputs_first_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    plan = Plan([step("d", "b", "c"), step("b", "a"), step("c", "a"), step("a")])
    outcome, said = run(plan, tmp_path, jobs=2)
    assert outcome.code == 0
    assert sorted(outcome.made) == ["a", "b", "c", "d"]
    assert (tmp_path / "d.txt").read_text() == "(d (b (a)) (c (a)))"
    assert "[4/4] d 0:00 · characters 19" in said
    assert {call[2] for call in calls(tmp_path)} == {"1"}  # threads
    assert (tmp_path / "logs" / "d.log").read_text().endswith(" d: makes d\nbegins d\n")

    outcome, _ = run(plan, tmp_path)
    assert (outcome.code, outcome.made) == (0, [])
    assert len(calls(tmp_path)) == 4


def test_one_worker_makes_many_steps(tmp_path: Path) -> None:
    run(Plan([step("a"), step("b"), step("c")]), tmp_path)
    ids = {call[1] for call in calls(tmp_path)}
    assert len(ids) == 1
    assert ids != {str(os.getpid())}


def test_the_environment_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    run(Plan([step("a")]), tmp_path)
    assert calls(tmp_path)[0][2] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("refuse", "posts.jsonl: has no rows; allowed one or more"),
        ("fault", "KeyError: 'no such key'"),
        ("die", "its process ended by SIGKILL, for want of memory perhaps"),
        ("leave", "it ended with exit code 3"),
        ("nothing", "step bad: it ended without its output bad.txt"),
        ("unknown", "KeyError: 'unknown'"),
    ],
)
def test_a_failing_step_stops_only_what_needs_it(tmp_path: Path, action: str, error: str) -> None:
    plan = Plan(
        [step("bad", action=action), step("good"), step("next", "bad"), step("last", "next")]
    )
    outcome, said = run(plan, tmp_path)
    assert outcome.code == 2
    assert outcome.made == ["good"]
    assert outcome.failed == {"bad": error}
    assert outcome.waiting == {"next": "bad", "last": "bad"}
    assert f"bad failed: {error}; logs/bad.log tells more" in said


def test_a_failed_step_is_made_by_the_same_call(tmp_path: Path) -> None:
    plan = Plan([step("bad", action="die"), step("next", "bad")])
    assert run(plan, tmp_path)[0].code == 2
    assert run(plan, tmp_path)[0].made == ["bad", "next"]


def test_a_fault_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    run(Plan([step("bad", action="fault")]), tmp_path)
    assert "Traceback (most recent call last)" in (tmp_path / "logs" / "bad.log").read_text()


def test_a_changed_step_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    run(Plan([step("a", text="one")]), tmp_path)
    plan = Plan([step("new"), step("a", text="two")])
    with pytest.raises(ConfigError, match=r"step a was made otherwise: settings\.text 'one' -> 't"):
        run(plan, tmp_path)
    assert not (tmp_path / "new.txt").exists()
    outcome, said = run(plan, tmp_path, redo=["a"])
    assert outcome.code == 0
    assert "removed, to be made again: a" in said
    assert (tmp_path / "a.txt").read_text() == "(two)"


def test_redo_takes_what_needs_it(tmp_path: Path) -> None:
    plan = Plan([step("a"), step("b", "a"), step("c")])
    run(plan, tmp_path)
    outcome, _ = run(plan, tmp_path, redo=["a"])
    assert outcome.made == ["a", "b"]


def test_an_input_made_anew_with_the_same_result_changes_nothing(tmp_path: Path) -> None:
    plan = Plan([step("a"), step("b", "a")])
    run(plan, tmp_path)
    (tmp_path / "a.txt").unlink()
    outcome, _ = run(plan, tmp_path)
    assert outcome.made == ["a", "b"]
    assert [call[0] for call in calls(tmp_path)] == ["a", "b", "a"]


def test_an_input_made_anew_otherwise_fails_its_reader(tmp_path: Path) -> None:
    plan = Plan([step("a"), step("b", "a")])
    run(plan, tmp_path)
    (tmp_path / "steps" / "a.json").unlink()
    (tmp_path / "a.txt").unlink()
    other = Plan([step("a", text="other"), step("b", "a")])
    outcome, _ = run(other, tmp_path)
    assert outcome.code == 2
    assert outcome.failed == {
        "b": "step b was made otherwise: input a was made anew; allowed: another --out, or --redo b"
    }
    assert (tmp_path / "b.txt").read_text() == "(b (a))"


def test_only_some_steps(tmp_path: Path) -> None:
    plan = Plan([step("a"), step("b", "a"), step("c")])
    with pytest.raises(ConfigError, match="step b reads a, which is not made and not among the st"):
        run(plan.select(["b"]), tmp_path)
    assert run(plan.select(["a"]), tmp_path)[0].made == ["a"]
    assert run(plan.select(["b"]), tmp_path)[0].made == ["b"]
    other = Plan([step("a", text="two"), step("b", "a"), step("c")])
    assert run(other.select(["c"]), tmp_path)[0].made == ["c"]  # a is none of its business


def test_jobs_below_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--jobs 0; allowed 1 or more"):
        run(Plan([step("a")]), tmp_path, jobs=0)


def test_two_runs_at_once(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(TrainingError, match="another process is at work on this run"):
        run(Plan([step("a")]), tmp_path)
    lock.release()
    assert run(Plan([step("a")]), tmp_path)[0].code == 0


def test_a_worker_that_is_stopped_stops_the_run(tmp_path: Path) -> None:
    plan = Plan([step("a", action="stop"), step("b", "a")])
    outcome, said = run(plan, tmp_path)
    assert (outcome.code, outcome.made) == (75, [])
    assert "stopped; what is made is in place, the same command goes on" in said
    assert run(plan, tmp_path)[0].made == ["a", "b"]


def test_the_estimator_learns_what_steps_took(tmp_path: Path) -> None:
    class Told:
        took: dict[str, float] = {}  # noqa: RUF012 - of this one test

        def seconds(self, step: Step) -> float:
            return {"a": 1.0, "b": 9.0}[step.name]

        def learn(self, step: Step, seconds: float) -> None:
            self.took[step.name] = seconds

    outcome, _ = run(Plan([step("a"), step("b")]), tmp_path, estimator=Told())
    assert outcome.made == ["b", "a"]  # the longest first
    assert sorted(Told.took) == ["a", "b"]
    assert all(seconds > 0 for seconds in Told.took.values())
