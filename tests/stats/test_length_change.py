"""Controlled minus raw rate: by hand, against a refitting bootstrap, and where it is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalsuite.errors import StatisticsError
from evalsuite.stats.length_change import joint_changes, length_control_changes
from evalsuite.stats.length_control import fit_length_control
from evalsuite.stats.length_control_joint import fit_joint_length_control

REFERENCE = "reference_summary"


def labels(rng, n=900, posts=300):
    """Comparisons of three policies; "a" writes more than the references, "b" less."""
    pairs = np.array([("a", REFERENCE), (REFERENCE, "b"), ("b", "a")])[rng.integers(0, 3, n)]
    post = rng.integers(0, posts, n)
    taste = 0.7 * rng.normal(size=posts)[post]
    wordy = {"a": 0.5, "b": -0.4, REFERENCE: 0.0}
    theta = {"a": -0.2, "b": -0.6, REFERENCE: 0.0}
    left, right = pairs.T
    x = np.array([wordy[p] - wordy[q] for p, q in pairs]) + 0.4 * rng.normal(size=n)
    logit = np.array([theta[p] - theta[q] for p, q in pairs]) + x + taste
    choice = (rng.random(n) > 1 / (1 + np.exp(-logit))).astype(float)
    return left, right, x, choice, post


def changes(rows, clusters=True):
    left, right, x, choice, post = rows
    post = post if clusters else None
    fit = fit_length_control(left, right, x, choice, clusters=post)
    return fit, length_control_changes(fit, left, right, x, choice, clusters=post)


def test_value_is_controlled_minus_raw(rng):
    left, right, _, choice, post = rows = labels(rng)
    fit, found = changes(rows)
    assert set(found) == {"a", "b"}
    forward = (left == "a") & (right == REFERENCE)
    raw = (1 - choice[forward]).mean()
    assert found["a"].value == pytest.approx(fit.rate("a").value - raw, abs=1e-12)
    assert found["a"].value < 0 < found["b"].value
    assert (found["a"].n, found["a"].n_clusters) == (forward.sum(), len(set(post[forward])))
    assert found["a"].method.startswith("controlled minus raw, cluster-robust by post, t(")


def test_error_is_that_of_a_bootstrap_that_refits(rng):
    rows = labels(rng)
    _, found = changes(rows)
    members = [np.flatnonzero(rows[4] == g) for g in np.unique(rows[4])]
    drawn = []
    for _ in range(300):
        at = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        again = changes(tuple(part[at] for part in rows), clusters=False)[1]
        drawn.append([again["a"].value, again["b"].value])
    spread = np.std(drawn, axis=0, ddof=1)
    # 300 draws know a standard deviation to 4% (one SE).
    assert [found["a"].se, found["b"].se] == pytest.approx(spread, rel=0.15)
    # The change is known better than the rates between which it is.
    assert found["a"].se < changes(rows)[0].rate("a").se


def test_rows_and_two_way_clusters(rng):
    left, right, x, choice, post = rows = labels(rng)
    _, alone = changes(rows, clusters=False)
    assert "rows as clusters" in alone["a"].method
    fit = fit_length_control(left, right, x, choice)
    twice = length_control_changes(fit, left, right, x, choice, clusters=(post, post))
    once = length_control_changes(fit, left, right, x, choice, clusters=post)
    assert twice["b"].se == pytest.approx(once["b"].se, rel=1e-12)


def test_sides_and_order_do_not_matter(rng):
    left, right, x, choice, post = rows = labels(rng)
    _, found = changes(rows)
    order = rng.permutation(len(x))
    _, turned = changes((right[order], left[order], -x[order], 1 - choice[order], post[order]))
    assert turned["a"][:4] == pytest.approx(found["a"][:4], abs=1e-9)


def test_equal_lengths_change_only_what_other_pairs_change(rng):
    # Two policies and lengths equal throughout: the controlled rate is the raw one, exactly.
    choice = (rng.random(60) < 0.4).astype(float)
    left, right, x = ["a"] * 60, [REFERENCE] * 60, np.zeros(60)
    fit = fit_length_control(left, right, x, choice)
    found = length_control_changes(fit, left, right, x, choice)["a"]
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.se == pytest.approx(0, abs=1e-9)


def test_rows_without_length_or_choice_do_not_count(rng):
    left, right, x, choice, post = rows = labels(rng)
    _, found = changes(rows)
    more = (
        np.append(left, ["a", "a", "a"]), np.append(right, [REFERENCE, REFERENCE, "a"]),
        np.append(x, [math.nan, 0.1, 0.2]), np.append(choice, [1, math.nan, 1]),
        np.append(post, [1, 1, 1]),
    )  # fmt: skip
    assert changes(more)[1] == found


def test_no_direct_comparison(rng):
    left, right, x, choice, post = labels(rng)
    keep = ~((left == REFERENCE) & (right == "b"))
    _, found = changes((left[keep], right[keep], x[keep], choice[keep], post[keep]))
    assert math.isnan(found["b"].value)
    assert found["b"].method == "undefined: no direct comparison with reference_summary"


def test_policies_that_are_not_linked(rng):
    left, right, x, choice, post = labels(rng, n=300)
    swap = {REFERENCE: "x", "a": "y", "b": "z"}
    apart = (
        np.append(left, [swap[p] for p in left]), np.append(right, [swap[p] for p in right]),
        np.append(x, x), np.append(choice, choice), np.append(post, post),
    )  # fmt: skip
    _, found = changes(apart)
    assert math.isfinite(found["a"].value)
    assert math.isnan(found["a"].se)
    assert found["a"].method.endswith(
        "no SE: some policies are linked, but not to reference_summary"
    )
    assert found["x"].method == "undefined: no direct comparison with reference_summary"


def test_separated_policy_has_no_change(rng):
    left, right, x, choice, post = labels(rng)
    lost = (
        np.append(left, ["c"] * 9), np.append(right, [REFERENCE] * 9), np.append(x, np.ones(9)),
        np.append(choice, np.ones(9)), np.append(post, np.arange(9)),
    )  # fmt: skip
    _, found = changes(lost)
    assert math.isnan(found["c"].value)
    assert "separation" in found["c"].method
    # Its rows are not part of the fit, so those of the others stay as they are.
    without = changes((left, right, x, choice, post))[1]
    assert found["a"] == without["a"]
    assert found["b"] == without["b"]


def test_unequal_inputs(rng):
    left, right, x, choice, _ = labels(rng, n=30)
    fit = fit_length_control(left, right, x, choice)
    with pytest.raises(StatisticsError, match="inputs have 30, 30, 29 and 30 rows; allowed one"):
        length_control_changes(fit, left, right, x[1:], choice)


def test_joint_form_against_a_bootstrap_of_prompts(rng):
    # Three policies on 150 prompts; "c" alone skips some of them.
    n = 150
    rows = []
    for m, name in enumerate("abc"):
        for i in range(n - 30 * (name == "c")):
            longer = rng.normal(20 * m, 60)
            logit = 0.5 * m - 0.5 + np.tanh(longer / 60) + 0.8 * np.sin(i)
            rows.append((name, i, 300 + longer, 300 + 20 * np.cos(i), 1 / (1 + np.exp(-logit))))
    policy, prompt, own, base, win = map(np.array, zip(*rows, strict=True))
    win = np.clip(win + 0.2 * rng.normal(size=len(win)), 0, 1)
    fit = fit_joint_length_control(policy, prompt, own, base, win)
    found = joint_changes(fit)
    drawn = []
    for _ in range(200):
        weights = rng.multinomial(n, np.full(n, 1 / n)).astype(float)
        raw = [
            np.average(win[policy == m], weights=weights[prompt[policy == m]]) for m in fit.policies
        ]
        drawn.append(fit.refit(weights) - raw)
    spread = np.std(drawn, axis=0, ddof=1)
    for m, name in enumerate(fit.policies):
        change = fit.rates[name].value - win[policy == name].mean()
        assert found[name].value == pytest.approx(change, abs=1e-12)
        # 200 draws know a standard deviation to 5% (one SE).
        assert found[name].se == pytest.approx(spread[m], rel=0.2)
    assert found["c"].n == 120
    assert found["c"].method == "controlled minus raw, influence function by prompt, t(119)"


def test_joint_form_of_a_policy_that_always_wins(rng):
    prompt = np.tile(np.arange(40), 2)
    policy = np.repeat(["a", "b"], 40)
    win = np.where(policy == "a", rng.random(80), 1.0)
    lengths = rng.integers(100, 300, (2, 80)).astype(float)
    fit = fit_joint_length_control(policy, prompt, lengths[0], np.full(80, 200.0), win)
    found = joint_changes(fit)
    assert found["a"].se > 0
    assert found["b"].method == "undefined: every preference of the policy goes one way"


def test_ties_alone_have_no_error(rng):
    left, right = ["a"] * 40, ["reference_summary"] * 40
    x, choice = rng.normal(size=40), np.full(40, 0.5)
    fit = fit_length_control(left, right, x, choice)
    got = length_control_changes(fit, left, right, x, choice)["a"]
    assert (got.value, got.n) == (0, 40)
    assert np.isnan([got.se, got.low, got.high]).all()
    assert got.method.endswith("no interval: every label is exactly as fitted")
