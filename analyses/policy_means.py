"""Means of summary scores by policy: what the analyses `copying` and `rouge` share.

Each distinct summary counts once, however many labels it has, and intervals are clustered by post.
Two spellings of one policy (`_t.7` and `_t0.7`) are one policy. What to show may be changed;
tests/analyses/test_copying.py and test_rouge_analysis.py prove the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evalsuite.datasets.release import parse_policy
from evalsuite.metrics import score_summaries
from evalsuite.report import style
from evalsuite.stats.estimate import Estimate, row
from evalsuite.stats.means import cluster_mean
from evalsuite.tables import Tables

COLUMNS = ["quantity", "policy", "temperature", "top_p", *Estimate._fields]
MAX_SHOWN = 40
"""Policies in a figure: those with most summaries. The table has all."""


def scored(tables: Tables, groups: Sequence[str]) -> pd.DataFrame:
    """Summaries with their scores; scores are made here when the tables bring none."""
    scores = tables.scores
    if scores is None:
        scores = score_summaries(tables.summaries, tables.posts, groups=groups)
    own = scores.columns.difference(tables.summaries.columns.drop("summary_id"))
    return tables.summaries.merge(scores[list(own)], on="summary_id", how="left")


def means_by_policy(
    rows: pd.DataFrame, bounds: Mapping[str, tuple[float, float]], level: float
) -> pd.DataFrame:
    """One row a quantity and policy: mean, clustered by post. `bounds`: quantity -> its range."""
    spelling: dict[str, str] = {}
    policy = rows["policy"].map(
        {name: spelling.setdefault(_identity(name), name) for name in sorted(set(rows["policy"]))}
    )
    out = []
    for name in style.policy_order(policy):
        mine = rows[policy == name]
        setting = parse_policy(name)
        for quantity, limits in bounds.items():
            estimate = cluster_mean(
                mine[quantity], clusters=mine["post_id"], level=level, bounds=limits
            )
            keys = {"temperature": setting.temperature, "top_p": setting.top_p}
            out.append(row(estimate, quantity=quantity, policy=name, **keys))
    table = pd.DataFrame(out, columns=COLUMNS)
    place = {quantity: i for i, quantity in enumerate(bounds)}
    return table.sort_values(
        "quantity", key=lambda q: q.map(place), kind="stable", ignore_index=True
    )


def _identity(policy: str) -> str:
    parsed = parse_policy(policy)
    # Without a base (lead-3, title) all that is parsed is the kind of policy, not which it is.
    return policy if parsed.base is None or parsed.method == "other" else repr(parsed)


def shown(table: pd.DataFrame) -> list[str]:
    """Policies to draw, in order: those with an interval, at most `MAX_SHOWN`."""
    enough = table[table["low"].notna()]
    largest = enough.groupby("policy")["n"].max().nlargest(MAX_SHOWN)
    return style.policy_order(largest.index)


def note_left_out(fig: Figure, table: pd.DataFrame, policies: Sequence[str]) -> None:
    """Say how many policies only the table has."""
    known = table[table["low"].notna()]["policy"].nunique()
    style.note_table_only(fig, table["policy"].nunique() - known, "policy", "policies")
    if rest := known - len(policies):
        style.note(fig, f"{rest} with fewer summaries in the table only")


def forest(
    ax: Axes, table: pd.DataFrame, quantity: str, policies: Sequence[str], *, counts: bool = False
) -> None:
    """Means of one quantity, a row a policy."""
    mine = table[table["quantity"] == quantity].set_index("policy").reindex(policies)
    style.forest(
        ax,
        [style.policy_style(policy).label for policy in policies],
        mine["value"].tolist(),
        mine["se"].tolist(),
        policies=policies,
        counts=mine["n"].tolist() if counts else None,
    )
    reach = float((mine["value"] + mine["se"].fillna(0)).max())
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    reach = reach if reach > 0 and math.isfinite(reach) else 1
    ax.set_xlim(-0.03 * reach, 1.08 * reach)
