"""Judges of the simulated world: its labelers with their noise, and the truth behind them.

Both read the facts back out of any text of a post of the world, whoever wrote it. A post is known
by its `source_id` (the id that `evalsuite data posts` writes).

Which labeler answers a question, and how, depends on the seed and the question alone: another
batch, order or number of questions changes nothing, so that a broken run goes on where it was.
tests/judges/test_simulated_judges.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalsuite.errors import ConfigError
from evalsuite.judges.judge import Answer, Progress, Question, side_of
from evalsuite.records import content_id
from evalsuite.simulation import Crowd, World
from evalsuite.simulation.files import TRUTH, world_ids
from evalsuite.simulation.labelers import STRENGTH_CUTS
from evalsuite.simulation.language import language
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import Floats, post_index

BLOCK = 1024
"""Questions worked on at once."""


class CrowdJudge:
    """Simulated labelers: one of the crowd, drawn by its share of the work, answers a question.

    Asked again, another one answers (without replacement), up to the size of the crowd. They err,
    like length, favour a side and lapse as `evalsuite.simulation.labelers` says; they choose a side
    always. time: of the work, -.5 its begin to .5 its end, which matters to labelers who drift.

    Raises ConfigError when a pair is asked more often than there are labelers.
    """

    def __init__(
        self, world: World, crowd: Crowd, *, seed: int = 0, time: float = 0.0,
        name: str = "simulated",
    ) -> None:  # fmt: skip
        self.world, self.crowd, self.seed, self.time, self.name = world, crowd, seed, time, name

    def __call__(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answer]:
        """Answers (n,). Raises DataError for a post that is not of the world."""
        answers: list[Answer] = []
        for start in range(0, len(questions), BLOCK):
            block = questions[start : start + BLOCK]
            utility = utilities(self.world, block)
            answers += [self._ask(q, utility[i]) for i, q in enumerate(block)]
            if progress is not None:
                progress(len(answers), len(questions))
        return answers

    def _ask(self, question: Question, utility: Floats) -> Answer:
        if question.again >= len(self.crowd):
            raise ConfigError(
                f"a pair is asked {question.again + 1} times; allowed up to {len(self.crowd)}, as "
                "many as there are labelers"
            )
        pair = question._replace(again=0)
        # The largest of log share + Gumbel noise: draws by share without replacement.
        noise = self._rng("who", pair).gumbel(size=len(self.crowd))
        order = np.argsort(-(np.log(self.crowd.volume) + noise))
        who = order[[question.again]]
        chars = [np.array([len(text.strip())]) for text in (question.left, question.right)]
        felt = self.crowd.compare(
            who, (utility[[0]], utility[[1]]), (chars[0], chars[1]),
            self._rng("answer", question), self.time,
        )  # fmt: skip
        return Answer(float(felt.choice[0]), int(felt.strength[0]), self.crowd.ids[int(who[0])])

    def _rng(self, what: str, question: Question) -> np.random.Generator:
        key = content_id("crowd", what, self.world.seed, self.seed, question.id)
        return np.random.default_rng(int(key, 16))


class TruthJudge:
    """The world's true utility, without noise: the better summary, a tie where they are equal.

    strength: as an average labeler would say it of the difference; None for a tie.
    """

    name = TRUTH

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answer]:
        """Answers (n,). Raises DataError for a post that is not of the world."""
        answers = []
        for left, right in utilities(self.world, questions).tolist():
            strength = 1 + int(np.searchsorted(STRENGTH_CUTS, abs(left - right)))
            answers.append(
                Answer(
                    side_of(left, right), None if left == right else strength, self.name,
                    f"utility {left:.3g} and {right:.3g}",
                )
            )  # fmt: skip
        if progress is not None:
            progress(len(answers), len(answers))
        return answers


def utilities(world: World, questions: Sequence[Question]) -> Floats:
    """True utility of the left and the right summaries, (n, 2).

    Raises DataError for a post that is not of the world.
    """
    ids = world_ids([q.post.source_id or q.post.id for q in questions], {})
    out = np.empty((len(questions), 2))
    domains = np.array([post_index(identity)[0] for identity in ids])
    for domain in dict.fromkeys(domains.tolist()):
        rows = np.flatnonzero(domains == domain)
        facts = np.concatenate([world.post(ids[i]).facts for i in rows.tolist()])
        for side in (0, 1):
            texts = [(questions[i].left, questions[i].right)[side] for i in rows.tolist()]
            encoded = Ragged.from_rows([language().encode(text) for text in texts])
            out[rows, side] = world.utilities(facts, encoded, domain)
    return out
