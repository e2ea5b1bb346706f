"""
Rules written in Python.

    @precondition("deploy")
    def only_on_weekdays(call: ToolCall) -> Decision:
        return Decision.pass_() if is_weekday() else Decision.fail("deploys run on weekdays")

The decorators only mark a function; ``Edictum(rules=[...])`` reads the marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edictum.text import shorten
from edictum.tool_call import ToolCall

MAX_MESSAGE = 500

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Decision:
    """
    Answer of a Python rule; make it with :meth:`pass_` or :meth:`fail`.
    """

    passed: bool
    message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def pass_(cls) -> Decision:
        """
        The call may go on.
        """
        return cls(True)

    @classmethod
    def fail(cls, message: str, **metadata: Any) -> Decision:
        """
        The rule is broken; the message is cut at 500 characters.
        """
        return cls(False, shorten(message, MAX_MESSAGE), metadata)


def precondition(tool: str, when: Callable[[ToolCall], bool] | None = None) -> Callable[[F], F]:
    """
    Mark ``function(call) -> Decision`` as a rule that is judged before a tool runs.

    Args:
        tool: Tool name or glob.
        when: Further condition on the call; a rule whose condition raises blocks the call.
    """
    return _marker("precondition", tool, when)


def postcondition(tool: str, when: Callable[[ToolCall], bool] | None = None) -> Callable[[F], F]:
    """
    Mark ``function(call, result) -> Decision`` as a rule that is judged on a tool's result.

    Args:
        tool: Tool name or glob.
        when: Further condition on the call.
    """
    return _marker("postcondition", tool, when)


def session_contract(function: F) -> F:
    """
    Mark ``function(session) -> Decision`` as a rule on the session; it may be asynchronous.
    """
    return _marker("session_contract", "*", None)(function)


def _marker(kind: str, tool: str, when: Callable[[ToolCall], bool] | None) -> Callable[[F], F]:
    def mark(function: F) -> F:
        function._edictum_type = kind  # type: ignore[attr-defined]
        function._edictum_tool = tool  # type: ignore[attr-defined]
        function._edictum_when = when  # type: ignore[attr-defined]
        return function

    return mark
