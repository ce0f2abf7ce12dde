"""Make the steps of a plan in worker processes, and go on exactly where a run was broken off.

Each worker has one thread, so that no number depends on how many there are, and lives over many
steps, so that heavy imports happen once. A stop (SIGINT, SIGTERM) is passed on to the workers,
whose trainers save before they leave, and the runner ends with 75; when it is killed outright the
workers go with it, and the same command makes what is not on record.
Proof: tests/pipeline/test_runner.py and test_kill.py.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from evalsuite.errors import ConfigError
from evalsuite.pipeline import ledger, schedule, worker
from evalsuite.pipeline.display import Display
from evalsuite.pipeline.launch import local_device
from evalsuite.pipeline.schedule import Estimator, Even
from evalsuite.pipeline.steps import Plan, Step
from trainers.folder import Lock

ACTIONS = "evalsuite.pipeline.actions"
FAILED = 2
WAIT_SECONDS = 0.25
LOOK_SECONDS = 2.0
LEAVE_SECONDS = 10.0

THREADS = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
"""Environment of the workers: read when torch and numpy are first imported."""


@dataclass
class Outcome:
    """What a run did. code: 0 all is made, 2 steps failed, 75 stopped.

    made, failed (with the error), waiting (with the failed step that they need): names of steps.
    """

    code: int = 0
    made: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def default_jobs() -> int:
    """One worker where there is a GPU, else one for each core that this process may use."""
    if local_device() is not None:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    plan: Plan,
    folder: Path,
    *,
    jobs: int | None = None,
    redo: Sequence[str] = (),
    estimator: Estimator | None = None,
    display: Display | None = None,
    runner_module: str = ACTIONS,
) -> Outcome:
    """Make the chosen steps of a plan that are not done, inputs first.

    jobs: worker processes; None as `default_jobs`. redo: steps whose outputs are removed first,
    with those of all that need them. runner_module: has `run_step(step, folder, report) -> dict`.

    Raises ConfigError, before anything is made, for steps that were made with other settings or
    inputs and for inputs that are neither done nor chosen; TrainingError where another process is
    at work in the folder.
    """
    jobs = default_jobs() if jobs is None else jobs
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}; allowed 1 or more")
    lock = Lock(folder)
    try:
        found = ledger.statuses(plan, folder)
        anew = plan.after([name for word in redo for name in plan.matching(word)])
        check(plan, {**found, **{name: ledger.Status("to do") for name in anew}})
        gone = ledger.undo(plan, folder, redo)  # only now that the rest is known to be allowed
        found = ledger.statuses(plan, folder)
        todo = [s.name for s in plan if s.name in plan.chosen and found[s.name].condition != "done"]
        display = display or Display(len(todo))
        if gone:
            display.say(f"removed, to be made again: {', '.join(gone)}")
        runner = _Runner(plan, folder, todo, jobs, estimator or Even(), display, runner_module)
        return runner.run()
    finally:
        lock.release()


def check(plan: Plan, found: Mapping[str, ledger.Status]) -> None:
    """Refuse a plan whose chosen steps were made otherwise or lack an input.

    Raises ConfigError naming the first of them and what is allowed.
    """
    changed = [step.name for step in plan if found[step.name].condition == "changed"]
    needed = set(plan.chosen)
    for name in plan.chosen:
        needed.update(plan[name].inputs)
    for name in changed:
        if name in needed:
            raise ConfigError(ledger.refusal(name, found[name].why))
    for step in plan:
        if step.name not in plan.chosen or found[step.name].condition == "done":
            continue
        for name in step.inputs:
            if name not in plan.chosen and found[name].condition != "done":
                raise ConfigError(
                    f"step {step.name} reads {name}, which is not made and not among the steps "
                    "that were asked for; allowed to ask for it too"
                )


class _Worker:
    """A process and the step it is at."""

    def __init__(self, folder: Path, module: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=worker.work, args=(other, folder, module, os.getpid()), name="evalsuite-step"
        )
        self.process.start()
        other.close()
        self.step: Step | None = None

    def end(self) -> None:
        """Let it go: an idle one leaves by itself, any other is killed after a while."""
        self.pipe.close()
        self.process.join(LEAVE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class _Runner:
    def __init__(
        self, plan: Plan, folder: Path, todo: Sequence[str], jobs: int, estimator: Estimator,
        display: Display, module: str,
    ) -> None:  # fmt: skip
        self.plan, self.folder, self.jobs = plan, folder.resolve(), jobs
        self.estimator, self.display, self.module = estimator, display, module
        self.left = set(todo)  # not begun
        self.outcome = Outcome()
        self.workers: list[_Worker] = []
        self.stopping = self.told = 0  # signals that came, and that were passed on

    def run(self) -> Outcome:
        began = time.monotonic()
        looked, left = -LOOK_SECONDS, 0.0
        with _caught(self._on_signal), environment(THREADS):
            self.display.open()
            try:
                while True:
                    self._hand_out()
                    self._pass_on()
                    if not any(w.step for w in self.workers):
                        break
                    self._listen()
                    if time.monotonic() - looked >= LOOK_SECONDS:
                        looked, left = time.monotonic(), self._seconds_left()
                    self.display.tick(left)
            finally:
                self.display.close()
                for each in self.workers:
                    if each.step is not None:  # an error of the runner itself
                        each.process.terminate()
                    each.end()
        outcome = self.outcome
        outcome.seconds = time.monotonic() - began
        if self.stopping and self.left:
            outcome.code = worker.INTERRUPTED
            self.display.say("stopped; what is made is in place, the same command goes on")
        elif outcome.failed:
            outcome.code = FAILED
        return outcome

    # -- handing out -------------------------------------------------------------------------

    def _hand_out(self) -> None:
        while not self.stopping:
            ready = self._ready()
            if not ready:
                return
            free = next((w for w in self.workers if w.step is None), None)
            if free is None and len(self.workers) >= self.jobs:
                return
            step = self.plan[ready[0]]
            self.left.discard(step.name)
            try:
                found = ledger.status(self.plan, self.folder, step.name)
                if found.condition == "done":  # its inputs were made again, with the same result
                    self.display.end(step, 0.0, {"as it was": ""})
                    self.outcome.made.append(step.name)
                    continue
                if found.condition == "changed":
                    raise ConfigError(ledger.refusal(step.name, found.why))
                parts = ledger.key_parts(step, self.folder)
            except ConfigError as error:
                self._fail(step, str(error))
                continue
            if free is None:
                free = _Worker(self.folder, self.module)
                self.workers.append(free)
            free.step = step
            try:
                free.pipe.send((step, parts))
            except OSError:
                continue  # it is gone, which `_listen` will see
            finally:
                self.display.begin(step, self.estimator.seconds(step))

    def _ready(self) -> list[str]:
        """Steps that can begin, the longest way to the end first."""
        busy = {w.step.name for w in self.workers if w.step is not None}
        open_ = self.left | busy | self.outcome.failed.keys() | self.outcome.waiting.keys()
        ready = [s for s in self.plan if s.name in self.left and open_.isdisjoint(s.inputs)]
        if not ready:
            return []
        order = schedule.tails(self.plan, self._seconds())
        return sorted((s.name for s in ready), key=lambda name: -order[name])

    def _seconds(self) -> dict[str, float]:
        return {name: self.estimator.seconds(self.plan[name]) for name in self.left}

    def _seconds_left(self) -> float:
        running = {name: each.left() for name, each in self.display.running.items()}
        blocked = [*self.outcome.failed, *self.outcome.waiting]
        return schedule.total(
            schedule.play(self.plan, self._seconds(), self.jobs, running, blocked)
        )

    # -- listening ---------------------------------------------------------------------------

    def _listen(self) -> None:
        pipes = {w.pipe: w for w in self.workers}
        for pipe in wait(list(pipes), timeout=WAIT_SECONDS):
            each = pipes[pipe]  # type: ignore[index]
            try:
                message = each.pipe.recv()
            except (EOFError, OSError):
                self._lost(each)
            else:
                self._heard(each, message)

    def _heard(self, each: _Worker, message: Any) -> None:
        step = each.step
        assert step is not None
        if isinstance(message, worker.Progress):
            self.display.running[step.name].report(message.done, message.total)
            return
        each.step = None
        if isinstance(message, worker.Made):
            if not message.resumed:
                self.estimator.learn(step, message.seconds)
            self.outcome.made.append(step.name)
            self.display.end(step, message.seconds, message.numbers)
        elif isinstance(message, worker.Failed):
            self._fail(step, message.message)
        else:
            self._stopped(step)

    def _lost(self, each: _Worker) -> None:
        """A worker is gone without a word of its step."""
        self.workers.remove(each)
        step, each.step = each.step, None
        each.process.join(LEAVE_SECONDS)
        code = each.process.exitcode
        each.end()
        if step is None:
            return
        if self.stopping or code == worker.INTERRUPTED:
            self._stopped(step)
        else:
            how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with code {code}"
            self._fail(step, f"its process ended {how}, for want of memory perhaps")

    def _stopped(self, step: Step) -> None:
        self.left.add(step.name)
        self.display.stop(step.name)
        self.stopping = self.stopping or 1  # somebody stopped the worker: the run stops with it

    def _fail(self, step: Step, error: str) -> None:
        self.outcome.failed[step.name] = error
        log = worker.log_path(self.folder, step.name)
        place = f"; {log.relative_to(self.folder)} tells more" if log.exists() else ""
        self.display.fail(step, f"{step.name} failed: {error}{place}")
        for name in self.plan.after([step.name]):
            if name in self.left:
                self.left.discard(name)
                self.outcome.waiting[name] = step.name

    # -- stopping ----------------------------------------------------------------------------

    def _on_signal(self, number: int, _: object) -> None:
        self.stopping += 1  # no more: it may come in the middle of anything

    def _pass_on(self) -> None:
        """Tell the workers of a stop, each once; the second time they are killed."""
        asked = self.stopping  # the next signal may come while this one is passed on
        if asked > 1 and self.told < 2:
            for each in self.workers:
                each.process.kill()
        elif asked and not self.told:
            self.display.say("stopping: steps at work save and leave (again: leave now)")
            for each in self.workers:
                each.process.terminate()
        self.told = asked


@contextmanager
def _caught(handler: Any) -> Iterator[None]:
    """SIGTERM and SIGINT go to `handler`, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, handler) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets these variables for the processes that are begun within."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old
