"""`evalsuite models`: what show prints of a checkpoint, what get prints, refusals in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from evalsuite.cli.main import app
from evalsuite.errors import ModelError
from evalsuite.models import fetch


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A tiny GPT-2 as anybody's: rows 40, width 16, 1 layer, context 32, pad = EOS."""
    import transformers as tf
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {f"w{i}": i for i in range(38)} | {"<eos>": 38, "<unk>": 39}
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<unk>")),
        eos_token="<eos>", unk_token="<unk>", pad_token="<eos>",
    )  # fmt: skip
    config = tf.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32,
                           bos_token_id=38, eos_token_id=38)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        tf.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
    tokenizer.save_pretrained(tmp_path / "gpt")
    return tmp_path / "gpt"


def shown(*words: str) -> dict[str, str]:
    got = CliRunner().invoke(app, ["models", "show", *words], terminal_width=200)
    assert got.exit_code == 0, got.output
    lines = [line.split("  ", 1) for line in got.output.splitlines()]
    return {key: value.strip() for key, value in lines}


def test_show_a_model_of_others(policy: Path) -> None:
    """Parameters by hand: tokens 40 x 16, positions 32 x 16, one block 12 x 16^2 + 13 x 16, the
    last norm 2 x 16: 640 + 512 + 3,072 + 208 + 32 = 4,464."""
    assert shown(str(policy)) == {
        "kind": "policy (no evalsuite.json)",
        "architecture": "GPT2LMHeadModel, family gpt2",
        "parameters": "4,464 (F32 4,464)",
        "context": "32 tokens",
        "vocabulary": "40 tokens, 40 embedding rows",
        "eos": "'<eos>' (38)",
        "pad": "'<eos>' (38), is EOS: [PAD] on load",
        "lineage": "not on file",
    }


def test_show_a_reward_model(policy: Path, tmp_path: Path) -> None:
    from evalsuite.models.checkpoints import new_reward_model, save

    made = new_reward_model(policy, seed=5)
    info = made.info.replace(
        reward_shift=-0.25, step=12, metrics={"accuracy": 0.75}, commit="c0ffee", dirty=True,
        data=[{"name": "pairs.jsonl", "sha256": "ab", "format": "pairs", "rows": 7}],
        prompt_format={"template": "POST: {text}\n[TL;DR]:", "max_prompt_tokens": 20},
    )  # fmt: skip
    written = save(tmp_path / "rm", made.model, made.tokenizer, info)
    facts = shown(str(tmp_path / "rm"))
    assert facts["kind"] == "reward"
    assert facts["outputs"] == "1"
    assert facts["reward shift"] == "-0.25 (reward = output - shift)"
    assert facts["prompt template"] == r"'POST: {text}\n[TL;DR]:'"  # brackets are no markup
    assert facts["prompt max_prompt_tokens"] == "20"
    assert facts["pad"] == "'[PAD]' (40)"
    assert facts["vocabulary"] == "41 tokens, 48 embedding rows"
    assert facts["lineage"].startswith(f"{tmp_path.name}/gpt sha256:")
    assert facts["trained on"] == "pairs.jsonl (7 rows)"
    assert (facts["seed"], facts["step"], facts["accuracy"]) == ("5", "12", "0.75")
    assert facts["commit"] == "c0ffee (files differ)"
    assert facts["weights"] == f"sha256 {written.weights_sha256}"


def test_get_says_where_and_whether(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(Path("/c/smollm2-135m"), True), (Path("/c/smollm2-135m"), False)])

    def fetched(name: str, *, say: Any) -> tuple[Path, bool]:
        say("downloading [x]")
        return next(answers)

    monkeypatch.setattr(fetch, "get", fetched)
    got = CliRunner().invoke(app, ["models", "get", "smollm2-135m"])
    assert "smollm2-135m: saved in /c/smollm2-135m\n" in got.output
    got = CliRunner().invoke(app, ["models", "get", "smollm2-135m"])
    assert "smollm2-135m: is there already, in /c/smollm2-135m\n" in got.output


def test_refusals_are_errors_of_the_suite(tmp_path: Path) -> None:
    for words in (["get", "gpt2"], ["show", str(tmp_path / "none")]):
        got = CliRunner().invoke(app, ["models", *words])
        assert isinstance(got.exception, ModelError)
