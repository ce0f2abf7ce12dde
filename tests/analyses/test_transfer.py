"""Transfer: gold, shares, lengths and slopes by hand, and what the figure draws."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from analyses import transfer
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

STEPS = np.array([-20.0, -10.0, 0.0, 10.0, 20.0, 0.0])
POLICIES = {  # policy: method, size, parameters, gold, chars, slope per 100 characters
    "sup_small_t0.7": ("supervised", "small", 4e5, 2.0, 120.0, 1.5),
    "sup_large_t0.7": ("supervised", "large", 2e6, 2.5, 130.0, 0.5),
    "sup_small_ppo_rm_t0.7": ("human feedback", "small", 4e5, 4.0, 180.0, 1.0),
}


def tables(names=tuple(POLICIES), seeds=(0.0, 1.0), domains=("tldr", "cnndm")) -> Tables:
    """Gold on a line of length; a seed adds -.1 or .1, at home everything is 1 better."""
    policies, parts = [], []
    for name in names:
        method, size, parameters, gold, chars, slope = POLICIES[name]
        policies.append(
            {"policy": name, "method": method, "size": size, "parameters": parameters, "main": 1.0}
        )
        for domain in domains:
            for seed in seeds:
                value = gold + slope * STEPS / 100 + 0.1 * (2 * seed - 1) + (domain == "tldr")
                parts.append(
                    pd.DataFrame(
                        {"policy": name, "seed": seed, "domain": domain,
                         "post_id": [f"{domain}{i}" for i in range(6)], "gold": value,
                         "chars": chars + STEPS, "gold_reference": [3.0, 3, 3, 3, 3, 4.2],
                         "chars_reference": 200.0, "expected": [0.5, 0.5, 0.5, 0.7, 0.7, 0.7],
                         "preferred": (value > 3) * 1.0}
                    )
                )  # fmt: skip
    made = {"policies": pd.DataFrame(policies), "summaries": pd.concat(parts, ignore_index=True)}
    return Tables(experiment=Experiment({k: coerce(k, v) for k, v in made.items()}))


def compute(data: Tables) -> pd.DataFrame:
    assert transfer.missing(data) is None
    result = transfer.compute(data, transfer.Options(), np.random.default_rng(0))
    assert result.left_out == {}
    return pd.read_csv(io.StringIO(result.table.to_csv(index=False)))


def of(table: pd.DataFrame, quantity: str, home: int = 0) -> pd.DataFrame:
    return table[(table["quantity"] == quantity) & (table["home"] == home)].set_index("policy")


def test_gold_length_and_slope_of_each_policy():
    table = compute(tables())
    gold, chars, slope = (of(table, q) for q in ("gold", "chars", "slope_per_100_chars"))
    for name, (_, _, _, quality, length, per) in POLICIES.items():
        assert gold.loc[name, "value"] == pytest.approx(quality)
        assert chars.loc[name, "value"] == pytest.approx(length)
        assert slope.loc[name, "value"] == pytest.approx(per)
        assert of(table, "gold", 1).loc[name, "value"] == pytest.approx(quality + 1)
        assert of(table, "expected").loc[name, "value"] == pytest.approx(0.6)
    # Seeds differ by .2: MS_seed = 6 (.1^2 + .1^2) = .12. Gold .5 / 100 per character of the steps
    # gives MS_post = 2 * .005^2 * 1000 / 5 = .01, nothing is left over: SE^2 = .13 / 12.
    assert gold.loc["sup_large_t0.7", "se"] == pytest.approx(np.sqrt(0.13 / 12))
    assert gold.loc["sup_large_t0.7", "n_clusters"] == 6
    # Sum of squares of the steps is 1,000 in each seed: 2,000 over 12 - 1.
    assert chars.loc["sup_small_t0.7", "sd_chars"] == pytest.approx(np.sqrt(2000 / 11))


def test_references_are_a_policy_of_one_seed():
    table = compute(tables())
    assert of(table, "gold").loc["reference_summary", "value"] == pytest.approx(3.2)
    assert of(table, "gold").loc["reference_summary", "n"] == 6
    assert of(table, "chars").loc["reference_summary", "value"] == 200
    slope = of(table, "slope_per_100_chars").loc["reference_summary"]
    assert np.isnan(slope["value"])
    assert "all lengths are equal" in slope["method"]


def points(ax) -> list[list[tuple[float, float]]]:
    return [[tuple(map(float, p)) for p in c.lines[0].get_xydata()] for c in ax.containers]


def test_the_figure_has_the_second_domain():
    table = compute(tables())
    fig = transfer.plot(table)
    left, right = fig.axes
    assert [len(line) for line in points(left)] == [0, 2, 1]
    assert points(left)[1] == [
        (4e5, pytest.approx(2.0)),
        (2e6, pytest.approx(2.5)),
    ]
    assert [line[0] for line in points(right)] == [
        (pytest.approx(120), pytest.approx(2.0)), (pytest.approx(130), pytest.approx(2.5)),
        (pytest.approx(180), pytest.approx(4.0)), (200.0, pytest.approx(3.2)),
    ]  # fmt: skip
    # The line of the first policy: half an SD of length each way, 1.5 per 100 characters.
    reach = 0.5 * np.sqrt(2000 / 11)
    first = next(line for line in right.lines if line.get_alpha() == 0.55)
    assert first.get_xdata().tolist() == pytest.approx([120 - reach, 120 + reach])
    assert first.get_ydata().tolist() == pytest.approx(
        [2 - 0.015 * reach, 2 + 0.015 * reach]
    )  # fmt: skip
    assert left.get_title(loc="left") == "Quality on news"
    assert left.get_ylabel() == "mean utility of the summaries"
    assert {"small", "large", "references"} <= {text.get_text() for text in right.texts}


@pytest.mark.parametrize("seeds", [(0.0,), (0.0, 1.0)])
@pytest.mark.parametrize("names", [("sup_small_t0.7",), ("sup_large_t0.7", "sup_small_t0.7")])
def test_one_size_one_seed_and_missing_methods(names, seeds):
    table = compute(tables(names, seeds))
    fig = transfer.plot(table)
    fig.draw_without_rendering()
    if len(names) == 1:
        assert "supervised" in {text.get_text() for text in fig.axes[1].texts}


def test_the_sentence_has_both_domains():
    text = transfer.reading(compute(tables()))
    assert text.startswith(
        "On news preferred to the references by labelers: 60.0% for small human feedback (95%"
    )
    assert "60.0% at home), 60.0% for large supervised" in text
    nothing = compute(tables()).assign(low=np.nan)
    assert transfer.reading(nothing).startswith("No policy was judged on enough posts")


def test_what_is_missing():
    assert transfer.missing(Tables()) == "there is no experiment"
    home = tables(domains=("tldr",))
    assert transfer.missing(home) == "the policies were judged on one domain only"
