"""
Session state in a SQLite file, for several processes on one machine.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from edictum.errors import EdictumConfigError
from edictum.storage import (
    Batch,
    Change,
    NoRoom,
    ReserveResult,
    as_number,
    as_text,
    one_session,
    parse_counter,
    session_of,
)

T = TypeVar("T")

SCHEMA = 1
APPLICATION = 0x45444354  # "EDCT": says in the file's header whose it is
LONGEST_PAUSE = 0.02
SESSIONS_AT_ONCE = 100

_TABLES = (
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, used REAL NOT NULL, live INTEGER NOT NULL) WITHOUT ROWID",
    # Without a declared type a value keeps its own: text stays text, a counter is a number.
    "CREATE TABLE entries (session TEXT, key TEXT, value NOT NULL, PRIMARY KEY (session, key)) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {SCHEMA}",
)
# One statement, because it sees one moment.
_HEADER = (
    "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
    " FROM pragma_application_id, pragma_user_version"
)
_TOUCH = (
    "INSERT INTO sessions VALUES (:session, :now, max(0, :calls))"
    " ON CONFLICT (id) DO UPDATE SET used = :now, live = max(0, live + :calls)"
)


class SqliteBackend:
    """
    Counters and values in a SQLite file that several processes share.

    Limits hold exactly across processes, threads and event loops: a step is one transaction, and one process
    writes at a time.  What a step has answered survives the end of the process, even ``kill -9``; a place that
    a killed call has taken stays taken.  A power cut loses the newest steps, up to some hundred, and as many
    calls could be made again: ``fsync=True`` waits for the disk at each step and loses none.

    A step runs on the event loop: it takes some 50 microseconds, a hop to a thread four times that.  Once in some
    hundred steps SQLite writes its log back, which takes about 10 milliseconds.  While another process writes, the
    loop goes on and the step is tried again, for ``timeout`` seconds; a wait that is cancelled has changed nothing.
    With ``fsync`` steps run in a thread, and one that is cancelled may have taken its place, which stays taken.

    A new file is ``0600``, and so are its ``-wal`` and ``-shm``; an existing one keeps its mode, with a warning
    when other users may get at it.  It must lie on a local disk and stay there: after it was deleted or replaced
    every step raises, because two files would allow twice the calls.

    A session takes up to half a kilobyte and is never forgotten by itself: a program that runs for long calls
    :meth:`purge` now and then.  The room is used again, but the file does not shrink.

    Args:
        path: The file; its folder must exist.
        timeout: How many seconds a step waits for other processes.
        fsync: Whether to wait until the disk has each step.

    Raises:
        ValueError: The path is empty or ``:memory:``, or ``timeout`` is negative.
        EdictumConfigError: The file is no database of this version of edictum.
        OSError: The file cannot be made, or (a ``TimeoutError``) another process keeps it locked.
    """

    # On the class, because __del__ also runs when __init__ raises.
    _db: sqlite3.Connection | None = None

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0, fsync: bool = False) -> None:
        if os.fspath(path) in ("", ":memory:"):
            raise ValueError("a SqliteBackend needs a file; for state of one process use MemoryBackend")
        if not timeout >= 0:
            raise ValueError(f"timeout is {timeout}; give at least 0 seconds")
        self._path = os.path.abspath(path)
        self._timeout = timeout
        self._fsync = fsync
        self._pid = os.getpid()
        # Reentrant, or a signal handler that forks during a step would wait for itself.
        self._lock = threading.RLock()
        self._file_id = _create(self._path)
        with _registering:
            _backends.add(self)
        deadline, pause = time.monotonic() + timeout, 0.0
        while self._db is None:
            try:
                self._attempt(lambda db: None, False)
            except sqlite3.OperationalError as error:
                pause = self._pause_after(error, pause, deadline)
                time.sleep(pause)

    @property
    def path(self) -> str:
        """
        Absolute path of the file.
        """
        return self._path

    async def get(self, key: str) -> str | None:
        """
        The value, a counter as text, or None.
        """
        return as_text(await self._run(lambda db: _read(db, key), write=False))

    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Several values at one moment.
        """
        return await self._run(lambda db: {key: as_text(_read(db, key)) for key in keys}, write=False)

    async def set(self, key: str, value: str) -> None:
        """
        Store a value; numeric text given for a counter replaces the counter.
        """

        def step(db: sqlite3.Connection) -> None:
            number = None if isinstance(_read(db, key), str | None) else as_number(value)
            _write(db, key, value if number is None else number)
            _touch(db, session_of(key))

        await self._run(step)

    async def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
        """
        Store a text if the key still holds the expected one; see :class:`~edictum.storage.SwappingBackend`.
        """

        def step(db: sqlite3.Connection) -> bool:
            if as_text(_read(db, key)) != expected:
                return False
            _write(db, key, value)
            _touch(db, session_of(key))
            return True

        return await self._run(step)

    async def delete(self, key: str) -> None:
        """
        Forget a value or counter.
        """
        await self._run(lambda db: _delete(db, key))

    async def increment(self, key: str, amount: float = 1) -> float:
        """
        Add to a counter and return its new value.

        Raises:
            ValueError: The key holds text that is not a number.
            OverflowError: A whole number would not fit into 64 bits.
        """

        def step(db: sqlite3.Connection) -> float:
            _write(db, key, value := _count(db, key) + amount)
            _touch(db, session_of(key))
            return value

        return await self._run(step)

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        """
        Apply the changes if every limit allows it; see :class:`~edictum.storage.ReservingBackend`.

        Raises:
            ValueError: A key holds text that is not a number, or the keys belong to several sessions.
        """
        batch = one_session(changes)
        writes = bool(batch.steps)  # else it need not wait for those who write
        try:
            return ReserveResult(True, await self._run(lambda db: _reserve(db, batch, writes), write=writes))
        except NoRoom as full:
            return ReserveResult(False, full.values, full.key)

    async def release(self, changes: Sequence[Change]) -> None:
        """
        Give back a reservation whose tool never started.
        """
        batch = one_session(changes)

        def step(db: sqlite3.Connection) -> None:
            for key, amount, _ in batch.changes:
                _write(db, key, max(0, _count(db, key) - amount))
            _touch(db, batch.session_id, -int(batch.limited))

        await self._run(step)

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        """
        Keep a reservation for good; see :class:`~edictum.storage.ReservingBackend`.
        """
        batch = one_session(changes)

        def step(db: sqlite3.Connection) -> None:
            if success:
                _delete(db, failures)
            else:
                _write(db, failures, _count(db, failures) + 1)
            _touch(db, batch.session_id, -1)

        await self._run(step)

    async def forget(self, session_id: str) -> None:
        """
        Remove a session with its counters, even while one of its calls runs.
        """
        await self._run(lambda db: _remove(db, session_id))

    async def purge(self, older_than_seconds: float, *, unfinished: bool = False) -> int:
        """
        Remove the sessions that were not written to for so long; one that is resumed later starts from zero.

        Args:
            older_than_seconds: How long.
            unfinished: Remove those with a running call too, as which a call counts for ever when its process
                was killed; choose an age that no call reaches.

        Returns:
            How many were removed.

        Raises:
            ValueError: The age is negative.
        """
        if not older_than_seconds >= 0:
            raise ValueError(f"older_than_seconds is {older_than_seconds}; give at least 0")
        removed, start, before = 0, "", time.time() - older_than_seconds
        while True:  # in small steps, because others wait meanwhile
            number, following = await self._run(partial(_purge, start=start, before=before, unfinished=unfinished))
            removed += number
            if following is None:
                return removed
            start = following

    def close(self) -> None:
        """
        Close the file.  A step that comes later opens it again.
        """
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                db, self._db = self._db, None
                db.close()

    async def aclose(self) -> None:
        """
        The same as :meth:`close`, for code that closes its backends with ``await``.
        """
        self.close()

    def __del__(self) -> None:
        if self._db is not None:
            self.close()

    async def _run(self, step: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        """
        Take a step, and wait while another process writes.
        """
        deadline, pause = time.monotonic() + self._timeout, 0.0
        while True:
            try:
                if not self._fsync:
                    return self._attempt(step, write)
                import asyncio

                return await asyncio.to_thread(self._attempt, step, write)
            except sqlite3.OperationalError as error:
                pause = self._pause_after(error, pause, deadline)
            import asyncio  # here, because a synchronous caller needs no event loop while nobody else writes

            await asyncio.sleep(pause)

    def _pause_after(self, error: sqlite3.OperationalError, pause: float, deadline: float) -> float:
        if not _is_busy(error):
            raise error
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(
                f"{self._path!r} was locked for {self._timeout:g} s; end the program that holds a transaction open"
                " (a backup, a database shell), or give a larger timeout"
            ) from error
        return min(2 * pause or 0.0005, LONGEST_PAUSE, left)

    def _attempt(self, step: Callable[[sqlite3.Connection], T], write: bool) -> T:
        with self._lock:
            db = self._connection()
            try:
                # A transaction that turned from reading to writing would fail if another wrote in between.
                db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                result = step(db)
                db.execute("COMMIT")
            except BaseException:
                try:
                    db.rollback()
                except sqlite3.Error:
                    self.close()  # which undoes it too
                raise
            return result

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._pid = os.getpid()
            self._db = _open(self._path, self._fsync)
        elif self._pid != os.getpid():
            raise OSError(f"{self._path!r} was open during a fork that Python did not see; open it after the fork")
        facts = os.stat(self._path)
        if (facts.st_dev, facts.st_ino) != self._file_id:
            raise OSError(f"{self._path!r} was replaced while in use; restart all programs that use it")
        if self._db.in_transaction:  # an interrupt hit the line before
            self._db.rollback()
        return self._db


def _create(path: str) -> tuple[int, int]:
    """
    Make the file if there is none, private from the first moment, and return its identity.
    """
    try:
        # Never open an existing one: closing it again would drop the locks that this process has on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        message = f"the folder {os.path.dirname(path)!r} of the session state does not exist; create it first"
        raise FileNotFoundError(error.errno, message, path) from error
    facts = os.stat(path)
    if os.name == "posix" and facts.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        logging.getLogger(__name__).warning(
            "session state %r has mode %04o, so other users can get at it; restrict it with chmod 0600",
            path,
            stat.S_IMODE(facts.st_mode),
        )
    return facts.st_dev, facts.st_ino


def _open(path: str, fsync: bool) -> sqlite3.Connection:
    db: sqlite3.Connection | None = None
    try:
        # As a URI with a mode, or a missing file would be made, for everybody to read.
        uri = Path(path).as_uri() + "?mode=rw"
        db = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
        db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        fresh = _is_empty(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        if fresh:
            db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES if _is_empty(db, path) else ():  # another process may have been faster
                db.execute(statement)
            db.execute("COMMIT")
        return db
    except BaseException as error:
        if db is not None:
            db.close()
        if not isinstance(error, sqlite3.Error) or _is_busy(error):
            raise
        raise EdictumConfigError(
            f"{path!r} cannot be used for session state: {error}; restore the file, or give another path"
        ) from error


def _is_empty(db: sqlite3.Connection, path: str) -> bool:
    owner, version, tables = db.execute(_HEADER).fetchone()
    if (owner, version, tables) == (0, 0, 0):
        return True
    if owner != APPLICATION:
        raise EdictumConfigError(f"{path!r} is a database of another program; give another path")
    if version != SCHEMA:
        raise EdictumConfigError(
            f"{path!r} has schema {version} of a newer edictum, this one knows {SCHEMA}; upgrade, or give another path"
        )
    return False


def _is_busy(error: sqlite3.Error) -> bool:
    # Errors that the module itself raises have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _read(db: sqlite3.Connection, key: str) -> str | float | None:
    row = db.execute("SELECT value FROM entries WHERE session = ? AND key = ?", (session_of(key), key)).fetchone()
    return None if row is None else row[0]


def _count(db: sqlite3.Connection, key: str) -> float:
    value = _read(db, key)
    return parse_counter(key, value) if isinstance(value, str | None) else value


def _write(db: sqlite3.Connection, key: str, value: str | float) -> None:
    db.execute("REPLACE INTO entries VALUES (?, ?, ?)", (session_of(key), key, value))


def _delete(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM entries WHERE session = ? AND key = ?", (session_of(key), key))


def _touch(db: sqlite3.Connection, session_id: str, calls: int = 0) -> None:
    """
    Note that a session is used, and how many more of its calls run.
    """
    db.execute(_TOUCH, {"session": session_id, "now": time.time(), "calls": calls})


def _reserve(db: sqlite3.Connection, batch: Batch, writes: bool) -> Sequence[float]:
    before = [_count(db, key) for key in batch.keys]
    after = before.copy()
    for place, key, amount, most in batch.steps:
        after[place] += amount
        if after[place] > most:
            raise NoRoom(before, key)
    for place, key, amount, _ in batch.steps:
        if amount:
            _write(db, key, after[place])
    if writes:
        _touch(db, batch.session_id, int(batch.limited))
    return after


def _remove(db: sqlite3.Connection, session_id: str) -> None:
    db.execute("DELETE FROM entries WHERE session = ?", (session_id,))
    db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


def _purge(db: sqlite3.Connection, *, start: str, before: float, unfinished: bool) -> tuple[int, str | None]:
    """
    Remove old ones among some sessions, and return how many and the id to go on with.
    """
    query = "SELECT id, used, live FROM sessions WHERE id >= ? ORDER BY id LIMIT ?"
    rows = db.execute(query, (start, SESSIONS_AT_ONCE + 1)).fetchall()
    old = [name for name, used, live in rows[:SESSIONS_AT_ONCE] if used < before and (unfinished or not live)]
    for session_id in old:
        _remove(db, session_id)
    return len(old), rows[-1][0] if len(rows) > SESSIONS_AT_ONCE else None


_backends: weakref.WeakSet[SqliteBackend] = weakref.WeakSet()
_registering = threading.RLock()
_forking: list[SqliteBackend] = []


def _before_fork() -> None:
    """
    Close every connection.

    Opening another one in the child is not enough: SQLite takes the locks of the parent, which it remembers,
    for its own, so the parent's last ``close`` throws away what the child commits afterwards.
    """
    _registering.acquire()
    _forking.extend(_backends)
    for backend in _forking:
        backend._lock.acquire()
        backend.close()


def _after_fork_in_parent() -> None:
    for backend in _forking:
        backend._lock.release()
    _forking.clear()
    _registering.release()


def _after_fork_in_child() -> None:
    global _registering
    for backend in _forking:
        backend._lock = threading.RLock()
    _forking.clear()
    _registering = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
