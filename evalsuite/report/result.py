"""What an analysis hands over, and what a module in `analyses/` must have."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from evalsuite.tables import Tables


class Result(NamedTuple):
    """A tidy table, one row an estimate, and the rows left out, counted by reason."""

    table: pd.DataFrame
    left_out: dict[str, int]


class Analysis(Protocol):
    """A module of `analyses/`: one figure or table of the paper.

    TITLE is the figure's heading, SOURCE the figure or table of the paper that it reproduces,
    DIFFERS what differs from the paper, SCORES the metric groups it reads from `tables.scores`
    (empty: none), Options its settings as a frozen dataclass. A module that reads
    `tables.experiment` has EXPERIMENT = True beside them and is run once, not once a domain.
    """

    TITLE: str
    SOURCE: str
    DIFFERS: str
    SCORES: tuple[str, ...]
    Options: type[Any]

    def missing(self, tables: Tables) -> str | None:
        """Why these tables do not allow the analysis; None when they do."""
        ...

    def compute(self, tables: Tables, options: Any, rng: np.random.Generator) -> Result:
        """All arithmetic."""
        ...

    def plot(self, table: pd.DataFrame) -> Figure:
        """The figure, from the table alone (as read back from table.csv)."""
        ...

    def reading(self, table: pd.DataFrame) -> str:
        """One sentence: what the numbers in this table say."""
        ...
