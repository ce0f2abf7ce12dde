"""Looks of objectives: none like another, in one order, whatever is known of them."""

from __future__ import annotations

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
