"""`evalsuite sample` and `evalsuite score`: summaries from a policy, numbers for summaries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from evalsuite.cli.options import plain, progress_display
from evalsuite.errors import ConfigError, DataError

if TYPE_CHECKING:
    from evalsuite.models.checkpoints import Loaded
    from evalsuite.models.parquet import Item
    from evalsuite.models.prompts import Prompter

MODEL = "A folder, world-small, world-medium, world-large, smollm2-135m, or org/name on the hub."
Data = Annotated[
    list[str],
    typer.Option("--data", help="Posts: a file or folder that 'evalsuite data check' reads; "
                 "repeat for several."),
]  # fmt: skip
Split = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this form
    typer.Option(help="Only posts of this split (train, valid1, valid2, or one the data states)."),
]
Limit = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="At most so many posts, chosen by a hash of their ids."),
]
Format = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--format", help="Prompt format: tldr, tldr_reward, tldr_on_news, "
                 "tldr_zero_shot, cnndm, cnndm_zero_shot. The checkpoint's own by default."),
]  # fmt: skip
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes a GPU if there is.")]
BatchTokens = Annotated[
    int, typer.Option(min=1, help="Tokens at once, padding counted: lower it if memory is short.")
]


def sample(
    policy: Annotated[str, typer.Option(help=f"What samples. {MODEL}")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Parquet file for the samples.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Samples a post.")] = 4,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Share of the probability kept.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    split: Split = None,
    limit: Limit = None,
    format_: Format = None,
    max_new_tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, help="Longest sample; the format's by default."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Policy name in the file; else from model and temperature."),
    ] = None,
    device: Device = "auto",
    batch_tokens: BatchTokens = 16384,
) -> None:
    """Sample summaries of posts from a policy, K a post.

    OUT has a row a sample: summary_id, post_id, policy, text, chars, sample (its
    index), tokens, logprobs, their sum logprob, ended (with an EOS). The same
    seed gives the same samples, whatever the batch or the number of posts.

    A run that was broken goes on when the same command is given again; OUT.parts
    has its finished blocks meanwhile.

    \b
    Examples:
      evalsuite sample --policy world-small --data posts.jsonl --out some.parquet
      evalsuite sample --policy runs/ppo/model --data posts.jsonl --split valid2 \\
          --k 16 --temperature 1 --out samples.parquet
    """
    import dataclasses

    from evalsuite.datasets import load
    from evalsuite.models.checkpoints import load_policy
    from evalsuite.models.parquet import Job, sample_to_parquet
    from evalsuite.models.prompts import Prompter
    from trainers.sequences import ppo_prompts

    _parquet(out)
    if not 0 < top_p <= 1:
        raise ConfigError(f"--top-p is {top_p:g}; allowed above 0, up to 1")
    with progress_display() as progress:
        tables = load(data, on_error="skip", progress=progress)
        loaded = load_policy(policy)
        form = format_ or loaded.info.prompt_format or "tldr"
        prompter = Prompter(loaded.tokenizer, form, max_completion_tokens=max_new_tokens)
        _fits(loaded, prompter)
        examples = ppo_prompts(tables, prompter, progress=_bar(progress, "reading posts"))
        chosen = list(examples.rows) if split is None else examples.of(split)
        jobs = [Job(e.id, e.post, e.tokens) for e in _some(chosen, limit)]
        model = loaded.model.to(_device(device))
        known_as = name or _policy_name(loaded.name, temperature, top_p)
        rows = sample_to_parquet(
            out, model, prompter, jobs, policy=known_as,
            identity=_identity(loaded) + str(dataclasses.asdict(prompter.format)),
            k=k, temperature=temperature, top_p=top_p, seed=seed, max_batch_tokens=batch_tokens,
            progress=_bar(progress, "sampling"),
        )  # fmt: skip
    _say(f"{rows:,} samples of {len(jobs):,} posts by {known_as} in {out}", tables.left_out)


def score(
    model: Annotated[str, typer.Option(help=f"A reward model or a policy. {MODEL}")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Parquet file for the scores.")],
    summaries: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Score the summaries in this parquet file (of 'evalsuite sample', say: "
                     "summary_id, post_id, policy, text) and not those of DATA."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Column of the scores; reward or logprob by default."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of log-probs.")] = 1.0,
    split: Split = None,
    limit: Limit = None,
    format_: Format = None,
    device: Device = "auto",
    batch_tokens: BatchTokens = 8192,
) -> None:  # fmt: skip
    """Score summaries: rewards by a reward model, log-probs by a policy.

    OUT has a row a summary: summary_id, post_id, policy, and the score: reward
    (less the model's shift, so references are at 0), or logprob (nats, EOS
    included) with logprob_tokens. Those without text or post are left out.

    A run that was broken goes on when the same command is given again.

    \b
    Examples:
      evalsuite score --model runs/rm/model --data posts.jsonl --out scores.parquet
      evalsuite score --model runs/rm/model --data posts.jsonl \\
          --summaries samples.parquet --out scores.parquet
      evalsuite score --model smollm2-135m --data posts.jsonl --out lp.parquet
    """
    import dataclasses

    from evalsuite.datasets import load
    from evalsuite.models.checkpoints import load_policy
    from evalsuite.models.names import folder_of, read_config
    from evalsuite.models.parquet import logprob_scorer, reward_scorer, score_to_parquet
    from evalsuite.models.prompts import Prompter
    from evalsuite.models.rewards import ModelReward

    _parquet(out)
    with progress_display() as progress:
        tables = load(data, on_error="skip", progress=progress)
        items, left_out = _items(tables, summaries, split, limit)
        made_of = (read_config(folder_of(model)).get("architectures") or [""])[0]
        run: dict[str, Any] = {"name": name, "temperature": temperature}
        if made_of.endswith("ForSequenceClassification"):
            reward = ModelReward.load(
                model, format=format_, device=_device(device), max_batch_tokens=batch_tokens
            )
            scorer, prompter = reward_scorer(reward, name or "reward"), reward.prompter
            run["shift"] = reward.shift
        else:
            loaded = load_policy(model)
            prompter = Prompter(loaded.tokenizer, format_ or loaded.info.prompt_format or "tldr")
            _fits(loaded, prompter)
            scorer = logprob_scorer(
                loaded.model.to(_device(device)), prompter, name=name or "logprob",
                temperature=temperature, max_batch_tokens=batch_tokens,
            )  # fmt: skip
        run["format"] = dataclasses.asdict(prompter.format)
        rows = score_to_parquet(
            out, scorer, items, identity=_weights(folder_of(model)), run=run,
            progress=_bar(progress, "scoring"),
        )  # fmt: skip
    _say(f"{rows:,} summaries scored, {out}", tables.left_out | left_out)


def _items(
    tables: Any, summaries: Path | None, split: str | None, limit: int | None
) -> tuple[list[Item], dict[str, int]]:
    """Summaries with their posts; those left out, by reason."""
    import pandas as pd

    from evalsuite.models.parquet import Item
    from evalsuite.records import Post
    from trainers.sequences import post_splits

    rows = tables.summaries
    if summaries is not None:
        try:
            rows = pd.read_parquet(summaries)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read ({error})", file=str(summaries)) from None
        for column in ("summary_id", "post_id", "policy", "text"):
            if column not in rows.columns:
                raise DataError(
                    f"has no column {column!r}", file=str(summaries),
                    allowed="summary_id, post_id, policy, text",
                )  # fmt: skip
    splits = post_splits(tables)
    chosen = [i for i in tables.posts["post_id"] if split is None or splits[i] == split]
    wanted = {id_ for (id_,) in _some([(id_,) for id_ in chosen], limit)}

    def given(value: object) -> str | None:
        return value if isinstance(value, str) and value else None

    posts = {
        row.post_id: Post(
            row.text, given(row.title), given(row.section), given(row.domain) or "tldr",
            given(row.source_id),
        )
        for row in tables.posts.itertuples() if given(row.text) and row.post_id in wanted
    }  # fmt: skip
    left_out = {"no summary text": 0, "no post text": 0}
    items = []
    for row in rows.itertuples():
        if given(row.post_id) is None or row.post_id not in posts:
            chosen_out = given(row.post_id) is not None and row.post_id in splits
            left_out["no post text"] += not chosen_out or row.post_id in wanted
        elif given(row.text) is None:
            left_out["no summary text"] += 1
        else:
            items.append(
                Item(row.summary_id, row.post_id, row.policy, posts[row.post_id], row.text)
            )
    if not items:
        raise DataError("no summary with its text and post", allowed="at least one")
    return items, {why: count for why, count in left_out.items() if count}


def _some(rows: Any, limit: int | None) -> list[Any]:
    """At most `limit` rows, those whose ids have the smallest hash, in their order."""
    from evalsuite.records import content_id

    every = list(rows)
    if limit is None or limit >= len(every):
        return every
    by_hash = sorted(range(len(every)), key=lambda at: content_id("limit", every[at][0]))
    return [every[at] for at in sorted(by_hash[:limit])]


def _parquet(out: Path) -> None:
    if out.suffix != ".parquet":
        raise ConfigError(f"--out {out}: allowed a file that ends in .parquet")


def _fits(loaded: Loaded, prompter: Prompter) -> None:
    from evalsuite.models.checkpoints import check_context

    longest = prompter.max_prompt_tokens + prompter.max_completion_tokens
    check_context(loaded.model, longest, loaded.name)


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name}: {reason}; allowed auto, cpu, cuda, cuda:N") from None
    return name


def _identity(loaded: Loaded) -> str:
    return loaded.info.weights_sha256 or _weights(loaded.path)


def _weights(folder: Path) -> str:
    from evalsuite.models.info import weights_sha256

    return weights_sha256(folder)


def _policy_name(model: str, temperature: float, top_p: float) -> str:
    name = f"{model.replace('/', '-')}_t{temperature:g}"
    return name if top_p == 1 else f"{name}_p{top_p:g}"


def _bar(progress: Any, what: str) -> Any:
    """A callback (done, total) that draws one bar."""
    task = progress.add_task(what, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _say(text: str, left_out: dict[str, int]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(plain(text))
    for why, count in left_out.items():
        console.print(f"left out: {count:,} {plain(why)}")
