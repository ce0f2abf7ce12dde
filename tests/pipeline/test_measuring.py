"""Arithmetic of the experiment's tables that is done while they are put together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalsuite.pipeline.inventory import round_of
from evalsuite.pipeline.measuring import _same, ensemble, expected_share
from evalsuite.simulation import Crowd, World


@pytest.mark.parametrize(
    # members 1, 3 and 2, 2: mean 2 and 2, smallest 1 and 2, variance 1 and 0, weight one half
    ("how", "expected"),
    [("mean", [2.0, 2.0]), ("worst", [1.0, 2.0]), ("uncertainty", [1.5, 2.0])],
)
def test_ensembles(how: str, expected: list[float]) -> None:
    assert ensemble(np.array([[1.0, 3.0], [2.0, 2.0]]), how).tolist() == expected


def test_choices_that_agree() -> None:
    says = np.array([0.0, 1.0, 0.0, 0.5, 1.0])
    other = np.array([0.0, 1.0, 1.0, 1.0, math.nan])
    assert _same(says, other)[:4].tolist() == [1.0, 1.0, 0.0, 0.5]
    assert math.isnan(_same(says, other)[4])


def test_expected_share_is_that_of_the_crowd() -> None:
    crowd = Crowd.draw(World(0), 3)
    one, other = np.array([2.0, 1.0]), np.array([1.0, 1.0])
    chars, theirs = np.array([100.0, 80.0]), np.array([100.0, 80.0])
    found = expected_share(crowd, one, other, chars, theirs)
    for row in range(2):
        by_hand = 0.0
        for who in range(3):
            gap = crowd.skill[who] * (one[row] - other[row])
            for bias in (crowd.bias[who], -crowd.bias[who]):
                sure = 1 / (1 + math.exp(-(gap + bias)))
                lapse = crowd.lapse[who]
                by_hand += crowd.volume[who] / 2 * ((1 - lapse) * sure + lapse / 2)
        assert found[row] == pytest.approx(by_hand, abs=1e-12)
    assert found[1] == pytest.approx(0.5)


def test_rounds() -> None:
    assert round_of("rm3") == 3
    assert math.isnan(round_of("rm-small-300"))
    assert math.isnan(round_of("rouge"))
