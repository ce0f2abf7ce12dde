"""Tables to training examples: tokens of posts and summaries, their splits, what is left out.

    sft_examples   prompt and reference completion, one example a distinct reference
    pair_examples  prompt and two completions with the share of the preference, one a label
    ppo_prompts    prompts alone, one a post, with the reference where there is one

All three render through `evalsuite.models.prompts.Prompter`, so what is trained is what is scored
and sampled. A post is tokenised once however many labels it has, and so is a summary; examples of
one post share the same list of prompt tokens, which scoring and packing make use of.

A row keeps the split its data states. Where nothing is stated, a post falls into `train`, `valid1`
(for choosing between runs) or `valid2` (for final numbers) by a hash of its id: the same in every
file, order and machine. A training row whose post stands in a held-out split elsewhere in the
same tables is left out. A limit takes the examples of smallest hash, so a smaller training set is
part of a larger one. Proved by tests/trainers/test_sequences.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeGuard, TypeVar, cast

import pandas as pd

from evalsuite.errors import ConfigError, DataError
from evalsuite.records import REFERENCE_POLICY, Post, content_id
from evalsuite.tables import Tables

if TYPE_CHECKING:
    from evalsuite.models.prompts import Prompter

TRAIN, VALID1, VALID2 = "train", "valid1", "valid2"

NO_POST = "no post text"
NO_TEXT = "no summary text"
EMPTY = "empty summary"
IDENTICAL = "identical texts"
IDENTICAL_CUT = "identical texts after truncation"
NO_CHOICE = "no choice"
LEAK = "training row of a post that a held-out split has"
NO_FORMAT = "no prompt format for domain"

Progress = Callable[[int, int], None]
"""Called with examples tokenised and examples in all."""


class SFTExample(NamedTuple):
    """A post and a summary to imitate: tokens (the completion ends in EOS) and texts."""

    id: str  # of the reference summary
    post: Post
    split: str
    prompt: list[int]
    completion: list[int]
    reference: str


class PairExample(NamedTuple):
    """One label: two completions of a prompt, each with its EOS, and who said what of them.

    target: share of the preference that goes to the right summary, 0.5 a tie. strength: 1 to 4
    or None. policies, texts, chars (lengths in characters): left, then right.
    """

    id: str  # of the comparison
    post: Post
    split: str
    prompt: list[int]
    left: list[int]
    right: list[int]
    target: float
    strength: int | None
    batch: str | None
    labeler: str | None
    policies: tuple[str, str]
    texts: tuple[str, str]

    @property
    def chars(self) -> tuple[int, int]:
        """Lengths in characters."""
        return len(self.texts[0]), len(self.texts[1])


class PromptExample(NamedTuple):
    """A post to write a summary of; `id` (the post's) keys the sampling noise."""

    id: str
    post: Post
    split: str
    tokens: list[int]
    reference: str | None


class _Splittable(Protocol):
    @property
    def split(self) -> str: ...


E = TypeVar("E", bound=_Splittable)


@dataclass(frozen=True)
class Examples(Generic[E]):
    """Examples in the order of their table, and the rows left out by reason.

    `what` names them in errors.
    """

    rows: tuple[E, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    what: str = "example"

    def of(self, *splits: str) -> list[E]:
        """The examples of these splits. Raises DataError where there is none."""
        found = [row for row in self.rows if row.split in splits]
        if not found:
            raise DataError(
                f"no {self.what} of split {' or '.join(splits)}", field="split", allowed=self._has()
            )
        return found

    def splits(self) -> dict[str, int]:
        """Examples of each split, by name."""
        return dict(sorted(Counter(row.split for row in self.rows).items()))

    def _has(self) -> str:
        has = ", ".join(f"{name} ({count:,})" for name, count in self.splits().items())
        return has or "none: " + _reasons(self.left_out)


def sft_examples(
    tables: Tables,
    prompter: Prompter | Mapping[str, Prompter],
    *,
    held_out: float = 0.1,
    limits: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Examples[SFTExample]:
    """Supervised examples: each post with each distinct reference summary of it.

    held_out: share of the posts without a stated split that are not for training, half of them
    `valid1`, half `valid2`. limits: the most examples of a split, by split name.

    Raises DataError when no example is left, saying why each was left out; ConfigError on a
    share or limit out of range.
    """
    references = tables.summaries[tables.summaries["policy"] == REFERENCE_POLICY]
    work = _Work(tables, prompter, held_out, limits)
    kept: list[tuple[str, str, str, str]] = []
    for row in references.itertuples():
        post_id, text = _text(row.post_id), _text(row.text)
        if work.usable(post_id) and work.filled(text):
            kept.append((str(row.summary_id), post_id, work.split_of(post_id), text))
    examples = []
    for id_, post_id, split, text in _counted(work.limited(kept), progress):
        completion = work.completion(post_id, text)
        prompt = work.prompt(post_id)
        examples.append(SFTExample(id_, work.posts[post_id], split, prompt, completion, text))
    return work.done(examples, "reference summary", "posts with reference summaries")


def pair_examples(
    tables: Tables,
    prompter: Prompter | Mapping[str, Prompter],
    *,
    held_out: float = 0.1,
    limits: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Examples[PairExample]:
    """Labelled pairs: each comparison whose post and two different summaries are known.

    Arguments and errors as for `sft_examples`. Left out and counted: labels without a post text,
    a summary text or a choice, with an empty summary, with two texts that are the same (also: the
    same once cut to the longest completion), and training labels of posts held out elsewhere.
    """
    work = _Work(tables, prompter, held_out, limits)
    rows = tables.sides(["text"])
    kept: list[tuple[str, str, str, Any, str, str]] = []
    for row in rows.itertuples():
        post_id = _text(row.post_id)
        if not work.usable(post_id):
            continue
        left, right = _text(row.left_text), _text(row.right_text)
        if not (work.filled(left) and work.filled(right)):
            continue
        stated = _text(row.split)
        split = stated or work.split_of(post_id)
        if isnan(cast(float, row.choice)):
            work.left_out[NO_CHOICE] += 1
        elif left == right:
            work.left_out[IDENTICAL] += 1
        elif split == TRAIN and work.split_of(post_id) != TRAIN:
            work.left_out[LEAK] += 1
        else:
            kept.append((str(row.comparison_id), post_id, split, row, left, right))
    examples = []
    for id_, post_id, split, row, left_text, right_text in _counted(work.limited(kept), progress):
        tokens = work.completion(post_id, left_text), work.completion(post_id, right_text)
        if tokens[0] == tokens[1]:
            work.left_out[IDENTICAL_CUT] += 1
            continue
        examples.append(
            PairExample(
                id_, work.posts[post_id], split, work.prompt(post_id), *tokens,
                target=float(row.choice),
                strength=None if pd.isna(row.strength) else int(row.strength),
                batch=_text(row.batch), labeler=_text(row.labeler),
                policies=(str(row.left_policy), str(row.right_policy)),
                texts=(left_text, right_text),
            )
        )  # fmt: skip
    return work.done(examples, "pair", "comparisons of two texts, in files that hold their posts")


def ppo_prompts(
    tables: Tables,
    prompter: Prompter | Mapping[str, Prompter],
    *,
    held_out: float = 0.1,
    limits: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Examples[PromptExample]:
    """Prompts to sample from: each post once, with its first reference summary where it has one.

    Arguments and errors as for `sft_examples`; a post without reference is kept, for a reward
    model needs none.
    """
    work = _Work(tables, prompter, held_out, limits)
    references = first_references(tables)
    kept = [
        (post_id, post_id, work.split_of(post_id)) for post_id in work.posts if work.usable(post_id)
    ]
    examples = [
        PromptExample(id_, work.posts[id_], split, work.prompt(id_), references.get(id_))
        for id_, _, split in _counted(work.limited(kept), progress)
    ]
    return work.done(examples, "prompt", "posts with text")


def first_references(tables: Tables) -> dict[str, str]:
    """The first non-empty reference summary of each post, by post id."""
    of_people = tables.summaries[tables.summaries["policy"] == REFERENCE_POLICY]
    found: dict[str, str] = {}
    for post_id, text in zip(of_people["post_id"], of_people["text"], strict=True):
        if _text(post_id) is not None and _text(text):
            found.setdefault(post_id, text)
    return found


def post_splits(tables: Tables, *, held_out: float = 0.1) -> dict[str, str]:
    """The split of each post: the one stated for it, else one by hash of its id.

    Stated is what the comparisons, the ratings or a column `split` of the posts say. Of several
    stated splits the first held-out one in order of name counts: a post in `train` and `valid1`
    is not for training.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"held_out is {held_out:g}; allowed 0 up to, not including, 1")
    stated: dict[str, set[str]] = {}
    for table in (tables.posts, tables.comparisons, tables.ratings):
        if "split" in table.columns:
            known = table[table["split"].notna() & table["post_id"].notna()]
            pairs = known[["post_id", "split"]].drop_duplicates()
            for post_id, split in zip(pairs["post_id"], pairs["split"], strict=True):
                stated.setdefault(post_id, set()).add(split)
    splits = {}
    for post_id in tables.posts["post_id"]:
        names = stated.get(post_id)
        splits[post_id] = _held_out(names) if names else _hashed(post_id, held_out)
    return splits


def _held_out(names: set[str]) -> str:
    return min(names - {TRAIN}, default=TRAIN)


def _hashed(post_id: str, held_out: float) -> str:
    place = _share(content_id("split", post_id))
    if place >= held_out:
        return TRAIN
    return VALID1 if place < held_out / 2 else VALID2


def _share(digest: str) -> float:
    """A 64-bit hexadecimal id as a number from 0 up to, not including, 1."""
    return int(digest, 16) / 2.0**64


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _reasons(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} with {reason}" for reason, count in left_out.items()) or "no row"


R = TypeVar("R", bound=tuple[Any, ...])


def _counted(rows: Sequence[R], progress: Progress | None) -> Iterator[R]:
    for done, row in enumerate(rows, start=1):
        yield row
        if progress is not None:
            progress(done, len(rows))


class _Work:
    """One pass over tables: posts as records, what was tokenised, what was left out."""

    def __init__(
        self, tables: Tables, prompter: Prompter | Mapping[str, Prompter], held_out: float,
        limits: Mapping[str, int] | None,
    ) -> None:  # fmt: skip
        self.left_out: Counter[str] = Counter()
        self.posts = {str(row.post_id): _post(row) for row in tables.posts.itertuples() if row.text}
        self._splits = post_splits(tables, held_out=held_out)
        self._prompter = prompter
        self._limits = dict(limits or {})
        for split, most in self._limits.items():
            if most < 1:
                raise ConfigError(f"limit of split {split} is {most}; allowed 1 or more")
        self._prompts: dict[str, list[int]] = {}
        self._completions: dict[tuple[int, str], list[int]] = {}

    def split_of(self, post_id: str) -> str:
        return self._splits[post_id]

    def usable(self, post_id: str | None) -> TypeGuard[str]:
        """Whether the post has a text and its domain a prompter; counts it where not."""
        post = self.posts.get(post_id) if post_id is not None else None
        if post is None:
            self.left_out[NO_POST] += 1
        elif self._of(post) is None:
            self.left_out[f"{NO_FORMAT} {post.domain}"] += 1
        else:
            return True
        return False

    def filled(self, text: str | None) -> TypeGuard[str]:
        """Whether there is a text at all and in it; counts it where not."""
        if not text:
            self.left_out[NO_TEXT if text is None else EMPTY] += 1
        return bool(text)

    def limited(self, rows: list[R]) -> list[R]:
        """At most the limit's number of rows of each split, those of smallest hash, in order.

        A row begins with its id, the post's id and the split.
        """
        if not self._limits:
            return rows
        order = sorted(range(len(rows)), key=lambda at: content_id("limit", rows[at][0]))
        taken: Counter[str] = Counter()
        kept = []
        for at in order:
            split = rows[at][2]
            if taken[split] < self._limits.get(split, len(rows)):
                taken[split] += 1
                kept.append(at)
        return [rows[at] for at in sorted(kept)]

    def prompt(self, post_id: str) -> list[int]:
        if post_id not in self._prompts:
            post = self.posts[post_id]
            prompter = self._of(post)
            assert prompter is not None
            self._prompts[post_id] = prompter.prompt(post)
        return self._prompts[post_id]

    def completion(self, post_id: str, text: str) -> list[int]:
        prompter = self._of(self.posts[post_id])
        assert prompter is not None
        key = (id(prompter), text)
        if key not in self._completions:
            self._completions[key] = prompter.completion(text)
        return self._completions[key]

    def done(self, examples: list[E], what: str, allowed: str) -> Examples[E]:
        if not examples:
            problem = f"no {what} to train on is left: {_reasons(self.left_out)}"
            raise DataError(problem, allowed=allowed)
        return Examples(tuple(examples), dict(self.left_out), what)

    def _of(self, post: Post) -> Prompter | None:
        if isinstance(self._prompter, Mapping):
            return self._prompter.get(post.domain)
        return self._prompter


def _post(row: Any) -> Post:
    return Post(row.text, _text(row.title), _text(row.section), row.domain, _text(row.source_id))
