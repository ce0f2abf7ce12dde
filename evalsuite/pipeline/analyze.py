"""Run analyses on tables: compute, write table, figure and provenance, then the page.

Every analysis is written into a hidden folder first and moved into place when complete, so a
run that fails or is killed leaves the previous result whole and nothing half-written.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import json
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

import analyses
from evalsuite.config import as_dict, resolve
from evalsuite.errors import ConfigError, EvalsuiteError
from evalsuite.metrics import score_summaries
from evalsuite.provenance import provenance
from evalsuite.report import style
from evalsuite.report.page import build_page
from evalsuite.report.result import Analysis
from evalsuite.tables import Tables

Say = Callable[[str], None]


GROUPS = ("all", "labels", "checkpoints")
"""Words for several analyses: all, those of human labels, those of an experiment's tables."""


def of_experiment(module: Analysis) -> bool:
    """Whether an analysis reads the tables of an experiment."""
    return bool(getattr(module, "EXPERIMENT", False))


@dataclass
class Run:
    """What a call of `run_analyses` did: folders written, analyses skipped, seconds by step."""

    written: dict[str, Path] = field(default_factory=dict)
    readings: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    page: Path | None = None


def load_analysis(name: str) -> Analysis:
    """The module of `analyses/` called `name`.

    Raises ConfigError, listing the names, when there is none.
    """
    if name not in analyses.NAMES:
        near = difflib.get_close_matches(name, analyses.NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        allowed = f"allowed: all, {', '.join(analyses.NAMES)}"
        raise ConfigError(f"unknown analysis {name!r}; {hint}{allowed}")
    return cast(Analysis, importlib.import_module(f"analyses.{name}"))


def describe_settings(module: Analysis) -> list[tuple[str, str, str]]:
    """Key, default and meaning of each setting of an analysis; the meaning from its docstring."""
    text = inspect.getdoc(module.Options) or ""
    found = []
    for setting in dataclasses.fields(module.Options):
        match = re.search(rf"^{setting.name}:(.*?)(?=^\w+:|\Z)", text, flags=re.M | re.S)
        meaning = " ".join(match[1].split()) if match else ""
        found.append((setting.name, f"{setting.default!r}", meaning))
    return found


def prepare_folder(out: Path) -> Path:
    """Create the output folder; an error names the part of the path that is in the way."""
    for part in (out, *out.parents):
        if part.exists() and not part.is_dir():
            raise EvalsuiteError(f"--out {out}: {part} is a file; allowed a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvalsuiteError(f"--out {out}: cannot be made ({error.strerror})") from error
    return out


def run_analyses(
    names: Sequence[str],
    tables: Tables,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    seed: int = 0,
    title: str = "What the human labels say",
    page: bool = True,
    say: Say = lambda line: None,
) -> Run:
    """Run the named analyses (or those of a group that the data allows) and write the page.

    names: of analyses, or one of the groups of `GROUPS`. overrides: "key=value" for every analysis
    that has the key, "analysis.key=value" for one. page: whether to join them on a page.
    Raises EvalsuiteError when a single named analysis is not allowed by the data.
    """
    every = len(names) == 1 and names[0] in GROUPS
    modules = {name: load_analysis(name) for name in (analyses.NAMES if every else names)}
    if every:  # who has labels alone is not told of what needs an experiment
        group = "labels" if names[0] == "all" and tables.experiment is None else names[0]
        modules = {
            name: module for name, module in modules.items()
            if group == "all" or of_experiment(module) == (group == "checkpoints")
        }  # fmt: skip
    options = {
        name: resolve(module.Options, overrides=_for(name, modules, overrides))
        for name, module in modules.items()
    }
    for text in overrides:
        key = text.partition("=")[0]
        deaf = [name for name, module in modules.items() if key not in _keys(module)]
        if "." not in key and deaf:
            say(f"--set {text}: not a setting of {', '.join(deaf)}, which use the default")
    prepare_folder(out)
    run = Run()
    parts = _by_domain(tables)
    todo: list[tuple[str, Analysis, str, Tables]] = []
    for name, module in modules.items():
        reasons = {}
        # An experiment's tables name the domain in their rows, so they are read once.
        mine = {"": tables} if of_experiment(module) else parts
        for suffix, part in mine.items():
            if reason := module.missing(part):
                reasons[suffix] = reason
            else:
                todo.append((name, module, name + suffix, part))
        if len(reasons) == len(mine):
            reason = next(iter(reasons.values()))
            if not every:
                raise EvalsuiteError(f"{name}: {reason}")
            run.skipped[name] = reason
            say(f"{name}: left out, {reason}")
    if not todo:
        raise EvalsuiteError(
            "no analysis can run on this data: "
            + "; ".join(f"{name}: {reason}" for name, reason in run.skipped.items())
        )

    groups = tuple(sorted({group for _, module, _, _ in todo for group in module.SCORES}))
    scores: pd.DataFrame | None = None
    if groups:
        start = time.perf_counter()
        say(f"scores: {len(tables.summaries):,} summaries, {', '.join(groups)}")
        scores = score_summaries(tables.summaries, tables.posts, groups=groups)
        if tables.scores is not None:  # what models made of the same summaries
            scores = scores.merge(tables.scores, on="summary_id", how="left")
        run.seconds["scores"] = time.perf_counter() - start
    for name, module, target, part in todo:
        start = time.perf_counter()
        part = part if scores is None else part.with_scores(scores)
        try:
            reading = _run_one(target, module, part, out, options[name], seed)
        except EvalsuiteError as error:
            # What one domain refuses (a split it lacks, say) another may allow.
            if not every and len(parts) == 1:
                raise EvalsuiteError(f"{target}: {error}") from error
            run.skipped[target] = str(error)
            say(f"{target}: left out, {error}")
            continue
        run.seconds[target] = time.perf_counter() - start
        run.written[target] = out / target
        run.readings[target] = reading
        say(f"{target}: {reading} ({run.seconds[target]:.1f} s)")
    if not run.written:
        target, reason = next(iter(run.skipped.items()))
        raise EvalsuiteError(f"{target}: {reason}")
    if page:
        start = time.perf_counter()
        run.page = build_page(out, title=title, skipped=run.skipped, order=analyses.NAMES)
        run.seconds["page"] = time.perf_counter() - start
    return run


def _by_domain(tables: Tables) -> dict[str, Tables]:
    """Tables by suffix of the result folder: "" for the first domain, "-DOMAIN" for another.

    A policy that meets TL;DR posts and news articles is two policies to every statistic, so each
    analysis runs on one domain at a time.
    """
    domains = tables.domains()
    if len(domains) == 1:
        return {"": tables}
    return {
        f"-{domain or 'unnamed'}" if place else "": tables.of_domain(domain)
        for place, domain in enumerate(domains)
    }


def _for(name: str, modules: dict[str, Analysis], overrides: Sequence[str]) -> list[str]:
    """The overrides that are meant for one analysis: `NAME.key=value`, and bare keys it knows."""
    mine = []
    for text in overrides:
        key = text.partition("=")[0]
        head, dot, _ = key.partition(".")
        if dot and head in analyses.NAMES:
            if head not in modules:
                raise ConfigError(f"--set {text}: {head} is not run; allowed {', '.join(modules)}")
            if head == name:
                mine.append(text.removeprefix(f"{head}."))
            continue
        knowing = [n for n, module in modules.items() if key in _keys(module)]
        if name in knowing or len(modules) == 1:
            mine.append(text)
        elif not knowing:
            raise ConfigError(f"--set {text}: no analysis that is run has the setting {key!r}")
    return mine


def _keys(module: Analysis) -> list[str]:
    return [field.name for field in dataclasses.fields(module.Options)]


def _run_one(
    name: str, module: Analysis, tables: Tables, out: Path, options: object, seed: int
) -> str:
    start = time.perf_counter()
    # Keyed by name, so an analysis gives the same numbers alone and among others.
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    result = module.compute(tables, options, rng)
    work = Path(tempfile.mkdtemp(dir=out, prefix=f".{name}-"))
    try:
        result.table.to_csv(work / "table.csv", index=False)
        # Drawn from the file: whoever has table.csv can draw the same figure.
        table = pd.read_csv(work / "table.csv")
        reading = module.reading(table)
        style.save(module.plot(table), work / "figure")
        record = provenance(
            analysis=name,
            title=module.TITLE,
            source=module.SOURCE,
            differs=module.DIFFERS,
            reading=reading,
            config=as_dict(options),
            seed=seed,
            inputs=tables.sources,
            left_out={**tables.left_out, **result.left_out},
            seconds=round(time.perf_counter() - start, 2),
        )
        (work / "provenance.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        work.chmod(0o755)
        if (out / name).exists():
            shutil.rmtree(out / name)
        work.replace(out / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return reading
