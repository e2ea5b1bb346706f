"""
Guards, scripted models and agents for tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from edictum import AuditEvent, Edictum
from edictum_langchain import EdictumMiddleware
from edictum_langchain.scripted import ScriptedModel
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

ALWAYS: dict[str, Any] = {"tool.name": {"exists": True}}
SECRET = "hunter2"

both_entries = pytest.mark.parametrize("entry", ["invoke", "ainvoke"])


def rule(action: str, tool: str = "*", when: Any = None, rule_id: str = "rule", **then: Any) -> dict[str, Any]:
    """
    A rule about calls, or for ``redact`` and ``withhold`` about results that hold the secret.
    """
    if action in ("redact", "withhold", "warn"):
        kind, when = "post", when or {"output.text": {"contains": SECRET}}
        action = "block" if action == "withhold" else action
    else:
        kind, when = "pre", when or ALWAYS
    then = {"action": action, "message": "the rule says so", **then}
    return {"id": rule_id, "type": kind, "tool": tool, "when": when, "then": then}


def guard_of(*rules: dict[str, Any], **options: Any) -> Edictum:
    """
    A guard for tools that only read.
    """
    ruleset = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "tests"},
        "defaults": {"mode": "enforce"},
        "tools": {name: {"side_effect": "read"} for name in ("read", "look", "find")},
        "rules": list(rules) or [rule("block", "no_such_tool")],
    }
    return Edictum.from_bundle_dict(ruleset, telemetry=False, **options)


def call(number: int, tool: str, **args: Any) -> dict[str, Any]:
    """
    A tool call of the model.
    """
    return {"name": tool, "args": args, "id": f"call_{number}", "type": "tool_call"}


class Model:
    """
    A model that makes these calls, turn by turn, and notes what it is sent.
    """

    def __init__(self, *turns: list[dict[str, Any]]) -> None:
        self.requests: list[list[BaseMessage]] = []
        self._turns = turns

    def answer(self, messages: Sequence[BaseMessage]) -> AIMessage:
        self.requests.append(list(messages))
        turn = len(self.requests) - 1
        return AIMessage("", tool_calls=self._turns[turn]) if turn < len(self._turns) else AIMessage("done")

    @property
    def results(self) -> list[ToolMessage]:
        """
        Results of tools in the last request.
        """
        return [message for message in self.requests[-1] if isinstance(message, ToolMessage)]


def agent_of(model: Model, tools: list[Any], *middleware: Any, **options: Any) -> Any:
    """
    An agent with this middleware; guards are taken for theirs.
    """
    chain = [EdictumMiddleware(each) if isinstance(each, Edictum) else each for each in middleware]
    return create_agent(ScriptedModel(model.answer), tools, middleware=chain, **options)


def start(agent: Any, entry: str = "invoke", given: Any = None, thread: str = "t", **options: Any) -> Any:
    """
    Run an agent, or go on with one that waits.
    """
    given = {"messages": [("user", "go")]} if given is None else given
    config = {"configurable": {"thread_id": thread}}
    if entry == "invoke":
        return agent.invoke(given, config, **options)
    return asyncio.run(agent.ainvoke(given, config, **options))


def events_of(guard: Edictum) -> list[AuditEvent]:
    return list(guard.local_sink.events)


def actions(guard: Edictum) -> list[str]:
    return [str(event.action) for event in events_of(guard)]
