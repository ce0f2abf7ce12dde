"""The last steps: every analysis that labels and experiment allow, and the pages.

Figures are drawn below the run's folder, in `report/`; `publish` copies them to where the settings
want them. Proof: tests/pipeline/test_tiny_world.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from evalsuite import experiment
from evalsuite.datasets import load
from evalsuite.pipeline.analyze import run_analyses
from evalsuite.pipeline.reading import read_posts
from evalsuite.pipeline.settings import ReproduceSettings
from evalsuite.report.browser import build_browser
from evalsuite.report.companion import COMPANION
from evalsuite.report.page import build_page
from evalsuite.tables import write_atomically


def draw(settings: Mapping[str, Any], folder: Path, out: str) -> dict[str, Any]:
    """The analyses of a group, "labels" or "checkpoints"; `out` says what was drawn.

    Labels of rounds count as batches of their own.
    """
    paths = [folder / "labels" / "evaluation"]
    paths += [folder / f"{step}.jsonl" for step in settings["drift"]]
    tables = replace(
        load([str(path) for path in paths]), experiment=experiment.read(folder / "tables"),
        scores=pd.read_parquet(folder / "scores" / "agreement.parquet"),
    )  # fmt: skip
    place = folder / "report"
    told_before = folder / out
    if told_before.is_file():  # what is no longer drawn shall not stand on the page
        for name in json.loads(told_before.read_text("utf-8"))["drawn"]:
            shutil.rmtree(place / name, ignore_errors=True)
    run = run_analyses([settings["group"]], tables, place, page=False, say=print)
    told = {"drawn": run.readings, "left out": run.skipped}
    text = json.dumps(told, indent=2) + "\n"
    write_atomically(folder / out, lambda path: path.write_text(text, encoding="utf-8"))
    return {"figures": len(run.written), "left out": len(run.skipped)}


def bind(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The companion page and the browser of samples."""
    place = folder / "report"
    found = experiment.read(folder / "tables")
    posts = [
        {
            "post_id": id_, "title": post.title or "", "section": post.section or "",
            "text": post.text, "reference": file.references.get(id_, ""),
        }
        for file in (read_posts(folder / path) for path in settings["posts"])
        for id_, post in file.posts.items()
    ]  # fmt: skip
    build_browser(place / "samples.html", found, pd.DataFrame(posts), title=settings["title"])
    _page(place, settings["title"])
    return {"posts": len(posts)}


def _page(place: Path, title: str) -> None:
    skipped: dict[str, str] = {}
    for group in ("labels", "checkpoints"):
        skipped |= json.loads((place / f"{group}.json").read_text("utf-8"))["left out"]
    build_page(place, title=title, skipped=skipped, companion=COMPANION)


def publish(settings: ReproduceSettings, folder: Path) -> Path:
    """Copy a finished run's figures and pages to where its settings want them; the page.

    Figures of an earlier run go first. The copy of a run on real posts has no browser of samples:
    that holds the posts themselves.
    """
    place = folder / "report"
    if not settings.report:
        return place / "index.html"
    wanted = Path(settings.report)
    for record in wanted.glob("*/provenance.json"):
        shutil.rmtree(record.parent)
    private = () if settings.simulated else ("samples.html",)
    shutil.copytree(place, wanted, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*private))
    if private:
        _page(wanted, settings.title)
    return wanted / "index.html"
