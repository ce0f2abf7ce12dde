"""Labels on file as a judge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.file import LabelJudge
from evalsuite.judges.judge import Answer, Question
from evalsuite.records import Post
from evalsuite.tables import Tables

POST = Post("the post")


def label(left: str, right: str, choice: float, labeler: str | None, **more: Any) -> dict[str, Any]:
    return {
        "post": "the post", "left": left, "right": right, "left_policy": "x", "right_policy": "y",
        "choice": choice, "labeler": labeler, **more,
    }  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    rows = [
        label("a", "b", 1, "ann", strength=3),
        label("b", "a", 0, "bob"),  # b again
        label("a", "b", 0, "cem"),
        label("a", "c", 1, "ann", strength=2),
        label("b", "c", 0, "ann"),
        label("b", "c", 1, "bob"),
        label("c", "d", 0.6, "ann"),
        label("c", "d", 0.3, "bob"),
        label("d", "a", 0.5, None),
        {**label("a", "b", 0, "dan"), "post": "another post"},
    ]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(file)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("a", "b", Answer(1.0, None, "majority of 3")),
        ("b", "a", Answer(0.0, None, "majority of 3")),
        (" a ", "b\n", Answer(1.0, None, "majority of 3")),
        ("a", "c", Answer(1.0, 2, "ann")),
        ("c", "a", Answer(0.0, 2, "ann")),
        ("b", "c", Answer(0.5, None, "majority of 2")),
        ("c", "d", Answer(0.0, None, "majority of 2")),  # .9 of 2
        ("d", "c", Answer(1.0, None, "majority of 2")),
        ("a", "d", Answer(0.5, None, "labels")),
    ],
)
def test_majority(left: str, right: str, expected: Answer, tables: Tables) -> None:
    assert LabelJudge(tables)([Question(POST, left, right)]) == [expected]


def test_each_label_when_asked_again(tables: Tables) -> None:
    judge = LabelJudge(tables, how="each")
    asked = [Question(POST, "b", "a", again=i) for i in range(4)]
    answers = judge(asked)
    assert answers[:3] == [Answer(0.0, 3, "ann"), Answer(0.0, None, "bob"),
                           Answer(1.0, None, "cem")]  # fmt: skip
    assert not answers[3].answered
    majority = LabelJudge(tables)(asked[:2])
    assert [answer.answered for answer in majority] == [True, False]


def test_what_nobody_labelled_is_unanswered(tables: Tables) -> None:
    seen: list[tuple[int, int]] = []
    asked = [Question(POST, "b", "d"), Question(Post("a new post"), "a", "b")]
    answers = LabelJudge(tables, name="mine")(asked, progress=lambda *n: seen.append(n))
    assert all(math.isnan(answer.choice) for answer in answers)
    assert answers[0].labeler == "mine"
    assert seen == [(2, 2)]


def test_labels_that_cannot_be_found_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    row = label("a", "b", 1, "ann")
    del row["post"]
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="no label has its post and both texts; allowed labels"):
        LabelJudge(load(file))


def test_an_unknown_way(tables: Tables) -> None:
    how: Any = "best"
    with pytest.raises(ConfigError, match="taken by 'best'; allowed majority, each"):
        LabelJudge(tables, how=how)
