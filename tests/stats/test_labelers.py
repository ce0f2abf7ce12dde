"""Labelers: each quantity by hand or from a naive definition, planted faults, false flags."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalsuite.errors import StatisticsError
from evalsuite.stats.labelers import CHECKS, drift, labeler_table, peer_agreement
from evalsuite.stats.votes import Votes, collect_votes


def crowd(
    rng: np.random.Generator, *, items: int, people: int, each: int, skill: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Item, labeler, whether the true better text is right, and the choice (1 right), by row."""
    item = np.repeat(np.arange(items), each)
    labeler = rng.permuted(np.tile(np.arange(people), (items, 1)), axis=1)[:, :each].ravel()
    right = rng.random(items) < 0.5
    correct = rng.random(len(item)) < skill[labeler]
    return item, labeler, right, np.where(correct, right[item], ~right[item]).astype(float)


def votes_of(item: np.ndarray, labeler: np.ndarray, choice: np.ndarray) -> Votes:
    return collect_votes(2 * item, 2 * item + 1, choice, post=item, labeler=labeler)


def cell(table: pd.DataFrame, labeler: object, quantity: str) -> pd.Series:
    rows = table[(table["labeler"] == str(labeler)) & (table["quantity"] == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_values_by_hand() -> None:
    # Post, left, right, choice, labeler, strength.
    rows = [
        ("p", "x", "y", 0, "ann", 4), ("p", "x", "y", 0, "bob", 4), ("p", "x", "y", 1, "cay", 1),
        ("q", "x", "y", 1, "ann", 4), ("q", "y", "x", 0, "bob", 1), ("r", "x", "y", 0, "ann", 2),
    ]  # fmt: skip
    post, left, right, choice, labeler, strength = zip(*rows, strict=True)
    votes = collect_votes(left, right, choice, post=post, labeler=labeler)
    table = labeler_table(votes, strength=strength)
    # ann: agrees with bob on p, not with cay; q: bob chose y on the left, ann y on the right: yes.
    assert cell(table, "ann", "agreement")[["value", "n"]].tolist() == [2 / 3, 3]
    # The others met once: bob and cay on p, no. The gap is 2/3 - 0.
    assert cell(table, "ann", "agreement gap")["value"] == pytest.approx(2 / 3)
    # cay: 0 of 2; the others, ann and bob: 2 of 2.
    assert cell(table, "cay", "agreement gap")["value"] == pytest.approx(-1)
    assert cell(table, "ann", "left preference")["value"] == pytest.approx(2 / 3)
    assert cell(table, "bob", "left preference")["value"] == 1.0
    assert cell(table, "ann", "mean strength")["value"] == pytest.approx(10 / 3)
    # Squares of 2/3, 2/3, 4/3 over 2: 24/18.
    assert cell(table, "ann", "strength spread")["value"] == pytest.approx(math.sqrt(24 / 18))
    assert cell(table, "ann", "top strength")["value"] == pytest.approx(2 / 3)
    assert cell(table, "ann", "commonest strength")["value"] == pytest.approx(2 / 3)
    assert cell(table, "cay", "commonest strength")["value"] == 1.0
    assert math.isnan(cell(table, "cay", "strength spread")["value"])
    assert not table["flag"].any()  # three posts prove nothing
    share, peers = peer_agreement(votes)
    assert share[:5].tolist() == [0.5, 0.5, 0.0, 1.0, 1.0]
    assert math.isnan(share[5])
    assert peers.tolist() == [2, 2, 2, 1, 1, 0]


def test_gap_and_error_from_leaving_posts_out(rng: np.random.Generator) -> None:
    # The jackknife listed: with nearly equal posts it is the influence's variance to first order.
    item, labeler, _, choice = crowd(
        rng, items=150, people=5, each=3, skill=np.array([0.6, 0.8, 0.8, 0.9, 0.9])
    )

    def gap(keep: np.ndarray) -> float:
        mine, rest = [], []
        for post in np.unique(item[keep]):
            rows = np.flatnonzero((item == post) & keep)
            for a, b in itertools.combinations(rows, 2):
                (mine if 0 in (labeler[a], labeler[b]) else rest).append(choice[a] == choice[b])
        return float(np.mean(mine) - np.mean(rest))

    everything = np.ones(len(item), dtype=bool)
    left_out = np.array([gap(item != post) for post in range(150)])
    jackknife = math.sqrt(149 / 150 * ((left_out - left_out.mean()) ** 2).sum())
    found = cell(labeler_table(votes_of(item, labeler, choice)), 0, "agreement gap")
    assert found["value"] == pytest.approx(gap(everything), abs=1e-12)
    assert found["se"] == pytest.approx(jackknife, rel=0.01)


def test_drift_against_statsmodels(rng: np.random.Generator) -> None:
    # Cluster-robust least squares without any small-sample factor is the same influence before
    # leverage and G/(G-1), which with 400 clusters are nearly 1.
    clusters = np.repeat(np.arange(400), 3)
    batch = rng.integers(0, 10, 400)[clusters].astype(float)
    values = 2 + 0.03 * batch + rng.normal(0, 1, 400)[clusters] + rng.normal(0, 1, 1200)
    fit = sm.OLS(values, sm.add_constant(batch)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    found = drift(values, batch, clusters=clusters)
    assert found.value == pytest.approx(fit.params[1], rel=1e-10)
    assert found.se == pytest.approx(fit.bse[1], rel=0.01)
    assert found.se > fit.bse[1]
    assert found.n_clusters == 400
    gone = drift(np.where(np.arange(1200) < 9, np.nan, values), batch, clusters=clusters)
    assert (gone.n, gone.n_clusters) == (1191, 397)


def test_drift_without_a_line() -> None:
    found = drift([1.0, 2.0], [3, 3])
    assert math.isnan(found.value)
    assert found.n == 2
    assert found.method == "undefined: all rows are of one batch"
    flat = drift([1.0] * 12, list(range(12)))
    assert flat.value == 0
    assert math.isnan(flat.se)
    assert "the clusters do not differ" in flat.method


def test_planted_faults_are_flagged_and_nothing_else(rng: np.random.Generator) -> None:
    people = 20
    skill = np.full(people, 0.8)
    skill[0] = 0.5  # guesses
    item, labeler, _, choice = crowd(rng, items=6000, people=people, each=3, skill=skill)
    n = len(item)
    choice[(labeler == 1) & (rng.random(n) < 0.3)] = 0  # leans left, and so agrees less
    strength = rng.integers(1, 5, n).astype(float)
    strength[(labeler == 2) & (rng.random(n) < 0.97)] = 4  # one answer for everything
    batch = rng.integers(0, 10, n).astype(float)
    strength[labeler == 3] = np.clip(np.round(1.5 + 0.2 * batch[labeler == 3]), 1, 4)
    reference = np.where(rng.random(n) < 0.5, rng.random(n) < 0.4, np.nan)
    grows = (labeler == 4) & ~np.isnan(reference)
    reference[grows] = rng.random(grows.sum()) < 0.1 + 0.08 * batch[grows]
    table = labeler_table(
        votes_of(item, labeler, choice), strength=strength, batch=batch,
        reference_preferred=reference,
    )  # fmt: skip
    flagged = table[table["flag"]]
    assert set(zip(flagged["labeler"], flagged["quantity"], strict=True)) == {
        ("0", "agreement gap"), ("1", "agreement gap"), ("1", "left preference"),
        ("2", "commonest strength"), ("3", "strength drift"), ("4", "reference drift"),
    }  # fmt: skip
    # The interval that decides is the wider one.
    checked = table[table["quantity"].isin(CHECKS) & table["low"].notna()]
    assert (checked["sure_low"] <= checked["low"]).all()
    assert (checked["sure_high"] >= checked["high"]).all()


def test_nobody_to_compare_with() -> None:
    votes = collect_votes(["x"] * 2, ["y"] * 2, [0, 0], post=["p", "q"], labeler=["ann", "ann"])
    table = labeler_table(votes)
    assert cell(table, "ann", "agreement")["n"] == 0
    assert cell(table, "ann", "agreement gap")["method"] == (
        "undefined: no comparison shared with anyone"
    )
    two = collect_votes(["x"] * 2, ["y"] * 2, [0, 0], post=["p", "p"], labeler=["ann", "bob"])
    assert cell(labeler_table(two), "ann", "agreement gap")["method"] == (
        "undefined: the others share no comparison"
    )
    assert len(labeler_table(collect_votes([], [], [], labeler=[]))) == 0


def test_errors_name_what_is_allowed() -> None:
    votes = collect_votes(["x"], ["y"], [0], labeler=["ann"])
    with pytest.raises(StatisticsError, match="alpha is 1; allowed between 0 and 1"):
        labeler_table(votes, alpha=1)
    with pytest.raises(StatisticsError, match=r"strength has shape \(0,\); allowed one value an"):
        labeler_table(votes, strength=[])
    with pytest.raises(StatisticsError, match=r"values has shape \(2,\), batch \(1,\)"):
        drift([1.0, 2.0], [0])


@pytest.mark.slow
def test_sound_labelers_are_seldom_flagged() -> None:
    # seed 11, 1,000 data sets of 10 labelers, 3 labels on each of 200 posts; alpha = .05 a check.
    rng = np.random.default_rng(11)
    sets, anyone = 1000, dict.fromkeys(CHECKS, 0)
    for _ in range(sets):
        item, labeler, _, choice = crowd(rng, items=200, people=10, each=3, skill=np.full(10, 0.8))
        n = len(item)
        table = labeler_table(
            votes_of(item, labeler, choice),
            strength=np.clip(np.round(2.5 + rng.normal(0, 1, n)), 1, 4),
            batch=rng.integers(0, 6, 200)[item],
            reference_preferred=rng.random(n) < 0.4,
        )
        for quantity in set(table.loc[table["flag"], "quantity"]):
            anyone[quantity] += 1
    print(f"seed 11, {sets} data sets, share with any false flag:")  # noqa: T201 - read with -s
    for quantity, count in anyone.items():
        print(f"  {quantity}: {count / sets:.3f}")  # noqa: T201
        # Two standard errors above .05; the intervals are approximate in their far tails.
        assert count / sets <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / sets) + 0.01
