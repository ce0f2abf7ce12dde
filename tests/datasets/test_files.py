"""Files, folders, several paths, progress."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from rich.progress import Progress

from evalsuite.datasets import files, load
from evalsuite.errors import DataError

PAIR = {"chosen": "good", "rejected": "bad"}


def pair(**more: object) -> str:
    return json.dumps(PAIR | more) + "\n"


def test_sources_say_name_digest_format_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress((pair() * 3).encode()))
    (source,) = load(path).sources
    assert source.name == "x.jsonl.gz"
    assert source.sha256 == sha256(path.read_bytes()).hexdigest()
    assert (source.format, source.rows) == ("pairs", 3)


def test_a_folder_is_read_recursively_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jsonl").write_text(pair(batch="b1"))
    (tmp_path / "a.jsonl").write_text(pair(batch="a"))
    (tmp_path / "notes.txt").write_text("no data")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.jsonl").write_text(pair(batch="hidden"))
    assert load(tmp_path).comparisons["batch"].tolist() == ["a", "b1"]


def test_files_of_no_known_format_in_a_folder_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(pair())
    (tmp_path / "provenance.json").write_text(json.dumps({"seed": 1}, indent=2))
    tables = load(tmp_path)
    assert len(tables.comparisons) == 1
    assert tables.left_out == {"file of no known format (provenance.json)": 1}


def test_a_folder_of_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"seed": 1}')
    with pytest.raises(DataError, match="no row of a known format; allowed those of release, own"):
        load(tmp_path)


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(pair())
    copy = tmp_path / "y.jsonl"
    copy.write_text(pair())
    tables = load([path, str(path), copy])
    assert len(tables.comparisons) == 1
    assert tables.left_out == {
        "file with the bytes of another (x.jsonl)": 1,
        "file with the bytes of another (y.jsonl)": 1,
    }


def test_several_paths_are_put_together(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("x.jsonl", "y.csv")]
    names[0].write_text(pair(batch="b"))
    names[1].write_text("left,right,left_policy,right_policy,choice\na,b,m,n,1\n")
    tables = load(names)
    assert tables.comparisons["domain"].tolist() == ["pairs", "own"]
    assert [source.format for source in tables.sources] == ["pairs", "own"]


def test_an_empty_file_among_others_is_skipped_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(pair())
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(DataError, match=r"b\.jsonl: file has no row; allowed at least one row"):
        load(tmp_path)
    assert load(tmp_path, on_error="skip").left_out == {"file without a row (b.jsonl)": 1}


def test_rows_before_a_cut_in_gzip_data_are_kept_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    rows = "".join(pair(batch=str(i), note=sha256(str(i).encode()).hexdigest()) for i in range(500))
    path.write_bytes(gzip.compress(rows.encode())[:-2000])
    tables = load(path, on_error="skip", rejected_path=tmp_path / "rejected.jsonl")
    assert 0 < len(tables.comparisons) < 500
    assert tables.left_out["refused: file"] == 1
    assert "gzip data ends early" in (tmp_path / "rejected.jsonl").read_text()


def test_nothing_refused_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(pair())
    load(tmp_path / "x.jsonl", on_error="skip", rejected_path=tmp_path / "rejected.jsonl")
    assert not (tmp_path / "rejected.jsonl").exists()


def test_rows_refused_before_a_fatal_error_are_written(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(pair() + "7\n")
    rejected = tmp_path / "rejected.jsonl"
    with pytest.raises(DataError, match="no such file or folder"):
        load([tmp_path / "x.jsonl", tmp_path / "y.jsonl"], on_error="skip", rejected_path=rejected)
    assert not rejected.exists()  # paths are looked at before any row is read
    with pytest.raises(DataError, match=r"x\.jsonl:2: row is 7; allowed a JSON object"):
        load(tmp_path / "x.jsonl", rejected_path=rejected)
    assert not rejected.exists()


def test_row_order_does_not_matter(tmp_path: Path) -> None:
    rows = [pair(batch=str(i), chosen=f"good {i}") for i in range(20)]
    (tmp_path / "x.jsonl").write_text("".join(rows))
    (tmp_path / "y.jsonl").write_text("".join(reversed(rows)))
    x, y = (load(tmp_path / name).comparisons for name in ("x.jsonl", "y.jsonl"))
    by = ["comparison_id"]
    pd.testing.assert_frame_equal(
        x.sort_values(by, ignore_index=True), y.sort_values(by, ignore_index=True)
    )


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(pair())

    def fails(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(DataError, match=r"x\.jsonl: cannot be read \(Permission denied\)"):
        load(path)
    (row,) = files.rows(path)
    assert str(row.data) == "cannot be read (Permission denied)"


def test_progress_goes_to_a_function_and_to_rich(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(pair(batch=str(i)) for i in range(2500)))
    size = path.stat().st_size
    seen: list[tuple[str, int, int]] = []
    load(path, progress=lambda *told: seen.append(told))
    assert [name for name, _, _ in seen] == ["x.jsonl"] * 3  # at 1000, 2000 and the end
    assert seen[-1] == ("x.jsonl", size, size)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    with Progress(disable=True) as progress:
        load(path, progress=progress)
        assert [(t.completed, t.total) for t in progress.tasks] == [(size // 1000, size // 1000)]


def test_twenty_thousand_release_rows(tmp_path: Path) -> None:
    post = "word " * 300
    row = {
        "info": {"id": "", "post": "", "title": "T", "subreddit": "tifu"}, "split": "train",
        "summaries": [{"text": " one " * 9, "policy": "sup1", "note": ""},
                      {"text": "two " * 9, "policy": "ref", "note": ""}],
        "choice": 1, "batch": "b", "extra": {"confidence": 9},
    }  # fmt: skip
    with (tmp_path / "x.json").open("w") as file:
        for i in range(20_000):
            row["info"] = {"id": str(i % 900), "post": f"{post}{i % 900}", "title": "T"}
            row["worker"] = f"w{i}"
            file.write(json.dumps(row) + "\n")
    assert len(load(tmp_path / "x.json").comparisons) == 20_000


def test_semicolons_beside_commas_are_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a;b,c\n1;2,3\n")
    assert [row.data for row in files.rows(tmp_path / "x.csv")] == [{"a;b": "1;2", "c": "3"}]
