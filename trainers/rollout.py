"""A rollout: completions of the current policy, and what is known of them before any update.

Which prompts, how often each was sampled before, and the noise of every token follow from (seed,
update, prompt id, sample index) alone. A rollout is therefore the same on one process or many,
and the same again after a run was killed and resumed.

Each process samples and scores its share of the prompts; then all of them hold the whole rollout
(a few numbers a token: 512 completions of 53 tokens are under 1 MB). Rewards, advantages and
minibatches are so computed from the same numbers everywhere, and whitening is over all processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalsuite.errors import DataError
from evalsuite.models.packing import (
    Group,
    PolicyAndValue,
    PolicyModel,
    apply_head,
    hidden_states,
    pack,
    token_batches,
)
from evalsuite.models.prompts import Prompter
from evalsuite.models.rewards import Reward, RewardRequest
from evalsuite.models.sampling import Prompt, Samples, sample
from evalsuite.models.scoring import completion_logprobs
from trainers.engine import DivergedError, Engine, Trainable
from trainers.sequences import PromptExample

Floats = NDArray[np.float32]


class Visit(NamedTuple):
    """A prompt of an update: its index among the prompts, and how often it was sampled before."""

    prompt: int
    before: int


class Actors(NamedTuple):
    """Who takes part in a rollout.

    values: the value network; None where the policy has a value head. shift: taken off its output,
    that of the reward model it started from, so that it starts on the scale of the reward.
    """

    policy: Trainable
    values: Trainable | None
    shift: float
    ref_policy: PolicyModel
    reward: Reward
    prompter: Prompter


class Rollout(NamedTuple):
    """P prompts with K completions each: B = P K rows in the order of the groups, T the longest.

    groups: (P,). requests: (B,) what was rewarded: texts, and the prompt they belong to.
    mask: (B, T) bool, True where there is a token. has_eos: (B,) bool.
    logprobs, ref_logprobs: (B, T) nats, of the tokens under softmax(logits / temperature) of the
    policy that sampled them and of the frozen one. values: (B, T) of the state before each token.
    rewards: (B,) of the whole completions, as the reward gives them.
    Floats are float32, 0 outside the mask, on the CPU.
    """

    groups: tuple[Group, ...]
    requests: tuple[RewardRequest, ...]
    mask: Tensor
    has_eos: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    rewards: Tensor


class Row(NamedTuple):
    """A row of a batch: a prompt with some of its completions, and their numbers in (B,)."""

    group: Group
    members: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the row."""
        return len(self.group.prompt) + sum(map(len, self.group.completions))


def visits(prompts: int, per_update: int, update: int, seed: int) -> list[Visit]:
    """The prompts of update 0, 1, ...: all of them in random order, then all in another, ...

    A prompt is sampled again only after every other was (detail 21); an update at the end of one
    order goes on into the next.
    """
    places = range(update * per_update, (update + 1) * per_update)
    passed = [divmod(place, prompts) for place in places]
    return [Visit(int(_order(prompts, seed, epoch)[at]), epoch) for epoch, at in passed]


@lru_cache(maxsize=4)
def _order(prompts: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(prompts)


def rows_of(groups: Sequence[Group], *, share: bool) -> list[Row]:
    """Groups as rows: one a group where prompts are shared, else one a completion."""
    rows, first = [], 0
    for group in groups:
        members = range(first, first + len(group.completions))
        first = members.stop
        if share:
            rows.append(Row(group, tuple(members)))
        else:
            pairs = zip(members, group.completions, strict=True)
            rows += [Row(Group(group.prompt, [c]), (at,)) for at, c in pairs]
    return rows


def batches_of(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Rows in batches of a token budget, longest first."""
    return [
        [rows[i] for i in batch] for batch in token_batches([r.tokens for r in rows], max_tokens)
    ]


def collect(
    engine: Engine,
    actors: Actors,
    visited: Sequence[Visit],
    prompts: Sequence[PromptExample],
    *,
    samples: int,
    temperature: float,
    seed: int,
    max_batch_tokens: int,
    fixed_length: bool = False,
) -> Rollout:
    """Sample `samples` completions of each prompt and score them; the whole rollout, everywhere.

    The log-probs of the policy are those that sampling computed: no token is scored twice.
    fixed_length: sample the longest completion always and cut it at its first EOS afterwards, as
    N+ does (23.1, 23.2); without it sampling stops there, which gives the same tokens in less time.
    max_batch_tokens: of one forward pass, padding counted.
    """
    prompter = actors.prompter
    long_first = sorted(
        range(len(visited)), key=lambda i: (-len(prompts[visited[i].prompt].tokens), i)
    )
    mine = engine.mine(long_first)
    asked = [prompts[visited[i].prompt] for i in mine]
    drawn: dict[int, Samples] = {}
    budget: dict[str, Any] = {"pad_id": prompter.pad_id, "max_batch_tokens": max_batch_tokens}
    with engine.whole(actors.policy) as policy:
        for before in sorted({visited[i].before for i in mine}):  # one, two at the end of an order
            places = [at for at, i in enumerate(mine) if visited[i].before == before]
            found = sample(
                policy, [Prompt(asked[at].id, asked[at].tokens) for at in places],
                k=samples, first_sample=before * samples, eos_id=prompter.eos_id,
                max_new_tokens=prompter.max_completion_tokens, fixed_length=fixed_length,
                temperature=temperature, seed=seed, **budget,
            )  # fmt: skip
            drawn |= dict(zip(places, found, strict=True))
        groups = [
            Group(e.tokens, [_ended(c, prompter.eos_id) for c in drawn[at].tokens])
            for at, e in enumerate(asked)
        ]
        if actors.values is None:
            values = state_values(policy, groups, dtype=engine.precision, **budget)
    if actors.values is not None:
        with engine.whole(actors.values) as network:
            values = state_values(
                network, groups, dtype=engine.precision, shift=actors.shift, **budget
            )
    with engine.autocast():
        ref_logprobs = completion_logprobs(
            actors.ref_policy, groups, temperature=temperature, **budget
        )
    requests = [
        RewardRequest(e.post, prompter.text(c), e.reference, c, e.tokens, e.id)
        for e, group in zip(asked, groups, strict=True)
        for c in group.completions
    ]
    rewards = _rewards(engine, actors.reward, requests).reshape(-1, samples)
    parts = engine.gather(
        [
            (i, groups[at], requests[at * samples : (at + 1) * samples], drawn[at].logprobs,
             ref_logprobs[at], values[at], rewards[at])
            for at, i in enumerate(mine)
        ]
    )  # fmt: skip
    return _assemble(sorted(parts, key=lambda part: part[0]), prompter.eos_id)


def _rewards(engine: Engine, reward: Reward, requests: Sequence[RewardRequest]) -> Any:
    """Rewards of this process's completions; one that is undefined stops all processes."""
    found, problem = np.empty(0), None
    try:
        found = reward(requests) if requests else found
    except DataError as error:
        problem = str(error)
    problems = [text for text in engine.gather([problem]) if text is not None]
    if problems:
        raise DivergedError(f"the reward of a completion is undefined: {problems[0]}")
    return found


@torch.no_grad()
def state_values(
    model: Any,
    groups: Sequence[Group],
    *,
    pad_id: int,
    max_batch_tokens: int,
    dtype: torch.dtype = torch.float32,
    shift: float = 0.0,
) -> list[list[Floats]]:
    """The value of the state before each completion token, by group and completion.

    model: a value network (`ScalarModel`) or a policy with a value head. dtype: of activations.
    """
    rows = rows_of(groups, share=model.shares)
    found: dict[int, Floats] = {}
    for batch in batches_of(rows, max_batch_tokens):
        packed = pack(
            [row.group for row in batch], pad_id=pad_id, read="tokens", share=model.shares,
            device=next(model.parameters()).device, dtype=dtype,
        )  # fmt: skip
        if isinstance(model, PolicyAndValue):
            read = apply_head(model.value, hidden_states(model.model, packed))[:, 0]  # no logits
        else:
            read = model(packed)
        parts = packed.split((read.float() - shift).cpu())
        members = [at for row in batch for at in row.members]
        found |= {at: part.numpy() for at, part in zip(members, parts, strict=True)}
    flat = iter(found[at] for at in range(len(found)))
    return [[next(flat) for _ in group.completions] for group in groups]


def _ended(tokens: Sequence[int], eos_id: int) -> list[int]:
    """Tokens up to the first EOS, which stays."""
    kept = list(tokens)
    return kept[: kept.index(eos_id) + 1] if eos_id in kept else kept


def _assemble(parts: Sequence[tuple[Any, ...]], eos_id: int) -> Rollout:
    _, groups, requests, logprobs, ref_logprobs, values, rewards = zip(*parts, strict=True)
    tokens = [c for group in groups for c in group.completions]
    lengths = torch.tensor([len(c) for c in tokens])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]

    def padded(nested: Sequence[Sequence[Floats]]) -> Tensor:
        flat = [array for several in nested for array in several]
        cut = [array[:n] for array, n in zip(flat, lengths.tolist(), strict=True)]
        out = torch.zeros(mask.shape)
        out[mask] = torch.from_numpy(np.concatenate(cut).astype(np.float32))
        return out

    return Rollout(
        tuple(groups),
        tuple(request for several in requests for request in several),
        mask,
        torch.tensor([c[-1] == eos_id for c in tokens]),
        padded(logprobs),
        padded(ref_logprobs),
        padded(values),
        torch.from_numpy(np.concatenate(rewards).astype(np.float32)),
    )
