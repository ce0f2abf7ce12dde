"""Which of two texts reward models prefer where the answer is known (Table 18).

A row is an edit of a summary, or a pair made from the post, of which side A should win. Beside the
reward models stand what simulated labelers would say of the same pairs and, where it is known,
the truth: in some rows A should win by the paper's intent and does not in fact. The columns of the
table and the drawing are shared with `analyses.edits`.
Proof: tests/analyses/test_probes_analysis.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import objectives, wording
from analyses.choices import Share
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.replicates import crossed_mean
from evalsuite.tables import Tables

TITLE = "Probes of reward models"
SOURCE = "Table 18 and Appendix G.6; Section 4.3 (Stiennon et al. 2020)"
DIFFERS = (
    "The rows of Table 18, made by rule, and a few more of the same form; instead of r/tifu, posts "
    "of all sections that ask for no advice. In the simulated world roles are reversed by swapping "
    "doer and object around the verb, labelers and truth are known for every pair, and the truth "
    "does not mind the order of sentences. Margins are in SDs of the model's rewards over the "
    "original summaries; their medians have no interval. Published rates are those of Section 4.3."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

PAPER_ROWS = (
    "original vs reversed roles",
    "lead-3 vs rand-3",
    "rand-3 vs shuffled rand-3",
    "title vs random title",
    "title vs random title, same section",
    "title vs title twice",
    'reference vs reference + "What should I do?"',
    "reference vs lead-3",
    "reference vs lead-2",
    "reference vs rand-3",
)
"""Names of the paper's rows in the `probes` table, in its order."""

EDIT = "edit: "
"""What names of edits that improve begin with; they have an analysis of their own."""

PUBLISHED = {(PAPER_ROWS[0], "preference"): "92.9% (1.3B), 97.2% (6.7B)"}

MODEL, LABELERS, TRUTH = "reward model", "labelers", "truth"
"""Who judges."""

COLUMNS = [
    "judge", "quantity", "probe", "place", "in_paper", "size", "parameters", "labels", "value",
    "se", "low", "high", "level", "n", "n_clusters", "method", "published",
]  # fmt: skip

_MARKERS = "os^vPX"
_STEP = 0.6
"""Height, in rows, over which the judges of one row are spread."""


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    return missing_rows(tables, edits=False)


def missing_rows(tables: Tables, *, edits: bool) -> str | None:
    """Why there are no rows of probes, or of edits."""
    if tables.experiment is None:
        return "there is no experiment"
    if reason := tables.experiment.lacks("probes"):
        return reason
    found = tables.experiment["probes"]["probe"].str.startswith(EDIT)
    if (found if edits else ~found).any():
        return None
    return f"the experiment judged no {'edit' if edits else 'probe'}"


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rates at which A is preferred, and median margins, by probe and judge.

    quantity: preference (ties half) or margin. judge: a reward model (size, parameters, labels),
    the labelers (expected share), the truth (ties half). place: 1 to 10 as in Table 18, then the
    further probes by name. published: what the paper states of the row, as text.
    """
    rows, left_out = judged(tables, edits=False)
    names = [name for name in PAPER_ROWS if (rows["probe"] == name).any()]
    names += sorted(set(rows["probe"]) - set(PAPER_ROWS))
    out: list[dict[str, object]] = []
    for place, name in enumerate(names, start=1):
        of_probe = rows[rows["probe"] == name]
        keys = {"probe": name, "place": place, "in_paper": name in PAPER_ROWS}
        out += rates(of_probe, "preference", "prefers", options.level, keys)
        for facts, part in by_model(of_probe):
            margins = (part["margin"] / part["spread"]).replace([np.inf, -np.inf], np.nan).dropna()
            out.append(row(_median(margins, options.level), **keys, **facts, quantity="margin"))
        out += bystanders(of_probe, options.level, keys)
    return Result(as_table(out, PUBLISHED), left_out)


def judged(tables: Tables, *, edits: bool) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of single reward models on probes, or on edits, and what was left out."""
    assert tables.experiment is not None
    rows = tables.experiment["probes"]
    mine = rows["probe"].str.startswith(EDIT) == edits
    other = mine & ~objectives.single(rows)
    rows = rows[mine & ~other]
    rows = rows.assign(seed=rows["seed"].fillna(0))
    if "spread" not in rows:
        rows = rows.assign(spread=math.nan)
    count = int(other.sum())
    return rows, {"judgments of other members of ensembles": count} if count else {}


def by_model(rows: pd.DataFrame) -> list[tuple[dict[str, object], pd.DataFrame]]:
    """Rows of each reward model, small ones and few labels first, with what it is."""
    keys = ["parameters", "labels", "size"]
    return [
        ({"judge": MODEL, "size": size, "parameters": parameters, "labels": labels}, part)
        for (parameters, labels, size), part in rows.groupby(keys, dropna=False)
    ]


def rates(
    rows: pd.DataFrame, quantity: str, column: str, level: float, keys: dict[str, object]
) -> list[dict[str, object]]:
    """Mean of a column for each reward model, crossed over seeds and posts."""
    out = []
    for facts, part in by_model(rows):
        known = part.dropna(subset=column)
        if len(known):
            mean = _mean(known, column, level)
            out.append(row(mean, **keys, **facts, quantity=quantity))
    return out


def bystanders(
    rows: pd.DataFrame, level: float, keys: dict[str, object]
) -> list[dict[str, object]]:
    """Preference of the labelers and of the truth on the same pairs, each pair once."""
    pairs = rows.drop_duplicates(["probe", "seed", "post_id"])
    gap = pairs["gold_gap"]
    pairs = pairs.assign(true=np.where(gap.isna(), math.nan, (np.sign(gap) + 1) / 2))
    out = []
    for judge, column in ((LABELERS, "labelers"), (TRUTH, "true")):
        known = pairs.dropna(subset=column)
        if len(known):
            mean = _mean(known, column, level)
            out.append(row(mean, **keys, judge=judge, quantity="preference"))
    return out


def as_table(rows: list[dict[str, object]], published: dict[tuple[str, str], str]) -> pd.DataFrame:
    """The rows with all `COLUMNS`; published numbers stand in the rows of reward models."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    keys = zip(table["probe"], table["quantity"], table["judge"], strict=True)
    said = [published.get((p, q), "") if j == MODEL else "" for p, q, j in keys]
    return table.assign(size=table["size"].fillna(""), published=said)


def _mean(rows: pd.DataFrame, column: str, level: float) -> Estimate:
    found = crossed_mean(rows[column], seeds=rows["seed"], posts=rows["post_id"], level=level)
    low, high = np.clip([found.low, found.high], 0.0, 1.0)  # NaN stays
    return found._replace(low=float(low), high=float(high))


def _median(values: pd.Series, level: float) -> Estimate:
    nan = math.nan
    value = float(values.median()) if len(values) else nan
    method = "median over seeds and posts; no interval" if len(values) else "undefined: no spread"
    return Estimate(value, nan, nan, nan, level, len(values), 0, method)


# --- drawing ---------------------------------------------------------------------------------


def plot(table: pd.DataFrame) -> Figure:
    """A row a probe: how often each judge prefers A, and by how much reward models do."""
    order = table.sort_values("place").drop_duplicates("probe")
    names = order["probe"].tolist()
    fig, axes = style.figure(
        "double", 0.3 * max(len(names), 4) + 1.1, cols=2, sharey=True, width_ratios=[1.7, 1.0]
    )
    draw(axes[0], table[table["quantity"] == "preference"], names)
    draw(axes[1], table[table["quantity"] == "margin"], names)
    style.title(axes[0], "First side preferred")
    style.rate_axis(axes[0], "x", label="share of pairs", limits=(-0.02, 1.02), chance=0.5)
    style.title(axes[1], "Median margin")
    axes[1].axvline(0, color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0.9)
    axes[1].set_xlabel("SDs of the model's rewards")
    paper = int(order["in_paper"].astype(bool).sum())
    for ax in axes:
        if 0 < paper < len(names):
            ax.axhline(0.5 - paper, color=style.MUTED, lw=0.6)
    key_below(fig, axes[0])
    if 0 < paper < len(names):
        style.note(fig, "below the line: beyond the paper")
    style.note_errorbars(fig)
    return fig


def draw(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    """Judges of each named row, one above the other: reward models, labelers, the truth."""
    look = looks(rows)
    for offset, (judge, colour, marker, filled) in zip(_offsets(len(look)), look, strict=True):
        mine = rows[[who(r) == judge for _, r in rows.iterrows()]]
        mine = mine.drop_duplicates("probe").set_index("probe").reindex(list(names))
        style.forest(
            ax, names, mine["value"].tolist(), mine["se"].tolist(), offset=offset, label=judge,
            colours=colour, marker=marker, filled=filled,
        )  # fmt: skip


def _offsets(count: int) -> list[float]:
    return [(_STEP * (i / (count - 1) - 0.5) if count > 1 else 0.0) for i in range(count)]


def looks(rows: pd.DataFrame) -> list[tuple[str, str, str, bool]]:
    """Each judge's word, colour, marker and whether it is filled, in drawing order."""
    models = rows[rows["judge"] == MODEL].drop_duplicates(["size", "parameters", "labels"])
    models = models.sort_values(["parameters", "labels"])
    names = [who(one) for _, one in models.iterrows()]
    facts = pd.DataFrame({
        "objective": names, "label": names, "kind": "rm", "size": models["size"].tolist(),
        "parameters": models["parameters"].tolist(), "labels": models["labels"].tolist(),
        "round": math.nan,
    })  # fmt: skip
    known = objectives.looks(facts)
    sizes = sorted(models["parameters"].dropna().unique())
    out = []
    for name, parameters in zip(names, models["parameters"], strict=True):
        place = sizes.index(parameters) if parameters in sizes else 0
        out.append((name, known[name].colour, _MARKERS[place % len(_MARKERS)], True))
    if (rows["judge"] == LABELERS).any():
        out.append((LABELERS, style.MUTED, "D", True))
    if (rows["judge"] == TRUTH).any():
        out.append((TRUTH, style.INK, "D", False))
    return out


def who(one: pd.Series) -> str:
    """A judge in words: "small, 600 labels"; "labelers"; "truth"."""
    if one["judge"] != MODEL:
        return str(one["judge"])
    words = [str(one["size"])] if isinstance(one["size"], str) and one["size"] else []
    if not math.isnan(one["labels"]):
        words.append(wording.counted(one["labels"], "label"))
    return ", ".join(words) or MODEL


def key_below(fig: Figure, ax: Axes) -> None:
    """One legend for all panels, under the figure."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        lines = math.ceil(len(labels) / 4)
        fig.legend(
            handles, labels, loc="outside upper center", ncols=math.ceil(len(labels) / lines),
            frameon=False,
            fontsize=style.SMALL, handlelength=1.2,
        )  # fmt: skip


# --- words -----------------------------------------------------------------------------------


def reading(table: pd.DataFrame) -> str:
    """One sentence: where the largest reward model of most labels prefers which side."""
    rows = table[(table["judge"] == MODEL) & (table["quantity"] == "preference")]
    known = rows[rows["low"].notna()]
    if known.empty:
        return "No probe has enough posts for an interval."
    best = known.sort_values(["parameters", "labels"]).iloc[-1]
    mine = known[[who(one) == who(best) for _, one in known.iterrows()]].sort_values("place")
    right, wrong = mine[mine["low"] > 0.5], mine[mine["high"] < 0.5]
    text = (
        f"The reward model {who(best)} prefers the first side in {len(right)} of "
        f"{wording.counted(len(mine), 'probe')} by its interval"
    )
    if len(wrong):
        text += f" and the second in {_listed(wrong)}"
    open_ = len(mine) - len(right) - len(wrong)
    if open_:
        text += f"; {open_} {'is' if open_ == 1 else 'are'} open"
    roles = mine[mine["probe"] == PAPER_ROWS[0]]
    if len(roles):
        one = roles.iloc[0]
        text += f"; reversed roles are told in {one['value']:.1%} ({wording.interval(one)})"
    return f"{text}."


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name} ({value:.1%})"
        for name, value in zip(rows["probe"], 1 - rows["value"], strict=True)
    )
