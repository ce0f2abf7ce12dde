"""The TL;DR filter from files to files, through the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from evalsuite.cli.main import run
from evalsuite.datasets import filter as f
from evalsuite.datasets import load
from evalsuite.datasets.filter_files import filter_files
from evalsuite.errors import DataError

SUMMARY = "word " * 30


def raw(number: int, **fields: object) -> dict[str, object]:
    body = f"Body {number}.\n\nTL;DR: {SUMMARY}"
    return {"id": f"t3_{number}", "subreddit": "tifu", "title": "A car", "body": body} | fields


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_outputs_through_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = raw(3, body="Body 3.\n\nTL;DR: too short")
    folder = tmp_path / "raw"
    folder.mkdir()
    write(folder / "a.jsonl", raw(1), raw(2), short)
    write(folder / "b.jsonl", raw(1), raw(4, subreddit="funny"), 7)
    out = tmp_path / "out"
    args = ["data", "filter", str(folder), "--out", str(out), "--on-error", "skip"]
    monkeypatch.setattr(sys, "argv", ["evalsuite", *args])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code in (0, None)
    assert "3 queries, 2 in the supervised set" in capsys.readouterr().out
    queries = [json.loads(line) for line in (out / "queries.jsonl").read_text().splitlines()]
    assert [q["id"] for q in queries] == ["t3_1", "t3_2", "t3_3"]
    assert len((out / "supervised.jsonl").read_text().splitlines()) == 2
    table = pd.read_csv(out / "filter.csv").set_index("rule")
    assert table.loc[f.DUPLICATE].tolist() == [1, 4]
    assert table.loc[f.SUBREDDIT].tolist() == [1, 3]
    assert table.loc[f.SHORT_OR_LONG].tolist() == [1, 2]
    (refused,) = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert refused["reason"] == "b.jsonl:3: row is 7; allowed a JSON object"


def test_the_supervised_set_can_be_loaded_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", raw(1), raw(2))
    filter_files(path, tmp_path, f.gpt2_pieces, skip=False)
    tables = load(tmp_path / "supervised.jsonl")
    assert tables.posts["text"].tolist() == ["Body 1.", "Body 2."]
    assert set(tables.summaries["policy"]) == {"reference_summary"}


@pytest.mark.parametrize(
    ("rows", "skip", "says"),
    [
        ([raw(1), 7], False, r"^a\.jsonl:2: row is 7; allowed a JSON object$"),
        ([raw(1), {"id": "x"}], False, r"^a\.jsonl:2: body is missing; allowed body, post, self"),
        ([7, 8], True, r"^a\.jsonl:1: row is 7; allowed a JSON object$"),
        ([], False, r"^a\.jsonl: no row$"),
    ],
)
def test_nothing_is_half_written(rows: list[object], skip: bool, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *rows)
    out = tmp_path / "out"
    out.mkdir()
    (out / "queries.jsonl").write_text("before")
    with pytest.raises(DataError, match=says):
        filter_files(path, out, f.gpt2_pieces, skip=skip)
    assert [p.name for p in out.iterdir()] == ["queries.jsonl"]
    assert (out / "queries.jsonl").read_text() == "before"


def test_refused_rows_of_an_earlier_run_are_taken_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for rows, left in (([raw(1), 7], True), ([raw(1)], False)):
        filter_files(write(tmp_path / "a.jsonl", *rows), out, f.gpt2_pieces, skip=True)
        assert (out / "rejected.jsonl").exists() is left
