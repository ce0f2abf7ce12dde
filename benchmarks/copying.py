"""Claim: the longest common subsequence of bigrams behind the copying share, at least 100 times
faster than a dynamic programme in pure Python, and equal to it.

Two ratios are printed. The first, which the claim is about, is of the subsequence alone: both
sides get ready bigrams. The second is of the whole way from texts to shares. Both sides run in
this one process and are timed in seconds of processor time, so that other work on the machine
counts less; only ratios mean anything. Texts are made by a seeded generator (summaries of 35
words, posts of 400; a third of a summary is stretches of its post); with --data they are real: a
JSON-lines file whose rows hold `post`, `summary` and `reference_summary`, as the public TL;DR
posts do.

    python benchmarks/copying.py
    python benchmarks/copying.py --data posts.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from evalsuite.metrics import copying
from evalsuite.metrics.tokens import TOKEN, common_subsequence, match, number_texts, tokenise

TARGET = 100


def made_up(rng: np.random.Generator, posts: int, each: int) -> tuple[list[str], list[str]]:
    """Summaries and their posts, aligned."""
    words = np.array([f"w{i}" for i in range(5000)], dtype=object)
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()
    summaries, sources = [], []
    for _ in range(posts):
        post = rng.choice(words, max(50, rng.poisson(400)), p=share)
        for _ in range(each):
            pieces: list[str] = []
            while len(pieces) < 35:
                length = int(rng.integers(2, 7))
                at = int(rng.integers(0, len(post) - length))
                own = rng.choice(words, length, p=share)
                pieces.extend(post[at : at + length] if rng.random() < 1 / 3 else own)
            summaries.append(" ".join(pieces))
            sources.append(" ".join(post))
    return summaries, sources


def real(path: Path, posts: int) -> tuple[list[str], list[str]]:
    """Both summaries of the first posts of a file."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(posts), lines, strict=False)]
    pairs = [(row[name], row["post"]) for row in rows for name in ("summary", "reference_summary")]
    return [a for a, _ in pairs], [b for _, b in pairs]


def bigrams(text: str) -> list[tuple[str, str]]:
    """The bigrams of a text, as pairs of strings."""
    return list(pairwise(TOKEN.findall(text.lower())))


def plain(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> int:
    """The definition: a table of which two rows are kept, one cell a pair of bigrams."""
    above = [0] * (len(second) + 1)
    for x in first:
        row = [0]
        for j, y in enumerate(second):
            row.append(above[j] + 1 if x == y else max(above[j + 1], row[j]))
        above = row
    return above[-1]


def main() -> None:
    """Read the options, time both sides, fail when values differ or the claim is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="JSON lines with post and summaries")
    parser.add_argument("--posts", type=int, default=150)
    parser.add_argument("--summaries", type=int, default=10, help="for each made-up post")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    if options.data:
        summaries, posts = real(options.data, options.posts)
    else:
        summaries, posts = made_up(rng, options.posts, options.summaries)

    clock = time.process_time
    start = clock()
    shares = copying(summaries, posts)
    whole = clock() - start

    codes, texts = number_texts([*summaries, *posts])
    tokens = tokenise(texts).tokens
    rows, post_of = np.unique(codes[len(summaries) :], return_inverse=True)
    found = match(tokens.take(rows), tokens.take(codes[: len(summaries)]), post_of, n=2)[1]
    start = clock()
    ours = common_subsequence(found, post_of)
    alone = clock() - start

    start = clock()
    ready = [(bigrams(a), bigrams(b)) for a, b in zip(summaries, posts, strict=True)]
    cutting = clock() - start
    start = clock()
    theirs = [plain(a, b) for a, b in ready]
    peer = clock() - start

    assert ours.tolist() == theirs, "lengths differ"
    expected = [n / len(a) if a else np.nan for n, (a, _) in zip(theirs, ready, strict=True)]
    assert np.array_equal(shares, expected, equal_nan=True), "shares differ"
    micro = 1e6 / len(summaries)
    print(f"{len(summaries)} summaries of {len(set(posts))} posts, values equal")
    print(
        f"subsequence alone: {micro * alone:.1f} us a pair, pure Python {micro * peer:.0f} us: "
        f"{peer / alone:.0f} times faster"
    )
    print(
        f"texts to shares: {micro * whole:.1f} us a pair, pure Python "
        f"{micro * (peer + cutting):.0f} us: {(peer + cutting) / whole:.0f} times faster"
    )
    assert peer / alone >= TARGET, f"the claim is {TARGET} times"


if __name__ == "__main__":
    main()
