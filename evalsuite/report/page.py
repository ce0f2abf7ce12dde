"""One self-contained page of a folder of analyses: figures, tables, readings, provenance; where
wished, beside what the paper found.

The reader has run analyses into a folder (`NAME/{figure.png,figure.pdf,table.csv,provenance.json}`)
and opens `index.html`, or is sent it: pictures, style and script are inside, a content security
policy forbids anything else, and all text is escaped. The look is in `templates/`, what is shown of
a table or a record is here; either may be changed. The page adds nothing to the files (no date of
its own), so the same folder gives the same page. `tests/report/test_page.py` holds these.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from evalsuite.report.beside import VERDICTS, Beside, Verdict, beside, counted, read_claims
from evalsuite.report.companion import Section
from evalsuite.report.numbers import decimals_of, interval, number
from evalsuite.report.render import write_html

OPEN_ROWS = 12
"""Tables up to this many rows are shown open, longer ones folded."""

SHOWN_ROWS = 400
"""Rows of a table on the page; all of them are in its csv file."""

PIXELS_PER_INCH = 120
"""Of the screen: a figure made for print is shown a little larger than on paper."""

DIRECTIONS = "directions"
"""The analysis that says which of the paper's directions a run shows."""

OTHERS = "Also in this run"
"""Chapter of analyses that the companion does not know."""

MEANINGS = {
    "quantity": "what is estimated",
    "policy": "what wrote the summaries",
    "against": "the policy it is compared with",
    "metric": "the measure, or what else answers a comparison",
    "axis": "what raters judged",
    "base": "the model that was sampled from",
    "temperature": "sampling temperature; 0 is greedy",
    "top_p": "nucleus sampling: probability mass kept",
    "best_of_n": "candidates among which a reward model chose",
    "kl_nats": "KL divergence from the supervised policy, in nats",
    "labeler": "the person who answered, as the data names them",
    "batch": "batch of the data",
    "split": "split of the data",
    "domain": "kind of text",
    "value": "the estimate",
    "se": "standard error of the estimate",
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "level": "nominal coverage of the interval",
    "n": "rows used",
    "n_clusters": "independent units among them",
    "method": "how error and interval were made, or why there is none",
}

_ESTIMATE = ("value", "se", "low", "high", "level", "n", "n_clusters", "method")
_TITLES = {"se": "SE", "n_clusters": "clusters", "low": "low", "high": "high"}


class Cell(NamedTuple):
    """A cell as shown: text, what follows it in grey, whether a number, and its sort key."""

    text: str
    extra: str = ""
    number: bool = False
    sort: str = ""


class Column(NamedTuple):
    """A column's heading, whether it holds numbers, and what it means."""

    title: str
    number: bool
    meaning: str


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it."""

    columns: list[Column]
    rows: list[list[Cell]]
    count: str
    short: bool
    remarks: list[str]
    meanings: list[tuple[str, str]]


@dataclass
class Entry:
    """One analysis on the page; what could not be read is named in `problems`."""

    name: str
    anchor: str
    title: str
    reading: str = ""
    problems: list[str] = field(default_factory=list)
    figure: str = ""
    width: int = 0
    alt: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    table: TableView | None = None
    context: list[tuple[str, str]] = field(default_factory=list)
    provenance: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[dict[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    versions: str = ""
    chapter: str = ""
    beside: Beside | None = None


def build_page(
    folder: Path,
    *,
    title: str,
    skipped: Mapping[str, str] | None = None,
    order: Sequence[str] = (),
    intro: str = "",
    companion: Sequence[Section] = (),
    why: Mapping[str, str] | None = None,
) -> Path:
    """Write `folder/index.html` about every analysis found in the folder; return its path.

    skipped: analyses left out of this run and why, listed at the end. order: names of analyses in
    the order wished; NAME-VARIANT (a second domain) stands after NAME, others follow by name.
    companion: what the paper found (`companion.COMPANION`); its sections then give order and
    chapters, the analysis `directions` comes first, and each section is set beside the paper. why:
    by analysis, what this run knows of a direction that it does not show. A missing or unreadable
    file is named on the page where its content would stand; the rest of the page is made all the
    same. `samples.html` beside the page is linked.
    """
    skipped, reasons = dict(skipped or {}), dict(why or {})
    sections = {section.analysis: section for section in companion}
    if sections:
        order = list(dict.fromkeys((DIRECTIONS, *sections, *order)))
    names = _analyses(folder, order)
    claims = read_claims(folder)
    entries = []
    for name in names:
        entry, raw = _entry(folder, name)
        head, _, variant = name.rpartition("-")
        if head in order and (name not in order or name in sections):
            entry.title += f": {variant}"
        if name in sections:
            entry.beside = beside(sections[name], raw, claims, why=reasons.get(name, ""))
        known = sections.get(name) or sections.get(head)
        entry.chapter = known.part if known else OTHERS if sections and name != DIRECTIONS else ""
        if name in skipped:
            entry.problems.insert(
                0, "Left out of the latest run; this result is of an earlier one."
            )
        entries.append(entry)
    return write_html(
        folder / "index.html",
        "page.html.j2",
        styles=("base.css", "page.css"),
        script="page.js",
        title=title,
        intro=intro,
        stamp=_stamp(folder, names),
        chapters=[(name, list(group)) for name, group in groupby(entries, lambda e: e.chapter)],
        entries=entries,
        directions=counted(claims.values()) if sections and claims else "",
        verdicts=_by_verdict(entries),
        inputs=_distinct(entry.inputs for entry in entries),
        skipped=list(skipped.items()),
        samples="samples.html" if (folder / "samples.html").exists() else "",
    )


def _by_verdict(entries: Iterable[Entry]) -> list[tuple[Verdict, list[Entry]]]:
    """Entries beside the paper by whether they agree with it, in the order of `VERDICTS`."""
    compared = [(entry, entry.beside.verdict) for entry in entries if entry.beside]
    groups = [
        (general, [entry for entry, its in compared if its.kind == kind])
        for kind, general in VERDICTS.items()
    ]
    return [(verdict, group) for verdict, group in groups if group]


def table_view(table: pd.DataFrame, meanings: Mapping[str, str] | None = None) -> TableView:
    """A table of texts (csv read without conversion) as the page shows it.

    value, low and high become one column "value [low, high]" rounded to two digits of the standard
    error; level and method move below the table where they are the same in every row.
    """
    known = {**MEANINGS, **(meanings or {})}
    numbers = {c: pd.to_numeric(table[c], errors="coerce") for c in table.columns}
    numeric = {
        c for c in table.columns if (numbers[c].notna() | (table[c] == "")).all() and len(table)
    }
    remarks: list[str] = []
    hidden: set[str] = set()
    joined = {"value", "low", "high"} <= numeric
    if joined:
        hidden |= {"low", "high"}
    if "level" in numeric and numbers["level"].nunique(dropna=False) == 1:
        hidden.add("level")
        level = f"{100 * numbers['level'].iloc[0]:g}% "
    else:
        level = ""
    if "method" in table.columns and len(table) > 1 and table["method"].nunique() == 1:
        hidden.add("method")
        remarks.append(f"Intervals: {table['method'].iloc[0]}.")
    if len(table) > SHOWN_ROWS:
        remarks.append(f"The first {SHOWN_ROWS} of {len(table):,} rows; table.csv has them all.")

    columns: list[Column] = []
    cells: list[list[Cell]] = []
    shown = table.head(SHOWN_ROWS)
    places = decimals_of(numbers["se"]) if "se" in numeric else [None] * len(table)
    for name in table.columns:
        if name in hidden:
            continue
        values = numbers[name].tolist()
        if name == "value" and joined:
            heading = f"value [{level}interval]"
            lows, highs = numbers["low"].tolist(), numbers["high"].tolist()
            column = [
                Cell(
                    number(values[i], places[i]),
                    "" if math.isnan(values[i]) else interval(lows[i], highs[i], places[i]),
                    True, str(values[i]),
                )
                for i in range(len(shown))
            ]  # fmt: skip
        elif name in numeric:
            heading = _TITLES.get(name, name)
            digits = places if name in {"value", "se"} else [None] * len(table)
            column = [
                Cell(number(values[i], digits[i]), "", True, str(values[i]))
                for i in range(len(shown))
            ]
        else:
            heading = _TITLES.get(name, name)
            column = [Cell(text) for text in shown[name].tolist()]
        columns.append(Column(heading, name in numeric, known.get(name, "")))
        cells.append(column)
    count = f"{len(table):,} row" + ("" if len(table) == 1 else "s")
    meant = [(c, known[c]) for c in table.columns if c in known]
    rows = [list(row) for row in zip(*cells, strict=True)]
    return TableView(columns, rows, count, len(table) <= OPEN_ROWS, remarks, meant)


def _analyses(folder: Path, order: Sequence[str]) -> list[str]:
    files = ("provenance.json", "figure.png", "table.csv")
    found = {
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name[0] != "." and any((path / file).exists() for file in files)
    }
    place = {name: i for i, name in enumerate(order)}

    def key(name: str) -> tuple[int, str]:
        head = name if name in place else name.rpartition("-")[0]
        return place.get(head, len(place)), name

    return sorted(found, key=key)


def _record(folder: Path) -> tuple[dict[str, Any], str]:
    """The provenance record and, where it cannot be read, the reason."""
    try:
        record = json.loads((folder / "provenance.json").read_text("utf-8"))
    except FileNotFoundError:
        return {}, "provenance.json is missing."
    except ValueError as error:
        return {}, f"provenance.json cannot be read: {error}."
    return (record, "") if isinstance(record, dict) else ({}, "provenance.json is no record.")


def _entry(folder: Path, name: str) -> tuple[Entry, pd.DataFrame | None]:
    """An analysis as the page shows it, and its table as texts."""
    record, problem = _record(folder / name)
    title = str(record.get("title") or name)
    anchor = "a-" + re.sub(r"[^A-Za-z0-9_-]", lambda m: f".{ord(m[0]):x}", name)
    entry = Entry(name, anchor, title, reading=str(record.get("reading") or ""))
    if problem:
        entry.problems.append(problem)
    entry.alt = f"Figure: {title}. {entry.reading}".strip()
    try:
        entry.figure, entry.width = _picture((folder / name / "figure.png").read_bytes())
    except FileNotFoundError:
        entry.problems.append("figure.png is missing.")
    raw = None
    try:
        raw = pd.read_csv(folder / name / "table.csv", dtype="str", keep_default_na=False)
        entry.table = table_view(raw, _mapping(record, "columns"))
    except FileNotFoundError:
        entry.problems.append("table.csv is missing.")
    except ValueError as error:  # empty, not UTF-8, or not a table
        entry.problems.append(f"table.csv cannot be read: {error}.")
    for text, file in (
        ("figure (pdf)", "figure.pdf"), ("figure (png)", "figure.png"),
        ("table (csv)", "table.csv"), ("provenance (json)", "provenance.json"),
    ):  # fmt: skip
        if (folder / name / file).exists():
            entry.links.append((text, f"{quote(name)}/{file}"))
    entry.context = _pairs(record, {"source": "reproduces", "differs": "differs from the paper"})
    if record:
        entry.provenance = _provenance(record)
        entry.inputs = [
            {key: _plain(item.get(key, "")) for key in ("name", "format", "rows", "sha256")}
            for item in record.get("inputs") or []
            if isinstance(item, Mapping)
        ]
        entry.left_out = [(k, _plain(v)) for k, v in _mapping(record, "left_out").items()]
        entry.versions = ", ".join(f"{k} {v}" for k, v in _mapping(record, "versions").items())
    return entry, raw


def _mapping(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    shown = dict(record)
    shown["time_utc"] = _time(record.get("time_utc"))
    if record.get("dirty"):
        shown["commit"] = f"{record.get('commit')}, with changes not committed"
    if record.get("seconds") is not None:
        shown["seconds"] = f"{_plain(record['seconds'])} s"
    names = {
        "analysis": "analysis", "command": "command", "config": "settings", "seed": "seed",
        "commit": "commit", "time_utc": "time", "seconds": "took", "device": "device",
    }  # fmt: skip
    return _pairs(shown, names)


def _pairs(record: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (text, _plain(record[key]))
        for key, text in names.items()
        if record.get(key) not in (None, "")
    ]


def _plain(value: object) -> str:
    """A value of a record as words: settings as `key=value`, numbers with separators."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={_setting(v)}" for k, v in value.items()) or "defaults"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(float(value))
    return str(value)


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _stamp(folder: Path, names: Sequence[str]) -> str:
    """When and from what the results were made, as their records say."""
    records = [_record(folder / name)[0] for name in names]
    times = sorted(str(r["time_utc"]) for r in records if r.get("time_utc"))
    commits = sorted({str(r["commit"])[:10] for r in records if r.get("commit")})
    words = [f"{len(names)} analys{'is' if len(names) == 1 else 'es'}"]
    if times:
        first, last = _time(times[0]), _time(times[-1])
        words.append(last if first[:10] == last[:10] else f"{first} to {last}")
    if commits:
        words.append(f"commit {', '.join(commits)}")
    return " · ".join(words)


def _time(value: object) -> str:
    """An ISO time to the minute; anything else as it is."""
    text = "" if value is None else str(value)
    return re.sub(
        r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?(?:\+00:00|Z)$", r"\1 \2 UTC", text
    )


def _distinct(groups: Iterable[list[dict[str, str]]]) -> list[dict[str, str]]:
    seen = {tuple(item.items()): item for group in groups for item in group}
    return list(seen.values())


def _picture(png: bytes) -> tuple[str, int]:
    """The picture as a data address, and its width on screen in pixels (0 where unknown)."""
    address = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    width = 0
    if png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) >= 24:
        density = png.find(b"pHYs", 0, 4096)
        per_metre = struct.unpack(">I", png[density + 4 : density + 8])[0] if density > 0 else 0
        pixels = struct.unpack(">I", png[16:20])[0]
        width = round(pixels / (per_metre * 0.0254) * PIXELS_PER_INCH) if per_metre else pixels
    return address, width
