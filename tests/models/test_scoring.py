"""Log-probs and rewards are those of each completion alone, however they are batched or shared."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from evalsuite.errors import ConfigError, ModelError
from evalsuite.models import prefix
from evalsuite.models.packing import Group, PolicyModel, ScalarModel
from evalsuite.models.scoring import completion_logprobs, rewards

PAD, VOCABULARY = 0, 96
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 6},
    "bert": {"type_vocab_size": 2},
}
FAMILIES = ("llama", "gpt2", "gpt_neox")
MODELS: dict[tuple[str, bool], Any] = {}


def build(family: str, scalar: bool, **more: Any) -> Any:
    """Weights of sd 0.2, so that what a token attends to changes what is read."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes = {} if family == "gpt2" else sizes | {"num_attention_heads": 4}
    config = AutoConfig.for_model(
        family, vocab_size=VOCABULARY, max_position_embeddings=64, initializer_range=0.2,
        pad_token_id=PAD, **sizes, **SHAPES[family], **more,
    )  # fmt: skip
    kind = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    if scalar:
        config.num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind.from_config(config).eval()


def model_of(family: str, scalar: bool = False) -> Any:
    if (family, scalar) not in MODELS:
        MODELS[family, scalar] = build(family, scalar)
    return MODELS[family, scalar]


def groups() -> list[Group]:
    """Prompts of 1 to 21 tokens with 1, 2, 17, 40, 3 and 0 completions of 1 to 12 tokens."""
    draw = np.random.default_rng(8)

    def some(length: int) -> list[int]:
        return draw.integers(2, VOCABULARY, size=length).tolist()

    counts, lengths = (1, 2, 17, 40, 3, 0), (4, 21, 9, 13, 1, 6)
    return [
        Group(some(length), [some(int(draw.integers(1, 13))) for _ in range(count)])
        for length, count in zip(lengths, counts, strict=True)
    ]


def naive_logprobs(model: Any, group: Group, temperature: float) -> list[Any]:
    """Each completion alone behind its prompt, from the logits on in float64."""
    out = []
    for completion in group.completions:
        ids = torch.tensor([[*group.prompt, *completion]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0].double().numpy() / temperature
        at = np.arange(len(group.prompt) - 1, ids.shape[1] - 1)
        every = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        out.append(every[at, list(completion)])
    return out


def naive_rewards(model: Any, group: Group) -> list[float]:
    with torch.no_grad():
        return [
            float(model(input_ids=torch.tensor([[*group.prompt, *c]])).logits[0, 0])
            for c in group.completions
        ]


def check_logprobs(found: list[list[Any]], expected: list[list[Any]]) -> None:
    assert [len(x) for x in found] == [len(x) for x in expected]
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, atol=1e-5)


EXPECTED: dict[Any, Any] = {}


def expected_logprobs(family: str) -> Any:
    key = family, "logprobs"
    if key not in EXPECTED:
        EXPECTED[key] = [naive_logprobs(model_of(family), g, 0.7) for g in groups()]
    return EXPECTED[key]


def expected_rewards(family: str) -> Any:
    key = family, "rewards"
    if key not in EXPECTED:
        EXPECTED[key] = [naive_rewards(model_of(family, True), g) for g in groups()]
    return EXPECTED[key]


VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "left": {"side": "left"},
    "a row at a time": {"max_batch_tokens": 1},
    "few at a time": {"max_batch_tokens": 90},
    "all at once": {"max_batch_tokens": 1 << 20},
    "plain": {"share": False},
    "plain left": {"share": False, "side": "left"},
    "plain, one at a time": {"share": False, "max_batch_tokens": 1},
    "shared": {"share": True},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logprobs_are_those_of_each_completion_alone(family: str, variant: str) -> None:
    found = completion_logprobs(
        model_of(family), groups(), pad_id=PAD, temperature=0.7, **VARIANTS[variant]
    )
    check_logprobs(found, expected_logprobs(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_rewards_are_those_of_each_completion_alone(family: str, variant: str) -> None:
    found = rewards(model_of(family, True), groups(), pad_id=PAD, **VARIANTS[variant])
    for one, other in zip(found, expected_rewards(family), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_order_does_not_matter(family: str) -> None:
    order = [4, 2, 0, 5, 3, 1]
    shuffled = [groups()[i] for i in order]
    backwards = [Group(g.prompt, g.completions[::-1]) for g in shuffled]
    found = completion_logprobs(model_of(family), backwards, pad_id=PAD, temperature=0.7)
    check_logprobs([x[::-1] for x in found], [expected_logprobs(family)[i] for i in order])
    scored = rewards(model_of(family, True), backwards, pad_id=PAD)
    for one, i in zip(scored, order, strict=True):
        np.testing.assert_allclose(one[::-1], expected_rewards(family)[i], atol=1e-5)


def test_wrapped_models_are_the_models() -> None:
    found = completion_logprobs(
        PolicyModel(model_of("llama")), groups(), pad_id=PAD, temperature=0.7
    )
    check_logprobs(found, expected_logprobs("llama"))
    scored = rewards(ScalarModel(model_of("llama", True)), groups(), pad_id=PAD)
    np.testing.assert_allclose(scored[2], expected_rewards("llama")[2], atol=1e-5)


def test_empty_completions_have_no_tokens() -> None:
    some = [Group([5, 6], [[]] * 17 + [[7]]), Group([5, 6], [[], [7]])]
    found = completion_logprobs(model_of("llama"), some, pad_id=PAD, temperature=0.7)
    check_logprobs(found, [naive_logprobs(model_of("llama"), g, 0.7) for g in some])
    assert completion_logprobs(model_of("llama"), [], pad_id=PAD) == []


def test_the_prompt_of_many_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 candidates behind 13 tokens: 13 and all their tokens are fed, not 40 times 13."""
    fed = []
    model = model_of("llama")
    forward = model.base_model.forward

    def watched(*args: Any, **inputs: Any) -> Any:
        fed.append(inputs["input_ids"].shape)
        return forward(*args, **inputs)

    group = groups()[3]
    PolicyModel(model)  # the try-out, if it was not yet
    monkeypatch.setattr(model.base_model, "forward", watched)
    completion_logprobs(model, [group], pad_id=PAD)
    tokens = sum(len(c) - 1 for c in group.completions)
    assert fed[0] == (1, 13)
    assert fed[1:] == [(3, fed[1][1])]  # 16, 16 and 8 side by side, padded to the longest
    assert tokens <= 3 * fed[1][1] < 1.6 * tokens < 40 * 13


def test_progress_counts_completions() -> None:
    seen: list[tuple[int, int]] = []
    completion_logprobs(
        model_of("llama"), groups(), pad_id=PAD, max_batch_tokens=150,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (63, 63)
    assert len(seen) > 3
    assert seen == sorted(seen)


# ----------------------------------------------------------------- models that cannot share


@pytest.mark.parametrize("kind", ["eager", "window"])
def test_families_that_cannot_share_take_plain_rows(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = build("mistral" if kind == "window" else "llama", scalar=False)
    if kind == "eager":
        model.set_attn_implementation("eager")
    with caplog.at_level(logging.WARNING):
        found = completion_logprobs(model, groups(), pad_id=PAD, temperature=0.7)
        completion_logprobs(model, groups()[:1], pad_id=PAD)
    check_logprobs(found, [naive_logprobs(model, g, 0.7) for g in groups()])
    assert len([r for r in caplog.records if "cannot share" in r.getMessage()]) == 1
    message = (
        "attention kernel is 'eager'; packed rows are allowed with 'sdpa' only"
        if kind == "eager"
        else "MistralForCausalLM cannot share a prompt; allowed share=False"
    )
    with pytest.raises(ConfigError, match=message):
        completion_logprobs(model, groups(), pad_id=PAD, share=True)


@pytest.mark.parametrize("budget", [1, 200, 8192])
@pytest.mark.parametrize("side", ["left", "right"])
def test_an_encoder_with_a_pooled_head_runs_its_own_forward(budget: int, side: Any) -> None:
    model = build("bert", scalar=True)
    found = rewards(model, groups(), pad_id=PAD, max_batch_tokens=budget, side=side)
    for one, group in zip(found, groups(), strict=True):
        np.testing.assert_allclose(one, naive_rewards(model, group), atol=1e-5)


def test_a_head_that_is_not_linear_has_its_own_logits() -> None:
    plain = build("llama", scalar=False)

    class Capped(type(plain)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = torch.tanh(out.logits / 2) * 2
            return out

    capped = Capped(plain.config).eval()
    capped.load_state_dict(plain.state_dict())
    found = completion_logprobs(capped, groups(), pad_id=PAD, temperature=0.7)
    check_logprobs(found, [naive_logprobs(capped, g, 0.7) for g in groups()])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_is_checked(temperature: float) -> None:
    with pytest.raises(ConfigError, match=rf"temperature is {temperature}; allowed above 0"):
        completion_logprobs(model_of("llama"), groups(), pad_id=PAD, temperature=temperature)


def test_empty_prompts_and_completions_are_refused() -> None:
    with pytest.raises(ConfigError, match="a prompt is empty; allowed at least one token"):
        completion_logprobs(model_of("llama"), [Group([], [[5]])], pad_id=PAD)
    with pytest.raises(ConfigError, match="a completion is empty; allowed at least its EOS"):
        rewards(model_of("llama", True), [Group([5], [[6], []])], pad_id=PAD)


def test_context_is_checked() -> None:
    long = [Group([5] * 40, [[6] * 24]), Group([5] * 40, [[6] * 25])]
    completion_logprobs(model_of("gpt2"), long[:1], pad_id=PAD)
    with pytest.raises(ModelError, match="prompt and completion take up to 65 tokens; allowed 64"):
        completion_logprobs(model_of("gpt2"), long, pad_id=PAD)
    with pytest.raises(ModelError, match="prompt and completion take up to 65 tokens; allowed 64"):
        rewards(model_of("gpt2", True), long, pad_id=PAD)


def test_kernel_of_a_prefix_is_checked() -> None:
    model = build("llama", scalar=False)
    encoded = prefix.encode(model, [[5, 6]], pad_id=PAD, side="right")
    model.set_attn_implementation("eager")
    rows = torch.tensor([0])
    with pytest.raises(ConfigError, match="attention kernel is 'eager'; packed rows"):
        prefix.SharedPrefix(model, encoded, rows, 2, 2)
    with pytest.raises(ConfigError, match="attention kernel is 'eager'; packed rows"):
        prefix.read_behind(model, encoded, rows, rows[:, None], rows[:, None], rows[:, None])
