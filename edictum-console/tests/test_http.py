"""
What all routes have in common: errors, headers, bodies, guards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from consoles import Console, Session, WithConsole
from edictum_console.app import create_app
from edictum_console.errors import BadRequestError, InvalidError
from edictum_console.http.bodies import AgentBody, read_json, structure
from edictum_console.logs import JsonLines
from edictum_console.security import guards
from edictum_console.security.actor import KeyScope, Role
from edictum_console.security.address import client_address
from edictum_console.settings import Settings
from hypothesis import given
from hypothesis import strategies as st


@attrs.frozen
class Inner:
    number: int
    word: Role = Role.VIEWER


@attrs.frozen
class Outer:
    inner: list[Inner]
    text: str | None = None
    table: dict[str, int] = attrs.field(factory=dict)
    ratio: float = 0.5


@attrs.frozen
class FromAgent(AgentBody):
    inner: list[Inner]


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, [("inner",)]),
        ([], [()]),
        ("text", [()]),
        ({"inner": "text"}, [("inner",)]),
        ({"inner": {"number": 1}}, [("inner",)]),
        (
            {"inner": [{"number": "1"}, {}, {"number": True}, {"number": 1.5}]},
            [("inner", i, "number") for i in range(4)],
        ),
        ({"inner": [{"number": 1, "word": "boss"}]}, [("inner", 0, "word")]),
        ({"inner": [], "text": 5}, [("text",)]),
        ({"inner": [], "text": "a\0b"}, [("text",)]),
        ({"inner": [], "table": {"a": "1"}}, [("table", "a")]),
        ({"inner": [], "table": []}, [("table",)]),
        ({"inner": [], "ratio": "0.5"}, [("ratio",)]),
        ({"inner": [{"number": 1, "extra": 1}], "other": 1}, [("inner", 0, "extra"), ("other",)]),
    ],
)
def test_body_that_does_not_fit_is_refused_with_all_places(body: Any, places: list[tuple[str | int, ...]]) -> None:
    with pytest.raises(InvalidError) as caught:
        structure(body, Outer)
    assert sorted(places, key=str) == sorted((problem.loc for problem in caught.value.errors), key=str)


def test_body_of_an_agent_may_have_more_fields() -> None:
    body = {"inner": [{"number": 1, "extra": 1}], "other": 1}
    assert FromAgent([Inner(1)]) == structure(body, FromAgent)


def test_refusal_never_shows_a_value() -> None:
    secret = "hunter2hunter2"
    body = {"inner": [{"number": secret, "word": secret}], "text": [secret], "table": {"a": secret}, "ratio": secret}
    with pytest.raises(InvalidError) as caught:
        structure(body, Outer)
    assert secret not in json.dumps(caught.value.body())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1] 2", b"NaN", b'"\\ud800"', b'"\xff"', b"[" * 100_000, b"[" * 33 + b"]" * 33, b'{"a":1,}'],
)
def test_body_that_is_not_json_or_too_deep_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_json(body)


@pytest.mark.property
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequestError, InvalidError):
        structure(read_json(body), Outer)


def test_every_answer_has_the_headers_and_errors_have_one_shape(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        calls: list[tuple[Session, str, str, dict[str, Any], int]] = [
            (console.anonymous, "GET", "/api/v1/health/live", {}, 200),
            (console.anonymous, "GET", "/nowhere", {}, 404),
            (console.anonymous, "GET", "/api/v1/keys", {}, 401),
            (console.anonymous, "PUT", "/api/v1/keys", {}, 405),
            (ana, "POST", "/api/v1/keys", {"content": b"{"}, 400),
            (ana, "POST", "/api/v1/keys", {"content": b""}, 400),
            (ana, "POST", "/api/v1/keys", {"content": b"[" + b" " * (2 * 1024 * 1024) + b"]"}, 413),
            (ana, "POST", "/api/v1/keys", {"content": b'{"env": "a b"}'}, 422),
            (ana, "GET", "/api/v1/keys?limit=x", {}, 422),
            (ana, "GET", "/api/v1/keys?cursor=x", {}, 422),
            (ana, "DELETE", "/api/v1/keys/not-a-uuid", {}, 404),
            (ana, "DELETE", "/api/v1/environments/a%00b", {}, 404),
            (ana, "GET", "/api/v1/keys?cursor=%00", {}, 400),
        ]
        for who, method, path, others, status in calls:
            answer = await who.send(method, path, **others)
            assert status == answer.status_code, (method, path, answer.text)
            assert answer.headers["x-edictum-api"] == "1"
            assert answer.headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "access-control-allow-origin" not in answer.headers
            if status >= 400:
                body = answer.json()
                assert {"detail", "code", "request_id"} <= body.keys()
                assert body["request_id"] == answer.headers["x-request-id"]

    with_console(check)


def test_request_id_is_kept_when_it_can_be_one_and_made_otherwise(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        async def returned(brought: str) -> str:
            answer = await console.anonymous.get("/api/v1/health/live", headers={"X-Request-Id": brought})
            return str(answer.headers["x-request-id"])

        assert await returned("a.b-C_1") == "a.b-C_1"
        for bad in ("", "a b", "x" * 129, "-a", "a\tb"):
            assert await returned(bad) not in ("", bad)

    with_console(check)


def facts_of(caplog: pytest.LogCaptureFixture, level: int) -> list[dict[str, Any]]:
    return [
        record.facts  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "edictum_console.requests" and record.levelno == level
    ]


def test_each_request_is_a_line_without_anything_that_it_brought(
    with_console: WithConsole, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "canary-5150"

    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        me = await ana.must("GET", "/api/v1/auth/me")
        caplog.clear()
        caplog.set_level(logging.DEBUG, "edictum_console.requests")
        await ana.get(f"/api/v1/events?text={canary}")
        await agent.get(f"/v1/sessions/{canary}", headers={"X-Request-Id": "mine"})
        await console.anonymous.post("/api/v1/auth/login", {"email": f"{canary}@example.com", "password": canary})
        await console.anonymous.get("/api/v1/health/live")
        by_person, by_key, by_nobody = facts_of(caplog, logging.INFO)
        assert {**by_person, "ms": 0, "request_id": ""} == {
            "request_id": "",
            "tenant": me["tenant_id"],
            "actor": f"user:{me['user_id']}",
            "method": "GET",
            "route": "/api/v1/events",
            "status": 200,
            "ms": 0,
        }
        assert by_key["actor"].startswith("key:edk_production_")
        assert (by_key["tenant"], by_key["request_id"]) == (me["tenant_id"], "mine")
        assert (by_nobody["tenant"], by_nobody["actor"], by_nobody["status"]) == (None, None, 401)
        assert [facts["route"] for facts in facts_of(caplog, logging.DEBUG)] == ["/api/v1/health/live"]
        lines = [JsonLines().format(record) for record in caplog.records]
        assert canary not in caplog.text + "".join(lines)
        assert json.loads(lines[0])["route"] == "/api/v1/events"

    with_console(check)


def test_page_of_another_origin_uses_the_api_with_a_key_only_where_it_is_named(with_console: WithConsole) -> None:
    named, other = {"Origin": "https://app.example.com"}, {"Origin": "https://evil.example.com"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    async def check(console: Console) -> None:
        allowed = await console.client.options("/v1/events", headers={**named, **asked})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, named["Origin"])
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        refused = await console.client.options("/v1/events", headers={**other, **asked})
        assert refused.status_code == 400
        agent, ana = await console.agent(), await console.sign_in()
        for origin in (named, other):
            answer = await agent.get("/v1/health", headers=origin)
            assert answer.headers.get("access-control-allow-origin") == (origin["Origin"] if origin is named else None)
            assert "access-control-allow-credentials" not in answer.headers
            by_login = await ana.send("POST", "/api/v1/auth/logout-all", headers=origin)
            assert by_login.json()["code"] == "foreign_origin"

    with_console(check, cors_origins=("https://app.example.com",))


def test_without_named_origins_no_answer_speaks_of_them(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        answer = await console.client.get("/api/v1/health", headers={"Origin": "https://app.example.com"})
        assert not [name for name in answer.headers if name.startswith("access-control")]

    with_console(check)


def test_unexpected_failure_says_nothing_and_is_logged(
    with_console: WithConsole, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edictum_console.domains.keys.service import KeyService

    async def fail(*args: object) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr(KeyService, "page", fail)

    async def check(console: Console) -> None:
        answer = await (await console.sign_in()).get("/api/v1/keys")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "hunter2" not in answer.text
        assert answer.json()["request_id"] in caplog.text

    with_console(check)


def test_readiness_names_what_is_away(request: pytest.FixtureRequest, with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        path = "/api/v1/health/ready"
        ready = await console.anonymous.must("GET", path)
        assert ready == {"status": "ok", "parts": {"database": "ok", "state": "ok", "workers": "ok"}}
        worker = console.app.state.workers[0]
        worker.succeeded_at -= worker.every * 6
        answer = await console.anonymous.get(path)
        assert (503, f"late: {worker.name}") == (answer.status_code, answer.json()["parts"]["workers"])
        worker.succeeded_at += worker.every * 6
        if console.database.dialect == "sqlite":
            return
        redis = request.getfixturevalue("redis_server")
        await asyncio.to_thread(redis.kill)
        try:
            answer = await console.anonymous.get(path)
            assert answer.status_code == 503
            assert answer.json()["parts"]["database"] == "ok" != answer.json()["parts"]["state"]
        finally:
            await asyncio.to_thread(redis.start)

    with_console(check)


def routes(settings: Settings) -> list[tuple[str, str, Any]]:
    """
    Method, path and handler of everything that is served.
    """
    found = []
    for route in create_app(settings).routes:
        for handler in getattr(route, "route_handlers", ()):
            methods = sorted(handler.http_methods - {"OPTIONS"})  # which the framework answers by itself
            found += [(method, route.path, handler) for method in methods]
    return found


def is_open(handler: Any) -> bool:
    return any(guard is guards.anyone for guard in handler.guards or ())


def guard_names(handler: Any) -> set[str]:
    """
    The functions that made a route's guards.
    """
    listed = [guard for layer in handler.ownership_layers for guard in layer.guards or ()]
    return {guard.__qualname__.split(".")[0] for guard in listed}


def takes_keys(handler: Any) -> bool:
    return "person_or_key" in guard_names(handler)


def is_for_agents(handler: Any) -> bool:
    return "key" in guard_names(handler)


def test_every_route_lists_a_guard(console_settings: Settings) -> None:
    every = routes(console_settings)
    assert [(method, path) for method, path, handler in every if not handler.resolve_guards()] == []
    assert len(every) > 20


def test_routes_that_are_open_are_these(console_settings: Settings) -> None:
    found = {(method, path) for method, path, handler in routes(console_settings) if is_open(handler)}
    assert found == {
        ("GET", "/v1/health"),
        ("GET", "/api/v1/health"),
        ("GET", "/api/v1/health/live"),
        ("GET", "/api/v1/health/ready"),
        ("POST", "/api/v1/auth/login"),
        ("POST", "/api/v1/auth/reset"),
        ("POST", "/api/v1/setup"),
        ("POST", "/api/v1/auth/token"),
        ("POST", "/api/v1/auth/token/refresh"),
        ("GET", "/.well-known/security.txt"),
        ("POST", "/api/v1/telegram/webhook/{channel_id:uuid}"),
        ("POST", "/api/v1/slack/interactions/{channel_id:uuid}"),
    }


def test_every_route_refuses_whom_it_is_not_for(with_console: WithConsole, console_settings: Settings) -> None:
    """
    Nobody, an agent's key, and a change without its proof, on every route that people use.
    """

    async def check(console: Console) -> None:
        agent = await console.agent(scopes=[scope.value for scope in KeyScope])
        ana = await console.sign_in()
        cookie_only = Session(console.client, {"Cookie": ana.headers["Cookie"]})
        tried = 0
        for method, route, handler in routes(console_settings):
            if is_open(handler) or not route.startswith("/api/v1") or is_for_agents(handler):
                continue  # those have tests of their own
            path = route
            for part in route.split("/"):
                if part.startswith("{"):
                    example = {"uuid": "018f4e5a-0000-7000-8000-000000000000", "int": "1", "str": "staging"}
                    path = path.replace(part, example[part[1:-1].split(":")[1]])
            assert (await console.anonymous.send(method, path)).status_code == 401, (method, path)
            if not takes_keys(handler):
                assert (await agent.send(method, path)).status_code == 403, (method, path)
            if method != "GET":
                assert (await cookie_only.send(method, path)).status_code == 403, (method, path)
            tried += 1
        assert tried > 15

    with_console(check)


def test_every_route_with_an_id_answers_404_for_one_of_another_tenant(
    with_console: WithConsole, console_settings: Settings
) -> None:
    from channels import CHANNELS, WEBHOOK
    from test_compositions import compose
    from test_library import add, rule
    from test_rulesets import upload
    from test_tenants import second_tenant

    async def check(console: Console) -> None:
        other = await second_tenant(console)
        made = await other.must("POST", "/api/v1/keys", {"env": "theirs"})
        users = await other.must("GET", "/api/v1/users")
        their_agent = Session(console.client, {"Authorization": f"Bearer {made['key']}"})
        asked = await their_agent.must("POST", "/v1/approvals", {"tool_name": "t", "message": "m"})
        happened: dict[str, Any] = {
            "action": "call_allowed",
            "timestamp": datetime.now(UTC).isoformat(),
            "agent_id": "theirs",
        }
        happened |= {"session_id": "s", "workflow": {"name": "w"}}
        await their_agent.must("POST", "/v1/events", {"events": [happened]})
        (event,) = (await other.must("GET", "/api/v1/events"))["events"]
        channel = await other.must("POST", CHANNELS, WEBHOOK)
        known = {"external_user_id": "U1", "user_id": users["users"][0]["id"]}
        identity = await other.must("POST", f"{CHANNELS}/{channel['id']}/identities", known)
        theirs = {
            "{key_id:uuid}": made["api_key"]["id"],
            "{user_id:uuid}": users["users"][0]["id"],
            "{env:str}": "theirs",
            "{name:str}": "docs-rules",
            "{approval_id:uuid}": asked["id"],
            "{event_id:uuid}": event["id"],
            "{agent_id:str}": "theirs",
            "{version:int}": "1",
            "{contract_id:str}": "no-env",
            "{channel_id:uuid}": channel["id"],
            "{identity_id:uuid}": identity["id"],
            "{token_id:uuid}": (await other.must("POST", "/api/v1/auth/token", {}))["id"],
        }
        await add(other)
        await compose(other, {"contract_id": "no-env"})
        await upload(other)
        (agent,) = (await other.must("GET", "/api/v1/agents"))["agents"]
        assigned = await other.must(
            "POST", "/api/v1/assignment-rules", {"env": "theirs", "pattern": "*", "bundle_name": "docs-rules"}
        )
        theirs |= {
            "{agent_id:str}": agent["agent_id"],
            "{registration_id:uuid}": agent["id"],
            "{rule_id:uuid}": assigned["id"],
        }
        await other.must("POST", "/api/v1/bundles/docs-rules/1/deploy", {"env": "theirs"})
        lists = (
            "approvals",
            "keys",
            "users",
            "environments",
            "bundles",
            "deployments",
            "agents",
            "assignment-rules",
            "events",
            "contracts",
            "compositions",
            "auth/tokens",
            "notifications/channels",
            f"notifications/channels/{channel['id']}/identities",
        )
        before = [await other.must("GET", f"/api/v1/{name}") for name in lists]
        ana = await console.sign_in()
        tried = 0
        for method, route, handler in routes(console_settings):
            if "{" not in route or not route.startswith("/api/v1") or is_for_agents(handler) or is_open(handler):
                continue
            if "/resolve/" in route:
                continue  # explains for any agent, also one that was never seen; it has a test of its own
            path = "/".join(theirs[part] if part.startswith("{") else part for part in route.split("/"))
            body: dict[str, Any] = {"env": "production"} if path.endswith(("deploy", "rollback")) else {}
            body = {"approved": True} if "/approvals/" in path else body
            query = {"from": 1, "to": 1, "env": "theirs" if "/agents/" in path else "production"}
            body = {"name": "x", "config": {}} if path.endswith(channel["id"]) else body
            body = known if path.endswith("/identities") else body
            body = {"definition": rule()} if "/contracts/" in path else body
            answer = await ana.send(method, path, None if method in ("GET", "DELETE") else body, params=query)
            assert answer.status_code == 404, (method, path, answer.text)
            tried += 1
        assert tried >= 6
        after = [await other.must("GET", f"/api/v1/{name}") for name in lists]
        assert before == after

    with_console(check)


def test_document_of_the_api_is_for_administrators_and_off_in_production(
    with_console: WithConsole, console_settings: Settings
) -> None:
    async def check(console: Console) -> None:
        assert (await console.anonymous.get("/docs/openapi.json")).status_code == 401
        assert (await (await console.person(Role.VIEWER)).get("/docs/openapi.json")).status_code == 403
        document = await (await console.sign_in()).must("GET", "/docs/openapi.json")
        assert document["openapi"].startswith("3.1")
        served = {(method.lower(), path) for method, path, _ in routes(console_settings) if "/docs" not in path}
        documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
        plain = {
            (method, "/".join(part.split(":")[0].strip("{}") for part in path.split("/"))) for method, path in served
        }
        assert plain == {(method, path.replace("{", "").replace("}", "")) for method, path in documented}
        body = document["components"]["schemas"]
        named = next(schema for name, schema in body.items() if name.endswith("NewEnvironment"))
        assert named["properties"]["name"]["maxLength"] == 128
        operations = [operation for methods in document["paths"].values() for operation in methods.values()]
        error = {"$ref": "#/components/schemas/ErrorAnswer"}
        for operation in operations:
            assert operation["responses"]["default"]["content"]["application/json"]["schema"] == error
            assert "400" not in operation["responses"]  # which would be the framework's own shape
        for path in ("/v1/events", "/api/v1/events", "/v1/sessions/{key}"):
            assert document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    with_console(check)

    async def off(console: Console) -> None:
        assert (await (await console.sign_in()).get("/docs/openapi.json")).status_code == 404

    with_console(off, production=True)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # not a proxy that is trusted
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),  # the first one may be invented
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        (None, ["1.1.1.1"], "unknown"),
    ],
)
def test_client_address_believes_trusted_proxies_only(peer: str | None, forwarded: list[str], expected: str) -> None:
    from ipaddress import ip_network

    assert expected == client_address(peer, forwarded, [ip_network("10.0.0.0/8")])
