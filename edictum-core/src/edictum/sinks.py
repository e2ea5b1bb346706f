"""
Sinks of the decision log: in memory, several at once, standard output, and a file.

Every sink raises when it cannot record an event.  Who emits decides what that means: on the way to a tool
the call is blocked.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from edictum.audit import AuditAction, AuditEvent, AuditSink, EventParts, to_json_line
from edictum.errors import MarkEvictedError

if TYPE_CHECKING:
    from edictum.redaction import RedactionPolicy

if sys.platform != "win32":
    import fcntl


class CollectingAuditSink:
    """
    Keeps the newest events in memory.

    Safe to use from several threads and event loops.

    Args:
        max_events: How many events are held; older ones are dropped.

    Raises:
        ValueError: ``max_events`` is below 1.
    """

    __slots__ = ("_dropped", "_events", "_lock", "_max_events")

    def __init__(self, max_events: int = 50_000) -> None:
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}; a collecting sink holds at least 1 event")
        # Parts until somebody reads them: most events of a guard without other sinks are never read.
        self._events: deque[AuditEvent | EventParts] = deque()
        self._max_events = max_events
        self._dropped = 0  # how many came before the oldest one held
        self._lock = threading.Lock()  # not needed to append, which a deque does in one step

    async def emit(self, event: AuditEvent) -> None:
        """
        Hold the event, dropping the oldest one when full.
        """
        self.collect(event)

    def collect(self, event: AuditEvent | EventParts) -> None:
        """
        :meth:`emit` for callers that need not wait.
        """
        events = self._events
        events.append(event)
        if len(events) > self._max_events:
            with self._lock:
                self._drop(self._max_events)

    @property
    def events(self) -> list[AuditEvent]:
        """
        A new list of the events held, oldest first.
        """
        with self._lock:
            return self._read(0)

    def mark(self) -> int:
        """
        A point in time for :meth:`since_mark`: how many events were ever emitted.
        """
        with self._lock:
            return self._dropped + len(self._events)

    def since_mark(self, mark: int) -> list[AuditEvent]:
        """
        Events emitted after a mark.

        Args:
            mark: What :meth:`mark` returned.

        Returns:
            The events, oldest first.

        Raises:
            MarkEvictedError: Some of these events are no longer held.
            ValueError: The mark is negative or lies in the future, so it is not from this sink.
        """
        with self._lock:
            dropped = self._dropped
            total = dropped + len(self._events)
            if not 0 <= mark <= total:
                raise ValueError(f"mark {mark} is not from this sink, which has seen {total} events")
            if mark < dropped:
                raise MarkEvictedError(
                    f"events {mark} to {dropped - 1} are no longer held; read more often, or raise max_events"
                )
            return self._read(mark - dropped)

    def last(self) -> AuditEvent:
        """
        The newest event.

        Raises:
            IndexError: No event is held.
        """
        with self._lock:
            if not self._events:
                raise IndexError("no events are held")
            return self._read(len(self._events) - 1)[0]

    def filter(self, action: AuditAction | str) -> list[AuditEvent]:
        """
        Held events with an action.

        Args:
            action: The action, or its name in either vocabulary of :class:`AuditAction`.

        Raises:
            ValueError: No such action.
        """
        wanted = AuditAction(action)
        return [event for event in self.events if event.action == wanted]

    def clear(self) -> None:
        """
        Forget the events held.  Marks taken before count as evicted, because the total goes on.
        """
        with self._lock:
            self._drop(0)

    def _drop(self, keep: int) -> None:
        while len(self._events) > keep:
            self._events.popleft()
            self._dropped += 1

    def _read(self, start: int) -> list[AuditEvent]:
        held = list(self._events)[start:]  # copied in one step, because others may append meanwhile
        events = [event if isinstance(event, AuditEvent) else AuditEvent.from_parts(event) for event in held]
        for at, event in enumerate(events, start):
            self._events[at] = event
        return events


class CompositeSink:
    """
    Sends each event to several sinks, one after the other.

    A failing sink does not keep the event from the others.  A cancelled task stops at the sink that it
    waits for, so put sinks that answer at once (memory, file) before those that wait for a network.

    Args:
        sinks: The sinks, in the order in which they get an event.

    Raises:
        ValueError: The list is empty.
    """

    __slots__ = ("_sinks",)

    def __init__(self, sinks: Sequence[AuditSink]) -> None:
        if not sinks:
            raise ValueError("a composite sink needs at least one sink, or events would vanish")
        self._sinks = tuple(sinks)

    @property
    def sinks(self) -> list[AuditSink]:
        """
        A new list of the sinks.
        """
        return list(self._sinks)

    async def emit(self, event: AuditEvent) -> None:
        """
        Give the event to every sink.

        Raises:
            ExceptionGroup: What the failing sinks raised, after all were tried.
        """
        failures: list[Exception] = []
        for sink in self._sinks:
            try:
                await sink.emit(event)
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(self._sinks)} audit sinks failed", failures)


class StdoutAuditSink:
    """
    Prints each event as one line of JSON on standard output, at once.

    Args:
        redaction: A policy of this sink's own, applied on top of the redaction that events arrive with.
    """

    __slots__ = ("_redaction",)

    def __init__(self, redaction: RedactionPolicy | None = None) -> None:
        self._redaction = redaction

    async def emit(self, event: AuditEvent) -> None:
        """
        Write the line and flush it.

        Raises:
            OSError: Standard output is closed or full.
        """
        # Looked up for each event because programs and test runners redirect it.
        stream = sys.stdout
        if stream is None:
            raise OSError("this process has no standard output; use another audit sink")
        line = _line(event, self._redaction)
        try:
            stream.write(line)
        except UnicodeEncodeError:
            # Nothing was written.  A terminal without UTF-8 still gets the event, in ASCII.
            stream.write(json.dumps(json.loads(line), separators=(",", ":")) + "\n")
        stream.flush()


class FileAuditSink:
    """
    Appends each event as one line of JSON to a file, which is held open.

    Several processes may append to the same file: a line is one write at the end of the file, so lines
    never interleave.  The write happens inside ``emit``, on the event loop, because handing a line to the
    operating system takes a few microseconds and a hop to a thread many times that.  From then on the line
    survives the end of the process, even ``kill -9``, but not a power cut: ``fsync=True`` waits for the disk,
    in a thread.  Use it on a network file system too, where a write itself may hang.

    New files are ``0600``; an existing file keeps its mode, with a warning in the log when other users may
    read it or its group may write it.  When another program moves the file away, the next event starts a
    new one.

    With ``max_bytes`` the file is rotated before a line would make it longer: ``path`` becomes ``path.1``,
    which becomes ``path.2``, and what was ``path.<backups>`` is deleted.  Processes that share the path must
    be given the same limits.  They take turns by an advisory lock on ``path.lock``, so that none writes to a
    file that another has just deleted.  Windows has no such lock and refuses to rename a file that another
    process holds open: rotate there only from a single process.

    Args:
        path: The file; its folder must exist.
        redaction: A policy of this sink's own, applied on top of the redaction that events arrive with.
        max_bytes: Size at which the file is rotated; None never rotates.  A single line may be longer.
        backups: How many rotated files are kept.
        fsync: Whether to wait until the disk has the line.

    Raises:
        ValueError: ``max_bytes`` or ``backups`` is below 1.
    """

    # On the class, because __del__ also runs when __init__ raises or was called wrongly.
    _fd: int | None = None
    _lock_fd: int | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        redaction: RedactionPolicy | None = None,
        *,
        max_bytes: int | None = None,
        backups: int = 5,
        fsync: bool = False,
    ) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}; give at least 1, or None to never rotate")
        if backups < 1:
            raise ValueError(f"backups is {backups}; keep at least 1, or rotation would delete the log")
        self._path = os.path.abspath(path)
        self._redaction = redaction
        self._max_bytes = max_bytes
        self._backups = backups
        self._fsync = fsync
        self._file_id: tuple[int, int] | None = None
        self._lock = threading.Lock()
        _file_sinks.add(self)

    @property
    def path(self) -> str:
        """
        Absolute path of the file.
        """
        return self._path

    async def emit(self, event: AuditEvent) -> None:
        """
        Append the event.

        Raises:
            OSError: The file cannot be opened, written or rotated.  The next event opens it afresh.
        """
        line = _line(event, self._redaction).encode()
        if self._fsync:
            import asyncio

            await asyncio.to_thread(self._append, line)
        else:
            self._append(line)

    def close(self) -> None:
        """
        Give the file handle back.  An event that comes later is still recorded: it opens the file again.
        """
        with self._lock:
            self._close_handles()

    async def aclose(self) -> None:
        """
        The same as :meth:`close`, for code that closes its sinks with ``await``.
        """
        self.close()

    def __del__(self) -> None:
        self._close_handles()

    def _append(self, line: bytes) -> None:
        with self._lock:
            try:
                if self._max_bytes is None:
                    self._write(self._current_file(), line)
                else:
                    self._append_in_turn(line, self._max_bytes)
            except OSError:
                # Perhaps half a line was written.  Opening the file again repairs that, see _open_file.
                self._close_handles()
                raise

    def _append_in_turn(self, line: bytes, max_bytes: int) -> None:
        """
        Append while no other process appends or rotates.
        """
        self._take_turn()
        try:
            fd = self._current_file()
            facts = os.fstat(fd)
            if stat.S_ISREG(facts.st_mode) and 0 < facts.st_size > max_bytes - len(line):
                self._rotate()
                fd = self._current_file()
            self._write(fd, line)
        finally:
            self._end_turn()

    def _write(self, fd: int, line: bytes) -> None:
        written = os.write(fd, line)
        while written < len(line):
            # The disk filled up or a limit was hit; the next attempt either goes on or says what is wrong.
            written += os.write(fd, line[written:])
        if self._fsync:
            os.fsync(fd)

    def _current_file(self) -> int:
        """
        Descriptor of the file that ``path`` names now, which another process may have replaced.
        """
        if self._fd is not None:
            try:
                facts = os.stat(self._path)
            except FileNotFoundError:
                facts = None
            if facts is not None and (facts.st_dev, facts.st_ino) == self._file_id:
                return self._fd
            self._close_file()
        return self._open_file()

    def _open_file(self) -> int:
        # Python makes descriptors close-on-exec by itself.  O_BINARY exists only on Windows.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._fd = _open(self._path, flags)
        facts = os.fstat(self._fd)
        self._file_id = (facts.st_dev, facts.st_ino)
        if stat.S_ISREG(facts.st_mode):
            self._warn_of_readers(facts.st_mode)
            if facts.st_size and not _ends_with_newline(self._path):
                # A writer died or ran out of space within a line: keep the next line apart from the rest.
                os.write(self._fd, b"\n")
            if self._fsync:
                _sync_folder(os.path.dirname(self._path))
        return self._fd

    def _warn_of_readers(self, mode: int) -> None:
        # Reading by the group is left alone: it is how log shippers are usually given access.
        if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IRWXO):
            import logging

            logging.getLogger(__name__).warning(
                "audit file %r has mode %04o, so other users can get at the decision log; "
                "restrict it with chmod 0600 (or 0640 for a log shipper)",
                self._path,
                stat.S_IMODE(mode),
            )

    def _rotate(self) -> None:
        self._close_file()
        for number in range(self._backups - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        os.replace(self._path, f"{self._path}.1")

    def _take_turn(self) -> None:
        if sys.platform != "win32":
            if self._lock_fd is None:
                self._lock_fd = _open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)

    def _end_turn(self) -> None:
        if sys.platform != "win32" and self._lock_fd is not None:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _close_handles(self) -> None:
        self._close_file()
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)

    def _forget_parent(self) -> None:
        """
        Start afresh in a forked child.

        The thread lock may have been held at the fork by a thread that the child does not have, and a file
        lock on an inherited descriptor is shared with the parent, so it would not make them take turns.
        """
        self._lock = threading.Lock()
        self._close_handles()


_file_sinks: weakref.WeakSet[FileAuditSink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_file_sinks):
        sink._forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _line(event: AuditEvent, redaction: RedactionPolicy | None) -> str:
    if redaction is None:
        return event.to_json() + "\n"
    return to_json_line(redaction.cap_payload(redaction.redact_tree(event.to_dict()))) + "\n"


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError as error:
        folder = os.path.dirname(path)
        message = f"the folder {folder!r} of the audit file does not exist; create it first"
        raise FileNotFoundError(error.errno, message, path) from error


def _ends_with_newline(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:
        # A log that may be appended to but not read.  An empty line does no harm, a joined one does.
        return False


def _sync_folder(folder: str) -> None:
    """
    Make a new name in a folder survive a power cut; the data alone is not enough.
    """
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
