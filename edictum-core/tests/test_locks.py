"""
Locks by key, across tasks, event loops and threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest
from edictum.locks import KeyedLocks
from hypothesis import given
from hypothesis import strategies as st


async def let_others_run(times: int = 10) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class Room:
    """
    Notes who is inside, and whether two ever were.
    """

    def __init__(self, locks: KeyedLocks) -> None:
        self._locks = locks
        self._guard = threading.Lock()
        self.inside: Counter[str] = Counter()
        self.crowded = False
        self.visits: list[object] = []

    async def visit(self, key: str, name: object = None, steps: int = 1) -> None:
        async with self._locks.hold(key):
            with self._guard:
                self.inside[key] += 1
                self.crowded = self.crowded or self.inside[key] > 1
                self.visits.append(name)
            try:
                await let_others_run(steps)
            finally:
                with self._guard:
                    self.inside[key] -= 1


def test_lock_is_held_by_one_task_at_a_time_in_order() -> None:
    room = Room(KeyedLocks())

    async def main() -> None:
        await asyncio.gather(*(room.visit("a", number) for number in range(20)))

    asyncio.run(main())
    assert not room.crowded
    assert list(range(20)) == room.visits


def test_lock_of_another_key_is_free() -> None:
    locks = KeyedLocks()

    async def main() -> str:
        async with locks.hold("a"), locks.hold("b"):
            return "both"

    assert asyncio.run(main()) == "both"


def test_lock_is_given_back_after_an_error() -> None:
    locks = KeyedLocks()

    async def main() -> str:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with locks.hold("a"):
                    raise ZeroDivisionError
        return "free"

    assert asyncio.run(main()) == "free"


def test_lock_passes_over_a_waiter_that_was_cancelled() -> None:
    room = Room(KeyedLocks())

    async def main() -> None:
        tasks = [asyncio.create_task(room.visit("a", number, steps=3)) for number in range(4)]
        await let_others_run(1)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert room.visits == [0, 3]


@pytest.mark.parametrize("steps", range(8))
def test_lock_handed_to_a_waiter_while_it_is_cancelled_goes_on_to_the_next(steps: int) -> None:
    """
    The moment of the cancellation moves over that of the hand-over, one step of the loop at a time.
    """
    room = Room(KeyedLocks())

    async def main() -> None:
        tasks = [asyncio.create_task(room.visit("a", number, steps=2)) for number in range(3)]
        await let_others_run(steps)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await room.visit("a", "after")

    asyncio.run(main())
    assert not room.crowded
    assert room.visits[-2:] == [2, "after"]


@pytest.mark.property
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), max_size=8),
)
def test_lock_under_any_cancellations_stays_exclusive_and_is_free_in_the_end(
    visits: list[tuple[str, int]], cancels: list[tuple[int, int]]
) -> None:
    locks = KeyedLocks()
    room = Room(locks)

    async def main() -> None:
        tasks = [asyncio.create_task(room.visit(key, number, steps)) for number, (key, steps) in enumerate(visits)]
        for number, pause in cancels:
            await let_others_run(pause)
            tasks[number % len(tasks)].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(room.visit("a"), room.visit("b"))

    asyncio.run(main())
    assert not room.crowded
    assert locks._waiters == {}


def test_lock_is_exclusive_over_loops_of_several_threads() -> None:
    room = Room(KeyedLocks())
    failed: list[BaseException] = []

    async def main() -> None:
        await asyncio.gather(*(room.visit("a", steps=3) for _ in range(25)))

    def thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for started in threads:
        started.start()
    for started in threads:
        started.join(60)

    assert failed == []
    assert not room.crowded
    assert len(room.visits) == 100


def test_lock_passes_over_a_waiter_whose_loop_is_closed() -> None:
    """
    The lost waiter never gets the lock, so throwing it away must not take the lock from who holds it.
    """
    room = Room(KeyedLocks())
    lost = room.visit("a", "lost")
    other = asyncio.new_event_loop()

    async def wait_there() -> None:
        lost.send(None)

    async def main() -> None:
        async with room._locks.hold("a"):
            await asyncio.to_thread(other.run_until_complete, wait_there())
            holder = asyncio.create_task(room.visit("a", "holder", steps=20))
            await let_others_run()
            other.close()
        await let_others_run()
        lost.close()
        await asyncio.gather(holder, room.visit("a", "after"))

    asyncio.run(main())
    assert not room.crowded
    assert room.visits == ["holder", "after"]


def test_lock_passes_over_a_waiter_that_was_closed() -> None:
    room = Room(KeyedLocks())

    async def main() -> bool:
        async with room._locks.hold("a"):
            closed = room.visit("a", "closed")
            closed.send(None)
            closed.close()
        next_one = asyncio.create_task(room.visit("a", "next"))
        await let_others_run()
        next_one.cancel()
        await asyncio.gather(next_one, return_exceptions=True)
        return room.visits == ["next"]

    assert asyncio.run(main())
