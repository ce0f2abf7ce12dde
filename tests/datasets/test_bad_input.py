"""What a user sees for bad input: one line that says where, what and what is allowed.

Each case goes through the real command. REFUSED: exit code 2, exactly this message, nothing
written. ACCEPTED: odd but readable, with the rows that come out. Messages are spelled out by hand.
"""

# ruff: noqa: E501 - a table, one case a line

from __future__ import annotations

import copy
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from evalsuite.datasets import load

Command = Callable[..., tuple[int, str, str]]
GOOD: dict[str, Any] = {
    "info": {"id": "t3_1", "post": "A post.", "title": "A title", "subreddit": "tifu"},
    "split": "valid2",
    "summaries": [
        {"text": " one", "policy": "sup4_6b_t0.7", "note": "ok"},
        {"text": " two", "policy": "ref", "note": None},
    ],
    "choice": 0,
    "worker": "w1",
    "batch": "batch18",
    "extra": {"confidence": 2},
}
RATED: dict[str, Any] = {
    "info": GOOD["info"],
    "split": "test",
    "summary": {"text": " one", "policy": "ref", "note": "", "axes": {"overall": 7}},
    "worker": "w1",
    "batch": "tldraxis1",
}
PAIR = {"chosen": "good", "rejected": "bad"}
OWN = {"left": "a", "right": "b", "left_policy": "m", "right_policy": "n", "choice": 0.5}
ALPACA = {
    "policy": "m", "prompt_id": "0", "baseline_chars": 10, "policy_chars": 20, "preference": 0.4
}  # fmt: skip
SUMMEVAL = {
    "id": "dm-1", "text": "An article.", "decoded": "A summary.", "model_id": "M1",
    "references": ["A reference."], "expert_annotations": [{"coherence": 3}],
    "turker_annotations": [],
}  # fmt: skip
POSTS = {"post": "A post.", "reference_summary": "r", "summary": "s", "judge_prefers": None}
FORMATS = (
    "those of release, own, pairs, posts, summeval, alpaca_eval (`evalsuite data check --help` "
    "lists them), or your own columns through --map"
)
KINDS = ".json, .jsonl, .ndjson, .csv, .parquet, each perhaps with .gz"
CHOICES = (
    "0 (left) to 1 (right), left, right, a, b, model_a, model_b, tie, a policy's name, or say what "
    "yours mean with --choice"
)
TWO = "two summaries {text, policy}"
DROP = object()


def line(row: object) -> bytes:
    return json.dumps(row).encode() + b"\n"


def changed(row: dict[str, Any], path: str, value: object) -> bytes:
    """The row with the field at a dotted path set to `value`, as a line; DROP removes it."""
    row = copy.deepcopy(row)
    inner: Any = row
    *outer, last = path.split(".")
    for key in outer:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    if value is DROP:
        del inner[last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return line(row)


class Case(NamedTuple):
    """A file's name and bytes, what the command says, and further arguments."""

    id: str
    file: str
    data: bytes
    says: str
    args: tuple[str, ...] = ()


def in_second_line(id: str, bad: bytes, says: str, good: dict[str, Any] = GOOD) -> Case:
    return Case(id, "x.jsonl", line(good) + bad, f"x.jsonl:2: {says}")


def release(id: str, path: str, value: object, says: str) -> Case:
    return in_second_line(id, changed(GOOD, path, value), says)


SIDES = "allowed 1 to 4 with choice 0, 6 to 9 with choice 1"
NAME = "allowed a name, a whole number or nothing"
NUMBER = "allowed a whole number from 1 to 9"
JSON = "allowed one JSON object a line"
CSV = b"left,right,left_policy,right_policy,choice\n"

REFUSED = [
    # Lines that are not rows
    in_second_line("truncated json", line(GOOD)[:70], "not JSON (Unterminated string starting at column 64); " + JSON),
    in_second_line("two objects on a line", line(GOOD).strip() * 2, f"not JSON (Extra data at column {len(line(GOOD))}); {JSON}"),
    in_second_line("plain text", b"hello\n", f"not JSON (Expecting value at column 1); {JSON}"),
    in_second_line("list at top level", b"[1, 2]\n", "row is [1, 2]; allowed a JSON object"),
    in_second_line("number at top level", b"7\n", "row is 7; allowed a JSON object"),
    in_second_line("null at top level", b"null\n", "row is None; allowed a JSON object"),
    in_second_line("invalid utf-8", line(GOOD).replace(b"A post", b"A \xff"), "byte 0xff at column 36 is not UTF-8; allowed text in UTF-8"),
    in_second_line("lone surrogate", line(GOOD).replace(b"A post", b"A \\ud83d"), r"text with half a character (\ud83d alone); allowed whole Unicode characters"),
    in_second_line("nul bytes", b"\x00" * 9 + b"\n", f"not JSON (Expecting value at column 1); {JSON}"),
    in_second_line("raw control character in a string", line(GOOD).replace(b"A post", b"A \x01"), f"not JSON (Invalid control character at column 36); {JSON}"),
    in_second_line("nested too deeply", b'{"a":' * 100_000 + b"\n", f"not JSON (nested too deeply, or a number too long); {JSON}"),
    Case("utf-16", "x.json", json.dumps(GOOD).encode("utf-16"), "x.json:1: byte 0xff at column 1 is not UTF-8; allowed text in UTF-8"),
    Case("array of numbers", "x.json", b"[1, 2]", "x.json, item 1: row is 1; allowed a JSON object"),
    Case("bad row in an array", "x.json", b"[" + line(GOOD) + b"," + changed(GOOD, "choice", 2) + b"]", "x.json, item 2: choice is 2; allowed 0 or 1"),
    Case("array cut off", "x.json", b"[" + line(GOOD) + b",\n", f"x.json:1: not JSON (Expecting ',' delimiter at column {len(line(GOOD)) + 1}); {JSON}"),
    Case("empty object", "x.json", b"{}", f"x.json:1: fields of no known format (nothing); allowed {FORMATS}"),
    Case("unknown fields of a wide table", "x.csv", b",".join(b"c%d" % i for i in range(40)) + b"\n" + b"0," * 39 + b"0\n", f"x.csv:2: fields of no known format (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, ...); allowed {FORMATS}"),
    Case("unknown fields", "x.json", b'{"a": 1, "b": 2}', f"x.json:1: fields of no known format (a, b); allowed {FORMATS}"),
    # The release: comparisons
    release("choice out of range", "choice", 2, "choice is 2; allowed 0 or 1"),
    release("choice negative", "choice", -1, "choice is -1; allowed 0 or 1"),
    release("choice a tie", "choice", 0.5, "choice is 0.5; allowed 0 or 1"),
    release("choice boolean", "choice", True, "choice is True; allowed 0 or 1"),
    release("choice a string", "choice", "1", "choice is '1'; allowed 0 or 1"),
    release("choice null", "choice", None, "choice is None; allowed 0 or 1"),
    release("choice NaN", "choice", float("nan"), "choice is nan; allowed 0 or 1"),
    release("choice infinite", "choice", float("inf"), "choice is inf; allowed 0 or 1"),
    release("choice a list", "choice", [0], "choice is [0]; allowed 0 or 1"),
    release("choice missing", "choice", DROP, "choice is missing; allowed 0 or 1"),
    release("one summary", "summaries", GOOD["summaries"][:1], f"summaries has length 1; allowed {TWO}"),
    release("three summaries", "summaries", [GOOD["summaries"][0]] * 3, f"summaries has length 3; allowed {TWO}"),
    release("summaries an object", "summaries", {}, f"summaries is {{}}; allowed {TWO}"),
    release("summaries of strings", "summaries", ["a", "b"], "summaries[0] is 'a'; allowed a JSON object {text, policy}"),
    release("summary text null", "summaries.1.text", None, "summaries[1].text is None; allowed a string"),
    release("summary text a number", "summaries.0.text", 5, "summaries[0].text is 5; allowed a string"),
    release("summary text missing", "summaries.0.text", DROP, "summaries[0].text is missing; allowed a string"),
    release("policy empty", "summaries.1.policy", "", "summaries[1].policy is ''; allowed a non-empty string"),
    release("policy missing", "summaries.1.policy", DROP, "summaries[1].policy is missing; allowed a non-empty string"),
    release("post empty", "info.post", "", "info.post is ''; allowed a non-empty string"),
    release("post only white space", "info.post", " \n", r"info.post is ' \n'; allowed a non-empty string"),
    release("post null", "info.post", None, "info.post is None; allowed a non-empty string"),
    release("post missing", "info.post", DROP, "info.post is missing; allowed a non-empty string"),
    release("title a list", "info.title", ["a"], "info.title is ['a']; allowed a string or nothing"),
    release("info a string", "info", "t3_1", "info is 't3_1'; allowed a JSON object"),
    release("info missing", "info", DROP, "info is missing; allowed a JSON object"),
    release("worker a boolean", "worker", True, f"worker is True; {NAME}"),
    release("worker a fraction", "worker", 2.5, f"worker is 2.5; {NAME}"),
    release("worker infinite", "worker", float("inf"), f"worker is inf; {NAME}"),
    release("batch an object", "batch", {"a": 1}, f"batch is {{'a': 1}}; {NAME}"),
    release("id a boolean", "info.id", False, f"info.id is False; {NAME}"),
    release("confidence 0", "extra.confidence", 0, f"extra.confidence is 0; {NUMBER}"),
    release("confidence 10", "extra.confidence", 10, f"extra.confidence is 10; {NUMBER}"),
    release("confidence 5", "extra.confidence", 5, f"extra.confidence is 5 but choice is 0; {SIDES}"),
    release("confidence against choice", "extra.confidence", 8, f"extra.confidence is 8 but choice is 0; {SIDES}"),
    release("confidence a fraction", "extra.confidence", 2.5, f"extra.confidence is 2.5; {NUMBER}"),
    release("confidence a string", "extra.confidence", "2", f"extra.confidence is '2'; {NUMBER}"),
    release("confidence a list", "extra.confidence", [2], f"extra.confidence is [2]; {NUMBER}"),
    release("confidence NaN", "extra.confidence", float("nan"), f"extra.confidence is nan; {NUMBER}"),
    release("extra a list", "extra", [2], "extra is [2]; allowed a JSON object"),
    in_second_line("long value is cut", changed(GOOD, "worker", list(range(99))), f"worker is [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16...; {NAME}"),
    # The release: ratings
    in_second_line("rating 8", changed(RATED, "summary.axes.overall", 8), "axes.overall is 8; allowed a number from 1 to 7", RATED),
    in_second_line("rating a string", changed(RATED, "summary.axes.overall", "7"), "axes.overall is '7'; allowed a number from 1 to 7", RATED),
    in_second_line("rating boolean", changed(RATED, "summary.axes.overall", True), "axes.overall is True; allowed a number from 1 to 7", RATED),
    in_second_line("no axis rated", changed(RATED, "summary.axes", {"overall": None}), "summary.axes is {'overall': None}; allowed at least one axis rated 1 to 7", RATED),
    in_second_line("axes missing", changed(RATED, "summary.axes", DROP), "summary.axes is missing; allowed a JSON object", RATED),
    # Other formats
    in_second_line("mixed formats", line(PAIR), "a row of format pairs among rows of format release; allowed one format a file"),
    in_second_line("chosen null", changed(PAIR, "chosen", None), "chosen is None; allowed a string or a list of messages {role, content}", PAIR),
    in_second_line("rejected an empty list", changed(PAIR, "rejected", []), "rejected is []; allowed a string or a list of messages {role, content}", PAIR),
    in_second_line("message a string", changed(PAIR, "chosen", ["hi"]), "chosen[0] is 'hi'; allowed a message {role, content}", PAIR),
    in_second_line("message without content", changed(PAIR, "chosen", [{"role": "user"}]), "chosen[0].content is missing; allowed a string", PAIR),
    in_second_line("chosen policy a number", line(PAIR | {"chosen_policy": 1}), "chosen_policy is 1; allowed a non-empty string", PAIR),
    in_second_line("unknown verdict", changed(POSTS, "judge_prefers", "left"), "judge_prefers is 'left'; allowed 'summary', 'reference_summary' or nothing", POSTS),
    in_second_line("reference null", changed(POSTS, "reference_summary", None), "reference_summary is None; allowed a string", POSTS),
    in_second_line("rating 6 of 5", changed(SUMMEVAL, "expert_annotations.0.coherence", 6), "expert_annotations[0].coherence is 6; allowed a number from 1 to 5", SUMMEVAL),
    in_second_line("annotation a number", changed(SUMMEVAL, "expert_annotations.0", 3), "expert_annotations[0] is 3; allowed an object {axis: 1 to 5}", SUMMEVAL),
    in_second_line("annotations null", changed(SUMMEVAL, "turker_annotations", None), "turker_annotations is None; allowed a list of {axis: 1 to 5}", SUMMEVAL),
    in_second_line("nobody rated", changed(SUMMEVAL, "expert_annotations", []), "no rating; allowed a list in ['expert_annotations', 'turker_annotations']", SUMMEVAL),
    in_second_line("references a string", changed(SUMMEVAL, "references", "r"), "references is 'r'; allowed a list of strings", SUMMEVAL),
    in_second_line("article missing", changed(SUMMEVAL, "text", DROP), "text is missing; allowed a non-empty string", SUMMEVAL),
    in_second_line("preference 1.5", changed(ALPACA, "preference", 1.5), "preference is 1.5; allowed a number from 0 to 1", ALPACA),
    in_second_line("length negative", changed(ALPACA, "policy_chars", -1), "policy_chars is -1; allowed a number from 0 to 1e+09", ALPACA),
    in_second_line("length a fraction", changed(ALPACA, "policy_chars", 1.5), "policy_chars is 1.5; allowed a whole number from 0 to 1000000000", ALPACA),
    in_second_line("prompt id missing", changed(ALPACA, "prompt_id", DROP), "prompt_id is missing; allowed the prompt's number or name", ALPACA),
    in_second_line("own choice a word", changed(OWN, "choice", "both bad"), f"choice is 'both bad'; allowed {CHOICES} VALUE=left", OWN),
    in_second_line("own choice a string number", changed(OWN, "choice", "1"), f"choice is '1'; allowed {CHOICES} VALUE=left", OWN),
    in_second_line("own choice boolean", changed(OWN, "choice", True), f"choice is True; allowed {CHOICES} true=left --choice false=right if that is what they mean", OWN),
    in_second_line("own choice null", changed(OWN, "choice", None), f"choice is None; allowed {CHOICES} VALUE=left", OWN),
    in_second_line("own choice NaN", changed(OWN, "choice", float("nan")), f"choice is nan; allowed {CHOICES} VALUE=left", OWN),
    in_second_line("own choice a list", changed(OWN, "choice", [0]), f"choice is [0]; allowed {CHOICES} VALUE=left", OWN),
    in_second_line("own choice missing", changed(OWN, "choice", DROP), f"choice is missing; allowed {CHOICES} VALUE=left", OWN),
    in_second_line("own labeler a boolean", line(OWN | {"labeler": True}), f"labeler is True; {NAME}", OWN),
    in_second_line("own group a fraction", line(OWN | {"group": 2.5}), f"group is 2.5; {NAME}", OWN),
    in_second_line("own split a list", line(OWN | {"split": ["a"]}), f"split is ['a']; {NAME}", OWN),
    in_second_line("own strength 2.5", line(OWN | {"strength": 2.5}), "strength is 2.5; allowed 1, 2, 3, 4 or nothing", OWN),
    in_second_line("own strength 9", line(OWN | {"strength": 9}), "strength is 9; allowed a number from 1 to 4", OWN),
    in_second_line("own post empty", line(OWN | {"post": ""}), "post is ''; allowed a non-empty string", OWN),
    in_second_line("own text missing", changed(OWN, "left", DROP), "left is missing; allowed a string", OWN),
    # Tables and maps
    Case("csv with a ragged row", "x.csv", CSV + b"a,b,m,n,1\na,b,m\n", "x.csv:3: 3 cells under 5 column names; allowed 5 cells"),
    Case("csv with an open quote", "x.csv", CSV + b'a,"b,m,n,1\n', "x.csv:2: not CSV (unexpected end of data); allowed cells with quotes closed"),
    Case("csv with a column twice", "x.csv", b"a,b,a\n1,2,3\n", "x.csv: column 'a' stands twice in the first line"),
    Case("csv with semicolons", "x.csv", b"left;right;choice\na;b, c;1\n", "x.csv: the header has ';' and no comma; allowed comma-separated columns"),
    Case("csv with quotes and semicolons", "x.csv", b'\xef\xbb\xbf"left";"right"\n"a";"b"\n', "x.csv: the header has ';' and no comma; allowed comma-separated columns"),
    Case("csv with tabs", "x.csv", b"left\tright\tchoice\n", "x.csv: the header has a tab and no comma; allowed comma-separated columns", ("--map", "choice=vote")),
    Case("csv with bars", "x.csv", b"left|right|choice\na|b|1\n", "x.csv: the header has '|' and no comma; allowed comma-separated columns"),
    Case("csv not utf-8", "x.csv", CSV + b"caf\xe9,b,m,n,1\n", "x.csv:2: bytes that are not UTF-8; allowed text in UTF-8"),
    Case("csv without a row", "x.csv", CSV, "x.csv: file has no row; allowed at least one row"),
    Case("csv cell not a number", "x.csv", CSV + b"a,b,m,n,maybe\n", f"x.csv:2: choice is 'maybe'; allowed {CHOICES} VALUE=left"),
    Case("csv choice 2", "x.csv", CSV + b"a,b,m,n,1\na,b,m,n,2\n", f"x.csv:3: choice is '2'; allowed {CHOICES} 2=right"),
    Case("own choice 2", "x.jsonl", line(OWN) + line(OWN | {"choice": 2}), f"x.jsonl:2: choice is 2; allowed {CHOICES} 2=right", ("--format", "own")),
    Case("own choice -1", "x.jsonl", line(OWN | {"choice": -1}), f"x.jsonl:1: choice is -1; allowed {CHOICES} -1=left"),
    Case("choice with two meanings", "x.csv", CSV + b"a,b,B,A,a\n", "x.csv:2: choice is 'a', one side as a word or number, the other as a name; allowed a choice with one meaning"),
    Case("choice map without a side", "x.csv", CSV, "choice map is '2=both'; allowed VALUE=left, =right or =tie", ("--choice", "2=both")),
    Case("choice map with another format", "x.csv", CSV, "a choice map is for your own data; format is 'pairs', allowed own", ("--choice", "2=left", "--format", "pairs")),
    Case("csv without policy", "x.csv", b"left,right,choice\na,b,1\n", "x.csv:2: left_policy is missing; allowed a non-empty string", ("--format", "own")),
    Case("map of a missing column", "x.csv", CSV + b"a,b,m,n,1\n", "x.csv:2: row has no 'vote' (mapped to choice); it has left, right, left_policy, right_policy, choice; allowed a row with the mapped columns vote", ("--map", "choice=vote")),
    Case("map of a key that one row lacks", "x.jsonl", line({"good": "a", "bad": "b"}) + line({"good": "a"}), "x.jsonl:2: row has no 'bad' (mapped to rejected); it has good; allowed a row with the mapped columns good, bad", ("--map", "chosen=good", "--map", "rejected=bad")),
    Case("map of a key of a wide row", "x.jsonl", line({f"c{i}": 0 for i in range(40)}), "x.jsonl:1: row has no 'vote' (mapped to choice); it has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, ...; allowed a row with the mapped columns vote", ("--map", "choice=vote")),
    Case("map of a key of an empty row", "x.jsonl", b"{}", "x.jsonl:1: row has no 'vote' (mapped to choice); it has nothing; allowed a row with the mapped columns vote", ("--map", "choice=vote")),
    Case("mapped pair without rejected", "x.csv", b"good,bad\na,b\n", "x.csv:2: rejected is missing; allowed a string or a list of messages {role, content}", ("--map", "chosen=good")),
    Case("map of pairs and of sides", "x.csv", CSV, "a map of chosen and of choice; allowed pairs (chosen, rejected) or sides (left, right)", ("--map", "chosen=a", "--map", "choice=b")),
    Case("map of pairs and of choices", "x.csv", CSV, "a map of chosen and of choices; allowed pairs (chosen, rejected) or sides (left, right)", ("--map", "chosen=a", "--choice", "1=left")),
    Case("mapped row that looks like another format", "x.jsonl", line(PAIR | {"l": 1, "r": "b", "p": "m", "q": "n", "c": 1}), "x.jsonl:1: left is 1; allowed a string", ("--map", "left=l", "--map", "right=r", "--map", "left_policy=p", "--map", "right_policy=q", "--map", "choice=c")),
    Case("map of an unknown field", "x.csv", CSV, "unknown field 'chioce' (did you mean 'choice'?); allowed left, right, left_policy, right_policy, choice, chosen, rejected, summary, policy, axis, value, post, title, section, domain, source_id, labeler, batch, split, strength, group, left_chars, right_chars, chosen_policy, rejected_policy, chosen_chars, rejected_chars, chars, low, high", ("--map", "chioce=vote")),
    Case("map without =", "x.csv", CSV, "map is 'choice'; allowed field=column", ("--map", "choice")),
    Case("field mapped twice", "x.csv", CSV, "field 'choice' is mapped twice, to 'a' and 'b'", ("--map", "choice=a", "--map", "choice=b")),
    Case("map with another format", "x.csv", CSV, "a field map is for your own data; format is 'pairs', allowed own", ("--map", "choice=a", "--format", "pairs")),
    Case("unknown format", "x.json", line(GOOD), "format is 'openai'; allowed auto, release, own, pairs, posts, summeval, alpaca_eval", ("--format", "openai")),
    Case("wrong format", "x.json", line(PAIR), "x.json:1: a row of format pairs among rows of format release; allowed one format a file", ("--format", "release")),
    Case("parquet that is not", "x.parquet", line(GOOD), "x.parquet: is not parquet, or damaged"),
    # Files and folders
    Case("empty file", "x.json", b"", "x.json: file has no row; allowed at least one row"),
    Case("only blank lines", "x.json", b"\n \n\r\n", "x.json: file has no row; allowed at least one row"),
    Case("empty gz", "x.json.gz", gzip.compress(b""), "x.json.gz: file has no row; allowed at least one row"),
    Case("truncated gz", "x.json.gz", gzip.compress(line(GOOD) * 50)[:-20], "x.json.gz: gzip data ends early"),
    Case("gz that is not", "x.json.gz", line(GOOD), "x.json.gz: is not gzip data, as its name says"),
    Case("damaged gz", "x.json.gz", gzip.compress(line(GOOD))[:12] + b"\xff" * 40, "x.json.gz: gzip data is damaged"),
    Case("unknown suffix", "x.txt", line(GOOD), f"x.txt: file of unknown kind; allowed {KINDS}"),
]  # fmt: skip


def test_enough_kinds() -> None:
    assert len(REFUSED) + len(ACCEPTED) >= 60
    assert len({case.id for case in REFUSED}) == len(REFUSED)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refused(
    case: Case,
    tmp_path: Path,
    command: Command,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / case.file).write_bytes(case.data)
    out = tmp_path / "out"
    args = ("data", "check", str(folder / case.file), "--on-error", "raise", "--out", str(out))
    code, stdout, stderr = command(*args, *case.args)
    assert stderr == f"error: {case.says}\n"
    assert (code, stdout) == (2, "")
    assert not out.exists() or not list(out.iterdir())


IN_ROWS = [c for c in REFUSED if c.says.startswith("x.jsonl:2: ") and not c.args]


@pytest.mark.parametrize("case", IN_ROWS, ids=lambda case: case.id)
def test_skipped_rows_are_counted_and_written(case: Case, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(case.data)
    rejected = tmp_path / "rejected.jsonl"
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "x.jsonl").write_bytes(case.data.splitlines(keepends=True)[0])
    tables = load(tmp_path / "x.jsonl", on_error="skip", rejected_path=rejected)
    good = load(alone)
    pd.testing.assert_frame_equal(tables.comparisons, good.comparisons)
    pd.testing.assert_frame_equal(tables.ratings, good.ratings)
    pd.testing.assert_frame_equal(tables.summaries, good.summaries)
    pd.testing.assert_frame_equal(tables.posts, good.posts)
    assert sum(tables.left_out.values()) == 1
    (row,) = [json.loads(text) for text in rejected.read_text("utf-8").splitlines()]
    assert (row["file"], row["line"], row["reason"]) == ("x.jsonl", 2, case.says)


class Odd(NamedTuple):
    """An odd file that is read all the same, and how many comparisons come out."""

    id: str
    file: str
    data: bytes
    comparisons: int
    args: tuple[tuple[str, Any], ...] = ()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(rows).to_parquet(buffer)
    return buffer.getvalue()


OTHER = changed(GOOD, "choice", 1).replace(b'"confidence": 2', b'"confidence": 9')
PRETTY = json.dumps([GOOD, json.loads(OTHER)], indent=2).encode()
BIG = changed(GOOD, "info.post", "word " * 2_000_000)

ACCEPTED = [
    Odd("byte order mark", "x.json", b"\xef\xbb\xbf" + line(GOOD) + OTHER, 2),
    Odd("crlf", "x.json", (line(GOOD) + OTHER).replace(b"\n", b"\r\n"), 2),
    Odd("no newline at the end", "x.json", (line(GOOD) + OTHER).rstrip(), 2),
    Odd("blank lines between", "x.json", line(GOOD) + b"\n\n" + OTHER + b"\n", 2),
    Odd("array on one line", "x.json", b"[" + line(GOOD).strip() + b"," + OTHER.strip() + b"]", 2),
    Odd("pretty-printed array", "x.json", PRETTY, 2),
    Odd("pretty-printed array with a mark", "x.json", b"\xef\xbb\xbf" + PRETTY, 2),
    Odd("pretty-printed object", "x.json", json.dumps(GOOD, indent=2).encode(), 1),
    Odd("gz", "x.json.gz", gzip.compress(line(GOOD) + OTHER), 2),
    Odd("gz without the suffix", "x.json", gzip.compress(line(GOOD) + OTHER), 2),
    Odd("two gz members", "x.json.gz", gzip.compress(line(GOOD)) + gzip.compress(OTHER), 2),
    Odd("suffix in capitals", "X.JSONL", line(GOOD), 1),
    Odd("line of 10 MB", "x.json", BIG + OTHER, 2),
    Odd("empty texts", "x.json", changed(GOOD, "summaries.0.text", "  "), 1),
    Odd("identical texts", "x.json", changed(GOOD, "summaries.0.text", "two"), 1),
    Odd("duplicate rows of a labeler", "x.json", line(GOOD) * 3, 1),
    Odd("duplicate rows of nobody", "x.json", changed(GOOD, "worker", None) * 3, 3),
    Odd("no confidence", "x.json", changed(GOOD, "extra", {}), 1),
    Odd("extra missing", "x.json", changed(GOOD, "extra", DROP), 1),
    Odd("confidence null", "x.json", changed(GOOD, "extra.confidence", None), 1),
    Odd("worker a number", "x.json", changed(GOOD, "worker", 3), 1),
    Odd("worker empty, so nobody", "x.json", changed(GOOD, "worker", "") * 3, 3),
    Odd("no id, as in edit batches", "x.json", changed(GOOD, "info.id", DROP), 1),
    Odd("fields nobody asked for", "x.json", line(GOOD | {"more": {"a": [1, None]}}), 1),
    Odd("escaped NUL in a text", "x.json", changed(GOOD, "info.post", "a\x00b"), 1),
    Odd("any script", "x.json", changed(GOOD, "info.post", "\u0627\u0644\u0633\U0001f600"), 1),
    Odd("csv with quotes and line breaks", "x.csv", CSV + b'"a,\n""b""",b,m,n,1\n', 1),
    Odd("csv with a mark and crlf", "x.csv", b"\xef\xbb\xbf" + CSV + b"a,b,m,n,tie\r\n", 1),
    Odd("csv with an empty text", "x.csv", CSV + b",b,m,n,1\n", 1),
    Odd("csv cell of 10 MB", "x.csv", CSV + b"a" * 10_000_000 + b",b,m,n,1\n", 1),
    Odd("parquet", "x.parquet", parquet([OWN, OWN]), 2),
    Odd("parquet of the release", "x.parquet", parquet([GOOD]), 1),
    Odd("map", "x.csv", b"l,right,left_policy,right_policy,v\na,b,m,n,0\n", 1,
        (("field_map", {"left": "l", "choice": "v"}),)),
    Odd("all ties", "x.json", line(OWN) * 4, 4),
    Odd("one policy", "x.json", line(OWN | {"right_policy": "m"}), 1),
]  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_accepted(case: Odd, tmp_path: Path) -> None:
    path = tmp_path / case.file
    path.write_bytes(case.data)
    assert len(load(path, **dict(case.args)).comparisons) == case.comparisons
