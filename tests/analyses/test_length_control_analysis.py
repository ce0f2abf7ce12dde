"""Length control figure: the worked example on released labels, and small tables by hand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import length_control
from evalsuite.datasets import load
from evalsuite.errors import ConfigError, StatisticsError
from evalsuite.pipeline.analyze import run_analyses
from evalsuite.stats.bradley_terry import bradley_terry
from evalsuite.tables import Tables, coerce

REFERENCE = "reference_summary"
Options = length_control.Options


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def compute(data: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    result = length_control.compute(data, Options(**options), np.random.default_rng(0))
    return through_csv(result.table), result.left_out


def of(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    return table[table["quantity"] == quantity].set_index("policy")


def tables(rows: list[tuple[str, str, float, float, float]], items: object = None) -> Tables:
    """Tables of (left policy, right policy, left chars, right chars, choice)."""
    frame = pd.DataFrame(
        rows, columns=["left_policy", "right_policy", "left_chars", "right_chars", "choice"]
    )
    frame["comparison_id"] = [f"c{i}" for i in range(len(rows))]
    frame["item"] = items
    parts = []
    for side in ("left", "right"):
        frame[f"{side}_id"] = [f"{side}{i}" for i in range(len(rows))]
        part = frame[[f"{side}_id", f"{side}_policy", f"{side}_chars"]]
        parts.append(part.set_axis(["summary_id", "policy", "chars"], axis=1))
    frame = frame.drop(columns=["left_chars", "right_chars"])
    return Tables(
        summaries=coerce("summaries", pd.concat(parts, ignore_index=True)),
        comparisons=coerce("comparisons", frame),
    )


@pytest.fixture
def small(rng: np.random.Generator) -> Tables:
    """150 comparisons of "a" with the references and 60 of "b" with "a", five a post."""
    rows = []
    for i in range(210):
        pair = (REFERENCE, "a") if i < 150 else ("b", "a")
        chars = rng.integers(60, 240, 2)
        right = 1 / (1 + (chars[0] / chars[1]) ** 1.2)
        pair, chars, right = (pair, chars, right) if i % 2 else (pair[::-1], chars[::-1], 1 - right)
        rows.append((*pair, *map(float, chars), float(rng.random() < right)))
    return tables(rows, items=[f"p{i % 42}" for i in range(210)])


@pytest.fixture(scope="module")
def released(shared_data: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    return compute(load(shared_data / "tldr_feedback" / "pairs_batch3_to_10.jsonl"))


def test_worked_example_on_released_labels(released):
    # Batches 3 to 10 of the release, characters of the stripped text, 5,218 pairs of two policies.
    table, left_out = released
    robust = table[table["quantity"] == "length_coefficient"].iloc[0]
    model = table[table["quantity"] == "length_coefficient_model"].iloc[0]
    assert f"{robust['value']:.4f}" == f"{model['value']:.4f}" == "0.8732"
    assert f"{model['se']:.4f}" == "0.0717"
    assert robust["n"] == model["n"] == 5218
    assert "rows as clusters" in robust["method"]
    controlled, raw = of(table, "controlled_rate"), of(table, "raw_rate")
    expected = {
        "sup1": ("0.189", "0.218", 507), "sup2": ("0.276", "0.288", 1160),
        "sup3_6b": ("0.318", "0.388", 170), "sup2_bo8_rm1": ("0.435", "0.373", 168),
        "sup3_bo63_rm2": ("0.531", "0.494", 81), "sup3_ppo_rm1": ("0.278", "0.202", 169),
        "sup4_t0.7": ("0.333", "0.297", 159), "sup4_ppo_rm3_kl10": ("0.526", "0.434", 114),
        "sup4_ppo_rm3_kl20": ("0.386", "0.399", 132), "sup4_bo128_rm3": ("0.517", "0.471", 118),
    }  # fmt: skip
    for policy, (before, after, n) in expected.items():
        assert f"{raw.loc[policy, 'value']:.3f}" == before
        assert f"{controlled.loc[policy, 'value']:.3f}" == after
        assert raw.loc[policy, "n"] == n
    assert left_out == {"comparisons of a policy with itself": 2726}


def test_every_policy_has_both_rates_with_errors_and_intervals(released):
    table, _ = released
    assert len(of(table, "controlled_rate")) == 20
    for quantity in ("raw_rate", "controlled_rate", "change"):
        rows = of(table, quantity)
        assert set(rows.index) == set(of(table, "controlled_rate").index)
        assert (rows["se"] > 0).all()
        assert (rows["low"] < rows["value"]).all()
        assert (rows["value"] < rows["high"]).all()
    parts = (of(table, q)["value"] for q in ("controlled_rate", "raw_rate", "change"))
    after, before, change = parts
    assert (after - before).to_numpy() == pytest.approx(change.to_numpy(), abs=1e-12)


def test_bins_of_length_ratios_hold_all_direct_comparisons(released):
    table, _ = released
    bins = table[table["quantity"] == "preference_by_ratio"]
    mine = bins[bins["policy"] == "sup2"]
    assert len(mine) == 8
    assert mine["n"].sum() == 1160
    # The weighted mean of the bins is the raw rate; longer is preferred, so they rise.
    assert (mine["value"] * mine["n"]).sum() / 1160 == pytest.approx(
        of(table, "raw_rate").loc["sup2", "value"]
    )
    assert (mine["ratio"].between(mine["ratio_low"], mine["ratio_high"])).all()
    assert mine["fitted"].is_monotonic_increasing
    assert mine["value"].iloc[-1] > mine["value"].iloc[0] + 0.2
    # sup4_bo512_rm3 met the references 20 times: too few for a bin.
    assert "sup4_bo512_rm3" not in set(bins["policy"])


def test_figure_and_reading_of_released_labels(released, shared_data):
    table, _ = released
    left, *rights = length_control.plot(table).axes
    assert left.get_title(loc="left") == "Raw and at equal length"
    assert len(left.get_yticklabels()) == 20
    drawn = {round(float(x), 6) for line in left.lines for x in np.atleast_1d(line.get_xdata())}
    for quantity in ("raw_rate", "controlled_rate"):
        assert {round(v, 6) for v in of(table, quantity)["value"]} <= drawn
    assert {right.get_xscale() for right in rights} == {"log"}
    assert len({right.get_xlim() + right.get_ylim() for right in rights}) == 1
    titles = [right.get_title(loc="left") for right in rights]
    assert len(titles) == 3
    assert titles[-1] == "By length:\n1.3B sup2"
    # sigmoid(0.8732 ln 2) = 2^0.8732 / (1 + 2^0.8732) = 1.8318 / 2.8318 = 64.7%.
    assert length_control.reading(table) == (
        "Of two summaries of equally good policies the one twice as long is preferred in 64.7% of "
        "comparisons (length coefficient 0.8732, 95% interval 0.73 to 1.01, n = 5,218); at equal "
        "length the rate of 1.3B sup3 best of 63 (rm2) against the references moves most among "
        "policies with 30 comparisons, from 56.2% (all pairs pooled) to 49.4%."
    )
    # Without length the model is Bradley-Terry's, which has its own fit.
    rows = load(shared_data / "tldr_feedback" / "pairs_batch3_to_10.jsonl").comparisons
    strengths = bradley_terry(rows["left_policy"], rows["right_policy"], rows["choice"]).strengths
    pooled = of(table, "pooled_rate")["value"]
    theta = strengths.set_index("policy")["value"][pooled.index]
    assert pooled.to_numpy() == pytest.approx(1 / (1 + np.exp(-theta.to_numpy())), abs=1e-8)


def test_posts_are_the_clusters_where_known(small):
    table, left_out = compute(small)
    rate = of(table, "controlled_rate")
    assert "cluster-robust by post" in rate.loc["a", "method"]
    assert of(table, "raw_rate").loc["a", "n_clusters"] == 42
    assert table.loc[table["quantity"] == "length_coefficient", "n_clusters"].iloc[0] == 42
    assert left_out == {}


def test_policy_that_never_met_the_baseline(small):
    table, _ = compute(small)
    raw, controlled = of(table, "raw_rate"), of(table, "controlled_rate")
    assert math.isnan(raw.loc["b", "value"])
    assert raw.loc["b", "method"] == "undefined: no direct comparison with reference_summary"
    assert 0 < controlled.loc["b", "value"] < 1
    assert math.isnan(of(table, "change").loc["b", "value"])
    assert len(length_control.plot(table).axes[0].get_yticklabels()) == 2


def test_mean_length_counts_each_appearance():
    rows = [("a", REFERENCE, 100.0, 50.0, 0.0), (REFERENCE, "a", 70.0, 40.0, 1.0)] * 3
    table, _ = compute(tables(rows))
    # "a": 100 and 40, three times each; references: 50 and 70.
    assert of(table, "mean_chars")["value"].to_dict() == {REFERENCE: 60.0, "a": 70.0}


def test_rows_left_out_are_counted(small):
    extra = tables(
        [("a", "a", 9.0, 9.0, 1.0), ("a", REFERENCE, 0.0, 9.0, 1.0), ("a", REFERENCE, 5, 5, 0)]
    )
    one = extra.comparisons.assign(
        comparison_id=["x", "y", "z"], split=["t", "t", "v"],
        left_id=lambda c: "x" + c["left_id"], right_id=lambda c: "x" + c["right_id"],
    )  # fmt: skip
    more = extra.summaries.assign(summary_id="x" + extra.summaries["summary_id"])
    data = Tables(
        summaries=pd.concat([small.summaries, more], ignore_index=True),
        comparisons=pd.concat([small.comparisons.assign(split="t"), one], ignore_index=True),
    )
    table, left_out = compute(data, splits=("t",))
    assert left_out == {
        "comparisons of other splits": 1,
        "comparisons of a policy with itself": 1,
        "comparisons with an empty summary or without length": 1,
    }
    assert table.loc[table["quantity"] == "length_coefficient", "n"].iloc[0] == 210


def test_other_baseline_and_one_that_is_not_there(small):
    table, _ = compute(small, baseline="a")
    assert set(of(table, "controlled_rate").index) == {REFERENCE, "b"}
    swapped = of(table, "controlled_rate").loc[REFERENCE, "value"]
    own = of(compute(small)[0], "controlled_rate").loc["a", "value"]
    assert swapped == pytest.approx(1 - own, abs=1e-9)
    with pytest.raises(ConfigError, match="baseline is 'nobody'; policies in the data: a, b, ref"):
        compute(small, baseline="nobody")
    with pytest.raises(ConfigError, match="splits is 'valid2'; splits in the data: none"):
        compute(small, splits=("valid2",))


def as_if_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an interval of the coefficient that does not cover 0."""
    coefficient = table["quantity"] == "length_coefficient"
    return table.assign(low=table["low"].mask(coefficient, 0.1))


def test_without_references_the_policy_with_most_comparisons_is_the_baseline():
    """ "b" meets "a" 40 times and "c" 10 times; the sentence names it."""
    rows = [("b", "a", 80.0 + 9 * (i % 7), 100.0, float(i % 3 == 0)) for i in range(40)]
    rows += [("b", "c", 80.0 + 9 * (i % 5), 100.0, float(i % 2)) for i in range(10)]
    table, _ = compute(tables(rows))
    assert set(table["against"].dropna()) == {"b"}
    assert length_control.reading(table).startswith("No effect of length shows (length coef")
    assert "against b moves most among policies with 30 comparisons" in length_control.reading(
        as_if_shown(table)
    )


def test_rates_of_too_few_posts_are_counted_not_drawn():
    rows = [("a", REFERENCE, 80.0 + 9 * (i % 7), 100.0, float(i % 3 == 0)) for i in range(40)]
    rows += [("rare", REFERENCE, 90.0, 100.0, 1.0)]
    fig = length_control.plot(compute(tables(rows))[0])
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["a"]
    note = " ".join(fig.get_supxlabel().split())
    assert "1 policy of too few clusters for an interval in the table only" in note
    (text,) = length_control.plot(compute(tables(rows[-1:]))[0]).axes[0].texts
    assert text.get_text() == "no policy has enough comparisons for an interval"


def test_policies_with_few_comparisons():
    # Twelve comparisons with the references: in the table and the left panel, no bins, no curve,
    # and too few for the sentence to single the policy out.
    rows = [("a", REFERENCE, 90.0 + 10 * (i % 5), 100.0, float(i % 3 == 0)) for i in range(12)]
    table, _ = compute(tables(rows))
    assert of(table, "change").loc["a", "n"] == 12
    assert "preference_by_ratio" not in set(table["quantity"])
    assert len(length_control.plot(table).axes) == 1
    said = length_control.reading(as_if_shown(table))
    assert said.endswith("no policy met the references 30 times.")


def test_two_way_clusters(small):
    labelled = small.comparisons.assign(labeler=[f"w{i % 7}" for i in range(210)])
    data = Tables(summaries=small.summaries, comparisons=labelled)
    both = of(compute(data, clusters="both")[0], "controlled_rate")
    assert "two-way cluster-robust by post and labeler" in both.loc["a", "method"]
    people = of(compute(data, clusters="labeler")[0], "controlled_rate")
    assert people.loc["a", "n_clusters"] == 7


def test_equal_lengths_leave_the_rates_as_they_are(rng):
    choice = (rng.random(40) < 0.3).astype(float)
    table, _ = compute(tables([(REFERENCE, "a", 90.0, 90.0, c) for c in choice]))
    assert of(table, "controlled_rate").loc["a", "value"] == pytest.approx(choice.mean())
    assert length_control.reading(table) == (
        "The effect of length cannot be told here: undefined: the two lengths are equal in every "
        "comparison."
    )
    length_control.plot(table)


def test_nothing_to_compare():
    assert length_control.missing(Tables()) == "no comparisons"
    alike = tables([("a", "a", 9.0, 9.0, 1.0)])
    assert length_control.missing(alike) == "no comparison of two different policies"
    empty = tables([("a", "b", 0.0, 9.0, 1.0)])
    assert length_control.missing(empty) == "no comparison in which both summaries have a length"
    assert length_control.missing(tables([("a", "b", 8.0, 9.0, 1.0)])) is None
    table, left_out = compute(empty)
    assert table.empty
    assert left_out == {"comparisons with an empty summary or without length": 1}
    assert length_control.reading(table) == "No comparison of two different policies has lengths."
    assert len(length_control.plot(table).axes) == 1


def test_run_from_the_pipeline(small, tmp_path):
    run = run_analyses(["length_control"], small, tmp_path, overrides=["bins=2"])
    folder = run.written["length_control"]
    table = pd.read_csv(folder / "table.csv")
    assert (table["quantity"] == "preference_by_ratio").sum() == 2
    with pytest.raises(ConfigError, match="clusters"):
        run_analyses(["length_control"], small, tmp_path, overrides=["clusters=city"])


@pytest.fixture
def shared_prompts(rng: np.random.Generator) -> Tables:
    """60 prompts, answered by "x" and "y" and compared with "base", on either side."""
    rows, items = [], []
    for i in range(60):
        for j, policy in enumerate("xy"):
            own, base = (float(c) for c in rng.integers(100, 400, 2))
            win = float(np.clip(0.4 + 0.2 * j + (own - base) / 800 + 0.1 * rng.normal(), 0, 1))
            given = (policy, "base", own, base, 1 - win)
            rows.append(given if i % 2 else (given[1], given[0], base, own, win))
            items.append(f"q{i}")
    return tables(rows, items)


def test_alpaca_eval_form(shared_prompts):
    table, left_out = compute(shared_prompts, form="alpaca_eval")
    assert left_out == {}
    raw, controlled = of(table, "raw_rate"), of(table, "controlled_rate")
    assert set(controlled["against"]) == {"base"}
    rows = shared_prompts.comparisons
    on_right = rows["right_policy"] == "x"
    share = np.where(on_right, rows["choice"], 1 - rows["choice"])
    mine = on_right | (rows["left_policy"] == "x")
    assert raw.loc["x", "value"] == pytest.approx(share[mine].mean())
    assert controlled.loc["x", "method"].startswith("influence function by prompt")
    assert controlled.loc["x", "n"] == 60
    change = controlled["value"] - raw["value"]
    assert of(table, "change")["value"].to_dict() == pytest.approx(change.to_dict())
    assert set(of(table, "length_slope").index) == {"x", "y"}
    assert len(length_control.plot(table).axes) == 2
    assert length_control.reading(table).startswith(
        "With a typical policy longer answers are preferred (slope "
    )


def test_alpaca_eval_form_leaves_out_what_it_cannot_use(shared_prompts):
    more = shared_prompts.comparisons.iloc[:2].assign(comparison_id=["m0", "m1"])
    more.loc[more.index[0], "item"] = None
    more.loc[more.index[1], ["left_policy", "right_policy"]] = ["x", "y"]
    data = Tables(
        summaries=shared_prompts.summaries,
        comparisons=pd.concat([shared_prompts.comparisons, more], ignore_index=True),
    )
    table, left_out = compute(data, form="alpaca_eval", baseline="base")
    assert left_out == {
        "comparisons without the baseline": 1,
        "comparisons that do not name their prompt": 1,
    }
    assert of(table, "controlled_rate").equals(
        of(compute(shared_prompts, form="alpaca_eval")[0], "controlled_rate")
    )
    nameless = Tables(
        summaries=data.summaries, comparisons=coerce("comparisons", more.assign(item=None))
    )
    with pytest.raises(StatisticsError, match="needs comparisons that name their prompt or post"):
        compute(nameless, form="alpaca_eval")
    with pytest.raises(StatisticsError, match="form alpaca_eval has clusters 'both'; allowed"):
        compute(data, form="alpaca_eval", clusters="both")


def test_published_length_controlled_rates(shared_data: Path):
    folder = shared_data / "alpaca_eval"
    table, _ = compute(load(folder / "annotations.csv.gz"), form="alpaca_eval")
    published = pd.read_csv(folder / "published.csv").set_index("policy")
    raw, found = of(table, "raw_rate"), of(table, "controlled_rate")
    assert len(found) == 28
    published = published.reindex(found.index)
    # The preferences on file are rounded to six decimals.
    assert (100 * raw["value"]).to_numpy() == pytest.approx(published["win_rate"], abs=1e-5)
    error = 100 * found["value"] - published["length_controlled_win_rate"]
    assert math.sqrt((error**2).mean()) <= 1.3
    assert found["value"].corr(published["length_controlled_win_rate"]) >= 0.998


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.5, 1.5, "With a typical policy longer answers are preferred (slope 1.0000"),
        (-1.0, 3.0, "No effect of length shows (slope 1.0000"),
    ],
)
def test_a_slope_is_called_an_effect_only_where_it_shows(
    low: float, high: float, said: str
) -> None:
    row = {"against": "y", "value": 1.0, "se": 0.5, "low": low, "high": high, "level": 0.95, "n": 9}
    table = pd.DataFrame([{"quantity": length_control.LOCATION, "policy": "x", **row}])
    assert length_control.reading(table).startswith(said)
