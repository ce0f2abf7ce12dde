"""Write a world as files in the format of the OpenAI release, and its truth beside them.

    comparisons/batch3.json ... cnndm2.json       one JSON object a line
    axis_evals/tldraxis1.json, cnndm1.json        one JSON object a line
    truth/truth.yaml                              configuration, labelers, policies, expected rates

The same configuration writes the same bytes. Each concern draws from a stream of its own: asking
for more ratings leaves every comparison as it was. `World(seed)` gives the posts' facts back from
their ids and scores any text, so the files hold no facts.

truth.yaml is JSON, which every YAML reader reads; the suffix keeps it from being taken for labels.

tests/simulation/test_written_release.py reads the files by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd

from evalsuite.errors import ConfigError
from evalsuite.simulation import design
from evalsuite.simulation.design import RATED, STAGES, Items
from evalsuite.simulation.files import infos
from evalsuite.simulation.labelers import AXES, Crowd
from evalsuite.simulation.language import DOMAINS, Ints, language
from evalsuite.simulation.policies import sample
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.roster import by_name, roster
from evalsuite.simulation.world import Floats, Parts, Posts, World, characters, parts_of
from evalsuite.tables import write_atomically

Progress = Callable[[int, int], None]

_ITEMS, _ASSIGN, _LABELS, _TEXTS, _RATINGS = 10, 11, 12, 13, 14
"""Streams of randomness; the world itself uses 0 to 3."""


@dataclass(frozen=True)
class WorldConfig:
    """Sizes of a written world.

    seed: of everything. comparisons: labels in all, both domains. news_share: share of them on
    news. posts, articles: texts compared in each domain. labelers: people. shared: share of the
    labels that fall on a pool which several labelers see; labels_each: labelers of such an item.
    ratings, news_ratings: rated summaries, each on four axes.
    """

    seed: int = 0
    comparisons: int = 20_000
    news_share: float = 0.08
    posts: int = 4_000
    articles: int = 400
    labelers: int = 24
    shared: float = 0.2
    labels_each: int = 5
    ratings: int = 3_000
    news_ratings: int = 1_500

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = _ALLOWED[field.name]
            value = getattr(self, field.name)
            if not low <= value <= high:
                raise ConfigError(f"{field.name} is {value}; allowed {low} to {high}")
        if self.labels_each > self.labelers:
            raise ConfigError(
                f"labels_each is {self.labels_each}; allowed up to the {self.labelers} labelers"
            )


_ALLOWED: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1), "comparisons": (100, 2_000_000), "news_share": (0.0, 0.9),
    "posts": (50, 500_000), "articles": (20, 500_000), "labelers": (1, 2_000),
    "shared": (0.0, 0.9), "labels_each": (1, 50), "ratings": (0, 1_000_000),
    "news_ratings": (0, 1_000_000),
}  # fmt: skip

SMALL = WorldConfig(
    comparisons=2_000, posts=400, articles=90, labelers=12, ratings=400, news_ratings=200
)
"""A world that is written in half a second, for first looks and tests."""

RELEASE_SIZE = WorldConfig(
    comparisons=180_000, posts=34_000, articles=3_400, labelers=100, ratings=20_000,
    news_ratings=8_000,
)  # fmt: skip
"""About the size of the whole release."""


class Texts(NamedTuple):
    """Distinct summaries of a domain: utility, characters, parts and text of each row."""

    utility: Floats
    chars: Ints
    parts: Parts
    text: list[str]


def write_release(
    folder: Path, config: WorldConfig | None = None, *, progress: Progress | None = None
) -> list[Path]:
    """Write the files of a world below `folder` and return their paths, truth.yaml last.

    progress: called with rows written and rows in all after each file. Files are replaced whole;
    other files in the folder are left alone.

    Raises ConfigError where the sizes do not fit together (see `design.draw_items`).
    """
    config = config or WorldConfig()
    world = World(config.seed)
    crowd = Crowd.draw(world, config.labelers)
    news = round(config.comparisons * config.news_share)
    total = config.comparisons + config.ratings + config.news_ratings
    paths: list[Path] = []
    truth: dict[str, Any] = {}
    written = 0

    def put(path: Path, lines: list[bytes]) -> None:
        nonlocal written
        write_atomically(path, lambda temporary: temporary.write_bytes(b"".join(lines)))
        paths.append(path)
        written += len(lines)
        if progress is not None:
            progress(written, total)

    pairs = []
    for domain, count, posts, ratings in (
        ("tldr", config.comparisons - news, config.posts, config.ratings),
        ("cnndm", news, config.articles, config.news_ratings),
    ):
        pairs += _comparisons(world, crowd, config, domain, count, posts, folder, put)
        _ratings(world, crowd, domain, ratings, posts, folder, put)
    truth["config"] = asdict(config)
    truth["utility"] = "see evalsuite.simulation.world"
    people = asdict(crowd)
    truth["labelers"] = [{k: column[i] for k, column in people.items()} for i in range(len(crowd))]
    truth["policies"] = [
        asdict(replace(p, proxy=None)) | {"proxy": p.proxy.name if p.proxy else None}
        for p in roster()
    ]
    truth["pairs"] = pairs
    path = folder / "truth" / "truth.yaml"
    data = orjson.dumps(truth, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
    return [*paths, path]


def _comparisons(
    world: World, crowd: Crowd, config: WorldConfig, domain: str, labels: int, n_posts: int,
    folder: Path, put: Callable[[Path, list[bytes]], None],
) -> list[dict[str, Any]]:  # fmt: skip
    """Write the comparisons of a domain; returns the expected rate of every pair of policies."""
    if labels == 0:
        return []
    key = list(DOMAINS).index(domain)
    count, common = design.items_for(labels, config.shared, config.labels_each)
    items = design.draw_items(domain, count, n_posts, world.rng(_ITEMS, key))
    posts = world.posts(domain, n_posts)
    pair = _policies_of(items)
    # Agreement is measured within a policy, so its pairs come three times as often to the pool.
    liking = np.where(pair.left == pair.right, 3.0, 1.0)
    rng = world.rng(_ASSIGN, key)
    given = design.assign(liking, common, config.labels_each, crowd, rng)
    left, right, texts = _summaries(world, posts, items, pair, key)
    time = design.batch_times()[items.batch][given.item]
    who = given.labeler
    utility = (texts.utility[left][given.item], texts.utility[right][given.item])
    chars = (texts.chars[left][given.item], texts.chars[right][given.item])
    answers = crowd.compare(who, utility, chars, world.rng(_LABELS, key), time)
    expected = crowd.prefers_left(who, utility, chars, time)
    info, anonymous = infos(posts), infos(posts, anonymous=True)
    confidence = np.where(answers.choice == 0, 5 - answers.strength, 5 + answers.strength).tolist()
    batch_of = items.batch[given.item]
    bounds = np.searchsorted(batch_of, np.arange(len(design.batch_times()) + 1))
    names = [policy.name for policy in roster()]
    one, two = ([names[i] for i in side.tolist()] for side in (pair.left, pair.right))
    for number, (stage_number, name) in enumerate(design.batches()):
        stage = STAGES[stage_number]
        if stage.domain != domain:
            continue
        posts_info = anonymous if stage.anonymous else info
        space = "" if stage.anonymous else " "
        lines = []
        for label in range(int(bounds[number]), int(bounds[number + 1])):
            item = int(given.item[label])
            row = {
                "info": posts_info[int(items.post[item])],
                "split": stage.splits[int(items.split[item])],
                "summaries": [
                    {"text": space + texts.text[left[item]], "policy": one[item], "note": "-"},
                    {"text": space + texts.text[right[item]], "policy": two[item], "note": "-"},
                ],
                "choice": int(answers.choice[label]),
                "worker": crowd.ids[int(who[label])],
                "batch": name,
                "extra": {"confidence": confidence[label]},
            }
            lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        put(folder / "comparisons" / f"{name}.json", lines)
    return _expected_rates(
        domain, [one[i] for i in given.item], [two[i] for i in given.item], expected
    )


class Pair(NamedTuple):
    """Numbers in the roster of the two policies of each item, and which sample of each."""

    left: Ints
    right: Ints
    left_sample: Ints
    right_sample: Ints


def _policies_of(items: Items) -> Pair:
    """The policies on each side of each item, swaps applied."""
    number = {policy.name: i for i, policy in enumerate(roster())}
    width = max(len(stage.pairs) for stage in STAGES)
    menu = np.zeros((len(STAGES), width, 2), dtype=np.int64)
    for s, stage in enumerate(STAGES):
        for p, (a, b, _) in enumerate(stage.pairs):
            menu[s, p] = number[a], number[b]
    first, second = menu[items.stage, items.pair].T
    again = (first == second).astype(np.int64)
    swap = items.swapped
    return Pair(
        np.where(swap, second, first), np.where(swap, first, second),
        np.where(swap, again, 0), np.where(swap, 0, again),
    )  # fmt: skip


def _summaries(
    world: World, posts: Posts, items: Items, pair: Pair, key: int
) -> tuple[list[int], list[int], Texts]:
    """Rows in `Texts` of the left and right summary of each item; each distinct one drawn once."""
    n = len(posts)
    code = [
        (policy * 2 + again) * n + items.post
        for policy, again in ((pair.left, pair.left_sample), (pair.right, pair.right_sample))
    ]
    wanted, rows = np.unique(np.concatenate(code), return_inverse=True)
    group, post = wanted // n, wanted % n
    parts = [
        sample(roster()[int(g) // 2], posts.take(post[group == g]), world.rng(_TEXTS, key, int(g)))
        for g in np.unique(group)
    ]
    texts = _read(world, posts.take(post), Ragged.concatenate(parts))
    left, right = np.split(rows.ravel(), 2)
    return left.tolist(), right.tolist(), texts


def _read(world: World, posts: Posts, text: Ragged) -> Texts:
    parts = parts_of(posts.facts, text)
    words = [line.lstrip() for line in text.texts(language().spaced)]
    return Texts(world.value(parts, posts.domain), characters(text), parts, words)


def _expected_rates(
    domain: str, left: list[str], right: list[str], prefers_left: Floats
) -> list[dict[str, Any]]:
    """For each pair of different policies the mean probability that its first one wins."""
    table = pd.DataFrame({"left": left, "right": right, "p": prefers_left})
    table = table[table["left"] != table["right"]]
    ordered = table["left"] < table["right"]
    table["policy"] = table["left"].where(ordered, table["right"])
    table["against"] = table["right"].where(ordered, table["left"])
    table["p"] = table["p"].where(ordered, 1 - table["p"])
    rates = table.groupby(["policy", "against"])["p"].agg(["mean", "size"])
    return [
        {"domain": domain, "policy": policy, "against": against, "expected_rate": rate, "labels": n}
        for (policy, against), rate, n in zip(
            rates.index.tolist(), rates["mean"].tolist(), rates["size"].tolist(), strict=True
        )
    ]


def _ratings(
    world: World, crowd: Crowd, domain: str, rows: int, n_posts: int, folder: Path,
    put: Callable[[Path, list[bytes]], None],
) -> None:  # fmt: skip
    """Write axis ratings: every policy of `RATED` on validation posts, some by three labelers.

    Raises ConfigError where more are asked for than policies and posts allow.
    """
    if rows == 0:
        return
    key = list(DOMAINS).index(domain)
    policies = RATED[domain]
    each = min(3, len(crowd))
    count, common = design.items_for(rows, 0.3, each)
    # The last third of the posts are validation posts in both domains.
    posts = world.posts(domain, n_posts).take(np.arange(n_posts * 2 // 3, n_posts))
    if count > len(posts) * len(policies):
        raise ConfigError(
            f"ratings of {domain}: {count} summaries of {len(posts)} posts; allowed up to "
            f"{len(posts) * len(policies)}; take more posts or fewer ratings"
        )
    rng = world.rng(_RATINGS, key)
    code = np.sort(rng.choice(len(posts) * len(policies), size=count, replace=False))
    policy, post = code // len(posts), code % len(posts)
    text = Ragged.concatenate([
        sample(by_name()[name], posts.take(post[policy == p]), world.rng(_RATINGS, key, p))
        for p, name in enumerate(policies)
    ])  # fmt: skip
    texts = _read(world, posts.take(post), text)
    given = design.assign(np.ones(count), common, each, crowd, rng)
    parts = texts.parts.take(given.item)
    values = crowd.rate(given.labeler, parts, texts.chars[given.item], rng).tolist()
    batch = {"tldr": "tldraxis1", "cnndm": "cnndm1"}[domain]
    info = infos(posts)
    lines = []
    for item, labeler, value in zip(
        given.item.tolist(), given.labeler.tolist(), values, strict=True
    ):
        row = {
            "info": info[post[item]],
            "split": "valid2",
            "summary": {
                "text": " " + texts.text[item], "policy": policies[policy[item]], "note": "-",
                "axes": dict(zip(AXES, value, strict=True)),
            },
            "worker": crowd.ids[labeler],
            "batch": batch,
        }  # fmt: skip
        lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    put(folder / "axis_evals" / f"{batch}.json", lines)
