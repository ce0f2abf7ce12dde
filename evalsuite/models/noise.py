"""The noise of sampling: a hash of (seed, prompt, sample, position, token), and no generator.

A sample is then the same whatever batch, order, process or resumed run it is drawn in. The token
drawn is the argmax of logits / T + Gumbel noise, which has the softmax as its distribution (the
Gumbel-max trick; Maddison et al. 2014), with noise of its own for every token of the vocabulary.
Inverting the cumulative distribution with one number a position would be cheaper, but the rounding
of logits moves each of its thousands of boundaries: with 49,000 tokens, entropy 2.5 nats and
logits that differ by 1e-6, one draw in 600 differed that way, and none of 80,000 this way.

The hash: the 64-bit words (seed, id of the prompt by BLAKE2b, sample index, position) go one after
the other through the finaliser of SplitMix64 (Steele, Lea and Flood 2014), each on top of the
last; the halves of the result then key a 32-bit finaliser of multiplications and shifts (as in
MurmurHash3) of the token's id. Its lower 31 bits make a uniform number, resolution 5e-10.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

TOKEN = 0x9E3779B1 - (1 << 32)
"""Multipliers of the 32-bit hash, as signed numbers: torch has no arithmetic on unsigned ones."""
THIRD, FOURTH = 0x7FEB352D, 0x846CA68B - (1 << 32)


IN_CACHE = 1 << 16
"""Tokens hashed at once on a CPU; a dozen passes over more would go through memory."""


def keys(seed: int, prompt_id: str, samples: Array, positions: Array) -> Array:
    """One int64 for each (sample, position) of a prompt: shape (samples, positions)."""
    digest = hashlib.blake2b(prompt_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    state = np.zeros(1, dtype=np.uint64)
    for word in (seed % (1 << 64), int.from_bytes(digest, "little")):
        state = _mixed(state, np.uint64(word))
    state = _mixed(state[:, None], np.asarray(samples, dtype=np.uint64)[:, None])
    return _mixed(state, np.asarray(positions, dtype=np.uint64)[None, :]).view(np.int64)


def _mixed(state: Array, word: Array | np.uint64) -> Array:
    """The next state; arrays wrap around silently, as the hash wants."""
    z = (state ^ word) + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return np.asarray(z ^ (z >> np.uint64(31)))


def gumbel(key: Tensor, vocabulary: int) -> Tensor:
    """Standard Gumbel noise, (n, vocabulary) float32, for keys (n,) int64."""
    low = (((key & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000).to(torch.int32)[:, None]
    high = (key >> 32).to(torch.int32)[:, None]
    tokens = torch.arange(vocabulary, dtype=torch.int32, device=key.device) * TOKEN
    out = torch.empty(len(key), vocabulary, device=key.device)
    rows = max(1, IN_CACHE // vocabulary) if key.device.type == "cpu" else max(1, len(key))
    scratch = tokens.new_empty(2, min(rows, len(key)), vocabulary)
    for at in range(0, len(key), rows):
        part = slice(at, at + rows)
        count = len(out[part])
        hashed = _hash(tokens[None], low[part], high[part], scratch[:, :count])
        # Small numbers keep all their digits, and they make the large noise that wins.
        uniform = out[part].copy_(hashed).add_(0.5).mul_(2.0**-31)
        uniform.neg_().log1p_().neg_().log_().neg_()
    return out


def _hash(tokens: Tensor, low: Tensor, high: Tensor, scratch: Tensor) -> Tensor:
    """Numbers of 31 bits, in scratch[0]; a shift drags the sign along, so each is masked."""
    z, shifted = scratch[0], scratch[1]
    torch.bitwise_xor(tokens, low, out=z)
    z ^= torch.bitwise_right_shift(z, 16, out=shifted).bitwise_and_(0xFFFF)
    z *= THIRD
    z += high
    z ^= torch.bitwise_right_shift(z, 15, out=shifted).bitwise_and_(0x1FFFF)
    z *= FOURTH
    z ^= torch.bitwise_right_shift(z, 16, out=shifted).bitwise_and_(0xFFFF)
    z &= 0x7FFFFFFF
    return z
