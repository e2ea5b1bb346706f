"""
Every route, whoever calls: generated from what is served, so that a new one cannot be left out.
"""

from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest
from consoles import Console, Session, WithConsole
from edictum_console.security import guards
from edictum_console.security.actor import KeyScope, Role
from edictum_console.settings import Settings
from test_events import deliver, happened
from test_http import routes
from test_rulesets import upload
from test_tenants import second_tenant
from test_tokens import TOKEN, script

EXAMPLES = {"uuid": "018f4e5a-0000-7000-8000-000000000000", "int": "1", "str": "staging", "path": "x"}


@attrs.frozen
class Asked:
    """
    What a route asks of whoever calls it, as its guards say.

    Attributes:
        role: The least role of a person; None where no person may.
        scopes: The scopes of which a key needs one; None where no key may.
        login: Whether a script may not.
        nothing: Whether everybody may.
    """

    role: Role | None = None
    scopes: frozenset[KeyScope] | None = None
    login: bool = False
    nothing: bool = False


def asked(handler: Any) -> Asked:
    """
    Read the guards of a route; one that this does not know is an error.
    """
    found = []
    for guard in (guard for layer in handler.ownership_layers for guard in layer.guards or ()):
        if guard in (guards.anyone, guards.metrics_reader):  # whom the latter lets in is in test_operations
            found.append(Asked(nothing=True))
        elif guard is guards.login:
            found.append(Asked(role=Role.VIEWER, login=True))
        else:
            facts = inspect.getclosurevars(guard).nonlocals
            kind = guard.__qualname__.split(".")[0]
            if kind == "person":
                found.append(Asked(role=facts["role"]))
            elif kind == "key":
                found.append(Asked(scopes=frozenset([facts["scope"]])))
            elif kind == "person_or_key":
                found.append(Asked(role=facts["role"], scopes=frozenset(facts["scopes"])))
            else:
                assert kind == "limited", guard
    (only,) = found
    return only


def example(route: str) -> str:
    """
    An address of a route; a stream that would not end is asked for something that it refuses.
    """
    if route.endswith("/stream/dashboard"):
        return f"{route}?topics=none"
    parts = [EXAMPLES[part[1:-1].split(":")[1]] if part.startswith("{") else part for part in route.split("/")]
    return "/".join(parts)


async def refusal(who: Session, method: str, path: str) -> str | None:
    """
    The code of a 401 or 403; None for any other answer.
    """
    answer = await who.send(method, path)
    assert answer.status_code < 500, (method, path, answer.text)
    return str(answer.json()["code"]) if answer.status_code in (401, 403) else None


def test_guards_are_read_rightly() -> None:
    @attrs.frozen
    class Layer:
        guards: list[Any]

    @attrs.frozen
    class Handler:
        ownership_layers: list[Layer]

    def of(*listed: Any) -> Asked:
        return asked(Handler([Layer(list(listed))]))

    assert of(guards.person(Role.ADMIN)) == Asked(Role.ADMIN)
    assert of(guards.person_or_key(Role.VIEWER, KeyScope.DEPLOY)) == Asked(Role.VIEWER, frozenset([KeyScope.DEPLOY]))
    with pytest.raises(ValueError, match="not enough"):
        of()

    def own() -> Any:
        async def guard() -> None:
            pass

        return guard

    with pytest.raises(AssertionError):
        of(own())


def test_every_route_lets_in_whom_its_guards_name_and_nobody_else(
    with_console: WithConsole, console_settings: Settings
) -> None:
    async def check(console: Console) -> None:
        people = {Role.ADMIN: await console.sign_in()}
        for role in (Role.VIEWER, Role.OPERATOR):
            people[role] = await console.person(role)
        keys = {scope: await console.agent(scopes=[scope]) for scope in KeyScope}
        bot = script(console, await people[Role.ADMIN].must("POST", TOKEN, {}))
        reading = script(console, await people[Role.ADMIN].must("POST", TOKEN, {"role": "viewer"}))
        for method, route, handler in routes(console_settings):
            rule, path = asked(handler), example(route)
            place = (method, route)
            if rule.nothing:
                continue  # test_routes_that_are_open_are_these names them
            assert await refusal(console.anonymous, method, path) in ("not_signed_in", "key_missing"), place
            for role, person in people.items():
                if rule.role is None:
                    assert await refusal(person, method, path) == "keys_only", place
                elif not role.includes(rule.role):
                    assert await refusal(person, method, path) == "role_missing", place
                elif method == "GET":
                    assert await refusal(person, method, path) is None, place
            for scope, key in keys.items():
                if rule.scopes is None:
                    assert await refusal(key, method, path) == "people_only", place
                elif scope not in rule.scopes:
                    assert await refusal(key, method, path) == "scope_missing", place
            if rule.role is not None:
                if method not in ("GET", "HEAD"):
                    stripped = Session(console.client, {"Cookie": people[Role.ADMIN].headers["Cookie"]})
                    assert await refusal(stripped, method, path) == "csrf_token_missing", place
                if rule.login:
                    assert await refusal(bot, method, path) == "login_only", place
                elif rule.role is not Role.VIEWER:
                    assert await refusal(reading, method, path) == "role_missing", place
                elif method == "GET":
                    assert await refusal(reading, method, path) is None, place

    with_console(check)


def test_key_finds_nothing_of_another_tenant(with_console: WithConsole, console_settings: Settings) -> None:
    """
    A key with every scope, on all that keys may read, with names and ids that another tenant has.
    """

    async def check(console: Console) -> None:
        eve = await second_tenant(console)
        await upload(eve)
        await eve.must("POST", "/api/v1/bundles/docs-rules/1/deploy", {"env": "production"})
        made = await eve.must("POST", "/api/v1/keys", {"env": "production"})
        theirs = Session(console.client, {"Authorization": f"Bearer {made['key']}"})
        approval = await theirs.must("POST", "/v1/approvals", {"tool_name": "t", "message": "m"})
        await theirs.must("PUT", "/v1/sessions/s:a:attempts", {"value": "7"})
        await deliver(theirs, happened(1))
        (event,) = (await eve.must("GET", "/api/v1/events"))["events"]
        named = {
            "{agent_id:str}": "bot",
            "{event_id:uuid}": event["id"],
            "{name:str}": "docs-rules",
            "{version:int}": "1",
            "{approval_id:uuid}": approval["id"],
            "{key:path}": "s:a:attempts",
        }
        key = await console.agent(scopes=[scope.value for scope in KeyScope])
        tried = 0
        for method, route, handler in routes(console_settings):
            if method != "GET" or "{" not in route or asked(handler).scopes is None:
                continue
            path = "/".join(named[part] if part.startswith("{") else part for part in route.split("/"))
            assert (await key.get(path)).status_code == 404, route
            tried += 1
        assert tried >= 6

    with_console(check)
