"""Claim: 16 samples of a prompt at least 2.5 times faster than generate(num_return_sequences=16).

Both at temperature 1 over the whole vocabulary, always the full length, float32. `generate` runs
on one prompt at a time or on several, whichever is faster in a trial. It keeps a copy of the
prompt's keys and values for each sample; ours keeps one. The noise differs, so samples do too;
greedy completions of both must be the same tokens. Each side is a process of its own; runs
alternate, and the ratio of the runs of a pair counts. Ours returns log-probs too.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --shape smollm2-135m --prompts 2 --runs 1
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers import materials, racing

TARGET = 2.5


def main() -> None:
    """Read the command line and run the race."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="paired runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=list(materials.SHAPES), default="small-4k")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--samples", type=int, default=16, help="of each prompt")
    parser.add_argument("--prompt", type=int, default=400, help="mean prompt length, tokens")
    parser.add_argument("--completion", type=int, default=32, help="new tokens")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(args, Path(folder))
    if outcome.ratio < TARGET:
        sys.exit("target missed")


def run(args: argparse.Namespace, folder: Path) -> racing.Outcome:
    """The race, its medians, and whether greedy completions agree."""
    policy = materials.save_policy(folder, args.shape, args.seed)
    vocabulary = json.loads((policy / "config.json").read_text())["vocab_size"]
    rows = materials.draw_groups(
        np.random.default_rng(args.seed), prompts=args.prompts, completions=1,
        lengths=materials.Lengths(args.prompt, args.completion), vocabulary=vocabulary,
    )  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    print(
        f"sampling: {args.shape} Llama, vocabulary {vocabulary:,}, {args.prompts} prompts of about "
        f"{args.prompt} tokens, {args.samples} samples of {args.completion} tokens each, float32, "
        f"threads: {args.threads}", flush=True,
    )  # fmt: skip
    job = {
        "what": "sampling", "policy": str(policy), "rows": str(folder / "rows.json"),
        "samples": args.samples, "tokens": args.completion, "batches": [1, 2, 4], "seed": args.seed,
    }  # fmt: skip
    ours = racing.Side("ours", sys.executable, racing.HERE / "ours.py", job)
    plain = racing.Side("generate", sys.executable, racing.HERE / "plain.py", job)
    outcome = racing.race(ours, plain, runs=args.runs, threads=args.threads)
    racing.report("ours", "generate", outcome, unit="samples", target=TARGET)
    a, b = outcome.ours[-1]["values"], outcome.peer[-1]["values"]
    same = sum(x == y for x, y in zip(a, b, strict=True))
    print(f"  generate in batches of {outcome.peer[-1]['batch']} prompts; "
          f"greedy completions: {same} of {len(a)} the same tokens")  # fmt: skip
    if same < len(a):
        sys.exit("greedy completions differ")
    return outcome


if __name__ == "__main__":
    main()
