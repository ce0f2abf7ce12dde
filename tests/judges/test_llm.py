"""A language model as judge: both orders, replies without a verdict, the cache, budgets, limits.

The server reads which summary is shown first off the prompt, "P|first|second|...".
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalsuite.config import resolve
from evalsuite.errors import ConfigError, JudgeError
from evalsuite.judges.judge import Answer, Question
from evalsuite.judges.llm import LLMJudge, LLMSettings
from evalsuite.records import Post

POST = Post("post")
PAIR = Question(POST, "good", "bad")
SHORT = "{post}|{a}|{b}|{verdicts}"


@pytest.fixture
def judge_of(server: Any, time: Any, tmp_path: Path) -> Callable[..., LLMJudge]:
    def make(**settings: Any) -> LLMJudge:
        given = {"base_url": server.url, "model": "judge-1", "prompt": SHORT} | settings
        return LLMJudge(
            LLMSettings(**given), rng=np.random.default_rng(0), folder=tmp_path,
            sleep=time.sleep, clock=time.clock,
        )  # fmt: skip

    return make


def prefers(chat: Any, text: str) -> Callable[..., Any]:
    """Prefers a text wherever it stands."""

    def answer(request: Any, number: int) -> Any:
        shown = request.prompt.split("|")[1:3]
        return chat.said(f"Because.\nPreferred: {'AB'[shown.index(text)]}")

    return answer


def shown_first(request: Any) -> str:
    return str(request.prompt.split("|")[1])


def test_both_orders_and_the_same_answer(server: Any, chat: Any, judge_of: Any) -> None:
    server.answer = prefers(chat, "bad")
    judge = judge_of()
    answers = judge([PAIR, Question(POST, "bad", "good")])
    replies = "Because.\nPreferred: {}\n\n----\n\nBecause.\nPreferred: {}"
    assert answers == [
        Answer(1.0, None, "judge-1", replies.format("B", "A")),
        Answer(0.0, None, "judge-1", replies.format("A", "B")),
    ]
    # Four replies are needed, and as each order of the one is an order of the other, some may be
    # read from the file, depending on who comes first.
    counts = judge.counts
    assert counts.requests + counts.from_cache == 4
    assert (counts.questions, counts.both_orders, counts.orders_differ) == (2, 2, 0)
    assert (counts.verdicts, counts.first_preferred) == (4, 2)
    assert counts.report()["share of orders agreeing"] == 1.0


def test_the_request(server: Any, judge_of: Any) -> None:
    judge_of(more={"seed": 3}, max_tokens=9, both_orders=False)([PAIR])
    (request,) = server.requests
    assert request.body == {
        "model": "judge-1", "temperature": 0.0, "max_tokens": 9, "seed": 3,
        "messages": [{"role": "user", "content":
            "post|good|bad|Preferred: A\nPreferred: B\nPreferred: tie"}],
    }  # fmt: skip
    judge_of(temperature=None, max_tokens=None, both_orders=False)([PAIR])
    assert server.requests[-1].body.keys() == {"model", "messages"}


def test_a_taste_for_the_first_place_is_a_tie_and_counted(server: Any, judge_of: Any) -> None:
    judge = judge_of()  # the server always says A
    (answer,) = judge([PAIR])
    assert answer.choice == 0.5
    assert (judge.counts.both_orders, judge.counts.orders_differ) == (1, 1)
    report = judge.counts.report()
    assert report["share of orders agreeing"] == 0.0
    assert report["share of first preferred"] == 1.0
    assert judge_of(both_orders=False)([PAIR])[0].choice == 0.0


@pytest.mark.parametrize(("second", "choice", "differ"), [("tie", 0.5, 0), ("A", 0.5, 1)])
def test_ties(
    second: str, choice: float, differ: int, server: Any, chat: Any, judge_of: Any
) -> None:
    server.script(chat.said("Preferred: tie"), chat.said(f"Preferred: {second}"))
    judge = judge_of()
    assert judge([PAIR])[0].choice == choice
    assert judge.counts.orders_differ == differ


def test_a_reply_without_a_verdict_is_asked_for_again(
    server: Any, chat: Any, judge_of: Any
) -> None:
    server.script(chat.said("A, I think"), chat.said("Preferred: B"))
    judge = judge_of(both_orders=False)
    assert judge([PAIR])[0].choice == 1.0
    first, second = server.requests
    assert second.prompt.startswith(first.prompt)
    assert "The last line of the reply must be" in second.prompt
    assert (judge.counts.unreadable, judge.counts.unanswered, judge.counts.requests) == (1, 0, 2)


def test_a_model_that_never_says_is_never_guessed(server: Any, chat: Any, judge_of: Any) -> None:
    server.script(chat.said("Both have merits."))
    judge = judge_of(parse_retries=2)
    (answer,) = judge([PAIR])
    assert math.isnan(answer.choice)
    assert answer.detail == "Both have merits."
    assert len(server.requests) == 3  # the other order is not asked for nothing
    assert (judge.counts.unreadable, judge.counts.unanswered) == (3, 1)
    again = judge_of(parse_retries=2)
    assert math.isnan(again([PAIR])[0].choice)
    assert (len(server.requests), again.counts.from_cache) == (3, 3)
    judge_of(parse_retries=3)([PAIR])
    assert len(server.requests) == 4


def test_one_order_without_a_verdict_is_no_answer(server: Any, chat: Any, judge_of: Any) -> None:
    server.answer = lambda request, n: chat.said(
        "Preferred: A" if shown_first(request) == "good" else "?"
    )
    assert math.isnan(judge_of(parse_retries=0)([PAIR])[0].choice)


def test_no_tie_where_ties_are_not_allowed(server: Any, chat: Any, judge_of: Any) -> None:
    server.script(chat.said("Preferred: tie"), chat.said("Preferred: A"))
    assert judge_of(ties=False, both_orders=False)([PAIR])[0].choice == 0.0
    assert server.requests[0].prompt == "post|good|bad|Preferred: A\nPreferred: B"


def test_a_second_run_makes_no_request(server: Any, chat: Any, judge_of: Any) -> None:
    questions = [Question(POST, f"good {i}", f"bad {i}") for i in range(20)]
    server.answer = lambda request, n: chat.said(
        "Preferred: A" if shown_first(request).startswith("good") else "Preferred: B"
    )
    first = judge_of()(questions)
    assert [a.choice for a in first] == [0.0] * 20
    server.close()
    judge = judge_of()
    assert judge(questions[::-1]) == first[::-1]
    counts = judge.counts
    assert (counts.requests, counts.from_cache, counts.prompt_tokens) == (0, 40, 0)


@pytest.mark.parametrize(
    "change", [{"model": "judge-2"}, {"temperature": 0.5}, {"max_tokens": 3},
               {"more": {"seed": 2}}, {"prompt": SHORT + "!"}, {"ties": False}]
)  # fmt: skip
def test_another_request_is_another_reply(change: Any, server: Any, judge_of: Any) -> None:
    judge_of(both_orders=False)([PAIR])
    judge_of(both_orders=False, **change)([PAIR])
    assert len(server.requests) == 2


def test_asked_again_is_another_reply_and_twice_in_a_call_is_not(
    server: Any, judge_of: Any
) -> None:
    judge = judge_of(both_orders=False, concurrency=1)
    judge([PAIR, PAIR, PAIR._replace(again=1), PAIR._replace(left_policy="sft")])
    assert len(server.requests) == 2
    assert judge.counts.questions == 2


def test_questions_that_fail_are_unanswered_and_asked_anew(
    server: Any, chat: Any, judge_of: Any
) -> None:
    server.answer = lambda request, n: (
        chat.Response({"error": {"message": "content filter"}}, 400)
        if "bad 1" in request.prompt else chat.said("Preferred: A")
    )  # fmt: skip
    questions = [Question(POST, "good", f"bad {i}") for i in range(3)]
    judge = judge_of(both_orders=False, max_failures=1)
    answers = judge(questions)
    assert [a.choice for a in answers] == pytest.approx([0.0, math.nan, 0.0], nan_ok=True)
    assert "content filter" in answers[1].detail
    assert (judge.counts.failed, judge.counts.unanswered) == (1, 1)
    server.answer = lambda request, n: chat.said("Preferred: B")
    assert judge(questions)[1].choice == 1.0


def test_too_many_failures_stop(server: Any, chat: Any, judge_of: Any, tmp_path: Path) -> None:
    server.script(chat.said("Preferred: A"), chat.Response({}, 400))
    judge = judge_of(both_orders=False, max_failures=2, concurrency=1)
    with pytest.raises(
        JudgeError,
        match=r"3 questions failed at the server, the last with: .*status 400.*; allowed up to "
        r"max_failures, 2; 1 of 9 questions are answered, their replies in .*judge-replies.sqlite",
    ):
        judge([Question(POST, "good", f"bad {i}") for i in range(9)])
    assert len(server.requests) == 4


def test_a_bad_key_stops_at_once(server: Any, chat: Any, judge_of: Any) -> None:
    server.script(chat.Response({}, 401))
    with pytest.raises(JudgeError, match=r"status 401.*; 0 of 50 questions are answered"):
        judge_of(concurrency=2)([Question(POST, "good", f"bad {i}") for i in range(50)])
    assert len(server.requests) <= 4


def test_errors_of_the_server_are_retried_and_counted(
    server: Any, chat: Any, judge_of: Any, time: Any
) -> None:
    server.script(
        chat.Response({}, 429, {"Retry-After": "7"}), chat.Response({}, 500), chat.Response(b"<"),
        chat.said("Preferred: A"),
    )  # fmt: skip
    judge = judge_of(both_orders=False)
    assert judge([PAIR])[0].choice == 0.0
    assert (judge.counts.retried, judge.counts.requests) == (3, 1)
    assert time.now > 7


def test_token_budget_stops_and_keeps_what_is_answered(server: Any, judge_of: Any) -> None:
    questions = [Question(POST, "good", f"bad {i}") for i in range(6)]
    settings = {"both_orders": False, "concurrency": 1}
    with pytest.raises(
        JudgeError, match=r"36 tokens are spent; allowed token_budget, 30; 3 of 6 questions"
    ):
        judge_of(token_budget=30, **settings)(questions)  # replies of 12 tokens
    assert len(server.requests) == 3
    with pytest.raises(JudgeError, match="36 tokens are spent"):  # also of another run
        judge_of(token_budget=36, **settings)(questions)
    assert len(server.requests) == 3
    judge = judge_of(**settings)
    assert [a.choice for a in judge(questions)] == [0.0] * 6
    assert (judge.counts.from_cache, judge.counts.requests) == (3, 3)


def test_cost_budget_and_costs(server: Any, judge_of: Any) -> None:
    questions = [Question(POST, "good", f"bad {i}") for i in range(6)]
    # 10 tokens at 1 and 2 at 5 of a million: .00002 a reply.
    prices = {"price_prompt": 1.0, "price_reply": 5.0, "both_orders": False, "concurrency": 1}
    judge = judge_of(cost_budget=0.00003, **prices)
    with pytest.raises(JudgeError, match="4e-05 is spent; allowed cost_budget, 3e-05; 2 of 6"):
        judge(questions)
    assert judge.counts.cost == pytest.approx(4e-5, rel=1e-12)
    assert (judge.counts.prompt_tokens, judge.counts.reply_tokens) == (20, 4)


def test_so_many_requests_at_once(server: Any, chat: Any, judge_of: Any) -> None:
    meeting = threading.Barrier(3)

    def answer(request: Any, number: int) -> Any:
        meeting.wait(30)  # breaks unless three are here together
        return chat.said("Preferred: A")

    server.answer = answer
    questions = [Question(POST, "good", f"bad {i}") for i in range(12)]
    answers = judge_of(concurrency=3, both_orders=False)(questions)
    assert all(answer.choice == 0.0 for answer in answers)
    assert server.most_at_once == 3


def test_progress(judge_of: Any) -> None:
    seen: list[tuple[int, int]] = []
    questions = [Question(POST, "good", f"bad {i}") for i in range(5)]
    judge_of()(questions, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(1, 6)]


def test_no_question(judge_of: Any) -> None:
    judge = judge_of()
    assert judge([]) == []
    assert math.isnan(judge.counts.report()["share of orders agreeing"])


def test_the_key_is_on_no_file_and_in_no_answer(
    server: Any, chat: Any, judge_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_TEST_KEY", "sk-secret-42")
    server.script(chat.Response(b"who is sk-secret-42?", 400), chat.said("Preferred: A"))
    judge = judge_of(api_key_env="JUDGE_TEST_KEY", concurrency=1, both_orders=False)
    answers = judge([PAIR, Question(POST, "a", "b")])
    assert server.requests[1].headers["Authorization"] == "Bearer sk-secret-42"
    assert "who is ***?" in answers[0].detail
    for file in tmp_path.rglob("*"):
        assert b"sk-secret-42" not in file.read_bytes()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"base_url": ""}, "base_url is missing; allowed a text"),
        ({"model": ""}, "model is missing"),
        ({"prompt": "{post}"}, "prompt has no {a}"),
        ({"concurrency": 0}, "concurrency is 0; allowed 1 or more"),
        ({"retries": -1}, "retries is -1; allowed 0 or more"),
        ({"temperature": math.nan}, "temperature is nan; allowed 0 or more"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0; allowed above 0"),
        ({"requests_per_minute": 0.0}, "requests_per_minute is 0.0; allowed above 0"),
        ({"more": {"stream": True}}, "more has 'stream'; allowed other fields of a request"),
        ({"cost_budget": 1.0}, "cost_budget without prices; allowed with price_prompt"),
    ],
)
def test_settings_that_are_refused(setting: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        replace(LLMSettings("http://localhost/v1", "m"), **setting)


def test_settings_on_file(tmp_path: Path) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text("base_url: http://localhost/v1\nmodel: m\nmore: {seed: 1}\n")
    assert resolve(LLMSettings, file=file) == LLMSettings(
        "http://localhost/v1", "m", more={"seed": 1}
    )
    file.write_text("base_url: http://localhost/v1\nmodle: m\n")
    with pytest.raises(ConfigError, match=r"unknown key 'modle'; did you mean 'model'\?"):
        resolve(LLMSettings, file=file)
