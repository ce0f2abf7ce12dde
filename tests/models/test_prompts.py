"""Prompts are the paper's, cut as the paper cuts, and completions end in EOS.

The tokenizer is a byte-level BPE trained here on a few sentences: like GPT-2's it splits at white
space first, joins a leading space to its word, and loses nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from evalsuite.errors import ConfigError, DataError
from evalsuite.models.prompts import (
    EXAMPLE_SEPARATOR,
    FORMATS,
    Prompter,
    PromptFormat,
    prompt_format,
    same_rendering,
)
from evalsuite.records import Post

CORPUS = [
    "My brother and I moved to the coast last summer, and the house was colder than we thought.",
    "Should I tell her that the dog ate the letter? I do not know what to do about it.",
    "SUBREDDIT: r/relationships TITLE: POST: TL;DR: Article: Subreddit: Title: =====",
]


def build(*, pad: str | None = "[PAD]", bos: bool = False) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "[PAD]", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 3, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    named: dict[str, Any] = {"bos_token": "<s>"} if bos else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", pad_token=pad, **named
    )


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build()


POST = Post(
    "We moved.\nThe house was cold.\nThe dog ate the letter.",
    title="What {now}?",
    section="relationships",
)

# Written out from the table of appendix B.2.
TEXTS = {
    "tldr": "SUBREDDIT: r/relationships\n\nTITLE: What {now}?\n\nPOST: %s\n\nTL;DR:",
    "tldr_reward": "SUBREDDIT: r/relationships\n\nTITLE: What {now}?\n\nPOST: %s\n\nTL;DR:",
    "tldr_on_news": "%s\n\nTL;DR:",
    "tldr_zero_shot": "Subreddit: r/relationships\n\nTitle: What {now}?\n\n%s\n\nTL;DR:",
    "cnndm": "Article:\n%s\n\nTL;DR:\n",
    "cnndm_zero_shot": "Article:\n\n%s\n\nTL;DR:",
}
LENGTHS = {
    "tldr": (512, 48),
    "tldr_reward": (512, 128),
    "tldr_on_news": (512, 48),
    "tldr_zero_shot": (1999, 48),
    "cnndm": (1919, 128),
    "cnndm_zero_shot": (1919, 128),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_the_papers(tokenizer: Any, name: str) -> None:
    prompter = Prompter(tokenizer, name)
    assert tokenizer.decode(prompter.prompt(POST)) == TEXTS[name] % POST.text
    assert (prompter.max_prompt_tokens, prompter.max_completion_tokens) == LENGTHS[name]
    assert prompter.format.completion_prefix == ("" if name == "cnndm" else " ")
    newline = tokenizer("\n")["input_ids"][0]
    assert prompter.eos_id == (newline if "zero_shot" in name else tokenizer.eos_token_id)


def test_a_post_without_title_or_section_leaves_them_empty(tokenizer: Any) -> None:
    prompt = Prompter(tokenizer, "tldr").prompt(Post("We moved."))
    assert tokenizer.decode(prompt) == "SUBREDDIT: r/\n\nTITLE: \n\nPOST: We moved.\n\nTL;DR:"


def test_braces_of_a_template_may_be_doubled(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, PromptFormat("{{text}} {text}{{"))
    assert tokenizer.decode(prompter.prompt(Post("a{title}"))) == "{text} a{title}{"


def naive(tokenizer: Any, post: Post, limit: int) -> list[int] | None:
    """Appendix B.2 word for word: cut at the last newline, else one character; encode again."""
    text = post.text
    while True:
        tokens: list[int] = tokenizer(
            f"SUBREDDIT: r/{post.section}\n\nTITLE: {post.title}\n\nPOST: {text}\n\nTL;DR:",
            add_special_tokens=False,
        )["input_ids"]
        if len(tokens) <= limit:
            return tokens
        if not text:
            return None
        text = text[: text.rindex("\n")] if "\n" in text else text[:-1]


def test_cuts_at_the_last_newline_that_fits(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, "tldr")
    one, two = "We moved.", "We moved.\nThe house was cold."
    one_line = len(prompter.prompt(dataclasses.replace(POST, text=one)))
    two_lines = len(prompter.prompt(dataclasses.replace(POST, text=two)))

    def cut(limit: int) -> str:
        prompt = Prompter(tokenizer, "tldr", max_prompt_tokens=limit).prompt(POST)
        text: str = tokenizer.decode(prompt)
        return text.split("POST: ")[1].removesuffix("\n\nTL;DR:")

    assert cut(two_lines) == two
    assert cut(two_lines - 1) == one
    assert cut(one_line) == one
    assert cut(one_line - 1) in ("We moved", "We move", "We mov", "We mo", "We m")


LINES = st.lists(
    st.text("abe \u00e9\u4e2d.\n", max_size=60) | st.sampled_from([*CORPUS, "x" * 90, "\n\n\n"]),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60)
@given(lines=LINES, joint=st.sampled_from(["\n", " ", ""]), limit=st.integers(30, 120))
def test_cut_is_the_naive_one(lines: list[str], joint: str, limit: int) -> None:
    tokenizer = TOKENIZER
    post = Post(joint.join(lines) or "a", title="What now?", section="tifu")
    prompter = Prompter(tokenizer, "tldr", max_prompt_tokens=limit)
    expected = naive(tokenizer, post, limit)
    if expected is None:
        with pytest.raises(DataError, match="a post without its text"):
            prompter.prompt(post)
    else:
        assert prompter.prompt(post) == expected


TOKENIZER = build()


def test_long_texts_are_not_encoded_once_a_character(tokenizer: Any) -> None:
    post = Post(" ".join(CORPUS * 20), title="What now?", section="tifu")  # no newline
    calls = []

    class Counting:
        is_fast, bos_token_id = True, None
        eos_token_id, pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id

        def __call__(self, text: str, **options: Any) -> Any:
            calls.append(text)
            return tokenizer(text, **options)

    prompt = Prompter(Counting(), "tldr", max_prompt_tokens=900).prompt(post)
    assert len(calls) < 150
    full = len(post.text)
    assert prompt == naive(tokenizer, post, 900)
    assert len(tokenizer.decode(prompt)) < full - 600  # so many times the naive way encodes


def test_tokenizers_without_offsets_cut_alike(tokenizer: Any) -> None:
    class Slow:
        is_fast, bos_token_id = False, None
        eos_token_id, pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id

        def __call__(self, text: str, **options: Any) -> Any:
            return tokenizer(text, **options)

    post = Post(CORPUS[0] + "\n" + CORPUS[1], title="t", section="s")
    for limit in (30, 40, 50):
        slow, fast = (Prompter(t, "tldr", max_prompt_tokens=limit) for t in (Slow(), tokenizer))
        assert slow.prompt(post) == fast.prompt(post)


def test_nothing_left_to_cut(tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"without its text has \d+ tokens; allowed max_prompt_tok"):
        Prompter(tokenizer, "tldr", max_prompt_tokens=5).prompt(POST)


def test_completion_has_a_leading_space_and_eos(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, "tldr", max_completion_tokens=6)
    ids = tokenizer(" My brother")["input_ids"]
    assert prompter.completion("My brother") == [*ids, tokenizer.eos_token_id]
    assert prompter.completion("  My brother\n") == prompter.completion("My brother")
    long = tokenizer(" " + CORPUS[0])["input_ids"]
    assert prompter.completion(CORPUS[0]) == [*long[:5], tokenizer.eos_token_id]
    assert prompter.completion("") == [tokenizer.eos_token_id]
    bare = Prompter(tokenizer, "cnndm").completion("My brother")
    assert bare == [*tokenizer("My brother")["input_ids"], tokenizer.eos_token_id]


def test_text_stops_at_the_first_end(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, "tldr")
    sampled = [*prompter.completion("My brother"), *tokenizer(" and more")["input_ids"]]
    assert prompter.text(sampled) == "My brother"
    assert prompter.text([prompter.pad_id, *tokenizer(" the dog ")["input_ids"]]) == "the dog"
    assert prompter.text([prompter.eos_id]) == prompter.text([]) == ""
    shot = Prompter(tokenizer, "tldr_zero_shot")
    assert shot.text(tokenizer(" the dog\nSUB")["input_ids"]) == "the dog"
    assert shot.text([*tokenizer(" dog")["input_ids"], tokenizer.eos_token_id, 9]) == "dog"


def test_bos_counts_inside_the_limit() -> None:
    tokenizer = build(bos=True)
    prompter = Prompter(tokenizer, "tldr")
    prompt = prompter.prompt(POST)
    assert prompt[0] == tokenizer.bos_token_id
    assert prompt[1:] == Prompter(TOKENIZER, "tldr").prompt(POST)
    assert tokenizer.bos_token_id not in prompter.completion("My brother")
    limit = len(prompt) - 1
    assert len(Prompter(tokenizer, "tldr", max_prompt_tokens=limit).prompt(POST)) <= limit
    assert prompt[1:] == Prompter(TOKENIZER, "tldr", max_prompt_tokens=limit).prompt(POST)


EXAMPLES = [
    (Post("The dog ate it.", title="Dog", section="dogs"), " The dog. "),
    (Post("x " * 300, title="Long", section="dogs"), "Too long."),
    (Post("I do not know.", title="Help", section="self"), "What to do?"),
]
SHOTS = [
    "Subreddit: r/dogs\n\nTitle: Dog\n\nThe dog ate it.\n\nTL;DR: The dog.\n\n=====\n\n",
    "Subreddit: r/self\n\nTitle: Help\n\nI do not know.\n\nTL;DR: What to do?\n\n=====\n\n",
]


def test_examples_fill_the_context(tokenizer: Any) -> None:
    query = TEXTS["tldr_zero_shot"] % POST.text
    for shots in ("", SHOTS[0], SHOTS[0] + SHOTS[1]):  # each just fits; one token less does not
        whole = tokenizer(shots + query)["input_ids"]
        full = Prompter(
            tokenizer, "tldr_zero_shot", max_prompt_tokens=len(whole), examples=EXAMPLES
        )
        assert full.prompt(POST) == whole
        if shots:
            less = Prompter(
                tokenizer, "tldr_zero_shot", max_prompt_tokens=len(whole) - 1, examples=EXAMPLES
            )
            prompt = less.prompt(POST)
            assert len(prompt) < len(whole)
            assert tokenizer.decode(prompt).endswith(query)
    assert EXAMPLE_SEPARATOR == "\n\n=====\n\n"


def test_formats_come_back_from_their_fields() -> None:
    saved = dataclasses.asdict(FORMATS["cnndm"])
    assert prompt_format(saved) == FORMATS["cnndm"]
    assert prompt_format("cnndm") is prompt_format(FORMATS["cnndm"])
    with pytest.raises(ConfigError, match="prompt format 'tdlr' is unknown; allowed tldr, tldr_re"):
        prompt_format("tdlr")
    with pytest.raises(ConfigError, match=r"has the fields \['size'\]; allowed template, max_prom"):
        prompt_format({"size": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": "POST:"}, r"has the fields \[\]; allowed \{text\} once"),
        ({"template": "{text}{text}"}, "allowed {text} once"),
        ({"template": "{text}{author}"}, r"\['text', 'author'\]; allowed"),
        ({"template": "{text:>3}"}, "allowed {text} once"),
        ({"template": "{text!r}"}, "allowed {text} once"),
        ({"template": "{text"}, "template '{text': expected"),
        ({"stop": "."}, "stop is '.'; allowed 'eos' or a newline"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens is 0; allowed 1 or more"),
        ({"max_completion_tokens": 1}, "max_completion_tokens is 1; allowed 2 or more"),
    ],
)
def test_formats_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(FORMATS["tldr"], **change)


def test_tokenizers_are_checked() -> None:
    with pytest.raises(ConfigError, match="the tokenizer has no pad token; allowed a token of its"):
        Prompter(build(pad=None))
    with pytest.raises(ConfigError, match="has its end token as pad token; allowed"):
        Prompter(build(pad="<|endoftext|>"))
    headless = build()
    headless.eos_token = None
    with pytest.raises(ConfigError, match="the tokenizer has no EOS token; allowed one that has"):
        Prompter(headless)
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    flat = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="[PAD]")
    with pytest.raises(ConfigError, match="stops at a newline; the tokenizer has no such token"):
        Prompter(flat, "tldr_zero_shot")


def test_context_is_checked_beforehand(tokenizer: Any) -> None:
    prompter = Prompter(tokenizer, "tldr")
    prompter.require_context(560)
    prompter.require_context(None)
    message = "need 560 positions and the model has 512; allowed max_prompt_tokens up to 464"
    with pytest.raises(ConfigError, match=message):
        prompter.require_context(512)


def test_long_posts_bring_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = build()
    tokenizer.model_max_length = 32
    with caplog.at_level(logging.WARNING):
        Prompter(tokenizer, "tldr").prompt(Post(" ".join(CORPUS), title="t", section="s"))
    assert not caplog.records


def test_a_checkpoint_goes_on_with_the_prompts_it_was_trained_on() -> None:
    trained = dataclasses.asdict(FORMATS["tldr"])
    same_rendering(FORMATS["tldr_reward"], trained, "runs/sft")  # lengths alone differ
    same_rendering(FORMATS["cnndm"], None, "a base model")
    with pytest.raises(ConfigError, match=r"template of the prompt format is .* runs/sft was trai"):
        same_rendering(FORMATS["cnndm"], trained, "runs/sft")
