"""How much of the gain of one policy over another is length.

Two answers that hold length equal, both on the posts that both policies summarised:

    bins        the gain among summaries of like length, averaged over lengths (the non-length
                reward gain of Singhal et al.): no model, but blind where lengths do not overlap
    regression  the gain left at equal log length, posts held fixed: uses all posts, but is straight
                in log length, and extrapolates where one policy is always the longer

Both describe and neither blames: longer summaries may be better because they say more, and that
part counts as length too. tests/stats/test_length_share.py compares with naive definitions and
with dummies for posts in statsmodels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Floats
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.stats.replicates import crossed_cells, crossed_statistic, pseudo_values

MIN_ROWS = 5
"""Summaries of each policy, in each seed, that a bin of lengths needs to be compared."""


class LengthShare(NamedTuple):
    """A gain, what is left of it at equal length, and the share that length explains.

    raw: mean gold of the one policy less the other. held_equal: the same at equal length. share:
    1 - held_equal / raw; above 1 where length hides a loss, below 0 where it hides a gain;
    undefined where the interval of raw covers 0, since a share of nothing is noise. slope: gold
    per unit of log length (regression only). covered: share of summaries in lengths that both
    policies write (1 for the regression). left_out: rows of posts that lack a policy or a seed.
    """

    raw: Estimate
    held_equal: Estimate
    share: Estimate
    slope: Estimate
    covered: float
    left_out: int


def length_share_bins(
    gold: ArrayLike,
    length: ArrayLike,
    treated: ArrayLike,
    *,
    seeds: ArrayLike,
    posts: ArrayLike,
    bins: int = 10,
    level: float = 0.95,
) -> LengthShare:
    """Non-length gain: the gain within bins of length, averaged by how many summaries they hold.

    gold, length: (n,), one row a summary, lengths above 0 in any unit. treated: (n,), True for
    the policy whose gain is asked, False for the one it is held against. bins: with equally many
    summaries of both policies together. Bins in which a policy has fewer than `MIN_ROWS` summaries
    in some seed cannot be compared; they are left out and `covered` says how much remains.

    A mean over seeds of a function of means over posts; intervals by leaving posts out, edges of
    bins held fixed. share by the delta method. slope is undefined here.

    Raises StatisticsError on lengths that differ, values that are not finite, lengths not above
    0 or bins below 1. Source: Singhal et al. 2023 (arXiv 2310.03716), section 3.
    """
    if bins < 1:
        raise StatisticsError(f"bins is {bins}; allowed 1 or more")
    rows, left_out = _rows(gold, length, treated, seeds, posts)
    if rows["p"].nunique() < 2:
        return _nothing(level, left_out)
    edges = np.quantile(rows["x"], np.arange(1, bins) / bins)
    rows["bin"] = np.searchsorted(edges, rows["x"], side="right")
    counts = rows.groupby(["s", "t", "bin"]).size().unstack(fill_value=0)
    usable = [int(k) for k in counts.columns if (counts[k] >= MIN_ROWS).all()]
    covered = float(rows["bin"].isin(usable).mean())
    one, other = _sides(rows, rows["y"].to_numpy())
    difference = one - other
    slope = undefined("bins have no slope", level=level)
    if not usable:
        reason = f"no length of which both policies wrote {MIN_ROWS} summaries in each seed"
        none = undefined(reason, level=level, n=len(rows), n_clusters=difference.shape[1])
        gain = crossed_statistic(difference, level=level)
        return LengthShare(gain, none, none, slope, covered, left_out)
    K = len(usable)
    member = rows["bin"].to_numpy()[:, None] == np.array(usable)
    sides = _sides(rows, np.hstack([member, member * rows[["y"]].to_numpy()]))

    def within(m: Floats) -> Floats:
        na, ga, nb, gb = (m[..., K * i : K * (i + 1)] for i in range(4))
        weight = na + nb
        with np.errstate(invalid="ignore", divide="ignore"):
            gains = np.asarray(ga / na - gb / nb)
        return np.asarray((weight * gains).sum(axis=-1) / weight.sum(axis=-1))

    table = np.concatenate(sides, axis=-1)
    value = float(within(table.mean(axis=1, keepdims=True)).mean())
    held = pseudo_values(within, table)
    return _shares(difference, held, value, slope, covered, left_out, level, f"{K} bins")


def length_share_regression(
    gold: ArrayLike,
    length: ArrayLike,
    treated: ArrayLike,
    *,
    seeds: ArrayLike,
    posts: ArrayLike,
    level: float = 0.95,
) -> LengthShare:
    """Gain at equal log length: least squares of gold on policy and log length, posts held fixed.

    Arguments as `length_share_bins`. With two policies on each post, holding posts fixed is the
    regression of differences in gold on differences in log length within posts (rows of one
    policy, seed and post are averaged first); its value at no difference is the gain at equal
    length. Each seed has its own slope; values are means over seeds.

    Undefined at equal length where differences in log length do not vary.

    Raises StatisticsError as `length_share_bins`. Source: Frisch & Waugh 1933; the design is that
    of Stiennon et al. 2020, appendix F, with gold for labels.
    """
    rows, left_out = _rows(gold, length, treated, seeds, posts)
    if rows["p"].nunique() < 2:
        return _nothing(level, left_out)
    one, other = _sides(rows, rows[["y", "x"]].to_numpy())
    gain, longer = np.moveaxis(one - other, -1, 0)
    if (np.ptp(longer, axis=1) < 1e-12).any():
        reason = "differences in log length do not vary"
        none = undefined(reason, level=level, n=len(rows), n_clusters=gain.shape[1])
        raw = crossed_statistic(gain, level=level)
        return LengthShare(raw, none, none, none, 1.0, left_out)

    def line(m: Floats) -> Floats:
        g, x, xx, xg = np.moveaxis(m, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (xg - x * g) / (xx - x**2)
        return np.stack([g - slope * x, slope], axis=-1)

    table = np.stack([gain, longer, longer**2, longer * gain], axis=-1)
    value, steepness = line(table.mean(axis=1, keepdims=True)).mean(axis=(0, 1)).tolist()
    held = pseudo_values(line, table)
    slope = crossed_statistic(held[..., 1], value=steepness, level=level, method="slope")
    words = "at equal log length"
    return _shares(gain, held[..., 0], value, slope, 1.0, left_out, level, words)


def _rows(
    gold: ArrayLike, length: ArrayLike, treated: ArrayLike, seeds: ArrayLike, posts: ArrayLike
) -> tuple[pd.DataFrame, int]:
    """Rows of posts that both policies have in every seed, and how many others there were."""
    columns = {"y": gold, "length": length, "t": treated, "s": seeds, "p": posts}
    sizes = [len(np.asarray(column)) for column in columns.values()]
    if len(set(sizes)) > 1:
        raise StatisticsError(
            "gold, length, treated, seeds and posts have "
            f"{', '.join(map(str, sizes))} rows; allowed one length"
        )
    rows = pd.DataFrame({name: np.asarray(column) for name, column in columns.items()})
    rows = rows.astype({"y": "float64", "length": "float64", "t": "bool"})
    if not (np.isfinite(rows["y"]).all() and np.isfinite(rows["length"]).all()):
        raise StatisticsError("a gold or length is NaN or infinite; allowed finite numbers")
    if not (rows["length"] > 0).all():
        raise StatisticsError("a length is not above 0; allowed positive numbers")
    rows["x"] = np.log(rows["length"])
    cells = rows[["p", "s", "t"]].drop_duplicates().groupby("p").size()
    whole = cells[cells == 2 * rows["s"].nunique()].index
    kept = rows[rows["p"].isin(whole)].reset_index(drop=True)
    return kept, len(rows) - len(kept)


def _sides(rows: pd.DataFrame, values: Floats) -> tuple[Floats, Floats]:
    """Cell means of the treated and of the other policy; the same seeds and posts in both."""
    t = rows["t"].to_numpy()
    one, other = (
        crossed_cells(values[side], seeds=rows["s"][side], posts=rows["p"][side]).values
        for side in (t, ~t)
    )
    return one, other


def _nothing(level: float, left_out: int) -> LengthShare:
    none = undefined("fewer than 2 posts with both policies in every seed", level=level)
    return LengthShare(none, none, none, none, math.nan, left_out)


def _shares(
    gain: Floats, held: Floats, value: float, slope: Estimate, covered: float, left_out: int,
    level: float, words: str,
) -> LengthShare:  # fmt: skip
    """The result from per-post gains and pseudo-values of the gain at equal length, (S, P)."""
    raw = crossed_statistic(gain, level=level)
    equal = crossed_statistic(held, value=value, level=level, method=words)
    if not (raw.low > 0 or raw.high < 0):
        reason = (
            "the raw gain has no interval"
            if math.isnan(raw.low)
            else "the raw gain's interval covers 0"
        )
        share = undefined(reason, n=raw.n, n_clusters=raw.n_clusters, level=level)
    else:
        moved = (value * (gain - raw.value) / raw.value - (held - held.mean())) / raw.value
        point = 1 - value / raw.value
        share = crossed_statistic(point + moved, value=point, level=level, method=words)
    return LengthShare(raw, equal, share, slope, covered, left_out)
