"""What reward models, ensembles, ROUGE and the truth look like as things to maximise.

An objective has one colour and line in every figure of a run: reward models go from orange (few
labels) to violet (many), rounds of labelling are blue, ensembles have hues of their own, larger
models broken lines. Colours may be changed; that no two objectives of a figure look the same is
held by tests/analyses/test_objectives.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_hex

from evalsuite.report import style

FACTS = ["label", "kind", "size", "parameters", "labels", "round"]
"""Columns of the objectives table that results carry, so that a figure needs no other table."""

_KINDS = ("rm", "ensemble", "rouge", "length", "gold")
_LABELS = ("#eda43b", "#d9572f", "#9c2f6f", "#44297a")
_ROUNDS = ("#8ec1e8", "#1c5a99")
_SIZES = ("#a3c76b", "#3f9d7c", "#27688c", "#352a63")
_ENSEMBLES = ("#2f7fc1", "#7a5cc9", "#12306b", "#5bb8d6")
_FIXED = {"rouge": "#3a9a5c", "length": "#8c8c8c", "gold": style.INK}
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))


class Look(NamedTuple):
    """How an objective is drawn."""

    label: str
    colour: str
    linestyle: Any


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """One row an objective with its `FACTS`: reward models by size and labels, then the others."""
    facts = rows.drop_duplicates("objective")[["objective", *FACTS]]
    rank = facts["kind"].map({kind: place for place, kind in enumerate(_KINDS)})
    rank = rank.fillna(len(_KINDS))
    return (
        facts.assign(_rank=rank)
        .sort_values(["_rank", "round", "parameters", "labels", "objective"], na_position="first")
        .drop(columns="_rank")
        .reset_index(drop=True)
    )


def looks(rows: pd.DataFrame) -> dict[str, Look]:
    """Look of each objective among rows that have `objective` and its `FACTS`."""
    facts = in_order(rows)
    models = facts[(facts["kind"] == "rm") & facts["round"].isna()]
    amounts = sorted(models["labels"].dropna().unique())
    sizes = sorted(models["parameters"].dropna().unique())
    rounds = sorted(facts["round"].dropna().unique())
    ensembles = facts.loc[facts["kind"] == "ensemble", "objective"].tolist()
    out = {}
    for _, row in facts.iterrows():
        name, kind = str(row["objective"]), str(row["kind"])
        colour, line = _FIXED.get(kind, style.MUTED), 0
        if row["round"] in rounds:
            colour = shades(_ROUNDS, len(rounds))[rounds.index(row["round"])]
        elif kind == "rm":
            place = amounts.index(row["labels"]) if row["labels"] in amounts else 0
            colour = shades(_LABELS, len(amounts))[place]
            line = sizes.index(row["parameters"]) if row["parameters"] in sizes else 0
        elif kind == "ensemble":
            place = ensembles.index(name)
            colour, line = _ENSEMBLES[place % len(_ENSEMBLES)], place // len(_ENSEMBLES)
        label = row["label"] if isinstance(row["label"], str) and row["label"] else name
        out[name] = Look(label, colour, _LINES[line % len(_LINES)])
    return out


MOST_LINES = 9
"""Objectives that one panel has room for."""


def drawn(rows: pd.DataFrame) -> list[str]:
    """Objectives of a figure, in order; of many reward models those that differ in one thing.

    All where they are few. Else of the size that most have every number of labels, of other sizes
    the most labels, of rounds the first and the last; and everything that is no single model.
    """
    facts = in_order(rows)
    if len(facts) <= MOST_LINES:
        return list(facts["objective"])
    plain = (facts["kind"] == "rm") & facts["round"].isna()
    size = most_used(facts[plain])
    most = facts.groupby("size")["labels"].transform("max") == facts["labels"]
    rounds = facts["round"].isin([facts["round"].min(), facts["round"].max()])
    kept = (facts["kind"] != "rm") | (plain & ((facts["size"] == size) | most)) | rounds
    return list(facts.loc[kept, "objective"])


def single(rows: pd.DataFrame) -> pd.Series:
    """Rows of reward models that stand alone: no later member of an ensemble, and of no round."""
    alone = rows["member"].fillna(0) == 0
    return alone & rows["round"].isna() if "round" in rows else alone


def most_used(rows: pd.DataFrame) -> str:
    """The size that most rows have; of two the one with fewer parameters. "" without rows."""
    sizes = rows.groupby("size")["parameters"].agg(count="size", parameters="min")
    if sizes.empty:
        return ""
    return str(sizes.sort_values(["count", "parameters"], ascending=[False, True]).index[0])


def size_of_policies(policies: pd.DataFrame) -> str:
    """The size that PPO is compared at: that of most of its policies, else of most policies."""
    tuned = policies[policies["method"].isin(["human feedback", "rouge"])]
    return most_used(tuned if len(tuned) else policies[policies["size"] != ""])


def shades(stops: Sequence[str] = _SIZES, count: int = 1) -> list[str]:
    """`count` colours along the stops, from the first to the last; one alone is the last."""
    ramp = LinearSegmentedColormap.from_list("ramp", list(stops))
    return [to_hex(ramp(i / (count - 1) if count > 1 else 1.0)) for i in range(count)]


def of_experiment(objectives: pd.DataFrame, keys: Iterable[str]) -> pd.DataFrame:
    """`objective` and its `FACTS` for each key, in drawing order; a key without a row has none."""
    known = objectives.drop_duplicates("objective").set_index("objective")[FACTS]
    facts = known.reindex(list(keys)).rename_axis("objective").reset_index()
    return in_order(facts.fillna({"label": "", "kind": "", "size": ""}))
