"""Over-optimisation: points, fits, changes, differences and final policies by hand; the figure."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from analyses import overoptimization
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

POSTS = [f"p{i}" for i in range(6)]
KL = {0: 0.0, 10: 1.0, 20: 4.0}
# Truth and proxy over the start, by update.
PPO = {"rm-few": ([0, 1, 0.5], [0, 4, 6]), "rm-many": ([0, 1, 2.5], [0, 2, 5])}
# Four samples of a post: truth and what each proxy gives them.
GOLD = [0, 1, 2, 5]
PROXIES = {
    "rm-few": [1, 2, 4, 3], "rm-many": [1, 2, 3, 4], "worst(rm-few)": [1, 3, 4, 2],
    "rouge": [4, 3, 2, 1],
}  # fmt: skip
KINDS = {"rm-few": ("rm", 100), "rm-many": ("rm", 400), "worst(rm-few)": ("ensemble", 100),
         "rouge": ("rouge", np.nan), "gold": ("gold", np.nan)}  # fmt: skip


def experiment(seeds=(0, 1), ppo=PPO, proxies=PROXIES, finals=True) -> Experiment:
    pool = [
        {"base": "sup_t0.7", "seed": s, "post_id": post, "sample": k, "gold": gold + i,
         **{f"proxy:{name}": scores[k] for name, scores in proxies.items()}}
        for s in seeds for i, post in enumerate(POSTS) for k, gold in enumerate(GOLD)
    ]  # fmt: skip
    trajectory = [
        {"objective": name, "seed": s, "size": "small", "kl_coef": 0.02, "update": update,
         "value_network": "separate", "kl_nats": KL[update], "post_id": post,
         "gold": i + gold, "proxy": i + proxy}
        for name, (truth, own) in ppo.items() for s in seeds for i, post in enumerate(POSTS)
        for update, gold, proxy in zip(KL, truth, own, strict=True)
    ]  # fmt: skip
    ppo_policies = [
        {"policy": f"{name}_b{b}", "method": "human feedback", "size": "small",
         "objective": name, "kl_coef": b, "temperature": 0.7, "value_network": "separate"}
        for name in ppo for b in (0.02, 0.2)
    ]  # fmt: skip
    start = {"policy": "sup_t0.7", "method": "supervised", "size": "small", "temperature": 0.7}
    summaries = [
        {"policy": policy, "seed": s, "post_id": post, "domain": "tldr", "gold": i + gold,
         "kl_nats": kl}
        for policy, gold, kl in [
            ("sup_t0.7", 1, 0), *((p["policy"], 3, 2.25 if p["kl_coef"] == 0.02 else 1)
                                  for p in ppo_policies),
        ]
        for s in seeds for i, post in enumerate(POSTS)
    ]  # fmt: skip
    objectives = [
        {"objective": name, "label": f"the {name}", "kind": kind, "size": "small",
         "parameters": 1e5, "labels": labels}
        for name, (kind, labels) in KINDS.items()
    ]  # fmt: skip
    tables = {
        "pool": pool if proxies else [], "trajectory": trajectory, "objectives": objectives,
        "policies": [start, *ppo_policies], "summaries": summaries if finals else [],
    }  # fmt: skip
    return Experiment({name: coerce(name, pd.DataFrame(rows)) for name, rows in tables.items()})


def compute(made, rng):
    found = overoptimization.compute(Tables(experiment=made), overoptimization.Options(), rng)
    return pd.read_csv(io.StringIO(found.table.to_csv(index=False))), found.left_out


def of(table, way, objective, quantity):
    rows = table[(table["way"] == way) & (table["objective"] == objective)]
    return rows[rows["quantity"] == quantity]


def test_points_of_both_ways(rng):
    table, left_out = compute(experiment(), rng)
    bon = of(table, "best-of-n", "rm-few", "gold")
    # Mean 2; of two, gold sorted by the proxy 0 1 5 2: (1 + 10 + 6) / 6; of four 2.
    assert bon["value"].tolist() == pytest.approx([0, 17 / 6 - 2, 0])
    assert bon["kl_nats"].tolist() == pytest.approx([0, np.log(2) - 0.5, np.log(4) - 0.75])
    assert bon["d"].tolist() == pytest.approx(np.sqrt(bon["kl_nats"]))
    ppo = of(table, "ppo", "rm-few", "gold")
    assert ppo[["at", "d", "value"]].to_numpy().tolist() == [[0, 0, 0], [10, 1, 1], [20, 2, 0.5]]
    assert left_out == {}


def test_a_proxy_has_the_spread_of_the_truth(rng):
    table, _ = compute(experiment(), rng)
    # Truth: post i adds i to 0 1 2 5: variance 14/4 within and 35/12 between; proxy 5/4.
    unit = ((14 / 4 + 35 / 12) / (5 / 4)) ** 0.5
    bon = of(table, "best-of-n", "rm-few", "proxy")["value"]
    assert bon.tolist() == pytest.approx([0, (20 / 6 - 2.5) * unit, 1.5 * unit])
    ppo = of(table, "ppo", "rm-few", "proxy")["value"]
    assert ppo.tolist() == pytest.approx([0, 4 * unit, 6 * unit])


def test_fits_and_their_peaks(rng):
    table, _ = compute(experiment(), rng)
    fit = of(table, "ppo", "rm-few", "fit").set_index("of")
    beta = 0.75 / np.log(2)  # 1 = alpha, .5 = 2 (alpha - beta log 2)
    assert fit.loc["alpha", "value"] == pytest.approx(1)
    assert fit.loc["beta", "value"] == pytest.approx(beta)
    assert fit.loc["peak_d", "value"] == pytest.approx(np.exp(1 / beta - 1))
    assert fit["beyond"].eq(0).all()
    # Of the many: 2.5 = 2 (1 - beta log 2), beta < 0: no peak.
    many = of(table, "ppo", "rm-many", "fit").set_index("of")
    assert many.loc["beta", "value"] == pytest.approx(-0.25 / np.log(2))
    assert np.isnan(many.loc["peak_d", "value"])
    assert "no peak" in many.loc["peak_d", "method"]
    bon = of(table, "best-of-n", "rm-few", "fit").set_index("of")
    d = np.sqrt([np.log(2) - 0.5, np.log(4) - 0.75])
    alpha = (5 / 6) / d[0] / (1 - d[0] / d[1])  # 0 = alpha - beta d2, 5/6 = d1 (alpha - beta d1)
    assert bon.loc["alpha", "value"] == pytest.approx(alpha)
    assert bon.loc["peak_d", "value"] == pytest.approx(d[1] / 2)


def test_changes_go_from_halfway_in_distance_to_the_end(rng):
    table, _ = compute(experiment(), rng)
    change = of(table, "ppo", "rm-few", "change").set_index("of")
    assert change.loc["gold", ["at", "value"]].tolist() == [10, -0.5]
    assert change.loc["proxy", "value"] > 0
    bon = of(table, "best-of-n", "rm-few", "change").set_index("of")
    assert bon.loc["gold", ["at", "value"]].tolist() == pytest.approx([2, -5 / 6])


def test_differences_are_within_a_way_and_never_with_the_truth(rng):
    table, _ = compute(experiment(), rng)
    rows = table[table["quantity"] == "difference"]
    assert "gold" not in set(rows["objective"]) | set(rows["against"])
    ppo = rows[rows["way"] == "ppo"].set_index("of")
    beta = (0.75 + 0.25) / np.log(2)
    assert (ppo["objective"] == "rm-few").all()
    assert (ppo["against"] == "rm-many").all()
    assert ppo.loc["beta", "value"] == pytest.approx(beta)
    assert ppo.loc["alpha", "value"] == pytest.approx(0)
    assert np.isnan(ppo.loc["peak_d", "value"])
    assert len(rows[rows["way"] == "best-of-n"]) == 6 * 6  # pairs of four, six numbers


def test_final_policies_are_over_their_start(rng):
    table, _ = compute(experiment(), rng)
    final = of(table, "ppo", "rm-few", "final")
    assert final[["kl_coef", "d", "value"]].to_numpy().tolist() == [[0.02, 1.5, 2], [0.2, 1, 2]]
    none, _ = compute(experiment(finals=False), rng)
    assert "final" not in set(none["quantity"])


def test_final_policies_are_judged_on_the_posts_of_their_curve(rng):
    made = experiment()
    worse = made["summaries"].assign(post_id="elsewhere", gold=lambda t: -9 * t["kl_nats"])
    more = pd.concat([made["summaries"], worse.drop_duplicates(["policy", "seed"])])
    table, _ = compute(Experiment({**made.tables, "summaries": more}), rng)
    final = of(table, "ppo", "rm-few", "final")
    assert final[["kl_coef", "d", "value"]].to_numpy().tolist() == [[0.02, 1.5, 2], [0.2, 1, 2]]
    assert (final["n_clusters"] == of(table, "ppo", "rm-few", "gold")["n_clusters"].iloc[0]).all()


def test_final_policies_of_another_temperature_do_not_count(rng):
    made = experiment()
    cold = made["policies"].assign(temperature=0.0)
    cold.loc[0, "temperature"] = 0.7
    table, _ = compute(Experiment({**made.tables, "policies": cold}), rng)
    assert "final" not in set(table["quantity"])


def test_one_way_and_one_seed_are_enough(rng):
    only_ppo, _ = compute(experiment(seeds=(0,), proxies={}), rng)
    assert set(only_ppo["way"]) == {"ppo"}
    unit = of(only_ppo, "ppo", "rm-few", "proxy")["value"].tolist()
    assert unit == pytest.approx([0, 4, 6])  # both are i at the start
    titles = [ax.get_title(loc="left") for ax in overoptimization.plot(only_ppo).axes]
    assert titles == ["", "the rm-few", "the rm-many", "Truth, PPO", ""]
    only_bon, _ = compute(experiment(ppo={}), rng)
    assert set(only_bon["way"]) == {"best-of-n"}
    titles = [ax.get_title(loc="left") for ax in overoptimization.plot(only_bon).axes]
    assert "Ensembles, best-of-N" in titles
    assert "PPO: the" not in overoptimization.reading(only_bon)


def test_panels_points_and_lines(rng):
    table, _ = compute(experiment(), rng)
    fig = overoptimization.plot(table)
    panels = {ax.get_title(loc="left"): ax for ax in fig.axes}
    assert list(panels) == [
        "", "the rm-few", "the rm-many", "the rouge", "Truth, best-of-N", "Truth, PPO",
        "Ensembles, best-of-N",
    ]  # fmt: skip
    few = panels["the rm-few"]
    marks = [bars.lines[0].get_xydata().tolist() for bars in few.containers]
    assert [[0, 0], [1, 1], [2, 0.5]] in marks
    assert [[1.5, 2], [1, 2]] in marks
    assert sum(line.is_dashed() for line in few.lines) == 2
    assert few.get_ylim() == panels["the rouge"].get_ylim()
    truth = panels["Truth, PPO"].lines
    assert [0, 1, 2.5] in [list(line.get_ydata()) for line in truth]
    note = fig.get_supxlabel().replace("\n", " ")
    assert "bars and bands: 1 SE over posts and seeds" in note
    names = [t.get_text() for t in fig.axes[-1].get_legend().get_texts()]
    assert names == ["the rm-few", "the rm-many", "the worst(rm-few)", "the rouge"]


def test_the_reading_follows_truth_and_proxy(rng):
    table, _ = compute(experiment(), rng)
    said = overoptimization.reading(table)
    assert said.startswith(
        "Change in utility over the second half of the way (best-of-N: of d, PPO: of updates); best"
    )
    assert "PPO: the rm-few -0.50 (95% interval -0.50 to -0.50, its own score rising)" in said
    assert "the rm-many +1.50" in said
    assert "worst" not in said


def test_reasons_to_leave_it_out():
    def missing(made):
        return overoptimization.missing(Tables(experiment=made))

    reason = "the experiment has no trajectory of PPO and no pool that an objective scored"
    assert overoptimization.missing(Tables()) == "there is no experiment"
    assert missing(Experiment()) == reason
    assert missing(experiment(ppo={}, proxies={})) == reason
    assert missing(experiment(ppo={})) is None
    assert missing(experiment(proxies={})) is None


def test_runs_without_a_curve_are_a_page_with_a_word(rng):
    made = experiment(proxies={}, finals=False)
    blank = made["trajectory"].assign(gold=np.nan)
    table, left_out = compute(Experiment({**made.tables, "trajectory": blank}), rng)
    assert table.empty
    assert left_out == {"posts without a summary at every update of PPO": 24}
    (ax,) = overoptimization.plot(table).axes
    assert ax.texts[0].get_text() == "no objective has a curve"
    assert overoptimization.reading(table) == "No curve has two points beyond its start."
