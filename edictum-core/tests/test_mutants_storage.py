"""
The suite for storage backends notices each of these faults.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar

import pytest
from backends import PlainBackend
from edictum import MemoryBackend, ReserveResult, StorageBackend
from edictum.storage import Batch, Change, as_number, parse_counter
from edictum.testing import StorageBackendSuite
from edictum.testing.suites.suite import Suite
from mutants import Crossing, Mutants, failure, is_caught


class MutantSuite(StorageBackendSuite):
    patience = 5.0
    part: Any

    def make(self) -> StorageBackend:
        backend: StorageBackend = self.part()
        return backend

    def another(self, backend: Any) -> Any:
        return backend.another() if hasattr(backend, "another") else None

    def break_it(self, backend: Any) -> bool:
        backend.broken = True
        return hasattr(backend, "can_break")

    def repair(self, backend: Any) -> None:
        backend.broken = False


mutants = Mutants(MutantSuite)
caught_by = mutants.caught_by


@pytest.mark.parametrize(("suite", "test"), mutants.cases)
def test_storage_mutant_is_caught(suite: type[Suite[Any]], test: str) -> None:
    assert is_caught(suite, test)


def test_every_test_of_the_storage_suite_can_fail() -> None:
    assert mutants.tests() - mutants.caught == set()


@pytest.mark.parametrize("part", [PlainBackend, MemoryBackend])
def test_storage_without_a_fault_is_let_through(part: type) -> None:
    suite = mutants.suite_for(part)

    assert {name: failure(suite, name) for name in mutants.tests() if failure(suite, name)} == {}


# --- values and keys --------------------------------------------------------------------------------


@caught_by("key_that_was_never_set_is_none")
class MissingIsEmpty(PlainBackend):
    async def get(self, key: str) -> str | None:
        return self.data.get(key, "")


@caught_by("value_is_returned_as_it_was_set")
class StripsText(PlainBackend):
    async def set(self, key: str, value: str) -> None:
        self.data[key] = value.strip()


@caught_by("value_is_returned_as_it_was_set")
class CutsText(PlainBackend):
    async def set(self, key: str, value: str) -> None:
        self.data[key] = value[:65_535]


@caught_by("value_is_returned_as_it_was_set")
class TidiesNumbers(PlainBackend):
    async def set(self, key: str, value: str) -> None:
        number = as_number(value)
        self.data[key] = value if number is None else f"{number:g}"


@caught_by("odd_value_is_returned_as_it_was_set_or_refused")
class DropsOddCharacters(PlainBackend):
    async def set(self, key: str, value: str) -> None:
        self.data[key] = value.replace("\x00", "").encode("utf-8", "replace").decode()


@caught_by("value_set_again_is_replaced")
class FirstValueStays(PlainBackend):
    async def set(self, key: str, value: str) -> None:
        self.data.setdefault(key, value)


@caught_by("deleted_value_is_gone_and_others_stay")
class DeletesByPrefix(PlainBackend):
    async def delete(self, key: str) -> None:
        self.data = {name: value for name, value in self.data.items() if not name.startswith(key)}


@caught_by("deleted_value_is_gone_and_others_stay")
class CannotDeleteWhatIsMissing(PlainBackend):
    async def delete(self, key: str) -> None:
        del self.data[key]


class RenamingBackend(PlainBackend):
    """
    Keeps values under another name than the key.
    """

    def name(self, key: str) -> str:
        raise NotImplementedError

    async def get(self, key: str) -> str | None:
        return await super().get(self.name(key))

    async def set(self, key: str, value: str) -> None:
        await super().set(self.name(key), value)

    async def increment(self, key: str, amount: float = 1) -> float:
        return await super().increment(self.name(key), amount)


@caught_by("keys_are_kept_apart")
class IgnoresCase(RenamingBackend):
    def name(self, key: str) -> str:
        return key.lower()


@caught_by("keys_are_kept_apart")
class CutsAtThirdColon(RenamingBackend):
    def name(self, key: str) -> str:
        return ":".join(key.split(":")[:3])


@caught_by("keys_are_kept_apart")
class RefusesBlanks(RenamingBackend):
    def name(self, key: str) -> str:
        if " " in key:
            raise ValueError("a key has no blanks")
        return key


@caught_by("odd_keys_are_kept_apart_or_refused")
class CutsKeys(RenamingBackend):
    def name(self, key: str) -> str:
        return key[:255]


@caught_by("odd_keys_are_kept_apart_or_refused")
class NormalisesKeys(RenamingBackend):
    def name(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)


@caught_by("odd_keys_are_kept_apart_or_refused")
class DropsTrailingBlanks(RenamingBackend):
    def name(self, key: str) -> str:
        return ":".join(part.rstrip() for part in key.split(":"))


# --- counters ---------------------------------------------------------------------------------------


@caught_by("counter_starts_at_zero_and_returns_its_new_value")
class ReturnsTheOldValue(PlainBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        return await super().increment(key, amount) - amount


@caught_by("counter_starts_at_zero_and_returns_its_new_value")
class CountsWholeNumbersOnly(PlainBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        return await super().increment(key, int(amount))


@caught_by("counter_starts_at_zero_and_returns_its_new_value")
class StopsAtZero(PlainBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        return await super().increment(key, max(0, amount))


@caught_by("counter_reads_as_text")
class ReadsWithAPoint(PlainBackend):
    async def get(self, key: str) -> str | None:
        number = as_number(found) if (found := self.data.get(key)) is not None else None
        return found if number is None else str(float(number))


@caught_by("counter_goes_on_from_a_number_that_was_set", "any_steps_agree_with_a_model")
class TextHidesTheCounter(PlainBackend):
    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        return self.texts.get(key, self.data.get(key))

    async def set(self, key: str, value: str) -> None:
        self.texts[key] = value

    async def delete(self, key: str) -> None:
        self.texts.pop(key, None)
        self.data.pop(key, None)


@caught_by(
    "text_that_is_no_number_is_not_counted", "reservation_over_text_that_is_no_number_raises_and_changes_nothing"
)
class TextCountsAsZero(MemoryBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        await self._forget_text(key)
        return await super().increment(key, amount)

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        for key, _, _ in changes:
            await self._forget_text(key)
        return await super().reserve(changes)

    async def release(self, changes: Sequence[Change]) -> None:
        await super().release(changes)

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        await super().settle(changes, failures, success)

    async def _forget_text(self, key: str) -> None:
        text = await self.get(key)
        if text is not None and as_number(text) is None:
            await self.delete(key)


@caught_by("text_that_is_no_number_is_not_counted")
class CountsOnFromNan(PlainBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        value = float(self.data.get(key, "0")) + amount
        self.data[key] = f"{value:g}"
        return value


@caught_by("deleted_counter_starts_at_zero")
class CounterOutlivesItsDeletion(PlainBackend):
    def __init__(self) -> None:
        super().__init__()
        self.deleted: set[str] = set()

    async def get(self, key: str) -> str | None:
        return None if key in self.deleted else self.data.get(key)

    async def delete(self, key: str) -> None:
        self.deleted.add(key)

    async def increment(self, key: str, amount: float = 1) -> float:
        self.deleted.discard(key)
        return await super().increment(key, amount)


# --- several at once --------------------------------------------------------------------------------


@caught_by("increments_of_many_tasks_are_all_counted")
class ReadsAndWritesApart(PlainBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        value = parse_counter(key, self.data.get(key)) + amount
        await asyncio.sleep(0)
        self.data[key] = f"{value:g}"
        return value


@caught_by("cancelled_increment_is_made_or_not")
class CountsInHalves(PlainBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        await super().increment(key, amount / 2)
        await asyncio.sleep(0)
        return await super().increment(key, amount / 2)


@caught_by("cancelled_increment_is_made_or_not")
class KeepsItsLockWhenCancelled(PlainBackend):
    patience = 0.5  # until the suite notices that a step never ends

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def increment(self, key: str, amount: float = 1) -> float:
        await self.lock.acquire()
        await asyncio.sleep(0)
        value = await super().increment(key, amount)
        self.lock.release()
        return value


@caught_by("event_loops_one_after_another_see_the_same")
class BelongsToOneLoop(PlainBackend):
    loop: asyncio.AbstractEventLoop | None = None

    async def step(self) -> None:
        running = asyncio.get_running_loop()
        self.loop = self.loop or running
        if self.loop is not running:
            raise RuntimeError("attached to a different loop")


@caught_by("increments_of_threads_are_all_counted")
class ForOneThread(PlainBackend):
    rounds = 3

    def __init__(self) -> None:
        super().__init__()
        self.crossing = Crossing()

    async def increment(self, key: str, amount: float = 1) -> float:
        value = parse_counter(key, self.data.get(key)) + amount
        self.crossing.meet()
        self.data[key] = f"{value:g}"
        return value


# --- optional parts ---------------------------------------------------------------------------------


@caught_by("second_backend_sees_the_same_data", "limit_over_two_backends_grants_exactly_that_many")
class KeepsItsOwnData(MemoryBackend):
    def another(self) -> MemoryBackend:
        return MemoryBackend()


@caught_by("batch_get_reads_what_get_reads")
class BatchOfMissingIsZero(MemoryBackend):
    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        return {key: value or "0" for key, value in (await super().batch_get(keys)).items()}


@caught_by("batch_get_reads_what_get_reads")
class BatchSkipsCounters(MemoryBackend):
    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        return {key: value for key, value in (await super().batch_get(keys)).items() if value != "2"}


# --- reservations -----------------------------------------------------------------------------------


class Reserving(MemoryBackend):
    """
    A backend whose reservation is written out, to be got wrong in parts.
    """

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        current = [await self.count(key) for key, _, _ in changes]
        for (key, amount, limit), value in zip(changes, current, strict=True):
            if limit is not None and value + amount > limit:
                return ReserveResult(False, tuple(current), key)
        if any(limit is not None for _, _, limit in changes):
            await self.between()
        values = [
            await super(Reserving, self).increment(key, amount) if amount else value
            for (key, amount, _), value in zip(changes, current, strict=True)
        ]
        return ReserveResult(True, tuple(values))

    async def count(self, key: str) -> float:
        return parse_counter(key, await self.get(key))

    async def between(self) -> None:
        """
        What happens between comparing with limits and counting.
        """


def test_reserving_base_of_the_mutants_has_no_fault() -> None:
    test_storage_without_a_fault_is_let_through(Reserving)


@caught_by("reservation_counts_and_returns_the_new_values")
class ReturnsValuesBefore(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        before = await super().reserve([(key, 0, None) for key, _, _ in changes])
        result = await super().reserve(changes)
        return ReserveResult(result.ok, before.values, result.failed_key)


@caught_by("reservation_counts_and_returns_the_new_values")
class CountsWhatShouldBeRead(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        return await super().reserve([(key, amount or 1, limit) for key, amount, limit in changes])


@caught_by("reservation_up_to_the_limit_is_made_and_one_beyond_is_refused")
class StopsBelowTheLimit(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        return await super().reserve([(key, n, None if most is None else most - 1) for key, n, most in changes])


@caught_by("reservation_up_to_the_limit_is_made_and_one_beyond_is_refused")
class ComparesBeforeAdding(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        bounds = [(key, n, None if most is None else most + n - 1) for key, n, most in changes]
        return await super().reserve(bounds)


@caught_by("reservation_up_to_the_limit_is_made_and_one_beyond_is_refused")
class NeedsFiniteLimits(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        return await super().reserve([(key, n, None if most is None else int(most)) for key, n, most in changes])


@caught_by("refused_reservation_changes_nothing", "any_steps_agree_with_a_model")
class CountsUpToTheRefusal(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        values: list[float] = []
        for change in changes:
            result = await super().reserve([change])
            values.extend(result.values)
            if not result.ok:
                rest = [await self.count(key) for key, _, _ in changes[len(values) :]]
                return ReserveResult(False, (*values, *rest), change[0])
        return ReserveResult(True, tuple(values))


@caught_by("refused_reservation_changes_nothing")
class NamesTheLastKey(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        result = await super().reserve(changes)
        return ReserveResult(result.ok, result.values, result.failed_key and changes[-1][0])


@caught_by("reservation_goes_on_from_what_was_counted_or_set")
class HasCountersOfItsOwn(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        return await super().reserve([(f"{key}:reserved", amount, limit) for key, amount, limit in changes])


@caught_by("sessions_have_counters_of_their_own")
class CountsForAllSessions(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        return await super().reserve([(f"s::{key.rpartition(':')[2]}", n, most) for key, n, most in changes])


@caught_by("released_reservation_can_be_made_again", "any_steps_agree_with_a_model")
class ReleasesTheFirstOnly(Reserving):
    async def release(self, changes: Sequence[Change]) -> None:
        await super().release(changes[:1])


@caught_by("released_reservation_can_be_made_again")
class ReleasesNothing(Reserving):
    async def release(self, changes: Sequence[Change]) -> None:
        pass


@caught_by("settled_reservation_stays_and_failures_in_a_row_are_counted")
class SettlingReleases(Reserving):
    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        await super().settle(changes, failures, success)
        await super().release(changes)


@caught_by("settled_reservation_stays_and_failures_in_a_row_are_counted", "guard_counts_what_happens")
class FailuresNeverEnd(Reserving):
    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        if not success:
            await super().settle(changes, failures, success)


@caught_by("any_steps_agree_with_a_model")
class SuccessEndsAllRows(Reserving):
    rows: frozenset[str] = frozenset()

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        self.rows |= {failures}
        await super().settle(changes, failures, success)
        for row in self.rows if success else ():
            await self.delete(row)


@caught_by("cancelled_reservation_is_never_forgotten_when_it_was_made")
class ReservesKeyByKey(Reserving):
    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        results = []
        for change in changes:
            results.append(await super().reserve([change]))
            await asyncio.sleep(0)
        values = tuple(value for result in results for value in result.values)
        failed = [result.failed_key for result in results if not result.ok]
        return ReserveResult(not failed, values, failed[0] if failed else None)


@caught_by("cancelled_reservation_is_never_forgotten_when_it_was_made")
class ConfirmsBeforeItCounts(Reserving):
    """
    Writes in the background, which a short program never waits for.
    """

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        result = ReserveResult(True, tuple([await self.count(key) + amount for key, amount, _ in changes]))
        if any(amount for _, amount, _ in changes):
            asyncio.get_running_loop().call_later(60, lambda: self.reserve_now(Batch(changes)))
        return result


@caught_by(
    "limit_under_many_tasks_grants_exactly_that_many",
    "guard_runs_exactly_as_many_parallel_calls_as_the_limit_says",
    "limit_is_never_exceeded_while_places_come_and_go",
)
class ChecksThenCounts(Reserving):
    async def between(self) -> None:
        await asyncio.sleep(0)


@caught_by("limit_is_never_exceeded_while_places_come_and_go")
class ReleasesTwice(Reserving):
    async def release(self, changes: Sequence[Change]) -> None:
        await super().release(changes)
        await super().release(changes)


@caught_by(
    "limit_under_threads_grants_exactly_that_many",
    "guard_runs_exactly_as_many_calls_of_threads_as_the_limit_says",
)
class ChecksThenCountsInThreads(Reserving):
    rounds = 3

    def __init__(self) -> None:
        super().__init__()
        self.crossing = Crossing()

    async def between(self) -> None:
        self.crossing.meet()


# --- steps that need not be awaited -----------------------------------------------------------------


@caught_by("step_without_waiting_does_what_the_awaited_one_does")
class NowForgetsLimits(MemoryBackend):
    def reserve_now(self, batch: Batch) -> tuple[float, ...]:
        return super().reserve_now(Batch([(key, amount, inf) for key, amount, _ in batch.changes]))


@caught_by("step_without_waiting_does_what_the_awaited_one_does")
class NowCountsWhatItRefuses(MemoryBackend):
    def reserve_now(self, batch: Batch) -> tuple[float, ...]:
        super().reserve_now(Batch([(key, amount, None) for key, amount, _ in batch.changes[:1]]))
        first = [(key, 0, None) for key, _, _ in batch.changes[:1]]
        return super().reserve_now(Batch([*first, *batch.changes[1:]]))


@caught_by("step_without_waiting_does_what_the_awaited_one_does")
class NowCountsNoFailures(MemoryBackend):
    def settle_now(self, batch: Batch, failures: str, success: bool) -> None:
        super().settle_now(batch, failures, True)


@caught_by("limit_without_waiting_under_threads_grants_exactly_that_many")
class NowIsForOneThread(MemoryBackend):
    rounds = 3

    def __init__(self) -> None:
        super().__init__()
        self.crossing = Crossing()

    def reserve_now(self, batch: Batch) -> tuple[float, ...]:
        super().reserve_now(Batch([(key, 0, most and most - n) for key, n, most in batch.changes]))
        self.crossing.meet()
        return super().reserve_now(Batch([(key, n, None) for key, n, _ in batch.changes]))


# --- trouble ----------------------------------------------------------------------------------------


class Breakable(PlainBackend):
    """
    A backend whose data can be out of reach.
    """

    can_break = True
    broken = False

    async def step(self) -> None:
        if self.broken:
            raise ConnectionError("no route to the store")


def test_breakable_base_of_the_mutants_has_no_fault() -> None:
    test_storage_without_a_fault_is_let_through(Breakable)


@caught_by("step_on_data_that_cannot_be_reached_raises")
class MissesWhatItCannotReach(Breakable):
    async def get(self, key: str) -> str | None:
        return None if self.broken else await super().get(key)


@caught_by("step_on_data_that_cannot_be_reached_raises")
class NeverRecovers(Breakable):
    was_broken = False

    async def step(self) -> None:
        self.was_broken = self.was_broken or self.broken
        if self.was_broken:
            raise ConnectionError("the connection is closed")


@caught_by("step_on_data_that_cannot_be_reached_raises", "guard_blocks_while_the_data_cannot_be_reached")
class CountsForItselfMeanwhile(Breakable):
    """
    A cache in front of a store that is away: every process counts for itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile = PlainBackend()

    async def get(self, key: str) -> str | None:
        return await (self.meanwhile.get(key) if self.broken else super().get(key))

    async def increment(self, key: str, amount: float = 1) -> float:
        return await (self.meanwhile.increment(key, amount) if self.broken else super().increment(key, amount))


# --- the suite itself -------------------------------------------------------------------------------


class Leaving(StorageBackendSuite):
    def make(self) -> StorageBackend:
        return PlainBackend()


class Replacing(Leaving):
    def test_keys_are_kept_apart(self) -> None:
        """
        Nothing is tested.
        """


class TakingAway(Leaving):
    test_keys_are_kept_apart = None  # type: ignore[assignment]


class MisspellingNotMet(Leaving):
    not_met: ClassVar = {"test_keys_are_kept_appart": "they are not"}


@pytest.mark.parametrize("suite", [Replacing, TakingAway, MisspellingNotMet])
def test_suite_that_was_changed_fails(suite: type[StorageBackendSuite]) -> None:
    error = failure(suite(), "test_suite_is_run_as_it_is")

    assert "not_met" in str(error)
    assert failure(Leaving(), "test_suite_is_run_as_it_is") is None
