"""`evalsuite data judge`: a judge labels pairs of summaries of any posts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from evalsuite.cli.options import plain, progress_display

JUDGE = (
    "Who answers: simulated (the world's labelers; simulated(12) for so many), truth (the world's, "
    "without noise), labels:PATH (labels on file), reward:FOLDER (a reward model, or rouge, "
    "length, mean:A,B; reward(0.5):FOLDER draws answers at this Bradley-Terry temperature), "
    "llm:SETTINGS.yaml (a language model behind an OpenAI-compatible endpoint)."
)


def judge(
    summaries: Annotated[
        list[Path],
        typer.Argument(
            help="Summaries, .parquet or JSON lines, as `evalsuite sample` writes them: post_id "
            "(or prompt_id, id), policy, text (or summary).",
        ),
    ],
    posts_file: Annotated[
        list[str],
        typer.Option("--posts", help="Their posts: a file or folder that 'evalsuite data check' "
                     "reads; repeat for several."),
    ],
    words: Annotated[str, typer.Option("--judge", help=JUDGE)],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs to draw.")],
    out: Annotated[Path, typer.Option(help="File to write, JSON lines; replaced.")],
    against: Annotated[
        Optional[str],  # noqa: UP045 - typer reads this form
        typer.Option(help="Policy on one side of every pair; reference_summary is the references "
                     "of POSTS. Without it, any two different texts in SUMMARIES of one post."),
    ] = None,
    times: Annotated[
        int, typer.Option(min=1, help="Answers to each pair; simulated labelers differ.")
    ] = 1,
    batch: Annotated[str, typer.Option(help="Name of the batch.")] = "judged",
    seed: Annotated[int, typer.Option(min=0, help="Of the pairs and of what a judge draws.")] = 0,
    world_seed: Annotated[
        int, typer.Option("--world-seed", min=0, help="Seed of the simulated world.")
    ] = 0,
    device: Annotated[str, typer.Option(help="Of a reward model: cpu, cuda.")] = "cpu",
) -> None:  # fmt: skip
    """Label pairs of summaries by a judge: labelers, a reward model, an LLM.

    Draws pairs of different texts of a post, sides by chance, asks the judge and
    writes what it answers as labels that all other commands read. Ties are kept
    (choice 0.5); pairs it does not answer are left out and counted.

    SETTINGS.yaml of an LLM has at least base_url and model:

    \b
      base_url: http://localhost:8000/v1
      model: my-model
      api_key_env: MY_KEY        # variable that holds the key, if one is needed
      requests_per_minute: 60
      token_budget: 1000000      # or cost_budget, with price_prompt, price_reply

    Each pair is asked in both orders. Replies are kept in judge-replies.sqlite
    beside SETTINGS.yaml: a run that was broken goes on when the same command is
    given again, and asks nothing twice.

    \b
    Examples:
      evalsuite data judge samples.parquet --posts posts.jsonl --judge simulated \\
          --pairs 2000 --against reference_summary --out labels.jsonl
      evalsuite data judge a.parquet b.parquet --posts posts.jsonl \\
          --judge reward:runs/rm/model --pairs 500 --against sft --out gold.jsonl
      evalsuite data judge samples.parquet --posts posts.jsonl --judge llm:judge.yaml \\
          --pairs 200 --against reference_summary --out llm.jsonl
    """
    import numpy as np

    from evalsuite.datasets import load
    from evalsuite.judges.judge import tally
    from evalsuite.judges.lines import label_lines
    from evalsuite.judges.llm import LLMJudge
    from evalsuite.judges.pairs import draw_questions, posts_of, references_of, written_of
    from evalsuite.judges.words import parse_judge
    from evalsuite.pipeline.simulated import read_rows
    from evalsuite.records import REFERENCE_POLICY
    from evalsuite.simulation import World
    from evalsuite.tables import write_atomically

    with progress_display() as progress:
        tables = load(posts_file, on_error="skip", progress=progress)
        known, references = posts_of(tables), references_of(tables)
        written = written_of((row for path in summaries for row in read_rows(path)), known)
        against = REFERENCE_POLICY if against == "ref" else against
        if against == REFERENCE_POLICY:
            written += references
        rng = np.random.default_rng(seed)
        questions = draw_questions(written, pairs, rng, against=against, times=times)
        chosen = parse_judge(
            words, seed=seed, world=World(world_seed), device=device,
            references={one.post.id: one.text for one in references},
        )  # fmt: skip
        task = progress.add_task(f"asking {plain(chosen.name)}", total=len(questions))
        answers = chosen(
            questions,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    found = label_lines(questions, answers, batch=batch)
    write_atomically(out, lambda path: path.write_bytes(b"".join(found.lines)))
    console = Console(highlight=False)
    console.print(f"{len(found.lines):,} comparisons in {plain(str(out))}", soft_wrap=True)
    counts: dict[str, float] = dict(tally(answers)._asdict())
    if isinstance(chosen, LLMJudge):
        counts |= chosen.counts.report()
    table = Table(box=None, show_header=False)
    table.add_column("item")
    table.add_column("count", justify="right")
    for name, count in counts.items():
        shown = f"{count:,}" if isinstance(count, int) else f"{count:.4g}"
        table.add_row(name, shown)
    console.print(table)
