"""A plan while it is drafted: steps so far, and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evalsuite.pipeline.costs import Costs
from evalsuite.pipeline.names import Names
from evalsuite.pipeline.settings import ReproduceSettings
from evalsuite.pipeline.steps import Step, Work


@dataclass
class Draft:
    """Steps as they are gathered, with the settings they share."""

    settings: ReproduceSettings
    names: Names
    costs: Costs
    steps: list[Step] = field(default_factory=list)

    def add(
        self, name: str, stage: str, does: str, action: str, settings: dict[str, Any],
        inputs: list[str], outputs: list[str], work: Work, files: tuple[str, ...] = (),
    ) -> str:  # fmt: skip
        """One step; its name, for those that read it."""
        self.steps.append(
            Step(
                name,
                stage,
                does,
                action,
                settings,
                tuple(dict.fromkeys(inputs)),
                tuple(outputs),
                files,
                work,
            )
        )
        return name

    def trainer(self, kind: str, size: str, own: dict[str, Any]) -> dict[str, Any]:
        """A trainer's settings: those of the run, then of the size, then `own`."""
        lengths = {
            "max_prompt_tokens": self.settings.max_prompt_tokens,
            "max_completion_tokens": self.settings.max_completion_tokens
            + (16 if kind == "rm" else 0),
        }
        shared: dict[str, Any] = getattr(self.settings, kind)
        merged = merge({"data": lengths}, shared)
        merged = merge(merged, self.settings.by_size.get(size, {}).get(kind, {}))
        return merge(merged, own)

    def parameters(self, size: str) -> float:
        """Parameters of a size; see `costs`."""
        return self.costs.parameters(self.settings.sizes[size])


def judge_of(settings: ReproduceSettings) -> dict[str, Any]:
    """Who answers and who knows, for the steps that ask."""
    if settings.labels.judge == "simulated":
        return {"world_seed": settings.posts.world_seed, "labelers": settings.labels.labelers}
    return {"gold": "@/gold/model/model", "labelers": settings.labels.labelers}


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Nested settings, `change` over `base`."""
    out = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out
