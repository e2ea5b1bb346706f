"""
Wrapped tools: every path that leads to their body, and what of the wrapped tool stays as it was.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from crewai import Crew
from crewai.events.event_bus import crewai_event_bus
from crewai.events.types.tool_usage_events import ToolUsageErrorEvent, ToolUsageFinishedEvent
from crewai.flow.flow import Flow, start
from crewai.tools import BaseTool, tool
from crewai.tools.structured_tool import CrewStructuredTool
from crews import (
    REASON,
    SECRET,
    actions,
    agent_of,
    both_paths,
    crew_of,
    events_of,
    guard_of,
    mask,
    modern,
    no_secrets,
    older,
    reader,
    rule,
    script_of,
    task_of,
)
from edictum import EdictumConfigError, Principal
from edictum.testing.suites.agent_run import LoopBoundStore
from edictum_crewai import CrewAIAdapter, GovernedTool
from edictum_crewai.scripted import ScriptedLLM, use
from pydantic import BaseModel, Field


def wrapped(adapter: CrewAIAdapter, given: Any) -> BaseTool:
    (made,) = adapter.wrap_tools([given])
    return made


# --- paths that no hook of CrewAI sees ------------------------------------------------------------


def test_direct_run_is_decided() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets(), mask())
    governed = wrapped(CrewAIAdapter(guard), reader(ran, f"it is {SECRET}"))
    assert REASON in governed.run(path="secret.txt")
    assert REASON in governed.run("secret.txt")
    assert governed.run(path="a.txt") == "it is [REDACTED]"
    assert ran == ["a.txt"]
    assert actions(guard) == ["call_denied", "call_denied", "call_allowed", "call_executed"]


def test_structured_form_of_a_tool_is_decided() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    structured = wrapped(CrewAIAdapter(guard), reader(ran)).to_structured_tool()
    assert REASON in structured.invoke({"path": "secret.txt"})
    assert REASON in asyncio.run(structured.ainvoke({"path": "secret.txt"}))
    assert structured.invoke({"path": "a.txt"}) == "text of a.txt"
    assert ran == ["a.txt"]


def test_function_that_is_handed_to_a_model_is_decided() -> None:
    ran: list[str] = []
    governed = wrapped(CrewAIAdapter(guard_of(no_secrets())), reader(ran))
    llm = ScriptedLLM.of()
    for path in ("secret.txt", "a.txt"):
        llm._handle_tool_execution("read_file", {"path": path}, {"read_file": governed.run})
    assert ran == ["a.txt"]


def test_too_many_positional_arguments_run_nothing() -> None:
    ran: list[str] = []
    governed = wrapped(CrewAIAdapter(guard_of()), reader(ran))
    with pytest.raises(TypeError, match="takes 1 arguments, 2 were given"):
        governed.run("a.txt", "b.txt")
    assert ran == []


class Awaited(BaseTool):
    name: str = "read_file"
    description: str = "Read a file."
    fails: bool = False

    def _run(self, path: str) -> str:
        raise AssertionError("not this one")

    async def _arun(self, path: str) -> str:
        await asyncio.sleep(0)
        if self.fails:
            raise OSError(f"{SECRET} is wrong")
        return f"it is {SECRET}"


def test_asynchronous_run_is_decided() -> None:
    guard = guard_of(no_secrets(), mask())
    governed = wrapped(CrewAIAdapter(guard), Awaited())
    assert REASON in asyncio.run(governed.arun(path="secret.txt"))
    assert asyncio.run(governed.arun(path="a.txt")) == "it is [REDACTED]"
    assert actions(guard) == ["call_denied", "call_allowed", "call_executed"]


def test_asynchronous_run_that_fails_is_recorded_and_masked() -> None:
    guard = guard_of(mask())
    governed = wrapped(CrewAIAdapter(guard), Awaited(fails=True))
    with pytest.raises(Exception, match=r"\[REDACTED\] is wrong"):
        asyncio.run(governed.arun(path="a.txt"))
    assert actions(guard) == ["call_allowed", "call_failed"]


def test_asynchronous_run_that_is_cancelled_is_recorded() -> None:
    class Endless(Awaited):
        async def _arun(self, path: str) -> str:
            started.set()
            await asyncio.Event().wait()
            return ""

    async def main() -> None:
        work = asyncio.ensure_future(governed.arun(path="a.txt"))
        await started.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    started = asyncio.Event()
    guard = guard_of()
    governed = wrapped(CrewAIAdapter(guard), Endless())
    asyncio.run(main())
    assert actions(guard) == ["call_allowed", "call_failed"]


@both_paths
def test_streams_of_the_event_bus_have_no_raw_result(native: bool) -> None:
    seen: list[str] = []
    with crewai_event_bus.scoped_handlers():

        @crewai_event_bus.on(ToolUsageFinishedEvent)
        def finished(source: Any, event: ToolUsageFinishedEvent) -> None:
            seen.append(str(event.output))

        @crewai_event_bus.on(ToolUsageErrorEvent)
        def failed(source: Any, event: ToolUsageErrorEvent) -> None:
            seen.append(str(event.error))

        results = [f"it is {SECRET}", OSError(f"{SECRET} is wrong")]
        for result in results:
            governed = wrapped(CrewAIAdapter(guard_of(mask())), reader([], result))
            crew_of(script_of("a.txt", native=native), governed).kickoff()
        crewai_event_bus.flush()
    assert len(seen) >= 2
    assert SECRET not in str(seen)


# --- agents, flows, copies ------------------------------------------------------------------------


@both_paths
def test_agent_without_a_crew_is_governed(native: bool) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    for kick in (lambda agent: agent.kickoff("go"), lambda agent: asyncio.run(agent.kickoff_async("go"))):
        llm = script_of("secret.txt", "a.txt", native=native)
        kick(agent_of(llm, wrapped(adapter, reader(ran))))
        assert REASON in llm.results()[0]
    assert ran == ["a.txt", "a.txt"]


@pytest.mark.parametrize("net", [False, True])
def test_flow_is_governed(net: bool) -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    adapter = CrewAIAdapter(guard)
    plain = reader(ran)

    class Reading(Flow[Any]):
        @start()
        def begin(self) -> str:
            given = plain if net else wrapped(adapter, plain)
            crew_of(script_of("secret.txt", "a.txt"), given).kickoff()
            return str(agent_of(script_of("secret.txt", "a.txt"), given).kickoff("go"))

    if net:
        with adapter.register():
            Reading().kickoff()
    else:
        Reading().kickoff()
    assert ran == ["a.txt", "a.txt"]
    assert actions(guard).count("call_denied") == 2


def test_copies_of_a_crew_are_governed() -> None:
    ran: list[str] = []
    guard = guard_of(no_secrets())
    llm = script_of("secret.txt", "a.txt")
    crew = crew_of(llm, wrapped(CrewAIAdapter(guard), reader(ran)))
    crew.kickoff_for_each(inputs=[{"number": 1}])
    assert ran == ["a.txt"]
    assert actions(guard) == ["call_denied", "call_allowed", "call_executed"]


def test_tool_of_a_task_is_governed() -> None:
    ran: list[str] = []
    agent = agent_of(script_of("secret.txt", "a.txt"))
    task = task_of(agent, tools=[wrapped(CrewAIAdapter(guard_of(no_secrets())), reader(ran))])
    Crew(agents=[agent], tasks=[task], verbose=False).kickoff()
    assert ran == ["a.txt"]


def test_streaming_crew_is_governed() -> None:
    ran: list[str] = []
    llm = script_of("secret.txt", "a.txt")
    crew = crew_of(llm, wrapped(CrewAIAdapter(guard_of(no_secrets())), reader(ran)), stream=True)
    list(crew.kickoff())
    assert ran == ["a.txt"]
    assert REASON in llm.results()[0]


# --- what stays as it was -------------------------------------------------------------------------


def test_wrapping_keeps_what_models_and_crews_know_of_a_tool() -> None:
    inner = reader([])
    inner.max_usage_count = 3
    inner.result_as_answer = True
    governed = wrapped(CrewAIAdapter(guard_of()), inner)
    assert isinstance(governed, GovernedTool)
    for name in ("name", "description", "args_schema", "max_usage_count", "result_as_answer", "env_vars"):
        assert getattr(governed, name) == getattr(inner, name)


def test_wrapping_again_changes_nothing() -> None:
    adapter = CrewAIAdapter(guard_of())
    once = adapter.wrap_tools([reader([])])
    assert adapter.wrap_tools(once) == once
    assert CrewAIAdapter(guard_of()).wrap_tools(once) == once


def test_structured_tool_can_be_wrapped() -> None:
    ran: list[str] = []

    def read_file(path: str) -> str:
        """
        Read a file.
        """
        ran.append(path)
        return "text"

    governed = wrapped(CrewAIAdapter(guard_of(no_secrets())), CrewStructuredTool.from_function(read_file))
    assert REASON in governed.run(path="secret.txt")
    assert governed.run(path="a.txt") == "text"
    assert ran == ["a.txt"]


@pytest.mark.parametrize("wrong", [print, "read_file", None])
def test_what_is_no_tool_cannot_be_wrapped(wrong: object) -> None:
    with pytest.raises(EdictumConfigError, match="decorate a function with @tool"):
        CrewAIAdapter(guard_of()).wrap_tools([wrong])


def test_run_of_its_own_is_kept() -> None:
    class Own(BaseTool):
        name: str = "read_file"
        description: str = "Read a file."
        path: str = ""

        def run(self, *args: Any, **kwargs: Any) -> Any:
            return f"own: {kwargs}"

        def _run(self, path: str) -> str:
            raise AssertionError("not this one")

    governed = wrapped(CrewAIAdapter(guard_of(no_secrets())), Own())
    assert governed.run(path="a.txt") == "own: {'path': 'a.txt'}"
    assert REASON in governed.run(path="secret.txt")


def test_error_of_a_tool_is_raised_as_it_is() -> None:
    error = OSError("no such file")
    error.__cause__ = ValueError("why")
    governed = wrapped(CrewAIAdapter(guard_of()), reader([], error))
    with pytest.raises(OSError, match="no such file") as raised:
        governed.run(path="a.txt")
    assert raised.value is error
    assert isinstance(error.__cause__, ValueError)


class Report(BaseModel):
    text: str


@modern
def test_format_of_a_tool_is_kept_but_not_asked_about_texts_of_the_guard() -> None:
    class Formatted(BaseTool):
        name: str = "read_file"
        description: str = "Read a file."

        def _run(self, path: str) -> dict[str, str]:
            return {"text": f"text of {path}", "more": SECRET if path == "b.txt" else ""}

        def format_output_for_agent(self, raw_result: Any) -> str:
            return f"<{raw_result['text']}>"

    guard = guard_of(no_secrets(), mask("block"))
    llm = script_of("a.txt", "b.txt", "secret.txt")
    crew_of(llm, wrapped(CrewAIAdapter(guard), Formatted())).kickoff()
    first, second, third = llm.results()
    assert first == "<text of a.txt>"
    assert SECRET not in second
    assert REASON in second
    assert REASON in third


@modern
def test_denied_tool_whose_result_is_the_answer_lets_the_model_try_again() -> None:
    ran: list[str] = []
    inner = reader(ran)
    inner.result_as_answer = True
    llm = script_of("secret.txt", "a.txt")
    answer = crew_of(llm, wrapped(CrewAIAdapter(guard_of(no_secrets())), inner)).kickoff()
    assert str(answer) == "text of a.txt"
    assert REASON in llm.results()[0]


@older
def test_denied_tool_whose_result_is_the_answer_ends_the_run() -> None:
    ran: list[str] = []
    inner = reader(ran)
    inner.result_as_answer = True
    answer = crew_of(script_of("secret.txt"), wrapped(CrewAIAdapter(guard_of(no_secrets())), inner)).kickoff()
    assert REASON in str(answer)
    assert ran == []


def test_direct_run_inside_a_running_event_loop_is_decided() -> None:
    async def main() -> str:
        return str(governed.run(path="secret.txt"))

    ran: list[str] = []
    governed = wrapped(CrewAIAdapter(guard_of(no_secrets(), backend=LoopBoundStore())), reader(ran))
    assert REASON in asyncio.run(main())
    assert REASON in asyncio.run(main())
    assert ran == []


# --- what is judged -------------------------------------------------------------------------------


def test_arguments_are_judged_as_the_tool_gets_them() -> None:
    ran: list[Any] = []

    class Input(BaseModel):
        path: str = Field(default="secret.txt")
        lines: int = 10

    class Reads(BaseTool):
        name: str = "read_file"
        description: str = "Read a file."
        args_schema: type[BaseModel] = Input

        def _run(self, path: str, lines: int) -> str:
            ran.append((path, lines))
            return "text"

    guard = guard_of(no_secrets(), rule("few-lines", "read_file", {"args.lines": {"gt": 100}}))
    llm = ScriptedLLM.of(
        [use("read_file")], [use("read_file", path="a.txt", lines="500")], [use("read_file", path="a.txt", lines="5")]
    )
    crew_of(llm, wrapped(CrewAIAdapter(guard), Reads())).kickoff()
    assert ran == [("a.txt", 5)]
    assert [event.decision_name for event in events_of(guard)[:2]] == ["no-secrets", "few-lines"]


def test_hook_that_rewrites_arguments_is_judged_too() -> None:
    from crewai.hooks import register_before_tool_call_hook, unregister_before_tool_call_hook

    def rewrite(context: Any) -> None:
        context.tool_input["path"] = "secret.txt"

    ran: list[str] = []
    guard = guard_of(no_secrets())
    register_before_tool_call_hook(rewrite)
    try:
        crew_of(script_of("a.txt"), wrapped(CrewAIAdapter(guard), reader(ran))).kickoff()
    finally:
        unregister_before_tool_call_hook(rewrite)
    assert ran == []
    assert actions(guard) == ["call_denied"]


USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@both_paths
@pytest.mark.parametrize("entry", ["kickoff", "kickoff_async", "akickoff"])
def test_context_variables_of_the_caller_are_seen_by_resolvers_and_tools(entry: str, native: bool) -> None:
    seen: list[str] = []

    @tool("read_file")
    def read_file(path: str) -> str:
        """
        Read a file.
        """
        seen.append(USER.get())
        return "text"

    def resolver(tool_name: str, args: Any) -> Principal:
        return Principal(user_id=USER.get())

    guard = guard_of()
    adapter = CrewAIAdapter(guard, principal_resolver=resolver)
    crew = crew_of(script_of("a.txt", native=native), wrapped(adapter, read_file))

    async def main() -> None:
        await getattr(crew, entry)()

    token = USER.set("ann")
    try:
        if entry == "kickoff":
            crew.kickoff()
        else:
            asyncio.run(main())
    finally:
        USER.reset(token)
    assert seen == ["ann"]
    assert {event.principal["user_id"] for event in events_of(guard) if event.principal} == {"ann"}


def test_event_loop_goes_on_while_a_crew_waits_in_its_thread() -> None:
    async def main() -> None:
        def body(path: str) -> str:
            return asyncio.run_coroutine_threadsafe(said(), loop).result(20)

        async def said() -> str:
            return "from the loop"

        loop = asyncio.get_running_loop()
        llm = script_of("a.txt")
        await crew_of(llm, wrapped(CrewAIAdapter(guard_of()), reader([], body))).kickoff_async()
        assert llm.results() == ["from the loop"]

    asyncio.run(main())
