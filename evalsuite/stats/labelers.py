"""What each labeler does: agreement with peers, side, use of the scale, drift; whom to ask.

One row a labeler and quantity. A flag is a question to a person, not a verdict, so its rule is
strict and the same everywhere: the interval at level 1 - alpha/L, L being the labelers for whom the
quantity has an interval, lies wholly beyond the quantity's bound (`CHECKS`). By Bonferroni's
inequality the chance that any of L sound labelers is flagged on one check is then at most
alpha, however the labelers depend on each other; over the four checks together at most 4 alpha.
What may be changed: the bounds. tests/stats/test_labelers.py has values by hand and simulates the
rate of false flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Codes, Floats, cluster_codes
from evalsuite.stats.estimate import Estimate, t_interval, undefined
from evalsuite.stats.means import cluster_mean
from evalsuite.stats.preference import NEGLIGIBLE_SE, pooled_rate, preference_rate
from evalsuite.stats.votes import Votes


class Check(NamedTuple):
    """When a quantity's simultaneous interval is beyond `bound` on `side`, ask the labeler."""

    bound: float
    side: Literal["below", "above", "either"]
    question: str


CHECKS = {
    "agreement gap": Check(0.0, "below", "agrees with peers less than they do with one another"),
    "left preference": Check(0.5, "either", "prefers one side of the screen"),
    "commonest strength": Check(0.9, "above", "gives one confidence for nearly everything"),
    "strength drift": Check(0.0, "either", "has grown more, or less, confident by batch"),
    "reference drift": Check(0.0, "either", "has come to like references more, or less, by batch"),
}
"""Bounds by quantity. Quantities without one describe: people may differ in mean confidence."""


def labeler_table(
    votes: Votes,
    *,
    strength: ArrayLike | None = None,
    batch: ArrayLike | None = None,
    reference_preferred: ArrayLike | None = None,
    level: float = 0.95,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Every quantity of every named labeler with its interval and flag.

    votes: from `collect_votes`; the rest are arrays over the rows that it was given, NaN where
    unknown. strength: 1 (barely) to 4 (surely). batch: the position 0, 1, 2, ... of the row's
    batch in time. reference_preferred: 1 where the human reference beat a policy, 0 where it
    lost, NaN in other comparisons (the paper kept such pairs in every batch to watch for drift).

    Quantities, clusters being posts:
      agreement           share of votes by others on the same comparison that are the same
      agreement gap       that, less the agreement of the others with one another
      left preference     share of decided comparisons in which the left text was chosen
      mean strength, strength spread (SD), top strength (share of 4), commonest strength (share
                          of whichever answer the labeler gives most)
      strength drift      least-squares slope a batch of the strength
      reference drift     the same of the preference for references
    Those for which nothing was handed in are left out. Returns labeler, quantity, the Estimate,
    then bound, sure_low, sure_high (the interval at 1 - alpha/L) and flag; the last four are NaN
    and False for quantities without a check.

    Raises StatisticsError for arrays of a wrong length or alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise StatisticsError(f"alpha is {alpha}; allowed between 0 and 1")
    given = {"strength": strength, "batch": batch, "reference_preferred": reference_preferred}
    data = {k: _at_votes(k, v, votes) for k, v in given.items() if v is not None}
    others = votes.others()
    pairs, agree = others.votes, others.agreeing(votes.first)
    left = (votes.first != votes.flipped).astype(np.float64)
    found: list[tuple[str, str, Callable[[float], Estimate]]] = []

    def add(name: str, quantity: str, estimate: Callable[[float], Estimate]) -> None:
        found.append((name, quantity, estimate))

    for code, name in enumerate(votes.labelers):
        rows = np.flatnonzero(votes.labeler == code)
        posts = votes.post[rows]
        own = {k: v[rows] for k, v in data.items()}
        add(name, "agreement", _peers(pairs[rows], agree[rows], posts))
        add(name, "agreement gap", _gap(pairs, agree, votes.labeler == code, votes.post))
        add(name, "left preference", _rate(left[rows], posts))
        if "strength" in own:
            sure = own["strength"]
            add(name, "mean strength", _mean(sure, posts))
            add(name, "strength spread", _spread(sure, posts))
            add(name, "top strength", _rate(_equals(sure, 4.0), posts))
            add(name, "commonest strength", _rate(_equals(sure, _mode(sure)), posts))
        if "batch" in own:
            if "strength" in own:
                add(name, "strength drift", _slope(own["strength"], own["batch"], posts))
            if "reference_preferred" in own:
                liked = own["reference_preferred"]
                add(name, "reference drift", _slope(liked, own["batch"], posts))
    return _flagged(found, level, alpha)


def peer_agreement(votes: Votes) -> tuple[Floats, Floats]:
    """For each vote, the share of others' votes on its comparison that are the same, and how many.

    The share is NaN where nobody else answered. With it, confidence can be held against agreement
    (`calibration.confidence_calibration`).
    """
    others = votes.others()
    agree = others.agreeing(votes.first)
    share = np.divide(agree, others.votes, out=np.full(len(votes), np.nan), where=others.votes > 0)
    return share, others.votes


def drift(
    values: ArrayLike,
    batch: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    cluster_name: str = "post",
    level: float = 0.95,
) -> Estimate:
    """Drift: least-squares slope of values (n,) on the batch number (n,), in units a batch.

    A straight line through the batches, each row one point; NaN rows are left out. Cluster-robust
    with the leverage of clusters taken out (CR3-like: a cluster's residual is divided by 1 less
    its leverage), Student's t with the effective number of clusters, by their shares of the sum
    of squares of batch, less one. Shocks that all rows of a batch share are not in the interval:
    it asks whether these batches' line is flat.

    NaN with n when all rows are of one batch. Raises StatisticsError for lengths that differ.
    Source: Liang & Zeger 1986; Bell & McCaffrey 2002.
    """
    y, x = np.asarray(values, np.float64), np.asarray(batch, np.float64)
    if y.shape != x.shape or y.ndim != 1:
        raise StatisticsError(f"values has shape {y.shape}, batch {x.shape}; allowed the same")
    codes, _ = cluster_codes(clusters, len(y))
    keep = ~np.isnan(y) & ~np.isnan(x)
    y, x = y[keep], x[keep]
    codes, groups = cluster_codes(codes[keep], len(y))
    if len(y) == 0 or np.ptp(x) == 0:
        return undefined("all rows are of one batch", n=len(y), n_clusters=groups, level=level)
    away = x - x.mean()
    squares = away**2 / float(away @ away)
    value = float(away @ y) / float(away @ away)
    residual = y - y.mean() - value * away
    share = np.bincount(codes, squares + 1 / len(y)).astype(np.float64)
    error = np.bincount(codes, away * residual).astype(np.float64) / float(away @ away)
    method = f"slope a batch, cluster-robust by {cluster_name}"
    if clusters is None:
        method = "slope a batch, robust, rows as clusters"
    se = _jackknife_se(error, share)
    if se < NEGLIGIBLE_SE:
        return _no_interval(value, len(y), groups, level, method)
    df = 1 / float((np.bincount(codes, squares) ** 2).sum()) - 1
    return t_interval(value, se, n=len(y), n_clusters=groups, method=method, level=level, df=df)


# --- the quantities of one labeler: functions of the level -------------------------------------


def _rate(wins: Floats, posts: Codes) -> Callable[[float], Estimate]:
    known = ~np.isnan(wins)
    return lambda level: preference_rate(wins[known], clusters=posts[known], level=level)


def _mean(values: Floats, posts: Codes) -> Callable[[float], Estimate]:
    return lambda level: cluster_mean(values, clusters=posts, level=level)


def _slope(values: Floats, batch: Floats, posts: Codes) -> Callable[[float], Estimate]:
    return lambda level: drift(values, batch, clusters=posts, level=level)


def _spread(values: Floats, posts: Codes) -> Callable[[float], Estimate]:
    """Standard deviation; its influence is that of the variance over twice itself."""
    known = ~np.isnan(values)
    x, clusters = values[known], posts[known]
    if len(x) < 2 or np.ptp(x) == 0:
        reason = "fewer than two values" if len(x) < 2 else "all values are equal"
        return lambda level: undefined(reason, n=len(x), level=level)
    sd = float(x.std(ddof=1))
    squares = (x - x.mean()) ** 2 * len(x) / (len(x) - 1)

    def estimate(level: float) -> Estimate:
        found = cluster_mean(squares, clusters=clusters, level=level)
        return t_interval(
            sd, found.se / (2 * sd), n=found.n, n_clusters=found.n_clusters, level=level,
            method="SD, cluster-robust by post", bounds=(0, math.inf),
        )  # fmt: skip

    return estimate


def _peers(pairs: Floats, agree: Floats, posts: Codes) -> Callable[[float], Estimate]:
    return lambda level: pooled_rate(agree, pairs, clusters=posts, level=level)


def _gap(
    pairs: Floats, agree: Floats, own: NDArray[np.bool_], posts: Codes
) -> Callable[[float], Estimate]:
    """Agreement of a labeler with peers, less that of the peers with one another.

    Both are ratios over the same posts, so their influences are subtracted post by post.
    """

    def by_post(values: Floats) -> Floats:
        return np.bincount(posts, values).astype(np.float64)

    mine, mine_agree = by_post(pairs * own), by_post(agree * own)
    rest = by_post(pairs) / 2 - mine
    rest_agree = by_post(agree) / 2 - mine_agree
    n, used = int(mine.sum()), (mine > 0) | (rest > 0)
    met = int((mine > 0).sum())
    if n == 0 or rest.sum() < 0.5:
        reason = "no comparison shared with anyone" if n == 0 else "the others share no comparison"
        return lambda level: undefined(reason, n=n, level=level)
    one, two = mine_agree.sum() / n, rest_agree.sum() / rest.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = (mine_agree - one * mine) / n / (1 - mine / n)
        effect -= (rest_agree - two * rest) / rest.sum() / (1 - rest / rest.sum())
    shared, held = effect[used], mine[used] / n
    variance = float(shared @ shared) * (used.sum() - 1) / used.sum()
    df = 1 / float(held @ held) - 1

    def estimate(level: float) -> Estimate:
        method = "difference of agreements, cluster-robust by post"
        if not math.sqrt(variance) >= NEGLIGIBLE_SE:
            return _no_interval(float(one - two), n, met, level, method)
        return t_interval(
            float(one - two), math.sqrt(variance), n=n, n_clusters=met, method=method,
            level=level, bounds=(-1, 1), df=df,
        )  # fmt: skip

    return estimate


# --- pieces ------------------------------------------------------------------------------------


def _flagged(
    found: list[tuple[str, str, Callable[[float], Estimate]]], level: float, alpha: float
) -> pd.DataFrame:
    estimates = [(name, quantity, make(level), make) for name, quantity, make in found]
    people = {
        quantity: sum(q == quantity and not math.isnan(e.low) for _, q, e, _ in estimates)
        for quantity in CHECKS
    }
    out = []
    for name, quantity, estimate, make in estimates:
        bound = low = high = math.nan
        flag = False
        if quantity in CHECKS:
            bound, side, _ = CHECKS[quantity]
            if people[quantity]:
                low, high = make(1 - alpha / people[quantity])[2:4]
            flag = (side != "above" and high < bound) or (side != "below" and low > bound)
        out.append(
            {"labeler": name, "quantity": quantity, **estimate._asdict()}
            | {"bound": bound, "sure_low": low, "sure_high": high, "flag": flag}
        )
    columns = ["labeler", "quantity", *Estimate._fields, "bound", "sure_low", "sure_high", "flag"]
    return pd.DataFrame(out, columns=columns)


def _at_votes(name: str, values: ArrayLike, votes: Votes) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) <= int(votes.rows.max(initial=-1)):
        raise StatisticsError(f"{name} has shape {array.shape}; allowed one value an input row")
    return array[votes.rows]


def _equals(values: Floats, wanted: float) -> Floats:
    return np.where(np.isnan(values), np.nan, values == wanted)


def _mode(values: Floats) -> float:
    known, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return float(known[counts.argmax()]) if len(known) else math.nan


def _jackknife_se(error: Floats, share: Floats) -> float:
    if len(error) < 2:
        return math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = error / (1 - share)
    variance = float(effect @ effect) * (len(error) - 1) / len(error)
    return math.sqrt(variance) if math.isfinite(variance) else math.nan


def _no_interval(value: float, n: int, groups: int, level: float, method: str) -> Estimate:
    reason = f"{method}; no interval: the clusters do not differ"
    return Estimate(value, math.nan, math.nan, math.nan, level, n, groups, reason)
