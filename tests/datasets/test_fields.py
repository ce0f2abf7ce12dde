"""One rule for ids and missing values, whichever kind of file they come from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalsuite.datasets import load
from evalsuite.datasets.fields import TextRow, name_or_none, stated, text_or_none
from evalsuite.errors import DataError

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("w1", "w1"), ("007", "007"), ("2.0", "2.0"), ("1.50", "1.50"), (" w", " w"),
        (2, "2"), (2.0, "2"), (-3.0, "-3"), (2**60, str(2**60)), (0, "0"),
        ("", None), ("  ", None), (None, None), (NAN, None),
    ],
)  # fmt: skip
def test_names_in_json_and_parquet(value: object, name: str | None) -> None:
    assert name_or_none({"labeler": value}, "labeler") == name


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("w1", "w1"), ("2", "2"), ("2.0", "2"), ("-3.0", "-3"), ("007", "007"), ("", None),
        (" ", None), ("2.00", "2.00"), ("2.5", "2.5"), ("v2.0", "v2.0"), ("1.2.0", "1.2.0"),
        ("1e3", "1e3"), ("2.", "2."), ("True", "True"),
    ],
)  # fmt: skip
def test_names_in_csv(cell: str, name: str | None) -> None:
    assert name_or_none(TextRow(labeler=cell), "labeler") == name


@pytest.mark.parametrize("value", [True, 2.5, math.inf, ["w"], {"id": 1}])
def test_names_that_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"labeler is .*") as refused:
        name_or_none({"labeler": value}, "labeler")
    assert refused.value.allowed == "a name, a whole number or nothing"


def test_texts_that_are_not_stated() -> None:
    assert text_or_none({"title": NAN}, "title") is None
    assert text_or_none({"title": ""}, "title") == ""  # an empty text, in JSON
    assert text_or_none(TextRow(title=""), "title") is None
    assert not stated({}, "title")


def test_every_kind_of_file_gives_the_same_tables(tmp_path: Path) -> None:
    # pandas turns whole numbers with a gap to floats: 1.0, NaN, 3.0
    rows = [["x", "y", "m", "n", 0], ["x", "z", "m", "n", 1], ["v", "z", "m", "n", 1]]
    frame = pd.DataFrame(rows, columns=["left", "right", "left_policy", "right_policy", "choice"])
    frame["labeler"], frame["batch"] = [1, None, 3], ["b1", "", None]
    frame["group"], frame["split"] = [1, 2, 3], [NAN, NAN, NAN]
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    lines = [json.dumps(row) for row in frame.to_dict("records")]  # NaN is written as NaN
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    csv, parquet, jsonl = (load(tmp_path / f"x.{k}") for k in ("csv", "parquet", "jsonl"))
    pd.testing.assert_frame_equal(csv.comparisons, parquet.comparisons)
    pd.testing.assert_frame_equal(csv.comparisons, jsonl.comparisons)
    got: dict[str, Any] = csv.comparisons.astype(object).where(csv.comparisons.notna(), None)
    assert list(got["labeler"]) == ["1", None, "3"]
    assert list(got["batch"]) == ["b1", None, None]
    assert list(got["item"]) == ["1", "2", "3"]
    assert list(got["split"]) == [None, None, None]
