"""
What is known of agents, and whether they run what they should.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from consoles import Console, Session, WithConsole
from edictum_console.domains.agents.fleet import CONFIRMS_WITHIN, FORGOTTEN_AFTER, state_of
from edictum_console.domains.deployments.service import Running
from edictum_console.security.actor import Role
from test_rulesets import TEXT, deploy, upload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "0" * 64, "1" * 64
AGENTS, REGISTRATIONS = "/api/v1/agents", "/api/v1/agent-registrations"


def row(**values: Any) -> dict[str, Any]:
    known = {"applied_revision": NEW, "state": None, "assigned_at": None, "last_seen_at": NOW, "ungoverned": False}
    return {**known, **values}


@pytest.mark.parametrize(
    ("values", "running", "streams", "deployed", "state"),
    [
        ({}, True, 0, timedelta(hours=1), "current"),
        ({}, False, 1, timedelta(0), "unknown"),
        ({"applied_revision": None}, True, 1, timedelta(hours=1), "unknown"),
        ({"applied_revision": OLD}, True, 1, CONFIRMS_WITHIN - timedelta(seconds=1), "updating"),
        ({"applied_revision": OLD}, True, 1, CONFIRMS_WITHIN, "drift"),
        ({"applied_revision": OLD, "assigned_at": NOW}, True, 1, timedelta(hours=1), "updating"),
        ({"applied_revision": OLD, "state": "rejected"}, True, 1, timedelta(0), "drift"),
        ({"ungoverned": True}, True, 1, timedelta(hours=1), "ungoverned"),
        ({"last_seen_at": NOW - FORGOTTEN_AFTER}, True, 0, timedelta(hours=1), "current"),
        ({"last_seen_at": NOW - FORGOTTEN_AFTER - timedelta(seconds=1)}, True, 0, timedelta(hours=1), "offline"),
        ({"last_seen_at": NOW - timedelta(days=1)}, True, 1, timedelta(hours=1), "current"),
    ],
)
def test_state_of_an_agent(values: Any, running: bool, streams: int, deployed: timedelta, state: str) -> None:
    desired = Running("production", "docs-rules", 1, NEW, 1, NOW - deployed) if running else None
    assert state_of(row(**values), desired, streams, NOW).value == state


async def report(agent: Session, **body: Any) -> Any:
    return await agent.must("POST", "/v1/agents/self/status", body)


async def seen(session: Session, agent_id: str = "bot") -> Any:
    return await session.must("GET", f"{AGENTS}/{agent_id}")


def test_report_is_remembered_and_answered_with_what_is_to_run(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)
        assert await report(agent) == {"desired": None, "next_in": 60}
        rule = {"env": "production", "pattern": "b*", "bundle_name": "docs-rules"}
        await ana.must("POST", "/api/v1/assignment-rules", rule)
        assert (await report(agent))["desired"] is None  # nothing is deployed under that name
        deployed = await deploy(ana)
        desired = {name: deployed[name] for name in ("bundle_name", "revision_hash", "deployment_seq")}
        assert (await report(agent))["desired"] == desired
        assert (await seen(ana))["state"] == "unknown"
        await report(agent, bundle_name="docs-rules", policy_version=OLD)
        assert (await seen(ana))["state"] == "updating"
        await report(agent, policy_version=OLD, state="rejected", error="no such tool", unknown_field=1)
        found = await seen(ana)
        assert (found["state"], found["last_error"]) == ("drift", "no such tool")
        await report(
            agent,
            policy_version=deployed["revision_hash"],
            buffered_events=3,
            dropped_events=4,
            client="test/1",
            tags={"team": "red"},
            manifest={"rules": [{"id": "local"}]},
        )
        found = await seen(ana)
        same = ("state", "last_error", "buffered_events", "dropped_events", "client", "reported_tags", "applied_name")
        assert [found[name] for name in same] == ["current", None, 3, 4, "test/1", {"team": "red"}, "docs-rules"]
        assert (found["source"], found["desired_revision"]) == ("rule", deployed["revision_hash"])

    with_console(check)


@pytest.mark.parametrize(
    "body",
    [{"state": "happy"}, {"policy_version": 1}, {"tags": {"a": "\n"}}, {"manifest": {"a": "x" * 70_000}}],
)
def test_report_that_does_not_fit_is_refused(with_console: WithConsole, body: Any) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        assert (await agent.post("/v1/agents/self/status", body)).status_code == 422
        assert (await (await console.sign_in()).get(f"{AGENTS}/bot")).status_code == 404

    with_console(check)


def test_operators_say_what_an_agent_is_and_runs(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        operator = await console.person(Role.OPERATOR)
        for name in ("docs-rules", "red-rules"):
            await upload(operator, TEXT.replace("docs-rules", name))
        for agent_id in ("bot", "other"):
            await report(await console.agent(agent_id=agent_id), tags={"team": "blue", "zone": "a"})
        rule = {"env": "production", "pattern": "*", "bundle_name": "red-rules", "tag_match": {"team": "red"}}
        await operator.must("POST", "/api/v1/assignment-rules", rule)
        found = await seen(operator)
        assert found["source"] == "none"
        path = f"{REGISTRATIONS}/{found['id']}"
        tagged = await operator.must("PATCH", path, {"operator_tags": {"team": "red"}, "display_name": "The bot"})
        assert (tagged["desired_name"], tagged["source"], tagged["display_name"]) == ("red-rules", "rule", "The bot")
        given = await operator.must("PATCH", path, {"bundle_name": "docs-rules"})
        assert (given["desired_name"], given["source"]) == ("docs-rules", "explicit")
        assert (await operator.must("PATCH", path, {}))["source"] == "explicit"
        assert (await operator.must("PATCH", path, {"bundle_name": ""}))["source"] == "rule"
        refused = await operator.send("PATCH", path, {"bundle_name": "nothing"})
        assert refused.status_code == 422
        bulk = {"env": "production", "agent_ids": ["bot", "other", "stranger"], "bundle_name": "docs-rules"}
        done = await operator.must("POST", f"{REGISTRATIONS}/bulk-assign", bulk)
        assert done == {"updated": 2}
        assert [(await seen(operator, name))["source"] for name in ("bot", "other")] == ["explicit"] * 2
        await operator.must("POST", f"{REGISTRATIONS}/bulk-assign", {**bulk, "bundle_name": ""})
        assert [(await seen(operator, name))["source"] for name in ("bot", "other")] == ["rule", "none"]
        log = await (await console.sign_in()).must("GET", "/api/v1/audit-log?limit=10")
        assert [entry["action"] for entry in log["entries"]][:2] == ["agent.assign", "agent.assign"]

    with_console(check)


def test_agents_are_listed_by_page_and_environment(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        agents = [await console.agent(env) for env in ("production", "staging")]
        agents.append(await console.agent("staging", None))
        for agent in agents:
            await report(agent)
        page = await ana.must("GET", f"{AGENTS}?limit=2")
        rest = await ana.must("GET", f"{AGENTS}?limit=2&cursor={page['next_cursor']}")
        assert [len(page["agents"]), len(rest["agents"]), rest["next_cursor"]] == [2, 1, None]
        assert len((await ana.must("GET", f"{REGISTRATIONS}?env=staging"))["agents"]) == 2
        both = await ana.get(f"{AGENTS}/bot")
        assert (both.status_code, both.json()["code"]) == (409, "several_environments")
        assert (await ana.must("GET", f"{AGENTS}/bot?env=staging"))["env"] == "staging"
        nameless = page["agents"][0]["agent_id"]
        (key,) = [key for key in (await ana.must("GET", "/api/v1/keys"))["api_keys"] if nameless == f"key-{key['id']}"]
        assert UUID(key["id"])

    with_console(check)
