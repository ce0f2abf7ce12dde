"""Curves of gain by distance, by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from analyses import gain_curves, samples
from evalsuite.experiment import coerce

KL = {0: 0.01, 10: 1.0, 20: 4.0}


def trajectory(seeds=(0, 1), posts=5, **setting) -> pd.DataFrame:
    """Truth of post i: i, then 1 and .5 more; proxy: 2 i, then 4 and 6 more; seed 1 is higher."""
    about = {"size": "small", "objective": "rm", "kl_coef": 0.02, "value_network": "separate"}
    rows = [
        {**about, "seed": seed, "update": update, "kl_nats": kl, "post_id": f"p{i}",
         "gold": i + gold + 10 * seed, "proxy": 2 * i + proxy, **setting}
        for seed in seeds for i in range(posts)
        for (update, kl), gold, proxy in zip(KL.items(), (0, 1, 0.5), (0, 4, 6), strict=True)
    ]  # fmt: skip
    return coerce("trajectory", pd.DataFrame(rows))


def curves(table, pool=None, size="small"):
    left_out: Counter[str] = Counter()
    return list(gain_curves.ppo_curves(table, pool, size, left_out)), +left_out


def pool_of(rows: dict[str, list[list[float]]]) -> samples.Samples:
    """Cells of one post a row of each list; gold and proxies by name."""
    tables = {name: np.asarray(values, float) for name, values in rows.items()}
    n = len(tables["gold"])
    posts = np.array([f"p{i}" for i in range(n)], dtype=object)
    return samples.Samples("sup", np.zeros(n), posts, tables["gold"], tables)


def test_ppo_gains_are_over_the_first_update_of_the_same_post(rng):
    (curve,), left_out = curves(trajectory().sample(frac=1, random_state=1))
    assert (curve.way, curve.objective, curve.kl_coef) == ("ppo", "rm", 0.02)
    assert curve.at.tolist() == [0, 10, 20]
    assert curve.d.tolist() == [[0, 1, 2]] * 2  # 0 at the start, though a rollout's KL is not
    assert curve.gold == pytest.approx(np.broadcast_to([0, 1, 0.5], (2, 5, 3)))
    # The proxy spreads twice as wide as the truth over the start's summaries.
    assert curve.proxy == pytest.approx(np.broadcast_to([0, 2, 3], (2, 5, 3)))
    assert left_out == {}


def test_the_scale_of_a_proxy_is_that_of_the_pool_where_it_has_one():
    pool = pool_of({"gold": [[0, 2], [0, 2]], "rm": [[0, 8], [np.nan, np.nan]]})
    (curve,), _ = curves(trajectory(seeds=(0,)), pool)
    assert curve.proxy[0, 0] == pytest.approx([0, 1, 1.5])  # a quarter of 4 and 6


def test_only_the_freest_run_of_the_size_with_its_own_value_network():
    more = [trajectory(kl_coef=0.1), trajectory(value_network="shared"), trajectory(size="large")]
    (curve,), left_out = curves(pd.concat([trajectory(), *more]))
    assert curve.kl_coef == 0.02
    assert left_out == {
        "summaries of PPO on its way, of another size or value network": 60,
        "summaries of PPO on its way, of a larger KL coefficient": 30,
    }


def test_posts_that_miss_an_update_are_counted():
    table = trajectory()
    gone = (table["post_id"] == "p3") & (table["update"] == 10) & (table["seed"] == 1)
    (curve,), left_out = curves(table[~gone])
    assert curve.posts == ["p0", "p1", "p2", "p4"]
    assert left_out == {"posts without a summary at every update of PPO": 1}
    nowhere, left_out = curves(table.assign(gold=np.nan))
    assert nowhere == []
    assert left_out == {"posts without a summary at every update of PPO": 10}


def test_a_proxy_that_is_unknown_leaves_the_truth():
    (curve,), _ = curves(trajectory().assign(proxy=np.nan))
    assert np.isnan(curve.proxy).all()
    assert curve.gold[0, 0].tolist() == [0, 1, 0.5]


def test_best_of_n_moves_by_the_bound_of_its_kl():
    pool = pool_of({"gold": [[0, 4], [6, 0]], "rm": [[1, 2], [1, 2]]})
    by_name = {curve.objective: curve for curve in gain_curves.best_of_n_curves(pool)}
    assert set(by_name) == {"gold", "rm"}
    rm = by_name["rm"]
    assert rm.at.tolist() == [1, 2]
    assert rm.d[0] == pytest.approx([0, (np.log(2) - 0.5) ** 0.5])
    assert rm.gold[0] == pytest.approx(np.array([[0, 2], [0, -3]]))
    # Scores 1 and 2: half above their mean, a spread of 1/2; gold 0 4 6 0: mean 2.5.
    spread = ((2.5**2 + 1.5**2 + 3.5**2 + 2.5**2) / 4) ** 0.5
    assert rm.proxy[0] == pytest.approx(np.array([[0, spread]] * 2))
    assert by_name["gold"].gold[0] == pytest.approx(np.array([[0, 2], [0, 3]]))


def test_halfway_is_in_distance_for_best_of_n_in_updates_for_ppo():
    far = trajectory()
    far.loc[far["update"] == 10, "kl_nats"] = 4.5
    (curve,), _ = curves(far)
    assert curve.halfway() == (1, 2)
    assert curve._replace(way="best-of-n").halfway() == (2, 1)


def test_curves_are_compared_on_what_both_have():
    (one,), _ = curves(trajectory(posts=6))
    (other,), _ = curves(trajectory(seeds=(1,), posts=5))
    first, second = gain_curves.in_common(one, other)
    assert (first.seeds, first.posts) == (second.seeds, second.posts)
    assert first.gold.shape == second.gold.shape == (1, 5, 3)
    assert first.d.shape == (1, 3)


def test_the_fit_goes_through_two_points():
    """1 = alpha, .5 = 2 (alpha - beta log 2)."""
    (curve,), _ = curves(trajectory())
    fit = gain_curves.fitted(curve, 0.95)
    assert fit.alpha.value == pytest.approx(1)
    assert fit.beta.value == pytest.approx(0.75 / np.log(2))
