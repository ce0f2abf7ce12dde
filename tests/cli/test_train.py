"""`evalsuite train`: files and --set onto settings, refusals, codes, a run end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evalsuite.cli.main import app
from evalsuite.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
POSTS = [
    {
        "id": f"p{n}", "subreddit": "pets", "title": "my dog",
        "post": f"i have {n} dogs and one cat.", "reference_summary": f"{n} dogs and one cat",
    }
    for n in range(40)
]  # fmt: skip


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "evalsuite", "train", *words]


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    file = tmp_path / "posts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in POSTS))
    return file


def start(*words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        cwd=ROOT,
    )  # fmt: skip


def small(posts: Path, out: Path) -> list[str]:
    sets = [
        "model=world-small", f"data.paths={posts}", "max_prompt_tokens=128", "batch_size=4",
        "epochs=4", "learning_rate=1e-3", "sample_prompts=0", "run.log_seconds=0", "device=cpu",
    ]  # fmt: skip
    return ["sft", "--out", str(out), *(word for text in sets for word in ("--set", text))]


def test_a_run_that_is_stopped_and_goes_on(tmp_path: Path, posts: Path) -> None:
    """SIGTERM in the middle: code 75 and a line; then --resume: code 0 and the model's folder."""
    out = tmp_path / "run"
    words = small(posts, out)
    with start(*words) as first:
        assert first.stderr is not None
        for line in first.stderr:
            if line.startswith("sft "):  # the first step is done
                break
        first.send_signal(signal.SIGTERM)
        said = first.stderr.read()
    assert first.returncode == 75, said
    assert "saved; go on with the same command and --resume" in said.replace("\n", " ")
    done = int(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"])
    with start(*words) as refused:
        _, said = refused.communicate()
    assert refused.returncode == 2
    assert f"error: {out}: holds a run already (not finished); go on with --resume" in said
    with start(*words, "--resume") as second:
        told, said = second.communicate()
    assert second.returncode == 0, said
    assert told.strip() == str(out / "model")
    assert f"goes on after step {done} of" in said
    assert (out / "model" / "model.safetensors").is_file()


def test_short_keys_and_files(tmp_path: Path, posts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trainers.sft as module

    seen = []

    def train(config: Any, out: Path, *, resume: bool) -> Path:
        seen.append((config, out, resume))
        return out

    monkeypatch.setattr(module, "train_sft", train)
    file = tmp_path / "sft.yaml"
    file.write_text("batch_size: 4\noptimizer: {warmup: 5}\n")
    words = ["train", "sft", "-c", str(file), "-o", "runs/x", "--set", "learning_rate=1e-3",
             "--set", f"paths={posts}", "--resume"]  # fmt: skip
    got = CliRunner().invoke(app, words)
    assert got.exit_code == 0, got.output
    assert got.output.strip() == "runs/x"
    config, out, resume = seen[0]
    assert (config.batch_size, out, resume) == (4, Path("runs/x"), True)
    assert (config.optimizer.learning_rate, config.optimizer.warmup) == (1e-3, 5)
    assert config.data.paths == (str(posts),)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sft", "--set", "learning_rat=1"], "unknown key 'learning_rat'"),
        (["sft", "--set", "optimizer.learning_rat=1"], "did you mean 'learning_rate'?"),
        (["sft", "--set", "batch_size=x"], "batch_size is 'x'"),
        (["sft", "--config", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_refused_settings(tmp_path: Path, words: list[str], text: str) -> None:
    got = CliRunner().invoke(app, ["train", *words, "--out", str(tmp_path / "x")])
    assert isinstance(got.exception, ConfigError)
    assert text in str(got.exception)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("trainer", ["sft", "rm", "ppo", "base"])
def test_settings_of_each_trainer_are_explained(trainer: str) -> None:
    got = CliRunner().invoke(app, ["train", "settings", trainer], terminal_width=200)
    assert got.exit_code == 0, got.output
    assert "optimizer.learning_rate" in got.output
    assert "the highest." in got.output


def configs() -> list[Path]:
    names = ("sft", "rm", "ppo", "base")
    return [p for p in sorted((ROOT / "configs").rglob("*.yaml")) if p.stem.split("-")[0] in names]


@pytest.mark.parametrize("file", configs(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_configs_resolve(file: Path) -> None:
    """Every file of configs/ is settings of its trainer, and opens with its command."""
    from evalsuite.cli.train import Trainer, settings_of
    from evalsuite.config import resolve

    trainer = Trainer(file.stem.split("-")[0])
    assert resolve(settings_of(trainer), file=file) is not None
    place = file.relative_to(ROOT)
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert any(f"train {trainer} " in line for line in head), "opens with its command"
    assert any(f"--config {place}" in line for line in head)
