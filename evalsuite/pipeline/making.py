"""Steps without a model of their own: posts, pairs of summaries, the answers of judges.

Pairs are drawn here in one way whoever answers them; judges are those of `evalsuite.judges`.
Proof: tests/pipeline/test_making.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from evalsuite.datasets import load
from evalsuite.errors import ConfigError, DataError
from evalsuite.judges.judge import Answer, Judge, Question
from evalsuite.judges.pairs import posts_of
from evalsuite.pipeline.reading import PostFile, device, given, read_posts
from evalsuite.records import REFERENCE_POLICY, Post, content_id
from evalsuite.simulation import Crowd, World
from evalsuite.simulation.files import post_lines
from evalsuite.simulation.labelers import AXES
from evalsuite.simulation.language import language
from evalsuite.simulation.ragged import Ragged
from evalsuite.simulation.world import parts_of
from evalsuite.tables import write_atomically, write_parquet

Numbers = dict[str, Any]

VALID_SHARE = 0.1
"""Share of labelled posts in each of valid1 and valid2."""


def make_posts(settings: Mapping[str, Any], folder: Path) -> Numbers:
    """Posts of each part, a file each: of the world, or a stretch of files' posts by their hash."""
    counts = {}
    if "world_seed" in settings:
        world = World(settings["world_seed"])
        for part, (domain, start, count) in settings["parts"].items():
            _write_lines(folder / "data" / f"{part}.jsonl", post_lines(
                world, domain, count, start=start
            ))  # fmt: skip
            counts[part] = count
        return counts
    lines = _shuffled(settings["files"])
    for part, (_, _, count) in settings["parts"].items():
        begin = _begin(settings["counts"], part)
        chosen = lines[begin : begin + count]
        if len(chosen) < count:
            raise DataError(
                f"{part} needs posts {begin + 1:,} to {begin + count:,} and the files have "
                f"{len(lines):,} with references",
                field="posts", allowed="smaller counts, fewer seeds or more files",
            )  # fmt: skip
        _write_lines(folder / "data" / f"{part}.jsonl", chosen)
        counts[part] = count
    return counts


def _begin(counts: Mapping[str, int], part: str) -> int:
    """Where a part begins among all posts: the evaluation first, then seed after seed."""
    if part == "evaluation":
        return 0
    kind, _, seed = part.rpartition("-s")
    mine = {name: count for name, count in counts.items() if name != "evaluation"}
    before = list(mine)[: list(mine).index(kind)]
    return counts["evaluation"] + int(seed) * sum(mine.values()) + sum(mine[n] for n in before)


def _shuffled(files: Sequence[str]) -> list[bytes]:
    tables = load(files)
    of_people = tables.summaries[tables.summaries["policy"] == REFERENCE_POLICY]
    references = dict(zip(of_people["post_id"], of_people["text"], strict=True))
    rows = []
    for row in tables.posts.itertuples():
        if row.post_id in references and given(row.text):
            line = {
                "id": given(row.source_id) or row.post_id,
                "subreddit": given(row.section), "title": given(row.title), "post": row.text,
                "reference_summary": references[row.post_id], "domain": row.domain,
            }  # fmt: skip
            rows.append((content_id("part", row.post_id), line))
    rows.sort(key=lambda pair: pair[0])
    return [orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for _, line in rows]


# -- judges ----------------------------------------------------------------------------------


def judge_of(settings: Mapping[str, Any], *, seed: int, what: str, time: float = 0.0) -> Judge:
    """Who answers for labels: the world's labelers, or Bradley-Terry draws of the gold model.

    what: names the batch, so that each has its own draws.
    """
    if "world_seed" in settings:
        from evalsuite.judges.simulated import CrowdJudge

        world = World(settings["world_seed"])
        crowd = Crowd.draw(world, settings["labelers"])
        return CrowdJudge(world, crowd, seed=seed, time=time)
    from evalsuite.judges.gold import RewardJudge
    from evalsuite.models.rewards import ModelReward

    rng = np.random.default_rng([seed, 7, *what.encode()])
    reward = ModelReward.load(settings["gold"], device=device())
    return RewardJudge(reward, temperature=1.0, rng=rng)


def truth_of(settings: Mapping[str, Any]) -> Judge:
    """Who knows: the world's utility, or the gold model without noise."""
    if "world_seed" in settings:
        from evalsuite.judges.simulated import TruthJudge

        return TruthJudge(World(settings["world_seed"]))
    from evalsuite.judges.gold import RewardJudge
    from evalsuite.models.rewards import ModelReward

    return RewardJudge(ModelReward.load(settings["gold"], device=device()))


# -- pairs -----------------------------------------------------------------------------------


def draw_pairs(
    samples: pd.DataFrame, file: PostFile, pairs: int, reference_share: float,
    rng: np.random.Generator,
) -> list[Question]:  # fmt: skip
    """Pairs of different texts of a post, without repeats, sides at random.

    samples: columns post_id, policy, text. reference_share: of the pairs have the post's reference
    on one side; the others are two samples. Raises ConfigError where there are not so many pairs.
    """
    with_reference: list[Question] = []
    of_samples: list[Question] = []
    for post_id, group in samples.groupby("post_id", sort=False):
        post, reference = file.posts[str(post_id)], file.references.get(str(post_id))
        texts = group.drop_duplicates("text")
        texts = texts[texts["text"].str.len() > 0]
        written = list(zip(texts["policy"], texts["text"], strict=True))
        of_samples += [
            Question(post, one[1], other[1], one[0], other[0])
            for one, other in combinations(written, 2)
        ]
        if reference:
            with_reference += [
                Question(post, text, reference, policy, REFERENCE_POLICY)
                for policy, text in written if text != reference
            ]  # fmt: skip
    wanted = round(pairs * reference_share)
    chosen = [
        *_some(with_reference, wanted, "a sample with a reference", rng),
        *_some(of_samples, pairs - wanted, "two samples", rng),
    ]
    order, swap = rng.permutation(len(chosen)), rng.random(len(chosen)) < 0.5
    return [
        _swapped(chosen[i]) if turn else chosen[i]
        for i, turn in zip(order.tolist(), swap.tolist(), strict=True)
    ]


def _some(pool: list[Question], count: int, what: str, rng: np.random.Generator) -> list[Question]:
    if count > len(pool):
        raise ConfigError(
            f"{count} pairs of {what} are wanted; allowed up to {len(pool)}, as many as the "
            "samples make"
        )
    return [pool[i] for i in rng.choice(len(pool), size=count, replace=False).tolist()]


def _swapped(question: Question) -> Question:
    return question._replace(
        left=question.right, right=question.left, left_policy=question.right_policy,
        right_policy=question.left_policy,
    )  # fmt: skip


def make_labels(settings: Mapping[str, Any], folder: Path) -> Numbers:
    """Comparisons of samples, in the release's format; of a round also supervised against
    reference alone, by which labelers are watched.
    """
    seed, batch = settings["seed"], settings["batch"]
    file = read_posts(settings["posts"])
    samples = pd.concat([pd.read_parquet(path) for path in settings["samples"]])
    rng = np.random.default_rng([seed, *batch.encode()])
    asked = draw_pairs(samples, file, settings["pairs"], settings["reference_share"], rng)
    if drift := settings.get("drift"):
        mine = samples[samples["policy"] == drift["policy"]]
        known = {question.id for question in asked} | {_swapped(q).id for q in asked}
        more = draw_pairs(mine, file, drift["pairs"], 1.0, rng)
        asked += [question for question in more if question.id not in known]
    judge = judge_of(settings, seed=seed, what=batch, time=settings.get("time", 0.0))
    lines, ties = [], 0
    for question, answer in zip(asked, judge(asked), strict=True):
        if answer.choice in (0.0, 1.0):
            lines.append(label_line(question, answer, batch, split_of(question.post)))
        else:
            ties += 1
    name = batch if batch != "labels" else ""
    out = folder / "labels" / f"{name}{'-' if name else ''}s{seed}.jsonl"
    _write_lines(out, lines)
    return {"comparisons": len(lines), "ties": ties}


def make_labels_on_file(settings: Mapping[str, Any], folder: Path) -> Numbers:
    """Comparisons of the user's files in the release's format, less those of posts kept out.

    With `halves`, posts go by their hash to the gold model's file or to that of reward models.
    """
    tables = load(settings["files"])
    kept_out = {id_ for path in settings["without"] for id_ in read_posts(path).posts}
    posts = posts_of(tables)
    rows = tables.sides(["text"])
    names = ("gold", "files") if settings["halves"] else ("gold",)
    lines: dict[str, list[bytes]] = {name: [] for name in names}
    left_out = {"of posts that are judged on": 0, "ties, or without post or text": 0}
    columns = ("post_id", "left_text", "right_text", "left_policy", "right_policy", "choice")
    for at, (post_id, left, right, one, other, choice) in enumerate(
        rows[list(columns)].itertuples(index=False)
    ):
        if post_id in kept_out:
            left_out["of posts that are judged on"] += 1
        elif post_id not in posts or not given(left) or not given(right) or choice not in (0, 1):
            left_out["ties, or without post or text"] += 1
        else:
            post, row = posts[post_id], rows.iloc[at]
            strength = None if pd.isna(row["strength"]) else int(row["strength"])
            answer = Answer(float(choice), strength, given(row["labeler"]) or "labeler")
            half = int(content_id("half", post_id), 16) % len(names)
            lines[names[half]].append(
                label_line(
                    Question(post, left, right, one, other), answer,
                    given(row["batch"]) or "files", given(row["split"]) or split_of(post),
                )
            )  # fmt: skip
    for name, found in lines.items():
        _write_lines(folder / "labels" / f"{name}.jsonl", found)
    return {name: len(found) for name, found in lines.items()} | left_out


def make_test_pairs(settings: Mapping[str, Any], folder: Path) -> Numbers:
    """Held-out pairs with what they are worth and several labelers' answers, a row a pair.

    left, right: texts. gold_gap: gold of the right less the left one; pairs of equal gold are left
    out. answer0 ...: choices of different labelers.
    """
    seed = settings["seed"]
    file = read_posts(settings["posts"])
    samples = pd.read_parquet(settings["samples"])
    rng = np.random.default_rng([seed, 99])
    asked = draw_pairs(samples, file, settings["pairs"], settings["reference_share"], rng)
    rows = pd.DataFrame({
        "post_id": [q.post.id for q in asked],
        "left": [q.left for q in asked], "right": [q.right for q in asked],
        "kind": [
            "with the reference" if REFERENCE_POLICY in (q.left_policy, q.right_policy)
            else "two samples" for q in asked
        ],
        "better": [answer.choice for answer in truth_of(settings)(asked)],
    })  # fmt: skip
    judge = judge_of(settings, seed=seed, what="test")
    for again in range(settings["answers"]):
        answers = judge([question._replace(again=again) for question in asked])
        rows[f"answer{again}"] = [answer.choice for answer in answers]
    told = rows[rows["better"] != 0.5]
    write_parquet(told.reset_index(drop=True), folder / "labels" / f"test-s{seed}.parquet")
    return {"pairs": len(told), "ties": len(rows) - len(told)}


# -- judgments of policies ---------------------------------------------------------------------


def make_evaluation_labels(settings: Mapping[str, Any], folder: Path) -> Numbers:
    """What labelers say of every policy: against the reference, two samples of one policy against
    each other by several labelers, and (in the world) ratings on the paper's four axes.
    """
    out = folder / "labels" / "evaluation"
    files = [read_posts(path) for path in (settings["posts"], settings["news"]) if path]
    seed = settings["seed"]
    judge, lines, ratings = judge_of(settings, seed=seed, what="evaluation"), [], []
    for path in settings["judged"]:
        rows = pd.read_parquet(path)
        for file in files:
            mine = rows[rows["post_id"].isin(file.posts)]
            first = mine[(mine["sample"] == 0) & (mine["text"] != "")].head(settings["labels"])
            key = int(content_id("judged", Path(path).stem), 16) % 2**32
            rng = np.random.default_rng([seed, key])
            asked = _against_reference(first, file, rng)
            several = _against_itself(mine, file, settings["repeated"], rng)
            asked += [
                question._replace(again=again)
                for again in range(settings["repeats"]) for question in several
            ]  # fmt: skip
            for question, answer in zip(asked, judge(asked), strict=True):
                if answer.choice in (0.0, 1.0):
                    lines.append(label_line(question, answer, "evaluation", "valid2"))
            if "world_seed" in settings:
                ratings += _rated(settings, first, file, rng)
    if "world_seed" in settings:
        for file in files:
            references = pd.DataFrame({
                "post_id": list(file.references), "text": list(file.references.values()),
            }).assign(policy=REFERENCE_POLICY)  # fmt: skip
            rng = np.random.default_rng([seed, 5])
            ratings += _rated(settings, references.head(settings["labels"]), file, rng)
        _write_lines(out / "axis_evals" / "evaluation.json", ratings)
    _write_lines(out / "comparisons" / "evaluation.json", lines)
    return {"comparisons": len(lines), "ratings": len(ratings)}


def _against_reference(
    rows: pd.DataFrame, file: PostFile, rng: np.random.Generator
) -> list[Question]:
    asked = [
        Question(file.posts[post_id], text, file.references[post_id], policy, REFERENCE_POLICY)
        for post_id, text, policy in zip(rows["post_id"], rows["text"], rows["policy"], strict=True)
        if file.references.get(post_id) not in (None, text)
    ]
    return _sides(asked, rng)


def _against_itself(
    rows: pd.DataFrame, file: PostFile, count: int, rng: np.random.Generator
) -> list[Question]:
    asked = []
    for post_id, group in rows.groupby("post_id", sort=False):
        texts = [text for text in group["text"].drop_duplicates() if text]
        policy = group["policy"].iloc[0]
        if len(texts) > 1:
            asked.append(Question(file.posts[str(post_id)], texts[0], texts[1], policy, policy))
    return _sides(asked[:count], rng)


def _sides(asked: list[Question], rng: np.random.Generator) -> list[Question]:
    swap = rng.random(len(asked)) < 0.5
    return [_swapped(q) if turn else q for q, turn in zip(asked, swap.tolist(), strict=True)]


def _rated(
    settings: Mapping[str, Any], rows: pd.DataFrame, file: PostFile, rng: np.random.Generator
) -> list[bytes]:
    if not len(rows):
        return []
    world = World(settings["world_seed"])
    crowd = Crowd.draw(world, settings["labelers"])
    posts = [file.posts[post_id] for post_id in rows["post_id"]]
    facts = np.concatenate([world.post(post.source_id or post.id).facts for post in posts])
    encoded = Ragged.from_rows([language().encode(text) for text in rows["text"]])
    chars = np.array([len(text) for text in rows["text"]])
    who = rng.choice(len(crowd), size=len(rows), p=crowd.volume)
    values = crowd.rate(who, parts_of(facts, encoded), chars, rng)
    return [
        orjson.dumps(
            {
                "info": _info(post), "split": "valid2", "worker": crowd.ids[labeler],
                "batch": "evaluation",
                "summary": {
                    "text": f" {text}", "policy": policy, "note": "-",
                    "axes": dict(zip(AXES, value, strict=True)),
                },
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for post, text, policy, labeler, value in zip(
            posts, rows["text"], rows["policy"], who.tolist(), values.tolist(), strict=True
        )
    ]  # fmt: skip


# -- lines -------------------------------------------------------------------------------------


def split_of(post: Post) -> str:
    """train, valid1 or valid2 of a labelled post, the same in every file."""
    place = int(content_id("split", post.id), 16) / 2**64
    return "valid1" if place < VALID_SHARE else "valid2" if place < 2 * VALID_SHARE else "train"


def label_line(question: Question, answer: Answer, batch: str, split: str) -> bytes:
    """An answer in the release's format. A strength nobody stated is the weakest.

    Who is no crowd and is asked again counts as another labeler, or the label would be a repeat.
    """
    strength = answer.strength or 1
    again = f"-{question.again}" if question.again and answer.strength is None else ""
    return orjson.dumps(
        {
            "info": _info(question.post), "split": split,
            "summaries": [
                {"text": f" {text}", "policy": "ref" if policy == REFERENCE_POLICY else policy,
                 "note": "-"}
                for text, policy in (
                    (question.left, question.left_policy), (question.right, question.right_policy)
                )
            ],
            "choice": int(answer.choice), "worker": answer.labeler + again, "batch": batch,
            "extra": {"confidence": 5 + strength if answer.choice else 5 - strength},
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )  # fmt: skip


def _info(post: Post) -> dict[str, Any]:
    body, place = ("post", "subreddit") if post.domain == "tldr" else ("article", "site")
    return {"id": post.source_id or post.id, body: post.text, "title": post.title,
            place: post.section}  # fmt: skip


def _write_lines(path: Path, lines: Sequence[bytes]) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(b"".join(lines)))
