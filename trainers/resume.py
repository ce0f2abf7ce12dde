"""A run: its folder, its numbers, its checkpoints; killed at any moment and gone on with exactly.

    config.json      kind, settings, inputs, versions, as the run began
    metrics.jsonl    one object a step: step, time, seconds, values
    samples.jsonl    texts and the like, each row with its step
    checkpoints/     see `trainers.saved`
    model/           the result, in Hugging Face's form
    finished.json    written last

A trainer reads

    run = Run(folder, config, kind="sft", total_steps=n, engine=engine, resume=resume)
    if run.finished:
        return ...
    run.restore([policy])
    with run:
        for step in run.steps():                # 1 to n, or from where the run was left
            ...
            run.log({"loss": loss})
    ...                                         # write model/
    run.finish({"validation_loss": ...})

After each step the numbers are written, and a checkpoint when one is due. SIGTERM and SIGINT
finish the step, write a checkpoint and leave with exit code 75 (`INTERRUPTED`: "try again"); a
second one leaves at once. On resume the records are cut back to the checkpoint's step, so that
they read as if nothing had happened; only fields that `is_timing` names differ.

What makes it exact: every random choice is a function of (seed, step, ids), so weights, moments
and the step's number are the whole state, with what a trainer puts into `run.state` (JSON).
Proof: tests/trainers/test_resume.py and, with SIGKILL, tests/trainers/test_kill_and_resume.py.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from evalsuite.errors import TrainingError
from evalsuite.records import shown
from evalsuite.tables import Source
from trainers import saved
from trainers.config import RunConfig
from trainers.engine import Engine, Trainable
from trainers.folder import FINISHED, Lock, begin, check_folder, write_bytes, write_json
from trainers.live import Display

INTERRUPTED = 75
"""Exit code of a run that was told to stop and can be resumed (EX_TEMPFAIL)."""

METRICS, SAMPLES, MODEL = "metrics.jsonl", "samples.jsonl", "model"

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def is_timing(field: str) -> bool:
    """Whether a field of the metrics depends on the clock or the machine, not on the run.

    `time`, `seconds...`, `..._per_second`, `..._memory_gib`.
    """
    return (
        field == "time"
        or field.startswith("seconds")
        or field.endswith(("_per_second", "_memory_gib"))
    )


class Run:
    """A folder that a training run fills, and from which it goes on.

    folder: new or empty, or with `resume` one that holds the run. config: the trainer's settings
    (a dataclass; its field `run`, a `RunConfig`, says how often to save). kind: the trainer's
    word, "sft". total_steps: updates of the whole run. inputs: sources of the data, held against
    those the run began with. state: JSON of the trainer that checkpoints carry, restored in place.

    With `resume` and a folder without a run, the run begins: a command may always say --resume.
    Trainers call `trainers.folder.check_folder` before they load anything, and this repeats it.

    Raises TrainingError as `check_folder` and, where the data changed, `begin` of that module.
    """

    def __init__(
        self,
        folder: str | Path,
        config: Any,
        *,
        kind: str,
        total_steps: int,
        engine: Engine,
        resume: bool = False,
        inputs: Iterable[Source] = (),
    ) -> None:
        self.folder, self.kind, self.total_steps = Path(folder), kind, total_steps
        self.engine, self.config = engine, config
        self.settings: RunConfig = getattr(config, "run", None) or RunConfig()
        self.state: dict[str, Any] = {}
        self.labels: dict[str, int] = {}
        self.step = 0
        self.seconds = 0.0
        self.inputs = list(inputs)
        self._lock: Lock | None = None
        self.finished: bool = engine.on_main(lambda: self._open(resume))
        self.display = Display(
            kind, total_steps, seconds=self.settings.log_seconds, quiet=not engine.is_main
        )
        self._trainables: Sequence[Trainable] = ()
        self._pending: dict[str, Any] = {}
        self._signal: int | None = None
        self._due = False
        self._handlers: dict[int, Any] = {}
        self._entered = False
        self._saved_at = self._began = time.monotonic()
        self._board: Any = None

    # -- beginning and end -------------------------------------------------------------------

    def restore(self, trainables: Sequence[Trainable]) -> int:
        """Load the newest complete checkpoint into the modules; returns its step, 0 for none.

        The records are cut back to it. The modules are those that later checkpoints are of.
        """
        self._trainables = list(trainables)
        found = self.engine.on_main(self._found)
        if found is None:
            self.engine.on_main(lambda: self._cut_records(0))
            return 0
        checkpoint = saved.Saved(Path(found[0]), found[1], found[2])
        self._load(checkpoint, trainables, moments=True)
        self.step = checkpoint.step
        self.seconds = float(checkpoint.state["seconds"])
        self.labels = dict(checkpoint.state["labels"])
        self.state.clear()
        self.state.update(checkpoint.state["extra"])
        self.engine.on_main(lambda: self._cut_records(self.step))
        self.say(f"{self.folder}: goes on after step {self.step} of {self.total_steps}")
        return self.step

    def load(self, label: str, trainables: Sequence[Trainable]) -> int:
        """Load the weights (not the moments) that `mark(label)` kept; returns their step."""
        if label not in self.labels:
            raise TrainingError(
                f"{self.folder}: no checkpoint is marked {shown(label)}; allowed "
                f"{', '.join(self.labels) or 'none: nothing was marked'}"
            )
        step = self.labels[label]
        path = self.folder / saved.FOLDER / saved.step_name(step)
        found = self.engine.on_main(lambda: saved.read(path))
        if found is None:
            raise TrainingError(f"{path}: checkpoint {shown(label)} is damaged or gone")
        self._load(found, trainables, moments=False)
        return step

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say on file that the run is done, with its closing numbers; the last thing to write."""
        closing = {"step": self.step, "seconds": self._elapsed(), **_plain(summary)}
        self.engine.on_main(lambda: write_json(self.folder / FINISHED, closing))
        self.finished = True
        self._unlock()
        numbers = [f"{k} {v:.4g}" for k, v in closing.items() if isinstance(v, float)]
        self.say(f"{self.folder}: finished, {self.step} steps; {', '.join(numbers)}")

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` wrote; only once finished."""
        found: dict[str, Any] = json.loads((self.folder / FINISHED).read_text())
        return found

    def __enter__(self) -> Run:
        self._entered = True
        self._catch_signals()
        self._open_board()
        self.display.open(self.step)
        self._saved_at = self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.seconds = self._elapsed()
        self._entered = False
        self.display.close()
        self._release_signals()
        with contextlib.suppress(OSError):
            self._write_numbers()  # of the step that failed: the last clue
        if self._board is not None:
            self._board.close()
            self._board = None
        if kind is not None:
            self._unlock()

    # -- steps -------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """The numbers of the steps to do, 1 to `total_steps` or from where the run was left.

        When the body of a step is through, its numbers are written, and a checkpoint when one is
        due, at the last step, and on a signal, which then ends the process with `INTERRUPTED`.
        """
        with contextlib.nullcontext() if self._entered else self:
            self._write_numbers()  # of step 0, before any update
            while self.step < self.total_steps:
                self.step += 1
                yield self.step
                self._end_step()
            self._release_signals()  # all is on disk: a signal may now end the process as usual

    def log(self, values: Mapping[str, Any], *, step: int | None = None) -> None:
        """Add numbers to the record of the step at hand (or of 0, before the first one).

        One object a step is written, at its end; a name given twice keeps the later value.
        """
        self._pending |= _plain(values)

    def record(self, rows: Iterable[Mapping[str, Any]], *, name: str = SAMPLES) -> None:
        """Append rows to `samples.jsonl` (or another file), each with the step at hand."""
        if self.engine.is_main:
            self._append(name, [{"step": self.step, **_plain(row)} for row in rows])

    def mark(self, label: str) -> None:
        """Save a checkpoint after this step and keep it until another one is marked the same."""
        self.labels[label] = self.step
        self._due = True

    def say(self, text: str) -> None:
        """A line for the person who looks on, from the main process alone."""
        self.display.say(text)

    def save(self) -> None:
        """Write a checkpoint of the step at hand now; a collective."""
        files = {}
        for trainable in self._trainables:
            files[trainable.name] = self.engine.weights(trainable)
            files[f"{trainable.name}.optimizer"] = self.engine.moments(trainable)
        self.engine.on_main(lambda: self._write_checkpoint(files))
        self._due = False
        self._saved_at = time.monotonic()

    # -- inside ------------------------------------------------------------------------------

    def _end_step(self) -> None:
        self._write_numbers()
        waited = time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds
        asked = 2.0 if self._signal is not None else float(self._due or waited)
        asked = self.engine.maximum(asked)  # one process's signal is everyone's
        last = self.step == self.total_steps
        if asked or last or self.step % self.settings.checkpoint_every == 0:
            self.save()
        if asked == 2.0:
            self.display.close()
            self.say(
                f"{self.folder}: stopped after step {self.step} of {self.total_steps}, saved; "
                "go on with the same command and --resume"
            )
            self.engine.barrier()
            raise SystemExit(INTERRUPTED)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _write_numbers(self) -> None:
        values, self._pending = self._pending, {}
        if not values or not self.engine.is_main:
            return
        row = {"step": self.step, "time": time.time(), "seconds": self._elapsed(), **values}
        self._append(METRICS, [row])
        self.display.update(self.step, values)
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(name, value, self.step)

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise TrainingError(
                f"{self.folder / name}: cannot be written ({error.strerror}); the newest "
                "checkpoint is intact, go on with --resume once it can"
            ) from error

    def _write_checkpoint(self, files: Mapping[str, Any]) -> None:
        for name in (METRICS, SAMPLES):
            if (self.folder / name).exists():
                saved.flush(self.folder / name)  # records are never behind their checkpoint
        state = {
            "kind": self.kind, "seconds": self._elapsed(), "labels": self.labels,
            "extra": self.state,
        }  # fmt: skip
        saved.write(self.folder, self.step, files, state)
        saved.prune(self.folder, self.settings.keep, self.labels.values())

    def _elapsed(self) -> float:
        return self.seconds + (time.monotonic() - self._began if self._entered else 0.0)

    def _found(self) -> tuple[str, int, dict[str, Any]] | None:
        swept = saved.sweep(self.folder)
        if swept:
            self.say(f"{self.folder}: removed what was left incomplete: {', '.join(swept)}")
        found = saved.newest(self.folder)
        return (str(found.path), found.step, found.state) if found else None

    def _load(self, found: saved.Saved, trainables: Sequence[Trainable], *, moments: bool) -> None:
        for trainable in trainables:
            main = self.engine.is_main
            weights = found.tensors(trainable.name) if main else {}
            held = found.tensors(f"{trainable.name}.optimizer") if main and moments else {}
            self.engine.load(trainable, weights, held if moments else None)

    def _cut_records(self, step: int) -> None:
        for path in self.folder.glob("*.jsonl"):
            write_bytes(path, b"".join(_upto(path, step)))

    def _open(self, resume: bool) -> bool:
        self._lock = Lock(self.folder)
        finished = check_folder(self.folder, self.config, kind=self.kind, resume=resume)
        begin(
            self.folder, self.config,
            kind=self.kind, total_steps=self.total_steps, inputs=self.inputs,
        )  # fmt: skip
        return finished

    def _open_board(self) -> None:
        if not self.settings.tensorboard or not self.engine.is_main:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TrainingError(
                "run.tensorboard: the package is not installed; pip install "
                "'evalsuite[tensorboard]', or run.tensorboard=false"
            ) from None
        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)

    def _catch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}

    def _release_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._signal = number
        self.say(f"{signal.Signals(number).name}: finishing the step and saving (again: leave now)")


def _upto(path: Path, step: int) -> Iterator[bytes]:
    """Lines of a record that belong to steps up to `step`, dropping one that was cut short."""
    if not step:
        return
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                return
        except (ValueError, KeyError, TypeError):
            return
        yield line


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: numbers of arrays and tensors unpacked, what is not finite null."""
    return {str(key): _plain_value(value) for key, value in values.items()}


def _plain_value(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
