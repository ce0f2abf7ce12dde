"""Labels that are well formed and say little, through `evalsuite analyze`: a result or one line.

Whatever happens, no traceback is shown and no half-written result lies about.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalsuite.cli.main import run

Analyze = Callable[..., tuple[int, str]]


def labels(path: Path, **fixed: Any) -> Path:
    """40 labels by 4 people on 20 posts, every second for the right; `fixed` fields replaced."""
    with path.open("w") as file:
        for i in range(40):
            row = {
                "post": f"Post {i % 20}.", "left": f"left {i}", "right": f"the right {i}",
                "left_policy": "sup1", "right_policy": "ref", "choice": i % 2,
                "labeler": f"w{i % 4}",
            }  # fmt: skip
            file.write(json.dumps(row | fixed) + "\n")
    return path


@pytest.fixture
def analyze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Analyze:
    """Runs `evalsuite analyze NAME --data PATH --out tmp_path/out`: exit code and stderr."""

    def command(name: str, data: Path, *args: str, out: Path = tmp_path / "out") -> tuple[int, str]:
        words = ["evalsuite", "analyze", name, "--data", str(data), "--out", str(out), *args]
        monkeypatch.setattr(sys, "argv", words)
        code = 0
        try:
            run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, capsys.readouterr().err

    return command


def table(tmp_path: Path, name: str) -> pd.DataFrame:
    folder = tmp_path / "out" / name
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["figure.pdf", "figure.png", "provenance.json", "table.csv"]
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
    return pd.read_csv(folder / "table.csv")


def rate(rows: pd.DataFrame) -> pd.Series:
    """The row of sup1 against the reference."""
    kept = rows[(rows["quantity"] == "preference") & (rows["policy"] == "sup1")]
    assert len(kept) == 1
    return kept.iloc[0]


@pytest.mark.parametrize(
    ("fixed", "value"),
    [({"choice": 0.5}, 0.5), ({"choice": 1}, 0.0), ({"left": ""}, 0.5), ({"labeler": "w"}, 0.5)],
    ids=["all ties", "perfect separation", "empty texts", "one labeler"],
)
def test_rates_without_spread(
    fixed: dict[str, Any], value: float, tmp_path: Path, analyze: Analyze
) -> None:
    code, _ = analyze("preference", labels(tmp_path / "x.jsonl", **fixed))
    assert code == 0
    row = rate(table(tmp_path, "preference"))
    assert (row["value"], row["n"], row["n_clusters"]) == (value, 40, 20)
    assert 0 <= row["low"] <= value <= row["high"] <= 1
    assert row["high"] - row["low"] > 0.1  # 20 posts that agree do not make a rate exact


def test_one_post_has_no_interval(tmp_path: Path, analyze: Analyze) -> None:
    code, _ = analyze("preference", labels(tmp_path / "x.jsonl", post="One."))
    assert code == 0
    row = rate(table(tmp_path, "preference"))
    assert (row["value"], row["n"], row["n_clusters"]) == (0.5, 40, 1)
    assert math.isnan(row["low"])
    assert "no interval: 1 clusters, 5 needed" in row["method"]


def test_one_policy(tmp_path: Path, analyze: Analyze) -> None:
    data = labels(tmp_path / "x.jsonl", right_policy="sup1")
    code, err = analyze("preference", data)
    assert code == 2
    assert err.endswith("error: preference: no comparison of two different policies\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_one_labeler_agrees_with_nobody(tmp_path: Path, analyze: Analyze) -> None:
    code, _ = analyze("labelers", labels(tmp_path / "x.jsonl", labeler="w"))
    assert code == 0
    rows = table(tmp_path, "labelers")
    agreement = rows[rows["quantity"] == "agreement"]
    assert agreement["value"].isna().all()
    assert (agreement["n"] == 0).all()


def test_bad_data_leaves_an_empty_folder(tmp_path: Path, analyze: Analyze) -> None:
    data = labels(tmp_path / "x.jsonl")
    data.write_text(data.read_text() + '{"left": "a"\n')
    code, err = analyze("preference", data)
    says = "x.jsonl:41: not JSON (Expecting ',' delimiter at column 13); allowed one JSON object"
    assert code == 2
    assert err.strip() == f"error: {says} a line"
    assert list((tmp_path / "out").iterdir()) == []


def test_skipped_rows_lie_beside_the_results(tmp_path: Path, analyze: Analyze) -> None:
    data = labels(tmp_path / "x.jsonl")
    data.write_text(data.read_text() + "7\n")
    code, err = analyze("preference", data, "--on-error", "skip")
    assert code == 0
    assert "left out: 1 rows, refused: row" in err
    assert rate(table(tmp_path, "preference"))["n"] == 40
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 1


def test_output_folder_whose_parent_is_a_file(tmp_path: Path, analyze: Analyze) -> None:
    data = labels(tmp_path / "x.jsonl")
    before = data.read_bytes()
    code, err = analyze("preference", data, out=data / "out")
    assert code == 2
    assert err == f"error: --out {data / 'out'}: {data} is a file; allowed a folder\n"
    assert data.read_bytes() == before
