"""What a user sees for paths that cannot be read or written, and when every row is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from evalsuite.datasets import NoRowLeftError, load
from evalsuite.errors import ConfigError, DataError

Command = Callable[..., tuple[int, str, str]]
KINDS = ".json, .jsonl, .ndjson, .csv, .parquet, each perhaps with .gz"
SIDES = [{"text": "one", "policy": "sup1"}, {"text": "two", "policy": "ref"}]
GOOD = {"info": {"post": "A post."}, "summaries": SIDES, "choice": 0}


def line(row: object) -> bytes:
    return json.dumps(row).encode() + b"\n"


def nothing(folder: Path) -> Path:
    (folder / "in").mkdir()
    return folder / "in"


def only_others(folder: Path) -> Path:
    (folder / "LICENSE").write_text("MIT")
    (folder / ".hidden.json").write_bytes(line(GOOD))
    return folder


def a_pipe(folder: Path) -> Path:
    import os

    os.mkfifo(folder / "x.json")
    return folder / "x.json"


PATHS: list[tuple[str, Callable[[Path], Path], str]] = [
    ("missing file", lambda f: f / "no.json", "{path}: no such file or folder"),
    ("missing folder", lambda f: f / "no", "{path}: no such file or folder"),
    ("empty folder", nothing, f"{{path}}: folder has no data file; allowed {KINDS}"),
    ("folder of others", only_others, f"{{path}}: folder has no data file; allowed {KINDS}"),
    ("a pipe", a_pipe, "{path}: neither a file nor a folder"),
    ("name too long", lambda f: f / ("x" * 300), "{name}: cannot be read (File name too long)"),
]


@pytest.mark.parametrize(("make", "says"), [p[1:] for p in PATHS], ids=[p[0] for p in PATHS])
def test_paths(
    make: Callable[[Path], Path],
    says: str,
    tmp_path: Path,
    command: Command,
) -> None:
    path = make(tmp_path)
    code, _, err = command("data", "check", str(path))
    assert err == f"error: {says.format(path=path, name=path.name)}\n"
    assert code == 2


def test_out_whose_parent_is_a_file(tmp_path: Path, command: Command) -> None:
    (tmp_path / "x.json").write_bytes(line(GOOD))
    out = tmp_path / "x.json" / "out"
    args = ("data", "check", str(tmp_path / "x.json"), "--out", str(out))
    code, _, err = command(*args)
    assert (code, err) == (2, f"error: --out {out}: cannot be made (Not a directory)\n")


def test_rejected_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(line(GOOD) + b"7\n")
    path = tmp_path / "x.json" / "rejected.jsonl"
    with pytest.raises(DataError, match=r"rejected\.jsonl: cannot be written \(File exists\)"):
        load(tmp_path / "x.json", on_error="skip", rejected_path=path)


ALL_REFUSED = [
    ("two rows", line(GOOD | {"choice": 3}) + b"7\n",
     "x.json:1: choice is 3; allowed 0 or 1; all 2 rows were refused"),
    ("one row", b"7\n", "x.json:1: row is 7; allowed a JSON object"),
    ("cut off", gzip.compress(line(GOOD))[:20], "x.json: gzip data ends early"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "says"), [a[1:] for a in ALL_REFUSED], ids=[a[0] for a in ALL_REFUSED]
)
def test_every_row_refused(
    data: bytes,
    says: str,
    tmp_path: Path,
    command: Command,
) -> None:
    (tmp_path / "x.json").write_bytes(data)
    out = tmp_path / "out"
    args = ("data", "check", str(tmp_path / "x.json"), "--out", str(out))
    assert command(*args) == (2, "", f"error: {says}\n")
    lines = (out / "rejected.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["reason"] == says.removesuffix("; all 2 rows were refused")
    counted = pd.read_csv(out / "check.csv").set_index(["section", "item"])["count"]
    assert counted["left out"].sum() == len(lines)
    assert counted["rows", "comparisons"] == 0


def test_a_refusal_without_what_is_allowed(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        (tmp_path / name).write_bytes(gzip.compress(line(GOOD), mtime=ord(name[0]))[:20])
    with pytest.raises(
        NoRowLeftError, match=r"^a\.json\.gz: .*; all 2 rows were refused$"
    ) as error:
        load(tmp_path, on_error="skip")
    assert [source.rows for source in error.value.tables.sources] == [1, 1]


def test_a_clean_run_takes_old_refusals_away(tmp_path: Path, command: Command) -> None:
    path, out = tmp_path / "x.json", tmp_path / "out"
    for data, names in ((line(GOOD) + b"7\n", ["check.csv", "rejected.jsonl"]),
                        (line(GOOD), ["check.csv"])):  # fmt: skip
        path.write_bytes(data)
        command("data", "check", str(path), "--out", str(out))
        assert sorted(p.name for p in out.iterdir()) == names


def test_arguments_of_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on_error is 'stop'; allowed raise or skip"):
        load(tmp_path, on_error="stop")
    with pytest.raises(ConfigError, match="no path to load; allowed one or more"):
        load([])


def test_check_skips_by_default_and_exits_1(tmp_path: Path, command: Command) -> None:
    (tmp_path / "x.json").write_bytes(line(GOOD) + line(GOOD | {"choice": "[red]\x1b"}))
    out = tmp_path / "out"
    args = ("data", "check", str(tmp_path / "x.json"), "--out", str(out))
    code, stdout, stderr = command(*args)
    assert (code, stderr) == (1, "")
    assert "1 row refused:" in stdout
    assert r"x.json:2: choice is '[red]\x1b'; allowed 0 or 1" in stdout
    assert sorted(p.name for p in out.iterdir()) == ["check.csv", "rejected.jsonl"]


EMPTY = {
    "empty.csv": b"",
    "empty.jsonl": b"",
    "blank.json": b"\n\n",
    "header.csv": b"left,right,left_policy,right_policy,vote\n",
    "empty.csv.gz": gzip.compress(b""),
    "empty.parquet": None,
}


@pytest.mark.parametrize("args", [(), ("--map", "choice=vote"), ("--choice", "1=left")])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("name", EMPTY)
def test_a_file_without_any_row(
    name: str, on_error: str, args: tuple[str, ...], tmp_path: Path, command: Command
) -> None:
    path, data = tmp_path / name, EMPTY[name]
    if data is None:
        pd.DataFrame({"left": [], "vote": []}).to_parquet(path)
    else:
        path.write_bytes(data)
    code, _, err = command("data", "check", str(path), "--on-error", on_error, *args)
    assert (code, err) == (2, f"error: {name}: file has no row; allowed at least one row\n")


def test_files_without_any_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"left\n")
    (tmp_path / "b.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match=r"^a\.csv, b\.jsonl: files have no row; allowed at least"):
        load(tmp_path, on_error="skip")
    # beside a file of no known format it is the format that is missing
    (tmp_path / "c.jsonl").write_bytes(line({"x": 1}))
    with pytest.raises(DataError, match="no row of a known format"):
        load(tmp_path, on_error="skip")


@pytest.mark.parametrize(("bad", "says"), [(1, "1 row refused:"), (2, "2 rows refused; the first")])
def test_one_row_is_no_rows(bad: int, says: str, tmp_path: Path, command: Command) -> None:
    (tmp_path / "x.json").write_bytes(line(GOOD) + b"7\n" * bad)
    code, out, _ = command("data", "check", str(tmp_path / "x.json"))
    assert code == 1
    assert says in out.splitlines()[-bad - 1]
    post = {"subreddit": "tifu", "title": "T", "body": "A body. TL;DR: short"}
    (tmp_path / "y.jsonl").write_bytes(line(post) + b"7\n" * bad)
    to = ("--out", str(tmp_path / "o"), "--on-error", "skip")
    code, out, _ = command("data", "filter", str(tmp_path / "y.jsonl"), *to)
    assert code == 0
    assert out.split("\n")[0].strip() == "1 row"
    assert "\n1 query, 0 in the supervised set, " in out
    assert f"{says.split(' refused')[0]} refused, in " in out
