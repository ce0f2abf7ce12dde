"""Packed rows give the numbers of plain rows: log-probs, entropies, rewards, values, gradients."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as tf

from evalsuite.errors import ConfigError
from evalsuite.models import packing
from evalsuite.models.packing import (
    Group,
    PolicyAndValue,
    PolicyModel,
    ScalarModel,
    pack,
    segment_mask,
    token_batches,
)

VOCAB = 60
SMALL: dict[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    ),
    "gpt2": lambda: tf.GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt_neox": lambda: tf.GPTNeoXConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64,
    ),
}  # fmt: skip
FAMILIES = sorted(SMALL)

GROUPS = [
    Group([5, 6, 7, 8, 9], [[11, 12, 13, 2], [14, 2], [15, 16, 17, 18, 19, 2]]),
    Group([21, 22], [[23, 2], [24, 25, 26]]),
    Group([31, 32, 33, 34, 35, 36, 37, 38], [[39, 40, 2]]),
]


def build(auto: Any, family: str, **more: Any) -> Any:
    config = SMALL[family]()
    for name, value in {"pad_token_id": 0, "initializer_range": 0.3, **more}.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return auto.from_config(config, attn_implementation="sdpa")


def policy(family: str) -> PolicyModel:
    return PolicyModel(build(tf.AutoModelForCausalLM, family))


def scalar(family: str) -> ScalarModel:
    return ScalarModel(build(tf.AutoModelForSequenceClassification, family, num_labels=1))


def by_hand(model: Any, group: Group, index: int, temperature: float = 1.0) -> torch.Tensor:
    """Log-probs of one completion from the whole model on one row, nothing packed or padded."""
    prompt, completion = list(group.prompt), list(group.completions[index])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].double()
    every = torch.log_softmax(logits / temperature, dim=-1)
    at = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return torch.stack([every[i, t] for i, t in zip(at, completion, strict=True)])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("pad_side", ["left", "right"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_one_row_each(
    family: str, share: bool, pad_side: Any, temperature: float
) -> None:
    wrapped = policy(family)
    assert wrapped.shares
    assert wrapped.linear_head
    batch = pack(GROUPS, pad_id=0, read="tokens", share=share, pad_side=pad_side)
    with torch.no_grad():
        found = batch.split(wrapped(batch, temperature=temperature).logprobs)
    wanted = [by_hand(wrapped.model, g, i, temperature)
              for g in GROUPS for i in range(len(g.completions))]  # fmt: skip
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_is_that_of_the_distribution(family: str) -> None:
    wrapped = policy(family)
    batch = pack(GROUPS[:1], pad_id=0, read="tokens")
    with torch.no_grad():
        out = wrapped(batch, entropy=True)
        logits = wrapped.model(input_ids=torch.tensor([[5, 6, 7, 8, 9, 11, 12, 13]])).logits[0]
    p = logits.double().softmax(dim=-1)
    wanted = -(p * p.log()).sum(dim=-1)[4:8]
    assert out.entropy is not None
    torch.testing.assert_close(out.entropy[:4].double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("pad_side", ["left", "right"])
def test_rewards_are_those_of_the_model_itself(family: str, share: bool, pad_side: Any) -> None:
    wrapped = scalar(family)
    batch = pack(GROUPS, pad_id=0, read="last", share=share, pad_side=pad_side)
    with torch.no_grad():
        found = wrapped(batch)
        wanted = [
            wrapped.model(input_ids=torch.tensor([[*g.prompt, *c]])).logits[0, 0]
            for g in GROUPS for c in g.completions
        ]  # fmt: skip
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunked", [False, True])
def test_gradients_of_packed_rows_are_those_of_plain_rows(
    family: str, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chunked:
        monkeypatch.setattr(packing, "MAX_LOGITS", 3 * VOCAB)
    grads = []
    for share in (True, False):
        wrapped = policy(family)
        out = wrapped(pack(GROUPS, pad_id=0, read="tokens", share=share), entropy=share == chunked)
        (out.logprobs * torch.linspace(-1, 2, len(out.logprobs))).sum().backward()
        grads.append({n: p.grad for n, p in wrapped.named_parameters() if p.grad is not None})
    largest = max(float(g.abs().max()) for g in grads[1].values())
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        assert float((grad - grads[1][name]).abs().max()) <= 1e-5 * largest, name


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_read_where_tokens_are_predicted(family: str) -> None:
    wrapped = scalar(family)
    with torch.no_grad():
        found = wrapped(pack(GROUPS[:1], pad_id=0, read="tokens"))
        # states after 5..9, then after 11, 12, 13: the last token of a completion is no state
        states = wrapped.model.base_model(
            input_ids=torch.tensor([[5, 6, 7, 8, 9, 11, 12, 13]])
        ).last_hidden_state[0]
        wanted = wrapped.model.score(states)[4:8, 0]
    torch.testing.assert_close(found[:4], wanted, atol=1e-5, rtol=0)


def test_policy_and_value_share_a_backbone() -> None:
    both = PolicyAndValue(build(tf.AutoModelForCausalLM, "llama"), torch.Generator().manual_seed(1))
    batch = pack(GROUPS, pad_id=0, read="tokens")
    with torch.no_grad():
        out = both(batch)
        alone = PolicyModel(both.model)(batch)
    assert out.values is not None
    assert out.values.shape == out.logprobs.shape
    torch.testing.assert_close(out.logprobs, alone.logprobs)


def test_mask_by_hand() -> None:
    # prompt, prompt, first, second, padding
    mask = segment_mask(torch.tensor([[0, 0, 1, 2, -1]]), dtype=torch.float32)[0, 0] == 0
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    cached = segment_mask(
        torch.tensor([[1, 2]]), dtype=torch.float32, prefix=torch.tensor([[False, True]])
    )
    assert (cached[0, 0] == 0).int().tolist() == [[0, 1, 1, 0], [0, 1, 0, 1]]


def test_layout_by_hand() -> None:
    batch = pack([Group([5, 6], [[7, 8, 2], [9, 2]])], pad_id=0, read="tokens")
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]  # no last token is fed
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert batch.columns.tolist() == [1, 2, 3, 1, 4]
    assert batch.targets.tolist() == [7, 8, 2, 9, 2]
    assert batch.counts == (3, 2)
    last = pack([Group([5, 6], [[7, 8, 2], [9, 2]])], pad_id=0, read="last", pad_side="left")
    assert last.input_ids.tolist() == [[5, 6, 7, 8, 2, 9, 2]]
    assert last.columns.tolist() == [4, 6]
    assert last.targets.tolist() == [2, 2]


def test_empty_completion_has_no_tokens_and_no_reward() -> None:
    batch = pack([Group([5, 6], [[], [7]])], pad_id=0, read="tokens")
    assert batch.counts == (0, 1)
    with pytest.raises(ConfigError, match="a completion is empty; allowed at least its EOS"):
        pack([Group([5], [[]])], pad_id=0, read="last")
    with pytest.raises(ConfigError, match="a prompt is empty; allowed at least one token"):
        pack([Group([], [[7]])], pad_id=0, read="last")


def test_batches_keep_to_the_budget() -> None:
    lengths = [3, 10, 4, 4, 50, 1]
    batches = token_batches(lengths, 12)
    # 50 alone (over the budget), 10 alone, 4 + 4 + 3 padded to 4 = 12, then 1
    assert batches == [[4], [1], [2, 3, 0], [5]]


def test_other_kernels_are_refused_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tf.AutoModelForCausalLM.from_config(SMALL["llama"](), attn_implementation="eager")
    with caplog.at_level(logging.WARNING):
        wrapped = PolicyModel(model)
        PolicyModel(model)
    assert not wrapped.shares
    assert [r.message for r in caplog.records] == [
        "LlamaForCausalLM cannot share a prompt among completions (its attention kernel is "
        "'eager'): plain rows are used"
    ]
    with pytest.raises(ConfigError, match="attention kernel is 'eager'; packed rows are allowed"):
        wrapped(pack(GROUPS, pad_id=0, read="tokens"))


def test_heads_are_float32_whatever_activations_are() -> None:
    wrapped = scalar("llama")
    batch = pack(GROUPS[:1], pad_id=0, read="last")
    head = torch.nn.Linear(32, 1, bias=True)
    states = torch.linspace(-3, 3, 64).reshape(2, 32)
    wanted = torch.nn.functional.linear(states, head.weight, head.bias)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert packing.apply_head(head, states).equal(wanted)
        found = wrapped(batch)
        states = packing.hidden_states(wrapped.model, batch)
    assert found.dtype is torch.float32
    assert found.equal(states.float() @ wrapped.model.score.weight[0])


def test_sliding_windows_and_capped_logits_are_found_out() -> None:
    mistral = tf.MistralConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    cohere = tf.CohereConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, logit_scale=0.0625, pad_token_id=0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        windowed = tf.AutoModelForCausalLM.from_config(mistral, attn_implementation="sdpa")
        scaled = tf.AutoModelForCausalLM.from_config(cohere, attn_implementation="sdpa")
    assert not PolicyModel(windowed).shares
    wrapped = PolicyModel(scaled)
    assert not wrapped.linear_head
    with torch.no_grad():
        found = wrapped(pack(GROUPS[:1], pad_id=0, read="tokens", share=wrapped.shares)).logprobs
    torch.testing.assert_close(
        found[:4].double(), by_hand(wrapped.model, GROUPS[0], 0), atol=1e-5, rtol=0
    )


def test_encoder_reward_models_run_plain_rows() -> None:
    config = tf.BertConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_labels=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tf.AutoModelForSequenceClassification.from_config(config)
    wrapped = ScalarModel(model)
    assert not wrapped.reads_tokens
    assert not wrapped.shares
    groups = [Group(g.prompt, g.completions[:1]) for g in GROUPS]
    with torch.no_grad():
        found = wrapped(pack(groups, pad_id=0, read="last", share=False))
        wanted = [
            wrapped.model(input_ids=torch.tensor([[*g.prompt, *g.completions[0]]])).logits[0, 0]
            for g in groups
        ]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match="BertForSequenceClassification has one output a row"):
        wrapped(pack(GROUPS, pad_id=0, read="tokens", share=False))
