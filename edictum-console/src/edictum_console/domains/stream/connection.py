"""
One open stream of events: what waits to be sent, and what happens to readers that are too slow.

Nobody who has something to say waits for a reader.  What is pushed goes into a short queue; a task that lives only as
long as there is something in it sends it.  So an open stream that is silent costs the one task that waits for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from litestar.types import Receive, Scope, Send

from edictum_console.domains.stream.frames import OPENING

ABORT = "edictum.abort"  # among the extensions of a scope: ends the connection without waiting for its reader

MOST_FRAMES = 256
_STUCK_AFTER = 2  # heartbeats that pass without a single write
_TOGETHER = 16 * 1024  # bytes that are sent in one piece

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"connection", b"keep-alive"),
]


class EventConnection:
    """
    A response that goes on until one of both sides ends it.

    Attributes:
        sent: How many events were sent.
        replaced: How many a newer one about the same took the place of.
        cuts: 1 where the reader was too slow and was cut off, else 0.
    """

    __slots__ = ("_abort", "_closing", "_queue", "_send", "_stuck", "_writer", "cuts", "replaced", "sent")

    def __init__(self) -> None:
        self._queue: dict[object, bytes] = {"opening": OPENING}
        self._abort: Callable[[], None] | None = None
        self._send: Send | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self._stuck = 0
        self.sent = 0
        self.replaced = 0
        self.cuts = 0

    @property
    def closing(self) -> bool:
        """
        Whether nothing more is taken.
        """
        return self._closing

    def push(self, frame: bytes, name: str | None = None) -> None:
        """
        Send an event as soon as the reader lets it through; a reader that leaves too many waiting is cut off.

        Args:
            frame: The event.
            name: What it is about: it takes the place of one about the same that still waits.
        """
        if self._closing:
            return
        if name is not None and self._queue.pop(name, None) is not None:
            self.replaced += 1
        if len(self._queue) >= MOST_FRAMES:
            self._give_up()
            return
        self._queue[name or object()] = frame
        self._wake()

    def beat(self, frame: bytes) -> None:
        """
        Send a heartbeat if nothing else is being sent; cut off a reader that takes nothing for too long.
        """
        if self._writer is None:
            self.push(frame, "heartbeat")
            return
        self._stuck += 1
        if self._stuck >= _STUCK_AFTER:
            self._give_up()

    def end(self, frame: bytes) -> None:
        """
        Send a last event, and end the stream in order.
        """
        self.push(frame)
        self._closing = True
        self._wake()

    def cut(self) -> None:
        """
        End the connection at once, whatever still waits: the reader connects again and is told how things are.
        """
        self._closing = True
        self._queue.clear()
        if self._abort is not None:
            self._abort()
        else:
            self._wake()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer a request by the stream; returns when it has ended.
        """
        extensions: Any = scope.get("extensions") or {}
        self._abort = extensions.get(ABORT, {}).get("abort")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            self._send = send
            self._wake()
            # Also after the end of the response this says that it has ended.
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._closing = True
            if self._writer is not None:
                self._writer.cancel()

    def _give_up(self) -> None:
        self.cuts += not self._closing
        self.cut()

    def _wake(self) -> None:
        if self._send is not None and self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(self._send))

    async def _write(self, send: Send) -> None:
        try:
            while self._queue:
                await send({"type": "http.response.body", "body": self._take(), "more_body": True})
                self._stuck = 0
            if self._closing:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            self._closing = True  # the reader went, which whoever waits for that is told, too
        finally:
            self._writer = None

    def _take(self) -> bytes:
        """
        Take the oldest events out of the queue: several small ones, or one that is large.
        """
        taken: list[bytes] = []
        size = 0
        for key, waiting in list(self._queue.items()):
            if taken and size + len(waiting) > _TOGETHER:
                break
            taken.append(self._queue.pop(key))
            size += len(waiting)
        self.sent += len(taken)
        return taken[0] if len(taken) == 1 else b"".join(taken)
