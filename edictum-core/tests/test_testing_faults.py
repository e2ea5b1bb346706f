"""
Ports that fail on purpose.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import Any

import pytest
from backends import PlainBackend
from edictum import AuditEvent, CollectingAuditSink, MemoryBackend, ReservingBackend, StorageBackend
from edictum.storage import Batch, immediate, reserving
from edictum.testing import (
    AutoApprovalBackend,
    Faults,
    FaultyApprovalBackend,
    FaultyAuditSink,
    FaultyStorageBackend,
)
from edictum.testing.faults import InjectedError, always, at_random, from_nth, nth
from edictum.testing.running import at_once, in_threads
from guards import ask, guard_of, run


def failing_uses(faults: Faults, number: int = 20) -> list[int]:
    found = []
    for use in range(1, number + 1):
        try:
            faults.use()
        except InjectedError:
            found.append(use)
    return found


# --- when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (nth(3), [3]),
        (nth(2, 19), [2, 19]),
        (nth(), []),
        (from_nth(18), [18, 19, 20]),
        (always, list(range(1, 21))),
        (at_random(0, seed=1), []),
        (at_random(1, seed=1), list(range(1, 21))),
        (lambda use: use % 10 == 0, [10, 20]),
    ],
)
def test_faults_come_at_the_uses_that_were_said(when: Any, expected: list[int]) -> None:
    faults = Faults(when)

    assert expected == failing_uses(faults)
    assert faults.uses == 20


def test_faults_at_random_are_the_same_for_a_seed_and_about_as_many_as_asked_for() -> None:
    first, again, other = (failing_uses(Faults(at_random(0.3, seed=seed)), 1000) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert 200 < len(first) < 400


def test_faults_that_are_not_armed_count_and_do_nothing() -> None:
    faults = Faults(from_nth(2))
    faults.armed = False
    assert failing_uses(faults, 3) == []
    faults.armed = True

    assert failing_uses(faults, 2) == [1, 2]
    assert faults.uses == 5


def test_faults_count_the_uses_of_all_threads() -> None:
    faults = Faults(nth(1, 400))

    assert sum(in_threads(4, lambda: len(failing_uses(faults, 100)))) == 2
    assert faults.uses == 400


@pytest.mark.parametrize("make", [lambda: nth(0), lambda: nth(1, -1), lambda: from_nth(0)])
def test_faults_at_a_use_that_never_comes_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        make()


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_faults_with_no_probability_are_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        at_random(probability, seed=1)


@pytest.mark.parametrize("options", [{"error": None}, {"delay": -1}, {"delay": math.nan}])
def test_faults_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        Faults(always, **options)


# --- how --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("afterwards", "stored"), [(False, None), (True, "1")])
def test_fault_before_the_work_leaves_nothing_and_one_afterwards_leaves_it_done(
    afterwards: bool, stored: str | None
) -> None:
    backend = MemoryBackend()
    faulty = FaultyStorageBackend(backend, Faults(error=ConnectionError("gone"), afterwards=afterwards))

    with pytest.raises(ConnectionError, match="gone"):
        at_once(faulty.increment("s:a:x"))
    assert stored == at_once(backend.get("s:a:x"))


@pytest.mark.parametrize("afterwards", [False, True])
def test_fault_without_an_error_only_takes_longer(afterwards: bool) -> None:
    faults = Faults(nth(2), None, delay=0.01, afterwards=afterwards)
    faulty = FaultyStorageBackend(MemoryBackend(), faults)

    async def main() -> list[bool]:
        found = []
        for _ in range(3):
            step = asyncio.create_task(faulty.increment("s:a:x"))
            for _ in range(3):
                await asyncio.sleep(0)
            found.append(step.done())
            await step
        return found

    assert asyncio.run(main()) == [True, False, True]
    assert at_once(faulty.get("s:a:x")) == "3"


def test_fault_that_hangs_ends_when_its_caller_is_cancelled() -> None:
    backend = MemoryBackend()
    faulty = FaultyStorageBackend(backend, Faults(delay=math.inf))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(faulty.increment("s:a:x"), 0.01)

    asyncio.run(main())
    assert at_once(backend.get("s:a:x")) is None


@pytest.mark.parametrize("afterwards", [False, True])
def test_fault_of_a_port_that_is_not_awaited(afterwards: bool) -> None:
    done: list[str] = []
    slow = Faults(error=None, delay=0.001, afterwards=afterwards)
    failing = Faults(afterwards=afterwards)

    assert slow.around(lambda: done.append("slow")) is None
    with pytest.raises(InjectedError):
        failing.around(lambda: done.append("failing"))
    with pytest.raises(ValueError, match="cannot hang"):
        Faults(delay=math.inf).use()

    assert done == (["slow", "failing"] if afterwards else ["slow"])


# --- the ports --------------------------------------------------------------------------------------


class Tripling(MemoryBackend):
    async def increment(self, key: str, amount: float = 1) -> float:
        return await super().increment(key, 3 * amount)


@pytest.mark.parametrize(
    ("backend", "reserves", "at_once"),
    [(MemoryBackend(), True, True), (PlainBackend(), False, False), (Tripling(), False, False)],
)
def test_faulty_storage_can_do_what_the_wrapped_backend_can(
    backend: StorageBackend, reserves: bool, at_once: bool
) -> None:
    faulty = FaultyStorageBackend(backend, Faults(nth()))

    assert isinstance(faulty, StorageBackend)
    assert isinstance(faulty, ReservingBackend) is reserves
    assert (reserving(faulty) is faulty) is reserves
    assert (immediate(reserving(faulty)) is faulty) is at_once
    assert hasattr(faulty, "batch_get") is hasattr(backend, "batch_get")


def test_faulty_storage_fails_at_each_of_its_steps() -> None:
    change = [("s:a:x", 1.0, 5.0)]
    faults = Faults()
    faulty: Any = FaultyStorageBackend(MemoryBackend(), faults)
    steps = [
        faulty.get("s:a:x"),
        faulty.set("s:a:x", "1"),
        faulty.delete("s:a:x"),
        faulty.increment("s:a:x"),
        faulty.batch_get(["s:a:x"]),
        faulty.reserve(change),
        faulty.release(change),
        faulty.settle(change, "s:a:f", True),
    ]

    for step in steps:
        with pytest.raises(InjectedError):
            at_once(step)
    with pytest.raises(InjectedError):
        faulty.reserve_now(Batch(change))
    with pytest.raises(InjectedError):
        faulty.settle_now(Batch(change), "s:a:f", True)
    assert faults.uses == 10


def test_faulty_storage_that_works_passes_everything_on() -> None:
    faulty: Any = FaultyStorageBackend(MemoryBackend(), Faults(nth()))
    change = [("s:a:x", 2, 5)]
    at_once(faulty.set("s:a:note", "text"))

    assert at_once(faulty.increment("s:a:x", 3)) == 3
    assert at_once(faulty.reserve(change)).values == (5,)
    assert at_once(faulty.reserve(change)).failed_key == "s:a:x"
    at_once(faulty.release(change))
    assert at_once(faulty.batch_get(["s:a:x", "s:a:note"])) == {"s:a:x": "3", "s:a:note": "text"}
    at_once(faulty.delete("s:a:x"))
    assert at_once(faulty.get("s:a:x")) is None


def test_faulty_sink_records_but_for_the_events_that_shall_fail() -> None:
    collected = CollectingAuditSink()
    faulty = FaultyAuditSink(collected, Faults(nth(2), OSError("disk full")))

    at_once(faulty.emit(AuditEvent(call_index=1)))
    with pytest.raises(OSError, match="disk full"):
        at_once(faulty.emit(AuditEvent(call_index=2)))
    at_once(faulty.emit(AuditEvent(call_index=3)))

    assert [event.call_index for event in collected.events] == [1, 3]


def test_faulty_approvals_fail_to_be_asked_or_to_answer() -> None:
    faulty = FaultyApprovalBackend(AutoApprovalBackend(), Faults(nth(1, 3)))

    with pytest.raises(InjectedError):
        at_once(faulty.request_approval("tool", {}, "why"))
    request = at_once(faulty.request_approval("tool", {}, "why"))
    with pytest.raises(InjectedError):
        asyncio.run(faulty.wait_for_decision(request.approval_id))
    assert asyncio.run(faulty.wait_for_decision(request.approval_id)).approved


def test_faulty_approvals_take_the_keywords_and_the_wish_of_the_wrapped_backend() -> None:
    class Old(AutoApprovalBackend):
        wants_raw_args = True

        async def request_approval(  # type: ignore[override]
            self, tool_name: str, tool_args: dict[str, Any], message: str, *, timeout: float = 300
        ) -> Any:
            return await super().request_approval(tool_name, tool_args, message, timeout=timeout)

    wrapped = Old()
    faulty = FaultyApprovalBackend(wrapped, Faults(nth()))

    assert list(inspect.signature(faulty.request_approval).parameters) == [
        "tool_name", "tool_args", "message", "timeout",
    ]  # fmt: skip
    assert run(guard_of(ask(), approval_backend=faulty), args={"password": "hunter2"}) == "done"
    assert wrapped.requests[0].tool_args == {"password": "hunter2"}
