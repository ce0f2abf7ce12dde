"""Learning rates and batches by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.config import OptimizerConfig
from trainers.schedule import batch_indices, learning_rate, total_updates, warmup_steps

RATE = OptimizerConfig(learning_rate=8.0)


def test_cosine_by_hand() -> None:
    # ways 0, 1/4, 1/2, 3/4 of half a turn: cos = 1, sqrt(1/2), 0, -sqrt(1/2)
    root = math.sqrt(0.5)
    expected = [8.0, 4 * (1 + root), 4.0, 4 * (1 - root)]
    assert [learning_rate(RATE, s, 4) for s in (1, 2, 3, 4)] == pytest.approx(expected, rel=1e-15)


def test_linear_by_hand() -> None:
    config = replace(RATE, schedule="linear")
    assert [learning_rate(config, s, 4) for s in (1, 2, 3, 4)] == [8.0, 6.0, 4.0, 2.0]


def test_linear_to_a_floor() -> None:
    config = replace(RATE, schedule="linear", floor=0.5)
    assert [learning_rate(config, s, 4) for s in (1, 2, 3, 4)] == [8.0, 7.0, 6.0, 5.0]


def test_cosine_to_a_floor() -> None:
    # half-way: floor + (1 - floor) / 2 = .1 + .45
    config = replace(RATE, floor=0.1)
    assert learning_rate(config, 3, 4) == pytest.approx(8 * 0.55, rel=1e-15)


def test_warm_up_rises_to_the_highest_rate_and_then_the_schedule_begins() -> None:
    config = replace(RATE, schedule="linear", warmup=2)
    # two steps up (1/2, 2/2), then ways 0, 1/3, 2/3 of the three that are left
    expected = [4.0, 8.0, 8.0, 16 / 3, 8 / 3]
    assert [learning_rate(config, s, 5) for s in range(1, 6)] == pytest.approx(expected)


def test_warm_up_as_a_share_of_the_run() -> None:
    assert warmup_steps(replace(RATE, warmup=0.1), 50) == 5
    assert warmup_steps(replace(RATE, warmup=1), 50) == 1


def test_constant() -> None:
    config = replace(RATE, schedule="constant")
    assert {learning_rate(config, s, 9) for s in range(1, 10)} == {8.0}


@pytest.mark.parametrize(
    ("examples", "batch_size", "epochs", "updates"),
    [(10, 4, 1.0, 3), (8, 4, 1.0, 2), (10, 4, 2.0, 5), (10, 4, 0.5, 2), (1, 128, 1.0, 1)],
)
def test_updates_of_epochs(examples: int, batch_size: int, epochs: float, updates: int) -> None:
    assert total_updates(examples, batch_size, epochs) == updates


def test_batches_follow_the_permutation_of_their_pass() -> None:
    first = np.random.default_rng([3, 0]).permutation(5).tolist()
    second = np.random.default_rng([3, 1]).permutation(5).tolist()
    row = first + second
    got = [batch_indices(step, examples=5, batch_size=3, epochs=2, seed=3) for step in range(1, 5)]
    assert got == [row[0:3], row[3:6], row[6:9], row[9:10]]


@given(
    examples=st.integers(1, 40), batch_size=st.integers(1, 16),
    epochs=st.sampled_from([0.3, 1.0, 1.5, 3.0]), seed=st.integers(0, 5),
)  # fmt: skip
def test_each_pass_takes_each_example_once(
    examples: int, batch_size: int, epochs: float, seed: int
) -> None:
    total = total_updates(examples, batch_size, epochs)
    row = [
        index
        for step in range(1, total + 1)
        for index in batch_indices(
            step, examples=examples, batch_size=batch_size, epochs=epochs, seed=seed
        )
    ]
    assert len(row) == max(math.floor(examples * epochs + 0.5), 1)
    whole = len(row) // examples
    for number in range(whole):
        assert sorted(row[number * examples : (number + 1) * examples]) == list(range(examples))
    rest = row[whole * examples :]
    assert len(set(rest)) == len(rest)
