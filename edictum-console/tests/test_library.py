"""
The library of contracts.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from edictum import Edictum
from edictum_console.domains.library import service
from edictum_console.security.actor import Role
from test_rulesets import OLDER, STRICTER, TEXT

CONTRACTS = "/api/v1/contracts"


def rule(contract_id: str = "no-env", word: str = ".env", **others: Any) -> dict[str, Any]:
    return {
        "id": contract_id,
        "type": "pre",
        "tool": "read_file",
        "when": {"args.path": {"contains": word}},
        "then": {"action": "block", "message": "not this file"},
        **others,
    }


async def add(session: Session, contract_id: str = "no-env", word: str = ".env", **others: Any) -> Any:
    return await session.must("POST", CONTRACTS, {"definition": rule(contract_id, word), **others})


async def ids(session: Session, query: str = "") -> list[str]:
    found = await session.must("GET", f"{CONTRACTS}{query}")
    return [contract["contract_id"] for contract in found["contracts"]]


def test_contract_has_versions_and_the_newest_counts(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        operator = await console.person(Role.OPERATOR)
        made = await add(operator, name="No secrets", tags=["files", "base", "files"])
        assert (made["version"], made["type"], made["tags"]) == (1, "pre", ["base", "files"])
        assert made["definition"] == rule()
        assert list(made["definition"]) == list(rule())
        path = f"{CONTRACTS}/no-env"
        body = {"definition": rule(word=".pem"), "name": "No keys", "tags": ["base"], "expect_version": 1}
        assert (await operator.must("PUT", path, body))["version"] == 2
        assert (await operator.must("PUT", path, {**body, "expect_version": 2}))["version"] == 2
        stale = await operator.send("PUT", path, body)
        assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (409, "stale_version", 2)
        detail = await operator.must("GET", path)
        assert detail["contract"]["definition"] == rule(word=".pem")
        assert [version["version"] for version in detail["versions"]] == [2, 1]
        assert (await operator.must("GET", f"{path}/versions/1"))["name"] == "No secrets"
        for missing in (f"{path}/versions/3", f"{path}/versions/0", f"{path}/versions/{2**40}", f"{CONTRACTS}/other"):
            assert (await operator.get(missing)).json()["code"] == "contract_not_found"
        assert (await operator.post(CONTRACTS, {"definition": rule()})).json()["code"] == "contract_exists"
        other = await operator.send("PUT", path, {"definition": rule("other")})
        assert other.json()["code"] == "contract_id_differs"
        kinds = await console.database.fetch("SELECT kind FROM feed WHERE kind LIKE 'contract%' ORDER BY seq")
        assert [row["kind"] for row in kinds] == ["contract_created", "contract_updated"]

    with_console(check)


@pytest.mark.parametrize(
    ("definition", "place"),
    [
        (rule(type="prey"), "type"),
        (rule(then={"action": "explode", "message": "m"}), "then.action"),
        (rule(when={"args.path": {"matches": "("}}), ""),
        (rule("No Env"), "id"),
        (rule("x" * 129), "id"),
        (rule("templates"), "id"),
        ({}, ""),
        (rule(when={"args.path": {"contains": "x" * 70_000}}), ""),
        (rule(surprise=1), "surprise"),
    ],
)
def test_contract_that_agents_cannot_load_is_refused_with_its_place(
    with_console: WithConsole, definition: dict[str, Any], place: str
) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        refused = await ana.post(CONTRACTS, {"definition": definition})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_contract")
        places = [".".join(error["loc"]) for error in refused.json()["errors"]]
        assert any(found.startswith(f"definition.{place}".rstrip(".")) for found in places), places
        assert await ids(ana) == []

    with_console(check)


def test_contracts_are_found_by_type_tag_and_text_in_pages(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana, "b-keys", name="Über Keys", tags=["base"])
        await add(ana, "a-env", description="ENV files", tags=["base", "files"])
        enough = {"id": "c-enough", "type": "session", "limits": {"max_tool_calls": 3}}
        enough["then"] = {"action": "block", "message": "enough"}
        await ana.must("POST", CONTRACTS, {"definition": enough})
        assert await ids(ana) == ["a-env", "b-keys", "c-enough"]
        assert await ids(ana, "?type=session") == ["c-enough"]
        assert await ids(ana, "?tag=base") == ["a-env", "b-keys"]
        assert await ids(ana, "?tag=bas") == []
        assert await ids(ana, "?search=ÜBER") == ["b-keys"]
        assert await ids(ana, "?search=env&tag=files&type=pre") == ["a-env"]
        assert await ids(ana, "?search=%25") == []
        assert (await ana.get(f"{CONTRACTS}?type=other")).status_code == 422
        page = await ana.must("GET", f"{CONTRACTS}?limit=2")
        assert [one["contract_id"] for one in page["contracts"]] == ["a-env", "b-keys"]
        rest = await ana.must("GET", f"{CONTRACTS}?limit=2&cursor={page['next_cursor']}")
        assert ([one["contract_id"] for one in rest["contracts"]], rest["next_cursor"]) == (["c-enough"], None)

    with_console(check)


def test_versions_made_at_once_have_numbers_without_gaps(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        bodies = [{"definition": rule(word=f"w{number}")} for number in range(8)]
        done = await asyncio.gather(*(ana.must("PUT", f"{CONTRACTS}/no-env", body) for body in bodies))
        assert sorted(one["version"] for one in done) == list(range(2, 10))
        created = await asyncio.gather(*(ana.post(CONTRACTS, {"definition": rule("race")}) for _ in range(6)))
        assert sorted(answer.status_code for answer in created) == [201] + [409] * 5

    with_console(check)


def test_import_takes_a_ruleset_apart(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        path = f"{CONTRACTS}/import"
        done = await ana.must("POST", path, {"yaml_content": TEXT, "tags": ["docs"]})
        assert done == {"created": ["no-env"], "updated": [], "unchanged": [], "left_out": []}
        observing = STRICTER.replace("mode: enforce", "mode: observe") + "tools:\n  read_file: {side_effect: read}\n"
        done = await ana.must("POST", path, {"yaml_content": observing})
        assert done == {"created": ["no-keys"], "updated": ["no-env"], "unchanged": [], "left_out": ["tools"]}
        found = (await ana.must("GET", f"{CONTRACTS}/no-env"))["contract"]
        assert (found["definition"], found["tags"]) == ({**rule(), "mode": "observe"}, ["docs"])
        done = await ana.must("POST", path, {"yaml_content": observing})
        assert done["unchanged"] == ["no-env", "no-keys"]
        entries = (await ana.must("GET", "/api/v1/audit-log"))["entries"]
        imports = [entry["details"] for entry in entries if entry["action"] == "contract.import"]
        assert imports == [
            {"created": ["no-keys"], "updated": ["no-env"]},
            {"created": ["no-env"], "updated": []},
        ]
        done = await ana.must("POST", path, {"yaml_content": OLDER})
        assert done["updated"] == ["no-env"]
        assert (await ana.must("GET", f"{CONTRACTS}/no-env"))["contract"]["definition"] == rule()
        refused = await ana.post(path, {"yaml_content": TEXT.replace("type: pre", "type: prey")})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_ruleset")
        assert "line 9" in refused.json()["detail"]

    with_console(check)


def test_import_that_does_not_fit_leaves_nothing(with_console: WithConsole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_CONTRACTS", 1)

    async def check(console: Console) -> None:
        ana = await console.sign_in()
        refused = await ana.post(f"{CONTRACTS}/import", {"yaml_content": STRICTER})
        assert (refused.status_code, refused.json()["code"]) == (409, "library_full")
        assert await ids(ana) == []
        await add(ana)
        assert (await ana.post(CONTRACTS, {"definition": rule("more")})).json()["code"] == "library_full"
        assert (await ana.must("POST", f"{CONTRACTS}/import", {"yaml_content": TEXT}))["unchanged"] == ["no-env"]

    with_console(check)


def test_templates_are_rulesets_that_agents_load(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        viewer = await console.person(Role.VIEWER)
        found = (await viewer.must("GET", f"{CONTRACTS}/templates"))["templates"]
        assert [template["name"] for template in found] == sorted(one.name for one in Edictum.list_templates())
        for template in found:
            Edictum.from_yaml_string(template["yaml_content"], telemetry=False)
            assert template["rule_count"] > 0 < len(template["description"])

    with_console(check)


def test_contract_that_is_used_stays(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        await add(ana)
        await add(ana, "free")
        for name, version in (("two", 1), ("one", None)):
            item = {"contract_id": "no-env", "version": version, "enabled": version is None}
            await ana.must("POST", "/api/v1/compositions", {"name": name, "items": [item]})
        refused = await ana.send("DELETE", f"{CONTRACTS}/no-env")
        assert (refused.status_code, refused.json()["code"]) == (409, "contract_in_use")
        assert refused.json()["used_by"] == ["one", "two"]
        usage = await ana.must("GET", f"{CONTRACTS}/no-env/usage")
        assert usage["used_by"] == [
            {"composition": "one", "version": None, "enabled": True},
            {"composition": "two", "version": 1, "enabled": False},
        ]
        assert (await ana.must("GET", f"{CONTRACTS}/free/usage"))["used_by"] == []
        await ana.must("DELETE", f"{CONTRACTS}/free")
        assert (await ana.get(f"{CONTRACTS}/free/usage")).status_code == 404
        for name in ("one", "two"):
            await ana.must("DELETE", f"/api/v1/compositions/{name}")
        await ana.must("DELETE", f"{CONTRACTS}/no-env")
        assert await ids(ana) == []

    with_console(check)


def test_contract_is_not_removed_while_a_composition_begins_to_use_it(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        for number in range(6):
            await add(ana)
            body = {"name": f"c{number}", "items": [{"contract_id": "no-env"}]}
            removed, made = await asyncio.gather(
                ana.send("DELETE", f"{CONTRACTS}/no-env"), ana.post("/api/v1/compositions", body)
            )
            assert (removed.status_code, made.status_code) in ((200, 422), (409, 201))
            if made.status_code == 201:
                await ana.must("DELETE", f"/api/v1/compositions/c{number}")
                await ana.must("DELETE", f"{CONTRACTS}/no-env")

    with_console(check)
