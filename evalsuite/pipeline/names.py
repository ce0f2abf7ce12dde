"""Names of a run's models, objectives and policies; the only place that spells them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evalsuite.pipeline.settings import Optimised, ReproduceSettings

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
                    members = range(grid.members if several else 1)
                    found += [(f"rm-{size}-{labels}", size, labels, member) for member in members]
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


def round_policy(size: str, number: int, temperature: float) -> str:
    """The name of what a round's PPO made."""
    return f"sup_{size}_ppo_rm{number}_t{temperature:g}"


def is_main(settings: ReproduceSettings, run: Optimised, kl_coef: float) -> bool:
    """Whether a PPO run is its size's policy of Fig. 1: the first on the main reward model."""
    mine = [
        one for one in settings.policies
        if one.size == run.size and one.value_network == "separate"
        and one.objective == Names(settings).main(run.size)
    ]  # fmt: skip
    return bool(mine) and mine[0] == run and kl_coef == run.kl_coefs[0]
