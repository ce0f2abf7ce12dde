"""Claim: AlpacaEval's length-controlled regression with given difficulties at least 50 times faster
than its own route through scikit-learn, on the same features, and rates within 0.3 point.

That route: for each policy a LogisticRegressionCV with L1 penalty (liblinear, ten strengths,
5 folds by prompt, log loss), where a soft label p is a row of each class with weights p and 1 - p.
Ours: `fit_joint_length_control(difficulty=..., prior="none")` for all policies at once, standard
errors and input checks included. Beside it the joint fit, which estimates the difficulties too.
Both sides run in this one process, each on one thread (idle ones of a BLAS pool would be counted
too), timed in seconds of processor time; only ratios mean anything.

Data are simulated with a seed (`simulate`), or with --data a CSV with the columns policy,
prompt_id, baseline_chars, policy_chars, preference, as AlpacaEval's annotations can be written.

    python benchmarks/length_control.py
    python benchmarks/length_control.py --data annotations.csv.gz
    python benchmarks/length_control.py --data annotations.csv.gz --published published.csv
    python benchmarks/length_control.py --data annotations.csv.gz --bootstrap 1000
    python benchmarks/length_control.py --priors 10

--published FILE holds the joint fit's rates against the column length_controlled_win_rate (percent)
by policy, and shows how far any rate moves when one policy is left out; --bootstrap N holds the
influence-function errors against N refits of everything on resampled prompts; --priors N shows how
the scale of the slopes' prior was chosen, with N worlds a setting.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from threadpoolctl import threadpool_limits

from evalsuite.stats import length_control_joint
from evalsuite.stats.length_control_joint import JointLengthControl, fit_joint_length_control

TARGET = 50
WITHIN = 0.3
"""Points by which a rate may differ from scikit-learn's."""


def simulate(
    rng: np.random.Generator, *, policies: int = 28, prompts: int = 805, location: float = 1.5,
    slopes: float = 0.25, trait: float = 0.25, gamed: bool = False,
) -> tuple[pd.DataFrame, pd.Series]:  # fmt: skip
    """Judged answers of policies of all lengths, and each policy's true rate at equal length.

    slopes, trait: standard deviations of phi about `location` and of kappa about 0. gamed: all
    answers of the first policy are short. Preferences are soft, half as variable as coin flips,
    and the baseline is strong, as AlpacaEval's: near a rate of one half the peer's L1 penalty can
    take an intercept to 0, and the rate with it.
    """
    baseline = 1800 * np.exp(rng.normal(0, 0.5, prompts))
    wordy = rng.uniform(0.35, 1.2, policies)
    chars = (
        wordy * np.sqrt(1800 * baseline)[:, None] * np.exp(rng.normal(0, 0.4, (prompts, policies)))
    )
    if gamed:
        chars[:, 0] = rng.integers(1, 21, prompts)
    difference = chars - baseline[:, None]
    b = np.tanh((baseline - baseline.mean()) / baseline.std(ddof=1))[:, None]
    tanh = np.tanh(difference / difference.std(0, ddof=1))
    theta, psi = -0.8 - rng.exponential(1.2, policies), rng.uniform(0.8, 2.2, policies)
    phi, kappa = rng.normal(location, slopes, policies), rng.normal(0, trait, policies)
    level = theta + kappa * b + psi * rng.normal(0, 1, (prompts, 1))
    p = np.clip(expit(level + phi * tanh), 1e-6, 1 - 1e-6)
    rows = pd.DataFrame(
        {
            "policy": np.tile([f"policy {m:02d}" for m in range(policies)], prompts),
            "prompt_id": np.repeat(np.arange(prompts), policies),
            "baseline_chars": np.repeat(baseline.round(), policies),
            "policy_chars": chars.round().ravel(),
            "preference": rng.beta(p, 1 - p).ravel(),
        }
    )
    return rows, pd.Series(expit(level).mean(0), sorted(rows["policy"].unique()))


def ours(rows: pd.DataFrame, **settings: object) -> JointLengthControl:
    """The suite's fit of a table of judgements."""
    return fit_joint_length_control(
        rows["policy"], rows["prompt_id"], rows["policy_chars"], rows["baseline_chars"],
        rows["preference"], **settings,
    )  # fmt: skip


def scikit_learn(rows: pd.DataFrame, difficulty: pd.Series) -> dict[str, float]:
    """The same rates by AlpacaEval's route, one policy after the other."""
    import sklearn
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import GroupKFold

    rates = {}
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = get_scorer("neg_log_loss").set_score_request(sample_weight=True)
        for policy, mine in rows.dropna(subset="preference").groupby("policy"):
            longer = mine["policy_chars"] - mine["baseline_chars"]
            gamma = mine["prompt_id"].map(difficulty)
            X = np.column_stack([np.tanh(longer / longer.std()), gamma, np.ones(len(mine))])
            p = mine["preference"].to_numpy()
            model = LogisticRegressionCV(
                cv=GroupKFold(5), l1_ratios=(1.0,), solver="liblinear", fit_intercept=False,
                random_state=123, scoring=score,
            ).set_fit_request(sample_weight=True)  # fmt: skip
            model.fit(
                np.vstack([X, X]), np.repeat([1, 0], len(p)),
                sample_weight=np.concatenate([p, 1 - p]), groups=np.tile(mine["prompt_id"], 2),
            )  # fmt: skip
            equal = X.copy()
            equal[:, 0] = 0.0
            rates[str(policy)] = float(model.predict_proba(equal)[:, 1].mean())
    return rates


def race(rows: pd.DataFrame) -> None:
    """Time both routes and the joint fit; print the ratios."""
    start = time.process_time()
    joint = ours(rows)
    joint_seconds = time.process_time() - start
    difficulty = pd.Series(joint.difficulty, joint.prompts)
    given = rows["prompt_id"].map(difficulty)

    def once() -> tuple[JointLengthControl, float]:
        start = time.process_time()
        fit = ours(rows, difficulty=given, prior="none")
        return fit, time.process_time() - start

    fit, before = once()
    start = time.process_time()
    peer = scikit_learn(rows, difficulty)
    peer_seconds = time.process_time() - start
    seconds = (before + once()[1]) / 2
    apart = max(abs(fit.rates[p].value - rate) * 100 for p, rate in peer.items())
    print(f"{len(rows):,} judgements of {len(peer)} policies on {len(joint.prompts)} prompts")
    print(f"scikit-learn {peer_seconds:8.2f} s")
    print(f"given        {seconds:8.2f} s   {peer_seconds / seconds:6.0f} times faster")
    print(f"joint        {joint_seconds:8.2f} s   {peer_seconds / joint_seconds:6.0f} times faster")
    print(f"rates at most {apart:.3f} point apart")
    assert apart <= WITHIN, f"rates differ by {apart:.3f} point; allowed {WITHIN}"
    assert peer_seconds >= TARGET * seconds, f"{peer_seconds / seconds:.0f} times; wanted {TARGET}"


def published(rows: pd.DataFrame, file: Path) -> None:
    """Rates beside those of print, and the largest move when any one policy is left out."""
    rates = percent(ours(rows))
    theirs = pd.read_csv(file).set_index("policy")["length_controlled_win_rate"][rates.index]
    apart = rates - theirs
    print(f"{len(apart)} policies: RMSE {np.sqrt((apart**2).mean()):.3f} points, "
          f"mean difference {apart.mean():.2f}, Pearson {rates.corr(theirs):.5f}")  # fmt: skip
    far = apart.abs().idxmax()
    print(f"farthest apart: {far}, {apart[far]:+.2f}")
    moves = {}
    for policy in rates.index:
        without = percent(ours(rows[rows["policy"] != policy]))
        moves[policy] = float((without - rates[without.index]).abs().max())
    worst = max(moves, key=lambda policy: moves[policy])
    print(f"largest move of a rate when a policy is left out: {moves[worst]:.3f} ({worst})")


def percent(fit: JointLengthControl) -> pd.Series:
    """Controlled rates in percent, by policy."""
    return pd.Series({policy: 100 * rate.value for policy, rate in fit.rates.items()})


def bootstrap(rows: pd.DataFrame, resamples: int, seed: int) -> None:
    """Influence-function SEs over the SDs of rates refitted on resampled prompts."""
    fit = ours(rows)
    n, rng = len(fit.prompts), np.random.default_rng(seed)
    refits = np.array([fit.refit(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(resamples)])
    spread = refits.std(0, ddof=1)
    ratio = pd.Series(
        [fit.rates[p].se / s for p, s in zip(fit.policies, spread, strict=True)], fit.policies
    )
    print(f"SE over the SD of {resamples} refits on resampled prompts (seed {seed}):")
    print(ratio.round(3).to_string())
    print(f"smallest {ratio.min():.3f}, median {ratio.median():.3f}, largest {ratio.max():.3f}")


def priors(worlds: int, seed: int) -> None:
    """Root mean squared error of rates, in points, by the prior's scale and the truth's."""
    scales = (0.0625, 0.125, 0.25, 0.5, 1.0)
    print("RMSE in points; rows: true SD of phi and of kappa, columns: scale of both priors")
    print(" " * 12 + "".join(f"{s:>9}" for s in scales))
    kept, rng = length_control_joint.SLOPE_SCALE, np.random.default_rng(seed)
    excess = []
    for slopes in (0.1, 0.25, 0.5):
        for trait in (0.0, 0.25, 0.5):
            errors = np.zeros(len(scales))
            for _ in range(worlds):
                location = rng.uniform(0.5, 2.5)
                rows, truth = simulate(
                    rng,
                    prompts=400,
                    location=location,
                    slopes=slopes,
                    trait=trait,
                    gamed=True,
                )
                for k, scale in enumerate(scales):
                    length_control_joint.SLOPE_SCALE = length_control_joint.TRAIT_SD = scale
                    rates = ours(rows).rates
                    # The gamed policy's own rate is anybody's guess; its harm to others counts.
                    errors[k] += np.mean(
                        [(rates[p].value - truth[p]) ** 2 for p in truth.index[1:]]
                    )
            rmse = 100 * np.sqrt(errors / worlds)
            excess.append(rmse / rmse.min() - 1)
            print(f"{slopes:6.2f}{trait:6.2f}" + "".join(f"{e:9.2f}" for e in rmse))
    length_control_joint.SLOPE_SCALE = length_control_joint.TRAIT_SD = kept
    print("worst excess" + "".join(f"{e:9.0%}" for e in np.max(excess, axis=0)))
    print("mean excess " + "".join(f"{e:9.0%}" for e in np.mean(excess, axis=0)))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="CSV of judgements; simulated when left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bootstrap", type=int, metavar="N", help="refits on resampled prompts")
    parser.add_argument("--published", type=Path, help="CSV of published rates to compare with")
    parser.add_argument("--priors", type=int, metavar="N", help="simulated worlds a setting")
    args = parser.parse_args()
    with threadpool_limits(1):
        run(args)


def run(args: argparse.Namespace) -> None:
    """What the command line asks for."""
    if args.priors:
        priors(args.priors, args.seed)
        return
    rows = pd.read_csv(args.data) if args.data else simulate(np.random.default_rng(args.seed))[0]
    if args.published:
        published(rows, args.published)
    elif args.bootstrap:
        bootstrap(rows, args.bootstrap, args.seed)
    else:
        race(rows)


if __name__ == "__main__":
    main()
