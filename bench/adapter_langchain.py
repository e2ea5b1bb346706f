"""
Time tool calls of LangChain, with and without an adapter: reads JSON lines on stdin, answers each with one JSON line.

The same file runs with this edictum-langchain and with the published adapter, whose tool wrapper takes and gives the
same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import sys
from collections.abc import Callable
from itertools import count, cycle
from time import perf_counter_ns
from typing import Any

import edictum
import workloads
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

CALLS_PER_SESSION = 100  # below the lowest built-in limit of every engine
WARM_UP_CALLS = 60
CALLS_PER_RUN = 10  # of an agent

PRINCIPAL = edictum.Principal(user_id="u-17", role="developer", claims={"contract": "internal"})
SCHEMA = {"title": "write_file", "type": "object", "properties": {"path": {"type": "string"}}}


def _body(**args: Any) -> str:
    return "ok"


async def _awaited_body(**args: Any) -> str:
    return "ok"


TOOL = StructuredTool.from_function(
    _body, _awaited_body, name="write_file", description="Write a file.", args_schema=SCHEMA
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


class Bench:
    """
    Keeps a guard, as a program would.
    """

    def __init__(self) -> None:
        self._guard = edictum.Edictum.from_bundle_dict(
            workloads.ruleset("W2"), policy_version="0" * 64, principal=PRINCIPAL
        )
        self._serial = count()

    def adapter(self) -> Any:
        """
        An adapter for a new session.
        """
        self._guard.local_sink.clear()
        return LangChainAdapter(self._guard, session_id=f"s{next(self._serial)}")

    def plain(self, pool: list[Any], seconds: float) -> list[int]:
        """
        What LangChain takes for a call without anybody around it.
        """
        return self._timed(pool, seconds, lambda session: lambda call: _handler(_request(call)))

    def governed(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The same call with the adapter's wrapper around it.
        """

        def wrapped(session: int) -> Callable[[Any], Any]:
            wrapper = self.adapter().as_tool_wrapper()
            allowed = wrapper(_request(pool[0]), _handler).content == "ok"
            assert allowed is (".env" not in pool[0].args["path"])
            return lambda call: wrapper(_request(call), _handler)

        return self._timed(pool, seconds, wrapped)

    async def plain_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        See :meth:`plain`.
        """
        return await self._timed_awaited(pool, seconds, lambda session: lambda call: _handler_awaited(_request(call)))

    async def governed_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        See :meth:`governed`.
        """

        def wrapped(session: int) -> Callable[[Any], Any]:
            wrapper = self.adapter().as_async_tool_wrapper()
            return lambda call: wrapper(_request(call), _handler_awaited)

        return await self._timed_awaited(pool, seconds, wrapped)

    async def bare_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The guard alone around the function.
        """

        def run(session: int) -> Callable[[Any], Any]:
            self._guard.local_sink.clear()
            name = f"s{next(self._serial)}"

            async def one(call: Any) -> Any:
                try:
                    return await self._guard.run(call.tool, call.args, _awaited_body, session_id=name)
                except edictum.EdictumDenied as denied:
                    return denied

            return one

        return await self._timed_awaited(pool, seconds, run)

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

    def _timed(self, pool: list[Any], seconds: float, session: Callable[[int], Callable[[Any], Any]]) -> list[int]:
        samples: list[int] = []
        stop = perf_counter_ns() + int(seconds * 1e9)
        for number, call in enumerate(cycle(pool)):
            if number % CALLS_PER_SESSION == 0:
                one = session(number)
            begin = perf_counter_ns()
            one(call)
            end = perf_counter_ns()
            if number >= WARM_UP_CALLS:
                samples.append(end - begin)
                if end > stop:
                    break
        return samples

    async def _timed_awaited(
        self, pool: list[Any], seconds: float, session: Callable[[int], Callable[[Any], Any]]
    ) -> list[int]:
        samples: list[int] = []
        stop = perf_counter_ns() + int(seconds * 1e9)
        for number, call in enumerate(cycle(pool)):
            if number % CALLS_PER_SESSION == 0:
                one = session(number)
            begin = perf_counter_ns()
            await one(call)
            end = perf_counter_ns()
            if number >= WARM_UP_CALLS:
                samples.append(end - begin)
                if end > stop:
                    break
        return samples


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


async def main() -> None:
    """
    Answer commands until stdin ends.
    """
    if hasattr(os, "sched_setaffinity"):  # one core for all engines: helper threads are part of the price
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logging.disable(logging.CRITICAL)
    bench = Bench()
    pools = {kind: workloads.calls(kind) for kind in ("allowed", "blocked")}
    print(json.dumps({"edictum": edictum.__version__, "python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        pool, seconds = pools[command["calls"]], command["seconds"]
        try:
            samples = await _measure(bench, command["do"], pool, seconds)
        except Exception as error:  # an adapter that cannot do it
            print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), flush=True)
            continue
        print(json.dumps({"p50": statistics.median(samples), "count": len(samples)}), flush=True)


async def _measure(bench: Bench, what: str, pool: list[Any], seconds: float) -> list[int]:
    if what.endswith("awaited"):
        samples: list[int] = await getattr(bench, what)(pool, seconds)
        return samples
    # In a thread without an event loop, where synchronous programs are.
    return await asyncio.to_thread(getattr(bench, what), pool, seconds)


if __name__ == "__main__":
    asyncio.run(main())
