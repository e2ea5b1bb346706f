"""
The driver for the suite for adapters: real agents and graphs, with a model that says what is written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from edictum import Adapter, Edictum
from edictum.testing import AdapterSuite
from edictum.testing.suites.agent_run import FINAL_ANSWER, AgentRun, Entry, ModelCall, Tool, ToolResult
from edictum_langchain import LangChainAdapter
from edictum_langchain.scripted import ScriptedModel
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import create_model
from typing_extensions import TypedDict

ENTRIES = (
    Entry("invoke"),
    Entry("ainvoke", asynchronous=True),
    Entry("stream"),
    Entry("astream", asynchronous=True),
    Entry("astream_events", asynchronous=True),
)
MODES = ["updates", "messages", "values", "custom"]


class Context(TypedDict):
    user: str


def model_of(run: AgentRun) -> ScriptedModel:
    """
    The model of a run.
    """

    def answer(messages: Sequence[BaseMessage]) -> AIMessage:
        results = [
            ToolResult(message.tool_call_id, str(message.content))
            for message in messages
            if isinstance(message, ToolMessage)
        ]
        calls = run.script.turn(results)
        plain = [call for call in calls if not isinstance(call.args, str)]
        broken = [call for call in calls if isinstance(call.args, str)]
        return AIMessage(
            "" if calls else FINAL_ANSWER,
            tool_calls=[_as_message(call) | {"type": "tool_call"} for call in plain],
            invalid_tool_calls=[_as_message(call) | {"error": None, "type": "invalid_tool_call"} for call in broken],
        )

    return ScriptedModel(answer)


def _as_message(call: ModelCall) -> dict[str, Any]:
    return {"id": call.id, "name": call.tool, "args": call.args}


class Rewriting(AgentMiddleware[Any, Any, Any]):
    """
    Other middleware, which changes the arguments of all calls.
    """

    def __init__(self, rewrite: Callable[..., dict[str, Any]]) -> None:
        super().__init__()
        self.rewrite = rewrite

    def changed(self, request: Any) -> Any:
        return request.override(tool_call={**request.tool_call, "args": self.rewrite(request.tool_call["args"])})

    def wrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
        return handler(self.changed(request))

    async def awrap_tool_call(self, request: Any, handler: Callable[..., Any]) -> Any:
        return await handler(self.changed(request))


class LangChainSuite(AdapterSuite):
    """
    The suite; a subclass says how the guard is put in.
    """

    entries = ENTRIES
    awaited_tools = True

    def adapter(self, guard: Edictum, **options: Any) -> Adapter:
        return LangChainAdapter(guard, **options)

    def user(self, context: Any) -> str:
        return str(context.context["user"])

    def graph(self, adapter: Any, run: AgentRun, tools: list[BaseTool]) -> Any:
        raise NotImplementedError

    def tool(self, adapter: Any, entry: Entry, tool: Tool) -> BaseTool:
        agent = tool.agent

        def body(**args: Any) -> Any:
            if agent is None:
                return tool(**args)
            self.drive(adapter, entry, agent)
            return "done"

        async def awaited(**args: Any) -> Any:
            if agent is None:
                return await tool.awaited(**args)
            await self.drive(adapter, entry, agent)
            return "done"

        fields: dict[str, Any] = {name: (kind, ...) for name, kind in tool.parameters.items()}
        # Tools that are agents are written for the entry, as the program that runs them is.
        needs_coroutine = entry.asynchronous and (self.awaited_tools or agent is not None)
        return StructuredTool.from_function(
            body,
            awaited if needs_coroutine else None,
            name=tool.name,
            description=tool.name,
            args_schema=create_model(tool.name, **fields),
        )

    def drive(self, adapter: Any, entry: Entry, run: AgentRun) -> Any:
        tools = [self.tool(adapter, entry, tool) for tool in run.tools]
        graph = self.graph(adapter, run, tools)
        given = {"messages": [("user", "go")]}
        config = {"configurable": {"thread_id": run.session}, "metadata": {"lc_agent_name": run.agent}}
        context = {"user": run.user}
        return getattr(self, f"drive_{entry}")(graph, run, given, {"config": config, "context": context})

    def drive_invoke(self, graph: Any, run: AgentRun, given: Any, options: Any) -> None:
        run.streamed.append(str(graph.invoke(given, **options)))

    async def drive_ainvoke(self, graph: Any, run: AgentRun, given: Any, options: Any) -> None:
        run.streamed.append(str(await graph.ainvoke(given, **options)))

    def drive_stream(self, graph: Any, run: AgentRun, given: Any, options: Any) -> None:
        for part in graph.stream(given, stream_mode=MODES, **options):
            run.streamed.append(str(part))

    async def drive_astream(self, graph: Any, run: AgentRun, given: Any, options: Any) -> None:
        async for part in graph.astream(given, stream_mode=MODES, **options):
            run.streamed.append(str(part))

    async def drive_astream_events(self, graph: Any, run: AgentRun, given: Any, options: Any) -> None:
        async for event in graph.astream_events(given, version="v2", **options):
            run.streamed.append(str(event))


class MiddlewareSuite(LangChainSuite):
    """
    An agent with the guard as middleware, and a hostile one after it.
    """

    def graph(self, adapter: Any, run: AgentRun, tools: list[BaseTool]) -> Any:
        middleware = [adapter.as_middleware()] if adapter is not None else []
        if run.rewrite is not None:
            middleware.append(Rewriting(run.rewrite))
        return create_agent(model_of(run), tools, middleware=middleware, context_schema=Context, name=run.agent)


class WrappedToolsSuite(LangChainSuite):
    """
    An agent that knows nothing of the guard.
    """

    def graph(self, adapter: Any, run: AgentRun, tools: list[BaseTool]) -> Any:
        governed = adapter.wrap_tools(tools) if adapter is not None else tools
        middleware = [Rewriting(run.rewrite)] if run.rewrite is not None else []
        return create_agent(model_of(run), governed, middleware=middleware, context_schema=Context, name=run.agent)


class ToolNodeSuite(LangChainSuite):
    """
    A graph built by hand.
    """

    def graph(self, adapter: Any, run: AgentRun, tools: list[BaseTool]) -> Any:
        wrappers = adapter.tool_node_kwargs() if adapter is not None else {}
        if run.rewrite is not None:
            wrappers = _rewritten(wrappers, Rewriting(run.rewrite))
        model = model_of(run)
        graph = StateGraph(MessagesState, context_schema=Context)
        graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode(tools, **wrappers))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        return graph.compile()


def _rewritten(wrappers: dict[str, Any], rewriting: Rewriting) -> dict[str, Any]:
    """
    Both wrappers, with one inside that rewrites.
    """
    wrap, awrap = wrappers["wrap_tool_call"], wrappers["awrap_tool_call"]

    def wrapped(request: Any, handler: Callable[..., Any]) -> Any:
        return wrap(request, lambda inner: rewriting.wrap_tool_call(inner, handler))

    async def awrapped(request: Any, handler: Callable[..., Awaitable[Any]]) -> Any:
        return await awrap(request, lambda inner: rewriting.awrap_tool_call(inner, handler))

    return {"wrap_tool_call": wrapped, "awrap_tool_call": awrapped}


def run_async(work: Awaitable[Any]) -> Any:
    """
    The result of something that is awaited.
    """

    async def main() -> Any:
        return await work

    return asyncio.run(main())
