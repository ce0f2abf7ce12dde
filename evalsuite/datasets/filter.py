"""The TL;DR filter of the paper's appendix A: raw Reddit posts to queries and a supervised set.

The order is the paper's, and each row is counted under the first rule that drops it:

    1 exact duplicates by body    4 titles "Edit..." / "Update..."    7 for the supervised set:
    2 comments; no TL;DR found    5 topics left out                     TL;DR "Edit/Update/P.S.",
    3 subreddits not listed       6 bodies over 512 tokens              profanity, 24 to 48 tokens

What passes 1-6 is a filtered query, what passes 7 too is in the supervised set. About 5% of posts
are held out, by a hash of the body, so a post's split never changes.

What differs from the paper. It names rules 2, 5 and 7's profanity "heuristics" and prints no
lists: the patterns below are ours. So is what counts as the TL;DR: without markdown's stars,
colons and dashes around the mark, and up to an "Edit:" or "Update:" block (see `without_edit`),
which is neither in the post nor in the TL;DR; one that starts with Edit is rule 7's. Tokens are
counted by `count_tokens`, by default pieces of a rule like GPT-2's, which splits rarer words
further: such counts are a little low. Give the command `--tokenizer gpt2` for exact ones.

Row fields, as in the Webis TL;DR corpus: `id, subreddit, title` and `body` (or `post`,
`selftext`, `content`), the TL;DR inside it or in `summary`.

Proved by tests/datasets/test_filter.py.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from evalsuite.datasets import fields
from evalsuite.errors import ConfigError, DataError

SUBREDDITS = frozenset({
    "relationships", "AskReddit", "relationship_advice", "tifu", "dating_advice",
    "personalfinance", "Advice", "legaladvice", "offmychest", "loseit", "jobs", "self", "BreakUps",
    "askwomenadvice", "dogs", "running", "pettyrevenge", "needadvice", "travel", "Parenting",
    "weddingplanning", "Pets", "Dogtraining", "cats", "AskDocs", "college", "GetMotivated",
    "books", "Cooking",
})  # fmt: skip
"""The 29 subreddits of Table 2."""

MAX_BODY_TOKENS = 512
SUMMARY_TOKENS = (24, 48)
HELD_OUT = 0.05
PROFANITY_LEVEL = 2
"""This many profane words in a TL;DR drop it from the supervised set."""

HUB_SECONDS = 5.0
"""How long the hub may take to answer before a tokenizer counts as out of reach."""

COUNT = Callable[[str], int]

_TLDR = re.compile(
    r"(?:^|[\W_])tl\s*+[;:,.\-/]?\s*dr(?![^\W_])"
    # stars after a space and before a word are that word's own
    r"(?:[\s;:,.)\]\u2013\u2014]|-(?!\d)|(?!(?<=\s)[*_~]+\w)[*_~]++)*",
    re.IGNORECASE,
)
_BEFORE = "*_~[(#>:-\u2013\u2014 \n\t"
_EDIT_BLOCK = re.compile(
    # a line that starts with Edit, Update 2, **EDIT** ... and a colon or a dash
    r"\n[\W_]{0,40}+(?i:edit(?:ed)?|update[sd]?)\b[ \t*_()\[\]#]{0,9}\d{0,3}[ \t*_()\[\]]{0,9}"
    r"(?::|[-\u2013\u2014]{1,3}\s)"
    # the same inside a line: after a sentence, or in capitals
    r"|(?:(?<=[.!?)\]*\"'])\s{1,9}[*_(\[]{0,4}(?:Edit|Update)|\s[*_(\[]{0,4}(?:EDIT|UPDATE))"
    r"[ *_#]{0,9}\d{0,3}[ *_)\]]{0,9}:"
)
_EDIT_TITLE = re.compile(r"^[\W_]*(?:edit(?:ed)?|update[sd]?)\b", re.IGNORECASE)
_EDIT_SUMMARY = re.compile(r"^[\W_]*(?:edit(?:ed)?|update[sd]?|p\.?\s?s)\b(?:\W|$)", re.IGNORECASE)
_TOPICS = re.compile(
    r"\b(?:suicid\w*|kill(?:ed|ing)? (?:my|him|her|them)sel\w+|self[- ]harm\w*"
    r"|rap(?:e[ds]?|ing|ist)|molest\w*"
    r"|incest\w*|blow ?jobs?|porn\w*|masturbat\w*|orgasm\w*|ejaculat\w*)\b",
    re.IGNORECASE,
)
_PROFANE = re.compile(
    r"\b(?:fuck\w*|shit\w*|bullshit|cunts?|dick(?:s|head)?|asshole\w*|bitch\w*|motherfuck\w*"
    r"|whores?|sluts?)\b",
    re.IGNORECASE,
)
_PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")

DUPLICATE = "1 duplicate body"
COMMENT = "2 comment, not a top-level post"
NO_TLDR = "2 no TL;DR found"
SUBREDDIT = "3 subreddit not listed"
TITLE = "4 title starts with Edit or Update"
TOPIC = "5 topic left out"
LONG = "6 body over 512 tokens"
EDIT = "7 TL;DR starts with Edit, Update or P.S."
PROFANE = "7 TL;DR profane"
SHORT_OR_LONG = "7 TL;DR not 24 to 48 tokens"
STEPS = (
    DUPLICATE, COMMENT, NO_TLDR, SUBREDDIT, TITLE, TOPIC, LONG, EDIT, PROFANE, SHORT_OR_LONG
)  # fmt: skip


class FilteredPost(NamedTuple):
    """A filtered query; `split` is "train" or "valid"."""

    id: str | None
    subreddit: str
    title: str
    post: str
    summary: str
    split: str


class Verdict(NamedTuple):
    """What became of a row: the post where it passed rules 1-6, and the rule that dropped it.

    Both: a query that is not in the supervised set. Reason None: in both sets.
    """

    post: FilteredPost | None
    reason: str | None


@dataclass
class Counts:
    """How many rows there were, how many are left, and how many each rule dropped."""

    rows: int = 0
    queries: int = 0
    supervised: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Count one row."""
        self.rows += 1
        self.queries += verdict.post is not None
        self.supervised += verdict.reason is None
        if verdict.reason is not None:
            self.dropped[verdict.reason] += 1

    def table(self) -> list[tuple[str, int, int]]:
        """Rows (rule, dropped, left) in the order of the rules."""
        left, out = self.rows, []
        for step in STEPS:
            left -= self.dropped[step]
            out.append((step, self.dropped[step], left))
        return out


def gpt2_pieces(text: str) -> int:
    """Pieces that GPT-2's rule cuts a text into before byte-pair merging: a lower bound.

    Words with the space before them, runs of digits, runs of other signs. One token a common
    English word; rarer words are more tokens than this says.
    """
    return len(_PIECES.findall(text))


def tokenizer_count(name: str) -> COUNT:
    """The token counter of a Hugging Face tokenizer, by name or folder.

    What lies here (a folder, or the cache) is taken without asking the hub. Else the hub is asked
    once, for `HUB_SECONDS` at most, before anything is downloaded: the library itself tries again
    and again where there is no network. Raises ConfigError when the tokenizer cannot be loaded.
    """
    try:
        with _quiet("huggingface_hub", "transformers"):
            tokenizer = _tokenizer(name)
    except Exception as error:  # the libraries raise many kinds, network and hub included
        raise ConfigError(f"tokenizer {name!r} cannot be loaded ({_first_line(error)})") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _tokenizer(name: str) -> Any:
    from huggingface_hub import HfApi
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except Exception:  # of many kinds, as above
        if Path(name).is_dir():
            raise
    try:
        HfApi().model_info(name, timeout=HUB_SECONDS)
    except Exception as error:
        problem = "not on this machine, and the Hugging Face hub gave none"
        raise OSError(f"{problem}: {_first_line(error)}") from None
    return AutoTokenizer.from_pretrained(name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet(*libraries: str) -> Iterator[None]:
    """Only one message is shown, ours: not each attempt of these libraries."""
    loggers = [logging.getLogger(library) for library in libraries]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def split_tldr(body: str) -> tuple[str, str] | None:
    """Post and TL;DR of a body, None where it has none.

    The last "TL;DR" (or tl dr, TLDR, tl:dr ...) divides them. Where the body starts with it, the
    TL;DR is its first paragraph and the post the rest. Stars, dashes and colons around the mark
    belong to neither; a minus before a digit and the stars of a first word do.
    """
    marks = list(_TLDR.finditer(body))
    for mark in reversed(marks):
        before, after = body[: mark.start()].strip(), body[mark.end() :].strip()
        before = before.rstrip(_BEFORE)
        if before and after:
            return before, after
        if after and not before:
            summary, _, rest = after.partition("\n\n")
            return (rest.strip(), summary.strip()) if rest.strip() else None
    return None


def without_edit(summary: str) -> str:
    """A TL;DR up to its first "Edit:" or "Update:" block, which is added later.

    A block starts on a new line with either word in any case, perhaps numbered or in bold, and a
    colon or a dash; or within a line after a sentence ("Edit:"), or anywhere in capitals ("EDIT:").
    A TL;DR that has no word before the block stays as it is.
    """
    block = _EDIT_BLOCK.search(summary)
    kept = summary[: block.start()].rstrip() if block else summary
    return kept if re.search(r"\w", kept) else summary


class Filter:
    """Judges rows one after another; remembers 8 bytes a distinct body for rule 1."""

    def __init__(self, count_tokens: COUNT = gpt2_pieces) -> None:
        self._count, self._seen = count_tokens, set[bytes]()

    def __call__(self, row: fields.Row) -> Verdict:
        """The verdict on one row. Raises DataError on a row without body or subreddit."""
        body = _body(row)
        subreddit = fields.name(row, "subreddit").removeprefix("r/")
        title = fields.text_or_none(row, "title")
        source_id = fields.name_or_none(row, "id")
        digest = hashlib.blake2b(body.encode(), digest_size=8).digest()
        if digest in self._seen:
            return Verdict(None, DUPLICATE)
        self._seen.add(digest)
        if not title or row.get("parent_id") or (source_id or "").startswith("t1_"):
            return Verdict(None, COMMENT)
        parts = _parts(row, body)
        if parts is None:
            return Verdict(None, NO_TLDR)
        post, summary = parts
        reason = _query_reason(subreddit, title, post, summary, self._count)
        if reason is not None:
            return Verdict(None, reason)
        split = "valid" if int.from_bytes(digest, "big") / 2**64 < HELD_OUT else "train"
        kept = FilteredPost(source_id, subreddit, title, post, summary, split)
        return Verdict(kept, _summary_reason(summary, self._count))


def _body(row: fields.Row) -> str:
    for key in ("body", "post", "selftext", "content"):
        if row.get(key) is not None:
            return fields.name(row, key)
    raise DataError("body is missing", field="body", allowed="body, post, selftext or content")


def _parts(row: fields.Row, body: str) -> tuple[str, str] | None:
    summary = fields.text_or_none(row, "summary")
    if not summary:
        apart = split_tldr(body)
        return (apart[0], without_edit(apart[1])) if apart is not None else None
    apart = split_tldr(body)
    return (apart[0] if apart is not None else body), without_edit(summary.strip())


def _query_reason(
    subreddit: str, title: str, post: str, summary: str, count_tokens: COUNT
) -> str | None:
    if subreddit not in SUBREDDITS:
        return SUBREDDIT
    if _EDIT_TITLE.match(title):
        return TITLE
    if any(_TOPICS.search(text) for text in (title, post, summary)):
        return TOPIC
    return LONG if count_tokens(post) > MAX_BODY_TOKENS else None


def _summary_reason(summary: str, count_tokens: COUNT) -> str | None:
    if _EDIT_SUMMARY.match(summary):
        return EDIT
    if len(_PROFANE.findall(summary)) >= PROFANITY_LEVEL:
        return PROFANE
    low, high = SUMMARY_TOKENS
    return None if low <= count_tokens(" " + summary) <= high else SHORT_OR_LONG
