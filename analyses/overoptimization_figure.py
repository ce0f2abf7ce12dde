"""The figure of `overoptimization`, from its table alone, and the names of the table's quantities.

Above, some objectives one by one: truth and proxy, best-of-N and PPO. Below, the truth alone under
all objectives, and under ensembles beside the single reward model they are made of. Which
objectives stand above may be changed (`MAX_ALONE`, `alone`).
tests/analyses/test_overoptimization_analysis.py draws them all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses import objectives, wording
from analyses.samples import Floats
from evalsuite.report import style
from evalsuite.stats.overoptimization import Form, gain_curve

GOLD, PROXY, FIT, CHANGE = "gold", "proxy", "fit", "change"
DIFFERENCE, FINAL = "difference", "final"
BEST_OF_N: Form = "best-of-n"
PPO: Form = "ppo"

MAX_ALONE = 3
_WAYS: dict[Form, tuple[str, str, str]] = {
    BEST_OF_N: ("best-of-N", "#12876a", "D"),
    PPO: ("PPO", "#d1622b", "^"),
}
_WORDS, _NAMES = 0.2, 0.5  # inches that legends take, above and below
_COLUMNS = 12  # of the grid: any number of panels up to 4 divides it


def draw(table: pd.DataFrame) -> Figure:
    """Panels above: an objective each; below: all objectives by one way each, then ensembles."""
    first, below = alone(table), _below(table)
    rows = [count for count in (len(first), len(below)) if count]
    if not rows:
        return _nothing()
    heights = [_WORDS, *[2.5] * len(rows), *([_NAMES] if below else [])]
    fig, grid = style.figure(
        "double", sum(heights) + 0.3, len(heights), _COLUMNS, squeeze=False,
        height_ratios=heights,
    )  # fmt: skip
    panels = [_panels(cells, count) for cells, count in zip(grid[1:], rows, strict=False)]
    looks = objectives.looks(table)
    unit = str(table["unit"].iloc[0]) if len(table) else ""
    if first:
        for ax, name in zip(panels[0], first, strict=True):
            _one(ax, table[table["objective"] == name])
            style.title(ax, looks[name].label)
            ax.set_xlabel("d = √KL, √nats")
        panels[0][0].set_ylabel(f"gain, units of {unit}")
        _share(panels[0])
    _legend_of_ways(_panels(grid[0], 1)[0], table)
    if below:
        for ax, (title, way, names) in zip(panels[-1], below, strict=True):
            _many(ax, table[table["way"] == way], names, looks)
            style.title(ax, title)
            ax.set_xlabel("d = √KL, √nats")
        panels[-1][0].set_ylabel(f"gain in {unit}")
        _share(panels[-1])
        _legend_of_objectives(_panels(grid[-1], 1)[0], looks, below)
    style.note(fig, "the proxy is scaled to spread as the truth does over the start's samples")
    style.note(fig, "KL of best-of-N is an upper bound")
    style.note(fig, f"bars and bands: {wording.error_of(table)}")
    return fig


def _nothing() -> Figure:
    fig, ax = style.figure("single", 1.0)
    ax.axis("off")
    ax.text(
        0.5, 0.5, "no objective has a curve", ha="center", transform=ax.transAxes,
        fontsize=style.SMALL, fontfamily="DejaVu Sans",
    )  # fmt: skip
    return fig


def _panels(cells: np.ndarray, count: int) -> list[Axes]:
    """A row of the grid as `count` panels of one width."""
    span = _COLUMNS // count
    kept = []
    for i, ax in enumerate(cells):
        if i % span:
            ax.remove()
        else:
            ax.set_subplotspec(ax.get_gridspec()[ax.get_subplotspec().rowspan.start, i : i + span])
            kept.append(ax)
    return kept


def _share(axes: list[Axes]) -> None:
    """One range of gains for a row; its numbers at the left alone."""
    limits = [ax.get_ylim() for ax in axes]
    for i, ax in enumerate(axes):
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        ax.set_xlim(left=0)
        ax.axhline(0, color=style.MUTED, lw=0.6, zorder=0.9)
        style.grid(ax, "y")
        if i:
            ax.tick_params(labelleft=False)


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["quantity"].isin([GOLD, PROXY])]


def alone(table: pd.DataFrame) -> list[str]:
    """The reward models of fewest and of most labels, and ROUGE; by choice those PPO pursued."""
    curves = _curves(table)
    facts = objectives.in_order(curves)
    pursued = set(curves.loc[curves["way"] == PPO, "objective"])
    singles = facts[(facts["kind"] == "rm") & facts["round"].isna()]
    both = singles[singles["objective"].isin(pursued)]
    ranked = both if len(both) > 1 else singles
    ranked = ranked[ranked["size"] == ranked["size"].iloc[0]] if len(ranked) else ranked
    names = list(ranked.sort_values("labels")["objective"])
    ends = [names[0], names[-1]] if len(names) > 1 else names
    others = [
        name for kind in ("rouge", "length")
        for name in facts.loc[facts["kind"] == kind, "objective"]
    ]  # fmt: skip
    return [*ends, *others][:MAX_ALONE]


def _below(table: pd.DataFrame) -> list[tuple[str, Form, list[str]]]:
    """Title, way and objectives of each panel that compares objectives."""
    curves = _curves(table)
    facts = objectives.in_order(curves)
    out: list[tuple[str, Form, list[str]]] = []
    for way, (word, _, _) in _WAYS.items():
        here = facts[facts["objective"].isin(curves.loc[curves["way"] == way, "objective"])]
        several = here[~here["kind"].isin(["ensemble", "gold"])]
        if len(several) > 1:
            out.append((f"Truth, {word}", way, objectives.drawn(several)))
    for way, (word, _, _) in _WAYS.items():
        here = facts[facts["objective"].isin(curves.loc[curves["way"] == way, "objective"])]
        joint = here[here["kind"] == "ensemble"]
        if len(joint):
            same = (here["size"].isin(joint["size"])) & (here["labels"].isin(joint["labels"]))
            single = here[(here["kind"] == "rm") & same & here["round"].isna()]
            names = [*single["objective"], *joint["objective"]]
            out.append((f"Ensembles, {word}", way, names))
    return out


def _one(ax: Axes, rows: pd.DataFrame) -> None:
    """Truth as points with the fitted curve, the proxy dashed, final policies as open marks."""
    for way, (_, colour, marker) in _WAYS.items():
        mine = rows[rows["way"] == way]
        gold = mine[mine["quantity"] == GOLD].sort_values("at")
        proxy = mine[mine["quantity"] == PROXY].sort_values("at")
        ax.plot(_gone(proxy), proxy["value"], color=colour, ls=(0, (4, 2)), lw=1.0)
        style.errorbars(ax, gold, "d", color=colour, marker=marker, ms=3, elinewidth=0.7)
        fit = mine[mine["quantity"] == FIT].set_index("of")["value"]
        if len(gold) and {"alpha", "beta"} <= set(fit.dropna().index):
            d = np.linspace(0, gold["d"].max(), 100)
            ax.plot(d, gain_curve(way, d, fit["alpha"], fit["beta"]), color=colour, lw=1.3)
        final = mine[mine["quantity"] == FINAL]
        style.errorbars(
            ax, final, "d", color=colour, marker="o", ms=4, mfc="white", elinewidth=0.7, zorder=4
        )


def _gone(line: pd.DataFrame) -> Floats:
    """Distance so far, point by point: PPO's KL is measured with noise and may step back."""
    return np.maximum.accumulate(line["d"].to_numpy(float))


def _many(
    ax: Axes, rows: pd.DataFrame, names: list[str], looks: dict[str, objectives.Look]
) -> None:
    """The truth under each objective, with its band."""
    for name in names:
        line = rows[(rows["objective"] == name) & (rows["quantity"] == GOLD)].sort_values("at")
        look = looks[name]
        d = _gone(line)
        ax.plot(d, line["value"], color=look.colour, ls=look.linestyle, lw=1.3)
        ax.fill_between(
            d, line["value"] - line["se"], line["value"] + line["se"], color=look.colour,
            alpha=0.15, lw=0,
        )  # fmt: skip


def _legend_of_ways(ax: Axes, table: pd.DataFrame) -> None:
    """What markers and lines of the upper panels mean, in an axes of its own."""
    ax.axis("off")
    ways = set(_curves(table)["way"])
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=3.5, lw=1.3, label=f"{word}: truth, fit")
        for way, (word, colour, marker) in _WAYS.items() if way in ways
    ]  # fmt: skip
    handles.append(Line2D([], [], color=style.MUTED, ls=(0, (4, 2)), lw=1.0, label="proxy"))
    if (table["quantity"] == FINAL).any():
        handles.append(Line2D(
            [], [], color=_WAYS[PPO][1], marker="o", mfc="white", ms=4, lw=0,
            label="final policies of PPO",
        ))  # fmt: skip
    style.legend(ax, handles=handles, loc="center", ncols=len(handles), columnspacing=1.8)


def _legend_of_objectives(
    ax: Axes, looks: dict[str, objectives.Look], below: list[tuple[str, Form, list[str]]]
) -> None:
    """Names of the lines below, in an axes of its own."""
    ax.axis("off")
    shown = [name for name in looks if any(name in names for _, _, names in below)]
    style.legend(
        ax, loc="center", ncols=min(len(shown), 4), columnspacing=1.6,
        handles=[
            Line2D([], [], color=looks[n].colour, ls=looks[n].linestyle, lw=1.4,
                   label=looks[n].label) for n in shown
        ],
    )  # fmt: skip
