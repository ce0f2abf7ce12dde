"""What a person sees of a run of steps: a live table on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evalsuite.pipeline.steps import Step

LATELY = 5
SHOWN_NUMBERS = 4
REFRESH_SECONDS = 0.25


@dataclass
class Running:
    """A step at work: since when, how long it is thought to take, how far it says it is."""

    step: Step
    expected: float
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    _first: tuple[int, float] | None = None

    def report(self, done: int, total: int) -> None:
        """It says it is so far."""
        self.done, self.total = done, total
        if self._first is None:
            self._first = (done, time.monotonic())

    def elapsed(self) -> float:
        """Seconds at work."""
        return time.monotonic() - self.began

    def left(self) -> float:
        """Seconds it has left: at the pace of what it reports, else by what was expected."""
        expected = max(self.expected - self.elapsed(), 0.05 * self.expected)
        if self._first is None or not self.total:
            return expected
        done, since = self._first
        share = (self.done - done) / max(self.total - done, 1)
        if share < 0.1:  # too little to tell a pace from
            return expected
        return (time.monotonic() - since) * (1 - share) / share


class Display:
    """Progress of `total` seconds of steps on stderr; nothing is drawn before `open`.

    count: steps to be made. seconds: between two lines where stderr is not a terminal. console:
    another place to write to.
    """

    def __init__(
        self, count: int, *, seconds: float = 30.0, console: Console | None = None
    ) -> None:
        self.count, self.seconds = count, seconds
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.running: dict[str, Running] = {}
        self.lately: deque[str] = deque(maxlen=LATELY)
        self.made = self.failed = 0
        self.left = 0.0
        self._began = self._spoke = time.monotonic()
        self._drawn = 0.0
        self._live: Live | None = None

    def open(self) -> None:
        """Begin to draw, on a terminal."""
        self._began = self._spoke = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, get_renderable=self._table, auto_refresh=False, transient=True
            )
            self._live.start()

    def close(self) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, step: Step, expected: float) -> None:
        """A step is at work."""
        self.running[step.name] = Running(step, expected)

    def end(self, step: Step, seconds: float, numbers: Mapping[str, Any]) -> None:
        """A step is done."""
        self.running.pop(step.name, None)
        self.made += 1
        told = [f"{k} {number(v)}" for k, v in numbers.items() if isinstance(v, (int, float, str))]
        line = " · ".join([f"{step.name} {clock(seconds)}", *told[:SHOWN_NUMBERS]])
        self.lately.append(line)
        if self._live is None:
            self.say(f"[{self.made}/{self.count}] {line}")

    def fail(self, step: Step, message: str) -> None:
        """A step ended with an error."""
        self.running.pop(step.name, None)
        self.failed += 1
        self.say(message, style="bold red")

    def stop(self, name: str) -> None:
        """A step was stopped."""
        self.running.pop(name, None)

    def tick(self, left: float) -> None:
        """Time has gone by; `left`: seconds until all is done."""
        self.left = left
        now = time.monotonic()
        if self._live is not None:
            if now - self._drawn >= REFRESH_SECONDS:
                self._drawn = now
                self._live.refresh()
        elif self.running and now - self._spoke >= self.seconds:
            self._spoke = now
            self.say(self.line())

    def say(self, text: str, style: str = "") -> None:
        """One line of text above the table."""
        self.console.print(escape(text), style=style)

    def line(self) -> str:
        """Where the run is, in one line."""
        at_work = ", ".join(
            f"{name} {run.done}/{run.total}" if run.total else f"{name} {clock(run.elapsed())}"
            for name, run in self.running.items()
        )
        return f"{self.made}/{self.count} steps, {clock(self.left)} left · {at_work}"

    def _table(self) -> Group:
        spent = time.monotonic() - self._began
        failed = f", {self.failed} failed" if self.failed else ""
        head = Text(
            f"{self.made} of {self.count} steps{failed}  {clock(spent)} gone, "
            f"{clock(self.left)} left",
            style="bold",
        )
        bar = ProgressBar(total=max(spent + self.left, 1e-9), completed=spent, width=60)
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for name, justify in (("at work", "left"), ("", "left"), ("gone", "right")):
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        table.add_column("left", justify="right")
        table.add_column("", justify="right")
        for name, run in self.running.items():
            share = f"{run.done}/{run.total}" if run.total else ""
            table.add_row(
                escape(name), escape(run.step.does), clock(run.elapsed()), clock(run.left()), share
            )
        made = [Text(line, style="dim") for line in self.lately]
        return Group(head, bar, table, *made)


def number(value: Any) -> str:
    """A value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
