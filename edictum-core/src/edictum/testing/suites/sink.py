"""
The suite for audit sinks.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from edictum import Edictum, EdictumDenied
from edictum.audit import AuditAction, AuditEvent, AuditSink, to_json_line
from edictum.testing.running import in_threads, run_within
from edictum.testing.suites.suite import (
    Suite,
    cancelled_after,
    check,
    error_of,
    on_a_loop,
    over_loops,
    result_of,
    same,
    skip,
)

ODD_TEXTS = (
    "two\nlines\r\nand a third\x85\u2028",
    '"}\n{"run_id": "forged", "call_index": 0}\n{"',
    "\x1b[2J\x9b1A\u202e",
    "nul \x00 inside",
    "lone \ud800 surrogate",
    "ünïcode \U0001f642",
    "',\"; DROP TABLE events; -- %s {x} $y",
    "x" * 200_000,
)
ODD_VALUES: tuple[Any, ...] = (float("nan"), float("-inf"), b"x", 1 << 5_000, object(), {1: (2, {3})}, {None: 1})


class AuditSinkSuite(Suite[AuditSink]):
    """
    The tests that every audit sink passes; see :mod:`edictum.testing.suites` for how to run them.

    A subclass defines ``make`` and ``recorded``.  It may define ``break_it`` and ``repair`` (nothing can be
    recorded), and ``close``; without them some tests are skipped.

    Attributes:
        fields: The fields of an event that the sink keeps; None means all.  ``run_id`` and ``call_index`` must be
            among them.
    """

    fields: ClassVar[frozenset[str] | None] = None

    def recorded(self, sink: AuditSink) -> Iterable[Mapping[str, Any]] | Awaitable[Iterable[Mapping[str, Any]]]:
        """
        What the sink has recorded until now, oldest first, as :meth:`~edictum.AuditEvent.to_dict` gives it.

        It may contain events of others.  A sink that keeps events back for a while sends them first.
        """
        raise NotImplementedError(f"{type(self).__name__} defines recorded(), which returns the events of the sink")

    # --- what is recorded ---------------------------------------------------------------------------

    @on_a_loop
    async def test_event_is_recorded_whole(self, sink: AuditSink) -> None:
        """
        Every field, with the values inside.
        """
        event = full_event()
        expected = json.loads(event.to_json())
        await sink.emit(event)
        found, *others = await self._records(sink, event.run_id) or [{}]
        same([], others, "further events beside the one that was emitted")
        if self.fields is not None:
            expected = {name: value for name, value in expected.items() if name in self.fields}
        for name, value in expected.items():
            same(value, found.get(name), f"the field {name!r} of an event")

    @on_a_loop
    async def test_events_are_recorded_in_the_order_in_which_they_came(self, sink: AuditSink) -> None:
        """
        What one caller emits is a sequence.
        """
        run = new_run()
        for number in range(50):
            await sink.emit(AuditEvent(run_id=run, call_index=number))
        same(list(range(50)), (await self._indexes(sink, run))[run], "the events of one caller")

    @on_a_loop
    async def test_odd_text_is_recorded_as_it_is_or_refused(self, sink: AuditSink) -> None:
        """
        Arguments come from a model: no text ends an event, begins another one, or goes missing.
        """
        run = new_run()
        kept: list[dict[str, Any]] = []
        for number, text in enumerate(ODD_TEXTS):
            event = AuditEvent(run_id=run, call_index=number, reason=text, tool_args={"text": text, text[:50]: 1})
            expected = json.loads(event.to_json())
            if await _is_taken(sink, event):
                kept.append(expected)
        records = await self._records(sink, run)
        indexes = [record["call_index"] for record in records]
        same([expected["call_index"] for expected in kept], indexes, "events with odd text")
        for expected, record in zip(kept, records, strict=True):
            for name in ("reason", "tool_args"):
                if self.fields is None or name in self.fields:
                    same(expected[name], record.get(name), f"the field {name!r} of an event with odd text")

    @on_a_loop
    async def test_value_that_json_cannot_express_is_recorded_or_refused(self, sink: AuditSink) -> None:
        """
        Such a value costs neither the event nor the sink.
        """
        run, kept = new_run(), []
        for number, value in enumerate(ODD_VALUES):
            if await _is_taken(sink, AuditEvent(run_id=run, call_index=number, metadata={"value": value})):
                kept.append(number)
        await sink.emit(AuditEvent(run_id=run, call_index=100))
        same([*kept, 100], (await self._indexes(sink, run))[run], "events with odd values, and one after them")

    @on_a_loop
    async def test_event_is_left_as_it_was(self, sink: AuditSink) -> None:
        """
        Other sinks get the same object.
        """
        event = full_event()
        before = event.to_json()
        await sink.emit(event)
        same(before, event.to_json(), "an event that was emitted")

    # --- several at once ----------------------------------------------------------------------------

    @on_a_loop
    async def test_events_of_many_tasks_are_recorded_once_each(self, sink: AuditSink) -> None:
        """
        The events of each task stay in order.
        """
        runs = [new_run() for _ in range(20)]
        await asyncio.gather(*(_emit(sink, run, 10) for run in runs))
        found = await self._indexes(sink, *runs)
        same([list(range(10))] * 20, [found[run] for run in runs], "the events of 20 tasks")

    @on_a_loop
    async def test_cancelled_event_is_recorded_at_most_once(self, sink: AuditSink) -> None:
        """
        Cancelling leaves whole events behind, and a sink that goes on working.
        """
        run, confirmed = new_run(), set()
        for steps in range(12):
            if await cancelled_after(steps, sink.emit(AuditEvent(run_id=run, call_index=steps))):
                confirmed.add(steps)
        await sink.emit(AuditEvent(run_id=run, call_index=100))
        found = (await self._indexes(sink, run))[run]
        # Where a cancelled event ends up is left open: a thread may still be writing it.
        check(100 in found, "the event after cancelled ones is missing")
        same(len(set(found)), len(found), "cancelled events, each at most once")
        same([], sorted(confirmed - set(found)), "events that were confirmed and are missing")

    @over_loops
    def test_event_loops_one_after_another_are_served(self, sink: AuditSink) -> None:
        """
        A guard is used on one event loop after another, for example by ``asyncio.run`` for each request.
        """
        run = new_run()
        for number in range(3):
            run_within(self.patience, _emit(sink, run, 1, start=number))
        found = run_within(self.patience, self._indexes(sink, run))
        same([0, 1, 2], found[run], "the events of three event loops")

    @over_loops
    def test_events_of_threads_are_recorded_once_each(self, sink: AuditSink) -> None:
        """
        Threads with event loops of their own share a sink; the events of each stay in order.
        """

        def emit() -> str:
            run = new_run()
            run_within(self.patience, _emit(sink, run, 25))
            return run

        runs = in_threads(8, emit, seconds=self.patience)
        found = run_within(self.patience, self._indexes(sink, *runs))
        same([list(range(25))] * 8, [found[run] for run in runs], "the events of 8 threads")

    # --- closing ------------------------------------------------------------------------------------

    @on_a_loop
    async def test_closed_sink_has_recorded_all_events(self, sink: AuditSink) -> None:
        """
        Nothing is left in a buffer, and closing twice does no harm.
        """
        _skip_unless_closable(sink)
        run = new_run()
        await _emit(sink, run, 10)
        for _ in range(2):
            await result_of(self.close(sink))
        same(list(range(10)), (await self._indexes(sink, run))[run], "the events of a sink that was closed")

    @on_a_loop
    async def test_event_after_closing_is_recorded_or_refused(self, sink: AuditSink) -> None:
        """
        It is not taken and forgotten.
        """
        _skip_unless_closable(sink)
        run = new_run()
        await sink.emit(AuditEvent(run_id=run, call_index=0))
        await result_of(self.close(sink))
        taken = await _is_taken(sink, AuditEvent(run_id=run, call_index=1))
        same([0, 1] if taken else [0], (await self._indexes(sink, run))[run], "the events before and after closing")

    # --- trouble ------------------------------------------------------------------------------------

    @on_a_loop
    async def test_event_that_cannot_be_recorded_raises_and_the_next_one_is_recorded(self, sink: AuditSink) -> None:
        """
        A guard blocks calls that it cannot log, if its sinks say so.
        """
        run = new_run()
        await sink.emit(AuditEvent(run_id=run, call_index=0))
        await self._broken(sink)
        for _ in range(2):
            await error_of(sink.emit(AuditEvent(run_id=run, call_index=1)), "emit while nothing can be recorded")
        await result_of(self.repair(sink))
        await sink.emit(AuditEvent(run_id=run, call_index=2))
        found = (await self._indexes(sink, run))[run]
        # What was refused may have arrived all the same, as when the answer of a server is lost.
        same([0, 2], [number for number in found if number != 1], "the events before and after the failure")

    @on_a_loop
    async def test_guard_that_insists_on_its_log_blocks_while_nothing_can_be_recorded(self, sink: AuditSink) -> None:
        """
        No call is made that is not in the log.
        """
        guard = Edictum(audit_sink=sink, audit_failure="block")
        ran: list[int] = []
        await self._broken(sink)
        try:
            await guard.run("read", {}, lambda: ran.append(1))
        except EdictumDenied as denied:
            same("audit_unavailable", denied.decision_source, "the source of the decision")
        same([], ran, "the calls that were made")
        await result_of(self.repair(sink))
        await guard.run("read", {}, lambda: ran.append(2))
        same([2], ran, "the calls that were made after events can be recorded again")

    # --- in use by a guard --------------------------------------------------------------------------

    @on_a_loop
    async def test_guard_records_the_same_here_as_in_its_local_log(self, sink: AuditSink) -> None:
        """
        All events of allowed, failing and observed calls.
        """
        run = new_run()
        guard = Edictum(audit_sink=sink, mode="observe")
        for number in range(5):
            await guard.run("read", {"number": number, "text": "two\nlines"}, lambda **args: args, session_id=run)
        events = [json.loads(event.to_json()) for event in guard.local_sink.events]
        check(len(events) == 10, f"a guard writes two events for each of 5 calls, not {len(events)}")
        records = await self._records(sink, run)
        names = self.fields if self.fields is not None else events[0].keys()
        expected = [{name: event[name] for name in names} for event in events]
        same(expected, [{name: record.get(name) for name in names} for record in records], "the events of a guard")

    # --- reading ------------------------------------------------------------------------------------

    async def _records(self, sink: AuditSink, *runs: str) -> list[dict[str, Any]]:
        records = await result_of(self.recorded(sink))
        wanted = [dict(record) for record in records if record["run_id"] in runs]
        return [json.loads(to_json_line(record)) for record in wanted]

    async def _indexes(self, sink: AuditSink, *runs: str) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {run: [] for run in runs}
        for record in await self._records(sink, *runs):
            found[record["run_id"]].append(record["call_index"])
        return found


def new_run() -> str:
    """
    A run id that was never used before.
    """
    return f"suite-{uuid.uuid4().hex}"


def full_event() -> AuditEvent:
    """
    An event none of whose fields has its default.
    """
    rule = {"id": "no-secrets", "type": "pre", "passed": False, "message": "no", "tags": ["a", "b"], "metadata": {}}
    return AuditEvent(
        timestamp=datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        run_id=new_run(),
        call_id=str(uuid.uuid4()),
        call_index=7,
        parent_call_id="parent",
        session_id="session",
        parent_session_id="parent-session",
        tool_name="read_file",
        tool_args={"path": "notes.txt", "lines": [1, 2.5, None, True], "nested": {"a": {"b": "ü"}}},
        side_effect="read",
        environment="staging",
        principal={"user_id": "ann", "role": "admin", "claims": {"team": ["x"]}},
        action=AuditAction.CALL_EXECUTED,
        decision_source="yaml_precondition",
        decision_name="no-secrets",
        reason="because",
        hooks_evaluated=[{"name": "hook", "passed": True}],
        contracts_evaluated=[rule],
        workflow={"stage": "review", "done": ["plan"]},
        tool_success=False,
        postconditions_passed=False,
        duration_ms=1234,
        error="OSError: gone",
        result_summary="summary",
        session_attempt_count=3,
        session_execution_count=2,
        mode="observe",
        policy_version="0" * 64,
        policy_error=True,
        metadata={"approver": "bob", "waited_ms": 5},
        observed_action="block",
        warnings=["careful"],
    )


async def _emit(sink: AuditSink, run: str, number: int, start: int = 0) -> None:
    for index in range(start, start + number):
        await sink.emit(AuditEvent(run_id=run, call_index=index))


async def _is_taken(sink: AuditSink, event: AuditEvent) -> bool:
    try:
        await sink.emit(event)
    except Exception:
        return False
    return True


def _skip_unless_closable(sink: AuditSink) -> None:
    if not hasattr(sink, "close") and not hasattr(sink, "aclose"):
        skip("the sink has neither close() nor aclose()")
