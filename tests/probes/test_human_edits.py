"""Edits by people, read from comparisons."""

from __future__ import annotations

import orjson
import pytest

from evalsuite.datasets import load
from evalsuite.probes.human_edits import human_edits
from evalsuite.probes.run import judge
from evalsuite.records import Post
from evalsuite.tables import Tables


def line(post, left, right, choice, worker):
    """One row as the release's edit batches have them: no id in info, no leading space."""
    return orjson.dumps({
        "info": {"post": post, "title": "t", "subreddit": "tifu"},
        "split": "valid2",
        "summaries": [{"text": text, "policy": policy, "note": ""} for policy, text in
                      (left, right)],
        "choice": choice,
        "worker": worker,
        "batch": "edit_b2_eval_test",
        "extra": {"confidence": 8 if choice else 2},
    })  # fmt: skip


EDITOR, REF, SUP = "human_editor", "ref", "sup4_6b_t0.7"
ROWS = [
    line("p1", (EDITOR, "short"), (REF, "not so short"), 0, "A"),
    line("p1", (REF, "not so short"), (EDITOR, "short"), 1, "B"),
    line("p1", (REF, "not so short"), (EDITOR, "short"), 0, "C"),
    line("p2", (SUP, "brief"), (EDITOR, "a longer text"), 1, "A"),
    line("p2", (SUP, "brief"), (EDITOR, "five."), 1, "A"),  # as long: left out
    line("p2", (EDITOR, "one edit"), (EDITOR, "another"), 1, "A"),  # no original
    line("p2", (SUP, "brief"), (REF, "a reference"), 1, "A"),  # no edit
]


@pytest.fixture
def tables(tmp_path):
    file = tmp_path / "edit_b2_eval_test.json"
    file.write_bytes(b"\n".join(ROWS))
    return load([str(file)])


def test_edits_with_the_share_of_labels_for_them(tables):
    pairs, left_out = human_edits(tables)
    assert [(p.probe, p.a, p.b) for p in pairs] == [
        ("edit: shorter", "short", "not so short"),
        ("edit: longer", "a longer text", "brief"),
    ]
    assert [p.labelers for p in pairs] == pytest.approx([2 / 3, 1])
    assert pairs[0].post == Post("p1", "t", "tifu", "tldr")
    assert left_out == {"edits as long as their originals": 1}


def test_a_reward_model_is_held_against_the_labels(tables):
    pairs, _ = human_edits(tables)
    table = judge(pairs, {"longer wins": lambda texts: [len(text) for _, text in texts]})
    assert table["prefers"].tolist() == [0, 1]
    assert table["agrees"].tolist() == pytest.approx([1 / 3, 1])


def test_edits_without_texts_are_counted(tables):
    blind = tables.summaries.assign(text=None)
    pairs, left_out = human_edits(Tables(tables.posts, tables.policies, blind, tables.comparisons))
    assert (pairs, left_out) == ([], {"edits without their texts": 3})
    empty = tables.summaries.assign(text="")
    none = human_edits(Tables(tables.posts, tables.policies, empty, tables.comparisons))
    assert none == ([], {"edits of or to an empty text": 3})
    assert human_edits(Tables()) == ([], {})
