"""
One session of a guard, so that callers need not name it each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edictum.session import Session

if TYPE_CHECKING:
    from edictum.guard import Edictum


class GuardSession:
    """
    One session of a guard.

    Attributes:
        session_id: Its id.
    """

    def __init__(self, guard: Edictum, session_id: str) -> None:
        self._guard = guard
        self._session = Session(session_id, guard.backend)
        self.session_id = session_id

    async def run(
        self, tool_name: str, args: Mapping[str, Any], tool_callable: Callable[..., Any], **call_fields: Any
    ) -> Any:
        """
        :meth:`Edictum.run` in this session.
        """
        return await self._guard.run(tool_name, args, tool_callable, session_id=self.session_id, **call_fields)

    def run_sync(
        self, tool_name: str, args: Mapping[str, Any], tool_callable: Callable[..., Any], **call_fields: Any
    ) -> Any:
        """
        :meth:`Edictum.run_sync` in this session.
        """
        return self._guard.run_sync(tool_name, args, tool_callable, session_id=self.session_id, **call_fields)

    async def counters(self, tool_name: str | None = None) -> dict[str, int]:
        """
        Attempts, executions and, if asked, executions of one tool.
        """
        return await self._session.batch_get_counters(include_tool=tool_name)
