"""
Asking people: exactly what published clients expect, and that one decision counts.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from consoles import Console, Session, WithConsole
from edictum_console.db.database import Database
from edictum_console.security.actor import Role

ASK = {"tool_name": "delete_records", "message": "needs a human", "tool_args": {"table": "users"}}
PATH = "/v1/approvals"


async def ask(agent: Session, **others: Any) -> Any:
    return await agent.must("POST", PATH, {**ASK, **others})


async def end(console: Console, approval: Any) -> None:
    """
    Let the time of a request be over.
    """
    past = datetime.now(UTC) - timedelta(seconds=1)
    await console.database.fetch("UPDATE approvals SET expires_at = {} WHERE id = {}", past, UUID(approval["id"]))


def test_request_has_the_shape_of_the_protocol(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        body = {**ASK, "agent_id": "bot", "timeout": 60, "timeout_action": "deny", "session_id": "s", "newer": 1}
        answer = await agent.post(
            PATH, {**body, "contract_name": "ask-deletes", "principal": {"user": "ana"}, "metadata": {"k": 1}}
        )
        assert answer.status_code == 201
        made = answer.json()
        UUID(made["id"])
        expected = {
            "status": "pending",
            "agent_id": "bot",
            "env": "production",
            "tool_name": "delete_records",
            "tool_args": {"table": "users"},
            "message": "needs a human",
            "session_id": "s",
            "rule_name": "ask-deletes",
            "timeout_seconds": 60,
            "timeout_action": "block",
            "principal": {"user": "ana"},
            "metadata": {"k": 1},
            "decided_by": None,
            "decided_at": None,
            "decided_via": None,
            "decision_reason": None,
            "quorum": 1,
            "votes": [],
        }
        assert expected == {name: made[name] for name in expected}
        times = [datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at")]
        assert times[1] - times[0] == timedelta(seconds=60)
        shown = await agent.must("GET", f"{PATH}/{made['id']}")
        assert {**made, "last_polled_at": ""} == {**shown, "last_polled_at": ""}
        listed = await agent.must("GET", f"{PATH}?status=pending&agent_id=bot&session_id=s&env=production")
        assert ([made["id"]], None) == ([one["id"] for one in listed["approvals"]], listed["next_cursor"])
        assert (await agent.must("GET", f"{PATH}?status=approved"))["approvals"] == []

    with_console(check)


@pytest.mark.parametrize(
    ("approved", "current", "older"), [(True, "approved", "approved"), (False, "rejected", "denied")]
)
def test_decision_is_written_in_the_words_of_each_dialect(
    with_console: WithConsole, approved: bool, current: str, older: str
) -> None:
    async def check(console: Console) -> None:
        agent, operator = await console.agent(), await console.person(Role.OPERATOR)
        made = await ask(agent)
        path = f"/api/v1/approvals/{made['id']}"
        decided = await operator.must("PUT", path, {"approved": approved, "reason": "because"})
        assert older == decided["status"]
        shown = await agent.must("GET", f"{PATH}/{made['id']}")
        assert (current, "operator@example.com", "console", "because", "because") == tuple(
            shown[name] for name in ("status", "decided_by", "decided_via", "decision_reason", "reason")
        )
        again = await operator.send("PUT", path, {"approved": not approved})
        assert (409, older, "already_decided") == (again.status_code, again.json()["status"], again.json()["code"])
        log = await (await console.sign_in()).must("GET", "/api/v1/audit-log?limit=1")
        assert (made["id"], "because") == (log["entries"][0]["object"], log["entries"][0]["details"]["reason"])

    with_console(check)


def test_older_agents_ask_in_their_words(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        made = await agent.must("POST", "/api/v1/approvals", {**ASK, "timeout_effect": "allow", "contract_name": "c"})
        assert tuple(made[n] for n in ("timeout_effect", "timeout_action", "contract_name")) == ("allow", "allow", "c")
        bare = await agent.must("GET", "/api/v1/approvals?limit=5")
        assert [made["id"]] == [one["id"] for one in bare]
        await end(console, made)
        assert (await agent.must("GET", f"/api/v1/approvals/{made['id']}"))["status"] == "timeout"
        assert (await agent.must("GET", f"{PATH}/{made['id']}"))["status"] == "timed_out"

    with_console(check)


def test_one_of_many_decisions_at_once_counts(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        made = await ask(agent)
        path = f"/api/v1/approvals/{made['id']}"
        tries = (ana.send("PUT", path, {"approved": bool(n % 2), "reason": str(n)}) for n in range(50))
        answers = await asyncio.gather(*tries)
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert (len(won), [answer.status_code for answer in answers].count(409)) == (1, 49)
        assert {won[0]["decision_reason"]} == {answer.json()["decision_reason"] for answer in answers}

    with_console(check)


def test_request_that_is_over_is_never_approved(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        made = await ask(agent, timeout=1)
        path = f"/api/v1/approvals/{made['id']}"
        expires_at = datetime.fromisoformat(made["expires_at"])
        while datetime.now(UTC) < expires_at - timedelta(milliseconds=20):
            await asyncio.sleep(0.005)
        answer = await ana.send("PUT", path, {"approved": True})  # at the very end of its time
        shown = answer.json()
        if answer.status_code == 200:
            assert datetime.fromisoformat(shown["decided_at"]) < expires_at
        else:
            assert (answer.status_code, shown["status"]) == (409, "timeout")
        second = await ask(agent)
        await end(console, second)
        late = await ana.send("PUT", f"/api/v1/approvals/{second['id']}", {"approved": True})
        assert (late.status_code, late.json()["status"]) == (409, "timeout")

    with_console(check)


def test_decision_at_the_end_of_its_time_counts_before_it_and_never_after(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        for milliseconds, status, word in ((-1, 200, "approved"), (0, 409, "timeout"), (1, 409, "timeout")):
            made = await ask(agent)
            then = datetime.fromisoformat(made["expires_at"]) + timedelta(milliseconds=milliseconds)

            async def now(self: Database, then: datetime = then) -> datetime:
                return then

            with monkeypatch.context() as patch:
                patch.setattr(type(console.database), "now", now)
                answer = await ana.send("PUT", f"/api/v1/approvals/{made['id']}", {"approved": True})
                assert (answer.status_code, answer.json()["status"]) == (status, word)
            assert (await agent.must("GET", f"{PATH}/{made['id']}"))["status"] == word.replace("out", "d_out")

    with_console(check)


def test_timeout_that_would_allow_blocks_in_a_protected_environment(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        await ana.must("PATCH", "/api/v1/environments/production", {"protected": True})
        made = await ask(agent, timeout_action="allow")
        await end(console, made)
        shown = await agent.must("GET", f"{PATH}/{made['id']}")
        assert (shown["status"], shown["decision_reason"]) == ("rejected", "timed_out_policy_block")
        blocking = await ask(agent)
        await end(console, blocking)
        assert (await agent.must("GET", f"{PATH}/{blocking['id']}"))["status"] == "timed_out"

    with_console(check)


def test_worker_ends_what_nobody_looks_at(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        made = [await ask(agent) for _ in range(3)]
        for one in made[:2]:
            await end(console, one)
        (expiry,) = [worker for worker in console.app.state.workers if worker.name == "approval expiry"]
        assert await expiry.work() == 2
        assert await expiry.work() == 0
        rows = await console.database.fetch("SELECT status, count(*) AS n FROM approvals GROUP BY status")
        assert {row["status"]: row["n"] for row in rows} == {"timed_out": 2, "pending": 1}
        told = await console.database.fetch("SELECT payload FROM feed WHERE kind = {}", "approval_timeout")
        assert len(told) == 2

    with_console(check)


def test_long_poll_returns_as_soon_as_it_is_decided(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, ana = await console.agent(), await console.sign_in()
        made = await ask(agent)
        waiting = asyncio.create_task(agent.must("GET", f"{PATH}/{made['id']}?wait=25"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await ana.must("PUT", f"/api/v1/approvals/{made['id']}", {"approved": True})
        async with asyncio.timeout(10):
            assert (await waiting)["status"] == "approved"
        other = await ask(agent)
        assert (await agent.must("GET", f"{PATH}/{other['id']}?wait=1"))["status"] == "pending"
        assert (await agent.get(f"{PATH}/{other['id']}?wait=26")).status_code == 422

    with_console(check)


def test_script_decides_only_with_the_scope_and_never_its_own_request(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        both = await console.agent(scopes=["agent", "approvals:decide"])
        script = await console.agent(agent_id=None, scopes=["approvals:decide"])
        made, own = await ask(agent), await ask(both)
        path, body = f"{PATH}/{made['id']}/decide", {"decision": "approved", "decided_by": "Ana", "decided_via": "bot"}
        assert (await agent.post(path, body)).json()["code"] == "scope_missing"
        assert (await both.post(f"{PATH}/{own['id']}/decide", body)).json()["code"] == "self_approval"
        for odd in ({}, {"decision": "perhaps"}, {"decision": "approve", "approved": True}):
            assert (await script.post(path, odd)).status_code == 422
        decided = await script.must("POST", path, body)
        assert decided["decided_by"].startswith("key:edk_production_")
        assert (decided["status"], decided["decided_via"]) == ("approved", "bot")
        denied = await script.must("POST", f"{PATH}/{own['id']}/decide", {"approved": False})
        assert denied["status"] == "rejected"

    with_console(check)


def test_request_is_seen_in_its_environment_and_by_its_agents_only(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        made = await ask(await console.agent())
        path = f"{PATH}/{made['id']}"
        assert (await (await console.agent("staging")).get(path)).status_code == 404
        bound = await console.agent(agent_pattern="docs-*", agent_id="docs-1")
        assert (await bound.get(path)).status_code == 404
        assert (await bound.must("GET", PATH))["approvals"] == []
        assert (await bound.post(PATH, {**ASK, "agent_id": "docs-2"})).json()["code"] == "agent_mismatch"
        unnamed = Session(console.client, {"Authorization": bound.headers["Authorization"]})
        assert (await unnamed.post(PATH, {**ASK, "agent_id": "bot"})).json()["code"] == "agent_mismatch"
        assert (await (await console.agent()).get(f"{PATH}?env=staging")).json()["code"] == "env_mismatch"

    with_console(check)


def test_agent_that_waits_no_longer_ends_its_own_request(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, other = await console.agent(), await console.agent()
        made = await ask(agent)
        path = f"{PATH}/{made['id']}"
        assert (await other.post(f"{path}/cancel")).status_code == 404
        assert (await agent.must("POST", f"{path}/cancel"))["status"] == "rejected"
        assert (await agent.must("GET", path))["decision_reason"] == "cancelled"
        assert (await agent.post(f"{path}/cancel")).status_code == 409

    with_console(check)


def test_request_that_is_repeated_is_made_once(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, name = await console.agent(), {"Idempotency-Key": "call-1"}
        made = await asyncio.gather(*(agent.must("POST", PATH, ASK, headers=name) for _ in range(4)))
        assert len({one["id"] for one in made}) == 1
        assert len((await agent.must("GET", PATH))["approvals"]) == 1
        other = await agent.post(PATH, {**ASK, "message": "another"}, headers=name)
        assert other.json()["code"] == "idempotency_key_reused"

    with_console(check)


def test_agent_that_asks_too_often_is_told_when_again(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        answers = [await agent.post(PATH, ASK) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [201] * 10 + [429]
        assert int(answers[-1].headers["retry-after"]) > 0
        another = Session(console.client, {**agent.headers, "X-Edictum-Agent-Id": "other"})
        assert (await another.post(PATH, ASK)).status_code == 201

    with_console(check)


def test_several_requests_are_decided_each_for_itself(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent, operator, viewer = (
            await console.agent(),
            await console.person(Role.OPERATOR),
            await console.person(Role.VIEWER),
        )
        made = [(await ask(agent))["id"] for _ in range(3)]
        await operator.must("PUT", f"/api/v1/approvals/{made[0]}", {"approved": False})
        missing = "018f4e5a-0000-7000-8000-000000000000"
        path, body = "/api/v1/approvals/bulk-decide", {"ids": [*made, missing], "approved": True}
        assert (await viewer.post(path, body)).json()["code"] == "role_missing"
        done = await operator.must("POST", path, body)
        words = ["already_decided", "decided", "decided", "approval_not_found"]
        assert words == [one["outcome"] for one in done["outcomes"]]

    with_console(check)


@pytest.mark.parametrize(
    "change",
    [
        {"tool_name": None},
        {"message": ""},
        {"message": "x" * 4097},
        {"timeout": 0},
        {"timeout": 86_401},
        {"timeout_action": "perhaps"},
        {"tool_args": {"a": "x" * 65_536}},
        {"tool_args": [1]},
        {"agent_id": "a b"},
    ],
)
def test_request_that_makes_no_sense_is_refused(with_console: WithConsole, change: dict[str, Any]) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent(agent_id=None)
        assert (await agent.post(PATH, {**ASK, **change})).status_code == 422

    with_console(check)
