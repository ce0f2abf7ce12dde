"""What a person sees of a run: a live table on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SHOWN_ON_A_LINE = 8


class Display:
    """Progress of `total` steps on stderr; nothing is drawn before `open`.

    quiet: show nothing at all (every process but the main one). seconds: between two lines where
    stderr is not a terminal.
    """

    def __init__(self, kind: str, total: int, *, seconds: float, quiet: bool = False) -> None:
        self.kind, self.total, self.seconds, self.quiet = kind, total, seconds, quiet
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._values: dict[str, Any] = {}
        self._step = self._first = 0
        self._began = self._spoke = time.monotonic()

    def open(self, step: int) -> None:
        """Begin after `step` finished steps; the pace is measured from here."""
        self._step = self._first = step
        self._began = self._spoke = time.monotonic()
        if not self.quiet and self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._table, auto_refresh=False)
            self._live.start()

    def close(self) -> None:
        """Stop drawing; the last table stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, step: int, values: Mapping[str, Any]) -> None:
        """`step` steps are done, with these numbers."""
        self._step = step
        self._values = {**values, **{k: v for k, v in self._values.items() if k not in values}}
        if self._live is not None:
            self._live.refresh()
        elif not self.quiet:
            now = time.monotonic()
            if now - self._spoke >= self.seconds or step in (1, self.total):
                self._spoke = now
                self.say(self.line())

    def say(self, text: str) -> None:
        """One line of text above the table."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def line(self) -> str:
        """The newest numbers in one line."""
        shown = [f"{k} {number(v)}" for k, v in list(self._values.items())[:SHOWN_ON_A_LINE]]
        return " · ".join([f"{self.kind} {self._step}/{self.total}", *shown, f"ETA {self.eta()}"])

    def eta(self) -> str:
        """Time left at the pace so far."""
        done = self._step - self._first
        if not done:
            return "?"
        return clock((time.monotonic() - self._began) / done * (self.total - self._step))

    def _table(self) -> Group:
        head = Text(f"{self.kind}  {self._step}/{self.total}  ETA {self.eta()}", style="bold")
        table = Table(box=None, show_header=False, padding=(0, 2))
        rows = [(name, number(value)) for name, value in self._values.items()]
        for first, second in zip(rows[::2], [*rows[1::2], ("", "")], strict=False):
            table.add_row(*first, *second)
        return Group(head, ProgressBar(total=self.total, completed=self._step, width=60), table)


def number(value: Any) -> str:
    """A value as the table shows it: four digits that count."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
