"""The OpenAI release: policy names, ids, traps, and the real rows beside the project."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.datasets import load, parse_policy
from evalsuite.datasets.release import PolicyName
from evalsuite.tables import Tables

NAN = math.nan
BASE, T, P, N, OBJ, KL = "base", "temperature", "top_p", "best_of_n", "objective", "kl_nats"

# Names of the released files, read by hand with Tables 8-10 of the paper beside them.
NAMES: dict[str, dict[str, Any]] = {
    "ref": {"method": "reference"},
    "reference_summary": {"method": "reference"},
    "human_editor": {"method": "editor"},
    "lead-3": {"method": "extractive"},
    "lead3": {"method": "extractive"},
    "lead": {"method": "extractive"},
    "title": {"method": "extractive"},
    "sup1": {BASE: "sup1", "method": "supervised"},
    "sup3_6b": {BASE: "sup3_6b", "method": "supervised"},
    "sup4": {BASE: "sup4", T: 0.0, "method": "supervised"},
    "sup4_6b": {BASE: "sup4_6b", T: 0.0, "method": "supervised"},
    "sup4_12b": {BASE: "sup4_12b", T: 0.0, "method": "supervised"},
    "sup4_6b_t0.7": {BASE: "sup4_6b", T: 0.7, "method": "supervised"},
    "sup4_6b_t.5": {BASE: "sup4_6b", T: 0.5, "method": "supervised"},
    "sup4_6b_t1": {BASE: "sup4_6b", T: 1.0, "method": "supervised"},
    "sup4_t0.7": {BASE: "sup4", T: 0.7, "method": "supervised"},
    "sup4_6b_p.95": {BASE: "sup4_6b", P: 0.95, "method": "supervised"},
    "sup4_6b_t.7_p.8": {BASE: "sup4_6b", T: 0.7, P: 0.8, "method": "supervised"},
    "pretrain_6b_t.7": {BASE: "pretrain_6b", T: 0.7, "method": "pretrained"},
    "pretrain_6b": {BASE: "pretrain_6b", "method": "pretrained"},
    "sup2_bo8_rm1": {BASE: "sup2", T: 0.7, N: 8, OBJ: "rm1", "method": "best_of_n"},
    "sup3_bo63_rm2": {BASE: "sup3", T: 0.7, N: 63, OBJ: "rm2", "method": "best_of_n"},
    "sup4_bo512_rm3": {BASE: "sup4", T: 0.7, N: 512, OBJ: "rm3", "method": "best_of_n"},
    "sup4_bo128_rm3_6b": {BASE: "sup4", T: 0.7, N: 128, OBJ: "rm3_6b", "method": "best_of_n"},
    "sup4_6b_bo64_rm4_6b_t1": {
        BASE: "sup4_6b", T: 1.0, N: 64, OBJ: "rm4_6b", "method": "best_of_n"
    },
    "sup3_ppo_rm1": {BASE: "sup3", OBJ: "rm1", KL: 1.8, "method": "ppo"},
    "sup4_ppo_rm3": {BASE: "sup4", OBJ: "rm3", KL: 3.8, "method": "ppo"},
    "sup4_ppo_rm3_kl10": {BASE: "sup4", OBJ: "rm3", KL: 9.4, "method": "ppo"},
    "sup4_ppo_rm3_kl20": {BASE: "sup4", OBJ: "rm3", KL: 19.0, "method": "ppo"},
    "sup4_ppo_rm3_kl250": {BASE: "sup4", OBJ: "rm3", KL: 250.0, "method": "ppo"},
    "sup4_ppo_rm4": {BASE: "sup4", OBJ: "rm4", KL: 18.0, "method": "ppo"},
    "sup4_ppo_rm4_t.7": {BASE: "sup4", T: 0.7, OBJ: "rm4", KL: 18.0, "method": "ppo"},
    "sup4_6b_ppo_rm4_6b": {BASE: "sup4_6b", OBJ: "rm4_6b", KL: 14.0, "method": "ppo"},
    "sup4_6b_ppo_rm4_6b_kl14": {BASE: "sup4_6b", OBJ: "rm4_6b", KL: 14.0, "method": "ppo"},
    "openai_1.3b_ppo": {BASE: "openai_1.3b", "method": "ppo"},
    "T5": {BASE: "T5"},
    "t5": {BASE: "t5"},
    "M10": {BASE: "M10"},
    "claude-3-opus_p2": {BASE: "claude-3-opus_p2"},  # 2 is no share: not a top-p
    "gpt_top": {BASE: "gpt_top"},
}  # fmt: skip


COEF, VALUE = "kl_coef", "value_network"

# Names of this project's own runs.
OWN_NAMES: dict[str, dict[str, Any]] = {
    "pretrain_small_t0.7": {BASE: "pretrain_small", T: 0.7, "method": "pretrained"},
    "sup_small": {BASE: "sup_small", T: 0.0, "method": "supervised"},
    "sup_medium_t0": {BASE: "sup_medium", T: 0.0, "method": "supervised"},
    "sup_1.4b_t1": {BASE: "sup_1.4b", T: 1.0, "method": "supervised"},
    "sup_135m_p0.95": {BASE: "sup_135m", P: 0.95, "method": "supervised"},
    "sup_small_ppo_rm4800_b0.05_t0.7": {
        BASE: "sup_small", T: 0.7, OBJ: "rm4800", COEF: 0.05, "method": "ppo"
    },
    "sup_small_ppo_rm4800_medium_b0_t0.7": {
        BASE: "sup_small", T: 0.7, OBJ: "rm4800_medium", COEF: 0.0, "method": "ppo"
    },
    "sup_small_ppo_rouge_b.2_t0.7": {
        BASE: "sup_small", T: 0.7, OBJ: "rouge", COEF: 0.2, "method": "ppo"
    },
    "sup_small_ppo_shared_rm4800_b0.05_t0.7": {
        BASE: "sup_small", T: 0.7, OBJ: "rm4800", COEF: 0.05, VALUE: "shared", "method": "ppo"
    },
    "sup_small_ppo_worst(rm-small-600)_b0.05": {
        BASE: "sup_small", OBJ: "worst(rm-small-600)", COEF: 0.05, "method": "ppo"
    },
    "sup_small_ppo_rm2": {BASE: "sup_small", OBJ: "rm2", "method": "ppo"},
    "sup_small_bo64_rm4800": {
        BASE: "sup_small", T: 0.7, N: 64, OBJ: "rm4800", "method": "best_of_n"
    },
    "sup_small_bo16_rm2": {BASE: "sup_small", T: 0.7, N: 16, OBJ: "rm2", "method": "best_of_n"},
    "sup_1b_bo16_meanrm600": {
        BASE: "sup_1b", T: 0.7, N: 16, OBJ: "meanrm600", "method": "best_of_n"
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [*NAMES, *OWN_NAMES])
def test_policy_names(name: str) -> None:
    got, wanted = parse_policy(name), PolicyName(**(NAMES | OWN_NAMES)[name])
    for field in PolicyName._fields:
        a, b = getattr(got, field), getattr(wanted, field)
        assert a == b or (a != a and b != b), field


@given(st.text(min_size=1, max_size=30))
def test_any_name_is_read(name: str) -> None:
    assert parse_policy(name).method != ""


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def comparison(**fields: Any) -> dict[str, Any]:
    info = {"id": "t3_1", "post": "A post.", "title": "T", "subreddit": "tifu"}
    summaries = [
        {"text": " one", "policy": "sup1", "note": ""},
        {"text": "two ", "policy": "ref", "note": ""},
    ]
    row = {"info": info, "split": "train", "summaries": summaries, "choice": 1, "worker": "w",
           "batch": "b", "extra": {"confidence": 9}}  # fmt: skip
    return row | fields


@pytest.mark.parametrize(
    ("confidence", "strength"), [(1, 4), (2, 3), (3, 2), (4, 1), (6, 1), (7, 2), (8, 3), (9, 4)]
)
def test_confidence_is_the_distance_from_the_middle(
    confidence: int, strength: int, tmp_path: Path
) -> None:
    row = comparison(choice=int(confidence > 5), extra={"confidence": confidence})
    assert load(write(tmp_path / "x.json", row)).comparisons["strength"].tolist() == [strength]


def test_texts_lose_outer_space_and_ref_its_short_name(tmp_path: Path) -> None:
    tables = load(write(tmp_path / "x.json", comparison()))
    assert tables.summaries["text"].tolist() == ["one", "two"]
    assert tables.summaries["chars"].tolist() == [3, 3]
    assert tables.comparisons["right_policy"].tolist() == ["reference_summary"]
    assert set(tables.policies["policy"]) == {"sup1", "reference_summary"}


def test_one_batch_under_two_names_counts_once(tmp_path: Path) -> None:
    rows = [comparison(worker=w, batch=b) for b in ("cnndm0", "batch0_cnndm") for w in "uv"]
    tables = load(write(tmp_path / "x.json", *rows))
    assert len(tables.comparisons) == 2
    assert tables.left_out == {"label repeated by the same labeler": 2}


def test_hub_form_has_null_for_the_other_task(tmp_path: Path) -> None:
    info = {"id": "1", "post": None, "title": None, "subreddit": None, "site": "cnn",
            "article": "News."}  # fmt: skip
    tables = load(write(tmp_path / "x.json", comparison(info=info)))
    post = tables.posts.iloc[0]
    assert (post["text"], post["section"], post["domain"]) == ("News.", "cnn", "cnndm")
    assert tables.comparisons["domain"].tolist() == ["cnndm"]


def test_ratings(tmp_path: Path) -> None:
    axes = {"overall": 6, "coverage": 7.0, "coherence": None, "compatible": False}
    row = {"info": {"article": "News.", "title": "T", "site": "cnn"}, "split": "test",
           "summary": {"text": " one", "policy": "lead-3", "note": "", "axes": axes},
           "worker": "w", "batch": "cnndm1"}  # fmt: skip
    got = load(write(tmp_path / "x.json", row)).ratings
    assert got[["axis", "value", "low", "high"]].to_numpy().tolist() == [
        ["overall", 6, 1, 7], ["coverage", 7, 1, 7], ["compatible", 0, 0, 1]
    ]  # fmt: skip


def test_ids_come_from_content(tmp_path: Path) -> None:
    row = comparison()
    first = load(write(tmp_path / "x.json", row)).comparisons
    moved = load(write(tmp_path / "y.json", comparison(worker="other"), row | {"batch": "c"}))
    assert first["comparison_id"][0] == moved.comparisons["comparison_id"][1]
    assert first["post_id"].tolist() * 2 == moved.comparisons["post_id"].tolist()


# Real rows. Counts by reading the files with json and nothing else; agreement on identical
# comparisons and the share of the reference at each setting as in the notes on the paper.


@pytest.fixture
def real(shared_data: Path) -> Tables:
    return load(shared_data / "tldr_feedback" / "comparisons")


def test_real_counts(real: Tables) -> None:
    by_batch = real.comparisons.groupby("batch")
    assert by_batch.size().to_dict() == {"batch18": 638, "cnndm0": 426}
    assert by_batch["labeler"].nunique().to_dict() == {"batch18": 11, "cnndm0": 2}
    assert by_batch["item"].nunique().to_dict() == {"batch18": 104, "cnndm0": 45}
    assert real.comparisons["split"].value_counts().to_dict() == {"valid2": 944, "valid1": 120}
    sides = pd.concat([real.comparisons["left_policy"], real.comparisons["right_policy"]])
    assert sides.value_counts()["reference_summary"] == 321 + 217
    assert sides.value_counts()["sup4_6b_p.95"] == 290
    assert (real.comparisons["strength"].value_counts().sort_index().tolist()) == [
        82 + 67 + 101 + 126, 73 + 84 + 63 + 61, 46 + 45 + 24 + 19, 128 + 113 + 10 + 22
    ]  # fmt: skip
    assert real.left_out == {}


def test_real_confidence_agrees_with_choice_in_every_row(shared_data: Path) -> None:
    path = shared_data / "tldr_feedback" / "comparisons"
    tables = load(path, on_error="skip")
    assert sum(tables.left_out.values()) == 0
    assert tables.comparisons["strength"].notna().all()


def test_real_greedy_policy_has_one_text_a_post(real: Tables) -> None:
    # Why a sup4 name without a suffix is read as T = 0.
    texts = real.summaries[real.summaries["policy"] == "sup4_6b"]
    assert texts.groupby("post_id").size().max() == 1


@pytest.mark.parametrize(("batch", "agree", "pairs"), [("batch18", 43, 66), ("cnndm0", 129, 165)])
def test_real_agreement_on_identical_comparisons(
    batch: str, agree: int, pairs: int, real: Tables
) -> None:
    rows = real.sides(["text"], real.comparisons[real.comparisons["batch"] == batch])
    rows = rows[rows["left_text"] != rows["right_text"]]
    seen = same = 0
    votes: dict[frozenset[str], list[tuple[str, str]]] = {}
    for row in rows.itertuples():
        key = frozenset([row.left_text, row.right_text, str(row.post_id)])
        won = row.right_text if row.choice else row.left_text
        for labeler, other in votes.setdefault(key, []):
            if labeler != row.labeler:
                seen, same = seen + 1, same + (other == won)
        votes[key].append((row.labeler, won))
    assert (same, seen) == (agree, pairs)


def test_real_batch_twice_under_two_names(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "tldr_feedback" / "comparisons" / "cnndm0.json"
    text = source.read_text("utf-8")
    (tmp_path / "cnndm0.json").write_text(text)
    (tmp_path / "batch0_cnndm.json").write_text(text.replace('"cnndm0"', '"batch0_cnndm"'))
    once, twice = load(source), load(tmp_path)
    assert len(once.comparisons) == len(twice.comparisons) == 426
    assert twice.left_out == {"label repeated by the same labeler": 426}
