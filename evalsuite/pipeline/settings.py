"""Settings of `evalsuite reproduce`: how much of the paper is run, at what size, on which data.

A file lists what differs from the defaults; `configs/reproduce/` has five. Everything is decided
here and in the plan that `plan.make_plan` makes of it, nothing while steps run.
Proof: tests/pipeline/test_settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evalsuite.config import resolve
from evalsuite.errors import ConfigError


@dataclass(frozen=True)
class PostsSettings:
    """Posts, and what each part of them is for; every seed has its own but for the evaluation.

    files: posts with references that are divided up, by a hash of the post; none: the simulated
        world.
    train: for SFT and as prompts of PPO.
    labelled: whose samples are compared.
    test: whose samples are the held-out pairs of reward models.
    evaluation: that policies are judged on; the same for every seed.
    news: of the second domain, for transfer (the simulated world only).
    world_seed: of the simulated world.
    """

    files: tuple[str, ...] = ()
    train: int = 6000
    labelled: int = 2500
    test: int = 400
    evaluation: int = 300
    news: int = 150
    world_seed: int = 0


@dataclass(frozen=True)
class LabelSettings:
    """Who compares summaries for the reward models, how many, and who knows the truth.

    judge: "simulated" (the world's labelers), "gold" (Bradley-Terry answers of the gold model), or
        "files": reward models are trained on the comparisons of `gold_files` themselves, and the
        gold model answers for labelers everywhere else.
    labelers: of the simulated crowd.
    samples: of each labelled post.
    temperature: of the samples.
    pairs: labels of a seed, held-out ones among them.
    test_pairs: held-out pairs on posts of their own, answered by the truth and by labelers.
    reference_share: share of pairs with the reference on one side.
    gold_files: comparisons that the gold model is trained on, where there is no simulated truth.
    gold_size: the size that the gold model has.
    """

    judge: Literal["simulated", "gold", "files"] = "simulated"
    labelers: int = 24
    samples: int = 4
    temperature: float = 0.7
    pairs: int = 6000
    test_pairs: int = 1000
    reference_share: float = 0.3
    gold_files: tuple[str, ...] = ()
    gold_size: str = ""


@dataclass(frozen=True)
class RewardModelGrid:
    """Reward models: sizes x amounts of labels x members of an ensemble.

    amounts: of labels; the largest is the main reward model.
    sizes: trained at every amount; the other sizes at the largest amount alone.
    members: of an ensemble at the smallest amount and the first size: as many heads and orders.
    """

    amounts: tuple[int, ...] = (300, 4800)
    sizes: tuple[str, ...] = ()
    members: int = 3


@dataclass(frozen=True)
class Optimised:
    """Runs of PPO that share all but the KL coefficient.

    size: of the policy. objective: a key of an objective, `rm-small-4800`, `rouge`,
        `worst(rm-small-300)`. kl_coefs: one run each. value_network: separate or shared.
    episodes: of each run; by default those of `ppo`.
    """

    size: str
    objective: str
    kl_coefs: tuple[float, ...] = (0.05,)
    value_network: Literal["separate", "shared"] = "separate"
    episodes: int | None = None


@dataclass(frozen=True)
class PoolSettings:
    """What best-of-N chooses among.

    size: of the supervised policy. posts: of the evaluation. samples: of each, the largest N.
    temperature: that of the rollouts. shown: N whose choice becomes a policy with labels.
    """

    size: str = ""
    posts: int = 128
    samples: int = 128
    temperature: float = 0.7
    shown: tuple[int, ...] = (16,)


@dataclass(frozen=True)
class RoundSettings:
    """The paper's loop: sample, label, train a reward model on all labels so far, PPO; again.

    count: of rounds; 0 for none. posts: of each round. samples: of each post and policy.
    pairs: labels of a round. drift_pairs: supervised against reference, to watch labelers.
    kl_coef: of each round's PPO. episodes: of it; by default those of `ppo`. best_of: the N with
        which a round's reward model also chooses among samples for the next.
    """

    count: int = 2
    posts: int = 600
    samples: int = 3
    pairs: int = 1500
    drift_pairs: int = 300
    kl_coef: float = 0.05
    episodes: int | None = None
    best_of: int = 8


@dataclass(frozen=True)
class EvaluationSettings:
    """How policies are sampled to be judged.

    temperatures: of the main policies; the first stands in Fig. 1.
    decoding: further temperatures of the supervised policy of the first size. top_ps: likewise.
    labels: comparisons with the reference, and ratings, of each policy and seed.
    repeated: posts on which two samples of one policy are compared by `repeats` labelers.
    repeats: labelers of each of those.
    probes: posts whose summaries are edited for the probes.
    """

    temperatures: tuple[float, ...] = (0.7, 0.0)
    decoding: tuple[float, ...] = (0.3, 1.0)
    top_ps: tuple[float, ...] = (0.95,)
    labels: int = 300
    repeated: int = 150
    repeats: int = 5
    probes: int = 150


@dataclass(frozen=True)
class ReproduceSettings:
    """The whole paper, one run.

    title: of the page.
    sizes: word for a size -> the base model it begins with, smallest first.
    seeds: how many replicates. first_seed: their first number; other numbers, other everything.
    zero_shot_tokens: length of the zero-shot prompt that examples fill. zero_shot_format: of post
        and examples.
    examples: most (post, summary) pairs in it; 0 for none.
    max_prompt_tokens: of every trainer. max_completion_tokens: of policies.
    sft, rm, ppo: settings of the trainers (`evalsuite train settings`), beside what is decided
        here. by_size: the same for one size: `by_size: {medium: {sft: {...}}}`.
    report: folder that figures and page are copied to; they are made in `report` below the run's.
    """

    title: str = "Learning to summarize, reproduced"
    sizes: dict[str, str] = field(default_factory=lambda: {"small": "world-small"})
    seeds: int = 1
    first_seed: int = 0
    zero_shot_tokens: int = 640
    zero_shot_format: str = "tldr_zero_shot"
    examples: int = 6
    max_prompt_tokens: int = 256
    max_completion_tokens: int = 48
    posts: PostsSettings = field(default_factory=PostsSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)
    reward_models: RewardModelGrid = field(default_factory=RewardModelGrid)
    policies: tuple[Optimised, ...] = ()
    pool: PoolSettings = field(default_factory=PoolSettings)
    rounds: RoundSettings = field(default_factory=RoundSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    sft: dict[str, Any] = field(default_factory=dict)
    rm: dict[str, Any] = field(default_factory=dict)
    ppo: dict[str, Any] = field(default_factory=dict)
    by_size: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    report: str = ""

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ConfigError("sizes is empty; allowed a word for a size: a base model")
        words = list(self.sizes)
        for word in words:
            if not re.fullmatch(r"[A-Za-z0-9.]+", word):
                raise ConfigError(f"sizes: {word!r}; allowed letters, digits and points")
        for where, named in (
            ("reward_models.sizes", self.reward_models.sizes),
            ("policies.size", tuple(one.size for one in self.policies)),
            ("pool.size", (self.pool.size,) if self.pool.size else ()),
            ("labels.gold_size", (self.labels.gold_size,) if self.labels.gold_size else ()),
            ("by_size", tuple(self.by_size)),
        ):
            for word in named:
                if word not in self.sizes:
                    raise ConfigError(f"{where}: {word!r} is no size; allowed {', '.join(words)}")
        for name, least in (("seeds", 1), ("first_seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed {least} or more")
        self._check_numbers()
        amounts = self.reward_models.amounts
        if not amounts or list(amounts) != sorted(set(amounts)):
            raise ConfigError(
                f"reward_models.amounts is {list(amounts)}; allowed numbers that rise"
            )
        if self.posts.files and self.labels.judge == "simulated":
            raise ConfigError(
                "labels.judge is simulated and posts.files are not the world's; allowed gold, files"
            )
        if self.labels.judge != "simulated" and not self.labels.gold_files:
            raise ConfigError("labels.gold_files is empty; allowed files of comparisons")

    def _check_numbers(self) -> None:
        """Refuse settings that do not fit together."""
        pool, asked, grid = self.pool, self.evaluation, self.reward_models
        if grid.sizes and self.first_size not in grid.sizes:
            raise ConfigError(
                f"reward_models.sizes is {list(grid.sizes)}; allowed with {self.first_size} in it"
            )
        if grid.members < 1:
            raise ConfigError(f"reward_models.members is {grid.members}; allowed 1 or more")
        if not asked.temperatures:
            raise ConfigError("evaluation.temperatures is empty; allowed one or more")
        if any(not 1 < n <= pool.samples for n in pool.shown):
            raise ConfigError(
                f"pool.shown is {list(pool.shown)}; allowed 2 to pool.samples, {pool.samples}"
            )
        if not 0 < pool.posts <= self.posts.evaluation:
            raise ConfigError(
                f"pool.posts is {pool.posts}; allowed 1 to posts.evaluation, "
                f"{self.posts.evaluation}"
            )
        # One temperature for rollouts, their KL, best-of-N and the policies compared with them.
        first = asked.temperatures[0]
        rollout = self.ppo.get("temperature", 0.7)
        if not first == pool.temperature == rollout > 0:
            raise ConfigError(
                f"ppo.temperature is {rollout:g}, pool.temperature {pool.temperature:g}, the first "
                f"of evaluation.temperatures {first:g}; allowed one temperature above 0 for all"
            )

    @property
    def first_size(self) -> str:
        """The size that the grids are run at."""
        return next(iter(self.sizes))

    @property
    def simulated(self) -> bool:
        """Whether posts, labelers and truth are the world's."""
        return not self.posts.files


def read_settings(file: Path | None, overrides: Iterable[str] = ()) -> ReproduceSettings:
    """Settings from a file and `key=value` words. Raises ConfigError as `evalsuite.config`."""
    return resolve(ReproduceSettings, file=file, overrides=overrides)
