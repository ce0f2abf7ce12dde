"""Settings resolve strictly: defaults, then file, then overrides; every refusal names its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evalsuite.config import as_dict, resolve
from evalsuite.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    steps: int = 4


@dataclass(frozen=True)
class Outer:
    kl_coef: float = 0.05
    name: str | None = None
    splits: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("kl_coef: 0.1\ninner:\n  steps: 8\nsplits: [valid1]\n")
    got = resolve(Outer, file=file, overrides=["kl_coef=0.2", "splits=[valid2]", "name=x"])
    assert got == Outer(0.2, "x", ("valid2",), Inner(8))
    assert as_dict(got) == {
        "kl_coef": 0.2,
        "name": "x",
        "splits": ["valid2"],
        "inner": {"steps": 8},
    }


def test_nested_override_keeps_its_siblings() -> None:
    assert resolve(Outer, overrides=["inner.steps=3"]) == Outer(inner=Inner(3))


@dataclass(frozen=True)
class Rate:
    value: float = 1.0
    schedule: str = "cosine"
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Trainer:
    rate: Rate = field(default_factory=lambda: Rate(schedule="linear", inner=Inner(9)))


def test_a_group_named_in_part_keeps_the_defaults_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("rate: {value: 2.0}\n")
    assert resolve(Trainer, file=file) == Trainer(Rate(2.0, "linear", Inner(9)))
    assert resolve(Trainer, overrides=["rate.inner.steps=3"]).rate == Rate(1.0, "linear", Inner(3))


def test_one_value_for_several() -> None:
    assert resolve(Outer, overrides=["splits=valid2"]).splits == ("valid2",)


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert resolve(Outer, file=file) == Outer()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kl_ceof: 1", "c.yaml: unknown key 'kl_ceof'; did you mean 'kl_coef'?"),
        ("zzz: 1", "c.yaml: unknown key 'zzz'; allowed: kl_coef, name, splits, inner"),
        ("inner: {stpes: 1}", "c.yaml: unknown key 'stpes'; did you mean 'steps'?"),
        ("[1, 2]", "c.yaml: is [1, 2]; allowed a mapping of settings"),
        ("a: [", "c.yaml:1: is not YAML"),
        ("kl_coef: high", "c.yaml: kl_coef is 'high'; input should be a valid number"),
        ("inner: {steps: 1.5}", "c.yaml: inner.steps is 1.5; input should be a valid integer"),
    ],
)
def test_refused_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(Outer, file=file)
    assert message in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file"):
        resolve(Outer, file=tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kl_coef", "--set 'kl_coef'; allowed key=value"),
        ("=3", "--set '=3'; allowed key=value"),
        ("name=[", "--set 'name=[': value is not YAML"),
        ("kl=1", "--set: unknown key 'kl'"),
        ("splits=3", "--set: splits is 3; input should be a valid tuple"),
    ],
)
def test_refused_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Outer, overrides=[override])
    assert message in str(caught.value)
