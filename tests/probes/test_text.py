"""Sentences, clauses and additions: texts and results by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.probes.text import appended, capital, clauses, other_order, sentences, small, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("so i left. it hurt", ["so i left.", "it hurt"]),
        ("Dr. Who met Mr. Smith vs. me. Done.", ["Dr. Who met Mr. Smith vs. me.", "Done."]),
        ("At 7 p.m. we ate. At 8 p.m. He left.", ["At 7 p.m. we ate.", "At 8 p.m.", "He left."]),
        ("J. K. Rowling wrote. So did I. Yes.", ["J. K. Rowling wrote.", "So did I.", "Yes."]),
        ("line one\n\nline two", ["line one", "line two"]),
        ('He said "no." Then (left.) Wow...ok', ['He said "no."', "Then (left.)", "Wow...ok"]),
        ("I paid 3.50. ... Cheap!!! ", ["I paid 3.50.", "Cheap!!!"]),
        ("", []),
    ],
)
def test_sentences(text, found):
    assert sentences(text) == found


@given(st.text(alphabet="ab .!?\n'\"", max_size=60))
def test_sentences_keep_every_word_in_order(text):
    assert words(" ".join(sentences(text))) == words(text) or "'" in text


@pytest.mark.parametrize(
    ("text", "pieces", "joints"),
    [
        ("A b, c and d. E?", ["A b", "c", "d", "E"], [", ", " and ", ". ", "?"]),
        ("one, but two; and three", ["one", "two", "three"], [", but ", "; and ", ""]),
        ("candy and sandy", ["candy", "sandy"], [" and ", ""]),
        ("alone.", ["alone"], ["."]),
    ],
)
def test_clauses(text, pieces, joints):
    assert clauses(text) == (pieces, joints)


@given(st.text(alphabet="ab ,.?and", max_size=60))
def test_clauses_and_joints_are_the_text(text):
    pieces, joints = clauses(text)
    assert "".join(p + j for p, j in zip(pieces, joints, strict=True)) == text.strip()


def test_an_addition_takes_on_the_manner_of_the_text():
    assert appended("We broke up", "What now?") == "We broke up. What now?"
    assert appended("we broke up. ", "What now?") == "we broke up. what now?"
    assert appended('She said "no"', "So?") == 'She said "no" So?'


def test_first_letters():
    assert [small(t) for t in ("The dog", "I am", "I'm", "NASA said", "A dog", "")] == [
        "the dog", "I am", "I'm", "NASA said", "a dog", "",
    ]  # fmt: skip
    assert [capital(t) for t in ("the dog", "")] == ["The dog", ""]


def test_another_order_is_never_the_same():
    for seed in range(50):
        order = other_order(3, np.random.default_rng(seed))
        assert sorted(order) == [0, 1, 2]
        assert order != [0, 1, 2]
    assert other_order(2, np.random.default_rng(0)) == [1, 0]
