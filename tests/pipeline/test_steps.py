"""Steps and their order."""

from __future__ import annotations

from typing import Any

import pytest

from evalsuite.errors import ConfigError
from evalsuite.pipeline.steps import STAGES, Plan, Step


def step(name: str, *inputs: str, stage: str = "sft", **more: Any) -> Step:
    return Step(name, stage, f"makes {name}", "write", inputs=inputs, **more)


def chain() -> Plan:
    return Plan(
        [
            step("page", "tables", stage="page"),
            step("tables", "sft/small", "sft/large", stage="tables"),
            step("sft/small", "base", stage="sft"),
            step("sft/large", "base", stage="sft"),
            step("base", stage="base"),
        ]
    )


def names(plan: Plan) -> list[str]:
    return [s.name for s in plan]


def test_inputs_come_first_and_the_order_given_is_kept_else() -> None:
    assert names(chain()) == ["base", "sft/small", "sft/large", "tables", "page"]
    assert names(Plan([step("b"), step("a"), step("c", "a")])) == ["b", "a", "c"]


def test_settings_are_as_json_has_them() -> None:
    made = step("a", settings={"rates": (1, 2), "group": {"x": None}})
    assert made.settings == {"rates": [1, 2], "group": {"x": None}}


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"a": {1, 2}}, "set is not JSON"), ({"a": float("nan")}, "Out of range")],
)
def test_settings_that_are_not_json_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=r"step a: settings are not plain JSON .*allowed numbers"):
        step("a", settings=settings)
    with pytest.raises(ConfigError, match=text):
        step("a", settings=settings)


@pytest.mark.parametrize("name", ["", "a b", "../a", "/a", "a//b", ".a", "a/.b"])
def test_names_that_are_no_path_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="allowed names of letters"):
        step(name)


def test_unknown_stage() -> None:
    with pytest.raises(ConfigError, match="step a: stage 'stf'; allowed posts, base, "):
        step("a", stage="stf")


@pytest.mark.parametrize("output", ["../up", "/abs", "a/../../b", "."])
def test_outputs_outside_the_folder(output: str) -> None:
    with pytest.raises(ConfigError, match=r"step a: output .* a path below the run's folder"):
        step("a", outputs=(output,))


def test_unknown_input_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="step b: input 'bsae' is no step; did you mean 'base'"):
        Plan([step("base"), step("b", "bsae")])


def test_a_circle_is_named() -> None:
    with pytest.raises(ConfigError, match="wait for each other: b <- c <- b"):
        Plan([step("a", "b"), step("b", "c"), step("c", "b")])
    with pytest.raises(ConfigError, match="a <- a"):
        Plan([step("a", "a")])


def test_two_of_one_name() -> None:
    with pytest.raises(ConfigError, match="two steps are called a"):
        Plan([step("a"), step("a")])


def test_two_of_one_output() -> None:
    with pytest.raises(ConfigError, match=r"steps a and b both write x\.csv"):
        Plan([step("a", outputs=("x.csv",)), step("b", outputs=("./x.csv",))])
    with pytest.raises(ConfigError, match=r"step b writes x/y into x of step a; .*side by side"):
        Plan([step("a", outputs=("x",)), step("b", outputs=("x/y",))])
    assert len(Plan([step("a", outputs=("x/y",)), step("b", outputs=("x/z", "x2"))])) == 2


def test_readers_and_after() -> None:
    plan = chain()
    assert plan.readers("base") == ["sft/small", "sft/large"]
    assert plan.after(["sft/small"]) == ["sft/small", "tables", "page"]
    assert plan.after(["sft/large", "page"]) == ["sft/large", "tables", "page"]


@pytest.mark.parametrize(
    ("only", "from_", "chosen"),
    [
        ((), None, ["base", "sft/small", "sft/large", "tables", "page"]),
        (("sft",), None, ["sft/small", "sft/large"]),
        (("sft/small", "page"), None, ["sft/small", "page"]),
        (("*/large",), None, ["sft/large"]),
        ((), "samples", ["tables", "page"]),
        (("sft/*", "tables"), "tables", ["tables"]),
    ],
)
def test_select(only: tuple[str, ...], from_: str | None, chosen: list[str]) -> None:
    plan = chain().select(only, from_)
    assert [s.name for s in plan if s.name in plan.chosen] == chosen
    assert len(plan) == 5


def test_select_refuses_what_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no stage or step is called 'tabels'.*mean 'tables'"):
        chain().select(["tabels"])
    with pytest.raises(ConfigError, match="called 'zzz'; allowed base, sft, tables, page"):
        chain().select(["zzz"])
    with pytest.raises(ConfigError, match="--from 'tabels': no such stage; did you mean 'tables'"):
        chain().select(from_="tabels")
    with pytest.raises(ConfigError, match="no step is called 'bas'; did you mean 'base'"):
        chain()["bas"]


def test_stages_are_in_the_order_of_the_run() -> None:
    assert (STAGES[0], STAGES[-1]) == ("posts", "page")
