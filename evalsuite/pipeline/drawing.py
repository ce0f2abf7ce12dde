"""The last steps: every analysis that labels and experiment allow, and the pages.

Figures are drawn below the run's folder, in `report/`; `bind` also copies them to where the
settings want them. Proof: tests/pipeline/test_tiny_world.py.
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
    run = run_analyses(
        [settings["group"]], tables, folder / "report", title=settings["title"], say=print
    )
    told = {"drawn": run.readings, "left out": run.skipped, "seconds": run.seconds}
    text = json.dumps(told, indent=2) + "\n"
    write_atomically(folder / out, lambda path: path.write_text(text, encoding="utf-8"))
    return {"figures": len(run.written), "left out": len(run.skipped)}


def bind(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The companion page and the browser of samples; a copy where the settings want it."""
    place = folder / "report"
    skipped: dict[str, str] = {}
    for group in ("labels", "checkpoints"):
        skipped |= json.loads((place / f"{group}.json").read_text("utf-8"))["left out"]
    build_page(place, title=settings["title"], skipped=skipped)
    file = read_posts(folder / "data" / "evaluation.jsonl")
    if settings["report"]:
        wanted = Path(settings["report"])
        shutil.copytree(place, wanted, dirs_exist_ok=True)
    return {"posts": len(file.posts)}
