"""Files to raw rows: JSON lines, JSON arrays, CSV, parquet, each perhaps gzipped.

A row that cannot be read is handed on as a `DataError` in its place, so that a loader may stop at
it or count it and go on. What may be changed: suffixes and readers. Proved by
tests/datasets/test_files.py and test_bad_input.py.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from evalsuite.datasets.fields import TextRow
from evalsuite.errors import DataError
from evalsuite.records import shown
from evalsuite.tables import write_atomically

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
KNOWN = f"{', '.join(SUFFIXES)}, each perhaps with .gz"
BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
MAX_CELL = 2**31 - 1
DELIMITERS = {";": "';'", "\t": "a tab", "|": "'|'"}
"""What a CSV in which no comma stands may be separated by; it is not guessed, only named."""

Report = Callable[[int], None]
"""Told how many bytes of the file have been read."""


class RawRow(NamedTuple):
    """What stands at one place of a file: `data` a mapping, or the error that reading it gave."""

    number: int | None
    data: dict[str, Any] | DataError
    raw: object
    unit: str = "line"  # what `number` counts: "line", else "item" of an array or "row"

    def place(self, error: DataError, file: str) -> DataError:
        """The error with this row's place in `file`."""
        if self.number is None or self.unit == "line":
            return error.at(file, self.number)
        return error.at(f"{file}, {self.unit} {self.number}", None)


class Refused(NamedTuple):
    """A refused row: why and where, and the row itself as far as it could be read."""

    error: DataError
    raw: object


def write_refused(path: Path, refused: Iterable[Refused]) -> None:
    """Write refused rows as JSON lines {file, line, reason, row}, atomically.

    Raises DataError when the file cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for error, raw in refused:
                row = {"file": error.file, "line": error.line, "reason": str(error), "row": raw}
                file.write(json.dumps(row, default=str) + "\n")

    try:
        write_atomically(path, write)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", file=str(path)) from None


class _FileError(Exception):
    """A file that cannot be read on; the message says why."""


def suffix(path: Path) -> str:
    """The suffix that says the kind of file, in lower case, `.gz` aside."""
    name = path.name.lower().removesuffix(".gz")
    return next((s for s in SUFFIXES if name.endswith(s)), "")


def expand(path: Path) -> list[Path]:
    """The data files of a folder, recursively and by name, or the file itself.

    Hidden files are passed over. Raises DataError when there is none.
    """
    try:
        if path.is_dir():
            found = [
                inner for inner in sorted(path.rglob("*"))
                if suffix(inner) and inner.is_file()
                and not any(part.startswith(".") for part in inner.relative_to(path).parts)
            ]  # fmt: skip
            if not found:
                raise DataError("folder has no data file", file=str(path), allowed=KNOWN)
            return found
        if not path.exists():
            raise DataError("no such file or folder", file=str(path))
        if not path.is_file():
            raise DataError("neither a file nor a folder", file=str(path))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path.name) from None
    if not suffix(path):
        raise DataError("file of unknown kind", file=path.name, allowed=KNOWN)
    return [path]


def digest(path: Path) -> str:
    """SHA-256 of the file as it lies on disk. Raises DataError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path.name) from None


def rows(path: Path, report: Report = lambda done: None) -> Iterator[RawRow]:
    """Every row of a file, in order; a fault that ends the reading is the last row."""
    kind = suffix(path)
    try:
        if kind == ".parquet":
            yield from _parquet(path)
            return
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if path.name.lower().endswith(".gz") and not packed and path.stat().st_size:
                raise _FileError("is not gzip data, as its name says")
            file: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            progress = _Progress(raw, report)
            yield from (_csv if kind == ".csv" else _json)(file, progress)
    except _FileError as fault:
        yield RawRow(None, DataError(str(fault), field="file"), None)
    except EOFError:
        yield RawRow(None, DataError("gzip data ends early", field="file"), None)
    except (gzip.BadGzipFile, zlib.error):
        yield RawRow(None, DataError("gzip data is damaged", field="file"), None)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        yield RawRow(None, DataError(problem, field="file"), None)


class _Progress:
    """Reports the place in the file on disk every thousand rows."""

    def __init__(self, raw: IO[bytes], report: Report) -> None:
        self._raw, self._report = raw, report

    def __call__(self, row: int) -> None:
        if row % 1000 == 0:
            self._report(self._raw.tell())


def _json(file: IO[bytes], progress: _Progress) -> Iterator[RawRow]:
    """One object a line; else one array, or one object over several lines."""
    for number, line in enumerate(file, 1):
        progress(number)
        if number == 1:
            line = line.removeprefix(BOM)
        if line.isspace() or not line:
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            if number == 1 and line.lstrip()[:1] in (b"[", b"{") and (whole := _whole(file, line)):
                yield from whole
                return
            yield _plain(line, number)
            continue
        if number == 1 and isinstance(value, list):
            yield from _array(value)
        elif isinstance(value, dict):
            yield RawRow(number, value, value)
        else:
            yield RawRow(number, _no_object(value), value)


def _whole(file: IO[bytes], first: bytes) -> list[RawRow]:
    """Rows of a file that is one JSON value over several lines; none when it is not that.

    The file is put back to the end of its first line then.
    """
    place = file.tell()
    try:
        value = json.loads((first + file.read()).decode("utf-8"))
    except (ValueError, RecursionError):
        file.seek(place)
        return []
    return list(_array(value if isinstance(value, list) else [value]))


def _array(values: list[Any]) -> Iterator[RawRow]:
    for i, value in enumerate(values, 1):
        data = _usable(value) if isinstance(value, dict) else _no_object(value)
        yield RawRow(i, data, value, "item")


def _no_object(value: object) -> DataError:
    return DataError(f"row is {shown(value)}", field="row", allowed="a JSON object")


def _plain(line: bytes, number: int) -> RawRow:
    """A line that the fast parser refuses: the standard one reads NaN and says where it fails."""
    try:
        text = line.decode("utf-8").rstrip("\r\n")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        problem = f"byte {line[error.start]:#04x} at column {error.start + 1} is not UTF-8"
        fault = DataError(problem, field="UTF-8", allowed="text in UTF-8")
        return RawRow(number, fault, line.decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg.removesuffix(' at')} at column {error.colno})"
        fault = DataError(problem, field="JSON", allowed="one JSON object a line")
        return RawRow(number, fault, text)
    except (RecursionError, ValueError):
        problem = "not JSON (nested too deeply, or a number too long)"
        fault = DataError(problem, field="JSON", allowed="one JSON object a line")
        return RawRow(number, fault, text)
    if not isinstance(value, dict):
        return RawRow(number, _no_object(value), value)
    return RawRow(number, _usable(value), value)


def _usable(value: dict[str, Any]) -> dict[str, Any] | DataError:
    """The row itself, unless it holds half a surrogate pair, which no file could carry on."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        problem = f"text with half a character (\\u{ord(error.object[error.start]):04x} alone)"
        return DataError(problem, field="UTF-8", allowed="whole Unicode characters")
    return value


def _csv(file: IO[bytes], progress: _Progress) -> Iterator[RawRow]:
    """Cells as text; the first line names the columns."""
    csv.field_size_limit(MAX_CELL)

    def lines() -> Iterator[str]:
        for number, line in enumerate(file, 1):
            progress(number)
            line = line.removeprefix(BOM) if number == 1 else line
            text = line.decode("utf-8", "surrogateescape")
            if number == 1:
                _check_delimiter(text)
            yield text

    table = csv.reader(lines(), strict=True)
    try:
        names = next(table, [])
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise _FileError(f"column {twice!r} stands twice in the first line")
        for cells in table:
            if not cells:
                continue
            yield RawRow(table.line_num, _cells(names, cells), cells)
    except csv.Error as error:
        fault = DataError(f"not CSV ({error})", field="CSV", allowed="cells with quotes closed")
        yield RawRow(table.line_num, fault, None)


def _check_delimiter(header: str) -> None:
    other = next((name for sign, name in DELIMITERS.items() if sign in header), None)
    if other and "," not in header:
        raise _FileError(f"the header has {other} and no comma; allowed comma-separated columns")


def _cells(names: list[str], cells: list[str]) -> TextRow | DataError:
    if len(cells) != len(names):
        problem = f"{len(cells)} cells under {len(names)} column names"
        return DataError(problem, field="CSV", allowed=f"{len(names)} cells")
    if any(
        "\udc80" <= letter <= "\udcff" for cell in cells for letter in cell if letter > "\ud7ff"
    ):
        return DataError("bytes that are not UTF-8", field="UTF-8", allowed="text in UTF-8")
    return TextRow(zip(names, cells, strict=True))


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield RawRow(number, row, row, "row")
    except (pa.ArrowException, OSError):
        raise _FileError("is not parquet, or damaged") from None
