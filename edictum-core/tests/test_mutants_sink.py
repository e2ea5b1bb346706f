"""
The suite for audit sinks notices each of these faults.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from edictum import AuditEvent, AuditSink
from edictum.testing import AuditSinkSuite
from edictum.testing.suites.suite import Suite
from mutants import Crossing, Mutants, failure, is_caught


class MutantSuite(AuditSinkSuite):
    patience = 5.0
    part: Any

    def make(self) -> AuditSink:
        sink: AuditSink = self.part()
        return sink

    def recorded(self, sink: Any) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = sink.recorded()
        return found

    def break_it(self, sink: Any) -> bool:
        sink.broken = True
        return True

    def repair(self, sink: Any) -> None:
        sink.broken = False


mutants = Mutants(MutantSuite)
caught_by = mutants.caught_by


@pytest.mark.parametrize(("suite", "test"), mutants.cases)
def test_sink_mutant_is_caught(suite: type[Suite[Any]], test: str) -> None:
    assert is_caught(suite, test)


def test_every_test_of_the_sink_suite_can_fail() -> None:
    assert mutants.tests() - mutants.caught == set()


class Lines:
    """
    A sink without a fault: lines of JSON, which can be closed and can fail.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.broken = False

    async def emit(self, event: AuditEvent) -> None:
        if self.broken:
            raise OSError("no space left")
        self.lines.append(event.to_json())

    def recorded(self) -> list[Mapping[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def close(self) -> None:
        """
        Nothing to give back.
        """


def test_sink_without_a_fault_is_let_through() -> None:
    suite = mutants.suite_for(Lines)

    assert {name: failure(suite, name) for name in mutants.tests() if failure(suite, name)} == {}


# --- what is recorded -------------------------------------------------------------------------------


@caught_by("event_is_recorded_whole", "guard_records_the_same_here_as_in_its_local_log")
class LeavesTheIndexOfTheCallOut(Lines):
    def recorded(self) -> list[Mapping[str, Any]]:
        return [{name: value for name, value in record.items() if name != "tool_name"} for record in super().recorded()]


@caught_by("event_is_recorded_whole")
class CutsTheTime(Lines):
    def recorded(self) -> list[Mapping[str, Any]]:
        return [{**record, "timestamp": record["timestamp"][:19]} for record in super().recorded()]


@caught_by("events_are_recorded_in_the_order_in_which_they_came")
class NewestFirst(Lines):
    async def emit(self, event: AuditEvent) -> None:
        await super().emit(event)
        self.lines.insert(0, self.lines.pop())


@caught_by("odd_text_is_recorded_as_it_is_or_refused")
class TearsLines(Lines):
    """
    Takes every line separator of Unicode for the end of an event.
    """

    async def emit(self, event: AuditEvent) -> None:
        await super().emit(event)
        text = "\n".join(json.dumps(json.loads(line), ensure_ascii=False) for line in self.lines)
        self.lines = [line for line in text.splitlines() if line.endswith("}")]


@caught_by("odd_text_is_recorded_as_it_is_or_refused")
class CutsLongText(Lines):
    async def emit(self, event: AuditEvent) -> None:
        event.reason = event.reason and event.reason[:100_000]
        await super().emit(event)


@caught_by("odd_text_is_recorded_as_it_is_or_refused")
class DropsWhatItCannotEncode(Lines):
    async def emit(self, event: AuditEvent) -> None:
        line = json.dumps(event.to_dict(), ensure_ascii=False, default=str).encode("utf-8", "ignore")
        self.lines.append(line.decode())


@caught_by("value_that_json_cannot_express_is_recorded_or_refused")
class DropsWhatJsonCannotExpress(Lines):
    async def emit(self, event: AuditEvent) -> None:
        try:
            json.dumps(event.metadata)
        except (TypeError, ValueError):
            return
        await super().emit(event)


@caught_by("value_that_json_cannot_express_is_recorded_or_refused")
class StopsAtWhatJsonCannotExpress(Lines):
    stopped = False

    async def emit(self, event: AuditEvent) -> None:
        if self.stopped:
            raise OSError("the writer has ended")
        self.stopped = True
        json.dumps(event.metadata)
        self.stopped = False
        await super().emit(event)


@caught_by("event_is_left_as_it_was")
class RedactsTheEventItself(Lines):
    async def emit(self, event: AuditEvent) -> None:
        await super().emit(event)
        event.tool_args["nested"] = "[REDACTED]"


@caught_by("guard_records_the_same_here_as_in_its_local_log")
class RecordsDecisionsOnly(Lines):
    async def emit(self, event: AuditEvent) -> None:
        if event.tool_success is not True:
            await super().emit(event)


# --- several at once --------------------------------------------------------------------------------


@caught_by("events_of_many_tasks_are_recorded_once_each")
class RewritesTheFile(Lines):
    async def emit(self, event: AuditEvent) -> None:
        before = list(self.lines)
        await asyncio.sleep(0)
        self.lines = [*before, event.to_json()]


@caught_by("events_of_many_tasks_are_recorded_once_each")
class SendsTheNewestTwice(Lines):
    """
    Batches: what came while one was sent goes with the next, and once more with the one after.
    """

    async def emit(self, event: AuditEvent) -> None:
        size = len(self.lines)
        await asyncio.sleep(0)
        if len(self.lines) != size:
            self.lines.append(event.to_json())
        self.lines.append(event.to_json())


@caught_by("cancelled_event_is_recorded_at_most_once")
class RecordsAgainWhenCancelled(Lines):
    async def emit(self, event: AuditEvent) -> None:
        await super().emit(event)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await super().emit(event)
            raise


@caught_by("cancelled_event_is_recorded_at_most_once")
class ConfirmsWhenCancelled(Lines):
    async def emit(self, event: AuditEvent) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return
        await super().emit(event)


@caught_by("event_loops_one_after_another_are_served")
class BelongsToOneLoop(Lines):
    loop: asyncio.AbstractEventLoop | None = None

    async def emit(self, event: AuditEvent) -> None:
        running = asyncio.get_running_loop()
        self.loop = self.loop or running
        if self.loop is not running:
            raise RuntimeError("attached to a different loop")
        await super().emit(event)


@caught_by("events_of_threads_are_recorded_once_each")
class ForOneThread(Lines):
    rounds = 3

    def __init__(self) -> None:
        super().__init__()
        self.crossing = Crossing()

    async def emit(self, event: AuditEvent) -> None:
        before = list(self.lines)
        self.crossing.meet()
        self.lines = [*before, event.to_json()]


# --- closing and trouble ----------------------------------------------------------------------------


@caught_by("closed_sink_has_recorded_all_events")
class ForgetsItsBuffer(Lines):
    def close(self) -> None:
        del self.lines[-3:]


@caught_by("closed_sink_has_recorded_all_events")
class CannotBeClosedTwice(Lines):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise OSError("bad file descriptor")
        self.closed = True


@caught_by("event_after_closing_is_recorded_or_refused")
class IgnoresWhatComesAfterClosing(Lines):
    closed = False

    def close(self) -> None:
        self.closed = True

    async def emit(self, event: AuditEvent) -> None:
        if not self.closed:
            await super().emit(event)


@caught_by(
    "event_that_cannot_be_recorded_raises_and_the_next_one_is_recorded",
    "guard_that_insists_on_its_log_blocks_while_nothing_can_be_recorded",
)
class SwallowsErrors(Lines):
    async def emit(self, event: AuditEvent) -> None:
        if not self.broken:
            await super().emit(event)


@caught_by("event_that_cannot_be_recorded_raises_and_the_next_one_is_recorded")
class StaysBroken(Lines):
    failed = False

    async def emit(self, event: AuditEvent) -> None:
        self.failed = self.failed or self.broken
        if self.failed:
            raise OSError("the connection is closed")
        await super().emit(event)


@caught_by("event_that_cannot_be_recorded_raises_and_the_next_one_is_recorded")
class LosesWhatWasBefore(Lines):
    async def emit(self, event: AuditEvent) -> None:
        if self.broken:
            self.lines.clear()
        await super().emit(event)


# --- fields -----------------------------------------------------------------------------------------


class FewFields(Lines):
    def recorded(self) -> list[Mapping[str, Any]]:
        names = ("run_id", "call_index", "action")
        return [{name: record[name] for name in names} for record in super().recorded()]


class FewFieldsSuite(MutantSuite):
    part = FewFields
    fields: ClassVar = frozenset({"run_id", "call_index", "action"})


def test_sink_that_keeps_some_fields_passes_where_it_says_so() -> None:
    suite = FewFieldsSuite()

    assert {name: failure(suite, name) for name in mutants.tests() if failure(suite, name)} == {}
    assert failure(mutants.suite_for(FewFields), "test_event_is_recorded_whole") is not None
