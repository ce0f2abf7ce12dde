"""What choices of one's own data may be, and what they mean."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from evalsuite.cli.main import run
from evalsuite.datasets import load, parse_choices
from evalsuite.errors import ConfigError, DataError

FIELDS = ["left", "right", "left_policy", "right_policy", "choice"]
MEANING = "left, right, a, b, model_a, model_b, tie, a policy's name"
ALLOWED = f"0 (left) to 1 (right), {MEANING}, or say what yours mean with --choice"


def jsonl(path: Path, *choices: object, left: str = "m", right: str = "n") -> Path:
    rows = [dict(zip(FIELDS, ["x", "y", left, right, c], strict=True)) for c in choices]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def csv(path: Path, *choices: object) -> Path:
    path.write_text(",".join(FIELDS) + "\n" + "".join(f"x,y,m,n,{c}\n" for c in choices))
    return path


def read(path: Path, **how: Any) -> list[float]:
    return load(path, **how).comparisons["choice"].tolist()


WORDS = {
    0.0: ["left", "LEFT", " a ", "A", "model_a", "Model_A", 0, 0.0, "m", "M"],
    1.0: ["right", "Right", "b", "B", "model_b", "MODEL_B", 1, 1.0, "n", "N "],
    0.5: ["tie", " Tie", "draw", "both", "tie (bothbad)", "Tie (BothBad)", 0.5],
    0.3: [0.3],
}


@pytest.mark.parametrize(
    ("word", "choice"), [(word, choice) for choice, words in WORDS.items() for word in words]
)
def test_words_and_numbers(word: object, choice: float, tmp_path: Path) -> None:
    assert read(jsonl(tmp_path / "x.jsonl", word)) == [choice]
    assert read(csv(tmp_path / "x.csv", word)) == [choice]


@pytest.mark.parametrize(
    ("left", "right", "choice", "means"),
    [
        ("GPT", "gpt", "gpt", 1),  # as written goes before any case
        ("GPT", "gpt", "GPT", 0),
        ("1", "2", "2", 1),  # no number from 0 to 1, but a name
        ("1", "2", 2, 1),
        ("a", "b", "a", 0),  # both readings agree
        ("ref", "tie-breaker", "ref", 0),
    ],
)
def test_names_of_policies(
    left: str, right: str, choice: object, means: float, tmp_path: Path
) -> None:
    assert read(jsonl(tmp_path / "x.jsonl", choice, left=left, right=right)) == [means]


TWO_MEANINGS = (
    "one side as a word or number, the other as a name; allowed a choice with one meaning"
)


@pytest.mark.parametrize(
    ("left", "right", "choice", "says"),
    [
        ("b", "a", "a", f"choice is 'a', {TWO_MEANINGS}"),
        ("1", "2", 1, f"choice is 1, {TWO_MEANINGS}"),
        ("m", "m", "m", f"choice is 'm'; allowed {ALLOWED} VALUE=left"),
        ("GPT", "gpt", "Gpt", f"choice is 'Gpt'; allowed {ALLOWED} VALUE=left"),
        ("m", "n", "", f"choice is ''; allowed {ALLOWED} VALUE=left"),
    ],
)
def test_unclear_names(left: str, right: str, choice: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(says)):
        load(jsonl(tmp_path / "x.jsonl", choice, left=left, right=right))


def test_a_map_goes_before_words_and_numbers(tmp_path: Path) -> None:
    coded = {"1": "left", "2": "right", "0": "tie", "a": "right", "true": "right"}
    path = jsonl(tmp_path / "x.jsonl", 1, 2.0, "2", 0, "A", True, "m")
    assert read(path, choice_map=coded) == [0, 1, 1, 0.5, 1, 1, 0]
    assert read(csv(tmp_path / "x.csv", "1", "2.0", "0"), choice_map=coded) == [0, 1, 0.5]
    assert read(jsonl(tmp_path / "y.jsonl", 1, 2), choice_map={1: "left", 2: "right"}) == [0, 1]


def test_where_a_number_is_mapped_no_other_number_means_anything(tmp_path: Path) -> None:
    # 0 may be a tie in such a coding, 0.5 half of something
    says = "choice is 0; allowed 1 (left), 2 (right), a policy's name, or say what yours mean"
    with pytest.raises(DataError, match=re.escape(says)):
        load(jsonl(tmp_path / "x.jsonl", 1, 0), choice_map={"1": "left", "2": "right"})
    # words alone leave numbers as they are
    assert read(jsonl(tmp_path / "y.jsonl", 0, "x"), choice_map={"X": "right"}) == [0, 1]


@pytest.mark.parametrize("word", ["B", "left", "tie"])
def test_where_a_map_is_given_no_other_word_means_anything(word: str, tmp_path: Path) -> None:
    says = (
        f"choice is '{word}'; allowed A (right), 0 (left) to 1 (right), a policy's name, or say "
        "what yours mean with --choice VALUE=left"
    )
    for path in (csv(tmp_path / "x.csv", "A", word), jsonl(tmp_path / "x.jsonl", "A", word)):
        with pytest.raises(DataError, match=re.escape(says)):
            load(path, choice_map={"A": "right"})
    assert read(csv(tmp_path / "y.csv", "A", "B"), choice_map={"a": "right", "b": "left"}) == [1, 0]


def test_names_of_policies_beside_a_map(tmp_path: Path) -> None:
    # a tie needs a word; the names of policies cannot be mapped, since they change sides
    path = jsonl(tmp_path / "x.jsonl", "m", "neither", "N")
    assert read(path, choice_map={"neither": "tie"}) == [0, 0.5, 1]
    # policies called A and B: once the map says A, B is no name either
    path = jsonl(tmp_path / "y.jsonl", "A", "B", left="A", right="B")
    with pytest.raises(DataError, match=r"^y\.jsonl:2: choice is 'B'; allowed A \(right\)"):
        load(path, choice_map={"A": "right"})


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_map_that_no_row_uses(on_error: str, tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", 0, 1)
    says = (
        "^choice map: no row's choice is X (left), Y (right); allowed values that the choice "
        "column has$"
    )
    says = says.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(DataError, match=says):
        load(path, choice_map={"X": "left", "Y": "right"}, on_error=on_error)
    # one of its values may be absent
    assert read(csv(tmp_path / "y.csv", "X", 1), choice_map={"X": "left", "Y": "right"}) == [0, 1]


def test_parse_choices() -> None:
    assert parse_choices(["2=right", "a=b=left"]) == {"2": "right", "a=b": "left"}
    for bad in ("2", "=left", "2=both", "2=Left"):
        says = f"^choice map is '{bad}'; allowed VALUE=left, =right or =tie$"
        with pytest.raises(ConfigError, match=says):
            parse_choices([bad])
    with pytest.raises(ConfigError, match="choice '2' is mapped twice, to left and right"):
        parse_choices(["2=left", "2=right"])


def test_maps_that_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", 0)
    with pytest.raises(ConfigError, match=r"choice 2 is mapped to 'up'; allowed left, right, tie"):
        load(path, choice_map={2: "up"})
    with pytest.raises(ConfigError, match=r"choice '1\.0' is mapped twice"):
        load(path, choice_map={"1": "left", "1.0": "right"})
    with pytest.raises(ConfigError, match="a choice map is for your own data; format is 'pairs'"):
        load(path, choice_map={"1": "left"}, format="pairs")


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        # 1/2: the 1s, left, would be read as right
        ([1, 2, 1, 2, 1], "choice is 2 in 2 of 5 rows with a number, so the numbers may mean "
         "something else than 0 (left) to 1 (right); allowed every number named, such as "
         "--choice 1=left --choice 2=right"),
        ([1] * 30 + [2], "choice is 2 in 1 of 31 rows with a number"),
        # -1/1, and -1/0/1, where 0 would be read as left
        ([-1, 1], "such as --choice -1=left --choice 1=right"),
        ([-1, 0, 1, 1], "choice is -1 in 1 of 4 rows with a number"),
        # a scale of 0 to 10
        ([0, 1, 3, 7, 7, 10], "choice is 7 in 2 of 6 rows with a number"),
    ],
    ids=["1 and 2", "one 2", "-1 and 1", "-1 to 1", "0 to 10"],
)  # fmt: skip
def test_another_coding_is_not_read_the_wrong_way_round(
    choices: list[float], says: str, tmp_path: Path
) -> None:
    for path in (jsonl(tmp_path / "x.jsonl", *choices), csv(tmp_path / "x.csv", *choices)):
        with pytest.raises(DataError, match=rf"^{path.name}: .*{re.escape(says)}"):
            load(path, on_error="skip")
    named = {value: "left" if value == min(choices) else "right" for value in choices}
    assert len(read(path, choice_map=named, on_error="skip")) == len(choices)


def test_a_slip_among_many_numbers_is_skipped(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[0, 1] * 10, 2)
    assert len(read(path, on_error="skip")) == 20
    assert read(jsonl(tmp_path / "y.jsonl", "left", 2, "b"), on_error="skip") == [0, 1]


def test_each_file_is_judged_alone(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", *[0, 1] * 50)
    jsonl(tmp_path / "b.jsonl", 1, 2)
    with pytest.raises(DataError, match=r"^b\.jsonl: choice is 2 in 1 of 2 rows"):
        load(tmp_path, on_error="skip")


@pytest.mark.parametrize("command", ["check", "analyze"])
def test_the_option(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = csv(tmp_path / "x.csv", *[1, 2, -1] * 5), str(tmp_path / "out")
    words = {"check": ["data", "check", str(path)],
             "analyze": ["analyze", "preference", "--data", str(path)]}[command]  # fmt: skip
    coded = ["--choice", "1=left", "--choice", "2=right", "--choice", "-1=tie", "--out", out]
    monkeypatch.setattr(sys, "argv", ["evalsuite", *words, *coded])
    with pytest.raises(SystemExit) as ended:
        run()
    assert not ended.value.code
    if command == "check":
        rows = (tmp_path / "out" / "check.csv").read_text().splitlines()
        assert {"choices,left,5", "choices,right,5", "choices,tie,5"} <= set(rows)
