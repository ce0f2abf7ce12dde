"""Records of steps: what is done, what differs, what is removed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalsuite.errors import ConfigError
from evalsuite.pipeline import ledger
from evalsuite.pipeline.steps import Plan, Step


def two(*, batch: int = 32, action: str = "write", files: tuple[str, ...] = ()) -> Plan:
    """`labels` from `posts`."""
    settings = {"batch_size": batch, "optimizer": {"learning_rate": 0.1}}
    return Plan(
        [
            Step("posts", "posts", "writes posts", "write", {"n": 1}, (), ("posts.txt",)),
            Step(
                "labels/s0", "labels", "labels", action, settings, ("posts",),
                ("labels",), files,
            ),
        ]
    )  # fmt: skip


def make(plan: Plan, folder: Path, name: str, write: Callable[[], Any]) -> None:
    """What a worker does."""
    step = plan[name]
    parts = ledger.key_parts(step, folder)
    resumed = ledger.begin(step, folder, parts)
    write()
    ledger.finish(step, folder, parts, seconds=1.5, resumed=resumed, numbers={"rows": 2})


def make_both(plan: Plan, folder: Path) -> None:
    make(plan, folder, "posts", lambda: (folder / "posts.txt").write_text("a post"))

    def labels() -> None:
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / "one.json").write_text("{}")
        (folder / "labels" / "two.json").write_text("{}")

    make(plan, folder, "labels/s0", labels)


def conditions(plan: Plan, folder: Path) -> list[tuple[str, str]]:
    return [tuple(status) for status in ledger.statuses(plan, folder).values()]


def test_nothing_is_done_in_a_new_folder(tmp_path: Path) -> None:
    assert conditions(two(), tmp_path) == [("to do", ""), ("to do", "waits for posts")]
    assert not list(tmp_path.iterdir())  # looking writes nothing


def test_done_and_what_the_record_holds(tmp_path: Path) -> None:
    make_both(two(), tmp_path)
    assert conditions(two(), tmp_path) == [("done", ""), ("done", "")]
    told = json.loads((tmp_path / "steps" / "labels" / "s0.json").read_text())
    assert told["numbers"] == {"rows": 2}
    assert told["seconds"] == 1.5
    assert sorted(told["files"]) == ["labels/one.json", "labels/two.json"]
    # printf '{}' | sha256sum
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert told["files"]["labels/one.json"]["sha256"] == digest
    assert told["parts"]["settings"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"batch": 64}, "settings.batch_size 32 -> 64"),
        ({"action": "count"}, "action write -> count"),
        ({"files": (__file__,)}, f"file {__file__} is new"),
    ],
)
def test_a_changed_step_names_what_differs(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    make_both(two(), tmp_path)
    assert conditions(two(**change), tmp_path) == [("done", ""), ("changed", why)]
    assert ledger.refusal("labels/s0", why) == (
        f"step labels/s0 was made otherwise: {why}; allowed: another --out, or --redo labels/s0"
    )


def test_a_begun_step_with_other_settings_is_changed_too(tmp_path: Path) -> None:
    plan = two()
    make(plan, tmp_path, "posts", lambda: (tmp_path / "posts.txt").write_text("a post"))
    step = plan["labels/s0"]
    ledger.begin(step, tmp_path, ledger.key_parts(step, tmp_path))
    assert conditions(plan, tmp_path)[1] == ("to do", "")  # nothing of it is there
    (tmp_path / "labels.parts").mkdir()
    assert conditions(plan, tmp_path)[1] == ("part", "")
    assert conditions(two(batch=64), tmp_path)[1] == ("changed", "settings.batch_size 32 -> 64")


def test_outputs_without_a_record_are_a_part(tmp_path: Path) -> None:
    (tmp_path / "posts.txt").write_text("from somewhere")
    assert conditions(two(), tmp_path)[0] == ("part", "begun, without a record")


def test_an_input_made_anew_with_another_result(tmp_path: Path) -> None:
    plan = two()
    make_both(plan, tmp_path)
    make(plan, tmp_path, "posts", lambda: (tmp_path / "posts.txt").write_text("a post"))
    assert conditions(plan, tmp_path) == [("done", ""), ("done", "")]  # the same result
    make(plan, tmp_path, "posts", lambda: (tmp_path / "posts.txt").write_text("other"))
    assert conditions(plan, tmp_path) == [
        ("done", ""), ("changed", "input posts was made anew"),
    ]  # fmt: skip
    assert ledger.status(plan, tmp_path, "labels/s0").condition == "changed"


def test_missing_and_altered_outputs_are_to_do(tmp_path: Path) -> None:
    plan = two()
    make_both(plan, tmp_path)
    (tmp_path / "labels" / "two.json").write_text("[]")  # as long as before
    assert conditions(plan, tmp_path)[1] == ("to do", "labels/two.json was altered")
    (tmp_path / "labels" / "one.json").unlink()
    assert conditions(plan, tmp_path)[1] == ("to do", "labels/one.json is missing")


def test_a_file_touched_or_copied_is_not_altered(tmp_path: Path) -> None:
    plan = two()
    make_both(plan, tmp_path)
    os.utime(tmp_path / "labels" / "two.json", (1, 1))
    assert conditions(plan, tmp_path)[1] == ("done", "")


def test_making_again_begins_without_what_was_left(tmp_path: Path) -> None:
    plan = two()
    make_both(plan, tmp_path)
    (tmp_path / "labels" / "one.json").unlink()
    step = plan["labels/s0"]
    assert not ledger.begin(step, tmp_path, ledger.key_parts(step, tmp_path))
    assert not (tmp_path / "labels").exists()


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    step = two()["posts"]
    parts = ledger.key_parts(step, tmp_path)
    assert not ledger.begin(step, tmp_path, parts)
    (tmp_path / "posts.txt").write_text("half")
    assert ledger.begin(step, tmp_path, parts)
    assert (tmp_path / "posts.txt").read_text() == "half"


def test_times_and_checkpoints_are_no_content(tmp_path: Path) -> None:
    plan = two()
    make(plan, tmp_path, "posts", lambda: (tmp_path / "posts.txt").write_text("a post"))
    run = tmp_path / "labels"

    def trained(moment: str) -> Callable[[], None]:
        def write() -> None:
            (run / "model").mkdir(parents=True)
            (run / "checkpoints").mkdir()
            (run / "model" / "model.safetensors").write_text("weights")
            (run / "model" / "config.json").write_text("{}")
            for name in ("finished.json", "metrics.jsonl", "config.json", "model/evalsuite.json"):
                (run / name).write_text(moment)
            (run / "checkpoints" / "state.json").write_text(moment)

        return write

    make(plan, tmp_path, "labels/s0", trained("at noon"))
    first = ledger.read_record(tmp_path, "labels/s0")
    make(plan, tmp_path, "labels/s0", trained("at night"))
    second = ledger.read_record(tmp_path, "labels/s0")
    assert first is not None
    assert second is not None
    assert first.content == second.content
    assert first.files["labels/config.json"] != second.files["labels/config.json"]
    assert "labels/checkpoints/state.json" not in first.files
    (run / "model" / "config.json").write_text('{"reward_shift": 1}')
    assert conditions(plan, tmp_path)[1] == ("to do", "labels/model/config.json was altered")


def test_files_of_the_user_count_by_content(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").write_text("1")
    plan = two(files=(str(data),))
    make_both(plan, tmp_path)
    os.utime(data / "a.jsonl", (1, 1))
    assert conditions(plan, tmp_path)[1] == ("done", "")
    (data / "a.jsonl").write_text("2")
    assert conditions(plan, tmp_path)[1] == ("changed", f"file {data} differs")
    (data / "a.jsonl").unlink()
    data.rmdir()
    assert "cannot be read (No such file or directory)" in conditions(plan, tmp_path)[1][1]
    assert conditions(plan, tmp_path)[1][0] == "changed"


def test_digests_are_remembered_by_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    path = tmp_path / "a"
    path.write_text("{}")
    os.utime(path, (1, 1))
    digests = ledger.Digests(tmp_path)
    first = digests.of(path)
    digests.save()
    path.write_text("[]")
    os.utime(path, (1, 1))  # nobody can tell, so it was not read again
    assert ledger.Digests(tmp_path).of(path) == first
    os.utime(path, (2, 2))
    assert ledger.Digests(tmp_path).of(path) != first


def test_undo_takes_what_needs_it_too(tmp_path: Path) -> None:
    plan = two()
    make_both(plan, tmp_path)
    assert ledger.undo(plan, tmp_path, ["labels"]) == ["labels/s0"]
    assert conditions(plan, tmp_path) == [("done", ""), ("to do", "")]
    make_both(plan, tmp_path)
    (tmp_path / "labels.parts").mkdir()
    assert ledger.undo(plan, tmp_path, ["posts"]) == ["posts", "labels/s0"]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == []
    assert not (tmp_path / "labels.parts").exists()
    assert ledger.undo(plan, tmp_path, ["posts"]) == []
    with pytest.raises(ConfigError, match="no stage or step is called 'nothing'"):
        ledger.undo(plan, tmp_path, ["nothing"])


def test_an_output_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"step posts: it ended without its output posts\.txt"):
        make(two(), tmp_path, "posts", lambda: None)


def test_a_key_needs_its_inputs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="step labels/s0: its input posts is not made yet"):
        ledger.key_parts(two()["labels/s0"], tmp_path)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "posts.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"posts\.json: is no record of a step; allowed to rem"):
        ledger.statuses(two(), tmp_path)


def test_differences_of_inputs_and_settings_that_come_and_go() -> None:
    was = {"settings": {"a": 1, "b": {"c": 2}}, "inputs": {"x": "1"}, "files": {}}
    assert ledger.difference(was, {**was, "settings": {"a": 1}}) == "settings.b.c 2 -> none"
    assert ledger.difference(was, {**was, "inputs": {}}) == "input x is no longer read"
    assert ledger.difference(was, {**was, "inputs": {"x": "1", "y": "2"}}) == "input y is new"
    assert ledger.difference(was, {**was, "inputs": {"x": None}}) == ""  # not made yet
    assert ledger.difference(was, was) == ""
