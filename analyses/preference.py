"""How often each policy is preferred to the reference summaries, and every pair of policies.

Left: the direct rate against the reference, and beside it the rate that Bradley-Terry strengths
imply, which use the comparisons with other policies too. Where the two part, preferences are not
on one scale (or the posts of the comparisons differ). Right: all pairs that met, where
policies met others than the reference.

Both kinds of rate are in table.csv: quantity `preference` has one row an ordered pair, `strength`
the log odds against the anchor, `implied_preference` the same on the scale of a rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses import wording
from analyses.choices import Share, check_policy, of_splits
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

_COLUMNS = {"post": "item", "labeler": "labeler"}
_SHADES: Any = {"cmap": "Blues", "vmin": -0.1, "vmax": 1.25}
_NONE = "no policy has enough comparisons for an interval"


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    splits: splits of the comparisons to use, e.g. [valid2]; empty: all.
    reference: the policy that the others are held against; where it has no comparison, the one
        with most takes its place, and the table and the sentence name that one.
    clusters: what makes comparisons dependent: "post", "labeler", or "both" (two-way).
    level: coverage of the intervals.
    """

    splits: tuple[str, ...] = ()
    reference: str = REFERENCE_POLICY
    clusters: Literal["post", "labeler", "both"] = "post"
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.comparisons.empty:
        return "no comparisons"
    if (tables.comparisons["left_policy"] == tables.comparisons["right_policy"]).all():
        return "no comparison of two different policies"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rates of all ordered pairs and Bradley-Terry strengths; nothing is random here.

    Raises ConfigError on a policy or split that the data does not have.
    """
    check_policy("reference", options.reference, tables)
    left_out: dict[str, int] = {}
    rows = of_splits(tables.comparisons, options.splits, left_out)
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
    """Rates against the reference with the rates implied by strengths, and the matrix of pairs.

    Where all met the reference alone there is no matrix. What has too few clusters for an interval
    stays in the table.
    """
    pairs = table[table["quantity"] == "preference"]
    implied = table[table["quantity"] == "implied_preference"].set_index("policy")
    anchor = str(implied["against"].iloc[0]) if len(implied) else ""
    direct = pairs[pairs["against"] == anchor].set_index("policy").reindex(implied.index)
    sure, sure_direct = implied["low"].notna(), direct["low"].notna()
    everyone = implied.index
    implied, direct = implied.where(sure), direct.where(sure_direct)
    shown = table[table["quantity"] == "strength"].set_index("policy")
    shown = shown[(sure | sure_direct) & (shown.index != anchor)]
    if shown.empty:
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(0.5, 0.5, _NONE, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    shown = shown.nlargest(MAX_SHOWN, "n")
    rank = implied["value"].fillna(direct["value"]).reindex([*shown.index, anchor])
    rank[anchor] = 0.5
    policies = [str(p) for p in rank.sort_values(ascending=False, kind="stable").index]
    implied, direct = implied.reindex(policies), direct.reindex(policies)
    count = len(policies)

    height = max(2.0, 0.9 + 0.19 * count)
    labels = [style.policy_style(p).label for p in policies]
    alone = _one_opponent(pairs, anchor, policies)
    if alone:
        fig, ax = style.figure(4.4, height)
    else:
        fig, (ax, grid) = style.figure(
            "double", height, 1, 2, sharey=True, width_ratios=[1, 1.15]
        )  # fmt: skip
        labels = [f"{label}  {i}" for i, label in enumerate(labels, start=1)]
    style.forest(
        ax, labels, direct["value"].to_numpy(), direct["se"].to_numpy(),
        policies=policies, offset=-0.14, counts=direct["n"].to_numpy(),
    )  # fmt: skip
    free = np.array([p != anchor for p in policies])
    style.forest(
        ax, labels, implied["value"].where(free).to_numpy(), implied["se"].to_numpy(),
        policies=policies, offset=0.2, filled=False,
    )  # fmt: skip
    style.forest(
        ax, labels, np.where(free, np.nan, 0.5), np.full(count, np.nan), policies=policies
    )  # fmt: skip
    against = style.policy_style(anchor).label
    style.rate_axis(ax, "x", label=f"preferred to {against}", chance=0.5)
    style.title(ax, f"Against {against}")
    few = not alone and _matrix(grid, pairs, policies)
    said = "filled: direct comparisons (n); open: implied by Bradley-Terry strengths"
    style.note(fig, f"{said}; –: too few posts for an interval" if few else said)
    rest = int((~(sure | sure_direct) & (everyone != anchor)).sum())
    style.note_table_only(fig, rest, "policy", "policies")
    if hidden := len(everyone) - rest - count:
        style.note(fig, f"{hidden} with fewer comparisons in the table only")
    style.note_errorbars(fig)
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: the policy most surely preferred to the anchor, and how many are for sure."""
    strengths = table[table["quantity"] == "strength"]
    if strengths.empty:
        return "No comparison of two different policies."
    anchor = strengths["against"].iloc[0]
    against = wording.named(anchor)
    rates = table[
        (table["quantity"] == "preference") & (table["against"] == anchor) & table["low"].notna()
    ]
    if rates.empty:
        people = wording.counted(len(strengths), "policy", "policies")
        return f"{people} compared, none often enough with {against} for an interval."
    best, among = wording.surest(rates), wording.among(rates)
    ranked = wording.well_known(rates)
    above = int((ranked["low"] > 0.5).sum())
    name, known = wording.named(best["policy"]), wording.interval(best)
    if len(rates) == 1:
        return wording.sentence(
            f"{name} is preferred to {against} in {best['value']:.1%} of {best['n']:,} "
            f"comparisons ({known})."
        )
    if len(ranked) == 1:
        sure = f"its interval {'lies' if above else 'does not lie'}"
    elif among:
        sure = f"of these {len(ranked)} intervals "
        sure += {0: "none lies", 1: "one lies"}.get(above, f"{above} lie")
    else:
        sure = {0: "no interval lies", 1: "one interval lies"}.get(above, f"{above} intervals lie")
    return (
        f"Of {len(rates)} policies with an interval against {against}, {name} does best{among} by "
        f"the lower end of its interval: {best['value']:.1%} ({known}, n = {best['n']:,}); "
        f"{sure} above 50%."
    )


def _one_opponent(pairs: pd.DataFrame, anchor: str, policies: list[str]) -> bool:
    """Whether these policies met the anchor alone, so that the matrix would repeat the rates."""
    met = pairs[pairs["policy"].isin(policies) & pairs["against"].isin(policies)]
    return bool(((met["policy"] == anchor) | (met["against"] == anchor)).all())


def _matrix(ax: Any, pairs: pd.DataFrame, policies: list[str]) -> bool:
    """Share of the preference that goes to the row's policy over the column's.

    Says whether any pair met too seldom for an interval; such a cell has a dash.
    """
    count = len(policies)

    def cells_of(column: str) -> Any:
        wide = pairs.pivot(index="policy", columns="against", values=column)
        return wide.reindex(index=policies, columns=policies).to_numpy(dtype=float)

    few = np.isnan(cells_of("low"))
    met, cells = cells_of("n") > 0, np.where(few, np.nan, cells_of("value"))
    ax.imshow(
        cells, aspect="auto", interpolation="nearest",
        extent=(0.5, count + 0.5, 0.5 - count, 0.5), **_SHADES,
    )  # fmt: skip
    numbered, size = count <= MAX_NUMBERED, min(style.SMALL - 1, 150 / count)
    for i, j in zip(*np.nonzero(met & (few | numbered)), strict=True):
        shown = "–" if few[i, j] else f"{100 * cells[i, j]:.0f}"
        colour = style.MUTED if few[i, j] else "white" if cells[i, j] > 0.65 else style.INK
        ax.text(
            j + 1, -i, shown, ha="center", va="center", fontsize=min(size, 130 / count),
            color=colour, fontfamily="DejaVu Sans", in_layout=False,
        )  # fmt: skip
    ax.set_xticks(range(1, count + 1))
    ax.tick_params(length=0, labelleft=False)
    ax.tick_params(axis="x", labelsize=size, labelrotation=0 if numbered else 90)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    if numbered:
        ax.set_xlabel("row preferred to column, %")
    else:
        ax.set_xlabel("row preferred\nto column", loc="left")
    style.title(ax, "All pairs that met")
    if not numbered:
        _colour_bar(ax, ax.figure.get_figheight())
    return bool((met & few).any())


def _colour_bar(ax: Any, height: float) -> None:
    """What the shades mean, beside the label of the columns; height of the figure in inches."""
    inch = 1 / (height - 0.75)  # of the panel, about
    bar = ax.inset_axes((0.68, -0.31 * inch, 0.2, 0.09 * inch))
    bar.imshow(np.linspace(0, 1, 64)[None], aspect="auto", **_SHADES)
    bar.set_axis_off()
    look = {"va": "center", "transform": bar.transAxes, "fontsize": style.SMALL - 1}
    bar.text(-0.06, 0.45, "0%", ha="right", **look)
    bar.text(1.06, 0.45, "100%", ha="left", **look)


def _order(columns: Any) -> list[str]:
    first = ["quantity", "policy", "against", "base", "policy_method"]
    rest = ["value", "se", "low", "high", "level", "n", "n_clusters", "method"]
    return [*first, *(c for c in columns if c not in (*first, *rest)), *rest]
