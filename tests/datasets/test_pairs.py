"""Chosen/rejected pairs in three dialects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalsuite.datasets import load
from evalsuite.tables import Tables


def read(tmp_path: Path, *rows: dict[str, Any]) -> Tables:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(path)


def chosen(tables: Tables) -> list[str]:
    """The text of the preferred side of every row."""
    rows = tables.sides(["text"])
    return rows["right_text"].where(rows["choice"] == 1, rows["left_text"]).tolist()


def texts(tables: Tables) -> set[str]:
    return set(tables.summaries["text"])


def test_plain(tmp_path: Path) -> None:
    row = {"chosen": " good", "rejected": "bad", "chosen_policy": "ref", "rejected_policy": "sup1"}
    tables = read(tmp_path, row | {"batch": "batch3"})
    assert chosen(tables) == ["good"]
    assert set(tables.summaries["policy"]) == {"reference_summary", "sup1"}
    assert tables.comparisons["post_id"].isna().all()
    assert tables.comparisons["item"].isna().all()
    assert tables.comparisons["batch"].tolist() == ["batch3"]


def test_without_policies(tmp_path: Path) -> None:
    assert set(read(tmp_path, {"chosen": "a", "rejected": "b"}).policies["policy"]) == {"unknown"}


def test_prompt_as_text_makes_a_post(tmp_path: Path) -> None:
    tables = read(tmp_path, {"prompt": "A post.", "chosen": "a", "rejected": "b"})
    assert tables.posts["text"].tolist() == ["A post."]
    assert tables.comparisons["item"].tolist() == tables.posts["post_id"].tolist()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user("Q")], "chosen": [model("a")], "rejected": [model("b")]},
        {"chosen": [user("Q"), model("a")], "rejected": [user("Q"), model("b")]},
        {"prompt": "Q", "chosen": [user("Q"), model("a")], "rejected": [user("Q"), model("b")]},
    ],
    ids=["explicit prompt", "implicit prompt", "prompt repeated in the messages"],
)
def test_conversations(row: dict[str, Any], tmp_path: Path) -> None:
    tables = read(tmp_path, row)
    assert tables.posts["text"].tolist() == ["Q"]
    assert texts(tables) == {"a", "b"}
    assert chosen(tables) == ["a"]


def test_identical_conversations_keep_their_answer(tmp_path: Path) -> None:
    talk = [user("Q"), model("a")]
    tables = read(tmp_path, {"chosen": talk, "rejected": talk})
    assert (texts(tables), tables.posts["text"].tolist()) == ({"a"}, ["Q"])


def test_rewardbench(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "chosen_model": "m",
           "rejected_model": "n", "subset": "alpacaeval-easy", "id": 7}  # fmt: skip
    tables = read(tmp_path, row)
    assert tables.posts[["section", "domain", "source_id"]].to_numpy().tolist() == [
        ["alpacaeval-easy", "rewardbench", "7"]
    ]
    assert tables.comparisons["batch"].tolist() == ["alpacaeval-easy"]
    assert set(tables.policies["policy"]) == {"m", "n"}


def test_sides_carry_no_answer(tmp_path: Path) -> None:
    # The same two texts, one label each way: the sides stay, the choice turns.
    one = {"chosen": "a", "rejected": "b"}
    tables = read(tmp_path, one, {"chosen": "b", "rejected": "a"})
    assert tables.comparisons["left_id"].nunique() == 1
    assert sorted(tables.comparisons["choice"]) == [0, 1]


def test_labels_of_nobody_are_all_kept(tmp_path: Path) -> None:
    assert len(read(tmp_path, *[{"chosen": "a", "rejected": "b"}] * 3).comparisons) == 3


def test_real_pairs(shared_data: Path) -> None:
    path = shared_data / "tldr_feedback" / "pairs_batch3_to_10.jsonl"
    tables = load(path)
    c = tables.comparisons
    assert len(c) == 7944
    assert int((c["left_policy"] != c["right_policy"]).sum()) == 5218
    # 7,944 fair coins have a standard deviation of .0056
    assert 0.47 < c["choice"].mean() < 0.53
    with path.open(encoding="utf-8") as lines:
        assert chosen(tables) == [json.loads(row)["chosen"].strip() for row in lines]
    # ref > sup1: .811 of 507 (the table of pairs in the notes on the paper)
    sides = {"reference_summary", "sup1"}
    rows = c[c["left_policy"].isin(sides) & c["right_policy"].isin(sides)]
    rows = rows[rows["left_policy"] != rows["right_policy"]]
    won = rows["choice"].where(rows["right_policy"] == "reference_summary", 1 - rows["choice"])
    assert (round(won.mean(), 3), len(won)) == (0.811, 507)
