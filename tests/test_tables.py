"""Tables keep their schema through parquet, and refuse what is not theirs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from evalsuite.errors import DataError
from evalsuite.tables import (
    SCHEMAS,
    Tables,
    check,
    empty,
    from_columns,
    read_parquet,
    write_atomically,
    write_parquet,
)


@pytest.mark.parametrize("name", SCHEMAS)
def test_empty_tables_pass_their_own_check(name: str) -> None:
    table = check(name, empty(name))
    assert dict(table.dtypes.astype(str)) == SCHEMAS[name]


def test_parquet_round_trip(tmp_path: Path) -> None:
    table = from_columns("posts", {"post_id": ["a", "b"], "text": ["x", "ü"], "title": [None, "t"]})
    write_parquet(table, tmp_path / "posts.parquet")
    pd.testing.assert_frame_equal(read_parquet("posts", tmp_path / "posts.parquet"), table)
    assert [p.name for p in tmp_path.iterdir()] == ["posts.parquet"]


def test_check_names_column_and_key() -> None:
    table = from_columns("posts", {"post_id": ["a", "a"], "text": ["x", "y"]})
    with pytest.raises(DataError, match="table posts has post_id 'a' twice; allowed unique keys"):
        check("posts", table)
    with pytest.raises(DataError, match="table posts has no column 'title'; allowed post_id, text"):
        check("posts", table.drop(columns="title"))


def test_labels_without_labeler_may_repeat() -> None:
    both = from_columns("comparisons", {"comparison_id": ["a", "a"], "choice": [0, 0]})
    assert len(check("comparisons", both)) == 2
    with pytest.raises(DataError, match="comparison_id 'a' twice"):
        check("comparisons", both.assign(labeler="w"))


def test_sides_reads_summaries_and_scores() -> None:
    tables = Tables(
        summaries=from_columns("summaries", {"summary_id": ["s", "t"], "chars": [3, 5]}),
        comparisons=from_columns(
            "comparisons",
            {"comparison_id": ["c", "d"], "left_id": ["s", "t"], "right_id": ["t", "t"]},
        ),
    ).with_scores(pd.DataFrame({"summary_id": ["t", "s"], "copying": [0.5, 0.25]}))
    got = tables.sides(["chars", "copying"])
    assert got["left_chars"].tolist() == [3, 5]
    assert got["right_chars"].tolist() == [5, 5]
    assert got["left_copying"].tolist() == [0.25, 0.5]


def test_one_domain_at_a_time() -> None:
    tables = Tables(
        posts=from_columns("posts", {"post_id": ["1", "2"], "domain": ["tldr", "cnndm"]}),
        summaries=from_columns(
            "summaries", {"summary_id": ["a", "b", "c", "d"], "post_id": ["1", "2", None, "1"]}
        ),
        comparisons=from_columns(
            "comparisons",
            {"left_id": ["a", "c"], "right_id": ["d", "c"], "domain": ["tldr", "tldr"]},
        ),
        ratings=from_columns("ratings", {"summary_id": ["b"] * 3, "domain": ["cnndm"] * 3}),
    )
    # The paper's own domain stands first, whatever else there is more of.
    assert tables.domains() == ["tldr", "cnndm"]
    tldr, news = tables.of_domain("tldr"), tables.of_domain("cnndm")
    assert tldr.summaries["summary_id"].tolist() == ["a", "c", "d"]
    assert (len(tldr.comparisons), len(tldr.ratings), len(tldr.posts)) == (2, 0, 1)
    assert news.summaries["summary_id"].tolist() == ["b"]
    assert (len(news.comparisons), len(news.ratings), len(news.posts)) == (0, 3, 1)


def test_no_label_names_a_domain() -> None:
    assert Tables().domains() == [""]
    tables = Tables(comparisons=from_columns("comparisons", {"comparison_id": ["c"]}))
    assert tables.domains() == [""]
    assert len(tables.of_domain("").comparisons) == 1


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
