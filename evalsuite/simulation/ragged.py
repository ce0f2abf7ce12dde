"""Rows of tokens of different lengths, stored flat; every array step of the simulation uses it.

Nothing here knows the world. tests/simulation/test_ragged.py checks each method against plain
lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalsuite.simulation.language import NOTHING, Ints, Tokens


class Ragged(NamedTuple):
    """n rows of token ids: `tokens` (total,) and `offsets` (n + 1,), row i between two offsets."""

    tokens: Tokens
    offsets: Ints

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.int16]) -> Ragged:
        """From an (n, width) matrix whose NOTHING entries are left out."""
        kept = matrix != NOTHING
        return cls(matrix[kept], _offsets(kept.sum(axis=1)))

    @classmethod
    def from_rows(cls, rows: Sequence[ArrayLike]) -> Ragged:
        """From a list of id lists."""
        arrays = [np.asarray(row, dtype=np.int16) for row in rows]
        flat = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int16)
        return cls(flat, _offsets([len(row) for row in arrays]))

    @property
    def lengths(self) -> Ints:
        """Tokens of each row (n,)."""
        return np.diff(self.offsets)

    @property
    def row(self) -> Ints:
        """The row of each token (total,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def take(self, rows: ArrayLike) -> Ragged:
        """The named rows, in that order, repeats allowed."""
        index = np.asarray(rows, dtype=np.int64)
        return self.spans(self.offsets[index], self.offsets[index + 1])

    def spans(self, starts: Ints, stops: Ints) -> Ragged:
        """Rows cut from the flat tokens, from `starts` up to `stops` (positions in `tokens`)."""
        lengths = stops - starts
        offsets = _offsets(lengths)
        position = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
        return Ragged(self.tokens[position], offsets)

    @staticmethod
    def concatenate(parts: Sequence[Ragged]) -> Ragged:
        """The rows of all parts, one after the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return Ragged(np.concatenate([part.tokens for part in parts]), _offsets(lengths))

    def texts(self, spaced: Sequence[str]) -> list[str]:
        """One string a row; `spaced[id]` is the word with the space before it (if it has one)."""
        words = [spaced[i] for i in self.tokens.tolist()]
        bounds = self.offsets.tolist()
        return ["".join(words[a:b]) for a, b in pairwise(bounds)]


def _offsets(lengths: ArrayLike) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
