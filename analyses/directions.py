"""Does this run point where the paper points: claims written down beforehand, each with a verdict.

A claim is one contrast with an interval over seeds and posts, signed so that the claim says "above
0". Shown: the interval lies above 0. Reversed: below. Not shown: it covers 0. Not measured: the run
lacks what it takes, or the contrast has no interval. By construction: it cannot be otherwise, so it
is told and not counted.

`CLAIMS` was fixed before the first full run, and with it every choice that a contrast leaves open
(see `contrasts`). While that run trained, and before any of its results was seen, a review found
faults in the arithmetic of contrasts, and they were corrected: the slopes of "flattens", the order
of turns ("later", "sooner"), the common range of "higher" and "lower", a gain that must be there
before length can be a share of it, and what is said to be by construction or beyond the paper. A
claim that is added or changed afterwards is to be tried on new seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import wording
from analyses.choices import Share
from analyses.contrasts import Contrasts, NotMeasuredError
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate, row, undefined
from evalsuite.tables import Tables

TITLE = "Directions: what this run shows of the paper's claims"
SOURCE = (
    "Figures 1, 4-8, 10 and 11, Section 4.4 (Stiennon et al. 2020); beyond the paper: Gao et al. "
    "2022, Coste et al. 2023"
)
DIFFERS = (
    "The paper's claims rest on human judgments of one run each; here they are about the truth of "
    "the experiment, over its seeds and posts. Each verdict stands at its own level: of thirty "
    "claims with nothing to them, about one would be called shown and one reversed by chance."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

SHOWN, NOT_SHOWN, REVERSED, NOT_MEASURED = "shown", "not shown", "reversed", "not measured"
BY_CONSTRUCTION = "by construction"
VERDICTS = (SHOWN, REVERSED, NOT_SHOWN, BY_CONSTRUCTION, NOT_MEASURED)

GOLD, ACCURACY, SHARE, REWARD = "gold", "accuracy", "share", "reward"
TURN_BON, TURN_PPO = "gold² nat^-1.5", "gold²/nat"
"""Units of contrasts; gold is what the experiment's gold is measured in. Those of turns are alpha
times beta: a sign to go by, no amount."""


class Claim(NamedTuple):
    """key: its name. group: heading. claim: in words. contrast: what is above 0 if it holds.

    of_paper: whether Stiennon et al. make it, or others do, or we. certain: true by construction.
    """

    key: str
    group: str
    claim: str
    contrast: str
    source: str
    unit: str
    measure: Callable[[Contrasts], Estimate]
    of_paper: bool = True
    certain: bool = False


_POLICIES = "Policies"
_FEW, _MANY = "Over-optimisation", "More labels"
_OTHER, _RM = "Other objectives", "Reward models"
_HUMAN, _PLAIN, _START = "human feedback", "supervised", "pretrained"
_LABELS = "Gao et al. 2022; by labels in an open reproduction"

CLAIMS: tuple[Claim, ...] = (
    Claim("hf-over-sup", _POLICIES, "Human feedback beats supervised, T = 0.7",
          "truth, human feedback less supervised", "Figure 1", GOLD,
          lambda c: c.methods(_HUMAN, _PLAIN, 0.7)),
    Claim("hf-over-sup-t0", _POLICIES, "Human feedback beats supervised, T = 0",
          "truth, human feedback less supervised", "Figure 1", GOLD,
          lambda c: c.methods(_HUMAN, _PLAIN, 0.0)),
    Claim("sup-over-base", _POLICIES, "Supervised beats pretrained, T = 0.7",
          "truth, supervised less pretrained", "Figure 1", GOLD,
          lambda c: c.methods(_PLAIN, _START, 0.7)),
    Claim("sup-over-base-t0", _POLICIES, "Supervised beats pretrained, T = 0",
          "truth, supervised less pretrained", "Figure 1", GOLD,
          lambda c: c.methods(_PLAIN, _START, 0.0)),
    Claim("hf-over-ref", _POLICIES, "Human feedback beats the references, T = 0.7",
          "share of posts truly better than the reference, less a half", "Figure 1", SHARE,
          lambda c: c.over_references(_HUMAN, 0.7)),
    Claim("hf-over-ref-t0", _POLICIES, "Human feedback beats the references, T = 0",
          "share of posts truly better than the reference, less a half", "Figure 1", SHARE,
          lambda c: c.over_references(_HUMAN, 0.0)),
    Claim("hf-over-larger-sup", _POLICIES, "Human feedback beats larger supervised, T = 0.7",
          "truth, human feedback less supervised of the largest size", "Figure 1", GOLD,
          lambda c: c.over_larger_supervised(0.7)),
    Claim("transfer", _POLICIES, "Human feedback beats supervised on the other domain",
          "truth, human feedback less supervised, T = 0.7", "Figure 4", GOLD,
          lambda c: c.methods(_HUMAN, _PLAIN, 0.7, domain=c.foreign_domain())),
    Claim("length-something", _POLICIES, "Length is part of the gain in truth",
          "share of human feedback's gain in truth over supervised that goes at equal length, "
          "T = 0.7", "Figure 10", SHARE, lambda c: c.length_explains(0.7)),
    Claim("length-not-all", _POLICIES, "Length is not all of the gain in truth",
          "human feedback's gain in truth over supervised left at equal length, T = 0.7",
          "Figure 10", GOLD,
          lambda c: c.length(0.7).held_equal),
    Claim("cold-over-warm", _POLICIES, "Supervised: T = 0 beats T = 0.7",
          "truth, T = 0 less T = 0.7", "Figure 8", GOLD,
          lambda c: c.methods(_PLAIN, _PLAIN, 0.0, than=0.7)),
    Claim("warm-over-hot", _POLICIES, "Supervised: T = 0.7 beats T = 1",
          "truth, T = 0.7 less T = 1", "Figure 8 (values not recovered; direction of text B.1: "
          "very low temperature beats moderate)", GOLD,
          lambda c: c.methods(_PLAIN, _PLAIN, 0.7, than=1.0)),
    Claim("value-network", _POLICIES, "A value network of its own gives more reward",
          "final reward, separate less shared", "Figure 11", REWARD,
          lambda c: c.value_networks()),
    Claim("accuracy-data", _RM, "More labels make reward models more accurate",
          "accuracy on held-out pairs per doubling of labels", "Figure 6", ACCURACY,
          lambda c: c.per_doubling("data")),
    Claim("accuracy-size", _RM, "Larger reward models are more accurate",
          "accuracy on held-out pairs per doubling of parameters", "Figure 6", ACCURACY,
          lambda c: c.per_doubling("size")),
    Claim("rm-over-rouge", _RM, "Reward models rank better than ROUGE",
          "pairs of samples ranked as the truth does, reward model less ROUGE", "Section 4.4",
          SHARE, lambda c: c.ranking("many", "rouge")),
    Claim("bon-few-rises", _FEW, "Best-of-N, few labels: the truth first rises",
          "gain in truth, halfway", "Figure 7", GOLD, lambda c: c.rise("best-of-n", "few")),
    Claim("bon-few-flattens", _FEW, "Best-of-N, few labels: the truth flattens",
          "gain in truth a whole way, first part less second", "Figure 7", GOLD,
          lambda c: c.flattening("best-of-n", "few")),
    Claim("bon-few-falls", _FEW, "Best-of-N, few labels: the truth falls",
          "gain in truth, halfway less end", "Figure 7", GOLD,
          lambda c: c.fall("best-of-n", "few")),
    Claim("bon-few-own", _FEW, "Best-of-N, few labels: its own score keeps rising",
          "gain of its own score, end less halfway", "Gao et al., Figure 1", GOLD,
          lambda c: c.own_rise("best-of-n", "few"), of_paper=False, certain=True),
    Claim("ppo-few-rises", _FEW, "PPO, few labels: the truth first rises",
          "gain in truth, halfway", "Figure 5", GOLD, lambda c: c.rise("ppo", "few")),
    Claim("ppo-few-flattens", _FEW, "PPO, few labels: the truth flattens",
          "gain in truth a whole way, first part less second", "Figure 5", GOLD,
          lambda c: c.flattening("ppo", "few")),
    Claim("ppo-few-falls", _FEW, "PPO, few labels: the truth falls",
          "gain in truth, halfway less end", "Figure 5", GOLD, lambda c: c.fall("ppo", "few")),
    Claim("ppo-few-own", _FEW, "PPO, few labels: its own score keeps rising",
          "gain of its own score, end less halfway", "Figure 5", GOLD,
          lambda c: c.own_rise("ppo", "few")),
    Claim("bon-labels-later", _MANY, "Best-of-N: more labels peak later",
          "order of turns of the fits, few labels before many", _LABELS, TURN_BON,
          lambda c: c.sooner("best-of-n", "few", "many"), of_paper=False),
    Claim("bon-labels-higher", _MANY, "Best-of-N: more labels peak higher",
          "largest fitted gain, many labels less few", _LABELS, GOLD,
          lambda c: c.higher("best-of-n", "many", "few"), of_paper=False),
    Claim("ppo-labels-later", _MANY, "PPO: more labels peak later",
          "order of turns of the fits, few labels before many", _LABELS, TURN_PPO,
          lambda c: c.sooner("ppo", "few", "many"), of_paper=False),
    Claim("ppo-labels-higher", _MANY, "PPO: more labels peak higher",
          "largest fitted gain, many labels less few", _LABELS, GOLD,
          lambda c: c.higher("ppo", "many", "few"), of_paper=False),
    Claim("bon-rouge-sooner", _OTHER, "Best-of-N: ROUGE peaks sooner than the reward model",
          "order of turns of the fits, ROUGE before reward model", "Figure 7", TURN_BON,
          lambda c: c.sooner("best-of-n", "rouge", "many")),
    Claim("bon-rouge-lower", _OTHER, "Best-of-N: ROUGE peaks lower than the reward model",
          "largest fitted gain, reward model less ROUGE", "Figure 7", GOLD,
          lambda c: c.higher("best-of-n", "many", "rouge")),
    Claim("ppo-rouge-lower", _OTHER, "PPO: ROUGE peaks lower than the reward model",
          "largest fitted gain, reward model less ROUGE", "beyond the paper", GOLD,
          lambda c: c.higher("ppo", "many", "rouge"), of_paper=False),
    Claim("worst-of-ensemble", _OTHER, "The worst of an ensemble beats a single reward model",
          "gain in truth at the largest N, worst of the ensemble less single", "Coste et al. 2023",
          GOLD, lambda c: c.at_most_samples("worst", "few"), of_paper=False),
    Claim("ppo-spends-more", _OTHER, "PPO spends more KL than best-of-N for one gain",
          "own score at equal KL, best-of-N less PPO", "Appendix G.3; Gao et al. 2022", GOLD,
          lambda c: c.best_of_n_at_equal_kl("many")),
)  # fmt: skip
"""Every claim, in the order of the figure."""


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals that decide.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.experiment is None:
        return "there is no experiment"
    return tables.experiment.lacks("objectives", "policies")


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """A row a claim: its contrast, the verdict, and in `lacks` what was missing to measure it.

    of_paper tells claims of the paper from others. What is undefined or has no interval was not
    measured, and `lacks` has the reason; a value without an interval stays in the table.
    """
    experiment = tables.experiment
    assert experiment is not None
    contrasts = Contrasts(experiment, options.level)
    rows = []
    for claim in CLAIMS:
        lacks = ""
        try:
            estimate = claim.measure(contrasts)
        except NotMeasuredError as found:
            lacks, estimate = str(found), undefined("not measured", level=options.level)
        if not lacks and math.isnan(estimate.low):
            lacks = estimate.method
        unit = claim.unit.replace(GOLD, experiment.gold_unit)
        said = verdict(estimate, lacks, claim.certain)
        keys = {**claim._asdict(), "unit": unit, "verdict": said}
        del keys["measure"], keys["certain"]
        rows.append(row(estimate, **keys, lacks=lacks))
    return Result(pd.DataFrame(rows), {})


def verdict(estimate: Estimate, lacks: str = "", certain: bool = False) -> str:
    """What an interval says of "above 0"; see the module's docstring."""
    if lacks or math.isnan(estimate.low):
        return NOT_MEASURED
    if certain:
        return BY_CONSTRUCTION
    if estimate.low > 0:
        return SHOWN
    return REVERSED if estimate.high < 0 else NOT_SHOWN


# --- figure ----------------------------------------------------------------------------------

CLIP = 8.0
"""Standard errors at which the axis ends; what lies beyond has an arrow there."""

_COLOURS = {
    SHOWN: "#1b7f5c", REVERSED: "#c8442b", NOT_SHOWN: style.MUTED, BY_CONSTRUCTION: "#a9a9a9",
    NOT_MEASURED: "#a9a9a9",
}  # fmt: skip
_MARKERS = {SHOWN: "o", REVERSED: "D", NOT_SHOWN: "s", BY_CONSTRUCTION: "o", NOT_MEASURED: ""}


def plot(table: pd.DataFrame) -> Figure:
    """One row a claim: its contrast in standard errors with its interval, coloured by verdict.

    Contrasts have different units, so the axis has none: a value over its own standard error. The
    numbers with their units stand at the right.
    """
    groups = list(dict.fromkeys(table["group"]))
    rows = len(table) + len(groups)
    fig, ax = style.figure("double", 0.9 + 0.155 * rows)
    y, ticks, labels = 0.0, [], []
    for group in groups:
        ax.annotate(
            group, (0, y), xycoords=("axes fraction", "data"), xytext=(-4, 0), ha="right",
            textcoords="offset points", va="center", fontsize=style.SMALL, fontweight="bold",
            color=style.INK, fontfamily="DejaVu Sans",
        )  # fmt: skip
        for _, claim in table[table["group"] == group].iterrows():
            y -= 1
            _claim(ax, claim, y)
            ticks.append(y)
            labels.append(str(claim["claim"]))
        y -= 1
    ax.axvline(0, color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0.9)
    ax.set_yticks(ticks, labels)
    ax.tick_params(axis="y", length=0, labelsize=style.SMALL)
    ax.set_ylim(y + 0.4, 0.6)
    ax.set_xlim(-CLIP * 1.06, CLIP * 1.06)
    ax.set_xticks([-8, -4, 0, 4, 8])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("contrast, in its standard errors (right of 0: as claimed)")
    style.grid(ax, "x")
    for name in VERDICTS[:4]:
        ax.plot([], [], ls="none", marker=_MARKERS[name], color=_COLOURS[name], ms=4, label=name)
    style.legend(
        ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, handletextpad=0.2,
        columnspacing=1.2, borderaxespad=0.1,
    )  # fmt: skip
    style.note(fig, f"bars: {100 * table['level'].iloc[0]:g}% intervals, not 1 SE")
    if (table["value"].abs() > CLIP * table["se"]).any():
        style.note(fig, "arrows: beyond the axis")
    return fig


def _claim(ax: Axes, claim: pd.Series, y: float) -> None:
    """Mark, interval and numbers of one claim."""
    name = str(claim["verdict"])
    colour = _COLOURS[name]
    low, at, high = _standardised(claim)
    if name != NOT_MEASURED:
        ends = np.clip([low, high], -CLIP, CLIP)
        ax.plot(ends, [y, y], color=colour, lw=1.1, solid_capstyle="butt", zorder=2)
        beyond = abs(at) > CLIP
        marker = (">" if at > 0 else "<") if beyond else _MARKERS[name]
        ax.plot([np.clip(at, -CLIP, CLIP)], [y], marker=marker, color=colour, ms=4, zorder=3)
    ax.annotate(
        _numbers(claim), (1, y), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center", fontsize=style.SMALL - 0.5, color=colour,
        fontfamily="DejaVu Sans", annotation_clip=False,
    )  # fmt: skip


def _standardised(claim: pd.Series) -> tuple[float, float, float]:
    """Ends and middle of the interval in standard errors; of no width: beyond the axis."""
    value, se = claim["value"], claim["se"]
    if se == 0:
        at = 0.0 if value == 0 else math.copysign(2 * CLIP, value)
        return at, at, at
    return claim["low"] / se, value / se, claim["high"] / se


def _numbers(claim: pd.Series) -> str:
    if claim["verdict"] == NOT_MEASURED:
        return "not measured"
    form = _form(claim)
    inside = f"{form(claim['low'])} to {form(claim['high'])}"
    unit = claim["unit"] if claim["unit"] not in (SHARE, ACCURACY) else ""
    return f"{form(claim['value'])} ({inside}) {unit}".rstrip()


def _form(claim: pd.Series) -> Callable[[float], str]:
    if claim["unit"] in (SHARE, ACCURACY):
        return lambda x: f"{x:+z.1%}"
    return lambda x: f"{x:+z.2f}"


def reading(table: pd.DataFrame) -> str:
    """Claims of the paper, then others: how many are shown, and which are reversed or not shown."""
    counted = table[table["verdict"] != BY_CONSTRUCTION]
    if (counted["verdict"] == NOT_MEASURED).all():
        return "None of the claims was measured."
    of_paper = counted["of_paper"].astype(bool)
    said = [
        _counts(rows, whose)
        for rows, whose in ((counted[of_paper], "of the paper"), (counted[~of_paper], "beyond it"))
        if len(rows)
    ]
    if certain := len(table) - len(counted):
        said.append(f"Not counted: {certain} by construction.")
    return " ".join(said)


def _counts(rows: pd.DataFrame, whose: str) -> str:
    counts = rows["verdict"].value_counts()
    missed = int(counts.get(NOT_MEASURED, 0))
    words = wording.counted(len(rows) - missed, "claim")
    said = f"Of {words} {whose} that were measured, {counts.get(SHOWN, 0)} are shown"
    for name in (REVERSED, NOT_SHOWN):
        claims = [f'"{claim}"' for claim in rows.loc[rows["verdict"] == name, "claim"]]
        said += f", {len(claims)} {name}" + (f" ({', '.join(claims)})" if claims else "")
    if missed:
        said += f"; {missed} not measured"
    return f"{said}."
