"""
Adding, changing, trying out and removing channels; who is who in them; what became of their messages.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import attrs

from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.service import StoredPeople
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.notifications.configs import (
    ChannelType,
    check_config,
    masked,
    read_config,
    with_kept_secrets,
)
from edictum_console.domains.notifications.notices import sample
from edictum_console.domains.notifications.repository import (
    ChannelRepository,
    DeliveryRepository,
    IdentityRepository,
)
from edictum_console.domains.notifications.schemas import (
    ChangedChannel,
    Channel,
    Channels,
    Deliveries,
    Delivery,
    DeliveryStatus,
    Filters,
    Identities,
    Identity,
    Kind,
    NewChannel,
    NewIdentity,
    Tried,
)
from edictum_console.domains.notifications.senders.parts import Message
from edictum_console.domains.notifications.sending import Messenger
from edictum_console.errors import ConflictError, NotFoundError, unfit
from edictum_console.http.paging import cursor_id, cut
from edictum_console.ids import new_id
from edictum_console.outbound.errors import OutboundError
from edictum_console.resources import Caller
from edictum_console.security.sealing import SealBrokenError

_MOST_CHANNELS = 100


class ChannelService:
    """
    The channels of one tenant.
    """

    def __init__(self, scope: TenantScope, messenger: Messenger, people: StoredPeople) -> None:
        self._scope = scope
        self._messenger = messenger
        self._people = people
        self._rows = ChannelRepository(scope)
        self._audit = AuditService(scope)

    async def all(self) -> Channels:
        """
        Return all of them.
        """
        return Channels([self._channel(row) for row in await self._rows.all()])

    async def read(self, channel_id: UUID) -> Channel:
        """
        Return one.

        Raises:
            NotFoundError: There is no such channel.
        """
        return self._channel(await self._require(channel_id))

    async def add(self, new: NewChannel, caller: Caller) -> Channel:
        """
        Add one.

        Raises:
            InvalidError: How it is reached makes no sense, or is nowhere that the console sends to.
            ConflictError: There is one of that name, or there are too many.
        """
        config = read_config(new.type, new.config)
        check_config(config, self._messenger.outbound)
        values = attrs.asdict(config)
        if new.type is ChannelType.TELEGRAM:
            values["webhook_secret"] = secrets.token_urlsafe(32)
        channel_id = new_id()
        row = {
            "id": channel_id,
            "created_at": await self._scope.database.now(),
            "name": new.name,
            "channel_type": new.type.value,
            "config_sealed": self._messenger.seal(channel_id, values),
            "filters": _written(new.filters),
            "enabled": new.enabled,
            "created_by": caller.name,
        }
        async with self._scope.transaction():
            await self._lock()
            if await self._rows.named(new.name) is not None:
                raise _taken()
            if await self._rows.number() >= _MOST_CHANNELS:
                raise ConflictError(f"there are {_MOST_CHANNELS} channels already", "too_many_channels")
            await self._rows.add(row)
            details = {"name": new.name, "type": new.type.value, "enabled": new.enabled}
            await self._audit.record(caller, "channel.add", str(channel_id), details)
        return await self.read(channel_id)

    async def change(self, channel_id: UUID, changed: ChangedChannel, caller: Caller) -> Channel:
        """
        Replace one, but for secrets that are not named.

        Raises:
            NotFoundError: There is no such channel.
            InvalidError: How it is reached makes no sense, or is nowhere that the console sends to.
            ConflictError: Another one has that name.
        """
        async with self._scope.transaction():
            await self._lock()
            row = await self._require(channel_id)
            kind = ChannelType(row["channel_type"])
            before = self._values(row)
            own = {name: value for name, value in before.items() if name == "webhook_secret"}
            config = read_config(kind, with_kept_secrets(kind, before, changed.config))
            check_config(config, self._messenger.outbound)
            values = attrs.asdict(config)
            if await self._rows.named(changed.name) not in (None, channel_id):
                raise _taken()
            new = {
                "name": changed.name,
                "config_sealed": self._messenger.seal(channel_id, {**values, **own}),
                "filters": _written(changed.filters),
                "enabled": changed.enabled,
            }
            if changed.enabled:
                new |= {"failure_count": 0, "disabled_reason": None}
            await self._rows.change(channel_id, new)
            # Of what changed in how it is reached the names are told, for the values may be secrets.
            names = sorted(
                name for name in values.keys() | before.keys() - own.keys() if _differs(name, values, before)
            )
            details = {"name": changed.name, "enabled": changed.enabled, "config": names}
            await self._audit.record(caller, "channel.change", str(channel_id), details)
        return await self.read(channel_id)

    async def delete(self, channel_id: UUID, caller: Caller) -> None:
        """
        Remove one, with its messages, buttons and who is who in it.

        Raises:
            NotFoundError: There is no such channel.
        """
        async with self._scope.transaction():
            row = await self._require(channel_id)
            await self._rows.delete(channel_id)
            await self._audit.record(caller, "channel.delete", str(channel_id), {"name": row["name"]})

    async def try_out(self, channel_id: UUID, caller: Caller) -> Tried:
        """
        Send a message that says that it is a test; with Telegram, connect its buttons, too.

        Raises:
            NotFoundError: There is no such channel.
        """
        row = await self._require(channel_id)
        error: str | None = None
        try:
            channel = self._messenger.open(row)
            await self._messenger.connect(channel)
            await self._messenger.send(channel, Message(str(uuid4()), sample(), self._messenger.base_url))
        except OutboundError as failure:
            error = failure.text
        except SealBrokenError:
            error = "how the channel is reached was sealed with another key; name it again"
        async with self._scope.transaction():
            tested = {"last_test_at": await self._scope.database.now(), "last_test_ok": error is None}
            await self._rows.change(channel_id, tested)
            await self._audit.record(caller, "channel.test", str(channel_id), {"ok": error is None})
        return Tried(error is None, error)

    async def deliveries(self, channel_id: UUID, cursor: str | None, limit: int) -> Deliveries:
        """
        Return some of its messages, newest first.

        Raises:
            NotFoundError: There is no such channel.
        """
        await self._require(channel_id)
        found = await DeliveryRepository(self._scope).page(channel_id, cursor_id(cursor), limit + 1)
        rows, more = cut(found, limit, "id")
        return Deliveries([_delivery(row) for row in rows], more)

    async def identities(self, channel_id: UUID) -> Identities:
        """
        Return who is known in it.

        Raises:
            NotFoundError: There is no such channel.
        """
        await self._require(channel_id)
        return Identities([_identity(row) for row in await IdentityRepository(self._scope).all(channel_id)])

    async def identify(self, channel_id: UUID, new: NewIdentity, caller: Caller) -> Identity:
        """
        Say who somebody in it is.

        Raises:
            NotFoundError: There is no such channel.
            InvalidError: There is no such person.
            ConflictError: That is said already.
        """
        rows = IdentityRepository(self._scope)
        async with self._scope.transaction():
            await self._lock()
            await self._require(channel_id)
            person = await self._people.find(self._scope.tenant_id, new.user_id, "")
            if person is None:
                raise unfit(("user_id",), "is nobody who may sign in")
            if await rows.find(channel_id, new.external_user_id) is not None:
                raise ConflictError("it is said already who this is", "identity_exists")
            values = {
                "id": new_id(),
                "created_at": await self._scope.database.now(),
                "channel_id": channel_id,
                "external_user_id": new.external_user_id,
                "user_id": new.user_id,
                "created_by": caller.name,
            }
            await rows.add(values)
            details = {"external_user_id": new.external_user_id, "person": person.email}
            await self._audit.record(caller, "channel.identify", str(channel_id), details)
        return _identity(values)

    async def forget(self, channel_id: UUID, identity_id: UUID, caller: Caller) -> None:
        """
        Say no more who somebody in it is.

        Raises:
            NotFoundError: There is no such channel, or it was not said.
        """
        async with self._scope.transaction():
            await self._require(channel_id)
            gone = await IdentityRepository(self._scope).delete(channel_id, identity_id)
            if gone is None:
                raise NotFoundError("nobody is known by this", "identity_not_found")
            await self._audit.record(caller, "channel.forget", str(channel_id), {"external_user_id": gone})

    async def _lock(self) -> None:
        await self._scope.database.lock(f"channels:{self._scope.tenant_id}")

    async def _require(self, channel_id: UUID) -> dict[str, Any]:
        row = await self._rows.find(channel_id)
        if row is None:
            raise NotFoundError("there is no such channel", "channel_not_found")
        return row

    def _values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """
        How a channel is reached; nothing, where it was sealed with a key that is lost, so that it can be named again.
        """
        try:
            return self._messenger.unseal(row)
        except SealBrokenError:
            return {}

    def _channel(self, row: Mapping[str, Any]) -> Channel:
        kind = ChannelType(row["channel_type"])
        same = ("id", "name", "enabled", "disabled_reason", "failure_count", "last_test_at", "last_test_ok")
        return Channel(
            type=kind,
            config=masked(kind, self._values(row)),
            filters=_filters(row["filters"]),
            callback_url=self._messenger.callback_url(kind, row["id"]),
            created_at=row["created_at"],
            created_by=row["created_by"],
            **{name: row[name] for name in same},
        )


def _written(filters: Filters) -> str:
    values = attrs.asdict(filters)
    values["rule_names"] = list(dict.fromkeys([*values["rule_names"], *values.pop("contract_names")]))
    return json.dumps(values)


def _filters(text: str) -> Filters:
    values = json.loads(text)
    return Filters(**{**values, "kinds": [Kind(word) for word in values["kinds"]]})


def _differs(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one.get(name) != other.get(name))


def _delivery(row: Mapping[str, Any]) -> Delivery:
    status = DeliveryStatus(row["status"])
    return Delivery(
        id=row["id"],
        kind=Kind(row["kind"]),
        approval_id=row["subject_id"],
        edit=row["edits"] is not None,
        status=status,
        attempts=row["attempt"],
        next_at=row["next_at"] if status is DeliveryStatus.WAITING else None,
        sent_at=row["sent_at"],
        error=row["error"],
        created_at=row["created_at"],
    )


def _identity(row: Mapping[str, Any]) -> Identity:
    return Identity(**{field.name: row[field.name] for field in attrs.fields(Identity)})


def _taken() -> ConflictError:
    return ConflictError("another channel has this name", "channel_exists")
