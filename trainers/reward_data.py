"""What a reward model is trained on: pairs, the splits held out, references for the zero point.

Everything about the data that can be refused is refused here, before any work.
Proof: tests/trainers/test_reward_model.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.models.checkpoints import Loaded, check_context
from evalsuite.models.prompts import Prompter
from evalsuite.tables import Tables
from trainers.config import DataConfig
from trainers.sequences import PairExample, SFTExample, pair_examples, sft_examples


@dataclass(frozen=True)
class PairDataConfig(DataConfig):
    """Where comparisons come from; fields of `DataConfig`, and:

    domain_formats: prompt formats of posts of other domains.
    report_splits: splits reported at the end, beside the validation splits, where data have them.
    """

    prompt_format: str = "tldr_reward"
    domain_formats: dict[str, str] = field(default_factory=lambda: {"cnndm": "tldr_on_news"})
    report_splits: tuple[str, ...] = ("valid1", "valid2")


class PairData(NamedTuple):
    """Examples of a run: pairs to train on, to validate on and to report, references for the zero.

    prompters: by domain; `prompter` is that of the config's own format.
    """

    tables: Tables
    prompter: Prompter
    prompters: dict[str, Prompter]
    train: list[PairExample]
    validation: list[PairExample]
    held_out: list[PairExample]
    references: list[SFTExample]
    left_out: dict[str, int]


def read_data(
    settings: PairDataConfig, loaded: Loaded, *, references: int, least_strength: int | None = None
) -> PairData:
    """Pairs and references of the settings' files, tokenised.

    references: most references of each training split. least_strength: some validation label must
    be that sure.

    Raises DataError where there is no pair to train or validate on, or no sure label although
    seeds are chosen by them; ModelError where the longest example exceeds the model's context.
    """
    if not settings.paths:
        raise ConfigError("data.paths is empty; allowed files or folders of comparisons")
    tables = load(settings.paths, format=settings.format)
    prompter = _prompter(settings, loaded, settings.prompt_format, settings.max_completion_tokens)
    longest = prompter.max_completion_tokens
    prompters = {}
    for domain in tables.posts["domain"].unique():
        name = settings.domain_formats.get(domain)
        prompters[domain] = _prompter(settings, loaded, name, longest) if name else prompter
    for one in (prompter, *prompters.values()):
        check_context(loaded.model, one.max_prompt_tokens + longest, loaded.name)
    shares: dict[str, Any] = {"held_out": settings.held_out}
    pairs = pair_examples(tables, prompters, limits=settings.limits, **shares)
    train = pairs.of(*settings.train_splits)
    validation = pairs.of(*settings.validation_splits)
    held_out_splits = {*settings.validation_splits, *settings.report_splits}
    held_out = [row for row in pairs.rows if row.split in held_out_splits]
    if least_strength is not None and not any(
        pair.strength is not None and pair.strength >= least_strength for pair in validation
    ):
        raise DataError(
            f"no validation label has strength {least_strength} or more",
            field="select_on", allowed="validation, or a lower high_confidence",
        )  # fmt: skip
    return PairData(
        tables, prompter, prompters, train, validation, held_out,
        _references(settings, tables, prompters, references), pairs.left_out,
    )  # fmt: skip


def _references(
    settings: PairDataConfig, tables: Tables, prompters: Mapping[str, Prompter], most: int
) -> list[SFTExample]:
    """References of training posts, at most so many of each training split."""
    limits = dict.fromkeys(settings.train_splits, most)
    try:
        found = sft_examples(tables, prompters, held_out=settings.held_out, limits=limits)
        return found.of(*settings.train_splits)
    except DataError:  # the data have none: rewards keep the zero that training left them
        return []


def _prompter(
    settings: PairDataConfig, loaded: Loaded, format: str, longest: int | None
) -> Prompter:
    return Prompter(
        loaded.tokenizer, format, max_prompt_tokens=settings.max_prompt_tokens,
        max_completion_tokens=longest,
    )  # fmt: skip


def resolved_format(prompter: Prompter) -> dict[str, Any]:
    """A prompter's format as plain data, its lengths those in use."""
    used = dataclasses.replace(
        prompter.format,
        max_prompt_tokens=prompter.max_prompt_tokens,
        max_completion_tokens=prompter.max_completion_tokens,
    )
    return dataclasses.asdict(used)


def in_words(data: PairData) -> str:
    """How much of what there is."""
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in data.left_out.items())
    return (
        f"pairs: {len(data.train):,} to train on, {len(data.validation):,} to validate on, "
        f"{len(data.held_out):,} held out in all; references for the zero: "
        f"{len(data.references):,}" + (f"; left out: {left_out}" if left_out else "")
    )
