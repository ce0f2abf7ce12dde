"""Preference by decoding setting: temperature and nucleus sampling (Figure 8, Appendix B.1).

For every model that the labels show at two settings or more: how often its summaries are preferred
to the reference at each setting, and, where summaries of two settings met, which was preferred.
Settings are read from policy names (`datasets.release.parse_policy`). What to show may be changed;
the rates of batch 18 of the release in tests/analyses/test_decoding.py prove the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyses import wording
from analyses.choices import Share, check_policy
from evalsuite.errors import EvalsuiteError
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report import style
from evalsuite.report.result import Result
from evalsuite.stats.estimate import Estimate
from evalsuite.stats.preference import pairwise_rates
from evalsuite.tables import Tables

TITLE = "Preference by temperature and top-p"
SOURCE = "Figure 8 and Appendix B.1 of Stiennon et al. 2020 (arXiv 2009.01325)"
DIFFERS = (
    "The paper sweeps one set of settings; here every setting that the labels hold is shown, each "
    "with its number of comparisons, and settings that met are compared directly too. Standard "
    "errors are clustered by post. Best-of-N policies and policies whose names do not say how they "
    "were decoded are left out."
)
SCORES: tuple[str, ...] = ()

OVER_REFERENCE, OVER_SETTING = "preferred to the reference", "preferred to the other setting"
_NONE = "no model was compared at two or more known decoding settings"
_KEYS = ["quantity", "domain", "model", "policy", "setting", "temperature", "top_p", "against"]
_COLUMNS = [*_KEYS, *Estimate._fields]


@dataclass(frozen=True)
class Options:
    """Settings of the analysis.

    reference: the policy that settings are compared with.
    level: coverage of the intervals in the table.
    """

    reference: str = REFERENCE_POLICY
    level: Share = 0.95


def missing(tables: Tables) -> str | None:
    """Why these tables do not allow the analysis; None when they do."""
    if tables.comparisons.empty:
        return "the data has no comparisons"
    rows, _ = _labelled(tables, REFERENCE_POLICY)
    if rows.empty:
        return _NONE
    return None


def compute(tables: Tables, options: Options, rng: np.random.Generator) -> Result:
    """Preference rates by setting, and between settings of one model.

    One row a model and setting against the reference, then one row a pair of settings that met,
    the colder one first. Spellings of one setting (`_t.7`, `_t0.7`) are pooled; `policy` is one of
    them. Models are kept apart by `domain`: news and TL;DR do not mix.

    Raises ConfigError on a policy that the data does not have, EvalsuiteError when no model has two
    settings.
    """
    check_policy("reference", options.reference, tables)
    rows, left_out = _labelled(tables, options.reference)
    if rows.empty:
        raise EvalsuiteError(_NONE)
    known = _decoding(tables.policies).reset_index()
    order = ["top_p", "temperature"]
    found = []
    for (domain, model), group in rows.groupby(["domain", "model"], sort=True):
        settings = known[known["model"] == model].sort_values("policy").dropna(subset="setting")
        settings = settings.drop_duplicates("setting").sort_values(order, na_position="first")
        settings = settings.assign(rank=np.arange(len(settings))).set_index("setting")
        rates = pairwise_rates(group, level=options.level).rename(columns={"policy": "setting"})
        first, second = (rates[side].map(settings["rank"]) for side in ("setting", "against"))
        over_reference = rates["against"] == options.reference
        rates = rates.assign(
            quantity=np.where(over_reference, OVER_REFERENCE, OVER_SETTING),
            domain=domain, first=first, second=second,
        ).join(settings[["model", "policy", "temperature", "top_p"]], on="setting")  # fmt: skip
        # Each pair once; the reference itself has no rank.
        found.append(rates[first.notna() & (over_reference | (first < second))])
    keys = ["domain", "model", "quantity", "first", "second"]
    table = pd.concat(found).sort_values(keys, ascending=[True, True, False, True, True])
    return Result(table[_COLUMNS].reset_index(drop=True), left_out)


def _labelled(tables: Tables, reference: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Comparisons within a model's settings or against the reference, sides named by setting.

    Adds `model`; `left_policy` and `right_policy` become settings ("T=0.7") or the reference.
    Rows that do not belong are counted by reason.
    """
    rows = tables.comparisons
    names = _decoding(tables.policies)
    sides = {s: rows[f"{s}_policy"] for s in ("left", "right")}
    model = {s: side.map(names["model"]) for s, side in sides.items()}
    setting = {s: side.map(names["setting"]) for s, side in sides.items()}
    is_ref = {s: side == reference for s, side in sides.items()}
    known = {s: is_ref[s] | setting[s].notna() for s in sides}
    with_ref = is_ref["left"] ^ is_ref["right"]
    same_model = (model["left"] == model["right"]) & ~is_ref["left"] & ~is_ref["right"]

    stated = known["left"] & known["right"]
    related = with_ref | same_model
    distinct = with_ref | (setting["left"] != setting["right"])
    rows = rows.assign(
        model=model["left"].where(~is_ref["left"], model["right"]),
        left_policy=setting["left"].where(~is_ref["left"], reference),
        right_policy=setting["right"].where(~is_ref["right"], reference),
        domain=rows["domain"].fillna("unknown"),
    )
    left_out = {
        "decoding setting not in the policy's name, or best-of-N": int((~stated).sum()),
        "neither with the reference nor between settings of one model": int(
            (stated & ~related).sum()
        ),
        "both summaries of one setting": int((stated & related & ~distinct).sum()),
    }
    rows = rows[stated & related & distinct]
    both = pd.concat([rows["left_policy"], rows["right_policy"]]).rename("setting")
    where = pd.concat([rows[["domain", "model"]]] * 2).assign(setting=both)
    counts = where[where["setting"] != reference].groupby(["domain", "model"])["setting"].nunique()
    several = (rows.set_index(["domain", "model"]).index.map(counts) >= 2) if len(rows) else []
    left_out["model at one setting only"] = len(rows) - int(np.sum(several))
    return rows[np.asarray(several, dtype=bool)], {k: v for k, v in left_out.items() if v}


def _decoding(policies: pd.DataFrame) -> pd.DataFrame:
    """Model, setting, temperature, top-p by policy; no setting where the name does not say it."""
    table = policies.set_index("policy")
    temperature, top_p = table["temperature"], table["top_p"]
    tuned = table["method"] == "ppo"
    model = table["base"].where(~tuned, table["base"] + "_ppo_" + table["objective"])
    model = model.where(table["value_network"].isna(), model + "_" + table["value_network"])
    for column, word in (("kl_nats", "_kl"), ("kl_coef", "_b")):
        known = tuned & table[column].notna()
        model = model.where(~known, model + word + table[column].map("{:g}".format))
    said = [_setting(t, p) for t, p in zip(temperature, top_p, strict=True)]
    setting = pd.Series(said, index=table.index, dtype="str")
    setting = setting.where((setting != "") & (table["method"] != "best_of_n"))
    return pd.DataFrame(
        {"model": model, "setting": setting,
         "temperature": temperature, "top_p": top_p}
    )  # fmt: skip


def _setting(temperature: float, top_p: float) -> str:
    parts = [] if math.isnan(temperature) else [f"T={temperature:g}"]
    parts += [] if math.isnan(top_p) else [f"top-p {top_p:g}"]
    return ", ".join(parts)


def plot(table: pd.DataFrame) -> Figure:
    """Rates against the reference by temperature and by top-p, and settings head to head.

    Rates of fewer posts than an interval needs stay in the table.
    """
    drawn = table[table["low"].notna()]
    over = drawn[drawn["quantity"] == OVER_REFERENCE]
    met = drawn[drawn["quantity"] == OVER_SETTING]
    cold, nucleus = over[over["top_p"].isna()], over[over["top_p"].notna()]
    widths = [3.0, 1.6 if len(nucleus) else 0.0, 2.6 if len(met) else 0.0]
    shown = [width for width in widths if width]
    fig, axes = style.figure(
        "double" if len(shown) > 1 else "single", max(2.6, 0.19 * len(met) + 0.9),
        cols=len(shown), width_ratios=shown, squeeze=False,
    )  # fmt: skip
    panels = list(axes[0])
    reach = float((over["value"] + over["se"].fillna(0)).max()) if len(over) else 0.0
    limits = 0.0, min(1.02, max(0.56, reach + 0.08))
    _rates(panels[0], cold, "temperature", table)
    style.rate_axis(panels[0], "y", label="preferred to the reference", limits=limits, chance=0.5)
    if len(nucleus):
        _rates(panels[1], nucleus, "top_p", table)
        style.rate_axis(panels[1], "y", limits=limits, chance=0.5)
        panels[1].tick_params(labelleft=False)
    if len(met):
        _head_to_head(panels[-1], met, table)
    style.note_table_only(fig, len(table) - len(drawn), "rate")
    style.note_errorbars(fig)
    if len(_models(cold)) > 1:  # last: labels are placed where the layout puts the points
        _make_room(panels[0], float(cold["temperature"].max()))
        last = cold.sort_values("temperature").groupby(["domain", "model"]).tail(1)
        style.label_directly(
            panels[0], last["temperature"].tolist(), last["value"].tolist(),
            [_model(row, table) for _, row in last.iterrows()],
            [style.policy_style(policy).colour for policy in last["policy"]], keep_off=True,
        )  # fmt: skip
    return fig


def reading(table: pd.DataFrame) -> str:
    """One sentence on the model with most comparisons: best and worst setting, then the duel."""
    over = table[(table["quantity"] == OVER_REFERENCE) & table["low"].notna()]
    met = table[(table["quantity"] == OVER_SETTING) & table["low"].notna()]
    said, ends = [], ("", "")
    if len(over):
        largest = over.groupby(["domain", "model"])["n"].sum().idxmax()
        mine = over[(over["domain"] == largest[0]) & (over["model"] == largest[1])]
        met = met[(met["domain"] == largest[0]) & (met["model"] == largest[1])]
        best = wording.surest(mine)
        worst = mine.loc[wording.well_known(mine)["value"].idxmin()]
        ends = best["setting"], worst["setting"]
        text = (
            f"{_model(best, table)} summaries are preferred to "
            f"{wording.named(best['against'])} in {best['value']:.1%} of {best['n']:,} comparisons "
            f"at {best['setting']}"
        )
        if best["setting"] != worst["setting"]:
            text += f", the best setting, and in {worst['value']:.1%} of {worst['n']:,} at "
            text += f"{worst['setting']}, the worst"
        said.append(text)
    if len(met):
        # The best against the worst where they met, else the pair that met most often.
        first, second = met["setting"], met["against"]
        pair = met[
            ((first == ends[0]) & (second == ends[1])) | ((first == ends[1]) & (second == ends[0]))
        ]
        duel = (pair if len(pair) else met).sort_values("n").iloc[-1]
        said.append(
            f"compared directly, {duel['setting']} is preferred to {duel['against']} in "
            f"{duel['value']:.1%} of {duel['n']:,}"
        )
    if not said:
        return "No setting was compared on enough posts for an interval."
    sentence = "; ".join(said) + "."
    return sentence[0].upper() + sentence[1:]


def _rates(ax: Axes, over: pd.DataFrame, x: str, table: pd.DataFrame) -> None:
    """Points by `x`, joined within a model; a lone model is the title and its counts are shown."""
    models = _models(over)
    for place, (_, rows) in enumerate(over.sort_values(x).groupby(["domain", "model"])):
        # Models at one setting stand side by side.
        rows = rows.assign(at=rows[x] + 0.015 * (place - (len(models) - 1) / 2))
        ax.plot(rows["at"], rows["value"], color=style.FAINT, lw=1.2, zorder=1)
        for i, (_, row) in enumerate(rows.iterrows()):
            style.errorbars(ax, rows.iloc[[i]], "at", policy=row["policy"])
            if len(models) == 1:
                ax.annotate(
                    f"n={row['n']:,}", (row["at"], row["value"] + np.nan_to_num(row["se"])),
                    xytext=(0, 5), textcoords="offset points", ha="center",
                    fontsize=style.SMALL - 1.5, color=style.MUTED,
                )  # fmt: skip
    ax.margins(x=0.14)
    if x == "top_p":
        ax.set_xlim(min(0.68, float(over[x].min()) - 0.05), 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.set_xlabel("top-p" if x == "top_p" else x)
    if len(models) == 1 and (x == "temperature" or len(_models(table)) > 1):
        style.title(ax, _model(over.iloc[0], table))


def _make_room(ax: Axes, last: float) -> None:
    """Room for the models' names to the right of the last points, without ticks."""
    ticks = [tick for tick in ax.get_xticks() if 0 <= tick <= last]
    low, high = ax.get_xlim()
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlim(low, high + 0.5 * (high - low))


def _head_to_head(ax: Axes, met: pd.DataFrame, table: pd.DataFrame) -> None:
    names = [f"{row['setting']} over {row['against']}" for _, row in met.iterrows()]
    several = len(_models(met)) > 1
    if several:
        models = [_model(row, table) for _, row in met.iterrows()]
        names = [f"{model}: {name}" for model, name in zip(models, names, strict=True)]
    style.forest(
        ax, names, met["value"].tolist(), met["se"].tolist(),
        policies=met["policy"].tolist(), counts=met["n"].tolist(),
    )  # fmt: skip
    ends = pd.concat([met["value"] - met["se"], met["value"] + met["se"]])
    reach = max(0.15, float((ends - 0.5).abs().max()) + 0.03)
    style.rate_axis(
        ax, "x", label="first setting preferred", chance=0.5,
        limits=(max(-0.02, 0.5 - reach), min(1.02, 0.5 + reach)),
    )  # fmt: skip
    plain = several or len(_models(table)) == 1
    style.title(ax, "Head to head" if plain else f"Head to head: {_model(met.iloc[0], table)}")


def _models(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(table.groupby(["domain", "model"]).groups)


def _model(row: pd.Series, table: pd.DataFrame) -> str:
    """The model's label, with its domain where the table has several."""
    label = style.model_label(row["policy"])
    return f"{label} ({row['domain']})" if table["domain"].nunique() > 1 else label
