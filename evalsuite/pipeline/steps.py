"""Steps of a whole experiment and the order they need: what is to be made, from what, by what.

A `Step` is data: a worker in another process gets it and finds the action by its name. A `Plan`
holds steps so that each comes after those it reads. What of a plan is done already is read from
the run's folder by `evalsuite.pipeline.ledger`; `evalsuite.pipeline.runner` makes the rest.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from evalsuite.errors import ConfigError
from evalsuite.records import shown

STAGES = (
    "posts", "base", "zero-shot", "sft", "samples", "labels", "reward-models", "ppo", "pool",
    "evaluation", "gold", "tables", "analyses", "page",
)  # fmt: skip
"""Stages in the order in which a run goes through them."""

Kind = Literal["train", "sample", "score", "ppo", "cpu"]

_NAME = re.compile(r"[A-Za-z0-9][\w.+=()-]*(/[A-Za-z0-9][\w.+=()-]*)*")


class Work(NamedTuple):
    """How much a step has to compute, for estimates of its time alone.

    kind: "train" (forward and backward), "sample" (token by token), "score" (forward), "ppo" (all
    of them, on prompts and completions), "cpu" (no model). parameters: of the model. tokens: that
    are processed over the whole step. seconds: what it takes besides, on the reference machine.
    """

    kind: Kind = "cpu"
    parameters: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0


NOTHING = Work()


@dataclass(frozen=True)
class Step:
    """One piece of work that is done whole or begun again, and is skipped once done.

    name: unique, "sft/small-s0"; also where its record lies, `steps/sft/small-s0.json`.
    stage: one of `STAGES`.
    does: what it does, for people.
    action: a key of the table of actions.
    settings: plain JSON; everything that decides the output.
    inputs: names of the steps whose outputs it reads.
    outputs: files or folders, relative to the run's folder; of a trainer, its whole folder.
    files: the user's own files and folders that it reads.
    work: for estimates.
    """

    name: str
    stage: str
    does: str
    action: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    work: Work = NOTHING

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"step {shown(self.name)}: allowed names of letters, digits and _.+=()-, "
                "parted by /"
            )
        if self.stage not in STAGES:
            raise ConfigError(
                f"step {self.name}: stage {shown(self.stage)}; allowed {', '.join(STAGES)}"
            )
        try:
            plain = json.loads(json.dumps(dict(self.settings), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"step {self.name}: settings are not plain JSON ({error}); allowed numbers, text, "
                "true, false, null, lists and mappings of them"
            ) from None
        object.__setattr__(self, "settings", plain)  # as a record on file will have them
        for output in self.outputs:
            path = PurePosixPath(output)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ConfigError(
                    f"step {self.name}: output {shown(output)}; allowed a path below the run's "
                    "folder"
                )


class Plan:
    """Steps in an order in which inputs come first, and which of them are wanted.

    steps: in any order; those that do not wait for each other keep it. chosen: names of those to
    be made, all unless `select` narrowed it; the others are there to be read.

    Raises ConfigError for an input that is no step, steps that wait for each other in a circle,
    and two steps with one name or with outputs of which one lies in the other.
    """

    def __init__(self, steps: Iterable[Step], *, chosen: Collection[str] | None = None) -> None:
        given = list(steps)
        self._by_name: dict[str, Step] = {}
        for step in given:
            if step.name in self._by_name:
                raise ConfigError(f"two steps are called {step.name}; allowed one")
            self._by_name[step.name] = step
        for step in given:
            for name in step.inputs:
                if name not in self._by_name:
                    raise ConfigError(
                        f"step {step.name}: input {shown(name)} is no step{self._near(name)}"
                    )
        _refuse_shared_outputs(given)
        self.steps: tuple[Step, ...] = _in_order(given, self._by_name)
        self.chosen = frozenset(self._by_name if chosen is None else chosen)
        self._readers: dict[str, list[str]] = {step.name: [] for step in self.steps}
        for step in self.steps:
            for name in dict.fromkeys(step.inputs):
                self._readers[name].append(step.name)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Step:
        """The step of that name. Raises ConfigError, with the nearest name, where there is none."""
        if name not in self._by_name:
            raise ConfigError(f"no step is called {shown(name)}{self._near(name)}")
        return self._by_name[name]

    def readers(self, name: str) -> list[str]:
        """Names of the steps that read this one's outputs, in the plan's order."""
        return self._readers[name]

    def after(self, names: Iterable[str]) -> list[str]:
        """These steps and all that need them, directly or not, in the plan's order."""
        found = {self[name].name for name in names}
        for step in self.steps:
            if not found.isdisjoint(step.inputs):
                found.add(step.name)
        return [step.name for step in self.steps if step.name in found]

    def select(self, only: Sequence[str] = (), from_: str | None = None) -> Plan:
        """The same plan with fewer steps chosen.

        only: stages, names of steps, or patterns of names ("sft/*"); none means all.
        from_: this stage and those that come later.
        Raises ConfigError for a stage or name that the plan has not.
        """
        chosen = set(self.chosen)
        if only:
            chosen &= {name for word in only for name in self.matching(word)}
        if from_ is not None:
            if from_ not in STAGES:
                near = difflib.get_close_matches(from_, STAGES, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigError(
                    f"--from {shown(from_)}: no such stage; {hint}allowed {', '.join(STAGES)}"
                )
            late = STAGES[STAGES.index(from_) :]
            chosen &= {step.name for step in self.steps if step.stage in late}
        return Plan(self.steps, chosen=chosen)

    def matching(self, word: str) -> list[str]:
        """Names of the steps of a stage, of the step of that name, or that fit the pattern.

        Raises ConfigError where there are none.
        """
        if word in self._by_name:
            return [word]
        found = [step.name for step in self.steps if step.stage == word] or [
            step.name for step in self.steps if fnmatch.fnmatchcase(step.name, word)
        ]
        if not found:
            stages = dict.fromkeys(step.stage for step in self.steps)
            raise ConfigError(
                f"no stage or step is called {shown(word)}"
                f"{self._near(word, stages) or '; allowed ' + ', '.join(stages)}"
            )
        return found

    def _near(self, name: str, others: Iterable[str] = ()) -> str:
        near = difflib.get_close_matches(name, [*self._by_name, *others], n=1)
        return f"; did you mean {near[0]!r}?" if near else ""


def _refuse_shared_outputs(steps: Sequence[Step]) -> None:
    makers: dict[PurePosixPath, str] = {}
    for step in steps:
        for output in step.outputs:
            path = PurePosixPath(output)
            if path in makers:
                raise ConfigError(
                    f"steps {makers[path]} and {step.name} both write {path}; allowed one"
                )
            makers[path] = step.name
    for path, name in makers.items():
        for above in path.parents:
            if makers.get(above, name) != name:
                raise ConfigError(
                    f"step {name} writes {path} into {above} of step {makers[above]}; allowed "
                    "outputs side by side"
                )


def _in_order(steps: Sequence[Step], by_name: Mapping[str, Step]) -> tuple[Step, ...]:
    """Depth first along the inputs, so that the order given is kept where it can be."""
    ordered: dict[str, Step] = {}
    for first in steps:
        stack = [(first, iter(first.inputs))]
        path = [first.name]
        while stack:
            step, waiting = stack[-1]
            name = next((n for n in waiting if n not in ordered), None)
            if step.name in ordered or name is None:
                ordered.setdefault(step.name, step)
                stack.pop()
                path.pop()
            elif name in path:
                circle = [*path[path.index(name) :], name]
                raise ConfigError(f"steps wait for each other: {' <- '.join(circle)}")
            else:
                stack.append((by_name[name], iter(by_name[name].inputs)))
                path.append(name)
    return tuple(ordered.values())
