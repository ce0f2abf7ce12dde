"""Labelers of known skill: who prefers which summary, how surely, and how they rate one.

A labeler who sees two summaries at time t (-.5 first batch, .5 last) has the log odds

    eta = skill * exp(drift * t) * (u_left - u_right) + taste * log(chars_left / chars_right) + bias

and prefers left with probability (1 - lapse) / (1 + exp(-eta)) + lapse / 2. The answer is the sign
of eta plus logistic noise, its strength how far that falls from 0. Three labelers are planted, in
crowds of 12 or more, so that a screen has somebody to find: the first hardly reads, the second
favours the left side, the third grows careless.

tests/simulation/test_crowd.py recovers the parameters from answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import ConfigError
from evalsuite.simulation.language import WEIGHTS, Ints, language
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import Floats, Parts, Posts, World

AXES = ("overall", "accuracy", "coverage", "coherence")
"""Axes of a rating, in the release's order."""

STRENGTH_CUTS = np.array([0.8, 1.8, 3.2])
"""Distances from 0 at which an average labeler says 2, 3 and 4 instead of 1."""

RATING_NOISE = 0.5
"""SD of a labeler's mood on a summary, and of the noise of each axis."""

PLANTED = ("hardly reads", "favours the left", "grows careless")
MIN_PLANTED = 12


class Answers(NamedTuple):
    """choice (n,): 0 left, 1 right. strength (n,): 1 barely to 4 surely."""

    choice: Ints
    strength: Ints


@dataclass(frozen=True, eq=False)
class Crowd:
    """Parameters of L labelers, each (L,).

    ids: as in the release, 30 characters. skill: log odds per unit of utility. taste: log odds per
    unit of log length ratio. bias: log odds towards the left side. lapse: share of answers given
    blindly. drift: change of log skill from the first batch to the last. boldness: factor on the
    strength of answers. leniency: added to every rating. volume: share of the work.
    """

    ids: tuple[str, ...]
    skill: Floats
    taste: Floats
    bias: Floats
    lapse: Floats
    drift: Floats
    boldness: Floats
    leniency: Floats
    volume: Floats

    @classmethod
    def draw(cls, world: World, n: int) -> Crowd:
        """The first n labelers of a world; a larger crowd begins with the same people.

        Raises ConfigError for n < 1.
        """
        if n < 1:
            raise ConfigError(f"labelers is {n}; allowed 1 or more")
        rng = world.rng(1)
        people = rng.normal(size=(n, 7))
        letters = list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
        name = world.rng(2)
        ids = tuple("".join(name.choice(letters, size=30)) for _ in range(n))
        skill = 0.8 * np.exp(0.25 * people[:, 0])
        taste = 0.6 + 0.3 * people[:, 1]
        bias = 0.15 * people[:, 2]
        lapse = np.minimum(0.04 * np.exp(0.5 * people[:, 3]), 0.5)
        drift = 0.15 * people[:, 4]
        if n >= MIN_PLANTED:
            skill[0] *= 0.1
            bias[1] = 1.2
            drift[2] = -2.5
        work = np.exp(0.5 * people[:, 6])
        work[: len(PLANTED)] = 1.0
        return cls(
            ids, skill, taste, bias, lapse, drift, np.exp(0.3 * people[:, 5]),
            0.4 * world.rng(3).normal(size=n), work / work.sum(),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def log_odds(
        self,
        labeler: ArrayLike,
        utility: tuple[ArrayLike, ArrayLike],
        chars: tuple[ArrayLike, ArrayLike],
        time: ArrayLike = 0.0,
    ) -> Floats:
        """eta of the module docstring; utility and chars are (left, right); inputs broadcast.

        Lengths below 1 character count as 1.
        """
        who = np.asarray(labeler)
        gap = np.asarray(utility[0], dtype=np.float64) - np.asarray(utility[1])
        left, right = (np.log(np.maximum(np.asarray(c, dtype=np.float64), 1)) for c in chars)
        skill = self.skill[who] * np.exp(self.drift[who] * np.asarray(time))
        return np.asarray(skill * gap + self.taste[who] * (left - right) + self.bias[who])

    def prefers_left(
        self,
        labeler: ArrayLike,
        utility: tuple[ArrayLike, ArrayLike],
        chars: tuple[ArrayLike, ArrayLike],
        time: ArrayLike = 0.0,
    ) -> Floats:
        """Probability that a labeler prefers the left summary."""
        eta = self.log_odds(labeler, utility, chars, time)
        lapse = self.lapse[np.asarray(labeler)]
        return np.asarray((1 - lapse) / (1 + np.exp(-eta)) + lapse / 2)

    def compare(
        self,
        labeler: ArrayLike,
        utility: tuple[ArrayLike, ArrayLike],
        chars: tuple[ArrayLike, ArrayLike],
        rng: np.random.Generator,
        time: ArrayLike = 0.0,
    ) -> Answers:
        """Drawn answers; the inputs of `log_odds`, all (n,) or scalar, labeler (n,)."""
        who = np.asarray(labeler)
        eta = self.log_odds(who, utility, chars, time)
        blind = rng.random(len(who)) < self.lapse[who]
        felt = np.where(blind, 0.0, eta) + rng.logistic(size=len(who))
        distance = np.abs(felt) * self.boldness[who]
        return Answers((felt < 0).astype(np.int64), 1 + np.searchsorted(STRENGTH_CUTS, distance))

    def rate(
        self,
        labeler: ArrayLike,
        parts: Parts,
        chars: ArrayLike,
        rng: np.random.Generator,
    ) -> Ints:
        """Drawn 1-to-7 ratings (n, 4) on `AXES`.

        The mood of a labeler on one summary (SD .5) is shared by the four axes, so they correlate
        beyond what the summary explains; each axis adds noise of its own (SD .5).
        """
        who = np.asarray(labeler)
        mood = rng.normal(0, RATING_NOISE, size=(len(who), 1))
        noise = mood + rng.normal(0, RATING_NOISE, size=(len(who), 4))
        felt = latent_ratings(parts, chars) + self.leniency[who][:, None] + noise
        return np.asarray(np.clip(np.rint(felt), 1, 7).astype(np.int64))


def answer(
    world: World,
    crowd: Crowd,
    posts: Posts,
    left: Sequence[str],
    right: Sequence[str],
    labeler: ArrayLike,
    rng: np.random.Generator,
    time: ArrayLike = 0.0,
) -> Answers:
    """Simulated judge: answers of labelers (n,) to n comparisons of any texts, whoever wrote them.

    posts: the n posts. left, right: n texts each, read back into facts as `World.utility` does.
    """
    sides = [
        Ragged.from_rows([language().encode(text) for text in texts]) for texts in (left, right)
    ]
    utility = [world.utilities(posts.facts, side, posts.domain) for side in sides]
    chars = [np.array([len(text.strip()) for text in texts]) for texts in (left, right)]
    return crowd.compare(labeler, (utility[0], utility[1]), (chars[0], chars[1]), rng, time)


def latent_ratings(parts: Parts, chars: ArrayLike) -> NDArray[np.float64]:
    """What a labeler without leniency or noise would rate on `AXES`, unrounded; (n, 4).

    accuracy: 6.9 less 1.2 a contradiction. coverage: 1.6 to 7 by the share of facts. coherence:
    6.9 less .4 a garbled pair or repeated triple of words. overall: .65 coverage + .2 accuracy
    + .15 coherence, and .8 per unit of log length over 110 characters.
    """
    accuracy = 6.9 - 1.2 * parts.contradictions
    coverage = 1.6 + 5.4 * parts.coverage / WEIGHTS.sum()
    coherence = 6.9 - 0.4 * np.minimum(parts.garbled + parts.repetitions, 8)
    length = np.log(np.maximum(np.asarray(chars, dtype=np.float64), 1) / 110)
    overall = 0.65 * coverage + 0.2 * accuracy + 0.15 * coherence + 0.8 * length
    return np.stack([overall, accuracy, coverage, coherence], axis=1)
