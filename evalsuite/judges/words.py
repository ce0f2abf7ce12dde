"""A judge from words: what settings and the command line write.

    simulated, simulated(12)     the world's labelers, 24 of them or so many
    truth                        the world's true utility, without noise
    labels:PATH                  labels on file, in any format that `evalsuite data check` reads
    reward:FOLDER                a reward model, or any other word for a reward (rouge, mean:A,B)
    reward(0.5):FOLDER           the same, answers drawn at a Bradley-Terry temperature
    llm:FILE.yaml                a language model behind an endpoint; settings: `llm.LLMSettings`

tests/judges/test_words.py.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evalsuite.config import resolve
from evalsuite.datasets import load
from evalsuite.errors import ConfigError
from evalsuite.judges.file import LabelJudge
from evalsuite.judges.gold import RewardJudge
from evalsuite.judges.judge import Judge
from evalsuite.judges.llm import LLMJudge, LLMSettings
from evalsuite.judges.simulated import CrowdJudge, TruthJudge
from evalsuite.records import shown
from evalsuite.simulation import Crowd, World

LABELERS = 24
KINDS = ("simulated", "truth", "labels", "reward", "llm")
ALLOWED = (
    "simulated, simulated(LABELERS), truth, labels:PATH, reward:FOLDER, "
    "reward(TEMPERATURE):FOLDER, llm:SETTINGS.yaml"
)

_FORM = re.compile(r"(?P<kind>\w+)(?:\((?P<number>[^)]*)\))?(?::(?P<what>.+))?")


def parse_judge(
    words: str, *, seed: int = 0, world: World | None = None, device: str = "cpu",
    references: Mapping[str, str] | None = None,
) -> Judge:  # fmt: skip
    """The judge that the words of the module docstring name.

    seed: of all that a judge draws. world: of the simulated judges; `World(0)` by default. device:
    of a reward model. references: {post id: text}, for rewards that read the reference.

    Raises ConfigError that says what is allowed, and what the judge itself raises.
    """
    found = _FORM.fullmatch(words.strip())
    if found is None or found["kind"] not in KINDS:
        near = difflib.get_close_matches(found["kind"], KINDS, 1) if found else []
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"judge is {shown(words)}{hint}; allowed {ALLOWED}")
    kind, number, what = found["kind"], found["number"], found["what"]
    named, numbered = kind in ("labels", "reward", "llm"), kind in ("simulated", "reward")
    if named != (what is not None) or (number is not None and not numbered):
        raise ConfigError(f"judge is {shown(words)}; allowed {ALLOWED}")
    if kind == "simulated":
        world = world or World(0)
        size = LABELERS if number is None else _whole(number, words)
        return CrowdJudge(world, Crowd.draw(world, size), seed=seed)
    if kind == "truth":
        return TruthJudge(world or World(0))
    rng = np.random.default_rng(seed)
    if kind == "labels":
        return LabelJudge(load(what), name=Path(what).name)
    if kind == "llm":
        file = Path(what)
        return LLMJudge(resolve(LLMSettings, file=file), rng=rng, folder=file.parent)
    from evalsuite.models.rewards import parse_reward

    temperature = None if number is None else _temperature(number, words)
    return RewardJudge(
        parse_reward(what, device=device), temperature=temperature,
        rng=None if temperature is None else rng, references=references,
    )  # fmt: skip


def _whole(text: str, words: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigError(f"judge is {shown(words)}; allowed a whole number of labelers, 1 or more")
    return int(text)


def _temperature(text: str, words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"judge is {shown(words)}; allowed a temperature above 0")
    return value
