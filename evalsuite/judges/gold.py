"""A reward model as the judge.

Any `evalsuite.models.rewards.Reward` will do: a model, an ensemble, ROUGE. Importing this module
loads no torch; a reward has loaded it already.
tests/judges/test_gold_judge.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evalsuite.errors import ConfigError
from evalsuite.judges.judge import LEFT, RIGHT, Answer, Progress, Question, side_of

if TYPE_CHECKING:
    from evalsuite.models.rewards import Reward

BLOCK = 512
"""Questions scored at once."""


class RewardJudge:
    """The summary with the larger reward wins; equal rewards are a tie.

    temperature: with it, answers are draws from the Bradley-Terry model instead, right with
    probability 1 / (1 + exp((r_left - r_right) / temperature)), one draw of `rng` a question in
    their order; a temperature needs the generator. references: {post id: text}, for rewards that
    read the reference (ROUGE).

    Raises ConfigError for a temperature not above 0 or without `rng`, or `rng` without one.
    Source: Gao, Schulman and Hilton 2022 (arXiv 2210.10760), whose gold reward model stands in for
    people; Bradley and Terry 1952.
    """

    def __init__(
        self, reward: Reward, *, temperature: float | None = None,
        rng: np.random.Generator | None = None, references: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        if temperature is not None and not 0 < temperature < math.inf:
            raise ConfigError(f"temperature of answers is {temperature:g}; allowed above 0")
        if (temperature is None) != (rng is None):
            raise ConfigError("allowed a temperature of answers with a generator, or neither")
        self.reward, self.temperature, self.rng = reward, temperature, rng
        self.references = dict(references or {})
        self.name = reward.name

    def __call__(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answer]:
        """Answers (n,). Raises DataError where a reward does not exist."""
        from evalsuite.models.rewards import RewardRequest

        answers: list[Answer] = []
        for start in range(0, len(questions), BLOCK):
            block = questions[start : start + BLOCK]
            requests = [
                RewardRequest(q.post, text.strip(), self.references.get(q.post.id))
                for q in block
                for text in (q.left, q.right)
            ]
            rewards = self.reward(requests).reshape(-1, 2)
            answers += [self._answer(left, right) for left, right in rewards.tolist()]
            if progress is not None:
                progress(len(answers), len(questions))
        return answers

    def _answer(self, left: float, right: float) -> Answer:
        choice = side_of(left, right)
        if self.rng is not None and self.temperature is not None:
            odds = (right - left) / self.temperature
            choice = RIGHT if self.rng.logistic() < odds else LEFT
        return Answer(choice, None, self.name, f"rewards {left:.6g} and {right:.6g}")
