"""PPO by two processes (gloo, CPU) samples, scores and trains what a single process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from evalsuite.config import resolve
from evalsuite.models.checkpoints import new_reward_model, save
from trainers.ppo import train_ppo
from trainers.ppo_setup import PPOConfig

SAME = {
    "reward", "token_reward", "kl_k1", "entropy", "ratio_max", "grad_norm", "value_loss",
    "mismatch_max", "clip_fraction", "step", "tokens",
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(["engine.parallel=ddp"], id="ddp"),
        pytest.param(["engine.parallel=fsdp"], id="fsdp", marks=pytest.mark.slow),
        pytest.param(["engine.parallel=ddp", "value_network=shared"], id="shared",
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_two_processes_train_the_policy_of_one(
    tiny: Path, tmp_path: Path, extra: list[str]
) -> None:
    found = new_reward_model(tiny / "llama", seed=1)
    save(tmp_path / "rm", found.model, found.tokenizer, found.info)
    # Minibatches of one and two prompts: in some, nothing is left for the second process.
    settings = [
        f"model={tiny / 'llama'}", f"reward={tmp_path / 'rm'}",
        f"data.paths={tiny / 'posts.jsonl'}", "data.max_prompt_tokens=60",
        "data.max_completion_tokens=6", "episodes=18", "prompts_per_update=3",
        "samples_per_prompt=3", "epochs=2", "minibatches=2", "engine.device=cpu",
        "engine.micro_batch_tokens=64", "rollout_batch_tokens=128", "optimizer.learning_rate=1e-3",
        "optimizer.eps=1e-3", "evaluate_every=1", "evaluate_prompts=3", *extra,
    ]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    train_ppo(resolve(PPOConfig, overrides=settings), one)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "evalsuite", "train", "ppo", "--out", str(two),
    ]  # fmt: skip
    command += [word for setting in settings for word in ("--set", setting)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]

    want, got = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert want.keys() == got.keys()
    start = load_file(tiny / "llama" / "model.safetensors")
    assert max(float(np.abs(want[name] - start[name]).max()) for name in want) > 1e-3
    for name, weight in want.items():
        np.testing.assert_allclose(got[name], weight, rtol=0, atol=1e-5, err_msg=name)
    for name in ("metrics.jsonl", "samples.jsonl"):
        rows = [
            [json.loads(line) for line in (folder / name).read_text().splitlines()]
            for folder in (one, two)
        ]
        assert len(rows[0]) == len(rows[1]) > 0
        for a, b in zip(*rows, strict=True):
            assert a.keys() == b.keys()
            for key in a.keys() & SAME:
                assert b[key] == pytest.approx(a[key], rel=1e-4, abs=1e-5), key
            assert a.get("summary") == b.get("summary")
