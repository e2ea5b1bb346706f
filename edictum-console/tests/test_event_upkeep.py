from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from edictum_console.db.database import Database
from edictum_console.db.migrations import migrate
from edictum_console.db.postgres import PostgresDatabase
from edictum_console.db.scope import Scopes, TenantScope
from edictum_console.db.tables import Environments, Events, Tenants
from edictum_console.domains.events.event import Event
from edictum_console.domains.events.normalising import normalise
from edictum_console.domains.events.repository import EventRepository, Filter, day_of
from edictum_console.domains.events.upkeep import keep_partitions, remove_over
from edictum_console.domains.rollups.service import RollupService, finest, fold_all, minute_of, tidy
from edictum_console.ids import new_id
from edictum_console.security.actor import KeyActor, KeyScope

WithDatabase = Callable[[Callable[[Database], Awaitable[Any]]], Any]

NOW = datetime.now(UTC)


async def wake(tenant: UUID) -> None:
    pass


async def tenant_of(database: Database, **retention: int | None) -> TenantScope:
    """
    Make a tenant with environments that keep events so many days.
    """
    tenant, tenants, environments = new_id(), database.table(Tenants), database.table(Environments)
    await tenants.insert(tenants(id=tenant, name="acme"))
    for env, days in retention.items():
        row = environments(id=new_id(), tenant_id=tenant, name=env, event_retention_days=days)
        await environments.insert(row)
    return Scopes(database, wake).of(tenant)


def event(age: timedelta, number: int = 0, **changes: Any) -> Event:
    key = KeyActor(new_id(), new_id(), "p", "production", frozenset({KeyScope.AGENT}), None, "bot")
    raw = {"action": "call_allowed", "tool_name": "t", "call_id": f"c{number}", "duration_ms": 5, **changes}
    found = normalise({**raw, "timestamp": (NOW - age).isoformat()}, 0, key, NOW)
    assert isinstance(found, Event)
    return found


async def store(scope: TenantScope, env: str, *events: Event) -> None:
    async with scope.transaction():
        new = await EventRepository(scope).add(env, events, NOW)
        assert new == {one.id for one in events}
        await RollupService(scope).note(env, events, NOW)


async def left(scope: TenantScope) -> list[str]:
    rows = await EventRepository(scope).page(Filter({}), None, 1000)
    return sorted(row["call_id"] for row in rows)


def test_events_are_kept_as_long_as_their_environment_says(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database, short=7, long=365, usual=None)
        other = await tenant_of(database)
        for number, days in enumerate((6, 8, 89, 91, 364, 366)):
            for env in ("short", "long", "usual", "gone"):
                one = event(timedelta(days=days), agent_id=env, call_id=f"{env}-{days}", number=number)
                await store(scope, env, one)
                await store(other, env, one)
        scopes = Scopes(database, wake)
        assert await remove_over(scopes) == (5 + 1 + 3 + 3) + 4 * 3
        assert await left(scope) == sorted(
            ["short-6", *(f"long-{days}" for days in (6, 8, 89, 91, 364))]
            + [f"{env}-{days}" for env in ("usual", "gone") for days in (6, 8, 89)]
        )
        assert len(await left(other)) == 12
        assert await remove_over(scopes) == 0
        tenants = database.table(Tenants)
        decided = json.dumps({"event_retention_days": 7})
        await tenants.update({"settings": decided}).where(tenants.id == scope.tenant_id)
        assert await remove_over(scopes) == 2 * 2
        assert "usual-6" in await left(scope)
        assert "usual-89" not in await left(scope)
        assert "long-364" in await left(scope)
        assert len(await left(other)) == 12

    with_database(check)


def test_counts_are_the_same_before_and_after_they_are_added_and_put_together(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)
        ages = [timedelta(minutes=7 * number) for number in range(600)]  # almost three days
        for start in range(0, 600, 50):
            batch = [event(age, number) for number, age in enumerate(ages[start : start + 50], start)]
            await store(scope, "production", *batch)
        rollups = RollupService(scope)
        first, end = minute_of(NOW - ages[-1]), minute_of(NOW) + 1
        first -= first % 60

        async def seen() -> tuple[Any, Any]:
            by_hour = sorted(await rollups.buckets(first, end, {}, 60))
            return await rollups.totals(first, end, {"env": ["production"]}, "agent_id", "action"), by_hour

        scopes = Scopes(database, wake)
        assert await fold_all(scopes) == 12
        assert await fold_all(scopes) == 0
        before = await seen()
        assert before[0] == [{"agent_id": "bot", "action": "call_allowed", "total": 600}]
        await tidy(scopes)
        (minutes,) = await database.fetch(
            "SELECT count(*) AS n FROM event_rollups WHERE span = 1 AND minute < {}", finest(NOW)
        )
        assert minutes["n"] == 0
        assert await seen() == before
        late = event(timedelta(hours=60), number=1000)
        await store(scope, "production", late)
        await fold_all(scopes)
        await tidy(scopes)
        assert (await seen())[0][0]["total"] == 601
        (sums,) = await database.fetch("SELECT sum(duration_sum) AS n FROM event_rollups")
        assert sums["n"] == 601 * 5

    with_database(check)


def test_counts_are_added_once_by_whoever_is_first(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)
        for number in range(20):
            rules = {"rules_evaluated": [{"name": "a"}, {"name": "b"}]}
            await store(scope, "production", event(timedelta(seconds=number), number, **rules))
        await asyncio.gather(*(RollupService(scope).fold() for _ in range(5)))
        window = (minute_of(NOW) - 5, minute_of(NOW) + 1)
        totals = await RollupService(scope).totals(*window, {}, "action")
        assert totals == [{"action": "call_allowed", "total": 20}]
        assert await RollupService(scope).evaluated(*window, "production") == {"a": 20, "b": 20}

    with_database(check)


def test_counts_of_batches_that_fail_are_not_kept(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)

        async def fail() -> None:
            async with scope.transaction():
                await EventRepository(scope).add("production", [event(timedelta())], NOW)
                await RollupService(scope).note("production", [event(timedelta())], NOW)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await left(scope) == []
        assert await RollupService(scope).fold() == 0

    with_database(check)


def test_counts_that_are_over_are_removed(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)
        await store(scope, "production", event(timedelta(days=399)), event(timedelta(days=402), 1))
        await fold_all(Scopes(database, wake))
        await tidy(Scopes(database, wake))
        totals = await RollupService(scope).totals(0, minute_of(NOW) + 1, {}, "action")
        assert totals == [{"action": "call_allowed", "total": 1}]

    with_database(check)


def on_postgres(request: pytest.FixtureRequest, check: Callable[[Database], Awaitable[None]]) -> None:
    url = request.getfixturevalue("postgres").new_database()

    async def main() -> None:
        database = PostgresDatabase(url)
        await database.open()
        try:
            await migrate(database)
            await check(database)
        finally:
            await database.close()

    asyncio.run(main())


async def parts(database: Database) -> dict[str, int]:
    """
    The parts of the table, and how many events lie in each.
    """
    rows = await database.fetch(
        "SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'events'::regclass"
    )
    counts = {}
    for row in rows:
        (count,) = await database.fetch(f"SELECT count(*) AS n FROM {row['name']}")
        counts[row["name"]] = count["n"]
    return counts


def test_months_are_made_ahead_and_events_that_came_before_them_move(request: pytest.FixtureRequest) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)
        this, before = event(timedelta()), event(timedelta(days=62), 1)
        await store(scope, "production", this, before)
        assert await parts(database) == {"events_default": 2}
        scopes = Scopes(database, wake)
        await asyncio.gather(*(keep_partitions(scopes) for _ in range(3)))
        names = {f"events_{one.day // 10_000}_{one.day // 100 % 100:02}" for one in (this, before)}
        found = await parts(database)
        assert {name for name, count in found.items() if count} == names
        assert len(found) == 6  # this month, three more, the one that an event is of, and the default one
        assert await left(scope) == ["c0", "c1"]
        async with scope.transaction():
            assert await EventRepository(scope).add("production", [this, before], NOW) == set()

    on_postgres(request, check)


def test_events_that_come_while_months_are_made_are_all_stored(request: pytest.FixtureRequest) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)
        made = asyncio.Event()

        async def deliver(lane: int) -> int:
            number = 0
            while not made.is_set() or number < 20:
                days = timedelta(days=30 * (number % 3))
                await store(scope, "production", event(days, call_id=f"{lane}-{number}"))
                number += 1
            return number

        delivering = [asyncio.create_task(deliver(lane)) for lane in range(4)]
        for _ in range(5):
            await keep_partitions(Scopes(database, wake))
        made.set()
        stored = sum(await asyncio.gather(*delivering))
        (row,) = await database.fetch("SELECT count(*) AS n FROM events")
        assert row["n"] == stored

    on_postgres(request, check)


def test_events_are_never_missing_while_they_move(request: pytest.FixtureRequest) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database)
        months = [event(timedelta(days=20 * (number % 4)), number) for number in range(12)]
        made = asyncio.Event()

        async def read(lane: int) -> set[int]:
            found: set[int] = set()
            while not made.is_set():
                # Always another statement, so that its plan is made while the events move.
                rows = await EventRepository(scope).page(Filter({}), None, 100 + len(found) * 10 + lane)
                found.add(len(rows))
            return found

        for _ in range(3):
            await store(scope, "production", *months)
            made.clear()
            reading = [asyncio.create_task(read(lane)) for lane in range(6)]
            await asyncio.sleep(0.05)
            await keep_partitions(Scopes(database, wake))
            made.set()
            assert set().union(*await asyncio.gather(*reading)) == {len(months)}
            for part in await parts(database):
                if part != "events_default":
                    await database.fetch(f"DROP TABLE {part}")

    on_postgres(request, check)


def test_months_that_nobody_keeps_are_dropped(request: pytest.FixtureRequest) -> None:
    async def check(database: Database) -> None:
        scope = await tenant_of(database, production=200)
        old, kept = event(timedelta(days=240)), event(timedelta(days=150), 1)
        await store(scope, "production", old, kept)
        part = f"events_{old.day // 10_000}_{old.day // 100 % 100:02}"
        after = (NOW - timedelta(days=240)).replace(day=28) + timedelta(days=4)
        bounds = (old.day // 100 * 100 + 1, day_of(after) // 100 * 100 + 1)
        await database.keep_partitions(Events, {part: bounds}, 0)
        assert (await parts(database))[part] == 1
        await keep_partitions(Scopes(database, wake))
        assert part not in await parts(database)
        assert await left(scope) == ["c1"]

    on_postgres(request, check)
