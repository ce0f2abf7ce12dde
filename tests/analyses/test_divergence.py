"""Where an objective and the truth part: the curve by hand, its error, examples, the figure."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import divergence
from evalsuite.experiment import Experiment, coerce
from evalsuite.tables import Tables

OBJECTIVES = pd.DataFrame(
    [
        ("rm-small-600", "small RM, 600 labels", "rm", 600),
        ("rm-small-4800", "small RM, 4,800 labels", "rm", 4800),
        ("rouge", "ROUGE", "rouge", math.nan),
        ("gold", "truth", "gold", math.nan),
        ("size", "length", "length", math.nan),
    ],
    columns=["objective", "label", "kind", "labels"],
).assign(parameters=5e5)


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def tables(pool: pd.DataFrame, **others: pd.DataFrame) -> Tables:
    made = {"pool": pool, "objectives": OBJECTIVES, **others}
    return Tables(experiment=Experiment({k: coerce(k, v) for k, v in made.items()}))


def compute(given: Tables, **options: object) -> tuple[pd.DataFrame, dict[str, int]]:
    settings = divergence.Options(**options)  # type: ignore[arg-type]
    result = divergence.compute(given, settings, np.random.default_rng(0))
    return through_csv(result.table), result.left_out


def pool_of(
    gold: list[float] | np.ndarray, scale: list[float], *, seeds: int = 1, **proxies: object
) -> pd.DataFrame:
    """Samples 0, 1, 2 ... of each post: gold times the post's scale; the proxy rises with them."""
    n = len(gold)
    return pd.concat(
        pd.DataFrame(
            {"base": "sup_small_t0.7", "seed": seed, "post_id": f"p{post}", "sample": range(n),
             "text": [f"p{post} summary {i}" for i in range(n)], "gold": by * np.asarray(gold),
             "proxy:rm-small-600": np.arange(n, dtype=float), **proxies}
        )
        for seed in range(seeds) for post, by in enumerate(scale)
    )  # fmt: skip


SCALE = [k / 3.5 for k in range(1, 7)]  # mean 1


def test_the_curve_by_hand() -> None:
    # Eight samples, mean 2; the one with the largest proxy is worth -5 instead of 7.
    table, left_out = compute(tables(pool_of([0, 1, 2, 3, 4, 5, 6, -5], SCALE)))
    curve = table[table["quantity"] == "curve"]
    # Quantiles of the k-th: (2 k + 1)/16, so .0625, .1875 | .3125, .4375 | ... | .8125 | .9375.
    assert curve["quantile_low"].tolist() == [0, 0.25, 0.5, 0.75, 0.9]
    assert curve["value"].tolist() == pytest.approx([-1.5, 0.5, 2.5, 4, -7])
    assert curve["n"].tolist() == [12, 12, 12, 6, 6]
    # Up to there gold is straight in the proxy, which would make the last one worth 7 - 2.
    assert curve["straight"].tolist() == pytest.approx([-1.5, 0.5, 2.5, 4, 5])
    assert curve["proxy_z"].iloc[-1] == pytest.approx(3.5 / math.sqrt(5.25))
    # Posts hold equally many, so each post's value is its scale times the mean.
    spread = np.std(SCALE, ddof=1) / math.sqrt(6)
    assert curve["se"].tolist() == pytest.approx(spread * np.abs(curve["value"]).to_numpy())
    assert set(curve["unit"]) == {"utility"}
    assert left_out == {}


def test_the_top_against_what_lies_before_it() -> None:
    gold = np.append(np.arange(99.0), 0.0)
    table, _ = compute(tables(pool_of(gold, SCALE, seeds=2)))
    (late,) = table[table["quantity"] == "late"].itertuples()
    # Samples 90 to 98 are worth 94 in the mean, the last one 0.
    assert late.value == pytest.approx(-94)
    assert late.n == 2 * 6 * 10
    assert late.method.startswith("ratio, jackknife, 2 seeds x 6 posts, crossed")
    assert "small RM, 600 labels falls (-94.00, 95% interval -" in divergence.reading(table)


def test_the_error_is_the_jackknife_of_a_ratio(rng: np.random.Generator) -> None:
    pool = pool_of(rng.normal(size=40), SCALE)
    pool["proxy:rm-small-600"] = rng.normal(size=len(pool))
    table, _ = compute(tables(pool))
    cells = pool.groupby("post_id")
    proxy = pool["proxy:rm-small-600"]
    z = (proxy - cells["proxy:rm-small-600"].transform("mean")) / cells[
        "proxy:rm-small-600"
    ].transform("std", ddof=0)
    gain = pool["gold"] - cells["gold"].transform("mean")
    quantile = (z.rank() - 0.5) / len(pool)
    inside = ((quantile > 0.75) & (quantile <= 0.9)).to_numpy()
    posts = pool["post_id"].to_numpy()
    without = [gain[inside & (posts != p)].mean() for p in sorted(set(posts))]
    se = math.sqrt(5 / 6 * sum((t - np.mean(without)) ** 2 for t in without))
    found = table[(table["quantity"] == "curve") & (table["quantile_low"] == 0.75)].iloc[0]
    assert found["value"] == pytest.approx(gain[inside].mean())
    assert found["se"] == pytest.approx(se)


def test_what_has_no_score_or_no_spread_is_left_out() -> None:
    pool = pool_of([0, 1, 2, 3, 4, 5, 6, -5], SCALE, seeds=2)
    proxy, post = "proxy:rm-small-600", pool["post_id"]
    pool.loc[(post == "p0") & (pool["seed"] == 0), proxy] = 1.0  # no spread in one seed
    pool.loc[(post == "p1") & (pool["sample"] == 0), "gold"] = math.nan
    table, left_out = compute(tables(pool))
    assert left_out == {
        "samples of rm-small-600 on sup_small_t0.7 without scores that differ, in every seed": 18
    }
    assert table.loc[table["quantity"] == "curve", "n"].sum() == 2 * 6 * 8 - 18
    nothing = pool.assign(**{proxy: 1.0})
    table, _ = compute(tables(nothing))
    assert table.empty
    assert divergence.reading(table).startswith("No objective scored enough posts")
    assert len(divergence.plot(table).axes) == 1


def test_tops_of_few_posts_have_no_interval() -> None:
    pool = pool_of(np.arange(40.0), SCALE)
    first = pool["post_id"] == "p0"
    # One post has a proxy with an outlier, which alone fills the top.
    pool.loc[first & (pool["sample"] == 39), "proxy:rm-small-600"] = 1e6
    table, _ = compute(tables(pool))
    top = table[(table["quantity"] == "curve") & (table["quantile_low"] == 0.99)].iloc[0]
    assert top["n_clusters"] < 5
    assert math.isnan(top["low"])
    assert "no interval: samples of" in top["method"]


def test_examples_are_the_picks_that_the_truth_likes_least() -> None:
    # Each post: three samples, the last with the largest proxy.
    golds = {"p0": [3, 3, 0], "p1": [1, 5, 0], "p2": [1, 2, 9], "p3": [0, 0, -3], "p4": [4, 4, 4]}
    pool = pd.concat(
        pd.DataFrame({"base": "b", "seed": 0, "post_id": post, "sample": range(3), "gold": gold,
                      "text": [f"{post}{i}" for i in range(3)], "proxy:rm-small-600": [0.0, 1, 2]})
        for post, gold in golds.items()
    )  # fmt: skip
    pool = pd.concat([pool, pool.assign(seed=1, gold=pool["gold"] + 1)])  # a little better
    summaries = pd.DataFrame(
        {"policy": "sup", "seed": 0, "post_id": list(golds),
         "gold_reference": [2.0, 20.0, 9.0, math.nan, 4.0]}
    )  # fmt: skip
    table, _ = compute(tables(pool, summaries=summaries), examples=3)
    rows = table[table["quantity"] == "example"]
    # Below the mean of the post and the reference: p1 -2 and -20, p0 -2 and -2, p3 -2 alone, p4 0.
    assert rows["post_id"].tolist() == ["p1", "p0", "p3"]
    assert rows["seed"].tolist() == [0, 0, 0]
    first = rows.iloc[0]
    assert (first["text"], first["gold"], first["gold_mean"]) == ("p12", 0, 2)
    assert (first["best_text"], first["best_gold"], first["gold_reference"]) == ("p11", 5, 20)
    assert first["proxy_z"] == pytest.approx(1 / math.sqrt(2 / 3))
    assert rows["gold_reference"].isna().tolist() == [False, False, True]


def test_the_figure() -> None:
    n = 8
    more = {"proxy:rm-small-4800": np.arange(n) ** 2.0, "proxy:rouge": np.arange(n)[::-1].copy(),
            "proxy:gold": 0.0, "proxy:size": 1.0}  # fmt: skip
    pool = pool_of([0, 1, 2, 3, 4, 5, 6, -5], SCALE, **more)
    table, _ = compute(tables(pool))
    assert set(table["objective"]) == {"rm-small-600", "rm-small-4800", "rouge"}
    figure = divergence.plot(table)
    ax, words = figure.axes
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["small RM, 600 labels", "small RM, 4,800 labels", "ROUGE"]
    drawn = ax.containers[0].lines[0].get_ydata().tolist()
    assert drawn == pytest.approx([-1.5, 0.5, 2.5, 4, -7])
    assert words.get_title(loc="left") == "Picked by small RM, 600 labels"
    said = [text.get_text() for text in words.texts]
    assert len(said) == 3 * 4
    # The worst pick is on the post of the largest scale, 12/7: -5 beside the mean 2 and the best 6.
    assert said[:3] == ["utility -8.6 (mean 3.4), proxy +1.5 SD", "p5 summary 7",
                        "passed over: utility 10.3"]  # fmt: skip
    notes = " ".join(figure.get_supxlabel().split())
    assert "dotted: a straight line through the samples below 90%" in notes
    assert notes.endswith("error bars: 1 SE")
    without = table.assign(text=math.nan)
    assert len(divergence.plot(without).axes) == 1


def test_of_many_models_the_extremes_are_drawn() -> None:
    names = [f"rm-small-{n}" for n in (75, 150, 300, 600, 1200, 2400, 4800)]
    facts = pd.DataFrame(
        {"objective": names, "label": names, "kind": "rm", "size": "small", "parameters": 5e5,
         "labels": [75, 150, 300, 600, 1200, 2400, 4800], "round": math.nan}
    )  # fmt: skip
    shown = divergence.extremes(facts)
    assert len(shown) == divergence.MAX_LINES
    assert (shown[0], shown[-1]) == (names[0], names[-1])


def test_what_is_missing() -> None:
    assert divergence.missing(Tables()) == "there is no experiment"
    empty = tables(pd.DataFrame())
    assert divergence.missing(empty) == "the experiment has no pool"
    pool = pool_of([0, 1], SCALE)
    assert divergence.missing(tables(pool)) is None
    without = tables(pool.drop(columns="proxy:rm-small-600").assign(**{"proxy:gold": 1.0}))
    assert divergence.missing(without) == (
        "no reward model, ensemble or ROUGE scored the pool of samples"
    )
