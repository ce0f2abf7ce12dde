"""Races: two sides in processes of their own, run in turn, compared by the ratios of paired runs.

Absolute times mean little on a shared machine. A pair of runs, one after the other, sees much the
same machine; the order within a pair alternates, so that a drift does not favour one side. On one
thread the time is that of the processor, which waiting for a busy core does not change; on more it
is that of the clock on the wall. Ratios of both are printed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class Side(NamedTuple):
    """One side: its name, the Python that runs it, its script, and its job (see `clock.job`)."""

    name: str
    python: Path | str
    script: Path
    job: Mapping[str, Any]


class Outcome(NamedTuple):
    """Results of each run of both sides. time: what counts, "processor" or "wall" (seconds)."""

    time: str
    ours: list[dict[str, Any]]
    peer: list[dict[str, Any]]

    def ratios(self, time: str) -> list[float]:
        """The ratio of each pair: the peer's time over ours."""
        return [b[time] / a[time] for a, b in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the paired ratios."""
        return statistics.median(self.ratios(self.time))


def run(side: Side, threads: int) -> dict[str, Any]:
    """One run of one side; what it printed is shown when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        job, result, log = (
            Path(folder, "job.json"),
            Path(folder, "result.json"),
            Path(folder, "log"),
        )
        job.write_text(json.dumps({**side.job, "threads": threads, "scratch": folder}))
        environment = {
            **os.environ, "PYTHONPATH": str(HERE.parent), "BENCH_RESULT": str(result),
            "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_CACHE": f"{folder}/cache", "TRL_EXPERIMENTAL_SILENCE": "1",
            "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
        }  # fmt: skip
        with log.open("w") as out:
            done = subprocess.run(
                [side.python, side.script, job], env=environment, stdout=out,
                stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if done.returncode or not result.exists():
            raise SystemExit(f"{side.name} failed:\n{log.read_text()[-4000:]}")
        return json.loads(result.read_text())


def race(ours: Side, peer: Side, *, runs: int, threads: int, vary: str | None = None) -> Outcome:
    """Run both sides `runs` times in turn and print each pair as it ends.

    vary: a number of the jobs that grows by one from pair to pair (a seed).
    """
    outcome = Outcome("processor" if threads == 1 else "wall", [], [])
    for number in range(runs):
        results = {}
        for side in (ours, peer) if number % 2 == 0 else (peer, ours):
            more = {vary: side.job[vary] + number} if vary else {}
            results[side.name] = run(side._replace(job={**side.job, **more}), threads)
        outcome.ours.append(results[ours.name])
        outcome.peer.append(results[peer.name])
        print(f"  pair {number + 1}: {told(peer.name, outcome.peer[-1])}, "
              f"{told(ours.name, outcome.ours[-1])}, "
              f"ratio {outcome.ratios(outcome.time)[-1]:.2f}", flush=True)  # fmt: skip
    return outcome


def told(name: str, result: Mapping[str, Any]) -> str:
    """One run in words."""
    return f"{name} {result['processor']:.2f} s ({result['wall']:.2f} on the wall)"


def report(ours: str, peer: str, outcome: Outcome, *, unit: str, target: float) -> None:
    """Medians of both sides, and the ratio with the range of the pairs beside what was wanted."""
    for name, results in ((peer, outcome.peer), (ours, outcome.ours)):
        rate = statistics.median(r["items"] / r[outcome.time] for r in results)
        grown = statistics.median(r["peak"] - r["before"] for r in results)
        print(f"  {name:<20}{median(results, outcome.time):8.2f} s {rate:9.2f} {unit}/s   peak "
              f"{median(results, 'peak'):6.0f} MiB, {grown:6.0f} above its start")  # fmt: skip
    other = "wall" if outcome.time == "processor" else "processor"
    ratios = outcome.ratios(outcome.time)
    print(f"  ratio of {outcome.time} time {outcome.ratio:.2f} (pairs {min(ratios):.2f} to "
          f"{max(ratios):.2f}); of {other} time {statistics.median(outcome.ratios(other)):.2f}; "
          f"target {target:g}: {'met' if outcome.ratio >= target else 'MISSED'}")  # fmt: skip


def median(results: list[dict[str, Any]], field: str) -> float:
    """The median of a field over runs."""
    return statistics.median(r[field] for r in results)
