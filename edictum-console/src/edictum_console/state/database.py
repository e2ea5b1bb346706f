"""
Session values and logins in the database, where there is no Redis; they survive a restart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeAlias
from uuid import UUID

import attrs

from edictum_console.db.database import Database
from edictum_console.db.scope import Repository, Scopes, SystemRepository
from edictum_console.db.tables import IdempotencyKeys, SessionValues, UserSessions
from edictum_console.errors import ConflictError, InvalidError
from edictum_console.gathering import Gathering
from edictum_console.ids import new_id
from edictum_console.state.operations import Applied, Operation, Write, compute, read, reused, written
from edictum_console.state.ports import REPLY_LIFETIME, SESSION_LIFETIME, Once, Place

Name: TypeAlias = tuple[UUID, str]  # of a request: the API key that sends it, and what it calls it
Reply: TypeAlias = tuple[str, str]  # the hash of a request, and the answer

# So many operations are done in one transaction, unless a single request has more; each may hold a lock.
_OPERATIONS_AT_ONCE = 200

_NEWER_VALUE = "(tenant_id, env, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"
_NEWER_REPLY = (
    "(tenant_id, key_id, key) DO UPDATE SET digest = excluded.digest, reply = excluded.reply, "
    "expires_at = excluded.expires_at"
)

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
        chosen, now = ("key", "value", "expires_at"), datetime.now(UTC)
        rows = await self._select_among(self._table(SessionValues), chosen, {"env": env}, "key", keys)
        return {row["key"]: row["value"] for row in rows if row["expires_at"] > now}

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
            (new_id(), key, write.value, now + (SESSION_LIFETIME if write.lifetime is None else write.lifetime))
            for key, write in sorted(writes.items())
            if write.value is not None
        ]
        if rows:
            columns, shared = ("id", "key", "value", "expires_at"), {"created_at": now, "env": env}
            await self._insert_or_update(table, columns, rows, shared, _NEWER_VALUE)


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
        digest, reply = (await self.find_all([once])).get((once.owner, once.key), (None, None))
        if digest not in (None, once.digest):
            raise reused()
        return reply

    async def keep(self, once: Once, reply: str) -> None:
        """
        Keep an answer.
        """
        await self.keep_all({(once.owner, once.key): (once.digest, reply)})

    async def find_all(self, requests: Iterable[Once]) -> dict[Name, Reply]:
        """
        The answers that were given to requests of these names.
        """
        keys: defaultdict[UUID, list[str]] = defaultdict(list)
        for once in requests:
            keys[once.owner].append(once.key)
        found: dict[Name, Reply] = {}
        now = datetime.now(UTC)
        chosen = ("key", "digest", "reply", "expires_at")
        for owner, named in keys.items():
            rows = await self._select_among(self._table(IdempotencyKeys), chosen, {"key_id": owner}, "key", named)
            found |= {(owner, row["key"]): (row["digest"], row["reply"]) for row in rows if row["expires_at"] > now}
        return found

    async def keep_all(self, replies: Mapping[Name, Reply]) -> None:
        """
        Keep answers.
        """
        now = datetime.now(UTC)
        rows = [(new_id(), *name, *reply) for name, reply in sorted(replies.items())]
        columns, shared = (
            ("id", "key_id", "key", "digest", "reply"),
            {"created_at": now, "expires_at": now + REPLY_LIFETIME},
        )
        await self._insert_or_update(self._table(IdempotencyKeys), columns, rows, shared, _NEWER_REPLY)


class DatabaseSessionValues:
    """
    Session values in a table.

    What is asked for while a transaction is going on waits, and is done together in the next one.
    """

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._gathering: Gathering[_Request, Applied] = Gathering(_OPERATIONS_AT_ONCE, _Request.size)

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
        return await self._gathering.done(place, _Request(operations, once), partial(self._apply, place))

    async def _apply(self, place: Place, requests: Sequence[_Request]) -> list[Applied | Exception]:
        """
        Do the operations of several requests, one request after the other, and write what is there after the last.
        """
        scope = self._scopes.of(place.tenant_id)
        rows, replies = SessionValueRepository(scope), ReplyRepository(scope)
        keys = sorted({operation.key for request in requests for operation in request.operations})
        repeatable = [request.once for request in requests if request.once is not None]
        names = {f"session:{place.tenant_id}:{place.env}:{key}" for key in keys}
        names |= {f"once:{once.owner}:{once.key}" for once in repeatable}
        async with scope.transaction():
            await scope.database.lock(*names)
            kept = await replies.find_all(repeatable)
            found = await rows.values(place.env, keys)
            turn = _Turn({key: found.get(key) for key in keys}, kept)
            outcomes = [turn.outcome(request) for request in requests]
            if turn.writes:
                await rows.write(place.env, turn.writes)
            if turn.replies:
                await replies.keep_all(turn.replies)
        return outcomes


@attrs.frozen
class _Request:
    """
    What one request asks for.
    """

    operations: Sequence[Operation]
    once: Once | None

    def size(self) -> int:
        """
        How many values it may lock.
        """
        return len(self.operations)


@attrs.define
class _Turn:
    """
    Several requests that are done one after the other in thought, and what is to be written for all of them.
    """

    values: dict[str, str | None]
    kept: dict[Name, Reply]
    writes: dict[str, Write] = attrs.field(factory=dict)
    replies: dict[Name, Reply] = attrs.field(factory=dict)

    def outcome(self, request: _Request) -> Applied | Exception:
        """
        Do a request; where that is an error, nothing of it is done.
        """
        once = request.once
        digest, reply = (None, "") if once is None else self.kept.get((once.owner, once.key), (None, ""))
        if once is not None and digest is not None:
            return read(reply) if digest == once.digest else reused()
        try:
            applied, writes = compute(self.values, request.operations)
        except (ConflictError, InvalidError) as error:
            return error
        self.writes |= writes
        self.values |= {key: write.value for key, write in writes.items()}
        if once is not None:
            name = (once.owner, once.key)
            self.kept[name] = self.replies[name] = (once.digest, written(applied))
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
