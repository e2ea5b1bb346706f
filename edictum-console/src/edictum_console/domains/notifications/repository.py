"""
Queries of channels, messages, buttons and who is who.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from edictum_console.db import tables
from edictum_console.db.scope import Repository, SystemRepository


class ChannelRepository(Repository):
    """
    The channels of one tenant.
    """

    async def all(self) -> list[dict[str, Any]]:
        """
        All of them, by name.
        """
        table = self._table(tables.NotificationChannels)
        return list(await self._select(table).order_by(table.name))

    async def enabled(self) -> list[dict[str, Any]]:
        """
        Those that are used, without how they are reached.
        """
        table = self._table(tables.NotificationChannels)
        query = self._select(table, table.id, table.channel_type, table.filters)
        return list(await query.where(table.enabled.eq(True)).order_by(table.id))

    async def find(self, channel_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.NotificationChannels)
        rows = await self._select(table).where(table.id == channel_id)
        return rows[0] if rows else None

    async def named(self, name: str) -> UUID | None:
        """
        The id of the one with a name.
        """
        table = self._table(tables.NotificationChannels)
        rows = await self._select(table, table.id).where(table.name == name)
        return rows[0]["id"] if rows else None

    async def number(self) -> int:
        """
        How many there are.
        """
        return int(await self._count(self._table(tables.NotificationChannels)))

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.NotificationChannels), values)

    async def change(self, channel_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.NotificationChannels)
        await self._update(table, values).where(table.id == channel_id)

    async def delete(self, channel_id: UUID) -> None:
        """
        Remove one, with everything that belongs to it.
        """
        table = self._table(tables.NotificationChannels)
        await self._delete(table).where(table.id == channel_id)

    async def failed(self, channel_id: UUID) -> int:
        """
        Count an attempt that failed, and return how many did in a row.
        """
        table = self._table(tables.NotificationChannels)
        query = self._update(table, {"failure_count": table.failure_count + 1}).where(table.id == channel_id)
        rows = await query.returning(table.failure_count)
        return int(rows[0]["failure_count"]) if rows else 0

    async def succeeded(self, channel_id: UUID) -> None:
        """
        Begin to count anew.
        """
        table = self._table(tables.NotificationChannels)
        query = self._update(table, {"failure_count": 0}).where(table.id == channel_id)
        await query.where(table.failure_count > 0)

    async def disable(self, channel_id: UUID, reason: str) -> bool:
        """
        Use one no more; say whether it was used until now.
        """
        table = self._table(tables.NotificationChannels)
        query = self._update(table, {"enabled": False, "disabled_reason": reason}).where(table.id == channel_id)
        return bool(await query.where(table.enabled.eq(True)).returning(table.id))


class DeliveryRepository(Repository):
    """
    The messages of one tenant.
    """

    async def add(self, values: Sequence[Mapping[str, Any]]) -> None:
        """
        Add some.
        """
        await self._insert(self._table(tables.NotificationDeliveries), *values)

    async def find(self, delivery_id: UUID) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.NotificationDeliveries)
        rows = await self._select(table).where(table.id == delivery_id)
        return rows[0] if rows else None

    async def about(self, subject_id: UUID, kind: str) -> list[dict[str, Any]]:
        """
        The first messages of a kind about something: their ids and channels.
        """
        table = self._table(tables.NotificationDeliveries)
        query = self._select(table, table.id, table.channel_id).where(table.subject_id == subject_id)
        return list(await query.where(table.kind == kind).where(table.edits.is_null()))

    async def drop(self, subject_id: UUID, kind: str) -> None:
        """
        Stop trying to send what nobody needs any more.
        """
        table = self._table(tables.NotificationDeliveries)
        query = self._update(table, {"status": "dropped"}).where(table.subject_id == subject_id)
        await query.where(table.kind == kind).where(table.status == "waiting")

    async def change(self, delivery_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one.
        """
        table = self._table(tables.NotificationDeliveries)
        await self._update(table, values).where(table.id == delivery_id)

    async def change_waiting(self, delivery_id: UUID, values: Mapping[str, Any]) -> None:
        """
        Change one that still waits.
        """
        table = self._table(tables.NotificationDeliveries)
        await self._update(table, values).where(table.id == delivery_id).where(table.status == "waiting")

    async def page(self, channel_id: UUID, before: UUID | None, limit: int) -> list[dict[str, Any]]:
        """
        Messages to a channel that are older than one, newest first.
        """
        table = self._table(tables.NotificationDeliveries)
        query = self._select(table).where(table.channel_id == channel_id).order_by(table.id, ascending=False)
        query = query if before is None else query.where(table.id < before)
        return list(await query.limit(limit))


class ActionTokenRepository(Repository):
    """
    The buttons of one tenant's messages.
    """

    async def add(self, values: Sequence[Mapping[str, Any]]) -> None:
        """
        Add some.
        """
        await self._insert(self._table(tables.ApprovalActionTokens), *values)

    async def find(self, channel_id: UUID, token_hash: str) -> dict[str, Any] | None:
        """
        The one with a token, in messages to a channel.
        """
        table = self._table(tables.ApprovalActionTokens)
        query = self._select(table).where(table.token_hash == token_hash)
        rows = await query.where(table.channel_id == channel_id)
        return rows[0] if rows else None

    async def use_up(self, approval_id: UUID, now: datetime) -> None:
        """
        End all that decide a request.
        """
        table = self._table(tables.ApprovalActionTokens)
        query = self._update(table, {"used_at": now}).where(table.approval_id == approval_id)
        await query.where(table.used_at.is_null())


class IdentityRepository(Repository):
    """
    Who somebody in a channel is.
    """

    async def all(self, channel_id: UUID) -> list[dict[str, Any]]:
        """
        Everybody in a channel who is known.
        """
        table = self._table(tables.ChannelIdentities)
        return list(await self._select(table).where(table.channel_id == channel_id).order_by(table.external_user_id))

    async def find(self, channel_id: UUID, external_user_id: str) -> dict[str, Any] | None:
        """
        One of them.
        """
        table = self._table(tables.ChannelIdentities)
        query = self._select(table).where(table.channel_id == channel_id)
        rows = await query.where(table.external_user_id == external_user_id)
        return rows[0] if rows else None

    async def add(self, values: Mapping[str, Any]) -> None:
        """
        Add one.
        """
        await self._insert(self._table(tables.ChannelIdentities), values)

    async def delete(self, channel_id: UUID, identity_id: UUID) -> str | None:
        """
        Remove one, and return what the provider calls them.
        """
        table = self._table(tables.ChannelIdentities)
        query = self._delete(table).where(table.channel_id == channel_id).where(table.id == identity_id)
        rows = await query.returning(table.external_user_id)
        return rows[0]["external_user_id"] if rows else None


class ChannelLookup(SystemRepository):
    """
    Channels by the address that providers call, which names no tenant.
    """

    async def find(self, channel_id: UUID) -> dict[str, Any] | None:
        """
        The channel with an id.
        """
        table = self._table(tables.NotificationChannels)
        rows = await table.select(*table._meta.columns).where(table.id == channel_id)
        return rows[0] if rows else None


class DueDeliveries(SystemRepository):
    """
    Messages that are to be sent now, of all tenants.
    """

    async def find(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """
        Some of them, those that wait longest first.
        """
        table = self._table(tables.NotificationDeliveries)
        query = table.select(table.id, table.channel_id, table.next_at).where(table.status == "waiting")
        return list(await query.where(table.next_at <= now).order_by(table.next_at, table.id).limit(limit))

    async def claim(self, delivery_id: UUID, seen: datetime, until: datetime) -> dict[str, Any] | None:
        """
        Take one that nobody took since it was found; it is due again after some time, should this process end.

        Args:
            delivery_id: Which.
            seen: When it was due.
            until: When it is due again.
        """
        table = self._table(tables.NotificationDeliveries)
        query = table.update({table.next_at: until, table.attempt: table.attempt + 1}).where(table.id == delivery_id)
        rows = await query.where(table.status == "waiting").where(table.next_at == seen).returning(*table._meta.columns)
        return rows[0] if rows else None
