"""
Ports that fail on purpose: storage backends, audit sinks and approval backends that raise, hang or are slow.

    store = FaultyStorageBackend(MemoryBackend(), Faults(nth(3)))
    guard = Edictum.from_yaml("rules.yaml", backend=store)  # the third use of the store raises

A guard must come through all of it without letting a call pass that it would block.  Hence a typical test lets the
first use of a port fail, then the second, and so on until a run uses the port less often.
"""

from __future__ import annotations

import functools
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from edictum.approval import ApprovalBackend, ApprovalDecision, ApprovalRequest
from edictum.audit import AuditEvent, AuditSink
from edictum.storage import StorageBackend, immediate, reserving

T = TypeVar("T")

When: TypeAlias = Callable[[int], bool]
"""
Tells by the number of a use, counted from 1, whether it fails.
"""


class InjectedError(Exception):
    """
    A failure made on purpose.
    """


def nth(*numbers: int) -> When:
    """
    The uses with these numbers; without any, none.

    Raises:
        ValueError: A number is below 1.
    """
    _check_numbers(*numbers)
    return frozenset(numbers).__contains__


def from_nth(number: int) -> When:
    """
    This use and all later ones.

    Raises:
        ValueError: The number is below 1.
    """
    _check_numbers(number)
    return lambda use: use >= number


def always(use: int) -> bool:
    """
    All uses.
    """
    return True


def at_random(probability: float, *, seed: int) -> When:
    """
    So many of all uses, the same ones whenever the seed is the same.

    Raises:
        ValueError: The probability does not lie between 0 and 1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; give a number from 0 to 1")
    return lambda use: random.Random(f"{seed}:{use}").random() < probability


def _check_numbers(*numbers: int) -> None:
    for number in numbers:
        if number < 1:
            raise ValueError(f"there is no use number {number}; uses are counted from 1")


class Faults:
    """
    Which uses of a port fail, and how.  Several ports may share one, which then counts the uses of all.

    Safe for several threads and event loops.

    Args:
        when: Which uses fail: :func:`nth`, :func:`from_nth`, :func:`always`, :func:`at_random` or a function of
            your own.
        error: What they raise; None raises nothing, so that they are only slow.
        delay: Seconds that they take longer; ``math.inf`` hangs until the caller is cancelled.
        afterwards: Fail after the work was done, as when an answer is lost on the way, instead of before.

    Attributes:
        uses: How many uses there were.
        armed: Set it to False and nothing fails; uses are counted all the same.

    Raises:
        ValueError: The delay is negative, or nothing would happen.
    """

    def __init__(
        self,
        when: When = always,
        error: BaseException | None = InjectedError("injected"),  # noqa: B008  never changed
        *,
        delay: float = 0.0,
        afterwards: bool = False,
    ) -> None:
        if not delay >= 0:
            raise ValueError(f"delay is {delay}; give at least 0 seconds")
        if error is None and not delay:
            raise ValueError("without error and delay nothing would fail; give one of them")
        self.uses = 0
        self.armed = True
        self._when = when
        self._error = error
        self._delay = delay
        self._afterwards = afterwards
        self._lock = threading.Lock()

    def use(self) -> None:
        """
        Count a use, and fail if it is its turn; for ports that are not awaited.

        Raises:
            BaseException: The error.
            ValueError: It should hang, which would stop the whole program.
        """
        self.around(lambda: None)

    def around(self, work: Callable[[], T]) -> T:
        """
        Do the work of a port that is not awaited, and fail before or after it if it is its turn.

        Raises:
            BaseException: The error.
            ValueError: It should hang, which would stop the whole program.
        """
        if not self._fails():
            return work()
        if math.isinf(self._delay):
            raise ValueError("a port that is not awaited cannot hang; give a finite delay")
        done = [work()] if self._afterwards else []
        time.sleep(self._delay)
        if self._error is not None:
            raise self._error
        return done[0] if done else work()

    async def around_awaited(self, work: Callable[[], Awaitable[T]]) -> T:
        """
        :meth:`around` for a port that is awaited.

        Raises:
            BaseException: The error.
        """
        if not self._fails():
            return await work()
        done = [await work()] if self._afterwards else []
        await self._wait()
        if self._error is not None:
            raise self._error
        return done[0] if done else await work()

    def _fails(self) -> bool:
        with self._lock:
            self.uses += 1
            number = self.uses
        return self.armed and self._when(number)

    async def _wait(self) -> None:
        if self._delay:
            import asyncio

            if math.isinf(self._delay):
                await asyncio.Event().wait()
            await asyncio.sleep(self._delay)


class FaultyStorageBackend:
    """
    A storage backend whose steps fail as told.

    It can do what the wrapped one can: reserve, and take steps without waiting.

    Args:
        backend: Does the work.
        faults: Which steps fail.
    """

    def __init__(self, backend: StorageBackend, faults: Faults) -> None:
        self._backend = backend
        self._faults = faults
        store = reserving(backend)
        awaited = ["batch_get", *(("reserve", "release", "settle") if store is backend else ())]
        plain = ("reserve_now", "settle_now") if store is backend and immediate(store) is not None else ()
        for name in awaited:
            if hasattr(backend, name):
                setattr(self, name, _awaited(faults, getattr(backend, name)))
        for name in plain:
            setattr(self, name, _plain(faults, getattr(backend, name)))

    async def get(self, key: str) -> str | None:
        """
        See :class:`~edictum.StorageBackend`.
        """
        return await self._faults.around_awaited(lambda: self._backend.get(key))

    async def set(self, key: str, value: str) -> None:
        """
        See :class:`~edictum.StorageBackend`.
        """
        await self._faults.around_awaited(lambda: self._backend.set(key, value))

    async def delete(self, key: str) -> None:
        """
        See :class:`~edictum.StorageBackend`.
        """
        await self._faults.around_awaited(lambda: self._backend.delete(key))

    async def increment(self, key: str, amount: float = 1) -> float:
        """
        See :class:`~edictum.StorageBackend`.
        """
        return await self._faults.around_awaited(lambda: self._backend.increment(key, amount))


class FaultyAuditSink:
    """
    An audit sink that fails as told.

    Args:
        sink: Records the events.
        faults: Which of them fail.
    """

    def __init__(self, sink: AuditSink, faults: Faults) -> None:
        self._sink = sink
        self._faults = faults

    async def emit(self, event: AuditEvent) -> None:
        """
        See :class:`~edictum.AuditSink`.
        """
        await self._faults.around_awaited(lambda: self._sink.emit(event))


class FaultyApprovalBackend:
    """
    An approval backend whose requests and waits fail as told; both are counted together.

    Args:
        backend: Does the work.
        faults: Which requests and waits fail.

    Attributes:
        request_approval: See :class:`~edictum.ApprovalBackend`.
        wants_raw_args: As the wrapped one says.
    """

    def __init__(self, backend: ApprovalBackend, faults: Faults) -> None:
        self._backend = backend
        self._faults = faults
        self.wants_raw_args = getattr(backend, "wants_raw_args", False)
        # With the parameters of the wrapped one, because a guard passes only those that a backend takes.
        self.request_approval: Callable[..., Coroutine[Any, Any, ApprovalRequest]] = _awaited(
            faults, backend.request_approval
        )

    async def wait_for_decision(self, approval_id: str, timeout: float | None = None) -> ApprovalDecision:
        """
        See :class:`~edictum.ApprovalBackend`.
        """
        return await self._faults.around_awaited(lambda: self._backend.wait_for_decision(approval_id, timeout=timeout))


def _awaited(faults: Faults, method: Callable[..., Awaitable[T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    @functools.wraps(method)
    async def faulty(*args: Any, **keywords: Any) -> T:
        return await faults.around_awaited(lambda: method(*args, **keywords))

    return faulty


def _plain(faults: Faults, method: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(method)
    def faulty(*args: Any, **keywords: Any) -> T:
        return faults.around(lambda: method(*args, **keywords))

    return faulty
