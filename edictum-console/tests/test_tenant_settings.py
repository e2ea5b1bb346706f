"""
What a tenant decides for itself, and whom to tell of a weakness.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from consoles import PASSWORD, Console, WithConsole
from edictum_console.errors import SettingsError
from edictum_console.security.actor import Role
from test_agents import report
from test_approvals import PATH, ask, end
from test_events import deliver, happened, listed
from test_rulesets import TEXT, upload
from test_settings import load
from test_tenants import second_tenant

SETTINGS = "/api/v1/settings"
USUAL = {
    "timeout_may_allow": True,
    "event_retention_days": 90,
    "rules_override_client": False,
    "notify_args": "redacted",
}
CONTACT = "/.well-known/security.txt"


def test_settings_are_as_usual_until_an_administrator_changes_them(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, viewer, eve = await console.sign_in(), await console.person(Role.VIEWER), await second_tenant(console)
        assert await viewer.must("GET", SETTINGS) == {"name": "default", **USUAL}
        assert (await viewer.send("PATCH", SETTINGS, {"name": "x"})).json()["code"] == "role_missing"
        changed = await ana.must("PATCH", SETTINGS, {"name": "Docs"})
        assert changed == {"name": "Docs", **USUAL}
        assert await ana.must("PATCH", SETTINGS, {"timeout_may_allow": False}) == {
            **changed,
            "timeout_may_allow": False,
        }
        assert (await ana.must("PATCH", SETTINGS, {}))["name"] == "Docs"
        assert await eve.must("GET", SETTINGS) == {"name": "other", **USUAL}
        log = (await ana.must("GET", "/api/v1/audit-log"))["entries"]
        assert [entry["details"] for entry in log if entry["action"] == "settings.change"] == [
            {"timeout_may_allow": False},
            {"name": "Docs"},
        ]
        for body in ({"name": ""}, {"other": 1}, {"timeout_may_allow": "no"}, {"event_retention_days": 0}):
            assert (await ana.send("PATCH", SETTINGS, body)).status_code == 422

    with_console(check)


def test_changes_at_once_are_all_kept(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await asyncio.gather(
            ana.must("PATCH", SETTINGS, {"name": "Docs"}), ana.must("PATCH", SETTINGS, {"timeout_may_allow": False})
        )
        assert await ana.must("GET", SETTINGS) == {"name": "Docs", **USUAL, "timeout_may_allow": False}

    with_console(check)


def test_tenant_may_forbid_that_a_timeout_allows(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        for may, status in ((True, "timed_out"), (False, "rejected")):
            await ana.must("PATCH", SETTINGS, {"timeout_may_allow": may})
            made = await ask(agent, timeout_action="allow")
            await end(console, made)
            assert (await agent.must("GET", f"{PATH}/{made['id']}"))["status"] == status

    with_console(check)


def test_tenant_may_put_rules_before_what_agents_ask_for(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent(agent_id="docs-1")
        for text in (TEXT, TEXT.replace("docs-rules", "other-rules")):
            await upload(ana, text)
        rule = {"env": "production", "pattern": "docs-*", "bundle_name": "other-rules"}
        await ana.must("POST", "/api/v1/assignment-rules", rule)
        await report(agent)
        await console.database.fetch("UPDATE agent_registrations SET requested_name = 'docs-rules'")

        async def explained() -> list[str]:
            found = await ana.must("GET", "/api/v1/assignment-rules/resolve/docs-1?env=production")
            assert [step["bundle_name"] for step in found["steps"] if step["wins"]] == [found["bundle_name"]]
            return [found["bundle_name"], *(step["source"] for step in found["steps"])]

        before = await explained()
        await ana.must("PATCH", SETTINGS, {"rules_override_client": True})
        assert before == ["docs-rules", "explicit", "client", "rule"]
        assert await explained() == ["other-rules", "explicit", "rule", "client"]

    with_console(check)


def test_old_events_are_removed_for_ever_by_an_administrator_with_the_password(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        agent, eve = await console.agent(), await second_tenant(console)
        now = datetime.now(UTC)
        for number, days in enumerate((0, 5, 9, 30)):
            await deliver(agent, happened(number, timestamp=(now - timedelta(days=days)).isoformat()))
        path = f"{SETTINGS}/purge-events?older_than_days=7"
        assert (await operator.send("DELETE", path, {"password": PASSWORD})).status_code == 403
        assert (await ana.send("DELETE", path, {"password": "wrong"})).json()["code"] == "wrong_credentials"
        assert (await ana.send("DELETE", path)).status_code == 400
        assert len(await listed(ana)) == 4
        assert (await eve.must("DELETE", path, {"password": PASSWORD}))["deleted_count"] == 0
        done = await ana.must("DELETE", path, {"password": PASSWORD})
        assert done["deleted_count"] == 2
        cutoff = datetime.fromisoformat(done["cutoff"])
        assert timedelta(days=7) <= now - cutoff < timedelta(days=8)
        assert await listed(ana) == ["call-0", "call-1"]
        entry = (await ana.must("GET", "/api/v1/audit-log"))["entries"][0]
        assert (entry["action"], entry["details"]) == ("events.purge", {"older_than_days": 7})

    with_console(check)


def test_contact_is_named_where_the_operator_says_whom(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        answer = await console.anonymous.get(CONTACT)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
        assert fields["Contact"] == "mailto:security@example.com"
        assert fields["Canonical"] == "http://console.test/.well-known/security.txt"
        expires = datetime.fromisoformat(fields["Expires"])
        assert timedelta(days=30) < expires - datetime.now(UTC) < timedelta(days=365)

    async def nobody(console: Console) -> None:
        assert (await console.anonymous.get(CONTACT)).status_code == 404

    with_console(check, security_contact="mailto:security@example.com")
    with_console(nobody)


@pytest.mark.parametrize(
    "text", ["security@example.com", "http://a", "mailto:a@b\nContact: c", "mailto:a", "https://a b"]
)
def test_contact_that_cannot_be_one_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="EDICTUM_SECURITY_CONTACT"):
        load(tmp_path, EDICTUM_SECURITY_CONTACT=text)
    assert load(tmp_path, EDICTUM_SECURITY_CONTACT="https://a.example/x").security_contact == "https://a.example/x"
