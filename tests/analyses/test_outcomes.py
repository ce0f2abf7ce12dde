"""Evaluated summaries, their domains, means over seeds and posts, and words of sizes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analyses import outcomes
from evalsuite.experiment import Experiment, coerce
from evalsuite.report import style
from evalsuite.tables import Tables


def experiment(**tables: pd.DataFrame) -> Experiment:
    return Experiment({name: coerce(name, table) for name, table in tables.items()})


def test_evaluated_summaries_have_the_facts_of_their_policy():
    policies = pd.DataFrame({"policy": ["a", "b"], "method": ["supervised", "rouge"], "main": 1.0})
    summaries = pd.DataFrame({"policy": ["b", "a", "unlisted"], "gold": [1.0, 2.0, 3.0]})
    rows = outcomes.evaluated(experiment(policies=policies, summaries=summaries))
    assert rows[["policy", "method", "gold"]].to_numpy().tolist() == [
        ["b", "rouge", 1.0], ["a", "supervised", 2.0],
    ]  # fmt: skip


def test_main_rows_are_by_method_and_size_and_of_figure_1():
    policies = pd.DataFrame(
        {
            "policy": ["hf", "sl", "ss", "other", "rouge"],
            "method": ["human feedback", "supervised", "supervised", "supervised", "rouge"],
            "parameters": [1.0, 9.0, 1.0, 1.0, 1.0],
            "main": [1.0, 1.0, 1.0, 0.0, 1.0],
        }
    )
    summaries = pd.DataFrame({"policy": policies["policy"]})
    made = experiment(policies=policies, summaries=summaries)
    assert outcomes.main_rows(made)["policy"].tolist() == ["ss", "sl", "hf"]


@pytest.mark.parametrize(
    ("domains", "home"),
    [(["cnndm", "cnndm", "tldr"], "tldr"), (["b", "b", "a"], "b"), ([], "")],
)
def test_home_is_where_policies_are_trained(domains, home):
    assert outcomes.home(pd.Series(domains, dtype="str")) == home


def test_plain_policies_draw_from_no_nucleus():
    assert outcomes.plain(pd.DataFrame({"top_p": [math.nan, 1.0, 0.95]})).tolist() == [
        True, True, False,
    ]  # fmt: skip


def test_mean_over_seeds_and_posts_leaves_unknown_values_out():
    # Two seeds, 5 posts: .4 and .6. MS_seed = 5 (.1^2 + .1^2) / 1 = .1, the others 0: SE .1.
    rows = pd.DataFrame(
        {"post_id": [f"p{i}" for i in range(5)] * 2, "seed": [0.0] * 5 + [1.0] * 5}
    ).assign(value=[0.4] * 5 + [0.6] * 5)
    unknown = rows.head(1).assign(value=math.nan)
    one = outcomes.mean_of(pd.concat([rows, unknown]), "value", 0.95, limits=(0, 1))
    assert (one.value, one.se, one.n) == (pytest.approx(0.5), pytest.approx(0.1), 10)
    # t(1) is 12.7: the interval would be .5 -+ 1.27.
    assert (one.low, one.high) == (0.0, 1.0)
    assert outcomes.mean_of(rows, "value", 0.95).low == pytest.approx(0.5 - 12.7062 * 0.1, abs=1e-4)
    none = outcomes.mean_of(unknown, "value", 0.95)
    assert math.isnan(none.value)
    assert "no value is known" in none.method
    unseeded = outcomes.mean_of(rows.head(5).assign(seed=math.nan), "value", 0.95)
    assert "one seed" in unseeded.method


def test_references_are_one_row_a_post():
    rows = pd.DataFrame(
        {"post_id": ["p", "p", "q"], "policy": list("abc"), "seed": [0.0, 1.0, 1.0],
         "gold": [1.0, 1.0, math.nan]}
    )  # fmt: skip
    kept = outcomes.references(rows, "gold")
    assert kept[["post_id", "policy", "seed"]].to_numpy().tolist() == [
        ["p", "reference_summary", 0.0]
    ]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [(410e3, "410k"), (0.9e6, "0.9M"), (1.93e6, "1.9M"), (135e6, "135M"), (1.3e9, "1.3B"),
     (13e9, "13B"), (40, "40")],
)  # fmt: skip
def test_amounts(parameters, said):
    assert outcomes.amount(parameters) == said


def test_words_of_sizes():
    assert [outcomes.word(size) for size in ("small", "135m", "1.4b")] == ["small", "135M", "1.4B"]


def test_methods_have_the_looks_of_their_family():
    looks = [outcomes.look_of(method) for method in (*outcomes.METHODS, "rouge", "best-of-n")]
    assert len({look.colour for look in looks}) == 5
    assert looks[1].marker == style.policy_style("sup4_6b").marker


@pytest.mark.parametrize("parameters", [[1e6], [1e6, 4e6], [math.nan]])
def test_size_axis_has_a_tick_at_each_size_and_room(parameters):
    fig, ax = style.figure()
    sizes = ["small", "1b"][: len(parameters)]
    outcomes.size_axis(ax, sizes, parameters, 0.4)
    known = [p for p in parameters if p == p]
    assert ax.get_xticks().tolist() == known
    if known:
        low, high = np.log2(ax.get_xlim())
        assert high - np.log2(max(known)) >= 0.4 * (high - low)
        assert ax.get_xticklabels()[0].get_text() == "small\n1M"
    fig.draw_without_rendering()


def test_looks_of_objectives_survive_the_csv():
    objectives = pd.DataFrame(
        {"objective": ["rm"], "label": ["RM"], "kind": ["rm"], "labels": [600]}
    )
    made = experiment(objectives=objectives)
    table = outcomes.with_objectives(pd.DataFrame({"objective": ["rm", "unlisted"]}), made)
    assert table["objective_label"].tolist() == ["RM", "unlisted"]
    assert set(outcomes.objective_looks(table)) == {"rm", "unlisted"}


def test_what_is_missing():
    assert outcomes.lacks_main(Tables()) == "there is no experiment"
    policies = pd.DataFrame({"policy": ["a"], "method": ["supervised"], "main": [0.0]})
    bare = Tables(experiment=experiment(policies=policies))
    assert outcomes.lacks_main(bare) == "the experiment has no summaries"
    summaries = pd.DataFrame({"policy": ["a"]})
    side = Tables(experiment=experiment(policies=policies, summaries=summaries))
    assert "no summary is of a main policy" in str(outcomes.lacks_main(side))
    main = experiment(policies=policies.assign(main=1.0), summaries=summaries)
    assert outcomes.lacks_main(Tables(experiment=main)) is None
