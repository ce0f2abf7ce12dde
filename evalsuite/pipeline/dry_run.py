"""A plan on paper: what each stage makes, what is done, how long the rest will take, on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evalsuite.errors import ModelError
from evalsuite.pipeline import estimates, launch
from evalsuite.pipeline.display import clock
from evalsuite.pipeline.launch import GIB, Device, Need
from evalsuite.pipeline.ledger import Status, refusal
from evalsuite.pipeline.schedule import Estimator
from evalsuite.pipeline.steps import STAGES, Plan, Step

FEW = 40
"""Up to so many steps each has its line without being asked for."""


def show(
    console: Console,
    plan: Plan,
    found: Mapping[str, Status],
    estimator: Estimator,
    jobs: int,
    *,
    every: bool = False,
) -> float:
    """Print the plan by stage, with the time it will take; returns that, in seconds.

    every: a line for each step, however many there are.
    """
    chosen = [step for step in plan if step.name in plan.chosen]
    todo = {s.name: estimator.seconds(s) for s in chosen if found[s.name].condition != "done"}
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name, justify in (("stage", "left"), ("steps", "right"), ("done", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("what", overflow="fold")
    table.add_column("work left", justify="right")
    for stage in STAGES:
        steps = [step for step in chosen if step.stage == stage]
        if not steps:
            continue
        done = sum(found[step.name].condition == "done" for step in steps)
        left = sum(todo.get(step.name, 0.0) for step in steps)
        table.add_row(
            f"[bold]{stage}[/]", str(len(steps)), str(done), _what(steps),
            clock(left) if done < len(steps) else "done",
        )  # fmt: skip
        if every or len(chosen) <= FEW:
            for step in steps:
                table.add_row(*_row(step, found[step.name], todo))
    console.print(table)
    for step in chosen:
        status = found[step.name]
        if status.condition == "changed":
            console.print(escape(refusal(step.name, status.why)), style="bold red")
    missing = [f for f in dict.fromkeys(f for s in chosen for f in s.files) if not _there(f)]
    for name in missing:
        console.print(f"not here yet, and read by the run: {escape(name)}", style="bold yellow")
    wall = estimates.wall_seconds(plan, todo, jobs)
    workers = f"{jobs} worker" + "s" * (jobs > 1)
    console.print(
        f"{len(todo)} of {len(chosen)} steps to be made, {clock(sum(todo.values()))} of work: "
        f"about [bold]{clock(wall)}[/] with {workers}"
    )
    return wall


def show_gpus(
    console: Console, plan: Plan, folder: Path, device: Device, needs: Sequence[Need]
) -> None:
    """Print memory and time of the training steps on GPUs, the formulas, and the lines to begin.

    needs: of `launch.needs`.
    """
    console.print("\n[bold]models[/]")
    for name, place in launch.models(plan).items():
        try:
            size = launch.known_size(name)
            told = f"{size.parameters:,} parameters, {size.layers} layers of {size.hidden}"
        except ModelError:
            told = ""
        console.print(f"  {escape(name)}  {told}  {escape(place)}")
    memory, peak = device.memory / 1e9, device.peak / 1e12
    console.print(f"\n[bold]training on {device.name}[/] ({memory:.0f} GB, {peak:.0f} TFLOP/s)")
    console.print(_needs_table(plan, needs))
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in launch.UTILISATION.items())
    console.print(f"\n{launch.FORMULAS}\nutilisation: {shares}\n")
    several = [need for need in needs if need.gpus > 1]
    if not several:
        console.print("Each step fits on one GPU: evalsuite reproduce trains them all.")
        return
    console.print(
        "[bold]Steps on several GPUs[/] are begun by these lines, each once what it reads is made "
        "(evalsuite reproduce --only NAME); the run then takes what they trained. All others "
        "evalsuite reproduce trains on one.\n"
    )
    for need in several:
        text = launch.line(plan[need.step], str(folder.resolve()), need.gpus)
        console.print(text, markup=False, highlight=False)


def _needs_table(plan: Plan, needs: Sequence[Need]) -> Table:
    """A row for each kind of step with the same needs."""
    rows: dict[tuple[str, ...], list[Need]] = {}
    for need in needs:
        parts = ("total", "state", "frozen", "training", "sampling")
        cells = [f"{need.memory[part] / GIB:.1f}" for part in parts]
        model = need.model.rpartition("/")[2]
        rows.setdefault((f"{plan[need.step].action} {model}", str(need.gpus), *cells), []).append(
            need
        )
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("GiB each", overflow="fold")
    for name in ("GPUs", "all", "state", "frozen", "train", "sample", "steps", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, same in rows.items():
        seconds = clock(sum(need.seconds for need in same))
        table.add_row(*map(escape, row), str(len(same)), seconds)
    return table


def _there(name: str) -> bool:
    return Path(name).exists()


def _what(steps: list[Step]) -> str:
    first = escape(steps[0].does)
    return first if len(steps) == 1 else f"{first}; ..."


def _row(step: Step, status: Status, todo: Mapping[str, float]) -> tuple[str, ...]:
    condition = status.condition if not status.why else f"{status.condition}: {status.why}"
    time = clock(todo[step.name]) if step.name in todo else ""
    return (
        f"  {escape(step.name)}",
        "",
        "",
        f"{escape(step.does)} [dim]{escape(condition)}[/]",
        time,
    )
