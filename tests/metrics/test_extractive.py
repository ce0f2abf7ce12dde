"""Extractive fragments and novel n-grams: by hand, and from their definitions word for word."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.metrics import extractive
from evalsuite.metrics.extractive import COLUMNS
from evalsuite.metrics.tokens import split

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=16).map(" ".join)


def scan(summary: list[str], source: list[str]) -> list[int]:
    """The greedy procedure F(A, S) of Grusky et al. 2018, figure 3, index by index."""
    lengths, i = [], 0
    while i < len(summary):
        best, j = 0, 0
        while j < len(source):
            if summary[i] != source[j]:
                j += 1
                continue
            length = 0
            while (
                i + length < len(summary)
                and j + length < len(source)
                and summary[i + length] == source[j + length]
            ):
                length += 1
            best, j = max(best, length), j + length
        lengths.append(best)
        i += max(best, 1)
    return lengths


def naive(summary: str, source: str) -> dict[str, float]:
    s, a = split(summary), split(source)
    if not s:
        return dict.fromkeys(COLUMNS, np.nan)
    lengths = scan(s, a)
    out = {
        "coverage": sum(lengths) / len(s),
        "density": sum(f * f for f in lengths) / len(s),
        "compression": len(a) / len(s),
    }
    for n in (1, 2, 3):
        grams = [{tuple(t[i : i + n]) for i in range(len(t) - n + 1)} for t in (s, a)]
        out[f"novel_{n}"] = len(grams[0] - grams[1]) / len(grams[0]) if grams[0] else np.nan
    return out


def test_by_hand():
    # Fragments of "the cat sat on my mat": "the cat sat" (3), "on" (1), "mat" (1); "my" is new.
    # Coverage 5/6, density (9 + 1 + 1)/6, compression 12/6.
    # Of its 6 words 1 is new; of 5 bigrams "sat on", "on my", "my mat" are; of 4 trigrams all
    # but "the cat sat".
    source = "The cat sat down. The dog lay on the mat."
    row = extractive(["the cat sat on my mat"], [source]).iloc[0]
    assert row.to_dict() == pytest.approx(
        {"coverage": 5 / 6, "density": 11 / 6, "compression": 12 / 6,
         "novel_1": 1 / 6, "novel_2": 3 / 5, "novel_3": 3 / 4},
        rel=1e-15,
    )  # fmt: skip


def test_repeated_words_count_once_among_novel_ngrams():
    # Distinct words "a", "x": half are new, though "x" stands twice in three.
    assert extractive(["x a x"], ["a b"])["novel_1"].tolist() == [1 / 2]


def test_the_scan_goes_on_after_a_match():
    # At the first "a" of "a a b", the scan of "a a a b" matches "a a", goes on behind it, and so
    # never tries "a a b" from the second "a": fragments "a a" and "b", density (4 + 1) / 3.
    assert extractive(["a a b"], ["a a a b"])["density"].tolist() == [5 / 3]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_equals_the_definitions(pairs):
    got = extractive([a for a, _ in pairs], [b for _, b in pairs])
    for i, (summary, source) in enumerate(pairs):
        assert got.iloc[i].to_dict() == pytest.approx(
            naive(summary, source), rel=1e-15, nan_ok=True
        )


def test_equals_the_definitions_on_real_texts(shared_data):
    lines = (shared_data / "tldr_posts" / "posts.jsonl").read_text("utf-8").splitlines()[:60]
    rows = [json.loads(line) for line in lines]
    got = extractive([row["summary"] for row in rows], [row["post"] for row in rows])
    for i, row in enumerate(rows):
        expected = naive(row["summary"], row["post"])
        assert got.iloc[i].to_dict() == pytest.approx(expected, rel=1e-15)


@settings(deadline=None)
@given(WORDS)
def test_a_text_is_one_fragment_of_itself_or_none(text):
    row = extractive([text], [text]).iloc[0]
    if not text:
        assert row.isna().all()
    else:
        assert (row["coverage"], row["compression"], row["novel_1"]) == (1, 1, 0)


def test_an_empty_source():
    row = extractive(["a b"], [""]).iloc[0]
    assert (row["coverage"], row["density"], row["compression"], row["novel_2"]) == (0, 0, 0, 1)
    assert np.isnan(row["novel_3"])


def test_a_long_text_copied_whole(rng):
    text = " ".join(f"w{i}" for i in rng.permutation(60_000))
    row = extractive([text], [text + " and more"]).iloc[0]
    assert (row["coverage"], row["density"]) == (1, 60_000)


def test_no_pairs():
    assert extractive([], []).shape == (0, len(COLUMNS))


def test_lists_of_different_length():
    with pytest.raises(StatisticsError, match="posts has 0 texts for 1 summaries; allowed one"):
        extractive(["a"], [])
