"""Copying by policy: hand-made tables, and the published order on real summaries."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import copying, policy_means
from evalsuite.datasets import load
from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import score_summaries
from evalsuite.tables import Tables, coerce

REFERENCE = "reference_summary"
POST = "one two three four five six"


def tables(rows: list[tuple[str, str, str | None]], posts: dict[str, str | None]) -> Tables:
    """Tables of (post, policy, text)."""
    summaries = pd.DataFrame(rows, columns=["post_id", "policy", "text"])
    summaries["summary_id"] = [f"s{i}" for i in range(len(rows))]
    summaries["chars"] = 1.0
    frame = pd.DataFrame({"post_id": list(posts), "text": list(posts.values())})
    return Tables(posts=coerce("posts", frame), summaries=coerce("summaries", summaries))


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def compute(data: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    result = copying.compute(data, copying.Options(), np.random.default_rng(0))
    return through_csv(result.table), result.left_out


@pytest.fixture
def data() -> Tables:
    # On each of six posts: policy "x" copies all three bigrams on even posts and none on odd
    # ones, twice over in other words; "sup4_t.7" and "sup4_t0.7" are one policy.
    rows: list[tuple[str, str, str | None]] = []
    for i in range(6):
        rows.append((f"p{i}", "x", "one two three four" if i % 2 == 0 else "a b c d"))
        rows.append((f"p{i}", "x", "two three four five" if i % 2 == 0 else "b c d e"))
        rows.append((f"p{i}", "sup4_t.7" if i < 3 else "sup4_t0.7", "one two and"))
    rows += [("p0", "x", None), ("p9", "x", "no such post"), ("p1", "x", "word")]
    return tables(rows, {f"p{i}": POST for i in range(6)})


def test_means_by_hand(data):
    table, left_out = compute(data)
    one = table[table["quantity"] == "copying"].set_index("policy")
    # Twelve shares, six of 1 and six of 0. Clusters are posts: influences add to +-(2/12)(1/2)
    # a post, six squares of (1/12), times 6/5: variance 6/144 * 6/5 = 0.05.
    assert one.loc["x", "value"] == 0.5
    assert one.loc["x", "se"] == pytest.approx(math.sqrt(0.05), rel=1e-12)
    assert (one.loc["x", "n"], one.loc["x", "n_clusters"]) == (12, 6)
    assert one.loc["x", "method"] == "cluster-robust by post, t(5)"
    # "one two and": one of its two bigrams stands in the post; spellings are pooled.
    assert one.loc["sup4_t.7", "value"] == 0.5
    assert one.loc["sup4_t.7", "n"] == 6
    assert "sup4_t0.7" not in one.index
    density = table[table["quantity"] == "density"].set_index("policy")
    # 13 summaries with tokens: six copy 4 tokens whole (density 16 / 4 = 4), seven nothing.
    assert density.loc["x", "value"] == pytest.approx(6 * 4 / 13)
    assert left_out == {
        "summaries without text, or whose post has none": 2,
        "summaries of one token, without a bigram to copy": 1,
    }


def test_scores_that_the_tables_bring_are_used(data):
    scores = score_summaries(data.summaries, data.posts).assign(copying=0.25)
    table, _ = compute(data.with_scores(scores))
    assert set(table.loc[table["quantity"] == "copying", "value"]) == {0.25}


def test_real_policies_stand_in_the_published_order(shared_data: Path):
    data = load(shared_data / "tldr_feedback" / "comparisons" / "batch18.json")
    table, _ = compute(data)
    value = table[table["quantity"] == "copying"].set_index("policy")["value"]
    # On the full release: greedy .422, T = .7 .291, reference .231, top-p .95 .202.
    assert value["sup4_6b"] == pytest.approx(0.422, abs=0.018)
    assert value["sup4_6b_t0.7"] == pytest.approx(0.291, abs=0.014)
    assert value[REFERENCE] == pytest.approx(0.231, abs=0.013)
    assert value["sup4_6b_p.95"] == pytest.approx(0.202, abs=0.012)
    novel = table[table["quantity"] == "novel_2"].set_index("policy")["value"]
    assert novel["sup4_6b"] < novel["sup4_6b_t0.7"] < novel["sup4_6b_p.95"]


def test_figure_has_the_table(data):
    table, _ = compute(data)
    axes = copying.plot(table).axes
    assert [ax.get_title(loc="left") for ax in axes] == [
        "Copied bigrams", "Novel bigrams", "Fragment density"
    ]  # fmt: skip
    drawn = {float(x) for line in axes[0].lines for x in np.atleast_1d(line.get_xdata())}
    assert 0.5 in drawn
    assert len(axes[0].get_yticklabels()) == 2


def test_few_summaries_are_in_the_table_only():
    data = tables([("p0", "x", "one two"), ("p1", "x", "two two")], {"p0": POST, "p1": POST})
    table, _ = compute(data)
    assert policy_means.shown(table) == []
    assert copying.reading(table) == "No policy has summaries of enough posts for an interval."
    note = copying.plot(table).get_supxlabel()
    assert "1 policy of too few clusters for an interval in the table only" in note


def test_reading(data):
    table, _ = compute(data)
    assert copying.reading(table) == (
        "1.3B supervised, T=0.7 copies: 50.0% of the bigrams are in the post in that order (95% "
        "interval 50.0% to 50.0%)."
    )
    rows = table[(table["quantity"] == "copying")].iloc[[0, 0, 0]].reset_index(drop=True)
    rows["policy"], rows["value"] = [REFERENCE, "x", "y"], [0.2, 0.4, 0.1]
    assert copying.reading(rows) == (
        "x copies most: 40.0% of the bigrams are in the post in that order (95% interval 50.0% to "
        "50.0%); y least, 10.0%; the references 20.0%."
    )


@pytest.mark.parametrize(
    "data",
    [
        Tables(),
        tables([("p0", "x", "one two")], {"p0": None}),
        tables([("p0", "x", None)], {"p0": POST}),
    ],
)
def test_nothing_to_measure(data):
    assert copying.missing(data) == "no summary has both its text and the text of its post"
    with pytest.raises(EvalsuiteError, match="no summary has both its text and the text of its"):
        compute(data)


def test_not_missing(data):
    assert copying.missing(data) is None


def test_policies_without_a_base_stay_apart():
    # Names of extractive policies all parse to the same: extractive, and nothing else.
    names = ["lead-3", "title", "human_editor", "editor"]
    rows = [(f"p{i}", name, "one two three") for name in names for i in range(6)]
    table, _ = compute(tables(rows, {f"p{i}": POST for i in range(6)}))
    counts = table[table["quantity"] == "copying"].set_index("policy")["n"]
    assert counts.to_dict() == dict.fromkeys(names, 6)
