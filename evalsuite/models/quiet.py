"""transformers without its bars and reports, and its errors as one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError

from evalsuite.errors import ModelError


@contextlib.contextmanager
def reading(name: str | Path, problem: str = "cannot be loaded") -> Iterator[None]:
    """One line in the place of what the libraries raise about a file's content."""
    try:
        with quiet():
            yield
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0].strip() if lines else type(error).__name__
        raise ModelError(f"{name}: {problem} ({reason})") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars and no load reports: what matters of them is raised as an error."""
    logs: Any = transformers.utils.logging
    level, bar = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bar:
            logs.enable_progress_bar()
