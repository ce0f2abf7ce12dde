"""Tokens, matched n-grams and longest common subsequences against their naive definitions."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.metrics import tokens
from evalsuite.metrics.tokens import (
    TOKEN,
    Match,
    Ragged,
    as_strings,
    common_subsequence,
    match,
    split,
    tokenise,
)

ANY_CHARACTER = st.characters(codec=None)  # lone surrogates too
TEXTS = st.one_of(
    st.text(ANY_CHARACTER, max_size=40),
    st.text(st.sampled_from("aAbB1_ .,'\n\t\x00\x1c\x85İßẞſKéΣ"), max_size=40),
)
ROWS = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=5)


def ragged(rows: list[list[int]]) -> Ragged:
    starts = np.cumsum([0] + [len(row) for row in rows])
    return Ragged(np.array([v for row in rows for v in row], dtype=np.int64), starts)


def lists(rows: Ragged) -> list[list[int]]:
    return [rows.values[a:b].tolist() for a, b in zip(rows.starts, rows.starts[1:], strict=False)]


def grams(row: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


def naive_lcs(a: list, b: list) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


def test_split_by_hand():
    # Lower case; letters, digits and _ hold together, every other mark stands alone.
    assert split("Don't PANIC, e.g. foo_bar 3.5%…") == [
        "don", "'", "t", "panic", ",", "e", ".", "g", ".", "foo_bar", "3", ".", "5", "%", "…",
    ]  # fmt: skip
    assert split("") == split(" \n\t") == []


@settings(deadline=None)
@given(TEXTS)
def test_split_is_the_regular_expression(text):
    assert split(text) == TOKEN.findall(text.lower())


def test_split_is_the_regular_expression_for_every_character():
    for code in range(sys.maxunicode + 1):
        if code < 0x3000 or code % 17 == 0:
            text = f"{chr(code)}a{chr(code)}1_{chr(code)}"
            assert split(text) == TOKEN.findall(text.lower()), hex(code)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_tokenise_keeps_tokens_and_order(texts):
    corpus = tokenise(texts)
    back = [[corpus.vocabulary[v] for v in row] for row in lists(corpus.tokens)]
    assert back == [split(text) for text in texts]
    assert len(set(corpus.vocabulary)) == len(corpus.vocabulary)


@settings(deadline=None)
@given(ROWS, st.data())
def test_take_and_only(rows, data):
    table = ragged(rows)
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    assert lists(table.take(np.array(wanted, dtype=np.int64))) == [rows[i] for i in wanted]
    assert lists(table.only(table.values != 1)) == [[v for v in row if v != 1] for row in rows]
    assert table.owners().tolist() == [i for i, row in enumerate(rows) for _ in row]


@settings(deadline=None)
@given(ROWS, ROWS, st.data())
def test_match_numbers_ngrams_alike(sources, summaries, data):
    source_of = data.draw(
        st.lists(st.integers(0, len(sources) - 1), min_size=len(summaries), max_size=len(summaries))
    )
    found = match(ragged(sources), ragged(summaries), np.array(source_of), n=3)
    assert len(found) == 3
    for n, level in enumerate(found, start=1):
        number: dict[tuple[int, tuple[int, ...]], int] = {}
        for i, (row, codes) in enumerate(zip(sources, lists(level.sources), strict=True)):
            assert len(codes) == len(grams(row, n))
            for gram, code in zip(grams(row, n), codes, strict=True):
                assert number.setdefault((i, gram), code) == code
        assert sorted(number.values()) == list(range(level.size))  # one number an n-gram
        assert [i for i, _ in sorted(number, key=number.__getitem__)] == sorted(
            i for i, _ in number
        )  # ranges follow each other in the order of the sources
        for i, row, codes in zip(source_of, summaries, lists(level.summaries), strict=True):
            assert codes == [number.get((i, gram), -1) for gram in grams(row, n)]
        assert level.distinct_in_sources().tolist() == [len(set(grams(r, n))) for r in sources]


@settings(deadline=None)
@given(ROWS, ROWS, st.integers(1, 2))
def test_common_subsequence_is_the_dynamic_programme(sources, summaries, n):
    source_of = np.arange(len(summaries)) % len(sources)
    level = match(ragged(sources), ragged(summaries), source_of, n=n)[-1]
    expected = [
        naive_lcs(grams(row, n), grams(sources[i], n))
        for i, row in zip(source_of, summaries, strict=True)
    ]
    assert common_subsequence(level, source_of).tolist() == expected


def test_common_subsequence_of_long_texts(rng):
    source, summary = rng.integers(0, 40, 900).tolist(), rng.integers(0, 40, 300).tolist()
    level = match(ragged([source]), ragged([summary]), np.array([0]), n=1)[0]
    assert common_subsequence(level, np.array([0])).tolist() == [naive_lcs(summary, source)]


def test_strings_keep_or_drop_what_is_not_shared():
    # Shared are 5 and 7, numbered from 2; 9 is only in the source (1), 6 only in the summary (0).
    level = match(ragged([[5, 9, 7]]), ragged([[6, 7, 7, 5]]), np.array([0]), n=1)[0]
    assert as_strings(level, np.array([0]), drop=False) == (["\2\1\3"], ["\0\3\3\2"])
    assert as_strings(level, np.array([0]), drop=True) == (["\2\3"], ["\3\3\2"])


def test_more_shared_words_than_characters(monkeypatch):
    monkeypatch.setattr(tokens, "MAX_CHARACTER", 3)
    level = match(ragged([[1, 2, 3]]), ragged([[1, 2, 3]]), np.array([0]), n=1)[0]
    with pytest.raises(StatisticsError, match="share 3 different words; allowed 2 at most"):
        as_strings(level, np.array([0]), drop=True)


def test_match_of_nothing():
    nothing = ragged([])
    for level in match(nothing, nothing, np.empty(0, dtype=np.int64), n=2):
        assert isinstance(level, Match)
        assert level.size == 0
        assert common_subsequence(level, np.empty(0, dtype=np.int64)).shape == (0,)
