"""The pad token, the vocabulary, the context."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from evalsuite.errors import ModelError
from evalsuite.models.limits import (
    check_context,
    check_tokens,
    context_length,
    ensure_pad,
)

Tiny = tuple[Callable[..., Any], Callable[..., Any]]
ROWS = torch.tensor([[1, 5, 9, 2, 7, 95]])


@pytest.mark.parametrize(
    ("rows", "after"),
    [
        (97, 98),  # the pad is the tokenizer's token 97: one row more
        (104, 104),  # spare rows: nothing is resized
        (98, 98),
    ],
)
def test_rows_are_added_only_where_the_pads_id_lies_beyond(
    rows: int, after: int, tiny: Tiny
) -> None:
    model, tokenizer = tiny[0]("llama", vocab_size=rows), tiny[1]()
    before = model.get_input_embeddings().weight.detach().clone()
    assert ensure_pad(model, tokenizer) == 97 == tokenizer.pad_token_id
    assert tokenizer.pad_token == "[PAD]"
    assert model.get_input_embeddings().weight.shape == (after, 32)
    assert model.config.vocab_size == after
    assert torch.equal(model.get_input_embeddings().weight[:rows], before)
    assert ensure_pad(model, tokenizer) == 97  # a second call changes nothing
    assert model.get_input_embeddings().weight.shape == (after, 32)


def test_an_aligned_matrix_stays_aligned(tiny: Tiny) -> None:
    """104 = 13 x 8 rows all taken, so the 105th would break the alignment: 112."""
    model, tokenizer = tiny[0]("gpt2", vocab_size=104), tiny[1]()
    tokenizer.add_tokens([f"x{i}" for i in range(7)])
    assert ensure_pad(model, tokenizer) == 104
    assert model.get_input_embeddings().weight.shape[0] == 112


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_new_rows_take_at_most_one_vth_each(family: str, tied: bool, tiny: Tiny) -> None:
    """The new logit is the mean of the V others, and exp(mean) <= mean(exp) by Jensen."""
    model, tokenizer = tiny[0](family, tie_word_embeddings=tied), tiny[1]()
    with torch.no_grad():
        before = model(ROWS).logits[0].double()
        ensure_pad(model, tokenizer)
        after = model(ROWS).logits[0].double()
    torch.testing.assert_close(after[:, 97], before.mean(-1), rtol=0, atol=1e-6)
    assert torch.equal(after[:, :97], before)
    lost = before.log_softmax(-1) - after.log_softmax(-1)[:, :97]
    assert 0 < lost.max() <= math.log1p(1 / 97) + 1e-9


def test_pad_that_is_eos_is_replaced_and_eos_can_be_learned(tiny: Tiny) -> None:
    """With pad = EOS in the configuration the embedding of EOS is frozen: torch's padding_idx."""
    model, tokenizer = tiny[0]("llama", pad_token_id=95), tiny[1](pad_token="<eos>")
    assert model.get_input_embeddings().padding_idx == 95
    assert ensure_pad(model, tokenizer) == 97
    assert tokenizer.eos_token_id == model.config.eos_token_id == 95
    assert model.config.pad_token_id == model.generation_config.pad_token_id == 97
    model(ROWS).logits[0, -1].sum().backward()
    assert model.get_input_embeddings().weight.grad[95].abs().sum() > 0


def test_a_pad_of_its_own_is_kept_and_the_configuration_follows(tiny: Tiny) -> None:
    model, tokenizer = tiny[0]("llama", eos_token_id=[3, 4]), tiny[1](pad_token="w0")
    assert ensure_pad(model, tokenizer) == 0
    assert model.config.pad_token_id == 0
    assert model.config.eos_token_id == 95  # what stops a completion here stops `generate` too
    assert len(tokenizer) == 97


def test_a_pad_that_was_added_to_the_tokenizer_alone(tiny: Tiny) -> None:
    """Common among models of others: the id is the first beyond the rows, and no row was added."""
    model, tokenizer = tiny[0]("llama"), tiny[1](pad_token="<pad>")
    assert tokenizer.pad_token_id == 97
    assert ensure_pad(model, tokenizer) == 97
    assert tokenizer.pad_token == "<pad>"
    assert model.get_input_embeddings().weight.shape[0] == 98


def test_several_stops_that_hold_the_tokenizers_are_kept(tiny: Tiny) -> None:
    model = tiny[0]("llama", eos_token_id=[95, 3])
    ensure_pad(model, tiny[1]())
    assert model.config.eos_token_id == [95, 3]


def test_a_tokenizer_of_another_model(tiny: Tiny) -> None:
    said = (
        r"sft: token id 96, but the model has 50 embedding rows; allowed 0 to 49: the tokenizer "
        r"is not this checkpoint's, or its vocabulary is too small"
    )
    with pytest.raises(ModelError, match=said):
        ensure_pad(tiny[0]("llama", vocab_size=50, eos_token_id=1), tiny[1](), "sft")
    check_tokens(tiny[0]("llama"), 96)


@pytest.mark.parametrize(("family", "limit"), [("llama", 64), ("gpt_neox", 64), ("gpt2", 1024)])
def test_context(family: str, limit: int, tiny: Tiny) -> None:
    model = tiny[0](family)
    assert context_length(model) == limit
    check_context(model, limit)
    said = (
        rf"sft: prompt and completion take up to {limit + 1} tokens; allowed {limit}, the "
        r"model's context \(lower max_prompt_tokens or max_completion_tokens\)"
    )
    with pytest.raises(ModelError, match=said):
        check_context(model, limit + 1, "sft")


def test_context_of_roberta_is_what_runs() -> None:
    """Its positions begin after the padding index: 64 embeddings, pad 1, so 62 tokens."""
    config = transformers.RobertaConfig(
        vocab_size=97, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, pad_token_id=1, num_labels=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = transformers.RobertaForSequenceClassification(config).eval()
    assert context_length(model) == 62
    with torch.no_grad():
        model(torch.full((1, 62), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, 63), 5))


def test_a_family_without_positions_has_no_limit(tiny: Tiny) -> None:
    config = transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=1, n_head=4)
    with torch.random.fork_rng(devices=[]):
        model = transformers.BloomForCausalLM(config)
    assert context_length(model) is None
    check_context(model, 10**6)
