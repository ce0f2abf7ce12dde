"""Claim: ROUGE-1, -2 and -L of many summaries that share references, at least 20 times faster
than the package rouge-score, with and without stemming, and equal to it within 1e-12.

Both sides score the same pairs in this one process and are timed in seconds of processor time, so
that other work on the machine counts less; only their ratio means anything.
Texts are made by a seeded generator (35 words on average, a Zipf vocabulary with English
endings, summaries that share about a third of their words with the reference); with --data they are
real: a JSON-lines file whose rows hold `reference_summary`, as the public TL;DR posts do.

    python benchmarks/rouge.py
    python benchmarks/rouge.py --data posts.jsonl --references 300 --summaries 20
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rouge_score.rouge_scorer import RougeScorer

from evalsuite.metrics import rouge
from evalsuite.metrics.rouge import COLUMNS, MEASURES, porter_stem

TARGET = 20
SYLLABLES = ["ba", "co", "di", "fa", "ge", "hu", "ka", "lo", "mi", "ne", "pro", "ri", "sta", "tu"]
ENDINGS = ["", "", "", "s", "ed", "ing", "er", "ly", "ation", "ness", "ful", "ies"]


def made_up(rng: np.random.Generator, references: int, each: int) -> tuple[list[str], list[str]]:
    """Summaries and the references they are scored against, aligned."""
    roots = ["".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(6000)]
    words = np.array(sorted({root + str(rng.choice(ENDINGS)) for root in roots}), dtype=object)
    words = words[rng.permutation(len(words))]
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()

    def text(own: np.ndarray) -> str:
        chosen = rng.choice(words, max(1, rng.poisson(35)), p=share)
        kept = rng.random(len(chosen)) < 0.3
        if len(own):
            chosen[kept] = rng.choice(own, kept.sum())
        return " ".join(chosen).capitalize() + "."

    nothing = np.empty(0, dtype=object)
    targets = [text(nothing) for _ in range(references)]
    pairs = [(text(np.array(t.split(), dtype=object)), t) for t in targets for _ in range(each)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def real(
    path: Path, rng: np.random.Generator, references: int, each: int
) -> tuple[list[str], list[str]]:
    """Human summaries of a file: some as references, others drawn as summaries of them."""
    with path.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["reference_summary"] for line in lines]
    targets = [texts[i] for i in rng.choice(len(texts), min(references, len(texts)), replace=False)]
    drawn = rng.integers(0, len(texts), len(targets) * each).tolist()
    return [texts[i] for i in drawn], [target for target in targets for _ in range(each)]


def compare(summaries: list[str], references: list[str], *, stem: bool) -> float:
    """Time both sides, assert equal values, print a line, return the ratio."""
    rouge(summaries[:2], references[:2], stem=stem)  # imports happen before the clock starts

    def once() -> tuple[pd.DataFrame, float]:
        porter_stem.cache_clear()  # every stem is made anew while the clock runs
        start = time.process_time()
        return rouge(summaries, references, stem=stem), time.process_time() - start

    ours, before = once()
    scorer = RougeScorer(list(MEASURES), use_stemmer=stem)
    start = time.process_time()
    peer = [scorer.score(target, text) for text, target in zip(summaries, references, strict=True)]
    peer_seconds = time.process_time() - start
    seconds = (before + once()[1]) / 2  # before and after the peer: the machine's pace may drift

    theirs = pd.DataFrame([[v for m in MEASURES for v in row[m]] for row in peer], columns=COLUMNS)
    worst = float(np.abs(ours.to_numpy() - theirs.to_numpy()).max())
    assert worst <= 1e-12, f"values differ by {worst}"
    n, ratio = len(summaries), peer_seconds / seconds
    print(
        f"{'with' if stem else 'without'} stemming: {1e6 * seconds / n:.1f} us a pair, "
        f"rouge-score {1e6 * peer_seconds / n:.1f} us: {ratio:.1f} times faster "
        f"(largest difference {worst:.1g})"
    )
    return ratio


def main() -> None:
    """Read the options, run both comparisons, fail when one misses the claim."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="JSON lines with `reference_summary`")
    parser.add_argument("--references", type=int, default=300)
    parser.add_argument("--summaries", type=int, default=20, help="for each reference")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    size = options.references, options.summaries
    summaries, references = real(options.data, rng, *size) if options.data else made_up(rng, *size)
    words = np.mean([len(text.split()) for text in summaries])
    print(f"{len(summaries)} pairs, {size[0]} references, {words:.1f} words a summary")
    ratios = [compare(summaries, references, stem=stem) for stem in (False, True)]
    assert min(ratios) >= TARGET, f"the claim is {TARGET} times"


if __name__ == "__main__":
    main()
