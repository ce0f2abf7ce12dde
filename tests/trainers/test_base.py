"""Pretraining: its loss by hand, its cuts into micro-batches, what it leaves on file."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evalsuite.config import resolve
from evalsuite.errors import ConfigError
from evalsuite.simulation import World
from evalsuite.simulation.corpus import FIRST_POST, documents
from evalsuite.simulation.files import texts_of
from trainers import base
from trainers.base import IGNORED, BaseConfig, Rows, SizeConfig, new_base, pad, train_base
from trainers.config import EngineConfig, OptimizerConfig
from trainers.world_tokenizer import world_tokenizer

TOKENIZER = world_tokenizer()
TINY = SizeConfig(hidden=32, layers=2, heads=2, intermediate=48, positions=256)
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def tiny(**changes: Any) -> BaseConfig:
    rate = OptimizerConfig(learning_rate=5e-3, warmup=2, beta2=0.98)
    whole = {
        "size": TINY, "steps": 4, "batch_size": 4, "held_out": 6, "optimizer": rate,
        "engine": EngineConfig(device="cpu"), **changes,
    }  # fmt: skip
    return BaseConfig(**whole)


def test_the_loss_is_the_sum_over_every_token_but_the_first() -> None:
    config = tiny()
    model = new_base(config, TOKENIZER).double()
    rows = [base.encode("my sister", TOKENIZER), base.encode("i need advice.", TOKENIZER)]
    assert [len(row) for row in rows] == [3, 5]
    inputs, labels = pad(rows, TOKENIZER, CPU)
    assert labels.tolist()[0][3:] == [IGNORED, IGNORED]
    total = Rows(model)(inputs, labels).item()
    expected = 0.0
    for row in rows:  # each row alone, one position after the other
        logits = model(torch.tensor([row])).logits[0].detach()
        for at in range(1, len(row)):
            scores = [math.exp(x) for x in logits[at - 1].tolist()]
            expected -= math.log(scores[row[at]] / sum(scores))
    assert total == pytest.approx(expected, rel=1e-5)


def test_a_new_base_starts_wide_and_tied_and_moves_no_generator() -> None:
    before = torch.random.get_rng_state()
    model = new_base(tiny(), TOKENIZER)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    # N(0, 1/32): a standard deviation of .177, far from transformers' .02.
    assert model.model.layers[0].mlp.up_proj.weight.std().item() == pytest.approx(0.177, abs=0.02)
    same, other = new_base(tiny(), TOKENIZER), new_base(tiny(seed=1), TOKENIZER)
    assert torch.equal(same.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(other.lm_head.weight, model.lm_head.weight)


def test_a_run_leaves_a_model_that_plain_transformers_load_in_float32(tmp_path: Path) -> None:
    folder = train_base(tiny(), tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    stored = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    for plain, small in zip(model.parameters(), stored.parameters(), strict=True):
        assert torch.equal(plain, small.float())  # what is on file are bfloat16 numbers
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    info = json.loads((folder / "evalsuite.json").read_text())
    assert info["config"]["size"]["hidden"] == 32
    assert info["metrics"].keys() == {
        "loss", "loss_of_quotes", "zero_shot_utility", "reference_utility", "zero_shot_preferred",
    }  # fmt: skip
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_the_first_loss_is_that_of_the_untrained_model_on_the_first_documents(
    tmp_path: Path,
) -> None:
    config = tiny(steps=1)
    train_base(config, tmp_path / "run")
    logged = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    model, nats, count = new_base(config, TOKENIZER), 0.0, 0
    for text in documents(World(0), 4, start=FIRST_POST):
        row = torch.tensor([[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id]])
        mean = model(row, labels=row).loss.item()
        nats, count = nats + mean * (row.shape[1] - 1), count + row.shape[1] - 1
    assert logged["tokens"] == count
    assert logged["loss"] == pytest.approx(nats / count, rel=1e-5)


class Dull(torch.nn.Module):
    """Writes " i need advice." whatever it reads: after the colon, i; after i, need; ..."""

    def __init__(self) -> None:
        super().__init__()
        words = ["TL;DR:", " i", " need", " advice", ".", TOKENIZER.eos_token]
        ids = TOKENIZER.convert_tokens_to_ids(words)
        self.model = new_base(tiny(), TOKENIZER)
        with torch.no_grad():
            for layer in self.model.model.layers:  # nothing but the embedding is left
                layer.mlp.down_proj.weight.zero_()
                layer.self_attn.o_proj.weight.zero_()
            embedding = torch.zeros(len(TOKENIZER), 32)
            self.model.lm_head = torch.nn.Linear(32, len(TOKENIZER), bias=False)
            head = torch.zeros(len(TOKENIZER), 32)
            for at, (word, following) in enumerate(pairwise(ids)):
                embedding[word, at] = head[following, at] = 1.0
            self.model.model.embed_tokens.weight.copy_(embedding)
            self.model.lm_head.weight.copy_(head)


def test_zero_shot_by_hand() -> None:
    found = base.zero_shot(tiny(held_out=8), Dull(), TOKENIZER)
    # "i need advice ." says no fact, has 4 tokens, 4 fewer than 8, and only clean pairs but for
    # "advice .", which ends a summary: clean too. Utility -.4 on every post.
    posts = World(0).posts("tldr", 8, base.HELD_OUT)
    references = [
        World(0).utility(posts.take([row]), text)
        for row, text in enumerate(texts_of(posts.reference))
    ]
    assert found["zero_shot_utility"] == pytest.approx(-0.4)
    assert found["reference_utility"] == pytest.approx(sum(references) / 8)
    chances = [1 / (1 + math.exp(reference + 0.4)) for reference in references]
    assert found["zero_shot_preferred"] == pytest.approx(sum(chances) / 8)


def test_micro_batches_change_nothing(tmp_path: Path) -> None:
    weights = []
    for tokens in (8192, 1):
        engine = EngineConfig(device="cpu", micro_batch_tokens=tokens)
        folder = train_base(tiny(steps=2, engine=engine), tmp_path / str(tokens))
        weights.append(AutoModelForCausalLM.from_pretrained(folder).state_dict())
    for name, tensor in weights[0].items():
        # Stored as bfloat16, 8 bits: sums in another order may round to the neighbour.
        torch.testing.assert_close(weights[1][name], tensor, rtol=2**-7, atol=1e-5)


def test_a_finished_run_is_left_alone_on_resume(tmp_path: Path) -> None:
    folder = train_base(tiny(steps=1), tmp_path / "run")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert train_base(tiny(steps=1), tmp_path / "run", resume=True) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_rows_are_cut_by_padded_tokens() -> None:
    rows = [[0] * n for n in (3, 9, 5, 4, 8)]
    cut = base._parts(rows, EngineConfig(micro_batch_tokens=18))
    # Longest first: 2 x 9 fit in 18; then 3 x 5.
    assert [[len(row) for row in part] for part in cut] == [[9, 8], [5, 4, 3]]
    alone = base._parts(rows, EngineConfig(micro_batch_tokens=1))
    assert [len(part) for part in alone] == [1] * 5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 24}, "batch_size is 24; allowed a divisor of 256"),
        ({"steps": 0}, "steps is 0; allowed 1 or more"),
        ({"rounds": 0}, "rounds is 0; allowed 1 or more"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        tiny(**change)


def test_heads_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="heads is 5; allowed a number that cuts hidden 96 into"):
        SizeConfig(hidden=96, heads=5)
    with pytest.raises(ConfigError, match="layers is 0; allowed 1 or more"):
        SizeConfig(layers=0)


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_named_settings_are_read(name: str) -> None:
    config = resolve(BaseConfig, file=ROOT / "configs" / "world" / f"base-{name}.yaml")
    assert config.size.positions >= 256
