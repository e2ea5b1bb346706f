"""
What the decision log says of calls matches what ran: batches, retries, delegation, caches, limits, failures.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from crewai import Crew
from crewai.tools import BaseTool
from crews import (
    SECRET,
    actions,
    agent_of,
    both_paths,
    both_ways,
    crew_of,
    events_of,
    forbidden,
    guard_of,
    mask,
    modern,
    no_secrets,
    play,
    reader,
    script_of,
    task_of,
    under,
)
from edictum import OperationLimits
from edictum_crewai import CrewAIAdapter, Registration
from edictum_crewai.scripted import ScriptedLLM, use, use_raw


@both_ways
def test_batch_that_runs_in_parallel_has_an_outcome_for_each_call(way: str) -> None:
    count = 4
    meeting = threading.Barrier(count)

    def body(path: str) -> str:
        meeting.wait(20)
        return f"text of {path}"

    guard = guard_of()
    llm = ScriptedLLM.of([use("read_file", path=f"{number}.txt") for number in range(count)])
    play(CrewAIAdapter(guard), way, llm, reader([], body))
    found = Counter((str(event.action), event.tool_args["path"]) for event in events_of(guard))
    steps = ("call_allowed", "call_executed")
    assert found == {(step, f"{number}.txt"): 1 for step in steps for number in range(count)}
    assert max(event.session_execution_count for event in events_of(guard)) == count
    assert llm.results() == [f"text of {number}.txt" for number in range(count)]


@both_ways
def test_batch_with_a_denied_call_runs_the_others(way: str) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    llm = ScriptedLLM.of([use("read_file", path=path) for path in ("a.txt", "secret.txt", "b.txt")])
    play(CrewAIAdapter(guard), way, llm, reader(ran))
    assert sorted(ran) == ["a.txt", "b.txt"]
    assert Counter(actions(guard)) == {"call_allowed": 2, "call_executed": 2, "call_denied": 1}


def delegation(adapter: CrewAIAdapter, way: str, ran: list[str]) -> tuple[Crew, ScriptedLLM]:
    job = use("delegate_work_to_coworker", task="read", context="none", coworker="helper")
    boss = ScriptedLLM.of([job])
    given, net = under(adapter, way, reader(ran))
    with net:
        helper = agent_of(script_of("secret.txt", "notes.txt"), *given, role="helper")
        chief = agent_of(boss, role="chief", allow_delegation=True)
        crew = Crew(agents=[chief, helper], tasks=[task_of(chief)], verbose=False)
        with adapter.register():
            crew.kickoff()
    return crew, boss


@both_ways
def test_delegated_work_is_decided_and_so_is_the_delegation(way: str) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    delegation(CrewAIAdapter(guard), way, ran)
    assert ran == ["notes.txt"]
    assert [(str(event.action), event.tool_name, event.metadata["caller"]) for event in events_of(guard)] == [
        ("call_allowed", "delegate_work_to_coworker", "chief"),
        ("call_denied", "read_file", "helper"),
        ("call_allowed", "read_file", "helper"),
        ("call_executed", "read_file", "helper"),
        ("call_executed", "delegate_work_to_coworker", "chief"),
    ]
    outer = events_of(guard)[0].call_id
    assert [event.parent_call_id for event in events_of(guard)] == [None, outer, outer, outer, None]


@both_ways
def test_calls_of_a_crew_inside_a_tool_name_the_call_that_they_are_part_of(way: str) -> None:
    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    given, net = under(adapter, way, reader([]))

    def inside(path: str) -> str:
        return str(crew_of(script_of("secret.txt", "b.txt"), *given).kickoff())

    outer, _ = under(adapter, "wrapped", reader([], inside))
    with net:
        crew_of(script_of("a.txt"), *outer).kickoff()
    found = events_of(guard)
    assert found[0].parent_call_id is None
    assert {event.parent_call_id for event in found[1:4]} == {found[0].call_id}
    assert found[4].parent_call_id is None


def test_delegation_can_be_forbidden() -> None:
    ran: list[str] = []
    guard = guard_of(forbidden("delegate_work_to_coworker"))
    _, boss = delegation(CrewAIAdapter(guard), "net", ran)
    assert ran == []
    assert "did not run" in boss.results()[0]
    assert actions(guard) == ["call_denied"]


@both_paths
@both_ways
def test_failing_tool_is_recorded_as_failed_and_the_run_goes_on_as_ever(way: str, native: bool) -> None:
    def run(ran: list[str], adapter: CrewAIAdapter | None) -> ScriptedLLM:
        llm = script_of("a.txt", native=native)
        tool = reader(ran, OSError("no such file"))
        if adapter is None:
            crew_of(llm, tool).kickoff()
        else:
            play(adapter, way, llm, tool)
        return llm

    guard = guard_of()
    ran: list[str] = []
    llm = run(ran, CrewAIAdapter(guard))
    ungoverned: list[str] = []
    assert llm.results() == run(ungoverned, None).results()
    assert ran == ungoverned
    # Of a call by text CrewAI makes several tries; the net sees one call, wrapped tools see what ran.
    seen = len(ran) if way == "wrapped" else 1
    assert Counter(actions(guard)) == {"call_allowed": seen, "call_failed": seen}


@both_paths
@both_ways
def test_failing_tool_does_not_tell_the_model_what_is_masked(way: str, native: bool) -> None:
    llm = script_of("a.txt", native=native)
    play(CrewAIAdapter(guard_of(mask())), way, llm, reader([], OSError(f"{SECRET} is wrong")))
    assert SECRET not in llm.saw()
    assert "[REDACTED] is wrong" in llm.results()[0]


@both_paths
def test_same_call_of_a_wrapped_tool_is_decided_and_run_again(native: bool) -> None:
    ran: list[str] = []
    guard = guard_of(limits=OperationLimits(max_tool_calls=2))
    llm = script_of("a.txt", "b.txt", "a.txt", native=native)
    crew_of(llm, *CrewAIAdapter(guard).wrap_tools([reader(ran)]), cache=True).kickoff()
    assert ran == ["a.txt", "b.txt"]
    assert actions(guard) == ["call_allowed", "call_executed"] * 2 + ["call_denied"]
    assert "did not run" in llm.results()[2]


@both_paths
def test_cached_answer_is_decided_and_masked_but_not_executed(native: bool) -> None:
    ran: list[str] = []
    guard = guard_of(mask())
    llm = script_of("a.txt", "b.txt", "a.txt", native=native)
    with CrewAIAdapter(guard).register():
        crew_of(llm, reader(ran, f"it is {SECRET}"), cache=True).kickoff()
    assert ran == ["a.txt", "b.txt"]
    assert actions(guard) == ["call_allowed", "call_executed"] * 2 + ["call_allowed"]
    assert events_of(guard)[-1].session_execution_count == 3  # the place is taken while it is decided, then given back
    assert SECRET not in llm.saw()
    assert len(llm.results()) == 3


def test_wrapped_tool_answered_by_what_a_plain_one_left_in_the_cache_is_decided_by_the_net() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    llm = script_of("secret.txt")
    plain = agent_of(script_of("secret.txt"), reader(ran), role="plain")
    governed = agent_of(llm, *adapter.wrap_tools([reader(ran)]), role="governed")
    crew = Crew(agents=[plain, governed], tasks=[task_of(plain), task_of(governed)], verbose=False, cache=True)
    crew.tasks[0].callback = lambda output: handles.append(adapter.register())
    handles: list[Registration] = []
    crew.kickoff()
    handles[0].unregister()
    assert ran == ["secret.txt"]  # by the plain tool, which nobody governs
    assert "did not run" in llm.results()[0]
    assert actions(guard) == ["call_denied"]


@both_paths
@both_ways
def test_tool_whose_uses_are_spent_is_not_executed(way: str, native: bool) -> None:
    ran: list[str] = []
    guard = guard_of()
    tool = reader(ran)
    tool.max_usage_count = 1
    play(CrewAIAdapter(guard), way, script_of("a.txt", "b.txt", native=native), tool)
    assert ran == ["a.txt"]
    assert actions(guard).count("call_executed") == 1
    assert "call_failed" not in actions(guard)


@both_paths
@both_ways
@pytest.mark.parametrize(
    "call",
    [
        use("no_such_tool", path="a.txt"),
        use("read_file", file="a.txt"),
        use_raw("read_file", "[path"),
    ],
    ids=["unknown", "invalid", "malformed"],
)
def test_call_that_cannot_run_has_no_outcome(way: str, call: dict[str, object], native: bool) -> None:
    ran: list[str] = []
    guard = guard_of()
    llm = ScriptedLLM.of([call], native=native)
    play(CrewAIAdapter(guard), way, llm, reader(ran))
    assert ran == []
    assert set(actions(guard)) <= {"call_allowed"}
    assert len(llm.results()) == 1


@both_ways
def test_arguments_by_text_that_crewai_repairs_are_judged_as_they_run(way: str) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    llm = ScriptedLLM.of(
        [use_raw("read_file", "{'path': 'secret.txt',}")], [use_raw("read_file", "{path: 'a.txt'")], native=False
    )
    play(CrewAIAdapter(guard), way, llm, reader(ran))
    assert ran == ["a.txt"]
    assert [(str(event.action), event.tool_args) for event in events_of(guard)] == [
        ("call_denied", {"path": "secret.txt"}),
        ("call_allowed", {"path": "a.txt"}),
        ("call_executed", {"path": "a.txt"}),
    ]


@both_ways
def test_tool_that_asks_its_own_coroutine_is_judged_by_what_it_returns(way: str) -> None:
    class Awaited(BaseTool):
        name: str = "read_file"
        description: str = "Read a file."

        async def _run(self, path: str) -> str:
            return f"it is {SECRET} in {path}"

    guard = guard_of(mask())
    llm = script_of("a.txt")
    play(CrewAIAdapter(guard), way, llm, Awaited())
    assert llm.results() == ["it is [REDACTED] in a.txt"]
    assert actions(guard) == ["call_allowed", "call_executed"]


class Interrupted(BaseException):
    pass


@both_ways
def test_interrupted_tool_does_not_hold_up_later_calls(way: str) -> None:
    guard = guard_of()
    adapter = CrewAIAdapter(guard)
    results: list[object] = [Interrupted(), "text"]
    with pytest.raises(Interrupted):
        play(adapter, way, script_of("a.txt"), reader([], lambda path: results.pop(0)))
    play(adapter, way, script_of("b.txt"), reader([], lambda path: results.pop(0)))
    # CrewAI tells hooks nothing of an interruption.
    ended = ["call_failed"] if way == "wrapped" else []
    assert actions(guard) == ["call_allowed", *ended, "call_allowed", "call_executed"]


@modern
@both_ways
def test_failure_that_a_tool_declares_is_recorded_as_failed(way: str) -> None:
    from crewai.tools.tool_failure import ToolFailure

    guard = guard_of(mask())
    llm = script_of("a.txt")
    play(CrewAIAdapter(guard), way, llm, reader([], ToolFailure(message=f"no {SECRET}", code=SECRET)))
    assert actions(guard) == ["call_allowed", "call_failed"]
    assert SECRET not in llm.saw()


@modern
def test_declared_failure_without_findings_is_left_alone() -> None:
    from crewai.tools.tool_failure import ToolFailure

    failure = ToolFailure(message="no", code="e1", retryable=True)
    (tool,) = CrewAIAdapter(guard_of()).wrap_tools([reader([], failure)])
    assert tool.run(path="a") is failure
