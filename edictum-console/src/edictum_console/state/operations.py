"""
What can be done to session values, and what comes of it: a plain sequential model.

The store in the database computes by these functions; the script for Redis does the same inside Redis, and a property
test compares the two.  Values are text.  Numbers are computed as doubles, as the script does, and stay below 2**53 in
size, so that whole ones are exact; a whole number is written without a fraction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeAlias

import attrs

from edictum_console.errors import ConflictError, InvalidError

LARGEST = 2.0**53
_NUMBER = re.compile(r"-?[0-9]+\.?[0-9]*[eE]?[+-]?[0-9]*")


@attrs.frozen
class Get:
    """
    Read a value.
    """

    key: str


@attrs.frozen
class Put:
    """
    Write a value; ``lifetime`` replaces the usual one.
    """

    key: str
    value: str
    lifetime: timedelta | None = None


@attrs.frozen
class Delete:
    """
    Remove a value.
    """

    key: str


@attrs.frozen
class Increment:
    """
    Add to a counter; if that would pass ``maximum``, no operation of the list is done.
    """

    key: str
    amount: float = 1
    maximum: float | None = None


@attrs.frozen
class CompareAndSet:
    """
    Write a value if the present one is ``expect``; None expects none.
    """

    key: str
    expect: str | None
    value: str


Operation: TypeAlias = Get | Put | Delete | Increment | CompareAndSet


@attrs.frozen
class Outcome:
    """
    What came of one operation.

    Attributes:
        value: The value after it.
        done: Whether an increment had room, a comparison held, or there was something to delete.
    """

    value: str | None
    done: bool = True


@attrs.frozen
class Applied:
    """
    What came of a list of operations.

    Attributes:
        outcomes: One for each.
        applied: Whether they were done.
    """

    outcomes: tuple[Outcome, ...]
    applied: bool = True


@attrs.frozen
class Write:
    """
    What a key is to hold; ``lifetime`` is None for the usual one.
    """

    value: str | None
    lifetime: timedelta | None = None


def compute(values: Mapping[str, str | None], operations: Sequence[Operation]) -> tuple[Applied, dict[str, Write]]:
    """
    Do operations in thought.

    Args:
        values: The present values of all their keys.
        operations: What to do.

    Returns:
        What came of it, and what is to be written, which is nothing if it is not applied.

    Raises:
        ConflictError: An increment meets a value that is no number.
        InvalidError: A counter would pass what numbers can hold exactly.
    """
    present = dict(values)
    writes: dict[str, Write] = {}
    outcomes: list[Outcome] = []
    for index, operation in enumerate(operations):
        before = present[operation.key]
        outcome, write = _one(before, operation)
        if isinstance(operation, Increment) and not outcome.done:
            return refused(values, operations, index), {}
        outcomes.append(outcome)
        if write is not None:
            writes[operation.key] = write
            present[operation.key] = write.value
    return Applied(tuple(outcomes)), writes


def refused(values: Mapping[str, str | None], operations: Sequence[Operation], full: int) -> Applied:
    """
    Say what the operations of a list found that was not done, because a counter would have passed its maximum.

    The increments before that one had room; it and those after it, which were not tried, are marked as not allowed.

    Args:
        values: The present values of all their keys.
        operations: The list.
        full: Where in the list that increment stands.
    """
    outcomes = [
        Outcome(values[operation.key], index < full and isinstance(operation, Get | Increment))
        for index, operation in enumerate(operations)
    ]
    return Applied(tuple(outcomes), applied=False)


def number_text(number: float) -> str:
    """
    Write a number as it is stored.
    """
    return str(int(number)) if number.is_integer() else repr(number)


def number_of(text: str | None) -> float:
    """
    Read a counter; what is not there counts as 0.

    Raises:
        ConflictError: It is no number.
    """
    if text is None:
        return 0.0
    try:
        if _NUMBER.fullmatch(text):
            return float(text)
    except ValueError:
        pass
    raise not_a_number()


def not_a_number() -> ConflictError:
    """
    The error for an increment of something else.
    """
    return ConflictError("the value of this key is not a number; delete it before counting", "not_a_number")


def too_large() -> InvalidError:
    """
    The error for a counter that passes what numbers hold exactly.
    """
    return InvalidError("the counter would reach 2^53, beyond which numbers are not exact", code="number_too_large")


def written(applied: Applied) -> str:
    """
    Write an outcome, to be kept.
    """
    return json.dumps([applied.applied, [[outcome.value, outcome.done] for outcome in applied.outcomes]])


def read(text: str) -> Applied:
    """
    Read an outcome that was kept.
    """
    applied, outcomes = json.loads(text)
    return Applied(tuple(Outcome(value, bool(done)) for value, done in outcomes), bool(applied))


def reused() -> ConflictError:
    """
    The error for a key of idempotency that came with another request before.
    """
    return ConflictError("this Idempotency-Key came with another request before", "idempotency_key_reused")


def _one(before: str | None, operation: Operation) -> tuple[Outcome, Write | None]:
    match operation:
        case Get():
            return Outcome(before), None
        case Put(value=value, lifetime=lifetime):
            return Outcome(value), Write(value, lifetime)
        case Delete():
            return Outcome(None, before is not None), Write(None)
        case CompareAndSet(expect=expect, value=value):
            return (Outcome(value), Write(value)) if before == expect else (Outcome(before, False), None)
        case Increment(amount=amount, maximum=maximum):
            number = number_of(before) + amount
            if abs(number) >= LARGEST:
                raise too_large()
            if maximum is not None and number > maximum:
                return Outcome(before, False), None
            text = number_text(number)
            return Outcome(text), Write(text)
