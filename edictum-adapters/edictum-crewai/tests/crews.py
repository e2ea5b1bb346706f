"""
Crews, tools and guards for the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from crewai import Agent, Crew, Task
from crewai.tools import BaseTool, tool
from edictum import AuditEvent, Edictum
from edictum_crewai import CrewAIAdapter
from edictum_crewai._framework import MODERN_HOOKS
from edictum_crewai.scripted import ScriptedLLM, use

SECRET = "hunter2"
REASON = "That file is secret. Read notes.txt instead."

modern = pytest.mark.skipif(not MODERN_HOOKS, reason="this release of CrewAI has no such thing")
older = pytest.mark.skipif(MODERN_HOOKS, reason="releases with hooks that stand alone do not have the problem")
both_paths = pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
both_ways = pytest.mark.parametrize("way", ["wrapped", "net"])


def guard_of(*rules: Mapping[str, Any], mode: str = "enforce", **options: Any) -> Edictum:
    idle = rule("idle", "nobody_calls_it", {"tool.name": {"exists": True}})
    document = {
        "apiVersion": "edictum/v1",
        "kind": "Ruleset",
        "metadata": {"name": "tests"},
        "defaults": {"mode": mode},
        "tools": {"read_file": {"side_effect": "read"}},
        "rules": list(rules) or [idle],
    }
    return Edictum.from_bundle_dict(document, telemetry=False, **options)


def rule(name: str, tool: str, when: Mapping[str, Any], *, type: str = "pre", **then: Any) -> dict[str, Any]:
    then = {"action": "block", "message": REASON, **then}
    return {"id": name, "type": type, "tool": tool, "when": when, "then": then}


def no_secrets(tool: str = "read_file") -> dict[str, Any]:
    return rule("no-secrets", tool, {"args.path": {"contains": "secret"}})


def forbidden(tool: str) -> dict[str, Any]:
    return rule("forbidden", tool, {"tool.name": {"exists": True}})


def ask(tool: str = "*", seconds: int = 10) -> dict[str, Any]:
    return rule("ask", tool, {"tool.name": {"exists": True}}, action="ask", timeout=seconds)


def mask(action: str = "redact") -> dict[str, Any]:
    return rule("mask", "*", {"output.text": {"contains": SECRET}}, type="post", action=action)


def reader(ran: list[str], result: Any = None) -> BaseTool:
    """
    The tool ``Read File``, which models know as ``read_file``; what it returns or raises may be made of the path.
    """

    @tool("Read File")
    def read_file(path: str) -> Any:
        """
        Read a file.
        """
        ran.append(path)
        found = result(path) if callable(result) else result
        if isinstance(found, BaseException):
            raise found
        return f"text of {path}" if found is None else found

    return read_file


def agent_of(llm: ScriptedLLM, *tools: BaseTool, role: str = "reader", **options: Any) -> Agent:
    return Agent(role=role, goal="read", backstory="none", llm=llm, tools=list(tools), verbose=False, **options)


def crew_of(llm: ScriptedLLM, *tools: BaseTool, **options: Any) -> Crew:
    agent = agent_of(llm, *tools)
    return Crew(agents=[agent], tasks=[task_of(agent)], verbose=False, **options)


def task_of(agent: Agent, **options: Any) -> Task:
    return Task(description="read", expected_output="a text", agent=agent, **options)


def script_of(*paths: str, native: bool = True) -> ScriptedLLM:
    """
    A model that reads one file after the other.
    """
    return ScriptedLLM.of(*([use("read_file", path=path)] for path in paths), native=native)


def play(adapter: CrewAIAdapter, way: str, llm: ScriptedLLM, *tools: BaseTool) -> str:
    """
    Run a crew with wrapped tools, or with plain ones over a net.

    Returns:
        Its answer.
    """
    given, net = under(adapter, way, *tools)
    with net:
        return str(crew_of(llm, *given).kickoff())


def under(adapter: CrewAIAdapter, way: str, *tools: BaseTool) -> tuple[list[BaseTool], AbstractContextManager[Any]]:
    return (list(tools), adapter.register()) if way == "net" else (adapter.wrap_tools(tools), nullcontext())


def events_of(guard: Edictum) -> list[AuditEvent]:
    return list(guard.local_sink.events)


def actions(guard: Edictum) -> list[str]:
    return [str(event.action) for event in events_of(guard)]


def raising(*args: Any, **keywords: Any) -> Any:
    raise RuntimeError("made by the test")
