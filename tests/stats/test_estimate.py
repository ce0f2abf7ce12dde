"""The t interval and its limits; quantiles from printed tables of Student's t."""

from __future__ import annotations

import math

import pytest

from evalsuite.errors import StatisticsError
from evalsuite.stats.estimate import Estimate, row, t_interval, t_quantile, undefined


def test_the_half_width_is_the_tabled_t_times_the_se():
    # t(10), two-sided 95%: 2.228139; t(4), two-sided 90%: 2.131847
    found = t_interval(0.5, 0.1, n=40, n_clusters=11, method="by post")
    assert found == pytest.approx(
        (0.5, 0.1, 0.5 - 0.2228139, 0.5 + 0.2228139, 0.95, 40, 11, "by post, t(10)"), abs=1e-7
    )
    found = t_interval(0, 1, n=5, n_clusters=5, method="m", level=0.9)
    assert (found.low, found.high) == pytest.approx((-2.131847, 2.131847), abs=1e-6)


def test_given_degrees_of_freedom_replace_clusters_less_one():
    # t(2): 4.302653; below 1 counts as 1: 12.706205
    assert t_interval(0, 1, n=9, n_clusters=9, method="m", df=2).high == pytest.approx(4.302653)
    assert t_quantile(0.95, 0.2) == pytest.approx(12.706205)
    assert t_interval(0, 1, n=9, n_clusters=9, method="m", df=5.26).method == "m, t(5.3)"


def test_bounds_clip_the_interval_only():
    found = t_interval(0.9, 0.2, n=9, n_clusters=9, method="m", bounds=(0, 1))
    assert found.high == 1
    assert found.low > 0
    assert found.value == 0.9


@pytest.mark.parametrize("clusters", [0, 1, 4])
def test_few_clusters_have_no_interval_and_say_so(clusters):
    found = t_interval(0.5, 0.1, n=100, n_clusters=clusters, method="by labeler")
    assert (found.value, found.se) == (0.5, 0.1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.method == f"by labeler; no interval: {clusters} clusters, 5 needed"


def test_an_undefined_value_keeps_its_counts_and_reason():
    found = t_interval(math.nan, 0.1, n=3, n_clusters=3, method="no pairs")
    assert all(math.isnan(x) for x in found[:4])
    assert found[4:] == (0.95, 3, 3, "undefined: no pairs")
    assert undefined("why", n=2).method == "undefined: why"


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_outside_0_to_1_is_refused(level):
    with pytest.raises(StatisticsError, match=rf"level is {level}; allowed between 0 and 1"):
        t_interval(0.5, 0.1, n=9, n_clusters=9, method="m", level=level)


def test_a_row_is_its_keys_then_the_fields():
    keys = list(row(Estimate(1, 2, 3, 4, 0.95, 6, 7, "m"), policy="a"))
    assert keys == ["policy", *Estimate._fields]


def test_no_error_no_interval():
    found = t_interval(0.5, math.nan, n=20, n_clusters=10, method="by post")
    assert math.isnan(found.low)
    assert found.method == "by post; no interval: no standard error"
