"""
Clocks for tests.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied
from edictum.testing import BrokenClock, Faults, ManualClock
from edictum.testing.faults import nth
from edictum.testing.running import in_threads
from guards import events_of, run

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


def test_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(NOON)
    before = [(clock.now(), clock.monotonic()) for _ in range(2)]
    clock.advance(1.5)
    clock.advance(0)

    assert before == [(NOON, 0.0)] * 2
    assert (clock.now(), clock.monotonic()) == (NOON + timedelta(seconds=1.5), 1.5)


def test_manual_clock_set_back_still_counts_seconds_forwards() -> None:
    clock = ManualClock(NOON)
    clock.advance(10)
    clock.set_time(NOON - timedelta(days=1))
    clock.advance(1)

    assert (clock.now(), clock.monotonic()) == (NOON - timedelta(days=1) + timedelta(seconds=1), 11.0)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_manual_clock_advance_by_no_time_is_refused(seconds: float) -> None:
    clock = ManualClock()

    with pytest.raises(ValueError, match="set_time"):
        clock.advance(seconds)
    assert clock.monotonic() == 0.0


def test_manual_clock_without_a_time_zone_is_refused() -> None:
    naive = datetime(2031, 5, 6)
    for use in (ManualClock, ManualClock().set_time):
        with pytest.raises(ValueError, match="no time zone"):
            use(naive)


def test_manual_clock_advanced_in_threads_loses_nothing() -> None:
    clock = ManualClock(NOON)

    def work() -> None:
        for _ in range(500):
            clock.advance(1)

    in_threads(4, work)

    assert (clock.now(), clock.monotonic()) == (NOON + timedelta(seconds=2000), 2000.0)


def test_manual_clock_is_the_time_of_a_guards_events() -> None:
    clock = ManualClock(NOON)
    guard = Edictum(clock=clock)

    run(guard, lambda: clock.advance(2.5))

    allowed, executed = events_of(guard)
    assert (allowed.timestamp, executed.timestamp, executed.duration_ms) == (NOON, clock.now(), 2500)


def test_broken_clock_raises_at_every_reading() -> None:
    clock = BrokenClock()
    for read in (clock.now, clock.monotonic, clock.now):
        with pytest.raises(OSError, match="the clock is broken"):
            read()


def test_broken_clock_works_but_for_the_readings_that_shall_fail() -> None:
    clock = BrokenClock(ManualClock(NOON), Faults(nth(2, 3)))

    def reading(read: Any) -> Any:
        try:
            return read()
        except Exception as error:
            return str(error)

    found = [reading(read) for read in (clock.now, clock.now, clock.monotonic, clock.monotonic)]
    assert found == [NOON, "injected", "injected", 0.0]


def test_broken_clock_blocks_a_call() -> None:
    guard = Edictum(clock=BrokenClock())

    with pytest.raises(EdictumDenied) as caught:
        run(guard)
    assert caught.value.decision_source == "invalid_call"
