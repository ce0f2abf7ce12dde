"""Best-of-N under each objective: gains by hand, left out, the figure's lines, the sentence."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from analyses import best_of_n
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

# Of the two posts, in turn: four samples, as the good and the bad proxy score them.
GOLD = {"a": [0, 1, 2, 5], "b": [0, 2, 4, 6]}
GOOD = [1, 2, 3, 4]
BAD = [1, 2, 4, 3]
WORST = [4, 3, 2, 1]


def experiment(seeds=(0, 1), pairs=3, names=("good", "bad", "worst"), reference=3.0) -> Experiment:
    """`pairs` copies of both posts, so that intervals exist."""
    of = {"good": GOOD, "bad": BAD, "worst": WORST}
    pool = [
        {"base": "sup", "seed": s, "post_id": f"{post}{i}", "sample": k, "gold": gold,
         **{f"proxy:{name}": of[name][k] for name in names}}
        for s in seeds for i in range(pairs) for post, values in GOLD.items()
        for k, gold in enumerate(values)
    ]  # fmt: skip
    kinds = {"good": "rm", "bad": "rm", "worst": "ensemble", "gold": "gold"}
    objectives = [
        {"objective": name, "label": f"the {name}", "kind": kind, "size": "small",
         "parameters": 1e5, "labels": 100 * (i + 1)}
        for i, (name, kind) in enumerate(kinds.items())
    ]  # fmt: skip
    summaries = [
        {"policy": "sup", "seed": 0, "post_id": f"{post}{i}", "gold_reference": reference}
        for i in range(pairs) for post in GOLD
    ]  # fmt: skip
    tables = {"pool": pool, "objectives": objectives, "summaries": summaries}
    return Experiment({name: coerce(name, pd.DataFrame(rows)) for name, rows in tables.items()})


def compute(made: Experiment, rng):
    found = best_of_n.compute(Tables(experiment=made), best_of_n.Options(), rng)
    table = pd.read_csv(io.StringIO(found.table.to_csv(index=False)))
    return table, found.left_out


def values(table, objective, quantity):
    rows = table[(table["objective"] == objective) & (table["quantity"] == quantity)]
    return dict(zip(rows["N"], rows["value"], strict=True))


def test_gains_in_truth_by_hand(rng):
    table, left_out = compute(experiment(), rng)
    # a: mean 2; of two of four, weights 0 1 2 3 over 6: (1 + 4 + 15) / 6; of four 5.
    # b: mean 3; (2 + 8 + 18) / 6; 6.
    of_two = ((20 / 6 - 2) + (28 / 6 - 3)) / 2
    assert values(table, "good", "gold") == pytest.approx({1: 0, 2: of_two, 4: 3})
    # The best by the bad proxy is the third: 2 and 4.
    assert values(table, "bad", "gold")[4] == pytest.approx((0 + 1) / 2)
    assert values(table, "worst", "gold")[4] == pytest.approx((-2 - 3) / 2)
    assert values(table, "gold", "gold") == values(table, "good", "gold")
    assert left_out == {}


def test_preference_counts_ties_half(rng):
    table, _ = compute(experiment(reference=4.0), rng)
    # Over 4: of a the last sample, of b the last, the third ties.
    assert values(table, "good", "preferred") == pytest.approx(
        {1: (0.25 + 0.375) / 2, 2: (3 / 6 + (2 * 0.5 + 3) / 6) / 2, 4: 1}
    )
    assert values(table, "bad", "preferred")[4] == pytest.approx((0 + 0.5) / 2)


def test_own_scores_rise_whatever_the_truth_does(rng):
    table, _ = compute(experiment(), rng)
    for name in ("good", "bad", "worst"):
        # Scores 1 to 4: mean 2.5, variance 5 / 4; of two: (2 + 6 + 12) / 6.
        wanted = {1: 0, 2: (20 / 6 - 2.5) / 1.25**0.5, 4: 1.5 / 1.25**0.5}
        assert values(table, name, "score") == pytest.approx(wanted)


def test_the_last_half_is_the_last_n_less_the_one_halfway(rng):
    table, _ = compute(experiment(), rng)
    gains = values(table, "worst", "gold")
    assert values(table, "worst", "late_gold") == pytest.approx({2: gains[4] - gains[2]})
    late = values(table, "worst", "late_score")[2]
    assert late == pytest.approx((4 - 20 / 6) / 1.25**0.5)


def test_differences_are_of_each_pair_of_objectives_at_the_last_n(rng):
    table, _ = compute(experiment(), rng)
    rows = table[table["quantity"] == "difference"]
    assert len(rows) == 6
    one = rows[(rows["objective"] == "good") & (rows["against"] == "bad")].iloc[0]
    assert one["value"] == pytest.approx(3 - 0.5)
    assert one["N"] == 4
    assert (one["n"], one["n_clusters"]) == (12, 6)
    # By post 3 and 2, each three times: variance .3 over 6 posts; seeds alike.
    assert one["se"] == pytest.approx((0.3 / 6) ** 0.5)


def test_one_seed_and_an_unscored_seed(rng):
    table, _ = compute(experiment(seeds=(0,)), rng)
    assert table["method"].str.contains("one seed").all()
    assert "1 SE over posts (one seed)" in best_of_n.plot(table).get_supxlabel()
    made = experiment()
    pool = made["pool"]
    pool.loc[pool["seed"] == 1, "proxy:bad"] = np.nan
    table, _ = compute(made, rng)
    counts = table[(table["quantity"] == "gold") & (table["N"] == 4)].set_index("objective")["n"]
    assert counts[["good", "bad"]].tolist() == [12, 6]


def test_without_references_there_is_no_preference(rng):
    made = experiment(reference=np.nan)
    table, _ = compute(made, rng)
    assert "preferred" not in set(table["quantity"])
    titles = [ax.get_title(loc="left") for ax in best_of_n.plot(table).axes]
    assert titles == ["What it is worth", "What the objective says"]


def test_lines_are_the_objectives_and_ensembles_stay_in_the_table(rng):
    table, _ = compute(experiment(), rng)
    fig = best_of_n.plot(table)
    assert len(fig.axes) == 3
    lines = {line.get_label(): line for line in fig.axes[0].lines}
    assert list(lines) == ["the good", "the bad", "the gold"]
    assert dict(zip(*lines["the bad"].get_data(), strict=True)) == pytest.approx(
        values(table, "bad", "gold")
    )
    assert [text.get_text() for text in fig.legends[0].get_texts()] == list(lines)
    assert fig.axes[0].get_ylabel() == "gain in utility over N = 1"
    ticks = [label.get_text() for label in fig.axes[0].get_xticklabels()]
    assert ticks == ["1", "2", "4"]
    top = [label.get_text() for label in fig.axes[0].child_axes[0].get_xticklabels()]
    assert top == ["0.0", "0.2", "0.6"]  # log 2 - 1/2, log 4 - 3/4
    note = fig.get_supxlabel().replace("\n", " ")
    assert "ensembles in the table only" in note
    assert "1 SE over posts and seeds" in note


def test_the_reading_tells_where_each_objective_ends(rng):
    table, _ = compute(experiment(), rng)
    said = best_of_n.reading(table)
    assert said.startswith("Gain in utility of the best of 4 over one sample: the good +3.00 (95%")
    assert "rising from N = 2 on); the bad +0.50 (95% interval " in said
    assert "worst" not in said
    assert "the gold" not in said
    alone = table[table["objective"] == "gold"]
    assert best_of_n.reading(alone) == "No objective but the truth chose among the samples."


def test_several_bases_are_computed_and_the_largest_drawn(rng):
    made = experiment()
    few = made["pool"][made["pool"]["post_id"] == "a0"].assign(base="other")
    tables = {**made.tables, "pool": pd.concat([made["pool"], few])}
    table, _ = compute(Experiment(tables), rng)
    assert table["base"].unique().tolist() == ["sup", "other"]
    assert "1 other base in the table only" in best_of_n.plot(table).get_supxlabel()


def test_reasons_to_leave_it_out(rng):
    assert best_of_n.missing(Tables()) == "there is no experiment"
    none = Tables(experiment=Experiment())
    assert best_of_n.missing(none) == "the experiment has no pool"
    unscored = Tables(experiment=experiment(names=()))
    assert best_of_n.missing(unscored) == "no objective scored the pool of samples"
    assert best_of_n.missing(Tables(experiment=experiment())) is None
