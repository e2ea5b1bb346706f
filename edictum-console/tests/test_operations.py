from __future__ import annotations

import re

import httpx
import pytest
from consoles import Console, WithConsole
from edictum_console.domains.stream.connection import MOST_FRAMES, EventConnection
from edictum_console.metrics import Metrics, Sample
from edictum_console.security.actor import Role
from listeners import listening
from test_approvals import ask
from test_events import deliver, happened

TOKEN = "t" * 32


def read(text: str) -> dict[str, float]:
    """
    The lines of the text format, by their names with labels.
    """
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_health_in_full_names_parts_and_workers(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        viewer = await console.person(Role.VIEWER)
        assert (await console.anonymous.get("/api/v1/health/details")).status_code == 401
        shown = await viewer.must("GET", "/api/v1/health/details")
        assert (shown["status"], shown["https"], shown["event_counts_waiting"]) == ("ok", False, 0)
        assert [(part["name"], part["problem"]) for part in shown["parts"]] == [("database", None), ("state", None)]
        names = {worker["name"] for worker in shown["workers"]}
        assert names >= {"approval expiry", "event partitions", "event retention", "rollups"}
        assert [worker for worker in shown["workers"] if worker["late"] or worker["failures"]] == []

    with_console(check)


def test_metrics_count_events_and_requests_by_route_and_name_nobody(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        await deliver(agent, happened(), happened(1), happened(2, action="no!"))
        await deliver(agent, happened())
        await agent.get("/v1/sessions/some-secret-name")
        answer = await console.anonymous.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.headers["content-type"].startswith("text/plain")
        found = read(answer.text)
        assert found['edictum_events_total{outcome="accepted"}'] == 2
        assert found['edictum_events_total{outcome="duplicate"}'] == 1
        assert found['edictum_events_total{outcome="rejected"}'] == 1
        assert found['edictum_requests_total{route="/v1/events",method="POST",status="200"}'] == 2
        assert found['edictum_request_seconds_count{route="/v1/events"}'] == 2
        assert found['edictum_worker_failures_total{worker="rollups"}'] == 0
        assert found["edictum_database_seconds"] > 0
        for name in ("some-secret-name", "bot", "example.com"):
            assert name not in answer.text
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic " + TOKEN}):
            assert (await console.anonymous.get("/metrics", headers=headers)).status_code == 401

    with_console(check, metrics_token=TOKEN.encode())


def test_streams_are_counted_in_health_and_metrics(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()

        async def counted() -> tuple[int, float]:
            shown = await ana.must("GET", "/api/v1/health/details")
            return shown["streams"], read((await console.anonymous.get("/metrics")).text)["edictum_streams"]

        assert await counted() == (0, 0)
        async with listening(console, agent), listening(console, agent):
            assert await counted() == (2, 2)
        assert await counted() == (0, 0)

    with_console(check)


def test_metrics_tell_what_waits_and_what_was_lost(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()

        async def shown() -> dict[str, float]:
            return read((await console.anonymous.get("/metrics")).text)

        for _ in range(2):  # delivered again, the gap is the same
            await deliver(agent, happened(), batch={"id": "b-1", "dropped_before": 7})
        first, _ = [await ask(agent) for _ in range(2)]
        assert (await agent.send("GET", "/v1/health", headers={"Authorization": "Bearer edk_x"})).status_code == 401
        found = await shown()
        assert found["edictum_events_dropped_total"] == 7
        assert found["edictum_approvals_pending"] == 2
        assert 0 <= found["edictum_approvals_oldest_seconds"] < 60
        assert found['edictum_key_checks_total{outcome="checked"}'] == 1
        assert found['edictum_key_checks_total{outcome="remembered"}'] == 3
        assert found['edictum_key_checks_total{outcome="refused"}'] == 1
        pooled = found.get('edictum_database_connections{state="idle"}')
        assert (pooled is None) is (console.database.dialect == "sqlite")
        async with listening(console, agent) as stream:
            await ana.must("PUT", f"/api/v1/approvals/{first['id']}", {"approved": True})
            await stream.named("approval_decided")
            found = await shown()
            assert found['edictum_stream_events_total{outcome="sent"}'] >= 1
            assert found['edictum_stream_events_total{outcome="cut"}'] == 0
        after = await shown()
        assert (
            after['edictum_stream_events_total{outcome="sent"}'] >= found['edictum_stream_events_total{outcome="sent"}']
        )
        assert after["edictum_approvals_pending"] == 1
        assert after['edictum_approval_seconds_count{status="approved"}'] == 1
        assert after["edictum_feed_seconds_count"] >= 1

    with_console(check)


def test_stream_counts_what_is_replaced_and_a_reader_that_is_cut_off_once() -> None:
    connection = EventConnection()  # nobody reads it
    for _ in range(3):
        connection.push(b"newest", "about the same")
    assert (connection.replaced, connection.cuts, connection.closing) == (2, 0, False)
    for _ in range(2 * MOST_FRAMES):
        connection.push(b"another")
    assert (connection.replaced, connection.cuts, connection.closing) == (2, 1, True)


def test_metrics_without_a_token_are_for_the_same_machine(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        async def status(peer: str, **headers: str) -> int:
            transport = httpx.ASGITransport(console.app, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
                return (await client.get("/metrics", headers=headers)).status_code

        assert [await status(peer) for peer in ("127.0.0.1", "::1", "192.0.2.1", "nobody")] == [200, 200, 401, 401]
        assert await status("127.0.0.1", **{"X-Forwarded-For": "192.0.2.1"}) == 401

    with_console(check)


def test_text_of_metrics_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.add("edictum_events_total", 2, outcome='a"b\\c\nd')
    for seconds in (0.005, 0.02, 60):
        metrics.took("edictum_request_seconds", seconds, route="/x")
    text = metrics.text([Sample("edictum_database_seconds", 0.5)])
    assert "# TYPE edictum_request_seconds histogram\n" in text
    found = read(text)
    assert found['edictum_events_total{outcome="a\\"b\\\\c\\nd"}'] == 2
    assert found['edictum_request_seconds_bucket{route="/x",le="0.005"}'] == 1
    assert found['edictum_request_seconds_bucket{route="/x",le="0.025"}'] == 2
    assert found['edictum_request_seconds_bucket{route="/x",le="+Inf"}'] == 3
    assert found['edictum_request_seconds_sum{route="/x"}'] == pytest.approx(60.025)
    assert re.fullmatch(r"(?:[^\n]+\n)+", text)
