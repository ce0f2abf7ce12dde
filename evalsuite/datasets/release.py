"""The OpenAI release of human feedback: comparisons and axis ratings on TL;DR and CNN/DM.

Rows are JSON objects, one a line: comparisons `info, split, summaries[2]{text,policy,note},
choice, worker, batch, extra{confidence}`; ratings `info, split, summary{text,policy,note,axes},
worker, batch`. `info` has `post, title, subreddit` or `article, title, site`, and an `id` except
in the edit batches. This is the one place that knows these names and reads policy names.

Traps. `confidence` is coded by position, 1 (surely left) to 9 (surely right), so strength is its
distance from 5, and a confidence on the other side of 5 than the choice is refused. So is 5: it
says "no preference", which the two-way `choice` beside it denies, and no released row has it.
One batch was released as `batch0_cnndm` and as `cnndm0`; ids leave the batch out, so the second
copy is dropped. Texts may start with a space; `Summary` strips it.

What may be changed: names this module does not yet know. Proved by tests/datasets/test_release.py.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row
from evalsuite.errors import DataError
from evalsuite.records import REFERENCE_POLICY, Comparison, Post, Rating, Summary, refuse

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

FIELDS = "info, summaries, choice, worker (comparisons) or info, summary, worker (ratings)"
TWO = "two summaries {text, policy}"
CONFIDENCE = "a whole number from 1 to 9"
AXES = "at least one axis rated 1 to 7"
SIDES = "1 to 4 with choice 0, 6 to 9 with choice 1"


def recognises(row: Row) -> bool:
    """Whether a row has the fields of this format."""
    return "info" in row and ("summaries" in row or "summary" in row)


def add(row: Row, builder: Builder) -> None:
    """Add one row, a comparison or the ratings of one summary. Raises DataError."""
    post = _post(fields.mapping(row, "info"), builder)
    labeler, batch = fields.name_or_none(row, "worker"), fields.name_or_none(row, "batch")
    split = fields.name_or_none(row, "split")
    if "summary" in row and "summaries" not in row:
        _add_ratings(row, post, builder, labeler, batch, split)
        return
    two = row.get("summaries")
    if not isinstance(two, list):
        raise fields.refused(row, "summaries", "summaries", TWO)
    if len(two) != 2:
        raise DataError(f"summaries has length {len(two)}", field="summaries", allowed=TWO)
    left, right = (_summary(one, f"summaries[{i}]", post, builder) for i, one in enumerate(two))
    choice = row.get("choice")
    if isinstance(choice, bool) or not isinstance(choice, (int, float)) or choice not in (0, 1):
        raise fields.refused(row, "choice", "choice", "0 or 1")
    strength = _strength(row, choice)
    label = Comparison(left, right, float(choice), labeler, batch, split, strength)
    builder.compare(label, post, post.domain)


def _post(info: Row, builder: Builder) -> Post:
    news = info.get("article") is not None
    return builder.post(
        fields.name(info, "article" if news else "post", "info."),
        title=fields.text_or_none(info, "title", "info."),
        section=fields.text_or_none(info, "site" if news else "subreddit", "info."),
        domain="cnndm" if news else "tldr",
        source_id=fields.name_or_none(info, "id", "info."),
    )


def _summary(one: object, place: str, post: Post, builder: Builder) -> Summary:
    if not isinstance(one, dict):
        raise refuse(place, one, "a JSON object {text, policy}")
    policy = fields.name(one, "policy", f"{place}.")
    return builder.summary(policy, fields.text(one, "text", f"{place}."), post)


def _strength(row: Row, choice: float) -> int | None:
    extra = row.get("extra")
    if extra is None:
        return None
    confidence = fields.mapping(row, "extra").get("confidence")
    if confidence is None:
        return None
    number = isinstance(confidence, (int, float)) and not isinstance(confidence, bool)
    if not number or confidence not in range(1, 10):
        raise refuse("extra.confidence", confidence, CONFIDENCE)
    if confidence == 5 or (confidence > 5) != (choice == 1):
        problem = f"extra.confidence is {confidence:g} but choice is {choice:g}"
        raise DataError(problem, field="extra.confidence", allowed=SIDES)
    return abs(int(confidence) - 5)


def _add_ratings(
    row: Row, post: Post, builder: Builder, labeler: str | None, batch: str | None,
    split: str | None,
) -> None:  # fmt: skip
    """An axis is 1 to 7; `compatible`, a yes or no, is an axis of 0 to 1; null was not asked."""
    one = fields.mapping(row, "summary")
    summary = _summary(one, "summary", post, builder)
    labels = []
    for axis, value in fields.mapping(one, "axes", "summary.").items():
        if value is None:
            continue
        if axis == "compatible" and value in (0, 1):
            labels.append(Rating(summary, axis, float(value), labeler, batch, split, (0.0, 1.0)))
        else:
            labels.append(Rating(summary, axis, value, labeler, batch, split))
    if not labels:
        raise refuse("summary.axes", one["axes"], AXES)
    for label in labels:
        builder.rate(label, post, post.domain)


class PolicyName(NamedTuple):
    """What a policy's name says; NaN or None where neither name nor paper does.

    base: the model sampled from. temperature: 0 is greedy. top_p: nucleus. best_of_n: N.
    objective: the reward model, or other score, that chose or trained. kl_nats: KL(policy || base)
    of PPO policies, in nats; for best-of-N it follows from N and is a statistic's business.
    method: reference, supervised, pretrained, best_of_n, ppo, editor, extractive or other.
    kl_coef: the KL penalty of PPO. value_network: "shared" where PPO's policy and value share one.
    """

    base: str | None = None
    temperature: float = math.nan
    top_p: float = math.nan
    best_of_n: float = math.nan
    objective: str | None = None
    kl_nats: float = math.nan
    method: str = "other"
    kl_coef: float = math.nan
    value_network: str | None = None


BEST_OF_N_TEMPERATURE = 0.7
"""Best-of-N picks among samples at this temperature (appendix C.6); names do not repeat it."""

PPO_KL = {
    "sup3_ppo_rm1": 1.8, "sup4_ppo_rm3": 3.8, "sup4_ppo_rm3_kl10": 9.4,
    "sup4_ppo_rm3_kl20": 19.0, "sup4_ppo_rm4": 18.0, "sup4_6b_ppo_rm4_6b": 14.0,
    "sup4_6b_ppo_rm4_6b_kl14": 14.0,
}  # fmt: skip
"""KL(ppo, sup) in nats, Table 9 of the paper: finer than the rounded `_kl` of a name, and the
only source where a name has none. Decoding suffixes are cut off before looking up."""

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_SIZE = r"(?:_(?:\d+(?:\.\d+)?[bm]|small|medium|large))?"
_SCORE = rf"(?:rm\d*{_SIZE}|rm(?:-[a-z0-9.]+)+|rouge|length|gold)"
_OBJECTIVE = rf"(?:{_SCORE}|(?:mean|worst|uncertainty)(?:{_SCORE}|\({_SCORE}\)))"
_DECODING = re.compile(rf"_(t|p){_NUMBER}(?=_|$)")
_KL = re.compile(rf"_kl{_NUMBER}$")
_TUNED = re.compile(
    rf"^(?P<base>.+?)_(?:bo(?P<n>\d+)|ppo(?:_(?P<value>shared))?)(?:_(?P<objective>{_OBJECTIVE}))?"
    rf"(?:_b(?P<coef>{_NUMBER}))?$"
)
_EXTRACTIVE = re.compile(r"^(?:(?:lead|rand|random|tail)[-_ ]?\d*|title)$")
_UNSTATED = re.compile(r"^sup[123](?:_|$)")


def parse_policy(name: str) -> PolicyName:
    """A policy's name in the release, read into base, decoding, N, objective, KL and method.

    `sup4_6b_t.7` is base `sup4_6b` at temperature 0.7; `_p.95` is top-p, whose temperature is not
    stated (NaN); `sup4_bo128_rm3_6b` is the best of 128 of `sup4` under `rm3_6b`, at 0.7;
    `sup4_ppo_rm3_kl10` is PPO from `sup4` on `rm3`, KL 9.4 (Table 9; else the name's number).

    Names of this project's own runs go on in that grammar: sizes may be words (`sup_small`), an
    objective may be `rouge`, `length`, `gold` or an ensemble such as `worstrm600`, and
    `sup_small_ppo_shared_rm4800_b0.05` was trained with KL coefficient 0.05, with one network for
    policy and value.

    No decoding suffix: T = 0 for supervised names from `sup4` on, which state any other
    temperature (one text a post in batch18). NaN for `sup1` to `sup3`, pretrained and PPO
    policies: the release compares different texts of one such policy on one post, so they were
    sampled, at a temperature that the names do not say.

    Names this grammar does not cover are their own base, method "other".

    Source: Stiennon et al. 2020, Tables 8-10; names as released.
    """
    if name in (REFERENCE_POLICY, "ref"):
        return PolicyName(method="reference")
    if name in ("human_editor", "editor"):
        return PolicyName(method="editor")
    if _EXTRACTIVE.match(name):
        return PolicyName(method="extractive")
    decoding = {kind: float(value) for kind, value in _DECODING.findall(name)}
    temperature, top_p = decoding.get("t", math.nan), decoding.get("p", math.nan)
    core = _DECODING.sub("", name)
    if top_p > 1 or not core:
        return PolicyName(base=name)
    kl = _KL.search(core)
    tuned = _TUNED.match(_KL.sub("", core))
    if tuned is None:
        method = "supervised" if core.startswith("sup") else "other"
        method = "pretrained" if core.startswith("pretrain") else method
        if method == "supervised" and not decoding and not _UNSTATED.match(core):
            temperature = 0.0
        return PolicyName(core, temperature, top_p, method=method)
    base, objective = tuned["base"], tuned["objective"]
    if tuned["n"] is None:
        nats = PPO_KL.get(core, float(kl[1]) if kl else math.nan)
        coef = float(tuned["coef"]) if tuned["coef"] else math.nan
        return PolicyName(
            base, temperature, top_p, math.nan, objective, nats, "ppo", coef, tuned["value"]
        )
    if not decoding:
        temperature = BEST_OF_N_TEMPERATURE
    n = float(tuned["n"])
    return PolicyName(base, temperature, top_p, n, objective, math.nan, "best_of_n")
