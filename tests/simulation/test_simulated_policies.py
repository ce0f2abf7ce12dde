"""Policies: the tilt against enumeration, KL by hand, copying, temperature, best-of-N."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from evalsuite.errors import ConfigError
from evalsuite.simulation.language import SLOTS, WEIGHTS, language
from evalsuite.simulation.policies import (
    Odds,
    Policy,
    Proxy,
    kl_nats,
    odds,
    sample,
    strength,
    tilted,
    untilted,
)
from evalsuite.simulation.roster import RM3, SUP4, by_name, roster
from evalsuite.simulation.world import World, characters, parts_of

OWN = np.zeros((1, 9), dtype=np.int8)
FLAT = Proxy("flat", fact=0.0, invented=0.0, pad=0.7, again=-0.4, slip=0.0, style=0.0, noise=0.0)


def test_tilt_of_pads_and_repetition_by_enumeration() -> None:
    start = untilted(SUP4, np.zeros(1), OWN)
    end = tilted(start, FLAT, 2.0)
    # Every combination of four pads and one repetition, reweighted by exp(2 * proxy).
    total, pads, again, kl, norm = 0.0, np.zeros(4), 0.0, 0.0, 0.0
    states = list(itertools.product([0, 1], repeat=5))
    weights = []
    for state in states:
        chance = np.prod([p if on else 1 - p for p, on in zip(start.pads, state, strict=False)])
        chance *= start.again if state[4] else 1 - start.again
        weights.append((chance, chance * np.exp(2 * (0.7 * sum(state[:4]) - 0.4 * state[4]))))
    norm = sum(w for _, w in weights)
    for state, (chance, weight) in zip(states, weights, strict=True):
        share = weight / norm
        total += share
        pads += share * np.array(state[:4])
        again += share * state[4]
        kl += share * np.log(share / chance)
    assert total == pytest.approx(1)
    np.testing.assert_allclose(end.pads, pads, rtol=1e-12)
    assert end.again == pytest.approx(again, rel=1e-12)
    assert kl_nats(end, start)[0] == pytest.approx(kl, rel=1e-10)


def test_tilt_of_one_fact_by_hand() -> None:
    # Left out .5, right .4, wrong .1; gains 0, 1 * weight 1, .5; strength ln 2.
    # Unnormalised .5, .8, .1 * 2^.5 = .141421; sum 1.441421.
    states = np.tile([0.5, 0.4, 0.1], (1, len(SLOTS), 1))
    start = Odds(states, np.full((1, 9, 3), 1 / 3), np.full(3, 1 / 3), np.zeros(4), 0.0, 0.0)
    proxy = replace(FLAT, fact=1.0, invented=0.5, pad=0.0, again=0.0)
    end = tilted(start, proxy, float(np.log(2)))
    first = list(WEIGHTS).index(1.0)
    np.testing.assert_allclose(
        end.states[0, first], [0.5 / 1.441421356, 0.8 / 1.441421356, 0.1414213562 / 1.441421356]
    )


def test_ppo_has_the_kl_it_names() -> None:
    for policy in roster():
        if not policy.tilt:
            continue
        own = np.repeat(np.arange(3, dtype=np.int8)[:, None], 9, axis=1)
        start = untilted(policy, np.zeros(3), own)
        end = odds(policy, np.zeros(3), own)
        assert kl_nats(end, start).mean() == pytest.approx(policy.tilt, abs=1e-6), policy.name


def test_kl_of_nothing_is_nothing() -> None:
    start = untilted(SUP4, np.zeros(1), OWN)
    assert kl_nats(start, start)[0] == 0
    assert strength(SUP4) == 0


def test_a_kl_out_of_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"policy far: tilt is 900; allowed up to \d+"):
        strength(replace(SUP4, name="far", tilt=900, proxy=RM3))
    with pytest.raises(ConfigError, match=r"policy bare: tilt is 1; allowed up to 0\.0"):
        strength(replace(SUP4, name="bare", tilt=1))


def test_best_of_needs_a_proxy() -> None:
    world = World(0)
    with pytest.raises(ConfigError, match="best_of is 4; allowed only with a proxy"):
        sample(replace(SUP4, name="x", best_of=4), world.posts("tldr", 3), world.rng(9))


def test_names_are_forty_and_distinct() -> None:
    assert len(by_name()) == len(roster()) == 40


def test_best_of_n_raises_the_proxy_as_order_statistics_do() -> None:
    # A proxy of noise alone leaves the summaries as they were; noise-free, best of 8 of a proxy
    # that counts pads has a pad unless all eight lack one.
    world = World(1)
    posts = world.posts("tldr", 4000)
    noise = replace(FLAT, pad=0.0, again=0.0, noise=1.0)
    base = sample(SUP4, posts, world.rng(50))
    same = sample(replace(SUP4, name="n", best_of=8, proxy=noise), posts, world.rng(51))
    gap = characters(base).mean() - characters(same).mean()
    spread = np.hypot(characters(base).std(), characters(same).std()) / np.sqrt(4000)
    assert abs(gap) < 4 * spread
    single = replace(SUP4, name="s", wordy=0.1, slips=0.0)
    padded = sample(
        replace(single, best_of=8, proxy=replace(FLAT, again=0.0)), posts, world.rng(52)
    )
    marks = [language().ids[w] for w in ("honestly", "whole", "kind", "much")]
    has = np.bincount(padded.row, np.isin(padded.tokens, marks), minlength=4000) > 0
    none = (1 - 0.1) * (1 - 0.05) * (1 - 0.025) * (1 - 0.0125)
    expected = 1 - none**8
    assert abs(has.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_keeping_and_erring_at_the_stated_rates() -> None:
    world = World(2)
    posts = world.posts("tldr", 5000)
    policy = Policy("p", keep=0.3, wrong=0.2, slips=0.0, wordy=0.0, again=0.0)
    text = sample(policy, posts, world.rng(60))
    chance = odds(policy, posts.difficulty, posts.wording)
    parts = parts_of(posts.facts, text)
    right = (chance.states[..., 1] * WEIGHTS).sum(axis=1)
    assert abs((parts.coverage - right).mean()) < 4 * parts.coverage.std() / np.sqrt(5000)
    wrong = chance.states[..., 2].sum(axis=1)
    assert abs((parts.contradictions - wrong).mean()) < 4 * parts.contradictions.std() / 70.7
    assert parts.garbled.sum() == 0
    assert parts.repetitions.sum() == 0


def test_hotter_is_worse_and_copies_less() -> None:
    cold, hot = SUP4.at(0.0, "cold"), SUP4.at(1.0, "hot")
    assert cold.keep > SUP4.keep > hot.keep
    assert cold.wrong < SUP4.wrong < hot.wrong
    assert cold.slips < SUP4.slips < hot.slips
    assert cold.copy > SUP4.copy > hot.copy
    again = cold.at(SUP4.temperature, SUP4.name)
    assert (again.keep, again.wrong) == pytest.approx((SUP4.keep, SUP4.wrong))


@pytest.mark.parametrize("domain", ["tldr", "cnndm"])
def test_lead_3_is_the_first_three_sentences(domain: str) -> None:
    world = World(3)
    posts = world.posts(domain, 200)
    texts = posts.text.texts(language().spaced)
    leads = sample(by_name()["lead-3"], posts, world.rng(1)).texts(language().spaced)
    for whole, lead in zip(texts, leads, strict=True):
        assert whole.startswith(lead)
        assert sum(lead.count(mark) for mark in ".?") == 3


def test_references_are_the_authors_own() -> None:
    posts = World(3).posts("tldr", 20)
    assert sample(by_name()["ref"], posts, World(3).rng(1)) is posts.reference


def test_extraction_copies_sentences() -> None:
    world = World(4)
    posts = world.posts("tldr", 300)
    policy = Policy("copies", extract=1.0)
    texts = posts.text.texts(language().spaced)
    copied = sample(policy, posts, world.rng(1)).texts(language().spaced)
    assert all(part in whole for part, whole in zip(copied, texts, strict=True))


def test_sampling_is_repeatable() -> None:
    posts = World(5).posts("tldr", 40)
    one, two = (sample(SUP4, posts, World(5).rng(8)) for _ in range(2))
    assert one.tokens.tolist() == two.tokens.tolist()
