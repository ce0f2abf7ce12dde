"""What a finished run publishes, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalsuite.pipeline import drawing
from evalsuite.pipeline.settings import ReproduceSettings, read_settings


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with one figure and the pages."""
    report = tmp_path / "run" / "report"
    (report / "preference").mkdir(parents=True)
    (report / "preference" / "provenance.json").write_text("{}")
    for group in ("labels", "checkpoints"):
        (report / f"{group}.json").write_text('{"drawn": {}, "left out": {}}')
    (report / "index.html").write_text("page")
    (report / "samples.html").write_text("posts")
    return tmp_path / "run"


def settings(*words: str) -> ReproduceSettings:
    return read_settings(None, words)


def test_without_a_place_the_page_stays_in_the_run(run: Path) -> None:
    assert drawing.publish(settings(), run) == run / "report" / "index.html"


def test_a_copy_replaces_the_figures_of_an_earlier_run_and_nothing_else(run: Path) -> None:
    place = run.parent / "reports"
    for name in ("old", "mine"):
        (place / name).mkdir(parents=True)
    (place / "old" / "provenance.json").write_text("{}")
    (place / "mine" / "notes.txt").write_text("kept")
    assert drawing.publish(settings(f"report={place}"), run) == place / "index.html"
    assert sorted(path.name for path in place.iterdir()) == [
        "checkpoints.json", "index.html", "labels.json", "mine", "preference", "samples.html",
    ]  # fmt: skip


def test_posts_of_people_stay_in_the_run(run: Path) -> None:
    place = run.parent / "reports"
    words = ["posts.files=[x.jsonl]", "labels.judge=gold", "labels.gold_files=[y.jsonl]"]
    drawing.publish(settings(f"report={place}", *words), run)
    assert not (place / "samples.html").exists()
    assert "samples.html" not in (place / "index.html").read_text()
