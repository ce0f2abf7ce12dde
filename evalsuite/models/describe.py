"""What is known of a checkpoint without loading its weights: `evalsuite models show`."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import safe_open

from evalsuite.models.info import info_of
from evalsuite.models.names import INFO_FILE, folder_of, read_config, weight_files

ROWS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


def parameters(folder: Path) -> tuple[int, dict[str, int], int | None]:
    """Numbers on file, how many of each dtype, and rows of the token embedding, from headers."""
    total, dtypes, rows = 0, dict[str, int](), None
    for file in weight_files(folder):
        with safe_open(file, framework="numpy") as opened:
            for key in opened.keys():  # noqa: SIM118 - no mapping
                part = opened.get_slice(key)
                count = math.prod(part.get_shape())
                total += count
                dtypes[part.get_dtype()] = dtypes.get(part.get_dtype(), 0) + count
                if key.endswith(ROWS):
                    rows = int(part.get_shape()[0])
    return total, dtypes, rows


def describe(name: str) -> dict[str, str]:
    """Facts of a checkpoint as pairs of words, in the order to be read.

    Raises ModelError as `names.folder_of` and `info.read_info`.
    """
    from evalsuite.models.checkpoints import read_tokenizer

    folder = folder_of(name)
    config = read_config(folder)
    made_of = (config.get("architectures") or ["?"])[0]
    scalar = str(made_of).endswith("ForSequenceClassification")
    info = info_of(folder, "reward" if scalar else "policy")
    total, dtypes, rows = parameters(folder)
    tokenizer = read_tokenizer(folder, name)
    context = config.get("max_position_embeddings") or config.get("n_positions")
    labels = config.get("id2label")
    facts = {
        "kind": info.kind + ("" if (folder / INFO_FILE).is_file() else " (no evalsuite.json)"),
        "architecture": f"{made_of}, family {config.get('model_type')}",
        "parameters": f"{total:,} ({', '.join(f'{k} {v:,}' for k, v in sorted(dtypes.items()))})",
        "context": "no limit stated" if context is None else f"{context:,} tokens",
        "vocabulary": f"{len(tokenizer):,} tokens, {rows or '?'} embedding rows",
        "eos": _token(tokenizer.eos_token, tokenizer.eos_token_id),
        "pad": _token(tokenizer.pad_token, tokenizer.pad_token_id)
        + ("" if tokenizer.pad_token_id != tokenizer.eos_token_id else ", is EOS: [PAD] on load"),
    }
    if scalar:
        facts["outputs"] = str(len(labels) if labels else 2)
        facts["reward shift"] = f"{info.reward_shift:g} (reward = output - shift)"
    if info.prompt_format:
        facts |= {f"prompt {key}": repr(v) for key, v in info.prompt_format.items()}
    facts["lineage"] = " > ".join(info.ancestors or [info.parent or "not on file"])
    plain = {
        "trained on": ", ".join(f"{d.get('name')} ({d.get('rows')} rows)" for d in info.data),
        "seed": "" if info.seed is None else str(info.seed),
        "step": "" if info.step is None else str(info.step),
        "commit": (info.commit or "") + (" (files differ)" if info.dirty else ""),
        "weights": f"sha256 {info.weights_sha256}" if info.weights_sha256 else "",
    }
    facts |= {key: value for key, value in plain.items() if value}
    return facts | {key: str(value) for key, value in (info.metrics | info.more).items()}


def _token(text: str | None, number: int | None) -> str:
    return "none" if number is None else f"{text!r} ({number})"
