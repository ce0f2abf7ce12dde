"""Supervised fine-tuning: its loss by definition, what it writes, what it refuses before work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from evalsuite.errors import ConfigError, DataError, EvalsuiteError, ModelError, TrainingError
from evalsuite.models.checkpoints import load_policy
from evalsuite.models.prompts import Prompter
from trainers.config import DataConfig, EngineConfig, OptimizerConfig, RunConfig
from trainers.resume import is_timing
from trainers.sequences import SFTExample
from trainers.sft import SFTConfig, group, read_data, train_sft


def settings(tiny: Path, **more: Any) -> SFTConfig:
    data = DataConfig(
        paths=(str(tiny / "posts.jsonl"),), max_prompt_tokens=64, max_completion_tokens=12
    )
    return SFTConfig(
        **{
            "model": str(tiny / "llama"), "data": data, "batch_size": 8, "epochs": 2,
            "evaluate_every": 6, "sample_prompts": 2,
            "optimizer": OptimizerConfig(learning_rate=5e-3),
            "engine": EngineConfig(device="cpu", micro_batch_tokens=128),
            "run": RunConfig(checkpoint_every=5),
            **more,
        }
    )  # fmt: skip


def numbers(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if not is_timing(k)} for x in lines]


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft") / "run"
    assert train_sft(settings(tiny), folder) == folder / "model"
    return folder


def test_validation_loss_falls(run: Path) -> None:
    found = numbers(run)
    measured = {row["step"]: row["validation_loss"] for row in found if "validation_loss" in row}
    assert list(measured) == [0, 6, 12, 14]  # before, every sixth, after
    assert measured[14] < measured[0] - 0.5


def test_each_step_has_its_numbers(run: Path) -> None:
    found = numbers(run)
    assert [row["step"] for row in found] == list(range(15))
    assert found[1].keys() == {"step", "loss", "learning_rate", "grad_norm", "tokens"}
    assert found[1]["learning_rate"] == 5e-3


def test_the_first_loss_is_the_mean_over_completion_tokens(tiny: Path, run: Path) -> None:
    """Against the definition in float64, each row on its own and without padding."""
    from trainers.schedule import batch_indices

    loaded = load_policy(tiny / "llama", dtype=torch.float64)
    data = read_data(settings(tiny), loaded)
    chosen = batch_indices(1, examples=len(data.train), batch_size=8, epochs=2, seed=0)
    nats, tokens = 0.0, 0
    for example in (data.train[at] for at in chosen):
        ids = torch.tensor([example.prompt + example.completion])
        with torch.no_grad():
            logprobs = loaded.model(input_ids=ids).logits[0].log_softmax(-1)
        for at, token in enumerate(example.completion, start=len(example.prompt)):
            nats -= float(logprobs[at - 1, token])
            tokens += 1
    assert numbers(run)[1]["loss"] == pytest.approx(nats / tokens, rel=1e-5)


def test_samples_and_rouge_are_on_file(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 0, 6, 6, 12, 12, 14, 14]
    assert rows[0].keys() == {"step", "post_id", "summary", "reference", "tokens", "ended"}
    assert {"rouge1", "rouge2", "rougeL", "sample_tokens", "sample_without_eos"} <= (
        numbers(run)[0].keys()
    )


def test_the_checkpoint_says_where_it_comes_from(tiny: Path, run: Path) -> None:
    info = load_policy(run / "model").info
    assert info.step == 14
    assert info.parent is not None
    assert "llama" in info.parent
    assert info.data[0]["name"] == "posts.jsonl"
    assert info.prompt_format is not None
    assert info.prompt_format["max_prompt_tokens"] == 64
    assert info.config["optimizer"]["learning_rate"] == 5e-3
    assert info.metrics["validation_loss"] == numbers(run)[-1]["validation_loss"]


def test_plain_transformers_gives_the_measured_loss(tiny: Path, run: Path) -> None:
    """A process that does not know this project loads the result; its loss is the reported one."""
    data = read_data(settings(tiny), load_policy(tiny / "llama"))
    rows = [(example.prompt, example.completion) for example in data.validation]
    code = (
        "import json, sys, torch, transformers\n"
        "m = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float64)\n"
        "t = transformers.AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "assert t.pad_token_id != t.eos_token_id\n"
        "nats = n = 0\n"
        "for prompt, completion in json.loads(sys.argv[2]):\n"
        "    ids = torch.tensor([prompt + completion])\n"
        "    labels = ids.clone()\n"
        "    labels[0, :len(prompt)] = -100\n"
        "    nats += m(input_ids=ids, labels=labels).loss.item() * len(completion)\n"
        "    n += len(completion)\n"
        "assert not {'evalsuite', 'trainers'} & set(sys.modules)\n"
        "print(nats / n)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run / "model"), json.dumps(rows)],
        capture_output=True, text=True, cwd=run, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(numbers(run)[-1]["validation_loss"], rel=1e-5)


def test_a_finished_run_is_left_as_it_is(tiny: Path, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert train_sft(settings(tiny), run, resume=True) == run / "model"
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert after == before


def test_all_tokens_can_carry_the_loss(tiny: Path) -> None:
    config = settings(tiny, loss="all_tokens")
    example = SFTExample("i", None, "train", [5, 6, 7], [8, 0], "x")  # type: ignore[arg-type]
    assert group(config, example) == ([5], [[6, 7, 8, 0]])
    assert group(settings(tiny), example) == ([5, 6, 7], [[8, 0]])


def with_data(config: SFTConfig, **more: Any) -> SFTConfig:
    return replace(config, data=replace(config.data, **more))


def refused(config: SFTConfig, folder: Path, error: type[EvalsuiteError], text: str) -> None:
    with pytest.raises(error) as caught:
        train_sft(config, folder)
    assert text in str(caught.value)
    assert not (folder / "config.json").exists()


def test_refused_before_any_work(tiny: Path, tmp_path: Path) -> None:
    good, out = settings(tiny), tmp_path / "run"
    bare = tmp_path / "bare.jsonl"
    bare.write_text(
        '{"left": "a b", "right": "b", "left_policy": "m", "right_policy": "n", "choice": 0}\n'
    )
    missing = str(tmp_path / "none")
    refused(with_data(good, paths=()), out, ConfigError, "data.paths is empty; allowed files")
    refused(with_data(good, paths=(missing,)), out, DataError, missing)
    refused(with_data(good, paths=(str(bare),)), out, DataError, "no reference summary to train on")
    refused(with_data(good, train_splits=("test",)), out, DataError, "of split test; allowed")
    refused(with_data(good, max_prompt_tokens=512), out, ModelError, "context (lower max_prompt_")
    refused(replace(good, model=missing), out, ModelError, "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match=r"file/run: cannot be written \(Not a directory\)"):
        train_sft(good, tmp_path / "file" / "run")


def test_a_tokenizer_of_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "llama", tmp_path / "odd")
    file = tmp_path / "odd" / "tokenizer.json"
    held = json.loads(file.read_text())
    held["model"]["vocab"]["beyond"] = 4000
    file.write_text(json.dumps(held))
    text = "token id 4000, but the model has 69 embedding rows"
    refused(settings(tiny, model=str(tmp_path / "odd")), tmp_path / "run", ModelError, text)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("batch_size", 0, "batch_size is 0; allowed 1 or more"),
        ("evaluate_every", 0, "evaluate_every is 0; allowed 1 or more"),
        ("evaluate_examples", 0, "evaluate_examples is 0; allowed 1 or more"),
        ("epochs", 0, "epochs is 0; allowed 1e-09 or more"),
        ("sample_prompts", -1, "sample_prompts is -1; allowed 0 or more"),
    ],
)
def test_settings_out_of_range(key: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SFTConfig(**{key: value})


def test_prompts_are_the_prompters(tiny: Path) -> None:
    loaded = load_policy(tiny / "llama")
    data = read_data(settings(tiny), loaded)
    prompter = Prompter(loaded.tokenizer, "tldr", max_prompt_tokens=64, max_completion_tokens=12)
    example = data.train[0]
    assert example.prompt == prompter.prompt(example.post)
    assert example.completion == prompter.completion(example.reference)
    assert example.completion[-1] == prompter.eos_id
