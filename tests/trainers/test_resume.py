"""A run goes on as if nothing had happened; signals, records, checkpoints, its last word."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evalsuite.errors import TrainingError
from evalsuite.tables import Source
from trainers import resume, saved
from trainers.config import EngineConfig, OptimizerConfig, RunConfig
from trainers.engine import Engine, Trainable
from trainers.resume import INTERRUPTED, Run, is_timing

STEPS = 10


@dataclass(frozen=True)
class Settings:
    rate: float = 1e-2
    run: RunConfig = field(default_factory=lambda: RunConfig(checkpoint_every=3))


class Stopped(Exception):  # noqa: N818 - stands for a killed process
    pass


def prepared() -> tuple[Engine, Trainable]:
    engine = Engine(EngineConfig(device="cpu"))
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(generator=generator)
    return engine, engine.prepare("net", module, OptimizerConfig())


def train(
    folder: Path,
    *,
    again: bool = False,
    kill_at: int | None = None,
    signal_at: int | None = None,
    settings: Settings | None = None,
    inputs: list[Source] | None = None,
    mark: dict[int, str] | None = None,
) -> tuple[Run, Trainable]:
    """Ten updates; `kill_at` leaves in the middle of a step, as SIGKILL would."""
    engine, net = prepared()
    run = Run(
        folder, settings or Settings(), kind="toy", total_steps=STEPS, engine=engine, resume=again,
        inputs=inputs or [],
    )  # fmt: skip
    if not run.restore([net]):
        run.log({"validation": 0.5})
    with run:
        for step in run.steps():
            batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))

            def loss(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
                total = (net.module(x) ** 2).sum()
                return total, {"total": total}

            update = engine.update(net, [batch], loss, count=4, learning_rate=1e-2)
            run.log({"loss": update.sums["total"], "tokens_per_second": os.getpid()})
            run.state["sum"] = run.state.get("sum", 0.0) + update.sums["total"]
            run.record([{"text": f"t{step}"}])
            if mark and step in mark:
                run.mark(mark[step])
            if step == kill_at:
                raise Stopped
            if step == signal_at:
                os.kill(os.getpid(), signal.SIGTERM)
    run.finish({"loss": update.sums["total"]})
    return run, net


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if not is_timing(key)} for row in found]


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    run, net = train(tmp_path / "whole")
    return tmp_path / "whole", run.engine.weights(net)


def test_numbers_are_one_object_a_step(whole: tuple[Path, Any]) -> None:
    found = rows(whole[0])
    assert [row["step"] for row in found] == list(range(STEPS + 1))
    assert found[0] == {"step": 0, "validation": 0.5}
    assert found[1].keys() == {"step", "loss"}
    timed = json.loads((whole[0] / "metrics.jsonl").read_text().splitlines()[5])
    assert timed.keys() == {"step", "time", "seconds", "loss", "tokens_per_second"}


def test_the_newest_two_checkpoints_stay(whole: tuple[Path, Any]) -> None:
    assert checkpoints(whole[0]) == ["step-000009", "step-000010"]


@pytest.mark.parametrize("kill_at", [1, 3, 4, 9, 10])
def test_killed_and_resumed_is_uninterrupted(
    tmp_path: Path, whole: tuple[Path, dict[str, Tensor]], kill_at: int
) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Stopped):
        train(folder, kill_at=kill_at)
    run, net = train(folder, again=True)
    weights = run.engine.weights(net)
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole[1].items())
    assert rows(folder) == rows(whole[0])
    assert rows(folder, "samples.jsonl") == rows(whole[0], "samples.jsonl")
    newest = saved.newest(folder)
    expected = saved.newest(whole[0])
    assert newest is not None
    assert expected is not None
    assert newest.state["extra"] == expected.state["extra"]
    for name in ("net", "net.optimizer"):
        ours, theirs = newest.tensors(name), expected.tensors(name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_line_cut_short_is_dropped(tmp_path: Path, whole: tuple[Path, Any]) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Stopped):
        train(folder, kill_at=8)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    train(folder, again=True)
    assert rows(folder) == rows(whole[0])


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, whole: tuple[Path, Any]) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Stopped):
        train(folder, kill_at=8)
    path = folder / "checkpoints" / "step-000006" / "net.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    run, net = train(folder, again=True)
    weights = run.engine.weights(net)
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole[1].items())
    assert rows(folder) == rows(whole[0])


def test_sigterm_saves_and_leaves_with_its_code(
    tmp_path: Path, whole: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stopped"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        train(folder, signal_at=4)
    assert caught.value.code == INTERRUPTED == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert checkpoints(folder) == ["step-000003", "step-000004"]
    said = capsys.readouterr().err
    assert "SIGTERM: finishing the step and saving (again: leave now)" in said
    assert "stopped after step 4 of 10, saved; go on with the same command and --resume" in said
    train(folder, again=True)
    assert rows(folder) == rows(whole[0])


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    if os.fork() == 0:  # pragma: no cover - the child dies
        engine, net = prepared()
        run = Run(tmp_path / "r", Settings(), kind="toy", total_steps=STEPS, engine=engine)
        run.restore([net])
        with run:
            for _ in run.steps():
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    _, status = os.wait()
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_a_finished_run_says_so(whole: tuple[Path, Any]) -> None:
    engine, _ = prepared()
    run = Run(whole[0], Settings(), kind="toy", total_steps=STEPS, engine=engine, resume=True)
    assert run.finished
    assert run.summary["step"] == STEPS
    assert run.summary["loss"] == rows(whole[0])[-1]["loss"]


def test_a_marked_checkpoint_stays_and_loads(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(folder, mark={2: "best"}, kill_at=10)
    assert checkpoints(folder) == ["step-000002", "step-000006", "step-000009"]
    run, net = train(folder, again=True)
    assert checkpoints(folder) == ["step-000002", "step-000009", "step-000010"]
    assert run.load("best", [net]) == 2
    at_two = saved.read(folder / "checkpoints" / "step-000002")
    assert at_two is not None
    weights = run.engine.weights(net)
    assert all(torch.equal(weights[k], v) for k, v in at_two.tensors("net").items())
    with pytest.raises(TrainingError, match="no checkpoint is marked 'worst'; allowed best"):
        run.load("worst", [net])
    saved.prune(folder, 1, [])
    with pytest.raises(TrainingError, match="checkpoint 'best' is damaged or gone"):
        run.load("best", [net])


def test_checkpoints_by_the_clock(tmp_path: Path) -> None:
    settings = Settings(run=RunConfig(checkpoint_every=1000, checkpoint_seconds=0, keep=100))
    train(tmp_path / "run", settings=settings)
    assert len(checkpoints(tmp_path / "run")) == STEPS


def test_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path / "run", kill_at=2, inputs=[Source("a.jsonl", "11", "posts", 1)])
    with pytest.raises(TrainingError, match=r"not those that the run began with: a\.jsonl"):
        train(tmp_path / "run", again=True, inputs=[Source("a.jsonl", "22", "posts", 1)])


def test_two_processes_at_once_are_refused(tmp_path: Path) -> None:
    engine, _ = prepared()
    first = Run(tmp_path / "run", Settings(), kind="toy", total_steps=STEPS, engine=engine)
    with pytest.raises(TrainingError, match="another process is at work"):
        Run(tmp_path / "run", Settings(), kind="toy", total_steps=STEPS, engine=engine, resume=True)
    assert not first.finished


def test_numbers_are_plain_json(tmp_path: Path) -> None:
    engine, net = prepared()
    run = Run(tmp_path / "run", Settings(), kind="toy", total_steps=1, engine=engine)
    run.restore([net])
    with run:
        for _ in run.steps():
            run.log({"a": torch.tensor(1.5), "b": float("nan"), "c": 3, "d": "x"})
            run.log({"a": 2.5})
    assert rows(tmp_path / "run") == [{"step": 1, "a": 2.5, "b": None, "c": 3, "d": "x"}]


def test_the_step_that_failed_is_on_file(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path / "run", kill_at=2)
    assert [row["step"] for row in rows(tmp_path / "run")] == [0, 1, 2]


def test_a_full_disk_under_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, net = prepared()
    run = Run(tmp_path / "run", Settings(), kind="toy", total_steps=2, engine=engine)
    run.restore([net])
    real = Path.open

    def full(path: Path, mode: str = "r", **more: Any) -> Any:
        if path.name == "metrics.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, mode, **more)

    monkeypatch.setattr(Path, "open", full)

    def go() -> None:
        with run:
            for _ in run.steps():
                run.log({"a": 1})

    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be written \(No space left"):
        go()


def test_tensorboard_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    engine, net = prepared()
    settings = Settings(run=RunConfig(tensorboard=True))
    run = Run(tmp_path / "run", settings, kind="toy", total_steps=1, engine=engine)
    run.restore([net])
    with pytest.raises(TrainingError, match=r"pip install 'evalsuite\[tensorboard\]'"):
        run.__enter__()


def test_tensorboard_gets_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            got.append((Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            got.append((name, value, step))

        def close(self) -> None:
            got.append("closed")

    class Module:
        SummaryWriter = Writer

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", Module)
    engine, net = prepared()
    settings = Settings(run=RunConfig(tensorboard=True))
    run = Run(tmp_path / "run", settings, kind="toy", total_steps=1, engine=engine)
    run.restore([net])
    with run:
        for _ in run.steps():
            run.log({"a": 1.5, "words": "x"})
    assert got == [("tensorboard", 1), ("a", 1.5, 1), "closed"]


@pytest.mark.parametrize(
    ("name", "timing"),
    [("time", True), ("seconds", True), ("seconds_rollout", True), ("tokens_per_second", True),
     ("peak_memory_gib", True), ("loss", False), ("tokens", False), ("step", False)],
)  # fmt: skip
def test_fields_of_the_clock(name: str, timing: bool) -> None:
    assert is_timing(name) is timing


def test_names_of_the_files_are_public() -> None:
    assert (resume.METRICS, resume.SAMPLES, resume.MODEL) == (
        "metrics.jsonl", "samples.jsonl", "model",
    )  # fmt: skip
