"""
What both databases do in the same way: binding tables, transactions, and what happens after a commit.

A transaction belongs to the task that opened it.  Piccolo finds the open one through a context variable, which a task
started meanwhile inherits; its rows would be lost or kept with a transaction that it knows nothing of.  So a query from
another task than the owner's is an error here.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

from piccolo.engine.base import Engine
from piccolo.querystring import QueryString
from piccolo.table import Table

logger = logging.getLogger(__name__)

TableT = TypeVar("TableT", bound=Table)
T = TypeVar("T")
AfterCommit: TypeAlias = Callable[[], Awaitable[None]]


class OpenTransaction:
    """
    A transaction that is going on.

    Attributes:
        connection: The driver's connection that it runs on; Piccolo's engines look for this attribute.
    """

    __slots__ = ("_after_commit", "_owner", "connection")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._owner = asyncio.current_task()
        self._after_commit: dict[object, AfterCommit] = {}

    def check_owner(self) -> None:
        """
        Refuse a query of a task that only inherited the transaction.

        Raises:
            RuntimeError: Another task opened it.
        """
        if asyncio.current_task() is not self._owner:
            raise RuntimeError("a task that was started inside a transaction must not use the database")

    def after_commit(self, key: object, callback: AfterCommit) -> None:
        """
        Call something once the transaction is committed; the same key is called once.
        """
        self._after_commit.setdefault(key, callback)

    async def tell_committed(self) -> None:
        """
        Call what waits for the commit.  These are hints, so their failures are logged and end nothing.
        """
        for callback in self._after_commit.values():
            try:
                await callback()
            except Exception:
                logger.warning("what follows a commit failed; readers will notice the change by their timers")


class Database(ABC):
    """
    One open database.
    """

    dialect: Literal["sqlite", "postgres"]

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._bound: dict[type[Table], type[Table]] = {}
        self._current: ContextVar[OpenTransaction | None] = engine.current_transaction

    @abstractmethod
    async def open(self) -> None:
        """
        Connect.

        Raises:
            StartError: The database cannot be used.
        """

    @abstractmethod
    async def join(self) -> None:
        """
        Connect beside a console that may be running, for a command; nothing is made that is not there.

        Raises:
            StartError: The database cannot be used, or is not there.
        """

    @abstractmethod
    async def close(self) -> None:
        """
        Give all connections back.
        """

    @abstractmethod
    def _begin(self) -> AbstractAsyncContextManager[OpenTransaction]:
        """
        Begin a transaction; commit it, or roll it back on any exception.
        """

    @abstractmethod
    async def now(self) -> datetime:
        """
        The time, from the one clock that all replicas share.
        """

    @abstractmethod
    async def lock(self, *names: str) -> None:
        """
        Keep all others that ask for one of these names out until the end of the transaction.
        """

    @abstractmethod
    def alone(self, name: str) -> AbstractAsyncContextManager[None]:
        """
        Keep all other processes that ask for this name out meanwhile, over many transactions; they wait.

        A process that ends, in whatever way, keeps nobody out any more.

        Raises:
            UnavailableError: Nobody can be told at the moment.
        """

    @abstractmethod
    async def claim(self, alone: bool) -> None:
        """
        Say, until it is closed, whether this process counts on being the only one.

        Raises:
            StartError: Another one does, or this one would not be.
        """

    @abstractmethod
    async def keep_claim(self) -> None:
        """
        Say it again, if what was said is lost.

        Raises:
            StartError: Meanwhile another one says otherwise.
            UnavailableError: Nobody can be told at the moment.
        """

    @abstractmethod
    async def table_names(self) -> set[str]:
        """
        The tables that there are.
        """

    @abstractmethod
    async def insert_new(
        self, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]], shared: Mapping[str, Any]
    ) -> list[UUID]:
        """
        Insert many rows at once, but for those that are there already; much faster than one object for each row.

        Args:
            table: The table.
            columns: The columns in which rows differ, the first of which is ``id``.
            rows: Their values, in an order that all who insert keep to, so that none waits for another in a circle.
            shared: The values that all rows have, by the names of their columns.

        Returns:
            The ids of the rows that were not there.

        Raises:
            RuntimeError: No transaction is open.
        """

    @abstractmethod
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

        Args:
            table: The table.
            columns: The columns in which rows differ.
            rows: Their values, in an order that all who insert keep to.
            shared: The values that all rows have, by the names of their columns.
            update: What follows ``ON CONFLICT`` in the statement.

        Raises:
            RuntimeError: No transaction is open.
        """

    @abstractmethod
    async def select_among(
        self, table: type[Table], columns: Sequence[str], same: Mapping[str, Any], among: str, values: Sequence[Any]
    ) -> Sequence[Mapping[str, Any]]:
        """
        Read rows by a statement that is prepared once; much faster than a query that is put together for each use.

        Args:
            table: The table.
            columns: What is read.
            same: Values that the rows have, by the names of their columns.
            among: A column of which each row has one of some values.
            values: These values.
        """

    @abstractmethod
    async def keep_partitions(self, table: type[Table], partitions: Mapping[str, tuple[int, int]], oldest: int) -> None:
        """
        Make parts of a table that is divided by ``day``, and drop those that are over; nothing where none is divided.

        Args:
            table: The table.
            partitions: Parts that there must be: for each name, its first day and the first day after it.
            oldest: The first day that is kept; parts that end before it are dropped with all that is in them.
        """

    @abstractmethod
    async def days_without_partition(self, table: type[Table]) -> list[int]:
        """
        The days of rows that came before there was a part for them; none where no table is divided.
        """

    async def ping(self) -> None:
        """
        Ask for an answer.

        Raises:
            UnavailableError: There is none.
        """
        await self.fetch("SELECT 1")

    def connections(self) -> Mapping[str, int]:
        """
        How many connections there are, by whether they are used; nothing where there is no pool of them.
        """
        return {}

    def table(self, table: type[TableT]) -> type[TableT]:
        """
        Return a table bound to this database.
        """
        bound = self._bound.get(table)
        if bound is None:
            bound = type(table.__name__, (table,), {}, tablename=table._meta.tablename, db=self._engine)
            self._bound[table] = bound
        return bound  # type: ignore[return-value]  # made of it just above

    def in_transaction(self) -> bool:
        """
        Whether this task is inside a transaction.
        """
        return self._current.get() is not None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """
        Do everything inside or nothing.  There are no transactions in transactions.
        """
        if self.in_transaction():
            raise RuntimeError(
                "a transaction is already open; a service calls another one's methods before or after it"
            )
        async with self._begin() as transaction:
            token = self._current.set(transaction)
            try:
                yield
            finally:
                self._current.reset(token)

    def require_transaction(self) -> OpenTransaction:
        """
        Return the open transaction, for what must be done together with something else.

        Raises:
            RuntimeError: None is open.
        """
        transaction = self._current.get()
        if transaction is None:
            raise RuntimeError("this is recorded or announced together with a change, never outside a transaction")
        return transaction

    def after_commit(self, key: object, callback: AfterCommit) -> None:
        """
        Call something after the transaction that is open.

        Raises:
            RuntimeError: None is open.
        """
        self.require_transaction().after_commit(key, callback)

    async def fetch(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """
        Run one statement with ``{}`` for each value; for what Piccolo cannot express.
        """
        rows = await self._engine.run_querystring(QueryString(sql, *values))
        return [dict(row) for row in rows or ()]


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """
    Await something that must not be left half done, also while this task is being cancelled.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            break
    if cancelled is not None and not task.cancelled():
        task.exception()  # so that nobody complains that it was never looked at
        raise cancelled
    return task.result()
