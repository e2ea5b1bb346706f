"""
Sessions: ids, counters and values, the same in every storage backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from backends import PlainBackend
from edictum import (
    Decision,
    Edictum,
    EdictumDenied,
    EdictumToolError,
    MemoryBackend,
    OperationLimits,
    Session,
    StorageBackend,
    session_contract,
)
from edictum.session import validate_session_id
from edictum.testing import AutoApprovalBackend
from edictum.testing.running import at_once
from guards import ask, denied, events_of, guard_of, pre, run


class BatchingBackend(PlainBackend):
    """
    One that reads several values at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        self.batches.append(list(keys))
        return {key: self.data[key] for key in keys if key in self.data}


each_backend = pytest.mark.parametrize("make", [MemoryBackend, PlainBackend, BatchingBackend])
Make = Callable[[], StorageBackend]


def boom() -> None:
    raise ValueError("broken")


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_id", ["a", "a" * 256, "8f14-uuid", "with blank", "ünïcode", ".", "a=b,c"])
def test_session_id_valid_is_returned(session_id: str) -> None:
    assert session_id == validate_session_id(session_id)
    assert session_id == Session(session_id, MemoryBackend()).session_id


@pytest.mark.parametrize("session_id", ["", "a" * 257, "a:b", "a/b", "a\\b", "a\nb", "a\x00", "a\x7f", None, 5, b"a"])
def test_session_id_invalid_is_refused(session_id: Any) -> None:
    with pytest.raises(ValueError, match="session id"):
        validate_session_id(session_id)
    with pytest.raises(ValueError, match="session id"):
        Session(session_id, MemoryBackend())


# --- counters -------------------------------------------------------------------------------------


@each_backend
def test_session_counters_start_at_zero(make: Make) -> None:
    session = Session("a", make())

    assert at_once(session.attempt_count()) == 0
    assert at_once(session.execution_count()) == 0
    assert at_once(session.tool_execution_count("t")) == 0
    assert at_once(session.consecutive_failures()) == 0
    assert at_once(session.batch_get_counters(include_tool="t")) == {"attempts": 0, "execs": 0, "tool:t": 0}


@each_backend
def test_session_increment_attempts_returns_the_count(make: Make) -> None:
    session = Session("a", make())

    assert [at_once(session.increment_attempts()) for _ in range(3)] == [1, 2, 3]
    assert at_once(session.attempt_count()) == 3


@each_backend
def test_session_record_execution_counts_tools_and_failures_in_a_row(make: Make) -> None:
    session = Session("a", make())
    failures = []

    for tool, success in (("t", False), ("u", False), ("t", True), ("t", False)):
        at_once(session.record_execution(tool, success))
        failures.append(at_once(session.consecutive_failures()))

    assert failures == [1, 2, 0, 1]
    assert at_once(session.batch_get_counters(include_tool="t")) == {"attempts": 0, "execs": 4, "tool:t": 3}
    assert at_once(session.batch_get_counters()) == {"attempts": 0, "execs": 4}
    assert at_once(session.tool_execution_count("u")) == 1


@each_backend
def test_session_keys_are_the_published_ones(make: Make) -> None:
    backend = make()
    session = Session("a", backend)
    at_once(session.increment_attempts())
    at_once(session.record_execution("t:x", False))
    at_once(session.set_value("note:1", "hello"))

    stored = [at_once(backend.get(f"s:a:{key}")) for key in ("attempts", "execs", "tool:t:x", "consec_fail", "note:1")]

    assert stored == ["1", "1", "1", "1", "hello"]


@each_backend
def test_session_state_is_its_own(make: Make) -> None:
    backend = make()
    at_once(Session("a", backend).increment_attempts())
    at_once(Session("a", backend).set_value("x", "1"))

    for other in ("b", "aa", "a b", "A"):
        assert at_once(Session(other, backend).attempt_count()) == 0
        assert at_once(Session(other, backend).get_value("x")) is None
    assert at_once(Session("a", backend).attempt_count()) == 1


def test_session_counters_are_read_in_one_batch_where_the_backend_can() -> None:
    backend = BatchingBackend()
    at_once(Session("a", backend).batch_get_counters(include_tool="t"))

    assert backend.batches == [["s:a:attempts", "s:a:execs", "s:a:tool:t"]]


@each_backend
@pytest.mark.parametrize("text", ["many", "", "nan", "inf", "0x10"])
def test_session_counter_that_is_no_number_raises(make: Make, text: str) -> None:
    backend = make()
    session = Session("a", backend)
    at_once(session.set_value("attempts", text))

    with pytest.raises(ValueError, match="attempts"):
        at_once(session.attempt_count())
    with pytest.raises(ValueError, match="attempts"):
        at_once(session.batch_get_counters())


# --- values ---------------------------------------------------------------------------------------


@each_backend
def test_session_value_is_kept_until_deleted(make: Make) -> None:
    session = Session("a", make())
    found = [at_once(session.get_value("stage:1"))]
    for text in ("one", "", "2"):
        at_once(session.set_value("stage:1", text))
        found.append(at_once(session.get_value("stage:1")))
    at_once(session.delete_value("stage:1"))
    at_once(session.delete_value("stage:1"))

    assert found == [None, "one", "", "2"]
    assert at_once(session.get_value("stage:1")) is None


@pytest.mark.parametrize("name", ["", "a" * 10_001, "a/b", "a\\b", "a\nb", "a\x7f", None, 5])
def test_session_value_name_invalid_is_refused(name: Any) -> None:
    session = Session("a", MemoryBackend())

    with pytest.raises(ValueError, match="value name"):
        at_once(session.get_value(name))
    with pytest.raises(ValueError, match="value name"):
        at_once(session.set_value(name, "x"))
    with pytest.raises(ValueError, match="value name"):
        at_once(session.delete_value(name))


@pytest.mark.parametrize("name", ["a", "a" * 10_000, "a:b", "ü"])
def test_session_value_name_valid_is_taken(name: str) -> None:
    session = Session("a", MemoryBackend())
    at_once(session.set_value(name, "x"))

    assert at_once(session.get_value(name)) == "x"


# --- what a guard counts --------------------------------------------------------------------------


@each_backend
def test_guard_counts_attempts_executions_and_failures(make: Make) -> None:
    backend = make()
    guard = guard_of(pre(tool="bad"), backend=backend)

    run(guard, session_id="a")
    run(guard, session_id="a", name="other")
    with pytest.raises(EdictumDenied):
        run(guard, session_id="a", name="bad")
    for _ in range(2):
        with pytest.raises(EdictumToolError):
            run(guard, boom, session_id="a")

    session = Session("a", backend)
    assert at_once(session.batch_get_counters(include_tool="read")) == {"attempts": 5, "execs": 4, "tool:read": 3}
    assert at_once(session.tool_execution_count("bad")) == 0
    assert at_once(session.consecutive_failures()) == 2
    run(guard, session_id="a")
    assert at_once(session.consecutive_failures()) == 0


@each_backend
def test_guard_events_carry_the_counts(make: Make) -> None:
    guard = guard_of(pre(tool="bad"), backend=make())
    run(guard)
    with pytest.raises(EdictumDenied):
        run(guard, name="bad")
    run(guard)

    counts = [(event.session_attempt_count, event.session_execution_count) for event in events_of(guard)]

    assert counts == [(1, 1), (1, 1), (2, 1), (3, 2), (3, 2)]


@each_backend
def test_guard_refused_approval_counts_an_attempt_only(make: Make) -> None:
    backend = make()
    guard = guard_of(ask(), backend=backend, approval_backend=AutoApprovalBackend(denied()))

    with pytest.raises(EdictumDenied):
        run(guard, session_id="a")

    found = at_once(Session("a", backend).batch_get_counters(include_tool="read"))
    assert found == {"attempts": 1, "execs": 0, "tool:read": 0}


def test_guard_sessions_are_its_own_unless_named() -> None:
    backend = MemoryBackend()
    first, second = Edictum(backend=backend), Edictum(backend=backend)
    for guard in (first, first, second):
        run(guard)
        run(guard, session_id="shared")

    ids = [event.session_id for event in events_of(first) + events_of(second)]
    assert len(set(ids)) == 3
    assert at_once(Session("shared", backend).execution_count()) == 3


def test_guard_session_counts_for_itself() -> None:
    guard = Edictum(limits=OperationLimits(max_tool_calls=1))
    sessions = [guard.session(), guard.session("named")]

    for session in sessions:
        assert asyncio.run(session.run("read", {}, lambda: 1)) == 1
        with pytest.raises(EdictumDenied):
            session.run_sync("read", {}, lambda: 1)
        counters = asyncio.run(session.counters("read"))
        assert counters == {"attempts": 2, "execs": 1, "tool:read": 1}
    assert len({session.session_id for session in sessions}) == 2
    assert sessions[1].session_id == "named"


def test_guard_session_rule_in_python_sees_the_session() -> None:
    @session_contract
    async def no_retry_after_failure(session: Session) -> Decision:
        failures = await session.consecutive_failures()
        return Decision.fail("stop failing") if failures else Decision.pass_()

    guard = Edictum(rules=[no_retry_after_failure])
    run(guard)
    with pytest.raises(EdictumToolError):
        run(guard, boom)

    with pytest.raises(EdictumDenied, match="stop failing"):
        run(guard)


@each_backend
@pytest.mark.parametrize("counter", ["attempts", "execs", "tool:read"])
def test_guard_counter_that_is_no_number_is_a_block_with_an_event(make: Make, counter: str) -> None:
    backend = make()
    at_once(Session("a", backend).set_value(counter, "many"))
    guard = Edictum(backend=backend)

    with pytest.raises(EdictumDenied) as caught:
        run(guard, session_id="a")

    assert caught.value.decision_source == "backend_error"
    (event,) = events_of(guard)
    assert (event.action, event.decision_source, event.policy_error) == ("call_denied", "backend_error", True)


def test_guard_counter_that_is_no_number_in_observe_mode_lets_pass() -> None:
    backend = MemoryBackend()
    at_once(Session("a", backend).set_value("attempts", "many"))
    guard = Edictum(backend=backend, mode="observe")

    assert run(guard, session_id="a") == "done"
    assert [str(event.action) for event in events_of(guard)] == ["call_would_deny", "call_executed"]
