"""
Session state that all agents of an environment share, kept by the console.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from math import inf, isfinite, nan
from typing import Any

from edictum import ReserveResult
from edictum.storage import Change, session_of

from edictum_client.client import EdictumServerClient
from edictum_client.errors import ServerProtocolError
from edictum_client.loop import on_client_loop
from edictum_client.retries import STATE
from edictum_client.wire import Operations, read

logger = logging.getLogger(__name__)

Operation = dict[str, Any]

_LATER_SECONDS = 0.2
_MOST_SESSIONS_WAITING = 10_000


class ServerBackend:
    """
    Counters and values at a console.  Each method is one request, and all or nothing happens.

    Whatever fails raises, and the call that needed it is blocked, after six seconds at the latest.  What only a later
    call needs, the count of failures in a row, travels with the next request of the session, or shortly afterwards.

    Args:
        client: The way to the console.
    """

    def __init__(self, client: EdictumServerClient) -> None:
        self._client = client
        self._waiting: dict[str, list[Operation]] = {}
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, key: str) -> str | None:
        """
        The value, a counter as text, or None.
        """
        (found,) = await self._done([_reading(key)])
        return _text(found.get("value"))

    async def batch_get(self, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Several values at one moment.
        """
        if not keys:
            return {}
        found = await self._done([_reading(key) for key in keys])
        return {key: _text(each.get("value")) for key, each in zip(keys, found, strict=True)}

    async def set(self, key: str, value: str) -> None:
        """
        Store a value.
        """
        await self._done([{"op": "put", "key": key, "value": value}])

    async def delete(self, key: str) -> None:
        """
        Forget a value or counter.
        """
        await self._done([{"op": "delete", "key": key}])

    async def increment(self, key: str, amount: float = 1) -> float:
        """
        Add to a counter and return its new value.
        """
        (found,) = await self._done([_adding(key, amount)])
        return _number(found.get("value"))

    async def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
        """
        Store a text if the key still holds the expected one.
        """
        (found,) = await self._done([{"op": "compare_and_set", "key": key, "expect": expected, "value": value}])
        swapped = found.get("swapped")
        if type(swapped) is not bool:
            raise ServerProtocolError("session values: the console does not say whether it stored the value")
        return swapped

    async def reserve(self, changes: Sequence[Change]) -> ReserveResult:
        """
        Add to several counters of one session if all their limits allow it, in one step.
        """
        wanted = [_adding(*change) if change[1] or change[2] is not None else _reading(change[0]) for change in changes]
        found = await on_client_loop(self._operate(wanted))
        values = [_number(each.get("value")) for each in found.results]
        if found.applied:
            return ReserveResult(True, values)
        pairs = zip(wanted, found.results, strict=True)
        full = [each["key"] for each, result in pairs if each["op"] == "increment" and not result.get("allowed")]
        return ReserveResult(False, values, full[0] if full else None)

    async def release(self, changes: Sequence[Change]) -> None:
        """
        Give back a reservation whose tool never started.
        """
        await self._done([_adding(key, -amount) for key, amount, _ in changes if amount])

    async def settle(self, changes: Sequence[Change], failures: str, success: bool) -> None:
        """
        Keep a reservation for good, and count a failure or end a row of failures.

        Args:
            changes: The reservation; the console has counted it already.
            failures: Key of the counter of failures in a row.
            success: Whether the tool did its work.
        """
        operation = {"op": "delete", "key": failures} if success else _adding(failures, 1)
        await on_client_loop(self._later(operation))

    async def flush(self) -> None:
        """
        Send what waits for the next request of its session.
        """
        await on_client_loop(self._flush())

    # --- on the client's loop -------------------------------------------------------------------

    async def _done(self, operations: list[Operation]) -> list[dict[str, Any]]:
        found = await on_client_loop(self._operate(operations))
        if not found.applied:
            raise ServerProtocolError("session values: the console did not do what has no limit")
        return found.results

    async def _operate(self, operations: list[Operation]) -> Operations:
        """
        Do operations of one session, after those of it that wait.
        """
        session = session_of(operations[0]["key"])
        before = self._waiting.pop(session, [])
        try:
            found = await self._send(session, [*before, *operations])
        except BaseException:
            self._wait(session, before)
            raise
        if not found.applied:
            self._wait(session, before)
        return Operations(found.results[len(before) :], found.applied)

    async def _send(self, session: str, operations: list[Operation]) -> Operations:
        body: Mapping[str, Any] = {"session_id": session or None, "ops": operations}
        answer = await self._client.request("POST", "/v1/sessions/ops", body=body, schedule=STATE)
        found = read(answer.body, Operations, "session values")
        if len(found.results) != len(operations):
            raise ServerProtocolError("session values: the console answered for another number of operations")
        return found

    async def _later(self, operation: Operation) -> None:
        if self._closed:
            logger.warning("the outcome of a call was not counted: it came after the end of the connection")
            return
        session = session_of(operation["key"])
        waiting = self._waiting.get(session)
        if operation["op"] == "delete":
            # Nothing that was counted before matters any more.
            waiting = [each for each in waiting or () if each["key"] != operation["key"]]
        elif waiting and waiting[-1]["op"] == "increment" and waiting[-1]["key"] == operation["key"]:
            last = waiting.pop()
            operation = _adding(operation["key"], last["amount"] + operation["amount"])
        self._waiting[session] = [*(waiting or ()), operation]
        if len(self._waiting) > _MOST_SESSIONS_WAITING:
            self._waiting.pop(next(iter(self._waiting)))
            logger.warning("the outcome of a call was not counted: too many sessions wait for the console")
        self._send_soon()

    def _wait(self, session: str, before: list[Operation]) -> None:
        """
        Put operations back that were not done, before those that came meanwhile.
        """
        if before:
            self._waiting[session] = [*before, *self._waiting.get(session, ())]
            self._send_soon()

    def _send_soon(self) -> None:
        if not self._closed and (self._sender is None or self._sender.done()):
            self._sender = asyncio.get_running_loop().create_task(self._soon())

    async def _soon(self) -> None:
        pause = _LATER_SECONDS
        while self._waiting:
            await asyncio.sleep(pause)
            try:
                await self._flush()
            except Exception as error:
                # It waits on; the session's next call needs the console anyway, and is blocked without it.
                logger.info("the outcome of calls could not be counted yet: %s", error)
                pause = min(pause * 2, 10.0)
            else:
                pause = _LATER_SECONDS

    async def _flush(self) -> None:
        sending = [self._send_waiting(session) for session in self._waiting]
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _send_waiting(self, session: str) -> None:
        # Taken here: if this is cancelled before it begins, nothing is lost.
        operations = self._waiting.pop(session, None)
        if operations is None:
            return
        try:
            await self._send(session, operations)
        except BaseException:
            self._wait(session, operations)
            raise

    async def close(self) -> None:
        """
        Send what waits, as far as the console can be reached, and end.
        """
        await on_client_loop(self._close())

    async def _close(self) -> None:
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        try:
            await self._flush()
        except Exception as error:
            logger.warning("the outcome of the last calls was not counted: %s", error)
            self._waiting.clear()


def _reading(key: str) -> Operation:
    return {"op": "get", "key": key}


def _adding(key: str, amount: float, most: float | None = None) -> Operation:
    operation: Operation = {"op": "increment", "key": key, "amount": amount}
    # Without an end is written as no limit at all: JSON has no infinity.
    return operation if most is None or most == inf else {**operation, "max": most}


def _number(value: object) -> float:
    """
    A counter: a number, or the text of one where it was read; what was never counted is 0.
    """
    if value is None:
        return 0
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else nan
    except ValueError:
        number = nan
    if not isfinite(number):
        raise ServerProtocolError("session values: a counter at the console is not a number")
    return int(number) if number.is_integer() else number


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ServerProtocolError("session values: the console answered a value that is not text")
    return value
