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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analyses import wording
from analyses.choices import Share
from evalsuite.experiment import Experiment
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.clusters import codes_or_rows, robust_covariance
from evalsuite.stats.estimate import Estimate, row, t_interval, undefined
from evalsuite.stats.preference import preference_rate
from evalsuite.stats.replicates import crossed_mean
from evalsuite.tables import Tables

TITLE = "Rounds of labels: reward models, policies, drift"
SOURCE = "Appendix C.6 (Stiennon et al. 2020)"
DIFFERS = (
    "Policies of all rounds are judged on the same posts, and by the truth instead of labelers. "
    "The paper kept supervised policies against references in most batches to see drift; here it "
    "is watched with one supervised policy, the one that most rounds compared."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

ACCURACY, AGREEMENT, PREFERENCE, GOLD = "accuracy", "agreement", "preference", "gold"
DRIFT, TREND = "reference_preferred", "trend"

_MODEL = "#44297a"
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
    labeler's; by round and policy "preference" (expected share of labelers who prefer it to the
    reference; where that is unknown, whether it is truly better) and "gold", round NaN: the
    supervised policies the rounds began from; by round "reference_preferred" (labels of the round
    that prefer the reference to the supervised `policy`), and "trend", its change a round.
    """
    experiment = tables.experiment
    assert experiment is not None
    left_out: dict[str, int] = {}
    out = _accuracy(experiment, options.level, left_out)
    out += _policies(experiment, options.level, left_out)
    out += _drift(tables, options.level, left_out)
    return Result(pd.DataFrame(out, columns=_COLUMNS), left_out)


_COLUMNS = [
    "quantity", "round", "labels", "series", "policy", "unit", *Estimate._fields,
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


def _policies(
    experiment: Experiment, level: float, left_out: dict[str, int]
) -> list[dict[str, object]]:
    """What each round's policies and the supervised ones they come from are worth."""
    facts = experiment["policies"]
    mine = facts[facts["round"].notna()]
    setting = ["size", "temperature"]
    first = facts["round"].isna() & (facts["method"] == "supervised") & facts["top_p"].isna()
    begun = facts[first].merge(mine[setting].drop_duplicates(), on=setting)
    shown = pd.concat([begun, mine])
    shown = shown.assign(series=_series(shown)) if len(shown) else shown
    summaries = experiment["summaries"]
    out = []
    for fact in shown.itertuples(index=False):
        rows = summaries[summaries["policy"] == fact.policy]
        liked = rows["expected"].fillna(rows["preferred"])
        for quantity, values in ((PREFERENCE, liked), (GOLD, rows["gold"])):
            known = values.notna()
            if lost := int((~known).sum()):
                key = f"summaries of rounds without {quantity}"
                left_out[key] = left_out.get(key, 0) + lost
            if known.any():
                of = rows[known]
                estimate = crossed_mean(
                    values[known], seeds=of["seed"].fillna(0), posts=of["post_id"], level=level
                )
                keys = {"round": fact.round, "series": fact.series, "policy": fact.policy}
                unit = experiment.gold_unit if quantity == GOLD else ""
                out.append(row(estimate, quantity=quantity, unit=unit, **keys))
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
    judged = ACCURACY if (table["quantity"] == ACCURACY).any() else AGREEMENT
    worth = PREFERENCE if (table["quantity"] == PREFERENCE).any() else GOLD
    drawn = table[wording.drawable(table)]
    panels = [
        (quantity, draw)
        for quantity, draw in ((judged, _judged), (worth, _worth), (DRIFT, _watched))
        if ((drawn["quantity"] == quantity) & drawn["round"].notna()).any()
    ]
    if not panels:
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(
            0.5, 0.5, "no round has enough posts for an interval", ha="center",
            transform=ax.transAxes, fontsize=style.SMALL,
        )  # fmt: skip
        return fig
    width = {1: 3.0, 2: 5.2}.get(len(panels), style.WIDTHS["double"])
    fig, axes = style.figure(width, 2.5, cols=len(panels), squeeze=False)
    for ax, (quantity, draw) in zip(axes[0], panels, strict=True):
        draw(ax, drawn[drawn["quantity"] == quantity])
        rounds = sorted(drawn["round"].dropna().unique())
        # The names of lines stand at their ends.
        room = 0.45 * max(rounds[-1] - rounds[0], 1) if quantity == worth else 0.35
        ax.set_xlim(rounds[0] - 0.35, rounds[-1] + room)
        if quantity == judged:
            _tell_labels(ax, drawn[drawn["quantity"] == quantity], rounds)
        else:
            ax.set_xticks(rounds, [f"{number:g}" for number in rounds])
            ax.set_xlabel("round")
        style.grid(ax, "y")
    trend = table[table["quantity"] == TREND]
    for _, found in trend[trend["low"].notna()].iterrows():
        style.note(fig, f"trend of the labels {_points(found)} a round")
    style.note_table_only(fig, len(table[table["value"].notna()]) - len(drawn), "estimate")
    style.note_errorbars(fig)
    for ax, (quantity, _) in zip(axes[0], panels, strict=True):
        if quantity == worth:
            _name_policies(ax, drawn[drawn["quantity"] == worth])
    return fig


def _judged(ax: Axes, rows: pd.DataFrame) -> None:
    """Accuracy, or agreement with a labeler, of each round's reward model."""
    models, labeler = rows[rows["round"].notna()], rows[rows["round"].isna()]
    models = models.sort_values("round")
    style.errorbars(ax, models, "round", line=True, color=_MODEL, marker="s")
    for value in labeler["value"]:
        _level(ax, value, "one labeler", style.MUTED)
    style.title(ax, "Reward model")
    right = rows["quantity"].iloc[0] == ACCURACY
    _share_axis(ax, rows, "right on held-out pairs" if right else "agrees with a labeler")


def _worth(ax: Axes, rows: pd.DataFrame) -> None:
    """Preference to the reference, or the truth, of each round's policies; a line a series."""
    lines = list(rows[rows["round"].notna()].groupby("series", sort=False))
    apart = 0.12 * (np.arange(len(lines)) - (len(lines) - 1) / 2)
    for (_, line), shift in zip(lines, apart, strict=True):
        line = line.sort_values("round")
        line = line.assign(round=line["round"] + shift)
        style.errorbars(ax, line, "round", policy=str(line["policy"].iloc[-1]), line=True)
    for _, base in rows[rows["round"].isna()].iterrows():
        colour = style.policy_style(str(base["policy"])).colour
        _level(ax, base["value"], str(base["series"]), colour)
    style.title(ax, "Policies")
    if rows["quantity"].iloc[0] == PREFERENCE:
        _share_axis(ax, rows, "preferred to the reference")
    else:
        ax.set_ylabel(f"mean {rows['unit'].iloc[0]}", fontsize=style.TEXT)


def _name_policies(ax: Axes, rows: pd.DataFrame) -> None:
    """Each series beside its last point, off the lines; last of all, when the layout stands."""
    last = rows[rows["round"].notna()].sort_values("round").groupby("series", sort=False).tail(1)
    style.label_directly(
        ax, last["round"].tolist(), last["value"].tolist(), last["series"].tolist(),
        [style.policy_style(str(policy)).colour for policy in last["policy"]], keep_off=True,
    )  # fmt: skip


def _level(ax: Axes, value: float, text: str, colour: str) -> None:
    """A dotted line that is no round's, with its name above it."""
    ax.axhline(value, color=colour, lw=0.9, ls=(0, (1, 1.5)), zorder=0.9)
    ax.annotate(
        text, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 2), ha="right",
        textcoords="offset points", va="bottom", fontsize=style.SMALL, color=colour,
        fontfamily="DejaVu Sans",
    )  # fmt: skip


def _watched(ax: Axes, rows: pd.DataFrame) -> None:
    """How often the labels of each round prefer the reference to the supervised policy."""
    style.errorbars(ax, rows.sort_values("round"), "round", marker="D")
    style.title(ax, "Labelers")
    name = style.policy_style(str(rows["policy"].iloc[0])).label
    _share_axis(ax, rows, f"reference preferred to\n{name}")


def _share_axis(ax: Axes, rows: pd.DataFrame, label: str) -> None:
    """A share with room around it, and chance where it is near."""
    se = rows["se"].fillna(0)
    low, high = float((rows["value"] - se).min()), float((rows["value"] + se).max())
    room = max(0.25 * (high - low), 0.02)
    limits = max(low - room, -0.02), min(high + room, 1.02)
    chance = 0.5 if limits[0] < 0.5 < limits[1] else None
    style.rate_axis(ax, "y", label=label, limits=limits, chance=chance)


def _tell_labels(ax: Axes, rows: pd.DataFrame, rounds: list[float]) -> None:
    """Below each round the labels that its reward model was trained on, where known."""
    labels = rows.dropna(subset="round").set_index("round")["labels"].reindex(rounds)
    if labels.isna().all():
        ax.set_xticks(rounds, [f"{number:g}" for number in rounds])
        ax.set_xlabel("round")
        return
    said = [f"{at:g}" + (f"\n{n:,.0f}" if n == n else "") for at, n in labels.items()]
    ax.set_xticks(rounds, said)
    ax.set_xlabel("round, and labels so far")


def _points(trend: pd.Series) -> str:
    """ "+0.4 points (95% interval -1.2 to 2.0)"."""
    interval = wording.interval(pd.Series({**trend, "low": 100 * trend["low"],
                                           "high": 100 * trend["high"]}), ".1f")  # fmt: skip
    return f"{100 * trend['value']:+.1f} points ({interval})"


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
    for name, line in rounds[rounds["quantity"] == PREFERENCE].groupby("series", sort=False):
        said.append(f"{name} is preferred to the reference in {_from_to(line)}")
    trend = table[(table["quantity"] == TREND) & table["low"].notna()]
    for _, found in trend.iterrows():
        still = found["low"] <= 0 <= found["high"]
        word = "no drift of the labels shown" if still else "the labels drift"
        said.append(f"{word}, {_points(found)} a round for the reference")
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
