"""What the best of N samples is truly worth, by what chose it.

Every objective chooses among the same samples of the supervised policy; the gain is over one
sample of the same post. Beside the truth stands the objective's own score, which rises with N
whatever it is: where the two part, more choosing serves the objective alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analyses import objectives, wording
from analyses.choices import Share
from analyses.samples import Floats, Samples, arrange, gains, halfway, objectives_of, sizes
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.best_of_n import best_of_n_by_prompt, kl_bound
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.replicates import crossed_mean
from evalsuite.tables import Tables

TITLE = "Best of N under each objective"
SOURCE = "Figure 7 (Stiennon et al. 2020)"
DIFFERS = (
    "Judged by the truth of the experiment, not by labelers; every N is estimated from all samples "
    "of a post (n-from-N) instead of one draw, and the gain is shown beside the preference. "
    "The truth itself is an objective, as the bound. N ends where the samples end (paper: 2,048)."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

GOLD, PREFERRED, SCORE = "gold", "preferred", "score"
LATE_GOLD, LATE_SCORE, DIFFERENCE = "late_gold", "late_score", "difference"


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
    if reason := tables.experiment.lacks("pool"):
        return reason
    if objectives_of(tables.experiment["pool"]) == ["gold"]:
        return "no objective scored the pool of samples"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rows by base, objective and N.

    gold: gain in truth over N = 1. preferred: share truly better than the post's reference, where
    its worth is known. score: gain of the objective's own score, in standard deviations of it.
    late_gold, late_score: gain at the largest N less that at this N, halfway to it in sqrt(KL).
    difference: gain in truth at the largest N less that of the objective `against`.
    """
    experiment = tables.experiment
    assert experiment is not None
    left_out: dict[str, int] = {}
    reference = experiment["summaries"].dropna(subset="gold_reference")
    worth = reference.groupby("post_id")["gold_reference"].first()
    found = []
    for samples in arrange(experiment["pool"], left_out):
        scored = [name for name, of in samples.proxies.items() if not np.isnan(of).all()]
        names = objectives.of_experiment(experiment["objectives"], scored)
        rows = pd.DataFrame(_of_base(samples, list(names["objective"]), worth, options.level))
        found.append(names.merge(rows, on="objective").assign(base=samples.base))
    table = pd.concat(found, ignore_index=True).assign(unit=experiment.gold_unit)
    return Result(table[_COLUMNS], left_out)


_COLUMNS = [
    "base", "objective", *objectives.FACTS, "unit", "quantity", "N", "kl_nats", "against",
    *Estimate._fields,
]  # fmt: skip


def _of_base(
    samples: Samples, names: list[str], worth: pd.Series, level: float
) -> list[dict[str, object]]:
    """Rows of one base policy's samples."""
    ns = sizes(samples.gold.shape[1])
    half, last = halfway(np.sqrt(kl_bound(ns)))
    found = {name: gains(samples, name, ns) for name in names}
    out: list[dict[str, object]] = []

    def add(values: Floats, objective: str, quantity: str, at: int, against: str = "") -> None:
        known = np.isfinite(values)
        if known.any():
            estimate = crossed_mean(
                values[known], seeds=samples.seeds[known], posts=samples.posts[known], level=level
            )
            N = ns[at]
            keys = {"N": N, "kl_nats": float(kl_bound(N)), "against": against}
            out.append(row(estimate, objective=objective, quantity=quantity, **keys))

    reference = worth.reindex(samples.posts).to_numpy(float)
    for name in names:
        better = _preferred(samples, name, reference, ns)
        for at in range(len(ns)):
            add(found[name].gold[:, at], name, GOLD, at)
            add(better[:, at], name, PREFERRED, at)
            add(found[name].score[:, at], name, SCORE, at)
        for quantity, of in ((LATE_GOLD, found[name].gold), (LATE_SCORE, found[name].score)):
            if last > half:
                add(of[:, last] - of[:, half], name, quantity, half)
    for one, other in itertools.combinations(names, 2):
        gap = found[one].gold[:, last] - found[other].gold[:, last]
        add(gap, one, DIFFERENCE, last, against=other)
    return out


def _preferred(samples: Samples, name: str, reference: Floats, ns: list[int]) -> Floats:
    """Share of best-of-n that is truly better than the reference, ties half: (C, len(ns))."""
    proxy, out = samples.proxies[name], np.full((len(reference), len(ns)), np.nan)
    known = ~np.isnan(proxy).any(axis=1) & ~np.isnan(reference)
    gap = samples.gold[known] - reference[known, None]
    out[known] = best_of_n_by_prompt(proxy[known], (np.sign(gap) + 1) / 2, ns)
    return out


def plot(table: pd.DataFrame) -> Figure:
    """Gain in truth, preference and own score by N, of the base with most samples.

    Ensembles have a figure of their own, that of over-optimisation.
    """
    shown = table[(table["base"] == table["base"].iloc[0]) & (table["kind"] != "ensemble")]
    panels = [
        (quantity, title, label)
        for quantity, title, label in (
            (GOLD, "What it is worth", f"gain in {table['unit'].iloc[0]} over N = 1"),
            (PREFERRED, "Against the reference", "truly better than the reference"),
            (SCORE, "What the objective says", "gain of its own score, SD"),
        )
        if (shown["quantity"] == quantity).any()
    ]
    fig, axes = style.figure(
        "double", 2.9, 1, len(panels), squeeze=False, width_ratios=[1.25, *[1] * (len(panels) - 1)]
    )
    names = objectives.drawn(shown)
    more = shown["objective"].nunique() - len(names)
    looks = {name: look for name, look in objectives.looks(shown).items() if name in names}
    for ax, (quantity, title, label) in zip(axes[0], panels, strict=True):
        _panel(ax, shown[shown["quantity"] == quantity], looks)
        style.title(ax, title)
        ax.set_ylabel(label, fontsize=style.TEXT)
        if quantity == PREFERRED:
            style.rate_axis(ax, "y", label=label, chance=0.5)
    if more:
        style.note(fig, f"{wording.counted(more, 'other objective')} in the table only")
    if (table["kind"] == "ensemble").any():
        style.note(fig, "ensembles in the table only")
    style.note(fig, "KL is an upper bound, log N - (N - 1)/N")
    if rest := table["base"].nunique() - 1:
        style.note(fig, f"{wording.counted(rest, 'other base')} in the table only")
    style.note(fig, f"bands: {wording.error_of(table)}")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False,
        fontsize=style.SMALL, handlelength=1.8,
    )  # fmt: skip
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, looks: dict[str, objectives.Look]) -> None:
    """A line an objective over N, with its band; the bound of the KL above."""
    for name, look in looks.items():
        line = rows[rows["objective"] == name].sort_values("N")
        if line.empty:
            continue
        ax.plot(
            line["N"], line["value"], color=look.colour, ls=look.linestyle, lw=1.4,
            label=look.label,
        )  # fmt: skip
        ax.fill_between(
            line["N"], line["value"] - line["se"], line["value"] + line["se"], color=look.colour,
            alpha=0.15, lw=0,
        )  # fmt: skip
    ns = sorted(rows["N"].unique())
    ns = [n for n in ns if n in (1, ns[-1]) or float(np.log2(n)).is_integer()]
    ns = ns[:: 2 if len(ns) > 5 else 1]
    ax.set_xscale("log", base=2)
    ax.set_xticks(ns, [f"{n:g}" for n in ns])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("N (log scale)")
    style.grid(ax, "y")
    top = ax.secondary_xaxis("top")
    top.set_xticks(ns, [f"{kl_bound(n):.1f}" for n in ns])
    top.xaxis.set_minor_locator(NullLocator())
    top.tick_params(labelsize=style.SMALL - 0.5, colors=style.MUTED, length=2)
    top.spines["top"].set_visible(False)
    top.set_xlabel("KL, nats", fontsize=style.SMALL - 0.5, color=style.MUTED)


def reading(table: pd.DataFrame) -> str:
    """One sentence: where each single objective ends, and whether it still rises there."""
    shown = table[table["base"] == table["base"].iloc[0]]
    shown = shown[~shown["kind"].isin(["gold", "ensemble"])]
    ends = shown[shown["quantity"] == GOLD].sort_values("N").groupby("objective").tail(1)
    if ends.empty:
        return "No objective but the truth chose among the samples."
    late = shown[shown["quantity"] == LATE_GOLD].set_index("objective")
    order = list(objectives.in_order(shown)["objective"])
    said = []
    for _, end in ends.set_index("objective").reindex(order).dropna(subset="value").iterrows():
        text = f"{end['label'] or end.name} {end['value']:+z.2f} ({wording.interval(end, '.2f')}"
        if end.name in late.index:
            way = wording.direction(late.loc[end.name])
            text += f", {way} from N = {late.loc[end.name, 'N']} on"
        said.append(f"{text})")
    N, unit = int(ends["N"].max()), table["unit"].iloc[0]
    return f"Gain in {unit} of the best of {N} over one sample: {'; '.join(said)}."
