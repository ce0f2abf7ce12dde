"""Tiny random models of three families, as folders that any Hugging Face model could be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAMILIES = ("llama", "gpt2", "gpt_neox")
EOS = 95
WORDS = 97
"""Tokens of the tiny tokenizer: w0 ... w94, <eos>, <unk>."""


def tiny_tokenizer(**special: Any) -> Any:
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(WORDS - 2)} | {"<eos>": EOS, "<unk>": WORDS - 1}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "<eos>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def tiny_model(family: str, *, head: str = "lm", seed: int = 0, **settings: Any) -> Any:
    """A random model of hidden width 32 and 2 layers; settings of its configuration on top."""
    import torch
    import transformers as tf

    rows = {"vocab_size": WORDS, "bos_token_id": None, "eos_token_id": EOS} | settings
    if family == "gpt2":
        config: Any = tf.GPT2Config(**({"n_embd": 32, "n_layer": 2, "n_head": 4} | rows))
    else:
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        shape |= {"num_attention_heads": 4, "max_position_embeddings": 64} | rows
        config = (tf.LlamaConfig if family == "llama" else tf.GPTNeoXConfig)(**shape)
    loader: Any = tf.AutoModelForCausalLM
    if head == "scalar":
        loader, config.num_labels = tf.AutoModelForSequenceClassification, config.num_labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return loader.from_config(config).eval()


@pytest.fixture
def folder_of_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model and its tokenizer as transformers does; keywords as `tiny_model`."""

    def make(family: str, name: str = "", **settings: Any) -> Path:
        folder = tmp_path / (name or family)
        tiny_model(family, **settings).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def tiny() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two makers: of a model, of a tokenizer."""
    return tiny_model, tiny_tokenizer
