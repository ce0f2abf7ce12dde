"""Extractive fragments (coverage, density, compression) and novel n-grams.

Definitions of Grusky et al. 2018 (Newsroom), which SummEval's data statistics take over:
reading a summary from its start, the longest stretch that also stands in the source is a
fragment; reading goes on after it, or after one word that the source lacks.

    coverage    = tokens in fragments / tokens of the summary, 0 to 1
    density     = sum of squared fragment lengths / tokens of the summary, in tokens
    compression = tokens of the source / tokens of the summary
    novel_n     = distinct n-grams of the summary that the source lacks / its distinct n-grams

Tokens are those of tokens.py, in lower case; Newsroom and SummEval use spaCy's, and SummEval
keeps case in its n-grams, so values differ a little from theirs. The source is the post's text
without its title. Undefined (no token, no n-gram) is NaN where Newsroom says 0.
Proof: tests/metrics/test_extractive.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evalsuite.metrics.tokens import (
    Ints,
    Match,
    Ragged,
    as_strings,
    beside_posts,
    match,
    share,
)

ORDERS = 3
COLUMNS = ("coverage", "density", "compression", *(f"novel_{n}" for n in range(1, ORDERS + 1)))


def extractive(summaries: Sequence[str], posts: Sequence[str]) -> pd.DataFrame:
    """Extractive fragment coverage, density and compression, and shares of novel n-grams.

    summaries, posts: two lists of n texts; a text that occurs many times is worked on once.
    Returns n rows with the columns `COLUMNS`; NaN where a summary has no token (novel_n: fewer
    than n tokens).

    Raises StatisticsError when the lists differ in length. Source: Grusky, Naaman & Artzi 2018,
    section 4; Fabbri et al. 2021 (SummEval) for the novel n-grams.
    """
    posts_, summaries_, post_of = beside_posts(summaries, posts)
    found = match(posts_, summaries_, post_of, n=ORDERS)
    return pd.DataFrame(extractive_scores(found, summaries_, post_of))


def extractive_scores(
    found: list[Match], summaries: Ragged, post_of: Ints
) -> dict[str, NDArray[np.float64]]:
    """All columns from matched n-grams (orders 1 to `ORDERS`) and the summaries' own tokens."""
    sources, texts = as_strings(found[0], post_of, drop=False)
    inside, squares = np.zeros(len(texts)), np.zeros(len(texts))
    for row, post in enumerate(post_of.tolist()):
        lengths = fragments(texts[row], sources[post])
        inside[row] = sum(lengths)
        squares[row] = sum(length * length for length in lengths)
    total = found[0].summaries.lengths
    out = {
        "coverage": share(inside, total),
        "density": share(squares, total),
        "compression": share(found[0].sources.lengths[post_of], total),
    }
    nobody = np.empty(0, dtype=np.int64)
    own = match(summaries, summaries.take(nobody), nobody, n=ORDERS)
    for order, (grams, mine) in enumerate(zip(found, own, strict=True), start=1):
        different = mine.distinct_in_sources()
        out[f"novel_{order}"] = share(different - grams.distinct_in_both(), different)
    return out


def fragments(summary: str, source: str) -> list[int]:
    """Lengths of the extractive fragments of two texts written one character a token.

    The character "\0" of a summary stands for a token that the source lacks.
    """
    lengths = []
    at, end = 0, len(summary)
    while at < end:
        length = 0
        if summary[at] != "\0":
            length = _longest(summary, at, source)
            if summary.find(summary[at], at + 1, at + length) >= 0:
                length = _scanned(summary[at:], source)
            lengths.append(length)
        at += length or 1
    return lengths


def _longest(summary: str, at: int, source: str) -> int:
    """Tokens from `at` on, whose first the source has, that stand in the source together.

    Doubling, then halving: a text copied whole costs a few searches, not one a token.
    """
    low, high, end = 1, 2, len(summary) - at
    while high <= end and summary[at : at + high] in source:
        low, high = high, 2 * high
    high = min(high, end + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if summary[at : at + middle] in source:
            low = middle
        else:
            high = middle
    return low


def _scanned(summary: str, source: str) -> int:
    """Longest match of the summary's start, by the scan that Newsroom publishes.

    The scan goes on after a match, not after its first token, so it misses a longer match that
    starts inside an earlier one. Only where a fragment repeats its own first token can that be.
    """
    best = 0
    at = source.find(summary[0])
    while at >= 0:
        length = 1
        while (
            summary[length : length + 1]
            and summary[length] == source[at + length : at + length + 1]
        ):
            length += 1
        best = max(best, length)
        at = source.find(summary[0], at + length)
    return best
