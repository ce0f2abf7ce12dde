"""What a reward model makes of labelled pairs and of references, and the report of it.

    score_pairs       rewards of both summaries of every pair, in table form
    reference_shift   mean reward of reference summaries
    closing_numbers   accuracy and loss of some of the rows
    write_report      accuracy.csv and pairs.parquet

Summaries are scored once, all those of a post behind one prompt, divided among the processes.
Proof: tests/trainers/test_reward_model.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evalsuite.models import scoring
from evalsuite.models.packing import Group, ScalarModel
from evalsuite.stats.accuracy import accuracy_table, agreement
from evalsuite.tables import write_atomically, write_parquet
from trainers.engine import Engine
from trainers.sequences import PairExample, SFTExample

ACCURACY, PAIRS = "accuracy.csv", "pairs.parquet"

SLICES = ("policy pair", "batch", "strength", "domain", "labeler")
"""Columns of the pairs by which accuracy is told, within each split and over all of them."""


def score_pairs(
    model: ScalarModel, pairs: Sequence[PairExample], engine: Engine, *, pad_id: int, shift: float,
    max_batch_tokens: int,
) -> pd.DataFrame:  # fmt: skip
    """One row a pair: what the label says, and the reward (less the shift) of either side.

    Columns: comparison_id, post_id, split, domain, left_policy, right_policy, "policy pair" (both
    names in order of the alphabet), batch, labeler, strength, choice, left_reward, right_reward,
    left_chars, right_chars. A collective: every process gets all rows.
    """
    posts = dict.fromkeys(pair.post.id for pair in pairs)
    prompts: dict[str, list[int]] = {}
    members: dict[str, dict[tuple[int, ...], int]] = {post: {} for post in posts}
    for pair in pairs:
        prompts[pair.post.id] = pair.prompt
        for tokens in (pair.left, pair.right):
            known = members[pair.post.id]
            known.setdefault(tuple(tokens), len(known))
    groups = [Group(prompts[post], list(members[post])) for post in posts]
    scored = dict(zip(posts, _score(model, groups, engine, pad_id, max_batch_tokens), strict=True))

    def reward(pair: PairExample, tokens: list[int]) -> float:
        return float(scored[pair.post.id][members[pair.post.id][tuple(tokens)]]) - shift

    return pd.DataFrame(
        {
            "comparison_id": [pair.id for pair in pairs],
            "post_id": [pair.post.id for pair in pairs],
            "split": [pair.split for pair in pairs],
            "domain": [pair.post.domain for pair in pairs],
            "left_policy": [pair.policies[0] for pair in pairs],
            "right_policy": [pair.policies[1] for pair in pairs],
            "policy pair": [" | ".join(sorted(pair.policies)) for pair in pairs],
            "batch": pd.Series([pair.batch for pair in pairs], dtype="str"),
            "labeler": pd.Series([pair.labeler for pair in pairs], dtype="str"),
            "strength": pd.Series([pair.strength for pair in pairs], dtype="Int64"),
            "choice": [pair.target for pair in pairs],
            "left_reward": [reward(pair, pair.left) for pair in pairs],
            "right_reward": [reward(pair, pair.right) for pair in pairs],
            "left_chars": [pair.chars[0] for pair in pairs],
            "right_chars": [pair.chars[1] for pair in pairs],
        }
    )


def reference_shift(
    model: ScalarModel, references: Sequence[SFTExample], engine: Engine, *, pad_id: int,
    max_batch_tokens: int,
) -> float:  # fmt: skip
    """Mean head output on reference summaries; taken off, references have mean reward 0.

    Only differences of rewards are learned, so a zero has to be chosen. Source: Stiennon et al.
    2020, section 3.4 (N+ detail 15).
    """
    groups = [Group(one.prompt, [one.completion]) for one in references]
    scored = _score(model, groups, engine, pad_id, max_batch_tokens)
    return math.fsum(float(rewards[0]) for rewards in scored) / len(scored)


def closing_numbers(rows: pd.DataFrame) -> dict[str, Any]:
    """Of scored pairs: accuracy (ties of the labels left out), loss in nats, mean margin, n.

    The margin is the preferred side's reward less the other's. NaN where nothing is left.
    """
    gap = (rows["right_reward"] - rows["left_reward"]).to_numpy(dtype=np.float64)
    choice = rows["choice"].to_numpy(dtype=np.float64)
    right = agreement(choice, rows["left_reward"], rows["right_reward"])
    decided = ~np.isnan(right)
    loss = choice * np.logaddexp(0, -gap) + (1 - choice) * np.logaddexp(0, gap)
    margin = gap * np.sign(choice - 0.5)
    return {
        "accuracy": float(right[decided].mean()) if decided.any() else math.nan,
        "loss": float(loss.mean()) if len(rows) else math.nan,
        "margin": float(margin[decided].mean()) if decided.any() else math.nan,
        "n": int(decided.sum()),
    }


def report(rows: pd.DataFrame, apart: Sequence[str] = ()) -> pd.DataFrame:
    """The accuracy table of scored pairs: `accuracy_table` of each split and of all of them.

    apart: splits that are labels of another kind, which "all" leaves out.
    """
    own = rows[~rows["split"].isin(apart)]
    chosen = {split: rows[rows["split"] == split] for split in sorted(own["split"].unique())}
    chosen |= {"all": own} | {name: rows[rows["split"] == name] for name in apart}
    parts = []
    for split, part in chosen.items():
        table = accuracy_table(part, slices=SLICES)
        table.insert(0, "split", split)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def write_report(folder: Path, rows: pd.DataFrame, apart: Sequence[str] = ()) -> pd.DataFrame:
    """Write `pairs.parquet` and `accuracy.csv`; returns the latter's table."""
    table = report(rows, apart)
    write_parquet(rows, folder / PAIRS)
    write_atomically(folder / ACCURACY, lambda temporary: table.to_csv(temporary, index=False))
    return table


def accuracy_in_words(table: pd.DataFrame, split: str) -> str:
    """The accuracy of one split (or "all") in a sentence, with its difference to length alone."""
    found = table[(table["split"] == split) & (table["by"] == "all")]
    rows: dict[str, Any] = {row["quantity"]: row for row in found.to_dict("records")}

    def said(quantity: str, sign: str = "") -> str:
        row = rows[quantity]
        return f"{row['value']:{sign}.3f} [{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]"

    ours = rows["accuracy"]
    return (
        f"{split}: accuracy {said('accuracy')} on {ours['n']:,} labels of "
        f"{ours['n_clusters']:,} posts; longer is better {said('longer')}; "
        f"difference {said('difference', '+')} (95%, clustered by post)"
    )


def _score(
    model: ScalarModel, groups: Sequence[Group], engine: Engine, pad_id: int, max_batch_tokens: int
) -> list[Any]:
    mine = scoring.rewards(
        model, engine.mine(groups), pad_id=pad_id, max_batch_tokens=max_batch_tokens
    )
    return engine.gather(list(mine))
