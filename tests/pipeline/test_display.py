"""What a person sees while steps run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from evalsuite.pipeline import display
from evalsuite.pipeline.display import Display, Running, clock
from evalsuite.pipeline.steps import Step

STEP = Step("sft/a", "sft", "SFT of [small]", "sft")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: time[0])
    return time


def test_time_left_by_expectation_then_by_pace(now: list[float]) -> None:
    run = Running(STEP, 50.0, began=now[0])
    now[0] += 20
    assert run.left() == 30
    run.report(40, 100)  # gone on from 40
    now[0] += 10
    run.report(41, 100)  # a sixtieth of the rest tells nothing
    assert run.left() == 20
    now[0] += 5
    run.report(55, 100)  # a quarter of the rest in 15 s
    assert run.left() == pytest.approx(45)
    run = Running(STEP, 50.0, began=now[0])
    now[0] += 500
    assert run.left() == 2.5  # never nothing: a twentieth


def test_lines_without_a_terminal(now: list[float]) -> None:
    out = io.StringIO()
    shown = Display(2, seconds=30, console=Console(file=out, width=100))
    shown.open()
    shown.begin(STEP, 50.0)
    shown.running["sft/a"].report(3, 10)
    now[0] += 29
    shown.tick(21)
    assert out.getvalue() == ""
    now[0] += 1
    shown.tick(20)
    assert out.getvalue() == "0/2 steps, 0:20 left · sft/a 3/10\n"
    shown.end(STEP, 61.4, {"loss": 2.34567, "rows": [1], "model": "small"})
    assert out.getvalue().endswith("[1/2] sft/a 1:01 · loss 2.346 · model small\n")
    shown.fail(STEP, "sft/a failed: [why]")
    assert out.getvalue().endswith("sft/a failed: [why]\n")
    shown.close()


def test_a_table_on_a_terminal(now: list[float]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=30, force_terminal=True, color_system=None)
    shown = Display(2, console=console)
    shown.open()
    shown.begin(STEP, 50.0)
    now[0] += 10
    shown.tick(90)
    assert "0 of 2 steps  0:10 gone, 1:30 left" in out.getvalue()
    assert "SFT of [small]" in out.getvalue()
    shown.end(STEP, 61.4, {"loss": 2.0})
    now[0] += 1
    shown.tick(80)
    assert "sft/a 1:01 · loss 2" in out.getvalue()
    shown.close()


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
