"""Rows of a data set of the Hugging Face hub, when the `datasets` extra is installed.

An id is `org/name`, or `org/name:config`. Every split is read, and a row without a `split` field
gets its split's name. Proved by tests/datasets/test_hub.py, against a stand-in for the library.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import orjson

from evalsuite.datasets import files
from evalsuite.datasets.files import RawRow
from evalsuite.errors import DataError

_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?$")


def is_id(name: str) -> bool:
    """Whether a path that does not exist could be the id of a data set."""
    known = name.lower().removesuffix(".gz").endswith(files.SUFFIXES)
    return _ID.match(name) is not None and not known


class HubRows:
    """Iterates over the rows of all splits; `sha256` covers those seen so far, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the rows as JSON with sorted keys: the hub's files themselves are not seen."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[RawRow]:
        """Raises DataError naming the extra when it is missing, or what the hub answered."""
        try:
            from datasets import load_dataset
        except ImportError:
            problem = "no such file or folder; to read it as a Hugging Face data set"
            raise DataError(
                f"{problem}, install the extra: pip install 'evalsuite[datasets]'", file=self.name
            ) from None
        repository, _, config = self.name.partition(":")
        try:
            splits = load_dataset(repository, config or None)
        except Exception as error:  # the library raises many kinds, network and hub included
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            problem = f"no such file or folder, and the Hugging Face hub gave none ({reason})"
            raise DataError(problem, file=self.name) from None
        number = 0
        for split, rows in splits.items():
            for row in rows:
                number += 1
                self._digest.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS, default=str))
                yield RawRow(number, {"split": split, **row}, row, "row")
