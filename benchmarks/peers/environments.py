"""Virtual environments of the peers, made once under a folder and used again.

A peer lives apart from the project: its pinned versions shall not move ours, and a release that is
gone from one environment (TRL dropped PPO after 1.12) stays at hand in another. torch, transformers
and accelerate are those of the running Python, so that both sides compute with the same kernels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

FOLDER = Path("build/peers")
TRL, TRL_PPO = "1.16.0", "1.12.0"
"""The newest TRL measured, and the last one with a PPO trainer."""


def trl_python(release: str, folder: Path = FOLDER) -> Path:
    """The Python of an environment with that TRL; made when missing, which takes minutes."""
    home = folder / f"trl-{release}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = {name: version(name).split("+")[0] for name in ("torch", "transformers", "accelerate")}
    wanted["trl"] = release
    if not python.exists():
        print(f"making {home}: minutes, most of them torch", flush=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
    if missing := {k: v for k, v in wanted.items() if installed(python, k) != v}:
        pins = [f"{name}=={release}" for name, release in missing.items()]
        subprocess.run([python, "-m", "pip", "install", "-q", *pins], check=True)
    return python


def installed(python: Path, package: str) -> str | None:
    """The version of a package in another environment, without its local part; None if absent."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip().split("+")[0] if done.returncode == 0 else None
