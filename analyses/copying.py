"""How much of its post a summary copies, by policy (Table 16, Appendix G.5).

The measure of the paper, the longest common subsequence of bigrams over the bigrams of the summary,
with extractive fragments and novel bigrams beside it (evalsuite/metrics states their tokens). What
to show may be changed; tests/analyses/test_copying.py proves the numbers on the release.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses import wording
from analyses.choices import Share
from analyses.policy_means import forest, means_by_policy, note_left_out, scored, shown
from evalsuite.errors import EvalsuiteError
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.tables import Tables

TITLE = "Copying from the post"
SOURCE = "Table 16 and Appendix G.5 of Stiennon et al. 2020 (arXiv 2009.01325)"
DIFFERS = (
    "The paper does not state its tokens; here they are lower-cased words and punctuation marks, "
    "which gives lower shares than Table 16, as does sampling above T=0: compare the order of "
    "policies. Each distinct summary counts once; the source is the post without its title. "
    "Extractive fragment density and novel bigrams are added (Grusky et al. 2018)."
)
SCORES: tuple[str, ...] = ("copying", "extractive")

QUANTITIES = {
    "copying": (0.0, 1.0), "coverage": (0.0, 1.0), "density": (0.0, np.inf),
    "compression": (0.0, np.inf), "novel_1": (0.0, 1.0), "novel_2": (0.0, 1.0),
    "novel_3": (0.0, 1.0),
}  # fmt: skip
"""Score columns of the table with their ranges."""

_NONE = "no summary has both its text and the text of its post"


@dataclass(frozen=True)
class Options:
    """Settings of the analysis.

    level: coverage of the intervals in the table.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    with_text = tables.posts.loc[tables.posts["text"].notna(), "post_id"]
    summaries = tables.summaries
    if (summaries["post_id"].isin(with_text) & summaries["text"].notna()).any():
        return None
    return _NONE


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Mean of each score by policy, clustered by post; nothing is random here.

    Raises EvalsuiteError when no summary has a text and a post with text.
    """
    rows = scored(tables, SCORES)
    known = rows["coverage"].notna() & rows["post_id"].notna()
    if not known.any():
        raise EvalsuiteError(_NONE)
    left_out = {
        "summaries without text, or whose post has none": int((~known).sum()),
        "summaries of one token, without a bigram to copy": int(
            (known & rows["copying"].isna()).sum()
        ),
    }
    table = means_by_policy(rows[known], QUANTITIES, options.level)
    return Result(table, {reason: n for reason, n in left_out.items() if n})


def plot(table: pd.DataFrame) -> Figure:
    """Copying share, novel bigrams and fragment density, a row a policy."""
    policies = shown(table)
    fig, axes = style.figure("double", 0.19 * len(policies) + 0.95, cols=3, squeeze=False)
    panels = [
        ("copying", "Copied bigrams", "share of the summary's bigrams"),
        ("novel_2", "Novel bigrams", "share of distinct bigrams"),
        ("density", "Fragment density", "tokens"),
    ]
    for ax, (quantity, title, label) in zip(axes[0], panels, strict=True):
        forest(ax, table, quantity, policies, counts=quantity == "density")
        style.title(ax, title)
        ax.set_xlabel(label)
        ax.tick_params(labelleft=quantity == "copying")
        if quantity != "density":
            style.rate_axis(ax, "x", label=label, limits=ax.get_xlim())
    note_left_out(fig, table, policies)
    style.note_errorbars(fig)
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence: who copies most and least, and the references beside them."""
    drawn = table[(table["quantity"] == "copying") & table["low"].notna()].set_index("policy")
    if drawn.empty:
        return "No policy has summaries of enough posts for an interval."
    known = wording.well_known(drawn)
    most, least = known["value"].idxmax(), known["value"].idxmin()
    who = wording.named(most)
    verb = "copy" if who == "the references" else "copies"
    how = f"{drawn.loc[most, 'value']:.1%} of the bigrams are in the post in that order"
    interval = wording.interval(drawn.loc[most])
    if most == least:
        return wording.sentence(f"{who} {verb}: {how} ({interval}).")
    among = wording.among(drawn, "summaries")
    text = f"{who} {verb} most{among}: {how} ({interval})"
    text += f"; {wording.named(least)} least, {drawn.loc[least, 'value']:.1%}"
    if REFERENCE_POLICY in drawn.index and REFERENCE_POLICY not in (most, least):
        text += f"; the references {drawn.loc[REFERENCE_POLICY, 'value']:.1%}"
    return wording.sentence(f"{text}.")
