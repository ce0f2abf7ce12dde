"""Tiny models and data on disk, made once: what a trainer starts from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from evalsuite.models.checkpoints import CheckpointInfo, save

WORDS = [f"w{number}" for number in range(30)]
HEADINGS = ["SUBREDDIT: r/", "TITLE:", "POST:", "TL;DR:", "\n\n", "pets"]


def build_tokenizer() -> Any:
    """Thirty words with and without a space before them; about 70 tokens."""
    tokens = ["<eos>", "[PAD]", "[UNK]", *HEADINGS, *WORDS, *(f" {word}" for word in WORDS)]
    inner = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"SUBREDDIT: r/|TITLE:|POST:|TL;DR:|\n\n| ?\w+|[^\w]"), "isolated"
    )
    inner.decoder = decoders.Fuse()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="[PAD]", unk_token="[UNK]"
    )


CONFIGS: dict[str, Callable[[int], Any]] = {
    "llama": lambda vocab: tf.LlamaConfig(
        vocab_size=vocab, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, pad_token_id=1,
    ),
    "gpt2": lambda vocab: tf.GPT2Config(
        vocab_size=vocab, n_embd=32, n_layer=2, n_head=4, n_positions=96,
        bos_token_id=None, eos_token_id=0, pad_token_id=1,
    ),
    "gpt_neox": lambda vocab: tf.GPTNeoXConfig(
        vocab_size=vocab, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=96,
        bos_token_id=None, eos_token_id=0, pad_token_id=1,
    ),
}  # fmt: skip


def build_policy(family: str, vocab: int) -> Any:
    config = CONFIGS[family](vocab)
    config.initializer_range = 0.2
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return tf.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def posts(count: int) -> list[dict[str, str]]:
    """Posts of random words, whose reference is their first words."""
    rng = np.random.default_rng(7)
    rows = []
    for number in range(count):
        words = [str(word) for word in rng.choice(WORDS, size=int(rng.integers(5, 20)))]
        rows.append(
            {
                "id": f"p{number}", "subreddit": "pets", "title": words[0], "post": " ".join(words),
                "reference_summary": " ".join(words[: int(rng.integers(1, 5))]),
            }
        )  # fmt: skip
    return rows


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny operations gain nothing from threads, and threads that wait spin on busy cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny policy of each family and `posts.jsonl` of 60 posts."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = build_tokenizer()
    for family in CONFIGS:
        model = build_policy(family, len(tokenizer))
        save(folder / family, model, tokenizer, CheckpointInfo(kind="policy"))
    lines = [json.dumps(row) for row in posts(60)]
    (folder / "posts.jsonl").write_text("\n".join(lines) + "\n")
    return folder
