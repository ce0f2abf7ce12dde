"""Claims and their contrasts, on an experiment small enough to have every number by hand.

Two seeds, six posts. Where nothing else is said all posts are alike, so contrasts are exact.
"""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from analyses import directions
from analyses.contrasts import Contrasts, NotMeasuredError
from analyses.directions import (
    BY_CONSTRUCTION,
    CLAIMS,
    NOT_MEASURED,
    NOT_SHOWN,
    REVERSED,
    SHOWN,
    verdict,
)
from evalsuite.experiment import COLUMNS, Experiment, coerce
from evalsuite.stats.estimate import Estimate, undefined
from evalsuite.tables import Tables

SEEDS, POSTS = (0, 1), tuple(f"p{i}" for i in range(6))

OBJECTIVES = pd.DataFrame([
    {"objective": "rm-small-300", "kind": "rm", "size": "small", "parameters": 1e6, "labels": 300},
    {"objective": "rm-small-4800", "kind": "rm", "size": "small", "parameters": 1e6,
     "labels": 4800},
    {"objective": "rm-medium-9600", "kind": "rm", "size": "medium", "parameters": 4e6,
     "labels": 9600},
    {"objective": "rm1", "kind": "rm", "size": "small", "parameters": 1e6, "labels": 10,
     "round": 1},
    {"objective": "worst(rm-small-300)", "kind": "ensemble"},
    {"objective": "rouge", "kind": "rouge"},
    {"objective": "gold", "kind": "gold"},
])  # fmt: skip


def ppo(policy, temperature=0.7, main=0, kl_coef=0.05, value_network="separate"):
    return {
        "policy": policy, "method": "human feedback", "size": "small", "parameters": 1e6,
        "temperature": temperature, "main": main, "kl_coef": kl_coef,
        "objective": "rm-small-4800", "value_network": value_network,
    }  # fmt: skip


def plain(policy, method, temperature, size="small", parameters=1e6, **more):
    return {
        "policy": policy, "method": method, "size": size, "parameters": parameters,
        "temperature": temperature, **more,
    }  # fmt: skip


POLICIES = pd.DataFrame([
    {"policy": "reference_summary", "method": "reference"},
    plain("base", "pretrained", 0.7),
    plain("sup", "supervised", 0.7), plain("sup0", "supervised", 0.0),
    plain("nucleus", "supervised", 1.0, top_p=0.95), plain("sup1", "supervised", 1.0),
    plain("large", "supervised", 0.7, "large", 9e6),
    ppo("other", kl_coef=0.2), ppo("hf", main=1), ppo("hf0", temperature=0.0),
    ppo("shared", value_network="shared"),
])  # fmt: skip

GOLD = {"base": 1, "sup": 3, "sup0": 5, "sup1": 2, "nucleus": 90, "large": 4, "other": 80,
        "hf": 7, "hf0": 6, "shared": 70}  # fmt: skip


def summaries():
    rows = []
    for policy, gold in GOLD.items():
        for seed in SEEDS:
            for p, post in enumerate(POSTS):
                text = {"policy": policy, "seed": seed, "post_id": post, "domain": "tldr"}
                rows.append({
                    **text, "gold": gold + 10 * p + seed, "preferred": float(p < 4),
                    "reward": {"hf": 2.0, "shared": 1.5}.get(policy, math.nan), "chars": 100,
                })  # fmt: skip
                if policy in ("hf", "sup") and p < 5:
                    news = {"domain": "cnndm", "post_id": f"n{p}", "gold": gold / 2}
                    rows.append({**text, **news})
    return pd.DataFrame(rows)


# Gold of eight samples in the order in which the reward model of few labels ranks them: mean 2.5,
# best of 2: (0 + 1 + 4 + 9 + 16 + 25 + 36 - 7) / 28 = 3, best of 8: -1. The ranks 0..7 spread as
# the golds -1..6 do, so its own score is in gold's unit: mean 3.5, best of 2: 140 / 28 = 5, and of
# 8: 7.
# Ranked as they are worth: best of 2: 112 / 28 = 4, best of 8: 6.
SAMPLES = np.array([0, 1, 2, 3, 4, 5, 6, -1.0])


def pool():
    rows = []
    for seed in SEEDS:
        for post in POSTS:
            for i, gold in enumerate(SAMPLES):
                rows.append({
                    "base": "sup", "seed": seed, "post_id": post, "sample": i, "gold": gold,
                    "proxy:rm-small-300": i, "proxy:rm-small-4800": gold,
                    "proxy:worst(rm-small-300)": gold, "proxy:rouge": -gold, "proxy:gold": gold,
                })  # fmt: skip
    return pd.DataFrame(rows)


def apart():
    """A pool in which no post was scored by both the reward model and the ensemble."""
    rows = pool()
    early = rows["post_id"] < "p3"
    rows.loc[early, "proxy:rm-small-300"] = math.nan
    rows.loc[~early, "proxy:worst(rm-small-300)"] = math.nan
    return rows


def run(objective, gold, proxy, **more):
    """PPO at KL 0, 1 and 4: distances 0, 1 and 2."""
    return [
        {
            "model": "m", "seed": seed, "size": "small", "objective": objective, "kl_coef": 0.05,
            "value_network": "separate", "update": u, "kl_nats": (0, 1, 4)[u], "post_id": post,
            "gold": gold[u] + 10 * p, "proxy": proxy[u], **more,
        }
        for seed in SEEDS for p, post in enumerate(POSTS) for u in range(3)
    ]  # fmt: skip


def trajectory():
    return pd.DataFrame([
        *run("rm-small-300", (0, 2, 1), (0, 1, 3)), *run("rm-small-4800", (0, 2, 3), (0, 1, 2)),
        *run("rm-small-300", (0, 50, 99), (0, 9, 9), kl_coef=0.2),
        *run("rm-small-300", (0, 50, 99), (0, 9, 9), value_network="shared"),
    ])  # fmt: skip


def pairs():
    """Accuracy .5 + .05 a doubling of labels (300 to 4,800: 4) + .1 a doubling of size (2)."""
    models = [("rm-small-300", 300, 1e6, 0.5), ("rm-small-4800", 4800, 1e6, 0.7),
              ("rm-medium-4800", 4800, 4e6, 0.9)]  # fmt: skip
    rows = [
        {"model": f"{name}-m0-s{seed}", "seed": seed, "labels": labels, "parameters": parameters,
         "member": 0, "post_id": post, "correct": correct}
        for name, labels, parameters, correct in models for seed in SEEDS for post in POSTS
    ]  # fmt: skip
    ignored = [
        {"model": "labeler", "seed": 0, "post_id": "p0", "correct": 0},
        {**rows[0], "member": 1, "correct": 0}, {**rows[0], "round": 1, "correct": 0},
    ]  # fmt: skip
    return pd.DataFrame(rows + ignored)


def experiment(**changed):
    tables = {
        "objectives": OBJECTIVES, "policies": POLICIES, "summaries": summaries(), "pool": pool(),
        "trajectory": trajectory(), "pairs": pairs(),
    } | changed  # fmt: skip
    return Experiment({name: coerce(name, t) for name, t in tables.items() if t is not None})


@pytest.fixture(scope="module")
def whole():
    return Contrasts(experiment())


BON_END = math.sqrt(math.log(8) - 7 / 8)  # d of the best of 8
HALF_GONE = math.sqrt(math.log(2) - 1 / 2) / BON_END  # 0.40, nearer to half than the best of 4
PER_DOUBLING = {"accuracy-data": 0.05, "accuracy-size": 0.1}
BY_HAND = PER_DOUBLING | {
    "hf-over-sup": 4, "hf-over-sup-t0": 1, "sup-over-base": 2, "hf-over-ref": 4 / 6 - 0.5,
    "hf-over-ref-t0": 4 / 6 - 0.5, "hf-over-larger-sup": 3, "transfer": 2, "cold-over-warm": 2,
    "warm-over-hot": 1, "value-network": 0.5, "rm-over-rouge": 1,
    "bon-few-rises": 0.5, "bon-few-falls": 4, "bon-few-own": 2,
    # +.5 on the way to the best of 2, -4 on the rest of it
    "bon-few-flattens": 0.5 / HALF_GONE + 4 / (1 - HALF_GONE),
    "ppo-few-rises": 2, "ppo-few-flattens": 2 / 0.5 + 1 / 0.5, "ppo-few-falls": 1,
    "ppo-few-own": 2,
    "worst-of-ensemble": 7,
    # PPO goes straight from 1 at d = 1 to 2 at d = 2; best-of-8 has 6 - 2.5.
    "ppo-spends-more": 3.5 - BON_END,
    # alpha = 2 in both; 2 (2 - beta log 2) is 1 with few labels, 3 with many.
    # beta log 2 is 1.5 and .5, so beta_few 2 - beta_many 2:
    "ppo-labels-later": 2 / math.log(2),
    # many: 3 at the end; few: the peak, beta exp(alpha / beta - 1)
    "ppo-labels-higher": 3 - 1.5 / math.log(2) * math.exp(2 * math.log(2) / 1.5 - 1),
}  # fmt: skip


@pytest.mark.parametrize("key", BY_HAND)
def test_contrasts_by_hand(whole, key):
    claim = next(claim for claim in CLAIMS if claim.key == key)
    assert claim.measure(whole).value == pytest.approx(BY_HAND[key])


def test_fits_of_best_of_n_order_the_objectives(whole):
    few = next(claim for claim in CLAIMS if claim.key == "bon-labels-higher").measure(whole)
    assert few.low > 0
    # ROUGE is the other way round here: what the truth gains by gold, it loses, ever more slowly,
    # so its curve has no turn to compare.
    rouge = next(claim for claim in CLAIMS if claim.key == "bon-rouge-sooner").measure(whole)
    assert "one curve does not rise at first and not both turn" in rouge.method
    lower = next(claim for claim in CLAIMS if claim.key == "bon-rouge-lower").measure(whole)
    # 3.5 by the best of 8 ranked by gold, or what its least-squares fit has there, less 0
    d = np.sqrt(np.log([2, 4, 8]) - [1 / 2, 3 / 4, 7 / 8])
    alpha, beta = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1), [1.5, 2.7, 3.5])[0]
    assert lower.value == pytest.approx(alpha * d[-1] - beta * d[-1] ** 2)
    assert "the second does not rise: 0" in lower.method


def test_a_straight_way_does_not_flatten_on_an_uneven_grid():
    """Updates 0, 1, 4 and gains 0, 1, 4: the point called halfway is a quarter of the way."""
    straight = pd.DataFrame(run("rm-small-300", (0, 1, 4), (0, 1, 4)))
    straight["update"] = straight["update"].replace({2: 4})
    found = Contrasts(experiment(trajectory=straight)).flattening("ppo", "few")
    assert (found.value, found.se) == (0, 0)
    bent = pd.DataFrame(run("rm-small-300", (0, 2, 4), (0, 1, 4)))
    bent["update"] = bent["update"].replace({2: 4})
    found = Contrasts(experiment(trajectory=bent)).flattening("ppo", "few")
    assert found.value == pytest.approx(2 / 0.25 - 2 / 0.75)


def test_few_and_many_labels_are_of_the_size_most_used_and_of_no_round(whole):
    assert whole.objective("few") == "rm-small-300"
    assert whole.objective("many") == "rm-small-4800"
    assert whole.size == "small"


def test_length_is_held_equal():
    """Gold of human feedback: 2 of its own and 4 a unit of log length; it is longer by 1."""
    draw = np.random.default_rng(3)
    rows = []
    for policy, own, longer in (("hf", 2, 1), ("sup", 0, 0)):
        for seed in SEEDS:
            for p in range(60):
                x = 4 + longer + draw.normal(0, 0.2)
                rows.append({
                    "policy": policy, "seed": seed, "post_id": f"p{p}", "domain": "tldr",
                    "gold": own + 4 * x, "chars": math.exp(x),
                })  # fmt: skip
    contrasts = Contrasts(experiment(summaries=pd.DataFrame(rows)))
    assert contrasts.length(0.7).held_equal.value == pytest.approx(2)
    assert contrasts.length_explains(0.7).value == pytest.approx(2 / 3, abs=0.05)
    # The other way round there is a loss, and length is no share of a gain.
    turned = pd.DataFrame(rows).replace({"policy": {"hf": "sup", "sup": "hf"}})
    with pytest.raises(NotMeasuredError, match="a gain to explain"):
        Contrasts(experiment(summaries=turned)).length_explains(0.7)


def computed(**changed):
    tables = Tables(experiment=experiment(**changed))
    assert directions.missing(tables) is None
    rng = np.random.default_rng(0)
    return directions.compute(tables, directions.Options(), rng).table.set_index("key")


@pytest.fixture(scope="module")
def table():
    return computed()


def test_every_claim_has_a_row_and_one_of_the_verdicts(table):
    assert list(table.index) == [claim.key for claim in CLAIMS]
    assert len(set(table.index)) == len(table)
    assert table.loc["hf-over-sup", "verdict"] == SHOWN
    assert table.loc["hf-over-sup", "unit"] == "utility"
    assert table.loc["hf-over-ref", "verdict"] == NOT_SHOWN
    assert table.loc["bon-few-own", "verdict"] == BY_CONSTRUCTION
    # The base at T = 0, and PPO on ROUGE, were not run; all summaries are equally long.
    missed = table[table["verdict"] == NOT_MEASURED]
    assert missed["lacks"].to_dict() == {
        "sup-over-base-t0": "a policy by pretrained of size small at T = 0",
        "ppo-rouge-lower": "PPO on its way under rouge",
        "length-something": "undefined: differences in log length do not vary",
        "length-not-all": "undefined: differences in log length do not vary",
        "bon-rouge-sooner": table.loc["bon-rouge-sooner", "method"],
    }
    assert table.loc["bon-labels-later", "unit"] == "utility² nat^-1.5"


def test_claims_of_the_paper_are_told_from_others(table):
    assert set(table.index[~table["of_paper"]]) == {
        "bon-few-own", "bon-labels-later", "bon-labels-higher", "ppo-labels-later",
        "ppo-labels-higher", "ppo-rouge-lower", "worst-of-ensemble",
    }  # fmt: skip


def test_a_value_without_an_interval_is_not_measured():
    """Four posts are too few for an interval; the value stays."""
    few = computed(summaries=summaries().query("post_id in ['p0', 'p1', 'p2', 'p3']"))
    assert few.loc["hf-over-sup", "verdict"] == NOT_MEASURED
    assert few.loc["hf-over-sup", "value"] == 4
    assert "no interval: 4 clusters, 5 needed" in few.loc["hf-over-sup", "lacks"]


def test_a_world_that_turns_around_is_reversed():
    swapped = summaries().replace({"policy": {"hf": "sup", "sup": "hf"}})
    found = computed(summaries=swapped)
    assert found.loc["hf-over-sup", "verdict"] == REVERSED
    assert found.loc["hf-over-sup", "value"] == -4


@pytest.mark.parametrize(
    ("changed", "key", "lacks"),
    [
        ({"objectives": OBJECTIVES[:1]}, "bon-few-rises", "with different numbers of labels"),
        ({"objectives": OBJECTIVES[:3]}, "worst-of-ensemble", "the objective worst(rm-small-300)"),
        ({"pool": None}, "bon-few-rises", "best-of-N under rm-small-300"),
        ({"pool": None}, "rm-over-rouge", "a pool of samples"),
        ({"trajectory": None}, "ppo-few-rises", "PPO on its way under rm-small-300"),
        ({"trajectory": trajectory().query("update != 1")}, "ppo-few-rises", "a point halfway"),
        ({"pool": apart()}, "worst-of-ensemble", "posts that both objectives chose on"),
        ({"summaries": None}, "hf-over-sup", "summaries of hf"),
        ({"summaries": summaries().query("domain == 'tldr'")}, "transfer", "a second domain"),
        ({"summaries": summaries().assign(preferred=math.nan)}, "hf-over-ref", "the worth of"),
        ({"policies": POLICIES.query("size != 'large'")}, "hf-over-larger-sup", "a larger size"),
        ({"policies": POLICIES.query("value_network != 'shared'")}, "value-network", "shared"),
        ({"pairs": None}, "accuracy-data", "pairs that reward models judged"),
        ({"pairs": pairs().query("labels != 300")}, "accuracy-data", "one amount of labels only"),
    ],
)  # fmt: skip
def test_what_the_tables_lack_is_said(changed, key, lacks):
    claim = next(claim for claim in CLAIMS if claim.key == key)
    with pytest.raises(NotMeasuredError) as found:
        claim.measure(Contrasts(experiment(**changed)))
    assert lacks in str(found.value)


def test_verdicts():
    def estimate(low, high):
        return Estimate((low + high) / 2, 1, low, high, 0.95, 9, 9, "")

    assert verdict(estimate(0.1, 1)) == SHOWN
    assert verdict(estimate(-1, -0.1)) == REVERSED
    assert verdict(estimate(-1, 1)) == NOT_SHOWN
    assert verdict(undefined("no rise")) == NOT_MEASURED
    assert verdict(estimate(0.1, 1), certain=True) == BY_CONSTRUCTION
    assert verdict(undefined("x"), "the pool", certain=True) == NOT_MEASURED
    assert verdict(undefined("x"), "the pool") == NOT_MEASURED


def test_without_an_experiment_it_is_left_out():
    assert directions.missing(Tables()) == "there is no experiment"
    empty = Tables(experiment=Experiment())
    assert directions.missing(empty) == "the experiment has no objectives and no policies"


def test_claims_read_only_what_an_experiment_has():
    """With the tables that every run has and no rows, all claims say what they lack."""
    empty = {name: None for name in COLUMNS if name not in ("objectives", "policies")}
    found = computed(**empty)
    assert set(found["verdict"]) == {NOT_MEASURED}
    assert directions.reading(found.reset_index()) == "None of the claims was measured."


def as_read_back(table):
    return pd.read_csv(io.StringIO(table.to_csv(index=False)), keep_default_na=True)


def test_the_figure_has_a_row_a_claim_with_its_numbers(table):
    shown = as_read_back(table.reset_index())
    ax = directions.plot(shown).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(shown["claim"])
    texts = [text.get_text() for text in ax.texts]
    assert {"Policies", "Over-optimisation", "More labels", "Reward models"} <= set(texts)
    assert texts.count("not measured") == 5
    assert "+4.00 (+4.00 to +4.00) utility" in texts
    assert any(text.startswith("+16.7% (") for text in texts)
    # one of the four posts of six: value and interval in standard errors
    row = shown.set_index("key").loc["hf-over-ref"]
    lines = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    ends = (row["low"] / row["se"], row["high"] / row["se"])
    assert any(np.allclose(line, ends) for line in lines)
    arrows = [line for line in ax.lines if line.get_marker() == ">"]
    assert {float(line.get_xdata()[0]) for line in arrows} == {directions.CLIP}


def test_the_reading_counts_verdicts_and_names_what_is_not_as_claimed(table):
    said = directions.reading(as_read_back(table.reset_index()))
    # Seven claims are not the paper's, one of which is by construction; PPO on ROUGE was not run.
    of_paper = table[table["of_paper"]]
    shown = (of_paper["verdict"] == SHOWN).sum()
    assert said.startswith(
        f"Of {len(CLAIMS) - 7 - 4} claims of the paper that were measured, {shown} are shown, "
    )
    assert '"Human feedback beats the references, T = 0.7"' in said
    assert "; 4 not measured. Of 5 claims beyond it that were measured, 5 are shown, " in said
    assert said.endswith("; 1 not measured. Not counted: 1 by construction.")
