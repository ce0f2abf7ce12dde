"""The trained policies: what each maximises, where it began, and how far it went (Tables 9, 10).

PPO policies stand at the KL from their parent that their own samples show, best-of-N policies at
the upper bound log N - (N-1)/N. The figure shows both on one square-root axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses import outcomes, wording
from analyses.choices import Share
from evalsuite.experiment import Experiment
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.best_of_n import kl_bound
from evalsuite.stats.estimate import Estimate, row
from evalsuite.tables import Tables

TITLE = "The policies and their KL from supervised ones"
SOURCE = "Tables 9 and 10 (Stiennon et al. 2020)"
DIFFERS = (
    "KL is the mean log-ratio of each policy to its parent over its own samples, in nats, with "
    "intervals over seeds and posts (the paper gives no errors); best-of-N has the paper's bound. "
    "The paper's policies are others: PPO with coefficients .35 (1.8 nats), .10 (3.8), .07 (9.4) "
    "and .05 (19.0; 18.0; 14.0 at 6.7B), best of 8 to 512 (1.2 to 5.2)."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

PPO, BEST = "ppo", "best_of_n"
_TUNED = ["size", "objective", "kl_coef", "value_network"]
_KINDS = {"base": "pretrained", "sft": "supervised", "ppo": "PPO"}
_MARKERS = {PPO: "^", BEST: "D"}
MAX_SHOWN = 40
"""Policies in the figure; the table has all."""


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
    if reason := tables.experiment.lacks("policies"):
        return reason
    policies = tables.experiment["policies"]
    if not (policies["best_of_n"].notna() | policies["kl_coef"].notna()).any():
        return "no policy was trained by PPO or chosen as the best of N"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row a policy; nothing is random here.

    kind: "ppo", sampled ones, whose value is the KL from the parent; "best_of_n", whose value is
    the bound, known without error. init: the parent of the models, in words. seeds: that were
    evaluated.
    """
    experiment = tables.experiment
    assert experiment is not None
    policies = experiment["policies"].drop_duplicates("policy")
    ppo = policies["kl_coef"].notna() & policies["best_of_n"].isna()
    greedy = ppo & policies["temperature"].eq(0)
    left_out = {"greedy policies, whose samples show no KL": int(greedy.sum())}
    rows = experiment["summaries"]
    home = outcomes.home(rows["domain"])
    rows = rows[rows["domain"] == home]
    inits = _inits(experiment)
    out = []
    for _, one in policies[ppo & ~greedy].iterrows():
        mine = rows[rows["policy"] == one["policy"]]
        key = _key(one)
        out.append(
            row(
                outcomes.mean_of(mine, "kl_nats", options.level), policy=one["policy"], kind=PPO,
                init=inits.get(key, ""), seeds=mine["seed"].nunique(),
            )
        )  # fmt: skip
    for _, one in policies[policies["best_of_n"].notna()].iterrows():
        bound, nan = float(kl_bound(one["best_of_n"])), math.nan
        estimate = Estimate(bound, nan, nan, nan, options.level, 0, 0, "bound log N - (N-1)/N")
        seeds = rows.loc[rows["policy"] == one["policy"], "seed"].nunique()
        init = f"{outcomes.word(one['size'])} supervised"
        out.append(row(estimate, policy=one["policy"], kind=BEST, init=init, seeds=seeds))
    facts = policies[["policy", *_COLUMNS[2:11]]]
    table = pd.DataFrame(out).merge(facts, on="policy")
    table = outcomes.with_objectives(table, experiment)
    table["_rank"] = table["kind"].map({PPO: 0, BEST: 1})
    order = ["_rank", "parameters", "round", "objective", "value_network", "kl_coef", "best_of_n"]
    table = table.sort_values(order, ascending=[True] * 5 + [False, True], na_position="first")
    return Result(table[_COLUMNS].reset_index(drop=True), outcomes.without(left_out))


_COLUMNS = [
    "kind", "policy", "label", "size", "parameters", "objective", "kl_coef", "value_network",
    "best_of_n", "round", "temperature", *outcomes.OBJECTIVE_FACTS, "init", "seeds",
    *Estimate._fields,
]  # fmt: skip


def _key(one: pd.Series) -> tuple[object, ...]:
    coefficient = -1.0 if math.isnan(one["kl_coef"]) else round(float(one["kl_coef"]), 9)
    return one["size"], one["objective"], coefficient, one["value_network"]


def _inits(experiment: Experiment) -> dict[tuple[object, ...], str]:
    """What the PPO models of each setting began from, in words: "small supervised"."""
    models = experiment["models"]
    facts = models.drop_duplicates("model").set_index("model")
    out: dict[tuple[object, ...], str] = {}
    for _, one in models[models["kind"] == "ppo"].iterrows():
        said = str(one["parent"])
        if said in facts.index:
            parent = facts.loc[said]
            kind = _KINDS.get(str(parent["kind"]), str(parent["kind"]))
            said = f"{outcomes.word(str(parent['size']))} {kind}".strip()
        out.setdefault(_key(one), said)
    return out


def plot(table: pd.DataFrame) -> Figure:
    """A row a policy: its KL from the parent, that of best-of-N as an open mark."""
    shown = table[table["value"].notna()].head(MAX_SHOWN)
    fig, ax = style.figure(5.6, 0.95 + 0.17 * max(len(shown), 3))
    labels = [_said(one) for _, one in shown.iterrows()]
    looks = outcomes.objective_looks(table)
    colours = [looks[objective].colour for objective in shown["objective"].astype(str)]
    rows = np.array([])
    for kind in (PPO, BEST):
        mine = shown["kind"] == kind
        rows = style.forest(
            ax, labels, shown["value"].where(mine).tolist(), shown["se"].tolist(),
            colours=colours, marker=_MARKERS[kind], filled=kind == PPO,
        )  # fmt: skip
    for y, one in zip(rows, shown.itertuples(), strict=True):
        ax.annotate(
            f"{one.value:.1f}", (1, y), xycoords=("axes fraction", "data"), xytext=(18, 0),
            textcoords="offset points", ha="right", va="center", fontsize=style.SMALL,
            color=style.MUTED, fontfamily="DejaVu Sans", annotation_clip=False,
        )  # fmt: skip
    far = float((shown["value"] + shown["se"].fillna(0)).max()) if len(shown) else 1.0
    style.kl_axis(ax, 1.08 * max(far, 1.0))
    ax.set_xlabel("KL from the supervised parent, nats\n(square-root scale)")
    if (shown["kind"] == BEST).any():
        style.note(fig, "open: best-of-N, an upper bound")
    if len(table) > len(shown):
        style.note(fig, f"{len(table) - len(shown)} more in the table")
    style.note_errorbars(fig)
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: how many policies, and the smallest and largest KL of PPO."""
    ppo, best = (table[(table["kind"] == kind)] for kind in (PPO, BEST))
    measured = ppo[ppo["low"].notna()].sort_values("value")
    said = []
    if len(measured):
        text = f"{wording.counted(len(measured), 'PPO policy', 'PPO policies')} went "
        ends = [measured.iloc[0], measured.iloc[-1]][: len(measured)]
        text += " to ".join(f"{one['value']:.1f}" for one in ends)
        text += " nats from their parents ("
        text += ", ".join(f"{_said(one)}: {wording.interval(one, '.1f')}" for one in ends) + ")"
        said.append(text)
    if len(best):
        one = best.sort_values("value").iloc[-1]
        said.append(f"best of {one['best_of_n']:g} goes {one['value']:.1f} at most")
    return f"{'; '.join(said)}." if said else "No policy has a measured KL."


def _said(one: pd.Series) -> str:
    """A policy in words: "small PPO on ROUGE, β=0.05"."""
    how = "PPO on" if one["kind"] == PPO else f"best of {one['best_of_n']:g} by"
    words = [f"{outcomes.word(str(one['size']))} {how} {one['objective_label']}"]
    if one["value_network"] == "shared":
        words.append("shared value network")
    if not math.isnan(one["kl_coef"]):
        words.append(f"β={one['kl_coef']:g}")
    return ", ".join(words)
