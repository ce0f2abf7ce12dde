"""Round after round of labels: what each reward model knows, what each policy is worth, and drift.

The paper trained in rounds: sample, label, train a reward model on all labels so far, train
policies against it, and sample from those too. Here a round's reward model is asked about
held-out pairs that no round was trained on, its policies are judged by the truth, and the labels of
each round are watched: how often the reference is preferred to one and the same supervised policy
should not change with time unless the labelers do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analyses import outcomes, wording
from analyses.choices import Share
from analyses.rounds_figure import (
    ACCURACY,
    AGREEMENT,
    DRIFT,
    EXPECTED,
    GOLD,
    PREFERRED,
    TREND,
    draw,
    points,
)
from analyses.samples import Samples, arrange, objectives_of, of_main_domain
from evalsuite.experiment import Experiment
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.best_of_n import best_of_n_by_prompt
from evalsuite.stats.clusters import codes_or_rows, robust_covariance
from evalsuite.stats.estimate import Estimate, row, t_interval, undefined
from evalsuite.stats.preference import preference_rate
from evalsuite.stats.replicates import crossed_mean
from evalsuite.tables import Tables

TITLE = "Rounds of labels: reward models, policies, drift"
SOURCE = "Appendix C.6 (Stiennon et al. 2020)"
DIFFERS = (
    "Policies of all rounds are judged on the same posts, those of the pool of samples where "
    "best-of-N is chosen from one, and by the truth instead of labelers. "
    "The paper kept supervised policies against references in most batches to see drift; here it "
    "is watched with one supervised policy, the one that most rounds compared."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

_METHODS = {"supervised": "supervised", "human feedback": "PPO", "rouge": "PPO on ROUGE"}


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
    known = [tables.experiment[name]["round"].notna().any() for name in ("pairs", "policies")]
    return None if any(known) else "the experiment has no rounds of labels"


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """A row a round and what is asked; nothing is random here.

    quantity: by round "accuracy" (share of held-out pairs in which the round's reward model prefers
    the truly better summary) and "agreement" (the same against a labeler's answer), round NaN: one
    labeler's; by round and policy "preferred" (share of summaries truly better than the reference),
    "expected" (share of labelers who would prefer it) and "gold", round NaN: the supervised
    policies the rounds began from; best-of-N of a round is what its reward model chooses from the
    pool, whose base is `policy`, and has no "expected"; by round "reference_preferred" (labels of
    the round that prefer the reference to the supervised `policy`), and "trend", its change a
    round.
    """
    experiment = tables.experiment
    assert experiment is not None
    left_out: dict[str, int] = {}
    out = _accuracy(experiment, options.level, left_out)
    pool = _pool(experiment, left_out)
    out += _policies(experiment, pool, options.level, left_out)
    if pool is not None:
        out += _best_of_n(experiment, pool, options.level)
    out += _drift(tables, options.level, left_out)
    return Result(pd.DataFrame(out, columns=_COLUMNS), left_out)


_COLUMNS = [
    "quantity", "round", "labels", "series", "policy", "how", "unit", *Estimate._fields,
]  # fmt: skip


def _accuracy(
    experiment: Experiment, level: float, left_out: dict[str, int]
) -> list[dict[str, object]]:
    """Accuracy of each round's reward model, and of one labeler."""
    pairs = experiment["pairs"]
    judged = pairs[pairs["round"].notna() | (pairs["model"] == "labeler")]
    if judged["round"].isna().all():
        return []
    out = []
    for quantity, column in ((ACCURACY, "correct"), (AGREEMENT, "agrees")):
        known = judged.dropna(subset=[column, "post_id"])
        if lost := len(judged) - len(known):
            left_out[f"pairs without {quantity}"] = lost
        for (number, model), rows in known.groupby(["round", known["model"] == "labeler"],
                                                   dropna=False):  # fmt: skip
            estimate = crossed_mean(
                rows[column], seeds=rows["seed"].fillna(0), posts=rows["post_id"], level=level
            )
            keys = {"round": np.nan, "series": "one labeler"} if model else {
                "round": number, "series": "reward model", "labels": rows["labels"].mean(),
            }  # fmt: skip
            out.append(row(estimate, quantity=quantity, **keys))
    return out


def _pool(experiment: Experiment, left_out: dict[str, int]) -> Samples | None:
    """The samples that reward models of rounds choose from; None where none scored them."""
    facts, pool = experiment["objectives"], experiment["pool"]
    of_rounds = set(facts.loc[facts["round"].notna(), "objective"])
    if pool.empty or of_rounds.isdisjoint(objectives_of(pool)):
        return None
    return next(iter(arrange(pool, left_out)), None)


def _policies(
    experiment: Experiment, pool: Samples | None, level: float, left_out: dict[str, int]
) -> list[dict[str, object]]:
    """What each round's policies and the supervised ones they come from are worth.

    On the posts of the pool, so that they can stand beside what is chosen from it.
    """
    facts = experiment["policies"]
    mine = facts[facts["round"].notna()]
    setting = ["size", "temperature"]
    first = facts["round"].isna() & (facts["method"] == "supervised") & outcomes.plain(facts)
    begun = facts[first].merge(mine[setting].drop_duplicates(), on=setting)
    shown = pd.concat([begun, mine])
    shown = shown.assign(series=_series(shown)) if len(shown) else shown
    summaries = of_main_domain(experiment["summaries"])
    summaries = summaries[summaries["policy"].isin(shown["policy"])]
    if pool is not None:
        inside = summaries["post_id"].isin(pool.posts)
        if lost := int((~inside).sum()):
            left_out["summaries of rounds of posts without a pool"] = lost
        summaries = summaries[inside]
    out = []
    for fact in shown.to_dict("records"):
        rows = summaries[summaries["policy"] == fact["policy"]]
        keys = {name: fact[name] for name in ("round", "series", "policy")} | {
            "how": fact["method"]
        }
        for quantity in (PREFERRED, EXPECTED, GOLD):
            known = rows[rows[quantity].notna()]
            if len(known) < len(rows):
                key = f"summaries of rounds without {quantity}"
                left_out[key] = left_out.get(key, 0) + len(rows) - len(known)
            if len(known):
                estimate = crossed_mean(
                    known[quantity], seeds=known["seed"], posts=known["post_id"], level=level
                )
                unit = experiment.gold_unit if quantity == GOLD else ""
                out.append(row(estimate, quantity=quantity, unit=unit, **keys))
    return out


def _best_of_n(experiment: Experiment, samples: Samples, level: float) -> list[dict[str, object]]:
    """What each round's reward model chooses from all samples of a post."""
    facts = experiment["objectives"].dropna(subset="round")
    known = experiment["summaries"].dropna(subset="gold_reference")
    reference = known.groupby("post_id")["gold_reference"].first()
    N = samples.gold.shape[1]
    theirs = reference.reindex(samples.posts).to_numpy(float)[:, None]
    better = (np.sign(samples.gold - theirs) + 1) / 2
    out = []
    for fact in facts.sort_values("round").to_dict("records"):
        proxy = samples.proxies.get(str(fact["objective"]))
        if proxy is None:
            continue
        for quantity, worth in ((PREFERRED, better), (GOLD, samples.gold)):
            whole = ~np.isnan(proxy).any(axis=1) & ~np.isnan(worth).any(axis=1)
            if not whole.any():
                continue
            chosen = best_of_n_by_prompt(proxy[whole], worth[whole], [N])[:, 0]
            estimate = crossed_mean(
                chosen, seeds=samples.seeds[whole], posts=samples.posts[whole], level=level
            )
            keys = {"round": fact["round"], "series": f"best of {N}", "policy": samples.base}
            unit = experiment.gold_unit if quantity == GOLD else ""
            out.append(row(estimate, quantity=quantity, how="best-of-n", unit=unit, **keys))
    return out


def _series(facts: pd.DataFrame) -> list[str]:
    """The line that a policy belongs to: what it is, with its size where sizes differ."""
    several = facts["size"].nunique() > 1
    said = []
    for fact in facts.itertuples(index=False):
        word = f"best of {fact.best_of_n:g}" if fact.best_of_n > 0 else str(
            _METHODS.get(fact.method, fact.method)
        )  # fmt: skip
        said.append(f"{fact.size} {word}" if several else word)
    return said


def _drift(tables: Tables, level: float, left_out: dict[str, int]) -> list[dict[str, object]]:
    """Preference for the reference over one supervised policy in each round's labels."""
    rows = tables.comparisons
    number = rows["batch"].astype("str").str.extract(r"^round(\d+)$")[0].astype("float64")
    kinds = tables.policies.set_index("policy")["method"]
    with_reference = {
        side: (rows[f"{side}_policy"] == REFERENCE_POLICY)
        & (rows[f"{other}_policy"].map(kinds) == "supervised")
        for side, other in (("left", "right"), ("right", "left"))
    }
    paired = with_reference["left"] | with_reference["right"]
    policy = rows["right_policy"].where(with_reference["left"], rows["left_policy"])
    watched = rows.assign(round=number, policy=policy)[paired & number.notna()]
    if watched.empty:
        return []
    met = watched.groupby("policy")["round"].agg(["nunique", "size"])
    chosen = str(met.sort_values(["nunique", "size"], kind="stable").index[-1])
    kept = watched[watched["policy"] == chosen]
    if lost := len(watched) - len(kept):
        left_out["labels of the reference against another supervised policy"] = lost
    known = kept["choice"].notna()
    if lost := int((~known).sum()):
        left_out["labels of the reference without a choice"] = lost
    kept = kept[known]
    # A choice of 1 is for the right side.
    wins = kept["choice"].where(with_reference["right"], 1 - kept["choice"])
    codes, posts = codes_or_rows(kept["item"])
    name = "post" if posts.all() else "post, rows where there is none"
    out = []
    for at in sorted(kept["round"].unique()):
        mine = (kept["round"] == at).to_numpy()
        estimate = preference_rate(wins[mine], clusters=codes[mine], cluster_name=name, level=level)
        out.append(row(estimate, quantity=DRIFT, round=at, policy=chosen))
    trend = slope(kept["round"].to_numpy(), wins.to_numpy(), codes, level=level)
    return [*out, row(trend, quantity=TREND, policy=chosen)]


def slope(
    x: NDArray[np.float64], y: NDArray[np.float64], codes: NDArray[np.int64], *, level: float
) -> Estimate:
    """Least-squares slope of y on x, cluster-robust: the change of a rate from round to round.

    x, y: (n,). codes: (n,) of the posts. Undefined where x does not vary.
    """
    units = len(np.unique(codes))
    if not np.ptp(x):
        return undefined("one round", n=len(x), n_clusters=units, level=level)
    gap = x - x.mean()
    weight = gap / (gap @ gap)
    value = float(weight @ y)
    influence = weight * (y - y.mean() - value * gap)
    clusters = pd.factorize(codes)[0].astype(np.int64)
    se = float(np.sqrt(robust_covariance(influence, clusters)[0, 0]))
    return t_interval(
        value, se, n=len(x), n_clusters=units, level=level,
        method="least squares, cluster-robust by post",
    )  # fmt: skip


def plot(table: pd.DataFrame) -> Figure:
    """Reward models, policies and drift by round, a panel each; those without rows are left out."""
    return draw(table)


def reading(table: pd.DataFrame) -> str:
    """One sentence: from the first round to the last, and whether the labels drift."""
    said = []
    rounds = table[table["round"].notna() & table["value"].notna()].sort_values("round")
    judged = ACCURACY if (rounds["quantity"] == ACCURACY).any() else AGREEMENT
    what = {
        ACCURACY: "the reward model is right on {} of held-out pairs",
        AGREEMENT: "the reward model agrees with a labeler on {} of held-out pairs",
    }[judged]
    models = rounds[rounds["quantity"] == judged]
    if len(models):
        said.append(what.format(_from_to(models)))
    for name, line in rounds[rounds["quantity"] == PREFERRED].groupby("series", sort=False):
        said.append(f"{name} is truly better than the reference in {_from_to(line)}")
    trend = table[(table["quantity"] == TREND) & table["low"].notna()]
    for _, found in trend.iterrows():
        still = found["low"] <= 0 <= found["high"]
        word = "no drift of the labels shown" if still else "the labels drift"
        said.append(f"{word}, {points(found)} a round for the reference")
    watched = rounds[rounds["quantity"] == DRIFT]
    if trend.empty and len(watched):
        name = style.policy_style(str(watched["policy"].iloc[0])).label
        said.append(f"the reference is preferred to {name} in {_from_to(watched)} of labels")
    if not said:
        return "No round has an estimate."
    first, last = rounds["round"].min(), rounds["round"].max()
    when = f"In round {first:g}" if first == last else f"From round {first:g} to {last:g}"
    return f"{when}: {'; '.join(said)}."


def _from_to(line: pd.DataFrame) -> str:
    """ "61.2%, then 64.0% (95% interval 60.1% to 67.9%)"; one round alone is said once."""
    first, last = line.iloc[0], line.iloc[-1]
    end = f"{last['value']:.1%} ({wording.interval(last)})"
    return end if len(line) == 1 else f"{first['value']:.1%}, then {end}"
