"""Preference over the references against KL, truly and as the reward model predicts it (Fig. 5).

PPO policies of one objective that differ in the KL coefficient, each placed at the KL from its
supervised parent that its own samples show. The reward model's prediction is the mean sigmoid of
its reward for the summary less that for the reference: what the preference would be if the reward
were right. On the right the same along each run, from the summaries that it wrote on its way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit

from analyses import objectives, outcomes, wording
from analyses.choices import Share
from analyses.outcomes import GOLD, LABELERS, TRUTHS
from evalsuite.experiment import Experiment
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.replicates import crossed_difference
from evalsuite.tables import Tables

TITLE = "Preference against KL: actual, and predicted by the reward model"
SOURCE = "Figure 5 (Stiennon et al. 2020)"
DIFFERS = (
    "Several reward models, by amount of labels; the parent itself is the point at its KL of 0, "
    "predicted on the posts of the runs' own samples. Actual is the share of labelers who would "
    "prefer a summary, in expectation, and along a run the share of summaries truly better, by "
    "gold. KL is the mean log-ratio of the policies' own samples, in nats, on a square-root axis."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

ACTUAL, PREDICTED, KL = "actual", "predicted", "kl_nats"
POLICY, PARENT, UPDATE = "policy", "parent", "update"
CHANGE = "largest less smallest"
_REWARDS = ("rm", "ensemble")
"""Kinds of objectives whose difference is a logit of preference."""
_ROOM = 1.35
_TRUTHS_SAID = {
    LABELERS: "preferred to the references,\nshare of labelers",
    GOLD: "preferred to the references,\nshare truly better",
}


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
    if reason := tables.experiment.lacks("policies", "summaries", "objectives"):
        return reason
    if _tuned(tables.experiment).empty:
        return "no PPO policy on a reward model has a measured KL"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rows by size, objective and KL coefficient; nothing is random here.

    kind: "policy", the trained one; "parent", the supervised policy of that size at the same
    temperature, at KL 0; "update", a policy on its way. quantity: "kl_nats"; "actual", preference
    over the references by `truth`; "predicted", by the objective. kl: the KL a row stands at.
    kind "largest less smallest": actual preference of the policy of the largest KL (`policy`,
    `kl`) less that of the smallest, by seed and post.
    """
    experiment = tables.experiment
    assert experiment is not None
    left_out: dict[str, int] = {}
    tuned = _grids(_tuned(experiment), left_out)
    truth = LABELERS if tuned["expected"].notna().any() else GOLD
    level, out = options.level, []
    for keys, rows in tuned.groupby(_GROUP, sort=False):
        group = dict(zip(_GROUP, keys, strict=True))
        for policy, mine in rows.groupby("policy", sort=False):
            coef = {"kl_coef": mine["kl_coef"].iloc[0], "policy": policy, "kind": POLICY}
            out += _point(mine, TRUTHS[truth], truth, level, group | coef)
        out += _change(rows, truth, level, group)
        way = _on_the_way(experiment, group)
        coef = {"kl_coef": math.nan, "kind": PARENT}
        out += _parent(experiment, rows, way, truth, level, group | coef)
        for (coefficient, update), mine in way.groupby(["kl_coef", "update"]):
            coef = {"kl_coef": coefficient, "update": update, "kind": UPDATE}
            out += _point(mine, TRUTHS[GOLD], GOLD, level, group | coef)
    table = pd.DataFrame(out)
    table = outcomes.with_objectives(table, experiment)
    return Result(table.reindex(columns=_COLUMNS), outcomes.without(left_out))


_GROUP = ["size", "objective", "value_network", "temperature"]
_COLUMNS = [
    "kind", "quantity", "truth", *_GROUP, *outcomes.OBJECTIVE_FACTS, "kl_coef", "policy", "update",
    "kl", *Estimate._fields,
]  # fmt: skip


def _tuned(experiment: Experiment) -> pd.DataFrame:
    """Summaries on the domain of training by sampled PPO policies on reward models."""
    rows = outcomes.evaluated(experiment)
    kinds = experiment["objectives"].drop_duplicates("objective").set_index("objective")["kind"]
    rows = rows[rows["domain"] == outcomes.home(rows["domain"])]
    trained = rows["kl_coef"].notna() & rows["best_of_n"].isna()
    sampled = rows["temperature"].gt(0) & outcomes.plain(rows)
    on_rewards = rows["objective"].map(kinds).isin(_REWARDS)
    rows = rows[trained & sampled & on_rewards & rows["kl_nats"].notna()]
    order = objectives.of_experiment(experiment["objectives"], list(rows["objective"].unique()))
    rank = {name: place for place, name in enumerate(order["objective"])}
    rows = rows.assign(_rank=rows["objective"].map(rank))
    return rows.sort_values(["parameters", "_rank", "kl_coef"], kind="stable")


def _grids(rows: pd.DataFrame, left_out: dict[str, int]) -> pd.DataFrame:
    """Rows of objectives with several KL coefficients, where there are any; else all.

    Rounds of labelling and shared value networks have figures of their own.
    """
    elsewhere = (rows["value_network"] == "shared") | rows["round"].notna()
    if not elsewhere.all():
        left_out["summaries of rounds and of shared value networks"] = int(elsewhere.sum())
        rows = rows[~elsewhere]
    several = rows.groupby(_GROUP)["kl_coef"].transform("nunique") > 1
    if several.any():
        left_out["summaries of PPO policies with one KL coefficient"] = int((~several).sum())
        rows = rows[several]
    return rows


def _change(
    rows: pd.DataFrame, truth: str, level: float, keys: dict[str, object]
) -> list[dict[str, object]]:
    """Actual preference where KL is largest less that where it is smallest, on the same posts."""
    kl = rows.groupby("policy")["kl_nats"].mean()
    near, far = str(kl.idxmin()), str(kl.idxmax())
    by_cell = rows.groupby(["policy", "seed", "post_id"])[TRUTHS[truth]].mean()
    if near == far or not by_cell.notna().any():
        return []
    pair = pd.concat({"far": by_cell[far], "near": by_cell[near]}, axis=1).dropna().reset_index()
    if pair.empty:
        return []
    change = crossed_difference(
        pair["far"], pair["near"], seeds=pair["seed"], posts=pair["post_id"], level=level
    )
    keys = keys | {"kind": CHANGE, "policy": far, "kl": kl[far], "truth": truth}
    return [row(change, quantity=ACTUAL, **keys)]


def _parent(
    experiment: Experiment, tuned: pd.DataFrame, way: pd.DataFrame, truth: str, level: float,
    keys: dict[str, object],
) -> list[dict[str, object]]:  # fmt: skip
    """The supervised policy of that size and temperature, at KL 0.

    The reward's prediction for it is that before the first update: its own rewards, where it has
    any, are of another objective.
    """
    rows = outcomes.evaluated(experiment)
    rows = rows[
        (rows["method"] == "supervised") & outcomes.plain(rows)
        & (rows["size"] == keys["size"]) & (rows["temperature"] == keys["temperature"])
        & rows["post_id"].isin(tuned["post_id"]) & rows["seed"].isin(tuned["seed"])
    ]  # fmt: skip
    if rows.empty:
        return []
    keys = keys | {"policy": rows["policy"].iloc[0]}
    found = _point(rows.assign(reward=np.nan, kl_nats=0.0), TRUTHS[truth], truth, level, keys)
    start = _point(way[way["update"] == 0].assign(kl_nats=0.0), "preferred", GOLD, level, keys)
    return [*found, *(one for one in start if one["quantity"] == PREDICTED)]


def _on_the_way(experiment: Experiment, group: dict[str, object]) -> pd.DataFrame:
    """Summaries that the runs of a group wrote between updates, with the columns of `_point`."""
    rows = experiment["trajectory"]
    for name in ("size", "objective", "value_network"):
        rows = rows[rows[name] == group[name]]
    return rows.assign(
        preferred=(np.sign(rows["gold"] - rows["gold_reference"]) + 1) / 2,
        reward=rows["proxy"], reward_reference=rows["proxy_reference"],
    )  # fmt: skip


def _point(
    rows: pd.DataFrame, column: str, truth: str, level: float, keys: dict[str, object]
) -> list[dict[str, object]]:
    """KL, actual and predicted preference of one policy."""
    rows = rows.assign(predicted=expit(rows["reward"] - rows["reward_reference"]))
    kl = outcomes.mean_of(rows, "kl_nats", level)
    out = [row(kl, quantity=KL, kl=kl.value, **keys)]
    for quantity, name in ((ACTUAL, column), (PREDICTED, "predicted")):
        if rows[name].notna().any():
            rate = outcomes.mean_of(rows, name, level, limits=(0, 1))
            whose = truth if quantity == ACTUAL else ""
            out.append(row(rate, quantity=quantity, truth=whose, kl=kl.value, **keys))
    return out


def plot(table: pd.DataFrame) -> Figure:
    """Left: the trained policies; right: on their way. Solid: actual, broken: predicted."""
    known = table[table["value"].notna() & (table["quantity"] != KL) & (table["kind"] != CHANGE)]
    final, way = known[known["kind"] != UPDATE], known[known["kind"] == UPDATE]
    panels = 2 if len(way) else 1
    truths = [set(rows["truth"].dropna()) & set(_TRUTHS_SAID) for rows in (final, way)]
    one_truth = truths[0] == truths[1]
    fig, axes = style.figure(
        "double" if panels > 1 else 4.2, 3.1, 1, panels, sharey=one_truth, squeeze=False
    )
    looks = outcomes.objective_looks(table)
    for ax in axes[0]:
        style.kl_axis(ax, _ROOM * max(1.0, float(known["kl"].max())))
        ax.set_xlabel("KL from the supervised parent, nats\n(square-root scale)")
        style.grid(ax, "y")
    ends = _trained(axes[0, 0], final, looks)
    style.title(axes[0, 0], "PPO policies")
    if len(way):
        _along(axes[0, 1], way, looks)
        style.title(axes[0, 1], "On the way there")
    ranges = [_range(final, final["se"].fillna(0)), _range(way, 0.0)][:panels]
    if one_truth:
        ranges = [(min(low for low, _ in ranges), max(high for _, high in ranges))] * panels
    for ax, limits, truth in zip(axes[0], ranges, truths, strict=False):
        style.rate_axis(ax, "y", limits=limits, chance=0.5)
        if ax is axes[0, 0] or not one_truth:
            ax.set_ylabel(_TRUTHS_SAID[LABELERS if LABELERS in truth else GOLD])
    style.note(fig, "solid: actual; broken: predicted by the reward model")
    style.note_errorbars(fig)
    style.label_directly(
        axes[0, 0], ends["kl"].tolist(), ends["value"].tolist(), ends["said"].tolist(),
        ends["colour"].tolist(), keep_off=True,
    )  # fmt: skip
    if len(way):
        last = way[way["quantity"] == ACTUAL].sort_values("update")
        last = last.groupby([*_GROUP, "kl_coef"], dropna=False).tail(1)
        style.label_directly(
            axes[0, 1], last["kl"].tolist(), last["value"].tolist(),
            [f"β={coefficient:g}" for coefficient in last["kl_coef"]],
            [looks[objective].colour for objective in last["objective"]], keep_off=True,
            size=style.SMALL - 1,
        )  # fmt: skip
    return fig


def _range(rows: pd.DataFrame, error: pd.Series[float] | float) -> tuple[float, float]:
    low, high = (rows["value"] - error).min(), (rows["value"] + error).max()
    return max(0.0, float(low) - 0.05), min(1.02, float(high) + 0.05)


def reading(table: pd.DataFrame) -> str:
    """One sentence an objective: preference at the smallest and at the largest KL, and between."""
    said = []
    for _, rows in table[table["kind"] == POLICY].groupby(_GROUP, sort=False):
        actual = rows[(rows["quantity"] == ACTUAL) & rows["low"].notna()].sort_values("kl")
        if actual.empty:
            continue
        near, far = actual.iloc[0], actual.iloc[-1]
        text = (
            f"{_name(far)}: {near['value']:.1%} preferred to the references "
            f"({wording.interval(near)}) at {near['kl']:.1f} nats"
        )
        if far["kl"] > near["kl"]:
            text += f", {far['value']:.1%} ({wording.interval(far)}) at {far['kl']:.1f}"
            text += _changed(table[table["kind"] == CHANGE], far)
        predicted = rows[(rows["quantity"] == PREDICTED) & (rows["policy"] == far["policy"])]
        for value in predicted["value"]:
            text += f", where the reward model predicts {value:.1%}"
        said.append(text)
    if not said:
        return "No PPO policy was judged on enough posts for an interval."
    sentence = "; ".join(said) + "."
    return sentence[0].upper() + sentence[1:]


def _changed(changes: pd.DataFrame, far: pd.Series) -> str:
    """ ", a difference of -2.0 points (95% interval -4.1 to 0.1)"; nothing where it has none."""
    mine = changes[(changes["policy"] == far["policy"]) & changes["low"].notna()]
    if mine.empty:
        return ""
    points = mine.iloc[0].copy()
    points[["value", "low", "high"]] *= 100
    return f", a difference of {points['value']:+z.1f} points ({wording.interval(points, '.1f')})"


def _name(one: pd.Series, several_sizes: bool = False) -> str:
    """An objective in words, with what else tells its policies from others."""
    words = [str(one["objective_label"])]
    if several_sizes:
        words.append(outcomes.word(str(one["size"])))
    if one["value_network"] == "shared":
        words.append("shared value network")
    return ", ".join(words)


def _trained(ax: Axes, final: pd.DataFrame, looks: dict[str, objectives.Look]) -> pd.DataFrame:
    """Policies of each group joined along KL; where and how the ends of lines are labelled."""
    ends = []
    several = final["size"].nunique() > 1
    for _, rows in final.groupby(_GROUP, sort=False):
        look = looks[str(rows["objective"].iloc[0])]
        for quantity in (ACTUAL, PREDICTED):
            line = rows[rows["quantity"] == quantity].sort_values("kl")
            if line.empty:
                continue
            open_mark: dict[str, Any] = (
                {"mfc": "white", "mew": 1.0} if quantity == PREDICTED else {}
            )
            style.errorbars(
                ax, line, "kl", line=True, color=look.colour, marker="o",
                ls="-" if quantity == ACTUAL else (0, (4, 2)), zorder=2, **open_mark,
            )  # fmt: skip
            name = _name(line.iloc[0], several) if quantity == ACTUAL else "predicted"
            where = {"kl": line["kl"].iloc[-1], "value": line["value"].iloc[-1]}
            ends.append({**where, "said": name, "colour": look.colour})
    return pd.DataFrame(ends, columns=["kl", "value", "said", "colour"])


def _along(ax: Axes, way: pd.DataFrame, looks: dict[str, objectives.Look]) -> None:
    """A thin line a run, mean over its seeds, from its first update to its last."""
    for keys, rows in way.groupby([*_GROUP, "kl_coef", "quantity"], dropna=False, sort=False):
        line, look = rows.sort_values("update"), looks[str(rows["objective"].iloc[0])]
        ax.plot(
            np.maximum.accumulate(line["kl"].to_numpy(float)), line["value"],
            color=look.colour, lw=0.9, alpha=0.75,
            ls="-" if keys[-1] == ACTUAL else (0, (4, 2)),
        )  # fmt: skip
