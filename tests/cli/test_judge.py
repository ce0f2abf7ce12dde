"""`evalsuite data judge`: from summaries on file to labels on file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from evalsuite.cli.main import app
from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.simulation import World

POLICIES = {"short": "i need advice.", "long": "my sister stole my bike. i need advice."}


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], terminal_width=200)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def counts(output: str) -> dict[str, str]:
    rows = [line.strip().rsplit(maxsplit=1) for line in output.splitlines()[1:]]
    return {row[0]: row[1] for row in rows if len(row) == 2}


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    file = tmp_path / "posts.jsonl"
    run("data", "posts", "--count", 30, "--out", file)
    return file


@pytest.fixture
def summaries(tmp_path: Path) -> Path:
    file = tmp_path / "summaries.jsonl"
    rows = [
        {"post_id": post, "policy": policy, "text": text}
        for post in World(0).posts("tldr", 30).ids for policy, text in POLICIES.items()
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_reward_between_two_policies(posts: Path, summaries: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "labels.jsonl"
    said = run("data", "judge", summaries, "--posts", posts, "--judge", "reward:length",
               "--pairs", 25, "--batch", "b7", "--out", out)  # fmt: skip
    assert f"25 comparisons in {out}" in said
    rows = load(out).comparisons
    assert (rows["choice"] == (rows["right_policy"] == "long")).all()
    assert set(rows["labeler"]) == {"length"}
    assert set(rows["batch"]) == {"b7"}
    lefts = int((rows["choice"] == 0).sum())
    assert 0 < lefts < 25
    assert counts(said) == {"questions": "25", "left": str(lefts), "right": str(25 - lefts),
                            "ties": "0", "unanswered": "0"}  # fmt: skip
    run("data", "check", out)  # exit code 0: no row is refused


def test_against_references_by_the_world(posts: Path, summaries: Path, tmp_path: Path) -> None:
    out, truth = tmp_path / "labels.jsonl", tmp_path / "truth.jsonl"
    words = ["data", "judge", summaries, "--posts", posts, "--pairs", 20, "--against", "ref"]
    run(*words, "--judge", "simulated(5)", "--times", 3, "--out", out)
    rows = load(out).comparisons
    assert len(rows) == 60
    assert rows.groupby(["left_id", "right_id"])["labeler"].nunique().tolist() == [3] * 20
    sides = rows[["left_policy", "right_policy"]] == "reference_summary"
    assert (sides.sum(axis=1) == 1).all()
    run(*words, "--judge", "truth", "--out", truth)
    true = load(truth).sides(["text"])
    world, source = World(0), load(posts).posts.set_index("post_id")["source_id"]
    for row in true.itertuples():
        post = str(source[row.post_id])
        left, right = (world.utility(post, str(t)) for t in (row.left_text, row.right_text))
        assert row.choice == (0.5 if left == right else float(right > left))


def test_labels_of_before_and_pairs_that_have_none(
    posts: Path, summaries: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    words = ["data", "judge", summaries, "--posts", posts, "--out"]
    run(*words, first, "--judge", "reward:length", "--pairs", 10)
    said = run(*words, second, "--judge", f"labels:{first}", "--pairs", 30)
    assert "10 comparisons" in said
    assert counts(said)["unanswered"] == "20"


@pytest.fixture
def chat_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that always prefers B."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            reply = {"choices": [{"message": {"content": "Preferred: B"}}],
                     "usage": {"prompt_tokens": 100, "completion_tokens": 3}}  # fmt: skip
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_language_model_and_its_counts(
    posts: Path, summaries: Path, tmp_path: Path, chat_url: str
) -> None:
    settings, out = tmp_path / "judge.yaml", tmp_path / "llm.jsonl"
    settings.write_text(f"base_url: {chat_url}\nmodel: judge-1\nprice_prompt: 2.0\n")
    words = ["data", "judge", summaries, "--posts", posts, "--pairs", 10, "--out", out,
             "--judge", f"llm:{settings}"]  # fmt: skip
    first = counts(run(*words))
    assert (first["ties"], first["requests"], first["from cache"]) == ("10", "20", "0")
    assert (first["orders differ"], first["share of first preferred"]) == ("10", "0")
    assert (first["prompt tokens"], first["cost"]) == ("2,000", "0.004")
    assert load(out).comparisons["choice"].tolist() == [0.5] * 10
    bytes_ = out.read_bytes()
    second = counts(run(*words))
    assert (second["requests"], second["from cache"]) == ("0", "20")
    assert out.read_bytes() == bytes_


def test_what_is_refused(posts: Path, summaries: Path, tmp_path: Path) -> None:
    words = ["data", "judge", summaries, "--posts", posts, "--out", tmp_path / "out.jsonl"]
    with pytest.raises(ConfigError, match="31 pairs are wanted; allowed up to 30"):
        run(*words, "--pairs", 31, "--judge", "truth")
    with pytest.raises(ConfigError, match="judge is 'people'; allowed simulated"):
        run(*words, "--pairs", 1, "--judge", "people")
    with pytest.raises(ConfigError, match="no summary is by 'ppo'; allowed short, long"):
        run(*words, "--pairs", 1, "--judge", "truth", "--against", "ppo")
    strange = tmp_path / "strange.jsonl"
    strange.write_text('{"post_id": "t3_zzzzzz", "policy": "a", "text": "b"}\n')
    with pytest.raises(DataError, match="post id is 't3_zzzzzz'; allowed an id of one of the po"):
        run("data", "judge", strange, *words[3:], "--pairs", 1, "--judge", "truth")
    assert not (tmp_path / "out.jsonl").exists()
