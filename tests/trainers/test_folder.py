"""A run's folder: free, held by the same run, held by another."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evalsuite.errors import TrainingError
from evalsuite.tables import Source
from trainers.config import RunConfig
from trainers.folder import FINISHED, Lock, begin, check_folder


@dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    name: str = "a"
    run: RunConfig = field(default_factory=RunConfig)


SOURCE = Source("posts.jsonl", "aa", "posts", 3)


def started(folder: Path, settings: Settings | None = None) -> Path:
    begin(folder, settings or Settings(), kind="sft", total_steps=5, inputs=[SOURCE])
    return folder


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert check_folder(folder, Settings(), kind="sft", resume=False) is False
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_resume_of_nothing_begins(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "new", Settings(), kind="sft", resume=True) is False


def test_config_is_saved_with_its_inputs(tmp_path: Path) -> None:
    saved = json.loads((started(tmp_path) / "config.json").read_text())
    assert saved["kind"] == "sft"
    assert saved["config"]["rate"] == 0.1
    assert saved["inputs"] == [
        {"name": "posts.jsonl", "sha256": "aa", "format": "posts", "rows": 3}
    ]
    assert {"commit", "versions", "command"} <= saved.keys()


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(
        TrainingError, match=r"holds a run already \(not finished\); go on with --r"
    ):
        check_folder(tmp_path, Settings(), kind="sft", resume=False)
    (tmp_path / FINISHED).write_text("{}")
    with pytest.raises(TrainingError, match=r"holds a run already \(finished\)"):
        check_folder(tmp_path, Settings(), kind="sft", resume=False)


def test_resume_tells_finished_from_not(tmp_path: Path) -> None:
    started(tmp_path)
    assert check_folder(tmp_path, Settings(), kind="sft", resume=True) is False
    (tmp_path / FINISHED).write_text("{}")
    assert check_folder(tmp_path, Settings(), kind="sft", resume=True) is True


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for resume in (False, True):
        with pytest.raises(TrainingError, match=r"holds 'thesis\.tex' and no run; allowed a new"):
            check_folder(tmp_path, Settings(), kind="sft", resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_other_settings_are_named(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(TrainingError) as caught:
        check_folder(tmp_path, Settings(rate=0.2, name="b"), kind="sft", resume=True)
    assert "other settings: name was 'a', is 'b'; rate was 0.1, is 0.2; allowed" in str(
        caught.value
    )


def test_cadences_may_differ(tmp_path: Path) -> None:
    started(tmp_path)
    changed = Settings(run=RunConfig(checkpoint_every=7, log_seconds=1))
    assert check_folder(tmp_path, changed, kind="sft", resume=True) is False


def test_another_kind_is_refused(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(TrainingError, match="holds a run of 'sft', not 'rm'; allowed another"):
        check_folder(tmp_path, Settings(), kind="rm", resume=True)


def test_changed_data_are_named(tmp_path: Path) -> None:
    started(tmp_path)
    other = Source("posts.jsonl", "bb", "posts", 3)
    with pytest.raises(TrainingError, match=r"data are not those .* began with: posts\.jsonl"):
        begin(tmp_path, Settings(), kind="sft", total_steps=5, inputs=[other])
    with pytest.raises(TrainingError, match="began with 5 steps and would now have 6"):
        begin(tmp_path, Settings(), kind="sft", total_steps=6, inputs=[SOURCE])
    begin(tmp_path, Settings(), kind="sft", total_steps=5, inputs=[SOURCE])


def test_a_record_of_another_form(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": []}')
    with pytest.raises(TrainingError, match=r"config\.json: is no record of a run"):
        check_folder(tmp_path, Settings(), kind="sft", resume=True)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("x")
    for call in (
        lambda: check_folder(tmp_path / "runs" / "a", Settings(), kind="sft", resume=False),
        lambda: Lock(tmp_path / "runs" / "a"),
    ):
        with pytest.raises(TrainingError, match=r"runs/a: cannot be written \(Not a directory\)"):
            call()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    held = Lock(tmp_path)
    with pytest.raises(TrainingError, match="another process is at work on this run"):
        Lock(tmp_path)
    held.release()
    Lock(tmp_path)
    Lock(tmp_path)  # the one before is gone, and its hold with it
