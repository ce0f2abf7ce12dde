"""Who writes summaries: simulated policies of known strength, and what optimising a proxy does.

A policy decides each fact on its own (leave out, say rightly, say wrongly), then clauses without
facts, a repetition and slips of the pen. Because these features are independent and a proxy
reward adds them up, two kinds of optimisation are exact here:

best-of-N   N plans are drawn and the one with the highest noisy proxy is written;
PPO         the optimum of proxy - KL/strength is the exponential tilt of every feature, and its KL
            from the start is a sum of KLs of single choices; the strength is solved for the KL.

Proxies err as reward models do: they like length and cannot tell an invented detail from a true
one. Little optimisation finds facts, much finds details and padding: the over-optimisation hump.
tests/simulation/test_simulated_policies.py checks the tilt against enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import ConfigError
from evalsuite.simulation.language import NOTHING, PAD_CLAUSES, WEIGHTS, Ints, language
from evalsuite.simulation.plans import N_SLOTS, SEPARATORS, Plan, garble, write
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import Floats, Posts

SLIPS = 3
"""Slips of the pen a summary can have; each is its own chance."""

_CHUNK = 50_000


@dataclass(frozen=True)
class Proxy:
    """A reward model's view of a plan: the sum of its features, plus noise per summary.

    fact: per unit of a true fact's weight. invented: per wrong value, whatever the fact. pad,
    again, slip: per clause without facts, repetition, slip of the pen. style: per piece in the
    first wording and per comma between clauses, which nobody else cares for. noise: SD of the
    error that differs between summaries.
    """

    name: str
    fact: float
    invented: float
    pad: float
    again: float
    slip: float
    style: float
    noise: float


@dataclass(frozen=True)
class Policy:
    """A writer of summaries.

    name: as in the release. keep: log odds of saying a fact of average weight. wrong: chance that
    a said fact is wrong. slips: chance of each of three slips. wordy: chance of each of four
    clauses without facts, falling by half from one to the next. again: chance of a repetition.
    copy: chance that a piece takes the post's wording. extract: chance to copy whole sentences.
    lead: copy exactly this many first sentences, 0 not. temperature: of sampling; 0 gives one
    summary a post. best_of, proxy: best of so many under a proxy. tilt: PPO against `proxy` with
    this KL in nats. reference: the author's own summary.
    """

    name: str
    keep: float = 0.0
    wrong: float = 0.08
    slips: float = 0.03
    wordy: float = 0.12
    again: float = 0.01
    copy: float = 0.5
    extract: float = 0.0
    lead: int = 0
    temperature: float = 0.7
    best_of: int = 1
    proxy: Proxy | None = None
    tilt: float = 0.0
    reference: bool = False

    def at(self, temperature: float, name: str) -> Policy:
        """The same model sampled at another temperature: hotter keeps less and errs more."""
        step = temperature - self.temperature
        return replace(
            self, name=name, temperature=temperature, keep=self.keep - 0.7 * step,
            wrong=min(self.wrong * float(np.exp(1.1 * step)), 0.9),
            slips=min(self.slips * float(np.exp(2.0 * step)), 0.9),
            copy=float(np.clip(self.copy - 0.35 * step, 0, 1)),
        )  # fmt: skip


@dataclass(frozen=True)
class Odds:
    """Chances of every feature of n plans.

    states: (n, 9, 3) leave out, right, wrong. wording: (n, 9, 3) of the wordings of a piece.
    separator: (3,) of each separator. pads: (4,). again, slips: scalars.
    """

    states: Floats
    wording: Floats
    separator: Floats
    pads: Floats
    again: float
    slips: float


def odds(policy: Policy, difficulty: Floats, own: NDArray[np.int8]) -> Odds:
    """The chances of a policy, PPO included, on n posts.

    difficulty: (n,) of the posts. own: (n, 9) the posts' own wordings.
    """
    return tilted(untilted(policy, difficulty, own), policy.proxy, strength(policy))


def untilted(policy: Policy, difficulty: Floats, own: NDArray[np.int8]) -> Odds:
    """The chances before PPO: those of the model that PPO starts from."""
    log_odds = policy.keep + difficulty[:, None] + 0.6 * (WEIGHTS - WEIGHTS.mean())
    keep = 1 / (1 + np.exp(-log_odds))
    states = np.stack([1 - keep, keep * (1 - policy.wrong), keep * policy.wrong], axis=-1)
    wording = (own[..., None] == np.arange(3)) * policy.copy + (1 - policy.copy) / 3
    pads = policy.wordy * 0.5 ** np.arange(PAD_CLAUSES, dtype=np.float64)
    return Odds(states, wording, np.full(3, 1 / 3), pads, policy.again, policy.slips)


def tilted(start: Odds, proxy: Proxy | None, strength: float) -> Odds:
    """Every chance multiplied by exp(strength * proxy) and normalised."""
    if proxy is None or strength == 0:
        return start

    def shift(chances: Floats, gains: Floats) -> Floats:
        up = chances * np.exp(strength * gains)
        return np.asarray(up / up.sum(axis=-1, keepdims=True))

    def event(chance: Floats | float, gain: float) -> Floats:
        p = np.asarray(chance, dtype=np.float64)
        return shift(np.stack([1 - p, p], axis=-1), np.array([0.0, gain]))[..., 1]

    facts = [np.zeros(N_SLOTS), proxy.fact * WEIGHTS, np.full(N_SLOTS, proxy.invented)]
    style = np.array([proxy.style, 0.0, 0.0])
    return Odds(
        shift(start.states, np.stack(facts, axis=-1)), shift(start.wording, style),
        shift(start.separator, style), event(start.pads, proxy.pad),
        float(event(start.again, proxy.again)), float(event(start.slips, proxy.slip)),
    )  # fmt: skip


def kl_nats(policy: Odds, start: Odds) -> Floats:
    """KL divergence of plans from those of `start`, in nats, for each post (n,); exact."""

    def divergence(p: Floats, q: Floats) -> Floats:
        safe = np.where(p > 0, p, 1.0)
        return np.asarray((p * np.log(safe / np.where(p > 0, q, 1.0))).sum(axis=-1))

    def event(p: Floats | float, q: Floats | float) -> float:
        new, old = np.atleast_1d(p), np.atleast_1d(q)
        both = [np.stack([1 - chance, chance], axis=-1) for chance in (new, old)]
        return float(divergence(*both).sum())

    rest = event(policy.pads, start.pads) + event(policy.again, start.again)
    rest += SLIPS * event(policy.slips, start.slips)
    rest += SEPARATORS * float(divergence(policy.separator, start.separator))
    facts = divergence(policy.states, start.states) + divergence(policy.wording, start.wording)
    return np.asarray(facts.sum(axis=-1) + rest)


@cache
def strength(policy: Policy) -> float:
    """The tilt strength at which a post of average difficulty has KL `policy.tilt`; by bisection.

    Raises ConfigError when no strength reaches that KL.
    """
    if policy.tilt == 0:
        return 0.0
    # Three posts of average difficulty, so that each own wording comes once.
    own = np.repeat(np.arange(3, dtype=np.int8)[:, None], N_SLOTS, axis=1)
    start = untilted(policy, np.zeros(3), own)

    def kl(value: float) -> float:
        return float(kl_nats(tilted(start, policy.proxy, value), start).mean())

    low, high = 0.0, 40.0
    if policy.proxy is None or kl(high) < policy.tilt:
        reach = 0.0 if policy.proxy is None else kl(high)
        raise ConfigError(f"policy {policy.name}: tilt is {policy.tilt}; allowed up to {reach:.1f}")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kl(middle) < policy.tilt else (low, middle)
    return high


def sample(policy: Policy, posts: Posts, rng: np.random.Generator) -> Ragged:
    """One summary of each post, (n,) rows of tokens."""
    if policy.reference:
        return posts.reference
    n = len(posts)
    if policy.lead:
        last = np.minimum(policy.lead, posts.sentences.shape[1] - 1)
        return _sentences(posts, np.zeros(n, dtype=np.int64), np.full(n, last))
    draws = max(1, _CHUNK // max(policy.best_of, 1))
    parts = []
    for first in range(0, n, draws):
        part = posts.take(np.arange(first, min(n, first + draws)))
        plan, slips = _plans(policy, part, rng)
        parts.append(garble(write(posts.domain, plan), slips, posts.domain, rng))
    text = Ragged.concatenate(parts) if parts else posts.reference
    if policy.extract == 0:
        return text
    copied = rng.random(n) < policy.extract
    begin = (rng.random(n) * 3).astype(np.int64)
    spans = _sentences(posts, begin, begin + 1 + (rng.random(n) < 0.5))
    return Ragged.concatenate([text, spans]).take(np.arange(n) + n * copied)


def _sentences(posts: Posts, begin: Ints, end: Ints) -> Ragged:
    """Sentences `begin` up to `end` of each post, empty ones not counted."""
    lengths = np.diff(posts.sentences, axis=1)
    # Sentences that a post leaves out have length 0: move them behind the others.
    order = np.argsort(lengths == 0, axis=1, kind="stable")
    starts = np.take_along_axis(posts.sentences[:, :-1], order, axis=1)
    stops = starts + np.take_along_axis(lengths, order, axis=1)
    rows = np.arange(len(posts))
    return posts.text.spans(starts[rows, begin], stops[rows, end - 1])


def _plans(policy: Policy, posts: Posts, rng: np.random.Generator) -> tuple[Plan, Ints]:
    """One plan a post and its number of slips; the best of N by the proxy where N > 1."""
    n, tries = len(posts), policy.best_of
    chance = odds(policy, posts.difficulty, posts.wording)
    state = _categories(chance.states[:, None], (n, tries, N_SLOTS), rng)
    wording = _categories(chance.wording[:, None], (n, tries, N_SLOTS), rng)
    separator = _categories(chance.separator, (n, tries, SEPARATORS), rng)
    pads = rng.random((n, tries, PAD_CLAUSES), dtype=np.float32) < chance.pads
    again = rng.random((n, tries), dtype=np.float32) < chance.again
    slips = (rng.random((n, tries, SLIPS), dtype=np.float32) < chance.slips).sum(axis=-1)
    best = np.zeros(n, dtype=np.int64)
    if tries > 1:
        proxy = policy.proxy
        if proxy is None:
            raise ConfigError(
                f"policy {policy.name}: best_of is {tries}; allowed only with a proxy"
            )
        score = (state == 1) @ (proxy.fact * WEIGHTS) + proxy.invented * (state == 2).sum(axis=-1)
        score += proxy.pad * pads.sum(axis=-1) + proxy.again * again + proxy.slip * slips
        score += proxy.style * ((wording == 0).sum(axis=-1) + (separator == 0).sum(axis=-1))
        score += rng.normal(0, proxy.noise, size=score.shape)
        best = score.argmax(axis=1)
    rows = np.arange(n)
    chosen = state[rows, best]
    said = np.where(chosen == 1, posts.facts, _wrong_values(posts, rng))
    plan = Plan(
        said=np.where(chosen == 0, NOTHING, said).astype(np.int16),
        wording=wording[rows, best],
        pads=pads[rows, best],
        again=again[rows, best],
        separator=separator[rows, best],
    )
    return plan, slips[rows, best]


def _categories(
    chances: Floats, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.int8]:
    """Draws 0, 1 or 2 of the given shape from chances (..., 3)."""
    cut = chances.cumsum(axis=-1).astype(np.float32)
    draw = rng.random(shape, dtype=np.float32)
    return (draw >= cut[..., 0]).astype(np.int8) + (draw >= cut[..., 1])


def _wrong_values(posts: Posts, rng: np.random.Generator) -> NDArray[np.int16]:
    """(n, 9): the post's decoy in half the cases, any other wrong word in the rest."""
    out = posts.decoys.copy()
    for slot in range(N_SLOTS):
        values = language().values(posts.domain, slot)
        ranks = np.zeros(language().unknown, dtype=np.int64)
        ranks[values] = np.arange(len(values))
        shift = rng.integers(1, len(values), size=len(posts))
        other = values[(ranks[posts.facts[:, slot]] + shift) % len(values)]
        out[:, slot] = np.where(rng.random(len(posts)) < 0.5, out[:, slot], other)
    return out
