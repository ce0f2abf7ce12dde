"""Contrasts of an experiment, each one number with its interval: what claims are decided by.

A contrast is signed so that the claim says "above 0", and whatever it needs is chosen by what was
run (labels, sizes, temperatures, distances), never by how it came out. What the tables lack raises
`NotMeasuredError`. tests/analyses/test_directions.py has the arithmetic by hand.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from analyses import objectives, samples
from analyses.gain_curves import Curve, best_of_n_curves, fitted, in_common, ppo_curves
from analyses.samples import Floats
from evalsuite.errors import EvalsuiteError
from evalsuite.experiment import Experiment
from evalsuite.stats.estimate import Estimate
from evalsuite.stats.length_share import LengthShare, length_share_regression
from evalsuite.stats.overoptimization import CurveFit, Form, higher, sooner
from evalsuite.stats.replicates import crossed_difference, crossed_mean, crossed_statistic
from evalsuite.stats.scaling import Scaling, scaling_per_doubling

Which = Literal["few", "many", "worst", "rouge", "gold"]

_RANKED = 48
"""Samples of a post that are ranked against each other, pair by pair."""


class NotMeasuredError(EvalsuiteError):
    """The tables do not have what a contrast needs; the message says what."""


class Contrasts:
    """Contrasts of one experiment, on the main domain where nothing else is said.

    size: of the policies; that with most PPO policies, the smaller of two. Reward models are of
    the size that most of them have; `few` and `many` are those of the fewest and most labels.
    """

    def __init__(self, experiment: Experiment, level: float = 0.95) -> None:
        self.experiment, self.level = experiment, level
        self.size = objectives.size_of_policies(experiment["policies"])

    # -- what there is ---------------------------------------------------------------------

    def objective(self, which: Which) -> str:
        """Key of an objective; `few` and `many` are single reward models of no round."""
        table = self.experiment["objectives"]
        models = table[(table["kind"] == "rm") & table["round"].isna()]
        models = models[models["size"] == objectives.most_used(models)].sort_values("labels")
        if which in ("few", "many"):
            if models["labels"].nunique() < 2:
                raise NotMeasuredError("reward models of one size with different numbers of labels")
            return str(models["objective"].iloc[0 if which == "few" else -1])
        key = f"worst({self.objective('few')})" if which == "worst" else which
        if key != "gold" and key not in set(table["objective"]):
            raise NotMeasuredError(f"the objective {key}")
        return key

    @cached_property
    def _curves(self) -> dict[tuple[Form, str], Curve]:
        left_out: Counter[str] = Counter()
        pool = self.experiment["pool"]
        base = samples.arrange(pool, left_out)[0] if len(pool) else None
        found = list(best_of_n_curves(base)) if base else []
        found += ppo_curves(self.experiment["trajectory"], base, self.size, left_out)
        return {(curve.way, curve.objective): curve for curve in found}

    def curve(self, way: Form, which: Which) -> Curve:
        """Gains of an objective by distance; of PPO the run with the smallest KL coefficient."""
        objective = self.objective(which)
        if (way, objective) not in self._curves:
            said = "best-of-N" if way == "best-of-n" else "PPO on its way"
            raise NotMeasuredError(f"{said} under {objective}")
        return self._curves[way, objective]

    def policy(self, method: str, temperature: float, size: str = "") -> str:
        """The policy of a method that stands for it: PPO's main run, plain sampling of others."""
        table = self.experiment["policies"]
        size = size or self.size
        mine = table[(table["method"] == method) & (table["size"] == size)]
        if method == "human feedback":
            run = ["objective", "kl_coef", "value_network"]
            mine = mine.merge(mine.loc[mine["main"] == 1, run].drop_duplicates(), on=run)
        mine = mine[mine["top_p"].isna() | (mine["top_p"] == 1)]
        mine = mine[mine["temperature"] == temperature]
        if mine.empty:
            raise NotMeasuredError(f"a policy by {method} of size {size} at T = {temperature:g}")
        return str(mine["policy"].iloc[0])

    def _summaries(self, policy: str, domain: str = "") -> pd.DataFrame:
        """Mean numbers of a policy's summaries by (seed, post)."""
        rows = self.experiment["summaries"]
        rows = rows[rows["domain"] == domain] if domain else samples.of_main_domain(rows)
        rows = rows[rows["policy"] == policy].assign(seed=lambda t: t["seed"].fillna(0))
        numbers = ["gold", "preferred", "reward", "chars", "gold_reference"]
        means = rows.groupby(["seed", "post_id"])[numbers].mean()
        if means.empty:
            raise NotMeasuredError(f"summaries of {policy}{f' in {domain}' if domain else ''}")
        return means

    # -- policies --------------------------------------------------------------------------

    def better(self, one: str, other: str, domain: str = "", column: str = "gold") -> Estimate:
        """One policy's mean less another's, paired by seed and post."""
        a, b = (self._summaries(policy, domain)[column] for policy in (one, other))
        pair = pd.concat([a, b], axis=1, keys=["a", "b"]).dropna().reset_index()
        if pair.empty:
            raise NotMeasuredError(f"{column} of {one} and {other} on the same posts")
        return crossed_difference(
            pair["a"], pair["b"], seeds=pair["seed"], posts=pair["post_id"], level=self.level
        )

    def methods(
        self, one: str, other: str, temperature: float, domain: str = "", than: float | None = None
    ) -> Estimate:
        """Gold of a method less that of another, at `temperature` (the other at `than`)."""
        against = temperature if than is None else than
        return self.better(
            self.policy(one, temperature), self.policy(other, against), domain=domain
        )

    def over_references(self, method: str, temperature: float) -> Estimate:
        """Share of posts on which a method is truly better than the reference, less a half."""
        rows = self._summaries(self.policy(method, temperature))["preferred"].dropna().reset_index()
        if rows.empty:
            raise NotMeasuredError(f"the worth of references beside {method}")
        return crossed_mean(
            rows["preferred"] - 0.5, seeds=rows["seed"], posts=rows["post_id"], level=self.level
        )

    def over_larger_supervised(self, temperature: float) -> Estimate:
        """Gold of human feedback less that of supervised learning of the largest size."""
        table = self.experiment["policies"]
        sizes = table[table["method"] == "supervised"].sort_values("parameters")
        mine = sizes.loc[sizes["size"] == self.size, "parameters"].max()
        if sizes.empty or not sizes["parameters"].iloc[-1] > mine:
            raise NotMeasuredError("a supervised policy of a larger size")
        larger = self.policy("supervised", temperature, str(sizes["size"].iloc[-1]))
        return self.better(self.policy("human feedback", temperature), larger)

    def foreign_domain(self) -> str:
        """The domain that no policy was trained on."""
        rows = self.experiment["summaries"]
        main = set(samples.of_main_domain(rows)["domain"])
        others = rows.loc[~rows["domain"].isin(main), "domain"].value_counts()
        if others.empty:
            raise NotMeasuredError("summaries of a second domain")
        return str(others.index[0])

    def value_networks(self) -> Estimate:
        """Final reward with a value network of its own less that with a shared one."""
        table = self.experiment["policies"]
        run = ["size", "objective", "kl_coef", "temperature"]
        own, shared = (table[table["value_network"] == kind] for kind in ("separate", "shared"))
        both = own.merge(shared, on=run, suffixes=("", "_shared")).sort_values([*run, "policy"])
        if both.empty:
            raise NotMeasuredError("PPO with a shared value network")
        return self.better(both["policy"].iloc[0], both["policy_shared"].iloc[0], column="reward")

    def length(self, temperature: float) -> LengthShare:
        """What length explains of the gain in truth of human feedback over supervised."""
        parts = []
        for method in ("human feedback", "supervised"):
            rows = self._summaries(self.policy(method, temperature)).reset_index()
            parts.append(rows.assign(treated=method == "human feedback"))
        rows = pd.concat(parts).dropna(subset=["gold", "chars"])
        rows = rows[rows["chars"] > 0]
        return length_share_regression(
            rows["gold"], rows["chars"], rows["treated"], seeds=rows["seed"],
            posts=rows["post_id"], level=self.level,
        )  # fmt: skip

    def length_explains(self, temperature: float) -> Estimate:
        """Share of that gain that goes at equal length, where the gain itself is above 0."""
        found = self.length(temperature)
        if not found.raw.low > 0:
            raise NotMeasuredError("a gain to explain")
        return found.share

    # -- curves ----------------------------------------------------------------------------

    def _halves(self, way: Form, which: Which, own: bool) -> tuple[Floats, Floats, float]:
        """Gains (S, P) halfway (see `Curve.halfway`) and at the end; of the truth, or its own.

        Last the share of the way that is gone at the point called halfway, by which it was chosen.
        """
        curve = self.curve(way, which)
        half, last = curve.halfway()
        if not curve.at[0] < curve.at[half] < curve.at[last]:
            raise NotMeasuredError(f"a point halfway on the way of {curve.objective}")
        gains = curve.proxy if own else curve.gold
        if not np.isfinite(gains).all():
            raise NotMeasuredError(f"the own score of {curve.objective}")
        return gains[..., half], gains[..., last], float(curve.way_gone[half])

    def rise(self, way: Form, which: Which) -> Estimate:
        """Gain in truth halfway."""
        return crossed_statistic(self._halves(way, which, own=False)[0], level=self.level)

    def flattening(self, way: Form, which: Which) -> Estimate:
        """Slope of the truth on the first part of the way less that on the second.

        In gain a whole way, so that parts of unequal length compare, and a straight line has 0.
        """
        half, last, gone = self._halves(way, which, own=False)
        slopes = half / gone, (last - half) / (1 - gone)
        return crossed_statistic(slopes[0] - slopes[1], level=self.level)

    def fall(self, way: Form, which: Which) -> Estimate:
        """Gain in truth halfway less that at the end."""
        half, last, _ = self._halves(way, which, own=False)
        return crossed_statistic(half - last, level=self.level)

    def own_rise(self, way: Form, which: Which) -> Estimate:
        """Gain of its own score at the end less that halfway."""
        half, last, _ = self._halves(way, which, own=True)
        return crossed_statistic(last - half, level=self.level)

    def sooner(self, way: Form, one: Which, other: Which) -> Estimate:
        """Whether one objective's fitted curve turns sooner; see `overoptimization.sooner`.

        A sign and no amount; undefined where the fits have no order.
        """
        return sooner(*self._fits(way, one, other), level=self.level)

    def higher(self, way: Form, one: Which, other: Which) -> Estimate:
        """Largest fitted gain of one objective less that of the other, up to where both went.

        What becomes of a curve that does not rise is said in `overoptimization.higher`.
        """
        return higher(*self._fits(way, one, other), level=self.level)

    def _fits(self, way: Form, one: Which, other: Which) -> tuple[CurveFit, CurveFit]:
        pair = in_common(self.curve(way, one), self.curve(way, other))
        if not pair[0].seeds or not pair[0].posts:
            raise NotMeasuredError("posts that both objectives were pursued on")
        return fitted(pair[0], self.level), fitted(pair[1], self.level)

    def at_most_samples(self, one: Which, other: Which) -> Estimate:
        """Gain in truth of the best of most samples under one objective less under the other."""
        a, b = in_common(self.curve("best-of-n", one), self.curve("best-of-n", other))
        if not a.seeds or not a.posts:
            raise NotMeasuredError("posts that both objectives chose on")
        return crossed_statistic(a.gold[..., -1] - b.gold[..., -1], level=self.level)

    def best_of_n_at_equal_kl(self, which: Which) -> Estimate:
        """Own score's gain of best-of-N less that of PPO, at the largest distance that both reach.

        Between points of a curve the gain is taken as straight in d, seed by seed.
        """
        pair = in_common(self.curve("best-of-n", which), self.curve("ppo", which))
        if not pair[0].seeds or not pair[0].posts:
            raise NotMeasuredError("posts on which both best-of-N and PPO wrote")
        if not all(np.isfinite(curve.proxy).all() for curve in pair):
            raise NotMeasuredError("the own score of best-of-N and PPO")
        d = min(float(curve.d.max(axis=1).min()) for curve in pair)
        if not d > 0:
            raise NotMeasuredError("a policy by PPO that moved")
        best, ppo = (_at_distance(curve, d) for curve in pair)
        return crossed_statistic(best - ppo, level=self.level)

    # -- reward models ---------------------------------------------------------------------

    @cached_property
    def _scaling(self) -> Scaling:
        pairs = self.experiment["pairs"]
        one = objectives.single(pairs) & pairs["labels"].notna() & pairs["correct"].notna()
        rows = pairs[one & (pairs["parameters"] > 0)]
        if rows.empty:
            raise NotMeasuredError("pairs that reward models judged")
        return scaling_per_doubling(
            rows["correct"], labels=rows["labels"], parameters=rows["parameters"],
            seeds=rows["seed"].fillna(0), posts=rows["post_id"], level=self.level,
        )  # fmt: skip

    def per_doubling(self, of: Literal["data", "size"]) -> Estimate:
        """Accuracy per doubling of labels or of parameters."""
        estimate: Estimate = getattr(self._scaling, of)
        if math.isnan(estimate.value):
            raise NotMeasuredError(estimate.method.removeprefix("undefined: "))
        return estimate

    def ranking(self, one: Which, other: Which) -> Estimate:
        """Share of pairs of a post's samples that one objective ranks as the truth does, less that
        of the other; ties half. Of the first samples of each post.
        """
        pool = self.experiment["pool"]
        if not len(pool):
            raise NotMeasuredError("a pool of samples")
        base = samples.arrange(pool, Counter())[0]
        sides = []
        for which in (one, other):
            objective = self.objective(which)
            if objective not in base.proxies:
                raise NotMeasuredError(f"the pool's scores by {objective}")
            sides.append(base.proxies[objective][:, :_RANKED])
        gold = base.gold[:, :_RANKED]
        better = _concordance(sides[0], gold) - _concordance(sides[1], gold)
        known = np.isfinite(better)
        if not known.any():
            raise NotMeasuredError("posts whose samples differ in truth")
        return crossed_mean(
            better[known], seeds=base.seeds[known], posts=base.posts[known], level=self.level
        )


def _at_distance(curve: Curve, d: float) -> Floats:
    """Own score's gain at distance d, straight between the two points around it; (S, P)."""
    out = []
    for at, gains in zip(curve.d, curve.proxy, strict=True):
        order = np.argsort(at, kind="stable")
        x = at[order]
        right = int(np.clip(np.searchsorted(x, d), 1, len(x) - 1))
        width = x[right] - x[right - 1]
        share = (d - x[right - 1]) / width if width > 0 else 1.0
        left_gain, right_gain = gains[:, order[right - 1]], gains[:, order[right]]
        out.append((1 - share) * left_gain + share * right_gain)
    return np.stack(out)


def _concordance(proxy: Floats, gold: Floats) -> Floats:
    """Share of pairs of samples ranked alike, (C,); NaN where all samples are equally good."""
    out = np.full(len(gold), np.nan)
    for cell, (p, g) in enumerate(zip(proxy, gold, strict=True)):
        i, j = np.triu_indices(len(g), 1)
        truth, said = np.sign(g[i] - g[j]), np.sign(p[i] - p[j])
        if (truth != 0).any() and np.isfinite(p).all():
            out[cell] = ((truth * said)[truth != 0].mean() + 1) / 2
    return out
