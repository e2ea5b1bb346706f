"""
An agent with the published client that stays connected: prints a line for each thing that it notices.

Arguments: the console's address, an API key, the public key that rulesets are signed with, the agent's id, the ruleset
that it asks for or ``-``, and paths.  It reads each path again and again until that is blocked, one after the other.
"""

from __future__ import annotations

import asyncio
import sys

from edictum import Edictum, EdictumDenied


async def main(url: str, api_key: str, public_key: str, agent_id: str, name: str, *paths: str) -> None:
    guard = await Edictum.from_server(
        url=url,
        api_key=api_key,
        agent_id=agent_id,
        env="production",
        bundle_name=None if name == "-" else name,
        tags={"team": "docs"},
        verify_signatures=True,
        signing_public_key=public_key,
        allow_insecure=True,
    )
    print("started", flush=True)

    async def tool(**arguments: str) -> str:
        return "done"

    for path in paths:
        before = None
        while True:
            try:
                outcome = await guard.run("read_file", {"path": path}, tool)
            except EdictumDenied as error:
                print(path, "blocked:", error, flush=True)
                break
            if outcome != before:
                print(path, outcome, flush=True)
                before = outcome
            await asyncio.sleep(0.05)
    await guard.close()


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 90))
