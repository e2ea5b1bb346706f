"""
What agents are told by their streams.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.parse import quote

import pytest
from consoles import Console, Session, WithConsole, running
from edictum_console.db.outbox import Outbox
from edictum_console.domains.stream.connection import MOST_FRAMES
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.security.actor import Role
from edictum_console.settings import Settings
from edictum_console.state.pulse import Pulse
from listeners import Event, listening, until
from test_assignment import RULES, rule
from test_rulesets import STRICTER, TEXT, deploy, upload, verify
from test_tenants import second_tenant

NEVER = Rhythm(heartbeat=3600, look=3600, reconcile=3600, seen=3600)  # hints only
NAMED = "bundle_name=docs-rules"


async def deployed(console: Console, text: str = TEXT, **others: Any) -> Any:
    ana = await console.sign_in()
    uploaded = await upload(ana, text)
    path = f"/api/v1/bundles/{uploaded['name']}/{uploaded['version']}/deploy"
    return await ana.must("POST", path, {"env": "production", **others})


async def quiet(listener: Any, console: Console) -> list[Event]:
    """
    What came until a change that the agent must be told of was told: afterwards nothing older is under way.
    """
    await deployed(console, TEXT.replace("docs-rules", "marker"))
    events: list[Event] = []
    while not events or events[-1].data.get("name") != "marker":
        events.append(await listener.next())
    return events[:-1]


def facts(event: Event, *names: str) -> tuple[Any, ...]:
    return (event.name, *(event.data[name] for name in names))


def test_deployment_whose_commit_fails_is_told_to_nobody(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce = Outbox.announce

    async def fail(*args: Any, **named: Any) -> int:
        await announce(*args, **named)  # the row for streams, and the hint for after the commit
        raise ZeroDivisionError

    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await deployed(console)
        await upload(ana, STRICTER)
        async with listening(console, agent, NAMED) as stream:
            await stream.named("ruleset_updated")
            with monkeypatch.context() as patch:
                patch.setattr(Outbox, "announce", fail)
                failed = await ana.post("/api/v1/bundles/docs-rules/2/deploy", {"env": "production"})
                assert failed.status_code == 500
            assert await quiet(stream, console) == []
            assert (await agent.must("GET", "/v1/rulesets/docs-rules/current"))["version"] == 1

    with_console(check, rhythm=NEVER)


@pytest.mark.parametrize("path", ["/v1/stream", "/api/v1/stream"])
def test_stream_begins_at_once_and_tells_of_deployments(with_console: WithConsole, path: str) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        async with listening(console, agent, f"{NAMED}&env=production", path) as stream:
            assert stream.status == 200
            assert stream.comments
            for name, value in (
                ("content-type", "text/event-stream; charset=utf-8"),
                ("cache-control", "no-store, no-transform"),
                ("x-accel-buffering", "no"),
                ("x-edictum-api", "1"),
            ):
                assert stream.headers[name] == value
            first = await deployed(console)
            events = {event.name: event for event in (await stream.next(), await stream.next())}
            update = events["contract_update"].data
            current = await agent.must("GET", "/v1/rulesets/docs-rules/current")
            verify({**update, "yaml": current["yaml"], "signature_hex": current["signature_hex"]})
            assert "yaml" not in update
            assert update == {"type": "contract_update", **{name: current[name] for name in update if name != "type"}}
            assert events["ruleset_updated"].data == {
                "name": "docs-rules",
                "env": "production",
                "version": 1,
                "revision_hash": first["revision_hash"],
                "deployment_seq": 1,
            }
            assert update["revision_hash"] == first["revision_hash"]
            again = await deployed(console, STRICTER)
            assert (await stream.named("contract_update")).data["revision_hash"] == again["revision_hash"]
            back = {"env": "production"}
            await (await console.sign_in()).must("POST", "/api/v1/bundles/docs-rules/rollback", back)
            rolled = await stream.named("contract_update")
            assert facts(rolled, "revision_hash", "deployment_seq")[1:] == (first["revision_hash"], 3)
            assert rolled.id is not None
        await until(console, 0)

    with_console(check, rhythm=NEVER)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (NAMED, ["contract_update", "ruleset_updated"]),
        (f"{NAMED}&policy_version={'0' * 64}", ["contract_update", "ruleset_updated"]),
        (f"{NAMED}&policy_version=CURRENT", []),
        ("", ["ruleset_updated"]),
        ("bundle_name=other", []),
    ],
)
def test_agent_that_connects_catches_up(with_console: WithConsole, query: str, expected: list[str]) -> None:
    async def check(console: Console) -> None:
        revision = (await deployed(console))["revision_hash"]
        async with listening(console, await console.agent(), query.replace("CURRENT", revision)) as stream:
            events = await quiet(stream, console)
            assert [event.name for event in events] == expected
            assert all(event.data["revision_hash"] == revision for event in events)

    with_console(check, rhythm=NEVER)


def test_agent_without_a_ruleset_is_assigned_one_and_follows_it(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        for name in ("a-rules", "b-rules"):
            await upload(ana, TEXT.replace("docs-rules", name))
        async with listening(console, agent) as stream:
            made = await rule(ana, "b*", "a-rules")
            # Nothing of that name is deployed yet, so there is nothing to fetch.
            await deployed(console, TEXT.replace("docs-rules", "a-rules"))
            first = await stream.named("contract_update")
            assert first.data == {"_assignment_changed": True, "bundle_name": "a-rules"}
            second = await stream.next()
            assert second.name == "assignment_changed"
            assert second.data == {
                "agent_id": "bot",
                "bundle_name": "a-rules",
                "source": "rule",
                "rule_id": made["id"],
            }
            await deployed(console, STRICTER.replace("docs-rules", "a-rules"))
            update = await stream.named("contract_update")
            assert facts(update, "bundle_name", "version") == ("contract_update", "a-rules", 2)
            await deployed(console, TEXT.replace("docs-rules", "b-rules"))
            await ana.must("PATCH", f"{RULES}/{made['id']}", {"bundle_name": "b-rules"})
            assert (await stream.named("assignment_changed")).data["bundle_name"] == "b-rules"
            await deployed(console, STRICTER.replace("docs-rules", "b-rules"))
            assert (await stream.named("contract_update")).data["bundle_name"] == "b-rules"
        # It keeps the name that it was given, and is still moved by the rules.
        async with listening(console, agent, "bundle_name=b-rules") as stream:
            await ana.must("PATCH", f"{RULES}/{made['id']}", {"bundle_name": "a-rules"})
            assert (await stream.named("assignment_changed")).data["bundle_name"] == "a-rules"
        async with listening(console, await console.agent(agent_id="builder"), NAMED) as stream:
            assert [event.name for event in await quiet(stream, console)] == []  # it insists on what it names

    with_console(check, rhythm=NEVER)


def test_operators_assignment_goes_before_what_the_agent_asks_for(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        operator = await console.person(Role.OPERATOR)
        await deployed(console)
        await deployed(console, TEXT.replace("docs-rules", "safe-rules"))
        bulk = {"env": "production", "agent_ids": ["bot"], "bundle_name": "safe-rules"}
        async with listening(console, await console.agent(), NAMED) as stream:
            await stream.named("ruleset_updated")
            await operator.must("POST", "/api/v1/agent-registrations/bulk-assign", bulk)
            moved = await stream.named("assignment_changed")
            assert facts(moved, "bundle_name", "source")[1:] == ("safe-rules", "explicit")
            (seen,) = (await operator.must("GET", "/api/v1/agents/status"))["agents"]
            assert (seen["desired_name"], seen["source"], seen["streams"]) == ("safe-rules", "explicit", 1)
        # It comes back with that name; what it asked for first counts again once nobody says otherwise.
        async with listening(console, await console.agent(), "bundle_name=safe-rules") as stream:
            await operator.must("POST", "/api/v1/agent-registrations/bulk-assign", {**bulk, "bundle_name": ""})
            moved = await stream.named("assignment_changed")
            assert facts(moved, "bundle_name", "source")[1:] == ("docs-rules", "client")

    with_console(check, rhythm=NEVER)


@pytest.mark.security
def test_tags_of_operators_decide_and_those_that_are_none_are_noted(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        for name in ("lax-rules", "safe-rules"):
            await deployed(console, TEXT.replace("docs-rules", name))
        await rule(ana, "*", "lax-rules", tag_match={"team": "lax"})
        await rule(ana, "*", "safe-rules")
        lax = "tags=" + quote(json.dumps({"team": "lax"}))
        async with listening(console, agent, lax) as stream:
            assert (await stream.named("assignment_changed")).data["bundle_name"] == "lax-rules"
            seen = await ana.must("GET", "/api/v1/agents/bot")
            path = f"/api/v1/agent-registrations/{seen['id']}"
            await ana.must("PATCH", path, {"operator_tags": {"team": "safe"}})
            assert (await stream.named("assignment_changed")).data["bundle_name"] == "safe-rules"
        async with listening(console, agent, lax) as stream:
            assert (await stream.named("assignment_changed")).data["bundle_name"] == "safe-rules"
        async with listening(console, agent, "tags=nonsense", **{"X-Edictum-Client": "test/1"}):
            seen = await ana.must("GET", "/api/v1/agents/bot")
            assert (seen["tags_ignored"], seen["client"]) == (True, "test/1")

    with_console(check, rhythm=NEVER)


async def ask(agent: Session, timeout: int = 300, action: str = "block") -> str:
    body = {"tool_name": "t", "message": "m", "timeout": timeout, "timeout_action": action}
    return str((await agent.must("POST", "/v1/approvals", body))["id"])


@pytest.mark.parametrize(("path", "denied"), [("/v1/stream", "rejected"), ("/api/v1/stream", "denied")])
def test_decisions_reach_the_agent_that_asked_and_nobody_else(
    with_console: WithConsole, path: str, denied: str
) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        async with AsyncExitStack() as stack:
            others = [await console.agent(agent_id="other"), await console.agent("staging")]
            streams = [await stack.enter_async_context(listening(console, who, path=path)) for who in [agent, *others]]
            for approved, word, reason in ((True, "approved", None), (False, denied, "not now")):
                asked = await ask(agent)
                await ana.must("PUT", f"/api/v1/approvals/{asked}", {"approved": approved, "reason": reason})
                told = await streams[0].named("approval_decided")
                assert told.data == {
                    "approval_id": asked,
                    "status": word,
                    "decided_by": "ana@example.com",
                    "decision_reason": reason,
                }
            assert await quiet(streams[1], console) == []
            assert streams[2].waiting() == []
            later = await ask(agent)
            await agent.must("POST", f"/v1/approvals/{later}/cancel")
            cancelled = await streams[0].named("approval_decided")
            assert facts(cancelled, "status", "decision_reason")[1:] == (denied, "cancelled")

    with_console(check, rhythm=NEVER)


@pytest.mark.slow
@pytest.mark.security
def test_end_of_the_time_is_told_as_a_refusal_where_agents_must_not_go_on(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        async with listening(console, agent) as stream:
            for protected, expected in ((False, "approval_timeout"), (True, "approval_decided")):
                await ana.must("PATCH", "/api/v1/environments/production", {"protected": protected})
                asked = await ask(agent, 1, "allow")
                await agent.must("GET", f"/v1/approvals/{asked}?wait=5")
                told = await stream.next()
                assert (told.name, told.data["approval_id"]) == (expected, asked)
                assert told.data.get("status", "rejected") == "rejected"

    with_console(check, rhythm=NEVER)


def test_agent_that_comes_back_hears_what_it_missed(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        ids = [await ask(agent) for _ in range(3)]
        decide = {"approved": True}
        async with listening(console, agent) as stream:
            await ana.must("PUT", f"/api/v1/approvals/{ids[0]}", decide)
            seen = await stream.named("approval_decided")
        for missed in ids[1:]:
            await ana.must("PUT", f"/api/v1/approvals/{missed}", decide)
        for query, headers in ((f"cursor={seen.id}", {}), ("", {"Last-Event-ID": str(seen.id)})):
            async with listening(console, agent, query, **headers) as stream:
                told = [await stream.next() for _ in ids[1:]]
                assert [event.data["approval_id"] for event in told] == ids[1:]
                assert await quiet(stream, console) == []
        await console.database.fetch("DELETE FROM feed WHERE seq <= {}", told[0].id)
        for cursor in (str(seen.id), "999999", "nonsense", "9" * 30):
            async with listening(console, agent, f"cursor={cursor}") as stream:
                assert (await stream.next()).name == "resync", cursor
        newest = await Outbox(await scope_of(console)).newest()
        async with listening(console, agent, f"cursor={newest}") as stream:
            assert "resync" not in {event.name for event in await quiet(stream, console)}

    with_console(check, rhythm=NEVER)


async def scope_of(console: Console) -> Any:
    from edictum_console.db.scope import Scopes

    async def wake(tenant: Any) -> None:
        pass

    (row,) = await console.database.fetch("SELECT id FROM tenants")
    identifier = row["id"]
    if isinstance(identifier, str):
        from uuid import UUID

        identifier = UUID(identifier)
    return Scopes(console.database, wake).of(identifier)


@pytest.mark.security
def test_stream_is_for_keys_of_agents_in_their_environment(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        script = await console.agent(scopes=["deploy"])
        cases: list[tuple[Session, str, int, str]] = [
            (console.anonymous, "", 401, "key_missing"),
            (Session(console.client, {"Authorization": "Bearer nonsense"}), "", 401, "invalid_key"),
            (ana, "", 403, "keys_only"),
            (script, "", 403, "scope_missing"),
            (agent, "env=staging", 403, "env_mismatch"),
            (agent, "bundle_name=a%20b", 422, "invalid"),
        ]
        for session, query, status, code in cases:
            async with listening(console, session, query) as stream:
                assert (stream.status, json.loads(stream.text)["code"]) == (status, code)
                assert stream.headers["content-type"] == "application/json"
        assert console.app.state.hub.count == 0

    with_console(check)


@pytest.mark.security
def test_stream_of_another_tenant_hears_nothing(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        other = await second_tenant(console)
        made = await other.must("POST", "/api/v1/keys", {"env": "production"})
        theirs = Session(console.client, {"Authorization": f"Bearer {made['key']}", "X-Edictum-Agent-Id": "bot"})
        await upload(other, TEXT.replace("docs-rules", "their-rules"))
        async with listening(console, theirs) as stream, listening(console, await console.agent()) as ours:
            await deployed(console)
            await ours.named("ruleset_updated")
            await other.must("POST", "/api/v1/bundles/their-rules/1/deploy", {"env": "production"})
            assert (await stream.next()).data["name"] == "their-rules"
            for person in (other, await console.sign_in()):
                (seen,) = (await person.must("GET", "/api/v1/agents/status"))["agents"]
                assert (seen["agent_id"], seen["streams"]) == ("bot", 1)

    with_console(check, rhythm=NEVER)


def test_revoked_key_ends_its_streams_with_a_word(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent, other = await console.sign_in(), await console.agent(), await console.agent()
        (_, key) = (await ana.must("GET", "/api/v1/keys"))["api_keys"]
        async with listening(console, agent) as stream, listening(console, other) as kept:
            await ana.must("DELETE", f"/api/v1/keys/{key['id']}")
            assert [event.name for event in await stream.last()] == ["key_revoked"]
            assert not stream.aborted
            await until(console, 1)
            assert await quiet(kept, console) == []
        async with listening(console, agent) as refused:
            assert refused.status == 401

    with_console(check, rhythm=NEVER)


def test_change_without_a_hint_is_told_by_the_timer(with_console: WithConsole) -> None:
    """
    A deployment whose hint is lost is found in the feed; one whose row in the feed is lost, by comparing.
    """

    async def check(console: Console) -> None:
        await deployed(console)
        scope = await scope_of(console)
        async with listening(console, await console.agent(), NAMED) as stream:
            await stream.named("ruleset_updated")
            ana = await console.sign_in()
            await upload(ana, STRICTER)
            copied = "id, tenant_id, created_at, env, bundle_id, bundle_name, bundle_version, revision_hash, kind, "
            copied += "key_id, envelope, envelope_signature, note, deployed_by"
            chosen = copied.replace("id, tenant", "{}, tenant", 1)
            from edictum_console.ids import new_id

            identifier = str(new_id()) if console.database.dialect == "sqlite" else new_id()
            await console.database.fetch(
                f"INSERT INTO deployments ({copied}, deployment_seq) SELECT {chosen}, 2 FROM deployments", identifier
            )
            assert (await stream.named("contract_update")).data["deployment_seq"] == 2
            assert (await stream.named("ruleset_updated")).data["deployment_seq"] == 2
            async with scope.transaction():  # of a scope that wakes nobody
                facts = {"approval_id": "x", "status": "approved", "decided_by": "ana", "decision_reason": None}
                await Outbox(scope).announce("approval_decided", facts, env="production", agent_id="bot")
            assert (await stream.named("approval_decided")).data["approval_id"] == "x"

    with_console(check, rhythm=Rhythm(heartbeat=3600, look=0.01, reconcile=0.05, seen=3600))


def test_heartbeats_come_and_presence_is_kept(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        async with listening(console, await console.agent()) as stream:
            before = (await ana.must("GET", "/api/v1/agents/bot"))["last_seen_at"]
            async with asyncio.timeout(20):
                while sum(comment.startswith("hb ") for comment in stream.comments) < 3:
                    await asyncio.sleep(0.01)
                while (await ana.must("GET", "/api/v1/agents/bot"))["last_seen_at"] == before:
                    await asyncio.sleep(0.01)
            live = await ana.must("GET", "/api/v1/agents/status")
            assert (live["complete"], [agent["streams"] for agent in live["agents"]]) == (True, [1])
            assert sum(live["counts"].values()) == 1
        await until(console, 0)
        assert (await ana.must("GET", "/api/v1/agents/status"))["agents"] == []

    with_console(check, rhythm=Rhythm(heartbeat=0.02, look=3600, reconcile=3600, seen=0.02))


def test_reader_that_is_too_slow_gets_the_newest_and_in_the_end_is_cut_off(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await upload(ana)
        await upload(ana, STRICTER)
        async with listening(console, agent, NAMED) as stream:
            stream.reading.clear()
            for number in range(6):
                await deploy(ana, 1 + number % 2)
            stream.reading.set()
            async with asyncio.timeout(20):
                while (update := await stream.named("contract_update")).data["deployment_seq"] < 6:
                    pass
            assert update.data["deployment_seq"] == 6
            assert len(stream.waiting()) <= 3  # those in between took the place of one another
            stream.reading.clear()
            scope = await scope_of(console)
            async with scope.transaction():
                for number in range(MOST_FRAMES + 2):
                    facts = {"approval_id": str(number), "status": "approved"}
                    facts |= {"decided_by": "ana", "decision_reason": ""}
                    await Outbox(scope).announce("approval_decided", facts, env="production", agent_id="bot")
            await deploy(ana, 1)
            await until(console, 0)
            assert stream.aborted

    with_console(check, rhythm=NEVER)


def test_reader_that_takes_nothing_is_cut_off_by_heartbeats(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        async with listening(console, agent) as stream:
            stream.reading.clear()
            await until(console, 0)
            assert stream.aborted

    with_console(check, rhythm=Rhythm(heartbeat=0.02, look=3600, reconcile=3600, seen=3600))


def test_streams_are_limited_for_each_agent_and_tenant(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agents = [await console.agent(agent_id=name) for name in "abc"]
        async with AsyncExitStack() as stack:
            for who, status in ((0, 200), (0, 200), (0, 429), (1, 200), (2, 429)):
                stream = await stack.enter_async_context(listening(console, agents[who]))
                assert stream.status == status
                if status == 429:
                    assert int(stream.headers["retry-after"]) > 0
            assert console.app.state.hub.count == 3
        await until(console, 0)
        statuses = []
        for _ in range(31):
            async with listening(console, agents[2]) as stream:
                statuses.append(stream.status)
        assert statuses == [200] * 29 + [429] * 2  # one was counted above

    with_console(check, streams_per_agent=2, streams_per_tenant=3)


def test_drained_streams_are_told_and_nobody_new_is_taken_in(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        async with AsyncExitStack() as stack:
            agent = await console.agent()
            streams = [await stack.enter_async_context(listening(console, agent)) for _ in range(5)]
            console.app.state.hub.drain(0.01)
            for stream in streams:
                (event,) = await stream.last()
                assert event.name == "drain"
                assert event.id is None
                assert event.data["reconnect_in_ms"] >= 0
                assert not stream.aborted
            await until(console, 0)
            async with listening(console, agent) as refused:
                assert (refused.status, json.loads(refused.text)["code"]) == (503, "draining")

    with_console(check)


def test_deployment_at_one_replica_reaches_agents_of_the_other(console_settings: Settings) -> None:
    if console_settings.redis_url is None:
        pytest.skip("one process is alone")

    async def main() -> None:
        async with running(console_settings, NEVER) as one, running(console_settings, NEVER) as other:
            agent = await one.agent()
            async with listening(other, agent, NAMED) as stream:
                await deployed(one)
                await stream.named("contract_update")
                live = await (await one.sign_in()).must("GET", "/api/v1/agents/status")
                assert [agent["agent_id"] for agent in live["agents"]] == ["bot"]
                key = (await (await one.sign_in()).must("GET", "/api/v1/keys"))["api_keys"][0]
                await (await one.sign_in()).must("DELETE", f"/api/v1/keys/{key['id']}")
                assert (await stream.last())[-1].name == "key_revoked"

    asyncio.run(main())


def test_console_ends_though_a_cancellation_was_lost(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = asyncio.Event()

    async def tell(pulse: Pulse) -> None:
        telling.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(Pulse, "tell", tell)

    async def check(console: Console) -> None:
        await telling.wait()

    with_console(check)
