"""The world's reversal of roles, its truth and its labelers, on posts read back from its files."""

from __future__ import annotations

import numpy as np
import pytest

from evalsuite.datasets import load
from evalsuite.errors import DataError
from evalsuite.probes import Unmade, build, items_of, probe_table
from evalsuite.probes.library import PROBES
from evalsuite.probes.world import (
    WORLD_PROBES,
    post_records,
    swap_around_verb,
    world_gold,
    world_labelers,
)
from evalsuite.records import Post
from evalsuite.simulation import Crowd, World
from evalsuite.simulation.files import post_lines, texts_of

WORLD = World(3)


@pytest.fixture(scope="module")
def items():
    posts = WORLD.posts("tldr", 40)
    return items_of(post_records(posts), texts_of(posts.reference))


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("my sister grace stole my bike at the park. i feel sad.",
         "my bike stole my sister grace at the park. i feel sad."),
        ("anna suddenly burned the table, should i leave?",
         "the table suddenly burned anna, should i leave?"),
        ("i feel sad and someone took something since june.",
         "i feel sad and something took someone since june."),
        ("former mayor tom just closed an old bridge near rome",
         "an old bridge just closed former mayor tom near rome"),
    ],
)  # fmt: skip
def test_doer_and_object_swap_around_the_verb(text, swapped):
    assert swap_around_verb(text) == swapped


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("i feel sad.", "nobody does anything"),
        ("stole my bike.", "nobody does it"),
        ("i feel sad, just stole my bike.", "nobody does it"),
        ("my sister stole.", "no object to swap with"),
        ("my sister stole at the park. my bike", "no object to swap with"),
        ("", "nobody does anything"),
    ],
)
def test_texts_without_two_roles(text, reason):
    assert swap_around_verb(text) == Unmade(reason)


def test_every_probe_stands_in_the_world_and_one_has_its_own_rule():
    assert [p.name for p in WORLD_PROBES] == [p.name for p in PROBES]
    changed = [p.name for p, q in zip(WORLD_PROBES, PROBES, strict=True) if p.rule is not q.rule]
    assert changed == ["original vs reversed roles"]


def test_records_are_those_that_loading_its_files_gives(tmp_path):
    file = tmp_path / "posts.jsonl"
    file.write_bytes(b"".join(post_lines(WORLD, "tldr", 5)))
    loaded = load([str(file)]).posts
    records = post_records(WORLD.posts("tldr", 5))
    assert [post.id for post in records] == loaded["post_id"].tolist()
    assert [post.source_id for post in records] == loaded["source_id"].tolist()
    assert [post.section for post in records] == loaded["section"].tolist()


def test_gold_is_the_true_utility_of_both_domains(items):
    news = post_records(WORLD.posts("cnndm", 2, 7))
    texts = [(items[0].post, "i need advice."), (news[1], "someone made trouble in tokyo."),
             (items[3].post, items[3].summary), (news[0], "zzz")]  # fmt: skip
    wanted = [WORLD.utility(post.source_id, text) for post, text in texts]
    assert world_gold(WORLD)(texts).tolist() == pytest.approx(wanted)
    with pytest.raises(DataError, match="allowed an id of the simulated world"):
        world_gold(WORLD)([(Post("some text"), "a")])


def test_labelers_are_averaged_by_volume_and_side(items):
    crowd = Crowd.draw(WORLD, 13)
    post, a, b = items[0].post, items[0].summary, "i need advice."
    utility = [WORLD.utility(post.source_id, text) for text in (a, b)]
    wanted = 0.0
    for who in range(13):
        left = crowd.prefers_left(who, (utility[0], utility[1]), (len(a), len(b)))
        right = 1 - crowd.prefers_left(who, (utility[1], utility[0]), (len(b), len(a)))
        wanted += crowd.volume[who] * float(left + right) / 2
    share = world_labelers(WORLD, crowd)
    found = share([(post, a, b), (post, b, a), (post, a, a)])
    assert found.tolist() == pytest.approx([wanted, 1 - wanted, 0.5])


def test_what_the_truth_says_of_the_rows(items):
    """By construction: a wrong title says wrong facts, a reversal has pairs no clean text has."""
    gold = world_gold(WORLD)
    table, left_out = probe_table(items, {"truth": gold}, probes=WORLD_PROBES, gold=gold)
    assert table["margin"].tolist() == pytest.approx(table["gold_gap"].tolist())
    rates = table.groupby("probe")["prefers"].mean()
    for name in ("title vs random title", "title vs title twice",
                 'reference vs reference + "What should I do?"',
                 "summary vs another post's summary"):  # fmt: skip
        assert rates[name] == 1, name
    assert rates["original vs reversed roles"] > 0.95
    # Whole sentences in any order are as clean: the truth does not mind.
    assert rates["rand-3 vs shuffled rand-3"] == 0.5
    pairs, again = build(items, WORLD_PROBES)
    assert again == left_out
    assert np.unique([p.probe for p in pairs]).size == len(WORLD_PROBES)
