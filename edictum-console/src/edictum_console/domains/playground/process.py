"""
Running the evaluator: one process for each trial, ended when its time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from edictum_console.errors import InvalidError, UnavailableError

logger = logging.getLogger(__name__)

_EVALUATOR = "edictum_console.domains.playground.evaluator"
_READY = b"ready\n"
_AT_ONCE = 2
_PATIENCE_SECONDS = 15.0  # for a turn, and for the interpreter to start
_SECONDS = 2.0


class Evaluator:
    """
    Judges calls in processes of their own, few at a time.

    Args:
        seconds: How long one may take, once it is ready.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def judge(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """
        Judge one call; the arguments are those of :func:`~.evaluator.judge`.

        Raises:
            InvalidError: It takes too long or too much memory, or the call itself makes no sense.
            UnavailableError: Too many others wait, or no process can be started.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise UnavailableError("the playground is busy; try again later") from None
        try:
            return await self._judge(request)
        finally:
            self._turns.release()

    async def _judge(self, request: Mapping[str, Any]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-s",
            "-P",
            "-m",
            _EVALUATOR,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # and no secret of the console's
        )
        try:
            return await self._talk(process, json.dumps(request).encode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def _talk(self, process: asyncio.subprocess.Process, request: bytes) -> dict[str, Any]:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                ready = await process.stdout.readline()
        except TimeoutError:
            ready = b""
        if ready != _READY:
            logger.error("the playground's process does not start")
            raise UnavailableError("the playground cannot start a process")
        try:
            async with asyncio.timeout(self._seconds):
                reply, errors = await process.communicate(request)
        except TimeoutError:
            raise _too_costly("took longer than a trial may take", "trial_too_slow") from None
        if process.returncode != 0:
            logger.warning("the playground's process ended with %s: %s", process.returncode, _last_line(errors))
            raise _too_costly("took more time or memory than a trial may have", "trial_too_large")
        answer: dict[str, Any] = json.loads(reply)
        if "problem" in answer:
            raise InvalidError(answer["problem"], code=answer["code"])
        return answer


def _too_costly(text: str, code: str) -> InvalidError:
    return InvalidError(f"judging this call {text}; simplify the ruleset or the arguments", code=code)


def _last_line(errors: bytes) -> str:
    """
    The kind of error alone; its text may quote an argument.
    """
    lines = errors.decode(errors="replace").splitlines()
    return lines[-1].partition(":")[0][:100] if lines else "killed"
