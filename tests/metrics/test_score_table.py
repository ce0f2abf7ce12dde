"""`score_summaries`: the same numbers as the single functions, NaN where nothing is defined."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer

from evalsuite import metrics
from evalsuite.errors import ConfigError, DataError
from evalsuite.metrics import columns_of, copying, extractive, rouge, score_summaries, tokens
from evalsuite.metrics import table as score_table
from evalsuite.tables import check, coerce

POSTS = {"p0": "the cat sat on the mat all day", "p1": "a dog ran far away from home", "p2": None}
ROWS = [
    ("p1", "sup", "a dog ran home"),
    ("p0", "reference_summary", "the cat sat"),
    ("p0", "sup", "cats sat on a mat"),
    (None, "sup", "no post at all"),
    ("p1", "reference_summary", "the dog left"),
    ("p2", "sup", "a post without text"),
    ("p2", "reference_summary", "text is missing here"),
    ("p0", "sup", "the cat sat"),
    ("p9", "sup", "a post nobody knows"),
    ("p1", "sup", None),
    ("p1", "sup", ""),
]


def summary_table(rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["post_id", "policy", "text"])
    frame["summary_id"] = [f"s{i}" for i in range(len(rows))]
    frame["chars"] = [7.0 if text is None else len(text) for _, _, text in rows]
    return coerce("summaries", frame)


@pytest.fixture
def summaries() -> pd.DataFrame:
    return summary_table(ROWS)


@pytest.fixture
def posts() -> pd.DataFrame:
    return coerce("posts", pd.DataFrame({"post_id": list(POSTS), "text": list(POSTS.values())}))


def test_same_numbers_as_the_single_functions(summaries, posts):
    scores = check("scores", score_summaries(summaries, posts))
    assert scores["summary_id"].tolist() == summaries["summary_id"].tolist()
    assert list(scores.columns[1:]) == [c for g in metrics.GROUPS for c in columns_of(g)]
    rows = [0, 1, 2, 4, 7, 10]  # have a text, and a post with text
    texts = [ROWS[i][2] for i in rows]
    sources = [POSTS[ROWS[i][0]] for i in rows]
    assert np.array_equal(scores.loc[rows, "copying"], copying(texts, sources), equal_nan=True)
    assert np.array_equal(
        scores.loc[rows, list(columns_of("extractive"))], extractive(texts, sources), equal_nan=True
    )
    rows, of = [0, 2, 5, 7, 10], [4, 1, 6, 1, 4]  # a model's text, a reference
    expected = rouge([ROWS[i][2] for i in rows], [ROWS[i][2] for i in of])
    assert np.array_equal(scores.loc[rows, list(columns_of("rouge"))], expected)
    # Text 7 repeats the reference word for word, but a model wrote it.
    assert scores.loc[7, "rouge2_f"] == 1


def test_undefined_is_nan(summaries, posts):
    scores = score_summaries(summaries, posts)
    references = [1, 4, 6]  # each the only one of its post: nothing to compare it with
    assert scores.loc[[*references, 3, 8, 9], list(columns_of("rouge"))].isna().all(axis=None)
    nothing_to_copy = scores.loc[[3, 5, 6, 8, 9], ["copying", *columns_of("extractive")]]
    assert nothing_to_copy.isna().all(axis=None)
    assert scores.loc[9, "chars"] == 7  # no text: the length that the data gave
    assert np.isnan(scores.loc[9, "words"])
    assert scores.loc[10, ["chars", "words", "rouge1_f"]].tolist() == [0, 0, 0]


def test_several_references_best_f1_for_each_measure(posts):
    texts = [
        "the cat sat on a mat",
        "the mat the cat sat down on",
        "cat",
        "the mat the cat sat down on",
    ]
    answer = "the mat sat on the cat"
    summaries = summary_table(
        [("p0", "reference_summary", text) for text in texts] + [("p0", "sup", answer)]
    )
    scores = score_summaries(summaries, posts, groups=["rouge"], stem=False)
    peer = RougeScorer(["rouge1", "rouge2", "rougeL"])

    def expect(row: int, references: list[str], text: str) -> None:
        for measure, best in peer.score_multi(references, text).items():
            got = scores.loc[row, [f"{measure}_{part}" for part in "prf"]].tolist()
            assert got == pytest.approx(list(best), rel=0, abs=1e-12)

    expect(4, texts, answer)
    # A reference meets the others, never its own text, even when another person wrote the same.
    expect(0, texts[1:], texts[0])
    expect(1, [texts[0], texts[2]], texts[1])


def test_references_of_the_user(summaries, posts):
    given = pd.DataFrame({"post_id": ["p1", "p7"], "text": ["a dog ran home", "unused"]})
    scores = score_summaries(summaries, posts, references=given, groups=["rouge"])
    assert scores.loc[0, "rougeL_f"] == 1
    assert scores.loc[4, "rouge1_f"] > 0  # now the human text is one among others
    assert np.isnan(scores.loc[2, "rouge1_f"])


@pytest.mark.parametrize("characters", [1, 30, 60])
def test_pieces_give_the_same(summaries, posts, monkeypatch, characters):
    whole = score_summaries(summaries, posts)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(score_table, "CHUNK_CHARACTERS", characters)
    pieces = score_summaries(summaries, posts, progress=lambda *step: seen.append(step))
    pd.testing.assert_frame_equal(pieces, whole)
    assert len(seen) > 1
    assert seen[-1] == (10, 10)  # one summary of eleven has no text
    assert seen == sorted(seen)


@pytest.mark.parametrize("characters", [1, 60, 10_000])
def test_each_text_is_tokenised_once(summaries, posts, monkeypatch, characters):
    seen: list[str] = []
    split = tokens.split
    monkeypatch.setattr(score_table, "CHUNK_CHARACTERS", characters)
    monkeypatch.setattr(tokens, "split", lambda text: seen.append(text) or split(text))
    score_summaries(summaries, posts)
    texts = {text for _, _, text in ROWS if text} | {text for text in POSTS.values() if text}
    assert sorted(text for text in seen if text) == sorted(texts)


def test_row_order_does_not_matter(summaries, posts, rng):
    whole = score_summaries(summaries, posts)
    order = rng.permutation(len(summaries))
    moved = score_summaries(summaries.iloc[order], posts.iloc[::-1])
    pd.testing.assert_frame_equal(moved, whole.iloc[order].reset_index(drop=True))


@pytest.mark.parametrize("group", metrics.GROUPS)
def test_one_group(summaries, posts, group):
    whole = score_summaries(summaries, posts)
    one = score_summaries(summaries, posts, groups=[group])
    pd.testing.assert_frame_equal(one, whole[["summary_id", *columns_of(group)]])


def test_tokens_of_a_tokenizer(summaries, posts):
    scores = score_summaries(summaries, posts, groups=["length"], tokenizer=str.split)
    assert list(scores.columns) == ["summary_id", "chars", "words", "tokens"]
    assert scores["tokens"].equals(scores["words"].rename("tokens"))


def test_no_summaries(summaries, posts):
    scores = score_summaries(summaries.iloc[:0], posts)
    assert len(scores) == 0
    assert scores["rouge1_f"].dtype == np.float64


def test_unknown_group(summaries, posts):
    with pytest.raises(ConfigError, match="metric group is 'roug'; allowed length, rouge, copying"):
        score_summaries(summaries, posts, groups=["roug"])


@pytest.mark.parametrize(
    ("table", "column"), [("summaries", "policy"), ("posts", "text"), ("references", "post_id")]
)
def test_missing_column(summaries, posts, table, column):
    tables = {"summaries": summaries, "posts": posts, "references": posts}
    tables[table] = tables[table].drop(columns=column)
    with pytest.raises(DataError, match=f"table {table} has no column '{column}'; allowed"):
        score_summaries(tables["summaries"], tables["posts"], references=tables["references"])
