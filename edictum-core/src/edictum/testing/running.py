"""
Ways to run coroutines in a test: at once, within a time limit, and in several threads together.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 60.0


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    The result of a coroutine that never waits, without an event loop.

    Raises:
        AssertionError: It waited.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine waited")


def run_within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine to its end on an event loop of its own.

    Args:
        seconds: How long it may take.  Code that holds up the thread is not interrupted.
        coroutine: What is run.

    Raises:
        AssertionError: It took longer, and was cancelled.
    """

    async def main() -> T:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await coroutine
        except TimeoutError:
            if not limit.expired():
                raise
        raise AssertionError(f"it did not end within {seconds:g} seconds")

    return asyncio.run(main())


def in_threads(number: int, work: Callable[[], T], *, seconds: float = PATIENCE) -> list[T]:
    """
    Do the same work in several threads that begin together.

    Args:
        number: How many threads.
        work: What each of them does.
        seconds: How long all of it may take.

    Returns:
        What each of them returned.

    Raises:
        AssertionError: A thread took longer; it is left behind.
        Exception: What the work raised in a thread, the first one by the order of the list.
    """
    barrier = threading.Barrier(number)
    results: list[Future[T]] = [Future() for _ in range(number)]

    def begin(result: Future[T]) -> None:
        try:
            barrier.wait(seconds)
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    deadline = time.monotonic() + seconds
    for result in results:
        threading.Thread(target=begin, args=(result,), daemon=True).start()
    for result in results:
        try:
            # Asked without raising, because the work may raise a TimeoutError of its own.
            result.exception(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise AssertionError(f"a thread did not end within {seconds:g} seconds") from None
    return [result.result() for result in results]
