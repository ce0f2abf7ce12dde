"""What a probe is: two texts on one post, of which the first should win, made by a rule.

    Item    a post, its summary, its reference, and the other posts of the same set
    Probe   a row of Table 18, or one beyond it: its two sides in words and the rule that makes them
    Pair    the two texts that a rule made of an item
    Unmade  why it could not

A rule returns its sides or the reason, and `make` refuses sides that are empty or alike, so no pair
stands in a table that its edit did not change. Random choices depend on the seed, the probe's name
and the post's id alone: a pair is the same whatever else is built, in whatever order.

A new probe is one more `Probe`; nothing else changes. Proof: tests/probes/test_probe.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from evalsuite.errors import DataError
from evalsuite.records import Post, content_id

PAPER = "Table 18"
BEYOND = "beyond the paper"


class Pair(NamedTuple):
    """Two texts on a post; a should win. labelers: share of labels on file for a, if any."""

    probe: str
    post: Post
    a: str
    b: str
    labelers: float = math.nan


class Unmade(NamedTuple):
    """Why a rule made no pair of an item."""

    reason: str


class Sides(NamedTuple):
    """The two texts that a rule made; a should win."""

    a: str
    b: str


@dataclass(frozen=True)
class Pool:
    """The posts of a set with their summaries, by post id: where other titles are drawn from."""

    posts: tuple[Post, ...]
    summaries: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """What a probe edits.

    summary: the "original summary" of the paper, a reference or a supervised sample. reference: the
    post's reference, None where there is none. pool: the set that the item is of.
    """

    post: Post
    summary: str
    reference: str | None
    pool: Pool


@dataclass(frozen=True)
class Probe:
    """An edit of known direction.

    name: its row in tables. a, b: the sides in words, as in the paper's table. about: what the rule
    does. expected: "a" where a should win, "equal" where nothing should change. source: `PAPER` or
    `BEYOND`. rule: the sides of an item, or why there are none.
    """

    name: str
    a: str
    b: str
    about: str
    rule: Callable[[Item, np.random.Generator], Sides | Unmade]
    expected: Literal["a", "equal"] = "a"
    source: str = BEYOND


def items_of(
    posts: Sequence[Post], summaries: Sequence[str], references: Sequence[str | None] | None = None
) -> list[Item]:
    """Items of n posts with the summary and reference of each; they are each other's pool.

    references: where not given, the summaries are the references.
    Raises DataError on lists of different lengths or a post that comes twice.
    """
    given = list(summaries) if references is None else list(references)
    if not len(posts) == len(summaries) == len(given):
        raise DataError(
            f"{len(posts)} posts, {len(summaries)} summaries, {len(given)} references",
            allowed="one of each for every post",
        )
    order = sorted(range(len(posts)), key=lambda i: posts[i].id)
    pool = Pool(tuple(posts[i] for i in order), tuple(summaries[i] for i in order))
    if len({post.id for post in posts}) < len(posts):
        raise DataError("a post comes twice", field="posts", allowed="one summary a post")
    return [
        Item(post, summary, reference, pool)
        for post, summary, reference in zip(posts, summaries, given, strict=True)
    ]


def rng_of(seed: int, probe: str, post: Post) -> np.random.Generator:
    """The generator of one probe on one post."""
    return np.random.default_rng(int(content_id("probe", seed, probe, post.id), 16))


def make(probe: Probe, item: Item, rng: np.random.Generator) -> Pair | Unmade:
    """The pair that a probe makes of an item, or why there is none."""
    sides = probe.rule(item, rng)
    if isinstance(sides, Unmade):
        return sides
    a, b = sides.a.strip(), sides.b.strip()
    if not a or not b:
        return Unmade("an empty text")
    if a == b:
        return Unmade("the edit changed nothing")
    return Pair(probe.name, item.post, a, b)
