"""How much of what human feedback gains over supervised learning is length.

Every policy that was tuned or chosen is held against the supervised policy of its size and
temperature, on the same posts: the gain in truth as it is, and what is left of it at equal length,
by regression on log length and within bins of length (`stats/length_share.py`). Best-of-N is taken
from the pool of samples, where it is chosen from the very samples it is held against.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analyses import objectives, outcomes, wording
from analyses.choices import Count, Share
from analyses.divergence import extremes
from analyses.samples import Samples, arrange, of_main_domain
from evalsuite.experiment import Experiment
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.best_of_n import best_of_n_by_prompt
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.length_share import LengthShare, length_share_bins, length_share_regression
from evalsuite.tables import Tables

TITLE = "How much of each gain is length"
SOURCE = "Past the paper: Appendix F, and Singhal et al. 2023 (arXiv 2310.03716)"
DIFFERS = (
    "The paper controls length among labels; here it is the gain in truth over the supervised "
    "policy of the same size and temperature. Singhal et al. ask how much of a reward gain lies "
    "outside bins of length; here the same of the truth, and by regression too. Length may be what "
    "a better summary needs: its share describes and does not blame."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

RAW, REGRESSION, BINS = "raw", "regression", "bins"
SHARE, SHARE_BINS, SLOPE = "share", "share_bins", "slope"
TUNED = ("human feedback", "rouge", "best-of-n")
MAX_ROWS = 12
"""Policies of a panel; beyond it the table alone has them."""
NAMED = 4
"""Policies that the sentence names."""
_KEYS = ["source", "policy", "objective", "best_of_n", "against"]
_NONE = "no policy has enough posts for an interval"
_SETTING = ["size", "temperature"]
_FACTS = ["policy", "label", "kind", *_SETTING, "parameters", "kl_coef", "best_of_n", "main"]


@dataclass(frozen=True)
class Options:
    """Settings of the length control.

    length: what counts as length, "chars" or "tokens".
    bins: of equally many summaries.
    ns: best-of-N to take from the pool, those that it has samples for.
    level: coverage of the intervals.
    """

    length: Literal["chars", "tokens"] = "chars"
    bins: Count = 10
    ns: tuple[Count, ...] = (4, 16, 64)
    level: Share = 0.95


class _Rows(NamedTuple):
    """Summaries of a policy and of what it is held against, as `stats/length_share.py` takes them.

    All (n,); treated is True for the policy.
    """

    gold: Floats
    length: Floats
    treated: NDArray[np.bool_]
    seeds: Floats
    posts: NDArray[np.object_]


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.experiment is None:
        return "there is no experiment"
    pool = tables.experiment["pool"]
    if any(str(c).startswith("proxy:") and c != "proxy:gold" for c in pool) and len(pool):
        return None
    facts = tables.experiment["policies"]
    tuned, plain = facts[facts["method"].isin(TUNED)], _supervised(facts)
    if tuned.merge(plain, on=_SETTING).empty:
        return "no tuned policy stands beside a supervised one of its size and temperature"
    return tables.experiment.lacks("summaries")


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rows by policy; nothing is random here.

    source: "summaries" (evaluated ones) or "pool" (best-of-N, chosen from the pool). quantity:
    "raw", mean gold less that of `against`; "regression" and "bins", the gain at equal length;
    "share" and "share_bins", the part of the gain that length explains by each (undefined where
    the interval of raw covers 0); "slope", gold per unit of log length. covered: share of the
    summaries in lengths that both write (bins). longer: mean length over that of `against`. An
    empty summary counts as one character or token.
    """
    experiment = tables.experiment
    assert experiment is not None
    left_out: dict[str, int] = {}
    out = _of_summaries(experiment, options, left_out) + _of_pool(experiment, options, left_out)
    table = pd.DataFrame(out, columns=["objective"] if not out else None)
    facts = objectives.of_experiment(
        experiment["objectives"], sorted(set(table["objective"].dropna()) - {""})
    )
    facts = facts.rename(columns={name: f"objective_{name}" for name in objectives.FACTS})
    table = table.merge(facts, on="objective", how="left")
    table = table.assign(unit=experiment.gold_unit, length_unit=options.length)
    return Result(table.reindex(columns=_COLUMNS), left_out)


_COLUMNS = [
    "source", "quantity", *_FACTS, "objective", *(f"objective_{name}" for name in objectives.FACTS),
    "against", "unit", "length_unit", "longer", "covered", *Estimate._fields,
]  # fmt: skip


def _supervised(facts: pd.DataFrame) -> pd.DataFrame:
    """The supervised policy of each size and temperature, as `against`."""
    plain = facts[(facts["method"] == "supervised") & outcomes.plain(facts)]
    plain = plain.drop_duplicates(_SETTING)[["policy", *_SETTING]]
    return plain.rename(columns={"policy": "against"})


def _of_summaries(
    experiment: Experiment, options: Options, left_out: dict[str, int]
) -> list[dict[str, object]]:
    """Evaluated policies against the supervised one of their size and temperature."""
    facts = experiment["policies"].drop_duplicates("policy").assign(kind=lambda f: f["method"])
    tuned = facts[facts["method"].isin(TUNED)].merge(_supervised(facts), on=_SETTING, how="left")
    if lost := int(tuned["against"].isna().sum()):
        left_out["policies without a supervised one of their size and temperature"] = lost
    summaries = of_main_domain(experiment["summaries"])
    summaries = summaries.rename(columns={options.length: "_length"})
    known = summaries["gold"].notna() & summaries["_length"].notna()
    wanted = summaries["policy"].isin(tuned["policy"])
    if lost := int((wanted & ~known).sum()):
        left_out["summaries of unknown gold or length"] = lost
    by_policy = dict(list(summaries[known].groupby("policy")))
    out = []
    for fact in tuned.dropna(subset="against").to_dict("records"):
        sides = [by_policy.get(fact[name]) for name in ("policy", "against")]
        if sides[0] is None or sides[1] is None:
            continue
        both = pd.concat(sides)
        rows = _Rows(
            both["gold"].to_numpy(), np.maximum(both["_length"].to_numpy(), 1),
            (both["policy"] == fact["policy"]).to_numpy(), both["seed"].to_numpy(),
            both["post_id"].to_numpy(dtype=object),
        )  # fmt: skip
        keys = {name: fact[name] for name in (*_FACTS, "objective", "against")}
        out += _records(rows, rows, options, {"source": "summaries", **keys})
    return out


def _of_pool(
    experiment: Experiment, options: Options, left_out: dict[str, int]
) -> list[dict[str, object]]:
    """Best-of-N under each objective against one sample of the same post."""
    pool = experiment["pool"]
    known = pool[options.length].notna()
    if lost := int((~known).sum()):
        left_out["samples of unknown length"] = lost
    log_length = np.log(np.maximum(pool[options.length], 1))
    pool = pool.assign(**{"proxy:log length": log_length})[known]
    if pool.empty:
        return []
    facts = experiment["policies"].drop_duplicates("policy").set_index("policy")
    out = []
    for samples in arrange(pool, left_out):
        base = facts.reindex([samples.base]).iloc[0]
        for name, proxy in samples.proxies.items():
            scored = ~np.isnan(proxy).any(axis=1)
            if name in ("gold", "log length", "length") or not scored.any():
                continue
            for n in options.ns:
                if not 1 < n <= samples.gold.shape[1]:
                    continue
                keys = {
                    "source": "pool", "kind": "best-of-n", "best_of_n": n, "objective": name,
                    "against": samples.base, **{key: base[key] for key in (*_SETTING, "parameters")}
                }  # fmt: skip
                expected = _expected(samples, proxy, scored, n)
                out += _records(expected, _drawn(samples, proxy, scored, n), options, keys)
    return out


def _expected(samples: Samples, proxy: Floats, scored: NDArray[np.bool_], n: int) -> _Rows:
    """One row a cell and side: expected gold and log length of the best of n, and of any sample."""
    length = samples.proxies["log length"][scored]
    gold, proxy = samples.gold[scored], proxy[scored]
    best = [best_of_n_by_prompt(proxy, of, [n])[:, 0] for of in (gold, length)]
    return _two_sides(
        samples, scored, 1, np.concatenate([best[0], gold.mean(axis=1)]),
        np.exp(np.concatenate([best[1], length.mean(axis=1)])),
    )  # fmt: skip


def _drawn(samples: Samples, proxy: Floats, scored: NDArray[np.bool_], n: int) -> _Rows:
    """Whole summaries for the bins: of every n samples the best one, and the first one."""
    cells, N = int(scored.sum()), samples.gold.shape[1]
    times = N // n
    blocks = [
        values[scored][:, : times * n].reshape(cells * times, n)
        for values in (proxy, samples.gold, samples.proxies["log length"])
    ]
    best = blocks[0].argmax(axis=1)
    sides = [np.concatenate([of[np.arange(len(of)), best], of[:, 0]]) for of in blocks[1:]]
    return _two_sides(samples, scored, times, sides[0], np.exp(sides[1]))


def _two_sides(
    samples: Samples, scored: NDArray[np.bool_], times: int, gold: Floats, length: Floats
) -> _Rows:
    """Rows of the cells that were scored, each `times` for the best and then for the others."""
    seeds, posts = (np.repeat(of[scored], times) for of in (samples.seeds, samples.posts))
    treated = np.repeat([True, False], len(seeds))
    return _Rows(gold, length, treated, np.tile(seeds, 2), np.tile(posts, 2))


def _records(
    rows: _Rows, whole: _Rows, options: Options, keys: dict[str, Any]
) -> list[dict[str, object]]:
    """Rows of the table for one policy. whole: the same policy in whole summaries, for the bins."""
    line: LengthShare = length_share_regression(**rows._asdict(), level=options.level)
    bins: LengthShare = length_share_bins(**whole._asdict(), bins=options.bins, level=options.level)
    mean = [
        float(np.exp(np.log(rows.length[side]).mean())) for side in (rows.treated, ~rows.treated)
    ]
    keys = {**keys, "longer": mean[0] / mean[1]}
    found = {
        RAW: line.raw, REGRESSION: line.held_equal, BINS: bins.held_equal, SHARE: line.share,
        SHARE_BINS: bins.share, SLOPE: line.slope,
    }  # fmt: skip
    return [
        row(estimate, quantity=quantity, **keys,
            covered=bins.covered if quantity in (BINS, SHARE_BINS) else 1.0)
        for quantity, estimate in found.items()
    ]  # fmt: skip


# --- the figure --------------------------------------------------------------------------------


def plot(table: pd.DataFrame) -> Figure:
    """Raw gain, joined with what is left at equal length; PPO above, best-of-N below.

    Of many policies those of Figure 1 and those that gain most, of many objectives the extremes;
    policies of rounds stay in the table.
    """
    raw = table[(table["quantity"] == RAW) & wording.drawable(table)]
    best = raw["kind"] == "best-of-n"
    if (raw.loc[best, "source"] == "pool").any():
        best &= raw["source"] == "pool"
    loop = raw["objective_round"].notna()
    tuned = raw[(raw["kind"] != "best-of-n") & ~loop]
    if len(tuned) > MAX_ROWS:
        strength = (tuned["value"] + 1e6 * (tuned["main"] == 1)).sort_values(ascending=False)
        tuned = tuned.loc[strength.index[:MAX_ROWS]]
    chosen = extremes(_objective_facts(raw[best]), MAX_ROWS // 3)
    panels = [
        (title, _in_order(rows))
        for title, rows in (
            ("PPO", tuned),
            ("Best of N", raw[best & raw["objective"].isin(chosen)]),
        )
        if len(rows)
    ]
    if not panels:
        fig, ax = style.figure("single", 1.0)
        ax.axis("off")
        ax.text(0.5, 0.5, _NONE, ha="center", transform=ax.transAxes, fontsize=style.SMALL)
        return fig
    counts = [len(rows) for _, rows in panels]
    fig, axes = style.figure(
        6.0, 0.8 + 0.2 * sum(counts) + 0.3 * len(panels), len(panels), sharex=True,
        squeeze=False, height_ratios=[count + 0.4 for count in counts],
    )  # fmt: skip
    looks = objectives.looks(_objective_facts(table))
    for ax, (title, rows) in zip(axes[:, 0], panels, strict=True):
        _dumbbells(ax, rows, table, looks)
        style.title(ax, title)
    axes[-1, 0].set_xlabel(f"gain in {table['unit'].iloc[0]} over the supervised policy")
    _explain(axes[0, 0])
    if rest := len(raw) - sum(counts):
        style.note(fig, f"{wording.counted(rest, 'other gain')} in the table only")
    style.note(fig, "length's share: of the gain, by regression, ± 1 SE")
    style.note_errorbars(fig)
    return fig


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a panel by size, objective and setting."""
    facts = _objective_facts(rows)
    place = {name: i for i, name in enumerate(objectives.in_order(facts)["objective"])}
    rank = rows["objective"].map(place)
    order = ["parameters", "_rank", "kl_coef", "best_of_n"]
    return rows.assign(_rank=rank).sort_values(order, kind="stable").reset_index(drop=True)


def _objective_facts(rows: pd.DataFrame) -> pd.DataFrame:
    names = [f"objective_{name}" for name in objectives.FACTS]
    facts = rows[["objective", *names]].set_axis(["objective", *objectives.FACTS], axis=1)
    return facts.assign(label=facts["label"].fillna(""), kind=facts["kind"].fillna(""))


def _dumbbells(
    ax: Axes, rows: pd.DataFrame, table: pd.DataFrame, looks: dict[str, objectives.Look]
) -> None:
    """A row a policy: filled raw, open by regression, a bar by bins; length's share beside."""
    aside: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"), "xytext": (4, 0), "textcoords": "offset points",
        "va": "center", "fontsize": style.SMALL - 0.5, "color": style.MUTED,
        "fontfamily": "DejaVu Sans", "annotation_clip": False,
    }  # fmt: skip
    found = table.assign(policy=table["policy"].fillna("")).set_index([*_KEYS, "quantity"])
    for y, one in zip(-np.arange(len(rows), dtype=float), rows.to_dict("records"), strict=True):
        keys = tuple("" if name == "policy" and pd.isna(one[name]) else one[name] for name in _KEYS)
        held, bins, share = (_found(found, keys, name) for name in (REGRESSION, BINS, SHARE))
        colour = looks[one["objective"]].colour
        marker = "D" if one["kind"] == "best-of-n" else "^"
        look: dict[str, Any] = {
            "color": colour, "marker": marker, "lw": 0, "elinewidth": 1.0, "ms": 4.5, "mew": 1.0
        }  # fmt: skip
        ax.plot([one["value"], held["value"]], [y + 0.15, y - 0.15], color=style.FAINT, lw=1.2,
                zorder=0)  # fmt: skip
        ax.errorbar([one["value"]], [y + 0.15], xerr=[one["se"]], **look)
        ax.errorbar([held["value"]], [y - 0.15], xerr=[held["se"]], mfc="white", **look)
        ax.plot([bins["value"]], [y - 0.15], marker="|", ms=7, mew=1.4, color=colour, ls="none")
        said = f"{100 * share['value']:.0f} ± {100 * share['se']:.0f}%"
        ax.annotate("–" if np.isnan(share["low"]) else said, (1, y), **aside)
    if ax.get_subplotspec().is_first_row():
        ax.annotate("length's\nshare", (1, 0.8), **{**aside, "va": "bottom"})
    ax.set_yticks(-np.arange(len(rows)), [_name(one) for one in rows.to_dict("records")])
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.axvline(0, color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0.9)
    style.grid(ax, "x")


def _found(table: pd.DataFrame, keys: tuple[Any, ...], quantity: str) -> pd.Series:
    """The row of one policy and quantity; keys that are NaN are matched too."""
    return table.loc[[(*keys, quantity)]].iloc[0]


def _name(one: Mapping[Hashable, Any]) -> str:
    """The policy's word; of best-of-N from the pool its objective and N."""
    if one["source"] == "pool":
        label = one["objective"] if pd.isna(one["objective_label"]) else one["objective_label"]
        return f"{label}, N = {one['best_of_n']:g}"
    policy = str(one["policy"])
    return style.policy_style(policy).label if pd.isna(one["label"]) else str(one["label"])


def _explain(ax: Axes) -> None:
    """What the marks mean."""
    look: dict[str, Any] = {"color": style.MUTED, "ls": "none", "ms": 4.5}
    ax.plot([], [], marker="o", label="as it is", **look)
    ax.plot([], [], marker="o", mfc="white", label="at equal length", **look)
    ax.plot([], [], marker="|", label="within bins", **{**look, "ms": 7, "mew": 1.4})
    style.legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0,
                 borderaxespad=0.2, handletextpad=0.2, columnspacing=1.0)  # fmt: skip


def reading(table: pd.DataFrame) -> str:
    """One sentence: length's share of the gains that are shown, main policies first."""
    shown = table[(table["quantity"] == SHARE) & table["objective_round"].isna()]
    ppo = shown["kind"] != "best-of-n"
    if (shown["source"] == "pool").any():
        largest = shown.groupby("objective", dropna=False)["best_of_n"].transform("max")
        shown = shown[ppo | ((shown["source"] == "pool") & (shown["best_of_n"] == largest))]
    known = shown[shown["low"].notna()]
    if known.empty:
        return "No gain over a supervised policy is told from 0, so none has a share of length."
    rank = known.assign(_main=known["main"] != 1, _best=known["kind"] == "best-of-n")
    named = rank.sort_values(["_best", "_main", "parameters"], kind="stable").head(NAMED)
    said = "; ".join(
        f"{_name(one)} {one['value']:.0%} ({wording.interval(pd.Series(one), '.0%')})"
        for one in named.to_dict("records")
    )
    none = len(shown) - len(known)
    rest = f"; {wording.counted(none, 'gain')} not told from 0" if none else ""
    said = said.replace(" -0%", " 0%")
    return (
        f"Share of the gain in {table['unit'].iloc[0]} over the supervised policy that length "
        f"explains: {said}{rest}."
    )
