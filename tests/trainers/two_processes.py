"""What test_processes.py runs in one process and, below torchrun, in two: `FOLDER OUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evalsuite.models.checkpoints import load_policy, new_reward_model
from evalsuite.models.packing import Group, Packed, PolicyModel, ScalarModel, pack
from trainers.config import EngineConfig, OptimizerConfig
from trainers.engine import Engine, Trainable

FAMILIES = ("llama", "gpt2", "gpt_neox")
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, weight_decay=0.1, max_grad_norm=2.0, eps=1e-3)
GROUPS = [
    Group(list(range(10, 10 + prompt)), [[*range(30, 30 + completion), 0]])
    for prompt, completion in ((4, 3), (9, 1), (2, 6), (7, 2), (5, 5))
]
BATCHES = [
    GROUPS,
    GROUPS[:3],
    GROUPS[3:4],
    GROUPS[1:],
]  # the third has nothing for a second process


def packed(groups: list[Group], read: Any) -> list[Packed]:
    return [pack([group], pad_id=1, read=read, share=False) for group in groups]


def update(engine: Engine, policy: Trainable, groups: list[Group]) -> tuple[float, float]:
    def loss(batch: Packed) -> tuple[Tensor, dict[str, Tensor]]:
        nats = -policy.module(batch).logprobs.sum()
        return nats, {"nats": nats}

    count = sum(len(group.completions[0]) for group in groups)
    done = engine.update(
        policy, packed(engine.mine(groups), "tokens"), loss, count=count, learning_rate=1e-3,
        filler=packed(groups[:1], "tokens")[0],
    )  # fmt: skip
    return done.sums["nats"] / count, done.grad_norm


def update_reward(engine: Engine, reward: Trainable) -> tuple[float, float]:
    def loss(batch: Packed) -> tuple[Tensor, dict[str, Tensor]]:
        total = (reward.module(batch) ** 2).sum()
        return total, {"total": total}

    batches = packed(engine.mine(GROUPS), "last")
    done = engine.update(reward, batches, loss, count=len(GROUPS), learning_rate=1e-3)
    return done.sums["total"], done.grad_norm


def policy_of(engine: Engine, folder: Path) -> Trainable:
    return engine.prepare("policy", PolicyModel(load_policy(folder).model), OPTIMIZER)


def work(folder: Path, parallel: Any) -> dict[str, Any]:
    """Losses, norms and last weights of a policy and a reward model side by side."""
    engine = Engine(EngineConfig(device="cpu", parallel=parallel))
    policy = policy_of(engine, folder)
    model = new_reward_model(folder, seed=0).model
    reward = engine.prepare("reward", ScalarModel(model), OPTIMIZER)
    numbers = []
    for groups in BATCHES:
        numbers.append(update(engine, policy, groups))
        numbers.append(update_reward(engine, reward))
    again = policy_of(engine, folder)  # as on resume
    engine.load(again, engine.weights(policy), engine.moments(policy))
    numbers.append(update(engine, again, GROUPS))
    with engine.whole(again) as module:
        alone = packed(GROUPS[: 1 + engine.rank], "tokens")  # not the same number of calls
        numbers.append((float(module(alone[0]).logprobs.sum()), 0.0))
        for batch in alone[1:]:
            module(batch)
    return {
        "numbers": numbers,
        "order": engine.gather([group.prompt[-1] for group in engine.mine(GROUPS)]),
        "totals": engine.totals({"a": 1.0 + engine.rank, "b": 0.5}),
        "maximum": engine.maximum(engine.rank),
        "main": engine.on_main(lambda: engine.rank),
        "sharded": engine.sharded,
        "weights": {k: v.tolist() for k, v in engine.state_dict(again).items()},
    }


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    families = sys.argv[3:] or FAMILIES
    found = {f"{f} {p}": work(folder / f, p) for f in families for p in ("ddp", "fsdp")}
    if found[f"{families[0]} ddp"]["weights"]:  # the main process has them
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
