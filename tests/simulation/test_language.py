"""The language: small, unambiguous, and its clean word pairs cover every clean text."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from evalsuite.simulation.language import DOMAINS, SLOTS, VALUE, language, tokenise
from evalsuite.simulation.world import World, parts_of


def test_vocabulary_is_a_few_hundred_words() -> None:
    assert 250 <= len(language().words) <= 450


def test_every_value_word_says_one_fact_and_nothing_else() -> None:
    slots = defaultdict(set)
    for domain in DOMAINS.values():
        for slot, values in enumerate(domain.values):
            assert 11 <= len(values) <= 24
            assert len(set(values)) == len(values)
            for value in values:
                slots[value].add(slot)
    assert all(len(found) == 1 for found in slots.values())
    for domain in DOMAINS.values():
        for pattern in language().patterns_of(domain):
            plain = [w for w in pattern.split() if w[0] not in "[{"]
            assert not set(plain) & set(slots), pattern


def test_slots_of_words() -> None:
    lang = language()
    assert SLOTS[lang.slot_of[lang.ids["sister"]]] == "relation"
    assert SLOTS[lang.slot_of[lang.ids["sue"]]] == "request"
    assert lang.slot_of[lang.ids["the"]] == -1
    assert lang.slot_of[lang.unknown] == -1


@pytest.mark.parametrize("domain", ["tldr", "cnndm"])
def test_text_reads_back_to_its_tokens(domain: str) -> None:
    lang, posts = language(), World(3).posts(domain, 50)
    for row, text in enumerate(posts.text.texts(lang.spaced)):
        assert lang.encode(text).tolist() == posts.text.take([row]).tokens.tolist()


@pytest.mark.parametrize("domain", ["tldr", "cnndm"])
def test_clean_texts_have_only_clean_word_pairs(domain: str) -> None:
    posts = World(4).posts(domain, 2000)
    assert parts_of(posts.facts, posts.text).garbled.sum() == 0
    careful = posts.take(np.flatnonzero(posts.author == 2))
    # Careful authors garble one summary in fifty; every other is clean.
    assert (parts_of(careful.facts, careful.reference).garbled > 0).mean() < 0.04


def test_clean_pairs_are_few() -> None:
    assert language().clean.mean() < 0.08


def test_tokenise_splits_marks_and_lowers() -> None:
    assert tokenise(" My sister, Anna? No.") == ["my", "sister", ",", "anna", "?", "no", "."]
    assert language().encode("my zyzzyva").tolist() == [language().ids["my"], language().unknown]


def test_pattern_pads_and_marks_values() -> None:
    lang = language()
    assert lang.pattern("my {relation}", 4).tolist() == [lang.ids["my"], VALUE, -1, -1]
