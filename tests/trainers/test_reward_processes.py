"""A reward model trained by two processes (gloo, CPU) is the one that a single process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from evalsuite.config import resolve
from trainers.reward_model import RewardModelConfig, train_reward_model

ROOT = Path(__file__).resolve().parents[2]


def labels(folder: Path) -> Path:
    """Twenty labels: odd ones are ties; every fifth of split valid1."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(20):
        left, right, post = (" ".join(f"w{j}" for j in rng.integers(30, size=k)) for k in (2, 4, 8))
        rows.append(
            {
                "left": left, "right": right, "left_policy": "ref", "right_policy": "b",
                "choice": "tie" if i % 2 else ("left", "right")[i % 4 // 2], "post": post,
                "split": "valid1" if i % 5 == 4 else "train", "domain": "tldr",
            }
        )  # fmt: skip
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_the_model_of_one(tiny: Path, tmp_path: Path, parallel: str) -> None:
    # The last update has a single pair: nothing is left for the second process.
    settings = [
        f"model={tiny / 'llama'}", f"data.paths={labels(tmp_path)}", "data.max_prompt_tokens=40",
        "data.max_completion_tokens=8", "batch_size=5", "engine.device=cpu",
        f"engine.parallel={parallel}", "engine.micro_batch_tokens=64",
        "optimizer.learning_rate=1e-3", "optimizer.eps=1e-3",
    ]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    train_reward_model(resolve(RewardModelConfig, overrides=settings), one)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "evalsuite", "train", "rm", "--out", str(two),
    ]  # fmt: skip
    command += [word for setting in settings for word in ("--set", setting)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]

    want, got = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert want.keys() == got.keys()
    for name, weight in want.items():
        np.testing.assert_allclose(got[name], weight, rtol=0, atol=1e-5, err_msg=name)
    shifts = [
        json.loads((folder / "model" / "config.json").read_text())["reward_shift"]
        for folder in (one, two)
    ]
    assert shifts[1] == pytest.approx(shifts[0], abs=1e-5)
    rewards = [pd.read_parquet(folder / "pairs.parquet") for folder in (one, two)]
    pd.testing.assert_frame_equal(*rewards, rtol=0, atol=1e-4)
    numbers = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (one, two)
    ]
    assert [row["step"] for row in numbers[1]] == [1, 2, 3, 4]
    for name in ("loss", "accuracy", "margin", "reward", "grad_norm", "pairs"):
        a, b = ([row[name] for row in rows] for rows in numbers)
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5), name
