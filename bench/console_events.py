"""
Events and session operations that one console process takes in by HTTP, by the second.

    python bench/console_events.py [--store sqlite] [--connections N] [--beside CHECKOUT] [--json FILE] ...

The console is a process of its own; the load comes from plain sockets in this one, with every byte prepared before the
clock starts.  Agents deliver batches of fifty events, each batch when the one before was answered, and every tenth
batch is one that was delivered before.  Postgres and Redis are started here, with their data on disk and every commit
on it before it is answered.  With ``--beside`` a console of another checkout takes turns with this one, so that
whatever else the machine does weighs on both.  Processor time is that of the console alone, and says most on a machine
that is not idle.

Machines differ by more than consoles do.  So beside the console stands, as ``alone``, what its database takes without
one: rows of the same events, inserted by one connection, a commit for each batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import uvloop
from console_process import Operator, console, memory, processor_seconds

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "edictum-console" / "tests"))

from servers import Postgres, Redis  # noqa: E402  of the console's tests, which start them as well

STORES = ("sqlite", "postgres", "postgres+redis")
BATCH = 50
REPEATED = 10  # every so many batches, one that was delivered before comes again
KEYS = 8
ON_DISK = {"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"}
TOOLS = ("read_file", "search_code", "run_command", "query_orders", "send_mail")
POLICY = "cde82d2892b4192bbc767105caf2bb65ad3ad83cd90f3c86524a63e3cb8be021"
OPERATIONS = json.dumps(
    {
        "ops": [
            {"op": "increment", "key": "s:run-1:attempts", "max": 1_000_000},
            {"op": "increment", "key": "s:run-1:tool:read_file", "max": 1_000_000},
            {"op": "get", "key": "s:run-1:executions"},
        ]
    }
).encode()

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def events(agent: str, session: str, first: int, at: datetime) -> Iterator[dict[str, Any]]:
    """
    What an agent's calls leave behind: each is allowed, then executed.
    """
    for number in range(first, first + BATCH // 2):
        tool = TOOLS[number % len(TOOLS)]
        call = {
            "schema_version": "0.4.0",
            "run_id": session,
            "call_id": f"{session}-{number}",
            "call_index": number,
            "session_id": session,
            "agent_id": agent,
            "tool_name": tool,
            "tool_args": {"path": f"/srv/data/reports/2026/{number}.csv", "limit": 100},
            "mode": "enforce",
            "policy_version": POLICY,
        }
        evaluated = [{"name": "no-env-files", "passed": True}, {"name": "only-own-folder", "passed": True}]
        moment = at + timedelta(milliseconds=20 * number)
        yield {**call, "action": "call_allowed", "timestamp": moment.isoformat(), "rules_evaluated": evaluated}
        moment += timedelta(milliseconds=9, microseconds=number % 997)
        more = {"tool_success": True, "postconditions_passed": True, "duration_ms": number % 40, "result_summary": "ok"}
        yield {**call, "action": "call_executed", "timestamp": moment.isoformat(), **more}


def whole(event: Mapping[str, Any]) -> dict[str, Any]:
    """
    The same event with every field of the format, as clients write it that leave nothing out.
    """
    return {
        **dict.fromkeys(("parent_call_id", "parent_session_id", "principal", "decision_source", "decision_name")),
        **dict.fromkeys(("reason", "workflow", "error", "metadata", "observed_action", "warnings")),
        **dict.fromkeys(("tool_success", "postconditions_passed", "duration_ms", "result_summary")),
        "side_effect": "irreversible",
        "environment": "production",
        "hooks_evaluated": [],
        "rules_evaluated": [],
        "session_attempt_count": event["call_index"] + 1,
        "session_execution_count": event["call_index"],
        "policy_error": False,
        **event,
        **(
            {"rules_evaluated": [_record(rule) for rule in event["rules_evaluated"]]}
            if "rules_evaluated" in event
            else {}
        ),
    }


def _record(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": rule["name"], "type": "precondition", "passed": rule["passed"], "message": None, "action": "block"}


def request(path: str, key: str, body: bytes) -> bytes:
    """
    A request as it is sent.
    """
    head = f"POST {path} HTTP/1.1\r\nHost: console\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Agent(asyncio.Protocol):
    """
    A connection that sends the next request when the one before is answered.
    """

    def __init__(self, waiting: deque[bytes]) -> None:
        self._waiting = waiting
        self._seen = b""
        self._sent = 0.0
        self.seconds: list[float] = []
        self.answers: list[bytes] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Keep the connection for later.
        """
        self.transport: Any = transport

    def send(self) -> None:
        """
        Send the next request, if there is one.
        """
        if not self._waiting:
            self.done.set_result(None)
            return
        self._sent = time.perf_counter()
        self.transport.write(self._waiting.popleft())

    def data_received(self, data: bytes) -> None:
        """
        Take an answer, and go on when it is whole.
        """
        self._seen += data
        head, separator, body = self._seen.partition(b"\r\n\r\n")
        if not separator or len(body) < int(_LENGTH.search(head)[1]):  # type: ignore[index]
            return
        self.seconds.append(time.perf_counter() - self._sent)
        self._seen = b""
        if not head.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(ConnectionError(body.decode()))
            return
        self.answers.append(body)
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        """
        Say that nothing comes any more.
        """
        if not self.done.done():
            self.done.set_exception(ConnectionError("the console closed the connection"))


class Load:
    """
    All agents of one console.
    """

    def __init__(self, address: str, process: subprocess.Popen[str], connections: int, full: bool) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self._connections = connections
        self._full = full
        self._batches = 0
        self._begin = datetime.now(UTC) - timedelta(hours=12)
        self.process = process
        ana = Operator(address)
        self._keys = [ana.call("POST", "/api/v1/keys", {"env": "production"})["key"] for _ in range(KEYS)]

    def batches(self, count: int) -> list[bytes]:
        """
        Prepare batches that nobody delivered yet, with some that come again a little later.
        """
        requests: list[bytes] = []
        for number in range(count):
            if number % REPEATED == REPEATED - 1:
                requests.append(requests[-REPEATED // 2])
                continue
            self._batches += 1
            agent = self._batches % self._connections
            index = self._batches // self._connections
            written = list(events(f"agent-{agent}", f"run-{agent}-{index // 20}", index * BATCH // 2, self._begin))
            if self._full:
                written = [whole(event) for event in written]
            body = json.dumps({"events": written, "batch": {"id": f"batch-{self._batches}"}}, separators=(",", ":"))
            requests.append(request("/v1/events", self._keys[self._batches % KEYS], body.encode()))
        return requests

    def operations(self, count: int) -> list[bytes]:
        """
        Prepare what guards ask for before a call.
        """
        return [request("/v1/sessions/ops", self._keys[number % KEYS], OPERATIONS) for number in range(count)]

    async def run(self, requests: Sequence[bytes]) -> dict[str, Any]:
        """
        Send everything, and return how long it took, how long each answer took, and the answers.
        """
        waiting: deque[bytes] = deque()
        loop = asyncio.get_running_loop()
        agents = []
        for _ in range(self._connections):
            _, agent = await loop.create_connection(lambda: Agent(waiting), self._host, self._port)
            agents.append(agent)
        waiting.extend(requests)
        busy, start = processor_seconds(self.process), time.perf_counter()
        for agent in agents:
            agent.send()
        await asyncio.gather(*(agent.done for agent in agents))
        seconds, busy = time.perf_counter() - start, processor_seconds(self.process) - busy
        for agent in agents:
            agent.transport.close()
        return {
            "seconds": seconds,
            "busy": busy,
            "latencies": sorted(second for agent in agents for second in agent.seconds),
            "answers": [answer for agent in agents for answer in agent.answers],
        }


def of_events(found: Mapping[str, Any], count: int) -> dict[str, float]:
    """
    The figures of a round of batches; each event was stored once or named as known, or there are none.
    """
    accepted = duplicates = 0
    for answer in found["answers"]:
        said = json.loads(answer)
        if said["rejected"]:
            raise SystemExit(f"some events were refused: {answer[:200]!r}")
        accepted += said["accepted"]
        duplicates += said["duplicates"]
    repeated = count // REPEATED * BATCH
    if (accepted, duplicates) != (count * BATCH - repeated, repeated):
        raise SystemExit(f"{accepted} events were accepted and {duplicates} known, of which {repeated} should be")
    return _figures(found, count * BATCH)


def _figures(found: Mapping[str, Any], things: int) -> dict[str, float]:
    times = found["latencies"]
    return {
        "per_second": things / found["seconds"],
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
        "cpu_us": found["busy"] / things * 1e6,
        "share_of_a_core": found["busy"] / found["seconds"],
    }


class Alone:
    """
    A database without a console, into which batches of events are inserted.
    """

    _TABLE = """
        create table event (tenant text, call_id text, action text, at text, agent text, tool text, payload json,
        primary key (tenant, call_id, action));
        create index event_at on event (tenant, at);
        create index event_agent on event (tenant, agent, at)
    """
    _INSERT = "insert into event values ({}) on conflict do nothing"

    def __init__(self, place: str | Path) -> None:
        self._place = place
        self._batches = 0
        self._connection: Any = None

    async def run(self, count: int) -> dict[str, float]:
        """
        Insert so many batches, each in a transaction of its own.
        """
        batches = [self._rows() for _ in range(count)]
        if self._connection is None:
            await self._open()
        busy, start = time.process_time(), time.perf_counter()
        times = []
        for rows in batches:
            began = time.perf_counter()
            await self._insert(rows)
            times.append(time.perf_counter() - began)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        return _figures({"seconds": seconds, "busy": busy, "latencies": sorted(times)}, count * BATCH)

    async def _open(self) -> None:
        if isinstance(self._place, Path):
            self._connection = sqlite3.connect(self._place, isolation_level=None)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.executescript(self._TABLE)
        else:
            self._connection = await asyncpg.connect(self._place)
            await self._connection.execute(self._TABLE)

    async def _insert(self, rows: Sequence[tuple[str, ...]]) -> None:
        if isinstance(self._place, Path):
            self._connection.execute("begin")
            self._connection.executemany(self._INSERT.format(",".join("?" * 7)), rows)
            self._connection.execute("commit")
        else:
            await self._connection.executemany(self._INSERT.format("$1,$2,$3,$4,$5,$6,$7"), rows)

    def _rows(self) -> list[tuple[str, ...]]:
        self._batches += 1
        at = datetime.now(UTC)
        written = events(f"agent-{self._batches % KEYS}", f"run-{self._batches}", self._batches * BATCH // 2, at)
        named = ("call_id", "action", "timestamp", "agent_id", "tool_name")
        return [("tenant", *(event[name] for name in named), json.dumps(event)) for event in written]


async def measure(sides: Mapping[str, Load], alone: Alone, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """
    Measure events, then session operations, in rounds in which the sides take turns.
    """
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
    for load in sides.values():  # caches and pools are filled by the first
        await load.run(load.batches(REPEATED * 10))
    for number in range(arguments.rounds):
        for name, load in list(sides.items())[:: 1 if number % 2 else -1]:
            requests = load.batches(arguments.batches)
            rounds.setdefault(("events", name), []).append(of_events(await load.run(requests), len(requests)))
        rounds.setdefault(("events", "alone"), []).append(await alone.run(arguments.batches))
    for load in sides.values():
        await load.run(load.operations(KEYS * 2))
    for number in range(arguments.rounds):
        for name, load in list(sides.items())[:: 1 if number % 2 else -1]:
            requests = load.operations(arguments.operations)
            rounds.setdefault(("operations", name), []).append(_figures(await load.run(requests), len(requests)))
    return [
        {
            "what": what,
            "side": name,
            **{figure: statistics.median(one[figure] for one in found) for figure in found[0]},
            "spread": [min(one["per_second"] for one in found), max(one["per_second"] for one in found)],
            "rss_mib": memory(sides[name].process) / 2**20 if name in sides else None,
        }
        for (what, name), found in rounds.items()
    ]


@contextmanager
def variables_of(store: str, sides: int) -> Iterator[tuple[list[dict[str, str]], Alone]]:
    """
    Start what a store needs, and yield the settings of each console, and the database without one.
    """
    secrets = {"EDICTUM_SECRET_KEY": token_hex(32), "EDICTUM_SIGNING_KEY_SECRET": token_hex(32)}
    # Everything is counted, and nothing refused.
    own = {"EDICTUM_EVENTS_PER_MINUTE": "100000000", "EDICTUM_REQUESTS_PER_MINUTE": "10000000", **secrets}
    own["EDICTUM_SESSION_REQUESTS_PER_MINUTE"] = "10000000"
    with ExitStack() as stack:
        found = [dict(own) for _ in range(sides)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        alone = Alone(folder / "alone.sqlite")
        if store != "sqlite":
            postgres = Postgres(folder, ON_DISK)
            stack.callback(postgres.close)
            for variables in found:
                variables["EDICTUM_DATABASE_URL"] = postgres.new_database()
            alone = Alone(postgres.new_database())
        if store == "postgres+redis":
            for variables in found:
                redis = Redis(Path(stack.enter_context(tempfile.TemporaryDirectory())))
                stack.callback(redis.close)
                variables["EDICTUM_REDIS_URL"] = redis.url
        yield found, alone


def compare(store: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """
    Measure one store.
    """
    checkouts = {"ours": ROOT, **({"beside": arguments.beside} if arguments.beside else {})}
    with ExitStack() as stack:
        variables, alone = stack.enter_context(variables_of(store, len(checkouts)))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        sides = {}
        for own, (name, checkout) in zip(variables, checkouts.items(), strict=True):
            source = [str(checkout / part / "src") for part in ("edictum-core", "edictum-console")]
            address, process = stack.enter_context(console({**own, "PYTHONPATH": ":".join(source)}))
            sides[name] = Load(address, process, arguments.connections, arguments.full)
        for row in runner.run(measure(sides, alone, arguments)):
            yield {"store": store, **row}


def main() -> None:
    """
    Measure, print a table and write JSON.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=STORES, action="append", help="where it is kept; all of them if not given")
    parser.add_argument("--connections", type=int, default=4, help="agents that deliver at the same time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=600, help="in each round")
    parser.add_argument("--operations", type=int, default=2000, help="requests with session operations in each round")
    parser.add_argument("--full", action="store_true", help="events with every field of the format, about a kilobyte")
    parser.add_argument("--beside", type=Path, help="another checkout to compare with, round by round")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    rows = []
    line = "{:15} {:11} {:7} {:>10} {:>17} {:>8} {:>8} {:>9} {:>7}"
    print(line.format("store", "what", "side", "per second", "spread", "p50 ms", "p99 ms", "cpu us", "cores"))
    for store in arguments.store or STORES:
        for row in compare(store, arguments):
            rows.append(row)
            low, high = row["spread"]
            figures = [f"{row['per_second']:,.0f}", f"{low:,.0f}-{high:,.0f}"]
            figures += [f"{row[name]:.1f}" for name in ("p50_ms", "p99_ms", "cpu_us")]
            print(line.format(store, row["what"], row["side"], *figures, f"{row['share_of_a_core']:.2f}"), flush=True)
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name != "json"}
        arguments.json.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
