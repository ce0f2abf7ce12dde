"""Policies on a domain on which nothing was trained: quality by size and by length (Fig. 4).

The policies of Figure 1 summarise posts of another domain, the simulated world's news (CNN/DM where
posts are real); neither the policies nor their reward models met any of it. Quality is gold. On the
right it stands against length, with the slope within a policy, since news has longer references
than the policies were trained to write.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses import outcomes, wording
from analyses.choices import Share
from analyses.outcomes import METHODS, TRUTHS
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, row, undefined
from evalsuite.stats.replicates import crossed_cells, crossed_statistic, pseudo_values
from evalsuite.tables import Tables

TITLE = "Transfer to a second domain"
SOURCE = "Figure 4 (Stiennon et al. 2020)"
DIFFERS = (
    "Quality is the gold score of every summary instead of labelers' ratings from 1 to 7, and the "
    "share of labelers who prefer a summary to its reference is in the table. There are no "
    "policies trained on the second domain, no lead-3 and no T5 here. Lengths in characters; "
    "intervals are over seeds and posts."
)
SCORES: tuple[str, ...] = ()
EXPERIMENT = True

QUALITY, LENGTH, SLOPE = "gold", "chars", "slope_per_100_chars"
_ROOM = 0.36
_REACH = 0.5  # standard deviations of length that a slope's line goes each way


@dataclass(frozen=True)
class Options:
    """Settings of this analysis.

    level: coverage of the intervals.
    """

    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if reason := outcomes.lacks_main(tables):
        return reason
    assert tables.experiment is not None
    rows = outcomes.main_rows(tables.experiment)
    if (rows["domain"] == outcomes.home(rows["domain"])).all():
        return "the policies were judged on one domain only"
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """One row a domain, policy and quantity; nothing is random here.

    quantity: "gold"; "expected" and "preferred", the shares that prefer a summary to its reference
    (labelers, gold); "chars"; "slope_per_100_chars" of gold, within the policy and seed. home: 1
    for the domain of training. The references are a policy too, of one seed.
    """
    experiment = tables.experiment
    assert experiment is not None
    rows = outcomes.main_rows(experiment)
    first = outcomes.home(rows["domain"])
    left_out = {"summaries without gold": int(rows["gold"].isna().sum())}
    found = []
    for domain, part in rows.groupby("domain"):
        out = []
        for policy, mine in part.groupby("policy", sort=False):
            out += _of_policy(mine, str(policy), options.level)
            for column in TRUTHS.values():
                rate = outcomes.mean_of(mine, column, options.level, limits=(0, 1))
                out.append(row(rate, quantity=column, policy=policy))
        theirs = part.assign(gold=part["gold_reference"], chars=part["chars_reference"])
        theirs = outcomes.references(theirs, "gold")
        out += _of_policy(theirs, REFERENCE_POLICY, options.level)
        found.append(pd.DataFrame(out).assign(domain=domain, home=float(domain == first)))
    facts = rows.rename(columns={"method": "kind"}).drop_duplicates("policy")
    facts = facts[["policy", "label", "kind", "size", "parameters"]]
    table = pd.concat(found).merge(facts, on="policy", how="left")
    reference = table["policy"] == REFERENCE_POLICY
    table.loc[reference, "kind"] = table.loc[reference, "label"] = "reference"
    return Result(
        table.assign(unit=experiment.gold_unit)[_COLUMNS], outcomes.without(left_out)
    )  # fmt: skip


_COLUMNS = [
    "domain", "home", "quantity", "policy", "label", "kind", "size", "parameters", "unit",
    "sd_chars", *Estimate._fields,
]  # fmt: skip


def _of_policy(rows: pd.DataFrame, policy: str, level: float) -> list[dict[str, object]]:
    """Gold, length and the slope of one on the other, of one policy on one domain."""
    deviation = float(rows["chars"].std()) if len(rows) > 1 else float("nan")
    keys = {"policy": policy}
    return [
        row(outcomes.mean_of(rows, "gold", level), quantity=QUALITY, **keys),
        row(outcomes.mean_of(rows, "chars", level), quantity=LENGTH, sd_chars=deviation, **keys),
        row(_slope(rows, level), quantity=SLOPE, **keys),
    ]


def _slope(rows: pd.DataFrame, level: float) -> Estimate:
    """Least-squares slope of gold per 100 characters, mean over seeds of the slope within each."""
    rows = rows.dropna(subset=["gold", "chars"])
    x = rows["chars"] / 100
    x, y = x - x.mean(), rows["gold"] - rows["gold"].mean()
    products = np.column_stack([x, y, x * x, x * y])
    cells = crossed_cells(products, seeds=rows["seed"].fillna(-1), posts=rows["post_id"]).values
    counts = {"n": len(rows), "n_clusters": cells.shape[1], "level": level}
    if cells.shape[1] < 3:
        return undefined("fewer than 3 posts", **counts)
    value = _ratio(cells.mean(axis=1, keepdims=True))
    if not np.isfinite(value).all():
        return undefined("all lengths are equal", **counts)
    pseudo = pseudo_values(_ratio, cells)
    return crossed_statistic(pseudo, value=float(value.mean()), level=level, method="least squares")


def _ratio(means: Floats) -> Floats:
    """Slope from means of x, y, xx, xy along the last axis; NaN where x does not vary."""
    x, y, xx, xy = np.moveaxis(means, -1, 0)
    spread = xx - x * x
    slope: Floats = np.divide(
        xy - x * y, spread, out=np.full_like(spread, np.nan), where=spread > 1e-12
    )
    return slope


def plot(table: pd.DataFrame) -> Figure:
    """Left: gold by size and method; right: gold against length, each policy with its slope."""
    away = table[table["home"] == 0]
    away = away[away["domain"] == away["domain"].iloc[0]]
    wide = _wide(away)
    own, theirs = wide[wide["kind"] != "reference"], wide[wide["kind"] == "reference"]
    fig, (left, right) = style.figure("double", 3.0, 1, 2, sharey=True, width_ratios=[1, 1.1])
    outcomes.size_axis(left, list(own["size"].astype(str)), list(own["parameters"]), _ROOM)
    for method in METHODS:
        mine = own[(own["kind"] == method)].sort_values("parameters")
        look = outcomes.look_of(method)
        style.errorbars(
            left, mine, "parameters", "gold", se="gold_se", line=True, color=look.colour,
            marker=look.marker, ms=4.5,
        )  # fmt: skip
    _against_length(right, wide)
    for ax in (left, right):
        style.grid(ax, "y")
        for gold in theirs["gold"]:
            ax.axhline(gold, color=style.MUTED, lw=0.6, ls=(0, (4, 3)), zorder=0.9)
    left.set_ylabel(f"mean {away['unit'].iloc[0]} of the summaries")
    domain = str(away["domain"].iloc[0])
    style.title(left, f"Quality on {_DOMAINS.get(domain, domain)}")
    style.title(right, "Quality and length")
    style.note(fig, "slopes: within a policy, half an SD of length each way")
    style.note_errorbars(fig)
    ends = own.dropna(subset="gold").sort_values("parameters").groupby("kind").tail(1)
    style.label_directly(
        left, ends["parameters"].tolist(), ends["gold"].tolist(), ends["kind"].tolist(),
        [outcomes.look_of(method).colour for method in ends["kind"]],
    )  # fmt: skip
    several = own["size"].nunique() > 1
    words = [outcomes.word(str(s)) if several and k != "reference" else _PLURAL.get(k, k)
             for k, s in zip(wide["kind"], wide["size"], strict=True)]  # fmt: skip
    style.label_directly(
        right, wide["chars"].tolist(), wide["gold"].tolist(), words,
        [outcomes.look_of(kind).colour for kind in wide["kind"]], keep_off=True,
    )  # fmt: skip
    if len(theirs):
        x = 2 ** (0.02 * np.diff(np.log2(left.get_xlim()))[0]) * left.get_xlim()[0]
        left.annotate(
            "references", (x, float(theirs["gold"].iloc[0])), xytext=(0, 2),
            textcoords="offset points", fontsize=style.SMALL - 1, color=style.MUTED,
            fontfamily="DejaVu Sans",
        )  # fmt: skip
    return fig


_PLURAL = {"reference": "references"}
_DOMAINS = {"cnndm": "news", "tldr": "posts"}


def reading(table: pd.DataFrame) -> str:
    """One sentence: each method at its largest size on both domains, against the references."""
    said = []
    for method in reversed(METHODS):
        mine = table[table["kind"] == method].sort_values("parameters")
        for column in TRUTHS.values():
            rates = mine[(mine["quantity"] == column) & mine["low"].notna()]
            there, at_home = rates[rates["home"] == 0].tail(1), rates[rates["home"] == 1]
            if there.empty:
                continue
            one = there.iloc[0]
            text = (
                f"{one['value']:.1%} for {outcomes.word(str(one['size']))} {method} "
                f"({wording.interval(one)}"
            )
            before = at_home[at_home["policy"] == one["policy"]]
            text += f"; {before['value'].iloc[0]:.1%} at home)" if len(before) else ")"
            said.append((column, text))
            break
    if not said:
        return "No policy was judged on enough posts of a second domain for an interval."
    by = "labelers" if said[0][0] == "expected" else "the gold score"
    domain = str(table.loc[table["home"] == 0, "domain"].iloc[0])
    where = _DOMAINS.get(domain, domain)
    return f"On {where} preferred to the references by {by}: {', '.join(t for _, t in said)}."


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a policy, its quantities side by side."""
    facts = rows.drop_duplicates("policy")[["policy", "kind", "size", "parameters"]]
    for quantity in (QUALITY, LENGTH, SLOPE):
        mine = rows[rows["quantity"] == quantity][["policy", "value", "se", "sd_chars"]]
        mine = mine.rename(columns={"value": quantity, "se": f"{quantity}_se"})
        drop = [] if quantity == LENGTH else ["sd_chars"]
        facts = facts.merge(mine.drop(columns=drop), on="policy", how="left")
    return facts


def _against_length(ax: Axes, wide: pd.DataFrame) -> None:
    for _, one in wide.iterrows():
        look = outcomes.look_of(str(one["kind"]))
        x, y, slope = (float(one[quantity]) for quantity in (LENGTH, QUALITY, SLOPE))
        reach = np.array([-_REACH, _REACH]) * float(one["sd_chars"])
        ax.plot(
            x + reach, y + slope * reach / 100, color=look.colour, lw=1.0, alpha=0.55, zorder=1.5
        )
        ax.errorbar(
            [x], [y], xerr=[one["chars_se"]], yerr=[one["gold_se"]], color=look.colour,
            marker=look.marker, ms=4.5, lw=0, elinewidth=0.9,
        )  # fmt: skip
    ax.set_xlabel("mean length, characters")
