"""The world's labelers and its truth as judges."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.judge import Question
from evalsuite.judges.simulated import CrowdJudge, TruthJudge, utilities
from evalsuite.records import Post
from evalsuite.simulation import Crowd, World
from evalsuite.simulation.files import texts_of
from evalsuite.simulation.labelers import STRENGTH_CUTS

WORLD = World(0)


def asked(domain: str, n: int) -> list[Question]:
    """The reference of each post against that of the next one, sides in turn."""
    posts = WORLD.posts(domain, n + 1)
    texts, references = texts_of(posts.text), texts_of(posts.reference)
    out = []
    for i in range(n):
        post = Post(texts[i], domain=domain, source_id=posts.ids[i])
        sides = references[i : i + 2][:: 1 if i % 2 else -1]
        out.append(Question(post, *sides))
    return out


def test_utilities_are_the_worlds_in_any_order_of_domains() -> None:
    mixed = [q for pair in zip(asked("tldr", 6), asked("cnndm", 6), strict=True) for q in pair]
    expected = [
        [WORLD.utility(str(q.post.source_id), text) for text in (q.left, q.right)] for q in mixed
    ]
    assert utilities(WORLD, mixed).tolist() == expected


def test_the_truth() -> None:
    questions = asked("tldr", 40)
    same = questions[0]._replace(right=questions[0].left)
    answers = TruthJudge(WORLD)([*questions, same])
    for question, answer in zip(questions, answers, strict=False):
        left, right = (
            WORLD.utility(str(question.post.source_id), t) for t in (question.left, question.right)
        )
        assert answer.choice == (0.5 if left == right else float(right > left))
        if left != right:
            # 1 below .8, 2 below 1.8, 3 below 3.2, else 4
            assert answer.strength == 1 + sum(abs(left - right) > c for c in STRENGTH_CUTS)
        assert answer.labeler == "truth"
    assert (answers[-1].choice, answers[-1].strength) == (0.5, None)
    assert {a.choice for a in answers} >= {0.0, 1.0}


def test_answers_do_not_depend_on_the_batch() -> None:
    questions = asked("tldr", 30)
    judge = CrowdJudge(WORLD, Crowd.draw(WORLD, 12), seed=3)
    together = judge(questions)
    assert judge(questions[::-1]) == together[::-1]
    assert [judge([question])[0] for question in questions[:5]] == together[:5]
    assert CrowdJudge(WORLD, Crowd.draw(WORLD, 12), seed=4)(questions) != together
    assert {answer.strength for answer in together} <= {1, 2, 3, 4}


def test_asked_again_another_labeler_answers() -> None:
    crowd = Crowd.draw(WORLD, 5)
    judge = CrowdJudge(WORLD, crowd)
    question = asked("tldr", 1)[0]
    answers = judge([question._replace(again=i) for i in range(5)])
    assert sorted(answer.labeler for answer in answers) == sorted(crowd.ids)
    with pytest.raises(ConfigError, match="asked 6 times; allowed up to 5, as many as there are"):
        judge([question._replace(again=5)])


def test_labelers_answer_as_the_crowd_does_and_by_their_share() -> None:
    crowd = Crowd.draw(WORLD, 4)
    base = asked("tldr", 40)
    # 50 questions of each pair that differ only in how they are worded for nobody: by policy they
    # would be one question, so the seed makes them differ.
    answers = [a for seed in range(50) for a in CrowdJudge(WORLD, crowd, seed=seed)(base)]
    n = len(answers)
    counts = Counter(answer.labeler for answer in answers)
    for identity, share in zip(crowd.ids, crowd.volume.tolist(), strict=True):
        assert counts[identity] / n == pytest.approx(share, abs=4 * np.sqrt(share / n))
    expected = []
    for question in base:
        worth = [WORLD.utility(str(question.post.source_id), t) for t in question[1:3]]
        chars = (len(question.left), len(question.right))
        left = crowd.prefers_left(np.arange(4), (worth[0], worth[1]), chars)
        expected.append(1 - float(left @ crowd.volume))
    rights = np.mean([answer.choice for answer in answers])
    assert rights == pytest.approx(np.mean(expected), abs=4 * 0.5 / np.sqrt(n))


def test_progress_and_posts_of_elsewhere() -> None:
    seen: list[tuple[int, int]] = []
    CrowdJudge(WORLD, Crowd.draw(WORLD, 2))(asked("tldr", 3), progress=lambda *n: seen.append(n))
    TruthJudge(WORLD)(asked("tldr", 2), progress=lambda *n: seen.append(n))
    assert seen == [(3, 3), (2, 2)]
    with pytest.raises(DataError, match="post id is 't5_x'; allowed an id of the simulated world"):
        TruthJudge(WORLD)([Question(Post("a", source_id="t5_x"), "b", "c")])
