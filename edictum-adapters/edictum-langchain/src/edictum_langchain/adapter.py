"""
:class:`EdictumMiddleware` and :class:`LangChainAdapter`: the ways to put a guard into LangChain and LangGraph.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from edictum import Adapter, Edictum, EdictumConfigError
from edictum.sync_call import SyncCall
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.tools import ToolRuntime
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import tool as as_tool
from langgraph.types import Command

from edictum_langchain.calls import BLOCKED, Shape, outer_call, through, through_awaited
from edictum_langchain.scripted import ScriptedModel
from edictum_langchain.tools import WarnCallback, can_be_governed, governed, governed_for, is_governed

Handler: TypeAlias = Callable[[ToolCallRequest], Any]
AwaitedHandler: TypeAlias = Callable[[ToolCallRequest], Awaitable[Any]]


class LangChainAdapter(Adapter):
    """
    Puts a guard into graphs and agents; for agents made by ``create_agent`` see also :class:`EdictumMiddleware`.

    Resolvers get a ``ToolRuntime``: ``runtime.context`` is what the program gave as ``context=``, ``runtime.config``
    its configuration.  Without ``session_id`` and ``session_resolver`` the thread of the run is the session.

    Args:
        guard: Decides.
        **options: Those of :class:`~edictum.Adapter`: ``session_id``, ``session_resolver``, ``principal``,
            ``principal_resolver``, ``on_postcondition_warn``.
    """

    def open(
        self,
        tool_name: str,
        args: dict[str, Any],
        runtime: ToolRuntime[Any, Any],
        tool_call_id: str | None,
        warn: WarnCallback | None = None,
    ) -> SyncCall:
        """
        Make the object that takes one call through all steps; see :meth:`~edictum.Adapter.call`.
        """
        config = runtime.config or {}
        call = self.call(
            tool_name,
            args,
            context=runtime,
            session=(config.get("configurable") or {}).get("thread_id"),
            tool_use_id=tool_call_id,
            caller=(config.get("metadata") or {}).get("lc_agent_name"),
            parent_call_id=outer_call.get(),
        )
        if warn is not None:
            call.on_postcondition_warn = warn
        return call

    # --- for agents and graphs ------------------------------------------------------------------

    def as_middleware(self, on_postcondition_warn: WarnCallback | None = None) -> EdictumMiddleware:
        """
        For ``create_agent(middleware=[..., adapter.as_middleware()])``; put it last.

        Args:
            on_postcondition_warn: Instead of the adapter's; likewise below.
        """
        return EdictumMiddleware(self, on_postcondition_warn=on_postcondition_warn)

    def as_tool_wrapper(
        self, on_postcondition_warn: WarnCallback | None = None
    ) -> Callable[[ToolCallRequest, Handler], Any]:
        """
        For ``ToolNode(wrap_tool_call=...)``, which needs the asynchronous one as well: see :meth:`tool_node_kwargs`.
        """
        return partial(self._wrap, warn=on_postcondition_warn)

    def as_async_tool_wrapper(
        self, on_postcondition_warn: WarnCallback | None = None
    ) -> Callable[[ToolCallRequest, AwaitedHandler], Awaitable[Any]]:
        """
        For ``ToolNode(awrap_tool_call=...)``.
        """
        return partial(self._wrap_awaited, warn=on_postcondition_warn)

    def tool_node_kwargs(self, on_postcondition_warn: WarnCallback | None = None) -> dict[str, Any]:
        """
        Both wrappers, for ``ToolNode(tools, **adapter.tool_node_kwargs())``.
        """
        return {
            "wrap_tool_call": self.as_tool_wrapper(on_postcondition_warn),
            "awrap_tool_call": self.as_async_tool_wrapper(on_postcondition_warn),
        }

    def wrap_tools(self, tools: Iterable[BaseTool | Callable[..., Any]]) -> list[BaseTool]:
        """
        Copies of tools that are governed wherever they are called, also by ``tool.invoke``.

        Args:
            tools: Tools, or functions to make tools of.

        Raises:
            EdictumConfigError: A tool replaces ``invoke`` or ``run`` of LangChain, so that nothing stands around its
                body; such a tool can be governed by middleware only.
        """
        return [self._wrapped(tool) for tool in tools]

    def _wrapped(self, tool: BaseTool | Callable[..., Any]) -> BaseTool:
        made = tool if isinstance(tool, BaseTool) else as_tool(tool)
        if is_governed(made, self):
            return made
        if not can_be_governed(made):
            raise EdictumConfigError(
                f"tool {made.name!r} ({type(made).__name__}) has an invoke() or run() of its own; "
                "give it to an agent with EdictumMiddleware instead of wrapping it"
            )
        return governed(made, self)

    def _wrap(self, request: ToolCallRequest, handler: Handler, warn: WarnCallback | None = None) -> Any:
        inside = self._inside(request, warn)
        if inside is not None:
            return handler(inside)
        return through(self._around(request, warn), lambda: handler(request), _shape(request))

    async def _wrap_awaited(
        self, request: ToolCallRequest, handler: AwaitedHandler, warn: WarnCallback | None = None
    ) -> Any:
        inside = self._inside(request, warn)
        if inside is not None:
            return await handler(inside)
        return await through_awaited(self._around(request, warn), lambda: handler(request), _shape(request))

    def _inside(self, request: ToolCallRequest, warn: WarnCallback | None) -> ToolCallRequest | None:
        """
        The request with a tool that is governed by itself; None if there is no such tool.
        """
        tool = request.tool
        if tool is not None and is_governed(tool, self):
            return request
        if tool is None or not can_be_governed(tool):
            return None
        return request.override(tool=governed_for(request, tool, self, warn))

    def _around(self, request: ToolCallRequest, warn: WarnCallback | None) -> SyncCall:
        # A tool that nobody knows may still be supplied by other middleware.
        call = request.tool_call
        return self.open(call["name"], call["args"], request.runtime, call["id"], warn)

    # --- for the start of a program -------------------------------------------------------------

    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        """
        See :meth:`~edictum.Adapter.push_call`.
        """
        probe = StructuredTool.from_function(body, name=tool_name, description="Tests the guard.")
        agent = create_agent(ScriptedModel.calling(tool_name), [probe], middleware=[self.as_middleware()])
        messages = agent.invoke({"messages": [HumanMessage("test")]})["messages"]
        return "\n".join(str(message.content) for message in messages if isinstance(message, ToolMessage))


class EdictumMiddleware(AgentMiddleware[Any, Any, Any]):
    """
    Puts a guard into an agent: ``create_agent(model, tools, middleware=[..., EdictumMiddleware(guard)])``.

    Each time a tool is about to run, the guard decides on the arguments that it is about to run with.  Put it last in
    the list all the same, so that no other middleware can exchange the tool afterwards.

    Args:
        guard: Decides; or an adapter, whose options count then.
        on_postcondition_warn: ``on_postcondition_warn(result, violations)`` gives the result to show instead.
        **options: The other options of :class:`LangChainAdapter`.

    Attributes:
        adapter: The adapter.
    """

    def __init__(
        self,
        guard: Edictum | LangChainAdapter,
        *,
        on_postcondition_warn: WarnCallback | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if isinstance(guard, LangChainAdapter) and options:
            raise EdictumConfigError("give options to the adapter, not to the middleware that is made of it")
        self.adapter = guard if isinstance(guard, LangChainAdapter) else LangChainAdapter(guard, **options)
        self._warn = on_postcondition_warn

    def self_test(self) -> None:
        """
        See :meth:`~edictum.Adapter.self_test`.
        """
        self.adapter.self_test()

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Any:
        """
        Called by the agent around each tool call.
        """
        return _with_another_turn(request, self.adapter._wrap(request, handler, self._warn))

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AwaitedHandler) -> Any:
        """
        Called by the agent around each tool call of an asynchronous run.
        """
        return _with_another_turn(request, await self.adapter._wrap_awaited(request, handler, self._warn))


def _shape(request: ToolCallRequest) -> Shape:
    return Shape(request.tool_call["name"], request.tool_call["id"])


def _with_another_turn(request: ToolCallRequest, result: Any) -> Any:
    """
    Let the model read why its call was blocked, where the tools of this turn would end the run.
    """
    if not isinstance(result, ToolMessage) or BLOCKED not in result.response_metadata:
        return result
    messages = request.state["messages"] if isinstance(request.state, Mapping) else request.state.messages
    turn = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
    direct = {tool.name: tool.return_direct for tool in request.runtime.tools}
    calls = [call["name"] for call in turn.tool_calls if call["name"] in direct] if turn is not None else []
    if calls and all(direct[name] for name in calls):
        return Command(update={"messages": [result]}, goto="model")
    return result
