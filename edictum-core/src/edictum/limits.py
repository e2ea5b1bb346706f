"""
Limits on one session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """
    How much one session may do.

    Attributes:
        max_attempts: Calls that may be attempted, blocked ones included.
        max_tool_calls: Calls that may be executed.
        max_calls_per_tool: Executions by tool name or glob; a glob counts all tools it matches together.

    Raises:
        ValueError: A limit is not a whole number of at least 0.
    """

    max_attempts: int = 500
    max_tool_calls: int = 200
    max_calls_per_tool: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {"max_attempts": self.max_attempts, "max_tool_calls": self.max_tool_calls}
        numbers |= {f"max_calls_per_tool[{name!r}]": count for name, count in self.max_calls_per_tool.items()}
        for name, number in numbers.items():
            if type(number) is not int or number < 0:
                raise ValueError(f"{name} is a whole number of at least 0, not {number!r}")
