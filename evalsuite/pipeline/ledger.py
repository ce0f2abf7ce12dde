"""What of a plan is done: the record of each step, held against settings, inputs and files.

    steps/sft/small-s0.json     how the step was made, or that it was begun
    steps/.digests.json         sha256 of files by size and time of change, so that looking is fast

A record holds the parts of the step's key: action, settings, content of each input, digest of each
of the user's files. A step whose parts differ is `changed` and never made over what is there,
for those outputs belong to another experiment; the first difference is named. Inputs count by what
is in them: a step that is made anew with the same result leaves those that read it done. The times
in records of training, and the checkpoints it may go on from, are no part of a result.
Proof: tests/pipeline/test_ledger.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalsuite.errors import ConfigError
from evalsuite.pipeline.steps import Plan, Step
from evalsuite.records import shown
from evalsuite.tables import write_atomically

STEPS, DIGESTS = "steps", ".digests.json"

WORKING = frozenset({"checkpoints", "tensorboard", "__pycache__"})
"""Folders inside an output that are no part of it; names that begin with a dot are none either."""

ABOUT = frozenset({"finished.json", "metrics.jsonl", "evalsuite.json", "provenance.json"})
"""Files that tell when, how fast and by which commit: kept and checked, but no content."""

Condition = Literal["done", "to do", "part", "changed"]


class Status(NamedTuple):
    """Where a step stands, and why where that is not plain."""

    condition: Condition
    why: str = ""


@dataclass(frozen=True)
class Record:
    """What is on file of a step.

    state: "done", or "begun" until then. parts: of the key. files: path below the run's folder ->
    sha256, bytes and mtime_ns of each output. content: digest of the outputs as other steps see
    them. seconds: of the last sitting. resumed: whether there was an earlier one. finished: UTC.
    numbers: what the action returned.
    """

    state: Literal["done", "begun"]
    parts: dict[str, Any]
    files: dict[str, dict[str, Any]]
    content: str = ""
    seconds: float = 0.0
    resumed: bool = False
    finished: str = ""
    numbers: dict[str, Any] | None = None


class Digests:
    """sha256 of files, remembered as long as their size and time of change stay the same."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / STEPS / DIGESTS
        try:
            self._known: dict[str, list[Any]] = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            self._known = {}
        self._changed = False

    def of(self, path: Path) -> str:
        """The digest of a file. Raises OSError where it cannot be read."""
        stat = path.stat()
        key, state = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        held = self._known.get(key)
        if held is None or held[:2] != state:
            self._known[key] = held = [*state, sha256(path)]
            self._changed = True
        return str(held[2])

    def save(self) -> None:
        """Keep what was learnt for the next look, where the folder is there."""
        if self._changed and self._file.parent.is_dir():
            text = json.dumps(self._known)
            write_atomically(self._file, lambda path: path.write_text(text, "utf-8"))
            self._changed = False


def statuses(plan: Plan, folder: Path) -> dict[str, Status]:
    """Where each step of the plan stands in the run's folder; writes nothing but digests."""
    digests = Digests(folder)
    found: dict[str, Status] = {}
    contents: dict[str, str] = {}
    for step in plan:
        waits = [name for name in step.inputs if found[name].condition != "done"]
        found[step.name] = _status(step, folder, digests, contents, waits)
        if found[step.name].condition == "done":
            record = read_record(folder, step.name)
            contents[step.name] = record.content if record else ""
    digests.save()
    return found


def status(plan: Plan, folder: Path, name: str) -> Status:
    """Where one step stands, once its inputs are done."""
    step = plan[name]
    digests = Digests(folder)
    contents = _contents(folder, step.inputs)
    waits = [name for name in step.inputs if name not in contents]
    return _status(step, folder, digests, contents, waits)


def key_parts(step: Step, folder: Path, digests: Digests | None = None) -> dict[str, Any]:
    """The parts of a step's key, its inputs being done.

    Raises ConfigError naming an input without a record, or a file that cannot be read.
    """
    contents = _contents(folder, step.inputs)
    for name in step.inputs:
        if name not in contents:
            raise ConfigError(f"step {step.name}: its input {name} is not made yet")
    return _parts(step, contents, digests or Digests(folder))


def key(parts: Mapping[str, Any]) -> str:
    """One digest of the parts of a key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def refusal(name: str, why: str) -> str:
    """What is said of a changed step."""
    return f"step {name} was made otherwise: {why}; allowed: another --out, or --redo {name}"


def begin(step: Step, folder: Path, parts: Mapping[str, Any]) -> bool:
    """Put on file that the step is begun; whether a begun one is gone on with.

    What is left of outputs that were whole once goes first: a finished training with a file
    missing would not make it again.
    """
    before = read_record(folder, step.name)
    if before is not None and before.state == "done":
        remove(folder, step)
        before = None
    _write_record(folder, step.name, Record("begun", dict(parts), {}))
    return before is not None or any((folder / output).exists() for output in step.outputs)


def finish(
    step: Step,
    folder: Path,
    parts: Mapping[str, Any],
    *,
    seconds: float,
    resumed: bool,
    numbers: Mapping[str, Any],
) -> Record:
    """Put on file that the step is done, with the digests of its outputs.

    Raises ConfigError where an output that it declares is not there.
    """
    files: dict[str, dict[str, Any]] = {}
    for output in step.outputs:
        if not (folder / output).exists():
            raise ConfigError(f"step {step.name}: it ended without its output {output}")
        for path in _files(folder / output):
            stat = path.stat()
            files[path.relative_to(folder).as_posix()] = {
                "sha256": sha256(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns,
            }  # fmt: skip
    record = Record(
        "done", dict(parts), files, _content(files), round(seconds, 3), resumed,
        datetime.now(UTC).isoformat(timespec="seconds"),
        json.loads(json.dumps(dict(numbers), default=str)),
    )  # fmt: skip
    _write_record(folder, step.name, record)
    return record


def undo(plan: Plan, folder: Path, words: Sequence[str]) -> list[str]:
    """Remove outputs and records of steps and of all that need them; the names, in order.

    words: names, stages or patterns, as `Plan.matching`, which raises. Steps that have nothing on
    file are not named.
    """
    named = [name for word in words for name in plan.matching(word)]
    return [name for name in plan.after(named) if remove(folder, plan[name])]


def remove(folder: Path, step: Step) -> bool:
    """Remove a step's record, then its outputs, whole and in part; whether there were any."""
    outputs = [folder / output for output in step.outputs]
    parts = [path.with_name(path.name + ".parts") for path in outputs]
    there = [p for p in (record_path(folder, step.name), *outputs, *parts) if p.exists()]
    for path in there:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return bool(there)


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a step lies."""
    return folder / STEPS / f"{name}.json"


def read_record(folder: Path, name: str) -> Record | None:
    """The record of a step; None where there is none.

    Raises ConfigError where the file is no record.
    """
    path = record_path(folder, name)
    try:
        told = json.loads(path.read_text("utf-8"))
        told.pop("key", None)
        return Record(**told)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is no record of a step; allowed to remove it") from error


def sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first part of two keys that differs, in words; "" where none does."""
    if was.get("action") != now.get("action"):
        return f"action {was.get('action')} -> {now.get('action')}"
    old, new = _flat(was.get("settings", {})), _flat(now.get("settings", {}))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f"settings.{name} {_told(old, name)} -> {_told(new, name)}"
    for kind, anew in (("inputs", "was made anew"), ("files", "differs")):
        word = kind[:-1]
        old, new = was.get(kind, {}), now.get(kind, {})
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                return f"{word} {name} is no longer read"
            if name not in old:
                return f"{word} {name} is new"
            if new[name] is not None and old[name] != new[name]:
                return f"{word} {name} {anew}"
    return ""


def _status(
    step: Step,
    folder: Path,
    digests: Digests,
    contents: Mapping[str, str],
    waits: Sequence[str],
) -> Status:
    record = read_record(folder, step.name)
    there = [output for output in step.outputs if (folder / output).exists()]
    begun = [o for o in step.outputs if (folder / f"{o}.parts").exists()] + there
    waiting = f"waits for {waits[0]}" if waits else ""
    if record is None:
        if there:
            return Status("part", "begun, without a record")
        return Status("to do", waiting)
    try:
        parts = _parts(step, contents, digests)
    except ConfigError as error:  # a file of the user is gone
        return Status("changed", str(error)) if begun else Status("to do", str(error))
    if begun and (why := difference(record.parts, parts)):
        return Status("changed", why)
    if record.state == "begun":
        return Status("part", waiting) if begun else Status("to do")
    for name, told in record.files.items():
        path = folder / name
        if not path.is_file():
            return Status("to do", f"{name} is missing")
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (told["bytes"], told["mtime_ns"]) and (
            stat.st_size != told["bytes"] or digests.of(path) != told["sha256"]
        ):
            return Status("to do", f"{name} was altered")
    for output in step.outputs:
        if output not in there:
            return Status("to do", f"{output} is missing")
    return Status("to do", waiting) if waits else Status("done")


def _contents(folder: Path, names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        record = read_record(folder, name)
        if record is not None and record.state == "done":
            found[name] = record.content
    return found


def _parts(step: Step, contents: Mapping[str, str], digests: Digests) -> dict[str, Any]:
    """Parts of the key; an input that is not made yet stands as None and differs from nothing."""
    return {
        "action": step.action,
        "settings": dict(step.settings),
        "inputs": {name: contents.get(name) for name in step.inputs},
        "files": {name: _digest_of(step, Path(name), digests) for name in step.files},
    }


def _digest_of(step: Step, path: Path, digests: Digests) -> str:
    try:
        if not path.is_dir():
            return digests.of(path)
        told = {p.relative_to(path).as_posix(): digests.of(p) for p in _files(path)}
    except OSError as error:
        raise ConfigError(
            f"step {step.name}: {path} cannot be read ({error.strerror}); allowed a file or folder"
        ) from error
    return key(told)


def _files(path: Path) -> Iterator[Path]:
    """The file, or the files of a folder that count, in the order of their names."""
    if not path.is_dir():
        yield path
        return
    for inner in sorted(path.iterdir(), key=lambda p: p.name):
        hidden = inner.name.startswith(".") or inner.name.endswith(".parts")
        if not hidden and not (inner.is_dir() and inner.name in WORKING):
            yield from _files(inner)


def _content(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One digest of the outputs, without those files that only tell how they came about."""
    told = {}
    for name, entry in files.items():
        folder, _, last = name.rpartition("/")
        run_config = last == "config.json" and f"{folder}/finished.json" in files
        if last not in ABOUT and not run_config:
            told[name] = entry["sha256"]
    return key(told)


def _write_record(folder: Path, name: str, record: Record) -> None:
    text = json.dumps({"key": key(record.parts), **record.__dict__}, indent=1) + "\n"
    path = record_path(folder, name)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    write_atomically(path, write)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            out |= _flat(value, f"{before}{name}.")
        else:
            out[before + name] = value
    return out


def _told(values: Mapping[str, Any], name: str) -> str:
    return shown(values[name]) if name in values else "none"
