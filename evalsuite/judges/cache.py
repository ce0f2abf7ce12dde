"""Replies on disk: one SQLite file, written reply by reply.

A reply is there in full or not at all, also when the process was killed, and two processes may use
one file. What a reply cost when it was asked for is kept with it, so that a budget holds over
runs. The question is kept as a digest only; no key of any server is.
tests/judges/test_cache.py.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

from evalsuite.errors import ConfigError

VERSION = 1
BUSY_SECONDS = 60.0
"""How long to wait for another process that writes."""

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, reply TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, reply_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL, cost REAL NOT NULL
)
"""


class Reply(NamedTuple):
    """What a model wrote, and its tokens; estimated where the server did not count them."""

    text: str
    prompt_tokens: int
    reply_tokens: int
    estimated: bool = False


class Spent(NamedTuple):
    """Tokens of prompts and replies, and their cost."""

    tokens: int
    cost: float


class ReplyCache:
    """Replies by key, for use from several threads; a context manager that closes the file.

    Raises ConfigError for a file that is no such cache, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        problem = f"cache {path}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{problem}: cannot be opened ({error})") from None
        try:
            (found,) = self._file.execute("PRAGMA user_version").fetchone()
            if found not in (0, VERSION):
                raise ConfigError(f"{problem}: is of version {found}; allowed {VERSION}")
            with self._file:
                self._file.execute(_TABLE)
                self._file.execute(f"PRAGMA user_version = {VERSION}")
        except (sqlite3.Error, ConfigError) as error:
            self._file.close()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{problem}: is no file of replies ({error})") from None

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def get(self, key: str) -> Reply | None:
        """The reply kept under a key."""
        with self._lock:
            row = self._file.execute(
                "SELECT reply, prompt_tokens, reply_tokens, estimated FROM replies WHERE key = ?",
                (key,),
            ).fetchone()
        return None if row is None else Reply(row[0], row[1], row[2], bool(row[3]))

    def put(self, key: str, model: str, reply: Reply, cost: float) -> None:
        """Keep a reply; it is on disk when this returns."""
        with self._lock, self._file:
            self._file.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, model, reply.text, reply.prompt_tokens, reply.reply_tokens,
                 reply.estimated, cost),
            )  # fmt: skip

    def spent(self) -> Spent:
        """What all replies on file took."""
        with self._lock:
            tokens, cost = self._file.execute(
                "SELECT COALESCE(SUM(prompt_tokens + reply_tokens), 0), COALESCE(SUM(cost), 0) "
                "FROM replies"
            ).fetchone()
        return Spent(int(tokens), float(cost))

    def __len__(self) -> int:
        with self._lock:
            return int(self._file.execute("SELECT COUNT(*) FROM replies").fetchone()[0])
