"""How people like best-of-N and PPO policies, by how far each is from its supervised base.

Best-of-N is placed at the upper bound of its KL, log N - (N-1)/N nats, PPO at the KL the paper
gives for it, the base (N = 1) at 0; the axis is stretched as the square root, on which
reward-model over-optimisation curves are smooth. All rates are direct comparisons with the
reference summaries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import wording
from analyses.choices import Count, Share, check_policy, of_splits
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.best_of_n import kl_bound
from evalsuite.stats.preference import pairwise_rates
from evalsuite.tables import Tables

TITLE = "Best-of-N and PPO, judged by people"
SOURCE = "Figures 5 and 7, human side; Tables 9 and 10 (Stiennon et al. 2020)"
DIFFERS = (
    "Uses the best-of-N summaries in the training batches, up to N = 512 where the data has them "
    "(the paper: a sweep to 2048); the KL of best-of-N is an upper bound, and that of PPO is taken "
    "from Table 9, or from the policy's name. Batches differ in posts and labelers between "
    "policies."
)
SCORES: tuple[str, ...] = ()

MAX_PANELS = 3
_ROOM = 1.7
"""End of the axis over the largest KL: what the names of lines need."""
_LINE = 0.055
"""Height of a line of numbers above a panel, as a share of the panel."""


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    reference: the policy that the others are held against.
    splits: splits of the comparisons to use, e.g. [valid2]; empty: all.
    temperature: of the base policy that best-of-N draws from; a base whose name states no
        temperature is taken as it is, unless it states a top-p.
    min_comparisons: fewer direct comparisons than this and a policy is left out, and counted.
    level: coverage of the intervals.
    """

    reference: str = REFERENCE_POLICY
    splits: tuple[str, ...] = ()
    temperature: float = 0.7
    min_comparisons: Count = 5
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    kinds = tables.policies.set_index("policy")["method"]
    rows = tables.comparisons
    for side, other in (("left", "right"), ("right", "left")):
        best = rows[f"{side}_policy"].map(kinds) == "best_of_n"
        if (best & (rows[f"{other}_policy"] == REFERENCE_POLICY)).any():
            return None
    return "no best-of-N policy was compared with reference summaries"


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rates against the reference of best-of-N, PPO and base policies, with their KL in nats.

    Raises ConfigError on a policy or split that the data does not have.
    """
    check_policy("reference", options.reference, tables)
    left_out: dict[str, int] = {}
    rows = of_splits(tables.comparisons, options.splits, left_out)
    rates = pairwise_rates(rows, against=options.reference, level=options.level)
    left_out["comparisons without the reference"] = len(rows) - int(rates["n"].sum())
    facts = tables.policies.set_index("policy")
    facts = facts.rename(columns={"method": "kind", "best_of_n": "N"})
    rates = rates.join(
        facts[["kind", "base", "objective", "temperature", "top_p", "N", "kl_nats"]], "policy"
    )

    best, ppo = rates["kind"] == "best_of_n", rates["kind"] == "ppo"
    no_kl = ppo & rates["kl_nats"].isna()
    left_out["comparisons of PPO policies of unknown KL"] = int(rates.loc[no_kl, "n"].sum())
    bases = set(rates.loc[best, "base"])
    tempered = rates["temperature"].isna() | np.isclose(rates["temperature"], options.temperature)
    plain = rates["policy"].isin(bases) | rates["base"].isin(bases)
    tempered &= rates["top_p"].isna()  # best-of-N does not draw from a nucleus
    base = plain & tempered & ~best & ~ppo & rates["objective"].isna()
    kept = (best | (ppo & rates["base"].isin(bases) & ~no_kl) | base).astype(bool)
    left_out["comparisons of policies that are no best-of-N, PPO or base of one"] = int(
        rates.loc[~kept & ~no_kl, "n"].sum()
    )
    few = kept & (rates["n"] < options.min_comparisons)
    left_out[f"comparisons of policies with fewer than {options.min_comparisons}"] = int(
        rates.loc[few, "n"].sum()
    )
    out = rates[kept & ~few].copy()
    out["kind"] = out["kind"].where(out["kind"].isin(["best_of_n", "ppo"]), "base")
    at_base = out["kind"] == "base"
    out.loc[at_base, "N"] = 1.0
    has_n = out["N"].notna()
    out.loc[has_n, "kl_nats"] = kl_bound(out.loc[has_n, "N"])
    out["kl_is_bound"] = out["kind"] == "best_of_n"
    out.insert(0, "quantity", "preference")
    out = out.sort_values(["base", "kind", "objective", "kl_nats"], ignore_index=True)
    return Result(out[_COLUMNS], left_out)


_COLUMNS = [
    "quantity", "policy", "against", "base", "kind", "objective", "N", "kl_nats", "kl_is_bound",
    "value", "se", "low", "high", "level", "n", "n_clusters", "method",
]  # fmt: skip


def plot(table: pd.DataFrame) -> Figure:
    """Preference against the square root of KL, a panel a base policy, a line an objective.

    Rates of too few clusters for an interval stay in the table.
    """
    drawn = wording.drawable(table)
    thin, table = int((~drawn).sum()), table[drawn]
    tuned = table[table["kind"] == "best_of_n"]
    bases = [str(base) for base in tuned["base"].value_counts().index[:MAX_PANELS]]
    panels = max(len(bases), 1)
    fig, axes = style.figure(
        "double" if panels > 1 else 4.4, 2.9, 1, panels, sharey=True, squeeze=False,
        width_ratios=[2.2, *[1.0] * (panels - 1)],
    )  # fmt: skip
    for ax, base in zip(axes[0], bases, strict=False):
        _panel(ax, table[table["base"] == base])
    fig.draw_without_rendering()  # the layout decides how much room the numbers have
    levels = max((_mark_sizes(ax, table[table["base"] == base])
                  for ax, base in zip(axes[0], bases, strict=False)), default=0)  # fmt: skip
    for ax, base in zip(axes[0], bases, strict=False):
        own = table.loc[(table["base"] == base) & (table["kind"] == "base"), "policy"]
        name = style.policy_style(str(own.iloc[0]) if len(own) else base).label
        style.title(ax, f"Base: {name}" + "\n" * levels)
    first = axes[0, 0]
    against = style.policy_style(str(table["against"].iloc[0])).label if len(table) else ""
    style.rate_axis(first, "y", label=f"preferred to {against}")
    for ax in axes[0]:
        ax.tick_params(axis="y", length=0)
        ax.axhline(0.5, color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0)
    if bases:
        style.legend(first, loc="lower right")
    style.note(fig, "KL of best-of-N is an upper bound")
    style.note_table_only(fig, thin, "policy", "policies")
    style.note_errorbars(fig)
    for ax, base in zip(axes[0], bases, strict=False):
        _label_lines(ax, table[table["base"] == base])
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: of each kind the policy whose interval has the highest lower end."""
    said, unranked = [], table["n"] < wording.ENOUGH
    for kind, name in (("best_of_n", "best-of-N"), ("ppo", "PPO"), ("base", "the base")):
        rows = table[(table["kind"] == kind) & table["low"].notna()]
        if rows.empty:
            continue
        best = wording.surest(rows)
        unranked[wording.well_known(rows).index] = False
        # The label of a PPO policy has its KL; best-of-N has only a bound.
        far = f", at most {best['kl_nats']:.1f} nats" if kind == "best_of_n" else ""
        said.append(
            f"{name} {best['value']:.1%} ({wording.named(best['policy'])}{far}, "
            f"{wording.interval(best)}, n = {best['n']:,})"
        )
    if not said:
        return "No best-of-N policy has enough comparisons for an interval."
    rest = ""
    if few := int(unranked.sum()):
        who = wording.counted(few, "policy", "policies")
        rest = f"; {who} with fewer than {wording.ENOUGH} labels not ranked"
    return (
        f"Preferred to {wording.named(table['against'].iloc[0])}, the surest policy of each kind: "
        f"{'; '.join(said)}{rest}."
    )


def _lines(rows: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Each line's objective, the policy that lends its look, and its points from the base on."""
    base, tuned = rows[rows["kind"] == "base"], rows[rows["kind"] != "base"]
    lines = []
    for (kind, objective), part in tuned.groupby(["kind", "objective"], dropna=False):
        name = "PPO" if kind == "ppo" else "best-of-N"
        points = pd.concat([base.head(1), part]).sort_values("kl_nats")
        label = name if pd.isna(objective) else str(objective)
        lines.append((label, str(part["policy"].iloc[-1]), points))
    return lines


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    """Lines from the base through each objective's policies."""
    ax.set_xscale(
        "function",
        functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x)),
    )
    far = float(rows["kl_nats"].max())
    ax.set_xlim(-0.001 * far, far * _ROOM)
    for _, policy, points in _lines(rows):
        look = style.policy_style(policy)
        ax.plot(
            points["kl_nats"], points["value"], color=look.colour, lw=1.2, ls=look.linestyle,
            zorder=1,
        )  # fmt: skip
    for policy, one in rows.groupby("policy"):
        style.errorbars(ax, one, "kl_nats", policy=str(policy))
    for kind, name in (("base", "base"), ("best_of_n", "best-of-N"), ("ppo", "PPO")):
        for policy in rows.loc[rows["kind"] == kind, "policy"].head(1):
            marker = style.policy_style(str(policy)).marker
            ax.plot([], [], color=style.MUTED, marker=marker, ms=4, ls="none", label=name)
    ticks = [t for t in (0, 1, 2, 4, 6, 9, 14, 20, 30, 50, 100) if t <= far * _ROOM]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("KL from the base, nats\n(square-root scale)")
    style.grid(ax, "y")


def _mark_sizes(ax: Axes, rows: pd.DataFrame) -> int:
    """N at its KL bound above the panel, on two lines where one has no room; lines used."""
    sizes = sorted(rows.loc[rows["kind"] == "best_of_n", "N"].unique())
    room = 14 / (ax.get_position().width * ax.figure.get_size_inches()[0] * 72)
    span = np.sqrt(ax.get_xlim()[1])
    taken = [-1.0, -1.0]
    for n in sizes:
        at = float(np.sqrt(kl_bound(n)) / span)
        level = next((i for i, last in enumerate(taken) if at - last > room), None)
        place: dict[str, Any] = {
            "transform": ax.get_xaxis_transform(),
            "clip_on": False,
            "color": style.MUTED,
        }
        ax.plot([float(kl_bound(n))] * 2, [1.0, 1.02 + _LINE * (level or 0)], lw=0.6, **place)
        if level is not None:
            taken[level] = at
            ax.text(
                float(kl_bound(n)), 1.035 + _LINE * level, f"{n:.0f}", ha="center",
                fontsize=style.SMALL - 1, fontfamily="DejaVu Sans", **place,
            )  # fmt: skip
    ax.annotate(
        "N =", (0, 1.035), xycoords="axes fraction", ha="left", fontsize=style.SMALL - 1,
        color=style.MUTED, fontfamily="DejaVu Sans",
    )  # fmt: skip
    return 2 if taken[1] >= 0 else 1


def _label_lines(ax: Axes, rows: pd.DataFrame) -> None:
    """Each line's objective beside its last point, off the other lines."""
    lines = _lines(rows)
    style.label_directly(
        ax,
        [float(points["kl_nats"].iloc[-1]) for _, _, points in lines],
        [float(points["value"].iloc[-1]) for _, _, points in lines],
        [label for label, _, _ in lines],
        [style.policy_style(policy).colour for _, policy, _ in lines],
        keep_off=True,
    )
