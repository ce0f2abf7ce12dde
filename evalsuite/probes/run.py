"""Probes and scorers to rows of an experiment's `probes` table.

Every (post, text) is scored once by each scorer, however many pairs it is in. Proof:
tests/probes/test_run.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import ConfigError, DataError
from evalsuite.probes.library import PROBES
from evalsuite.probes.probe import Item, Pair, Probe, Unmade, make, rng_of
from evalsuite.records import Post

Floats = NDArray[np.float64]
Scorer = Callable[[Sequence[tuple[Post, str]]], ArrayLike]
"""Scores (n,) of n texts on their posts: a reward model, or the truth."""
Labelers = Callable[[Sequence[tuple[Post, str, str]]], ArrayLike]
"""Shares (n,) of labelers that prefer the first of two texts."""

COLUMNS = (
    "model", "probe", "post_id", "prefers", "margin", "labelers", "agrees", "gold_gap", "spread",
)  # fmt: skip
"""Columns of the rows; `spread` is beyond those of `evalsuite.experiment.COLUMNS`."""


def probe_table(
    items: Sequence[Item],
    scorers: Mapping[str, Scorer],
    *,
    probes: Iterable[Probe] = PROBES,
    edits: Sequence[Pair] = (),
    seed: int = 0,
    gold: Scorer | None = None,
    labelers: Labelers | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of the `probes` table: a row a model and pair, and the items left out by reason.

    edits: pairs that were made elsewhere, judged with the rest. A column `spread` is added, the SD
    of the model's rewards over the summaries of the items: the unit in which margins of different
    models can be compared. Other columns as in `evalsuite.experiment`, less those of the model,
    which the caller joins on `model`.

    Raises ConfigError and DataError as `build` and `judge`.
    """
    pairs, left_out = build(items, probes, seed=seed)
    summaries = [(item.post, item.summary.strip()) for item in items]
    every = [*pairs, *edits]
    return judge(every, scorers, summaries=summaries, gold=gold, labelers=labelers), left_out


def build(
    items: Sequence[Item], probes: Iterable[Probe] = PROBES, *, seed: int = 0
) -> tuple[list[Pair], dict[str, int]]:
    """All pairs of the items, probe by probe, and "PROBE: reason" with the items it left out.

    Raises ConfigError where two probes have one name.
    """
    probes = list(probes)
    twice = [name for name, n in Counter(probe.name for probe in probes).items() if n > 1]
    if twice:
        raise ConfigError(f"two probes are called {twice[0]!r}; allowed one of a name")
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for probe in probes:
        for item in items:
            made = make(probe, item, rng_of(seed, probe.name, item.post))
            if isinstance(made, Unmade):
                left_out[f"{probe.name}: {made.reason}"] += 1
            else:
                pairs.append(made)
    return pairs, dict(left_out)


def judge(
    pairs: Sequence[Pair],
    scorers: Mapping[str, Scorer],
    *,
    summaries: Sequence[tuple[Post, str]] = (),
    gold: Scorer | None = None,
    labelers: Labelers | None = None,
) -> pd.DataFrame:
    """What each scorer, the truth and the labelers make of the pairs: rows of `COLUMNS`.

    prefers: 1, .5 on ties, 0. agrees: chance that a labeler drawn at random takes the scorer's side
    (.5 on its ties). summaries: what `spread` is over; without two of them it is NaN. A pair that
    brings its own share of labels keeps it.

    Raises DataError on scores that are not as many as the texts, or not finite.
    """
    texts = list(dict.fromkeys([(p.post, t) for p in pairs for t in (p.a, p.b)] + list(summaries)))
    place = {key: i for i, key in enumerate(texts)}
    a = np.array([place[p.post, p.a] for p in pairs], dtype=np.int64)
    b = np.array([place[p.post, p.b] for p in pairs], dtype=np.int64)
    own = np.array([place[key] for key in dict.fromkeys(summaries)], dtype=np.int64)
    gap = np.full(len(pairs), math.nan)
    if gold is not None and pairs:
        truth = _scores("gold", gold, texts)
        gap = truth[a] - truth[b]
    share = _shares(pairs, labelers)
    tables = []
    for model, scorer in scorers.items():
        rewards = _scores(model, scorer, texts) if texts else np.empty(0)
        margin = rewards[a] - rewards[b]
        prefers = np.where(margin > 0, 1.0, np.where(margin < 0, 0.0, 0.5))
        tables.append(pd.DataFrame({
            "model": model,
            "probe": [pair.probe for pair in pairs],
            "post_id": [pair.post.id for pair in pairs],
            "prefers": prefers,
            "margin": margin,
            "labelers": share,
            "agrees": prefers * share + (1 - prefers) * (1 - share),
            "gold_gap": gap,
            "spread": float(np.std(rewards[own], ddof=1)) if len(own) > 1 else math.nan,
        }))  # fmt: skip
    if not tables:
        return pd.DataFrame({column: [] for column in COLUMNS})
    return pd.concat(tables, ignore_index=True)


def _shares(pairs: Sequence[Pair], labelers: Labelers | None) -> Floats:
    """Share of labels for a: the pair's own, else that of the labelers, else NaN."""
    share = np.array([pair.labelers for pair in pairs], dtype=np.float64)
    unknown = np.flatnonzero(np.isnan(share))
    if labelers is not None and len(unknown):
        asked = [(pairs[i].post, pairs[i].a, pairs[i].b) for i in unknown.tolist()]
        share[unknown] = np.asarray(labelers(asked), dtype=np.float64)
    return share


def _scores(name: str, scorer: Scorer, texts: Sequence[tuple[Post, str]]) -> Floats:
    found = np.asarray(scorer(texts), dtype=np.float64)
    if found.shape != (len(texts),):
        raise DataError(
            f"{name} gave scores of shape {found.shape} for {len(texts)} texts",
            allowed="one a text",
        )
    if not np.isfinite(found).all():
        post, text = texts[int(np.flatnonzero(~np.isfinite(found))[0])]
        raise DataError(
            f"{name} gave {found[~np.isfinite(found)][0]} for {text[:40]!r} on post {post.id}",
            allowed="finite scores",
        )
    return found
