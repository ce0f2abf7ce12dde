"""SummEval: 1-5 ratings of CNN/DM summaries by experts and crowd workers, with references.

Rows: `id, text (the article), decoded (the summary), model_id [, policy], references,
expert_annotations, turker_annotations`, an annotation being {axis: 1..5}. Articles are needed:
take the paired file. SummEval lists its annotators by place and does not name them, so labelers
are `expert_0`, `expert_1` ... and `crowd_0` ...: three experts rated everything, but many people
share the crowd places. The first reference is CNN/DM's own, the others were
written later; all have the policy `reference_summary`. Proved by tests/datasets/test_summeval.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalsuite.datasets import fields
from evalsuite.datasets.fields import Row
from evalsuite.errors import DataError
from evalsuite.records import REFERENCE_POLICY, Rating, refuse

if TYPE_CHECKING:
    from evalsuite.datasets.build import Builder

FIELDS = "text, decoded, model_id, expert_annotations or turker_annotations"
GROUPS = {"expert_annotations": "expert", "turker_annotations": "crowd"}
SCALE = (1.0, 5.0)


def recognises(row: Row) -> bool:
    """Whether a row has the fields of this format."""
    return "decoded" in row and any(key in row for key in GROUPS)


def add(row: Row, builder: Builder) -> None:
    """Add the ratings and references of one summary. Raises DataError."""
    post = builder.post(
        fields.name(row, "text"), domain="cnndm", source_id=fields.name_or_none(row, "id")
    )
    policy = fields.name(row, "policy" if row.get("policy") is not None else "model_id")
    summary = builder.summary(policy, fields.text(row, "decoded"), post)
    references = row.get("references", [])
    if not isinstance(references, list) or not all(isinstance(r, str) for r in references):
        raise refuse("references", references, "a list of strings")
    labels = []
    for key, group in GROUPS.items():
        annotations = row.get(key, [])
        if not isinstance(annotations, list):
            raise refuse(key, annotations, "a list of {axis: 1 to 5}")
        for i, annotation in enumerate(annotations):
            if not isinstance(annotation, dict):
                raise refuse(f"{key}[{i}]", annotation, "an object {axis: 1 to 5}")
            for axis in annotation:
                value = fields.number(annotation, axis, *SCALE, f"{key}[{i}].")
                labels.append(Rating(summary, axis, value, f"{group}_{i}", scale=SCALE))
    if not labels:
        raise DataError("no rating", field="expert_annotations", allowed=f"a list in {[*GROUPS]}")
    builder.keep(post, [builder.summary(REFERENCE_POLICY, text, post) for text in references])
    for label in labels:
        builder.rate(label, post, post.domain)
