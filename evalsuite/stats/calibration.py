"""Calibration: do answers given with more confidence agree more often with others?

Both functions are tables of clustered means, one row a level of confidence or a bin of
predicted probability. tests/stats/test_calibration.py has the values by hand.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Codes, Floats, cluster_codes
from evalsuite.stats.estimate import Estimate
from evalsuite.stats.preference import preference_rate


def confidence_calibration(
    strength: ArrayLike,
    agree: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
) -> pd.DataFrame:
    """Rate of agreement with peers by confidence.

    strength: (n,) how sure the labeler was, 1 to 4 in the release (any ordered values do; NaN
    where nobody asked: left out). agree: (n,) in [0, 1], the share of peers that chose the same.

    Returns one row a strength, ascending: strength, then the fields of `Estimate`.

    Raises StatisticsError on lengths that differ, agreement outside [0, 1], wrong clusters.

    Source: Stiennon et al. 2020, appendix C.1 (a confidence threshold with known agreement).
    """
    sure, same = _columns("strength", strength, "agree", agree)
    codes, _ = cluster_codes(clusters, len(sure))
    rows = []
    for value in np.unique(sure[~np.isnan(sure)]):
        estimate = _rate(same, codes, sure == value, clusters is None, cluster_name, level)
        rows.append({"strength": value, **estimate._asdict()})
    return pd.DataFrame(rows, columns=["strength", *Estimate._fields])


def reliability(
    probability: ArrayLike,
    outcome: ArrayLike,
    *,
    edges: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
) -> pd.DataFrame:
    """Reliability diagram: observed rate against predicted probability, by bins.

    probability, outcome: (n,) in [0, 1]. edges: ascending from 0 to 1, ten equal bins by default;
    a bin holds its lower edge, the last one both.

    Returns one row a bin that holds rows: from, to, predicted (mean probability), then the fields
    of `Estimate` of the observed rate.

    Raises StatisticsError on lengths that differ, values outside [0, 1], wrong edges or clusters.

    Source: DeGroot & Fienberg 1983.
    """
    p, y = _columns("probability", probability, "outcome", outcome)
    if not ((p >= 0) & (p <= 1)).all():
        raise StatisticsError("a probability is outside its range; allowed 0 to 1")
    bounds = np.linspace(0, 1, 11) if edges is None else np.asarray(edges, dtype=np.float64)
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != 1 or (np.diff(bounds) <= 0).any():
        raise StatisticsError(f"edges are {bounds.tolist()}; allowed ascending from 0 to 1")
    codes, _ = cluster_codes(clusters, len(p))
    bin_of = np.minimum(np.searchsorted(bounds, p, side="right") - 1, len(bounds) - 2)
    rows = []
    for i in np.unique(bin_of):
        inside = bin_of == i
        estimate = _rate(y, codes, inside, clusters is None, cluster_name, level)
        keys = {"from": bounds[i], "to": bounds[i + 1], "predicted": p[inside].mean()}
        rows.append({**keys, **estimate._asdict()})
    return pd.DataFrame(rows, columns=["from", "to", "predicted", *Estimate._fields])


def _rate(
    y: Floats, codes: Codes, inside: np.ndarray, plain: bool, name: str, level: float
) -> Estimate:
    clusters = None if plain else codes[inside]
    return preference_rate(y[inside], clusters=clusters, cluster_name=name, level=level)


def _columns(name: str, first: ArrayLike, other: str, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise StatisticsError(
            f"{name} has shape {a.shape}, {other} {b.shape}; allowed one dimension, the same"
        )
    return a, b
