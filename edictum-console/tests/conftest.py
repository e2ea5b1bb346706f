"""
The databases and stores that tests run on; each is real, and started once for each test process.

And what property tests try: the same examples on every run, or with ``--hypothesis-profile=long`` many others each
time.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
from consoles import EMAIL, PASSWORD, Check, WithConsole, running
from edictum_console.db.database import Database
from edictum_console.db.migrations import migrate
from edictum_console.db.postgres import PostgresDatabase
from edictum_console.db.sqlite import SqliteDatabase
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.settings import Settings
from hypothesis import settings
from servers import Postgres, Redis

T = TypeVar("T")

# Without a deadline: how long an example takes depends on what else the machine does.
# The same examples: what fails in a run was broken by the change, not found by luck.
settings.register_profile("default", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.load_profile("default")

# Each test makes the whole application, of objects that live as long as the test: looking for garbage takes a fifth of
# the time, and finds nothing.
gc.set_threshold(100_000, 50, 100)

# Tests of the databases and stores themselves.
_ABOUT_STORES = ("test_database", "test_state")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--embedded",
        action="store_true",
        help="leave out the second run of tests, on Postgres and Redis, but for those of the stores themselves",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("embedded"):
        left_out = [item for item in items if _is_second_run(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_second_run(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    values = [] if parameters is None else list(parameters.params.values())
    return item.path.stem not in _ABOUT_STORES and ("replicated" in values or "postgres" in values)


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


@pytest.fixture(params=["embedded", "replicated"])
def console_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """
    One process on SQLite, or what replicas share: Postgres and Redis.
    """
    settings = Settings(
        data_dir=tmp_path,
        secret_key=b"s" * 32,
        sealing_key=b"k" * 32,
        admin_email=EMAIL,
        admin_password=PASSWORD,
        base_url="http://console.test",
        login_attempts=1000,
    )
    if request.param == "embedded":
        return settings
    redis = request.getfixturevalue("redis_server")
    redis.flush()
    database_url = request.getfixturevalue("postgres").new_database()
    return attrs.evolve(settings, database_url=database_url, redis_url=redis.url)


@pytest.fixture
def with_console(console_settings: Settings) -> WithConsole:
    """
    Runs an async function with a running console.
    """

    def run(check: Check, rhythm: Rhythm | None = None, **changes: Any) -> object:
        async def main() -> object:
            async with running(attrs.evolve(console_settings, **changes), rhythm) as console:
                # What fails is raised outside, where no group of the application's wraps it.
                (found,) = await asyncio.gather(check(console), return_exceptions=True)
            if isinstance(found, BaseException):
                raise found
            return found

        return asyncio.run(main())

    return run
