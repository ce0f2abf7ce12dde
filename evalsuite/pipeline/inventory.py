"""What a run has: its models, objectives and policies, each with all that is known of it.

Everything is read from the settings, through `names`, and from the logs of finished runs.
Proof: tests/pipeline/test_measuring.py.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from evalsuite.pipeline.names import Names, is_main, policy_name, ppo_name, round_policy, short
from evalsuite.pipeline.settings import Optimised, ReproduceSettings
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report.looks import policy_style

Row = dict[str, Any]


class Inventory:
    """Rows of the tables models, objectives and policies of a run's folder."""

    def __init__(self, settings: ReproduceSettings, folder: Path) -> None:
        self.settings, self.folder, self.names = settings, folder, Names(settings)
        self.seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
        self.parameters = cache(self._parameters)

    def _parameters(self, size: str) -> float:
        """Parameters of a size's base model."""
        told = pd.read_json(self.folder / "base" / f"{size}.json", typ="series")
        return float(told["parameters"])

    def models(self) -> pd.DataFrame:
        """A row a checkpoint."""
        rows: list[Row] = []
        for size, base in self.settings.sizes.items():
            rows.append({"model": f"pretrain-{size}", "kind": "base", "size": size, "parent": base})
        for seed in self.seeds:
            rows += [
                {
                    "model": f"sft-{size}-s{seed}", "kind": "sft", "size": size, "seed": seed,
                    "parent": f"pretrain-{size}",
                } | self._run("sft", f"sft-{size}-s{seed}")
                for size in self.settings.sizes
            ]  # fmt: skip
            rows += [
                {"model": model, "kind": "rm"} | row | self._run("rm", model)
                for model, row in self.reward_models(seed).items()
            ]
            for model, run, kl_coef in self.ppo_runs(seed):
                rows.append({
                    "model": model, "kind": "ppo", "size": run.size, "seed": seed,
                    "parent": f"sft-{run.size}-s{seed}", "objective": run.objective,
                    "kl_coef": kl_coef, "value_network": run.value_network,
                    "round": round_of(run.objective),
                } | self._run("ppo", model))  # fmt: skip
        for row in rows:
            row["parameters"] = self.parameters(row["size"])
        return pd.DataFrame(rows)

    def _run(self, kind: str, name: str) -> Row:
        """Updates that a finished run had."""
        metrics = pd.read_json(self.folder / kind / name / "metrics.jsonl", lines=True)
        return {"updates": int(metrics["step"].max())}

    def reward_models(self, seed: int) -> dict[str, Row]:
        """What is known of each reward model of a seed, by name."""
        size = self.settings.first_size
        found = {}
        for objective, of, _, member in self.names.grid():
            model = self.names.rm(objective, seed, member)
            found[model] = {
                "size": of, "seed": seed, "labels": self._labels_of(model), "member": member,
                "objective": objective, "parent": f"sft-{of}-s{seed}", "round": math.nan,
            }  # fmt: skip
        for number in range(1, self.settings.rounds.count + 1):
            found[f"rm{number}-s{seed}"] = {
                "size": size, "seed": seed, "labels": self._labels_of(f"rm{number}-s{seed}"),
                "member": 0, "objective": f"rm{number}", "parent": f"sft-{size}-s{seed}",
                "round": number,
            }  # fmt: skip
        return found

    def _labels_of(self, model: str) -> int:
        """Pairs that a reward model was trained on, from its log: what its limit left."""
        metrics = pd.read_json(self.folder / "rm" / model / "metrics.jsonl", lines=True)
        epochs = float(self.settings.rm.get("epochs", 1.0))
        return round(float(metrics["pairs"].sum()) / max(epochs, 1.0))

    def ppo_runs(self, seed: int) -> list[tuple[str, Optimised, float]]:
        """Name, settings and KL coefficient of each PPO run of a seed."""
        runs = [
            (ppo_name(run, kl_coef, seed), run, kl_coef)
            for run in self.settings.policies for kl_coef in run.kl_coefs
        ]  # fmt: skip
        for number in range(1, self.settings.rounds.count + 1):
            run = Optimised(
                self.settings.first_size, f"rm{number}", (self.settings.rounds.kl_coef,)
            )
            runs.append((ppo_name(run, run.kl_coefs[0], seed), run, run.kl_coefs[0]))
        return runs

    def objectives(self) -> pd.DataFrame:
        """A row a thing to maximise."""
        known = {row["objective"]: row for row in self.reward_models(self.seeds[0]).values()}
        rows = []
        for name in self.names.objectives():
            row: Row = {"objective": name, "kind": name, "label": {"gold": "truth"}.get(name, name)}
            if "(" in name:
                how, _, of = name.rstrip(")").partition("(")
                said = f"{how} of {self.settings.reward_models.members} RMs"
                row |= {"kind": "ensemble", "label": f"{said}, {known[of]['labels']:,} labels"}
                row |= {key: known[of][key] for key in ("size", "labels")}
            elif name in known:
                found = known[name]
                row |= {"kind": "rm", **{k: found[k] for k in ("size", "labels", "round")}}
                row["label"] = f"{found['size']} RM, {found['labels']:,} labels"
                if not math.isnan(found["round"]):
                    row["label"] = f"rm{found['round']} ({found['labels']:,} labels)"
            elif name == "rouge":
                row["label"] = "ROUGE"
            row["parameters"] = self.parameters(row["size"]) if row.get("size") else math.nan
            rows.append(row)
        return pd.DataFrame(rows)

    def policies(self) -> pd.DataFrame:
        """A row a policy; the reference summaries are one."""
        settings, asked = self.settings, self.settings.evaluation
        first = asked.temperatures[0]
        rows: list[Row] = [{"policy": REFERENCE_POLICY, "method": "reference", "main": 1}]

        def add(policy: str, method: str, size: str, **more: Any) -> None:
            row = {"policy": policy, "method": method, "size": size, "main": 0}
            rows.append(row | {"parameters": self.parameters(size)} | more)

        for size in settings.sizes:
            extra = asked.decoding if size == settings.first_size else ()
            for temperature in (*asked.temperatures, *extra):
                main = int(temperature == first)
                if temperature not in extra:
                    add(f"pretrain_{size}_t{temperature:g}", "pretrained", size,
                        temperature=temperature, main=main)  # fmt: skip
                add(f"sup_{size}_t{temperature:g}", "supervised", size,
                    temperature=temperature, main=main)  # fmt: skip
        for top_p in asked.top_ps:
            size = settings.first_size
            add(f"sup_{size}_p{top_p:g}", "supervised", size, temperature=1.0, top_p=top_p)
        for run in settings.policies:
            for kl_coef in run.kl_coefs:
                main = is_main(settings, run, kl_coef)
                for temperature in asked.temperatures if main else (first,):
                    add(
                        policy_name(
                            run.size, run.objective, kl_coef, run.value_network == "shared",
                            temperature,
                        ),
                        "rouge" if run.objective == "rouge" else "human feedback", run.size,
                        temperature=temperature, objective=run.objective, kl_coef=kl_coef,
                        value_network=run.value_network, main=int(main and temperature == first),
                    )  # fmt: skip
        size = settings.pool.size or settings.first_size
        for objective in self.chosen_by():
            for n in settings.pool.shown:
                add(f"sup_{size}_bo{n}_{short(objective)}", "best-of-n", size, best_of_n=n,
                    temperature=settings.pool.temperature, objective=objective)  # fmt: skip
        for number in range(1, settings.rounds.count + 1):
            add(round_policy(settings.first_size, number, first), "human feedback",
                settings.first_size, temperature=first, objective=f"rm{number}", round=number,
                kl_coef=settings.rounds.kl_coef, value_network="separate")  # fmt: skip
        for row in rows:
            row["label"] = policy_style(row["policy"]).label
        return pd.DataFrame(rows)

    def chosen_by(self) -> list[str]:
        """Objectives whose best of N stands among the policies: least and most labels, ROUGE."""
        amounts = self.settings.reward_models.amounts
        size = self.settings.first_size
        return [*dict.fromkeys((f"rm-{size}-{amounts[0]}", f"rm-{size}-{amounts[-1]}")), "rouge"]


def round_of(objective: str) -> float:
    """The round of an objective `rm3`, NaN of any other."""
    digits = objective.removeprefix("rm")
    return float(digits) if objective.startswith("rm") and digits.isdigit() else math.nan
