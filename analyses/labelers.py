"""Appendix C.2 for one labeler at a time: agreement with peers, side, confidence, drift.

The arithmetic and the rule for flags are `stats/labelers.py`; here batches are put in order, the
comparisons with the reference are found, and confidence is held against agreement. What may be
changed: which quantities get a panel (`PANELS`). tests/analyses/test_labelers_analysis.py proves
the joins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyses import wording
from analyses.choices import Share, check_policy
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.agreement import labeler_agreement
from evalsuite.stats.calibration import confidence_calibration
from evalsuite.stats.estimate import row
from evalsuite.stats.krippendorff import choice_alpha
from evalsuite.stats.labelers import CHECKS, drift, labeler_table, peer_agreement
from evalsuite.stats.preference import orient, preference_rate
from evalsuite.stats.votes import Votes, collect_votes
from evalsuite.tables import Tables

TITLE = "What each labeler does"
SOURCE = "Appendix C.2 and C.6 (agreement, confidence, drift)"
DIFFERS = (
    "Labelers are held against one another, not against researchers. The use of the two sides and "
    "of the confidence scale, drift by labeler and the rule for flags are added."
)
SCORES: tuple[str, ...] = ()

EVERYONE = "all"
"""In the column `labeler` where a number is about all of them."""
AT_STRENGTH, IN_BATCH = "agreement at strength", "reference preferred in batch"
PANELS = {  # title, axis
    "agreement": ("agreement", "with peers"),
    "left preference": ("left preference", "left side chosen"),
    "mean strength": ("confidence", "mean, 1 to 4"),
    "strength drift": ("confidence drift", "gain a batch"),
}
_NONE = "no labeler answered enough comparisons for an interval"
NAMED = 25
"""Up to so many labelers have their names in the figure; of more, those with any flag."""


@dataclass(frozen=True)
class Options:
    """Settings of the labelers' table.

    policy: the policy whose comparisons with the reference are watched for drift; by default the
        one compared with it in most batches.
    level: coverage of the intervals.
    alpha: chance, at most, that any sound labeler is flagged on one check.
    """

    policy: str | None = None
    level: Share = 0.95
    alpha: Share = 0.05


def missing(tables: Tables) -> str | None:
    """Comparisons with the labeler's name."""
    if not tables.comparisons["labeler"].notna().any():
        return "no comparison says who labeled it"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row a labeler and quantity (see `stats.labelers.labeler_table`), with flags.

    For labeler "all": agreement and alpha (all pairs), "agreement at strength" (`at` the
    confidence, 1 to 4), "reference preferred in batch" (`at` the batch, in order) and "reference
    drift" (its slope a batch). Drift is that of the most frequent domain. Flagged rows have their
    reason in `question`.

    Raises ConfigError on a policy that the data does not have.
    """
    if options.policy is not None:
        check_policy("policy", options.policy, tables)
    comparisons = tables.comparisons[tables.comparisons["labeler"].notna()]
    nobody = len(tables.comparisons) - len(comparisons)
    left_out = {"labelers: no labeler": nobody} if nobody else {}
    votes = _votes(tables, comparisons)
    timed = _of_main_domain(comparisons)
    order = batch_order(timed["batch"])
    number = timed["batch"].map(order).reindex(comparisons.index).to_numpy(float)
    policy = options.policy or _watched(timed)
    watched = orient(timed, REFERENCE_POLICY, policy) if policy else timed.iloc[:0]
    liked = watched["win"].reindex(comparisons.index) if policy else None
    own = labeler_table(
        votes, strength=comparisons["strength"] if comparisons["strength"].notna().any() else None,
        batch=number if len(order) > 1 else None,
        reference_preferred=liked, level=options.level, alpha=options.alpha,
    )  # fmt: skip
    asked = {quantity: check.question for quantity, check in CHECKS.items()}
    own["question"] = own["quantity"].map(asked).where(own["flag"])

    level = options.level
    rows = [
        row(labeler_agreement(votes, level=level), quantity="agreement"),
        row(choice_alpha(votes, level=level), quantity="alpha"),
    ]
    same, peers = peer_agreement(votes)
    met = peers > 0
    strength = comparisons["strength"].to_numpy(float)[votes.rows]
    calibration = confidence_calibration(
        strength[met], same[met], clusters=votes.post[met], level=level
    )
    rows += [
        {"quantity": AT_STRENGTH, "at": f"{record.pop('strength'):g}", **record}
        for record in calibration.to_dict("records")
    ]
    items = watched["item"].fillna(watched["comparison_id"])
    for name in sorted(watched["batch"].dropna().unique(), key=order.__getitem__):
        here = (watched["batch"] == name).to_numpy()
        rate = preference_rate(watched["win"][here], clusters=items[here], level=level)
        rows.append(row(rate, quantity=IN_BATCH, at=name, policy=policy))
    if len(order) > 1 and len(watched):
        slope = drift(watched["win"], watched["batch"].map(order), clusters=items, level=level)
        rows.append(row(slope, quantity="reference drift", policy=policy))
    whole = pd.DataFrame(rows).assign(labeler=EVERYONE, flag=False)
    table = pd.concat([whole, own], ignore_index=True)
    first = ["labeler", "quantity", "at", "policy"]
    table = table.reindex(columns=[*first, *(c for c in own if c not in first)])
    return Result(table, left_out | {f"labelers: {k}": n for k, n in votes.left_out.items()})


def batch_order(batches: pd.Series) -> dict[str, int]:
    """Place of each batch in time, taken from its name: batch9 before batch10."""

    def key(name: str) -> list[tuple[int, str, int]]:
        parts = re.findall(r"\d+|\D+", name)
        return [(0, "", int(p)) if p.isdecimal() else (1, p, 0) for p in parts]

    return {name: i for i, name in enumerate(sorted(batches.dropna().unique(), key=key))}


def _of_main_domain(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Rows of the most frequent domain: names of batches tell the time within a domain only."""
    domain = comparisons["domain"].fillna("")
    return comparisons[domain == domain.value_counts().sort_index().idxmax()]


def _votes(tables: Tables, comparisons: pd.DataFrame) -> Votes:
    sides = tables.sides(["text"], comparisons)
    # A summary whose text is unknown is told from others by its id.
    left = sides["left_text"].fillna(sides["left_id"])
    right = sides["right_text"].fillna(sides["right_id"])
    return collect_votes(
        left, right, comparisons["choice"], post=comparisons["item"],
        labeler=comparisons["labeler"],
    )  # fmt: skip


def _watched(comparisons: pd.DataFrame) -> str | None:
    left, right = comparisons["left_policy"], comparisons["right_policy"]
    other = right.where(left == REFERENCE_POLICY, left.where(right == REFERENCE_POLICY))
    other = other.mask(other == REFERENCE_POLICY)
    met = comparisons.assign(other=other).dropna(subset="other").groupby("other")["batch"]
    counts = met.agg(["nunique", "size"]).reset_index().sort_values(
        ["nunique", "size", "other"], ascending=[False, False, True]
    )  # fmt: skip
    return None if counts.empty else str(counts["other"].iloc[0])


def plot(table: pd.DataFrame) -> Figure:
    """Small multiples: a row a labeler, a panel a quantity; then confidence, then drift.

    What has too few clusters for an interval stays in the table.
    """
    drawn = wording.drawable(table)
    in_panels = table["quantity"].isin([*PANELS, AT_STRENGTH, IN_BATCH])
    thin = int((table["value"].notna() & ~drawn & in_panels).sum())
    table = table[drawn]
    own = table[table["labeler"] != EVERYONE]
    everyone = table[table["labeler"] == EVERYONE]
    panels = [q for q in PANELS if (own["quantity"] == q).any()]
    extra = [
        q for q, least in ((AT_STRENGTH, 1), (IN_BATCH, 2))
        if (everyone["quantity"] == q).sum() >= least
    ]  # fmt: skip
    if not panels:
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(0.5, 0.5, _NONE, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    own = own[own["quantity"].isin(panels)]
    dashed = {"left preference": "no preference", "strength drift": "no drift"}
    lines = [said for quantity, said in dashed.items() if quantity in panels]
    order = own[own["quantity"] == panels[0]].sort_values("value", ascending=False)["labeler"]
    people = [*order, *sorted(set(own["labeler"]) - set(order))]
    asked = set(own.loc[own["flag"].eq(True), "labeler"])
    tall, below = 0.75 + min(0.15 * len(people), 3.6), 2.0 if len(extra) > 1 else 0.0
    tall = max(tall, 1.7) if len(extra) == 1 else tall
    cols = len(panels) + (len(extra) == 1)
    fig, axes = style.figure(
        "double", height=tall + below, rows=1 + (below > 0), cols=cols, squeeze=False,
        height_ratios=[tall, below][: 1 + (below > 0)],
    )  # fmt: skip
    for i, (ax, quantity) in enumerate(zip(axes[0], panels, strict=False)):
        rows = own[own["quantity"] == quantity].set_index("labeler").reindex(people)
        _people(ax, rows, quantity, asked, named=i == 0)
        said = everyone.loc[everyone["quantity"] == quantity, "value"]
        if quantity == "agreement" and said.notna().any():
            ax.axvline(said.iloc[0], color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0)
            lines.insert(0, "agreement of all")
    if len(extra) == 1:
        _everyone(axes[0, -1], everyone, extra[0])
    elif extra:
        grid, half = axes[1, 0].get_gridspec(), cols // 2
        for ax in axes[1, 2:]:
            ax.remove()
        for ax, place, quantity in zip(
            axes[1], (grid[1, :half], grid[1, half:]), extra, strict=False
        ):
            ax.set_subplotspec(place)
            _everyone(ax, everyone, quantity, wide=True)
    style.note_table_only(fig, thin, "estimate")
    if asked:
        style.note(fig, "filled: flagged")
    if lines:
        style.note(fig, f"dashed: {', or '.join(lines)}")
    style.note_errorbars(fig)
    return fig


def _people(ax: Axes, rows: pd.DataFrame, quantity: str, asked: set[str], *, named: bool) -> None:
    """One quantity of all labelers; in a crowd only those asked about anything are named."""
    heights, crowd = -np.arange(len(rows), dtype=float), len(rows) > NAMED
    flagged = rows["flag"].eq(True).to_numpy()
    for which, face in ((~flagged, "white"), (flagged, style.INK)):
        ax.errorbar(
            rows["value"][which], heights[which], xerr=rows["se"][which], ls="none", marker="o",
            ms=2.2 if crowd else 3.5, color=style.INK, mfc=face, mew=0.8, elinewidth=0.8,
            zorder=3 if face == style.INK else 2,
        )  # fmt: skip
    margin = 0.6 + 0.01 * len(rows)
    ax.set_ylim(heights[-1] - margin, margin)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    heading, label = PANELS[quantity]
    style.title(ax, heading)
    ax.set_xlabel(label)
    style.grid(ax, "x")
    if quantity in ("agreement", "left preference"):
        style.rate_axis(ax, "x", chance=0.5 if quantity == "left preference" else None)
    ax.xaxis.set_major_locator(MaxNLocator(3 if "drift" in quantity else 4, steps=[1, 2, 5, 10]))
    if quantity.endswith("drift"):
        ax.axvline(0, color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0)
    shown = [i for i, name in enumerate(rows.index) if not crowd or name in asked]
    ax.set_yticks(heights[shown], [""] * len(shown))
    if crowd:
        ax.grid(axis="y", color=style.FAINT, lw=0.5)
    if named:
        names = [str(rows.index[i]) for i in shown]
        short = [name if len(name) <= 12 else f"{name[:9]}…" for name in names]
        if crowd:  # labels of neighbours would overlap as ticks
            edge = [ax.get_xlim()[0]] * len(shown)
            style.label_directly(ax, edge, heights[shown], short, side="left")
        else:
            ax.set_yticks(heights, short)


def _everyone(ax: Axes, everyone: pd.DataFrame, quantity: str, *, wide: bool = False) -> None:
    """Agreement by confidence, or the preference for the references by batch."""
    rows = everyone[everyone["quantity"] == quantity]
    rows = rows.assign(x=np.arange(len(rows), dtype=float))
    style.errorbars(ax, rows, "x", line=True, ms=3.5)
    at = [str(value).removesuffix(".0").removeprefix("batch") for value in rows["at"]]
    step = -(-sum(len(text) + 2 for text in at) // 40)
    ax.set_xticks(rows["x"][::step], at[::step])
    ax.set_xlim(-0.5, len(rows) - 0.5)
    style.grid(ax, "y")
    if quantity == AT_STRENGTH:
        name, label, what = "calibration", "confidence, 1 to 4", "agreement with peers"
    else:
        policy = style.policy_style(str(rows["policy"].iloc[0])).label
        name, label, what = "drift of all", "batch", f"reference preferred to\n{policy}"
    style.title(ax, f"{name}: {what}" if wide else name)
    ax.set_xlabel(label)
    if not wide:  # a label at the side would part the panels above
        ax.set_ylabel(what)
    style.rate_axis(ax, "y")


def reading(table: pd.DataFrame) -> str:
    """How far labelers agree, and who is flagged for what."""
    everyone = table[table["labeler"] == EVERYONE]
    own = table[table["labeler"] != EVERYONE]
    all_pairs = everyone[everyone["quantity"] == "agreement"].iloc[0]
    people = own["labeler"].nunique()
    if people == 1:
        said = "1 labeler, so nobody to agree with"
    elif np.isnan(all_pairs["value"]):
        said = f"{people} labelers, no two of whom answered the same comparison"
    else:
        pairs = wording.counted(all_pairs["n"], "pair of answers", "pairs of answers")
        said = (
            f"{people} labelers agree in {all_pairs['value']:.1%} of {pairs} "
            f"({wording.interval(all_pairs)})"
        )
    flagged = own[own["flag"].eq(True)]
    if flagged.empty:
        return f"{said}; nobody is flagged."
    who = flagged.groupby("question", sort=False)["labeler"].nunique()
    each = (f"{wording.counted(n, 'labeler')} (“{question}”)" for question, n in who.items())
    return f"{said}; flagged: {', '.join(each)}."
