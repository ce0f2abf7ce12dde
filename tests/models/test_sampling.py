"""Samples are the same token for token, however they are batched, padded, ordered or shared."""

from __future__ import annotations

import hashlib
import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from evalsuite.errors import ConfigError, ModelError
from evalsuite.models.noise import gumbel, keys
from evalsuite.models.packing import PolicyModel
from evalsuite.models.sampling import Prompt, Samples, pick, sample

EOS, PAD = 1, 0
SMALL = {"vocab_size": 24, "max_position_embeddings": 64, "initializer_range": 0.2}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


def build(family: str, **more: Any) -> Any:
    """Weights of sd 0.2: with the usual 0.02 all tokens are equally likely whatever is masked."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        if family == "gpt2":
            sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4}
            return GPT2LMHeadModel(GPT2Config(**SMALL, **sizes, **more)).eval()
        if family == "neox":
            return GPTNeoXForCausalLM(
                GPTNeoXConfig(**SMALL, **SIZES, num_attention_heads=4, **more)
            ).eval()
        if family == "mistral":
            more = {"sliding_window": 6} | more
            return MistralForCausalLM(
                MistralConfig(
                    **SMALL, **SIZES, num_attention_heads=4, num_key_value_heads=2, **more
                )
            ).eval()
        return LlamaForCausalLM(
            LlamaConfig(**SMALL, **SIZES, num_attention_heads=4, num_key_value_heads=2, **more)
        ).eval()


FAMILIES = ("llama", "gpt2", "neox")
MODELS: dict[str, Any] = {}


def model_of(family: str) -> Any:
    if family not in MODELS:
        MODELS[family] = build(family)
    return MODELS[family]


def prompts(count: int = 7) -> list[Prompt]:
    draw = np.random.default_rng(5)
    return [
        Prompt(f"post-{i}", draw.integers(2, 24, size=3 + 5 * i % 17).tolist())
        for i in range(count)
    ]


SETTINGS: dict[str, Any] = {
    "k": 5, "max_new_tokens": 9, "eos_id": EOS, "pad_id": PAD, "temperature": 0.9, "seed": 3,
}  # fmt: skip


def naive(model: Any, prompt: Prompt, index: int, settings: dict[str, Any]) -> tuple[Any, Any]:
    """One sample, every prefix encoded anew, alone; float64 from the logits on."""
    tokens, logprobs = list(prompt.tokens), []
    temperature, top_p = settings["temperature"], settings.get("top_p", 1.0)
    for position in range(settings["max_new_tokens"]):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, -1].double().numpy()
        plain = logits / (temperature or 1.0)
        full = np.exp(plain - np.logaddexp.reduce(plain))
        if temperature == 0:
            token = int(logits.argmax())
        else:
            kept, mass = set(), 0.0
            for one in np.argsort(-full, kind="stable"):
                if mass < top_p:
                    kept.add(int(one))
                mass += full[one]
            key = keys(settings["seed"], prompt.id, np.array([index]), np.array([position]))
            noise = gumbel(torch.from_numpy(key[0]), len(full))[0].double().numpy()
            token = max(kept, key=lambda one: plain[one] + noise[one])
        logprobs.append(np.log(full[token]))
        tokens.append(token)
        if token == settings["eos_id"] and not settings.get("fixed_length"):
            break
    return tokens[len(prompt.tokens) :], logprobs


def same(found: list[Samples], expected: list[Samples]) -> None:
    assert [s.id for s in found] == [s.id for s in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.tokens == other.tokens
        for a, b in zip(one.logprobs, other.logprobs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"temperature": 0.0},
        {"top_p": 0.7, "temperature": 1.3},
        {"fixed_length": True},
        {"k": 1},
        {"max_new_tokens": 1},
    ],
    ids=str,
)
def test_equals_encoding_every_prefix_anew(family: str, change: dict[str, Any]) -> None:
    model, settings = model_of(family), SETTINGS | change
    found = sample(model, prompts(4), **settings)
    for prompt, samples in zip(prompts(4), found, strict=True):
        assert samples.id == prompt.id
        assert len(samples.tokens) == len(samples.logprobs) == settings["k"]
        for index in range(settings["k"]):
            tokens, logprobs = naive(model, prompt, index, settings)
            assert samples.tokens[index] == tokens
            np.testing.assert_allclose(samples.logprobs[index], logprobs, atol=1e-5)


ENDING = SETTINGS | {"k": 19, "temperature": 2.0, "max_new_tokens": 12}
REFERENCE: dict[str, list[Samples]] = {}


def every(family: str) -> list[Samples]:
    """All samples of all prompts, made once; they equal the naive ones by the test above."""
    if family not in REFERENCE:
        REFERENCE[family] = sample(model_of(family), prompts(), **ENDING)
    return REFERENCE[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_ends_matter_in_these_tests(family: str) -> None:
    """Some samples end early, some never: both ways of leaving the loop are walked."""
    lengths = [len(t) for s in every(family) for t in s.tokens]
    assert min(lengths) < 4
    assert max(lengths) == ENDING["max_new_tokens"]


VARIANTS: dict[str, dict[str, Any]] = {
    "one prompt at a time": {"max_batch_tokens": 1},
    "a few at a time": {"max_batch_tokens": 600},
    "left": {"side": "left"},
    "right": {"side": "right"},
    "plain": {"share": False},
    "plain right": {"share": False, "side": "right"},
    "plain few": {"share": False, "max_batch_tokens": 900},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_same_however_it_is_run(family: str, variant: str) -> None:
    same(sample(model_of(family), prompts(), **ENDING | VARIANTS[variant]), every(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_same_in_any_order_and_alone(family: str) -> None:
    model, order = model_of(family), [3, 0, 6, 1, 5, 2, 4]
    shuffled = sample(model, [prompts()[i] for i in order], **ENDING)
    same(shuffled, [every(family)[i] for i in order])
    same(sample(model, prompts()[2:3], **ENDING), every(family)[2:3])


@pytest.mark.parametrize("family", FAMILIES)
def test_later_samples_are_those_of_a_longer_run(family: str) -> None:
    late = sample(model_of(family), prompts(), **ENDING | {"k": 4, "first_sample": 13})
    same(late, [Samples(s.id, s.tokens[13:17], s.logprobs[13:17]) for s in every(family)])


def test_finished_samples_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = []
    from evalsuite.models import prefix

    step = prefix.SharedPrefix.step

    def watched(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        fed.append(tokens.numel())
        return step(self, tokens)

    monkeypatch.setattr(prefix.SharedPrefix, "step", watched)
    settings = ENDING | {"k": 16, "max_new_tokens": 36}
    found = sample(model_of("llama"), prompts(), **settings)
    needed = sum(len(tokens) - 1 for samples in found for tokens in samples.tokens)
    assert fed == sorted(fed, reverse=True)
    assert needed <= sum(fed) < 1.7 * needed
    assert sum(fed) < 0.85 * 7 * 16 * 35
    fed.clear()
    found = sample(model_of("llama"), prompts(60), **settings | {"k": 1})
    needed = sum(len(tokens) - 1 for samples in found for tokens in samples.tokens)
    assert needed <= sum(fed) < 1.25 * needed
    assert sum(fed) < 0.7 * 60 * 35


def test_wrapped_model_is_the_model() -> None:
    model = model_of("llama")
    same(sample(PolicyModel(model), prompts(3), **SETTINGS), sample(model, prompts(3), **SETTINGS))


def test_head_that_is_not_linear() -> None:
    """A head that caps its logits: the whole model is run, not the backbone and the head."""

    class Capped(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = torch.tanh(out.logits / 2) * 2
            return out

    plain = build("llama")
    capped = Capped(plain.config).eval()
    capped.load_state_dict(plain.state_dict())
    found = sample(capped, prompts(3), **SETTINGS)
    for prompt, samples in zip(prompts(3), found, strict=True):
        tokens, logprobs = naive(capped, prompt, 2, SETTINGS)
        assert samples.tokens[2] == tokens
        np.testing.assert_allclose(samples.logprobs[2], logprobs, atol=1e-5)
    same(sample(capped, prompts(3), **SETTINGS, share=False), found)


@pytest.mark.parametrize("kind", ["eager", "window"])
def test_families_that_cannot_share_take_plain_rows(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    family = "mistral" if kind == "window" else "llama"
    model = build(family)
    if kind == "eager":
        model.set_attn_implementation("eager")
    with caplog.at_level(logging.WARNING):
        found = sample(model, prompts(4), **SETTINGS)
        sample(model, prompts(4), **SETTINGS)
    assert len([r for r in caplog.records if "cannot share" in r.getMessage()]) == 1
    for prompt, samples in zip(prompts(4), found, strict=True):
        tokens, logprobs = naive(model, prompt, 1, SETTINGS)
        assert samples.tokens[1] == tokens
        np.testing.assert_allclose(samples.logprobs[1], logprobs, atol=1e-5)
    with pytest.raises(ConfigError, match="cannot share a prompt; allowed share=False"):
        sample(model, prompts(4), **SETTINGS, share=True)


def test_progress_counts_prompts() -> None:
    seen: list[tuple[int, int]] = []
    sample(
        model_of("llama"), prompts(5), **SETTINGS, max_batch_tokens=150,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (5, 5)
    assert len(seen) > 1
    assert seen == sorted(seen)


def test_no_prompts_no_samples() -> None:
    assert sample(model_of("llama"), [], **SETTINGS) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0; allowed 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; allowed 1 or more"),
        ({"first_sample": -1}, "first_sample is -1; allowed 0 or more"),
        ({"temperature": -0.5}, "temperature is -0.5; allowed 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan; allowed 0 or more"),
        ({"top_p": 0.0}, r"top_p is 0.0; allowed above 0, up to 1"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample(model_of("llama"), prompts(), **SETTINGS | change)


def test_context_is_checked() -> None:
    """64 positions; the last new token takes none."""
    longest = max(len(prompt.tokens) for prompt in prompts())
    settings = SETTINGS | {"k": 1, "fixed_length": True}
    model, room = model_of("gpt2"), 64 - longest + 1
    assert len(sample(model, prompts(), **settings | {"max_new_tokens": room})[0].tokens[0]) == room
    with pytest.raises(ModelError, match="prompt and completion take up to 65 tokens; allowed 64"):
        sample(model, prompts(), **settings | {"max_new_tokens": room + 1})


def test_empty_prompts_are_refused() -> None:
    with pytest.raises(ConfigError, match="a prompt is empty; allowed at least one token"):
        sample(model_of("llama"), [Prompt("a", [])], **SETTINGS)


# ---------------------------------------------------------------------------- the draw itself


SHARES = np.array([0.125, 0.25, 0.5, 0.0, 0.125])


def draws(count: int, **how: Any) -> tuple[Any, Any]:
    """Tokens and log-probs of many keys on the logits of SHARES."""
    with np.errstate(divide="ignore"):
        logits = torch.from_numpy(np.log(SHARES)).float()[None].expand(count, -1)
    key = keys(11, "a", np.arange(count // 100), np.arange(100)).reshape(-1)
    tokens, logprobs = pick(logits, torch.from_numpy(key), **how)
    return tokens.numpy(), logprobs.numpy()


def close(tokens: Any, shares: Any) -> None:
    """Within 4.5 standard errors, and never a token without probability."""
    found = np.bincount(tokens, minlength=5) / len(tokens)
    assert (found[shares == 0] == 0).all()
    assert (
        np.abs(found - shares) < 4.5 * np.sqrt(shares * (1 - shares) / len(tokens)) + 1e-12
    ).all()


def test_frequencies_are_the_softmax() -> None:
    tokens, logprobs = draws(40_000, temperature=1.0)
    close(tokens, SHARES)
    np.testing.assert_allclose(logprobs, np.log(SHARES[tokens]), rtol=1e-6)


def test_temperature_by_hand() -> None:
    """At T = 1/2 the weights 1, 2, 4, 0, 1 are squared: 1, 4, 16, 0, 1 of 22."""
    tokens, logprobs = draws(40_000, temperature=0.5)
    shares = np.array([1, 4, 16, 0, 1]) / 22
    close(tokens, shares)
    np.testing.assert_allclose(logprobs, np.log(shares[tokens]), rtol=1e-6)


def test_temperature_zero_is_the_argmax_with_plain_logprobs() -> None:
    tokens, logprobs = draws(100, temperature=0.0)
    assert set(tokens) == {2}
    np.testing.assert_allclose(logprobs, np.log(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0.4, [2]),
        (0.5, [2]),
        (0.51, [1, 2]),
        (0.75, [1, 2]),
        (0.76, [0, 1, 2]),
        (0.9, [0, 1, 2, 4]),
    ],
)
def test_top_p_keeps_the_boundary_token(top_p: float, kept: list[int]) -> None:
    """Of the two equal shares of .125 the first comes first. Log-probs are those of the whole."""
    tokens, logprobs = draws(20_000, temperature=1.0, top_p=top_p)
    shares = np.where(np.isin(np.arange(5), kept), SHARES, 0)
    close(tokens, shares / shares.sum())
    np.testing.assert_allclose(logprobs, np.log(SHARES[tokens]), rtol=1e-6)


def test_rounding_of_logits_changes_no_token() -> None:
    """A vocabulary of 50,000 and logits moved by 1e-6: about one draw in a million may differ."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 50_000, generator=generator) * 3
    moved = logits + 1e-6 * torch.randn(logits.shape, generator=generator)
    key = torch.from_numpy(keys(0, "a", np.arange(5), np.arange(40)).reshape(-1))
    one, other = (pick(x.expand(200, -1), key, temperature=0.7)[0] for x in (logits, moved))
    assert torch.equal(one, other)
    assert len(set(one.tolist())) > 30


# ------------------------------------------------------------------------------------ the noise


def test_keys_are_of_all_four() -> None:
    numbers, places = np.arange(3), np.arange(4)
    base = keys(1, "a", numbers, places)
    assert base.shape == (3, 4)
    assert base.dtype == np.int64
    assert len(np.unique(base)) == 12
    for other in (keys(2, "a", numbers, places), keys(1, "b", numbers, places)):
        assert not np.isin(other, base).any()
    np.testing.assert_array_equal(keys(1, "a", np.array([2]), np.array([3])), base[2:, 3:])
    np.testing.assert_array_equal(keys(1 + 2**64, "a", numbers, places), base)
    keys(-1, "\ud800", numbers, places)  # any int, any text


@pytest.mark.parametrize("token", [0, 1, 49_151])
def test_noise_by_hand(token: int) -> None:
    """The hash written out with Python's integers."""

    def mixed(state: int, word: int) -> int:
        z = ((state ^ word) + 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    key = 0
    name = int.from_bytes(hashlib.blake2b(b"post-1", digest_size=8).digest(), "little")
    for word in (42, name, 5, 17):
        key = mixed(key, word)
    got = keys(42, "post-1", np.array([5]), np.array([17]))
    assert int(got.view(np.uint64)[0, 0]) == key

    z = (token * 0x9E3779B1 % 2**32) ^ (key % 2**32)
    z = (z ^ (z >> 16)) * 0x7FEB352D % 2**32
    z = (z + (key >> 32)) % 2**32
    z = (z ^ (z >> 15)) * 0x846CA68B % 2**32
    z = (z ^ (z >> 16)) % 2**31
    expected = -math.log(-math.log1p(-(z + 0.5) / 2**31))
    assert float(gumbel(torch.from_numpy(got[0]), 50_000)[0, token]) == pytest.approx(
        expected, 1e-5
    )


def test_noise_is_gumbel_and_independent() -> None:
    """Seeds, ids, samples, positions and tokens that follow one another, as they do in use."""
    key = np.stack(
        [keys(seed, f"{i}", np.arange(6), np.arange(12)) for seed in (0, 1) for i in range(10)]
    )
    noise = gumbel(torch.from_numpy(key.reshape(-1)), 300).double().numpy()
    assert np.isfinite(noise).all()
    uniform = np.exp(-np.exp(-noise)).reshape(2, 10, 6, 12, 300)
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    for axis in range(5):  # neighbours along each key: correlation 0, sd 1/sqrt(n)
        a = np.take(uniform, range(uniform.shape[axis] - 1), axis=axis).ravel()
        b = np.take(uniform, range(1, uniform.shape[axis]), axis=axis).ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / len(a) ** 0.5
        table = np.histogram2d(a, b, bins=10)[0]
        assert stats.chisquare(table.ravel()).pvalue > 1e-3
    winners = np.bincount(noise.argmax(axis=1), minlength=300)
    assert stats.chisquare(winners).pvalue > 1e-3


def test_noise_has_its_tails() -> None:
    """Of 14 million draws the largest is about log(14e6) = 16.4: no lattice cuts it off."""
    key = torch.from_numpy(keys(3, "a", np.arange(12), np.arange(24)).reshape(-1))
    top = gumbel(key, 49_152).amax(dim=1).double().numpy()
    assert 14.5 < top.max() < 23
    assert len(np.unique(top)) > len(top) - 5
    # The largest of 49,152 draws is Gumbel again, moved up by log(49,152).
    assert stats.kstest(top - math.log(49_152), stats.gumbel_r.cdf).pvalue > 1e-3
