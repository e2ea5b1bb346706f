"""
Time tool calls of LangChain, with and without an adapter: reads JSON lines on stdin, answers each with one JSON line.

The same file runs with this edictum-langchain and with the published adapter, whose tool wrapper takes and gives the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from adapter_timing import CALLS_PER_RUN, AdapterBench, awaited_body, serve
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.tools import ToolRuntime
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool

try:
    from edictum_langchain import LangChainAdapter
except ImportError:
    from edictum.adapters.langchain import LangChainAdapter

SCHEMA = {"title": "write_file", "type": "object", "properties": {"path": {"type": "string"}}}


def _body(**args: Any) -> str:
    return "ok"


TOOL = StructuredTool.from_function(
    _body, awaited_body, name="write_file", description="Write a file.", args_schema=SCHEMA
)


class Model(BaseChatModel):
    """
    Asks for the same calls again and again, one at a turn.
    """

    turns: list[Any]

    @property
    def _llm_type(self) -> str:
        return "bench"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """
        The calls are fixed.
        """
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        made = sum(isinstance(message, AIMessage) for message in messages)
        message = AIMessage("", tool_calls=[self.turns[made]]) if made < len(self.turns) else AIMessage("done")
        return ChatResult(generations=[ChatGeneration(message=message)])


class LangChainBench(AdapterBench):
    """
    Calls by way of LangChain.
    """

    def adapter(self) -> Any:
        """
        An adapter for a new session.
        """
        return LangChainAdapter(self.guard, session_id=self.new_session())

    def plain(self, pool: list[Any], seconds: float) -> list[int]:
        """
        What LangChain takes for a call without anybody around it.
        """
        return self.timed(pool, seconds, lambda: lambda call: _handler(_request(call)))

    def governed(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The same call with the adapter's wrapper around it.
        """

        def wrapped() -> Callable[[Any], Any]:
            wrapper = self.adapter().as_tool_wrapper()
            allowed = wrapper(_request(pool[0]), _handler).content == "ok"
            assert allowed is (".env" not in pool[0].args["path"])
            return lambda call: wrapper(_request(call), _handler)

        return self.timed(pool, seconds, wrapped)

    async def plain_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        See :meth:`plain`.
        """
        return await self.timed_awaited(pool, seconds, lambda: lambda call: _handler_awaited(_request(call)))

    async def governed_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        See :meth:`governed`.
        """

        def wrapped() -> Callable[[Any], Any]:
            wrapper = self.adapter().as_async_tool_wrapper()
            return lambda call: wrapper(_request(call), _handler_awaited)

        return await self.timed_awaited(pool, seconds, wrapped)

    def agent(self, pool: list[Any], seconds: float) -> list[int]:
        """
        A whole agent, for each of its calls.
        """
        return self._runs(pool, seconds, governed=False)

    def agent_governed(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The same with the adapter's middleware.
        """
        return self._runs(pool, seconds, governed=True)

    def _runs(self, pool: list[Any], seconds: float, governed: bool) -> list[int]:
        calls = [_tool_call(call, number) for number, call in enumerate(pool[:CALLS_PER_RUN])]
        samples: list[int] = []
        stop = perf_counter_ns() + int(seconds * 1e9)
        while len(samples) < 3 or perf_counter_ns() < stop:
            middleware: list[AgentMiddleware[Any, Any, Any]] = [self.adapter().as_middleware()] if governed else []
            agent = create_agent(Model(turns=calls), [TOOL], middleware=middleware)
            begin = perf_counter_ns()
            agent.invoke({"messages": [("user", "go")]}, {"recursion_limit": 1000})
            samples.append((perf_counter_ns() - begin) // CALLS_PER_RUN)
        return samples[1:]


def _tool_call(call: Any, number: int = 0) -> dict[str, Any]:
    return {"name": call.tool, "args": call.args, "id": f"call_{number}", "type": "tool_call"}


def _request(call: Any) -> ToolCallRequest:
    config = {"configurable": {}, "metadata": {}}
    runtime = ToolRuntime(
        state={"messages": []},
        context=None,
        config=config,
        stream_writer=lambda chunk: None,
        tool_call_id="call_0",
        store=None,
    )
    return ToolCallRequest(tool_call=_tool_call(call), tool=TOOL, state={"messages": []}, runtime=runtime)


def _handler(request: ToolCallRequest) -> Any:
    return request.tool.invoke(request.tool_call, request.runtime.config)


async def _handler_awaited(request: ToolCallRequest) -> Any:
    return await request.tool.ainvoke(request.tool_call, request.runtime.config)


if __name__ == "__main__":
    serve(LangChainBench)
