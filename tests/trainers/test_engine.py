"""One update does not depend on how it is cut up, and is AdamW on the mean loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evalsuite.errors import ConfigError, TrainingError
from evalsuite.models.checkpoints import load_policy
from evalsuite.models.packing import Group, Packed, PolicyModel, pack
from trainers.config import EngineConfig, OptimizerConfig
from trainers.engine import DivergedError, Engine, Trainable

FAMILIES = ("llama", "gpt2", "gpt_neox")
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, weight_decay=0.1, max_grad_norm=0)
GROUPS = [
    Group(list(range(10, 10 + prompt)), [[*range(30, 30 + completion), 0]])
    for prompt, completion in ((4, 3), (9, 1), (2, 6), (7, 2), (5, 5), (3, 1), (8, 4), (6, 3))
]
TOKENS = 3 + 1 + 6 + 2 + 5 + 1 + 4 + 3 + 8  # with each EOS


@pytest.fixture
def engine() -> Engine:
    return Engine(EngineConfig(device="cpu"))


def line(engine: Engine, optimizer: OptimizerConfig = OPTIMIZER) -> Trainable:
    """y = 2 x + 1, as a module with a matrix and a vector."""
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.bias.fill_(1.0)
    return engine.prepare("line", module, optimizer)


def squares(trainable: Trainable) -> Any:
    def loss(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total = (trainable.module(batch) ** 2).sum()
        return total, {"total": total, "items": torch.tensor(float(len(batch)))}

    return loss


def policy_update(engine: Engine, folder: Path, parts: list[list[Group]]) -> tuple[Any, Trainable]:
    policy = engine.prepare("policy", PolicyModel(load_policy(folder).model), OPTIMIZER)

    def loss(batch: Packed) -> tuple[Tensor, dict[str, Tensor]]:
        nats = -policy.module(batch).logprobs.sum()
        return nats, {"nats": nats}

    batches = [pack(part, pad_id=1, read="tokens", share=False) for part in parts]
    update = engine.update(policy, batches, loss, count=TOKENS, learning_rate=1e-2)
    return update, policy


@pytest.mark.parametrize("family", FAMILIES)
def test_one_by_eight_is_eight_by_one(engine: Engine, tiny: Path, family: str) -> None:
    whole, one = policy_update(engine, tiny / family, [GROUPS])
    uneven = [GROUPS[:1], GROUPS[1:4], GROUPS[4:]]
    for parts in ([[group] for group in GROUPS], uneven):
        got, eight = policy_update(engine, tiny / family, parts)
        assert got.sums["nats"] == pytest.approx(whole.sums["nats"], rel=1e-6)
        assert got.grad_norm == pytest.approx(whole.grad_norm, rel=1e-6)
        # The first exp_avg is a tenth of the gradient. Some gradients are 0 but for rounding (a
        # key's bias), so all are held against the norm.
        expected, found = engine.moments(one), engine.moments(eight)
        for name in (name for name in expected if name.startswith("exp_avg/")):
            error = float((found[name] - expected[name]).abs().max())
            assert error <= 0.1 * 1e-6 * whole.grad_norm, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_the_mean_over_tokens(
    engine: Engine, tiny: Path, family: str
) -> None:
    """Against the definition in float64: full logits of each row on its own, no padding."""
    model = load_policy(tiny / family, dtype=torch.float64).model
    nats = torch.zeros((), dtype=torch.float64)
    for group in GROUPS:
        prompt, completion = list(group.prompt), list(group.completions[0])
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
        for at, token in enumerate(completion, start=len(prompt)):
            nats = nats - logits[at - 1].log_softmax(0)[token]
    (nats / TOKENS).backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
    update, _ = policy_update(engine, tiny / family, [GROUPS[:3], GROUPS[3:]])
    assert update.sums["nats"] == pytest.approx(nats.item(), rel=1e-6)
    assert update.grad_norm == pytest.approx(norm, rel=1e-6)


def test_first_step_of_adamw_by_hand(engine: Engine) -> None:
    # x = 1, 3: y = 3, 7. d/dw of the mean of y^2 = (2*3*1 + 2*7*3) / 2 = 24, d/db = (6 + 14) / 2 =
    # 10. The first step of Adam is lr * g / (|g| + eps) = lr nearly; decay takes lr * .1 * w off
    # the matrix and nothing off the bias: w = 2 - .01 - .002, b = 1 - .01.
    trainable = line(engine)
    batches = [torch.tensor([[1.0]]), torch.tensor([[3.0]])]
    update = engine.update(trainable, batches, squares(trainable), count=2, learning_rate=1e-2)
    assert update.grad_norm == pytest.approx(math.hypot(24, 10), rel=1e-6)
    assert update.sums == {"total": pytest.approx(58.0), "items": 2.0}
    weights = engine.weights(trainable)
    assert float(weights["weight"]) == pytest.approx(1.988, abs=1e-6)
    assert float(weights["bias"]) == pytest.approx(0.99, abs=1e-6)


def test_gradients_are_cut_to_the_norm(engine: Engine) -> None:
    # g = (24, 10), norm 26: cut to 1.3 it is (1.2, .5), and exp_avg = .1 g after a first step
    trainable = line(engine, OptimizerConfig(max_grad_norm=1.3))
    batch = torch.tensor([[1.0], [3.0]])
    update = engine.update(trainable, [batch], squares(trainable), count=2, learning_rate=1e-2)
    moments = engine.moments(trainable)
    assert update.grad_norm == pytest.approx(26.0, rel=1e-6)
    assert float(moments["exp_avg/weight"]) == pytest.approx(0.12, rel=1e-5)
    assert float(moments["exp_avg/bias"]) == pytest.approx(0.05, rel=1e-5)


def test_a_gradient_that_is_not_finite_changes_nothing(engine: Engine) -> None:
    trainable = line(engine)
    before = {name: tensor.clone() for name, tensor in engine.weights(trainable).items()}
    with pytest.raises(DivergedError, match="gradient of line is nan: the update was not made"):
        engine.update(
            trainable, [torch.tensor([[math.nan]])], squares(trainable), count=1, learning_rate=1.0
        )
    assert engine.weights(trainable) == before
    assert engine.moments(trainable) == {}


def test_weights_and_moments_go_there_and_back_bit_for_bit(engine: Engine, tiny: Path) -> None:
    _, first = policy_update(engine, tiny / "llama", [GROUPS])
    weights, moments = engine.weights(first), engine.moments(first)
    assert "model.lm_head.weight" not in weights  # tied to the embeddings, which are there
    second = engine.prepare("policy", PolicyModel(load_policy(tiny / "llama").model), OPTIMIZER)
    engine.load(second, weights, moments)
    for got, expected in ((engine.weights(second), weights), (engine.moments(second), moments)):
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    steps = {float(moments[name]) for name in moments if name.startswith("step/")}
    assert steps == {1.0}


def test_state_dict_has_the_inner_names_and_tied_weights_twice(engine: Engine, tiny: Path) -> None:
    model = load_policy(tiny / "llama").model
    trainable = engine.prepare("policy", PolicyModel(model), OPTIMIZER)
    got = engine.state_dict(trainable)
    expected = model.state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


def test_weights_of_another_shape_are_refused(engine: Engine) -> None:
    trainable = line(engine)
    with pytest.raises(TrainingError, match=r"line: weight has shape \[3\]; allowed \[1, 1\]"):
        engine.load(trainable, {"weight": torch.zeros(3), "bias": torch.zeros(1)})
    with pytest.raises(TrainingError, match="line: weight has shape none; allowed"):
        engine.load(trainable, {})


def test_nothing_to_do_for_this_process(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="a process has no item of this batch; allowed batches"):
        engine._spare([], None)
    assert engine._spare([], "spare") == "spare"


def test_dropout_is_off_and_stays_off_with_checkpointing(tiny: Path) -> None:
    config = EngineConfig(device="cpu", gradient_checkpointing=True)
    engine = Engine(config)
    model = load_policy(tiny / "gpt2").model
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.5
    policy = engine.prepare("policy", PolicyModel(model), OPTIMIZER)
    batch = pack(GROUPS, pad_id=1, read="tokens", share=False)
    checkpointed = policy.module(batch).logprobs
    plain = PolicyModel(load_policy(tiny / "gpt2").model)(batch).logprobs
    torch.testing.assert_close(checkpointed, plain, rtol=1e-6, atol=1e-6)
    checkpointed.sum().backward()
    with engine.whole(policy) as whole:
        assert not whole.training
    assert policy.module.training


def test_one_process_has_everything(engine: Engine) -> None:
    assert engine.mine([1, 2, 3]) == [1, 2, 3]
    assert engine.gather(["a"]) == ["a"]
    assert engine.totals({"a": 2.0}) == {"a": 2.0}
    assert engine.maximum(3.0) == 3.0
    assert engine.on_main(lambda: "x") == "x"
    assert engine.peak_memory() > 0


def test_frozen_modules_are_placed(engine: Engine) -> None:
    placed = engine.place(nn.Dropout().train())
    assert not placed.training
    assert not any(p.requires_grad for p in engine.place(nn.Linear(2, 2)).parameters())


def test_runs_of_two_precisions_in_one_program(tiny: Path) -> None:
    """bfloat16 activations, float32 weights; 3e-2 is a few of bfloat16's roundings of 2^-8."""
    losses = []
    for precision in ("float32", "bfloat16", "float32"):
        engine = Engine(EngineConfig(device="cpu", precision=precision))  # type: ignore[arg-type]
        update, policy = policy_update(engine, tiny / "llama", [GROUPS])
        assert {p.dtype for p in policy.parameters()} == {torch.float32}
        losses.append(update.sums["nats"])
    assert losses[0] == losses[2] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=3e-2)


def test_bfloat16_is_a_choice() -> None:
    from trainers import engine

    assert engine._precision("bfloat16", True) is torch.bfloat16
    assert engine._precision("auto", True) is torch.float32
    assert engine._precision("float32", False) is torch.float32
