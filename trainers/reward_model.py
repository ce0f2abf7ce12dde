"""A reward model from comparisons, as in Stiennon et al. 2020, read from top to bottom:

    settings -> data -> model -> updates -> zero point -> checkpoint -> report -> choice of seed

The policy after SFT gets a scalar head; the loss of a pair is -log sigmoid(r_chosen - r_rejected),
each reward read at the EOS of its summary. Both summaries of a pair stand in one row behind one
prompt, kept apart by the attention mask: the same numbers as two rows (tested), at about half the
cost. A tie is a target of one half and a soft label its share, so nothing has to be thrown away.

The details of Huang et al. 2024 ("N+", by their numbers), and what is done here
    1       Held-out pairs of policies and domains never trained on are reported apart, in
            accuracy.csv; news posts are rendered by `domain_formats`.
    2, 3    Prompts, truncation, leading space, EOS, a pad token of its own:
            `evalsuite.models.prompts`.
    4       Completions up to 128 tokens, as in OpenAI's code (N+: 169 with its tokenizer, so that
            none is cut); a setting. Departure: nothing is padded to one length.
    5, 6, 20-25  concern SFT and PPO; see sft.py and ppo.py.
    7       Dropout is off: the model stays in evaluation mode.
    8       AdamW, eps 1e-5. Departure: accelerate with DDP or FSDP where N+ used DeepSpeed.
    9, 10   One epoch, 64 pairs an update, cosine to 0 without warm-up, several seeds. The rate is
            the paper's 1.5e-5 for 1.3B (5e-6 for 6.7B, see configs/paper), which it chose by a
            log-linear sweep (`--sweep`); N+ took 3e-6. Departure: gradients are cut to norm 1
            (`max_grad_norm: 0` for none).
    11      Head ~ N(0, 1/(d+1)), no bias: `checkpoints.new_reward_model`.
    12, 13  The reward is the head at the EOS and nowhere else.
    14      Does not arise: padding cannot reach a number.
    15      Shifted so that references of training posts have mean reward 0. The shift stands in
            config.json (`reward_shift`) and evalsuite.json and is applied wherever this project
            scores; the heads of decoder families have no bias, so a plain load gives rewards
            before the shift, with equal differences. N+ keeps it in `config.bias`.
    16      accuracy.csv: by split, policy pair, batch, confidence, domain, labeler, with intervals.
    17-19   Agreement with another judge, calibration, DPO: no part of training; pairs.parquet has
            the reward of every held-out summary, which the first two are computed from.

Departures from the paper: of 3 to 10 seeds it keeps the best on held-out labels, which
`select_on: high_confidence` restricts to sure labels; the paper's threshold is set for each labeler
by agreement with researchers, here it is one strength for all. Labels of identical texts, of posts
without text and with empty summaries are left out and counted.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from evalsuite.errors import ConfigError
from evalsuite.models.checkpoints import new_reward_model, save
from evalsuite.models.packing import Group, Packed, ScalarModel, pack, token_batches
from evalsuite.models.rewards import DOMAIN_FORMATS
from evalsuite.records import content_id
from evalsuite.tables import write_atomically
from trainers.config import (
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    SweepConfig,
    portable,
    require,
)
from trainers.engine import Engine, Trainable
from trainers.folder import FINISHED, begin, check_folder, write_json
from trainers.losses import pairwise_loss
from trainers.resume import MODEL, Run
from trainers.reward_data import PairData, PairDataConfig, in_words, read_data, resolved_format
from trainers.reward_report import (
    ACCURACY,
    PAIRS,
    accuracy_in_words,
    closing_numbers,
    reference_shift,
    score_pairs,
    write_report,
)
from trainers.schedule import batch_indices, learning_rate, total_updates
from trainers.sequences import PairExample
from trainers.sweep import copy_folder, sweep

KIND, SEEDS_KIND, SEEDS = "rm", "rm seeds", "seeds.csv"


@dataclass(frozen=True)
class RewardModelConfig:
    """A reward model and its training.

    model: the policy to start from, normally the SFT checkpoint.
    batch_size: pairs an update.
    epochs: passes over the pairs; may be less than 1.
    seed: of the head and of the order of the pairs.
    seeds: train one model for each of these, in `seed-N` below the folder; the best is `model`.
    select_on: what makes a seed, or a rate of a sweep, the best: accuracy on the "validation"
        splits, or on their "high_confidence" labels.
    high_confidence: least strength (1 to 4) of a label that counts as sure.
    evaluate_every: updates between validations; there is one after the last.
    evaluate_pairs: most pairs of a validation on the way; the last report takes all.
    references: most reference summaries, of training posts, that set the zero point.
    """

    model: str = ""
    data: PairDataConfig = field(default_factory=PairDataConfig)
    batch_size: int = 64
    epochs: float = 1.0
    seed: int = 0
    seeds: tuple[int, ...] = ()
    select_on: Literal["validation", "high_confidence"] = "validation"
    high_confidence: int = 3
    evaluate_every: int = 100
    evaluate_pairs: int = 1024
    references: int = 4096
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=1.5e-5)
    )
    sweep: SweepConfig = field(default_factory=SweepConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "evaluate_every", "evaluate_pairs", "references"):
            require(name, getattr(self, name), low=1)
        require("epochs", self.epochs, low=1e-9)
        require("high_confidence", self.high_confidence, low=1, high=4)
        if len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds are {list(self.seeds)}; allowed each once")


class PairBatch(NamedTuple):
    """Some pairs ready for the model: rows with two read-outs a pair, left first; targets (n,)."""

    rows: Packed
    target: Tensor


def train_reward_model(
    config: RewardModelConfig, folder: str | Path, *, resume: bool = False
) -> Path:
    """Train one reward model, or one a seed of which the best is kept; returns its checkpoint.

    folder: gets config.json, metrics.jsonl, checkpoints/, model/, accuracy.csv and pairs.parquet
    (where there are several seeds, each has its own below `seed-N`, seeds.csv compares them, and
    the last three are the best one's).

    Raises before any work what can be known before it: ModelError (the policy), DataError (no pair
    to train or validate on), ConfigError (settings), TrainingError (the folder).
    """
    engine, folder = Engine(config.engine), Path(folder)
    if not config.seeds:
        _train(config, folder, engine, None, resume)
        return folder / MODEL
    if engine.on_main(lambda: check_folder(folder, config, kind=SEEDS_KIND, resume=resume)):
        return folder / MODEL
    steps = len(config.seeds)
    engine.on_main(lambda: begin(folder, config, kind=SEEDS_KIND, total_steps=steps, inputs=()))
    data: PairData | None = None
    for seed in config.seeds:
        one = dataclasses.replace(config, seed=seed, seeds=())
        data = _train(one, folder / f"seed-{seed}", engine, data, resume=True)
        engine.accelerator.free_memory()  # accelerate keeps every model that it prepared
        gc.collect()
    return engine.on_main(lambda: keep_best(config, folder))


def sweep_reward_model(
    config: RewardModelConfig, folder: str | Path, *, resume: bool = False
) -> Path:
    """Train once for each rate of `config.sweep`; the best by `select_on` becomes the model."""
    return sweep(
        train_reward_model, config, folder, kind=KIND, metric=f"{config.select_on}_accuracy",
        lowest=False, resume=resume,
    )  # fmt: skip


def _train(
    config: RewardModelConfig, folder: Path, engine: Engine, data: PairData | None, resume: bool
) -> PairData | None:
    """One seed, from the policy to the report; the data, for the next one."""
    if engine.on_main(lambda: check_folder(folder, config, kind=KIND, resume=resume)):
        return data
    loaded = new_reward_model(_required(config.model), seed=config.seed)
    sure = config.high_confidence if config.select_on == "high_confidence" else None
    data = data or read_data(config.data, loaded, references=config.references, least_strength=sure)
    total = total_updates(len(data.train), config.batch_size, config.epochs)
    run = Run(
        folder, config, kind=KIND, total_steps=total, engine=engine, resume=resume,
        inputs=data.sources,
    )  # fmt: skip
    run.say(in_words(data))
    trainable = engine.prepare("reward_model", ScalarModel(loaded.model), config.optimizer)
    run.restore([trainable])
    loss, share = pair_loss(trainable), _scalar(trainable.plain).shares
    validation = _sample(data.validation, config.evaluate_pairs)

    def batches(pairs: Sequence[PairExample]) -> list[PairBatch]:
        return pair_batches(pairs, pad_id=data.prompter.pad_id, engine=engine, share=share)

    def score(pairs: Sequence[PairExample], shift: float = 0.0) -> pd.DataFrame:
        with engine.whole(trainable) as model:
            return score_pairs(_scalar(model), pairs, engine, shift=shift, **reading)

    reading: dict[str, Any] = {
        "pad_id": data.prompter.pad_id,
        "max_batch_tokens": config.engine.micro_batch_tokens,
    }
    with run:
        for step in run.steps():
            began = time.perf_counter()
            chosen = batch_indices(
                step, examples=len(data.train), batch_size=config.batch_size, epochs=config.epochs,
                seed=config.seed,
            )  # fmt: skip
            pairs = [data.train[at] for at in chosen]
            rate = learning_rate(config.optimizer, step, total)
            update = engine.update(
                trainable, batches(engine.mine(_by_length(pairs))), loss, count=len(pairs),
                learning_rate=rate, filler=batches(pairs[:1])[0] if engine.processes > 1 else None,
            )  # fmt: skip
            run.log(_numbers(update.sums, len(pairs)))
            tokens = sum(_row_length(pair, share) for pair in pairs)
            run.log({
                "learning_rate": rate,
                "grad_norm": update.grad_norm,
                "tokens": tokens,
                "tokens_per_second": tokens / (time.perf_counter() - began),
                "peak_memory_gib": engine.peak_memory(),
            })  # fmt: skip
            if step % config.evaluate_every == 0 or step == total:
                found = closing_numbers(score(validation))
                run.log({f"validation_{name}": value for name, value in found.items()})
    with engine.whole(trainable) as model:
        shift = 0.0
        if data.references:
            shift = reference_shift(_scalar(model), data.references, engine, **reading)
    rows = score(data.held_out, shift)
    closing = _closing(config, rows) | {"reward_shift": shift, "references": len(data.references)}
    weights = engine.state_dict(trainable)

    def write() -> None:
        info = loaded.info.replace(
            config=portable(config), seed=config.seed, step=total, reward_shift=shift,
            data=[dataclasses.asdict(source) for source in data.sources],
            prompt_format=resolved_format(data.prompter), metrics=closing,
            more={DOMAIN_FORMATS: {
                domain: resolved_format(prompter) for domain, prompter in data.prompters.items()
                if prompter is not data.prompter
            }},
        )  # fmt: skip
        save(folder / MODEL, loaded.model, loaded.tokenizer, info, state_dict=weights)
        table = write_report(folder, rows, apart=data.others)
        for split in table["split"].unique():
            run.say(accuracy_in_words(table, split))

    engine.on_main(write)
    run.finish(closing)
    return data


def pair_batches(
    pairs: Sequence[PairExample], *, pad_id: int, engine: Engine, share: bool
) -> list[PairBatch]:
    """Micro-batches of at most `micro_batch_tokens` tokens, pairs of like length together."""
    lengths = [_row_length(pair, share) for pair in pairs]
    batches = []
    for places in token_batches(lengths, engine.config.micro_batch_tokens):
        chosen = [pairs[at] for at in places]
        rows = pack(
            [Group(pair.prompt, [pair.left, pair.right]) for pair in chosen], pad_id=pad_id,
            read="last", share=share, device=engine.device, dtype=engine.precision,
        )  # fmt: skip
        target = torch.tensor([pair.target for pair in chosen], device=engine.device)
        batches.append(PairBatch(rows, target))
    return batches


def pair_loss(trainable: Trainable) -> Callable[[PairBatch], tuple[Tensor, dict[str, Any]]]:
    """The loss of a micro-batch summed over its pairs, and sums for the record."""

    def loss(batch: PairBatch) -> tuple[Tensor, dict[str, Any]]:
        rewards = trainable.module(batch.rows)
        left, right = rewards[0::2], rewards[1::2]
        total = pairwise_loss(right, left, batch.target).sum()
        side = torch.sign(batch.target - 0.5)
        with torch.no_grad():
            gap = (right - left) * side  # of the preferred side; 0 for a tie
            decided = side != 0
            return total, {
                "loss": total.detach(),
                "right": ((torch.sign(gap) + 1) / 2)[decided].sum(),
                "margin": gap.sum(),
                "decided": decided.sum(),
                "reward": rewards.sum() / 2,
            }

    return loss


def _numbers(sums: Mapping[str, float], pairs: int) -> dict[str, float]:
    decided = sums["decided"] or float("nan")
    return {
        "loss": sums["loss"] / pairs,
        "accuracy": sums["right"] / decided,
        "margin": sums["margin"] / decided,
        "reward": sums["reward"] / pairs,
        "pairs": pairs,
    }


def _closing(config: RewardModelConfig, rows: pd.DataFrame) -> dict[str, Any]:
    """Closing numbers: of the validation splits, and of their sure labels."""
    validation = rows[rows["split"].isin(config.data.validation_splits)]
    sure = validation[validation["strength"].ge(config.high_confidence).fillna(False)]
    found = {f"validation_{name}": value for name, value in closing_numbers(validation).items()}
    more = {f"high_confidence_{name}": v for name, v in closing_numbers(sure).items()}
    return found | more


def keep_best(config: RewardModelConfig, folder: Path) -> Path:
    """Copy the best seed's checkpoint and report, and write seeds.csv; returns the checkpoint.

    Best: highest accuracy of the kind that `select_on` names; of equals the lower validation loss,
    then the first. All seeds stay where they are, as members for an ensemble.
    """
    found = {}
    for seed in config.seeds:
        closing = json.loads((folder / f"seed-{seed}" / FINISHED).read_text(encoding="utf-8"))
        found[seed] = {key: value for key, value in closing.items() if key != "seconds"}

    def rank(seed: int) -> tuple[float, float]:
        accuracy = found[seed][f"{config.select_on}_accuracy"]
        # A validation of nothing but ties has no accuracy.
        return -(accuracy if accuracy is not None else -1.0), found[seed]["validation_loss"]

    best = min(found, key=rank)
    table = pd.DataFrame([{"seed": n, "best": n == best, **row} for n, row in found.items()])
    write_atomically(folder / SEEDS, lambda temporary: table.to_csv(temporary, index=False))
    for name in (ACCURACY, PAIRS):
        source = folder / f"seed-{best}" / name
        write_atomically(folder / name, partial(shutil.copyfile, source))
    copy_folder(folder / f"seed-{best}" / MODEL, folder / MODEL)
    write_json(folder / FINISHED, {"seed": best, **found[best]})
    return folder / MODEL


def _required(model: str) -> str:
    if not model:
        raise ConfigError(
            "model is empty; allowed the folder of an SFT checkpoint, a shipped base such as "
            "world-small, or a hub name"
        )
    return model


def _sample(pairs: Sequence[PairExample], most: int) -> list[PairExample]:
    """At most so many pairs, those of smallest hash: no batch of labels is preferred."""
    return sorted(pairs, key=lambda pair: content_id("validate", pair.id))[:most]


def _row_length(pair: PairExample, share: bool) -> int:
    """Tokens that a pair takes in a micro-batch."""
    if share:
        return len(pair.prompt) + len(pair.left) + len(pair.right)
    return 2 * (len(pair.prompt) + max(len(pair.left), len(pair.right)))


def _by_length(pairs: Sequence[PairExample]) -> list[PairExample]:
    """Longest first, so that every process gets as much to do."""
    return sorted(pairs, key=lambda pair: -_row_length(pair, True))


def _scalar(model: Any) -> ScalarModel:
    assert isinstance(model, ScalarModel)
    return model
