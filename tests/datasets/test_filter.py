"""The TL;DR filter, rule by rule."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalsuite.datasets import filter as f
from evalsuite.errors import ConfigError, DataError

# 26 words: 26 pieces with the full stop counted apart, less one word
SUMMARY = (
    "my friend broke the car that I had lent him for a week and now he will not pay me so what "
    "can I do about it."
)
BODY = f"Here is what happened.\n\nTL;DR: {SUMMARY}"
RAW: dict[str, Any] = {"id": "t3_1", "subreddit": "tifu", "title": "By lending a car", "body": BODY}


def words(text: str) -> int:
    return len(text.split())


def verdict(**fields: Any) -> f.Verdict:
    row = {key: value for key, value in (RAW | fields).items() if value is not None}
    return f.Filter(words)(row)


def test_a_good_post_is_in_both_sets() -> None:
    post, reason = verdict()
    assert reason is None
    assert post is not None
    assert (post.post, post.summary, post.subreddit) == ("Here is what happened.", SUMMARY, "tifu")


def tldr(summary: str) -> str:
    return f"Here is what happened.\n\nTL;DR: {summary}"


QUERIES = [
    ("comment by id", {"id": "t1_1"}, f.COMMENT),
    ("comment by parent", {"parent_id": "t3_9"}, f.COMMENT),
    ("no title", {"title": None}, f.COMMENT),
    ("no tldr", {"body": "Just a body."}, f.NO_TLDR),
    ("nothing after tldr", {"body": "Just a body. TL;DR"}, f.NO_TLDR),
    ("nothing beside tldr", {"body": "TL;DR: all of it"}, f.NO_TLDR),
    ("other subreddit", {"subreddit": "funny"}, f.SUBREDDIT),
    ("subreddit in other case", {"subreddit": "TIFU"}, f.SUBREDDIT),
    ("edit", {"title": "Edit: I lent a car"}, f.TITLE),
    ("update in brackets", {"title": "[UPDATE] I lent a car"}, f.TITLE),
    ("updated", {"title": "Updated - the car"}, f.TITLE),
    ("topic in the body", {"body": "He spoke of suicide.\n\n" + BODY}, f.TOPIC),
    ("topic in the title", {"title": "About porn"}, f.TOPIC),
    ("long", {"body": "word " * 513 + "TL;DR: " + SUMMARY}, f.LONG),
]
SUPERVISED = [
    ("edit", {"body": tldr("EDIT: " + SUMMARY)}, f.EDIT),
    ("p.s.", {"body": tldr("P.S. " + SUMMARY)}, f.EDIT),
    ("ps", {"body": tldr("ps: " + SUMMARY)}, f.EDIT),
    ("profane twice", {"body": tldr("shit, fuck, " + SUMMARY)}, f.PROFANE),
    ("23 tokens", {"body": tldr("word " * 23)}, f.SHORT_OR_LONG),
    ("49 tokens", {"body": tldr("word " * 49)}, f.SHORT_OR_LONG),
]
KEPT = [
    ("24 tokens", {"body": tldr("word " * 24)}),
    ("48 tokens", {"body": tldr("word " * 48)}),
    ("512 tokens", {"body": "word " * 512 + "TL;DR: " + SUMMARY}),
    ("profane once", {"body": tldr("shit, " + SUMMARY)}),
    ("editor is no edit", {"title": "Editor needed", "body": tldr("Editors " + SUMMARY)}),
    ("psychology is no p.s.", {"body": tldr("Psychology " + SUMMARY)}),
    ("r/ before the subreddit", {"subreddit": "r/tifu"}),
    ("tl dr", {"body": "What happened.\n\ntl dr " + SUMMARY}),
    ("TLDR", {"body": "What happened.\nTLDR - " + SUMMARY}),
    ("bold", {"body": "What happened.\n\n**TL;DR:** " + SUMMARY}),
    ("tldr first", {"body": f"TL;DR: {SUMMARY}\n\nWhat happened."}),
    ("summary apart", {"body": None, "post": "What happened.", "summary": SUMMARY}),
    ("selftext", {"body": None, "selftext": BODY}),
]


@pytest.mark.parametrize(
    ("fields", "reason"), [q[1:] for q in QUERIES], ids=[q[0] for q in QUERIES]
)
def test_not_even_a_query(fields: dict[str, Any], reason: str) -> None:
    assert verdict(**fields) == f.Verdict(None, reason)


@pytest.mark.parametrize(
    ("fields", "reason"), [s[1:] for s in SUPERVISED], ids=[s[0] for s in SUPERVISED]
)
def test_a_query_but_not_supervised(fields: dict[str, Any], reason: str) -> None:
    post, got = verdict(**fields)
    assert post is not None
    assert got == reason


@pytest.mark.parametrize("fields", [k[1] for k in KEPT], ids=[k[0] for k in KEPT])
def test_kept(fields: dict[str, Any]) -> None:
    assert verdict(**fields).reason is None


def test_duplicates_are_dropped_before_anything_else() -> None:
    judge = f.Filter(words)
    bad = RAW | {"subreddit": "funny"}
    assert [judge(row).reason for row in (bad, RAW, bad)] == [f.SUBREDDIT, f.DUPLICATE, f.DUPLICATE]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("a. TL;DR b", ("a.", "b")),
        ("a\n\ntl;dr: b TL;DR: c", ("a\n\ntl;dr: b", "c")),  # the last one divides
        ("a (tl;dr: b", ("a", "b")),
        ("a\n\n**TL;DR**: b", ("a", "b")),
        ("a TL:DR; b", ("a", "b")),
        ("TL;DR: b\n\na", ("a", "b")),
        ("a\n\n**TL;DR** - my dog", ("a", "my dog")),
        ("a\n\n**TL;DR** \u2014 my dog", ("a", "my dog")),
        ("a\n\n**TL;DR:** - *my* dog", ("a", "*my* dog")),
        ("a\n\ntl;dr **my dog** ran", ("a", "**my dog** ran")),
        ("a\n\n__TLDR__: my dog", ("a", "my dog")),
        ("a\n\n---\n\n> TL;DR -- my dog", ("a", "my dog")),
        ("a - tl;dr : my dog", ("a", "my dog")),
        ("a\nTL;DR: -5 degrees", ("a", "-5 degrees")),
        ("**TL;DR** - b\n\na", ("a", "b")),
        ("a tldrs b", None),
        ("a battledroid b", None),
        ("", None),
    ],
)
def test_split_tldr(body: str, parts: tuple[str, str] | None) -> None:
    assert f.split_tldr(body) == parts


@pytest.mark.parametrize(
    ("summary", "kept"),
    [
        ("my dog ran\n\nEdit: thanks for the gold", "my dog ran"),
        ("my dog ran\nupdate - he is back", "my dog ran"),
        ("my dog ran.\n\n---\n\n**EDIT 2:** thanks\nEdit 3: bye", "my dog ran."),
        ("my dog ran\n\n**Update**: he is back", "my dog ran"),
        ("my dog ran. Edit: thanks", "my dog ran."),
        ("my dog ran. EDIT: thanks", "my dog ran."),
        ("my dog ran EDIT: thanks", "my dog ran"),
        ("my dog ran **UPDATE 1**: back", "my dog ran"),
        # no block: a word of the sentence, or nothing before it
        ("I must edit: my text", "I must edit: my text"),
        ("I sent\nupdates to all", "I sent\nupdates to all"),
        ("an\nup-to-date, edit-proof text", "an\nup-to-date, edit-proof text"),
        ("EDIT: my dog", "EDIT: my dog"),
        ("- EDIT: my dog", "- EDIT: my dog"),
        ("", ""),
    ],
)
def test_edits_after_the_tldr_are_cut(summary: str, kept: str) -> None:
    assert f.without_edit(summary) == kept


@pytest.mark.parametrize("edit", ["\n\nEdit: " + "word " * 40, " EDIT: " + "word " * 40])
def test_edits_are_cut_before_tokens_are_counted(edit: str) -> None:
    fields: list[dict[str, Any]] = [
        {"body": tldr(SUMMARY + edit)},
        {"body": "What happened.", "summary": SUMMARY + edit},
    ]
    for row in fields:
        post, reason = verdict(**row)
        assert reason is None
        assert post is not None
        assert post.summary == SUMMARY


def test_long_bodies_of_one_sign() -> None:
    for sign in ("\n", "*", "-", " ", "\n*", "Edit "):
        many = sign * 20_000
        assert f.without_edit(many) == many
        assert f.without_edit("a\nedit " + many + "x") == "a\nedit " + many + "x"
        assert f.split_tldr("tldr" + many) is None
        assert f.split_tldr("a tl" + many + "x") is None


def test_the_29_subreddits() -> None:
    assert len(f.SUBREDDITS) == 29


def test_about_5_percent_are_held_out_and_always_the_same() -> None:
    rows = [RAW | {"body": tldr(f"{SUMMARY} {i}")} for i in range(4000)]
    splits = [[v.post.split for v in map(f.Filter(words), rows) if v.post] for _ in range(2)]
    assert splits[0] == splits[1]
    assert 150 < splits[0].count("valid") < 250  # 200 expected, standard deviation 14


def test_counts() -> None:
    counts, judge = f.Counts(), f.Filter(words)
    for row in (RAW, RAW, RAW | {"body": tldr("short")}, RAW | {"body": tldr(SUMMARY + " x")}):
        counts.add(judge(row))
    assert (counts.rows, counts.queries, counts.supervised) == (4, 3, 2)
    table = {rule: (dropped, left) for rule, dropped, left in counts.table()}
    assert table[f.DUPLICATE] == (1, 3)
    assert table[f.LONG] == (0, 3)
    assert table[f.SHORT_OR_LONG] == (1, 2)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", 0),
        ("Hello world", 2),  # Hello| world
        ("don't stop.", 4),  # don|'t| stop|.
        ("in 2020, ok", 4),  # in| 2020|,| ok
        ("a  b", 3),  # a| | b
        ("snake_case!?", 4),  # snake|_|case|!?
        ("h\u00e9ro \U0001f600", 2),
    ],
)
def test_gpt2_pieces(text: str, pieces: int) -> None:
    # Cut by hand with GPT-2's published pattern 's|'t|... | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+
    assert f.gpt2_pieces(text) == pieces


class Hub:
    """Stands in for transformers and huggingface_hub: what is cached, what the hub has."""

    def __init__(self, cached: bool, there: bool) -> None:
        self.cached, self.there, self.asked = cached, there, list[str]()

    def from_pretrained(self, name: str, local_files_only: bool = False) -> Hub:
        self.asked.append("here" if local_files_only else "download")
        logging.getLogger("huggingface_hub.http").warning("Retrying")
        if not (self.cached if local_files_only else self.there):
            raise OSError(f"{name} is not here\nand more")
        return self

    def model_info(self, name: str, timeout: float) -> None:
        self.asked.append(f"hub, {timeout:g} s")
        if not self.there:
            raise ConnectionError("\nno network\nand more")

    def encode(self, text: str, add_special_tokens: bool) -> list[str]:
        assert not add_special_tokens
        return text.split()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Hub:
        monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=self))
        hub = SimpleNamespace(HfApi=lambda: self)
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        return self


@pytest.mark.parametrize(
    ("cached", "asked"), [(True, ["here"]), (False, ["here", "hub, 5 s", "download"])]
)
def test_tokenizer(
    cached: bool,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = Hub(cached, there=True).install(monkeypatch)
    assert f.tokenizer_count("x")("a b c") == 3
    assert hub.asked == asked
    assert not caplog.records
    logging.getLogger("huggingface_hub.http").warning("heard again")
    assert [record.message for record in caplog.records] == ["heard again"]


def test_tokenizer_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub(cached=False, there=False).install(monkeypatch)
    says = (
        r"^tokenizer 'x' cannot be loaded \(not on this machine, and the Hugging Face hub gave "
        r"none: no network\)$"
    )
    with pytest.raises(ConfigError, match=says):
        f.tokenizer_count("x")
    assert hub.asked == ["here", "hub, 5 s"]  # nothing is tried twice
    assert not caplog.records


def test_tokenizer_in_a_folder_that_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(cached=False, there=True).install(monkeypatch)
    with pytest.raises(ConfigError, match=r"cannot be loaded \(.* is not here\)$"):
        f.tokenizer_count(str(tmp_path))
    assert hub.asked == ["here"]


@pytest.mark.slow
def test_tokenizer_from_a_folder(tmp_path: Any) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")
    plain = tokenizers.Tokenizer(model)
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]").save_pretrained(tmp_path)
    assert f.tokenizer_count(str(tmp_path))("a b, c") == 4


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"body": None}, "body is missing; allowed body, post, selftext or content"),
        ({"body": 3}, "body is 3; allowed a non-empty string"),
        ({"subreddit": None}, "subreddit is missing; allowed a non-empty string"),
        ({"title": 3}, "title is 3; allowed a string or nothing"),
    ],
)
def test_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=f"^{says}$"):
        verdict(**fields)
