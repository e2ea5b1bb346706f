"""
Making, replacing and ending API keys.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs

from edictum_console.db.database import Database
from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import TenantScope
from edictum_console.domains.audit.service import AuditService
from edictum_console.domains.environments.service import EnvironmentService
from edictum_console.domains.keys.repository import KeyLookup, KeyRepository
from edictum_console.domains.keys.schemas import ApiKey, ApiKeys, BoundKey, CreatedKey, KeyChange, NewKey, Rotation
from edictum_console.errors import ConflictError, NotFoundError, unfit
from edictum_console.http.paging import cursor_id, cut
from edictum_console.ids import new_id
from edictum_console.resources import Caller
from edictum_console.security.actor import KeyScope
from edictum_console.security.api_keys import KeyRecord, new_key
from edictum_console.security.passwords import Hasher
from edictum_console.state.ports import Bus, Signal


class KeyService:
    """
    The API keys of one tenant.
    """

    def __init__(self, scope: TenantScope, hasher: Hasher, bus: Bus) -> None:
        self._scope = scope
        self._hasher = hasher
        self._bus = bus
        self._rows = KeyRepository(scope)
        self._environments = EnvironmentService(scope)
        self._audit = AuditService(scope)

    async def any_for(self, env: str) -> bool:
        """
        Whether a key that has not ended is for an environment.
        """
        return await self._rows.any_for(env)

    async def alive(self) -> dict[UUID, str | None]:
        """
        Return the keys that have not ended, each with the signing key that it is bound to.
        """
        return {row["id"]: row["signing_key_id"] for row in await self._rows.alive()}

    async def bindings(self) -> dict[str, list[BoundKey]]:
        """
        Return the keys that have not ended and are bound to a signing key, newest first, by its id.
        """
        found: dict[str, list[BoundKey]] = {}
        for row in await self._rows.bound():
            key = BoundKey(row["key_prefix"], row["label"], row["env"])
            found.setdefault(row["signing_key_id"], []).append(key)
        return found

    async def change(
        self, key_id: UUID, change: KeyChange, caller: Caller, signs: Callable[[str], Awaitable[bool]]
    ) -> ApiKey:
        """
        Change what a key is called, and which signing key its agents verify with.

        Args:
            key_id: Which.
            change: What.
            caller: Who does it.
            signs: Says whether a signing key may still sign.

        Raises:
            NotFoundError: There is no such key.
            InvalidError: The signing key is not there, or ended.
        """
        values: dict[str, Any] = {name: value for name, value in attrs.asdict(change).items() if value is not None}
        async with self._scope.transaction():
            row = await self._require(key_id)
            if change.signing_key_id and not await signs(change.signing_key_id):
                raise unfit(("signing_key_id",), "is not a signing key that may still sign")
            if change.signing_key_id == "":
                values["signing_key_id"] = None
            if values:
                await self._rows.change(key_id, values)
                await self._audit.record(caller, "key.change", row["key_prefix"], values)
                await self._ended(key_id, row)  # as it was
            return _key(await self._require(key_id))

    async def bind_free(self, signing_key_id: str) -> int:
        """
        Bind all keys that are bound to no signing key, in the transaction that is open; say how many.
        """
        return await self._bind(await self._rows.bound_to(None), signing_key_id)

    async def unbind(self, signing_key_id: str) -> int:
        """
        Bind all keys to none that are bound to a signing key, in the transaction that is open; say how many.
        """
        return await self._bind(await self._rows.bound_to(signing_key_id), None)

    async def _bind(self, key_ids: list[UUID], signing_key_id: str | None) -> int:
        for key_id in key_ids:
            await self._rows.change(key_id, {"signing_key_id": signing_key_id})
            self._forget(key_id)
        return len(key_ids)

    async def page(self, cursor: str | None, limit: int) -> ApiKeys:
        """
        Return some of the keys, newest first.
        """
        rows, more = cut(await self._rows.page(cursor_id(cursor), limit + 1), limit, "id")
        return ApiKeys([_key(row) for row in rows], more)

    async def find(self, prefix: str) -> ApiKey:
        """
        Return the key with a prefix.

        Raises:
            NotFoundError: There is no such key.
        """
        row = await self._rows.with_prefix(prefix)
        if row is None:
            raise _missing()
        return _key(row)

    async def create(self, new: NewKey, caller: Caller) -> CreatedKey:
        """
        Make a key.

        Raises:
            InvalidError: Its environment is not there, it could do nothing, or it would be over already.
        """
        if not new.scopes:
            raise unfit(("scopes",), "must name at least one scope")
        if new.expires_at is not None and new.expires_at <= datetime.now(UTC):
            raise unfit(("expires_at",), "must be in the future")
        text, prefix = new_key(new.env)
        key_hash = await self._hasher.hash(text)
        values: dict[str, Any] = {
            "id": new_id(),
            "key_prefix": prefix,
            "key_hash": key_hash,
            "env": new.env,
            "label": new.label,
            "scopes": sorted(set(new.scopes)),
            "agent_pattern": new.agent_pattern,
            "expires_at": new.expires_at,
            "created_by": caller.name,
        }
        async with self._scope.transaction():
            await self._environments.lock()
            if not await self._environments.exists(new.env):
                raise unfit(("env",), "is not an environment; add it first")
            await self._rows.add(values)
            details = {"env": new.env, "scopes": values["scopes"], "label": new.label}
            await self._audit.record(caller, "key.create", prefix, details)
            await Outbox(self._scope).announce("key_created", {"key_id": str(values["id"])}, env=new.env)
            return CreatedKey(text, _key(await self._require(values["id"])))

    async def revoke(self, key_id: UUID, caller: Caller) -> None:
        """
        End a key, everywhere and at once.

        Raises:
            NotFoundError: There is no such key.
        """
        async with self._scope.transaction():
            row = await self._require(key_id)
            if row["revoked_at"] is None:
                await self._rows.change(key_id, {"revoked_at": datetime.now(UTC)})
                await self._audit.record(caller, "key.revoke", row["key_prefix"])
                await self._ended(key_id, row)

    async def rotate(self, key_id: UUID, rotation: Rotation, caller: Caller) -> CreatedKey:
        """
        Make a key like another one, which ends after a time.

        Raises:
            NotFoundError: There is no such key.
            ConflictError: It has ended already.
        """
        row = await self._require(key_id)
        until = datetime.now(UTC) + timedelta(seconds=rotation.grace_seconds)
        if row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= datetime.now(UTC)):
            raise ConflictError("this key has ended; create a new one", "key_ended")
        text, prefix = new_key(row["env"])
        key_hash = await self._hasher.hash(text)
        copied = {name: row[name] for name in ("env", "label", "agent_pattern", "expires_at", "signing_key_id")}
        values: dict[str, Any] = {"id": new_id(), "key_prefix": prefix, "key_hash": key_hash, **copied}
        async with self._scope.transaction():
            await self._rows.add({**values, "created_by": caller.name, "scopes": json.loads(row["scopes"])})
            if row["expires_at"] is None or row["expires_at"] > until:
                await self._rows.change(key_id, {"expires_at": until})
            await self._audit.record(caller, "key.rotate", row["key_prefix"], {"replaced_by": prefix})
            await self._ended(key_id, row)  # which tells of the new one, too
            return CreatedKey(text, _key(await self._require(values["id"])))

    async def _require(self, key_id: UUID) -> dict[str, Any]:
        row = await self._rows.find(key_id)
        if row is None:
            raise _missing()
        return row

    async def _ended(self, key_id: UUID, row: dict[str, Any]) -> None:
        """
        Make every replica look at the key anew, once this is committed.
        """
        self._forget(key_id)
        await Outbox(self._scope).announce("key_ended", {"key_id": str(key_id)}, env=row["env"])

    def _forget(self, key_id: UUID) -> None:
        """
        Make every replica read the key anew when it is next used, once this is committed.
        """
        self._scope.database.after_commit(("key", key_id), lambda: self._bus.send(Signal("key", key_id)))


class StoredKeys:
    """
    Finds keys for those who verify them.
    """

    def __init__(self, database: Database) -> None:
        self._rows = KeyLookup(database)

    async def find(self, prefix: str) -> KeyRecord | None:
        """
        The key with a prefix.
        """
        row = await self._rows.find(prefix)
        if row is None:
            return None
        copied = ("tenant_id", "key_hash", "env", "agent_pattern", "expires_at", "revoked_at", "signing_key_id")
        return KeyRecord(
            key_id=row["id"],
            prefix=row["key_prefix"],
            scopes=frozenset(map(KeyScope, json.loads(row["scopes"]))),
            **{name: row[name] for name in copied},
        )

    async def used(self, key_id: UUID) -> None:
        """
        Note that a key was used now.
        """
        await self._rows.used(key_id)


def _missing() -> NotFoundError:
    return NotFoundError("there is no such API key", "key_not_found")


def _key(row: Mapping[str, Any]) -> ApiKey:
    same = ("id", "env", "label", "agent_pattern", "created_at", "created_by", "signing_key_id")
    times = ("last_used_at", "expires_at", "revoked_at")
    scopes = [KeyScope(scope) for scope in json.loads(row["scopes"])]
    return ApiKey(prefix=row["key_prefix"], scopes=scopes, **{name: row[name] for name in same + times})
