"""`evalsuite data`: what is in a file of labels, the TL;DR filter, simulated posts and labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from evalsuite.cli.options import CHOICES, OnError, plain, progress_display
from evalsuite.datasets import FORMATS, NoRowLeftError
from evalsuite.datasets.own import COMPARISON, OPTIONAL, PAIR, RATING
from evalsuite.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    no_args_is_help=True,
    help="Look into files of labels, filter raw posts, write simulated labels.",
)

PATHS = (
    "A file (.json, .jsonl, .csv, .parquet, each perhaps .gz), a folder, or org/name on the hub."
)
FIELDS = (
    "Your column for one of our fields; repeat for several. Comparisons need "
    f"{', '.join(COMPARISON)}; pairs whose sides are unknown {', '.join(PAIR)}; ratings "
    f"{', '.join(RATING)}. Optional: {', '.join(OPTIONAL)}. Labelers, batches, splits, groups and "
    "ids are text or whole numbers (2.0 is 2); empty or NaN is not stated."
)
FORMATS_HELP = "Told from a file's first row, or one of these, with their fields. " + " ".join(
    f"{name}: {module.FIELDS}." for name, module in FORMATS.items()
)
SHOWN_REFUSED = 5


@app.command()
def check(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help=PATHS)],
    map_: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads this form
        typer.Option("--map", metavar="FIELD=COLUMN", help=FIELDS),
    ] = None,
    choice: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="VALUE=SIDE", help=CHOICES),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help=FORMATS_HELP)] = "auto",
    on_error: Annotated[
        OnError, typer.Option(help="Stop at the first bad row, or count it and go on.")
    ] = OnError.SKIP,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for check.csv and the refused rows, rejected.jsonl."),
    ] = None,
) -> None:
    """Say what is in files of labels, and which rows would be refused.

    Rows, posts, policies, labelers, batches, splits, choices, confidence, empty
    and identical texts, repeated labels, refused rows.

    Exit code 0: every row is good; 1: some were refused; 2: unreadable, or all
    rows were refused (OUT has both files then, too). Both are replaced.

    \b
    Examples:
      evalsuite data check comparisons/
      evalsuite data check batch18.json --on-error raise
      evalsuite data check mine.csv --map left=answer_a --map right=answer_b \\
          --map left_policy=model_a --map right_policy=model_b --map choice=vote
    """
    import tempfile

    from evalsuite.datasets import load, parse_choices, parse_map
    from evalsuite.datasets.check import describe

    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        rejected = (out or Path(temporary)) / "rejected.jsonl"
        if out is not None:
            _folder(out)
        with progress_display() as progress:
            try:
                tables = load(
                    paths, format=format_, field_map=parse_map(map_ or []),
                    choice_map=parse_choices(choice or []), on_error=on_error.value,
                    rejected_path=rejected, progress=progress,
                )  # fmt: skip
            except NoRowLeftError as error:
                _write(out, describe(error.tables))
                raise
        found = describe(tables)
        for section, rows in found.groupby("section", sort=False):
            _print_counts(console, str(section), zip(rows["item"], rows["count"], strict=True))
        refused = sum(n for why, n in tables.left_out.items() if why.startswith("refused: "))
        if refused:
            _print_refused(console, rejected, refused)
        elif out is not None:
            rejected.unlink(missing_ok=True)  # of an earlier run
        _write(out, found)
    raise typer.Exit(1 if refused else 0)


def _write(out: Path | None, found: pd.DataFrame) -> None:
    from evalsuite.tables import write_atomically

    if out is not None:
        write_atomically(out / "check.csv", lambda path: found.to_csv(path, index=False))


def _print_counts(console: Console, title: str, rows: Iterable[tuple[str, int]]) -> None:
    table = Table(box=None, show_header=False)
    table.add_column("item", overflow="fold")
    table.add_column("count", justify="right")
    for item, count in rows:
        table.add_row(plain(item), f"{count:,}")
    console.print(f"[bold]{title}[/]", table, "", sep="\n")


def _print_refused(console: Console, rejected: Path, refused: int) -> None:
    console.print(f"[bold]{_rows(refused)} refused{'; the first of them' * (refused > 1)}:")
    with rejected.open(encoding="utf-8") as lines:
        for line, _ in zip(lines, range(SHOWN_REFUSED), strict=False):
            console.print("  " + plain(json.loads(line)["reason"]), soft_wrap=True)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be made ({error.strerror})") from None


@app.command("filter")
def filter_(
    path: Annotated[Path, typer.Argument(help="Raw posts: a file or a folder of JSON lines.")],
    out: Annotated[Path, typer.Option(help="Folder for the two sets and the counts.")],
    tokenizer: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Hugging Face tokenizer that counts tokens, e.g. gpt2. Without it a rule "
                     "like GPT-2's, which counts a little low, and no download."),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Stop at the first bad row, or write it to OUT/rejected.jsonl.")
    ] = OnError.RAISE,
) -> None:  # fmt: skip
    """Filter raw Reddit posts as the paper did, counting every drop by its rule.

    Rows have subreddit, title and body (or post, selftext, content), the TL;DR
    inside the body or in summary.

    OUT/queries.jsonl has what passes rules 1 to 6, OUT/supervised.jsonl what
    passes 7 too (TL;DRs of 24 to 48 tokens), OUT/filter.csv the rows dropped by
    each rule. About 5% of rows have the split "valid". All is written or nothing;
    files of an earlier run in OUT are replaced.

    \b
    Examples:
      evalsuite data filter corpus-webis-tldr-17.jsonl.gz --out tldr
      evalsuite data filter raw/ --out tldr --tokenizer gpt2
    """
    from evalsuite.datasets.filter import gpt2_pieces, tokenizer_count
    from evalsuite.datasets.filter_files import filter_files

    count = gpt2_pieces if tokenizer is None else tokenizer_count(tokenizer)
    _folder(out)
    with progress_display() as progress:
        counts, refused = filter_files(path, out, count, on_error is OnError.SKIP, progress)
    table = Table("rule", "dropped", "left", box=None, title=_rows(counts.rows))
    for rule, dropped, left in counts.table():
        table.add_row(rule, f"{dropped:,}", f"{left:,}")
    console = Console(highlight=False)
    console.print(table)
    queries = f"{counts.queries:,} {'query' if counts.queries == 1 else 'queries'}"
    console.print(f"{queries}, {counts.supervised:,} in the supervised set, {out}", soft_wrap=True)
    if refused:
        console.print(f"{_rows(refused)} refused, in {out / 'rejected.jsonl'}", soft_wrap=True)


class Size(StrEnum):
    """Sizes of the simulated world."""

    SMALL = "small"
    DEFAULT = "default"
    RELEASE = "release"


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    size: Annotated[
        Size, typer.Option(help="2,000 comparisons, 20,000, or as many as the whole release.")
    ] = Size.DEFAULT,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
) -> None:
    """Write simulated labels, whose truth is known, in the OpenAI release's format.

    OUT/comparisons and OUT/axis_evals have the labels, OUT/truth what was put in.
    The same seed and size give the same files. In OUT, files of the same names are
    replaced and others stay: take a new folder for another size.

    \b
    Examples:
      evalsuite data simulate --out world
      evalsuite analyze all --data world --out results
    """
    from dataclasses import replace

    from evalsuite.simulation import RELEASE_SIZE, SMALL, WorldConfig, write_release

    sizes = {Size.SMALL: SMALL, Size.DEFAULT: WorldConfig(), Size.RELEASE: RELEASE_SIZE}
    _folder(out)
    with progress_display() as progress:
        task = progress.add_task("simulating", total=None)
        written = write_release(
            out,
            replace(sizes[size], seed=seed),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    Console(highlight=False).print(f"{len(written)} files in {out}", soft_wrap=True)


class DomainName(StrEnum):
    """Kinds of text in the simulated world."""

    TLDR = "tldr"
    CNNDM = "cnndm"


WorldSeed = Annotated[int, typer.Option("--world-seed", min=0, help="Seed of the world.")]


@app.command()
def posts(
    out: Annotated[Path, typer.Option(help="File to write, JSON lines; replaced.")],
    count: Annotated[int, typer.Option(min=1, help="Posts.")],
    start: Annotated[int, typer.Option(min=0, help="Number of the first post.")] = 0,
    world_seed: WorldSeed = 0,
    domain: Annotated[DomainName, typer.Option(help="TL;DR posts, or news.")] = DomainName.TLDR,
) -> None:
    """Write simulated posts with their references, to train and sample on.

    Post 17 is the same whatever else is written. The shipped base models have read
    posts from 1,048,576 on: train on those below 500,000, measure on the rest.

    \b
    Examples:
      evalsuite data posts --count 5000 --out train.jsonl
      evalsuite data posts --start 500000 --count 200 --out held_out.jsonl
    """
    from evalsuite.simulation import World
    from evalsuite.simulation.files import post_lines

    lines = post_lines(World(world_seed), domain.value, count, start=start)
    _write_lines(out, lines)
    Console(highlight=False).print(f"{count:,} posts in {out}", soft_wrap=True)


@app.command()
def label(
    summaries: Annotated[
        list[Path],
        typer.Argument(
            help="Summaries of simulated posts, .parquet or JSON lines, as `evalsuite sample` "
            "writes them: post_id (or prompt_id, id), policy, text (or summary).",
        ),
    ],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs to draw.")],
    out: Annotated[Path, typer.Option(help="File to write, JSON lines; replaced.")],
    posts_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--posts", help="File of `data posts`, where ids are those of our tables."),
    ] = None,
    labelers: Annotated[int, typer.Option(min=1, help="Simulated labelers.")] = 24,
    truth: Annotated[
        bool, typer.Option("--truth", help="Answers without noise; pairs of equal worth left out.")
    ] = False,
    reference_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pairs of a sample with the reference.")
    ] = 0.5,
    valid_share: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of posts in each of valid1 and valid2.")
    ] = 0.1,
    batch: Annotated[str, typer.Option(help="Name of the batch.")] = "simulated",
    world_seed: WorldSeed = 0,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other pairs.")] = 0,
) -> None:  # fmt: skip
    """Label pairs of summaries of simulated posts, in the release's format.

    Draws pairs of different texts of a post, two samples or a sample and the
    reference, and asks the simulated labelers. With --truth the same pairs are
    answered without noise by the worker "truth".

    \b
    Examples:
      evalsuite data label samples.parquet --posts posts.jsonl --pairs 5000 --out labels.jsonl
      evalsuite data label samples.parquet --posts posts.jsonl --pairs 2000 --truth --out truth.jsonl
    """  # noqa: E501
    from evalsuite.pipeline.simulated import read_texts
    from evalsuite.simulation import World
    from evalsuite.simulation.files import label_lines

    texts = [text for path in summaries for text in read_texts(path, posts_file)]
    found = label_lines(
        World(world_seed), texts, pairs,
        labelers=None if truth else labelers, reference_share=reference_share,
        valid_share=valid_share, batch=batch, seed=seed,
    )  # fmt: skip
    _write_lines(out, found.lines)
    console = Console(highlight=False)
    console.print(f"{len(found.lines):,} comparisons in {out}", soft_wrap=True)
    if found.ties:
        console.print(f"{found.ties:,} pairs of equal worth left out")


@app.command()
def utility(
    summaries: Annotated[
        list[Path],
        typer.Argument(help="Summaries of simulated posts, as for `data label`."),
    ],
    posts_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--posts", help="File of `data posts`, where ids are those of our tables."),
    ] = None,
    against: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Policy that differences are taken to; the references by default."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="CSV file for the table."),
    ] = None,
    world_seed: WorldSeed = 0,
) -> None:
    """Say what policies are worth on the simulated world, by its true utility.

    Means by policy, the share preferred to the post's reference, and differences
    paired by post, each with its 95% interval over posts.

    \b
    Examples:
      evalsuite data utility sft.parquet ppo.parquet --posts held_out.jsonl --against sft
    """
    from evalsuite.pipeline.simulated import read_texts
    from evalsuite.pipeline.utility import utility_by_post, utility_table
    from evalsuite.simulation import World
    from evalsuite.tables import write_atomically

    texts = [text for path in summaries for text in read_texts(path, posts_file)]
    table = utility_table(utility_by_post(World(world_seed), texts), against=against)
    shown = Table()
    for name in ("policy", "measure", "against", "value", "SE", "95% interval", "posts"):
        shown.add_column(name, overflow="fold" if name in ("policy", "against") else "ellipsis",
                         no_wrap=name not in ("policy", "against"))  # fmt: skip
    for row in table.to_dict("records"):
        numbers = f"{row['low']:.3f} to {row['high']:.3f}"
        value, se = f"{row['value']:.3f}", f"{row['se']:.3f}"
        words = [plain(str(row[key])) for key in ("policy", "measure", "against")]
        shown.add_row(*words, value, se, numbers, f"{row['n']:,}")
    Console(highlight=False).print(shown)
    if out is not None:
        _folder(out.parent)
        write_atomically(out, lambda path: table.to_csv(path, index=False))


def _write_lines(out: Path, lines: list[bytes]) -> None:
    from evalsuite.tables import write_atomically

    _folder(out.parent)
    write_atomically(out, lambda path: path.write_bytes(b"".join(lines)))
