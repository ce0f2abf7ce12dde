"""The last steps: every analysis that labels and experiment allow, and the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from evalsuite import experiment
from evalsuite.datasets import load
from evalsuite.pipeline.analyze import run_analyses
from evalsuite.pipeline.reading import read_posts
from evalsuite.report.page import build_page


def report_folder(settings: Mapping[str, Any], folder: Path) -> Path:
    """Where figures and pages go."""
    return Path(settings["report"]) if settings["report"] else folder / "report"


def draw(
    settings: Mapping[str, Any], folder: Path, report: Callable[[int, int], object]
) -> dict[str, Any]:
    """Every analysis; labels of rounds count as batches of their own."""
    paths = [folder / "labels" / "evaluation"]
    paths += [folder / f"{step}.jsonl" for step in settings["drift"]]
    scores = pd.read_parquet(folder / "scores" / "agreement.parquet")
    tables = replace(
        load([str(path) for path in paths]), experiment=experiment.read(folder / "tables"),
        scores=scores,
    )  # fmt: skip
    lines: list[str] = []
    run = run_analyses(
        ["all"], tables, report_folder(settings, folder), title=settings["title"], say=lines.append
    )
    print("\n".join(lines))
    return {"figures": len(run.written), "left out": len(run.skipped)}


def bind(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The companion page and the browser of samples."""
    out = report_folder(settings, folder)
    build_page(out, title=settings["title"])
    file = read_posts(folder / "data" / "evaluation.jsonl")
    return {"posts": len(file.posts)}
