"""What commands share: meeting bad rows, showing progress, printing what users wrote."""

from __future__ import annotations

from enum import StrEnum

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class OnError(StrEnum):
    """What to do with a row that its format does not allow."""

    RAISE = "raise"
    SKIP = "skip"


CHOICES = (
    "For your own table: what a value of your choice column means; repeat for several, e.g. "
    "--choice 1=left --choice 2=right. Without it 0 means left and 1 means right, numbers between "
    "are soft and 0.5 is a tie; words are left, right, a, b, model_a, model_b, tie, draw, both, "
    "'tie (bothbad)' in any case, or the name of one of the row's two policies. With it, words "
    "that it does not name mean nothing."
)


def progress_display() -> Progress:
    """Bars on stderr that vanish when done; nothing where stderr is not a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # else it leaves an empty line in logs
    )


def plain(text: str) -> str:
    """User text inside rich markup: brackets are not tags, control characters are shown."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown.replace("[", r"\[")
