"""Preference over the references by model size and method, as it is and at equal length (Fig. 1).

One policy a size and method, all sampled at one temperature (`main` in the policies). Two truths
stand beside each other: the share of labelers who would prefer a summary to the reference, which is
the paper's axis, and the share of summaries whose gold is above that of the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import outcomes, wording
from analyses.choices import Share
from analyses.outcomes import LABELERS, METHODS, TRUTHS
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.equal_length import equal_length
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.length_control import log_length_ratio
from evalsuite.tables import Tables

TITLE = "Preference over the references, by size and method"
SOURCE = "Figures 1 and 10a (Stiennon et al. 2020)"
DIFFERS = (
    "Labelers are asked in expectation (every summary has its share of labelers who would prefer "
    "it), and where nobody's choices are known the gold model stands for them. Length control is "
    "the paper's regression on the log length ratio with policy effects, fitted to those shares "
    "within each seed instead of to choices; lengths in characters. Intervals are over seeds and "
    "posts, not over labels. Sizes and decoding are those of the run."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

PREFERENCE, CONTROLLED, RATIO, SLOPE = "preference", "equal_length", "log_length_ratio", "slope"
"""Quantities: as it is; at equal length; mean log of own over reference length; of the logit."""

_ROOM = 0.36
"""Share of a panel that the names of methods need."""


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    return outcomes.lacks_main(tables)


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row a policy, quantity and truth; nothing is random here.

    truth: "labelers" or "gold". The controlled rows and the slope (of policy "") are of labelers
    where their preference is known, else of gold.
    """
    experiment = tables.experiment
    assert experiment is not None
    rows = outcomes.main_rows(experiment)
    away = rows["domain"] != outcomes.home(rows["domain"])
    left_out = {"summaries of other domains": int(away.sum())}
    rows = rows[~away]
    rows = rows.assign(ratio=log_length_ratio(rows["chars"], rows["chars_reference"]))
    truths = [truth for truth, column in TRUTHS.items() if rows[column].notna().any()]
    out = []
    for truth in truths:
        left_out[f"summaries without a preference by {truth}"] = int(
            rows[TRUTHS[truth]].isna().sum()
        )
        for policy, mine in rows.groupby("policy", sort=False):
            rate = outcomes.mean_of(mine, TRUTHS[truth], options.level, limits=(0, 1))
            out.append(row(rate, quantity=PREFERENCE, truth=truth, policy=policy))
    for policy, mine in rows.groupby("policy", sort=False):
        ratio = outcomes.mean_of(mine, "ratio", options.level)
        out.append(row(ratio, quantity=RATIO, truth="", policy=policy))
    if truths:
        out += _controlled(rows, truths[0], options.level, left_out)
    facts = rows.rename(columns={"method": "kind"}).drop_duplicates("policy")
    facts = facts[["policy", "label", "kind", "size", "parameters"]]
    table = pd.DataFrame(out).merge(facts, on="policy", how="left")
    return Result(table[_COLUMNS], outcomes.without(left_out))


_COLUMNS = [
    "quantity", "truth", "policy", "label", "kind", "size", "parameters", *Estimate._fields
]  # fmt: skip


def _controlled(
    rows: pd.DataFrame, truth: str, level: float, left_out: dict[str, int]
) -> list[dict[str, object]]:
    """Rows at equal length, on the posts for which every policy has a summary in all its seeds."""
    known = rows.dropna(subset=[TRUTHS[truth], "ratio"])
    cells = known.groupby(["seed", "post_id", "policy"])[[TRUTHS[truth], "ratio"]].mean()
    policies = list(known["policy"].unique())
    share = cells[TRUTHS[truth]].unstack("policy")[policies]
    ratio = cells["ratio"].unstack("policy")[policies]
    seeds, posts = share.index.unique("seed"), share.index.unique("post_id")
    grid = pd.MultiIndex.from_product([seeds, posts])
    shape = len(seeds), len(posts), len(policies)
    y = share.reindex(grid).to_numpy().reshape(shape)
    x = ratio.reindex(grid).to_numpy().reshape(shape)
    trained = ~np.isnan(y).all(axis=1, keepdims=True)
    whole = ~(np.isnan(y) & trained).any(axis=(0, 2))
    left_out["posts that some policy lacks, at equal length"] = int((~whole).sum())
    if not whole.any():
        return []
    result = equal_length(y[:, whole], x[:, whole], level=level)
    out = [
        row(one, quantity=CONTROLLED, truth=truth, policy=policy)
        for policy, one in zip(policies, result.shares, strict=True)
    ]
    return [*out, row(result.slope, quantity=SLOPE, truth=truth, policy="")]


def plot(table: pd.DataFrame) -> Figure:
    """Preference against parameters, a line a method; on the right at equal length."""
    raw = table[table["quantity"] == PREFERENCE]
    first = str(raw["truth"].iloc[0]) if len(raw) else LABELERS
    even = table[(table["quantity"] == CONTROLLED) & table["value"].notna()]
    panels = 2 if len(even) else 1
    fig, axes = style.figure(
        "double" if panels > 1 else 4.2, 3.0, 1, panels, sharey=True, squeeze=False
    )
    main, other = raw[raw["truth"] == first], raw[raw["truth"] != first]
    shown = [main, even][:panels]
    for ax, rows, behind in zip(axes[0], shown, [other, main], strict=False):
        outcomes.size_axis(ax, list(raw["size"].astype(str)), list(raw["parameters"]), _ROOM)
        for method in METHODS:
            colour = outcomes.look_of(method).colour
            mine = behind[behind["kind"] == method].sort_values("parameters")
            if len(mine):
                ax.plot(
                    mine["parameters"], mine["value"], color=colour, lw=0.8,
                    ls=(0, (4, 2)) if behind is other else (0, (1, 1.5)), alpha=0.75, zorder=1,
                    marker="." if len(mine) == 1 else None, ms=4,
                )  # fmt: skip
            _line(ax, rows[rows["kind"] == method])
        style.grid(ax, "y")
    for ax, name in zip(axes[0], ("As written", "At equal length"), strict=False):
        style.title(ax, name)
    whose = "of labelers who prefer it" if first == LABELERS else "truly better"
    values = pd.concat([raw, even])
    low, high = values["value"] - values["se"].fillna(0), values["value"] + values["se"].fillna(0)
    limits = max(0.0, float(low.min()) - 0.06), min(1.0, max(float(high.max()) + 0.06, 0.56))
    label = "preferred to the references"
    style.rate_axis(axes[0, 0], "y", label=label, limits=limits, chance=0.5)
    for ax in axes[0, 1:]:
        style.rate_axis(ax, "y", limits=limits, chance=0.5)
    style.note(fig, f"mean share {whose}")
    lone = raw["parameters"].nunique() < 2
    if len(other):
        style.note(fig, f"{'small dots left' if lone else 'dashed'}: share truly better, by gold")
    if panels > 1:
        style.note(fig, f"{'small dots right' if lone else 'dotted'}: as written")
    style.note_errorbars(fig)
    for ax, rows in zip(axes[0], shown, strict=True):
        ends = rows.dropna(subset="value").sort_values("parameters").groupby("kind").tail(1)
        style.label_directly(
            ax, ends["parameters"].tolist(), ends["value"].tolist(), ends["kind"].tolist(),
            [outcomes.look_of(m).colour for m in ends["kind"]], keep_off=True,
        )  # fmt: skip
        ax.annotate(
            "references", (1, 0.5), xycoords=("axes fraction", "data"), xytext=(-2, 2), ha="right",
            textcoords="offset points", fontsize=style.SMALL - 1, color=style.MUTED,
            fontfamily="DejaVu Sans",
        )  # fmt: skip
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: each method at its largest size, and human feedback at equal length."""
    raw = table[(table["quantity"] == PREFERENCE) & table["low"].notna()]
    if raw.empty:
        return "No policy was judged on enough posts for an interval."
    first = raw[raw["truth"] == raw["truth"].iloc[0]]
    last = first.sort_values("parameters").groupby("kind").tail(1).set_index("kind", drop=False)
    by = "labelers" if first["truth"].iloc[0] == LABELERS else "the gold score"
    said = [
        f"{last.loc[method, 'value']:.1%} for {_of(last.loc[method])} "
        f"({wording.interval(last.loc[method])})"
        for method in reversed(METHODS)
        if method in last.index
    ]
    text = f"Preferred to the references by {by}: {'; '.join(said)}"
    even = table[(table["quantity"] == CONTROLLED) & table["low"].notna()].set_index("policy")
    top = next(last.loc[m] for m in reversed(METHODS) if m in last.index)
    if top["policy"] in even.index:
        controlled = even.loc[top["policy"]]
        text += (
            f"; at equal length {controlled['value']:.1%} for {_of(top)} "
            f"({wording.interval(controlled)})"
        )
    return f"{text}."


def _of(policy: pd.Series) -> str:
    return f"{outcomes.word(str(policy['size']))} {policy['kind']}"


def _line(ax: Axes, rows: pd.DataFrame) -> None:
    """A method's policies joined by size, with error bars."""
    rows = rows.dropna(subset=["value", "parameters"]).sort_values("parameters")
    if rows.empty:
        return
    look = outcomes.look_of(str(rows["kind"].iloc[0]))
    style.errorbars(
        ax, rows, "parameters", line=True, color=look.colour, marker=look.marker, ms=4.5
    )
