"""Drawing of `rounds`: panels for reward models, policies and labelers, from the table alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import wording
from analyses.outcomes import look_of
from evalsuite.report import style

ACCURACY, AGREEMENT = "accuracy", "agreement"
PREFERRED, EXPECTED, GOLD = "preferred", "expected", "gold"
DRIFT, TREND = "reference_preferred", "trend"
_MODEL = "#44297a"


def draw(table: pd.DataFrame) -> Figure:
    """Reward models, policies and drift by round, a panel each; those without rows are left out."""
    judged = ACCURACY if (table["quantity"] == ACCURACY).any() else AGREEMENT
    worth = PREFERRED if (table["quantity"] == PREFERRED).any() else GOLD
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
        style.note(fig, f"trend of the labels {points(found)} a round")
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
    """Share truly better than the reference, or gold, by round; a line a series."""
    lines = list(rows[rows["round"].notna()].groupby("series", sort=False))
    apart = 0.12 * (np.arange(len(lines)) - (len(lines) - 1) / 2)
    for (_, line), shift in zip(lines, apart, strict=True):
        line = line.sort_values("round")
        line = line.assign(round=line["round"] + shift)
        style.errorbars(ax, line, "round", line=True, **_look(str(line["how"].iloc[0])))
    for _, base in rows[rows["round"].isna()].iterrows():
        _level(ax, base["value"], str(base["series"]), look_of("supervised").colour)
    style.title(ax, "Policies")
    if rows["quantity"].iloc[0] == PREFERRED:
        _share_axis(ax, rows, "truly better than the reference")
    else:
        ax.set_ylabel(f"mean {rows['unit'].iloc[0]}", fontsize=style.TEXT)


def _look(method: str) -> dict[str, str]:
    look = look_of(method)
    return {"color": look.colour, "marker": look.marker, "ls": look.linestyle}


def _name_policies(ax: Axes, rows: pd.DataFrame) -> None:
    """Each series beside its last point, off the lines; last of all, when the layout stands."""
    last = rows[rows["round"].notna()].sort_values("round").groupby("series", sort=False).tail(1)
    style.label_directly(
        ax, last["round"].tolist(), last["value"].tolist(), last["series"].tolist(),
        [look_of(str(how)).colour for how in last["how"]], keep_off=True,
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


def points(trend: pd.Series) -> str:
    """ "+0.4 points (95% interval -1.2 to 2.0)"."""
    interval = wording.interval(pd.Series({**trend, "low": 100 * trend["low"],
                                           "high": 100 * trend["high"]}), ".1f")  # fmt: skip
    return f"{100 * trend['value']:+.1f} points ({interval})"
