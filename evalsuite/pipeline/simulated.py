"""Summaries that somebody sampled on the world's posts, read for the simulated labelers.

Rows have the id of a post, a policy and a text; other columns are let be. Ids are the world's
(`t3_00002s`), or those of the tables that a file of posts was loaded to (made from content): then
the file of posts must be given, which names both.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from evalsuite.datasets import load
from evalsuite.errors import DataError
from evalsuite.simulation.files import Text, world_ids

COLUMNS = {
    "post": ("post_id", "prompt_id", "id"),
    "policy": ("policy", "summary_policy"),
    "text": ("text", "summary"),
}
"""Names each of the three columns may have; the first that is there counts."""


def read_rows(path: Path) -> list[tuple[str, str, str]]:
    """Post id, policy and text of each row of a .parquet file or of JSON lines.

    Raises DataError for a file that cannot be read, or a column or value that is missing.
    """
    table = _read(path)
    columns = []
    for names in COLUMNS.values():
        found = next((name for name in names if name in table.columns), None)
        if found is None:
            raise DataError(
                f"no column {names[0]!r}", file=path.name, field=names[0],
                allowed=f"columns {', '.join('/'.join(n) for n in COLUMNS.values())}",
            )  # fmt: skip
        values = table[found].tolist()
        for line, value in enumerate(values, start=1):
            if not isinstance(value, str):
                raise DataError(
                    f"{found} is {value!r}", file=path.name, line=line, field=found,
                    allowed="a string",
                )  # fmt: skip
        columns.append(values)
    identities, policies, texts = columns
    return list(zip(identities, policies, texts, strict=True))


def read_texts(path: Path, posts: Path | None = None) -> list[Text]:
    """Summaries of simulated posts.

    posts: a file of `post_lines`, where ids are those of the tables.
    Raises DataError as `read_rows`, and for a post that is not of the world.
    """
    rows = read_rows(path)
    sources: dict[str, str] = {}
    if posts is not None:
        known = load([str(posts)]).posts
        sources = dict(zip(known["post_id"], known["source_id"], strict=True))
    ids = world_ids([identity for identity, _, _ in rows], sources)
    return [Text(post, policy, text) for post, (_, policy, text) in zip(ids, rows, strict=True)]


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_json(path, lines=True, dtype=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot be read ({error})", file=path.name, allowed=".parquet or JSON lines"
        ) from None
