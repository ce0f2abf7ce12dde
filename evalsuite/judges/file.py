"""Labels on file as a judge: it answers where this post and these two texts were labelled.

Sides do not matter: a label on (b, a) answers a question about (a, b), turned round. Texts are
compared without the white space around them.
tests/judges/test_file_judge.py.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import pandas as pd

from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.judge import LEFT, RIGHT, TIE, UNANSWERED, Answer, Progress, Question
from evalsuite.records import shown
from evalsuite.tables import Tables

How = Literal["majority", "each"]


class _Label(NamedTuple):
    """A label as of the pair in sorted order."""

    choice: float
    strength: int | None
    labeler: str


class LabelJudge:
    """The labels of a set of tables.

    how: "majority" gives the side with more of the preference (soft labels count as the shares
    they are), a tie where the halves are equal; strength is None unless there is one label alone.
    "each" gives the first label on file, the second when asked again, and so on. A pair with no
    (further) label is unanswered.

    Labels without the texts or the post cannot be found again; where all are so, DataError is
    raised. Raises ConfigError for an unknown `how`.
    """

    def __init__(self, tables: Tables, *, how: How = "majority", name: str = "labels") -> None:
        if how not in get_args(How):
            raise ConfigError(
                f"labels are taken by {shown(how)}; allowed {', '.join(get_args(How))}"
            )
        self.how, self.name = how, name
        self._labels = _by_pair(tables)
        if not self._labels:
            raise DataError(
                "no label has its post and both texts", allowed="labels with post, left and right"
            )

    def __call__(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answer]:
        """Answers (n,); NaN where nobody labelled the pair."""
        answers = [self._answer(question) for question in questions]
        if progress is not None:
            progress(len(answers), len(answers))
        return answers

    def _answer(self, question: Question) -> Answer:
        left, right = question.left.strip(), question.right.strip()
        first, second = sorted((left, right))
        found = self._labels.get((question.post.id, first, second), [])
        if self.how == "each":
            found = found[question.again : question.again + 1]
        elif question.again:
            found = []
        if not found:
            return Answer(UNANSWERED, labeler=self.name)
        one = found[0] if len(found) == 1 else _majority(found)
        choice = one.choice if left == first else 1 - one.choice
        return Answer(choice, one.strength, one.labeler or self.name)


def _majority(labels: list[_Label]) -> _Label:
    share = math.fsum(label.choice for label in labels) / len(labels)
    choice = TIE if share == TIE else LEFT if share < TIE else RIGHT
    return _Label(choice, None, f"majority of {len(labels)}")


def _by_pair(tables: Tables) -> dict[tuple[str, str, str], list[_Label]]:
    rows = tables.sides(["text"])
    known = rows["post_id"].notna() & rows["left_text"].notna() & rows["right_text"].notna()
    out: dict[tuple[str, str, str], list[_Label]] = defaultdict(list)
    columns = ["post_id", "left_text", "right_text", "choice", "strength", "labeler"]
    for post, left, right, choice, strength, labeler in rows.loc[known, columns].itertuples(
        index=False
    ):
        first, second = sorted((left, right))
        out[post, first, second].append(
            _Label(
                choice if left == first else 1 - choice,
                None if pd.isna(strength) else int(strength),
                "" if pd.isna(labeler) else labeler,
            )
        )
    return dict(out)
