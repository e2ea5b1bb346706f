"""
One session of a guard, so that callers need not name it each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edictum.audit import AuditAction, AuditEvent
from edictum.session import Session

if TYPE_CHECKING:
    from edictum.guard import Edictum
    from edictum.workflow import WorkflowRuntime, WorkflowState


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

    async def workflow_state(self) -> WorkflowState:
        """
        How far the session has come in the guard's workflow; a copy.

        Raises:
            RuntimeError: The guard has no workflow.
            ValueError: The stored state cannot be used.
        """
        return await self._workflow().state(self._session)

    async def reset(self, stage_id: str) -> None:
        """
        Put the session back to a stage of the workflow: what it and later stages brought is forgotten.

        Raises:
            RuntimeError: The guard has no workflow.
            ValueError: There is no such stage.
        """
        await self._log(await self._workflow().reset(self._session, stage_id))

    async def set_stage(self, stage_id: str) -> None:
        """
        Put the session into a stage of the workflow; approvals and evidence stay.

        Raises:
            RuntimeError: The guard has no workflow.
            ValueError: There is no such stage, or the stored state cannot be used.
        """
        await self._log(await self._workflow().set_stage(self._session, stage_id))

    def _workflow(self) -> WorkflowRuntime:
        runtime = self._guard._workflow_runtime
        if runtime is None:
            raise RuntimeError("this guard has no workflow; give it one with workflow_runtime or workflow_path")
        return runtime

    async def _log(self, events: list[dict[str, Any]]) -> None:
        guard = self._guard
        for event in events:
            moved = AuditEvent(
                timestamp=guard._decision_log.now(),
                run_id=self.session_id,
                session_id=self.session_id,
                environment=guard.environment,
                action=AuditAction(event["action"]),
                workflow=guard._decision_log.tree(event["workflow"]),
                mode=guard.mode,
                policy_version=guard.policy_version,
            )
            await guard._decision_log.send(moved)
