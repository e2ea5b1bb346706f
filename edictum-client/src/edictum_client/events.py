"""
Bringing the decision log to a console: every event once, in order, as soon as the console can be reached.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import attrs
from edictum import AuditEvent, EdictumConfigError
from edictum.audit import to_json_line

from edictum_client.client import EdictumServerClient
from edictum_client.errors import (
    BufferFullError,
    EdictumServerError,
    ForkedError,
    ServerProtocolError,
    ServerRefusedError,
    ServerUnreachableError,
)
from edictum_client.loop import at_exit, before_exit, client_loop, generation, on_client_loop
from edictum_client.retries import EVENTS, Backoff
from edictum_client.spool import Spool
from edictum_client.wire import Ingested, read

logger = logging.getLogger(__name__)

LossPolicy = Literal["drop_oldest", "block_calls"]

DEFAULT_SPOOL_BYTES = 1024**3
_LARGEST_BATCH = 1_000
_CLOSING_SECONDS = 10.0
_EXIT_SECONDS = 5.0
_WORTH_PACKING = 8 * 1024
_REFUSED_PAUSE = 30.0
_HURRIED_PAUSE = 0.5

_open: WeakSet[ServerAuditSink] = WeakSet()


class ServerAuditSink:
    """
    Sends events in batches, in the background.

    Waiting events are in memory, or in files if ``spool_dir`` is given; then an event is on its way to the disk before
    its call goes on, and what a killed process leaves is delivered by the agent's next one that uses the folder.

    Args:
        client: The way to the console.
        batch_size: How many events are sent at once; more when many wait.
        flush_interval: Seconds after which fewer are sent too.
        max_buffer_size: How many events wait in memory at most.
        loss_policy: What happens when no more can wait.  ``drop_oldest`` gives up the oldest ones and counts them;
            ``block_calls`` raises, which blocks the calls of a guard with ``audit_failure="block"``.
        spool_dir: The folder in which events wait instead, each agent's in a folder of its own; processes may share it.
        max_spool_bytes: How much may wait there.

    Raises:
        EdictumConfigError: An argument makes no sense, or the folder cannot be used.
    """

    def __init__(
        self,
        client: EdictumServerClient,
        *,
        batch_size: int = 50,
        flush_interval: float = 5.0,
        max_buffer_size: int = 10_000,
        loss_policy: LossPolicy = "drop_oldest",
        spool_dir: str | os.PathLike[str] | None = None,
        max_spool_bytes: int = DEFAULT_SPOOL_BYTES,
    ) -> None:
        if batch_size < 1 or max_buffer_size < batch_size or max_spool_bytes < 1:
            raise EdictumConfigError("batch_size is at least 1, and max_buffer_size at least batch_size")
        if flush_interval <= 0:
            raise EdictumConfigError("flush_interval is more than 0 seconds")
        if loss_policy not in ("drop_oldest", "block_calls"):
            raise EdictumConfigError(f"loss_policy is 'drop_oldest' or 'block_calls', not {loss_policy!r}")
        self._client = client
        self._batch_size = batch_size
        self._flush_interval = flush_interval
        self._loss_policy = loss_policy
        self._memory = _Memory(max_buffer_size)
        # Events of others may be refused under this agent's key, or be stored in another environment.
        folder = None if spool_dir is None else Path(spool_dir, client.env, client.agent_id)
        self._spool = None if folder is None else Spool(folder, max_spool_bytes)
        self._waiting: _Memory | Spool = self._memory if self._spool is None else self._spool
        self._lock = threading.Lock()  # of what waits, and of the numbers
        self._seq = 0
        self._dropped = 0
        self._dropped_told = 0
        self._in_flight = 0
        self._settled = 0  # events that wait no more: sent, or given up
        self._wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._flushing = 0
        self._progress = asyncio.Condition()
        self._trouble: Exception | None = None
        self._sender: asyncio.Task[None] | None = None
        self._generation = generation()
        self._closed = False
        _open.add(self)
        if len(self._waiting):
            client_loop().call_soon_threadsafe(self._wake)  # what an earlier process has left waits for no event

    @property
    def buffered(self) -> int:
        """
        How many events wait.
        """
        with self._lock:
            return len(self._waiting)

    @property
    def dropped(self) -> int:
        """
        How many events were given up since this sink was made.
        """
        return self._dropped

    async def emit(self, event: AuditEvent) -> None:
        """
        Take an event; sending it is not waited for.

        Raises:
            BufferFullError: No more events can wait, and none may be given up.
            ForkedError: The sink was made before this process was forked.
            OSError: The event could not be written to the spool.
        """
        await self._take(event)

    async def note(self, facts: Mapping[str, Any]) -> None:
        """
        Take an event that is not about a tool call; errors as for :meth:`emit`.

        Args:
            facts: Fields of the event, at least ``action``.
        """
        await self._take({"timestamp": datetime.now(UTC).isoformat(), **facts})

    async def _take(self, event: AuditEvent | Mapping[str, Any]) -> None:
        if self._generation != generation():
            raise ForkedError()
        if self._spool is not None:
            # Written before the call goes on, and not on the loop of the agent.
            await on_client_loop(self._to_disk(self._spool, event))
            return
        with self._lock:
            self._memory.append(_Entry(event, self._numbered(event), self._seq))
            count = len(self._memory)
        if self._sender is None or count % self._batch_size == 0:
            client_loop().call_soon_threadsafe(self._wake)

    async def _to_disk(self, spool: Spool, event: AuditEvent | Mapping[str, Any]) -> None:
        with self._lock:
            spool.append(_encoded(_Entry(event, self._numbered(event), self._seq), self._client.agent_id))
        self._wake()

    def _numbered(self, event: AuditEvent | Mapping[str, Any]) -> str:
        """
        Make room for one event, count it, and name it.
        """
        if self._closed:
            raise BufferFullError("the sink for the decision log was closed")
        if self._waiting.full and self._loss_policy == "block_calls":
            # What a tool has done is taken in any case: only so many calls are under way, and no more begin.
            if not (isinstance(event, AuditEvent) and event.tool_success is not None):
                raise BufferFullError(
                    f"{len(self._waiting)} events of the decision log wait for {self._client.base_url}, and no more can"
                )
        elif self._waiting.full:
            if not self._dropped:
                logger.error("events of the decision log are given up: the console was not reached for too long")
            lost = self._waiting.drop_oldest()
            self._in_flight = max(0, self._in_flight - lost)
            self._settled += lost
            self._dropped += lost
        self._seq += 1
        return new_event_id()

    # --- on the client's loop -------------------------------------------------------------------

    def _wake(self) -> None:
        if self._sender is None and not self._closed:
            self._sender = asyncio.get_running_loop().create_task(self._send_all())
        if len(self._waiting) >= self._batch_size:
            self._wanted.set()

    async def flush(self, timeout: float | None = None) -> None:
        """
        Wait until all events that wait have arrived.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ServerUnreachableError: They could not be sent in this time; they wait on.
            ForkedError: The sink was made before this process was forked.
        """
        if self._generation != generation():
            raise ForkedError()
        await on_client_loop(self._flush(timeout))

    async def _flush(self, timeout: float | None) -> None:
        with self._lock:
            last = self._settled + len(self._waiting)  # others may go on emitting
        self._wake()
        self._flushing += 1
        self._hurry.set()
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout), self._progress:
                await self._progress.wait_for(lambda: self._settled >= last)
        except TimeoutError:
            raise ServerUnreachableError(
                f"{len(self._waiting)} events of the decision log could not be sent: {self._trouble or 'no time left'}"
            ) from self._trouble
        finally:
            self._flushing -= 1
            if not self._flushing:
                self._hurry.clear()

    async def close(self, timeout: float = _CLOSING_SECONDS) -> None:
        """
        Send what waits, and end.  What cannot be sent stays in the spool; from memory it is lost, and the log says so.

        Args:
            timeout: Seconds to wait at most; 0 sends nothing more.
        """
        if self._generation == generation():
            await on_client_loop(self._close(timeout))

    async def _close(self, timeout: float) -> None:
        if self._closed:
            return
        try:
            if len(self._waiting) and timeout > 0:
                await self._flush(timeout)
        except ServerUnreachableError as error:
            logger.error("at the end, %s", error)
        with self._lock:
            self._closed = True
        _open.discard(self)
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        left = len(self._waiting)
        if left and self._spool is not None:
            logger.error("%d events wait in the spool; the next process that uses it sends them", left)
        elif left:
            logger.error("%d events of the decision log are lost", left)
            self._dropped += left
        with self._lock:
            self._waiting.close()

    async def _send_all(self) -> None:
        backoff, largest = Backoff(), _LARGEST_BATCH
        while True:
            await self._next_batch()
            batch: list[bytes] = []
            try:
                batch, told = self._batch(largest)
                outcome = await self._send(batch, told - self._dropped_told)
                why = "; ".join(sorted({f"{each.code}: {each.detail}" for each in outcome.rejected}))
                self._done(len(batch), lost=len(outcome.rejected), why=why)
            except ServerRefusedError as error:
                if _is_about_events(error):
                    # Too much at once, or one that spoils the others: a single one that is refused is given up.
                    largest = max(1, len(batch) // 2)
                    if len(batch) == 1:
                        self._done(1, lost=1, why=str(error))
                else:
                    logger.error("the decision log is not taken, and waits: %s", error)
                    await self._pause(error, _REFUSED_PAUSE)
            except Exception as error:
                if not isinstance(error, EdictumServerError):
                    logger.exception("sending the decision log failed; it is tried again")
                await self._pause(error, backoff.pause(getattr(error, "retry_after", None) or 0.0))
            else:
                backoff.reset()
                largest = min(largest * 2, _LARGEST_BATCH)
                self._dropped_told, self._trouble = told, None
            async with self._progress:
                self._progress.notify_all()

    def _batch(self, most: int) -> tuple[list[bytes], int]:
        """
        The oldest events that wait, and how many were given up before them.
        """
        with self._lock:
            entries = self._waiting.read(max(1, min(most, len(self._waiting))))
            self._in_flight = len(entries)
            told = self._dropped
        agent_id = self._client.agent_id
        return [entry if isinstance(entry, bytes) else _encoded(entry, agent_id) for entry in entries], told

    async def _next_batch(self) -> None:
        """
        Wait until there are enough events, or some have waited long enough.
        """
        while len(self._waiting) < self._batch_size and not (len(self._waiting) and self._hurry.is_set()):
            self._wanted.clear()
            try:
                async with asyncio.timeout(self._flush_interval):
                    await self._wanted.wait()
            except TimeoutError:
                if len(self._waiting):
                    return

    async def _send(self, batch: list[bytes], dropped: int) -> Ingested:
        # The same name each time that these are sent: what the console notes about the gap before them is stored once.
        name = hashlib.sha256(batch[0]).hexdigest()[:32]
        about = json.dumps({"id": name, "dropped_before": dropped}).encode()
        body, headers = b'{"events":[' + b",".join(batch) + b'],"batch":' + about + b"}", {}
        if len(body) > _WORTH_PACKING:
            body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
        answer = await self._client.request("POST", "/v1/events", body=body, schedule=EVENTS, headers=headers)
        outcome = read(answer.body, Ingested, "events")
        if outcome.accepted + outcome.duplicates + len(outcome.rejected) != len(batch):
            raise ServerProtocolError("events: the console answered for another number of events")
        return outcome

    def _done(self, count: int, *, lost: int, why: str) -> None:
        if lost:
            logger.error("the console cannot store %d events of the decision log: %s", lost, why)
        with self._lock:
            # Some may have been given up while they were sent, and have arrived after all.
            given_up = count - self._in_flight
            self._waiting.done(self._in_flight)
            self._settled += self._in_flight
            self._in_flight = 0
            self._dropped += lost - given_up

    async def _pause(self, error: Exception, seconds: float) -> None:
        if self._trouble is None:
            logger.warning("the decision log waits: %s", error)
        self._trouble = error
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, _HURRIED_PAUSE))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass


@attrs.frozen
class _Entry:
    """
    An event that waits in memory, not encoded yet.
    """

    event: AuditEvent | Mapping[str, Any]
    event_id: str
    seq: int


class _Memory:
    """
    Events that wait in memory.
    """

    def __init__(self, most: int) -> None:
        self._entries: deque[_Entry] = deque()
        self._most = most

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        return len(self._entries) >= self._most

    def append(self, entry: _Entry) -> None:
        self._entries.append(entry)

    def drop_oldest(self) -> int:
        self._entries.popleft()
        return 1

    def read(self, count: int) -> list[_Entry]:
        return list(islice(self._entries, count))

    def done(self, count: int) -> None:
        for _ in range(count):
            self._entries.popleft()

    def close(self) -> None:
        self._entries.clear()


def new_event_id() -> str:
    """
    An id that rises with time: version 7 of RFC 9562.
    """
    moment = time.time_ns() // 1_000_000
    number = (moment << 80) | (7 << 76) | (secrets.randbits(12) << 64) | (2 << 62) | secrets.randbits(62)
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _encoded(entry: _Entry, agent_id: str) -> bytes:
    facts = entry.event.to_dict() if isinstance(entry.event, AuditEvent) else entry.event
    named = {**facts, "agent_id": agent_id, "event_id": entry.event_id, "seq": entry.seq}
    return to_json_line(named).encode()


def _is_about_events(error: ServerRefusedError) -> bool:
    """
    Whether a console refused the events themselves, so that they will be refused ever again.

    All else is about the key, or about what stands before the console, and passes.
    """
    return error.status_code == 413 or (error.status_code in (400, 422) and bool(error.code))


def _flush_all() -> None:
    """
    When the main thread ends: send what waits.  Threads that go on may still emit.
    """
    _in_all(lambda sink: sink._flush(_EXIT_SECONDS))


def _close_all() -> None:
    """
    At the end of the interpreter: send what waits in sinks that nobody closed.
    """
    _in_all(lambda sink: sink._close(_EXIT_SECONDS))


def _in_all(end: Callable[[ServerAuditSink], Coroutine[Any, Any, None]]) -> None:
    left = [sink for sink in list(_open) if sink._generation == generation() and sink.buffered]
    ending = [asyncio.run_coroutine_threadsafe(end(sink), client_loop()) for sink in left]
    for future in ending:
        try:
            future.result(_EXIT_SECONDS + 3)
        except Exception as error:
            logger.warning("the decision log did not end in order: %s", error)


before_exit(_flush_all)
at_exit(_close_all)
