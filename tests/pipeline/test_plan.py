"""The plan: names, what reads what, what each trainer is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalsuite.datasets.release import parse_policy
from evalsuite.pipeline.names import Names, is_main, policy_name, ppo_name, short
from evalsuite.pipeline.plan import make_plan
from evalsuite.pipeline.reading import below
from evalsuite.pipeline.settings import Optimised, ReproduceSettings, read_settings
from evalsuite.pipeline.steps import Plan, Step

WORDS = [
    "sizes={small: world-small, medium: world-medium}",
    "seeds=2",
    "first_seed=3",
    "reward_models={amounts: [10, 40], sizes: [small], members: 2}",
    "policies=[{size: small, objective: rm-small-40, kl_coefs: [0.05, 0.2]}, "
    "{size: small, objective: worst(rm-small-10)}, {size: small, objective: rouge}, "
    "{size: small, objective: rm-small-40, value_network: shared}, "
    "{size: medium, objective: rm-medium-40}]",
    "rounds.count=2",
    "by_size={medium: {sft: {optimizer: {learning_rate: 0.5}}}}",
    "sft={optimizer: {learning_rate: 0.25, warmup: 3}}",
]


@pytest.fixture(scope="module")
def settings() -> ReproduceSettings:
    return read_settings(None, WORDS)


@pytest.fixture(scope="module")
def plan(settings: ReproduceSettings) -> Plan:
    return make_plan(settings)


def step(plan: Plan, name: str) -> Step:
    return next(one for one in plan if one.name == name)


def config(plan: Plan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = step(plan, name).settings["config"]
    return found


def test_reward_models_of_the_grid(settings: ReproduceSettings) -> None:
    # small at both amounts, two members at the smaller; medium at the larger alone
    assert Names(settings).grid() == [
        ("rm-small-10", "small", 10, 0),
        ("rm-small-10", "small", 10, 1),
        ("rm-small-40", "small", 40, 0),
        ("rm-medium-40", "medium", 40, 0),
    ]


def test_objectives(settings: ReproduceSettings) -> None:
    assert Names(settings).objectives() == [
        "rm-small-10", "rm-small-40", "rm-medium-40", "mean(rm-small-10)", "worst(rm-small-10)",
        "uncertainty(rm-small-10)", "rm1", "rm2", "rouge", "gold",
    ]  # fmt: skip


def test_rewards_in_words(settings: ReproduceSettings) -> None:
    names = Names(settings)
    assert names.reward("rm-small-40", 3) == "@/rm/rm-small-40-m0-s3/model"
    assert names.reward("rm2", 4) == "@/rm/rm2-s4/model"
    assert names.reward("rouge", 3) == "rouge"
    members = "@/rm/rm-small-10-m0-s3/model,@/rm/rm-small-10-m1-s3/model"
    assert names.reward("worst(rm-small-10)", 3) == f"worst:{members}"
    assert names.members("worst(rm-small-10)", 3) == ["rm-small-10-m0-s3", "rm-small-10-m1-s3"]
    assert names.members("rouge", 3) == []


@pytest.mark.parametrize(
    ("objective", "said"),
    [("rm-small-40", "rm40"), ("rouge", "rouge"), ("rm2", "rm2"),
     ("worst(rm-small-10)", "worstrm10")],
)  # fmt: skip
def test_objectives_in_names_of_policies(objective: str, said: str) -> None:
    assert short(objective) == said


def test_names_of_policies_are_read_back() -> None:
    name = policy_name("medium", "rm-medium-40", 0.05, False, 0.7)
    assert name == "sup_medium_ppo_rm40_b0.05_t0.7"
    read = parse_policy(name)
    assert (read.base, read.method, read.temperature) == ("sup_medium", "ppo", 0.7)
    run = Optimised("small", "rm-small-40", value_network="shared")
    assert ppo_name(run, 0.2, 3) == "ppo-small-rm-small-40-shared-b0.2-s3"


def test_one_policy_a_size_stands_in_figure_1(settings: ReproduceSettings) -> None:
    main = [
        (run.size, run.value_network, kl)
        for run in settings.policies
        for kl in run.kl_coefs
        if is_main(settings, run, kl)
    ]
    assert main == [("small", "separate", 0.05), ("medium", "separate", 0.05)]


def test_seeds_have_posts_and_models_of_their_own(plan: Plan) -> None:
    first, second = (step(plan, f"posts/s{seed}").settings["parts"] for seed in (3, 4))
    assert first["train-s3"] == ["tldr", 60_000, 6000]
    assert second["train-s4"] == ["tldr", 80_000, 6000]
    assert first["test-s3"] == ["tldr", 78_000, 400]
    assert config(plan, "rm/rm-small-10-m1-s4")["seed"] == 4001


def test_all_seeds_are_judged_on_the_same_posts(plan: Plan) -> None:
    judged = [one for one in plan if one.action == "judge"]
    assert {one.settings["posts"][0] for one in judged} == {"@/data/evaluation.jsonl"}
    assert step(plan, "posts/evaluation").settings["parts"]["evaluation"][1] == 500_000


def test_trainers_get_the_settings_of_the_run_the_size_and_the_step(plan: Plan) -> None:
    small, medium = (config(plan, f"sft/sft-{size}-s3") for size in ("small", "medium"))
    assert small["optimizer"] == {"learning_rate": 0.25, "warmup": 3}
    assert medium["optimizer"] == {"learning_rate": 0.5, "warmup": 3}
    assert medium["model"] == "world-medium"
    assert config(plan, "rm/rm-small-10-m0-s3")["data"]["limits"] == {"train": 10}


def test_rounds_train_on_all_labels_so_far(plan: Plan) -> None:
    paths = config(plan, "rm/rm2-s3")["data"]["paths"]
    assert paths[:2] == ["@/labels/round1-s3.jsonl", "@/labels/round2-s3.jsonl"]
    sources = step(plan, "labels/round2-s3").settings["samples"]
    assert sources == [
        "@/samples/round2-sup_small_t0.7-s3.parquet",
        "@/samples/round2-sup_small_ppo_rm1_t0.7-s3.parquet",
        "@/samples/round2-sup_small_bo8_rm1-s3.parquet",
    ]
    # two rounds: the first at the beginning of the labelers' work, the second at its end
    assert [step(plan, f"labels/round{n}-s3").settings["time"] for n in (1, 2)] == [-0.5, 0.5]


def test_ppo_waits_for_its_reward_and_is_judged_by_it(plan: Plan) -> None:
    run = step(plan, "ppo/ppo-small-worst(rm-small-10)-b0.05-s4")
    assert {"rm/rm-small-10-m0-s4", "rm/rm-small-10-m1-s4", "sft/sft-small-s4"} <= set(run.inputs)
    judged = step(plan, "judged/sup_small_ppo_worstrm10_b0.05_t0.7-s4").settings
    assert judged["reward"].startswith("worst:@/rm/")
    assert judged["parent"] == "@/sft/sft-small-s4/model"
    # greedy only where it stands in Figure 1
    assert "judged/sup_small_ppo_worstrm10_b0.05_t0-s4" not in plan
    assert "judged/sup_small_ppo_rm40_b0.05_t0-s4" in plan


def test_labels_on_file_are_trained_on_and_nothing_is_sampled_for_them() -> None:
    words = [
        "posts.files=[posts.jsonl]", "labels.judge=files", "labels.gold_files=[labels.jsonl]",
        "posts.news=0", "rounds.count=0",
    ]  # fmt: skip
    plan = make_plan(read_settings(None, words))
    assert config(plan, "rm/rm-small-300-m0-s0")["data"]["paths"] == ["@/labels/files.jsonl"]
    assert config(plan, "gold/model")["data"]["paths"] == ["@/labels/gold.jsonl"]
    files = step(plan, "labels/files")
    assert files.files == ("labels.jsonl",)
    assert files.settings["without"] == ["@/data/evaluation.jsonl", "@/data/test-s0.jsonl"]
    assert files.settings["halves"]  # or gold model and reward models would be one
    assert "samples/labelled-s0" not in plan
    assert step(plan, "gold/model").inputs == ("sft/sft-small-s0", "labels/files")


def test_settings_below_a_folder() -> None:
    told = {"a": "@/x", "b": ["worst:@/x,@/y", 1], "c": {"d": None}}
    assert below(told, Path("runs/r")) == {
        "a": "runs/r/x", "b": ["worst:runs/r/x,runs/r/y", 1], "c": {"d": None},
    }  # fmt: skip
