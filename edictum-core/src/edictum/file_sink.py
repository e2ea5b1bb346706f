"""
The decision log in a file: JSON lines, for one process or several, with rotation and a hash chain.
"""

from __future__ import annotations

import os
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from edictum.audit import AuditEvent, log_line
from edictum.file_lock import FileLock

if TYPE_CHECKING:
    from edictum.hash_chain import ChainWriter
    from edictum.redaction import RedactionPolicy

# Waiting for another process.  It holds the lock for some ten microseconds, which is a few turns of the event loop;
# if that was not enough, it has lost the processor or waits for the disk.
TURNS_AT_ONCE = 10
SHORTEST_PAUSE = 0.0005
LONGEST_PAUSE = 0.01

# How much of the end of a file is looked at; the end of a link must fit in.
TAIL_BYTES = 256


class FileAuditSink:
    """
    Appends each event as one line of JSON to a file, which is held open.

    The write happens inside ``emit``, on the event loop, because handing a line to the operating system takes a few
    microseconds and a hop to a thread many times that.  From then on the line survives the end of the process, even
    ``kill -9``, but not a power cut: ``fsync=True`` waits for the disk, in a thread.  Use it on a network file
    system too, where a write itself may hang.

    For several processes on one machine use ``shared``.  (Without it a line is still one write at the end of the
    file, so on a local disk of a POSIX system lines never interleave.  But when one process is killed or finds the
    disk full within a line, the next line of another one is joined to it.)

    With ``shared``, ``max_bytes`` or ``hash_chain`` writers take turns by an advisory lock on ``path.lock``, and
    whoever comes next closes an unfinished line off.  All must be given the same options and belong to the same
    user.  While another process has its turn, the event loop goes on, and the event is tried again, for ``timeout``
    seconds; a wait that is cancelled has written nothing (with ``fsync`` a line under way is finished).  Do not
    delete the lock file while the log is in use.

    With ``max_bytes`` the file is rotated before a line would make it longer: ``path`` becomes ``path.1``, which
    becomes ``path.2``, and what was ``path.<backups>`` is deleted.  On Windows no other program may hold the files
    open meanwhile.

    With ``hash_chain`` every line carries ``prev_hash`` and ``hash``, see :mod:`edictum.hash_chain`, and
    ``edictum audit verify`` finds lines that were changed, removed, inserted or moved.  The chain goes on from what
    the file, or else the rotated one before it, ends with.

    New files are ``0600``; an existing file keeps its mode, with a warning in the log when other users may read it
    or its group may write it.  When another program moves the file away, the next event starts a new one.

    Args:
        path: The file; its folder must exist.
        redaction: A policy of this sink's own, applied on top of the redaction that events arrive with.
        shared: Take turns with other processes also without ``max_bytes`` and ``hash_chain``.
        max_bytes: Size at which the file is rotated; None never rotates.  A single line may be longer.
        backups: How many rotated files are kept.
        hash_chain: Whether lines are chained.
        fsync: Whether to wait until the disk has the line.
        timeout: How many seconds an event waits for its turn.

    Raises:
        ValueError: ``max_bytes`` or ``backups`` is below 1, or ``timeout`` is negative.
    """

    # On the class, because __del__ also runs when __init__ raises or was called wrongly.
    _fd: int | None = None
    _turn: FileLock | None = None
    _chain: ChainWriter | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        redaction: RedactionPolicy | None = None,
        *,
        shared: bool = False,
        max_bytes: int | None = None,
        backups: int = 5,
        hash_chain: bool = False,
        fsync: bool = False,
        timeout: float = 5.0,
    ) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}; give at least 1, or None to never rotate")
        if backups < 1:
            raise ValueError(f"backups is {backups}; keep at least 1, or rotation would delete the log")
        if not timeout >= 0:
            raise ValueError(f"timeout is {timeout}; give at least 0 seconds")
        self._path = os.path.abspath(path)
        if shared or hash_chain or max_bytes is not None:
            # Who comes through a link and who does not must meet at the same lock.
            self._path = os.path.realpath(self._path)
            self._turn = FileLock(f"{self._path}.lock")
        self._redaction = redaction
        self._max_bytes = max_bytes
        self._backups = backups
        if hash_chain:
            from edictum.hash_chain import ChainWriter

            self._chain = ChainWriter()
        self._fsync = fsync
        self._timeout = timeout
        self._file_id: tuple[int, int] | None = None
        self._is_regular = True
        self._end = -1  # size of the file after this sink's last line; differs when others wrote since
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
            OSError: The file cannot be opened, read, written or rotated, or (a ``TimeoutError``) other processes
                did not give their turn back.  The next event opens the file afresh.
        """
        text = log_line(event, self._redaction).encode()
        if self._fsync or not self._try_append(text):
            await self._keep_trying(text)

    def close(self) -> None:
        """
        Give the file handles back.  An event that comes later is still recorded: it opens the file again.
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

    # --- taking turns ----------------------------------------------------------------------------

    async def _keep_trying(self, text: bytes) -> None:
        import asyncio  # here, because a synchronous caller needs no event loop while nobody else writes

        deadline = time.monotonic() + self._timeout
        tries = 0
        while True:
            done = await asyncio.to_thread(self._try_append, text) if self._fsync else self._try_append(text)
            if done:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"'{self._path}.lock' was locked for {self._timeout:g} s; a process that was stopped or waits for "
                    "its disk holds it: end that process, or give a larger timeout"
                )
            tries += 1
            pause = 0.0 if tries < TURNS_AT_ONCE else SHORTEST_PAUSE * 2.0 ** min(tries - TURNS_AT_ONCE, 10)
            await asyncio.sleep(min(pause, LONGEST_PAUSE, left))

    def _try_append(self, text: bytes) -> bool:
        """
        Append unless another process has its turn.
        """
        with self._lock:
            try:
                if self._turn is None:
                    self._append(text)
                    return True
                if not self._turn.try_acquire():
                    return False
                try:
                    self._append(text)
                finally:
                    self._turn.release()
                return True
            except BaseException as error:
                # Perhaps half a line was written.  Whoever comes next looks at the end of the file, see _catch_up.
                self._close_handles()
                folder = os.path.dirname(self._path)
                if isinstance(error, FileNotFoundError) and not os.path.exists(folder):
                    message = f"the folder {folder!r} of the audit file does not exist; create it first"
                    raise FileNotFoundError(error.errno, message, self._path) from error
                raise

    # --- one line --------------------------------------------------------------------------------

    def _append(self, text: bytes) -> None:
        fd = self._current_file()
        if self._turn is None:
            self._write(fd, text + b"\n")
            return
        size = self._size(fd)
        if self._max_bytes is not None and size and size + self._length(text) > self._max_bytes:
            self._rotate()
            fd = self._current_file()
            size = self._size(fd)
        gap = b"" if size == self._end else self._catch_up(fd, size)
        if self._chain is not None:
            text = self._chain.link(text)
        line = gap + text + b"\n"
        self._write(fd, line)
        self._end = size + len(line)
        if _CANNOT_RENAME_OPEN_FILES and self._max_bytes is not None:
            self._close_file()

    def _size(self, fd: int) -> int:
        return os.lseek(fd, 0, os.SEEK_END) if self._is_regular else 0

    def _length(self, text: bytes) -> int:
        return len(text) + 1 if self._chain is None else self._chain.length(text) + 1

    def _catch_up(self, fd: int, size: int) -> bytes:
        """
        Look at what others wrote.

        Returns:
            What to write in front of the next line: a line break when the last one was left unfinished.
        """
        tail = b""
        # A log that may be appended to but not read gets an empty line, which does no harm; a joined one does.
        with suppress(OSError):
            os.lseek(fd, max(0, size - TAIL_BYTES), os.SEEK_SET)
            tail = os.read(fd, TAIL_BYTES)
        if self._chain is not None:
            self._chain.catch_up(tail, self._newest_first())
        return b"" if size == 0 or tail.endswith(b"\n") else b"\n"

    def _newest_first(self) -> Iterator[str]:
        yield self._path
        yield from reversed(rotated_files(self._path))

    def _write(self, fd: int, line: bytes) -> None:
        written = os.write(fd, line)
        while written < len(line):
            # The disk filled up or a limit was hit; the next attempt either goes on or says what is wrong.
            written += os.write(fd, line[written:])
        if self._fsync:
            os.fsync(fd)

    # --- the file --------------------------------------------------------------------------------

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
        self._fd = _open(self._path, must_read=self._chain is not None)
        self._end = -1
        facts = os.fstat(self._fd)
        self._file_id = (facts.st_dev, facts.st_ino)
        self._is_regular = stat.S_ISREG(facts.st_mode)
        if self._is_regular:
            self._warn_of_readers(facts.st_mode)
            if self._turn is None:
                # Only now: later, without a turn, an unfinished line may as well be one that is being written.
                os.write(self._fd, self._catch_up(self._fd, facts.st_size))
            if self._fsync:
                _sync_folder(os.path.dirname(self._path))
        elif self._chain is not None:
            raise OSError(f"{self._path!r} is no regular file, so its lines cannot be chained")
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
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._backups + 1))]
        # Only up to the first free number, which a process killed in the middle of this may have left.
        last = next((number for number, name in enumerate(names) if not os.path.lexists(name)), self._backups)
        for number in range(last, 0, -1):
            os.replace(names[number - 1], names[number])

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _close_handles(self) -> None:
        self._close_file()
        if self._turn is not None:
            self._turn.close()

    def _forget_parent(self) -> None:
        """
        Start afresh in a forked child.

        The thread lock may have been held at the fork by a thread that the child does not have, and a file
        lock on an inherited descriptor is shared with the parent, so it would not make them take turns.
        """
        self._lock = threading.Lock()
        self._close_handles()


_CANNOT_RENAME_OPEN_FILES = os.name == "nt"

_file_sinks: weakref.WeakSet[FileAuditSink] = weakref.WeakSet()


def _after_fork() -> None:
    for sink in list(_file_sinks):
        sink._forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def rotated_files(path: str) -> list[str]:
    """
    The files that a log was rotated to, ``path.1`` and so on, the oldest (highest number) first.

    Raises:
        OSError: The folder cannot be read.
    """
    folder, name = os.path.split(path)
    numbers = [
        int(other[len(name) + 1 :])
        for other in os.listdir(folder or os.curdir)
        if other.startswith(f"{name}.") and _is_number(other[len(name) + 1 :])
    ]
    return [f"{path}.{number}" for number in sorted(numbers, reverse=True)]


def _is_number(text: str) -> bool:
    # Not longer, because other programs append dates.
    return len(text) <= 6 and text.isascii() and text.isdigit() and not text.startswith("0")


def _open(path: str, must_read: bool) -> int:
    # Python makes descriptors close-on-exec by itself.  O_BINARY exists only on Windows.
    flags = os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        readable = stat.S_ISREG(os.stat(path).st_mode)  # to open a pipe for reading would make it one's own reader
    except FileNotFoundError:
        readable = True
    if readable:
        try:
            return os.open(path, flags | os.O_RDWR, 0o600)
        except PermissionError:
            if must_read:
                raise
    return os.open(path, flags | os.O_WRONLY, 0o600)


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
