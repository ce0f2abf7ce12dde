"""How often reward models are right, by labels they learned from and by their size.

The truth of an experiment is known, so a reward model can be held against it, and not only against
labelers, whose own answers are often wrong: what a labeler gets right bounds the second panel but
not the first. One model a size, amount of labels and seed; ensembles' other members are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analyses import objectives, wording
from analyses.choices import Share
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.replicates import crossed_mean
from evalsuite.stats.scaling import scaling_per_doubling
from evalsuite.tables import Tables

TITLE = "Reward models by labels and size"
SOURCE = "Figure 6 (Stiennon et al. 2020)"
DIFFERS = (
    "The main panel holds reward models against the truth, the second against a labeler's answer "
    "as the paper does (8k to 64k labels, 160M to 13B). Gains per doubling come from one plane "
    "fitted to all points, with seeds and posts both counted in the interval. Preferring the "
    "longer summary is shown as the rule to beat."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

CORRECT, AGREES, DOUBLING = "correct", "agrees", "per doubling"
MODEL = "reward model"
RULES = {"labeler": "one labeler", "labelers": "majority of labelers", "longer": "longer is better"}
"""What is drawn as a level line, by its name in the table."""
_PANELS = {
    CORRECT: ("Against the truth", "held-out pairs answered right"),
    AGREES: ("Against a labeler's answer", "held-out pairs, same answer"),
}


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.experiment is None:
        return "there is no experiment"
    if reason := tables.experiment.lacks("pairs"):
        return reason
    if not _single(tables.experiment["pairs"]).any():
        return "no single reward model outside the rounds judged held-out pairs"
    return None


def _single(pairs: pd.DataFrame) -> pd.Series:
    """Rows of single reward models; labelers have learned from no labels."""
    return objectives.single(pairs) & pairs["labels"].notna()


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rates of being right (`measure` correct) and of agreeing with a labeler (agrees).

    quantity: rate, of a `judge`: a reward model of a size and number of labels, or a rule (`RULES`;
    that of the longer summary is worked out where reward models tell what the labeler said).
    per doubling: slope of the plane rate = a + b log2(labels) + c log2(parameters), in shares; `of`
    is labels or parameters. kind: "all" pairs, or those of one kind. Where seeds have pairs of
    their own posts, these are nested in them (`crossed_mean`).
    """
    experiment = tables.experiment
    assert experiment is not None
    pairs = experiment["pairs"].reset_index(drop=True).assign(seed=lambda t: t["seed"].fillna(0))
    single, human = _single(pairs), pairs["model"].isin(["labeler", "labelers"])
    others = int((~single & ~human).sum())
    models = pairs[single].assign(judge=MODEL)
    judged = pd.concat(
        [models, pairs[human].assign(judge=pairs["model"]), _longer(models)], ignore_index=True
    )
    rows: list[dict[str, object]] = []
    kinds = sorted(judged["kind"].unique())
    for kind in ["all", *(kinds if len(kinds) > 1 else [])]:
        of_kind = judged if kind == "all" else judged[judged["kind"] == kind]
        for measure in (CORRECT, AGREES):
            known = of_kind.dropna(subset=measure)
            found = _rates(known, measure, options.level) + _slopes(known, measure, options.level)
            rows += [{"kind": kind, "measure": measure, **one} for one in found]
    left_out = {"judgments of other members of ensembles and of models of rounds": others}
    return Result(pd.DataFrame(rows, columns=_COLUMNS), {k: n for k, n in left_out.items() if n})


_COLUMNS = [
    "measure", "kind", "quantity", "judge", "size", "parameters", "labels", "of",
    *Estimate._fields,
]  # fmt: skip


def _longer(models: pd.DataFrame) -> pd.DataFrame:
    """What the rule "the longer one is better" would have answered, once a pair and seed.

    Taken from the rows of one reward model a seed. Whether the labeler preferred the truly better
    summary follows from `correct` and `agrees` of a model: it did where both are the same.
    """
    if models.empty:
        return models.assign(judge="longer")
    first = models.groupby("seed")["model"].transform("first")
    rows = models[(models["model"] == first) & models["log_length_ratio"].notna()]
    right = (np.sign(rows["log_length_ratio"]) + 1) / 2
    decided = rows["correct"].isin([0, 1]) & rows["agrees"].isin([0, 1])
    labeler = (rows["correct"] == rows["agrees"]).astype(float).where(decided)
    return rows.assign(judge="longer", correct=right, agrees=1 - (right - labeler).abs())


def _rates(rows: pd.DataFrame, measure: str, level: float) -> list[dict[str, object]]:
    """A row a judge: reward models by size and labels, then rules."""
    out = []
    by = ["judge", "parameters", "size", "labels"]
    rows = rows.assign(
        **{key: rows[key].where(rows["judge"] == MODEL) for key in ("parameters", "labels")},
        size=rows["size"].where(rows["judge"] == MODEL, ""),
    )
    for key, of in rows.groupby(by, dropna=False):
        estimate = crossed_mean(of[measure], seeds=of["seed"], posts=of["post_id"], level=level)
        out.append(row(estimate, quantity="rate", **dict(zip(by, key, strict=True))))
    return out


def _slopes(rows: pd.DataFrame, measure: str, level: float) -> list[dict[str, object]]:
    """What a doubling of labels and of parameters adds."""
    models = rows[(rows["judge"] == MODEL) & rows["parameters"].notna()]
    plane = scaling_per_doubling(
        models[measure], labels=models["labels"], parameters=models["parameters"],
        seeds=models["seed"], posts=models["post_id"], level=level,
    )  # fmt: skip
    return [
        row(estimate, quantity=DOUBLING, judge=MODEL, of=of)
        for of, estimate in (("labels", plane.data), ("parameters", plane.size))
    ]


def plot(table: pd.DataFrame) -> Figure:
    """Rates by labels, a line a size, with level lines of the rules: truth, then labelers."""
    table = table[table["kind"] == "all"]
    rates = table[(table["quantity"] == "rate") & table["value"].notna()]
    models = rates[rates["judge"] == MODEL]
    panels = [measure for measure in _PANELS if (models["measure"] == measure).any()]
    count = max(len(panels), 1)
    fig, axes = style.figure(
        "double" if count > 1 else 4.4, 3.2, 1, count, sharey=True, squeeze=False
    )
    sizes = models.sort_values("parameters").drop_duplicates("size")["size"].tolist()
    colours = dict(zip(sizes, objectives.shades(count=len(sizes)), strict=True))
    ends: list[tuple[Axes, float, pd.DataFrame, pd.DataFrame]] = []
    lows: list[float] = []
    for ax, measure in zip(axes[0], panels, strict=False):
        title, label = _PANELS[measure]
        lines = models[models["measure"] == measure]
        rules = rates[(rates["measure"] == measure) & (rates["judge"] != MODEL)]
        slopes = table[(table["measure"] == measure) & (table["quantity"] == DOUBLING)]
        end = _lines(ax, lines, colours)
        _levels(ax, rules, end)
        style.title(ax, title + "\n" * _slope_words(ax, slopes))
        style.rate_axis(ax, "y", label=label)
        lows.append(float((rules["value"] - rules["se"].fillna(0)).min()) - 0.005)
        ax.tick_params(labelleft=True)
        ends.append((ax, end, lines, rules))
    if low := [one for one in lows if np.isfinite(one)]:  # one axis holds the rules of both
        axes[0, 0].set_ylim(bottom=min(axes[0, 0].get_ylim()[0], *low))
    style.note(fig, f"error bars: {wording.error_of(table)}")
    for ax, end, lines, rules in ends:
        _names(ax, end, lines, rules, colours)
    return fig


def _lines(ax: Axes, lines: pd.DataFrame, colours: dict[str, str]) -> float:
    """A line a size; the place on the axis where names begin."""
    for place, (size, colour) in enumerate(colours.items()):
        one = lines[lines["size"] == size].sort_values("labels")
        shifted = one.assign(at=one["labels"] * 2 ** (0.03 * (place - (len(colours) - 1) / 2)))
        style.errorbars(ax, shifted, "at", color=colour, line=True)
    amounts = sorted(lines["labels"].dropna().unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(amounts, [f"{amount:,.0f}" for amount in amounts])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("labels it learned from (log scale)")
    style.grid(ax, "y")
    if not amounts:
        return ax.get_xlim()[1]
    wide = np.log2(amounts[-1] / amounts[0]) or 1.0
    ax.set_xlim(amounts[0] * 2 ** (-0.08 * wide), amounts[-1] * 2 ** (0.55 * wide))
    return float(amounts[-1] * 2 ** (0.06 * wide))


def _levels(ax: Axes, rules: pd.DataFrame, end: float) -> None:
    """A line and its SE for each rule, up to where the names begin."""
    low = ax.get_xlim()[0]
    for _, rule in rules.iterrows():
        line = ":" if rule["judge"] == "longer" else (0, (5, 2))
        at, se = float(rule["value"]), float(rule["se"])
        ax.plot([low, end], [at, at], color=style.MUTED, lw=0.9, ls=line, zorder=0.9)
        if np.isfinite(se):
            ax.fill_between([low, end], at - se, at + se, color=style.MUTED, alpha=0.1, lw=0)


def _slope_words(ax: Axes, slopes: pd.DataFrame) -> int:
    """What a doubling adds, under the title; the lines it takes."""
    said = []
    for of, word in (("labels", "labels"), ("parameters", "size")):
        one = slopes[(slopes["of"] == of) & slopes["value"].notna()]
        if len(one):
            value, se = 100 * one["value"].iloc[0], 100 * one["se"].iloc[0]
            error = f" ± {se:.1f}" if se == se else ""
            said.append(f"{value:+z.1f}{error} points a doubling of {word}".replace("-", "−"))
    if said:
        ax.annotate(
            "\n".join(said), (0, 1.03), xycoords="axes fraction", fontsize=style.SMALL,
            color=style.MUTED, fontfamily="DejaVu Sans",
        ).set_in_layout(False)  # fmt: skip
    return len(said)


def _names(
    ax: Axes, end: float, lines: pd.DataFrame, rules: pd.DataFrame, colours: dict[str, str]
) -> None:
    """Sizes at the ends of their lines, rules at the right edge, all apart from each other."""
    last = lines.sort_values("labels").groupby("size").tail(1).set_index("size")
    last = last.reindex([size for size in colours if size in last.index])
    if last.empty:
        return
    style.label_directly(
        ax, [end] * (len(last) + len(rules)), [*last["value"], *rules["value"]],
        [*(f"{size} model" for size in last.index), *rules["judge"].map(RULES)],
        [*(colours[size] for size in last.index), *[style.MUTED] * len(rules)], gap=3,
    )  # fmt: skip


def reading(table: pd.DataFrame) -> str:
    """One sentence: the best reward model beside the rules, and what doublings add."""
    rows = table[(table["kind"] == "all") & (table["measure"] == CORRECT)]
    rates = rows[rows["quantity"] == "rate"].dropna(subset="value")
    models = rates[rates["judge"] == MODEL].sort_values(["parameters", "labels"])
    if models.empty:
        return "No reward model was held against the truth on held-out pairs."
    top = models.iloc[-1]
    text = (
        f"The {top['size']} reward model of {top['labels']:,.0f} labels is right on "
        f"{top['value']:.1%} of held-out pairs ({wording.interval(top)})"
    )
    rules = rates[rates["judge"] != MODEL].set_index("judge")["value"]
    if beside := [f"{RULES[name]} {rules[name]:.1%}" for name in RULES if name in rules.index]:
        text += f"; beside it {', '.join(beside)}"
    slopes = rows[(rows["quantity"] == DOUBLING) & rows["value"].notna()].set_index("of")
    points = slopes.assign(**{c: 100 * slopes[c] for c in ("value", "low", "high")})
    said = [
        f"of {word} adds {points.loc[of, 'value']:+.1f} points "
        f"({wording.interval(points.loc[of], '.1f')})"
        for of, word in (("labels", "labels"), ("parameters", "size")) if of in points.index
    ]  # fmt: skip
    return f"{text}; a doubling {' and '.join(said)}." if said else f"{text}."
