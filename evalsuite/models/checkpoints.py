"""Policies and reward models in and out of Hugging Face folders.

    loaded = load_policy("world-small")                    # or a folder, or org/name on the hub
    save("runs/sft/model", loaded.model, loaded.tokenizer, loaded.info)
    reward_model = new_reward_model("runs/sft/model", seed=0)

Policies are `AutoModelForCausalLM`, reward models and value networks
`AutoModelForSequenceClassification` with one label, weights safetensors, the tokenizer beside them:
transformers, TRL and vLLM read a folder as it is. Code in a checkpoint is never run:
`trust_remote_code` is off and pickles are refused.

What differs from a plain load
    Padding: a tokenizer without a pad token, or whose pad is its EOS, gets `[PAD]`, so that the EOS
    on which a reward is read is never taken for padding (`ensure_pad`).
    Shift: reward = head output - `info.reward_shift`. The heads of decoder families have no bias
    that could hold it, so a plain load gives rewards before the shift, with equal differences.
    Dropout: every dropout field of the configuration is 0, also in what is saved, so a model gives
    the same numbers in training mode (which gradient checkpointing needs) as in evaluation mode,
    and the saved file says what the weights were trained with.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from evalsuite.errors import ModelError
from evalsuite.models.info import (
    SHIFT_KEY,
    CheckpointInfo,
    info_of,
    made_here,
    weights_sha256,
    write_info,
)
from evalsuite.models.limits import check_context, check_tokens, context_length, ensure_pad
from evalsuite.models.names import INFO_FILE, folder_of, read_config, resolve
from evalsuite.models.quiet import quiet, reading

__all__ = [
    "CheckpointInfo",
    "Loaded",
    "check_context",
    "check_tokens",
    "context_length",
    "ensure_pad",
    "load_policy",
    "load_scalar",
    "made_here",
    "new_reward_model",
    "resolve",
    "save",
]

SCALAR_SUFFIX = "ForSequenceClassification"


class Loaded(NamedTuple):
    """A model in evaluation mode on the CPU, its tokenizer, record, folder, and name.

    name: as in a child's `parent`: a short name, a hub id, or the last two parts of a folder.
    """

    model: Any
    tokenizer: Any
    info: CheckpointInfo
    path: Path
    name: str


def load_policy(
    name: str | Path, *, dtype: torch.dtype = torch.float32, attn: str = "sdpa"
) -> Loaded:
    """A causal language model and its tokenizer, whose pad token differs from EOS.

    name: see `names.resolve`. attn: the attention kernel; a family without sdpa falls back to
    eager, as `model.config._attn_implementation` then says.
    Raises ModelError where the folder is missing, is not safetensors, is a reward model, lacks
    weights, has no EOS, or has a tokenizer with ids beyond the embedding rows.
    """
    folder = folder_of(name)
    config = _config(folder, name, attn, MODEL_FOR_CAUSAL_LM_MAPPING, "a causal language model")
    made_of = (config.architectures or [""])[0]
    info = info_of(folder, "policy")
    if made_of.endswith(SCALAR_SUFFIX) or info.kind != "policy":
        raise ModelError(f"{name}: is a {info.kind} model ({made_of}); allowed a policy")
    tokenizer = read_tokenizer(folder, name)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{name}: its tokenizer has no end-of-sequence token")
    model, missing = _weights(transformers.AutoModelForCausalLM, folder, name, config, dtype)
    _refuse_missing(name, missing)
    ensure_pad(model, tokenizer, str(name))
    return Loaded(model, tokenizer, info, folder, _name(name, folder))


def load_scalar(
    name: str | Path, *, dtype: torch.dtype = torch.float32, attn: str = "sdpa"
) -> Loaded:
    """A reward model or value network: any sequence-classification head with one output.

    The model gives rewards BEFORE the shift; reward = output - `info.reward_shift`.
    Raises ModelError as `load_policy`, where there is no head, or where it has not one output.
    """
    folder = folder_of(name)
    mapping = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    config = _config(folder, name, attn, mapping, "a reward model")
    info = info_of(folder, "reward")
    made_of = (config.architectures or [""])[0]
    if info.kind == "policy" or (made_of and not made_of.endswith(SCALAR_SUFFIX)):
        raise ModelError(
            f"{name}: is a {made_of or 'policy'}, which has no reward head; allowed a "
            f"...{SCALAR_SUFFIX} with one output (train one: evalsuite train rm)"
        )
    if config.num_labels != 1:
        raise ModelError(f"{name}: its head has {config.num_labels} outputs; allowed 1 (a reward)")
    tokenizer = read_tokenizer(folder, name)
    loader = transformers.AutoModelForSequenceClassification
    model, missing = _weights(loader, folder, name, config, dtype)
    _refuse_missing(name, missing)
    ensure_pad(model, tokenizer, str(name))
    return Loaded(model, tokenizer, info, folder, _name(name, folder))


def new_reward_model(
    policy: str | Path, *, seed: int, dtype: torch.dtype = torch.float32, attn: str = "sdpa"
) -> Loaded:
    """A reward model from a policy: its backbone, and a scalar head ~ N(0, 1/(d + 1)), no bias.

    d is the width of the hidden state; 1/(d + 1) is the variance, so that the head's output has
    about variance 1 on normalised states. The head comes from `seed` alone.
    `info` is a fresh record whose parent is the policy; the trainer adds its settings and data.
    Raises ModelError as `load_policy`, and for a family without a linear `score` head.
    Source: Stiennon et al. 2020, Appendix B.1.
    """
    folder = folder_of(policy)
    mapping = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    config = _config(folder, policy, attn, mapping, "a reward model")
    parent = info_of(folder, "policy")
    if parent.kind != "policy" or (config.architectures or [""])[0].endswith(SCALAR_SUFFIX):
        raise ModelError(f"{policy}: is a {parent.kind} model already; allowed a policy")
    config.num_labels = 1
    tokenizer = read_tokenizer(folder, policy)
    loader = transformers.AutoModelForSequenceClassification
    model, missing = _weights(loader, folder, policy, config, dtype)
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise ModelError(
            f"{policy}: {type(model).__name__} has no linear head `score`; allowed decoder "
            "families such as Llama, GPT-2 and GPT-NeoX"
        )
    _refuse_missing(policy, [key for key in missing if key != "score.weight"])
    generator = torch.Generator().manual_seed(seed)
    width = head.in_features
    with torch.no_grad():
        drawn = torch.randn(1, width, generator=generator, dtype=torch.float32)
        head.weight.copy_(drawn / (width + 1) ** 0.5)
    ensure_pad(model, tokenizer, str(policy))
    parent_name = _name(policy, folder)
    if parent.weights_sha256 is None:
        parent = parent.replace(weights_sha256=weights_sha256(folder))
    info = made_here("reward", config={}, seed=seed, parent=parent, parent_name=parent_name)
    return Loaded(model, tokenizer, info, folder, parent_name)


def save(
    folder: str | Path,
    model: Any,
    tokenizer: Any,
    info: CheckpointInfo,
    *,
    state_dict: Mapping[str, torch.Tensor] | None = None,
) -> CheckpointInfo:
    """Writes weights, configuration, tokenizer and `evalsuite.json` as one folder, or nothing.

    Everything is written under a temporary name beside `folder` and synced to disk, then renamed;
    a folder that was there is replaced as a whole. One process writes a folder at a time.
    model: the Hugging Face model itself, out of any wrapper. state_dict: its tensors where they
    had to be gathered from several processes.
    Returns the record as written, with the digest of the weights.
    Raises ModelError where writing fails (disk full); what was in `folder` is then still there.
    """
    target = Path(folder)
    writing = target.with_name(f".{target.name}.writing")
    before = target.with_name(f".{target.name}.previous")
    if info.kind != "policy":
        setattr(model.config, SHIFT_KEY, float(info.reward_shift))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if before.is_dir() and not target.exists():
            before.rename(target)  # a save was cut off between its two renames
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        with quiet():
            model.save_pretrained(writing, state_dict=state_dict)
            tokenizer.save_pretrained(writing)
        _for_older_readers(writing)
        info = info.replace(weights_sha256=weights_sha256(writing))
        write_info(writing, info)
        _finish(writing)
        shutil.rmtree(before, ignore_errors=True)
        if target.exists():
            target.rename(before)
        writing.rename(target)
        _sync_folder(target.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        kept = "; what was there before is still in place" if target.exists() else ""
        raise ModelError(f"{target}: the checkpoint cannot be written ({reason}){kept}") from error
    shutil.rmtree(before, ignore_errors=True)
    return info


def _name(name: str | Path, folder: Path) -> str:
    if isinstance(resolve(name), str) or not Path(str(name)).is_dir():
        return str(name)
    return "/".join(folder.resolve().parts[-2:])


def _config(folder: Path, name: str | Path, attn: str, mapping: Any, what: str) -> Any:
    """The configuration with its dropout at 0, of a family that transformers itself knows."""
    family = read_config(folder).get("model_type")
    if family not in CONFIG_MAPPING:
        raise ModelError(
            f"{name}: model type {family!r} is not one that transformers "
            f"{transformers.__version__} knows; code in a checkpoint is never run"
        )
    with reading(name):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if type(config) not in mapping:
        raise ModelError(f"{name}: the family {family!r} cannot be {what}")
    _without_dropout(config)
    model_class = mapping[type(config)]
    model_class = model_class[0] if isinstance(model_class, tuple) else model_class
    if attn == "sdpa" and not model_class._supports_sdpa:
        attn = "eager"
    config._attn_implementation = attn
    return config


def _without_dropout(config: Any) -> None:
    for key, value in list(vars(config).items()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            _without_dropout(value)
        named = "dropout" in key or key.endswith("pdrop") or key == "layerdrop"
        if named and isinstance(value, float) and value:
            setattr(config, key, 0.0)


def read_tokenizer(folder: Path, name: str | Path) -> Any:
    with reading(name, "its tokenizer cannot be read"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _weights(
    loader: Any, folder: Path, name: str | Path, config: Any, dtype: torch.dtype
) -> tuple[Any, list[str]]:
    """The model, and the parameters that its files do not hold."""
    with reading(name), torch.random.fork_rng(devices=[]):
        model, found = loader.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    return model.eval(), sorted(found["missing_keys"])


def _refuse_missing(name: str | Path, missing: list[str]) -> None:
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"{name}: the weights of {', '.join(missing[:3])}{more} are not in the checkpoint"
        )


def _for_older_readers(folder: Path) -> None:
    """Keys of transformers 4 beside those of 5: without them it rotates by its default, unasked.

    Readers built on version 4 (some vLLM and TRL) know `rope_theta`, not `rope_parameters`, and no
    tokenizer class named after version 5's backend. Version 5 reads the file as before.
    """
    config = read_config(folder)
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in rope:
        old = {"rope_theta": rope.pop("rope_theta")}
        if "partial_rotary_factor" in rope:
            old["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        if config.get("model_type") == "gpt_neox":
            old["rotary_emb_base"] = old["rope_theta"]
            old["rotary_pct"] = old.get("partial_rotary_factor", 1.0)
        if rope.get("rope_type", "default") != "default":
            old["rope_scaling"] = rope
        _write_json(folder / "config.json", config | old)
    file = folder / "tokenizer_config.json"
    if file.is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        if told.get("tokenizer_class") == "TokenizersBackend":
            told["tokenizer_class"] = "PreTrainedTokenizerFast"
        if isinstance(told.get("extra_special_tokens"), list):
            told["additional_special_tokens"] = told.pop("extra_special_tokens")
        for key in ("backend", "is_local", "local_files_only"):  # of the process that saved
            told.pop(key, None)
        _write_json(file, told)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def _finish(folder: Path) -> None:
    """Files onto the disk, readable as the user's other files (the libraries write some as 600)."""
    mode = (folder / INFO_FILE).stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
