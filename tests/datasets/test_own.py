"""The user's own tables, with and without a map."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from evalsuite.datasets import load, parse_map

FIELDS = ["left", "right", "left_policy", "right_policy", "choice"]


def test_csv_jsonl_and_parquet_agree(tmp_path: Path) -> None:
    rows = [["a", "b", "m", "ref", 0.25], ["c", "d", "m", "n", 1.0]]
    frame = pd.DataFrame(rows, columns=FIELDS).assign(post=["P", "Q"], strength=[1, 4])
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "x.parquet")
    csv, jsonl, parquet = (load(tmp_path / f"x.{kind}") for kind in ("csv", "jsonl", "parquet"))
    for name in ("comparisons", "summaries", "posts", "policies"):
        pd.testing.assert_frame_equal(getattr(csv, name), getattr(jsonl, name))
        pd.testing.assert_frame_equal(getattr(csv, name), getattr(parquet, name))
    assert csv.comparisons["choice"].tolist() == [0.25, 1]
    assert csv.comparisons["strength"].tolist() == [1, 4]
    assert "reference_summary" in set(csv.policies["policy"])


def test_map(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt,answer_a,answer_b,model_a,model_b,vote,who\nQ,x,y,m,n,right,7\n")
    field_map = parse_map([
        "post=prompt", "left=answer_a", "right=answer_b", "left_policy=model_a",
        "right_policy=model_b", "choice=vote", "labeler=who",
    ])  # fmt: skip
    got = load(path, field_map=field_map).comparisons.iloc[0]
    assert (got["left_policy"], got["choice"], got["labeler"]) == ("m", 1, "7")
    assert got["item"] == got["post_id"]


@pytest.mark.parametrize(
    ("word", "choice"),
    [("left", 0), ("Right", 1), (" tie ", 0.5), (0, 0), (1, 1), (0.3, 0.3)],
)
def test_choices(word: object, choice: float, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(dict(zip(FIELDS, ["a", "b", "m", "n", word], strict=True))))
    assert load(path).comparisons["choice"].tolist() == [choice]


def test_lengths_instead_of_texts_and_groups_instead_of_posts(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("left_chars,right_chars,left_policy,right_policy,choice,group\n3,0,m,n,1,g\n")
    tables = load(path)
    sides = tables.sides(["chars"]).iloc[0]
    assert (sides["left_chars"], sides["right_chars"], sides["item"]) == (3, 0, "g")


def test_ratings_with_and_without_a_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    header = "post,summary,policy,axis,value,low,high,labeler\n"
    path.write_text(header + "P,s,m,overall,7,,,w\nP,s,m,clear,80,0,100,w\n")
    got = load(path).ratings[["axis", "value", "low", "high"]].to_numpy().tolist()
    assert got == [["overall", 7, 1, 7], ["clear", 80, 0, 100]]


def test_rating_off_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("summary,policy,axis,value,low,high\ns,m,overall,6,1,5\n")
    with pytest.raises(Exception, match=r"^x\.csv:2: value is '6'; allowed a number from 1 to 5$"):
        load(path)


def test_empty_cells_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(",".join([*FIELDS, "labeler", "strength", "post"]) + "\na,b,m,n,1,,,\n")
    got = load(path).comparisons
    assert got[["labeler", "strength", "post_id"]].isna().all(axis=None)


PAIRED = {"chosen": "good", "rejected": "bad", "chosen_policy": "p", "rejected_policy": "q",
          "labeler": "who", "post": "question", "strength": "how", "group": "thread"}  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_pairs_through_a_map(kind: str, tmp_path: Path) -> None:
    rows = [["x", "y", "m", "n", 1, "Q", 2, "t"], ["y", "x", "n", "m", 2, "Q", None, "t"]]
    frame = pd.DataFrame(rows, columns=list(PAIRED.values())).assign(prompt="not this one")
    path = tmp_path / f"x.{kind}"
    {"jsonl": lambda: frame.to_json(path, orient="records", lines=True),
     "csv": lambda: frame.to_csv(path, index=False), "parquet": lambda: frame.to_parquet(path),
    }[kind]()  # fmt: skip
    tables = load(path, field_map=PAIRED)
    got = tables.sides(["text"])
    # One pair labelled both ways: the sides stay, the choice turns.
    assert got["left_text"].nunique() == 1
    chosen = got["right_text"].where(got["choice"] == 1, got["left_text"])
    assert chosen.tolist() == ["x", "y"]
    assert got["left_policy"].tolist() == [{"x": "m", "y": "n"}[got["left_text"].iloc[0]]] * 2
    assert got["labeler"].tolist() == ["1", "2"]
    assert got["strength"].iloc[0] == 2
    assert tables.posts["text"].tolist() == ["Q"]
    assert tables.comparisons["domain"].tolist() == ["own", "own"]


def test_mapped_pairs_of_messages_and_without_policies(tmp_path: Path) -> None:
    def talk(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Q"}, {"role": "assistant", "content": answer}]

    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"good": talk("x"), "bad": talk("y")}))
    tables = load(path, field_map={"chosen": "good", "rejected": "bad"})
    assert set(tables.summaries["text"]) == {"x", "y"}
    assert tables.posts["text"].tolist() == ["Q"]
    assert tables.policies["policy"].tolist() == ["unknown"]


def test_mapped_pairs_of_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("n1,n2,p,q\n7,5,m,n\n")
    lengths = {"chosen_chars": "n1", "rejected_chars": "n2"}
    tables = load(path, field_map=lengths | {"chosen_policy": "p", "rejected_policy": "q"})
    row = tables.sides(["chars"]).iloc[0]
    assert (row["right_chars"] if row["choice"] == 1 else row["left_chars"]) == 7


def test_a_mapped_pair_is_one_whatever_other_columns_there_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("good,bad,left_policy,policy\na,b,m,n\n")
    tables = load(path, field_map={"chosen": "good", "rejected": "bad"})
    assert tables.policies["policy"].tolist() == ["unknown"]
