"""Length of summaries in characters, words and model tokens.

Lengths are those of the text stripped of white space at both ends. The paper's length control
does not state its unit; characters reproduce its fits (analyses/length_control.py).
Proof: tests/metrics/test_length.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokenizer = Callable[..., Any]
"""A Hugging Face tokenizer, or any function from one text to the sequence of its tokens."""


def characters(texts: Iterable[str]) -> NDArray[np.float64]:
    """Length in characters (Unicode code points)."""
    return np.array([len(text.strip()) for text in texts], dtype=np.float64)


def words(texts: Iterable[str]) -> NDArray[np.float64]:
    """Length in words: stretches without white space, so "don't" and "well," are one each."""
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def tokens(texts: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.float64]:
    """Length in tokens of a model's tokenizer, special tokens not counted.

    A Hugging Face tokenizer gets all texts at once; any other callable one text at a time.
    """
    stripped = [text.strip() for text in texts]
    if not stripped:
        return np.empty(0)
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        rows: Iterable[Sequence[Any]] = tokenizer(stripped, add_special_tokens=False)["input_ids"]
    else:
        rows = map(tokenizer, stripped)
    return np.array([len(row) for row in rows], dtype=np.float64)
