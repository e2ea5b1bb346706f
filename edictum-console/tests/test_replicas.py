"""
Two replicas on Postgres and Redis, and what remains when each part dies while agents work.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from replicas import CURRENT_WITHIN_SECONDS, Client, Listening, Load, Replica, replicas, until
from servers import Postgres, Redis
from test_interop import Operator, variables_of
from test_rulesets import STRICTER, TEXT

pytestmark = [pytest.mark.slow, pytest.mark.fault]

_AGENTS = 12


class Fleet:
    """
    Agents with streams, load, and whoever deploys.
    """

    def __init__(self, both: list[Replica], http: httpx.AsyncClient) -> None:
        self._both = both
        self._http = http
        ana = Operator(both[0].address)
        for text in (TEXT, STRICTER):
            ana.call("POST", "/api/v1/bundles", {"yaml_content": text})
        wanted: dict[str, list[str]] = {
            "decisions": ["approvals:decide"],
            "deploy": ["deploy"],
            "events_read": ["events:read"],
        }
        kinds = ("streams", "events", "sessions", "approvals", *wanted)
        self._keys = {
            kind: ana.call("POST", "/api/v1/keys", {"env": "production", "scopes": wanted.get(kind, ["agent"])})["key"]
            for kind in kinds
        }
        self.load = Load(self.client)
        self.deployer = self.client("deploy")
        self.agents = [Listening(self.client("streams", number), f"bot-{number}") for number in range(_AGENTS)]
        self._versions = itertools.cycle([1, 2])
        self.seq = 0

    def client(self, kind: str, first: int = 0) -> Client:
        """
        Somebody with a key.
        """
        addresses: Iterator[str] = itertools.cycle(replica.address for replica in self._both)
        for _ in range(first % 2):
            next(addresses)
        return Client(self._http, addresses, {"Authorization": f"Bearer {self._keys[kind]}"})

    async def deploy(self) -> None:
        """
        Deploy another version.
        """
        path = f"/api/v1/bundles/docs-rules/{next(self._versions)}/deploy"
        done = await self.deployer.must("POST", path, {"env": "production"})
        self.seq = done["deployment_seq"]

    async def current(self) -> None:
        """
        Wait until every agent runs what is deployed.
        """
        try:
            await until(lambda: all(agent.seq == self.seq for agent in self.agents), CURRENT_WITHIN_SECONDS)
        except TimeoutError:
            late = {agent.agent_id: (agent.seq, agent.connected) for agent in self.agents if agent.seq != self.seq}
            pytest.fail(f"of deployment {self.seq} these agents do not know: {late}")


async def stored_events(client: Client) -> Counter[str]:
    """
    How often each event is in the decision log.
    """
    found: Counter[str] = Counter()
    cursor = ""
    while True:
        page = await client.must("GET", f"/v1/events?limit=500{cursor}")
        found.update(event["call_id"] for event in page["events"])
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_nothing_acknowledged_is_lost_when_a_replica_redis_or_postgres_dies(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres, redis_server: Redis
) -> None:
    async def check(both: list[Replica]) -> None:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=httpx.Timeout(15, read=20), limits=limits) as http:
            fleet = await asyncio.to_thread(Fleet, both, http)
            listening = [asyncio.create_task(agent.run()) for agent in fleet.agents]
            try:
                async with fleet.load.running():
                    await through_it_all(fleet, both)
                await nothing_is_lost(fleet)
            finally:
                for task in listening:
                    task.cancel()
                ended = await asyncio.gather(*listening, return_exceptions=True)
            assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []

    async def through_it_all(fleet: Fleet, both: list[Replica]) -> None:
        first, second = both
        await fleet.deploy()  # at the first one
        await fleet.current()
        assert {agent.connected for agent in fleet.agents} == {1}, "each is where it was from the beginning"
        await fleet.load.goes_on()

        await asyncio.to_thread(first.kill)
        await fleet.deploy()
        await fleet.current()
        await fleet.load.goes_on()
        await asyncio.to_thread(first.start)

        await asyncio.to_thread(redis_server.kill)
        await fleet.deploy()  # whose hint reaches nobody
        await fleet.current()
        await asyncio.to_thread(redis_server.start)
        await fleet.deploy()
        await fleet.current()
        await fleet.load.goes_on()

        await asyncio.to_thread(postgres.server.kill)
        refused = await http_status(second, fleet)
        await asyncio.to_thread(postgres.start)
        assert refused == 503
        await fleet.deploy()
        await fleet.current()
        await fleet.load.goes_on()

    async def http_status(replica: Replica, fleet: Fleet) -> int:
        path = f"{replica.address}/api/v1/bundles/docs-rules/1/deploy"
        async with httpx.AsyncClient(timeout=20) as http:
            answer = await http.post(path, json={"env": "production"}, headers=fleet.deployer.headers)
        return answer.status_code

    async def nothing_is_lost(fleet: Fleet) -> None:
        load, reader = fleet.load, fleet.client("events_read")
        stored = await stored_events(reader)
        assert [one for one in load.events if stored[one] != 1] == []
        agent = fleet.client("sessions")
        shared: Any = await agent.must("GET", "/v1/sessions/shared")
        assert int(shared["value"]) == len(load.counted) == len(set(load.counted)) == max(load.counted)
        asker = fleet.client("approvals")
        for approval_id, status in load.decided.items():
            assert (await asker.must("GET", f"/v1/approvals/{approval_id}"))["status"] == status

    with replicas(tmp_path, variables_of(request, "replicated")) as both:
        asyncio.run(check(both))
        for replica in both:
            text = replica.log.read_text()
            assert "the console failed" not in text
