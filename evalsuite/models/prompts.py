"""Prompts and completions as tokens: the one place that renders either.

Training, scoring and sampling all go through `Prompter`, so what is trained is what is scored.
No padding token is ever part of a prompt or a completion: they are ragged lists, and padding
happens (masked) where a batch is made.

Departures from the paper: its code pads every prompt to one length with single spaces that the
model sees, and here nothing is padded; lengths count the tokens of whatever tokenizer is in use
(the paper's of GPT-2's); a tokenizer that puts a BOS token before a text keeps it, inside the
limit. Source: Stiennon et al. 2020, appendix B.2, and the code released with it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.errors import ConfigError, DataError
from evalsuite.records import Post, shown

FIELDS = ("section", "title", "text")
EXAMPLE_SEPARATOR = "\n\n=====\n\n"

MARGIN = 16
"""Tokens by which a cut text's own encoding may be shorter than its share of the whole text's:
only the word at the cut is encoded differently, and this is far more than a word has."""


@dataclass(frozen=True)
class PromptFormat:
    """How a post becomes a prompt, and how long prompt and completion may be, in tokens.

    template: text with `{text}` once and perhaps `{section}` and `{title}`, fields of a `Post`;
        a title or section that a post lacks is empty.
    max_prompt_tokens: longest prompt; the post's text is cut at newlines until it fits.
    max_completion_tokens: longest completion with its EOS. 48 in the paper; 53 gives tokenizers
        coarser or finer than GPT-2's the room that Huang et al. 2024 found necessary.
    completion_prefix: put before the summary's text; the prompt itself has no trailing space.
    stop: what ends a completion: "eos", or "\\n" for models that were never trained to end.
    """

    template: str
    max_prompt_tokens: int = 512
    max_completion_tokens: int = 53
    completion_prefix: str = " "
    stop: str = "eos"

    def __post_init__(self) -> None:
        try:
            parts = [p for p in string.Formatter().parse(self.template) if p[1] is not None]
        except ValueError as error:
            raise ConfigError(f"template {shown(self.template)}: {error}") from None
        names = [name for _, name, _, _ in parts]
        plain = all(spec == "" and conversion is None for _, _, spec, conversion in parts)
        if names.count("text") != 1 or not set(names) <= set(FIELDS) or not plain:
            raise ConfigError(
                f"template {shown(self.template)} has the fields {names}; allowed {{text}} once, "
                "{title} and {section}"
            )
        if self.stop not in ("eos", "\n"):
            raise ConfigError(f"stop is {shown(self.stop)}; allowed 'eos' or a newline")
        for name, least in (("max_prompt_tokens", 1), ("max_completion_tokens", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed {least} or more")

    def around(self, post: Post) -> tuple[str, str]:
        """The rendered prompt before and after the post's text."""
        values = {"title": post.title or "", "section": post.section or ""}
        sides = [""]
        for literal, name, _, _ in string.Formatter().parse(self.template):
            sides[-1] += literal
            if name == "text":
                sides.append("")
            elif name is not None:
                sides[-1] += values[name]
        return sides[0], sides[1]


TLDR = "SUBREDDIT: r/{section}\n\nTITLE: {title}\n\nPOST: {text}\n\nTL;DR:"

FORMATS: dict[str, PromptFormat] = {
    "tldr": PromptFormat(TLDR, 512, 48),
    "tldr_reward": PromptFormat(TLDR, 512, 128),
    "tldr_on_news": PromptFormat("{text}\n\nTL;DR:", 512, 48),
    "tldr_zero_shot": PromptFormat(
        "Subreddit: r/{section}\n\nTitle: {title}\n\n{text}\n\nTL;DR:", 1999, 48, stop="\n"
    ),
    "cnndm": PromptFormat("Article:\n{text}\n\nTL;DR:\n", 1919, 128, completion_prefix=""),
    "cnndm_zero_shot": PromptFormat("Article:\n\n{text}\n\nTL;DR:", 1919, 128, stop="\n"),
}
"""The paper's formats by name. `tldr_on_news` is a TL;DR policy on CNN/DM articles; the zero-shot
formats are for models that are only pretrained, and are best given `examples`."""


def prompt_format(value: PromptFormat | str | Mapping[str, Any]) -> PromptFormat:
    """A format from itself, its name in `FORMATS`, or its fields as saved with a checkpoint.

    Raises ConfigError where the name or a field is unknown.
    """
    if isinstance(value, PromptFormat):
        return value
    if isinstance(value, str):
        if value not in FORMATS:
            raise ConfigError(f"prompt format {value!r} is unknown; allowed {', '.join(FORMATS)}")
        return FORMATS[value]
    try:
        return PromptFormat(**value)
    except TypeError:
        known = ", ".join(PromptFormat.__dataclass_fields__)
        raise ConfigError(
            f"prompt format has the fields {sorted(value)}; allowed {known}"
        ) from None


def same_rendering(asked: PromptFormat, trained: Mapping[str, Any] | None, name: str) -> None:
    """Refuse to go on from a checkpoint with prompts that it was not trained on.

    trained: the format in the checkpoint's record, None where it has none. Lengths may differ.
    Raises ConfigError naming the part that does.
    """
    if trained is None:
        return
    known = prompt_format(trained)
    for part in ("template", "completion_prefix", "stop"):
        ours, theirs = getattr(asked, part), getattr(known, part)
        if ours != theirs:
            raise ConfigError(
                f"{part} of the prompt format is {shown(ours)}; allowed that which {name} was "
                f"trained with, {shown(theirs)} (data.prompt_format)"
            )


class Prompter:
    """Posts to prompts, summaries to completions, tokens back to text, for one tokenizer.

    examples: (post, summary) pairs put before each prompt, as many as fit, in their order and
        separated by `EXAMPLE_SEPARATOR`: the paper's way with models that are only pretrained.
    eos_id: the token that ends a completion: the tokenizer's EOS, or its newline where the format
        stops there. pad_id: never that token, or a masked loss could not tell end from padding.

    Raises ConfigError for a tokenizer without an EOS token, or whose pad token is missing or the
    EOS.
    """

    def __init__(
        self,
        tokenizer: Any,
        format: PromptFormat | str | Mapping[str, Any] = "tldr",
        *,
        max_prompt_tokens: int | None = None,
        max_completion_tokens: int | None = None,
        examples: Sequence[tuple[Post, str]] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.format = prompt_format(format)
        self.max_prompt_tokens = max_prompt_tokens or self.format.max_prompt_tokens
        self.max_completion_tokens = max_completion_tokens or self.format.max_completion_tokens
        self.eos_id = self._end()
        self.pad_id = self._pad()
        bos = tokenizer.bos_token_id
        self._begin = [bos] if bos is not None and tokenizer("")["input_ids"][:1] == [bos] else []
        self._examples = [self._example(post, summary) for post, summary in examples]
        self._example_tokens = [len(self._encode(text)) for text in self._examples]

    def prompt(self, post: Post) -> list[int]:
        """Tokens of the rendered post, its text cut until they are at most `max_prompt_tokens`.

        The cut is the paper's: at the last newline of the text, or of one character where it has
        none, encoded again each time until it fits. (Cuts that cannot fit are passed over without
        being encoded.)

        Raises DataError where even an empty text does not fit.
        """
        before, after = self.format.around(post)
        tokens = self._begin + self._encode(before + post.text + after)
        if len(tokens) > self.max_prompt_tokens:
            return self._cut(before, post.text, after)
        return self._with_examples(before + post.text + after, tokens)

    def completion(self, text: str) -> list[int]:
        """Tokens of prefix and stripped text, at most `max_completion_tokens` - 1, then EOS.

        An empty text is the EOS alone, which is what a policy that ends at once has sampled.
        """
        text = text.strip()
        tokens = self._encode(self.format.completion_prefix + text) if text else []
        return [*tokens[: self.max_completion_tokens - 1], self.eos_id]

    def text(self, tokens: Sequence[int]) -> str:
        """The summary in sampled tokens: up to the first end, special tokens left out, stripped."""
        ends = {self.eos_id, self.tokenizer.eos_token_id}
        end = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
        decoded: str = self.tokenizer.decode(
            list(tokens[:end]), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return decoded.strip()

    def require_context(self, positions: int | None) -> None:
        """Raise ConfigError unless the longest prompt and completion fit a model's context.

        positions: the model's `max_position_embeddings`; None where it has no such limit.
        """
        need = self.max_prompt_tokens + self.max_completion_tokens
        if positions is not None and need > positions:
            raise ConfigError(
                f"prompts of {self.max_prompt_tokens} and completions of "
                f"{self.max_completion_tokens} tokens need {need} positions and the model has "
                f"{positions}; allowed max_prompt_tokens up to "
                f"{positions - self.max_completion_tokens}"
            )

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _end(self) -> int:
        end: int | None = self.tokenizer.eos_token_id
        if self.format.stop == "\n":
            end = self._encode("a\n")[-1]
            if self.tokenizer.decode([end]) != "\n":
                raise ConfigError("the format stops at a newline; the tokenizer has no such token")
        if end is None:
            raise ConfigError("the tokenizer has no EOS token; allowed one that has")
        return end

    def _pad(self) -> int:
        pad: int | None = self.tokenizer.pad_token_id
        if pad is None or pad in (self.eos_id, self.tokenizer.eos_token_id):
            what = "no pad token" if pad is None else "its end token as pad token"
            raise ConfigError(
                f"the tokenizer has {what}; allowed a token of its own "
                "(evalsuite.models.checkpoints adds one when it loads a model)"
            )
        return pad

    def _cut(self, before: str, text: str, after: str) -> list[int]:
        limit = self.max_prompt_tokens - len(self._begin)
        longest = self._longest_worth_trying(before, text, after, limit)
        while text:
            at = text.rfind("\n")
            text = text[: at if at >= 0 else -1]
            if len(text) > longest:
                if at < 0:
                    text = text[:longest]
                else:
                    continue
            tokens = self._encode(before + text + after)
            if len(tokens) <= limit:
                return self._begin + tokens
        raise DataError(
            f"a post without its text has {len(tokens) + len(self._begin)} tokens",
            field="title",
            allowed=f"max_prompt_tokens, {self.max_prompt_tokens}",
        )

    def _longest_worth_trying(self, before: str, text: str, after: str, limit: int) -> int:
        """Characters of `text` beyond which its first words alone have more than `limit` tokens.

        Tokenizers split at white space first, so a word's tokens do not depend on what follows.
        """
        if not self.tokenizer.is_fast:
            return len(text)
        encoded = self.tokenizer(
            before + text + after,
            add_special_tokens=False,
            verbose=False,
            return_offsets_mapping=True,
        )
        spans = encoded["offset_mapping"]
        if len(spans) <= limit + MARGIN:
            return len(text)
        end = max(0, spans[limit + MARGIN][1] - len(before))
        word = re.compile(r"\s*\S*").match(text, min(end, len(text)))
        return word.end() if word else len(text)

    def _example(self, post: Post, summary: str) -> str:
        before, after = self.format.around(post)
        prefix = self.format.completion_prefix
        return before + post.text + after + prefix + summary.strip() + EXAMPLE_SEPARATOR

    def _with_examples(self, text: str, tokens: list[int]) -> list[int]:
        shots = ""
        for example, length in zip(self._examples, self._example_tokens, strict=True):
            if len(tokens) + length > self.max_prompt_tokens + MARGIN:
                continue
            # Joined before encoding: pieces encoded apart may split otherwise at their seams.
            longer = self._begin + self._encode(shots + example + text)
            if len(longer) <= self.max_prompt_tokens:
                shots, tokens = shots + example, longer
        return tokens
