"""Forms of Gao et al.: algebra, exact recovery, and intervals against leaving posts out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats.overoptimization import (
    FORMS,
    QUANTITIES,
    change_between,
    curve_difference,
    curve_fit,
    distance,
    gain_curve,
    gain_from_start,
    higher,
    peak,
    sooner,
)
from evalsuite.stats.replicates import crossed_statistic

# Coefficients of best-of-n in an open reproduction (rush-srik/Overoptimization-Repro), proxies
# trained on 500, 1k, 4k, 8k and 60k pairs, and place and height of the peaks by hand.
REPRODUCED = {
    500: (0.386, 0.136, 1.41912, 0.27389),
    1000: (0.461, 0.123, 1.87398, 0.43195),
    4000: (0.616, 0.121, 2.54545, 0.78400),
    8000: (0.741, 0.118, 3.13983, 1.16331),
    60000: (0.913, 0.122, 3.74180, 1.70813),
}
D = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])


def test_forms_by_hand():
    assert gain_curve("best-of-n", [0, 1, 2, 4], 1.0, 0.25).tolist() == [0, 0.75, 1, 0]
    assert gain_curve("ppo", [0, 1, math.e], 2.0, 1.0) == pytest.approx([0, 2, math.e])
    assert distance([4, 0, -0.1]).tolist() == [2, 0, 0]


@pytest.mark.parametrize("pairs", REPRODUCED)
def test_peaks_of_published_coefficients(pairs):
    alpha, beta, place, height = REPRODUCED[pairs]
    assert peak("best-of-n", alpha, beta) == pytest.approx((place, height), abs=1e-5)


def test_peak_of_ppo_by_hand():
    assert peak("ppo", 2.0, 1.0) == pytest.approx((math.e, math.e))
    assert peak("ppo", -1.0, 1.0) == pytest.approx((math.exp(-2), math.exp(-2)))


@given(st.sampled_from(FORMS), st.floats(0.1, 2), st.floats(0.1, 2))
def test_the_peak_is_the_highest_point_of_its_curve(form, alpha, beta):
    place, height = peak(form, alpha, beta)
    grid = place * np.linspace(0, 3, 601)
    curve = gain_curve(form, grid, alpha, beta)
    assert curve.argmax() == 200
    assert height == pytest.approx(curve.max())


@pytest.mark.parametrize(
    ("form", "alpha", "beta"),
    [("best-of-n", 1, 0), ("ppo", 1, -1), ("best-of-n", -1, 1), ("ppo", 1, 1e-6)],
)
def test_no_peak_is_nan(form, alpha, beta):
    assert all(math.isnan(x) for x in peak(form, alpha, beta))


@pytest.mark.parametrize("form", FORMS)
def test_curves_without_noise_give_their_coefficients_back(form):
    """Posts of coefficients (1, .5) and (3, 1.5) in turn: the mean curve is that of (2, 1)."""
    posts = [gain_curve(form, D, 1 + 2 * (p % 2), 0.5 + p % 2) for p in range(6)]
    fit = curve_fit([posts, posts], D, form=form)
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((2, 1))
    place = 1.0 if form == "best-of-n" else math.e
    assert fit.peak_d.value == pytest.approx(place)
    assert fit.peak_gain.value == pytest.approx(place)
    assert fit.turn.value == pytest.approx(0.5)
    # alpha of posts is 2 +- 1, equal in both seeds: SD sqrt(6/5), over sqrt(6) posts.
    assert fit.alpha.se == pytest.approx(math.sqrt(1 / 5))
    assert fit.turn.se == pytest.approx(0, abs=1e-12)
    assert fit.gain([place]) == pytest.approx([place])
    assert fit.beyond == (form == "ppo")  # e lies beyond 2.5
    top = 1.0 if form == "best-of-n" else 2.5 * (2 - math.log(2.5))
    assert fit.top_gain.value == pytest.approx(top)
    assert fit.alpha.n == 2 * 6 * 6


def test_seeds_may_move_differently():
    d = np.stack([D, 2 * D])
    gain = np.stack([np.tile(gain_curve("ppo", at, 2, 1), (5, 1)) for at in d])
    fit = curve_fit(gain, d, form="ppo")
    assert (fit.alpha.value, fit.beta.value, fit.d_max) == pytest.approx((2, 1, 2.5))


def test_weights_leave_points_out():
    gain = np.tile(gain_curve("best-of-n", D, 2, 1), (1, 5, 1))
    gain[..., -1] = 99
    fit = curve_fit(gain, D, form="best-of-n", weights=[1, 1, 1, 1, 1, 0])
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((2, 1))
    assert curve_fit(gain, D, form="best-of-n").alpha.value != pytest.approx(2)


@pytest.mark.parametrize("form", FORMS)
def test_errors_of_all_quantities_are_those_of_leaving_posts_out(form, rng):
    """One seed; the delete-one jackknife of the whole fit, up to second order in 1/P."""
    P = 400
    gain = gain_curve(form, D, 2, 1) + rng.normal(0, 0.5, (1, P, len(D)))
    fit = curve_fit(gain, D, form=form)
    whole = curve_fit(gain, D, form=form)
    without = [curve_fit(np.delete(gain, p, axis=1), D, form=form) for p in range(P)]
    for name in QUANTITIES:
        theta = np.array([getattr(w, name).value for w in without])
        pseudo = P * getattr(whole, name).value - (P - 1) * theta
        assert getattr(fit, name).se == pytest.approx(
            crossed_statistic(pseudo[None]).se, rel=0.02
        ), name


def test_a_curve_that_never_turns_has_no_peak_but_a_top():
    gain = np.tile(gain_curve("best-of-n", D, 1, -0.1), (2, 5, 1))
    fit = curve_fit(gain, D, form="best-of-n")
    assert fit.peak_d.method == "undefined: no peak in the fit: beta <= 0"
    assert fit.turn.value == pytest.approx(-0.1)
    assert fit.top_gain.value == pytest.approx(2.5 * (1 + 0.25))
    assert not fit.beyond


def test_a_curve_that_only_falls_has_no_turn():
    gain = np.tile(gain_curve("best-of-n", D, -1, 0.1), (2, 5, 1))
    fit = curve_fit(gain, D, form="best-of-n")
    assert fit.turn.method == "undefined: no rise in the fit: alpha not above 0"
    assert fit.peak_d.method == "undefined: no peak in the fit"
    assert fit.top_gain.value == 0


def test_too_few_distances_are_undefined():
    fit = curve_fit(np.ones((2, 5, 2)), [0, 1], form="ppo")
    assert fit.alpha.method == "undefined: fewer than two distances above 0"


def test_more_labels_peak_later_and_higher_in_the_differences():
    def of(pairs):
        alpha, beta, *_ = REPRODUCED[pairs]
        noise = np.random.default_rng(pairs).normal(0, 0.05, (3, 40, 6))
        return curve_fit(gain_curve("best-of-n", D, alpha, beta) + noise, D, form="best-of-n")

    small, large = of(500), of(60000)
    found = curve_difference(large, small)
    assert found["turn"].high < 0
    assert found["top_gain"].low > 0
    for name in QUANTITIES:
        difference = getattr(large, name).value - getattr(small, name).value
        assert found[name].value == pytest.approx(difference)
    same = curve_difference(small, small)["peak_d"]
    assert (same.value, same.se) == (0, 0)


def test_differences_with_an_undefined_side_keep_its_reason():
    rising = np.tile(gain_curve("best-of-n", D, 1, -0.1), (2, 5, 1))
    turning = np.tile(gain_curve("best-of-n", D, 1, 0.3), (2, 5, 1))
    a, b = (curve_fit(g, D, form="best-of-n") for g in (rising, turning))
    assert "no peak" in curve_difference(a, b)["peak_d"].method
    assert "no peak" in curve_difference(b, a)["peak_d"].method
    assert curve_difference(b, a)["turn"].value == pytest.approx(0.4)


def alike(alpha, beta, d=D, form="best-of-n"):
    """A fit without noise."""
    return curve_fit(np.tile(gain_curve(form, d, alpha, beta), (2, 5, 1)), d, form=form)


def test_a_turn_needs_a_rise_that_is_known():
    """alpha of posts is .5 +- 1: above 0 at its estimate, not by its interval."""
    posts = [gain_curve("best-of-n", D, 0.5 + (-1) ** p, 0.2) for p in range(6)]
    fit = curve_fit([posts, posts], D, form="best-of-n")
    assert fit.alpha.low < 0 < fit.alpha.value
    assert fit.turn.method == "undefined: no rise in the fit: alpha not above 0"


@pytest.mark.parametrize(
    ("a", "b", "by_hand"),
    [
        ((1, 0.5), (2, 0.5), 0.5 * 2 - 0.5 * 1),  # peaks at 1 and 2
        ((1, 0.5), (2, 1), 0),  # both at 1
        ((1, -0.1), (2, 0.5), -0.1 * 2 - 0.5 * 1),  # a never turns
        ((-1, 0.2), (1, 0.3), 0.2 + 0.3),  # a falls at once
        ((1, 0.3), (-1, 0.2), -0.3 - 0.2),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_the_cross_product_orders_turns(form, a, b, by_hand):
    found = sooner(alike(*a, form=form), alike(*b, form=form))
    assert found.value == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ((-1, 0.2), (0, 0.1), "neither curve rises at first"),
        # It falls at once and the other never does, or falls and then rises: their cross products
        # are 0.2 - 0.5 and -0.1 + 0.2, of either sign.
        ((-1, 0.2), (1, -0.5), "not both turn"),
        ((-1, -0.1), (1, 0.2), "not both turn"),
    ],
)
def test_turns_that_have_no_order(a, b, reason):
    for one, other in ((a, b), (b, a)):
        found = sooner(alike(*one), alike(*other))
        assert math.isnan(found.value)
        assert reason in found.method
    none = curve_fit(np.ones((2, 5, 2)), [0, 1], form="best-of-n")
    for compare in (sooner, higher):
        assert "fewer than two distances" in compare(none, alike(1, 1)).method
        assert "fewer than two distances" in compare(alike(1, 1), none).method


def test_heights_are_compared_up_to_where_both_went():
    """R = 2d - d^2 reaches 1 at 1; 2d reaches 5 at 2.5, and 2 at 1, where the first one ends."""
    short = D * 0.4
    found = higher(alike(2, 0), alike(2, 1, d=short))
    assert found.value == pytest.approx(2 - 1)
    assert "up to d = 1" in found.method
    assert alike(2, 0).top_gain.value == pytest.approx(5)


def test_a_curve_that_does_not_rise_is_no_higher_than_0_and_not_surely_so():
    """alpha of its posts is -1 +- 1, beta 0: at the end, 2.5, the gain is -2.5 +- 2.5."""
    posts = [gain_curve("best-of-n", D, -1 + (-1) ** p, 0) for p in range(6)]
    falls = curve_fit([posts, posts], D, form="best-of-n")
    rising = [gain_curve("best-of-n", D, 2, 1)] * 6
    found = higher(curve_fit([rising, rising], D, form="best-of-n"), falls)
    assert found.value == pytest.approx(1 - 0)
    assert found.se == pytest.approx(2.5 * math.sqrt(1 / 5))  # SD sqrt(6/5), over sqrt(6) posts
    assert "the second does not rise: 0, with the error at the end" in found.method
    assert falls.top_gain.se == 0


@pytest.mark.parametrize("form", FORMS)
def test_errors_of_comparisons_are_those_of_leaving_posts_out(form, rng):
    P = 200
    noise = rng.normal(0, 0.5, (2, 1, P, len(D))) + rng.normal(0, 0.5, (1, 1, P, 1))
    gains = [gain_curve(form, D, *c) + n for c, n in zip(((2, 1), (1.5, 0.4)), noise, strict=True)]

    def fits(keep):
        return [curve_fit(gain[:, keep], D, form=form) for gain in gains]

    for compare in (sooner, higher):
        whole = compare(*fits(np.arange(P)))
        without = np.array([
            compare(*fits(np.delete(np.arange(P), p))).value for p in range(P)
        ])  # fmt: skip
        pseudo = P * whole.value - (P - 1) * without
        assert whole.se == pytest.approx(crossed_statistic(pseudo[None]).se, rel=0.02)


def test_gains_are_taken_from_distance_zero():
    scores = np.array([[[5, 7, 6], [1, 2, 3]], [[4, 4, 9], [0, 8, 1.0]]])
    assert gain_from_start(scores, [0, 1, 2]).tolist() == [
        [[0, 2, 1], [0, 1, 2]], [[0, 0, 5], [0, 8, 1]],
    ]  # fmt: skip
    # seed 1 began at its last point: [4 - 9, 4 - 9, 0]
    found = gain_from_start(scores, [[0, 1, 2], [1, 2, 0]])
    assert found[1, 0].tolist() == [-5, -5, 0]
    with pytest.raises(StatisticsError, match="no score at distance 0"):
        gain_from_start(scores, [[0, 1, 2], [1, 2, 3]])


def test_change_between_named_points_is_the_paired_difference():
    gain = np.zeros((1, 6, 4))
    gain[0, :, 1] = [1, 2, 3, 4, 5, 6]
    gain[0, :, 3] = [0, 2, 1, 4, 3, 6]
    found = change_between(gain, 1, -1)
    assert found.value == pytest.approx(-5 / 6)
    assert found.se == pytest.approx(np.std([1, 0, 2, 0, 2, 0], ddof=1) / math.sqrt(6))


def test_wrong_inputs_are_refused():
    gain = np.ones((2, 5, 3))
    with pytest.raises(StatisticsError, match="form is 'rl'; allowed best-of-n, ppo"):
        curve_fit(gain, [0, 1, 2], form="rl")
    with pytest.raises(StatisticsError, match=r"d has shape \(2,\); allowed \(3,\) or \(2, 3\)"):
        curve_fit(gain, [0, 1], form="ppo")
    with pytest.raises(StatisticsError, match="gain has 2 dimensions; allowed 3"):
        curve_fit(gain[0], [0, 1, 2], form="ppo")
    with pytest.raises(StatisticsError, match="a distance is below 0"):
        curve_fit(gain, [0, 1, -2], form="ppo")
    with pytest.raises(StatisticsError, match="a distance is below 0"):
        gain_curve("ppo", [-1], 1, 1)
    with pytest.raises(StatisticsError, match="a gain or distance is NaN"):
        curve_fit(gain * math.nan, [0, 1, 2], form="ppo")
    with pytest.raises(StatisticsError, match=r"weights have shape \(2,\); allowed 3 or \(2, 3\)"):
        curve_fit(gain, [0, 1, 2], form="ppo", weights=[1, 1])
    with pytest.raises(StatisticsError, match="gain has 1 dimensions"):
        change_between([1, 2], 0, 1)
    with pytest.raises(StatisticsError, match="places are 0 and 3; allowed within 3"):
        change_between(gain, 0, 3)
    fit = curve_fit(gain, [0, 1, 2], form="ppo")
    with pytest.raises(StatisticsError, match="the fits are of ppo and best-of-n"):
        curve_difference(fit, curve_fit(gain, [0, 1, 2], form="best-of-n"))
    for compare in (curve_difference, sooner, higher):
        with pytest.raises(StatisticsError, match=r"rest on \(2, 5\) and \(2, 4\) seeds x posts"):
            compare(fit, curve_fit(gain[:, 1:], [0, 1, 2], form="ppo"))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed_sd", [0.0, 0.15])
def test_coverage_of_what_follows_from_a_fit(form, seed_sd):
    """3 seeds x 100 posts; a post's curve has its own coefficients and noise that adds up along it.

    `pytest -m slow -s` prints the rates; their standard error is .7 points near 95%.
    """
    draw, data_sets, truth = np.random.default_rng(20221019), 1000, (1.2, 0.5)
    inside = dict.fromkeys(QUANTITIES, 0)
    place, height = peak(form, *truth)
    top = height if place < D[-1] else float(gain_curve(form, D[-1], *truth))
    expected = dict(zip(QUANTITIES, (*truth, truth[1] / truth[0], place, height, top), strict=True))
    for _ in range(data_sets):
        spread = draw.normal(0, [0.8, 0.3], (1, 100, 2)) + draw.normal(0, seed_sd, (3, 1, 2)) / 3
        own = (np.array(truth) + spread)[..., None, :]
        gain = gain_curve(form, D, own[..., 0], own[..., 1])
        noise = draw.normal(0, 0.5, gain.shape)
        noise[..., 0] = 0
        fit = curve_fit(gain + noise.cumsum(axis=2), D, form=form)
        for name in QUANTITIES:
            found = getattr(fit, name)
            inside[name] += found.low <= expected[name] <= found.high
    for name, count in inside.items():
        print(f"{form}, seed SD {seed_sd}, {name}: {count / data_sets:.3f}")  # noqa: T201 - on request, -s
        assert count / data_sets > 0.91, name
