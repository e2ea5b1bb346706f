"""
Bodies about session values.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import attrs
from msgspec import Meta

from edictum_console.http.bodies import AgentBody

Lifetime = Annotated[int, Meta(ge=1, le=30 * 86_400)]

# What POST takes: for {key}/increment, for batch, and for ops.
CHANGE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "properties": {"amount": {"type": "number"}}},
        {
            "type": "object",
            "required": ["keys"],
            "properties": {"keys": {"type": "array", "items": {"type": "string"}}},
        },
        {
            "type": "object",
            "required": ["ops"],
            "properties": {
                "ops": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["op", "key"],
                        "properties": {"op": {"type": "string"}, "key": {"type": "string"}},
                    },
                }
            },
        },
    ]
}


class OperationKind(StrEnum):
    """
    What one operation of a list does.
    """

    GET = "get"
    PUT = "put"
    DELETE = "delete"
    INCREMENT = "increment"
    COMPARE_AND_SET = "compare_and_set"


@attrs.frozen
class NewValue(AgentBody):
    """
    A value to be written.
    """

    value: str
    ttl_seconds: Lifetime | None = None


@attrs.frozen
class Amount(AgentBody):
    """
    What to add to a counter.
    """

    amount: float = 1


@attrs.frozen
class Keys(AgentBody):
    """
    Values to be read.
    """

    keys: Annotated[list[str], Meta(min_length=1, max_length=500)]


@attrs.frozen
class SessionOperation(AgentBody):
    """
    One operation of a list.

    Attributes:
        op: What it does.
        key: To which value.
        amount: For ``increment``: what to add.
        max: For ``increment``: what the counter may not pass; nothing of the list is done if it would.
        expect: For ``compare_and_set``: what the value must be; null for none.
        value: For ``put`` and ``compare_and_set``: what to write.
        ttl_seconds: For ``put``: how long it is kept.
    """

    op: OperationKind
    key: str
    amount: float = 1
    max: float | None = None
    expect: str | None = None
    value: str | None = None
    ttl_seconds: Lifetime | None = None


@attrs.frozen
class SessionOperations(AgentBody):
    """
    Operations that are done one after the other with nothing in between, or not at all.
    """

    ops: Annotated[list[SessionOperation], Meta(min_length=1, max_length=100)]
    session_id: str | None = None


@attrs.frozen
class StoredValue:
    """
    A value.
    """

    key: str
    value: str


@attrs.frozen
class Counter:
    """
    A counter, as a number.
    """

    key: str
    value: float


@attrs.frozen
class Deleted:
    """
    A value that was deleted.
    """

    deleted: bool = True


@attrs.frozen
class Values:
    """
    The values that were asked for, null where there is none.
    """

    values: dict[str, str | None]


@attrs.frozen
class OperationResults:
    """
    What came of a list of operations.

    Attributes:
        results: One for each: its value, and for ``increment``, whether it was allowed.  Of a list that was not done,
            the first increment that was not allowed is the one that had no room.
        applied: Whether they were done.
    """

    results: list[dict[str, Any]]
    applied: bool
