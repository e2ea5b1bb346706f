"""
What a tenant decides for itself, and whom to tell of a weakness.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from consoles import Console, WithConsole
from edictum_console.errors import SettingsError
from edictum_console.security.actor import Role
from test_approvals import PATH, ask, end
from test_settings import load
from test_tenants import second_tenant

SETTINGS = "/api/v1/settings"
CONTACT = "/.well-known/security.txt"


def test_settings_are_as_usual_until_an_administrator_changes_them(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, viewer, eve = await console.sign_in(), await console.person(Role.VIEWER), await second_tenant(console)
        assert await viewer.must("GET", SETTINGS) == {"name": "default", "timeout_may_allow": True}
        assert (await viewer.send("PATCH", SETTINGS, {"name": "x"})).json()["code"] == "role_missing"
        changed = await ana.must("PATCH", SETTINGS, {"name": "Docs"})
        assert changed == {"name": "Docs", "timeout_may_allow": True}
        assert await ana.must("PATCH", SETTINGS, {"timeout_may_allow": False}) == {
            **changed,
            "timeout_may_allow": False,
        }
        assert (await ana.must("PATCH", SETTINGS, {}))["name"] == "Docs"
        assert await eve.must("GET", SETTINGS) == {"name": "other", "timeout_may_allow": True}
        log = (await ana.must("GET", "/api/v1/audit-log"))["entries"]
        assert [entry["details"] for entry in log if entry["action"] == "settings.change"] == [
            {"timeout_may_allow": False},
            {"name": "Docs"},
        ]
        for body in ({"name": ""}, {"other": 1}, {"timeout_may_allow": "no"}):
            assert (await ana.send("PATCH", SETTINGS, body)).status_code == 422

    with_console(check)


def test_changes_at_once_are_all_kept(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await asyncio.gather(
            ana.must("PATCH", SETTINGS, {"name": "Docs"}), ana.must("PATCH", SETTINGS, {"timeout_may_allow": False})
        )
        assert await ana.must("GET", SETTINGS) == {"name": "Docs", "timeout_may_allow": False}

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
