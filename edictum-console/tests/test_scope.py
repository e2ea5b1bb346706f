from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from edictum_console.db.database import Database
from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import Repository, Scopes, TenantScope
from edictum_console.db.tables import Environments, Tenants
from edictum_console.ids import new_id

WithDatabase = Callable[[Callable[[Database], Awaitable[Any]]], Any]


class Places(Repository):
    """
    A repository that does nothing but what the base offers.
    """

    async def add(self, name: str, **others: Any) -> None:
        await self._insert(self._table(Environments), {"name": name, **others})

    async def names(self) -> list[str]:
        table = self._table(Environments)
        return [row["name"] for row in await self._select(table).order_by(table.name)]

    async def count(self) -> int:
        found: int = await self._count(self._table(Environments))
        return found

    async def rename_all(self, **values: Any) -> None:
        await self._update(self._table(Environments), values)

    async def delete_all(self) -> None:
        await self._delete(self._table(Environments))


async def two_tenants(database: Database) -> tuple[TenantScope, TenantScope, list[UUID]]:
    woken: list[UUID] = []

    async def wake(tenant: UUID) -> None:
        woken.append(tenant)

    scopes = Scopes(database, wake)
    tenants = database.table(Tenants)
    ids = [new_id(), new_id()]
    for tenant in ids:
        await tenants.insert(tenants(id=tenant, name="x"))
    return scopes.of(ids[0]), scopes.of(ids[1]), woken


def test_repository_without_a_scope_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="TenantScope"):
        Places(new_id())  # type: ignore[arg-type]


def test_repository_reaches_rows_of_its_tenant_only(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        one, other, _ = await two_tenants(database)
        await Places(one).add("staging")
        await Places(other).add("staging")
        await Places(other).add("production")
        assert await Places(one).names() == ["staging"]
        assert await Places(other).count() == 2
        await Places(one).rename_all(colour="red")
        await Places(one).delete_all()
        assert await Places(one).names() == []
        assert await Places(other).names() == ["production", "staging"]

    with_database(check)


def test_row_that_claims_another_tenant_gets_the_tenant_of_the_scope(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        one, other, _ = await two_tenants(database)
        await Places(one).add("staging", tenant_id=other.tenant_id)
        assert await Places(one).names() == ["staging"]
        assert await Places(other).names() == []
        with pytest.raises(ValueError, match="does not change its tenant"):
            await Places(one).rename_all(tenant_id=other.tenant_id)

    with_database(check)


def test_announcement_wakes_after_the_commit_and_is_numbered_without_gaps(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        one, other, woken = await two_tenants(database)
        async with one.transaction():
            await Outbox(one).announce("deployment", {"name": "a"}, env="staging")
            await Outbox(one).announce("assignment", {"name": "b"}, agent_id="bot")
            assert woken == []
        assert woken == [one.tenant_id]
        found = await Outbox(one).after(0)
        assert [(item.seq, item.kind, item.env, item.agent_id) for item in found] == [
            (1, "deployment", "staging", None),
            (2, "assignment", None, "bot"),
        ]
        assert [item.payload for item in await Outbox(one).after(1)] == [{"name": "b"}]
        assert await Outbox(one).newest() == 2
        assert await Outbox(other).newest() == 0
        assert await Outbox(other).after(0) == []

    with_database(check)


def test_announcement_of_a_transaction_that_fails_leaves_no_row_and_no_gap(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        one, _, woken = await two_tenants(database)

        async def fail() -> None:
            async with one.transaction():
                await Outbox(one).announce("deployment", {})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert woken == []
        assert await Outbox(one).newest() == 0

    with_database(check)


def test_announcement_outside_a_transaction_is_refused(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        one, _, _ = await two_tenants(database)
        with pytest.raises(RuntimeError, match="outside a transaction"):
            await Outbox(one).announce("deployment", {})
        assert await Outbox(one).newest() == 0

    with_database(check)


def test_reader_never_sees_a_number_before_all_smaller_ones(with_database: WithDatabase) -> None:
    """
    Whoever reads while others write may see fewer rows, and never a row whose predecessor comes later.
    """

    async def check(database: Database) -> None:
        one, _, _ = await two_tenants(database)
        done = asyncio.Event()

        async def write() -> None:
            async with one.transaction():
                await Outbox(one).announce("deployment", {})
                await Places(one).names()

        async def read() -> list[int]:
            seen: list[int] = []
            while True:
                last = done.is_set()
                seen += [item.seq for item in await Outbox(one).after(seen[-1] if seen else 0)]
                if last:
                    return seen

        reader = asyncio.create_task(read())
        await asyncio.gather(*(write() for _ in range(60)))
        done.set()
        assert list(range(1, 61)) == await reader

    with_database(check)
