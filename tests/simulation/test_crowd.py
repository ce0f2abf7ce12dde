"""Labelers: probabilities by hand, symmetry, and parameters recovered from answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.errors import ConfigError
from evalsuite.simulation.labelers import AXES, Crowd, answer, latent_ratings
from evalsuite.simulation.language import language
from evalsuite.simulation.world import Parts, World


def one_labeler(**parameters: float) -> Crowd:
    plain = {
        "skill": 1.0, "taste": 0.0, "bias": 0.0, "lapse": 0.0, "drift": 0.0, "boldness": 1.0,
        "leniency": 0.0, "volume": 1.0,
    }  # fmt: skip
    columns = {name: np.array([value]) for name, value in (plain | parameters).items()}
    return Crowd(ids=("x" * 30,), **columns)


@pytest.mark.parametrize(
    ("parameters", "time", "expected"),
    [
        # eta = 2 * (1 - .5) = 1: 1 / (1 + e^-1) = .7310585786
        ({"skill": 2.0}, 0.0, 0.7310585786300049),
        # .1 lapse: .9 * .7310585786 + .05
        ({"skill": 2.0, "lapse": 0.1}, 0.0, 0.7079527207670044),
        # eta = .5 + 1 * ln(100 / 200) + .25 = .0568528194: 1 / (1 + e^-.0568528194)
        ({"taste": 1.0, "bias": 0.25}, 0.0, 0.5142093776),
        # skill 2 halved at the end of a drift of -2 ln 2: eta = .5
        ({"skill": 2.0, "drift": -2 * np.log(2)}, 0.5, 0.6224593312018546),
    ],
)
def test_probability_by_hand(parameters: dict[str, float], time: float, expected: float) -> None:
    crowd = one_labeler(**parameters)
    value = crowd.prefers_left([0], ([1.0], [0.5]), ([100], [200]), time)
    assert value[0] == pytest.approx(expected, abs=1e-9)


numbers = st.floats(-5, 5)
lengths = st.integers(0, 300)


@given(numbers, numbers, lengths, lengths, numbers)
def test_without_bias_swapping_sides_swaps_the_answer(
    a: float, b: float, x: int, y: int, taste: float
) -> None:
    crowd = one_labeler(taste=taste, lapse=0.2)
    one = crowd.prefers_left([0], ([a], [b]), ([x], [y]))
    other = crowd.prefers_left([0], ([b], [a]), ([y], [x]))
    assert one[0] + other[0] == pytest.approx(1, abs=1e-12)


def test_answers_follow_the_probabilities() -> None:
    crowd = Crowd.draw(World(0), 6)
    rng = np.random.default_rng(1)
    n = 60_000
    who = rng.integers(6, size=n)
    utility = (rng.normal(0, 1.5, n), rng.normal(0, 1.5, n))
    chars = (rng.integers(40, 200, n), rng.integers(40, 200, n))
    answers = crowd.compare(who, utility, chars, rng)
    p = crowd.prefers_left(who, utility, chars)
    z = ((1 - answers.choice) - p).sum() / np.sqrt((p * (1 - p)).sum())
    assert abs(z) < 4
    assert set(np.unique(answers.choice)) == {0, 1}
    assert set(np.unique(answers.strength)) == {1, 2, 3, 4}
    # Surer answers agree more often with the truth.
    better = (utility[1] > utility[0]) == (answers.choice == 1)
    sure = [better[answers.strength == s].mean() for s in (1, 2, 3, 4)]
    assert sure == sorted(sure)


def test_parameters_are_recovered_from_answers() -> None:
    # Lapses set to 0 so that a labeler is exactly a logistic regression on gap, length, constant.
    crowd = replace(Crowd.draw(World(3), 12), lapse=np.zeros(12))
    rng = np.random.default_rng(2)
    n = 8000
    for labeler in (0, 1, 5, 11):
        utility = (rng.normal(0, 1.5, n), rng.normal(0, 1.5, n))
        chars = (rng.integers(40, 200, n), rng.integers(40, 200, n))
        answers = crowd.compare(np.full(n, labeler), utility, chars, rng)
        x = np.column_stack([utility[0] - utility[1], np.log(chars[0] / chars[1]), np.ones(n)])
        fit = sm.Logit(1 - answers.choice, x).fit(disp=0)
        truth = [crowd.skill[labeler], crowd.taste[labeler], crowd.bias[labeler]]
        assert (np.abs((fit.params - truth) / fit.bse) < 4).all()


def test_planted_labelers_stand_out() -> None:
    crowd = Crowd.draw(World(0), 24)
    assert crowd.skill[0] == crowd.skill.min()
    assert crowd.bias[1] == crowd.bias.max() == 1.2
    assert crowd.drift[2] == crowd.drift.min() == -2.5
    assert crowd.volume.sum() == pytest.approx(1)
    small = Crowd.draw(World(0), 5)
    assert small.bias[1] < 1.0


def test_a_larger_crowd_begins_with_the_same_people() -> None:
    few, many = Crowd.draw(World(0), 15), Crowd.draw(World(0), 40)
    assert many.ids[:15] == few.ids
    np.testing.assert_array_equal(many.skill[:15], few.skill)
    np.testing.assert_array_equal(many.leniency[:15], few.leniency)
    assert {len(i) for i in many.ids} == {30}
    assert len(set(many.ids)) == 40


def test_a_crowd_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="labelers is 0; allowed 1 or more"):
        Crowd.draw(World(0), 0)


def test_ratings_follow_their_means() -> None:
    # coverage half of 7.25, one contradiction, two garbled, 110 characters, by hand:
    # accuracy 5.7, coverage 1.6 + 2.7 = 4.3, coherence 6.1, overall .65*4.3+.2*5.7+.15*6.1.
    parts = Parts(*(np.array([v]) for v in (3.625, 1, 2, 0, 20)))
    np.testing.assert_allclose(latent_ratings(parts, [110])[0], [4.85, 5.7, 4.3, 6.1])
    crowd, n = one_labeler(leniency=-0.5), 20_000
    many = parts.take(np.zeros(n, dtype=np.int64))
    values = crowd.rate(
        np.zeros(n, dtype=np.int64), many, np.full(n, 110), np.random.default_rng(0)
    )
    assert values.shape == (n, len(AXES))
    assert values.min() >= 1
    assert values.max() <= 7
    # The scale's upper end bites only on coherence; SD of a rating is about sqrt(.5 + 1/12).
    np.testing.assert_allclose(values[:, :3].mean(axis=0), [4.35, 5.2, 3.8], atol=0.03)
    assert values[:, 3].mean() < 5.6 + 0.03


def test_the_judge_answers_any_text() -> None:
    world = World(0)
    posts = world.posts("tldr", 400)
    crowd = one_labeler(skill=50.0)
    facts = posts.reference.texts(language().spaced)
    nonsense = ["zyzzy"] * 400
    first = answer(world, crowd, posts, facts, nonsense, np.zeros(400, int), world.rng(77))
    utility = world.utilities(posts.facts, posts.reference, "tldr")
    clear = utility > 0.5
    assert (first.choice[clear] == 0).all()
    second = answer(world, crowd, posts, nonsense, facts, np.zeros(400, int), world.rng(77))
    assert (second.choice[clear] == 1).all()
