"""Documents to pretrain on: what is in them, and that posts below the first stay unseen."""

from __future__ import annotations

import numpy as np
import pytest

from evalsuite.errors import ConfigError
from evalsuite.simulation import World
from evalsuite.simulation.corpus import FIRST_POST, NEWS_EVERY, ROUGH, documents
from evalsuite.simulation.files import texts_of
from evalsuite.simulation.language import language
from evalsuite.simulation.world import BLOCK

WORLD = World(0)
DOCUMENTS = documents(WORLD, BLOCK)
POSTS = WORLD.posts("tldr", BLOCK, FIRST_POST)
NEWS = {row for row in range(BLOCK) if row % NEWS_EVERY == NEWS_EVERY - 1}
SUMMARISED = set(range(0, BLOCK, ROUGH))


def test_posts_that_are_trained_on_later_stay_unseen() -> None:
    assert FIRST_POST > 1_000_000
    assert FIRST_POST % BLOCK == 0


def test_each_document_begins_with_its_post() -> None:
    news = WORLD.posts("cnndm", BLOCK, FIRST_POST)
    for row, document in enumerate(DOCUMENTS):
        if row in NEWS:
            assert document.startswith(f"Article:\n{texts_of(news.text)[row]}\n\n")
        else:
            start = f"\n\nTITLE: {texts_of(POSTS.title)[row]}\n\nPOST: {texts_of(POSTS.text)[row]}"
            assert document.startswith("SUBREDDIT: r/")
            assert f"{start}\n\n" in document


def test_quotes_say_each_fact_once_in_another_order_each_time() -> None:
    orders = set()
    for row in set(range(BLOCK)) - NEWS - SUMMARISED:
        *_, first, second = DOCUMENTS[row].split("\n\n")
        assert first != second
        for quotes in (first, second):
            tokens = language().encode(quotes)
            slots = language().slot_of[tokens]
            assert sorted(slots[slots >= 0]) == list(range(9))
            assert set(tokens[slots >= 0]) == set(POSTS.facts[row])
            orders.add(tuple(slots[slots >= 0].tolist()))
    # 384 rounds; most fall into 4 runs or more, which have many orders.
    assert len(orders) > 150


def test_summaries_are_rough_and_few() -> None:
    ends = [document.partition("\n\nTL;DR: ")[2] for document in DOCUMENTS]
    assert {row for row, end in enumerate(ends) if end} == SUMMARISED
    rough = [WORLD.utility(POSTS.take([row]), ends[row]) for row in SUMMARISED - NEWS]
    references = WORLD.utilities(POSTS.facts, POSTS.reference, "tldr")
    # Careless authors are a quarter of all; their references are worth about 1.8 less.
    assert np.mean(rough) < references.mean() - 1


def test_documents_depend_on_their_number_alone() -> None:
    assert documents(WORLD, 10, start=FIRST_POST + 250) == [
        *DOCUMENTS[250:],
        *documents(WORLD, 4, start=FIRST_POST + BLOCK),
    ]
    assert documents(World(1), 3) != DOCUMENTS[:3]
    once = documents(WORLD, 2, rounds=1)
    assert once[1].count("\n\n") == 3


@pytest.mark.parametrize(("count", "rounds"), [(0, 3), (5, 0)])
def test_no_documents(count: int, rounds: int) -> None:
    with pytest.raises(ConfigError, match=f"count is {count}, rounds {rounds}; allowed 1"):
        documents(WORLD, count, rounds=rounds)
