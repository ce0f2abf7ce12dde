"""Every file of `configs/` is settings of the trainer that its name begins with.

Those of `configs/reproduce` are of whole runs: tests/pipeline/test_settings.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from evalsuite.config import resolve
from trainers.base import BaseConfig
from trainers.ppo_setup import PPOConfig
from trainers.reward_model import RewardModelConfig
from trainers.sft import SFTConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
KINDS = {"base": BaseConfig, "sft": SFTConfig, "rm": RewardModelConfig, "ppo": PPOConfig}


OF_TRAINERS = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name != "reproduce"]


@pytest.mark.parametrize("path", OF_TRAINERS, ids=lambda p: p.stem)
def test_named_settings_resolve_and_name_their_command(path: Path) -> None:
    kind = path.stem.split("-")[0]
    resolve(KINDS[kind], file=path)
    text = path.read_text(encoding="utf-8")
    assert f"evalsuite train {kind}" in text
    assert f"configs/{path.parent.name}/{path.name}" in text


def test_paper_settings_are_the_papers() -> None:
    """Appendix B.1: learning rates, batches and the KL coefficient of 1.3B and 6.7B."""
    for size, sft, rm, ppo, batch in (
        ("1.3b", 6.35e-5, 1.5e-5, 1.5e-5, 512), ("6.7b", 2.83e-5, 5e-6, 7e-6, 256),
    ):  # fmt: skip
        paper = CONFIGS / "paper"
        one = resolve(SFTConfig, file=paper / f"sft-{size}.yaml")
        two = resolve(RewardModelConfig, file=paper / f"rm-{size}.yaml")
        three = resolve(PPOConfig, file=paper / f"ppo-{size}.yaml")
        assert (one.optimizer.learning_rate, one.batch_size, one.epochs) == (sft, 128, 1)
        assert (two.optimizer.learning_rate, two.batch_size, two.epochs) == (rm, 64, 1)
        assert (three.optimizer.learning_rate, three.batch_size) == (ppo, batch)
        assert (three.kl_coef, three.epochs, three.gamma, three.lam) == (0.05, 4, 1.0, 0.95)
        assert three.episodes == 1_000_000
        rates = [c.optimizer.schedule for c in (one, two, three)]
        assert rates == ["cosine", "cosine", "linear"]
