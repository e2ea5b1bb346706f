"""
Governed tools: copies of tools that decide when their body is about to run.

The copy keeps the type, the schema and everything else of the tool; only where LangChain would call the body, the guard
is asked.  So the arguments that are judged are those that run, and callbacks see the result as the guard leaves it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

from langchain.tools import ToolRuntime
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.runtime import get_runtime
from pydantic import BaseModel

from edictum_langchain.calls import Shape, through, through_awaited

if TYPE_CHECKING:
    from edictum.sync_call import SyncCall

    from edictum_langchain.adapter import LangChainAdapter

WarnCallback: TypeAlias = Callable[[Any, list[Any]], Any]

_MARK = "_edictum"
_AINVOKE = (BaseTool.ainvoke, StructuredTool.ainvoke, Tool.ainvoke)


def can_be_governed(tool: BaseTool) -> bool:
    """
    Whether the tool leaves to LangChain how its body is called; so do tools that are governed already.
    """
    kind = type(tool)
    plain = all(getattr(kind, name) is getattr(BaseTool, name) for name in ("invoke", "run", "arun"))
    return plain and kind.ainvoke in _AINVOKE


def is_governed(tool: BaseTool, adapter: LangChainAdapter) -> bool:
    """
    Whether calls of the tool are decided by the adapter's guard without further help.
    """
    mark = tool.__dict__.get(_MARK)
    return mark is not None and mark.adapter.guard is adapter.guard


def governed(tool: BaseTool, adapter: LangChainAdapter) -> BaseTool:
    """
    Make a copy of a tool whose calls are decided wherever they are made.

    Args:
        tool: The tool; :func:`can_be_governed`.
        adapter: Decides.
    """
    governance = _Governance(tool, adapter)

    def run(tool_input: Any, *args: Any, **facts: Any) -> Any:
        return BaseTool.run(governance.for_call(facts), tool_input, *args, **facts)

    async def arun(tool_input: Any, *args: Any, **facts: Any) -> Any:
        return await BaseTool.arun(governance.for_call(facts), tool_input, *args, **facts)

    copy = governance.for_call({})
    copy.__dict__.update(run=run, arun=arun)
    return copy


def governed_for(
    request: ToolCallRequest, tool: BaseTool, adapter: LangChainAdapter, warn: WarnCallback | None
) -> BaseTool:
    """
    Make a copy of a tool for one request, which may run it several times.

    Args:
        request: The request.
        tool: Its tool.
        adapter: Decides.
        warn: ``warn(result, violations)`` gives the result to show.
    """
    facts = {"config": request.runtime.config, "tool_call_id": request.tool_call["id"]}
    return _Governance(tool, adapter, request.runtime, warn).for_call(facts)


@dataclass(frozen=True, slots=True)
class _Governance:
    """
    What is known of a governed tool before it is called.
    """

    tool: BaseTool
    adapter: LangChainAdapter
    runtime: ToolRuntime[Any, Any] | None = None
    warn: WarnCallback | None = None

    def for_call(self, facts: Mapping[str, Any]) -> BaseTool:
        """
        The copy of the tool that makes one call.

        Args:
            facts: ``config`` and ``tool_call_id``, as LangChain tells them to ``run``.
        """
        tool, adapter, tool_call_id = self.tool, self.adapter, facts.get("tool_call_id")
        inner = tool.__dict__.get(_MARK)
        if inner is not None:  # another guard's
            tool = inner.for_call(facts)
        shape = Shape(tool.name, tool_call_id, paired=tool.response_format == "content_and_artifact")

        def opened(args: tuple[Any, ...], given: Mapping[str, Any]) -> SyncCall:
            runtime = self.runtime or runtime_of(facts.get("config"), tool_call_id)
            return adapter.open(tool.name, _judged(tool, args, given), runtime, tool_call_id, self.warn)

        @_like(tool._run)
        def body(*args: Any, **given: Any) -> Any:
            return through(opened(args, given), lambda: tool._run(*args, **given), shape)

        @_like(tool._arun)
        async def awaited(*args: Any, **given: Any) -> Any:
            return await through_awaited(opened(args, given), lambda: tool._arun(*args, **given), shape)

        async def ainvoke(given: Any, config: RunnableConfig | None = None, **more: Any) -> Any:
            # Not by a thread that runs all of it, as tools without a coroutine do: a thread cannot be cancelled while
            # somebody is asked.
            return await BaseTool.ainvoke(copy, given, config, **more)

        copy = tool.model_copy()
        copy.__dict__.update({_MARK: self, "_run": body, "_arun": awaited, "ainvoke": ainvoke})
        return copy


def _like(method: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Give a function the signature of a body, at which LangChain looks to see what the body wants to know.
    """
    return functools.partial(functools.update_wrapper, wrapped=method, assigned=("__annotations__",), updated=())


def runtime_of(config: RunnableConfig | None, tool_call_id: str | None) -> ToolRuntime[Any, Any]:
    """
    Where a call is made, as far as LangGraph tells a tool that did not ask for it.
    """
    try:
        runtime: Any = get_runtime()
    except RuntimeError:  # outside a graph
        runtime = None
    return ToolRuntime(
        state={},
        context=getattr(runtime, "context", None),
        config=config if config is not None else ensure_config(),
        stream_writer=getattr(runtime, "stream_writer", lambda chunk: None),
        tool_call_id=tool_call_id,
        store=getattr(runtime, "store", None),
    )


def _judged(tool: BaseTool, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """
    The arguments that came from the model, or from the defaults of the schema.
    """
    config = _config_parameter(type(tool))
    named = tool._filter_injected_args({name: value for name, value in given.items() if name != config})
    if "callbacks" in given:  # LangChain takes this name for its own; a schema may have it all the same
        named["callbacks"] = given["callbacks"]
    if args:  # tools with one argument that need not have a name
        named.update(zip(tool.args, args, strict=False))
    return {name: _plain(value) for name, value in named.items()}


@functools.lru_cache(maxsize=1024)
def _config_parameter(kind: type[BaseTool]) -> str | None:
    """
    The parameter in which a body gets its configuration.
    """
    for method in (kind._run, kind._arun):
        try:
            hints = get_type_hints(method)
        except Exception:
            continue
        for name, hint in hints.items():
            if hint is RunnableConfig:
                return name
    return None


def _plain(value: Any) -> Any:
    """
    A value with models as their fields; one without models as it is, so that the guard notices when it is changed.
    """
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        fields = {key: _plain(item) for key, item in value.items()}
        return fields if any(fields[key] is not item for key, item in value.items()) else value
    return value
