"""The paper's length control against statsmodels, hand-worked cases and released labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from evalsuite.errors import StatisticsError
from evalsuite.stats.length_control import (
    NO_CHOICE,
    NO_LENGTH,
    SAME_POLICY,
    SEPARATED,
    LengthControl,
    fit_length_control,
    log_length_ratio,
)

NAMES = np.array(["reference_summary", "a", "b", "c"], dtype=object)
THETA = np.array([0.0, -0.7, 0.2, 0.6])


def labels(
    rng: np.random.Generator, n: int, *, soft: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left and right code, log ratio, choice of n comparisons with a length taste of 0.8."""
    left = rng.integers(0, 4, n)
    right = (left + rng.integers(1, 4, n)) % 4
    x = rng.normal(0.1, 0.4, n)
    p_right = expit(THETA[right] - THETA[left] - 0.8 * x)
    choice = rng.beta(2 * p_right, 2 - 2 * p_right) if soft else (rng.random(n) < p_right) * 1.0
    return left, right, x, choice


def fit(
    left: np.ndarray, right: np.ndarray, x: np.ndarray, choice: np.ndarray, **settings: object
) -> LengthControl:
    return fit_length_control(NAMES[left], NAMES[right], x, choice, **settings)


def design(left: np.ndarray, right: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.column_stack([*((left == k) * 1.0 - (right == k) for k in (1, 2, 3)), x])


# --- against others ---------------------------------------------------------------------------


def test_released_labels_give_the_published_numbers(shared_data: Path) -> None:
    rows = pd.read_json(shared_data / "tldr_feedback" / "pairs_batch3_to_10.jsonl", lines=True)
    lengths = [rows[side].str.strip().str.len() for side in ("chosen", "rejected")]
    found = fit_length_control(
        rows["chosen_policy"], rows["rejected_policy"], log_length_ratio(*lengths),
        np.zeros(len(rows)), anchor="ref",
    )  # fmt: skip
    assert found.coefficient.n == 5218
    assert found.left_out == {SAME_POLICY: 7944 - 5218}
    assert f"{found.coefficient.value:.4f}" == "0.8732"
    assert f"{found.coefficient_model.se:.4f}" == "0.0717"
    # Appendix F worked on these rows: length-controlled P(beats ref).
    expected = {
        "sup1": ".218", "sup2": ".288", "sup3_6b": ".388", "sup2_bo8_rm1": ".373",
        "sup3_bo63_rm2": ".494", "sup3_ppo_rm1": ".202", "sup4_t0.7": ".297",
        "sup4_ppo_rm3_kl10": ".434", "sup4_ppo_rm3_kl20": ".399", "sup4_bo128_rm3": ".471",
    }  # fmt: skip
    assert {p: f"{found.rate(p).value:.3f}"[1:] for p in expected} == expected


@pytest.mark.parametrize("soft", [False, True])
def test_statsmodels_finds_the_same(rng: np.random.Generator, soft: bool) -> None:
    left, right, x, choice = labels(rng, 900, soft=soft)
    clusters = rng.integers(0, 200, 900)
    found = fit(left, right, x, choice, clusters=clusters)
    model = sm.GLM(1 - choice, design(left, right, x), family=sm.families.Binomial())
    plain = model.fit(tol=1e-12)
    robust = model.fit(
        tol=1e-12, cov_type="cluster",
        cov_kwds={"groups": clusters, "use_correction": False, "df_correction": False},
    )  # fmt: skip
    G = len(np.unique(clusters))
    assert found.coefficient.value == pytest.approx(plain.params[3], abs=1e-9)
    assert found.coefficient_model.se == pytest.approx(plain.bse[3], rel=1e-6)
    # The suite's sandwich carries G/(G-1), which use_correction=False leaves out.
    assert found.coefficient.se == pytest.approx(robust.bse[3] * math.sqrt(G / (G - 1)), rel=1e-6)
    for k, name in enumerate("abc"):
        rate, p = found.rate(name), expit(plain.params[k])
        slope = p * (1 - p)
        assert rate.value == pytest.approx(p, abs=1e-9)
        assert rate.se == pytest.approx(slope * robust.bse[k] * math.sqrt(G / (G - 1)), rel=1e-6)
        assert found.rate(name, model_based=True).se == pytest.approx(
            slope * plain.bse[k], rel=1e-6
        )
    # Rate of one policy over another: the delta method on the difference of two thetas.
    between = np.array([1.0, 0.0, -1.0, 0.0])
    p = expit(between @ plain.params)
    assert found.rate("a", "c").value == pytest.approx(p, abs=1e-9)
    variance = between @ robust.cov_params() @ between * G / (G - 1)
    assert found.rate("a", "c").se == pytest.approx(p * (1 - p) * math.sqrt(variance), rel=1e-6)


def test_few_clusters_use_the_delete_one_jackknife(rng: np.random.Generator) -> None:
    left, right, x, choice = labels(rng, 800)
    clusters = rng.integers(0, 8, 800)
    found = fit(left, right, x, choice, clusters=clusters, cluster_name="labeler")
    whole = sm.Logit(1 - choice, design(left, right, x)).fit(disp=False)
    changes = []
    for g in range(8):
        rest = clusters != g
        gone = sm.Logit(1 - choice[rest], design(left[rest], right[rest], x[rest]))
        changes.append(gone.fit(disp=False).params - whole.params)
    naive = math.sqrt(7 / 8 * np.square(changes).sum(0)[3])
    # One Newton step instead of a full refit: equal to second order.
    assert found.coefficient.se == pytest.approx(naive, rel=0.05)
    assert found.coefficient.method == "cluster-robust by labeler (jackknife), t(7)"


def test_bootstrap_that_refits_everything_agrees(rng: np.random.Generator) -> None:
    # 150 posts, 3 labels each, a shared effect of the post.
    post = np.repeat(np.arange(150), 3)
    left, right, x, _ = (values[post] for values in labels(rng, 150))
    logit = THETA[left] - THETA[right] + 0.8 * x + rng.normal(0, 1, 150)[post]
    choice = (rng.random(450) > expit(logit)) * 1.0
    found = fit(left, right, x, choice, clusters=post)
    draws = []
    for _ in range(400):
        rows = (rng.integers(0, 150, 150)[:, None] * 3 + np.arange(3)).ravel()
        again = fit(left[rows], right[rows], x[rows], choice[rows])
        draws.append([again.rate(p).value for p in "abc"])
    spread = np.std(draws, axis=0, ddof=1)
    ratio = np.array([found.rate(p).se for p in "abc"]) / spread
    assert np.all((ratio > 0.85) & (ratio < 1.15)), ratio


# --- by hand ----------------------------------------------------------------------------------


def test_two_policies_of_equal_lengths_give_the_share() -> None:
    # a wins 3 of 4: rate 3/4. Information on theta is n p (1-p) = .75, so SE of the logit is
    # 1/sqrt(.75) and of the rate .1875/sqrt(.75) = .2165. No length varies: no coefficient.
    found = fit_length_control(
        ["a"] * 4, ["reference_summary"] * 4, np.zeros(4), [0.0, 0.0, 0.0, 1.0]
    )
    assert found.rate("a").value == pytest.approx(0.75)
    assert found.rate("a", model_based=True).se == pytest.approx(0.1875 / math.sqrt(0.75))
    assert math.isnan(found.coefficient.value)
    assert found.coefficient.n == 4
    assert "equal in every comparison" in found.coefficient.method


def test_log_length_ratio_of_empty_and_missing_texts() -> None:
    ratio = log_length_ratio([100, 0, 50, math.nan], [50, 10, 0, 10])
    assert ratio[0] == pytest.approx(math.log(2))
    assert np.isnan(ratio[1:]).all()


def test_rows_left_out_are_counted_by_the_first_reason(rng: np.random.Generator) -> None:
    left, right, x, choice = labels(rng, 200)
    before = fit(left, right, x, choice)
    more = {
        "left": [1, 1, 2, 2], "right": [1, 2, 1, 1],
        "x": [math.nan, 0.1, math.nan, math.nan], "choice": [0.0, math.nan, 1.0, 0.0],
    }  # fmt: skip
    after = fit(
        np.append(left, more["left"]), np.append(right, more["right"]), np.append(x, more["x"]),
        np.append(choice, more["choice"]),
    )  # fmt: skip
    assert after.left_out == {SAME_POLICY: 1, NO_CHOICE: 1, NO_LENGTH: 2}
    assert after.coefficient == before.coefficient


def test_counts_are_those_of_the_rarer_policy() -> None:
    # reference in 5 rows of 3 posts, a in 3 rows of 2 posts, b in 2 rows of 1 post.
    found = fit_length_control(
        ["a", "a", "a", "b", "b"], ["reference_summary"] * 5, [0.1, -0.2, 0.3, 0.2, -0.1],
        [0.5, 0.0, 1.0, 0.5, 0.4], clusters=["p", "p", "q", "r", "r"],
    )  # fmt: skip
    assert (found.rate("a").n, found.rate("a").n_clusters) == (3, 2)
    assert (found.rate("b").n, found.rate("b").n_clusters) == (2, 1)
    assert math.isnan(found.rate("a").low)
    assert "2 clusters, 5 needed" in found.rate("a").method


# --- properties -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_sides_rows_and_directions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right, x, choice = labels(rng, 300, soft=True)
    found = fit(left, right, x, choice)
    swapped = fit(right, left, -x, 1 - choice)
    order = rng.permutation(300)
    shuffled = fit(left[order], right[order], x[order], choice[order])
    for other in (swapped, shuffled):
        assert other.coefficient[:4] == pytest.approx(found.coefficient[:4], abs=1e-8)
        assert other.rate("b")[:4] == pytest.approx(found.rate("b")[:4], abs=1e-8)
    forth, back = found.rate("a", "c"), found.rate("c", "a")
    assert forth.value == pytest.approx(1 - back.value)
    assert forth.low == pytest.approx(1 - back.high)
    assert 0 < forth.low < forth.value < forth.high < 1


def test_two_way_errors_are_no_smaller_than_either(rng: np.random.Generator) -> None:
    left, right, x, choice = labels(rng, 600)
    posts, people = rng.integers(0, 150, 600), rng.integers(0, 120, 600)
    both = fit(left, right, x, choice, clusters=(posts, people), cluster_name="post and labeler")
    assert both.coefficient.method == "two-way cluster-robust by post and labeler, t(119)"
    assert both.coefficient.n_clusters == 120
    assert both.rate("a").se > 0


def test_the_whole_release_at_once(rng: np.random.Generator) -> None:
    n, P = 180_000, 40
    names = np.array([f"policy {k}" for k in range(P)], dtype=object)
    left = rng.integers(0, P, n)
    right = (left + rng.integers(1, P, n)) % P
    theta, x = rng.normal(0, 0.7, P), rng.normal(0, 0.3, n)
    wins = rng.random(n) < expit(theta[left] - theta[right] + 0.8 * x)
    found = fit_length_control(
        names[left], names[right], x, 1.0 - wins, clusters=rng.integers(0, 60_000, n),
        anchor="policy 0",
    )  # fmt: skip
    assert len(found.rates()) == 39
    assert abs(found.coefficient.value - 0.8) < 4 * found.coefficient.se


# --- what has no estimate ---------------------------------------------------------------------


def test_a_policy_that_always_wins_is_named_and_leaves_others_alone(
    rng: np.random.Generator,
) -> None:
    left, right, x, choice = labels(rng, 400)
    before = fit(left, right, x, choice)
    found = fit_length_control(
        np.append(NAMES[left], ["star"] * 6), np.append(NAMES[right], ["a", "b", "c"] * 2),
        np.append(x, rng.normal(0, 0.4, 6)), np.append(choice, np.zeros(6)),
    )  # fmt: skip
    assert found.left_out == {SEPARATED: 6}
    assert math.isnan(found.rate("star").value)
    assert "separation" in found.rate("star").method
    assert found.rate("b")[:4] == pytest.approx(before.rate("b")[:4])
    assert math.isnan(found.strengths[found.policies.index("star")])


def test_policies_that_never_met_have_rates_among_their_own_only(
    rng: np.random.Generator,
) -> None:
    left, right, x, choice = labels(rng, 300)
    found = fit_length_control(
        np.append(NAMES[left], ["x", "x", "x"]), np.append(NAMES[right], ["y", "y", "y"]),
        np.append(x, [0.2, -0.1, 0.1]), np.append(choice, [0.0, 1.0, 0.5]),
    )  # fmt: skip
    assert "no chain of comparisons" in found.rate("x").method
    assert math.isfinite(found.rate("x", "y").value)
    assert math.isfinite(found.rate("a").value)


def test_length_that_predicts_every_label_is_separation() -> None:
    # The longer one always wins, whichever policy wrote it.
    found = fit_length_control(
        ["a", "a", "b", "b"], ["b", "b", "a", "a"], [0.5, -0.2, 0.3, -0.4], [0.0, 1.0, 0.0, 1.0],
        anchor="a",
    )  # fmt: skip
    assert "separation" in found.coefficient.method
    assert "separation" in found.rate("b").method
    assert np.isnan(found.strengths).all()


def test_length_that_is_a_function_of_the_policies_is_named() -> None:
    # a always writes e^.3 times what b writes: its strength and its length cannot be told apart.
    found = fit_length_control(
        ["a", "a", "b"], ["b", "b", "a"], [0.3, 0.3, -0.3], [0.0, 1.0, 0.0], anchor="b"
    )
    for estimate in (found.coefficient, found.coefficient_model, found.rate("a")):
        assert math.isnan(estimate.value)
        assert "function of the two policies" in estimate.method


def test_every_label_separated_leaves_no_rate() -> None:
    found = fit_length_control(["a"] * 3, ["b"] * 3, [0.1, 0.2, -0.1], [0.0] * 3, anchor="b")
    assert found.left_out == {SEPARATED: 3}
    assert "every comparison is separated" in found.coefficient.method
    assert "separation" in found.rate("a").method


def test_all_ties_are_a_half() -> None:
    found = fit_length_control(
        ["a"] * 6, ["reference_summary"] * 6, [0.1, 0.2, -0.1, 0.3, 0.0, -0.2], [0.5] * 6
    )
    assert found.rate("a").value == pytest.approx(0.5)
    assert found.coefficient.value == pytest.approx(0.0, abs=1e-12)


def test_nothing_but_ties_has_no_robust_error(rng: np.random.Generator) -> None:
    left = np.array(["a", "b", "reference_summary"] * 20)
    fit = fit_length_control(left, np.roll(left, 1), rng.normal(size=60), np.full(60, 0.5))
    for estimate in (fit.coefficient, fit.rate("a")):
        assert math.isnan(estimate.se)
        assert math.isnan(estimate.low)
        assert estimate.method.endswith("no interval: every label is exactly as fitted")
    assert fit.rate("a").value == pytest.approx(0.5, abs=1e-12)
    assert fit.rate("a", model_based=True).se > 0


def test_a_policy_of_one_cluster_does_not_stop_the_jackknife(rng: np.random.Generator) -> None:
    left, right, x, choice = labels(rng, 400)
    clusters = rng.integers(0, 10, 400)
    only = 3 in left[clusters == 0]
    keep = ((left != 3) & (right != 3)) | (clusters == 0)
    assert only
    found = fit(left[keep], right[keep], x[keep], choice[keep], clusters=clusters[keep])
    assert found.rate("c").n_clusters == 1
    assert math.isnan(found.rate("c").low)
    assert math.isfinite(found.rate("a").low)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choice": [0.0, 1.0]}, "inputs have 3, 3, 3 and 2 rows; allowed one length"),
        ({"choice": [0.0, 1.0, 1.5]}, r"choice is outside \[0, 1\]"),
        ({"log_ratio": [0.1, math.inf, 0.0]}, "log_ratio is infinite"),
        ({"log_ratio": [math.nan] * 3}, "no comparison of two policies"),
        ({"clusters": ["p", "q"]}, "clusters has 2 labels for 3 rows"),
        ({"clusters": ["p", None, "q"]}, "clusters has a missing label"),
    ],
)
def test_refuses(changes: dict[str, object], message: str) -> None:
    given_ = {
        "left_policy": ["a", "b", "a"], "right_policy": ["b", "a", "b"],
        "log_ratio": [0.1, 0.2, 0.0], "choice": [0.0, 0.0, 1.0],
    } | changes  # fmt: skip
    with pytest.raises(StatisticsError, match=message):
        fit_length_control(**given_)


def test_unknown_policy_is_named(rng: np.random.Generator) -> None:
    found = fit(*labels(rng, 50))
    with pytest.raises(StatisticsError, match="policy 'd' is in no cross-policy comparison"):
        found.rate("d")
