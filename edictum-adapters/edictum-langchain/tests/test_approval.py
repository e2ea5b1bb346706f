"""
Approvals by ``interrupt()``: the graph pauses, and the call is made once when it is resumed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import Model, actions, agent_of, both_entries, call, events_of, guard_of, rule, start
from edictum import Edictum, OperationLimits
from edictum_langchain import InterruptApprovalBackend, LangChainAdapter
from langchain.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

ASK = rule("ask", "send", rule_id="ask-first")


class Tools:
    """
    A tool that needs approval, and one that does not.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []

        @tool
        def send(to: str) -> str:
            """Send a letter."""
            self.ran.append(f"send {to}")
            return "sent"

        @tool
        def read(path: str) -> str:
            """Read a file."""
            self.ran.append(f"read {path}")
            return "text"

        self.all: list[Any] = [send, read]


def asking(*rules: dict[str, Any], **options: Any) -> Edictum:
    return guard_of(ASK, *rules, approval_backend=InterruptApprovalBackend(), **options)


def paused(model: Model, guard: Edictum, tools: Tools, **options: Any) -> Any:
    return agent_of(model, tools.all, guard, checkpointer=InMemorySaver(), **options)


@both_entries
@pytest.mark.parametrize("answer", [True, {"approved": True, "approver": "ann", "reason": "fine"}])
def test_approved_call_runs_once_when_the_run_is_resumed(entry: str, answer: Any) -> None:
    tools, model = Tools(), Model([call(1, "send", to="bob")])
    guard = asking(limits=OperationLimits(max_tool_calls=1, max_attempts=1))
    agent = paused(model, guard, tools)
    state = start(agent, entry)
    assert tools.ran == []
    (waiting,) = state["__interrupt__"]
    assert waiting.value == {
        "type": "edictum_approval",
        "approval_id": "call_1",
        "tool": "send",
        "args": {"to": "bob"},
        "message": "the rule says so",
        "rules": ["ask-first"],
    }
    state = start(agent, entry, Command(resume=answer))
    assert tools.ran == ["send bob"]
    assert state["messages"][-1].content == "done"
    assert actions(guard) == ["call_approval_requested", "call_approval_granted", "call_executed"]
    found = events_of(guard)
    assert {event.call_id for event in found} == {"call_1"}
    assert (found[-1].session_attempt_count, found[-1].session_execution_count) == (1, 1)
    if isinstance(answer, dict):
        assert (found[1].metadata or {})["approver"] == "ann"


@both_entries
@pytest.mark.parametrize(
    "answer", [False, {"approved": False, "reason": "not now"}, "yes", 1, {"approved": "true"}, ["approved"]]
)
def test_any_other_answer_is_a_no(entry: str, answer: Any) -> None:
    tools, model = Tools(), Model([call(1, "send", to="bob")])
    guard = asking()
    agent = paused(model, guard, tools)
    start(agent, entry)
    start(agent, entry, Command(resume=answer))
    assert tools.ran == []
    assert actions(guard) == ["call_approval_requested", "call_approval_denied"]
    (message,) = model.results
    assert message.status == "error"
    assert "Do not make the call again unless the user asks" in str(message.content)
    assert ("not now" in str(message.content)) is ("not now" in str(answer))


@both_entries
def test_other_calls_of_the_turn_are_not_made_again(entry: str) -> None:
    tools, guard = Tools(), asking()
    model = Model([call(1, "read", path="a"), call(2, "send", to="bob"), call(3, "read", path="b")])
    agent = paused(model, guard, tools)
    start(agent, entry)
    assert sorted(tools.ran) == ["read a", "read b"]
    start(agent, entry, Command(resume=True))
    assert sorted(tools.ran) == ["read a", "read b", "send bob"]
    assert sorted(actions(guard)) == sorted(
        ["call_allowed", "call_executed"] * 2 + ["call_approval_requested", "call_approval_granted", "call_executed"]
    )


@both_entries
def test_answers_to_two_calls_reach_the_calls_that_they_are_for(entry: str) -> None:
    tools, guard = Tools(), asking()
    agent = paused(Model([call(1, "send", to="ann"), call(2, "send", to="bob")]), guard, tools)
    waiting = {each.value["args"]["to"]: each.id for each in start(agent, entry)["__interrupt__"]}
    state = start(agent, entry, Command(resume={waiting["bob"]: True}))
    assert tools.ran == ["send bob"]
    (left,) = state["__interrupt__"]
    start(agent, entry, Command(resume={left.id: False}))
    assert tools.ran == ["send bob"]
    found = [(str(event.action), event.call_id) for event in events_of(guard)]
    answered = [("call_approval_granted", "call_2"), ("call_executed", "call_2"), ("call_approval_denied", "call_1")]
    assert [each for each in found if each[0] != "call_approval_requested"] == answered
    # The call without an answer asked again, under the same id.
    asked = [(event.metadata or {})["approval_id"] for event in events_of(guard) if "requested" in event.action]
    assert sorted(asked) == ["call_1", "call_1", "call_2"]


@both_entries
def test_secret_arguments_are_not_shown_to_the_approver(entry: str) -> None:
    token = "ghp_" + "a1B2" * 9
    tools, guard = Tools(), asking()
    agent = paused(Model([call(1, "send", to=token)]), guard, tools)
    assert token not in str(start(agent, entry)["__interrupt__"])
    start(agent, entry, Command(resume=True))
    assert tools.ran == [f"send {token}"]


@both_entries
def test_rule_that_changes_while_the_run_is_paused_counts(entry: str) -> None:
    tools, guard = Tools(), asking()
    model = Model([call(1, "send", to="bob")])
    agent = paused(model, guard, tools)
    start(agent, entry)
    stricter = agent_of(model, tools.all, guard_of(rule("block", "send")), checkpointer=agent.checkpointer)
    start(stricter, entry, Command(resume=True))
    assert tools.ran == []
    assert "the rule says so" in str(model.results[0].content)


@both_entries
def test_tool_that_interrupts_by_itself_is_counted_once(entry: str) -> None:
    ran: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send a letter."""
        ran.append(f"signed by {interrupt('who signs?')}")
        return "sent"

    guard = asking(limits=OperationLimits(max_tool_calls=1))
    agent = agent_of(Model([call(1, "send", to="bob")]), [send], guard, checkpointer=InMemorySaver())
    assert start(agent, entry)["__interrupt__"][0].value["type"] == "edictum_approval"
    assert start(agent, entry, Command(resume=True))["__interrupt__"][0].value == "who signs?"
    start(agent, entry, Command(resume="ann"))
    assert ran == ["signed by ann"]
    assert actions(guard).count("call_executed") == 1
    assert "call_failed" not in actions(guard)


@both_entries
def test_wrapped_tools_pause_as_well(entry: str) -> None:
    tools, guard = Tools(), asking()
    wrapped = LangChainAdapter(guard).wrap_tools(tools.all)
    agent = agent_of(Model([call(1, "send", to="bob")]), wrapped, checkpointer=InMemorySaver())
    assert start(agent, entry)["__interrupt__"]
    assert tools.ran == []
    start(agent, entry, Command(resume=True))
    assert tools.ran == ["send bob"]


@both_entries
def test_graph_without_a_checkpointer_never_makes_the_call(entry: str) -> None:
    tools, guard = Tools(), asking()
    start(agent_of(Model([call(1, "send", to="bob")]), tools.all, guard), entry)
    assert tools.ran == []
    assert "call_executed" not in actions(guard)


def test_call_outside_a_graph_is_blocked() -> None:
    tools, guard = Tools(), asking()
    wrapped = LangChainAdapter(guard).wrap_tools(tools.all)
    assert "approval could not be obtained" in wrapped[0].invoke({"to": "bob"})
    assert tools.ran == []
    assert actions(guard) == ["call_approval_denied"]


def test_wait_for_another_request_is_refused() -> None:
    backend = InterruptApprovalBackend()

    async def main() -> None:
        await backend.request_approval("send", {}, "May it?", metadata={"call_id": "call_1"})
        with pytest.raises(ValueError, match="not asked for here"):
            await backend.wait_for_decision("call_2")
        with pytest.raises(ValueError, match="not asked for here"):
            await backend.wait_for_decision("call_1")

    asyncio.run(main())
