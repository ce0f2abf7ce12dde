"""Sentences and clauses of a text by rule, and how an addition takes on a text's manner.

Rules are for English written anyhow: posts without capitals, titles, the simulated world's text.
They need no model and no data, so a probe is the same on every machine.
Proof: tests/probes/test_text.py.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

_STOP = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|\n+")
_TITLE = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e"}
"""Abbreviations after which a sentence goes on."""
_CLOCK = {"a.m", "p.m", "u.s", "u.k", "approx", "jr", "sr"}
"""Abbreviations after which a sentence goes on unless a capital follows."""
_JOINT = re.compile(r"[.!?;,]+\s+(?:(?:and|but)\s+)?|\s+(?:and|but)\s+", re.IGNORECASE)
_ENDING = re.compile(r"[\s.!?;,]*$")


def sentences(text: str) -> list[str]:
    """Sentences of a text, stripped, in order; their words are all words of the text.

    A sentence ends at a run of . ! ? (with closing quotes or brackets) before white space, or at a
    line break, but not after a title or an abbreviation. Lower-case text is split all the same.
    """
    cuts = [0, *(m.end() for m in _STOP.finditer(text) if _ends(text, m)), len(text)]
    parts = (text[a:b].strip() for a, b in pairwise(cuts))
    return [part for part in parts if any(c.isalnum() for c in part)]


def _ends(text: str, mark: re.Match[str]) -> bool:
    if mark[0] != ".":
        return True
    before = text[: mark.start()].split()
    word = before[-1].lstrip("(\"'“‘").lower() if before else ""
    if word in _TITLE:
        return False
    initial = len(word) == 1 and before[-1].isupper() and word != "i"
    after = text[mark.end() :].lstrip()
    return not (initial or (word in _CLOCK and not after[:1].isupper()))


def clauses(text: str) -> tuple[list[str], list[str]]:
    """Clauses of a text and the joints after each: text == c0 + j0 + c1 + j1 + ... + ending.

    Joints are punctuation and "and" or "but" between clauses, with their white space; as many as
    clauses, the last being the text's ending.
    """
    text = text.strip()
    end = _ENDING.search(text)
    body, ending = (text[: end.start()], end[0]) if end else (text, "")
    pieces, joints, at = [], [], 0
    for joint in _JOINT.finditer(body):
        pieces.append(body[at : joint.start()])
        joints.append(joint[0])
        at = joint.end()
    return [*pieces, body[at:]], [*joints, ending]


def words(text: str) -> list[str]:
    """Lower-cased words of a text without punctuation."""
    return re.findall(r"[\w'’]+", text.lower())


def in_manner_of(text: str, phrase: str) -> str:
    """The phrase in lower case where the text has no capital."""
    return phrase if any(c.isupper() for c in text) else phrase.lower()


def appended(text: str, phrase: str) -> str:
    """The phrase as one more sentence; a text that ends without a mark gets a full stop."""
    text = text.strip()
    stop = "" if text[-1:] in ".!?…\"'”’)" else "."
    return f"{text}{stop} {in_manner_of(text, phrase)}"


def other_order(n: int, rng: np.random.Generator) -> list[int]:
    """A random order of n things, n >= 2, that is not the order they have."""
    while True:
        order: list[int] = rng.permutation(n).tolist()
        if order != list(range(n)):
            return order


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def small(text: str) -> str:
    """The text with a small first letter, unless its first word is "I" or in capitals."""
    first = re.match(r"[\w'’]+", text)
    if first is None or first[0].split("'")[0] == "I" or (len(first[0]) > 1 and first[0].isupper()):
        return text
    return text[:1].lower() + text[1:]
