"""What PPO refuses before it starts, and what makes it stop with the last good policy kept."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from evalsuite.config import resolve
from evalsuite.errors import ConfigError, DataError, ModelError, TrainingError
from evalsuite.models.checkpoints import load_policy, load_scalar, new_reward_model, save
from trainers import ppo, rollout
from trainers.engine import DivergedError, Engine
from trainers.ppo import train_ppo
from trainers.ppo_setup import (
    PPOConfig,
    check_reward_model,
    reward_model_of,
    set_up,
    value_network,
)
from trainers.ppo_watch import check


@pytest.fixture(scope="module")
def start(tiny: Path) -> Path:
    """A tiny policy, a reward model of it, one with another tokenizer, an encoder, posts."""
    if not (tiny / "rm").exists():
        found = new_reward_model(tiny / "llama", seed=1)
        save(tiny / "rm", found.model, found.tokenizer, found.info.replace(reward_shift=0.25))
        found.tokenizer.add_tokens([" longer"])
        found.model.resize_token_embeddings(len(found.tokenizer), mean_resizing=False)
        save(tiny / "rm-other", found.model, found.tokenizer, found.info)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = tf.AutoModelForSequenceClassification.from_config(
                tf.BertConfig(
                    vocab_size=len(load_policy(tiny / "llama").tokenizer), hidden_size=32,
                    num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                    max_position_embeddings=96, num_labels=1, pad_token_id=1,
                )
            )  # fmt: skip
        save(tiny / "encoder", encoder, load_policy(tiny / "llama").tokenizer, found.info)
    return tiny


def config_of(start: Path, *words: str) -> PPOConfig:
    return resolve(
        PPOConfig,
        overrides=[
            f"model={start / 'llama'}", "reward=words", f"data.paths=[{start / 'posts.jsonl'}]",
            "data.max_prompt_tokens=60", "data.max_completion_tokens=8", "engine.device=cpu",
            "run.log_seconds=1e9", "run.checkpoint_every=1", "episodes=16", "prompts_per_update=4",
            "epochs=1", "evaluate_every=0", *words,
        ],
    )  # fmt: skip


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["episodes=3"], r"episodes is 3; allowed 4 \(prompts_per_update x samples_per_prompt\)"),
        (["minibatches=5"], "minibatches is 5; allowed up to prompts_per_update, 4"),
        (["temperature=0"], "temperature is 0; allowed above 0"),
        (["kl_target=0"], "kl_target is 0; allowed above 0, or null"),
        (["gamma=1.5"], "gamma is 1.5; allowed 0 to 1"),
        (["value_clip=-1"], "value_clip is -1.0; allowed 0 or more"),
        (["prompts_per_update=0"], "prompts_per_update is 0; allowed 1 or more"),
        (["value_network=shared", "value_model=x"], "value_model is set, and value_network is"),
        (["kl_ceof=1"], "unknown key 'kl_ceof'; did you mean 'kl_coef'"),
        (["value_network=none"], "value_network is 'none'; input should be 'separate' or 'shared'"),
    ],
)
def test_settings_out_of_range_are_named(start, words, text):
    with pytest.raises(ConfigError, match=text):
        config_of(start, *words)


def test_decay_is_linear_also_where_a_rate_is_given(start):
    assert config_of(start, "optimizer.learning_rate=1").optimizer.schedule == "linear"
    config = config_of(start, "optimizer.learning_rate=1", "value_learning_rate=2")
    assert config.value_optimizer == replace(config.optimizer, learning_rate=2)
    assert config_of(start).value_optimizer == config_of(start).optimizer


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["model=''"], ConfigError, "model is empty; allowed a checkpoint"),
        (["reward=''"], ConfigError, "reward is empty; allowed a checkpoint"),
        (["reward=wrods"], ConfigError, "reward 'wrods' is unknown; did you mean 'words'"),
        (["data.paths=[]"], ConfigError, "data.paths is empty; allowed files or folders of posts"),
        (["data.train_splits=[nowhere]"], DataError, "no prompt of split nowhere"),
        (["data.max_prompt_tokens=89"], ModelError, "take up to 97 tokens; allowed 96"),
        (["model=/nowhere/at/all"], ModelError, "/nowhere/at/all: no such folder"),
        (["value_model=/nowhere"], ModelError, "/nowhere: no such folder"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_any_work(start, words, error, text):
    config = config_of(start, *words)
    with pytest.raises(error, match=text):
        set_up(config, Engine(config.engine))


def test_a_value_network_must_read_the_policys_tokens(start):
    config = config_of(start, f"value_model={start / 'rm-other'}")
    text = (
        "rm-other as value network: its tokenizer is not that of the policy .*llama "
        r"\(70 and 69 tokens\); allowed a value network that reads the policy's tokens"
    )
    with pytest.raises(ModelError, match=text):
        set_up(config, Engine(config.engine))


def test_a_value_network_must_be_read_at_each_token(start):
    config = config_of(start, f"value_model={start / 'encoder'}")
    with pytest.raises(ModelError, match="BertForSequenceClassification has no output at each"):
        set_up(config, Engine(config.engine))


def test_what_the_value_network_starts_from(start):
    """The reward model, an ensemble's first member, the policy with a new head, or what is said."""
    policy = load_policy(start / "llama")
    rm = load_scalar(start / "rm").model.state_dict()

    def network(reward: str, *words: str) -> tuple[dict[str, Any], float]:
        config = config_of(start, f"reward={reward}", *words)
        setup = set_up(config, Engine(config.engine))
        values = setup.actors.values
        assert values is not None
        return values.plain.model.state_dict(), setup.actors.shift

    for reward in (f"{start / 'rm'}", f"worst:{start / 'rm'},{start / 'rm-other'}"):
        weights, shift = network(reward)
        assert all(weights[name].equal(rm[name]) for name in rm)
        assert shift == 0.25
    weights, shift = network("words")
    assert weights["model.embed_tokens.weight"].equal(policy.model.model.embed_tokens.weight)
    assert not weights["score.weight"].equal(rm["score.weight"])
    assert shift == 0
    weights, shift = network("words", f"value_model={start / 'rm'}")
    assert weights["score.weight"].equal(rm["score.weight"])
    assert shift == 0.25


def test_a_reward_model_with_another_tokenizer_reads_text(start, tmp_path):
    """Allowed for the reward; the value network then starts elsewhere."""
    config = config_of(
        start, f"reward={start / 'rm-other'}", f"value_model={start / 'rm'}", "episodes=4"
    )
    setup = set_up(config, Engine(config.engine))
    assert not setup.actors.reward.uses_tokens  # type: ignore[attr-defined]
    assert (train_ppo(config, tmp_path / "run") / "model.safetensors").is_file()


# --- stops -------------------------------------------------------------------------------------


def stops(config: PPOConfig, folder: Path, text: str) -> str:
    with pytest.raises(DivergedError, match=text) as caught:
        train_ppo(config, folder)
    return str(caught.value)


def kept(folder: Path) -> int:
    """The update that the policy in last_good is after, its weights those of the checkpoint."""
    loaded = load_policy(folder / "last_good")
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    state = json.loads((newest / "state.json").read_text())
    assert loaded.info.step == state["step"]
    from safetensors.torch import load_file

    saved = load_file(newest / "policy.safetensors")
    weights = loaded.model.state_dict()
    assert all(weights[n.removeprefix("model.")].equal(t) for n, t in saved.items())
    assert not (folder / "model").exists()
    return int(state["step"])


def test_kl_past_its_limit_stops_with_the_last_policy_within_it(start, tmp_path):
    config = config_of(
        start, "max_kl=1.5", "epochs=2", "optimizer.learning_rate=1e-3", "kl_coef=0",
        "optimizer.schedule=constant", "episodes=80", "run.keep=1",
    )  # fmt: skip
    said = stops(config, tmp_path / "run", r"KL to the reference is [\d.]+ nats; allowed max_kl")
    step = kept(tmp_path / "run")
    assert f"The policy after update {step}, the last that was saved" in said
    # Checkpoints are written after each update, but not after the one whose rollout failed.
    assert f"rollout of update {step + 2}" in said
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, step + 2))
    assert all(row["kl_k1"] <= 1.5 for row in rows)
    assert step > 0
    # Resumed, it repeats the rollout and stops in the same place.
    with pytest.raises(DivergedError, match=f"rollout of update {step + 2}: KL"):
        train_ppo(config, tmp_path / "run", resume=True)


def test_collapsed_entropy_stops(start, tmp_path):
    config = config_of(start, "min_entropy=10")
    said = stops(config, tmp_path / "run", "entropy is [0-9.]+ nats a token; allowed min_entropy")
    assert said.endswith("the policy has collapsed. No checkpoint was written before")


def test_a_mismatch_of_rollout_and_training_stops(start, tmp_path, monkeypatch):
    """Sampling at one temperature, training at another: what users met as a silent fault."""
    real = rollout.sample

    def colder(model: Any, prompts: Any, **settings: Any) -> Any:
        return real(model, prompts, **(settings | {"temperature": 0.65}))

    monkeypatch.setattr(rollout, "sample", colder)
    stops(
        config_of(start), tmp_path / "run",
        r"differ by [\d.]+ nats at a token \(mean [\d.]+\) before any step; allowed max_mismatch, "
        r"0\.001, and a tenth of it on average: both must be of one temperature",
    )  # fmt: skip
    found = train_ppo(config_of(start, "max_mismatch=5"), tmp_path / "allowed")
    assert found.is_dir()


def test_a_broken_gradient_stops_before_the_weights_change(start, tmp_path, monkeypatch):
    real = ppo.goals_of

    def broken(config: Any, found: Any, kl_coef: float) -> Any:
        goals = real(config, found, kl_coef)
        if len(calls) == 2:
            goals.advantages[0, 0] = float("nan")
        calls.append(1)
        return goals

    calls: list[int] = []
    monkeypatch.setattr(ppo, "goals_of", broken)
    said = stops(config_of(start), tmp_path / "run", "the gradient of policy is nan")
    assert kept(tmp_path / "run") == 2
    assert "The policy after update 2, the last that was saved, is in" in said


@pytest.mark.parametrize("name", ["logprobs", "ref_logprobs", "values", "rewards"])
def test_numbers_of_a_rollout_must_be_finite(start, name):
    config = config_of(start)
    engine = Engine(config.engine)
    setup = set_up(config, engine)
    found = rollout.collect(
        engine, setup.actors, rollout.visits(len(setup.train), 4, 0, 0), setup.train, samples=1,
        temperature=0.7, seed=0, max_batch_tokens=512,
    )  # fmt: skip
    check(config, found, 7)
    getattr(found, name).view(-1)[0] = float("inf")
    with pytest.raises(DivergedError, match=f"rollout of update 7: {name} are not all finite"):
        check(config, found, 7)


def test_a_reward_that_is_no_number_stops_with_its_summary(start, tmp_path, monkeypatch):
    module: Any = types.ModuleType("ppo_bad_rewards")
    module.bad = lambda request: float("nan")
    monkeypatch.setitem(sys.modules, "ppo_bad_rewards", module)
    with pytest.raises(DivergedError, match=r"reward of a completion is undefined: .* gives nan"):
        train_ppo(config_of(start, "reward=call:ppo_bad_rewards:bad"), tmp_path / "run")


def test_a_folder_in_use_is_refused_before_models_are_loaded(start, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "other.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"holds 'other\.txt' and no run"):
        train_ppo(config_of(start, "model=/nowhere"), tmp_path / "run")


def test_a_reward_model_too_short_for_the_posts_is_refused_before_work(start):
    config = config_of(start, f"reward={start / 'rm'}")
    setup = set_up(config, Engine(config.engine))
    reward: Any = setup.actors.reward
    reward.model.model.config.max_position_embeddings = 20
    with pytest.raises(ModelError, match=r"reward model .*: prompt and completion take up to"):
        check_reward_model(reward, setup.train, 16)


def test_names_of_reward_models_in_a_setting(start):
    def name(spec: Any) -> str | None:
        config = config_of(start)
        setup = set_up(replace(config, reward=spec), Engine(config.engine))
        return reward_model_of(spec, setup.actors.reward)

    rm = str(start / "rm")
    assert name(rm) == rm
    assert name("length") is None
    assert name((rm, rm)) == rm
    assert name(f"uncertainty(.1): {rm} ,length") == rm
    assert name(f"mean:length,{rm}") is None
    policy = load_policy(start / "llama")
    config = config_of(start)
    found = value_network(config, set_up(config, Engine(config.engine)).actors.reward, policy, 68)
    assert found.info.kind == "reward"
