"""The world's language: hidden facts, the words that say them, and which word pairs are clean.

You are in the embedded default. A post hides nine facts, each said by one word that means
nothing else (`Language.slot_of`), so any text can be read
back into facts: that is how a summary
of a trained model gets its true utility. Sentences are patterns in which `[x]` is any wording of
the piece x and `{x}` the value of the fact x. Words may be added or changed here and nowhere
else; tests/simulation/test_language.py holds the vocabulary to a few hundred words and every
clean text to clean word pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Tokens = NDArray[np.int16]

SLOTS = ("relation", "name", "act", "object", "place", "since", "feeling", "tried", "request")
"""The nine facts of a post, in the order a summary says them."""

WEIGHTS = np.array([1.0, 0.5, 1.0, 1.0, 0.5, 0.5, 1.0, 0.75, 1.0])
"""What each fact adds to the true utility when a summary says it."""

PAD_CLAUSES = 4
"""Clauses without any fact that a wordy writer can add; each at most once."""

NOTHING, VALUE = -1, -2
"""In a pattern: no token here; the value of the pattern's fact."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SEPARATORS = (",", "and", ".")

_NAMES = (
    "anna ben carla david emma frank grace henry irene jack kate liam maria nick olga paul "
    "ryan sara tom zoe"
)
_SINCE = "monday tuesday friday sunday yesterday christmas easter march june october winter summer"
_FEELING = (
    "angry sad guilty scared confused jealous lonely ashamed tired nervous hurt worried bitter calm"
)
_TRIED = (
    "talking yelling crying waiting apologizing texting calling begging joking writing paying "
    "hiding praying bargaining"
)
_REQUEST = (
    "leave forgive sue move report confess reply complain fight return quit wait settle resign"
)


@dataclass(frozen=True)
class Domain:
    """One kind of text: its words, its sentences and how long a good summary of it is.

    values: for each slot the words that can fill it. pieces: for each slot three wordings.
    opening, middle, closing, decoys, fillers: sentence patterns of a post; of each tuple inside
    `middle` one pattern is said. pads: the clauses without facts. lengths: the tokens a summary
    may have without losing utility. facts_first: decoys and fillers come after the facts, as in
    news, instead of between them. sections: subreddits or sites; the relation decides which.
    """

    name: str
    values: tuple[tuple[str, ...], ...]
    pieces: tuple[tuple[str, str, str], ...]
    greetings: tuple[str, ...]
    opening: str
    middle: tuple[str, ...]
    closing: str
    decoys: tuple[str, ...]
    fillers: tuple[str, ...]
    title: str
    pads: tuple[str, ...]
    nobody: str
    no_act: str
    no_object: str
    no_deed: str
    empty: str
    lengths: tuple[int, int]
    facts_first: bool
    sections: tuple[str, ...]


def _words(*lists: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(words.split()) for words in lists)


TLDR = Domain(
    name="tldr",
    values=_words(
        "girlfriend boyfriend wife husband sister brother mother father cousin roommate neighbor "
        "landlord boss coworker teacher friend",
        _NAMES,
        "stole broke sold lost hid burned painted borrowed kicked scratched copied flooded ruined "
        "cleaned destroyed dropped",
        "bike laptop phone car guitar camera wallet jacket couch garden ring book key table dress "
        "letter",
        "office kitchen park gym beach library garage church hotel station market bar",
        _SINCE,
        _FEELING,
        _TRIED,
        _REQUEST,
    ),
    pieces=(
        ("my {relation}", "my own {relation}", "my dear {relation}"),
        ("{name}", "{name}", "{name}"),
        ("{act}", "just {act}", "suddenly {act}"),
        ("my {object}", "the {object}", "our {object}"),
        ("at the {place}", "near the {place}", "behind the {place}"),
        ("since {since}", "ever since {since}", "starting {since}"),
        ("i feel {feeling}", "i am so {feeling}", "it makes me {feeling}"),
        ("i tried {tried}", "{tried} did not help", "my plan of {tried} failed"),
        ("should i {request} ?", "is it ok to {request} ?", "do i have to {request} ?"),
    ),
    greetings=(
        "hi everyone , i need some honest advice .",
        "i never thought i would write this .",
        "this is a long story , so bear with me .",
    ),
    opening="so [relation] [name] [act] [object] [place] .",
    middle=(
        "this mess has been going on [since] .",
        "when i think about what happened [feeling] .",
        "as for what i did , [tried] and nothing changed .",
    ),
    closing="now the big question is , [request]",
    decoys=(
        "another {relation} called {name} was there too .",
        "years ago someone {act} a {object} of mine but that is over .",
        "it was all quiet in that {place} before {since} .",
        "they say a person should never be {feeling} .",
        "a stranger told us about {tried} once .",
        "she says she would never {request} .",
    ),
    fillers=(
        "sorry for the long post .",
        "english is not my first language .",
        "thanks for reading all of this .",
    ),
    title="[relation] [act] [object] , please help",
    pads=(
        "honestly i do not know what to think",
        "this whole thing has been really hard on me",
        "any kind word would mean a lot to me",
        "there is so much more that could be said",
    ),
    nobody="someone",
    no_act="took",
    no_object="something",
    no_deed="made trouble",
    empty="i need advice",
    lengths=(8, 22),
    facts_first=False,
    sections=(
        "relationships", "relationship_advice", "AskReddit", "Advice", "tifu", "legaladvice",
        "jobs", "offmychest",
    ),
)  # fmt: skip

NEWS = Domain(
    name="cnndm",
    values=_words(
        "mayor senator banker pilot actor minister judge captain singer farmer officer professor",
        _NAMES,
        "bought closed banned opened raided rescued attacked visited blocked sued saved defended",
        "airport hospital museum factory bridge stadium bank school tunnel theater prison harbor",
        "london paris berlin madrid rome vienna boston chicago dublin oslo tokyo cairo",
        _SINCE,
        _FEELING,
        _TRIED,
        _REQUEST,
    ),
    pieces=(
        ("the {relation}", "local {relation}", "former {relation}"),
        ("{name}", "{name}", "{name}"),
        ("{act}", "just {act}", "suddenly {act}"),
        ("the {object}", "an old {object}", "a new {object}"),
        ("in {place}", "near {place}", "outside {place}"),
        ("since {since}", "ever since {since}", "starting {since}"),
        ("people feel {feeling}", "residents are so {feeling}", "it left families {feeling}"),
        ("police tried {tried}", "{tried} did not help", "a plan of {tried} failed"),
        (
            "critics may {request} .",
            "lawyers plan to {request} .",
            "the people have to {request} .",
        ),
    ),
    greetings=(),
    opening="according to police , [relation] [name] [act] [object] [place] after a long "
    "dispute about money .",
    middle=(
        "the matter has been going on [since] , and it made the front page all over the country .",
        "when asked about what happened , a witness said that [feeling] and nobody knows why .",
        "as for what was done next , [tried] , and little changed on the ground .",
    ),
    closing="a story says that [request]",
    decoys=(
        "another {relation} called {name} was there too .",
        "years ago someone {act} a {object} there but that is over .",
        "it was all quiet over in {place} before {since} .",
        "they say a person should never be {feeling} .",
        "a stranger told reporters about {tried} once .",
        "she says she would never {request} .",
    ),
    fillers=(
        "scroll down for the video .",
        "the story was first told on the radio .",
        "more on this as we get it .",
    ),
    title="[relation] [act] [object]",
    pads=(
        "the case has drawn large crowds for many days",
        "experts warned it could get far worse soon",
        "readers sent hundreds of letters about this",
        "town leaders promised answers within several weeks",
    ),
    nobody="someone",
    no_act="took",
    no_object="something",
    no_deed="made trouble",
    empty="police have a case",
    lengths=(20, 60),
    facts_first=True,
    sections=("cnn", "dailymail"),
)

DOMAINS = {domain.name: domain for domain in (TLDR, NEWS)}


def tokenise(text: str) -> list[str]:
    """Words and punctuation marks of a text, lower-cased; white space carries nothing."""
    return _TOKEN.findall(text.lower())


def _split(pattern: str) -> list[str]:
    return pattern.split()


class Language:
    """Vocabulary, patterns and clean word pairs of both domains; the same in every world.

    Token ids are int16 positions in `words`; a word the world does not know has id `unknown`
    (one past the last), which says no fact and is clean beside nothing.
    """

    def __init__(self) -> None:
        words = set(_SEPARATORS) | {"?"}
        for domain in DOMAINS.values():
            for values in domain.values:
                words.update(values)
            for pattern in self.patterns_of(domain):
                words.update(w for w in _split(pattern) if w[0] not in "[{")
        self.words: tuple[str, ...] = tuple(sorted(words))
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.unknown = len(self.words)
        self.slot_of: Tokens = np.full(self.unknown + 1, NOTHING, dtype=np.int16)
        for domain in DOMAINS.values():
            for slot, values in enumerate(domain.values):
                self.slot_of[[self.ids[v] for v in values]] = slot
        punctuation = [not word[0].isalnum() for word in self.words]
        self.spaced = tuple(
            word if mark else f" {word}" for word, mark in zip(self.words, punctuation, strict=True)
        )
        self.leads: Ints = np.array([*(not mark for mark in punctuation), 0], dtype=np.int64)
        self.chars: Ints = np.array([*map(len, self.spaced), 0], dtype=np.int64)

    @staticmethod
    def patterns_of(domain: Domain) -> Iterable[str]:
        """Every pattern of a domain, of posts and summaries."""
        for wordings in domain.pieces:
            yield from wordings
        yield from (*domain.greetings, domain.opening, *domain.middle, domain.closing)
        yield from (*domain.decoys, *domain.fillers, domain.title, *domain.pads)
        yield from (domain.nobody, domain.no_act, domain.no_object, domain.no_deed, domain.empty)

    def encode(self, text: str) -> Tokens:
        """Token ids of any text; unknown words become `unknown`."""
        return np.array([self.ids.get(w, self.unknown) for w in tokenise(text)], dtype=np.int16)

    def values(self, domain: str, slot: int) -> Tokens:
        """Ids of the words that can fill a slot in a domain."""
        return self.pattern(" ".join(DOMAINS[domain].values[slot]))

    def pattern(self, text: str, width: int = 0) -> Tokens:
        """Ids of a pattern without `[pieces]`; `{x}` becomes VALUE; padded to `width`."""
        ids = [VALUE if w[0] == "{" else self.ids[w] for w in _split(text)]
        return np.array(ids + [NOTHING] * (width - len(ids)), dtype=np.int16)

    def table(self, patterns: Sequence[str]) -> Tokens:
        """Patterns as rows (len(patterns), longest), padded with NOTHING."""
        width = max(len(_split(p)) for p in patterns)
        return np.stack([self.pattern(p, width) for p in patterns])

    @cached_property
    def clean(self) -> NDArray[np.bool_]:
        """(V + 1, V + 1): whether a clean text of the world says the second word after the first.

        Summaries say any subset of the pieces in order, clauses joined by a separator; posts say
        whole sentences in any order. Both count as clean: copying a sentence is not garbling.
        """
        allowed = np.zeros((self.unknown + 1, self.unknown + 1), dtype=bool)
        ends = {"."} | {"?"}
        for domain in DOMAINS.values():
            self._allow_summaries(domain, allowed)
            sentences = [*domain.greetings, domain.opening, *domain.middle, domain.closing]
            sentences += [*domain.decoys, *domain.fillers]
            firsts: set[str] = set()
            for sentence in sentences:
                elements = [self._element(domain, word) for word in _split(sentence)]
                firsts |= _first(elements[0])
                self._allow_run(elements, allowed)
            self._allow(ends, firsts, allowed)
        return allowed

    def _allow_summaries(self, domain: Domain, allowed: NDArray[np.bool_]) -> None:
        pieces = [self._element(domain, f"[{slot}]") for slot in SLOTS]
        relation, name, act, thing, place, since, *clauses = pieces
        relation = relation + self._plain(domain.nobody)
        verb = act + self._plain(domain.no_act)
        thing = thing + self._plain(domain.no_object)
        deed = self._plain(domain.no_deed)
        for run in (
            [relation, name], [relation, verb + deed], [name, verb + deed], [verb, thing],
            [thing + deed, place + since], [place, since],
        ):  # fmt: skip
            self._allow_run(run, allowed)
        clauses += [self._plain(text) for text in (*domain.pads, domain.empty)]
        for clause in clauses:
            self._allow_run([clause], allowed)
        ends: set[str] = set().union(*(_last(p) for p in [thing, deed, place, since, *clauses]))
        self._allow(ends - {".", "?"}, set(_SEPARATORS), allowed)
        self._allow(set(_SEPARATORS), set().union(*(_first(p) for p in clauses)), allowed)

    def _plain(self, text: str) -> list[list[set[str]]]:
        return [[{w} for w in _split(text)]]

    def _element(self, domain: Domain, word: str) -> list[list[set[str]]]:
        """The alternatives a pattern's word stands for, each a run of sets of words."""
        if word[0] == "[":
            wordings = domain.pieces[SLOTS.index(word[1:-1])]
            return [[self._one(domain, w) for w in _split(text)] for text in wordings]
        return [[self._one(domain, word)]]

    def _one(self, domain: Domain, word: str) -> set[str]:
        return set(domain.values[SLOTS.index(word[1:-1])]) if word[0] == "{" else {word}

    def _allow_run(
        self, elements: Sequence[list[list[set[str]]]], allowed: NDArray[np.bool_]
    ) -> None:
        for element in elements:
            for run in element:
                for before, after in pairwise(run):
                    self._allow(before, after, allowed)
        for left, right in pairwise(elements):
            self._allow(_last(left), _first(right), allowed)

    def _allow(self, before: set[str], after: set[str], allowed: NDArray[np.bool_]) -> None:
        rows = sorted(self.ids[w] for w in before)
        columns = sorted(self.ids[w] for w in after)
        allowed[np.ix_(rows, columns)] = True


def _first(element: list[list[set[str]]]) -> set[str]:
    return set().union(*(run[0] for run in element))


def _last(element: list[list[set[str]]]) -> set[str]:
    return set().union(*(run[-1] for run in element))


@cache
def language() -> Language:
    """The one language; made on first use."""
    return Language()
