"""A process that makes one step after another, and ends when its runner does.

It gets `(step, parts)` through a pipe and answers with `Progress`, then `Made`, `Failed` or
`Stopped`. What a step prints goes to `logs/NAME.log` in the run's folder. SIGTERM and SIGINT end
a step with code 75: trainers finish their update and save first, all else ends at once, and what
is on file by then is whole.
Proof: tests/pipeline/test_runner.py.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from evalsuite.errors import EvalsuiteError
from evalsuite.pipeline import ledger
from evalsuite.pipeline.steps import Step

INTERRUPTED = 75
"""Exit code of what was told to stop and can be gone on with (EX_TEMPFAIL)."""

LOGS = "logs"
REPORT_SECONDS = 0.2
PR_SET_PDEATHSIG = 1

Report = Callable[[int, int], object]
"""Called by an action with what is done and what there is in all."""


class Progress(NamedTuple):
    """So much of the step is done."""

    done: int
    total: int


class Made(NamedTuple):
    """The step is done and its record written."""

    seconds: float
    resumed: bool
    numbers: dict[str, Any]


class Failed(NamedTuple):
    """The step ended with an error."""

    message: str


class Stopped(NamedTuple):
    """The step was told to stop and can be gone on with."""


def work(pipe: Connection, folder: Path, module: str, parent: int) -> None:
    """Make the steps that come through the pipe until it closes or a signal comes.

    module: that has `run_step(step, folder, report) -> dict`. parent: id of the runner's process.
    """
    os.setpgid(0, 0)  # the terminal's Ctrl-C is for the runner, which passes it on once
    die_with(parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    while True:
        try:
            step, parts = pipe.recv()
        except EOFError:
            return
        answer = _make(step, parts, folder, module, pipe)
        pipe.send(answer)
        if isinstance(answer, Stopped):
            sys.exit(INTERRUPTED)


def die_with(parent: int) -> None:
    """End this process by SIGKILL when its parent is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it went before we asked
        os._exit(INTERRUPTED)


def log_path(folder: Path, name: str) -> Path:
    """The log of a step."""
    return folder / LOGS / f"{name}.log"


def _make(
    step: Step, parts: Mapping[str, Any], folder: Path, module: str, pipe: Connection
) -> Made | Failed | Stopped:
    spoke = 0.0

    def report(done: int, total: int) -> None:
        nonlocal spoke
        if done >= total or time.monotonic() - spoke >= REPORT_SECONDS:
            spoke = time.monotonic()
            pipe.send(Progress(int(done), int(total)))

    with _logged(log_path(folder, step.name)):
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        print(f"{moment} {step.name}: {step.does}", flush=True)  # noqa: T201 - the log's head
        try:
            start = time.monotonic()
            resumed = ledger.begin(step, folder, parts)
            actions = importlib.import_module(module)
            numbers = actions.run_step(step, folder, report) or {}
            seconds = time.monotonic() - start
            record = ledger.finish(
                step, folder, parts, seconds=seconds, resumed=resumed, numbers=numbers
            )
            return Made(seconds, resumed, record.numbers or {})
        except KeyboardInterrupt:
            return Stopped()
        except SystemExit as end:
            if end.code == INTERRUPTED:
                return Stopped()
            return Failed(f"it ended with exit code {end.code}")
        except EvalsuiteError as error:
            print(f"error: {error}", flush=True)  # noqa: T201
            return Failed(str(error))
        except Exception as error:  # any other step can still be made
            traceback.print_exc()
            lines = str(error).strip().splitlines()
            return Failed(": ".join([type(error).__name__, *lines[:1]]))


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Standard output and error of the process, C code's too, appended to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for place, handle in enumerate(kept, start=1):
            os.dup2(handle, place)
            os.close(handle)
        os.close(log)


def _stop(number: int, _: object) -> None:
    raise SystemExit(INTERRUPTED)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
