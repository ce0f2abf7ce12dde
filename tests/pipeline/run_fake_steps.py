"""A run of fake steps in a process of its own, to be killed: run_fake_steps.py FOLDER JOBS KIND."""

from __future__ import annotations

import sys
from pathlib import Path

from evalsuite.pipeline.runner import run
from evalsuite.pipeline.steps import Plan, Step


def counting() -> Plan:
    """Two chains of counts; the second of each reads the first."""
    steps = []
    for side in ("left", "right"):
        settings = {"to": 12, "seconds": 0.02}
        steps.append(
            Step(f"{side}/a", "posts", "counts", "count", settings, (), (f"{side}/a.txt",))
        )
        steps.append(
            Step(
                f"{side}/b", "sft", "counts", "count", settings, (f"{side}/a",), (f"{side}/b.txt",)
            )
        )
    return Plan(steps)


def training() -> Plan:
    """Two trainers at once, for long."""
    settings = {"to": 2000}
    return Plan(
        [Step(n, "sft", "trains", "train", settings, (), (f"{n}.txt",)) for n in ("one", "two")]
    )


def patient() -> Plan:
    """One that does not stop when asked."""
    return Plan([Step("one", "sft", "lingers", "linger", {}, (), ("one.txt",))])


if __name__ == "__main__":
    plans = {"counting": counting, "training": training, "patient": patient}
    plan = plans[sys.argv[3]]()
    outcome = run(plan, Path(sys.argv[1]), jobs=int(sys.argv[2]), runner_module="fake_actions")
    sys.exit(outcome.code)
