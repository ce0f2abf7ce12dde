"""How much work each step is: tokens that pass through models of how many parameters.

Only time estimates depend on these numbers; `estimates` turns them into seconds for a machine.
Lengths are the means of the simulated world and of TL;DR.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.models.names import BASES
from evalsuite.pipeline.settings import ReproduceSettings
from evalsuite.pipeline.steps import Work

WORLD_TOKENS = {"prompt": 95.0, "summary": 24.0, "news": 150.0}
TLDR_TOKENS = {"prompt": 320.0, "summary": 38.0, "news": 0.0}
"""Mean tokens of a prompt, a summary, a prompt of news."""

WORLD_PARAMETERS = {"world-small": 4.1e5, "world-medium": 9.0e5, "world-large": 1.93e6}


class Costs:
    """Work of the steps of one run."""

    def __init__(self, settings: ReproduceSettings) -> None:
        self.settings = settings
        self.tokens = WORLD_TOKENS if settings.simulated else TLDR_TOKENS

    def parameters(self, base: str) -> float:
        """Parameters of a base model, 1e9 where nothing is known of it."""
        if base in BASES:
            return WORLD_PARAMETERS[base]
        from evalsuite.pipeline.launch import known_size

        try:
            return float(known_size(base).parameters)
        except ModelError:
            return 1e9

    @cached_property
    def row(self) -> float:
        """Tokens of a prompt with one summary."""
        return self.tokens["prompt"] + self.tokens["summary"]

    def zero_shot(self, base: str) -> Work:
        """Long prompts, one short summary each."""
        posts = self.settings.posts.evaluation + self.settings.posts.news
        return Work("score", self.parameters(base), posts * self.settings.zero_shot_tokens, 4)

    def sft(self, base: str, config: dict[str, Any]) -> Work:
        """Prompts and references, some epochs."""
        rows = self.settings.posts.train * float(config.get("epochs", 1.0))
        return Work("train", self.parameters(base), rows * self.row, 5)

    def sample(self, base: str, samples: int) -> Work:
        """Tokens sampled."""
        return Work("sample", self.parameters(base), samples * self.tokens["summary"], 3)

    def rm(self, base: str, config: dict[str, Any], labels: int) -> Work:
        """A prompt and two summaries a label; the report scores the held-out pairs."""
        pair = self.tokens["prompt"] + 2 * self.tokens["summary"]
        return Work("train", self.parameters(base), labels * pair * 1.15, 5)

    def ppo(self, base: str, config: dict[str, Any]) -> Work:
        """Episodes sampled, scored by four models, and trained on `epochs` times by two."""
        episodes = float(config.get("episodes", 1_000_000))
        share = self.tokens["prompt"] / float(config.get("samples_per_prompt", 1))
        return Work(
            "ppo", self.parameters(base),
            episodes * (share + self.tokens["summary"]) * float(config.get("epochs", 4)), 6,
        )  # fmt: skip

    def judge(self, base: str, tuned: bool) -> Work:
        """Samples on the evaluation posts and news; a tuned policy is scored twice more."""
        posts = self.settings.posts.evaluation + self.settings.posts.news
        passes = 3 if tuned else 2
        return Work("score", self.parameters(base), posts * self.row * passes, 4)

    def score(self, base: str, samples: int) -> Work:
        """The pool, behind shared prompts."""
        pairs = 2 * self.settings.labels.test_pairs + 20 * self.settings.evaluation.probes
        rows = samples * self.tokens["summary"] + pairs * self.row / 2
        return Work("score", self.parameters(base), rows, 4)

    def agreement(self) -> Work:
        """Each size's reward model and policy on summaries compared repeatedly."""
        rows = self.settings.evaluation.repeated * 6 * self.settings.seeds
        largest = max(self.parameters(base) for base in self.settings.sizes.values())
        return Work("score", largest, rows * self.row * 2 * len(self.settings.sizes), 5)
