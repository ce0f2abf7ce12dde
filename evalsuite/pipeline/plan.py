"""The paper as steps: what is made from what, for each seed, size, amount of labels and objective.

    posts -> base -> zero-shot and SFT -> samples -> labels -> reward models -> PPO, pool of samples
    -> policies judged -> gold -> tables -> analyses -> page

Read `make_plan` from top to bottom. A step's settings are everything that decides its output; `@/`
in them stands for the run's folder. What a step does is in `actions`.
Proof: tests/pipeline/test_plan.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from evalsuite.config import as_dict
from evalsuite.errors import ConfigError
from evalsuite.pipeline.costs import Costs
from evalsuite.pipeline.settings import Optimised, ReproduceSettings
from evalsuite.pipeline.steps import Plan, Step, Work

SPACING = 20_000
"""Posts of the world from one seed to the next; `LAYOUT` says where parts of a seed begin."""

LAYOUT = {"train": (0, 10_000), "labelled": (10_000, 4_000), "rounds": (14_000, 4_000)} | {
    "test": (18_000, 2_000)
}
EVALUATION = 500_000
"""Where the world's posts of the evaluation begin; no training reads so far."""

_OBJECTIVE = re.compile(r"(?P<how>mean|worst|uncertainty)\((?P<of>.+)\)")


@dataclass
class Names:
    """Names of a run's things; the only place that spells them."""

    settings: ReproduceSettings

    def rm(self, objective: str, seed: int, member: int = 0) -> str:
        """The model behind an objective `rm-SIZE-LABELS` or `rmROUND`."""
        return f"{objective}-m{member}-s{seed}" if "-" in objective else f"{objective}-s{seed}"

    def reward(self, objective: str, seed: int) -> str:
        """The reward words of an objective, `@/` for the run's folder."""
        if found := _OBJECTIVE.fullmatch(objective):
            members = range(self.settings.reward_models.members)
            folders = [f"@/rm/{self.rm(found['of'], seed, m)}/model" for m in members]
            return f"{found['how']}:{','.join(folders)}"
        return objective if objective == "rouge" else f"@/rm/{self.rm(objective, seed)}/model"

    def members(self, objective: str, seed: int) -> list[str]:
        """The reward models an objective needs."""
        return re.findall(r"@/rm/([^/]+)/model", self.reward(objective, seed))

    def grid(self) -> list[tuple[str, str, int, int]]:
        """Reward models of the grid: objective, size, labels, member."""
        grid, first = self.settings.reward_models, self.settings.first_size
        sizes = grid.sizes or tuple(self.settings.sizes)
        found = []
        for size in self.settings.sizes:
            for labels in grid.amounts:
                if size in sizes or labels == grid.amounts[-1]:
                    several = size == first and labels == grid.amounts[0]
                    for member in range(grid.members if several else 1):
                        found.append((f"rm-{size}-{labels}", size, labels, member))
        return found

    def main(self, size: str) -> str:
        """The main reward model of a size: the one of most labels."""
        return f"rm-{size}-{self.settings.reward_models.amounts[-1]}"

    def objectives(self) -> list[str]:
        """Everything that samples are chosen by, the truth last."""
        singles = list(dict.fromkeys(objective for objective, *_ in self.grid()))
        smallest = f"rm-{self.settings.first_size}-{self.settings.reward_models.amounts[0]}"
        several = self.settings.reward_models.members > 1
        ensembles = [f"{how}({smallest})" for how in ("mean", "worst", "uncertainty")] * several
        rounds = [f"rm{number + 1}" for number in range(self.settings.rounds.count)]
        return [*singles, *ensembles, *rounds, "rouge", "gold"]


def short(objective: str) -> str:
    """An objective as it stands in a policy's name: `rm-small-4800` of a small policy is rm4800."""
    if found := _OBJECTIVE.fullmatch(objective):
        return f"{found['how']}{short(found['of'])}"
    parts = objective.split("-")
    return f"rm{parts[-1]}" if len(parts) == 3 else objective


def ppo_name(run: Optimised, kl_coef: float, seed: int) -> str:
    """The name of a PPO run."""
    shared = "-shared" if run.value_network == "shared" else ""
    return f"ppo-{run.size}-{run.objective}{shared}-b{kl_coef:g}-s{seed}"


def policy_name(size: str, objective: str, kl_coef: float, shared: bool, temperature: float) -> str:
    """The name of what PPO made, in the grammar of the release."""
    value = "_shared" if shared else ""
    return f"sup_{size}_ppo{value}_{short(objective)}_b{kl_coef:g}_t{temperature:g}"


@dataclass
class _Steps:
    """Steps as they are gathered, with the settings they share."""

    settings: ReproduceSettings
    names: Names
    costs: Costs
    steps: list[Step] = field(default_factory=list)

    def add(
        self, name: str, stage: str, does: str, action: str, settings: dict[str, Any],
        inputs: list[str], outputs: list[str], work: Work, files: tuple[str, ...] = (),
    ) -> str:  # fmt: skip
        """One step; its name, for those that read it."""
        self.steps.append(
            Step(
                name,
                stage,
                does,
                action,
                settings,
                tuple(dict.fromkeys(inputs)),
                tuple(outputs),
                files,
                work,
            )  # fmt: skip
        )
        return name

    def trainer(self, kind: str, size: str, own: dict[str, Any]) -> dict[str, Any]:
        """A trainer's settings: those of the run, then of the size, then `own`."""
        lengths = {
            "max_prompt_tokens": self.settings.max_prompt_tokens,
            "max_completion_tokens": self.settings.max_completion_tokens
            + (16 if kind == "rm" else 0),
        }
        shared: dict[str, Any] = getattr(self.settings, kind)
        merged = _merge({"data": lengths}, shared)
        merged = _merge(merged, self.settings.by_size.get(size, {}).get(kind, {}))
        return _merge(merged, own)

    def parameters(self, size: str) -> float:
        """Parameters of a size; see `costs`."""
        return self.costs.parameters(self.settings.sizes[size])


def make_plan(settings: ReproduceSettings) -> Plan:
    """Every step of the run, inputs before those that read them.

    Raises ConfigError for objectives that no reward model of the grid makes, and for more posts
    than a seed has.
    """
    made = _Steps(settings, Names(settings), Costs(settings))
    _check(made)
    common = _posts(made)
    judged: list[str] = []
    pools: list[str] = []
    scored: list[str] = []
    models: list[str] = []
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        posts = _seed_posts(made, seed)
        judged += _zero_shot(made, seed, common, posts)
        sft = _sft(made, seed, posts)
        labels = _labels(made, seed, posts, sft[settings.first_size])
        rms = _reward_models(made, seed, posts, labels, sft)
        ppos = _ppo(made, seed, common, posts, sft, rms)
        loop = _rounds(made, seed, common, posts, sft[settings.first_size])
        rms, ppos = rms | loop.rms, ppos | loop.ppos
        judged += _judged(made, seed, common, sft, rms, ppos)
        pools.append(_pool(made, seed, common, sft))
        scored += _scores(made, seed, common, pools[-1], labels, rms)
        models += [*sft.values(), *rms.values(), *ppos.values()]
        models += loop.labels
    _end(made, common, judged, pools, scored, models)
    return Plan(made.steps)


def _check(made: _Steps) -> None:
    settings, names = made.settings, made.names
    known = {*names.objectives()} - {"gold"}
    for run in settings.policies:
        if run.objective not in known:
            raise ConfigError(
                f"policies: objective {run.objective!r} is made by nothing here; allowed "
                f"{', '.join(sorted(known))}"
            )
    if settings.simulated:
        wanted = {
            "train": settings.posts.train, "labelled": settings.posts.labelled,
            "rounds": settings.rounds.posts * settings.rounds.count, "test": settings.posts.test,
        }  # fmt: skip
        for part, count in wanted.items():
            if count > LAYOUT[part][1]:
                raise ConfigError(
                    f"{part} posts of a seed are {count}; allowed up to {LAYOUT[part][1]}"
                )
        last = (settings.first_seed + settings.seeds) * SPACING
        if last > EVALUATION:
            raise ConfigError(f"seeds go up to {last // SPACING}; allowed {EVALUATION // SPACING}")


# -- posts -----------------------------------------------------------------------------------


def _posts(made: _Steps) -> str:
    """Posts that all seeds are judged on, and the gold model where the truth is not simulated."""
    settings = made.settings
    parts = {"evaluation": ("tldr", EVALUATION, settings.posts.evaluation)}
    if settings.simulated and settings.posts.news:
        parts["news"] = ("cnndm", 0, settings.posts.news)
    for size, base in settings.sizes.items():
        made.add(
            f"base/{size}", "base", f"{size}: {base}", "base", {"model": base}, [],
            [f"base/{size}.json"], Work("cpu", seconds=3),
        )  # fmt: skip
    return made.add(
        "posts/evaluation", "posts",
        ", ".join(f"{count} {part} posts" for part, (_, _, count) in parts.items()),
        "posts", _post_settings(settings, parts), [], [f"data/{part}.jsonl" for part in parts],
        Work("cpu", seconds=2), files=settings.posts.files,
    )  # fmt: skip


def _seed_posts(made: _Steps, seed: int) -> str:
    settings = made.settings
    counts = {
        "train": settings.posts.train, "labelled": settings.posts.labelled,
        "rounds": settings.rounds.posts * settings.rounds.count, "test": settings.posts.test,
    }  # fmt: skip
    parts = {
        f"{part}-s{seed}": ("tldr", seed * SPACING + LAYOUT[part][0], count)
        for part, count in counts.items() if count
    }  # fmt: skip
    return made.add(
        f"posts/s{seed}", "posts", f"{sum(counts.values()):,} posts of seed {seed}", "posts",
        _post_settings(settings, parts), [], [f"data/{part}.jsonl" for part in parts],
        Work("cpu", seconds=3), files=settings.posts.files,
    )  # fmt: skip


def _post_settings(
    settings: ReproduceSettings, parts: dict[str, tuple[str, int, int]]
) -> dict[str, Any]:
    if settings.simulated:
        return {
            "world_seed": settings.posts.world_seed,
            "parts": {part: list(where) for part, where in parts.items()},
        }
    # Files are shuffled by a hash; each part of each seed is a stretch of that order.
    return {
        "files": list(settings.posts.files),
        "counts": {
            "evaluation": settings.posts.evaluation, "train": settings.posts.train,
            "labelled": settings.posts.labelled, "test": settings.posts.test,
            "rounds": settings.rounds.posts * settings.rounds.count,
        },
        "parts": {part: list(where) for part, where in parts.items()},
    }  # fmt: skip


# -- policies and reward models of one seed --------------------------------------------------


def _zero_shot(made: _Steps, seed: int, common: str, posts: str) -> list[str]:
    settings, out = made.settings, []
    for size, base in settings.sizes.items():
        for temperature in settings.evaluation.temperatures:
            policy = f"pretrain_{size}_t{temperature:g}"
            out.append(made.add(
                f"judged/{policy}-s{seed}", "zero-shot",
                f"{base} after examples, T = {temperature:g}", "judge",
                _judge_settings(made, seed, policy, base, temperature, repeated=False)
                | {
                    "examples_from": f"@/data/train-s{seed}.jsonl", "examples": settings.examples,
                    "max_prompt_tokens": settings.zero_shot_tokens,
                    "format": settings.zero_shot_format,
                },
                [common, posts, f"base/{size}"], [f"judged/{policy}-s{seed}.parquet"],
                made.costs.zero_shot(base),
            ))  # fmt: skip
    return out


def _sft(made: _Steps, seed: int, posts: str) -> dict[str, str]:
    settings, out = made.settings, {}
    for size, base in settings.sizes.items():
        name = f"sft/sft-{size}-s{seed}"
        config = made.trainer("sft", size, {
            "model": base, "seed": seed, "data": {"paths": [f"@/data/train-s{seed}.jsonl"]},
        })  # fmt: skip
        out[size] = made.add(
            name, "sft", f"SFT of {base} on {settings.posts.train:,} references", "sft",
            {"config": config}, [posts, f"base/{size}"], [name], made.costs.sft(base, config),
        )  # fmt: skip
    return out


def _sampled(
    made: _Steps, name: str, stage: str, model: str, policy: str, posts_file: str, k: int, seed: int,
    inputs: list[str], stretch: tuple[int, int],
) -> str:  # fmt: skip
    """K samples a post at the temperature of the labels, of a stretch of a file's posts."""
    settings = made.settings
    size = policy.split("_")[1]
    return made.add(
        name, stage, f"{k} samples a post of {policy}", "sample",
        {
            "model": f"@/{model}/model", "policy": policy, "posts": posts_file, "k": k,
            "temperature": settings.labels.temperature, "seed": seed, "stretch": list(stretch),
            "max_prompt_tokens": settings.max_prompt_tokens,
        },
        inputs, [f"{name}.parquet"],
        made.costs.sample(settings.sizes[size], k * (stretch[1] - stretch[0])),
    )  # fmt: skip


def _labels(made: _Steps, seed: int, posts: str, sft: str) -> dict[str, str]:
    """Training labels and held-out pairs, both of samples of the first size's SFT policy."""
    settings = made.settings
    policy = f"sup_{settings.first_size}_t{settings.labels.temperature:g}"
    out = {}
    for part, k, count in (
        ("labelled", settings.labels.samples, settings.posts.labelled),
        ("test", 3, settings.posts.test),
    ):
        out[part] = _sampled(
            made, f"samples/{part}-s{seed}", "samples", sft, policy,
            f"@/data/{part}-s{seed}.jsonl", k, seed, [sft, posts], (0, count),
        )  # fmt: skip
    judge = _judge_of(settings)
    gold = _gold_model(made)
    labels = settings.labels
    out["labels"] = made.add(
        f"labels/s{seed}", "labels", f"{labels.pairs:,} comparisons, judge: {labels.judge}",
        "label",
        judge | {
            "samples": [f"@/samples/labelled-s{seed}.parquet"], "pairs": labels.pairs,
            "posts": f"@/data/labelled-s{seed}.jsonl", "reference_share": labels.reference_share,
            "seed": seed, "batch": "labels",
        },
        [out["labelled"], posts, *gold], [f"labels/s{seed}.jsonl"], Work("cpu", seconds=4),
    )  # fmt: skip
    out["pairs"] = made.add(
        f"labels/test-s{seed}", "labels", f"{labels.test_pairs:,} held-out pairs, truth and labelers",
        "test_pairs",
        judge | {
            "samples": f"@/samples/test-s{seed}.parquet", "pairs": labels.test_pairs, "seed": seed,
            "posts": f"@/data/test-s{seed}.jsonl", "reference_share": labels.reference_share,
            "answers": 5,
        },
        [out["test"], posts, *gold], [f"labels/test-s{seed}.parquet"], Work("cpu", seconds=3),
    )  # fmt: skip
    return out


def _judge_of(settings: ReproduceSettings) -> dict[str, Any]:
    if settings.labels.judge == "simulated":
        return {"world_seed": settings.posts.world_seed, "labelers": settings.labels.labelers}
    return {"gold": "@/gold/model/model", "labelers": settings.labels.labelers}


def _gold_model(made: _Steps) -> list[str]:
    """The gold model, made once, where the truth is not simulated."""
    settings = made.settings
    if settings.labels.judge == "simulated":
        return []
    if any(step.name == "gold/model" for step in made.steps):
        return ["gold/model"]
    size = settings.labels.gold_size or list(settings.sizes)[-1]
    start = f"sft/sft-{size}-s{settings.first_seed}"
    config = made.trainer("rm", size, {
        "model": f"@/{start}/model", "data": {"paths": list(settings.labels.gold_files)},
        "seed": 10_000,
    })  # fmt: skip
    made.add(
        "gold/model", "gold", "the gold reward model, on the labels on file", "rm",
        {"config": config}, [start], ["gold/model"],
        made.costs.rm(settings.sizes[size], config, settings.labels.pairs),
        files=settings.labels.gold_files,
    )  # fmt: skip
    return ["gold/model"]


def _reward_models(
    made: _Steps, seed: int, posts: str, labels: dict[str, str], sft: dict[str, str]
) -> dict[str, str]:
    """Models of the grid by name."""
    out = {}
    for objective, size, count, member in made.names.grid():
        model = made.names.rm(objective, seed, member)
        config = made.trainer("rm", size, {
            "model": f"@/{sft[size]}/model", "seed": 1000 * seed + member,
            "data": {
                "paths": [f"@/labels/s{seed}.jsonl", f"@/data/labelled-s{seed}.jsonl"],
                "limits": {"train": count},
            },
        })  # fmt: skip
        out[model] = made.add(
            f"rm/{model}", "reward-models", f"{size} reward model on {count:,} labels", "rm",
            {"config": config}, [labels["labels"], posts, sft[size]], [f"rm/{model}"],
            made.costs.rm(made.settings.sizes[size], config, count),
        )  # fmt: skip
    return out


def _ppo(
    made: _Steps, seed: int, common: str, posts: str, sft: dict[str, str], rms: dict[str, str]
) -> dict[str, str]:
    """PPO runs by name."""
    out = {}
    for run in made.settings.policies:
        for kl_coef in run.kl_coefs:
            name = ppo_name(run, kl_coef, seed)
            needs = [rms[m] for m in made.names.members(run.objective, seed) if m in rms]
            out[name] = _ppo_step(
                made, name, run, kl_coef, seed, [common, posts, sft[run.size], *needs]
            )
    return out


def _ppo_step(
    made: _Steps, name: str, run: Optimised, kl_coef: float, seed: int, inputs: list[str]
) -> str:
    own: dict[str, Any] = {
        "model": f"@/sft/sft-{run.size}-s{seed}/model", "kl_coef": kl_coef, "seed": seed,
        "reward": made.names.reward(run.objective, seed), "value_network": run.value_network,
        "data": {"paths": [f"@/data/train-s{seed}.jsonl"]},
        "evaluation_paths": ["@/data/evaluation.jsonl"],
        "evaluate_temperature": made.settings.evaluation.temperatures[0],
    }  # fmt: skip
    if run.episodes is not None:
        own["episodes"] = run.episodes
    config = made.trainer("ppo", run.size, own)
    return made.add(
        f"ppo/{name}", "ppo", f"PPO of {run.size} on {run.objective}, KL coefficient {kl_coef:g}",
        "ppo", {"config": config}, inputs, [f"ppo/{name}"],
        made.costs.ppo(made.settings.sizes[run.size], config),
    )  # fmt: skip


@dataclass
class _Loop:
    labels: list[str] = field(default_factory=list)
    rms: dict[str, str] = field(default_factory=dict)
    ppos: dict[str, str] = field(default_factory=dict)


def _rounds(made: _Steps, seed: int, common: str, posts: str, sft: str) -> _Loop:
    """The paper's loop; each round's labels are of the policies known by then."""
    settings, rounds, loop = made.settings, made.settings.rounds, _Loop()
    size = settings.first_size
    temperature = settings.labels.temperature
    sources = {f"sup_{size}_t{temperature:g}": sft}
    base = f"sup_{size}_t{temperature:g}"
    gold = _gold_model(made) if rounds.count else []
    for number in range(1, rounds.count + 1):
        file = f"@/data/rounds-s{seed}.jsonl"
        stretch = ((number - 1) * rounds.posts, number * rounds.posts)
        sampled = []
        for policy, model in sources.items():
            step = _sampled(
                made, f"samples/round{number}-{policy}-s{seed}", "samples", model, policy, file,
                rounds.samples, seed, [model, posts], stretch,
            )  # fmt: skip
            sampled.append(step)
        if number > 1:
            sampled.append(_chosen(made, number, seed, rounds.best_of, sft, loop, posts, stretch))
        labels = made.add(
            f"labels/round{number}-s{seed}", "labels",
            f"{rounds.pairs:,} comparisons of round {number}", "label",
            _judge_of(settings) | {
                "samples": [f"@/{step}.parquet" for step in sampled], "pairs": rounds.pairs,
                "posts": file, "reference_share": settings.labels.reference_share, "seed": seed,
                "batch": f"round{number}", "drift": {"policy": base, "pairs": rounds.drift_pairs},
                "time": 0.0 if rounds.count == 1 else (number - 1) / (rounds.count - 1) - 0.5,
            },
            [*sampled, posts, *gold], [f"labels/round{number}-s{seed}.jsonl"],
            Work("cpu", seconds=3),
        )  # fmt: skip
        loop.labels.append(labels)
        model = f"rm{number}-s{seed}"
        count = number * rounds.pairs
        config = made.trainer("rm", size, {
            "model": f"@/{sft}/model", "seed": 1000 * seed + 100 + number,
            "data": {"paths": [*(f"@/{one}.jsonl" for one in loop.labels), file]},
        })  # fmt: skip
        loop.rms[model] = made.add(
            f"rm/{model}", "reward-models", f"reward model of round {number}, all labels so far",
            "rm", {"config": config}, [*loop.labels, posts, sft], [f"rm/{model}"],
            made.costs.rm(settings.sizes[size], config, int(count * 0.8)),
        )  # fmt: skip
        run = Optimised(size, f"rm{number}", (rounds.kl_coef,), episodes=rounds.episodes)
        name = ppo_name(run, rounds.kl_coef, seed)
        loop.ppos[name] = _ppo_step(
            made, name, run, rounds.kl_coef, seed, [common, posts, sft, loop.rms[model]]
        )
        sources[f"sup_{size}_ppo_rm{number}_t{temperature:g}"] = loop.ppos[name]
        if number > 1:  # the paper drops what newer policies replaced
            sources.pop(f"sup_{size}_ppo_rm{number - 1}_t{temperature:g}")
    return loop


def _chosen(
    made: _Steps, number: int, seed: int, n: int, sft: str, loop: _Loop, posts: str,
    stretch: tuple[int, int],
) -> str:  # fmt: skip
    """The best of N supervised samples under the reward model of the round before."""
    settings = made.settings
    size, before = settings.first_size, f"rm{number - 1}"
    policy = f"sup_{size}_bo{n}_{before}"
    return made.add(
        f"samples/round{number}-{policy}-s{seed}", "samples", f"best of {n} under {before}",
        "best_of",
        {
            "model": f"@/{sft}/model", "reward": f"@/rm/{before}-s{seed}/model", "policy": policy,
            "posts": f"@/data/rounds-s{seed}.jsonl", "stretch": list(stretch), "n": n, "seed": seed,
            "temperature": settings.labels.temperature, "first_sample": settings.rounds.samples,
            "max_prompt_tokens": settings.max_prompt_tokens,
        },
        [sft, loop.rms[f"{before}-s{seed}"], posts],
        [f"samples/round{number}-{policy}-s{seed}.parquet"],
        made.costs.sample(settings.sizes[size], n * settings.rounds.posts),
    )  # fmt: skip


# -- what policies are worth -----------------------------------------------------------------


def _judge_settings(
    made: _Steps, seed: int, policy: str, model: str, temperature: float, *, repeated: bool,
    parent: str = "", reward: str = "", top_p: float = 1.0,
) -> dict[str, Any]:  # fmt: skip
    settings = made.settings
    news = settings.simulated and settings.posts.news > 0 and temperature > 0 and top_p == 1
    return {
        "policy": policy, "model": model, "parent": parent, "reward": reward, "top_p": top_p,
        "posts": ["@/data/evaluation.jsonl", *(["@/data/news.jsonl"] if news else [])],
        "temperature": temperature, "seed": seed, "k": 2 if repeated else 1,
        "max_prompt_tokens": settings.max_prompt_tokens,
        "max_completion_tokens": settings.max_completion_tokens,
    }  # fmt: skip


def _judged(
    made: _Steps, seed: int, common: str, sft: dict[str, str], rms: dict[str, str],
    ppos: dict[str, str],
) -> list[str]:  # fmt: skip
    """Every policy sampled on the evaluation posts, with its KL and its own reward."""
    settings, names, out = made.settings, made.names, []
    asked = settings.evaluation

    def judge(
        policy: str, size: str, model: str, temperature: float, repeated: bool, *,
        parent: str = "", reward: str = "", needs: tuple[str, ...] = (), top_p: float = 1.0,
    ) -> None:  # fmt: skip
        out.append(made.add(
            f"judged/{policy}-s{seed}", "evaluation", f"{policy} on the evaluation posts", "judge",
            _judge_settings(
                made, seed, policy, f"@/{model}/model", temperature, repeated=repeated,
                parent=f"@/{parent}/model" if parent else "", reward=reward, top_p=top_p,
            ),
            [common, model, *needs], [f"judged/{policy}-s{seed}.parquet"],
            made.costs.judge(settings.sizes[size], bool(parent)),
        ))  # fmt: skip

    first = asked.temperatures[0]
    for size, model in sft.items():
        main = names.main(size)
        extra = asked.decoding if size == settings.first_size else ()
        for temperature in (*asked.temperatures, *extra):
            judge(
                f"sup_{size}_t{temperature:g}", size, model, temperature, temperature == first,
                reward=names.reward(main, seed), needs=(rms[names.rm(main, seed)],),
            )  # fmt: skip
        if size == settings.first_size:
            for top_p in asked.top_ps:
                judge(f"sup_{size}_p{top_p:g}", size, model, 1.0, False, top_p=top_p)
    for run in settings.policies:
        needs = tuple(rms[one] for one in names.members(run.objective, seed))
        for kl_coef in run.kl_coefs:
            model = ppos[ppo_name(run, kl_coef, seed)]
            shared = run.value_network == "shared"
            main = is_main(settings, run, kl_coef)
            for temperature in asked.temperatures if main else (first,):
                judge(
                    policy_name(run.size, run.objective, kl_coef, shared, temperature), run.size,
                    model, temperature, main and temperature == first, parent=sft[run.size],
                    reward=names.reward(run.objective, seed), needs=(sft[run.size], *needs),
                )  # fmt: skip
    size = settings.first_size
    for number in range(1, settings.rounds.count + 1):
        run = Optimised(size, f"rm{number}", (settings.rounds.kl_coef,))
        judge(
            f"sup_{size}_ppo_rm{number}_t{first:g}", size,
            ppos[ppo_name(run, settings.rounds.kl_coef, seed)], first, False, parent=sft[size],
            reward=names.reward(f"rm{number}", seed), needs=(sft[size], rms[f"rm{number}-s{seed}"]),
        )  # fmt: skip
    return out


def is_main(settings: ReproduceSettings, run: Optimised, kl_coef: float) -> bool:
    """Whether a PPO run is its size's policy of Fig. 1: the first on the main reward model."""
    mine = [
        one for one in settings.policies
        if one.size == run.size and one.value_network == "separate"
        and one.objective == Names(settings).main(run.size)
    ]  # fmt: skip
    return bool(mine) and mine[0] == run and kl_coef == run.kl_coefs[0]


def _pool(made: _Steps, seed: int, common: str, sft: dict[str, str]) -> str:
    settings = made.settings
    size = settings.pool.size or settings.first_size
    return made.add(
        f"pool/s{seed}", "pool",
        f"{settings.pool.samples} samples of {settings.pool.posts} posts to choose among", "sample",
        {
            "model": f"@/{sft[size]}/model", "policy": f"sup_{size}_t{settings.pool.temperature:g}",
            "posts": "@/data/evaluation.jsonl", "k": settings.pool.samples, "seed": seed,
            "temperature": settings.pool.temperature, "stretch": [0, settings.pool.posts],
            "max_prompt_tokens": settings.max_prompt_tokens, "first_sample": 1000,
        },
        [common, sft[size]], [f"pool/s{seed}.parquet"],
        made.costs.sample(settings.sizes[size], settings.pool.samples * settings.pool.posts),
    )  # fmt: skip


def _scores(
    made: _Steps, seed: int, common: str, pool: str, labels: dict[str, str], rms: dict[str, str]
) -> list[str]:
    """Each reward model on the pool, the held-out pairs and the probes; each text once."""
    settings, out = made.settings, []
    size_of = {made.names.rm(o, seed, m): size for o, size, _, m in made.names.grid()}
    for model, step in rms.items():
        size = size_of.get(model, settings.first_size)
        out.append(made.add(
            f"scores/{model}", "gold", f"{model} on pool, held-out pairs and probes", "score",
            {
                "model": f"@/{step}/model", "pool": f"@/{pool}.parquet",
                "pairs": f"@/labels/test-s{seed}.parquet", "posts": "@/data/evaluation.jsonl",
                "probe_posts": settings.evaluation.probes, "seed": seed,
                "test_posts": f"@/data/test-s{seed}.jsonl",
                "world_seed": settings.posts.world_seed if settings.simulated else None,
                "samples": f"@/judged/sup_{settings.first_size}"
                f"_t{settings.evaluation.temperatures[0]:g}-s{seed}.parquet",
                "labelers": settings.labels.labelers,
            },
            [step, pool, labels["pairs"], common,
             f"judged/sup_{settings.first_size}_t{settings.evaluation.temperatures[0]:g}-s{seed}"],
            [f"scores/{model}"],
            made.costs.score(
                settings.sizes[size], settings.pool.posts * settings.pool.samples
            ),
        ))  # fmt: skip
    return out


# -- tables, figures, page -------------------------------------------------------------------


def _end(
    made: _Steps, common: str, judged: list[str], pools: list[str], scored: list[str],
    models: list[str],
) -> None:  # fmt: skip
    settings = made.settings
    gold = _gold_model(made)
    whole = {"settings": as_dict(settings) | {"report": ""}}
    votes = made.add(
        "labels/evaluation", "evaluation", "judgments of every policy against the references",
        "evaluation_labels",
        _judge_of(settings) | {
            "judged": [f"@/{step}.parquet" for step in judged], "posts": "@/data/evaluation.jsonl",
            "news": "@/data/news.jsonl" if settings.simulated and settings.posts.news else "",
            "labels": settings.evaluation.labels, "repeated": settings.evaluation.repeated,
            "repeats": settings.evaluation.repeats, "seed": settings.first_seed,
        },
        [*judged, common, *gold], ["labels/evaluation"], Work("cpu", seconds=20),
    )  # fmt: skip
    agreement = made.add(
        "scores/agreement", "gold", "rewards and log-probs of the summaries compared repeatedly",
        "agreement_scores", whole | {"labels": "@/labels/evaluation"}, [votes, *models],
        ["scores/agreement.parquet"], made.costs.agreement(),
    )  # fmt: skip
    tables = made.add(
        "tables", "tables", "what was trained, what it wrote, what that is worth", "tables", whole,
        [*judged, *pools, *scored, *models, common, votes, *gold], ["tables"],
        Work("cpu", seconds=20),
    )  # fmt: skip
    drift = [step.name for step in made.steps if step.name.startswith("labels/round")]
    figures = [
        made.add(
            f"analyses/{group}", "analyses", f"figures and tables of {group}", "analyses",
            {"title": settings.title, "group": group, "drift": drift},
            [tables, votes, agreement, *drift], [f"report/{group}.json"], Work("cpu", seconds=40),
        )
        for group in ("labels", "checkpoints")
    ]  # fmt: skip
    made.add(
        "page", "page", "the companion and the samples", "page",
        {"title": settings.title, "report": settings.report}, [*figures, tables, common],
        ["report/index.html"], Work("cpu", seconds=10),
    )  # fmt: skip


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out
