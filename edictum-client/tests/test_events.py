"""
The decision log on its way to a console: each event once and in order, whatever happens to either of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import resource
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from answers import Asked, Server, answering, reply
from consoles import Console, rules, running
from edictum import AuditAction, AuditEvent, Edictum, EdictumConfigError, EdictumDenied
from edictum.memory_storage import MemoryBackend
from edictum_client import (
    BufferFullError,
    EdictumServerClient,
    ServerAuditSink,
    ServerUnreachableError,
)

LONG = 3600.0
PATIENCE = 60.0


def event(number: int, **more: Any) -> AuditEvent:
    given = {"action": AuditAction.CALL_ALLOWED, "tool_name": "tool", "call_id": f"call-{number}", **more}
    return AuditEvent(call_index=number, **given)


@contextlib.asynccontextmanager
async def sink_at(address: str, key: str, agent_id: str, **options: Any) -> AsyncIterator[ServerAuditSink]:
    client = EdictumServerClient(address, key, agent_id=agent_id)
    sink = ServerAuditSink(client, **options)
    try:
        yield sink
    finally:
        await sink.close(0.5)
        await client.close()


async def until(condition: Callable[[], object]) -> None:
    """
    Look until something is so.
    """
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """
    Which events arrived, in the order of their numbers; what the console notes by itself is left out.
    """
    return sorted(each["call_index"] for each in events if each["action"] != "events_dropped")


def lost(events: list[dict[str, Any]]) -> int:
    """
    How many events the console was told that it will never see.
    """
    return sum(each["dropped_before"] for each in events if each["action"] == "events_dropped")


def batch_of(asked: Asked) -> dict[str, Any]:
    packed = asked.headers.get("content-encoding") == "gzip"
    found: dict[str, Any] = json.loads(gzip.decompress(asked.body) if packed else asked.body)
    return found


def taken(asked: Asked) -> bytes:
    """
    What a console answers that stores everything.
    """
    count = len(batch_of(asked)["events"]) if asked.body else 0
    return reply({"accepted": count, "duplicates": 0, "rejected": [], "batch_id": "1"})


# --- when events are sent -------------------------------------------------------------------------


def test_sink_batch_not_full_waits_for_the_fiftieth_event(agent_id: str) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id, flush_interval=LONG) as sink:
            for number in range(49):
                await sink.emit(event(number))
            await sink._client.get("/v1/health")  # whatever was to be sent would have been sent before this
            assert [asked.path for asked in server.asked] == ["/v1/health"]

            await sink.emit(event(49))
            await until(lambda: not sink.buffered)
            assert [len(batch_of(asked)["events"]) for asked in server.asked[1:]] == [50]

    with answering(taken) as server:
        asyncio.run(scenario(server))


def test_sink_interval_over_sends_fewer_events_unasked(console: Console, key: str, agent_id: str) -> None:
    async def scenario() -> None:
        async with sink_at(console.address, key, agent_id, flush_interval=0.1) as sink:
            await sink.emit(event(1))
            await sink.emit(event(2))
            await until(lambda: not sink.buffered)

    asyncio.run(scenario())
    assert numbers(console.events(agent_id=agent_id)) == [1, 2]


def test_sink_events_arrive_in_order_each_with_an_id_and_a_number(console: Console, key: str, agent_id: str) -> None:
    async def scenario() -> None:
        async with sink_at(console.address, key, agent_id) as sink:
            for number in range(120):
                await sink.emit(event(number))
            await sink.flush(PATIENCE)
            assert (sink.buffered, sink.dropped) == (0, 0)

    asyncio.run(scenario())
    found = console.events(agent_id=agent_id)
    assert [each["call_index"] for each in found] == list(range(120))
    assert [each["seq"] for each in found] == list(range(1, 121))
    ids = [each["event_id"] for each in found]
    assert len(set(ids)) == 120
    assert all(each[14] == "7" for each in ids)  # they rise with time
    assert sorted(each[:13] for each in ids) == [each[:13] for each in ids]


def test_sink_note_arrives_as_an_event_of_the_agent(console: Console, key: str, agent_id: str) -> None:
    async def scenario() -> None:
        async with sink_at(console.address, key, agent_id) as sink:
            await sink.note({"action": "ruleset_reloaded", "decision_name": "rules"})

    asyncio.run(scenario())
    (found,) = console.events(agent_id=agent_id)
    assert (found["action"], found["decision_name"], found["seq"]) == ("ruleset_reloaded", "rules", 1)


def test_sink_used_from_many_loops_and_threads_numbers_each_event_once(
    console: Console, key: str, agent_id: str
) -> None:
    client = EdictumServerClient(console.address, key, agent_id=agent_id)
    sink = ServerAuditSink(client, batch_size=7, flush_interval=0.05)
    guard = Edictum(audit_sink=sink)

    async def emitting(first: int) -> None:
        for number in range(first, first + 50):
            await sink.emit(event(number))

    def calling() -> None:
        for _ in range(10):
            guard.run_sync("tool", {}, lambda: None)

    threads = [threading.Thread(target=asyncio.run, args=(emitting(1000 * each),)) for each in range(1, 5)]
    threads += [threading.Thread(target=calling) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    async def end() -> None:
        await sink.close()
        await client.close()

    asyncio.run(end())
    found = console.events(agent_id=agent_id)
    of_threads = sorted(1000 * each + number for each in range(1, 5) for number in range(50))
    assert numbers([each for each in found if each["call_index"] >= 1000]) == of_threads
    assert len(found) == 200 + 2 * 10 * 2  # each call is allowed, and then executed
    assert sorted(each["seq"] for each in found) == list(range(1, len(found) + 1))


# --- more than can wait ---------------------------------------------------------------------------


@contextlib.contextmanager
def paused(console: Console) -> Iterator[None]:
    console.pause()
    try:
        yield
    finally:
        console.resume()


@pytest.mark.fault
def test_sink_console_paused_drops_the_oldest_and_the_console_is_told_how_many(
    console: Console, key: str, agent_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> int:
        async with sink_at(console.address, key, agent_id, batch_size=10, max_buffer_size=100) as sink:
            with paused(console):
                for number in range(250):
                    await sink.emit(event(number))
                assert sink.buffered == 100
                assert sink.dropped == 150
            await sink.flush(PATIENCE)
            await sink.emit(event(250))
            await sink.flush(PATIENCE)
            return sink.dropped

    dropped = asyncio.run(scenario())
    found = console.events(agent_id=agent_id)
    arrived = numbers(found)
    assert arrived[-101:] == list(range(150, 251))
    # What was being sent while it was given up has arrived, and is not called lost.
    assert len(arrived) + dropped == 251
    assert lost(found) == dropped
    assert "are given up" in caplog.text


@pytest.mark.fault
def test_sink_drops_are_shown_at_the_agent(
    console: Console, key: str, agent_id: str, name: str, tmp_path: Path
) -> None:
    console.deploy(rules(name))

    async def scenario() -> None:
        guard = await Edictum.from_server(
            console.address,
            key,
            agent_id,
            bundle_name=name,
            spool_dir=tmp_path,
            max_spool_bytes=1,
            storage_backend=MemoryBackend(),
        )
        with paused(console):
            for _ in range(5):
                await guard.run("tool", {}, lambda: None)
        await guard.close()

    asyncio.run(scenario())
    found = console.events(agent_id=agent_id)
    shown = console.agent(agent_id)["dropped_events"]
    assert shown > 0
    assert shown + len([each for each in found if each["tool_name"] == "tool"]) == 10


@pytest.mark.fault
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "spool"])
def test_sink_full_under_block_calls_blocks_calls_until_the_console_is_back(
    console: Console, key: str, agent_id: str, tmp_path: Path, on_disk: bool
) -> None:
    told: list[AuditEvent] = []
    ran: list[int] = []

    class Here:
        async def emit(self, event: AuditEvent) -> None:
            told.append(event)

    async def scenario() -> None:
        room: dict[str, Any] = {"spool_dir": tmp_path, "max_spool_bytes": 4000} if on_disk else {"max_buffer_size": 4}
        async with sink_at(console.address, key, agent_id, batch_size=2, loss_policy="block_calls", **room) as sink:
            guard = Edictum(audit_sink=[sink, Here()], audit_failure="block")
            with paused(console):
                blocked = False
                while not blocked and len(ran) < 100:
                    try:
                        await guard.run("tool", {}, lambda: ran.append(len(ran)))
                    except EdictumDenied:
                        blocked = True
                assert blocked
                assert ran == list(range(len(ran)))
                assert told[-1].action is AuditAction.CALL_DENIED
                assert sink.dropped == 0
            await sink.flush(PATIENCE)
            await guard.run("tool", {}, lambda: ran.append(100))

    asyncio.run(scenario())
    assert ran[-1] == 100
    assert len(console.events(agent_id=agent_id, action="call_executed")) == len(ran)


@pytest.mark.fault
def test_sink_disk_full_refuses_events_and_sends_those_it_has(
    console: Console, key: str, agent_id: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with sink_at(console.address, key, agent_id, spool_dir=tmp_path, flush_interval=LONG) as sink:
            await sink.emit(event(0))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            try:
                with pytest.raises(OSError, match="too large"):
                    await sink.emit(event(1))
                await sink.flush(PATIENCE)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            await sink.emit(event(2))

    asyncio.run(scenario())
    assert numbers(console.events(agent_id=agent_id)) == [0, 2]


@pytest.mark.fault
def test_sink_spool_file_that_cannot_be_removed_does_not_end_sending(
    agent_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edictum_client.spool.SEGMENT_BYTES", 1)  # each event has its file

    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id, spool_dir=tmp_path, flush_interval=LONG) as sink:
            await sink.emit(event(0))
            (first,) = tmp_path.rglob("*.events")
            first.with_suffix(".sent").mkdir()
            for number in range(1, 4):
                await sink.emit(event(number))
                await sink.flush(PATIENCE)
            assert sink.buffered == 0

    with answering(taken) as server:
        asyncio.run(scenario(server))


def test_sink_buffered_is_read_while_other_threads_emit(
    agent_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edictum_client.spool.SEGMENT_BYTES", 1)

    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id, spool_dir=tmp_path, flush_interval=LONG) as sink:
            done = threading.Event()

            def look() -> int:
                looks = 0
                while not done.is_set():
                    assert sink.buffered >= 0
                    looks += 1
                return looks

            looking = asyncio.ensure_future(asyncio.to_thread(look))
            for number in range(300):
                await sink.emit(event(number))
            done.set()
            assert await looking > 0
            await sink.flush(PATIENCE)

    with answering(taken) as server:
        asyncio.run(scenario(server))


# --- flush and close ------------------------------------------------------------------------------


@pytest.mark.fault
def test_sink_flush_without_a_console_fails_in_its_time_and_keeps_the_events(agent_id: str) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id) as sink:
            await sink.emit(event(1))
            with pytest.raises(ServerUnreachableError, match="1 events of the decision log could not be sent"):
                await sink.flush(0.2)
            assert sink.buffered == 1

            server.answer = taken
            await sink.flush(PATIENCE)
            assert sink.buffered == 0

    with answering(lambda asked: reply(status=503)) as server:
        asyncio.run(scenario(server))


def test_sink_flush_while_others_go_on_emitting_ends(agent_id: str) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id) as sink:

            def emitting(asked: Asked) -> bytes:
                # With each answer there is one event more, for ever.
                asyncio.run(sink.emit(event(len(server.asked))))
                return taken(asked)

            server.answer = lambda asked: answer_in_thread(emitting, asked)
            await sink.emit(event(0))
            await sink.flush(PATIENCE)
            server.answer = taken

    with answering(taken) as server:
        asyncio.run(scenario(server))


def answer_in_thread(answer: Callable[[Asked], bytes], asked: Asked) -> bytes:
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(answer(asked)))
    thread.start()
    thread.join(PATIENCE)
    return found[0]


def test_sink_two_flushes_at_once_both_end(agent_id: str) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id, flush_interval=LONG) as sink:
            await sink.emit(event(1))
            short = asyncio.create_task(sink.flush(0.2))
            patient = asyncio.create_task(sink.flush(PATIENCE))
            with pytest.raises(ServerUnreachableError):
                await short
            server.answer = taken
            await patient

    with answering(lambda asked: reply(status=500)) as server:
        asyncio.run(scenario(server))


def test_sink_close_sends_what_waits_and_takes_no_more(console: Console, key: str, agent_id: str) -> None:
    async def scenario() -> None:
        async with sink_at(console.address, key, agent_id, flush_interval=LONG) as sink:
            await sink.emit(event(1))
            await sink.close()
            with pytest.raises(BufferFullError, match="was closed"):
                await sink.emit(event(2))
            await sink.close()
            await sink.flush()

    asyncio.run(scenario())
    assert numbers(console.events(agent_id=agent_id)) == [1]


@pytest.mark.fault
def test_sink_close_without_a_console_says_how_many_are_lost(agent_id: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> int:
        async with sink_at("http://127.0.0.1:1", "key", agent_id) as sink:
            for number in range(3):
                await sink.emit(event(number))
            await sink.close(0.2)
            return sink.dropped

    assert asyncio.run(scenario()) == 3
    assert "3 events of the decision log are lost" in caplog.text


# --- a console that fails -------------------------------------------------------------------------


@pytest.mark.fault
def test_sink_console_killed_amid_batches_and_started_again_each_event_is_there_once(
    tmp_path: Path, agent_id: str
) -> None:
    with running(tmp_path) as console:
        key = console.key()

        async def scenario() -> int:
            count = 0
            async with sink_at(console.address, key, agent_id, batch_size=5, flush_interval=0.05) as sink:
                killing: asyncio.Task[None] | None = None
                while killing is None or not killing.done() or sink.buffered < 20:
                    await sink.emit(event(count))
                    count += 1
                    if killing is None and sink._settled >= 50:
                        killing = asyncio.create_task(asyncio.to_thread(console.kill))
                    await asyncio.sleep(0.001)
                await asyncio.to_thread(console.start)
                await sink.flush(PATIENCE)
                assert sink.dropped == 0
            return count

        count = asyncio.run(scenario())
        found = console.events(agent_id=agent_id)
    assert [each["call_index"] for each in found] == list(range(count))
    assert [each["seq"] for each in found] == list(range(1, count + 1))


def html(status: int) -> bytes:
    return reply(b"<html>It works!</html>", status, {"Content-Type": "text/html"})


GARBAGE = {
    "a page": html(200),
    "not found": html(404),
    "not allowed": html(405),
    "a proxy's bad request": html(400),
    "elsewhere": reply(status=307, headers={"Location": "http://127.0.0.1:1/"}),
    "half an object": reply(b'{"accepted": 3, "dupl'),
    "half a body": reply(b"{}", headers={"Content-Length": "4000", "Connection": "close"}),
    "a list": reply([3, 0]),
    "a text for a number": reply({"accepted": "3", "duplicates": 0}),
    "nothing stored": reply({"accepted": 0, "duplicates": 0}),
    "an empty object": reply({}),
    "no content": reply(b"", 204),
    "an error": reply({"detail": "out of order"}, 500),
    "too many": reply({"detail": "later"}, 429, {"Retry-After": "0"}),
    "not packed as it says": reply(b"{}", headers={"Content-Encoding": "gzip"}),
    "no HTTP": b"220 mail.example.com ESMTP\r\n",
    "nothing": b"",
}


@pytest.mark.fault
@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_sink_answer_that_makes_no_sense_keeps_all_events(answer: bytes, agent_id: str) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id) as sink:
            for number in range(3):
                await sink.emit(event(number))
            flushing = asyncio.create_task(sink.flush(PATIENCE))
            await until(lambda: len(server.asked) > 1)
            assert sink.buffered == 3
            server.answer = taken
            await flushing
            assert sink.dropped == 0

    with answering(lambda asked: answer) as server:
        asyncio.run(scenario(server))
    assert [each["call_index"] for each in batch_of(server.asked[-1])["events"]] == [0, 1, 2]


@pytest.mark.fault
def test_sink_answer_lost_sends_the_same_batch_so_that_its_gap_is_noted_once(agent_id: str) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id, batch_size=2, max_buffer_size=2) as sink:
            for number in range(5):
                await sink.emit(event(number))
            await until(lambda: len(server.asked) > 1)
            server.answer = taken
            await sink.flush(PATIENCE)

    with answering(lambda asked: b"") as server:
        asyncio.run(scenario(server))
    batches = [batch_of(asked) for asked in server.asked]
    told = {(each["batch"]["id"], each["batch"]["dropped_before"]) for each in batches if len(each["events"]) == 2}
    by_events = {json.dumps(each["events"]) for each in batches if len(each["events"]) == 2}
    assert len(told) == len(by_events)
    assert batches[-1]["batch"]["dropped_before"] > 0


@pytest.mark.fault
def test_sink_key_refused_keeps_the_events_until_it_is_good(agent_id: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id) as sink:
            await sink.emit(event(1))
            flushing = asyncio.create_task(sink.flush(PATIENCE))
            await until(lambda: len(server.asked) > 1)
            server.answer = taken
            await flushing

    refusal = {"detail": "the API key is not valid", "code": "unauthenticated"}
    with answering(lambda asked: reply(refusal, 401)) as server:
        asyncio.run(scenario(server))
    assert "is not taken, and waits" in caplog.text


@pytest.mark.fault
def test_sink_key_revoked_the_next_one_on_the_spool_delivers(
    console: Console, agent_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = console.call("POST", "/api/v1/keys", {"env": "production", "label": "soon revoked"})

    async def scenario() -> None:
        async with sink_at(console.address, made["key"], agent_id, spool_dir=tmp_path, flush_interval=LONG) as sink:
            await sink.emit(event(1))
            await sink.flush(PATIENCE)
            await asyncio.to_thread(console.call, "DELETE", f"/api/v1/keys/{made['api_key']['id']}")
            await sink.emit(event(2))
            flushing = asyncio.create_task(sink.flush(PATIENCE))
            await until(lambda: "the console answered 401" in caplog.text)
            flushing.cancel()
            assert sink.buffered == 1
        async with sink_at(console.address, console.key(), agent_id, spool_dir=tmp_path) as sink:
            await sink.flush(PATIENCE)

    asyncio.run(scenario())
    assert numbers(console.events(agent_id=agent_id)) == [1, 2]


@pytest.mark.fault
def test_sink_on_a_spool_that_agents_share_sends_its_own_events_only(
    console: Console, agent_id: str, tmp_path: Path
) -> None:
    bound = {each: console.key(agent_pattern=each) for each in (agent_id, f"{agent_id}-other")}

    async def scenario() -> None:
        async with sink_at(console.address, bound[agent_id], agent_id, spool_dir=tmp_path, flush_interval=LONG) as sink:
            await sink.emit(event(1))
            await sink.close(0)
        # Its key is for itself: an event of somebody else would be refused for good.
        other = f"{agent_id}-other"
        async with sink_at(console.address, bound[other], other, spool_dir=tmp_path) as sink:
            assert sink.buffered == 0
        async with sink_at(console.address, bound[agent_id], agent_id, spool_dir=tmp_path) as sink:
            assert sink.buffered == 1
            await sink.flush(PATIENCE)
            assert sink.dropped == 0

    asyncio.run(scenario())
    assert numbers(console.events(agent_id=agent_id)) == [1]


@pytest.mark.fault
def test_sink_batches_that_are_too_large_are_halved_and_one_that_alone_is_too_large_is_counted(
    tmp_path: Path, agent_id: str
) -> None:
    noise = [secrets.token_hex(50_000) for _ in range(12)]  # more than the console takes at once

    async def scenario(console: Console) -> int:
        async with sink_at(console.address, console.key(), agent_id, flush_interval=LONG) as sink:
            for number, text in enumerate(noise):
                await sink.emit(event(number, tool_args={"text": text}))
            await sink.emit(event(12, tool_args={"text": "".join(noise)}))
            await sink.flush(PATIENCE)
            await sink.emit(event(13))
            return sink.dropped

    with running(tmp_path, {"EDICTUM_EVENTS_BODY_MIB": "1"}) as console:
        assert asyncio.run(scenario(console)) == 1
        found = console.events(agent_id=agent_id)
    assert numbers(found) == [*range(12), 13]
    assert lost(found) == 1


@pytest.mark.fault
def test_sink_event_that_the_console_rejects_is_counted_and_the_others_arrive(
    console: Console, key: str, agent_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> int:
        async with sink_at(console.address, key, agent_id, flush_interval=LONG) as sink:
            await sink.emit(event(0))
            await sink.emit(event(1, timestamp=datetime.now(UTC) + timedelta(days=3)))
            await sink.emit(event(2))
            await sink.flush(PATIENCE)
            await sink.emit(event(3))
            return sink.dropped

    assert asyncio.run(scenario()) == 1
    found = console.events(agent_id=agent_id)
    assert numbers(found) == [0, 2, 3]
    assert lost(found) == 1
    assert "timestamp_in_future" in caplog.text


# --- a process that ends --------------------------------------------------------------------------

BEGIN = """
import asyncio, os, sys, threading
from edictum import AuditEvent, AuditAction, Edictum
from edictum.memory_storage import MemoryBackend
from edictum_client import EdictumServerClient, ForkedError, ServerAuditSink

address, key, agent_id, *more = sys.argv[1:]

def event(number):
    return AuditEvent(action=AuditAction.CALL_ALLOWED, tool_name="tool", call_id=str(number), call_index=number)

def sink_of(**options):
    return ServerAuditSink(EdictumServerClient(address, key, agent_id=agent_id), flush_interval=3600, **options)
"""


@contextlib.contextmanager
def script(text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """
    Run a program that says when it is ready, and goes on when its standard input ends.
    """
    # Newer Pythons warn of each fork beside threads, which is what these are about.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + text, *arguments]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def outcome(text: str, *arguments: str) -> None:
    """
    Run a program to its end; it ends well, and says nothing.
    """
    with script(text, *arguments) as process:
        said, complained = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said, complained) == (0, "", "")


KILLED = """
async def main():
    sink = sink_of(spool_dir=more[0], batch_size=int(more[1]))
    for number in range(int(more[2])):
        await sink.emit(event(number))
        print(number, flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.fault
@pytest.mark.parametrize("batch_size", ["1000", "5"], ids=["before anything was sent", "while it sends"])
def test_sink_process_killed_with_a_spool_the_next_one_delivers_each_event_once(
    console: Console, key: str, agent_id: str, tmp_path: Path, batch_size: str
) -> None:
    with script(KILLED, console.address, key, agent_id, str(tmp_path), batch_size, "300") as process:
        assert process.stdout is not None
        for _ in range(200):
            process.stdout.readline()
        process.kill()
        written = 200 + len(process.stdout.read().split())

    async def scenario() -> None:
        # Nothing is emitted: what is there is sent by itself.
        async with sink_at(console.address, key, agent_id, spool_dir=tmp_path, flush_interval=0.05) as sink:
            await until(lambda: not sink.buffered)

    asyncio.run(scenario())
    found = numbers(console.events(agent_id=agent_id))
    # The last one may have been written before it was said.
    assert found in (list(range(written)), list(range(written + 1)))


EXITS = {
    "a sink": """
async def main():
    sink = sink_of()
    for number in range(10):
        await sink.emit(event(number))

asyncio.run(main())
""",
    "a sink that threads used": """
sink = sink_of()
threads = [threading.Thread(target=lambda first=first: [asyncio.run(sink.emit(event(first + each))) for each in (0, 1)])
           for first in range(0, 10, 2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""",
    "a guard": """
async def main():
    guard = await Edictum.from_server(address, key, agent_id, bundle_name=more[0], storage_backend=MemoryBackend())
    for number in range(5):
        await guard.run("tool", {}, lambda: None)

asyncio.run(main())
""",
    "a guard of synchronous code": """
guard = Edictum.from_server_sync(address, key, agent_id, bundle_name=more[0], storage_backend=MemoryBackend())
for number in range(5):
    guard.run_sync("tool", {}, lambda: None)
""",
    "a guard that threads use after the main one": """
guard = Edictum.from_server_sync(address, key, agent_id, bundle_name=more[0], storage_backend=MemoryBackend())
ended = threading.Event()

def calling():
    threading.main_thread().join()
    guard.run_sync("tool", {}, lambda: ended.wait(0.5) or 1)  # what comes when the main thread ends is over

[threading.Thread(target=calling).start() for _ in range(5)]
""",
    "a sink in a process of multiprocessing": """
import multiprocessing

def child():
    async def main():
        sink = sink_of()
        for number in range(10):
            await sink.emit(event(number))

    asyncio.run(main())

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
""",
    "a guard that threads used": """
guard = Edictum.from_server_sync(address, key, agent_id, bundle_name=more[0], storage_backend=MemoryBackend())
threads = [threading.Thread(target=guard.run_sync, args=("tool", {}, lambda: None)) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""",
}


@pytest.mark.parametrize("text", EXITS.values(), ids=EXITS)
def test_interpreter_ends_without_close_events_are_sent(
    console: Console, key: str, agent_id: str, name: str, text: str
) -> None:
    console.deploy(rules(name))

    outcome(text, console.address, key, agent_id, name)

    assert len([each for each in console.events(agent_id=agent_id) if each["tool_name"] == "tool"]) == 10


GIVES_UP_CLOSING = """
import logging

async def main():
    logging.disable()  # that the console did not answer at first
    sink = sink_of()
    await sink.emit(event(0))
    try:
        async with asyncio.timeout(0.2):
            await sink.close()
    except TimeoutError:
        return
    raise SystemExit("it was closed")

asyncio.run(main())
"""


@pytest.mark.fault
def test_interpreter_ends_after_a_close_that_was_given_up_events_are_sent(agent_id: str) -> None:
    answers = iter([reply(status=503)])
    with answering(lambda asked: next(answers, None) or taken(asked)) as server:
        outcome(GIVES_UP_CLOSING, server.address, "key", agent_id)
        assert numbers(batch_of(server.asked[-1])["events"]) == [0]
        assert len(server.asked) == 2


FORKS = """
sink = sink_of()

async def first():
    await sink.emit(event(0))
    await sink.flush(30)  # there is a connection
    await sink.emit(event(1))

async def in_child():
    for use in (lambda: sink.emit(event(100)), lambda: sink.flush(30)):
        try:
            await use()
        except ForkedError:
            continue
        raise SystemExit("the sink works in a child")
    await sink.close()
    own = sink_of()
    await own.emit(event(2))

asyncio.run(first())
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    asyncio.run(sink.emit(event(3)))
else:
    asyncio.run(in_child())
"""


@pytest.mark.fault
def test_sink_process_forked_parent_and_child_send_each_event_once(console: Console, key: str, agent_id: str) -> None:
    began = time.monotonic()

    outcome(FORKS, console.address, key, agent_id)

    assert numbers(console.events(agent_id=agent_id)) == [0, 1, 2, 3]
    assert time.monotonic() - began < PATIENCE


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 11, "max_buffer_size": 10},
        {"flush_interval": 0},
        {"loss_policy": "forget"},
        {"max_spool_bytes": 0},
    ],
    ids=str,
)
def test_sink_option_without_sense_is_a_config_error(options: dict[str, Any], agent_id: str) -> None:
    client = EdictumServerClient("https://console.example.com", "key", agent_id=agent_id)

    with pytest.raises(EdictumConfigError, match="|".join(["batch_size", "flush_interval", "loss_policy"])):
        ServerAuditSink(client, **options)


def test_sink_trouble_is_said_once_not_with_each_try(agent_id: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def scenario(server: Server) -> None:
        async with sink_at(server.address, "key", agent_id) as sink:
            await sink.emit(event(1))
            flushing = asyncio.create_task(sink.flush(PATIENCE))
            await until(lambda: len(server.asked) > 2)
            server.answer = taken
            await flushing

    with answering(lambda asked: reply(status=503)) as server:
        asyncio.run(scenario(server))
    assert caplog.text.count("the decision log waits") == 1
