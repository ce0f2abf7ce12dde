"""HTTP: what is sent, what is sent again and when, what stops, what is never shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from evalsuite.errors import ConfigError, JudgeError
from evalsuite.judges.cache import Reply
from evalsuite.judges.endpoint import (
    Endpoint,
    Manners,
    RequestFailedError,
    StoppedError,
    retry_after,
)

BODY = {"model": "m", "messages": [{"role": "user", "content": "x" * 12}]}
KEY = "sk-very-secret-0123"


class Low(np.random.Generator):
    """Jitter takes nothing off: uniform(.5, 1) is 1."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        assert (low, high) == (0.5, 1.0)
        return high


def endpoint(server: Any, time: Any, key: str = "", **manners: Any) -> Endpoint:
    kept = {"timeout_s": 20.0, "retries": 3, "backoff_s": 1.0, "max_wait_s": 100.0,
            "requests_per_minute": None} | manners  # fmt: skip
    return Endpoint(server.url, key, Manners(**kept), Low(), sleep=time.sleep, clock=time.clock)


def test_a_request_and_its_reply(server: Any, chat: Any, time: Any) -> None:
    server.script(chat.said("Hi.", prompt=7, reply=3))
    assert endpoint(server, time).ask(BODY) == Reply("Hi.", 7, 3)
    (request,) = server.requests
    assert (request.path, request.body) == ("/v1/chat/completions", BODY)
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers
    assert time.slept == []


def test_the_key_comes_from_the_environment(
    server: Any, time: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = endpoint(server, time, "JUDGE_TEST_KEY")
    with pytest.raises(ConfigError, match="variable JUDGE_TEST_KEY is not set; allowed one that"):
        one.ask(BODY)
    assert server.requests == []
    monkeypatch.setenv("JUDGE_TEST_KEY", KEY)
    one.ask(BODY)
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(vars(one))


@pytest.mark.parametrize("status", [401, 403, 404, 405, 302])
def test_statuses_that_stop_and_keep_the_key_to_themselves(
    status: int, server: Any, chat: Any, time: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_TEST_KEY", KEY)
    error = {"error": {"message": f"Incorrect key: {KEY}\nsee our page"}}
    server.script(chat.Response(error, status, {"Location": server.url + "/elsewhere"}))
    with pytest.raises(JudgeError) as caught:
        endpoint(server, time, "JUDGE_TEST_KEY").ask(BODY)
    assert not isinstance(caught.value, RequestFailedError)
    assert f"status {status} (Incorrect key: *** see our page)" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1  # nor was the redirect followed


def test_a_refused_request_is_not_repeated(server: Any, chat: Any, time: Any) -> None:
    server.script(chat.Response(b"x" * 1000, 400))
    with pytest.raises(RequestFailedError, match=r"completions: status 400 \(x{300}\.\.\.\)$"):
        endpoint(server, time).ask(BODY)
    assert len(server.requests) == 1


def test_500_then_good_with_doubling_waits(server: Any, chat: Any, time: Any) -> None:
    bad = chat.Response({}, 500)
    server.script(bad, chat.Response({}, 503), chat.Response(b"", 408), chat.said("at last"))
    one = endpoint(server, time)
    assert one.ask(BODY).text == "at last"
    assert time.slept == [1.0, 2.0, 4.0]
    assert one.retried == 3


def test_waits_are_at_most_so_long_and_shortened_by_chance(
    server: Any, chat: Any, time: Any
) -> None:
    server.script(chat.Response({}, 500))
    manners = Manners(20.0, 4, 10.0, 25.0, None)
    one = Endpoint(server.url, "", manners, np.random.default_rng(5),
                   sleep=time.sleep, clock=time.clock)  # fmt: skip
    with pytest.raises(RequestFailedError, match=r"status 500 \({}\); asked 5 times"):
        one.ask(BODY)
    shares = np.random.default_rng(5).uniform(0.5, 1.0, size=4)
    assert time.slept == pytest.approx([10, 20, 25, 25] * shares)


def test_429_waits_as_long_as_the_server_says(server: Any, chat: Any, time: Any) -> None:
    again = chat.Response({}, 429, {"Retry-After": "30"})
    server.script(again, chat.said("ok"))
    assert endpoint(server, time).ask(BODY).text == "ok"
    assert time.now == 30.0


def test_retry_after_holds_back_other_requests_too(server: Any, chat: Any, time: Any) -> None:
    one = endpoint(server, time, retries=0)
    server.script(chat.Response({}, 429, {"Retry-After": "30"}), chat.said("ok"))
    with pytest.raises(RequestFailedError, match=r"status 429 \({}\); asked once"):
        one.ask(BODY)
    assert time.now == 0.0
    one.ask(BODY)
    assert time.now == 30.0


def test_a_wait_too_long_stops(server: Any, chat: Any, time: Any) -> None:
    server.script(chat.Response({}, 429, {"Retry-After": "3600"}))
    with pytest.raises(JudgeError, match="asks to wait 3600 s; allowed up to max_wait_s, 100"):
        endpoint(server, time).ask(BODY)
    assert time.slept == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("12", 12), (" 5 ", 5), ("-3", 0), ("soon", 0), ("1.5e", 0),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 60), ("Wed, 21 Oct 2015 07:20:00 GMT", 0),
     ("Wed, 21 Oct 2015 07:28:00", 60)],
)  # fmt: skip
def test_retry_after_as_seconds_or_date(value: str | None, seconds: float) -> None:
    assert retry_after(value, datetime(2015, 10, 21, 7, 27, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    "body",
    [b"not json", [], {}, {"choices": []}, {"choices": [{"text": "a"}]},
     {"choices": [{"message": {"content": 3}}]}],
)  # fmt: skip
def test_what_is_no_completion_is_asked_again(body: Any, server: Any, chat: Any, time: Any) -> None:
    server.script(chat.Response(body), chat.said("ok"))
    assert endpoint(server, time).ask(BODY).text == "ok"
    server.script(chat.Response(body))
    with pytest.raises(RequestFailedError, match="is not a chat completion in JSON; asked 4 times"):
        endpoint(server, time).ask(BODY)


def test_a_server_that_hangs(server: Any, chat: Any, time: Any) -> None:
    server.script(chat.Response(hang=True), chat.said("ok"))
    assert endpoint(server, time, timeout_s=0.1).ask(BODY).text == "ok"
    server.script(chat.Response(hang=True))
    with pytest.raises(RequestFailedError, match=r"no reply within 0.1 s; asked 2 times"):
        endpoint(server, time, timeout_s=0.1, retries=1).ask(BODY)


def test_a_server_that_hangs_up_or_is_not_there(server: Any, chat: Any, time: Any) -> None:
    server.script(chat.Response(drop=True), chat.said("ok"))
    one = endpoint(server, time)
    assert one.ask(BODY).text == "ok"
    server.close()
    with pytest.raises(RequestFailedError, match=r"connection failed .ConnectionRefused"):
        one.ask(BODY)


def test_silence_is_an_empty_reply(server: Any, chat: Any, time: Any) -> None:
    server.script(chat.said(None))
    assert endpoint(server, time).ask(BODY).text == ""


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 3}, {"prompt_tokens": "a"}])
def test_tokens_that_are_not_counted_are_estimated(
    usage: Any, server: Any, chat: Any, time: Any
) -> None:
    server.script(chat.said("y" * 20, usage=usage))
    reply = endpoint(server, time).ask(BODY)
    assert (reply.reply_tokens, reply.estimated) == (6, True)
    assert reply.prompt_tokens > 3  # of 12 letters and their wrapping


def test_requests_keep_to_the_rate(server: Any, time: Any) -> None:
    one = endpoint(server, time, requests_per_minute=20.0)
    for _ in range(4):
        one.ask(BODY)
    assert time.slept == [3.0, 3.0, 3.0]


def test_nothing_is_sent_once_stopped(server: Any, time: Any) -> None:
    one = endpoint(server, time)
    one.stop.set()
    with pytest.raises(StoppedError):
        one.ask(BODY)
    assert server.requests == []


@pytest.mark.parametrize("url", ["", "localhost:8000/v1", "file:///etc/passwd", "http://"])
def test_addresses(url: str, rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match=r"base_url is .*; allowed http:// or https:// up to /v1"):
        Endpoint(url, "", Manners(1.0, 0, 1.0, 1.0, None), rng)
