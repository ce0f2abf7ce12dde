"""Labels beside their points: lines are named at their ends, dots where they are, without a legend.

The reader wants labels placed otherwise. The ways to place one (`_DIRECTIONS`, `_RINGS`) and the
prices of a bad place may be changed; that labels do not overlap, and keep off the marks they are
told to avoid, is held by tests/report/test_labels.py. Analyses use this through `report.style`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Transform
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from evalsuite.report.looks import INK, SMALL

Floats = NDArray[np.float64]

_RINGS = ((0.0, 0.0), (4.0, 1.5), (10.0, 4.0), (18.0, 8.0), (28.0, 14.0))
"""Points further from the mark than `gap`, and the price of it."""
_DIRECTIONS = (
    (1, 0, 0.0), (-1, 0, 0.3), (1, 1, 0.4), (1, -1, 0.4), (-1, 1, 0.6), (-1, -1, 0.6),
    (0, 1, 0.5), (0, -1, 0.5),
)  # fmt: skip
"""Right of the mark, left, above on the right ..., and the price of each."""
_ON_MARK, _ON_LABEL, _OUT_OF_AXES, _OUT_OF_FIGURE = 0.5, 40.0, 12.0, 200.0
_STEP = 2.0  # points between the places on a line that a label keeps off
_LED = 2  # from this ring on a leader line says whose label it is


def spread(positions: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """Positions at least `gap` apart, in the same order, moved as little as can be.

    Least squares under y[i+1] - y[i] >= gap is isotonic regression of y[i] - i * gap.
    """
    wanted = np.asarray(positions, dtype=float)
    if wanted.size < 2:
        return wanted.copy()
    ranks = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(wanted.size)
    placed = np.empty_like(wanted)
    placed[ranks] = isotonic_regression(wanted[ranks] - steps).x + steps
    return placed


def label_directly(
    ax: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    labels: Sequence[str],
    colours: Sequence[str] | str = INK,
    *,
    size: float = SMALL,
    gap: float = 5.0,
    side: Literal["right", "left"] = "right",
    keep_off: bool = False,
) -> None:
    """Write each label beside its point (line ends, dots), moved until none overlap.

    gap: points between mark and text. Call it last, when limits and scales are set. Labels
    that had to move far get thin leader lines. Points that are not finite get no label.
    keep_off: labels go to any side of their points, off the marks and lines of the axes as far
    as can be, with a white edge; without it they stay on `side` and move up or down only.
    """
    keep = [i for i in range(len(labels)) if math.isfinite(xs[i]) and math.isfinite(ys[i])]
    if not keep:
        return
    fig = ax.get_figure(root=True)
    assert fig is not None
    shades = [colours if isinstance(colours, str) else colours[i] for i in keep]
    if keep_off:
        _keep_off(ax, [xs[i] for i in keep], [ys[i] for i in keep], [labels[i] for i in keep],
                  shades, size, gap)  # fmt: skip
        return
    sign, ha = (1, "left") if side == "right" else (-1, "right")
    texts = [
        ax.annotate(
            labels[i], (xs[i], ys[i]), xytext=(sign * gap, 0), textcoords="offset points",
            ha=ha, va="center", fontsize=size, color=shade, annotation_clip=False,
            fontfamily="DejaVu Sans",
        )
        for i, shade in zip(keep, shades, strict=True)
    ]  # fmt: skip
    fig.draw_without_rendering()  # the layout decides where the points are
    boxes = [text.get_window_extent() for text in texts]
    points = 72 / fig.dpi
    heights = np.array([(box.y0 + box.y1) / 2 for box in boxes]) * points
    for group in _overlapping([(box.x0, box.x1) for box in boxes]):
        moved = spread(heights[group], size * 1.15) - heights[group]
        led = np.abs(moved).max() > 0.8 * size  # leader lines for all of a group or for none
        for i, shift in zip(group, moved, strict=True):
            texts[i].set_position((sign * (gap + (6 if led else 0)), float(shift)))
            if led:
                ax.annotate(
                    "", texts[i].xy, xytext=(sign * (gap + 5), float(shift)),
                    textcoords="offset points",
                    arrowprops={"arrowstyle": "-", "lw": 0.5, "color": shades[i], "shrinkB": 3},
                    annotation_clip=False,
                )  # fmt: skip


def _keep_off(
    ax: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    labels: Sequence[str],
    colours: Sequence[str],
    size: float,
    gap: float,
) -> None:
    """Each label at the cheapest of its places, the others given, until none moves."""
    fig = ax.get_figure(root=True)
    assert fig is not None
    look: dict[str, Any] = {
        "ha": "center", "va": "center", "fontsize": size, "fontfamily": "DejaVu Sans",
        "textcoords": "offset points", "annotation_clip": False,
        "path_effects": [withStroke(linewidth=1.8, foreground="white")], "zorder": 5,
    }  # fmt: skip
    texts = [
        ax.annotate(label, (x, y), xytext=(0, 0), color=colour, **look)
        for label, x, y, colour in zip(labels, xs, ys, colours, strict=True)
    ]
    for text in texts:
        text.set_in_layout(False)
    fig.draw_without_rendering()  # the layout decides where the points are
    dots = fig.dpi / 72
    sizes = np.array([(b.width, b.height) for b in (t.get_window_extent() for t in texts)]) / dots
    marks = ax.transData.transform(np.column_stack([xs, ys])) / dots
    obstacles = _obstacles(ax, dots)
    limits = [
        (np.array(box.extents) / dots, price)
        for box, price in ((ax.bbox, _OUT_OF_AXES), (fig.bbox, _OUT_OF_FIGURE))
    ]
    places = [
        _places(mark, box, gap, obstacles, limits)
        for mark, box in zip(marks, sizes, strict=True)
    ]  # fmt: skip
    chosen = [int(np.argmin(prices)) for _, prices in places]
    for _ in range(8):
        before = list(chosen)
        for i, (boxes, prices) in enumerate(places):
            others = [places[j][0][chosen[j]] for j in range(len(places)) if j != i]
            extra = sum(
                (_touch(boxes, other) * _ON_LABEL for other in others), np.zeros(len(boxes))
            )
            chosen[i] = int(np.argmin(prices + extra))
        if chosen == before:
            break
    for i, text in enumerate(texts):
        low_x, low_y, high_x, high_y = box = places[i][0][chosen[i]]
        centre = np.array([low_x + high_x, low_y + high_y]) / 2 - marks[i]
        text.set_position((float(centre[0]), float(centre[1])))
        if chosen[i] // len(_DIRECTIONS) >= _LED:
            near = np.clip(marks[i], box[:2], box[2:]) - marks[i]
            ax.annotate(
                "", (xs[i], ys[i]), xytext=(float(near[0]), float(near[1])),
                textcoords="offset points", annotation_clip=False,
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colours[i], "shrinkA": 0,
                            "shrinkB": 3},
            ).set_in_layout(False)  # fmt: skip


def _places(
    mark: Floats,
    size: Floats,
    gap: float,
    obstacles: Floats,
    limits: Sequence[tuple[Floats, float]],
) -> tuple[Floats, Floats]:
    """Boxes (x0, y0, x1, y1) where a label may stand and their prices, ring after ring; points."""
    boxes, prices = [], []
    for ring, far in _RINGS:
        for x, y, dear in _DIRECTIONS:
            reach = (gap + ring) * (0.75 if x and y else 1.0)
            centre = mark + np.array([x, y]) * (size / 2 + reach * np.array([1.0, 0.6]))
            if x and y:  # the corner points at the mark
                centre[1] = mark[1] + y * (size[1] / 2 + 0.4 * reach)
            boxes.append([*(centre - size / 2), *(centre + size / 2)])
            prices.append(far + dear)
    places, cost = np.array(boxes), np.array(prices)
    inside = (
        (obstacles[None, :, :] > places[:, None, :2] - 0.5)
        & (obstacles[None, :, :] < places[:, None, 2:] + 0.5)
    ).all(axis=2)
    cost += _ON_MARK * inside.sum(axis=1)
    for box, price in limits:
        out = (places[:, :2] < box[:2]).any(axis=1) | (places[:, 2:] > box[2:]).any(axis=1)
        cost += price * out
    return places, cost


def _obstacles(ax: Axes, dots: float) -> Floats:
    """Places, in points, that marks, lines and error bars of the axes take."""
    found = [np.empty((0, 2))]
    for line in ax.lines:
        corners = _corners(line.get_path(), line.get_transform()) / dots
        if line.get_linestyle() != "None" and line.get_linewidth() > 0:
            found.append(_along(corners))
        if line.get_marker() not in ("None", "none", " ", "", None):
            reach = line.get_markersize() / 2 * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
            found += [corners + offset for offset in reach]
    for collection in ax.collections:
        for path in collection.get_paths():
            found.append(_along(_corners(path, collection.get_transform()) / dots))
    return np.concatenate(found)


def _corners(path: Path, to: Transform) -> Floats:
    corners = np.asarray(path.transformed(to).vertices, dtype=np.float64)
    return corners[np.isfinite(corners).all(axis=1)]


def _along(line: Floats) -> Floats:
    """Places on a line, close enough that no label slips between two."""
    if len(line) < 2:
        return line
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.linspace(0.0, lengths[-1], 2 + int(lengths[-1] / _STEP))
    return np.column_stack([np.interp(at, lengths, line[:, k]) for k in (0, 1)])


def _touch(boxes: Floats, other: Floats) -> NDArray[np.bool_]:
    """Which boxes overlap another one, or come within a point of it."""
    near: NDArray[np.bool_] = (boxes[:, :2] < other[2:] + 1) & (boxes[:, 2:] > other[:2] - 1)
    return np.logical_and(near[:, 0], near[:, 1])


def _overlapping(spans: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Indices of spans grouped so that spans of different groups do not touch."""
    groups: list[list[int]] = []
    end = -math.inf
    for i in sorted(range(len(spans)), key=lambda i: spans[i]):
        if spans[i][0] > end:
            groups.append([])
        groups[-1].append(i)
        end = max(end, spans[i][1])
    return groups
