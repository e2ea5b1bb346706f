"""
What is done together: nobody suffers from a neighbour, nothing is done twice, and nobody waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edictum_console.errors import UnavailableError
from edictum_console.gathering import Gathering


class Work:
    """
    Does things when it is let, and remembers what was asked for together.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.open = asyncio.Event()
        self.raised: dict[str, Exception] = {}
        self.answered: dict[str, Exception] = {}

    async def do(self, asked: Sequence[str]) -> list[str | Exception]:
        self.calls.append(list(asked))
        await self.open.wait()
        for one in asked:
            if one in self.raised:
                raise self.raised[one]
        return [self.answered.get(one, one.upper()) for one in asked]


async def begun(gathering: Gathering[str, str], work: Work, *names: str) -> list[asyncio.Task[str]]:
    """
    Ask one after the other, while nothing is done.
    """
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(gathering.done("place", name, work.do)))
        for _ in range(3):
            await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: Sequence[asyncio.Task[str]]) -> list[str | type]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one if isinstance(one, str) else type(one) for one in found]


def test_error_of_one_is_told_to_that_one_and_the_others_get_their_answers() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](10), Work()
        work.answered["b"] = KeyError("b")
        tasks = await begun(gathering, work, "a", "b", "c")
        work.open.set()
        assert await outcomes(tasks) == ["A", KeyError, "C"]
        assert work.calls == [["a"], ["b", "c"]]

    asyncio.run(check())


def test_failure_of_all_is_looked_for_in_each_and_one_alone_is_not_tried_twice() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](10), Work()
        work.raised |= {"a": ZeroDivisionError(), "c": ZeroDivisionError()}
        tasks = await begun(gathering, work, "a", "b", "c")
        work.open.set()
        assert await outcomes(tasks) == [ZeroDivisionError, "B", ZeroDivisionError]
        assert work.calls == [["a"], ["b", "c"], ["b"], ["c"]]

    asyncio.run(check())


def test_outage_is_told_to_all_that_wait_without_another_try() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](1), Work()
        work.raised["a"] = UnavailableError("away")
        tasks = await begun(gathering, work, "a", "b", "c")
        work.open.set()
        assert await outcomes(tasks) == [UnavailableError] * 3
        assert work.calls == [["a"]]
        assert await gathering.done("place", "d", work.do) == "D"

    asyncio.run(check())


def test_request_that_ends_leaves_what_is_being_done_and_its_neighbours_alone() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](10), Work()
        tasks = await begun(gathering, work, "a", "b", "c")
        tasks[0].cancel()
        tasks[1].cancel()
        await asyncio.wait(tasks[:2])
        work.open.set()
        assert await outcomes(tasks) == [asyncio.CancelledError, asyncio.CancelledError, "C"]
        assert work.calls == [["a"], ["b", "c"]]

    asyncio.run(check())


def test_requests_end_when_what_works_for_them_is_cancelled() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](10), Work()
        before = asyncio.all_tasks()
        tasks = await begun(gathering, work, "a", "b")
        (worker,) = asyncio.all_tasks() - before - set(tasks)
        worker.cancel()
        async with asyncio.timeout(5):
            assert await outcomes(tasks) == [asyncio.CancelledError] * 2
        work.open.set()
        assert await gathering.done("place", "c", work.do) == "C"

    asyncio.run(check())


def test_more_than_fits_waits_for_the_next_go_and_one_that_is_too_large_goes_alone() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](3, len), Work()
        tasks = await begun(gathering, work, "a", "bb", "c", "dddd", "e")
        work.open.set()
        assert await outcomes(tasks) == ["A", "BB", "C", "DDDD", "E"]
        assert work.calls == [["a"], ["bb", "c"], ["dddd"], ["e"]]

    asyncio.run(check())


def test_nothing_is_kept_of_what_was_done() -> None:
    async def check() -> None:
        gathering, work = Gathering[str, str](3), Work()
        work.open.set()
        work.raised["b"] = ZeroDivisionError()
        for name in "ab":
            await asyncio.gather(gathering.done(name, name, work.do), return_exceptions=True)
        await asyncio.sleep(0)
        assert gathering._waiting == {}
        assert gathering._tasks == set()

    asyncio.run(check())


def test_place_of_another_thing_does_not_wait() -> None:
    async def check() -> None:
        gathering, held, free = Gathering[str, str](3), Work(), Work()
        (waiting,) = await begun(gathering, held, "a")
        free.open.set()
        assert await gathering.done("elsewhere", "b", free.do) == "B"
        held.open.set()
        assert await waiting == "A"

    asyncio.run(check())
