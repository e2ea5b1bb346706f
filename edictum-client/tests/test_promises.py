"""
What the published client is held to (``edictum-console/tests/test_interop.py``), by this one: on each kind of storage.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from consoles import Console, rules, running
from edictum import Edictum, EdictumDenied, MemoryBackend
from edictum_client import EdictumServerClient, ServerAuditSink, ServerBackend
from stores import stores, variables_for

_PATIENCE_SECONDS = 60.0
_CALLS_IN_OUTAGE = {"embedded": 5_000, "replicated": 500}  # with two events each

APPROVALS = """\
apiVersion: edictum/v1
kind: Ruleset
metadata: {name: asking}
defaults: {mode: enforce}
rules:
  - id: ask
    type: pre
    tool: send
    when: {args.to: {exists: true}}
    then: {action: ask, message: "send to {args.to}?", timeout: 30}
  - id: ask-shortly
    type: pre
    tool: send_soon
    when: {args.to: {exists: true}}
    then: {action: ask, message: "send to {args.to}?", timeout: 1}
  - id: ask-softly
    type: pre
    tool: send_anyway
    when: {args.to: {exists: true}}
    then: {action: ask, message: "send to {args.to}?", timeout: 1, timeout_action: allow}
"""

WORKFLOW = """\
apiVersion: edictum/v1
kind: Workflow
metadata: {name: "reading", version: "1"}
stages:
  - id: read
    tools: [Read]
    exit:
      - condition: file_read("TASK.md")
        message: Read the task first.
  - id: edit
    tools: [Edit]
"""

COUNTING = """\
import asyncio, sys
from edictum import Edictum, EdictumDenied

async def main(url, key, agent_id, name, session):
    async with await Edictum.from_server(url, key, agent_id, bundle_name=name) as guard:
        for _ in range(10):
            try:
                await guard.run("limited", {}, lambda: "ran", session_id=session)
                print("ran")
            except EdictumDenied as error:
                print("blocked:", error)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module", params=["embedded", "replicated"])
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """
    A console on SQLite, and one on Postgres and Redis.
    """
    with ExitStack() as stack:
        variables = {}
        if request.param == "replicated":
            variables = variables_for(*stack.enter_context(stores()))
        yield stack.enter_context(running(tmp_path_factory.mktemp(request.param), variables))


@pytest.fixture(scope="module")
def agent_key(anywhere: Console) -> str:
    return anywhere.key()


@pytest.fixture
def unused() -> str:
    """
    A name that nobody used before.
    """
    return f"unused-{secrets.token_hex(6)}"


async def outcome(guard: Edictum, tool: str, **arguments: Any) -> str:
    """
    What comes of a call.
    """
    try:
        return str(await guard.run(tool, arguments, lambda **_: "done", session_id="session"))
    except EdictumDenied as error:
        return f"blocked: {error}"


async def becomes(guard: Edictum, expected: str, tool: str, **arguments: Any) -> None:
    """
    Wait until something comes of a call that may still be another thing now.
    """
    found = None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (found := await outcome(guard, tool, **arguments)) != expected:
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"{found!r} instead of {expected!r}")


@pytest.mark.slow
def test_a_signed_ruleset_is_started_with_and_replaced_while_calls_are_made(
    anywhere: Console, agent_key: str, unused: str
) -> None:
    async def check() -> None:
        signed = {"verify_signatures": True, "signing_public_key": anywhere.public_key()}
        async with await Edictum.from_server(
            anywhere.address, agent_key, unused, bundle_name=unused, **signed
        ) as guard:
            assert await outcome(guard, "read_file", path="a.pem") == "done"
            assert await outcome(guard, "read_file", path=".env") == "blocked: not this file"
            await asyncio.to_thread(anywhere.deploy, rules(unused, forbidden=".pem"))
            await becomes(guard, "blocked: not this file", "read_file", path="a.pem")

    anywhere.deploy(rules(unused))
    asyncio.run(check())


@pytest.mark.slow
def test_an_assigned_ruleset_is_started_with_and_exchanged(anywhere: Console, agent_key: str, unused: str) -> None:
    async def check() -> None:
        async with await Edictum.from_server(anywhere.address, agent_key, unused, tags={"team": "docs"}) as guard:
            assert await outcome(guard, "read_file", path="a.pem") == "done"
            seen = await asyncio.to_thread(anywhere.agent, unused)
            assert (seen["desired_name"], seen["source"], seen["reported_tags"]) == (unused, "rule", {"team": "docs"})
            path, change = f"/api/v1/assignment-rules/{made['id']}", {"bundle_name": f"{unused}-strict"}
            await asyncio.to_thread(anywhere.call, "PATCH", path, change)
            await becomes(guard, "blocked: not this file", "read_file", path="a.pem")

    anywhere.deploy(rules(unused))
    anywhere.deploy(rules(f"{unused}-strict", forbidden=".pem"))
    rule = {"env": "production", "pattern": f"{unused}*", "tag_match": {"team": "docs"}, "bundle_name": unused}
    made = anywhere.call("POST", "/api/v1/assignment-rules", rule)
    asyncio.run(check())


@pytest.mark.slow
def test_an_approval_has_five_outcomes(anywhere: Console, agent_key: str, unused: str) -> None:
    """
    Granted, refused, not answered (which blocks, or lets pass where the rule and the console say so), and given up.
    """

    def asked(to: str) -> list[str]:
        return [each["id"] for each in anywhere.pending() if each["tool_args"] == {"to": to}]

    async def pending(to: str) -> str:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not (found := await asyncio.to_thread(asked, to)):
                await asyncio.sleep(0.02)
        return found[0]

    async def check() -> None:
        async with await Edictum.from_server(anywhere.address, agent_key, unused, bundle_name="asking") as guard:
            people = ("granted", "refused", "given-up")
            waiting = {to: asyncio.create_task(outcome(guard, "send", to=to)) for to in people}
            not_answered = asyncio.create_task(outcome(guard, "send_soon", to="nobody"))
            let_pass = asyncio.create_task(outcome(guard, "send_anyway", to="anybody"))
            await asyncio.to_thread(anywhere.decide, await pending("granted"), True)
            await asyncio.to_thread(anywhere.decide, await pending("refused"), False, "not those")
            given_up = await pending("given-up")
            waiting["given-up"].cancel()
            assert await waiting["granted"] == "done"
            assert "not those" in await waiting["refused"]
            assert (await not_answered).startswith("blocked:")
            assert await let_pass == "done"
            with pytest.raises(asyncio.CancelledError):
                await waiting["given-up"]
            async with asyncio.timeout(_PATIENCE_SECONDS):
                path = f"/api/v1/approvals/{given_up}"
                while (found := await asyncio.to_thread(anywhere.call, "GET", path))["status"] == "pending":
                    await asyncio.sleep(0.02)
            assert found["status"] == "denied"

    anywhere.call("PATCH", "/api/v1/settings", {"timeout_may_allow": True})
    anywhere.deploy(APPROVALS)
    asyncio.run(check())


@pytest.mark.slow
def test_a_limit_holds_for_two_processes_together(anywhere: Console, agent_key: str, unused: str) -> None:
    anywhere.deploy(rules(unused))
    words = [sys.executable, "-c", COUNTING, anywhere.address, agent_key]
    agents = [
        subprocess.Popen([*words, f"{unused}-{which}", unused, unused], stdout=subprocess.PIPE, text=True)
        for which in ("a", "b")
    ]
    said = Counter("".join(agent.communicate(timeout=_PATIENCE_SECONDS)[0] for agent in agents).splitlines())
    assert [agent.returncode for agent in agents] == [0, 0]
    assert (said.pop("ran"), said) == (3, {"blocked: three times are enough (limit for limited: 3 of 3)": 17})


@pytest.mark.slow
def test_many_values_are_read_at_one_moment_whatever_is_in_their_keys(
    anywhere: Console, agent_key: str, unused: str
) -> None:
    workflow = f"s:{unused}:workflow:a:b:c:state"
    keys = [workflow, f"s:{unused}:tool:mcp:files:read", f"s:{unused}:attempts", f"s:{unused}:never"]

    async def check() -> None:
        async with EdictumServerClient(anywhere.address, agent_key, agent_id=unused) as client:
            backend = ServerBackend(client)
            await backend.set(workflow, '{"stage": "ä:b"}')
            await backend.increment(keys[1])
            await backend.increment(keys[2], 2)
            assert list((await backend.batch_get(keys)).values()) == ['{"stage": "ä:b"}', "1", "2", None]
            assert await backend.compare_and_set(workflow, '{"stage": "ä:b"}', "{}")
            assert not await backend.compare_and_set(workflow, '{"stage": "ä:b"}', "never")
            assert await backend.get(workflow) == "{}"

    asyncio.run(check())


@pytest.mark.slow
def test_one_agent_goes_on_in_a_workflow_where_another_one_was(anywhere: Console, agent_key: str, unused: str) -> None:
    async def check() -> None:
        connected = {"bundle_name": unused, "workflow_content": WORKFLOW}
        async with (
            await Edictum.from_server(anywhere.address, agent_key, f"{unused}-a", **connected) as one,
            await Edictum.from_server(anywhere.address, agent_key, f"{unused}-b", **connected) as other,
        ):
            assert "Read the task first." in await outcome_of(other, "Edit", "a.py")
            assert await outcome_of(one, "Read", "TASK.md") == "done"
            assert await outcome_of(other, "Edit", "a.py") == "done"
            assert (await outcome_of(one, "Read", "TASK.md")).startswith("blocked:")

    async def outcome_of(guard: Edictum, tool: str, path: str) -> str:
        try:
            return str(await guard.run(tool, {"path": path}, lambda path: "done", session_id=unused))
        except EdictumDenied as error:
            return f"blocked: {error}"

    anywhere.deploy(rules(unused))
    asyncio.run(check())


@pytest.mark.slow
@pytest.mark.fault
def test_ten_thousand_events_arrive_once_after_an_outage(
    request: pytest.FixtureRequest, anywhere: Console, agent_key: str, unused: str
) -> None:
    calls = _CALLS_IN_OUTAGE[request.node.callspec.params["anywhere"]]

    async def check() -> None:
        async with EdictumServerClient(anywhere.address, agent_key, agent_id=unused) as client:
            sink = ServerAuditSink(client)
            # Counted in memory, because this is about calls that are made while the console is away.
            guard = Edictum.from_yaml_string(rules(unused), audit_sink=sink, backend=MemoryBackend())
            anywhere.kill()
            for number in range(calls):
                arguments = {"path": f"{number}.txt"}
                await guard.run("read_file", arguments, lambda path: "done", session_id=f"session-{number % 100}")
            assert sink.buffered == 2 * calls
            await asyncio.to_thread(anywhere.start)
            await sink.flush(_PATIENCE_SECONDS)
            await sink.close()
            assert sink.dropped == 0

    asyncio.run(check())
    found = Counter((each["tool_args"]["path"], each["action"]) for each in anywhere.events(agent_id=unused))
    assert len(found) == 2 * calls
    assert set(found.values()) == {1}
