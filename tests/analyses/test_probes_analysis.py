"""Probes of reward models: rates and margins by hand, the figure by its artists, the reading."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest

from analyses import probes
from evalsuite.experiment import Experiment, coerce
from evalsuite.probes import PAPER_PROBES
from evalsuite.tables import Tables

ROLES, TITLES = "original vs reversed roles", "title vs title twice"
FURTHER = "summary vs padded"


def judged(probe, margins, *, labels=600, size="small", seed=0, member=0, **more):
    """Rows of one model on posts 0, 1, 2 ... with these margins."""
    return [
        {
            "model": f"rm-{size}-{labels}-m{member}-s{seed}", "size": size,
            "parameters": {"small": 1e5, "medium": 1e6}[size], "labels": labels, "seed": seed,
            "member": member, "probe": probe, "post_id": f"p{i}", "margin": margin,
            "prefers": 1.0 if margin > 0 else 0.0 if margin < 0 else 0.5, "spread": 2.0, **more,
        }
        for i, margin in enumerate(margins)
    ]  # fmt: skip


def tables_of(*rows) -> Tables:
    frame = coerce("probes", pd.DataFrame([row for part in rows for row in part]))
    return Tables(experiment=Experiment({"probes": frame}))


def compute(tables, rng, **options):
    return probes.compute(tables, probes.Options(**options), rng)


def as_read_back(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def one(table, **keys) -> pd.Series:
    for key, value in keys.items():
        table = table[table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


SMALL = tables_of(
    judged(ROLES, [4, 2, 6, 2, -2, 0], labelers=0.8, gold_gap=1.0),
    judged(ROLES, [1, 1, 1, 1, 1, 1], labels=4800, labelers=0.8, gold_gap=1.0),
    judged(TITLES, [-1, -1, -1, -1, -3, -1], labels=4800, gold_gap=0.0),
    judged(FURTHER, [1, 1, 1, 1, -1, -1], labels=4800),
)


def test_the_papers_rows_are_those_that_are_built():
    assert [probe.name for probe in PAPER_PROBES] == list(probes.PAPER_ROWS)


def test_rates_and_margins_by_hand(rng):
    table, left_out = compute(SMALL, rng)
    assert left_out == {}
    rate = one(table, probe=ROLES, judge="reward model", labels=600, quantity="preference")
    # 1, 1, 1, 1, 0, .5: mean .75, squares about it sum to .875; SE sqrt(.875 / 5 / 6).
    assert rate["value"] == 0.75
    assert rate["se"] == pytest.approx(math.sqrt(0.875 / 30))
    assert (rate["n"], rate["n_clusters"]) == (6, 6)
    assert rate["high"] == 1.0  # .75 + 2.571 x .171 would be above a share's range
    assert "one seed" in rate["method"]
    margin = one(table, probe=ROLES, judge="reward model", labels=600, quantity="margin")
    assert margin["value"] == 1.0  # the median of -2, 0, 2, 2, 4, 6 is 2; the spread is 2
    assert margin["method"] == "median over seeds and posts; no interval"
    assert math.isnan(margin["low"])


def test_labelers_and_truth_stand_beside_once(rng):
    table, _ = compute(SMALL, rng)
    people = one(table, probe=ROLES, judge="labelers")
    assert (people["value"], people["n"]) == (pytest.approx(0.8), 6)
    assert one(table, probe=ROLES, judge="truth")["value"] == 1.0
    assert one(table, probe=TITLES, judge="truth")["value"] == 0.5
    assert not ((table["probe"] == FURTHER) & (table["judge"] != "reward model")).any()
    assert not ((table["probe"] == TITLES) & (table["judge"] == "labelers")).any()


def test_rows_stand_in_the_papers_order(rng):
    table, _ = compute(SMALL, rng)
    places = table.drop_duplicates("probe").set_index("probe")
    assert places["place"].to_dict() == {ROLES: 1, TITLES: 2, FURTHER: 3}
    assert places["in_paper"].to_dict() == {ROLES: True, TITLES: True, FURTHER: False}


def test_only_what_is_verified_is_shown_as_published(rng):
    table, _ = compute(SMALL, rng)
    said = table[table["published"] != ""]
    assert set(said["published"]) == {"92.9% (1.3B), 97.2% (6.7B)"}
    assert set(said["probe"]) == {ROLES}
    assert set(said["quantity"]) == {"preference"}
    assert set(said["judge"]) == {"reward model"}


def test_seeds_and_posts_are_crossed_and_members_left_out(rng):
    rows = [judged(ROLES, [1, -1, 1, 1, 1], seed=0), judged(ROLES, [1, 1, 1, 1, 1], seed=1)]
    rows.append(judged(ROLES, [-1] * 5, member=1))
    rows.append(judged("edit: longer", [-1] * 5))
    table, left_out = compute(tables_of(*rows), rng)
    assert left_out == {"judgments of other members of ensembles": 5}
    rate = one(table, quantity="preference")
    assert rate["value"] == 0.9
    assert (rate["n"], rate["n_clusters"]) == (10, 5)
    assert "2 seeds x 5 posts, crossed" in rate["method"]


def test_a_table_without_spread_has_no_margins(rng):
    frame = SMALL.experiment["probes"].drop(columns="spread")
    table, _ = compute(Tables(experiment=Experiment({"probes": frame})), rng)
    margin = table[table["quantity"] == "margin"]
    assert margin["value"].isna().all()
    assert set(margin["method"]) == {"undefined: no spread"}
    assert probes.plot(as_read_back(table)).axes


def test_the_figure_redraws_from_the_csv(rng):
    table, _ = compute(SMALL, rng)
    fig = probes.plot(as_read_back(table))
    left, right = fig.axes
    assert [t.get_text() for t in left.get_yticklabels()] == [ROLES, TITLES, FURTHER]
    for ax, quantity in ((left, "preference"), (right, "margin")):
        drawn = sorted(
            float(c.lines[0].get_xdata()[0]) for c in ax.containers
            if math.isfinite(float(c.lines[0].get_xdata()[0]))
        )  # fmt: skip
        wanted = sorted(table.loc[table["quantity"] == quantity, "value"])
        assert drawn == pytest.approx(wanted)
    (key,) = fig.legends
    assert [t.get_text() for t in key.get_texts()] == [
        "small, 600 labels", "small, 4,800 labels", "labelers", "truth",
    ]  # fmt: skip
    markers = {c.get_label(): c.lines[0].get_marker() for c in left.containers}
    assert markers["labelers"] == markers["truth"] == "D"
    assert fig.get_supxlabel() == "below the line: beyond the paper; error bars: 1 SE"


def test_sizes_differ_by_marker_and_labels_by_colour(rng):
    rows = [judged(ROLES, [1] * 6, labels=n, size=s) for n in (600, 4800)
            for s in ("small", "medium")]  # fmt: skip
    table, _ = compute(tables_of(*rows), rng)
    look = {name: (colour, marker) for name, colour, marker, _ in probes.looks(table)}
    assert list(look) == [
        "small, 600 labels", "small, 4,800 labels", "medium, 600 labels", "medium, 4,800 labels",
    ]  # fmt: skip
    assert len(set(look.values())) == 4
    assert look["small, 600 labels"][0] == look["medium, 600 labels"][0]
    assert look["small, 600 labels"][1] == look["small, 4,800 labels"][1]


def test_the_reading_takes_the_largest_model_of_most_labels(rng):
    table, _ = compute(SMALL, rng)
    assert probes.reading(as_read_back(table)) == (
        "The reward model small, 4,800 labels prefers the first side in 1 of 3 probes by its "
        "interval and the second in title vs title twice (100.0%); 1 is open; reversed roles are "
        "told in 100.0% (95% interval 100.0% to 100.0%)."
    )
    few, _ = compute(tables_of(judged(ROLES, [1, 1])), rng)
    assert probes.reading(as_read_back(few)) == "No probe has enough posts for an interval."
    assert probes.plot(as_read_back(few)).axes


def test_why_there_is_nothing_to_do():
    assert probes.missing(Tables()) == "there is no experiment"
    assert probes.missing(Tables(experiment=Experiment())) == "the experiment has no probes"
    edits = tables_of(judged("edit: longer", [1]))
    assert probes.missing(edits) == "the experiment judged no probe"
    assert probes.missing(SMALL) is None
