"""Mean rating against mean length by policy, and the rating at the references' length (Fig. 4b).

The arithmetic is `stats/rating_length.py`, clustered by post; here ratings get their lengths and
the figure its form. Which axis stands for quality where none is named may be changed (`AXES`).
tests/analyses/test_ratings_length.py has lines by hand and the means of SummEval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import wording
from analyses.choices import Share, refuse_unknown
from evalsuite.errors import StatisticsError
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.rating_length import fit_rating_length, pooled_slope
from evalsuite.tables import Tables

TITLE = "Ratings and length"
SOURCE = "Figure 4b, Tables 13 and 14, Appendices E and F (Stiennon et al. 2020)"
DIFFERS = (
    "Standard errors are cluster-robust by post and the rating at the references' length is given "
    "for every policy, as the paper does for lead-3; a slope common to all policies is added. "
    "A summary rated by several labelers counts once a rating."
)
SCORES: tuple[str, ...] = ()

RATING, CHARS, SLOPE, AT = "mean_rating", "mean_chars", "slope_per_100_chars", "rating_at_length"
AXES = ("overall", "relevance")
"""Axes that stand for the quality of the whole summary, first choice first."""
POOLED = "all"
"""In the column `policy` where a slope is common to all policies."""
COLUMNS = [
    "quantity", "policy", "axis", "scale_low", "scale_high", "sd_chars", "at_chars", "at_policy",
    *Estimate._fields,
]  # fmt: skip
FAR = 2.0
"""Standard deviations of a policy's own lengths beyond which the figure shows no prediction."""
MAX_SHOWN = 30
"""Policies in the figure: those with most ratings. The table has all."""


_NONE = f", where it lies within {FAR:g} SD of the policy's own lengths"


@dataclass(frozen=True)
class Options:
    """Settings of the ratings by length.

    axis: the axis rated; empty: "overall", else "relevance", else the first by name.
    reference: the policy at whose mean length the ratings are held against each other. Where it
        has no rating its summaries on file give the length, else the mean of all rated ones.
    labelers: only labelers whose name starts so ("expert" in SummEval); by default all.
    level: coverage of the intervals.
    """

    axis: str = ""
    reference: str = REFERENCE_POLICY
    labelers: str = ""
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.ratings.empty:
        return "no ratings of single summaries"
    known = tables.summaries.loc[tables.summaries["chars"].notna(), "summary_id"]
    if not tables.ratings["summary_id"].isin(known).any():
        return "no rated summary has a length"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row a policy and quantity; nothing is random here.

    quantity: "mean_rating"; "mean_chars", with the standard deviation in sd_chars;
    "slope_per_100_chars", of which the row of policy "all" is common to all, with a level for
    each; "rating_at_length", the rating that the policy's line gives at at_chars characters, the
    mean length of at_policy ("all": of every rated summary).

    Raises StatisticsError when no rating has the axis or a labeler so named, ConfigError on a
    policy that the data does not have.
    """
    if options.reference != REFERENCE_POLICY:
        sides = [tables.summaries["policy"], tables.ratings["policy"], tables.policies["policy"]]
        refuse_unknown("reference", options.reference, pd.concat(sides).dropna(), "policies")
    rows, left_out = _rows(tables, options)
    axis = rows["axis"].iloc[0]
    scale = {"scale_low": rows["low"].min(), "scale_high": rows["high"].max()}
    at_policy, at_chars = _common_length(tables, rows, options.reference)
    clustered = not rows["post_id"].isna().any()
    settings: dict[str, Any] = {
        "cluster_name": "post" if clustered else "summary (no post ids)",
        "level": options.level,
    }
    unit = "post_id" if clustered else "summary_id"
    out = []
    for policy, rated in rows.groupby("policy", sort=True):
        line = fit_rating_length(rated["value"], rated["chars"], clusters=rated[unit], **settings)
        keys = {"policy": policy, "axis": axis, **scale}
        out += [
            row(line.mean_rating, quantity=RATING, **keys),
            row(line.mean_length, quantity=CHARS, sd_chars=line.sd_length, **keys),
            row(line.slope, quantity=SLOPE, **keys),
            row(line.at(at_chars), quantity=AT, at_chars=at_chars, at_policy=at_policy, **keys),
        ]
    pooled = pooled_slope(
        rows["value"], rows["chars"], rows["policy"], clusters=rows[unit], **settings
    )
    out.append(row(pooled, quantity=SLOPE, policy=POOLED, axis=axis, **scale))
    return Result(pd.DataFrame(out, columns=COLUMNS), left_out)


def plot(table: pd.DataFrame) -> Figure:
    """Left: mean rating against mean length with each policy's line; right: at one length."""
    wide = _wide(table)
    known = wide[wide["known"]]
    if known.empty:
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        said = "no policy has ratings of enough posts for an interval"
        ax.text(0.5, 0.5, said, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    shown = known.nlargest(MAX_SHOWN, "n", keep="all").head(MAX_SHOWN)
    order = shown["rating"].sort_values(ascending=False, kind="stable").index
    shown = shown.loc[order]
    axis = str(table["axis"].iloc[0])
    at = table[table["quantity"] == AT].iloc[0]
    fig, (left, right) = style.figure(
        "double", max(2.9, 0.9 + 0.19 * len(shown)), 1, 2, width_ratios=[1.5, 1]
    )
    _against_length(left, shown, float(at["at_chars"]))
    left.set_ylabel(f"mean {axis} rating ({at['scale_low']:g} to {at['scale_high']:g})")
    style.title(left, "Rating and length")

    policies = [str(p) for p in shown.index]
    labels = [style.policy_style(p).label for p in policies]
    style.forest(
        right, labels, shown["rating"].tolist(), shown["rating_se"].tolist(), policies=policies,
        offset=-0.13, counts=shown["n"].tolist(),
    )  # fmt: skip
    style.forest(
        right, labels, shown["at"].where(shown["near"]).tolist(), shown["at_se"].tolist(),
        policies=policies, offset=0.17, filled=False,
    )  # fmt: skip
    right.set_xlabel(f"{axis} rating")
    whose = "all summaries" if at["at_policy"] == POOLED else "the references"
    if at["at_policy"] not in (POOLED, REFERENCE_POLICY):
        whose = style.policy_style(str(at["at_policy"])).label
    style.title(right, f"As rated, and\nat {at['at_chars']:.0f} characters")
    style.note(
        fig,
        f"lines: least squares within a policy, half an SD of length each way; dotted: mean length "
        f"of {whose}; open: predicted there" + ("" if shown["near"].all() else _NONE),
    )
    style.note_table_only(fig, len(wide) - len(known), "policy", "policies")
    if len(shown) < len(known):
        style.note(fig, f"{len(known) - len(shown)} with fewer ratings in the table only")
    style.note_errorbars(fig)
    named = shown.loc[_named(policies)]
    style.label_directly(
        left, named["chars"].tolist(), named["rating"].tolist(),
        [style.policy_style(str(p)).label for p in named.index],
        [style.policy_style(str(p)).colour for p in named.index], keep_off=True,
    )  # fmt: skip
    return fig


MOST_NAMES = 14
"""Policies that have room for their names beside their points; the others are named right alone."""


def _named(policies: list[str]) -> list[str]:
    """Policies named beside their points: all, or of many the highest and lowest of a family.

    policies: by rating, the highest first.
    """
    if len(policies) <= MOST_NAMES:
        return policies
    ends: dict[str, list[str]] = {}
    for policy in policies:
        ends.setdefault(style.family(policy), []).append(policy)
    kept = {end for members in ends.values() for end in (members[0], members[-1])}
    return [policy for policy in policies if policy in kept]


def reading(table: pd.DataFrame) -> str:
    """One sentence: what length adds to a rating, and whom it flatters most."""
    pooled = table[(table["quantity"] == SLOPE) & (table["policy"] == POOLED)].iloc[0]
    wide = _wide(table)
    at = table[table["quantity"] == AT].iloc[0]
    change = (wide["at"] - wide["rating"]).where(wide["near"] & wide["at_se"].notna()).dropna()
    change = change.drop(at["at_policy"], errors="ignore")  # 0 at its own mean length
    axis = pooled["axis"]
    if np.isnan(pooled["value"]):
        return f"Length says nothing about {axis} ratings here: {pooled['method']}."
    text = (
        f"Within a policy, 100 more characters go with {pooled['value']:+.2f} points of the "
        f"{axis} rating ({wording.interval(pooled, '.2f')}, n = {pooled['n']:,})"
    )
    if change.empty:
        return f"{text}."
    most = change.abs().idxmax()
    label = wording.named(most)
    return (
        f"{text}; at {at['at_chars']:.0f} characters the rating of {label} is predicted to move "
        f"most, from {wide.loc[most, 'rating']:.2f} to {wide.loc[most, 'at']:.2f}."
    )


def _rows(tables: Tables, options: Options) -> tuple[pd.DataFrame, dict[str, int]]:
    """Ratings on the axis with the length of their summary, and what was left out."""
    rows = tables.ratings
    names = sorted(rows["axis"].dropna().unique())
    axis = options.axis or next((a for a in AXES if a in names), names[0])
    if axis not in names:
        raise StatisticsError(f"axis is {axis!r}; allowed {', '.join(names)}")
    rows = rows[rows["axis"] == axis]
    left_out = {}
    if options.labelers:
        keep = rows["labeler"].str.startswith(options.labelers).eq(True)
        left_out["ratings of other labelers"] = int((~keep).sum())
        if not keep.any():
            raise StatisticsError(
                f"labelers is {options.labelers!r}; allowed the start of a labeler's name, "
                f"e.g. {', '.join(rows['labeler'].dropna().unique()[:3])}"
            )
        rows = rows[keep]
    chars = tables.summaries.set_index("summary_id")["chars"]
    rows = rows.assign(chars=rows["summary_id"].map(chars))
    known = rows["chars"].notna() & rows["value"].notna() & rows["policy"].notna()
    if not known.any():
        raise StatisticsError(f"no rated summary has a length and a rating on axis {axis!r}")
    left_out["ratings without value, policy or length of the summary"] = int((~known).sum())
    return rows[known], {reason: count for reason, count in left_out.items() if count}


def _common_length(tables: Tables, rows: pd.DataFrame, reference: str) -> tuple[str, float]:
    """Whose mean length ratings are compared at, and that length."""
    own = rows.loc[rows["policy"] == reference, "chars"]
    if own.empty:
        theirs = tables.summaries[tables.summaries["policy"] == reference]
        rated = theirs["post_id"].isin(rows["post_id"].dropna())
        own = theirs.loc[rated, "chars"].dropna()
    return (POOLED, float(rows["chars"].mean())) if own.empty else (reference, float(own.mean()))


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """One row a policy, its quantities side by side."""
    parts = []
    for quantity, name in ((RATING, "rating"), (CHARS, "chars"), (SLOPE, "slope"), (AT, "at")):
        mine = table[(table["quantity"] == quantity) & (table["policy"] != POOLED)]
        mine = mine.set_index("policy")
        parts.append(mine[["value", "se"]].set_axis([name, f"{name}_se"], axis=1))
        if quantity == CHARS:
            parts.append(mine[["sd_chars", "n"]])
        if quantity == RATING:
            parts.append(wording.drawable(mine).rename("known"))
    wide = pd.concat(parts, axis=1)
    at = table.loc[table["quantity"] == AT, "at_chars"].iloc[0]
    wide["near"] = (wide["chars"] - at).abs() <= FAR * wide["sd_chars"]
    return wide


def _against_length(ax: Axes, shown: pd.DataFrame, at: float) -> None:
    ax.axvline(at, color=style.MUTED, lw=0.7, ls=":", zorder=0.9)
    for policy, mine in shown.iterrows():
        look = style.policy_style(str(policy))
        reach = np.array([-0.5, 0.5]) * (mine["sd_chars"] if mine["sd_chars"] > 0 else np.nan)
        ax.plot(
            mine["chars"] + reach, mine["rating"] + mine["slope"] * reach / 100,
            color=look.colour, lw=1.0, ls=look.linestyle, alpha=0.6, zorder=1.5,
        )  # fmt: skip
        ax.errorbar(
            [mine["chars"]], [mine["rating"]], yerr=[mine["rating_se"]], color=look.colour,
            marker=look.marker, ms=4.5, lw=0, elinewidth=1.0,
        )  # fmt: skip
    style.grid(ax, "both")
    ax.set_xlabel("mean length, characters")
