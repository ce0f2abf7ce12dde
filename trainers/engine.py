"""One or many processes, one update: gradients of a sum over the whole batch, by its true count.

A thin layer over accelerate, which finds the processes and the device (`accelerate launch`,
torchrun, or none). What it adds is that an update does not depend on how it is cut up:

- Losses come as sums over items or tokens. A micro-batch is scaled by 1 / the count of the whole
  batch over all processes and micro-batches, so long and short ones weigh as they should, and
  1 x 8 = 8 x 1 = 2 processes x 4 up to rounding. (Averaging means of micro-batches is not.)
- A process with fewer micro-batches than another repeats one at weight 0, so that all take part
  in the same collectives.
- The learning rate and the order of the data are functions of the number of the update; there is
  no scheduler or sampler whose state would have to be saved.

Modules are in eval mode throughout: dropout is off, gradients flow (paper notes, N+ detail 7).

Sharding is `fully_shard` (FSDP2) itself and not accelerate's preparation of it, which takes one
model a program (PPO trains two) and none on CPU. Proof: tests/trainers/test_engine.py and
tests/trainers/test_processes.py (two processes over gloo).
"""

from __future__ import annotations

import copy
import datetime
import math
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from evalsuite.errors import ConfigError, EvalsuiteError, TrainingError
from trainers.config import EngineConfig, OptimizerConfig
from trainers.trainable import (
    Trainable,
    adamw,
    checkpoint_activations,
    fill,
    shard,
    weights_of,
)

__all__ = ["DivergedError", "Engine", "Trainable", "Update"]

T = TypeVar("T")


MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each parameter."""


class DivergedError(TrainingError):
    """Training left the range of sensible numbers; the update that did so was not made."""


class Update(NamedTuple):
    """What an update was: the gradient's norm before clipping, and its sums over all processes."""

    grad_norm: float
    sums: dict[str, float]


class Engine:
    """Processes, device and precision of a run, and the update that all trainers make.

    accelerator: of accelerate, for whatever is not wrapped here. device, rank, processes, is_main.
    precision: torch.bfloat16 where activations are, else torch.float32.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        cpu = self.config.device == "cpu"
        self.precision = _precision(self.config.precision, cpu)
        self.accelerator = _accelerator(cpu, self.precision)
        self.device: torch.device = self.accelerator.device
        self.rank: int = self.accelerator.process_index
        self.processes: int = self.accelerator.num_processes
        self.is_main: bool = self.accelerator.is_main_process
        asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        self.sharded = self.processes > 1 and (asked or self.config.parallel == "fsdp")

    # -- modules -----------------------------------------------------------------------------

    def prepare(self, name: str, module: nn.Module, config: OptimizerConfig) -> Trainable:
        """A module ready to train: on its device, wrapped for the processes, with its AdamW.

        name: of its files in a checkpoint. All processes must hand in the same weights.
        """
        module.eval()
        if self.config.gradient_checkpointing:
            checkpoint_activations(module)
        replica = None
        if self.sharded:
            # In the precision that the shards run in: sampled log-probs are those of training.
            replica = copy.deepcopy(module).to(self.precision).requires_grad_(False)
            shard(module, self.device, self.precision)
            wrapped = module
        else:
            with warnings.catch_warnings():
                # torch renames `broadcast_buffers`, accelerate does not yet
                warnings.simplefilter("ignore", FutureWarning)
                wrapped = self.accelerator.prepare_model(module)
        names, optimizer = adamw(module, config)
        return Trainable(name, wrapped, module, optimizer, config, names, replica)

    def place(self, module: nn.Module) -> nn.Module:
        """A frozen module (a KL anchor, a reward model) on this process's device, in eval mode.

        Weights as those that are sampled from: float32, or in the precision of the shards. A KL
        anchor in another precision than the policy would be some way off before any update.
        """
        dtype = self.frozen_dtype
        return module.to(self.device, dtype).eval().requires_grad_(False)

    @property
    def frozen_dtype(self) -> torch.dtype:
        """Dtype of the weights of modules that are not trained."""
        return self.precision if self.sharded else torch.float32

    def autocast(self) -> AbstractContextManager[Any]:
        """Activations in `precision` within; nothing to do in float32."""
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    @contextmanager
    def whole(self, trainable: Trainable) -> Iterator[nn.Module]:
        """The module with all its weights, for sampling and scoring: no gradients, no collectives.

        Processes may then run it on different numbers of batches. Under FSDP it is a copy, filled
        on entry (a collective) and emptied on exit; else it is the trained module itself.
        """
        module = trainable.plain
        if trainable.replica is not None:
            module = trainable.replica
            fill(module, trainable.plain)
            module.to(self.device)
        training = module.training
        module.eval()
        try:
            with torch.no_grad(), self.autocast():
                yield module
        finally:
            module.train(training)
            if trainable.replica is not None:
                module.to("cpu")

    # -- one update --------------------------------------------------------------------------

    def update(
        self,
        trainable: Trainable,
        micro_batches: Sequence[T],
        loss: Callable[[T], tuple[Tensor, Mapping[str, Tensor | float]]],
        *,
        count: float,
        learning_rate: float,
        filler: T | None = None,
    ) -> Update:
        """One step of AdamW on the sum of `loss` over all micro-batches of all processes / `count`.

        micro_batches: of this process. loss: calls `trainable.module` on one and returns the sum
        over its items (0-dim) with other sums for the record. count: items (or tokens) of all
        processes. learning_rate: of this update. filler: a micro-batch for a process that has
        none; needed only where that can be. Gradients are cut to the norm of the settings.

        Raises DivergedError before anything is changed when the gradient is not finite.
        """
        optimizer = trainable.optimizer
        optimizer.zero_grad(set_to_none=True)
        scale = self.processes / count  # gradients are averaged over processes, a sum is wanted
        rounds = int(self.maximum(len(micro_batches)))
        kept: list[Mapping[str, Tensor | float]] = []
        zero: list[Mapping[str, Tensor | float]] = []
        for number in range(rounds):
            real = number < len(micro_batches)
            batch = micro_batches[number] if real else self._spare(micro_batches, filler)
            with self._synchronised(trainable, number == rounds - 1), self.autocast():
                total, sums = loss(batch)
                with self._without_autocast():  # else the backward pass is cast once more
                    (total * (scale if real else 0.0)).backward()  # type: ignore[no-untyped-call]
            plain = {k: v.detach() if isinstance(v, Tensor) else v for k, v in sums.items()}
            (kept if real else zero).append(plain)
        norm = self.clip(trainable)
        if not math.isfinite(norm):
            raise DivergedError(
                f"the gradient of {trainable.name} is {norm}: the update was not made; allowed "
                "finite gradients (a lower learning rate, or float32, may help)"
            )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        keys = [key for sums in (kept + zero)[:1] for key in sums]
        return Update(norm, self.totals({key: _add(sums[key] for sums in kept) for key in keys}))

    def clip(self, trainable: Trainable) -> float:
        """Cut gradients to the settings' global norm, over all shards; returns the norm before."""
        most = trainable.config.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(trainable.plain.parameters(), most)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return float(whole)

    def _synchronised(self, trainable: Trainable, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel with the last micro-batch only; where they are split, with each.

        Kept back, they would lie whole and in float32 on every process.
        """
        if self.processes == 1 or self.sharded:
            return nullcontext()
        wrapped: Any = trainable.module
        context: AbstractContextManager[Any] = nullcontext() if last else wrapped.no_sync()
        return context

    def _without_autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, enabled=False)

    def _spare(self, micro_batches: Sequence[T], filler: T | None) -> T:
        if micro_batches:
            return micro_batches[-1]
        if filler is None:
            raise ConfigError(
                f"a process has no item of this batch; allowed batches of {self.processes} or more"
            )
        return filler

    # -- processes ---------------------------------------------------------------------------

    def mine(self, items: Sequence[T]) -> list[T]:
        """This process's share of a list that every process has: every n-th item."""
        return list(items[self.rank :: self.processes])

    def gather(self, mine: Sequence[T]) -> list[T]:
        """All processes' results, in the order that `mine` took the items from; picklable."""
        if self.processes == 1:
            return list(mine)
        parts: list[Any] = [None] * self.processes
        dist.all_gather_object(parts, list(mine))
        out: list[T] = []
        for number in range(max(map(len, parts))):
            out += [part[number] for part in parts if number < len(part)]
        return out

    def totals(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over processes, in float64; every process must name the same keys."""
        if self.processes == 1 or not values:
            return dict(values)
        row = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(row)
        return dict(zip(values, row.tolist(), strict=True))

    def maximum(self, value: float) -> float:
        """The largest value of any process."""
        if self.processes == 1:
            return value
        row = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(row, dist.ReduceOp.MAX)
        return float(row)

    def on_main(self, work: Callable[[], T]) -> T:
        """The result of `work`, done by the main process alone and known to all.

        An EvalsuiteError there is raised by all, so that none waits for the others.
        """
        if self.processes == 1:
            return work()
        box: list[Any] = [None, None]
        if self.is_main:
            try:
                box[0] = work()
            except EvalsuiteError as error:
                box[1] = str(error)
        dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise TrainingError(box[1])
        result: T = box[0]
        return result

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.accelerator.wait_for_everyone()

    # -- state -------------------------------------------------------------------------------

    def weights(self, trainable: Trainable) -> dict[str, Tensor]:
        """Every weight once, whole and on the CPU; a collective. Empty but for the main process."""
        return self._collect(weights_of(trainable.plain))

    def moments(self, trainable: Trainable) -> dict[str, Tensor]:
        """AdamW's memory as `exp_avg/NAME`, `exp_avg_sq/NAME`, `step/NAME`; as for `weights`."""
        state = trainable.optimizer.state
        found = {
            f"{key}/{name}": state[p][key]
            for name, p in zip(trainable.names, trainable.parameters(), strict=True)
            for key in MOMENTS
            if key in state[p]
        }
        return self._collect(found)

    def load(
        self,
        trainable: Trainable,
        weights: Mapping[str, Tensor],
        moments: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Put back what `weights` and `moments` gave; only the main process's tensors count."""
        for name, tensor in weights_of(trainable.plain).items():
            self._put(tensor, weights.get(name) if self.is_main else None, trainable.name, name)
        if moments is None:
            return
        present = self.on_main(lambda: sorted(moments))
        if not present:
            return
        optimizer = trainable.optimizer
        state: dict[int, dict[str, Tensor]] = {}
        for number, (name, p) in enumerate(
            zip(trainable.names, trainable.parameters(), strict=True)
        ):
            if f"step/{name}" not in present:
                continue
            state[number] = {}
            for key in MOMENTS:
                held = torch.zeros(()) if key == "step" else torch.zeros_like(p)
                source = moments.get(f"{key}/{name}") if self.is_main else None
                state[number][key] = self._put(held, source, trainable.name, f"{key}/{name}")
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )

    def state_dict(self, trainable: Trainable, inner: str = "model") -> dict[str, Tensor]:
        """Weights of the submodule `inner` (the Hugging Face model) by its own names, for saving.

        A tied weight stands under all its names. A collective; empty but for the main process.
        """
        whole = self.weights(trainable)
        first = {id(p): name for name, p in trainable.plain.named_parameters()}
        for name, p in trainable.plain.named_parameters(remove_duplicate=False):
            if self.is_main:
                whole[name] = whole[first[id(p)]]
        prefix = inner + "."
        return {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}

    def _collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = {}
        for name, tensor in tensors.items():
            whole = tensor.detach()
            whole = whole.full_tensor() if isinstance(whole, DTensor) else whole
            if self.is_main:
                out[name] = whole.cpu().contiguous()
        return out

    def _put(self, into: Tensor, source: Tensor | None, module: str, name: str) -> Tensor:
        """Copy the main process's `source` into a tensor of every process, split where it is."""
        if self.is_main and (source is None or source.shape != into.shape):
            raise TrainingError(
                f"checkpoint of {module}: {name} has shape "
                f"{'none' if source is None else list(source.shape)}; allowed {list(into.shape)}"
            )
        with torch.no_grad():
            if self.processes == 1:
                assert source is not None
                into.copy_(source)
                return into
            whole = torch.empty(into.shape, dtype=into.dtype, device=self.device)
            if source is not None:
                whole.copy_(source)
            dist.broadcast(whole, src=0)
            if isinstance(into, DTensor):
                into.copy_(distribute_tensor(whole, into.device_mesh, into.placements))
            else:
                into.copy_(whole)
        return into

    # -- meters ------------------------------------------------------------------------------

    def peak_memory(self) -> float:
        """Most memory so far in GiB: of the GPU's tensors, or else of the process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _accelerator(cpu: bool, precision: torch.dtype) -> Any:
    def make() -> Any:
        return Accelerator(
            cpu=cpu or None,
            mixed_precision="bf16" if precision is torch.bfloat16 else "no",
            kwargs_handlers=[
                # Buffers are constants here; sending them would be a collective in each forward.
                DistributedDataParallelKwargs(
                    broadcast_buffers=False, gradient_as_bucket_view=True
                ),
                # The others wait while one process writes a checkpoint, of hundreds of GB perhaps.
                InitProcessGroupKwargs(timeout=datetime.timedelta(hours=2)),
            ],
        )

    try:
        return make()
    except ValueError:  # accelerate keeps one state a program, here of a run before this one
        if dist.is_available() and dist.is_initialized():
            raise
        AcceleratorState._reset_state(reset_partial_state=True)
        return make()


def _precision(asked: str, cpu: bool) -> torch.dtype:
    has = not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if asked == "bfloat16" or (asked == "auto" and has):
        return torch.bfloat16
    return torch.float32


def _add(values: Iterator[Tensor | float]) -> float:
    """Sum in float64 with one transfer from the device."""
    found = list(values)
    tensors = [value.float() for value in found if isinstance(value, Tensor)]
    numbers = math.fsum(value for value in found if not isinstance(value, Tensor))
    return numbers + (float(torch.stack(tensors).cpu().double().sum()) if tensors else 0.0)
