"""The preference analysis: rates of the released rows, options, counts, and a redrawn figure."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
import rich.style  # noqa: F401 - draws from `random` when imported, which no test may do

from analyses import preference
from evalsuite.datasets import load, parse_policy
from evalsuite.report import style
from evalsuite.stats.estimate import Estimate
from evalsuite.tables import Tables, from_columns

POLICIES = ["reference_summary", "sup4_t0.7", "sup4_ppo_rm3_kl10"]


def small_tables(rng, n=240, **columns) -> Tables:
    left = np.array(POLICIES)[rng.integers(0, 3, n)]
    right = np.array(POLICIES)[rng.integers(0, 3, n)]
    data = {
        "comparison_id": [f"c{i}" for i in range(n)],
        "left_policy": left,
        "right_policy": right,
        "choice": rng.integers(0, 2, n).astype(float),
        "item": [f"post{i}" for i in rng.integers(0, 30, n)],
        "labeler": [f"person{i}" for i in rng.integers(0, 8, n)],
        "split": ["valid1" if i % 3 else "valid2" for i in range(n)],
        **columns,
    }
    names = [parse_policy(policy) for policy in POLICIES]
    fields = ("base", "temperature", "top_p", "best_of_n", "objective", "kl_nats", "method")
    policies = {"policy": POLICIES, **{f: [getattr(p, f) for p in names] for f in fields}}
    return Tables(
        comparisons=from_columns("comparisons", data), policies=from_columns("policies", policies)
    )


def compute(tables, rng, **options):
    return preference.compute(tables, preference.Options(**options), rng)


def as_read_back(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def test_the_released_rows_give_the_known_rates(shared_data, rng):
    """P(reference preferred) and n of pairs_batch3_to_10.jsonl, counted from the raw rows."""
    tables = load(shared_data / "tldr_feedback" / "pairs_batch3_to_10.jsonl")
    table, left_out = compute(tables, rng)
    rates = table[(table["quantity"] == "preference") & (table["policy"] == "reference_summary")]
    rates = rates.set_index("against")
    known = {
        "sup1": (0.811, 507), "sup2": (0.724, 1160), "sup3_6b": (0.682, 170),
        "sup4_t0.7": (0.667, 159), "sup3_bo63_rm2": (0.469, 81),
        "sup4_bo128_rm3": (0.483, 118), "sup4_ppo_rm3_kl10": (0.474, 114),
        "sup4_bo256_rm3_6b": (0.364, 11),
    }  # fmt: skip
    for policy, (rate, n) in known.items():
        assert round(rates.loc[policy, "value"], 3) == rate, policy
        assert rates.loc[policy, "n"] == n
        assert rates.loc[policy, "method"].startswith("robust, rows as clusters (no post ids), t(")
    # 5,218 of the 7,944 pairs are of two different policies.
    assert left_out == {"comparisons of a policy with itself": 2726}
    assert (table["quantity"] == "strength").sum() == 21


def test_posts_are_the_clusters_of_the_raw_comparisons(shared_data, rng):
    """Simple binomial facts of batch18: T=0 against the reference .367 of 98, T=.7 .247 of 97."""
    tables = load(shared_data / "tldr_feedback" / "comparisons" / "batch18.json")
    table, _ = compute(tables, rng)
    rates = table[(table["quantity"] == "preference") & (table["against"] == "reference_summary")]
    rates = rates.set_index("policy")
    assert round(rates.loc["sup4_6b", "value"], 3) == 0.367
    assert round(rates.loc["sup4_6b_t0.7", "value"], 3) == 0.247
    assert rates.loc["sup4_6b", "n"] == 98
    assert "cluster-robust by post" in rates.loc["sup4_6b", "method"]


def test_strengths_come_as_log_odds_and_as_rates(rng):
    table, _ = compute(small_tables(rng), rng)
    strength = table[table["quantity"] == "strength"].set_index("policy")
    implied = table[table["quantity"] == "implied_preference"].set_index("policy")
    for policy in POLICIES[1:]:
        s, p = strength.loc[policy], implied.loc[policy]
        rate = 1 / (1 + math.exp(-s["value"]))
        assert p["value"] == pytest.approx(rate)
        assert p["se"] == pytest.approx(s["se"] * rate * (1 - rate))
        assert p["high"] == pytest.approx(1 / (1 + math.exp(-s["high"])))
    assert list(table.columns[-8:]) == list(Estimate._fields)
    assert strength.loc["sup4_ppo_rm3_kl10", "policy_method"] == "ppo"


def test_splits_restrict_and_are_counted(rng):
    tables = small_tables(rng)
    table, left_out = compute(tables, rng, splits=("valid2",))
    assert left_out["comparisons of other splits"] == 160
    kept = tables.comparisons[tables.comparisons["split"] == "valid2"]
    own = (kept["left_policy"] == kept["right_policy"]).sum()
    assert left_out["comparisons of a policy with itself"] == own
    n = table.loc[table["quantity"] == "preference", "n"].sum() / 2
    assert n == 80 - own
    nothing, _ = compute(tables, rng, splits=("test",))
    assert nothing.empty
    assert preference.reading(nothing) == "No comparison of two different policies."
    assert preference.plot(as_read_back(nothing)).axes


@pytest.mark.parametrize(
    ("clusters", "said"),
    [("labeler", "by labeler, t("), ("both", "by post and labeler, two-way, t(")],
)
def test_other_clusters(rng, clusters, said):
    table, _ = compute(small_tables(rng), rng, clusters=clusters)
    rows = table[~table["method"].str.startswith("the anchor")]
    assert rows["method"].str.contains(said, regex=False).all()
    assert (rows["n_clusters"] == 8).all()


def test_the_figure_redraws_from_the_csv_and_says_what_bars_are(rng):
    table, _ = compute(small_tables(rng), rng)
    fig = preference.plot(as_read_back(table))
    left, matrix = fig.axes[:2]
    bars = {round(float(c.lines[0].get_xdata()[0]), 6) for c in left.containers}
    direct = table[(table["quantity"] == "preference") & (table["against"] == POLICIES[0])]
    for value in direct["value"]:
        assert round(value, 6) in bars
    assert "error bars: 1 SE" in " ".join(fig.get_supxlabel().split())
    assert len(matrix.texts) == 6


def test_many_policies_are_cut_to_those_with_most_comparisons(rng, monkeypatch):
    monkeypatch.setattr(preference, "MAX_SHOWN", 2)
    table, _ = compute(small_tables(rng), rng)
    fig = preference.plot(as_read_back(table))
    assert len(fig.axes[0].get_yticklabels()) == 2
    assert "2 of 3 policies" in " ".join(fig.get_supxlabel().split())


def test_a_matrix_too_fine_for_numbers_has_none(rng, monkeypatch):
    monkeypatch.setattr(preference, "MAX_NUMBERED", 2)
    table, _ = compute(small_tables(rng), rng)
    matrix = preference.plot(as_read_back(table)).axes[1]
    assert not matrix.texts
    assert "darker: more often" in matrix.get_xlabel()


def test_the_reading_names_the_best_policy(rng):
    choice = np.ones(240)
    tables = small_tables(rng, choice=choice)
    table, _ = compute(tables, rng)
    rates = table[(table["quantity"] == "preference") & (table["against"] == POLICIES[0])]
    best = rates.loc[rates["value"].idxmax(), "policy"]
    label = style.policy_style(best).label
    assert preference.reading(table).startswith(
        f"Of 2 policies compared with the references, {label} is preferred most often ("
    )


def test_what_the_data_does_not_allow_is_said(rng):
    assert preference.missing(Tables()) == "no comparisons"
    alike = small_tables(rng, left_policy=["a"] * 240, right_policy=["a"] * 240)
    assert preference.missing(alike) == "no comparison of two different policies"
    assert preference.missing(small_tables(rng)) is None
