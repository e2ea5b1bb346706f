"""
What the suites share: making and closing the part that is tested, time limits, skipping, and checks.

The checks say more than ``assert``, which is silent outside pytest and gone under ``python -O``.
"""

from __future__ import annotations

import asyncio
import inspect
import reprlib
import unittest
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, NoReturn, TypeVar, cast

from edictum.testing.running import run_within

P = TypeVar("P")
S = TypeVar("S", bound="Suite[Any]")
T = TypeVar("T")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


class WholeSuite:
    """
    A suite none of whose tests can be replaced or taken away unnoticed.

    Attributes:
        patience: Seconds that one test may take.
        not_met: What the part does not promise: names of tests with the reason.  They are skipped with it.
    """

    patience: ClassVar[float] = 30.0
    not_met: ClassVar[Mapping[str, str]] = {}

    def test_suite_is_run_as_it_is(self) -> None:
        """
        No test was replaced or taken away, or passing would mean nothing; ``not_met`` is the way to leave one out.
        """
        known: dict[str, object] = {}
        for cls in type(self).__mro__:
            if cls.__module__.startswith(f"{__package__}."):
                for name, value in vars(cls).items():
                    if name.startswith("test_"):
                        known.setdefault(name, value)
        replaced = [name for name, value in known.items() if inspect.getattr_static(self, name) is not value]
        same([], sorted(replaced), "tests of the suite that were replaced; list them in not_met, with reasons")
        same([], sorted(set(self.not_met) - self._names(known)), "names in not_met that are no tests of the suite")
        same([], [name for name, why in self.not_met.items() if not why.strip()], "names in not_met without a reason")

    def _names(self, known: Mapping[str, object]) -> set[str]:
        return set(known)

    def _skip_if_not_met(self, name: str) -> None:
        if name in self.not_met:
            skip(self.not_met[name])


class Suite(WholeSuite, Generic[P]):
    """
    Base of the suites for parts.  A subclass makes the part; each test gets a new one, on an event loop of its own.

    What a subclass defines may be plain or ``async``, and runs on the loop of the test.

    Attributes:
        several_loops: False if the part belongs to the event loop that it was first used on, and its
            documentation says so.  Tests with several loops and threads are skipped then.
    """

    several_loops: ClassVar[bool] = True

    def make(self) -> P | Awaitable[P]:
        """
        Make the part that is tested.  It need not be empty: tests use names that were never used before.
        """
        raise NotImplementedError(f"{type(self).__name__} defines make(), which returns the part to test")

    def close(self, part: P) -> Awaitable[None] | None:
        """
        Give back what the part holds; by default its own ``aclose()`` or ``close()`` is called if it has one.
        """
        close = getattr(part, "aclose", None) or getattr(part, "close", None)
        return cast("Awaitable[None] | None", close()) if close is not None else None

    def break_it(self, part: P) -> bool | Awaitable[bool]:
        """
        Take away what the part needs, as a failing network or disk would.

        Returns:
            Whether this was done; without it the tests of failures are skipped.
        """
        return False

    def repair(self, part: P) -> Awaitable[None] | None:
        """
        Undo :meth:`break_it`.
        """
        return None

    @asynccontextmanager
    async def _part(self) -> AsyncIterator[P]:
        part = await result_of(self.make())
        try:
            yield part
        finally:
            await result_of(self.close(part))

    async def _broken(self, part: P) -> None:
        if not await result_of(self.break_it(part)):
            skip("the subclass defines no break_it()")


def on_a_loop(check: Callable[[S, P], Awaitable[None]]) -> Callable[[S], None]:
    """
    Make a plain test of a coroutine function that takes a new part.
    """

    def test(self: S) -> None:
        async def main() -> None:
            async with self._part() as part:
                await check(self, part)

        self._skip_if_not_met(check.__name__)
        run_within(self.patience, main())

    return named_as(check, test)


def over_loops(check: Callable[[S, P], None]) -> Callable[[S], None]:
    """
    Make a test of a function that uses a new part on several event loops.
    """

    def test(self: S) -> None:
        self._skip_if_not_met(check.__name__)
        if not self.several_loops:
            skip("the part belongs to one event loop")

        async def make() -> P:
            part: P = await result_of(self.make())
            return part

        async def close(part: P) -> None:
            await result_of(self.close(part))

        part = run_within(self.patience, make())
        try:
            check(self, part)
        finally:
            run_within(self.patience, close(part))

    return named_as(check, test)


def named_as(check: Callable[..., object], test: T) -> T:
    """
    Give a test the name and the documentation of the function that it runs.
    """
    # Not functools.wraps: pytest would look through it and take the part for a fixture.
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(test, name, getattr(check, name))
    return test


async def result_of(value: T | Awaitable[T]) -> T:
    """
    The value, awaited if need be.
    """
    return await value if inspect.isawaitable(value) else value


def skip(reason: str) -> NoReturn:
    """
    End a test that does not apply.
    """
    raise unittest.SkipTest(reason)


def check(holds: object, what: str) -> None:
    """
    Fail with this text unless the condition holds.
    """
    __tracebackhide__ = True  # for pytest
    if not holds:
        raise AssertionError(what)


def same(expected: object, found: object, what: str) -> None:
    """
    Fail unless both are equal.
    """
    __tracebackhide__ = True  # for pytest
    if expected != found:
        raise AssertionError(f"{what}: expected {_SHORT.repr(expected)}, got {_SHORT.repr(found)}")


async def error_of(step: Awaitable[object], what: str) -> Exception:
    """
    What a step raises; fail if it raises nothing.
    """
    __tracebackhide__ = True  # for pytest
    try:
        found = await step
    except Exception as error:
        return error
    raise AssertionError(f"{what}: it must raise, but returned {_SHORT.repr(found)}")


async def cancelled_after(steps: int, work: Awaitable[T]) -> list[T]:
    """
    What comes of work that is cancelled after so many steps of the event loop: its result, or nothing.

    Raises:
        Exception: The work raised something else.
    """
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return [await task]
    except asyncio.CancelledError:
        return []
