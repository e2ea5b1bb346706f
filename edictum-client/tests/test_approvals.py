"""
Approvals at a console: the suite of the core for approval backends, and what is special about a network.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any, ClassVar

import pytest
from consoles import Console, rules
from edictum import ApprovalBackend, ApprovalRequest, Edictum, EdictumDenied
from edictum.testing.suites.approval import ApprovalBackendSuite
from edictum_client import EdictumServerClient, ServerApprovalBackend, ServerUnreachableError


class TestServerApprovalBackend(ApprovalBackendSuite):
    """
    Everything that an approval backend has to do, with people at a real console.
    """

    patience: ClassVar[float] = 60.0
    soon: ClassVar[float] = 1.0
    console: ClassVar[Console]
    key: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _console(self, console: Console, key: str) -> None:
        type(self).console, type(self).key = console, key

    def make(self) -> ServerApprovalBackend:
        return backend_of(self.console, self.key)

    async def answer(self, backend: ApprovalBackend, request: ApprovalRequest, approved: bool) -> None:
        await asyncio.to_thread(self.console.decide, request.approval_id, approved)

    def break_it(self, backend: ApprovalBackend) -> bool:
        self.console.kill()
        return True

    def repair(self, backend: ApprovalBackend) -> None:
        self.console.start()

    async def close(self, backend: ApprovalBackend) -> None:
        assert isinstance(backend, ServerApprovalBackend)
        await backend._client.close()


def backend_of(console: Console, key: str) -> ServerApprovalBackend:
    return ServerApprovalBackend(EdictumServerClient(console.address, key, agent_id=f"agent-{secrets.token_hex(4)}"))


async def pending(console: Console, agent_id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            found = [each for each in await asyncio.to_thread(console.pending) if each["agent_id"] == agent_id]
            if found:
                return found[0]
            await asyncio.sleep(0.02)


async def connected(console: Console, key: str, agent_id: str, name: str, timeout: int = 20) -> Edictum:
    await asyncio.to_thread(console.deploy, rules(name, timeout=timeout))
    return await Edictum.from_server(console.address, key, agent_id, bundle_name=name)


def test_person_sees_what_is_asked_and_the_decision_arrives_at_once(
    console: Console, key: str, agent_id: str, name: str
) -> None:
    async def main() -> None:
        guard = await connected(console, key, agent_id, name)
        sent: list[int] = []
        calling = asyncio.ensure_future(guard.run("send_money", {"amount": 200, "token": "s3cret"}, send(sent)))
        asked = await pending(console, agent_id)
        assert asked["message"] == "send 200?"
        assert asked["rule_name"] == "ask-first"
        assert guard.policy_version == asked["policy_version"]
        assert "s3cret" not in str(asked)
        decided = time.monotonic()
        await asyncio.to_thread(console.decide, asked["id"], True, "it is fine")
        await calling
        assert time.monotonic() - decided < 1.5  # asking again every two seconds would be later
        assert sent == [200]
        await guard.close()
        (granted,) = [each for each in console.events(agent_id=agent_id) if each["action"] == "call_approval_granted"]
        assert "ana@example.com" in str(granted["metadata"]["approver"])

    asyncio.run(main())


def test_denial_blocks_with_the_reason(console: Console, key: str, agent_id: str, name: str) -> None:
    async def main() -> None:
        guard = await connected(console, key, agent_id, name)
        sent: list[int] = []
        calling = asyncio.ensure_future(guard.run("send_money", {"amount": 200, "token": ""}, send(sent)))
        asked = await pending(console, agent_id)
        await asyncio.to_thread(console.decide, asked["id"], False, "too much")
        with pytest.raises(EdictumDenied, match="too much"):
            await calling
        assert sent == []
        await guard.close()

    asyncio.run(main())


def test_nobody_answers_blocks(console: Console, key: str, agent_id: str, name: str) -> None:
    async def main() -> None:
        guard = await connected(console, key, agent_id, name, timeout=1)
        sent: list[int] = []
        with pytest.raises(EdictumDenied, match="in time"):
            await guard.run("send_money", {"amount": 200, "token": ""}, send(sent))
        assert sent == []
        await guard.close()

    asyncio.run(main())


def test_console_that_is_killed_while_somebody_thinks_still_brings_the_decision(
    console: Console, key: str, agent_id: str, name: str
) -> None:
    async def main() -> None:
        guard = await connected(console, key, agent_id, name, timeout=90)
        sent: list[int] = []
        calling = asyncio.ensure_future(guard.run("send_money", {"amount": 200, "token": ""}, send(sent)))
        asked = await pending(console, agent_id)
        await asyncio.to_thread(console.kill)
        await asyncio.to_thread(console.start)
        await asyncio.to_thread(console.decide, asked["id"], True)
        await calling
        assert sent == [200]
        await guard.close()

    asyncio.run(main())


@pytest.mark.parametrize("failure", ["kill", "pause"])
def test_console_that_goes_away_while_somebody_thinks_blocks(
    console: Console, key: str, agent_id: str, name: str, failure: str
) -> None:
    async def main() -> None:
        await asyncio.to_thread(console.deploy, allowing(name))
        guard = await Edictum.from_server(console.address, key, agent_id, bundle_name=name)
        sent: list[int] = []
        calling = asyncio.ensure_future(guard.run("send_money", {"amount": 200, "token": ""}, send(sent)))
        await pending(console, agent_id)
        await asyncio.to_thread(getattr(console, failure))
        try:
            # The rule lets pass what nobody answers; a console that is away has not said that nobody did.
            with pytest.raises(EdictumDenied):
                await calling
        finally:
            await asyncio.to_thread(console.start if failure == "kill" else console.resume)
        assert sent == []
        await guard.close()

    asyncio.run(main())


def test_agent_that_gives_up_takes_its_question_back(console: Console, key: str, agent_id: str, name: str) -> None:
    async def main() -> None:
        guard = await connected(console, key, agent_id, name)
        calling = asyncio.ensure_future(guard.run("send_money", {"amount": 200, "token": ""}, send([])))
        asked = await pending(console, agent_id)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        async with asyncio.timeout(20):
            path = f"/api/v1/approvals/{asked['id']}"
            while (await asyncio.to_thread(console.call, "GET", path))["status"] == "pending":
                await asyncio.sleep(0.02)
        await guard.close()

    asyncio.run(main())


def test_wait_for_a_decision_ends_with_the_connection(console: Console, key: str, agent_id: str) -> None:
    async def main() -> None:
        client = EdictumServerClient(console.address, key, agent_id=agent_id)
        backend = ServerApprovalBackend(client)
        asked = await backend.request_approval("send_money", {}, "too much", timeout=3600)
        waiting = asyncio.ensure_future(backend.wait_for_decision(asked.approval_id))
        await pending(console, agent_id)
        await client.close()
        async with asyncio.timeout(20):
            with pytest.raises(ServerUnreachableError):
                await waiting

    asyncio.run(main())


def send(sent: list[int]) -> Any:
    def send_money(amount: int, token: str) -> str:
        sent.append(amount)
        return "sent"

    return send_money


def allowing(name: str) -> str:
    return rules(name, timeout=4).replace("timeout: 4", "timeout: 4, timeout_action: allow")
