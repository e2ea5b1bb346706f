"""
An agent framework in memory, with an adapter and a driver for it: what the suite for adapters is tried out on.

Its hooks are functions around a call, the last one nearest to the tool.  It runs the calls of one turn in threads, or
as tasks; what a tool raises ends the run.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from edictum import Adapter, Edictum, EdictumDenied
from edictum.adapter import refusal_text
from edictum.testing import AdapterSuite
from edictum.testing.suites.agent_run import AgentRun, Entry, ModelCall, Script, Tool, ToolResult


@dataclass(frozen=True)
class Event:
    """
    What hooks are told about a call.
    """

    tool: str
    args: dict[str, Any]
    id: str
    context: Mapping[str, Any]


class TinyAgent:
    """
    Runs tools until the model answers.
    """

    def __init__(self, run: AgentRun, adapter: Any, tools: Mapping[str, Callable[..., Any]]) -> None:
        self.run_facts = run
        self.adapter = adapter
        self.tools = tools
        self.context = {"thread": run.session, "user": run.user, "agent": run.agent}

    def problem(self, call: ModelCall) -> str | None:
        tool = next((tool for tool in self.run_facts.tools if tool.name == call.tool), None)
        if tool is None or not isinstance(call.args, Mapping) or set(call.args) != set(tool.parameters):
            return "error: no such call"
        return None

    def event(self, call: ModelCall) -> Event:
        assert isinstance(call.args, dict)
        rewrite = self.run_facts.rewrite
        args = call.args if rewrite is None else rewrite(call.args)
        return Event(call.tool, args, call.id, self.context)

    def run(self) -> None:
        results: list[ToolResult] = []
        with ThreadPoolExecutor(8) as pool:
            while calls := self.run_facts.script.turn(results):
                work = [pool.submit(contextvars.copy_context().run, self.one, call) for call in calls]
                results = [*results, *(each.result() for each in work)]

    def one(self, call: ModelCall) -> ToolResult:
        problem = self.problem(call)
        if problem is not None:
            return ToolResult(call.id, problem)
        event, tool = self.event(call), self.tools[call.tool]
        result = tool(**event.args) if self.adapter is None else self.adapter.around(event, tool)
        return ToolResult(call.id, shown(result))

    async def arun(self) -> None:
        results: list[ToolResult] = []
        while calls := self.run_facts.script.turn(results):
            results = [*results, *await asyncio.gather(*(self.aone(call) for call in calls))]

    async def aone(self, call: ModelCall) -> ToolResult:
        problem = self.problem(call)
        if problem is not None:
            return ToolResult(call.id, problem)
        event, tool = self.event(call), self.tools[call.tool]
        result = await (tool(**event.args) if self.adapter is None else self.adapter.around_awaited(event, tool))
        return ToolResult(call.id, shown(result))

    async def astream(self) -> None:
        await self.arun()
        for results in self.run_facts.script.requests:
            self.run_facts.streamed += [result.text for result in results]


def shown(result: Any) -> str:
    return result if isinstance(result, str) else json.dumps(result)


class TinyAdapter(Adapter):
    """
    An adapter without a fault.
    """

    def begun(self, event: Event) -> Any:
        return self.call(
            event.tool,
            event.args,
            context=event.context,
            session=event.context["thread"],
            tool_use_id=event.id,
            caller=event.context["agent"],
        )

    def around(self, event: Event, tool: Callable[..., Any]) -> Any:
        call = self.begun(event)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            return refusal_text(denied)
        try:
            result = tool(**event.args)
        except BaseException as error:
            call.fail_sync(error)
            raise
        return call.finish_sync(result).result

    async def around_awaited(self, event: Event, tool: Callable[..., Awaitable[Any]]) -> Any:
        call = self.begun(event)
        try:
            await call.begin()
        except EdictumDenied as denied:
            return refusal_text(denied)
        try:
            result = await tool(**event.args)
        except BaseException as error:
            await call.fail(error)
            raise
        return (await call.finish(result)).result

    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        run = AgentRun(Script([ModelCall("1", tool_name, {})]), [Tool(tool_name, body, parameters={})])
        TinyAgent(run, self, {tool_name: body}).run()
        return run.script.requests[-1][0].text


class TinySuite(AdapterSuite):
    """
    The suite with the driver of the framework.
    """

    entries = (Entry("run"), Entry("arun", asynchronous=True), Entry("astream", asynchronous=True))

    def adapter(self, guard: Edictum, **options: Any) -> Adapter:
        return TinyAdapter(guard, **options)

    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        def body(tool: Tool) -> Callable[..., Any]:
            if tool.agent is not None:
                agent = replace(tool.agent, script=tool.agent.script)
                return lambda **args: self.drive(adapter, entry, agent) or "done"
            return tool.awaited if entry.asynchronous else tool

        agent = TinyAgent(run, adapter, {tool.name: body(tool) for tool in run.tools})
        done: Awaitable[None] | None = getattr(agent, entry.name)()
        return done

    def user(self, context: Any) -> str:
        return str(context["user"])
