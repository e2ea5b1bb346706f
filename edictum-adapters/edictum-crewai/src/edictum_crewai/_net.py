"""
The net: a pair of hooks for tools that were never wrapped, such as delegation and MCP.

CrewAI runs a tool when a before-hook raises, and shows the raw result when an after-hook does, so nothing may get out
of these but a decision.  It gives a call no id.  Before and after share one object only, the dictionary of arguments,
and the context of the before-hook lives exactly as long as CrewAI works on the call: what is held here is keyed by the
one and goes with the other, also where no after-hook follows.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import TYPE_CHECKING, Any

from crewai.hooks.tool_hooks import ToolCallHookContext
from edictum.adapter import refusal_text
from edictum.errors import EdictumDenied
from edictum.snapshot import unchanged

from edictum_crewai import _framework as framework
from edictum_crewai._tools import GovernedTool

if TYPE_CHECKING:
    from edictum.sync_call import SyncCall

    from edictum_crewai.adapter import CrewAIAdapter

logger = logging.getLogger(__name__)

UNCHECKED = "The call could not be checked, so it is blocked. Report this to the user."
WITHHELD = "[OUTPUT SUPPRESSED]"
REWRITTEN = "The arguments changed after the call was checked, so its result is withheld. Report this to the user."


class Pending:
    """
    A call between its before-hook and its after-hook.

    Attributes:
        context: The context of the before-hook.
        call: The governed call; None if it was blocked.
        refusal: What the model is told about a blocked call.
        cached: Whether CrewAI answers from its cache.
        spent: Whether CrewAI answers that the tool was used too often.
        exposed: Whether other hooks run between the decision and the tool.
    """

    __slots__ = ("cached", "call", "context", "exposed", "refusal", "spent")

    def __init__(self, context: weakref.ref[ToolCallHookContext]) -> None:
        self.context = context
        self.call: SyncCall | None = None
        self.refusal = UNCHECKED
        self.cached = self.spent = self.exposed = False


class Net:
    """
    The hooks of one adapter, and its calls on their way.

    Args:
        adapter: Makes the governed calls.
        only: The one tool to govern; None governs all.
    """

    def __init__(self, adapter: CrewAIAdapter, *, only: str | None = None) -> None:
        self._adapter = adapter
        self._only = only
        self._pending: dict[int, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    # --- the hooks ------------------------------------------------------------------------------

    def before(self, context: ToolCallHookContext) -> bool | None:
        """
        Decide about a call; False blocks it.
        """
        try:
            return self._before(context)
        except Exception:
            logger.exception("a call of tool %r could not be checked", context.tool_name)
            if self._adapter.observing:
                self._pending.pop(id(context.tool_input), None)
                return None
            return False

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
        if self._only not in (None, context.tool_name):
            return None
        cached = framework.answered_from_cache(context)
        if isinstance(framework.original_tool(context), GovernedTool) and not cached:
            self._adapter.announce(context)
            return None
        known = self._pending.get(id(context.tool_input))
        if known is not None and known.context() is context:
            return None  # registered for the process and for a scope: decided a moment ago
        pending = self._hold(context)
        pending.cached = cached
        pending.spent = framework.uses_are_spent(context)
        pending.exposed = bool(framework.hooks_behind(self.before))
        call = self._adapter.call_in(context)
        try:
            call.begin_sync()
        except EdictumDenied as denied:
            pending.refusal = refusal_text(denied)
            return False
        pending.call = call
        return None

    def _after(self, context: ToolCallHookContext) -> str | None:
        pending = self._pending.pop(id(context.tool_input), None)
        if pending is None:
            return None
        if pending.call is None:
            return pending.refusal
        if pending.spent or framework.nothing_ran(context):
            pending.call.abandon_sync()
            return None
        text = context.tool_result
        shown = self._judged(pending, pending.call, context)
        return None if shown == text else str(shown)

    def _judged(self, pending: Pending, call: SyncCall, context: ToolCallHookContext) -> Any:
        text = context.tool_result
        if pending.exposed and not unchanged(context.tool_input, call.call.args, strict=True):
            logger.error("another hook changed the arguments of tool %r after they were checked", context.tool_name)
            call.fail_sync(RuntimeError(REWRITTEN))
            return text if self._adapter.observing else REWRITTEN
        if pending.cached:
            return call.reuse_sync(text).result
        if framework.tool_raised(context):
            return call.fail_sync(RuntimeError(text))
        return call.finish_sync(text).result

    # --- calls on their way ---------------------------------------------------------------------

    def _hold(self, context: ToolCallHookContext) -> Pending:
        key = id(context.tool_input)
        pending = Pending(weakref.ref(context, lambda gone: self._lost(key, gone)))
        self._pending[key] = pending
        return pending

    def _lost(self, key: int, gone: weakref.ref[ToolCallHookContext]) -> None:
        """
        CrewAI has left the call without an after-hook: it was cancelled, or blocked where blocks are not reported.
        """
        pending = self._pending.get(key)
        if pending is None or pending.context is not gone:
            return
        del self._pending[key]
        if pending.call is None:
            return
        try:
            pending.call.fail_sync(asyncio.CancelledError())
        except Exception:
            logger.exception("the end of an interrupted call was not recorded")
