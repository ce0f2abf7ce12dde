"""The command line, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from evalsuite.cli.main import run


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `evalsuite ARGS`: exit code, stdout and stderr."""

    def evalsuite(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evalsuite", *args])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return evalsuite
