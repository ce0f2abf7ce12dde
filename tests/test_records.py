"""Records are checked once, on entry; ids depend on content and on nothing else."""

from __future__ import annotations

import dataclasses
import math

import pytest

from evalsuite.errors import DataError
from evalsuite.records import Comparison, Post, Rating, Summary, content_id, shown


def summary(text: str = "a b", policy: str = "p", post_id: str | None = "1") -> Summary:
    return Summary(policy, text, post_id)


def test_ids_separate_their_parts() -> None:
    assert content_id("ab", "c") != content_id("a", "bc")
    assert content_id(None) != content_id("")
    assert content_id("x") == content_id("x")
    assert len(content_id("\ud800")) == 16  # a lone surrogate has an id too


def test_post_id_ignores_where_it_came_from() -> None:
    assert Post("t", "a", source_id="1").id == Post("t", "a", section="s", source_id="2").id
    assert Post("t", "a").id != Post("t", "b").id


def test_summary_text_is_stripped_and_measured() -> None:
    got = summary(" leading space ")
    assert (got.text, got.chars) == ("leading space", 13)
    assert got.id == summary("leading space").id


def test_summary_without_text_needs_its_length() -> None:
    assert Summary("p", None, chars=12).chars == 12
    with pytest.raises(DataError, match="chars is None; allowed a number from 0 to inf"):
        Summary("p", None)


def test_label_id_leaves_the_batch_out() -> None:
    one = Comparison(summary("x"), summary("y"), 1, labeler="w", batch="batch0_cnndm")
    assert one.id == dataclasses.replace(one, batch="cnndm0").id
    assert one.id != dataclasses.replace(one, choice=0).id


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Post(""), "post is ''; allowed a non-empty string"),
        (lambda: Post("x", title=3), "title is 3; allowed a string or nothing"),
        (lambda: Post("x", domain=""), "domain is ''; allowed a non-empty string"),
        (lambda: Summary("", "x"), "policy is ''; allowed a non-empty string"),
        (lambda: Summary("p", 4), "summary text is 4; allowed a string or nothing"),
        (lambda: Comparison(summary(), summary(), 2), "choice is 2; allowed a number from 0 to 1"),
        (
            lambda: Comparison(summary(), summary(), math.nan),
            "choice is nan; allowed a number from 0 to 1",
        ),
        (
            lambda: Comparison(summary(), summary(), True),
            "choice is True; allowed a number from 0 to 1",
        ),
        (
            lambda: Comparison(summary(), summary(post_id="2"), 0),
            "the two summaries are of different posts",
        ),
        (
            lambda: Comparison(summary(), summary(), 0, strength=5),
            "strength is 5; allowed a number from 1 to 4",
        ),
        (lambda: Rating(summary(), "", 3), "axis is ''; allowed a non-empty string"),
        (
            lambda: Rating(summary(), "overall", 8),
            "axes.overall is 8; allowed a number from 1 to 7",
        ),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == message


def test_error_takes_its_place() -> None:
    error = DataError("choice is 2", field="choice", allowed="0 or 1").at("batch18.json", 41)
    assert str(error) == "batch18.json:41: choice is 2; allowed 0 or 1"


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 60
