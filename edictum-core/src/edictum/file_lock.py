"""
An advisory lock by which the processes of one machine take turns.
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """
    A lock on a file of its own.

    The operating system frees it when the process ends, in whatever way.  It is advisory: it keeps out those who
    ask for it.  Two of these on one path exclude each other within one process too.  Not safe to use from several
    threads at once.

    A forked child must :meth:`close` its copy, which leaves the parent's turn alone.

    Args:
        path: The file; it is made when it is missing, for its owner only, and stays when nobody uses it.
    """

    __slots__ = ("_fd", "_file_id", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        self._file_id: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """
        The file.
        """
        return self._path

    def try_acquire(self) -> bool:
        """
        Take the lock if it is free, and do not wait.

        Returns:
            Whether it was taken.

        Raises:
            OSError: The file cannot be made, or its file system has no locks.
        """
        while True:
            if self._fd is None:
                # O_NOFOLLOW: a link planted here would let two processes lock different files.
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
                self._fd = os.open(self._path, flags, 0o600)
                facts = os.fstat(self._fd)
                self._file_id = (facts.st_dev, facts.st_ino)
            if not _try_lock(self._fd):
                return False
            if self._is_in_place():
                return True
            # Somebody deleted or moved the file, so newcomers lock another one.
            self.close()

    def release(self) -> None:
        """
        Give the turn back; the file stays open for the next one.
        """
        if self._fd is not None:
            _unlock(self._fd)

    def close(self) -> None:
        """
        Close the file, which gives a turn back too.
        """
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _is_in_place(self) -> bool:
        try:
            facts = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (facts.st_dev, facts.st_ino) == self._file_id


if sys.platform == "win32":

    def _try_lock(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # the first byte; nobody reads or writes it
        except PermissionError:
            return False
        return True

    def _unlock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
