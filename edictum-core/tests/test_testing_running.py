"""
Ways to run coroutines in a test.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from edictum.testing.running import at_once, in_threads, run_within


async def waits() -> None:
    await asyncio.Event().wait()


def test_at_once_gives_the_result_of_a_coroutine_that_never_waits() -> None:
    async def main() -> int:
        return 7

    assert at_once(main()) == 7


def test_at_once_fails_where_the_coroutine_waits() -> None:
    async def main() -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="waited"):
        at_once(main())


def test_run_within_gives_the_result() -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        return 7

    assert run_within(60, main()) == 7


def test_run_within_fails_and_cancels_what_takes_longer() -> None:
    ended: list[type[BaseException]] = []

    async def main() -> None:
        try:
            await waits()
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(AssertionError, match=r"did not end within 0\.01 seconds"):
        run_within(0.01, main())
    assert ended == [asyncio.CancelledError]


def test_run_within_passes_a_timeout_of_the_work_on() -> None:
    async def main() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        run_within(60, main())


def test_in_threads_begins_all_together() -> None:
    everybody = threading.Barrier(4)

    assert sorted(in_threads(4, lambda: everybody.wait(60))) == [0, 1, 2, 3]


def test_in_threads_passes_on_what_a_thread_raises() -> None:
    def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        in_threads(2, work)


def test_in_threads_fails_where_a_thread_never_ends() -> None:
    released = threading.Event()

    with pytest.raises(AssertionError, match=r"a thread did not end within 0\.01 seconds"):
        in_threads(2, released.wait, seconds=0.01)
    released.set()
