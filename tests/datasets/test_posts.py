"""Posts with references and a judge's verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalsuite.datasets import load
from evalsuite.tables import Tables


def read(tmp_path: Path, *rows: dict[str, Any]) -> Tables:
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(path)


def test_filtered_form_has_the_reference_in_summary(tmp_path: Path) -> None:
    row = {"id": "t3_1", "subreddit": "tifu", "title": "T", "post": "P", "summary": " r"}
    tables = read(tmp_path, row)
    assert tables.summaries[["policy", "text"]].to_numpy().tolist() == [["reference_summary", "r"]]
    assert tables.posts[["title", "section", "source_id"]].to_numpy().tolist() == [
        ["T", "tifu", "t3_1"]
    ]


def test_verdicts_become_comparisons_of_the_judge(tmp_path: Path) -> None:
    row = {"post": "P", "reference_summary": "r", "summary": "s", "summary_policy": "m",
           "judge": "gpt-4"}  # fmt: skip
    rows = [row | {"post": f"P{i}", "judge_prefers": verdict}
            for i, verdict in enumerate(["summary", "reference_summary", None])]  # fmt: skip
    tables = read(tmp_path, *rows)
    assert len(tables.posts) == 3
    assert len(tables.summaries) == 6
    got = tables.sides(["policy"])
    won = got["right_policy"].where(got["choice"] == 1, got["left_policy"])
    assert won.tolist() == ["m", "reference_summary"]
    assert got["labeler"].tolist() == ["gpt-4"] * 2


def test_reference_alone(tmp_path: Path) -> None:
    tables = read(tmp_path, {"post": "P", "reference_summary": "r", "summary": None})
    assert tables.summaries["policy"].tolist() == ["reference_summary"]


def test_real_posts(shared_data: Path) -> None:
    tables = load(shared_data / "tldr_posts" / "posts.jsonl")
    assert (len(tables.posts), len(tables.summaries)) == (1871, 3742)
    c = tables.comparisons
    won = c["right_policy"].where(c["choice"] == 1, c["left_policy"])
    assert won.value_counts().to_dict() == {"openai_1.3b_ppo": 616, "reference_summary": 344}
    assert set(c["labeler"]) == {"gpt-4"}
