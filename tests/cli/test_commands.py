"""The command as a user meets it: help that teaches, errors without a traceback, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from evalsuite.cli import main
from evalsuite.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


def evalsuite(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as its own process; plain text, wide enough not to wrap."""
    return subprocess.run(
        [sys.executable, "-m", "evalsuite", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "NO_COLOR": "1", "PYTHONUTF8": "1"},
    )


def commands() -> list[list[str]]:
    """Every command and sub-command, as words."""
    found: list[list[str]] = [[]]

    def walk(command: object, words: list[str]) -> None:
        for name, sub in getattr(command, "commands", {}).items():
            found.append([*words, name])
            walk(sub, [*words, name])

    walk(typer.main.get_command(app), [])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_of_every_command(words: list[str]) -> None:
    from typer.testing import CliRunner

    got = CliRunner().invoke(app, [*words, "--help"], terminal_width=200)
    assert got.exit_code == 0
    assert "Usage:" in got.output
    assert len(got.output.splitlines()) > 8, "a help text that teaches is longer than this"


def test_module_and_version() -> None:
    got = evalsuite("--version")
    assert (got.returncode, got.stderr) == (0, "")
    assert re.fullmatch(r"evalsuite \d+\.\d+\.\d+\n", got.stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["analyze", "prefrence"], "unknown analysis 'prefrence'; did you mean 'preference'?"),
        (["analyze", "all", "axes"], "'all' stands alone; allowed all, or one or more names"),
        (["analyze", "all", "--data", "nothing-here"], "nothing-here"),
        (["page", "no-such-folder"], "no-such-folder: is not a folder"),
    ],
)
def test_refusals_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    got = evalsuite(*words, cwd=tmp_path)
    assert got.returncode == 2
    assert message in got.stderr
    assert "Traceback" not in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_the_keyboard_stops_with_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["evalsuite", "options", "axes"])
    monkeypatch.setattr("evalsuite.pipeline.analyze.describe_settings", interrupt)
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 130
    assert "stopped; results that were finished are in place" in capsys.readouterr().err


def test_readme_names_only_commands_that_exist() -> None:
    known = {" ".join(words) for words in commands()}
    text = (ROOT / "README.md").read_text("utf-8")
    used = re.findall(r"^\s*(?:\.venv/bin/)?evalsuite ((?:[a-z_-]+ ?)+)", text, flags=re.M)
    assert used, "the README shows no command"
    for words in used:
        first, *rest = words.split()
        assert first in known
        if any(k.startswith(first + " ") for k in known):
            assert f"{first} {rest[0]}" in known


def test_make_targets_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    assert set(re.findall(r"`?make ([a-z]+)", text)) <= targets
