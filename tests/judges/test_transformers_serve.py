"""A real server of a real protocol: `transformers serve` with a tiny random model."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evalsuite.judges.judge import Question
from evalsuite.judges.llm import LLMJudge, LLMSettings
from evalsuite.records import Post

START_SECONDS = 300
COMMAND = Path(sys.executable).with_name("transformers")

pytestmark = pytest.mark.slow


def why_not() -> str:
    if not COMMAND.exists() and shutil.which("transformers") is None:
        return "there is no command `transformers`"
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            return f"`transformers serve` needs {name}"
    return ""


def tiny_chat_model(folder: Path) -> None:
    """A random Llama with byte tokens and a chat template."""
    import torch
    import transformers as tf
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {"<eos>": 0, "<pad>": 1} | {char: i for i, char in enumerate(alphabet, start=2)}
    inner = Tokenizer(models.BPE(ids, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = tf.LlamaConfig(
        vocab_size=len(ids), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=4096, eos_token_id=0, pad_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tf.AutoModelForCausalLM.from_config(config).save_pretrained(folder)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address and model name of a running server."""
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path / "model"
    tiny_chat_model(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = str(COMMAND) if COMMAND.exists() else "transformers"
    environment = dict(os.environ) | {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [command, "serve", "--host", "127.0.0.1", "--port", str(port)],
            stdout=out, stderr=out, env=environment,
        )  # fmt: skip
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"no server after {START_SECONDS} s: {log.read_text()[-2000:]}")


def test_a_random_model_answers_without_a_verdict(
    served: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url, model = served
    settings = LLMSettings(url, model, max_tokens=8, parse_retries=1, retries=1, concurrency=1)
    judge = LLMJudge(settings, rng=np.random.default_rng(0), folder=tmp_path)
    (answer,) = judge([Question(Post("my dog ran off"), "dog gone", "cat here")])
    assert math.isnan(answer.choice)
    assert (judge.counts.requests, judge.counts.unreadable, judge.counts.failed) == (2, 2, 0)
    assert judge.counts.prompt_tokens > 0
