"""What a language model of the world reads before anybody teaches it to summarise.

A document is one of two kinds:
    a story told several times   the post as a trainer renders it, then the same facts told again
                                 in other words, other order and among other decoys
    a post with a rough TL;DR    one document in `ROUGH`; the summary is by a careless author

Telling a story again is what makes copying of facts from earlier text worth learning; no document
has the summary of an average or careful author, so a model that has read only these summarises
worse than the references do. One document in `NEWS_EVERY` is news. A document depends on the
world's seed, its number and the number of tellings alone.

What may be changed: the shares and the number of tellings; shipped base models are then out of
date. tests/simulation/test_corpus.py reads documents by hand.
"""

from __future__ import annotations

import numpy as np

from evalsuite.errors import ConfigError
from evalsuite.simulation.files import sections, texts_of
from evalsuite.simulation.language import DOMAINS, NOTHING, PAD_CLAUSES, WEIGHTS, language
from evalsuite.simulation.plans import N_SLOTS, Plan, garble, write
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import (
    AUTHOR_ERRS,
    AUTHOR_GARBLES,
    AUTHOR_KEEPS,
    BLOCK,
    Posts,
    World,
    draw_separators,
    write_posts,
)

FIRST_POST = 1 << 20
"""Pretraining reads posts from here on, so that posts below it stay unseen."""

ROUGH = 7
"""One document in so many ends with a careless author's TL;DR."""

NEWS_EVERY = 8
"""One document in so many is news."""

_STREAM = 20
"""Stream of randomness; the world uses 0 to 3, releases 10 to 14."""


def documents(world: World, count: int, *, start: int = FIRST_POST, tellings: int = 3) -> list[str]:
    """Documents `start` to `start + count` - 1, each about 270 tokens at three tellings.

    tellings: times a story is told. Raises ConfigError for fewer than 1 of either.
    """
    if count < 1 or tellings < 1:
        raise ConfigError(f"count is {count}, tellings {tellings}; allowed 1 or more")
    first, last = start // BLOCK, (start + count - 1) // BLOCK
    out: list[str] = []
    for block in range(first, last + 1):
        stories = _block(world, "tldr", block, tellings)
        news = _block(world, "cnndm", block, tellings)
        out += [
            news[row] if row % NEWS_EVERY == NEWS_EVERY - 1 else stories[row]
            for row in range(BLOCK)
        ]
    return out[start - first * BLOCK :][:count]


def _block(world: World, domain: str, block: int, tellings: int) -> list[str]:
    """The documents of one block of posts, all of one domain."""
    posts = world.posts(domain, BLOCK, block * BLOCK)
    rng = world.rng(_STREAM, list(DOMAINS).index(domain), block)
    first, *others = [
        texts_of(posts.text),
        *(texts_of(_told_again(posts, rng)) for _ in range(tellings - 1)),
    ]
    rough = texts_of(_rough(posts, rng))
    out = []
    for row, (section, title) in enumerate(
        zip(sections(posts), texts_of(posts.title), strict=True)
    ):
        if domain == "cnndm":
            text = f"Article:\n{first[row]}"
        else:
            text = f"SUBREDDIT: r/{section}\n\nTITLE: {title}\n\nPOST: {first[row]}"
        if row % ROUGH == 0:
            text += f"\n\nTL;DR: {rough[row]}"
        else:
            text += "".join(f"\n\nPOST: {again[row]}" for again in others)
        out.append(text)
    return out


def _told_again(posts: Posts, rng: np.random.Generator) -> Ragged:
    """The same facts in new wordings, sentences in a new order, among new decoys."""
    n = len(posts)
    decoys = np.empty_like(posts.decoys)
    for slot in range(N_SLOTS):
        values = language().values(posts.domain, slot)
        drawn = values[rng.integers(len(values), size=n)]
        decoys[:, slot] = np.where(drawn == posts.facts[:, slot], posts.decoys[:, slot], drawn)
    wording = rng.integers(3, size=(n, N_SLOTS)).astype(np.int8)
    return write_posts(posts.domain, posts.facts, decoys, wording, rng)[0]


def _rough(posts: Posts, rng: np.random.Generator) -> Ragged:
    """Summaries as careless authors write them."""
    n = len(posts)
    odds = np.log(AUTHOR_KEEPS[0] / (1 - AUTHOR_KEEPS[0])) + posts.difficulty[:, None]
    kept = rng.random((n, N_SLOTS)) < 1 / (1 + np.exp(-odds - 0.6 * (WEIGHTS - WEIGHTS.mean())))
    wrong = rng.random((n, N_SLOTS)) < AUTHOR_ERRS[0]
    plan = Plan(
        said=np.where(kept, np.where(wrong, posts.decoys, posts.facts), NOTHING).astype(np.int16),
        wording=rng.integers(3, size=(n, N_SLOTS)).astype(np.int8),
        pads=rng.random((n, PAD_CLAUSES)) < 0.08,
        again=np.zeros(n, dtype=bool),
        separator=draw_separators(n, rng),
    )
    slips = (rng.random(n) < AUTHOR_GARBLES[0]).astype(np.int64)
    return garble(write(posts.domain, plan), slips, posts.domain, rng)
