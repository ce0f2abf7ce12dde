"""Two processes (gloo, CPU) are one: DDP and FSDP, three families, uneven batches."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("two_processes.py")
ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("llama", "gpt2", "gpt_neox")


def script() -> Any:
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(*words: str, processes: int = 2) -> None:
    """Run a script below torchrun; its output is shown when it fails."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc_per_node", str(processes), *words,
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def two(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("two") / "out.json"
    launch(str(SCRIPT), str(tiny), str(out))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def one(tiny: Path) -> dict[str, Any]:
    return {family: script().work(tiny / family, "ddp") for family in FAMILIES}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_are_one(
    one: dict[str, Any], two: dict[str, Any], family: str, parallel: str
) -> None:
    got, expected = two[f"{family} {parallel}"], one[family]
    assert got["sharded"] is (parallel == "fsdp")
    np.testing.assert_allclose(got["numbers"], expected["numbers"], rtol=1e-5)
    assert got["weights"].keys() == expected["weights"].keys()
    for name, weight in expected["weights"].items():
        np.testing.assert_allclose(got["weights"][name], weight, rtol=0, atol=1e-5, err_msg=name)


def test_what_processes_know_of_each_other(two: dict[str, Any]) -> None:
    got = two["llama ddp"]
    assert got["order"] == [13, 18, 11, 16, 14]  # last prompt tokens, in the order of the groups
    assert got["totals"] == {"a": 3.0, "b": 1.0}
    assert got["maximum"] == 1.0
    assert got["main"] == 0
