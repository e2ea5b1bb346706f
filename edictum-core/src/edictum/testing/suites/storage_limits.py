"""
Tests of reservations, which make limits exact: all changes or none, never beyond a limit, whoever asks at once.

A backend that has no ``reserve`` of its own is tested as a guard uses it, with reservations added within the process.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from edictum.storage import (
    Batch,
    Change,
    ImmediateBackend,
    NoRoom,
    ReservingBackend,
    StorageBackend,
    immediate,
    reserving,
)
from edictum.testing.running import in_threads, run_within
from edictum.testing.suites.storage_values import NO_NUMBERS, StorageValueTests, new_key, new_session
from edictum.testing.suites.suite import cancelled_after, check, error_of, on_a_loop, over_loops, result_of, same, skip


class StorageLimitTests(StorageValueTests):
    """
    Tests of ``reserve``, ``release`` and ``settle``, and of ``reserve_now`` and ``settle_now`` where they exist.
    """

    @on_a_loop
    async def test_reservation_counts_and_returns_the_new_values(self, backend: StorageBackend) -> None:
        """
        The values come in the order of the changes; a change by nothing only reads.
        """
        store = reserving(backend)
        total, tool, seen, unseen = keys_of_session("execs", "tool:read", "attempts", "note")
        await backend.increment(seen, 4)
        changes: list[Change] = [(tool, 2, None), (total, 1, None), (seen, 0, None), (unseen, 0, None)]
        for times in (1, 2):
            granted = await store.reserve(changes)
            same((True, None), (granted.ok, granted.failed_key), "ok and failed_key of a reservation without limits")
            same((2 * times, times, 4, 0), tuple(granted.values), "the values of a reservation")
        same("2", await backend.get(total), "a counter after two reservations")
        same("4", await backend.get(seen), "a counter that reservations only read")

    @on_a_loop
    async def test_reservation_up_to_the_limit_is_made_and_one_beyond_is_refused(self, backend: StorageBackend) -> None:
        """
        A limit is the largest value afterwards, also for amounts other than 1; an infinite one never refuses.
        """
        store = reserving(backend)
        for amount, limit, times in ((1, 3, 3), (2, 5, 2), (0.5, 1, 2), (1, 0, 0), (1, math.inf, 5)):
            key = new_key("execs")
            granted = [(await store.reserve([(key, amount, limit)])).ok for _ in range(5)]
            what = f"five reservations of {amount} under a limit of {limit}"
            same([number < times for number in range(5)], granted, what)

    @on_a_loop
    async def test_refused_reservation_changes_nothing(self, backend: StorageBackend) -> None:
        """
        One limit without room refuses all changes, and the answer says which one, with the values as they are.
        """
        store = reserving(backend)
        first, second, third = keys = keys_of_session("execs", "tool:read", "cost")
        await store.reserve([(second, 2, None), (third, 7, None)])
        refused = await store.reserve([(first, 1, 5), (second, 1, 2), (third, 1, 7)])
        same((False, second), (refused.ok, refused.failed_key), "ok and failed_key of a refusal by the second limit")
        same((0, 2, 7), tuple(refused.values), "the values of a refusal")
        for key, value in zip(keys, (0, 2, 7), strict=True):
            same(value, float(await backend.get(key) or "0"), "a counter after a refusal")
        granted = await store.reserve([(first, 1, 5)])
        same((1,), tuple(granted.values), "a reservation after a refusal")

    @on_a_loop
    async def test_reservation_goes_on_from_what_was_counted_or_set(self, backend: StorageBackend) -> None:
        """
        Reservations and the other methods mean the same counters.
        """
        store = reserving(backend)
        counted, text, deleted = keys_of_session("execs", "tool:read", "cost")
        await backend.increment(counted, 4)
        await backend.set(text, "4")
        await store.reserve([(deleted, 4, None)])
        await backend.delete(deleted)
        for key, expected in ((counted, False), (text, False), (deleted, True)):
            same(expected, (await store.reserve([(key, 1, 4)])).ok, "a reservation under a limit of 4")
        same(5, await backend.increment(counted), "an increment beyond a limit, which only reservations observe")

    @on_a_loop
    async def test_reservation_over_text_that_is_no_number_raises_and_changes_nothing(
        self, backend: StorageBackend
    ) -> None:
        """
        What cannot be compared with a limit must not count as room.
        """
        store = reserving(backend)
        for text in NO_NUMBERS:
            good, bad = keys_of_session("execs", "tool:read")
            await backend.set(bad, text)
            await error_of(store.reserve([(good, 1, 5), (bad, 1, 5)]), f"a reservation over {text!r}")
            await error_of(store.reserve([(bad, 0, None)]), f"reading {text!r} as a counter")
            same((None, text), (await backend.get(good), await backend.get(bad)), "the keys after such a reservation")

    @on_a_loop
    async def test_sessions_have_counters_of_their_own(self, backend: StorageBackend) -> None:
        """
        A limit that one session has reached leaves another one alone.
        """
        store = reserving(backend)
        for _ in range(2):
            key = new_key("execs")
            same(True, (await store.reserve([(key, 1, 1)])).ok, "the first reservation of a session")
            same(False, (await store.reserve([(key, 1, 1)])).ok, "the second one, beyond the limit")

    # --- what becomes of a reservation --------------------------------------------------------------

    @on_a_loop
    async def test_released_reservation_can_be_made_again(self, backend: StorageBackend) -> None:
        """
        All counters go back.
        """
        store = reserving(backend)
        total, tool = keys_of_session("execs", "tool:read")
        changes: list[Change] = [(total, 1, 2), (tool, 3, None)]
        for _ in range(3):
            same(
                [True, True, False], [(await store.reserve(changes)).ok for _ in range(3)], "places under a limit of 2"
            )
            for _ in range(2):
                await store.release(changes)
            for key in (total, tool):
                same(0, float(await backend.get(key) or "0"), "a counter whose reservations were released")

    @on_a_loop
    async def test_settled_reservation_stays_and_failures_in_a_row_are_counted(self, backend: StorageBackend) -> None:
        """
        A tool that has run keeps its place; a success ends the row of failures.
        """
        store = reserving(backend)
        total, failures = keys_of_session("execs", "consec_fail")
        rows = []
        for success in (False, False, True, True, False):
            same(True, (await store.reserve([(total, 1, 5)])).ok, "one of 5 places")
            await store.settle([(total, 1, 5)], failures, success)
            rows.append(float(await backend.get(failures) or "0"))
        same([1, 2, 0, 0, 1], rows, "the failures in a row")
        same("5", await backend.get(total), "a counter whose reservations are settled")
        same(False, (await store.reserve([(total, 1, 5)])).ok, "a sixth place of 5")

    @on_a_loop
    async def test_cancelled_reservation_is_never_forgotten_when_it_was_made(self, backend: StorageBackend) -> None:
        """
        A place that was confirmed is counted, in all its counters; one too many is safe, one too few is not.
        """
        store = reserving(backend)
        total, tool = keys_of_session("execs", "tool:read")
        confirmed = 0
        for steps in range(12):
            found = await cancelled_after(steps, store.reserve([(total, 1, 100), (tool, 1, None)]))
            confirmed += len(found)
        # In one step, because a cancelled reservation may still be under way in a thread.
        for value in (counted := (await store.reserve([(total, 0, None), (tool, 0, None)])).values):
            check(confirmed <= value <= 12, f"{confirmed} of 12 reservations were confirmed, and {value} were counted")
        if store is backend:
            same(counted[0], counted[1], "the two counters of cancelled reservations")
        after = (await store.reserve([(total, 1, None)])).values[0]
        check(counted[0] < after <= 13, f"a counter is {after} after it was {counted[0]} and a place was reserved")

    # --- several at once ----------------------------------------------------------------------------

    @on_a_loop
    async def test_limit_under_many_tasks_grants_exactly_that_many(self, backend: StorageBackend) -> None:
        """
        Check and count are one step, over several limits as well.
        """
        store = reserving(backend)
        total, tool = keys_of_session("execs", "tool:read")
        for changes, key in (([(total, 1, 10)], total), ([(total, 1, None), (tool, 1, 10)], tool)):
            granted = await asyncio.gather(*(store.reserve(changes) for _ in range(100)))
            same(10, sum(result.ok for result in granted), "places granted to 100 tasks under a limit of 10")
            same("10", await backend.get(key), "the counter of a limit of 10")

    @on_a_loop
    async def test_limit_is_never_exceeded_while_places_come_and_go(self, backend: StorageBackend) -> None:
        """
        At no moment do more tasks hold a place than the limit says.
        """
        store = reserving(backend)
        place: list[Change] = [(new_key("execs"), 1, 3)]
        holding, most, turns = 0, 0, 0

        async def come_and_go(steps: int) -> None:
            nonlocal holding, most, turns
            for _ in range(10):
                if (await store.reserve(place)).ok:
                    holding += 1
                    most, turns = max(most, holding), turns + 1
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    holding -= 1
                    await store.release(place)
                await asyncio.sleep(0)

        await asyncio.gather(*(come_and_go(number % 4) for number in range(10)))
        check(most <= 3, f"{most} tasks held a place at once under a limit of 3")
        check(turns >= 3, f"only {turns} places were granted under a limit of 3")
        same(0, float(await backend.get(place[0][0]) or "0"), "the counter after all places were released")

    @over_loops
    def test_limit_under_threads_grants_exactly_that_many(self, backend: StorageBackend) -> None:
        """
        Threads with event loops of their own share a limit.
        """
        store = reserving(backend)
        place: list[Change] = [(new_key("execs"), 1, 50)]

        async def take() -> int:
            return sum([(await store.reserve(place)).ok for _ in range(20)])

        found = in_threads(8, lambda: run_within(self.patience, take()), seconds=self.patience)
        same(50, sum(found), "places granted to 8 threads under a limit of 50")

    @on_a_loop
    async def test_limit_over_two_backends_grants_exactly_that_many(self, backend: StorageBackend) -> None:
        """
        Processes that share their data share limits.
        """
        if reserving(backend) is not backend:
            skip("the backend has no reserve, so its limits are exact within one process only")
        other = await self._other(backend)
        try:
            place: list[Change] = [(new_key("execs"), 1, 10)]
            stores = [reserving(backend), reserving(other)] * 25
            granted = await asyncio.gather(*(store.reserve(place) for store in stores))
            same(10, sum(result.ok for result in granted), "places granted by two backends under a limit of 10")
        finally:
            await result_of(self.close(other))

    # --- optional: steps that need not be awaited ---------------------------------------------------

    @on_a_loop
    async def test_step_without_waiting_does_what_the_awaited_one_does(self, backend: StorageBackend) -> None:
        """
        ``reserve_now`` returns the values or raises :class:`~edictum.storage.NoRoom`, and changes nothing then.
        """
        fast = _immediate(backend)
        total, tool, failures = keys_of_session("execs", "tool:read", "consec_fail")
        batch = Batch([(total, 1, None), (tool, 1, 2)])
        for times in (1, 2):
            same((times, times), tuple(fast.reserve_now(batch)), "the values of reserve_now")
        try:
            granted = fast.reserve_now(batch)
        except NoRoom as full:
            same((tool, (2, 2)), (full.key, tuple(full.values)), "the key and the values of a refusal by reserve_now")
        else:
            raise AssertionError(f"reserve_now must raise NoRoom under a limit of 2, but returned {granted}")
        same("2", await backend.get(total), "a counter after a refusal by reserve_now")
        rows = []
        for success in (False, False, True):
            fast.settle_now(batch, failures, success)
            rows.append(float(await backend.get(failures) or "0"))
        same([1, 2, 0], rows, "the failures in a row by settle_now")
        same(False, (await fast.reserve(batch.changes)).ok, "reserve after reserve_now has taken all places")
        await fast.release(batch.changes)
        same((2, 2), tuple(fast.reserve_now(batch)), "reserve_now after a release")

    @over_loops
    def test_limit_without_waiting_under_threads_grants_exactly_that_many(self, backend: StorageBackend) -> None:
        """
        Steps that need not be awaited come from any thread.
        """
        fast = _immediate(backend)
        batch = Batch([(new_key("execs"), 1, 100)])

        def take() -> int:
            return sum(_granted(lambda: fast.reserve_now(batch)) for _ in range(50))

        same(100, sum(in_threads(8, take, seconds=self.patience)), "places granted to 8 threads under a limit of 100")


def keys_of_session(*names: str) -> list[str]:
    """
    Keys of a session that was never used before.
    """
    session = new_session()
    return [f"s:{session}:{name}" for name in names]


def _immediate(backend: StorageBackend) -> ImmediateBackend:
    store: ReservingBackend = reserving(backend)
    fast = immediate(store)
    return fast if fast is not None else skip("the backend has no steps that need not be awaited")


def _granted(step: Callable[[], object]) -> bool:
    try:
        step()
    except NoRoom:
        return False
    return True
