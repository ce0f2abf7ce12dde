"""The Hugging Face hub, with a stand-in for the library: tests touch no network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from evalsuite.datasets import load
from evalsuite.datasets.hub import is_id
from evalsuite.errors import DataError

PAIR = {"chosen": "good", "rejected": "bad"}


def library(load_dataset: Callable[..., object]) -> ModuleType:
    return SimpleNamespace(load_dataset=load_dataset)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["org/name", "open-ai/some_data.v2", "org/name:config"])
def test_ids(name: str) -> None:
    assert is_id(name)


@pytest.mark.parametrize("name", ["name", "org/x.json", "org/x.csv.gz", "/a/b", "a/b/c", "../a"])
def test_paths_are_no_ids(name: str) -> None:
    assert not is_id(name)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    says = (
        r"^org/name: no such file or folder; to read it as a Hugging Face data set, install the "
        r"extra: pip install 'evalsuite\[datasets\]'$"
    )
    with pytest.raises(DataError, match=says):
        load("org/name")


def test_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise ConnectionError("no route\nmore")

    monkeypatch.setitem(sys.modules, "datasets", library(fails))
    says = r"^org/name: no such file or folder, and the Hugging Face hub gave none \(no route\)$"
    with pytest.raises(DataError, match=says):
        load("org/name")


def test_rows_of_every_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def gives(*args: object) -> dict[str, list[dict[str, str]]]:
        asked.append(args)
        return {"train": [PAIR, PAIR | {"chosen": "better"}], "test": [PAIR]}

    monkeypatch.setitem(sys.modules, "datasets", library(gives))
    tables = load("org/name:pairs")
    assert asked == [("org/name", "pairs")]
    assert tables.comparisons["split"].tolist() == ["train", "train", "test"]
    (source,) = tables.sources
    assert (source.name, source.rows, len(source.sha256)) == ("org/name:pairs", 3, 64)
    assert load("org/name").sources[0].sha256 == source.sha256
    assert asked[1] == ("org/name", None)


def test_a_bad_row_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"train": [PAIR, PAIR | {"chosen": None}]}
    monkeypatch.setitem(sys.modules, "datasets", library(lambda *args: rows))
    with pytest.raises(DataError, match=r"^org/name, row 2: chosen is None; allowed a string or"):
        load("org/name")


def test_a_folder_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    with pytest.raises(DataError, match="org/name: folder has no data file"):
        load("org/name")
