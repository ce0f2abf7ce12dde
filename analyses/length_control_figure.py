"""The figure of `length_control`, from its table alone, and the names of the table's quantities.

Which policies the right side shows may be changed (`CURVES`, `ENOUGH`), and from which height on
each has a panel of its own (`TALL`). tests/analyses/test_length_control_analysis.py draws them all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from evalsuite.report import style

RAW, POOLED, CONTROLLED, CHANGE = "raw_rate", "pooled_rate", "controlled_rate", "change"
COEFFICIENT, COEFFICIENT_MODEL = "length_coefficient", "length_coefficient_model"
SLOPE, LOCATION = "length_slope", "length_slope_typical"
CHARS, BY_RATIO = "mean_chars", "preference_by_ratio"

CURVES, ENOUGH = 3, 60
"""The right side shows three policies, the most compared of each third (strong to weak) of those
with enough comparisons with the baseline."""
MAX_SHOWN = 40
"""Policies on the left side: those with most comparisons. The table has all."""
TALL = 4.0
"""Inches of height from which on the policies of the right side stand one below the other."""

_NONE = "no policy has enough comparisons for an interval"


def draw(table: pd.DataFrame) -> Figure:
    """Left: each policy's rate, raw and at equal length; right: preference by length ratio.

    Rates of too few clusters for an interval stay in the table.
    """
    rates = table[table["quantity"] == CONTROLLED].set_index("policy")
    raw = table[table["quantity"] == RAW].set_index("policy").reindex(rates.index)
    certain = rates["low"].notna(), raw["low"].notna()
    enough = certain[0] | certain[1]
    if not enough.any():
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(0.5, 0.5, _NONE, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    against = style.policy_style(str(rates["against"].iloc[0])).label
    shown = rates[enough].nlargest(MAX_SHOWN, "n", keep="all").head(MAX_SHOWN)
    rank = shown["value"].fillna(raw["value"])
    policies = [str(p) for p in rank.sort_values(ascending=False, kind="stable").index]

    height = max(1.9, 0.9 + 0.165 * len(policies))
    curves = _curves(table)
    fig, left, rights = _panels(height, len(curves))
    _rates(left, raw.where(certain[1]), rates.where(certain[0]), policies)
    style.rate_axis(left, "x", label=f"preferred to {against}", chance=0.5)
    style.title(left, "Raw and at equal length")
    style.note(fig, "filled: raw, direct comparisons (n); open: length-controlled")
    _draw_curves(rights, table, curves, against)
    if curves:
        fitted = ", lines the fitted model" if table["fitted"].notna().any() else ""
        style.note(fig, f"right: dots are bins of comparisons{fitted}")
    style.note_table_only(fig, int((~enough).sum()), "policy", "policies")
    if rest := int(enough.sum()) - len(policies):
        style.note(fig, f"{rest} with fewer comparisons in the table only")
    style.note_errorbars(fig)
    if len(rights) < len(curves):
        _name_curves(rights[0], table, curves)
    return fig


def _panels(height: float, curves: int) -> tuple[Figure, Axes, list[Axes]]:
    """The figure, the panel on the left and those on the right."""
    rows = max(curves, 1) if height >= TALL else 1
    if not curves:
        fig, ax = style.figure(4.4, height)
        return fig, ax, []
    height = max(height, 2.6)
    fig, axes = style.figure("double", height, rows, 2, squeeze=False, width_ratios=[1, 1.05])
    left, rights = axes[0, 0], list(axes[:, 1])
    for ax in axes[1:, 0]:
        ax.remove()
    left.set_subplotspec(left.get_gridspec()[:, 0])
    for ax in rights[1:]:
        ax.sharex(rights[0])
        ax.sharey(rights[0])
    if height / rows > TALL:
        rights[0].set_box_aspect(1.3)
        rights[0].set_anchor("N")
    return fig, left, rights


def _rates(ax: Axes, raw: pd.DataFrame, controlled: pd.DataFrame, policies: list[str]) -> None:
    raw, controlled = raw.reindex(policies), controlled.reindex(policies)
    labels = [style.policy_style(p).label for p in policies]
    heights = style.forest(
        ax, labels, raw["value"].tolist(), raw["se"].tolist(), policies=policies, offset=-0.2,
        counts=raw["n"].tolist(),
    )  # fmt: skip
    style.forest(
        ax, labels, controlled["value"].tolist(), controlled["se"].tolist(), policies=policies,
        offset=0.2, filled=False,
    )  # fmt: skip
    for y, start, end in zip(heights, raw["value"], controlled["value"], strict=True):
        ax.plot([start, end], [y + 0.2, y - 0.2], color=style.FAINT, lw=1.2, zorder=0)


def _bins(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["quantity"] == BY_RATIO) & table["low"].notna()]


def _curves(table: pd.DataFrame) -> list[str]:
    """Policies of the right side, strong to weak."""
    bins = _bins(table).groupby("policy")["n"].agg(["sum", "size"])
    counts = bins.loc[(bins["sum"] >= ENOUGH) & (bins["size"] > 1), "sum"]
    rates = table[table["quantity"] == CONTROLLED].dropna(subset="low").set_index("policy")
    known = rates[rates.index.isin(counts.index)]
    ranked = known["value"].sort_values(ascending=False, kind="stable").index
    groups = np.array_split(ranked.to_numpy(), min(CURVES, len(ranked)) or 1)
    return [str(counts[group].idxmax()) for group in groups if len(group)]


def _draw_curves(axes: list[Axes], table: pd.DataFrame, policies: list[str], against: str) -> None:
    """Bins and fitted lines; a policy with a panel of its own is named in the title."""
    for i, policy in enumerate(policies):
        ax, mine = axes[min(i, len(axes) - 1)], _bins(table)
        mine = mine[mine["policy"] == policy]
        look = style.policy_style(policy)
        style.errorbars(ax, mine, "ratio", policy=policy)
        ax.plot(mine["ratio"], mine["fitted"], color=look.colour, ls=look.linestyle, lw=1.2)
        alone = len(axes) == len(policies)
        style.title(ax, f"By length:\n{look.label}" if alone else "Preference by length")
    for ax in axes:
        ax.set_xscale("log")
        ax.axvline(1.0, color=style.MUTED, lw=0.6, ls=":", zorder=0.9)
        low, high = ax.get_xlim()
        base = 2**0.5 if high < 4 * low else 2 if high < 12 * low else 4
        ax.xaxis.set_major_locator(LogLocator(base=base, numticks=20))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        style.grid(ax, "y")
    for i, ax in enumerate(axes):  # once all have drawn: they share their limits
        middle = i == len(axes) // 2
        style.rate_axis(ax, "y", label=f"preferred to {against}" if middle else None, chance=0.5)
        ax.tick_params(labelbottom=ax is axes[-1])
    if axes:
        axes[-1].set_xlabel(f"length over that of {against}")


def _name_curves(ax: Axes, table: pd.DataFrame, policies: list[str]) -> None:
    """Names at the right edge, where no marks are, each led to by the end of its line."""
    edge, bins = ax.get_xlim()[1], _bins(table)
    ends, colours = [], []
    for policy in policies:
        last = bins[bins["policy"] == policy].iloc[-1]
        ends.append(float(last["value"] if np.isnan(last["fitted"]) else last["fitted"]))
        colours.append(style.policy_style(policy).colour)
        ax.plot([last["ratio"], edge], [ends[-1]] * 2, color=colours[-1], lw=0.6, ls=":")
    ax.set_xlim(right=edge)
    labels = [style.policy_style(policy).label for policy in policies]
    style.label_directly(ax, [edge] * len(ends), ends, labels, colours)
