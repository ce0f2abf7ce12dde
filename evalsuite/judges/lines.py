"""Questions and answers as lines of labels, in the suite's own format.

`evalsuite data check` and `evalsuite.datasets.load` read them back (`datasets/own.py` says what the
fields are), ties, soft answers and strengths included.
tests/judges/test_lines.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from evalsuite.judges.judge import Answer, Question


class Lines(NamedTuple):
    """Lines of a file, and questions left out because they have no answer."""

    lines: list[bytes]
    unanswered: int


def label_lines(
    questions: Sequence[Question], answers: Sequence[Answer], *, batch: str = ""
) -> Lines:
    """One line of JSON a question that was answered.

    batch: name of the batch, "" for none. Texts are as given; the post's id is its source's.
    Raises ValueError when there are not as many answers as questions.
    """
    lines = []
    for question, answer in zip(questions, answers, strict=True):
        if not answer.answered:
            continue
        post = question.post
        row: dict[str, Any] = {
            "post": post.text, "title": post.title, "section": post.section,
            "domain": post.domain, "source_id": post.source_id,
            "left": question.left, "right": question.right,
            "left_policy": question.left_policy, "right_policy": question.right_policy,
            "choice": answer.choice, "strength": answer.strength,
            "labeler": answer.labeler, "batch": batch, "detail": answer.detail,
        }  # fmt: skip
        stated = {name: value for name, value in row.items() if value not in (None, "")}
        stated |= {"left": question.left, "right": question.right}  # also where empty
        lines.append(orjson.dumps(stated, option=orjson.OPT_APPEND_NEWLINE))
    return Lines(lines, len(questions) - len(lines))
