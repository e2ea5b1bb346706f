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
from collections.abc import Callable, Mapping, Sequence
from math import inf
from operator import itemgetter
from typing import Protocol, TypeAlias, cast, runtime_checkable
from weakref import WeakValueDictionary

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

    def __init__(self, ok: bool, values: Sequence[float], failed_key: str | None = None) -> None:
        self.ok = ok
        self.values = tuple(values)
        self.failed_key = failed_key


class NoRoom(Exception):  # noqa: N818  an answer, not a malfunction
    """
    A limit leaves no room for a reservation, of which nothing was made.

    Attributes:
        values: The counters in the order of the changes.
        key: The first key whose limit left no room.
    """

    def __init__(self, values: Sequence[float], key: str) -> None:
        super().__init__(f"{key!r} has reached its limit")
        self.values = tuple(values)
        self.key = key


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

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        """
        Keep a reservation for good: its tool has run.

        Args:
            changes: The reservation.
            failures: Key of the counter of failures in a row.
            success: Resets that counter; otherwise it goes up by one.
        """


@runtime_checkable
class SwappingBackend(StorageBackend, Protocol):
    """
    A backend that replaces a text only if nobody else did meanwhile.
    """

    async def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
        """
        Store a text if the key still holds the expected one, in one atomic step.

        Args:
            key: The key.
            expected: What was read before; None when there was nothing.
            value: What to store.

        Returns:
            Whether it was stored.
        """


class Batch:
    """
    Changes to one session, taken apart once so that they can be applied many times.

    Attributes:
        changes: As given.
        session_id: The session that the keys belong to.
        keys: Their keys.
        zeros: What a counter is before it was first counted, once for each key.
        read: Reads the counters; raises KeyError where one was not counted yet.
        steps: Place, key, amount and largest value of each change that adds or is limited; the others only read.
        counted: Place and key of those that add.
        limited: Whether there is any limit.
        usual: Keys and largest values where three counters are counted by one, else None.  Nearly every call counts
            an attempt, an execution and one of its tool, and written out that takes half the time.
    """

    __slots__ = ("changes", "counted", "keys", "limited", "read", "session_id", "steps", "usual", "zeros")

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes = tuple(changes)
        self.keys = tuple(key for key, _, _ in changes)
        self.zeros = (0,) * len(changes)
        self.read: Callable[[Mapping[str, float]], Sequence[float]] = _reader(self.keys)
        self.steps = tuple(
            (place, key, amount, inf if most is None else most)
            for place, (key, amount, most) in enumerate(changes)
            if amount or most is not None
        )
        self.counted = tuple((place, key) for place, (key, amount, _) in enumerate(changes) if amount)
        self.limited = any(most is not None for _, _, most in changes)
        self.usual: tuple[str, str, str, float, float, float] | None = None
        if self.limited and [amount for _, amount, _ in changes] == [1, 1, 1]:
            (one, two, three), (most_one, most_two, most_three) = self.keys, (most for _, _, _, most in self.steps)
            self.usual = one, two, three, most_one, most_two, most_three
        self.session_id = session_of(self.keys[0]) if changes else ""


def _reader(keys: tuple[str, ...]) -> Callable[[Mapping[str, float]], Sequence[float]]:
    # Of one key it would give the bare value.
    return itemgetter(*keys) if len(keys) > 1 else lambda counters: [counters[key] for key in keys]


@runtime_checkable
class ImmediateBackend(ReservingBackend, Protocol):
    """
    A backend that never waits and therefore offers the same steps as plain functions.
    """

    def reserve_now(self, batch: Batch) -> Sequence[float]:
        """
        Apply the changes and return the new values in their order; see :meth:`ReservingBackend.reserve`.

        Raises:
            NoRoom: A limit leaves no room; nothing was changed.
        """

    def settle_now(self, batch: Batch, failures: str, success: bool) -> None:
        """
        See :meth:`ReservingBackend.settle`.
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


def one_session(changes: Sequence[Change]) -> Batch:
    """
    Take changes apart, which all have to be about one session.

    Raises:
        ValueError: They are not.
    """
    batch = Batch(changes)
    if any(session_of(key) != batch.session_id for key in batch.keys):
        raise ValueError("changes that are made together belong to one session")
    return batch


def session_of(key: str) -> str:
    """
    The session that a key belongs to; empty for a key of none.
    """
    end = key.find(":", 2) if key.startswith("s:") else -1
    return key[2:end] if end >= 0 else ""


def as_text(value: str | float | None) -> str | None:
    """
    A stored value as the published interface gives it: whole numbers without a point.
    """
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(value)


def as_number(text: str) -> float | None:
    """
    The finite number that a text spells, or None.
    """
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
        async with self._locks.hold(session_of(changes[0][0])):
            current = await self._read([key for key, _, _ in changes])
            for (key, amount, limit), value in zip(changes, current, strict=True):
                if limit is not None and value + amount > limit:
                    return ReserveResult(False, current, key)
            values: list[float] = []
            try:
                for (key, amount, _), value in zip(changes, current, strict=True):
                    values.append(await self._backend.increment(key, amount) if amount else value)
            except BaseException:
                # Half a reservation would never be given back.
                for key, amount, _ in changes[: len(values)]:
                    if amount:
                        await self._backend.increment(key, -amount)
                raise
            return ReserveResult(True, tuple(values))

    async def release(self, changes: Sequence[Change]) -> None:
        async with self._locks.hold(session_of(changes[0][0])):
            for key, amount, _ in changes:
                await self._backend.increment(key, -amount)

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        if success:
            await self._backend.delete(failures)
        else:
            await self._backend.increment(failures)

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
    number = as_number(text)
    if number is None:
        raise ValueError(f"stored counter {key!r} is not a number")
    return number


# By identity: backends may be equal and still be two.  A wrapper holds its backend, so the id stays its own.
_wrapped: WeakValueDictionary[int, _Reserving] = WeakValueDictionary()
_wrapping = threading.Lock()


def reserving(backend: StorageBackend) -> ReservingBackend:
    """
    The backend itself if it can reserve, else the backend with reservations added within this process.

    A subclass that replaces ``increment`` or another basic method, but not ``reserve``, means its own method to
    be used, so it gets reservations on top of that.
    """
    if _builds_on(backend, ("reserve", "release", "settle"), ("get", "set", "delete", "increment")):
        return cast(ReservingBackend, backend)
    with _wrapping:  # two wrappers would hold two sets of locks
        wrapped = _wrapped.get(id(backend))
        if wrapped is None:
            wrapped = _wrapped[id(backend)] = _Reserving(backend)
        return wrapped


def immediate(backend: ReservingBackend) -> ImmediateBackend | None:
    """
    The backend itself if it also offers its steps as plain functions.
    """
    if _builds_on(backend, ("reserve_now", "settle_now"), ("reserve", "settle", "release")):
        return cast(ImmediateBackend, backend)
    return None


async def swap(backend: StorageBackend, key: str, expected: str | None, value: str) -> bool:
    """
    Store a text if nobody else did meanwhile, as far as the backend can tell.

    With a backend that cannot, it is stored in any case: the caller must see to it that nobody else does.
    """
    if _builds_on(backend, ("compare_and_set",), ("get", "set", "delete")):
        return await cast(SwappingBackend, backend).compare_and_set(key, expected, value)
    await backend.set(key, value)
    return True


def _builds_on(backend: object, methods: tuple[str, ...], basis: tuple[str, ...]) -> bool:
    """
    Whether the methods exist and no class below the one that defines them replaces what they build on.
    """
    layers = [vars(backend) if hasattr(backend, "__dict__") else {}, *(vars(cls) for cls in type(backend).__mro__)]

    def depth(name: str) -> int:
        return next((at for at, layer in enumerate(layers) if name in layer), len(layers))

    lowest = max(depth(name) for name in methods)
    return lowest < len(layers) and all(depth(name) >= lowest for name in basis)
