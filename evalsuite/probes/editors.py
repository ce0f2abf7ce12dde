"""Edits that improve a summary (Table 17), by an editor who knows the facts of the world's post.

    shorter   leaves out the clauses or few words whose loss gains most: an error, a garble, padding
    longer    adds the missing fact that gains most, in the post's own words, where it reads well

An edit is one step, gains at least `GAIN` of true utility, and brings no garble, repetition or
error; a shorter one loses no right fact, and a text that ended with a mark still does. Summaries
that no such step improves are counted. Proof: tests/probes/test_editors.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from evalsuite.probes.human_edits import LONGER, SHORTER, kind
from evalsuite.probes.probe import Item, Pair
from evalsuite.simulation import Posts, World
from evalsuite.simulation.files import world_ids
from evalsuite.simulation.language import DOMAINS, SLOTS, language
from evalsuite.simulation.plans import say
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import parts_of

GAIN = 0.25
"""Least gain of true utility that makes an edit: half the smallest fact, or half a garble."""

FEW = 4
"""Words that can be left out inside a clause: a detail, or a garble; else whole clauses."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MARKS = (".", "?", "!")
_BETWEEN = (*_MARKS, ",", "and")
_JOINTS: tuple[tuple[str, ...], ...] = ((), (",",), ("and",), (".",))
_DOER = SLOTS.index("place")
"""Slots before this one say who did what; they go where a gap is, the others between clauses."""

Words = tuple[str, ...]


def world_edits(world: World, items: Sequence[Item]) -> tuple[list[Pair], dict[str, int]]:
    """The shorter and the longer edit of each item's summary, and items left out by reason.

    Raises DataError for a post that is not of the world.
    """
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for item in items:
        post = world.post(world_ids([item.post.source_id or item.post.id], {})[0])
        for name, edit in _EDITS.items():
            text = edit(world, post, item.summary)
            if text is None:
                left_out[f"{name}: no edit gains enough"] += 1
            elif kind(item.summary, text) != name:
                left_out[f"{name}: the better text is not of that length"] += 1
            else:
                pairs.append(Pair(name, item.post, text, item.summary.strip()))
    return pairs, dict(left_out)


def shorter(world: World, post: Posts, text: str) -> str | None:
    """The text without the clauses or the few words whose loss gains most, or None."""
    words = tuple(_TOKEN.findall(text))
    joints = [i for i, word in enumerate(words) if word in _BETWEEN]
    bounds = {0, len(words), *joints, *(i + 1 for i in joints)}
    texts = [
        words[:i] + words[j:]
        for i in range(len(words))
        for j in range(i + 1, len(words) + 1)
        if (j - i <= FEW or (i in bounds and j in bounds))
        and any(word[0].isalnum() for word in words[i:j])
        and j - i < len(words)
    ]
    return _best(world, post, words, texts)


def longer(world: World, post: Posts, text: str) -> str | None:
    """The text with the missing fact that gains most and makes it longer, or None."""
    words = tuple(_TOKEN.findall(text))
    said = set(language().encode(text).tolist())
    texts: list[Words] = []
    for slot in range(len(SLOTS)):
        fact = post.facts[:, slot]
        if int(fact[0]) not in said:
            piece = say(post.domain, slot, fact, post.wording[:, slot])[0]
            fresh = tuple(language().words[i] for i in piece.tolist() if i >= 0)
            put = _in_gaps if slot < _DOER else _between
            texts += put(words, fresh, slot, post.domain)
    size = len(joined(words))
    return _best(world, post, words, [one for one in texts if len(joined(one)) > size])


_EDITS: dict[str, Callable[[World, Posts, str], str | None]] = {SHORTER: shorter, LONGER: longer}


def _in_gaps(words: Words, fresh: Words, slot: int, domain: str) -> Iterator[Words]:
    """Who, name, act or object in the place of "someone", "took" or "something".

    A relation may also stand before a name, and a name after a relation.
    """
    stock = DOMAINS[domain]
    gap = (stock.nobody, stock.nobody, stock.no_act, stock.no_object)[slot]
    known = language()
    for at, word in enumerate(words):
        has = int(known.slot_of[known.ids.get(word.lower(), known.unknown)])
        if word.lower() == gap:
            yield words[:at] + fresh + words[at + 1 :]
        elif slot == 0 and has == 1:
            yield words[:at] + fresh + words[at:]
        elif slot == 1 and has == 0:
            yield words[: at + 1] + fresh + words[at + 1 :]


def _between(words: Words, fresh: Words, slot: int, domain: str) -> Iterator[Words]:
    """A place, time or clause anywhere, with or without a joint before or after it."""
    for at in range(len(words) + 1):
        for joint in _JOINTS:
            yield words[:at] + joint + fresh + words[at:]
            if joint:
                yield words[:at] + fresh + joint + words[at:]


def _best(world: World, post: Posts, words: Words, texts: list[Words]) -> str | None:
    """The first of the allowed texts of most utility, if it is `GAIN` above that of the words."""
    if not texts:
        return None
    if words[-1] in _MARKS:
        texts = [text if text[-1] in _MARKS else (*text, ".") for text in texts]
    known = language()
    rows = [[known.ids.get(w.lower(), known.unknown) for w in text] for text in (words, *texts)]
    parts = parts_of(np.repeat(post.facts, len(rows), axis=0), Ragged.from_rows(rows))
    utility = world.value(parts, post.domain)
    allowed = utility >= utility[0] + GAIN - 1e-9
    for bad in (parts.garbled, parts.repetitions, parts.contradictions):
        allowed &= bad <= bad[0]
    allowed &= parts.coverage >= parts.coverage[0]
    best = int(np.argmax(np.where(allowed, utility, -np.inf)))
    return joined(texts[best - 1]) if allowed[best] else None


def joined(words: Words) -> str:
    """Words and marks as one text: a space before each word, none before a mark."""
    return "".join(w if not w[0].isalnum() else f" {w}" for w in words).strip()
