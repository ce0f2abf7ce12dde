"""`evalsuite sample` and `evalsuite score` on a shipped base model and a few posts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evalsuite.cli.main import app
from evalsuite.errors import ConfigError, DataError

TEXT = "my friend told me that i should not have gone there last week"
WORDS = TEXT.split()


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Six posts with references; the last two share nothing but their words."""
    rows = [
        {
            "id": f"p{i}", "subreddit": "advice", "title": " ".join(WORDS[i : i + 3]),
            "post": " ".join(WORDS[: 5 + i]), "reference_summary": " ".join(WORDS[i : i + 4]),
        }
        for i in range(6)
    ]  # fmt: skip
    file = tmp_path / "posts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(*words: object) -> str:
    got = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert got.exit_code == 0, got.output
    return got.output


def test_sample_then_score(posts: Path, tmp_path: Path) -> None:
    from evalsuite.models.checkpoints import new_reward_model, save

    out = tmp_path / "samples.parquet"
    common = ["sample", "--policy", "world-small", "--data", posts, "--max-new-tokens", 8]
    text = run(*common, "--k", 2, "--seed", 3, "--out", out)
    assert "12 samples of 6 posts by world-small_t0.7" in text.replace("\n", " ")
    samples = pd.read_parquet(out)
    assert samples["sample"].tolist() == [0, 1] * 6
    assert (samples["tokens"].str.len() <= 8).all()

    # The same noise for fewer posts and more samples.
    few = tmp_path / "few.parquet"
    run(*common, "--k", 4, "--seed", 3, "--limit", 2, "--out", few, "--device", "cpu")
    some = pd.read_parquet(few)
    assert some["post_id"].nunique() == 2
    both = samples.merge(some, on=["post_id", "sample"])
    assert len(both) == 4
    assert (both["text_x"] == both["text_y"]).all()

    new = new_reward_model("world-small", seed=1)
    save(tmp_path / "rm", new.model, new.tokenizer, new.info.replace(reward_shift=0.5))
    rewards = tmp_path / "rewards.parquet"
    run("score", "--model", tmp_path / "rm", "--data", posts, "--summaries", out, "--out", rewards)
    scored = pd.read_parquet(rewards)
    assert set(scored["summary_id"]) == set(samples["summary_id"])
    assert np.isfinite(scored["reward"]).all()

    logprobs = tmp_path / "logprobs.parquet"
    text = run(
        "score", "--model", "world-small", "--data", posts, "--out", logprobs, "--name", "lp"
    )
    assert "6 summaries scored" in text
    table = pd.read_parquet(logprobs)
    assert set(table["policy"]) == {"reference_summary"}
    assert (table["lp"] < 0).all()
    assert (table["lp_tokens"] == 5).all()  # four words and the end


def refused(error: type[Exception], match: str, *words: object) -> None:
    with pytest.raises(error, match=match):
        CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_refusals(posts: Path, tmp_path: Path) -> None:
    sample = ["sample", "--policy", "world-small", "--data", posts]
    out = ["--out", tmp_path / "a.parquet"]
    refused(
        ConfigError, "allowed a file that ends in .parquet", *sample, "--out", tmp_path / "a.csv"
    )
    refused(ConfigError, "--top-p is 0; allowed above 0, up to 1", *sample, *out, "--top-p", 0)
    refused(ConfigError, "--device warp: ", *sample, *out, "--device", "warp")
    refused(DataError, "no prompt of split nowhere", *sample, *out, "--split", "nowhere")
    refused(ConfigError, "prompt format 'tdlr' is unknown", *sample, *out, "--format", "tdlr")
    score = ["score", "--model", "world-small", "--data", posts]
    bad = tmp_path / "bad.parquet"
    pd.DataFrame({"text": ["a"]}).to_parquet(bad)
    refused(DataError, "has no column 'summary_id'; allowed summary_id, post_id", *score, *out,
            "--summaries", bad)  # fmt: skip
    refused(DataError, "posts.jsonl: cannot be read", *score, *out, "--summaries", posts)
    other = tmp_path / "other.parquet"
    row = {"summary_id": ["s"], "post_id": ["x"], "policy": ["p"], "text": ["a"]}
    pd.DataFrame(row).to_parquet(other)
    refused(DataError, "no summary with its text and post; allowed at least one", *score, *out,
            "--summaries", other)  # fmt: skip
