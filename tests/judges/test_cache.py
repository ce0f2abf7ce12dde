"""Replies on disk, whole or not at all."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from evalsuite.errors import ConfigError
from evalsuite.judges.cache import Reply, ReplyCache, Spent


def test_what_is_put_is_there_next_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "replies.sqlite"
    one, two = Reply("a\nü", 10, 5), Reply("", 1, 0, True)
    with ReplyCache(path) as cache:
        assert cache.spent() == Spent(0, 0.0)
        cache.put("k1", "m", one, 0.25)
        cache.put("k2", "m", two, 0.5)
    with ReplyCache(path) as cache:
        assert (cache.get("k1"), cache.get("k2"), cache.get("k3")) == (one, two, None)
        assert cache.spent() == Spent(16, 0.75)
        assert len(cache) == 2


def test_two_at_once(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "f") as one, ReplyCache(tmp_path / "f") as two:
        one.put("k", "m", Reply("one", 1, 1), 0)
        assert two.get("k") == Reply("one", 1, 1)
        two.put("l", "m", Reply("two", 1, 1), 0)
        assert one.get("l") == Reply("two", 1, 1)


def test_a_killed_process_leaves_what_it_had(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from evalsuite.judges.cache import Reply, ReplyCache\n"
        "cache = ReplyCache(Path(sys.argv[1]))\n"
        "for i in range(10**6):\n"
        "    cache.put(str(i), 'm', Reply('x' * 1000, 1, 1), 0)\n"
        "    print(i, flush=True)\n"
    )
    path = tmp_path / "f"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().splitlines()
    last = int([line for line in told if line.strip()][-1])
    with ReplyCache(path) as cache:
        assert len(cache) in (last + 1, last + 2)  # one may be kept that was not told
        assert all(cache.get(str(i)) == Reply("x" * 1000, 1, 1) for i in range(last + 1))


def test_files_that_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no database, but long enough to be read as the header of one" * 20)
    with pytest.raises(ConfigError, match=r"text: is no file of replies \(file is not a database"):
        ReplyCache(text)
    assert text.read_text().startswith("no database")
    with pytest.raises(ConfigError, match=r"cache .*: cannot be opened"):
        ReplyCache(text / "below")
    newer = tmp_path / "newer"
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(ConfigError, match="newer: is of version 9; allowed 1"):
        ReplyCache(newer)
