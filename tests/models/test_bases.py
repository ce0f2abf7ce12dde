"""The shipped base models: there, small, loadable, and as good as is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import evalsuite.models
from evalsuite.config import as_dict, resolve
from evalsuite.models.checkpoints import load_policy
from evalsuite.models.names import BASES
from evalsuite.simulation import World
from evalsuite.simulation.corpus import FIRST_POST, documents
from trainers.base import HELD_OUT, BaseConfig
from trainers.world_tokenizer import world_tokenizer

FOLDER = Path(evalsuite.models.__file__).parent / "bases"
ROOT = Path(__file__).resolve().parents[2]

# Held-out nats a token. After 200 updates, which copy next to nothing, it is about .95.
MOST = 0.66


def test_together_at_most_ten_megabytes() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 10_000_000
    for name in BASES:
        names = {file.name for file in (FOLDER / name).iterdir()}
        assert names == {
            "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
            "tokenizer_config.json", "evalsuite.json",
        }  # fmt: skip


@pytest.mark.parametrize("name", BASES)
def test_loss_on_held_out_documents(name: str) -> None:
    loaded = load_policy(name)
    nats, count = 0.0, 0
    for text in documents(World(0), 24, start=HELD_OUT):
        row = torch.tensor([[*loaded.tokenizer(text)["input_ids"], loaded.tokenizer.eos_token_id]])
        with torch.no_grad():
            mean = loaded.model(row, labels=row).loss.item()
        nats, count = nats + mean * (row.shape[1] - 1), count + row.shape[1] - 1
    assert nats / count < MOST
    # What is on file was measured on 256 documents, these being the first of them.
    assert nats / count == pytest.approx(loaded.info.metrics["loss"], abs=0.04)


@pytest.mark.parametrize("name", BASES)
def test_tokenizer_is_the_worlds_and_padding_is_no_end(name: str) -> None:
    loaded, made = load_policy(name), world_tokenizer()
    assert loaded.tokenizer.get_vocab() == made.get_vocab()
    texts = documents(World(1), 40)
    assert loaded.tokenizer(texts)["input_ids"] == made(texts)["input_ids"]
    assert loaded.tokenizer.batch_decode(made(texts)["input_ids"]) == texts
    assert loaded.tokenizer.pad_token_id != loaded.tokenizer.eos_token_id
    assert loaded.model.config.vocab_size == len(loaded.tokenizer)
    assert loaded.model.config.max_position_embeddings >= 256


@pytest.mark.parametrize("name", BASES)
def test_recipe_on_file_is_the_named_one(name: str) -> None:
    info = json.loads((FOLDER / name / "evalsuite.json").read_text())
    file = ROOT / "configs" / "world" / f"{name.replace('world', 'base')}.yaml"
    named = as_dict(resolve(BaseConfig, file=file))
    for key in named.keys() - {"run", "engine"}:  # neither changes a number beyond rounding
        assert info["config"][key] == named[key], key
    assert info["step"] == named["steps"]
    assert HELD_OUT < FIRST_POST


@pytest.mark.parametrize("name", BASES)
def test_plain_transformers_load_them_in_float32_the_same_each_time(name: str) -> None:
    once, again = (AutoModelForCausalLM.from_pretrained(FOLDER / name) for _ in range(2))
    assert once.dtype == torch.float32
    for one, two in zip(once.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one.bfloat16().float(), one)
