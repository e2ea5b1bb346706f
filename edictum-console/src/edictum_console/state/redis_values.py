"""
Session values in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from edictum_console.gathering import Gathering
from edictum_console.state.operations import (
    Applied,
    CompareAndSet,
    Delete,
    Get,
    Increment,
    Operation,
    Outcome,
    Put,
    not_a_number,
    number_text,
    refused,
    reused,
    too_large,
)
from edictum_console.state.ports import REPLY_LIFETIME, SESSION_LIFETIME, Once, Place
from edictum_console.state.redis import MEMBERS, PREFIX, failure, milliseconds, reaching, script

_ERRORS = {"not_a_number": not_a_number, "too_large": too_large, "reused": reused}
_LIFETIMES = (milliseconds(REPLY_LIFETIME), milliseconds(SESSION_LIFETIME))


@attrs.frozen
class _Request:
    """
    What one request for session values asks for, in the words of the script.

    Attributes:
        keys: The keys of the values.
        names: Their names in Redis, and what holds the answer if it is done once.
        words: What to do.
        operations: The same.
    """

    keys: list[str]
    names: list[str]
    words: list[str | int]
    operations: Sequence[Operation]

    @classmethod
    def of(cls, place: Place, operations: Sequence[Operation], once: Once | None) -> _Request:
        """
        Write a request down.
        """
        keys = list(dict.fromkeys(operation.key for operation in operations))
        names = [_value_key(place, key) for key in keys]
        words: list[str | int] = [len(keys), len(operations), "" if once is None else once.digest]
        if once is not None:
            names.append(f"{PREFIX}:{place.tenant_id}:once:{once.owner}:{once.key}")
        for operation in operations:
            kind, first, second = _words(operation)
            words += [kind, keys.index(operation.key) + 1, first, second]
        return cls(keys, names, words, operations)

    def size(self) -> int:
        """
        How many values it may change.
        """
        return len(self.operations)

    def read(self, answer: Sequence[Any]) -> Applied | Exception:
        """
        Read what the script says.
        """
        kind, *said = answer
        if kind == 1:
            pairs = zip(said[::2], said[1::2], strict=False)
            return Applied(tuple(Outcome(value, bool(done)) for value, done in pairs))
        if kind == 0:
            full, *values = said
            return refused(dict(zip(self.keys, values, strict=False)), self.operations, full)
        return _ERRORS[kind]() if kind in _ERRORS else failure(ResponseError(*said))


class RedisSessionValues:
    """
    Session values in Redis.

    What is asked for while Redis is being asked waits for the answer, and then goes there together.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._script = script(client, "apply.lua")
        self._gathering: Gathering[_Request, Applied] = Gathering(MEMBERS, _Request.size)

    async def read(self, place: Place, keys: Sequence[str]) -> dict[str, str | None]:
        """
        Return the values of all keys that are asked for.
        """
        with reaching():
            values: Any = await self._client.mget([_value_key(place, key) for key in keys])
        return dict(zip(keys, values, strict=True))

    async def apply(self, place: Place, operations: Sequence[Operation], once: Once | None = None) -> Applied:
        """
        Do all operations or none, inside Redis.
        """
        return await self._gathering.done(None, _Request.of(place, operations, once), self._apply)

    async def _apply(self, requests: Sequence[_Request]) -> list[Applied | Exception]:
        names = [name for request in requests for name in request.names]
        words = [word for request in requests for word in request.words]
        with reaching():
            answers = await self._script(keys=names, args=[*_LIFETIMES, *words])
        return [request.read(answer) for request, answer in zip(requests, answers, strict=True)]


def _value_key(place: Place, key: str) -> str:
    return f"{PREFIX}:{place.tenant_id}:{place.env}:s:{key}"


def _words(operation: Operation) -> tuple[str, str, str]:
    match operation:
        case Get():
            return "get", "", ""
        case Put(value=value, lifetime=lifetime):
            return "put", value, "" if lifetime is None else str(milliseconds(lifetime))
        case Delete():
            return "delete", "", ""
        case CompareAndSet(expect=expect, value=value):
            return "compare", "0" if expect is None else f"1{expect}", value
        case Increment(amount=amount, maximum=maximum):
            return "increment", number_text(float(amount)), "" if maximum is None else number_text(float(maximum))
