"""Votes: answers to comparisons as integer codes, and their pairs, counted but never listed.

`collect_votes` is the border between rows of a table and `agreement.py`, `labelers.py`,
`krippendorff.py`. Here it is decided what "the same comparison" means: one post and the same two
texts, on whichever side each was shown. A comparison with m votes, f of
them for one text, has m(m-1)/2 pairs, of which f(f-1)/2 + (m-f)(m-f-1)/2 agree. What proves it
right: tests/stats/test_agreement.py lists the pairs one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evalsuite.errors import StatisticsError
from evalsuite.stats.clusters import Codes, Floats


class Others(NamedTuple):
    """For each vote (n,), of other people on the same comparison: votes, for the first, people.

    A vote without a labeler has none of any: whose it is not is unknown.
    """

    votes: Floats
    first: Floats
    people: Floats

    def agreeing(self, first: NDArray[np.bool_]) -> Floats:
        """How many of the others' votes are the same as the vote itself."""
        return np.where(first, self.first, self.votes - self.first)


@dataclass(frozen=True)
class Votes:
    """Decided answers to comparisons, as integer codes; all arrays have one entry a vote (n,).

    item: the comparison. post: the cluster it belongs to. labeler: -1 where nobody is named.
    first: the item's first text was preferred (which of the two is "first" is arbitrary but the
    same for all votes on the item). flipped: that text was shown on the right. rows: positions
    in the input. labelers: names by code. left_out: input rows that are no vote, by reason.
    """

    item: Codes
    post: Codes
    labeler: Codes
    first: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    rows: Codes
    labelers: tuple[str, ...]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.item)

    @property
    def items(self) -> int:
        """How many comparisons have a vote."""
        return int(self.item.max(initial=-1)) + 1

    def item_posts(self) -> Codes:
        """The post of each item (items,)."""
        posts = np.empty(self.items, dtype=np.int64)
        posts[self.item] = self.post
        return posts

    def others(self) -> Others:
        """What other named people answered to the same comparison, for each vote."""
        known = np.flatnonzero(self.labeler >= 0)
        item, first = self.item[known], self.first[known]
        cell, keys = pd.factorize(item * (self.labeler.max(initial=0) + 1) + self.labeler[known])
        item_of_cell = np.zeros(len(keys), dtype=np.int64)
        item_of_cell[cell] = item
        out = np.zeros((3, len(self)))
        out[0, known] = np.bincount(item, minlength=self.items)[item] - np.bincount(cell)[cell]
        out[1, known] = np.bincount(item, first, self.items)[item] - np.bincount(cell, first)[cell]
        out[2, known] = np.bincount(item_of_cell, minlength=self.items)[item] - 1
        return Others(*out)


def collect_votes(
    left_text: ArrayLike,
    right_text: ArrayLike,
    choice: ArrayLike,
    *,
    post: ArrayLike | None = None,
    labeler: ArrayLike | None = None,
) -> Votes:
    """Votes of labeled comparisons, each (n,): texts, choice (share for the right), post, labeler.

    Left out and counted: identical texts (nothing to agree on), ties (choice 0.5: the paper drops
    pairs where either side is indifferent), missing choices. Softer choices count for the side
    they lean to. Without a post the two texts stand for it.

    Raises StatisticsError on arrays of different lengths or a choice outside [0, 1].
    """
    left, right = pd.Series(np.asarray(left_text)), pd.Series(np.asarray(right_text))
    answer = np.asarray(choice, dtype=np.float64)
    n = len(answer)
    given: dict[str, Any] = {"left_text": left, "right_text": right, "post": post}
    for name, values in {**given, "labeler": labeler}.items():
        if values is not None and len(values) != n:
            raise StatisticsError(f"{name} has {len(values)} rows, choice has {n}; allowed equal")
    if ((answer < 0) | (answer > 1)).any():
        raise StatisticsError(f"choice is {answer[(answer < 0) | (answer > 1)][0]:g}; allowed 0..1")

    texts = pd.factorize(pd.concat([left, right], ignore_index=True))[0].astype(np.int64)
    one, two = texts[:n], texts[n:]
    reasons = {
        "no choice": np.isnan(answer),
        "tie": answer == 0.5,
        "identical texts": one == two,
    }
    keep = np.ones(n, dtype=bool)
    left_out: dict[str, int] = {}
    for reason, hit in reasons.items():
        if count := int((keep & hit).sum()):
            left_out[reason] = count
        keep &= ~hit

    rows = np.flatnonzero(keep)
    one, two, answer = one[rows], two[rows], answer[rows]
    flipped = one > two
    posts = np.full(len(rows), -1) if post is None else pd.factorize(_objects(post)[rows])[0]
    key = pd.DataFrame({"post": posts, "low": np.minimum(one, two), "high": np.maximum(one, two)})
    item = key.groupby(["post", "low", "high"], sort=False).ngroup().to_numpy().astype(np.int64)
    # An item without a post is a cluster of its own: codes after those of the named posts.
    cluster = pd.factorize(np.where(posts >= 0, posts, posts.max(initial=-1) + 1 + item))[0]
    people, names = pd.factorize(_objects(labeler)[rows]) if labeler is not None else (None, ())
    return Votes(
        item=item,
        post=cluster.astype(np.int64),
        labeler=np.full(len(rows), -1, np.int64) if people is None else people.astype(np.int64),
        first=(answer < 0.5) != flipped,
        flipped=flipped,
        rows=rows.astype(np.int64),
        labelers=tuple(str(name) for name in names),
        left_out=left_out,
    )


def _objects(values: ArrayLike) -> NDArray[np.object_]:
    return np.asarray(values, dtype=object)
