"""The world: posts in their bounds, facts recovered, utilities worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalsuite.errors import ConfigError
from evalsuite.simulation.language import SLOTS, WEIGHTS, language, tokenise
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import BLOCK, Posts, World, characters, post_id, post_index

FACTS = ["sister", "anna", "stole", "bike", "office", "monday", "angry", "talking", "forgive"]


def post_of(domain: str = "tldr", facts: list[str] = FACTS) -> Posts:
    ids = np.array([[language().ids[f] for f in facts]], dtype=np.int16)
    return replace(World(0).posts(domain, 1), facts=ids)


@pytest.mark.parametrize(
    ("text", "utility"),
    [
        # All facts: 1+.5+1+1+.5+.5+1+.75+1 = 7.25; 24 tokens, 2 over 22: -.2.
        ("my sister anna stole my bike at the office since monday, i feel angry, i tried talking, "
         "should i forgive?", 7.25 - 0.2),
        # relation, act, object: 3; "my sister stole my bike ." has 6 tokens, 2 under 8: -.2.
        ("my sister stole my bike.", 3 - 0.2),
        # brother is wrong: act + object = 2, -.5, 2 tokens short.
        ("my brother stole my bike.", 2 - 0.5 - 0.2),
        # Right and wrong name: 1 + .5 + 1 + 1, one contradiction; "anna ben" and "ben stole":
        # the first pair is never clean, the second is; 8 tokens.
        ("my sister anna ben stole my bike.", 3.5 - 0.5 - 0.5),
        # "sister my" and "my stole" are garbled; relation + act; 5 tokens with the stop, 3 short;
        # "stole ." occurs nowhere: garbled too.
        ("sister my stole.", 2 - 1.5 - 0.4),
        # "i feel angry" comes twice, its fact counts once; 8 tokens: i feel angry , i feel angry .
        ("i feel angry, i feel angry.", 1 - 0.5),
        # Four triples more than the first "so so so"; "so so" is no clean pair: 6 times garbled;
        # one token short.
        ("so so so so so so so", -0.5 * 4 - 0.5 * 6 - 0.1),
        # Nothing known: 1 pair of unknown words, 2 tokens, 6 short.
        ("zyzzy qwert", -0.5 - 0.6),
        ("", -0.8),
        # Case and white space carry nothing.
        ("  My SISTER   stole my bike .", 3 - 0.2),
    ],
)  # fmt: skip
def test_utility_by_hand(text: str, utility: float) -> None:
    assert World(0).utility(post_of(), text) == pytest.approx(utility, abs=1e-12)


def test_token_counts_of_the_examples() -> None:
    full = ("my sister anna stole my bike at the office since monday, i feel angry, i tried "
            "talking, should i forgive?")  # fmt: skip
    assert len(tokenise(full)) == 24
    assert len(tokenise("my sister stole my bike.")) == 6


def test_news_allows_longer_summaries() -> None:
    facts = ["mayor", "anna", "closed", "bridge", "rome", "monday", "angry", "talking", "sue"]
    text = "the mayor anna closed the bridge in rome, critics may sue."
    # relation, name, act, object, place, request: 1+.5+1+1+.5+1 = 5; 13 tokens, 7 under 20.
    assert World(0).utility(post_of("cnndm", facts), text) == pytest.approx(5 - 0.7)


def test_contradictions_can_cost_more() -> None:
    world = World(0, contradiction_cost=1.5)
    assert world.utility(post_of(), "my brother stole my bike.") == pytest.approx(2 - 1.5 - 0.2)


@pytest.mark.parametrize(("domain", "words"), [("tldr", 100), ("cnndm", 130)])
def test_posts_are_short_and_tell_every_fact_once(domain: str, words: int) -> None:
    lang, posts = language(), World(1).posts(domain, 3000)
    is_word = np.array([w[0].isalnum() for w in lang.words])
    counts = np.bincount(posts.text.row, is_word[posts.text.tokens])
    assert counts.max() < words
    if domain == "tldr":
        assert 65 <= posts.text.lengths.mean() <= 85
    for slot in range(len(SLOTS)):
        said = posts.text.tokens == posts.facts[posts.text.row, slot]
        assert (np.bincount(posts.text.row[said], minlength=len(posts)) == 1).all()
    assert (posts.facts != posts.decoys).all()


def test_references_are_about_as_long_as_simulated_readers_want() -> None:
    posts = World(1).posts("tldr", 2000)
    assert 18 <= posts.reference.lengths.mean() <= 26
    news = World(1).posts("cnndm", 2000)
    assert characters(news.reference).mean() > 1.5 * characters(posts.reference).mean()


def test_careful_authors_write_better_references() -> None:
    world = World(2)
    posts = world.posts("tldr", 6000)
    utility = world.utilities(posts.facts, posts.reference, "tldr")
    means = [utility[posts.author == care].mean() for care in range(3)]
    assert means[0] + 0.5 < means[1] < means[2] - 0.5


def test_a_post_does_not_depend_on_what_else_is_drawn() -> None:
    few = World(7).posts("tldr", 3, start=BLOCK - 1)
    many = World(7).posts("tldr", 4 * BLOCK).take(np.arange(3) + BLOCK - 1)
    texts = [p.text.texts(language().spaced) for p in (few, many)]
    assert texts[0] == texts[1]
    assert few.sentences.shape == many.sentences.shape
    assert few.reference.tokens.tolist() == many.reference.tokens.tolist()
    other = World(8).posts("tldr", 3, start=BLOCK - 1)
    assert other.text.texts(language().spaced) != texts[0]


@pytest.mark.parametrize("domain", ["tldr", "cnndm"])
def test_facts_come_back_from_the_id(domain: str) -> None:
    world = World(5)
    posts = world.posts(domain, 300)
    for row in (0, 17, 299):
        one = World(5).post(posts.ids[row])
        assert one.facts.tolist() == posts.facts[[row]].tolist()
        text = posts.reference.texts(language().spaced)[row]
        known = world.utilities(posts.facts, posts.reference, domain)[row]
        assert world.utility(posts.ids[row], text) == pytest.approx(known, abs=1e-12)


def test_ids_look_like_the_release() -> None:
    assert post_id("tldr", 36 * 36 + 5) == "t3_000105"
    assert post_index("t3_000105") == ("tldr", 1301)
    assert len(post_id("cnndm", 9)) == 40
    assert post_index(post_id("cnndm", 9)) == ("cnndm", 9)


@pytest.mark.parametrize("identity", ["t3_!", "zz", "0000", "t4_abc", "00000009" + "0" * 32])
def test_foreign_ids_are_refused(identity: str) -> None:
    with pytest.raises(ConfigError, match="allowed an id of the simulated world"):
        World(0).post(identity)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is -1; allowed 0 or more"):
        World(-1)


def test_sentences_bound_the_text() -> None:
    posts = World(6).posts("tldr", 600).take([5, 300, 599])
    assert (np.diff(posts.sentences, axis=1) >= 0).all()
    assert posts.sentences[:, 0].tolist() == posts.text.offsets[:-1].tolist()
    assert posts.sentences[:, -1].tolist() == posts.text.offsets[1:].tolist()
    ends = {language().ids["."], language().ids["?"]}
    for bounds in posts.sentences:
        assert {int(posts.text.tokens[b - 1]) for b in bounds[1:]} <= ends


def test_news_tells_the_facts_before_the_decoys() -> None:
    posts = World(6).posts("cnndm", 300)
    where = np.arange(len(posts.text.tokens)) - np.repeat(
        posts.text.offsets[:-1], posts.text.lengths
    )
    row = posts.text.row
    for slot in (5, 6, 7):
        fact = where[posts.text.tokens == posts.facts[row, slot]]
        for decoy in range(len(SLOTS)):
            at = posts.text.tokens == posts.decoys[row, decoy]
            assert (where[at] > fact[row[at]]).all()


def test_characters_count_the_stripped_text() -> None:
    posts = World(1).posts("tldr", 200)
    texts = posts.reference.texts(language().spaced)
    assert characters(posts.reference).tolist() == [len(t.strip()) for t in texts]
    odd = Ragged.from_rows([language().encode(", my sister"), []])
    assert characters(odd).tolist() == [len(", my sister"), 0]


def test_weights_add_up() -> None:
    assert WEIGHTS.sum() == 7.25
