"""Labels written are labels read."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from evalsuite.datasets import load
from evalsuite.judges.file import LabelJudge
from evalsuite.judges.judge import Answer, Question
from evalsuite.judges.lines import label_lines
from evalsuite.records import Post

FULL = Post("a post\nof two lines", "its title", "r/advice", "tldr", "t3_000001")
BARE = Post("another", domain="mine")
QUESTIONS = [
    Question(FULL, "left one", "right one", "sft", "ref"),
    Question(FULL, "left one", "", "sft", "empty"),
    Question(FULL, "left two", "right one", "ppo", "ref"),
    Question(BARE, "x", "y", "a", "b"),
    Question(BARE, "x", "z", "a", "c"),
]
ANSWERS = [
    Answer(1.0, 3, "ann"),
    Answer(0.5, None, "m", "Preferred: tie"),
    Answer(math.nan, None, "m"),
    Answer(0.25, None, "m"),
    Answer(0.0, 1, ""),
]


def test_they_come_back_whole(tmp_path: Path) -> None:
    found = label_lines(QUESTIONS, ANSWERS, batch="b1")
    assert (len(found.lines), found.unanswered) == (4, 1)
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"".join(found.lines))
    tables = load(file)
    rows = tables.sides(["text"])
    assert rows["choice"].tolist() == [1.0, 0.5, 0.25, 0.0]
    assert [None if pd.isna(s) else s for s in rows["strength"]] == [3, None, None, 1]
    assert [None if pd.isna(s) else s for s in rows["labeler"]] == ["ann", "m", "m", None]
    assert rows["left_text"].tolist() == ["left one", "left one", "x", "x"]
    assert rows["right_text"].tolist() == ["right one", "", "y", "z"]
    assert rows["right_policy"].tolist() == ["reference_summary", "empty", "b", "c"]
    assert rows["batch"].unique().tolist() == ["b1"]
    assert rows["domain"].tolist() == ["tldr", "tldr", "mine", "mine"]
    assert rows["post_id"].tolist() == [FULL.id, FULL.id, BARE.id, BARE.id]
    kept = tables.posts.set_index("post_id").loc[FULL.id]
    assert kept[["title", "section", "source_id"]].tolist() == [
        "its title",
        "r/advice",
        "t3_000001",
    ]
    assert tables.left_out == {}


def test_the_judge_of_labels_gives_them_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"".join(label_lines(QUESTIONS, ANSWERS).lines))
    answers = LabelJudge(load(file))(QUESTIONS)
    assert [a.choice for a in answers if a.answered] == [1.0, 0.5, 0.25, 0.0]
    assert not answers[2].answered


def test_nothing() -> None:
    assert label_lines([], []) == ([], 0)
