"""Claim: 64 candidates of a prompt scored at least 5 times faster than by plain batched rows.

Log-probs of a policy and rewards of a reward model, float32. The plain side is transformers on
padded rows [prompt | candidate], with logits for the candidates' columns alone and the fastest of
several batch sizes; ours encodes the prompt once. Numbers must be the same. Each side is a process
of its own; runs alternate, and the ratio of the runs of a pair counts.

The ratio of log-probs depends on how much of the model is vocabulary, whose work nothing saves: at
135M parameters (--shape smollm2-135m) it is a small part, in a small model with 49,152 words
(--shape small) it is most of it.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --shape smollm2-135m --prompts 1 --runs 1
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers import materials, racing

TARGET = 5.0
AGREE = 1e-4
"""Largest difference of a log-prob (nats) or a reward."""


def main() -> None:
    """Read the command line and run the races."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", default="logprobs,rewards", help="any of logprobs, rewards")
    parser.add_argument("--runs", type=int, default=3, help="paired runs of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=list(materials.SHAPES), default="small-4k")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=64, help="of each prompt")
    parser.add_argument("--prompt", type=int, default=400, help="mean prompt length, tokens")
    parser.add_argument("--completion", type=int, default=40, help="mean completion, tokens")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chosen = [word.strip() for word in args.what.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(args, Path(folder))
        missed = [what for what in chosen if run(what, args, job).ratio < TARGET]
    if missed:
        sys.exit(f"targets missed: {', '.join(missed)}")


def make_job(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What both sides are told; models and candidates are written here."""
    from evalsuite.models.checkpoints import new_reward_model, save

    policy = materials.save_policy(folder, args.shape, args.seed)
    made = new_reward_model(str(policy), seed=args.seed)
    save(folder / "reward", made.model, made.tokenizer, made.info)
    vocabulary = json.loads((policy / "config.json").read_text())["vocab_size"]
    rows = materials.draw_groups(
        np.random.default_rng(args.seed), prompts=args.prompts, completions=args.candidates,
        lengths=materials.Lengths(args.prompt, args.completion), vocabulary=vocabulary,
    )  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    return {
        "policy": str(policy), "reward": str(folder / "reward"), "rows": str(folder / "rows.json"),
        "batches": [4, 8, 16], "vocabulary": vocabulary,
    }  # fmt: skip


def run(what: str, args: argparse.Namespace, job: dict[str, Any]) -> racing.Outcome:
    """One race, its medians, and how far the numbers are apart."""
    print(
        f"{what}: {args.shape} Llama, vocabulary {job['vocabulary']:,}, {args.prompts} prompts of "
        f"about {args.prompt} tokens, {args.candidates} candidates of about {args.completion} each,"
        f" float32, threads: {args.threads}", flush=True,
    )  # fmt: skip
    job = {**job, "what": what}
    ours = racing.Side("ours", sys.executable, racing.HERE / "ours.py", job)
    plain = racing.Side("plain rows", sys.executable, racing.HERE / "plain.py", job)
    outcome = racing.race(ours, plain, runs=args.runs, threads=args.threads)
    racing.report("ours", "plain rows", outcome, unit="candidates", target=TARGET)
    a, b = outcome.ours[-1]["values"], outcome.peer[-1]["values"]
    apart = max(float(np.abs(np.subtract(x, y)).max()) for x, y in zip(a, b, strict=True))
    print(f"  plain rows in batches of {outcome.peer[-1]['batch']}; "
          f"numbers at most {apart:.1e} apart (allowed {AGREE:g})")  # fmt: skip
    if apart > AGREE:
        sys.exit("numbers differ by more than rounding")
    return outcome


if __name__ == "__main__":
    main()
