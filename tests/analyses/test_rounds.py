"""Rounds of labels: shares by hand, drift and its trend, what is left out, the panels."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import rounds
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables, from_columns

POSTS = [f"p{i}" for i in range(6)]


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def experiment(**tables: pd.DataFrame) -> Experiment:
    return Experiment({name: coerce(name, table) for name, table in tables.items()})


def pairs(right: dict[float, list[float]], seeds: int = 1) -> pd.DataFrame:
    """right: round (NaN: the labeler) -> whether it was right on a pair of each post."""
    return pd.concat(
        pd.DataFrame(
            {"model": "labeler" if math.isnan(at) else f"rm{at:g}-s{seed}", "seed": seed,
             "round": at, "labels": 100 * at, "post_id": POSTS, "correct": correct}
        )
        for at, correct in right.items() for seed in range(seeds)
    )  # fmt: skip


POLICIES = pd.DataFrame(
    [
        ("sup_small_t0.7", "supervised", "small", 0.7, math.nan, math.nan),
        ("sup_small_t0", "supervised", "small", 0.0, math.nan, math.nan),
        ("sup_small_ppo_rm1_b0.05_t0.7", "human feedback", "small", 0.7, math.nan, 1),
        ("sup_small_ppo_rm2_b0.05_t0.7", "human feedback", "small", 0.7, math.nan, 2),
        ("sup_small_bo8_rm2", "best-of-n", "small", 0.7, 8, 2),
    ],
    columns=["policy", "method", "size", "temperature", "best_of_n", "round"],
)


def summaries(**expected: list[float]) -> pd.DataFrame:
    """Preference of a policy's summary of each post; labelers expect half, gold is ten times."""
    return pd.concat(
        pd.DataFrame({"policy": policy, "seed": 0, "post_id": POSTS, "domain": "tldr",
                      "preferred": of, "expected": np.asarray(of) / 2,
                      "gold": 10 * np.asarray(of)})
        for policy, of in expected.items()
    )  # fmt: skip


def labels(batches: dict[str, list[float]], policy: str = "sup_small_t0.7") -> Tables:
    """batches: for each batch whether the reference was preferred; every other row has it left."""
    rows = [
        (batch, wins, i % 2 == 0, f"p{i}")
        for batch, of in batches.items() for i, wins in enumerate(of)
    ]  # fmt: skip
    ref = "reference_summary"
    return Tables(
        comparisons=from_columns(
            "comparisons",
            {"comparison_id": range(len(rows)), "batch": [r[0] for r in rows],
             "left_policy": [ref if r[2] else policy for r in rows],
             "right_policy": [policy if r[2] else ref for r in rows],
             "choice": [1 - r[1] if r[2] else r[1] for r in rows],
             "item": [r[3] for r in rows]},
        ),
        policies=from_columns(
            "policies",
            {"policy": [ref, policy, "sup_small_t0"],
             "method": ["reference", "supervised", "supervised"]},
        ),
        experiment=experiment(policies=POLICIES),
    )  # fmt: skip


def compute(tables: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    result = rounds.compute(tables, rounds.Options(), np.random.default_rng(0))
    return through_csv(result.table), result.left_out


RIGHT = {1.0: [1, 1, 1, 0, 0, 0], 2.0: [1, 1, 1, 1, 0, math.nan], math.nan: [1, 1, 1, 1, 1, 0]}


def test_accuracy_by_round() -> None:
    table, left_out = compute(Tables(experiment=experiment(pairs=pairs(RIGHT))))
    found = table.set_index("round")
    assert found.loc[1.0, ["value", "n", "labels"]].tolist() == [0.5, 6, 100]
    assert found.loc[2.0, ["value", "n", "labels"]].tolist() == [0.8, 5, 200]
    labeler = table[table["round"].isna()].iloc[0]
    assert (labeler["series"], labeler["value"]) == ("one labeler", pytest.approx(5 / 6))
    assert left_out == {"pairs without accuracy": 1, "pairs without agreement": 18}
    assert rounds.reading(table).startswith(
        "From round 1 to 2: the reward model is right on 50.0%, then 80.0% (95% interval "
    )


def test_agreement_where_the_truth_of_pairs_is_unknown() -> None:
    of = pairs(RIGHT).rename(columns={"correct": "agrees"})
    table, _ = compute(Tables(experiment=experiment(pairs=of)))
    assert set(table["quantity"]) == {"agreement"}
    (ax,) = rounds.plot(table).axes
    assert ax.get_ylabel() == "agrees with a labeler"
    assert "agrees with a labeler on 50.0%, then 80.0%" in rounds.reading(table)


SUMMARIES = {
    "sup_small_t0.7": [0.2] * 6, "sup_small_t0": [0.4] * 6,
    "sup_small_ppo_rm1_b0.05_t0.7": [0.3, 0.5] * 3,
    "sup_small_ppo_rm2_b0.05_t0.7": [0.5, 0.7, 0.6] * 2, "sup_small_bo8_rm2": [0.4, 0.6] * 3,
}  # fmt: skip


def test_policies_of_rounds_beside_what_they_began_from() -> None:
    news = summaries(**SUMMARIES).assign(domain="news", preferred=0.0)
    rows = pd.concat([summaries(**SUMMARIES), news.head(5)])
    table, left_out = compute(Tables(experiment=experiment(policies=POLICIES, summaries=rows)))
    liked = table[table["quantity"] == "preferred"].set_index("policy")
    # Another temperature is not what they began from, nor does the other domain count.
    assert list(liked.index) == [p for p in SUMMARIES if p != "sup_small_t0"]
    assert liked["value"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.5])
    assert liked["series"].tolist() == ["supervised", "PPO", "PPO", "best of 8"]
    expected = table[table["quantity"] == "expected"]
    assert expected["value"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.25])
    gold = table[table["quantity"] == "gold"].set_index("policy")
    assert gold["value"].tolist() == pytest.approx([2, 4, 6, 5])
    assert set(gold["unit"]) == {"utility"}
    assert left_out == {}
    (ax,) = rounds.plot(table).axes
    drawn = [container.lines[0].get_ydata().tolist() for container in ax.containers]
    assert drawn == [pytest.approx([0.4, 0.6]), pytest.approx([0.5])]
    assert {"supervised", "PPO", "best of 8"} <= {text.get_text() for text in ax.texts}
    said = rounds.reading(table)
    assert "PPO is truly better than the reference in 40.0%, then 60.0% (95% interval" in said
    assert "best of 8 is truly better than the reference in 50.0% (" in said


def test_summaries_of_unknown_worth_are_counted() -> None:
    rows = summaries(**SUMMARIES).drop(columns="expected")
    rows.loc[rows["policy"] == "sup_small_bo8_rm2", ["preferred", "gold"]] = math.nan
    table, left_out = compute(Tables(experiment=experiment(policies=POLICIES, summaries=rows)))
    liked = table[table["quantity"] == "preferred"]
    assert liked["value"].tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert left_out == {
        "summaries of rounds without preferred": 6, "summaries of rounds without expected": 24,
        "summaries of rounds without gold": 6,
    }  # fmt: skip


def test_best_of_n_by_each_rounds_reward_model() -> None:
    # Three samples a post with gold 1, 5, 3; rm1 likes the last best, rm2 the second.
    pool = pd.concat(
        pd.DataFrame({"base": "sup_small_t0.7", "seed": 0, "post_id": post, "sample": range(3),
                      "gold": [1.0, 5, 3], "proxy:rm1": [0.0, 1, 2], "proxy:rm2": [0.0, 2, 1]})
        for post in POSTS[:4]
    )  # fmt: skip
    facts = pd.DataFrame(
        [("rm1", "rm", 1), ("rm2", "rm", 2), ("rm3", "rm", 3), ("rouge", "rouge", math.nan)],
        columns=["objective", "kind", "round"],
    )
    begun = summaries(**{"sup_small_t0.7": [0.5, 0.5, 0, 0, 1, 1]})
    worth = begun.assign(gold_reference=[3, 3, 4, 4, 3, 3])
    made = experiment(
        policies=POLICIES, summaries=worth, pool=pool, objectives=facts
    )  # fmt: skip
    table, left_out = compute(Tables(experiment=made))
    best = table[table["how"] == "best-of-n"]
    assert set(best["series"]) == {"best of 3"}
    gold, liked = (best[best["quantity"] == q].set_index("round") for q in ("gold", "preferred"))
    assert gold["value"].to_dict() == {1: 3, 2: 5}
    assert liked["value"].to_dict() == {1: 0.25, 2: 1}
    # What stands beside it is judged on the four posts of the pool alone: (.5 + .5 + 0 + 0) / 4.
    base = table[(table["how"] == "supervised") & (table["quantity"] == "preferred")]
    assert base[["value", "n"]].to_numpy().tolist() == [[0.25, 4]]
    assert left_out == {"summaries of rounds of posts without a pool": 2}


def test_sizes_are_named_where_there_are_two() -> None:
    facts = POLICIES.copy()
    facts.loc[facts["policy"] == "sup_small_bo8_rm2", "size"] = "large"
    table, _ = compute(
        Tables(experiment=experiment(policies=facts, summaries=summaries(**SUMMARIES)))
    )
    assert set(table["series"]) == {"small supervised", "small PPO", "large best of 8"}


def test_drift_by_round_and_its_trend() -> None:
    batches = {"round1": [1, 1, 0, 0, 1, 0, 1, 1], "round2": [1, 1, 1, 1, 1, 0, 1, 1]}
    both = labels(batches)
    other = labels({"round1": [1.0], "main": [1.0]}, "sup_small_t0")
    rows = pd.concat([both.comparisons, other.comparisons], ignore_index=True)
    rows.loc[0, "choice"] = math.nan
    tables = Tables(
        comparisons=rows, policies=both.policies, experiment=both.experiment
    )  # fmt: skip
    table, left_out = compute(tables)
    by_round = table[table["quantity"] == "reference_preferred"]
    assert by_round["value"].tolist() == pytest.approx([4 / 7, 7 / 8])
    assert by_round["n"].tolist() == [7, 8]
    assert set(by_round["policy"]) == {"sup_small_t0.7"}
    trend = table[table["quantity"] == "trend"].iloc[0]
    # Two rounds: the slope is the difference.
    assert trend["value"] == pytest.approx(7 / 8 - 4 / 7)
    assert trend["n_clusters"] == 8
    assert left_out == {
        "labels of the reference against another supervised policy": 1,
        "labels of the reference without a choice": 1,
    }
    figure = rounds.plot(table)
    (ax,) = figure.axes
    assert ax.get_ylabel() == "reference preferred to\nsmall supervised, T=0.7"
    assert "trend of the labels +30.4 points" in " ".join(figure.get_supxlabel().split())
    assert "no drift of the labels shown, +30.4 points" in rounds.reading(table)


def test_the_trend_is_the_slope_with_its_clustered_error() -> None:
    x = np.array([1.0, 1, 2, 2, 3, 3])
    y = np.array([0.0, 1, 0, 1, 1, 1])
    codes = np.array([7, 1, 2, 3, 4, 4])
    found = rounds.slope(x, y, codes, level=0.95)
    # Sxx = 4, Sxy = 1: slope 1/4. Residuals from 2/3 + (x - 2)/4; influence (x - 2)/4 * residual;
    # the two rows of post 4 are added: 2 (1/4)(1/12) = 1/24.
    e = [-1 / 4 * (0 - 5 / 12), -1 / 4 * (1 - 5 / 12), 0.0, 0.0, 1 / 24]
    assert found.value == pytest.approx(0.25)
    assert found.se == pytest.approx(math.sqrt(5 / 4 * sum(v * v for v in e)))
    assert found.n_clusters == 5
    assert math.isnan(rounds.slope(np.ones(6), y, codes, level=0.95).value)


def test_one_round_and_missing_parts() -> None:
    table, _ = compute(labels({"round1": [1, 0, 1, 1, 0, 1]}))
    assert table["quantity"].tolist() == ["reference_preferred", "trend"]
    assert "undefined: one round" in table["method"].tolist()
    assert rounds.reading(table).startswith(
        "In round 1: the reference is preferred to small supervised, T=0.7 in 66.7% (95% interval "
    )
    empty = table.assign(value=math.nan, low=math.nan)
    assert rounds.reading(empty) == "No round has an estimate."
    assert len(rounds.plot(table).axes) == 1
    few, _ = compute(labels({"round1": [1, 0]}))
    (ax,) = rounds.plot(few).axes
    assert [text.get_text() for text in ax.texts] == ["no round has enough posts for an interval"]


def test_three_panels() -> None:
    tables = labels({"round1": [1, 0, 1, 1, 0, 1], "round2": [1, 0, 1, 1, 0, 0]})
    everything = experiment(
        policies=POLICIES, summaries=summaries(**SUMMARIES), pairs=pairs(RIGHT, seeds=2)
    )
    table, _ = compute(
        Tables(comparisons=tables.comparisons, policies=tables.policies, experiment=everything)
    )
    figure = rounds.plot(table)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["Reward model", "Policies", "Labelers"]
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["1\n100", "2\n200"]
    assert figure.get_supxlabel().split("; ")[-1] == "error bars: 1 SE"


def test_what_is_missing() -> None:
    assert rounds.missing(Tables()) == "there is no experiment"
    facts = POLICIES.assign(round=math.nan)
    none = Tables(experiment=experiment(policies=facts))
    assert rounds.missing(none) == "the experiment has no rounds of labels"
    assert rounds.missing(Tables(experiment=experiment(policies=POLICIES))) is None
    assert rounds.missing(Tables(experiment=experiment(pairs=pairs(RIGHT)))) is None
