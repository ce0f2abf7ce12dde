"""Lengths by hand; a tokenizer may be a plain function or one of Hugging Face's."""

from __future__ import annotations

import numpy as np

from evalsuite.metrics.length import characters, tokens, words

TEXTS = [" don't  stop,\nnow ", "", "naïve 日本"]


def test_characters_and_words():
    # "don't  stop,\nnow" is 5 + 2 + 5 + 1 + 3 = 16 characters and 3 words.
    assert characters(TEXTS).tolist() == [16, 0, 8]
    assert words(TEXTS).tolist() == [3, 0, 2]


def test_tokens_of_a_function():
    assert tokens(TEXTS, list).tolist() == [16, 0, 8]


def test_tokens_of_a_hugging_face_tokenizer():
    class Letters:
        """Answers as a tokenizer of transformers does; special tokens would add one a text."""

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            raise NotImplementedError

        def __call__(self, texts: list[str], add_special_tokens: bool = True) -> dict:
            return {"input_ids": [[0] * (len(t) + add_special_tokens) for t in texts]}

    assert tokens(TEXTS, Letters()).tolist() == [16, 0, 8]
    assert tokens([], Letters()).shape == (0,)
    assert tokens([], list).dtype == np.float64
