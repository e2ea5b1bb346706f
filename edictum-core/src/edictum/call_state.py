"""
What the ways of one tool call under governance share.

A way is a generator that yields what has to be awaited, a storage backend that answers over a network for example; with
nothing to await it runs straight through.  Who drives it is the business of
:class:`~edictum.governed_call.GovernedCall` and :class:`~edictum.sync_call.SyncCall`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edictum.decision_log import CallLog
from edictum.engine.decide import over_limit
from edictum.engine.outcome import PostDecision, PreDecision
from edictum.findings import Finding
from edictum.refusal import Refusal, by_storage
from edictum.session import Batches
from edictum.storage import Batch, NoRoom
from edictum.tool_call import Principal, ToolCall
from edictum.workflow_step import WorkflowStep

if TYPE_CHECKING:
    from edictum.guard_parts import GuardParts

logger = logging.getLogger(__name__)

Stage: TypeAlias = Literal["new", "blocked", "allowed", "done"]
Steps: TypeAlias = Generator[Awaitable[Any], Any, None]
PrincipalSource: TypeAlias = Callable[[], Principal | None]


class CallState:
    """
    What is known of one call on its way, and its place under the limits of its session.

    Attributes:
        call: The frozen call; set on the way to the tool, also when the call is blocked.
        decision: The decision; likewise.
        on_postcondition_warn: Called instead of the guard's, if set.
    """

    __slots__ = (
        "_args",
        "_asked",
        "_batches",
        "_fields",
        "_guard",
        "_log",
        "_plan",
        "_post",
        "_principal",
        "_reserved",
        "_session",
        "_shown",
        "_stage",
        "_started",
        "_state",
        "_success",
        "_tool_name",
        "_violations",
        "_workflow",
        "call",
        "decision",
        "on_postcondition_warn",
    )

    call: ToolCall
    decision: PreDecision
    on_postcondition_warn: Callable[[Any, list[Any]], Any]
    _log: CallLog
    _batches: Batches
    _success: bool
    _post: PostDecision
    _violations: Sequence[Finding]
    _shown: Any

    def __init__(
        self,
        guard: GuardParts,
        tool_name: str,
        args: Mapping[str, Any],
        session_id: str | None,
        principal: Principal | PrincipalSource | None,
        fields: Mapping[str, Any],
    ) -> None:
        self._guard = guard
        # Taken once: whatever a reload does meanwhile, this call is judged by one ruleset.
        self._state = state = guard._state
        self._tool_name = tool_name
        self._args = args
        self._principal = principal
        self._fields = fields
        self._session = guard._session_for(session_id)
        planner = state.planner
        self._plan = planner.plans.get(tool_name) or planner.plan(tool_name)
        self._stage: Stage = "new"
        self._reserved = False
        self._asked = False
        self._started: float | None = None
        self._workflow: WorkflowStep | None = None

    def _reserve(self) -> Awaitable[Any] | None:
        """
        Count the execution before the tool runs, so that parallel calls cannot share the last place.

        Returns:
            What must be awaited for it; None when it is done.
        """
        batch = self._batches.execution if self._state.mode == "enforce" else self._batches.unlimited
        store = self._session.immediate
        if store is None:
            return self._reserve_later(batch)
        try:
            values = store.reserve_now(batch)
        except NoRoom as full:
            raise self._over(full.values) from None
        except Exception as error:
            raise by_storage(error) from error
        self._reserved = True
        self._log.executions = values[0]
        return None

    async def _reserve_later(self, batch: Batch) -> None:
        try:
            result = await self._session.store.reserve(batch.changes)
        except Exception as error:
            raise by_storage(error) from error
        if not result.ok:
            raise self._over(result.values)
        self._reserved = True
        self._log.executions = result.values[0]

    def _over(self, values: Sequence[float]) -> Refusal:
        self._log.executions = values[0]
        over = over_limit(self._plan, (0, *values))
        name, text = over[:2] if over else ("max_tool_calls", "The session has reached its limit.")
        return Refusal("operation_limit", name, text, decision=self.decision)

    def _settle(self, success: bool) -> Awaitable[Any] | None:
        """
        Keep the reservation for good.

        Returns:
            What must be awaited for it; None when it is done.
        """
        self._reserved = False
        session = self._session
        if session.immediate is None:
            return self._settle_later(success)
        try:
            session.immediate.settle_now(self._batches.execution, session.failures, success)
        except Exception:
            self._not_settled()
        return None

    async def _settle_later(self, success: bool) -> None:
        session = self._session
        try:
            await session.store.settle(self._batches.execution.changes, session.failures, success)
        except Exception:
            self._not_settled()

    def _not_settled(self) -> None:
        # The execution was counted before it began, so no limit is exceeded by this.
        logger.exception("the outcome of a call of tool %r was not counted", self._tool_name)

    async def _give_back(self) -> None:
        """
        Return the reservation of a tool that does not start.
        """
        self._reserved = False
        try:
            await self._session.store.release(self._batches.execution.changes)
        except Exception:
            # The place stays taken: stricter than needed, never looser.
            logger.exception("the reservation of a call of tool %r was not given back", self._tool_name)

    def _misused(self, needed: Stage) -> RuntimeError:
        return RuntimeError(f"this call is {self._stage!r}; the step needs it to be {needed!r}")
