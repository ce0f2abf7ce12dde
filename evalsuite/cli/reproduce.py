"""`evalsuite reproduce`: the whole paper from a file of settings, skipped where it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console

if TYPE_CHECKING:
    from evalsuite.pipeline.estimates import Estimates
    from evalsuite.pipeline.settings import ReproduceSettings
    from evalsuite.pipeline.steps import Plan

FOLDER = Path("configs") / "reproduce"


def reproduce(
    config: Annotated[
        str,
        typer.Option(
            "--config", "-c", metavar="FILE|NAME",
            help="YAML of settings, or the name of one in configs/reproduce: world-tiny, world, "
            "world-full, smollm2, paper.",
        ),
    ] = "world",
    out: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads this form
        typer.Option("--out", "-o", help="Folder of the run; by default runs/reproduce-NAME."),
    ] = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--only", metavar="STAGE|STEP",
            help="Make these alone: a stage, a step or a pattern such as 'sft/*'; repeat for "
            "several. What they read has to be there.",
        ),
    ] = None,
    from_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from", metavar="STAGE", help="Make this stage and those after it."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan with estimated times; make nothing."),
    ] = False,
    steps: Annotated[
        bool, typer.Option("--steps", help="With --dry-run: a line for every step.")
    ] = False,
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--jobs", "-j",
            help="Worker processes, one thread each; no number depends on it. By default one for "
            "each core, or one alone where there is a GPU.",
        ),
    ] = None,
    redo: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--redo", metavar="STEP",
            help="Remove what this step, stage or pattern made, and what was made from it, then "
            "make it again; repeat for several.",
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set", metavar="KEY=VALUE",
            help="A setting, after those of the file; repeat for several.",
        ),
    ] = None,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--device", metavar="GPU",
            help="With --dry-run: memory, time and launch lines on h200, h100, a100, a100-40 or "
            "l40s.",
        ),
    ] = None,
    gpus: Annotated[
        int, typer.Option("--gpus", help="With --device: so many GPUs a training step, or more.")
    ] = 1,
) -> None:  # fmt: skip
    """Run the whole paper: posts, training, labels, judgments, figures, page.

    What is done already with the same settings and inputs is skipped, so the same command
    goes on with a run that was stopped or killed. A step that was made with other settings
    is refused, never made over: take another --out, or --redo it.

    OUT gets data and checkpoints by stage, steps/ (how each step was made), logs/ (what it
    printed) and report/ (figures, tables, page).

    \b
    Stages:
      posts, base, zero-shot, sft, samples, labels, reward-models, ppo, pool,
      evaluation, gold, tables, analyses, page

    \b
    Examples:
      evalsuite reproduce                          the simulated world, one seed
      evalsuite reproduce --dry-run                its plan, with times on this machine
      evalsuite reproduce --config world-full --out runs/full
      evalsuite reproduce --only sft --only samples
      evalsuite reproduce --from tables --redo analyses
      evalsuite reproduce --config paper --dry-run --device h100 --gpus 8

    \b
    Exit codes: 0 all is made; 2 refused, or a step failed (its log tells why; steps that do
    not need it were made); 75 stopped by SIGTERM or Ctrl-C after saving: the same command
    goes on.
    """
    from evalsuite.errors import ConfigError
    from evalsuite.pipeline import launch, ledger
    from evalsuite.pipeline.plan import make_plan
    from evalsuite.pipeline.runner import default_jobs
    from evalsuite.pipeline.settings import read_settings

    file = find_config(config)
    folder = out or Path("runs") / f"reproduce-{file.stem}"
    if not dry_run and (device or gpus > 1 or steps):
        raise ConfigError("--device, --gpus and --steps go with --dry-run; allowed together")
    if dry_run and redo:
        raise ConfigError("--redo removes and makes; allowed without --dry-run")
    settings = read_settings(file, set_ or [])
    plan = make_plan(settings).select(only or [], from_)
    if gpus < 1:
        raise ConfigError(f"--gpus {gpus}; allowed 1 or more")
    gpu = launch.device_called(device) if device else None
    if jobs is None:
        jobs = 1 if gpu else default_jobs()
    if not dry_run:
        raise SystemExit(_run(plan, settings, folder, jobs, redo or []))
    from evalsuite.pipeline import dry_run as paper
    from evalsuite.pipeline.estimates import Estimates

    console = Console(highlight=False, soft_wrap=True)
    found = ledger.statuses(plan, folder)
    if gpu is None:
        estimator = _estimates(plan, folder, jobs)
        paper.show(console, plan, found, estimator, jobs, every=steps)
        return
    needs = launch.needs(plan, gpu, gpus)
    estimator = Estimates(device=gpu, gpus={need.step: need.gpus for need in needs})
    paper.show(console, plan, found, estimator, jobs, every=steps)
    paper.show_gpus(console, plan, folder, gpu, needs)


def find_config(word: str) -> Path:
    """The file of settings that a word means: a path, or a name in configs/reproduce.

    Raises ConfigError listing the names where there is none.
    """
    import evalsuite
    from evalsuite.errors import ConfigError

    if "/" in word or word.endswith((".yaml", ".yml")):
        return Path(word)
    root = Path(evalsuite.__file__).resolve().parents[1]
    for folder in (FOLDER, root / FOLDER):
        if (folder / f"{word}.yaml").is_file():
            return folder / f"{word}.yaml"
    names = sorted({p.stem for f in (FOLDER, root / FOLDER) for p in f.glob("*.yaml")})
    raise ConfigError(
        f"--config {word!r}: no such name; allowed {', '.join(names) or 'none here'}, or a file"
    )


def _estimates(plan: Plan, folder: Path, jobs: int) -> Estimates:
    """Of this machine, with what steps took here before."""
    from evalsuite.pipeline.estimates import Estimates, probe
    from evalsuite.pipeline.launch import local_device

    found = Estimates(speed=probe(max(jobs, 1)), device=local_device())
    found.learn_from(plan, folder)
    return found


def _run(plan: Plan, settings: ReproduceSettings, folder: Path, jobs: int, redo: list[str]) -> int:
    from evalsuite.pipeline.display import clock
    from evalsuite.pipeline.drawing import publish
    from evalsuite.pipeline.runner import run

    outcome = run(
        plan, folder, jobs=jobs, redo=redo, estimator=_estimates(plan, folder, jobs)
    )  # fmt: skip
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for name, error in outcome.failed.items():
        console.print(f"failed: {name}: {error}", style="bold red", markup=False)
    for name, needs in outcome.waiting.items():
        console.print(f"not made: {name}, which needs {needs}", markup=False)
    made = f"{len(outcome.made)} steps made in {clock(outcome.seconds)}"
    idle = not outcome.made and outcome.code == 0
    console.print(f"{folder}: {'nothing was left to do' if idle else made}", markup=False)
    if outcome.code == 0 and any(s.stage == "page" and s.name in plan.chosen for s in plan):
        typer.echo(publish(settings, folder))
    return outcome.code
