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

from evalsuite.metrics.tokens import (
    Ints,
    Match,
    beside_posts,
    common_subsequence,
    match,
    share,
)


def copying(summaries: Sequence[str], posts: Sequence[str]) -> NDArray[np.float64]:
    """Bigram longest-common-subsequence share of each summary in its post, (n,) from 0 to 1.

    summaries, posts: two lists of n texts; a text that occurs many times is worked on once.
    NaN where a summary has fewer than two tokens, for then it has no bigram.

    Raises StatisticsError when the lists differ in length. Source: Stiennon et al. 2020,
    footnote 9 and Appendix G.5.
    """
    posts_, summaries_, post_of = beside_posts(summaries, posts)
    return copying_share(match(posts_, summaries_, post_of, n=2)[1], post_of)


def copying_share(bigrams: Match, post_of: Ints) -> NDArray[np.float64]:
    """The share from matched bigrams; `post_of` names the source of each summary."""
    return share(common_subsequence(bigrams, post_of), bigrams.summaries.lengths)
