"""The agreement matrix of Tables 20-23: published counts, which pairs, the table and its figure."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analyses import agreement
from evalsuite.datasets import load
from evalsuite.errors import ConfigError, StatisticsError
from evalsuite.metrics import score_summaries
from evalsuite.tables import Tables, from_columns


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def compute(tables: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    rng = np.random.default_rng(0)
    result = agreement.compute(tables, agreement.Options(**options), rng)  # type: ignore[arg-type]
    return through_csv(result.table), result.left_out


def cells(table: pd.DataFrame, quantity: str = "agreement") -> dict[tuple[str, str], pd.Series]:
    rows = table[table["quantity"] == quantity]
    return {(row["row"], row["column"]): row for _, row in rows.iterrows()}


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for ax in figure.axes for text in ax.texts}


def small(rows: list[tuple[str, str, float, str | None]], *, policy: str = "a") -> Tables:
    """Comparisons (left text, right text, choice, labeler) of one post, of `policy` with itself."""
    left, right, choice, labeler = zip(*rows, strict=True)
    known = sorted({*left, *right})
    return Tables(
        summaries=from_columns(
            "summaries",
            {"summary_id": known, "post_id": ["p"] * len(known), "policy": [policy] * len(known),
             "text": known, "chars": [len(t) for t in known]},
        ),
        comparisons=from_columns(
            "comparisons",
            {"comparison_id": range(len(rows)), "left_id": left, "right_id": right,
             "left_policy": [policy] * len(rows), "right_policy": [policy] * len(rows),
             "choice": choice, "labeler": labeler, "item": ["p"] * len(rows)},
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "agree", "pairs"), [("batch18", 43, 66), ("cnndm0", 129, 165)])
def test_published_counts(shared_data: Path, name: str, agree: int, pairs: int) -> None:
    tables = load(shared_data / "tldr_feedback" / "comparisons" / f"{name}.json")
    scores = score_summaries(tables.summaries, tables.posts, groups=agreement.SCORES)
    table, left_out = compute(tables.with_scores(scores))
    found = cells(table)["labeler", "labeler"]
    assert found["n"] == pairs
    assert found["value"] == agree / pairs
    assert set(table["pairs"]) == {"all"}  # no policy was compared with itself there
    assert left_out == {}
    # Every label faces length; ROUGE has none for comparisons with the human text.
    labels = len(tables.comparisons)
    assert cells(table)["labeler", "length"]["n"] == labels
    human = tables.comparisons[["left_policy", "right_policy"]].eq("reference_summary").any(axis=1)
    assert cells(table)["labeler", "ROUGE-L"]["n"] == labels - human.sum()
    said = agreement.reading(table)
    assert f"{100 * agree / pairs:.1f}% of {pairs} pairs of answers" in said
    shown = texts(agreement.plot(table))
    # Batch 18 has answers of two labelers on three posts only.
    enough = found["n_clusters"] >= 5
    assert (f"{100 * agree / pairs:.1f}" in shown) == enough
    assert ("–" in shown) == (not enough)
    assert f"{100 * cells(table)['length', 'copying']['value']:.1f}" in shown


def test_length_in_batch_18_counted_naively(shared_data: Path) -> None:
    tables = load(shared_data / "tldr_feedback" / "comparisons" / "batch18.json")
    chars = tables.summaries.set_index("summary_id")["text"].str.len()
    total = 0.0
    for row in tables.comparisons.itertuples():
        longer = np.sign(chars[row.right_id] - chars[row.left_id])
        total += 0.5 if longer == 0 else float((longer > 0) == (row.choice == 1))
    scores = score_summaries(tables.summaries, tables.posts, groups=("length",))
    table, _ = compute(tables.with_scores(scores), pairs="all")
    assert cells(table)["labeler", "length"]["value"] == pytest.approx(total / 638, abs=1e-12)
    assert ("labeler", "copying") not in cells(table)  # not scored, not shown


def test_which_pairs() -> None:
    few = small([("x", "yy", 0.0, "ann"), ("yy", "x", 1.0, "bob")])
    assert set(compute(few)[0]["pairs"]) == {"all"}
    assert set(compute(few, pairs="same_policy")[0]["pairs"]) == {"a"}
    assert set(compute(few, policy="a")[0]["pairs"]) == {"a"}
    many = small([("x", "yy", 0.0, "ann")] * agreement.ENOUGH)
    assert set(compute(many)[0]["pairs"]) == {"a"}
    more = pd.concat([few.comparisons, few.comparisons.assign(right_policy="b")])
    both = Tables(summaries=few.summaries, comparisons=more)
    assert compute(both, policy="a")[1] == {"agreement: comparisons other than a with itself": 2}
    with pytest.raises(ConfigError, match=r"policy is 'b'; policies that met themselves .*: a$"):
        compute(few, policy="b")
    other = Tables(
        summaries=few.summaries, comparisons=few.comparisons.assign(right_policy="b")
    )  # fmt: skip
    with pytest.raises(StatisticsError, match="no policy was compared with itself; allowed pairs"):
        compute(other, pairs="same_policy")


def test_quantities_around_the_matrix() -> None:
    rows = [("x", f"y{i}", float(i % 4 == 0), w) for i in range(40) for w in ("ann", "bob", "cay")]
    tables = small([*rows, ("x", "x", 1.0, "ann"), ("x", "z", 0.5, "ann")])
    table, left_out = compute(tables)
    assert cells(table)["labeler", "labeler"]["value"] == 1.0
    assert cells(table, "alpha")["labeler", "labeler"]["value"] == 1.0
    assert cells(table, "agreement, new labelers")["labeler", "labeler"]["n"] == 120
    # Nobody errs, so nothing is to be corrected. x is the shorter, preferred in 3 of 4.
    assert cells(table)["length", "labeler"]["value"] == 0.25
    assert cells(table, "disattenuated")["length", "labeler"]["value"] == 0.25
    assert left_out == {"agreement: identical texts": 1, "agreement: tie": 1}
    # Three others are needed, and there are two: the ensemble has no cell with a labeler.
    assert math.isnan(cells(table)["labeler", "labeler ensemble"]["value"])
    assert cells(table)["labeler ensemble", "length"]["value"] == 0.25
    assert "–" in texts(agreement.plot(table))


def test_nobody_answered_twice() -> None:
    table, _ = compute(small([("x", "yy", 1.0, "ann"), ("x", "zzz", 0.0, None)]))
    assert agreement.reading(table) == ("No two labelers answered the same comparison.")
    figure = agreement.plot(table)
    note = " ".join(figure.get_supxlabel().split())
    assert "no ensembles" in note
    # Labelers with labelers have no value at all; the cells of one post have, but no interval.
    assert "n = 0: no comparison has two labelers" in note
    assert "n = 0" in texts(figure)
    alone = table[~table["row"].eq("length") & ~table["column"].eq("length")]
    assert "too few posts" not in agreement.plot(alone).get_supxlabel()


def reading_of(pairs: str, *metrics: tuple[str, float, float, float]) -> str:
    rows = [("labeler", 0.7, 0.6, 0.8), *metrics]
    table = pd.DataFrame(rows, columns=["row", "value", "low", "high"])
    table = table.assign(quantity="agreement", column="labeler", pairs=pairs, level=0.95, n=90)
    ensemble = table.iloc[[0]].assign(row="labeler ensemble", low=math.nan)
    return agreement.reading(pd.concat([table, ensemble]))


def test_the_reading_says_which_pairs_and_what_is_chance() -> None:
    assert reading_of("sup4_6b", ("length", 0.53, 0.46, 0.6)) == (
        "Two labelers choose the same summary in 70.0% of 90 pairs of answers on comparisons of "
        "6.7B supervised, T=0 with itself (95% interval 60.0% to 80.0%); length agrees with them, "
        "in 53.0% (95% interval 46.0% to 60.0%), no better than chance here."
    )
    better = reading_of("all", ("length", 0.53, 0.46, 0.6), ("ROUGE-1", 0.58, 0.55, 0.61))
    assert better == (
        "Two labelers choose the same summary in 70.0% of 90 pairs of answers (95% interval 60.0% "
        "to 80.0%); of the metrics ROUGE-1 agrees with them most, in 58.0% (95% interval 55.0% to "
        "61.0%)."
    )


def test_bootstrap_is_seeded() -> None:
    tables = small([("x", f"y{i}", float(i % 3 == 0), w) for i in range(30) for w in ("a", "b")])
    posts = [f"p{i // 4}" for i in range(60)]
    tables = Tables(
        summaries=tables.summaries, comparisons=tables.comparisons.assign(item=posts)
    )  # fmt: skip
    one, two = (compute(tables, interval="bootstrap", resamples=200)[0] for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert "bootstrap by post, 200 resamples" in cells(one)["labeler", "length"]["method"]


def test_what_is_missing() -> None:
    assert agreement.missing(Tables()) == "no comparisons"
    tables = small([("x", "y", 1.0, "ann")])
    assert agreement.missing(tables) is None
    without = Tables(
        summaries=tables.summaries.assign(text=None), comparisons=tables.comparisons
    )  # fmt: skip
    assert agreement.missing(without) == "the summaries have no texts"


def scored(**columns: list[float]) -> Tables:
    """Four pairs on each of six posts: a is preferred to b, c to d, and scores of the models."""
    rows = []
    for post in range(6):
        rows += [(f"a{post}", f"b{post}", 0.0, "ann"), (f"a{post}", f"b{post}", 0.0, "bob")]
        rows += [(f"c{post}", f"d{post}", 0.0, "ann"), (f"c{post}", f"d{post}", 1.0, "bob")]
    tables = small(rows)
    posts = tables.comparisons["left_id"].str[1:]
    tables = Tables(
        summaries=tables.summaries, comparisons=tables.comparisons.assign(item=posts)
    )  # fmt: skip
    kind = tables.summaries["summary_id"].str[0]
    scores = {
        name.replace("__", ":").replace("_", " "): kind.map(dict(zip("abcd", values, strict=True)))
        for name, values in columns.items()
    }
    return tables.with_scores(tables.summaries[["summary_id"]].assign(**scores))


def test_models_are_judges_beside_the_metrics() -> None:
    nan = math.nan
    tables = scored(
        reward__small_RM=[2, 1, nan, 1], reward__large_RM=[2, 1, 3, 1],
        logprob__small_supervised=[-9, -7, -1, -math.inf], chars=[5, 4, 4, 5],
    )  # fmt: skip
    table, left_out = compute(tables)
    # Text metrics, log-probs, reward models, whatever the order of the columns.
    order = ["labeler", "labeler ensemble", "length", "small supervised log-prob", "small RM",
             "large RM"]  # fmt: skip
    assert list(dict.fromkeys(table.loc[table["quantity"] == "agreement", "column"])) == order
    found = cells(table)
    # c has no reward, d a log-prob of -inf: only the 12 labels of a and b count for those judges.
    assert found["small RM", "labeler"][["value", "n"]].tolist() == [1.0, 12]
    assert found["small supervised log-prob", "labeler"][["value", "n"]].tolist() == [0.0, 12]
    assert found["large RM", "labeler"][["value", "n"]].tolist() == [0.75, 24]
    assert found["large RM", "small RM"][["value", "n"]].tolist() == [1.0, 6]
    assert left_out == {
        "agreement: labels of summaries without small supervised log-prob": 12,
        "agreement: labels of summaries without small RM": 12,
    }
    assert {"small RM", "large RM"} <= {row for row, _ in cells(table, "disattenuated")}
    said = agreement.reading(table)
    assert "; length agrees with them, in 50.0% (" in said
    assert "; of the models small RM agrees with them most, in 100.0% (" in said
    upright = [label.get_text() for label in agreement.plot(table).axes[0].get_xticklabels()]
    assert upright == ["labeler", "length", "small\nsupervised\nlog-prob", "small\nRM", "large\nRM"]


def test_twelve_judges_stay_readable() -> None:
    models = {f"reward__RM_{i},_4,800_labels": [2.0, 1.0, 3.0, 1.0] for i in range(11)}
    table, _ = compute(scored(**models))
    figure = agreement.plot(table)
    (ax,) = figure.axes
    assert figure.get_figwidth() <= 7.2
    figure.draw_without_rendering()
    names = ax.get_xticklabels()
    assert names[-1].get_text() == "RM 10,\n4,800 labels"
    assert names[-1].get_rotation() == 40
    # A cell's number is narrower than the cell.
    wide = max(text.get_window_extent().width for text in ax.texts)
    assert wide < ax.get_window_extent().width / 12
