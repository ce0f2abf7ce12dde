"""The pool as arrays, and gains of best-of-N by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analyses import samples
from evalsuite.experiment import coerce

# proxy and gold of three samples of two posts
ONE = {"p": ([1, 2, 3], [10, 20, 60]), "q": ([3, 2, 1], [6, 6, 0])}


def pool(posts=ONE, seeds=(0,), base="sup", name="rm") -> pd.DataFrame:
    rows = [
        {"base": base, "seed": seed, "post_id": post, "sample": i, "gold": g, f"proxy:{name}": x}
        for seed in seeds
        for post, (proxy, gold) in posts.items()
        for i, (x, g) in enumerate(zip(proxy, gold, strict=True))
    ]
    return coerce("pool", pd.DataFrame(rows))


def test_cells_are_a_seeds_samples_of_a_post_whatever_the_order_of_rows(rng):
    table = pool(seeds=(1, 0))
    left_out: dict[str, int] = {}
    (found,) = samples.arrange(table.iloc[rng.permutation(len(table))], left_out)
    assert found.base == "sup"
    assert found.seeds.tolist() == [0, 0, 1, 1]
    assert found.posts.tolist() == ["p", "q", "p", "q"]
    assert found.gold.tolist() == [[10, 20, 60], [6, 6, 0]] * 2
    assert found.proxies["rm"].tolist() == [[1, 2, 3], [3, 2, 1]] * 2
    assert found.proxies["gold"].tolist() == found.gold.tolist()
    assert left_out == {}


def test_cells_of_too_few_samples_or_without_gold_are_counted():
    posts = {
        "a": ([1, 2], [1, 2]), "b": ([1, 2], [1, 2]), "c": ([1], [1]),
        "d": ([1, 2, 9], [1, 2, 9]), "e": ([1, 2], [1, np.nan]), "f": ([1, np.nan], [5, 6]),
    }  # fmt: skip
    left_out: dict[str, int] = {}
    (found,) = samples.arrange(pool(posts), left_out)
    assert left_out == {
        "cells of the pool with fewer samples": 1, "cells of the pool with unknown gold": 1,
    }  # fmt: skip
    assert found.posts.tolist() == ["a", "b", "d", "f"]
    assert found.gold[2].tolist() == [1, 2]  # the first two of three
    assert np.isnan(found.proxies["rm"]).tolist() == [[False] * 2] * 3 + [[True] * 2]


def test_the_base_of_most_samples_comes_first():
    both = pd.concat([pool({"p": ONE["p"]}, base="a"), pool(base="b")])
    assert [found.base for found in samples.arrange(both, {})] == ["b", "a"]


def test_gains_are_over_one_sample_of_the_same_post():
    (cells,) = samples.arrange(pool(), {})
    gains = samples.gains(cells, "rm", [1, 2, 3])
    # p: mean 30; of two: (20 * 1 + 60 * 2) / 3 = 46.67; of three: 60. q: mean 4; 6; 6.
    assert gains.gold == pytest.approx(np.array([[0, 50 / 3, 30], [0, 2, 2]]))
    # Scores 1 to 3 twice: mean 2, variance 4 / 6. Of two: (2 + 2 * 3) / 3 = 8 / 3; of three: 3.
    sd = (4 / 6) ** 0.5
    assert gains.score == pytest.approx(np.array([[0, 2 / 3, 1], [0, 2 / 3, 1]]) / sd)
    # gold: mean 17, squares 10 20 60 6 6 0 less 17.
    spread = np.sqrt((49 + 9 + 43**2 + 121 + 121 + 289) / 6)
    assert gains.in_gold == pytest.approx(np.array([[0, 2 / 3, 1], [0, 2 / 3, 1]]) / sd * spread)


def test_scales_are_those_of_each_seed():
    wide = {"p": ([10, 20, 30], [10, 20, 60]), "q": ([30, 20, 10], [6, 6, 0])}
    both = pd.concat([pool(), pool(wide, seeds=(1,))])
    (cells,) = samples.arrange(both, {})
    score = samples.gains(cells, "rm", [3]).score[:, 0]
    assert score == pytest.approx([1.5**0.5] * 4)  # 1 over the root of 2 / 3


def test_an_objective_without_spread_has_no_score_and_chooses_at_random():
    (cells,) = samples.arrange(pool({"p": ([1, 1, 1], [0, 3, 6])}), {})
    gains = samples.gains(cells, "rm", [1, 3])
    assert gains.gold.tolist() == [[0, 0]]
    assert np.isnan(gains.score).all()


def test_sizes_are_powers_of_two_and_all():
    assert samples.sizes(8) == [1, 2, 4, 8]
    assert samples.sizes(6) == [1, 2, 4, 6]
    assert samples.sizes(1) == [1]


def test_halfway_is_by_how_far_whatever_the_order():
    assert samples.halfway(np.array([0.0, 1.0, 1.9, 4.0])) == (2, 3)
    assert samples.halfway(np.array([0.0, 4.0, 1.9, 1.0])) == (2, 1)
    assert samples.halfway(np.array([0.0])) == (0, 0)


def test_the_main_domain_is_tldr_or_the_one_of_most_summaries():
    def of(domains):
        table = coerce("summaries", pd.DataFrame({"domain": domains, "post_id": "p"}))
        found = samples.of_main_domain(table)
        assert (found["seed"] == 0).all()
        return found["domain"].tolist()

    assert of(["news", "news", "tldr"]) == ["tldr"]
    assert of(["a", "b", "b"]) == ["b", "b"]
    assert of([]) == []
