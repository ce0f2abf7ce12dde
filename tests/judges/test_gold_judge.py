"""A reward model as the judge: larger reward, or draws."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.gold import RewardJudge
from evalsuite.judges.judge import Answer, Question
from evalsuite.models.rewards import TextReward
from evalsuite.records import Post

POST = Post("post")
LENGTH = TextReward("length")


def test_the_larger_reward_wins_and_equal_ones_tie() -> None:
    questions = [Question(POST, *sides) for sides in (("abc", "a"), ("a", "ab"), ("ab", "cd "))]
    assert RewardJudge(LENGTH)(questions) == [
        Answer(0.0, None, "length", "rewards 3 and 1"),
        Answer(1.0, None, "length", "rewards 1 and 2"),
        Answer(0.5, None, "length", "rewards 2 and 2"),
    ]


def test_more_questions_than_a_block() -> None:
    seen: list[tuple[int, int]] = []
    questions = [Question(POST, "a" * (1 + i % 7), "bbb") for i in range(600)]
    answers = RewardJudge(LENGTH)(questions, progress=lambda *n: seen.append(n))
    assert [a.choice for a in answers] == [
        0.5 if i % 7 == 2 else float(i % 7 < 2) for i in range(600)
    ]
    assert seen == [(512, 600), (600, 600)]


def test_draws_are_bradley_terry(rng: np.random.Generator) -> None:
    # Rewards 2 and 5 at temperature 4: right with probability 1 / (1 + exp(-3/4)) = .6792.
    judge = RewardJudge(LENGTH, temperature=4.0, rng=rng)
    n = 4000
    answers = judge([Question(POST, "aa", "bbbbb")] * n)
    assert {a.choice for a in answers} == {0.0, 1.0}
    share = float(np.mean([a.choice for a in answers]))
    p = 1 / (1 + math.exp(-0.75))
    assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
    equal = judge([Question(POST, "aa", "bb")] * n)
    assert np.mean([a.choice for a in equal]) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(n))


def test_references_of_posts() -> None:
    asked = [Question(POST, "my dog ran", "a cat sat here")]
    judge = RewardJudge(TextReward("rouge"), references={POST.id: "my dog ran off"})
    assert judge(asked)[0].choice == 0.0
    with pytest.raises(DataError, match="its post has no reference summary"):
        RewardJudge(TextReward("rouge"))(asked)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures(temperature: float, rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match=r"temperature of answers is .*; allowed above 0"):
        RewardJudge(LENGTH, temperature=temperature, rng=rng)


def test_a_temperature_and_a_generator_go_together(rng: np.random.Generator) -> None:
    for given in ({"temperature": 1.0}, {"rng": rng}):
        with pytest.raises(ConfigError, match="a temperature of answers with a generator, or n"):
            RewardJudge(LENGTH, **given)  # type: ignore[arg-type]


def test_importing_judges_loads_no_torch() -> None:
    code = (
        "import sys, evalsuite.judges.words, evalsuite.judges.gold, evalsuite.cli.judge\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
