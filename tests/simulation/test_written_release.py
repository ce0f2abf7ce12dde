"""The written files: the release's schema by hand, the same bytes twice, sizes kept apart."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rich.style  # noqa: F401 - its first import draws from the global generator

from evalsuite.datasets import load
from evalsuite.errors import ConfigError
from evalsuite.simulation import SMALL, World, WorldConfig, write_release
from evalsuite.simulation.language import language
from evalsuite.simulation.roster import by_name

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_release(folder, SMALL)
    return folder


def read(folder: Path, part: str) -> Rows:
    return {
        path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in sorted((folder / part).glob("*.json"))
    }


def test_comparison_rows_have_the_releases_schema(folder: Path) -> None:
    batches = read(folder, "comparisons")
    assert {"batch3", "batch22", "cnndm0", "edit_b2_eval_test"} <= set(batches)
    assert sum(map(len, batches.values())) == SMALL.comparisons
    for name, rows in batches.items():
        edits, news = name.startswith("edit"), name.startswith("cnndm")
        for row in rows:
            assert list(row) == ["info", "split", "summaries", "choice", "worker", "batch", "extra"]
            body = ["article", "title", "site"] if news else ["post", "title", "subreddit"]
            assert list(row["info"]) == body if edits else ["id", *body]
            assert row["split"] in {"train", "valid1", "valid2"}
            assert row["batch"] == name
            assert row["choice"] in (0, 1)
            confidence = row["extra"]["confidence"]
            assert confidence in {1, 2, 3, 4, 6, 7, 8, 9}
            assert (confidence > 5) == (row["choice"] == 1)
            assert len(row["summaries"]) == 2
            for summary in row["summaries"]:
                assert set(summary) == {"text", "policy", "note"}
                assert summary["policy"] in by_name()
                assert summary["text"].startswith(" ") != edits
                assert not summary["text"].strip().startswith(" ")
                assert summary["text"].strip()


def test_train_batches_have_train_posts_and_later_ones_validation(folder: Path) -> None:
    batches = read(folder, "comparisons")
    assert {row["split"] for row in batches["batch3"]} == {"train"}
    assert {row["split"] for row in batches["batch11"]} == {"valid1", "valid2"}
    split_of: dict[str, str] = {}
    for rows in batches.values():
        for row in rows:
            if "id" in row["info"]:
                assert split_of.setdefault(row["info"]["id"], row["split"]) == row["split"]


def test_axis_rows_have_the_releases_schema(folder: Path) -> None:
    files = read(folder, "axis_evals")
    assert {name: len(rows) for name, rows in files.items()} == {
        "tldraxis1": SMALL.ratings, "cnndm1": SMALL.news_ratings,
    }  # fmt: skip
    for rows in files.values():
        for row in rows:
            assert list(row) == ["info", "split", "summary", "worker", "batch"]
            axes = row["summary"]["axes"]
            assert set(axes) == {"overall", "accuracy", "coverage", "coherence"}
            assert all(isinstance(v, int) and 1 <= v <= 7 for v in axes.values())


def test_the_same_configuration_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    paths = write_release(tmp_path, SMALL)
    assert len(paths) == len(set(paths)) == len([p for p in tmp_path.rglob("*") if p.is_file()])
    for path in paths:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
    other = tmp_path / "other"
    write_release(other, replace(SMALL, seed=1))
    first = "comparisons/batch3.json"
    assert (other / first).read_bytes() != (tmp_path / first).read_bytes()


def test_more_ratings_leave_the_comparisons_alone(folder: Path, tmp_path: Path) -> None:
    write_release(tmp_path, replace(SMALL, ratings=500, news_ratings=0))
    for path in (tmp_path / "comparisons").iterdir():
        assert path.read_bytes() == (folder / "comparisons" / path.name).read_bytes()
    assert not (tmp_path / "axis_evals" / "cnndm1.json").exists()


def test_a_shared_pool_is_labelled_by_several_people(folder: Path) -> None:
    seen: dict[str, list[str]] = {}
    for rows in read(folder, "comparisons").values():
        for row in rows:
            key = json.dumps([row["info"], row["summaries"]])
            seen.setdefault(key, []).append(row["worker"])
    pooled = [workers for workers in seen.values() if len(workers) > 1]
    assert all(len(set(workers)) == len(workers) == SMALL.labels_each for workers in pooled)
    share = sum(map(len, pooled)) / SMALL.comparisons
    assert share == pytest.approx(SMALL.shared, abs=0.01)


def test_the_world_scores_the_written_summaries(folder: Path) -> None:
    world = World(SMALL.seed)
    row = read(folder, "comparisons")["batch12"][0]
    identity = row["info"]["id"]
    best = world.utility(identity, row["info"]["post"])
    # The post itself says every fact (7.25) but runs over 22 tokens and holds decoys.
    assert best < 7.25
    assert row["info"]["post"] == world.post(identity).text.texts(language().spaced)[0].strip()
    for summary in row["summaries"]:
        assert -20 < world.utility(identity, summary["text"]) <= 7.25


def test_pairs_of_one_policy_are_two_samples(folder: Path) -> None:
    pairs = [
        (one["text"], two["text"])
        for rows in read(folder, "comparisons").values()
        for one, two in (row["summaries"] for row in rows)
        if one["policy"] == two["policy"]
    ]
    assert len(pairs) > 200
    # Two samples can come out alike when they say next to nothing.
    assert sum(one == two for one, two in pairs) < 0.03 * len(pairs)


def test_truth_lies_beside_and_is_readable(folder: Path) -> None:
    truth = json.loads((folder / "truth" / "truth.yaml").read_text("utf-8"))
    assert WorldConfig(**truth["config"]) == SMALL
    assert len(truth["labelers"]) == SMALL.labelers
    assert len(truth["policies"]) == 40
    workers = Counter(
        row["worker"] for rows in read(folder, "comparisons").values() for row in rows
    )
    assert set(workers) <= {labeler["ids"] for labeler in truth["labelers"]}


def test_expected_rates_are_those_of_the_written_labels(folder: Path) -> None:
    truth = json.loads((folder / "truth" / "truth.yaml").read_text("utf-8"))
    wins: Counter[tuple[str, str, str]] = Counter()
    labels: Counter[tuple[str, str, str]] = Counter()
    for name, rows in read(folder, "comparisons").items():
        domain = "cnndm" if name.startswith("cnndm") else "tldr"
        for row in rows:
            left, right = (summary["policy"] for summary in row["summaries"])
            key = (domain, *sorted((left, right)))
            if left != right:
                labels[key] += 1
                wins[key] += (left, right)[row["choice"]] == key[1]
    found = {(p["domain"], p["policy"], p["against"]): p for p in truth["pairs"]}
    assert set(found) == set(labels)
    z = 0.0
    for key, pair in found.items():
        assert pair["labels"] == labels[key]
        z += wins[key] - pair["expected_rate"] * labels[key]
        if labels[key] >= 30:
            # A label has variance at most 1/4.
            assert (
                abs(wins[key] / labels[key] - pair["expected_rate"]) < 4 * 0.5 / labels[key] ** 0.5
            )
    assert abs(z) < 4 * 0.5 * sum(labels.values()) ** 0.5


def test_the_loader_takes_every_row(folder: Path) -> None:
    tables = load([folder])
    assert not tables.left_out
    assert len(tables.comparisons) == SMALL.comparisons
    assert len(tables.ratings) == 4 * (SMALL.ratings + SMALL.news_ratings)
    assert set(tables.comparisons["domain"]) == {"tldr", "cnndm"}


def test_progress_counts_every_row(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    config = replace(SMALL, ratings=0, news_ratings=0)
    write_release(tmp_path, config, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (config.comparisons, config.comparisons)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"comparisons": 5}, "comparisons is 5; allowed 100 to 2000000"),
        ({"seed": -1}, "seed is -1; allowed 0 to"),
        ({"shared": 1.0}, r"shared is 1.0; allowed 0.0 to 0.9"),
        ({"labelers": 3}, "labels_each is 5; allowed up to the 3 labelers"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WorldConfig(**setting)


def test_more_ratings_than_summaries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ratings of cnndm: 800 summaries of 30 posts; allowed"):
        write_release(tmp_path, replace(SMALL, news_ratings=1000))


def test_no_news_at_all(tmp_path: Path) -> None:
    write_release(tmp_path, replace(SMALL, news_share=0.0, news_ratings=0))
    assert not list(tmp_path.rglob("cnndm*"))
