"""Best-of-N and PPO judged by people: the released rates, their KL, counts and the figure."""

from __future__ import annotations

import io

import pandas as pd
import pytest
import rich.style  # noqa: F401 - draws from `random` when imported, which no test may do

from analyses import human_best_of_n
from evalsuite.datasets import load, parse_policy
from evalsuite.errors import ConfigError
from evalsuite.records import REFERENCE_POLICY
from evalsuite.tables import Tables, from_columns


def compute(tables, rng, **options):
    return human_best_of_n.compute(tables, human_best_of_n.Options(**options), rng)


def as_read_back(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def tables_of(wins: dict[str, tuple[int, int]]) -> Tables:
    """wins: policy -> (times preferred to the reference, comparisons)."""
    rows = [(p, float(i < won)) for p, (won, n) in wins.items() for i in range(n)]
    names = [REFERENCE_POLICY, *wins]
    parsed = [parse_policy(name) for name in names]
    fields = ("base", "temperature", "top_p", "best_of_n", "objective", "kl_nats", "method")
    return Tables(
        comparisons=from_columns(
            "comparisons",
            {
                "comparison_id": [f"c{i}" for i in range(len(rows))],
                "left_policy": [REFERENCE_POLICY] * len(rows),
                "right_policy": [p for p, _ in rows],
                "choice": [won for _, won in rows],
                "split": ["valid2" if i % 2 else "valid1" for i in range(len(rows))],
            },
        ),
        policies=from_columns(
            "policies",
            {"policy": names, **{f: [getattr(p, f) for p in parsed] for f in fields}},
        ),
    )


SMALL = {
    "sup4_t0.7": (10, 30), "sup4": (14, 30), "sup4_bo8_rm3": (12, 30), "sup4_bo64_rm3": (16, 30),
    "sup4_ppo_rm3_kl10": (15, 30), "sup4_ppo_rm9": (4, 9), "sup1": (3, 12),
    "sup4_bo512_rm3": (1, 3),
}  # fmt: skip


@pytest.fixture
def released(shared_data, rng):
    return compute(load(shared_data / "tldr_feedback" / "pairs_batch3_to_10.jsonl"), rng)


def test_the_released_rates_of_best_of_n_and_ppo(released):
    """P(reference preferred), n: counted from the raw rows; rates here are the complement."""
    known = {
        "sup4_t0.7": (0.667, 159), "sup4_bo8_rm3": (0.661, 56), "sup4_bo64_rm3": (0.586, 29),
        "sup4_bo128_rm3": (0.483, 118), "sup4_bo256_rm3": (0.475, 61),
        "sup4_bo512_rm3": (0.500, 20), "sup4_bo128_rm3_6b": (0.273, 22),
        "sup4_bo256_rm3_6b": (0.364, 11), "sup4_ppo_rm3": (0.645, 155),
        "sup4_ppo_rm3_kl10": (0.474, 114), "sup4_ppo_rm3_kl20": (0.614, 132),
        "sup2_bo8_rm1": (0.565, 168), "sup3_bo8_rm2": (0.587, 167),
        "sup3_bo63_rm2": (0.469, 81), "sup3_ppo_rm1": (0.722, 169), "sup2": (0.724, 1160),
        "sup3": (0.793, 87),
    }  # fmt: skip
    table = released.table.set_index("policy")
    assert set(table.index) == set(known)
    for policy, (rate, n) in known.items():
        assert round(1 - table.loc[policy, "value"], 3) == rate, policy
        assert table.loc[policy, "n"] == n, policy


def test_kl_is_a_bound_for_best_of_n_and_the_papers_for_ppo(released):
    """Tables 9 and 10 of the paper."""
    table = released.table.set_index("policy")
    assert table.loc["sup4_t0.7", "kl_nats"] == 0
    assert table.loc["sup4_bo512_rm3", "kl_nats"].round(1) == 5.2
    assert table.loc["sup3_bo63_rm2", "kl_nats"].round(1) == 3.2
    assert table.loc["sup4_ppo_rm3", "kl_nats"] == 3.8
    assert table.loc["sup4_ppo_rm3_kl10", "kl_nats"] == 9.4
    bound = table["kl_is_bound"]
    assert bound.equals(table["kind"] == "best_of_n")


def test_rows_left_out_add_up_to_the_data(released):
    # 7,944 rows, of which 4,488 are not against the reference.
    assert released.left_out["comparisons without the reference"] == 4488
    used = released.table["n"].sum()
    assert used + sum(released.left_out.values()) == 7944


def test_what_has_no_place_on_the_axis_is_counted(rng):
    table, left_out = compute(tables_of(SMALL), rng)
    assert left_out == {
        "comparisons without the reference": 0,
        "comparisons of PPO policies of unknown KL": 9,
        # greedy sup4, which best-of-N does not draw from, and sup1
        "comparisons of policies that are no best-of-N, PPO or base of one": 42,
        "comparisons of policies with fewer than 5": 3,
    }
    assert table["policy"].tolist() == [
        "sup4_t0.7", "sup4_bo8_rm3", "sup4_bo64_rm3", "sup4_ppo_rm3_kl10",
    ]  # fmt: skip
    assert table["value"].tolist() == pytest.approx([1 / 3, 0.4, 16 / 30, 0.5])
    assert table["N"].tolist()[:3] == [1, 8, 64]


def test_another_temperature_takes_another_base(rng):
    table, _ = compute(tables_of(SMALL), rng, temperature=0.0)
    assert table["policy"].iloc[0] == "sup4"


def test_splits_restrict_and_are_counted(rng):
    table, left_out = compute(tables_of(SMALL), rng, splits=("valid2",))
    assert left_out["comparisons of other splits"] == 87
    assert table.set_index("policy").loc["sup4_bo8_rm3", "n"] == 15


def test_the_figure_redraws_from_the_csv_with_labelled_lines(rng):
    table, _ = compute(tables_of(SMALL), rng)
    fig = human_best_of_n.plot(as_read_back(table))
    (ax,) = fig.axes
    drawn = {
        (round(float(c.lines[0].get_xdata()[0]), 6), round(float(c.lines[0].get_ydata()[0]), 6))
        for c in ax.containers
    }
    wanted = {(round(k, 6), round(v, 6)) for k, v in table[["kl_nats", "value"]].to_numpy()}
    assert drawn == wanted
    words = [text.get_text() for text in ax.texts]
    assert words.count("rm3") == 2
    assert {"8", "64"} <= set(words)
    assert fig.get_supxlabel() == "KL of best-of-N is an upper bound; error bars: 1 SE"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["base", "best-of-N", "PPO"]


def test_three_bases_get_three_panels(released):
    fig = human_best_of_n.plot(as_read_back(released.table))
    titles = [ax.get_title(loc="left").strip() for ax in fig.axes]
    assert titles == ["Base: 1.3B supervised, T=0.7", "Base: 1.3B sup3", "Base: 1.3B sup2"]


def test_the_reading_gives_the_best_of_each_kind(rng):
    table, _ = compute(tables_of(SMALL), rng)
    said = human_best_of_n.reading(as_read_back(table))
    assert said.startswith("Preferred to the references, the surest policy of each kind: best-of-N")
    # 16 of 30: a standard error of sqrt(.533 * .467 / 29) = 9.26%, times t(29) = 2.045.
    assert (
        "best-of-N 53.3% (1.3B best of 64 (rm3), at most 3.2 nats, 95% interval 34.4% to 72.3%, "
        "n = 30)" in said
    )
    assert "PPO 50.0% (1.3B PPO (rm3), KL 9.4, 95% interval" in said
    assert "the base 33.3% (1.3B supervised, T=0.7, 95% interval" in said


def test_policies_of_few_labels_are_counted_not_ranked(rng):
    """5 of 6 has the higher rate but few labels; a kind of nothing else is ranked all the same."""
    wins = {
        "sup4_t0.7": (10, 40), "sup4_bo8_rm3": (20, 40), "sup4_bo64_rm3": (28, 29),
        "sup4_bo128_rm3": (5, 6), "sup4_ppo_rm3_kl10": (12, 20),
    }  # fmt: skip
    table, _ = compute(tables_of(wins), rng)
    said = human_best_of_n.reading(as_read_back(table))
    assert "best-of-N 50.0% (1.3B best of 8 (rm3)" in said
    assert "PPO 60.0%" in said
    assert said.endswith("; 2 policies with fewer than 30 labels not ranked.")
    known, _ = compute(tables_of(SMALL), rng)
    assert "not ranked" not in human_best_of_n.reading(as_read_back(known))


def test_all_sizes_above_the_panel_have_their_number(released):
    ax = human_best_of_n.plot(as_read_back(released.table)).axes[0]
    assert {"8", "64", "128", "256", "512"} <= {text.get_text() for text in ax.texts}
    assert "square-root scale" in ax.get_xlabel()


def test_a_reference_that_is_no_policy_is_refused(rng):
    with pytest.raises(ConfigError, match="reference is 'nope'; policies in the data: "):
        compute(tables_of(SMALL), rng, reference="nope")


def test_nothing_to_show_is_said(rng):
    tables = tables_of({"sup4_bo8_rm3": (1, 3)})
    table, _ = compute(tables, rng)
    assert table.empty
    assert human_best_of_n.reading(table).startswith("No best-of-N policy has enough comparisons")
    assert human_best_of_n.plot(as_read_back(table)).axes
    none = tables_of({"sup4": (1, 3)})
    reason = "no best-of-N policy was compared with reference summaries"
    assert human_best_of_n.missing(none) == reason
    assert human_best_of_n.missing(Tables()) == reason
    assert human_best_of_n.missing(tables) is None


def test_a_nucleus_is_no_base(rng):
    table, left_out = compute(tables_of({**SMALL, "sup4_p.95": (20, 30)}), rng)
    assert "sup4_p.95" not in set(table["policy"])
    assert left_out["comparisons of policies that are no best-of-N, PPO or base of one"] == 72
