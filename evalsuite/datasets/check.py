"""What a set of tables holds, as one tidy table: what `evalsuite data check` prints.

It counts and never judges: thresholds and intervals are the business of analyses. A count may be
added as a row. Proved by tests/datasets/test_check.py.
"""

from __future__ import annotations

import pandas as pd

from evalsuite.datasets.build import REPEATED
from evalsuite.datasets.pairs import POLICIES, UNKNOWN
from evalsuite.tables import Tables

_NAMING = f"columns {POLICIES} name them; for posts summary_policy"
MOST = 30
"""Values of a column listed by name; the rest are one row."""


def describe(tables: Tables) -> pd.DataFrame:
    """Counts of everything worth knowing before an analysis.

    Returns columns `section` (what it is about), `item`, `count`, in reading order. An empty text
    has nothing but white space; identical pairs have the same text left and right; a repeated
    pair is one that more than one label is about, whatever the sides.
    """
    c, r, s = tables.comparisons, tables.ratings, tables.summaries
    rows: list[tuple[str, str, int]] = [
        ("rows", "posts", len(tables.posts)),
        ("rows", "policies", len(tables.policies)),
        ("rows", "summaries", len(s)),
        ("rows", "comparisons", len(c)),
        ("rows", "ratings", len(r)),
        ("rows", "labelers", pd.concat([c["labeler"], r["labeler"]]).nunique()),
    ]
    rows += [("files", f"{x.name} ({x.format})", x.rows) for x in tables.sources]
    for name, table in (("comparisons", c), ("ratings", r)):
        for column in ("domain", "batch", "split", "labeler", "axis"):
            if column in table and table[column].notna().any():
                rows += _values(f"{name} by {column}", table[column])
    sides = pd.concat([c["left_policy"], c["right_policy"]])
    rows += _values("sides of comparisons by policy", sides)
    if unknown := int((c[["left_policy", "right_policy"]] == UNKNOWN).any(axis=1).sum()):
        rows.append(("policies", f"comparisons whose policies are not stated ({_NAMING})", unknown))
    rows += _values("ratings by policy", r["policy"])
    rows += _choices(tables)
    rows += _texts(tables)
    rows += [("left out", reason, count) for reason, count in tables.left_out.items()]
    return pd.DataFrame(rows, columns=["section", "item", "count"])


def _values(section: str, column: pd.Series) -> list[tuple[str, str, int]]:
    counts = column.value_counts()
    rows = [(section, str(name), int(n)) for name, n in counts.iloc[:MOST].items()]
    if len(counts) > MOST:
        rows.append((section, f"{len(counts) - MOST} more", int(counts.iloc[MOST:].sum())))
    if len(column) and column.isna().any():
        rows.append((section, "(not stated)", int(column.isna().sum())))
    return rows


def _choices(tables: Tables) -> list[tuple[str, str, int]]:
    c = tables.comparisons
    if not len(c):
        return []
    section = "choices"
    rows = [
        (section, "repeated by the same labeler (left out)", tables.left_out.get(REPEATED, 0)),
        (section, "left", int((c["choice"] == 0).sum())),
        (section, "right", int((c["choice"] == 1).sum())),
        (section, "tie", int((c["choice"] == 0.5).sum())),
        (section, "soft (neither 0, 0.5 nor 1)", int((~c["choice"].isin([0, 0.5, 1])).sum())),
    ]
    strength = c["strength"].value_counts().sort_index()
    rows += [("confidence", f"strength {int(v)}", int(n)) for v, n in strength.items()]  # type: ignore[call-overload]
    rows.append(("confidence", "not stated", int(c["strength"].isna().sum())))
    against = sum(n for why, n in tables.left_out.items() if why == "refused: extra.confidence")
    rows.append(("confidence", "against the choice, or off the scale (refused)", against))
    return rows


def _texts(tables: Tables) -> list[tuple[str, str, int]]:
    c, s = tables.comparisons, tables.summaries
    section = "texts"
    rows = [
        (section, "empty summaries", int((s["chars"] == 0).sum())),
        (section, "summaries without text", int(s["text"].isna().sum())),
        (section, "summaries without a post", int(s["post_id"].isna().sum())),
        (section, "texts that two policies share on a post", _shared(s)),
    ]
    if len(c):
        sides = tables.sides(["text"])
        same = sides["left_text"].notna() & (sides["left_text"] == sides["right_text"])
        rows.append((section, "comparisons of identical texts", int(same.sum())))
        first = c["left_id"].where(c["left_id"] <= c["right_id"], c["right_id"])
        second = c["right_id"].where(c["left_id"] <= c["right_id"], c["left_id"])
        pairs = pd.DataFrame({"item": c["item"], "a": first, "b": second})
        repeats = int(pairs.duplicated(keep=False).sum())
        rows.append((section, "labels on pairs with more than one label", repeats))
    return rows


def _shared(summaries: pd.DataFrame) -> int:
    texts = summaries.dropna(subset=["text", "post_id"])
    return int(texts.groupby(["post_id", "text"])["policy"].nunique().gt(1).sum())
