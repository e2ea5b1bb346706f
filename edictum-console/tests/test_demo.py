"""
The demo: every page has something to show, it is made once, and never where it could do harm.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
from consoles import Console, Session, running
from edictum import Edictum
from edictum_console.db.tables import ALL_TABLES
from edictum_console.demo.content import AGENTS, CALLS, text_of
from edictum_console.demo.seeding import EMAIL, demo_of, refuse_half_a_demo
from edictum_console.demo.week import played
from edictum_console.domains.agents.service import AgentService
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.keys.service import KeyService
from edictum_console.errors import StartError
from edictum_console.settings import Settings
from test_serve import SECRETS, call, read_until, refused, serving, started

Check = Callable[[Console, Session], Awaitable[None]]


@pytest.fixture
def demo_settings(console_settings: Settings) -> Settings:
    return attrs.evolve(console_settings, admin_email=None, admin_password=None)


async def start(settings: Settings, caplog: pytest.LogCaptureFixture, check: Check) -> str:
    """
    Run a console with the demo and return what it said.
    """
    caplog.clear()
    async with running(settings, prepare=demo_of(settings)) as console:
        said = "\n".join(record.getMessage() for record in caplog.records if "demo" in record.name)
        password = said.partition("password ")[2].split()[0].rstrip(";")
        (found,) = await asyncio.gather(check(console, await console.sign_in(EMAIL, password)), return_exceptions=True)
    if found is not None:
        raise found
    return said


async def nothing(console: Console, admin: Session) -> None:
    return None


def test_demo_has_something_for_every_page(demo_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async def check(console: Console, admin: Session) -> None:
        async def read(path: str) -> Any:
            return await admin.must("GET", f"/api/v1/{path}")

        assert {user["role"] for user in (await read("users"))["users"]} == {"admin", "operator", "viewer"}
        assert {env["name"] for env in (await read("environments"))["environments"] if env["protected"]} == {
            "production"
        }
        keys = (await read("keys"))["api_keys"]
        assert [key["label"] for key in keys if key["revoked_at"]] == ["on a laptop that was lost"]
        assert {scope for key in keys for scope in key["scopes"]} == {"agent", "events:read"}
        assert {one["name"]: one["versions"] for one in (await read("bundles"))["bundles"]} == {
            "coding-assistant": 2,
            "customer-support": 3,
            "data-pipeline": 1,
        }
        deployments = (await read("deployments"))["deployments"]
        assert {one["env"] for one in deployments} == {"development", "staging", "production"}
        assert {one["enabled"] for one in (await read("assignment-rules"))["assignment_rules"]} == {True, False}
        agents = {agent["agent_id"]: agent for agent in (await read("agent-registrations"))["agents"]}
        assert agents.keys() == {agent.agent_id for agent in AGENTS}
        assert Counter(agent["state"] for agent in agents.values()) == {"current": len(AGENTS) - 1, "drift": 1}
        assert all(agent["desired_name"] == agent["applied_name"] for agent in agents.values())
        week = (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
        facets = (await read(f"events/facets?since={week}"))["facets"]
        actions = {one["value"] for one in facets["action"]}
        assert actions >= {"call_allowed", "call_blocked", "call_executed", "call_failed", "call_would_block"}
        assert actions >= {"call_asked", "call_approval_granted", "workflow_stage_advanced", "events_dropped"}
        buckets = (await read(f"events/histogram?since={week}&bucket_seconds=86400"))["buckets"]
        assert len(buckets) >= 7
        assert (await read("agents/assistant-ana/workflow-state?env=development"))["workflow"]["name"] == "fix-a-bug"
        assert (await read("audit-log/check"))["intact"] is True

    asyncio.run(start(demo_settings, caplog, check))


def test_demo_has_approvals_in_every_state(demo_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async def check(console: Console, admin: Session) -> None:
        async def states() -> Counter[str]:
            found = await admin.must("GET", "/api/v1/approvals")
            return Counter(one["status"] for one in found)

        while (await states())["pending"] > 3:  # until the second of the one that nobody decides is over
            await asyncio.sleep(0.05)
        assert await states() == {"pending": 3, "approved": 2, "denied": 2, "timeout": 1}

    asyncio.run(start(demo_settings, caplog, check))


def test_demo_key_and_counters_work_for_an_agent(demo_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async def check(console: Console, admin: Session) -> None:
        key = caplog.text.partition("API key ")[2].split()[0]
        agent = Session(console.client, {"Authorization": f"Bearer {key}", "X-Edictum-Agent-Id": "support-1"})
        found = await agent.must("GET", "/v1/rulesets/customer-support/current")
        assert found["version"] == 2
        assert found["yaml"] == text_of("customer-support", 2)
        assert found["signature"]
        last = (await admin.must("GET", "/api/v1/events?agent_id=support-1&limit=1"))["events"][0]["session_id"]
        counter = await agent.must("POST", f"/v1/sessions/s:{last}:attempts/increment")
        assert counter["value"] > 4

    asyncio.run(start(demo_settings, caplog, check))


def test_demo_that_is_there_is_left_as_it_is(demo_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    entries: list[int] = []

    async def check(console: Console, admin: Session) -> None:
        if not entries:
            decided = await admin.must("PATCH", "/api/v1/settings", {"timeout_may_allow": False})
            assert (decided["name"], decided["timeout_may_allow"]) == ("Demo", False)
        assert (await admin.must("GET", "/api/v1/settings"))["timeout_may_allow"] is False
        entries.append((await admin.must("GET", "/api/v1/audit-log?limit=1"))["entries"][0]["seq"])

    async def twice() -> list[str]:
        return [await start(demo_settings, caplog, check) for _ in range(2)]

    first, second = asyncio.run(twice())
    assert entries[0] == entries[1]
    assert "edk_" in first
    assert "edk_" not in second


def test_demo_that_was_not_finished_is_made_anew(
    demo_settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(owner: type, name: str) -> None:
        """
        Start, and end at the third time of something.
        """
        method, calls = getattr(owner, name), count(1)

        async def end(*args: Any, **named: Any) -> Any:
            if next(calls) == 3:
                raise ZeroDivisionError
            return await method(*args, **named)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, end)
            with pytest.raises(BaseExceptionGroup) as caught:
                await start(demo_settings, caplog, nothing)
            assert caught.group_contains(ZeroDivisionError)

    async def check(console: Console, admin: Session) -> None:
        tenants = await console.database.fetch("SELECT id, settings FROM tenants")
        assert [json.loads(row["settings"])["demo"] for row in tenants] == [True]
        for table in ALL_TABLES[1:]:
            rows = await console.database.fetch(f"SELECT DISTINCT tenant_id FROM {table._meta.tablename}")
            assert [row["tenant_id"] for row in rows] in ([], [tenants[0]["id"]]), table
        assert len(await admin.must("GET", "/api/v1/approvals")) == 8
        assert len((await admin.must("GET", "/api/v1/keys"))["api_keys"]) == 5
        assert len((await admin.must("GET", "/api/v1/deployments"))["deployments"]) == 7
        agents = (await admin.must("GET", "/api/v1/agent-registrations"))["agents"]
        assert Counter(agent["state"] for agent in agents) == {"current": len(AGENTS) - 1, "drift": 1}
        assert (await admin.must("GET", "/api/v1/audit-log/check"))["intact"] is True

    async def main() -> str:
        for owner, name in ((KeyService, "create"), (DeploymentService, "deploy"), (AgentService, "report")):
            await interrupted(owner, name)
        with pytest.raises(BaseExceptionGroup) as caught:
            async with running(demo_settings, prepare=refuse_half_a_demo):
                pass
        assert caught.group_contains(StartError, match="was not finished; start with --demo")
        return await start(demo_settings, caplog, check)

    said = asyncio.run(main())
    assert "is removed and made anew" in said
    assert "edk_" in said


def test_demo_whose_process_is_killed_is_made_anew(tmp_path: Path) -> None:
    with started(tmp_path, "--demo") as process:
        read_until(process, "the demo is being made")
        process.kill()
        process.wait(20)
    with closing(sqlite3.connect(tmp_path / "console.db")) as database:
        ((kept,),) = database.execute("SELECT settings FROM tenants")
        assert json.loads(kept) == {"demo": False}
    assert "was not finished; start with --demo" in refused(tmp_path)
    with serving(tmp_path, "--demo") as (address, written, _):
        password = written.partition("with the password ")[2].split()[0]
        assert call(address, "/api/v1/auth/login", {"email": EMAIL, "password": password})[0]["email"] == EMAIL
    with closing(sqlite3.connect(tmp_path / "console.db")) as database:
        ((kept,),) = database.execute("SELECT settings FROM tenants")
        assert json.loads(kept) == {"demo": True}


def test_demo_that_two_replicas_are_to_make_is_made_by_one(
    demo_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    if demo_settings.redis_url is None:
        pytest.skip("one process")

    async def check(console: Console, admin: Session) -> None:
        assert len(await console.database.fetch("SELECT id FROM tenants")) == 1

    async def main() -> None:
        await asyncio.gather(*(start(demo_settings, caplog, check) for _ in range(2)))

    asyncio.run(main())
    said = [record.getMessage() for record in caplog.records if "demo" in record.name]
    told = [line.partition(":")[0] for line in said if "sign in at" in line]
    assert told == ["the demo is ready", "this is the demo"]


@pytest.mark.security
def test_demo_beside_people_is_refused(console_settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with running(console_settings):
            pass
        settings = attrs.evolve(console_settings, admin_email=None, admin_password=None)
        with pytest.raises(BaseExceptionGroup) as caught:
            await start(settings, caplog, nothing)
        assert caught.group_contains(StartError, match="this one has people")

    asyncio.run(check())


@pytest.mark.security
def test_demo_in_production_or_with_another_administrator_is_refused(tmp_path: Path) -> None:
    production = {**SECRETS, "EDICTUM_ENV_NAME": "production", "EDICTUM_BASE_URL": "https://console.example.com"}
    assert "refused in production" in refused(tmp_path, "--demo", **production)
    admin = {"EDICTUM_ADMIN_EMAIL": "ana@example.com", "EDICTUM_ADMIN_PASSWORD": "correct horse battery"}
    assert "unset EDICTUM_ADMIN_EMAIL" in refused(tmp_path, "--demo", **admin)
    assert not (tmp_path / "console.db").exists()


def test_serve_demo_prints_the_login_and_a_key(tmp_path: Path) -> None:
    with serving(tmp_path, "--demo") as (address, written, _):
        password = written.partition("with the password ")[2].split()[0]
        assert call(address, "/api/v1/auth/login", {"email": EMAIL, "password": password})[0]["email"] == EMAIL
        key = written.partition("API key ")[2].split()[0]
        assert call(address, "/v1/rulesets/customer-support/current", Authorization=f"Bearer {key}")[0]["version"] == 2
        assert "/setup#" not in written


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.agent_id)
def test_week_is_over_when_it_ends_and_tells_of_its_rulesets_only(agent: Any) -> None:
    now = datetime.now(UTC)
    events = asyncio.run(played(agent, now)).events
    moments = [datetime.fromisoformat(event["timestamp"]) for event in events]
    assert min(moments) > now - timedelta(days=8)
    assert max(moments) < now
    guards = [Edictum.from_yaml_string(text_of(agent.ruleset, version)) for version in {agent.before, agent.now}]
    assert {event["policy_version"] for event in events} == {guard.policy_version for guard in guards}
    assert {event["tool_name"] for event in events if event["tool_name"]} == {one.tool for one in CALLS[agent.ruleset]}
