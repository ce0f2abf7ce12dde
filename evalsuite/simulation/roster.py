"""The policies of the default world, under names like those of the OpenAI release.

Numbers of models (1.3B, 6.7B, 13B) are stand-ins: a larger model here keeps more facts and errs
less. Change a policy's numbers freely; tests/simulation/test_simulated_policies.py and
test_truth.py hold the order of strengths and the over-optimisation hump, not the values.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from evalsuite.simulation.policies import Policy, Proxy

RM1 = Proxy("rm1", fact=0.45, invented=0.45, pad=0.50, again=0.15, slip=-0.2, style=0.2, noise=1.0)
RM2 = Proxy("rm2", fact=0.65, invented=0.30, pad=0.30, again=0.05, slip=-0.5, style=0.2, noise=0.8)
RM3 = Proxy("rm3", fact=0.65, invented=0.60, pad=0.55, again=0.50, slip=-0.3, style=0.5, noise=0.8)
RM3_6B = Proxy(
    "rm3_6b", fact=0.85, invented=0.05, pad=0.15, again=0.0, slip=-0.6, style=0.2, noise=0.5
)
RM4 = Proxy("rm4", fact=0.60, invented=0.30, pad=0.20, again=0.15, slip=-0.5, style=0.6, noise=0.5)
RM4_6B = Proxy(
    "rm4_6b", fact=0.75, invented=0.15, pad=0.25, again=0.15, slip=-0.6, style=0.75, noise=0.3
)

SUP1 = Policy("sup1", keep=-0.75, wrong=0.14, slips=0.07)
SUP2 = Policy("sup2", keep=-0.40, wrong=0.12, slips=0.06)
SUP3 = Policy("sup3", keep=-0.40, wrong=0.11, slips=0.055)
SUP3_6B = Policy("sup3_6b", keep=-0.15, wrong=0.09, slips=0.04)
SUP4 = Policy("sup4_t0.7", keep=-0.35, wrong=0.11, slips=0.05, copy=0.35)
SUP4_6B = Policy("sup4_6b_t0.7", keep=-0.22, wrong=0.09, slips=0.04, copy=0.35)
SUP4_12B = Policy("sup4_12b_t0.7", keep=-0.12, wrong=0.08, slips=0.03, copy=0.33)
PRETRAIN = Policy(
    "pretrain_t.7", keep=-0.75, wrong=0.18, slips=0.10, wordy=0.2, again=0.05, copy=0.8, extract=0.4
)
PRETRAIN_6B = replace(PRETRAIN, name="pretrain_6b_t.7", keep=-0.5, wrong=0.13, slips=0.07)


def _best_of(base: Policy, n: int, proxy: Proxy, stem: str) -> Policy:
    return replace(base, name=f"{stem}_bo{n}_{proxy.name}", best_of=n, proxy=proxy)


def _ppo(base: Policy, kl: float, proxy: Proxy, name: str) -> Policy:
    return replace(base, name=name, tilt=kl, proxy=proxy)


@cache
def roster() -> tuple[Policy, ...]:
    """The 40 policies: references first, then by family."""
    final = _ppo(SUP4, 18.0, RM4, "sup4_ppo_rm4_t.7")
    final_6b = _ppo(SUP4_6B, 14.0, RM4_6B, "sup4_6b_ppo_rm4_6b_kl14_t.7")
    return (
        Policy("ref", reference=True, temperature=0.0),
        Policy("human_editor", keep=1.2, wrong=0.03, slips=0.01, wordy=0.05, copy=0.2),
        Policy("lead-3", lead=3, temperature=0.0),
        Policy("T5", keep=1.4, wrong=0.02, slips=0.005, wordy=0.35, copy=0.9, temperature=0.0),
        PRETRAIN,
        PRETRAIN_6B,
        SUP1,
        SUP2,
        SUP3,
        SUP3_6B,
        SUP4.at(0.0, "sup4"),
        SUP4,
        SUP4_6B.at(0.0, "sup4_6b"),
        SUP4_6B.at(0.3, "sup4_6b_t.3"),
        SUP4_6B.at(0.5, "sup4_6b_t.5"),
        SUP4_6B,
        SUP4_6B.at(1.0, "sup4_6b_t1"),
        # Nucleus sampling is simulated as the temperature of like strength.
        SUP4_6B.at(0.62, "sup4_6b_p.8"),
        SUP4_6B.at(0.92, "sup4_6b_p.95"),
        SUP4_12B.at(0.0, "sup4_12b"),
        SUP4_12B,
        _best_of(SUP2, 8, RM1, "sup2"),
        _best_of(SUP3, 8, RM2, "sup3"),
        _best_of(SUP3, 63, RM2, "sup3"),
        *(_best_of(SUP4, n, RM3, "sup4") for n in (8, 64, 128, 256, 512)),
        *(_best_of(SUP4, n, RM3_6B, "sup4") for n in (128, 256)),
        _ppo(SUP3, 1.8, RM1, "sup3_ppo_rm1"),
        _ppo(SUP4, 3.8, RM3, "sup4_ppo_rm3"),
        _ppo(SUP4, 9.4, RM3, "sup4_ppo_rm3_kl10"),
        _ppo(SUP4, 19.0, RM3, "sup4_ppo_rm3_kl20"),
        final.at(0.0, "sup4_ppo_rm4"),
        final,
        final_6b.at(0.0, "sup4_6b_ppo_rm4_6b_kl14"),
        final_6b,
        Policy("sup_cnndm_6b", keep=0.9, wrong=0.05, slips=0.01, wordy=0.5, copy=0.7,
               temperature=0.0),
    )  # fmt: skip


@cache
def by_name() -> dict[str, Policy]:
    """The roster by policy name."""
    return {policy.name: policy for policy in roster()}
