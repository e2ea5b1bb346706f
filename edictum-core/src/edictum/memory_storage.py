"""
Session counters and values in memory.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence

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

logger = logging.getLogger(__name__)


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
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        # The last entry again: most calls in a row belong to one session.
        self._newest_id: str | None = None
        self._newest = _Session()

    async def get(self, key: str) -> str | None:
        """
        The value, a counter as text, or None.
        """
        with self._lock:
            return as_text(self._peek(key))

    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Several values at one moment.
        """
        with self._lock:
            return {key: as_text(self._peek(key)) for key in keys}

    async def set(self, key: str, value: str) -> None:
        """
        Store a value; numeric text given for a counter replaces the counter.
        """
        with self._lock:
            session = self._use(session_of(key))
            number = as_number(value) if key in session.counters else None
            if number is None:
                session.counters.pop(key, None)
                session.texts[key] = value
            else:
                session.counters[key] = number

    async def delete(self, key: str) -> None:
        """
        Forget a value or counter.
        """
        with self._lock:
            session = self._sessions.get(session_of(key))
            if session is not None:
                session.counters.pop(key, None)
                session.texts.pop(key, None)

    async def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
        """
        Store a text if the key still holds the expected one; see :class:`SwappingBackend`.
        """
        with self._lock:
            if as_text(self._peek(key)) != expected:
                return False
            session = self._use(session_of(key))
            session.counters.pop(key, None)
            session.texts[key] = value
            return True

    async def increment(self, key: str, amount: float = 1) -> float:
        """
        Add to a counter and return its new value.

        Raises:
            ValueError: The key holds text that is not a number.
        """
        with self._lock:
            session = self._use(session_of(key))
            session.count_texts((key,))
            session.counters[key] = value = session.counters.get(key, 0) + amount
            return value

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        """
        Apply the changes if every limit allows it; see :class:`ReservingBackend`.

        Raises:
            ValueError: A key holds text that is not a number, or the keys belong to several sessions.
        """
        try:
            return ReserveResult(True, self.reserve_now(one_session(changes)))
        except NoRoom as full:
            return ReserveResult(False, full.values, full.key)

    def reserve_now(self, batch: Batch) -> Sequence[float]:
        """
        :meth:`reserve` without waiting.

        Raises:
            NoRoom: A limit leaves no room; nothing was changed.
            ValueError: A key holds text that is not a number.
        """
        lock = self._lock
        lock.acquire()  # "with" takes twice as long, and this is asked twice for every call
        try:
            session = self._newest if batch.session_id == self._newest_id else self._use(batch.session_id)
            if session.texts:
                session.count_texts(batch.keys)
            counters = session.counters
            if not batch.limited:
                values = list(map(counters.get, batch.keys, batch.zeros))
                for place, key, amount, _ in batch.steps:
                    counters[key] = values[place] = values[place] + amount
                return values
            if batch.usual is not None:
                one, two, three, most_one, most_two, most_three = batch.usual
                if one in counters and two in counters and three in counters:
                    first, second, third = counters[one] + 1, counters[two] + 1, counters[three] + 1
                    if first <= most_one and second <= most_two and third <= most_three:
                        session.live += 1
                        counters[one] = first
                        counters[two] = second
                        counters[three] = third
                        return first, second, third
            try:
                before = batch.read(counters)
            except KeyError:  # only the first time, so it may take longer
                before = list(map(counters.get, batch.keys, batch.zeros))
            after = list(before)
            for place, key, amount, most in batch.steps:
                after[place] = value = before[place] + amount
                if value > most:
                    raise NoRoom(before, key)
            session.live += 1
            for place, key in batch.counted:
                counters[key] = after[place]
            return after
        finally:
            lock.release()

    async def release(self, changes: Sequence[Change]) -> None:
        """
        Give back a reservation whose tool never started.
        """
        batch = one_session(changes)
        with self._lock:
            session = self._use(batch.session_id)
            session.count_texts(batch.keys)
            for key, amount, _ in batch.changes:
                session.counters[key] = max(0, session.counters.get(key, 0) - amount)
            if batch.limited and session.live:
                session.live -= 1

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        """
        Keep a reservation for good; see :class:`ReservingBackend`.
        """
        self.settle_now(one_session(changes), failures, success)

    def settle_now(self, batch: Batch, failures: str, success: bool) -> None:
        """
        :meth:`settle` without waiting.
        """
        lock = self._lock
        lock.acquire()
        try:
            session = self._sessions.get(batch.session_id) or self._use(batch.session_id)
            if session.live:
                session.live -= 1
            if success:
                if failures in session.counters:
                    del session.counters[failures]
                elif session.texts:
                    session.texts.pop(failures, None)
            else:
                session.count_texts((failures,))
                session.counters[failures] = session.counters.get(failures, 0) + 1
        finally:
            lock.release()

    def _peek(self, key: str) -> str | float | None:
        session = self._sessions.get(session_of(key))
        return None if session is None else session.counters.get(key, session.texts.get(key))

    def _use(self, session_id: str) -> _Session:
        """
        The data of a session, noted as used just now; an old one makes room for a new one.
        """
        session = self._sessions.get(session_id)
        if session is not None:
            self._sessions.move_to_end(session_id)
            self._newest_id, self._newest = session_id, session
            return session
        if len(self._sessions) >= self._max_sessions:
            oldest = next((known for known, session in self._sessions.items() if not session.live), None)
            if oldest is not None:
                del self._sessions[oldest]
                logger.warning("more than %d sessions: the oldest one is forgotten", self._max_sessions)
        self._sessions[session_id] = session = _Session()
        self._newest_id, self._newest = session_id, session
        return session


class _Session:
    """
    What the memory backend holds for one session; keys of no session share the one with an empty id.
    """

    __slots__ = ("counters", "live", "texts")

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.texts: dict[str, str] = {}
        self.live = 0  # calls whose reservation is not settled

    def count_texts(self, keys: Sequence[str]) -> None:
        """
        Make counters of what was set as text under these keys.

        Raises:
            ValueError: A text is not a number.
        """
        for key in keys:
            if key in self.texts:
                self.counters[key] = parse_counter(key, self.texts[key])
                del self.texts[key]
