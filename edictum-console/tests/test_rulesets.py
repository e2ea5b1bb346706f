"""
From an upload to what an agent fetches.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from edictum import Edictum
from edictum_console.ids import new_id
from edictum_console.security.actor import Role
from edictum_console.security.sealing import SealBrokenError, Sealer

TEXT = """\
apiVersion: edictum/v1
kind: Ruleset
metadata:
  name: docs-rules  # ü
defaults:
  mode: enforce
rules:
  - id: no-env
    type: pre
    tool: read_file
    when:
      args.path: {contains: ".env"}
    then:
      action: block
      message: not this file
"""
STRICTER = (
    TEXT
    + """\
  - id: no-keys
    type: pre
    tool: read_file
    when:
      args.path: {contains: ".pem"}
    then:
      action: block
      message: not this file
"""
)
OLDER = """\
apiVersion: edictum/v1
kind: ContractBundle
metadata:
  name: older-rules
defaults:
  mode: enforce
contracts:
  - id: no-env
    type: pre
    tool: read_file
    when:
      args.path: {contains: ".env"}
    then:
      effect: deny
      message: not this file
"""

BUNDLES = "/api/v1/bundles"


async def upload(session: Session, text: str = TEXT) -> Any:
    return await session.must("POST", BUNDLES, {"yaml_content": text})


async def deploy(session: Session, version: int = 1, env: str = "production", **others: Any) -> Any:
    return await session.must("POST", f"{BUNDLES}/docs-rules/{version}/deploy", {"env": env, **others})


def verify(found: dict[str, Any]) -> None:
    """
    Verify as agents do: both signatures, with the key that comes along.
    """
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found["public_key"]))
    raw = base64.b64decode(found["yaml_bytes"], validate=True)
    key.verify(base64.b64decode(found["signature"], validate=True), raw)
    assert base64.b64decode(found["signature"]).hex() == found["signature_hex"]
    assert hashlib.sha256(raw).hexdigest() == found["revision_hash"]
    assert raw == found["yaml"].encode()
    envelope = base64.b64decode(found["envelope"], validate=True)
    key.verify(base64.b64decode(found["envelope_signature"], validate=True), envelope)
    facts = json.loads(envelope)
    same = ("env", "name", "version", "revision_hash", "deployment_seq", "key_id")
    assert [found[name] for name in same] == [facts[name] for name in same]
    assert envelope == json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def test_upload_stores_the_bytes_as_they_are_and_the_same_bytes_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        operator = await console.person(Role.OPERATOR)
        text = TEXT.replace("\n", "\r\n")
        first = await operator.post(BUNDLES, {"yaml_content": text, "note": "first"})
        again = await operator.post(BUNDLES, {"yaml_content": text})
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() == again.json()
        assert tuple(first.json()[name] for name in ("name", "version", "rule_count")) == ("docs-rules", 1, 1)
        raw = await operator.get(f"{BUNDLES}/docs-rules/1/yaml")
        assert text.encode() == raw.content
        assert raw.headers["content-type"].startswith("application/x-yaml")
        assert first.json()["revision_hash"] == hashlib.sha256(text.encode()).hexdigest()
        assert (await upload(operator, STRICTER))["version"] == 2
        assert (await upload(operator, text))["version"] == 3
        listed = await operator.must("GET", f"{BUNDLES}/docs-rules?limit=2")
        assert [version["version"] for version in listed["versions"]] == [3, 2]
        rest = await operator.must("GET", f"{BUNDLES}/docs-rules?cursor={listed['next_cursor']}")
        assert ([version["version"] for version in rest["versions"]], rest["next_cursor"]) == ([1], None)
        names = await operator.must("GET", BUNDLES)
        assert names == {"bundles": [{"name": "docs-rules", "latest_version": 3, "versions": 3}]}

    with_console(check)


def test_uploads_at_once_get_numbers_without_gaps(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        texts = [f"{TEXT}# {number}\n" for number in range(8)]
        done = await asyncio.gather(*(upload(ana, text) for text in texts))
        assert list(range(1, 9)) == sorted(version["version"] for version in done)

    with_console(check)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TEXT.replace("type: pre", "type: prey"), 9),
        (TEXT.replace("action: block", "action: explode"), 14),
        (TEXT.replace("  name: docs-rules  # ü\n", ""), None),
        ("a: [", None),
        ("- a\n", None),
        ("\ufeff" + TEXT, None),
        (TEXT.replace('{contains: ".env"}', '{matches: "("}'), None),
        (TEXT + "# " + "x" * 512 * 1024, None),
        (TEXT.replace("kind: Ruleset", "kind: Ruleset\nextends: other"), None),
    ],
)
def test_text_that_agents_cannot_load_is_refused_with_its_place(
    with_console: WithConsole, text: str, line: int | None
) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        refused = await ana.post(BUNDLES, {"yaml_content": text})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_ruleset")
        checked = await ana.must("POST", f"{BUNDLES}/validate", {"yaml_content": text})
        assert not checked["valid"]
        if line is not None:
            assert line == checked["errors"][0]["line"]
            assert checked["errors"][0]["column"] >= 1
        assert (await ana.must("GET", BUNDLES))["bundles"] == []

    with_console(check)


def test_validate_stores_nothing_and_says_what_it_read(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        viewer = await console.person(Role.VIEWER)
        checked = await viewer.must("POST", f"{BUNDLES}/validate", {"yaml_content": STRICTER})
        assert tuple(checked[name] for name in ("valid", "errors", "name", "rule_count")) == (True, [], "docs-rules", 2)
        assert (await viewer.must("GET", BUNDLES))["bundles"] == []
        assert (await viewer.post(BUNDLES, {"yaml_content": TEXT})).json()["code"] == "role_missing"

    with_console(check)


def test_diff_names_the_rules_that_differ(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await upload(ana)
        await upload(ana, STRICTER.replace('".env"', '".environ"').replace("mode: enforce", "mode: observe"))
        found = await ana.must("GET", f"{BUNDLES}/docs-rules/diff?from=1&to=2")
        assert tuple([rule["id"] for rule in found[name]] for name in ("added", "removed", "changed")) == (
            ["no-keys"],
            [],
            ["no-env"],
        )
        assert found["settings"]
        assert "+  - id: no-keys" in found["text"]
        assert (await ana.get(f"{BUNDLES}/docs-rules/diff?from=1&to=3")).status_code == 404
        assert (await ana.get(f"{BUNDLES}/docs-rules/diff?from=1")).status_code == 422

    with_console(check)


def test_deployed_ruleset_is_fetched_with_signatures_that_verify(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)
        path = "/v1/rulesets/docs-rules/current"
        missing = await agent.get(path)
        assert (missing.status_code, missing.json()["code"]) == (404, "ruleset_not_deployed")
        await deploy(ana, note="go")
        answer = await agent.get(path)
        found = answer.json()
        verify(found)
        assert tuple(found[name] for name in ("name", "bundle_name", "env", "version", "deployment_seq")) == (
            "docs-rules",
            "docs-rules",
            "production",
            1,
            1,
        )
        Edictum.from_yaml_string(found["yaml"])
        assert found == await agent.must("GET", f"{path}?env=production")
        assert (await agent.get(f"{path}?env=staging")).json()["code"] == "env_mismatch"
        tag = answer.headers["etag"]
        assert tag == f'"{found["revision_hash"]}.1"'
        same = await agent.get(path, headers={"If-None-Match": f'"x", {tag}'})
        assert (304, b"", tag) == (same.status_code, same.content, same.headers["etag"])
        assert answer.headers["cache-control"] == "no-cache"
        keys = await agent.must("GET", "/v1/signing-keys")
        assert [(found["key_id"], found["public_key"], "active")] == [
            (key["key_id"], key["public_key"], key["state"]) for key in keys["signing_keys"]
        ]

    with_console(check)


def test_older_dialect_is_stored_and_served_as_it_is(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        assert (await upload(ana, OLDER))["rule_count"] == 1
        await ana.must("POST", f"{BUNDLES}/older-rules/1/deploy", {"env": "production"})
        found = await agent.must("GET", "/v1/rulesets/older-rules/current")
        assert found["yaml"] == OLDER
        verify(found)

    with_console(check)


def test_roll_back_is_a_deployment_with_a_higher_number(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)
        await upload(ana, STRICTER)
        path = f"{BUNDLES}/docs-rules/rollback"
        await deploy(ana, 1)
        nothing = await ana.post(path, {"env": "production"})
        assert (nothing.status_code, nothing.json()["code"]) == (404, "nothing_to_roll_back_to")
        await deploy(ana, 2)
        await deploy(ana, 2)
        back = await ana.must("POST", path, {"env": "production"})
        assert tuple(back[name] for name in ("kind", "bundle_version", "deployment_seq")) == ("rollback", 1, 4)
        found = await agent.must("GET", "/v1/rulesets/docs-rules/current")
        verify(found)
        assert (found["version"], found["deployment_seq"]) == (1, 4)
        forward = await ana.must("POST", path, {"env": "production", "to_version": 2})
        assert (forward["bundle_version"], forward["deployment_seq"]) == (2, 5)
        history = await ana.must("GET", "/api/v1/deployments?name=docs-rules&env=production&limit=3")
        assert [one["deployment_seq"] for one in history["deployments"]] == [5, 4, 3]
        rest = await ana.must("GET", f"/api/v1/deployments?cursor={history['next_cursor']}")
        assert [one["deployment_seq"] for one in rest["deployments"]] == [2, 1]

    with_console(check)


def test_deployment_that_expects_another_version_is_refused(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await upload(ana)
        await upload(ana, STRICTER)
        await deploy(ana, 1, expect_current=0)
        path = f"{BUNDLES}/docs-rules/2/deploy"
        bodies = [{"env": "production", "expect_current": 1} for _ in range(6)]
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*(ana.post(path, b) for b in bodies)))
        assert statuses == [201] + [409] * 5
        stale = await ana.post(path, bodies[0])
        assert (stale.json()["code"], stale.json()["current_version"]) == ("stale_version", 2)

    with_console(check)


def test_deployments_at_once_get_numbers_that_rise_in_the_order_of_the_feed(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await upload(ana)
        await asyncio.gather(*(deploy(ana) for _ in range(12)))
        rows = await console.database.fetch("SELECT payload FROM feed WHERE kind = {} ORDER BY seq", "bundle_deployed")
        assert list(range(1, 13)) == [json.loads(row["payload"])["deployment_seq"] for row in rows]

    with_console(check)


def test_deployment_that_fails_leaves_nothing_to_see(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edictum_console.domains.audit.service import AuditService

    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)

        async def fail(*args: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(AuditService, "record", fail)  # the last thing before the announcement
            assert (await ana.post(f"{BUNDLES}/docs-rules/1/deploy", {"env": "production"})).status_code == 500
        assert (await agent.get("/v1/rulesets/docs-rules/current")).status_code == 404
        assert (await ana.must("GET", "/api/v1/deployments"))["deployments"] == []
        rows = await console.database.fetch("SELECT kind FROM feed WHERE kind = {}", "bundle_deployed")
        assert rows == []
        assert (await deploy(ana))["deployment_seq"] == 1

    with_console(check)


def test_who_may_deploy_where(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator, viewer = (
            await console.sign_in(),
            await console.person(Role.OPERATOR),
            await console.person(Role.VIEWER),
        )
        await upload(operator)
        await ana.must("PATCH", "/api/v1/environments/production", {"protected": True})
        path = f"{BUNDLES}/docs-rules/1/deploy"

        async def code(session: Session, env: str) -> str:
            answer = await session.post(path, {"env": env})
            return "deployed" if answer.status_code == 201 else str(answer.json()["code"])

        assert await code(viewer, "staging") == "role_missing"
        assert await code(operator, "staging") == "deployed"
        assert await code(operator, "production") == "protected"
        assert await code(ana, "production") == "deployed"
        assert await code(ana, "nowhere") == "environment_not_found"
        script = await console.agent("staging", None, scopes=["deploy"])
        assert await code(script, "staging") == "deployed"
        assert await code(script, "development") == "env_mismatch"
        assert await code(await console.agent("staging"), "staging") == "scope_missing"
        assert (await script.post(BUNDLES, {"yaml_content": STRICTER})).status_code == 201
        assert (await script.get("/v1/rulesets/docs-rules/current")).json()["code"] == "scope_missing"
        history = await ana.must("GET", "/api/v1/deployments?env=staging")
        assert history["deployments"][0]["deployed_by"].startswith("key:edk_staging_")

    with_console(check)


def test_private_key_is_sealed_and_never_shown(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        (row,) = await console.database.fetch("SELECT * FROM signing_keys")
        sealer = Sealer(b"k" * 32)
        private = sealer.open(row["private_key_sealed"], "signing key", row["id"])
        assert len(private) == 32
        shown = await ana.get("/api/v1/settings/signing-keys")
        assert row["public_key"] in shown.text
        assert row["private_key_sealed"] not in shown.text

    with_console(check)


def test_seal_holds_for_its_purpose_row_and_key_only() -> None:
    row, old, new = new_id(), Sealer(b"a" * 32), Sealer(b"b" * 32, previous=b"a" * 32)
    text = old.seal(b"secret", "signing key", row)
    assert new.open(text, "signing key", row) == b"secret"
    assert old.seal(b"secret", "signing key", row) != text
    flipped = base64.b64encode(base64.b64decode(text)[:-1] + b"x").decode()
    for sealer, sealed, purpose, place in [
        (Sealer(b"b" * 32), text, "signing key", row),
        (old, text, "channel", row),
        (old, text, "signing key", new_id()),
        (old, flipped, "signing key", row),
    ]:
        with pytest.raises(SealBrokenError, match="EDICTUM_SIGNING_KEY_SECRET"):
            sealer.open(sealed, purpose, place)


def test_signature_of_other_bytes_does_not_verify(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)
        await deploy(ana)
        found = await agent.must("GET", "/v1/rulesets/docs-rules/current")
        found["yaml_bytes"] = base64.b64encode(STRICTER.encode()).decode()
        with pytest.raises(InvalidSignature):
            verify(found)

    with_console(check)


def test_older_paths_answer_as_older_consoles_did(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        assert (await agent.get(f"{BUNDLES}/current")).json()["code"] == "ruleset_not_found"
        await upload(ana)
        await deploy(ana)
        found = await agent.must("GET", f"{BUNDLES}/docs-rules/current")
        canonical = await agent.must("GET", "/v1/rulesets/docs-rules/current")
        assert found == {**canonical, "tenant_id": (await ana.must("GET", "/api/v1/auth/me"))["tenant_id"]}
        verify(found)
        assert found == await agent.must("GET", f"{BUNDLES}/current")
        assert found == await ana.must("GET", f"{BUNDLES}/current?env=production")
        assert (await ana.get(f"{BUNDLES}/current")).status_code == 422
        tag = f'"{found["revision_hash"]}.1"'
        assert (await agent.get(f"{BUNDLES}/current", headers={"If-None-Match": tag})).status_code == 304
        text = await agent.get(f"{BUNDLES}/1/yaml")
        assert TEXT.encode() == text.content == (await agent.get(f"{BUNDLES}/docs-rules/1/yaml")).content
        assert text.headers["content-type"].startswith("application/x-yaml")
        assert (await agent.get(f"{BUNDLES}/2/yaml")).status_code == 404
        assert (await agent.must("GET", BUNDLES))["bundles"][0]["name"] == "docs-rules"
        await upload(ana, OLDER)
        for path in ("current", "1/yaml"):
            assert (await agent.get(f"{BUNDLES}/{path}")).json()["code"] == "several_rulesets"

    with_console(check)


@pytest.mark.parametrize("name", ["current", "evaluate", "validate"])
def test_ruleset_must_not_have_the_name_of_a_path(with_console: WithConsole, name: str) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        refused = await ana.post(BUNDLES, {"yaml_content": TEXT.replace("docs-rules", name)})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_ruleset")

    with_console(check)
