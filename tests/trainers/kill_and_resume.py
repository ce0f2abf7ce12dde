"""Kill training with SIGKILL at random moments, resume, and compare with a run left alone.

    python tests/trainers/kill_and_resume.py sft|rm|ppo FOLDER [KILLS] [SEED]

A child process trains a tiny model, always with `resume`, and is killed after a random time; the
next child goes on; one that gets through ends a chain, which is then compared, and a new chain
begins. So every kill is at a moment of some run, be it while data are read, in an update, while a
checkpoint is written or while the model is. Children are forked from a process that has only
imported: they start in milliseconds, and each begins with nothing but what is on the disk.

Compared: the bytes of the weights, metrics.jsonl but for its clocks, samples.jsonl, the closing
numbers. Prints what was done; exits with 1 at the first difference.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers.models.llama.modeling_llama  # noqa: F401 - imported once, not by each child

from evalsuite.metrics import rouge
from evalsuite.models.checkpoints import CheckpointInfo, save
from trainers.config import DataConfig, EngineConfig, OptimizerConfig, RunConfig
from trainers.ppo import PPOConfig, train_ppo
from trainers.resume import is_timing
from trainers.reward_model import PairDataConfig, RewardModelConfig, train_reward_model
from trainers.sft import SFTConfig, train_sft

ENGINE = EngineConfig(device="cpu", micro_batch_tokens=256)
RUN = RunConfig(checkpoint_every=2, log_seconds=1e9)
OPTIMIZER = OptimizerConfig(learning_rate=2e-3)
LENGTHS = {"max_prompt_tokens": 64, "max_completion_tokens": 12}


def sft(inputs: Path, folder: Path) -> None:
    config = SFTConfig(
        model=str(inputs / "llama"), batch_size=6, epochs=4, evaluate_every=7, sample_prompts=2,
        data=DataConfig(paths=(str(inputs / "posts.jsonl"),), **LENGTHS), optimizer=OPTIMIZER,
        engine=ENGINE, run=RUN,
    )  # fmt: skip
    train_sft(config, folder, resume=True)


def rm(inputs: Path, folder: Path) -> None:
    data = PairDataConfig(paths=(str(inputs / "pairs.jsonl"),), **LENGTHS)
    config = RewardModelConfig(
        model=str(inputs / "llama"), data=data, batch_size=6, epochs=4, evaluate_every=7,
        optimizer=OPTIMIZER, engine=ENGINE, run=RUN,
    )  # fmt: skip
    train_reward_model(config, folder, resume=True)


def ppo(inputs: Path, folder: Path) -> None:
    config = PPOConfig(
        model=str(inputs / "llama"), reward="rouge", kl_target=1.0,
        data=DataConfig(paths=(str(inputs / "posts.jsonl"),), **LENGTHS), episodes=16 * 24,
        prompts_per_update=8, samples_per_prompt=2, epochs=2, minibatches=2, temperature=1.0,
        evaluate_every=7, evaluate_prompts=2, optimizer=OPTIMIZER, engine=ENGINE, run=RUN,
    )  # fmt: skip
    train_ppo(config, folder, resume=True)


CASES: dict[str, Callable[[Path, Path], None]] = {"sft": sft, "rm": rm, "ppo": ppo}


def make_inputs(folder: Path) -> None:
    """A tiny policy, posts, and pairs in which the longer summary is preferred, mostly."""
    import conftest as tiny  # beside this file

    folder.mkdir(parents=True)
    tokenizer = tiny.build_tokenizer()
    model = tiny.build_policy("llama", len(tokenizer))
    save(folder / "llama", model, tokenizer, CheckpointInfo(kind="policy"))
    posts = tiny.posts(60)
    (folder / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in posts))
    rng = np.random.default_rng(1)
    rows = []
    for post in posts:
        words = post["post"].split()
        texts = [" ".join(words[: int(n)]) for n in rng.choice(range(1, 6), 2, replace=False)]
        longer = int(len(texts[1]) > len(texts[0]))
        rows.append({
            "post": post["post"], "title": post["title"], "section": "pets", "left": texts[0],
            "right": texts[1], "left_policy": "a", "right_policy": "b", "labeler": "one",
            "choice": longer if rng.random() < 0.8 else 1 - longer,
        })  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(case: str, inputs: Path, folder: Path) -> int:
    """Fork a child that trains; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        sys.stderr = (folder.parent / f"{folder.name}.log").open("a")
        torch.set_num_threads(1)
        CASES[case](inputs, folder)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait(child: int, seconds: float) -> int | None:
    """The child's exit status, or None where it was killed after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGKILL else code


def outcome(folder: Path) -> dict[str, Any]:
    """What must not differ: weights by digest, records without clocks, closing numbers."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "model").glob("*.safetensors")):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.name] = [{k: v for k, v in r.items() if not is_timing(k)} for r in rows]
    closing = json.loads((folder / "finished.json").read_text())
    found["finished.json"] = {k: v for k, v in closing.items() if not is_timing(k)}
    assert "model.safetensors" in found
    return found


def where(folder: Path) -> str:
    """Where in the run a kill fell, from what it left."""
    if list((folder / "checkpoints").glob(".step-*.partial")):
        return "while a checkpoint was written"
    if not list((folder / "checkpoints").glob("step-*")):
        return "before the first checkpoint"
    if list(folder.glob(".model*")) or (folder / "model").exists():
        return "at the end, by the model"
    return "between checkpoints"


def main() -> None:
    case, out = sys.argv[1], Path(sys.argv[2])
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    rng = np.random.default_rng([int(sys.argv[4]) if len(sys.argv) > 4 else 0, *case.encode()])
    inputs = out / "inputs"
    make_inputs(inputs)
    rouge(["a"], ["a"])  # loads its stemmer
    alone, twin = out / "alone", out / "twin"
    for folder in (alone, twin):  # the first is slow: much is loaded for the first time
        began = time.monotonic()
        if wait(start(case, inputs, folder), 600) != 0:
            sys.exit(folder.with_suffix(".log").read_text()[-4000:])
        whole = time.monotonic() - began
    expected = outcome(alone)
    assert outcome(twin) == expected, "two runs that nobody killed differ"
    places: dict[str, int] = {}
    done = chains = 0
    folder = out / "killed"
    while True:
        delay = rng.uniform(0, whole) if done < kills else 600.0
        status = wait(start(case, inputs, folder), delay)
        if status is None:
            done += 1
            place = where(folder)
            places[place] = places.get(place, 0) + 1
        elif status != 0:
            sys.exit((out / "killed.log").read_text()[-4000:])
        else:
            chains += 1
            got = outcome(folder)
            differ = [name for name in expected if got.get(name) != expected[name]]
            if differ or got.keys() != expected.keys():
                sys.exit(f"{case}: {', '.join(differ)} of {folder} differ from {alone}")
            if done >= kills:
                break
            shutil.rmtree(folder)
    told = ", ".join(f"{count} {place}" for place, count in sorted(places.items()))
    print(  # noqa: T201
        f"{case}: {done} kills ({told}) in {chains} runs of {whole:.1f} s; final weights and "
        f"records identical {chains} times of {chains}"
    )


if __name__ == "__main__":
    main()
