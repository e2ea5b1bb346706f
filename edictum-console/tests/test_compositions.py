"""
Compositions: from contracts to what an agent fetches.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from consoles import Console, Session, WithConsole
from edictum import Edictum, EdictumConfigError
from edictum.ruleset.document import read_document
from edictum_console.db.outbox import Outbox
from edictum_console.db.scope import Scopes
from edictum_console.domains.compositions.writing import write_yaml
from edictum_console.domains.deployments.service import DeploymentService
from edictum_console.domains.library.reading import read_definition
from edictum_console.errors import ConflictError, InvalidError
from edictum_console.security.actor import Role
from hypothesis import given
from hypothesis import strategies as st
from test_library import CONTRACTS, add, rule
from test_rulesets import TEXT, deploy, upload, verify

COMPOSITIONS = "/api/v1/compositions"
ENVS = ("staging", "production")

ASSEMBLED = """\
apiVersion: edictum/v1
kind: Ruleset
metadata:
  name: docs-rules
  description: "What docs agents may do: little"
defaults:
  mode: enforce
rules:
  - id: no-keys
    type: pre
    tool: read_file
    when:
      args.path:
        contains: ".pem"
    then:
      action: block
      message: "not this file"
    mode: observe
  - id: no-env
    type: pre
    tool: read_file
    when:
      args.path:
        contains: ".env"
    then:
      action: block
      message: "not this file"
tools:
  read_file:
    side_effect: read
"""

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["yes", "Null", "~", "1e5", "0x1f", "- a", "a: b", "a #b", "*", "é", "\u2028", "\x85", "a\n b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


async def nobody(tenant: UUID) -> None:
    pass


async def compose(session: Session, *items: dict[str, Any], **others: Any) -> Any:
    return await session.must("POST", COMPOSITIONS, {"name": "docs-rules", "items": list(items), **others})


async def preview(session: Session, **body: Any) -> Any:
    return await session.must("POST", f"{COMPOSITIONS}/docs-rules/preview", body)


async def deploy_it(session: Session, env: str = "production", **others: Any) -> Any:
    return await session.must("POST", f"{COMPOSITIONS}/docs-rules/deploy", {"env": env, **others})


@pytest.mark.property
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_alike_or_refused(document: dict[str, Any]) -> None:
    try:
        text = write_yaml(document)
    except EdictumConfigError:
        return
    assert json.dumps(document) == json.dumps(read_document(text).data)
    assert text == write_yaml(json.loads(json.dumps(document)))


FIELDS = ("id", "type", "tool", "tools", "when", "then", "mode", "limits", "within", "enabled", "effect", "shadow")


@pytest.mark.property
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), VALUES, TEXTS)
def test_any_definition_is_refused_or_can_be_written_and_loaded(change: dict[str, Any], value: Any, text: str) -> None:
    """
    What the library takes never fails later, when a ruleset is made of it.
    """
    action = {"action": "block", "message": text}
    for definition in ({**rule(), **change}, rule(when={"args.x": {"equals": value}}, then=action)):
        try:
            read = asyncio.run(read_definition(definition))
        except InvalidError:
            continue
        head = {"apiVersion": "edictum/v1", "kind": "Ruleset", "metadata": {"name": "n"}}
        written = write_yaml({**head, "defaults": {"mode": "enforce"}, "rules": [read]})
        Edictum.from_yaml_string(written, env={}, telemetry=False)


@pytest.mark.parametrize(
    "value",
    ["yes", "Null", "~", "1e5", "0x1f", "- a", "a: b", "a #b", "*", "é", "\u2028", "\x85", "a\n b", "", 1e16, -0.5, []],
)
def test_values_that_yaml_could_misread_are_written_so_that_it_does_not(value: Any) -> None:
    document = {"key": value, "list": [value, {"inner": value}, [value]]}
    assert document == read_document(write_yaml(document)).data


def test_composition_becomes_a_ruleset_that_an_agent_fetches_and_loads(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        operator, agent = await console.person(Role.OPERATOR), await console.agent()
        await add(operator)
        await add(operator, "no-keys", ".pem")
        made = await compose(
            operator,
            {"contract_id": "no-keys", "mode": "observe"},
            {"contract_id": "no-env", "version": 1},
            description="What docs agents may do: little",
            tools={"read_file": {"side_effect": "read"}},
        )
        assert (made["revision"], made["items"][1]["version"], made["items"][0]["enabled"]) == (1, 1, True)
        assert made == await operator.must("GET", f"{COMPOSITIONS}/docs-rules")
        listed = await operator.must("GET", COMPOSITIONS)
        assert [(one["name"], one["revision"]) for one in listed["compositions"]] == [("docs-rules", 1)]
        shown = await preview(operator, env="production")
        assert shown["yaml_content"] == ASSEMBLED
        assert (shown["valid"], shown["errors"], shown["running"], shown["changes"]) == (True, [], None, None)
        assert shown["revision_hash"] == hashlib.sha256(ASSEMBLED.encode()).hexdigest()
        assert [part["rule_id"] for part in shown["contents"]] == ["no-keys", "no-env"]
        assert (await operator.must("GET", "/api/v1/bundles"))["bundles"] == []  # a preview stores nothing
        done = await deploy_it(operator, note="go")
        assert (done["bundle_version"], done["deployment_seq"], done["note"]) == (1, 1, "go")
        found = await agent.must("GET", "/v1/rulesets/docs-rules/current")
        verify(found)
        assert found["yaml"] == ASSEMBLED
        guard = Edictum.from_yaml_string(found["yaml"], telemetry=False)
        assert guard.evaluate("read_file", {"path": "a/.env"}).decision == "block"
        assert guard.evaluate("read_file", {"path": "a.pem"}).decision == "allow"
        (build,) = await console.database.fetch("SELECT contents FROM composition_builds")
        assert json.loads(build["contents"])[1] == {"rule_id": "no-env", "contract_id": "no-env", "version": 1}

    with_console(check)


def test_newest_version_is_taken_unless_one_is_kept_to(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        await add(ana, "kept", ".old")
        await compose(ana, {"contract_id": "no-env"}, {"contract_id": "kept", "version": 1})
        await deploy_it(ana)
        again = await deploy_it(ana)
        assert (again["bundle_version"], again["deployment_seq"]) == (1, 2)
        for name in ("no-env", "kept"):
            await ana.must("PUT", f"{CONTRACTS}/{name}", {"definition": rule(name, ".new")})
        shown = await preview(ana, env="production")
        assert [part["version"] for part in shown["contents"]] == [2, 1]
        assert shown["running"]["assembled_here"]
        assert not shown["running"]["same"]
        assert [one["id"] for one in shown["changes"]["changed"]] == ["no-env"]
        assert (await deploy_it(ana))["bundle_version"] == 2
        assert (await preview(ana, env="production"))["running"]["same"]
        assert (await preview(ana, env="staging"))["running"] is None

    with_console(check)


def test_contract_may_be_enforced_and_observed_and_left_out(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        await add(ana, "off")
        await compose(
            ana,
            {"contract_id": "no-env", "version": 1},
            {"contract_id": "no-env", "mode": "observe"},
            {"contract_id": "off", "enabled": False},
        )
        shown = await preview(ana)
        assert [part["rule_id"] for part in shown["contents"]] == ["no-env", "no-env-obs"]
        assert shown["valid"]
        twice = [{"contract_id": "no-env", "mode": "observe"}] * 2
        refused = await ana.send("PUT", f"{COMPOSITIONS}/docs-rules", {"items": twice})
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["items", 1])

    with_console(check)


def test_composition_that_agents_cannot_load_is_shown_and_never_stored(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        await compose(ana)  # no rule at all
        for tools in ({}, {"read_file": {"side_effect": "explode"}}):
            items = [{"contract_id": "no-env"}] if tools else []
            await ana.must("PUT", f"{COMPOSITIONS}/docs-rules", {"items": items, "tools": tools})
            shown = await preview(ana)
            assert (shown["valid"], shown["revision_hash"]) == (False, None)
            assert shown["errors"][0]["line"] is not None
            refused = await ana.post(f"{COMPOSITIONS}/docs-rules/deploy", {"env": "production"})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_ruleset")
        assert (await ana.must("GET", "/api/v1/bundles"))["bundles"] == []

    with_console(check)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"name": "Docs"}, ["name"]),
        ({"name": "docs", "items": [{"contract_id": "other"}]}, ["items", 0]),
        ({"name": "docs", "items": [{"contract_id": "no-env", "version": 2}]}, ["items", 0]),
        ({"name": "docs", "items": [{"contract_id": "no-env", "version": 0}]}, ["items", 0, "version"]),
        ({"name": "docs", "tools": {"a": "x" * 70_000}}, ["tools"]),
        ({"name": "docs", "defaults_mode": "off"}, ["defaults_mode"]),
    ],
)
def test_composition_that_makes_no_sense_is_refused_with_the_field(
    with_console: WithConsole, body: dict[str, Any], place: list[Any]
) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        refused = await ana.post(COMPOSITIONS, body)
        assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, place)

    with_console(check)


def test_composition_changes_by_revision(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        await compose(ana)
        path = f"{COMPOSITIONS}/docs-rules"
        assert (await ana.post(COMPOSITIONS, {"name": "docs-rules"})).json()["code"] == "composition_exists"
        bodies = [{"items": [{"contract_id": "no-env"}], "expect_revision": 1} for _ in range(5)]
        answers = await asyncio.gather(*(ana.send("PUT", path, body) for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4
        stale = await ana.send("PUT", path, bodies[0])
        assert (stale.json()["code"], stale.json()["current_revision"]) == ("stale_revision", 2)
        assert (await ana.must("PUT", path, {"description": "later"}))["items"] == []
        await ana.must("DELETE", path)
        assert [(await ana.send(method, path)).status_code for method in ("GET", "DELETE")] == [404, 404]
        rows = await console.database.fetch(
            "SELECT payload FROM feed WHERE kind = {} ORDER BY seq", "composition_changed"
        )
        changes = [json.loads(row["payload"])["change"] for row in rows]
        assert changes == ["create", "update", "update", "delete"]

    with_console(check)


def test_text_of_somebody_else_is_replaced_only_when_named(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await upload(ana, TEXT)
        await deploy(ana)
        await add(ana)
        await compose(ana, {"contract_id": "no-env"})
        assert not (await preview(ana, env="production"))["running"]["assembled_here"]
        path = f"{COMPOSITIONS}/docs-rules/deploy"
        foreign = await ana.post(path, {"env": "production"})
        assert (foreign.status_code, foreign.json()["code"]) == (409, "foreign_version")
        assert foreign.json()["current_version"] == 1
        stale = await ana.post(path, {"env": "production", "expect_current": 0})
        assert stale.json()["code"] == "stale_version"
        assert (await deploy_it(ana, expect_current=1))["deployment_seq"] == 2
        await deploy_it(ana, "staging")
        await deploy(ana, 1)  # by hand, again
        assert (await ana.post(path, {"env": "production"})).json()["code"] == "foreign_version"
        await deploy_it(ana, "staging")

    with_console(check)


def test_who_may_deploy_a_composition_where(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        await add(ana)
        await compose(ana, {"contract_id": "no-env"})
        await ana.must("PATCH", "/api/v1/environments/production", {"protected": True})
        path = f"{COMPOSITIONS}/docs-rules/deploy"
        assert (await operator.post(path, {"env": "production"})).json()["code"] == "protected"
        assert (await operator.post(path, {"env": "nowhere"})).json()["code"] == "environment_not_found"
        assert (await ana.must("GET", "/api/v1/bundles"))["bundles"] == []  # nothing is stored for a refusal
        await deploy_it(operator, "staging")
        await deploy_it(ana)

    with_console(check)


def test_new_version_of_a_contract_does_what_the_composition_says(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await ana.must("PATCH", "/api/v1/environments/production", {"protected": True})
        await add(ana)
        await compose(ana, {"contract_id": "no-env"})
        for env in ("staging", "production"):
            await ana.must("POST", f"{COMPOSITIONS}/docs-rules/deploy", {"env": env})
        texts = iter([".env", ".pem", ".key", ".crt", ".p12"])

        async def revised() -> dict[str, int]:
            seq = await Outbox(scope).newest()
            await ana.must("PUT", f"{CONTRACTS}/no-env", {"definition": rule("no-env", next(texts))})
            items = await Outbox(scope).after(seq)
            told.append([item.payload["change"] for item in items if item.kind == "composition_changed"])
            found = (await ana.must("GET", "/api/v1/deployments"))["deployments"]
            return {env: max(one["bundle_version"] for one in found if one["env"] == env) for env in ENVS}

        (row,) = await console.database.fetch("SELECT id FROM tenants")
        scope = Scopes(console.database, nobody).of(row["id"])
        told: list[list[str]] = []
        assert (await revised(), told.pop()) == ({"staging": 1, "production": 1}, [])  # the same as before
        assert (await revised(), told.pop()) == ({"staging": 1, "production": 1}, [])
        for strategy, staging in (("notify", 1), ("auto", 2)):
            item = {"items": [{"contract_id": "no-env"}], "update_strategy": strategy}
            await ana.must("PUT", f"{COMPOSITIONS}/docs-rules", item)
            assert (await revised(), told.pop()) == ({"staging": staging, "production": 1}, ["outdated"])
        await ana.must("POST", f"{COMPOSITIONS}/docs-rules/deploy", {"env": "production"})
        await ana.must("PATCH", "/api/v1/environments/production", {"protected": False})
        assert (await revised(), told.pop()) == ({"staging": 3, "production": 3}, [])
        assert (await preview(ana, env="production"))["running"]["same"] is True

    with_console(check)


def test_composition_that_cannot_follow_leaves_what_runs(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        await compose(ana, {"contract_id": "no-env"}, update_strategy="auto")
        await ana.must("POST", f"{COMPOSITIONS}/docs-rules/deploy", {"env": "staging"})

        async def refuse(*args: Any) -> None:
            raise ConflictError("another version runs there than was expected", "stale_version")

        with monkeypatch.context() as racing:
            racing.setattr(DeploymentService, "deploy", refuse)
            await ana.must("PUT", f"{CONTRACTS}/no-env", {"definition": rule("no-env", ".pem")})
        assert "could not follow its contracts in staging" in caplog.text
        found = await ana.must("GET", "/api/v1/bundles/docs-rules/current?env=staging")
        assert ".env" in found["yaml"]

    with_console(check)
