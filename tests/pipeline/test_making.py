"""Posts, pairs and labels of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.judge import Answer, Question
from evalsuite.pipeline import making
from evalsuite.pipeline.reading import PostFile, read_posts
from evalsuite.records import REFERENCE_POLICY, Post
from evalsuite.simulation import World


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with posts of the world and three samples each: two references, one word."""
    parts = {"labelled-s0": ["tldr", 0, 30], "evaluation": ["tldr", 500_000, 6]}
    making.make_posts({"world_seed": 0, "parts": parts | {"news": ["cnndm", 0, 3]}}, tmp_path)
    file = read_posts(tmp_path / "data" / "labelled-s0.jsonl")
    others = list(file.references.values())
    rows = [
        {"post_id": id_, "policy": "sup_small_t0.7", "text": text}
        for i, id_ in enumerate(file.posts)
        for text in (others[i - 1], others[i - 2], "help !")
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "samples.parquet")
    return tmp_path


def labels(run: Path, **more: object) -> list[dict[str, object]]:
    settings = {
        "world_seed": 0, "labelers": 24, "samples": [str(run / "samples.parquet")], "pairs": 40,
        "posts": str(run / "data" / "labelled-s0.jsonl"), "reference_share": 0.25, "seed": 0,
        "batch": "labels",
    }  # fmt: skip
    made = making.make_labels({**settings, **more}, run)
    name = "s0" if "batch" not in more else f"{more['batch']}-s0"
    lines = (run / "labels" / f"{name}.jsonl").read_text().splitlines()
    assert made["comparisons"] == len(lines)
    return [json.loads(line) for line in lines]


def test_posts_are_those_of_the_world(run: Path) -> None:
    file = read_posts(run / "data" / "evaluation.jsonl")
    ids = [post.source_id for post in file.posts.values()]
    assert ids == World(0).posts("tldr", 6, 500_000).ids
    assert len(file.references) == 6
    assert {p.domain for p in read_posts(run / "data" / "news.jsonl").posts.values()} == {"cnndm"}


def test_labels_are_of_distinct_pairs_a_quarter_with_the_reference(run: Path) -> None:
    rows = labels(run)
    policies = [tuple(s["policy"] for s in row["summaries"]) for row in rows]
    assert len(rows) == 40
    assert sum("ref" in pair for pair in policies) == 10
    seen = {
        (row["info"]["id"], frozenset(s["text"] for s in row["summaries"])) for row in rows
    }  # fmt: skip
    assert len(seen) == 40
    assert {row["split"] for row in rows} <= {"train", "valid1", "valid2"}
    tables = load([str(run / "labels" / "s0.jsonl")])
    assert len(tables.comparisons) == 40
    assert tables.comparisons["left_policy"].isin(["sup_small_t0.7", REFERENCE_POLICY]).all()


def test_one_seed_gives_the_same_labels_and_another_seed_others(run: Path) -> None:
    assert labels(run) == labels(run)
    before = labels(run)
    making.make_labels(
        {
            "world_seed": 0, "labelers": 24, "samples": [str(run / "samples.parquet")],
            "pairs": 40, "posts": str(run / "data" / "labelled-s0.jsonl"),
            "reference_share": 0.25, "seed": 1, "batch": "labels",
        },
        run,
    )  # fmt: skip
    other = (run / "labels" / "s1.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in other] != before


def test_a_round_also_asks_supervised_against_reference(run: Path) -> None:
    rows = labels(run, batch="round1", drift={"policy": "sup_small_t0.7", "pairs": 30}, time=0.5)
    with_reference = [r for r in rows if "ref" in {s["policy"] for s in r["summaries"]}]
    # 10 of the 40, and what of the 30 was not among them
    assert 30 <= len(with_reference) <= 40
    assert {row["batch"] for row in rows} == {"round1"}


def test_more_pairs_than_there_are(run: Path) -> None:
    with pytest.raises(
        ConfigError, match="300 pairs of a sample with a reference are wanted; allowed up to 90"
    ):
        labels(run, pairs=1200)


def test_held_out_pairs_have_the_truth_and_five_labelers(run: Path) -> None:
    settings = {
        "world_seed": 0, "labelers": 24, "samples": str(run / "samples.parquet"), "pairs": 50,
        "posts": str(run / "data" / "labelled-s0.jsonl"), "reference_share": 0.3, "seed": 0,
        "answers": 5,
    }  # fmt: skip
    made = making.make_test_pairs(settings, run)
    rows = pd.read_parquet(run / "labels" / "test-s0.parquet")
    assert made == {"pairs": len(rows), "ties": 50 - len(rows)}
    file = read_posts(run / "data" / "labelled-s0.jsonl")
    world = World(0)
    for _, row in rows.head(10).iterrows():
        post = str(file.posts[row["post_id"]].source_id)
        gap = world.utility(post, row["right"]) - world.utility(post, row["left"])
        assert row["better"] == float(gap > 0)
    assert rows[[f"answer{i}" for i in range(5)]].isin([0.0, 1.0]).all(axis=None)


def test_judgments_of_policies(run: Path) -> None:
    file = read_posts(run / "data" / "evaluation.jsonl")
    judged = pd.DataFrame(
        [
            {"post_id": id_, "policy": "sup_small_t0.7", "sample": i, "text": text}
            for id_ in file.posts
            for i, text in enumerate(("help !", "what now ?"))
        ]
    )
    judged.to_parquet(run / "one.parquet")
    made = making.make_evaluation_labels(
        {
            "world_seed": 0, "labelers": 24, "judged": [str(run / "one.parquet")], "seed": 0,
            "posts": str(run / "data" / "evaluation.jsonl"), "news": "", "labels": 5,
            "repeated": 2, "repeats": 3,
        },
        run,
    )  # fmt: skip
    # 5 against the reference, 2 posts x 3 labelers; 5 summaries and 5 references rated
    assert made == {"comparisons": 5 + 6, "ratings": 10}
    tables = load([str(run / "labels" / "evaluation")])
    same = tables.comparisons["left_policy"] == tables.comparisons["right_policy"]
    assert same.sum() == 6
    assert set(tables.ratings["axis"]) == {"overall", "accuracy", "coverage", "coherence"}


def test_pairs_by_hand() -> None:
    post = Post("text", "title", "tifu", "tldr", "t3_000000")
    file = PostFile({post.id: post}, {post.id: "r"}, None)  # type: ignore[arg-type]
    rows = pd.DataFrame({"post_id": post.id, "policy": "p", "text": ["a", "b", "a", "", "r"]})
    found = making.draw_pairs(rows, file, 5, 0.4, np.random.default_rng(0))
    pairs = sorted(tuple(sorted((q.left, q.right))) for q in found)
    # of a, b and r (said twice, empty left out): three pairs; a and b against the reference
    assert pairs == [("a", "b"), ("a", "r"), ("a", "r"), ("b", "r"), ("b", "r")]


def test_a_line_of_the_release() -> None:
    post = Post("text", "title", "tifu", "tldr", "t3_000000")
    question = Question(post, "a", "b", "p", REFERENCE_POLICY)
    line = orjson.loads(making.label_line(question, Answer(1.0, 3, "someone"), "x", "valid1"))
    assert line == {
        "info": {"id": "t3_000000", "post": "text", "title": "title", "subreddit": "tifu"},
        "split": "valid1",
        "summaries": [
            {"text": " a", "policy": "p", "note": "-"},
            {"text": " b", "policy": "ref", "note": "-"},
        ],
        "choice": 1, "worker": "someone", "batch": "x", "extra": {"confidence": 8},
    }  # fmt: skip


def test_labels_on_file_without_posts_that_are_judged_on(run: Path) -> None:
    labels(run)
    source = run / "labels" / "s0.jsonl"
    told = {
        "files": [str(source)], "halves": True, "without": [str(run / "data" / "two.jsonl")],
    }  # fmt: skip
    first_two = (run / "data" / "labelled-s0.jsonl").read_text().splitlines(keepends=True)[:2]
    (run / "data" / "two.jsonl").write_text("".join(first_two))
    made = making.make_labels_on_file(told, run)
    before = load([str(source)]).comparisons
    kept_out = set(read_posts(run / "data" / "two.jsonl").posts)
    assert made["of posts that are judged on"] == before["post_id"].isin(kept_out).sum()
    halves = [load([str(run / "labels" / f"{n}.jsonl")]).comparisons for n in ("gold", "files")]
    assert [len(half) for half in halves] == [made["gold"], made["files"]]
    assert sum(map(len, halves)) == (~before["post_id"].isin(kept_out)).sum()
    assert not set(halves[0]["post_id"]) & set(halves[1]["post_id"])
    both = pd.concat(halves).set_index("comparison_id")["choice"]
    assert (both == before.set_index("comparison_id")["choice"].reindex(both.index)).all()


def test_files_are_divided_among_parts_and_seeds_without_overlap(tmp_path: Path) -> None:
    rows = [
        {"post": f"text {i}", "title": f"title {i}", "subreddit": "tifu", "reference_summary": "s"}
        for i in range(40)
    ]
    source = tmp_path / "posts.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = {"evaluation": 5, "train": 6, "labelled": 4, "test": 3, "rounds": 2}
    told = {"files": [str(source)], "counts": counts}
    parts = {"evaluation": ["tldr", 0, 5]}
    making.make_posts({**told, "parts": parts}, tmp_path)
    for seed in (0, 1):
        of_seed = {f"{p}-s{seed}": ["tldr", 0, n] for p, n in counts.items() if p != "evaluation"}
        making.make_posts({**told, "parts": of_seed}, tmp_path)
        parts |= of_seed
    found = [read_posts(tmp_path / "data" / f"{part}.jsonl").posts for part in parts]
    assert [len(one) for one in found] == [5, 6, 4, 3, 2, 6, 4, 3, 2]
    assert len({id_ for one in found for id_ in one}) == 35
    with pytest.raises(DataError, match="train-s2 needs posts 36 to 41 and the files have 40"):
        making.make_posts({**told, "parts": {"train-s2": ["tldr", 0, 6]}}, tmp_path)
