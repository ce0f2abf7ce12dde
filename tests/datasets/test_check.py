"""What `evalsuite data check` counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalsuite.datasets import load
from evalsuite.datasets.check import MOST, describe


def row(left: str, right: str, **fields: Any) -> dict[str, Any]:
    return {
        "info": {"post": "P", "title": "T"}, "split": "train",
        "summaries": [{"text": left, "policy": "sup1"}, {"text": right, "policy": "sup2"}],
        "choice": 1, "worker": "w", "batch": "b", "extra": {"confidence": 6},
    } | fields  # fmt: skip


def counts(path: Path, *rows: dict[str, Any]) -> dict[tuple[str, str], int]:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    table = describe(load(path, on_error="skip"))
    assert list(table.columns) == ["section", "item", "count"]
    return {(a, b): n for a, b, n in table.itertuples(index=False)}


def test_counts(tmp_path: Path) -> None:
    got = counts(
        tmp_path / "x.json",
        row("a", "b"),
        row("a", "b"),  # repeated by w
        row("a", "b", worker="v", choice=0, extra={"confidence": 1}),  # second label on a pair
        row("same", " same"),  # identical, so one text of two policies
        row(" ", "c", worker=None, extra={}),  # empty left
        row("d", "e", extra={"confidence": 3}),  # against the choice
    )
    assert got["rows", "posts"] == 1
    assert got["rows", "comparisons"] == 4
    assert got["rows", "labelers"] == 2
    assert got["rows", "summaries"] == 6  # a, b, same x 2, "", c
    assert got["files", "x.json (release)"] == 6
    assert got["comparisons by labeler", "w"] == 2
    assert got["comparisons by labeler", "(not stated)"] == 1
    assert got["comparisons by split", "train"] == 4
    assert got["sides of comparisons by policy", "sup1"] == 4
    assert got["choices", "left"] == 1
    assert got["choices", "right"] == 3
    assert got["choices", "tie"] == 0
    assert got["choices", "repeated by the same labeler (left out)"] == 1
    assert got["confidence", "strength 1"] == 2
    assert got["confidence", "strength 4"] == 1
    assert got["confidence", "not stated"] == 1
    assert got["confidence", "against the choice, or off the scale (refused)"] == 1
    assert got["texts", "empty summaries"] == 1
    assert got["texts", "comparisons of identical texts"] == 1
    assert got["texts", "labels on pairs with more than one label"] == 2
    assert got["texts", "texts that two policies share on a post"] == 1
    assert got["left out", "refused: extra.confidence"] == 1


def test_long_lists_are_cut(tmp_path: Path) -> None:
    rows = [row("a", "b", worker=f"w{i}") for i in range(MOST + 3)]
    assert counts(tmp_path / "x.json", *rows)["comparisons by labeler", "3 more"] == 3


def test_ratings(tmp_path: Path) -> None:
    summary = {"text": "s", "policy": "ref", "axes": {"overall": 7, "coverage": 1}}
    rated = {"info": {"post": "P"}, "worker": "w", "batch": "b", "summary": summary}
    got = counts(tmp_path / "x.json", rated)
    assert got["ratings by axis", "overall"] == 1
    assert got["ratings by policy", "reference_summary"] == 2
    assert ("choices", "left") not in got


@pytest.mark.parametrize("name", ["alpaca_eval", "summeval", "tldr_posts", "tldr_feedback"])
def test_real(name: str, shared_data: Path) -> None:
    tables = load(shared_data / name)
    table = describe(tables).set_index(["section", "item"])["count"]
    assert table["rows", "comparisons"] == len(tables.comparisons)
    assert (table >= 0).all()


def test_ties_and_soft_choices(tmp_path: Path) -> None:
    sides = {"left": "a", "right": "b", "left_policy": "m", "right_policy": "n"}
    got = counts(tmp_path / "x.jsonl", *[sides | {"choice": c} for c in (0, 0.2, 0.5, 0.5, 1)])
    soft = "soft (neither 0, 0.5 nor 1)"
    # each of the 5 rows in one place
    assert [got["choices", item] for item in ("left", "right", "tie", soft)] == [1, 1, 2, 1]


NAMING = (
    "comparisons whose policies are not stated (columns chosen_policy and rejected_policy, or "
    "chosen_model and rejected_model name them; for posts summary_policy)"
)


def test_policies_that_are_not_stated(tmp_path: Path) -> None:
    plain = {"chosen": "a", "rejected": "b"}
    half, whole = plain | {"chosen_policy": "m"}, {"chosen_model": "m", "rejected_model": "n"}
    got = counts(tmp_path / "x.jsonl", plain, half, plain | whole)
    assert got["policies", NAMING] == 2
    assert ("policies", NAMING) not in counts(tmp_path / "y.jsonl", plain | whole)
    trl = {key: [{"role": "assistant", "content": text}] for key, text in plain.items()}
    assert counts(tmp_path / "z.jsonl", trl)["policies", NAMING] == 1
