"""
Limits during an outage: what could not be tried is not counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from consoles import EMAIL, PASSWORD, Console, WithConsole
from edictum_console.db.scope import TenantScope
from edictum_console.domains.accounts.repository import PeopleLookup
from edictum_console.domains.keys.service import StoredKeys
from edictum_console.errors import UnavailableError
from test_approvals import ASK
from test_events import happened


async def away(*args: Any) -> Any:
    raise UnavailableError("the database cannot be reached at the moment")


@asynccontextmanager
async def no_transaction(scope: TenantScope) -> AsyncIterator[None]:
    await away()
    yield


def test_good_key_works_after_an_outage_however_often_it_was_tried(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        with monkeypatch.context() as outage:
            outage.setattr(StoredKeys, "find", away)
            for _ in range(40):
                assert (await agent.get("/v1/sessions/none")).status_code == 503
        assert (await agent.get("/v1/sessions/none")).status_code == 404

    with_console(check)


def test_person_can_sign_in_after_an_outage_however_often_they_tried(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(console: Console) -> None:
        ana = {"email": EMAIL, "password": PASSWORD}
        with monkeypatch.context() as outage:
            outage.setattr(PeopleLookup, "find", away)
            for _ in range(20):
                assert (await console.anonymous.post("/api/v1/auth/login", ana)).status_code == 503
        assert (await console.anonymous.post("/api/v1/auth/login", ana)).status_code == 200

    with_console(check, login_attempts=5)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/v1/approvals", ASK, 201), ("/v1/events", {"events": [happened(number) for number in range(20)]}, 200)],
)
def test_agents_that_try_again_are_not_refused_after_an_outage(
    with_console: WithConsole, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, status: int
) -> None:
    async def check(console: Console) -> None:
        agent = await console.agent()
        with monkeypatch.context() as outage:
            outage.setattr(TenantScope, "transaction", no_transaction)
            for _ in range(20):
                assert (await agent.post(path, body)).status_code == 503
        assert (await agent.post(path, body)).status_code == status

    with_console(check, events_per_minute=30)
