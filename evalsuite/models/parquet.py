"""Samples and scores into a parquet file, block by block: a broken run goes on where it stopped.

Each finished block of posts is a file of its own in `OUT.parts`, written under another name first;
when all are there they become OUT and the folder goes. A run that finds the folder takes what is
in it, once it has seen that the settings, the model and the inputs are the same.
Proof: tests/models/test_parquet.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evalsuite.errors import ConfigError
from evalsuite.models.packing import Group
from evalsuite.models.prompts import Prompter
from evalsuite.models.rewards import Floats, ModelReward, RewardRequest
from evalsuite.models.sampling import MAX_BATCH_TOKENS, Prompt, sample
from evalsuite.models.scoring import completion_logprobs
from evalsuite.records import Post, Summary, content_id, shown
from evalsuite.tables import write_atomically

Progress = Callable[[int, int], object]

POSTS_A_BLOCK, SAMPLES_A_BLOCK = 64, 4096
"""Most posts, and samples of more than one post, whose work is lost when a run breaks."""

SAMPLES = pa.schema(
    [
        ("summary_id", pa.string()), ("post_id", pa.string()), ("policy", pa.string()),
        ("text", pa.string()), ("chars", pa.int32()), ("sample", pa.int32()),
        ("tokens", pa.list_(pa.int32())), ("logprobs", pa.list_(pa.float32())),
        ("logprob", pa.float64()), ("ended", pa.bool_()),
    ]
)  # fmt: skip
"""Columns of a file of samples. tokens: with the EOS where `ended`. logprobs: nats a token, at the
sampling temperature; logprob: their sum."""


def stream(
    out: Path,
    blocks: Sequence[Any],
    compute: Callable[[Any], pa.Table],
    run: Mapping[str, Any],
    finished: Callable[[Any], object] | None = None,
) -> int:
    """Write the tables of all blocks to `out`, one after the other; the number of rows.

    run: plain data that says what is computed; a folder of parts with another `run` is refused.
    finished: called with each block once it is on file, also those that were there already.

    Raises ConfigError naming the first setting that differs, or a folder that cannot be written.
    """
    parts = out.with_name(out.name + ".parts")
    told = json.loads(json.dumps({**run, "blocks": len(blocks)}))
    try:
        parts.mkdir(parents=True, exist_ok=True)
        _same_run(parts, told)
        files = [parts / f"{number:06d}.parquet" for number in range(len(blocks))]
        for file, block in zip(files, blocks, strict=True):
            if not file.is_file():
                _write(compute(block), file)
            if finished is not None:
                finished(block)
        rows = _join(files, out)
    except OSError as error:
        reason = error.strerror or str(error)
        kept = "; finished blocks are kept, the same command goes on" if parts.is_dir() else ""
        raise ConfigError(f"{out}: cannot be written ({reason}){kept}") from error
    shutil.rmtree(parts)
    return rows


def _same_run(parts: Path, run: dict[str, Any]) -> None:
    file = parts / "run.json"
    if not file.is_file():
        text = json.dumps(run, indent=2)
        write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    for key in run | before:
        if run.get(key) != before.get(key):
            raise ConfigError(
                f"{parts}: holds part of a run with {key} {shown(before.get(key))}, this one has "
                f"{shown(run.get(key))}; allowed the same settings, another file, or no such folder"
            )


def _write(table: pa.Table, file: Path) -> None:
    write_atomically(file, lambda path: pq.write_table(table, path))


def _join(files: Sequence[Path], out: Path) -> int:
    rows = 0

    def write(path: Path) -> None:
        nonlocal rows
        with pq.ParquetWriter(path, pq.read_schema(files[0])) as writer:
            for file in files:
                table = pq.read_table(file)
                writer.write_table(table)
                rows += table.num_rows

    write_atomically(out, write)
    return rows


class Job(NamedTuple):
    """A post to sample for: its id keys the noise, tokens are its prompt."""

    id: str
    post: Post
    tokens: Sequence[int]


def sample_to_parquet(
    out: Path,
    model: Any,
    prompter: Prompter,
    jobs: Sequence[Job],
    *,
    policy: str,
    identity: str,
    k: int,
    temperature: float,
    seed: int,
    top_p: float = 1.0,
    first_sample: int = 0,
    fixed_length: bool = False,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    progress: Progress | None = None,
) -> int:
    """K samples of each post, columns as `SAMPLES`, K rows a post in their order; rows written.

    policy: what the samples' policy is called. identity: of the model's weights, so that a broken
    run does not go on with another model. progress: called with finished and all samples. Other
    arguments as `sampling.sample`. Raises as `stream` and `sample`.
    """
    settings: dict[str, Any] = {
        "k": k, "temperature": temperature, "top_p": top_p, "seed": seed,
        "first_sample": first_sample, "fixed_length": fixed_length,
        "max_new_tokens": prompter.max_completion_tokens, "eos_id": prompter.eos_id,
    }  # fmt: skip
    told = {
        "what": "samples", "policy": policy, "model": identity, **settings,
        "prompts": content_id(*(part for job in jobs for part in (job.id, *job.tokens))),
    }  # fmt: skip
    report = _Report(progress, k * len(jobs))

    def compute(block: Sequence[Job]) -> pa.Table:
        drawn = sample(
            model, [Prompt(job.id, job.tokens) for job in block], pad_id=prompter.pad_id,
            max_batch_tokens=max_batch_tokens, **settings,
            progress=lambda done, _: report.within(k * done),
        )  # fmt: skip
        rows = [
            _sample_row(prompter, policy, job, first_sample + number, tokens, logprobs)
            for job, samples in zip(block, drawn, strict=True)
            for number, (tokens, logprobs) in enumerate(
                zip(samples.tokens, samples.logprobs, strict=True)
            )
        ]
        return pa.Table.from_pylist(rows, schema=SAMPLES)

    blocks = _blocks(jobs, max(1, SAMPLES_A_BLOCK // max(k, 1)))
    return stream(out, blocks, compute, told, lambda block: report.finished(k * len(block)))


def _sample_row(
    prompter: Prompter, policy: str, job: Job, number: int, tokens: list[int], logprobs: Any
) -> dict[str, Any]:
    text = prompter.text(tokens)
    return {
        "summary_id": Summary(policy, text, job.id).id, "post_id": job.id, "policy": policy,
        "text": text, "chars": len(text), "sample": number, "tokens": tokens,
        "logprobs": logprobs, "logprob": float(np.sum(logprobs, dtype=np.float64)),
        "ended": prompter.eos_id in tokens,
    }  # fmt: skip


class Item(NamedTuple):
    """A summary to be scored, and its post."""

    summary_id: str
    post_id: str
    policy: str
    post: Post
    text: str


Scorer = Callable[[Sequence[Item]], Mapping[str, Floats]]
"""Columns of numbers, one for each item."""


def reward_scorer(reward: ModelReward, name: str = "reward") -> Scorer:
    """One column: the reward, less the model's shift."""

    def score(items: Sequence[Item]) -> Mapping[str, Floats]:
        requests = [RewardRequest(i.post, i.text, prompt_id=i.post_id) for i in items]
        return {name: reward(requests)}

    return score


def logprob_scorer(
    model: Any, prompter: Prompter, *, name: str = "logprob", temperature: float = 1.0,
    max_batch_tokens: int = 8192,
) -> Scorer:  # fmt: skip
    """Two columns: the log-prob of the summary with its EOS, nats, and its number of tokens."""

    def score(items: Sequence[Item]) -> Mapping[str, Floats]:
        places: dict[str, list[int]] = {}
        for at, item in enumerate(items):
            places.setdefault(item.post_id, []).append(at)
        groups = []
        for members in places.values():
            completions = [prompter.completion(items[i].text) for i in members]
            groups.append(Group(prompter.prompt(items[members[0]].post), completions))
        found = completion_logprobs(
            model, groups, pad_id=prompter.pad_id, temperature=temperature,
            max_batch_tokens=max_batch_tokens,
        )  # fmt: skip
        sums, counts = np.empty(len(items)), np.empty(len(items))
        for members, scored in zip(places.values(), found, strict=True):
            sums[members] = [np.sum(values, dtype=np.float64) for values in scored]
            counts[members] = [len(values) for values in scored]
        return {name: sums, f"{name}_tokens": counts}

    return score


def score_to_parquet(
    out: Path,
    score: Scorer,
    items: Iterable[Item],
    *,
    identity: str,
    run: Mapping[str, Any],
    progress: Progress | None = None,
) -> int:
    """A score table: summary_id (each once), post_id, policy, the scorer's columns; its rows.

    Summaries of one post are scored together, so rows stand by post. identity: of the scorer's
    weights. run: its settings. progress: called with finished and all summaries. Raises as
    `stream`.
    """
    by_post: dict[str, list[Item]] = {}
    distinct = {item.summary_id: item for item in items}
    for item in distinct.values():
        by_post.setdefault(item.post_id, []).append(item)
    ordered = [item for group in by_post.values() for item in group]
    told = {
        "what": "scores", "model": identity, **run,
        "summaries": content_id(*(part for i in ordered for part in (*i[:3], i.text, i.post))),
    }  # fmt: skip
    report = _Report(progress, len(ordered))

    def compute(block: Sequence[list[Item]]) -> pa.Table:
        rows = [item for group in block for item in group]
        columns: dict[str, Any] = {
            "summary_id": [item.summary_id for item in rows],
            "post_id": [item.post_id for item in rows],
            "policy": [item.policy for item in rows],
        }
        return pa.table(columns | {name: np.asarray(x) for name, x in score(rows).items()})

    def finished(block: Sequence[list[Item]]) -> None:
        report.finished(sum(map(len, block)))

    return stream(out, _blocks(list(by_post.values())), compute, told, finished)


def _blocks(rows: Sequence[Any], most: int = POSTS_A_BLOCK) -> list[Sequence[Any]]:
    if not rows:
        raise ConfigError("there is nothing to do; allowed one post or more")
    size = min(most, POSTS_A_BLOCK)
    return [rows[at : at + size] for at in range(0, len(rows), size)]


class _Report:
    """Progress over blocks."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def within(self, done: int) -> None:
        """So many of the current block."""
        if self.progress is not None:
            self.progress(self.done + done, self.total)

    def finished(self, count: int) -> None:
        """A block of so many is on file."""
        self.done += count
        self.within(0)
