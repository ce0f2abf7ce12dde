"""Packed rows: one prompt encoded once for all its completions, and the models that read them.

A row is `[prompt | completion 1 | completion 2 | ...]`. An additive attention mask lets a
completion see the prompt and itself, never its neighbours, and positions restart after the prompt
for each of them, so that every token gets the numbers that it would have in a row of its own.
Training on pairs, scoring and PPO all build their rows here; nobody else lays out tokens.

    pack            groups of token lists to the tensors of one batch
    PolicyModel     log-probs (and entropies) of completion tokens from a causal language model
    ScalarModel     rewards or values from a sequence-classification model with one output
    PolicyAndValue  both from one backbone

Logits are computed at the positions that are read, never for a whole row: a vocabulary of 50,000
costs more than the rest of a small model. Packed rows need the "sdpa" attention kernel: with
"eager" a boolean mask is silently wrong, and flash kernels take no mask. Whether a model family
can run them at all is tried out when the model is wrapped (`shares_prompts`), not assumed.

Proof: tests/models/test_packing.py (three families, packed against plain rows).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from evalsuite.errors import ConfigError

log = logging.getLogger(__name__)

MAX_LOGITS = 1 << 27
"""Logits alive at once (512 MiB in float32); more positions are read in chunks, and their logits
recomputed in the backward pass."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest difference between packed and plain rows in the try-out, by dtype, as a share of the
largest number; a wrong mask is off by a tenth and more."""


class Group(NamedTuple):
    """One prompt and its completions, as token ids; a finished completion ends with its EOS."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]


class Packed(NamedTuple):
    """A batch of rows, all tensors on one device. B rows, L columns, n positions that are read.

    input_ids, position_ids: (B, L) int64. mask: (B, 1, L, L) additive float for packed rows, else
    (B, L) bool, True where a token counts. rows, columns: (n,) the positions read. targets: (n,)
    the token that a position predicts (read="tokens") or holds (read="last"). counts: positions
    read of each completion, in the order of the groups and their completions; their sum is n.
    causal: plain rows padded on the right, where causal attention alone hides the padding.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    counts: tuple[int, ...]
    causal: bool

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values read at the n positions, one tensor a completion."""
        return torch.split(values, list(self.counts))


def pack(
    groups: Sequence[Group],
    *,
    pad_id: int,
    read: Literal["tokens", "last"],
    share: bool = True,
    pad_side: Literal["left", "right"] = "right",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Packed:
    """Rows of token ids, their mask, positions and read-outs.

    read: "tokens" reads one position a completion token, the one before it, which predicts it (and
    is the state that a value is of); the last token is then no input. "last" reads the last token
    of each completion, where a reward stands. share: one row a group; False: one row a completion.
    dtype: of the additive mask, the dtype that attention runs in.

    Raises ConfigError for an empty prompt, and for an empty completion with read="last".
    """
    rows, spans = _layout(groups, read, share)
    width = max((len(tokens) for tokens, _, _ in rows), default=0)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    positions = np.zeros_like(ids)
    segments = np.full_like(ids, -1)
    starts = np.zeros(len(rows), dtype=np.int64)
    for number, (tokens, place, segment) in enumerate(rows):
        start = width - len(tokens) if pad_side == "left" else 0
        starts[number] = start
        ids[number, start : start + len(tokens)] = tokens
        positions[number, start : start + len(tokens)] = place
        segments[number, start : start + len(tokens)] = segment
    counts = tuple(len(span.columns) for span in spans)
    row = np.repeat(np.array([span.row for span in spans], dtype=np.int64), counts)
    column = _flat([span.columns for span in spans]) + starts[row]
    target = _flat([span.targets for span in spans])
    on = torch.from_numpy(segments).to(device)
    plain = not len(rows) or int(segments.max()) <= 1
    return Packed(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(positions).to(device),
        on >= 0 if plain else segment_mask(on, dtype=dtype),
        torch.from_numpy(row).to(device),
        torch.from_numpy(column).to(device),
        torch.from_numpy(target).to(device),
        counts,
        plain and pad_side == "right",
    )


def segment_mask(segments: Tensor, *, dtype: torch.dtype, prefix: Tensor | None = None) -> Tensor:
    """Additive mask (B, 1, L, P + L) of packed rows: 0 where a query sees a key, else -max.

    segments: (B, L) int, 0 for prompt tokens, 1 .. K for those of completion k, -1 for padding.
    prefix: (B, P) bool, the keys of a cache before the row, True where they count; all see them.
    Every token sees itself, padding too, so that no row of the softmax is empty.
    """
    length = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    order = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    seen = order & ((key == 0) | (key == query)) & (key >= 0)
    seen |= torch.eye(length, dtype=torch.bool, device=segments.device)
    if prefix is not None:
        seen = torch.cat([prefix[:, None, :].expand(-1, length, -1), seen], dim=2)
    blocked = torch.finfo(dtype).min
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, blocked)[
        :, None
    ]


class _Span(NamedTuple):
    """Where one completion is read: its row, columns from the row's first token, targets."""

    row: int
    columns: np.ndarray[Any, np.dtype[np.int64]]
    targets: np.ndarray[Any, np.dtype[np.int64]]


_Row = tuple[
    np.ndarray[Any, np.dtype[np.int64]],
    np.ndarray[Any, np.dtype[np.int64]],
    np.ndarray[Any, np.dtype[np.int64]],
]


def _layout(groups: Sequence[Group], read: str, share: bool) -> tuple[list[_Row], list[_Span]]:
    """Tokens, positions and segments of every row, and where each completion is read."""
    rows: list[_Row] = []
    spans: list[_Span] = []
    drop = 1 if read == "tokens" else 0
    for group in groups:
        prompt = np.asarray(group.prompt, dtype=np.int64)
        if not len(prompt):
            raise ConfigError("a prompt is empty; allowed at least one token")
        completions = [np.asarray(c, dtype=np.int64) for c in group.completions]
        shared = [completions] if share else [[c] for c in completions]
        for members in shared:
            tokens, place, segment = [prompt], [np.arange(len(prompt))], [np.zeros_like(prompt)]
            at = len(prompt)
            for number, completion in enumerate(members, start=1):
                if not len(completion) and not drop:
                    raise ConfigError("a completion is empty; allowed at least its EOS")
                fed = completion[: len(completion) - drop]
                columns = at + np.arange(len(fed))
                if drop:  # the prompt's last position predicts the first token
                    columns = np.concatenate([[len(prompt) - 1], columns])[: len(completion)]
                    targets = completion
                else:
                    columns, targets = columns[-1:], completion[-1:]
                spans.append(_Span(len(rows), columns, targets))
                tokens.append(fed)
                place.append(len(prompt) + np.arange(len(fed)))
                segment.append(np.full(len(fed), number))
                at += len(fed)
            rows.append((np.concatenate(tokens), np.concatenate(place), np.concatenate(segment)))
    return rows, spans


def _flat(
    parts: Sequence[np.ndarray[Any, np.dtype[np.int64]]],
) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in batches whose padded size is at most `max_tokens`, longest first.

    Sorted by length, so that little is padded, and the first batch shows whether memory is enough.
    An item longer than the budget gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        widest = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * widest <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


class TokenOutputs(NamedTuple):
    """What is known of the n positions read, each (n,) float32; None where not asked for."""

    logprobs: Tensor
    entropy: Tensor | None = None
    values: Tensor | None = None


class PolicyModel(nn.Module):
    """A causal language model that gives log-probs of completion tokens.

    model: from `AutoModelForCausalLM`. It is put into eval mode: dropout would make the
    log-probs of rollout, training and reference differ (detail 7 of the N+ list); gradients flow
    all the same.
    shares: whether packed rows may be used. linear_head: whether logits are the head's linear map
    of the last states, so that they need computing where they are read only; a family that caps or
    scales them pays for whole rows.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.shares, self.linear_head = try_out(model)

    def forward(
        self, batch: Packed, *, temperature: float = 1.0, entropy: bool = False
    ) -> TokenOutputs:
        """Log-probs (nats) of the targets under softmax(logits / temperature), temperature > 0.

        entropy: also the entropy (nats) of that distribution at each position.
        """
        if not self.linear_head:
            logits = _run(self.model, batch).logits[batch.rows, batch.columns]
            return TokenOutputs(*_token_scores(logits, batch.targets, temperature, entropy))
        return self._read(hidden_states(self.model, batch), batch, temperature, entropy)

    def _read(
        self, states: Tensor, batch: Packed, temperature: float, entropy: bool
    ) -> TokenOutputs:
        head = self.model.get_output_embeddings()
        size = max(1, MAX_LOGITS // head.weight.shape[0])
        chunks = [(states[i : i + size], batch.targets[i : i + size])
                  for i in range(0, max(1, len(states)), size)]  # fmt: skip
        again = len(chunks) > 1 and torch.is_grad_enabled()

        def read(part: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
            return _token_scores(apply_head(head, part), targets, temperature, entropy)

        parts = [checkpoint(read, *c, use_reentrant=False) if again else read(*c) for c in chunks]
        logprobs = torch.cat([part[0] for part in parts])
        return TokenOutputs(
            logprobs,
            torch.cat([part[1] for part in parts if part[1] is not None]) if entropy else None,
        )


def _token_scores(
    logits: Tensor, targets: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probs of the targets and entropies, both (n,) in nats, from logits (n, V)."""
    logits = logits.float()
    if temperature != 1:
        logits = logits / temperature
    if not entropy:
        return -nn.functional.cross_entropy(logits, targets, reduction="none"), None
    every = logits.log_softmax(dim=-1)
    return every.gather(1, targets[:, None])[:, 0], -(every.exp() * every).sum(dim=-1)


class ScalarModel(nn.Module):
    """A sequence-classification model with one output: a reward model or a value network.

    Decoders with a linear `score` head (Llama, GPT-2, GPT-NeoX and their like) are read at any
    position. Others (an encoder with a pooled head, say) run their own forward on plain rows, with
    one output a row; `reads_tokens` tells.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.reads_tokens = isinstance(getattr(model, "score", None), nn.Linear) and not getattr(
            model.config, "is_encoder_decoder", False
        )
        self.shares = self.reads_tokens and shares_prompts(model)

    def forward(self, batch: Packed) -> Tensor:
        """The head's output at the positions read, (n,) float32, before any reward shift.

        Raises ConfigError where the batch asks a model with one output a row for single tokens.
        """
        if self.reads_tokens:
            return apply_head(self.model.score, hidden_states(self.model, batch))[:, 0]
        if batch.mask.dim() != 2 or len(batch.rows) != len(batch.input_ids):
            raise ConfigError(
                f"{type(self.model).__name__} has one output a row; allowed one completion a row, "
                "read at its end"
            )
        full = self.model(input_ids=batch.input_ids, attention_mask=batch.mask.long())
        output: Tensor = full.logits[:, 0].float()
        return output[batch.rows]


class PolicyAndValue(PolicyModel):
    """Policy and value network in one backbone, a linear value head beside the language head.

    The ablation of appendix G.1, where a separate value network obtained clearly more reward.
    The head starts at N(0, 1/(d+1)), as a reward model's does.
    """

    def __init__(self, model: Any, generator: torch.Generator) -> None:
        super().__init__(model)
        size = model.get_output_embeddings().weight.shape[1]
        self.value = nn.Linear(size, 1, bias=False)
        with torch.no_grad():
            self.value.weight.normal_(0, (size + 1) ** -0.5, generator=generator)

    def forward(
        self, batch: Packed, *, temperature: float = 1.0, entropy: bool = False
    ) -> TokenOutputs:
        """As `PolicyModel.forward`, with the value of the state at each position."""
        states = hidden_states(self.model, batch)
        read = self._read(states, batch, temperature, entropy)
        return read._replace(values=apply_head(self.value, states)[:, 0])


def apply_head(head: nn.Linear, states: Tensor) -> Tensor:
    """A linear head in float32, whatever activations are.

    In bfloat16 a logit of 20 moves in steps of an eighth and a reward of 5 in steps of .03: ratios
    of PPO would leave the clip range, and pairs of summaries would tie, by rounding alone.
    """
    with torch.autocast(states.device.type, enabled=False):
        bias = None if head.bias is None else head.bias.float()
        return nn.functional.linear(states.float(), head.weight.float(), bias)


def hidden_states(model: Any, batch: Packed) -> Tensor:
    """Last hidden states (n, d) at the positions read, from the model's backbone alone."""
    states: Tensor = _run(model.base_model, batch).last_hidden_state[batch.rows, batch.columns]
    return states


def _run(model: Any, batch: Packed) -> Any:
    mask = batch.mask
    if mask.dim() == 4:
        require_sdpa(model)
    elif batch.causal:
        mask = torch.ones_like(mask)  # lets sdpa take its causal kernel, without a mask in memory
    return model(
        input_ids=batch.input_ids, attention_mask=mask, position_ids=batch.position_ids,
        use_cache=False,
    )  # fmt: skip


def require_sdpa(model: Any) -> None:
    """Refuse packed rows on any attention kernel but sdpa.

    Raises ConfigError naming the kernel.
    """
    kernel = getattr(model.config, "_attn_implementation", None)
    if kernel != "sdpa":
        raise ConfigError(
            f"attention kernel is {kernel!r}; packed rows are allowed with 'sdpa' only: load the "
            "model with attn_implementation='sdpa', or use share=False"
        )


class Abilities(NamedTuple):
    """What a model was found able to do: run packed rows; read logits from its last states."""

    shares: bool
    linear_head: bool


def shares_prompts(model: Any) -> bool:
    """Whether this model gives the same numbers on packed and on plain rows, by trying it."""
    return try_out(model).shares


@torch.no_grad()
def try_out(model: Any) -> Abilities:
    """What this model can do, from a dozen tokens run both ways; kept on the model.

    Packed rows are also ruled out where the kernel is not sdpa, or where attention has a sliding
    window, which a mask of ours would widen. Where the answer is no, it is logged once why.
    """
    known: Abilities | None = getattr(model, "_evalsuite_abilities", None)
    if known is not None:
        return known
    linear, reason = True, _ruled_out(model)
    training = model.training
    model.eval()
    try:
        plain = _probe(model, share=False)
        states = hidden_states(model, plain)
        head = model.get_output_embeddings()
        if head is not None:
            logits = _run(model, plain).logits[plain.rows, plain.columns]
            linear = _close(head(states.to(head.weight.dtype)), logits)
        if reason is None and not _close(hidden_states(model, _probe(model, True)), states):
            reason = "packed and plain rows gave different states"
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__} in a try-out: {error}"
    finally:
        model.train(training)
    if reason is not None:
        log.warning(
            "%s cannot share a prompt among completions (%s): plain rows are used",
            type(model).__name__, reason,
        )  # fmt: skip
    known = model._evalsuite_abilities = Abilities(reason is None, linear)
    return known


def _ruled_out(model: Any) -> str | None:
    config = model.config
    kernel, kinds = (
        getattr(config, "_attn_implementation", None),
        getattr(config, "layer_types", None),
    )
    if kernel != "sdpa":
        return f"its attention kernel is {kernel!r}"
    if getattr(config, "is_encoder_decoder", False) or set(kinds or ()) - {"full_attention"}:
        return "its layers are not all full causal attention"
    if not kinds and getattr(config, "sliding_window", None) is not None:
        return "its attention has a sliding window"
    return None


def _probe(model: Any, share: bool) -> Packed:
    parameter = next(model.parameters())
    size = model.config.get_text_config().vocab_size
    ids = [(7 * i + 3) % size for i in range(12)]
    group = Group(ids[:5], [ids[5:8], ids[8:12], ids[6:8]])
    return pack(
        [group], pad_id=0, read="tokens", share=share, device=parameter.device,
        dtype=parameter.dtype,
    )  # fmt: skip


def _close(a: Tensor, b: Tensor) -> bool:
    tolerance = TOLERANCE.get(a.dtype, 1e-4)
    return float((a.float() - b.float()).abs().max()) <= tolerance * (float(b.abs().max()) + 1e-6)
