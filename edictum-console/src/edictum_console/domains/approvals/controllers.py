"""
Routes of approvals, for agents of today, for older ones, and for people.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, get, post, put
from litestar.di import Provide
from litestar.params import FromPath, JSONBody, QueryParameter

from edictum_console.db.scope import TenantScope
from edictum_console.domains.approvals.repository import Filter
from edictum_console.domains.approvals.schemas import (
    ApprovalRequest,
    BulkDecision,
    BulkOutcome,
    BulkOutcomes,
    Decision,
    DecisionWord,
    PersonsDecision,
)
from edictum_console.domains.approvals.service import ApprovalService
from edictum_console.domains.approvals.wire import Dialect, stored_status
from edictum_console.errors import ForbiddenError, InvalidError
from edictum_console.http.idempotency import once_of
from edictum_console.http.parameters import Cursor, Injected, Limit
from edictum_console.resources import Caller, Resources
from edictum_console.security import guards
from edictum_console.security.actor import KeyActor, KeyScope, PersonActor, Role

Text = Annotated[str | None, QueryParameter(max_length=255)]
Wait = Annotated[int, QueryParameter(ge=0, le=25, description="Seconds to wait for a decision.")]
Offset = Annotated[int, QueryParameter(ge=0, le=100_000)]
Known = Request[KeyActor | PersonActor, str, Any]


def provide_service(
    request: Known, scope_of_caller: Injected[TenantScope], resources: Injected[Resources]
) -> ApprovalService:
    """
    Make the service for the tenant of the caller, in the words of the path.
    """
    older = request.scope["path"].startswith(Dialect.OLDER.value)
    stores, dialect = resources.stores, Dialect.OLDER if older else Dialect.CURRENT
    per_minute = resources.settings.approvals_per_minute
    return ApprovalService(scope_of_caller, stores.limits, stores.bus, resources.metrics, dialect, per_minute)


DEPENDENCIES = {"service": Provide(provide_service, sync_to_thread=False)}


class AgentApprovalController(Controller):
    """
    Asking people, by agents.
    """

    path = "/approvals"
    tags = ("approvals",)
    dependencies = DEPENDENCIES

    @post(guards=[guards.key(KeyScope.AGENT)], summary="Ask people")
    async def create(
        self,
        service: Injected[ApprovalService],
        request: Request[KeyActor, str, Any],
        data: JSONBody[ApprovalRequest],
    ) -> dict[str, Any]:
        """
        Ask people whether a tool may be called.
        """
        return await service.create(data, request.user, await once_of(request))

    @get(guards=[guards.key(KeyScope.AGENT)], summary="List requests")
    async def list_approvals(
        self,
        service: Injected[ApprovalService],
        request: Request[KeyActor, str, Any],
        status: Text = None,
        agent_id: Text = None,
        session_id: Text = None,
        env: Text = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """
        List requests of the key's environment, newest first.
        """
        _check_env(request.user, env)
        wanted = _filter(request.user.env, agent_id, session_id, status)
        shown, more = await service.page(wanted, request.user, cursor, 0, limit)
        return {"approvals": shown, "next_cursor": more}

    @get("/{approval_id:uuid}", guards=[guards.key(KeyScope.AGENT)], summary="Show a request")
    async def read(
        self,
        service: Injected[ApprovalService],
        request: Request[KeyActor, str, Any],
        approval_id: FromPath[UUID],
        wait: Wait = 0,
    ) -> dict[str, Any]:
        """
        Show a request, at once or as soon as it is decided.
        """
        return await service.read(approval_id, request.user, wait)

    @post(
        "/{approval_id:uuid}/decide",
        guards=[guards.key(KeyScope.APPROVALS_DECIDE)],
        status_code=200,
        summary="Decide a request",
    )
    async def decide(
        self,
        service: Injected[ApprovalService],
        caller: Injected[Caller],
        approval_id: FromPath[UUID],
        data: JSONBody[Decision],
    ) -> dict[str, Any]:
        """
        Decide a request, by a script that has the scope for it.
        """
        via = data.decided_via or "api"
        return await service.decide(approval_id, _approved(data), data.reason, caller, via, data.decided_by)

    @post("/{approval_id:uuid}/cancel", guards=[guards.key(KeyScope.AGENT)], status_code=200, summary="Stop waiting")
    async def cancel(
        self, service: Injected[ApprovalService], caller: Injected[Caller], approval_id: FromPath[UUID]
    ) -> dict[str, Any]:
        """
        End a request because the agent waits no longer.
        """
        return await service.cancel(approval_id, caller)


class ApprovalController(Controller):
    """
    Requests of agents, for people; and for agents that were written for an older console.
    """

    path = "/approvals"
    tags = ("approvals",)
    dependencies = DEPENDENCIES

    @post(guards=[guards.key(KeyScope.AGENT)], summary="Ask people, in the older words", deprecated=True)
    async def create(
        self,
        service: Injected[ApprovalService],
        request: Request[KeyActor, str, Any],
        data: JSONBody[ApprovalRequest],
    ) -> dict[str, Any]:
        """
        Ask people whether a tool may be called.
        """
        return await service.create(data, request.user, await once_of(request))

    @get(guards=[guards.person_or_key(Role.VIEWER, KeyScope.AGENT)], summary="List requests")
    async def list_approvals(
        self,
        service: Injected[ApprovalService],
        request: Known,
        status: Text = None,
        env: Text = None,
        agent_id: Text = None,
        session_id: Text = None,
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> list[dict[str, Any]]:
        """
        List requests, newest first.
        """
        if isinstance(request.user, KeyActor):
            _check_env(request.user, env)
            env = request.user.env
        shown, _ = await service.page(_filter(env, agent_id, session_id, status), request.user, None, offset, limit)
        return shown

    @get("/{approval_id:uuid}", guards=[guards.person_or_key(Role.VIEWER, KeyScope.AGENT)], summary="Show a request")
    async def read(
        self, service: Injected[ApprovalService], request: Known, approval_id: FromPath[UUID], wait: Wait = 0
    ) -> dict[str, Any]:
        """
        Show a request, at once or as soon as it is decided.
        """
        return await service.read(approval_id, request.user, wait)

    @put(
        "/{approval_id:uuid}",
        guards=[guards.person_or_key(Role.OPERATOR, KeyScope.APPROVALS_DECIDE)],
        summary="Decide a request",
    )
    async def decide(
        self,
        service: Injected[ApprovalService],
        caller: Injected[Caller],
        approval_id: FromPath[UUID],
        data: JSONBody[PersonsDecision],
    ) -> dict[str, Any]:
        """
        Decide a request.
        """
        via = "console" if isinstance(caller.actor, PersonActor) else "api"
        return await service.decide(approval_id, data.approved, data.reason, caller, via)

    @post("/bulk-decide", guards=[guards.person(Role.OPERATOR)], status_code=200, summary="Decide several requests")
    async def decide_all(
        self, service: Injected[ApprovalService], caller: Injected[Caller], data: JSONBody[BulkDecision]
    ) -> BulkOutcomes:
        """
        Decide several requests, each for itself.
        """
        outcomes = await service.decide_all(data.ids, data.approved, data.reason, caller)
        return BulkOutcomes([BulkOutcome(approval_id, outcome) for approval_id, outcome in outcomes])


def _approved(decision: Decision) -> bool:
    words = decision.decision and decision.decision in (DecisionWord.APPROVED, DecisionWord.APPROVE)
    if (decision.decision is None) == (decision.approved is None):
        raise InvalidError("say the decision once: decision is approved or rejected, or approved is true or false")
    return bool(decision.approved if words is None else words)


def _filter(env: str | None, agent_id: str | None, session_id: str | None, status: str | None) -> Filter:
    return Filter(env, agent_id, session_id, None if status is None else stored_status(status))


def _check_env(actor: KeyActor, env: str | None) -> None:
    if env is not None and env != actor.env:
        raise ForbiddenError("the API key is for another environment", "env_mismatch")
