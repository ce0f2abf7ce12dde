"""AlpacaEval: soft preferences, as a table of lengths and as its own annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from evalsuite.datasets import load
from evalsuite.datasets.alpaca_eval import UNPARSED

HEADER = "policy,prompt_id,baseline_chars,policy_chars,preference\n"


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEADER + "m,0,10,20,0.75\nm,1,10,0,\n")
    tables = load(path)
    assert tables.left_out == {UNPARSED: 1}
    row = tables.comparisons.iloc[0]
    assert (row["left_policy"], row["right_policy"]) == ("baseline", "m")
    assert (row["choice"], row["item"], row["domain"]) == (0.75, "0", "alpaca_eval")
    sides = tables.sides(["chars"]).iloc[0]
    assert (sides["left_chars"], sides["right_chars"]) == (10, 20)
    assert tables.summaries["text"].isna().all()


@pytest.mark.parametrize(("preference", "choice"), [(1, 0.0), (1.25, 0.25), (2.0, 1.0)])
def test_annotations(preference: float, choice: float, tmp_path: Path) -> None:
    row = {"instruction": "Q", "output_1": "a", "generator_1": "base", "output_2": "b",
           "generator_2": "m", "annotator": "judge", "dataset": "koala",
           "preference": preference}  # fmt: skip
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([row, row | {"instruction": "R", "preference": None}], indent=1))
    tables = load(path)
    got = tables.comparisons.iloc[0]
    assert (got["left_policy"], got["right_policy"], got["labeler"]) == ("base", "m", "judge")
    assert got["choice"] == choice
    assert tables.posts["section"].tolist() == ["koala", "koala"]
    assert tables.left_out == {UNPARSED: 1}


def test_preference_outside_1_to_2(tmp_path: Path) -> None:
    row = {"instruction": "Q", "output_1": "a", "generator_1": "base", "output_2": "b",
           "generator_2": "m", "preference": 0}  # fmt: skip
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(Exception, match=r"^annotations\.json, item 1: preference is 0; allowed a"):
        load(path)


def test_real(shared_data: Path) -> None:
    folder = shared_data / "alpaca_eval"
    tables = load(folder)
    raw = pd.read_csv(folder / "annotations.csv.gz")
    assert len(tables.comparisons) == raw["preference"].notna().sum()
    assert tables.left_out.pop("file of no known format (published.csv)") == 1
    assert tables.left_out.get(UNPARSED, 0) == raw["preference"].isna().sum()
    got = tables.comparisons.groupby("right_policy")["choice"].mean()
    pd.testing.assert_series_equal(
        got, raw.groupby("policy")["preference"].mean(), check_names=False, check_index_type=False
    )
