"""`evalsuite reproduce`: help, configs by name, the plan on paper, a run, its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalsuite.cli.main import app
from evalsuite.cli.reproduce import find_config
from evalsuite.errors import ConfigError, ModelError
from evalsuite.pipeline import drawing, estimates, runner
from evalsuite.pipeline.steps import STAGES, Plan, Step, Work

FAKES = Path(__file__).parents[1] / "pipeline"


def write(
    name: str, *inputs: str, stage: str = "sft", text: str = "x", action: str = "write"
) -> Step:
    return Step(
        name, stage, f"writes {name}", action, {"text": text}, inputs, (f"{name}.txt",),
        work=Work("cpu", seconds=30),
    )  # fmt: skip


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Step]:
    """The plan that a config makes is this list; actions are the fakes."""
    steps = [write("a", stage="posts"), write("b", "a"), write("p", "b", stage="page")]
    monkeypatch.setattr("evalsuite.pipeline.plan.make_plan", lambda settings: Plan(steps))
    monkeypatch.setitem(runner.run.__kwdefaults__, "runner_module", "fake_actions")
    monkeypatch.setattr(estimates, "probe", lambda jobs: 1.0)
    monkeypatch.setattr(drawing, "publish", lambda settings, folder: folder / "p.txt")
    monkeypatch.setattr(estimates, "STARTUP_SECONDS", 0.0)
    monkeypatch.syspath_prepend(str(FAKES))
    return steps


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["reproduce", "--jobs", "1", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_help_teaches() -> None:
    result = CliRunner().invoke(app, ["reproduce", "--help"])
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for stage in STAGES:
        assert stage in text
    for word in ("--dry-run", "--only", "--from", "--redo", "--device", "--jobs", "Exit codes"):
        assert word in text


def test_configs_by_name_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_config("world-tiny").name == "world-tiny.yaml"
    assert find_config("mine.yaml") == Path("mine.yaml")
    assert find_config("some/where") == Path("some/where")
    with pytest.raises(ConfigError, match=r"--config 'wrld': no such name; allowed .*world-tiny"):
        find_config("wrld")
    (tmp_path / "configs" / "reproduce").mkdir(parents=True)
    (tmp_path / "configs" / "reproduce" / "own.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert find_config("own") == Path("configs/reproduce/own.yaml")


def test_a_dry_run_makes_nothing_and_tells_all(plan: list[Step], tmp_path: Path) -> None:
    code, said = call("--out", str(tmp_path / "run"), "--dry-run")
    assert code == 0
    assert not (tmp_path / "run").exists()
    assert "writes b to do: waits for a" in said
    assert "3 of 3 steps to be made, 1:30 of work: about 1:30 with 1 worker" in said


def test_a_run_then_a_dry_run(plan: list[Step], tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    assert call("--out", folder, "--only", "posts")[0] == 0
    code, said = call("--out", folder, "--dry-run")
    assert "2 of 3 steps to be made" in said
    code, said = call("--out", folder)
    assert code == 0
    assert said.strip().endswith("run/p.txt")
    assert (tmp_path / "run" / "p.txt").read_text() == "(x (x (x)))"
    assert "nothing was left to do" in call("--out", folder)[1]

    plan[1] = write("b", "a", text="y")
    code, said = call("--out", folder, "--dry-run")
    assert (
        "step b was made otherwise: settings.text 'x' -> 'y'; allowed: another --out, or --redo b"
        in " ".join(said.split())
    )
    with pytest.raises(ConfigError, match="step b was made otherwise"):
        call("--out", folder)
    assert call("--out", folder, "--redo", "b")[0] == 0
    assert (tmp_path / "run" / "p.txt").read_text() == "(x (y (x)))"


def test_a_failure_is_told_and_the_code_is_2(plan: list[Step], tmp_path: Path) -> None:
    plan[1] = write("b", "a", action="refuse")
    code, said = call("--out", str(tmp_path / "run"))
    assert code == 2
    assert "failed: b: posts.jsonl: has no rows" in said
    assert "not made: p, which needs b" in said


def test_gpus(plan: list[Step], tmp_path: Path) -> None:
    config = {"model": "world-small", "data": {"paths": ["@/data/posts.jsonl"]}}
    plan[1] = Step(
        "sft/a", "sft", "SFT", "sft", {"config": config}, ("a",), ("sft/a",),
        work=Work("train", 4e5, 1e6),
    )  # fmt: skip
    plan[2] = write("p", "sft/a", stage="page")
    code, said = call("--out", str(tmp_path / "run"), "--dry-run", "--device", "h100")
    assert code == 0
    assert "world-small 405,504 parameters, 3 layers of 96 shipped" in " ".join(said.split())
    assert "16 P / N bytes" in said
    assert "Each step fits on one GPU" in said
    code, said = call(
        "--out", str(tmp_path / "run"), "--dry-run", "--device", "h100", "--gpus", "8"
    )  # fmt: skip
    assert (
        "accelerate launch --num_processes 8 -m evalsuite train sft --resume --out "
        f"{tmp_path / 'run'}/sft/a --set model=world-small"
    ) in said
    with pytest.raises(ConfigError, match="--gpus 0; allowed 1 or more"):
        call("--dry-run", "--device", "h100", "--gpus", "0")
    with pytest.raises(ConfigError, match="--device 'tpu': unknown"):
        call("--dry-run", "--device", "tpu")


def test_words_that_go_with_others() -> None:
    with pytest.raises(ConfigError, match="--device, --gpus and --steps go with --dry-run"):
        call("--device", "h100")
    with pytest.raises(ConfigError, match="--redo removes and makes; allowed without --dry-run"):
        call("--dry-run", "--redo", "sft")


def test_nothing_is_removed_where_the_rest_is_refused(plan: list[Step], tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    assert call("--out", folder)[0] == 0
    with pytest.raises(ConfigError, match="step p reads b, which is not made"):
        call("--out", folder, "--only", "page", "--redo", "b")
    assert (tmp_path / "run" / "b.txt").is_file()


def test_data_that_is_not_here_is_named(plan: list[Step], tmp_path: Path) -> None:
    plan[0] = Step("a", "posts", "", "write", {"text": "x"}, outputs=("a.txt",), files=("no.json",))
    assert "not here yet, and read by the run: no.json" in call("--dry-run")[1]
    code, said = call("--out", str(tmp_path / "run"))
    assert code == 2
    assert "failed: a: step a: no.json cannot be read (No such file or directory)" in said


def test_the_paper_on_gpus() -> None:
    """Every stage, both sizes, without a network: PPO of the larger needs several GPUs."""
    result = CliRunner().invoke(
        app, ["reproduce", "-c", "paper", "--dry-run", "--device", "h100", "--gpus", "8"]
    )
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    assert "pythia-6.9b-deduped 6,857,302,016 parameters" in said
    assert "not here yet, and read by the run: data/tldr_3_filtered" in said
    assert "--num_processes 8 -m evalsuite train sft" in said
    assert "ppo/ppo-6.9b-rm-6.9b-32000-b0.05-s0" in said


def test_a_size_that_nobody_knows(
    plan: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalsuite.pipeline.sizes.cached", lambda name: None)
    plan[1] = Step("b", "sft", "", "sft", {"config": {"model": "a/b"}}, ("a",), ("b.txt",))
    with pytest.raises(ModelError, match="a/b: its size is unknown"):
        call("--out", str(tmp_path), "--dry-run", "--device", "h100")
