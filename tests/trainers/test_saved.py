"""Checkpoints on disk: exact, whole or not at all, the newest whole one found."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evalsuite.errors import TrainingError
from trainers import saved


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(5, 3, generator=generator)
    special = torch.tensor([float("inf"), -0.0, 1e-45, torch.pi])
    return {"w": drawn, "special": special, "count": torch.tensor(7.0)}


def put(run: Path, step: int, **state: Any) -> Path:
    return saved.write(run, step, {"policy": tensors(step), "policy.optimizer": {}}, state)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_round_trip_is_bit_for_bit(tmp_path: Path) -> None:
    put(tmp_path, 120, extra={"x": 0.1 + 0.2})
    found = saved.newest(tmp_path)
    assert found is not None
    assert found.path.name == "step-000120"
    assert (found.step, found.state["extra"]["x"]) == (120, 0.1 + 0.2)
    for name, tensor in found.tensors("policy").items():
        expected = tensors(120)[name]
        assert tensor.dtype == expected.dtype
        assert tensor.numpy().tobytes() == expected.numpy().tobytes()
    assert found.tensors("policy.optimizer") == {}
    assert found.tensors("nobody") == {}


def test_the_newest_counts_steps_and_not_letters(tmp_path: Path) -> None:
    put(tmp_path, 999_999)
    put(tmp_path, 1_000_000)
    found = saved.newest(tmp_path)
    assert found is not None
    assert found.step == 1_000_000


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert saved.newest(tmp_path) is None
    assert saved.sweep(tmp_path) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def scramble(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, scramble, remove])
@pytest.mark.parametrize("name", ["policy.safetensors", "state.json"])
def test_a_damaged_one_is_passed_over_and_swept(tmp_path: Path, damage: Any, name: str) -> None:
    put(tmp_path, 1)
    damage(put(tmp_path, 2) / name)
    found = saved.newest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert saved.sweep(tmp_path) == ["step-000002"]
    assert names(tmp_path) == ["step-000001"]


def test_a_file_of_another_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, 2)
    saved.save_file({"w": torch.zeros(2)}, path / "policy.safetensors")
    assert saved.newest(tmp_path) is None


def test_leftovers_of_killed_writes_are_swept(tmp_path: Path) -> None:
    put(tmp_path, 1)
    for name in (".step-000002.partial", ".step-000001.old"):
        (tmp_path / "checkpoints" / name).mkdir()
    (tmp_path / "checkpoints" / "notes").mkdir()  # not ours
    assert saved.sweep(tmp_path) == [".step-000001.old", ".step-000002.partial"]
    assert names(tmp_path) == ["notes", "step-000001"]


def test_only_the_newest_and_the_protected_stay(tmp_path: Path) -> None:
    for step in range(1, 7):
        put(tmp_path, step)
    saved.prune(tmp_path, 2, {3})
    assert names(tmp_path) == ["step-000003", "step-000005", "step-000006"]


def test_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    cut(put(tmp_path, 2) / "policy.safetensors")
    put(tmp_path, 2)
    assert names(tmp_path) == ["step-000002"]
    assert saved.newest(tmp_path) is not None


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (saved.SafetensorError("I/O error: No space left on device (os error 28)"), "disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_a_full_disk_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str
) -> None:
    put(tmp_path, 1)

    def refuse(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(saved, "save_file", refuse)
    with pytest.raises(TrainingError) as caught:
        put(tmp_path, 2)
    assert "checkpoint step-000002 cannot be written" in str(caught.value)
    assert what in str(caught.value)
    assert "checkpoints/step-000001 is intact" in str(caught.value)
    assert names(tmp_path) == ["step-000001"]


def test_a_full_disk_at_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved, "save_file", refuse)
    with pytest.raises(TrainingError, match="there is no earlier one"):
        put(tmp_path, 1)


def test_state_is_plain_json(tmp_path: Path) -> None:
    path = put(tmp_path, 3, labels={"best": 3})
    state = json.loads((path / "state.json").read_text())
    assert state["labels"] == {"best": 3}
    assert state["files"].keys() == {"policy.safetensors", "policy.optimizer.safetensors"}
