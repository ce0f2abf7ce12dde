"""How often each policy is preferred to the reference summaries, and every pair of policies.

Left: the direct rate against the reference, and beside it the rate that Bradley-Terry strengths
imply, which use the comparisons with other policies too. Where the two part, preferences are not
on one scale (or the posts of the comparisons differ). Right: all pairs that met.

Both kinds of rate are in table.csv: quantity `preference` has one row an ordered pair, `strength`
the log odds against the anchor, `implied_preference` the same on the scale of a rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.bradley_terry import bradley_terry
from evalsuite.stats.clusters import codes_or_rows
from evalsuite.stats.preference import pairwise_rates
from evalsuite.tables import Tables

TITLE = "Preference for each policy"
SOURCE = "Figure 1 and Table 8 (Stiennon et al. 2020)"
DIFFERS = (
    "Rates of every policy on file rather than by model size; all splits unless `splits` says "
    "otherwise (the paper: valid2); Bradley-Terry strengths and the matrix of pairs are added. "
    "Length is not controlled here; see length_control."
)
SCORES: tuple[str, ...] = ()

MAX_SHOWN = 40
"""Policies in the figure: those with most comparisons. The table has all."""
MAX_NUMBERED = 26
"""With more policies the cells of the matrix are too small to hold their numbers."""

FEW = 5
"""Cells of the matrix with fewer comparisons are faint: an interval does not exist there."""

_COLUMNS = {"post": "item", "labeler": "labeler"}


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    splits: splits of the comparisons to use, e.g. [valid2]; empty: all.
    reference: the policy that the others are held against; where it has no comparison, the one
        with most takes its place.
    clusters: what makes comparisons dependent: "post", "labeler", or "both" (two-way).
    level: coverage of the intervals.
    """

    splits: tuple[str, ...] = ()
    reference: str = REFERENCE_POLICY
    clusters: Literal["post", "labeler", "both"] = "post"
    level: float = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.comparisons.empty:
        return "no comparisons"
    if (tables.comparisons["left_policy"] == tables.comparisons["right_policy"]).all():
        return "no comparison of two different policies"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rates of all ordered pairs and Bradley-Terry strengths; nothing is random here."""
    rows = tables.comparisons
    left_out: dict[str, int] = {}
    if options.splits:
        kept = rows["split"].isin(options.splits)
        left_out["comparisons of other splits"] = int((~kept).sum())
        rows = rows[kept]
    alike = rows["left_policy"] == rows["right_policy"]
    left_out["comparisons of a policy with itself"] = int(alike.sum())
    rows = rows[~alike]
    facts = tables.policies.set_index("policy")[["base", "method"]]
    facts = facts.rename(columns={"method": "policy_method"})
    if rows.empty:
        return Result(pd.DataFrame(columns=_order([])), left_out)

    both = options.clusters == "both"
    column = ("item", "labeler") if both else _COLUMNS[options.clusters]
    name = "post and labeler" if both else options.clusters
    pairs = pairwise_rates(rows, cluster_column=column, cluster_name=name, level=options.level)
    pairs.insert(0, "quantity", "preference")

    codes = [codes_or_rows(rows[c]) for c in ([column] if isinstance(column, str) else column)]
    known = codes[0][1].any()
    fit = bradley_terry(
        rows["left_policy"], rows["right_policy"], rows["choice"],
        clusters=(codes[0][0], codes[1][0]) if both else codes[0][0],
        cluster_name=name if known else f"row (no {name} ids)",
        anchor=options.reference, level=options.level,
    )  # fmt: skip
    strengths = fit.strengths.assign(quantity="strength", against=fit.anchor)
    implied = strengths.assign(quantity="implied_preference")
    rate = 1 / (1 + np.exp(-strengths["value"]))
    implied["value"], implied["se"] = rate, strengths["se"] * rate * (1 - rate)
    for end in ("low", "high"):
        implied[end] = 1 / (1 + np.exp(-strengths[end]))
    table = pd.concat([pairs, strengths, implied], ignore_index=True)
    table = table.join(facts, on="policy")
    return Result(table[_order(table.columns)], left_out)


def plot(table: pd.DataFrame) -> Figure:
    """Rates against the reference with the rates implied by strengths, and the matrix of pairs."""
    implied = table[table["quantity"] == "implied_preference"].set_index("policy")
    pairs = table[table["quantity"] == "preference"]
    if implied.empty:
        fig, ax = style.figure("single")
        ax.text(0.5, 0.5, "no comparisons", ha="center", transform=ax.transAxes)
        return fig
    anchor = str(implied["against"].iloc[0])
    direct = pairs[pairs["against"] == anchor].set_index("policy")
    shown = implied.nlargest(MAX_SHOWN, "n", keep="all").head(MAX_SHOWN)
    rank = shown["value"].fillna(direct["value"].reindex(shown.index).fillna(0) - 2)
    policies = [str(p) for p in rank.sort_values(ascending=False, kind="stable").index]
    direct, implied = direct.reindex(policies), implied.reindex(policies)
    count = len(policies)

    fig, (ax, grid) = style.figure(
        "double", max(2.2, 0.9 + 0.19 * count), 1, 2, sharey=True, width_ratios=[1, 1.15]
    )
    labels = [f"{style.policy_style(p).label}  {i}" for i, p in enumerate(policies, start=1)]
    values = direct["value"].where(direct["n"] >= FEW).to_numpy(copy=True)
    if anchor in policies:
        values[policies.index(anchor)] = 0.5
    style.forest(
        ax, labels, values, direct["se"].to_numpy(),
        policies=policies, offset=-0.14, counts=direct["n"].to_numpy(),
    )  # fmt: skip
    free = [p != anchor for p in policies]
    style.forest(
        ax, labels, implied["value"].where(free).to_numpy(), implied["se"].to_numpy(),
        policies=policies, offset=0.2, filled=False,
    )  # fmt: skip
    against = style.policy_style(anchor).label
    style.rate_axis(ax, "x", label=f"preferred to {against}", chance=0.5)
    style.title(ax, f"Against {against}")
    _matrix(grid, pairs, policies)
    style.note(
        fig,
        "filled: direct comparisons (n); open: implied by Bradley-Terry strengths; "
        f"faint, no dot: under {FEW} comparisons",
    )
    style.note_errorbars(fig)
    if count < len(set(table["policy"])):
        style.note(fig, f"{count} of {len(set(table['policy']))} policies")
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: the policy most often preferred to the anchor, and how sure that is."""
    strengths = table[table["quantity"] == "strength"]
    if strengths.empty:
        return "No comparison of two different policies."
    anchor = strengths["against"].iloc[0]
    rates = table[
        (table["quantity"] == "preference") & (table["against"] == anchor) & table["low"].notna()
    ]
    against = style.policy_style(str(anchor)).label
    against = "the references" if against == "reference" else against
    if rates.empty:
        return f"{len(strengths)} policies compared, none often enough with {against}."
    best, above = rates.loc[rates["value"].idxmax()], int((rates["low"] > 0.5).sum())
    name = style.policy_style(str(best["policy"])).label
    error = f"SE {best['se']:.1%}, " if pd.notna(best["se"]) else ""
    return (
        f"Of {len(rates)} policies compared with {against}, {name} is preferred most often "
        f"({best['value']:.1%}, {error}n = {best['n']:,}); "
        f"the interval of {above or 'none'} lies above 50%."
    )


def _matrix(ax: Any, pairs: pd.DataFrame, policies: list[str]) -> None:
    """Share of the preference that goes to the row's policy over the column's."""
    count = len(policies)

    def cells_of(column: str) -> Any:
        wide = pairs.pivot(index="policy", columns="against", values=column)
        return wide.reindex(index=policies, columns=policies).to_numpy(dtype=float)

    cells, few = cells_of("value"), ~(cells_of("n") >= FEW)
    ax.imshow(
        np.where(few, np.nan, cells), cmap="Blues", vmin=-0.1, vmax=1.25, aspect="auto",
        interpolation="nearest", extent=(0.5, count + 0.5, 0.5 - count, 0.5),
    )  # fmt: skip
    size = min(style.SMALL - 1, 130 / count) if count <= MAX_NUMBERED else style.SMALL - 1
    numbered = count <= MAX_NUMBERED
    for i, j in zip(*np.nonzero(np.isfinite(cells) & numbered), strict=True):
        colour = style.FAINT if few[i, j] else "white" if cells[i, j] > 0.65 else style.INK
        ax.text(
            j + 1, -i, f"{100 * cells[i, j]:.0f}", ha="center", va="center", fontsize=size,
            color=colour, fontfamily="DejaVu Sans", in_layout=False,
        )  # fmt: skip
    ax.set_xticks(range(1, count + 1) if numbered else range(5, count + 1, 5))
    ax.tick_params(length=0, labelleft=False, labelsize=size)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    said = ", %" if numbered else " (darker: more often)"
    ax.set_xlabel(f"row preferred to column{said}")
    style.title(ax, "All pairs that met")


def _order(columns: Any) -> list[str]:
    first = ["quantity", "policy", "against", "base", "policy_method"]
    rest = ["value", "se", "low", "high", "level", "n", "n_clusters", "method"]
    return [*first, *(c for c in columns if c not in (*first, *rest)), *rest]
