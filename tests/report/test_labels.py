"""Labels stand beside their points, never on one another, and off the marks they are told to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evalsuite.report import style


def test_spread_by_hand() -> None:
    # Two at one place part by half the gap each; one far off stays; three centre on their mean.
    assert style.spread([1.0, 1.0], 2.0).tolist() == [0.0, 2.0]
    assert style.spread([5.0, 0.0], 2.0).tolist() == [5.0, 0.0]
    assert style.spread([0.0, 0.0, 3.0], 2.0) == pytest.approx([-1.0, 1.0, 3.0])
    assert style.spread([0.0, 1.0, 2.0], 2.0) == pytest.approx([-1.0, 1.0, 3.0])
    assert style.spread([7.0], 2.0).tolist() == [7.0]


@given(st.lists(st.floats(-100, 100), max_size=12), st.floats(0.1, 10))
def test_spread_keeps_order_gap_and_mean(positions: list[float], gap: float) -> None:
    placed = style.spread(positions, gap)
    order = np.argsort(positions, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    if positions:
        assert placed.mean() == pytest.approx(np.mean(positions), abs=1e-9)


def boxes(fig: Figure) -> list[tuple[float, float, float, float]]:
    fig.draw_without_rendering()
    texts = [t for ax in fig.axes for t in ax.texts if t.get_text()]
    return [tuple(t.get_window_extent().extents) for t in texts]


@pytest.mark.parametrize("side", ["right", "left"])
def test_direct_labels_do_not_overlap(side: str) -> None:
    fig, ax = style.figure("single", 2.5)
    ys = [0.5, 0.5, 0.51, 0.505, 0.9, math.nan]
    ax.plot([0, 1], [0, 1])
    style.label_directly(ax, [1] * 6, ys, [f"label {i}" for i in range(6)], side=side)  # type: ignore[arg-type]
    found = boxes(fig)
    assert len(found) == 5
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_labels_apart_stay_at_their_points() -> None:
    fig, ax = style.figure("single", 2.5)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    style.label_directly(ax, [0.1, 0.6], [0.5, 0.5], ["a", "b"], ["red", "blue"])
    assert [t.get_position() for t in ax.texts] == [(5.0, 0.0), (5.0, 0.0)]
    assert [t.get_color() for t in ax.texts] == ["red", "blue"]
    style.label_directly(ax, [], [], [])
    assert len(boxes(fig)) == 2


# --- off the marks ---------------------------------------------------------------------------


def scatter(points: list[tuple[float, float]]) -> tuple[Figure, Axes]:
    fig, ax = style.figure("single", 2.5)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    for x, y in points:
        ax.errorbar([x], [y], yerr=[0.08], marker="o", ms=4, lw=0, elinewidth=1)
    return fig, ax


def apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_labels_keep_off_marks_lines_and_one_another() -> None:
    """A line runs to the right through every point, so no label may stand there."""
    points = [(0.5, 0.5), (0.52, 0.5), (0.5, 0.8), (0.95, 0.2)]
    fig, ax = scatter(points)
    for x, y in points:
        ax.plot([x, 1.0], [y, y])
    labels = ["first label", "second label", "third", "last at the edge"]
    style.label_directly(ax, *zip(*points, strict=True), labels, keep_off=True)
    found = boxes(fig)
    assert len(found) == 4
    for i, box in enumerate(found):
        assert all(apart(box, other) for other in found[i + 1 :])
        assert box[0] >= ax.bbox.x0
        assert box[2] <= ax.bbox.x1
        for x, y in points:
            dot = ax.transData.transform((x, y))
            assert apart(box, (*dot, *dot))
            end = ax.transData.transform((1.0, y))
            assert apart(box, (*dot, *end))


def test_a_lone_label_stays_on_the_right_and_is_named_once() -> None:
    fig, ax = scatter([(0.2, 0.5)])
    style.label_directly(ax, [0.2, math.nan], [0.5, 0.5], ["a", "b"], "red", keep_off=True)
    (box,) = boxes(fig)
    assert box[0] > ax.transData.transform((0.2, 0.5))[0]
    assert ax.texts[0].get_color() == "red"


def test_a_label_that_had_to_go_far_has_a_leader_line() -> None:
    _, ax = scatter([(0.5, 0.5)])
    x, y = np.meshgrid(np.linspace(0.25, 0.75, 30), np.linspace(0.38, 0.62, 30))
    ax.plot(x.ravel(), y.ravel(), "o", ms=1)
    style.label_directly(ax, [0.5], [0.5], ["far"], keep_off=True)
    assert [t.arrow_patch is not None for t in ax.texts] == [False, True]
