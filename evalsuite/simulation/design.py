"""What is compared with what: batches in time, pairs of policies, posts, the shared pool.

The design follows the release: early batches compare references with the first supervised models,
later ones bring in best-of-N and PPO, evaluation batches use validation posts. Change STAGES to
compare something else; every pair of policies is linked through the references, so strengths
stay estimable. tests/simulation/test_comparison_design.py holds the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import ConfigError
from evalsuite.simulation.labelers import Crowd
from evalsuite.simulation.language import Ints


@dataclass(frozen=True)
class Stage:
    """Batches with one menu of pairs.

    batches: file names without ending. splits: of its posts. share: of all comparisons of its
    domain. pairs: policy, policy, weight; a policy paired with itself gives two of its samples.
    anonymous: posts come without ids and texts without leading spaces, as in the edit batches.
    """

    batches: tuple[str, ...]
    splits: tuple[str, ...]
    share: float
    pairs: tuple[tuple[str, str, float], ...]
    domain: str = "tldr"
    anonymous: bool = False


def _against(policy: str, others: str, weight: float) -> tuple[tuple[str, str, float], ...]:
    return tuple((policy, other, weight) for other in others.split())


_BEST_OF_RM3 = "sup4_bo8_rm3 sup4_bo64_rm3 sup4_bo128_rm3 sup4_bo256_rm3 sup4_bo512_rm3"
_PPO_RM3 = "sup4_ppo_rm3 sup4_ppo_rm3_kl10 sup4_ppo_rm3_kl20"
_DECODING = "sup4_6b sup4_6b_t.3 sup4_6b_t.5 sup4_6b_t0.7 sup4_6b_t1 sup4_6b_p.8 sup4_6b_p.95"
_FINAL = "sup4_ppo_rm4 sup4_6b_ppo_rm4_6b_kl14"

STAGES = (
    Stage(
        ("batch3", "batch4", "batch5"), ("train",), 0.22,
        (("ref", "sup1", 3), ("sup1", "sup1", 3), ("ref", "sup2", 5), ("sup2", "sup2", 5),
         ("ref", "pretrain_t.7", 0.8)),
    ),
    Stage(
        ("batch6", "batch7"), ("train",), 0.12,
        (*_against("ref", "sup2_bo8_rm1 sup3_6b sup3_bo8_rm2 sup3_ppo_rm1", 1.2),
         *_against("sup2", "sup2_bo8_rm1 sup3_6b", 1.2),
         *_against("ref", "sup3 sup3_bo63_rm2", 0.6),
         *_against("sup3_ppo_rm1", "sup3_bo8_rm2 sup3_bo63_rm2 sup3", 0.6),
         *_against("sup3_bo8_rm2", "sup3 sup3_bo63_rm2", 0.4)),
    ),
    Stage(
        ("batch8", "batch9", "batch10"), ("train",), 0.26,
        (*_against("ref", _BEST_OF_RM3 + " " + _PPO_RM3, 1.2), ("ref", "sup4_t0.7", 1.5),
         *_against("sup4_t0.7", _BEST_OF_RM3, 0.6), ("sup4_t0.7", "sup4_t0.7", 2.0),
         *_against("ref", "sup4_6b_t0.7 sup4_bo128_rm3_6b sup4_bo256_rm3_6b", 0.7),
         ("sup4_bo64_rm3", "sup4_ppo_rm3_kl10", 0.8), ("sup4_6b_t0.7", "sup4_ppo_rm3_kl20", 0.8),
         ("sup4_ppo_rm3_kl10", "sup4_ppo_rm3_kl10", 1.2),
         ("sup4_ppo_rm3_kl20", "sup4_ppo_rm3_kl20", 1.2)),
    ),
    Stage(
        ("batch11", "batch12", "batch13", "batch14", "batch15", "batch16", "batch17", "batch18",
         "batch19", "batch20", "batch22"), ("valid1", "valid2", "valid2"), 0.385,
        (*_against("ref", _DECODING, 1.0), *_against("ref", "sup4 sup4_12b " + _FINAL, 1.5),
         *_against("ref", "pretrain_t.7 pretrain_6b_t.7", 0.8),
         *_against("sup4_6b", "sup4_6b_t0.7 sup4_6b_p.95", 0.7),
         ("sup4_6b_t0.7", "sup4_6b_p.95", 0.7), ("sup4", "sup4_ppo_rm4", 0.8),
         ("sup4_6b", "sup4_6b_ppo_rm4_6b_kl14", 0.8),
         ("sup4_t0.7", "sup4_t0.7", 1.5), ("sup4_6b_t0.7", "sup4_6b_t0.7", 1.5),
         ("sup4_6b_ppo_rm4_6b_kl14_t.7", "sup4_6b_ppo_rm4_6b_kl14_t.7", 1.5),
         *_against("ref", "sup4_12b_t0.7 sup4_ppo_rm4_t.7 sup4_6b_ppo_rm4_6b_kl14_t.7", 0.5)),
    ),
    Stage(
        ("edit_b2_eval_test",), ("valid2",), 0.015,
        (("ref", "human_editor", 1.0), ("human_editor", "sup4_6b_t0.7", 1.0)), anonymous=True,
    ),
    Stage(
        ("cnndm0", "cnndm2"), ("valid1", "valid2"), 1.0,
        (*_against("ref", "pretrain_6b_t.7 sup4_6b_t0.7 sup4_6b_ppo_rm4_6b_kl14 lead-3 T5", 1.0),
         ("ref", "sup_cnndm_6b", 1.0), ("sup4_6b_t0.7", "sup4_6b_ppo_rm4_6b_kl14", 1.0),
         ("sup4_6b_t0.7", "sup4_6b_t0.7", 1.5), ("sup4_6b_t0.7", "pretrain_6b_t.7", 0.5)),
        domain="cnndm",
    ),
)  # fmt: skip

RATED = {
    "tldr": ("ref pretrain_t.7 pretrain_6b_t.7 sup4 sup4_6b " + _FINAL).split(),
    "cnndm": (
        "ref lead-3 T5 sup_cnndm_6b pretrain_t.7 pretrain_6b_t.7 sup4 sup4_6b " + _FINAL
    ).split(),
}
"""Policies rated on the axes, by domain."""


class Items(NamedTuple):
    """m things to compare, before anybody has: stage and batch number, post, pair, sides, split.

    batch counts over all stages; post is an index into the domain's posts; pair into the stage's
    menu; swapped puts the pair's second policy on the left; split indexes the stage's splits.
    """

    stage: Ints
    batch: Ints
    post: Ints
    pair: Ints
    swapped: NDArray[np.bool_]
    split: Ints


def batches() -> Iterator[tuple[int, str]]:
    """(stage number, batch name) of every batch in time order."""
    for number, stage in enumerate(STAGES):
        for name in stage.batches:
            yield number, name


def batch_times() -> NDArray[np.float64]:
    """The time of every batch, -.5 to .5 evenly."""
    return np.linspace(-0.5, 0.5, sum(1 for _ in batches()))


def split_evenly(total: int, shares: list[float]) -> list[int]:
    """Whole numbers in proportion to `shares` that add up to `total` (largest remainders)."""
    exact = np.array(shares) / np.sum(shares) * total
    counts = np.floor(exact).astype(int)
    for index in np.argsort(-(exact - counts), kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return [int(count) for count in counts]


def draw_items(domain: str, items: int, posts: int, rng: np.random.Generator) -> Items:
    """Items of a domain: its posts shared out among its batches, no pair twice on a post.

    Raises ConfigError where a batch has fewer possible items than it needs.
    """
    chosen = [(b, s, name) for b, (s, name) in enumerate(batches()) if STAGES[s].domain == domain]
    shares = [STAGES[s].share / len(STAGES[s].batches) for _, s, _ in chosen]
    counts = split_evenly(items, shares)
    # Short menus get more posts: two fifths of a menu a post keep the pairs near their weights.
    labels_a_post = [min(6.0, max(1.0, len(STAGES[s].pairs) / 2.5)) for _, s, _ in chosen]
    pool = split_evenly(posts, [a / b for a, b in zip(shares, labels_a_post, strict=True)])
    parts = []
    start = 0
    for (batch, number, name), count, here in zip(chosen, counts, pool, strict=True):
        stage = STAGES[number]
        if count > here * len(stage.pairs):
            raise ConfigError(
                f"{name}: {count} comparisons of {here} posts; allowed up to "
                f"{here * len(stage.pairs)}; take more posts or fewer comparisons"
            )
        weight = np.array([w for _, _, w in stage.pairs])
        # Exponential races: the smallest keys are a draw without replacement by weight.
        key = rng.exponential(size=(here, len(weight))) / weight
        flat = np.argpartition(key.ravel(), count - 1)[:count] if count else np.empty(0, int)
        flat.sort()
        post, pair = flat // len(weight), flat % len(weight)
        parts.append(
            Items(
                np.full(count, number), np.full(count, batch), post + start, pair,
                rng.random(count) < 0.5, (post % len(stage.splits)).astype(np.int64),
            )
        )  # fmt: skip
        start += here
    return Items(
        np.concatenate([part.stage for part in parts]),
        np.concatenate([part.batch for part in parts]),
        np.concatenate([part.post for part in parts]),
        np.concatenate([part.pair for part in parts]),
        np.concatenate([part.swapped for part in parts]),
        np.concatenate([part.split for part in parts]),
    )


class Labels(NamedTuple):
    """Which item each label is of, and who gives it; (n,)."""

    item: Ints
    labeler: Ints


def items_for(labels: int, shared: float, labels_each: int) -> tuple[int, int]:
    """Items in all and shared items among them, so that labels come to exactly `labels`."""
    common = round(labels * shared / labels_each)
    return labels - common * (labels_each - 1), common


def assign(
    liking: NDArray[np.float64], common: int, each: int, crowd: Crowd, rng: np.random.Generator
) -> Labels:
    """One labeler by volume for each item, `each` different ones for `common` shared items.

    liking: (m,) relative chances of the m items to be shared.
    """
    items = len(liking)
    pooled = np.sort(np.argsort(rng.exponential(size=items) / liking, kind="stable")[:common])
    alone = np.setdiff1d(np.arange(items), pooled, assume_unique=True)
    single = rng.choice(len(crowd), size=len(alone), p=crowd.volume)
    # Volume-weighted draws without replacement, one row a shared item.
    race = rng.exponential(size=(common, len(crowd))) / crowd.volume
    several = np.argsort(race, axis=1)[:, :each]
    item = np.concatenate([alone, np.repeat(pooled, each)])
    labeler = np.concatenate([single, several.ravel()])
    order = np.argsort(item, kind="stable")
    return Labels(item[order], labeler[order])
