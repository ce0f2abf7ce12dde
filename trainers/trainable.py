"""A module with its optimizer: AdamW's groups, its weights by name, split over processes or whole.

Proof: tests/trainers/test_engine.py, test_processes.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from trainers.config import OptimizerConfig


@dataclass
class Trainable:
    """A module with its optimizer, as `Engine.prepare` made it.

    module: call it for a loss (it holds the hooks of DDP or FSDP). plain: the module as it was
    given, whose parameters are the trained ones (shards of them under FSDP); see `Engine.whole`
    for a module that can be run without gradients, and `Engine.state_dict` for saving.
    """

    name: str
    module: nn.Module
    plain: nn.Module
    optimizer: torch.optim.Optimizer
    config: OptimizerConfig
    names: list[str]  # of parameters, in the optimizer's order
    replica: nn.Module | None = field(default=None, repr=False)

    def parameters(self) -> list[nn.Parameter]:
        """Trained parameters, in the order of `names`."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def adamw(module: nn.Module, config: OptimizerConfig) -> tuple[list[str], torch.optim.Optimizer]:
    """AdamW with decay on matrices only, and the parameters' names in its order."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    groups = [
        [(name, p) for name, p in named if p.ndim >= 2],
        [(name, p) for name, p in named if p.ndim < 2],
    ]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for _, p in group], "weight_decay": decay}
            for group, decay in zip(groups, (config.weight_decay, 0.0), strict=True)
            if group
        ],
        lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps, fused=True,
    )  # fmt: skip
    return [name for group in groups for name, _ in group], optimizer


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by name, a tied one under its first name alone."""
    twice = dict(module.named_parameters(remove_duplicate=False))
    out: dict[str, Tensor] = dict(module.named_parameters())
    saved = module.state_dict(keep_vars=True)
    return out | {name: t for name, t in saved.items() if name not in twice}


def fill(module: nn.Module, source: nn.Module) -> None:
    """Copy the weights of a module, perhaps split over processes, into a whole one."""
    into = weights_of(module)
    for name, tensor in weights_of(source).items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        into[name].data.copy_(whole)


def checkpoint_activations(module: nn.Module) -> None:
    """Recompute activations; transformers does so in training mode only, so dropout is set to 0."""
    for part in module.modules():
        for name in ("p", "attention_dropout", "hidden_dropout", "dropout_p"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
        for name in ("activation_checkpointing", "gradient_checkpointing"):  # newer, older
            enable: Any = getattr(part, f"{name}_enable", None)
            if enable is not None:
                enable(**{f"{name}_kwargs": {"use_reentrant": False}})
                break
    module.train()


def shard(module: nn.Module, device: torch.device, precision: torch.dtype) -> None:
    """FSDP2 over all processes: each layer a unit, the rest (embeddings, heads) one more."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    low = precision if precision is not torch.float32 else None
    # Masks and the like keep their dtype: autocast decides, as without sharding.
    policy = MixedPrecisionPolicy(
        param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    names = {
        name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()
    }
    for part in module.modules():
        if type(part).__name__ in names:
            fully_shard(part, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)
