"""Samples and scores on file: their columns, broken runs that go on, runs that are another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evalsuite.errors import ConfigError
from evalsuite.models import parquet
from evalsuite.models.packing import Group
from evalsuite.models.parquet import (
    Item,
    Job,
    logprob_scorer,
    reward_scorer,
    sample_to_parquet,
    score_to_parquet,
    stream,
)
from evalsuite.models.prompts import Prompter, PromptFormat
from evalsuite.models.rewards import ModelReward
from evalsuite.models.sampling import Prompt, sample
from evalsuite.models.scoring import completion_logprobs
from evalsuite.records import Post, Summary

SETTINGS: dict[str, Any] = {
    "k": 3,
    "temperature": 1.0,
    "seed": 4,
    "policy": "tiny",
    "identity": "a",
}


@pytest.fixture
def prompter(tiny: tuple[Callable[..., Any], Callable[..., Any]]) -> Prompter:
    return Prompter(tiny[1](pad_token="<unk>"), PromptFormat("{text} w7", 20, 6))


@pytest.fixture
def model(tiny: tuple[Callable[..., Any], Callable[..., Any]]) -> Any:
    return tiny[0]("llama", initializer_range=0.2)


@pytest.fixture
def posts() -> list[Post]:
    return [Post(f"w{i} w{2 * i} w3") for i in range(7)]


@pytest.fixture
def jobs(prompter: Prompter, posts: list[Post]) -> list[Job]:
    return [Job(post.id, post, prompter.prompt(post)) for post in posts]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "POSTS_A_BLOCK", 2)


def test_samples_are_those_of_sample(
    tmp_path: Path, model: Any, prompter: Prompter, jobs: list[Job]
) -> None:
    out, seen = tmp_path / "samples.parquet", []
    rows = sample_to_parquet(
        out, model, prompter, jobs, **SETTINGS, progress=lambda *at: seen.append(at)
    )
    table = pd.read_parquet(out)
    assert rows == len(table) == 21
    assert seen[-1] == (21, 21)
    assert [p.name for p in tmp_path.iterdir()] == ["samples.parquet"]
    expected = sample(
        model, [Prompt(job.id, job.tokens) for job in jobs], k=3, temperature=1.0, seed=4,
        max_new_tokens=6, eos_id=prompter.eos_id, pad_id=prompter.pad_id,
    )  # fmt: skip
    assert table["post_id"].tolist() == [job.id for job in jobs for _ in range(3)]
    assert table["sample"].tolist() == [0, 1, 2] * 7
    tokens = [t for samples in expected for t in samples.tokens]
    assert [list(t) for t in table["tokens"]] == tokens
    for found, logprobs in zip(
        table["logprobs"], [x for samples in expected for x in samples.logprobs], strict=True
    ):
        np.testing.assert_allclose(found, logprobs, atol=1e-5)
    np.testing.assert_allclose(table["logprob"], [np.sum(x) for x in table["logprobs"]], rtol=1e-6)
    assert table["text"].tolist() == [prompter.text(t) for t in tokens]
    assert table["ended"].tolist() == [prompter.eos_id in t for t in tokens]
    assert set(table["policy"]) == {"tiny"}
    first = table.iloc[0]
    assert first["summary_id"] == Summary("tiny", first["text"], first["post_id"]).id
    assert first["chars"] == len(first["text"])


def test_a_broken_run_goes_on(
    tmp_path: Path, model: Any, prompter: Prompter, jobs: list[Job], monkeypatch: Any
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "samples.parquet"
    sample_to_parquet(whole, model, prompter, jobs, **SETTINGS)
    calls = []

    def breaking(*args: Any, **options: Any) -> Any:
        calls.append([prompt.id for prompt in args[1]])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(*args, **options)

    monkeypatch.setattr(parquet, "sample", breaking)
    with pytest.raises(KeyboardInterrupt):
        sample_to_parquet(out, model, prompter, jobs, **SETTINGS)
    assert not out.exists()
    assert len(list((tmp_path / "samples.parquet.parts").glob("0*.parquet"))) == 2
    seen: list[tuple[int, int]] = []
    sample_to_parquet(out, model, prompter, jobs, **SETTINGS, progress=lambda *at: seen.append(at))
    done = [job.id for job in jobs]
    assert calls == [done[:2], done[2:4], done[4:6], done[4:6], done[6:]]
    assert seen[:2] == [(6, 21), (12, 21)]
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole))
    assert not (tmp_path / "samples.parquet.parts").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.5}, "with temperature 1.0, this one has 0.5; allowed the same settings"),
        ({"seed": 5}, "with seed 4, this one has 5; allowed"),
        ({"identity": "b"}, "with model 'a', this one has 'b'; allowed"),
    ],
)
def test_a_run_with_other_settings_is_refused(
    tmp_path: Path, model: Any, prompter: Prompter, jobs: list[Job], change: dict[str, Any],
    message: str, monkeypatch: Any,
) -> None:  # fmt: skip
    def breaking(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    out = tmp_path / "samples.parquet"
    monkeypatch.setattr(parquet, "sample", breaking)
    with pytest.raises(KeyboardInterrupt):
        sample_to_parquet(out, model, prompter, jobs, **SETTINGS)
    with pytest.raises(ConfigError, match=message):
        sample_to_parquet(out, model, prompter, jobs, **SETTINGS | change)
    other = [Job(jobs[0].id, jobs[0].post, [5, 6]), *jobs[1:]]
    with pytest.raises(
        ConfigError, match=r"parts: holds part of a run with prompts '\w+', this on"
    ):
        sample_to_parquet(out, model, prompter, other, **SETTINGS)


def items(posts: list[Post]) -> list[Item]:
    """Posts with 1 to 3 summaries, and one of them twice."""
    made = [
        Item(f"s{i}{j}", post.id, "p", post, f"w{5 * i + j} w{j}")
        for i, post in enumerate(posts)
        for j in range(1 + i % 3)
    ]
    return [*made, made[0]]


def test_logprobs_of_summaries(
    tmp_path: Path, model: Any, prompter: Prompter, posts: list[Post]
) -> None:
    out, seen = tmp_path / "scores.parquet", []
    score = logprob_scorer(model, prompter, temperature=0.7)
    rows = score_to_parquet(
        out, score, items(posts), identity="a", run={}, progress=lambda *at: seen.append(at)
    )
    table = pd.read_parquet(out)
    assert rows == len(table) == 13  # 1 + 2 + 3 + 1 + 2 + 3 + 1
    assert seen[-1] == (13, 13)
    assert table["summary_id"].is_unique
    for row, item in zip(table.itertuples(), items(posts), strict=False):
        assert (row.summary_id, row.post_id, row.policy) == (item.summary_id, item.post_id, "p")
        completion = prompter.completion(item.text)
        group = Group(prompter.prompt(item.post), [completion])
        alone = completion_logprobs(model, [group], pad_id=0, temperature=0.7)[0][0]
        assert row.logprob == pytest.approx(float(alone.sum()), abs=1e-5)
        assert row.logprob_tokens == len(completion) == 3


def test_rewards_of_summaries(
    tmp_path: Path, tiny: Any, prompter: Prompter, posts: list[Post]
) -> None:
    from evalsuite.models.packing import ScalarModel

    scalar = tiny[0]("gpt2", head="scalar", num_labels=1, initializer_range=0.2, pad_token_id=96)
    reward = ModelReward(ScalarModel(scalar), prompter, shift=0.25)
    out = tmp_path / "scores.parquet"
    score_to_parquet(out, reward_scorer(reward, "rm"), items(posts), identity="a", run={})
    table = pd.read_parquet(out)
    assert list(table.columns) == ["summary_id", "post_id", "policy", "rm"]
    import torch

    for row, item in zip(table.itertuples(), items(posts), strict=False):
        ids = torch.tensor([[*prompter.prompt(item.post), *prompter.completion(item.text)]])
        with torch.no_grad():
            head = float(scalar(input_ids=ids).logits[0, 0])
        assert row.rm == pytest.approx(head - 0.25, abs=1e-5)


def test_nothing_to_do_is_said(tmp_path: Path, model: Any, prompter: Prompter) -> None:
    with pytest.raises(ConfigError, match="there is nothing to do; allowed one post or more"):
        sample_to_parquet(tmp_path / "a.parquet", model, prompter, [], **SETTINGS)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"a.parquet: cannot be written \(.*\)"):
        stream(tmp_path / "file" / "a.parquet", [1], lambda _: pa.table({"x": [1]}), {})


def test_a_full_disk_keeps_finished_blocks(tmp_path: Path) -> None:
    def compute(block: int) -> Any:
        if block == 2:
            raise OSError(28, "No space left on device")
        return pa.table({"x": [block]})

    out = tmp_path / "a.parquet"
    message = r"cannot be written \(No space left on device\); finished blocks are kept"
    with pytest.raises(ConfigError, match=message):
        stream(out, [0, 1, 2], compute, {"a": 1})
    assert json.loads((tmp_path / "a.parquet.parts" / "run.json").read_text()) == {
        "a": 1,
        "blocks": 3,
    }
    done: list[int] = []

    def finish(block: int) -> Any:
        done.append(block)
        return pa.table({"x": [block]})

    assert stream(out, [0, 1, 2], finish, {"a": 1}) == 3
    assert done == [2]
    assert pd.read_parquet(out)["x"].tolist() == [0, 1, 2]
