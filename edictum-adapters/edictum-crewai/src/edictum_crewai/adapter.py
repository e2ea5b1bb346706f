"""
:class:`CrewAIAdapter`: a guard for the tool calls of CrewAI's agents.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from crewai import Agent
from crewai.hooks.tool_hooks import ToolCallHookContext
from crewai.tools.base_tool import BaseTool, Tool
from edictum.adapter import Adapter
from edictum.errors import EdictumConfigError, SelfTestError

from edictum_crewai import _framework as framework
from edictum_crewai._net import Net
from edictum_crewai._tools import GovernedTool, ProbeTool, innermost

if TYPE_CHECKING:
    from edictum.guard import Edictum
    from edictum.sync_call import SyncCall

# The call that the hooks saw last in this context.  A weak reference, because it is CrewAI's and ends with the call.
_announced: ContextVar[weakref.ref[ToolCallHookContext] | None] = ContextVar("edictum_crewai_call", default=None)


class CrewAIAdapter(Adapter):
    """
    Puts the tools of CrewAI agents under a guard; safe to use for several crews, threads and event loops.

    :meth:`wrap_tools` governs the tools that you give to agents, on every path that leads to them.  :meth:`register`
    and :meth:`scope` add a net for those that CrewAI brings itself, such as delegation and MCP, and tell wrapped tools
    which agent calls.  A call is decided once, whichever of them it passes.

    Resolvers are given CrewAI's ``ToolCallHookContext``, with ``agent``, ``task`` and ``crew``; None for a wrapped tool
    that is called without the net.

    Args:
        guard: Decides.
        **options: Those of :class:`edictum.Adapter`.
    """

    def __init__(self, guard: Edictum, **options: Any) -> None:
        super().__init__(guard, **options)
        self._net = Net(self)
        self._handles: set[Registration] = set()
        self._lock = threading.Lock()
        self._probes_net = False

    def wrap_tools(self, tools: Iterable[Any]) -> list[BaseTool]:
        """
        Governed tools around the given ones, for ``Agent(tools=...)`` and ``Task(tools=...)``.

        Their results stay out of CrewAI's cache, because a call answered from there would pass without a decision.

        Args:
            tools: CrewAI tools, or others that CrewAI accepts.  Governed ones are taken as they are.

        Raises:
            EdictumConfigError: Something is not a tool.
        """
        return [self._wrapped(tool) for tool in tools]

    def _wrapped(self, tool: Any) -> BaseTool:
        if isinstance(tool, GovernedTool):
            return tool
        if not isinstance(tool, BaseTool):
            if not callable(getattr(tool, "func", None)) or not isinstance(getattr(tool, "name", None), str):
                kind = type(tool).__name__
                raise EdictumConfigError(f"wrap_tools() takes CrewAI tools, not {kind}; decorate a function with @tool")
            tool = Tool.from_langchain(tool)
        return GovernedTool(tool, self)

    def register(self) -> Registration:
        """
        Spread the net over all crews of the process, until the returned handle is released.

        Any number of handles may be out; the hooks are there once, and go with the last handle.  Call it after other
        hooks have been registered: those that run later can still change arguments.
        """
        handle = Registration(self)
        with self._lock:
            self._handles.add(handle)
            framework.install(self._net.before, self._net.after)
        return handle

    def _release(self, handle: Registration) -> None:
        with self._lock:
            if handle not in self._handles:
                return
            self._handles.remove(handle)
            if not self._handles:
                framework.uninstall(self._net.before, self._net.after)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """
        Spread the net over what is started inside, so that crews with different guards do not meet.

        Releases of CrewAI without ``scoped_hooks`` know hooks of the process only: there the net is over all crews
        meanwhile.  Do not open ``scoped_hooks`` inside: CrewAI puts them in place of this net.
        """
        # Where it is the same thing, the handles count who needs the hooks.
        hooks = framework.scoped(self._net.before, self._net.after) if framework.MODERN_HOOKS else self.register()
        with hooks:
            yield

    def self_test(self) -> None:
        """
        Push forbidden calls through CrewAI and make sure that they are stopped; for the start of a program.

        One is of a wrapped tool, one of a plain tool over a net.  Then it looks whether the hooks are still where
        :meth:`register` put them: other code can take all hooks out, or add some behind that change arguments, without
        a word to anybody.  Rules, sessions and the decision log of this adapter's guard stay untouched.

        Raises:
            SelfTestError: A call was not stopped, or the hooks are not in force.
        """
        super().self_test()
        netted = copy.copy(self)
        netted._probes_net = True
        Adapter.self_test(netted)
        if self._handles and not framework.installed(self._net.before, self._net.after):
            raise SelfTestError(
                f"{type(self).__name__}: the hooks were registered but are gone from CrewAI, so only wrapped tools are "
                "governed. Something has cleared all hooks; call register() after it"
            )
        for hook in framework.hooks_behind(self._net.before):
            if not isinstance(getattr(hook, "__self__", None), Net):
                name = getattr(hook, "__qualname__", type(hook).__qualname__)
                raise SelfTestError(
                    f"{type(self).__name__}: the hook {name} runs after the decision and can change the arguments of "
                    "tools that are not wrapped; register it before the adapter"
                )

    def push_call(self, tool_name: str, body: Callable[[], str]) -> str:
        """
        See :meth:`edictum.adapter.Adapter.push_call`.
        """
        from edictum_crewai.scripted import ScriptedLLM, use

        probe = ProbeTool(name=tool_name, body=body)
        net = Net(self, only=probe)
        spread = framework.scoped(net.before, net.after) if self._probes_net else nullcontext()
        llm = ScriptedLLM.of([use(tool_name)], "done")
        with framework.no_panels(), spread:
            tools: list[BaseTool] = [probe] if self._probes_net else self.wrap_tools([probe])
            agent = Agent(role="self-test", goal="none", backstory="none", llm=llm, tools=tools)
            with ThreadPoolExecutor(1) as pool:  # CrewAI refuses a thread with a running event loop
                pool.submit(copy_context().run, agent.kickoff, "Begin.").result()
        return "\n".join(llm.results())

    # --- for the tools and the net --------------------------------------------------------------

    @property
    def observing(self) -> bool:
        """
        Whether the guard only observes, and must not change what happens.
        """
        return self.guard.mode == "observe"

    def announce(self, context: ToolCallHookContext) -> None:
        """
        Remember who is about to call a governed tool, which CrewAI does not tell it.
        """
        _announced.set(weakref.ref(context))

    def call_in(self, context: ToolCallHookContext, args: Mapping[str, Any]) -> SyncCall:
        """
        The governed call of a tool that the hooks see.
        """
        return self._call(framework.public_name(context.tool_name), args, context)

    def call_of(self, tool: GovernedTool, name: str, args: Mapping[str, Any]) -> SyncCall:
        """
        The governed call of a wrapped tool.
        """
        announced = _announced.get()
        context = None if announced is None else announced()
        if context is not None and framework.original_tool(context) is not tool:
            context = None  # a call during which this one is made
        return self._call(name, args, context)

    def _call(self, name: str, args: Mapping[str, Any], context: ToolCallHookContext | None) -> SyncCall:
        outer = innermost()
        parent = None if outer is None else outer.call_id
        return self.call(name, args, context=context, parent_call_id=parent, **framework.described(context))


class Registration:
    """
    A hold on the net of an adapter; leaving its ``with`` block releases it.
    """

    def __init__(self, adapter: CrewAIAdapter) -> None:
        self._adapter = adapter

    def unregister(self) -> None:
        """
        Release it.  Again has no effect.
        """
        self._adapter._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unregister()
