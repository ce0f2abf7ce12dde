"""The course of a run as functions of the number of an update: its learning rate, its batch.

Nothing here has a state, so nothing here has to be saved: resuming needs the number alone.
Proof: tests/trainers/test_schedule.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainers.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Learning rate of update `step`, 1 to `total`: a pure function, nothing to save.

    Warm-up of w updates: step / w of the highest rate for step <= w. Then the share of the way
    t = (step - w - 1) / (total - w), from 0 up to, not including, 1: cosine
    floor + (1 - floor) (1 + cos(pi t)) / 2, linear 1 - (1 - floor) t, constant 1.
    """
    warmup = warmup_steps(config, total)
    if step <= warmup:
        return config.learning_rate * step / warmup
    way = min((step - warmup - 1) / max(total - warmup, 1), 1.0)
    if config.schedule == "cosine":
        share = config.floor + (1 - config.floor) * (1 + math.cos(math.pi * way)) / 2
    elif config.schedule == "linear":
        share = 1 - (1 - config.floor) * way
    else:
        share = 1.0
    return config.learning_rate * share


def warmup_steps(config: OptimizerConfig, total: int) -> int:
    """Updates of warm-up: `warmup` itself, or that share of the run where it is below 1."""
    return round(config.warmup * total if config.warmup < 1 else config.warmup)


def total_updates(examples: int, batch_size: int, epochs: float) -> int:
    """Updates that `epochs` passes over the examples take; the last may be smaller."""
    return max(math.ceil(math.floor(examples * epochs + 0.5) / batch_size), 1)


def batch_indices(
    step: int, *, examples: int, batch_size: int, epochs: float, seed: int
) -> list[int]:
    """Which examples update `step` (from 1) is of: places in an endless row of shuffled passes.

    Pass e is in the order of `numpy.random.default_rng([seed, e]).permutation(examples)`, so any
    batch is known from (seed, step) alone. The row ends after `epochs` passes.
    """
    end = max(math.floor(examples * epochs + 0.5), 1)
    places = range((step - 1) * batch_size, min(step * batch_size, end))
    orders: dict[int, Any] = {}
    found = []
    for place in places:
        epoch, at = divmod(place, examples)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([seed, epoch]).permutation(examples)
        found.append(int(orders[epoch][at]))
    return found
