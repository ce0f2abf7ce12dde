"""Coverage of the intervals of agreement, simulated: posts as clusters, 8 labelers as clusters.

World: labeler l is right about a comparison of post i with probability 1/2 + d_i s_l / 2, errors
independent. Two labelers agree with probability 1/2 + d_i^2 s_l s_m / 2, so the truth is known:
1/2 + E[d^2] E[s_l s_m] / 2 with l, m different.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import pytest

from evalsuite.stats.agreement import disattenuate, labeler_agreement, sign_agreement
from evalsuite.stats.krippendorff import choice_alpha
from evalsuite.stats.votes import Votes, collect_votes

pytestmark = pytest.mark.slow

SEED, SETS = 20201, 2000
EASIEST, HARDEST = 1.0, 0.2
D2 = (EASIEST**3 - HARDEST**3) / (3 * (EASIEST - HARDEST))  # E[d^2], d uniform


class World(NamedTuple):
    cluster: Literal["post", "labeler", "both"]
    people: int
    posts: int
    a_post: int = 1  # comparisons of each post
    labels: int = 3  # of each comparison
    skill: tuple[float, float] = (0.2, 1.0)
    volume: tuple[float, ...] | None = None  # how often each labeler is asked


def draw(rng: np.random.Generator, world: World, skill: np.ndarray) -> Votes:
    items = world.posts * world.a_post
    asked = np.log(world.volume or (1.0,) * world.people) + rng.gumbel(size=(items, world.people))
    who = np.argsort(-asked, axis=1)[:, : world.labels]
    post = np.repeat(np.arange(world.posts), world.a_post)
    ease = rng.uniform(HARDEST, EASIEST, world.posts)[post]
    right = rng.random(who.shape) < 0.5 + ease[:, None] * skill[who] / 2
    item = np.repeat(np.arange(items), world.labels)
    return collect_votes(
        2 * item, 2 * item + 1, right.ravel().astype(float), post=np.repeat(post, world.labels),
        labeler=who.ravel(),
    )  # fmt: skip


def different(skill: np.ndarray) -> float:
    """Mean of s_l s_m over different labelers."""
    n = len(skill)
    return float((skill.sum() ** 2 - (skill**2).sum()) / (n * (n - 1)))


UNEQUAL = (8.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.5)
WORLDS = {
    "20 labelers, 60 posts": World("post", 20, 60),
    "20 labelers, 30 posts of 3 comparisons": World("post", 20, 30, a_post=3),
    "8 labelers": World("labeler", 8, 150),
    "8 labelers, some guessing": World("labeler", 8, 400, skill=(-0.2, 1.0)),
    "8 labelers asked unequally": World("labeler", 8, 150, volume=UNEQUAL),
    "8 labelers and 60 posts of 4": World("both", 8, 60, a_post=4),
    "8 labelers who all answer, 60 posts": World("both", 8, 60, labels=8),
}


def say(text: str) -> None:
    print(f"\nseed {SEED}, {text}")  # noqa: T201 - read with -s


def covered(low: np.ndarray, truth: float, high: np.ndarray) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("name", WORLDS)
def test_agreement_covers(name: str) -> None:
    world = WORLDS[name]
    rng = np.random.default_rng([SEED, list(WORLDS).index(name)])
    fixed = np.linspace(*world.skill, world.people)
    truth = 0.5 + D2 * (
        different(fixed) if world.cluster == "post" else np.mean(world.skill) ** 2
    ) / 2  # fmt: skip
    found = []
    for _ in range(SETS):
        skill = fixed if world.cluster == "post" else rng.uniform(*world.skill, world.people)
        found.append(labeler_agreement(draw(rng, world, skill), cluster=world.cluster)[:4])
    value, se, low, high = np.array(found).T
    share = covered(low, truth, high)
    say(
        f"{SETS} data sets, {name}: {share:.3f}; SD of values {value.std():.4f}, "
        f"root mean square SE {math.sqrt((se**2).mean()):.4f}, bias {value.mean() - truth:+.4f}"
    )
    assert 0.93 <= share <= 0.97


def test_forgetting_who_labeled_does_not_cover() -> None:
    # 8 people, of whom some guess: posts as the only clusters take the people as given.
    world, sets = World("post", 8, 400, skill=(-0.2, 1.0)), 1000
    rng = np.random.default_rng([SEED, 90])
    found = [
        labeler_agreement(draw(rng, world, rng.uniform(*world.skill, 8)))[2:4] for _ in range(sets)
    ]
    low, high = np.array(found).T
    share = covered(low, 0.5 + D2 * 0.4**2 / 2, high)
    say(f"{sets} data sets, 8 labelers clustered by post only: {share:.3f}")
    assert share < 0.9


def test_metric_agreement_alpha_and_disattenuation_cover() -> None:
    # Equally easy posts and equal labelers, q = .8: a = .68. A metric right with c = .7 agrees
    # with a label with .7 x .8 + .3 x .2 = .62; alpha is 2a - 1 = .36 but for a term in 1/n. Two
    # comparisons a post share the metric's fate; 3 labels each.
    posts = 80
    rng = np.random.default_rng([SEED, 91])
    sets, hits = 2000, np.zeros(3)
    for _ in range(sets):
        metric = np.repeat(rng.random(posts) < 0.7, 6)
        right = rng.random(6 * posts) < 0.8
        item = np.repeat(np.arange(2 * posts), 3)
        votes = collect_votes(
            2 * item, 2 * item + 1, right.astype(float), post=item // 2,
            labeler=np.tile(np.arange(3), 2 * posts),
        )  # fmt: skip
        with_labels = sign_agreement(np.where(right, 1, -1), np.where(metric, 1, -1), item // 2)
        pairs = labeler_agreement(votes)
        truths = (0.62, 0.7, 0.36)
        for i, e in enumerate((with_labels, disattenuate(with_labels, pairs), choice_alpha(votes))):
            hits[i] += e.low <= truths[i] <= e.high
    share = hits / sets
    one, two, three = share
    say(f"{sets} data sets: metric {one:.3f}, disattenuated {two:.3f}, alpha {three:.3f}")
    assert ((share >= 0.93) & (share <= 0.97)).all()
