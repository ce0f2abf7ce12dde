"""Settings of a reproduction: what is refused, and that the shipped files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalsuite.errors import ConfigError
from evalsuite.pipeline.plan import make_plan
from evalsuite.pipeline.settings import ReproduceSettings, read_settings

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "reproduce"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_settings_make_a_plan(file: Path) -> None:
    plan = make_plan(read_settings(file))
    assert {"tables", "analyses/labels", "analyses/checkpoints", "page"} <= {s.name for s in plan}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sizes={}", "sizes is empty; allowed a word for a size: a base model"),
        ("pool.size=huge", "pool.size: 'huge' is no size; allowed small"),
        ("reward_models.sizes=[big]", "reward_models.sizes: 'big' is no size; allowed small"),
        ("by_size={big: {}}", "by_size: 'big' is no size; allowed small"),
        ("seeds=0", "seeds is 0; allowed 1 or more"),
        ("first_seed=-1", "first_seed is -1; allowed 0 or more"),
        ("reward_models.amounts=[20, 10]", r"amounts is \[20, 10\]; allowed numbers that rise"),
        ("posts.files=[x.jsonl]", "posts.files are not the world's; allowed gold, files"),
        ("labels.judge=gold", "labels.gold_files is empty; allowed files of comparisons"),
        ("kl_ceof=1", "unknown key 'kl_ceof'"),
        ("sizes={a-b: world-small}", "sizes: 'a-b'; allowed letters, digits and points"),
        ("reward_models.members=0", "reward_models.members is 0; allowed 1 or more"),
        ("evaluation.temperatures=[]", "evaluation.temperatures is empty; allowed one or more"),
        ("pool.shown=[300]", r"pool.shown is \[300\]; allowed 2 to pool.samples, 128"),
        ("pool.posts=900", "pool.posts is 900; allowed 1 to posts.evaluation, 300"),
        ("pool.temperature=1", "pool.temperature 1, the first of .*; allowed one temperature"),
    ],
)
def test_what_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings(None, [word])


def test_a_policy_on_an_objective_that_nothing_makes() -> None:
    word = "policies=[{size: small, objective: rm-small-77}]"
    with pytest.raises(ConfigError, match="'rm-small-77' is made by nothing here"):
        make_plan(read_settings(None, [word]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("posts.train=10001", "train posts of a seed are 10001; allowed up to 10000"),
        ("rounds.posts=2001", "rounds posts of a seed are 4002; allowed up to 4000"),
        ("first_seed=25", "seeds go up to 26; allowed 25"),
    ],
)
def test_more_posts_than_a_seed_of_the_world_has(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(read_settings(None, [word]))


def test_the_first_size_is_among_those_of_the_grid() -> None:
    words = ["sizes={small: world-small, big: world-medium}", "reward_models.sizes=[big]"]
    with pytest.raises(ConfigError, match=r"sizes is \['big'\]; allowed with small in it"):
        read_settings(None, words)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ppo.foo=3", "ppo of ppo/.*: unknown key 'foo'"),
        ("sft.optimizer.learning_rate=abc", "sft of sft/sft-small-s0: optimizer.learning_rate is"),
        ("by_size.small.rm.batch_size=0", "batch_size is 0; allowed 1 or more"),
    ],
)
def test_what_a_trainer_would_refuse_is_refused_before_any_step(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(read_settings(None, [word]))


def test_more_pairs_than_samples_make() -> None:
    with pytest.raises(ConfigError, match="9000 pairs of a round of 3 samples on 600 posts"):
        make_plan(read_settings(None, ["rounds.pairs=9000"]))


def test_defaults() -> None:
    settings = ReproduceSettings()
    assert settings.first_size == "small"
    assert settings.simulated
