"""`evalsuite train`: base models of the world, supervised fine-tuning, reward models, PPO."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from evalsuite.cli.options import plain

app = typer.Typer(
    no_args_is_help=True,
    help="Train: supervised fine-tuning (sft), a reward model (rm), PPO (ppo), a base model of the "
    "simulated world (base). Run it below 'accelerate launch -m evalsuite' for several processes.",
)

Config = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads this form
    typer.Option("--config", "-c", help="YAML with what differs from the defaults."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the run, new or empty.")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting, after those of the file; repeat for several. 'evalsuite train settings' "
        "lists them.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
]
Sweep = Annotated[
    bool,
    typer.Option("--sweep", help="Train at each rate of the sweep's settings and keep the best."),
]


class Trainer(StrEnum):
    """What can be trained."""

    SFT = "sft"
    RM = "rm"
    PPO = "ppo"
    BASE = "base"


@app.command()
def sft(
    out: Out, config: Config = None, set_: Sets = None, resume: Resume = False, sweep: Sweep = False
) -> None:
    """Fine-tune a language model on reference summaries.

    OUT gets metrics.jsonl, samples.jsonl, checkpoints/ and, at the end, model/,
    which transformers loads as it is. The loss is on the completion's tokens.

    \b
    Examples:
      evalsuite train sft --config configs/world/sft.yaml --out runs/sft
      evalsuite train sft -o runs/sft --set model=smollm2-135m \\
          --set data.paths=posts.jsonl --set learning_rate=1e-4
      evalsuite train sft --config configs/world/sft.yaml --out runs/sweep --sweep
      evalsuite train sft --config configs/world/sft.yaml --out runs/sft --resume
      accelerate launch --num_processes 8 -m evalsuite train sft ...

    \b
    Exit codes: 0 trained; 2 refused, the message says why; 75 stopped by SIGTERM
    or Ctrl-C after saving: the same command with --resume goes on.
    """
    from trainers.sft import SFTConfig, sweep_sft, train_sft

    _train(SFTConfig, sweep_sft if sweep else train_sft, out, config, set_, resume)


@app.command()
def rm(
    out: Out, config: Config = None, set_: Sets = None, resume: Resume = False, sweep: Sweep = False
) -> None:
    """Train a reward model on comparisons, from the supervised policy.

    OUT gets metrics.jsonl, checkpoints/, accuracy.csv, pairs.parquet and, at the
    end, model/, a sequence-classification model with one label. Rewards are shifted
    so that references have mean 0; the shift stands in model/evalsuite.json.

    \b
    Examples:
      evalsuite train rm --config configs/world/rm.yaml --out runs/rm
      evalsuite train rm -o runs/rm --set model=runs/sft/model \\
          --set data.paths=comparisons.jsonl --set seeds='[0, 1, 2]'
      evalsuite train rm --config configs/world/rm.yaml --out runs/rm --resume

    \b
    Exit codes: 0 trained; 2 refused, the message says why; 75 stopped by SIGTERM
    or Ctrl-C after saving: the same command with --resume goes on.
    """
    import trainers.reward_model as module

    whole: Any = module
    train = whole.sweep_reward_model if sweep else whole.train_reward_model
    _train(whole.RewardModelConfig, train, out, config, set_, resume)


@app.command()
def ppo(out: Out, config: Config = None, set_: Sets = None, resume: Resume = False) -> None:
    """Train a policy against a reward by PPO, with a penalty on the KL from its start.

    OUT gets metrics.jsonl (reward, KL, entropy, clipping, ...), samples.jsonl,
    checkpoints/ and, at the end, model/. It stops, keeping the last good
    checkpoint, on numbers that are not finite, on KL beyond a limit and on
    collapsed entropy.

    \b
    Examples:
      evalsuite train ppo --config configs/world/ppo.yaml --out runs/ppo
      evalsuite train ppo -o runs/ppo --set model=runs/sft/model \\
          --set reward=runs/rm/model --set data.paths=posts.jsonl
      evalsuite train ppo --config configs/world/ppo.yaml --out runs/ppo --resume

    \b
    Exit codes: 0 trained; 2 refused, the message says why; 75 stopped by SIGTERM
    or Ctrl-C after saving: the same command with --resume goes on.
    """
    import trainers.ppo as module

    whole: Any = module
    _train(whole.PPOConfig, whole.train_ppo, out, config, set_, resume)


@app.command()
def base(out: Out, config: Config = None, set_: Sets = None, resume: Resume = False) -> None:
    """Pretrain a tiny language model on the posts of the simulated world.

    The shipped models world-small, world-medium and world-large are made by it.

    \b
    Example:
      evalsuite train base --config configs/world/base-small.yaml --out runs/base-small

    \b
    Exit codes: 0 trained; 2 refused, the message says why; 75 stopped by SIGTERM
    or Ctrl-C after saving: the same command with --resume goes on.
    """
    import trainers.base as module

    whole: Any = module
    _train(whole.BaseConfig, whole.train_base, out, config, set_, resume)


@app.command()
def settings(
    trainer: Annotated[Trainer, typer.Argument(help="sft, rm, ppo or base.")],
) -> None:
    """List the settings of a trainer, their defaults and what they mean.

    A setting of a group may be given without it where no other has its name:
    learning_rate=1e-4 is optimizer.learning_rate=1e-4.

    \b
    Examples:
      evalsuite train settings sft
      evalsuite train settings ppo
    """
    from trainers.config import describe

    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold")
    for key, default, meaning in describe(settings_of(trainer)):
        table.add_row(plain(key), plain(default), plain(meaning))
    Console(highlight=False).print(table)


def settings_of(trainer: Trainer) -> type[Any]:
    """The dataclass of a trainer's settings."""
    from importlib import import_module

    module, name = {
        Trainer.SFT: ("trainers.sft", "SFTConfig"),
        Trainer.RM: ("trainers.reward_model", "RewardModelConfig"),
        Trainer.PPO: ("trainers.ppo", "PPOConfig"),
        Trainer.BASE: ("trainers.base", "BaseConfig"),
    }[trainer]
    found: type[Any] = getattr(import_module(module), name)
    return found


def _train(
    cls: type[Any],
    train: Callable[..., Path],
    out: Path,
    file: Path | None,
    overrides: list[str] | None,
    resume: bool,
) -> None:
    from evalsuite.config import resolve
    from trainers.config import expand

    config = resolve(cls, file=file, overrides=expand(cls, overrides or []))
    typer.echo(train(config, out, resume=resume))
