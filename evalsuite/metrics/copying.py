"""Copying, as the paper measures it: how much of a summary is the post's words in order.

Footnote 9 and Appendix G.5: the longest common subsequence of the bigrams of summary and source,
over the number of bigrams of the summary. The paper does not state its tokens; here they are
those of tokens.py (lower case, words and punctuation marks), and the source is the post's text
without its title. Proof: tests/metrics/test_copying_metric.py; speed: benchmarks/copying.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import StatisticsError
from evalsuite.metrics.tokens import (
    Ints,
    Match,
    common_subsequence,
    match,
    number_texts,
    share,
    tokenise,
)


def copying(summaries: Sequence[str], posts: Sequence[str]) -> NDArray[np.float64]:
    """Bigram longest-common-subsequence share of each summary in its post, (n,) from 0 to 1.

    summaries, posts: two lists of n texts; a text that occurs many times is worked on once.
    NaN where a summary has fewer than two tokens, for then it has no bigram.

    Raises StatisticsError when the lists differ in length. Source: Stiennon et al. 2020,
    footnote 9 and Appendix G.5.
    """
    if len(summaries) != len(posts):
        raise StatisticsError(
            f"posts has {len(posts)} texts for {len(summaries)} summaries; allowed one for each"
        )
    codes, texts = number_texts([*summaries, *posts])
    tokens = tokenise(texts).tokens
    n = len(summaries)
    rows, post_of = np.unique(codes[n:], return_inverse=True)
    bigrams = match(tokens.take(rows), tokens.take(codes[:n]), post_of, n=2)[1]
    return copying_share(bigrams, post_of)


def copying_share(bigrams: Match, post_of: Ints) -> NDArray[np.float64]:
    """The share from matched bigrams; `post_of` names the source of each summary."""
    return share(common_subsequence(bigrams, post_of), bigrams.summaries.lengths)
