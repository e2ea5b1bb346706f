"""
Streams of a console that runs as a process of its own, over real connections.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from test_interop import Operator, variables_of
from test_rulesets import STRICTER, TEXT
from test_serve import serving

pytestmark = pytest.mark.slow

_PATIENCE_SECONDS = 30


@attrs.define
class Client:
    """
    A client that reads a stream, byte by byte as it comes.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def event(self) -> dict[str, Any]:
        """
        The name and the data of the next event.
        """
        fields: dict[str, str] = {}
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                line = (await self.reader.readuntil(b"\n")).decode().strip("\n")
                name, _, value = line.partition(": ")
                if line == "" and "event" in fields:
                    return {"event": fields["event"], **json.loads(fields["data"])}
                if name in ("event", "data", "id"):
                    fields[name] = value

    async def rest(self) -> bytes:
        """
        What comes until the server closes the connection.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self.reader.read()


@asynccontextmanager
async def connected(address: str, key: str, agent_id: str, query: str = "") -> AsyncIterator[Client]:
    """
    Open a stream and read its head.
    """
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**21)
    try:
        head = f"GET /v1/stream{query} HTTP/1.1\r\nHost: console\r\nAuthorization: Bearer {key}\r\n"
        writer.write(f"{head}X-Edictum-Agent-Id: {agent_id}\r\n\r\n".encode())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            await reader.readuntil(b"the stream is open\n")
        yield Client(reader, writer)
    finally:
        writer.close()


def agents_at(ana: Operator) -> int:
    return sum(agent["streams"] for agent in ana.call("GET", "/api/v1/agents/status")["agents"])


@pytest.mark.parametrize("kind", ["embedded", "replicated"])
def test_console_that_is_stopped_ends_open_streams_in_order(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    variables = {**variables_of(request, kind), "EDICTUM_DRAIN_SECONDS": "1"}

    async def check(address: str, process: subprocess.Popen[str]) -> None:
        ana = Operator(address)
        key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(address, key, f"bot-{i}")) for i in range(8)]
            process.send_signal(signal.SIGTERM)
            for client in clients:
                assert (await client.event())["event"] == "drain"
                assert (await client.rest()).endswith(b"0\r\n\r\n")  # the response is whole
            assert await asyncio.to_thread(process.wait, _PATIENCE_SECONDS) == 0

    with serving(tmp_path, **variables) as (address, _, process):
        asyncio.run(check(address, process))
        assert process.stderr is not None
        assert "ERROR" not in process.stderr.read()


@pytest.mark.parametrize("kind", ["embedded", "replicated"])
def test_streams_of_clients_that_went_away_leave_nothing_behind(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    async def check(address: str) -> None:
        ana = Operator(address)
        key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(address, key, f"bot-{i}")) for i in range(20)]
            assert await asyncio.to_thread(agents_at, ana) == 20
            for client in clients[::2]:
                client.writer.transport.abort()  # without a word
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await asyncio.to_thread(agents_at, ana):
                await asyncio.sleep(0.05)

    with serving(tmp_path, **variables_of(request, kind)) as (address, _, process):
        asyncio.run(check(address))
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE_SECONDS) == 0  # at once, for nothing is left to be waited for
        assert process.stderr is not None
        assert "ERROR" not in process.stderr.read()


def test_reader_that_does_not_read_keeps_nobody_from_hearing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """
    One never reads what is sent to it, and large rulesets fill its connection; the other one hears of each at once.
    """
    padding = "# " + "x" * 500 * 1024 + "\n"

    async def check(address: str) -> None:
        ana = Operator(address)
        key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
        for text in (TEXT, STRICTER):
            ana.call("POST", "/api/v1/bundles", {"yaml_content": text + padding})
        query = "?bundle_name=docs-rules"
        async with connected(address, key, "deaf", query), connected(address, key, "bot", query) as client:
            for number in range(1, 13):
                version = 1 + number % 2
                path = f"/api/v1/bundles/docs-rules/{version}/deploy"
                await asyncio.to_thread(ana.call, "POST", path, {"env": "production"})
                while (event := await client.event())["event"] != "contract_update":
                    pass
                assert event["deployment_seq"] == number

    with serving(tmp_path, **variables_of(request, "embedded")) as (address, _, process):
        asyncio.run(check(address))
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE_SECONDS) == 0
