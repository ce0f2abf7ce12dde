"""Files of a run's folder, read as the things that steps work on.

Posts have two ids: the tables' own (made from content; samples and prompts go by it) and the one
their source gave them (`Post.source_id`, by which the simulated world knows its facts).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalsuite.datasets import load
from evalsuite.errors import DataError
from evalsuite.records import REFERENCE_POLICY, Post
from evalsuite.tables import Tables


class PostFile(NamedTuple):
    """Posts of a file in its order, by their id, with their references where they have one."""

    posts: dict[str, Post]
    references: dict[str, str]
    tables: Tables


def read_posts(path: str | Path) -> PostFile:
    """Posts and references of a file. Raises DataError for a post without text."""
    tables = load([str(path)])
    posts = {}
    for row in tables.posts.itertuples():
        if not isinstance(row.text, str) or not row.text:
            raise DataError("a post has no text", file=Path(path).name, allowed="posts with text")
        posts[str(row.post_id)] = Post(
            row.text, given(row.title), given(row.section), given(row.domain) or "tldr",
            given(row.source_id),
        )  # fmt: skip
    of_people = tables.summaries[tables.summaries["policy"] == REFERENCE_POLICY]
    references = dict(zip(of_people["post_id"], of_people["text"], strict=True))
    return PostFile(posts, references, tables)


def device() -> str:
    """Where models of a step work: the GPU, where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def given(value: object) -> str | None:
    """A text that says something, else None: a missing and an empty field are one."""
    return value if isinstance(value, str) and value else None


def below(value: Any, folder: Path) -> Any:
    """Settings with `@/` replaced by the run's folder, whatever they are nested in."""
    if isinstance(value, str):
        return value.replace("@/", f"{folder}/")
    if isinstance(value, Mapping):
        return {key: below(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [below(inner, folder) for inner in value]
    return value
