"""Any language model behind an OpenAI-compatible endpoint as the judge.

A pair is asked in both orders, since models favour a place: the same summary twice is an answer,
anything else a tie. A reply without a verdict (`prompt.verdict`) is asked for again with a
reminder, a stated number of times, and then the question is unanswered; nothing is guessed.

Every reply is kept on disk (`cache`) under the SHA-256 of the server, the whole request and the
number of the attempt. Asked the same again, a judge makes no request; broken off, by the keyboard,
an error or a budget, it goes on where it was.

Departures from Huang et al. 2024, who have a model judge TL;DR summaries: they show each pair in
one random order and draw a reply that cannot be read at random; the wording is another.
tests/judges/test_llm.py, against a server on the loopback.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evalsuite.errors import ConfigError, EvalsuiteError, JudgeError
from evalsuite.judges.cache import Reply, ReplyCache
from evalsuite.judges.endpoint import Endpoint, Manners, RequestFailedError, StoppedError
from evalsuite.judges.judge import LEFT, RIGHT, TIE, UNANSWERED, Answer, Progress, Question
from evalsuite.judges.prompt import PROMPT, Verdict, check_prompt, render, verdict
from evalsuite.records import shown

MILLION = 1_000_000

OWN_FIELDS = ("model", "messages", "temperature", "max_tokens", "stream", "n")
"""What `more` may not say: settings of their own, or what the judge relies on."""

BETWEEN = "\n\n----\n\n"
"""Between the replies of the two orders in an answer's detail."""


@dataclass(frozen=True)
class LLMSettings:
    """A language model as judge; a YAML file of these is what `llm:FILE` names.

    base_url: of the server, up to and with /v1.
    model: as the server calls it.
    api_key_env: environment variable that holds the key; "" where the server asks for none.
    temperature: of replies; null leaves it to the server.
    max_tokens: of a reply; null leaves it to the server.
    more: further fields of the request, such as {seed: 1} or {max_completion_tokens: 2000}.
    prompt: the question, with {post}, {a}, {b}, {verdicts}.
    both_orders: ask each pair in both orders; else left is always shown first.
    ties: whether a reply may say "tie".
    parse_retries: how often a reply without a verdict is asked for again.
    cache: file of replies; from the settings' folder, where they are on file.
    concurrency: requests at once.
    requests_per_minute: most requests; null for no limit.
    timeout_s: seconds without a word from the server.
    retries: how often a request that failed is sent again.
    backoff_s: seconds before the first of these; they double.
    max_wait_s: longest wait, and longest Retry-After that is obeyed.
    max_failures: questions that may fail at the server before the judge stops.
    price_prompt, price_reply: of a million tokens, in any currency.
    token_budget, cost_budget: no request is sent once the replies in the cache took so much; those
        under way are finished, so it may be passed by `concurrency` replies. null for no limit.
    """

    base_url: str = ""
    model: str = ""
    api_key_env: str = ""
    temperature: float | None = 0.0
    max_tokens: int | None = 512
    more: dict[str, Any] = field(default_factory=dict)
    prompt: str = PROMPT
    both_orders: bool = True
    ties: bool = True
    parse_retries: int = 2
    cache: str = "judge-replies.sqlite"
    concurrency: int = 4
    requests_per_minute: float | None = None
    timeout_s: float = 120.0
    retries: int = 5
    backoff_s: float = 1.0
    max_wait_s: float = 120.0
    max_failures: int = 10
    price_prompt: float = 0.0
    price_reply: float = 0.0
    token_budget: int | None = None
    cost_budget: float | None = None

    def __post_init__(self) -> None:
        for name in ("base_url", "model", "cache"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is missing; allowed a text")
        check_prompt(self.prompt)
        for name in ("concurrency", "max_tokens", "token_budget"):
            self._require(name, 1)
        for name in ("parse_retries", "retries", "max_failures", "backoff_s", "max_wait_s",
                     "price_prompt", "price_reply", "cost_budget", "temperature"):  # fmt: skip
            self._require(name, 0)
        for name in ("timeout_s", "requests_per_minute"):
            self._require(name, 0, above=True)
        for name in OWN_FIELDS:
            if name in self.more:
                raise ConfigError(f"more has {name!r}; allowed other fields of a request")
        if self.cost_budget is not None and not (self.price_prompt or self.price_reply):
            raise ConfigError("cost_budget without prices; allowed with price_prompt, price_reply")

    def _require(self, name: str, low: float, *, above: bool = False) -> None:
        value = getattr(self, name)
        if value is not None and not (value > low if above else value >= low):  # NaN is neither
            allowed = f"above {low:g}" if above else f"{low:g} or more"
            raise ConfigError(f"{name} is {shown(value)}; allowed {allowed}")


@dataclass
class Counts:
    """What a judge did so far, over all calls.

    questions, unanswered: distinct in a call. requests: replies that the server gave. from_cache:
    replies read from the file. retried: requests sent again. unreadable: replies without a verdict.
    failed: questions the server did not answer. both_orders: questions with a verdict in both
    orders; orders_differ: those where the two are not the same. verdicts: replies that name a side;
    first_preferred: those that name the summary shown first, half of them where place does not
    matter. prompt_tokens, reply_tokens, cost: of the requests. estimated: replies whose tokens the
    server did not count.
    """

    questions: int = 0
    unanswered: int = 0
    requests: int = 0
    from_cache: int = 0
    retried: int = 0
    unreadable: int = 0
    failed: int = 0
    both_orders: int = 0
    orders_differ: int = 0
    verdicts: int = 0
    first_preferred: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    estimated: int = 0
    cost: float = 0.0

    def report(self) -> dict[str, float]:
        """The counts by readable name, and two rates of them, NaN where nothing was seen."""
        out: dict[str, float] = {k.replace("_", " "): v for k, v in asdict(self).items()}
        nothing = float("nan")
        consistent = self.both_orders - self.orders_differ
        out["share of orders agreeing"] = (
            consistent / self.both_orders if self.both_orders else nothing
        )
        out["share of first preferred"] = (
            self.first_preferred / self.verdicts if self.verdicts else nothing
        )
        return out


class LLMJudge:
    """The judge of `LLMSettings`.

    rng: of the random part of waits; answers do not depend on it. folder: what `settings.cache` is
    relative to. sleep, clock: seconds; a test may put its own.

    The strength of answers is None, their detail the replies, their labeler the model's name. A
    summary both orders prefer is the answer; two that differ, a tie and a side among them, are a
    tie. Asked again, a judge sends the same request again: that is of use above temperature 0.
    """

    def __init__(
        self, settings: LLMSettings, *, rng: np.random.Generator, folder: Path = Path(),
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.settings, self.name = settings, settings.model
        self.cache = folder / settings.cache
        self.counts = Counts()
        manners = Manners(settings.timeout_s, settings.retries, settings.backoff_s,
                          settings.max_wait_s, settings.requests_per_minute)  # fmt: skip
        self._endpoint = Endpoint(
            settings.base_url, settings.api_key_env, manners, rng, sleep=sleep, clock=clock
        )
        self._lock = threading.Lock()
        self._tokens, self._cost, self._failures = 0, 0.0, 0
        self._error: EvalsuiteError | None = None

    def __call__(
        self, questions: Sequence[Question], *, progress: Progress | None = None
    ) -> list[Answer]:
        """Answers (n,). Raises JudgeError when it cannot go on; replies it has stay on file."""
        distinct = {question.id: question for question in questions}
        self._endpoint.stop.clear()
        self._error, self._failures = None, 0
        found: dict[str, Answer] = {}
        with ReplyCache(self.cache) as cache:
            self._tokens, self._cost = cache.spent()
            pool = ThreadPoolExecutor(self.settings.concurrency)
            try:
                under_way = {
                    pool.submit(self._try, question, cache): identity
                    for identity, question in distinct.items()
                }
                for future in as_completed(under_way):
                    answer = future.result()
                    if answer is not None:
                        found[under_way[future]] = answer
                        if progress is not None:
                            progress(len(found), len(distinct))
            finally:
                self._endpoint.stop.set()
                pool.shutdown(cancel_futures=True)
                self.counts.retried = self._endpoint.retried
        unanswered = sum(not answer.answered for answer in found.values())
        if self._error is not None:
            raise JudgeError(
                f"{self._error}; {len(found) - unanswered} of {len(distinct)} questions are "
                f"answered, their replies in {self.cache}: the same call goes on from there"
            ) from self._error
        self.counts.questions += len(distinct)
        self.counts.unanswered += unanswered
        return [found[question.id] for question in questions]

    def _try(self, question: Question, cache: ReplyCache) -> Answer | None:
        """The answer, or None once the judge cannot go on; the first to see that tells the rest."""
        try:
            return self._answer(question, cache)
        except StoppedError:
            return None
        except EvalsuiteError as error:
            with self._lock:
                self._error = self._error or error
            self._endpoint.stop.set()
            return None

    def _answer(self, question: Question, cache: ReplyCache) -> Answer:
        replies: list[str] = []
        choices: list[float] = []
        for swapped in (False, True)[: 1 + self.settings.both_orders]:
            try:
                said, reply = self._ask(question, swapped, cache)
            except RequestFailedError as error:
                self._failed(error)
                return Answer(UNANSWERED, None, self.name, str(error))
            replies.append(reply)
            if said is None:
                return Answer(UNANSWERED, None, self.name, BETWEEN.join(replies))
            first, second = (RIGHT, LEFT) if swapped else (LEFT, RIGHT)
            choices.append({"A": first, "B": second, "tie": TIE}[said])
        same = len(set(choices)) == 1
        if self.settings.both_orders:
            with self._lock:
                self.counts.both_orders += 1
                self.counts.orders_differ += not same
        return Answer(choices[0] if same else TIE, None, self.name, BETWEEN.join(replies))

    def _failed(self, error: RequestFailedError) -> None:
        with self._lock:
            self.counts.failed += 1
            self._failures += 1
            failures = self._failures
        if failures > self.settings.max_failures:
            raise JudgeError(
                f"{failures} questions failed at the server, the last with: {error}; "
                f"allowed up to max_failures, {self.settings.max_failures}"
            )

    def _ask(
        self, question: Question, swapped: bool, cache: ReplyCache
    ) -> tuple[Verdict | None, str]:
        """The verdict of one order, and the last reply."""
        a, b = question.left.strip(), question.right.strip()
        if swapped:
            a, b = b, a
        ties = self.settings.ties
        text = ""
        for attempt in range(self.settings.parse_retries + 1):
            asked = render(self.settings.prompt, question.post, a, b, ties=ties, attempt=attempt)
            body = self._body(asked)
            key = self._key(body, attempt, question.again)
            text = self._reply(key, body, cache).text
            said = verdict(text, ties=ties)
            with self._lock:
                self.counts.unreadable += said is None
                self.counts.verdicts += said in ("A", "B")
                self.counts.first_preferred += said == "A"
            if said is not None:
                return said, text
        return None, text

    def _reply(self, key: str, body: dict[str, Any], cache: ReplyCache) -> Reply:
        known = cache.get(key)
        if known is not None:
            with self._lock:
                self.counts.from_cache += 1
            return known
        self._check_budget()
        reply, prices = self._endpoint.ask(body), self.settings
        cost = reply.prompt_tokens * prices.price_prompt + reply.reply_tokens * prices.price_reply
        cost /= MILLION
        cache.put(key, self.settings.model, reply, cost)
        with self._lock:
            self._tokens += reply.prompt_tokens + reply.reply_tokens
            self._cost += cost
            self.counts.requests += 1
            self.counts.prompt_tokens += reply.prompt_tokens
            self.counts.reply_tokens += reply.reply_tokens
            self.counts.estimated += reply.estimated
            self.counts.cost += cost
        return reply

    def _check_budget(self) -> None:
        tokens, cost = self.settings.token_budget, self.settings.cost_budget
        with self._lock:
            spent, paid = self._tokens, self._cost
        if tokens is not None and spent >= tokens:
            raise JudgeError(f"{spent:,} tokens are spent; allowed token_budget, {tokens:,}")
        if cost is not None and paid >= cost:
            raise JudgeError(f"{paid:.4g} is spent; allowed cost_budget, {cost:.4g}")

    def _body(self, asked: str) -> dict[str, Any]:
        own = {"temperature": self.settings.temperature, "max_tokens": self.settings.max_tokens}
        return {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": asked}],
            **{name: value for name, value in own.items() if value is not None},
            **self.settings.more,
        }

    def _key(self, body: dict[str, Any], attempt: int, again: int) -> str:
        told = [self._endpoint.url, body, attempt, again]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
