"""A prompt's keys and values, computed once and read by all its completions.

    encode          runs prompts through a model and keeps what attention needs of them
    SharedPrefix    completions that grow behind that, side by side in one row
    RepeatedPrefix  the same with a row for each, for families that cannot share
    read_behind     completions that are known, packed into rows behind their prompts

Sampling is built on the first three, scoring on the last. Whether a model can share is tried out
when it is wrapped (`evalsuite.models.packing.try_out`).

Proof: tests/models/test_sampling.py and test_scoring.py (three families, against whole rows).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from evalsuite.models.packing import PolicyModel, ScalarModel, require_sdpa, segment_mask

Side = Literal["left", "right"]


def unwrapped(model: Any) -> Any:
    """The transformers model inside our wrappers and those of distributed training."""
    while hasattr(model, "module") and not hasattr(model, "config"):
        model = model.module
    return model.model if isinstance(model, (PolicyModel, ScalarModel)) else model


def _last(model: Any, logits: bool, inputs: dict[str, Any]) -> Tensor:
    """What a forward pass gives: the last hidden states, or logits, at most at the end of a row."""
    if logits:
        keep = 1 if inputs["past_key_values"].get_seq_length() == 0 else 0
        out: Tensor = model(**inputs, use_cache=True, logits_to_keep=keep).logits
    else:
        out = model.base_model(**inputs, use_cache=True).last_hidden_state
    return out


class Encoded(NamedTuple):
    """Prompts after `encode`: R rows, P columns, d the width of the model.

    states: (R, d), the last hidden state of each prompt; its logits (R, V) where `logits`, for
    language heads that do more than a linear map. counts: (R, P) bool, True where a column
    holds a token. lengths: (R,) tokens of each prompt. cache: keys and values, P columns.
    """

    states: Tensor
    counts: Tensor
    lengths: Tensor
    cache: Any
    logits: bool


@torch.no_grad()
def encode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    side: Side,
    logits: bool = False,
) -> Encoded:
    """Run prompts through the model once, padded on one side.

    Right padding leaves attention its causal kernel; left padding keeps last tokens in one column,
    as is always done where logits are asked for.
    """
    side = "left" if logits else side
    device = next(model.parameters()).device
    lengths = np.array([len(prompt) for prompt in prompts])
    width = int(lengths.max())
    ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    counts = np.zeros(ids.shape, dtype=bool)
    for row, prompt in enumerate(prompts):
        place = slice(width - len(prompt), width) if side == "left" else slice(0, len(prompt))
        ids[row, place] = prompt
        counts[row, place] = True
    positions = np.maximum(counts.cumsum(axis=1) - 1, 0)
    on = torch.from_numpy(counts).to(device)
    cache = DynamicCache(config=model.config)
    inputs = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.ones_like(on) if side == "right" else on,
        "position_ids": torch.from_numpy(positions).to(device),
        "past_key_values": cache,
    }
    out = _last(model, logits, inputs)
    if torch.is_autocast_enabled(device.type):  # rotary positions leave keys in float32
        low = torch.get_autocast_dtype(device.type)
        every: list[Any] = list(cache.layers)
        for layer in every:
            layer.keys, layer.values = layer.keys.to(low), layer.values.to(low)
    tokens = torch.from_numpy(lengths).to(device)
    ends = torch.full_like(tokens, out.shape[1] - 1) if side == "left" else tokens - 1
    states = out[torch.arange(len(prompts), device=device), ends]
    return Encoded(states, on, tokens, cache, logits)


class _Room(DynamicLayer):
    """Keys and values of one layer in buffers with room to grow.

    The plain layer copies all it has for every token it adds.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._buffers = tuple(self._roomy(old, old.shape[2] + room) for old in (keys, values))
        self._show(keys.shape[2])

    @staticmethod
    def _roomy(old: Tensor, columns: int) -> Tensor:
        buffer = old.new_empty(*old.shape[:2], columns, old.shape[3])
        buffer[:, :, : old.shape[2]] = old
        return buffer

    def _show(self, columns: int) -> None:
        self.keys, self.values = (buffer[:, :, :columns] for buffer in self._buffers)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add tokens behind those that are there; see the base class."""
        at, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self._buffers = tuple(self._roomy(b[:, :, :at], 2 * end) for b in self._buffers)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, at:end] = new
        self._show(end)
        return self.keys, self.values


def _cache(layers: list[Any]) -> Any:
    return Cache(layers=layers)


class SharedPrefix:
    """Completions of one length that grow side by side in the row of their prompt.

    A row holds W completions: its cache is `[prompt | W first tokens | W second tokens | ...]`,
    and a token sees the prompt and the columns of its own completion.
    """

    def __init__(self, model: Any, prompts: Encoded, rows: Tensor, width: int, steps: int) -> None:
        """Rows of `width` completions and `steps` tokens behind the prompts `rows` (R,)."""
        require_sdpa(model)
        self.model, self.logits, self.width, self.length = model, prompts.logits, width, 0
        self.counts, self.lengths = prompts.counts[rows], prompts.lengths[rows]
        self.steps = steps
        self._layers = [(layer.keys[rows], layer.values[rows]) for layer in prompts.cache.layers]
        self._lay_out()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and completions a row."""
        return len(self.lengths), self.width

    def _lay_out(self) -> None:
        room = (self.steps - self.length) * self.width
        layers = []
        while self._layers:  # one at a time: the old and the new need not both be whole
            layers.append(_Room(*self._layers.pop(0), room))
        self.cache = _cache(layers)
        dtype = self.model.dtype
        own = torch.eye(self.width, dtype=torch.bool, device=self.counts.device)
        seen = torch.cat(
            [
                self.counts[:, None, :].expand(-1, self.width, -1),
                own.repeat(1, self.steps)[None].expand(len(self.counts), -1, -1),
            ],
            dim=2,
        )
        blocked = torch.finfo(dtype).min
        self.mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        self.mask = self.mask.masked_fill_(~seen, blocked)[:, None]

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token a completion, (R, W); the states that predict the next, (R, W, d)."""
        columns = self.counts.shape[1] + (self.length + 1) * self.width
        place = (self.lengths + self.length)[:, None].expand(-1, self.width)
        inputs = {
            "input_ids": tokens,
            "attention_mask": self.mask[..., :columns],
            "position_ids": place,
            "past_key_values": self.cache,
        }
        states = _last(self.model, self.logits, inputs)
        self.length += 1
        return states

    def keep(self, rows: Tensor, slots: Tensor) -> None:
        """Go on with fewer: rows (R',), and in each of them the completions slots (R', W')."""
        columns = self.counts.shape[1]
        counts = self.counts[rows]
        used = torch.nonzero(counts.any(dim=0))[:, 0]
        first, last = int(used[0]), int(used[-1]) + 1
        self.counts, self.lengths = counts[:, first:last], self.lengths[rows]
        for layer in self.cache.layers:
            kept = []
            for old in (layer.keys, layer.values):
                heads, depth = old.shape[1], old.shape[3]
                own = old[:, :, columns:].unflatten(2, (self.length, self.width))[rows]
                index = slots[:, None, None, :, None].expand(-1, heads, self.length, -1, depth)
                own = own.gather(3, index).flatten(2, 3)
                kept.append(torch.cat([old[rows, :, first:last], own], dim=2))
            self._layers.append((kept[0], kept[1]))
        self.width = slots.shape[1]
        self._lay_out()


class RepeatedPrefix:
    """Completions of one length, each in a row of its own behind a copy of its prompt's cache."""

    def __init__(self, model: Any, prompts: Encoded, rows: Tensor, width: int, steps: int) -> None:
        """`width` rows behind each of the prompts `rows`, one after the other."""
        self.model, self.logits, self.length = model, prompts.logits, 0
        rows = rows.repeat_interleave(width)
        self.counts, self.lengths = prompts.counts[rows], prompts.lengths[rows]
        self.cache = copy.deepcopy(prompts.cache)  # the prompt's own serves the next completions
        self.cache.batch_select_indices(rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and one completion in each."""
        return len(self.lengths), 1

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token a completion, (R, 1); the states that predict the next, (R, 1, d)."""
        self.counts = torch.cat([self.counts, torch.ones_like(self.counts[:, :1])], dim=1)
        inputs = {
            "input_ids": tokens,
            "attention_mask": self.counts,
            "position_ids": (self.lengths + self.length)[:, None],
            "past_key_values": self.cache,
        }
        states = _last(self.model, self.logits, inputs)
        self.length += 1
        return states

    def keep(self, rows: Tensor, slots: Tensor) -> None:
        """Go on with these rows only (R',); slots are all 0."""
        self.cache.batch_select_indices(rows)
        self.counts, self.lengths = self.counts[rows], self.lengths[rows]


@torch.no_grad()
def read_behind(
    model: Any, prompts: Encoded, rows: Tensor, ids: Tensor, places: Tensor, segments: Tensor
) -> Tensor:
    """The last states (R, L, d) of packed completions behind the prompts `rows` (R,).

    ids, places (positions counted from the end of the prompt) and segments (see `segment_mask`)
    are (R, L).
    """
    require_sdpa(model)
    width = ids.shape[1]
    layers = [_Room(x.keys[rows], x.values[rows], width) for x in prompts.cache.layers]
    mask = segment_mask(segments, dtype=model.dtype, prefix=prompts.counts[rows])
    states: Tensor = model.base_model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=prompts.lengths[rows, None] + places,
        past_key_values=_cache(layers),
        use_cache=True,
    ).last_hidden_state
    return states
