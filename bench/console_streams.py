"""
Idle streams at one console process: memory for each, and how long a deployment takes to reach all.

    python bench/console_streams.py [--streams N] [--deployments N]

The console runs as a process of its own with the embedded database; the clients are plain sockets in this one.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop
from console_process import Operator, console, memory, processor_seconds

RULESET = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: bench-rules}
defaults: {mode: enforce}
rules:
  - id: no-env
    type: pre
    tool: read_file
    when: {args.path: {contains: ".env"}}
    then: {action: block, message: not this file}
"""
CONNECTING_AT_ONCE = 32


class Listener(asyncio.Protocol):
    """
    A client that notes when it was sent the event that is waited for.
    """

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet = fleet
        self._number = number
        self._seen = b""
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Ask for the stream.
        """
        self.transport: Any = transport
        name = "/v1/stream?bundle_name=bench-rules"
        self.transport.write(
            f"GET {name} HTTP/1.1\r\nHost: console\r\nAuthorization: Bearer {self._fleet.key}\r\n"
            f"X-Edictum-Agent-Id: agent-{self._number}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """
        Look for what is waited for.
        """
        self._seen = self._seen[-200:] + data
        if not self.opened.done() and b"the stream is open" in self._seen:
            self.opened.set_result(None)
        if self._fleet.waited_for in self._seen:
            self._fleet.arrived(self._number)
            self._seen = b""

    def connection_lost(self, error: Exception | None) -> None:
        """
        Note that the stream ended.
        """
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the stream was refused"))


class Fleet:
    """
    All clients.
    """

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self.key = key
        self.waited_for = b"nothing yet"
        self._listeners: list[Listener] = []
        self._times: dict[int, float] = {}
        self._all = asyncio.Event()

    async def connect(self, count: int) -> None:
        """
        Open streams, a few at once.
        """
        turns = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def one(number: int) -> None:
            async with turns:
                loop = asyncio.get_running_loop()
                _, listener = await loop.create_connection(lambda: Listener(self, number), self._host, self._port)
                await listener.opened
                self._listeners.append(listener)

        await asyncio.gather(*(one(number) for number in range(count)))

    def expect(self, text: bytes) -> None:
        """
        Wait for a text from now on.
        """
        self.waited_for, self._times = text, {}
        self._all.clear()

    def arrived(self, number: int) -> None:
        """
        Note that one was sent it.
        """
        self._times.setdefault(number, time.perf_counter())
        if len(self._times) == len(self._listeners):
            self._all.set()

    async def times(self) -> list[float]:
        """
        When each was sent what is waited for.
        """
        async with asyncio.timeout(60):
            await self._all.wait()
        return sorted(self._times.values())

    def leave(self) -> None:
        """
        Close all connections at once.
        """
        for listener in self._listeners:
            listener.transport.abort()


async def measure(address: str, process: subprocess.Popen[str], streams: int, deployments: int) -> dict[str, float]:
    """
    Open streams, deploy several times, and close all.
    """
    ana = Operator(address)
    key = ana.call("POST", "/api/v1/keys", {"env": "production"})["key"]
    for text in (RULESET, RULESET + "# another version\n"):
        ana.call("POST", "/api/v1/bundles", {"yaml_content": text})
    deploy = "/api/v1/bundles/bench-rules/{}/deploy"
    ana.call("POST", deploy.format(1), {"env": "production"})
    fleet = Fleet(address, key)
    await fleet.connect(min(50, streams // 10))  # caches and pools are filled by the first
    fleet.leave()
    await asyncio.sleep(2)
    before, start = memory(process), time.perf_counter()
    fleet = Fleet(address, key)
    await fleet.connect(streams)
    connected = time.perf_counter() - start
    await asyncio.sleep(1)
    each = (memory(process) - before) / streams / 1024
    found: dict[str, list[float]] = {"p50": [], "p99": [], "cpu": []}
    for number in range(deployments):
        version = 2 - number % 2
        fleet.expect(f'"deployment_seq":{number + 2}'.encode())
        busy, start = processor_seconds(process), time.perf_counter()
        await asyncio.to_thread(ana.call, "POST", deploy.format(version), {"env": "production"})
        answered = time.perf_counter()
        times = [moment - start for moment in await fleet.times()]
        found["p50"].append(times[len(times) // 2] * 1000)
        found["p99"].append(times[len(times) * 99 // 100] * 1000)
        found["cpu"].append((processor_seconds(process) - busy) / streams * 1e6)
        found.setdefault("answer", []).append((answered - start) * 1000)
        await asyncio.sleep(0.5)
    after = memory(process)
    busy, start = processor_seconds(process), time.perf_counter()
    await asyncio.sleep(15)
    idle = (processor_seconds(process) - busy) / (time.perf_counter() - start)
    fleet.leave()
    start = time.perf_counter()
    while ana.call("GET", "/api/v1/agents/status")["agents"]:
        await asyncio.sleep(0.2)
    return {
        "streams": streams,
        "connected_seconds": connected,
        "kib_a_stream": each,
        "rss_mib_after_deployments": after / 2**20,
        "deploy_p50_ms": statistics.median(found["p50"]),
        "deploy_p99_ms": statistics.median(found["p99"]),
        "deploy_answer_ms": statistics.median(found["answer"]),
        "cpu_us_a_stream_and_deployment": statistics.median(found["cpu"]),
        "idle_share_of_a_core": idle,
        "gone_seconds": time.perf_counter() - start,
    }


def main() -> None:
    """
    Measure, and print one line for each figure.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--deployments", type=int, default=7)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loops = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    variables = {"EDICTUM_STREAMS_PER_TENANT": str(arguments.streams + 1)}
    with console(variables) as (address, process), loops as runner:
        found = runner.run(measure(address, process, arguments.streams, arguments.deployments))
    for name, value in found.items():
        print(f"{name:32} {value:10.2f}")


if __name__ == "__main__":
    main()
