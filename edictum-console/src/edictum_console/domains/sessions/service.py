"""
Reading and changing session values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from edictum_console.domains.sessions.schemas import (
    Amount,
    Counter,
    Deleted,
    Keys,
    NewValue,
    OperationKind,
    OperationResults,
    SessionOperation,
    SessionOperations,
    StoredValue,
    Values,
)
from edictum_console.errors import ConflictError, NotFoundError, unfit
from edictum_console.state.operations import (
    LARGEST,
    CompareAndSet,
    Delete,
    Increment,
    Operation,
    Outcome,
    Put,
    number_of,
)
from edictum_console.state.operations import Get as Read
from edictum_console.state.ports import Once, Place, SessionValues

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_KEY = 1024
_LONGEST_VALUE = 64 * 1024


class SessionService:
    """
    The session values of one environment.
    """

    def __init__(self, values: SessionValues, place: Place, once: Once | None) -> None:
        self._values = values
        self._place = place
        self._once = once

    async def read(self, key: str) -> StoredValue:
        """
        Return a value.

        Raises:
            NotFoundError: There is none.
        """
        _check_key(key, ("key",))
        value = (await self._values.read(self._place, [key]))[key]
        if value is None:
            raise _missing()
        return StoredValue(key, value)

    async def write(self, key: str, new: NewValue) -> StoredValue:
        """
        Write a value.
        """
        _check_key(key, ("key",))
        _check_value(new.value, ("value",))
        (outcome,) = await self._apply([Put(key, new.value, _lifetime(new.ttl_seconds))])
        return StoredValue(key, str(outcome.value))

    async def delete(self, key: str) -> Deleted:
        """
        Delete a value.

        Raises:
            NotFoundError: There is none.
        """
        _check_key(key, ("key",))
        (outcome,) = await self._apply([Delete(key)])
        if not outcome.done:
            raise _missing()
        return Deleted()

    async def increment(self, key: str, amount: Amount) -> Counter:
        """
        Add to a counter.
        """
        _check_key(key, ("key",))
        _check_number(amount.amount, ("amount",))
        (outcome,) = await self._apply([Increment(key, amount.amount)])
        return Counter(key, _number(outcome))

    async def batch(self, keys: Keys) -> Values:
        """
        Return many values.
        """
        for index, key in enumerate(keys.keys):
            _check_key(key, ("keys", index))
        return Values(await self._values.read(self._place, list(dict.fromkeys(keys.keys))))

    async def operate(self, body: SessionOperations) -> OperationResults:
        """
        Do a list of operations, or nothing.
        """
        operations = [_operation(operation, index) for index, operation in enumerate(body.ops)]
        done = await self._values.apply(self._place, operations, self._once)
        pairs = zip(body.ops, done.outcomes, strict=True)
        return OperationResults([_result(operation.op, outcome) for operation, outcome in pairs], done.applied)

    async def _apply(self, operations: Sequence[Operation]) -> tuple[Outcome, ...]:
        return (await self._values.apply(self._place, operations, self._once)).outcomes


def _operation(body: SessionOperation, index: int) -> Operation:
    place = ("ops", index)
    _check_key(body.key, (*place, "key"))
    match body.op:
        case OperationKind.GET:
            return Read(body.key)
        case OperationKind.DELETE:
            return Delete(body.key)
        case OperationKind.INCREMENT:
            _check_number(body.amount, (*place, "amount"))
            if body.max is not None:
                _check_number(body.max, (*place, "max"))
            return Increment(body.key, body.amount, body.max)
        case OperationKind.PUT:
            return Put(body.key, _value(body, place), _lifetime(body.ttl_seconds))
        case OperationKind.COMPARE_AND_SET:
            return CompareAndSet(body.key, body.expect, _value(body, place))


def _result(kind: OperationKind, outcome: Outcome) -> dict[str, Any]:
    match kind:
        case OperationKind.GET | OperationKind.PUT:
            return {"value": outcome.value}
        case OperationKind.DELETE:
            return {"deleted": outcome.done}
        case OperationKind.INCREMENT:
            return {"value": _number(outcome), "allowed": outcome.done}
        case OperationKind.COMPARE_AND_SET:
            return {"swapped": outcome.done, "value": outcome.value}


def _number(outcome: Outcome) -> Any:
    """
    A counter as JSON writes it: whole where it is whole.  What is no number is shown as it is, where nothing was done.
    """
    try:
        number = number_of(outcome.value)
    except ConflictError:
        number = math.inf
    if not math.isfinite(number):
        return outcome.value
    return int(number) if number.is_integer() else number


def _lifetime(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _value(body: SessionOperation, place: tuple[str | int, ...]) -> str:
    if body.value is None:
        raise unfit((*place, "value"), "is missing")
    _check_value(body.value, (*place, "value"))
    return body.value


def _check_key(key: str, place: tuple[str | int, ...]) -> None:
    if not 1 <= len(key.encode()) <= _LONGEST_KEY or _CONTROL.search(key):
        raise unfit(place, f"must be 1 to {_LONGEST_KEY} bytes of text without control characters")


def _check_value(value: str, place: tuple[str | int, ...]) -> None:
    if len(value.encode()) > _LONGEST_VALUE:
        raise unfit(place, f"must be at most {_LONGEST_VALUE} bytes")


def _check_number(number: float, place: tuple[str | int, ...]) -> None:
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise unfit(place, "must be a number of at most 2^53 in size")


def _missing() -> NotFoundError:
    return NotFoundError("there is no value under this key", "value_not_found")
