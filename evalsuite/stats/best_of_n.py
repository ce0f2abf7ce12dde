"""Best-of-n: what a policy gains when the best of n samples under a proxy is kept.

Arrays are P prompts by N scored samples. Nothing is resampled: the expectation over all
subsets of n is a weighted sum over the sorted samples. tests/stats/test_best_of_n.py holds it
against exact integers and against all subsets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from evalsuite.errors import StatisticsError
from evalsuite.stats.bootstrap import cluster_bootstrap, cluster_sums, percentile_interval
from evalsuite.stats.clusters import Floats, cluster_codes, robust_covariance
from evalsuite.stats.estimate import Estimate, t_interval, undefined


def kl_bound(n: ArrayLike) -> Floats:
    """Upper bound of KL(best-of-n || base) in nats: log n - (n - 1)/n.

    Exact when no two samples can be equal and the proxy never ties; otherwise the divergence is
    smaller, so an axis of it is to be labelled as a bound. n: any shape, 1 or more (real numbers
    are allowed, for axes). Raises StatisticsError below 1.

    Source: Stiennon et al. 2020, appendix G.3; Beirami et al. 2024 (that it is a bound).
    """
    size = np.asarray(n, dtype=np.float64)
    if not (size >= 1).all():
        raise StatisticsError("n is below 1; allowed 1 or more")
    return np.asarray(np.log(size) - (size - 1) / size, dtype=np.float64)


def best_of_n_weights(N: int, n: int) -> Floats:
    """Weights of the n-from-N estimator: P(the i-th smallest of N is the largest of n drawn).

    w_i = C(i-1, n-1) / C(N, n) for i = 1..N, (N,), summing to 1; n = 1 weighs all alike, n = N the
    largest alone. By log-gamma, since the integers have thousands of digits at N = 60,000.

    Raises StatisticsError unless 1 <= n <= N.

    Source: Nakano et al. 2021 (WebGPT), appendix I.
    """
    if not 1 <= n <= N:
        raise StatisticsError(f"n is {n}; allowed 1 to N = {N}")
    rank = np.arange(n, N + 1, dtype=np.float64)
    log_weight = (
        gammaln(rank) - gammaln(rank - n + 1) - gammaln(n)
        - (gammaln(N + 1) - gammaln(n + 1) - gammaln(N - n + 1))
    )  # fmt: skip
    weights = np.zeros(N)
    weights[n - 1 :] = np.exp(log_weight)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def best_of_n_by_prompt(proxy: ArrayLike, gold: ArrayLike, ns: Sequence[int]) -> Floats:
    """Expected gold score of the best of n by proxy, each prompt: (P, len(ns)).

    proxy, gold: (P, N). Samples tied on the proxy share the mean gold of the tie, as if the tie
    were broken at random. Pass the proxy as gold for the proxy's own curve.

    Raises StatisticsError on shapes that differ, NaN, or an n outside 1..N.
    """
    by, of = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if by.ndim != 2 or by.shape != of.shape:
        raise StatisticsError(
            f"proxy has shape {by.shape}, gold {of.shape}; allowed the same (prompts, samples)"
        )
    if np.isnan(by).any() or np.isnan(of).any():
        raise StatisticsError("a proxy or gold score is NaN; allowed numbers")
    prompts, samples = by.shape
    weights = np.stack([best_of_n_weights(samples, n) for n in ns], axis=1)
    order = np.argsort(by, axis=1, kind="stable")
    by, of = np.take_along_axis(by, order, 1), np.take_along_axis(of, order, 1)
    starts = np.ones_like(by, dtype=bool)
    starts[:, 1:] = by[:, 1:] != by[:, :-1]
    run = np.cumsum(starts.ravel()) - 1
    shared = (np.bincount(run, weights=of.ravel()) / np.bincount(run))[run]
    return np.asarray(shared.reshape(prompts, samples) @ weights, dtype=np.float64)


def best_of_n(
    proxy: ArrayLike,
    gold: ArrayLike,
    ns: Sequence[int],
    *,
    clusters: ArrayLike | None = None,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[int, Estimate]:
    """n-from-N estimator of the expected gold score of best-of-n, with intervals over prompts.

    proxy, gold: (P, N) scores of N samples of each of P prompts. An unbiased estimate for each n,
    with far less variance than drawing n once. Prompts are the independent units, or `clusters`
    of them, (P,). Without `rng` the interval is the influence one, each prompt's value less the
    mean, and t(G-1); with it a bootstrap over prompts, expanded percentiles.

    The interval is about other prompts; the N samples of a prompt are part of what a prompt's
    value varies by. Near n = N the estimate rests on one sample a prompt.

    Returns n -> Estimate; n counts prompts. No prompts: NaN.

    Raises StatisticsError as `best_of_n_by_prompt`, and on clusters of a wrong length.
    """
    values = best_of_n_by_prompt(proxy, gold, ns)
    prompts = len(values)
    codes, groups = cluster_codes(clusters, prompts)
    if prompts == 0:
        return {n: undefined("no prompts", level=level) for n in ns}
    mean = values.mean(axis=0)
    if rng is None:
        variance = np.diag(robust_covariance((values - mean) / prompts, codes))
        return {
            n: t_interval(
                float(mean[i]), float(np.sqrt(variance[i])), n=prompts, n_clusters=groups,
                method="n-from-N, robust by prompt", level=level,
            )
            for i, n in enumerate(ns)
        }  # fmt: skip
    sums = np.stack([cluster_sums(column, codes) for column in values.T], axis=1)
    sizes = cluster_sums(np.ones(prompts), codes)
    draws = cluster_bootstrap(
        lambda w: (w @ sums) / (w @ sizes)[:, None], codes, rng=rng, resamples=resamples
    )
    return {
        n: percentile_interval(
            float(mean[i]), draws[:, i], n=prompts, n_clusters=groups,
            method="n-from-N, bootstrap by prompt", level=level,
        )
        for i, n in enumerate(ns)
    }  # fmt: skip
