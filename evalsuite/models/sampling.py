"""K samples a prompt, each the same whatever it is sampled beside.

A prompt is encoded once; its samples grow side by side in one row against the same keys and
values (`evalsuite.models.prefix`), a chunk of them at a time. Finished samples are taken out of
the row, so they stop costing. The noise of a token is a hash of (seed, prompt id, sample index,
position), see `evalsuite.models.noise`: batch size, order, padding side, sharing and processes
change nothing.

The paper divides logits by T + 1e-7 so that T = 0 works; here T = 0 is the argmax by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evalsuite.errors import ConfigError
from evalsuite.models.limits import check_context
from evalsuite.models.noise import gumbel, keys
from evalsuite.models.packing import apply_head, token_batches, try_out
from evalsuite.models.prefix import (
    Encoded,
    RepeatedPrefix,
    SharedPrefix,
    Side,
    encode,
    unwrapped,
)

Array = np.ndarray[Any, np.dtype[Any]]

MAX_BATCH_TOKENS = 16384
SIDE_BY_SIDE = 16
"""Samples of a prompt that grow in one row. Each token looks at the columns of its neighbours
(and is told not to see them), so a row of all of 64 is slower than four of 16."""

AT_ONCE = 1 << 25
"""Logits (and as much noise) alive at once."""

WORTH_KEEPING = 0.8
"""Share of a batch still unfinished below which the finished are taken out: a copy of the cache,
about what one step costs."""


class Prompt(NamedTuple):
    """A prompt to sample for. The id names its noise: equal ids draw equal numbers."""

    id: str
    tokens: Sequence[int]


class Samples(NamedTuple):
    """The samples of one prompt.

    tokens: each with its EOS where it has one. logprobs: float32 arrays, nats, of each token under
    the softmax of logits / temperature (of the plain logits at temperature 0), over the whole
    vocabulary also where top_p leaves part of it out.
    """

    id: str
    tokens: list[list[int]]
    logprobs: list[Array]


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Prompt],
    *,
    k: int,
    max_new_tokens: int,
    eos_id: int,
    pad_id: int,
    temperature: float,
    seed: int,
    top_p: float = 1.0,
    fixed_length: bool = False,
    first_sample: int = 0,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    share: bool | None = None,
    side: Side | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Samples]:
    """K samples of each prompt, in the order of the prompts.

    model: a `PolicyModel` or the transformers model in it. temperature: 0 is greedy. top_p: keeps
    the most probable tokens up to and with the one that reaches top_p. fixed_length: go on after
    EOS until there are max_new_tokens (N+ detail 23.1). first_sample: index of the first sample,
    so that samples 4 to 7 can be drawn later than 0 to 3. max_batch_tokens: tokens in the cache at
    once, prompts and samples together. share: None uses one row a prompt where the model can, else
    plain rows (logged once). side: of padding; None takes the faster. progress: called with
    finished and all prompts.

    Raises ConfigError for numbers out of range, an empty prompt, and share=True with a model that
    cannot; ModelError where prompt and samples exceed the model's context.
    """
    inner = unwrapped(model)
    _check(inner, prompts, k, max_new_tokens, temperature, top_p, first_sample)
    able = try_out(inner)
    if share and not able.shares:
        raise ConfigError(f"{type(inner).__name__} cannot share a prompt; allowed share=False")
    shared = able.shares if share is None else share
    draw = _Draw(inner, able.linear_head, temperature, top_p)
    drawn = 1 if temperature == 0 else k  # greedy samples are all the same
    width = min(drawn, SIDE_BY_SIDE)
    end = None if fixed_length else eos_id
    lengths = [len(prompt.tokens) + width * max_new_tokens for prompt in prompts]
    if not shared:
        lengths = [width * (len(prompt.tokens) + max_new_tokens) for prompt in prompts]
    out: list[Samples | None] = [None] * len(prompts)
    done = 0
    for batch in token_batches(lengths, max_batch_tokens):
        chosen = [prompts[index] for index in batch]
        positions = np.arange(max_new_tokens)
        numbers = np.arange(first_sample, first_sample + drawn)
        noise = np.stack([keys(seed, p.id, numbers, positions) for p in chosen])
        default: Side = "right" if shared else "left"
        encoded = encode(
            inner,
            [p.tokens for p in chosen],
            pad_id=pad_id,
            side=side or default,
            logits=not able.linear_head,
        )
        found: list[list[_Sample]] = [[] for _ in batch]
        at_once = max(1, max_batch_tokens // lengths[batch[0]])
        for part in _passes(len(batch), drawn, width, at_once):
            grown = _grow(
                draw, encoded, [row for row, _ in part],
                np.stack([noise[row, at : at + width] for row, at in part]), end, pad_id, shared,
            )  # fmt: skip
            for (row, _), several in zip(part, grown, strict=True):
                found[row] += several
        for index, several in zip(batch, found, strict=True):
            several = several if drawn == k else several * k
            texts = [list(tokens) for tokens, _ in several]
            out[index] = Samples(prompts[index].id, texts, [logprobs for _, logprobs in several])
        done += len(batch)
        if progress is not None:
            progress(done, len(prompts))
    return [samples for samples in out if samples is not None]


def _check(
    model: Any,
    prompts: Sequence[Prompt],
    k: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    first_sample: int,
) -> None:
    least = (("k", k, 1), ("max_new_tokens", max_new_tokens, 1), ("first_sample", first_sample, 0))
    for name, value, low in least:
        if value < low:
            raise ConfigError(f"{name} is {value}; allowed {low} or more")
    if not 0 <= temperature < float("inf"):
        raise ConfigError(f"temperature is {temperature}; allowed 0 or more")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top_p is {top_p}; allowed above 0, up to 1")
    lengths = [len(prompt.tokens) for prompt in prompts] or [1]
    if min(lengths) < 1:
        raise ConfigError("a prompt is empty; allowed at least one token")
    check_context(model, max(lengths) + max_new_tokens - 1)  # the last token is never fed


_Sample = tuple[list[int], Array]
"""Tokens and log-probs of one sample."""


def _passes(count: int, drawn: int, width: int, at_once: int) -> Iterator[list[tuple[int, int]]]:
    """Rows (prompt, its first sample) of `width` samples in passes, all prompts before the next.

    The last samples of a prompt may be fewer than `width`: they are not in a pass with others.
    """
    for starts in (
        range(0, drawn - drawn % width, width),
        range(drawn - drawn % width, drawn, width),
    ):
        rows = [(row, at) for at in starts for row in range(count)]
        for first in range(0, len(rows), at_once):
            yield rows[first : first + at_once]


class _Draw:
    """Tokens from states (or logits, where the head is not linear): temperature, top-p, noise."""

    def __init__(self, model: Any, linear: bool, temperature: float, top_p: float) -> None:
        self.model, self.linear = model, linear
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, states: Tensor, noise: Array) -> tuple[Array, Array]:
        """Tokens and their log-probs, (n, m), for states (n, d or V) and keys (n, m)."""
        head = self.model.get_output_embeddings()
        vocabulary = head.weight.shape[0]
        size = max(1, AT_ONCE // vocabulary)
        keyed = torch.from_numpy(np.ascontiguousarray(noise)).to(states.device)
        tokens = torch.empty(noise.shape, dtype=torch.int64, device=states.device)
        logprobs = torch.empty(noise.shape, device=states.device)
        for start in range(0, len(states), size):
            part = slice(start, start + size)
            logits = apply_head(head, states[part]) if self.linear else states[part]
            for draw in range(noise.shape[1]):
                tokens[part, draw], logprobs[part, draw] = pick(
                    logits, keyed[part, draw], temperature=self.temperature, top_p=self.top_p
                )
        return tokens.cpu().numpy(), logprobs.cpu().numpy()


def pick(
    logits: Tensor, key: Tensor, *, temperature: float, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """One token for each row of logits (n, V) by its key (n,): tokens and log-probs (n,).

    Sampling by the Gumbel-max trick; temperature 0 is the argmax.
    """
    logits = logits.float()
    scaled = logits / temperature if temperature else logits
    noisy = scaled
    if temperature:
        noisy = gumbel(key, logits.shape[1]).add_(scaled)
        if top_p < 1:
            noisy = noisy.masked_fill_(~_nucleus(scaled, top_p), -torch.inf)
    tokens = noisy.argmax(dim=-1, keepdim=True)
    logprobs = scaled.gather(1, tokens) - scaled.logsumexp(dim=-1, keepdim=True)
    return tokens[:, 0], logprobs[:, 0]


def _nucleus(scaled: Tensor, top_p: float) -> Tensor:
    """(n, V) bool: the most probable tokens, up to and with the one that reaches top_p."""
    ordered, order = scaled.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1, dtype=torch.float64) - ordered
    kept = before < top_p
    return torch.zeros_like(kept).scatter(1, order, kept)


def _grow(
    draw: _Draw, prompts: Encoded, chosen: Sequence[int], noise: Array, end: int | None,
    pad_id: int, shared: bool,
) -> list[list[_Sample]]:  # fmt: skip
    """W samples of T tokens behind each of the encoded prompts `chosen`, for keys (R, W, T).

    end: the token after which a sample is not gone on with; None for none.
    """
    count, width, steps = noise.shape
    device = prompts.states.device
    behind = torch.tensor(chosen, device=device)
    tokens = np.full((count * width, steps), pad_id, dtype=np.int64)
    logprobs = np.zeros((count * width, steps), dtype=np.float32)
    lengths = np.full(count * width, steps)
    first, scores = draw(prompts.states[behind], noise[:, :, 0])
    tokens[:, 0], logprobs[:, 0] = first.reshape(-1), scores.reshape(-1)
    if steps > 1:
        kind = SharedPrefix if shared else RepeatedPrefix
        rows = kind(draw.model, prompts, behind, width, steps - 1)
        grid = np.arange(count * width).reshape(rows.shape)  # which sample, or -1
    for step in range(1, steps):
        if end is not None:
            ended = (grid >= 0) & (tokens[grid, step - 1] == end)
            lengths[grid[ended]] = step
            grid[ended] = -1
        grid = _compacted(rows, grid)
        alive = grid >= 0
        if not alive.any():
            break
        fed = torch.from_numpy(tokens[grid, step - 1]).to(device)
        states = rows.step(fed)[torch.from_numpy(alive).to(device)]
        now = grid[alive]
        new, scores = draw(states, noise.reshape(-1, steps)[now, step, None])
        tokens[now, step], logprobs[now, step] = new[:, 0], scores[:, 0]
    cut = [(tokens[i, :n].tolist(), logprobs[i, :n].copy()) for i, n in enumerate(lengths)]
    return [cut[row * width : (row + 1) * width] for row in range(count)]


def _compacted(rows: SharedPrefix | RepeatedPrefix, grid: Array) -> Array:
    """Take finished samples out of the cache where that is worth its copy; the new grid."""
    alive = grid >= 0
    live_rows = np.flatnonzero(alive.any(axis=1))
    width = int(alive.sum(axis=1).max())
    if not len(live_rows) or len(live_rows) * width > WORTH_KEEPING * grid.size:
        return grid
    slots = np.argsort(~alive[live_rows], axis=1, kind="stable")[:, :width]
    device = rows.lengths.device
    rows.keep(torch.from_numpy(live_rows).to(device), torch.from_numpy(slots).to(device))
    return np.take_along_axis(grid[live_rows], slots, axis=1)
