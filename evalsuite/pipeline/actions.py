"""What steps do: one function an action, found by name in `ACTIONS`.

`run_step` is all that a worker calls. Every action may be killed at any moment and called again:
trainers and samplers go on where they were, the others are short and write each file at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalsuite.pipeline.reading import below
from evalsuite.pipeline.steps import Step

Report = Callable[[int, int], object]
Numbers = dict[str, Any]


def run_step(step: Step, folder: Path, report: Report) -> Numbers:
    """Do a step; what it made, in numbers for people."""
    return ACTIONS[step.action](step, folder, report)


def _posts(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.making import make_posts

    return make_posts(below(step.settings, folder), folder)


def _label(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.making import make_labels

    return make_labels(below(step.settings, folder), folder)


def _labels_on_file(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.making import make_labels_on_file

    return make_labels_on_file(below(step.settings, folder), folder)


def _test_pairs(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.making import make_test_pairs

    return make_test_pairs(below(step.settings, folder), folder)


def _evaluation_labels(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.making import make_evaluation_labels

    return make_evaluation_labels(below(step.settings, folder), folder)


def _model(name: str) -> Callable[[Step, Path, Report], Numbers]:
    """An action of `modelling`, which loads torch."""

    def act(step: Step, folder: Path, report: Report) -> Numbers:
        from evalsuite.pipeline import modelling

        settings, out = below(step.settings, folder), step.outputs[0]
        if name in ("run_sft", "run_rm", "run_ppo", "describe_base"):
            return getattr(modelling, name)(settings, folder, out)  # type: ignore[no-any-return]
        return getattr(modelling, name)(settings, folder, out, report)  # type: ignore[no-any-return]

    return act


def _tables(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.measuring import make_tables

    return make_tables(step.settings, folder)


def _analyses(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.drawing import draw

    return draw(step.settings, folder, step.outputs[0])


def _page(step: Step, folder: Path, report: Report) -> Numbers:
    from evalsuite.pipeline.drawing import bind

    return bind(step.settings, folder)


ACTIONS: dict[str, Callable[[Step, Path, Report], Numbers]] = {
    "posts": _posts,
    "base": _model("describe_base"),
    "sft": _model("run_sft"),
    "sample": _model("run_sample"),
    "best_of": _model("run_best_of"),
    "label": _label,
    "labels_on_file": _labels_on_file,
    "test_pairs": _test_pairs,
    "rm": _model("run_rm"),
    "ppo": _model("run_ppo"),
    "judge": _model("run_judge"),
    "score": _model("run_score"),
    "evaluation_labels": _evaluation_labels,
    "agreement_scores": _model("run_agreement_scores"),
    "tables": _tables,
    "analyses": _analyses,
    "page": _page,
}
