"""Where an objective and the truth part: what its favourites are truly worth, and some of them.

An objective ranks samples of one policy, each within its own post. Most of the range it ranks as
the truth does; what decides best-of-N and the end of PPO are the few samples it likes best, and
there its errors are collected. So the curve resolves the top, up to the best sample of a thousand,
and a straight line through the rest shows where it would go if nothing changed. The summaries
that the objective picks and the truth likes least are in the table, beside what it passed over.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import objectives, wording
from analyses.choices import Count, Share
from analyses.samples import PROXY, objectives_of
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import MIN_CLUSTERS, Estimate, row
from evalsuite.stats.replicates import crossed_statistic, pseudo_values
from evalsuite.tables import Tables

TITLE = "Where reward models and the truth part"
SOURCE = "Past the paper: its section 4.3 and Appendix H.2 in numbers (Gao et al. 2022)"
DIFFERS = (
    "The paper shows samples of one over-optimised policy; here are the samples that each "
    "objective likes best among many of one supervised policy, with what they are truly worth."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Quantiles of the proxy between which samples are averaged."""
BULK = 0.9
"""Below this quantile the straight line is fitted."""
TOP = 0.99
"""The samples above it are held against those between `BULK` and it."""
MAX_LINES, MAX_EXAMPLES, LETTERS = 5, 3, 66

CURVE, LATE, EXAMPLE = "curve", "late", "example"
_CELL = ["seed", "post_id"]
_NONE = "no objective scored enough posts for an interval"


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    examples: summaries to show of each objective.
    level: coverage of the intervals.
    """

    examples: Count = 6
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.experiment is None:
        return "there is no experiment"
    if reason := tables.experiment.lacks("pool"):
        return reason
    if not _names(tables):
        return "no reward model, ensemble or ROUGE scored the pool of samples"
    return None


def _names(tables: Tables) -> list[str]:
    """Objectives that may part from the truth: all but the truth and length."""
    assert tables.experiment is not None
    kinds = tables.experiment["objectives"].set_index("objective")["kind"]
    return [
        name for name in objectives_of(tables.experiment["pool"])
        if name not in ("gold", "length") and kinds.get(name) not in ("gold", "length")
    ]  # fmt: skip


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rows by base policy and objective; nothing is random here.

    quantity: "curve", the mean gold of the samples whose proxy lies between two quantiles of it,
    less the mean gold of their posts; proxy_z, the mean proxy there, in standard deviations from
    the mean of the post; straight, what a line through the samples below `BULK` says there. "late",
    the same above `TOP` less that between `BULK` and it. "example", a summary that the objective
    picks on its post while its gold is low beside the mean of the post and the reference (lowest
    mean of the two differences first; one a post).
    """
    experiment = tables.experiment
    assert experiment is not None
    known = experiment["summaries"].dropna(subset="gold_reference")
    reference = known.groupby("post_id")["gold_reference"].first()
    left_out: dict[str, int] = {}
    found = []
    pool = experiment["pool"].assign(seed=experiment["pool"]["seed"].fillna(0))
    facts = objectives.of_experiment(experiment["objectives"], _names(tables))
    for base in pool["base"].value_counts().index:
        mine = pool[pool["base"] == base]
        for name in facts["objective"]:
            samples = _samples(mine, f"{PROXY}{name}", f"{name} on {base}", left_out)
            if samples.empty:
                continue
            rows = _curve(samples, options.level)
            rows += _examples(samples, reference, options.examples)
            found.append(pd.DataFrame(rows).assign(base=base, objective=name))
    table = pd.concat(found) if found else pd.DataFrame(columns=["objective"])
    table = table.merge(facts, on="objective", how="left").assign(unit=experiment.gold_unit)
    return Result(table.reindex(columns=_COLUMNS), left_out)


_COLUMNS = [
    "quantity", "base", "objective", *objectives.FACTS, "unit", "quantile_low", "quantile_high",
    "proxy_z", "straight", *Estimate._fields, "seed", "post_id", "text", "gold", "gold_mean",
    "gold_reference", "best_gold", "best_text",
]  # fmt: skip


def _samples(pool: pd.DataFrame, proxy: str, what: str, left_out: dict[str, int]) -> pd.DataFrame:
    """Samples with z, gain and quantile; those without scores or of posts without spread left out.

    z: proxy in standard deviations from the mean of its seed and post. gain: gold less the mean
    gold there. quantile: rank of z among the samples of the seed, in (0, 1).
    """
    rows = pool[[*_CELL, "text", "gold"]].assign(proxy=pool[proxy])
    rows = rows.dropna(subset=["proxy", "gold"])
    cells = rows.groupby(_CELL)
    spread = cells["proxy"].transform("std", ddof=0)
    seeds = rows["seed"].nunique()
    varies = spread > 0
    whole = rows[varies].groupby("post_id")["seed"].nunique()
    kept = varies & rows["post_id"].isin(whole.index[whole == seeds])
    if lost := len(pool) - int(kept.sum()):
        left_out[f"samples of {what} without scores that differ, in every seed"] = lost
    rows, cells = rows[kept], rows[kept].groupby(_CELL)
    rows = rows.assign(
        z=(rows["proxy"] - cells["proxy"].transform("mean")) / spread[kept],
        mean=cells["gold"].transform("mean"),
    )
    by_seed = rows.groupby("seed")["z"]
    rank = (by_seed.rank() - 0.5) / by_seed.transform("size")
    return rows.assign(gain=rows["gold"] - rows["mean"], quantile=rank)


def _curve(samples: pd.DataFrame, level: float) -> list[dict[str, object]]:
    """Gold by proxy quantile with the straight line, and the top against what lies before it."""
    bulk = samples[samples["quantile"] < BULK]
    z, gain = bulk["z"].to_numpy(), bulk["gain"].to_numpy()
    steep = (z - z.mean()) @ gain / ((z - z.mean()) @ (z - z.mean()))
    out = []
    for low, high in pairwise(EDGES):
        inside = _between(samples, low, high)
        if not inside.any():
            continue
        at = float(samples.loc[inside > 0, "z"].mean())
        keys = {"quantity": CURVE, "quantile_low": low, "quantile_high": high, "proxy_z": at}
        line = gain.mean() + steep * (at - z.mean())
        out.append(row(_mean(samples, [inside], level), straight=line, **keys))
    top, before = _between(samples, TOP, 1.0), _between(samples, BULK, TOP)
    if top.any() and before.any():
        keys = {"quantity": LATE, "quantile_low": TOP, "quantile_high": 1.0}
        out.append(row(_mean(samples, [top, before], level), **keys))
    return out


def _between(samples: pd.DataFrame, low: float, high: float) -> Floats:
    return np.asarray((samples["quantile"] > low) & (samples["quantile"] <= high), dtype=np.float64)


def _mean(samples: pd.DataFrame, groups: list[Floats], level: float) -> Estimate:
    """Mean gain of the first group of samples, less that of the second where there is one.

    A group has many samples of some posts and none of others, so its mean is a ratio of sums, a
    pseudo-value a post. groups: (n,) of 0 and 1.
    """
    gain = samples["gain"].to_numpy()
    seed, seeds = pd.factorize(samples["seed"], sort=True)
    post, posts = pd.factorize(samples["post_id"], sort=True)
    cell = seed * len(posts) + post
    columns = [part for group in groups for part in (group * gain, group)]
    sums = np.stack([np.bincount(cell, c, len(seeds) * len(posts)) for c in columns], axis=-1)

    def statistic(means: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = means[..., ::2] / means[..., 1::2]
        return np.asarray(ratios[..., 0] - (ratios[..., 1] if len(groups) > 1 else 0.0))

    cells = sums.reshape(len(seeds), len(posts), -1)
    count = int(sum(group.sum() for group in groups))
    held = min(len(np.unique(post[group > 0])) for group in groups)
    point = float(statistic(cells.mean(axis=1, keepdims=True)).mean())
    if len(posts) < 2:
        return Estimate(point, np.nan, np.nan, np.nan, level, count, held, "one post, no interval")
    found = crossed_statistic(
        pseudo_values(statistic, cells), value=point, level=level, method="ratio, jackknife"
    )._replace(n=count, n_clusters=held)
    if held >= MIN_CLUSTERS:
        return found
    reason = f"{found.method}; no interval: samples of {held} posts, {MIN_CLUSTERS} needed"
    return found._replace(low=np.nan, high=np.nan, method=reason)


def _examples(samples: pd.DataFrame, reference: pd.Series, count: int) -> list[dict[str, object]]:
    """The picks of the largest proxy that the truth likes least, worst first, one a post."""
    samples = samples.reset_index(drop=True)
    cells = samples.groupby(_CELL)
    picked = samples.loc[cells["proxy"].idxmax()]
    best = samples.loc[cells["gold"].idxmax(), [*_CELL, "text", "gold"]]
    picked = picked.merge(best, on=_CELL, suffixes=("", "_best"))
    beside = picked["gold"] - picked["post_id"].map(reference)
    worth = pd.concat([picked["gain"], beside], axis=1).mean(axis=1)
    picked = picked.assign(reference=picked["post_id"].map(reference), worth=worth)
    shown = picked.sort_values("worth", kind="stable").drop_duplicates("post_id").head(count)
    return [
        {
            "quantity": EXAMPLE, "seed": one.seed, "post_id": one.post_id, "proxy_z": one.z,
            "text": one.text, "gold": one.gold, "gold_mean": one.mean,
            "gold_reference": one.reference, "best_gold": one.gold_best, "best_text": one.text_best,
        }
        for one in shown.itertuples(index=False)
    ]  # fmt: skip


def plot(table: pd.DataFrame) -> Figure:
    """Gold by proxy quantile, a line an objective; beside it what the first of them picked."""
    mine = _of_first_base(table)
    curve = mine[mine["quantity"] == CURVE]
    drawn = curve[wording.drawable(curve)]
    shown = extremes(drawn)
    if not shown:
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(0.5, 0.5, _NONE, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    texts = mine[(mine["quantity"] == EXAMPLE) & (mine["objective"] == shown[0])]
    texts = texts.head(MAX_EXAMPLES)
    with_texts = len(texts) > 0 and not texts["text"].isna().all()
    fig, axes = style.figure(
        "double" if with_texts else 4.2, 3.2, cols=2 if with_texts else 1, squeeze=False,
        **({"width_ratios": [1, 1.05]} if with_texts else {}),
    )  # fmt: skip
    ax = axes[0, 0]
    looks = objectives.looks(curve)
    _lines(ax, drawn[drawn["objective"].isin(shown)], shown, looks)
    unit = table["unit"].iloc[0]
    ax.set_ylabel(f"{unit}, less the post's mean", fontsize=style.TEXT)
    ax.set_xlabel("quantile of the proxy, standardised by post")
    if with_texts:
        _write(axes[0, 1], texts, looks[shown[0]], str(unit))
    style.note(fig, "dotted: a straight line through the samples below 90%")
    if rest := table["base"].nunique() - 1:
        style.note(fig, f"{wording.counted(rest, 'other base')} in the table only")
    if rest := curve["objective"].nunique() - len(shown):
        style.note(fig, f"{wording.counted(rest, 'other objective')} in the table only")
    style.note_errorbars(fig)
    return fig


def _of_first_base(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the base with most samples, which stands first."""
    return table[table["base"] == table["base"].iloc[0]] if len(table) else table


def extremes(rows: pd.DataFrame, most: int = MAX_LINES) -> list[str]:
    """Objectives to draw, `most` at most: reward models, fewest labels first, then ROUGE.

    Of many reward models the extremes and some between; those of rounds where there are no others,
    ensembles where there are no reward models.
    """
    facts = objectives.in_order(rows)
    models = facts[facts["kind"] == "rm"]
    if models["round"].isna().any():
        models = models[models["round"].isna()]
        one_size = models[models["size"] == objectives.most_used(models)]
        models = one_size if len(one_size) else models
    others = facts[facts["kind"] == "rouge"]
    models = models if len(models) else facts[facts["kind"] != "rouge"]
    places = np.linspace(0, len(models) - 1, min(most - len(others), len(models)))
    kept = models.iloc[np.unique(places.round().astype(int))] if len(models) else models
    return [*kept["objective"], *others["objective"]]


def _lines(
    ax: Axes, curve: pd.DataFrame, shown: list[str], looks: dict[str, objectives.Look]
) -> None:
    """A line an objective over the quantiles, evenly spaced, and its straight line dotted."""
    place = {low: i for i, low in enumerate(EDGES)}
    middle = (len(shown) - 1) / 2
    for i, name in enumerate(shown):
        line = curve[curve["objective"] == name].sort_values("quantile_low")
        at = line["quantile_low"].map(place) + 0.06 * (i - middle)
        look = looks[name]
        style.errorbars(
            ax, line.assign(at=at), "at", line=True, color=look.colour, ls=look.linestyle, ms=3.2,
            label=look.label,
        )  # fmt: skip
        ax.plot(at, line["straight"], color=look.colour, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
    ax.axhline(0, color=style.MUTED, lw=0.6, zorder=0.9)
    last = int(curve["quantile_low"].map(place).max()) + 1
    ax.set_xticks(range(last), [_percent(low, high) for low, high in pairwise(EDGES)][:last])
    ax.set_xlim(-0.5, last - 0.5)
    style.grid(ax, "y")
    style.title(ax, "What the favourites are worth")
    style.legend(ax, loc="upper left", handlelength=2.0)


def _percent(low: float, high: float) -> str:
    """ "75-\n90%", and "top\n0.1%" at the end."""
    if high == 1.0:
        return f"top\n{100 * (1 - low):.2g}%"
    return f"{100 * low:g}–\n{100 * high:g}%"


def _write(ax: Axes, texts: pd.DataFrame, look: objectives.Look, unit: str) -> None:
    """Examples as text: what was picked and its worth, and the best of the same post."""
    ax.axis("off")
    style.title(ax, f"Picked by {look.label}")
    y, step = 0.97, 0.062
    place = {"transform": ax.transAxes, "va": "top", "fontsize": style.SMALL - 0.5,
             "fontfamily": "DejaVu Sans"}  # fmt: skip
    for _, one in texts.iterrows():
        better = f"{one['best_gold']:.1f}"
        worth = f"{one['gold']:.1f} (mean {one['gold_mean']:.1f}"
        if not np.isnan(one["gold_reference"]):
            worth += f", reference {one['gold_reference']:.1f}"
        for head, text, colour in (
            (f"{unit} {worth}), proxy {one['proxy_z']:+.1f} SD", one["text"], look.colour),
            (f"passed over: {unit} {better}", one["best_text"], style.MUTED),
        ):
            ax.text(0, y, head, color=colour, fontweight="bold", **place)
            lines = textwrap.wrap(str(text), LETTERS, max_lines=2, placeholder=" …")
            ax.text(0, y - step, "\n".join(lines), color=style.INK, linespacing=1.15, **place)
            y -= step * (1 + max(len(lines), 1)) + 0.012
        y -= 0.035


def reading(table: pd.DataFrame) -> str:
    """One sentence: whether the truth still rises in the top of what each objective likes."""
    mine = _of_first_base(table)
    late = mine[(mine["quantity"] == LATE) & mine["low"].notna()].set_index("objective")
    curve = mine[mine["quantity"] == CURVE]
    said = []
    for name in extremes(curve[wording.drawable(curve)]):
        if name not in late.index:
            continue
        one = late.loc[name]
        way = "rises" if one["low"] > 0 else "falls" if one["high"] < 0 else "neither"
        said.append(
            f"{one['label'] or name} {way} ({one['value']:+.2f}, {wording.interval(one, '.2f')})"
        )
    if not said:
        return f"{_NONE[0].upper()}{_NONE[1:]} of its top 1%."
    return (
        f"True worth ({table['unit'].iloc[0]}) from the samples between an objective's 90% and 99% "
        f"quantiles to those above: {'; '.join(said)}."
    )
