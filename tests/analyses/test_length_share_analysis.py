"""Length's share of the gains: exact worlds, best-of-N from the pool by hand, the dumbbells."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import length_share
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

BASE, PPO = "sup_small_t0.7", "sup_small_ppo_rm600_b0.05_t0.7"
FACTS = pd.DataFrame(
    [
        (BASE, "supervised", 0.7, "", 1), ("sup_small_t0", "supervised", 0.0, "", 0),
        (PPO, "human feedback", 0.7, "rm-small-600", 1),
        ("lonely", "human feedback", 1.0, "rm-small-600", 0),
    ],
    columns=["policy", "method", "temperature", "objective", "main"],
).assign(size="small", parameters=5e5)  # fmt: skip
OBJECTIVES = pd.DataFrame(
    {"objective": ["rm-small-600", "rouge"], "label": ["small RM", "ROUGE"],
     "kind": ["rm", "rouge"], "labels": [600, math.nan]}
)  # fmt: skip
POSTS = [f"p{i}" for i in range(8)]


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def tables(**made: pd.DataFrame) -> Tables:
    made = {"policies": FACTS, "objectives": OBJECTIVES, **made}
    return Tables(experiment=Experiment({k: coerce(k, v) for k, v in made.items()}))


def compute(given: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    settings = length_share.Options(**options)  # type: ignore[arg-type]
    result = length_share.compute(given, settings, np.random.default_rng(0))
    return through_csv(result.table), result.left_out


def summaries(gain: float, seeds: int = 1) -> pd.DataFrame:
    """Gold is the post's, half the log length, and the gain of PPO, which writes longer texts."""
    ratio = np.linspace(0.1, 0.8, 8)
    rows = []
    for seed in range(seeds):
        for policy, of, longer in ((BASE, 0.0, 0 * ratio), (PPO, gain, ratio)):
            chars = 100 * np.exp(longer)
            gold = np.arange(8.0) + 0.5 * np.log(chars) + of + 0.01 * seed
            rows.append(
                pd.DataFrame({"policy": policy, "seed": seed, "post_id": POSTS, "domain": "tldr",
                              "gold": gold, "chars": chars, "tokens": 20.0})
            )  # fmt: skip
    return pd.concat(rows)


def by_quantity(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("quantity")


@pytest.mark.parametrize("seeds", [1, 2])
def test_gain_and_length_are_told_apart(seeds: int) -> None:
    table, left_out = compute(tables(summaries=summaries(1.0, seeds)))
    found = by_quantity(table)
    # The mean log ratio is .45, so the raw gain is 1 + .45/2; at equal length 1 is left.
    assert found.loc["raw", "value"] == pytest.approx(1.225)
    assert found.loc["regression", "value"] == pytest.approx(1.0)
    assert found.loc["slope", "value"] == pytest.approx(0.5)
    assert found.loc["share", "value"] == pytest.approx(0.225 / 1.225)
    assert found.loc["raw", "longer"] == pytest.approx(math.exp(0.45))
    assert found.loc["raw", ["policy", "against", "unit"]].tolist() == [PPO, BASE, "utility"]
    assert left_out == {"policies without a supervised one of their size and temperature": 1}


def test_tokens_and_what_is_unknown() -> None:
    rows = summaries(1.0).reset_index(drop=True)
    rows.loc[8, "gold"] = math.nan
    rows.loc[9, "chars"] = 0.0  # an empty summary is one character long
    news = rows.assign(domain="news", gold=99.0).head(4)
    table, left_out = compute(tables(summaries=pd.concat([rows, news])))
    found = by_quantity(table)
    assert found.loc["raw", "n"] == 7
    assert found.loc["raw", "value"] == pytest.approx(1.225 + (0.225 - 0.05) / 7)
    assert left_out["summaries of unknown gold or length"] == 1
    table, _ = compute(tables(summaries=summaries(1.0)), length="tokens")
    assert "do not vary" in by_quantity(table).loc["regression", "method"]
    assert set(table["length_unit"]) == {"tokens"}


def pool(posts: int = 6) -> pd.DataFrame:
    """Four samples a post: the reward model's order, gold 0 to 3 times 1, 2 ... over the mean."""
    scale = np.arange(1, posts + 1) / np.mean(np.arange(1, posts + 1))
    return pd.concat(
        pd.DataFrame({"base": BASE, "seed": 0, "post_id": f"p{i}", "sample": range(4),
                      "gold": by * np.arange(4.0), "chars": [20.0, 10, 0, 40 + i],
                      "proxy:rm-small-600": range(4), "proxy:gold": 0.0})
        for i, by in enumerate(scale)
    )  # fmt: skip


def test_best_of_n_from_the_pool_by_hand() -> None:
    table, _ = compute(tables(pool=pool()), ns=(2, 3, 8), bins=1)
    assert set(table["best_of_n"]) == {2, 3}
    assert set(table["source"]) == {"pool"}
    found = by_quantity(table[table["best_of_n"] == 2])
    # Best of 2 of 4 by proxy weighs them 0, 1, 2, 3 sixths: gold 14/6, less the mean 9/6.
    assert found.loc["raw", "value"] == pytest.approx(5 / 6)
    assert found.loc["raw", "n"] == 6
    # In bins whole samples stand: of (0, 1) and (2, 3) the best are 1 and 3, the first 0 and 2.
    assert found.loc["bins", "value"] == pytest.approx(1.0)
    assert found.loc["bins", "n"] == 6
    # Mean log lengths: best log 10/6 + 3 log(40 + i)/6, any (log 20 + log 10 + log(40 + i))/4.
    logs = np.log(40 + np.arange(6)).mean()
    best, one = math.log(10) / 6 + logs / 2, (math.log(200) + logs) / 4
    assert found.loc["raw", "longer"] == pytest.approx(math.exp(best - one))
    assert found.loc["raw", ["size", "objective_label"]].tolist() == ["small", "small RM"]
    unknown, left_out = compute(tables(pool=pool().assign(chars=[math.nan, 9, 9, 9] * 6)))
    assert unknown.empty or set(unknown["best_of_n"]) <= {3}
    assert left_out["samples of unknown length"] == 6


def test_the_figure_and_the_sentence() -> None:
    table, _ = compute(tables(summaries=summaries(1.0), pool=pool()), ns=(2,), bins=1)
    figure = length_share.plot(table)
    top, below = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["PPO", "Best of N"]
    assert [t.get_text() for t in top.get_yticklabels()] == ["small PPO (rm600), T=0.7"]
    assert [t.get_text() for t in below.get_yticklabels()] == ["small RM, N = 2"]
    drawn = [float(bars.lines[0].get_xdata()[0]) for bars in top.containers]
    assert drawn == pytest.approx([1.225, 1.0])
    filled = [bars.lines[0].get_markerfacecolor() for bars in top.containers]
    assert filled[1] == "white" != filled[0]
    words = [text.get_text() for text in top.texts]
    assert words[0].startswith("18 ± ")
    assert words[1] == "length's\nshare"
    assert top.get_legend() is not None
    assert below.get_xlabel() == "gain in utility over the supervised policy"
    assert figure.get_supxlabel().endswith("error bars: 1 SE")
    said = length_share.reading(table)
    assert said.startswith(
        "Share of the gain in utility over the supervised policy that length explains: small PPO "
        "(rm600), T=0.7 18% (95% interval "
    )
    assert "; small RM, N = 2 " in said


def test_a_gain_that_may_be_none_has_no_share() -> None:
    rows = summaries(0.0)
    # As many posts gain by it as lose.
    rows.loc[rows["policy"] == PPO, "gold"] += np.tile([3.0, -3.6], 4)
    table, _ = compute(tables(summaries=rows))
    assert math.isnan(by_quantity(table).loc["share", "value"])
    assert length_share.reading(table).startswith("No gain over a supervised policy is told from 0")
    (ax,) = length_share.plot(table).axes
    assert ax.texts[0].get_text() == "–"


def test_rounds_and_too_many_policies_stay_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length_share, "MAX_ROWS", 2)
    names = ["weak", "main", "strong"]
    more = [FACTS.iloc[[2]].assign(policy=n, label=n, main=float(n == "main")) for n in names]
    rows = [summaries(1.0)]
    for i, name in enumerate(names):
        rows.append(summaries(2.0 + i).query("policy == @PPO").assign(policy=name))
    facts = pd.concat([FACTS[FACTS["policy"] != PPO], *more])
    table, _ = compute(tables(policies=facts, summaries=pd.concat(rows)))
    assert set(table["policy"]) == set(names)
    figure = length_share.plot(table)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert set(shown) == {"main", "strong"}
    assert "1 other gain in the table only" in " ".join(figure.get_supxlabel().split())
    figure = length_share.plot(table.assign(objective_round=1.0))
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "no policy has enough posts for an interval"
    ]


def test_what_is_missing() -> None:
    assert length_share.missing(Tables()) == "there is no experiment"
    assert length_share.missing(tables()) == "the experiment has no summaries"
    alone = tables(policies=FACTS[FACTS["policy"] != BASE], summaries=summaries(1.0))
    assert length_share.missing(alone) == (
        "no tuned policy stands beside a supervised one of its size and temperature"
    )
    assert length_share.missing(tables(summaries=summaries(1.0))) is None
    assert length_share.missing(tables(pool=pool())) is None
