"""Whether reward models prefer edits that make a summary better (Table 17).

An edit is shorter or longer than its original and better than it: by the truth where an editor who
knows it made the edit, by intent where people did. Beside the reward model's choice stand that of
the labelers and how often both agree. Proof: tests/analyses/test_edits.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses import probes, wording
from analyses.choices import Share
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.tables import Tables

TITLE = "Edits that improve a summary"
SOURCE = "Table 17 and Appendix G.6; Section 4.3 (Stiennon et al. 2020)"
DIFFERS = (
    "In the simulated world an editor who knows the facts makes one step: leaves out what is "
    "wrong, garbled or idle (shorter) or adds a missing fact (longer), and the truth confirms each "
    "edit; the paper's editors were people who changed as much as they liked. Labelers' shares and "
    "the agreement with them are expectations over labelers. All: the edits of a post are averaged "
    "before posts are. Published rates are those of Section 4.3."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

KINDS = {"shorter": "edit: shorter", "longer": "edit: longer"}
"""The two kinds of edits by their names in the `probes` table; a third row takes both."""
ALL = "all"
PREFERENCE, AGREEMENT = "preference", "agreement"

PUBLISHED = {
    ("shorter", PREFERENCE): "62.6% (6.7B)", (ALL, PREFERENCE): "79.4% (1.3B), 82.8% (6.7B)",
}  # fmt: skip
PUBLISHED_PEOPLE = {"shorter": "76.4%", ALL: "84.1%"}


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    return probes.missing_rows(tables, edits=True)


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """How often each judge prefers the edit, and agrees with the labelers, by kind of edit.

    probe: shorter, longer or all. quantity: preference (ties half) or agreement, of a reward
    model with the labelers. Other columns as in `analyses.probes`.
    """
    rows, left_out = probes.judged(tables, edits=True)
    out: list[dict[str, object]] = []
    for place, kind in enumerate((*KINDS, ALL), start=1):
        mine = rows if kind == ALL else rows[rows["probe"] == KINDS[kind]]
        keys: dict[str, object] = {"probe": kind, "place": place, "in_paper": True}
        out += probes.rates(mine, PREFERENCE, "prefers", options.level, keys)
        out += probes.rates(mine, AGREEMENT, "agrees", options.level, keys)
        out += probes.bystanders(mine, options.level, keys)
    table = probes.as_table(out, PUBLISHED)
    people = table["judge"] == probes.LABELERS
    table.loc[people, "published"] = table.loc[people, "probe"].map(PUBLISHED_PEOPLE).fillna("")
    return Result(table, left_out)


def plot(table: pd.DataFrame) -> Figure:
    """A row a kind of edit: how often each judge prefers it, and agreement with the labelers."""
    shown = table[table["judge"] != probes.TRUTH]
    names = shown.sort_values("place")["probe"].drop_duplicates().tolist()
    agreement = (shown["quantity"] == AGREEMENT).any()
    fig, axes = style.figure(
        "double" if agreement else 4.4, 0.45 * max(len(names), 2) + 1.1,
        cols=2 if agreement else 1, sharey=True, squeeze=False,
    )  # fmt: skip
    quantities = (PREFERENCE, AGREEMENT) if agreement else (PREFERENCE,)
    titles = ("Edit preferred", "Agreement with labelers")
    for ax, quantity, title in zip(axes[0], quantities, titles, strict=False):
        probes.draw(ax, shown[shown["quantity"] == quantity], names)
        style.title(ax, title)
        low, high = ax.get_xlim()
        limits = min(low, 0.4), max(high, 0.6)
        limits = max(limits[0], -0.02), min(limits[1], 1.02)
        style.rate_axis(ax, "x", label="share of edits", limits=limits, chance=0.5)
    probes.key_below(fig, axes[0, 0])
    style.note_errorbars(fig)
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: how often the largest reward model of most labels prefers edits."""
    known = table[
        (table["judge"] == probes.MODEL) & (table["quantity"] == PREFERENCE) & table["low"].notna()
    ]
    if known.empty:
        return "No kind of edit has enough posts for an interval."
    best = known.sort_values(["parameters", "labels"]).iloc[-1]
    mine = known[[probes.who(one) == probes.who(best) for _, one in known.iterrows()]]
    people = table[(table["judge"] == probes.LABELERS)].set_index("probe")["value"]
    said = []
    for _, one in mine.sort_values("place").iterrows():
        beside = f", labelers {people[one['probe']]:.1%}" if one["probe"] in people else ""
        said.append(f"{one['probe']} {one['value']:.1%} ({wording.interval(one)}{beside})")
    return f"The reward model {probes.who(best)} prefers the edit: {'; '.join(said)}."
