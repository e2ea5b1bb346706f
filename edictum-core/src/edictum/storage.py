"""
Where session counters and values are kept.

A backend is any object with the five methods of :class:`StorageBackend`.  A backend that also offers
:class:`ReservingBackend` checks and counts in one atomic step, which is what makes limits exact when calls
run in parallel.  For one that does not, :func:`reserving` adds this within the process.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeAlias, cast, runtime_checkable
from weakref import WeakKeyDictionary

from edictum.locks import KeyedLocks

logger = logging.getLogger(__name__)

Change: TypeAlias = tuple[str, float, float | None]
"""Key, amount to add (0 only reads), and the largest value allowed afterwards or None."""


@runtime_checkable
class StorageBackend(Protocol):
    """
    Text values and counters by key; every method may raise, and then the call is blocked.
    """

    async def get(self, key: str) -> str | None:
        """
        The value, a counter as text, or None.
        """

    async def set(self, key: str, value: str) -> None:
        """
        Store a value.
        """

    async def delete(self, key: str) -> None:
        """
        Forget a value or counter.
        """

    async def increment(self, key: str, amount: float = 1) -> float:
        """
        Add to a counter, atomically, and return its new value.
        """


class ReserveResult:
    """
    Outcome of a reservation.

    Attributes:
        ok: Whether every change was made; otherwise none was.
        values: The counters in the order of the changes: new values, or the current ones when refused.
        failed_key: The first key whose limit left no room.
    """

    __slots__ = ("failed_key", "ok", "values")

    def __init__(self, ok: bool, values: tuple[float, ...], failed_key: str | None = None) -> None:
        self.ok = ok
        self.values = values
        self.failed_key = failed_key


@runtime_checkable
class ReservingBackend(StorageBackend, Protocol):
    """
    A backend that changes several counters at once, all or none, against limits.
    """

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        """
        Apply the changes if every limit allows it.
        """

    async def release(self, changes: Sequence[Change]) -> None:
        """
        Give back a reservation whose tool never started.
        """

    async def settle(self, changes: Sequence[Change]) -> None:
        """
        Keep a reservation for good: its tool has run.
        """


class MemoryBackend:
    """
    Counters and values in memory, for one process.

    Safe for several threads and event loops.  Holds at most ``max_sessions`` sessions: the one not used for
    longest is forgotten, with its counters, but never while one of its calls runs.

    Args:
        max_sessions: How many sessions are remembered.

    Raises:
        ValueError: ``max_sessions`` is below 1.
    """

    def __init__(self, max_sessions: int = 10_000) -> None:
        if max_sessions < 1:
            raise ValueError("max_sessions is at least 1")
        self._max_sessions = max_sessions
        self._lock = threading.Lock()
        self._data: dict[str, str | float] = {}
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def get(self, key: str) -> str | None:
        """
        The value, a counter as text, or None.
        """
        with self._lock:
            return _as_text(self._data.get(key))

    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Several values at one moment.
        """
        with self._lock:
            return {key: _as_text(self._data.get(key)) for key in keys}

    async def set(self, key: str, value: str) -> None:
        """
        Store a value; numeric text given for a counter replaces the counter.
        """
        with self._lock:
            self._touch(key)
            number = _as_number(value) if isinstance(self._data.get(key), (int, float)) else None
            self._data[key] = value if number is None else number

    async def delete(self, key: str) -> None:
        """
        Forget a value or counter.
        """
        with self._lock:
            self._data.pop(key, None)

    async def increment(self, key: str, amount: float = 1) -> float:
        """
        Add to a counter and return its new value.

        Raises:
            ValueError: The key holds text that is not a number.
        """
        with self._lock:
            self._touch(key)
            value = self._counter(key) + amount
            self._data[key] = value
            return value

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        """
        Apply the changes if every limit allows it; see :class:`ReservingBackend`.

        Raises:
            ValueError: A key holds text that is not a number.
        """
        data = self._data
        limited = False
        values: list[float] = []
        with self._lock:
            session = self._touch(changes[0][0]) if changes else None
            for key, amount, limit in changes:
                value = data.get(key, 0)
                if type(value) is str:
                    value = self._counter(key)
                value += amount  # type: ignore[operator]
                if limit is not None:
                    limited = True
                    if value > limit:
                        current = tuple(self._counter(change[0]) for change in changes)
                        return ReserveResult(False, current, key)
                values.append(value)
            for (key, amount, _), value in zip(changes, values, strict=True):
                if amount:
                    if session is not None:
                        session.keys.add(key)
                    data[key] = value
            if limited and session is not None:
                session.live += 1
        return ReserveResult(True, tuple(values))

    async def release(self, changes: Sequence[Change]) -> None:
        """
        Give back a reservation whose tool never started.
        """
        with self._lock:
            for key, amount, _ in changes:
                self._data[key] = max(0, self._counter(key) - amount)
            self._end_live(changes)

    async def settle(self, changes: Sequence[Change]) -> None:
        """
        Keep a reservation for good.
        """
        with self._lock:
            self._end_live(changes)

    def _counter(self, key: str) -> float:
        value = self._data.get(key, 0)
        if isinstance(value, str):
            number = _as_number(value)
            if number is None:
                raise ValueError(f"stored counter {key!r} is not a number")
            return number
        return value

    def _end_live(self, changes: Sequence[Change]) -> None:
        session = self._sessions.get(_session_of(changes[0][0])) if changes else None
        if session is not None and session.live:
            session.live -= 1

    def _touch(self, key: str) -> _Session | None:
        """
        Note that the session of a key is in use, and make room when it is new.
        """
        if not key.startswith("s:"):
            return None
        session_id = _session_of(key)
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = _Session()
            if len(self._sessions) > self._max_sessions:
                self._forget_oldest()
        else:
            self._sessions.move_to_end(session_id)
        session.keys.add(key)
        return session

    def _forget_oldest(self) -> None:
        for session_id, session in self._sessions.items():
            if not session.live and session_id != next(reversed(self._sessions)):
                del self._sessions[session_id]
                for key in session.keys:
                    self._data.pop(key, None)
                logger.warning("more than %d sessions: the oldest one is forgotten", self._max_sessions)
                return


class _Session:
    """
    What the memory backend knows about one session.
    """

    __slots__ = ("keys", "live")

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.live = 0


def _session_of(key: str) -> str:
    return key.split(":", 2)[1] if key.startswith("s:") else ""


def _as_text(value: str | float | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(value)


def _as_number(text: str) -> float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number - number == 0 else None  # neither NaN nor infinite


class _Reserving:
    """
    Adds reservations to a backend that has none.

    Check and count happen under a lock of this process.  Two processes that share such a backend can
    exceed a limit by the number of calls that they start at the same moment.
    """

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend
        self._locks = KeyedLocks()
        self.get = backend.get
        self.set = backend.set
        self.delete = backend.delete
        self.increment = backend.increment

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        async with self._locks.hold(_session_of(changes[0][0])):
            current = await self._read([key for key, _, _ in changes])
            for (key, amount, limit), value in zip(changes, current, strict=True):
                if limit is not None and value + amount > limit:
                    return ReserveResult(False, current, key)
            values = []
            for (key, amount, _), value in zip(changes, current, strict=True):
                values.append(await self._backend.increment(key, amount) if amount else value)
            return ReserveResult(True, tuple(values))

    async def release(self, changes: Sequence[Change]) -> None:
        async with self._locks.hold(_session_of(changes[0][0])):
            for key, amount, _ in changes:
                await self._backend.increment(key, -amount)

    async def settle(self, changes: Sequence[Change]) -> None:
        return None

    async def _read(self, keys: list[str]) -> tuple[float, ...]:
        batch_get = getattr(self._backend, "batch_get", None)
        if batch_get is not None:
            found = await batch_get(keys)
            texts = [found.get(key) for key in keys]
        else:
            texts = [await self._backend.get(key) for key in keys]
        return tuple(parse_counter(key, text) for key, text in zip(keys, texts, strict=True))


def parse_counter(key: str, text: str | None) -> float:
    """
    Read a stored counter.

    Raises:
        ValueError: It is not a number.
    """
    if text is None:
        return 0
    number = _as_number(text)
    if number is None:
        raise ValueError(f"stored counter {key!r} is not a number")
    return number


_wrapped: WeakKeyDictionary[StorageBackend, ReservingBackend] = WeakKeyDictionary()


def reserving(backend: StorageBackend) -> ReservingBackend:
    """
    The backend itself if it can reserve, else the backend with reservations added within this process.
    """
    if all(callable(getattr(backend, name, None)) for name in ("reserve", "release", "settle")):
        return cast(ReservingBackend, backend)
    try:
        wrapped = _wrapped.get(backend)
        if wrapped is None:
            wrapped = _wrapped[backend] = _Reserving(backend)
    except TypeError:  # neither hashable nor weakly referable: one wrapper for each guard
        return _Reserving(backend)
    return wrapped
