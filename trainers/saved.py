"""Checkpoints of a run on disk: written whole or not at all, the newest whole one found again.

    checkpoints/step-000120/policy.safetensors             weights, each once
                            policy.optimizer.safetensors   AdamW's moments and step counts
                            state.json                     step, extra state, size of each file

A checkpoint is written into `.step-000120.partial`, every file and folder is flushed to the disk,
and only then it gets its name. What a killed process leaves behind has the wrong name, is never
read, and is swept away by the next run. A folder with the right name whose files are missing, cut
short or unreadable (a damaged disk) is passed over for the one before it.
No pickle: tensors are safetensors, the rest is JSON, whose floats are exact.
Proof: tests/trainers/test_saved.py.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from evalsuite.errors import TrainingError

FOLDER, STATE = "checkpoints", "state.json"
NAME = re.compile(r"step-(\d{6,})")
PARTIAL = re.compile(r"\.step-\d+\.(partial|old)")
FULL = (errno.ENOSPC, errno.EDQUOT)


class Saved(NamedTuple):
    """A complete checkpoint: its folder, the updates it is after, and what `state.json` holds."""

    path: Path
    step: int
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, by name without its ending; none where there is no such file."""
        path = self.path / f"{name}.safetensors"
        return load_file(path) if path.is_file() else {}


def step_name(step: int) -> str:
    """Name of the checkpoint after `step` updates."""
    return f"step-{step:06d}"


def write(
    run: Path, step: int, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and give it its name once it is whole; returns its folder.

    files: tensors by the name of their file. state: JSON.
    Raises TrainingError, with all earlier checkpoints as they were, when the disk is full or the
    folder cannot be written.
    """
    folder = run / FOLDER
    final = folder / step_name(step)
    partial = folder / f".{final.name}.partial"
    old = folder / f".{final.name}.old"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(partial, old)
        partial.mkdir()
        sizes = {}
        for name, tensors in files.items():
            path = partial / f"{name}.safetensors"
            save_file(dict(tensors), path)
            flush(path)
            sizes[path.name] = path.stat().st_size
        state_path = partial / STATE
        state_path.write_text(json.dumps({**state, "step": step, "files": sizes}, indent=1))
        flush(state_path)
        flush(partial)
        if final.exists():  # a damaged one, else this step would not have been done again
            final.rename(old)
        partial.rename(final)
        flush(folder)
        _remove(old)
    except (OSError, SafetensorError) as error:
        _remove(partial)
        raise _refused(run, step, error) from error
    return final


def newest(run: Path) -> Saved | None:
    """The newest complete checkpoint of a run, or None."""
    for path in reversed(_named(run)):
        found = read(path)
        if found is not None:
            return found
    return None


def read(path: Path) -> Saved | None:
    """The checkpoint in a folder, or None where it is not complete."""
    try:
        state = json.loads((path / STATE).read_text())
        for name, size in state["files"].items():
            if (path / name).stat().st_size != size:
                return None
            with safe_open(path / name, framework="numpy"):
                pass  # the header is read and held against the file's length
        return Saved(path, int(state["step"]), state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None


def sweep(run: Path) -> list[str]:
    """Remove what killed or failed writes left behind; returns the names."""
    folder = run / FOLDER
    left = [path for path in folder.glob(".step-*") if PARTIAL.fullmatch(path.name)]
    left += [path for path in _named(run) if read(path) is None]
    _remove(*left)
    return sorted(path.name for path in left)


def prune(run: Path, keep: int, protected: Collection[int]) -> None:
    """Remove all but the newest `keep` checkpoints and those after a protected step."""
    safe = {step_name(step) for step in protected}
    for path in _named(run)[:-keep]:
        if path.name not in safe:
            _remove(path)


def _named(run: Path) -> list[Path]:
    found = [p for p in (run / FOLDER).glob("step-*") if NAME.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _remove(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(run: Path, step: int, error: Exception) -> TrainingError:
    number = getattr(error, "errno", None)
    full = number in FULL or "No space left" in str(error) or "os error 28" in str(error)
    what = "the disk is full" if full else (getattr(error, "strerror", None) or str(error))
    last = newest(run)
    kept = f"{FOLDER}/{last.path.name} is intact" if last else "there is no earlier one"
    return TrainingError(
        f"{run}: checkpoint {step_name(step)} cannot be written: {what}; {kept}. Once there is "
        "room, go on with --resume"
    )
