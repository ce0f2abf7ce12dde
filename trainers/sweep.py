"""Several runs that differ in one setting, the best of which is kept: the learning-rate sweep.

    runs/sft/config.json, finished.json   the sweep
             sweep.csv                    one row a rate: its closing numbers, which one is best
             sweep-00/ ... sweep-06/      a run each
             model/                       a copy of the best run's

A sweep that was stopped goes on with --resume: finished runs are not repeated, the one that was
under way goes on from its checkpoint. A rate at which training diverges loses, and is said to.
Proof: tests/trainers/test_sweep.py. Source: Stiennon et al. 2020, appendix B.1.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from evalsuite.errors import TrainingError
from evalsuite.tables import write_atomically
from trainers import saved
from trainers.config import SweepConfig
from trainers.engine import DivergedError, Engine
from trainers.folder import FINISHED, begin, check_folder, write_json
from trainers.resume import MODEL

RUN_COLUMNS = ("run", "learning_rate", "best", "diverged")
TABLE = "sweep.csv"


def rates(config: SweepConfig) -> list[float]:
    """Learning rates from `low` to `high`, their logarithms equally far apart."""
    low, high = math.log(config.low), math.log(config.high)
    step = (high - low) / (config.count - 1)
    return [float(f"{math.exp(low + number * step):.6g}") for number in range(config.count)]


def sweep(
    train: Callable[..., Path],
    config: Any,
    folder: str | Path,
    *,
    kind: str,
    metric: str,
    lowest: bool = True,
    resume: bool = False,
) -> Path:
    """Call `train(config, folder, resume=True)` for each rate and keep the best; its checkpoint.

    config: has `sweep` (`SweepConfig`), `optimizer.learning_rate` and `engine`. metric: a closing
    number of the runs' finished.json; the lowest wins, or the highest with lowest=False; of equals
    the lower rate.

    Raises TrainingError as a single run does, and where every rate diverged.
    """
    folder, kind = Path(folder), f"{kind} sweep"
    engine = Engine(config.engine)
    if engine.on_main(lambda: check_folder(folder, config, kind=kind, resume=resume)):
        return folder / MODEL
    asked = rates(config.sweep)
    steps = len(asked)
    engine.on_main(lambda: begin(folder, config, kind=kind, total_steps=steps, inputs=()))
    found: list[dict[str, Any]] = []
    for number, rate in enumerate(asked):
        name = f"sweep-{number:02d}"
        optimizer = dataclasses.replace(config.optimizer, learning_rate=rate)
        one = dataclasses.replace(config, optimizer=optimizer)
        row: dict[str, Any] = {"run": name, "learning_rate": rate, "diverged": False}
        try:
            train(one, folder / name, resume=True)
            row |= engine.on_main(partial(_closing, folder / name))
        except DivergedError as error:
            row |= {"diverged": True, "why": str(error)}
        engine.on_main(partial(shutil.rmtree, folder / name / saved.FOLDER, True))
        found.append(row)
    best = _best(found, metric, lowest, folder)
    for row in found:
        row["best"] = row is best
    engine.on_main(lambda: _finish(folder, found, best, metric))
    return folder / MODEL


def _closing(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FINISHED).read_text())
    return {key: value for key, value in found.items() if isinstance(value, (int, float))}


def _best(rows: list[dict[str, Any]], metric: str, lowest: bool, folder: Path) -> Mapping[str, Any]:
    able = [row for row in rows if row.get(metric) is not None]
    if not able:
        raise TrainingError(
            f"{folder}: training diverged at all {len(rows)} rates; allowed a lower sweep.low"
        )
    sign = 1 if lowest else -1
    return min(able, key=lambda row: sign * row[metric])


def _finish(folder: Path, rows: list[dict[str, Any]], best: Mapping[str, Any], metric: str) -> None:
    table = pd.DataFrame(rows)
    table = table[
        [c for c in RUN_COLUMNS if c in table] + [c for c in table if c not in RUN_COLUMNS]
    ]
    write_atomically(folder / TABLE, lambda temporary: table.to_csv(temporary, index=False))
    copy_folder(folder / best["run"] / MODEL, folder / MODEL)
    show(rows, metric)
    closing = {key: value for key, value in best.items() if key not in ("best", "diverged")}
    write_json(folder / FINISHED, closing)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder, whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(source, partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"{target}: cannot be written ({error.strerror}); {source} is intact"
        ) from error


def show(rows: list[dict[str, Any]], metric: str) -> None:
    """The table of a sweep, best marked."""
    table = Table("run", "learning rate", metric.replace("_", " "), "", box=None)
    for row in rows:
        value = "diverged" if row["diverged"] else f"{row[metric]:.4f}"
        table.add_row(
            row["run"], f"{row['learning_rate']:.3g}", value, "best" if row["best"] else ""
        )
    Console(stderr=True, highlight=False).print(table)
