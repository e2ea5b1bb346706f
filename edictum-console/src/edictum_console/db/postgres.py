"""
Postgres, for several replicas.

Piccolo without its pool opens a connection for each query, twenty times slower and without a word, so the pool is
started with the database and everything runs in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

import asyncpg
from piccolo.engine.postgres import PostgresEngine
from piccolo.querystring import QueryString
from piccolo.table import Table

from edictum_console.db.database import Database, OpenTransaction, to_the_end
from edictum_console.errors import StartError, UnavailableError

_PARTITION_END = re.compile(r"TO \('?(\d+)'?\)")
# What the driver raises when the server cannot be reached, or was cut off.
_LOST = (
    OSError,  # also TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection raises that was cut off between two messages
    asyncpg.OperatorInterventionError,  # it is being shut down
    asyncpg.InsufficientResourcesError,
)
_SECONDS = 10
# Types that the schema has for rows of some tables; their columns are those in which rows differ, in the same order.
_ROW_TYPES = {"events": "event_row"}


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """
    Goes back to the pool as it is, which saves a round trip for each use.

    The driver would reset settings, listeners, cursors and locks of the session, and nothing here has any: transactions
    end before, and locks with them.  What holds a lock for longer has a connection of its own.
    """

    def get_reset_query(self) -> str:
        """
        Nothing to ask for.
        """
        return ""


_POOL = {
    "min_size": 1,
    "max_size": 10,
    "timeout": _SECONDS,
    "command_timeout": 30,
    "connection_class": _Connection,
}


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
        return await self.run(query, values)

    async def run(self, query: str, values: Sequence[Any]) -> Any:
        """
        Run a statement, in the open transaction if there is one.
        """
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
        self._url = url
        self._alone = True
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

    async def join(self) -> None:
        """
        Fill the pool: connecting makes nothing, and a claim is for those who serve.

        Raises:
            StartError: Postgres cannot be reached or refuses the login.
        """
        await self.open()

    async def close(self) -> None:
        """
        Close all connections.
        """
        if self._postgres.pool is not None:
            if self._claim is not None:
                with suppress(*_LOST):
                    await self._claim.close(timeout=_SECONDS)
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
                # The connection may be lost, and the pool may have taken it back: then the transaction went with it.
                with suppress(*_LOST):
                    if not connection.is_closed():
                        await to_the_end(started.rollback())
                raise
            with _reaching():
                await to_the_end(started.commit())
        finally:
            # What was committed stays so; the pool drops a connection that it cannot make ready for somebody else.
            with suppress(*_LOST):
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

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """
        Hold a lock on a connection of its own, with which it goes.
        """
        with _reaching():
            connection = await asyncpg.connect(self._url, timeout=_SECONDS)
        try:
            with _reaching():
                await connection.execute("SELECT pg_advisory_lock($1)", _lock_number(name))
            yield
        finally:
            with suppress(*_LOST):
                await connection.close(timeout=_SECONDS)

    async def claim(self, alone: bool) -> None:
        """
        Hold a lock, on a connection of its own: one that nobody shares, or one that all replicas share.
        """
        self._alone = alone
        await self.keep_claim()

    async def keep_claim(self) -> None:
        """
        Take the lock again if it was lost with its connection.
        """
        if self._claim is not None and not self._claim.is_closed():
            with _reaching():
                await self._claim.fetchval("SELECT 1")  # notices that nobody answers any more
            return
        function = "pg_try_advisory_lock" if self._alone else "pg_try_advisory_lock_shared"
        with _reaching():
            connection = await asyncpg.connect(self._url, timeout=_SECONDS, command_timeout=_SECONDS)
            try:
                got = await connection.fetchval(f"SELECT {function}($1)", _lock_number("process"))
            except BaseException:
                connection.terminate()
                raise
        if got:
            self._claim = connection
            return
        await connection.close()
        raise StartError(
            "EDICTUM_REDIS_URL is needed: another console uses this database, and without Redis there can be one"
            if self._alone
            else "a console without EDICTUM_REDIS_URL uses this database; stop it, or give it the same Redis"
        )

    def connections(self) -> Mapping[str, int]:
        """
        See :meth:`Database.connections`.
        """
        pool = self._postgres.pool
        idle = 0 if pool is None else pool.get_idle_size()
        return {"used": 0 if pool is None else pool.get_size() - idle, "idle": idle}

    async def insert_new(
        self, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]], shared: Mapping[str, Any]
    ) -> list[UUID]:
        """
        Insert many rows at once, but for those that are there already.
        """
        found = await self._insert(table, columns, rows, shared, "DO NOTHING RETURNING id")
        return [row["id"] for row in found]

    async def insert_or_update(
        self,
        table: type[Table],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        shared: Mapping[str, Any],
        update: str,
    ) -> None:
        """
        Insert many rows at once, and change those that are there already.
        """
        await self._insert(table, columns, rows, shared, update)

    async def _insert(
        self,
        table: type[Table],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        shared: Mapping[str, Any],
        on_conflict: str,
    ) -> list[Any]:
        """
        Send all rows in arrays: the statement is the same for any number of rows, so it is prepared once.
        """
        transaction = self.require_transaction()
        transaction.check_owner()
        if not rows:
            return []
        statement = _insertion(table, tuple(columns), tuple(shared), on_conflict)
        arrays = (rows,) if table._meta.tablename in _ROW_TYPES else zip(*rows, strict=True)
        with _reaching():
            found: list[Any] = await transaction.connection.fetch(statement, *arrays, *shared.values())
        return found

    async def select_among(
        self, table: type[Table], columns: Sequence[str], same: Mapping[str, Any], among: str, values: Sequence[Any]
    ) -> Sequence[Mapping[str, Any]]:
        """
        Read rows; the values go in an array, so the statement is the same for any number of them.
        """
        statement = _selection(table, tuple(columns), tuple(same), among)
        found: Sequence[Mapping[str, Any]] = await self._postgres.run(statement, [*same.values(), list(values)])
        return found

    async def keep_partitions(self, table: type[Table], partitions: Mapping[str, tuple[int, int]], oldest: int) -> None:
        """
        Make parts of a table that is divided by ``day``, and drop those that are over.

        Rows that came before their part was made lie in the part ``..._default`` and move.
        """
        name = table._meta.tablename
        async with self.transaction():
            await self.lock(f"partitions:{name}")
            present = await self._partitions(name)
            for part, (first, end) in partitions.items():
                if part not in present and end > oldest:
                    await self._make_partition(name, part, first, end)
            over = [part for part, end in present.items() if end is not None and end <= oldest]
            for part in over:
                await self.fetch(f"DROP TABLE {part}")

    async def days_without_partition(self, table: type[Table]) -> list[int]:
        """
        The days of rows in the default part.
        """
        rows = await self.fetch(f"SELECT DISTINCT day FROM {table._meta.tablename}_default")
        return [row["day"] for row in rows]

    async def _partitions(self, name: str) -> dict[str, int | None]:
        """
        The parts of a table, and the first day after each; None for the part that takes everything else.
        """
        rows = await self.fetch(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds FROM pg_inherits AS i "
            "JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = {}::regclass",
            name,
        )
        ends = {row["relname"]: _PARTITION_END.search(row["bounds"]) for row in rows}
        return {part: None if end is None else int(end[1]) for part, end in ends.items()}

    async def _make_partition(self, name: str, part: str, first: int, end: int) -> None:
        # An insert that has chosen the default part already would fail there once the new one is attached, and a query
        # that was planned without the new one would miss what moves; so both end or wait meanwhile.
        await self.fetch(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        await self.fetch(f"CREATE TABLE {part} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        await self.fetch(
            f"WITH moved AS (DELETE FROM {name}_default WHERE day >= {{}} AND day < {{}} RETURNING *) "
            f"INSERT INTO {part} SELECT * FROM moved",
            first,
            end,
        )
        await self.fetch(f"ALTER TABLE {name} ATTACH PARTITION {part} FOR VALUES FROM ({first:d}) TO ({end:d})")

    async def table_names(self) -> set[str]:
        """
        The tables that there are; not their parts.
        """
        rows = await self.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        return {row["relname"] for row in rows}


@cache
def _insertion(table: type[Table], columns: tuple[str, ...], shared: tuple[str, ...], on_conflict: str) -> str:
    """
    The statement that inserts rows: what differs in one array of rows or one for each column, then what they share.
    """
    name = table._meta.tablename
    types = {column._meta.db_column_name: column.column_type.partition("(")[0] for column in table._meta.columns}
    arrays = [_ROW_TYPES[name]] if name in _ROW_TYPES else [types[column] for column in columns]
    rows = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(arrays, 1))
    values = "".join(f", ${number}::{types[column]}" for number, column in enumerate(shared, len(arrays) + 1))
    return (
        f"INSERT INTO {name} ({', '.join((*columns, *shared))}) "
        f"SELECT rows.*{values} FROM unnest({rows}) AS rows ON CONFLICT {on_conflict}"
    )


@cache
def _selection(table: type[Table], columns: tuple[str, ...], same: tuple[str, ...], among: str) -> str:
    """
    The statement that reads rows: the values that all have, then an array of those of which each has one.
    """
    conditions = [f"{name} = ${number}" for number, name in enumerate(same, 1)]
    conditions.append(f"{among} = ANY(${len(same) + 1})")
    return f"SELECT {', '.join(columns)} FROM {table._meta.tablename} WHERE {' AND '.join(conditions)}"


def _lock_number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"edictum-console:{name}".encode()).digest()[:8], "big", signed=True)


@contextmanager
def _reaching() -> Iterator[None]:
    """
    Say in the console's own words that Postgres is not there.
    """
    try:
        yield
    except _LOST as error:
        if isinstance(error, ValueError):
            raise  # a value that the driver cannot send: our mistake, which trying again does not mend
        raise UnavailableError("the database cannot be reached at the moment", "database_unavailable") from error
