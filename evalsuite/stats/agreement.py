"""Agreement of labelers, ensembles of labelers and text metrics on the same comparisons.

You are reading appendix C.2 and Tables 20-23 of the paper as code. Everything takes the votes that
`votes.collect_votes` makes of rows. What may be changed: how ties count and how few labelers make
an ensemble (both are arguments). What proves it right: tests/stats/test_agreement.py (pairs
listed one by one, published counts) and, for the intervals,
tests/stats/test_coverage_agreement.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import MIN_CLUSTERS, Estimate, row, t_interval, undefined
from evalsuite.stats.preference import NEGLIGIBLE_SE, Interval, pooled_rate, preference_rate
from evalsuite.stats.votes import Others, Votes

Ties = Literal["half", "drop"]
Cluster = Literal["post", "labeler", "both"]

LABELER, ENSEMBLE = "labeler", "labeler ensemble"


def labeler_agreement(
    votes: Votes,
    *,
    cluster: Cluster = "post",
    interval: Interval = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Labeler-labeler agreement: share of pairs of different people who chose the same text.

    All unordered pairs of votes on one comparison by different labelers count once; votes without
    a labeler pair with nobody. n is the number of pairs. Chance is 1/2.

    cluster: what a new sample would draw anew. "post": new posts, the same people. "labeler": new
    people. "both": new posts and new people. A pair belongs to two people, so clustering by
    labeler sums over all pairs of pairs that share a person, each once (dyadic-robust), times
    G(G-1) / ((G-2)(G-3)): that factor makes the variance of G labelers who all met equally often
    exactly unbiased, whether people differ in skill or not (see `_dyadic_variance`).
    interval: "bootstrap" resamples posts (the paper's way) and needs `cluster="post"` and `rng`.

    Raises StatisticsError for an unknown cluster, or an interval that is not for it.
    Source: appendix C.2 of the paper; Aronow, Samii & Assenova 2015 (dyadic clusters).
    """
    if cluster not in ("post", "labeler", "both"):
        raise StatisticsError(f"cluster is {cluster!r}; allowed 'post', 'labeler', 'both'")
    if interval != "robust" and cluster != "post":
        raise StatisticsError(f"interval {interval!r} by {cluster}; allowed with cluster='post'")
    others = votes.others()
    # Every pair is seen from both of its ends.
    pairs = np.bincount(votes.item, others.votes) / 2
    agree = np.bincount(votes.item, others.agreeing(votes.first)) / 2
    total = int(pairs.sum())
    if total == 0:
        return undefined("no comparison has two labelers", level=level)
    if cluster == "post":
        return pooled_rate(
            agree, pairs, clusters=votes.item_posts(), interval=interval, level=level, rng=rng,
            resamples=resamples,
        )  # fmt: skip
    value = float(agree.sum()) / total
    dyads = _dyads(votes, others)
    dyads["e"] = (dyads["agree"] - value * dyads["pairs"]) / total
    variance, people, df = _dyadic_variance(dyads)
    units, method = people, "dyadic-robust by labeler"
    if cluster == "both":
        posts = dyads.groupby("post")[["e", "pairs"]].sum()
        held, units = posts["pairs"].to_numpy() / total, min(people, len(posts))
        by_post = np.nan
        if len(posts) > 1:
            effect = posts["e"].to_numpy() / (1 - held)
            by_post = float(effect @ effect) * (len(posts) - 1) / len(posts)
        # Pairs on one post that share a person are in both sums.
        variance = max(by_post + variance - _shared_person(dyads, ["post"]), by_post, variance)
        df, method = min(df, 1 / float(held @ held) - 1), "dyadic-robust by labeler and by post"
    if variance < NEGLIGIBLE_SE**2:
        reason = f"{method}; no interval: everybody agrees alike"
        return Estimate(value, np.nan, np.nan, np.nan, level, total, units, reason)
    return t_interval(
        value, float(np.sqrt(variance)), n=total, n_clusters=units, method=method, level=level,
        bounds=(0, 1), df=df,
    )  # fmt: skip


def ensemble_agreement(
    votes: Votes,
    *,
    minimum: int = 3,
    interval: Interval = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Labeler-ensemble agreement, leave-one-out: a vote against the majority of the others'.

    The ensemble of a vote is everybody else who answered the same comparison, `minimum` labelers
    or more, so comparisons need at least `minimum` + 1 of them (the paper let this ensemble be one
    smaller; `minimum=2` is that). Evenly split ensembles are left out: C.2 drops the indifferent.
    NaN with n = 0 where no comparison has enough labelers. n is the number of votes, clusters are
    posts.

    Raises StatisticsError when minimum is below 1. Source: appendix G.7 of the paper.
    """
    majority = _majority_of_others(votes, minimum)
    if np.isnan(majority).all():
        return undefined(f"no comparison has {minimum} labelers beside one", level=level)
    return sign_agreement(
        _sign(votes.first), majority, votes.post, ties="drop", interval=interval,
        level=level, rng=rng, resamples=resamples,
    )  # fmt: skip


def sign_agreement(
    one: ArrayLike,
    two: ArrayLike,
    clusters: ArrayLike | None,
    *,
    ties: Ties = "half",
    interval: Interval = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Estimate:
    """Share of rows (n,) in which two scores prefer the same text: the sign of each is its choice.

    A score of 0 is a tie. ties: "half" counts a row with a tie as half an agreement (what a coin
    would get), "drop" leaves it out. Rows with a NaN are left out. n is the rows that count.
    """
    if ties not in ("half", "drop"):
        raise StatisticsError(f"ties is {ties!r}; allowed 'half', 'drop'")
    a, b = np.sign(np.asarray(one, np.float64)), np.sign(np.asarray(two, np.float64))
    product = a * b  # 1 agree, -1 disagree, 0 a tie, NaN unknown
    keep = ~np.isnan(product) & ((product != 0) | (ties == "half"))
    if not keep.any():
        return undefined("no row on which both have a choice", level=level)
    return preference_rate(
        (1 + product[keep]) / 2, clusters=None if clusters is None else np.asarray(clusters)[keep],
        interval=interval, level=level, rng=rng, resamples=resamples,
    )  # fmt: skip


def agreement_matrix(
    votes: Votes,
    metrics: Mapping[str, ArrayLike],
    *,
    minimum: int = 3,
    ties: Ties = "half",
    interval: Interval = "robust",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Agreement of everyone with everyone (Tables 20-23): labeler, labeler ensemble, each metric.

    metrics: for each name, the metric of the left text minus that of the right, one value a row
    of what `collect_votes` was given. Units: labeler rows count votes (labeler-labeler counts
    pairs of votes), the rest count comparisons, each once. The ensemble facing a metric is the
    majority of all `minimum` labelers or more on a comparison; an even split is left out. A metric
    that does not tell the texts apart is a tie (see `sign_agreement`).

    Returns columns row, column, tied (rows where a metric was tied), then the Estimate; the
    matrix is symmetric and both halves are there. A metric with itself, and the ensemble with
    itself, have no row.
    """
    options: dict[str, Any] = {
        "interval": interval, "level": level, "rng": rng, "resamples": resamples
    }  # fmt: skip
    first_vote = np.zeros(votes.items, dtype=np.int64)
    first_vote[votes.item[::-1]] = np.arange(len(votes))[::-1]
    turn = np.where(votes.flipped, -1.0, 1.0)
    by_vote = {k: np.asarray(v, np.float64)[votes.rows] * turn for k, v in metrics.items()}
    by_item = {name: values[first_vote] for name, values in by_vote.items()}
    posts, choice = votes.item_posts(), _sign(votes.first)
    majority = _majority(votes, minimum)

    found: list[tuple[str, str, int, Estimate]] = [
        (LABELER, LABELER, 0, labeler_agreement(votes, **options)),
        (LABELER, ENSEMBLE, 0, ensemble_agreement(votes, minimum=minimum, **options)),
    ]
    names = list(metrics)
    for i, name in enumerate(names):
        pairs = [
            (LABELER, choice, by_vote[name], votes.post),
            (ENSEMBLE, majority, by_item[name], posts),
            *((other, by_item[other], by_item[name], posts) for other in names[:i]),
        ]
        for other, a, b, clusters in pairs:
            tied = int(((a * b) == 0).sum())
            found.append((other, name, tied, sign_agreement(a, b, clusters, ties=ties, **options)))
    out = [row(e, row=a, column=b, tied=tied) for a, b, tied, e in found]
    out += [row(e, row=b, column=a, tied=tied) for a, b, tied, e in found if a != b]
    return pd.DataFrame(out)


def disattenuate(accuracy: Estimate, agreement: Estimate, *, level: float = 0.95) -> Estimate:
    """Agreement with the truth behind noisy labels, from agreement with the labels.

    If labelers err independently of each other and of the predictor, each with probability 1 - q
    whatever the comparison, two of them agree with probability a = q^2 + (1-q)^2, so
    2q - 1 = sqrt(2a - 1), and a predictor right with probability c agrees with a label with
    probability p = cq + (1-c)(1-q). Solving,

        c = 1/2 + (p - 1/2) / sqrt(2a - 1).

    Where hard comparisons are noisier than easy ones, sqrt(2a - 1) is too large and c errs
    towards 1/2. c is not clipped: above 1 the assumption fails. Delta-method interval, with the two
    estimates taken as independent (they share labels, which as a rule makes it a little wide);
    t with the smaller number of clusters. NaN when a <= 1/2.

    Source: Spearman 1904 (correction for attenuation), for symmetric binary noise.
    """
    p, a = accuracy.value, agreement.value
    n, units = accuracy.n, min(accuracy.n_clusters, agreement.n_clusters)
    if not a > 0.5 or not np.isfinite(p):
        reason = (
            "labelers agree no better than chance" if a <= 0.5 else "no agreement to start from"
        )
        return undefined(reason, n=n, n_clusters=units, level=level)
    scale = 2 * a - 1
    d_p, d_a = scale**-0.5, -(p - 0.5) * scale**-1.5
    se = float(np.hypot(d_p * accuracy.se, d_a * agreement.se))
    return t_interval(
        0.5 + (p - 0.5) * d_p, se, n=n, n_clusters=units, level=level,
        method="disattenuated for symmetric label noise, delta method",
    )  # fmt: skip


# --- counting ----------------------------------------------------------------------------------


def _dyads(votes: Votes, others: Others) -> pd.DataFrame:
    """One row an item and two labelers a < b on it: post, pairs of votes, how many agree."""
    met = others.votes > 0
    sides = pd.DataFrame(
        {"item": votes.item, "post": votes.post, "labeler": votes.labeler, "first": votes.first}
    )[met].astype({"first": "float64"})
    by = sides.groupby(["item", "labeler"], as_index=False)
    sides = by.agg(post=("post", "first"), votes=("first", "size"), first=("first", "sum"))
    both = sides.merge(sides.drop(columns="post"), on="item", suffixes=("_a", "_b"))
    both = both[both["labeler_a"] < both["labeler_b"]]
    pairs = (both["votes_a"] * both["votes_b"]).astype("float64")
    agree = both["first_a"] * both["first_b"]
    agree += (both["votes_a"] - both["first_a"]) * (both["votes_b"] - both["first_b"])
    people = {"post": both["post"], "a": both["labeler_a"], "b": both["labeler_b"]}
    return pd.DataFrame({**people, "agree": agree, "pairs": pairs})


def _dyadic_variance(dyads: pd.DataFrame) -> tuple[float, int, float]:
    """Variance over people from the influences `e` of pairs of people; people; degrees of freedom.

    Let every two of G people meet once, r_ab = h_a + h_b + u_ab with independent h and u, and let
    the value be the mean of the r. Residuals are taken from that mean, so the sum over pairs of
    pairs that share a person expects V (G-2)(G-3) / (G(G-1)), V being the true variance, and that
    whether h or u is what varies. So the sum is divided by it: at G = 8 by 30/56. Part of it,
    (1 - 2/G)^2, is that a person is in 2/G of the pairs that the mean is made of; where people
    met unequally often each gets her own share there (as in `clusters.jackknife_moments`), and
    the degrees of freedom are the effective number of people less one. The result is at
    least the variance with pairs of people as independent units: where people hardly differ the
    sum is noisy and can even be negative.
    """
    totals = dyads.groupby(["a", "b"])[["e", "pairs"]].sum()
    all_pairs = float(totals["pairs"].sum())
    by_person = pd.concat([totals["pairs"].groupby(level=side).sum() for side in ("a", "b")])
    held = by_person.groupby(level=0).sum() / all_pairs  # sums to 2
    people = len(held)
    df = 4 / float((held**2).sum()) - 1
    if people < MIN_CLUSTERS:
        return float("nan"), people, df
    e, (a, b) = totals["e"].to_numpy(), (totals.index.get_level_values(s) for s in ("a", "b"))
    raised = 1 / (1 - held)
    ends = [totals["e"].groupby(level=side).sum() for side in ("a", "b")]
    sums = ends[0].add(ends[1], fill_value=0.0) * raised
    both = e**2 * raised.loc[a].to_numpy() * raised.loc[b].to_numpy()
    rest = (people - 1) * (people - 2) / (people * (people - 3))
    floor = float(e @ e) * len(e) / (len(e) - 1)
    return max(float((sums**2).sum() - both.sum()) * rest, floor), people, df


def _shared_person(dyads: pd.DataFrame, within: list[str]) -> float:
    """Sum of e e' over ordered pairs of rows that share a person and the columns `within`."""
    by_pair = dyads.groupby([*within, "a", "b"])["e"].sum()
    ends = [by_pair.groupby(level=[*within, side]).sum() for side in ("a", "b")]
    names = [*within, "person"]
    people = ends[0].rename_axis(names).add(ends[1].rename_axis(names), fill_value=0.0).to_numpy()
    pair = by_pair.to_numpy()
    # Rows of one pair of people share both, and were counted once for each.
    return float(people @ people - pair @ pair)


def _sign(first: NDArray[np.bool_]) -> Floats:
    return np.where(first, 1.0, -1.0)


def _majority(votes: Votes, minimum: int) -> Floats:
    """Sign of each item's majority (items,); NaN below `minimum` labelers or evenly split."""
    _check_minimum(minimum)
    others, known = votes.others(), votes.labeler >= 0
    enough = known & (others.people + 1 >= minimum)
    lean = np.bincount(votes.item, np.where(enough, _sign(votes.first), 0.0), votes.items)
    return np.where(lean == 0, np.nan, np.sign(lean))


def _majority_of_others(votes: Votes, minimum: int) -> Floats:
    """Sign of the majority among everybody else on a vote's item (n,); NaN as for `_majority`."""
    _check_minimum(minimum)
    others = votes.others()
    lean = np.sign(2 * others.first - others.votes)
    return np.where((others.people < minimum) | (lean == 0), np.nan, lean)


def _check_minimum(minimum: int) -> None:
    if minimum < 1:
        raise StatisticsError(f"minimum is {minimum}; allowed 1 or more labelers")
