"""
Secrets, followed through everything that is kept, answered and told.

What the log shows is in ``test_serve``, and what becomes of secrets in events in ``test_events``.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from consoles import PASSWORD, Console, Session, WithConsole
from edictum_console.db.tables import ALL_TABLES
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.security.actor import Role
from edictum_console.security.sealing import Sealer
from edictum_console.settings import Settings
from listeners import listening
from test_events import deliver, happened
from test_http import routes
from test_pages import PATH as PAGES
from test_pages import heard
from test_rulesets import upload
from test_stream import deployed
from test_tokens import TOKEN, script

# What agents hand over in confidence: people who look at a request or at the log see it, and nobody and nothing else.
ARGUMENT, VALUE, EVENT_ARGUMENT = "canary-argument", "canary-value", "canary-event-argument"
SHOWN_AT = {
    ARGUMENT: {"/api/v1/approvals", "/api/v1/approvals/{approval_id:uuid}"},
    EVENT_ARGUMENT: {"/api/v1/events", "/api/v1/events/{event_id:uuid}"},
    VALUE: set(),
}
KEPT_IN = {ARGUMENT: {"approvals"}, EVENT_ARGUMENT: {"events"}, VALUE: {"session_values", "idempotency_keys"}}


async def stored(console: Console) -> dict[str, str]:
    """
    Everything in the database, as text, for each table.
    """
    rows = {}
    for table in ALL_TABLES:
        name = table._meta.tablename
        rows[name] = "\n".join(str(row) for row in await console.database.fetch(f"SELECT * FROM {name}"))
    return rows


async def answers(who: Session, settings: Settings, ids: dict[str, str]) -> dict[str, str]:
    """
    What somebody reads at every address that can be read.
    """
    found = {}
    for method, route, _ in routes(settings):
        if method == "GET" and not route.endswith(("/stream", "/stream/dashboard")):
            path = "/".join(ids.get(part, part) for part in route.split("/"))
            answer = await who.get(path)
            assert answer.status_code < 500, (path, answer.text)
            found[route] = answer.text + str(answer.headers)
    return found


@pytest.mark.security
def test_secrets_are_kept_answered_and_told_nowhere(with_console: WithConsole, console_settings: Settings) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        invited = await ana.must("POST", "/api/v1/users", {"email": "bo@example.com", "role": "viewer"})
        made = await ana.must("POST", "/api/v1/keys", {"env": "production", "label": "north"})
        agent = Session(console.client, {"Authorization": f"Bearer {made['key']}", "X-Edictum-Agent-Id": "bot"})
        pair = await ana.must("POST", TOKEN, {})
        told = ""
        async with AsyncExitStack() as streams:
            page = await streams.enter_async_context(listening(console, ana, path=PAGES))
            stream = await streams.enter_async_context(listening(console, agent))
            await deployed(console)
            asked = {"tool_name": "t", "message": "please", "tool_args": {"a": ARGUMENT}}
            approval = await agent.must("POST", "/v1/approvals", asked)
            headers = {"Idempotency-Key": "one"}
            operations = {"ops": [{"op": "put", "key": "k", "value": VALUE}]}
            await agent.must("POST", "/v1/sessions/ops", operations, headers=headers)
            await deliver(agent, happened(1, tool_args={"a": EVENT_ARGUMENT}))
            await operator.must("PUT", f"/api/v1/approvals/{approval['id']}", {"approved": True, "reason": "fine"})
            await ana.must("POST", "/api/v1/settings/rotate-signing-key", {})
            await upload(ana)
            seen = await heard(page, "approval_created", "approval_decided", "event_created", "signing_key_rotated")
            said = await stream.named("approval_decided")
            told = f"{seen} {said} {page.waiting()} {stream.waiting()} {page.comments} {stream.comments}"
        (event,) = (await ana.must("GET", "/api/v1/events"))["events"]
        rows = await console.database.fetch("SELECT * FROM signing_keys")
        private = [Sealer(b"k" * 32).open(row["private_key_sealed"], "signing key", row["id"]) for row in rows]
        secrets = {
            "a password": PASSWORD,
            "an API key": made["key"].rpartition("_")[2],
            "the hash of an API key": str(
                (await console.database.fetch("SELECT key_hash FROM api_keys"))[0]["key_hash"]
            ),
            "a login": ana.headers["Cookie"].partition("=")[2],
            "a token of a login": ana.headers["X-CSRF-Token"],
            "a link for an invitation": invited["reset_link"].partition("#")[2],
            "a script's token": pair["access_token"].rpartition(".")[2],
            "a token for new tokens": pair["refresh_token"],
            **{f"signing key {number}": key.hex() for number, key in enumerate(private)},
            "the key of seals": (b"k" * 32).hex(),
            "the key of logins": "s" * 32,
        }
        database = await stored(console)
        hashes = {"the hash of an API key": {"api_keys"}}
        for name, secret in secrets.items():
            places = {table for table, text in database.items() if secret in text}
            assert places == hashes.get(name, set()), name
            assert secret not in told, name
        for canary, tables in KEPT_IN.items():
            places = {table for table, text in database.items() if canary in text}
            assert places == tables or (canary == VALUE and not places), canary  # which may be in Redis
            assert canary not in told
        ids = {"{approval_id:uuid}": approval["id"], "{event_id:uuid}": event["id"], "{name:str}": "docs-rules"}
        ids |= {"{version:int}": "1", "{agent_id:str}": "bot"}
        bot = script(console, pair)
        for who in (ana, operator, bot):
            read = await answers(who, console_settings, ids)
            for canary, where in SHOWN_AT.items():
                assert where <= {route for route, text in read.items() if canary in text}, canary
            for route, text in read.items():
                for name, secret in secrets.items():
                    own = name == "a token of a login" and who is ana and route == "/api/v1/auth/me"
                    assert own or secret not in text, (route, name)
                for canary, where in SHOWN_AT.items():
                    assert canary not in text or route in where, (route, canary)

    with_console(check, Rhythm(pulse=0.01))
