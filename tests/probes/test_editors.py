"""Edits that improve a summary of the world: by hand, and what every edit holds."""

from __future__ import annotations

import pytest

from evalsuite.errors import DataError
from evalsuite.probes import items_of
from evalsuite.probes.editors import GAIN, joined, longer, shorter, world_edits
from evalsuite.probes.world import post_records
from evalsuite.records import Post
from evalsuite.simulation import World
from evalsuite.simulation.files import texts_of
from evalsuite.simulation.language import SLOTS, language
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import parts_of

WORLD = World(3)
POST = WORLD.posts("tldr", 1)
FACT = dict(zip(SLOTS, (language().words[i] for i in POST.facts[0].tolist()), strict=True))
WRONG = dict(zip(SLOTS, (language().words[i] for i in POST.decoys[0].tolist()), strict=True))


def said(**values: str) -> str:
    """A clean summary of the post; values take the place of facts."""
    f = {**FACT, **values}
    return f"my {f['relation']} {f['act']} my {f['object']}, i feel {f['feeling']}."


def test_an_error_is_left_out_with_its_clause():
    assert shorter(WORLD, POST, said(feeling=WRONG["feeling"])) == (
        f"my {FACT['relation']} {FACT['act']} my {FACT['object']}."
    )


def test_a_wrong_detail_is_left_out_of_its_clause():
    text = said().replace(",", f" at the {WRONG['place']},")
    assert shorter(WORLD, POST, text) == said()


def test_a_garbled_word_is_left_out():
    assert shorter(WORLD, POST, said().replace("i feel", "i the feel")) == said()


def test_a_gap_is_filled_with_the_fact():
    text = said().replace(f"my {FACT['relation']}", "someone")
    # The post's own words for it: my, my own or my dear.
    own = ("my", "my own", "my dear")[POST.wording[0, 0]]
    assert longer(WORLD, POST, text) == said().replace("my", own, 1)


def test_a_missing_clause_is_added_where_it_reads_well():
    text = f"my {FACT['relation']} {FACT['act']} my {FACT['object']} at the {FACT['place']}."
    edit = longer(WORLD, POST, text)
    # The feeling and the request are worth 1 each, all others less.
    assert edit is not None
    assert FACT["feeling"] in edit or FACT["request"] in edit
    assert WORLD.utility(POST, edit) - WORLD.utility(POST, text) == pytest.approx(1.0)


def test_a_summary_that_is_right_is_not_made_shorter():
    assert shorter(WORLD, POST, said()) is None
    assert shorter(WORLD, POST, "sad") is None
    assert shorter(WORLD, POST, "") is None


def test_a_summary_that_says_all_is_not_made_longer():
    assert longer(WORLD, POST, " ".join(FACT.values())) is None


def test_no_fact_is_added_at_the_price_of_a_garble():
    """Two relations before one name: the fact gains 1, the garble and 2 words above 22 cost .7."""
    text = (
        f"my {WRONG['relation']} {FACT['name']} {FACT['act']} my {FACT['object']} at the "
        f"{FACT['place']} since {FACT['since']} i feel {FACT['feeling']} i tried "
        f"{FACT['tried']} should i {FACT['request']}?"
    )
    assert longer(WORLD, POST, text) is None


@pytest.mark.parametrize(("domain", "n"), [("tldr", 40), ("cnndm", 8)])
def test_every_edit_is_better_by_truth_and_no_worse_in_any_part(domain, n):
    posts = WORLD.posts(domain, n)
    items = items_of(post_records(posts), texts_of(posts.reference))
    pairs, left_out = world_edits(WORLD, items)
    assert len(pairs) + sum(left_out.values()) == 2 * n
    assert {pair.probe for pair in pairs} == {"edit: shorter", "edit: longer"}
    assert all(": no edit gains enough" in reason for reason in left_out)
    for pair in pairs:
        one = WORLD.post(pair.post.source_id)
        assert WORLD.utility(one, pair.a) >= WORLD.utility(one, pair.b) + GAIN - 1e-9
        assert (len(pair.a) < len(pair.b)) == (pair.probe == "edit: shorter")
        parts = [
            parts_of(one.facts, Ragged.from_rows([language().encode(text)]))
            for text in (pair.a, pair.b)
        ]
        for good in ("contradictions", "garbled", "repetitions"):
            assert getattr(parts[0], good)[0] <= getattr(parts[1], good)[0], pair
        assert parts[0].coverage[0] >= parts[1].coverage[0]


def test_words_are_joined_as_the_world_writes_them():
    assert joined(("i", "left", ",", "am", "i", "sad", "?")) == "i left, am i sad?"


def test_posts_of_no_world_are_refused():
    with pytest.raises(DataError, match="allowed an id of the simulated world"):
        world_edits(WORLD, items_of([Post("some text")], ["a"]))
