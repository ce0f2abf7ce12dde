"""The tables of an experiment, put together from what its steps left, with the truth of each text.

Gold is read back by the world, or given by the gold model. Names of things are read from the plan's
`Names`, never out of file names. Proof: tests/pipeline/test_measuring.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evalsuite import experiment
from evalsuite.config import from_values
from evalsuite.experiment import Experiment
from evalsuite.metrics import rouge
from evalsuite.pipeline.inventory import Inventory, round_of
from evalsuite.pipeline.names import policy_name, round_policy, short
from evalsuite.pipeline.reading import PostFile, device, read_posts
from evalsuite.pipeline.settings import Optimised, ReproduceSettings
from evalsuite.records import REFERENCE_POLICY, Post
from evalsuite.simulation import Crowd, World

Floats = NDArray[np.float64]
Gold = Callable[[Sequence[tuple[Post, str]]], Floats]
Row = dict[str, Any]

UNCERTAINTY = 0.5
"""Weight of the variance in the uncertainty-weighted ensemble; Coste et al. 2023, for best-of-N."""


def make_tables(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Every table of the experiment, into `tables/`."""
    made = Assembly(from_values(ReproduceSettings, settings["settings"], "settings"), folder)
    made.judged = settings["judged"]
    tables = {
        "models": made.models(), "objectives": made.objectives(), "policies": made.policies(),
        "summaries": made.summaries(), "pool": made.pool(), "trajectory": made.trajectory(),
        "pairs": made.pairs(), "probes": made.probes(), "training": made.training(),
    }  # fmt: skip
    unit = "utility" if made.settings.simulated else "gold reward"
    experiment.write(Experiment(tables, unit), folder / "tables")
    return {name: len(table) for name, table in tables.items()}


class Assembly(Inventory):
    """Files of a run's folder as tables."""

    def __init__(self, settings: ReproduceSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.file = read_posts(folder / "data" / "evaluation.jsonl")
        self.files = [self.file]
        if settings.simulated and settings.posts.news:
            self.files.append(read_posts(folder / "data" / "news.jsonl"))
        self.every = {id_: post for file in self.files for id_, post in file.posts.items()}
        self.references = {
            id_: text for file in self.files for id_, text in file.references.items()
        }
        self.gold = self._gold()
        found = self.gold([(self.every[id_], text) for id_, text in self.references.items()])
        self.reference_gold = dict(zip(self.references, found.tolist(), strict=True))
        self._pools: dict[int, pd.DataFrame] = {}
        self.judged: list[str] = []

    def _gold(self) -> Gold:
        if self.settings.simulated:
            from evalsuite.probes.world import world_gold

            self.world: World | None = World(self.settings.posts.world_seed)
            return world_gold(self.world)
        from evalsuite.models.rewards import ModelReward, RewardRequest

        self.world = None
        reward = ModelReward.load(self.folder / "gold" / "model" / "model", device=device())
        return lambda texts: reward([RewardRequest(post, text) for post, text in texts])

    # -- what was written ------------------------------------------------------------------

    def _with_gold(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Columns gold, gold_reference, preferred, expected, chars_reference of summaries."""
        posts = [self.every[id_] for id_ in rows["post_id"]]
        gold = self.gold(list(zip(posts, rows["text"], strict=True)))
        reference = rows["post_id"].map(self.reference_gold).to_numpy(float)
        chars = np.array([len(text) for text in rows["text"]], dtype=np.float64)
        theirs = np.array([len(self.references[id_]) for id_ in rows["post_id"]], dtype=np.float64)
        expected = np.full(len(rows), math.nan)
        if self.world is not None:
            expected = expected_share(
                Crowd.draw(self.world, self.settings.labels.labelers),
                gold,
                reference,
                chars,
                theirs,
            )
        gap = gold - reference
        return rows.assign(
            gold=gold, gold_reference=reference, chars=chars, chars_reference=theirs,
            preferred=np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5)), expected=expected,
        )  # fmt: skip

    def summaries(self) -> pd.DataFrame:
        """A row an evaluated summary; best-of-N policies and the references too."""
        parts = []
        for seed in self.seeds:
            for name in self.judged:
                if not name.endswith(f"-s{seed}"):
                    continue
                rows = pd.read_parquet(self.folder / f"{name}.parquet")
                rows = rows[rows["sample"] == 0].rename(columns={"length": "tokens"})
                parts.append(rows.assign(seed=seed))
            parts += self._best_of_n(seed)
            parts.append(pd.DataFrame({
                "policy": REFERENCE_POLICY, "seed": seed, "post_id": list(self.references),
                "text": list(self.references.values()),
                "domain": [self.every[id_].domain for id_ in self.references],
                "tokens": [float(len(text.split())) for text in self.references.values()],
            }))  # fmt: skip
        columns = [c for c in experiment.COLUMNS["summaries"] if c != "chars"]
        rows = pd.concat(parts, ignore_index=True)
        return self._with_gold(rows[[c for c in columns if c in rows]])

    def _best_of_n(self, seed: int) -> list[pd.DataFrame]:
        pool = self._scored_pool(seed)
        size, parts = self.settings.pool.size or self.settings.first_size, []
        for objective in self.chosen_by():
            for n in self.settings.pool.shown:
                first = pool[pool.groupby("post_id").cumcount() < n]
                column = f"proxy:{objective}"
                best = first.loc[first.groupby("post_id", sort=False)[column].idxmax()]
                parts.append(
                    best[["post_id", "text", "tokens", column]]
                    .rename(columns={column: "reward"})
                    .assign(
                        policy=f"sup_{size}_bo{n}_{short(objective)}",
                        seed=seed,
                        domain="tldr",
                    )
                )
        return parts

    def _scored_pool(self, seed: int) -> pd.DataFrame:
        """The pool with a column for each objective but the truth."""
        if seed in self._pools:
            return self._pools[seed]
        rows = pd.read_parquet(self.folder / "pool" / f"s{seed}.parquet")
        rows["tokens"] = rows["tokens"].str.len().astype(float)
        for model, row in self.reward_models(seed).items():
            scored = pd.read_parquet(self.folder / "scores" / model / "pool.parquet")
            known = scored.set_index("summary_id")["reward"]
            rows[f"member:{row['objective']}:{row['member']}"] = rows["summary_id"].map(known)
        for name in self.names.objectives():
            mine = [c for c in rows.columns if str(c).startswith(f"member:{name}:")]
            if mine:
                rows[f"proxy:{name}"] = rows[f"member:{name}:0"]
            elif "(" in name:
                how, _, of = name.rstrip(")").partition("(")
                members = rows[
                    [c for c in rows.columns if str(c).startswith(f"member:{of}:")]
                ].to_numpy()
                rows[f"proxy:{name}"] = ensemble(members, how)
            elif name == "rouge":
                rows["proxy:rouge"] = self._rouge(rows)
        rows = rows.drop(columns=[c for c in rows.columns if str(c).startswith("member:")])
        self._pools[seed] = rows
        return rows

    def _rouge(self, rows: pd.DataFrame) -> Floats:
        pairs = [(text, self.references[id_]) for id_, text in
                 zip(rows["post_id"], rows["text"], strict=True)]  # fmt: skip
        scores = rouge([a for a, _ in pairs], [b for _, b in pairs])
        return np.asarray(scores["rougeL_f"], dtype=np.float64)

    def pool(self) -> pd.DataFrame:
        """A row a sample that best-of-N chooses among."""
        size = self.settings.pool.size or self.settings.first_size
        parts = []
        for seed in self.seeds:
            rows = self._scored_pool(seed)
            posts = [self.every[id_] for id_ in rows["post_id"]]
            rows["gold"] = self.gold(list(zip(posts, rows["text"], strict=True)))
            rows["proxy:gold"] = rows["gold"]
            kept = [c for c in rows.columns if str(c).startswith("proxy:")]
            rows = rows[["post_id", "sample", "text", "tokens", "chars", "gold", *kept]]
            parts.append(rows.assign(base=f"sup_{size}_t{self.settings.pool.temperature:g}",
                                     seed=seed))  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    # -- how it came about -----------------------------------------------------------------

    def trajectory(self) -> pd.DataFrame:
        """A row a summary that PPO wrote on its way."""
        parts = []
        for seed in self.seeds:
            for model, run, kl_coef in self.ppo_runs(seed):
                place = self.folder / "ppo" / model
                metrics = pd.read_json(place / "metrics.jsonl", lines=True).set_index("step")
                if not (place / "samples.jsonl").is_file():  # never evaluated on its way
                    continue
                rows = pd.read_json(place / "samples.jsonl", lines=True, dtype={"summary": str})
                after = rows["step"] - 1  # a row is of the policy before its update
                # The KL logged with an update is of the policy before it, too; that of the final
                # policy was measured when it was judged.
                judged = self._judged_by(run, kl_coef, seed)
                final = float(judged.loc[judged["domain"] == "tldr", "kl_nats"].mean())
                kl = rows["step"].map(metrics["kl_k1"]).fillna(final)
                theirs = dict(zip(judged["post_id"], judged["reward_reference"], strict=True))
                parts.append(pd.DataFrame({
                    "model": model, "seed": seed, "size": run.size, "objective": run.objective,
                    "kl_coef": kl_coef, "value_network": run.value_network, "update": after,
                    "kl_nats": kl, "post_id": rows["post_id"], "text": rows["summary"],
                    "tokens": rows["tokens"], "proxy": rows["reward"],
                    "proxy_reference": rows["post_id"].map(theirs),
                }))  # fmt: skip
        if not parts:
            return pd.DataFrame()
        return self._with_gold(pd.concat(parts, ignore_index=True)).drop(
            columns=["preferred", "expected"]
        )

    def _judged_by(self, run: Optimised, kl_coef: float, seed: int) -> pd.DataFrame:
        """The judged summaries of a PPO run at the first temperature."""
        first = self.settings.evaluation.temperatures[0]
        if (number := round_of(run.objective)) > 0:
            policy = round_policy(run.size, int(number), first)
        else:
            shared = run.value_network == "shared"
            policy = policy_name(run.size, run.objective, kl_coef, shared, first)
        return pd.read_parquet(self.folder / "judged" / f"{policy}-s{seed}.parquet")

    def training(self) -> pd.DataFrame:
        """A row an update of PPO."""
        parts = []
        for seed in self.seeds:
            for model, run, kl_coef in self.ppo_runs(seed):
                metrics = pd.read_json(self.folder / "ppo" / model / "metrics.jsonl", lines=True)
                metrics = metrics[metrics["reward"].notna()]
                parts.append(pd.DataFrame({
                    "model": model, "seed": seed, "size": run.size, "objective": run.objective,
                    "kl_coef": kl_coef, "value_network": run.value_network,
                    "update": metrics["step"], "reward": metrics["reward"],
                    "kl_nats": metrics["kl_k1"], "token_reward": metrics["token_reward"],
                    "length": metrics["length"],
                }))  # fmt: skip
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    # -- reward models ---------------------------------------------------------------------

    def pairs(self) -> pd.DataFrame:
        """A row a held-out pair and reward model; one labeler and a majority of three likewise."""
        parts = []
        for seed in self.seeds:
            told = pd.read_parquet(self.folder / "labels" / f"test-s{seed}.parquet")
            file = read_posts(self.folder / "data" / f"test-s{seed}.jsonl")
            right = told["better"].to_numpy() == 1.0
            shared = self._pair_facts(told, file, right).assign(seed=seed)
            answers = told[[f"answer{i}" for i in range(5)]].to_numpy(float)
            for model, row in self.reward_models(seed).items():
                scored = pd.read_parquet(self.folder / "scores" / model / "pairs.parquet")
                margin = (scored["right"] - scored["left"]).to_numpy() * np.where(right, 1, -1)
                correct = np.where(margin > 0, 1.0, np.where(margin < 0, 0.0, 0.5))
                says_right = np.where(right, correct, 1 - correct)
                parts.append(shared.assign(
                    model=model, margin=margin, correct=correct,
                    agrees=_same(says_right, answers[:, 0]),
                    parameters=self.parameters(row["size"]),
                    **{k: row[k] for k in ("size", "labels", "member", "round")},
                ))  # fmt: skip
            majority = np.where(answers[:, 2:].mean(axis=1) > 0.5, 1.0, 0.0)
            majority[np.isnan(answers[:, 2:]).any(axis=1)] = math.nan
            for name, says in (("labeler", answers[:, 1]), ("labelers", majority)):
                parts.append(shared.assign(
                    model=name, margin=math.nan, correct=_same(says, right.astype(float)),
                    agrees=_same(says, answers[:, 0]), labels=math.nan, member=math.nan,
                ))  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def _pair_facts(
        self, told: pd.DataFrame, file: PostFile, right: NDArray[np.bool_]
    ) -> pd.DataFrame:
        posts = [file.posts[id_] for id_ in told["post_id"]]
        gold = {
            side: self.gold(list(zip(posts, told[side], strict=True))) for side in ("left", "right")
        }
        chars = {side: told[side].str.len().to_numpy(float) for side in ("left", "right")}
        sign = np.where(right, 1.0, -1.0)
        return pd.DataFrame({
            "post_id": told["post_id"], "kind": told["kind"],
            "gap": (gold["right"] - gold["left"]) * sign,
            "log_length_ratio": np.log(
                np.maximum(chars["right"], 1) / np.maximum(chars["left"], 1)
            ) * sign,
        })  # fmt: skip

    def probes(self) -> pd.DataFrame:
        """A row an edited summary and reward model."""
        parts = []
        for seed in self.seeds:
            for model, row in self.reward_models(seed).items():
                if row["round"] > 0:  # those of rounds differ in labels from seed to seed
                    continue
                rows = pd.read_parquet(self.folder / "scores" / model / "probes.parquet")
                parts.append(rows.assign(
                    model=model, seed=seed, parameters=self.parameters(row["size"]),
                    **{k: row[k] for k in ("size", "labels", "member")},
                ))  # fmt: skip
        return pd.concat(parts, ignore_index=True)


def _same(says: Floats, other: Floats) -> Floats:
    """1 where two choices (0, 1, .5) agree, .5 where one is a tie, NaN where one is missing."""
    return np.asarray(says * other + (1 - says) * (1 - other), dtype=np.float64)


def ensemble(members: Floats, how: str) -> Floats:
    """Rewards (n,) of an ensemble of (n, k): mean, worst, or mean less weighted variance."""
    if how == "worst":
        return np.asarray(members.min(axis=1))
    mean = members.mean(axis=1)
    return np.asarray(mean - UNCERTAINTY * members.var(axis=1) if how == "uncertainty" else mean)


def expected_share(
    crowd: Crowd, one: Floats, other: Floats, chars: Floats, other_chars: Floats
) -> Floats:
    """Share of the crowd, by volume, that prefers the first, on either side half the time; (n,)."""
    who = np.arange(len(crowd))[None, :]
    mine, theirs = (one[:, None], other[:, None]), (other[:, None], one[:, None])
    sizes = (chars[:, None], other_chars[:, None])
    left = crowd.prefers_left(who, mine, sizes)
    right = 1 - crowd.prefers_left(who, theirs, sizes[::-1])
    return np.asarray((left + right) / 2 @ crowd.volume)
