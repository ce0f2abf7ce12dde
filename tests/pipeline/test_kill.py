"""A run that is stopped or killed: nothing is lost but the work at hand, and no orphan goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def start(folder: Path, kind: str, jobs: int = 2) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(HERE / "run_fake_steps.py"), str(folder), str(jobs), kind]
    return subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def until(there: Callable[[], bool]) -> None:
    for _ in range(3000):
        if there():
            return
        time.sleep(0.02)
    raise AssertionError("waited for a minute")


def calls(folder: Path) -> list[str]:
    path = folder / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def workers(folder: Path) -> set[int]:
    return {int(line.split()[1]) for line in calls(folder)}


def alive(number: int) -> bool:
    """Whether a process runs still; one that nobody has waited for (a zombie) does not."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def lines(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.glob("*/[ab].txt")}


WHOLE = {
    f"{side}/{name}.txt": "".join(f"{n}\n" for n in range(12))
    for side in ("left", "right")
    for name in "ab"
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_once_and_trainers_save(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, "training")
    until(lambda: len(calls(tmp_path)) == 2)
    time.sleep(0.3)
    os.killpg(process.pid, number)  # as a terminal does: everybody in the foreground
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "the same command goes on" in said
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.txt").read_text() == "saved after True, 1 signal"


def test_the_second_signal_leaves_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "patient", jobs=1)
    until(lambda: len(calls(tmp_path)) == 1)
    process.send_signal(signal.SIGINT)
    until(lambda: (tmp_path / "asked").exists())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert not any(alive(number) for number in workers(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_outright_no_worker_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, "patient", jobs=1)  # it says nothing, so it cannot miss its runner
    until(lambda: len(calls(tmp_path)) == 1)
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not any(alive(number) for number in workers(tmp_path)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_again_and_again_it_ends_as_if_left_alone(tmp_path: Path, number: int) -> None:
    for kills in (1, 2):
        process = start(tmp_path, "counting")
        until(lambda goal=2 * kills: len(calls(tmp_path)) >= goal)  # type: ignore[misc]
        time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
    process = start(tmp_path, "counting")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert lines(tmp_path) == WHOLE


def test_a_killed_worker_fails_its_step_and_the_next_call_makes_it(tmp_path: Path) -> None:
    process = start(tmp_path, "counting", jobs=1)
    until(lambda: len(calls(tmp_path)) == 1)
    os.kill(workers(tmp_path).pop(), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "left/a failed: its process ended by SIGKILL" in said
    assert set(lines(tmp_path)) == {"left/a.txt", "right/a.txt", "right/b.txt"}
    process = start(tmp_path, "counting", jobs=1)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert lines(tmp_path) == WHOLE
