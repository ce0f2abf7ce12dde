"""What the paper found, section by section: the data of the page that sets a run beside it.

A section a figure or table, in the paper's order, then what goes past the paper. Everything here
is text and numbers; nothing is computed. `report.beside` joins it with a run's own results.

What may be changed: words, numbers with a source, sections. What must stay: a number says where
it stands and how far to trust it; numbers that cannot be checked are not here at all, those read
off a picture say so; the paper's numbers and a run's never share a column.
`tests/report/test_companion.py` holds these.

Source: Stiennon et al. 2020 (arXiv 2009.01325v3) unless a number names another.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Trust = Literal["paper", "labels", "picture", "later"]

TRUST: dict[Trust, str] = {
    "paper": "",  # the usual case: the paper states it
    "labels": "counted in the labels that the paper released, or in part of them",
    "picture": "read off a picture, good to about 0.02",
    "later": "stated in another paper",
}
"""How far a number can be trusted, as the page says it."""

Rows = tuple[tuple[str, str], ...]
"""Rows of an analysis' table: (column, pattern) pairs that all must match.

A pattern has `*` for anything and `!` before it for "not"; `SMALLEST` and `LARGEST` ask for the
ends of a column among the rows that the other pairs leave.
"""

SMALLEST, LARGEST = "<smallest>", "<largest>"


class Number(NamedTuple):
    """A number of the paper.

    label: what it is. value, se: NaN for an error that is not given. source: where it stands.
    unit: "share", "rating", "chars", "nats", "points" (of a hundred) or "" as it is. here: the
    rows of this run's table that measure the same; empty where nothing does. Neighbours with the
    same rows share a cell.
    """

    label: str
    value: float
    source: str
    here: Rows = ()
    se: float = math.nan
    unit: str = "share"
    trust: Trust = "paper"


class Section(NamedTuple):
    """A figure or table of the paper, and the analysis that makes it again.

    analysis: its name, or NAME-DOMAIN for one of the second domain. question: what it answers.
    found: what the paper found, in words of our own. claims: keys of `directions` that say
    whether a run agrees. why: what may keep a run from finding the same. browse: the view of the
    sample browser that shows it.
    """

    analysis: str
    part: str
    source: str
    question: str
    found: str
    numbers: tuple[Number, ...] = ()
    claims: tuple[str, ...] = ()
    why: str = ""
    browse: str = ""


MAIN, LENGTH, QUALITY, SHIFT = "Main results", "Length", "What people see", "A second domain"
PRESSURE, DATA, TEXT = "Optimising a reward", "Reward models and data", "Metrics of text"
HUMANS, TESTS, BEYOND = "Labelers and agreement", "Tests of the reward model", "Past the paper"

_AGREE, _REF = ("quantity", "agreement"), ("policy", "reference_summary")
_PPO: Rows = (("policy", "*_ppo_*"), ("policy", "!*rouge*"))
_SUP: Rows = (("policy", "sup_*"), ("policy", "!*_ppo_*"), ("policy", "!*_bo*"))
_WARM: Rows = (("policy", "*_t0.7"), *_SUP)
_T0 = ("policy", "*_t0")
_COLD: Rows = (_T0, *_SUP)
_PREFERRED: Rows = (("quantity", "preference"), ("truth", "labelers"))
_LIKED: Rows = (("quantity", "preference"), ("against", "reference_summary"))
_RM_PREFERS: Rows = (("quantity", "preference"), ("judge", "reward model"))
_PEOPLE: Rows = (("quantity", "preference"), ("judge", "labelers"))
_SMALL, _LARGE = ("parameters", SMALLEST), ("parameters", LARGEST)
_MOST = ("labels", LARGEST)


def _rated(quantity: str, *rows: tuple[str, str]) -> Rows:
    return (("quantity", quantity), *rows) if rows else ()


def _cell(metric: str, *pairs: str) -> Rows:
    return (_AGREE, ("row", "labeler"), ("column", metric), *(("pairs", which) for which in pairs))


_TABLE_9 = tuple(
    Number(f"KL of {policy}, coefficient {coefficient:g}", kl, "Table 9", (
        ("kind", "ppo"),
    ), unit="nats")
    for policy, coefficient, kl in (
        ("sup3 ppo rm1", 0.35, 1.8), ("sup4 ppo rm3 1", 0.10, 3.8), ("sup4 ppo rm3 2", 0.07, 9.4),
        ("sup4 ppo rm3 3", 0.05, 19.0), ("sup4 ppo rm4", 0.05, 18.0),
        ("sup4_6b ppo rm4_6b", 0.05, 14.0),
    )
)  # fmt: skip

_TABLE_10 = tuple(
    Number(f"KL of best-of-{n}", kl, "Table 10", (("kind", "best_of_n"),), unit="nats")
    for n, kl in ((8, 1.2), (63, 3.2), (64, 3.2), (128, 3.9), (256, 4.5), (512, 5.2))
)

_TABLE_14 = tuple(
    Number(f"{label}: {what}", value, "Table 14", _rated(quantity, *rows), unit=unit)
    for what, unit, quantity, place in (
        ("mean rating, 1 to 7", "rating", "mean_rating", 1),
        ("characters", "chars", "mean_chars", 0),
        ("rating gained by 100 characters", "rating", "slope_per_100_chars", 2),
    )
    for label, rows, *values in (
        ("supervised on posts, 1.3B", _SUP, 138, 4.26, 0.68),
        ("supervised on posts, 6.7B", _SUP, 127, 4.41, 0.38),
        ("pretrained, 1.3B", (("policy", "pretrain_*"),), 141, 4.11, 0.63),
        ("pretrained, 6.7B", (("policy", "pretrain_*"),), 142, 4.6, 0.3),
        ("human feedback on posts, 1.3B", _PPO, 166, 4.86, 1.28),
        ("human feedback on posts, 6.7B", _PPO, 175, 5.25, 0.87),
        ("supervised on news, 6.7B", (), 300, 5.4, 0.37),
        ("references", (_REF,), 314, 5.54, 0.14),
        ("lead-3", (("policy", "lead*3"),), 475, 6.23, 0.34),
        ("T5", (), 316, 5.92, 0.3),
    )
    for value in (values[place],)
)  # fmt: skip

_FIGURE_3 = tuple(
    Number(f"{policy}: {axis}", value, "model card, picture", (
        ("quantity", "mean rating"), ("axis", axis), *rows,
    ), unit="rating", trust="picture")
    for policy, rows, values in (
        ("references", (_REF,), (5.06, 5.26, 6.67, 5.87)),
        ("human feedback", (*_PPO, _T0), (5.82, 5.97, 6.81, 6.49)),
        ("supervised", _COLD, (4.90, 4.98, 6.72, 6.29)),
        ("pretrained", (("policy", "pretrain_*"), _T0), (4.26, 4.26, 6.52, 6.42)),
    )
    for axis, value in zip(("overall", "coverage", "coherence", "accuracy"), values, strict=True)
)  # fmt: skip

COMPANION: tuple[Section, ...] = (
    Section(
        "size_and_method", MAIN, "Figures 1 and 10a",
        "Do people prefer summaries from human feedback, and does size make up for it?",
        "Yes, and no. A 1.3B model trained on human feedback is preferred to the references, which "
        "a supervised model ten times its size is not; a larger model with feedback does better.",
        (
            Number("human feedback, 1.3B: preferred to the reference", 0.61, "Figure 1",
                   (*_PREFERRED, ("kind", "human feedback"), _SMALL)),
            Number("supervised, 13B: preferred to the reference", 0.43, "Figure 1",
                   (*_PREFERRED, ("kind", "supervised"), _LARGE)),
            Number("about: human feedback, 6.7B, at equal length", 0.65, "section 4.1",
                   (("quantity", "equal_length"), ("kind", "human feedback"), _LARGE)),
        ),
        ("hf-over-sup", "hf-over-sup-t0", "sup-over-base", "sup-over-base-t0", "hf-over-ref",
         "hf-over-ref-t0", "hf-over-larger-sup"),
        "Small models close together in size may differ by less than the error of a few hundred "
        "posts; the gain from feedback also depends on how good the reward model has become.",
    ),
    Section(
        "preference", MAIN, "Figure 1 and Table 8",
        "How often is each policy preferred to each other, by the labels alone?",
        "Policies from human feedback beat the references in most comparisons; supervised and "
        "pretrained ones lose to them.",
        (
            Number("6.7B supervised, T = 0", 0.367, "released labels, one batch",
                   (*_LIKED, *_COLD), 0.049, trust="labels"),
            Number("6.7B supervised, T = 0.7", 0.247, "released labels, one batch",
                   (*_LIKED, *_WARM), 0.044, trust="labels"),
        ),
    ),
    Section(
        "length_control", LENGTH, "Figure 10 and Appendix F",
        "How much of the preference is left when both summaries are of one length?",
        "Most of it. Holding length fixed takes about five points from the models trained on "
        "feedback; length accounts for about a third of their lead over supervised models.",
        (
            Number("coefficient of the log length ratio", 0.8732, "released training pairs",
                   (("quantity", "length_coefficient"),), 0.0717, "", "labels"),
        ),
        ("length-something", "length-not-all"),
        "Length counts for as much as the labelers make it count; simulated ones have their own "
        "taste.",
    ),
    Section(
        "axes", QUALITY, "Figures 3 and 12",
        "What makes a summary better: coverage, accuracy or coherence?",
        "Coverage moves with the overall score; coherence is high for every model. Feedback lifts "
        "the share of summaries with the best overall score far above that of the references.",
        (
            Number("best overall score (7 of 7): human feedback, 6.7B", 0.45, "section 4.1",
                   (("quantity", "top rating"), ("axis", "overall"), *_PPO, _T0)),
            Number("best overall score: supervised, 6.7B", 0.20, "section 4.1",
                   (("quantity", "top rating"), ("axis", "overall"), *_COLD)),
            Number("best overall score: references", 0.23, "section 4.1",
                   (("quantity", "top rating"), ("axis", "overall"), _REF)),
            *_FIGURE_3,
        ),
    ),
    Section(
        "ratings_length", QUALITY, "section 4.2, Appendix F",
        "How do ratings grow with length?",
        "The paper reports it for news alone (see the second domain): longer summaries are rated "
        "higher under every policy.",
    ),
    Section(
        "transfer", SHIFT, "Figure 4",
        "Do models trained on posts also summarize news?",
        "Those trained on feedback do, without having seen a news summary: clearly better than "
        "supervised models of the same size, and near one trained on news, at little more than "
        "half its length.",
        (),
        ("transfer",),
        "A second domain that shares words and facts with the first is an easier step than from "
        "posts to newspapers.",
        "sort=best",
    ),
    Section(
        "ratings_length-cnndm", SHIFT, "Figure 4b, Tables 13 and 14",
        "How good and how long are the summaries of the second domain?",
        "Longer summaries are rated higher under every policy, by a seventh of a point to more "
        "than one point in 100 characters. Lead-3 beats the references; at their length it would "
        "still do so, by little.",
        (
            *_TABLE_14,
            Number("lead-3 at the references' length", 5.68, "Appendix E",
                   _rated("rating_at_length", ("policy", "lead*3")), unit="rating"),
        ),
    ),
    Section(
        "policies", PRESSURE, "Tables 9 and 10",
        "How far does each policy move from the supervised model?",
        "PPO moves as far as its KL coefficient lets it, up to 19 nats; best-of-N, whose distance "
        "follows from N alone, stays within about 5.",
        (*_TABLE_9, *_TABLE_10),
        (),
        "A distance also grows with the number of updates and with the length of a summary.",
    ),
    Section(
        "kl_frontier", PRESSURE, "Figure 5",
        "Does more optimisation against the reward model go on pleasing people?",
        "No. Preference first rises with the distance from the supervised model, then falls, while "
        "the reward model predicts that it keeps rising.",
        tuple(
            Number(f"preferred to the reference, KL {kl:g} nats", value, "released training pairs",
                   (("kind", "policy"), ("quantity", "actual"), ("objective", "!rouge")),
                   trust="labels")
            for kl, value in ((3.8, 0.355), (9.4, 0.526), (19.0, 0.386))
        ),
        ("ppo-few-rises", "ppo-few-flattens", "ppo-few-falls", "ppo-few-own"),
        "The fall is seen only where some run went far enough: few updates or a strong penalty "
        "stop before it.",
        "method=human+feedback&sort=gap",
    ),
    Section(
        "human_best_of_n", PRESSURE, "Figures 5 and 7, human side",
        "What do people make of best-of-N and of PPO, at their distance from the base?",
        "Both gain; PPO spends far more KL for the same quality.",
        tuple(
            Number(f"preferred to the reference, {name}", value, "released training pairs", (
                ("quantity", "preference"), ("kind", "best_of_n"),
            ), trust="labels")
            for name, value in (
                ("best-of-8 (rm1)", 0.435), ("best-of-63 (rm2)", 0.531),
                ("best-of-128 (rm3)", 0.517),
            )
        ),
    ),
    Section(
        "reward_scaling", DATA, "Figure 6",
        "How does a reward model's accuracy grow with labels and with size?",
        "Steadily, with both: a doubling of labels brings about 1.1 points of validation accuracy, "
        "a doubling of parameters about 1.8, from 160M to 13B parameters and 8k to 64k labels.",
        (
            Number("about: gained by twice the labels", 0.011, "section 4.3, Figure 6",
                   (("quantity", "per doubling"), ("of", "labels"), ("kind", "all"))),
            Number("about: gained by twice the parameters", 0.018, "section 4.3, Figure 6",
                   (("quantity", "per doubling"), ("of", "parameters"), ("kind", "all"))),
            Number("Pythia 1B, TL;DR validation (SD 0.0041 over 4 seeds)", 0.6292,
                   "Huang et al. 2024", trust="later"),
            Number("Pythia 2.8B, TL;DR validation (SD 0.0029 over 4 seeds)", 0.6688,
                   "Huang et al. 2024", trust="later"),
            Number("Pythia 6.9B, TL;DR validation (SD 0.0043 over 4 seeds)", 0.6894,
                   "Huang et al. 2024", trust="later"),
        ),
        ("accuracy-data", "accuracy-size"),
        "Near the ceiling that the labelers' own noise sets, a doubling brings less.",
    ),
    Section(
        "best_of_n", DATA, "Figure 7",
        "Which objective is best to choose among samples by?",
        "A reward model: ROUGE peaks sooner and lower as N grows to 2,048. An earlier reward "
        "model, made with about three quarters of the labels, stands beside the later one.",
        (
            Number("largest N", 2048, "section 4.4, Figure 7", unit=""),
            Number("about: labels of the earlier reward model, as a share", 0.75, "section 4.4"),
        ),
        ("bon-few-rises", "bon-rouge-sooner", "bon-rouge-lower"),
        "A peak lies beyond the largest N where the pool of samples is small.",
        "method=best-of-n&sort=gap",
    ),
    Section(
        "value_network", DATA, "Figure 11",
        "Should PPO's value function have a network of its own?",
        "Yes: with separate networks, the value one begun from the reward model, the reward "
        "reached is clearly higher; it costs memory.",
        (),
        ("value-network",),
        "Short runs end before the two curves part.",
    ),
    Section(
        "decoding", TEXT, "Figure 8",
        "How should a supervised model be sampled?",
        "Nearly greedily: a very low temperature is preferred to moderate ones and to nucleus "
        "sampling.",
        tuple(
            Number(f"preferred to the reference, {name}", value, "released labels, one batch",
                   (("quantity", "preferred to the reference"), ("setting", name), *_SUP),
                   se, trust="labels")
            for name, value, se in (
                ("T=0", 0.367, 0.049), ("T=0.7", 0.247, 0.044), ("top-p 0.95", 0.144, 0.036)
            )
        ),
        ("cold-over-warm", "warm-over-hot"),
    ),
    Section(
        "rouge", TEXT, "Figure 14",
        "Does human feedback raise ROUGE?",
        "Not at temperature 0, where it is slightly below supervised models; ROUGE depends more on "
        "the temperature than on the size.",
        tuple(
            Number(f"ROUGE-L of a supervised Pythia, {size} (SD {sd} over 4 seeds)", value,
                   "Huang et al. 2024", (("quantity", "rougeL_f"), *_COLD), trust="later")
            for size, value, sd in (
                ("1B", 0.2472, "0.0001"), ("2.8B", 0.2584, "0.0002"), ("6.9B", 0.2630, "0.0004")
            )
        ),
    ),
    Section(
        "copying", TEXT, "Table 16",
        "How much of a summary is taken over from the post?",
        "Pretrained models copy most; supervised and feedback-trained ones copy less. More is "
        "copied from news than from posts.",
        tuple(
            Number(f"bigrams copied: {name}", value, "released summaries, recounted",
                   _rated("copying", *rows), se, trust="labels")
            for name, rows, value, se in (
                ("references", (_REF,), 0.231, 0.013),
                ("6.7B supervised, T = 0", _COLD, 0.422, 0.018),
                ("6.7B supervised, T = 0.7", _WARM, 0.291, 0.014),
                ("6.7B supervised, top-p 0.95", (("policy", "sup_*_p0.95"),), 0.202, 0.012),
            )
        ),
    ),
    Section(
        "agreement", HUMANS, "Appendix C.2, Tables 20-23",
        "How often do labelers, reward models and text metrics agree?",
        "Labelers agree in about three of four comparisons, more easily where summaries differ "
        "more. The 6.7B reward model agrees with a labeler about as well as another labeler does, "
        "a majority of labelers better. ROUGE is weak on supervised samples and no better than "
        "chance on summaries from feedback.",
        (
            Number("labeler and researcher", 0.77, "section 3.3, Appendix C.2", se=0.02),
            Number("researcher and researcher", 0.73, "section 3.3, Appendix C.2", se=0.04),
            Number("labeler and labeler, training corpus", 0.72, "Appendix C.2",
                   _cell("labeler")),
            Number("labeler and labeler, evaluations", 0.73, "Appendix C.2", se=0.02),
            Number("one labeler and researcher, shared comparisons", 0.72, "Appendix C.2"),
            Number("majority of three and researcher, shared comparisons", 0.77, "Appendix C.2"),
            Number("about: ROUGE and labeler, supervised samples", 0.57, "section 4.4",
                   _cell("ROUGE*", "sup_*", "!*_ppo_*")),
            Number("about: ROUGE and labeler, samples from feedback", 0.50, "section 4.4",
                   _cell("ROUGE*", "*_ppo_*")),
            Number("6.7B reward model and labeler, samples from feedback", 0.62, "section 4.4",
                   _cell("*reward model*", "*_ppo_*")),
        ),
        ("rm-over-rouge",),
    ),
    Section(
        "agreement-cnndm", HUMANS, "section 4.3, Table 23",
        "How far does a reward model's judgment carry over to the second domain?",
        "Far: on news, the 6.7B reward model agrees with a labeler about as often as another "
        "labeler does, though it was trained on posts alone.",
        (
            Number("1.3B reward model and labeler", 0.624, "section 4.3", _cell("*reward model*")),
            Number("6.7B reward model and labeler", 0.665, "section 4.3", _cell("*reward model*")),
            Number("labeler and labeler", 0.669, "section 4.3", _cell("labeler")),
        ),
    ),
    Section(
        "labelers", HUMANS, "Appendix C.2 and C.6",
        "Do single labelers differ, and do they drift?",
        "Agreement ranges from about 65% (weakest labelers, hardest pairs) to 85% (best labelers, "
        "easiest pairs). How often supervised summaries win against references stayed constant "
        "over the batches, within noise.",
        (
            Number("about: weakest labelers, hardest pairs", 0.65, "Appendix C.2"),
            Number("about: best labelers, easiest pairs", 0.85, "Appendix C.2"),
        ),
    ),
    Section(
        "edits", TESTS, "Table 17, section 4.3",
        "Does the reward model prefer a summary that a person has improved?",
        "Nearly as often as people do; it falls behind them where the improvement made the summary "
        "shorter.",
        (
            Number("1.3B reward model prefers the edit", 0.794, "section 4.3",
                   (*_RM_PREFERS, ("probe", "all"), _SMALL, _MOST)),
            Number("6.7B reward model prefers the edit", 0.828, "section 4.3",
                   (*_RM_PREFERS, ("probe", "all"), _LARGE, _MOST)),
            Number("people prefer the edit", 0.841, "section 4.3",
                   (*_PEOPLE, ("probe", "all"))),
            Number("6.7B reward model, edits that shorten", 0.626, "section 4.3",
                   (*_RM_PREFERS, ("probe", "shorter"), _LARGE, _MOST)),
            Number("people, edits that shorten", 0.764, "section 4.3",
                   (*_PEOPLE, ("probe", "shorter"))),
        ),
    ),
    Section(
        "probes", TESTS, "Table 18, section 4.3",
        "Which spoiled summaries does the reward model see through?",
        "It notices swapped roles and shuffled sentences. Reward models can still be taken in by "
        "artificial summaries, such as a title said twice or a question at the end.",
        (
            Number("1.3B, original over swapped roles", 0.929, "section 4.3",
                   (*_RM_PREFERS, ("probe", "original vs reversed roles"), _SMALL, _MOST)),
            Number("6.7B, original over swapped roles", 0.972, "section 4.3",
                   (*_RM_PREFERS, ("probe", "original vs reversed roles"), _LARGE, _MOST)),
        ),
        (),
        "A fact that the model cannot read yet cannot be missed.",
    ),
    Section(
        "overoptimization", BEYOND, "Gao et al. 2022; Coste et al. 2023",
        "On one axis of distance: where do proxy and truth part, for PPO, best-of-N and ensembles?",
        "Gao et al. fit a parabola in the square root of KL for best-of-N and a logarithmic form "
        "for PPO: the truth peaks later and higher with more labels, and PPO spends far more KL. "
        "Coste et al. find that ensembles, by their worst or their uncertainty, ward off most of "
        "the fall for best-of-N.",
        (
            Number("about: labels below which a reward model is little better than chance", 2000,
                   "Gao et al. 2022", unit="", trust="later"),
        ),
        ("bon-few-rises", "bon-few-flattens", "bon-few-falls", "bon-few-own", "ppo-few-rises",
         "ppo-few-flattens", "ppo-few-falls", "ppo-few-own", "bon-labels-later",
         "bon-labels-higher", "ppo-labels-later", "ppo-labels-higher", "ppo-rouge-lower",
         "worst-of-ensemble", "ppo-spends-more"),
        "A fitted peak is uncertain where the largest distance does not pass it.",
        "sort=gap",
    ),
    Section(
        "length_share", BEYOND, "Appendix F; Singhal et al. 2023",
        "How much of each gain is length?",
        "In the paper, about a third of the lead of the 6.7B model over the supervised one. "
        "Singhal et al. find that longer answers explain most of the reward gained by PPO on two "
        "of three data sets.",
        (
            Number("about: share of the lead explained by length, 6.7B", 0.33, "section 4.1",
                   (("quantity", "share"), ("source", "summaries"), ("kind", "human feedback"),
                    ("main", "1"))),
            Number("about: points that length control takes", 5, "section 4.1", unit="points"),
        ),
        ("length-something", "length-not-all"),
        "Simulated labelers have their own taste for length, and references their own lengths.",
    ),
    Section(
        "divergence", BEYOND, "Appendix H.2",
        "Where do the proxy and the truth part, and which summaries show it?",
        "The paper shows samples of a policy pushed to 250 nats: long, of low quality, with odd "
        "phrases, still about the post.",
        browse="part=1&sort=gap",
    ),
    Section(
        "rounds", BEYOND, "Appendix C.6, Table 11",
        "What does each further round of labels, reward model and PPO bring?",
        "The paper trained four reward models, each on all labels so far, and kept comparisons of "
        "supervised summaries with references in most batches to watch for drift: none was seen.",
    ),
)  # fmt: skip
"""In the paper's order, then past it."""
