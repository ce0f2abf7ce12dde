"""Bradley-Terry against a binomial GLM of statsmodels, by hand, and where it does not exist."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats import bradley_terry as module
from evalsuite.stats.bradley_terry import bradley_terry

NAMES = np.array(["reference_summary", "a", "b", "c"])


@pytest.fixture
def rows(rng) -> pd.DataFrame:
    n, truth = 400, np.array([0, -0.5, 0.3, 1.0])
    left, right = rng.integers(0, 4, n), rng.integers(0, 4, n)
    posts = rng.integers(0, 50, n)
    gap = truth[right] - truth[left] + rng.normal(size=50)[posts]
    choice = (rng.random(n) < 1 / (1 + np.exp(-gap))).astype(float)
    choice[rng.random(n) < 0.1] = 0.5
    return pd.DataFrame(
        {"left": NAMES[left], "right": NAMES[right], "choice": choice, "post": posts}
    )


def peer(rows, clusters=None):
    """Logit GLM without intercept: +1 on the right policy, -1 on the left, reference left out."""
    met = rows["left"] != rows["right"]
    design = np.stack(
        [(rows["right"] == p).to_numpy(float) - (rows["left"] == p).to_numpy(float) for p in "abc"],
        axis=1,
    )[met]
    groups = np.arange(met.sum()) if clusters is None else rows.loc[met, clusters].to_numpy()
    fit = sm.GLM(rows.loc[met, "choice"], design, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}, tol=1e-12
    )
    count = len(np.unique(groups))
    return dict(zip("abc", fit.params, strict=True)), np.asarray(fit.cov_params()) * count / (
        count - 1
    )


@pytest.mark.parametrize("clusters", [None, "post"])
def test_strengths_and_sandwich_are_those_of_statsmodels(rows, clusters):
    fit = bradley_terry(
        rows["left"], rows["right"], rows["choice"],
        clusters=None if clusters is None else rows[clusters],
    )  # fmt: skip
    values, covariance = peer(rows, clusters)
    table = fit.strengths.set_index("policy")
    for i, name in enumerate("abc"):
        assert table.loc[name, "value"] == pytest.approx(values[name], abs=1e-8)
        assert table.loc[name, "se"] == pytest.approx(math.sqrt(covariance[i, i]), rel=1e-6)
    names = list("abc")
    assert fit.covariance.loc[names, names].to_numpy() == pytest.approx(covariance, rel=1e-6)
    assert fit.dropped_rows == int((rows["left"] == rows["right"]).sum())
    assert table.loc["reference_summary", "method"] == "the anchor: 0 by definition"
    assert fit.strengths["value"].is_monotonic_decreasing


def test_two_policies_are_the_log_odds_of_the_rate():
    # a wins 7.5 of 10: log 3; sandwich by rows: s^2/(p(1-p))^2 with s^2 = var(ddof=1)/n.
    choice = np.array([1] * 7 + [0.5] + [0] * 2)
    fit = bradley_terry(["reference_summary"] * 10, ["a"] * 10, choice)
    found = fit.strengths.set_index("policy").loc["a"]
    assert found["value"] == pytest.approx(math.log(3))
    assert found["se"] == pytest.approx(math.sqrt(choice.var(ddof=1) / 10) / (0.75 * 0.25))
    assert found["method"] == "Bradley-Terry, sandwich rows as clusters, t(9)"


def test_differences_do_not_depend_on_the_anchor(rows):
    args = (rows["left"], rows["right"], rows["choice"])
    first = bradley_terry(*args, clusters=rows["post"])
    other = bradley_terry(*args, clusters=rows["post"], anchor="b")
    assert other.anchor == "b"
    for pair in (("a", "c"), ("c", "reference_summary"), ("b", "a")):
        assert first.difference(*pair)[:4] == pytest.approx(other.difference(*pair)[:4], abs=1e-8)
    assert first.difference("a", "reference_summary")[:2] == pytest.approx(
        tuple(first.strengths.set_index("policy").loc["a", ["value", "se"]])
    )


def test_two_way_clusters_are_named_and_counted(rows, rng):
    people = rng.integers(0, 8, len(rows))
    fit = bradley_terry(
        rows["left"], rows["right"], rows["choice"], clusters=(rows["post"], people),
        cluster_name="post and labeler",
    )  # fmt: skip
    found = fit.strengths.set_index("policy").loc["a"]
    assert found["n_clusters"] == 8
    assert found["method"] == "Bradley-Terry, sandwich by post and labeler, two-way, t(7)"


def test_policies_without_a_finite_strength_are_named_and_leave_the_others_alone():
    ref = "reference_summary"
    core = [(ref, "a", 1)] * 6 + [(ref, "a", 0)] * 4
    extra = [
        ("a", "champion", 1), (ref, "champion", 1), ("loser", "a", 1), ("x", "y", 1),
        ("y", "x", 1), ("selfish", "selfish", 1), ("champion", "tied", 0.5),
        ("aside", "champion", 1), ("loser", "below", 1),
    ]  # fmt: skip
    left, right, choice = zip(*(core + extra), strict=True)
    fit = bradley_terry(left, right, choice)
    table = fit.strengths.set_index("policy")
    assert table.loc["a", "value"] == pytest.approx(math.log(1.5))
    assert fit.reasons == {
        "champion": f"no finite strength: never loses towards {ref}",
        "tied": f"no finite strength: never loses towards {ref}",
        "loser": f"no finite strength: never wins towards {ref}",
        "aside": f"no finite strength: wins and losses do not rank it against {ref}",
        "below": f"no finite strength: wins and losses do not rank it against {ref}",
        "x": f"never compared with {ref}, even through other policies",
        "y": f"never compared with {ref}, even through other policies",
        "selfish": "compared only with itself",
    }
    assert np.isnan(table.loc["champion", ["value", "se", "low", "high"]].astype(float)).all()
    assert table.loc["champion", "n"] == 4
    assert table.loc["x", "method"] == f"undefined: {fit.reasons['x']}"
    assert fit.difference("champion", "a").method == f"undefined: {fit.reasons['champion']}"


def test_complete_separation_leaves_the_anchor_alone():
    fit = bradley_terry(["reference_summary"] * 9, ["a"] * 9, np.ones(9))
    assert fit.strengths["policy"].tolist() == ["reference_summary", "a"]
    assert fit.reasons == {"a": "no finite strength: never loses towards reference_summary"}


def test_all_ties_have_strength_0_and_no_se():
    fit = bradley_terry(["reference_summary"] * 9, ["a"] * 9, np.full(9, 0.5))
    found = fit.strengths.set_index("policy").loc["a"]
    assert found["value"] == 0
    assert math.isnan(found["se"])
    assert math.isnan(found["low"])


def test_a_missing_anchor_gives_way_to_the_policy_with_most_rows():
    fit = bradley_terry(["a", "a", "b", "b", "c"], ["b", "b", "a", "c", "b"], [1, 0, 1, 1, 1])
    assert fit.anchor == "b"


def test_lopsided_wins_still_converge():
    choice = np.array([1.0] * 2000 + [0.0])
    fit = bradley_terry(["reference_summary"] * 2001, ["a"] * 2001, choice)
    assert fit.strengths.set_index("policy").loc["a", "value"] == pytest.approx(math.log(2000))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_swapping_sides_and_row_order_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    left, right = NAMES[rng.integers(0, 4, 80)], NAMES[rng.integers(0, 4, 80)]
    choice, posts = rng.choice([0, 0.5, 1.0], 80), rng.integers(0, 15, 80)
    fit = bradley_terry(left, right, choice, clusters=posts)
    swapped = bradley_terry(right, left, 1 - choice, clusters=posts)
    order = rng.permutation(80)
    turned = bradley_terry(left[order], right[order], choice[order], clusters=posts[order])
    for other in (swapped, turned):
        merged = fit.strengths.merge(other.strengths, on="policy")
        for field in ("value", "se", "low", "high"):
            assert merged[f"{field}_x"].to_numpy() == pytest.approx(
                merged[f"{field}_y"].to_numpy(), nan_ok=True, abs=1e-7
            )


def test_wrong_inputs_are_named(rows):
    with pytest.raises(StatisticsError, match=r"choice\[0\] is 2; allowed 0 to 1"):
        bradley_terry(["a"], ["b"], [2])
    with pytest.raises(StatisticsError, match="right_policy has 2 names for 1 rows; allowed one"):
        bradley_terry(["a"], ["b", "c"], [1])
    with pytest.raises(StatisticsError, match="a policy's name is missing; allowed one on each"):
        bradley_terry(["a"], [None], [1])
    with pytest.raises(StatisticsError, match="no comparison of two different policies; allowed"):
        bradley_terry(["a"], ["a"], [1])
    with pytest.raises(StatisticsError, match="clusters has 1 groupings; allowed 1 or 2"):
        bradley_terry(["a"], ["b"], [1], clusters=([1],))
    fit = bradley_terry(rows["left"], rows["right"], rows["choice"])
    with pytest.raises(StatisticsError, match="policy 'z' has no comparison; allowed c, b, "):
        fit.difference("a", "z")


def test_a_fit_that_does_not_settle_is_an_error(rows, monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 1)
    with pytest.raises(StatisticsError, match="Bradley-Terry did not converge in 1 steps; allowed"):
        bradley_terry(rows["left"], rows["right"], rows["choice"])
