"""Agreement: pairs listed one by one, counts by hand, what must not matter, error texts."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.errors import StatisticsError
from evalsuite.stats.agreement import (
    ENSEMBLE,
    LABELER,
    agreement_matrix,
    disattenuate,
    ensemble_agreement,
    labeler_agreement,
    sign_agreement,
)
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.stats.votes import Votes, collect_votes

Row = tuple[str, str, str, float, str | None]  # post, left text, right text, choice, labeler


def votes_of(rows: list[Row]) -> Votes:
    post, left, right, choice, labeler = zip(*rows, strict=True)
    return collect_votes(left, right, choice, post=post, labeler=labeler)


def listed_pairs(rows: list[Row]) -> list[tuple[bool, str, frozenset[str]]]:
    """Every pair of votes on one comparison by different people: agree, post, the two."""
    items = defaultdict(list)
    for post, left, right, choice, labeler in rows:
        if left != right and choice != 0.5 and labeler is not None:
            chosen = left if choice < 0.5 else right
            items[post, frozenset((left, right))].append((labeler, chosen))
    return [
        (a == b, key[0], frozenset((one, two)))
        for key, answers in items.items()
        for (one, a), (two, b) in itertools.combinations(answers, 2)
        if one != two
    ]


ROWS: list[Row] = [
    ("p", "x", "y", 0.0, "ann"),  # x
    ("p", "y", "x", 1.0, "bob"),  # x, the sides swapped
    ("p", "x", "y", 1.0, "cay"),  # y
    ("p", "x", "z", 0.0, "ann"),  # another comparison
    ("q", "x", "y", 0.0, "ann"),  # another post
    ("q", "x", "y", 0.2, "bob"),  # leans to x
    ("q", "x", "y", 0.5, "cay"),  # a tie
    ("q", "s", "s", 1.0, "ann"),  # identical texts
    ("q", "s", "t", math.nan, "ann"),  # no choice
]


def test_pairs_by_hand() -> None:
    votes = votes_of(ROWS)
    found = labeler_agreement(votes)
    # p, {x, y}: ann-bob agree, ann-cay and bob-cay do not; q: ann-bob agree. 2 of 4.
    assert (found.value, found.n, found.n_clusters) == (0.5, 4, 2)
    assert votes.left_out == {"no choice": 1, "tie": 1, "identical texts": 1}
    assert len(votes) == 6
    assert votes.items == 3


@pytest.mark.parametrize(("name", "agree", "pairs"), [("batch18", 43, 66), ("cnndm0", 129, 165)])
def test_published_counts(shared_data: Path, name: str, agree: int, pairs: int) -> None:
    # Counted from the released files: all splits, unordered pairs of labels on one comparison.
    path = shared_data / "tldr_feedback" / "comparisons" / f"{name}.json"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    texts = [[s["text"].strip() for s in row["summaries"]] for row in rows]
    votes = collect_votes(
        [a for a, _ in texts], [b for _, b in texts], [row["choice"] for row in rows],
        post=[row["info"]["id"] for row in rows], labeler=[row["worker"] for row in rows],
    )  # fmt: skip
    found = labeler_agreement(votes)
    assert found.n == pairs
    assert found.value == agree / pairs


rows_strategy = st.lists(
    st.tuples(
        st.sampled_from("pqr"), st.sampled_from("xyz"), st.sampled_from("xyz"),
        st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from(["a", "b", "c", "d", None]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(rows_strategy)
def test_counts_equal_listed_pairs(rows: list[Row]) -> None:
    pairs = listed_pairs(rows)
    for cluster in ("post", "labeler", "both"):
        found = labeler_agreement(votes_of(rows), cluster=cluster)
        assert found.n == len(pairs)
        if pairs:
            assert found.value == pytest.approx(sum(a for a, *_ in pairs) / len(pairs), abs=1e-12)
        else:
            assert math.isnan(found.value)


@settings(max_examples=30, deadline=None)
@given(rows_strategy, st.randoms(use_true_random=False))
def test_sides_and_order_do_not_matter(rows: list[Row], random: object) -> None:
    turned = [(p, b, a, 1 - c, who) for p, a, b, c, who in rows]
    random.shuffle(turned)  # type: ignore[attr-defined]
    one, two = votes_of(rows), votes_of(turned)
    lengths = {"x": 1.0, "y": 2.0, "z": 2.0}
    for a, b in (
        (labeler_agreement(one), labeler_agreement(two)),
        (labeler_agreement(one, cluster="both"), labeler_agreement(two, cluster="both")),
        (ensemble_agreement(one, minimum=2), ensemble_agreement(two, minimum=2)),
    ):
        np.testing.assert_allclose(a[:7], b[:7], atol=1e-9)
    tables = [
        agreement_matrix(v, {"m": [lengths[r[1]] - lengths[r[2]] for r in data]}, minimum=2)
        for v, data in ((one, rows), (two, turned))
    ]
    columns = ["value", "se", "n", "tied"]
    np.testing.assert_allclose(tables[0][columns], tables[1][columns], atol=1e-9)


def test_one_person_twice_is_no_pair() -> None:
    rows: list[Row] = [("p", "x", "y", 0.0, "ann"), ("p", "x", "y", 1.0, "ann")]
    assert math.isnan(labeler_agreement(votes_of(rows)).value)
    # Both of ann's answers meet bob's: one agrees, one does not.
    found = labeler_agreement(votes_of([*rows, ("p", "x", "y", 0.0, "bob")]))
    assert (found.value, found.n) == (0.5, 2)


def test_clustered_by_labeler_against_the_sum_over_pairs_of_pairs() -> None:
    # Definition, for people who all met equally often: sum e e' over pairs of pairs that share a
    # person, times G(G-1) / ((G-2)(G-3)).
    rng = np.random.default_rng(5)
    people, items = 6, 40
    first = rng.random((items, people)) < np.linspace(0.4, 0.9, people)
    rows: list[Row] = [
        (str(i), "x", "y", float(not first[i, j]), f"l{j}")
        for i in range(items)
        for j in range(people)
    ]
    pairs = listed_pairs(rows)
    value = np.mean([agree for agree, *_ in pairs])
    by_two: dict[frozenset[str], float] = defaultdict(float)
    for agree, _, two in pairs:
        by_two[two] += (agree - value) / len(pairs)
    total = sum(x * y for a, x in by_two.items() for b, y in by_two.items() if a & b)
    found = labeler_agreement(votes_of(rows), cluster="labeler")
    assert found.se == pytest.approx(math.sqrt(total * 6 * 5 / (4 * 3)), rel=1e-9)
    assert found.n_clusters == 6
    assert found.method == "dyadic-robust by labeler, t(5)"


def test_clustered_both_ways_against_the_sum_over_pairs_of_pairs() -> None:
    rng = np.random.default_rng(6)
    people, posts = 6, 12
    skill, hard = np.linspace(0.1, 1.0, people), rng.uniform(0, 1, posts)
    rows: list[Row] = [
        (f"p{i // 2}", "x", f"y{i % 2}", float(rng.random() > 0.5 + 0.5 * skill[j] * hard[i // 2]),
         f"l{j}")
        for i in range(2 * posts)
        for j in range(people)
    ]  # fmt: skip
    pairs = listed_pairs(rows)
    value = np.mean([agree for agree, *_ in pairs])
    e = [((agree - value) / len(pairs), post, two) for agree, post, two in pairs]
    person = post = shared = 0.0
    for x, p, a in e:
        for y, q, b in e:
            person += x * y * bool(a & b)
            post += x * y * (p == q)
            shared += x * y * (bool(a & b) and p == q)
    # Equal posts: G/(G-1), G = 12; equal people: 30/12, at least the variance with the 15 pairs of
    # people as units. The middle term is what both count.
    two_by_two: dict[frozenset[str], float] = defaultdict(float)
    for x, _, two in e:
        two_by_two[two] += x
    floor = sum(x * x for x in two_by_two.values()) * 15 / 14
    by_post, by_person = post * 12 / 11, max(person * 30 / 12, floor)
    expected = max(by_post + by_person - shared, by_post, by_person)
    found = labeler_agreement(votes_of(rows), cluster="both")
    assert found.se == pytest.approx(math.sqrt(expected), rel=1e-9)


@pytest.mark.parametrize("cluster", ["post", "labeler", "both"])
def test_full_agreement_has_no_error_of_zero(cluster: str) -> None:
    rows: list[Row] = [(str(i), "x", "y", 0.0, f"l{j}") for i in range(9) for j in range(6)]
    found = labeler_agreement(votes_of(rows), cluster=cluster)  # type: ignore[arg-type]
    assert found.value == 1.0
    assert math.isnan(found.se)
    assert "agree" in found.method


def test_bootstrap_is_near_the_robust_error(rng: np.random.Generator) -> None:
    rows: list[Row] = [
        (str(i // 6), "x", f"y{i // 3}", float(rng.random() < 0.3), f"l{i % 3}") for i in range(900)
    ]
    robust = labeler_agreement(votes_of(rows))
    again = labeler_agreement(votes_of(rows), interval="bootstrap", rng=rng)
    assert again.value == robust.value
    assert again.se == pytest.approx(robust.se, rel=0.08)
    assert "bootstrap by post, 2000 resamples" in again.method


# Five people on one comparison: x x x y y.
FIVE: list[Row] = [("p", "x", "y", float(i > 2), f"l{i}") for i in range(5)]


def test_ensemble_leaves_the_predicted_labeler_out() -> None:
    # For a voter of x the others are x x y y, evenly split, left out; for one of y they are
    # x x x y: majority x, no agreement. 0 of 2.
    found = ensemble_agreement(votes_of(FIVE))
    assert (found.value, found.n) == (0.0, 2)
    # With a sixth, x: four voters of x face x x x y y, yes; two of y face x x x x y, no. 4 of 6.
    found = ensemble_agreement(votes_of([*FIVE, ("p", "y", "x", 1.0, "l5")]))
    assert (found.value, found.n) == (4 / 6, 6)


def test_ensemble_needs_enough_people() -> None:
    three = FIVE[1:4]  # x x y
    found = ensemble_agreement(votes_of(three))
    assert math.isnan(found.value)
    assert found.n == 0
    assert found.method == "undefined: no comparison has 3 labelers beside one"
    # minimum=2: voters of x face x y, left out; that of y faces x x, no.
    found = ensemble_agreement(votes_of(three), minimum=2)
    assert (found.value, found.n) == (0.0, 1)
    # A labeler who answered three times is still one labeler.
    thrice = [("p", "x", "y", 0.0, "ann")] * 3 + [("p", "x", "y", 0.0, "bob")]
    assert math.isnan(ensemble_agreement(votes_of(thrice), minimum=2).value)  # type: ignore[arg-type]


def test_sign_agreement_ties_and_unknowns() -> None:
    one, two = [1.0, -2, 0, 3, np.nan, 0], [2.0, 1, 1, 1, 1, 0]
    # agree, disagree, tie, agree, unknown, tie: (1 + 0 + .5 + 1 + .5) / 5, or 2 / 3 without ties.
    assert sign_agreement(one, two, None).value == pytest.approx(3 / 5)
    assert sign_agreement(one, two, None).n == 5
    dropped = sign_agreement(one, two, None, ties="drop")
    assert (dropped.value, dropped.n) == (pytest.approx(2 / 3), 3)
    assert sign_agreement([0.0], [1.0], None, ties="drop").method.startswith("undefined: no row")


def test_matrix_by_hand() -> None:
    rows: list[Row] = [
        *(("p", "x", "yy", 0.0, who) for who in "abc"),  # x: shorter
        ("q", "xx", "y", 0.0, "a"),  # longer
        ("q", "y", "xx", 0.0, "b"),  # y: shorter
        ("r", "x", "y", 0.0, "a"),  # equal length
    ]
    length = [len(left) - len(right) for _, left, right, *_ in rows]
    table = agreement_matrix(votes_of(rows), {"long": length, "short": [-x for x in length]})
    cell = {(r["row"], r["column"]): r for r in table.to_dict("records")}
    # labeler-labeler: three pairs on p agree, one on q does not.
    assert cell[LABELER, LABELER]["value"] == 3 / 4
    # long against votes: no no no, yes, no, tie as half: 1.5 / 6.
    assert cell[LABELER, "long"]["value"] == pytest.approx(1.5 / 6)
    assert cell["long", LABELER]["tied"] == 1
    # against the ensemble: p alone has three labelers; x is not the longer.
    assert (cell[ENSEMBLE, "long"]["value"], cell[ENSEMBLE, "long"]["n"]) == (0.0, 1)
    assert cell[ENSEMBLE, "short"]["value"] == 1.0
    # each comparison once: opposite on p and q, both tied on r.
    assert cell["long", "short"]["value"] == pytest.approx(0.5 / 3)
    assert cell["short", "long"]["n"] == 3
    assert ("long", "long") not in cell
    assert (ENSEMBLE, ENSEMBLE) not in cell
    assert math.isnan(cell[ENSEMBLE, LABELER]["value"])


def test_votes_without_a_labeler_face_metrics_only() -> None:
    rows: list[Row] = [("p", "x", "yy", 0.0, None), ("p", "x", "yy", 0.0, None)]
    table = agreement_matrix(votes_of(rows), {"long": [-1.0, -1.0]}).set_index(["row", "column"])
    assert math.isnan(table.loc[(LABELER, LABELER), "value"])
    assert table.loc[(LABELER, "long"), "n"] == 2


def test_without_posts_the_texts_are_the_cluster() -> None:
    votes = collect_votes(["x", "y", "x"], ["y", "x", "z"], [0, 1, 0], labeler=["a", "b", "a"])
    assert votes.items == 2
    assert votes.post[0] == votes.post[1] != votes.post[2]
    assert labeler_agreement(votes).value == 1.0


def rate(value: float, se: float, n_clusters: int = 100) -> Estimate:
    return Estimate(value, se, 0, 1, 0.95, 1000, n_clusters, "given")


def test_disattenuation_inverts_the_noise_model() -> None:
    # q = .9: labelers agree .81 + .01 = .82; a predictor right .8 of the time: .8 x .9 + .2 x .1.
    found = disattenuate(rate(0.74, 0.0), rate(0.82, 0.0))
    assert found.value == pytest.approx(0.8, abs=1e-12)
    # By numerical derivatives of c = (p - (1-q)) / (2q - 1), q = (1 + sqrt(2a - 1)) / 2.

    def corrected(p: float, a: float) -> float:
        q = (1 + math.sqrt(2 * a - 1)) / 2
        return (p - (1 - q)) / (2 * q - 1)

    h = 1e-6
    d_p = (corrected(0.74 + h, 0.82) - corrected(0.74 - h, 0.82)) / (2 * h)
    d_a = (corrected(0.74, 0.82 + h) - corrected(0.74, 0.82 - h)) / (2 * h)
    found = disattenuate(rate(0.74, 0.02), rate(0.82, 0.03, 9))
    assert found.se == pytest.approx(math.hypot(0.02 * d_p, 0.03 * d_a), rel=1e-6)
    assert found.n_clusters == 9


@pytest.mark.parametrize("agreement", [0.5, 0.3])
def test_disattenuation_is_undefined_at_chance(agreement: float) -> None:
    found = disattenuate(rate(0.6, 0.01), rate(agreement, 0.01))
    assert math.isnan(found.value)
    assert found.method == "undefined: labelers agree no better than chance"


def test_disattenuation_of_nothing_is_nothing() -> None:
    found = disattenuate(rate(0.6, 0.01), undefined("none"))
    assert math.isnan(found.value)
    assert found.method == "undefined: no agreement to start from"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda v: collect_votes(["x"], ["y", "z"], [0]), "right_text has 2 rows, choice has 1"),
        (lambda v: collect_votes(["x"], ["y"], [2]), r"choice is 2; allowed 0\.\.1"),
        (lambda v: labeler_agreement(v, cluster="page"), "cluster is 'page'; allowed 'post', 'la"),
        (
            lambda v: labeler_agreement(v, cluster="both", interval="bootstrap"),
            "interval 'bootstrap' by both; allowed with cluster='post'",
        ),
        (lambda v: labeler_agreement(v, interval="bootstrap"), "has no rng"),
        (lambda v: ensemble_agreement(v, minimum=0), "minimum is 0; allowed 1 or more"),
        (lambda v: sign_agreement([1.0], [1.0], None, ties="all"), "ties is 'all'; allowed 'half'"),
    ],
)
def test_errors_name_what_is_allowed(call, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(StatisticsError, match=text):
        call(votes_of(ROWS))


@pytest.mark.parametrize("cluster", ["post", "labeler", "both"])
def test_a_crowd_on_one_comparison_is_counted_not_listed(rng, cluster):
    # 300,000 answers to one question would be 4e10 pairs. Half of eight people say each:
    # m = 37,500 votes a person, pairs of different people 28 m^2, agreeing 2 x 6 m^2.
    n = 300_000
    votes = collect_votes(
        ["yes"] * n, ["no"] * n, np.arange(n) % 8 % 2, labeler=[f"w{i % 8}" for i in range(n)]
    )
    got = labeler_agreement(votes, cluster=cluster)
    assert got.n == 28 * 37_500**2
    assert got.value == pytest.approx(12 / 28, rel=1e-12)
