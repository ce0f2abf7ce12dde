"""The world's tokenizer: texts come back as they went in, ends and padding are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from evalsuite.simulation import World
from evalsuite.simulation.corpus import documents
from evalsuite.simulation.files import sections, texts_of
from trainers.world_tokenizer import UNKNOWN, world_tokenizer, world_vocabulary

TOKENIZER = world_tokenizer()


@pytest.mark.parametrize("domain", ["tldr", "cnndm"])
def test_a_thousand_posts_there_and_back(domain: str) -> None:
    posts = World(3).posts(domain, 1000)
    columns = (sections(posts), *map(texts_of, (posts.title, posts.text, posts.reference)))
    texts = []
    for section, title, text, summary in zip(*columns, strict=True):
        prompt = f"SUBREDDIT: r/{section}\n\nTITLE: {title}\n\nPOST: {text}\n\nTL;DR:"
        zero = f"Subreddit: r/{section}\n\nTitle: {title}\n\n{text}\n\nTL;DR:"
        news = f"Article:\n{text}\n\nTL;DR:\n{summary}"
        texts += [title, text, summary, f" {summary}", prompt, f"{prompt} {summary}", zero, news]
    encoded = TOKENIZER(texts)["input_ids"]
    assert TOKENIZER.unk_token_id not in {token for row in encoded for token in row}
    assert TOKENIZER.batch_decode(encoded) == texts


def test_a_completion_is_encoded_the_same_alone_and_behind_its_prompt() -> None:
    for document in documents(World(0), 50):
        before, mark, after = document.partition("TL;DR:")
        if mark:
            both = TOKENIZER(document)["input_ids"]
            assert both == [*TOKENIZER(before + mark)["input_ids"], *TOKENIZER(after)["input_ids"]]


def test_pieces_by_hand() -> None:
    text = "SUBREDDIT: r/tifu\n\nTITLE: my sister, anna\n\nTL;DR: help?\n"
    assert TOKENIZER.tokenize(text) == [
        "SUBREDDIT: r/", "tifu", "\n\n", "TITLE:", " my", " sister", ",", " anna", "\n\n",
        "TL;DR:", " help", "?", "\n",
    ]  # fmt: skip
    assert TOKENIZER.tokenize(" , my") == [" ", ",", " my"]


def test_unknown_words_are_one_token_and_special_tokens_differ() -> None:
    assert TOKENIZER.tokenize("my zebra") == ["my", UNKNOWN]
    special = {TOKENIZER.eos_token_id, TOKENIZER.pad_token_id, TOKENIZER.unk_token_id}
    assert special == {0, 1, 2}
    assert TOKENIZER.bos_token is None
    text = TOKENIZER.decode([0, *TOKENIZER("i need advice.")["input_ids"], 0, 1, 1],
                            skip_special_tokens=True)  # fmt: skip
    assert text == "i need advice."


def test_the_vocabulary_is_small_and_without_repeats() -> None:
    words = world_vocabulary()
    assert len(words) == len(set(words)) == len(TOKENIZER)
    assert 400 <= len(words) <= 800


def test_saved_and_loaded_by_plain_transformers(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = documents(World(0), 20)
    assert loaded(texts)["input_ids"] == TOKENIZER(texts)["input_ids"]
    assert loaded.batch_decode(loaded(texts)["input_ids"]) == texts
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)
