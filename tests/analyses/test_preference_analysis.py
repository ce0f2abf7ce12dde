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
from evalsuite.errors import ConfigError
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
    with pytest.raises(ConfigError, match=r"splits is 'valid3'; did you mean 'valid[12]'"):
        compute(tables, rng, splits=("valid3",))


def test_no_comparison_of_two_policies_gives_an_empty_table_and_a_figure_that_says_so(rng):
    alike = small_tables(rng, left_policy=["a"] * 240, right_policy=["a"] * 240)
    nothing, _ = compute(alike, rng)
    assert nothing.empty
    assert preference.reading(nothing) == "No comparison of two different policies."
    (text,) = preference.plot(as_read_back(nothing)).axes[0].texts
    assert text.get_text() == "no policy has enough comparisons for an interval"


def test_a_reference_that_is_no_policy_is_refused_and_one_that_is_missing_gives_way(rng):
    with pytest.raises(ConfigError, match=r"reference is 'sup4_t0.6'; did you mean 'sup4_t0.7'"):
        compute(small_tables(rng), rng, reference="sup4_t0.6")
    # Without the references 0.7 and ppo meet alike often: the first by name is the anchor.
    pair = POLICIES[1:]
    tables = small_tables(rng, left_policy=[pair[0]] * 240, right_policy=[pair[1]] * 240)
    table, _ = compute(tables, rng)
    anchor = table.loc[table["quantity"] == "strength", "against"].unique()
    assert len(anchor) == 1
    assert preference.reading(table).count(f"to {style.policy_style(anchor[0]).label} in ") == 1


def test_what_has_too_few_posts_for_an_interval_is_counted_not_drawn(rng):
    """Two comparisons of "rare" with the references, two with sup4: no dot, row or number."""
    tables = small_tables(rng)
    rows = tables.comparisons.copy()
    rows.loc[rows.index[:4], "left_policy"] = "rare"
    rows.loc[rows.index[:4], "right_policy"] = [POLICIES[0], POLICIES[0], POLICIES[1], POLICIES[1]]
    table, _ = compute(Tables(comparisons=rows, policies=tables.policies), rng)
    met = table[(table["quantity"] == "preference") & (table["policy"] == "rare")]
    assert met["n"].tolist() == [2, 2]
    fig = preference.plot(as_read_back(table))
    labels = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    assert len(labels) == 3
    assert not any("rare" in label for label in labels)
    note = " ".join(fig.get_supxlabel().split())
    assert "1 policy of too few clusters for an interval in the table only" in note


def test_a_pair_of_few_posts_has_a_dash_in_the_matrix(rng):
    """All rows of sup4 and ppo but three are turned into comparisons with the references."""
    tables = small_tables(rng)
    rows = tables.comparisons.copy()
    sides = rows[["left_policy", "right_policy"]].isin(POLICIES[1:]).all(axis=1)
    sides &= rows["left_policy"] != rows["right_policy"]
    rows.loc[rows.index[sides][3:], "left_policy"] = POLICIES[0]
    table, _ = compute(Tables(comparisons=rows, policies=tables.policies), rng)
    fig = preference.plot(as_read_back(table))
    assert [text.get_text() for text in fig.axes[1].texts].count("–") == 2
    assert "–: too few posts" in fig.get_supxlabel()


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
    monkeypatch.setattr(preference, "MAX_SHOWN", 1)  # beside the anchor
    table, _ = compute(small_tables(rng), rng)
    fig = preference.plot(as_read_back(table))
    assert len(fig.axes[0].get_yticklabels()) == 2
    note = " ".join(fig.get_supxlabel().split())
    assert "1 with fewer comparisons in the table only" in note


def test_one_opponent_of_all_has_no_matrix(rng):
    """Its one column would repeat the rates; a single other pair brings the matrix back."""
    star = rng.permuted(np.array([[POLICIES[0], p] for p in POLICIES[1:]] * 120), axis=1)
    tables = small_tables(rng, left_policy=star[:, 0], right_policy=star[:, 1])
    table, _ = compute(tables, rng)
    (ax,) = preference.plot(as_read_back(table)).axes
    # The numbers behind the names are those of the matrix's columns, so they go with it.
    names = {style.policy_style(policy).label for policy in POLICIES}
    assert {text.get_text().split("\n")[0] for text in ax.get_yticklabels()} == names
    rows = tables.comparisons.copy()
    rows.loc[rows.index[0], ["left_policy", "right_policy"]] = POLICIES[1:]
    table, _ = compute(Tables(comparisons=rows, policies=tables.policies), rng)
    assert len(preference.plot(as_read_back(table)).axes) == 2


def test_a_matrix_too_fine_for_numbers_has_none(rng, monkeypatch):
    monkeypatch.setattr(preference, "MAX_NUMBERED", 2)
    table, _ = compute(small_tables(rng), rng)
    matrix = preference.plot(as_read_back(table)).axes[1]
    assert not matrix.texts
    assert [tick.get_text() for tick in matrix.get_xticklabels()] == ["1", "2", "3"]
    (bar,) = matrix.child_axes
    assert [text.get_text() for text in bar.texts] == ["0%", "100%"]


def line(policy: str, value: float, low: float, high: float, n: int) -> dict[str, object]:
    keys = {"quantity": "preference", "policy": policy, "against": POLICIES[0]}
    return {**keys, "value": value, "low": low, "high": high, "n": n, "level": 0.95}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (  # 73% of 22 labels do not beat 55% of 400, and are not counted above 50%
            [
                line("M1", 0.55, 0.51, 0.59, 400),
                line("M2", 0.73, 0.53, 0.93, 22),
                line("M3", 0.4, 0.3, 0.5, 90),
                line("M4", 1.0, math.nan, math.nan, 2),
            ],
            "Of 3 policies with an interval against the references, M1 does best among those with "
            "30 labels or more by the lower end of its interval: 55.0% (95% interval 51.0% to "
            "59.0%, n = 400); of these 2 intervals one lies above 50%.",
        ),
        (  # only one has labels enough
            [line("M1", 0.45, 0.41, 0.49, 400), line("M2", 0.73, 0.53, 0.93, 22)],
            "Of 2 policies with an interval against the references, M1 does best among those with "
            "30 labels or more by the lower end of its interval: 45.0% (95% interval 41.0% to "
            "49.0%, n = 400); its interval does not lie above 50%.",
        ),
        (  # the higher rate is the less certain one
            [line("M1", 0.45, 0.41, 0.49, 400), line("M2", 0.47, 0.3, 0.64, 40)],
            "Of 2 policies with an interval against the references, M1 does best by the lower end "
            "of its interval: 45.0% (95% interval 41.0% to 49.0%, n = 400); no interval lies above "
            "50%.",
        ),
        (
            [line("M1", 0.55, 0.51, 0.59, 400)],
            "M1 is preferred to the references in 55.0% of 400 comparisons (95% interval 51.0% to "
            "59.0%).",
        ),
        (
            [line("M1", 1.0, math.nan, math.nan, 2)],
            "1 policy compared, none often enough with the references for an interval.",
        ),
    ],
)
def test_the_reading_names_the_policy_that_is_surely_best(rows, said):
    strengths = [{**row, "quantity": "strength"} for row in rows]
    assert preference.reading(pd.DataFrame([*rows, *strengths])) == said


def test_what_the_data_does_not_allow_is_said(rng):
    assert preference.missing(Tables()) == "no comparisons"
    alike = small_tables(rng, left_policy=["a"] * 240, right_policy=["a"] * 240)
    assert preference.missing(alike) == "no comparison of two different policies"
    assert preference.missing(small_tables(rng)) is None
