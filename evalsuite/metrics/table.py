"""One call from a table of summaries to a table of scores, each text tokenised once.

A metric joins by a group name in `GROUPS`, its columns in `columns_of` and a line in `_score`.
Proof: tests/metrics/test_score_table.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evalsuite.errors import ConfigError, DataError
from evalsuite.metrics import length
from evalsuite.metrics.copying import copying_share
from evalsuite.metrics.extractive import COLUMNS as EXTRACTIVE
from evalsuite.metrics.extractive import ORDERS, extractive_scores
from evalsuite.metrics.rouge import COLUMNS as ROUGE
from evalsuite.metrics.rouge import MEASURES, as_columns, rouge_pairs, rouge_words
from evalsuite.metrics.tokens import Ints, match, tokenise
from evalsuite.records import REFERENCE_POLICY

GROUPS = ("length", "rouge", "copying", "extractive")

CHUNK_CHARACTERS = 8_000_000
"""Text worked on at once; more saves no time, less saves memory (about 60 bytes a character)."""


def columns_of(group: str) -> tuple[str, ...]:
    """The score columns of a metric group (`tokens` comes with "length" when there is a tokenizer).

    Raises ConfigError when there is no such group.
    """
    columns = {
        "length": ("chars", "words"), "rouge": ROUGE, "copying": ("copying",),
        "extractive": EXTRACTIVE,
    }  # fmt: skip
    if group not in columns:
        raise ConfigError(f"metric group is {group!r}; allowed {', '.join(GROUPS)}")
    return columns[group]


def score_summaries(
    summaries: pd.DataFrame,
    posts: pd.DataFrame,
    *,
    references: pd.DataFrame | None = None,
    groups: Sequence[str] = GROUPS,
    stem: bool = True,
    tokenizer: length.Tokenizer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Score table of summaries: length, ROUGE, copying and extractive statistics.

    summaries, posts: tables of `evalsuite.tables`. references: a table with post_id and text; by
    default the summaries of policy `reference_summary`. groups: which of `GROUPS`. stem: Porter
    stems in ROUGE. tokenizer: adds the column `tokens`. progress: called with summaries done and
    all summaries.

    Returns one row a summary, in the order given: summary_id and the columns of `columns_of`.
    NaN where a score is undefined: no text (all but `chars`, then taken from the table), no post
    text (copying, extractive), no reference (ROUGE). Where a post has several references, each
    ROUGE measure is that of the reference with the highest F1, the first of equals, as in
    rouge-score. A human summary is never compared with its own text, which would score 1.

    Raises ConfigError on an unknown group, DataError where summaries, posts or references lack a
    column.
    """
    names = [name for group in groups for name in columns_of(group)]
    if tokenizer is not None and "length" in groups:
        names.insert(names.index("words") + 1, "tokens")
    if references is None:
        _require("summaries", summaries, ("post_id", "policy", "text"))
        references = summaries[summaries["policy"] == REFERENCE_POLICY]
    work = _prepare(summaries, posts, references)
    scores = {name: np.full(len(summaries), np.nan) for name in names}
    if "chars" in scores:
        scores["chars"][:] = summaries["chars"]
    settings = _Settings(frozenset(groups), stem, tokenizer)
    done = 0
    for rows in _chunks(work):
        for name, values in _score(work, rows, settings).items():
            scores[name][rows] = values
        done += len(rows)
        if progress is not None:
            progress(done, len(work.rows))
    return pd.DataFrame({"summary_id": summaries["summary_id"].to_numpy(), **scores}).astype(
        {"summary_id": "str"}
    )


class _Settings(NamedTuple):
    groups: frozenset[str]
    stem: bool
    tokenizer: length.Tokenizer | None


class _Work(NamedTuple):
    """Summaries that have a text, ordered by post, and the texts they are compared with."""

    rows: Ints  # positions in the summaries table
    texts: NDArray[np.object_]  # of all summaries
    post_codes: Ints  # of all summaries; -1 without a post
    human: NDArray[np.bool_]  # of all summaries
    post_texts: NDArray[np.object_]  # by post code; None where there is none
    references: list[list[str]]  # by post code


def _require(table: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise DataError(
                f"table {table} has no column {column!r}", field=column, allowed=", ".join(columns)
            )


def _prepare(summaries: pd.DataFrame, posts: pd.DataFrame, references: pd.DataFrame) -> _Work:
    _require("summaries", summaries, ("summary_id", "post_id", "policy", "text", "chars"))
    _require("posts", posts, ("post_id", "text"))
    _require("references", references, ("post_id", "text"))
    codes, ids = pd.factorize(summaries["post_id"])
    position = {post: code for code, post in enumerate(ids)}
    post_texts = np.full(len(ids), None, dtype=object)
    for post, text in zip(posts["post_id"], posts["text"], strict=True):
        if post in position and isinstance(text, str):
            post_texts[position[post]] = text
    of_post: list[list[str]] = [[] for _ in ids]
    for post, text in zip(references["post_id"], references["text"], strict=True):
        if post in position and isinstance(text, str) and text not in of_post[position[post]]:
            of_post[position[post]].append(text)
    texts = summaries["text"].astype(object).to_numpy()
    rows = np.flatnonzero([isinstance(text, str) for text in texts])
    rows = rows[np.argsort(codes[rows], kind="stable")]
    human = (summaries["policy"] == REFERENCE_POLICY).to_numpy(dtype=bool)
    return _Work(rows, texts, codes.astype(np.int64), human, post_texts, of_post)


def _chunks(work: _Work) -> Iterator[Ints]:
    """Rows in pieces of about `CHUNK_CHARACTERS` of text, cut between posts."""
    codes = work.post_codes[work.rows]
    sizes = np.array([len(work.texts[row]) for row in work.rows.tolist()], dtype=np.int64)
    new = np.diff(codes, prepend=-2) != 0
    for at in np.flatnonzero(new & (codes >= 0)).tolist():
        sizes[at] += len(work.post_texts[codes[at]] or "")
    if not len(codes):
        return
    piece = np.cumsum(sizes) // CHUNK_CHARACTERS
    # A post stays in the piece of its first row; rows without a post may be cut anywhere.
    first = np.maximum.accumulate(np.where(new | (codes < 0), np.arange(len(codes)), 0))
    yield from np.split(work.rows, np.flatnonzero(np.diff(piece[first])) + 1)


def _score(work: _Work, rows: Ints, settings: _Settings) -> dict[str, NDArray[np.float64]]:
    """Scores of the summaries at `rows` (all those of their posts that have a text)."""
    texts: list[str] = work.texts[rows].tolist()
    out: dict[str, NDArray[np.float64]] = {}
    if "length" in settings.groups:
        out |= {"chars": length.characters(texts), "words": length.words(texts)}
        if settings.tokenizer is not None:
            out["tokens"] = length.tokens(texts, settings.tokenizer)
    codes = work.post_codes[rows]
    has_post = np.flatnonzero(codes >= 0)
    posts, post_of = np.unique(codes[has_post], return_inverse=True)
    against_posts = not settings.groups.isdisjoint({"copying", "extractive"})
    against_references = "rouge" in settings.groups
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    mine = np.array([number(text) for text in texts], dtype=np.int64)
    sources = [number(work.post_texts[p] or "") if against_posts else 0 for p in posts.tolist()]
    theirs = [
        [number(text) for text in work.references[p]] if against_references else []
        for p in posts.tolist()
    ]
    corpus = tokenise(numbers)
    if against_references:
        words = rouge_words(corpus, stem=settings.stem)
        pairs = [
            (row, reference)
            for row, post in zip(has_post.tolist(), post_of.tolist(), strict=True)
            for reference in theirs[post]
            if not (work.human[rows[row]] and reference == mine[row])
        ]
        left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        scores = as_columns(rouge_pairs(words, mine[left], right))
        out |= _best(scores, left, len(rows))
    if against_posts:
        there = np.array([work.post_texts[p] is not None for p in posts.tolist()], dtype=bool)
        keep = there[post_of]
        tokens = corpus.tokens.take(mine[has_post[keep]])
        found = match(
            corpus.tokens.take(np.array(sources, dtype=np.int64)), tokens, post_of[keep],
            n=ORDERS if "extractive" in settings.groups else 2,
        )  # fmt: skip
        columns: dict[str, NDArray[np.float64]] = {}
        if "copying" in settings.groups:
            columns["copying"] = copying_share(found[1], post_of[keep])
        if "extractive" in settings.groups:
            columns |= extractive_scores(found, tokens, post_of[keep])
        for name, values in columns.items():
            out[name] = np.full(len(rows), np.nan)
            out[name][has_post[keep]] = values
    return out


def _best(scores: dict[str, Any], summary: Ints, rows: int) -> dict[str, NDArray[np.float64]]:
    """Per measure, the scores of each summary against its best reference; NaN without one."""
    out = {}
    for measure in MEASURES:
        order = np.lexsort((-scores[f"{measure}_f"], summary))  # stable: the first of equals
        owner = summary[order]
        first = order[np.concatenate([[True], owner[1:] != owner[:-1]])] if len(order) else order
        for part in "prf":
            name = f"{measure}_{part}"
            out[name] = np.full(rows, np.nan)
            out[name][summary[first]] = scores[name][first]
    return out
