"""evalsuite.json: where a checkpoint comes from, beside its weights.

Names stand without their folders, so a published checkpoint says nothing about the machine that
made it. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from evalsuite import provenance
from evalsuite.errors import ModelError
from evalsuite.models.names import INFO_FILE, read_config, weight_files
from evalsuite.records import shown
from evalsuite.tables import Source

Kind = Literal["policy", "reward", "value"]

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate")

SHIFT_KEY = "reward_shift"
"""Key of the shift in config.json, where a reader of the weights alone finds it."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What is on file of a checkpoint; a model of others has the defaults.

    kind: what the head gives: tokens (policy), a reward, or the value of a state.
    config: the resolved settings of the run that made it.
    data: name, sha256, format and rows of each input, as `tables.Source`.
    seed, step: of the run, and the update after which it was saved.
    commit, dirty: of the suite; None outside a git checkout.
    parent: name and weights of the checkpoint it was trained from, as `lineage` writes it.
    ancestors: of the parent, the oldest first, and the parent itself last.
    prompt_format: how its prompts are rendered, as `prompts.PromptFormat` in plain data.
    reward_shift: reward = head output - reward_shift, so that references have mean reward 0.
    metrics: numbers of the end of the run.
    weights_sha256: of the weights; written by `save`.
    versions: of the packages that made it.
    more: what else is worth knowing (source of a fetched model, its licence).
    """

    kind: Kind = "policy"
    config: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    seed: int | None = None
    commit: str | None = None
    dirty: bool | None = None
    parent: str | None = None
    ancestors: list[str] = field(default_factory=list)
    prompt_format: dict[str, Any] | None = None
    reward_shift: float = 0.0
    step: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    def __post_init__(self) -> None:
        if not math.isfinite(self.reward_shift):
            raise ModelError(f"reward_shift is {self.reward_shift}; allowed a finite number")

    def replace(self, **changes: Any) -> CheckpointInfo:
        """The same record with some fields changed."""
        return dataclasses.replace(self, **changes)


def made_here(
    kind: Kind,
    *,
    config: Mapping[str, Any],
    seed: int | None,
    sources: Iterable[Source] = (),
    parent: CheckpointInfo | None = None,
    parent_name: str | None = None,
    **fields: Any,
) -> CheckpointInfo:
    """The record of a checkpoint that is being made: commit, versions, parent and data filled in.

    parent, parent_name: `info` and `name` of the `Loaded` that training started from; what the
    parent knows of the prompt format is kept unless `fields` say otherwise. A name alone will do
    for what is no checkpoint.
    """
    commit, dirty = provenance.commit()
    if parent_name is not None:
        digest = parent.weights_sha256 if parent else None
        text = f"{parent_name} sha256:{digest[:16]}" if digest else parent_name
        before = parent.ancestors if parent else []
        told = parent.prompt_format if parent else None
        fields = {"parent": text, "ancestors": [*before, text], "prompt_format": told} | fields
    return CheckpointInfo(
        kind=kind,
        config=dict(config),
        seed=seed,
        data=[dict(source.__dict__) for source in sources],
        commit=commit,
        dirty=dirty,
        versions=provenance.versions() | {name: metadata.version(name) for name in PACKAGES},
        **fields,
    )


def read_info(folder: Path) -> CheckpointInfo | None:
    """The record beside the weights in `folder`; None where there is no file of that name.

    Raises ModelError naming the file and the field that is not what it has to be, also where
    config.json has another reward shift.
    """
    file = folder / INFO_FILE
    if not file.is_file():
        return None
    try:
        info = TypeAdapter(CheckpointInfo).validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        found = f"{key} is {shown(first['input'])}; " if key else ""
        raise ModelError(f"{file}: {found}{first['msg']}") from None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from None
    told = read_config(folder).get(SHIFT_KEY, info.reward_shift)
    if info.kind != "policy" and told != info.reward_shift:
        raise ModelError(
            f"{file}: reward_shift is {info.reward_shift}, but {told} in config.json; "
            "allowed one shift in both"
        )
    return info


def info_of(folder: Path, kind: Kind) -> CheckpointInfo:
    """The record of `folder`, or that of a model of others: its kind and config.json's shift."""
    found = read_info(folder)
    if found is not None:
        return found
    shift = read_config(folder).get(SHIFT_KEY, 0.0) if kind != "policy" else 0.0
    if not isinstance(shift, (int, float)) or isinstance(shift, bool):
        raise ModelError(f"{folder}/config.json: {SHIFT_KEY} is {shown(shift)}; allowed a number")
    return CheckpointInfo(kind=kind, reward_shift=float(shift))


def write_info(folder: Path, info: CheckpointInfo) -> None:
    """Writes the record as readable JSON; numbers that are not finite become null."""
    plain = json.dumps(_finite(dataclasses.asdict(info)), indent=2, ensure_ascii=False)
    (folder / INFO_FILE).write_text(plain + "\n", encoding="utf-8")


def weights_sha256(folder: Path) -> str:
    """Digest of the bytes of all weight files, in the order of their names."""
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
