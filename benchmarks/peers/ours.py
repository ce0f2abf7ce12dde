"""This project's side of every race: reads a job, does the work, reports.

The trainers are run as a user runs them, with validation, samples and checkpoints on the way
turned off as they are on the other side. A job imports its own trainer alone, for its memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.clock import Clock, between, fresh_memory, job, now, report

from evalsuite.models.checkpoints import load_policy, load_scalar
from evalsuite.models.packing import Group, PolicyModel, ScalarModel
from evalsuite.models.sampling import Prompt, sample
from trainers.config import DataConfig, EngineConfig, OptimizerConfig, RunConfig

NEVER = 10**9
AGREED = ("scores", "kl", "entropy", "value_losses")
"""Numbers of each PPO update that both sides report."""


def quiet() -> RunConfig:
    """No checkpoint on the way."""
    return RunConfig(checkpoint_every=NEVER, checkpoint_seconds=float(NEVER))


def engine(given: dict[str, Any]) -> EngineConfig:
    """One forward and backward pass a batch, as on the other side, or `micro` rows each."""
    return EngineConfig(device="cpu", micro_batch_tokens=given.get("budget", NEVER))


def optimizer(given: dict[str, Any], schedule: str, norm: float = 1.0) -> OptimizerConfig:
    """AdamW at the job's rate."""
    return OptimizerConfig(given["rate"], schedule=schedule, max_grad_norm=norm)  # type: ignore[arg-type]


def sft_config(given: dict[str, Any]) -> Any:
    """Supervised fine-tuning of a job."""
    from trainers.sft import SFTConfig

    return SFTConfig(
        model=given["policy"], data=DataConfig(paths=(given["posts"],), limits=limits(given)),
        batch_size=given["batch"], seed=given["seed"], evaluate_every=NEVER, evaluate_examples=1,
        sample_prompts=0, optimizer=optimizer(given, "cosine"), engine=engine(given), run=quiet(),
    )  # fmt: skip


def reward_config(given: dict[str, Any]) -> Any:
    """Reward modelling of a job."""
    from trainers.reward_data import PairDataConfig
    from trainers.reward_model import RewardModelConfig

    return RewardModelConfig(
        model=given["policy"], data=PairDataConfig(paths=(given["posts"],), limits=limits(given)),
        batch_size=given["batch"], seed=given["seed"], evaluate_every=NEVER, evaluate_pairs=1,
        references=1, optimizer=optimizer(given, "cosine"), engine=engine(given), run=quiet(),
    )  # fmt: skip


def ppo_config(given: dict[str, Any]) -> Any:
    """PPO of a job."""
    from trainers.ppo_setup import PPOConfig

    data = DataConfig(
        paths=(given["posts"],), limits=limits(given), max_completion_tokens=given["tokens"]
    )
    return PPOConfig(
        model=given["policy"], reward=given["reward"], data=data, seed=given["seed"],
        episodes=given["batch"] * given["updates"],
        prompts_per_update=given["batch"] // given["samples"], samples_per_prompt=given["samples"],
        epochs=given["epochs"], temperature=given["temperature"], fixed_length=True,
        missing_eos="subtract", evaluate_every=0, optimizer=optimizer(given, "linear", 0.0),
        engine=engine(given), run=quiet(),
    )  # fmt: skip


def limits(given: dict[str, Any]) -> dict[str, int]:
    """As many training examples as the steps take; the least there can be to validate on."""
    return {"train": given["examples"], "valid1": 1, "valid2": 1}


def train(
    given: dict[str, Any], trainer: Callable[..., Path], config: Any, steps: int, per_step: int
) -> None:
    """Run a trainer; `steps` of it count from the first, `per_step` optimizer steps each."""
    folder = Path(given["scratch"]) / "run"
    before, clock = fresh_memory(), Clock()
    trainer(config, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    logs: dict[str, list[float]] = {}
    for row in map(json.loads, lines):
        for key, value in row.items():
            logs.setdefault(key, []).append(value)
    if "kl_k1" in logs:  # PPO; scores with the penalty, entropy of a completion, as TRL has them
        ended = zip(logs["reward"], logs["without_eos"], strict=True)
        logs["scores"] = [reward - share for reward, share in ended]
        per_token = zip(logs["surprisal"], logs["length"], strict=True)
        logs["entropy"] = [nats * length for nats, length in per_token]
        logs |= {"kl": logs["kl_k1"], "value_losses": logs["value_loss"]}
    report(
        **clock.since(given["warm_up"] * per_step), before=before, losses=logs.get("loss"),
        items=given["batch"] * (steps - given["warm_up"]),
        **{key: logs.get(key) for key in (*AGREED, "mismatch")},
    )  # fmt: skip


def groups(given: dict[str, Any]) -> list[Group]:
    """Prompts with their completions, from the job's file."""
    return [Group(**row) for row in json.loads(Path(given["rows"]).read_text())]


def score(given: dict[str, Any]) -> None:
    """Log-probs or rewards of candidates."""
    from evalsuite.models.scoring import completion_logprobs, rewards

    wanted = groups(given)
    warm = [Group(wanted[0].prompt, wanted[0].completions[:2])]
    if given["what"] == "logprobs":
        policy = PolicyModel(load_policy(given["policy"]).model)
        completion_logprobs(policy, warm, pad_id=0)
        before, start = fresh_memory(), now()
        found: list[Any] = completion_logprobs(policy, wanted, pad_id=0)
        end = now()
        values = [[float(x) for c in several for x in c] for several in found]
    else:
        model = ScalarModel(load_scalar(given["reward"]).model)
        rewards(model, warm, pad_id=0)
        before, start = fresh_memory(), now()
        found = rewards(model, wanted, pad_id=0)
        end = now()
        values = [[float(x) for x in several] for several in found]
    items = sum(len(group.completions) for group in wanted)
    report(**between(start, end), before=before, items=items, values=values)


def draw(given: dict[str, Any]) -> None:
    """Samples of prompts, then greedy completions of the same for the comparison."""
    policy = PolicyModel(load_policy(given["policy"]).model)
    prompts = [Prompt(str(n), group.prompt) for n, group in enumerate(groups(given))]

    def run(chosen: list[Prompt], k: int, temperature: float, length: int) -> list[list[list[int]]]:
        drawn = sample(
            policy, chosen, k=k, max_new_tokens=length, eos_id=1, pad_id=0, seed=given["seed"],
            temperature=temperature, fixed_length=True,
        )  # fmt: skip
        return [one.tokens for one in drawn]

    run(prompts[:1], 2, 1.0, 2)
    before, start = fresh_memory(), now()
    run(prompts, given["samples"], 1.0, given["tokens"])
    end = now()
    greedy = [one[0] for one in run(prompts, 1, 0.0, given["tokens"])]
    items = len(prompts) * given["samples"]
    report(**between(start, end), before=before, items=items, values=greedy)


def main() -> None:
    """What the job names."""
    given = job()
    if given["what"] == "sft":
        from trainers.sft import train_sft

        train(given, train_sft, sft_config(given), given["steps"], 1)
    elif given["what"] == "pairs":
        from trainers.reward_model import train_reward_model

        train(given, train_reward_model, reward_config(given), given["steps"], 1)
    elif given["what"] == "ppo":
        from trainers.ppo import train_ppo

        # Policy and value network have an optimizer each.
        train(given, train_ppo, ppo_config(given), given["updates"], 2 * given["epochs"])
    elif given["what"] == "sampling":
        draw(given)
    else:
        score(given)


if __name__ == "__main__":
    main()
