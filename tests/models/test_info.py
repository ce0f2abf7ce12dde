"""evalsuite.json: what is on file of a checkpoint, and that it agrees with config.json."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from evalsuite import provenance
from evalsuite.errors import ModelError
from evalsuite.models.info import (
    CheckpointInfo,
    info_of,
    made_here,
    read_info,
    weights_sha256,
    write_info,
)
from evalsuite.tables import Source


def folder(tmp_path: Path, **config: Any) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    return tmp_path


def test_round_trip(tmp_path: Path) -> None:
    info = CheckpointInfo(
        kind="reward", config={"lr": 1e-5, "nested": {"a": [1, None]}}, seed=1, step=120,
        data=[{"name": "pairs.jsonl", "sha256": "ab", "format": "pairs", "rows": 7}],
        commit="c0ffee", dirty=False, parent="sft/model sha256:00", ancestors=["sft/model"],
        prompt_format={"template": "é\n"}, reward_shift=-0.1, metrics={"accuracy": 0.1 + 0.2},
    )  # fmt: skip
    write_info(folder(tmp_path, reward_shift=-0.1), info)
    assert read_info(tmp_path) == info
    assert "é" in (tmp_path / "evalsuite.json").read_text("utf-8")


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    metrics = {"a": math.nan, "b": [math.inf, 1.0], "c": (2.0,)}
    write_info(folder(tmp_path), CheckpointInfo(metrics=metrics))
    found = read_info(tmp_path)
    assert found is not None
    assert found.metrics == {"a": None, "b": [None, 1.0], "c": [2.0]}


def test_no_record(tmp_path: Path) -> None:
    folder(tmp_path, reward_shift=3)
    assert read_info(tmp_path) is None
    assert info_of(tmp_path, "policy") == CheckpointInfo()
    assert info_of(tmp_path, "reward") == CheckpointInfo(kind="reward", reward_shift=3.0)
    folder(tmp_path, reward_shift="3")
    with pytest.raises(ModelError, match=r"config.json: reward_shift is '3'; allowed a number"):
        info_of(tmp_path, "reward")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"kind": "judge"}',
            "evalsuite.json: kind is 'judge'; Input should be 'policy', 'reward'",
        ),
        ('{"sed": 1}', "evalsuite.json: sed is 1; Unexpected keyword argument"),
        ('{"seed": "1"}', "evalsuite.json: seed is '1'; Input should be a valid integer"),
        ("{", "evalsuite.json: Invalid JSON: EOF"),
    ],
)
def test_records_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    (folder(tmp_path) / "evalsuite.json").write_text(text, "utf-8")
    with pytest.raises(ModelError) as refused:
        read_info(tmp_path)
    assert said in str(refused.value)


def test_a_record_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_info(folder(tmp_path), CheckpointInfo())

    def broken(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(ModelError, match=r"evalsuite.json: cannot be read \(Input/output error\)"):
        read_info(tmp_path)


def test_two_shifts_are_refused(tmp_path: Path) -> None:
    write_info(folder(tmp_path, reward_shift=1.0), CheckpointInfo(kind="reward", reward_shift=2.0))
    said = r"reward_shift is 2.0, but 1.0 in config.json; allowed one shift in both"
    with pytest.raises(ModelError, match=said):
        read_info(tmp_path)
    with pytest.raises(ModelError, match="reward_shift is nan; allowed a finite number"):
        CheckpointInfo(reward_shift=math.nan)


def test_lineage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: ("c0ffee", True))
    source = Source("posts.jsonl", "ab", "posts", 5)
    base = CheckpointInfo(weights_sha256="0123456789abcdef0123")
    sft = made_here(
        "policy", config={"lr": 1}, seed=0, sources=[source], parent=base,
        parent_name="world-small", prompt_format={"template": "x"},
    )  # fmt: skip
    assert sft.data == [{"name": "posts.jsonl", "sha256": "ab", "format": "posts", "rows": 5}]
    assert (sft.commit, sft.dirty, sft.config) == ("c0ffee", True, {"lr": 1})
    assert {"torch", "transformers", "evalsuite"} < sft.versions.keys()
    reward = made_here("reward", config={}, seed=1, parent=sft, parent_name="sft/model")
    assert reward.ancestors == ["world-small sha256:0123456789abcdef", "sft/model"]
    assert reward.parent == "sft/model"
    assert reward.prompt_format == {"template": "x"}  # kept from the parent
    assert made_here("policy", config={}, seed=None).ancestors == []
    assert made_here("policy", config={}, seed=None, parent_name="a wheel").parent == "a wheel"


def test_digest_is_of_the_bytes_of_all_parts(tmp_path: Path) -> None:
    (tmp_path / "2.safetensors").write_bytes(b"second")
    (tmp_path / "1.safetensors").write_bytes(b"first")
    index = {"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert weights_sha256(tmp_path) == hashlib.sha256(b"firstsecond").hexdigest()
