"""What a person sees: lines where there is no terminal, a table where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trainers import live
from trainers.live import Display, clock, number


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def written(display: Display, terminal: bool = False) -> io.StringIO:
    out = io.StringIO()
    display.console = Console(file=out, force_terminal=terminal, width=100, highlight=False)
    return out


def test_lines_come_now_and_then(passing: Clock) -> None:
    display = Display("sft", 100, seconds=30)
    out = written(display)
    display.open(0)
    for step in range(1, 101):
        passing.now += 2
        display.update(step, {"loss": 1 / step})
    display.close()
    lines = out.getvalue().splitlines()
    # the first step, then each 30 s (15 steps) after the line before, then the last
    assert [line.split()[1] for line in lines] == [
        "1/100", "16/100", "31/100", "46/100", "61/100", "76/100", "91/100", "100/100",
    ]  # fmt: skip
    assert lines[1] == "sft 16/100 · loss 0.0625 · ETA 2:48"  # 84 steps of 2 s


def test_the_pace_is_that_of_this_process(passing: Clock) -> None:
    display = Display("sft", 100, seconds=0)
    out = written(display)
    display.open(90)  # resumed
    assert display.eta() == "?"
    passing.now += 3
    display.update(91, {"loss": 1.0})
    assert "ETA 0:27" in out.getvalue()


def test_a_table_on_a_terminal(passing: Clock) -> None:
    display = Display("ppo", 10, seconds=0)
    out = written(display, terminal=True)
    display.open(0)
    passing.now += 5
    display.update(1, {"reward": 0.51234, "kl_nats": 2.0, "entropy": 1.25})
    display.say("a word [not a tag]")
    display.close()
    shown = out.getvalue()
    for text in ("ppo  1/10  ETA 0:45", "reward", "0.5123", "kl_nats", "a word [not a tag]"):
        assert text in shown


def test_quiet_is_quiet(passing: Clock) -> None:
    display = Display("sft", 2, seconds=0, quiet=True)
    out = written(display, terminal=True)
    display.open(0)
    display.update(1, {"loss": 1.0})
    display.say("nobody hears")
    display.close()
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (123, "2:03"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.000123456, "0.0001235"), (3, "3"), ("x", "x"), (None, "None")]
)
def test_number(value: object, text: str) -> None:
    assert number(value) == text
