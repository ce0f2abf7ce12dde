"""What a language model of the world reads before anybody teaches it to summarise.

A document begins with a post as a trainer renders it, and goes on in one of two ways:
    quotes            rounds of them: the pieces of the post that say its facts, alone or a few
                      neighbours together, in any order and other words
    a rough TL;DR     one document in `ROUGH`; the summary is by a careless author

Quotes make it worth learning to copy facts from earlier text and to pass over the decoys, which is
what a summary needs. (Whole stories told again teach it too, at a third of the pace.) No document
has the summary of an average or careful author, so a model that has read only these summarises
worse than the references do. One document in `NEWS_EVERY` is news. A document depends on the
world's seed, its number and the rounds alone.

What may be changed: shares and rounds; shipped base models are then out of date.
tests/simulation/test_corpus.py reads documents by hand.
"""

from __future__ import annotations

import numpy as np

from evalsuite.errors import ConfigError
from evalsuite.simulation.files import sections, texts_of
from evalsuite.simulation.language import DOMAINS, NOTHING, PAD_CLAUSES, WEIGHTS, language
from evalsuite.simulation.plans import N_SLOTS, Plan, garble, say, write
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import (
    AUTHOR_ERRS,
    AUTHOR_GARBLES,
    AUTHOR_KEEPS,
    BLOCK,
    Posts,
    World,
    draw_separators,
)

FIRST_POST = 1 << 20
"""Pretraining reads posts from here on, so that posts below it stay unseen."""

ROUGH = 7
"""One document in so many ends with a careless author's TL;DR."""

NEWS_EVERY = 8
"""One document in so many is news."""

DEED, CUT = 6, 0.4
"""Slots that one sentence of a summary says, and the chance that quotes part two neighbours."""

_STREAM = 20
"""Stream of randomness; the world uses 0 to 3, releases 10 to 14."""


def documents(world: World, count: int, *, start: int = FIRST_POST, rounds: int = 2) -> list[str]:
    """Documents `start` to `start + count` - 1, each about 170 tokens at two rounds of quotes.

    Raises ConfigError for fewer than 1 of either.
    """
    if count < 1 or rounds < 1:
        raise ConfigError(f"count is {count}, rounds {rounds}; allowed 1 or more")
    first, last = start // BLOCK, (start + count - 1) // BLOCK
    out: list[str] = []
    for block in range(first, last + 1):
        stories, news = (_block(world, domain, block, rounds) for domain in DOMAINS)
        out += [
            news[row] if row % NEWS_EVERY == NEWS_EVERY - 1 else stories[row]
            for row in range(BLOCK)
        ]
    return out[start - first * BLOCK :][:count]


def _block(world: World, domain: str, block: int, rounds: int) -> list[str]:
    """The documents of one block of posts, all of one domain."""
    posts = world.posts(domain, BLOCK, block * BLOCK)
    rng = world.rng(_STREAM, list(DOMAINS).index(domain), block)
    quotes = [texts_of(_quoted(posts, rng)) for _ in range(rounds)]
    rough = texts_of(_rough(posts, rng))
    columns = zip(sections(posts), texts_of(posts.title), texts_of(posts.text), strict=True)
    out = []
    for row, (section, title, story) in enumerate(columns):
        if domain == "cnndm":
            text = f"Article:\n{story}"
        else:
            text = f"SUBREDDIT: r/{section}\n\nTITLE: {title}\n\nPOST: {story}"
        if row % ROUGH == 0:
            text += f"\n\nTL;DR: {rough[row]}"
        else:
            text += "".join(f"\n\n{quote[row]}" for quote in quotes)
        out.append(text)
    return out


def _quoted(posts: Posts, rng: np.random.Generator) -> Ragged:
    """The pieces of a post in any wording, runs of neighbours in any order, a stop after each.

    Who did what where since when is cut at random into runs: a name by itself could be copied
    from nowhere but its neighbours in the post, so it often comes with them.
    """
    n = len(posts)
    wording = rng.integers(3, size=(n, N_SLOTS)).astype(np.int8)
    pieces = [say(posts.domain, s, posts.facts[:, s], wording[:, s]) for s in range(N_SLOTS)]
    cut = rng.random((n, N_SLOTS)) < CUT
    cut[:, DEED - 1 :] = True
    run = np.concatenate([np.zeros((n, 1), dtype=np.int64), cut.cumsum(axis=1)[:, :-1]], axis=1)
    width = max(piece.shape[1] for piece in pieces) + 1
    stack = np.full((n, N_SLOTS, width), NOTHING, dtype=np.int16)
    for slot, piece in enumerate(pieces):
        stack[:, slot, : piece.shape[1]] = piece
        if slot < N_SLOTS - 1:  # the last piece has its own mark
            stack[:, slot, -1] = np.where(cut[:, slot], language().ids["."], NOTHING)
    place = np.take_along_axis(rng.random((n, N_SLOTS)).argsort(axis=1), run, axis=1)
    order = (place * N_SLOTS + np.arange(N_SLOTS)).argsort(axis=1)
    stack = np.take_along_axis(stack, order[:, :, None], axis=1)
    return Ragged.from_matrix(stack.reshape(n, -1))


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
