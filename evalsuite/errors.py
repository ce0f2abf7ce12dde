"""Errors a user can mend: each says what was wrong, where, and what is allowed.

The command line prints the message of an `EvalsuiteError` and exits with 2; any other
exception is a fault of the suite and keeps its traceback.
"""

from __future__ import annotations


class EvalsuiteError(Exception):
    """Base of every error that a user's input or setting can cause."""


class ConfigError(EvalsuiteError):
    """A setting is unknown, of the wrong type or out of range."""


class StatisticsError(EvalsuiteError):
    """A statistic was asked of inputs for which it is not defined at all (shapes, ranges)."""


class ModelError(EvalsuiteError):
    """A checkpoint is missing, damaged, of the wrong kind, or does not fit what is asked of it."""


class TrainingError(EvalsuiteError):
    """A training run cannot start, go on or be resumed; what it has saved is intact."""


class JudgeError(EvalsuiteError):
    """A judge cannot go on answering (its server, its budget); the answers it has are kept."""


class DataError(EvalsuiteError):
    """One input row or file is not what its format allows.

    The message reads `file:line: field is value; allowed ...`, leaving out what is unknown.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        line: int | None = None,
        field: str = "",
        allowed: str = "",
    ) -> None:
        self.problem, self.file, self.line = problem, file, line
        self.field, self.allowed = field, allowed
        super().__init__(problem)

    def at(self, file: str, line: int | None) -> DataError:
        """The same error with its place; loaders know the place, records do not."""
        return DataError(self.problem, file=file, line=line, field=self.field, allowed=self.allowed)

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.line is not None else "")
        text = f"{place}: {self.problem}" if place else self.problem
        return f"{text}; allowed {self.allowed}" if self.allowed else text
