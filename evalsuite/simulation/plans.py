"""From facts to words: what a summary says is a plan of arrays, which is written as tokens.

A `Plan` holds n summaries as arrays, so that a hundred thousand are drawn and written at once.
Posts and summaries share the pieces of `language`; a summary that takes the post's own wordings
overlaps with it. tests/simulation/test_plans.py writes plans by hand and compares the text.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalsuite.simulation.language import (
    DOMAINS,
    NOTHING,
    PAD_CLAUSES,
    SLOTS,
    VALUE,
    Ints,
    Tokens,
    language,
)
from evalsuite.simulation.ragged import Ragged

N_SLOTS = len(SLOTS)
SEPARATORS = PAD_CLAUSES + 4
"""Places between clauses: two facts, the pads, a clause said again, the request."""
_CLAUSES = (6, 7)
"""Slots that are clauses of their own before the closing one: feeling, tried."""


class Plan(NamedTuple):
    """What n summaries say.

    said: (n, 9) the value word of each fact, NOTHING where it is left out. wording: (n, 9) which
    of three wordings. pads: (n, 4) clauses without facts. again: (n,) whether a clause is said
    twice. separator: (n, 8) 0 ",", 1 "and", 2 "." before each later clause.
    """

    said: Tokens
    wording: NDArray[np.int8]
    pads: NDArray[np.bool_]
    again: NDArray[np.bool_]
    separator: NDArray[np.int8]


@cache
def _tables(domain: str) -> tuple[Tokens, ...]:
    """For each slot its three wordings as a (3, width) table of patterns."""
    return tuple(language().table(piece) for piece in DOMAINS[domain].pieces)


def say(domain: str, slot: int, said: Tokens, wording: NDArray[np.int8]) -> Tokens:
    """(n, width) tokens of one piece; rows whose fact is left out are NOTHING throughout."""
    pattern = _tables(domain)[slot][wording]
    tokens = np.where(pattern == VALUE, said[:, None], pattern)
    tokens[said == NOTHING] = NOTHING
    return tokens


def _when(rows: NDArray[np.bool_], text: str) -> Tokens:
    """(n, width): the tokens of a fixed text in the rows that hold, NOTHING elsewhere."""
    ids = language().pattern(text)
    return np.where(rows[:, None], ids[None, :], np.int16(NOTHING)).astype(np.int16)


def write(domain: str, plan: Plan) -> Ragged:
    """The plans as tokens.

    One sentence for who did what where and since when (gaps filled with "someone", "took",
    "something"), then a clause each for the feeling, what was tried, the clauses without facts,
    a clause said again, the request. A plan that says nothing becomes a stock phrase.
    """
    words = DOMAINS[domain]
    has = plan.said != NOTHING
    told = has[:, :6].any(axis=1)
    nobody = told & ~has[:, 0] & ~has[:, 1]
    deed = has[:, 2] | has[:, 3]
    piece = [say(domain, s, plan.said[:, s], plan.wording[:, s]) for s in range(N_SLOTS)]
    blocks = [
        _when(nobody, words.nobody), piece[0], piece[1],
        _when(told & ~has[:, 2] & has[:, 3], words.no_act), piece[2],
        _when(told & has[:, 2] & ~has[:, 3], words.no_object), piece[3],
        _when(told & ~deed, words.no_deed), piece[4], piece[5],
    ]  # fmt: skip
    begun = told.copy()
    ids = language().ids
    separators = np.array([ids[","], ids["and"], ids["."]], dtype=np.int16)

    def clause(rows: NDArray[np.bool_], tokens: Tokens, number: int) -> None:
        nonlocal begun
        mark = np.where(rows & begun, separators[plan.separator[:, number]], NOTHING)
        blocks.extend([mark[:, None].astype(np.int16), tokens])
        begun = begun | rows

    for number, slot in enumerate(_CLAUSES):
        clause(has[:, slot], piece[slot], number)
    for pad in range(PAD_CLAUSES):
        rows = plan.pads[:, pad]
        clause(rows, _when(rows, words.pads[pad]), 2 + pad)
    # Only the feeling is ever said again; a summary without it repeats nothing.
    again = plan.again & has[:, 6]
    clause(again, np.where(again[:, None], piece[6], NOTHING).astype(np.int16), SEPARATORS - 2)
    clause(has[:, 8], piece[8], SEPARATORS - 1)
    empty = ~begun
    blocks.append(_when(empty, words.empty))
    blocks.append(_when(~has[:, 8], "."))
    return Ragged.from_matrix(np.concatenate(blocks, axis=1))


def garble(text: Ragged, events: Ints, domain: str, rng: np.random.Generator) -> Ragged:
    """Texts with `events` (n,) slips each: a word swaps with the next or becomes any other."""
    tokens = text.tokens.copy()
    starts, lengths = text.offsets[:-1], text.lengths
    words = domain_words(domain)
    for event in range(int(events.max(initial=0))):
        rows = np.flatnonzero((events > event) & (lengths > 1))
        at = starts[rows] + (rng.random(len(rows)) * (lengths[rows] - 1)).astype(np.int64)
        swap = rng.random(len(rows)) < 0.5
        random_words = words[rng.integers(len(words), size=len(rows))]
        first, second = tokens[at].copy(), tokens[at + 1].copy()
        tokens[at] = np.where(swap, second, random_words)
        tokens[at + 1] = np.where(swap, first, second)
    return Ragged(tokens, text.offsets)


@cache
def domain_words(domain: str) -> Tokens:
    """Ids of all words that can appear in a domain, sorted."""
    lang, words = language(), DOMAINS[domain]
    found = {w for values in words.values for w in values}
    for pattern in lang.patterns_of(words):
        found.update(w for w in pattern.split() if w[0] not in "[{")
    return np.array(sorted(lang.ids[w] for w in found if w[0].isalpha()), dtype=np.int16)
