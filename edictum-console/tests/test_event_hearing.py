"""
What the registry of agents learns from their events.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from consoles import Console, Session, WithConsole
from edictum_console.domains.agents.service import AgentService, Heard
from edictum_console.domains.events.hearing import Hearing
from edictum_console.errors import UnavailableError
from test_agents import NEW, OLD, report, seen
from test_events import deliver, happened, listed


def ran(policy_version: str | None, late: timedelta = timedelta(0), number: int = 0, **changes: Any) -> dict[str, Any]:
    """
    An event of now, or of some time ago.
    """
    at = (datetime.now(UTC) - late).isoformat()
    return happened(number, policy_version=policy_version, timestamp=at, **changes)


def test_events_show_what_an_agent_runs(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent(agent_id=None)
        await deliver(agent, ran(None, agent_id="silent"), ran(OLD, number=1), ran(None, number=2))
        assert (await seen(ana, "silent"))["applied_revision"] is None
        assert (await seen(ana))["applied_revision"] == OLD
        await report(Session(agent.client, {**agent.headers, "X-Edictum-Agent-Id": "bot"}), state="rejected", error="x")
        await deliver(agent, ran(OLD, timedelta(seconds=1)), ran(NEW, number=1), ran(OLD, timedelta(seconds=2), 2))
        found = await seen(ana)
        assert [found[name] for name in ("applied_revision", "last_error", "state")] == [NEW, None, "unknown"]

    with_console(check)


def test_agent_whose_newest_events_name_no_ruleset_is_ungoverned(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await deliver(agent, ran(None))
        assert (await seen(ana))["state"] == "ungoverned"
        await deliver(agent, ran(OLD, number=1))
        assert (await seen(ana))["state"] == "unknown"  # nothing is deployed that it should run
        await report(agent, policy_version=NEW)
        await deliver(agent, ran(None, timedelta(minutes=5), number=2))
        assert (await seen(ana))["state"] == "unknown"  # that was before
        await deliver(agent, ran(None, number=3))
        assert (await seen(ana))["state"] == "ungoverned"
        await report(agent, policy_version=NEW)
        assert (await seen(ana))["state"] == "unknown"

    with_console(check)


def test_events_that_come_late_do_not_undo_what_is_known(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()
        await report(agent, policy_version=NEW)
        assert (await deliver(agent, ran(OLD, timedelta(minutes=5))))["accepted"] == 1
        assert (await seen(ana))["applied_revision"] == NEW
        await deliver(agent, ran(OLD))
        assert (await seen(ana))["applied_revision"] == OLD

    with_console(check)


def test_refused_events_say_nothing_about_agents(with_console: WithConsole) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        await deliver(agent, ran(NEW, action="no!"))
        assert (await (await console.sign_in()).get("/api/v1/agents/bot")).status_code == 404

    with_console(check)


def test_registry_is_asked_once_for_a_batch_and_again_only_for_news(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[Heard]] = []
    original = AgentService.heard

    async def heard(service: AgentService, env: str, said: list[Heard]) -> set[str]:
        told.append(said)
        return await original(service, env, said)

    monkeypatch.setattr(AgentService, "heard", heard)

    async def check(console: Console) -> None:
        agent = await console.agent(agent_id=None)
        both = [ran(OLD, number=n, agent_id=name) for n in range(20) for name in ("bot", "other")]
        for _ in range(3):
            await deliver(agent, *both)
        await deliver(agent, ran(NEW))
        assert [sorted((one.agent_id, one.policy_version) for one in said) for said in told] == [
            [("bot", OLD), ("other", OLD)],
            [("bot", NEW)],
        ]
        console.app.state.hearing = Hearing(again_after=timedelta(0))
        for _ in range(2):
            await deliver(agent, ran(NEW))
        assert len(told) == 4

    with_console(check)


def test_events_are_acknowledged_while_the_registry_cannot_be_reached(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(console: Console) -> None:
        ana, agent = await console.sign_in(), await console.agent()

        async def heard(service: AgentService, env: str, said: list[Heard]) -> None:
            raise UnavailableError("the database cannot be reached at the moment")

        with monkeypatch.context() as away:
            away.setattr(AgentService, "heard", heard)
            assert (await deliver(agent, ran(OLD)))["accepted"] == 1
        assert await listed(ana) == ["call-0"]
        assert (await deliver(agent, ran(OLD)))["accepted"] == 1
        assert (await seen(ana))["applied_revision"] == OLD

    with_console(check)
