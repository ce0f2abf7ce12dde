"""Gain of accuracy per doubling of labels and of parameters.

The paper reads its Figure 6 as two slopes: doubling the labels adds about 1.1 points of accuracy,
doubling the model about 1.8. Here they are one least-squares plane over reward models,

    accuracy = level + data * log2(labels) + size * log2(parameters),

with intervals over seeds and posts. tests/stats/test_scaling.py compares with statsmodels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.stats.replicates import crossed_cells, crossed_mean

RATE, DATA, SIZE = range(3)
"""Columns of the design: accuracy at the centre, per doubling of labels, of parameters."""


class Scaling(NamedTuple):
    """Slopes of accuracy, as shares per doubling (0.011 is 1.1 points).

    data: per doubling of labels. size: per doubling of parameters. centre: accuracy at the
    geometric means of the labels and parameters of the reward models used, which `labels` and
    `parameters` are. left_out: rows of reward models or posts that some seed lacks.
    """

    data: Estimate
    size: Estimate
    centre: Estimate
    labels: float
    parameters: float
    left_out: int

    def accuracy(self, labels: ArrayLike, parameters: ArrayLike) -> Floats:
        """The fitted plane, for drawing; a slope that is undefined counts as 0."""
        data, size = (0.0 if np.isnan(slope.value) else slope.value for slope in self[:2])
        by_data = data * np.log2(np.asarray(labels, dtype=np.float64) / self.labels)
        by_size = size * np.log2(np.asarray(parameters, dtype=np.float64) / self.parameters)
        return np.asarray(self.centre.value + by_data + by_size, dtype=np.float64)


def scaling_per_doubling(
    correct: ArrayLike,
    *,
    labels: ArrayLike,
    parameters: ArrayLike,
    seeds: ArrayLike,
    posts: ArrayLike,
    level: float = 0.95,
) -> Scaling:
    """Least-squares slopes of accuracy in log2(labels) and log2(parameters), over seeds and posts.

    correct: (n,), one row a reward model and pair: 1 right, 0 wrong, .5 undecided. A reward model
    is a combination of labels and parameters here; pairs of one post, and members of one ensemble,
    are averaged, and each combination weighs alike however many pairs it judged. Used are the
    combinations that every seed has, on posts that all of them judged, so that no slope is a
    difference between kinds of posts; `left_out` counts the other rows. Seeds have the same posts
    or each its own (`crossed_mean`).

    Slopes are linear in the accuracies of a post, so each post of each seed has its own, and the
    interval is that of their mean over seeds and posts. It is about other seeds and posts; whether
    accuracy is straight in the logarithms is not part of it.

    Undefined, with the reason: a slope whose variable has one value only, or both where labels
    and parameters move together exactly; everything where no post is left.

    Raises StatisticsError on lengths that differ, NaN, or labels or parameters not above 0.
    Source: Stiennon et al. 2020, section 4.3 and Figure 6.
    """
    columns = {"y": correct, "labels": labels, "parameters": parameters, "s": seeds, "p": posts}
    lengths = [len(np.asarray(column)) for column in columns.values()]
    if len(set(lengths)) > 1:
        raise StatisticsError(
            "correct, labels, parameters, seeds and posts have "
            f"{', '.join(map(str, lengths))} rows; allowed one length"
        )
    rows = pd.DataFrame({name: np.asarray(column) for name, column in columns.items()})
    if not ((rows["labels"] > 0) & (rows["parameters"] > 0)).all():
        raise StatisticsError("labels or parameters are not above 0; allowed positive numbers")
    if rows["y"].isna().any():
        raise StatisticsError("correct has a NaN; allowed 0 to 1")
    none = undefined("no post that every reward model judged", level=level)
    nothing = Scaling(none, none, none, np.nan, np.nan, len(rows))
    if rows.empty:
        return nothing
    cells = rows.groupby(["s", "p", "labels", "parameters"])["y"]
    means = cells.mean().unstack(["labels", "parameters"])
    in_seed = means.notna().groupby(level="s").any().to_numpy()
    means = means[means.columns[np.flatnonzero(in_seed.all(axis=0))]].dropna()
    models = np.log2(means.columns.to_frame()[["labels", "parameters"]].to_numpy(dtype=np.float64))
    if means.empty:
        return nothing
    seed_labels, post_labels = (means.index.get_level_values(name) for name in ("s", "p"))
    counts = cells.size().unstack(["labels", "parameters"]).loc[means.index, means.columns]

    offsets = models - models.mean(axis=0)
    design = np.column_stack([np.ones(len(models)), offsets])
    slopes = means.to_numpy() @ np.linalg.pinv(design).T  # a row a (seed, post)
    shared = crossed_cells(slopes, seeds=seed_labels, posts=post_labels).posts
    used = post_labels.isin(shared) if shared else np.ones(len(means), dtype=bool)
    kept = int(counts[used].to_numpy().sum())
    found = []
    for column, why in enumerate(_undefined_columns(offsets)):
        one = crossed_mean(slopes[:, column], seeds=seed_labels, posts=post_labels, level=level)
        if why:
            one = undefined(why, n_clusters=one.n_clusters, level=level)
        found.append(one._replace(n=kept))
    labels_at, parameters_at = np.exp2(models.mean(axis=0)).tolist()
    return Scaling(
        found[DATA], found[SIZE], found[RATE], labels_at, parameters_at, len(rows) - kept
    )


def _undefined_columns(offsets: Floats) -> list[str]:
    """Why each column of the design has no coefficient; "" where it has one."""
    reasons = ["", "", ""]
    flat = np.ptp(offsets, axis=0) < 1e-9
    for column, name in ((DATA, "amount of labels"), (SIZE, "size")):
        if flat[column - 1]:
            reasons[column] = f"reward models of one {name} only"
    if not flat.any() and np.linalg.matrix_rank(offsets, tol=1e-9) < 2:
        reasons[DATA] = reasons[SIZE] = "labels and size move together"
    return reasons
