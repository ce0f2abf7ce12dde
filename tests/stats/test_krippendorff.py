"""Krippendorff's alpha: published examples as fractions, the influence, special cases, errors."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats import krippendorff
from evalsuite.stats.krippendorff import choice_alpha, krippendorff_alpha
from evalsuite.stats.votes import collect_votes

# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", example C: four observers.
FOUR = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
# The three coders of the encyclopedia article on the coefficient, fifteen units.
THREE = """
. . . . . 3 4 1 2 1 1 3 3 . 3
1 . 2 1 3 3 4 3 . . . . . . .
. . 2 1 3 4 4 . 2 1 1 3 3 . 4
"""
# Example A of the same paper: two observers, two values, ten units.
TWO = """
0 1 0 0 0 0 0 0 1 0
1 1 1 0 0 1 0 0 0 0
"""


def table(text: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [[math.nan if x == "." else float(x) for x in line.split()] for line in text.split("\n")]
    values = np.array([row for row in rows if row])
    return np.tile(np.arange(values.shape[1]), len(values)), values.ravel()


# FOUR: 40 pairable values, n_c = 9 13 10 5 3, diagonal of the coincidences 7 10 8 4 3, off it
# o12 = o23 = 4/3 and o13 = o14 = o24 = o34 = 1/3.
#   nominal  1 - (39 x 8) / (1600 - 384): 904/1216
#   interval sums o d = 26/3, n n d = 2240: 1 - 39 x 26/3 / 2240
#   ordinal  mid-ranks 4.5 15.5 27 34.5 38.5: o d = 945.5, n n d = 199740
PUBLISHED = [
    (FOUR, "nominal", Fraction(904, 1216), 0.743, 40),
    (FOUR, "interval", 1 - 39 * Fraction(26, 3) / 2240, 0.849, 40),
    (FOUR, "ordinal", 1 - 39 * Fraction(1891, 2) / 199740, 0.815, 40),
    # n_c = 7 4 10 5, diagonal 6 4 7 3, o13 = 1, o34 = 2.
    (THREE, "nominal", Fraction(25 * 20 - 164, 26 * 25 - 164), 0.691, 26),
    (THREE, "interval", 1 - 25 * Fraction(6, 793), 0.811, 26),
    # n_0 = 14, n_1 = 6, o01 = 4: 1 - 19 x 4 / 84.
    (TWO, "nominal", Fraction(2, 21), 0.095, 20),
]


@pytest.mark.parametrize(("text", "scale", "exact", "printed", "n"), PUBLISHED)
def test_published_examples(text: str, scale: str, exact: Fraction, printed: float, n: int) -> None:
    assert round(float(exact), 3) == printed
    found = krippendorff_alpha(*table(text), scale=scale)  # type: ignore[arg-type]
    assert found.value == pytest.approx(float(exact), abs=1e-12)
    assert found.n == n


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
def test_influence_is_the_derivative_by_the_weight_of_a_unit(scale: str) -> None:
    rng = np.random.default_rng(3)
    units = np.concatenate([np.arange(30), rng.integers(0, 30, 70)])
    values = np.clip(np.round(units % 7 + rng.normal(0, 1.5, 100)), 0, 6)
    counts, _, points = krippendorff._count(units, values, scale, None)  # type: ignore[arg-type]
    found = krippendorff._influence(counts, points, scale)  # type: ignore[arg-type]
    h = 1e-5
    for unit in range(len(counts)):
        step = h * (np.arange(len(counts)) == unit)
        up, down = (
            krippendorff._alpha(counts, points, scale, 1 + sign * step)  # type: ignore[arg-type]
            for sign in (1, -1)
        )
        assert found[unit] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
def test_bootstrap_is_near_the_robust_error(scale: str, rng: np.random.Generator) -> None:
    units = np.repeat(np.arange(150), 3)
    values = np.clip(np.round(rng.normal(4, 1, 150)[units] + rng.normal(0, 0.8, 450)), 1, 7)
    clusters = units // 2
    options = {"scale": scale, "clusters": clusters}
    robust = krippendorff_alpha(units, values, **options)  # type: ignore[arg-type]
    again = krippendorff_alpha(
        units, values, interval="bootstrap", rng=rng, resamples=400, **options  # type: ignore[arg-type]
    )  # fmt: skip
    assert robust.n_clusters == again.n_clusters == 75
    assert again.value == robust.value
    assert again.se == pytest.approx(robust.se, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5)), min_size=2, max_size=30),
    st.randoms(use_true_random=False),
)
def test_what_does_not_matter(rows: list[tuple[int, int]], random: object) -> None:
    units, values = map(np.array, zip(*rows, strict=True))
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    for scale in ("nominal", "ordinal", "interval"):
        one = krippendorff_alpha(units, values, scale=scale)  # type: ignore[arg-type]
        for u, v in (
            tuple(map(np.array, zip(*mixed, strict=True))),
            (units, 3 * values - 7),  # positions on an interval scale have no zero and no unit
            (units, 6 - values),
        ):
            other = krippendorff_alpha(u, v, scale=scale)  # type: ignore[arg-type]
            np.testing.assert_allclose(one[:3], other[:3], atol=1e-9)


def test_perfect_agreement_has_no_interval_and_constants_no_alpha() -> None:
    found = krippendorff_alpha([0, 0, 1, 1], [1, 1, 2, 2])
    assert found.value == 1.0
    assert math.isnan(found.se)
    assert "the clusters do not differ" in found.method
    found = krippendorff_alpha([0, 0, 1, 1], [2, 2, 2, 2])
    assert math.isnan(found.value)
    assert found.n == 4
    assert found.method == "undefined: Krippendorff's alpha, nominal: all values are equal"
    found = krippendorff_alpha([0, 1], [2, 3])
    assert found.n == 0
    assert found.method.endswith("no unit has two values")


def test_choices_enter_both_ways_round() -> None:
    # Two votes on each of 40 comparisons, 30 agree: D_o = 1/4; both names equally common among
    # 160 values, D_e = 2 x 80 x 80 / (160 x 159) = 80/159. alpha = 1 - 159/320.
    for shift in (0, 1):  # which text is seen first must not matter
        choice = [(i % 2 + shift) % 2 for i in range(40)]
        again = [c if i < 30 else 1 - c for i, c in enumerate(choice)]
        votes = collect_votes(
            ["x"] * 80, ["y"] * 80, choice + again, post=list(range(40)) * 2,
            labeler=["a"] * 40 + ["b"] * 40,
        )  # fmt: skip
        found = choice_alpha(votes)
        assert found.value == pytest.approx(1 - 159 / 320, abs=1e-12)
        assert found.n == 80
        assert found.n_clusters == 40


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: krippendorff_alpha([0], [1, 2]), "units has 1 rows, values 2; allowed equal"),
        (lambda: krippendorff_alpha([0, 0], [1, 2], scale="ratio"), "scale is 'ratio'; allowed"),
        (
            lambda: krippendorff_alpha([0, 0], ["a", "b"], scale="ordinal"),
            "scale 'ordinal' allows numbers",
        ),
        (lambda: krippendorff_alpha([0, 0], [1, 2], interval="jack"), "interval is 'jack'"),
        (lambda: krippendorff_alpha([0, 0], [1, 2], interval="bootstrap"), "has no rng"),
        (
            lambda: krippendorff_alpha([0, 0], [1, 2], clusters=["a", "b"]),
            "a unit lies in two clusters; allowed one cluster a unit",
        ),
    ],
)
def test_errors_name_what_is_allowed(call, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(StatisticsError, match=text):
        call()


def test_missing_name_in_a_list_is_no_value():
    # numpy would turn this list into texts, "nan" among them. One unit is left: 2 values.
    assert krippendorff_alpha([1, 1, 2, 2], ["a", float("nan"), "a", "b"]).n == 2
