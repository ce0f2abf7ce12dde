"""How every figure looks: sizes, axes, error bars, notes, saving.

The reader is someone writing `plot()` of an analysis. All of it may be changed; what must stay is
that nothing here touches pyplot or leaves a global setting changed, and that a figure saved twice
is the same file. `tests/report/test_style.py` holds these. The looks of policies are in `looks`,
the placing of labels in `labels`; analyses use both from here. Typical use:

    fig, ax = style.figure("single", height=2.6)
    style.forest(ax, labels, values, ses, policies=policies)
    style.rate_axis(ax, "x", label="preferred to the reference", chance=0.5)
    style.note_errorbars(fig)
    return fig

Artists that matplotlib makes after `figure` returned (legends, texts, titles) take their size from
the global settings: use `legend` and `title` here, and `TEXT` or `SMALL` for other texts.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evalsuite.report.labels import label_directly, spread
from evalsuite.report.looks import (
    FAINT,
    FAMILIES,
    INK,
    MUTED,
    SMALL,
    TEXT,
    PolicyStyle,
    family,
    model_label,
    policy_order,
    policy_style,
)
from evalsuite.tables import write_atomically

__all__ = [
    "DPI", "FAINT", "FAMILIES", "INK", "MUTED", "SMALL", "TEXT", "WIDTHS", "PolicyStyle",
    "connect", "errorbars", "family", "figure", "forest", "grid", "kl_axis", "label_directly",
    "legend", "model_label", "note", "note_errorbars", "note_table_only", "policy_order",
    "policy_style", "rate_axis", "save", "spread", "title",
]  # fmt: skip

WIDTHS = {"single": 3.6, "double": 7.2}
"""Inches: one and two columns of a paper."""

DPI = 200
"""Of pictures, which pages carry inside; the pdf beside each has every detail."""

_RC: Any = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same glyphs on every machine
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}
_NO_BREAK = "\N{NO-BREAK SPACE}"
_SAVE_RC: Any = {"pdf.fonttype": 42, "ps.fonttype": 42}


# --- figures and files -----------------------------------------------------------------------


def figure(
    width: Literal["single", "double"] | float = "single",
    height: float | None = None,
    rows: int = 1,
    cols: int = 1,
    **gridspec: Any,
) -> tuple[Figure, Any]:
    """A figure without pyplot, with its axes: one `Axes`, or an array of them as `subplots` gives.

    width, height: inches, or "single"/"double" column; height defaults to 0.72 of a panel's width
    a row. gridspec: passed to `Figure.subplots` (sharex, sharey, squeeze, width_ratios,
    height_ratios ...). Layout is constrained: labels outside the axes get room by themselves.
    """
    inches = WIDTHS[width] if isinstance(width, str) else float(width)
    height = inches / cols * 0.72 * rows if height is None else height
    with mpl.rc_context(_RC):
        fig = Figure(figsize=(inches, height), dpi=DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, cols, **gridspec)
    return fig, axes


def save(fig: Figure, stem: Path, *, dpi: int = DPI) -> tuple[Path, Path]:
    """Write `stem.png` and `stem.pdf`, each atomically; return their paths.

    No dates or versions are written, so equal figures are equal files. Fonts in the pdf are
    embedded TrueType: text stays text. The layout is settled once and then kept: constrained
    layout moves a little at every drawing.
    """
    png, pdf = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.pdf")
    no_dates = {"Creator": None, "Producer": None, "CreationDate": None}
    with mpl.rc_context(_SAVE_RC):
        fig.set_dpi(dpi)
        fig.draw_without_rendering()
        fig.set_layout_engine("none")
        write_atomically(
            png, partial(fig.savefig, format="png", dpi=dpi, metadata={"Software": None})
        )
        write_atomically(pdf, partial(fig.savefig, format="pdf", metadata=no_dates))
    return png, pdf


# --- axes ------------------------------------------------------------------------------------


def rate_axis(
    ax: Axes,
    axis: Literal["x", "y"] = "y",
    *,
    label: str | None = None,
    limits: tuple[float, float] | None = None,
    chance: float | None = None,
) -> None:
    """Show a share in [0, 1] in per cent; `chance` draws a dashed line at that share.

    limits: of the axis, as shares; by default those of the data, never outside [0, 1].
    """
    target = ax.xaxis if axis == "x" else ax.yaxis
    if chance is not None:
        (ax.axvline if axis == "x" else ax.axhline)(
            chance, color=MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0.9
        )
    if limits is None:
        low, high = ax.get_xlim() if axis == "x" else ax.get_ylim()
        limits = max(low, -0.02), min(high, 1.02)
    (ax.set_xlim if axis == "x" else ax.set_ylim)(limits)
    target.set_major_locator(
        MaxNLocator(nbins=5 if axis == "x" else "auto", steps=[1, 2, 2.5, 5, 10])
    )
    target.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%"))
    if label is not None:
        target.set_label_text(label)


def kl_axis(ax: Axes, far: float) -> None:
    """KL in nats from 0 to `far` on a square-root axis, ticks at squares, a little room before 0.

    Over-optimisation curves are smooth in the root of KL, and 0, where policies begin, is on it.
    Estimates just below 0 are drawn where they are.
    """
    ax.set_xscale(
        "function",
        functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x)),
    )
    ax.set_xlim(-0.002 * far, far)
    end = math.sqrt(far)
    step = 0.5 if end < 2 else next(n for n in (1, 2, 5, 10, math.inf) if end / n < 7)
    ticks = [0.0, *((step * i) ** 2 for i in range(1, 1 + int(end / step)))]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def title(ax: Axes, text: str) -> None:
    """A panel's title, at the left, in the text size."""
    ax.set_title(
        text, loc="left", fontsize=TEXT, fontweight="bold", color=INK, fontfamily="DejaVu Sans"
    )


def legend(ax: Axes, **options: Any) -> None:
    """A frameless legend in the small size (direct labels are better where they fit)."""
    ax.legend(**{"frameon": False, "fontsize": SMALL, "handlelength": 1.6, **options})


def grid(ax: Axes, axis: Literal["x", "y", "both"] = "y") -> None:
    """A faint grid behind the data."""
    ax.grid(axis=axis, color=FAINT, lw=0.5)


def note(target: Figure | Axes, text: str) -> None:
    """A small remark under the figure, at its right end.

    Remarks add up; long ones are wrapped into lines of about one length, so no word stands alone,
    and short phrases are kept whole.
    """
    fig = target.get_figure(root=True) if isinstance(target, Axes) else target
    assert fig is not None
    said = " ".join(fig.get_supxlabel().split("\n"))
    letters = int(fig.get_figwidth() * 72 / (0.56 * (SMALL - 0.5)))
    text = f"{said}; {text}" if said else text
    phrases = text.split("; ")
    text = "; ".join(p.replace(" ", _NO_BREAK) if len(p) <= 20 else p for p in phrases)
    lines = textwrap.wrap(text, letters)
    while len(lines) > 1 and len(closer := textwrap.wrap(text, letters - 1)) == len(lines):
        lines, letters = closer, letters - 1
    fig.supxlabel(
        "\n".join(lines).replace(_NO_BREAK, " "), fontsize=SMALL - 0.5, color=MUTED, x=0.995,
        ha="right", fontfamily="DejaVu Sans",
    )  # fmt: skip


def note_table_only(target: Figure | Axes, count: int, what: str, plural: str = "") -> None:
    """Say how many estimates only the table has: too few clusters for an interval."""
    if count:
        what = what if count == 1 else plural or f"{what}s"
        note(target, f"{count:,} {what} of too few clusters for an interval in the table only")


def note_errorbars(target: Figure | Axes) -> None:
    """Say what the error bars are: one standard error, as in the paper."""
    note(target, "error bars: 1 SE")


# --- marks -----------------------------------------------------------------------------------


def errorbars(
    ax: Axes,
    table: pd.DataFrame,
    x: str,
    y: str = "value",
    *,
    se: str = "se",
    policy: str | None = None,
    line: bool = False,
    **look: Any,
) -> None:
    """Points of `table[y]` over `table[x]` with bars of one `table[se]`; NaN bars are not drawn.

    policy: a policy's name, for its colour, marker and line style. line: join the points.
    look: overrides, as of `Axes.errorbar` (color, marker, label ...).
    """
    options: dict[str, Any] = {"color": INK, "marker": "o", "ls": "-"}
    if policy is not None:
        style = policy_style(policy)
        options = {"color": style.colour, "marker": style.marker, "ls": style.linestyle}
    options |= {"ms": 4, "lw": 1.2, "elinewidth": 0.9, "capsize": 0, **look}
    if not line:
        options["ls"] = "none"
    ax.errorbar(table[x].to_numpy(), table[y].to_numpy(), yerr=table[se].to_numpy(), **options)


def forest(
    ax: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    ses: Sequence[float],
    *,
    policies: Sequence[str] | None = None,
    colours: Sequence[str] | str | None = None,
    marker: str | None = None,
    offset: float = 0.0,
    filled: bool = True,
    counts: Sequence[float] | None = None,
    label: str | None = None,
) -> np.ndarray:
    """One row a value, first row on top: a dot with a bar of one standard error; rows' heights.

    Call it again with an `offset` (rows) for a second value in each row, `filled=False` to tell it
    apart. policies: looks from their names; colours, marker override. counts: written at the right
    end. label: of the series, for a legend. Undefined values leave an empty row.
    """
    heights = -np.arange(len(labels), dtype=float)
    for i, (y, value, se) in enumerate(zip(heights - offset, values, ses, strict=True)):
        look = policy_style(policies[i]) if policies is not None else None
        colour = look.colour if look else INK
        if colours is not None:
            colour = colours if isinstance(colours, str) else colours[i]
        # A marker means a family; rows of no known one are told apart by their labels.
        known = policies is not None and family(policies[i]) != "other"
        shape = marker or (look.marker if look and known else "o")
        ax.errorbar(
            [value], [y], xerr=[se], color=colour, marker=shape, ms=4.5, lw=0, elinewidth=1.0,
            mfc=colour if filled else "white", mew=1.0, label=label if i == 0 else None,
        )  # fmt: skip
    ax.set_yticks(heights, labels)
    ax.set_ylim(heights[-1] - 0.6 if len(labels) else -0.6, 0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    grid(ax, "x")
    if counts is not None:
        for y, count in zip(heights, counts, strict=True):
            shown = f"n={count:,.0f}" if math.isfinite(count) else ""
            ax.annotate(
                shown, (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0), va="center",
                textcoords="offset points", fontsize=SMALL - 1, color=MUTED,
                fontfamily="DejaVu Sans", annotation_clip=False,
            )  # fmt: skip
    return heights


def connect(
    ax: Axes, heights: Sequence[float], starts: Sequence[float], ends: Sequence[float]
) -> None:
    """The bars of a dumbbell chart: a faint line from start to end in each row."""
    ax.hlines(heights, starts, ends, color=FAINT, lw=1.4, zorder=0)
