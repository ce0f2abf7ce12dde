"""Supervised fine-tuning on reference summaries, as in Stiennon et al. 2020, top to bottom:

    settings -> data -> model -> updates, validation, samples -> checkpoint

    evalsuite train sft --config configs/world/sft.yaml --out runs/sft

The loss is the negative log-likelihood of the completion's tokens (its EOS among them), nats,
summed and divided by their number in the whole batch. Prompts carry no loss, and logits are
computed where they carry one: at a vocabulary of 50,000 that is most of the work of a small model.

The details of Huang et al. 2024 ("N+", by their numbers), and what is done here
    2, 3, 4  Prompts, truncation at newlines, leading space, EOS, a pad token of its own, lengths:
             `evalsuite.models.prompts`, one place for all trainers.
    5        Loss on the completion alone, padded on the right. Departure: a batch is cut up by
             tokens, not rows, and gradients are weighed by tokens, not by micro-batches.
    7        Dropout is off: the model stays in evaluation mode.
    8        AdamW, eps 1e-5. Departure: accelerate with DDP or FSDP where N+ used DeepSpeed.
    9, 10    One epoch, batches of 128, cosine to 0 without warm-up. The paper chose its rate by a
             log-linear sweep of at least 7 (`--sweep`): 6.35e-5 for 1.3B, 2.83e-5 for 6.7B; N+
             took 3e-6 throughout.
    Departures from both: gradients are cut to norm 1 (`max_grad_norm: 0` for none); greedy samples
    (T = 0) where the paper's code has T = .01.

Proof: tests/trainers/test_sft.py, test_processes.py, test_kill_and_resume.py.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from evalsuite.datasets import load
from evalsuite.errors import ConfigError
from evalsuite.metrics import rouge
from evalsuite.models.checkpoints import Loaded, check_context, load_policy, made_here, save
from evalsuite.models.packing import Group, Packed, PolicyModel, pack, token_batches
from evalsuite.models.prompts import Prompter
from evalsuite.models.sampling import Prompt, sample
from evalsuite.tables import Tables
from trainers.config import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    SweepConfig,
    portable,
    require,
)
from trainers.engine import Engine, Trainable
from trainers.folder import check_folder
from trainers.resume import MODEL, Run
from trainers.schedule import batch_indices, learning_rate, total_updates
from trainers.sequences import SFTExample, sft_examples
from trainers.sweep import sweep

KIND = "sft"


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning.

    model: what to start from: a folder, a shipped base (world-small), smollm2-135m, a hub name.
    batch_size: examples an update.
    epochs: passes over the examples; may be less than 1.
    loss: tokens that carry it: "completion", or "all_tokens" of prompt and completion.
    seed: of the order of the examples.
    evaluate_every: updates between validations; there is one before the first and after the last.
    evaluate_examples: most validation examples on the way; the last validation takes all.
    sample_prompts: validation posts that get a greedy summary at each validation, for ROUGE and
        samples.jsonl; 0 for none.
    """

    model: str = "world-small"
    data: DataConfig = field(default_factory=DataConfig)
    batch_size: int = 128
    epochs: float = 1.0
    loss: Literal["completion", "all_tokens"] = "completion"
    seed: int = 0
    evaluate_every: int = 100
    evaluate_examples: int = 512
    sample_prompts: int = 32
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=6.35e-5)
    )
    sweep: SweepConfig = field(default_factory=SweepConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "evaluate_every", "evaluate_examples"):
            require(name, getattr(self, name), low=1)
        require("epochs", self.epochs, low=1e-9)
        require("sample_prompts", self.sample_prompts, low=0)


class Data(NamedTuple):
    """Examples of a run, and the tables and the prompter they come from."""

    tables: Tables
    prompter: Prompter
    train: list[SFTExample]
    validation: list[SFTExample]
    left_out: dict[str, int]


def train_sft(config: SFTConfig, folder: str | Path, *, resume: bool = False) -> Path:
    """Train a policy into the run folder; returns the folder of its checkpoint.

    A run that is finished already is left as it is.

    Raises before any work what can be known before it: TrainingError (the folder), DataError (no
    data, no references), ConfigError (settings), ModelError (the model, its context, its tokens);
    later DivergedError and TrainingError, with the newest checkpoint intact.
    """
    engine = Engine(config.engine)
    folder = Path(folder)
    if engine.on_main(lambda: check_folder(folder, config, kind=KIND, resume=resume)):
        return folder / MODEL
    loaded = load_policy(config.model)
    data = read_data(config, loaded)
    total = total_updates(len(data.train), config.batch_size, config.epochs)
    run = Run(
        folder, config, kind=KIND, total_steps=total, engine=engine, resume=resume,
        inputs=data.tables.sources,
    )  # fmt: skip
    run.say(_said(data, total))
    policy = engine.prepare("policy", PolicyModel(loaded.model), config.optimizer)
    loss = token_loss(policy)
    if not run.restore([policy]):
        run.log(evaluate(config, data, engine, policy, run, everything=total == 1))
    with run:
        for step in run.steps():
            began = time.perf_counter()
            chosen = batch_indices(
                step, examples=len(data.train), batch_size=config.batch_size, epochs=config.epochs,
                seed=config.seed,
            )  # fmt: skip
            groups = [group(config, data.train[at]) for at in chosen]
            batches = micro_batches(engine.mine(groups), data.prompter.pad_id, engine)
            spare = micro_batches(groups[:1], data.prompter.pad_id, engine)[0]
            count = sum(len(one.completions[0]) for one in groups)
            rate = learning_rate(config.optimizer, step, total)
            update = engine.update(
                policy, batches, loss, count=count, learning_rate=rate, filler=spare
            )
            tokens = sum(len(one.prompt) + len(one.completions[0]) for one in groups)
            run.log({
                "loss": update.sums["nats"] / count,
                "learning_rate": rate,
                "grad_norm": update.grad_norm,
                "tokens": tokens,
                "tokens_per_second": tokens / (time.perf_counter() - began),
                "peak_memory_gib": engine.peak_memory(),
            })  # fmt: skip
            if step % config.evaluate_every == 0 or step == total:
                found = evaluate(config, data, engine, policy, run, everything=step == total)
                run.log(found)
                run.state["validation"] = found
    closing = dict(run.state["validation"])
    weights = engine.state_dict(policy)
    engine.on_main(lambda: write_model(config, loaded, data, folder, run, weights))
    run.finish(closing)
    return folder / MODEL


def sweep_sft(config: SFTConfig, folder: str | Path, *, resume: bool = False) -> Path:
    """Train once for each rate of `config.sweep`; the best by validation loss becomes the model."""
    return sweep(train_sft, config, folder, kind=KIND, metric="validation_loss", resume=resume)


def read_data(config: SFTConfig, loaded: Loaded) -> Data:
    """Examples of the settings' files, tokenised; everything that can be refused is.

    Raises ConfigError where no file is named, DataError where one is missing or holds no
    reference summary of a split, ModelError where prompts are longer than the model's context.
    """
    settings = config.data
    if not settings.paths:
        raise ConfigError("data.paths is empty; allowed files or folders of posts with references")
    prompter = Prompter(
        loaded.tokenizer, settings.prompt_format, max_prompt_tokens=settings.max_prompt_tokens,
        max_completion_tokens=settings.max_completion_tokens,
    )  # fmt: skip
    longest = prompter.max_prompt_tokens + prompter.max_completion_tokens
    check_context(loaded.model, longest, config.model)
    tables = load(settings.paths, format=settings.format)
    examples = sft_examples(tables, prompter, held_out=settings.held_out, limits=settings.limits)
    train = examples.of(*settings.train_splits)
    validation = examples.of(*settings.validation_splits)
    return Data(tables, prompter, train, validation, dict(examples.left_out))


def group(config: SFTConfig, example: SFTExample) -> Group:
    """An example as prompt and one completion: the tokens that carry the loss.

    With loss="all_tokens" the prompt is the first token alone, for nothing predicts that one.
    """
    if config.loss == "all_tokens":
        return Group(example.prompt[:1], [[*example.prompt[1:], *example.completion]])
    return Group(example.prompt, [example.completion])


def micro_batches(groups: Sequence[Group], pad_id: int, engine: Engine) -> list[Packed]:
    """Rows in batches of at most `micro_batch_tokens` tokens, rows of like length together."""
    lengths = [len(one.prompt) + len(one.completions[0]) for one in groups]
    return [
        pack(
            [groups[at] for at in places], pad_id=pad_id, read="tokens", share=False,
            device=engine.device, dtype=engine.precision,
        )
        for places in token_batches(lengths, engine.config.micro_batch_tokens)
    ]  # fmt: skip


def token_loss(policy: Trainable) -> Callable[[Packed], tuple[Tensor, dict[str, Tensor]]]:
    """Negative log-likelihood of a micro-batch's completion tokens, nats, summed."""

    def loss(batch: Packed) -> tuple[Tensor, dict[str, Tensor]]:
        nats = -policy.module(batch).logprobs.sum()
        return nats, {"nats": nats}

    return loss


def evaluate(
    config: SFTConfig, data: Data, engine: Engine, policy: Trainable, run: Run, *, everything: bool
) -> dict[str, Any]:
    """Validation loss (nats a token), and ROUGE of greedy summaries, which go to samples.jsonl."""
    chosen = data.validation if everything else data.validation[: config.evaluate_examples]
    with engine.whole(policy) as model:
        found: dict[str, Any] = {
            "validation_loss": validation_loss(config, model, chosen, data, engine)
        }
        asked = data.validation[: config.sample_prompts]
        rows = engine.gather(greedy(model, engine.mine(asked), data.prompter))
    if not rows:
        return found
    run.record({"post_id": e.post.id, **row} for e, row in zip(asked, rows, strict=True))
    scores = rouge([row["summary"] for row in rows], [row["reference"] for row in rows])
    found |= {name: float(scores[f"{name}_f"].mean()) for name in ("rouge1", "rouge2", "rougeL")}
    found["sample_tokens"] = sum(row["tokens"] for row in rows) / len(rows)
    found["sample_without_eos"] = sum(not row["ended"] for row in rows) / len(rows)
    return found


def validation_loss(
    config: SFTConfig, model: nn.Module, examples: Sequence[SFTExample], data: Data, engine: Engine
) -> float:
    """Mean negative log-likelihood of all tokens that carry the loss, nats, over all processes."""
    groups = [group(config, example) for example in engine.mine(examples)]
    nats = sum(
        -float(model(batch).logprobs.double().sum())
        for batch in micro_batches(groups, data.prompter.pad_id, engine)
    )
    tokens = sum(len(one.completions[0]) for one in groups)
    totals = engine.totals({"nats": nats, "tokens": tokens})
    return totals["nats"] / totals["tokens"]


def greedy(
    model: nn.Module, examples: Sequence[SFTExample], prompter: Prompter
) -> list[dict[str, Any]]:
    """Greedy summaries of posts, beside their references."""
    drawn = sample(
        model, [Prompt(example.id, example.prompt) for example in examples], k=1,
        max_new_tokens=prompter.max_completion_tokens, eos_id=prompter.eos_id,
        pad_id=prompter.pad_id, temperature=0.0, seed=0,
    )  # fmt: skip
    return [
        {
            "summary": prompter.text(one.tokens[0]),
            "reference": example.reference,
            "tokens": len(one.tokens[0]),
            "ended": one.tokens[0][-1:] == [prompter.eos_id],
        }
        for example, one in zip(examples, drawn, strict=True)
    ]


def write_model(
    config: SFTConfig, loaded: Loaded, data: Data, folder: Path, run: Run,
    weights: dict[str, Tensor],
) -> None:  # fmt: skip
    """The checkpoint in Hugging Face's form, with its record."""
    used = dataclasses.replace(
        data.prompter.format,
        max_prompt_tokens=data.prompter.max_prompt_tokens,
        max_completion_tokens=data.prompter.max_completion_tokens,
    )
    info = made_here(
        "policy", config=portable(config), seed=config.seed, sources=data.tables.sources,
        parent=loaded.info, parent_name=loaded.name, prompt_format=dataclasses.asdict(used),
        step=run.step, metrics=run.state["validation"],
    )  # fmt: skip
    save(folder / MODEL, loaded.model, loaded.tokenizer, info, state_dict=weights)


def _said(data: Data, total: int) -> str:
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in data.left_out.items())
    return (
        f"{len(data.train):,} references to train on, {len(data.validation):,} to validate on; "
        f"{total:,} updates" + (f"; left out: {left_out}" if left_out else "")
    )
