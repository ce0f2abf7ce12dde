"""The whole paper on the smallest world, for real: every stage, table, figure and the pages."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import analyses
from evalsuite import experiment

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "reproduce" / "world-tiny.yaml"


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    """The run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "evalsuite", "reproduce", "--config", str(CONFIG), "--out", str(out),
         "--jobs", "2", *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(out: Path, *more: str) -> str:
    """The run to its end; what it printed."""
    process = start(out, *more)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def killed(out: Path, rng: random.Random, low: float, high: float) -> None:
    """The run, killed by SIGKILL after a random time, if it is not done by then."""
    process = start(out)
    time.sleep(rng.uniform(low, high))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def tables(out: Path) -> dict[str, bytes]:
    """Everything a run is judged by: all of its csv tables and the tables of its experiment."""
    found = {path.parent.name: path.read_bytes() for path in out.glob("report/*/table.csv")}
    for path in (out / "tables").glob("*.parquet"):
        found[path.name] = pd.read_parquet(path).to_csv(index=False).encode()
    return found


def test_every_stage(tmp_path: Path) -> None:
    out = tmp_path / "run"
    finish(out)
    found = experiment.read(out / "tables")
    assert found.lacks(*experiment.COLUMNS) is None
    for name in ("summaries", "pool", "trajectory"):
        assert found[name]["gold"].notna().all(), name
    # every policy of the table has summaries on all 24 posts of the evaluation
    judged = found["summaries"][found["summaries"]["domain"] == "tldr"]
    counts = judged.groupby("policy")["post_id"].nunique()
    chosen = found["policies"]["method"] == "best-of-n"
    for policy in found["policies"].loc[~chosen, "policy"]:
        assert counts[policy] == 24, policy
    assert (counts[found["policies"].loc[chosen, "policy"]] == 12).all()  # those of the pool
    # a policy differs from its parent, and says by how much
    tuned = judged[judged["policy"].str.contains("_ppo_") & judged["policy"].str.endswith("t0.7")]
    assert tuned["kl_nats"].notna().all()
    assert tuned["reward"].notna().all()
    assert found["pairs"].query("model == 'labeler'")["correct"].isin([0, 1]).all()
    report = out / "report"
    drawn = {path.parent.name for path in report.glob("*/figure.png")}
    assert set(analyses.NAMES) <= drawn
    told = json.loads((report / "checkpoints.json").read_text())
    assert told["left out"] == {}
    assert "</html>" in (report / "index.html").read_text()
    assert "</html>" in (report / "samples.html").read_text()
    # the same command again finds everything done
    said = finish(out)
    assert "judged/" not in said


@pytest.mark.slow
def test_one_seed_gives_identical_tables_and_five_kills_change_nothing(tmp_path: Path) -> None:
    finish(tmp_path / "one")
    finish(tmp_path / "two", "--jobs", "1")
    wanted = tables(tmp_path / "one")
    assert len(wanted) > 30
    assert tables(tmp_path / "two") == wanted
    rng = random.Random(20261121)
    for _ in range(5):
        killed(tmp_path / "killed", rng, 8, 25)
    finish(tmp_path / "killed")
    assert tables(tmp_path / "killed") == wanted
