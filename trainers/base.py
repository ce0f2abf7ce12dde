"""Pretraining: a tiny Llama learns the language of the simulated world from its documents.

The shipped base models (`world-small`, `world-medium`, `world-large`) are made by it:

    evalsuite train base --config configs/world/base-small.yaml --out runs/base-small

Next-token loss on every token of documents that the world writes as they are needed (see
`evalsuite.simulation.corpus`): no document is seen twice. Matrices start at N(0, 1/hidden) and
embeddings are tied: with transformers' default of .02 such small models do not learn to copy
within minutes.

Departures from how large models are pretrained: one document a row, padded, instead of a packed
stream; finished weights are stored as bfloat16 and load as float32.

What may be changed: sizes and schedule, in the named configs; then make the shipped models again.
Proved by tests/trainers/test_base.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evalsuite.config import as_dict
from evalsuite.errors import ConfigError
from evalsuite.models.checkpoints import made_here, save
from evalsuite.models.prompts import FORMATS, Prompter
from evalsuite.models.sampling import Prompt, sample
from evalsuite.records import Post
from evalsuite.simulation import World
from evalsuite.simulation.corpus import FIRST_POST, documents
from evalsuite.simulation.files import sections, texts_of
from evalsuite.simulation.language import language
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import BLOCK
from trainers.config import EngineConfig, OptimizerConfig, RunConfig, require
from trainers.engine import Engine
from trainers.folder import check_folder
from trainers.resume import MODEL, Run
from trainers.schedule import learning_rate
from trainers.world_tokenizer import world_tokenizer

KIND = "base"

HELD_OUT = 500_224
"""First of the posts that base models are measured on; nothing is trained on them."""

IGNORED = -100
"""Label of positions that no loss is taken at."""


@dataclass(frozen=True)
class SizeConfig:
    """Sizes of a Llama.

    hidden: width. layers: blocks. heads: of attention. intermediate: width inside a block's
    feed-forward part. positions: longest input, tokens.
    """

    hidden: int = 96
    layers: int = 3
    heads: int = 6
    intermediate: int = 256
    positions: int = 1024

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "intermediate", "positions"):
            require(name, getattr(self, name), low=1)
        if self.hidden % (2 * self.heads):
            raise ConfigError(
                f"heads is {self.heads}; allowed a number that cuts hidden {self.hidden} into "
                "even parts"
            )


@dataclass(frozen=True)
class BaseConfig:
    """A base model of the world and its pretraining.

    size: of the model. steps: updates. batch_size: documents an update, a divisor of 256. rounds:
    of quotes in a document. seed: of the first weights. world_seed: of the world. held_out:
    documents that the loss is measured on at the end.
    """

    size: SizeConfig = field(default_factory=SizeConfig)
    steps: int = 2_000
    batch_size: int = 16
    rounds: int = 2
    seed: int = 0
    world_seed: int = 0
    held_out: int = 256
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=4e-3, warmup=100, floor=0.02, beta2=0.98, eps=1e-8, weight_decay=0.05
        )
    )
    engine: EngineConfig = field(default_factory=EngineConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rounds", "held_out"):
            require(name, getattr(self, name), low=1)
        if BLOCK % self.batch_size:
            raise ConfigError(f"batch_size is {self.batch_size}; allowed a divisor of {BLOCK}")


class Rows(nn.Module):
    """A language model whose forward pass is the loss of rows: what `Engine` trains."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods, nats, of all labels but those that are IGNORED.

        inputs, labels: (B, L) token ids; the label of a position is its own token.
        """
        logits = self.model(input_ids=inputs, use_cache=False).logits[:, :-1]
        loss: Tensor = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="sum",
            ignore_index=IGNORED,
        )  # fmt: skip
        return loss


def train_base(config: BaseConfig, out: str | Path, *, resume: bool = False) -> Path:
    """Pretrain a base model into the run folder `out`; returns the folder of the model.

    Its evalsuite.json has the settings and what `held_out_loss` and `zero_shot` found.
    """
    engine = Engine(config.engine)
    folder = Path(out)
    if engine.on_main(lambda: check_folder(folder, config, kind=KIND, resume=resume)):
        return folder / MODEL
    run = Run(folder, config, kind=KIND, total_steps=config.steps, engine=engine, resume=resume)
    tokenizer = world_tokenizer(model_max_length=config.size.positions)
    trained = engine.prepare("base", Rows(new_base(config, tokenizer)), config.optimizer)
    run.restore([trained])
    reader = _Reader(config)
    with run:
        for step in run.steps():
            first = FIRST_POST + (step - 1) * config.batch_size
            texts = reader(first, config.batch_size)
            rows = engine.mine([encode(text, tokenizer) for text in texts])
            count = engine.totals({"tokens": sum(len(row) - 1 for row in rows)})["tokens"]
            rate = learning_rate(config.optimizer, step, config.steps)
            update = engine.update(
                trained,
                [pad(part, tokenizer, engine.device) for part in _parts(rows, config.engine)],
                lambda batch: _loss(trained.module, batch),
                count=count,
                learning_rate=rate,
            )
            loss = update.sums["nats"] / count
            run.log({"loss": loss, "lr": rate, "grad_norm": update.grad_norm, "tokens": count})
    with engine.whole(trained) as module:
        found = held_out_loss(config, module, tokenizer, engine.device)
        found |= zero_shot(config, module, tokenizer)
    weights = engine.state_dict(trained)
    if engine.is_main:
        # A float32 model with bfloat16 tensors on file: small, and a plain load gives float32.
        model = new_base(config, tokenizer)
        small = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
        info = made_here(
            "policy", config=as_dict(config), seed=config.seed, step=config.steps, metrics=found,
            prompt_format=as_dict(FORMATS["tldr"]),
        )  # fmt: skip
        save(folder / MODEL, model, tokenizer, info, state_dict=small)
    run.finish(found)
    return folder / MODEL


def new_base(config: BaseConfig, tokenizer: Any) -> Any:
    """An untrained `LlamaForCausalLM` of the config's size; the global generator is left alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = config.size
    llama = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size.hidden, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.heads,
        intermediate_size=size.intermediate, max_position_embeddings=size.positions,
        initializer_range=size.hidden**-0.5, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return LlamaForCausalLM(llama)


def encode(text: str, tokenizer: Any) -> list[int]:
    """Tokens of a document, EOS at its end."""
    return [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]


def pad(rows: list[list[int]], tokenizer: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """inputs and labels (B, L): rows padded on the right, IGNORED labels at padding."""
    width = max(map(len, rows))
    inputs = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), IGNORED)
    for number, row in enumerate(rows):
        inputs[number, : len(row)] = labels[number, : len(row)] = torch.tensor(row)
    return inputs.to(device), labels.to(device)


def held_out_loss(
    config: BaseConfig, module: nn.Module, tokenizer: Any, device: torch.device
) -> dict[str, Any]:
    """Nats a token on held-out documents: of all tokens, and of the first round of quotes.

    The quotes are where copying shows: their order and wording alone have about .7 nats a token.
    """
    paragraph = tokenizer.convert_tokens_to_ids("\n\n")
    sums = {"loss": 0.0, "loss_of_quotes": 0.0}
    counts = dict.fromkeys(sums, 0)
    with torch.no_grad():
        for text in _Reader(config)(HELD_OUT, config.held_out):
            inputs, labels = pad([encode(text, tokenizer)], tokenizer, device)
            quotes = labels.masked_fill((labels == paragraph).cumsum(1) != 3, IGNORED)
            if not text.startswith("SUBREDDIT") or "TL;DR:" in text:
                quotes = torch.full_like(labels, IGNORED)
            for name, target in (("loss", labels), ("loss_of_quotes", quotes)):
                sums[name] += module(inputs, target).item()
                counts[name] += int((target[:, 1:] != IGNORED).sum())
    return {name: sums[name] / max(counts[name], 1) for name in sums}


def zero_shot(config: BaseConfig, module: Any, tokenizer: Any) -> dict[str, Any]:
    """True utility of summaries by the base model before anybody taught it to summarise.

    Greedy, on `held_out` TL;DR posts from `HELD_OUT` on: their mean utility, that of the
    references, and the mean chance sigmoid(difference) that a summary is preferred to the
    reference.
    """
    world = World(config.world_seed)
    posts = world.posts("tldr", config.held_out, HELD_OUT)
    prompter = Prompter(tokenizer, "tldr")
    prompts = [
        Prompt(identity, prompter.prompt(Post(text, title, section)))
        for identity, text, title, section in zip(
            posts.ids, texts_of(posts.text), texts_of(posts.title), sections(posts), strict=True
        )
    ]
    samples = sample(
        module.model, prompts, k=1, max_new_tokens=prompter.max_completion_tokens,
        eos_id=prompter.eos_id, pad_id=prompter.pad_id, temperature=0.0, seed=config.seed,
    )  # fmt: skip
    texts = [prompter.text(one.tokens[0]) for one in samples]
    rows = Ragged.from_rows([language().encode(text) for text in texts])
    utility = world.utilities(posts.facts, rows, "tldr")
    reference = world.utilities(posts.facts, posts.reference, "tldr")
    preferred = 1 / (1 + np.exp(reference - utility))
    return {
        "zero_shot_utility": float(utility.mean()),
        "reference_utility": float(reference.mean()),
        "zero_shot_preferred": float(preferred.mean()),
    }


class _Reader:
    """Documents by their numbers; those of a block are written together and kept at hand."""

    def __init__(self, config: BaseConfig) -> None:
        self.world, self.rounds = World(config.world_seed), config.rounds
        self.start, self.texts = 0, list[str]()

    def __call__(self, start: int, count: int) -> list[str]:
        if not self.start <= start <= start + count <= self.start + len(self.texts):
            self.start = start - start % BLOCK
            end = -(-(start + count) // BLOCK) * BLOCK
            self.texts = documents(
                self.world, end - self.start, start=self.start, rounds=self.rounds
            )
        return self.texts[start - self.start :][:count]


def _loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    nats = module(*batch)
    return nats, {"nats": nats.detach()}


def _parts(rows: list[list[int]], config: EngineConfig) -> list[list[list[int]]]:
    """Rows cut into micro-batches whose padded size is within the settings' tokens."""
    out: list[list[list[int]]] = []
    for row in sorted(rows, key=len, reverse=True):
        if out and len(out[-1][0]) * (len(out[-1]) + 1) <= config.micro_batch_tokens:
            out[-1].append(row)
        else:
            out.append([row])
    return out
