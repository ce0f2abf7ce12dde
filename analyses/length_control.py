"""Preference at equal length: raw and length-controlled rates by policy (Fig. 10, App. F).

The arithmetic is `stats/length_control.py`, `length_control_joint.py` and `length_change.py`; here
comparisons get the lengths of their sides, and `length_control_figure.py` draws. What is fitted may
be changed (`_FORMS`). tests/analyses/test_length_control_analysis.py proves the published numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit

from analyses import wording
from analyses.choices import Count, Share, anchor, check_policy, of_splits
from analyses.length_control_figure import (
    BY_RATIO,
    CHANGE,
    CHARS,
    COEFFICIENT,
    COEFFICIENT_MODEL,
    CONTROLLED,
    LOCATION,
    POOLED,
    RAW,
    SLOPE,
    draw,
)
from evalsuite.errors import StatisticsError
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.clusters import codes_or_rows
from evalsuite.stats.estimate import Estimate, row, undefined
from evalsuite.stats.length_change import joint_changes, length_control_changes
from evalsuite.stats.length_control import fit_length_control, log_length_ratio
from evalsuite.stats.length_control_joint import fit_joint_length_control
from evalsuite.stats.means import cluster_mean
from evalsuite.stats.preference import pairwise_rates, preference_rate
from evalsuite.tables import Tables

TITLE = "Preference at equal length"
SOURCE = "Figure 10 and Appendix F (Stiennon et al. 2020)"
DIFFERS = (
    "Lengths are characters of the stripped text (the paper does not state its unit); all policies "
    "on file instead of two by size. Raw rates are of direct comparisons; pooled ones (in the "
    "table) are the same model of all pairs without length. form=alpaca_eval is AlpacaEval's "
    "model instead (Dubois et al. 2024), difficulties fitted."
)
SCORES: tuple[str, ...] = ()

COLUMNS = [
    "quantity", "policy", "against", "ratio_low", "ratio_high", "ratio", "fitted",
    *Estimate._fields,
]  # fmt: skip

IN_BIN = 30
"""Comparisons that a bin of length ratios needs at least."""

_SIDES = ("left", "right")
_COLUMNS = {"post": "item", "labeler": "labeler"}


@dataclass(frozen=True)
class Options:
    """Settings of the length control.

    form: "paper", the log length ratio with one coefficient for all policies; "alpaca_eval", a
        slope of its own for each policy and a difficulty for each prompt, for comparisons with
        one baseline on shared prompts (or posts).
    splits: splits of the comparisons to use, e.g. [valid2]; empty: all.
    baseline: the policy that rates are against; where it has no comparison, the one with most
        takes its place, and the table and the sentence name that one.
    clusters: what makes comparisons dependent: "post", "labeler", or "both" (two-way). Rows that
        do not say are clusters of their own.
    bins: bins of the length ratio, equally filled, with 30 comparisons each at least.
    level: coverage of the intervals.
    """

    form: Literal["paper", "alpaca_eval"] = "paper"
    splits: tuple[str, ...] = ()
    baseline: str = REFERENCE_POLICY
    clusters: Literal["post", "labeler", "both"] = "post"
    bins: Count = 8
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    rows = tables.comparisons
    if rows.empty:
        return "no comparisons"
    rows = rows[rows["left_policy"] != rows["right_policy"]]
    if rows.empty:
        return "no comparison of two different policies"
    known = tables.summaries.loc[tables.summaries["chars"] > 0, "summary_id"]
    if not (rows["left_id"].isin(known) & rows["right_id"].isin(known)).any():
        return "no comparison in which both summaries have a length"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Rates against the baseline as they are and at equal length; nothing is random here.

    quantity: by policy "raw_rate", from its direct comparisons with the baseline, and
    "controlled_rate"; in the paper's form "pooled_rate" too, the same model of all pairs without
    length, so that controlled less pooled is what length does and pooled less raw what the other
    pairs say; "change" is controlled minus raw;
    "length_coefficient", the logit's change per unit of log length ratio, with cluster-robust
    error, "length_coefficient_model" with the model's (in AlpacaEval's form "length_slope" by
    policy, per unit of tanh, and "length_slope_typical", where its prior lies); "mean_chars" of
    the summaries as often as they were compared; "preference_by_ratio", the rate of `policy` where
    its length over the baseline's is in (ratio_low, ratio_high], with the mean ratio (geometric)
    and what the paper's model says of these comparisons (fitted).

    Raises ConfigError on a policy or split that the data does not have.
    """
    check_policy("baseline", options.baseline, tables)
    rows, left_out = _rows(tables, options)
    if rows.empty:
        return Result(pd.DataFrame(columns=COLUMNS), left_out)
    baseline = anchor(options.baseline, rows)
    if options.form == "alpaca_eval":
        rows, more = _with_baseline(rows, baseline, options)
        left_out |= more
    clusters, name = _clusters(rows, options)
    settings: dict[str, Any] = {"clusters": clusters, "cluster_name": name, "level": options.level}
    found = _FORMS[options.form](rows, baseline, settings)
    left_out |= found.left_out
    rows = rows.assign(fitted=found.fitted)

    column = ("item", "labeler") if options.clusters == "both" else _COLUMNS[options.clusters]
    pairs = pairwise_rates(
        rows, against=baseline, cluster_column=column, cluster_name=name, level=options.level
    )
    raw = {p["policy"]: Estimate(*(p[f] for f in Estimate._fields)) for _, p in pairs.iterrows()}
    never = undefined(f"no direct comparison with {baseline}", level=options.level)
    out = [
        row(estimate, quantity=quantity, policy=policy)
        for (quantity, policy), estimate in found.coefficients.items()
    ]
    for policy in style.policy_order([baseline, *found.rates]):
        keys = {"policy": policy, "against": baseline}
        if policy != baseline:
            out.append(row(raw.get(policy, never), quantity=RAW, **keys))
            if found.pooled:
                out.append(row(found.pooled[policy], quantity=POOLED, **keys))
            out.append(row(found.rates[policy], quantity=CONTROLLED, **keys))
            out.append(row(found.changes[policy], quantity=CHANGE, **keys))
        out.append(row(_mean_chars(rows, policy, options), quantity=CHARS, policy=policy))
        out += _by_ratio(rows, policy, baseline, options)
    return Result(pd.DataFrame(out, columns=COLUMNS), left_out)


def plot(table: pd.DataFrame) -> Figure:
    """Left: each policy's rate, raw and at equal length; right: preference by length ratio."""
    return draw(table)


def reading(table: pd.DataFrame) -> str:
    """One sentence: what length is worth, and whose rate it changes most."""
    found = table[table["quantity"].isin([COEFFICIENT, LOCATION])]
    if found.empty:
        return "No comparison of two different policies has lengths."
    slope = found.iloc[0]
    if math.isnan(slope["value"]):
        return f"The effect of length cannot be told here: {slope['method']}."
    known = f"{slope['value']:.4f}, {wording.interval(slope, '.2f')}, n = {slope['n']:,}"
    paper = slope["quantity"] == COEFFICIENT
    if not (slope["low"] > 0 or slope["high"] < 0):
        return f"No effect of length shows ({'length coefficient' if paper else 'slope'} {known})."
    if paper:
        twice = expit(slope["value"] * math.log(2))
        text = (
            "Of two summaries of equally good policies the one twice as long is preferred in "
            f"{twice:.1%} of comparisons (length coefficient {known})"
        )
    else:
        likes = "longer" if slope["value"] > 0 else "shorter"
        text = f"With a typical policy {likes} answers are preferred (slope {known})"
    return f"{text}; {_moved_most(table, POOLED if paper else RAW)}."


def _moved_most(table: pd.DataFrame, without: str) -> str:
    """Whose rate length moves most, among policies that met the baseline often enough."""
    changes = table[(table["quantity"] == CHANGE) & table["low"].notna()].set_index("policy")
    enough = changes[changes["n"] >= IN_BIN]
    if enough.empty:
        against = table.loc[table["quantity"] == CONTROLLED, "against"]
        name = wording.named(against.iloc[0]) if len(against) else "a baseline"
        return f"no policy met {name} {IN_BIN} times"
    before, after = (
        table[table["quantity"] == quantity].set_index("policy")["value"][enough.index]
        for quantity in (without, CONTROLLED)
    )
    most = str((after - before).abs().idxmax())
    among = "" if len(enough) == len(changes) else f" among policies with {IN_BIN} comparisons"
    return (
        f"at equal length the rate of {wording.named(most)} against "
        f"{wording.named(enough.loc[most, 'against'])} "
        f"{'moves most' if len(changes) > 1 else 'moves'}{among}, from {before[most]:.1%}"
        f"{' (all pairs pooled)' if without == POOLED else ''} to {after[most]:.1%}"
    )


class _Controlled(NamedTuple):
    """What a form of length control gives: estimates by policy, and P(left preferred) by row."""

    coefficients: dict[tuple[str, str], Estimate]  # quantity and policy, if of one
    pooled: dict[str, Estimate]  # without length; empty where raw rates are the same thing
    rates: dict[str, Estimate]
    changes: dict[str, Estimate]
    fitted: NDArray[np.float64]
    left_out: dict[str, int]


def _paper(rows: pd.DataFrame, baseline: str, settings: dict[str, Any]) -> _Controlled:
    """The paper's form: one coefficient of the log length ratio, shared by all policies."""
    given = (rows["left_policy"], rows["right_policy"], rows["log_ratio"], rows["choice"])
    fit = fit_length_control(*given, anchor=baseline, **settings)
    unaware = fit_length_control(
        *given[:2], np.zeros(len(rows)), given[3], anchor=baseline, **settings
    )
    strength = pd.Series(fit.strengths, index=list(fit.policies))
    slope = 0.0 if math.isnan(fit.coefficient.value) else fit.coefficient.value
    left, right = (rows[f"{side}_policy"].map(strength).to_numpy() for side in _SIDES)
    return _Controlled(
        coefficients={
            (COEFFICIENT, ""): fit.coefficient,
            (COEFFICIENT_MODEL, ""): fit.coefficient_model,
        },
        pooled=unaware.rates(baseline),
        rates=fit.rates(baseline),
        changes=length_control_changes(fit, *given, **settings),
        fitted=expit(left - right + slope * rows["log_ratio"].to_numpy()),
        left_out=fit.left_out,
    )


def _alpaca_eval(rows: pd.DataFrame, baseline: str, settings: dict[str, Any]) -> _Controlled:
    """AlpacaEval's form, difficulties fitted jointly; no prediction by row is shown."""
    turned = (rows["left_policy"] != baseline).to_numpy()
    policy = np.where(turned, rows["left_policy"], rows["right_policy"])
    own = np.where(turned, rows["left_chars"], rows["right_chars"])
    other = np.where(turned, rows["right_chars"], rows["left_chars"])
    win = np.where(turned, 1 - rows["choice"], rows["choice"])
    fit = fit_joint_length_control(
        policy, rows["item"], own, other, win, level=settings["level"]
    )  # fmt: skip
    slopes = {(SLOPE, policy): slope for policy, slope in fit.slopes.items()}
    return _Controlled(
        coefficients={(LOCATION, ""): fit.location, **slopes},
        pooled={},
        rates=fit.rates,
        changes=joint_changes(fit),
        fitted=np.full(len(rows), math.nan),
        left_out=fit.left_out,
    )


_FORMS = {"paper": _paper, "alpaca_eval": _alpaca_eval}


def _rows(tables: Tables, options: Options) -> tuple[pd.DataFrame, dict[str, int]]:
    """Comparisons of two policies with both lengths, and what was left out."""
    left_out: dict[str, int] = {}
    rows = of_splits(tables.comparisons, options.splits, left_out)
    alike = rows["left_policy"] == rows["right_policy"]
    left_out["comparisons of a policy with itself"] = int(alike.sum())
    rows = tables.sides(["chars"], rows[~alike])
    rows["log_ratio"] = log_length_ratio(rows["left_chars"], rows["right_chars"])
    length = "log_ratio" if options.form == "paper" else "both_chars"
    rows["both_chars"] = rows["left_chars"] + rows["right_chars"]
    usable = rows[length].notna() & rows["choice"].notna()
    left_out["comparisons with an empty summary or without length"] = int((~usable).sum())
    return rows[usable], {reason: count for reason, count in left_out.items() if count}


def _with_baseline(
    rows: pd.DataFrame, baseline: str, options: Options
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Comparisons with the baseline that name their prompt, and how many others there are."""
    if options.clusters != "post":
        raise StatisticsError(
            f"form alpaca_eval has clusters {options.clusters!r}; allowed 'post' (its prompts)"
        )
    met = (rows["left_policy"] == baseline) | (rows["right_policy"] == baseline)
    named = rows["item"].notna()
    if not (met & named).any():
        raise StatisticsError("form alpaca_eval needs comparisons that name their prompt or post")
    counts = {
        "comparisons without the baseline": int((~met).sum()),
        "comparisons that do not name their prompt": int((met & ~named).sum()),
    }
    return rows[met & named], {reason: count for reason, count in counts.items() if count}


def _clusters(rows: pd.DataFrame, options: Options) -> tuple[Any, str]:
    """Cluster codes (None: no row says its cluster) and their name."""
    if options.clusters == "both":
        pair = (codes_or_rows(rows["item"])[0], codes_or_rows(rows["labeler"])[0])
        return pair, "post and labeler"
    codes, known = codes_or_rows(rows[_COLUMNS[options.clusters]])
    name = "prompt" if options.form == "alpaca_eval" else options.clusters
    return (codes if known.any() else None), name


def _mean_chars(rows: pd.DataFrame, policy: str, options: Options) -> Estimate:
    sides = [rows.loc[rows[f"{s}_policy"] == policy, [f"{s}_chars", "item"]] for s in _SIDES]
    mine = pd.concat([side.set_axis(["chars", "item"], axis=1) for side in sides])
    codes, known = codes_or_rows(mine["item"])
    return cluster_mean(
        mine["chars"], clusters=codes if known.any() else None, level=options.level,
        cluster_name="prompt" if options.form == "alpaca_eval" else "post",
    )  # fmt: skip


def _by_ratio(
    rows: pd.DataFrame, policy: str, baseline: str, options: Options
) -> list[dict[str, object]]:
    """Preference for a policy over the baseline in equally filled bins of the length ratio."""
    on_left = (rows["left_policy"] == policy) & (rows["right_policy"] == baseline)
    on_right = (rows["right_policy"] == policy) & (rows["left_policy"] == baseline)
    mine = rows[(on_left ^ on_right) & rows["log_ratio"].notna()]
    bins = min(options.bins, len(mine) // IN_BIN)
    if bins < 1:
        return []
    turned = (mine["right_policy"] == policy).to_numpy()
    x = np.where(turned, -mine["log_ratio"], mine["log_ratio"])
    win = np.where(turned, mine["choice"], 1 - mine["choice"])
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, x, side="left") - 1, 0, max(len(edges) - 2, 0))
    fitted = np.where(turned, 1 - mine["fitted"], mine["fitted"])
    clusters, name = _clusters(mine, options)
    out = []
    for k in np.unique(place):
        at, low, high = place == k, edges[k], edges[min(k + 1, len(edges) - 1)]
        inside: Any = clusters
        if clusters is not None:
            inside = tuple(c[at] for c in clusters) if options.clusters == "both" else clusters[at]
        rate = preference_rate(win[at], clusters=inside, cluster_name=name, level=options.level)
        out.append(
            row(
                rate, quantity=BY_RATIO, policy=policy, against=baseline,
                ratio_low=math.exp(low), ratio_high=math.exp(high),
                ratio=math.exp(x[at].mean()), fitted=fitted[at].mean(),
            )
        )  # fmt: skip
    return out
