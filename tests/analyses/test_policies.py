"""The table of policies: KL measured and bounded, parents in words, and the dots."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import policies
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

ROWS = [  # policy, method, size, objective, coefficient, value network, N, temperature
    ("sup_small_t0.7", "supervised", "small", "", math.nan, "", math.nan, 0.7),
    ("ppo_b0.2", "human feedback", "small", "rm", 0.2, "separate", math.nan, 0.7),
    ("ppo_b0.05", "human feedback", "small", "rm", 0.05, "separate", math.nan, 0.7),
    ("ppo_b0.05_t0", "human feedback", "small", "rm", 0.05, "separate", math.nan, 0.0),
    ("ppo_shared", "human feedback", "small", "rm", 0.05, "shared", math.nan, 0.7),
    ("ppo_rouge", "rouge", "small", "rouge", 0.05, "separate", math.nan, 0.7),
    ("bo64", "best-of-n", "small", "rm", math.nan, "", 64.0, 0.7),
    ("bo8", "best-of-n", "small", "rm", math.nan, "", 8.0, 0.7),
]
KL = {"ppo_b0.2": 1.0, "ppo_b0.05": 6.0, "ppo_shared": 4.0, "ppo_rouge": 9.0}


def tables(seeds=(0.0, 1.0), only=lambda name: True) -> Tables:
    columns = ["policy", "method", "size", "objective", "kl_coef", "value_network", "best_of_n",
               "temperature"]  # fmt: skip
    rows = pd.DataFrame([row for row in ROWS if only(row[0])], columns=columns)
    parts = [
        pd.DataFrame({"policy": name, "seed": s, "post_id": [f"p{i}" for i in range(6)],
                      "domain": "tldr", "kl_nats": kl + np.tile([-0.5, 0.5], 3)})
        for name, kl in KL.items() for s in seeds
    ]  # fmt: skip
    models = pd.DataFrame(
        {
            "model": ["sft-small-s0", "ppo-s0", "ppo-rouge-s0"], "kind": ["sft", "ppo", "ppo"],
            "size": "small", "parent": ["pretrain-small", "sft-small-s0", "lost"],
            "objective": ["", "rm", "rouge"], "kl_coef": [math.nan, 0.05, 0.05],
            "value_network": ["", "separate", "separate"],
        }
    )  # fmt: skip
    objectives = pd.DataFrame(
        {"objective": ["rm", "rouge"], "label": ["the RM", "ROUGE"], "kind": ["rm", "rouge"],
         "labels": [600, math.nan]}
    )  # fmt: skip
    made = {"policies": rows.assign(parameters=4e5), "summaries": pd.concat(parts),
            "models": models, "objectives": objectives}  # fmt: skip
    return Tables(experiment=Experiment({k: coerce(k, v) for k, v in made.items()}))


def compute(data: Tables) -> tuple[pd.DataFrame, dict[str, int]]:
    assert policies.missing(data) is None
    result = policies.compute(data, policies.Options(), np.random.default_rng(0))
    return pd.read_csv(io.StringIO(result.table.to_csv(index=False))), result.left_out


def test_kl_is_measured_for_ppo_and_bounded_for_best_of_n():
    table, left_out = compute(tables())
    assert table["policy"].tolist() == [
        "ppo_b0.2", "ppo_b0.05", "ppo_shared", "ppo_rouge", "bo8", "bo64",
    ]  # fmt: skip
    rows = table.set_index("policy")
    assert rows.loc[list(KL), "value"].to_dict() == pytest.approx(KL)
    # Posts alone vary, by -.5 and .5: MS_post = 2 * 6 * .25 / 5 = .6; SE^2 = .6 / 12.
    assert rows.loc["ppo_b0.2", "se"] == pytest.approx(math.sqrt(0.05))
    # Table 10: 1.204 and 3.175.
    assert rows.loc[["bo8", "bo64"], "value"].round(3).tolist() == [1.204, 3.175]
    assert rows.loc[["bo8", "bo64"], "se"].isna().all()
    assert rows["seeds"].tolist() == [2, 2, 2, 2, 0, 0]
    assert left_out == {"greedy policies, whose samples show no KL": 1}


def test_what_a_policy_began_from_is_read_from_the_models():
    rows = compute(tables())[0].set_index("policy")["init"].fillna("")
    assert rows.to_dict() == {
        "ppo_b0.2": "", "ppo_b0.05": "small supervised", "ppo_shared": "", "ppo_rouge": "lost",
        "bo8": "small supervised", "bo64": "small supervised",
    }  # fmt: skip


def test_the_figure_has_a_dot_a_policy():
    table, _ = compute(tables())
    fig = policies.plot(table)
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "small PPO on the RM, β=0.2", "small PPO on the RM, β=0.05",
        "small PPO on the RM, shared value network, β=0.05", "small PPO on ROUGE, β=0.05",
        "small best of 8 by the RM", "small best of 64 by the RM",
    ]  # fmt: skip
    dots = [c.lines[0] for c in ax.containers if math.isfinite(float(c.lines[0].get_xdata()[0]))]
    shown = [float(dot.get_xdata()[0]) for dot in dots]
    assert shown == pytest.approx([1, 6, 4, 9, 1.20444, 3.17451], abs=1e-4)
    assert [float(dot.get_ydata()[0]) for dot in dots] == [0, -1, -2, -3, -4, -5]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False] * 4 + [True] * 2
    assert "open: best-of-N, an upper bound; error bars: 1 SE" in fig.get_supxlabel()
    assert [text.get_text() for text in ax.texts] == ["1.0", "6.0", "4.0", "9.0", "1.2", "3.2"]


@pytest.mark.parametrize("kind", ["bo", "ppo"])
def test_one_kind_alone(kind):
    table, _ = compute(tables((0.0,), only=lambda name: name.startswith(kind)))
    policies.plot(table).draw_without_rendering()
    assert ("best of 64 goes 3.2 at most" in policies.reading(table)) == (kind == "bo")


def test_the_sentence_has_both_ends():
    text = policies.reading(compute(tables())[0])
    assert text.startswith(
        "4 PPO policies went 1.0 to 9.0 nats from their parents (small PPO on the RM, β=0.2: 95% "
    )
    assert text.endswith("; best of 64 goes 3.2 at most.")


def test_what_is_missing():
    assert policies.missing(Tables()) == "there is no experiment"
    plain = tables(only=lambda name: name.startswith("sup"))
    assert policies.missing(plain) == "no policy was trained by PPO or chosen as the best of N"
    assert "has no policies" in str(policies.missing(Tables(experiment=Experiment())))
