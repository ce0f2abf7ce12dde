"""Calibration tables by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalsuite.errors import StatisticsError
from evalsuite.stats.calibration import confidence_calibration, reliability
from evalsuite.stats.preference import preference_rate


def test_agreement_by_strength_leaves_out_who_was_not_asked():
    strength = [1, 1, 1, 1, 4, 4, math.nan]
    agree = [1, 0, 0, 1, 1, 0.5, 0]
    found = confidence_calibration(strength, agree).set_index("strength")
    assert found["value"].to_dict() == {1.0: 0.5, 4.0: 0.75}
    assert found["n"].to_dict() == {1.0: 4, 4.0: 2}


def test_each_rate_is_clustered():
    strength, agree = [2] * 8, [1, 1, 0, 0, 1, 0, 1, 1]
    posts = [1, 1, 2, 2, 3, 4, 5, 6]
    found = confidence_calibration(strength, agree, clusters=posts).iloc[0]
    alone = preference_rate(agree, clusters=posts)
    assert found["se"] == alone.se
    assert found["n_clusters"] == 6
    assert found["method"] == alone.method


def test_reliability_bins_hold_their_lower_edge_and_the_last_both():
    p, y = [0.0, 0.5, 0.74, 0.75, 1.0], [0, 1, 0, 1, 1]
    found = reliability(p, y, edges=[0, 0.5, 0.75, 1])
    assert found["from"].tolist() == [0, 0.5, 0.75]
    assert found["predicted"].tolist() == pytest.approx([0, 0.62, 0.875])
    assert found["value"].tolist() == [0, 0.5, 1]
    assert found["n"].tolist() == [1, 2, 2]


def test_reliability_skips_empty_bins_and_has_ten_by_default():
    found = reliability(np.array([0.05, 0.95]), [0, 1])
    assert found["to"].tolist() == pytest.approx([0.1, 1.0])
    assert reliability([], []).empty


def test_wrong_inputs_are_named():
    with pytest.raises(StatisticsError, match=r"strength has shape \(1,\), agree \(2,\); allowed"):
        confidence_calibration([1], [0, 1])
    with pytest.raises(StatisticsError, match=r"wins\[0\] is 2; allowed 0 to 1"):
        confidence_calibration([1], [2])
    with pytest.raises(StatisticsError, match="a probability is outside its range; allowed 0 to"):
        reliability([1.5], [1])
    with pytest.raises(StatisticsError, match=r"edges are \[0.0, 0.5\]; allowed ascending from 0"):
        reliability([0.5], [1], edges=[0, 0.5])
