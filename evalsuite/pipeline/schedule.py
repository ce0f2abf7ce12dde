"""List scheduling: which ready step goes first, and when all will be done.

A worker that is free takes the ready step with the longest way to the end still before it (its own
seconds and those of the longest chain of steps that need it), so that no long chain is left over
for one worker. The runner follows this order, and estimates play it through.
Source: R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17 (1969).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from evalsuite.pipeline.steps import Plan, Step


class Estimator(Protocol):
    """What a runner asks about time."""

    def seconds(self, step: Step) -> float:
        """How long the step takes on a worker."""

    def learn(self, step: Step, seconds: float) -> None:
        """It took so long, from its beginning to its end."""


class Even:
    """Every step takes a second: no estimate at hand."""

    def seconds(self, step: Step) -> float:
        """1."""
        return 1.0

    def learn(self, step: Step, seconds: float) -> None:
        """Nothing."""


class Turn(NamedTuple):
    """Seconds from now at which a step begins and ends."""

    begin: float
    end: float


def tails(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the longest chain of steps from each one on, itself included.

    seconds: of the steps that are to be made; others take none.
    """
    out: dict[str, float] = {}
    for step in reversed(plan.steps):
        after = max((out[name] for name in plan.readers(step.name)), default=0.0)
        out[step.name] = seconds.get(step.name, 0.0) + after
    return out


def play(
    plan: Plan,
    seconds: Mapping[str, float],
    jobs: int,
    running: Mapping[str, float] | None = None,
    blocked: Collection[str] = (),
) -> dict[str, Turn]:
    """When each step begins and ends on `jobs` workers.

    seconds: of the steps to be made. running: those at work now, with the seconds they have left;
    they are not in `seconds`. blocked: those that failed; what needs them is left out. Steps of
    the plan in none of these are done.
    """
    order = tails(plan, seconds)
    place = {step.name: number for number, step in enumerate(plan)}
    turns: dict[str, Turn] = {}
    busy = [(left, place[name], name) for name, left in (running or {}).items()]
    turns |= {name: Turn(0.0, left) for left, _, name in busy}
    heapq.heapify(busy)
    dead = set(blocked)
    for step in plan:
        if not dead.isdisjoint(step.inputs):
            dead.add(step.name)
    unmet = {
        step.name: {n for n in step.inputs if n in seconds or n in turns}
        for step in plan
        if step.name in seconds and step.name not in dead
    }
    ready = [(-order[name], place[name], name) for name, needs in unmet.items() if not needs]
    heapq.heapify(ready)
    now = 0.0
    while ready or busy:
        while ready and len(busy) < jobs:
            _, number, name = heapq.heappop(ready)
            turns[name] = Turn(now, now + seconds[name])
            heapq.heappush(busy, (turns[name].end, number, name))
        now, _, name = heapq.heappop(busy)
        for reader in plan.readers(name):
            if reader in unmet and name in unmet[reader]:
                unmet[reader].discard(name)
                if not unmet[reader]:
                    heapq.heappush(ready, (-order[reader], place[reader], reader))
    return turns


def total(turns: Mapping[str, Turn]) -> float:
    """Seconds until the last step ends."""
    return max((turn.end for turn in turns.values()), default=0.0)
