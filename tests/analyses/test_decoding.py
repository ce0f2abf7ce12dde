"""Decoding settings: the rates of batch 18 of the release, pooling, and what is left out."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import decoding
from evalsuite.datasets import load
from evalsuite.datasets.release import parse_policy
from evalsuite.errors import EvalsuiteError
from evalsuite.tables import Tables, coerce, from_columns

REFERENCE = "reference_summary"


def tables(rows: list[tuple[str, str, float, str]], domain: str = "tldr") -> Tables:
    """Tables of (left policy, right policy, choice, post)."""
    left, right, choice, item = zip(*rows, strict=True) if rows else ((), (), (), ())
    comparisons = from_columns(
        "comparisons",
        {"comparison_id": range(len(rows)), "left_policy": left, "right_policy": right,
         "choice": choice, "item": item, "domain": [domain] * len(rows)},
    )  # fmt: skip
    names = sorted(set(left) | set(right))
    policies = pd.DataFrame([{"policy": p, **parse_policy(p)._asdict()} for p in names])
    return Tables(comparisons=comparisons, policies=coerce("policies", policies))


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def compute(data: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    result = decoding.compute(data, decoding.Options(**options), np.random.default_rng(0))  # type: ignore[arg-type]
    return through_csv(result.table), result.left_out


def against_reference(policy: str, wins: int, n: int) -> list[tuple[str, str, float, str]]:
    return [(REFERENCE, policy, float(i < wins), f"p{i}") for i in range(n)]


# Counted by hand-written loops from the raw file, all splits: preferred, comparisons.
BATCH_18 = {
    "T=0": (0.367, 98), "T=0.3": (0.333, 9), "T=0.5": (0.333, 9), "T=0.7": (0.247, 97),
    "T=1": (0.222, 9), "top-p 0.95": (0.144, 97),
}  # fmt: skip
DUELS_18 = {
    ("T=0", "T=0.7"): (0.562, 96), ("T=0", "top-p 0.95"): (0.688, 96),
    ("T=0.7", "top-p 0.95"): (0.639, 97),
}  # fmt: skip


def test_batch_18_of_the_release(shared_data: Path) -> None:
    data = load(shared_data / "tldr_feedback" / "comparisons" / "batch18.json")
    assert decoding.missing(data) is None
    table, left_out = compute(data)
    assert left_out == {}
    over = table[table["quantity"] == decoding.OVER_REFERENCE].set_index("setting")
    for setting, (rate, n) in BATCH_18.items():
        assert over.loc[setting, "value"] == pytest.approx(rate, abs=5e-4), setting
        assert over.loc[setting, "n"] == n
    duels = table[table["quantity"] == decoding.OVER_SETTING].set_index(["setting", "against"])
    for pair, (rate, n) in DUELS_18.items():
        assert duels.loc[pair, "value"] == pytest.approx(rate, abs=5.1e-4), pair
        assert duels.loc[pair, "n"] == n
    # Few posts have two labels here, so clustering by post stays near the binomial error.
    for setting, error in (("T=0", 0.049), ("T=0.7", 0.044), ("top-p 0.95", 0.036)):
        assert over.loc[setting, "se"] == pytest.approx(error, abs=0.004)
    assert decoding.reading(table).startswith(
        "6.7B supervised summaries are preferred to the references in 36.7% of 98 comparisons at T"
    )
    assert decoding.reading(table).endswith("T=0 is preferred to top-p 0.95 in 68.8% of 96.")


def test_spellings_of_one_setting_are_pooled_and_sides_are_turned() -> None:
    rows = [(REFERENCE, "m_t.7", 1.0, f"p{i}") for i in range(6)]  # wins
    rows += [("m_t0.7", REFERENCE, 1.0, f"p{i}") for i in range(6, 8)]  # losses
    rows += against_reference("m_t1", 2, 8)
    rows += [("m_t1", "m_t.7", 0.0, f"p{i}") for i in range(3)] + [("m_t.7", "m_t1", 0.5, "p3")]
    table, left_out = compute(tables(rows))
    found = table.set_index(["setting", "against"])
    assert list(found.index) == [("T=0.7", REFERENCE), ("T=1", REFERENCE), ("T=0.7", "T=1")]
    assert found.loc[("T=0.7", REFERENCE), "value"] == pytest.approx(6 / 8)
    assert found.loc[("T=1", REFERENCE), "value"] == pytest.approx(2 / 8)
    assert found.loc[("T=0.7", "T=1"), "value"] == pytest.approx(0.5 / 4)  # hotter won 3, a tie
    assert left_out == {}


def test_rows_left_out_are_counted_by_reason() -> None:
    rows = against_reference("m_t.5", 3, 6) + against_reference("m_t1", 3, 6)
    rows += against_reference("sup4_bo64_rm3", 1, 2)  # best-of-N
    rows += against_reference("sup1", 1, 3)  # decoding not said
    rows += [("m_t1", "other_t1", 1.0, "p0")]  # two models
    rows += [("m_t.5", "m_t0.5", 1.0, "p0")]  # one setting
    rows += against_reference("single_t.7", 1, 4)
    table, left_out = compute(tables(rows))
    assert set(table["model"]) == {"m"}
    assert left_out == {
        "decoding setting not in the policy's name, or best-of-N": 5,
        "neither with the reference nor between settings of one model": 1,
        "both summaries of one setting": 1,
        "model at one setting only": 4,
    }
    assert table["n"].sum() + sum(left_out.values()) == len(rows)


def test_domains_are_kept_apart() -> None:
    rows = against_reference("m_t.5", 6, 8) + against_reference("m_t1", 3, 8)
    data = tables(rows)
    news = data.comparisons.assign(domain="cnndm", choice=1 - data.comparisons["choice"])
    both = Tables(comparisons=pd.concat([data.comparisons, news]), policies=data.policies)
    table, _ = compute(both)
    found = table.set_index(["domain", "setting"])["value"]
    assert found["tldr", "T=0.5"] == pytest.approx(6 / 8)
    assert found["cnndm", "T=0.5"] == pytest.approx(2 / 8)
    assert "(tldr)" in decoding.reading(table) or "(cnndm)" in decoding.reading(table)


def test_models_tuned_to_different_rewards_are_different_models() -> None:
    rows = against_reference("sup4_ppo_rm3_t.7", 3, 6) + against_reference("sup4_ppo_rm3_t1", 3, 6)
    rows += against_reference("sup4_ppo_rm4_t.7", 3, 6)
    table, left_out = compute(tables(rows))
    assert list(table["setting"]) == ["T=0.7", "T=1"]
    assert left_out == {"model at one setting only": 6}


def test_missing_says_why() -> None:
    assert decoding.missing(tables([])) == "the data has no comparisons"
    one = tables(against_reference("m_t.7", 1, 3))
    assert decoding.missing(one) == "no model was compared at two or more known decoding settings"
    with pytest.raises(EvalsuiteError, match="no model was compared at two or more known"):
        compute(one)


def points(figure: object) -> list[tuple[float, float]]:
    """Marked points of the axes, left panel first."""
    found = []
    for ax in figure.axes:  # type: ignore[attr-defined]
        for line in ax.lines:
            if line.get_marker() not in {"None", None, ""}:
                found += list(zip(line.get_xdata(), line.get_ydata(), strict=True))
    return [(float(x), float(y)) for x, y in found]


def test_figure_shows_the_table() -> None:
    rows = against_reference("m_t0", 6, 9) + against_reference("m_t1", 3, 9)
    rows += against_reference("m_p.9", 4, 8) + against_reference("m_p.5", 1, 2)
    rows += [("m_t0", "m_t1", float(i % 3 == 0), f"p{i}") for i in range(9)]
    table, _ = compute(tables(rows))
    figure = decoding.plot(table)
    temperature, nucleus, duels = figure.axes
    assert points(figure)[:2] == [(0.0, pytest.approx(6 / 9)), (1.0, pytest.approx(3 / 9))]
    assert points(figure)[2] == (pytest.approx(0.9), pytest.approx(4 / 8))
    assert points(figure)[3][0] == pytest.approx(6 / 9)  # T=0 over T=1: left kept in 6 of 9
    assert temperature.get_xlabel() == "temperature"
    assert nucleus.get_xlabel() == "top-p"
    assert [t.get_text() for t in duels.get_yticklabels()] == ["T=0 over T=1"]
    said = figure.get_supxlabel()
    assert said == "1 rate of too few clusters for an interval in the table only; error bars: 1 SE"


def test_figure_and_reading_without_an_interval_or_without_references() -> None:
    few, _ = compute(tables(against_reference("m_t.5", 1, 2) + against_reference("m_t1", 1, 2)))
    assert few["low"].isna().all()
    assert math.isnan(few["se"].iloc[0]) or few["se"].iloc[0] > 0
    assert decoding.reading(few) == "No setting was compared on enough posts for an interval."
    assert points(decoding.plot(few)) == []
    duel, _ = compute(tables([("m_t.5", "m_t1", float(i % 2), f"p{i}") for i in range(8)]))
    assert decoding.reading(duel) == "Compared directly, T=0.5 is preferred to T=1 in 50.0% of 8."
    assert len(points(decoding.plot(duel))) == 1


def test_several_models_are_labelled() -> None:
    rows = [
        row
        for model in ("sup4", "sup4_6b")
        for policy in (f"{model}_t.3", f"{model}_t1")
        for row in against_reference(policy, 3, 8)
    ]
    rows += [("sup4_t.3", "sup4_t1", float(i % 3 == 0), f"p{i}") for i in range(9)]
    table, _ = compute(tables(rows))
    figure = decoding.plot(table)
    words = {text.get_text() for ax in figure.axes for text in ax.texts}
    assert {"1.3B supervised", "6.7B supervised"} <= words
    labels = [t.get_text() for t in figure.axes[-1].get_yticklabels()]
    assert labels == ["T=0.3 over T=1"]
    assert figure.axes[-1].get_title("left") == "Head to head: 1.3B supervised"


def test_ppo_of_another_penalty_or_value_network_is_another_model() -> None:
    names = ["sup_small_ppo_rm4800_b0.05", "sup_small_ppo_rm4800_b0.2",
             "sup_small_ppo_shared_rm4800_b0.05"]  # fmt: skip
    rows = [
        row
        for name in names
        for setting in ("_t0", "_t0.7")
        for row in against_reference(f"{name}{setting}", 3, 6)
    ]
    table, left_out = compute(tables(rows))
    assert left_out == {}
    assert len(table) == 6
    assert table.groupby("model").size().tolist() == [2, 2, 2]
