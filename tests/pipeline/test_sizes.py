"""Sizes of models against published counts and the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalsuite.errors import ModelError
from evalsuite.pipeline import sizes
from evalsuite.pipeline.sizes import Size, known_models, known_size


@pytest.mark.parametrize(
    ("name", "total", "embeddings"),
    [
        # model cards of the Pythia suite: total less non-embedding parameters
        ("EleutherAI/pythia-6.9b", 6_857_302_016, 6_857_302_016 - 6_444_163_072),
        ("EleutherAI/pythia-160m", 162_322_944, 162_322_944 - 85_056_000),
        ("EleutherAI/pythia-1.4b", 1_414_647_808, 1_414_647_808 - 1_208_602_624),
    ],
)
def test_published_counts(name: str, total: int, embeddings: int) -> None:
    size = known_models()[name]
    assert size.parameters == total
    assert 2 * size.vocabulary * size.hidden == embeddings
    assert known_models()[f"{name}-deduped"] == size


def test_smollm2_by_hand() -> None:
    # 49152 x 576 + 30 x (2 x 576^2 + 2 x 576 x 192 + 3 x 576 x 1536 + 2 x 576) + 576
    assert known_models()["HuggingFaceTB/SmolLM2-135M"].parameters == 134_515_008


def test_a_shipped_base_is_counted_from_its_weights() -> None:
    # 761 x 96 + 3 x (4 x 96^2 + 3 x 96 x 256 + 2 x 96) + 96
    assert known_size("world-small") == Size(405_504, 3, 96, 96, 761, "shipped")


def folder(tmp_path: Path, config: dict[str, int], weights: bytes) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(weights)
    return tmp_path


CONFIG = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4, "vocab_size": 10}


def weights(*shapes: list[int]) -> bytes:
    header = {"__metadata__": {"a": "b"}} | {
        f"w{i}": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for i, shape in enumerate(shapes)
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def test_a_folder(tmp_path: Path) -> None:
    found = folder(tmp_path, CONFIG | {"num_key_value_heads": 1}, weights([10, 8], [8], [2, 3]))
    assert known_size(str(found)) == Size(80 + 8 + 6, 2, 8, 2, 10, "on this machine")


def test_a_folder_that_tells_no_size(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: tells no size \('num_hidden_layers'\)"):
        known_size(str(folder(tmp_path, {}, b"")))
    with pytest.raises(ModelError, match=r"model\.safetensors: is not a file of weights"):
        known_size(str(folder(tmp_path, CONFIG, b"\x05\x00\x00\x00\x00\x00\x00\x00hello")))


def test_a_hub_model_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, CONFIG, weights([4]))
    monkeypatch.setattr(sizes, "cached", lambda name: tmp_path)
    assert known_size("some/model") == Size(4, 2, 8, 8, 10, "in the hub's cache")
    (tmp_path / "model.safetensors").unlink()  # broken off: the table knows it
    assert known_size("EleutherAI/pythia-160m").place == "to be downloaded"


def test_a_hub_model_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "cached", lambda name: None)
    with pytest.raises(ModelError, match="some/model: its size is unknown before it is downloaded"):
        known_size("some/model")
    assert known_size("EleutherAI/pythia-12b").place == "to be downloaded"


def test_a_fetched_model_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALSUITE_MODELS", str(tmp_path))
    assert known_size("smollm2-135m").parameters == 134_515_008
    with pytest.raises(ModelError, match="no such folder"):
        known_size("no-such-model")
