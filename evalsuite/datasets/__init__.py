"""Files of labels to `Tables`: `load` finds the format of each file and adds its rows.

One module a format knows that format's raw field names, and nothing else does. To add a format,
write a module with `FIELDS`, `recognises(row)` and `add(row, builder)` and name it in `FORMATS`;
the order there is the order of asking. Proved by tests/datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from evalsuite.datasets import alpaca_eval, fields, files, hub, own, pairs, posts, release, summeval
from evalsuite.datasets.build import Builder
from evalsuite.datasets.choices import parse_choices
from evalsuite.datasets.files import RawRow
from evalsuite.datasets.own import parse_map
from evalsuite.datasets.release import PolicyName, parse_policy
from evalsuite.errors import ConfigError, DataError
from evalsuite.tables import Source, Tables

if TYPE_CHECKING:
    from rich import progress as rich_progress

__all__ = [
    "FORMATS",
    "NoRowLeftError",
    "PolicyName",
    "Report",
    "load",
    "parse_choices",
    "parse_map",
    "parse_policy",
]

FORMATS: dict[str, ModuleType] = {
    "release": release,
    "own": own,
    "pairs": pairs,
    "posts": posts,
    "summeval": summeval,
    "alpaca_eval": alpaca_eval,
}

KNOWN = (
    f"those of {', '.join(FORMATS)} (`evalsuite data check --help` lists them), or your own "
    "columns through --map"
)

Report = Callable[[str, int, int], None]
"""Called now and then with the file's name, the bytes read so far and the bytes of all files."""


def load(
    paths: str | Path | Iterable[str | Path],
    *,
    format: str = "auto",
    field_map: Mapping[str, str] | None = None,
    choice_map: Mapping[Any, str] | None = None,
    on_error: Literal["raise", "skip"] | str = "raise",
    rejected_path: str | Path | None = None,
    progress: Report | rich_progress.Progress | None = None,
) -> Tables:
    """Read labels from files, folders or Hugging Face ids, put together into one set of tables.

    format: a key of `FORMATS`, or "auto" to tell it from each file's first row. field_map: {our
    field: your column} and choice_map {your value: "left", "right" or "tie"} are for your own data
    (see `own` and `choices`); a choice map that no row uses is an error. on_error: "raise" stops
    at the first bad row; "skip" goes on, counts the refused rows in `left_out` and, where
    `rejected_path` is given, writes them there as JSON lines {file, line, reason, row}. The file
    is only made when a row was refused. progress: a function (see `Report`), or a rich progress
    display, which gets one task.

    Labels that one labeler gave twice are dropped and counted, and so is a file whose very bytes
    came before: labels without a labeler cannot be told apart otherwise. In a folder, files of no
    known format are passed over and counted.

    Raises DataError (file:line, field, value, what is allowed), its kind `NoRowLeftError` when all
    rows were refused, and ConfigError (a bad argument).
    """
    if format != "auto" and format not in FORMATS:
        raise ConfigError(f"format is {format!r}; allowed auto, {', '.join(FORMATS)}")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error is {on_error!r}; allowed raise or skip")
    for map_, name in ((field_map, "field"), (choice_map, "choice")):
        if map_ and format not in ("auto", "own"):
            problem = f"a {name} map is for your own data; format is {format!r}, allowed own"
            raise ConfigError(problem)
    many = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not many:
        raise ConfigError("no path to load; allowed one or more")
    loader = _Loader(format, own.Reader(field_map, choice_map), on_error == "skip")
    try:
        loader.read(many, reporting(progress))
    finally:
        if rejected_path is not None and loader.refused:
            files.write_refused(Path(rejected_path), loader.refused)
    if loader.builder.empty:
        raise loader.nothing(many)
    if (unused := loader.own.coding.unused()) is not None:
        raise unused
    return loader.builder.tables(loader.sources)


class NoRowLeftError(DataError):
    """Every row was refused: says why the first was; `tables` has no row, but all the counts."""

    def __init__(self, refused: list[files.Refused], tables: Tables) -> None:
        first, self.tables = refused[0].error, tables
        many = f"; all {len(refused):,} rows were refused" if len(refused) > 1 else ""
        problem, allowed = first.problem, first.allowed + many if first.allowed else ""
        super().__init__(
            problem if allowed else problem + many, file=first.file, line=first.line,
            field=first.field, allowed=allowed,
        )  # fmt: skip


class _Loader:
    """One call of `load`: what was read so far."""

    def __init__(self, format: str, own_reader: own.Reader, skip: bool) -> None:
        self.own, self.mapped, self.skip = own_reader, own_reader.mapped, skip
        self.format = "own" if self.mapped else format
        self.builder = Builder()
        self.sources: list[Source] = []
        self.refused: list[files.Refused] = []
        self.unknown = False

    def read(self, paths: list[str | Path], report: Report | None) -> None:
        """Read every file behind the paths."""
        found: list[tuple[Path, bool]] = []
        for path in paths:
            if hub.is_id(str(path)) and not Path(path).exists():
                self._hub(str(path))
            else:
                inside = files.expand(Path(path))
                found += [(file, Path(path).is_dir()) for file in inside]
        total = sum(path.stat().st_size for path, _ in found)
        done, seen = 0, set()
        for path, in_folder in found:
            start = done

            def tell(read: int, name: str = path.name, start: int = start) -> None:
                if report is not None:
                    report(name, start + read, total)

            sha256 = files.digest(path)
            if sha256 in seen:
                self.builder.left_out[f"file with the bytes of another ({path.name})"] += 1
            else:
                seen.add(sha256)
                self._rows(path.name, files.rows(path, tell), sha256, in_folder)
            done += path.stat().st_size
            tell(done - start)

    def _hub(self, name: str) -> None:
        rows = hub.HubRows(name)
        self._rows(name, rows, rows, in_folder=False)

    def _rows(
        self, name: str, rows: Iterable[RawRow], sha256: str | hub.HubRows, in_folder: bool
    ) -> None:
        format, count = self.format, 0
        for row in rows:
            count, data = count + 1, row.data
            try:
                if isinstance(data, DataError):
                    raise data
                if format == "auto":
                    found = _detect(data)
                    if found is None and in_folder:
                        self.builder.left_out[f"file of no known format ({name})"] += 1
                        self.unknown = True
                        return
                    if found is None:
                        raise _unknown(data)
                    format = found
                self._add(format, data)
            except DataError as error:
                placed = row.place(error, name)
                if not self.skip:
                    raise placed from None
                self.refused.append(files.Refused(placed, row.raw))
                self.builder.left_out[f"refused: {error.field or error.problem}"] += 1
        if (misread := self.own.coding.misread()) is not None:
            raise misread.at(name, None)
        if count == 0 and not self.skip:
            raise DataError("file has no row", file=name, allowed="at least one row")
        if count == 0:
            self.builder.left_out[f"file without a row ({name})"] += 1
        digest = sha256 if isinstance(sha256, str) else sha256.sha256
        self.sources.append(Source(name, digest, format, count))

    def _add(self, format: str, data: dict[str, Any]) -> None:
        try:
            if format == "own":
                self.own.add(data, self.builder)
            else:
                FORMATS[format].add(data, self.builder)
        except DataError:
            other = None if self.mapped else _detect(data)
            if other is None or other == format:
                raise
            problem = f"a row of format {other} among rows of format {format}"
            raise DataError(problem, field="format", allowed="one format a file") from None

    def nothing(self, paths: list[str | Path]) -> DataError:
        """The error for files in which no row could be kept."""
        if self.refused:
            return NoRowLeftError(self.refused, self.builder.tables(self.sources))
        if not self.unknown and not any(source.rows for source in self.sources):
            names = ", ".join(source.name for source in self.sources)
            problem = "file has no row" if len(self.sources) == 1 else "files have no row"
            return DataError(problem, file=names, allowed="at least one row")
        names = ", ".join(Path(path).name for path in paths)
        return DataError("no row of a known format", file=names, allowed=KNOWN)


def reporting(progress: Report | rich_progress.Progress | None) -> Report | None:
    """The function behind a `progress` argument; a rich display gets a task of its own."""
    if progress is None:
        return None
    from rich.progress import Progress

    if not isinstance(progress, Progress):
        return progress
    display = progress
    task = display.add_task("loading", total=None)

    def report(name: str, done: int, total: int) -> None:
        text = f"loading {name} (kB)"
        display.update(task, description=text, completed=done // 1000, total=total // 1000)

    return report


def _detect(row: dict[str, Any]) -> str | None:
    return next((name for name, module in FORMATS.items() if module.recognises(row)), None)


def _unknown(row: dict[str, Any]) -> DataError:
    problem = f"fields of no known format ({fields.columns(row)})"
    return DataError(problem, field="format", allowed=KNOWN)
