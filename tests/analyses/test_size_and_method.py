"""Preference by size and method: means and length control by hand, and what the figure draws."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import size_and_method
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

RATIOS = np.array([-0.4, -0.1, 0.0, 0.2, 0.5, 0.1])
GAMMA = 0.8
MAIN = {  # policy: method, size, parameters, theta, added log ratio
    "pretrain_small_t0.7": ("pretrained", "small", 4e5, -1.2, 0.1),
    "sup_small_t0.7": ("supervised", "small", 4e5, -0.5, -0.2),
    "sup_large_t0.7": ("supervised", "large", 2e6, -0.1, -0.2),
    "sup_small_ppo_rm_t0.7": ("human feedback", "small", 4e5, 0.4, 0.3),
    "sup_large_ppo_rm_t0.7": ("human feedback", "large", 2e6, 0.8, 0.3),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tables(names=tuple(MAIN), seeds=(0.0, 1.0), expected=True) -> Tables:
    """Shares that are exactly sigmoid(theta + .8 log ratio), the same for each seed."""
    policies, parts = [], []
    for name in names:
        method, size, parameters, theta, longer = MAIN[name]
        policies.append(
            {"policy": name, "method": method, "size": size, "parameters": parameters, "main": 1.0}
        )
        x = RATIOS + longer
        share = sigmoid(theta + GAMMA * x)
        for seed in seeds:
            part = {
                "policy": name, "seed": seed, "post_id": [f"p{i}" for i in range(6)],
                "domain": "tldr", "chars": 100 * np.exp(x), "chars_reference": 100.0,
                "expected": share if expected else math.nan, "preferred": (share > 0.5) * 1.0,
            }  # fmt: skip
            parts += [pd.DataFrame(part), pd.DataFrame(part).assign(domain="cnndm", expected=0.0)]
    policies.append({"policy": "sup_small_t0", "method": "supervised", "main": 0.0})
    made = {"policies": pd.DataFrame(policies), "summaries": pd.concat(parts, ignore_index=True)}
    return Tables(experiment=Experiment({k: coerce(k, v) for k, v in made.items()}))


def compute(data: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    assert size_and_method.missing(data) is None
    result = size_and_method.compute(data, size_and_method.Options(), np.random.default_rng(0))
    return pd.read_csv(io.StringIO(result.table.to_csv(index=False))), result.left_out


def of(table: pd.DataFrame, quantity: str, truth: str = "labelers") -> pd.Series:
    rows = table[(table["quantity"] == quantity) & (table["truth"].fillna("") == truth)]
    return rows.set_index("policy")["value"]


def test_preference_is_the_mean_of_the_shares():
    table, left_out = compute(tables())
    for name, (_, _, _, theta, longer) in MAIN.items():
        share = sigmoid(theta + GAMMA * (RATIOS + longer))
        assert of(table, "preference")[name] == pytest.approx(share.mean())
        assert of(table, "preference", "gold")[name] == pytest.approx((share > 0.5).mean())
        # The ratios sum to .3 over 6 posts.
        assert of(table, "log_length_ratio", "")[name] == pytest.approx(0.05 + longer)
    assert left_out == {"summaries of other domains": 60}
    row = table[table["policy"] == "sup_small_t0.7"].iloc[0]
    assert (row["n"], row["n_clusters"], row["kind"], row["size"]) == (
        12, 6, "supervised", "small"
    )  # fmt: skip


def test_at_equal_length_the_share_is_that_of_theta():
    table, _ = compute(tables())
    even = of(table, "equal_length")
    for name, (_, _, _, theta, _) in MAIN.items():
        assert even[name] == pytest.approx(sigmoid(theta), abs=1e-7)
    slope = table[table["quantity"] == "slope"]
    assert slope["value"].tolist() == pytest.approx([GAMMA])


def test_a_post_that_a_policy_lacks_is_left_out_of_length_control():
    data = tables()
    rows = data.experiment["summaries"]
    hole = (rows["policy"] == "sup_small_t0.7") & (rows["post_id"] == "p2") & (rows["seed"] == 1)
    gone = Tables(experiment=Experiment({**data.experiment.tables, "summaries": rows[~hole]}))
    table, left_out = compute(gone)
    assert left_out["posts that some policy lacks, at equal length"] == 1
    assert of(table, "equal_length")["sup_large_t0.7"] == pytest.approx(sigmoid(-0.1), abs=1e-7)
    assert (table.loc[table["quantity"] == "equal_length", "n_clusters"] == 5).all()


def test_a_policy_of_one_seed_is_controlled_with_that_seed():
    data = tables()
    rows = data.experiment["summaries"]
    rows = rows[(rows["policy"] != "sup_large_t0.7") | (rows["seed"] == 0)]
    table, left_out = compute(
        Tables(experiment=Experiment({**data.experiment.tables, "summaries": rows}))
    )
    assert left_out == {"summaries of other domains": 54}
    assert of(table, "equal_length")["sup_large_t0.7"] == pytest.approx(sigmoid(-0.1), abs=1e-7)
    assert (table.loc[table["quantity"] == "equal_length", "n"].to_numpy() == [12, 12, 6, 12, 12]
            ).all()  # fmt: skip


def drawn(ax) -> list[list[tuple[float, float]]]:
    return [[tuple(map(float, p)) for p in c.lines[0].get_xydata()] for c in ax.containers]


def test_the_figure_has_a_line_a_method_in_both_panels():
    table, _ = compute(tables())
    fig = size_and_method.plot(table)
    left, right = fig.axes
    for ax, quantity in ((left, "preference"), (right, "equal_length")):
        value = of(table, quantity)
        assert drawn(ax) == [
            [(4e5, value["pretrain_small_t0.7"])],
            [(4e5, value["sup_small_t0.7"]), (2e6, value["sup_large_t0.7"])],
            [(4e5, value["sup_small_ppo_rm_t0.7"]), (2e6, value["sup_large_ppo_rm_t0.7"])],
        ]
        said = {text.get_text() for text in ax.texts}
        assert {"pretrained", "supervised", "human feedback", "references"} <= said
    # Behind: gold on the left, the shares as written on the right.
    thin = [line.get_ydata().tolist() for line in left.lines if line.get_linewidth() == 0.8]
    gold = of(table, "preference", "gold")
    assert [gold["sup_small_t0.7"], gold["sup_large_t0.7"]] in thin
    note = " ".join(fig.get_supxlabel().split())
    assert "dashed: share truly better, by gold; dotted: as written; error bars: 1 SE" in note


@pytest.mark.parametrize(
    "names", [("sup_small_t0.7",), ("sup_small_t0.7", "sup_small_ppo_rm_t0.7"),
              ("sup_large_t0.7", "pretrain_small_t0.7")],
)  # fmt: skip
@pytest.mark.parametrize("seeds", [(0.0,), (0.0, 1.0)])
def test_one_size_one_seed_and_missing_methods(names, seeds):
    table, _ = compute(tables(names, seeds))
    fig = size_and_method.plot(table)
    fig.draw_without_rendering()
    assert len(drawn(fig.axes[0])) == len(names)
    assert size_and_method.reading(table).startswith("Preferred to the references by labelers: ")


def test_gold_stands_for_labelers_where_nobody_knows_them():
    names = ("sup_small_t0.7", "sup_small_ppo_rm_t0.7")
    table, _ = compute(tables(names, expected=False))
    assert set(table["truth"].dropna()) == {"gold"}
    fig = size_and_method.plot(table)
    assert "mean share truly better" in " ".join(fig.get_supxlabel().split())
    assert "by the gold score" in size_and_method.reading(table)


def test_without_lengths_there_is_one_panel():
    data = tables()
    rows = data.experiment["summaries"].assign(chars_reference=math.nan)
    table, _ = compute(Tables(experiment=Experiment({**data.experiment.tables, "summaries": rows})))
    assert len(size_and_method.plot(table).axes) == 1


def test_the_sentence_names_the_largest_of_each_method():
    text = size_and_method.reading(compute(tables())[0])
    # sigmoid(.8) is .690; the lengths of that policy are e^.35 of the references' on average.
    assert "% for large human feedback (95% interval" in text
    assert "for large supervised" in text
    assert "for small pretrained" in text
    assert "at equal length 69.0% for large human feedback" in text


def test_what_is_missing():
    assert size_and_method.missing(Tables()) == "there is no experiment"
