"""`evalsuite analyze` and `evalsuite page`: labels in, figures, tables and one page out."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from evalsuite.cli.options import CHOICES, OnError, plain, progress_display
from evalsuite.errors import EvalsuiteError


def analyze(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Analyses to run, or 'all': whatever the data allows. Names: preference, "
            "length_control, axes, ratings_length, labelers, agreement, human_best_of_n, "
            "decoding, copying, rouge.",
        ),
    ],
    data: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads this form
        typer.Option(
            help="A file, a folder or a Hugging Face data set id; repeat for several. "
            "Without it the embedded simulated world is used."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("reports"),
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting; goes to every analysis that has it, ANALYSIS.KEY=VALUE to one. "
            "'evalsuite options' lists them.",
        ),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Format of the data; 'auto' looks at its first row.")
    ] = "auto",
    map_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="For your own table: which column holds which field, e.g. --map left=answer_a. "
            "'evalsuite data check --help' lists the fields.",
        ),
    ] = None,
    choice: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="VALUE=SIDE", help=CHOICES),
    ] = None,
    on_error: Annotated[
        OnError,
        typer.Option(help="Stop at the first refused row, or skip it into OUT/rejected.jsonl."),
    ] = OnError.RAISE,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all resampling and simulation.")] = 0,
) -> None:
    """Compute figures and tables from human labels; a page joins them.

    Writes OUT/NAME/{figure.png,figure.pdf,table.csv,provenance.json} and OUT/index.html.

    \b
    Examples:
      evalsuite analyze all
      evalsuite analyze length_control --data comparisons/ --out results
      evalsuite analyze preference --data mine.csv --map left=a --map right=b \\
          --map left_policy=model_a --map right_policy=model_b --map choice=vote
    """
    from evalsuite.datasets import load, parse_choices, parse_map
    from evalsuite.pipeline.analyze import load_analysis, prepare_folder, run_analyses

    console = Console(stderr=True, highlight=False)
    for name in names:
        if name != "all":
            load_analysis(name)
        elif len(names) > 1:
            raise EvalsuiteError("'all' stands alone; allowed all, or one or more names")
    prepare_folder(out)
    started = time.perf_counter()
    seconds: dict[str, float] = {}
    title = "What the human labels say"
    paths: list[str] = list(data or [])
    with progress_display() as progress:
        if not paths:
            from evalsuite.simulation import WorldConfig, write_release

            task = progress.add_task("simulating", total=None)
            folder = out / "simulated_data"
            write_release(folder, WorldConfig(seed=seed))
            progress.remove_task(task)
            seconds["simulate"] = time.perf_counter() - started
            console.print(f"no --data: simulated labels in {folder}, seed {seed}")
            paths, title = [str(folder)], "What simulated labels say"
        start = time.perf_counter()
        tables = load(
            paths,
            format=format_,
            field_map=parse_map(map_ or []),
            choice_map=parse_choices(choice or []),
            on_error=on_error.value,
            rejected_path=out / "rejected.jsonl",
            progress=progress,
        )
    seconds["load"] = time.perf_counter() - start
    console.print(
        f"loaded {len(tables.comparisons):,} comparisons, {len(tables.ratings):,} ratings, "
        f"{len(tables.summaries):,} summaries, {len(tables.posts):,} posts "
        f"({seconds['load']:.1f} s)"
    )
    for reason, rows in tables.left_out.items():
        console.print(f"left out, {reason}: {rows:,}", markup=False)
    run = run_analyses(
        names,
        tables,
        out,
        overrides=set_ or [],
        seed=seed,
        title=title,
        say=lambda line: console.print(line, markup=False),
    )
    _print_times(console, {**seconds, **run.seconds}, time.perf_counter() - started)
    console.print(f"page: {run.page}", markup=False)


def options(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[NAME...]", help="Analyses; all of them by default."),
    ] = None,
) -> None:
    """List the analyses, what each reproduces, and the settings that --set takes.

    \b
    Examples:
      evalsuite options
      evalsuite options length_control
    """
    import analyses
    from evalsuite.pipeline.analyze import describe_settings, load_analysis

    console = Console(highlight=False)
    for name in names or analyses.NAMES:
        module = load_analysis(name)
        console.print(f"[bold]{name}[/]: {plain(module.TITLE)}. {plain(module.SOURCE)}")
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for key, default, meaning in describe_settings(module):
            table.add_row(key, plain(default), plain(meaning))
        console.print(table, "", sep="\n")


def page(
    folder: Annotated[Path, typer.Argument(help="A folder that 'evalsuite analyze' wrote.")],
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "What the human labels say",
) -> None:
    """Write FOLDER/index.html again from the results that lie in it.

    Where the directions of the paper are among them, as after 'evalsuite reproduce', the page sets
    the results beside what the paper found.
    """
    import analyses
    from evalsuite.report.companion import COMPANION
    from evalsuite.report.page import DIRECTIONS, build_page

    if not folder.is_dir():
        raise EvalsuiteError(f"{folder}: is not a folder; allowed a folder of results")
    if not any(folder.glob("*/provenance.json")):
        raise EvalsuiteError(f"{folder}: holds no result; allowed a folder that analyze wrote")
    companion = COMPANION if (folder / DIRECTIONS / "table.csv").exists() else ()
    typer.echo(build_page(folder, title=title, order=analyses.NAMES, companion=companion))


def _print_times(console: Console, seconds: dict[str, float], total: float) -> None:
    table = Table("step", "seconds", box=None, title="where the time went", title_justify="left")
    for step, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        table.add_row(step, f"{spent:.1f}")
    table.add_row("all", f"{total:.1f}", style="bold")
    console.print(table)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    console.print(f"peak memory {peak:.2f} GiB")
