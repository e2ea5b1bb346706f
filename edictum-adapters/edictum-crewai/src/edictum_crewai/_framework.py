"""
What differs between releases of CrewAI, and what it says without words: read here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from crewai.hooks import tool_hooks
from crewai.hooks.tool_hooks import ToolCallHookContext
from crewai.tools.base_tool import BaseTool
from crewai.utilities.i18n import I18N
from crewai.utilities.string_utils import sanitize_tool_name

try:
    from crewai.tools.tool_failure import ToolFailure
except ImportError:  # before some 1.15
    ToolFailure = None  # type: ignore[assignment,misc,unused-ignore]

try:
    from crewai.hooks.dispatch import InterceptionPoint, get_scoped_hooks, scoped_hooks

    HAS_SCOPES = True
except ImportError:  # before some 1.15
    HAS_SCOPES = False

Hook = Callable[[ToolCallHookContext], Any]

# How results begin that the framework writes in place of a tool's.  It says the same thing in no other way.
_RAISED = ("Error executing tool: ", I18N().errors("tool_usage_exception").partition("{")[0])
_NOTHING_RAN = ("Tool execution blocked by hook. Tool: ", I18N().errors("task_repeated_usage").strip())
_UNKNOWN_TOOL = "Tool not found"


def public_name(name: str) -> str:
    """
    The name under which the model knows a tool; rules and events use it.
    """
    return sanitize_tool_name(name)


def original_tool(context: ToolCallHookContext) -> BaseTool | None:
    """
    The tool as the user gave it to the agent; None if the model named one that does not exist.
    """
    tool = getattr(context.tool, "_original_tool", None)
    return tool if isinstance(tool, BaseTool) else None


def answered_from_cache(context: ToolCallHookContext) -> bool:
    """
    Whether CrewAI has the answer to this very call already and will not run the tool.
    """
    cache = getattr(getattr(context.agent, "tools_handler", None), "cache", None)
    if cache is None:
        return False
    key = json.dumps(context.tool_input) if context.tool_input else ""
    return cache.read(tool=public_name(context.tool_name), input=key) is not None


def uses_are_spent(context: ToolCallHookContext) -> bool:
    """
    Whether the tool may not be used again, so that CrewAI will not run it.
    """
    for tool in (original_tool(context), context.tool):
        limit = getattr(tool, "max_usage_count", None)
        if limit is not None and tool.current_usage_count >= limit:
            return True
    return False


def nothing_ran(context: ToolCallHookContext) -> bool:
    """
    Whether the result says that no tool ran: another hook blocked, no such tool, or the same call twice in a row.
    """
    text = _result_text(context)
    return text.startswith(_NOTHING_RAN) or (context.tool is None and text == _UNKNOWN_TOOL)


def tool_raised(context: ToolCallHookContext) -> bool:
    """
    Whether the result is the text that CrewAI makes of an exception, or a failure that the tool declares.
    """
    declared = ToolFailure is not None and isinstance(getattr(context, "raw_tool_result", None), ToolFailure)
    return declared or _result_text(context).lstrip().startswith(_RAISED)


def _result_text(context: ToolCallHookContext) -> str:
    result = context.tool_result
    return result if isinstance(result, str) else ""


def described(context: ToolCallHookContext | None) -> dict[str, Any]:
    """
    Who calls, as :meth:`edictum.adapter.Adapter.call` takes it.
    """
    if context is None:
        return {}
    facts = {
        f"{part}_{attribute}": str(value)
        for part in ("agent", "task", "crew")
        for attribute in ("id", "role", "name")
        if (value := getattr(getattr(context, part), attribute, None))
    }
    return {"caller": facts.get("agent_role"), "session": facts.get("crew_id"), "metadata": {"crewai": facts}}


# --- hooks ----------------------------------------------------------------------------------------


def install(before: Hook, after: Hook) -> None:
    """
    Add the hooks to those of the process, once.
    """
    if before not in tool_hooks.get_before_tool_call_hooks():
        tool_hooks.register_before_tool_call_hook(before)
    if after not in tool_hooks.get_after_tool_call_hooks():
        tool_hooks.register_after_tool_call_hook(after)


def uninstall(before: Hook, after: Hook) -> None:
    """
    Take the hooks out again; harmless when somebody has done so before.
    """
    tool_hooks.unregister_before_tool_call_hook(before)
    tool_hooks.unregister_after_tool_call_hook(after)


def installed(before: Hook, after: Hook) -> bool:
    """
    Whether both hooks are among those of the process.
    """
    return before in tool_hooks.get_before_tool_call_hooks() and after in tool_hooks.get_after_tool_call_hooks()


def hooks_behind(before: Hook) -> list[Hook]:
    """
    Before-hooks that run after this one and could still change the arguments that it has judged.
    """
    hooks: list[Any] = list(tool_hooks.get_before_tool_call_hooks())
    if HAS_SCOPES:
        hooks += get_scoped_hooks(InterceptionPoint.PRE_TOOL_CALL)
    return hooks[hooks.index(before) + 1 :] if before in hooks else []


def scoped(before: Hook, after: Hook) -> AbstractContextManager[Mapping[Any, Any]] | None:
    """
    A context in which the hooks run for what it starts, and for nothing else; None where CrewAI has no such thing.

    Hooks of an enclosing scope stay in force: CrewAI by itself would drop them.
    """
    if not HAS_SCOPES:
        return None
    hooks = {point: get_scoped_hooks(point) for point in InterceptionPoint}
    hooks[InterceptionPoint.PRE_TOOL_CALL].append(before)
    hooks[InterceptionPoint.POST_TOOL_CALL].append(after)
    return scoped_hooks(hooks)
