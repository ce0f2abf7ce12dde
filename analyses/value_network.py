"""What PPO obtains with a value network of its own, and with one shared with the policy.

Two runs differ in nothing else: policy, objective and KL coefficient are the same. The reward is
the objective's own, without the KL penalty, so it tells which run optimises better, not which one
writes better; the truth of the final summaries is compared beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyses import objectives, wording
from analyses.choices import Count, Share
from analyses.samples import of_main_domain
from evalsuite.experiment import Experiment
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row, t_interval
from evalsuite.stats.replicates import crossed_difference
from evalsuite.tables import Tables

TITLE = "Separate and shared value network"
SOURCE = "Figure 11 (Stiennon et al. 2020)"
DIFFERS = (
    "Seeds are shown one by one and the difference at the end has an interval, over the posts of "
    "the evaluation where the final policies wrote on them; the paper shows one curve each."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

REWARD, SEED = "reward", "reward of a seed"
FINAL_REWARD, FINAL_GOLD, LAST = "final reward", "final gold", "last updates"
SEPARATE, SHARED = "separate", "shared"
MAX_PANELS = 3

_GROUP = ["size", "objective", "kl_coef"]
_WORDS = {FINAL_REWARD: "reward", FINAL_GOLD: "truth", LAST: "reward over the last updates"}
_LOOKS = {SEPARATE: ("#1f5fa8", "-"), SHARED: ("#d1622b", (0, (5, 1.6)))}


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    last: updates at the end that are averaged where no final policies can be compared.
    level: coverage of the intervals.
    """

    last: Count = 5
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.experiment is None:
        return "there is no experiment"
    if reason := tables.experiment.lacks("training"):
        return reason
    if _both(tables.experiment["training"]).empty:
        return "no PPO run has a twin that differs in the value network alone"
    return None


def _both(training: pd.DataFrame) -> pd.DataFrame:
    """Rows of the settings that were run with both kinds of value network."""
    kinds = training[training["value_network"].isin([SEPARATE, SHARED])]
    return kinds[kinds.groupby(_GROUP, dropna=False)["value_network"].transform("nunique") == 2]


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rows by size, objective and KL coefficient.

    reward: mean over seeds at an update, its SE over seeds (NaN for one). reward of a seed: one
    run's. final reward, final gold: separate less shared of the summaries of the final policies,
    paired by seed and post, of the objective's reward and of the truth. last updates: the same of
    the mean reward of the last updates, paired by seed; only where the first two are missing.
    """
    experiment = tables.experiment
    assert experiment is not None
    training = _both(experiment["training"]).assign(seed=lambda t: t["seed"].fillna(0))
    left_out = {"updates of runs without a twin": len(experiment["training"]) - len(training)}
    unknown = training["reward"].isna()
    left_out["updates without a reward"] = int(unknown.sum())
    training = training[~unknown]
    rows: list[dict[str, object]] = []
    for group, runs in training.groupby(_GROUP, dropna=False):
        keys = dict(zip(_GROUP, group, strict=True))
        for kind, of_kind in runs.groupby("value_network"):
            rows += [{**keys, "value_network": kind, **one} for one in _curve(of_kind, options)]
        final = _final(experiment, keys, options.level) or _last(runs, options)
        rows += [{**keys, "value_network": SEPARATE, "against": SHARED, **one} for one in final]
    table = pd.DataFrame(rows)
    facts = objectives.of_experiment(experiment["objectives"], table["objective"].unique())
    table = table.merge(facts[["objective", "label"]], on="objective", how="left")
    table = table.assign(unit=experiment.gold_unit).reindex(columns=_COLUMNS)
    return Result(table, {reason: count for reason, count in left_out.items() if count})


_COLUMNS = [
    *_GROUP, "label", "quantity", "value_network", "against", "seed", "update", "unit",
    *Estimate._fields,
]  # fmt: skip


def _over_seeds(values: pd.Series, level: float, method: str) -> Estimate:
    """Mean and its SE over seeds; an interval needs five of them."""
    n = len(values)
    se = float(values.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    return t_interval(
        float(values.mean()), se, n=n, n_clusters=n, method=method, level=level
    )  # fmt: skip


def _curve(runs: pd.DataFrame, options: Options) -> list[dict[str, object]]:
    """Mean reward at each update, then that of each seed."""
    by_seed = runs.groupby(["seed", "update"])["reward"].mean().reset_index()
    out = [
        row(
            _over_seeds(of["reward"], options.level, "mean over seeds"), quantity=REWARD,
            update=update,
        )
        for update, of in by_seed.groupby("update")
    ]  # fmt: skip
    for _, one in by_seed.iterrows():
        alone = _over_seeds(pd.Series([one["reward"]]), options.level, "one run")
        out.append(row(alone, quantity=SEED, update=one["update"], seed=one["seed"]))
    return out


def _final(
    experiment: Experiment, keys: dict[str, object], level: float
) -> list[dict[str, object]]:
    """Differences of the final policies' summaries; none where one of them was not evaluated."""
    policies = experiment["policies"]
    mine = (policies[_GROUP] == pd.Series(keys)).all(axis=1) & policies["best_of_n"].isna()
    names = policies[mine].pivot_table(
        index=["temperature", "top_p"], columns="value_network", values="policy", aggfunc="first",
        dropna=False, observed=True,
    )  # fmt: skip
    names = names.reindex(columns=[SEPARATE, SHARED]).dropna()
    if names.empty:
        return []
    summaries = of_main_domain(experiment["summaries"])
    # At the temperature with most summaries, the same for both.
    counts = summaries["policy"].value_counts()
    most = names.map(lambda name: counts.get(name, 0)).min(axis=1).to_numpy().argmax()
    sides = [
        summaries[summaries["policy"] == names.iloc[most][kind]].groupby(["seed", "post_id"])
        for kind in (SEPARATE, SHARED)
    ]
    out = []
    for quantity, column in ((FINAL_REWARD, "reward"), (FINAL_GOLD, "gold")):
        pair = pd.concat([side[column].mean() for side in sides], axis=1, keys=[SEPARATE, SHARED])
        pair = pair.dropna().reset_index()
        if len(pair):
            estimate = crossed_difference(
                pair[SEPARATE], pair[SHARED], seeds=pair["seed"], posts=pair["post_id"],
                level=level,
            )  # fmt: skip
            out.append(row(estimate, quantity=quantity))
    return out


def _last(runs: pd.DataFrame, options: Options) -> list[dict[str, object]]:
    """Difference of the last updates that both runs of a seed made, over seeds."""
    rewards = runs.groupby(["seed", "update", "value_network"])["reward"].mean().unstack()
    ends = rewards.dropna().groupby("seed").tail(options.last).groupby("seed").mean()
    if ends.empty:
        return []
    method = f"last {options.last} updates, paired by seed"
    return [row(_over_seeds(ends[SEPARATE] - ends[SHARED], options.level, method), quantity=LAST)]


def _settings(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Name and rows of each setting; the size is said where there are several."""
    several = table["size"].nunique() > 1
    out = []
    for _, rows in table.groupby(_GROUP, dropna=False, sort=False):
        first = rows.iloc[0]
        name = first["label"] if isinstance(first["label"], str) else first["objective"]
        size = f"{first['size']}, " if several else ""
        out.append((f"{size}{name}, KL coefficient {first['kl_coef']:g}", rows))
    return out


def plot(table: pd.DataFrame) -> Figure:
    """Reward over updates: means over seeds, a thin line a run; a panel a setting."""
    settings = _settings(table)
    shown = settings[:MAX_PANELS]
    fig, axes = style.figure(
        "double" if len(shown) > 2 else (4.2, 6.4)[len(shown) - 1], 2.7, 1, len(shown),
        squeeze=False,
    )  # fmt: skip
    for ax, (name, rows) in zip(axes[0], shown, strict=True):
        _panel(ax, rows)
        style.title(ax, name + "\n" * _final_words(ax, rows))
    axes[0, 0].set_ylabel("reward of the objective")
    if rest := len(settings) - len(shown):
        style.note(fig, f"{wording.counted(rest, 'setting')} in the table only")
    if table["seed"].nunique() > 1:
        style.note(fig, "thin: one seed each; thick: their mean")
        style.note(fig, "band: 1 SE over seeds")
    for ax, (_, rows) in zip(axes[0], shown, strict=True):
        _name(ax, rows)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    several = rows["seed"].nunique() > 1
    for kind, (colour, line) in _LOOKS.items():
        mine = rows[rows["value_network"] == kind]
        mean = mine[mine["quantity"] == REWARD].sort_values("update")
        ax.plot(mean["update"], mean["value"], color=colour, ls=line, lw=1.6, zorder=3)
        if not several:
            continue
        ax.fill_between(
            mean["update"], mean["value"] - mean["se"], mean["value"] + mean["se"], color=colour,
            alpha=0.15, lw=0,
        )  # fmt: skip
        for _, run in mine[mine["quantity"] == SEED].groupby("seed"):
            run = run.sort_values("update")
            ax.plot(run["update"], run["value"], color=colour, lw=0.5, alpha=0.55, zorder=2)
    ax.set_xlabel("update of PPO")
    style.grid(ax, "y")


def _final_words(ax: Axes, rows: pd.DataFrame) -> int:
    """The difference at the end, under the title; the lines it takes."""
    said = []
    for _, one in rows[rows["quantity"].isin(list(_WORDS))].iterrows():
        error = f" ± {one['se']:.2f}" if one["se"] == one["se"] else ""
        said.append(f"{_WORDS[one['quantity']]} {one['value']:+z.2f}{error}")
    if said:
        ax.annotate(
            f"separate less shared: {', '.join(said)}".replace("-", "−"), (0, 1.03),
            xycoords="axes fraction", fontsize=style.SMALL, color=style.MUTED,
            fontfamily="DejaVu Sans",
        ).set_in_layout(False)  # fmt: skip
    return 1 if said else 0


def _name(ax: Axes, rows: pd.DataFrame) -> None:
    """Each line's name at its end."""
    means = rows[rows["quantity"] == REWARD].sort_values("update")
    ends = {kind: means[means["value_network"] == kind].iloc[-1] for kind in _LOOKS}
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= means["update"].max()]
    ax.set_xticks(ticks)
    ax.set_xlim(low, high + 0.24 * (high - low))
    style.label_directly(
        ax, [float(end["update"]) for end in ends.values()],
        [float(end["value"]) for end in ends.values()], list(ends),
        [colour for colour, _ in _LOOKS.values()],
    )  # fmt: skip


def reading(table: pd.DataFrame) -> str:
    """One sentence: the difference at the end, of each setting."""
    said = []
    for name, rows in _settings(table):
        parts = [
            f"{_WORDS[one['quantity']]} {one['value']:+z.2f} ({wording.interval(one, '.2f')})"
            for _, one in rows[rows["quantity"].isin(list(_WORDS))].iterrows()
        ]
        if parts:
            said.append(f"{name}: {', '.join(parts)}")
    if not said:
        return "No final difference between separate and shared value networks can be told."
    return f"Separate less shared value network, {'; '.join(said)}."
