"""
Hooks: Python functions called before and after a tool, outside any ruleset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from edictum.text import shorten
from edictum.tool_call import ToolCall

MAX_REASON = 500


class HookResult(StrEnum):
    """
    What a before-hook says.
    """

    ALLOW = "allow"
    DENY = "block"


@dataclass(frozen=True, slots=True)
class HookDecision:
    """
    Answer of a before-hook; make it with :meth:`allow` or :meth:`block`.
    """

    result: HookResult
    reason: str | None = None

    @classmethod
    def allow(cls) -> HookDecision:
        """
        Let the call go on to the rules.
        """
        return cls(HookResult.ALLOW)

    @classmethod
    def block(cls, reason: str) -> HookDecision:
        """
        Block the call; the reason is cut at 500 characters.
        """
        return cls(HookResult.DENY, shorten(reason, MAX_REASON))

    deny = block


@dataclass(frozen=True, slots=True)
class HookRegistration:
    """
    A hook and the calls it concerns.

    Attributes:
        phase: ``before`` or ``after`` the tool.
        tool: Tool name or glob.
        callback: ``callback(call)`` before, ``callback(call, result)`` after; may be asynchronous.
        when: Further condition on the call; a hook whose condition raises blocks the call.

    Raises:
        ValueError: Another phase.
    """

    phase: Literal["before", "after"]
    tool: str
    callback: Callable[..., Any]
    when: Callable[[ToolCall], bool] | None = None

    def __post_init__(self) -> None:
        if self.phase not in ("before", "after"):
            raise ValueError(f"phase of a hook is 'before' or 'after', not {self.phase!r}")

    @property
    def name(self) -> str:
        """
        Name shown in the decision log.
        """
        return str(getattr(self.callback, "__name__", None) or type(self.callback).__name__)
