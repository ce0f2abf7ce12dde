"""How large a model is, looked up without a network: parameters, layers, width, vocabulary.

A shipped base or a folder is read (config.json, and the headers of its weights, not the weights);
so is a hub model that lies in the hub's cache. Of well-known hub models a table is at hand, so
that a run can be planned before anything is downloaded.
Proof: tests/pipeline/test_sizes.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalsuite.errors import ModelError
from evalsuite.models.names import BASES, FETCHED, read_config, resolve, weight_files

Place = Literal["shipped", "on this machine", "in the hub's cache", "to be downloaded"]


class Size(NamedTuple):
    """Of a decoder. hidden: width of a layer; kv_width: of its keys; place: where the model is."""

    parameters: int
    layers: int
    hidden: int
    kv_width: int
    vocabulary: int
    place: Place


def _neox(layers: int, hidden: int, vocabulary: int) -> Size:
    """GPT-NeoX: untied embeddings, 12 h^2 + 13 h a layer, a last norm.

    A layer has matrices of 3 h^2, h^2, 4 h^2 and 4 h^2 with biases of 9 h, and two norms of 2 h.
    """
    layer = 12 * hidden**2 + 13 * hidden
    parameters = 2 * vocabulary * hidden + layers * layer + 2 * hidden
    return Size(parameters, layers, hidden, hidden, vocabulary, "to be downloaded")


def _llama(
    layers: int, hidden: int, inner: int, kv_width: int, vocabulary: int, *, tied: bool
) -> Size:
    """Llama: matrices without biases, three of them in the feed-forward part, two norms a layer."""
    layer = 2 * hidden**2 + 2 * hidden * kv_width + 3 * hidden * inner + 2 * hidden
    parameters = (1 if tied else 2) * vocabulary * hidden + layers * layer + hidden
    return Size(parameters, layers, hidden, kv_width, vocabulary, "to be downloaded")


def known_models() -> dict[str, Size]:
    """Hub models whose configuration is known here: layers, width, vocabulary as published."""
    pythia = {
        "70m": _neox(6, 512, 50304), "160m": _neox(12, 768, 50304),
        "410m": _neox(24, 1024, 50304), "1b": _neox(16, 2048, 50304),
        "1.4b": _neox(24, 2048, 50304), "2.8b": _neox(32, 2560, 50304),
        "6.9b": _neox(32, 4096, 50432), "12b": _neox(36, 5120, 50688),
    }  # fmt: skip
    smol = {
        "135M": _llama(30, 576, 1536, 192, 49152, tied=True),
        "360M": _llama(32, 960, 2560, 320, 49152, tied=True),
        "1.7B": _llama(24, 2048, 8192, 2048, 49152, tied=True),
    }
    return (
        {f"EleutherAI/pythia-{name}": size for name, size in pythia.items()}
        | {f"EleutherAI/pythia-{name}-deduped": size for name, size in pythia.items()}
        | {f"HuggingFaceTB/SmolLM2-{name}": size for name, size in smol.items()}
        | {f"HuggingFaceTB/SmolLM2-{name}-Instruct": size for name, size in smol.items()}
        | {"smollm2-135m": smol["135M"]}
    )


def known_size(name: str) -> Size:
    """The size of a model by the name that trainers take; touches no network.

    Raises ModelError where nothing is known of it without a download.
    """
    table = known_models()
    try:
        found = resolve(name)
    except ModelError:
        if name in table:
            return table[name]
        raise
    if isinstance(found, Path):
        return size_of_folder(found, "shipped" if name in BASES else "on this machine")
    folder = cached(found)
    if folder is not None:
        try:
            return size_of_folder(folder, "in the hub's cache")
        except ModelError:
            pass  # of a download that was broken off; the table may know it
    if name in table:
        return table[name]
    raise ModelError(
        f"{name}: its size is unknown before it is downloaded; allowed a folder, a model in the "
        f"hub's cache, {', '.join(BASES + FETCHED)}, or one of EleutherAI/pythia-... and "
        "HuggingFaceTB/SmolLM2-..."
    )


def cached(hub_id: str) -> Path | None:
    """The folder of a hub model in the hub's cache, None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def size_of_folder(folder: Path, place: Place) -> Size:
    """The size of a checkpoint on disk. Raises ModelError where it is none or not a decoder."""
    config = read_config(folder)
    try:
        layers, hidden = int(config["num_hidden_layers"]), int(config["hidden_size"])
        heads = int(config["num_attention_heads"])
        kv_heads = int(config.get("num_key_value_heads") or heads)
        head = int(config.get("head_dim") or hidden // heads)
        vocabulary = int(config["vocab_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}/config.json: tells no size ({error}); allowed num_hidden_layers, "
            "hidden_size, num_attention_heads and vocab_size"
        ) from None
    tied = bool(config.get("tie_word_embeddings"))
    return Size(_parameters(folder, tied), layers, hidden, kv_heads * head, vocabulary, place)


def _parameters(folder: Path, tied: bool) -> int:
    """Counted from the headers of the weights: 8 bytes of length, then JSON.

    tied: the output embedding is the input's, also where both stand in the file.
    """
    count = 0
    for path in weight_files(folder):
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: Mapping[str, Any] = json.loads(file.read(length))
            count += sum(
                math.prod(told["shape"])
                for name, told in header.items()
                if name != "__metadata__" and not (tied and name == "lm_head.weight")
            )
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
            raise ModelError(f"{path}: is not a file of weights ({error})") from None
    return count
