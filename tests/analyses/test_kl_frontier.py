"""The frontier of preference and KL: points by hand, which policies belong, what is drawn."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import kl_frontier
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

OBJECTIVES = pd.DataFrame(
    {"objective": ["rm-small-600", "rm-small-4800", "rouge"], "label": ["few", "many", "ROUGE"],
     "kind": ["rm", "rm", "rouge"], "labels": [600, 4800, math.nan], "parameters": [4e5, 4e5, 0]}
)  # fmt: skip
# objective, coefficient, KL, expected, reward less that of the reference
PPO = [
    ("rm-small-600", 0.2, 1.0, 0.5, 0.0),
    ("rm-small-600", 0.05, 4.0, 0.6, 1.0),
    ("rm-small-600", 0.01, 16.0, 0.4, 2.0),
    ("rm-small-4800", 0.2, 1.5, 0.55, 0.5),
    ("rm-small-4800", 0.05, 5.0, 0.7, 1.5),
]


def summaries(policy, seeds, **values) -> pd.DataFrame:
    """Six posts a seed; KL of .5 less and .5 more in turn."""
    turn = np.tile([-0.5, 0.5], 3)
    rows = pd.concat(
        pd.DataFrame({"seed": s, "post_id": [f"p{i}" for i in range(6)]}) for s in seeds
    )
    rows = rows.assign(policy=policy, domain="tldr", reward_reference=0.3, preferred=1.0, **values)
    rows["kl_nats"] += np.tile(turn, len(seeds))
    return rows


def tables(runs=tuple(PPO), seeds=(0.0, 1.0), way=True, base=True) -> Tables:
    policies, parts, updates = [], [], []
    for objective, coefficient, kl, expected, reward in runs:
        policy = f"{objective}_b{coefficient}"
        policies.append({"policy": policy, "method": "human feedback", "objective": objective,
                         "kl_coef": coefficient})  # fmt: skip
        parts.append(summaries(policy, seeds, kl_nats=kl, expected=expected, reward=0.3 + reward))
        for update in (0.0, 10.0):
            rows = summaries(policy, seeds, kl_nats=kl * update / 10)
            rows["gold"] = [3.0, 1, 1, 2, 3, 3] * len(seeds)
            updates.append(
                rows.assign(
                    kl_nats=kl * update / 10, objective=objective, kl_coef=coefficient,
                    gold_reference=2.0, update=update, proxy=0.3 + reward * update / 10,
                    proxy_reference=0.3, model=policy + rows["seed"].astype(str),
                )
            )  # fmt: skip
    if base:
        policies.append({"policy": "sup_small_t0.7", "method": "supervised"})
        parts.append(summaries("sup_small_t0.7", seeds, kl_nats=0.0, expected=0.3, reward=9.0))
    made = {
        "policies": pd.DataFrame(policies), "summaries": pd.concat(parts, ignore_index=True),
        "trajectory": pd.concat(updates, ignore_index=True) if way else pd.DataFrame(),
    }  # fmt: skip
    common = {"size": "small", "parameters": 4e5, "temperature": 0.7, "value_network": "separate"}
    made["policies"] = pd.DataFrame(common, index=made["policies"].index).join(made["policies"])
    if way:
        made["trajectory"] = made["trajectory"].assign(size="small", value_network="separate")
    made["objectives"] = OBJECTIVES
    return Tables(experiment=Experiment({k: coerce(k, v) for k, v in made.items()}))


def compute(data: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    assert kl_frontier.missing(data) is None
    result = kl_frontier.compute(data, kl_frontier.Options(), np.random.default_rng(0))
    return pd.read_csv(io.StringIO(result.table.to_csv(index=False))), result.left_out


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_policies_stand_at_their_kl_with_what_is_and_what_the_reward_predicts():
    table, left_out = compute(tables())
    assert left_out == {}
    trained = table[table["kind"] == "policy"]
    for objective, coefficient, kl, expected, reward in PPO:
        mine = trained[(trained["objective"] == objective) & (trained["kl_coef"] == coefficient)]
        mine = mine.set_index("quantity")
        assert mine["value"].to_dict() == pytest.approx(
            {"kl_nats": kl, "actual": expected, "predicted": sigmoid(reward)}
        )
        assert mine["kl"].tolist() == pytest.approx([kl] * 3)
        assert mine.loc["actual", "truth"] == "labelers"
    parents = table[table["kind"] == "parent"]
    actual = parents[parents["quantity"] == "actual"]
    assert actual["value"].tolist() == pytest.approx([0.3, 0.3])
    assert actual["kl"].tolist() == [0.0, 0.0]
    # The parent's own rewards, of whatever objective, say nothing here; update 0 does: sigmoid(0).
    assert parents.loc[parents["quantity"] == "predicted", "value"].tolist() == [0.5, 0.5]


def test_on_the_way_gold_is_held_against_the_reference():
    table, _ = compute(tables())
    way = table[(table["kind"] == "update") & (table["objective"] == "rm-small-600")]
    actual = way[way["quantity"] == "actual"]
    # 3 above, 2 below, 1 equal of 6: 3.5 / 6; by gold.
    assert actual["value"].tolist() == pytest.approx([3.5 / 6] * 6)
    assert set(actual["truth"]) == {"gold"}
    last = way[(way["update"] == 10) & (way["quantity"] == "predicted")].set_index("kl_coef")
    assert last["value"].to_dict() == pytest.approx({0.2: 0.5, 0.05: sigmoid(1), 0.01: sigmoid(2)})
    assert last["kl"].to_dict() == {0.2: 1.0, 0.05: 4.0, 0.01: 16.0}


def changed(data: Tables, **policies) -> Tables:
    """The tables with columns of one policy changed."""
    frame = data.experiment["policies"].copy()
    for column, value in policies.items():
        frame.loc[frame["policy"] == "rm-small-4800_b0.2", column] = value
    return Tables(experiment=Experiment({**data.experiment.tables, "policies": frame}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value_network": "shared"}, "summaries of rounds and of shared value networks"),
        ({"round": 1.0}, "summaries of rounds and of shared value networks"),
        ({"objective": "rouge"}, ""),
        ({"temperature": 0.0}, ""),
    ],
)
def test_which_policies_belong(change, reason):
    table, left_out = compute(changed(tables(), **change))
    assert set(table["objective"]) == {"rm-small-600"}  # the other has one coefficient left
    wanted = {"summaries of PPO policies with one KL coefficient": 12}
    assert left_out == wanted | ({reason: 12} if reason else {})


def drawn(ax) -> list[list[tuple[float, float]]]:
    return [[tuple(map(float, p)) for p in c.lines[0].get_xydata()] for c in ax.containers]


def test_the_figure_joins_policies_along_kl():
    table, _ = compute(tables())
    fig = kl_frontier.plot(table)
    left, right = fig.axes
    approx = pytest.approx
    assert drawn(left) == [
        [(0, approx(0.3)), (approx(1), approx(0.5)), (approx(4), approx(0.6)),
         (approx(16), approx(0.4))],
        [(0, 0.5), (approx(1), 0.5), (approx(4), approx(sigmoid(1))),
         (approx(16), approx(sigmoid(2)))],
        [(0, approx(0.3)), (approx(1.5), approx(0.55)), (approx(5), approx(0.7))],
        [(0, 0.5), (approx(1.5), approx(sigmoid(0.5))), (approx(5), approx(sigmoid(1.5)))],
    ]  # fmt: skip
    said = [text.get_text() for text in left.texts]
    assert [name for name in said if name] == ["few", "predicted", "many", "predicted"]
    thin = [line for line in right.lines if line.get_linewidth() == 0.9]
    assert len(thin) == 2 * len(PPO)
    assert {text.get_text() for text in right.texts if text.get_text()} == {
        "β=0.2", "β=0.05", "β=0.01"
    }  # fmt: skip
    assert left.get_xlim() == right.get_xlim()
    colours = [c.lines[0].get_color() for c in left.containers]
    assert colours[0] == colours[1] != colours[2] == colours[3]


@pytest.mark.parametrize(
    "settings",
    [{"runs": PPO[:1]}, {"seeds": (0.0,)}, {"way": False}, {"base": False, "way": False},
     {"runs": [PPO[0], PPO[3]], "seeds": (1.0,)}],
)  # fmt: skip
def test_one_policy_one_seed_no_updates_no_parent(settings):
    table, _ = compute(tables(**settings))
    fig = kl_frontier.plot(table)
    fig.draw_without_rendering()
    assert len(fig.axes) == (1 if settings.get("way") is False else 2)
    assert "preferred to the references" in kl_frontier.reading(table)


def test_the_largest_kl_is_held_against_the_smallest_by_post():
    data = tables()
    frame = data.experiment["summaries"].copy()
    # The same ups and downs under both policies: of the difference, .4 - .5, nothing is random.
    turn = frame.groupby(["policy", "seed"]).cumcount() % 2 * 0.2
    tuned = frame["policy"].isin(["rm-small-600_b0.2", "rm-small-600_b0.01"])
    frame.loc[tuned, "expected"] += turn[tuned]
    changed = Experiment({**data.experiment.tables, "summaries": frame})
    table, _ = compute(Tables(experiment=changed))
    found = table[table["kind"] == kl_frontier.CHANGE].set_index("objective")
    few = found.loc["rm-small-600"]
    assert (few["policy"], few["truth"]) == ("rm-small-600_b0.01", "labelers")
    assert few[["kl", "value", "se"]].tolist() == pytest.approx([16, -0.1, 0], abs=1e-9)
    assert found.loc["rm-small-4800", "value"] == pytest.approx(0.7 - 0.55)
    alone, _ = compute(tables(runs=PPO[:1]))
    assert kl_frontier.CHANGE not in set(alone["kind"])


def test_each_panel_has_the_axis_of_its_own_truth():
    table, _ = compute(tables())
    left, right = kl_frontier.plot(table).axes
    assert "labelers" in left.get_ylabel()
    assert "truly better" in right.get_ylabel()
    # Left from .3, the parent, to the prediction of sigmoid(2); right from .5 to the same.
    assert left.get_ylim() == pytest.approx((0.25, sigmoid(2) + 0.05))
    assert right.get_ylim() == pytest.approx((0.45, sigmoid(2) + 0.05))
    data = tables()
    frame = data.experiment["summaries"].assign(expected=math.nan)
    table, _ = compute(
        Tables(experiment=Experiment({**data.experiment.tables, "summaries": frame}))
    )
    left, right = kl_frontier.plot(table).axes
    assert "truly better" in left.get_ylabel()
    assert right.get_ylabel() == ""
    assert left.get_ylim() == right.get_ylim()


def test_the_sentence_has_the_smallest_and_the_largest_kl():
    text = kl_frontier.reading(compute(tables())[0])
    assert text.startswith("Few: 50.0% preferred to the references (95% interval ")
    assert ") at 1.0 nats, 40.0% (95% interval " in text
    assert ") at 16.0, a difference of -10.0 points (95% interval " in text
    assert "), where the reward model predicts 88.1%; many: 55.0%" in text


def test_what_is_missing():
    assert kl_frontier.missing(Tables()) == "there is no experiment"
    data = tables(runs=PPO[:1])
    frame = data.experiment["policies"].assign(objective="rouge")
    rouge = Experiment({**data.experiment.tables, "policies": frame})
    assert kl_frontier.missing(Tables(experiment=rouge)) == (
        "no PPO policy on a reward model has a measured KL"
    )
