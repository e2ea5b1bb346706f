"""
Events that wait for the console on disk, so that they outlive the process.

A folder holds segments: files of one event to a line, each locked by the process that writes it or has taken it over
from one that ended.  Beside each stands how much of it the console has.  A process that is killed loses nothing that
was written; an event that was sent a moment before is sent again, and the console knows it by its id.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import deque
from pathlib import Path
from weakref import WeakSet

from edictum import EdictumConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024 * 1024
_SUFFIX = ".events"
_PROGRESS_DIGITS = 20

_open: WeakSet[_Segment] = WeakSet()


class Spool:
    """
    The events of one process, and those that processes which ended have left in the same folder.

    Not safe for several threads.

    Args:
        folder: Where; made if it is not there, for this user alone.
        max_bytes: How much may wait at most.

    Raises:
        EdictumConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        if fcntl is None:
            raise EdictumConfigError("spool_dir needs file locks as POSIX systems have them")
        self._folder = folder
        self._max_bytes = max_bytes
        self._segments: deque[_Segment] = deque()
        self._newest = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._adopt()
            self._segments.append(self._new_segment())
        except OSError as error:
            self.close()
            raise EdictumConfigError(f"spool_dir {folder} cannot be used: {error.strerror or error}") from error

    def __len__(self) -> int:
        return sum(segment.waiting for segment in self._segments)

    @property
    def full(self) -> bool:
        """
        Whether as much waits as may.
        """
        return sum(segment.size - segment.sent for segment in self._segments) >= self._max_bytes

    def append(self, line: bytes) -> None:
        """
        Write an event.

        Args:
            line: Its JSON, without a line break.

        Raises:
            OSError: The disk is full, or broken.
        """
        if self._segments[-1].size >= SEGMENT_BYTES:
            self._segments.append(self._new_segment())
            if not self._segments[0].waiting:  # only the last one may be empty
                self._segments.popleft().remove()
        self._segments[-1].append(line)

    def drop_oldest(self) -> int:
        """
        Give up the oldest events that wait, a segment of them.

        Returns:
            How many.
        """
        if len(self._segments) == 1:
            self._segments.append(self._new_segment())
        oldest = self._segments.popleft()
        oldest.remove()
        return oldest.waiting

    def read(self, count: int) -> list[bytes]:
        """
        The oldest events that wait.
        """
        found: list[bytes] = []
        for segment in self._segments:
            found += segment.read(count - len(found))
            if len(found) >= count:
                break
        return found

    def done(self, count: int) -> None:
        """
        Forget the oldest events: the console has them.
        """
        while count:
            segment = self._segments[0]
            taken = min(count, segment.waiting)
            segment.done(taken)
            count -= taken
            if not segment.waiting and len(self._segments) > 1:
                self._segments.popleft().remove()
            elif not taken:
                raise ValueError("more events were sent than waited")

    def close(self) -> None:
        """
        Let go of the files; what waits is taken over by the next process that uses the folder.
        """
        for segment in self._segments:
            if segment.waiting:
                segment.close()
            else:
                segment.remove()
        self._segments.clear()

    def _new_segment(self) -> _Segment:
        # In the order of their names, whichever times a file system keeps.
        self._newest = max(time.time_ns(), self._newest + 1)
        while True:
            name = f"{self._newest:0{_PROGRESS_DIGITS}d}-{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}"
            segment = _Segment.create(self._folder / name)
            if segment is not None:
                return segment

    def _adopt(self) -> None:
        """
        Take over what processes that ended have left.
        """
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            segment = _Segment.take_over(path)
            if segment is None:
                continue
            if segment.waiting:
                logger.info("%d events of an earlier process are sent now: %s", segment.waiting, path.name)
                self._segments.append(segment)
            else:
                segment.remove()


class _Segment:
    """
    One file of events.

    Attributes:
        size: How many bytes it has.
        sent: How many of them the console has.
        waiting: How many events it does not have.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._progress_path = path.with_suffix(".sent")
        self._descriptor = descriptor
        self._lengths: deque[int] = deque()
        self.size = 0
        self.sent = 0
        _open.add(self)

    @property
    def waiting(self) -> int:
        """
        How many events wait.
        """
        return len(self._lengths)

    @classmethod
    def create(cls, path: Path) -> _Segment | None:
        """
        Begin a file; None if another process took it for one that was left, and removed it.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not os.fstat(descriptor).st_nlink:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @classmethod
    def take_over(cls, path: Path) -> _Segment | None:
        """
        Open what another process has left; None if that one is alive.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not os.fstat(descriptor).st_nlink:  # removed between opening and locking it
            os.close(descriptor)
            return None
        segment = cls(path, descriptor)
        segment._recall()
        return segment

    def _recall(self) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            sent = int(self._progress_path.read_bytes())
        except (FileNotFoundError, ValueError):
            sent = 0
        # Whatever else is read there is not how much was sent.
        ends_a_line = 0 < sent <= size and os.pread(self._descriptor, 1, sent - 1) == b"\n"
        self.sent = sent if ends_a_line else 0
        rest = os.pread(self._descriptor, size - self.sent, self.sent)
        lines = rest.split(b"\n")
        if lines[-1]:
            # The process ended while it wrote, so nobody was told that this event is safe.
            logger.warning("the last event in %s is incomplete and is left out", self._path.name)
        self._lengths.extend(len(line) + 1 for line in lines[:-1])
        self.size = self.sent + sum(self._lengths)

    def append(self, line: bytes) -> None:
        data = line + b"\n"
        written = os.write(self._descriptor, data)
        if written != len(data):
            os.ftruncate(self._descriptor, self.size)
            raise OSError(f"no room for an event in {self._path.parent}")
        self.size += written
        self._lengths.append(written)

    def read(self, count: int) -> list[bytes]:
        lengths = [length for _, length in zip(range(count), self._lengths, strict=False)]
        data = os.pread(self._descriptor, sum(lengths), self.sent)
        return data.split(b"\n")[:-1] if lengths else []

    def done(self, count: int) -> None:
        for _ in range(count):
            self.sent += self._lengths.popleft()
        # Written over, never cut: whatever a killed process leaves of it means too little, and that is sent again.
        try:
            descriptor = os.open(self._progress_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, b"%0*d" % (_PROGRESS_DIGITS, self.sent), 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            # The console knows them; sending waits for no disk.
            logger.warning(
                "%s could not be written, so what was sent is sent again after a restart: %s",
                self._progress_path,
                error.strerror or error,
            )

    def remove(self) -> None:
        """
        Delete the files; the lock goes last, so that nobody takes over what is being deleted.
        """
        for path in (self._progress_path, self._path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                # Sending and ending wait for no disk.
                logger.warning("%s is not needed any more and cannot be removed: %s", path, error.strerror or error)
        self.close()

    def close(self) -> None:
        _open.discard(self)
        os.close(self._descriptor)


def _let_go_after_fork() -> None:
    # A file is locked as long as any process has it open, and this one would keep it from the successors of its parent.
    for segment in list(_open):
        segment.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)
