"""Where a proxy and the truth part: best-of-N and PPO on one axis, with fitted curves.

The axis is d = sqrt(KL from the start). Gains are over the start, the supervised policy at the same
temperature: one sample for best-of-N, the policy before its first update for PPO. To stand on one
axis with the truth, a proxy's gain is given in units in which the proxy's scores spread over the
start's samples as the truth does. Curves are fitted to the truth alone, and compared by seed and
post. The fits are those of `evalsuite.stats.overoptimization`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses import objectives, outcomes, overoptimization_figure, samples, wording
from analyses.choices import Share
from analyses.gain_curves import Curve, best_of_n_curves, fitted, in_common, ppo_curves
from analyses.overoptimization_figure import (
    BEST_OF_N,
    CHANGE,
    DIFFERENCE,
    FINAL,
    FIT,
    GOLD,
    PPO,
    PROXY,
)  # fmt: skip
from analyses.samples import Samples
from evalsuite.experiment import Experiment
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.overoptimization import (
    QUANTITIES,
    CurveFit,
    change_between,
    curve_difference,
    distance,
)  # fmt: skip
from evalsuite.stats.replicates import crossed_difference, crossed_statistic
from evalsuite.tables import Tables

TITLE = "Over-optimisation: best-of-N, PPO and ensembles"
SOURCE = "Beyond the paper: Gao et al. 2022; ensembles: Coste et al. 2023"
DIFFERS = (
    "The truth is that of the experiment, not a larger reward model's. Gains are differences by "
    "post and fits have intervals over seeds and posts. PPO keeps the KL coefficient of its run "
    "(Gao et al.: none); of several runs that with the smallest is the curve. The KL of best-of-N "
    "is an upper bound, that of PPO a mean over summaries."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.experiment is None:
        return "there is no experiment"
    pool, trajectory = tables.experiment["pool"], tables.experiment["trajectory"]
    scored = len(pool) and samples.objectives_of(pool) != ["gold"]
    if len(trajectory) or scored:
        return None
    return "the experiment has no trajectory of PPO and no pool that an objective scored"


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rows by way (best-of-n, ppo) and objective.

    gold, proxy: gain at a point of the curve (`at`: N or update), d from the start. fit: `of` is
    alpha, beta, turn, peak_d, peak_gain or top_gain of the curve fitted to gold; `beyond` says
    that its peak lies past the data. change: of gold or proxy (`of`) from the point halfway (`at`;
    by d for best-of-N, by updates for PPO) to the last. difference: of a fit's number (`of`) less
    that of `against`. final: gold of a final policy less that of its start, at its own d, on
    the posts of its objective's curve.
    """
    experiment = tables.experiment
    assert experiment is not None
    left_out: Counter[str] = Counter()
    pools = samples.arrange(experiment["pool"], left_out) if len(experiment["pool"]) else []
    left_out["samples of other bases than the one with most"] = sum(
        other.gold.size for other in pools[1:]
    )
    pool = pools[0] if pools else None
    size = _size(experiment)
    curves = list(best_of_n_curves(pool)) if pool else []
    curves += ppo_curves(experiment["trajectory"], pool, size, left_out)
    level = options.level
    rows: list[dict[str, object]] = []
    for curve in curves:
        rows += _points(curve, level) + _fit(curve, fitted(curve, level)) + _changes(curve, level)
    for one, other in itertools.combinations(curves, 2):
        if one.way == other.way and "gold" not in (one.objective, other.objective):
            rows += _differences(*in_common(one, other), level)
    # PPO's curves come last: a policy stands beside the curve of its own way where there is one.
    posts = {curve.objective: curve.posts for curve in curves}
    rows += _finals(experiment, pool, size, posts, level)
    table = pd.DataFrame(rows, columns=_OWN)
    facts = objectives.of_experiment(experiment["objectives"], table["objective"].unique())
    table = table.merge(facts, on="objective", how="left").assign(unit=experiment.gold_unit)
    return Result(table[_COLUMNS], {reason: n for reason, n in left_out.items() if n})


_KEYS = ["quantity", "of", "against", "kl_coef", "at", "kl_nats", "d", "beyond"]
_OWN = ["way", "objective", *_KEYS, *Estimate._fields]
_COLUMNS = ["way", "objective", *objectives.FACTS, "unit", *_KEYS, *Estimate._fields]


def _size(experiment: Experiment) -> str:
    """The size of the policies compared, as in `contrasts`; without policies, of most summaries."""
    sizes = experiment["trajectory"]["size"]
    if size := objectives.size_of_policies(experiment["policies"]):
        return size
    return str(sizes.value_counts().index[0]) if len(sizes) else ""


def _points(curve: Curve, level: float) -> list[dict[str, object]]:
    """Gains in truth and in the proxy, with their distance (mean over seeds)."""
    out = []
    for i, at in enumerate(curve.at):
        d = float(curve.d[:, i].mean())
        keys = {"at": at, "d": d, "kl_nats": float((curve.d[:, i] ** 2).mean())}
        for quantity, gains in ((GOLD, curve.gold), (PROXY, curve.proxy)):
            if np.isfinite(gains).all():
                estimate = crossed_statistic(gains[..., i], level=level)
                out.append(_row(curve, estimate, quantity, **keys))
    return out


def _fit(curve: Curve, fit: CurveFit) -> list[dict[str, object]]:
    return [
        _row(curve, getattr(fit, name), FIT, of=name, d=fit.d_max, beyond=float(fit.beyond))
        for name in QUANTITIES
    ]


def _changes(curve: Curve, level: float) -> list[dict[str, object]]:
    """Change from halfway to the end of the curve."""
    half, last = curve.halfway()
    if half == last:
        return []
    keys = {"at": curve.at[half], "d": float(curve.d[:, half].mean())}
    return [
        _row(curve, change_between(gains, half, last, level=level), CHANGE, of=of, **keys)
        for of, gains in ((GOLD, curve.gold), (PROXY, curve.proxy)) if np.isfinite(gains).all()
    ]  # fmt: skip


def _differences(one: Curve, other: Curve, level: float) -> list[dict[str, object]]:
    if not one.seeds or not one.posts:
        return []
    found = curve_difference(fitted(one, level), fitted(other, level), level=level)
    return [
        _row(one, estimate, DIFFERENCE, of=name, against=other.objective)
        for name, estimate in found.items()
    ]


def _row(curve: Curve, estimate: Estimate, quantity: str, **keys: object) -> dict[str, object]:
    named = {"way": curve.way, "objective": curve.objective, "kl_coef": curve.kl_coef}
    return row(estimate, **named, quantity=quantity, **keys)


def _finals(
    experiment: Experiment, pool: Samples | None, size: str, posts: dict[str, list[object]],
    level: float,
) -> list[dict[str, object]]:  # fmt: skip
    """Gold of final PPO policies less that of their start at the same temperature, by post.

    posts: of the curve that a policy of this objective is drawn on; all where it has none.
    """
    policies = experiment["policies"]
    tuned = policies["method"].isin(["human feedback", "rouge"]) & (policies["size"] == size)
    tuned &= (policies["value_network"] != "shared") & policies["round"].isna()
    start = policies[(policies["method"] == "supervised") & (policies["size"] == size)]
    start = start[outcomes.plain(start)]
    if pool is not None and (start["policy"] == pool.base).any():
        start = start[start["policy"] == pool.base]
    start = start[start["temperature"].isin(policies.loc[tuned, "temperature"])]
    if start.empty:
        return []
    first = start.iloc[0]
    summaries = samples.of_main_domain(experiment["summaries"])
    gold = summaries.groupby(["policy", "seed", "post_id"])[["gold", "kl_nats"]].mean()
    out = []
    tuned &= policies["temperature"] == first["temperature"]
    for policy in policies[tuned].itertuples(index=False):
        known = gold.index.get_level_values("policy")
        if policy.policy not in known or first["policy"] not in known:
            continue
        after, before = gold.loc[policy.policy], gold.loc[first["policy"], "gold"].rename("start")
        pair = after.join(before, how="inner").dropna().reset_index()
        if policy.objective in posts:
            pair = pair[pair["post_id"].isin(posts[policy.objective])]
        if pair.empty:
            continue
        estimate = crossed_difference(
            pair["gold"], pair["start"], seeds=pair["seed"], posts=pair["post_id"], level=level
        )
        kl = pair.groupby("seed")["kl_nats"].mean()
        out.append(row(
            estimate, way=PPO, objective=policy.objective, quantity=FINAL, kl_coef=policy.kl_coef,
            kl_nats=float(kl.mean()), d=float(distance(kl).mean()),
        ))  # fmt: skip
    return out


def plot(table: pd.DataFrame) -> Figure:
    """Truth and proxy by distance for chosen objectives, then the truth of all of them."""
    return overoptimization_figure.draw(table)


def reading(table: pd.DataFrame) -> str:
    """One sentence: how truth and proxy moved on the second half of the curves shown alone."""
    said = []
    changes = table[(table["quantity"] == CHANGE) & (table["kind"] != "gold")]
    names = objectives.in_order(table).set_index("objective")["label"]
    names = names.reindex(overoptimization_figure.alone(table))
    for way, word in ((BEST_OF_N, "best-of-N"), (PPO, "PPO")):
        rows = changes[changes["way"] == way].set_index(["objective", "of"])
        parts = []
        for name, label in names.items():
            if (name, GOLD) not in rows.index:
                continue
            gold = rows.loc[(name, GOLD)]
            text = f"{label or name} {gold['value']:+z.2f} ({wording.interval(gold, '.2f')}"
            if (name, PROXY) in rows.index:
                text += f", its own score {wording.direction(rows.loc[(name, PROXY)])}"
            parts.append(f"{text})")
        if parts:
            said.append(f"{word}: {', '.join(parts)}")
    if not said:
        return "No curve has two points beyond its start."
    unit = table["unit"].iloc[0]
    halves = "half of the way (best-of-N: of d, PPO: of updates)"
    return f"Change in {unit} over the second {halves}; {'; '.join(said)}."
