"""Plans written by hand give the sentences they should."""

from __future__ import annotations

import numpy as np
import pytest

from evalsuite.simulation.language import DOMAINS, PAD_CLAUSES, SLOTS, language
from evalsuite.simulation.plans import SEPARATORS, Plan, garble, write


def plan(
    facts: dict[str, str], wording: int = 0, pads: tuple[int, ...] = (), again: bool = False,
    separator: int = 0,
) -> Plan:  # fmt: skip
    said = [language().ids[facts[slot]] if slot in facts else -1 for slot in SLOTS]
    return Plan(
        np.array([said], dtype=np.int16),
        np.full((1, 9), wording, dtype=np.int8),
        np.array([[i in pads for i in range(PAD_CLAUSES)]]),
        np.array([again]),
        np.full((1, SEPARATORS), separator, dtype=np.int8),
    )


ALL = {
    "relation": "sister", "name": "anna", "act": "stole", "object": "bike", "place": "office",
    "since": "monday", "feeling": "angry", "tried": "talking", "request": "forgive",
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        (ALL, {}, "my sister anna stole my bike at the office since monday, i feel angry, "
                  "i tried talking, should i forgive?"),
        (ALL, {"wording": 1, "separator": 1},
         "my own sister anna just stole the bike near the office ever since monday and i am so "
         "angry and talking did not help and is it ok to forgive?"),
        ({"object": "bike"}, {}, "someone took my bike."),
        ({"act": "stole"}, {}, "someone stole something."),
        ({"name": "anna", "place": "gym"}, {}, "anna made trouble at the gym."),
        ({"feeling": "sad"}, {"again": True}, "i feel sad, i feel sad."),
        ({"tried": "texting"}, {"pads": (1,), "separator": 2},
         "i tried texting. this whole thing has been really hard on me."),
        ({"tried": "texting"}, {"again": True}, "i tried texting."),
        ({}, {}, "i need advice."),
        ({"request": "sue"}, {}, "should i sue?"),
    ],
)  # fmt: skip
def test_sentences(facts: dict[str, str], options: dict[str, object], expected: str) -> None:
    text = write("tldr", plan(facts, **options))  # type: ignore[arg-type]
    assert text.texts(language().spaced)[0].strip() == expected


def test_news_uses_its_own_wordings() -> None:
    facts = {"relation": "mayor", "act": "closed", "object": "bridge", "place": "rome"}
    text = write("cnndm", plan(facts | {"request": "sue"})).texts(language().spaced)[0]
    assert text.strip() == "the mayor closed the bridge in rome, critics may sue."


def test_garble_makes_the_stated_number_of_slips_at_most() -> None:
    rng = np.random.default_rng(5)
    text = write("tldr", plan(ALL))
    same = garble(text, np.array([0]), "tldr", rng)
    assert same.tokens.tolist() == text.tokens.tolist()
    for _ in range(50):
        slipped = garble(text, np.array([1]), "tldr", rng)
        assert len(slipped.tokens) == len(text.tokens)
        # A slip touches one word or two neighbours.
        assert np.count_nonzero(slipped.tokens != text.tokens) <= 2


def test_summaries_of_all_plans_are_never_empty() -> None:
    assert all(len(domain.empty) > 0 for domain in DOMAINS.values())
    assert write("cnndm", plan({})).lengths.tolist() == [5]
