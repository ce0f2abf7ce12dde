"""Posts of the world, and labelled pairs of anybody's summaries of them, as lines of files.

`post_lines` writes what a trainer summarises. `label_lines` takes summaries of the world's posts,
draws pairs, asks the simulated labelers and writes the answers as the release does; with
`labelers=None` the truth answers instead, without noise: the same pairs, so that accuracy against
the noiseless choice is accuracy on that file.

Randomness is keyed by the world's seed, `seed` and the order of the summaries alone.
tests/simulation/test_files.py reads the lines back by `evalsuite.datasets.load`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import orjson

from evalsuite.errors import ConfigError, DataError
from evalsuite.records import REFERENCE_POLICY, content_id, shown
from evalsuite.simulation.labelers import STRENGTH_CUTS, Answers, Crowd
from evalsuite.simulation.language import DOMAINS, SLOTS, Ints, language
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import Floats, Posts, World, post_index

TRUTH = "truth"
"""The worker of noiseless answers."""

REFERENCES = ("ref", REFERENCE_POLICY)
"""Policies whose texts count as references; the world adds its own under the first name."""

_PAIRS, _SIDES, _WHO, _ANSWERS = 30, 31, 32, 33
"""Streams of randomness; other modules use 0 to 3, 10 to 14 and 20."""


class Text(NamedTuple):
    """A summary of a post of the world; post is the world's id of it."""

    post: str
    policy: str
    text: str


class Labelled(NamedTuple):
    """Lines of a file, and pairs left out because their utilities are equal (noiseless only)."""

    lines: list[bytes]
    ties: int


def sections(posts: Posts) -> list[str]:
    """The subreddit or site of each post; the relation decides which."""
    domain, lang = DOMAINS[posts.domain], language()
    relations = lang.values(posts.domain, SLOTS.index("relation")).tolist()
    rank = {token: i for i, token in enumerate(relations)}
    return [
        domain.sections[rank[token] * len(domain.sections) // len(relations)]
        for token in posts.facts[:, 0].tolist()
    ]


def texts_of(rows: Ragged) -> list[str]:
    """The texts, without the space before their first word."""
    return [text.strip() for text in rows.texts(language().spaced)]


def infos(posts: Posts, *, anonymous: bool = False) -> list[orjson.Fragment]:
    """The `info` of each post as ready JSON; anonymous leaves the id out."""
    body, place = ("post", "subreddit") if posts.domain == "tldr" else ("article", "site")
    out = []
    for identity, text, title, section in zip(
        posts.ids, texts_of(posts.text), texts_of(posts.title), sections(posts), strict=True
    ):
        row = {} if anonymous else {"id": identity}
        out.append(
            orjson.Fragment(orjson.dumps(row | {body: text, "title": title, place: section}))
        )
    return out


def post_lines(world: World, domain: str, count: int, *, start: int = 0) -> list[bytes]:
    """Posts `start` to `start + count` - 1 with their references, as lines of JSON.

    Fields are those of the `posts` format: id, subreddit, title, post, reference_summary, and the
    domain. Raises ConfigError for a count below 1, a start below 0 or an unknown domain.
    """
    if domain not in DOMAINS:
        raise ConfigError(f"domain is {shown(domain)}; allowed {', '.join(DOMAINS)}")
    if count < 1 or start < 0:
        raise ConfigError(f"count is {count}, start {start}; allowed 1 or more from 0 or more")
    lines = []
    for first in range(start, start + count, 4096):
        posts = world.posts(domain, min(4096, start + count - first), first)
        columns = zip(
            posts.ids, sections(posts), texts_of(posts.title), texts_of(posts.text),
            texts_of(posts.reference), strict=True,
        )  # fmt: skip
        for identity, section, title, text, reference in columns:
            row = {
                "id": identity, "subreddit": section, "title": title, "post": text,
                "reference_summary": reference, "domain": domain,
            }  # fmt: skip
            lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return lines


def world_ids(ids: Sequence[str], sources: Mapping[str, str]) -> list[str]:
    """The world's id of each post: the id itself, or what `sources` says of it.

    sources: ids of the tables (made from content) to the ids the posts came with.
    Raises DataError for an id that is neither.
    """
    out = []
    for identity in ids:
        known = sources.get(identity, identity)
        try:
            post_index(known)
        except ConfigError:
            raise DataError(
                f"post id is {shown(identity)}",
                field="post_id",
                allowed="an id of the simulated world, or of one of the posts given beside it",
            ) from None
        out.append(known)
    return out


def label_lines(
    world: World,
    summaries: Sequence[Text],
    pairs: int,
    *,
    labelers: int | None = 24,
    reference_share: float = 0.5,
    valid_share: float = 0.1,
    batch: str = "simulated",
    seed: int = 0,
    time: float = 0.0,
) -> Labelled:
    """Comparisons in the release's format: pairs of different texts of one post, answered.

    pairs: drawn without repeats. labelers: size of the crowd; None asks the truth, which leaves
    pairs of equal utility out. reference_share: share of pairs with the post's reference on one
    side, the others are two samples. valid_share: share of posts in each of valid1 and valid2, by
    the post's id. seed: another one draws other pairs and answers. time: of the labelers' drift,
    -.5 for the first batch to .5 for the last.

    Raises ConfigError where so many pairs cannot be had, or a share is out of range.
    """
    for name, share, most in (
        ("reference_share", reference_share, 1.0), ("valid_share", valid_share, 0.5),
    ):  # fmt: skip
        if not 0 <= share <= most:
            raise ConfigError(f"{name} is {share}; allowed 0 to {most:g}")
    if pairs < 1:
        raise ConfigError(f"pairs is {pairs}; allowed 1 or more")
    domains = {post_index(s.post)[0] for s in summaries}
    if len(domains) > 1:
        raise ConfigError("summaries are of posts and of news; allowed one domain a file")
    with_reference, of_samples, texts = _candidates(world, summaries)
    rng = world.rng(_PAIRS, seed)
    wanted = round(pairs * reference_share)
    chosen = [
        *_draw(with_reference, wanted, "a sample with a reference", rng),
        *_draw(of_samples, pairs - wanted, "two samples", rng),
    ]
    order = rng.permutation(len(chosen))
    swap = world.rng(_SIDES, seed).random(len(chosen)) < 0.5
    left, right = [], []
    for turn, i in zip(swap.tolist(), order.tolist(), strict=True):
        first, second = chosen[i][::-1] if turn else chosen[i]
        left.append(texts[first])
        right.append(texts[second])
    return _answered(world, left, right, labelers, valid_share, batch, seed, time)


def _candidates(
    world: World, summaries: Sequence[Text]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[Text]]:
    """Pairs with a reference, pairs of samples (positions in the third), all distinct texts."""
    by_post: dict[str, dict[str, Text]] = {}
    for summary in summaries:
        if summary.policy not in REFERENCES:
            text = summary.text.strip()
            known = by_post.setdefault(summary.post, {})
            known.setdefault(text, Text(summary.post, summary.policy, text))
    with_reference: list[tuple[int, int]] = []
    of_samples: list[tuple[int, int]] = []
    texts: list[Text] = []
    for identity, known in by_post.items():
        reference = texts_of(world.post(identity).reference)[0]
        samples = range(len(texts), len(texts) + len(known))
        texts.extend(known.values())
        of_samples += combinations(samples, 2)
        with_reference += [(i, len(texts)) for i in samples if texts[i].text != reference]
        texts.append(Text(identity, REFERENCES[0], reference))
    return with_reference, of_samples, texts


def _draw(
    pool: list[tuple[int, int]], count: int, what: str, rng: np.random.Generator
) -> list[tuple[int, int]]:
    if count > len(pool):
        raise ConfigError(
            f"{count} pairs of {what} are wanted; allowed up to {len(pool)}, as many as the "
            "summaries make"
        )
    return [pool[i] for i in rng.choice(len(pool), size=count, replace=False).tolist()]


def _answered(
    world: World, left: list[Text], right: list[Text], labelers: int | None,
    valid_share: float, batch: str, seed: int, time: float,
) -> Labelled:  # fmt: skip
    distinct = list(dict.fromkeys(one.post for one in left))
    row = {identity: i for i, identity in enumerate(distinct)}
    domain = post_index(distinct[0])[0]
    one_by_one = [world.post(identity) for identity in distinct]
    info = [infos(post)[0] for post in one_by_one]
    split = [_split(identity, valid_share) for identity in distinct]
    facts = np.concatenate([post.facts for post in one_by_one])[[row[s.post] for s in left]]
    utility = [
        world.utilities(facts, Ragged.from_rows([language().encode(s.text) for s in side]), domain)
        for side in (left, right)
    ]
    who, answers = _ask(world, left, right, utility, labelers, seed, time)
    lines, ties = [], 0
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        if labelers is None and utility[0][i] == utility[1][i]:
            ties += 1
            continue
        choice, strength = int(answers.choice[i]), int(answers.strength[i])
        line = {
            "info": info[row[a.post]],
            "split": split[row[a.post]],
            "summaries": [{"text": f" {s.text}", "policy": s.policy, "note": "-"} for s in (a, b)],
            "choice": choice,
            "worker": who[i],
            "batch": batch,
            "extra": {"confidence": 5 + strength if choice else 5 - strength},
        }
        lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return Labelled(lines, ties)


def _ask(
    world: World, left: list[Text], right: list[Text], utility: list[Floats],
    labelers: int | None, seed: int, time: float,
) -> tuple[list[str], Answers]:  # fmt: skip
    """The worker of each pair and the answers; equal utilities go to the right for the truth."""
    if labelers is None:
        gap = utility[0] - utility[1]
        strength = 1 + np.searchsorted(STRENGTH_CUTS, np.abs(gap))
        return [TRUTH] * len(left), Answers((gap <= 0).astype(np.int64), strength)
    crowd = Crowd.draw(world, labelers)
    who: Ints = world.rng(_WHO, seed).choice(len(crowd), size=len(left), p=crowd.volume)
    chars = [np.array([len(s.text) for s in side]) for side in (left, right)]
    answers = crowd.compare(
        who, (utility[0], utility[1]), (chars[0], chars[1]), world.rng(_ANSWERS, seed), time
    )
    return [crowd.ids[i] for i in who.tolist()], answers


def _split(identity: str, valid_share: float) -> str:
    """train, valid1 or valid2; the same for a post in every file."""
    place = int(content_id("split", identity), 16) / 2**64
    if place < valid_share:
        return "valid1"
    return "valid2" if place < 2 * valid_share else "train"
