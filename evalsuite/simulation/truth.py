"""The truth that estimators are asked to find, in closed form given a large draw of posts.

Summaries are drawn once on posts that no release uses; everything after that (which labeler, which
side, the answer, the rounding of a rating) is averaged exactly. Each result carries the standard
error of what remains, the draw of posts and summaries. tests/simulation/test_truth.py compares
simple rates of written releases with these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from evalsuite.errors import ConfigError
from evalsuite.simulation.labelers import AXES, RATING_NOISE, Crowd, latent_ratings
from evalsuite.simulation.language import Ints
from evalsuite.simulation.policies import Policy, sample
from evalsuite.simulation.roster import by_name, roster
from evalsuite.simulation.world import Floats, Parts, World, characters, parts_of

FIRST_FRESH = 4_194_304
"""Posts from here on are in no written release."""

TIMES = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""Times over which a rate is averaged unless others are named."""

_STREAM = 20


class Truth(NamedTuple):
    """A true value and the standard error of the draw behind it."""

    value: float
    se: float


class Draw(NamedTuple):
    """Summaries of one policy on n fresh posts; each (n,)."""

    utility: Floats
    chars: Ints
    parts: Parts


def draw(
    world: World, policy: str, *, domain: str = "tldr", posts: int = 4096, again: int = 0
) -> Draw:
    """Summaries of a policy of the roster on the fresh posts; `again` takes other samples.

    Raises ConfigError for a policy that the roster does not have.
    """
    if policy not in by_name():
        raise ConfigError(f"policy is {policy!r}; allowed one of {', '.join(by_name())}")
    chosen: Policy = by_name()[policy]
    fresh = world.posts(domain, posts, FIRST_FRESH)
    number = list(by_name()).index(policy)
    text = sample(chosen, fresh, world.rng(_STREAM, number, again))
    parts = parts_of(fresh.facts, text)
    return Draw(world.value(parts, domain), characters(text), parts)


def preference(
    crowd: Crowd, one: Draw, other: Draw, times: Sequence[float] = TIMES
) -> NDArray[np.float64]:
    """(n, L): chance that each labeler prefers `one`, averaged over sides and times."""
    who = np.arange(len(crowd))[None, :]
    total = np.zeros((len(one.utility), len(crowd)))
    here = (one.utility[:, None], other.utility[:, None])
    chars = (one.chars[:, None], other.chars[:, None])
    for time in times:
        total += crowd.prefers_left(who, here, chars, time)
        total += 1 - crowd.prefers_left(who, here[::-1], chars[::-1], time)
    return total / (2 * len(times))


def true_rate(
    world: World,
    crowd: Crowd,
    policy: str,
    against: str = "ref",
    *,
    domain: str = "tldr",
    posts: int = 4096,
    times: Sequence[float] = TIMES,
) -> Truth:
    """Preference rate of a policy over another: over posts, labelers by volume, sides, times."""
    one = draw(world, policy, domain=domain, posts=posts)
    other = draw(world, against, domain=domain, posts=posts, again=int(policy == against))
    return _mean(preference(crowd, one, other, times) @ crowd.volume)


def true_agreement(
    world: World,
    crowd: Crowd,
    policy: str,
    against: str,
    *,
    domain: str = "tldr",
    posts: int = 4096,
    time: float = 0.0,
) -> Truth:
    """Labeler-labeler agreement: two different labelers on one comparison, in the same order.

    The two are drawn one after the other by volume.
    """
    one = draw(world, policy, domain=domain, posts=posts)
    other = draw(world, against, domain=domain, posts=posts, again=int(policy == against))
    volume = crowd.volume
    pair = volume[:, None] * volume[None, :] / (1 - volume)[:, None]
    np.fill_diagonal(pair, 0.0)
    both = np.zeros(posts)
    who = np.arange(len(crowd))[None, :]
    for a, b in ((one, other), (other, one)):
        p = crowd.prefers_left(
            who,
            (a.utility[:, None], b.utility[:, None]),
            (a.chars[:, None], b.chars[:, None]),
            time,
        )
        both += ((p @ pair) * p).sum(axis=1) + (((1 - p) @ pair) * (1 - p)).sum(axis=1)
    return _mean(both / 2)


def true_length_control(
    world: World,
    crowd: Crowd,
    pairs: Iterable[tuple[str, str, float]],
    *,
    domain: str = "tldr",
    posts: int = 1024,
) -> tuple[float, dict[str, float]]:
    """Where length control in the paper's form converges: coefficient, strengths by policy.

    The logistic regression of expected answers on policy identities (reference 0) and the log
    ratio of lengths, in characters, over `pairs` (policy, policy, weight), by Newton's method. The
    coefficient differs from the labelers' mean taste: longer summaries of a policy also say more.
    """
    menu = list(pairs)
    names = sorted({name for a, b, _ in menu for name in (a, b)} - {"ref"})
    column = {name: i for i, name in enumerate(names)}
    rows, target, weights = [], [], []
    for a, b, weight in menu:
        one = draw(world, a, domain=domain, posts=posts)
        other = draw(world, b, domain=domain, posts=posts, again=int(a == b))
        side = np.zeros((posts, len(names) + 1))
        for name, sign in ((a, 1.0), (b, -1.0)):
            if name in column:
                side[:, column[name]] += sign
        side[:, -1] = np.log(one.chars / other.chars)
        rows.append(side)
        target.append(preference(crowd, one, other) @ crowd.volume)
        weights.append(np.full(posts, weight))
    x, y, w = np.concatenate(rows), np.concatenate(target), np.concatenate(weights)
    beta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-(x @ beta)))
        step = np.linalg.solve((x * (w * p * (1 - p))[:, None]).T @ x, x.T @ (w * (y - p)))
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[-1]), {name: float(beta[i]) for name, i in column.items()}


def true_rating(
    world: World,
    crowd: Crowd,
    policy: str,
    axis: str = "overall",
    *,
    domain: str = "tldr",
    posts: int = 4096,
) -> Truth:
    """Mean rating of a policy on an axis, rounding and the ends of the scale included."""
    one = draw(world, policy, domain=domain, posts=posts)
    return _mean(expected_ratings(crowd, one, axis) @ crowd.volume)


def expected_ratings(crowd: Crowd, summaries: Draw, axis: str) -> NDArray[np.float64]:
    """(n, L): expected rating by each labeler, 1 + sum over k = 1..6 of P(felt > k + .5)."""
    felt = latent_ratings(summaries.parts, summaries.chars)[:, AXES.index(axis), None]
    felt = felt + crowd.leniency[None, :]
    spread = RATING_NOISE * np.sqrt(2)
    return np.asarray(1 + sum(norm.sf((k + 0.5 - felt) / spread) for k in range(1, 7)))


def policy_table(
    world: World, crowd: Crowd, *, domain: str = "tldr", posts: int = 2048
) -> pd.DataFrame:
    """Every policy: true rate against references with its SE, mean utility, mean characters."""
    rows = []
    for policy in roster():
        one = draw(world, policy.name, domain=domain, posts=posts)
        rate = true_rate(world, crowd, policy.name, domain=domain, posts=posts)
        rows.append({
            "policy": policy.name, "rate": rate.value, "se": rate.se,
            "utility": float(one.utility.mean()), "chars": float(one.chars.mean()),
            "tokens": float(one.parts.tokens.mean()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _mean(values: Floats) -> Truth:
    return Truth(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
