"""
Telling the console what the agent runs, and hearing what it should run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

from edictum_client.client import EdictumServerClient
from edictum_client.errors import EdictumServerError
from edictum_client.retries import LONGEST_PAUSE, ONCE, Backoff, jittered
from edictum_client.wire import Desired, Heard, read

logger = logging.getLogger(__name__)

State = Literal["starting", "applied", "rejected", "stopping"]

_LONGEST_ERROR = 2_000
_SHORTEST_PAUSE = 5.0


class Reporter:
    """
    Reports at the start, after each change, from time to time, and at the end.

    Args:
        client: The way to the console.
        facts: What is to be said besides: ruleset, revision, and events that wait or were lost.
        on_desired: Hears what the agent should run.
    """

    def __init__(
        self,
        client: EdictumServerClient,
        facts: Callable[[], dict[str, Any]],
        on_desired: Callable[[Desired], None],
    ) -> None:
        self._client = client
        self._facts = facts
        self._on_desired = on_desired
        self._state: State = "starting"
        self._error: str | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """
        Begin, on the client's loop.
        """
        self._task = asyncio.get_running_loop().create_task(self._report_for_ever())

    def say(self, state: State, error: str | None = None) -> None:
        """
        Report a change soon.

        Args:
            state: What became of the ruleset that was given last.
            error: Why it was rejected.
        """
        self._state, self._error = state, None if error is None else error[:_LONGEST_ERROR]
        self._changed.set()

    async def stop(self) -> None:
        """
        Say that the agent ends, if the console can be reached.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._state, self._error = "stopping", None
            try:
                await self._report(ONCE.lasting(3))
            except EdictumServerError as error:
                logger.info("the console was not told that the agent ends: %s", error)

    async def _report_for_ever(self) -> None:
        backoff = Backoff(_SHORTEST_PAUSE)
        while True:
            self._changed.clear()
            try:
                heard = await self._report()
            except EdictumServerError as error:
                logger.info("the console was not told what this agent runs: %s", error)
                pause = backoff.pause()
            except Exception:
                logger.exception("the console was not told what this agent runs; it is tried again")
                pause = backoff.pause()
            else:
                backoff.reset()
                pause = jittered(min(max(heard.next_in, _SHORTEST_PAUSE), 10 * LONGEST_PAUSE))
                if heard.desired is not None:
                    self._on_desired(heard.desired)
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _report(self, schedule: Any = ONCE) -> Heard:
        body = {"state": self._state, "error": self._error, **self._facts()}
        given = {name: value for name, value in body.items() if value is not None}
        answer = await self._client.request("POST", "/v1/agents/self/status", body=given, schedule=schedule)
        return read(answer.body, Heard, "the report of the agent")
