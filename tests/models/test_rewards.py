"""Rewards: a head less its shift, ensembles by hand, texts by their metric, words parsed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from evalsuite.errors import ConfigError, DataError
from evalsuite.models import rewards, scoring
from evalsuite.models.checkpoints import CheckpointInfo, save
from evalsuite.models.packing import Group, ScalarModel
from evalsuite.models.prompts import Prompter
from evalsuite.models.rewards import (
    EnsembleReward,
    ModelReward,
    RewardRequest,
    TextReward,
    normalise,
    parse_reward,
    same_completions,
)
from evalsuite.records import Post

WORDS = ["one", "two", "three", "four", "cat", "dog", "bird"]
POST, OTHER = Post("one two three"), Post("four four")


def build_tokenizer(words: Sequence[str] = WORDS) -> Any:
    ids = {"<eos>": 0, "[PAD]": 1, "[UNK]": 2}
    ids |= {word: i for i, word in enumerate([*words, *(f" {word}" for word in words)], start=3)}
    inner = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[^\w]"), "isolated")
    inner.decoder = decoders.Fuse()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="[PAD]", unk_token="[UNK]"
    )


def build_model(seed: int = 0) -> Any:
    config = tf.LlamaConfig(
        vocab_size=24, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64, num_labels=1,
        pad_token_id=1, eos_token_id=0, bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return tf.AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="module")
def model() -> ScalarModel:
    return ScalarModel(build_model())


def head(model: ScalarModel, tokens: list[int]) -> float:
    """What the plain model says at the last token of a row of its own."""
    with torch.no_grad():
        out = model.model.model(input_ids=torch.tensor([tokens])).last_hidden_state[0, -1]
        return float(model.model.score(out)[0])


def text_tokens(tokenizer: Any, *texts: str) -> list[int]:
    return [token for text in texts for token in tokenizer(text)["input_ids"]]


class Fixed:
    """A reward that says what it was told."""

    def __init__(self, name: str, *values: float) -> None:
        self.name, self.values = name, values

    def __call__(self, requests: Sequence[RewardRequest]) -> np.ndarray[Any, Any]:
        return np.array(self.values[: len(requests)], dtype=np.float64)


REQUESTS = [
    RewardRequest(POST, "cat dog"),
    RewardRequest(OTHER, "bird"),
    RewardRequest(POST, "bird"),
    RewardRequest(POST, "cat dog"),
]


def test_model_reward_is_the_head_at_eos_less_the_shift(tokenizer: Any, model: ScalarModel) -> None:
    reward = ModelReward(model, Prompter(tokenizer, "tldr_on_news"), shift=0.5)
    got = reward(REQUESTS)
    prompts = {
        post: text_tokens(tokenizer, post.text, "\n", "\n", "TL;DR:") for post in (POST, OTHER)
    }
    want = [
        head(model, [*prompts[r.post], *text_tokens(tokenizer, " " + r.summary), 0]) - 0.5
        for r in REQUESTS
    ]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert got[0] == got[3]
    assert len(set(got.tolist())) == 3


def test_candidates_of_a_post_share_its_prompt(
    tokenizer: Any, model: ScalarModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Group] = []
    plain = scoring.rewards

    def spy(model: ScalarModel, groups: Sequence[Group], **more: Any) -> Any:
        seen.extend(groups)
        return plain(model, groups, **more)

    monkeypatch.setattr(rewards.scoring, "rewards", spy)
    ModelReward(model, Prompter(tokenizer, "tldr_on_news"))(REQUESTS)
    assert [len(group.completions) for group in seen] == [2, 1]


def test_sampled_tokens_are_used_where_they_mean_the_same(
    tokenizer: Any, model: ScalarModel
) -> None:
    own = Prompter(tokenizer, "tldr_on_news", max_completion_tokens=4)
    policy = Prompter(build_tokenizer(), "tldr")
    # "cat" without its space: not what the text "cat" would give (" cat").
    cat, dog = text_tokens(tokenizer, "cat", " dog")
    odd = RewardRequest(POST, "cat", completion=[cat, 0, dog])
    prompt = own.prompt(POST)
    by_text, by_tokens = ModelReward(model, own), ModelReward(model, own, policy=policy)
    spaced = text_tokens(tokenizer, " cat")
    assert by_text([odd])[0] == pytest.approx(
        head(model, [*prompt, *spaced, 0]), rel=1e-5, abs=1e-6
    )
    assert by_tokens([odd])[0] == pytest.approx(head(model, [*prompt, cat, 0]), rel=1e-5, abs=1e-6)
    # No EOS: scored as if it had ended; too long: cut to three tokens and EOS.
    endless = odd._replace(completion=[cat, dog])
    long = odd._replace(completion=[cat, dog, dog, dog, dog, 0])
    want = [head(model, [*prompt, cat, dog, 0]), head(model, [*prompt, cat, dog, dog, 0])]
    np.testing.assert_allclose(by_tokens([endless, long]), want, rtol=1e-5, atol=1e-6)
    assert by_tokens([odd._replace(completion=None)])[0] == by_text([odd])[0]


def test_tokens_of_another_vocabulary_are_not_used(tokenizer: Any, model: ScalarModel) -> None:
    own = Prompter(tokenizer, "tldr")
    assert same_completions(Prompter(build_tokenizer(), "tldr_on_news"), own)
    assert not same_completions(Prompter(build_tokenizer(WORDS[::-1]), "tldr"), own)
    assert not same_completions(Prompter(tokenizer, "cnndm"), own)  # no leading space there
    assert not ModelReward(model, own).uses_tokens


def test_references_get_mean_reward_zero(tokenizer: Any, model: ScalarModel) -> None:
    reward = ModelReward(model, Prompter(tokenizer, "tldr_on_news"), shift=3.0)
    centred = normalise(reward, REQUESTS[:3])
    assert abs(centred(REQUESTS[:3]).mean()) < 1e-12
    assert centred.shift == pytest.approx(reward.raw(REQUESTS[:3]).mean(), abs=1e-12)
    np.testing.assert_allclose(centred(REQUESTS) - reward(REQUESTS), 3.0 - centred.shift)
    with pytest.raises(DataError, match="no reference to normalise rewards on"):
        normalise(reward, [])


def test_a_reward_that_is_no_number_is_an_error(tokenizer: Any) -> None:
    broken = build_model()
    with torch.no_grad():
        broken.score.weight.fill_(math.nan)
    reward = ModelReward(ScalarModel(broken), Prompter(tokenizer, "tldr_on_news"), name="mine")
    with pytest.raises(DataError, match="reward model mine gives nan to 'cat dog'; allowed finite"):
        reward(REQUESTS)


def saved(folder: Path, tokenizer: Any, **info: Any) -> Path:
    save(folder, build_model(), tokenizer, CheckpointInfo(kind="reward", **info))
    return folder


def test_load_applies_shift_and_formats(tmp_path: Path, tokenizer: Any, model: ScalarModel) -> None:
    formats = {"template": "{text}", "max_prompt_tokens": 9, "max_completion_tokens": 5}
    news = {"template": "{text} dog", "max_prompt_tokens": 9, "max_completion_tokens": 5}
    folder = saved(
        tmp_path / "rm", tokenizer, prompt_format=formats, reward_shift=1.25,
        more={"domain_formats": {"cnndm": news}},
    )  # fmt: skip
    reward = ModelReward.load(folder)
    assert (reward.name, reward.shift) == ("rm", 1.25)
    assert not any(p.requires_grad for p in reward.model.parameters())
    article = Post("four four", domain="cnndm")
    got = reward([RewardRequest(POST, "cat"), RewardRequest(article, "cat")])
    cat = text_tokens(tokenizer, " cat")
    prompts = [text_tokens(tokenizer, "one two three"), text_tokens(tokenizer, "four four dog")]
    want = [head(model, [*prompt, *cat, 0]) - 1.25 for prompt in prompts]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert ModelReward.load(folder, format="tldr").domains == {}


def test_ensembles_by_hand() -> None:
    members = [Fixed("a", 1.0, 0.0), Fixed("b", 3.0, 0.0), Fixed("c", 8.0, 3.0)]
    two = REQUESTS[:2]
    # Means 12/3 and 3/3. Population variances: (9 + 1 + 16)/3 and (1 + 1 + 4)/3.
    np.testing.assert_allclose(EnsembleReward(members)(two), [4.0, 1.0])
    np.testing.assert_allclose(EnsembleReward(members, "worst")(two), [1.0, 0.0])
    np.testing.assert_allclose(
        EnsembleReward(members, "uncertainty")(two), [4 - 0.5 * 26 / 3, 1 - 0.5 * 2]
    )
    np.testing.assert_allclose(
        EnsembleReward(members, "uncertainty", weight=0.1)(two), [4 - 2.6 / 3, 0.8]
    )
    assert EnsembleReward(members).each(two).tolist() == [[1, 0], [3, 0], [8, 3]]
    assert EnsembleReward(members, "uncertainty", 0.1).name == "uncertainty(0.1):a,b,c"
    assert EnsembleReward(members, "worst").name == "worst:a,b,c"


def test_ensembles_refuse_what_they_cannot_be() -> None:
    a, b = Fixed("a"), Fixed("b")
    with pytest.raises(ConfigError, match="an ensemble has 1 members; allowed two or more"):
        EnsembleReward([a])
    how: Any = "best"
    with pytest.raises(ConfigError, match="ensemble is 'best'; allowed mean, worst, uncertainty"):
        EnsembleReward([a, b], how)
    with pytest.raises(ConfigError, match="weight of the variance is -1; allowed 0 or more"):
        EnsembleReward([a, b], "uncertainty", -1.0)


def test_text_rewards_by_hand() -> None:
    requests = [
        RewardRequest(POST, "cat two three ", reference="two three"),
        RewardRequest(POST, "one two", reference="two one"),
    ]
    # Words in common 2 of 3 and 2: F1 = 2*2/(3+2); the longest common subsequence is also 2.
    # Second: unigrams agree, no bigram does, a subsequence of 1 of 2 words.
    assert TextReward("rouge1")(requests).tolist() == pytest.approx([0.8, 1.0])
    assert TextReward("rouge2")(requests).tolist() == pytest.approx([2 * 1 / (2 + 1), 0.0])
    assert TextReward("rouge")(requests).tolist() == pytest.approx([0.8, 0.5])
    assert TextReward("rougeL")(requests).tolist() == TextReward("rouge")(requests).tolist()
    assert TextReward("length")(requests).tolist() == [13.0, 7.0]
    assert TextReward("words")(requests).tolist() == [3.0, 2.0]
    # Bigrams (cat two) (two three), one of two in the post; (one two) is there.
    assert TextReward("copying")(requests).tolist() == [0.5, 1.0]
    assert TextReward("rouge")([]).shape == (0,)


def test_undefined_text_rewards_are_errors_not_zero() -> None:
    known, unknown = RewardRequest(POST, "cat dog", reference="dog"), RewardRequest(POST, "cat")
    why = (
        f"reward rouge is undefined for 'cat' of post {POST.id}: its post has no reference "
        "summary; allowed a value for such summaries: rouge else 0"
    )
    with pytest.raises(DataError, match=why):
        TextReward("rouge")([known, unknown])
    why = "reward copying is undefined for 'cat' of post p7: fewer than two tokens"
    with pytest.raises(DataError, match=why):
        TextReward("copying")([unknown._replace(prompt_id="p7")])
    assert TextReward("copying", undefined=-1.0)([known, unknown]).tolist() == [0.0, -1.0]
    # A reference is there but shares no word: 0 is a value, not undefined.
    assert TextReward("rouge")([known._replace(reference="bird")]).tolist() == [0.0]


def vowels(request: RewardRequest) -> float | None:
    """Vowels of a summary; none of an empty one."""
    return sum(c in "aeiou" for c in request.summary) if request.summary else None


def test_any_function_is_a_reward() -> None:
    reward = TextReward(vowels)
    assert reward.name == "vowels"
    assert reward([RewardRequest(POST, "bird"), RewardRequest(POST, "a toe")]).tolist() == [1, 3]
    with pytest.raises(
        DataError, match=r"reward vowels is undefined for '' of post .*: it gives na"
    ):
        reward([RewardRequest(POST, "")])


def test_rewards_parsed_from_words(tmp_path: Path, tokenizer: Any) -> None:
    first, second = (saved(tmp_path / name, tokenizer, reward_shift=0.5) for name in ("a", "b"))
    one = parse_reward(str(first))
    assert isinstance(one, ModelReward)
    assert one.shift == 0.5
    for how in ("mean", "worst"):
        both = parse_reward(f"{how}: {first}, {second}")
        assert isinstance(both, EnsembleReward)
        assert (both.how, [m.name for m in both.members]) == (how, ["a", "b"])
    careful = parse_reward(f"uncertainty(0.1):{first},rouge")
    assert isinstance(careful, EnsembleReward)
    assert (careful.weight, careful.name) == (0.1, "uncertainty(0.1):a,rouge")
    listed = parse_reward(["length", "words"])
    assert listed([RewardRequest(POST, "cat dog")]).tolist() == [4.5]
    assert parse_reward(["length"]).name == "length"
    assert parse_reward("copying else -1")([RewardRequest(POST, "cat")]).tolist() == [-1.0]
    joined = parse_reward("call:os.path:commonprefix")
    assert joined.name == "commonprefix"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rogue", r"reward 'rogue' is unknown; did you mean 'rouge'\? allowed a folder or hub"),
        ("", "reward '' is unknown; allowed a folder"),
        ("mean:rouge", "an ensemble has 1 members"),
        ("uncertainty(x):rouge,length", "'x' is no number; allowed e.g. 0.5"),
        ("copying else nan", "'nan' is no number"),
        ("nothing else 0", "reward 'nothing else 0' is unknown"),
        ("call:evalsuite.nothing:f", "No module named 'evalsuite.nothing'; allowed call:MODULE"),
        ("call:math:nothing", "has no attribute 'nothing'; allowed call:MODULE:FUNCTION"),
        ("call:math:pi", "reward 'call:math:pi' is no function; allowed call:MODULE:FUNCTION"),
    ],
)
def test_specs_that_are_refused_say_what_is_allowed(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_reward(spec)


def test_an_unknown_text_reward_is_refused() -> None:
    with pytest.raises(ConfigError, match="reward 'bleu' is unknown; allowed"):
        TextReward("bleu")
