"""The design of comparisons: exact counts, no pair twice, the shared pool, honest refusals."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.errors import ConfigError
from evalsuite.simulation import design
from evalsuite.simulation.design import RATED, STAGES
from evalsuite.simulation.labelers import Crowd
from evalsuite.simulation.roster import by_name
from evalsuite.simulation.world import World


def test_every_policy_is_compared_or_rated_and_known() -> None:
    named = {p for stage in STAGES for a, b, _ in stage.pairs for p in (a, b)}
    named |= {p for policies in RATED.values() for p in policies}
    assert named == set(by_name())
    shares = Counter()
    for stage in STAGES:
        shares[stage.domain] += stage.share
    assert shares["tldr"] == pytest.approx(1)
    assert shares["cnndm"] == pytest.approx(1)


def test_only_policies_that_vary_meet_themselves() -> None:
    own = {a for stage in STAGES for a, b, _ in stage.pairs if a == b}
    assert {"sup4_t0.7", "sup4_6b_t0.7"} <= own
    assert all(by_name()[p].temperature > 0 for p in own)


def test_items_have_exact_counts_and_no_pair_twice() -> None:
    items = design.draw_items("tldr", 3000, 900, np.random.default_rng(0))
    assert len(items.post) == 3000
    assert items.post.max() < 900
    keys = set(zip(items.stage.tolist(), items.post.tolist(), items.pair.tolist(), strict=True))
    assert len(keys) == 3000
    assert (np.diff(items.batch) >= 0).all()
    # A post belongs to one batch.
    assert len(set(zip(items.batch.tolist(), items.post.tolist(), strict=True))) == len(
        set(items.post.tolist())
    )


def test_too_many_comparisons_of_too_few_posts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch\d+: \d+ comparisons of \d+ posts; allowed up to"):
        design.draw_items("tldr", 3000, 60, np.random.default_rng(0))


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 5), min_size=1, max_size=8))
def test_split_evenly_adds_up(total: int, shares: list[float]) -> None:
    counts = design.split_evenly(total, shares)
    assert sum(counts) == total
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - total * share / sum(shares)) < 1


def test_labels_come_to_the_number_asked_for() -> None:
    # 1000 labels, 20% shared by 5 each: 40 shared items with 200 labels, 800 alone.
    assert design.items_for(1000, 0.2, 5) == (840, 40)
    crowd = Crowd.draw(World(0), 20)
    given_ = design.assign(np.ones(840), 40, 5, crowd, np.random.default_rng(0))
    counts = Counter(given_.item.tolist())
    assert len(given_.item) == 1000
    assert Counter(counts.values()) == {1: 800, 5: 40}
    pairs = set(zip(given_.item.tolist(), given_.labeler.tolist(), strict=True))
    assert len(pairs) == 1000


def test_liked_items_are_shared_more_often() -> None:
    crowd = Crowd.draw(World(0), 20)
    liking = np.where(np.arange(4000) < 1000, 3.0, 1.0)
    given_ = design.assign(liking, 400, 2, crowd, np.random.default_rng(1))
    shared = np.flatnonzero(np.bincount(given_.item) == 2)
    # Weights 3 and 1 with 1,000 and 3,000 items: nearly half of the first draws.
    assert 0.40 < (shared < 1000).mean() < 0.55


def test_labelers_work_by_volume() -> None:
    crowd = Crowd.draw(World(0), 12)
    given_ = design.assign(np.ones(50_000), 0, 1, crowd, np.random.default_rng(2))
    share = np.bincount(given_.labeler, minlength=12) / 50_000
    np.testing.assert_allclose(share, crowd.volume, atol=0.01)


def test_batches_run_from_minus_half_to_half() -> None:
    times = design.batch_times()
    assert (times[0], times[-1]) == (-0.5, 0.5)
    assert len(times) == len(list(design.batches())) == len({n for _, n in design.batches()})
