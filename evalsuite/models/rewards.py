"""Rewards of summaries: what PPO and best-of-N optimise and what an audit looks at.

    ModelReward     a reward model, the shift that puts references at 0 taken off
    EnsembleReward  several rewards as one: mean, worst case, or mean less a share of the variance
    TextReward      ROUGE, length, copying, or any function of the texts
    parse_reward    any of them from a word or a path, for settings and the command line

A reward is called with `RewardRequest`s and gives one float64 each, in their order. A reward that
does not exist (ROUGE without a reference, a NaN out of a model) is an error that names the
summary: a 0 in its place would be optimised like any other number.
Proof: tests/models/test_rewards.py.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.errors import ConfigError, DataError
from evalsuite.metrics.copying import copying
from evalsuite.metrics.length import characters, words
from evalsuite.metrics.rouge import rouge
from evalsuite.models import scoring
from evalsuite.models.checkpoints import load_scalar
from evalsuite.models.names import BASES, FETCHED
from evalsuite.models.packing import Group, ScalarModel
from evalsuite.models.prompts import Prompter
from evalsuite.records import Post, shown

Floats = NDArray[np.float64]

DEFAULT_FORMAT = "tldr_reward"
"""Prompt format of reward models that do not state theirs (those of others)."""

DOMAIN_FORMATS = "domain_formats"
"""Where `evalsuite.json` keeps, under `more`, the prompt formats of other domains."""

MAX_BATCH_TOKENS = 8192
"""Tokens of a batch when scoring, padding counted."""


class RewardRequest(NamedTuple):
    """A summary to be rewarded: texts, and where a policy sampled it, its tokens.

    reference: of the post, where there is one. completion: sampled tokens, with the EOS where the
    policy ended; None where there is only text. prompt: the policy's tokens of the post.
    """

    post: Post
    summary: str
    reference: str | None = None
    completion: Sequence[int] | None = None
    prompt: Sequence[int] | None = None
    prompt_id: str = ""


class Reward(Protocol):
    """Anything that rewards summaries."""

    @property
    def name(self) -> str:
        """What logs, tables and errors call it."""
        ...

    def __call__(self, requests: Sequence[RewardRequest]) -> Floats:
        """Rewards (n,), higher is better. Raises DataError where one does not exist."""
        ...


class ModelReward:
    """The reward of a reward model: its head's output at the EOS, less the shift.

    Prompts are rendered by the model's own `prompter`, once for all summaries of a post, which are
    scored behind one copy of it. Completions are rendered from their text too, unless `policy` (the
    prompter of the policy that sampled them) has the same vocabulary, prefix and end: then the
    sampled tokens themselves are scored, which need not be those that the text would give. Either
    way a completion is at most as long as the model was trained on, and ends in EOS: a sample that
    did not end is scored as if it had (what to do about it is the business of the one who asks).

    domains: prompters for posts of other domains (news), by the posts' `domain`. shift: subtracted
    from the head's output, so that references have mean reward 0 (`normalise`).
    """

    def __init__(
        self, model: ScalarModel, prompter: Prompter, *, shift: float = 0.0,
        name: str = "reward model", policy: Prompter | None = None,
        domains: Mapping[str, Prompter] | None = None, max_batch_tokens: int = MAX_BATCH_TOKENS,
    ) -> None:  # fmt: skip
        self.domains = dict(domains or {})
        self.model, self.prompter, self.shift = model, prompter, shift
        self.name, self.max_batch_tokens = name, max_batch_tokens
        self.policy = policy
        self.uses_tokens = policy is not None and same_completions(policy, prompter)

    @classmethod
    def load(
        cls, name: str | Path, *, policy: Prompter | None = None, format: str | None = None,
        device: torch.device | str = "cpu", dtype: torch.dtype | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS,
    ) -> ModelReward:  # fmt: skip
        """A reward model from a folder or a hub name, frozen.

        format: its prompt format, where the checkpoint does not state one; `tldr_reward` else.
        dtype: float32 by default. Raises as `checkpoints.load_scalar`.
        """
        loaded = load_scalar(str(name), dtype=dtype or torch.float32)
        model = ScalarModel(loaded.model.to(device).requires_grad_(False))
        info, tokenizer = loaded.info, loaded.tokenizer
        prompter = Prompter(tokenizer, format or info.prompt_format or DEFAULT_FORMAT)
        others = {} if format else info.more.get(DOMAIN_FORMATS, {})
        domains = {domain: Prompter(tokenizer, of_it) for domain, of_it in others.items()}
        return cls(
            model, prompter, shift=info.reward_shift, name=Path(name).name, policy=policy,
            domains=domains, max_batch_tokens=max_batch_tokens,
        )  # fmt: skip

    def __call__(self, requests: Sequence[RewardRequest]) -> Floats:
        """Rewards (n,): head less shift. Raises DataError where the model gives no number."""
        rewards = self.raw(requests) - self.shift
        for request, reward in zip(requests, rewards.tolist(), strict=True):
            if not math.isfinite(reward):
                raise DataError(
                    f"reward model {self.name} gives {reward} to {shown(request.summary)}",
                    allowed="finite rewards",
                )
        return rewards

    def raw(self, requests: Sequence[RewardRequest]) -> Floats:
        """The head's outputs (n,), before the shift."""
        groups, places = self._grouped(requests)
        scored = scoring.rewards(
            self.model, groups, pad_id=self.prompter.pad_id, max_batch_tokens=self.max_batch_tokens
        )
        flat = [scored[group][place] for group, place in places]
        return np.array(flat, dtype=np.float64)

    def shifted(self, shift: float) -> ModelReward:
        """The same model with another shift."""
        return ModelReward(
            self.model, self.prompter, shift=shift, name=self.name, policy=self.policy,
            domains=self.domains, max_batch_tokens=self.max_batch_tokens,
        )  # fmt: skip

    def _grouped(
        self, requests: Sequence[RewardRequest]
    ) -> tuple[list[Group], list[tuple[int, int]]]:
        """One group a post with its distinct completions; where each request stands in them."""
        prompts: dict[Post, int] = {}
        members: list[dict[tuple[int, ...], int]] = []
        places = []
        for request in requests:
            group = prompts.setdefault(request.post, len(prompts))
            if group == len(members):
                members.append({})
            completion = tuple(self._completion(request))
            place = members[group].setdefault(completion, len(members[group]))
            places.append((group, place))
        rendered = [self.prompter_of(post).prompt(post) for post in prompts]
        return [Group(p, list(c)) for p, c in zip(rendered, members, strict=True)], places

    def prompter_of(self, post: Post) -> Prompter:
        """The prompter of posts of this one's domain."""
        return self.domains.get(post.domain, self.prompter)

    def _completion(self, request: RewardRequest) -> list[int]:
        prompter = self.prompter_of(request.post)
        if request.completion is None or not self.uses_tokens:
            return prompter.completion(request.summary)
        tokens, eos = list(request.completion), prompter.eos_id
        end = tokens.index(eos) if eos in tokens else len(tokens)
        return [*tokens[: min(end, prompter.max_completion_tokens - 1)], eos]


def same_completions(policy: Prompter, own: Prompter) -> bool:
    """Whether a policy's completion tokens mean the same to a model with prompter `own`."""
    return (
        policy.eos_id == own.eos_id
        and policy.format.completion_prefix == own.format.completion_prefix
        and policy.tokenizer.get_vocab() == own.tokenizer.get_vocab()
    )


def normalise(reward: ModelReward, references: Iterable[RewardRequest]) -> ModelReward:
    """The same reward model, shifted so that these references have mean reward 0.

    Only differences of rewards are learned, so a zero has to be chosen: Stiennon et al. 2020
    choose the mean of the reference summaries. Raises DataError without a reference.
    """
    known = list(references)
    if not known:
        raise DataError("no reference to normalise rewards on", allowed="at least one")
    mean = float(reward.shifted(0.0)(known).mean())
    return reward.shifted(mean)


How = Literal["mean", "worst", "uncertainty"]


class EnsembleReward:
    """Several rewards as one, against the exploitation of any one of them.

    mean: of the members. worst: the smallest. uncertainty: mean - weight * variance, the population
    variance over the members. Members are compared with each other in "worst" and "uncertainty",
    so they must have one zero: reward models as trained here do, references being at 0.

    Raises ConfigError for fewer than two members, an unknown `how`, a weight below 0.
    Source: Coste et al. 2023 (arXiv 2310.02743), WCO and UWO; weight .5 is theirs for best-of-N.
    """

    def __init__(self, members: Sequence[Reward], how: How = "mean", weight: float = 0.5) -> None:
        if len(members) < 2:
            raise ConfigError(f"an ensemble has {len(members)} members; allowed two or more")
        if how not in get_args(How):
            raise ConfigError(f"ensemble is {shown(how)}; allowed {', '.join(get_args(How))}")
        if not 0 <= weight < math.inf:
            raise ConfigError(f"weight of the variance is {weight:g}; allowed 0 or more")
        self.members, self.how, self.weight = tuple(members), how, weight
        label = f"{how}({weight:g})" if how == "uncertainty" else how
        self.name = f"{label}:{','.join(member.name for member in members)}"

    def each(self, requests: Sequence[RewardRequest]) -> Floats:
        """The members' rewards, (members, n)."""
        return np.stack([member(requests) for member in self.members])

    def __call__(self, requests: Sequence[RewardRequest]) -> Floats:
        """Rewards (n,)."""
        return self.combine(self.each(requests))

    def combine(self, rewards: Floats) -> Floats:
        """(members, n) rewards as (n,)."""
        if self.how == "worst":
            return np.asarray(rewards.min(axis=0), dtype=np.float64)
        mean = rewards.mean(axis=0)
        if self.how == "uncertainty":
            mean = mean - self.weight * rewards.var(axis=0)  # ddof 0, as Coste et al.
        return np.asarray(mean, dtype=np.float64)


TEXT_REWARDS = {
    "rouge": "rougeL_f",
    "rouge1": "rouge1_f",
    "rouge2": "rouge2_f",
    "rougeL": "rougeL_f",
    "length": "characters",
    "words": "words",
    "copying": "bigrams copied",
}
"""Text rewards by name: F1 of ROUGE with stemming against the reference, length in characters or
words, share of the summary's bigrams that the post has in order."""

Function = Callable[[RewardRequest], float | None]


class TextReward:
    """A reward that reads texts alone: a name of `TEXT_REWARDS`, or any function of a request.

    undefined: what a summary gets for which the metric does not exist (no reference for ROUGE;
    fewer than two tokens for copying; None or NaN from a function). By default that is an error.

    Raises ConfigError for an unknown name.
    """

    def __init__(self, metric: str | Function, *, undefined: float | None = None) -> None:
        if isinstance(metric, str) and metric not in TEXT_REWARDS:
            raise _unknown(metric)
        self.metric, self.undefined = metric, undefined
        self.name = metric if isinstance(metric, str) else getattr(metric, "__name__", "function")

    def __call__(self, requests: Sequence[RewardRequest]) -> Floats:
        """Rewards (n,). Raises DataError where one is undefined."""
        values = self._values(requests)
        for at in np.flatnonzero(~np.isfinite(values)).tolist():
            if self.undefined is None:
                raise self._undefined(requests[at], float(values[at]))
            values[at] = self.undefined
        return values

    def _values(self, requests: Sequence[RewardRequest]) -> Floats:
        if not isinstance(self.metric, str):
            found = [self.metric(request) for request in requests]
            return np.array([math.nan if v is None else v for v in found], dtype=np.float64)
        texts = [request.summary for request in requests]
        if self.metric == "length":
            return characters(texts)
        if self.metric == "words":
            return words(texts)
        if self.metric == "copying":
            return np.array(copying(texts, [r.post.text for r in requests]), dtype=np.float64)
        values = np.full(len(requests), math.nan)
        known = [at for at, request in enumerate(requests) if request.reference is not None]
        if known:
            references = [requests[at].reference or "" for at in known]
            scores = rouge([texts[at] for at in known], references)
            values[known] = scores[TEXT_REWARDS[self.metric]].to_numpy()
        return values

    def _undefined(self, request: RewardRequest, value: float) -> DataError:
        why = f"it gives {value}"
        if isinstance(self.metric, str):
            why = "fewer than two tokens"
            if self.metric.startswith("rouge"):
                why = "its post has no reference summary"
        where = request.prompt_id or request.post.id
        return DataError(
            f"reward {self.name} is undefined for {shown(request.summary)} of post {where}: {why}",
            allowed=f"a value for such summaries: {self.name} else 0",
        )


ENSEMBLE = re.compile(r"(?P<how>mean|worst|uncertainty)(?:\((?P<weight>[^)]*)\))?:(?P<members>.*)")
FALLBACK = re.compile(r"(?P<metric>.*\S)\s+else\s+(?P<value>\S+)")
CALL = "call:"

ALLOWED = (
    f"a folder or hub name of a reward model, {', '.join(TEXT_REWARDS)}, call:MODULE:FUNCTION, "
    "each of the latter perhaps followed by `else VALUE` for undefined rewards, or several as "
    "mean:A,B, worst:A,B, uncertainty(WEIGHT):A,B"
)


def parse_reward(
    spec: str | Sequence[str],
    *,
    policy: Prompter | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    max_batch_tokens: int = MAX_BATCH_TOKENS,
) -> Reward:
    """A reward from words: what settings and the command line write.

    "runs/rm/model"           a reward model, by folder or hub name
    "rouge", "length", ...    a text reward of `TEXT_REWARDS`; "copying else 0" says what a summary
                              gets for which there is none
    "call:module:function"    a function of a `RewardRequest`, imported
    "mean:A,B", "worst:A,B", "uncertainty(0.1):A,B"    an ensemble; a list of words is its mean

    policy, device, dtype, max_batch_tokens: see `ModelReward`. Raises ConfigError that says what is
    allowed.
    """
    settings: dict[str, Any] = {
        "policy": policy, "device": device, "dtype": dtype, "max_batch_tokens": max_batch_tokens,
    }  # fmt: skip
    if not isinstance(spec, str):
        words_ = list(spec)
        members = [parse_reward(word, **settings) for word in words_]
        return members[0] if len(members) == 1 else EnsembleReward(members)
    text = spec.strip()
    if found := ENSEMBLE.fullmatch(text):
        names = [name.strip() for name in found["members"].split(",") if name.strip()]
        members = [parse_reward(name, **settings) for name in names]
        weight = _number(found["weight"], spec) if found["weight"] else 0.5
        how: Any = found["how"]
        return EnsembleReward(members, how, weight)
    undefined = None
    if found := FALLBACK.fullmatch(text):
        text, undefined = found["metric"], _number(found["value"], spec)
    if text in TEXT_REWARDS:
        return TextReward(text, undefined=undefined)
    if text.startswith(CALL):
        return TextReward(_imported(text), undefined=undefined)
    if undefined is not None or not text:
        raise _unknown(spec)
    if "/" not in text and text not in BASES + FETCHED and not Path(text).exists():
        raise _unknown(spec)
    return ModelReward.load(text, **settings)


def _imported(text: str) -> Function:
    module, _, name = text.removeprefix(CALL).partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"reward {shown(text)}: {error}; allowed call:MODULE:FUNCTION") from None
    if not callable(function):
        raise ConfigError(f"reward {shown(text)} is no function; allowed call:MODULE:FUNCTION")
    return function  # type: ignore[no-any-return]


def _number(text: str, spec: object) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"reward {shown(spec)}: {text!r} is no number; allowed e.g. 0.5")
    return value


def _unknown(spec: object) -> ConfigError:
    near = difflib.get_close_matches(str(spec), TEXT_REWARDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(f"reward {shown(spec)} is unknown; {hint}allowed {ALLOWED}")
