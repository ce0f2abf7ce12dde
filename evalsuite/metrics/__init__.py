"""Text metrics: ROUGE, length, copying, extractive statistics; `score_summaries` for a table.

The functions know texts and tables, no model and no statistic. Each module states its tokens.
"""

from evalsuite.metrics.copying import copying
from evalsuite.metrics.extractive import extractive
from evalsuite.metrics.rouge import rouge, rouge_one
from evalsuite.metrics.table import GROUPS, columns_of, score_summaries

__all__ = [
    "GROUPS",
    "columns_of",
    "copying",
    "extractive",
    "rouge",
    "rouge_one",
    "score_summaries",
]
