"""ROUGE-1, ROUGE-2 and ROUGE-L, equal to the package rouge-score and many times faster.

Words are those of rouge-score: the text in lower case, cut into runs of a-z and 0-9 (all other
characters, accented letters too, separate words); with stemming, words of more than 3 characters
become their Porter stem, made by the very stemmer that rouge-score calls. Other ROUGE programs
stem or cut otherwise and give other values.

Speed comes from doing once what the peer repeats for each pair: a word is stemmed once, a text
tokenised once, a reference sorted once. Proof of equality: tests/metrics/test_rouge.py, on
arbitrary Unicode; of speed: benchmarks/rouge.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evalsuite.errors import StatisticsError
from evalsuite.metrics.tokens import (
    Corpus,
    Ints,
    Match,
    Ragged,
    common_subsequence,
    match,
    number_texts,
    tokenise,
)

WORD = re.compile(r"[a-z0-9]+")
MEASURES = ("rouge1", "rouge2", "rougeL")
COLUMNS = tuple(f"{measure}_{part}" for measure in MEASURES for part in "prf")


class Scores(NamedTuple):
    """Precision, recall and F1 of one measure: each (n,), 0 where either text has no n-gram."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def rouge(
    summaries: Sequence[str], references: Sequence[str], *, stem: bool = True
) -> pd.DataFrame:
    """ROUGE-1, ROUGE-2 (n-gram overlap) and ROUGE-L (longest common subsequence), pair by pair.

    summaries, references: two lists of n texts; summary i is scored against reference i. A text
    that occurs many times is worked on once.

    Returns n rows with columns rouge1_p, rouge1_r, rouge1_f, rouge2_*, rougeL_*, from 0 to 1.
    A text without words scores 0, as in rouge-score.

    Raises StatisticsError when the lists differ in length. Source: Lin 2004, "ROUGE: A Package
    for Automatic Evaluation of Summaries"; the choices of rouge-score 0.1.2.
    """
    if len(summaries) != len(references):
        raise StatisticsError(
            f"references has {len(references)} texts for {len(summaries)} summaries; "
            "allowed one for each"
        )
    codes, texts = number_texts([*summaries, *references])
    words = rouge_words(tokenise(texts), stem=stem)
    n = len(summaries)
    return pd.DataFrame(as_columns(rouge_pairs(words, codes[:n], codes[n:])))


def rouge_one(summary: str, reference: str, *, stem: bool = True) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of a single pair, keyed as the columns of `rouge`."""
    row = rouge([summary], [reference], stem=stem).iloc[0]
    return {str(name): float(value) for name, value in row.items()}


def rouge_words(corpus: Corpus, *, stem: bool) -> Ragged:
    """Word numbers of each text after rouge-score's rules.

    A run of a-z0-9 never reaches over a token's border, so it is enough to cut each token of the
    vocabulary: most give one word (themselves), punctuation none, "don_t" two.
    """
    numbers: dict[str, int] = {}
    pieces: list[int] = []
    ends = [0]
    for token in corpus.vocabulary:
        for word in WORD.findall(token):
            name = porter_stem(word) if stem and len(word) > 3 else word
            if name:
                pieces.append(numbers.setdefault(name, len(numbers)))
        ends.append(len(pieces))
    parts = Ragged(np.array(pieces, dtype=np.int64), np.array(ends, dtype=np.int64))
    words = parts.take(corpus.tokens.values)
    return Ragged(words.values, words.starts[corpus.tokens.starts])


@lru_cache(maxsize=1 << 18)
def porter_stem(word: str) -> str:
    """Porter stem of a lower-case word, remembered: the stemmer takes longer than all the rest."""
    return str(_stemmer().stem(word))


@cache
def _stemmer() -> Any:
    # nltk takes half a second to import, so only those who stem pay for it.
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

    return PorterStemmer()


def rouge_pairs(
    words: Ragged, summaries: NDArray[np.integer[Any]], references: NDArray[np.integer[Any]]
) -> dict[str, Scores]:
    """Scores of pairs of rows of `words`: row `summaries[i]` against row `references[i]`."""
    rows, source_of = np.unique(references, return_inverse=True)
    sources, texts = words.take(rows), words.take(summaries)
    unigrams, bigrams = match(sources, texts, source_of, n=2)
    return {
        "rouge1": _scores(_overlap(unigrams), unigrams, source_of),
        "rouge2": _scores(_overlap(bigrams), bigrams, source_of),
        "rougeL": _scores(common_subsequence(unigrams, source_of), unigrams, source_of),
    }


def as_columns(scores: dict[str, Scores]) -> dict[str, NDArray[np.float64]]:
    """Column name -> values, in the order of `COLUMNS`."""
    values = [part for measure in MEASURES for part in scores[measure]]
    return dict(zip(COLUMNS, values, strict=True))


def _overlap(found: Match) -> Ints:
    """n-grams in common, each counted as often as both texts have it."""
    grams = found.summaries.only(found.summaries.values >= 0)
    keys, mine = np.unique(grams.owners() * found.size + grams.values, return_counts=True)
    row, gram = np.divmod(keys, max(found.size, 1))
    theirs = np.bincount(found.sources.values, minlength=found.size)[gram]
    hits = np.bincount(row, weights=np.minimum(mine, theirs), minlength=grams.rows)
    return hits.astype(np.int64)


def _scores(hits: Ints, found: Match, source_of: Ints) -> Scores:
    precision = hits / np.maximum(found.summaries.lengths, 1)
    recall = hits / np.maximum(found.sources.lengths[source_of], 1)
    total = precision + recall
    f1 = 2 * precision * recall / np.where(total > 0, total, 1)
    return Scores(precision, recall, f1)
