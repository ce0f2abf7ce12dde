"""Does a model fit what is asked of it: its pad token, its vocabulary, its context."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from evalsuite.errors import ModelError
from evalsuite.models.quiet import quiet

PAD = "[PAD]"
ALIGNED = 8
"""Rows are added so that a matrix aligned for tensor cores stays aligned."""


def ensure_pad(model: Any, tokenizer: Any, name: str = "the model") -> int:
    """Gives model and tokenizer one pad token that differs from EOS; returns its id.

    A pad token that is missing or is EOS becomes `[PAD]`: with pad = EOS the token on which a
    reward is read looks like padding. Its id is the tokenizer's next one; embedding rows are added
    only where the id lies beyond them (many models have spare rows; some come with a pad token
    that was added to the tokenizer alone). Added rows are the mean of
    the others: their logit is then the mean logit, so by Jensen's inequality each takes at most
    1/V of the probability, and logits of the other tokens do not change at all.
    Raises ModelError where the tokenizer has ids beyond the embedding rows.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    taken = set(tokenizer.get_vocab().values()) - {tokenizer.pad_token_id}
    check_tokens(model, max(taken, default=0), name)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})
    pad = int(tokenizer.pad_token_id)
    if pad >= rows:
        more = ALIGNED if rows % ALIGNED == 0 else 1
        _add_rows(model, -(-(pad + 1) // more) * more)
    embedding = model.get_input_embeddings()
    if getattr(embedding, "padding_idx", None) is not None:
        embedding.padding_idx = pad  # else EOS, where it was the pad, would never be learned
    configs = [model.config, getattr(model, "generation_config", None)]
    for config in (c for c in configs if c is not None):
        config.pad_token_id = pad
        known = config.eos_token_id
        known = known if isinstance(known, list) else [known]
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in known:
            config.eos_token_id = tokenizer.eos_token_id
    return pad


def check_tokens(model: Any, largest: int, name: str = "the model") -> None:
    """Raises ModelError where a token id lies beyond the model's embedding rows."""
    rows = model.get_input_embeddings().weight.shape[0]
    if largest >= rows:
        raise ModelError(
            f"{name}: token id {largest}, but the model has {rows} embedding rows; allowed 0 to "
            f"{rows - 1}: the tokenizer is not this checkpoint's, or its vocabulary is too small"
        )


def context_length(model: Any) -> int | None:
    """Tokens that one row may have; None where the family sets no limit."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or limit <= 0:
        return None
    for key, module in model.named_modules():
        if key.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts its positions from after the padding index
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - offset
    return int(limit)


def check_context(model: Any, tokens: int, name: str = "the model") -> None:
    """Raises ModelError where `tokens` (prompt and completion) exceed the model's context."""
    limit = context_length(model)
    if limit is not None and tokens > limit:
        raise ModelError(
            f"{name}: prompt and completion take up to {tokens} tokens; allowed {limit}, the "
            "model's context (lower max_prompt_tokens or max_completion_tokens)"
        )


def _add_rows(model: Any, rows: int) -> None:
    old = model.get_input_embeddings().weight.shape[0]
    with torch.random.fork_rng(devices=[]), quiet():
        model.resize_token_embeddings(rows, mean_resizing=False)
    output = model.get_output_embeddings()
    with torch.no_grad():
        for module in (model.get_input_embeddings(), output):
            if module is not None:
                module.weight[old:] = module.weight[:old].mean(0)
        if output is not None and getattr(output, "bias", None) is not None:
            output.bias[old:] = output.bias[:old].mean()
