"""Accuracy of scores against preference labels, beside the rule that the longer summary is better.

A reward model that agrees with 65% of the labels has learned little where length alone agrees with
62%, so no accuracy stands here without that rule's on the same labels and the paired difference.
Accuracy varies a lot with the label batch and the labelers' confidence (Huang et al. 2024, detail
16), hence the slices. Proof: tests/stats/test_accuracy.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import StatisticsError
from evalsuite.stats.estimate import row
from evalsuite.stats.means import cluster_mean
from evalsuite.stats.preference import preference_rate

COLUMNS = ("post_id", "choice", "left_reward", "right_reward", "left_chars", "right_chars")
ALL = "all"


def agreement(choice: ArrayLike, left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Agreement of two scores with a label: 1 where the preferred summary has the higher score.

    choice: (n,) share of the preference that goes to the right summary; left, right: (n,) scores.
    Half where the scores are equal: a coin would be right so often. NaN where the label is a tie,
    for then there is no right answer; a soft label counts as its majority.

    Returns (n,). Raises StatisticsError where a score is NaN or a choice outside [0, 1].
    """
    share = np.asarray(choice, dtype=np.float64)
    gap = np.asarray(right, dtype=np.float64) - np.asarray(left, dtype=np.float64)
    if np.isnan(gap).any():
        raise StatisticsError("a score is NaN; allowed numbers")
    if not ((share >= 0) & (share <= 1)).all():
        raise StatisticsError("a choice is outside [0, 1]; allowed shares of the preference")
    credit = (1 + np.sign(gap) * np.sign(share - 0.5)) / 2
    return np.where(share == 0.5, np.nan, credit)


def accuracy_table(
    pairs: pd.DataFrame, *, slices: Sequence[str] = (), level: float = 0.95
) -> pd.DataFrame:
    """Accuracy of rewards, of the longer-is-better rule, and their difference, slice by slice.

    pairs: one row a label with `COLUMNS` (lengths in characters) and the columns `slices`, whose
    missing values are left out of those slices. Labels that are ties have no right answer; they
    are counted in `n_ties` and left out of the rest.

    Returns three rows a slice: by, slice, quantity ("accuracy", "longer", "difference"), n_ties,
    then the fields of `Estimate`. The first slice is by "all". Rates are `preference_rate`s, the
    difference is the mean over labels of the two rules' agreement, less each other; intervals are
    Student's, clustered by post.

    Raises StatisticsError where a column is missing, and as `agreement`.
    """
    for column in (*COLUMNS, *slices):
        if column not in pairs.columns:
            raise StatisticsError(f"pairs have no column {column!r}; allowed {', '.join(COLUMNS)}")
    rules = {
        rule: agreement(pairs["choice"], pairs[f"left_{of}"], pairs[f"right_{of}"])
        for rule, of in (("accuracy", "reward"), ("longer", "chars"))
    }
    posts = pairs["post_id"].to_numpy()
    out = []
    for by, name, chosen in _slices(pairs, slices):
        decided = chosen & ~np.isnan(rules["accuracy"])
        ties = int(chosen.sum() - decided.sum())
        ours, longer = (rules[rule][decided] for rule in ("accuracy", "longer"))
        clusters = posts[decided]
        estimates = {
            "accuracy": preference_rate(ours, clusters=clusters, level=level),
            "longer": preference_rate(longer, clusters=clusters, level=level),
            "difference": cluster_mean(
                ours - longer, clusters=clusters, level=level, bounds=(-1.0, 1.0)
            ),
        }
        for quantity, estimate in estimates.items():
            out.append(row(estimate, by=by, slice=name, quantity=quantity, n_ties=ties))
    return pd.DataFrame(out)


def _slices(
    pairs: pd.DataFrame, columns: Sequence[str]
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    yield ALL, ALL, np.ones(len(pairs), dtype=bool)
    for column in columns:
        values = pairs[column]
        for value in sorted(values.dropna().unique()):
            yield column, str(value), (values == value).to_numpy(dtype=bool)
