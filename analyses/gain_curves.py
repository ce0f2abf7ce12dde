"""Curves of gain by distance from the start, of each objective, from the pool and from PPO's way.

All gains are of the same posts for all points of a curve, seed by seed. A proxy has no unit of its
own: its gain is given in units in which its scores spread over the start's samples as the truth
does. tests/analyses/test_gain_curves.py has the arithmetic by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from analyses import samples
from analyses.samples import Floats, Samples
from evalsuite.stats.best_of_n import kl_bound
from evalsuite.stats.overoptimization import CurveFit, Form, curve_fit, distance
from evalsuite.stats.replicates import crossed_cells


class Curve(NamedTuple):
    """Gains of one objective by one way of pursuing it, on S seeds x P posts.

    kl_coef: of PPO, else NaN. at: N or update, (D,). d: sqrt(nats), (S, D). gold, proxy:
    (S, P, D); proxy is NaN where it has no scale.
    """

    way: Form
    objective: str
    kl_coef: float
    seeds: list[object]
    posts: list[object]
    at: Floats
    d: Floats
    gold: Floats
    proxy: Floats

    def halfway(self) -> tuple[int, int]:
        """Places of the point halfway and of the end: in d for best-of-N, in updates for PPO.

        PPO's distance is no axis to halve: most of it is gone in the first updates.
        """
        return samples.halfway(self.way_gone)

    @property
    def way_gone(self) -> Floats:
        """Share of the way that is gone at each point, by what `halfway` halves; (D,)."""
        axis = self.d.mean(axis=0) if self.way == "best-of-n" else self.at
        return np.asarray((axis - axis[0]) / (axis.max() - axis[0] or 1.0))

    def of(self, seeds: list[object], posts: list[object]) -> Curve:
        """The curve of these seeds and posts alone."""
        s = [self.seeds.index(seed) for seed in seeds]
        place = {post: i for i, post in enumerate(self.posts)}
        p = [place[post] for post in posts]
        return self._replace(
            seeds=seeds, posts=posts, d=self.d[s], gold=self.gold[s][:, p],
            proxy=self.proxy[s][:, p],
        )  # fmt: skip


def in_common(one: Curve, other: Curve) -> tuple[Curve, Curve]:
    """Both curves on the seeds and posts that both have."""
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    known = set(other.posts)
    posts = [post for post in one.posts if post in known]
    return one.of(seeds, posts), other.of(seeds, posts)


def fitted(curve: Curve, level: float) -> CurveFit:
    """The form of Gao et al. of its way, fitted to the truth."""
    return curve_fit(curve.gold, curve.d, form=curve.way, level=level)


def best_of_n_curves(pool: Samples) -> Iterator[Curve]:
    """A curve an objective, by N; d is that of the upper bound of the KL."""
    ns = samples.sizes(pool.gold.shape[1])
    d = distance(kl_bound(ns))
    for objective in pool.proxies:
        gains = samples.gains(pool, objective, ns)
        known = np.isfinite(gains.gold).all(axis=1)
        if known.any():
            yield _curve(
                "best-of-n", objective, np.nan, np.asarray(ns, float), gains.gold[known],
                gains.in_gold[known], pool.seeds[known], pool.posts[known],
                dict.fromkeys(np.unique(pool.seeds).tolist(), d),
            )  # fmt: skip


def ppo_curves(
    trajectory: pd.DataFrame, pool: Samples | None, size: str, left_out: Counter[str]
) -> Iterator[Curve]:
    """A curve an objective, by update: of the run with the smallest KL coefficient.

    Only policies of `size` with a value network of their own. The start is the first update on
    file; at update 0 the distance is 0. pool: of the same start, for the scale of a proxy.
    """
    rows = trajectory.assign(
        seed=trajectory["seed"].fillna(0), coef=trajectory["kl_coef"].fillna(-1)
    )
    mine = (rows["value_network"] != "shared") & (rows["size"] == size)
    left_out["summaries of PPO on its way, of another size or value network"] += int((~mine).sum())
    for objective, runs in rows[mine].groupby("objective"):
        freest = runs["coef"] == runs["coef"].min()
        left_out["summaries of PPO on its way, of a larger KL coefficient"] += int((~freest).sum())
        runs = runs[freest]
        wide = runs.groupby(["seed", "post_id", "update"])[["gold", "proxy"]].mean().unstack()
        kl = runs.groupby(["seed", "update"])["kl_nats"].mean().unstack()
        gold, proxy = wide["gold"].to_numpy(), wide["proxy"].to_numpy()
        seeds = wide.index.get_level_values("seed").to_numpy(float)
        known = np.isfinite(gold).all(axis=1) & np.isin(seeds, kl.dropna().index)
        left_out["posts without a summary at every update of PPO"] += int((~known).sum())
        if not known.any():
            continue
        d = distance(kl.to_numpy())
        d[:, kl.columns == 0] = 0.0
        posts = wide.index.get_level_values("post_id").to_numpy(object)
        unit = np.array([
            _unit(pool, str(objective), seed, runs[runs["seed"] == seed]) for seed in kl.index
        ])  # fmt: skip
        own = (proxy - proxy[:, :1]) * unit[kl.index.get_indexer(seeds), None]
        yield _curve(
            "ppo", str(objective), float(runs["kl_coef"].iloc[0]), kl.columns.to_numpy(float),
            (gold - gold[:, :1])[known], own[known], seeds[known], posts[known],
            dict(zip(kl.index.tolist(), d, strict=True)),
        )  # fmt: skip


def _unit(pool: Samples | None, objective: str, seed: float, run: pd.DataFrame) -> float:
    """Spread of the truth over that of the proxy, over the start's samples of a seed."""
    gold, proxy = np.empty(0), np.empty(0)
    if pool is not None and objective in pool.proxies:
        mine = pool.seeds == seed
        gold, proxy = pool.gold[mine].ravel(), pool.proxies[objective][mine].ravel()
        gold, proxy = gold[~np.isnan(proxy)], proxy[~np.isnan(proxy)]
    if not len(proxy):
        start = run[run["update"] == run["update"].min()].dropna(subset="proxy")
        gold, proxy = start["gold"].to_numpy(), start["proxy"].to_numpy()
    spread = proxy.std() if len(proxy) else 0.0
    return float(gold.std() / spread) if spread > 0 else np.nan


def _curve(
    way: Form, objective: str, kl_coef: float, at: Floats, gold: Floats, proxy: Floats,
    seeds: Floats, posts: np.ndarray, d: dict[object, Floats],
) -> Curve:  # fmt: skip
    """The balanced curve of (K, D) gains, of the posts that every seed has."""
    scaled = np.isfinite(proxy).all()
    both = np.concatenate([gold, proxy if scaled else np.zeros_like(proxy)], axis=1)
    cells = crossed_cells(both, seeds=seeds, posts=posts)
    of_gold, of_proxy = np.split(cells.values, 2, axis=2)
    return Curve(
        way, objective, kl_coef, cells.seeds, cells.posts, at,
        np.stack([d[seed] for seed in cells.seeds]), of_gold,
        of_proxy if scaled else np.full_like(of_gold, np.nan),
    )  # fmt: skip
