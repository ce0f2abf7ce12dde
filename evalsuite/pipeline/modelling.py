"""Steps in which models work: training, sampling, scoring; thin over trainers and models.

Proof: tests/pipeline/test_tiny_world.py runs each of them for real.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evalsuite.config import from_values
from evalsuite.models.checkpoints import check_context, load_policy
from evalsuite.models.info import weights_sha256
from evalsuite.models.names import folder_of
from evalsuite.models.packing import Group
from evalsuite.models.parquet import (
    Item,
    Job,
    reward_scorer,
    sample_to_parquet,
    score_to_parquet,
)
from evalsuite.models.prompts import Prompter
from evalsuite.models.rewards import ModelReward, Reward, RewardRequest, parse_reward
from evalsuite.models.scoring import completion_logprobs
from evalsuite.pipeline.reading import PostFile, device, read_posts
from evalsuite.records import Post
from evalsuite.tables import write_atomically, write_parquet
from trainers.ppo import train_ppo
from trainers.ppo_setup import PPOConfig
from trainers.reward_model import RewardModelConfig, train_reward_model
from trainers.sft import SFTConfig, train_sft

Report = Callable[[int, int], object]
Numbers = dict[str, Any]

NEWS_FORMAT = "tldr_on_news"
"""How a policy trained on TL;DR meets an article."""


# -- training ----------------------------------------------------------------------------------


def run_sft(settings: Mapping[str, Any], folder: Path, out: str) -> Numbers:
    """Supervised fine-tuning."""
    train_sft(from_values(SFTConfig, settings["config"], out), folder / out, resume=True)
    return _closing(folder / out)


def run_rm(settings: Mapping[str, Any], folder: Path, out: str) -> Numbers:
    """A reward model."""
    config = from_values(RewardModelConfig, settings["config"], out)
    train_reward_model(config, folder / out, resume=True)
    return _closing(folder / out)


def run_ppo(settings: Mapping[str, Any], folder: Path, out: str) -> Numbers:
    """PPO."""
    train_ppo(from_values(PPOConfig, settings["config"], out), folder / out, resume=True)
    return _closing(folder / out)


def _closing(folder: Path) -> Numbers:
    """The last numbers of a finished run."""
    rows = pd.read_json(folder / "metrics.jsonl", lines=True)
    last = rows.ffill().iloc[-1]
    wanted = (
        "validation_loss", "rougeL", "validation_accuracy", "validation_reward", "kl_k1", "length",
    )  # fmt: skip
    return {name: round(float(last[name]), 4) for name in wanted if name in last}


def describe_base(settings: Mapping[str, Any], folder: Path, out: str) -> Numbers:
    """Load a base model once, so that a name that does not resolve is found before any work."""
    loaded = load_policy(settings["model"])
    told = {
        "model": settings["model"], "parameters": loaded.model.num_parameters(),
        "weights": loaded.info.weights_sha256 or weights_sha256(loaded.path),
    }  # fmt: skip
    frame = pd.Series(told)
    write_atomically(folder / out, lambda path: frame.to_json(path))
    return {"parameters": told["parameters"]}


# -- sampling ----------------------------------------------------------------------------------


class Sampler:
    """A policy with its prompters by domain, ready to sample posts of a file."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.loaded = load_policy(settings["model"])
        self.device = device()
        self.model = self.loaded.model.to(self.device)
        examples: list[tuple[Post, str]] = []
        if settings.get("examples_from"):
            source = read_posts(settings["examples_from"])
            examples = [
                (post, source.references[post_id]) for post_id, post in source.posts.items()
                if post_id in source.references
            ][: settings["examples"]]  # fmt: skip
        form = self.loaded.info.prompt_format or settings.get("format") or "tldr"
        lengths = {
            "max_prompt_tokens": settings["max_prompt_tokens"],
            "max_completion_tokens": settings.get("max_completion_tokens"),
        }
        self.prompter = Prompter(self.loaded.tokenizer, form, examples=examples, **lengths)
        self.news = Prompter(self.loaded.tokenizer, NEWS_FORMAT, examples=examples, **lengths)
        self.news.max_completion_tokens = self.prompter.max_completion_tokens
        longest = self.prompter.max_prompt_tokens + self.prompter.max_completion_tokens
        check_context(self.loaded.model, longest, self.loaded.name)

    def of(self, post: Post) -> Prompter:
        """The prompter of a post's domain."""
        return self.prompter if post.domain != "cnndm" else self.news

    def to_file(
        self, out: Path, posts: Mapping[str, Post], settings: Mapping[str, Any], k: int,
        report: Report,
    ) -> pd.DataFrame:  # fmt: skip
        """K samples of each post into a file that a broken run goes on with; the rows.

        A file that is there is whole, and of this very step: the step's record sees to that.
        """
        if out.is_file():
            return pd.read_parquet(out)
        jobs = [Job(id_, post, self.of(post).prompt(post)) for id_, post in posts.items()]
        identity = self.loaded.info.weights_sha256 or weights_sha256(self.loaded.path)
        sample_to_parquet(
            out, self.model, self.prompter, jobs, policy=settings["policy"], identity=identity, k=k,
            temperature=settings["temperature"], top_p=settings.get("top_p", 1.0),
            seed=settings["seed"], first_sample=settings.get("first_sample", 0), progress=report,
        )  # fmt: skip
        return pd.read_parquet(out)


def _chosen(settings: Mapping[str, Any], file: PostFile) -> dict[str, Post]:
    return dict(list(file.posts.items())[slice(*settings["stretch"])])


def run_sample(settings: Mapping[str, Any], folder: Path, out: str, report: Report) -> Numbers:
    """K samples a post."""
    posts = _chosen(settings, read_posts(settings["posts"]))
    rows = Sampler(settings).to_file(folder / out, posts, settings, settings["k"], report)
    return {"samples": len(rows), "tokens": round(float(rows["tokens"].str.len().mean()), 1)}


def run_best_of(settings: Mapping[str, Any], folder: Path, out: str, report: Report) -> Numbers:
    """Of N samples a post the one that a reward model likes best, in the columns of samples."""
    file = read_posts(settings["posts"])
    posts = _chosen(settings, file)
    parts = folder / f"{out}.parts"
    drawn = parts / "drawn.parquet"
    rows = Sampler(settings).to_file(drawn, posts, settings, settings["n"], report)
    reward = parse_reward(settings["reward"], device=device())
    rows["reward"] = _rewards(reward, rows, file)
    best = rows.loc[rows.groupby("post_id", sort=False)["reward"].idxmax()]
    write_parquet(best.reset_index(drop=True), folder / out)
    shutil.rmtree(parts)
    return {"samples": len(best), "reward": round(float(best["reward"].mean()), 4)}


def _rewards(reward: Reward, rows: pd.DataFrame, file: PostFile) -> np.ndarray[Any, Any]:
    return reward([
        RewardRequest(file.posts[id_], text, file.references.get(id_), prompt_id=id_)
        for id_, text in zip(rows["post_id"], rows["text"], strict=True)
    ])  # fmt: skip


# -- judging -----------------------------------------------------------------------------------


def run_judge(settings: Mapping[str, Any], folder: Path, out: str, report: Report) -> Numbers:
    """A policy's summaries of the evaluation posts, its KL from its parent, its own rewards.

    kl_nats: sum over the summary's tokens of log-prob by the policy less by the parent, at the
    sampling temperature; NaN when greedy or where there is no parent. reward_reference: of the
    post's reference.
    """
    sampler = Sampler(settings)
    parts = folder / f"{out}.parts"
    found = []
    for number, path in enumerate(settings["posts"]):
        file = read_posts(path)
        rows = sampler.to_file(
            parts / f"{number}.parquet", file.posts, settings, settings["k"], report
        )
        rows["kl_nats"] = _kl(rows, sampler, settings, file)
        rows["reward"] = rows["reward_reference"] = math.nan
        if settings["reward"]:
            reward = parse_reward(settings["reward"], device=sampler.device)
            rows["reward"] = _rewards(reward, rows, file)
            references = pd.DataFrame(
                {"post_id": list(file.references), "text": list(file.references.values())}
            )
            known = dict(
                zip(references["post_id"], _rewards(reward, references, file), strict=True)
            )
            rows["reward_reference"] = rows["post_id"].map(known)
        rows["domain"] = [file.posts[id_].domain for id_ in rows["post_id"]]
        rows["length"] = rows["tokens"].str.len()
        found.append(rows.drop(columns=["tokens", "logprobs"]))
    judged = pd.concat(found, ignore_index=True)
    write_parquet(judged, folder / out)
    shutil.rmtree(parts)
    kl = float(judged["kl_nats"].mean())
    told = {"summaries": len(judged), "tokens": round(float(judged["length"].mean()), 1)}
    return told | ({"kl_nats": round(kl, 3)} if math.isfinite(kl) else {})


def _kl(
    rows: pd.DataFrame, sampler: Sampler, settings: Mapping[str, Any], file: PostFile
) -> np.ndarray[Any, Any]:
    if not settings["parent"] or settings["temperature"] == 0:
        return np.full(len(rows), math.nan)
    parent = load_policy(settings["parent"]).model.to(sampler.device)
    groups, places = [], []
    for post_id, group in rows.groupby("post_id", sort=False):
        post = file.posts[str(post_id)]
        groups.append(Group(sampler.of(post).prompt(post), [list(t) for t in group["tokens"]]))
        places += group.index.tolist()
    scored = completion_logprobs(
        parent, groups, pad_id=sampler.prompter.pad_id, temperature=settings["temperature"]
    )
    flat = [float(np.sum(one, dtype=np.float64)) for group in scored for one in group]
    return rows["logprob"].to_numpy(float) - pd.Series(flat, index=places).reindex(rows.index)


# -- scoring -----------------------------------------------------------------------------------


def run_score(settings: Mapping[str, Any], folder: Path, out: str, report: Report) -> Numbers:
    """A reward model on the pool, on held-out pairs and on probes; three files.

    pool.parquet has `reward` by summary_id, pairs.parquet `left`, `right` in the order of the
    pairs, probes.parquet the rows of the experiment's table of probes.
    """
    reward = ModelReward.load(settings["model"], device=device())
    file = read_posts(settings["posts"])
    pool = pd.read_parquet(settings["pool"])
    items = [
        Item(summary, post, policy, file.posts[post], text)
        for summary, post, policy, text in zip(
            pool["summary_id"], pool["post_id"], pool["policy"], pool["text"], strict=True
        )
    ]
    place = folder / out
    if not (place / "pool.parquet").is_file():  # else of this step, and whole
        score_to_parquet(
        place / "pool.parquet", reward_scorer(reward), items,
        identity=weights_sha256(folder_of(settings["model"])), run={}, progress=report,
    )  # fmt: skip
    tested = read_posts(settings["test_posts"])
    pairs = pd.read_parquet(settings["pairs"])
    sides = {
        side: _rewards(reward, pairs[["post_id"]].assign(text=pairs[side]), tested)
        for side in ("left", "right")
    }
    write_parquet(pd.DataFrame(sides), place / "pairs.parquet")
    probes = _probed(settings, reward, file)
    write_parquet(probes, place / "probes.parquet")
    return {"summaries": len(items), "pairs": len(pairs), "probes": len(probes)}


def _probed(settings: Mapping[str, Any], reward: ModelReward, file: PostFile) -> pd.DataFrame:
    from evalsuite.pipeline.probing import probe_rows

    def score(texts: Sequence[tuple[Post, str]]) -> np.ndarray[Any, Any]:
        return reward([RewardRequest(post, text) for post, text in texts])

    samples = pd.read_parquet(settings["samples"])
    return probe_rows(settings, file, samples, score)


def run_agreement_scores(
    settings: Mapping[str, Any], folder: Path, out: str, report: Report
) -> Numbers:
    """Rewards and log-probs of the summaries that labelers compared repeatedly, by summary id.

    Columns `reward:SIZE` of each size's main reward model and `logprob:SIZE` of its supervised
    policy, both of the first seed, in words that figures show.
    """
    from evalsuite.datasets import load
    from evalsuite.pipeline.names import Names
    from evalsuite.pipeline.settings import ReproduceSettings

    run = from_values(ReproduceSettings, settings["settings"], "settings")
    names, seed = Names(run), run.first_seed
    tables = load([settings["labels"]])
    same = tables.comparisons[
        (tables.comparisons["left_policy"] == tables.comparisons["right_policy"])
        & (tables.comparisons["domain"] == "tldr")
    ]
    wanted = set(same["left_id"]) | set(same["right_id"])
    file = read_posts(folder / "data" / "evaluation.jsonl")
    rows = tables.summaries[tables.summaries["summary_id"].isin(wanted)].reset_index(drop=True)
    found = pd.DataFrame({"summary_id": rows["summary_id"]})
    total = 2 * len(run.sizes)
    for number, size in enumerate(run.sizes):
        model = names.rm(names.main(size), seed)
        reward = ModelReward.load(folder / "rm" / model / "model", device=device())
        found[f"reward:{size} reward model"] = _rewards(reward, rows, file)
        report(2 * number + 1, total)
        policy = load_policy(str(folder / "sft" / f"sft-{size}-s{seed}" / "model"))
        prompter = Prompter(
            policy.tokenizer, policy.info.prompt_format or "tldr",
            max_prompt_tokens=run.max_prompt_tokens,
        )  # fmt: skip
        network = policy.model.to(device())
        values = np.full(len(rows), math.nan)
        for post_id, group in rows.groupby("post_id", sort=False):
            post = file.posts[str(post_id)]
            completions = [prompter.completion(text) for text in group["text"]]
            scored = completion_logprobs(
                network, [Group(prompter.prompt(post), completions)], pad_id=prompter.pad_id
            )
            values[group.index.to_numpy()] = [np.sum(one, dtype=np.float64) for one in scored[0]]
        found[f"logprob:{size} supervised"] = values
        report(2 * number + 2, total)
    write_parquet(found, folder / out)
    return {"summaries": len(found)}
