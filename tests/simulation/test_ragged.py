"""Ragged rows against plain lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.simulation.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6)


def as_lists(ragged: Ragged) -> list[list[int]]:
    return [
        ragged.tokens[a:b].tolist()
        for a, b in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True)
    ]


@given(ROWS)
def test_rows_come_back(rows: list[list[int]]) -> None:
    ragged = Ragged.from_rows(rows)
    assert as_lists(ragged) == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.row.tolist() == [i for i, row in enumerate(rows) for _ in row]


@given(ROWS, st.data())
def test_take_and_concatenate(rows: list[list[int]], data: st.DataObject) -> None:
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    ragged = Ragged.from_rows(rows)
    assert as_lists(ragged.take(picks)) == [rows[i] for i in picks]
    assert as_lists(Ragged.concatenate([ragged, ragged.take(picks)])) == rows + [
        rows[i] for i in picks
    ]


def test_from_matrix_leaves_nothing_out() -> None:
    matrix = np.array([[1, -1, 2], [-1, -1, -1], [3, 4, 5]], dtype=np.int16)
    assert as_lists(Ragged.from_matrix(matrix)) == [[1, 2], [], [3, 4, 5]]


def test_texts_join_words_with_their_spaces() -> None:
    assert Ragged.from_rows([[0, 1, 0], []]).texts([" a", ","]) == [" a, a", ""]
