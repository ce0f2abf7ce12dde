"""Judges from words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.file import LabelJudge
from evalsuite.judges.gold import RewardJudge
from evalsuite.judges.judge import Answer, Question
from evalsuite.judges.lines import label_lines
from evalsuite.judges.llm import LLMJudge
from evalsuite.judges.simulated import CrowdJudge, TruthJudge
from evalsuite.judges.words import parse_judge
from evalsuite.records import Post
from evalsuite.simulation import World

POST = Post("post")


def test_simulated_and_truth() -> None:
    world = World(5)
    crowd, few = parse_judge("simulated", world=world, seed=3), parse_judge(" simulated(3) ")
    assert isinstance(crowd, CrowdJudge)
    assert isinstance(few, CrowdJudge)
    assert (len(crowd.crowd), len(few.crowd)) == (24, 3)
    assert (crowd.world, crowd.seed, few.world.seed, few.seed) == (world, 3, 0, 0)
    truth = parse_judge("truth", world=world)
    assert isinstance(truth, TruthJudge)
    assert truth.world is world


def test_labels(tmp_path: Path) -> None:
    file = tmp_path / "some labels.jsonl"
    lines = label_lines([Question(POST, "a", "b", "x", "y")], [Answer(1.0, None, "ann")])
    file.write_bytes(b"".join(lines.lines))
    judge = parse_judge(f"labels:{file}")
    assert isinstance(judge, LabelJudge)
    assert judge.name == "some labels.jsonl"
    assert judge([Question(POST, "b", "a")]) == [Answer(0.0, None, "ann")]
    with pytest.raises(DataError, match=r"none\.jsonl"):
        parse_judge(f"labels:{tmp_path / 'none.jsonl'}")


def test_rewards() -> None:
    judge = parse_judge("reward:length")
    assert isinstance(judge, RewardJudge)
    assert (judge.name, judge.temperature) == ("length", None)
    asked = [Question(POST, "aa", "bbb")] * 50
    drawn = [parse_judge("reward(2.5):mean:length,words", seed=s)(asked) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    rouge = parse_judge("reward:rouge", references={POST.id: "bbb"})
    assert rouge(asked)[0].choice == 1.0
    with pytest.raises(ConfigError, match="reward 'nonsense' is unknown"):
        parse_judge("reward:nonsense")


def test_a_language_model(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "judge.yaml"
    file.parent.mkdir()
    file.write_text(f"base_url: {server.url}\nmodel: m\nboth_orders: false\ncache: kept.sqlite\n")
    judge = parse_judge(f"llm:{file}")
    assert isinstance(judge, LLMJudge)
    assert judge([Question(POST, "a", "b")])[0].choice == 0.0
    assert (tmp_path / "deep" / "kept.sqlite").is_file()
    file.write_text("model: m\n")
    with pytest.raises(ConfigError, match="base_url is missing; allowed a text"):
        parse_judge(f"llm:{file}")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("simulate", r"judge is 'simulate' \(did you mean 'simulated'\?\); allowed simulated, sim"),
        ("", "judge is ''; allowed simulated"),
        ("!!", "judge is '!!'; allowed"),
        ("llm", "judge is 'llm'; allowed .*llm:SETTINGS.yaml"),
        ("reward:", "judge is 'reward:'; allowed"),
        ("truth:x", "judge is 'truth:x'; allowed"),
        ("truth(2)", r"judge is 'truth\(2\)'; allowed simulated"),
        ("labels(2):x", "judge is .*; allowed simulated"),
        ("simulated(0)", "allowed a whole number of labelers, 1 or more"),
        ("simulated(x)", "allowed a whole number of labelers"),
        ("reward(0):length", "allowed a temperature above 0"),
        ("reward(hot):length", "allowed a temperature above 0"),
    ],
)
def test_words_that_are_refused(words: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_judge(words)
