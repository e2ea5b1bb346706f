"""
A stream that stays open for hours, on a clock that the test moves.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from consoles import EMAIL, PASSWORD, running
from edictum_console.settings import Settings
from listeners import listening, until
from test_rulesets import STRICTER
from test_stream import NAMED, deployed

STEP_SECONDS = 60
STEPS = 120


class MovedLoop(asyncio.SelectorEventLoop):
    """
    An event loop whose timers believe that it is later.
    """

    moved = 0.0

    def time(self) -> float:
        return super().time() + self.moved


def test_stream_that_is_open_for_two_hours_still_receives(tmp_path: Path) -> None:
    # Embedded only: waiting for the answer of a database server has limits in the time of the loop.
    settings = Settings(
        data_dir=tmp_path,
        secret_key=b"s" * 32,
        sealing_key=b"k" * 32,
        admin_email=EMAIL,
        admin_password=PASSWORD,
        base_url="http://console.test",
    )
    loop = MovedLoop()

    async def main() -> None:
        async with running(settings) as console:
            ana, agent = await console.sign_in(), await console.agent()
            await deployed(console)
            async with listening(console, agent, NAMED) as stream:
                assert (await stream.named("ruleset_updated")).data["version"] == 1
                for _ in range(STEPS):
                    heard = len(stream.comments)
                    loop.moved += STEP_SECONDS
                    while len(stream.comments) == heard:
                        assert not stream.gone.is_set()
                        await asyncio.sleep(0)
                assert not stream.waiting()  # nothing twice
                await deployed(console, STRICTER)
                assert (await stream.named("contract_update")).data["version"] == 2
                live = await ana.must("GET", "/api/v1/agents/status")
                assert [(one["agent_id"], one["streams"]) for one in live["agents"]] == [("bot", 1)]
            await until(console, 0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
