"""
Streams while what the console stands on is away.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from consoles import Session, running
from edictum_console.domains.stream.hub import Rhythm
from edictum_console.settings import Settings
from listeners import listening
from test_rulesets import BUNDLES, STRICTER, TEXT, upload
from test_stream import NAMED

pytestmark = [pytest.mark.slow, pytest.mark.fault]

RHYTHM = Rhythm(heartbeat=0.5, look=0.1, reconcile=3600, seen=0.2)


@pytest.mark.parametrize("server", ["redis_server", "postgres"])
def test_stream_outlives_an_outage_and_is_current_afterwards(
    console_settings: Settings, request: pytest.FixtureRequest, server: str
) -> None:
    if console_settings.redis_url is None:
        pytest.skip("there is nothing that could be away")
    away: Any = request.getfixturevalue(server)
    kill = away.kill if server == "redis_server" else away.server.kill

    async def deploy(script: Session, version: int) -> int:
        answer = await script.post(f"{BUNDLES}/docs-rules/{version}/deploy", {"env": "production"})
        return answer.status_code

    async def main() -> None:
        async with running(console_settings, RHYTHM) as console:
            ana, script = await console.sign_in(), await console.agent(scopes=["deploy"])
            for text in (TEXT, STRICTER):
                await upload(ana, text)
            assert await deploy(script, 1) == 201
            async with listening(console, await console.agent(), NAMED) as stream:
                await stream.named("contract_update")
                await asyncio.to_thread(kill)
                try:
                    if server == "redis_server":
                        assert await deploy(script, 2) == 201  # whose hint reaches nobody
                        assert (await stream.named("contract_update")).data["version"] == 2
                    else:
                        assert await deploy(script, 2) == 503
                    beats = len(stream.comments)
                    async with asyncio.timeout(20):
                        while len(stream.comments) == beats:
                            await asyncio.sleep(0.01)
                finally:
                    await asyncio.to_thread(away.start)
                async with asyncio.timeout(20):
                    while await deploy(script, 1) != 201:
                        await asyncio.sleep(0.05)
                while (await stream.named("contract_update")).data["version"] != 1:
                    pass
                async with asyncio.timeout(20):
                    while (answer := await ana.get("/api/v1/agents/status")).status_code != 200:
                        await asyncio.sleep(0.05)
                    while not (live := answer.json())["complete"] or not live["agents"]:
                        answer = await ana.get("/api/v1/agents/status")
                assert [agent["streams"] for agent in live["agents"]] == [1]

    asyncio.run(main())
