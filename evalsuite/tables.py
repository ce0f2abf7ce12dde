"""The tables everything after loading works on: columns, dtypes, keys, parquet in and out.

    posts        one row a post          key post_id
    policies     one row a policy        key policy         (names parsed by datasets/release.py)
    summaries    one row a summary       key summary_id     (distinct texts of a policy on a post)
    comparisons  one row a label         key comparison_id
    ratings      one row a label x axis  key rating_id
    scores       one row a summary       key summary_id     one column a metric (made by metrics)

A column may be added by a user; those named here must be there, with these dtypes. Missing text
is None/NaN, missing numbers are NaN.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from evalsuite.errors import DataError

if TYPE_CHECKING:
    from evalsuite.experiment import Experiment

TEXT, NUMBER = "str", "float64"

SCHEMAS: dict[str, dict[str, str]] = {
    "posts": {
        "post_id": TEXT, "text": TEXT, "title": TEXT, "section": TEXT, "domain": TEXT,
        "source_id": TEXT,
    },
    "policies": {
        "policy": TEXT, "base": TEXT, "temperature": NUMBER, "top_p": NUMBER,
        "best_of_n": NUMBER, "objective": TEXT, "kl_nats": NUMBER, "method": TEXT,
        "kl_coef": NUMBER, "value_network": TEXT,
    },
    "summaries": {
        "summary_id": TEXT, "post_id": TEXT, "policy": TEXT, "text": TEXT, "chars": NUMBER,
    },
    "comparisons": {
        "comparison_id": TEXT, "post_id": TEXT, "left_id": TEXT, "right_id": TEXT,
        "left_policy": TEXT, "right_policy": TEXT, "choice": NUMBER, "strength": NUMBER,
        "labeler": TEXT, "batch": TEXT, "split": TEXT, "domain": TEXT, "item": TEXT,
    },
    "ratings": {
        "rating_id": TEXT, "post_id": TEXT, "summary_id": TEXT, "policy": TEXT, "axis": TEXT,
        "value": NUMBER, "low": NUMBER, "high": NUMBER, "labeler": TEXT, "batch": TEXT,
        "split": TEXT, "domain": TEXT,
    },
    "scores": {"summary_id": TEXT},
}  # fmt: skip
"""Required columns of each table. `comparisons.item` is the cluster of a row: the post, else the
group the data names (a prompt id), else missing."""

KEYS = {
    "posts": "post_id", "policies": "policy", "summaries": "summary_id",
    "comparisons": "comparison_id", "ratings": "rating_id", "scores": "summary_id",
}  # fmt: skip


def empty(name: str) -> pd.DataFrame:
    """A table with its columns and dtypes and no row."""
    return pd.DataFrame({c: pd.Series(dtype=d) for c, d in SCHEMAS[name].items()})


def from_columns(name: str, columns: dict[str, Iterable[object]]) -> pd.DataFrame:
    """A table from lists, in schema order and dtypes; columns left out are missing throughout."""
    frame = pd.DataFrame({c: pd.Series(list(v), dtype="object") for c, v in columns.items()})
    return coerce(name, frame)


def coerce(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with schema columns first, cast to their dtypes, missing ones added."""
    out = {c: table[c] if c in table else pd.Series(None, index=table.index) for c in SCHEMAS[name]}
    frame = pd.DataFrame(out, index=table.index).astype(SCHEMAS[name])
    rest = [c for c in table.columns if c not in frame.columns]
    return pd.concat([frame, table[rest]], axis=1) if rest else frame


def check(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table itself, once its columns and its key are found right.

    Raises DataError naming the table, the column and what is allowed.
    """
    missing = [c for c in SCHEMAS[name] if c not in table.columns]
    if missing:
        raise DataError(
            f"table {name} has no column {missing[0]!r}", field=missing[0],
            allowed=", ".join(SCHEMAS[name]),
        )  # fmt: skip
    key = KEYS[name]
    # A label without a labeler has no identity of its own: two people may have said the same.
    labelled = (
        table["labeler"].notna() if "labeler" in table.columns else pd.Series(True, table.index)
    )
    if table.loc[labelled, key].duplicated().any():
        twice = table.loc[labelled & table[key].duplicated(), key].iloc[0]
        raise DataError(f"table {name} has {key} {twice!r} twice", field=key, allowed="unique keys")
    return table


@dataclass(frozen=True)
class Source:
    """Where rows came from: name without folder, digest, format, rows read."""

    name: str
    sha256: str
    format: str
    rows: int


@dataclass(frozen=True)
class Tables:
    """All tables of one or more data sets, their sources and the rows left out by reason.

    experiment: what `evalsuite reproduce` measured of its own checkpoints, where that was run.
    """

    posts: pd.DataFrame = field(default_factory=lambda: empty("posts"))
    policies: pd.DataFrame = field(default_factory=lambda: empty("policies"))
    summaries: pd.DataFrame = field(default_factory=lambda: empty("summaries"))
    comparisons: pd.DataFrame = field(default_factory=lambda: empty("comparisons"))
    ratings: pd.DataFrame = field(default_factory=lambda: empty("ratings"))
    scores: pd.DataFrame | None = None
    experiment: Experiment | None = None
    sources: tuple[Source, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    def with_scores(self, scores: pd.DataFrame) -> Tables:
        """The same tables with a score table (one row a summary, one column a metric)."""
        return replace(self, scores=check("scores", scores))

    def domains(self) -> list[str]:
        """Domains of the labels: "tldr", then most labels first; [""] where no label names one."""
        labels = pd.concat([self.comparisons["domain"], self.ratings["domain"]])
        found = labels if len(labels) else self.posts["domain"]
        names = list(found.fillna("").value_counts().index) or [""]
        return sorted(names, key=lambda name: name != "tldr")

    def of_domain(self, domain: str) -> Tables:
        """The tables cut down to one domain: TL;DR and news share policies, not difficulty."""
        comparisons = self.comparisons[self.comparisons["domain"].fillna("") == domain]
        ratings = self.ratings[self.ratings["domain"].fillna("") == domain]
        posts = self.posts[self.posts["domain"].fillna("") == domain]
        used = pd.concat([comparisons["left_id"], comparisons["right_id"], ratings["summary_id"]])
        mine = self.summaries["summary_id"].isin(used)
        mine |= self.summaries["post_id"].isin(posts["post_id"])
        return replace(
            self,
            posts=posts,
            summaries=self.summaries[mine],
            comparisons=comparisons,
            ratings=ratings,
        )

    def sides(self, columns: Iterable[str], rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """Comparisons with `left_X`, `right_X` for each X of the summaries and scores tables.

        rows: a subset of the comparisons table; all by default. The index is kept.
        """
        rows = self.comparisons if rows is None else rows
        known = self.summaries.set_index("summary_id")
        if self.scores is not None:
            scores = self.scores.set_index("summary_id")
            known = known.join(scores.drop(columns=known.columns.intersection(scores.columns)))
        columns = list(columns)
        out = rows.copy()
        for side in ("left", "right"):
            values = known[columns].reindex(rows[f"{side}_id"])
            for column in columns:
                out[f"{side}_{column}"] = values[column].to_numpy()
        return out


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Run `write(temporary path)` and put the file at `path` only when it succeeded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table as parquet, atomically."""
    write_atomically(path, lambda temporary: table.to_parquet(temporary, index=False))


def read_parquet(name: str, path: Path) -> pd.DataFrame:
    """Read and check a table written by `write_parquet`."""
    return check(name, coerce(name, pd.read_parquet(path)))
