"""What is asked, and what counts as a verdict."""

from __future__ import annotations

import pytest

from evalsuite.errors import ConfigError
from evalsuite.judges.prompt import PROMPT, check_prompt, render, verdict
from evalsuite.records import Post

POST = Post("the body", title="the title")


def test_the_default_question_has_all_parts() -> None:
    check_prompt(PROMPT)
    asked = render(PROMPT, POST, "first one", "second one", ties=True)
    assert "<post>\nthe title\n\nthe body\n</post>" in asked
    assert "<summary_A>\nfirst one\n</summary_A>" in asked
    assert "<summary_B>\nsecond one\n</summary_B>" in asked
    assert asked.endswith("\nPreferred: A\nPreferred: B\nPreferred: tie\n")
    assert "{" not in asked
    for word in ("coverage", "accuracy", "coherence", "length"):
        assert word in asked


def test_without_ties_and_with_a_reminder() -> None:
    assert render("{verdicts}", POST, "", "", ties=False) == "Preferred: A\nPreferred: B"
    first = render(PROMPT, POST, "a", "b", ties=False)
    again = render(PROMPT, POST, "a", "b", ties=False, attempt=1)
    assert again.startswith(first)
    assert again.removeprefix(first).count("Preferred: B") == 1


def test_texts_are_put_in_once() -> None:
    post = Post("{a} {b}")
    assert render("{post}|{a}|{b}|{c}", post, "{b}", "{post}", ties=True) == (
        "{a} {b}|{b}|{post}|{c}"
    )


@pytest.mark.parametrize("field", ["{post}", "{a}", "{b}"])
def test_templates_that_lack_something(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"prompt has no \{field[:-1]}\}}; allowed a text with"):
        check_prompt(PROMPT.replace(field, ""))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("A says more.\nPreferred: A", "A"),
        ("Preferred: B\n", "B"),
        ("Preferred: tie", "tie"),
        ("Preferred: Tie.", "tie"),
        ("so\r\n**Preferred: B**\r\n", "B"),
        ("**Preferred:** `A`", "A"),
        ("  Preferred : A .  ", "A"),
        ("Preferred: A\nno, wait\nPreferred: B", "B"),
        ("Preferred: A\nis what I say.", "A"),
        ("", None),
        ("A", None),
        ("I prefer A.", None),
        ("My verdict is Preferred: A", None),
        ("Preferred: A or B", None),
        ("Preferred: A\nPreferred: unsure", None),
        ("Preferred: A\npreferred: summary b", None),
        ("Preferred: Summary A", None),
        ("Preferred: a", None),
        ("Preferred:\nA", None),
        ("Preferred: C", None),
        ("Preferred: A, since a tie is dull", None),
    ],
)
def test_verdicts(reply: str, expected: str | None) -> None:
    assert verdict(reply, ties=True) == expected


def test_a_tie_where_none_is_allowed() -> None:
    assert verdict("Preferred: tie", ties=False) is None
    assert verdict("Preferred: B", ties=False) == "B"
