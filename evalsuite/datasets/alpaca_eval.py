"""AlpacaEval: soft preferences of a judge between a baseline and a policy.

    a table       policy, prompt_id, baseline_chars, policy_chars, preference [, baseline]
                  preference in [0, 1] for the policy; texts are not there, lengths are
    annotations   instruction, output_1, generator_1, output_2, generator_2, preference
                  [, annotator, dataset]; preference in [1, 2], 2 for output_2

The baseline is left and the policy right, as AlpacaEval writes them (1 and 2); the order the
judge saw was shuffled and is not in the file, so preferences for the left mean nothing here. An
empty preference is an answer of the judge that could not be parsed: left out and counted. Rows
of the table have no post; `prompt_id` is their item. Proved by tests/datasets/test_alpaca_eval.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row
from evalsuite.records import Comparison

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

FIELDS = "policy, prompt_id, baseline_chars, policy_chars, preference; or AlpacaEval's annotations"
UNPARSED = "judge's answer not parsed (empty preference)"
DOMAIN = "alpaca_eval"


def recognises(row: Row) -> bool:
    """Whether a row has the fields of this format."""
    return "preference" in row and (
        {"policy", "baseline_chars", "policy_chars"} <= row.keys()
        or {"output_1", "output_2"} <= row.keys()
    )


def add(row: Row, builder: Builder) -> None:
    """Add one preference. Raises DataError."""
    if "output_1" in row or "output_2" in row:
        _add_annotation(row, builder)
        return
    baseline = fields.text_or_none(row, "baseline") or "baseline"
    left = builder.summary(baseline, None, None, fields.length(row, "baseline_chars"))
    right = builder.summary(
        fields.name(row, "policy"), None, None, fields.length(row, "policy_chars")
    )
    group = fields.name_or_none(row, "prompt_id")
    if group is None:
        raise fields.refused(row, "prompt_id", "prompt_id", "the prompt's number or name")
    choice = fields.number_or_none(row, "preference", 0, 1)
    if choice is None:
        builder.left_out[UNPARSED] += 1
        builder.keep(None, [left, right])
        return
    builder.compare(Comparison(left, right, choice, group=group), None, DOMAIN)


def _add_annotation(row: Row, builder: Builder) -> None:
    section = fields.text_or_none(row, "dataset")
    post = builder.post(fields.name(row, "instruction"), section=section, domain=DOMAIN)
    left, right = (
        builder.summary(fields.name(row, f"generator_{i}"), fields.text(row, f"output_{i}"), post)
        for i in (1, 2)
    )
    preference = fields.number_or_none(row, "preference", 1, 2)
    if preference is None:
        builder.left_out[UNPARSED] += 1
        builder.keep(post, [left, right])
        return
    labeler = fields.name_or_none(row, "annotator")
    builder.compare(Comparison(left, right, preference - 1, labeler), post, DOMAIN)
