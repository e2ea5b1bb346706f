"""
An agent of ``chaos.py``: makes calls for ever, and writes down what it sees before anybody can kill it.

The argument is a JSON object: options of ``from_server``, and the ``ledger`` to write to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from typing import Any

from edictum import Edictum, EdictumDenied, EdictumError

READERS = 3
PAUSE_SECONDS = 0.1  # on average, between two calls of one reader
APPROVAL_PAUSE_SECONDS = 3.0
SHARED_SESSION_SECONDS = 4
CALLS_PER_SESSION = 50
FILES = ("a.txt", "b.txt", "secret.env")
_RETRY_SECONDS = 0.3


class Ledger:
    """
    A file to which whole lines are added, by one system call each.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **facts: Any) -> None:
        os.write(self._descriptor, json.dumps(facts).encode() + b"\n")


class Agent:
    """
    One guard and those who make calls under it.
    """

    def __init__(self, guard: Edictum, ledger: Ledger) -> None:
        self._guard = guard
        self._ledger = ledger
        self._serial = 0
        self.stopping = asyncio.Event()

    async def read_files(self) -> None:
        """
        Read allowed files, forbidden ones, and those that some version forbids; call what may be called seldom.
        """
        made, session = 0, ""
        while not self.stopping.is_set():
            if made % CALLS_PER_SESSION == 0:
                session = f"own-{os.getpid()}-{random.getrandbits(48)}"
            made += 1
            if random.random() < 0.3:
                shared = f"shared-{int(time.time() / SHARED_SESSION_SECONDS)}"
                await self._call("limited", {}, shared)
            else:
                path = random.choice([*FILES, f"gen-{random.randrange(1, 100)}-"])
                await self._call("read_file", {"path": path}, session)
            await self._pause(random.expovariate(1 / PAUSE_SECONDS))

    async def ask(self) -> None:
        """
        Make calls that need a person.
        """
        while not self.stopping.is_set():
            await self._pause(random.expovariate(1 / APPROVAL_PAUSE_SECONDS))
            await self._call("send_money", {"amount": random.randrange(1000)}, f"asking-{random.getrandbits(48)}")

    async def tell_rules(self) -> None:
        """
        Write down which rules are in force, whenever these are others.
        """
        told = None
        while not self.stopping.is_set():
            if self._guard.policy_version != told:
                told = self._guard.policy_version
                self._ledger.write(rules=told)
            await self._pause(0.05)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            pass

    async def _call(self, tool: str, arguments: dict[str, Any], session: str) -> None:
        self._serial += 1
        number = f"{os.getpid()}-{self._serial}-{random.getrandbits(32)}"
        begun = self._guard.policy_version

        def run(**_: Any) -> str:
            self._ledger.write(n=number, ran=tool, begun=begun, session=session, arguments=arguments)
            return "done"

        try:
            await self._guard.run(tool, {**arguments, "n": number}, run, session_id=session)
        except EdictumDenied as error:
            self._ledger.write(n=number, done="blocked", source=error.decision_source)
        else:
            self._ledger.write(n=number, done="ran", source="")


async def connected(options: dict[str, Any], ledger: Ledger) -> Edictum:
    """
    Start, as often as it takes.
    """
    while True:
        try:
            return await Edictum.from_server(**options)
        except EdictumError as error:
            ledger.write(not_started=type(error).__name__, why=str(error))
            await asyncio.sleep(_RETRY_SECONDS)


async def main(options: dict[str, Any]) -> None:
    """
    Run until a signal comes.
    """
    ledger = Ledger(options.pop("ledger"))
    guard = await connected(options, ledger)
    agent = Agent(guard, ledger)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, agent.stopping.set)
    async with asyncio.TaskGroup() as group:
        for work in (agent.tell_rules, agent.ask, *[agent.read_files] * READERS):
            group.create_task(work())
    await guard.close()
    ledger.write(closed=guard.policy_version)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(main(json.loads(sys.argv[1])))
