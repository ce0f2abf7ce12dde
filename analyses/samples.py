"""The pool of samples as arrays, and what a post gains when the best of N of them is kept.

A cell is a seed's samples of one post; best-of-N chooses within a cell. tests/analyses/
test_samples.py has the arithmetic by hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses import outcomes
from evalsuite.stats.best_of_n import best_of_n_by_prompt

Floats = NDArray[np.float64]

PROXY = "proxy:"


class Samples(NamedTuple):
    """C cells of N samples that one base policy wrote.

    seeds, posts: (C,), which cell is which. gold: (C, N). proxies: objective -> (C, N), NaN in
    cells that it did not score whole.
    """

    base: str
    seeds: Floats
    posts: NDArray[np.object_]
    gold: Floats
    proxies: dict[str, Floats]


class Gains(NamedTuple):
    """What best-of-N gains over N = 1 under one objective, a row a cell.

    gold, score: (C, len(ns)), NaN in cells that it did not score. score is the objective's own, in
    standard deviations of its scores over all samples of the seed; in_gold the same times the
    deviation of gold, so that both have one unit.
    """

    gold: Floats
    score: Floats
    in_gold: Floats


def objectives_of(pool: pd.DataFrame) -> list[str]:
    """Objectives that scored the pool, by their columns; the truth itself is always one."""
    scored = [str(c).removeprefix(PROXY) for c in pool.columns if str(c).startswith(PROXY)]
    return [*(name for name in scored if name != "gold"), "gold"]


def arrange(pool: pd.DataFrame, left_out: dict[str, int]) -> list[Samples]:
    """Samples of each base, the base with most of them first.

    N is the number of samples that most cells have; of cells with more the first N are used, and
    cells with fewer, or with a sample without gold, are left out and counted.
    """
    names = [name for name in objectives_of(pool) if name != "gold"]
    out = []
    few = unknown = 0
    for base, rows in pool.groupby("base"):
        rows = rows.sort_values(["seed", "post_id", "sample"], kind="stable", na_position="first")
        keys = rows["seed"].fillna(0).to_numpy(), rows["post_id"].to_numpy(dtype=object)
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (keys[0][1:] != keys[0][:-1]) | (keys[1][1:] != keys[1][:-1])
        starts = np.flatnonzero(new)
        sizes = np.diff(np.append(starts, len(rows)))
        N = int(np.bincount(sizes).argmax())
        few += int((sizes < N).sum())
        first = starts[sizes >= N]
        places = first[:, None] + np.arange(N)
        gold = rows["gold"].to_numpy()[places]
        known = ~np.isnan(gold).any(axis=1)
        unknown += int((~known).sum())
        first, places = first[known], places[known]
        proxies = {name: rows[f"{PROXY}{name}"].to_numpy(float)[places] for name in names}
        for values in proxies.values():
            values[np.isnan(values).any(axis=1)] = np.nan
        proxies["gold"] = gold[known]
        out.append(Samples(str(base), keys[0][first], keys[1][first], gold[known], proxies))
    for reason, count in (("with fewer samples", few), ("with unknown gold", unknown)):
        if count:
            left_out[f"cells of the pool {reason}"] = count
    return sorted(out, key=lambda samples: -samples.gold.size)


def sizes(N: int) -> list[int]:
    """1, 2, 4 ... and N itself."""
    return sorted({*(1 << i for i in range(N.bit_length())), N})


def halfway(gone: Floats) -> tuple[int, int]:
    """Places of the point nearest to half of the way, and of its end; gone: (D,), from 0.

    Chosen by how far, never by what was gained there: a peak that is picked from noisy points is
    too high, and whatever follows then seems to fall.
    """
    last = int(np.argmax(gone))
    return int(np.argmin(np.abs(gone - gone[last] / 2))), last


def gains(samples: Samples, objective: str, ns: list[int]) -> Gains:
    """Gold and own score of the best of each n less that of one sample.

    An objective that gives all samples of a seed one score has no scale there: its score gains
    are NaN.
    """
    proxy = samples.proxies[objective]
    scored = np.asarray(~np.isnan(proxy).any(axis=1))
    proxy, gold, seeds = proxy[scored], samples.gold[scored], samples.seeds[scored]
    best = best_of_n_by_prompt(proxy, gold, ns), best_of_n_by_prompt(proxy, proxy, ns)
    own, true = deviation(proxy, seeds), deviation(gold, seeds)
    own[own == 0] = np.nan
    score = (best[1] - proxy.mean(axis=1, keepdims=True)) / own[:, None]
    found = best[0] - gold.mean(axis=1, keepdims=True), score, score * true[:, None]
    out = np.full((3, len(scored), len(ns)), np.nan)
    out[:, scored] = found
    return Gains(*out)


def deviation(values: Floats, seeds: Floats) -> Floats:
    """Standard deviation of all (K, N) values of each row's seed, (K,)."""
    out = np.zeros(len(values))
    for seed in np.unique(seeds):
        out[seeds == seed] = values[seeds == seed].std()
    return out


def of_main_domain(summaries: pd.DataFrame) -> pd.DataFrame:
    """Summaries of the domain that policies were trained on, by `outcomes.home`.

    Seeds that are not told apart count as one.
    """
    mine = summaries[summaries["domain"] == outcomes.home(summaries["domain"])]
    return mine.assign(seed=mine["seed"].fillna(0))
