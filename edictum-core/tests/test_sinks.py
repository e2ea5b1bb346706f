"""
The sinks that need no file: what they hold, and what they raise.
"""

from __future__ import annotations

import io
import json
import sys
import threading

import pytest
from edictum.audit import AuditAction, AuditEvent
from edictum.errors import MarkEvictedError
from edictum.redaction import RedactionPolicy
from edictum.sinks import CollectingAuditSink, CompositeSink, StdoutAuditSink
from hypothesis import given
from hypothesis import strategies as st
from logs import emit, numbered


def indexes(events: list[AuditEvent]) -> list[int]:
    return [event.call_index for event in events]


# --- CollectingAuditSink --------------------------------------------------------------------------


@given(st.integers(1, 5), st.lists(st.one_of(st.just("clear"), st.integers(1, 4)), max_size=12))
def test_collecting_sink_agrees_with_a_list_that_forgets_nothing(size: int, steps: list[str | int]) -> None:
    """
    For every mark ever possible: exactly the later events, or an error when one of them is gone.
    """
    sink = CollectingAuditSink(max_events=size)
    ever: list[AuditEvent] = []
    first_held = 0
    for step in steps:
        if isinstance(step, int):
            new = numbered(*range(len(ever), len(ever) + step))
            emit(sink, *new)
            ever.extend(new)
            first_held = max(first_held, len(ever) - size)
        else:
            sink.clear()
            first_held = len(ever)

    assert len(ever) == sink.mark()
    assert ever[first_held:] == sink.events
    for mark in range(len(ever) + 1):
        if mark < first_held:
            with pytest.raises(MarkEvictedError):
                sink.since_mark(mark)
        else:
            assert ever[mark:] == sink.since_mark(mark)


@pytest.mark.parametrize("mark", [-1, 3])
def test_collecting_sink_mark_from_elsewhere_raises(mark: int) -> None:
    sink = CollectingAuditSink()
    emit(sink, *numbered(0, 1))

    with pytest.raises(ValueError, match=f"mark {mark} is not from this sink"):
        sink.since_mark(mark)


def test_collecting_sink_last_is_the_newest() -> None:
    sink = CollectingAuditSink()
    emit(sink, *numbered(0, 1))

    assert sink.last().call_index == 1


def test_collecting_sink_last_when_empty_raises() -> None:
    with pytest.raises(IndexError):
        CollectingAuditSink().last()


def test_collecting_sink_events_is_a_copy() -> None:
    sink = CollectingAuditSink()
    emit(sink, *numbered(0))

    sink.events.clear()

    assert indexes(sink.events) == [0]


@pytest.mark.parametrize("action", [AuditAction.CALL_DENIED, "call_denied", "call_blocked"])
def test_collecting_sink_filter_takes_both_vocabularies(action: AuditAction | str) -> None:
    sink = CollectingAuditSink()
    denied = AuditEvent(action=AuditAction.CALL_DENIED)
    emit(sink, AuditEvent(action=AuditAction.CALL_ALLOWED), denied)

    assert [denied] == sink.filter(action)


def test_collecting_sink_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="max_events is 0"):
        CollectingAuditSink(max_events=0)


def test_collecting_sink_threads_with_loops_of_their_own_lose_nothing() -> None:
    sink = CollectingAuditSink()
    threads = [threading.Thread(target=emit, args=(sink, *numbered(*range(500)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sink.mark() == 2000
    assert sorted([*range(500)] * 4) == sorted(indexes(sink.events))


# --- CompositeSink --------------------------------------------------------------------------------


class FailingSink:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def emit(self, event: AuditEvent) -> None:
        raise self.error


def test_composite_sink_gives_the_event_to_all_in_order() -> None:
    seen: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        async def emit(self, event: AuditEvent) -> None:
            seen.append(f"{self.name}{event.call_index}")

    emit(CompositeSink([Named("a"), Named("b")]), *numbered(1, 2))

    assert seen == ["a1", "b1", "a2", "b2"]


def test_composite_sink_failures_do_not_keep_the_event_from_others() -> None:
    first, second, collected = OSError("disk"), RuntimeError("network"), CollectingAuditSink()
    sink = CompositeSink([FailingSink(first), collected, FailingSink(second)])

    with pytest.raises(ExceptionGroup, match="2 of 3 audit sinks failed") as caught:
        emit(sink, *numbered(7))

    assert (first, second) == caught.value.exceptions
    assert indexes(collected.events) == [7]


def test_composite_sink_single_failure_is_a_group_as_well() -> None:
    error = OSError("disk")

    with pytest.raises(ExceptionGroup) as caught:
        emit(CompositeSink([FailingSink(error)]), *numbered(1))

    assert (error,) == caught.value.exceptions


def test_composite_sink_without_sinks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sink"):
        CompositeSink([])


def test_composite_sink_sinks_is_a_copy() -> None:
    inner = CollectingAuditSink()
    sink = CompositeSink([inner])

    sink.sinks.clear()

    assert [inner] == sink.sinks


# --- StdoutAuditSink ------------------------------------------------------------------------------


class RecordingStream(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append("write")
        return super().write(text)

    def flush(self) -> None:
        self.calls.append("flush")


def test_stdout_sink_prints_one_line_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RecordingStream()
    monkeypatch.setattr(sys, "stdout", stream)
    event = AuditEvent(reason="line\nbreak \x9b and ünïcode")

    emit(StdoutAuditSink(), event)

    assert stream.calls == ["write", "flush"]
    assert stream.getvalue().endswith("}\n")
    assert event.to_dict() == json.loads(stream.getvalue())


def test_stdout_sink_with_a_policy_redacts(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = RecordingStream()
    monkeypatch.setattr(sys, "stdout", stream)

    emit(StdoutAuditSink(RedactionPolicy()), AuditEvent(tool_args={"password": "hunter2", "path": "a.txt"}))

    assert json.loads(stream.getvalue())["tool_args"] == {"password": "[REDACTED]", "path": "a.txt"}


def test_stdout_sink_terminal_without_utf8_gets_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    event = AuditEvent(reason="ünïcode 🙂")

    emit(StdoutAuditSink(), event)

    assert raw.getvalue().count(b"\n") == 1
    assert event.to_dict() == json.loads(raw.getvalue())


@pytest.mark.parametrize("closed", [True, False])
def test_stdout_sink_without_an_output_raises(monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream if closed else None)

    with pytest.raises((OSError, ValueError)):
        emit(StdoutAuditSink(), AuditEvent())
