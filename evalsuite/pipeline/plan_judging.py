"""Steps that find what policies are worth: judged summaries, the pool, scores, labels, tables."""

from __future__ import annotations

from typing import Any

from evalsuite.config import as_dict
from evalsuite.pipeline.draft import Draft, judge_of
from evalsuite.pipeline.names import is_main, policy_name, ppo_name, round_policy
from evalsuite.pipeline.plan_models import gold_model
from evalsuite.pipeline.settings import Optimised
from evalsuite.pipeline.steps import Work


def zero_shot(made: Draft, seed: int, common: str, posts: str) -> list[str]:
    """Each base before any training, on the evaluation posts; the steps."""
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


def _judge_settings(
    made: Draft, seed: int, policy: str, model: str, temperature: float, *, repeated: bool,
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


def judged_policies(
    made: Draft, seed: int, common: str, sft: dict[str, str], rms: dict[str, str],
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
            in_figure = is_main(settings, run, kl_coef)
            for temperature in asked.temperatures if in_figure else (first,):
                judge(
                    policy_name(run.size, run.objective, kl_coef, shared, temperature), run.size,
                    model, temperature, in_figure and temperature == first, parent=sft[run.size],
                    reward=names.reward(run.objective, seed), needs=(sft[run.size], *needs),
                )  # fmt: skip
    size = settings.first_size
    for number in range(1, settings.rounds.count + 1):
        run = Optimised(size, f"rm{number}", (settings.rounds.kl_coef,))
        judge(
            round_policy(size, number, first), size,
            ppos[ppo_name(run, settings.rounds.kl_coef, seed)], first, False, parent=sft[size],
            reward=names.reward(f"rm{number}", seed), needs=(sft[size], rms[f"rm{number}-s{seed}"]),
        )  # fmt: skip
    return out


def pool_of(made: Draft, seed: int, common: str, sft: dict[str, str]) -> str:
    """Samples that best-of-N chooses among; the step."""
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


def scores_of(
    made: Draft, seed: int, common: str, pool: str, labels: dict[str, str], rms: dict[str, str]
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


def figures_and_page(
    made: Draft, common: str, judged: list[str], pools: list[str], scored: list[str],
    models: list[str],
) -> None:  # fmt: skip
    """What is said of every policy, the tables, the figures and the page."""
    settings = made.settings
    gold = gold_model(made)
    whole = {"settings": as_dict(settings) | {"report": "", "title": ""}}
    votes = made.add(
        "labels/evaluation", "evaluation", "judgments of every policy against the references",
        "evaluation_labels",
        judge_of(settings) | {
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
        "tables", "tables", "what was trained, what it wrote, what that is worth", "tables",
        whole | {"judged": judged},
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
        {
            "title": settings.title,
            "posts": [
                f"data/{part}.jsonl" for part in ("evaluation", "news")
                if part == "evaluation" or (settings.simulated and settings.posts.news)
            ],
        },
        [*figures, tables, common], ["report/index.html", "report/samples.html"],
        Work("cpu", seconds=10),
    )  # fmt: skip
