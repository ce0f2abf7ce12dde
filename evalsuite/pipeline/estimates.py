"""How long steps take on this machine, before they run.

    seconds = (work.seconds + tokens x (token + parameter x P)) / speed x correction

`token` (dispatch, bookkeeping) and `parameter` (arithmetic) are the `COSTS` of a kind of work on
one free core of the reference machine; P is the number of parameters. `speed` is what one of as
many busy processes as there are workers does here, relative to that core (`probe`). `correction`
is what steps of the same action took here beyond their estimate, as far as some are done. How long
a run takes is the schedule of its steps played through, not their sum.

On a GPU the time is arithmetic over the device's peak (`launch.gpu_seconds`).
Proof: tests/pipeline/test_estimates.py; held against a real run in the reports' log.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from evalsuite.pipeline import ledger, schedule
from evalsuite.pipeline.launch import Device, gpu_seconds
from evalsuite.pipeline.runner import THREADS, environment
from evalsuite.pipeline.steps import Kind, Plan, Step


class Cost(NamedTuple):
    """Seconds on the reference core: of each token, and of each token and parameter."""

    token: float
    parameter: float


COSTS: dict[Kind, Cost] = {
    "train": Cost(2.5e-5, 9.5e-11),
    "ppo": Cost(7.5e-5, 3.0e-10),
    "score": Cost(1.0e-5, 3.2e-11),
    "sample": Cost(4.5e-5, 1.0e-10),
    "cpu": Cost(0.0, 0.0),
}
"""What a token costs, by kind of work. `train`: each token seen once, forward and backward. `ppo`:
as `costs.Costs.ppo` counts them. `score`: forward alone. `sample`: each sampled token, its share of
the prompt's forward pass included.

`train` is a line through the processor time of SFT of the three shipped bases (70, 115 and 220
microseconds a token); `ppo` and `sample` are relative to it in a run of world-full; `score` is a
third of it."""

REFERENCE_ROUNDS = 10_600.0
"""Rounds a second of `_rounds` on that core."""

STARTUP_SECONDS = 6.0
"""Before the first step: a worker starts and imports torch and transformers."""

PRIOR_SECONDS = 10.0
"""A correction counts as much as this many seconds of estimate speak for none."""

PROBE_SECONDS = 0.8


class Estimates:
    """Seconds of steps; an `Estimator` for the runner that learns as steps end.

    speed: of one worker, relative to the reference core. device: a GPU that models run on. gpus:
    how many of them a step has, by its name, 1 where it is not named.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        device: Device | None = None,
        gpus: Mapping[str, int] | None = None,
    ) -> None:
        self.speed, self.device, self.gpus = speed, device, gpus or {}
        self._told: dict[str, float] = {}
        self._took: dict[str, float] = {}

    def seconds(self, step: Step) -> float:
        """The estimate, corrected by what steps of its action, else of its kind, took."""
        return self.plain(step) * self.correction(step)

    def plain(self, step: Step) -> float:
        """The estimate without what was learnt here."""
        work = step.work
        if self.device is not None and work.kind != "cpu":
            return work.seconds + gpu_seconds(step, self.device, self.gpus.get(step.name, 1))
        cost = COSTS[work.kind]
        return (work.seconds + work.tokens * (cost.token + cost.parameter * work.parameters)) / (
            self.speed
        )

    def correction(self, step: Step) -> float:
        """The factor of what was learnt, 1 where nothing was."""
        for word in (f"action {step.action}", f"kind {step.work.kind}"):
            if word in self._told:
                return (self._took[word] + PRIOR_SECONDS) / (self._told[word] + PRIOR_SECONDS)
        return 1.0

    def learn(self, step: Step, seconds: float) -> None:
        """The step took so long on a worker."""
        plain = self.plain(step)
        for word in (f"action {step.action}", f"kind {step.work.kind}"):
            self._told[word] = self._told.get(word, 0.0) + plain
            self._took[word] = self._took.get(word, 0.0) + seconds

    def learn_from(self, plan: Plan, folder: Path) -> None:
        """What steps took that are done in a run's folder, those that were broken off left out."""
        for step in plan:
            record = ledger.read_record(folder, step.name)
            if record is not None and record.state == "done" and not record.resumed:
                self.learn(step, record.seconds)


def wall_seconds(plan: Plan, seconds: Mapping[str, float], jobs: int) -> float:
    """How long the steps in `seconds` take on `jobs` workers, from a standing start."""
    if not seconds:
        return 0.0
    return STARTUP_SECONDS + schedule.total(schedule.play(plan, seconds, jobs))


def probe(jobs: int) -> float:
    """Speed of one worker while `jobs` of them are busy, relative to the reference core.

    As many processes turn the same small wheel for a moment, for cores share caches, memory and
    heat, and other programs.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(jobs)]
    with environment(THREADS):
        processes = [context.Process(target=_turn, args=(theirs,)) for _, theirs in pipes]
        for process in processes:
            process.start()
    try:
        for ours, theirs in pipes:
            theirs.close()
            ours.recv()  # it is there
        for ours, _ in pipes:
            ours.send(PROBE_SECONDS)
        rates = [float(ours.recv()) for ours, _ in pipes]
    finally:
        for ours, _ in pipes:
            ours.close()
        for process in processes:
            process.join()
    return sum(rates) / len(rates) / REFERENCE_ROUNDS


def _turn(pipe: Connection) -> None:
    _rounds(0.1)  # numpy is imported, the core awake
    pipe.send(os.getpid())
    pipe.send(_rounds(pipe.recv()))


def _rounds(seconds: float) -> float:
    """Rounds a second: small products of matrices between steps of Python, as in a tiny model."""
    import numpy as np

    x = np.full((256, 96), 0.5, dtype=np.float32)
    w = np.full((96, 96), 1e-3, dtype=np.float32)
    count, start = 0, time.perf_counter()
    while True:
        for _ in range(10):
            y = x @ w
            y = np.tanh(y) + x
            y = y / np.sqrt((y * y).mean(axis=1, keepdims=True) + 1e-6)
        count += 10
        gone = time.perf_counter() - start
        if gone >= seconds:
            return count / gone
