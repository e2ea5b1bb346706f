"""
Where session counters and values are kept.

A backend is any object with the five methods of :class:`StorageBackend`.  A backend that also offers
:class:`ReservingBackend` checks and counts in one atomic step, which is what makes limits exact when calls
run in parallel.  For one that does not, :func:`reserving` adds this within the process.

:mod:`edictum.memory_storage` and :mod:`edictum.sqlite_storage` are such backends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf
from operator import itemgetter
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable
from weakref import WeakValueDictionary

from edictum.locks import KeyedLocks

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
            an attempt, an execution and one of its tool, and written out that takes less time.
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


def __getattr__(name: str) -> Any:
    # Where the published package has it.
    if name == "MemoryBackend":
        from edictum.memory_storage import MemoryBackend

        return MemoryBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
