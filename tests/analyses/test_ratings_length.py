"""Ratings by length: lines by hand on small tables, and the means of SummEval."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import ratings_length
from evalsuite.datasets import load
from evalsuite.errors import StatisticsError
from evalsuite.tables import Tables, coerce

REFERENCE = "reference_summary"


def tables(
    rows: list[tuple[str, str, str, float, float]], extra: list[tuple[str, str, float]] = ()
) -> Tables:
    """Tables of (post, policy, axis, chars, rating); extra: unrated (post, policy, chars)."""
    frame = pd.DataFrame(rows, columns=["post_id", "policy", "axis", "chars", "value"])
    frame["summary_id"] = frame["rating_id"] = [f"s{i}" for i in range(len(rows))]
    frame["low"], frame["high"], frame["labeler"] = 1.0, 7.0, "ann"
    more = pd.DataFrame(extra, columns=["post_id", "policy", "chars"])
    more["summary_id"] = [f"x{i}" for i in range(len(more))]
    summaries = pd.concat([frame, more])[["summary_id", "post_id", "policy", "chars"]]
    return Tables(
        summaries=coerce("summaries", summaries),
        ratings=coerce("ratings", frame.drop(columns="chars")),
    )


def compute(data: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    result = ratings_length.compute(
        data, ratings_length.Options(**options), np.random.default_rng(0)
    )
    return pd.read_csv(io.StringIO(result.table.to_csv(index=False))), result.left_out


def of(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    return table[table["quantity"] == quantity].set_index("policy")


@pytest.fixture
def data() -> Tables:
    """Lead-3 of Table 13 (475 characters, 6.23, 0.34 per 100) against references of 314."""
    rows = []
    for i, step in enumerate((-120.0, -60.0, 0.0, 0.0, 60.0, 120.0)):
        rows.append((f"p{i}", "lead-3", "overall", 475 + step, 6.23 + 0.0034 * step))
        rows.append((f"p{i}", REFERENCE, "overall", 314 + step, 5.54 + 0.0014 * step))
        rows.append((f"p{i}", "lead-3", "coverage", 475 + step, 4.0))
    return tables(rows)


def test_lead_3_at_the_length_of_the_references(data):
    table, left_out = compute(data)
    at = of(table, "rating_at_length")
    # 6.23 - 0.34 * (475 - 314) / 100 = 5.6826; the references stay where they are.
    assert at.loc["lead-3", "value"] == pytest.approx(6.23 - 0.34 * 1.61)
    assert at.loc[REFERENCE, "value"] == pytest.approx(5.54)
    assert set(at["at_chars"]) == {314.0}
    assert set(at["at_policy"]) == {REFERENCE}
    slope = of(table, "slope_per_100_chars")["value"]
    # Both policies have the same spread of lengths, so the common slope is the mean of the two.
    assert slope.to_dict() == pytest.approx({"lead-3": 0.34, REFERENCE: 0.14, "all": 0.24})
    chars = of(table, "mean_chars")
    assert chars["value"].to_dict() == {"lead-3": 475.0, REFERENCE: 314.0}
    # Squares of the steps: 2 * 120^2 + 2 * 60^2 = 36,000 over 6 - 1.
    assert chars["sd_chars"].tolist() == pytest.approx([math.sqrt(7200)] * 2)
    assert set(table["axis"]) == {"overall"}
    assert left_out == {}


def test_clusters_are_posts(data):
    table, _ = compute(data)
    rating = of(table, "mean_rating").loc["lead-3"]
    assert (rating["n"], rating["n_clusters"]) == (6, 6)
    assert "by post" in rating["method"]
    pooled = of(table, "slope_per_100_chars").loc["all"]
    assert (pooled["n"], pooled["n_clusters"]) == (12, 6)
    unknown = Tables(
        summaries=data.summaries, ratings=coerce("ratings", data.ratings.assign(post_id=None))
    )
    assert "by summary (no post ids)" in of(compute(unknown)[0], "mean_rating")["method"].iloc[0]


def test_axis_is_overall_else_relevance_else_the_first(data):
    assert set(compute(data, axis="coverage")[0]["axis"]) == {"coverage"}
    named = data.ratings["axis"]
    for axes, chosen in (
        ({"overall": "relevance"}, "relevance"), ({"overall": "tone"}, "coverage"),
    ):  # fmt: skip
        other = Tables(
            summaries=data.summaries, ratings=data.ratings.assign(axis=named.replace(axes))
        )
        assert set(compute(other)[0]["axis"]) == {chosen}
    with pytest.raises(StatisticsError, match="axis is 'style'; allowed coverage, overall"):
        compute(data, axis="style")


def test_common_length_without_rated_references():
    rows = [(f"p{i}", "a", "overall", 100.0 + 10 * i, 3.0 + i % 3) for i in range(6)]
    # References of other posts (p9) do not count: (80 + 100) / 2.
    table, _ = compute(
        tables(rows, [("p0", REFERENCE, 80), ("p1", REFERENCE, 100), ("p9", REFERENCE, 999)])
    )
    assert of(table, "rating_at_length").loc["a", "at_chars"] == 90
    table, _ = compute(tables(rows))
    at = of(table, "rating_at_length").loc["a"]
    assert (at["at_chars"], at["at_policy"]) == (125.0, "all")
    assert "mean length of all summaries" in ratings_length.plot(table).get_supxlabel()
    table, _ = compute(tables(rows), reference="a")
    assert of(table, "rating_at_length").loc["a", "at_policy"] == "a"
    assert "mean length of a;" in ratings_length.plot(table).get_supxlabel()


def test_labelers_and_rows_left_out(data):
    labeler = ["bob" if policy == "lead-3" else "ann" for policy in data.ratings["policy"]]
    ratings = data.ratings.assign(labeler=labeler)
    ratings.loc[ratings.index[0], "value"] = math.nan
    table, left_out = compute(Tables(summaries=data.summaries, ratings=ratings), labelers="bo")
    assert left_out == {
        "ratings of other labelers": 6,
        "ratings without value, policy or length of the summary": 1,
    }
    assert set(table["policy"]) == {"lead-3", "all"}
    with pytest.raises(StatisticsError, match="labelers is 'zoe'; allowed the start of a labele"):
        compute(data, labelers="zoe")
    nothing = Tables(summaries=data.summaries, ratings=data.ratings.assign(value=math.nan))
    with pytest.raises(StatisticsError, match="no rated summary has a length and a rating on ax"):
        compute(nothing)


def test_figure_has_the_table(data):
    table, _ = compute(data)
    fig = ratings_length.plot(table)
    left, right = fig.axes
    points = [line.get_xydata() for line in left.lines]
    drawn = {tuple(np.round(at[0], 6)) for at in points if len(at) == 1}
    assert {(475.0, 6.23), (314.0, 5.54)} <= drawn
    assert [t.get_text() for t in right.get_yticklabels()] == ["lead-3", "reference"]
    assert right.get_title(loc="left") == "As rated, and\nat 314 characters"
    assert "error bars: 1 SE" in " ".join(fig.get_supxlabel().split())


def test_no_prediction_is_shown_far_from_a_policys_lengths():
    rows = [(f"p{i}", "a", "overall", 100.0 + i, 3.0 + i % 3) for i in range(6)]
    rows += [(f"p{i}", REFERENCE, "overall", 300.0 + i, 4.0 + i % 2) for i in range(6)]
    table, _ = compute(tables(rows))
    assert math.isfinite(of(table, "rating_at_length").loc["a", "value"])
    fig = ratings_length.plot(table)
    assert "within 2 SD of the policy's own lengths" in " ".join(fig.get_supxlabel().split())
    assert "predicted to move" not in ratings_length.reading(table)


def test_reading(data):
    table, _ = compute(data)
    said = ratings_length.reading(table)
    assert said.startswith("Within a policy, 100 more characters go with +0.24 points of the over")
    assert said.endswith(
        "n = 12); at 314 characters the rating of lead-3 is predicted to move most, from 6.23 to "
        "5.68."
    )
    flat = tables([(f"p{i}", "a", "overall", 90.0, 3.0 + i % 2) for i in range(6)])
    assert ratings_length.reading(compute(flat)[0]) == (
        "Length says nothing about overall ratings here: undefined: all lengths of a policy are "
        "equal."
    )
    ratings_length.plot(compute(flat)[0])


def test_missing(data):
    assert ratings_length.missing(Tables()) == "no ratings of single summaries"
    assert ratings_length.missing(data) is None
    blank = Tables(summaries=data.summaries.assign(chars=math.nan), ratings=data.ratings)
    assert ratings_length.missing(blank) == "no rated summary has a length"


def test_summeval(shared_data: Path):
    data = load(shared_data / "summeval")
    table, _ = compute(data)
    assert set(table["axis"]) == {"relevance"}
    rating, chars = of(table, "mean_rating"), of(table, "mean_chars")
    assert len(rating) == 12
    # Each of 12 systems: 100 articles, 8 raters, all with the same summary.
    assert set(rating["n"]) == {800}
    assert set(rating["n_clusters"]) == {100}
    mine = data.ratings[(data.ratings["policy"] == "M11") & (data.ratings["axis"] == "relevance")]
    lengths = data.summaries.set_index("summary_id")["chars"].reindex(mine["summary_id"])
    slope, level = np.polyfit(lengths, mine["value"], 1)
    assert of(table, "slope_per_100_chars").loc["M11", "value"] == pytest.approx(100 * slope)
    at = of(table, "rating_at_length").loc["M11"]
    assert at["value"] == pytest.approx(level + slope * at["at_chars"])
    assert chars.loc["M11", "value"] == pytest.approx(lengths.mean())
    experts, left_out = compute(data, labelers="expert")
    assert set(of(experts, "mean_rating")["n"]) == {300}
    assert left_out == {"ratings of other labelers": 6000}
