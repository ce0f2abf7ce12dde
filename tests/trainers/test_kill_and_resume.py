"""SIGKILL at 20 random moments of each trainer: it ends as a run left alone, bit for bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_and_resume.py")
ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["sft", "rm", "ppo"])
def test_killed_at_random_moments_and_resumed(trainer: str, tmp_path: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), trainer, str(tmp_path / "runs"), str(KILLS)],
        capture_output=True, text=True, env=env, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    print(done.stdout)  # noqa: T201 - the count, with -s
    assert re.match(rf"{trainer}: {KILLS} kills .* identical (\d+) times of \1\n", done.stdout)
