"""The sample browser: one self-contained file in which the summaries of an experiment are read.

The reader wants to see what a policy wrote, what its reward model thought of it and what it was
truly worth. Posts stand beside their summaries; text, policy, size, seed and "proxy and truth
part" filter them; the address holds the view, so a view can be sent. Data is inside the file as
JSON, rows shown by the script in `templates/samples.js`; nothing is fetched.

Rewards of different objectives have no common scale, so both proxy and truth are put on that of
the references: proxy = (reward - mean) / sd over the rewards that the same objective gives the
references in the same seed, truth = (gold - mean) / sd over the gold of the references. The gap
is proxy less truth. They part where the proxy is at least `PROXY_HIGH` and the truth at most
`TRUTH_LOW`. NaN where there is no reward, or fewer than two references, or they are all equal.

What may be changed: the look, what is shown. What must stay: text is never markup, rows left out
are counted on the page, the same tables give the same file. `tests/report/test_browser.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evalsuite.errors import DataError
from evalsuite.experiment import Experiment
from evalsuite.records import REFERENCE_POLICY
from evalsuite.report.looks import policy_style
from evalsuite.report.render import data_block, write_html

PROXY_HIGH, TRUTH_LOW = 1.0, 0.0
"""In standard deviations of the references."""

MAX_BYTES = 12_000_000
"""Of data in one file: about what a phone still opens quickly."""

_POST = ("title", "section", "text", "reference")
_ROW = (
    "policy", "seed", "text", "gold", "reward", "kl_nats", "preferred", "expected", "chars",
    "proxy", "truth", "gap",
)  # fmt: skip
_DIGITS = 5


def build_browser(
    path: Path,
    experiment: Experiment,
    posts: pd.DataFrame,
    *,
    title: str,
    limit: int = 60,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Write the sample browser to `path`; return it.

    posts: a row a post, columns post_id, title, section, text, reference. limit: posts at most, a
    sample by a hash of their ids (so another run shows the same ones); fewer where their data
    would pass max_bytes. What is left out is counted on the page.

    Raises DataError when a column is missing, an id is there twice, or no post has a summary.
    """
    missing = [c for c in ("post_id", *_POST) if c not in posts.columns]
    if missing:
        raise DataError(
            f"posts have no column {missing[0]!r}", field=missing[0],
            allowed=", ".join(("post_id", *_POST)),
        )  # fmt: skip
    if posts["post_id"].duplicated().any():
        twice = posts.loc[posts["post_id"].duplicated(), "post_id"].iloc[0]
        raise DataError(f"post {twice!r} is there twice", field="post_id", allowed="a row a post")
    rows = standardised(experiment)
    rows = rows[(rows["policy"] != REFERENCE_POLICY) & rows["post_id"].isin(posts["post_id"])]
    if not len(rows):
        raise DataError("no post has a summary", allowed="summaries of the posts that are given")
    policies = _policies(experiment, rows)
    place = {name: i for i, name in enumerate(policies["policy"])}
    rows = rows.assign(policy=rows["policy"].map(place)).sort_values(["seed", "policy"])
    by_post = {str(name): group for name, group in rows.groupby("post_id", sort=False)}
    failed = _failed_probes(experiment)
    known = {str(row["post_id"]): row for row in posts.to_dict("records")}
    chosen: dict[str, dict[str, Any]] = {}
    size = 0
    for name in sorted(by_post, key=_digest)[:limit]:
        post = _post(name, known[name], by_post[name], failed.get(name, []))
        size += len(json.dumps(post, ensure_ascii=False).encode("utf-8", "replace"))
        if chosen and size > max_bytes:
            break
        chosen[name] = post
    shown = sum(len(by_post[name]) for name in chosen)
    order = [name for name in posts["post_id"] if name in chosen]
    data = {
        "unit": experiment.gold_unit,
        "columns": list(_ROW),
        "policies": [_plain(row) for row in policies.to_dict("records")],
        "posts": [chosen[name] for name in order],
        "high": PROXY_HIGH,
        "low": TRUTH_LOW,
    }
    return write_html(
        path,
        "samples.html.j2",
        styles=("base.css", "samples.css"),
        script="samples.js",
        title=title,
        data=data_block(data),
        unit=experiment.gold_unit,
        counts=_counts(len(chosen), len(by_post), shown, len(rows)),
        high=f"{PROXY_HIGH:g}",
        low=f"{TRUTH_LOW:g}",
    )


def standardised(experiment: Experiment) -> pd.DataFrame:
    """Summaries with the columns proxy, truth and gap, in standard deviations of the references."""
    rows = experiment["summaries"]
    objective = experiment["policies"].set_index("policy")["objective"]
    rows = rows.assign(objective=rows["policy"].map(objective).fillna(""))
    references = rows.drop_duplicates(["domain", "post_id"])
    truth = _standard(rows["gold"], references.groupby("domain")["gold_reference"], rows["domain"])
    keys = ["domain", "objective", "seed"]
    judged = rows.drop_duplicates([*keys, "post_id"]).groupby(keys)["reward_reference"]
    proxy = _standard(rows["reward"], judged, pd.MultiIndex.from_frame(rows[keys]))
    return rows.assign(proxy=proxy, truth=truth, gap=proxy - truth)


def _standard(values: pd.Series[float], references: Any, keys: Any) -> np.ndarray[Any, Any]:
    spread = references.std()
    mean = references.mean().reindex(keys).to_numpy()
    return np.asarray(
        (values.to_numpy() - mean) / spread.where(spread > 0).reindex(keys).to_numpy()
    )


def _policies(experiment: Experiment, rows: pd.DataFrame) -> pd.DataFrame:
    """Policies that wrote any of the rows, those of Fig. 1 first, then in the table's order."""
    table = experiment["policies"].drop_duplicates("policy").set_index("policy")
    names = [name for name in table.index if (rows["policy"] == name).any()]
    names += sorted(set(rows["policy"]) - set(names))
    table = table.reindex(names)
    readable = [policy_style(name).label for name in table.index]
    given = table["label"].fillna("")
    table["label"] = given.where((given != "") & (given != table.index), readable)
    table[["method", "size", "objective"]] = table[["method", "size", "objective"]].fillna("")
    table = table.sort_values("main", ascending=False, kind="stable", na_position="last")
    columns = ["policy", "label", "method", "size", "objective"]
    return table.rename_axis("policy").reset_index()[columns]


def _post(name: str, post: dict[Any, Any], rows: pd.DataFrame, failed: list[str]) -> dict[str, Any]:
    first = rows.iloc[0]
    return {
        "id": name,
        **{key: "" if pd.isna(post[key]) else str(post[key]) for key in _POST},
        "domain": str(first["domain"]),
        "gold": _value(first["gold_reference"]),
        "failed": failed,
        "rows": [[_value(v) for v in row] for row in rows[list(_ROW)].itertuples(index=False)],
    }


def _failed_probes(experiment: Experiment) -> dict[str, list[str]]:
    """By post: reward models that preferred the worse side of a probe, in words.

    Probes of which the truth says otherwise do not count, nor do other members of an ensemble.
    """
    rows = experiment["probes"]
    meant = (rows["gold_gap"] > 0) | rows["gold_gap"].isna()
    wrong = rows[(rows["prefers"] == 0) & meant & (rows["member"].fillna(0) == 0)]
    found: dict[str, list[str]] = {}
    for post, model, probe in zip(wrong["post_id"], wrong["model"], wrong["probe"], strict=True):
        found.setdefault(post, []).append(f"{probe}: {model}")
    return {post: sorted(words) for post, words in found.items()}


def _counts(posts: int, all_posts: int, rows: int, all_rows: int) -> str:
    words = f"{rows:,} summaries of {posts:,} posts"
    if posts == all_posts:
        return f"{words}: all there are."
    return (
        f"{words}. Left out to keep the file small: {all_rows - rows:,} summaries of "
        f"{all_posts - posts:,} posts, chosen by a hash of their ids."
    )


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(record: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): _value(value) for key, value in record.items()}


def _value(value: object) -> object:
    """JSON has no NaN; five digits are more than anybody reads."""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else None
    if isinstance(value, np.integer):
        return int(value)
    return "" if value is None else str(value) if not isinstance(value, int) else value
