"""
The storage backend in memory: what it stores, and which sessions it forgets.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from edictum import Edictum, EdictumDenied, MemoryBackend, OperationLimits
from edictum.storage import Batch, NoRoom
from edictum.testing.running import at_once
from guards import run
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([1], "1"), ([0.5, 0.5], "1"), ([0.25], "0.25"), ([1e15], "1000000000000000"), ([-2], "-2")],
)
def test_memory_counter_reads_as_text(amounts: list[float], expected: str) -> None:
    backend = MemoryBackend()
    for amount in amounts:
        at_once(backend.increment("s:a:cost", amount))

    assert expected == at_once(backend.get("s:a:cost"))


@pytest.mark.parametrize(("text", "expected"), [("5", 6), ("2.5", 3.5), (" 7 ", 8), ("-1", 0)])
def test_memory_numeric_text_replaces_a_counter(text: str, expected: float) -> None:
    backend = MemoryBackend()
    at_once(backend.increment("s:a:execs", 3))
    at_once(backend.set("s:a:execs", text))

    assert expected == at_once(backend.increment("s:a:execs"))


def test_memory_text_over_a_counter_is_returned_as_it_is() -> None:
    backend = MemoryBackend()
    at_once(backend.increment("s:a:x"))
    at_once(backend.set("s:a:x", "007 is not a number to add to"))

    assert at_once(backend.get("s:a:x")) == "007 is not a number to add to"


def test_memory_takes_any_key() -> None:
    backend = MemoryBackend()
    at_once(backend.set("s:x", "1"))

    assert at_once(backend.get("s:x")) == "1"


def counted_by(backend: MemoryBackend, batch: Batch) -> tuple[str | None, list[float]]:
    """
    The key that had no room, and the counts.
    """
    try:
        return None, list(backend.reserve_now(batch))
    except NoRoom as full:
        return full.key, list(full.values)


@given(st.lists(st.lists(st.tuples(st.sampled_from("xyz"), st.none() | st.integers(0, 3)), min_size=3, max_size=3)))
def test_memory_usual_batches_count_as_all_others(wanted: list[list[tuple[str, int | None]]]) -> None:
    backend, other = MemoryBackend(), MemoryBackend()
    for changes in wanted:
        batches = [Batch([(f"s:a:{name}", 1, most) for name, most in changes]) for _ in range(2)]
        assert (batches[0].usual is not None) is any(most is not None for _, most in changes)
        batches[1].usual = None
        assert counted_by(backend, batches[0]) == counted_by(other, batches[1])


def test_memory_reservation_over_sessions_is_refused() -> None:
    with pytest.raises(ValueError, match="one session"):
        at_once(MemoryBackend().reserve([("s:a:x", 1, None), ("s:b:x", 1, None)]))


@pytest.mark.parametrize("max_sessions", [0, -1])
def test_memory_without_room_is_refused(max_sessions: int) -> None:
    with pytest.raises(ValueError, match="max_sessions"):
        MemoryBackend(max_sessions)


def test_memory_forgets_the_session_not_used_for_longest(caplog: pytest.LogCaptureFixture) -> None:
    guard = Edictum(backend=MemoryBackend(max_sessions=2), limits=OperationLimits(max_tool_calls=1))
    with caplog.at_level(logging.WARNING, "edictum.memory_storage"):
        for session_id in ("old", "kept", "old", "new"):  # the second call of "old" is blocked, and is a use
            try:
                run(guard, session_id=session_id)
            except EdictumDenied:
                assert session_id == "old"

    assert [record.message[:20] for record in caplog.records] == ["more than 2 sessions"]
    with pytest.raises(EdictumDenied):
        run(guard, session_id="old")
    assert run(guard, session_id="kept") == "done"


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_memory_never_forgets_a_session_with_a_running_call(mode: Any) -> None:
    backend = MemoryBackend(max_sessions=1)
    guard = Edictum(backend=backend, mode=mode)

    async def main() -> tuple[str | None, str | None]:
        running = guard.govern("read", {}, session_id="long")
        await running.begin()
        for number in range(5):
            await guard.run("read", {}, lambda: 1, session_id=f"other-{number}")
        during = await backend.get("s:long:execs")
        await running.finish("done")
        await guard.run("read", {}, lambda: 1, session_id="last")
        return during, await backend.get("s:long:execs")

    assert asyncio.run(main()) == ("1", None)


def test_memory_attempt_that_is_given_back_leaves_the_session_of_a_running_call() -> None:
    backend = MemoryBackend(max_sessions=1)
    guard = Edictum(backend=backend)

    async def main() -> str | None:
        await guard.govern("read", {}, session_id="long").begin()
        attempt = [("s:long:attempts", 1.0, None)]
        await backend.reserve(attempt)
        await backend.release(attempt)
        await guard.run("read", {}, lambda: 1, session_id="other")
        return await backend.get("s:long:execs")

    assert asyncio.run(main()) == "1"


@pytest.mark.parametrize("end", ["finish", "fail", "abandon"])
def test_memory_session_may_be_forgotten_after_every_end_of_a_call(end: str) -> None:
    backend = MemoryBackend(max_sessions=1)
    guard = Edictum(backend=backend)

    async def main() -> None:
        call = guard.govern("read", {}, session_id="ended")
        await call.begin()
        await {"finish": lambda: call.finish(1), "fail": lambda: call.fail(OSError()), "abandon": call.abandon}[end]()
        await guard.run("read", {}, lambda: 1, session_id="next")

    asyncio.run(main())
    assert at_once(backend.get("s:ended:attempts")) is None
