"""
An agent with the published client, in that client's own environment: prints one line for each thing that it sees.

Arguments: the console's address, an API key, the public key that rulesets are signed with.
"""

from __future__ import annotations

import asyncio
import sys

from edictum import Edictum, EdictumDenied


async def main(url: str, api_key: str, public_key: str) -> None:
    guard = await Edictum.from_server(
        url=url,
        api_key=api_key,
        agent_id="docs-agent",
        env="production",
        bundle_name="docs-rules",
        verify_signatures=True,
        signing_public_key=public_key,
        allow_insecure=True,
    )

    async def tool(**arguments: str) -> str:
        return "done"

    async def call(name: str, **arguments: str) -> None:
        try:
            outcome = await guard.run(name, arguments, tool, session_id="session-1")
        except EdictumDenied as error:
            outcome = f"blocked: {error}"
        print(name, *arguments.values(), outcome, flush=True)

    await call("read_file", path="a.txt")
    await call("read_file", path=".env")
    await call("delete_records", table="drafts")
    await call("delete_records", table="users")
    for _ in range(3):
        await call("read_file", path="a.txt")
    await guard.close()


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 90))
