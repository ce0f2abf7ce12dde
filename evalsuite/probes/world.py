"""The simulated world's side of probes: its posts, its reversal of roles, its truth and labelers.

In the world somebody does something to something of the writer's: "my sister stole my bike". The
reversal swaps the two around the verb, "my bike stole my sister": every word stays, so a bag of
words sees nothing, and the truth counts the pairs of words that no clean text has. Posts are known
by `source_id`, the world's id of them. Proof: tests/probes/test_probes_of_the_world.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evalsuite.probes.library import PROBES
from evalsuite.probes.probe import Item, Sides, Unmade
from evalsuite.records import Post
from evalsuite.simulation import Crowd, Posts, World
from evalsuite.simulation.files import sections, texts_of, world_ids
from evalsuite.simulation.language import DOMAINS, SLOTS, language
from evalsuite.simulation.ragged import Ragged

Floats = NDArray[np.float64]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_ADVERBS = {"just", "suddenly"}
_OBJECT_WORDS = 3
"""Words of the longest object, "my own bike"."""


def post_records(posts: Posts) -> list[Post]:
    """Posts of the world as records, as `evalsuite.datasets.load` makes them of `post_lines`."""
    columns = zip(
        posts.ids, texts_of(posts.text), texts_of(posts.title), sections(posts), strict=True
    )
    return [
        Post(text, title, section, posts.domain, identity)
        for identity, text, title, section in columns
    ]


def swap_around_verb(text: str) -> str | Unmade:
    """The text of the world with doer and object in each other's place; every word is kept."""
    found = list(_TOKEN.finditer(text))
    words = [match[0].lower() for match in found]
    slot = [_slot(word) for word in words]
    acts = {domain.no_act for domain in DOMAINS.values()}
    things = {domain.no_object for domain in DOMAINS.values()}
    verb = next((i for i, w in enumerate(words) if slot[i] == "act" or w in acts), None)
    if verb is None:
        return Unmade("nobody does anything")
    begin = verb - 1 if verb and words[verb - 1] in _ADVERBS else verb
    first = begin
    while first and words[first - 1].isalnum() and words[first - 1] != "and":
        first -= 1
    if first == begin:
        return Unmade("nobody does it")
    last = verb
    reach = range(verb + 1, min(verb + 1 + _OBJECT_WORDS, len(words)))
    last = next((i for i in reach if slot[i] == "object" or words[i] in things), verb)
    if last == verb:
        return Unmade("no object to swap with")
    doer = text[found[first].start() : found[begin - 1].end()]
    deed = text[found[begin].start() : found[verb].end()]
    thing = text[found[verb + 1].start() : found[last].end()]
    head, tail = text[: found[first].start()], text[found[last].end() :]
    return f"{head}{thing} {deed} {doer}{tail}"


def _slot(word: str) -> str:
    known = language()
    slot = int(known.slot_of[known.ids.get(word, known.unknown)])
    return SLOTS[slot] if slot >= 0 else ""


def reversed_roles(item: Item, rng: np.random.Generator) -> Sides | Unmade:
    """The summary with doer and object swapped around the verb."""
    other = swap_around_verb(item.summary)
    return other if isinstance(other, Unmade) else Sides(item.summary, other)


WORLD_PROBES = tuple(
    replace(
        probe, rule=reversed_roles, about="who did it and what it was done to swap around the verb"
    )
    if probe.name == "original vs reversed roles"
    else probe
    for probe in PROBES
)
"""All probes, the reversal of roles being the world's."""


def world_gold(world: World) -> Callable[[Sequence[tuple[Post, str]]], Floats]:
    """True utility (n,) of n texts on posts of the world.

    The function raises DataError for a post that is not of the world.
    """

    def gold(texts: Sequence[tuple[Post, str]]) -> Floats:
        out = np.empty(len(texts))
        ids = world_ids([post.source_id or post.id for post, _ in texts], {})
        facts = {identity: world.post(identity) for identity in set(ids)}
        for domain in DOMAINS:
            rows = [i for i, identity in enumerate(ids) if facts[identity].domain == domain]
            if rows:
                said = Ragged.from_rows([language().encode(texts[i][1]) for i in rows])
                known = np.concatenate([facts[ids[i]].facts for i in rows])
                out[rows] = world.utilities(known, said, domain)
        return out

    return gold


def world_labelers(
    world: World, crowd: Crowd
) -> Callable[[Sequence[tuple[Post, str, str]]], Floats]:
    """Share (n,) of simulated labelers that prefer the first of two texts, in closed form.

    Labelers by their volume of work, at the middle of it, each text on either side half the time.
    """
    gold = world_gold(world)
    who = np.arange(len(crowd))[None, :]

    def share(asked: Sequence[tuple[Post, str, str]]) -> Floats:
        both = gold([(post, text) for post, a, b in asked for text in (a, b)])
        size = np.array([len(text.strip()) for _, a, b in asked for text in (a, b)])
        utility, chars = both.reshape(-1, 2, 1), size.reshape(-1, 2, 1)
        here = (utility[:, 0], utility[:, 1]), (chars[:, 0], chars[:, 1])
        first = crowd.prefers_left(who, *here)
        second = 1 - crowd.prefers_left(who, here[0][::-1], here[1][::-1])
        return np.asarray((first + second) / 2 @ crowd.volume)

    return share
