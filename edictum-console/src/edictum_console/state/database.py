"""
Session values and logins in the database, where there is no Redis; they survive a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from edictum_console.db.database import Database
from edictum_console.db.scope import Repository, Scopes, SystemRepository
from edictum_console.db.tables import IdempotencyKeys, SessionValues, UserSessions
from edictum_console.state.operations import Applied, Operation, Write, compute, read, reused, written
from edictum_console.state.ports import REPLY_LIFETIME, SESSION_LIFETIME, Once, Place

# A login is prolonged when this much of its time has gone, not with every request.
_PROLONG_AFTER = timedelta(minutes=1)


class SessionValueRepository(Repository):
    """
    Session values of one tenant.
    """

    async def values(self, env: str, keys: Sequence[str]) -> dict[str, str]:
        """
        The values that there are.
        """
        table = self._table(SessionValues)
        rows = await (
            self._select(table, table.key, table.value)
            .where(table.env == env)
            .where(table.key.is_in(list(keys)))
            .where(table.expires_at > datetime.now(UTC))
        )
        return {row["key"]: row["value"] for row in rows}

    async def write(self, env: str, writes: Mapping[str, Write]) -> None:
        """
        Write and delete.
        """
        table = self._table(SessionValues)
        gone = [key for key, write in writes.items() if write.value is None]
        if gone:
            await self._delete(table).where(table.env == env).where(table.key.is_in(gone))
        now = datetime.now(UTC)
        rows = [
            {
                "env": env,
                "key": key,
                "value": write.value,
                "expires_at": now + (SESSION_LIFETIME if write.lifetime is None else write.lifetime),
            }
            for key, write in writes.items()
            if write.value is not None
        ]
        if rows:
            await self._insert(table, *rows).on_conflict(
                target=(table.tenant_id, table.env, table.key),
                action="DO UPDATE",
                values=[table.value, table.expires_at],
            )


class ReplyRepository(Repository):
    """
    Answers to requests that may be repeated, of one tenant.
    """

    async def find(self, once: Once) -> str | None:
        """
        The answer that was given, if it was.

        Raises:
            ConflictError: It was given to another request.
        """
        table = self._table(IdempotencyKeys)
        rows = await (
            self._select(table, table.digest, table.reply)
            .where(table.key_id == once.owner)
            .where(table.key == once.key)
            .where(table.expires_at > datetime.now(UTC))
        )
        if not rows:
            return None
        if rows[0]["digest"] != once.digest:
            raise reused()
        return str(rows[0]["reply"])

    async def keep(self, once: Once, reply: str) -> None:
        """
        Keep an answer.
        """
        table = self._table(IdempotencyKeys)
        row = {"key_id": once.owner, "key": once.key, "digest": once.digest, "reply": reply}
        await self._insert(table, {**row, "expires_at": datetime.now(UTC) + REPLY_LIFETIME}).on_conflict(
            target=(table.tenant_id, table.key_id, table.key),
            action="DO UPDATE",
            values=[table.digest, table.reply, table.expires_at],
        )


class DatabaseSessionValues:
    """
    Session values in a table.
    """

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes

    async def read(self, place: Place, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Return the values of all keys that are asked for.
        """
        found = await SessionValueRepository(self._scopes.of(place.tenant_id)).values(place.env, keys)
        return {key: found.get(key) for key in keys}

    async def apply(self, place: Place, operations: Sequence[Operation], once: Once | None = None) -> Applied:
        """
        Do all operations or none, while nobody else can write these keys.
        """
        scope = self._scopes.of(place.tenant_id)
        rows, replies = SessionValueRepository(scope), ReplyRepository(scope)
        keys = {operation.key for operation in operations}
        names = {f"session:{place.tenant_id}:{place.env}:{key}" for key in keys}
        async with scope.transaction():
            await scope.database.lock(*names, *(() if once is None else (f"once:{once.owner}:{once.key}",)))
            kept = None if once is None else await replies.find(once)
            if kept is not None:
                return read(kept)
            found = await rows.values(place.env, sorted(keys))
            applied, writes = compute({key: found.get(key) for key in keys}, operations)
            if writes:
                await rows.write(place.env, writes)
            if once is not None:
                await replies.keep(once, written(applied))
        return applied


class LoginRepository(SystemRepository):
    """
    Logins; the hash of a token is all that is known of who asks.
    """

    async def add(self, token_hash: str, tenant_id: UUID, user_id: UUID, record: str, expires_at: datetime) -> None:
        """
        Add one, and drop those of the same person that are over.
        """
        table = self._table(UserSessions)
        await table.delete().where(table.user_id == user_id).where(table.expires_at <= datetime.now(UTC))
        await self._insert(
            table,
            {
                "tenant_id": tenant_id,
                "token_hash": token_hash,
                "user_id": user_id,
                "record": record,
                "expires_at": expires_at,
            },
        )

    async def find(self, token_hash: str) -> tuple[str, datetime] | None:
        """
        The record, and until when it lives.
        """
        table = self._table(UserSessions)
        rows = await (
            table.select(table.record, table.expires_at)
            .where(table.token_hash == token_hash)
            .where(table.expires_at > datetime.now(UTC))
        )
        return (rows[0]["record"], rows[0]["expires_at"]) if rows else None

    async def prolong(self, token_hash: str, expires_at: datetime) -> None:
        """
        Let one live longer.
        """
        table = self._table(UserSessions)
        await table.update({"expires_at": expires_at}).where(table.token_hash == token_hash)

    async def remove(self, token_hash: str) -> None:
        """
        Drop one.
        """
        table = self._table(UserSessions)
        await table.delete().where(table.token_hash == token_hash)

    async def remove_all(self, tenant_id: UUID, user_id: UUID, keep: str) -> None:
        """
        Drop those of a person but one.
        """
        table = self._table(UserSessions)
        await (
            table.delete()
            .where(table.tenant_id == tenant_id)
            .where(table.user_id == user_id)
            .where(table.token_hash != keep)
        )


class DatabaseLogins:
    """
    Logins in a table.
    """

    def __init__(self, database: Database) -> None:
        self._rows = LoginRepository(database)

    async def add(self, token_hash: str, tenant_id: UUID, user_id: UUID, record: str, idle: timedelta) -> None:
        """
        Remember a login.
        """
        await self._rows.add(token_hash, tenant_id, user_id, record, datetime.now(UTC) + idle)

    async def find(self, token_hash: str, idle: timedelta) -> str | None:
        """
        Return the record and keep it alive.
        """
        found = await self._rows.find(token_hash)
        if found is None:
            return None
        record, expires_at = found
        until = datetime.now(UTC) + idle
        if until - expires_at > _PROLONG_AFTER:
            await self._rows.prolong(token_hash, until)
        return record

    async def remove(self, token_hash: str) -> None:
        """
        Forget a login.
        """
        await self._rows.remove(token_hash)

    async def remove_all(self, tenant_id: UUID, user_id: UUID, keep: str | None = None) -> None:
        """
        Forget all logins of a person but one.
        """
        await self._rows.remove_all(tenant_id, user_id, keep or "")
