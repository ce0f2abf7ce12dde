"""Records to tables: what is committed, and what leaves no trace."""

from __future__ import annotations

import pytest

from evalsuite import tables
from evalsuite.datasets.build import REPEATED, Builder
from evalsuite.errors import DataError
from evalsuite.records import Comparison, Rating


def label(builder: Builder, labeler: str | None = "w", choice: float = 0.0) -> Comparison:
    post = builder.post("P")
    left, right = builder.summary("m", "a", post), builder.summary("n", "b", post)
    return Comparison(left, right, choice, labeler)


def test_records_alone_are_not_committed() -> None:
    builder = Builder()
    label(builder)
    assert builder.empty
    with pytest.raises(DataError, match="post is ''; allowed a non-empty string"):
        builder.post("")
    out = builder.tables([])
    for name in ("posts", "policies", "summaries", "comparisons", "ratings"):
        assert len(tables.check(name, getattr(out, name))) == 0


def test_equal_records_are_made_once() -> None:
    builder = Builder()
    assert builder.post("P", "T") is builder.post("P", "T")
    assert builder.post("P", "T") is not builder.post("P", "U")
    assert builder.summary("m", "a") is builder.summary("m", "a")
    assert builder.summary("ref", "a").policy == "reference_summary"


def test_repeats() -> None:
    builder = Builder()
    post = builder.post("P")
    for labeler, choice in [
        ("w", 0.0),
        ("w", 0.0),
        ("w", 1.0),
        ("v", 0.0),
        (None, 0.0),
        (None, 0.0),
    ]:
        builder.compare(label(builder, labeler, choice), post, "tldr")
    # w said 0 twice; w's change of mind, v and both unknown people count
    assert len(builder.tables([]).comparisons) == 5
    summary = builder.summary("m", "a", post)
    for value in (3, 3, 4):
        builder.rate(Rating(summary, "overall", value, "w"), post, "tldr")
    out = builder.tables([])
    assert out.ratings["value"].tolist() == [3, 4]
    assert out.left_out == {REPEATED: 2}


def test_item_is_the_post_else_the_group() -> None:
    builder = Builder()
    builder.compare(label(builder), builder.post("P"), "tldr")
    left, right = builder.summary("m", None, None, 3), builder.summary("n", None, None, 4)
    builder.compare(Comparison(left, right, 0.3, group="g7"), None, "own")
    builder.compare(Comparison(left, right, 0.3), None, "own")
    got = builder.tables([]).comparisons["item"]
    assert got.fillna("none").tolist() == [builder.post("P").id, "g7", "none"]
