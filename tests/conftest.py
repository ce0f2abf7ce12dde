"""Fixtures for every test: no leaked global state, and the real data where it lies beside us."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import rich.style  # noqa: F401 - draws from random's global generator when first imported

# Two workers on two cores: threads beside them only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A loaded machine is not a bug: tests never time.
hypothesis.settings.register_profile("evalsuite", deadline=None)
hypothesis.settings.load_profile("evalsuite")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real human labels; tests that use it skip where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder shared/data with real labels does not lie beside the project")
    return SHARED_DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20090301)


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Fail a test that moves a global random generator or leaves a pyplot figure open."""
    before_numpy = np.random.get_state()[1].tobytes()  # noqa: NPY002 - reads, never draws
    before_python = random.getstate()
    yield
    assert np.random.get_state()[1].tobytes() == before_numpy, "moved numpy's global generator"  # noqa: NPY002
    assert random.getstate() == before_python, "moved random's global generator"
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        assert not pyplot.get_fignums(), "left a pyplot figure open"
