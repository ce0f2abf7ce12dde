"""List scheduling against schedules drawn by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.pipeline.schedule import Even, Turn, play, tails, total
from evalsuite.pipeline.steps import Plan, Step


def plan_of(needs: dict[str, str]) -> Plan:
    return Plan([Step(n, "sft", "", "write", inputs=tuple(of.split())) for n, of in needs.items()])


#   a(2) -> b(3) -> e(1)
#   c(1), d(4) -> e
PLAN = plan_of({"a": "", "b": "a", "c": "", "d": "", "e": "b d"})
SECONDS = {"a": 2.0, "b": 3.0, "c": 1.0, "d": 4.0, "e": 1.0}


def test_longest_way_to_the_end() -> None:
    # a: 2 + 3 + 1, b: 3 + 1, c: 1, d: 4 + 1, e: 1
    assert tails(PLAN, SECONDS) == {"a": 6, "b": 4, "c": 1, "d": 5, "e": 1}


def test_two_workers() -> None:
    # worker 1: a 0-2, b 2-5        , e 5-6
    # worker 2: d 0-4        , c 4-5
    assert play(PLAN, SECONDS, 2) == {
        "a": Turn(0, 2), "d": Turn(0, 4), "b": Turn(2, 5), "c": Turn(4, 5), "e": Turn(5, 6),
    }  # fmt: skip


def test_one_worker_takes_the_sum_and_many_the_longest_chain() -> None:
    assert total(play(PLAN, SECONDS, 1)) == 11
    assert total(play(PLAN, SECONDS, 9)) == 6
    assert total(play(PLAN, {}, 2)) == 0


def test_what_is_done_and_what_is_at_work() -> None:
    # a is done, d has 1.5 left: c or b first? b (4) before c (1). Worker 2: b 0-3, worker 1: d
    # until 1.5, c 1.5-2.5; e 3-4.
    turns = play(PLAN, {"b": 3.0, "c": 1.0, "e": 1.0}, 2, {"d": 1.5})
    assert turns["b"] == Turn(0, 3)
    assert turns["c"] == Turn(1.5, 2.5)
    assert turns["e"] == Turn(3, 4)


def test_what_needs_a_failed_step_is_left_out() -> None:
    # b failed: e never begins; c and d alone, on one worker: d first
    turns = play(PLAN, {"c": 1.0, "d": 4.0, "e": 1.0}, 1, blocked=["b"])
    assert turns == {"d": Turn(0, 4), "c": Turn(4, 5)}


def test_no_estimate_is_a_second_each() -> None:
    even = Even()
    even.learn(PLAN["a"], 100.0)
    assert even.seconds(PLAN["a"]) == 1.0


@given(
    needs=st.lists(st.lists(st.integers(0, 20), max_size=3), min_size=1, max_size=12),
    jobs=st.integers(1, 4),
    data=st.data(),
)
def test_bounds_of_any_list_schedule(
    needs: list[list[int]], jobs: int, data: st.DataObject
) -> None:
    plan = plan_of(
        {f"s{i}": " ".join(f"s{n % i}" for n in of) if i else "" for i, of in enumerate(needs)}
    )
    seconds = {s.name: float(data.draw(st.integers(1, 9))) for s in plan}
    turns = play(plan, seconds, jobs)
    for step in plan:
        assert all(turns[name].end <= turns[step.name].begin for name in step.inputs)
    for turn in turns.values():
        assert sum(t.begin <= turn.begin < t.end for t in turns.values()) <= jobs
    work, chain = sum(seconds.values()), max(tails(plan, seconds).values())
    # Graham: never longer than the work shared out plus what one chain keeps waiting
    assert max(chain, work / jobs) <= total(turns) + 1e-9
    assert total(turns) <= work / jobs + chain * (jobs - 1) / jobs + 1e-9
    assert total(turns) == pytest.approx(max(t.end for t in turns.values()))
