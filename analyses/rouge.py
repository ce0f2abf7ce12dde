"""ROUGE against the reference summaries, by policy and by temperature (Figure 14, Appendix G.4).

F1 of ROUGE-1, -2 and -L with stemming, as rouge-score computes them. What to show may be changed;
tests/analyses/test_rouge_analysis.py proves the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyses import wording
from analyses.choices import Share
from analyses.policy_means import forest, means_by_policy, note_left_out, scored, shown
from evalsuite.errors import EvalsuiteError
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.tables import Tables

TITLE = "ROUGE against the reference summaries"
SOURCE = "Figure 14 and Appendix G.4 of Stiennon et al. 2020 (arXiv 2009.01325)"
DIFFERS = (
    "The paper plots validation sets decoded for the purpose; here are the summaries on file, each "
    "distinct one once, so policies may differ in their posts. Stemmed F1, equal to the package "
    "rouge-score; with several references, that of the best. Standard errors are clustered by post."
)
SCORES: tuple[str, ...] = ("rouge",)

PANELS = {"rouge1_f": "ROUGE-1", "rouge2_f": "ROUGE-2", "rougeL_f": "ROUGE-L"}
QUANTITIES = {f"{m}_{part}": (0.0, 1.0) for part in "fpr" for m in ("rouge1", "rouge2", "rougeL")}
"""Score columns of the table with their ranges: F1, precision, recall."""

_NONE = "no post has a reference summary and another summary beside it"


@dataclass(frozen=True)
class Options:
    """Settings of the analysis.

    level: coverage of the intervals in the table.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    rows = tables.summaries[tables.summaries["text"].notna()]
    human = rows["policy"] == REFERENCE_POLICY
    return None if rows.loc[~human, "post_id"].isin(rows.loc[human, "post_id"]).any() else _NONE


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Mean precision, recall and F1 by policy, clustered by post; nothing is random here.

    Raises EvalsuiteError when no summary has a reference to be compared with.
    """
    rows = scored(tables, SCORES)
    human = rows["policy"] == REFERENCE_POLICY
    known = rows["rouge1_f"].notna() & rows["post_id"].notna()
    if not (known & ~human).any():
        raise EvalsuiteError(_NONE)
    left_out = {
        "references without another reference of the same post": int((~known & human).sum()),
        "summaries without text or without a reference": int((~known & ~human).sum()),
    }
    table = means_by_policy(rows[known], QUANTITIES, options.level)
    return Result(table, {reason: n for reason, n in left_out.items() if n})


def plot(table: pd.DataFrame) -> Figure:
    """F1 by policy and, for models seen at two temperatures or more, over temperature."""
    policies = shown(table)
    swept = _swept(table[table["policy"].isin(policies)])
    height = 0.19 * len(policies) + 0.95
    heights = [height, 1.9] if len(swept) else [height]
    fig, axes = style.figure(
        "double", sum(heights), rows=len(heights), cols=3, height_ratios=heights, squeeze=False
    )
    for column, (quantity, title) in enumerate(PANELS.items()):
        ax = axes[0, column]
        forest(ax, table, quantity, policies, counts=column == 2)
        style.title(ax, title)
        ax.set_xlabel("F1")
        ax.tick_params(labelleft=column == 0)
        if len(swept):
            _over_temperature(axes[1, column], swept[swept["quantity"] == quantity])
    if len(swept):
        axes[1, 0].set_ylabel("F1")
        _name_models(axes[1], swept[swept["quantity"] == "rougeL_f"])
    note_left_out(fig, table, policies)
    style.note_errorbars(fig)
    return fig


def _swept(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of models without top-p that stand at two temperatures or more."""
    rows = table[table["temperature"].notna() & table["top_p"].isna()]
    rows = rows.assign(model=rows["policy"].map(style.model_label))
    counts = rows.groupby("model")["temperature"].transform("nunique")
    return rows[counts > 1].sort_values("temperature")


def _over_temperature(ax: Axes, rows: pd.DataFrame) -> None:
    for _, mine in rows.groupby("model"):
        ax.plot(mine["temperature"], mine["value"], color=style.FAINT, lw=1.2, zorder=1)
    for i in range(len(rows)):
        style.errorbars(ax, rows.iloc[[i]], "temperature", policy=rows["policy"].iloc[i])
    ax.set_xlabel("temperature")
    ax.margins(x=0.14, y=0.15)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    style.grid(ax, "y")


def _name_models(axes: Sequence[Axes], rows: pd.DataFrame) -> None:
    """The model's name as a title where there is one, at the lines' ends in the last panel else."""
    last = rows.groupby("model").tail(1)
    if len(last) == 1:
        style.title(axes[0], last["model"].iloc[0])
        return
    end = float(last["temperature"].max())
    colours = [style.policy_style(policy).colour for policy in last["policy"]]
    for (_, mine), colour in zip(last.iterrows(), colours, strict=True):
        axes[-1].plot([mine["temperature"], end], [mine["value"]] * 2, color=colour, lw=0.6, ls=":")
    style.label_directly(
        axes[-1], [end] * len(last), last["value"].tolist(), last["model"].tolist(), colours
    )


def reading(table: pd.DataFrame) -> str:
    """One sentence: the policy with the highest ROUGE-L, and what temperature does to it."""
    drawn = table[(table["quantity"] == "rougeL_f") & table["low"].notna()]
    if drawn.empty:
        return "No policy has summaries of enough posts for an interval."
    known, among = wording.well_known(drawn), wording.among(drawn, "summaries")
    best, worst = known.loc[known["value"].idxmax()], known.loc[known["value"].idxmin()]
    who = wording.named(best["policy"])
    has = "have" if who == "the references" else "has"
    how = f"{best['value']:.3f} ({wording.interval(best, '.3f')})"
    text = f"{who} {has} the highest ROUGE-L{among}, {how}"
    if best["policy"] != worst["policy"]:
        text += f", {wording.named(worst['policy'])} the lowest, {worst['value']:.3f}"
    swept = _swept(known)
    if len(swept):
        largest = swept.groupby("model")["n"].sum().idxmax()
        mine = swept[swept["model"] == largest]
        cold, hot = mine.iloc[0], mine.iloc[-1]
        text += (
            f"; {largest} goes from {cold['value']:.3f} at T={cold['temperature']:g} to "
            f"{hot['value']:.3f} at T={hot['temperature']:g}"
        )
    return wording.sentence(f"{text}.")
