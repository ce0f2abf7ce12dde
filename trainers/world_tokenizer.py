"""The tokenizer of the simulated world: whole words, as small models want them.

Tokens are the world's words with and without the space before them (" sister", "sister"), its
punctuation marks, the headings of the prompts ("TL;DR:") and the sections. A text of the world is
decoded to itself, character by character; a word the world does not know becomes [UNK]. The end
of a text is <|endoftext|>, padding [PAD]: two tokens, so that padding is never taken for an end.
tests/trainers/test_world_tokenizer.py takes a thousand posts of each domain there and back.
"""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from evalsuite.simulation.language import DOMAINS, language

EOS, PAD, UNKNOWN = "<|endoftext|>", "[PAD]", "[UNK]"

HEADINGS = (
    "SUBREDDIT: r/", "Subreddit: r/", "TITLE:", "Title:", "POST:", "TL;DR:", "Article:",
)  # fmt: skip
"""Pieces of prompts that are one token each."""

MARKS = ("\n\n", "\n", " ", ",", ".", "?", "!", ":", ";", "-", "'", '"', "/", "(", ")")


def world_vocabulary() -> list[str]:
    """Every token in the order of its id: special tokens, headings, marks, words, sections."""
    words = [word for word in language().words if word[0].isalnum()]
    sections = [section for domain in DOMAINS.values() for section in domain.sections]
    tokens = [EOS, PAD, UNKNOWN, *HEADINGS, *MARKS, *(f" {word}" for word in words), *words]
    return list(dict.fromkeys([*tokens, *sections]))


def world_tokenizer(*, model_max_length: int = 1024) -> Any:
    """A `PreTrainedTokenizerFast` of the world's words."""
    ids = {token: i for i, token in enumerate(world_vocabulary())}
    inner = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    headings = "|".join(HEADINGS)
    inner.pre_tokenizer = pre_tokenizers.Split(
        Regex(rf"{headings}|\n\n|\n| ?\w+|[^\w\n]"), "isolated"
    )
    inner.decoder = decoders.Fuse()
    fast: Any = PreTrainedTokenizerFast  # untyped in transformers
    return fast(
        tokenizer_object=inner,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=model_max_length,
    )
