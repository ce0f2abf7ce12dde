"""The command `evalsuite`: mounts the sub-commands and turns errors into one line and a code.

Exit codes: 0 done, 2 a user's input or setting was refused (the message says which), 75 training
was stopped and can be resumed, 130 stopped from the keyboard. Any other failure is a fault of the
suite and shows its traceback.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

import evalsuite
from evalsuite.cli import analyze, data, judge, models, reproduce, sample, train
from evalsuite.cli.options import plain
from evalsuite.errors import EvalsuiteError

STOPPED = 130
"""Exit code that typer gives a command which the keyboard interrupts."""

app = typer.Typer(
    name="evalsuite",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Evaluate models trained from human preferences: the figures and tables of "
    "'Learning to summarize from human feedback', on its labels, on yours, or on a simulated "
    "world whose truth is known.",
)
app.command("analyze")(analyze.analyze)
app.command("options")(analyze.options)
app.command("page")(analyze.page)
data.app.command("judge")(judge.judge)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.command("reproduce")(reproduce.reproduce)
app.command("sample")(sample.sample)
app.command("score")(sample.score)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"evalsuite {evalsuite.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that stand before the sub-command."""


def run() -> None:
    """Entry point of `evalsuite` and `python -m evalsuite`."""
    # Else threads that wait for each other spin, and on busy cores small models crawl. It is read
    # when torch is first imported; who has set it keeps it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except EvalsuiteError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]error:[/] {plain(str(error))}"
        )
        sys.exit(2)
    except SystemExit as end:
        if end.code == STOPPED:
            Console(stderr=True).print(
                "stopped; results that were finished are in place, 'evalsuite page' joins them"
            )
        raise
