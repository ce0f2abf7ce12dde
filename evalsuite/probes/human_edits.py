"""Edits of summaries by people (Table 17), from comparisons of an edit with its original.

A release may have batches in which a labeler improved a summary and another, blind, compared the
two: policy `human_editor` on one side. The edit is side a; its labels come with the pair.
Proof: tests/probes/test_human_edits.py.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from evalsuite.probes.probe import Pair
from evalsuite.records import Post
from evalsuite.tables import Tables

EDITOR = "human_editor"
SHORTER, LONGER = "edit: shorter", "edit: longer"
"""Names of the two rows in tables; lengths are in characters."""


def kind(original: str, edit: str) -> str:
    """`SHORTER` or `LONGER` by characters; "" where both are as long."""
    gap = len(edit.strip()) - len(original.strip())
    return "" if gap == 0 else SHORTER if gap < 0 else LONGER


def human_edits(tables: Tables) -> tuple[list[Pair], dict[str, int]]:
    """A pair an edit with the share of labels that prefer it, and edits left out by reason.

    Labels of one edit and original are averaged.
    """
    rows = tables.comparisons
    left, right = rows["left_policy"] == EDITOR, rows["right_policy"] == EDITOR
    rows = rows[left != right].copy()
    on_left = rows["left_policy"] == EDITOR
    rows["edit"] = rows["left_id"].where(on_left, rows["right_id"])
    rows["original"] = rows["right_id"].where(on_left, rows["left_id"])
    rows["for_edit"] = (1 - rows["choice"]).where(on_left, rows["choice"])
    texts = tables.summaries.drop_duplicates("summary_id").set_index("summary_id")["text"]
    posts = tables.posts.drop_duplicates("post_id").set_index("post_id")
    left_out: Counter[str] = Counter()
    pairs = []
    for (edit, original), labels in rows.groupby(["edit", "original"], sort=False):
        post_id, a, b = labels["post_id"].iloc[0], texts.get(edit), texts.get(original)
        known = post_id in posts.index and pd.notna(posts.loc[post_id, "text"])
        if not (isinstance(a, str) and isinstance(b, str) and known):
            left_out["edits without their texts"] += 1
        elif not a or not b:
            left_out["edits of or to an empty text"] += 1
        elif not (name := kind(b, a)):
            left_out["edits as long as their originals"] += 1
        else:
            post = _post(posts.loc[post_id])
            pairs.append(Pair(name, post, a, b, float(labels["for_edit"].mean())))
    return pairs, dict(left_out)


def _post(row: pd.Series) -> Post:
    given = {name: row[name] for name in ("title", "section", "source_id") if pd.notna(row[name])}
    return Post(row["text"], domain=row["domain"], **given)
