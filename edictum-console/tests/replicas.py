"""
Replicas that run as processes of their own, and clients that go on whatever happens to them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import httpx
from servers import Server, free_port

CURRENT_WITHIN_SECONDS = 15  # of the recovery
_PATIENCE_SECONDS = 60
_PAUSE_SECONDS = 0.1
_STARTED_AT = datetime.now(UTC).isoformat()
_MORE = 5  # acknowledgements that show that work goes on


class Replica:
    """
    A console process on a port of its own, which can be killed and started again.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.port = free_port()
        folder.mkdir()
        self.log = folder / "log"
        words = [sys.executable, "-m", "edictum_console", "serve", "--port", str(self.port)]
        environment = {"EDICTUM_DATA_DIR": str(folder), "PATH": os.environ["PATH"], **variables}
        self._command, self._environment = words, environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """
        Where it listens.
        """
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """
        Start it, again, and return when it answers.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log)
        Server.wait_for(self._process, self._ready, "the replica")

    def kill(self) -> None:
        """
        End it as a crash would.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE_SECONDS)
            self._process = None

    def pause(self) -> None:
        """
        Let it do nothing any more, with all connections open.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """
        Let it go on.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/api/v1/health/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def replicas(folder: Path, variables: Mapping[str, str]) -> Iterator[list[Replica]]:
    """
    Run two replicas.
    """
    both = [Replica(folder / name, variables) for name in ("a", "b")]
    try:
        for replica in both:
            replica.start()
        yield both
    finally:
        for replica in both:
            replica.kill()


@attrs.define
class Client:
    """
    Sends requests to any replica, again and again until one of them answers.

    Attributes:
        troubles: What it met instead of answers: statuses and the kinds of errors.
    """

    http: httpx.AsyncClient
    addresses: Iterator[str]
    headers: dict[str, str]
    troubles: list[str] = attrs.field(factory=list)
    _address: str = ""

    async def must(self, method: str, path: str, body: Any = None, also: tuple[int, ...] = ()) -> Any:
        """
        Send one request until it is answered; the key makes all attempts one.

        Args:
            method: The method.
            path: The path.
            body: The body, as JSON.
            also: Statuses that are an answer besides success.
        """
        headers = {**self.headers, "Idempotency-Key": uuid4().hex}
        while True:
            self._address = self._address or next(self.addresses)
            try:
                answer = await self.http.request(method, self._address + path, json=body, headers=headers)
            except httpx.HTTPError as error:
                self.troubles.append(type(error).__name__)
                self._address = next(self.addresses)
            else:
                if answer.is_success or answer.status_code in also:
                    return answer.json()
                assert answer.status_code in (429, 503), (path, answer.status_code, answer.text)
                self.troubles.append(str(answer.status_code))
            await asyncio.sleep(_PAUSE_SECONDS)


@attrs.define
class Listening:
    """
    An agent that holds a stream, connects again when it ends, and runs what it is told.
    """

    client: Client
    agent_id: str
    seq: int = 0
    revision: str = ""
    cursor: str = ""
    connected: int = 0

    async def run(self) -> None:
        """
        Go on until it is cancelled.
        """
        while True:
            address = next(self.client.addresses)
            query = {"bundle_name": "docs-rules", "policy_version": self.revision, "cursor": self.cursor}
            said = {name: value for name, value in query.items() if value}
            headers = {**self.client.headers, "X-Edictum-Agent-Id": self.agent_id}
            try:
                async with self.client.http.stream("GET", f"{address}/v1/stream", params=said, headers=headers) as got:
                    if got.status_code == 200:
                        self.connected += 1
                        await self._read(got)
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_PAUSE_SECONDS * 5)

    async def _read(self, answer: httpx.Response) -> None:
        name = ""
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                self.cursor = value
            elif field == "event":
                name = value
            elif field == "data" and name in ("contract_update", "ruleset_updated"):
                data = json.loads(value)
                assert data["deployment_seq"] >= self.seq, "an agent was told to go back"
                self.seq, self.revision = data["deployment_seq"], data["revision_hash"]


@attrs.define
class Load:
    """
    Work that goes on meanwhile, and what was acknowledged of it.
    """

    client: Callable[[str], Client]
    stopping: asyncio.Event = attrs.field(factory=asyncio.Event)
    events: list[str] = attrs.field(factory=list)
    counted: list[int] = attrs.field(factory=list)
    decided: dict[str, str] = attrs.field(factory=dict)
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """
        Work meanwhile; at the end, what was begun is finished.
        """
        work = [self._deliver, self._deliver, self._count, self._count, self._approve]
        self.tasks = [asyncio.create_task(part(number)) for number, part in enumerate(work)]
        try:
            yield
            self.stopping.set()
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.gather(*self.tasks)
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def goes_on(self) -> None:
        """
        Wait until there is more of everything.
        """
        wanted = [number + _MORE for number in self.done]

        def ended_or_more() -> bool:
            for task in self.tasks:
                if task.done():
                    task.result()  # what went wrong
            return all(number >= enough for number, enough in zip(self.done, wanted, strict=True))

        await until(ended_or_more)

    @property
    def done(self) -> tuple[int, int, int]:
        """
        How many acknowledgements there are: of events, of counts, and of decisions.
        """
        return len(self.events), len(self.counted), len(self.decided)

    async def _deliver(self, worker: int) -> None:
        client = self.client("events")
        for number in itertools.count():
            ids = [f"{worker}-{number}-{index}" for index in range(20)]
            done = await client.must("POST", "/v1/events", {"events": [_event(one) for one in ids]})
            assert done["accepted"] + done["duplicates"] == len(ids)
            self.events += ids
            if self.stopping.is_set():
                return

    async def _count(self, worker: int) -> None:
        client = self.client("sessions")
        keys = (f"own-{worker}", "shared")
        body = {"ops": [{"op": "increment", "key": key} for key in keys]}
        for number in itertools.count(1):
            done = await client.must("POST", "/v1/sessions/ops", body)
            own, shared = (one["value"] for one in done["results"])
            assert own == number, "a counter lost or gained something"
            self.counted.append(shared)
            if self.stopping.is_set():
                return

    async def _approve(self, worker: int) -> None:
        decider = self.client("decisions")
        for number in itertools.count():
            agent = self.client("approvals")
            agent.headers["X-Edictum-Agent-Id"] = f"asking-{number}"
            made = await agent.must("POST", "/v1/approvals", {"tool_name": "delete", "message": "?", "timeout": 3600})
            path, approved = f"/v1/approvals/{made['id']}", number % 2 == 0
            waiting = asyncio.create_task(agent.must("GET", f"{path}?wait=10"))
            await decider.must("POST", f"{path}/decide", {"approved": approved}, (409,))
            # The one that waits hears of it, or may have been answered before there was a decision.
            heard = await waiting
            while heard["status"] == "pending":
                heard = await agent.must("GET", f"{path}?wait=10")
            assert heard["status"] == ("approved" if approved else "rejected"), heard
            self.decided[made["id"]] = heard["status"]
            if self.stopping.is_set():
                return


async def until(true: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
    """
    Wait until something is the case.
    """
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


def _event(event_id: str) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "call_id": event_id,
        "agent_id": "bot",
        "tool_name": "read_file",
        "action": "call_allowed",
        "timestamp": _STARTED_AT,
    }
