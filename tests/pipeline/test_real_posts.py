"""The whole paper on real posts with a pretrained model: a short run without a GPU.

Slow: about ten minutes on a core, 9 GB of memory. Nothing is learned from sixteen posts; it shows
that every stage works on real text, with a gold model for the truth.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evalsuite import experiment
from evalsuite.models.names import models_folder

ROOT = Path(__file__).resolve().parents[2]
POSTS = ROOT.parent / "shared" / "data" / "tldr_posts" / "posts.jsonl"

SMALL = [
    f"posts={{files: [{POSTS}], train: 16, labelled: 8, test: 4, evaluation: 6}}",
    f"labels={{judge: gold, gold_files: [{POSTS}], samples: 3, pairs: 24, test_pairs: 8}}",
    "reward_models={amounts: [4, 12], members: 1}",
    "policies=[{size: 135m, objective: rm-135m-12}]",
    "pool={posts: 6, samples: 4, shown: [4]}",
    "rounds={count: 0}",
    "evaluation={temperatures: [0.7], decoding: [], top_ps: [], labels: 6, repeated: 2, repeats: 2,"
    " probes: 2}",
    "zero_shot_tokens=320",
    "examples=1",
    "max_prompt_tokens=192",
    "max_completion_tokens=40",
    "sft={batch_size: 8, sample_prompts: 1, engine: {micro_batch_tokens: 1024}}",
    "rm={batch_size: 4, references: 4, engine: {micro_batch_tokens: 1024},"
    " data: {limits: {train: 8, valid1: 4, valid2: 2}}}",
    "ppo={episodes: 8, prompts_per_update: 2, samples_per_prompt: 2, epochs: 1, minibatches: 1,"
    " rollout_batch_tokens: 8192, evaluate_every: 1, evaluate_prompts: 6,"
    " engine: {micro_batch_tokens: 1024}}",
]


@pytest.mark.slow
@pytest.mark.skipif(not POSTS.is_file(), reason="the real posts are not beside the project")
@pytest.mark.skipif(
    not (models_folder() / "smollm2-135m").is_dir(),
    reason="evalsuite models get smollm2-135m was not run",
)
def test_every_stage_on_real_posts(tmp_path: Path) -> None:
    words = [word for setting in SMALL for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "evalsuite", "reproduce", "--config",
         str(ROOT / "configs" / "reproduce" / "smollm2.yaml"), "--out", str(tmp_path / "run"),
         "--jobs", "1", "--set", f"report={tmp_path / 'report'}", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = experiment.read(tmp_path / "run" / "tables")
    assert found.gold_unit == "gold reward"
    assert found["summaries"]["gold"].notna().all()
    assert found["pairs"]["correct"].notna().all()
    tuned = found["summaries"]["policy"] == "sup_135m_ppo_rm12_b0.05_t0.7"
    assert found["summaries"].loc[tuned, "kl_nats"].notna().all()
    assert (tmp_path / "report" / "index.html").is_file()
    # the posts themselves stay in the run's folder
    assert (tmp_path / "run" / "report" / "samples.html").is_file()
    assert not (tmp_path / "report" / "samples.html").exists()
