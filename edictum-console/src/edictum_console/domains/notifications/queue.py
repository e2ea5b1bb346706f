"""
Messages that are to be sent, written down in the transaction of the change that they tell of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from edictum_console.db.scope import TenantScope
from edictum_console.domains.notifications.configs import ChannelType
from edictum_console.domains.notifications.notices import Notice, decided, kind_of, notice_of, written
from edictum_console.domains.notifications.repository import (
    ActionTokenRepository,
    ChannelRepository,
    DeliveryRepository,
)
from edictum_console.domains.notifications.schemas import Kind
from edictum_console.domains.settings.service import SettingsService
from edictum_console.ids import new_id

# Where a message that was sent can be changed.
EDITABLE = frozenset({ChannelType.TELEGRAM, ChannelType.SLACK_APP, ChannelType.DISCORD})


class NoticeQueue:
    """
    The messages of one tenant that are to be sent.
    """

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope
        self._channels = ChannelRepository(scope)
        self._deliveries = DeliveryRepository(scope)

    async def asked(self, row: Mapping[str, Any]) -> None:
        """
        Tell people of a request, in the transaction that makes it.
        """
        self._scope.database.require_transaction()
        await self._tell(row, lambda notice: notice, "pending")

    async def ended(
        self, row: Mapping[str, Any], status: str, decided_by: str | None, via: str | None, reason: str | None
    ) -> None:
        """
        Tell people what became of a request, in the transaction that ends it; its buttons decide nothing any more.

        Args:
            row: The request.
            status: What became of it.
            decided_by: Who decided.
            via: By which way.
            reason: Why.
        """
        self._scope.database.require_transaction()
        await ActionTokenRepository(self._scope).use_up(row["id"], await self._scope.database.now())
        await self._deliveries.drop(row["id"], Kind.APPROVAL_REQUESTED.value)
        await self._tell(row, lambda notice: decided(notice, status, decided_by, via, reason), status)

    async def _tell(self, row: Mapping[str, Any], say: Callable[[Notice], Notice], status: str) -> None:
        channels = await self._channels.enabled()
        if not channels:
            return
        kind = kind_of(status)
        before: dict[UUID, UUID] = {}
        if kind is not Kind.APPROVAL_REQUESTED:
            first = await self._deliveries.about(row["id"], Kind.APPROVAL_REQUESTED.value)
            before = {message["channel_id"]: message["id"] for message in first}
        told: list[tuple[UUID, UUID | None]] = []
        for channel in channels:
            edits = before.get(channel["id"]) if channel["channel_type"] in EDITABLE else None
            # A message with buttons is changed whatever the channel is told, so that it does not ask for ever.
            if edits is not None or matches(json.loads(channel["filters"]), kind, row):
                told.append((channel["id"], edits))
        if not told:
            return
        notice = say(notice_of(row, (await SettingsService(self._scope).read()).notify_args))
        now = await self._scope.database.now()
        content = written(notice)
        await self._deliveries.add(
            [
                {
                    "id": new_id(),
                    "created_at": now,
                    "channel_id": channel_id,
                    "subject_id": row["id"],
                    "kind": kind.value,
                    "content": content,
                    "edits": edits,
                    "next_at": now,
                    "expires_at": row["expires_at"] if kind is Kind.APPROVAL_REQUESTED else None,
                }
                for channel_id, edits in told
            ]
        )


def matches(filters: Mapping[str, Any], kind: Kind, row: Mapping[str, Any]) -> bool:
    """
    Whether a channel is told of something: all that its filters name must match.
    """
    env, agent_id, rule_name = row["env"], row["agent_id"], row["rule_name"]
    patterns = filters.get("agent_patterns")
    return (
        (not filters.get("kinds") or kind.value in filters["kinds"])
        and (not filters.get("environments") or env in filters["environments"])
        and (not filters.get("rule_names") or rule_name in filters["rule_names"])
        and (not patterns or any(fnmatchcase(agent_id, pattern) for pattern in patterns))
    )
