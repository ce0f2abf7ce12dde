"""The paper as steps: what is made from what, for each seed, size, amount of labels and objective.

    posts -> base -> zero-shot and SFT -> samples -> labels -> reward models -> PPO, pool of samples
    -> policies judged -> gold -> tables -> analyses -> page

Read `make_plan` from top to bottom. A step's settings are everything that decides its output; `@/`
in them stands for the run's folder. What a step does is in `actions`.
Proof: tests/pipeline/test_plan.py.
"""

from __future__ import annotations

from math import comb
from typing import Any

from evalsuite.config import from_values
from evalsuite.errors import ConfigError
from evalsuite.pipeline.costs import Costs
from evalsuite.pipeline.draft import Draft
from evalsuite.pipeline.names import Names
from evalsuite.pipeline.plan_judging import (
    figures_and_page,
    judged_policies,
    pool_of,
    scores_of,
    zero_shot,
)
from evalsuite.pipeline.plan_models import (
    TEST_SAMPLES,
    labels_of,
    ppo_policies,
    reward_models,
    rounds_of,
    sft_policies,
)
from evalsuite.pipeline.settings import ReproduceSettings
from evalsuite.pipeline.steps import Plan, Work

SPACING = 20_000
"""Posts of the world from one seed to the next; `LAYOUT` says where parts of a seed begin."""

LAYOUT = {
    "train": (0, 10_000), "labelled": (10_000, 4_000), "rounds": (14_000, 4_000),
    "test": (18_000, 2_000),
}  # fmt: skip
EVALUATION = 500_000
"""Where the world's posts of the evaluation begin; no training reads so far."""


def make_plan(settings: ReproduceSettings) -> Plan:
    """Every step of the run, inputs before those that read them.

    Raises ConfigError for objectives that no reward model of the grid makes, and for more posts
    than a seed has.
    """
    made = Draft(settings, Names(settings), Costs(settings))
    _check(made)
    common = common_posts(made)
    judged: list[str] = []
    pools: list[str] = []
    scored: list[str] = []
    models: list[str] = []
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        posts = seed_posts(made, seed)
        judged += zero_shot(made, seed, common, posts)
        sft = sft_policies(made, seed, posts)
        labels = labels_of(made, seed, posts, sft[settings.first_size])
        rms = reward_models(made, seed, posts, labels, sft)
        ppos = ppo_policies(made, seed, common, posts, sft, rms)
        loop = rounds_of(made, seed, common, posts, sft[settings.first_size])
        rms, ppos = rms | loop.rms, ppos | loop.ppos
        judged += judged_policies(made, seed, common, sft, rms, ppos)
        pools.append(pool_of(made, seed, common, sft))
        scored += scores_of(made, seed, common, pools[-1], labels, rms)
        models += [*sft.values(), *rms.values(), *ppos.values()]
        models += loop.labels
    figures_and_page(made, common, judged, pools, scored, models)
    _check_trainers(made)
    return Plan(made.steps)


def _check(made: Draft) -> None:
    settings, names = made.settings, made.names
    known = {*names.objectives()} - {"gold"}
    for run in settings.policies:
        if run.objective not in known:
            raise ConfigError(
                f"policies: objective {run.objective!r} is made by nothing here; allowed "
                f"{', '.join(sorted(known))}"
            )
    _check_pairs(settings)
    if settings.simulated:
        wanted = {
            "train": settings.posts.train, "labelled": settings.posts.labelled,
            "rounds": settings.rounds.posts * settings.rounds.count, "test": settings.posts.test,
        }  # fmt: skip
        for part, count in wanted.items():
            if count > LAYOUT[part][1]:
                raise ConfigError(
                    f"{part} posts of a seed are {count}; allowed up to {LAYOUT[part][1]}"
                )
        last = (settings.first_seed + settings.seeds) * SPACING
        if last > EVALUATION:
            raise ConfigError(f"seeds go up to {last // SPACING}; allowed {EVALUATION // SPACING}")


def _check_trainers(made: Draft) -> None:
    """Refuse settings that a trainer would refuse, before anything is made."""
    from trainers.ppo_setup import PPOConfig
    from trainers.reward_model import RewardModelConfig
    from trainers.sft import SFTConfig

    kinds = {"sft": SFTConfig, "rm": RewardModelConfig, "ppo": PPOConfig}
    for step in made.steps:
        if step.action in kinds:
            from_values(
                kinds[step.action], step.settings["config"], f"{step.action} of {step.name}"
            )


def _check_pairs(settings: ReproduceSettings) -> None:
    """Refuse more pairs than samples can make, before anything is sampled."""
    labels, rounds = settings.labels, settings.rounds
    asked = {"test pairs": (labels.test_pairs, settings.posts.test, TEST_SAMPLES)}
    if labels.judge != "files":
        asked["pairs"] = (labels.pairs, settings.posts.labelled, labels.samples)
    if rounds.count:
        asked["pairs of a round"] = (rounds.pairs, rounds.posts, rounds.samples)
    for what, (pairs, posts, samples) in asked.items():
        share = labels.reference_share
        of_samples, with_reference = posts * comb(samples, 2), posts * samples
        if pairs * (1 - share) > of_samples or pairs * share > with_reference:
            raise ConfigError(
                f"{pairs} {what} of {samples} samples on {posts} posts, {share:.0%} with the "
                f"reference; allowed up to {of_samples} of two samples and {with_reference} with "
                "the reference, less where samples are the same"
            )


def common_posts(made: Draft) -> str:
    """Posts that all seeds are judged on, and the gold model where the truth is not simulated."""
    settings = made.settings
    parts = {"evaluation": ("tldr", EVALUATION, settings.posts.evaluation)}
    if settings.simulated and settings.posts.news:
        parts["news"] = ("cnndm", 0, settings.posts.news)
    for size, base in settings.sizes.items():
        made.add(
            f"base/{size}", "base", f"{size}: {base}", "base", {"model": base}, [],
            [f"base/{size}.json"], Work("cpu", seconds=1),
        )  # fmt: skip
    return made.add(
        "posts/evaluation", "posts",
        ", ".join(f"{count} {part} posts" for part, (_, _, count) in parts.items()),
        "posts", _post_settings(settings, parts), [], [f"data/{part}.jsonl" for part in parts],
        Work("cpu", seconds=0.5), files=settings.posts.files,
    )  # fmt: skip


def seed_posts(made: Draft, seed: int) -> str:
    """Posts of one seed, each part a file; the step."""
    settings = made.settings
    counts = {
        "train": settings.posts.train, "labelled": settings.posts.labelled,
        "rounds": settings.rounds.posts * settings.rounds.count, "test": settings.posts.test,
    }  # fmt: skip
    parts = {
        f"{part}-s{seed}": ("tldr", seed * SPACING + LAYOUT[part][0], count)
        for part, count in counts.items() if count
    }  # fmt: skip
    return made.add(
        f"posts/s{seed}", "posts", f"{sum(counts.values()):,} posts of seed {seed}", "posts",
        _post_settings(settings, parts), [], [f"data/{part}.jsonl" for part in parts],
        Work("cpu", seconds=1), files=settings.posts.files,
    )  # fmt: skip


def _post_settings(
    settings: ReproduceSettings, parts: dict[str, tuple[str, int, int]]
) -> dict[str, Any]:
    if settings.simulated:
        return {
            "world_seed": settings.posts.world_seed,
            "parts": {part: list(where) for part, where in parts.items()},
        }
    # Files are shuffled by a hash; each part of each seed is a stretch of that order.
    return {
        "files": list(settings.posts.files),
        "counts": {
            "evaluation": settings.posts.evaluation, "train": settings.posts.train,
            "labelled": settings.posts.labelled, "test": settings.posts.test,
            "rounds": settings.rounds.posts * settings.rounds.count,
        },
        "parts": {part: list(where) for part, where in parts.items()},
    }  # fmt: skip
