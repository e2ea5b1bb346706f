"""
Time tool calls of CrewAI, with and without an adapter: reads JSON lines on stdin, answers each with one JSON line.

The same file runs with this edictum-crewai and with the published adapter, which has hooks only: it answers for whole
agents.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter_ns
from typing import Any

os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true", CREWAI_TESTING="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true"
)

import workloads
from adapter_timing import CALLS_PER_RUN, AdapterBench, serve
from crewai import Agent
from crewai.events.event_listener import event_listener
from crewai.hooks import clear_all_tool_call_hooks
from crewai.llms.base_llm import BaseLLM
from crewai.tools import BaseTool
from pydantic import PrivateAttr, create_model

try:
    from edictum_crewai import CrewAIAdapter

    WRAPS = True
except ImportError:
    from edictum.adapters.crewai import CrewAIAdapter

    WRAPS = False


class WriteFile(BaseTool):
    """
    A tool that does nothing.
    """

    name: str = "write_file"
    description: str = "Write a file."

    def _run(self, **args: Any) -> str:
        return "ok"

    async def _arun(self, **args: Any) -> str:
        return "ok"


class Model(BaseLLM):
    """
    Asks for the same calls again and again, one at a turn.
    """

    _turns: list[Any] = PrivateAttr()

    def supports_function_calling(self) -> bool:
        """
        The native way.
        """
        return True

    def get_input_tokens_count(self, *args: Any, **options: Any) -> int:
        """
        None.
        """
        return 0

    def call(self, messages: Any, *args: Any, **options: Any) -> Any:
        """
        The next call.
        """
        made = sum(message.get("role") == "tool" for message in messages)
        return [self._turns[made]] if made < len(self._turns) else "done"


class CrewAIBench(AdapterBench):
    """
    Calls by way of CrewAI.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tool = WriteFile(args_schema=_schema(workloads.calls("allowed")[0].args))
        event_listener.formatter.verbose = False

    def adapter(self) -> Any:
        """
        An adapter for a new session.
        """
        return CrewAIAdapter(self.guard, session_id=self.new_session())

    def wrapped(self) -> BaseTool:
        """
        The tool under a guard.
        """
        if not WRAPS:
            raise RuntimeError("this adapter wraps no tools")
        (tool,) = self.adapter().wrap_tools([self._tool])
        return tool

    def plain(self, pool: list[Any], seconds: float) -> list[int]:
        """
        What CrewAI takes for a call without anybody around it.
        """
        return self.timed(pool, seconds, lambda: _by_name(self._tool.run))

    def governed(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The same call of a wrapped tool.
        """
        allowed = self.wrapped().run(**pool[0].args) == "ok"
        assert allowed is (".env" not in pool[0].args["path"])
        return self.timed(pool, seconds, lambda: _by_name(self.wrapped().run))

    async def plain_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        See :meth:`plain`.
        """
        return await self.timed_awaited(pool, seconds, lambda: _by_name(self._tool.arun))

    async def governed_awaited(self, pool: list[Any], seconds: float) -> list[int]:
        """
        See :meth:`governed`.
        """
        return await self.timed_awaited(pool, seconds, lambda: _by_name(self.wrapped().arun))

    def agent(self, pool: list[Any], seconds: float) -> list[int]:
        """
        A whole agent, for each of its calls.
        """
        return self._runs(pool, seconds, lambda: (self._tool, nullcontext()))

    def agent_governed(self, pool: list[Any], seconds: float) -> list[int]:
        """
        The same with everything that the adapter recommends.
        """

        def governed() -> tuple[BaseTool, AbstractContextManager[Any]]:
            adapter = self.adapter()
            if not WRAPS:
                adapter.register()
                return self._tool, nullcontext()
            return adapter.wrap_tools([self._tool])[0], adapter.register()

        return self._runs(pool, seconds, governed)

    def _runs(
        self, pool: list[Any], seconds: float, parts: Callable[[], tuple[BaseTool, AbstractContextManager[Any]]]
    ) -> list[int]:
        turns = [
            {"id": f"call_{number}", "type": "function", "function": {"name": call.tool, "arguments": call.args}}
            for number, call in enumerate(pool[:CALLS_PER_RUN])
        ]
        samples: list[int] = []
        stop = perf_counter_ns() + int(seconds * 1e9)
        while len(samples) < 3 or perf_counter_ns() < stop:
            tool, net = parts()
            model = Model(model="bench")
            model._turns = turns
            agent = Agent(role="writer", goal="write", backstory="none", llm=model, tools=[tool], max_iter=100)
            with net:
                begin = perf_counter_ns()
                agent.kickoff("go")
                samples.append((perf_counter_ns() - begin) // CALLS_PER_RUN)
            clear_all_tool_call_hooks()
        return samples[1:]


def _by_name(run: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda call: run(**call.args)


def _schema(args: dict[str, Any]) -> Any:
    fields: dict[str, Any] = {name: (type(value), ...) for name, value in args.items()}
    return create_model("WriteFile", **fields)


if __name__ == "__main__":
    serve(CrewAIBench)
