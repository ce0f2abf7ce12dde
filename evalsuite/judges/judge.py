"""A question, its answer, and who answers: what every judge of this room keeps to.

A judge gives one answer a question, in their order. Who wants several answers to one pair asks
again: `again` is 0 for the first time, 1 for the second, and a judge with several people behind it
then asks another one. Answers that do not exist are NaN; nobody guesses.
tests/judges/test_judge.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from evalsuite.records import Post, content_id

LEFT, TIE, RIGHT, UNANSWERED = 0.0, 0.5, 1.0, math.nan

Progress = Callable[[int, int], object]
"""Called now and then with the questions answered so far and all of them."""


class Question(NamedTuple):
    """Which of two summaries of a post is better?

    left, right: the texts. left_policy, right_policy: who wrote them; judges do not read it, labels
    keep it. again: how often the same pair was asked before. Questions of one post are not
    independent: `post.id` is the cluster.
    """

    post: Post
    left: str
    right: str
    left_policy: str = "left"
    right_policy: str = "right"
    again: int = 0

    @property
    def id(self) -> str:
        """From the post, the two texts in this order and `again`; policies do not count."""
        return content_id("question", self.post.id, self.left.strip(), self.right.strip(),
                          self.again)  # fmt: skip


class Answer(NamedTuple):
    """choice: 0 left, 1 right, .5 a tie, between is soft, NaN unanswered.

    strength: 1 (barely) to 4 (surely), None where nobody said. labeler: who answered. detail: what
    stands behind it, such as the reply of a language model; "" where there is nothing more.
    """

    choice: float
    strength: int | None = None
    labeler: str = ""
    detail: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is a choice."""
        return not math.isnan(self.choice)


class Judge(Protocol):
    """Anything that answers questions."""

    @property
    def name(self) -> str:
        """What logs, tables and errors call it."""
        ...

    def __call__(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answer]:
        """One answer a question, in their order."""
        ...


class Tally(NamedTuple):
    """How many answers there are of each kind; left and right hold soft ones of their side."""

    questions: int
    left: int
    right: int
    ties: int
    unanswered: int


def tally(answers: Sequence[Answer]) -> Tally:
    """Counts of answers by kind."""
    choices = [answer.choice for answer in answers]
    return Tally(
        len(choices),
        sum(c < TIE for c in choices),
        sum(c > TIE for c in choices),
        sum(c == TIE for c in choices),
        sum(math.isnan(c) for c in choices),
    )


def side_of(left: float, right: float) -> float:
    """The choice of somebody to whom the two summaries are worth so much; equal is a tie."""
    if left == right:
        return TIE
    return LEFT if left > right else RIGHT
