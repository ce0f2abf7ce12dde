"""The labelers' analysis: batches in order, the watched policy, joins by hand, the figure."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import labelers
from evalsuite.datasets import load
from evalsuite.errors import ConfigError
from evalsuite.tables import Tables, from_columns

REFERENCE = "reference_summary"


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def compute(tables: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    rng = np.random.default_rng(0)
    result = labelers.compute(tables, labelers.Options(**options), rng)  # type: ignore[arg-type]
    return through_csv(result.table), result.left_out


def world(people: int = 6, posts: int = 60, seed: int = 0) -> Tables:
    """Three batches; policy "a" meets the reference in all, "b" in the last, more often."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(posts):
        batch = ("batch9", "batch10", "batch11")[i % 3]
        for policy in ("a", "b", "b") if batch == "batch11" else ("a",):
            truth = rng.random() < 0.6
            for who in rng.permutation(people)[:3]:
                wins = truth if rng.random() < 0.8 else not truth  # the reference
                on_left = rng.random() < 0.5
                left, right = (REFERENCE, policy) if on_left else (policy, REFERENCE)
                rows.append((i, batch, left, right, float(wins != on_left), f"l{who}"))
    post, batch, left, right, choice, who = zip(*rows, strict=True)
    posts_named = [f"p{i}" for i in post]
    ids = [
        [f"{p}-{policy}" for p, policy in zip(post, side, strict=True)] for side in (left, right)
    ]
    known = sorted({*ids[0], *ids[1]})
    return Tables(
        summaries=from_columns("summaries", {"summary_id": known, "text": known}),
        comparisons=from_columns(
            "comparisons",
            {"comparison_id": range(len(rows)), "post_id": posts_named, "item": posts_named,
             "left_id": ids[0], "right_id": ids[1], "left_policy": left, "right_policy": right,
             "choice": choice, "labeler": who, "batch": batch,
             "strength": rng.integers(1, 5, len(rows)).astype(float)},
        ),
    )  # fmt: skip


def test_batches_are_in_the_order_of_their_numbers() -> None:
    batches = pd.Series(["batch10", "batch9", None, "cnndm0", "batch10", "batch2_a"], dtype="str")
    order = labelers.batch_order(batches)
    assert sorted(order, key=order.__getitem__) == ["batch2_a", "batch9", "batch10", "cnndm0"]
    assert set(order.values()) == {0, 1, 2, 3}


def test_batch_18_of_the_release(shared_data: Path) -> None:
    tables = load(shared_data / "tldr_feedback" / "comparisons" / "batch18.json")
    table, left_out = compute(tables)
    everyone = table[table["labeler"] == "all"].set_index("quantity")
    assert everyone.loc["agreement", ["value", "n"]].tolist() == [43 / 66, 66]
    own = table[table["labeler"] != "all"]
    assert own["labeler"].nunique() == 11
    # Every comparison is one answer: 329 of 638 chose the left, by raw count of choice == 0.
    left = own[own["quantity"] == "left preference"]
    assert left["n"].sum() == 638
    assert round((left["value"] * left["n"]).sum()) == 329
    assert not set(own["quantity"]) & {"strength drift", "reference drift"}  # one batch
    assert left_out == {}
    assert labelers.reading(table).startswith("11 labelers agree in 65.2% of 66 pairs of answers")
    figure = labelers.plot(table)
    # Labelers met on three posts only: no panel of agreement, none of calibration.
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["left preference", "confidence"]
    note = " ".join(figure.get_supxlabel().split())
    assert "estimates of too few clusters for an interval" in note
    assert "dashed: no preference;" in note  # nor is what has no panel explained
    assert "agreement of all" not in note
    assert "drift" not in note


def test_joins_by_hand() -> None:
    tables = world()
    rows = tables.comparisons
    table, _ = compute(tables)
    # "a" met the reference in most batches, though "b" in more comparisons of the last.
    by_batch = table[table["quantity"] == "reference preferred in batch"]
    assert by_batch["at"].tolist() == ["batch9", "batch10", "batch11"]
    assert set(by_batch["policy"]) == {"a"}
    for found in by_batch.itertuples():
        here = rows[
            (rows["batch"] == found.at)
            & ((rows["left_policy"] == "a") | (rows["right_policy"] == "a"))
        ]
        liked = [
            1 - row.choice if row.left_policy == REFERENCE else row.choice
            for row in here.itertuples()
        ]
        assert found.value == pytest.approx(np.mean(liked), abs=1e-12)
        assert found.n == len(liked)
    drift = table[(table["labeler"] == "all") & (table["quantity"] == "reference drift")].iloc[0]
    number = rows["batch"].map({"batch9": 0, "batch10": 1, "batch11": 2})
    watched = (rows["left_policy"] == "a") | (rows["right_policy"] == "a")
    liked = np.where(rows["left_policy"] == REFERENCE, 1 - rows["choice"], rows["choice"])
    slope = np.polyfit(number[watched], liked[watched], 1)[0]
    assert drift["value"] == pytest.approx(slope, abs=1e-12)
    # One labeler's drift of confidence, by the same polynomial.
    one = rows["labeler"] == "l0"
    own = table[(table["labeler"] == "l0") & (table["quantity"] == "strength drift")].iloc[0]
    expected = np.polyfit(number[one], rows.loc[one, "strength"], 1)[0]
    assert own["value"] == pytest.approx(expected, abs=1e-12)
    other, _ = compute(tables, policy="b")
    assert set(other["policy"].dropna()) == {"b"}


def test_drift_is_of_one_domain() -> None:
    tables = world()
    rows = tables.comparisons
    news = rows["batch"] == "batch9"
    table, _ = compute(
        Tables(
            summaries=tables.summaries,
            comparisons=rows.assign(domain=np.where(news, "cnndm", "tldr")),
        )
    )
    by_batch = table[table["quantity"] == "reference preferred in batch"]
    assert by_batch["at"].tolist() == ["batch10", "batch11"]
    own = table[(table["labeler"] == "l0") & (table["quantity"] == "strength drift")].iloc[0]
    assert own["n"] == ((rows["labeler"] == "l0") & ~news).sum()


def test_calibration_counts_votes_that_met_others() -> None:
    table, _ = compute(world())
    rows = table[table["quantity"] == "agreement at strength"]
    assert rows["at"].astype(float).tolist() == [1, 2, 3, 4]
    assert rows["n"].sum() == len(world().comparisons)  # three answer everything


def test_figure_of_a_large_crowd_names_only_the_flagged() -> None:
    tables = world(people=40, posts=900, seed=1)
    rows = tables.comparisons
    biased = rows.assign(choice=rows["choice"].where(rows["labeler"] != "l7", 0.0))
    table, _ = compute(Tables(summaries=tables.summaries, comparisons=biased))
    flagged = table[table["flag"]]
    assert ("l7", "left preference") in set(
        zip(flagged["labeler"], flagged["quantity"], strict=True)
    )
    assert flagged["question"].notna().all()
    assert "1 labeler (“prefers one side of the screen”)" in labelers.reading(table)
    figure = labelers.plot(table)
    first, second = figure.axes[:2]
    named = {text.get_text() for text in first.texts} - {""}
    assert named == set(flagged["labeler"])
    assert second.get_title(loc="left") == "left preference"
    assert len(second.get_yticks()) == len(named)


def test_the_note_explains_the_marks_that_are_drawn() -> None:
    table, _ = compute(world())

    def note(rows: pd.DataFrame) -> str:
        return " ".join(labelers.plot(rows).get_supxlabel().split())

    nobody, somebody = table.assign(flag=False), table.copy()
    first = (table["labeler"] == "l0") & (table["quantity"] == "left preference")
    somebody["flag"] = first
    assert "dashed: agreement of all, or no preference, or no drift" in note(nobody)
    assert "filled: flagged" not in note(nobody)
    assert "filled: flagged; dashed:" in note(somebody)
    only = table[table["quantity"].isin(["mean strength"])]
    assert "dashed" not in note(only)


def test_unnamed_labelers_are_counted() -> None:
    tables = world()
    rows = tables.comparisons
    some = rows.assign(labeler=rows["labeler"].where(rows["labeler"] != "l0"))
    _, left_out = compute(Tables(summaries=tables.summaries, comparisons=some))
    assert left_out["labelers: no labeler"] == (rows["labeler"] == "l0").sum()
    nobody = Tables(comparisons=rows.assign(labeler=None))
    assert labelers.missing(nobody) == "no comparison says who labeled it"
    assert labelers.missing(tables) is None


def test_one_labeler_alone() -> None:
    tables = world(people=3)
    rows = tables.comparisons[tables.comparisons["labeler"] == "l0"]
    rows = rows.assign(strength=np.nan, batch=None)
    table, _ = compute(Tables(summaries=tables.summaries, comparisons=rows))
    assert labelers.reading(table) == ("1 labeler, so nobody to agree with; nobody is flagged.")
    titles = [ax.get_title(loc="left") for ax in labelers.plot(table).axes]
    assert titles == ["left preference"]


def test_nothing_to_draw_is_said() -> None:
    """All ties, or identical texts: no answer counts, and the figure says so."""
    tables = world(people=3)
    ties = Tables(
        summaries=tables.summaries,
        comparisons=tables.comparisons.assign(choice=0.5, strength=np.nan),
    )
    same = Tables(
        summaries=tables.summaries.assign(text="one text"),
        comparisons=tables.comparisons.assign(strength=np.nan),
    )
    for nothing in (ties, same):
        table, left_out = compute(nothing)
        assert sum(left_out.values()) == len(tables.comparisons)
        (text,) = labelers.plot(table).axes[0].texts
        assert text.get_text() == "no labeler answered enough comparisons for an interval"
        assert labelers.reading(table)


def test_a_policy_to_watch_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="policy is 'nope'; policies in the data: "):
        compute(world(), policy="nope")
