"""Separate and shared value network: curves, pairs of runs, differences by hand, the figure."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from analyses import value_network
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

# reward of a seed at each update
REWARDS = {
    ("separate", 0): [0, 1, 3], ("separate", 1): [0, 2, 5],
    ("shared", 0): [0, 1, 2], ("shared", 1): [0, 1, 1],
}  # fmt: skip
SETTING = {"size": "small", "objective": "rm", "kl_coef": 0.05}
POSTS = 6


def training(rewards=REWARDS, **setting) -> pd.DataFrame:
    return pd.DataFrame([
        {**SETTING, "model": f"ppo-{kind}-s{seed}", "value_network": kind, "seed": seed,
         "update": update, "reward": reward, **setting}
        for (kind, seed), values in rewards.items() for update, reward in enumerate(values)
    ])  # fmt: skip


def policies(temperatures=(0.7,), kinds=("separate", "shared")) -> pd.DataFrame:
    return pd.DataFrame([
        {**SETTING, "policy": f"{kind}_t{t}", "value_network": kind, "temperature": t}
        for kind in kinds for t in temperatures
    ])  # fmt: skip


def summaries(**by_policy: tuple[float, float]) -> pd.DataFrame:
    """policy -> reward, gold; of post i both are higher by i, of seed 1 lower by 1."""
    return pd.DataFrame([
        {"policy": policy.replace("__", "."), "seed": seed, "post_id": f"p{i}", "domain": "tldr",
         "reward": reward + i - seed, "gold": gold + i - seed}
        for policy, (reward, gold) in by_policy.items() for seed in (0, 1) for i in range(POSTS)
    ])  # fmt: skip


def compute(rng, *, last=5, **tables):
    tables.setdefault("training", training())
    made = {name: coerce(name, table) for name, table in tables.items()}
    found = value_network.compute(
        Tables(experiment=Experiment(made)), value_network.Options(last=last), rng
    )
    return pd.read_csv(io.StringIO(found.table.to_csv(index=False))), found.left_out


def test_curves_are_means_over_seeds_and_each_seed(rng):
    table, left_out = compute(rng)
    mean = table[(table["quantity"] == "reward") & (table["value_network"] == "separate")]
    assert mean["value"].tolist() == [0, 1.5, 4]
    assert mean["se"].tolist() == pytest.approx([0, 0.5, 1])  # sd over the root of two seeds
    assert mean["low"].isna().all()
    seeds = table[table["quantity"] == "reward of a seed"].set_index(["value_network", "seed"])
    assert seeds.loc[("shared", 1), "value"].tolist() == [0, 1, 1]
    assert left_out == {}


def test_without_final_policies_the_last_updates_are_compared(rng):
    table, _ = compute(rng, last=2)
    (one,) = table[table["quantity"] == "last updates"].to_dict("records")
    # Seed 0: 2 less 1.5; seed 1: 3.5 less 1.
    assert one["value"] == pytest.approx((0.5 + 2.5) / 2)
    assert one["se"] == pytest.approx(1.0)
    assert np.isnan(one["low"])
    assert one["against"] == "shared"
    assert "reward over the last updates +1.50 (no interval)" in value_network.reading(table)


def test_final_policies_are_paired_by_seed_and_post(rng):
    made = summaries(separate_t0__7=(3.0, 1.0), shared_t0__7=(1.0, 1.5))
    table, _ = compute(rng, policies=policies(), summaries=made)
    found = table.set_index("quantity")
    assert found.loc["final reward", ["value", "n", "n_clusters"]].tolist() == [2, 12, 6]
    assert found.loc["final gold", "value"] == -0.5
    assert found.loc["final gold", "se"] == 0  # posts and seeds fall out
    assert "last updates" not in found.index


def test_both_are_taken_at_one_temperature(rng):
    made = summaries(
        separate_t0=(9.0, 9.0), separate_t0__7=(3.0, 1.0), shared_t0__7=(1.0, 1.5)
    )  # fmt: skip
    table, _ = compute(rng, policies=policies((0.0, 0.7)).replace({"separate_t0.0": "separate_t0"}),
                       summaries=made)  # fmt: skip
    assert table.set_index("quantity").loc["final reward", "value"] == 2


def test_a_policy_of_another_domain_does_not_count(rng):
    made = summaries(separate_t0__7=(3.0, 1.0), shared_t0__7=(1.0, 1.5))
    news = made.assign(domain="news", reward=made["reward"] * 100)
    table, _ = compute(rng, policies=policies(), summaries=pd.concat([made, news]))
    assert table.set_index("quantity").loc["final reward", "value"] == 2


def test_one_seed_has_no_error_of_its_curve(rng):
    one = {key: values for key, values in REWARDS.items() if key[1] == 0}
    table, _ = compute(rng, training=training(one))
    assert table["se"].isna().all()
    ax = value_network.plot(table).axes[0]
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0, 1, 3], [0, 1, 2]]


def test_runs_without_a_twin_are_left_out(rng):
    lone = training({("separate", 0): [0, 1, 3]}, kl_coef=0.2)
    gap = training({("separate", 2): [np.nan]})
    table, left_out = compute(rng, training=pd.concat([training(), lone, gap]))
    assert table["kl_coef"].unique().tolist() == [0.05]
    assert left_out == {"updates of runs without a twin": 3, "updates without a reward": 1}


def test_lines_and_words_of_the_figure(rng):
    objectives = pd.DataFrame([{"objective": "rm", "label": "RM, 300 labels"}])
    table, _ = compute(rng, objectives=objectives)
    fig = value_network.plot(table)
    (ax,) = fig.axes
    thick = [line.get_ydata().tolist() for line in ax.lines if line.get_linewidth() > 1]
    thin = [line.get_ydata().tolist() for line in ax.lines if line.get_linewidth() < 1]
    assert thick == [[0, 1.5, 4], [0, 1, 1.5]]
    assert thin == [[0, 1, 3], [0, 2, 5], [0, 1, 2], [0, 1, 1]]
    assert ax.get_title(loc="left").strip() == "RM, 300 labels, KL coefficient 0.05"
    words = [text.get_text() for text in ax.texts]
    assert {"separate", "shared"} <= set(words)
    # All three updates are "the last five": seed 0: 4/3 - 1, seed 1: 7/3 - 2/3.
    assert "separate less shared: reward over the last updates +1.00 ± 0.67" in words
    assert "band: 1 SE over seeds" in fig.get_supxlabel()


def test_each_setting_has_a_panel_and_the_rest_is_counted(rng):
    made = [training(kl_coef=k) for k in (0.01, 0.02, 0.05)] + [training(size="large")]
    table, _ = compute(rng, training=pd.concat(made))
    fig = value_network.plot(table)
    assert len(fig.axes) == 3
    assert "1 setting in the table only" in fig.get_supxlabel()
    assert fig.axes[0].get_title(loc="left").strip() == "large, rm, KL coefficient 0.05"
    assert value_network.reading(table).count("last updates") == 4


def test_nothing_in_common_at_the_end_is_said(rng):
    apart = {("separate", 0): [0, 1], ("shared", 1): [0, 2]}
    table, _ = compute(rng, training=training(apart))
    assert value_network.reading(table).startswith("No final difference")
    assert value_network.plot(table).axes


def test_reasons_to_leave_it_out():
    def missing(table):
        made = Experiment({"training": coerce("training", table)})
        return value_network.missing(Tables(experiment=made))

    assert value_network.missing(Tables()) == "there is no experiment"
    assert value_network.missing(Tables(experiment=Experiment())) == (
        "the experiment has no training"
    )
    assert missing(training()) is None
    lone = training({("separate", 0): [0, 1]})
    assert missing(lone) == "no PPO run has a twin that differs in the value network alone"
