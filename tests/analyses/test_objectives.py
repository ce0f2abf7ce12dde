"""Looks of objectives: none like another, in one order, whatever is known of them."""

from __future__ import annotations

import math

import pandas as pd

from analyses import objectives
from evalsuite.experiment import coerce


def facts(*rows: tuple[object, ...]) -> pd.DataFrame:
    names = ["objective", "kind", "parameters", "labels", "round"]
    table = pd.DataFrame([dict(zip(names, row, strict=False)) for row in rows])
    return coerce("objectives", table)


ALL = facts(
    ("gold", "gold"), ("rouge", "rouge"), ("rm1", "rm", 1e5, 900, 1), ("rm2", "rm", 1e5, 1800, 2),
    ("worst(rm-small-300)", "ensemble", 1e5, 300), ("mean(rm-small-300)", "ensemble", 1e5, 300),
    ("rm-small-4800", "rm", 1e5, 4800), ("rm-medium-4800", "rm", 1e6, 4800),
    ("rm-small-300", "rm", 1e5, 300), ("length", "length"),
)  # fmt: skip


def test_reward_models_come_first_by_size_and_labels_the_truth_last():
    assert list(objectives.in_order(ALL)["objective"]) == [
        "rm-small-300", "rm-small-4800", "rm-medium-4800", "rm1", "rm2", "mean(rm-small-300)",
        "worst(rm-small-300)", "rouge", "length", "gold",
    ]  # fmt: skip


def test_no_two_objectives_look_the_same():
    looks = objectives.looks(ALL)
    assert len({(look.colour, look.linestyle) for look in looks.values()}) == len(ALL)
    assert looks["rm-small-4800"].colour == looks["rm-medium-4800"].colour


def test_a_label_is_the_word_of_the_table_or_else_the_key():
    named = ALL.assign(label=["truth", *[""] * (len(ALL) - 1)])
    looks = objectives.looks(named)
    assert (looks["gold"].label, looks["rouge"].label) == ("truth", "rouge")


def test_an_objective_the_experiment_does_not_list_is_kept_without_facts():
    found = objectives.of_experiment(ALL, ["new", "rouge"])
    assert list(found["objective"]) == ["rouge", "new"]
    assert objectives.looks(found)["new"].label == "new"


def test_shades_go_from_end_to_end_and_one_alone_is_the_last():
    assert objectives.shades(["#000000", "#ffffff"], 3) == ["#000000", "#808080", "#ffffff"]
    assert objectives.shades(["#000000", "#ffffff"], 1) == ["#ffffff"]


def test_of_many_objectives_those_are_drawn_that_differ_in_one_thing() -> None:
    names = [f"rm-{size}-{labels}" for size in ("small", "medium") for labels in (1, 2, 3, 4)]
    rows = pd.DataFrame({
        "objective": [*names, "rm1", "rm2", "rm3", "rouge"],
        "label": "", "kind": ["rm"] * 11 + ["rouge"],
        "size": ["small"] * 4 + ["medium"] * 4 + ["small"] * 3 + [""],
        "parameters": [1.0] * 4 + [2.0] * 4 + [1.0] * 3 + [math.nan],
        "labels": [1, 2, 3, 4, 1, 2, 3, 4, 2, 3, 4, math.nan],
        "round": [math.nan] * 8 + [1, 2, 3, math.nan],
    })  # fmt: skip
    # the smaller size whole, of the other the most labels, the first and the last round
    assert objectives.drawn(rows) == [
        "rm-small-1", "rm-small-2", "rm-small-3", "rm-small-4", "rm-medium-4", "rm1", "rm3",
        "rouge",
    ]  # fmt: skip
    few = rows[rows["size"] == "small"]
    assert len(objectives.drawn(few)) == len(few)
