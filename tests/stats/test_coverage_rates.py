"""Coverage of 95% intervals of preference rates and paired differences, by simulation.

The world: P(win) = sigmoid(policy + post effect + labeler effect), all effects normal, so that the
rate over new posts and labelers is a normal integral, known to 10 digits by Gauss-Hermite
quadrature (variances of effects add up). Two designs:

    posts     80 posts with 3 labels each, post effects of SD 1.5 (intra-post correlation .27);
              clusters are the posts
    labelers  8 labelers, the busiest with 16 times the labels of the idlest, labeler effects of SD
              0.8; one label a post; clusters are the labelers

`pytest -m slow -s tests/stats/test_coverage_rates.py` prints the rates. With 2,000 data sets the
standard error of a coverage near 95% is 0.5 points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from evalsuite.stats.preference import paired_difference, preference_rate

SEED, DATA_SETS = 20200902, 2000
VOLUMES = np.array([96, 72, 48, 36, 24, 18, 12, 6])  # labels of each of 8 labelers


def expit(x):
    return 1 / (1 + np.exp(-x))


def marginal_rate(mean: float, sd: float) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float((weights * expit(mean + sd * nodes)).sum() / weights.sum())


class Design(NamedTuple):
    posts: np.ndarray
    labelers: np.ndarray
    post_sd: float
    labeler_sd: float
    clusters: str

    @property
    def codes(self) -> np.ndarray:
        return self.posts if self.clusters == "post" else self.labelers


DESIGNS = {
    "posts": Design(np.repeat(np.arange(80), 3), np.arange(240), 1.5, 0.0, "post"),
    "labelers": Design(
        np.arange(VOLUMES.sum()), np.repeat(np.arange(8), VOLUMES), 1.0, 0.8, "labeler"
    ),
}


def effects(rng: np.random.Generator, codes: np.ndarray, sd: float) -> np.ndarray:
    return rng.normal(0, sd, codes.max() + 1)[codes]


def covers(estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def report(title: str, hits: dict[str, list[bool]]) -> dict[str, float]:
    shares = {name: float(np.mean(found)) for name, found in hits.items()}
    said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    print(f"\n{title} (seed {SEED}, {DATA_SETS} data sets): {said}")  # noqa: T201 - read with -s
    return shares


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_a_rates_interval_covers_and_the_unclustered_one_does_not(name):
    design, policy = DESIGNS[name], 0.4
    truth = marginal_rate(policy, np.hypot(design.post_sd, design.labeler_sd))
    rng = np.random.default_rng(SEED)
    hits: dict[str, list[bool]] = {k: [] for k in ("robust", "wilson", "bootstrap", "unclustered")}
    for _ in range(DATA_SETS):
        logit = policy + effects(rng, design.posts, design.post_sd)
        logit += effects(rng, design.labelers, design.labeler_sd)
        wins = (rng.random(len(logit)) < expit(logit)).astype(float)
        for kind in ("robust", "wilson", "bootstrap"):
            found = preference_rate(
                wins, clusters=design.codes, interval=kind, rng=rng, resamples=1000
            )
            hits[kind].append(covers(found, truth))
        hits["unclustered"].append(covers(preference_rate(wins), truth))
    shares = report(f"rate, clusters {name}", hits)
    for kind in ("robust", "wilson", "bootstrap"):
        assert 0.93 <= shares[kind] <= 0.97, kind
    assert shares["unclustered"] < 0.90


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_a_paired_differences_interval_covers(name):
    """Each post is labelled alike for both policies; post effects are shared in part.

    Labelers differ in how they like each policy, so their difference varies too.
    """
    design, a, b = DESIGNS[name], 0.4, -0.2
    sd = float(np.hypot(design.post_sd, design.labeler_sd))
    truth = marginal_rate(a, sd) - marginal_rate(b, sd)
    rng = np.random.default_rng(SEED + 1)
    hits: dict[str, list[bool]] = {"robust": []}
    if design.clusters == "post":
        hits["bootstrap"] = []
    other = {} if design.clusters == "post" else {
        "clusters_a": design.labelers, "clusters_b": design.labelers, "cluster_name": "labeler",
    }  # fmt: skip
    for _ in range(DATA_SETS):
        shared = effects(rng, design.posts, design.post_sd * np.sqrt(0.6))
        wins = []
        for policy in (a, b):
            own = effects(rng, design.posts, design.post_sd * np.sqrt(0.4))
            taste = effects(rng, design.labelers, design.labeler_sd)
            logit = policy + shared + own + taste
            wins.append((rng.random(len(logit)) < expit(logit)).astype(float))
        for kind in hits:
            found = paired_difference(
                wins[0], design.posts, wins[1], design.posts, interval=kind, rng=rng,
                resamples=1000, **other,
            )  # fmt: skip
            hits[kind].append(covers(found, truth))
    shares = report(f"paired difference, clusters {name}", hits)
    for kind, share in shares.items():
        assert 0.93 <= share <= 0.97, kind
