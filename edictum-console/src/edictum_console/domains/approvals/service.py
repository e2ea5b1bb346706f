"""
Asking, waiting, deciding once, and ending what nobody decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.domains.approvals.repository import ApprovalRepository, DueApprovals, Filter
from edictum_console.domains.approvals.schemas import ApprovalRequest, TimeoutAction
from edictum_console.domains.approvals.wire import POLICY_BLOCK, Dialect, write
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.notifications.notices import without_secrets
from edictum_console.domains.notifications.queue import NoticeQueue
from edictum_console.domains.settings.service import SettingsService
from edictum_console.errors import (
    ConflictError,
    ConsoleError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    unfit,
)
from edictum_console.http.paging import cursor_id, cut
from edictum_console.ids import new_id
from edictum_console.metrics import Metrics
from edictum_console.resources import Caller
from edictum_console.security.actor import Anonymous, ChatActor, CommandActor, KeyActor, PersonActor, Role
from edictum_console.state.counting import counted
from edictum_console.state.database import ReplyRepository
from edictum_console.state.ports import Bus, Limit, Once, RateLimits, Signal

USUAL_LIMIT = 10

_LARGEST_ARGUMENTS = 64 * 1024
_LOOK_AGAIN_SECONDS = 2.0
_CHUNK = 500

Decider: TypeAlias = KeyActor | PersonActor | ChatActor


class ApprovalService:
    """
    The requests of one tenant, as one caller sees them.
    """

    def __init__(
        self,
        scope: TenantScope,
        limits: RateLimits,
        bus: Bus,
        metrics: Metrics,
        dialect: Dialect = Dialect.CURRENT,
        per_minute: int = USUAL_LIMIT,
    ) -> None:
        self._scope = scope
        self._metrics = metrics
        self._limits = limits
        self._bus = bus
        self._dialect = dialect
        self._created = Limit("approvals", per_minute, timedelta(minutes=1))
        self._rows = ApprovalRepository(scope)

    async def create(self, body: ApprovalRequest, actor: KeyActor, once: Once | None) -> dict[str, Any]:
        """
        Ask people.

        Raises:
            ForbiddenError: The body names another agent than the header, or one that the key is not for.
            InvalidError: The arguments are too large.
            RateLimitedError: The agent asks too often.
        """
        agent_id = self._agent_id(body, actor)
        subject, refusal = f"{actor.tenant_id}:{actor.env}:{agent_id}", "this agent asks for too many approvals"
        async with counted(self._limits, self._created, subject, refusal):
            return await self._create(body, actor, agent_id, once)

    async def _create(self, body: ApprovalRequest, actor: KeyActor, agent_id: str, once: Once | None) -> dict[str, Any]:
        arguments = json.dumps(body.tool_args or {}, sort_keys=True, separators=(",", ":"))
        if len(arguments) > _LARGEST_ARGUMENTS:
            raise unfit(("tool_args",), f"must be at most {_LARGEST_ARGUMENTS} bytes as JSON")
        action = body.timeout_action or body.timeout_effect or TimeoutAction.BLOCK
        replies = ReplyRepository(self._scope)
        async with self._scope.transaction():
            if once is not None:
                await self._scope.database.lock(f"once:{once.owner}:{once.key}")
                kept = await replies.find(once)
                if kept is not None:
                    return write(await self._require(UUID(kept), actor), self._dialect)
            now = await self._scope.database.now()
            values: dict[str, Any] = {
                "id": new_id(),
                "created_at": now,
                "env": actor.env,
                "agent_id": agent_id,
                "key_id": actor.key_id,
                "tool_name": body.tool_name,
                "tool_args": arguments,
                "args_digest": hashlib.sha256(arguments.encode()).hexdigest(),
                "message": body.message,
                "rule_name": body.rule_name or body.contract_name,
                "principal": None if body.principal is None else json.dumps(body.principal),
                "metadata": None if body.metadata is None else json.dumps(body.metadata),
                "status": "pending",
                "timeout_seconds": body.timeout,
                "timeout_action": "allow" if action is TimeoutAction.ALLOW else "block",
                "expires_at": now + timedelta(seconds=body.timeout),
                "last_polled_at": now,
                **{name: getattr(body, name) for name in ("session_id", "call_id", "policy_version")},
            }
            await self._rows.add(values)
            if once is not None:
                await replies.keep(once, str(values["id"]))
            facts = {"approval_id": str(values["id"]), "agent_id": agent_id, "tool_name": body.tool_name}
            facts |= {"message": without_secrets(body.message), "expires_at": values["expires_at"].isoformat()}
            await Outbox(self._scope).announce("approval_created", facts, env=actor.env)
            await NoticeQueue(self._scope).asked(values)
            return write(await self._require(values["id"], actor), self._dialect)

    async def read(self, approval_id: UUID, actor: KeyActor | PersonActor, wait: int = 0) -> dict[str, Any]:
        """
        Return a request, at once or when it is decided.

        Args:
            approval_id: Which.
            actor: Who asks; an agent's asking shows that it still waits.
            wait: For how many seconds to wait for a decision.

        Raises:
            NotFoundError: There is none, as far as the caller may know.
        """
        loop = asyncio.get_running_loop()
        deadline, woken = loop.time() + wait, asyncio.Event()

        def heed(signal: Signal) -> None:
            if signal.kind == "missed" or (signal.kind, signal.id) == ("wake", self._scope.tenant_id):
                woken.set()

        stop = self._bus.listen(heed)
        try:
            while True:
                woken.clear()
                row = await self._look(approval_id, actor)
                left = deadline - loop.time()
                if row["status"] != "pending" or left <= 0:
                    return write(row, self._dialect)
                # Also without a hint: one may be lost, and nothing hints at the end of the time.
                await _wait(woken, min(left, _LOOK_AGAIN_SECONDS))
        finally:
            stop()

    async def page(
        self, wanted: Filter, actor: KeyActor | PersonActor, cursor: str | None, offset: int, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """
        Return some requests, newest first, and where the next page begins.
        """
        rows, more = cut(await self._rows.page(wanted, cursor_id(cursor), offset, limit + 1), limit, "id")
        shown = [await self._expired(row) for row in rows if _may_see(actor, row)]
        return [write(row, self._dialect) for row in shown], more

    async def decide(
        self,
        approval_id: UUID,
        approved: bool,
        reason: str | None,
        caller: Caller,
        via: str,
        claimed: str | None = None,
    ) -> dict[str, Any]:
        """
        Decide a request, once.

        Args:
            approval_id: Which.
            approved: The decision.
            reason: Why.
            caller: Who decides; this is recorded.
            via: By which way.
            claimed: Whom the caller names as the one who decided; kept beside it.

        Raises:
            NotFoundError: There is none, as far as the caller may know.
            ForbiddenError: The caller is the one who asked, or may not decide.
            ConflictError: It is decided already, or over.
        """
        actor = _known(caller)
        if isinstance(actor, PersonActor) and not actor.role.includes(Role.OPERATOR):
            raise ForbiddenError(f"this needs the role {Role.OPERATOR}", "role_missing")
        async with self._scope.transaction():
            row = await self._require(approval_id, actor)
            if isinstance(actor, KeyActor) and actor.key_id == row["key_id"]:
                raise ForbiddenError("whoever asks does not decide", "self_approval")
            if isinstance(actor, ChatActor):
                await self._require_unmapped(row["env"])
            now = await self._scope.database.now()
            values = {
                "status": "approved" if approved else "denied",
                "decided_by": caller.name,
                "claimed_by": claimed,
                "decided_at": now,
                "decided_via": via,
                "decision_reason": reason,
            }
            won = await self._rows.decide(approval_id, now, values)
            if won:
                await self._record(row, "approved" if approved else "denied", caller, via, reason)
        return await self._outcome(approval_id, actor, won)

    async def cancel(self, approval_id: UUID, caller: Caller) -> dict[str, Any]:
        """
        End a request because the agent waits no longer.

        Raises:
            NotFoundError: The key made no such request.
            ConflictError: It is decided already, or over.
        """
        actor = _known(caller)
        async with self._scope.transaction():
            row = await self._require(approval_id, actor)
            if not isinstance(actor, KeyActor) or actor.key_id != row["key_id"]:
                raise _missing()
            now = await self._scope.database.now()
            values = {"status": "cancelled", "decided_at": now, "decided_by": caller.name, "decided_via": "agent"}
            won = await self._rows.decide(approval_id, now, values)
            if won:
                await self._announce(row, "approval_decided", "cancelled", caller.name, "agent", "cancelled")
        return await self._outcome(approval_id, actor, won)

    async def decide_all(
        self, ids: list[UUID], approved: bool, reason: str | None, caller: Caller
    ) -> list[tuple[UUID, str]]:
        """
        Decide several requests, each for itself.

        Returns:
            For each, ``decided`` or the code of the error.
        """
        outcomes = []
        for approval_id in dict.fromkeys(ids):
            try:
                await self.decide(approval_id, approved, reason, caller, "console")
                outcomes.append((approval_id, "decided"))
            except ConsoleError as error:
                outcomes.append((approval_id, error.code))
        return outcomes

    async def expire(self, approval_id: UUID) -> None:
        """
        End a request whose time is over, if nobody decided it.
        """
        async with self._scope.transaction():
            row = await self._rows.find(approval_id)
            if row is None:
                return
            reason = None
            if row["timeout_action"] == "allow" and not await self._timeout_may_allow(row["env"]):
                reason = POLICY_BLOCK
            if await self._rows.expire(approval_id, await self._scope.database.now(), reason):
                await self._announce(row, "approval_timeout", "timed_out", None, None, reason)

    async def _require_unmapped(self, env: str) -> None:
        """
        Make sure that people in channels may decide whom the console does not know.
        """
        environments = EnvironmentService(self._scope)
        if not await environments.exists(env) or not (await environments.require(env)).unmapped_decide:
            raise ForbiddenError("the console does not know who you are; an administrator can say so", "unmapped_user")

    async def _outcome(self, approval_id: UUID, actor: Decider, won: bool) -> dict[str, Any]:
        shown = write(await self._expired(await self._require(approval_id, actor)), self._dialect)
        if not won:
            raise ConflictError("this request is decided already, or over", "already_decided", shown)
        return shown

    async def _look(self, approval_id: UUID, actor: KeyActor | PersonActor) -> Mapping[str, Any]:
        row = await self._expired(await self._require(approval_id, actor))
        if row["status"] == "pending" and isinstance(actor, KeyActor) and actor.key_id == row["key_id"]:
            now = await self._scope.database.now()
            if now - row["last_polled_at"] > timedelta(seconds=10):
                await self._rows.polled(approval_id, now)
        return row

    async def _expired(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Return a request as it is now: one that is over is ended by whoever looks first.
        """
        if row["status"] != "pending" or row["expires_at"] > await self._scope.database.now():
            return row
        await self.expire(row["id"])
        return await self._rows.find(row["id"]) or row

    async def _timeout_may_allow(self, env: str) -> bool:
        environments = EnvironmentService(self._scope)
        if not await environments.exists(env) or (await environments.require(env)).protected:
            return False
        return (await SettingsService(self._scope).read()).timeout_may_allow

    async def _require(self, approval_id: UUID, actor: Decider) -> dict[str, Any]:
        row = await self._rows.find(approval_id)
        if row is None or not _may_see(actor, row):
            raise _missing()
        return row

    async def _record(self, row: Mapping[str, Any], status: str, caller: Caller, via: str, reason: str | None) -> None:
        facts = {"tool_name": row["tool_name"], "args_digest": row["args_digest"], "reason": reason}
        await AuditService(self._scope).record(caller, f"approval.{status}", str(row["id"]), facts)
        await self._announce(row, "approval_decided", status, caller.name, via, reason)

    async def _announce(
        self,
        row: Mapping[str, Any],
        kind: str,
        status: str,
        decided_by: str | None,
        via: str | None,
        reason: str | None,
    ) -> None:
        facts = {"approval_id": str(row["id"]), "status": status, "decided_by": decided_by, "decision_reason": reason}
        facts["decided_via"] = via
        await Outbox(self._scope).announce(kind, facts, env=row["env"], agent_id=row["agent_id"])
        await NoticeQueue(self._scope).ended(row, status, decided_by, via, reason)
        waited = datetime.now(UTC) - row["created_at"]
        self._metrics.took("edictum_approval_seconds", max(0.0, waited.total_seconds()), status=status)

    def _agent_id(self, body: ApprovalRequest, actor: KeyActor) -> str:
        if body.agent_id is not None:
            if actor.agent_id not in (None, body.agent_id) or not actor.may_be(body.agent_id):
                raise ForbiddenError("the body names an agent that this request is not from", "agent_mismatch")
            return body.agent_id
        return actor.agent


async def pending_count(scope: TenantScope, env: str | None) -> int:
    """
    Return how many requests of a tenant nobody has decided, in one environment or all.
    """
    return await ApprovalRepository(scope).pending(env, await scope.database.now())


async def expire_due(scopes: Scopes, limits: RateLimits, bus: Bus, metrics: Metrics) -> int:
    """
    End all requests whose time is over, of all tenants.

    Returns:
        How many were found.
    """
    found = 0
    while rows := await DueApprovals(scopes.database).find(await scopes.database.now(), _CHUNK):
        for row in rows:
            await ApprovalService(scopes.of(row["tenant_id"]), limits, bus, metrics).expire(row["id"])
        found += len(rows)
    return found


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _known(caller: Caller) -> Decider:
    if isinstance(caller.actor, Anonymous | CommandActor):
        raise UnauthorizedError("sign in first", "not_signed_in")
    return caller.actor


def _may_see(actor: Decider, row: Mapping[str, Any]) -> bool:
    if not isinstance(actor, KeyActor):
        return True
    return bool(row["env"] == actor.env and actor.may_be(row["agent_id"]))


def _missing() -> NotFoundError:
    return NotFoundError("there is no such request", "approval_not_found")
