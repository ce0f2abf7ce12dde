"""Posts and labelled pairs as lines: read back, drawn without repeats, true when asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.simulation import World
from evalsuite.simulation.files import (
    TRUTH,
    Text,
    label_lines,
    post_lines,
    sections,
    texts_of,
    world_ids,
)
from evalsuite.simulation.policies import sample
from evalsuite.simulation.roster import by_name
from evalsuite.simulation.world import post_id

WORLD = World(0)


def rows(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def samples(posts: int = 60, each: int = 3) -> list[Text]:
    drawn = WORLD.posts("tldr", posts).take(np.repeat(np.arange(posts), each))
    texts = texts_of(sample(by_name()["sup4_t0.7"], drawn, np.random.default_rng(5)))
    return [Text(post, "sup", text) for post, text in zip(drawn.ids, texts, strict=True)]


SAMPLES = samples()


@pytest.mark.parametrize("domain", ["tldr", "cnndm"])
def test_posts_are_read_back(domain: str, tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"".join(post_lines(WORLD, domain, 300, start=700)))
    tables = load(path)
    posts = WORLD.posts(domain, 300, 700)
    assert tables.posts["text"].tolist() == texts_of(posts.text)
    assert tables.posts["title"].tolist() == texts_of(posts.title)
    assert tables.posts["section"].tolist() == sections(posts)
    assert tables.posts["source_id"].tolist() == [post_id(domain, i) for i in range(700, 1000)]
    assert set(tables.posts["domain"]) == {domain}
    assert tables.summaries["text"].tolist() == texts_of(posts.reference)
    assert set(tables.summaries["policy"]) == {"reference_summary"}


def test_a_post_is_the_same_whatever_else_is_written() -> None:
    assert post_lines(WORLD, "tldr", 5000)[4100:4110] == post_lines(WORLD, "tldr", 10, start=4100)
    assert post_lines(World(1), "tldr", 5) != post_lines(WORLD, "tldr", 5)


def test_sections_follow_the_relation() -> None:
    # 16 relations, 8 subreddits: girlfriend and boyfriend are the first two, friend the last.
    for row in rows(post_lines(WORLD, "tldr", 200)):
        if " girlfriend " in f" {row['title']} ":
            assert row["subreddit"] == "relationships"
        if " friend " in f" {row['title']} ":
            assert row["subreddit"] == "offmychest"


@pytest.mark.parametrize(
    ("domain", "count", "start", "text"),
    [
        ("reddit", 1, 0, "domain is 'reddit'; allowed tldr, cnndm"),
        ("tldr", 0, 0, "count is 0, start 0; allowed 1 or more from 0 or more"),
        ("tldr", 1, -1, "count is 1, start -1"),
    ],
)
def test_posts_that_cannot_be(domain: str, count: int, start: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        post_lines(WORLD, domain, count, start=start)


def test_labels_are_read_back_and_keep_to_their_shares(tmp_path: Path) -> None:
    found = label_lines(WORLD, SAMPLES, 100, reference_share=0.4, valid_share=0.2)
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"".join(found.lines))
    tables = load(path)
    assert found.ties == 0
    assert len(tables.comparisons) == 100
    reference = [
        "reference_summary" in pair
        for pair in zip(
            tables.comparisons["left_policy"], tables.comparisons["right_policy"], strict=True
        )
    ]
    assert sum(reference) == 40
    assert set(tables.comparisons["split"]) == {"train", "valid1", "valid2"}
    assert tables.comparisons.groupby("post_id")["split"].nunique().max() == 1
    assert tables.comparisons["labeler"].nunique() > 10
    assert set(tables.comparisons["batch"]) == {"simulated"}
    assert tables.comparisons["strength"].between(1, 4).all()


def test_no_pair_twice_and_no_pair_of_equal_texts() -> None:
    seen = set()
    for row in rows(label_lines(WORLD, SAMPLES, 250).lines):
        texts = [summary["text"] for summary in row["summaries"]]
        assert len(set(texts)) == 2
        assert all(text[0] == " " for text in texts)
        seen.add((row["info"]["id"], *sorted(texts)))
    assert len(seen) == 250


def test_the_truth_answers_the_same_pairs_by_utility() -> None:
    said, true = label_lines(WORLD, SAMPLES, 200), label_lines(WORLD, SAMPLES, 200, labelers=None)
    assert len(true.lines) + true.ties == 200
    pairs = {json.dumps([row["info"], row["summaries"]]) for row in rows(said.lines)}
    for row in rows(true.lines):
        assert json.dumps([row["info"], row["summaries"]]) in pairs
        left, right = (WORLD.utility(row["info"]["id"], s["text"]) for s in row["summaries"])
        assert left != right
        assert row["choice"] == int(right > left)
        assert row["worker"] == TRUTH
        # Cuts .8, 1.8, 3.2 of the difference: strengths 1 to 4 away from 5. A difference on a cut
        # falls to either side by rounding.
        around = [abs(left - right) - 1e-9, abs(left - right) + 1e-9]
        strengths = [1 + sum(gap >= cut for cut in (0.8, 1.8, 3.2)) for gap in around]
        assert abs(row["extra"]["confidence"] - 5) in strengths
        assert (row["extra"]["confidence"] > 5) == bool(row["choice"])
    # Labelers of this world agree with the truth in 3 pairs of 4 or more, and not always.
    truth = {json.dumps([r["info"], r["summaries"]]): r["choice"] for r in rows(true.lines)}
    keyed = [(json.dumps([r["info"], r["summaries"]]), r["choice"]) for r in rows(said.lines)]
    agree = np.mean([truth[key] == choice for key, choice in keyed if key in truth])
    assert 0.65 < agree < 0.95


def test_the_same_seed_gives_the_same_lines() -> None:
    assert label_lines(WORLD, SAMPLES, 50) == label_lines(WORLD, SAMPLES, 50)
    assert label_lines(WORLD, SAMPLES, 50, seed=1) != label_lines(WORLD, SAMPLES, 50)


def test_references_among_the_summaries_are_the_worlds_own() -> None:
    post = WORLD.posts("tldr", 1)
    reference = texts_of(post.reference)[0]
    given = [Text(post.ids[0], "ref", reference), Text(post.ids[0], "sup", "i need advice.")]
    (row,) = rows(label_lines(WORLD, given, 1, reference_share=1).lines)
    policies = {summary["policy"]: summary["text"] for summary in row["summaries"]}
    assert policies == {"ref": f" {reference}", "sup": " i need advice."}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pairs": 0}, "pairs is 0; allowed 1 or more"),
        ({"pairs": 1000, "reference_share": 1.0}, "1000 pairs of a sample with a reference are"),
        ({"pairs": 1000, "reference_share": 0.0}, "1000 pairs of two samples are wanted; allowed"),
        ({"reference_share": 1.5}, r"reference_share is 1.5; allowed 0 to 1"),
        ({"valid_share": 0.6}, r"valid_share is 0.6; allowed 0 to 0.5"),
    ],
)
def test_pairs_that_cannot_be_had(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        label_lines(WORLD, SAMPLES, **{"pairs": 10, **change})


def test_one_domain_a_file() -> None:
    mixed = [*SAMPLES[:2], Text(post_id("cnndm", 3), "sup", "police have a case.")]
    with pytest.raises(ConfigError, match="allowed one domain a file"):
        label_lines(WORLD, mixed, 1)


def test_ids_of_posts() -> None:
    assert world_ids(["t3_00000a", "abc"], {"abc": "t3_000001"}) == ["t3_00000a", "t3_000001"]
    with pytest.raises(DataError, match=r"post id is 'abc'; allowed an id of the simulated world"):
        world_ids(["abc"], {})
