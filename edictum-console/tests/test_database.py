from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from edictum_console.db.database import Database
from edictum_console.db.sqlite import SqliteDatabase
from edictum_console.db.tables import Tenants
from edictum_console.errors import StartError, UnavailableError
from edictum_console.ids import new_id

WithDatabase = Callable[[Callable[[Database], Awaitable[Any]]], Any]


async def add_tenant(database: Database, name: str = "acme") -> Any:
    tenants = database.table(Tenants)
    tenant = new_id()
    await tenants.insert(tenants(id=tenant, name=name))
    return tenant


async def names(database: Database) -> list[str]:
    tenants = database.table(Tenants)
    return [row["name"] for row in await tenants.select(tenants.name).order_by(tenants.name)]


def test_transaction_that_raises_leaves_nothing(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        async def fail() -> None:
            async with database.transaction():
                await add_tenant(database)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await names(database) == []

    with_database(check)


def test_transaction_that_is_cancelled_leaves_nothing_and_frees_the_connection(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        inside = asyncio.Event()

        async def write() -> None:
            async with database.transaction():
                await add_tenant(database)
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(write())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await add_tenant(database, "later")
        assert await names(database) == ["later"]

    with_database(check)


def test_transactions_cancelled_at_every_step_never_leave_half_a_change(with_database: WithDatabase) -> None:
    """
    Each of two rows or none, wherever the cancellation hits: begin, statement, commit.
    """

    async def check(database: Database) -> None:
        async def write(name: str) -> None:
            async with database.transaction():
                await add_tenant(database, name)
                await add_tenant(database, name)

        tasks = []
        for steps in range(60):
            task = asyncio.create_task(write(f"{steps:02}"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            tasks.append(task)
        await asyncio.gather(*tasks, return_exceptions=True)
        found = await names(database)
        assert all(found.count(name) == 2 for name in found)
        await write("last")
        assert "last" in await names(database)

    with_database(check)


def test_concurrent_read_modify_write_loses_nothing(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        tenant = await add_tenant(database)
        tenants = database.table(Tenants)

        async def add_one() -> None:
            async with database.transaction():
                await database.lock("counter")
                (row,) = await tenants.select(tenants.feed_seq).where(tenants.id == tenant)
                await tenants.update({tenants.feed_seq: row["feed_seq"] + 1}).where(tenants.id == tenant)

        await asyncio.gather(*(add_one() for _ in range(100)))
        (row,) = await tenants.select(tenants.feed_seq)
        assert row["feed_seq"] == 100

    with_database(check)


def test_single_statements_many_at_once_lose_nothing(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        await asyncio.gather(*(add_tenant(database, f"{number:03}") for number in range(200)))
        assert await names(database) == [f"{number:03}" for number in range(200)]

    with_database(check)


def test_transaction_in_a_transaction_is_refused(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        async with database.transaction():
            with pytest.raises(RuntimeError, match="already open"):
                async with database.transaction():
                    pass

    with_database(check)


def test_task_started_inside_a_transaction_cannot_use_it(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        async with database.transaction():
            task = asyncio.create_task(add_tenant(database))
            with pytest.raises(RuntimeError, match="started inside a transaction"):
                await task
        assert await names(database) == []

    with_database(check)


def test_after_commit_runs_once_for_a_key_and_only_after_the_commit(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        seen: list[list[str]] = []

        async def look() -> None:
            seen.append(await names(database))

        async with database.transaction():
            database.after_commit("look", look)
            database.after_commit("look", look)
            await add_tenant(database)
            assert seen == []
        assert seen == [["acme"]]

    with_database(check)


def test_after_commit_of_a_transaction_that_fails_is_not_run(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        seen: list[str] = []

        async def look() -> None:
            seen.append("called")

        async def fail() -> None:
            async with database.transaction():
                database.after_commit("look", look)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert seen == []

    with_database(check)


def test_after_commit_that_fails_does_not_undo_or_raise(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        async def fail() -> None:
            raise ConnectionError("the bus is away")

        async with database.transaction():
            database.after_commit("fail", fail)
            await add_tenant(database)
        assert await names(database) == ["acme"]

    with_database(check)


def test_after_commit_outside_a_transaction_is_refused(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        async def never() -> None:
            raise AssertionError

        with pytest.raises(RuntimeError, match="outside a transaction"):
            database.after_commit("never", never)

    with_database(check)


def test_values_come_back_as_they_went_in(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        tenants = database.table(Tenants)
        moment = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
        row: dict[str, Any] = {
            "id": new_id(),
            "name": "Zoë 'q' \"",
            "settings": "{}",
            "feed_seq": 2**53,
            "created_at": moment,
        }
        await tenants.insert(tenants(**{**row}))
        assert [row] == await tenants.select()

    with_database(check)


def test_times_are_ordered_to_the_microsecond(with_database: WithDatabase) -> None:
    async def check(database: Database) -> None:
        tenants = database.table(Tenants)
        moments = [datetime(2026, 1, 1, 10, 0, 0, micro, tzinfo=UTC) for micro in (500_000, 0, 1, 10)]
        for moment in moments:
            await tenants.insert(tenants(id=new_id(), name="t", created_at=moment))
        rows = await tenants.select(tenants.created_at).order_by(tenants.created_at)
        assert sorted(moments) == [row["created_at"] for row in rows]
        later = await tenants.select(tenants.created_at).where(tenants.created_at > moments[1])
        assert len(later) == 3

    with_database(check)


def test_postgres_that_goes_away_is_unavailable_and_comes_back(postgres: Any, tmp_path: Path) -> None:
    from edictum_console.db.migrations import migrate
    from edictum_console.db.postgres import PostgresDatabase

    async def check() -> None:
        database = PostgresDatabase(postgres.new_database())
        await database.open()
        await migrate(database)
        await add_tenant(database)
        await asyncio.to_thread(postgres.server.kill)
        try:
            with pytest.raises(UnavailableError):
                await names(database)
            with pytest.raises(UnavailableError):
                async with database.transaction():
                    await add_tenant(database, "never")
        finally:
            await asyncio.to_thread(postgres.start)
        assert await names(database) == ["acme"]
        await database.close()

    asyncio.run(check())


def test_transaction_whose_connection_is_lost_ends_with_what_went_wrong(postgres: Any) -> None:
    from edictum_console.db.migrations import migrate
    from edictum_console.db.postgres import PostgresDatabase

    async def lose(database: Database) -> None:
        (row,) = await database.fetch("SELECT pg_backend_pid() AS pid")
        # In a task without the transaction, on another connection.
        other = asyncio.create_task(database.fetch("SELECT pg_terminate_backend({})", row["pid"]), context=Context())
        await other
        await asyncio.sleep(0.2)  # the pool takes the connection back

    async def query(database: Database) -> None:
        async with database.transaction():
            await add_tenant(database)
            await lose(database)
            await names(database)

    async def refuse(database: Database) -> None:
        async with database.transaction():
            await add_tenant(database)
            await lose(database)
            raise ZeroDivisionError

    async def check() -> None:
        database = PostgresDatabase(postgres.new_database())
        await database.open()
        await migrate(database)
        with pytest.raises(UnavailableError):
            await query(database)
        with pytest.raises(ZeroDivisionError):
            await refuse(database)
        assert await names(database) == []
        await database.close()

    asyncio.run(check())


def test_transaction_is_committed_although_its_connection_cannot_be_used_again(
    postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncpg import Connection, InternalClientError
    from edictum_console.db.migrations import migrate
    from edictum_console.db.postgres import PostgresDatabase

    async def cut_off(*args: Any, **options: Any) -> None:
        raise InternalClientError("cannot switch to state 15; another operation (2) is in progress")

    async def check() -> None:
        database = PostgresDatabase(postgres.new_database())
        await database.open()
        await migrate(database)
        with monkeypatch.context() as broken:
            async with database.transaction():
                await add_tenant(database)
                broken.setattr(Connection, "reset", cut_off)
        assert await names(database) == ["acme"]
        await database.close()

    asyncio.run(check())


def test_claim_that_was_lost_with_its_connection_is_taken_again(postgres: Any) -> None:
    from edictum_console.db.postgres import PostgresDatabase

    async def check() -> None:
        url = postgres.new_database()
        first, second = PostgresDatabase(url), PostgresDatabase(url)
        await first.open()
        await second.open()
        await first.claim(alone=True)
        await first.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with suppress(UnavailableError):
            await first.keep_claim()  # notices it, unless the driver did already
        await first.keep_claim()
        with pytest.raises(StartError, match="EDICTUM_REDIS_URL is needed"):
            await second.claim(alone=True)
        await first.close()
        await second.claim(alone=True)
        with pytest.raises(StartError, match="EDICTUM_REDIS_URL is needed"):
            await first.keep_claim()
        await second.close()

    asyncio.run(check())


def test_postgres_that_is_not_there_says_which_variable(tmp_path: Path) -> None:
    from edictum_console.db.postgres import PostgresDatabase
    from servers import free_port

    url = f"postgresql://somebody:hunter2hunter2@127.0.0.1:{free_port()}/console"
    with pytest.raises(StartError, match="EDICTUM_DATABASE_URL") as caught:
        asyncio.run(PostgresDatabase(url).open())
    assert "hunter2" not in str(caught.value)


def test_sqlite_file_of_another_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "console.db"
    script = (
        "import asyncio, pathlib, sys\n"
        "from edictum_console.db.sqlite import SqliteDatabase\n"
        "async def main():\n"
        "    database = SqliteDatabase(pathlib.Path(sys.argv[1]))\n"
        "    await database.open()\n"
        "    print('open', flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.read)\n"
        "asyncio.run(main())\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StartError, match="another console uses"):
            asyncio.run(SqliteDatabase(path).open())
    finally:
        other.kill()
        other.communicate()

    async def reopen() -> None:
        database = SqliteDatabase(path)
        await database.open()  # the lock went with the process that held it
        await database.close()

    asyncio.run(reopen())


def test_sqlite_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async def open_and_close() -> None:
        database = SqliteDatabase(tmp_path / "console.db")
        await database.open()
        await database.close()

    asyncio.run(open_and_close())
    assert (tmp_path / "console.db").stat().st_mode & 0o077 == 0
