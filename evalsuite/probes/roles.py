"""Reversal of roles in English: who did what to whom, the other way round.

The writer ("I") changes places with one other person: the first "my sister", "my best friend"
... of the text, or without one the pronoun that comes first ("he", "she", "they"). Whole words
only, every form of both, the verb beside each new subject made to agree. What a rule cannot know
stays: names, tenses, which of two men "he" is, and the number of a verb not in `_PRESENT`.

    My brother hit me and he left.     ->   I hit my brother and I left.
    I told her that I love her dog.    ->   She told me that she loves my dog.

Proof: tests/probes/test_roles.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from evalsuite.probes.text import capital

_GENDERS = {
    "he": "boyfriend bf husband brother father dad son uncle grandfather grandpa nephew "
    "stepdad stepfather stepbrother fiance",
    "she": "girlfriend gf wife sister mother mom mum daughter aunt grandmother grandma niece "
    "stepmom stepmother stepsister fiancee",
    "they": "friend roommate flatmate housemate boss manager coworker colleague cousin teacher "
    "professor neighbor neighbour landlord partner ex crush child kid",
}
_GENDER = {word: pronoun for pronoun, words in _GENDERS.items() for word in words.split()}
_ADJECTIVES = "best|ex|older|younger|little|big|own|dear|new|old|former|late|close"
_PERSON = rf"my (?:(?:{_ADJECTIVES})[ -]+)*(?:{'|'.join(sorted(_GENDER, key=len, reverse=True))})"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Forms: subject, object, possessive before a noun, possessive alone, reflexive.
_FORMS = {
    "i": ("i", "me", "my", "mine", "myself"),
    "he": ("he", "him", "his", "his", "himself"),
    "she": ("she", "her", "her", "hers", "herself"),
    "they": ("they", "them", "their", "theirs", "themselves"),
}
_SUBJECT, _OBJECT, _DETERMINER, _ALONE, _SELF = range(5)
_WORD = re.compile(rf"\b{_PERSON}(?:['’]s)?\b|\w+(?:['’]\w+)*|\s+|[^\w\s]", re.IGNORECASE)
_AFTER_OBJECT = _set(
    "to for and but about on in at with that because when if or not so as from by after before "
    "while until since again too either anymore today now out up down off away back over is was "
    "will would who which what how why i we he she they it without than more less once enough all "
    "every much then there here where"
)
"""Words before which "her" is no "her dog"."""
_BEFORE_OBJECT = _set("make makes made making let lets letting help helps helped helping")
"""Words after which it is none either: "made her cry"."""
_OPENS = _set("and but or so because that when if while then since after before until as")
"""Words after which a person is a subject."""
_NO_VERBS = _set(
    "was always this his its unless perhaps sometimes besides towards across yes whereas afterwards"
)
"""Words in s that may follow a subject and are no verbs."""
_ADVERBS = _set("just really still always never also only even now usually often")

_TO_BE = {
    "i": {"is": "am", "are": "am", "were": "was", "isn't": "am not", "aren't": "am not"}
    | {"weren't": "wasn't", "has": "have", "does": "do", "hasn't": "haven't", "doesn't": "don't"},
    "he": {"am": "is", "have": "has", "do": "does", "don't": "doesn't", "haven't": "hasn't"},
    "they": {"am": "are", "was": "were", "wasn't": "weren't"},
}
_TO_BE["she"] = _TO_BE["he"]
_PRESENT = _set(
    "want need feel think know love like hate live work get go make say see keep hope wish believe "
    "guess plan care miss owe own look seem try tell ask call take give come leave stay find use "
    "eat drink sleep talk play pay cry lie wonder worry regret understand mean"
)
_THIRD = {
    verb: verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeo"
    else f"{verb}es" if verb.endswith(("o", "sh", "ch", "ss", "x"))
    else f"{verb}s"
    for verb in _PRESENT
}  # fmt: skip
_FIRST = {third: verb for verb, third in _THIRD.items()}
_TAILS = {"i": {"s": "m", "re": "m"}, "he": {"m": "s", "ve": "s"}, "they": {"m": "re"}}
_TAILS["she"] = _TAILS["he"]
_PERFECT = {"been", "got", "had", "done", "never", "always", "gone", "lost", "told"}
_AUXILIARIES = _set(
    "should would could can will may might must did do does am is are was were have has had don't "
    "doesn't didn't can't won't shouldn't couldn't wouldn't"
)


class _Cast(NamedTuple):
    """The other person: words ("" without a noun), pronoun."""

    person: str
    pronoun: str


def reverse_roles(text: str) -> str | None:
    """The text with the writer and another person in each other's place; None without two roles.

    Casing: a word at a capital keeps it, "I" is "I" unless the text is written without capitals.
    """
    found = _WORD.findall(text)
    cast = _cast(found)
    if cast is None:
        return None
    tokens = [part for token in found for part in _parts(token, cast)]
    if not any(_form(token, "i") is not None for token in tokens):
        return None
    writer = "I" if any(c.isupper() for c in text) else "i"
    out: list[str] = []
    named = not cast.person
    subject = ""  # whose verb comes next
    for at, token in enumerate(tokens):
        if token.isspace():
            out.append(token)
            continue
        opens = _opens(tokens, at)
        upper = token[0].isupper() and (opens == "start" or token.lower()[0] != "i")
        new, subject_now = token, ""
        if (form := _form(token, "i")) is not None:
            if named or form == _SELF:
                new, who = _FORMS[cast.pronoun][form], cast.pronoun
            else:
                new, who, named = _noun(cast.person, form), "he", True
            new += _tail(token, who)
            subject_now = who if form == _SUBJECT else ""
            new = capital(new) if upper else new
        elif (form := _third(tokens, at, cast, bool(opens))) is not None:
            new = writer if form == _SUBJECT else _FORMS["i"][form]
            if form == _SUBJECT:
                new += _tail(token, "i", _next_word(tokens, at))
                subject_now = "i"
            new = capital(new) if upper else new
        elif subject:
            new = _agree(token, subject)
            subject_now = subject if token.lower() in _ADVERBS else ""
        if subject_now and new != token and _asks(out, subject_now):
            subject_now = ""
        out.append(new)
        subject = subject_now
    return "".join(out)


def _cast(tokens: list[str]) -> _Cast | None:
    """The other person of a text, None where there is none."""
    pronouns = [p for t in tokens for p in ("he", "she", "they") if _form(t, p) is not None]
    for token in tokens:
        found = re.fullmatch(rf"({_PERSON})(?:['’]s)?", token, re.IGNORECASE)
        if found:
            noun = found[1].lower()
            gender = _GENDER[re.split(r"[ -]", noun)[-1]]
            if gender == "they" and pronouns:
                gender = pronouns[0]
            return _Cast(noun, gender)
    return _Cast("", pronouns[0]) if pronouns else None


def _parts(token: str, cast: _Cast) -> list[str]:
    """A token; the words of one that is a third person ("my ex wife" beside "my ex")."""
    if " " not in token or _noun_of(token) == cast.person:
        return [token]
    return re.findall(r"\w+(?:['’]\w+)*|\s+|[^\w\s]", token)


def _noun_of(token: str) -> str:
    return re.split(r"['’]", token.lower())[0]


def _form(token: str, who: str) -> int | None:
    """Which form of a pronoun a token is; "i'm" and the like are subjects."""
    word = re.split(r"['’]", token.lower())[0]
    forms = _FORMS[who]
    if word not in forms or (word != token.lower() and word != forms[_SUBJECT]):
        return None
    return forms.index(word)


def _third(tokens: list[str], at: int, cast: _Cast, opens: bool) -> int | None:
    """Which form of the other person a token is."""
    token, after = tokens[at].lower(), _next_word(tokens, at)
    if cast.person and _noun_of(token) == cast.person:
        if token != cast.person:
            return _DETERMINER
        leads = opens or after in _AUXILIARIES or after in _FIRST
        return _SUBJECT if leads else _OBJECT
    form = _form(token, cast.pronoun)
    if form is None:
        return None
    if token == "her":
        before = next((t.lower() for t in reversed(tokens[:at]) if not t.isspace()), "")
        alone = not after or after in _AFTER_OBJECT or before in _BEFORE_OBJECT
        return _OBJECT if alone else _DETERMINER
    if token == "his":
        return _DETERMINER if after else _ALONE
    return form


def _next_word(tokens: list[str], at: int) -> str:
    """The word after a token in lower case; "" before punctuation or the end."""
    rest = [t for t in tokens[at + 1 : at + 3] if not t.isspace()]
    return re.split(r"['’]", rest[0].lower())[0] if rest and rest[0][0].isalnum() else ""


def _opens(tokens: list[str], at: int) -> str:
    """ "start" at the start of a sentence, "clause" of a clause, else ""."""
    before = [t for t in tokens[:at] if not t.isspace()]
    if not before or before[-1] in ".!?":
        return "start"
    last = before[-1].lower()
    return "clause" if last in _OPENS or not last[0].isalnum() else ""


def _noun(person: str, form: int) -> str:
    return f"{person}'s" if form in (_DETERMINER, _ALONE) else person


def _tail(token: str, who: str, after: str = "") -> str:
    """The "'m" of a token, as it is after a new subject."""
    parts = re.split(r"['’]", token, maxsplit=1)
    tail = parts[1].lower() if len(parts) > 1 else ""
    if not tail:
        return ""
    if who == "i" and tail == "s" and after in _PERFECT:
        return "'ve"
    return f"'{_TAILS[who].get(tail, tail)}"


def _asks(out: list[str], who: str) -> bool:
    """Whether an auxiliary stands before a new subject; it is made to agree, not the verb."""
    at = next((i for i in range(len(out) - 1, -1, -1) if not out[i].isspace()), None)
    if at is None or out[at].lower() not in _AUXILIARIES:
        return False
    new = _agree(out[at], who)
    out[at] = capital(new) if out[at][0].isupper() else new
    return True


def _agree(token: str, who: str) -> str:
    """A verb after a new subject."""
    verb = token.lower().replace("’", "'")
    if verb in _TO_BE[who]:
        return _TO_BE[who][verb]
    return _plain(token) if who in ("i", "they") else _THIRD.get(verb, token)


def _plain(verb: str) -> str:
    """A verb without its third person's s; any other word as it is."""
    known = verb.lower()
    if known in _FIRST:
        return _FIRST[known]
    if known in _NO_VERBS or not known.isalpha() or not known.endswith("s") or len(known) < 4:
        return verb
    if known.endswith(("ss", "us")):
        return verb
    if known.endswith("ies"):
        return f"{verb[:-3]}y"
    return verb[:-2] if known.endswith(("sses", "shes", "ches", "xes", "zes")) else verb[:-1]
