"""Figures 3 and 12: ratings of summaries on each axis, by policy, and the share of top ratings.

The arithmetic is `stats/means.py` and `stats/preference.py`, clustered by post; here ratings are
grouped. What may be changed: the order of panels (`FIRST`). tests/analyses/test_axes.py has means
by hand and those of SummEval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyses import wording
from analyses.choices import Share
from evalsuite.errors import StatisticsError
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import row
from evalsuite.stats.krippendorff import krippendorff_alpha
from evalsuite.stats.means import cluster_mean
from evalsuite.stats.preference import preference_rate
from evalsuite.tables import Tables

TITLE = "Ratings by axis"
SOURCE = "Figures 3 and 12, section 4.1, appendix G.2"
DIFFERS = (
    "Standard errors are cluster-robust by post; the agreement of the labelers on each axis "
    "(Krippendorff's alpha, ordinal) is added."
)
SCORES: tuple[str, ...] = ()

MEAN, TOP, ALPHA = "mean rating", "top rating", "alpha"
FIRST = ("overall", "coverage", "coherence", "accuracy")
"""Axes of the paper in its order; others follow by name."""
_NONE = "no policy has ratings of enough posts for an interval"
EVERYONE = "all"
"""In the column `policy` where a number is about all policies."""


@dataclass(frozen=True)
class Options:
    """Settings of the ratings by axis.

    labelers: only labelers whose name starts so ("expert" in SummEval); by default all.
    level: coverage of the intervals.
    """

    labelers: str = ""
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Ratings."""
    return None if len(tables.ratings) else "no ratings of single summaries"


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row a domain, axis, policy and quantity.

    quantity: "mean rating"; "top rating", the share of ratings that are the highest the scale
    allows (7 of 7); "alpha", Krippendorff's alpha over labelers who rated the same summary, for
    policy "all". scale_low, scale_high: ends of the scale.

    Raises StatisticsError when no labeler's name starts as `labelers` says.
    """
    ratings = tables.ratings
    left_out: dict[str, int] = {}
    if options.labelers:
        keep = ratings["labeler"].str.startswith(options.labelers).eq(True)
        left_out = {f"axes: labeler does not start with {options.labelers}": int((~keep).sum())}
        ratings = ratings[keep]
        if ratings.empty:
            raise StatisticsError(
                f"labelers is {options.labelers!r}; allowed the start of a labeler's name, "
                f"e.g. {', '.join(tables.ratings['labeler'].dropna().unique()[:3])}"
            )
    rows = []
    groups = ratings.groupby(["domain", "low", "high", "axis"], sort=True, dropna=False)
    for (domain, low, high, axis), group in groups:
        keys = {"domain": domain, "axis": axis, "scale_low": low, "scale_high": high}
        for policy, quantity, estimate in _of_axis(group, (low, high), options.level):
            rows.append(row(estimate, **keys, policy=policy, quantity=quantity))
    return Result(pd.DataFrame(rows), left_out)


def _of_axis(
    group: pd.DataFrame, scale: tuple[float, float], level: float
) -> Iterator[tuple[str, str, object]]:
    bounds = scale if np.isfinite(scale).all() else None
    for policy, rated in group.groupby("policy", sort=True):
        posts, name = _clusters(rated)
        options = {"clusters": posts, "cluster_name": name, "level": level}
        yield policy, MEAN, cluster_mean(rated["value"], bounds=bounds, **options)
        yield policy, TOP, preference_rate(rated["value"].eq(scale[1]).astype(float), **options)
    posts, name = _clusters(group)
    alpha = krippendorff_alpha(
        group["summary_id"], group["value"], scale="ordinal", level=level,
        clusters=posts if name == "post" else None,
        cluster_name="post" if name == "post" else "summary",
    )  # fmt: skip
    yield EVERYONE, ALPHA, alpha


def _clusters(ratings: pd.DataFrame) -> tuple[pd.Series, str]:
    """Posts; or, where the data has a rating without one, summaries."""
    if ratings["post_id"].isna().any():
        return ratings["summary_id"], "summary (no post ids)"
    return ratings["post_id"], "post"


def plot(table: pd.DataFrame) -> Figure:
    """A row of panels a domain, one panel an axis: the mean; below it the share of top ratings.

    What has too few clusters for an interval stays in the table.
    """
    table = table[table["quantity"].isin([MEAN, TOP])]
    drawn = wording.drawable(table)
    if not drawn.any():
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(0.5, 0.5, _NONE, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    thin, table = int((~drawn).sum()), table[drawn]
    scales = ["domain", "scale_low", "scale_high"]
    blocks = [
        (domain, high, quantity, rows[rows["quantity"] == quantity])
        for (domain, _, high), rows in table.groupby(scales, dropna=False, sort=True)
        for quantity in (MEAN, TOP)
    ]
    axes = sorted(table["axis"].unique(), key=lambda a: (_place(a), a))
    sizes = [max(rows["policy"].nunique(), 2) for *_, rows in blocks]
    fig, panels = style.figure(
        "double", height=sum(0.15 * size + 0.62 for size in sizes), rows=len(blocks),
        cols=len(axes), squeeze=False, sharex="row", height_ratios=[s + 1.5 for s in sizes],
    )  # fmt: skip
    several = table.groupby(scales, dropna=False).ngroups > 1
    for line, (domain, high, quantity, rows) in zip(panels, blocks, strict=True):
        policies = style.policy_order(rows["policy"].unique())
        for ax, axis in zip(line, axes, strict=True):
            at = rows[rows["axis"] == axis].set_index("policy").reindex(policies)
            labels = [style.policy_style(p).label for p in policies]
            style.forest(
                ax, labels if ax is line[0] else [""] * len(labels), at["value"], at["se"],
                policies=policies,
            )  # fmt: skip
            if quantity == MEAN:
                style.title(ax, axis)
            ax.set_xlabel("mean rating" if quantity == MEAN else f"share rated {high:g}")
        for ax in line:
            if quantity == TOP:
                style.rate_axis(ax, "x")
            ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        if several:
            line[0].set_ylabel(str(domain))
    style.note_table_only(fig, thin, "estimate")
    style.note_errorbars(fig)
    return fig


def _place(axis: str) -> int:
    return FIRST.index(axis) if axis in FIRST else len(FIRST)


def reading(table: pd.DataFrame) -> str:
    """The best-rated policy on the first axis, and how often it gets the top rating."""
    axis = min(table["axis"].unique(), key=lambda a: (_place(a), a))
    rows = table[table["axis"] == axis]
    means = rows[(rows["quantity"] == MEAN) & rows["low"].notna()].reset_index(drop=True)
    if means.empty:
        return f"No policy has ratings of enough posts for an interval for {axis}."
    # Ratings that are all one number have no error to rank by, unless nothing else is there.
    spread = means[means["se"] > 0].reset_index(drop=True)
    means = spread if len(spread) else means
    best, among = wording.surest(means), wording.among(means, "ratings")
    same = (rows["policy"] == best["policy"]) & (rows["domain"] == best["domain"])
    top = rows[same & (rows["quantity"] == TOP)].iloc[0]
    who, high = wording.named(best["policy"]), f"{best['scale_high']:g}"
    verb = "are" if who == "the references" else "is"
    return (
        f"For {axis} {who} {verb} rated best{among} by the lower end of the interval, "
        f"{best['value']:.2f} of {high} ({wording.interval(best, '.2f')}); {top['value']:.0%} of "
        f"the ratings are {high}."
    )
