"""Texts as arrays of integers, and which n-grams of a summary its source has.

Everything that compares two texts (ROUGE, copying, extractive fragments, novel n-grams) is built
on two steps made here, so that each text is tokenised once:

1. `tokenise` turns texts into one flat array of token numbers over one vocabulary.
2. `match` numbers the n-grams of sources (references, posts) and finds those numbers for the
   n-grams of summaries. A source is sorted once however many summaries share it.

Tokens: lower-cased text cut by the regular expression `\\w+|[^\\w\\s]`, that is, runs of letters,
digits and underscores of any script, and every other visible character by itself. ROUGE has its
own rule and derives its words from these tokens (rouge.py).

A new metric may use these structures; proof: tests/metrics/test_tokens.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist

from evalsuite.errors import StatisticsError

Ints = NDArray[np.int64]

TOKEN = re.compile(r"\w+|[^\w\s]")


class Ragged(NamedTuple):
    """Rows of different lengths: row i is `values[starts[i]:starts[i + 1]]`."""

    values: Ints
    starts: Ints  # (rows + 1,)

    @property
    def lengths(self) -> Ints:
        """Values in each row, (rows,)."""
        return np.diff(self.starts)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1

    def owners(self) -> Ints:
        """The row of each value."""
        return np.repeat(np.arange(self.rows), self.lengths)

    def take(self, rows: NDArray[np.integer[Any]]) -> Ragged:
        """The rows named, in that order; a row may be named more than once."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.repeat(self.starts[rows] - starts[:-1], lengths)
        return Ragged(self.values[np.arange(starts[-1]) + shift], starts)

    def only(self, keep: NDArray[np.bool_]) -> Ragged:
        """The values where `keep` is true, rows and order kept."""
        before = np.concatenate([[0], np.cumsum(keep)])
        return Ragged(self.values[keep], before[self.starts])


MAX_CHARACTER = 0x10FFFF
"""Highest number that a Python string can hold."""


class Corpus(NamedTuple):
    """Token numbers of texts, and what the numbers stand for."""

    tokens: Ragged
    vocabulary: list[str]


def number_texts(texts: Iterable[str]) -> tuple[Ints, list[str]]:
    """A number for each text, equal texts alike, and the distinct texts in that numbering."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(text, len(numbers)) for text in texts]
    return np.array(codes, dtype=np.int64), list(numbers)


def tokenise(texts: Iterable[str]) -> Corpus:
    """Regex word and punctuation tokens of lower-cased texts, as numbers over one vocabulary."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    values: list[int] = []
    ends = [0]
    for text in texts:
        values.extend(map(numbers.__getitem__, split(text)))
        ends.append(len(values))
    tokens = Ragged(np.array(values, dtype=np.int64), np.array(ends, dtype=np.int64))
    return Corpus(tokens, list(numbers))


class Beside(NamedTuple):
    """Tokens of n summaries and of their distinct posts; `post_of` (n,) names each one's post."""

    posts: Ragged
    summaries: Ragged
    post_of: Ints


def beside_posts(summaries: Sequence[str], posts: Sequence[str]) -> Beside:
    """Tokens of two lists of n texts; a text that occurs many times is worked on once.

    Raises StatisticsError when the lists differ in length.
    """
    if len(summaries) != len(posts):
        raise StatisticsError(
            f"posts has {len(posts)} texts for {len(summaries)} summaries; allowed one for each"
        )
    codes, texts = number_texts([*summaries, *posts])
    tokens, n = tokenise(texts).tokens, len(summaries)
    rows, post_of = np.unique(codes[n:], return_inverse=True)
    return Beside(tokens.take(rows), tokens.take(codes[:n]), post_of)


def split(text: str) -> list[str]:
    """Tokens of one text: `TOKEN` on the text in lower case."""
    text = text.lower()
    if not text.isascii():
        return TOKEN.findall(text)
    # The same tokens in a third of the time: white space round every mark, then cut there.
    for mark in set(text.encode().translate(None, _PLAIN)):
        text = text.replace(chr(mark), f" {chr(mark)} ")
    return text.split()


_PLAIN = bytes(code for code in range(128) if not re.fullmatch(r"[^\w\s]", chr(code)))


class Match(NamedTuple):
    """The n-grams of sources and summaries, numbered alike.

    Each source has its own range of numbers, the ranges follow each other in the order of the
    sources and fill 0 to `size` - 1; equal n-grams of one source have one number. An n-gram of a
    summary that its source lacks is -1. A row of fewer than n tokens is empty.
    """

    sources: Ragged
    summaries: Ragged
    size: int

    def distinct_in_sources(self) -> NDArray[np.float64]:
        """How many different n-grams each source has."""
        owner = np.zeros(self.size, dtype=np.int64)
        owner[self.sources.values] = self.sources.owners()
        return np.bincount(owner, minlength=self.sources.rows).astype(np.float64)

    def distinct_in_both(self) -> NDArray[np.float64]:
        """How many different n-grams each summary shares with its source."""
        shared = self.summaries.only(self.summaries.values >= 0)
        keys = np.sort(shared.owners() * self.size + shared.values)  # np.unique hashes: slower
        first = keys[np.diff(keys, prepend=-1) != 0]
        rows = np.bincount(first // max(self.size, 1), minlength=shared.rows)
        return rows.astype(np.float64)


def match(sources: Ragged, summaries: Ragged, source_of: Ints, *, n: int) -> list[Match]:
    """n-gram matches of order 1, 2, ..., n; summary i is matched with source `source_of[i]`."""
    words = 1 + int(max(sources.values.max(initial=0), summaries.values.max(initial=0)))
    at = sources._replace(values=sources.owners() * words + sources.values)
    owner = np.repeat(source_of, summaries.lengths)
    found = summaries._replace(values=owner * words + summaries.values)
    first = _number(at, found)
    matches = [first]
    while len(matches) < n:
        # An n-gram is known by the number of its first n - 1 tokens and that of its last; numbers
        # stay below the count of source tokens, so the products stay far below 2^63.
        before, order = matches[-1], len(matches) + 1
        at = _lengthen(before.sources, first.sources, order, first.size)
        found = _lengthen(before.summaries, first.summaries, order, first.size)
        matches.append(_number(at, found))
    return matches


def _number(at: Ragged, found: Ragged) -> Match:
    """Keys of n-grams replaced by their rank among those of the sources; -1 where not there."""
    known, rank = np.unique(at.values, return_inverse=True)
    place = np.searchsorted(known, found.values)
    if len(known):
        place = np.minimum(place, len(known) - 1)
        place = np.where(known[place] == found.values, place, -1)
    else:
        place = np.full(len(found.values), -1)
    return Match(at._replace(values=rank), found._replace(values=place), len(known))


def _lengthen(grams: Ragged, tokens: Ragged, order: int, size: int) -> Ragged:
    """Keys of n-grams of `order`, from those of one less and the token that follows."""
    keep = np.ones(len(grams.values), dtype=bool)
    keep[grams.starts[1:][grams.lengths > 0] - 1] = False  # nothing follows the last
    left = grams.only(keep)
    shift = np.repeat(tokens.starts[:-1] - left.starts[:-1] + order - 1, left.lengths)
    last = tokens.values[np.arange(len(left.values)) + shift]
    absent = (left.values < 0) | (last < 0)
    return left._replace(values=np.where(absent, -1, left.values * size + last))


def as_strings(found: Match, source_of: Ints, *, drop: bool) -> tuple[list[str], list[str]]:
    """Sources and summaries as strings, one character an n-gram, for fast searching.

    n-grams that source and summaries share are numbered from 2 in each source. The others are
    left out with `drop`; without, they are character 1 in a source and 0 in a summary.

    Raises StatisticsError when a source shares more n-grams than there are characters.
    """
    shared = np.zeros(found.size, dtype=bool)
    shared[found.summaries.values[found.summaries.values >= 0]] = True
    before = np.concatenate([[0], np.cumsum(shared)])
    lowest = np.full(found.sources.rows, found.size)
    filled = found.sources.lengths > 0
    lowest[filled] = np.minimum.reduceat(found.sources.values, found.sources.starts[:-1][filled])
    offset = 2 - before[lowest]

    def characters(row: Ragged, offsets: Ints, has: NDArray[np.bool_], other: int) -> list[str]:
        own = before[row.values] + np.repeat(offsets, row.lengths)
        coded = row._replace(values=np.where(has, own, other))
        return _strings(coded.only(has) if drop else coded)

    return (
        characters(found.sources, offset, shared[found.sources.values], 1),
        characters(found.summaries, offset[source_of], found.summaries.values >= 0, 0),
    )


def _strings(rows: Ragged) -> list[str]:
    if rows.values.max(initial=0) > MAX_CHARACTER:
        raise StatisticsError(
            f"two texts share {rows.values.max() - 1} different words; "
            f"allowed {MAX_CHARACTER - 1} at most"
        )
    text = rows.values.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    ends = rows.starts.tolist()
    return [text[start:end] for start, end in pairwise(ends)]


def common_subsequence(found: Match, source_of: Ints) -> Ints:
    """Length of the longest common subsequence of each summary's n-grams and its source's.

    Bit-parallel (rapidfuzz's LCSseq), on what is left when the n-grams that match nothing, the
    larger part, are taken out: they are in no common subsequence.
    """
    sources, summaries = as_strings(found, source_of, drop=True)
    paired = [sources[i] for i in source_of.tolist()]
    lengths = cpdist(summaries, paired, scorer=LCSseq.similarity, dtype=np.int64)
    return np.asarray(lengths, dtype=np.int64)


def share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Part over whole; NaN where the whole is 0."""
    out = np.full(len(whole), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
