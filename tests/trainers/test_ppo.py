"""PPO: its gradient against the textbook, learning, exact resume, invariances, what it records."""

from __future__ import annotations

import itertools
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from evalsuite.config import resolve
from evalsuite.models.checkpoints import load_policy, new_reward_model, save
from evalsuite.models.packing import Group
from evalsuite.models.rewards import RewardRequest
from evalsuite.records import Post
from trainers import losses, ppo
from trainers.engine import Engine
from trainers.ppo import Goals, goals_of, minibatch, policy_loss, train_ppo, value_loss
from trainers.ppo_setup import PPOConfig, set_up
from trainers.ppo_watch import Seen
from trainers.resume import is_timing
from trainers.rollout import Rollout, collect, visits

FAMILIES = ["llama", "gpt2", "gpt_neox"]
LIKED = "w3"


@pytest.fixture(scope="module")
def start(tiny: Path) -> Path:
    """Tiny policies, a reward model of each, posts."""
    for family in FAMILIES:
        if not (tiny / f"{family}-rm").exists():
            found = new_reward_model(tiny / family, seed=1)
            info = found.info.replace(reward_shift=0.25)
            save(tiny / f"{family}-rm", found.model, found.tokenizer, info)
    return tiny


@pytest.fixture
def liked(monkeypatch: pytest.MonkeyPatch) -> str:
    """A reward by name: how often a summary says one word."""
    module: Any = types.ModuleType("ppo_test_rewards")
    module.liked = lambda request: float(request.summary.split().count(LIKED))
    monkeypatch.setitem(sys.modules, "ppo_test_rewards", module)
    return "call:ppo_test_rewards:liked"


def config_of(start: Path, *words: str, family: str = "llama") -> PPOConfig:
    return resolve(
        PPOConfig,
        overrides=[
            f"model={start / family}", f"reward={start / f'{family}-rm'}",
            f"data.paths=[{start / 'posts.jsonl'}]", "data.max_prompt_tokens=60",
            "data.max_completion_tokens=8", "engine.device=cpu", "run.log_seconds=1e9",
            "episodes=24", "prompts_per_update=4", "samples_per_prompt=2", "epochs=2",
            "optimizer.learning_rate=1e-3", "evaluate_every=2", "evaluate_prompts=3", *words,
        ],
    )  # fmt: skip


def rows_of(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in rows]


# --- rewards and advantages --------------------------------------------------------------------


def hand_made() -> Rollout:
    """Two completions of one prompt; the second is cut off."""
    request = RewardRequest(Post("text"), "summary")
    return Rollout(
        groups=(Group([5, 6], [[7, 8, 0], [9, 9]]),),
        requests=(request, request),
        mask=torch.tensor([[True, True, True], [True, True, False]]),
        has_eos=torch.tensor([True, False]),
        logprobs=torch.tensor([[-1.0, -1.0, -2.0], [-1.0, -3.0, 0.0]]),
        ref_logprobs=torch.tensor([[-2.0, -1.0, -1.0], [-1.0, -1.0, 0.0]]),
        values=torch.tensor([[0.5, 0.0, 1.0], [0.0, 1.0, 0.0]]),
        rewards=torch.tensor([3.0, 2.0]),
    )


def test_goals_by_hand():
    # beta .5, lambda .5. KL of row 0: 1, 0, -1; of row 1: 0, -2. The cut-off one gets -1 for 2.
    # token rewards: -.5, 0, .5 + 3 = 3.5; 0, 1 - 1 = 0.
    # Row 0: delta_2 = 3.5 - 1 = 2.5; delta_1 = 0 + 1 - 0 = 1; delta_0 = -.5 + 0 - .5 = -1.
    #   A_2 = 2.5, A_1 = 1 + 1.25 = 2.25, A_0 = -1 + 1.125 = .125; R = .625, 2.25, 3.5
    # Row 1: delta_1 = 0 - 1 = -1; delta_0 = 0 + 1 - 0 = 1; A_1 = -1, A_0 = 1 - .5 = .5; R = .5, 0
    config = PPOConfig(lam=0.5, whiten_advantages=False)
    goals = goals_of(config, hand_made(), 0.5)
    assert goals.token_rewards.tolist() == [[-0.5, 0, 3.5], [0, 0, 0]]
    assert goals.advantages.tolist() == [[0.125, 2.25, 2.5], [0.5, -1, 0]]
    assert goals.returns.tolist() == [[0.625, 2.25, 3.5], [0.5, 0, 0]]
    # Whitened over the five tokens: mean .875, and the sum of squares becomes 5.
    white = goals_of(PPOConfig(lam=0.5), hand_made(), 0.5)
    assert white.advantages.sum().item() == pytest.approx(0, abs=1e-6)
    assert (white.advantages**2).sum().item() == pytest.approx(5, abs=1e-5)
    mask = hand_made().mask
    assert white.advantages[mask].argsort().equal(goals.advantages[mask].argsort())
    assert white.returns.equal(goals.returns)


@pytest.mark.parametrize(("rule", "last"), [("replace", -2.0), ("subtract", 0.0), ("none", 2.0)])
def test_rules_for_a_missing_eos_reach_the_last_token(rule, last):
    config = PPOConfig(missing_eos=rule, missing_eos_penalty=2.0)
    goals = goals_of(config, hand_made(), 0.0)
    assert goals.token_rewards.tolist() == [[0, 0, 3], [0, last, 0]]


def test_whitened_rewards_keep_their_mean():
    config = PPOConfig(lam=1.0, whiten_rewards=True, whiten_advantages=False, missing_eos="none")
    rollout = hand_made()
    plain = goals_of(PPOConfig(lam=1.0, whiten_advantages=False, missing_eos="none"), rollout, 0.0)
    goals = goals_of(config, rollout, 0.0)
    # With lambda 1 the first return is the sum of the row's rewards: 0, 0, 3 and 0, 2; mean 1.
    # Population variance: (1 + 1 + 4 + 1 + 1) / 5 = 1.6; whitened w = (r - 1) / sqrt(1.6) + 1.
    root = math.sqrt(1.6)
    sums = [3 + (0 - 1 + 0 - 1 + 3 - 1) / root, 2 + (0 - 1 + 2 - 1) / root]
    assert goals.returns[:, 0].tolist() == pytest.approx(sums, abs=1e-6)
    assert plain.returns[:, 0].tolist() == [3, 2]


# --- the gradient ------------------------------------------------------------------------------


def moved(module: torch.nn.Module, size: float) -> None:
    """Noise on all weights, so that ratios and values are not at their start."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def prepared(config: PPOConfig) -> tuple[Engine, Any, Rollout, Goals]:
    engine = Engine(config.engine)
    setup = set_up(config, engine)
    rollout = collect(
        engine, setup.actors, visits(len(setup.train), config.prompts_per_update, 0, config.seed),
        setup.train, samples=config.samples_per_prompt, temperature=config.temperature,
        seed=config.seed, max_batch_tokens=512,
    )  # fmt: skip
    return engine, setup, rollout, goals_of(config, rollout, config.kl_coef)


def gradients(config, engine, setup, rollout, goals) -> dict[str, torch.Tensor]:
    """Gradients of both losses, summed over micro-batches and divided by the tokens of all."""
    actors = setup.actors
    parts, _, count = minibatch(
        config, engine, actors, rollout, goals, list(range(len(rollout.groups)))
    )
    out = {}
    pairs = [(actors.policy, policy_loss(config, actors, Seen(engine), first=True, entropy=True))]
    if actors.values is not None:
        pairs.append((actors.values, value_loss(config, actors)))
    for trainable, loss in pairs:
        trainable.plain.zero_grad()
        for part in parts:
            (loss(part)[0] / count).backward()
        for name, parameter in trainable.plain.named_parameters():
            if parameter.grad is not None:
                out[f"{trainable.name}.{name}"] = parameter.grad.clone()
    return out


def textbook(config, setup, rollout, goals) -> tuple[torch.Tensor, torch.Tensor, Any, Any]:
    """Mean losses over tokens in float64: one completion a row, one token at a time."""
    policy, network = (
        trainable.plain.model.double() for trainable in setup.actors[:2] if trainable is not None
    )
    clip, value_clip, temperature = config.clip, config.value_clip, config.temperature
    policy_terms, value_terms = [], []
    row = 0
    for group in rollout.groups:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt, *completion]])
            logits = policy(input_ids=ids).logits[0] / temperature
            heads = network.score(network.base_model(input_ids=ids).last_hidden_state[0])[:, 0]
            for t, token in enumerate(completion):
                at = len(group.prompt) - 1 + t
                ratio = (
                    logits[at].log_softmax(-1)[token] - rollout.logprobs[row, t].double()
                ).exp()
                a = goals.advantages[row, t].double()
                bounded = min(max(ratio, torch.tensor(1 - clip)), torch.tensor(1 + clip))
                policy_terms.append(-min(ratio * a, bounded * a))
                value, old = heads[at] - setup.actors.shift, rollout.values[row, t].double()
                target = goals.returns[row, t].double()
                near = old + min(
                    max(value - old, torch.tensor(-value_clip)), torch.tensor(value_clip)
                )
                value_terms.append(0.5 * max((value - target) ** 2, (near - target) ** 2))
            row += 1
    both = torch.stack(policy_terms).mean(), torch.stack(value_terms).mean()
    return *both, policy, network


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_textbooks(start, family):
    config = config_of(start, family=family)
    engine, setup, rollout, goals = prepared(config)
    moved(setup.actors.policy.plain, 0.02)
    moved(setup.actors.values.plain, 0.02)
    found = gradients(config, engine, setup, rollout, goals)
    for trainable in setup.actors[:2]:
        trainable.plain.zero_grad()
    policy, value, *networks = textbook(config, setup, rollout, goals)
    (policy + value).backward()
    for name, network in zip(("policy.model.", "value.model."), networks, strict=True):
        exact = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        assert {name + n for n in exact} == {n for n in found if n.startswith(name)}
        largest = max(float(grad.abs().max()) for grad in exact.values())
        assert largest > 1e-3
        for n, grad in exact.items():
            assert torch.allclose(found[name + n].double(), grad, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_micro_batches_nor_sharing_change_the_gradient(start, family):
    config = config_of(start, family=family)
    engine, setup, rollout, goals = prepared(config)
    moved(setup.actors.policy.plain, 0.02)
    whole = gradients(config, engine, setup, rollout, goals)
    small = config_of(start, "engine.micro_batch_tokens=40", family=family)
    cut = gradients(config, Engine(small.engine), setup, rollout, goals)
    setup.actors.policy.plain.shares = False
    plain = gradients(config, engine, setup, rollout, goals)
    for other in (cut, plain):
        assert other.keys() == whole.keys()
        largest = max(float(grad.abs().max()) for grad in whole.values())
        for name, grad in whole.items():
            assert torch.allclose(other[name], grad, rtol=1e-4, atol=1e-5 * largest)


def test_minibatches_hold_each_completion_once_whoever_does_them(start):
    config = config_of(start, "engine.micro_batch_tokens=70")
    engine, setup, rollout, goals = prepared(config)
    seen, counts = [], set()
    for rank in range(3):
        engine.rank, engine.processes = rank, 3
        parts, filler, count = minibatch(config, engine, setup.actors, rollout, goals, [1, 3])
        assert len(filler.logprobs) > 0
        counts.add(count)
        seen += [value for part in parts for value in part.logprobs.tolist()]
    expected = rollout.logprobs[[2, 3, 6, 7]][rollout.mask[[2, 3, 6, 7]]]
    assert sorted(seen) == sorted(expected.tolist())
    assert counts == {len(expected)}


def test_a_shared_backbone_learns_from_both_losses(start):
    config = config_of(start, "value_network=shared", "value_coef=.5")
    engine, setup, rollout, goals = prepared(config)
    both = gradients(config, engine, setup, rollout, goals)
    without = config_of(start, "value_network=shared", "value_coef=0")
    alone = gradients(without, engine, setup, rollout, goals)
    assert "policy.value.weight" in both
    assert float(both["policy.value.weight"].abs().max()) > 0
    assert float(alone["policy.value.weight"].abs().max()) == 0
    changed = [n for n in alone if not torch.allclose(both[n], alone[n])]
    assert len(changed) > len(alone) / 2


# --- whole runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("network", ["separate", "shared"])
def test_a_run_leaves_a_model_and_its_numbers(start, tmp_path, family, network):
    config = config_of(start, f"value_network={network}", "minibatches=2", family=family)
    model = train_ppo(config, tmp_path / "run")
    assert model == tmp_path / "run" / "model"
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2, 3]
    first = rows[0]
    for name in (
        "reward", "token_reward", "kl_k1", "kl_k3", "surprisal", "entropy", "approx_kl",
        "clip_fraction", "ratio_min", "ratio_max", "policy_loss", "value_loss",
        "value_clip_fraction", "explained_variance", "length", "without_eos", "learning_rate",
        "kl_coef", "mismatch", "mismatch_max", "episodes", "tokens_per_second", "grad_norm",
    ):  # fmt: skip
        assert math.isfinite(first[name]), name
    # Before any step the policy is the reference, and training sees what was sampled.
    assert abs(first["kl_k1"]) < 1e-4
    assert first["kl_k3"] < 1e-4
    assert max(row["mismatch_max"] for row in rows) < 1e-4
    assert [row["episodes"] for row in rows] == [8, 16, 24]
    # Linear decay: 1, 2/3, 1/3 of the highest rate.
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([1e-3, 2e-3 / 3, 1e-3 / 3])
    assert [("validation_reward" in row) for row in rows] == [True, False, True]
    samples = rows_of(tmp_path / "run", "samples.jsonl")
    assert [row["step"] for row in samples] == [1] * 3 + [3] * 3 + [4] * 3
    assert len({row["post_id"] for row in samples}) == 3
    loaded = load_policy(model)
    assert loaded.info.kind == "policy"
    assert loaded.info.step == 3
    assert loaded.info.parent.startswith(f"{start.name}/{family}")
    assert loaded.info.metrics["kl_k1"] > -1
    before = load_policy(start / family).model.state_dict()
    after = tf.AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert before.keys() == after.keys()
    assert sum(not after[n].equal(before[n]) for n in before) > len(before) / 2


def test_the_policy_learns_what_is_rewarded(start, tmp_path, liked):
    """A word that is said about once in thirty comes to be said in most places."""
    config = config_of(
        start, f"reward={liked}", "episodes=480", "prompts_per_update=8", "samples_per_prompt=4",
        "epochs=4", "optimizer.learning_rate=6e-3", "kl_coef=.01", "missing_eos=none",
        "evaluate_every=0", "temperature=1", "value_clip=null",
    )  # fmt: skip
    train_ppo(config, tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 15
    assert rows[0]["reward"] < 0.5
    assert rows[-1]["reward"] > 4 * rows[0]["reward"] + 1
    assert rows[-1]["kl_k1"] > 0.5
    assert rows[-1]["explained_variance"] > rows[0]["explained_variance"]


def test_a_run_cut_off_goes_on_to_the_same_bits(start, tmp_path, monkeypatch):
    words = ["run.checkpoint_every=2", "episodes=40", "kl_target=.5", "kl_horizon=20"]
    config = config_of(start, *words)
    whole = train_ppo(config, tmp_path / "whole")
    real = ppo.optimise

    def cut_off(config, engine, actors, rollout, goals, step):
        found = real(config, engine, actors, rollout, goals, step)
        if step == 4:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(ppo, "optimise", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_ppo(config, tmp_path / "cut")
    monkeypatch.setattr(ppo, "optimise", real)
    cut = train_ppo(config, tmp_path / "cut", resume=True)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    rows = untimed(rows_of(tmp_path / "whole"))
    assert untimed(rows_of(tmp_path / "cut")) == rows
    assert rows_of(tmp_path / "cut", "samples.jsonl") == rows_of(
        tmp_path / "whole", "samples.jsonl"
    )
    # The coefficient moved, and its course went on: beta' = beta (1 + clip(KL / .5 - 1) 8 / 20).
    for now, after in itertools.pairwise(rows):
        expected = losses.adaptive_kl_coef(
            now["kl_coef"], now["kl_k1"], target=0.5, horizon=20, episodes=8
        )
        assert after["kl_coef"] == pytest.approx(expected, rel=1e-12)
        assert after["kl_coef"] != now["kl_coef"]


def test_a_finished_run_is_left_as_it_is(start, tmp_path):
    config = config_of(start, "episodes=8", "evaluate_every=0")
    model = train_ppo(config, tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert train_ppo(config, tmp_path / "run", resume=True) == model
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
