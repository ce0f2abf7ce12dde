"""A chat server on the loopback whose every reply is written by the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Response:
    """What the server does: waits while `hang`, then answers, or hangs up without a word."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


def said(text: str | None, prompt: int = 10, reply: int = 2, **more: Any) -> Response:
    """A chat completion."""
    usage = {"prompt_tokens": prompt, "completion_tokens": reply}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    return Response({"choices": [choice], "usage": usage} | more)


@dataclass
class Request:
    """What the server was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][0]["content"])


class ChatServer:
    """Serves `answer(request, number of this request)`; keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request, int], Response] = lambda request, n: said("Preferred: A")
        self.at_once = self.most_at_once = 0
        self._lock, self._release = threading.Lock(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                request = Request(self.path, dict(self.headers), body)
                with outer._lock:
                    number = len(outer.requests)
                    outer.requests.append(request)
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                try:
                    self._respond(outer.answer(request, number))
                finally:
                    with outer._lock:
                        outer.at_once -= 1

            def _respond(self, response: Response) -> None:
                if response.hang:
                    outer._release.wait(30)
                if response.hang or response.drop:
                    self.close_connection = True
                    return
                raw = response.body
                data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def script(self, *responses: Response) -> None:
        """These in turn, the last for ever."""
        self.answer = lambda request, n: responses[min(n, len(responses) - 1)]

    def close(self) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    found = ChatServer()
    yield found
    found.close()


@pytest.fixture
def chat() -> Any:
    """Makers of responses: chat.said(text), chat.Response(...)."""

    class Chat:
        said = staticmethod(said)
        Response = Response

    return Chat


class Time:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        with self._lock:
            return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()
