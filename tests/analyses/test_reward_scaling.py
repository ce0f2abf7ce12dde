"""Reward models by labels and size: rates and slopes by hand, rules, the figure, the sentence."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from analyses import reward_scaling
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

POSTS = 8
SIZES = {"small": 1e5, "large": 4e5}
# Pairs answered right out of eight, by size and labels: 2 more for 4 times the labels, 1 more for 4
# times the size.
RIGHT = {("small", 100): 4, ("small", 400): 6, ("large", 100): 5, ("large", 400): 7}
# The labeler is wrong about the first two pairs; the longer one is better in 5, as long in 1.
LABELER = [0, 0, 1, 1, 1, 1, 1, 1]
LONGER = [0.5, 0.5, 0.5, 0.5, 0.5, 0.0, -0.5, -0.5]


def pairs(seeds=(0, 1), right=RIGHT, own_posts=False, sizes=SIZES, kinds=("two samples",)):
    rows = []
    for seed in seeds:
        same = {"seed": seed}
        for i in range(POSTS):
            about = {
                **same, "post_id": f"p{i}-{seed}" if own_posts else f"p{i}",
                "kind": kinds[i % len(kinds)], "log_length_ratio": LONGER[i],
            }  # fmt: skip
            for (size, labels), count in right.items():
                correct = float(i < count)
                rows.append({
                    **about, "model": f"rm-{size}-{labels}-s{seed}", "size": size, "member": 0,
                    "parameters": sizes[size], "labels": labels, "correct": correct,
                    "agrees": float(correct == LABELER[i]),
                })  # fmt: skip
            labelers = {"labeler": LABELER[i], "labelers": float(i > 0)}
            rows += [
                {**about, "model": model, "correct": correct, "agrees": 0.75}
                for model, correct in labelers.items()
            ]
    return coerce("pairs", pd.DataFrame(rows))


def compute(table, rng):
    tables = Tables(experiment=Experiment({"pairs": table}))
    found = reward_scaling.compute(tables, reward_scaling.Options(), rng)
    return pd.read_csv(io.StringIO(found.table.to_csv(index=False))), found.left_out


def rates(table, measure, kind="all"):
    rows = table[(table["measure"] == measure) & (table["kind"] == kind)]
    rows = rows[rows["quantity"] == "rate"]
    judge = rows["judge"].where(rows["labels"].isna(), rows["size"])
    return dict(zip(zip(judge, rows["labels"].fillna(0), strict=True), rows["value"], strict=True))


def slopes(table, measure="correct"):
    rows = table[(table["quantity"] == "per doubling") & (table["kind"] == "all")]
    return rows[rows["measure"] == measure].set_index("of")


def test_rates_of_models_labelers_and_the_longer_one(rng):
    table, left_out = compute(pairs(), rng)
    assert rates(table, "correct") == pytest.approx({
        ("small", 100): 4 / 8, ("small", 400): 6 / 8, ("large", 100): 5 / 8, ("large", 400): 7 / 8,
        ("labeler", 0): 6 / 8, ("labelers", 0): 7 / 8, ("longer", 0): 5.5 / 8,
    })  # fmt: skip
    # Right about all but the last four of eight, as a labeler who errs on the first two: two alike.
    agrees = rates(table, "agrees")
    assert agrees["small", 100] == 2 / 8
    assert agrees["large", 400] == 5 / 8
    assert agrees["labeler", 0] == 0.75
    # Longer in pairs 0 to 4, the labeler says shorter in 0, 1 and better in 2 to 7, one is a tie.
    assert agrees["longer", 0] == 3.5 / 8
    assert left_out == {}


def test_gains_per_doubling_by_hand(rng):
    table, _ = compute(pairs(), rng)
    found = slopes(table)
    # 2 of 8 over two doublings of labels, 1 of 8 over two of size.
    assert found.loc["labels", "value"] == pytest.approx(1 / 8)
    assert found.loc["parameters", "value"] == pytest.approx(1 / 16)
    # By post the gain of labels is 1/4 of [right with 400] - [right with 100] by size, halved:
    # posts 4 and 6 (one size each): 1/4; post 5: 1/2. Variance over 8 posts, mean 1/8.
    values = np.array([0, 0, 0, 0, 1 / 4, 1 / 2, 1 / 4, 0])
    assert found.loc["labels", "se"] == pytest.approx(values.std(ddof=1) / 8**0.5)


def test_members_and_rounds_are_left_out_and_counted(rng):
    table = pairs()
    first = table[table["model"] == "rm-small-100-s0"]
    more = [
        table, first.assign(member=1, correct=1.0), first.assign(round=1.0, model="rm1-s0"),
    ]  # fmt: skip
    found, left_out = compute(pd.concat(more), rng)
    plain, _ = compute(table, rng)
    pd.testing.assert_frame_equal(found, plain)
    assert left_out == {"judgments of other members of ensembles and of models of rounds": 16}


def test_posts_of_each_seeds_own_are_nested_in_it(rng):
    """4 of 8 right in both seeds: no difference between seeds, 2/7 between posts in each."""
    table, _ = compute(pairs(own_posts=True), rng)
    models = table[(table["judge"] == "reward model") & (table["measure"] == "correct")]
    one = models[(models["size"] == "small") & (models["labels"] == 100)].iloc[0]
    assert (one["value"], one["n_clusters"]) == (4 / 8, 16)
    assert one["se"] == pytest.approx((2 * (2 / 7 / 8) / 4) ** 0.5)
    assert one["method"].startswith("2 seeds, 16 posts nested in them")
    values = np.array([0, 0, 0, 0, 1 / 4, 1 / 2, 1 / 4, 0])
    slope = slopes(table).loc["labels"]
    assert slope["value"] == pytest.approx(1 / 8)
    assert slope["se"] == pytest.approx((2 * values.var(ddof=1) / 8 / 4) ** 0.5)


def test_kinds_of_pairs_are_told_apart(rng):
    table, _ = compute(pairs(kinds=("two samples", "with the reference")), rng)
    assert rates(table, "correct", "two samples")["large", 100] == 3 / 4  # 0, 2, 4 of 0, 2, 4, 6
    assert rates(table, "correct", "with the reference")["large", 100] == 2 / 4
    assert set(compute(pairs(), rng)[0]["kind"]) == {"all"}


def test_one_size_and_one_seed_still_have_rates(rng):
    right = {("small", 100): 4, ("small", 400): 6}
    table, _ = compute(pairs(seeds=(0,), right=right), rng)
    found = slopes(table)
    assert found.loc["labels", "value"] == pytest.approx(1 / 8)
    assert np.isnan(found.loc["parameters", "value"])
    said = reward_scaling.reading(table)
    assert "a doubling of labels adds +12.5 points (95% interval" in said
    assert "of size" not in said
    words = [text.get_text() for text in reward_scaling.plot(table).axes[0].texts]
    assert any(word.endswith("points a doubling of labels") for word in words)
    one, _ = compute(pairs(seeds=(0,), right={("small", 100): 4}), rng)
    assert "doubling" not in reward_scaling.reading(one)
    assert len(reward_scaling.plot(one).axes) == 2


def test_answers_of_nobody_leave_one_panel(rng):
    table, _ = compute(pairs().assign(agrees=np.nan), rng)
    assert set(table.loc[table["quantity"] == "rate", "measure"]) == {"correct"}
    (ax,) = reward_scaling.plot(table).axes
    assert ax.get_title(loc="left").strip() == "Against the truth"


def test_a_line_a_size_and_a_level_a_rule(rng):
    table, _ = compute(pairs(), rng)
    fig = reward_scaling.plot(table)
    left = fig.axes[0]
    small, large = (bars.lines[0] for bars in left.containers)
    assert small.get_ydata().tolist() == [4 / 8, 6 / 8]
    assert large.get_ydata().tolist() == [5 / 8, 7 / 8]
    levels = [line.get_ydata()[0] for line in left.lines if len(set(line.get_ydata())) == 1]
    assert {6 / 8, 7 / 8, 5.5 / 8} <= set(levels)
    words = [text.get_text() for text in left.texts]
    assert {"small model", "large model", "one labeler", "majority of labelers",
            "longer is better"} <= set(words)  # fmt: skip
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["100", "400"]
    assert fig.get_supxlabel() == "error bars: 1 SE over posts and seeds"


def test_the_reading_names_the_largest_model_and_the_rules(rng):
    said = reward_scaling.reading(compute(pairs(), rng)[0])
    assert said.startswith(
        "The large reward model of 400 labels is right on 87.5% of held-out pairs (95% interval "
    )
    assert (
        "beside it one labeler 75.0%, majority of labelers 87.5%, longer is better 68.8%; a "
        "doubling of labels adds +12.5 points (95% interval" in said
    )
    empty = compute(pairs().assign(correct=np.nan, agrees=np.nan), rng)[0]
    assert len(reward_scaling.plot(empty).axes) == 1
    assert reward_scaling.reading(empty).startswith("No reward model was held against the truth")


def test_reasons_to_leave_it_out():
    def missing(table):
        return reward_scaling.missing(Tables(experiment=Experiment({"pairs": table})))

    assert reward_scaling.missing(Tables()) == "there is no experiment"
    assert reward_scaling.missing(Tables(experiment=Experiment())) == "the experiment has no pairs"
    assert missing(pairs()) is None
    alone = "no single reward model outside the rounds judged held-out pairs"
    assert missing(pairs(right={})) == alone
    assert missing(pairs().assign(round=1.0)) == alone
