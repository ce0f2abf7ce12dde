"""Tables 20 to 23: who agrees with whom on the same pairs of summaries.

Rows and columns are one labeler, the majority of several, text metrics, and what models made of
the same summaries; a cell is the share of pairs on which both prefer the same one. The arithmetic
is `stats/agreement.py`; here comparisons are chosen and scores joined to them. Metrics to show are
one line each in `METRICS`; kinds of models in `MODELS`.
tests/analyses/test_agreement_analysis.py holds the published counts.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import wording
from analyses.choices import Count, Share, refuse_unknown
from evalsuite.errors import StatisticsError
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.agreement import (
    ENSEMBLE,
    LABELER,
    agreement_matrix,
    disattenuate,
    labeler_agreement,
)
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.krippendorff import choice_alpha
from evalsuite.stats.votes import Votes, collect_votes
from evalsuite.tables import Tables

TITLE = "Agreement of labelers, text metrics and models"
SOURCE = "Tables 20-23, appendices C.2 and G.7"
DIFFERS = (
    "No researchers. Log-probabilities and reward models are judges where models have scored the "
    "summaries; labels on file alone have labelers, their majority and text metrics. Standard "
    "errors are cluster-robust by post (interval=bootstrap resamples posts). "
    "The majority facing a labeler has three or more other labelers; in the paper it could have "
    "two. Metrics that do not tell two summaries apart count as half an agreement. Labels of an "
    "experiment's seeds are pooled: intervals are over posts, not over training runs, and the "
    "reward models that judge are those of the first seed."
)
SCORES = ("length", "rouge", "copying")

METRICS = {
    "length": "chars",
    "copying": "copying",
    "ROUGE-1": "rouge1_f",
    "ROUGE-L": "rougeL_f",
}
"""Name in the matrix -> score column."""

MODELS = {"logprob:": " log-prob", "reward:": ""}
"""Start of the score columns that models made -> what their names in the matrix end with.

`logprob:NAME` is the log-probability of the summary under a supervised policy, nats, `reward:NAME`
a reward model's reward. Judges of one kind stand in the order of their columns: by size.
"""

MAX_WIDTH = style.WIDTHS["double"]
WRAPPED = 6
"""Judges up to which a name stands upright above its column, a word a line."""

ENOUGH = 50
"""Pairs of one policy with itself below which `pairs="auto"` takes all pairs."""


@dataclass(frozen=True)
class Options:
    """Settings of the agreement matrix.

    pairs: "same_policy" takes comparisons of two samples of one policy at one temperature, as in
        the paper (no metric can win by telling policies apart); "all" takes every comparison;
        "auto" the first if some policy has 50 such pairs, else the second.
    policy: which policy for same_policy; by default the one with most pairs.
    minimum: labelers that make an ensemble.
    ties: a metric's ties count as "half" an agreement or are left out ("drop").
    interval: "robust" (clustered by post) or "bootstrap" (posts resampled, as in the paper).
    resamples: of the bootstrap.
    level: coverage of the intervals.
    """

    pairs: Literal["auto", "same_policy", "all"] = "auto"
    policy: str | None = None
    minimum: Count = 3
    ties: Literal["half", "drop"] = "half"
    interval: Literal["robust", "bootstrap"] = "robust"
    resamples: Count = 2000
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Comparisons of two known texts, of labelers or at least with choices."""
    if not len(tables.comparisons):
        return "no comparisons"
    if tables.summaries["text"].isna().all():
        return "the summaries have no texts"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row an ordered pair of judges: quantity `agreement`; then a few numbers around it.

    The score table's columns `logprob:NAME` and `reward:NAME` are judges beside the metrics of
    `METRICS`. Labels of summaries that a model did not score are left out for that judge only.

    quantity: agreement; alpha (Krippendorff's, nominal, of the choices); "agreement, new
    labelers" (the interval for other people on other posts); disattenuated (a metric's agreement
    with what labelers would say without noise). pairs says which comparisons were used.

    Raises StatisticsError when the options leave no comparison, ConfigError on a policy that never
    met itself.
    """
    comparisons, used = _chosen(tables.comparisons, options)
    scores = _scores(tables)
    columns = METRICS | _models(scores)
    votes, sides = _votes(tables.with_scores(scores), comparisons, list(columns.values()))
    others = len(tables.comparisons) - len(comparisons)
    left_out = {f"comparisons other than {used} with itself": others} if others else {}
    left_out |= votes.left_out
    metrics = {}
    for name, column in columns.items():
        difference = (sides[f"left_{column}"] - sides[f"right_{column}"]).to_numpy(float)
        known = np.isfinite(difference[votes.rows])
        if known.any():
            metrics[name] = np.where(np.isfinite(difference), difference, np.nan)
        if name not in METRICS and not known.all():
            left_out[f"labels of summaries without {name}"] = int((~known).sum())
    settings = {"level": options.level, "resamples": options.resamples, "rng": rng}
    matrix = agreement_matrix(
        votes, metrics, minimum=options.minimum, ties=options.ties, interval=options.interval,
        **settings,
    )  # fmt: skip
    rows = [{"quantity": "agreement", **record} for record in matrix.to_dict("records")]

    def add(quantity: str, estimate: Estimate, judge: str = LABELER) -> None:
        rows.append(row(estimate, quantity=quantity, row=judge, column=LABELER, tied=0))

    between = _estimate(matrix, LABELER, LABELER)
    add("alpha", choice_alpha(votes, interval=options.interval, **settings))
    add("agreement, new labelers", labeler_agreement(votes, cluster="both", level=options.level))
    for name in metrics:
        corrected = disattenuate(_estimate(matrix, name, LABELER), between, level=options.level)
        add("disattenuated", corrected, name)
    table = pd.DataFrame(rows)
    table.insert(1, "pairs", used)
    return Result(table, {f"agreement: {k}": n for k, n in left_out.items()})


def _models(scores: pd.DataFrame) -> dict[str, str]:
    """Name in the matrix -> score column, of the judges that are models: `MODELS`."""
    return {
        column.removeprefix(start) + end: column
        for start, end in MODELS.items()
        for column in scores.columns
        if column.startswith(start)
    }


def _votes(
    tables: Tables, comparisons: pd.DataFrame, columns: list[str]
) -> tuple[Votes, pd.DataFrame]:
    """Votes of some comparisons, and those with `left_`, `right_` columns of texts and scores."""
    sides = tables.sides(["text", *columns], comparisons)
    # A summary whose text is unknown is told from others by its id.
    left = sides["left_text"].fillna(sides["left_id"])
    right = sides["right_text"].fillna(sides["right_id"])
    votes = collect_votes(
        left, right, comparisons["choice"], post=comparisons["item"],
        labeler=comparisons["labeler"],
    )  # fmt: skip
    return votes, sides


def _scores(tables: Tables) -> pd.DataFrame:
    """The score table, with a column of NaN for every metric that was not computed."""
    scores = tables.scores
    if scores is None:
        scores = tables.summaries[["summary_id"]]
    return scores.assign(**{c: np.nan for c in METRICS.values() if c not in scores})


def _chosen(comparisons: pd.DataFrame, options: Options) -> tuple[pd.DataFrame, str]:
    same = comparisons[comparisons["left_policy"] == comparisons["right_policy"]]
    counts = same["left_policy"].value_counts()
    few = counts.max() < ENOUGH if len(counts) else True
    if options.pairs == "all" or (options.pairs == "auto" and options.policy is None and few):
        return comparisons, "all"
    most = min(counts.index[counts == counts.max()], default=None)
    policy = most if options.policy is None else options.policy
    if policy is None:
        raise StatisticsError("no policy was compared with itself; allowed pairs=all")
    refuse_unknown("policy", policy, counts.index, "policies that met themselves")
    return same[same["left_policy"] == policy], str(policy)


def _estimate(matrix: pd.DataFrame, judge: str, other: str) -> Estimate:
    found = matrix[(matrix["row"] == judge) & (matrix["column"] == other)].iloc[0]
    return Estimate(*(found[name] for name in Estimate._fields))


def plot(table: pd.DataFrame) -> Figure:
    """The matrix: darker is further above chance; each cell has its value and standard error."""
    cells = table[table["quantity"] == "agreement"]
    seen = set(cells.loc[wording.drawable(cells), "row"])
    names = [name for name in dict.fromkeys(cells["column"]) if name in seen | {LABELER}]
    value = cells.pivot(index="row", columns="column", values="value").reindex(names)[names]
    se = cells.pivot(index="row", columns="column", values="se").reindex(names)[names]
    count = cells.pivot(index="row", columns="column", values="n").reindex(names)[names]
    sure = cells.assign(sure=wording.drawable(cells)).pivot(
        index="row", columns="column", values="sure"
    )
    sure = sure.reindex(names)[names].eq(True)
    size = len(names)
    crowded = size > WRAPPED
    side = min(0.62, (MAX_WIDTH - 1.5) / size) if crowded else 0.62
    room = (1.5, 1.2) if crowded else (1.1, 0.85)
    fig, ax = style.figure(side * size + room[0], height=0.8 * side * size + room[1])
    thin = value.notna() & ~sure
    value = value.where(sure)
    ax.imshow(value, cmap="Greys", vmin=0.35, vmax=1.15, aspect="auto")
    for i, judge in enumerate(names):
        for j, other in enumerate(names):
            _cell(ax, i, j, value.loc[judge, other], se.loc[judge, other], count.loc[judge, other])
    _name_judges(ax, names, crowded=crowded)
    ax.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", lw=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    if thin.to_numpy().any():
        style.note(fig, "–: too few posts for an interval")
    none = cells[cells["row"].isin(names) & cells["column"].isin(names) & cells["value"].isna()]
    for reason in none["method"].drop_duplicates():
        style.note(fig, f"n = 0: {str(reason).removeprefix('undefined: ')}")
    pairs = cells["pairs"].iloc[0]
    what = "all pairs" if pairs == "all" else f"{style.policy_style(pairs).label} with itself"
    style.note(fig, f"agreement in %, ± 1 SE; chance 50; {what}")
    if ENSEMBLE not in seen:
        style.note(fig, "no ensembles: too few labelers a pair")
    return fig


def _name_judges(ax: Axes, names: list[str], *, crowded: bool) -> None:
    """Names above the columns and beside the rows; slanted above where there are many."""
    width = 18 if crowded else 1  # letters a line
    parts = [name.replace(", ", ",\n").split("\n") for name in names]
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    labels = ["\n".join(wrap.fill(part) for part in lines) for lines in parts]
    ax.set_yticks(range(len(names)), labels)
    ax.xaxis.tick_top()
    slant = {"rotation": 40, "ha": "left", "va": "bottom", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(names)), labels, **(slant if crowded else {}), linespacing=1.0)


def _cell(ax: Axes, i: int, j: int, value: float, se: float, n: float) -> None:
    look = {"ha": "center", "va": "center", "fontfamily": "DejaVu Sans"}
    if np.isnan(value):
        shown = "·" if np.isnan(n) else "–" if n else "n = 0"
        ax.text(j, i, shown, fontsize=style.SMALL, color=style.MUTED, **look)
        return
    look["color"] = "white" if value > 0.82 else style.INK
    below = f"n = {n:,.0f}" if np.isnan(se) else f"± {100 * se:.1f}"
    ax.text(j, i - 0.1, f"{100 * value:.1f}", fontsize=style.TEXT, **look)
    ax.text(j, i + 0.24, below, fontsize=style.SMALL - 1, **look)


def reading(table: pd.DataFrame) -> str:
    """Labelers with each other, and the metric and the model that agree best with them."""
    cells = table[(table["quantity"] == "agreement") & (table["column"] == LABELER)]
    cells = cells.set_index("row")
    between = cells.loc[LABELER]
    used = cells["pairs"].iloc[0]
    of = "" if used == "all" else f" of {style.policy_style(used).label} with itself"
    if np.isnan(between["value"]):
        said = f"No two labelers answered the same comparison{of}"
    else:
        said = (
            f"Two labelers choose the same summary in {between['value']:.1%} of "
            f"{wording.counted(between['n'], 'pair of answers', 'pairs of answers')}"
            f"{' on comparisons' + of if of else ''} ({wording.interval(between)})"
        )
    others = cells.drop([LABELER, ENSEMBLE])
    others = others[others["low"].notna()]
    metric = others.index.isin(list(METRICS))
    for part, kind in ((others[metric], "metrics"), (others[~metric], "models")):
        if len(part):
            said += f"; {_best(part, kind)}"
    return f"{said}."


def _best(judges: pd.DataFrame, kind: str) -> str:
    """The judge that surely agrees best with the labelers."""
    best = wording.surest(judges)
    most, how = (f"of the {kind} ", " most") if len(judges) > 1 else ("", "")
    # The lower end of the best is the highest there is, so where it fails to pass 1/2 all do.
    chance = ", no better than chance here" if best["low"] <= 0.5 else ""
    return (
        f"{most}{best.name} agrees with them{how}, in {best['value']:.1%} "
        f"({wording.interval(best)}){chance}"
    )
