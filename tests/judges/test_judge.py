"""Questions and answers."""

from __future__ import annotations

import math

import pytest

from evalsuite.judges import Answer, Question, Tally, tally
from evalsuite.judges.judge import side_of
from evalsuite.records import Post

PAIR = Question(Post("post"), "one", "two")


def test_an_id_says_what_is_asked() -> None:
    same = [
        PAIR,
        Question(Post("post", source_id="x", section="y"), " one", "two\n", "sft", "ppo"),
    ]
    other = [
        Question(PAIR.post, "two", "one"),
        Question(Post("post", title="t"), "one", "two"),
        PAIR._replace(again=1),
    ]
    assert len({question.id for question in same}) == 1
    assert len({question.id for question in [PAIR, *other]}) == 4


def test_tally() -> None:
    answers = [Answer(c) for c in (0, 0.2, 0.5, 0.75, 1, 1, math.nan)]
    assert tally(answers) == Tally(questions=7, left=2, right=3, ties=1, unanswered=1)
    assert [a.answered for a in answers] == [True] * 6 + [False]
    assert tally([]) == Tally(0, 0, 0, 0, 0)


@pytest.mark.parametrize(("left", "right", "choice"), [(1, 0, 0), (0, 1, 1), (0.1, 0.1, 0.5)])
def test_the_side_that_is_worth_more(left: float, right: float, choice: float) -> None:
    assert side_of(left, right) == choice
