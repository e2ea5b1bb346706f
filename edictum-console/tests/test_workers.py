from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from edictum_console.db.database import Database
from edictum_console.db.leftovers import Leftovers
from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import Scopes
from edictum_console.db.tables import (
    ApprovalActionTokens,
    Approvals,
    Feed,
    NotificationChannels,
    NotificationDeliveries,
    Tenants,
)
from edictum_console.ids import new_id
from edictum_console.state.database import DatabaseLogins, DatabaseSessionValues
from edictum_console.state.operations import Increment, Put
from edictum_console.state.ports import Once, Place
from edictum_console.workers import Worker, working
from test_state import with_person

WithDatabase = Callable[[Callable[[Database], Awaitable[Any]]], Any]


def test_leftovers_are_removed_and_what_goes_on_stays(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        async def wake(tenant: UUID) -> None:
            pass

        tenant, user = await with_person(database)
        scope = Scopes(database, wake).of(tenant)
        values, logins = DatabaseSessionValues(Scopes(database, wake)), DatabaseLogins(database)
        place = Place(tenant, "production")
        await values.apply(place, [Put("over", "1", timedelta(seconds=-1)), Put("kept", "1")])
        await values.apply(place, [Increment("kept")], Once(new_id(), "try", "d" * 64))
        await logins.add("over", tenant, user, "{}", timedelta(seconds=-1))
        await logins.add("kept", tenant, user, "{}", timedelta(hours=1))
        for _ in range(2):
            async with scope.transaction():
                await Outbox(scope).announce("deployment", {})
        feed = database.table(Feed)
        await feed.update({"created_at": datetime.now(UTC) - timedelta(hours=25)}).where(feed.seq == 1)
        approvals = database.table(Approvals)
        for days in (399, 401):
            asked = datetime.now(UTC) - timedelta(days=days)
            asking: dict[str, Any] = {
                "env": "e",
                "agent_id": "a",
                "tool_name": "t",
                "args_digest": "",
                "message": "?",
                "status": "denied",
            }
            asking |= {"timeout_seconds": 1, "timeout_action": "block", "key_id": new_id(), "tenant_id": tenant}
            await approvals.insert(approvals(id=new_id(), created_at=asked, **asking))
        channels, messages = database.table(NotificationChannels), database.table(NotificationDeliveries)
        buttons, channel = database.table(ApprovalActionTokens), new_id()
        reached: dict[str, Any] = {"channel_type": "webhook", "config_sealed": "", "created_by": "ana"}
        await channels.insert(channels(id=channel, tenant_id=tenant, name="c", **reached))
        for days in (29, 31):
            about: dict[str, Any] = {
                "tenant_id": tenant,
                "channel_id": channel,
                "subject_id": new_id(),
                "content": "{}",
                "kind": "k",
            }
            old = datetime.now(UTC) - timedelta(days=days)
            await messages.insert(messages(id=new_id(), created_at=old, **about))
        for hours in (-1, 1):
            expires = datetime.now(UTC) + timedelta(hours=hours)
            pressed: dict[str, Any] = {
                "approval_id": new_id(),
                "decision": "denied",
                "token_hash": str(hours),
                "expires_at": expires,
            }
            await buttons.insert(buttons(id=new_id(), tenant_id=tenant, channel_id=channel, **pressed))
        await Leftovers(database).remove()
        assert await approvals.count() == 1
        assert await messages.count() == 1
        assert await buttons.count() == 1
        counts = {}
        for table in ("session_values", "user_sessions", "idempotency_keys", "feed", "users"):
            (row,) = await database.fetch(f"SELECT count(*) AS n FROM {table}")
            counts[table] = row["n"]
        assert counts == {"session_values": 1, "user_sessions": 1, "idempotency_keys": 1, "feed": 1, "users": 1}
        assert [item.seq for item in await Outbox(scope).after(0)] == [2]
        tenants = database.table(Tenants)
        (row,) = await tenants.select(tenants.feed_seq)
        assert row["feed_seq"] == 2

    with_database(check)


def test_worker_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        done, tries = asyncio.Event(), 0

        async def work() -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise ConnectionError("away")
            done.set()

        start = datetime.now(UTC) - timedelta(hours=1)
        worker = Worker("test", timedelta(milliseconds=1), work, start)
        async with working([worker]):
            assert worker.late(datetime.now(UTC))
            async with asyncio.timeout(10):
                await done.wait()
                while worker.succeeded_at == start:
                    await asyncio.sleep(0)
        assert not worker.late(worker.succeeded_at)
        assert caplog.text.count("the worker test failed") == worker.failures == 2

    asyncio.run(check())


def test_worker_that_is_woken_does_not_wait_for_the_end_of_its_pause() -> None:
    async def check() -> None:
        times = asyncio.Semaphore(0)

        async def work() -> None:
            times.release()

        worker = Worker("test", timedelta(hours=1), work, takes=timedelta(minutes=5))
        async with asyncio.timeout(10), working([worker]):
            for _ in range(3):
                await times.acquire()
                worker.woken.set()
        longest = worker.succeeded_at + timedelta(hours=5, minutes=5)
        assert not worker.late(longest)
        assert worker.late(longest + timedelta(seconds=1))

    asyncio.run(check())


def test_worker_finishes_what_it_does_when_the_console_stops() -> None:
    async def check() -> None:
        begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            begun.set()
            await go_on.wait()
            await asyncio.sleep(0)
            done.set()

        async with asyncio.timeout(10):
            async with working([Worker("test", timedelta(hours=1), work)]):
                await begun.wait()
                go_on.set()
        assert done.is_set()

    asyncio.run(check())


def test_worker_that_does_not_come_to_an_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edictum_console.workers._PATIENCE_SECONDS", 0.01)

    async def check() -> None:
        lost = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost.set()  # as a driver would that loses it
            await asyncio.Event().wait()

        async with asyncio.timeout(10):
            async with working([Worker("test", timedelta(hours=1), work)]):
                await asyncio.sleep(0)
        assert lost.is_set()

    asyncio.run(check())
