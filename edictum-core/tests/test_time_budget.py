"""
Searches within the time that a rule and a call may take, on a pattern whose every step is new work.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from edictum.ruleset import time_budget
from edictum.ruleset.patterns import admit
from edictum.ruleset.time_budget import Deadline, RuleTimeoutError, TimeBudget
from guards import AsyncTool, Tool, denial, events_of, guard_of, post, pre, run

SLOW = "a[ab]{300}c"  # its automaton has more states than a text has characters
_choice = random.Random(0)
LONG = "".join(_choice.choice("ab") for _ in range(900_000))

slow_args = {"when": {"args.text": {"matches": SLOW}}}
slow_output = {"when": {"output.text": {"matches": SLOW}}}


class Clock(threading.local):
    """
    A processor's time by hand, for each thread its own: real time jumps when the machine is busy.

    Attributes:
        now: Seconds.
        tick: Seconds that pass whenever somebody looks.
    """

    now = 0.0

    def __init__(self, tick: float) -> None:
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def burn(self, seconds: float) -> Callable[[str, Deadline], str]:
        """
        A search that takes so long, and looks at the deadline at its end.
        """

        def search(text: str, check: Deadline) -> str:
            self.now += seconds
            check()
            return text

        return search


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """
    A clock that stands still unless somebody burns time.
    """
    return clock_of(monkeypatch, tick=0.0)


def clock_of(monkeypatch: pytest.MonkeyPatch, *, tick: float) -> Clock:
    """
    Put a clock in place, with fifty milliseconds for a rule and two hundred for a call.
    """
    for name, seconds in (("RULE", 0.05), ("CALL", 0.2)):
        monkeypatch.setattr(time_budget, f"{name}_SECONDS", seconds)
        monkeypatch.setattr(TimeBudget, f"_{name.lower()}_left", seconds)
    clock = Clock(tick)
    monkeypatch.setattr(time_budget, "thread_time", clock)
    return clock


# --- the budget ----------------------------------------------------------------------------------


def test_run_within_the_time_returns_what_the_search_returns(clock: Clock) -> None:
    assert TimeBudget().run(clock.burn(0.001), "text") == "text"


def test_run_beyond_the_time_of_the_rule_raises_and_the_next_rule_has_its_own(clock: Clock) -> None:
    budget = TimeBudget()
    budget.rule = "first"
    budget.run(clock.burn(0.03), "")
    with pytest.raises(RuleTimeoutError, match="rule_timeout: the searches of one rule took more than 50 ms"):
        budget.run(clock.burn(0.03), "")
    budget.rule = "second"
    budget.run(clock.burn(0.03), "")


def test_run_beyond_the_time_of_the_call_raises_whatever_the_rule(clock: Clock) -> None:
    budget = TimeBudget()
    for number in range(4):
        budget.rule = number
        budget.run(clock.burn(0.04), "")
    budget.rule = "next"
    with pytest.raises(RuleTimeoutError, match="rule_timeout: the searches of one call took more than 200 ms"):
        budget.run(clock.burn(0.045), "")
    budget.rule = None
    with pytest.raises(RuleTimeoutError):
        budget.run(clock.burn(0), "")


def test_run_without_a_rule_has_the_time_of_the_call(clock: Clock) -> None:
    budget = TimeBudget()
    budget.run(clock.burn(0.12), "")
    with pytest.raises(RuleTimeoutError, match="one call"):
        budget.run(clock.burn(0.12), "")


def test_run_counts_a_search_that_raised(clock: Clock) -> None:
    def fail(text: str, check: Deadline) -> None:
        clock.burn(0.055)(text, lambda: None)
        raise KeyError(text)

    budget = TimeBudget()
    budget.rule = "rule"
    with pytest.raises(KeyError):
        budget.run(fail, "")
    with pytest.raises(RuleTimeoutError):
        budget.run(clock.burn(0), "")


def test_slow_pattern_stops_soon_after_its_time_in_found_and_in_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_of(monkeypatch, tick=0.01)
    pattern = admit(SLOW)
    for search in (pattern.found, lambda text, budget: pattern.replace(text, "", budget)):
        budget = TimeBudget()
        budget.rule = "rule"
        began = clock.now
        with pytest.raises(RuleTimeoutError):
            search(LONG, budget)
        assert 0.05 <= clock.now - began < 0.08


def test_standard_engine_is_counted_though_it_cannot_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_of(monkeypatch, tick=0.06)
    pattern = admit(r"x(?:(?!foo).)*bar")
    text = "bar".ljust(pattern.limit, "x")
    budget = TimeBudget()
    budget.rule = "rule"
    assert not pattern.found(text, budget)
    with pytest.raises(RuleTimeoutError):
        pattern.found(text, budget)


def test_short_texts_are_searched_though_no_time_is_left(clock: Clock) -> None:
    budget = TimeBudget()
    with pytest.raises(RuleTimeoutError):
        budget.run(clock.burn(0.21), "")
    assert admit(SLOW).found("a" * 301 + "c", budget)
    assert admit("^(a+)+$").found("a" * 900, budget)


# --- rules that take too long --------------------------------------------------------------------


def _detail(record: dict[str, Any]) -> str:
    assert record["metadata"]["policy_error"] is True
    return str(record["metadata"]["error_detail"])


@pytest.mark.security
def test_rule_that_takes_too_long_blocks_and_the_log_says_why() -> None:
    guard = guard_of(pre("slow", **slow_args), pre("never", when={"args.text": {"equals": "x"}}))
    assert str(denial(guard, args={"text": LONG})) == "slow says no"
    (event,) = events_of(guard)
    assert (event.decision_name, event.policy_error) == ("slow", True)
    assert "rule_timeout" in _detail(event.contracts_evaluated[0])
    assert run(guard, args={"text": LONG[:900]}) == "done"


@pytest.mark.security
def test_rule_that_takes_too_long_blocks_in_evaluate() -> None:
    result = guard_of(pre("slow", **slow_args)).evaluate("read", {"text": LONG})
    assert (result.decision, result.policy_error, result.block_reasons) == ("block", True, ["slow says no"])


@pytest.mark.parametrize("options", [{"mode": "observe"}, {"defaults_mode": "observe"}])
def test_rule_that_takes_too_long_in_observe_mode_is_recorded_and_lets_pass(options: dict[str, Any]) -> None:
    mode = {"mode": options["mode"]} if "mode" in options else {}
    guard = guard_of(pre("slow", **slow_args, **mode), defaults_mode=options.get("defaults_mode", "enforce"))
    assert run(guard, args={"text": LONG}) == "done"
    event = events_of(guard)[0]
    assert (str(event.action), event.decision_name, event.policy_error) == ("call_would_deny", "slow", True)
    assert "rule_timeout" in _detail(event.contracts_evaluated[0])


@pytest.mark.security
def test_post_rule_that_takes_too_long_withholds_the_output() -> None:
    guard = guard_of(post("slow", action="redact", **slow_output))
    assert run(guard, Tool(LONG)) == "[OUTPUT SUPPRESSED] slow says no"
    assert "rule_timeout" in _detail(events_of(guard)[-1].contracts_evaluated[0])


@pytest.mark.security
def test_redaction_that_takes_too_long_withholds_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeBudget, "_call_left", 0.3)
    either = {"any": [{"output.text": {"starts_with": "a"}}, {"output.text": {"matches": SLOW}}]}
    guard = guard_of(post("slow", action="redact", when=either))
    assert run(guard, Tool("a" + LONG)) == "[OUTPUT SUPPRESSED] slow says no"


def test_calls_at_the_same_time_have_a_time_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two rules of one call take part of its time, those of all calls more than one call has."""
    clock_of(monkeypatch, tick=0.01)
    guard = guard_of(*(pre(f"slow-{number}", mode="observe", **slow_args) for number in range(2)))

    async def together() -> None:
        await asyncio.gather(*(guard.run("read", {"text": LONG}, AsyncTool()) for _ in range(4)))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(asyncio.run, together()) for _ in range(2)]:
            done.result()
    details = [_detail(record) for event in events_of(guard) for record in event.contracts_evaluated]
    assert len(details) >= 16
    assert all("one rule" in detail for detail in details)


def test_call_whose_rules_take_too_long_together_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_of(monkeypatch, tick=0.01)
    observed = [pre(f"slow-{number}", mode="observe", **slow_args) for number in range(5)]
    guard = guard_of(*observed, pre("last", when={"args.text": {"matches": r"^(x+)+$"}}))
    denial(guard, args={"text": LONG})
    records = {record["name"]: record for record in events_of(guard)[-1].contracts_evaluated}
    assert "one rule" in _detail(records["slow-0"])
    assert "one call" in _detail(records["last"])
