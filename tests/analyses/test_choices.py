"""Settings that name nothing in the data, or are out of range, are refused for every analysis."""

from __future__ import annotations

import dataclasses
import importlib

import pandas as pd
import pytest

import analyses
from analyses import choices
from evalsuite.config import resolve
from evalsuite.errors import ConfigError
from evalsuite.tables import Tables, from_columns

MODULES = {name: importlib.import_module(f"analyses.{name}") for name in analyses.NAMES}
RANGES = {
    "level": ("1.5", "0", "1"), "alpha": ("0", "2"), "bins": ("0", "-3"), "resamples": ("0",),
    "minimum": ("0",), "min_comparisons": ("0",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (name, field.name, value)
        for name, module in MODULES.items()
        for field in dataclasses.fields(module.Options)
        for value in RANGES.get(field.name, ())
    ],
)
def test_numbers_out_of_range_are_refused(name: str, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is {value}.*should be (greater|less)"):
        resolve(MODULES[name].Options, overrides=[f"{key}={value}"])


def test_the_nearest_name_and_a_dozen_others_are_named() -> None:
    names = [f"M{i:02}" for i in range(20)]
    with pytest.raises(ConfigError) as error:
        choices.refuse_unknown("policy", "M111", names, "policies")
    assert str(error.value) == (
        "policy is 'M111'; did you mean 'M11'? policies in the data: M00, M01, M02, M03, M04, M05, "
        "M06, M07, M08, M09, M10, M11 and 8 more"
    )
    with pytest.raises(ConfigError, match=r"splits is 'x'; splits in the data: none$"):
        choices.refuse_unknown("splits", "x", [], "splits")


def test_policies_of_other_domains_and_the_default_are_allowed() -> None:
    tables = Tables(policies=from_columns("policies", {"policy": ["elsewhere"]}))
    choices.check_policy("reference", "elsewhere", tables)
    choices.check_policy("reference", "reference_summary", tables)
    with pytest.raises(ConfigError, match="reference is 'nope'; policies in the data: elsewhere"):
        choices.check_policy("reference", "nope", tables)


def test_the_anchor_is_the_policy_wanted_or_the_one_with_most_comparisons() -> None:
    rows = pd.DataFrame({"left_policy": ["a", "b", "b"], "right_policy": ["b", "c", "c"]})
    assert choices.anchor("c", rows) == "c"
    assert choices.anchor("z", rows) == "b"


def test_splits_are_kept_and_counted() -> None:
    rows = pd.DataFrame({"split": ["valid1", "valid2", None, "valid2"]})
    left_out: dict[str, int] = {}
    assert len(choices.of_splits(rows, (), left_out)) == 4
    assert left_out == {}
    assert len(choices.of_splits(rows, ("valid2",), left_out)) == 2
    assert left_out == {"comparisons of other splits": 2}
    with pytest.raises(
        ConfigError, match=r"splits is 'valid'; did you mean 'valid[12]'.*: valid1,"
    ):
        choices.of_splits(rows, ("valid2", "valid"), left_out)
