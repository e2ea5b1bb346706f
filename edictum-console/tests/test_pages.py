"""
What pages are told by their streams.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from consoles import Console, Session, WithConsole, running
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.security.actor import Role
from edictum_console.settings import Settings
from edictum_console.workers import Watch, Worker
from listeners import listening
from test_agents import report
from test_approvals import ask
from test_events import deliver, happened
from test_rulesets import STRICTER, upload
from test_stream import deployed
from test_tenants import second_tenant

PATH = "/api/v1/stream/dashboard"
FAST = Rhythm(pulse=0.01)


async def heard(stream: Any, *names: str) -> dict[str, dict[str, Any]]:
    """
    What a page was told, until all of these were.
    """
    found: dict[str, dict[str, Any]] = {}
    while not set(names) <= found.keys():
        event = await stream.next()
        found[event.name] = event.data
    return found


def test_page_is_told_what_changes_and_nothing_that_is_secret(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        viewer, agent = await console.person(Role.VIEWER), await console.agent()
        eve = await second_tenant(console)
        async with listening(console, viewer, path=PATH) as page, listening(console, eve, path=PATH) as other:
            assert page.status == 200
            made = await ask(agent, tool_args={"path": "secret.txt"})
            await console.agent(agent_id=None, label="second")
            await deployed(console)
            await deliver(agent, happened(), happened(1, action="call_denied"), happened())
            await report(agent, policy_version="1" * 64)
            await report(agent, state="rejected", error="does not load")
            async with listening(console, agent):
                pass
            found = await heard(
                page,
                "approval_created",
                "api_key_created",
                "bundle_uploaded",
                "bundle_deployed",
                "event_created",
                "agent_applied",
                "agent_rejected",
                "agent_connected",
                "agent_disconnected",
            )
            approval = found["approval_created"]
            assert (approval["approval_id"], approval["agent_id"], approval["env"]) == (made["id"], "bot", "production")
            assert (approval["tool_name"], approval["message"]) == (made["tool_name"], made["message"])
            assert found["bundle_deployed"]["bundle_name"] == "docs-rules"
            assert found["event_created"] == {
                "accepted": 2,
                "env": "production",
                "counts": {"allowed": 1, "blocked": 1},
            }
            who = {"agent_id": "bot", "env": "production"}
            assert found["agent_applied"] == {**who, "revision_hash": "1" * 64}
            assert found["agent_rejected"] == {**who, "revision_hash": "1" * 64, "error": "does not load"}
            assert found["agent_connected"] == found["agent_disconnected"] == who
            assert "secret.txt" not in page.text
            await upload(eve)
            assert (await other.next()).name == "bundle_uploaded"

    with_console(check, FAST)


def test_page_is_told_how_a_decision_came_about(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        made = await ask(agent)
        async with listening(console, ana, "topics=approvals", PATH) as page:
            await ana.must("PUT", f"/api/v1/approvals/{made['id']}", {"approved": True, "reason": "fine"})
            decided = (await page.named("approval_decided")).data
            assert (decided["approval_id"], decided["status"]) == (made["id"], "approved")
            assert (decided["decided_by"], decided["decided_via"]) == ("ana@example.com", "console")

    with_console(check, FAST)


def test_pages_of_all_tenants_are_told_when_a_worker_fails_and_when_it_works_again(with_console: WithConsole) -> None:
    async def nothing() -> None:
        pass

    async def check(console: Console) -> None:
        assert "watch" in [worker.name for worker in console.app.state.workers]
        ana, eve = await console.sign_in(), await second_tenant(console)
        worker = Worker("rollups", timedelta(seconds=10), nothing)
        watch = Watch([worker], console.app.state.pulse)
        async with (
            listening(console, ana, path=PATH) as page,
            listening(console, eve, path=PATH) as other,
            listening(console, ana, "topics=approvals", PATH) as quiet,
        ):
            succeeded = worker.succeeded_at + timedelta(hours=1)
            for status, worker.failing, worker.succeeded_at in (
                ("failing", True, succeeded),
                ("late", True, succeeded - timedelta(hours=2)),
                ("ok", False, succeeded),
            ):
                for _ in range(2):  # told once
                    await watch.look()
                for told in (page, other):
                    assert (await told.named("worker_status")).data == {"worker": "rollups", "status": status}
            await ask(await console.agent())
            assert (await quiet.next()).name == "approval_created"

    with_console(check, FAST)


def test_page_may_choose_topics(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        async with listening(console, ana, "topics=approvals,deployments", PATH) as page:
            await deliver(agent, happened())
            await report(agent, policy_version="1" * 64)
            await asyncio.sleep(0.1)
            await upload(ana)
            await ask(agent)
            assert [(await page.next()).name for _ in range(2)] == ["bundle_uploaded", "approval_created"]
        for text in ("approvals,all", "Approvals"):
            assert (await ana.get(f"{PATH}?topics={text}")).json()["errors"][0]["loc"] == ["topics"]

    with_console(check, FAST)


@pytest.mark.security
def test_stream_of_pages_is_for_people_and_ends_with_their_login(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator, agent = await console.sign_in(), await console.person(Role.OPERATOR), await console.agent()
        assert (await console.anonymous.get(PATH)).status_code == 401
        assert (await agent.get(PATH)).status_code == 403
        pair = await ana.must("POST", "/api/v1/auth/token", {})
        script = Session(console.client, {"Authorization": f"Bearer {pair['access_token']}"})
        assert (await script.get(PATH)).json()["code"] == "login_only"
        (row,) = [user for user in (await ana.must("GET", "/api/v1/users"))["users"] if user["role"] == "operator"]
        async with listening(console, ana, path=PATH) as mine, listening(console, operator, path=PATH) as theirs:
            await ana.must("PATCH", f"/api/v1/users/{row['id']}", {"disabled": True})
            assert (await theirs.next()).name == "signed_out"
            await upload(ana)
            assert (await mine.next()).name == "bundle_uploaded"
            await ana.must("POST", "/api/v1/auth/logout")
            assert (await mine.next()).name == "signed_out"

    with_console(check, Rhythm(reconcile=0.05))


def test_page_that_comes_back_is_told_to_look_anew_if_it_missed_something(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana = await console.sign_in()
        async with listening(console, ana, path=PATH) as page:
            await upload(ana)
            seen = (await page.next()).id
        back = Session(ana.client, {**ana.headers, "Last-Event-ID": str(seen)})
        async with listening(console, back, path=PATH) as page:
            await upload(ana, STRICTER)
            event = await page.next()
            assert (event.name, event.id) == ("bundle_uploaded", (seen or 0) + 1)
        async with listening(console, back, path=PATH) as page:
            assert (await page.next()).name == "resync"

    with_console(check)


def test_person_holds_so_many_pages_and_no_more(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, operator = await console.sign_in(), await console.person(Role.OPERATOR)
        async with AsyncExitStack() as pages:
            for _ in range(20):
                await pages.enter_async_context(listening(console, ana, path=PATH))
            async with listening(console, ana, path=PATH) as one_more:
                assert (one_more.status, one_more.headers["retry-after"]) == (429, "30")
            async with listening(console, operator, path=PATH) as other:
                assert other.status == 200

    with_console(check)


def test_what_happens_at_one_replica_is_told_to_pages_of_the_other(console_settings: Settings) -> None:
    if console_settings.redis_url is None:
        pytest.skip("one process")

    async def check() -> None:
        async with running(console_settings, FAST) as first, running(console_settings, FAST) as second:
            ana, agent = await first.sign_in(), await second.agent()
            async with listening(first, ana, "topics=events", PATH) as page:
                await deliver(agent, happened())
                assert (await page.next()).data["counts"] == {"allowed": 1}

    asyncio.run(check())
