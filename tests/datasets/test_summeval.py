"""SummEval: expert and crowd ratings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalsuite.datasets import load


def test_one_row(tmp_path: Path) -> None:
    row = {"id": "dm-1", "text": "Article.", "decoded": "sum .", "model_id": "M1",
           "references": ["r1", "r2"], "expert_annotations": [{"fluency": 5}, {"fluency": 4}],
           "turker_annotations": [{"fluency": 1}]}  # fmt: skip
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    tables = load(path)
    got = tables.ratings[["axis", "value", "low", "high", "labeler", "domain"]].to_numpy().tolist()
    assert got == [
        ["fluency", 5, 1, 5, "expert_0", "cnndm"],
        ["fluency", 4, 1, 5, "expert_1", "cnndm"],
        ["fluency", 1, 1, 5, "crowd_0", "cnndm"],
    ]
    by = tables.summaries.groupby("policy")["text"].apply(list).to_dict()
    assert by == {"M1": ["sum ."], "reference_summary": ["r1", "r2"]}


def test_real(shared_data: Path) -> None:
    tables = load(shared_data / "summeval" / "summeval.jsonl")
    assert len(tables.posts) == 100
    assert len(tables.ratings) == 1200 * 8 * 4
    assert tables.ratings["labeler"].nunique() == 8
    assert (tables.summaries["policy"] == "reference_summary").sum() == 1100
    expert = tables.ratings[tables.ratings["labeler"].str.startswith("expert")]
    with (shared_data / "summeval" / "summeval.jsonl").open(encoding="utf-8") as lines:
        values = [
            a["coherence"] for row in map(json.loads, lines) for a in row["expert_annotations"]
        ]
    mean = expert.loc[expert["axis"] == "coherence", "value"].mean()
    assert mean == pytest.approx(sum(values) / 3600, abs=1e-12)
