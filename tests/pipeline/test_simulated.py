"""Summaries of simulated posts from files, and the commands that write posts and labels."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from evalsuite.cli.main import app
from evalsuite.datasets import load
from evalsuite.errors import DataError
from evalsuite.pipeline.simulated import read_texts
from evalsuite.simulation import World
from evalsuite.simulation.files import Text, texts_of

WORLD = World(0)
SAMPLED = [
    {"post_id": post, "policy": "sup", "text": text, "sample": number}
    for post in WORLD.posts("tldr", 30).ids
    for number, text in enumerate(["my sister stole my bike.", "i need advice.", "I need advice."])
]


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def sampled(tmp_path: Path) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SAMPLED))
    return path


def test_parquet_and_lines_and_other_names_are_the_same(sampled: Path, tmp_path: Path) -> None:
    table = pd.DataFrame(SAMPLED)
    table.to_parquet(tmp_path / "samples.parquet")
    other = table.rename(columns={"post_id": "prompt_id", "text": "summary"})
    other.to_json(tmp_path / "other.jsonl", orient="records", lines=True)
    expected = [Text(str(r["post_id"]), "sup", str(r["text"])) for r in SAMPLED]
    for path in (sampled, tmp_path / "samples.parquet", tmp_path / "other.jsonl"):
        assert read_texts(path) == expected


def test_ids_of_tables_are_found_in_the_file_of_posts(tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    run("data", "posts", "--count", 5, "--start", 40, "--out", posts)
    table = load(posts).posts
    rows = [{"prompt_id": i, "policy": "sup", "text": "i need advice."} for i in table["post_id"]]
    samples = tmp_path / "samples.parquet"
    pd.DataFrame(rows).to_parquet(samples)
    found = read_texts(samples, posts)
    assert [text.post for text in found] == WORLD.posts("tldr", 5, 40).ids
    with pytest.raises(DataError, match="allowed an id of the simulated world, or of one of"):
        read_texts(samples)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"policy": "a", "text": "b"}\n', "no column 'post_id'; allowed columns post_id/prompt"),
        ('{"id": "t3_000001", "text": "b"}\n', "no column 'policy'"),
        ('{"id": "t3_000001", "policy": "a"}\n', "no column 'text'"),
        ('{"id": "t3_000001", "policy": "a", "text": null}\n', r":1: text is .*allowed a string"),
        ("not json\n", "bad.jsonl: cannot be read"),
    ],
)
def test_files_that_are_refused(content: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=text):
        read_texts(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.parquet: cannot be read .*allowed .parquet or JSON"):
        read_texts(tmp_path / "none.parquet")


def test_posts_command_writes_what_trainers_read(tmp_path: Path) -> None:
    one, two = tmp_path / "new" / "one.jsonl", tmp_path / "two.jsonl"
    said = run("data", "posts", "--count", 20, "--start", 7, "--world-seed", 2, "--out", one)
    assert "20 posts in" in said
    run("data", "posts", "--count", 20, "--start", 7, "--world-seed", 2, "--out", two)
    assert one.read_bytes() == two.read_bytes()
    expected = World(2).posts("tldr", 20, 7)
    assert load(one).posts["text"].tolist() == texts_of(expected.text)
    run("data", "posts", "--count", 3, "--domain", "cnndm", "--out", two)
    assert set(load(two).posts["domain"]) == {"cnndm"}


def test_label_command_asks_labelers_or_the_truth(sampled: Path, tmp_path: Path) -> None:
    out, true = tmp_path / "labels.jsonl", tmp_path / "truth.jsonl"
    said = run("data", "label", sampled, "--pairs", 40, "--labelers", 5, "--out", out)
    assert "40 comparisons in" in said
    assert len({row["worker"] for row in lines(out)}) <= 5
    assert len(load(out).comparisons) == 40
    other = tmp_path / "other.jsonl"
    other.write_text(sampled.read_text().replace("i need advice.", "i feel sad."))
    run("data", "label", sampled, other, "--pairs", 90, "--reference-share", 1, "--out", true)
    assert any("i feel sad." in str(row) for row in lines(true))
    said = run("data", "label", sampled, "--pairs", 40, "--truth", "--out", true)
    assert {row["worker"] for row in lines(true)} == {"truth"}
    # A third of the pairs of samples differ in one capital, which is worth nothing.
    ties = 40 - len(lines(true))
    assert 0 < ties < 20
    assert f"{ties} pairs of equal worth left out" in said
