"""`evalsuite page`: the page of a folder, beside the paper where the folder holds directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalsuite.cli.analyze import page
from evalsuite.errors import EvalsuiteError


def put(folder: Path, name: str, table: str) -> None:
    home = folder / name
    home.mkdir()
    (home / "table.csv").write_text(table)
    (home / "provenance.json").write_text(json.dumps({"title": name, "reading": "It ran."}))


def test_labels_alone_stand_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "rouge", "policy,value\nsup,0.2\n")
    page(tmp_path, title="Labels")
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "<h1>Labels</h1>" in html
    assert "The paper found" not in html


def test_a_run_with_directions_stands_beside_the_paper(tmp_path: Path) -> None:
    put(tmp_path, "decoding", "policy,value\nsup,0.2\n")
    put(tmp_path, "directions", "key,claim,verdict\ncold-over-warm,Colder is better,reversed\n")
    page(tmp_path, title="Run")
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "Of 1 claim, the paper" in html
    decoding = html[html.index('id="a-decoding"') :]
    for part in ("The paper found", "Colder is better", "Reversed", "Nearly greedily"):
        assert part in decoding, part


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalsuiteError, match="holds no result; allowed a folder that analyze"):
        page(tmp_path, title="t")
