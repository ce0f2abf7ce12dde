"""Names of models: short, folders, the hub; every refusal before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evalsuite.errors import ModelError
from evalsuite.models import names
from evalsuite.models.names import folder_of, models_folder, read_config, resolve, weight_files


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of one's own, with the models' cache in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALSUITE_MODELS", str(tmp_path / "cache"))
    return tmp_path


def checkpoint(folder: Path) -> Path:
    """Files by name alone: enough for what looks at names."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    (folder / "model.safetensors").touch()
    return folder


def test_where_fetched_models_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALSUITE_MODELS", "/a/b")
    assert models_folder() == Path("/a/b")
    monkeypatch.delenv("EVALSUITE_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert models_folder() == Path("/c/evalsuite/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert models_folder() == Path("/h/.cache/evalsuite/models")


def test_short_names(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "^smollm2-135m: not on this machine yet; evalsuite models get smollm2-135m$"
    with pytest.raises(ModelError, match=said):
        resolve("smollm2-135m")
    fetched = checkpoint(here / "cache" / "smollm2-135m")
    assert resolve("smollm2-135m") == fetched
    monkeypatch.setattr(names.importlib.resources, "files", lambda _: here / "package")
    with pytest.raises(ModelError, match="world-small: this installation comes without the"):
        resolve("world-small")
    base = checkpoint(here / "package" / "bases" / "world-small")
    checkpoint(here / "world-small")
    assert resolve("world-small") == base  # before a folder of that name
    assert resolve("./world-small") == Path("world-small")


def test_folders_and_hub_ids(here: Path) -> None:
    made = checkpoint(here / "runs" / "sft" / "model")
    assert resolve(made) == resolve(str(made)) == folder_of(made) == made
    assert resolve("runs/sft/model") == Path("runs/sft/model")
    assert resolve("EleutherAI/pythia-1.4b") == "EleutherAI/pythia-1.4b"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("world-smal", "no such folder; did you mean world-small?"),
        ("smollm2", "no such folder; did you mean smollm2-135m?"),
        ("gpt2", "no such folder; allowed world-small, world-medium, world-large, smollm2-135m, "
         "a folder, or org/name on the hub"),
        ("runs/rm", "no such folder; allowed"),  # `runs` is here, so no hub is asked
        ("/nowhere/at/all", "no such folder; allowed"),
        ("file", "is a file; allowed the folder of a checkpoint"),
    ],
)  # fmt: skip
def test_names_of_nothing(name: str, said: str, here: Path) -> None:
    (here / "runs").mkdir()
    (here / "file").touch()
    with pytest.raises(ModelError) as refused:
        folder_of(name)
    assert str(refused.value).startswith(f"{name}: {said}")


def test_the_hub_gives_a_folder_without_pickles_and_code(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    asked: dict[str, list[str]] = {}

    def snapshot(hub_id: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        files = ["config.json", "model.safetensors", "pytorch_model.bin", "modeling.py",
                 "tokenizer.model", "vocab.txt", "original/model.safetensors",
                 "consolidated.safetensors", "chat_template.jinja"]  # fmt: skip
        kept = filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        asked[hub_id] = sorted(kept)
        return str(checkpoint(here / "snapshot"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert folder_of("org/name") == here / "snapshot"
    assert asked == {"org/name": ["chat_template.jinja", "config.json", "model.safetensors",
                                  "tokenizer.model", "vocab.txt"]}  # fmt: skip


def test_no_hub_answers(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def nothing(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing)
    with pytest.raises(ModelError) as refused:
        folder_of("org/name")
    assert str(refused.value) == (
        "org/name: no such folder, and the Hugging Face hub gave none (Name or service not "
        "known); without a hub, evalsuite models get smollm2-135m fetches a small pretrained model"
    )


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}", "utf-8")


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _part_missing(folder: Path) -> None:
    parts = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(parts), "utf-8")
    (folder / "model.safetensors").rename(folder / "model-1-of-2.safetensors")


def _no_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_adapter, r"is an adapter \(adapter_config.json\); allowed whole models: merge it"),
        (_pickled, r"its weights are pickles \(pytorch_model.bin\), which can run code; allowed "
         r"safetensors. Where you trust the file, convert it once .*save_pretrained\(NEW\)"),
        (_no_weights, "has no weights; allowed model.safetensors or model.safetensors.index.json"),
        (_no_config, "is not a checkpoint, config.json is missing"),
        (_part_missing, "weights are incomplete, model-2-of-2.safetensors is missing"),
        (_no_index, "model.safetensors.index.json: is not an index of weights"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint(damage: Callable[[Path], None], said: str, here: Path) -> None:
    folder = checkpoint(here / "model")
    damage(folder)
    with pytest.raises(ModelError, match=said):
        folder_of(folder)


def test_weights_in_parts(here: Path) -> None:
    folder = checkpoint(here / "model")
    assert weight_files(folder) == [folder / "model.safetensors"]
    _part_missing(folder)
    (folder / "model-2-of-2.safetensors").touch()
    expected = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    assert [p.name for p in weight_files(folder_of(folder))] == expected


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_configurations_that_are_none(text: str, here: Path) -> None:
    (here / "config.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"config.json: is not a model's configuration"):
        read_config(here)
