"""
A server that answers as a test says, also what no console would: for what a console cannot be asked to do.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs


@attrs.frozen
class Asked:
    """
    A request that arrived; the names of headers in lower case.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Asked], bytes | None]


def reply(body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """
    An answer in order; what is not bytes already is written as JSON.
    """
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    given = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Server:
    """
    The server, in a thread.

    Attributes:
        address: Where it listens.
        answer: Makes the bytes that answer a request; empty ends the connection, None leaves it open without a word.
        asked: All requests so far.
        connections: How many connections there were.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self.address = ""
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._end = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls, limit=2**26)
        port = server.sockets[0].getsockname()[1]
        self.address = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{port}"
        self._listening.set()
        await self._end.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._heard(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _heard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, body)
        self.asked.append(asked)
        answer = self.answer(asked)
        if answer is None:
            await reader.read()
            return False
        writer.write(answer)
        await writer.drain()
        return b"Content-Length" in answer and b"Connection: close" not in answer


@contextmanager
def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """
    Run a server as long as the block lasts.
    """
    server = Server(answer, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
