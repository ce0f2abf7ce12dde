"""Pairs to rows: preferences, margins, labelers, truth and what is left out, by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import pandas as pd
import pytest

from evalsuite.errors import ConfigError, DataError
from evalsuite.experiment import COLUMNS as TABLES
from evalsuite.probes import Pair, Probe, Sides, Unmade, items_of, probe_table
from evalsuite.probes.run import COLUMNS, build, judge
from evalsuite.records import Post

ONE, TWO = Post("one", "t"), Post("two", "t")


def length(texts):
    return [len(text) for _, text in texts]


def shorter_wins(asked):
    return [0.75 if len(a) < len(b) else 0.2 for _, a, b in asked]


PAIRS = [
    Pair("p", ONE, "abc", "a"),  # 3 against 1
    Pair("p", TWO, "a", "bb"),  # 1 against 2
    Pair("q", ONE, "cc", "dd", labelers=0.9),  # a tie, with labels of its own
]


def test_rows_by_hand():
    table = judge(PAIRS, {"length": length}, gold=lambda t: [-2.0 * len(x) for _, x in t],
                  labelers=shorter_wins, summaries=[(ONE, "a"), (TWO, "abcd")])  # fmt: skip
    assert tuple(table.columns) == COLUMNS
    assert table["model"].tolist() == ["length"] * 3
    assert table["probe"].tolist() == ["p", "p", "q"]
    assert table["post_id"].tolist() == [ONE.id, TWO.id, ONE.id]
    assert table["margin"].tolist() == [2, -1, 0]
    assert table["prefers"].tolist() == [1, 0, 0.5]
    assert table["labelers"].tolist() == [0.2, 0.75, 0.9]
    # The chance that a labeler sides with it: .2, 1 - .75, and half on a tie.
    assert table["agrees"].tolist() == pytest.approx([0.2, 0.25, 0.5])
    assert table["gold_gap"].tolist() == [-4, 2, 0]
    # SD of the rewards 1 and 4 of the two summaries: 3 / sqrt(2).
    assert table["spread"].tolist() == pytest.approx([3 / math.sqrt(2)] * 3)


def test_each_text_is_scored_once_by_each_scorer():
    seen = []

    def scorer(texts):
        seen.extend(texts)
        return [0.0] * len(texts)

    again = [Pair("p", ONE, "x", "y"), Pair("q", ONE, "y", "x"), Pair("p", TWO, "x", "y")]
    table = judge(again, {"m": scorer, "n": length}, summaries=[(ONE, "x"), (ONE, "x")])
    assert sorted(seen, key=lambda one: (one[0].text, one[1])) == [
        (ONE, "x"), (ONE, "y"), (TWO, "x"), (TWO, "y"),
    ]  # fmt: skip
    assert table["model"].tolist() == ["m"] * 3 + ["n"] * 3
    assert table["prefers"].tolist() == [0.5] * 6
    assert table[["labelers", "agrees", "gold_gap", "spread"]].isna().all(axis=None)


def test_columns_are_those_of_the_experiment():
    assert set(COLUMNS) - set(TABLES["probes"]) == {"spread"}


def test_items_left_out_are_counted_by_probe_and_reason():
    good = Probe("good", "a", "b", "", lambda item, rng: Sides(item.summary, "worse"))
    bad = Probe("bad", "a", "b", "", lambda item, rng: Unmade("never"))
    items = items_of([ONE, TWO], ["better", "worse"])
    edit = Pair("edit: shorter", ONE, "b", "better")
    table, left_out = probe_table(
        items, {"length": length}, probes=[good, bad], edits=[edit], seed=1
    )
    assert left_out == {"good: the edit changed nothing": 1, "bad: never": 2}
    assert table["probe"].tolist() == ["good", "edit: shorter"]
    assert table["margin"].tolist() == [1, -5]
    assert table["spread"].tolist() == pytest.approx([1 / math.sqrt(2)] * 2)  # 6 and 5 characters


def test_pairs_do_not_depend_on_what_else_is_built():
    posts = [Post(f"A {i}. B {i}. C {i}. D {i}. E {i}.", f"title {i}", "tifu") for i in range(8)]
    items = items_of(posts, [f"I hit her {i}, she ran." for i in range(8)])
    pairs, left_out = build(items, seed=5)
    few, _ = build(items[::-1][:4], seed=5)
    assert set(few) < set(pairs)
    assert len(pairs) + sum(left_out.values()) == 8 * 15
    other, _ = build(items, seed=6)
    assert set(other) != set(pairs)


def test_nothing_to_judge():
    empty = judge([], {"length": length})
    assert list(empty.columns) == list(COLUMNS)
    assert empty.empty
    assert judge(PAIRS, {}).empty
    assert list(judge(PAIRS, {}).columns) == list(COLUMNS)
    assert isinstance(probe_table([], {"length": length})[0], pd.DataFrame)


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"m gave scores of shape \(1,\) for 6 texts"):
        judge(PAIRS, {"m": lambda texts: [1.0]})
    with pytest.raises(DataError, match=r"m gave nan for 'abc' on post"):
        judge(PAIRS, {"m": lambda texts: [math.nan] * len(texts)})
    with pytest.raises(DataError, match=r"gold gave inf for 'abc'"):
        judge(PAIRS, {"m": length}, gold=lambda texts: [math.inf] * len(texts))


def test_two_probes_of_one_name_are_refused():
    probe = Probe("p", "a", "b", "", lambda item, rng: Unmade("never"))
    with pytest.raises(ConfigError, match="two probes are called 'p'"):
        build([], [probe, probe])


def test_import_loads_no_torch():
    code = (
        "import sys, evalsuite.probes, evalsuite.probes.world, evalsuite.probes.editors\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
