"""
The databases and stores that tests run on; each is real, and started once for each test process.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from edictum_console.db.database import Database
from edictum_console.db.migrations import migrate
from edictum_console.db.postgres import PostgresDatabase
from edictum_console.db.sqlite import SqliteDatabase
from servers import Postgres, Redis

T = TypeVar("T")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not pytest's folder, which only its owner may enter: Postgres runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="edictum-console-postgres-"))
    server = Postgres(folder)
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Database]:
    """
    Makes databases that are closed and empty; all of one test have the same storage.
    """
    if request.param == "sqlite":
        return lambda: SqliteDatabase(tmp_path / "console.db")
    url = request.getfixturevalue("postgres").new_database()
    return lambda: PostgresDatabase(url)


@pytest.fixture
def with_database(new_database: Callable[[], Database]) -> Callable[[Callable[[Database], Awaitable[T]]], T]:
    """
    Runs an async function with an open, migrated database.
    """

    def run(function: Callable[[Database], Awaitable[T]]) -> T:
        async def main() -> T:
            database = new_database()
            await database.open()
            try:
                await migrate(database)
                return await function(database)
            finally:
                await database.close()

        return asyncio.run(main())

    return run
