"""
The embedded database: one file, one process, one connection.

Piccolo's own engine opens a connection, and with it a thread, for each query, and under load loses writes to "database
is locked".  Here one connection is used for everything, one statement or transaction after the other, with write-ahead
logging and immediate transactions.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import aiosqlite
from asyncpg.pgproto import pgproto
from piccolo.engine.sqlite import SQLiteEngine, dict_factory
from piccolo.querystring import QueryString
from piccolo.table import Table

from edictum_console.db.database import Database, OpenTransaction, to_the_end
from edictum_console.errors import StartError, UnavailableError

_KEPT = "journal_mode = wal"  # in the file, until somebody asks for another one
# Synchronous stays at "full": an event that was acknowledged survives a power failure.
_PRAGMAS = ("synchronous = full", "foreign_keys = on", "busy_timeout = 5000")

_ROWS_OF_STATEMENT = 200

# Piccolo says how Python's own is written; ids are made by one that is equal to it and faster.
sqlite3.register_adapter(pgproto.UUID, str)


class _Engine(SQLiteEngine):
    """
    Runs every query of Piccolo on the one connection.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path=str(path))
        self.gate = asyncio.Lock()
        self.connection: aiosqlite.Connection | None = None

    def opened(self) -> aiosqlite.Connection:
        """
        The connection.
        """
        if self.connection is None:
            raise RuntimeError("the database is not open")
        return self.connection

    async def run_querystring(self, querystring: QueryString, in_pool: bool = False) -> Any:
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
        if transaction is not None:
            transaction.check_owner()
            return await self._execute(query, values)
        async with self.gate:
            return await self._execute(query, values)

    async def _execute(self, query: str, values: Sequence[Any]) -> Any:
        try:
            return await self.opened().execute_fetchall(query, values)
        except sqlite3.OperationalError as error:
            raise _unavailable(error) from error


class SqliteDatabase(Database):
    """
    A SQLite file that belongs to this process; commands join it for a moment.

    Who joins has a connection beside that of the process.  Each change of either is one immediate transaction or one
    statement, for which the other one waits.
    """

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._sqlite = _Engine(path)
        super().__init__(self._sqlite)

    async def open(self) -> None:
        """
        Connect, as the only process.

        Raises:
            StartError: The file cannot be used, or another process uses it.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # before SQLite makes it readable for all
            await self._connect(_KEPT, *_PRAGMAS)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    async def join(self) -> None:
        """
        Connect, without being the only process.

        Raises:
            StartError: The file is not there, or cannot be used.
        """
        if not self._path.is_file():
            raise StartError(
                f"there is no database {self._path}; is EDICTUM_DATA_DIR the folder of the console? "
                "To make it, run: edictum-console migrate"
            )
        try:
            await self._connect(*_PRAGMAS)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    async def _connect(self, *pragmas: str) -> None:
        connection = await aiosqlite.connect(**self._sqlite.connection_kwargs)
        connection.row_factory = dict_factory  # type: ignore[assignment]  # as Piccolo does
        self._sqlite.connection = connection  # which is closed also where the file turns out to be none of SQLite's
        for pragma in pragmas:
            await connection.execute(f"PRAGMA {pragma}")

    def _unusable(self, error: Exception) -> StartError:
        return StartError(f"the database {self._path} cannot be used: {error}")

    def _take_lock(self) -> None:
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StartError(
                f"another console uses {self._path}; stop it, or set EDICTUM_DATABASE_URL and EDICTUM_REDIS_URL "
                "to run several"
            ) from None
        self._lock = lock

    async def close(self) -> None:
        """
        Close the file and let others have it.
        """
        async with self._sqlite.gate:
            if self._sqlite.connection is not None:
                await to_the_end(self._sqlite.connection.close())
                self._sqlite.connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[OpenTransaction]:
        async with self._sqlite.gate:
            connection = self._sqlite.opened()
            transaction = OpenTransaction(connection)
            try:
                await _control(connection, "BEGIN IMMEDIATE")
                yield transaction
                await _control(connection, "COMMIT")
            except BaseException:
                # A commit that failed leaves the transaction open; one that was cancelled may have gone through.
                if connection.in_transaction:
                    await _control(connection, "ROLLBACK")
                raise
        await transaction.tell_committed()

    async def now(self) -> datetime:
        """
        The time of this machine, on which the only process runs.
        """
        return datetime.now(UTC)

    async def lock(self, *names: str) -> None:
        """
        Nothing: a transaction here has the whole database for itself.
        """

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """
        Nothing: whoever opened the file is alone.
        """
        yield

    async def claim(self, alone: bool) -> None:
        """
        Nothing: whoever opened the file is alone.
        """

    async def keep_claim(self) -> None:
        """
        Nothing: the file stays open.
        """

    async def insert_new(
        self, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]], shared: Mapping[str, Any]
    ) -> list[UUID]:
        """
        Insert many rows at once, but for those that are there already.
        """
        inserted = await self._insert(table, columns, rows, shared, "DO NOTHING")
        if inserted == len(rows):
            return [row[0] for row in rows]
        # Nobody else writes, so the new rows are the last ones.
        name = table._meta.tablename
        found = await self.fetch(f"SELECT id FROM {name} ORDER BY rowid DESC LIMIT {{}}", inserted)
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
    ) -> int:
        """
        Send many rows in each statement: between two statements the thread that runs them waits for this one.
        """
        transaction = self.require_transaction()
        transaction.check_owner()
        # One mark for each value of each row: Python 3.14 takes no numbered ones, by which rows could share a value.
        marks = f"({', '.join('?' * (len(shared) + len(columns)))})"
        begin = f"INSERT INTO {table._meta.tablename} ({', '.join([*shared, *columns])}) VALUES"
        always, inserted = _plain_values([list(shared.values())]), 0
        for start in range(0, len(rows), _ROWS_OF_STATEMENT):
            part = rows[start : start + _ROWS_OF_STATEMENT]
            statement = f"{begin} {', '.join([marks] * len(part))} ON CONFLICT {on_conflict}"
            try:
                cursor = await transaction.connection.execute(statement, _plain_values(part, always))
            except sqlite3.OperationalError as error:
                raise _unavailable(error) from error
            inserted += cursor.rowcount
        return inserted

    async def select_among(
        self, table: type[Table], columns: Sequence[str], same: Mapping[str, Any], among: str, values: Sequence[Any]
    ) -> Sequence[Mapping[str, Any]]:
        """
        Read rows, many values in each statement.
        """
        same_values = _plain_values([list(same.values())])
        begin = f"SELECT {', '.join(columns)} FROM {table._meta.tablename} WHERE "
        begin += "".join(f"{name} = ? AND " for name in same)
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(values), _ROWS_OF_STATEMENT):
            part = values[start : start + _ROWS_OF_STATEMENT]
            statement = f"{begin}{among} IN ({', '.join('?' * len(part))})"
            found += await self._sqlite.run(statement, [*same_values, *part])
        return found

    async def keep_partitions(self, table: type[Table], partitions: Mapping[str, tuple[int, int]], oldest: int) -> None:
        """
        Nothing: SQLite divides no tables.
        """

    async def days_without_partition(self, table: type[Table]) -> list[int]:
        """
        None: SQLite divides no tables.
        """
        return []

    async def table_names(self) -> set[str]:
        """
        The tables that there are.
        """
        return {row["name"] for row in await self.fetch("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _plain_values(rows: Sequence[Sequence[Any]], always: Sequence[Any] = ()) -> list[Any]:
    """
    Write values in a row as Piccolo does, here rather than by its adapters in the thread, after ``always``.
    """
    columns: list[Sequence[Any]] = [[value] * len(rows) for value in always]
    for column in zip(*rows, strict=True):
        if isinstance(column[0], UUID):
            columns.append(list(map(str, column)))
        elif type(column[0]) is datetime:
            columns.append([str(value.astimezone(UTC)) for value in column])
        else:
            columns.append(column)
    return list(chain.from_iterable(zip(*columns, strict=True)))


async def _control(connection: aiosqlite.Connection, statement: str) -> None:
    try:
        await to_the_end(_run(connection, statement))
    except sqlite3.OperationalError as error:
        raise _unavailable(error) from error


async def _run(connection: aiosqlite.Connection, statement: str) -> None:
    await connection.execute(statement)


def _unavailable(error: sqlite3.OperationalError) -> Exception:
    """
    A busy or full disk is the operator's; a statement that SQLite does not understand is ours.
    """
    if error.sqlite_errorname == "SQLITE_ERROR":
        return error
    return UnavailableError("the database cannot be used at the moment", "database_unavailable")
