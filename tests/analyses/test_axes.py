"""Ratings by axis: means by hand, SummEval's own, top ratings, scales kept apart, the figure."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import axes
from evalsuite.datasets import load
from evalsuite.errors import StatisticsError
from evalsuite.tables import Tables, from_columns


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def compute(tables: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    result = axes.compute(tables, axes.Options(**options), np.random.default_rng(0))  # type: ignore[arg-type]
    return through_csv(result.table), result.left_out


Rating = tuple[str, str, str, float, str]  # policy, post, axis, value, labeler


def ratings(rows: list[Rating], *, high: float = 7, domain: str = "tldr") -> Tables:
    policy, post, axis, value, labeler = zip(*rows, strict=True)
    n = len(rows)
    summary = [f"{a}-{b}" for a, b in zip(policy, post, strict=True)]
    return Tables(
        ratings=from_columns(
            "ratings",
            {"rating_id": range(n), "post_id": post, "summary_id": summary, "policy": policy,
             "axis": axis, "value": value, "low": [1.0] * n, "high": [high] * n,
             "labeler": labeler, "domain": [domain] * n},
        )
    )  # fmt: skip


def value(table: pd.DataFrame, policy: str, axis: str, quantity: str) -> pd.Series:
    rows = table[
        (table["policy"] == policy) & (table["axis"] == axis) & (table["quantity"] == quantity)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


ROWS: list[Rating] = [
    ("a", "p", "overall", 7, "ann"), ("a", "p", "overall", 5, "bob"),
    ("a", "q", "overall", 7, "ann"), ("b", "p", "overall", 2, "ann"),
    ("a", "p", "tone", 4, "ann"), ("a", "p", "accuracy", 6, "ann"),
]  # fmt: skip


def test_means_and_top_ratings_by_hand() -> None:
    table, left_out = compute(ratings(ROWS))
    found = value(table, "a", "overall", "mean rating")
    assert found["value"] == pytest.approx(19 / 3)
    assert found[["n", "n_clusters"]].tolist() == [3, 2]
    # Without q the mean is 6, without p 7; SE^2 = 1/2 ((6 - 19/3)^2 + (7 - 19/3)^2) = 5/18.
    assert found["se"] == pytest.approx(np.sqrt(5 / 18))
    assert np.isnan(found["low"])
    assert value(table, "a", "overall", "top rating")["value"] == pytest.approx(2 / 3)
    assert value(table, "b", "overall", "mean rating")["value"] == 2
    assert left_out == {}
    # One summary was rated twice, 7 and 5: as different as any two, alpha 0.
    assert value(table, "all", "overall", "alpha")["value"] == pytest.approx(0, abs=1e-12)


def test_summeval(shared_data: Path) -> None:
    path = shared_data / "summeval" / "summeval.jsonl"
    table, left_out = compute(load(path), labelers="expert")
    raw = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for axis in ("coherence", "consistency", "fluency", "relevance"):
        for policy in sorted({row["model_id"] for row in raw}):
            given = [
                one[axis] for row in raw if row["model_id"] == policy
                for one in row["expert_annotations"]
            ]  # fmt: skip
            found = value(table, policy, axis, "mean rating")
            assert found["value"] == pytest.approx(np.mean(given), abs=1e-12)
            assert found["n"] == len(given)
            top = value(table, policy, axis, "top rating")["value"]
            assert top == pytest.approx(np.mean(np.array(given) == 5), abs=1e-12)
    assert left_out == {"axes: labeler does not start with expert": 1200 * 5 * 4}
    assert axes.reading(table).startswith(
        "For coherence M22 is rated best by the lower end of the interval, 4.18 of 5 (95% interval "
    )


def on_posts(
    posts: int = 6, axes: tuple[str, ...] = ("overall", "tone", "accuracy")
) -> list[Rating]:
    """a gets 7, 5, 7, 5 ... and b always 2, each once a post and axis."""
    return [
        (policy, f"p{i}", axis, value, "ann")
        for i in range(posts)
        for axis in axes
        for policy, value in (("a", 7.0 - 2 * (i % 2)), ("b", 2.0))
    ]


def test_scales_and_domains_are_kept_apart() -> None:
    news: list[Rating] = [("a", f"r{i}", "overall", 5, "x") for i in range(6)]
    both = pd.concat(
        [ratings(on_posts()).ratings, ratings(news, high=5, domain="n").ratings]
    )  # fmt: skip
    table, _ = compute(Tables(ratings=both))
    assert value(table[table["domain"] == "n"], "a", "overall", "top rating")["value"] == 1.0
    figure = axes.plot(table)
    # Two domains, a row of means and one of top ratings each; axes in the paper's order.
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["overall", "accuracy", "tone"]
    assert len(figure.axes) == 4 * 3
    assert {ax.get_xlabel() for ax in figure.axes} == {
        "mean rating", "share rated 5", "share rated 7"
    }  # fmt: skip
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["n", "n", "tldr", "tldr"]
    dots = [line.get_xdata()[0] for line in figure.axes[6].lines if len(line.get_xdata()) == 1]
    assert sorted(dots) == pytest.approx([2, 6])


def test_estimates_of_few_posts_are_counted_not_drawn() -> None:
    """c is rated on two posts: a mean and a share of top ratings."""
    few: list[Rating] = [("c", "p0", "overall", 7, "ann"), ("c", "p1", "overall", 7, "ann")]
    figure = axes.plot(compute(ratings([*on_posts(axes=("overall",)), *few]))[0])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert figure.get_supxlabel().startswith("2 estimates of too few clusters for an interval")
    (text,) = axes.plot(compute(ratings(few))[0]).axes[0].texts
    assert text.get_text() == "no policy has ratings of enough posts for an interval"


def test_reading_names_the_best() -> None:
    # Six posts, 7 and 5 in turn: mean 6, SE sqrt(6 / 5 / 6) = .447, t(5) = 2.571: 6 -+ 1.15.
    said = axes.reading(compute(ratings(on_posts()))[0])
    assert said == (
        "For overall a is rated best by the lower end of the interval, 6.00 of 7 (95% interval "
        "4.85 to 7.00); 50% of the ratings are 7."
    )
    few = axes.reading(compute(ratings(ROWS))[0])
    assert few == "No policy has ratings of enough posts for an interval for overall."


def test_without_posts_summaries_are_the_clusters() -> None:
    tables = ratings(ROWS)
    table, _ = compute(Tables(ratings=tables.ratings.assign(post_id=None)))
    found = value(table, "a", "overall", "mean rating")
    assert "by summary (no post ids)" in found["method"]


def test_what_is_missing() -> None:
    assert axes.missing(Tables()) == "no ratings of single summaries"
    assert axes.missing(ratings(ROWS)) is None
    with pytest.raises(StatisticsError, match=r"labelers is 'expert'; .* e\.g\. ann"):
        compute(ratings(ROWS), labelers="expert")


def test_ratings_without_spread_are_not_called_best() -> None:
    rows: list[Rating] = [("flat", f"p{i}", "overall", 7, "ann") for i in range(40)]
    rows += [("good", f"p{i}", "overall", 5 + i % 3, "ann") for i in range(40)]
    assert axes.reading(compute(ratings(rows))[0]).startswith("For overall good is rated best")
