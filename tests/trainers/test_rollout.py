"""Rollouts: which prompts, the same numbers as a plain forward pass, however they are computed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.models.checkpoints import load_policy, load_scalar, new_reward_model, save
from evalsuite.models.packing import Group, PolicyAndValue, PolicyModel, ScalarModel
from evalsuite.models.prompts import Prompter
from evalsuite.models.rewards import TextReward
from evalsuite.records import Post
from trainers.config import EngineConfig, OptimizerConfig
from trainers.engine import Engine
from trainers.rollout import Actors, Visit, batches_of, collect, rows_of, state_values, visits
from trainers.sequences import PromptExample

FAMILIES = ["llama", "gpt2", "gpt_neox"]
SETTINGS = {"samples": 3, "temperature": 0.7, "seed": 11, "max_batch_tokens": 256}


def test_every_prompt_comes_once_before_any_comes_again():
    stream = [visit for update in range(6) for visit in visits(7, 5, update, seed=3)]
    for epoch in range(4):
        part = stream[epoch * 7 : (epoch + 1) * 7]
        assert sorted(v.prompt for v in part) == list(range(7))
        assert {v.before for v in part} == {epoch}
    assert [v.prompt for v in stream[:7]] != [v.prompt for v in stream[7:14]]  # in a new order
    assert visits(7, 5, 1, seed=3) == stream[5:10]


@given(st.integers(1, 6), st.integers(1, 15), st.integers(0, 4))
def test_a_prompt_and_its_count_never_come_twice(prompts, per_update, updates):
    stream = [v for update in range(updates) for v in visits(prompts, per_update, update, seed=0)]
    assert not stream or max(Counter(stream).values()) == 1


def test_rows_share_a_prompt_or_repeat_it():
    groups = [Group([1, 2], [[3], [4, 5]]), Group([6], [[7], [8]])]
    shared = rows_of(groups, share=True)
    assert [(row.members, row.tokens) for row in shared] == [((0, 1), 5), ((2, 3), 3)]
    plain = rows_of(groups, share=False)
    assert [(row.members, row.tokens) for row in plain] == [
        ((0,), 3), ((1,), 4), ((2,), 2), ((3,), 2),
    ]  # fmt: skip
    # Longest first, padded size at most 6: 4; then 3 and 2 at width 3; then 2.
    batches = batches_of(plain, 6)
    assert [[row.members[0] for row in batch] for batch in batches] == [[1], [0, 2], [3]]


class Scene:
    """A policy, its reference (another family member), a value network, prompts."""

    def __init__(self, folder: Path, family: str, *, shared_value: bool = False) -> None:
        self.engine = Engine(EngineConfig(device="cpu"))
        loaded = load_policy(folder / family)
        ref = load_policy(folder / family).model
        with torch.no_grad():  # a reference that differs
            for number, parameter in enumerate(ref.parameters()):
                generator = torch.Generator().manual_seed(number)
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        self.model, self.ref = loaded.model, ref
        self.prompter = Prompter(
            loaded.tokenizer, "tldr", max_prompt_tokens=40, max_completion_tokens=8
        )
        adam = OptimizerConfig()
        if shared_value:
            policy: Any = PolicyAndValue(loaded.model, torch.Generator().manual_seed(0))
            self.value_model, values = None, None
        else:
            policy = PolicyModel(loaded.model)
            self.value_model = new_reward_model(folder / family, seed=4).model
            values = self.engine.prepare("value", ScalarModel(self.value_model), adam)
        self.actors = Actors(
            self.engine.prepare("policy", policy, adam), values, 0.3,
            PolicyModel(ref), TextReward("words"), self.prompter,
        )  # fmt: skip
        self.prompts = []
        for number, words in enumerate(["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w1", "w2 w2 w2 w3"]):
            post = Post(words, title="w1", section="pets")
            self.prompts.append(
                PromptExample(f"p{number}", post, "train", self.prompter.prompt(post), None)
            )

    def collect(self, visited=None, engine=None, **changes):
        visited = visited or [Visit(2, 0), Visit(0, 0), Visit(1, 0), Visit(3, 0)]
        settings = SETTINGS | changes
        return collect(engine or self.engine, self.actors, visited, self.prompts, **settings)


def plain_logprobs(model, prompt, completion, temperature):
    """One row, one completion, float64 after the model."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].double()
    every = (logits / temperature).log_softmax(-1)
    return [every[len(prompt) - 1 + t, token].item() for t, token in enumerate(completion)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rollout_holds_what_a_plain_forward_pass_gives(tiny, family):
    scene = Scene(tiny, family)
    rollout = scene.collect()
    assert [list(g.prompt) for g in rollout.groups] == [
        scene.prompts[i].tokens for i in (2, 0, 1, 3)
    ]
    completions = [c for group in rollout.groups for c in group.completions]
    assert len(completions) == len(rollout.requests) == len(rollout.rewards) == 12
    assert len(set(map(tuple, completions))) > 6
    assert rollout.mask.sum(1).tolist() == [len(c) for c in completions]
    assert rollout.has_eos.tolist() == [c[-1] == scene.prompter.eos_id for c in completions]
    at = 0
    for group in rollout.groups:
        for completion in group.completions:
            n = len(completion)
            for model, found in (
                (scene.model, rollout.logprobs),
                (scene.ref, rollout.ref_logprobs),
            ):
                expected = plain_logprobs(model, group.prompt, completion, 0.7)
                assert found[at, :n].tolist() == pytest.approx(expected, abs=2e-5)
                assert found[at, n:].tolist() == [0] * (rollout.mask.shape[1] - n)
            ids = torch.tensor([[*group.prompt, *completion]])
            with torch.no_grad():
                states = scene.value_model.base_model(input_ids=ids).last_hidden_state[0]
                heads = scene.value_model.score(states)[:, 0]
            # The value of the state before token t: the head at the position before it, less .3.
            expected = heads[len(group.prompt) - 1 : len(group.prompt) - 1 + n] - 0.3
            assert rollout.values[at, :n].tolist() == pytest.approx(expected.tolist(), abs=2e-5)
            text = scene.prompter.text(completion)
            assert rollout.requests[at].summary == text
            assert rollout.rewards[at].item() == len(text.split())
            at += 1


def test_a_value_head_on_the_policy_is_read_at_the_same_places(tiny):
    scene = Scene(tiny, "llama", shared_value=True)
    rollout = scene.collect()
    head = scene.actors.policy.plain.value
    at = 0
    for group in rollout.groups:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt, *completion]])
            with torch.no_grad():
                states = scene.model.base_model(input_ids=ids).last_hidden_state[0]
                values = head(states)[len(group.prompt) - 1 :, 0][: len(completion)]
            found = rollout.values[at, : len(completion)]
            assert found.tolist() == pytest.approx(values.tolist(), abs=2e-5)
            at += 1


def by_completion(rollout):
    """The numbers of each completion by prompt, sample, for comparing rollouts."""
    out = {}
    at = 0
    for group in rollout.groups:
        for sample, completion in enumerate(group.completions):
            row = torch.stack([rollout.logprobs[at], rollout.ref_logprobs[at], rollout.values[at]])[
                :, : len(completion)
            ]
            key = (rollout.requests[at].prompt_id, sample)
            out[key] = (tuple(completion), row, rollout.rewards[at].item())
            at += 1
    return out


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key in found:
        assert found[key][0] == expected[key][0]
        assert torch.allclose(found[key][1], expected[key][1], atol=2e-5)
        assert found[key][2] == expected[key][2]


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_and_processes_do_not_change_it(tiny, family):
    scene = Scene(tiny, family)
    whole = by_completion(scene.collect())
    assert_same(by_completion(scene.collect(max_batch_tokens=60)), whole)
    halves: dict[Any, Any] = {}
    for rank in range(2):
        engine = Engine(EngineConfig(device="cpu"))
        engine.rank, engine.processes = rank, 2
        engine.gather = list  # type: ignore[method-assign, assignment]
        halves |= by_completion(scene.collect(engine=engine))
    assert_same(halves, whole)


def test_a_prompt_sampled_again_gets_its_next_samples(tiny):
    scene = Scene(tiny, "llama")
    wide = scene.collect([Visit(0, 0)], samples=6)
    again = scene.collect([Visit(0, 0), Visit(0, 1)])
    expected = wide.groups[0].completions
    assert [list(c) for g in again.groups for c in g.completions] == [list(c) for c in expected]


def test_sampling_on_after_eos_and_cutting_there_gives_the_same(tiny):
    scene = Scene(tiny, "llama")
    ended, cut = scene.collect(samples=16), scene.collect(samples=16, fixed_length=True)
    assert_same(by_completion(cut), by_completion(ended))
    assert 0 < ended.has_eos.sum() < len(ended.has_eos)


def test_values_do_not_depend_on_sharing(tiny):
    scene = Scene(tiny, "gpt2")
    network = scene.actors.values.plain
    groups = [Group(e.tokens, [[9, 10, 0], [12, 0]]) for e in scene.prompts]
    settings = {"pad_id": 1, "max_batch_tokens": 100}
    shared = state_values(network, groups, **settings)
    network.shares = False
    plain = state_values(network, groups, **settings)
    for a, b in zip(shared, plain, strict=True):
        for x, y in zip(a, b, strict=True):
            assert np.allclose(x, y, atol=2e-5)


def test_a_saved_value_network_reads_as_before(tiny, tmp_path):
    loaded = new_reward_model(tiny / "llama", seed=2)
    save(tmp_path / "value", loaded.model, loaded.tokenizer, loaded.info.replace(kind="value"))
    groups = [Group([5, 6, 7], [[9, 10, 0]])]
    settings = {"pad_id": 1, "max_batch_tokens": 100}
    before = state_values(ScalarModel(loaded.model), groups, **settings)
    after = state_values(ScalarModel(load_scalar(tmp_path / "value").model), groups, **settings)
    assert np.array_equal(before[0][0], after[0][0])
