"""ROUGE: worked by hand, and equal to the package rouge-score on any text."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from evalsuite.errors import StatisticsError
from evalsuite.metrics import rouge, rouge_one
from evalsuite.metrics.rouge import COLUMNS, MEASURES

PARTS = {"p": "precision", "r": "recall", "f": "fmeasure"}
PEERS = {stem: RougeScorer(list(MEASURES), use_stemmer=stem) for stem in (False, True)}
WORDS = [
    "the", "cat", "cats", "running", "runs", "ran", "relational", "happily", "ponies", "sky",
    "sing", "hoping", "agreed", "don't", "e.g.", "foo_bar", "x1", "1st", "naïve", "İstanbul",
    "STRASSE", "ẞ", "ſtop", "Kelvin", "K", "Å", "ﬁne", "Σίσυφος", "日本", "aaaa", "yyyy",
    "generalisations",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.text(st.sampled_from("abcdeEDSsingy İẞſK.,'\n\x1c_1"), max_size=60),
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join),
)


def peer(summary: str, reference: str, stem: bool) -> dict[str, float]:
    scores = PEERS[stem].score(reference, summary)
    return {f"{m}_{p}": getattr(scores[m], name) for m in MEASURES for p, name in PARTS.items()}


def test_by_hand():
    # summary:   the cat sat on the mat     6 words
    # reference: the cat on the mat lay     6 words
    # unigrams in common: the the cat on mat = 5, so 5/6.
    # bigrams in common: "the cat", "on the", "the mat" = 3 of 5.
    # longest common subsequence: the cat on the mat = 5, so 5/6.
    got = rouge_one("The cat sat on the mat.", "the cat on the mat lay", stem=False)
    for part in "prf":
        assert got[f"rouge1_{part}"] == pytest.approx(float(Fraction(5, 6)), rel=1e-15)
        assert got[f"rouge2_{part}"] == pytest.approx(0.6, rel=1e-15)
        assert got[f"rougeL_{part}"] == pytest.approx(float(Fraction(5, 6)), rel=1e-15)


def test_counts_are_clipped_and_sides_are_not_swapped():
    # "a a a" against "a b": one common unigram. Precision 1/3, recall 1/2,
    # F1 = 2 (1/3)(1/2) / (5/6) = 2/5. No bigram in common.
    got = rouge_one("a a a", "a b")
    assert [got[f"rouge1_{p}"] for p in "prf"] == pytest.approx([1 / 3, 1 / 2, 2 / 5], rel=1e-15)
    assert [got[f"rouge2_{p}"] for p in "prf"] == [0, 0, 0]


def test_stems():
    assert rouge_one("running", "runs", stem=True)["rouge1_f"] == 1
    assert rouge_one("running", "runs", stem=False)["rouge1_f"] == 0
    # Words of three characters are left as they are: "was" would have the stem "wa".
    assert rouge_one("was", "wa", stem=True)["rouge1_f"] == 0


@pytest.mark.parametrize("text", ["", " ", "...", "日本"])
def test_a_text_without_words_scores_zero(text):
    assert set(rouge_one(text, "a b").values()) == {0.0}
    assert set(rouge_one("a b", text).values()) == {0.0}
    assert set(rouge_one(text, text).values()) == {0.0}


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.booleans())
def test_equals_rouge_score(pairs, stem):
    summaries, references = map(list, zip(*pairs, strict=True))
    got = rouge(summaries, references, stem=stem)
    for i, (summary, reference) in enumerate(pairs):
        expected = peer(summary, reference, stem)
        assert got.iloc[i].to_dict() == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("stem", [False, True])
def test_equals_rouge_score_on_long_texts_that_share_references(rng, stem):
    # Over 64 words the bit-parallel subsequence needs more than one machine word.
    references = [" ".join(rng.choice(WORDS, rng.integers(1, 200))) for _ in range(4)] * 6
    summaries = [" ".join(rng.choice(WORDS, rng.integers(1, 200))) for _ in references]
    got = rouge(summaries, references, stem=stem)
    for i, (summary, reference) in enumerate(zip(summaries, references, strict=True)):
        assert got.iloc[i].to_dict() == pytest.approx(
            peer(summary, reference, stem), rel=0, abs=1e-12
        )


def test_equals_rouge_score_on_real_summaries(shared_data):
    lines = (shared_data / "tldr_posts" / "posts.jsonl").read_text("utf-8").splitlines()[:150]
    rows = [json.loads(line) for line in lines]
    summaries = [row["summary"] for row in rows]
    references = [row["reference_summary"] for row in rows]
    got = rouge(summaries, references)
    for i, (summary, reference) in enumerate(zip(summaries, references, strict=True)):
        expected = peer(summary, reference, True)
        assert got.iloc[i].to_dict() == pytest.approx(expected, rel=0, abs=1e-12)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_swapping_the_texts_swaps_precision_and_recall(a, b):
    there, back = rouge_one(a, b), rouge_one(b, a)
    for measure in MEASURES:
        assert there[f"{measure}_p"] == back[f"{measure}_r"]
        assert there[f"{measure}_f"] == pytest.approx(back[f"{measure}_f"], rel=1e-15)


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_row_order_does_not_matter(order):
    summaries = ["a b c", "b a", "c c c d", "", "the cat", "cats the"]
    references = ["a c", "a c", "c d", "c d", "the cats", "the cats"]
    whole = rouge(summaries, references)
    moved = rouge([summaries[i] for i in order], [references[i] for i in order])
    assert np.array_equal(moved.to_numpy(), whole.to_numpy()[list(order)])


def test_no_pairs():
    assert rouge([], []).shape == (0, 9)
    assert tuple(rouge([], []).columns) == COLUMNS


def test_lists_of_different_length():
    with pytest.raises(StatisticsError, match="references has 1 texts for 2 summaries; allowed"):
        rouge(["a", "b"], ["a"])
