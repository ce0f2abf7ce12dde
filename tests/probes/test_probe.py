"""Items, the randomness of a probe, and what `make` refuses."""

from __future__ import annotations

import numpy as np
import pytest

from evalsuite.errors import DataError
from evalsuite.probes.probe import Pair, Probe, Sides, Unmade, items_of, make, rng_of
from evalsuite.records import Post

POSTS = [Post(f"text {i}.", f"title {i}", "tifu") for i in range(3)]


def probe(a: str, b: str) -> Probe:
    return Probe("p", "a", "b", "about", lambda item, rng: Sides(a, b))


def test_items_share_a_pool_that_knows_no_order():
    items = items_of(POSTS, ["s0", "s1", "s2"])
    turned = items_of(POSTS[::-1], ["s2", "s1", "s0"])
    assert [item.summary for item in items] == ["s0", "s1", "s2"]
    assert [item.reference for item in items] == ["s0", "s1", "s2"]
    assert items[0].pool == turned[0].pool
    pool = items[0].pool
    assert dict(zip([p.title for p in pool.posts], pool.summaries, strict=True)) == {
        "title 0": "s0", "title 1": "s1", "title 2": "s2",
    }  # fmt: skip
    sampled = items_of(POSTS[:1], ["s"], ["r"])[0]
    assert (sampled.summary, sampled.reference) == ("s", "r")
    assert items_of(POSTS[:1], ["s"], [None])[0].reference is None


def test_items_of_lists_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="3 posts, 1 summaries, 1 references"):
        items_of(POSTS, ["s"])
    with pytest.raises(DataError, match="a post comes twice"):
        items_of([POSTS[0], POSTS[0]], ["s", "t"])


def test_make_strips_and_refuses_what_an_edit_did_not_change(rng):
    item = items_of(POSTS[:1], ["s"])[0]
    made = make(probe(" good ", "bad\n"), item, rng)
    assert isinstance(made, Pair)
    assert (made.probe, made.post, made.a, made.b) == ("p", POSTS[0], "good", "bad")
    assert np.isnan(made.labelers)
    assert make(probe("same", " same"), item, rng) == Unmade("the edit changed nothing")
    assert make(probe("a", " "), item, rng) == Unmade("an empty text")
    none = Probe("p", "a", "b", "about", lambda item, rng: Unmade("no reason"))
    assert make(none, item, rng) == Unmade("no reason")


def test_randomness_depends_on_seed_probe_and_post_alone():
    first = rng_of(0, "p", POSTS[0]).random()
    assert rng_of(0, "p", Post("text 0.", "title 0", "other section")).random() == first
    others = [rng_of(1, "p", POSTS[0]), rng_of(0, "q", POSTS[0]), rng_of(0, "p", POSTS[1])]
    assert len({first, *(other.random() for other in others)}) == 4
