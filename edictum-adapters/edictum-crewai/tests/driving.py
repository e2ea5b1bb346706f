"""
The driver for the suite for adapters: real crews, agents and flows, with a model that says what is written down.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

from crewai import Agent, Crew, Task
from crewai.events.event_bus import crewai_event_bus
from crewai.events.types.tool_usage_events import ToolUsageErrorEvent, ToolUsageFinishedEvent
from crewai.flow.flow import Flow, start
from crewai.hooks import register_before_tool_call_hook, unregister_before_tool_call_hook
from crewai.tools import BaseTool
from edictum import Edictum
from edictum.testing import AdapterSuite
from edictum.testing.suites.agent_run import FINAL_ANSWER, AgentRun, Entry, Tool, ToolResult
from edictum_crewai import CrewAIAdapter
from edictum_crewai.scripted import ScriptedLLM, use_raw
from pydantic import PrivateAttr, create_model

NATIVE = (
    Entry("kickoff"),
    Entry("kickoff_async", asynchronous=True),
    Entry("akickoff", asynchronous=True),
    Entry("stream"),
    Entry("agent"),
    Entry("flow"),
)
TEXT = (
    Entry("text_kickoff"),
    Entry("text_kickoff_async", asynchronous=True),
    Entry("text_akickoff", asynchronous=True),
    Entry("text_agent"),
)

REMINDER = "\n\n\nYou ONLY have access to the following tools"  # crews add it to every third result


class PlayingLLM(ScriptedLLM):
    """
    A model that says what the script of a run says; by text it asks for the calls of a turn one after the other.
    """

    _play: AgentRun = PrivateAttr()
    _waiting: list[Any] = PrivateAttr()
    _asked: list[str] = PrivateAttr()

    @classmethod
    def playing(cls, run: AgentRun, native: bool) -> Self:
        llm = cls.of(native=native)
        llm._play, llm._waiting, llm._asked = run, [], []
        return llm

    def call(self, messages: Any, *args: Any, **options: Any) -> Any:
        if not self._waiting:
            self._waiting = list(self._play.script.turn(self._told(messages)))
        batch = self._waiting if self._native else self._waiting[:1]
        self._waiting = self._waiting[len(batch) :]
        self._asked += [call.id for call in batch]
        uses = []
        for call in batch:
            uses.append(use_raw(call.tool, call.args if isinstance(call.args, str) else json.dumps(call.args), call.id))
            if self._native and not isinstance(call.args, str):
                uses[-1]["function"]["arguments"] = call.args  # the object itself, as some models give it
        self._script[:] = [uses or FINAL_ANSWER]
        return super().call(messages, *args, **options)

    def _told(self, messages: Any) -> list[ToolResult]:
        if isinstance(messages, str):
            return []
        if self._native:
            tools = [message for message in messages if message.get("role") == "tool"]
            return [ToolResult(message["tool_call_id"], str(message["content"])) for message in tools]
        self._requests.append(messages)
        told = [text.partition(REMINDER)[0] for text in self.results()]
        return [ToolResult(*pair) for pair in zip(self._asked, told, strict=True)]


class DrivenTool(BaseTool):
    """
    A tool of a run.
    """

    _body: Any = PrivateAttr()

    def _run(self, **args: Any) -> Any:
        return self._body(**args)


class CrewAISuite(AdapterSuite):
    """
    The suite; a subclass says how the guard is put in.
    """

    call_ids = False

    def adapter(self, guard: Edictum, **options: Any) -> CrewAIAdapter:
        # Facts of a program reach hooks on the agent only, where there is no crew.
        return CrewAIAdapter(guard, **{"session_resolver": lambda context: context.agent.backstory, **options})

    def user(self, context: Any) -> str:
        return str(context.agent.goal)

    def given(self, adapter: CrewAIAdapter, tools: list[BaseTool]) -> list[BaseTool]:
        raise NotImplementedError

    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Awaitable[None] | None:
        if entry.asynchronous:
            return self._awaited(adapter, entry, run)
        with self._hooks(adapter, run):
            kick = getattr(self, "run_" + entry.name.removeprefix("text_"))
            kick(self._agent(adapter, entry, run))
        return None

    async def _awaited(self, adapter: Any, entry: Entry, run: AgentRun) -> None:
        with self._hooks(adapter, run):
            crew = _crew(self._agent(adapter, entry, run))
            await getattr(crew, entry.name.removeprefix("text_"))()

    @contextmanager
    def _hooks(self, adapter: Any, run: AgentRun) -> Iterator[None]:
        def rewrite(context: Any) -> None:
            assert run.rewrite is not None
            context.tool_input.update(run.rewrite(context.tool_input))

        net: AbstractContextManager[Any] = nullcontext() if adapter is None else adapter.scope()
        with net, _shown(run):
            if run.rewrite is None:
                yield
                return
            register_before_tool_call_hook(rewrite)
            try:
                yield
            finally:
                unregister_before_tool_call_hook(rewrite)

    def _agent(self, adapter: Any, entry: Entry, run: AgentRun) -> Agent:
        tools: list[BaseTool] = [self._tool(adapter, entry, tool) for tool in run.tools]
        return Agent(
            role=run.agent,
            goal=run.user,
            backstory=run.session,
            llm=PlayingLLM.playing(run, not entry.name.startswith("text_")),
            tools=tools if adapter is None else self.given(adapter, tools),
            cache=False,  # each call of the suite is to run
            verbose=False,
        )

    def _tool(self, adapter: Any, entry: Entry, tool: Tool) -> BaseTool:
        inside = tool.agent

        def body(**args: Any) -> Any:
            if inside is None:
                return tool(**args)
            self.drive(adapter, Entry("text_kickoff" if entry.name.startswith("text_") else "kickoff"), inside)
            return "done"

        fields: dict[str, Any] = {name: (kind, ...) for name, kind in tool.parameters.items()}
        made = DrivenTool(name=tool.name, description=tool.name, args_schema=create_model(tool.name, **fields))
        made._body = body
        return made

    def run_kickoff(self, agent: Agent) -> None:
        _crew(agent).kickoff()

    def run_stream(self, agent: Agent) -> None:
        list(_crew(agent, stream=True).kickoff())

    def run_agent(self, agent: Agent) -> None:
        agent.kickoff("Begin.")

    def run_flow(self, agent: Agent) -> None:
        class OneStep(Flow[Any]):
            @start()
            def begin(self) -> str:
                return str(_crew(agent).kickoff())

        OneStep().kickoff()


def _crew(agent: Agent, **options: Any) -> Crew:
    task = Task(description="Begin.", expected_output="A text.", agent=agent)
    return Crew(agents=[agent], tasks=[task], verbose=False, cache=False, **options)


class WrappedToolsSuite(CrewAISuite):
    """
    Wrapped tools, with the net that tells them who calls: what the documentation recommends.
    """

    def given(self, adapter: CrewAIAdapter, tools: list[BaseTool]) -> list[BaseTool]:
        return adapter.wrap_tools(tools)


class NetSuite(CrewAISuite):
    """
    Plain tools and the net.
    """

    def given(self, adapter: CrewAIAdapter, tools: list[BaseTool]) -> list[BaseTool]:
        return tools


# --- what programs are shown ----------------------------------------------------------------------

_watching: list[AgentRun] = []
_lock = threading.Lock()


@contextmanager
def _shown(run: AgentRun) -> Iterator[None]:
    """
    Adds to a run what the event bus shows of results, also of other runs at the same time.
    """
    with _lock:
        _watching.append(run)
    try:
        yield
    finally:
        crewai_event_bus.flush()
        with _lock:
            _watching.remove(run)


def _show(text: str) -> None:
    with _lock:
        for run in _watching:
            run.streamed.append(text)


@crewai_event_bus.on(ToolUsageFinishedEvent)
def _finished(source: Any, event: ToolUsageFinishedEvent) -> None:
    _show(str(event.output))


@crewai_event_bus.on(ToolUsageErrorEvent)
def _failed(source: Any, event: ToolUsageErrorEvent) -> None:
    _show(str(event.error))
