"""Actions without models, for tests of the runner."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalsuite.errors import ConfigError
from evalsuite.pipeline.steps import Step


def run_step(step: Step, folder: Path, report: Callable[[int, int], object]) -> dict[str, Any]:
    print("begins", step.name)  # noqa: T201 - for the log
    with (folder / "calls.txt").open("a") as file:
        file.write(f"{step.name} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
    found: dict[str, Any] = ACTIONS[step.action](step, folder, report) or {}
    return found


def write(step: Step, folder: Path, report: Any) -> dict[str, Any]:
    """Its text and that of what it reads."""
    texts = [step.settings["text"]]
    texts += [(folder / f"{name}.txt").read_text() for name in step.inputs]
    path = folder / step.outputs[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("(" + " ".join(texts) + ")")
    return {"characters": len(path.read_text())}


def count(step: Step, folder: Path, report: Any) -> None:
    """Numbers, a line each, going on where the file was left."""
    path = folder / step.outputs[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    done = len(path.read_text().splitlines()) if path.exists() else 0
    for number in range(done, step.settings["to"]):
        with path.open("a") as file:
            file.write(f"{number}\n")
        report(number + 1, step.settings["to"])
        time.sleep(step.settings["seconds"])


def train(step: Step, folder: Path, report: Any) -> None:
    """As a trainer: a signal lets it finish what it is at and save."""
    path = folder / step.outputs[0]
    asked = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    for number in range(step.settings["to"]):
        report(number, step.settings["to"])
        time.sleep(0.05)
        if asked:
            path.write_text(f"saved after {number > 0}, {len(asked)} signal")
            raise SystemExit(75)
    signal.signal(signal.SIGTERM, before)
    path.write_text("whole")


def linger(step: Step, folder: Path, report: Any) -> None:
    """Takes note of being asked to stop, and goes on."""
    signal.signal(signal.SIGTERM, lambda number, _: (folder / "asked").touch())
    for _ in range(20_000):
        time.sleep(0.01)


def refuse(step: Step, folder: Path, report: Any) -> None:
    raise ConfigError("posts.jsonl: has no rows; allowed one or more")


def fault(step: Step, folder: Path, report: Any) -> None:
    return {}["no such key"]


def die(step: Step, folder: Path, report: Any) -> None:
    """By SIGKILL, the first time."""
    mark = folder / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / step.outputs[0]).write_text("lived")


def leave(step: Step, folder: Path, report: Any) -> None:
    sys.exit(3)


def nothing(step: Step, folder: Path, report: Any) -> None:
    """Without its output."""


def stop(step: Step, folder: Path, report: Any) -> None:
    """As if somebody had stopped this one worker, the first time."""
    mark = folder / "was stopped"
    if not mark.exists():
        mark.touch()
        raise SystemExit(75)
    (folder / step.outputs[0]).write_text("whole")


ACTIONS: dict[str, Callable[[Step, Path, Any], Any]] = {
    "write": write, "count": count, "train": train, "linger": linger, "refuse": refuse,
    "fault": fault, "die": die, "leave": leave, "nothing": nothing, "stop": stop,
}  # fmt: skip
