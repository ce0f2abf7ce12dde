"""What a worker process measures about itself; the same code on both sides of a race.

Steps are timed from outside, by torch's own hook after every optimizer step, so that neither
trainer is asked to time itself and start-up, tokenisation and saving stay out on both sides.
Runs in environments without the project: standard library and torch only.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


class Clock:
    """Moments of the optimizer steps of this process since it was made."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.hook = register_optimizer_step_post_hook(lambda *_: self.moments.append(now()))

    def since(self, warm_up: int) -> dict[str, float]:
        """Seconds from the end of optimizer step `warm_up` (from 1) to the end of the last."""
        if len(self.moments) <= warm_up:
            raise SystemExit(f"{len(self.moments)} optimizer steps; warm-up alone takes {warm_up}")
        return between(self.moments[warm_up - 1], self.moments[-1])


class Moment(NamedTuple):
    """Seconds on the wall, and of processor time of this process."""

    wall: float
    processor: float


def now() -> Moment:
    """This moment."""
    return Moment(time.perf_counter(), time.process_time())


def between(start: Moment, end: Moment) -> dict[str, float]:
    """What passed, as a report has it."""
    return {"wall": end.wall - start.wall, "processor": end.processor - start.processor}


def memory(field: str = "VmRSS") -> float:
    """Resident memory of this process in MiB, now (VmRSS) or at its peak (VmHWM).

    From /proc where there is one: elsewhere the peak of getrusage, which counts the parent's size
    at the fork too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith(field))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def fresh_memory() -> float:
    """Forget the peak so far, where the system can; resident memory now, MiB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return memory()


def job() -> dict[str, Any]:
    """The job this process was started with (a JSON file), threads set as it says."""
    given: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(given["threads"])
    return given


def report(**numbers: object) -> None:
    """Hand the numbers back to the race, with peak memory."""
    out = {"peak": memory("VmHWM"), **numbers}
    Path(os.environ["BENCH_RESULT"]).write_text(json.dumps(out))
