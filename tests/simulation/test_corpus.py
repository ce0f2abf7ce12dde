"""Documents to pretrain on: what is in them, and that posts below the first stay unseen."""

from __future__ import annotations

import pytest

from evalsuite.errors import ConfigError
from evalsuite.simulation import World
from evalsuite.simulation.corpus import FIRST_POST, NEWS_EVERY, ROUGH, documents
from evalsuite.simulation.files import texts_of
from evalsuite.simulation.language import language
from evalsuite.simulation.world import BLOCK

DOCUMENTS = documents(World(0), BLOCK)


def test_each_document_begins_with_its_post() -> None:
    posts = World(0).posts("tldr", BLOCK, FIRST_POST)
    news = World(0).posts("cnndm", BLOCK, FIRST_POST)
    for row, document in enumerate(DOCUMENTS):
        if row % NEWS_EVERY == NEWS_EVERY - 1:
            start = "Article:\n" + texts_of(news.text)[row]
        else:
            start = f"\n\nTITLE: {texts_of(posts.title)[row]}\n\nPOST: {texts_of(posts.text)[row]}"
            assert document.startswith("SUBREDDIT: r/")
        assert start in document


def test_a_story_is_told_again_with_the_same_facts() -> None:
    posts = World(0).posts("tldr", BLOCK, FIRST_POST)
    for row in range(BLOCK):
        if row % NEWS_EVERY == NEWS_EVERY - 1 or row % ROUGH == 0:
            continue
        _, first, second, third = DOCUMENTS[row].split("\n\nPOST: ")
        assert len({first, second, third}) == 3
        for telling in (first, second, third):
            said = set(language().encode(telling).tolist())
            assert set(posts.facts[row].tolist()) <= said


def test_summaries_are_rough_and_few() -> None:
    posts = World(0).posts("tldr", BLOCK, FIRST_POST)
    ends = [d.partition("\n\nTL;DR: ")[2] for d in DOCUMENTS]
    assert [bool(end) for end in ends] == [row % ROUGH == 0 for row in range(BLOCK)]
    rough = [
        World(0).utility(posts.take([row]), end)
        for row, end in enumerate(ends)
        if end and row % NEWS_EVERY != NEWS_EVERY - 1
    ]
    references = World(0).utilities(posts.facts, posts.reference, "tldr")
    assert sum(rough) / len(rough) < references.mean() - 1


def test_documents_depend_on_their_number_alone() -> None:
    assert documents(World(0), 10, start=FIRST_POST + 250) == [
        *DOCUMENTS[250:],
        *documents(World(0), 4, start=FIRST_POST + BLOCK),
    ]
    assert documents(World(1), 3) != DOCUMENTS[:3]
    once = documents(World(0), 3, tellings=1)
    assert once[1] == DOCUMENTS[1].rsplit("\n\nPOST: ", 2)[0]


@pytest.mark.parametrize(("count", "tellings"), [(0, 3), (5, 0)])
def test_no_documents(count: int, tellings: int) -> None:
    with pytest.raises(ConfigError, match=f"count is {count}, tellings {tellings}; allowed 1"):
        documents(World(0), count, tellings=tellings)
