"""
Agents that listen to a stream of a console in the test's own process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from consoles import Console, Session
from edictum_console.domains.stream.connection import ABORT

_PATIENCE_SECONDS = 20


@attrs.frozen
class Event:
    """
    An event as clients read it.
    """

    name: str
    data: dict[str, Any]
    id: int | None


@attrs.define
class Listener:
    """
    What a server sent so far; it reads as long as ``reading`` is set.
    """

    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    text: str = ""
    comments: list[str] = attrs.field(factory=list)
    aborted: bool = False
    reading: asyncio.Event = attrs.field(factory=asyncio.Event)
    started: asyncio.Event = attrs.field(factory=asyncio.Event)
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)
    _events: asyncio.Queue[Event | None] = attrs.field(factory=asyncio.Queue)

    async def receive(self) -> dict[str, Any]:
        """
        Wait for the end, as a server does that has read the whole request.
        """
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """
        Take what is sent, as slowly as the listener reads.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            return
        await self.reading.wait()
        if self.gone.is_set():
            return
        self.text += message["body"].decode("ascii" if self.status == 200 else "utf-8")
        if self.status == 200:
            *blocks, self.text = self.text.split("\n\n")
            for block in blocks:
                self._read(block)
        if not message.get("more_body"):
            self._events.put_nowait(None)
            self.gone.set()
        self.started.set()

    def abort(self) -> None:
        """
        End the connection, as a server does.
        """
        self.aborted = True
        self.leave()

    def leave(self) -> None:
        """
        Go away.
        """
        self.gone.set()
        self.reading.set()
        self._events.put_nowait(None)

    async def next(self) -> Event:
        """
        The next event.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            event = await self._events.get()
        assert event is not None, "the stream has ended"
        return event

    async def named(self, name: str) -> Event:
        """
        The next event of a name; those before it are passed over.
        """
        while (event := await self.next()).name != name:
            pass
        return event

    async def last(self) -> list[Event]:
        """
        What comes until the stream ends.
        """
        events = []
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (event := await self._events.get()) is not None:
                events.append(event)
        return events

    def waiting(self) -> list[Event]:
        """
        What came and was not looked at.
        """
        found = []
        while not self._events.empty():
            event = self._events.get_nowait()
            found += [] if event is None else [event]
        return found

    def _read(self, block: str) -> None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, separator, value = line.partition(": ")
            assert separator, line
            assert name not in fields, line
            if name == "":
                self.comments.append(value)
            else:
                fields[name] = value
        if "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            self._events.put_nowait(Event(fields["event"], json.loads(fields["data"]), number))


@asynccontextmanager
async def listening(
    console: Console, session: Session, query: str = "", path: str = "/v1/stream", **headers: str
) -> AsyncIterator[Listener]:
    """
    Open a stream, and go away at the end.
    """
    listener = Listener()
    listener.reading.set()
    sent = {**session.headers, **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {ABORT: {"abort": listener.abort}},
    }
    task = asyncio.create_task(console.app(scope, listener.receive, listener.send))
    try:
        started = asyncio.create_task(listener.started.wait())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        yield listener
    finally:
        listener.leave()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await task


async def until(console: Console, count: int) -> None:
    """
    Wait until there are so many streams.
    """
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while console.app.state.hub.count != count:
            await asyncio.sleep(0)
