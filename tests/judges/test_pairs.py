"""Which pairs are asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.judge import Question
from evalsuite.judges.pairs import (
    Written,
    draw_questions,
    posts_of,
    references_of,
    written_of,
)
from evalsuite.records import Post

ONE, TWO = Post("one"), Post("two")
WRITTEN = [
    Written(ONE, "sft", "a"), Written(ONE, "sft", " b "), Written(ONE, "ppo", "a"),
    Written(ONE, "ppo", "c"), Written(TWO, "sft", "d"), Written(TWO, "ppo", "d"),
    Written(TWO, "ppo", "e"),
]  # fmt: skip


def texts(questions: list[Question]) -> set[tuple[str, ...]]:
    return {tuple(sorted((q.left, q.right))) for q in questions}


def test_all_pairs_of_different_texts(rng: np.random.Generator) -> None:
    found = draw_questions(WRITTEN, 4, rng)
    assert texts(found) == {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}
    policies = {q.left: q.left_policy for q in found} | {q.right: q.right_policy for q in found}
    assert policies == {"a": "sft", "b": "sft", "c": "ppo", "d": "sft", "e": "ppo"}
    with pytest.raises(ConfigError, match="5 pairs are wanted; allowed up to 4, as many as"):
        draw_questions(WRITTEN, 5, rng)


def test_against_a_policy(rng: np.random.Generator) -> None:
    found = draw_questions(WRITTEN, 4, rng, against="ppo")
    assert texts(found) == {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}
    assert all({q.left_policy, q.right_policy} == {"sft", "ppo"} for q in found)
    with pytest.raises(ConfigError, match=r"by 'pop' \(did you mean 'ppo'\?\); allowed sft, ppo"):
        draw_questions(WRITTEN, 1, rng, against="pop")


def test_sides_are_by_chance_and_pairs_are_not_drawn_twice(rng: np.random.Generator) -> None:
    many = [Written(Post(f"{i}"), policy, policy) for i in range(400) for policy in "xy"]
    found = draw_questions(many, 300, rng)
    assert len({q.post.id for q in found}) == 300
    lefts = sum(q.left_policy == "x" for q in found)
    assert lefts == pytest.approx(150, abs=4 * np.sqrt(300) / 2)


def test_asked_several_times(rng: np.random.Generator) -> None:
    found = draw_questions(WRITTEN, 2, rng, times=3)
    assert [q.again for q in found] == [0, 1, 2] * 2
    assert len({q._replace(again=0) for q in found}) == 2
    with pytest.raises(ConfigError, match="pairs is 1, times 0; allowed 1 or more"):
        draw_questions(WRITTEN, 1, rng, times=0)


def test_posts_by_both_ids_and_their_references(tmp_path: Path) -> None:
    rows = [
        {"id": "t3_1", "post": "first", "title": "t", "subreddit": "s", "reference_summary": "r"},
        {"post": "second", "summary": "q"},
    ]
    file = tmp_path / "posts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = load(file)
    first = Post("first", "t", "s", "tldr", "t3_1")
    second = Post("second")
    assert posts_of(tables) == {first.id: first, "t3_1": first, second.id: second}
    assert references_of(tables) == [
        Written(first, "reference_summary", "r"), Written(second, "reference_summary", "q")
    ]  # fmt: skip
    known = posts_of(tables)
    assert written_of([("t3_1", "sft", "x")], known) == [Written(first, "sft", "x")]
    with pytest.raises(DataError, match="post id is 'who'; allowed an id of one of the posts"):
        written_of([("who", "sft", "x")], known)
