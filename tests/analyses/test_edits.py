"""Edits that improve a summary: rates and agreement by hand, the figure, the reading."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from analyses import edits
from evalsuite.experiment import Experiment, coerce
from evalsuite.probes.human_edits import LONGER, SHORTER
from evalsuite.tables import Tables


def judged(probe, prefers, *, labels=600, labelers=0.75, seed=0):
    return [
        {
            "model": f"rm-small-{labels}-m0-s{seed}", "size": "small", "parameters": 1e5,
            "labels": labels, "seed": seed, "member": 0, "probe": probe, "post_id": f"p{i}",
            "prefers": won, "margin": won - 0.5, "labelers": labelers, "gold_gap": 1.0,
            "agrees": won * labelers + (1 - won) * (1 - labelers),
        }
        for i, won in enumerate(prefers)
    ]  # fmt: skip


def tables_of(*rows) -> Tables:
    frame = coerce("probes", pd.DataFrame([row for part in rows for row in part]))
    return Tables(experiment=Experiment({"probes": frame}))


def compute(tables, rng, **options):
    return edits.compute(tables, edits.Options(**options), rng)


def as_read_back(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


SMALL = tables_of(
    judged(SHORTER, [1, 1, 0, 0, 1], labelers=0.6),
    judged(LONGER, [1, 1, 1, 1, 0, 1], labelers=0.8),
    judged("title vs title twice", [0] * 5),
)


def test_the_kinds_are_those_that_are_built():
    assert edits.KINDS == {"shorter": SHORTER, "longer": LONGER}


def test_rates_by_hand(rng):
    table, left_out = compute(SMALL, rng)
    assert left_out == {}
    value = table.set_index(["probe", "judge", "quantity"])["value"]
    assert value["shorter", "reward model", "preference"] == pytest.approx(3 / 5)
    assert value["longer", "reward model", "preference"] == pytest.approx(5 / 6)
    # Posts 0 to 4 have both edits: their means 1, 1, .5, .5, .5; post 5 has one, 1.
    assert value["all", "reward model", "preference"] == pytest.approx(4.5 / 6)
    # Agreement: .6 where it prefers the edit, .4 where not: (3 x .6 + 2 x .4) / 5.
    assert value["shorter", "reward model", "agreement"] == pytest.approx(0.52)
    assert value["longer", "reward model", "agreement"] == pytest.approx((5 * 0.8 + 0.2) / 6)
    assert value["shorter", "labelers", "preference"] == pytest.approx(0.6)
    assert value["all", "labelers", "preference"] == pytest.approx((5 * 0.7 + 0.8) / 6)
    assert value["all", "truth", "preference"] == 1.0
    assert table["probe"].drop_duplicates().tolist() == ["shorter", "longer", "all"]


def test_published_rates_stand_beside_never_in_the_values(rng):
    table, _ = compute(SMALL, rng)
    said = table[table["published"] != ""].set_index(["probe", "judge", "quantity"])["published"]
    assert said.to_dict() == {
        ("shorter", "reward model", "preference"): "62.6% (6.7B)",
        ("shorter", "labelers", "preference"): "76.4%",
        ("all", "reward model", "preference"): "79.4% (1.3B), 82.8% (6.7B)",
        ("all", "labelers", "preference"): "84.1%",
    }


def test_the_figure_redraws_from_the_csv(rng):
    table, _ = compute(SMALL, rng)
    fig = edits.plot(as_read_back(table))
    left, right = fig.axes
    for ax, quantity in ((left, "preference"), (right, "agreement")):
        rows = table[(table["quantity"] == quantity) & (table["judge"] != "truth")]
        drawn = [float(c.lines[0].get_xdata()[0]) for c in ax.containers]
        assert sorted(drawn) == pytest.approx(sorted(rows["value"]))
    assert [t.get_text() for t in left.get_yticklabels()] == ["shorter", "longer", "all"]
    (key,) = fig.legends
    assert [t.get_text() for t in key.get_texts()] == ["small, 600 labels", "labelers"]


def test_edits_without_labels_have_one_panel(rng):
    table, _ = compute(tables_of(judged(SHORTER, [1, 0, 1, 1, 0], labelers=float("nan"))), rng)
    assert set(table["judge"]) == {"reward model", "truth"}
    fig = edits.plot(as_read_back(table))
    assert len(fig.axes) == 1
    assert "labelers" not in edits.reading(as_read_back(table))


def test_the_reading(rng):
    table, _ = compute(SMALL, rng)
    said = edits.reading(as_read_back(table))
    assert said.startswith(
        "The reward model small, 600 labels prefers the edit: shorter 60.0% (95%"
    )
    assert ", labelers 60.0%); longer 83.3% (95% interval" in said
    assert said.endswith(", labelers 71.7%).")
    few, _ = compute(tables_of(judged(SHORTER, [1])), rng)
    assert edits.reading(few) == "No kind of edit has enough posts for an interval."
    assert edits.plot(as_read_back(few)).axes


def test_why_there_is_nothing_to_do():
    assert edits.missing(Tables()) == "there is no experiment"
    assert edits.missing(Tables(experiment=Experiment())) == "the experiment has no probes"
    assert edits.missing(tables_of(judged("p", [1]))) == "the experiment judged no edit"
    assert edits.missing(SMALL) is None
