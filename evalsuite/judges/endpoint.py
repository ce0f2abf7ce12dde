"""A server with an OpenAI-compatible /chat/completions, asked politely.

Requests keep to a rate, and are sent again after 408, 425, 429, any 5xx, a lost connection, a
timeout or a reply that is not what the protocol says: after base * 2^k seconds, a random half of it
taken off so that many clients do not come back at once, or later if the server's Retry-After says
so, which then holds for all requests. Redirects are not followed, since the key would go along.

The key is read from the environment for each request and kept nowhere; where a server repeats it
in an error, it is blotted out. Standard library only.
tests/judges/test_endpoint.py, against a server on the loopback.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from evalsuite.errors import ConfigError, JudgeError
from evalsuite.judges.cache import Reply

AGAIN = {408, 425, 429}
"""Statuses below 500 after which the same request may succeed."""

FATAL = {401, 403, 404, 405}
"""Statuses that every further request would get too."""

CHARS_A_TOKEN = 4
"""Where the server does not count tokens."""

SHOWN = 300


class RequestFailedError(JudgeError):
    """One request failed for good; the next may succeed."""


class StoppedError(Exception):
    """The run is ending; nobody waits for this answer."""


class Manners(NamedTuple):
    """How a server is to be treated; times in seconds. max_wait_s: longest Retry-After obeyed."""

    timeout_s: float
    retries: int
    backoff_s: float
    max_wait_s: float
    requests_per_minute: float | None


class _UnwellError(Exception):
    """A failure after which the request is sent again."""

    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **named: object) -> None:
        """Never; the status then counts as an error."""


class Endpoint:
    """`ask` sends one request, as often as it takes, from any thread.

    base_url: up to and with /v1. key_variable: environment variable that holds the key, "" for
    none. rng: of the random part of waits. sleep, clock: seconds; a test may put its own.
    retried: requests sent again so far.

    Raises ConfigError for an address that is not http or https.
    """

    def __init__(
        self, base_url: str, key_variable: str, manners: Manners, rng: np.random.Generator, *,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(
                f"base_url is {base_url!r}; allowed http:// or https:// up to /v1, such as "
                "http://localhost:8000/v1"
            )
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.key_variable, self.manners = key_variable, manners
        self.stop = threading.Event()
        self.retried = 0
        self._rng, self._clock, self._sleep = rng, clock, sleep or self.stop.wait
        self._lock, self._next = threading.Lock(), 0.0
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """The reply to a request.

        Raises RequestFailedError when this request cannot be answered, JudgeError when none can,
        StoppedError once `stop` is set.
        """
        data = json.dumps(body).encode()
        for attempt in range(self.manners.retries + 1):
            self._wait_for_turn()
            try:
                return self._send(data)
            except _UnwellError as error:
                problem = str(error)
                self._hold_back(error.wait)
                if attempt < self.manners.retries:
                    self._back_off(attempt, error.wait)
        times = f"{self.manners.retries + 1} times" if self.manners.retries else "once"
        raise RequestFailedError(f"{self.url}: {problem}; asked {times}")

    def _wait_for_turn(self) -> None:
        """Slots are a minute / rate apart, so there is no burst either."""
        if self.stop.is_set():
            raise StoppedError
        rate = self.manners.requests_per_minute
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + (60.0 / rate if rate else 0.0)
        if turn > now:
            self._sleep(turn - now)
        if self.stop.is_set():
            raise StoppedError

    def _hold_back(self, wanted: float) -> None:
        """No request from any thread for so many seconds."""
        longest = self.manners.max_wait_s
        if wanted > longest:
            raise JudgeError(
                f"{self.url}: asks to wait {wanted:.0f} s; allowed up to max_wait_s, {longest:g}"
            )
        if wanted:
            with self._lock:
                self._next = max(self._next, self._clock() + wanted)

    def _back_off(self, attempt: int, wanted: float) -> None:
        with self._lock:
            self.retried += 1
            share = self._rng.uniform(0.5, 1.0)
        delay = min(self.manners.backoff_s * 2.0**attempt, self.manners.max_wait_s) * share
        if delay > wanted:
            self._sleep(delay)

    def _send(self, data: bytes) -> Reply:
        key = self._key()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, data, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.manners.timeout_s) as response:
                raw = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, key) from None
        except urllib.error.URLError as error:
            raise _UnwellError(_cause(error.reason, self.manners.timeout_s)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _UnwellError(_cause(error, self.manners.timeout_s)) from None
        return _reply(raw, data)

    def _key(self) -> str:
        if not self.key_variable:
            return ""
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise ConfigError(
                f"environment variable {self.key_variable} is not set; allowed one that holds the "
                "server's key, or api_key_env '' where it asks for none"
            )
        return key

    def _refusal(self, error: urllib.error.HTTPError, key: str) -> Exception:
        """What to make of a status other than 2xx."""
        try:
            text = error.read(4096).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            text = ""
        words = " ".join(_message(text).split())
        if key:
            words = words.replace(key, "***")
        words = words if len(words) <= SHOWN else words[:SHOWN] + "..."
        problem = f"status {error.code}" + (f" ({words})" if words else "")
        if error.code in AGAIN or error.code >= 500:
            return _UnwellError(problem, retry_after(error.headers.get("Retry-After")))
        if error.code in FATAL or error.code < 400:
            return JudgeError(
                f"{self.url}: {problem}; allowed a server that answers there, with a model and key "
                "that it knows"
            )
        return RequestFailedError(f"{self.url}: {problem}")


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 where it says neither."""
    if value is None:
        return 0.0
    try:
        return max(float(int(value.strip())), 0.0)
    except ValueError:
        pass
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _cause(error: object, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no reply within {timeout:g} s"
    name = type(error).__name__
    return f"connection failed ({name}: {error})" if str(error) else f"connection failed ({name})"


def _message(text: str) -> str:
    """The message in an error's body: {"error": {"message": ...}}, or the body as it is."""
    try:
        found = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return text
    return found if isinstance(found, str) else text


def _reply(raw: bytes, request: bytes) -> Reply:
    try:
        data = json.loads(raw)
        text = data["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise _UnwellError("the reply is not a chat completion in JSON") from None
    if text is None:  # a model that only thought until its tokens were used up
        text = ""
    if not isinstance(text, str):
        raise _UnwellError("the reply is not a chat completion in JSON")
    used = data.get("usage")
    if isinstance(used, dict):
        prompt, replied = used.get("prompt_tokens"), used.get("completion_tokens")
        if isinstance(prompt, int) and isinstance(replied, int) and min(prompt, replied) >= 0:
            return Reply(text, prompt, replied)
    return Reply(text, len(request) // CHARS_A_TOKEN + 1, len(text) // CHARS_A_TOKEN + 1, True)
