"""The world: posts made from hidden facts, their references, and the true utility of any text.

True utility of a summary of a post =
    coverage            weights (`language.WEIGHTS`) of the facts it says rightly
    - c * contradictions   distinct words it says for a fact that are not the fact (decoys too)
    - .5 * garbled         word pairs that no clean text of the world has
    - .5 * repetitions     runs of three words it has said before
    - .1 * tokens above or below the domain's lengths (TL;DR 8 to 22, news 20 to 60)

c is .5. That is a choice, made so that a small reward model can learn the utility: at 1.5 the
utility is mostly fact-checking, which small models hardly learn. A world where errors weigh more
is `World(seed, contradiction_cost=...)`.

Posts are drawn in blocks whose randomness depends on the seed, the domain and the block alone, so
post 17 is the same whatever else is drawn, and `World(seed).post(id)` gives the facts back.
tests/simulation/test_world.py scores summaries by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import ConfigError
from evalsuite.simulation.language import (
    DOMAINS,
    NOTHING,
    PAD_CLAUSES,
    SLOTS,
    VALUE,
    WEIGHTS,
    Ints,
    Tokens,
    language,
)
from evalsuite.simulation.plans import N_SLOTS, SEPARATORS, Plan, garble, say, write
from evalsuite.simulation.ragged import Ragged

Floats = NDArray[np.float64]

BLOCK = 256
"""Posts drawn together; changing it changes every post."""

AUTHOR_KEEPS = (0.45, 0.66, 0.85)
AUTHOR_ERRS = (0.15, 0.08, 0.03)
AUTHOR_GARBLES = (0.25, 0.10, 0.02)
AUTHOR_PADS = {"tldr": 0.08, "cnndm": 0.45}
AUTHOR_SHARES = (0.25, 0.45, 0.30)
"""Authors of three cares: chance to keep a fact, to get a kept one wrong, to garble, shares."""


@dataclass(frozen=True, eq=False)
class Posts:
    """n posts as arrays. All facts and decoys are token ids; number counts posts of the domain.

    facts, decoys: (n, 9). wording: (n, 9) the post's own wordings. difficulty: (n,) added to the
    log odds of keeping a fact, the same for everybody who summarises the post. author: (n,)
    0 careless, 1 average, 2 careful. sentences: flat bounds of sentences in `text.tokens`,
    (n, S + 1). reference: what the author wrote.
    """

    domain: str
    number: Ints
    facts: Tokens
    decoys: Tokens
    wording: NDArray[np.int8]
    difficulty: Floats
    author: Ints
    text: Ragged
    sentences: Ints
    title: Ragged
    reference: Ragged

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: ArrayLike) -> Posts:
        """The named posts, in that order, repeats allowed."""
        rows = np.asarray(rows, dtype=np.int64)
        text = self.text.take(rows)
        shift = text.offsets[:-1] - self.text.offsets[rows]
        return Posts(
            self.domain, self.number[rows], self.facts[rows], self.decoys[rows],
            self.wording[rows], self.difficulty[rows], self.author[rows], text,
            self.sentences[rows] + shift[:, None], self.title.take(rows),
            self.reference.take(rows),
        )  # fmt: skip

    @property
    def ids(self) -> list[str]:
        """Ids as the release has them; the number can be read back from them."""
        return [post_id(self.domain, int(i)) for i in self.number]


def post_id(domain: str, index: int) -> str:
    """`t3_` and the index in base 36 (TL;DR), or 40 hex digits that begin with the index (news)."""
    if domain == "tldr":
        digits, rest = "", index
        while rest or not digits:
            rest, digit = divmod(rest, 36)
            digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        return f"t3_{digits:0>6}"
    return f"{index:08x}" + hashlib.blake2b(str(index).encode(), digest_size=16).hexdigest()


def post_index(identity: str) -> tuple[str, int]:
    """Domain and index of a post id.

    Raises ConfigError for an id that no world gives.
    """
    try:
        if identity.startswith("t3_"):
            return "tldr", int(identity[3:], 36)
        index = int(identity[:8], 16)
    except ValueError:
        index = -1
    if index < 0 or identity != post_id("cnndm", index):
        raise ConfigError(f"post id is {identity!r}; allowed an id of the simulated world")
    return "cnndm", index


class World:
    """A world by its seed; see the module docstring for what is true in it.

    contradiction_cost: c of the utility.

    Raises ConfigError for a negative seed.
    """

    def __init__(self, seed: int = 0, *, contradiction_cost: float = 0.5) -> None:
        if seed < 0:
            raise ConfigError(f"seed is {seed}; allowed 0 or more")
        self.seed, self.contradiction_cost = seed, contradiction_cost
        self._blocks: dict[tuple[str, int], Posts] = {}

    def rng(self, *key: int) -> np.random.Generator:
        """The generator of one concern: keys that differ give independent streams."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def posts(self, domain: str, n: int, start: int = 0) -> Posts:
        """Posts `start` to `start + n` - 1 of a domain, n >= 1."""
        first, last = start // BLOCK, (start + n - 1) // BLOCK
        parts = [self._block(domain, block) for block in range(first, last + 1)]
        return _join(parts).take(np.arange(n) + start - first * BLOCK)

    def post(self, identity: str) -> Posts:
        """One post (n = 1) by its id."""
        domain, index = post_index(identity)
        return self.posts(domain, 1, index)

    def _block(self, domain: str, block: int) -> Posts:
        key = (domain, block)
        if key not in self._blocks:
            if len(self._blocks) > 512:
                self._blocks.clear()
            rng = self.rng(0, list(DOMAINS).index(domain), block)
            self._blocks[key] = _draw(domain, np.arange(BLOCK) + block * BLOCK, rng)
        return self._blocks[key]

    def utilities(self, facts: Tokens, text: Ragged, domain: str) -> Floats:
        """True utility of n token rows whose posts have `facts` (n, 9); shape (n,)."""
        return self.value(parts_of(facts, text), domain)

    def value(self, parts: Parts, domain: str) -> Floats:
        """True utility of texts that have been read; the formula of the module docstring."""
        low, high = DOMAINS[domain].lengths
        outside = np.maximum(parts.tokens - high, 0) + np.maximum(low - parts.tokens, 0)
        return np.asarray(
            parts.coverage
            - self.contradiction_cost * parts.contradictions
            - 0.5 * parts.garbled
            - 0.5 * parts.repetitions
            - 0.1 * outside
        )

    def utility(self, post: Posts | str, text: str) -> float:
        """True utility of any text as a summary of one post (an id or `Posts` of one)."""
        one = self.post(post) if isinstance(post, str) else post
        encoded = Ragged.from_rows([language().encode(text)])
        return float(self.utilities(one.facts, encoded, one.domain)[0])


class Parts(NamedTuple):
    """What the utility of n texts is made of; each (n,)."""

    coverage: Floats
    contradictions: Ints
    garbled: Ints
    repetitions: Ints
    tokens: Ints

    def take(self, rows: Ints) -> Parts:
        """The named texts, in that order, repeats allowed."""
        return Parts(
            self.coverage[rows], self.contradictions[rows], self.garbled[rows],
            self.repetitions[rows], self.tokens[rows],
        )  # fmt: skip


def parts_of(facts: Tokens, text: Ragged) -> Parts:
    """Read n token rows back: facts said rightly and wrongly, garbled pairs, repeated triples."""
    lang = language()
    n, row, tokens = len(text.offsets) - 1, text.row, text.tokens
    slot = lang.slot_of[tokens]
    at = np.flatnonzero(slot >= 0)
    # A word said twice counts once: repetition has its own price.
    said = _distinct(row[at] * (lang.unknown + 1) + tokens[at])
    said_row, said_token = said // (lang.unknown + 1), said % (lang.unknown + 1)
    said_slot = lang.slot_of[said_token]
    right = facts[said_row, said_slot] == said_token
    coverage = np.bincount(said_row[right], WEIGHTS[said_slot[right]], n).astype(np.float64)
    wrong = np.bincount(said_row[~right], minlength=n)
    inside = np.flatnonzero(row[1:] == row[:-1])
    before, after = tokens[inside].astype(np.int64), tokens[inside + 1].astype(np.int64)
    garbled = np.bincount(row[inside[~lang.clean[before, after]]], minlength=n)
    size = lang.unknown + 1
    three = np.flatnonzero(row[2:] == row[:-2])
    code = row[three]
    for step in range(3):
        code = code * size + tokens[three + step]
    distinct = _distinct(code) // size**3
    repeated = np.bincount(row[three], minlength=n) - np.bincount(distinct, minlength=n)
    return Parts(coverage, wrong, garbled, repeated, text.lengths)


def _distinct(codes: Ints) -> Ints:
    """Distinct codes in order; ten times faster than np.unique on millions of integers."""
    ordered = np.sort(codes)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def characters(text: Ragged) -> Ints:
    """Characters of each row's text, stripped of the leading space."""
    lang = language()
    sums = np.concatenate([[0], np.cumsum(lang.chars[text.tokens])])
    led = np.zeros(len(text.lengths), dtype=np.int64)
    some = text.lengths > 0
    led[some] = lang.leads[text.tokens[text.offsets[:-1][some]]]
    return np.asarray(np.diff(sums[text.offsets]) - led)


def draw_wording(
    n: int, copy: float, own: NDArray[np.int8], rng: np.random.Generator
) -> NDArray[np.int8]:
    """(n, 9) wordings: the post's own with chance `copy`, else one of the three."""
    free = rng.integers(3, size=(n, N_SLOTS)).astype(np.int8)
    return np.where(rng.random((n, N_SLOTS)) < copy, own, free).astype(np.int8)


def draw_separators(n: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """(n, 8) separators of clauses."""
    return rng.integers(3, size=(n, SEPARATORS)).astype(np.int8)


def _draw(domain: str, index: Ints, rng: np.random.Generator) -> Posts:
    """One block of posts: facts first, then decoys, wordings, text, author, reference."""
    n, lang = len(index), language()
    facts = np.empty((n, N_SLOTS), dtype=np.int16)
    decoys = np.empty_like(facts)
    for slot in range(N_SLOTS):
        values = lang.values(domain, slot)
        first = rng.integers(len(values), size=n)
        other = (first + rng.integers(1, len(values), size=n)) % len(values)
        facts[:, slot], decoys[:, slot] = values[first], values[other]
    wording = rng.integers(3, size=(n, N_SLOTS)).astype(np.int8)
    difficulty = rng.normal(0, 0.4, size=n)
    text, bounds, title = _write_posts(domain, facts, decoys, wording, rng)
    author = rng.choice(3, size=n, p=AUTHOR_SHARES)
    keep = np.array(AUTHOR_KEEPS)[author][:, None]
    log_odds = np.log(keep / (1 - keep)) + difficulty[:, None] + 0.6 * (WEIGHTS - WEIGHTS.mean())
    kept = rng.random((n, N_SLOTS)) < 1 / (1 + np.exp(-log_odds))
    wrong = rng.random((n, N_SLOTS)) < np.array(AUTHOR_ERRS)[author][:, None]
    plan = Plan(
        said=np.where(kept, np.where(wrong, decoys, facts), NOTHING).astype(np.int16),
        wording=draw_wording(n, 0.2, wording, rng),
        pads=rng.random((n, PAD_CLAUSES)) < AUTHOR_PADS[domain],
        again=np.zeros(n, dtype=bool),
        separator=draw_separators(n, rng),
    )
    slips = (rng.random(n) < np.array(AUTHOR_GARBLES)[author]).astype(np.int64)
    reference = garble(write(domain, plan), slips, domain, rng)
    return Posts(
        domain, index, facts, decoys, wording, difficulty, author, text, bounds, title, reference
    )


def _write_posts(
    domain: str, facts: Tokens, decoys: Tokens, wording: NDArray[np.int8], rng: np.random.Generator
) -> tuple[Ragged, Ints, Ragged]:
    """Texts of posts, flat bounds of their sentences (n, S + 1) and titles.

    Greeting and opening first, the request last; facts, 0 to 2 decoys and 0 or 1 filler shuffled
    between. News has no greeting and puts the facts before decoys and filler.
    """
    words, n = DOMAINS[domain], len(facts)

    def sentence(pattern: str, values: Tokens) -> Tokens:
        return np.concatenate(
            [_word(domain, word, values, wording) for word in pattern.split()], axis=1
        )

    def one_of(patterns: Sequence[str], values: Tokens, chance: float) -> Tokens:
        choice = np.where(rng.random(n) < chance, rng.integers(len(patterns), size=n), -1)
        blocks = [sentence(p, values) for p in patterns]
        width = max(b.shape[1] for b in blocks)
        out = np.full((n, width), NOTHING, dtype=np.int16)
        for number, block in enumerate(blocks):
            rows = choice == number
            out[rows, : block.shape[1]] = block[rows]
        return out

    head = [one_of(words.greetings, facts, 0.75)] if words.greetings else []
    head.append(sentence(words.opening, facts))
    half = len(words.decoys) // 2
    middle = [sentence(pattern, facts) for pattern in words.middle]
    middle.append(one_of(words.decoys[:half], decoys, 0.5))
    middle.append(one_of(words.decoys[half:], decoys, 0.5))
    middle.append(one_of(words.fillers, facts, 0.5))
    tail = [sentence(words.closing, facts)]
    parts = [*head, *middle, *tail]
    width = max(part.shape[1] for part in parts)
    stack = np.full((n, len(parts), width), NOTHING, dtype=np.int16)
    for number, part in enumerate(parts):
        stack[:, number, : part.shape[1]] = part
    order = np.tile(np.arange(len(parts)), (n, 1))
    first = len(head)
    key = rng.random((n, len(middle)))
    if words.facts_first:
        key[:, len(words.middle) :] += 1
    order[:, first : first + len(middle)] = first + key.argsort(axis=1)
    stack = np.take_along_axis(stack, order[:, :, None], axis=1)
    lengths = (stack != NOTHING).sum(axis=2)
    text = Ragged.from_matrix(stack.reshape(n, -1))
    inner = np.concatenate([np.zeros((n, 1), dtype=np.int64), lengths.cumsum(axis=1)], axis=1)
    bounds = text.offsets[:-1, None] + inner
    return text, bounds, Ragged.from_matrix(sentence(words.title, facts))


def _word(domain: str, word: str, values: Tokens, wording: NDArray[np.int8]) -> Tokens:
    """(n, width) tokens that one word of a sentence pattern stands for."""
    n, lang = len(values), language()
    if word[0] in "[{":
        slot = SLOTS.index(word[1:-1])
        if word[0] == "[":
            return say(domain, slot, values[:, slot], wording[:, slot])
        return values[:, [slot]]
    token = lang.pattern(word)
    assert token[0] != VALUE
    return np.tile(token, (n, 1))


def _join(parts: Sequence[Posts]) -> Posts:
    if len(parts) == 1:
        return parts[0]
    shifts = np.cumsum([0, *(len(p.text.tokens) for p in parts[:-1])])
    sentences = [p.sentences + shift for p, shift in zip(parts, shifts, strict=True)]
    return Posts(
        parts[0].domain,
        np.concatenate([p.number for p in parts]),
        np.concatenate([p.facts for p in parts]),
        np.concatenate([p.decoys for p in parts]),
        np.concatenate([p.wording for p in parts]),
        np.concatenate([p.difficulty for p in parts]),
        np.concatenate([p.author for p in parts]),
        Ragged.concatenate([p.text for p in parts]),
        np.concatenate(sentences),
        Ragged.concatenate([p.title for p in parts]),
        Ragged.concatenate([p.reference for p in parts]),
    )
