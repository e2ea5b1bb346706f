"""
Session values as agents use them: exactly what published clients expect.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from consoles import Console, Session, WithConsole

BASES = ["/v1/sessions", "/api/v1/sessions"]


@pytest.mark.parametrize("base", BASES)
def test_values_and_counters_have_the_shapes_of_the_protocol(with_console: WithConsole, base: str) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        key = "s:abc:tool:read/file"
        path = f"{base}/{quote(key, safe='')}"
        missing = await agent.get(path)
        assert (missing.status_code, missing.json()["code"]) == (404, "value_not_found")
        assert {"key": key, "value": 1} == await agent.must("POST", f"{path}/increment", {"amount": 1})
        assert {"key": key, "value": 2} == await agent.must("POST", f"{path}/increment")
        assert {"key": key, "value": 2.5} == await agent.must("POST", f"{path}/increment", {"amount": 0.5})
        three = await agent.post(f"{path}/increment", {"amount": 0.5})
        assert '"value":3}' in three.text  # a whole number is written whole
        assert {"key": key, "value": "3"} == await agent.must("GET", path)
        assert {"values": {key: "3", "x": None}} == await agent.must("POST", f"{base}/batch", {"keys": [key, "x", key]})
        assert {"key": key, "value": "text"} == await agent.must("PUT", path, {"value": "text", "newer": 1})
        refused = await agent.post(f"{path}/increment", {"amount": 1})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_a_number")
        assert await agent.must("DELETE", path) == {"deleted": True}
        assert (await agent.send("DELETE", path)).status_code == 404

    with_console(check)


def test_keys_are_what_was_sent_byte_for_byte(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        keys = [
            "a",
            "a/",
            "a//b",
            "a/b",
            "/a",
            "batch",
            "ops",
            "x/increment",
            "ü ?#%",
            "a+b",
            "a%2Fb",
            "s:i:workflow:w:state",
        ]
        for number, key in enumerate(keys):
            await agent.must("PUT", f"/v1/sessions/{quote(key, safe='')}", {"value": str(number)})
        found = await agent.must("POST", "/v1/sessions/batch", {"keys": keys})
        assert {key: str(number) for number, key in enumerate(keys)} == found["values"]
        for raw in ("s:i:workflow:w:state", "a//b", "a/", "/a", "batch", "a+b"):  # as older clients send them
            got = await agent.must("GET", f"/v1/sessions/{raw}")
            assert (raw, str(keys.index(raw))) == (got["key"], got["value"])

    with_console(check)


def test_operations_are_done_together_or_not_at_all(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        ops: list[dict[str, Any]] = [
            {"op": "increment", "key": "s:a:attempts", "amount": 1, "max": 2},
            {"op": "get", "key": "s:a:execs"},
            {"op": "compare_and_set", "key": "s:a:w", "expect": None, "value": "plan"},
            {"op": "delete", "key": "s:a:consec_fail"},
            {"op": "put", "key": "s:a:note", "value": "x"},
            {"op": "increment", "key": "s:a:execs"},
        ]
        expected = [
            {"value": 1, "allowed": True},
            {"value": None},
            {"swapped": True, "value": "plan"},
            {"deleted": False},
            {"value": "x"},
            {"value": 1, "allowed": True},
        ]
        path, body = "/v1/sessions/ops", {"session_id": "a", "ops": ops}
        assert {"results": expected, "applied": True} == await agent.must("POST", path, body)
        second = await agent.must("POST", path, body)
        assert (second["applied"], second["results"][2]) == (True, {"swapped": False, "value": "plan"})
        await agent.must("PUT", "/v1/sessions/s:a:note", {"value": "kept"})
        third = await agent.must("POST", path, body)
        refused = [
            {"value": 2, "allowed": False},
            {"value": "2"},
            {"swapped": False, "value": "plan"},
            {"deleted": False},
            {"value": "kept"},
            {"value": 2, "allowed": False},
        ]
        assert {"results": refused, "applied": False} == third
        assert (await agent.must("GET", "/v1/sessions/s:a:note"))["value"] == "kept"

    with_console(check)


@pytest.mark.parametrize("text", ["x", "", "nan", "1e999"])
def test_refused_list_shows_what_is_no_number_as_it_is(with_console: WithConsole, text: str) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        await agent.must("PUT", "/v1/sessions/k", {"value": text})
        ops: list[dict[str, Any]] = [{"op": "increment", "key": "n", "max": 0}, {"op": "increment", "key": "k"}]
        found = await agent.must("POST", "/v1/sessions/ops", {"ops": ops})
        assert {"value": text, "allowed": False} == found["results"][1]

    with_console(check)


def test_limit_holds_when_many_count_at_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        body = {"ops": [{"op": "increment", "key": "n", "max": 10}]}
        done = await asyncio.gather(*(agent.must("POST", "/v1/sessions/ops", body) for _ in range(40)))
        assert sum(answer["applied"] for answer in done) == 10
        assert (await agent.must("GET", "/v1/sessions/n"))["value"] == "10"

    with_console(check)


def test_request_with_an_idempotency_key_is_done_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, other = await console.agent(), await console.agent()
        path, name = "/v1/sessions/n/increment", {"Idempotency-Key": "try-1"}
        answers = await asyncio.gather(*(agent.must("POST", path, {"amount": 2}, headers=name) for _ in range(5)))
        assert answers == [{"key": "n", "value": 2}] * 5
        reused = await agent.post(path, {"amount": 3}, headers=name)
        assert (reused.status_code, reused.json()["code"]) == (409, "idempotency_key_reused")
        assert await other.must("POST", path, {"amount": 2}, headers=name) == {"key": "n", "value": 4}
        bad = await agent.post(path, {"amount": 2}, headers={"Idempotency-Key": "a b"})
        assert bad.status_code == 400

    with_console(check)


def test_values_belong_to_the_environment_of_the_key(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        production, staging = await console.agent("production"), await console.agent("staging")
        await production.must("PUT", "/v1/sessions/k", {"value": "1"})
        assert (await staging.get("/v1/sessions/k")).status_code == 404
        assert (await (await console.agent("production")).must("GET", "/v1/sessions/k"))["value"] == "1"

    with_console(check)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "k", {"value": 5}, 422),
        ("PUT", "k", {"value": "x" * 65_537}, 422),
        ("PUT", "k", {"value": "a\0b"}, 422),
        ("PUT", "k", {"value": "x", "ttl_seconds": 0}, 422),
        ("PUT", "k", {}, 422),
        ("PUT", quote("k" * 1025), {"value": "x"}, 422),
        ("PUT", "a%0Ab", {"value": "x"}, 422),
        ("PUT", "%FF", {"value": "x"}, 400),
        ("POST", "k/increment", {"amount": "1"}, 422),
        ("POST", "k/increment", {"amount": True}, 422),
        ("POST", "k/increment", {"amount": 1e300}, 422),
        ("POST", "k", {}, 404),
        ("POST", "batch", {"keys": []}, 422),
        ("POST", "batch", {"keys": ["k"] * 501}, 422),
        ("POST", "batch", {"keys": ["k", ""]}, 422),
        ("POST", "ops", {"ops": []}, 422),
        ("POST", "ops", {"ops": [{"op": "explode", "key": "k"}]}, 422),
        ("POST", "ops", {"ops": [{"op": "put", "key": "k"}]}, 422),
        ("POST", "ops", [], 422),
    ],
)
def test_request_that_makes_no_sense_is_refused(
    with_console: WithConsole, method: str, path: str, body: Any, status: int
) -> None:
    async def check(console: Console) -> None:
        answer: httpx.Response = await (await console.agent()).send(method, f"/v1/sessions/{path}", body)
        assert (status, True) == (answer.status_code, "detail" in answer.json())

    with_console(check)


def test_session_values_are_for_agents(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        path = "/v1/sessions/k"
        assert (await console.anonymous.get(path)).status_code == 401
        assert (await (await console.sign_in()).get(path)).json()["code"] == "keys_only"
        other = await console.agent(scopes=["deploy"])
        assert (await other.get(path)).json()["code"] == "scope_missing"
        assert await console.anonymous.must("GET", "/v1/health") == {"status": "ok"}

    with_console(check)


def test_store_that_is_away_is_no_value(request: pytest.FixtureRequest, with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent: Session = await console.agent()
        await agent.must("POST", "/v1/sessions/n/increment")
        if console.database.dialect == "sqlite":
            await console.database.close()
            assert (await agent.post("/v1/sessions/n/increment")).status_code >= 500
            await console.database.open()
            return
        redis = request.getfixturevalue("redis_server")
        await asyncio.to_thread(redis.kill)
        try:
            answer = await agent.post("/v1/sessions/n/increment")
            assert (answer.status_code, answer.json()["code"]) == (503, "state_unavailable")
        finally:
            await asyncio.to_thread(redis.start)
        async with asyncio.timeout(20):
            while (answer := await agent.post("/v1/sessions/n/increment")).status_code == 503:
                await asyncio.sleep(0.05)
        assert answer.json()["value"] == 2

    with_console(check)
