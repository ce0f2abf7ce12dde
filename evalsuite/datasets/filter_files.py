"""The TL;DR filter from files to files: streaming, and all outputs or none.

Proved by tests/datasets/test_filter_files.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import orjson
import pandas as pd
from rich.progress import Progress

from evalsuite.datasets import files, reporting
from evalsuite.datasets.filter import COUNT, Counts, Filter
from evalsuite.errors import DataError
from evalsuite.tables import write_atomically


def filter_files(
    path: Path, out: Path, count_tokens: COUNT, skip: bool, progress: Progress | None = None
) -> tuple[Counts, int]:
    """Filter the posts of a file or folder into `out`, a folder that exists.

    Writes queries.jsonl, supervised.jsonl and filter.csv, and rejected.jsonl where `skip` let
    refused rows pass. Returns the counts and the number of refused rows. Raises DataError at the
    first bad row unless `skip`, and when there is no good row at all.
    """
    counts, refused = Counts(), list[files.Refused]()

    def write(queries: Path, supervised: Path) -> None:
        with queries.open("wb") as every, supervised.open("wb") as some:
            _stream(path, count_tokens, skip, progress, counts, refused, every, some)
        if counts.rows == 0:
            raise refused[0].error if refused else DataError("no row", file=path.name)

    write_atomically(
        out / "queries.jsonl",
        lambda q: write_atomically(out / "supervised.jsonl", lambda s: write(q, s)),
    )
    table = pd.DataFrame(counts.table(), columns=["rule", "dropped", "left"])
    write_atomically(out / "filter.csv", lambda temporary: table.to_csv(temporary, index=False))
    if refused:
        files.write_refused(out / "rejected.jsonl", refused)
    else:
        (out / "rejected.jsonl").unlink(missing_ok=True)  # of an earlier run
    return counts, len(refused)


def _stream(
    path: Path, count_tokens: COUNT, skip: bool, progress: Progress | None, counts: Counts,
    refused: list[files.Refused], every: IO[bytes], some: IO[bytes],
) -> None:  # fmt: skip
    judge = Filter(count_tokens)
    for name, row in _rows(path, progress):
        try:
            if isinstance(row.data, DataError):
                raise row.data
            verdict = judge(row.data)
        except DataError as error:
            placed = row.place(error, name)
            if not skip:
                raise placed from None
            refused.append(files.Refused(placed, row.raw))
            continue
        counts.add(verdict)
        if verdict.post is None:
            continue
        line = orjson.dumps(verdict.post._asdict()) + b"\n"
        every.write(line)
        if verdict.reason is None:
            some.write(line)


def _rows(path: Path, progress: Progress | None) -> Iterator[tuple[str, files.RawRow]]:
    found = files.expand(path)
    total, done, report = sum(file.stat().st_size for file in found), 0, reporting(progress)
    for file in found:

        def tell(read: int, name: str = file.name, start: int = done) -> None:
            if report is not None:
                report(name, start + read, total)

        for row in files.rows(file, tell):
            yield file.name, row
        done += file.stat().st_size
