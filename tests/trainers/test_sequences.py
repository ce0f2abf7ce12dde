"""Tables become examples: which rows, in which split, with which tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from evalsuite.datasets import load
from evalsuite.datasets.build import Builder
from evalsuite.errors import ConfigError, DataError
from evalsuite.models.prompts import Prompter
from evalsuite.records import Comparison, Post, Summary
from evalsuite.tables import Tables
from trainers.sequences import (
    TRAIN,
    VALID1,
    VALID2,
    first_references,
    pair_examples,
    post_splits,
    ppo_prompts,
    sft_examples,
)

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "cat", "dog"]
EOS, PAD, UNKNOWN = 0, 1, 2


class Counting(Prompter):
    """A prompter that counts what it renders."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.rendered: Counter[str] = Counter()

    def prompt(self, post: Post) -> list[int]:
        self.rendered[post.text] += 1
        return super().prompt(post)

    def completion(self, text: str) -> list[int]:
        self.rendered[text] += 1
        return super().completion(text)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    ids = {"<eos>": EOS, "[PAD]": PAD, "[UNK]": UNKNOWN}
    ids |= {word: i for i, word in enumerate([*WORDS, *(f" {word}" for word in WORDS)], start=3)}
    inner = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[^\w]"), "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="[PAD]", unk_token="[UNK]"
    )


@pytest.fixture
def prompter(tokenizer: Any) -> Counting:
    return Counting(tokenizer, "tldr_on_news")


def tables(*labels: Comparison, posts: list[Post], references: dict[str, str]) -> Tables:
    """Tables of labels and of posts with references, `references` keyed by post text."""
    builder = Builder()
    for post in posts:
        has = references.get(post.text)
        kept = [] if has is None else [builder.summary("ref", has, post)]
        builder.keep(post, kept)
    for label in labels:
        post = next((p for p in posts if p.id == label.left.post_id), None)
        builder.compare(label, post, "tldr")
    return builder.tables([])


def label(post: Post | None, left: str, right: str, choice: float = 1.0, **more: Any) -> Comparison:
    post_id = None if post is None else post.id
    return Comparison(Summary("a", left, post_id), Summary("b", right, post_id), choice, **more)


ONE, TWO, THREE = Post("one"), Post("two"), Post("three")


def test_sft_examples_by_hand(prompter: Counting) -> None:
    data = tables(posts=[ONE, TWO], references={"one": "two three", "two": "cat"})
    found = sft_examples(data, prompter, held_out=0.0)
    # WORDS start at id 3, with a leading space at 13: " two" is 14.
    assert [(row.completion, row.reference) for row in found.rows] == [
        ([14, 15, EOS], "two three"),
        ([21, EOS], "cat"),
    ]
    assert found.rows[0].prompt == [3, *prompter.prompt(ONE)[1:]]
    assert [row.post for row in found.rows] == [ONE, TWO]
    assert found.splits() == {TRAIN: 2}
    assert found.left_out == {}


def test_pair_keeps_sides_and_all_that_was_said(prompter: Counting) -> None:
    mine = label(ONE, "cat", "dog dog", 0.25, labeler="w", batch="b3", split="valid2", strength=3)
    found = pair_examples(tables(mine, posts=[ONE], references={}), prompter).rows[0]
    assert found.left == [21, EOS]
    assert found.right == [22, 22, EOS]
    assert found.target == 0.25
    assert (found.strength, found.batch, found.labeler, found.split) == (3, "b3", "w", "valid2")
    assert found.policies == ("a", "b")
    assert found.texts == ("cat", "dog dog")
    assert found.chars == (3, 7)
    assert found.id == mine.id


def test_ties_and_missing_strength_are_kept(prompter: Counting) -> None:
    found = pair_examples(
        tables(label(ONE, "cat", "dog", 0.5), posts=[ONE], references={}), prompter, held_out=0
    )
    assert found.rows[0].target == 0.5
    assert found.rows[0].strength is None


def test_prompts_need_no_reference(prompter: Counting) -> None:
    data = tables(posts=[ONE, TWO], references={"two": "cat"})
    found = ppo_prompts(data, prompter, held_out=0)
    assert [(row.id, row.reference) for row in found.rows] == [(ONE.id, None), (TWO.id, "cat")]
    assert found.rows[0].tokens == prompter.prompt(ONE)


def test_each_text_is_tokenised_once(prompter: Counting) -> None:
    labels = [label(ONE, "cat", "dog"), label(ONE, "cat", "two"), label(TWO, "dog", "cat")]
    found = pair_examples(tables(*labels, posts=[ONE, TWO], references={}), prompter)
    assert len(found.rows) == 3
    # "two" is a post and a summary: each once.
    assert prompter.rendered == {"one": 1, "two": 2, "cat": 1, "dog": 1}
    assert found.rows[0].prompt is found.rows[1].prompt


def test_rows_left_out_are_counted_by_reason(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, "tldr_on_news", max_completion_tokens=3)
    news = Post("four", domain="cnndm")
    long = [" ".join(["cat"] * n) for n in (3, 4)]
    labels = [
        label(ONE, "cat", "dog"),
        label(ONE, "cat", "cat"),
        label(ONE, "cat", " "),
        label(ONE, *long),
        label(None, "cat", "dog"),
        label(news, "cat", "dog"),
        Comparison(Summary("a", None, ONE.id, chars=3), Summary("b", "dog", ONE.id), 1.0, "nobody"),
        label(TWO, "cat", "dog", split="train", labeler="x"),
        label(TWO, "cat", "dog", split="valid1", labeler="y"),
        label(THREE, "cat", "dog", labeler="undecided"),
    ]
    data = tables(*labels, posts=[ONE, TWO, THREE, news], references={})
    undecided = data.comparisons["labeler"] == "undecided"
    data.comparisons.loc[undecided, "choice"] = np.nan
    found = pair_examples(data, {"tldr": prompter}, held_out=0.0)
    assert found.left_out == {
        "identical texts": 1,
        "empty summary": 1,
        "identical texts after truncation": 1,
        "no post text": 1,
        "no prompt format for domain cnndm": 1,
        "no summary text": 1,
        "training row of a post that a held-out split has": 1,
        "no choice": 1,
    }
    assert found.splits() == {TRAIN: 1, VALID1: 1}


def test_nothing_left_is_an_error_with_the_reasons(prompter: Counting) -> None:
    data = tables(label(None, "cat", "dog"), label(None, "dog", "two"), posts=[], references={})
    with pytest.raises(DataError, match=r"no pair to train on is left: 2 with no post text; allow"):
        pair_examples(data, prompter)
    with pytest.raises(DataError, match="no reference summary to train on is left: no row"):
        sft_examples(tables(posts=[ONE], references={}), prompter)


def test_a_split_that_is_not_there_names_those_that_are(prompter: Counting) -> None:
    data = tables(label(ONE, "cat", "dog", split="valid2"), posts=[ONE], references={})
    found = pair_examples(data, prompter)
    assert len(found.of("valid1", "valid2")) == 1
    with pytest.raises(DataError, match=r"no pair of split train; allowed valid2 \(1\)"):
        found.of("train")


def test_posts_without_a_split_are_shared_out_by_their_id() -> None:
    posts = [Post(f"text {i}") for i in range(4000)]
    data = tables(posts=posts, references={})
    splits = post_splits(data, held_out=0.2)
    counts = Counter(splits.values())
    # Binomial(4000, .1): mean 400, SD 19.
    assert abs(counts[VALID1] - 400) < 80
    assert abs(counts[VALID2] - 400) < 80
    turned = replace(data, posts=data.posts.iloc[::-1])
    assert post_splits(turned, held_out=0.2) == splits
    more = post_splits(data, held_out=0.4)
    assert {key for key in splits if splits[key] != TRAIN} <= {k for k in more if more[k] != TRAIN}
    assert set(post_splits(data, held_out=0.0).values()) == {TRAIN}


def test_stated_splits_win_and_held_out_ones_first() -> None:
    labels = [
        label(ONE, "cat", "dog", split="train"),
        label(TWO, "cat", "dog", split="train"),
        label(TWO, "cat", "two", split="valid2"),
        label(TWO, "cat", "two", split="valid1"),
    ]
    data = tables(*labels, posts=[ONE, TWO, THREE], references={})
    splits = post_splits(data, held_out=0.0)
    assert splits == {ONE.id: "train", TWO.id: "valid1", THREE.id: "train"}
    stated = replace(data, posts=data.posts.assign(split=["test", None, "test"]))
    assert post_splits(stated)[THREE.id] == "test"


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"held_out is .*; allowed 0 up to, not including, 1"):
        post_splits(tables(posts=[ONE], references={}), held_out=share)


def test_limits_are_nested_and_keep_the_order(prompter: Counting) -> None:
    posts = [Post(f"text {i}") for i in range(60)]
    data = tables(posts=posts, references={})
    every = [row.id for row in ppo_prompts(data, prompter, held_out=0.3).rows]
    kept = {
        n: ppo_prompts(data, prompter, held_out=0.3, limits={TRAIN: n, VALID1: 2}) for n in (5, 20)
    }
    small, large = ([row.id for row in kept[n].of(TRAIN)] for n in (5, 20))
    assert (len(small), len(large)) == (5, 20)
    assert set(small) < set(large)
    assert [id_ for id_ in every if id_ in set(large)] == large
    # Not the first ones: files are often sorted by batch or day.
    in_training = [row.id for row in ppo_prompts(data, prompter, held_out=0.3).of(TRAIN)]
    assert large != in_training[:20]
    assert len(kept[5].of(VALID1)) == 2
    with pytest.raises(ConfigError, match="limit of split train is 0; allowed 1 or more"):
        ppo_prompts(data, prompter, limits={TRAIN: 0})


def test_a_limit_spares_the_tokenizer(prompter: Counting) -> None:
    posts = [Post(f"text {i}") for i in range(30)]
    ppo_prompts(tables(posts=posts, references={}), prompter, limits={TRAIN: 3}, held_out=0)
    assert sum(prompter.rendered.values()) == 3


def test_domains_have_prompters_of_their_own(tokenizer: Any) -> None:
    news = Post("four", domain="cnndm")
    data = tables(posts=[ONE, news], references={"one": "cat", "four": "dog"})
    formats = {"tldr": Prompter(tokenizer, "tldr"), "cnndm": Prompter(tokenizer, "cnndm")}
    rows = sft_examples(data, formats, held_out=0).rows
    assert rows[0].completion == [21, EOS]  # " cat"
    assert rows[1].completion == [12, EOS]  # "dog": news completions have no leading space


def test_progress_counts_examples(prompter: Counting) -> None:
    told: list[tuple[int, int]] = []
    data = tables(posts=[ONE, TWO], references={"one": "cat", "two": "dog"})
    sft_examples(data, prompter, progress=lambda *both: told.append(both))
    assert told == [(1, 2), (2, 2)]


def test_first_reference_of_several(prompter: Counting) -> None:
    builder = Builder()
    builder.keep(ONE, [Summary("reference_summary", t, ONE.id) for t in ("", "cat", "dog")])
    data = builder.tables([])
    assert first_references(data) == {ONE.id: "cat"}
    assert [r.reference for r in sft_examples(data, prompter, held_out=0).rows] == ["cat", "dog"]


def test_real_verdicts_become_pairs(shared_data: Path, prompter: Counting) -> None:
    data = load(shared_data / "tldr_posts" / "posts.jsonl")
    found = pair_examples(data, prompter)
    # 960 verdicts; of these rows nothing is missing, but unknown words may be the same after a cut.
    assert len(found.rows) + sum(found.left_out.values()) == 960
    assert {row.labeler for row in found.rows} == {"gpt-4"}
    assert {frozenset(row.policies) for row in found.rows} == {
        frozenset({"openai_1.3b_ppo", "reference_summary"})
    }
