"""Tables of an experiment: what was trained, what it wrote, what that is truly worth.

`evalsuite reproduce` writes them, the analyses of checkpoints read them (`Tables.experiment`).

    models       a row a checkpoint                      key model
    objectives   a row a thing to maximise               key objective (no seed in it)
    policies     a row a policy: a model and how it is sampled; key policy (no seed in it)
    summaries    a row an evaluated summary: policy x seed x post
    pool         a row a sample that best-of-N chooses among: seed x post x sample
    trajectory   a row a summary that PPO wrote on its way: model x update x post
    pairs        a row a held-out pair a reward model judged: model x pair
    probes       a row an edited summary a reward model judged against its original
    training     a row an update of PPO

`seed` counts replicates: each has its own training posts, labels, heads and orders; the posts that
are evaluated are the same for all, so seeds and posts are crossed. `gold` is the truth: the true
utility of the simulated world, elsewhere the reward of a gold model. A policy or objective has
one name over all seeds, a model one for each. Missing text is "", missing numbers are NaN.

What may be changed: columns may be added; those of `COLUMNS` are what analyses count on.
tests/test_experiment.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from evalsuite.errors import DataError
from evalsuite.tables import write_atomically, write_parquet

TEXT, NUMBER = "str", "float64"

_MADE = {"size": TEXT, "parameters": NUMBER, "seed": NUMBER}
_TUNED = {"objective": TEXT, "kl_coef": NUMBER, "value_network": TEXT}
_SCORED = {"text": TEXT, "tokens": NUMBER, "chars": NUMBER, "gold": NUMBER}

COLUMNS: dict[str, dict[str, str]] = {
    "models": {
        "model": TEXT, "kind": TEXT, **_MADE, "round": NUMBER, "labels": NUMBER, "member": NUMBER,
        "parent": TEXT, **_TUNED, "updates": NUMBER,
    },
    "objectives": {
        "objective": TEXT, "label": TEXT, "kind": TEXT, "size": TEXT, "parameters": NUMBER,
        "labels": NUMBER, "round": NUMBER,
    },
    "policies": {
        "policy": TEXT, "label": TEXT, "method": TEXT, "size": TEXT, "parameters": NUMBER,
        "temperature": NUMBER, "top_p": NUMBER, **_TUNED, "best_of_n": NUMBER, "round": NUMBER,
        "main": NUMBER,
    },
    "summaries": {
        "policy": TEXT, "seed": NUMBER, "post_id": TEXT, "domain": TEXT, **_SCORED,
        "gold_reference": NUMBER, "preferred": NUMBER, "expected": NUMBER, "reward": NUMBER,
        "reward_reference": NUMBER, "kl_nats": NUMBER, "chars_reference": NUMBER,
    },
    "pool": {"base": TEXT, "seed": NUMBER, "post_id": TEXT, "sample": NUMBER, **_SCORED},
    "trajectory": {
        "model": TEXT, "seed": NUMBER, "size": TEXT, **_TUNED, "update": NUMBER,
        "kl_nats": NUMBER, "post_id": TEXT, **_SCORED, "proxy": NUMBER, "gold_reference": NUMBER,
        "proxy_reference": NUMBER,
    },
    "pairs": {
        "model": TEXT, **_MADE, "labels": NUMBER, "member": NUMBER, "round": NUMBER,
        "post_id": TEXT, "kind": TEXT, "margin": NUMBER, "correct": NUMBER, "agrees": NUMBER,
        "gap": NUMBER, "log_length_ratio": NUMBER,
    },
    "probes": {
        "model": TEXT, **_MADE, "labels": NUMBER, "member": NUMBER, "probe": TEXT, "post_id": TEXT,
        "prefers": NUMBER, "margin": NUMBER, "labelers": NUMBER, "agrees": NUMBER,
        "gold_gap": NUMBER,
    },
    "training": {
        "model": TEXT, "seed": NUMBER, "size": TEXT, **_TUNED, "update": NUMBER, "reward": NUMBER,
        "kl_nats": NUMBER, "token_reward": NUMBER, "length": NUMBER,
    },
}  # fmt: skip
"""Columns of each table and their dtypes.

models
    kind: base, sft, rm or ppo. labels: pairs that a reward model was trained on. member: of an
    ensemble. parent: the model it began from. round: of the loop of labelling, else NaN.
objectives
    kind: rm, ensemble, rouge, length, gold. label: its word in figures.
policies
    method: reference, pretrained, supervised, human feedback, rouge, best-of-n. main: 1 where it
    stands in Fig. 1 (one policy a size and method, all of one temperature), else 0.
summaries
    preferred: 1 where the gold of the summary is above that of the post's reference, .5 where
    equal. expected: share of labelers who would prefer it to the reference, in expectation (NaN
    where unknown). reward, reward_reference: of the policy's own objective; of a supervised policy
    that of the main reward model of its size. kl_nats: log-prob of the summary by the policy less
    by the policy it was trained from (k1), nats, at its temperature.
pool
    and a column `proxy:OBJECTIVE` for each objective that scored it.
trajectory
    update: updates made before it wrote this. kl_nats: of the policy at this update (k1, mean of a
    rollout). proxy: the reward of its own objective.
pairs
    kind: "two samples" or "with the reference". margin: reward of the better less that of the worse
    summary, by gold. correct: 1 where margin > 0, .5 where 0. agrees: the same against a labeler's
    answer (NaN where nobody was asked). gap: gold difference. log_length_ratio: log of the better
    one's characters over the worse one's. A row with model "labeler" tells how often one labeler
    is right (correct) and agrees with another (agrees); "labelers" the majority of several.
probes
    prefers: 1 where the side that should win has the higher reward. labelers: share of simulated
    labelers, or of human labels, that prefer it. agrees: 1 where reward model and label agree.
    gold_gap: gold of the side that should win less that of the other.
"""


@dataclass(frozen=True)
class Experiment:
    """The tables above, and what gold is measured in.

    tables: by name; one that was not made is missing.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    gold_unit: str = "utility"

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A table; one without rows where it was not made."""
        if name not in COLUMNS:
            raise KeyError(name)
        return self.tables[name] if name in self.tables else coerce(name, pd.DataFrame())

    def lacks(self, *names: str) -> str | None:
        """Why an analysis that needs these tables cannot run; None when all have rows."""
        missing = [name for name in names if not len(self[name])]
        return f"the experiment has no {' and no '.join(missing)}" if missing else None


def coerce(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns first and in their dtypes, missing ones added; others stay."""
    out = {}
    for column, dtype in COLUMNS[name].items():
        if column in table:
            out[column] = table[column].fillna("") if dtype == TEXT else table[column]
        else:
            out[column] = pd.Series("" if dtype == TEXT else float("nan"), index=table.index)
    frame = pd.DataFrame(out, index=table.index).astype(COLUMNS[name])
    rest = [column for column in table.columns if column not in frame.columns]
    return pd.concat([frame, table[rest]], axis=1) if rest else frame


def write(experiment: Experiment, folder: Path) -> None:
    """`NAME.parquet` of each table and `experiment.json`, into a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in experiment.tables.items():
        write_parquet(coerce(name, table), folder / f"{name}.parquet")
    text = json.dumps({"gold_unit": experiment.gold_unit}) + "\n"
    write_atomically(folder / "experiment.json", lambda path: path.write_text(text, "utf-8"))


def read(folder: Path) -> Experiment:
    """The experiment that `write` left. Raises DataError for a folder without one."""
    file = folder / "experiment.json"
    if not file.is_file():
        raise DataError(
            "holds no experiment", file=folder.name, allowed="what evalsuite reproduce wrote"
        )
    found = {name: folder / f"{name}.parquet" for name in COLUMNS}
    tables = {
        name: coerce(name, pd.read_parquet(path)) for name, path in found.items() if path.is_file()
    }
    return Experiment(tables, json.loads(file.read_text("utf-8"))["gold_unit"])
