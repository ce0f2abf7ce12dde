"""Each probe on texts and results written by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from evalsuite.probes import library
from evalsuite.probes.library import FURTHER_PROBES, PAPER_PROBES, PROBES
from evalsuite.probes.probe import PAPER, Item, Pair, Unmade, items_of, make, rng_of
from evalsuite.probes.text import words
from evalsuite.records import Post

TEXT = "I met Ann. She lied. We left. It rained. Bye."
POSTS = [
    Post(TEXT, "Ann lied", "tifu"),
    Post("One. Two. Three.", "My dog", "tifu"),
    Post("One. Two.", "My cat", "relationships"),
    Post("Other text here.", None, None),
]
SUMMARIES = [
    "Ann lied to me, she left and I cried.",
    "The dog ran off. I miss it.",
    "The cat stays with me now",
    "Nothing",
]
ITEMS = items_of(POSTS, SUMMARIES)
BY_NAME = {probe.name: probe for probe in PROBES}


def made(name: str, item: Item = ITEMS[0], seed: int = 0) -> Pair | Unmade:
    probe = BY_NAME[name]
    return make(probe, item, rng_of(seed, name, item.post))


def sides(name: str, item: Item = ITEMS[0], seed: int = 0) -> tuple[str, str]:
    pair = made(name, item, seed)
    assert isinstance(pair, Pair), pair
    return pair.a, pair.b


def test_the_rows_of_the_papers_table_in_its_order():
    assert [(p.a, p.b) for p in PAPER_PROBES] == [
        ("original summary", "reversed roles"),
        ("lead-3", "rand-3"),
        ("rand-3", "shuffled rand-3"),
        ("post title", "random title"),
        ("post title", "random title of the same section"),
        ("post title", "post title repeated twice"),
        ("reference", 'reference + "What should I do?"'),
        ("reference", "lead-3"),
        ("reference", "lead-2"),
        ("reference", "rand-3"),
    ]
    assert {p.source for p in PAPER_PROBES} == {PAPER}
    assert {p.source for p in FURTHER_PROBES} == {"beyond the paper"}
    assert len(BY_NAME) == len(PROBES) == 15
    assert all(p.expected == "a" and p.about for p in PROBES)


def test_reversed_roles():
    a, b = sides("original vs reversed roles")
    assert (a, b) == (SUMMARIES[0], "Ann lied to her, I left and she cried.")
    assert made("original vs reversed roles", ITEMS[1]) == Unmade("no two roles to swap")


def test_lead_and_random_sentences():
    first = "I met Ann. She lied. We left."
    found = TEXT.replace(". ", ".|").split("|")
    kept = Counter()
    for seed in range(200):
        pair = made("lead-3 vs rand-3", seed=seed)
        if isinstance(pair, Unmade):
            kept[pair.reason] += 1
            continue
        assert pair.a == first
        three = pair.b.replace(". ", ".|").split("|")
        places = [found.index(s) for s in three]
        assert places == sorted(set(places))
        assert len(places) == 3
        kept[tuple(places)] += 1
    # All 10 ways to keep 3 of 5 come up, each about 20 times; the first three are no pair.
    assert len(kept) == 10
    assert min(kept.values()) >= 8
    assert "the random three are the first three" in kept
    assert made("lead-3 vs rand-3", ITEMS[1]) == Unmade("the random three are the first three")
    assert made("lead-3 vs rand-3", ITEMS[2]) == Unmade("fewer than 3 sentences")


def test_shuffled_sentences_are_the_same_in_another_order():
    seen = set()
    for seed in range(60):
        a, b = sides("rand-3 vs shuffled rand-3", ITEMS[1], seed)
        assert a == "One. Two. Three."
        seen.add(b)
    assert seen == {
        "One. Three. Two.", "Two. One. Three.", "Two. Three. One.", "Three. One. Two.",
        "Three. Two. One.",
    }  # fmt: skip
    assert made("rand-3 vs shuffled rand-3", ITEMS[2]) == Unmade("fewer than 3 sentences")


def test_titles():
    others = {sides("title vs random title", seed=seed) for seed in range(40)}
    assert others == {("Ann lied", "My dog"), ("Ann lied", "My cat")}
    of_section = {sides("title vs random title, same section", seed=seed) for seed in range(40)}
    assert of_section == {("Ann lied", "My dog")}
    assert sides("title vs title twice") == ("Ann lied", "Ann lied Ann lied")
    alone = made("title vs random title, same section", ITEMS[2])
    assert alone == Unmade("no other title of its section")
    assert made("title vs random title", ITEMS[3]) == Unmade("no title")
    assert made("title vs title twice", ITEMS[3]) == Unmade("no title")
    titled = items_of([Post("a", "b")], ["s"])[0]
    assert made("title vs random title", titled) == Unmade("no other title")
    assert made("title vs random title, same section", titled) == Unmade("no section")


def test_a_title_drawn_does_not_depend_on_the_order_of_items():
    turned = items_of(POSTS[::-1], SUMMARIES[::-1])
    for probe in PROBES:
        pairs = [make(probe, i, rng_of(3, probe.name, i.post)) for i in ITEMS]
        again = [make(probe, i, rng_of(3, probe.name, i.post)) for i in turned]
        assert pairs == again[::-1]


def test_a_request_for_advice_where_none_is_asked():
    name = 'reference vs reference + "What should I do?"'
    assert sides(name) == (SUMMARIES[0], f"{SUMMARIES[0]} What should I do?")
    where = Unmade("a section for advice, or none that is known")
    assert made(name, ITEMS[2]) == made(name, ITEMS[3]) == where
    asked = items_of([Post("a", "b", "tifu")], ["I fell, what should I do"])[0]
    assert made(name, asked) == Unmade("the reference asks that already")
    rule = library.advice_request(["relationships"])
    rng = np.random.default_rng(0)
    assert rule(ITEMS[2], rng) == (SUMMARIES[2], f"{SUMMARIES[2]}. What should I do?")
    assert isinstance(rule(ITEMS[0], rng), Unmade)


def test_references_against_extracts_of_the_post():
    assert sides("reference vs lead-3") == (SUMMARIES[0], "I met Ann. She lied. We left.")
    assert sides("reference vs lead-2") == (SUMMARIES[0], "I met Ann. She lied.")
    assert sides("reference vs rand-3", ITEMS[1]) == (SUMMARIES[1], "One. Two. Three.")
    assert made("reference vs lead-3", ITEMS[2]) == Unmade("fewer than 3 sentences")
    assert made("reference vs lead-2", ITEMS[3]) == Unmade("fewer than 2 sentences")
    assert made("reference vs rand-3", ITEMS[2]) == Unmade("fewer than 3 sentences")


def test_references_are_not_the_summaries_where_both_are_given():
    item = items_of([POSTS[0]], ["A sample."], ["The reference."])[0]
    assert sides("reference vs lead-2", item)[0] == "The reference."
    assert sides("summary vs padded", item)[0] == "A sample."
    without = items_of([POSTS[0]], ["A sample."], [None])[0]
    names = [p.name for p in PAPER_PROBES if p.a == "reference"]
    assert len(names) == 4
    for name in names:
        assert made(name, without) == Unmade("no reference")


def test_shuffled_clauses_keep_every_word():
    seen = set()
    for seed in range(80):
        a, b = sides("summary vs shuffled clauses", seed=seed)
        assert sorted(words(a)) == sorted(words(b))
        seen.add(b)
    # Three clauses: five other orders; capital at the start, "I" as it is.
    assert len(seen) == 5
    assert "I cried, she left and ann lied to me." in seen
    assert made("summary vs shuffled clauses", ITEMS[3]) == Unmade("one clause")
    same = items_of([POSTS[0]], ["no, no"])[0]
    assert made("summary vs shuffled clauses", same) == Unmade("all clauses are the same")


def test_a_repeated_sentence():
    seen = {sides("summary vs repeated sentence", ITEMS[1], seed)[1] for seed in range(30)}
    assert seen == {
        "The dog ran off. The dog ran off. I miss it.",
        "The dog ran off. I miss it. I miss it.",
    }
    assert sides("summary vs repeated sentence", ITEMS[3])[1] == "Nothing. Nothing"
    mark = items_of([POSTS[0]], ["?"])[0]
    assert made("summary vs repeated sentence", mark) == Unmade("no sentence")


def test_truncation_keeps_the_first_half_of_the_words():
    assert sides("summary vs truncated", ITEMS[1])[1] == "The dog ran off."
    assert sides("summary vs truncated")[1] == "Ann lied to me, she"  # 5 of 9 words
    assert made("summary vs truncated", ITEMS[3]) == Unmade("fewer than 6 words")


def test_another_posts_summary():
    seen = {sides("summary vs another post's summary", seed=seed)[1] for seed in range(60)}
    assert seen == set(SUMMARIES[1:])
    alone = items_of([POSTS[0]], ["s"])[0]
    assert made("summary vs another post's summary", alone) == Unmade("no other summary")


def test_padding_is_a_sentence_that_is_not_there_yet():
    first, second, third = library.PADDING
    seen = {sides("summary vs padded", ITEMS[1], seed)[1] for seed in range(60)}
    assert seen == {f"{SUMMARIES[1]} {phrase}" for phrase in library.PADDING}
    lower = items_of([POSTS[0]], [f"it hurts. {first} {second}".lower()])[0]
    assert sides("summary vs padded", lower)[1].endswith(third.lower())
    full = items_of([POSTS[0]], [" ".join(library.PADDING)])[0]
    assert made("summary vs padded", full) == Unmade("every phrase is in it already")


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_pair_is_made_again_the_same(name):
    assert [made(name, item) for item in ITEMS] == [made(name, item) for item in ITEMS]
