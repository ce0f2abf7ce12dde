"""Labels that are well formed and say little, through `evalsuite analyze`: a result or one line.

Whatever happens, no traceback is shown and no half-written result lies about.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from evalsuite.cli.main import run

Analyze = Callable[..., tuple[int, str]]


def labels(path: Path, **fixed: Any) -> Path:
    """40 labels by 4 people on 20 posts, every second for the right; `fixed` fields replaced.

    A fixed field may be a function of the row's number.
    """
    with path.open("w") as file:
        for i in range(40):
            row = {
                "post": f"Post {i % 20}.", "left": f"left {i}", "right": f"the right {i}",
                "left_policy": "sup1", "right_policy": "ref", "choice": i % 2,
                "labeler": f"w{i % 4}",
            }  # fmt: skip
            row |= {key: v(i) if callable(v) else v for key, v in fixed.items()}
            file.write(json.dumps(row) + "\n")
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
    assert "left out, refused: row: 1" in err
    assert rate(table(tmp_path, "preference"))["n"] == 40
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 1


def test_output_folder_whose_parent_is_a_file(tmp_path: Path, analyze: Analyze) -> None:
    data = labels(tmp_path / "x.jsonl")
    before = data.read_bytes()
    code, err = analyze("preference", data, out=data / "out")
    assert code == 2
    assert err == f"error: --out {data / 'out'}: {data} is a file; allowed a folder\n"
    assert data.read_bytes() == before


class Length(NamedTuple):
    """What length control says: rates of sup1 against the reference, and what was left out.

    NaN where nothing can be said; the raw rate is always there. n counts the rows used.
    """

    id: str
    fixed: dict[str, Any]
    raw: float
    controlled: float
    coefficient: float
    n: int
    left_out: dict[str, int]
    says: str


NAN = math.nan
TOLD = "The effect of length cannot be told here: "
LENGTHS = [
    # no finite rate makes the reference win always
    Length("perfect separation", {"choice": 1}, 0, NAN, NAN, 40,
           {"decided by separation (every label goes one way)": 40},
           f"{TOLD}undefined: every comparison is separated."),
    # long wins whoever wrote it: the coefficient has no bound
    Length("separation by length", {"left": lambda i: "a" * (5 + i // 2),
                                    "right": lambda i: "b" * (60 if i % 2 else 3)},
           0.5, NAN, NAN, 40, {},
           f"{TOLD}undefined: separation: policies and length together predict every comparison."),
    # ties at every length: length does nothing, and both are as good
    Length("all ties", {"choice": 0.5}, 0.5, 0.5, 0, 40, {}, "length coefficient 0.0000"),
    # nothing to control for: the controlled rate is the raw one
    Length("equal lengths", {"left": lambda i: f"left {i:02}", "right": lambda i: f"term {i:02}"},
           0.5, 0.5, NAN, 40, {},
           f"{TOLD}undefined: the two lengths are equal in every comparison."),
    # the policy is the length: which of them people like cannot be told
    Length("one length a policy", {"left": lambda i: f"{i:02}", "right": lambda i: f"right {i:02}"},
           0.5, NAN, NAN, 40, {},
           f"{TOLD}undefined: length is a function of the two policies alone."),
    # log of a length of 0: rows 0 to 9 and 20 to 29 are out; of the others each
    # length won as often as it lost
    Length("some empty summaries",
           {"left": lambda i: "" if i % 20 < 10 else "l" * (i // 2 % 3 + 2)},
           0.5, 0.5, 0, 20, {"comparisons with an empty summary or without length": 20}, ""),
]  # fmt: skip


@pytest.mark.parametrize("case", LENGTHS, ids=lambda case: case.id)
def test_length_control(case: Length, tmp_path: Path, analyze: Analyze) -> None:
    code, err = analyze("length_control", labels(tmp_path / "x.jsonl", **case.fixed))
    assert code == 0
    assert case.says in " ".join(err.split())
    rows = table(tmp_path, "length_control").set_index("quantity")
    got = rows.loc["raw_rate"]
    assert (got["policy"], got["value"], got["n"]) == ("sup1", case.raw, case.n)
    assert 0 <= got["low"] < got["high"] <= 1
    for quantity, value in (("controlled_rate", case.controlled),
                            ("change", case.controlled - case.raw),
                            ("length_coefficient", case.coefficient)):  # fmt: skip
        got = rows.loc[quantity]
        assert got["value"] == pytest.approx(value, abs=1e-9, nan_ok=True), quantity
        if math.isnan(value):
            assert math.isnan(got["se"])
            assert got["method"].startswith("undefined: ")
    record = json.loads((tmp_path / "out" / "length_control" / "provenance.json").read_text())
    assert record["left_out"] == case.left_out


@pytest.mark.parametrize("form", ["paper", "alpaca_eval"])
@pytest.mark.parametrize(
    ("fixed", "says"),
    [
        ({"right_policy": "sup1"}, "no comparison of two different policies"),
        ({"left": ""}, "no comparison in which both summaries have a length"),
        ({"left": "", "right": ""}, "no comparison in which both summaries have a length"),
    ],
    ids=["one policy", "one side empty", "all summaries empty"],
)
def test_length_control_of_nothing(
    fixed: dict[str, Any], says: str, form: str, tmp_path: Path, analyze: Analyze
) -> None:
    data = labels(tmp_path / "x.jsonl", **fixed)
    code, err = analyze("length_control", data, "--set", f"form={form}")
    assert code == 2
    assert err.splitlines()[-1] == f"error: length_control: {says}"
    assert list((tmp_path / "out").iterdir()) == []


def test_length_control_needs_undecided_prompts(tmp_path: Path, analyze: Analyze) -> None:
    data = labels(tmp_path / "x.jsonl", choice=1)
    code, err = analyze("length_control", data, "--set", "form=alpaca_eval")
    says = "fewer than 2 prompts with undecided preferences; allowed 2 or more"
    assert (code, err.splitlines()[-1]) == (2, f"error: length_control: {says}")
    assert list((tmp_path / "out").iterdir()) == []
