"""Truth: simple rates of drawn answers agree with it, and the world has the shape it claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalsuite.errors import ConfigError
from evalsuite.simulation import truth
from evalsuite.simulation.labelers import Crowd
from evalsuite.simulation.world import World

WORLD = World(0)
CROWD = Crowd.draw(WORLD, 24)
N = 1024


def rate(policy: str, against: str = "ref") -> truth.Truth:
    return truth.true_rate(WORLD, CROWD, policy, against, posts=N)


def test_equal_policies_are_even() -> None:
    found = rate("sup4_t0.7", "sup4_t0.7")
    assert abs(found.value - 0.5) < 4 * found.se
    assert rate("ref").value == 0.5


def test_rates_are_antisymmetric() -> None:
    forth, back = rate("sup2", "ref"), rate("ref", "sup2")
    assert forth.value + back.value == pytest.approx(1, abs=1e-12)


def test_the_order_of_strength() -> None:
    assert rate("pretrain_t.7").value < rate("sup2").value < rate("sup4").value < 0.5
    assert rate("sup4").value < rate("sup4_12b").value
    assert rate("sup4_ppo_rm4").value > 0.6
    cold, warm, hot = (rate(f"sup4_6b{t}").value for t in ("", "_t0.7", "_t1"))
    assert cold > warm > hot


def test_over_optimisation_makes_a_hump() -> None:
    base, some, more, most = (
        rate(p) for p in ("sup4_t0.7", "sup4_ppo_rm3", "sup4_ppo_rm3_kl10", "sup4_ppo_rm3_kl20")
    )
    assert base.value + 4 * base.se < some.value < more.value
    assert most.value < more.value - 2 * more.se
    utility = [
        truth.draw(WORLD, p, posts=N).utility.mean()
        for p in ("sup4_ppo_rm3_kl10", "sup4_ppo_rm3_kl20")
    ]
    assert utility[1] < utility[0] - 0.3
    chars = [truth.draw(WORLD, p, posts=N).chars.mean() for p in ("sup4_t0.7", "sup4_ppo_rm3_kl20")]
    assert chars[1] > 1.5 * chars[0]


def test_best_of_n_rises_and_flattens() -> None:
    eight, many, most = (rate(f"sup4_bo{n}_rm3").value for n in (8, 64, 512))
    assert rate("sup4_t0.7").value < eight < many < most
    assert many - eight > (most - many) / 2


def test_a_simple_rate_of_drawn_answers_finds_the_truth() -> None:
    n = 4096
    one = truth.draw(WORLD, "sup4_6b_t0.7", posts=n)
    ref = truth.draw(WORLD, "ref", posts=n)
    rng = np.random.default_rng(0)
    who = rng.choice(24, size=n, p=CROWD.volume)
    swap = rng.random(n) < 0.5
    time = rng.choice(truth.TIMES, size=n)

    def sides(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(swap, b, a), np.where(swap, a, b)

    answers = CROWD.compare(
        who, sides(one.utility, ref.utility), sides(one.chars, ref.chars), rng, time
    )
    wins = np.where(swap, answers.choice, 1 - answers.choice)
    known = truth.true_rate(WORLD, CROWD, "sup4_6b_t0.7", posts=n)
    assert abs(wins.mean() - known.value) < 4 * np.sqrt(wins.var() / n)


def test_simple_agreement_of_drawn_answers_finds_the_truth() -> None:
    n = 4096
    one = truth.draw(WORLD, "sup4_t0.7", posts=n)
    two = truth.draw(WORLD, "sup4_t0.7", posts=n, again=1)
    rng = np.random.default_rng(3)
    race = rng.exponential(size=(n, 24)) / CROWD.volume
    pair = np.argsort(race, axis=1)[:, :2]
    first, second = (
        CROWD.compare(pair[:, k], (one.utility, two.utility), (one.chars, two.chars), rng)
        for k in range(2)
    )
    agree = (first.choice == second.choice).mean()
    known = truth.true_agreement(WORLD, CROWD, "sup4_t0.7", "sup4_t0.7", posts=n)
    assert 0.58 < known.value < 0.75
    assert abs(agree - known.value) < 4 * np.sqrt(agree * (1 - agree) / n)


def test_agreement_of_blind_labelers_is_half() -> None:
    blind = replace(CROWD, lapse=np.ones(24))
    found = truth.true_agreement(WORLD, blind, "sup1", "ref", posts=256)
    assert found.value == pytest.approx(0.5, abs=1e-12)


def test_length_control_converges_to_the_taste_where_nothing_else_counts() -> None:
    # One labeler without skill, bias or lapse: the regression is the labeler's own formula.
    zeros = np.zeros(1)
    crowd = Crowd(
        ("x",), zeros, np.array([0.7]), zeros, zeros, zeros, np.ones(1), zeros, np.ones(1)
    )
    pairs = [("ref", "sup1", 1.0), ("ref", "sup2", 2.0), ("sup1", "sup1", 1.0)]
    slope, strengths = truth.true_length_control(WORLD, crowd, pairs, posts=256)
    assert slope == pytest.approx(0.7, abs=1e-9)
    assert strengths == pytest.approx({"sup1": 0.0, "sup2": 0.0}, abs=1e-9)


def test_length_control_of_the_default_crowd_is_more_than_its_taste() -> None:
    pairs = [("ref", "sup2", 1.0), ("ref", "sup4_t0.7", 1.0), ("ref", "sup4_ppo_rm3_kl20", 1.0)]
    slope, strengths = truth.true_length_control(WORLD, CROWD, pairs, posts=N)
    assert CROWD.taste @ CROWD.volume < slope < 3
    raw = rate("sup4_ppo_rm3_kl20").value
    assert 1 / (1 + np.exp(-strengths["sup4_ppo_rm3_kl20"])) < raw


def test_expected_ratings_against_a_large_draw() -> None:
    n = 2048
    one = truth.draw(WORLD, "sup4", posts=n)
    rng = np.random.default_rng(4)
    who = rng.choice(24, size=n, p=CROWD.volume)
    values = CROWD.rate(who, one.parts, one.chars, rng)
    for number, axis in enumerate(truth.AXES):
        known = truth.true_rating(WORLD, CROWD, "sup4", axis, posts=n)
        drawn = values[:, number]
        assert abs(drawn.mean() - known.value) < 4 * drawn.std() / np.sqrt(n)


def test_lead_3_rates_best_on_news_and_is_longest() -> None:
    names = ("ref", "lead-3", "T5", "sup4_6b", "pretrain_6b_t.7")
    rating = {p: truth.true_rating(WORLD, CROWD, p, domain="cnndm", posts=N).value for p in names}
    assert max(rating, key=rating.__getitem__) == "lead-3"
    assert min(rating, key=rating.__getitem__) == "pretrain_6b_t.7"
    chars = {p: truth.draw(WORLD, p, domain="cnndm", posts=N).chars.mean() for p in names}
    assert max(chars, key=chars.__getitem__) == "lead-3"


def test_the_table_has_every_policy() -> None:
    table = truth.policy_table(WORLD, CROWD, posts=64)
    assert len(table) == 40
    assert table["rate"].between(0, 1).all()
    assert table.loc[table["policy"] == "ref", "rate"].item() == 0.5


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ConfigError, match="policy is 'gpt9'; allowed one of ref, human_editor"):
        truth.draw(WORLD, "gpt9")
