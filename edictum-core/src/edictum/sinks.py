"""
Sinks of the decision log: in memory, several at once, and standard output.

The one for a file is in :mod:`edictum.file_sink`.  Every sink raises when it cannot record an event.  Who emits
decides what that means: on the way to a tool the call is blocked.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edictum.audit import AuditAction, AuditEvent, AuditSink, EventParts, log_line
from edictum.errors import MarkEvictedError
from edictum.file_sink import FileAuditSink

if TYPE_CHECKING:
    from edictum.redaction import RedactionPolicy

__all__ = ["CollectingAuditSink", "CompositeSink", "FileAuditSink", "StdoutAuditSink"]


class CollectingAuditSink:
    """
    Keeps the newest events in memory.

    Safe to use from several threads and event loops.

    Args:
        max_events: How many events are held; older ones are dropped.

    Raises:
        ValueError: ``max_events`` is below 1.
    """

    __slots__ = ("_dropped", "_events", "_lock", "_max_events")

    def __init__(self, max_events: int = 50_000) -> None:
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}; a collecting sink holds at least 1 event")
        # Parts until somebody reads them: most events of a guard without other sinks are never read.
        self._events: deque[AuditEvent | EventParts] = deque()
        self._max_events = max_events
        self._dropped = 0  # how many came before the oldest one held
        self._lock = threading.Lock()  # not needed to append, which a deque does in one step

    async def emit(self, event: AuditEvent) -> None:
        """
        Hold the event, dropping the oldest one when full.
        """
        self.collect(event)

    def collect(self, event: AuditEvent | EventParts) -> None:
        """
        :meth:`emit` for callers that need not wait.
        """
        events = self._events
        events.append(event)
        if len(events) > self._max_events:
            with self._lock:
                self._drop(self._max_events)

    @property
    def events(self) -> list[AuditEvent]:
        """
        A new list of the events held, oldest first.
        """
        with self._lock:
            return self._read(0)

    def mark(self) -> int:
        """
        A point in time for :meth:`since_mark`: how many events were ever emitted.
        """
        with self._lock:
            return self._dropped + len(self._events)

    def since_mark(self, mark: int) -> list[AuditEvent]:
        """
        Events emitted after a mark.

        Args:
            mark: What :meth:`mark` returned.

        Returns:
            The events, oldest first.

        Raises:
            MarkEvictedError: Some of these events are no longer held.
            ValueError: The mark is negative or lies in the future, so it is not from this sink.
        """
        with self._lock:
            dropped = self._dropped
            total = dropped + len(self._events)
            if not 0 <= mark <= total:
                raise ValueError(f"mark {mark} is not from this sink, which has seen {total} events")
            if mark < dropped:
                raise MarkEvictedError(
                    f"events {mark} to {dropped - 1} are no longer held; read more often, or raise max_events"
                )
            return self._read(mark - dropped)

    def last(self) -> AuditEvent:
        """
        The newest event.

        Raises:
            IndexError: No event is held.
        """
        with self._lock:
            if not self._events:
                raise IndexError("no events are held")
            return self._read(len(self._events) - 1)[0]

    def filter(self, action: AuditAction | str) -> list[AuditEvent]:
        """
        Held events with an action.

        Args:
            action: The action, or its name in either vocabulary of :class:`AuditAction`.

        Raises:
            ValueError: No such action.
        """
        wanted = AuditAction(action)
        return [event for event in self.events if event.action == wanted]

    def clear(self) -> None:
        """
        Forget the events held.  Marks taken before count as evicted, because the total goes on.
        """
        with self._lock:
            self._drop(0)

    def _drop(self, keep: int) -> None:
        while len(self._events) > keep:
            self._events.popleft()
            self._dropped += 1

    def _read(self, start: int) -> list[AuditEvent]:
        held = list(self._events)[start:]  # copied in one step, because others may append meanwhile
        events = [event if isinstance(event, AuditEvent) else AuditEvent.from_parts(event) for event in held]
        for at, event in enumerate(events, start):
            self._events[at] = event
        return events


class CompositeSink:
    """
    Sends each event to several sinks, one after the other.

    A failing sink does not keep the event from the others.  A cancelled task stops at the sink that it
    waits for, so put sinks that answer at once (memory, file) before those that wait for a network.

    Args:
        sinks: The sinks, in the order in which they get an event.

    Raises:
        ValueError: The list is empty.
    """

    __slots__ = ("_sinks",)

    def __init__(self, sinks: Sequence[AuditSink]) -> None:
        if not sinks:
            raise ValueError("a composite sink needs at least one sink, or events would vanish")
        self._sinks = tuple(sinks)

    @property
    def sinks(self) -> list[AuditSink]:
        """
        A new list of the sinks.
        """
        return list(self._sinks)

    async def emit(self, event: AuditEvent) -> None:
        """
        Give the event to every sink.

        Raises:
            ExceptionGroup: What the failing sinks raised, after all were tried.
        """
        failures: list[Exception] = []
        for sink in self._sinks:
            try:
                await sink.emit(event)
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(self._sinks)} audit sinks failed", failures)


class StdoutAuditSink:
    """
    Prints each event as one line of JSON on standard output, at once.

    Args:
        redaction: A policy of this sink's own, applied on top of the redaction that events arrive with.
    """

    __slots__ = ("_redaction",)

    def __init__(self, redaction: RedactionPolicy | None = None) -> None:
        self._redaction = redaction

    async def emit(self, event: AuditEvent) -> None:
        """
        Write the line and flush it.

        Raises:
            OSError: Standard output is closed or full.
        """
        # Looked up for each event because programs and test runners redirect it.
        stream = sys.stdout
        if stream is None:
            raise OSError("this process has no standard output; use another audit sink")
        line = log_line(event, self._redaction) + "\n"
        try:
            stream.write(line)
        except UnicodeEncodeError:
            # Nothing was written.  A terminal without UTF-8 still gets the event, in ASCII.
            stream.write(json.dumps(json.loads(line), separators=(",", ":")) + "\n")
        stream.flush()
