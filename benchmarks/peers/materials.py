"""A model with random weights, a tokenizer and posts, made once and given to both sides.

Nothing is fetched: the vocabulary is words with a number each (49,152 of them where not said
otherwise), a text is words apart by spaces, and the model is a Llama of the wanted shape. Speed
does not depend on what weights hold.
Posts, references and judged pairs are one JSON-lines file of the suite's `posts` format; what is
written can be learnt (common words in summaries, some words preferred), so that losses fall.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

VOCABULARY = 49_152
FRAME = ["SUBREDDIT:", "r/all", "TITLE:", "POST:", "TL;DR:"]
SPECIAL = ["<pad>", "<eos>", "<unk>"]
FRAME_TOKENS = 7
"""Tokens that the prompt format and a title of two words put around a post."""

_SMALL = {
    "hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 704,
    "num_attention_heads": 4, "num_key_value_heads": 4,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "small": _SMALL,
    "small-4k": {**_SMALL, "vocab_size": 4096},
    "smollm2-135m": {
        "hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3,
    },
}  # fmt: skip


class Lengths(NamedTuple):
    """Mean tokens of prompts and completions (EOS counted); each varies by a tenth either way."""

    prompt: int = 400
    completion: int = 40

    def draw(self, rng: np.random.Generator, mean: int) -> int:
        """One length, uniform within a tenth of the mean."""
        return int(rng.integers(round(0.9 * mean), round(1.1 * mean) + 1))


def words(size: int = VOCABULARY) -> list[str]:
    """The vocabulary in the order of token ids."""
    known = SPECIAL + FRAME
    return known + [f"w{i}" for i in range(size - len(known))]


def save_tokenizer(folder: Path, size: int) -> None:
    """A word-level tokenizer of `words`."""
    known = {w: i for i, w in enumerate(words(size))}
    core = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
        model_max_length=1024,
    ).save_pretrained(folder)  # fmt: skip


def save_policy(
    folder: Path, shape: str, seed: int = 0, ends: tuple[float, float] | None = None
) -> Path:
    """A policy of a shape with random weights and its tokenizer, in a folder; returns that.

    ends: chance that a token is EOS, and the temperature at which; else it is hardly ever.
    """
    settings = {"vocab_size": VOCABULARY, **SHAPES[shape]}
    config = LlamaConfig(
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1,
        pad_token_id=0, **settings,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        if ends:
            let_end(model, *ends)
    place = folder / f"policy-{shape}{'-ends' if ends else ''}"
    disable_progress_bar()
    model.save_pretrained(place)
    save_tokenizer(place, config.vocab_size)
    return place


@torch.no_grad()
def let_end(model: Any, chance: float, temperature: float) -> None:
    """Make EOS about as likely as `chance` everywhere, without any training.

    All embeddings get one direction in common, which the softmax does not see, and all states with
    them; EOS gets more of it, as much as the wanted chance takes on random tokens.
    """
    table = model.get_input_embeddings().weight
    direction = torch.nn.functional.normalize(torch.randn(table.shape[1]), dim=0)
    table += table.norm(dim=1).mean() * direction
    states = model.model(torch.randint(8, len(table), (4, 64))).last_hidden_state.flatten(0, 1)
    logits, along = states @ table.T, states @ direction
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        raised = logits.clone()
        raised[:, 1] += middle * along
        found = (raised / temperature).softmax(1)[:, 1].mean()
        low, high = (middle, high) if found < chance else (low, middle)
    table[1] += low * direction


def draw_groups(
    rng: np.random.Generator, *, prompts: int, completions: int, lengths: Lengths, vocabulary: int
) -> list[dict[str, Any]]:
    """Prompts with completions as token ids, each completion ending in EOS; none is special."""
    low = len(SPECIAL) + len(FRAME)

    def tokens(count: int) -> list[int]:
        return rng.integers(low, vocabulary, count).tolist()

    return [
        {
            "prompt": tokens(lengths.draw(rng, lengths.prompt)),
            "completions": [
                [*tokens(lengths.draw(rng, lengths.completion) - 1), 1] for _ in range(completions)
            ],
        }
        for _ in range(prompts)
    ]


def save_posts(file: Path, count: int, lengths: Lengths, seed: int = 0) -> None:
    """Posts with a reference, another summary and a verdict, one JSON object a line."""
    rng = np.random.default_rng(seed)
    usable = [w for w in words() if w.startswith("w")]
    rank = np.arange(1, len(usable) + 1)
    common = (1 / rank) / (1 / rank).sum()

    def text(tokens: int, chance: np.ndarray | None = None) -> str:
        return " ".join(rng.choice(usable, tokens, p=chance))

    better = common.copy()
    better[:200] *= 2
    better /= better.sum()
    with file.open("w") as out:
        for number in range(count):
            n, m, k = (lengths.draw(rng, mean) for mean in
                       (lengths.prompt, lengths.completion, lengths.completion))  # fmt: skip
            row = {
                "id": f"p{number}", "subreddit": "all", "title": text(2),
                "post": text(n - FRAME_TOKENS), "reference_summary": text(m - 1, better),
                "summary": text(k - 1, common), "summary_policy": "other", "judge": "judge",
                "judge_prefers": "reference_summary" if rng.random() < 0.9 else "summary",
            }  # fmt: skip
            out.write(json.dumps(row) + "\n")
