"""ROUGE by policy and temperature: hand-made tables, and rouge-score on real summaries."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer

from analyses import rouge
from evalsuite.datasets import load
from evalsuite.errors import EvalsuiteError
from evalsuite.tables import Tables, coerce

REFERENCE = "reference_summary"


def tables(rows: list[tuple[str, str, str | None]]) -> Tables:
    """Tables of (post, policy, text)."""
    summaries = pd.DataFrame(rows, columns=["post_id", "policy", "text"])
    summaries["summary_id"] = [f"s{i}" for i in range(len(rows))]
    summaries["chars"] = 1.0
    posts = pd.DataFrame({"post_id": sorted({post for post, _, _ in rows}), "text": None})
    return Tables(posts=coerce("posts", posts), summaries=coerce("summaries", summaries))


def compute(data: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    result = rouge.compute(data, rouge.Options(), np.random.default_rng(0))
    return pd.read_csv(io.StringIO(result.table.to_csv(index=False))), result.left_out


@pytest.fixture
def data() -> Tables:
    # Reference "a b c d" on six posts. At T = 0 a policy writes "a b" (precision 1, recall 1/2,
    # F1 2/3); at T = 1 "a b" on even posts and "x y" (0) on odd ones; "sup4" does the first too.
    rows: list[tuple[str, str, str | None]] = []
    for i in range(6):
        rows.append((f"p{i}", REFERENCE, "a b c d"))
        rows.append((f"p{i}", "sup4_6b", "a b"))
        rows.append((f"p{i}", "sup4_6b_t1", "a b" if i % 2 == 0 else "x y"))
        rows.append((f"p{i}", "policy", "a b c d"))
    return tables([*rows, ("p8", "sup4_6b", "no reference"), ("p0", "sup4_6b", None)])


def test_means_by_hand(data):
    table, left_out = compute(data)
    one = table.set_index(["quantity", "policy"])
    for measure in ("rouge1", "rougeL"):
        assert one.loc[(f"{measure}_p", "sup4_6b"), "value"] == 1
        assert one.loc[(f"{measure}_r", "sup4_6b"), "value"] == 0.5
        assert one.loc[(f"{measure}_f", "sup4_6b"), "value"] == pytest.approx(2 / 3)
        assert one.loc[(f"{measure}_f", "sup4_6b_t1"), "value"] == pytest.approx(1 / 3)
    # One bigram of the summary's one and of the reference's three: F1 = 2 (1)(1/3) / (4/3) = 1/2.
    assert one.loc[("rouge2_f", "sup4_6b"), "value"] == pytest.approx(0.5)
    # Six values, three of 2/3 and three of 0: variance 6/5 * 6 * (1/18)^2, standard error:
    se = math.sqrt(6 / 5 * 6) / 18
    assert one.loc[("rouge1_f", "sup4_6b_t1"), "se"] == pytest.approx(se, rel=1e-12)
    assert one.loc[("rouge1_f", "policy"), ["value", "se", "n"]].tolist() == [1, 0, 6]
    assert one.loc[("rouge1_f", "sup4_6b_t1"), "temperature"] == 1
    assert REFERENCE not in set(table["policy"])
    assert left_out == {
        "references without another reference of the same post": 6,
        "summaries without text or without a reference": 2,
    }


def test_real_summaries_against_rouge_score(shared_data: Path):
    data = load(shared_data / "tldr_feedback" / "comparisons" / "batch18.json")
    table, _ = compute(data)
    texts = data.summaries
    human = texts[texts["policy"] == REFERENCE].set_index("post_id")["text"]
    peer = RougeScorer(["rougeL"], use_stemmer=True)
    mine = texts[texts["policy"] == "sup4_6b"]
    expected = [
        peer.score(human[post], text)["rougeL"].fmeasure
        for post, text in zip(mine["post_id"], mine["text"], strict=True)
    ]
    got = table[table["quantity"] == "rougeL_f"].set_index("policy")["value"]
    assert got["sup4_6b"] == pytest.approx(np.mean(expected), rel=1e-12)
    # Colder is better for ROUGE (Appendix G.4).
    assert got["sup4_6b"] > got["sup4_6b_t0.7"] > got["sup4_6b_t1"]


def test_figure_has_the_table(data):
    table, _ = compute(data)
    axes = rouge.plot(table).axes
    assert [ax.get_title(loc="left") for ax in axes] == [
        "ROUGE-1", "ROUGE-2", "ROUGE-L", "6.7B supervised", "", ""
    ]  # fmt: skip
    swept = axes[3].lines[0]
    assert swept.get_xdata().tolist() == [0, 1]
    assert swept.get_ydata().tolist() == pytest.approx([2 / 3, 1 / 3])


def test_several_models_are_named_at_their_lines(data):
    more = data.summaries.assign(
        policy=data.summaries["policy"].str.replace("_6b", ""),
        summary_id="t" + data.summaries["summary_id"],
    )
    more = more[more["policy"] != REFERENCE]
    both = Tables(posts=data.posts, summaries=pd.concat([data.summaries, more]))
    table, _ = compute(both)
    texts = {text.get_text() for text in rouge.plot(table).axes[5].texts}
    assert {"1.3B supervised", "6.7B supervised"} <= texts


def test_no_sweep_no_second_row():
    rows = [(f"p{i}", policy, "a b") for i in range(6) for policy in (REFERENCE, "policy")]
    table, _ = compute(tables(rows))
    assert len(rouge.plot(table).axes) == 3
    assert (
        rouge.reading(table)
        == "policy has the highest ROUGE-L, 1.000 (95% interval 1.000 to 1.000)."
    )


def test_reading(data):
    table, _ = compute(data)
    assert rouge.reading(table) == (
        "policy has the highest ROUGE-L, 1.000 (95% interval 1.000 to 1.000), "
        "6.7B supervised, T=1 the lowest, 0.333; "
        "6.7B supervised goes from 0.667 at T=0 to 0.333 at T=1."
    )
    # With 30 summaries elsewhere the six of T = 1 are neither ranked nor an end of the sweep.
    cold = table.assign(n=table["n"].where(table["policy"] == "sup4_6b_t1", 30))
    assert rouge.reading(cold) == (
        "policy has the highest ROUGE-L among those with 30 summaries or more, 1.000 "
        "(95% interval 1.000 to 1.000), 6.7B supervised, T=0 the lowest, 0.667."
    )
    few = table.assign(low=np.nan)
    assert rouge.reading(few) == "No policy has summaries of enough posts for an interval."


@pytest.mark.parametrize(
    "data",
    [
        Tables(),
        tables([("p0", REFERENCE, "a b"), ("p1", "policy", "a b")]),
        tables([("p0", REFERENCE, None), ("p0", "policy", "a b")]),
    ],
)
def test_nothing_to_measure(data):
    text = "no post has a reference summary and another summary beside it"
    assert rouge.missing(data) == text
    with pytest.raises(EvalsuiteError, match=text):
        compute(data)


def test_not_missing(data):
    assert rouge.missing(data) is None
