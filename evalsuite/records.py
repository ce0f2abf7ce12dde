"""What people labelled: posts, summaries, comparisons of two summaries, ratings of one.

Records are frozen and checked once, here, when a loader makes them; the rest of the suite works
on the tables of `evalsuite.tables`, which are made from records. Ids are made from content, so
the same text gets the same id in every file, run and machine.

A record knows nothing of files: it raises `DataError` without a place, and the loader adds it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

from evalsuite.errors import DataError

REFERENCE_POLICY = "reference_summary"
"""Policy of the summary a person wrote with the post (`ref` in the OpenAI release)."""

MAX_SHOWN = 60


def shown(value: object) -> str:
    """A value as an error message shows it: repr, cut to `MAX_SHOWN` characters."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def content_id(*parts: object) -> str:
    """A 16-hex-digit id of `parts`, the same on every machine; None differs from ''."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = b"\x00" if part is None else b"\x01" + str(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def refuse(field: str, value: object, allowed: str) -> DataError:
    """The error for a field whose value is not allowed."""
    return DataError(f"{field} is {shown(value)}", field=field, allowed=allowed)


def _require_text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise refuse(field, value, "a non-empty string")


def _require_text_or_none(field: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise refuse(field, value, "a string or nothing")


def _require_number(field: str, value: object, low: float, high: float) -> None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or math.isnan(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        raise refuse(field, value, f"a number from {low:g} to {high:g}")


@dataclass(frozen=True)
class Post:
    """A text to be summarised. `source_id` is the id the data came with, if any."""

    text: str
    title: str | None = None
    section: str | None = None  # subreddit, or the news site
    domain: str = "tldr"  # "tldr", "cnndm", or the user's own word
    source_id: str | None = None

    def __post_init__(self) -> None:
        _require_text("post", self.text)
        _require_text("domain", self.domain)
        for field in ("title", "section", "source_id"):
            _require_text_or_none(field, getattr(self, field))

    @cached_property
    def id(self) -> str:
        """From the text and title alone: two files that name one post differently share it."""
        return content_id("post", self.text, self.title)


@dataclass(frozen=True)
class Summary:
    """A summary by a policy; `post_id` is None where the data does not say of what.

    `text` is stripped of surrounding white space (the release's leading space is an artefact of
    tokenisation). Data that comes without texts gives `chars`, the length in characters.
    """

    policy: str
    text: str | None
    post_id: str | None = None
    chars: int | None = None

    def __post_init__(self) -> None:
        _require_text("policy", self.policy)
        _require_text_or_none("summary text", self.text)
        if self.text is None:
            _require_number("chars", self.chars, 0, math.inf)
        else:
            object.__setattr__(self, "text", self.text.strip())
            object.__setattr__(self, "chars", len(self.text))

    @cached_property
    def id(self) -> str:
        """From post, policy and stripped text (or length, where there is no text)."""
        return content_id("summary", self.post_id, self.policy, self.text, self.chars)


@dataclass(frozen=True)
class Comparison:
    """One answer to "which of two summaries of a post is better?".

    choice: share of the preference that goes to the right summary: 0 left, 1 right, 0.5 a tie,
    anything between a soft preference. strength: 1 (barely) to 4 (surely), the distance of the
    9-point answer from its middle; None where nobody asked.
    """

    left: Summary
    right: Summary
    choice: float
    labeler: str | None = None
    batch: str | None = None
    split: str | None = None
    strength: int | None = None
    group: str | None = None  # the item it belongs to where there is no post (a prompt id)

    def __post_init__(self) -> None:
        _require_number("choice", self.choice, 0, 1)
        if self.left.post_id != self.right.post_id:
            raise DataError("the two summaries are of different posts", field="post")
        for field in ("labeler", "batch", "split", "group"):
            _require_text_or_none(field, getattr(self, field))
        if self.strength is not None:
            _require_number("strength", self.strength, 1, 4)

    @cached_property
    def id(self) -> str:
        """From everything but batch and split: the release holds one batch under two names."""
        return content_id(
            "comparison", self.left.id, self.right.id, self.choice, self.labeler,
            self.strength, self.group,
        )  # fmt: skip


@dataclass(frozen=True)
class Rating:
    """One answer to "how good is this summary on this axis?", on a scale of low to high."""

    summary: Summary
    axis: str
    value: float
    labeler: str | None = None
    batch: str | None = None
    split: str | None = None
    scale: tuple[float, float] = (1.0, 7.0)

    def __post_init__(self) -> None:
        _require_text("axis", self.axis)
        _require_number(f"axes.{self.axis}", self.value, *self.scale)
        for field in ("labeler", "batch", "split"):
            _require_text_or_none(field, getattr(self, field))

    @cached_property
    def id(self) -> str:
        """From everything but batch and split, as for comparisons."""
        return content_id("rating", self.summary.id, self.axis, self.value, self.labeler)
