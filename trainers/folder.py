"""The folder of a run: free, held by the same run, or held by another; its `config.json`.

Checked before any work, so that a run of hours does not end at a folder that cannot be written.
Proof: tests/trainers/test_folder.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalsuite import provenance
from evalsuite.config import as_dict
from evalsuite.errors import TrainingError
from evalsuite.records import shown
from evalsuite.tables import Source, write_atomically

CONFIG, FINISHED, LOCK = "config.json", "finished.json", ".lock"

HARMLESS = (
    "run.", "rollout_batch_tokens", "engine.micro_batch_tokens", "engine.gradient_checkpointing",
)  # fmt: skip
"""Settings that may differ on resume: they change no number, those of memory its last bits only."""


def check_folder(folder: str | Path, config: Any, *, kind: str, resume: bool) -> bool:
    """Make sure that a run may begin or go on here; whether it is finished already.

    The folder is made where it is missing. With `resume` and no run in it, the run begins: a
    command may always say --resume.

    Raises TrainingError for a folder that cannot be written, that holds other files and no run,
    that is in use without `resume`, or whose run is of another kind or has other settings (each
    is named).
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ".writable", lambda temporary: temporary.write_text(""))
        (folder / ".writable").unlink()
        there = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written ({error.strerror})") from error
    if not there:
        return False
    if CONFIG not in there:
        raise TrainingError(
            f"{folder}: holds {shown(there[0])} and no run; allowed a new or empty folder"
        )
    finished = FINISHED in there
    if not resume:
        state = "finished" if finished else "not finished"
        raise TrainingError(
            f"{folder}: holds a run already ({state}); go on with --resume, or take another folder"
        )
    before = read_config(folder)
    if before["kind"] != kind:
        raise TrainingError(
            f"{folder}: holds a run of {before['kind']!r}, not {kind!r}; allowed another folder"
        )
    differ = differences(before["config"], as_dict(config))
    if differ:
        raise TrainingError(
            f"{folder}: cannot go on with other settings: {'; '.join(differ)}; allowed those of "
            f"{CONFIG}, or another folder"
        )
    return finished


def begin(
    folder: str | Path, config: Any, *, kind: str, total_steps: int, inputs: Iterable[Source]
) -> None:
    """Write `config.json`, or hold steps and inputs against the one that is there.

    Raises TrainingError where the data or the number of steps are not those it began with.
    """
    folder = Path(folder)
    sources = [asdict(source) for source in inputs]
    if not (folder / CONFIG).exists():
        commit, dirty = provenance.commit()
        write_json(
            folder / CONFIG,
            {
                "kind": kind,
                "total_steps": total_steps,
                "config": as_dict(config),
                "inputs": sources,
                "commit": commit,
                "dirty": dirty,
                "versions": provenance.versions(),
                "command": provenance.command_line(),
            },
        )
        return
    before = read_config(folder)
    was = {(s["name"], s["sha256"]) for s in before["inputs"]}
    now = {(s["name"], s["sha256"]) for s in sources}
    if was != now:
        names = ", ".join(sorted({name for name, _ in was ^ now}))
        raise TrainingError(f"{folder}: the data are not those that the run began with: {names}")
    if before["total_steps"] != total_steps:
        raise TrainingError(
            f"{folder}: the run began with {before['total_steps']} steps and would now have "
            f"{total_steps}; allowed the examples that it began with"
        )


class Lock:
    """Hold a folder until `release`, or until this object or the process is gone.

    Where the file system knows no locks nothing is held.
    Raises TrainingError where another process has the folder, or where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise TrainingError(f"{folder}: cannot be written ({error.strerror})") from error
        self.release = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise TrainingError(
                f"{folder}: another process is at work on this run; allowed one at a time"
            ) from None
        except OSError:
            pass


def read_config(folder: Path) -> dict[str, Any]:
    """What `begin` wrote. Raises TrainingError where the file is not of that form."""
    path = folder / CONFIG
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key in ("kind", "total_steps", "config", "inputs"):
            found[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: is no record of a run; allowed another folder") from error
    return found


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that differ, harmless ones left out, as "key was x, is y"."""
    old, new = _flat(was), _flat(now)
    return [
        f"{key} was {shown(old.get(key))}, is {shown(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(HARMLESS)
    ]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write readable JSON, whole or not at all."""
    write_bytes(path, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{before}{key}.")
        else:
            out[before + key] = value
    return out
