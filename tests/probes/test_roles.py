"""Reversed roles: sentences turned by hand, and what must stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.probes.roles import reverse_roles


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("My brother hit me and he left.", "I hit my brother and I left."),
        ("I told her that I love her dog.", "She told me that she loves my dog."),
        ("He gave me his. I hurt myself.", "I gave him mine. He hurt himself."),
        ("They say I was late. I am not.", "I say they were late. They are not."),
        # An auxiliary before the subject agrees instead of the verb.
        ("Do I tell my wife? Should I go?", "Does my wife tell me? Should she go?"),
        # "her" before a noun, before a function word, after "make".
        ("I saw her car, saw her and made her cry.", "She saw my car, saw me and made me cry."),
        # Contractions: is, has, am; "my boss" has no gender but for the pronoun beside it.
        ("I'm mad: my boss said he's sick and he's been rude.",
         "My boss's mad: I said I'm sick and I've been rude."),
        ("i hate my ex and i've moved on", "my ex hates me and they've moved on"),
        # Possessives of both; adjectives belong to the person.
        ("My best friend's dog ate my shoes.", "My dog ate my best friend's shoes."),
        ("She considers it mine.", "I consider it hers."),
        ("She always tries, I really don't.", "I always try, she really doesn't."),
        # No capitals anywhere: "i" stays small.
        ("my sister took my car. she is mad at me.", "i took my sister's car. i am mad at her."),
        # Others keep their pronouns: "her" is not the brother, nor "my ex wife" my ex.
        ("My brother hit me and her.", "I hit my brother and her."),
        ("My ex told my ex wife that I left.", "I told my ex's ex wife that they left."),
        # Curly apostrophes.
        ("I don’t trust him.", "He doesn't trust me."),
    ],
)  # fmt: skip
def test_roles_are_reversed(text, turned):
    assert reverse_roles(text) == turned


@pytest.mark.parametrize(
    "text", ["the dog ate it", "I ate my lunch", "He ate his lunch", "", "my sister and her dog"]
)
def test_texts_without_two_roles(text):
    # "my sister": "my" is a word of the writer, so the last has two only if "my" counted alone.
    assert reverse_roles(text) is None


def test_only_whole_words_change():
    text = "The theme of this item: she hid my mythical inheritance, I sigh."
    assert reverse_roles(text) == (
        "The theme of this item: I hid her mythical inheritance, she sigh."
    )
    assert reverse_roles("My girlfriends met me and him.") == "His girlfriends met him and me."


VOCABULARY = (
    "I i'm My me mine myself he she's her his they're them my sister my best friend's my ex is am "
    "do wants really saw dog and . , ? ' \n 3"
)


@given(st.lists(st.sampled_from(VOCABULARY.split(" ")), max_size=14))
def test_any_text_can_be_asked_for_and_other_words_stay(drawn):
    text = " ".join(drawn)
    turned = reverse_roles(text)
    for word in ("saw", "dog", "and", "3", ".", "?"):
        if turned is not None:
            assert turned.split(" ").count(word) == drawn.count(word)
