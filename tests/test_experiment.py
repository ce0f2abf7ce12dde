"""Tables of an experiment: columns, dtypes, there and back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from evalsuite.errors import DataError
from evalsuite.experiment import COLUMNS, Experiment, coerce, read, write


def test_missing_columns_are_added_and_others_stay() -> None:
    table = coerce("pool", pd.DataFrame({"seed": [1], "text": ["a"], "proxy:rouge": [0.5]}))
    assert list(table.columns) == [*COLUMNS["pool"], "proxy:rouge"]
    assert table["seed"].dtype == "float64"
    assert table["base"].tolist() == [""]
    assert table["gold"].isna().all()
    assert table["proxy:rouge"].tolist() == [0.5]


def test_there_and_back(tmp_path: Path) -> None:
    rows = pd.DataFrame({"model": ["a", "b"], "kind": ["rm", "ppo"], "labels": [10, None]})
    write(Experiment({"models": rows}, "gold reward"), tmp_path / "tables")
    found = read(tmp_path / "tables")
    assert found.gold_unit == "gold reward"
    pd.testing.assert_frame_equal(found["models"], coerce("models", rows))
    assert len(found["pool"]) == 0
    assert list(found["pool"].columns) == list(COLUMNS["pool"])


def test_what_an_analysis_lacks() -> None:
    experiment = Experiment({"models": coerce("models", pd.DataFrame({"model": ["a"]}))})
    assert experiment.lacks("models") is None
    assert experiment.lacks("models", "pool") == "the experiment has no pool"
    with pytest.raises(KeyError):
        experiment["pools"]


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no experiment; allowed what evalsuite reproduce"):
        read(tmp_path)
