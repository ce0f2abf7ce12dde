"""The probes: the rows of the paper's Table 18 in its order, and more of the same form.

Rules read plain English and nothing else, so they fit any post; `world.WORLD_PROBES` puts the
simulated world's own reversal of roles in place of the English one. What the paper does not state
is decided here: where rand-3 happens to be lead-3 there is no pair, a shuffle is never the order it
began with, a title said twice is joined by a space, and r/tifu becomes the sections that do not
ask for advice (`advice_request` takes others). Proof: tests/probes/test_library.py.

Source: Stiennon et al. 2020, Appendix G.6 and the caption of Table 18.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evalsuite.probes.probe import PAPER, Item, Probe, Sides, Unmade
from evalsuite.probes.roles import reverse_roles
from evalsuite.probes.text import (
    appended,
    capital,
    clauses,
    other_order,
    sentences,
    small,
    words,
)

Rng = np.random.Generator
Made = Sides | Unmade

NOT_FOR_ADVICE = ("tifu", "offmychest", "pettyrevenge", "GetMotivated", "cnn", "dailymail")
"""Sections whose posts tell something and ask for no advice; the paper took r/tifu."""

QUESTION = "What should I do?"

PADDING = (
    "Honestly I do not know what to think.",
    "This whole thing has been really hard on me.",
    "There is so much more that could be said.",
)
"""Sentences that say nothing of any post."""

MIN_WORDS = 6
"""A summary of fewer words has no half worth reading."""

NO_REFERENCE = "no reference"


def reversed_roles(item: Item, rng: Rng) -> Made:
    """The summary with the writer and another person in each other's place."""
    other = reverse_roles(item.summary)
    return Unmade("no two roles to swap") if other is None else Sides(item.summary, other)


def lead(text: str, n: int) -> str | Unmade:
    """The first n sentences."""
    found = sentences(text)
    return " ".join(found[:n]) if len(found) >= n else Unmade(f"fewer than {n} sentences")


def random_three(text: str, rng: Rng) -> list[str] | Unmade:
    """Three random sentences in the text's order."""
    found = sentences(text)
    if len(found) < 3:
        return Unmade("fewer than 3 sentences")
    kept = np.sort(rng.choice(len(found), size=3, replace=False))
    return [found[i] for i in kept.tolist()]


def lead_or_random(item: Item, rng: Rng) -> Made:
    """lead-3 against rand-3 of the post."""
    first, three = lead(item.post.text, 3), random_three(item.post.text, rng)
    if isinstance(first, Unmade) or isinstance(three, Unmade):
        return Unmade("fewer than 3 sentences")
    other = " ".join(three)
    return Unmade("the random three are the first three") if other == first else Sides(first, other)


def shuffled_three(item: Item, rng: Rng) -> Made:
    """rand-3 of the post in its order against the same sentences in another."""
    three = random_three(item.post.text, rng)
    if isinstance(three, Unmade):
        return three
    return Sides(" ".join(three), " ".join(three[i] for i in other_order(3, rng)))


def random_title(item: Item, rng: Rng) -> Made:
    """The post's title against that of any other post."""
    return _other_title(item, rng, same_section=False)


def random_title_of_section(item: Item, rng: Rng) -> Made:
    """The post's title against that of another post of its section."""
    return _other_title(item, rng, same_section=True)


def _other_title(item: Item, rng: Rng, *, same_section: bool) -> Made:
    mine, post = item.post.title, item.post
    if not mine:
        return Unmade("no title")
    if same_section and not post.section:
        return Unmade("no section")
    titles = [
        other.title
        for other in item.pool.posts
        if other.title
        and other.id != post.id
        and other.title.strip() != mine.strip()
        and (not same_section or other.section == post.section)
    ]
    if not titles:
        return Unmade("no other title of its section" if same_section else "no other title")
    return Sides(mine, titles[int(rng.integers(len(titles)))])


def title_twice(item: Item, rng: Rng) -> Made:
    """The title against the title said twice."""
    title = (item.post.title or "").strip()
    return Sides(title, f"{title} {title}") if title else Unmade("no title")


def advice_request(sections: Sequence[str] = NOT_FOR_ADVICE) -> Callable[[Item, Rng], Made]:
    """The reference against the reference and "What should I do?", on posts of some sections."""
    wanted = {section.lower() for section in sections}

    def rule(item: Item, rng: Rng) -> Made:
        if item.reference is None:
            return Unmade(NO_REFERENCE)
        if (item.post.section or "").lower() not in wanted:
            return Unmade("a section for advice, or none that is known")
        if " ".join(words(QUESTION)) in " ".join(words(item.reference)):
            return Unmade("the reference asks that already")
        return Sides(item.reference, appended(item.reference, QUESTION))

    return rule


def reference_or_lead(n: int) -> Callable[[Item, Rng], Made]:
    """The reference against the first n sentences of the post."""

    def rule(item: Item, rng: Rng) -> Made:
        first = lead(item.post.text, n)
        if item.reference is None:
            return Unmade(NO_REFERENCE)
        return first if isinstance(first, Unmade) else Sides(item.reference, first)

    return rule


def reference_or_random(item: Item, rng: Rng) -> Made:
    """The reference against three random sentences of the post."""
    three = random_three(item.post.text, rng)
    if item.reference is None:
        return Unmade(NO_REFERENCE)
    return three if isinstance(three, Unmade) else Sides(item.reference, " ".join(three))


def shuffled_clauses(item: Item, rng: Rng) -> Made:
    """The summary against its clauses in another order; marks and "and" stay where they are."""
    parts, joints = clauses(item.summary)
    if len(parts) < 2:
        return Unmade("one clause")
    if len(set(parts)) == 1:
        return Unmade("all clauses are the same")
    moved = [parts[i] for i in other_order(len(parts), rng)]
    if parts[0][:1].isupper():
        moved = [capital(moved[0]), *(small(p) if p is parts[0] else p for p in moved[1:])]
    return Sides(item.summary, "".join(p + j for p, j in zip(moved, joints, strict=True)))


def repeated_sentence(item: Item, rng: Rng) -> Made:
    """The summary against the same with one of its sentences said twice in a row."""
    found = sentences(item.summary)
    if not found:
        return Unmade("no sentence")
    at = int(rng.integers(len(found)))
    end = "" if found[at][-1] in ".!?…\"'”’)" else "."
    return Sides(item.summary, " ".join([*found[:at], found[at] + end, *found[at:]]))


def truncated(item: Item, rng: Rng) -> Made:
    """The summary against the first half of its words."""
    parts = item.summary.split()
    if len(parts) < MIN_WORDS:
        return Unmade(f"fewer than {MIN_WORDS} words")
    return Sides(item.summary, " ".join(parts[: (len(parts) + 1) // 2]))


def another_summary(item: Item, rng: Rng) -> Made:
    """The summary against that of another post."""
    others = [
        text
        for post, text in zip(item.pool.posts, item.pool.summaries, strict=True)
        if post.id != item.post.id and text.strip() != item.summary.strip()
    ]
    if not others:
        return Unmade("no other summary")
    return Sides(item.summary, others[int(rng.integers(len(others)))])


def padded(phrases: Sequence[str] = PADDING) -> Callable[[Item, Rng], Made]:
    """The summary against the same with a sentence that says nothing."""

    def rule(item: Item, rng: Rng) -> Made:
        said = " ".join(words(item.summary))
        free = [phrase for phrase in phrases if " ".join(words(phrase)) not in said]
        if not free:
            return Unmade("every phrase is in it already")
        phrase = free[int(rng.integers(len(free)))]
        return Sides(item.summary, appended(item.summary, phrase))

    return rule


PAPER_PROBES = (
    Probe(
        "original vs reversed roles", "original summary", "reversed roles",
        "the writer and another person change places", reversed_roles, source=PAPER,
    ),
    Probe(
        "lead-3 vs rand-3", "lead-3", "rand-3",
        "the first 3 sentences of the post; 3 random ones in its order", lead_or_random,
        source=PAPER,
    ),
    Probe(
        "rand-3 vs shuffled rand-3", "rand-3", "shuffled rand-3",
        "3 random sentences of the post in its order; the same in another order", shuffled_three,
        source=PAPER,
    ),
    Probe(
        "title vs random title", "post title", "random title", "the title of any other post",
        random_title, source=PAPER,
    ),
    Probe(
        "title vs random title, same section", "post title", "random title of the same section",
        "the title of another post of the subreddit or site", random_title_of_section,
        source=PAPER,
    ),
    Probe(
        "title vs title twice", "post title", "post title repeated twice",
        "the title, a space, the title", title_twice, source=PAPER,
    ),
    Probe(
        'reference vs reference + "What should I do?"', "reference",
        'reference + "What should I do?"',
        "the question added, in sections that ask for no advice", advice_request(), source=PAPER,
    ),
    Probe(
        "reference vs lead-3", "reference", "lead-3", "the first 3 sentences of the post",
        reference_or_lead(3), source=PAPER,
    ),
    Probe(
        "reference vs lead-2", "reference", "lead-2", "the first 2 sentences of the post",
        reference_or_lead(2), source=PAPER,
    ),
    Probe(
        "reference vs rand-3", "reference", "rand-3",
        "3 random sentences of the post in its order", reference_or_random, source=PAPER,
    ),
)  # fmt: skip
"""The rows of Table 18, in its order."""

FURTHER_PROBES = (
    Probe(
        "summary vs shuffled clauses", "original summary", "shuffled clauses",
        "its clauses in another order, every word kept", shuffled_clauses,
    ),
    Probe(
        "summary vs repeated sentence", "original summary", "a sentence said twice",
        "one of its sentences twice in a row", repeated_sentence,
    ),
    Probe(
        "summary vs truncated", "original summary", "truncated", "the first half of its words",
        truncated,
    ),
    Probe(
        "summary vs another post's summary", "original summary", "summary of another post",
        "the summary of another post of the set", another_summary,
    ),
    Probe(
        "summary vs padded", "original summary", "padded",
        "a sentence added that says nothing of the post", padded(),
    ),
)  # fmt: skip
"""Rows of the same form that the paper does not have."""

PROBES = (*PAPER_PROBES, *FURTHER_PROBES)
