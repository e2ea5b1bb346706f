"""
Replacing the key that rulesets are signed with.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from edictum_console.domains.signing.service import end_overlaps
from edictum_console.security.actor import Role
from listeners import listening
from test_rulesets import STRICTER, TEXT, deploy, upload, verify
from test_stream import NAMED, NEVER
from test_tenants import second_tenant

ROTATE = "/api/v1/settings/rotate-signing-key"
CURRENT = "/v1/rulesets/docs-rules/current"


def public_key(hexadecimal: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(hexadecimal))


async def signing_keys(session: Session, path: str = "/api/v1/settings/signing-keys") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await session.must("GET", path))["signing_keys"]
    return found


async def prefix_of(ana: Session, agent: Session) -> Any:
    shown = agent.headers["Authorization"].split()[1]
    (key,) = [key for key in (await ana.must("GET", "/api/v1/keys"))["api_keys"] if shown.startswith(key["prefix"])]
    return key


def test_agents_that_know_the_old_key_and_those_that_know_the_new_one_verify(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, before = await console.sign_in(), await console.agent()
        await upload(ana)
        await deploy(ana)
        (old,) = await signing_keys(ana)
        async with listening(console, before, NAMED) as stream:
            await stream.named("ruleset_updated")
            done = await ana.must("POST", ROTATE, {"overlap_days": 3})
            assert (done["deployments_re_signed"], done["api_keys_bound"]) == (1, 1)
            after = await console.agent()
            ours, theirs = await before.must("GET", CURRENT), await after.must("GET", CURRENT)
            for found, key in ((ours, old["public_key"]), (theirs, done["public_key"])):
                verify(found)
                assert found["public_key"] == key
                assert found["deployment_seq"] == 2
            pushed = (await stream.named("contract_update")).data
            verify({**ours, **{name: pushed[name] for name in pushed if name != "type"}})
            assert (pushed["public_key"], pushed["deployment_seq"]) == (old["public_key"], 2)
            # What is deployed meanwhile is signed for both, too.
            await upload(ana, STRICTER)
            await deploy(ana, 2)
            newer = (await stream.named("contract_update")).data
            assert (newer["public_key"], newer["version"]) == (old["public_key"], 2)
            assert (await after.must("GET", CURRENT))["public_key"] == done["public_key"]
        new, listed = await signing_keys(after, "/v1/signing-keys")
        assert [key["state"] for key in (new, listed)] == ["active", "retiring"]
        public_key(old["public_key"]).verify(base64.b64decode(new["cross_signature"]), bytes.fromhex(new["public_key"]))
        history = await ana.must("GET", "/api/v1/deployments")
        assert [one["kind"] for one in history["deployments"]] == ["deploy", "resign", "deploy"]
        log = await ana.must("GET", "/api/v1/audit-log")
        assert "signing_key.rotate" in [entry["action"] for entry in log["entries"]]

    with_console(check, rhythm=NEVER)


def test_signing_keys_say_which_api_keys_still_need_them(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, viewer = await console.sign_in(), await console.person(Role.VIEWER)
        first = await console.agent("production", label="north")
        for env, label in (("staging", "west"), ("production", "revoked")):
            await console.agent(env, label=label)
        revoked = (await ana.must("GET", "/api/v1/keys"))["api_keys"][0]
        await ana.must("DELETE", f"/api/v1/keys/{revoked['id']}")
        assert [key["bound_api_keys"] for key in await signing_keys(viewer)] == [[]]
        await ana.must("POST", ROTATE, {})
        north = await prefix_of(ana, first)
        new, old = await signing_keys(viewer)
        assert [(key["label"], key["env"]) for key in old["bound_api_keys"]] == [
            ("west", "staging"),
            ("north", "production"),
        ]
        assert old["bound_api_keys"][1] == {"prefix": north["prefix"], "label": "north", "env": "production"}
        assert new["bound_api_keys"] == []
        await ana.must("PATCH", f"/api/v1/keys/{north['id']}", {"signing_key_id": ""})
        _, old = await signing_keys(viewer)
        assert [key["label"] for key in old["bound_api_keys"]] == ["west"]
        # What agents are told says nothing about other keys.
        told = (await first.get("/v1/signing-keys")).text
        assert old["key_id"] in told
        assert not [word for word in ("bound_api_keys", "west", "north") if word in told]
        eve = await second_tenant(console)
        assert [key["bound_api_keys"] for key in await signing_keys(eve)] == [[]]

    with_console(check)


def test_binding_ends_when_somebody_says_so_or_its_time_is_over(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agents = await console.sign_in(), [await console.agent() for _ in range(2)]
        await upload(ana)
        await deploy(ana)
        (old,) = await signing_keys(ana)
        done = await ana.must("POST", ROTATE, {})
        keys = [await prefix_of(ana, agent) for agent in agents]
        assert [key["signing_key_id"] for key in keys] == [old["key_id"]] * 2

        async def signs(agent: Session) -> Any:
            found = await agent.must("GET", CURRENT)
            verify(found)
            return found["key_id"]

        assert [await signs(agent) for agent in agents] == [old["key_id"]] * 2
        path = f"/api/v1/keys/{keys[0]['id']}"
        changed = await ana.must("PATCH", path, {"signing_key_id": "", "label": "new"})
        assert (changed["signing_key_id"], changed["label"]) == (None, "new")
        assert [await signs(agent) for agent in agents] == [done["key_id"], old["key_id"]]
        await ana.must("PATCH", path, {"signing_key_id": old["key_id"]})
        assert await signs(agents[0]) == old["key_id"]
        past = datetime.now(UTC) - timedelta(seconds=1)
        await console.database.fetch("UPDATE signing_keys SET retires_at = {} WHERE state = {}", past, "retiring")
        assert [await signs(agent) for agent in agents] == [done["key_id"]] * 2
        states = [key["state"] for key in await signing_keys(ana)]
        await end_overlaps(console.database)
        rows = await console.database.fetch("SELECT state FROM signing_keys ORDER BY id DESC")
        assert states == [row["state"] for row in rows] == ["active", "revoked"]
        for other in (old["key_id"], "k-nothing"):
            refused = await ana.send("PATCH", path, {"signing_key_id": other})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid")

    with_console(check)


@pytest.mark.security
def test_key_that_somebody_else_may_have_ends_at_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)
        await deploy(ana)
        first = await ana.must("POST", ROTATE, {})
        await ana.must("PATCH", f"/api/v1/keys/{(await prefix_of(ana, agent))['id']}", {"signing_key_id": ""})
        done = await ana.must("POST", ROTATE, {"compromised": True})
        assert (done["retires_at"], done["api_keys_bound"]) == (None, 0)
        assert [key["state"] for key in await signing_keys(ana)] == ["active", "revoked", "retiring"]
        found = await agent.must("GET", CURRENT)
        verify(found)
        assert found["key_id"] == done["key_id"] != first["key_id"]
        with pytest.raises(InvalidSignature):
            public_key(first["public_key"]).verify(base64.b64decode(found["signature"]), found["yaml"].encode())

    with_console(check)


@pytest.mark.security
def test_only_administrators_replace_the_key_and_a_failure_changes_nothing(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edictum_console.domains.audit.service import AuditService

    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        await upload(ana, TEXT)
        await deploy(ana)
        assert (await operator.post(ROTATE, {})).status_code == 403
        assert (await ana.post(ROTATE, {"overlap_days": 0})).status_code == 422

        async def fail(*args: object) -> None:
            raise ZeroDivisionError

        before = await signing_keys(ana)
        with monkeypatch.context() as patch:
            patch.setattr(AuditService, "record", fail)
            assert (await ana.post(ROTATE, {})).status_code == 500
        assert await signing_keys(ana) == before
        assert len((await ana.must("GET", "/api/v1/deployments"))["deployments"]) == 1

    with_console(check)
