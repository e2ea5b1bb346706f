"""
Postgres, for several replicas.

Piccolo without its pool opens a connection for each query, twenty times slower and without a word, so the pool is
started with the database and everything runs in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, cast

import asyncpg
from piccolo.engine.postgres import PostgresEngine
from piccolo.querystring import QueryString

from edictum_console.db.database import Database, OpenTransaction, to_the_end
from edictum_console.errors import StartError, UnavailableError

_POOL = {"min_size": 1, "max_size": 10, "timeout": 10, "command_timeout": 30}


class _Engine(PostgresEngine):
    """
    Runs every query of Piccolo in the pool.
    """

    async def check_version(self) -> None:
        """
        Nothing: Piccolo would connect while the engine is only being made.
        """

    def opened(self) -> Any:
        """
        The pool.
        """
        if self.pool is None:
            raise RuntimeError("the database is not open")
        return self.pool

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:
        """
        Run a query, in the open transaction if there is one.
        """
        query, values = querystring.compile_string(engine_type=self.engine_type)
        transaction = cast(OpenTransaction | None, self.current_transaction.get())
        with _reaching():
            if transaction is not None:
                transaction.check_owner()
                return await transaction.connection.fetch(query, *values)
            return await self.opened().fetch(query, *values)


class PostgresDatabase(Database):
    """
    A Postgres database that replicas share.
    """

    dialect = "postgres"

    def __init__(self, url: str) -> None:
        self._postgres = _Engine(config={"dsn": url})
        self._claim: Any = None
        super().__init__(self._postgres)

    async def open(self) -> None:
        """
        Fill the pool.

        Raises:
            StartError: Postgres cannot be reached or refuses the login.
        """
        try:
            await self._postgres.start_connection_pool(**_POOL)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            # The text of these names hosts and users, never the password.
            raise StartError(f"EDICTUM_DATABASE_URL: the database cannot be reached: {error}") from error
        self._postgres.opened()

    async def close(self) -> None:
        """
        Close all connections.
        """
        if self._postgres.pool is not None:
            if self._claim is not None:
                await self._postgres.pool.release(self._claim)
                self._claim = None
            await self._postgres.close_connection_pool()

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[OpenTransaction]:
        pool = self._postgres.opened()
        with _reaching():
            connection = await pool.acquire()
        try:
            started = connection.transaction()
            with _reaching():
                await started.start()
            transaction = OpenTransaction(connection)
            try:
                yield transaction
            except BaseException:
                if not connection.is_closed():
                    with _reaching():
                        await to_the_end(started.rollback())
                raise
            with _reaching():
                await to_the_end(started.commit())
        finally:
            await pool.release(connection)
        await transaction.tell_committed()

    async def now(self) -> datetime:
        """
        The time of the database server.
        """
        (row,) = await self.fetch("SELECT clock_timestamp() AS now")
        now: datetime = row["now"]
        return now

    async def lock(self, *names: str) -> None:
        """
        Take advisory locks until the end of the transaction, always in the same order.
        """
        numbers = sorted(map(_lock_number, names))
        await self.fetch("SELECT pg_advisory_xact_lock(number) FROM unnest({}::bigint[]) AS number", numbers)

    async def claim(self, alone: bool) -> None:
        """
        Hold a lock, on a connection of its own: one that nobody shares, or one that all replicas share.
        """
        function = "pg_try_advisory_lock" if alone else "pg_try_advisory_lock_shared"
        with _reaching():
            self._claim = await self._postgres.opened().acquire()
            got = await self._claim.fetchval(f"SELECT {function}($1)", _lock_number("process"))
        if not got:
            raise StartError(
                "EDICTUM_REDIS_URL is needed: another console uses this database, and without Redis there can be one"
                if alone
                else "a console without EDICTUM_REDIS_URL uses this database; stop it, or give it the same Redis"
            )

    async def table_names(self) -> set[str]:
        """
        The tables that there are.
        """
        rows = await self.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        )
        return {row["table_name"] for row in rows}


def _lock_number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"edictum-console:{name}".encode()).digest()[:8], "big", signed=True)


@contextmanager
def _reaching() -> Iterator[None]:
    """
    Say in the console's own words that Postgres is not there.
    """
    try:
        yield
    except (
        OSError,  # also TimeoutError
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # what a connection raises that was cut off between two messages
        asyncpg.OperatorInterventionError,  # it is being shut down
        asyncpg.InsufficientResourcesError,
    ) as error:
        if isinstance(error, ValueError):
            raise  # a value that the driver cannot send: our mistake, which trying again does not mend
        raise UnavailableError("the database cannot be reached at the moment", "database_unavailable") from error
