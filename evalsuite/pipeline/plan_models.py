"""Steps of one seed that make models: SFT, labels, reward models, PPO, rounds of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evalsuite.pipeline.draft import Draft, judge_of
from evalsuite.pipeline.names import ppo_name, round_policy
from evalsuite.pipeline.settings import Optimised
from evalsuite.pipeline.steps import Work

TEST_SAMPLES = 3
"""Samples of each post that held-out pairs are made of."""


def sft_policies(made: Draft, seed: int, posts: str) -> dict[str, str]:
    """SFT of each size; steps by size."""
    settings, out = made.settings, {}
    for size, base in settings.sizes.items():
        name = f"sft/sft-{size}-s{seed}"
        config = made.trainer("sft", size, {
            "model": base, "seed": seed, "data": {"paths": [f"@/data/train-s{seed}.jsonl"]},
        })  # fmt: skip
        out[size] = made.add(
            name, "sft", f"SFT of {base} on {settings.posts.train:,} references", "sft",
            {"config": config}, [posts, f"base/{size}"], [name], made.costs.sft(base, config),
        )  # fmt: skip
    return out


def _sampled(
    made: Draft, name: str, stage: str, model: str, policy: str, posts_file: str, k: int, seed: int,
    inputs: list[str], stretch: tuple[int, int], size: str,
) -> str:  # fmt: skip
    """K samples a post at the temperature of the labels, of a stretch of a file's posts."""
    settings = made.settings
    return made.add(
        name, stage, f"{k} samples a post of {policy}", "sample",
        {
            "model": f"@/{model}/model", "policy": policy, "posts": posts_file, "k": k,
            "temperature": settings.labels.temperature, "seed": seed, "stretch": list(stretch),
            "max_prompt_tokens": settings.max_prompt_tokens,
        },
        inputs, [f"{name}.parquet"],
        made.costs.sample(settings.sizes[size], k * (stretch[1] - stretch[0])),
    )  # fmt: skip


def labels_of(made: Draft, seed: int, posts: str, sft: str) -> dict[str, str]:
    """Training labels and held-out pairs, both of samples of the first size's SFT policy."""
    settings = made.settings
    policy = f"sup_{settings.first_size}_t{settings.labels.temperature:g}"
    out = {}
    sampled = {"test": (TEST_SAMPLES, settings.posts.test)}
    if settings.labels.judge != "files":
        sampled["labelled"] = (settings.labels.samples, settings.posts.labelled)
    for part, (k, count) in sampled.items():
        out[part] = _sampled(
            made, f"samples/{part}-s{seed}", "samples", sft, policy,
            f"@/data/{part}-s{seed}.jsonl", k, seed, [sft, posts], (0, count),
            settings.first_size,
        )  # fmt: skip
    judge = judge_of(settings)
    gold = gold_model(made)
    labels = settings.labels
    if labels.judge != "files":
        out["labels"] = made.add(
            f"labels/s{seed}", "labels", f"{labels.pairs:,} comparisons, judge: {labels.judge}",
            "label",
            judge | {
                "samples": [f"@/samples/labelled-s{seed}.parquet"], "pairs": labels.pairs,
                "posts": f"@/data/labelled-s{seed}.jsonl", "seed": seed, "batch": "labels",
                "reference_share": labels.reference_share,
            },
            [out["labelled"], posts, *gold], [f"labels/s{seed}.jsonl"], Work("cpu", seconds=1.5),
        )  # fmt: skip
    out["pairs"] = made.add(
        f"labels/test-s{seed}", "labels", f"{labels.test_pairs:,} pairs held out",
        "test_pairs",
        judge | {
            "samples": f"@/samples/test-s{seed}.parquet", "pairs": labels.test_pairs, "seed": seed,
            "posts": f"@/data/test-s{seed}.jsonl", "reference_share": labels.reference_share,
            "answers": 5,
        },
        [out["test"], posts, *gold], [f"labels/test-s{seed}.parquet"], Work("cpu", seconds=1),
    )  # fmt: skip
    return out


def labels_on_file(made: Draft) -> list[str]:
    """Comparisons of `gold_files` without those of posts that anything is tested or judged on.

    Where reward models are trained on files too, the posts are halved between them and the gold
    model, or the two would be one.
    """
    settings = made.settings
    if any(step.name == "labels/files" for step in made.steps):
        return ["labels/files"]
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    kept_out = ["posts/evaluation", *(f"posts/s{seed}" for seed in seeds)]
    parts = ["evaluation", *(f"test-s{seed}" for seed in seeds)]
    halves = settings.labels.judge == "files"
    made.add(
        "labels/files", "labels", "comparisons on file, of posts that nothing is judged on",
        "labels_on_file",
        {
            "files": list(settings.labels.gold_files), "halves": halves,
            "without": [f"@/data/{part}.jsonl" for part in parts],
        },
        kept_out, ["labels/gold.jsonl", *(["labels/files.jsonl"] if halves else [])],
        Work("cpu", seconds=10), files=settings.labels.gold_files,
    )  # fmt: skip
    return ["labels/files"]


def gold_model(made: Draft) -> list[str]:
    """The gold model, made once, where the truth is not simulated."""
    settings = made.settings
    if settings.labels.judge == "simulated":
        return []
    if any(step.name == "gold/model" for step in made.steps):
        return ["gold/model"]
    size = settings.labels.gold_size or list(settings.sizes)[-1]
    start = f"sft/sft-{size}-s{settings.first_seed}"
    config = made.trainer("rm", size, {
        "model": f"@/{start}/model", "data": {"paths": ["@/labels/gold.jsonl"]}, "seed": 10_000,
    })  # fmt: skip
    made.add(
        "gold/model", "labels", "the gold reward model, on the labels on file", "rm",
        {"config": config}, [start, *labels_on_file(made)], ["gold/model"],
        made.costs.rm(settings.sizes[size], config, settings.labels.pairs),
    )  # fmt: skip
    return ["gold/model"]


def reward_models(
    made: Draft, seed: int, posts: str, labels: dict[str, str], sft: dict[str, str]
) -> dict[str, str]:
    """Models of the grid by name."""
    if made.settings.labels.judge == "files":
        paths, needs = ["@/labels/files.jsonl"], labels_on_file(made)
    else:
        paths = [f"@/labels/s{seed}.jsonl", f"@/data/labelled-s{seed}.jsonl"]
        needs = [labels["labels"], posts]
    out = {}
    for objective, size, count, member in made.names.grid():
        model = made.names.rm(objective, seed, member)
        config = made.trainer("rm", size, {
            "model": f"@/{sft[size]}/model", "seed": 1000 * seed + member,
            "data": {
                "paths": paths,
                "limits": {"train": count},
            },
        })  # fmt: skip
        out[model] = made.add(
            f"rm/{model}", "reward-models", f"{size} reward model on {count:,} labels", "rm",
            {"config": config}, [*needs, sft[size]], [f"rm/{model}"],
            made.costs.rm(made.settings.sizes[size], config, count),
        )  # fmt: skip
    return out


def ppo_policies(
    made: Draft, seed: int, common: str, posts: str, sft: dict[str, str], rms: dict[str, str]
) -> dict[str, str]:
    """PPO runs by name."""
    out = {}
    for run in made.settings.policies:
        for kl_coef in run.kl_coefs:
            name = ppo_name(run, kl_coef, seed)
            needs = [rms[m] for m in made.names.members(run.objective, seed) if m in rms]
            out[name] = _ppo_step(
                made, name, run, kl_coef, seed, [common, posts, sft[run.size], *needs]
            )
    return out


def _ppo_step(
    made: Draft, name: str, run: Optimised, kl_coef: float, seed: int, inputs: list[str]
) -> str:
    own: dict[str, Any] = {
        "model": f"@/sft/sft-{run.size}-s{seed}/model", "kl_coef": kl_coef, "seed": seed,
        "reward": made.names.reward(run.objective, seed), "value_network": run.value_network,
        "data": {"paths": [f"@/data/train-s{seed}.jsonl"]},
        "evaluation_paths": ["@/data/evaluation.jsonl"],
        "evaluate_temperature": made.settings.evaluation.temperatures[0],
    }  # fmt: skip
    if run.episodes is not None:
        own["episodes"] = run.episodes
    config = made.trainer("ppo", run.size, own)
    return made.add(
        f"ppo/{name}", "ppo", f"PPO of {run.size} on {run.objective}, KL coefficient {kl_coef:g}",
        "ppo", {"config": config}, inputs, [f"ppo/{name}"],
        made.costs.ppo(made.settings.sizes[run.size], config),
    )  # fmt: skip


@dataclass
class Loop:
    """What the rounds made: labels in order, reward models and PPO runs by name."""

    labels: list[str] = field(default_factory=list)
    rms: dict[str, str] = field(default_factory=dict)
    ppos: dict[str, str] = field(default_factory=dict)


def rounds_of(made: Draft, seed: int, common: str, posts: str, sft: str) -> Loop:
    """The paper's loop; each round's labels are of the policies known by then."""
    settings, rounds, loop = made.settings, made.settings.rounds, Loop()
    size = settings.first_size
    temperature = settings.labels.temperature
    sources = {f"sup_{size}_t{temperature:g}": sft}
    base = f"sup_{size}_t{temperature:g}"
    gold = gold_model(made) if rounds.count else []
    for number in range(1, rounds.count + 1):
        file = f"@/data/rounds-s{seed}.jsonl"
        stretch = ((number - 1) * rounds.posts, number * rounds.posts)
        sampled = []
        for policy, model in sources.items():
            step = _sampled(
                made, f"samples/round{number}-{policy}-s{seed}", "samples", model, policy, file,
                rounds.samples, seed, [model, posts], stretch, size,
            )  # fmt: skip
            sampled.append(step)
        if number > 1:
            sampled.append(_chosen(made, number, seed, rounds.best_of, sft, loop, posts, stretch))
        labels = made.add(
            f"labels/round{number}-s{seed}", "labels",
            f"{rounds.pairs:,} comparisons of round {number}", "label",
            judge_of(settings) | {
                "samples": [f"@/{step}.parquet" for step in sampled], "pairs": rounds.pairs,
                "posts": file, "reference_share": settings.labels.reference_share, "seed": seed,
                "batch": f"round{number}", "drift": {"policy": base, "pairs": rounds.drift_pairs},
                "time": 0.0 if rounds.count == 1 else (number - 1) / (rounds.count - 1) - 0.5,
            },
            [*sampled, posts, *gold], [f"labels/round{number}-s{seed}.jsonl"],
            Work("cpu", seconds=1),
        )  # fmt: skip
        loop.labels.append(labels)
        model = f"rm{number}-s{seed}"
        count = number * rounds.pairs
        config = made.trainer("rm", size, {
            "model": f"@/{sft}/model", "seed": 1000 * seed + 100 + number,
            "data": {"paths": [*(f"@/{one}.jsonl" for one in loop.labels), file]},
        })  # fmt: skip
        loop.rms[model] = made.add(
            f"rm/{model}", "reward-models", f"reward model of round {number}, all labels so far",
            "rm", {"config": config}, [*loop.labels, posts, sft], [f"rm/{model}"],
            made.costs.rm(settings.sizes[size], config, int(count * 0.8)),
        )  # fmt: skip
        run = Optimised(size, f"rm{number}", (rounds.kl_coef,), episodes=rounds.episodes)
        name = ppo_name(run, rounds.kl_coef, seed)
        loop.ppos[name] = _ppo_step(
            made, name, run, rounds.kl_coef, seed, [common, posts, sft, loop.rms[model]]
        )
        sources[round_policy(size, number, temperature)] = loop.ppos[name]
        if number > 1:  # the paper drops what newer policies replaced
            sources.pop(round_policy(size, number - 1, temperature))
    return loop


def _chosen(
    made: Draft, number: int, seed: int, n: int, sft: str, loop: Loop, posts: str,
    stretch: tuple[int, int],
) -> str:  # fmt: skip
    """The best of N supervised samples under the reward model of the round before."""
    settings = made.settings
    size, before = settings.first_size, f"rm{number - 1}"
    policy = f"sup_{size}_bo{n}_{before}"
    return made.add(
        f"samples/round{number}-{policy}-s{seed}", "samples", f"best of {n} under {before}",
        "best_of",
        {
            "model": f"@/{sft}/model", "reward": f"@/rm/{before}-s{seed}/model", "policy": policy,
            "posts": f"@/data/rounds-s{seed}.jsonl", "stretch": list(stretch), "n": n, "seed": seed,
            "temperature": settings.labels.temperature, "first_sample": settings.rounds.samples,
            "max_prompt_tokens": settings.max_prompt_tokens,
        },
        [sft, loop.rms[f"{before}-s{seed}"], posts],
        [f"samples/round{number}-{policy}-s{seed}.parquet"],
        made.costs.sample(settings.sizes[size], n * settings.rounds.posts),
    )  # fmt: skip
