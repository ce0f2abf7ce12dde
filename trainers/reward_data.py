"""What a reward model is trained on: pairs, the splits held out, references for the zero point.

Everything about the data that can be refused is refused here, before any work.
Proof: tests/trainers/test_reward_model.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.models.checkpoints import Loaded, check_context
from evalsuite.models.prompts import Prompter, same_rendering
from evalsuite.tables import Source, Tables
from trainers.config import DataConfig
from trainers.sequences import PairExample, SFTExample, pair_examples, sft_examples


@dataclass(frozen=True)
class PairDataConfig(DataConfig):
    """Where comparisons come from; fields of `DataConfig`, and:

    domain_formats: prompt formats of posts of other domains.
    report_splits: splits reported at the end, beside the validation splits, where data have them.
    report_paths: files of other labels (noiseless ones, say) that are only reported, each under
        its own name, on posts that are not trained on.
    """

    prompt_format: str = "tldr_reward"
    domain_formats: dict[str, str] = field(default_factory=lambda: {"cnndm": "tldr_on_news"})
    report_splits: tuple[str, ...] = ("valid1", "valid2")
    report_paths: tuple[str, ...] = ()


class PairData(NamedTuple):
    """Examples of a run: pairs to train on, to validate on and to report, references for the zero.

    prompters: by domain; `prompter` is that of the config's own format. sources: files read.
    others: names of the `report_paths`, which their pairs in `held_out` have as their split.
    """

    sources: tuple[Source, ...]
    prompter: Prompter
    prompters: dict[str, Prompter]
    train: list[PairExample]
    validation: list[PairExample]
    held_out: list[PairExample]
    references: list[SFTExample]
    left_out: dict[str, int]
    others: tuple[str, ...]


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
    others = {Path(path).stem: load(path, format=settings.format) for path in settings.report_paths}
    prompter = _prompter(settings, loaded, settings.prompt_format, settings.max_completion_tokens)
    longest = prompter.max_completion_tokens
    prompters = {}
    for domain in pd.concat([t.posts["domain"] for t in (tables, *others.values())]).unique():
        name = settings.domain_formats.get(domain)
        prompters[domain] = _prompter(settings, loaded, name, longest) if name else prompter
    same_rendering(prompter.format, loaded.info.prompt_format, loaded.name)
    for one in (prompter, *prompters.values()):
        check_context(loaded.model, one.max_prompt_tokens + longest, loaded.name)
    pairs = pair_examples(tables, prompters, held_out=settings.held_out, limits=settings.limits)
    train = pairs.of(*settings.train_splits)
    validation = pairs.of(*settings.validation_splits)
    if least_strength is not None and not any(
        pair.strength is not None and pair.strength >= least_strength for pair in validation
    ):
        raise DataError(
            f"no validation label has strength {least_strength} or more",
            field="select_on", allowed="validation, or a lower high_confidence",
        )  # fmt: skip
    splits = {*settings.validation_splits, *settings.report_splits}
    held_out = [row for row in pairs.rows if row.split in splits]
    trained = {pair.post.id for pair in train}
    for name, more in others.items():
        told = pair_examples(more, prompters, held_out=settings.held_out).rows
        untouched = [pair for pair in told if pair.post.id not in trained]
        if not untouched:
            raise DataError(f"data.report_paths: {name} has no post that is not trained on")
        held_out += [pair._replace(split=name) for pair in untouched]
    return PairData(
        tuple(source for one in (tables, *others.values()) for source in one.sources),
        prompter, prompters, train, validation, held_out,
        _references(settings, tables, prompters, references), pairs.left_out, tuple(others),
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
