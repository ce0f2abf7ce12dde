"""Copying share: by hand, from the naive dynamic programme, and its order on real policies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.metrics import copying
from evalsuite.metrics.tokens import split

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", ".", "Don't"]), max_size=14).map(" ".join)


def naive(summary: str, post: str) -> float:
    a, b = (list(zip(split(t), split(t)[1:], strict=False)) for t in (summary, post))
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1] / len(a) if a else np.nan


def test_by_hand():
    # Bigrams of the summary: "my dog", "dog ran", "ran .", 3 in all. The post has
    # "my dog" and "ran ." in that order and no "dog ran": 2/3.
    got = copying(["My dog ran."], ["So my dog, who barks, saw a cat and ran. End"])
    assert got.tolist() == [2 / 3]


def test_order_counts():
    # Both bigrams stand in the post, but the other way round: a subsequence holds one of two.
    assert copying(["a b c"], ["b c a b"]).tolist() == [1 / 2]


def test_undefined_without_a_bigram():
    got = copying(["", "word", "two words", "a b"], ["a b", "word", "two words", ""])
    assert np.array_equal(got, [np.nan, np.nan, 1.0, 0.0], equal_nan=True)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_equals_the_dynamic_programme(pairs):
    got = copying([a for a, _ in pairs], [b for _, b in pairs])
    assert np.array_equal(got, [naive(a, b) for a, b in pairs], equal_nan=True)


@settings(deadline=None)
@given(WORDS)
def test_a_text_copies_itself(text):
    got = copying([text], [text])[0]
    assert got == 1 or (np.isnan(got) and len(split(text)) < 2)


def test_lists_of_different_length():
    with pytest.raises(StatisticsError, match="posts has 2 texts for 1 summaries; allowed one"):
        copying(["a"], ["a", "b"])


REAL = {
    # Same tokens and definition on the full release files; the standard errors are its own.
    "batch18.json": {
        "ref": (0.231, 0.013), "sup4_6b": (0.422, 0.018), "sup4_6b_t0.7": (0.291, 0.014),
        "sup4_6b_p.95": (0.202, 0.012),
    },
    "cnndm0.json": {
        "ref": (0.412, 0.030), "pretrain_6b_t.7": (0.616, 0.030), "sup4_6b_t0.7": (0.391, 0.030),
        "sup4_6b_ppo_rm4_6b_kl14": (0.465, 0.025),
    },
}  # fmt: skip


@pytest.mark.parametrize("file", list(REAL))
def test_real_policies(shared_data, file):
    lines = (shared_data / "tldr_feedback/comparisons" / file).read_text("utf-8").splitlines()
    texts: dict[str, dict[tuple[str, str], None]] = {}
    for row in map(json.loads, lines):
        for summary in row["summaries"]:
            pair = (summary["text"], row["info"].get("post") or row["info"]["article"])
            texts.setdefault(summary["policy"], {})[pair] = None
    expected = REAL[file]
    share = {
        policy: float(np.nanmean(copying(*map(list, zip(*texts[policy], strict=True)))))
        for policy in expected
    }
    for policy, (value, se) in expected.items():
        assert share[policy] == pytest.approx(value, abs=se), policy
    if file == "batch18.json":  # sharper sampling copies more
        assert share["sup4_6b"] > share["sup4_6b_t0.7"] > share["sup4_6b_p.95"]
    else:  # training on summaries lessens copying, reinforcement brings some back
        assert share["pretrain_6b_t.7"] > share["sup4_6b_ppo_rm4_6b_kl14"] > share["sup4_6b_t0.7"]
