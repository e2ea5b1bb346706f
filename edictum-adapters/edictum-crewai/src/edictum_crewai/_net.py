"""
The net: a pair of hooks for tools that were never wrapped, such as delegation and MCP.

CrewAI runs a tool when a before-hook raises, and shows the raw result when an after-hook does, so nothing may get out
of these but a decision.  It gives a call no id; before and after share one object only, the dictionary of arguments.
They run in the same context, so that is where a call is between the two: calls of other threads and tasks are never
in sight, calls made during a call lie on top of it, and what an aborted run leaves goes with its context.
"""

from __future__ import annotations

import logging
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from crewai.hooks.tool_hooks import ToolCallHookContext
from edictum.adapter import refusal_text
from edictum.errors import EdictumDenied

from edictum_crewai import _framework as framework
from edictum_crewai._tools import GovernedTool, ProbeTool, UnderWay, innermost, under_way

if TYPE_CHECKING:
    from edictum.sync_call import SyncCall

    from edictum_crewai.adapter import CrewAIAdapter

logger = logging.getLogger(__name__)

UNCHECKED = "The call could not be checked, so it is blocked. Report this to the user."
CHANGED = "The arguments changed while the call was checked, so it is blocked. Make it again, as it is meant to run."
WITHHELD = "[OUTPUT SUPPRESSED]"
REWRITTEN = "The arguments changed after the call was checked, so its result is withheld. Report this to the user."


class Passage:
    """
    A call between its before-hook and its after-hook.

    Attributes:
        net: Whose.
        before: The context of the before-hook, which CrewAI keeps as long as it works on the call.
        args: The dictionary of arguments.
        call: The governed call; None if it was blocked.
        refusal: What the model is told about a blocked call.
        idle: Whether CrewAI will not run the tool.
        outer: The call during which this one is made.
        written: The arguments as they were judged, if other hooks can still change them.
    """

    __slots__ = ("args", "before", "call", "idle", "net", "outer", "refusal", "written")

    def __init__(self, net: Net, context: ToolCallHookContext) -> None:
        self.net = net
        self.before = weakref.ref(context)
        self.args = context.tool_input
        self.call: SyncCall | None = None
        self.refusal = UNCHECKED
        self.idle = False
        self.outer = innermost()
        self.written: str | None = None


_passages: ContextVar[tuple[Passage, ...]] = ContextVar("edictum_crewai_passages", default=())


class Net:
    """
    The hooks of one adapter.

    Args:
        adapter: Makes the governed calls.
        only: The tool of a self-test, to govern its calls and no others; None governs all but those.
    """

    def __init__(self, adapter: CrewAIAdapter, *, only: ProbeTool | None = None) -> None:
        self._adapter = adapter
        self._only = only

    def before(self, context: ToolCallHookContext) -> bool | None:
        """
        Decide about a call; False blocks it.
        """
        try:
            return self._before(context)
        except Exception:
            logger.exception("a call of tool %r could not be checked", context.tool_name)
            return None if self._adapter.observing else False

    def after(self, context: ToolCallHookContext) -> str | None:
        """
        Judge the result; a text takes its place.
        """
        try:
            return self._after(context)
        except Exception:
            logger.exception("the result of tool %r could not be judged", context.tool_name)
            return None if self._adapter.observing else WITHHELD

    def _before(self, context: ToolCallHookContext) -> bool | None:
        tool = framework.original_tool(context)
        if tool is not self._only if self._only else isinstance(tool, ProbeTool):
            return None
        cached = framework.answered_from_cache(context)
        if isinstance(tool, GovernedTool) and not cached:
            self._adapter.announce(context)
            return None
        if any(known.net is self and known.before() is context for known in _passages.get()):
            return None  # registered for the process and for a scope: decided a moment ago
        passage = self._enter(context)
        args = framework.arguments(context)
        passage.idle = cached or args is None or framework.uses_are_spent(context)
        written = repr(context.tool_input)
        # The very object where it says the same: then the guard sees when somebody writes to it.
        judged = context.tool_input if args is None or repr(args) == written else args
        call = self._adapter.call_in(context, judged)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            passage.refusal = refusal_text(denied)
            return False
        if written != repr(context.tool_input):
            call.abandon_sync()
            passage.refusal = CHANGED
            return False
        if framework.hooks_behind(self.before):
            passage.written = written
        passage.call = call
        under_way.set(UnderWay(call.call.call_id, passage.outer, passage.before))
        return None

    def _after(self, context: ToolCallHookContext) -> str | None:
        passage = self._leave(context)
        if passage is None:
            return self._undecided(context)
        call, passage.call = passage.call, None  # contexts that were copied meanwhile may live on
        if call is None:
            return passage.refusal if framework.nothing_ran(context) else None
        text = context.tool_result
        shown = self._judged(passage, call, context)
        return None if shown == text else str(shown)

    def _judged(self, passage: Passage, call: SyncCall, context: ToolCallHookContext) -> Any:
        text = context.tool_result
        if passage.idle or framework.nothing_ran(context):
            return call.reuse_sync(text).result
        if passage.written not in (None, repr(context.tool_input)):
            logger.error("another hook changed the arguments of tool %r after they were checked", context.tool_name)
            call.fail_sync(RuntimeError(REWRITTEN))
            return text if self._adapter.observing else REWRITTEN
        return call.finish_sync(text, failed=framework.tool_raised(context)).result

    def _undecided(self, context: ToolCallHookContext) -> str | None:
        """
        What to do about a result without a decision: some releases skip hooks when one before them raises.
        """
        known = isinstance(framework.original_tool(context), GovernedTool | ProbeTool)
        if framework.MODERN_HOOKS or self._only or known or framework.nothing_ran(context):
            return None
        logger.error("tool %r ran undecided, because a hook before this one raised", context.tool_name)
        return None if self._adapter.observing else WITHHELD

    # --- calls on their way ---------------------------------------------------------------------

    def _enter(self, context: ToolCallHookContext) -> Passage:
        passage = Passage(self, context)
        # Those that CrewAI no longer works on were interrupted, or blocked by a release that does not report blocks.
        _passages.set((*(known for known in _passages.get() if known.before() is not None), passage))
        return passage

    def _leave(self, context: ToolCallHookContext) -> Passage | None:
        """
        Take the call out again; None if it was never entered, or has been left.
        """
        passages = _passages.get()
        for passage in reversed(passages):
            if passage.net is self and passage.args is context.tool_input:
                _passages.set(tuple(other for other in passages if other is not passage))
                under_way.set(passage.outer)
                return passage
        return None
