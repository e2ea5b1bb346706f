"""
What the guard decides holds in crews: with wrapped tools and over the net, natively and by text.
"""

from __future__ import annotations

import pytest
from crews import (
    REASON,
    SECRET,
    actions,
    both_paths,
    both_ways,
    events_of,
    guard_of,
    mask,
    no_secrets,
    play,
    raising,
    reader,
    script_of,
)
from edictum import OperationLimits
from edictum_crewai import CrewAIAdapter
from edictum_crewai._framework import MODERN_HOOKS
from edictum_crewai._net import UNCHECKED, WITHHELD


@both_paths
@both_ways
def test_denied_call_never_runs_and_the_model_goes_on(way: str, native: bool) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    llm = script_of("secret.txt", "notes.txt", native=native)
    play(CrewAIAdapter(guard), way, llm, reader(ran))
    assert ran == ["notes.txt"]
    assert actions(guard) == ["call_denied", "call_allowed", "call_executed"]
    assert "text of notes.txt" in llm.results()[1]


@both_paths
@both_ways
def test_denied_call_tells_the_model_the_reason(way: str, native: bool) -> None:
    if way == "net" and not native and not MODERN_HOOKS:
        pytest.skip("this release of CrewAI runs no after-hook for a blocked call of the text path")
    llm = script_of("secret.txt", native=native)
    play(CrewAIAdapter(guard_of(no_secrets())), way, llm, reader([]))
    (shown,) = llm.results()
    assert REASON in shown
    assert "'no-secrets'" in shown
    assert "The tool did not run." in shown


@both_paths
@both_ways
def test_guard_that_raises_blocks(way: str, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    guard = guard_of()
    monkeypatch.setattr(guard, "govern", raising)
    llm = script_of("a.txt", native=native)
    play(CrewAIAdapter(guard), way, llm, reader(ran))
    assert ran == []
    if way == "net" and (native or MODERN_HOOKS):
        assert UNCHECKED in llm.results()[0]


def test_net_whose_guard_raises_lets_pass_when_observing(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    guard = guard_of(mode="observe")
    monkeypatch.setattr(guard, "govern", raising)
    llm = script_of("a.txt")
    play(CrewAIAdapter(guard), "net", llm, reader(ran))
    assert ran == ["a.txt"]
    assert llm.results() == ["text of a.txt"]


@both_paths
def test_net_that_cannot_judge_a_result_withholds_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guard_of(mask())
    govern = guard.govern

    def broken(*args: object, **facts: object) -> object:
        call = govern(*args, **facts)  # type: ignore[arg-type]
        made = type("Broken", (type(call),), {"finish_sync": raising, "__slots__": ()})
        call.__class__ = made
        return call

    monkeypatch.setattr(guard, "govern", broken)
    llm = script_of("a.txt", native=native)
    play(CrewAIAdapter(guard), "net", llm, reader([], f"it is {SECRET}"))
    assert llm.results() == [WITHHELD]
    assert SECRET not in llm.saw()


@both_paths
@both_ways
def test_redacted_result_is_what_the_model_sees(way: str, native: bool) -> None:
    llm = script_of("a.txt", native=native)
    play(CrewAIAdapter(guard_of(mask())), way, llm, reader([], f"it is {SECRET}"))
    assert llm.results() == ["it is [REDACTED]"]
    assert SECRET not in llm.saw()


@both_paths
@both_ways
def test_observing_guard_changes_nothing_and_reports(way: str, native: bool) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets(), mask(), mode="observe")
    llm = script_of("secret.txt", native=native)
    play(CrewAIAdapter(guard), way, llm, reader(ran, f"it is {SECRET}"))
    assert ran == ["secret.txt"]
    assert llm.results() == [f"it is {SECRET}"]
    assert actions(guard) == ["call_would_deny", "call_allowed", "call_executed"]


@both_ways
def test_limits_count_calls_that_ran(way: str) -> None:
    ran: list[str] = []
    guard = guard_of(limits=OperationLimits(max_tool_calls=2))
    llm = script_of("a.txt", "b.txt", "c.txt")
    play(CrewAIAdapter(guard), way, llm, reader(ran))
    assert ran == ["a.txt", "b.txt"]
    assert "did not run" in llm.results()[2]


@both_ways
def test_rules_know_tools_by_the_name_that_the_model_uses(way: str) -> None:
    guard = guard_of(no_secrets("read_file"))
    play(CrewAIAdapter(guard), way, script_of("secret.txt"), reader([]))
    assert [(event.tool_name, event.tool_args) for event in events_of(guard)] == [("read_file", {"path": "secret.txt"})]
