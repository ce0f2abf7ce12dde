"""Where a result comes from: commit, command, settings, seed, inputs, versions.

Written as `provenance.json` beside every figure. File names stand without their folders, so a
committed result says nothing about the machine it was made on.
"""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import evalsuite
from evalsuite.tables import Source

PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib", "rapidfuzz")


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command that runs, each path shortened to its last part."""
    argv = sys.argv if argv is None else argv
    words = [Path(argv[0]).name.replace("__main__.py", "evalsuite")] if argv else []
    words += [Path(word).name if "/" in word or "\\" in word else word for word in argv[1:]]
    return " ".join(words)


@cache
def commit() -> tuple[str | None, bool | None]:
    """The suite's git commit and whether files differ from it (reports/ not counted).

    (None, None) where the suite does not run from a git checkout.
    """
    root = Path(evalsuite.__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return None, None  # installed below somebody else's checkout
        head = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--", ".", ":(exclude)reports"))
    except (OSError, subprocess.SubprocessError):
        return None, None
    return head, dirty


def versions() -> dict[str, str]:
    """Versions of the suite, Python and the packages that compute or draw."""
    found = {"evalsuite": evalsuite.__version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in PACKAGES}


def provenance(
    *,
    config: Mapping[str, Any],
    seed: int,
    inputs: Iterable[Source],
    left_out: Mapping[str, int],
    **more: Any,
) -> dict[str, Any]:
    """The record of one result, ready for JSON; `more` comes first."""
    head, dirty = commit()
    return {
        **more,
        "time_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": head,
        "dirty": dirty,
        "command": command_line(),
        "config": dict(config),
        "seed": seed,
        "inputs": [source.__dict__ for source in inputs],
        "left_out": dict(left_out),
        "versions": versions(),
        "device": "cpu",
    }
