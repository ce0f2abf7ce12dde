"""Claims: pair training at least 1.6 times as fast as TRL 1.16's RewardTrainer, SFT at least 1.15
times as fast as its SFTTrainer at a vocabulary of 49,152, and PPO at least 1.3 times (aim: 2) as
many episodes a second as TRL 1.12's PPOTrainer; with the same losses.

Both sides start from the same random weights and see the same token ids in the same batches and
order, in float32 on the CPU, with AdamW (eps 1e-5) at the same rate. TRL gets an environment of its
own (made on the first run) and its best settings for the batch: no gradient checkpointing, logits
of PPO rollouts in one batch. Each side is a process of its own; runs alternate, and what counts is
the ratio of the two runs of a pair. Steps are timed from outside, from the end of the warm-up to
the end of the last optimizer step, so start-up, tokenisation, validation and saving are left out.

    python benchmarks/training.py
    python benchmarks/training.py --what pairs --runs 5
    python benchmarks/training.py --what sft --shape smollm2-135m --batch 2
    python benchmarks/training.py --what sft --completions-only

What the SFT ratio stands for: TRL 1.16 computes logits of completion positions alone where it has
Triton (CUDA, XPU) and of every position elsewhere, so on a CPU most of the ratio is the vocabulary.
--completions-only makes it take its GPU way on the CPU too (one private function is replaced), to
see what remains. On PPO: TRL computes whole rows of logits everywhere.

Losses of supervised and pair training must agree step by step: same order, same arithmetic, only
the rounding differs. PPO samples with different noise, so the means of its score, KL, entropy and
value loss over all updates of all runs are compared, by their standard error. (One definition
differs: a completion that did not end is scored here as if it had, by TRL at its last token; both
take 1 off. The untrained policy is made such that nine of ten end, see `materials.let_end`.)
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from peers import environments, materials, racing

TARGETS = {"pairs": 1.6, "sft": 1.15, "ppo": 1.3}
PEERS = {
    "pairs": ("trl_reward.py", environments.TRL, "TRL RewardTrainer"),
    "sft": ("trl_sft.py", environments.TRL, "TRL SFTTrainer"),
    "ppo": ("trl_ppo.py", environments.TRL_PPO, "TRL PPOTrainer"),
}
UNITS = {"pairs": "pairs", "sft": "examples", "ppo": "episodes"}
AGREE = 1e-3
"""Largest difference of a step's loss, nats: rounding, grown over the steps of a run."""

WITHIN = 4
"""Standard errors by which PPO's numbers may differ; runs draw different samples."""

EOS_CHANCE, MEAN_LENGTH = 0.04, 22
"""Of a token of PPO's untrained policy, and what follows of 53 tokens: (1 - .96^53) / .04."""

SIZES: dict[str, dict[str, Any]] = {
    "pairs": {"batch": 8, "steps": 6, "warm_up": 2, "rate": 1e-4},
    "sft": {"batch": 4, "steps": 5, "warm_up": 1, "rate": 1e-4},
    "ppo": {"batch": 8, "updates": 3, "warm_up": 1, "rate": 1e-5, "epochs": 4, "micro": 8,
            "temperature": 0.7, "samples": 1, "tokens": 53},
}  # fmt: skip


def main() -> None:
    """Read the command line and run the races it asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", default="pairs,sft,ppo", help="any of pairs, sft, ppo")
    parser.add_argument("--runs", type=int, default=3, help="paired runs of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=list(materials.SHAPES), default="small")
    parser.add_argument("--prompt", type=int, default=400, help="mean prompt length, tokens")
    parser.add_argument("--completion", type=int, default=40, help="mean completion, tokens")
    parser.add_argument("--batch", type=int, help="pairs, examples or episodes of a step")
    parser.add_argument("--steps", type=int, help="optimizer steps, or updates of PPO")
    parser.add_argument("--samples", type=int, default=1, help="PPO: episodes of a prompt")
    parser.add_argument("--completions-only", action="store_true", help="SFT: see above")
    parser.add_argument("--peers", type=Path, default=environments.FOLDER, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chosen = [word.strip() for word in args.what.split(",")]
    for word in chosen:
        if word not in TARGETS:
            parser.error(f"--what {word}: allowed any of {', '.join(TARGETS)}")
    pythons = {what: environments.trl_python(PEERS[what][1], args.peers) for what in chosen}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for what in chosen:
            outcome = run(what, args, Path(folder), pythons[what])
            if outcome.ratio < TARGETS[what]:
                missed.append(what)
    if missed:
        sys.exit(f"targets missed: {', '.join(missed)}")


def run(what: str, args: argparse.Namespace, folder: Path, python: Path) -> racing.Outcome:
    """One race: materials, runs in turn, medians, losses."""
    job = make_job(what, args, folder)
    script, _, name = PEERS[what]
    ours = racing.Side("ours", sys.executable, racing.HERE / "ours.py", job)
    peer = racing.Side(name, python, racing.HERE / script, job)
    completions = f"completions of about {args.completion}"
    if what == "ppo":
        completions = f"{job['tokens']} sampled, about {MEAN_LENGTH} of them up to EOS"
    print(
        f"{what}: {args.shape} Llama, vocabulary {job['vocabulary']:,}, prompts of about "
        f"{args.prompt} tokens, {completions}, {job['batch']} {UNITS[what]} a step, float32, "
        f"threads: {args.threads}", flush=True,
    )  # fmt: skip
    seeds = "seed" if what == "ppo" else None
    outcome = racing.race(ours, peer, runs=args.runs, threads=args.threads, vary=seeds)
    racing.report("ours", name, outcome, unit=UNITS[what], target=TARGETS[what])
    compare_ppo(outcome) if what == "ppo" else compare_losses(outcome)
    return outcome


def make_job(what: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What both sides are told; files of models, posts and token rows are written here."""
    job: dict[str, Any] = {
        "what": what,
        "seed": args.seed,
        "tokens": args.completion,
        **SIZES[what],
    }
    if args.batch:
        job |= {"batch": args.batch, "micro": min(args.batch, job.get("micro", args.batch))}
    if args.steps:
        job["updates" if what == "ppo" else "steps"] = args.steps
    if what == "ppo":
        job |= {"rollout": job["batch"], "samples": args.samples}
    job["examples"] = (
        job["batch"] * job.get("steps", job.get("updates", 0)) // job.get("samples", 1)
    )
    job["completions_only"] = args.completions_only
    ends = (EOS_CHANCE, job["temperature"]) if what == "ppo" else None
    policy = materials.save_policy(folder, args.shape, args.seed, ends)
    job |= {"policy": str(policy), "reward": f"{policy}-reward"}
    save_reward(job)
    posts = folder / f"posts-{what}.jsonl"
    lengths = materials.Lengths(args.prompt, args.completion)
    materials.save_posts(posts, 2 * job["examples"] + 100, lengths, args.seed)
    job["posts"], job["rows"] = str(posts), str(folder / f"rows-{what}.json")
    Path(job["rows"]).write_text(json.dumps(token_rows(what, job)))
    job["vocabulary"] = json.loads((policy / "config.json").read_text())["vocab_size"]
    return job


def save_reward(job: dict[str, Any]) -> None:
    """The reward model that both sides start from: the policy with a new head."""
    from evalsuite.models.checkpoints import new_reward_model, save

    made = new_reward_model(job["policy"], seed=job["seed"])
    save(job["reward"], made.model, made.tokenizer, made.info)


def token_rows(what: str, job: dict[str, Any]) -> list[dict[str, list[int]]]:
    """Token ids of the training examples in the order in which our trainer takes them."""
    from peers.ours import ppo_config, reward_config, sft_config

    from evalsuite.datasets import load
    from evalsuite.models.checkpoints import load_policy
    from evalsuite.models.prompts import Prompter
    from trainers.schedule import batch_indices
    from trainers.sequences import ppo_prompts

    loaded = load_policy(job["policy"])
    rows: list[dict[str, list[int]]]
    if what == "sft":
        from trainers.sft import read_data as read_references

        train = read_references(sft_config(job), loaded).train
        rows = [{"prompt": e.prompt, "completion": e.completion} for e in train]
    elif what == "pairs":
        from trainers.reward_data import read_data as read_pairs

        rows = []
        for pair in read_pairs(reward_config(job).data, loaded, references=1).train:
            first = pair.target < 0.5
            chosen, rejected = (pair.left, pair.right) if first else (pair.right, pair.left)
            rows.append({"prompt": pair.prompt, "chosen": chosen, "rejected": rejected})
    else:
        data = ppo_config(job).data
        prompter = Prompter(loaded.tokenizer, data.prompt_format)
        found = ppo_prompts(load(data.paths), prompter, limits=data.limits).of("train")
        return [{"prompt": e.tokens} for e in found for _ in range(job["samples"])]
    order: list[int] = []
    for step in range(1, job["steps"] + 1):
        order += batch_indices(
            step, examples=len(rows), batch_size=job["batch"], epochs=1, seed=job["seed"]
        )
    return [rows[at] for at in order]


def compare_losses(outcome: racing.Outcome) -> None:
    """Losses of both sides step by step; they must agree up to rounding."""
    ours, peer = outcome.ours[-1]["losses"], outcome.peer[-1]["losses"]
    apart = max(abs(a - b) for a, b in zip(ours, peer, strict=True))
    print(f"  loss of the last step: ours {ours[-1]:.6f}, TRL {peer[-1]:.6f}; largest difference "
          f"of a step {apart:.1e} (allowed {AGREE:g})")  # fmt: skip
    if apart > AGREE:
        sys.exit("losses differ by more than rounding")


def compare_ppo(outcome: racing.Outcome) -> None:
    """Numbers of all updates of all runs: their means must agree within the noise of sampling."""
    far = []
    for label, key in (("score", "scores"), ("KL, nats", "kl"), ("entropy, nats", "entropy"),
                       ("value loss", "value_losses")):  # fmt: skip
        ours, peer = (
            [x for result in side for x in result[key]] for side in (outcome.ours, outcome.peer)
        )
        spread = math.hypot(*(statistics.stdev(x) / math.sqrt(len(x)) for x in (ours, peer)))
        apart = statistics.mean(ours) - statistics.mean(peer)
        print(
            f"  {label} of an update: ours {statistics.mean(ours):.4f}, TRL "
            f"{statistics.mean(peer):.4f}; apart {apart:.4f}, its standard error {spread:.4f}"
        )
        if abs(apart) > WITHIN * spread:
            far.append(label)
    worst = max(max(result["mismatch"]) for result in outcome.ours)
    print(f"  log-probs of rollout and training differ by at most {worst:.1e} nats (ours)")
    if far:
        sys.exit(f"more than {WITHIN} standard errors apart: {', '.join(far)}")


if __name__ == "__main__":
    main()
