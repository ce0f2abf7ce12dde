"""Evaluated summaries beside what their policies are, and means of them over seeds and posts.

What the analyses of trained policies share. tests/analyses/test_outcomes.py has it by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analyses import objectives
from evalsuite.experiment import Experiment
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.style import PolicyStyle
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.stats.replicates import crossed_mean
from evalsuite.tables import Tables

METHODS = ("pretrained", "supervised", "human feedback")
"""Methods of Figure 1, in its order."""

FACTS = [
    "label", "method", "size", "parameters", "temperature", "top_p", "objective", "kl_coef",
    "value_network", "best_of_n", "round", "main",
]  # fmt: skip
"""Columns of the policies that `evaluated` adds to the summaries."""

_SHOWN_AS = {
    "pretrained": "pretrain_12b", "supervised": "sup4_6b", "human feedback": "sup4_6b_ppo_rm4_6b",
    "rouge": "sup4_6b_ppo_rouge", "best-of-n": "sup4_6b_bo64_rm4_6b",
    "reference": REFERENCE_POLICY,
}  # fmt: skip

LABELERS, GOLD = "labelers", "gold"
TRUTHS = {LABELERS: "expected", GOLD: "preferred"}
"""Who prefers a summary to the reference -> the column that says so."""


def evaluated(experiment: Experiment) -> pd.DataFrame:
    """Evaluated summaries with the `FACTS` of their policies; those of an unlisted policy go."""
    facts = experiment["policies"].drop_duplicates("policy")[["policy", *FACTS]]
    rows = experiment["summaries"]
    return rows.drop(columns=set(FACTS) & set(rows.columns)).merge(facts, on="policy")


def home(domains: pd.Series) -> str:
    """The domain that policies are trained on: "tldr", else the one with most rows."""
    counts = domains.value_counts()
    return "tldr" if "tldr" in counts.index else str(counts.index[0]) if len(counts) else ""


def plain(policies: pd.DataFrame) -> pd.Series[bool]:
    """Whether a policy samples from its whole distribution, not from a nucleus of it."""
    return policies["top_p"].isna() | (policies["top_p"] == 1)


def lacks_main(tables: Tables) -> str | None:
    """Why there is no summary of a policy of Figure 1; None when there is one."""
    if tables.experiment is None:
        return "there is no experiment"
    if reason := tables.experiment.lacks("policies", "summaries"):
        return reason
    if main_rows(tables.experiment).empty:
        return "no summary is of a main policy, one for each size and method"
    return None


def main_rows(experiment: Experiment) -> pd.DataFrame:
    """Evaluated summaries of the policies of Figure 1, by method and size."""
    rows = evaluated(experiment)
    rows = rows[(rows["main"] == 1) & rows["method"].isin(METHODS)]
    rank = rows["method"].map({method: place for place, method in enumerate(METHODS)})
    order = ["_rank", "parameters", "policy"]
    return rows.assign(_rank=rank).sort_values(order, kind="stable").drop(columns="_rank")


def mean_of(
    rows: pd.DataFrame, column: str, level: float, *, limits: tuple[float, float] | None = None
) -> Estimate:
    """Mean of a column over crossed seeds and posts; rows without a value are left out.

    limits: of the quantity; the interval ends there. Rows without a seed count as one seed.
    """
    known = rows[np.isfinite(rows[column])]
    if known.empty:
        return undefined(f"no {column} is known", level=level)
    estimate = crossed_mean(
        known[column], seeds=known["seed"].fillna(-1), posts=known["post_id"], level=level
    )
    if limits is None:
        return estimate
    low, high = (float(np.clip(end, *limits)) for end in (estimate.low, estimate.high))
    return estimate._replace(low=low, high=high)


def references(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row a post with what `column` says of its reference, as if of one seed."""
    known = rows.dropna(subset=column).drop_duplicates("post_id")
    return known.assign(policy=REFERENCE_POLICY, seed=0.0)


def without(counts: dict[str, int]) -> dict[str, int]:
    """Reasons that left rows out."""
    return {reason: int(count) for reason, count in counts.items() if count}


OBJECTIVE_FACTS = [f"objective_{fact}" for fact in objectives.FACTS]


def with_objectives(table: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """The table with `OBJECTIVE_FACTS`, what its column `objective` stands for."""
    names = [name for name in table["objective"].unique() if name]
    facts = objectives.of_experiment(experiment["objectives"], names)
    facts = facts.rename(columns={fact: f"objective_{fact}" for fact in objectives.FACTS})
    out = table.merge(facts, on="objective", how="left")
    label = out["objective_label"].fillna("")
    return out.assign(objective_label=label.where(label != "", out["objective"]))


def objective_looks(table: pd.DataFrame) -> dict[str, objectives.Look]:
    """Look of each objective of a table that has `OBJECTIVE_FACTS`."""
    facts = table[["objective", *OBJECTIVE_FACTS]].dropna(subset="objective")
    facts = facts.set_axis(["objective", *objectives.FACTS], axis=1)
    words = ["label", "kind", "size"]  # read back as numbers where every one is missing
    return objectives.looks(facts.assign(**facts[words].astype("object").fillna("")))


def amount(parameters: float) -> str:
    """Parameters as figures write them: "410k", "0.9M", "135M", "1.3B"."""
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= 0.8 * unit:
            count = parameters / unit
            return f"{count:.0f}{word}" if count >= 10 else f"{count:.2g}{word}"
    return f"{parameters:.0f}"


def size_axis(ax: Axes, sizes: Sequence[str], parameters: Sequence[float], room: float) -> None:
    """Parameters on a log2 axis, a tick at each size; `room`: the share on the right for labels."""
    known = sorted({(p, s) for p, s in zip(parameters, sizes, strict=True) if math.isfinite(p)})
    ax.set_xscale("log", base=2)
    ticks = [p for p, _ in known]
    words = [f"{size}\n{amount(p)}" if size.isalpha() else amount(p) for p, size in known]
    ax.set_xticks(ticks, words)
    ax.minorticks_off()
    if ticks:
        left, right = math.log2(ticks[0]), math.log2(ticks[-1])
        span = max(right - left, 2.0)
        pad = 0.08 * span if right - left > 0.5 else span / 2
        ends = left - pad, right + pad
        ax.set_xlim(2 ** ends[0], 2 ** (ends[1] + room / (1 - room) * (ends[1] - ends[0])))
    ax.set_xlabel("parameters")


def look_of(method: str) -> PolicyStyle:
    """One look for a method, whatever its sizes: that of such a policy of the paper."""
    return style.policy_style(_SHOWN_AS.get(method, method))


def word(size: str) -> str:
    """A size as texts write it: "small", "135M"."""
    return size if size.isalpha() else size.upper()
