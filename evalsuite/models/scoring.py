"""Log-probabilities and rewards of completions: many candidates behind one prompt.

Up to `SIDE_BY_SIDE` completions share one row with their prompt, in one forward pass. Of more, the
prompt is encoded once and they are read against its keys and values, a chunk of `SIDE_BY_SIDE` at a
time: in a row of all of them each token would look at the columns of all its neighbours. Where a
model cannot share (tried out when it is wrapped; logged once), each completion is a row.

The numbers do not depend on any of this, nor on batch size, padding or order, beyond rounding
(1e-5 a token in float32; proof: tests/models/test_scoring.py, three families).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalsuite.errors import ConfigError
from evalsuite.models.limits import check_context
from evalsuite.models.packing import (
    MAX_LOGITS,
    Group,
    PolicyModel,
    ScalarModel,
    apply_head,
    pack,
    require_sdpa,
    token_batches,
)
from evalsuite.models.prefix import Side, encode, read_behind, unwrapped

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int, int], object]

MAX_BATCH_TOKENS = 8192
SIDE_BY_SIDE = 16
"""Completions of a prompt in one row."""


def completion_logprobs(
    model: Any,
    groups: Sequence[Group],
    *,
    pad_id: int,
    temperature: float = 1.0,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    share: bool | None = None,
    side: Side = "right",
    progress: Progress | None = None,
) -> list[list[Array]]:
    """Log-probs (nats, float32) of every completion token, by group and completion.

    model: a `PolicyModel` or the transformers model in it. temperature: of the softmax, above 0.
    max_batch_tokens: of one forward pass, padding counted. share: None shares prompts where the
    model can; False never; True raises where it cannot. side: of padding. progress: called with
    finished and all completions.

    Raises ConfigError for an empty prompt, a temperature not above 0, an attention kernel other
    than sdpa with share=True; ModelError for rows longer than the model's context.
    """
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature is {temperature}; allowed above 0")
    policy = _wrapped(model, PolicyModel)
    plan = _Plan(policy, "tokens", pad_id, max_batch_tokens, side, _shares(policy, share))
    read = _Tokens(policy, temperature)
    return _all(plan, groups, read, progress, cached=policy.linear_head)


def rewards(
    model: Any,
    groups: Sequence[Group],
    *,
    pad_id: int,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    share: bool | None = None,
    side: Side = "right",
    progress: Progress | None = None,
) -> list[Array]:
    """Reward-model outputs (float32, before any shift) of every completion: (K,) for each group.

    Read at the last token, so a completion should end in its EOS. model: a `ScalarModel`, or a
    sequence-classification model with one output. A model with a head of another kind (an encoder
    that pools, say) runs its own forward on plain rows. Other arguments as `completion_logprobs`.

    Raises ConfigError for an empty prompt or completion; else as `completion_logprobs`.
    """
    scalar = _wrapped(model, ScalarModel)
    own = not scalar.reads_tokens
    plan = _Plan(
        scalar, "last", pad_id, max_batch_tokens, "right" if own else side, _shares(scalar, share)
    )
    found = _all(plan, groups, _Last(scalar), progress, cached=True)
    return [np.array([x[0] for x in group], dtype=np.float32) for group in found]


def _wrapped(model: Any, kind: Any) -> Any:
    while hasattr(model, "module") and not hasattr(model, "config"):
        model = model.module
    return model if isinstance(model, kind) else kind(model)


def _shares(model: Any, share: bool | None) -> bool:
    if share and not model.shares:
        require_sdpa(model.model)
        raise ConfigError(
            f"{type(model.model).__name__} cannot share a prompt; allowed share=False"
        )
    return bool(model.shares) if share is None else share


class _Plan(NamedTuple):
    """How groups become forward passes."""

    model: Any
    read: Literal["tokens", "last"]
    pad_id: int
    max_batch_tokens: int
    side: Side
    share: bool


class _Tokens:
    """Reads log-probs of tokens."""

    def __init__(self, policy: PolicyModel, temperature: float) -> None:
        self.policy, self.temperature = policy, temperature

    def packed(self, batch: Any) -> Tensor:
        """Of a packed batch: (n,)."""
        out: Tensor = self.policy(batch, temperature=self.temperature).logprobs
        return out

    def states(self, states: Tensor, targets: Tensor) -> Tensor:
        """Of states (n, d) and the tokens they predict (n,) or (n, K): their shape."""
        head = self.policy.model.get_output_embeddings()
        size = max(1, MAX_LOGITS // head.weight.shape[0])
        parts = []
        for part, wanted in zip(torch.split(states, size), torch.split(targets, size), strict=True):
            logits = apply_head(head, part) / self.temperature
            chosen = logits.gather(1, wanted.reshape(len(part), -1)).reshape(wanted.shape)
            whole = logits.logsumexp(dim=-1)
            parts.append(chosen - (whole if wanted.dim() == 1 else whole[:, None]))
        return torch.cat(parts)


class _Last:
    """Reads a scalar head."""

    def __init__(self, scalar: ScalarModel) -> None:
        self.scalar = scalar

    def packed(self, batch: Any) -> Tensor:
        """Of a packed batch: (n,)."""
        out: Tensor = self.scalar(batch)
        return out

    def states(self, states: Tensor, targets: Tensor) -> Tensor:
        """Of states (n, d): (n,); targets are not looked at."""
        out: Tensor = self.scalar.model.score(states)[:, 0].float()
        return out


@torch.no_grad()
def _all(
    plan: _Plan,
    groups: Sequence[Group],
    read: _Tokens | _Last,
    progress: Progress | None,
    cached: bool,
) -> list[list[Array]]:
    """What is read of every completion, by group and completion."""
    least = 1 if plan.read == "last" else 0
    for group in groups:
        if not len(group.prompt):
            raise ConfigError("a prompt is empty; allowed at least one token")
        if min(map(len, group.completions), default=1) < least:
            raise ConfigError("a completion is empty; allowed at least its EOS")
    many = [
        at for at, group in enumerate(groups)
        if plan.share and cached and len(group.completions) > SIDE_BY_SIDE
    ]  # fmt: skip
    few = sorted(set(range(len(groups))) - set(many))
    out: list[list[Array]] = [[np.empty(0)] * len(group.completions) for group in groups]
    longest = (len(g.prompt) + max(map(len, g.completions), default=0) for g in groups)
    check_context(plan.model.model, max(longest, default=0))
    done, total = 0, sum(len(group.completions) for group in groups)
    for parts in (_few(plan, groups, few, read), _many(plan, groups, many, read)):
        for found in parts:
            for at, place, values in found:
                out[at][place] = values
            done += len(found)
            if progress is not None:
                progress(done, total)
    return out


_Found = list[tuple[int, int, Array]]
"""Group, completion, values."""


def _few(
    plan: _Plan, groups: Sequence[Group], chosen: Sequence[int], read: _Tokens | _Last
) -> Iterator[_Found]:
    """Whole rows: the prompt and all its completions (one of them, where it is not shared)."""
    rows: list[tuple[int, list[int]]] = []
    for at in chosen:
        room = plan.max_batch_tokens - len(groups[at].prompt) if plan.share else 0
        rows += [(at, part) for part in _chunks(groups[at].completions, room)]
    sizes = [
        len(groups[at].prompt) + sum(len(groups[at].completions[i]) for i in part)
        for at, part in rows
    ]
    for batch in token_batches(sizes, plan.max_batch_tokens):
        members = [rows[i] for i in batch]
        packed = pack(
            [
                Group(groups[at].prompt, [groups[at].completions[i] for i in part])
                for at, part in members
            ],
            pad_id=plan.pad_id,
            read=plan.read,
            share=plan.share,
            pad_side=plan.side,
            device=next(plan.model.parameters()).device,
            dtype=plan.model.model.dtype,
        )
        values = packed.split(read.packed(packed).cpu())
        places = [(at, i) for at, part in members for i in part]
        yield [(at, i, v.numpy()) for (at, i), v in zip(places, values, strict=True)]


def _chunks(completions: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    """Indices in chunks of at most SIDE_BY_SIDE completions and `room` tokens, at least one."""
    chunks: list[list[int]] = []
    filled = 0
    for index, completion in enumerate(completions):
        fits = chunks and len(chunks[-1]) < SIDE_BY_SIDE and filled + len(completion) <= room
        if fits:
            chunks[-1].append(index)
            filled += len(completion)
        else:
            chunks.append([index])
            filled = len(completion)
    return chunks


def _many(
    plan: _Plan, groups: Sequence[Group], chosen: Sequence[int], read: _Tokens | _Last
) -> Iterator[_Found]:
    """Prompts encoded once, their completions read against them chunk by chunk."""
    split = {}
    for at in chosen:
        room = plan.max_batch_tokens - len(groups[at].prompt)
        split[at] = _chunks(groups[at].completions, room)
    sizes = [
        len(groups[at].prompt)
        + max(sum(len(groups[at].completions[i]) for i in part) for part in split[at])
        for at in chosen
    ]
    for batch in token_batches(sizes, plan.max_batch_tokens):
        yield from _batch(plan, groups, [chosen[i] for i in batch], split, read)


def _batch(
    plan: _Plan,
    groups: Sequence[Group],
    members: Sequence[int],
    split: dict[int, list[list[int]]],
    read: _Tokens | _Last,
) -> Iterator[_Found]:
    """Prompts of one batch: encode them, then read their chunks, as many rows at once as fit."""
    model = unwrapped(plan.model)
    device = next(model.parameters()).device
    encoded = encode(
        model, [groups[at].prompt for at in members], pad_id=plan.pad_id, side=plan.side
    )
    drop = 1 if plan.read == "tokens" else 0
    first: dict[tuple[int, int], Array] = {}
    if drop:
        first = _first_tokens(groups, members, encoded.states, read)
    every = [(row, part) for row, at in enumerate(members) for part in split[at]]
    sizes = [
        encoded.counts.shape[1] + sum(len(groups[members[row]].completions[i]) for i in part)
        for row, part in every
    ]
    for batch in token_batches(sizes, plan.max_batch_tokens):
        rows = [(members[every[i][0]], every[i][1]) for i in batch]
        chunk = _laid_out(groups, rows, drop, plan.pad_id)
        values = np.empty(0, dtype=np.float32)
        if len(chunk.row):
            prompts = torch.tensor([every[i][0] for i in batch], device=device)
            ids, places, segments, row, column, targets = (
                torch.from_numpy(array).to(device) for array in chunk[:6]
            )
            states = read_behind(model, encoded, prompts, ids, places, segments)
            values = read.states(states[row, column], targets).cpu().numpy()
        parts = np.split(values, np.cumsum(chunk.counts)[:-1])
        owners = [(at, i) for at, part in rows for i in part]
        found: _Found = []
        for (at, i), values_of in zip(owners, parts, strict=True):
            head = first.get((at, i), np.empty(0, dtype=np.float32))
            found.append((at, i, np.concatenate([head, values_of]) if drop else values_of))
        yield found


def _first_tokens(
    groups: Sequence[Group], members: Sequence[int], states: Tensor, read: _Tokens | _Last
) -> dict[tuple[int, int], Array]:
    """What the prompts' last states say of the first tokens, by group and completion."""
    out: dict[tuple[int, int], Array] = {}
    for row, at in enumerate(members):
        owners = [i for i, c in enumerate(groups[at].completions) if len(c)]
        tokens = torch.tensor([[groups[at].completions[i][0] for i in owners]])
        values = read.states(states[row : row + 1], tokens.to(states.device)).cpu().numpy()[0]
        out |= {(at, i): values[n : n + 1] for n, i in enumerate(owners)}
    return out


class _Chunk(NamedTuple):
    """Completions laid out without their prompts: (R, L) arrays, and (n,) where they are read."""

    ids: Array
    places: Array
    segments: Array
    row: Array
    column: Array
    targets: Array
    counts: list[int]


def _laid_out(
    groups: Sequence[Group], rows: Sequence[tuple[int, list[int]]], drop: int, pad_id: int
) -> _Chunk:
    lengths = [[max(0, len(groups[at].completions[i]) - drop) for i in part] for at, part in rows]
    width = max(sum(row) for row in lengths)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    places, segments = np.zeros_like(ids), np.full_like(ids, -1)
    row_of: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    counts: list[int] = []
    for row, (at, part) in enumerate(rows):
        start = 0
        for number, (i, length) in enumerate(zip(part, lengths[row], strict=True), start=1):
            completion, here = groups[at].completions[i], slice(start, start + length)
            ids[row, here] = completion[:length]
            places[row, here] = np.arange(length)
            segments[row, here] = number
            seen = range(start, start + length) if drop else [start + length - 1]
            columns += seen
            targets += completion[1:] if drop else completion[-1:]
            row_of += [row] * len(seen)
            counts.append(len(seen))
            start += length
    return _Chunk(
        ids, places, segments, np.array(row_of, dtype=np.int64), np.array(columns, dtype=np.int64),
        np.array(targets, dtype=np.int64), counts,
    )  # fmt: skip
