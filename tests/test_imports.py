"""Imports point one way, and importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("evalsuite", "trainers", "analyses")

# room -> what it may import of the project; the roof (pipeline, cli) may import all
ALLOWED = {
    "evalsuite/stats": {"evalsuite.stats", "evalsuite.errors"},
    "evalsuite/metrics": {"evalsuite.metrics", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables"},
    "evalsuite/datasets": {"evalsuite.datasets", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables"},
    "evalsuite/simulation": {"evalsuite.simulation", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables"},
    "evalsuite/report": {"evalsuite.report", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables", "evalsuite.datasets", "evalsuite.experiment"},
    "evalsuite/models": {"evalsuite.models", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables", "evalsuite.metrics", "evalsuite.provenance", "evalsuite.config"},
    "trainers": {"trainers", "evalsuite.models", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables", "evalsuite.metrics", "evalsuite.provenance", "evalsuite.config"}
    | {"evalsuite.datasets", "evalsuite.simulation", "evalsuite.stats"},
    "analyses": {"analyses", "evalsuite.datasets", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.metrics", "evalsuite.report", "evalsuite.stats", "evalsuite.tables"}
    | {"evalsuite.experiment"},
    "evalsuite/judges": {"evalsuite.judges", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables", "evalsuite.simulation", "evalsuite.models", "evalsuite.config"}
    | {"evalsuite.datasets"},
    "evalsuite/probes": {"evalsuite.probes", "evalsuite.errors", "evalsuite.records"}
    | {"evalsuite.tables", "evalsuite.simulation", "evalsuite.metrics"},
}


def modules() -> list[Path]:
    return sorted(
        p for room in ROOMS if (ROOT / room).exists() for p in (ROOT / room).rglob("*.py")
    )


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ROOMS}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if parts[0] == "evalsuite" and len(parts) > 2 else parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room in ("evalsuite/pipeline", "evalsuite/cli"):
        return
    allowed = ALLOWED.get(room)
    for name in imported(path):
        if allowed is not None:
            assert any(name == a or name.startswith(a + ".") for a in allowed), (
                f"{room} imports {name}; allowed {sorted(allowed)}"
            )
        else:  # the core's own modules
            roof = ("trainers", "analyses", "evalsuite.pipeline", "evalsuite.cli")
            assert not name.startswith(roof) or path.name == "__main__.py", f"{path} imports {name}"


def test_import_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, evalsuite, evalsuite.records, evalsuite.tables, evalsuite.datasets, "
        "evalsuite.metrics, evalsuite.cli.main\n"
        "bad = {'torch', 'transformers', 'matplotlib.pyplot', 'requests'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_packages_are_all_listed() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = set(listed["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert packages == found
