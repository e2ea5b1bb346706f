"""
What differs between releases of CrewAI, and what it says without words: read here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crewai.events.event_bus import crewai_event_bus
from crewai.events.event_listener import event_listener
from crewai.hooks import tool_hooks
from crewai.hooks.tool_hooks import ToolCallHookContext
from crewai.tools.base_tool import BaseTool, Tool
from crewai.utilities.i18n import I18N
from crewai.utilities.string_utils import sanitize_tool_name

try:
    from crewai.tools.tool_failure import ToolFailure
except ImportError:  # older releases have no such thing
    ToolFailure = None  # type: ignore[assignment,misc,unused-ignore]

try:
    from crewai.hooks.dispatch import InterceptionPoint, get_scoped_hooks, scoped_hooks

    MODERN_HOOKS = True
except ImportError:
    # Older releases: no scopes, and a hook that raises takes the hooks after it along.
    MODERN_HOOKS = False

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


def is_plain(tool: BaseTool, method: str) -> bool:
    """
    Whether a tool leaves this method as CrewAI has it: it validates arguments, counts uses, and runs the body.
    """
    return getattr(type(tool), method) in (getattr(BaseTool, method), getattr(Tool, method))


# --- calls ----------------------------------------------------------------------------------------


def original_tool(context: ToolCallHookContext) -> BaseTool | None:
    """
    The tool as the user gave it to the agent; None if the model named one that does not exist.
    """
    tool = getattr(context.tool, "_original_tool", None)
    return tool if isinstance(tool, BaseTool) else None


def arguments(context: ToolCallHookContext) -> dict[str, Any] | None:
    """
    What the tool will be run with: CrewAI converts what the model sent, and adds defaults.

    None if it will refuse what the model sent, and not run the tool.
    """
    tool = original_tool(context)
    schema = None if tool is None or not is_plain(tool, "run") else tool.args_schema
    if schema is None or not schema.model_fields:
        return context.tool_input
    try:
        return schema.model_validate(context.tool_input).model_dump()
    except Exception:
        return None


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
    tools: tuple[Any, ...] = (original_tool(context), context.tool)
    limited = [tool for tool in tools if getattr(tool, "max_usage_count", None) is not None]
    return any(tool.current_usage_count >= tool.max_usage_count for tool in limited)


def nothing_ran(context: ToolCallHookContext) -> bool:
    """
    Whether the result says that no tool ran: another hook blocked, no such tool, or the same call twice in a row.
    """
    text = _result_text(context)
    return text.startswith(_NOTHING_RAN) or (text == _UNKNOWN_TOOL and not context.tool)


def tool_raised(context: ToolCallHookContext) -> bool:
    """
    Whether the result is the text that CrewAI makes of an exception, or a failure that the tool declares.
    """
    return is_failure(getattr(context, "raw_tool_result", None)) or _result_text(context).lstrip().startswith(_RAISED)


def is_failure(result: Any) -> bool:
    """
    Whether a tool says by its result that it failed.
    """
    return ToolFailure is not None and isinstance(result, ToolFailure)


def failure(text: str, like: Any = None) -> Any | None:
    """
    What a tool returns to say that it failed; None where CrewAI has no such thing.

    Args:
        text: For the model.
        like: Another one, of the same kind.
    """
    if ToolFailure is None:
        return None
    return ToolFailure(message=text) if like is None else ToolFailure(message=text, reason=like.reason)


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
    if MODERN_HOOKS:
        hooks += get_scoped_hooks(InterceptionPoint.PRE_TOOL_CALL)
    return hooks[hooks.index(before) + 1 :] if before in hooks else []


@contextmanager
def scoped(before: Hook, after: Hook) -> Iterator[None]:
    """
    Have the hooks run for what is started inside, and for nothing else; older releases run them for all crews.

    Hooks of an enclosing scope stay in force: CrewAI by itself would drop them.
    """
    if MODERN_HOOKS:
        hooks = {point: get_scoped_hooks(point) for point in InterceptionPoint}
        hooks[InterceptionPoint.PRE_TOOL_CALL].append(before)
        hooks[InterceptionPoint.POST_TOOL_CALL].append(after)
        with scoped_hooks(hooks):
            yield
        return
    install(before, after)
    try:
        yield
    finally:
        uninstall(before, after)


@contextmanager
def no_panels() -> Iterator[None]:
    """
    Keep CrewAI from painting what an agent does on the terminal.
    """
    formatter = event_listener.formatter
    before = formatter.verbose
    formatter.verbose = False
    try:
        yield
    finally:
        crewai_event_bus.flush()
        formatter.verbose = before
